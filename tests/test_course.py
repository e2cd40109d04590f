"""Tests of course.py: everything but the real installation, which every CI run does."""

import ast
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import course

THIS_PYTHON = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture
def root(tmp_path):
    """Return a course folder with the two files that decide what is installed, and nothing else."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "requirements.txt").write_text("-e .[test]\n")
    return tmp_path


def fake_venv(root):
    """Put this Python in the place of the environment's."""
    python = course.venv_python(root / ".venv", windows=False)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)


def set_up(root, fill=lambda root: None):
    """Run `course.set_up` with stand-ins and return what it did."""
    done = []
    course.set_up(
        root,
        make=lambda root: (done.append("make"), fake_venv(root)),
        fill=lambda root: (done.append("fill"), fill(root)),
    )
    return done


# The Python we have


def test_the_file_parses_on_python_3_6():
    ast.parse(Path(course.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 9, 18), (2, 7, 18)])
def test_a_python_that_is_too_old_gets_a_sentence_and_nothing_is_made(version, root, capsys):
    assert course.main(["test"], version=version, root=root) == 1
    sentence = (
        f"Python {version[0]}.{version[1]} is too old: install Python 3.10 or newer from "
        "https://www.python.org/downloads/, then run again\n"
    )
    assert capsys.readouterr().out == sentence
    assert not (root / ".venv").exists()


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 14, 1), (4, 0, 0)])
def test_newer_pythons_are_not_too_old(version):
    assert course.too_old(version) is None


def test_missing_modules_are_found():
    assert course.missing_modules(("venv", "no_such_module_here")) == ["no_such_module_here"]


@pytest.mark.parametrize(
    ("platform", "family", "cure"),
    [
        ("linux", ["ubuntu", "debian"], "sudo apt install python3-venv    (or python3.12-venv"),
        ("linux", ["fedora"], "with your package manager"),
        ("darwin", [], "brew install python"),
        ("win32", [], "with 'pip' ticked"),
    ],
)
def test_a_missing_venv_gets_the_platforms_cure(platform, family, cure):
    text = course.missing_venv_message(["ensurepip"], platform, (3, 12, 1), family)
    assert "This Python has no ensurepip." in text
    assert cure in text


def test_a_missing_venv_ends_the_set_up(root, monkeypatch, capsys):
    monkeypatch.setattr(course, "missing_modules", lambda: ["ensurepip"])
    assert course.main(["lab"], root=root) == 1
    assert "This Python has no ensurepip." in capsys.readouterr().out
    assert not (root / ".venv").exists()


def test_linux_family_reads_os_release(tmp_path):
    file = tmp_path / "os-release"
    file.write_text('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22"\n')
    assert course.linux_family(file) == ["linuxmint", "ubuntu", "debian"]
    assert course.linux_family(tmp_path / "none") == []


# The environment


def test_paths_of_each_platform():
    assert course.venv_python("v", windows=False) == Path("v", "bin", "python")
    assert course.venv_python("v", windows=True) == Path("v", "Scripts", "python.exe")


@pytest.mark.parametrize(("windows", "separator", "folder"), [(False, ":", "bin"), (True, ";", "Scripts")])
def test_the_environment_of_children_is_clean(windows, separator, folder):
    leading_out = "PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX __PYVENV_LAUNCHER__ PIP_TARGET PIP_PREFIX"
    given = dict.fromkeys(leading_out.split(), "elsewhere")
    given.update(PIP_USER="1", PATH="there", HOME="kept", PIP_INDEX_URL="kept")
    before = dict(given)
    clean = course.clean_environment("v", given, windows)
    assert set(clean) == {"PIP_USER", "PATH", "HOME", "PIP_INDEX_URL", "JUPYTER_PREFER_ENV_PATH"}
    assert clean["PATH"] == str(Path("v", folder)) + separator + "there"
    assert clean["PIP_USER"] == "0"
    assert given == before


def test_the_fingerprint_sees_every_cause(root, tmp_path_factory):
    prints = [course.fingerprint(root, "3.11"), course.fingerprint(root, "3.12")]
    for name in ("pyproject.toml", "requirements.txt"):
        (root / name).write_text("changed")
        prints.append(course.fingerprint(root, "3.11"))
    moved = tmp_path_factory.mktemp("moved")
    for name in ("pyproject.toml", "requirements.txt"):
        (moved / name).write_text("changed")
    prints.append(course.fingerprint(moved, "3.11"))
    assert len(set(prints)) == 5
    assert course.fingerprint(root, "3.11") == prints[3]


def test_the_states_of_an_environment(root):
    assert course.environment_state(root) == ("missing", None)
    (root / ".venv" / "bin").mkdir(parents=True)
    assert course.environment_state(root) == ("broken", None)


@pytest.mark.parametrize(("pip", "state"), [(True, "stale"), (False, "broken")])
def test_an_environment_without_stamp_is_used_if_its_pip_runs(root, monkeypatch, pip, state):
    fake_venv(root)
    monkeypatch.setattr(course, "has_pip", lambda venv: pip)
    assert course.environment_state(root)[0] == state


def test_an_environment_with_an_old_python_is_broken(root, monkeypatch):
    fake_venv(root)
    (root / ".venv" / course.STAMP_NAME).write_text(course.fingerprint(root, "3.9"))
    monkeypatch.setattr(course, "probe_version", lambda venv: "3.9")
    assert course.environment_state(root) == ("broken", None)


def test_questions_to_a_python_that_is_not_there_or_has_no_pip(root):
    assert course.probe_version(root / ".venv") is None
    python = course.venv_python(root / ".venv")
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert course.probe_version(root / ".venv") is None
    assert course.has_pip(root / ".venv") is False


def test_set_up_makes_fills_and_then_does_nothing(root):
    assert set_up(root) == ["make", "fill"]
    assert course.environment_state(root) == ("ready", THIS_PYTHON)
    assert set_up(root) == []


def test_a_changed_pyproject_installs_again_but_keeps_the_environment(root, monkeypatch):
    set_up(root)
    monkeypatch.setattr(course, "has_pip", lambda venv: True)
    (root / "pyproject.toml").write_text("[project]\nversion = '2'\n")
    assert set_up(root) == ["fill"]
    assert set_up(root) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, course.SetupError("no network")])
def test_an_interrupted_installation_leaves_no_stamp(root, monkeypatch, interruption):
    def interrupted(root):
        raise interruption

    set_up(root)
    monkeypatch.setattr(course, "has_pip", lambda venv: True)
    (root / "requirements.txt").write_text("-e .[test]\nmore\n")
    with pytest.raises((KeyboardInterrupt, course.SetupError)):
        set_up(root, fill=interrupted)
    assert course.read_stamp(root / ".venv") is None
    (root / "requirements.txt").write_text("-e .[test]\n")  # back to what the old stamp stood for
    assert set_up(root) == ["fill"]


def test_make_venv_replaces_a_broken_one_and_touches_nothing_behind_a_link(root, monkeypatch):
    monkeypatch.setattr(course, "run_child", lambda command, root, on_line: Path(command[-1]).mkdir() or 0)
    (root / ".venv").mkdir()
    (root / ".venv" / "half").write_text("")
    course.make_venv(root)
    assert list((root / ".venv").iterdir()) == []
    (root / ".venv").rmdir()
    (root / "other").mkdir()
    (root / "other" / "precious").write_text("")
    (root / ".venv").symlink_to(root / "other")
    course.make_venv(root)
    assert (root / "other" / "precious").exists()
    assert not (root / ".venv").is_symlink()


def test_a_venv_that_cannot_be_made_shows_why(root, monkeypatch):
    monkeypatch.setattr(course, "run_child", lambda command, root, on_line: on_line("disk full\n") or 1)
    with pytest.raises(course.SetupError, match="disk full"):
        course.make_venv(root)


def test_make_venv_does_not_saw_off_its_own_branch(root, monkeypatch):
    (root / ".venv").mkdir()
    monkeypatch.setattr(sys, "prefix", str(root / ".venv"))
    with pytest.raises(course.SetupError, match="deactivate"):
        course.make_venv(root)
    assert (root / ".venv").exists()


def test_a_failed_installation_shows_the_end_of_its_output(root, monkeypatch):
    def run(command, root, on_line):
        on_line("ERROR: no such thing\n")
        return 1

    (root / ".venv").mkdir()
    monkeypatch.setattr(course, "run_child", run)
    with pytest.raises(course.SetupError, match="(?s)ERROR: no such thing.*goes on where it stopped"):
        course.install(root)


def test_pips_output_becomes_a_few_lines(capsys):
    log = io.StringIO()
    report = course.PipReport(log)
    lines = [
        "Collecting numpy>=1.26 (from mpcrl-course==0.1.0)\n",
        "  Downloading numpy-2.4.6-cp311-manylinux.whl (16.9 MB)\n",
        "  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)\n",
        "Requirement already satisfied: pip\n",
        "Installing collected packages: six, numpy\n",
    ]
    for line in lines:
        report(line)
    assert log.getvalue() == "".join(lines)
    said = [line.split("] ")[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert said == ["downloading numpy (16.9 MB)", "unpacking 2 packages (up to a minute or two)"]


# Child processes


def test_run_child_returns_the_exit_code_and_the_lines(root):
    lines = []
    command = [sys.executable, "-c", "import os; print(os.getcwd()); print('two'); raise SystemExit(7)"]
    assert course.run_child(command, root, on_line=lines.append) == 7
    assert [line.strip() for line in lines] == [str(root), "two"]


def test_an_interruption_ends_the_child(root):
    children = []

    def watch():
        raise KeyboardInterrupt

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            children.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course.subprocess, "Popen", Popen)
        patch.setattr(course.end_child, "__defaults__", (0.1,))
        with pytest.raises(KeyboardInterrupt):
            course.run_child([sys.executable, "-c", "import time; time.sleep(60)"], root, watch=watch)
    assert children[0].poll() is not None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_child_that_ignores_the_polite_signal_is_killed():
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += "print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    course.end_child(child, patience=0.2)
    assert child.returncode == -signal.SIGKILL


# The commands


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [
        ([], ("lab", [])),
        (["--no-browser"], ("lab", ["--no-browser"])),
        (["lab", "--no-browser"], ("lab", ["--no-browser"])),
        (["test"], ("test", [])),
        (["check", "a.ipynb"], ("check", ["a.ipynb"])),
        (["progress"], ("progress", [])),
        (["run", "a.ipynb", "--html", "b"], ("run", ["a.ipynb", "--html", "b"])),
        (["--help"], ("help", [])),
        (["tset"], ("usage", ["tset"])),
        (["test", "more"], ("usage", ["test more"])),
        (["--no-browser", "--port"], ("usage", ["--no-browser --port"])),
    ],
)
def test_parse(arguments, parsed):
    assert course.parse(arguments) == parsed


def test_an_unknown_command_lists_the_commands_and_installs_nothing(root, capsys):
    assert course.main(["tset"], root=root) == 2
    text = capsys.readouterr().out
    assert "no command `tset`" in text
    for command in ("--no-browser", "test ", *course.PACKAGE_COMMANDS):
        assert f"python3 course.py {command}" in text
    assert not (root / ".venv").exists()


def test_an_interruption_is_answered_with_a_sentence(root, monkeypatch, capsys):
    def interrupted(root):
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "set_up", interrupted)
    assert course.main(["test"], root=root) == 130
    assert capsys.readouterr().out == "\nStopped. Run the same command again to go on.\n"


def test_package_commands_are_handed_on(root, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a.ipynb").write_text("{}")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(course, "set_up", lambda root: None)
    calls = []
    monkeypatch.setattr(course, "run_child", lambda command, root: calls.append((command, root)) or 5)
    assert course.main(["check", "a.ipynb", "--seed"], root=root) == 5
    expected = [str(course.venv_python(root / ".venv")), "-m", "mpcrl_course"]
    assert calls == [(expected + ["check", str(elsewhere / "a.ipynb"), "--seed"], root)]


def test_the_command_line_of_jupyterlab(root):
    command = course.lab_command(root, browser=True, as_root=False)
    assert command[1:3] == ["-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={root}" in command
    assert "--LabApp.default_url=/lab" in command
    assert not {"--no-browser", "--allow-root"} & set(command)
    (root / "lectures").mkdir()
    (root / course.START_PAGE).write_text("{}")
    command = course.lab_command(root, browser=False, as_root=True)
    assert "--LabApp.default_url=/lab/tree/lectures/00_start.ipynb" in command
    assert {"--no-browser", "--allow-root"} <= set(command)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no root")
@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_root_is_allowed_only_for_root(root, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert ("--allow-root" in course.lab_command(root)) == allowed


def test_the_address_is_printed_once(tmp_path, capsys):
    log = tmp_path / "log"
    report = course.AddressReport(log, browser=False)
    report()
    log.write_text("[I ServerApp] Jupyter Server is running at:\n")
    report()
    assert report.address is None
    address = "http://localhost:8889/lab/tree/lectures/00_start.ipynb?token=12ab"
    log.write_text(f"file:///x/jpserver-1-open.html\n[I] {address}\n    http://127.0.0.1:8889/lab\n")
    report()
    report()
    assert capsys.readouterr().out.count(address) == 1


def test_closing_the_lab_is_a_success_and_a_crash_is_not(root, monkeypatch, capsys):
    def closed(*arguments, **options):
        raise KeyboardInterrupt

    def crashed(command, root, output, watch):
        output.write(b"the reason\n")
        return 4

    (root / ".venv").mkdir()
    monkeypatch.setattr(course, "run_child", closed)
    assert course.open_lab(root) == 0
    monkeypatch.setattr(course, "run_child", crashed)
    assert course.open_lab(root) == 4
    assert "the reason" in capsys.readouterr().out


# The tests of the tests


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_is_ci(value, expected):
    assert course.is_ci({"CI": value}) is expected
    assert course.is_ci({}) is False


def program(path):
    """Make an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="the programs here are shell scripts")
def test_find_chromium(tmp_path):
    assert course.find_chromium({"PATH": str(tmp_path)}, "linux") is None
    on_path = program(tmp_path / "google-chrome")
    assert course.find_chromium({"PATH": str(tmp_path)}, "linux") == on_path
    named = program(tmp_path / "mine" / "browser")
    assert course.find_chromium({"PATH": str(tmp_path), "MPCRL_CHROMIUM": named}, "linux") == named
    # a wrong name is not silently replaced by another browser
    assert course.find_chromium({"PATH": str(tmp_path), "MPCRL_CHROMIUM": "/no/such"}, "linux") is None


def test_find_chromium_in_the_usual_places(tmp_path):
    chrome = program(tmp_path / "Google" / "Chrome" / "Application" / "chrome.exe")
    assert course.find_chromium({"PATH": "", "PROGRAMFILES": str(tmp_path)}, "win32") == chrome
    chrome = program(tmp_path / "Applications" / "Chromium.app" / "Contents" / "MacOS" / "Chromium")
    assert course.find_chromium({"PATH": "", "HOME": str(tmp_path)}, "darwin") == chrome


def notebook(root, name):
    """Put an empty notebook there."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("{}")


def test_steps_name_only_folders_with_notebooks(root):
    names = [name for name, _, _ in course.test_steps(root, "chrome", root)]
    assert names == ["ruff check", "ruff format", "mypy", "tests"]
    notebook(root, "lectures/00_start.ipynb")
    notebook(root, "exercises/06_x.ipynb")
    notebook(root, "solutions/.ipynb_checkpoints/06_x-checkpoint.ipynb")
    name, command, junit_file = course.test_steps(root, "chrome", root)[-1]
    assert name == "notebooks"
    assert command[-2:] == ["lectures", "exercises"]
    assert {"--nbval-lax", "--nbval-cell-timeout=120", f"--junitxml={junit_file}", "loadfile"} <= set(command)


@pytest.mark.parametrize(("chromium", "left_out"), [("chrome", False), (None, True)])
def test_browser_tests_are_left_out_only_without_a_browser(root, chromium, left_out):
    tests = next(command for name, command, _ in course.test_steps(root, chromium, root) if name == "tests")
    assert ("--ignore=tests/browser" in tests) == left_out


def junit(tests, failures=0, errors=0, skipped=0):
    """Return what pytest writes."""
    counts = f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"'
    return f'<?xml version="1.0"?><testsuites><testsuite name="pytest" {counts}></testsuite></testsuites>'


def test_count_tests(tmp_path):
    file = tmp_path / "a.xml"
    assert course.count_tests(file) == (0, 0, 0)
    file.write_text(junit(10, failures=1, errors=2, skipped=3))
    assert course.count_tests(file) == (4, 3, 3)
    file.write_text("<cut off")
    assert course.count_tests(file) == (0, 0, 0)


class FakeRun:
    """Stand for `run_child`: note what is run; answer for the named step with a code and a JUnit file."""

    def __init__(self, **answers):
        self.answers, self.names, self.environ = answers, [], None

    def __call__(self, command, root, environ):
        name = "notebooks" if "--nbval-lax" in command else command[2]
        self.names.append(name)
        self.environ = environ
        code, text = self.answers.get(name, (0, junit(2)))
        junit_file = [part.split("=", 1)[1] for part in command if part.startswith("--junitxml=")]
        if junit_file and text is not None:
            Path(junit_file[0]).write_text(text)
        return code


@pytest.mark.parametrize(
    ("answers", "code", "last_line"),
    [
        ({}, 0, "4 passed, 0 failed"),
        ({"mypy": (1, None)}, 1, "4 passed, 0 failed"),
        ({"pytest": (1, junit(9, failures=2, skipped=1))}, 1, "8 passed, 2 failed"),
        ({"notebooks": (2, None)}, 1, "2 passed, 1 failed"),  # broke off before it wrote its report
    ],
)
def test_all_steps_run_and_the_last_line_sums_up(root, capsys, answers, code, last_line):
    notebook(root, "lectures/00_start.ipynb")
    run = FakeRun(**answers)
    environ = {"PATH": "", "MPCRL_CHROMIUM": sys.executable, "CI": "true"}
    assert course.run_tests(root, environ, run) == code
    assert run.names == ["ruff", "ruff", "mypy", "pytest", "notebooks"]
    assert capsys.readouterr().out.splitlines()[-1] == last_line
    assert run.environ["MPCRL_CHROMIUM"] == sys.executable


@pytest.mark.parametrize(
    ("environ", "code", "last_line"),
    [({"CI": "true"}, 1, "2 passed, 1 failed"), ({}, 0, "2 passed, 0 failed")],
)
def test_a_missing_chromium_is_said_and_on_ci_a_failure(root, monkeypatch, capsys, environ, code, last_line):
    monkeypatch.setattr(course, "find_chromium", lambda environ: None)
    assert course.run_tests(root, {"PATH": "", **environ}, FakeRun()) == code
    text = capsys.readouterr().out
    assert "no Chromium found" in text
    assert text.splitlines()[-1] == last_line


def test_tests_do_not_touch_the_readers_progress(root):
    run = FakeRun()
    course.run_tests(root, {"PATH": "", "MPCRL_CHROMIUM": sys.executable}, run)
    assert root not in Path(run.environ["MPCRL_COURSE_PROGRESS"]).parents


# What course.py and the other files must agree on


def test_pyproject_asks_for_the_python_that_course_py_asks_for():
    text = (course.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">={}.{}"'.format(*course.OLDEST_PYTHON) in text
    assert (course.ROOT / "requirements.txt").read_text().strip() == "-e .[test]"


def test_the_readme_begins_with_the_two_commands():
    lines = (course.ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line.split("#")[0].strip() for line in lines[3:5]] == [
        "python3 course.py",
        "python3 course.py test",
    ]


def test_the_package_and_the_citation_agree_on_the_version():
    import mpcrl_course

    citation = (course.ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {mpcrl_course.__version__}\n" in citation


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_kill_closes_the_child_too(tmp_path):
    """SIGTERM becomes an interruption, so that no JupyterLab is left behind."""
    code = (
        "import course, signal, sys\n"
        "signal.signal(signal.SIGTERM, course._on_terminate)\n"
        "course.end_child.__defaults__ = (0.1,)\n"
        "try:\n"
        "    child = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "    course.run_child([sys.executable, '-c', child], '.')\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(42)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=str(course.ROOT), stdout=subprocess.PIPE)
    guard = threading.Timer(20, parent.kill)
    guard.start()
    child = int(parent.stdout.readline())
    time.sleep(0.1)
    parent.terminate()
    assert parent.wait(timeout=10) == 42
    guard.cancel()
    parent.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
