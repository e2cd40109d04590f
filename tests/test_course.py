"""Tests of course.py: everything but the real installation, which every CI run does."""

import ast
import importlib.util
import io
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import course

THIS_PYTHON = "{}.{}".format(*sys.version_info[:2])
PINS = ["numpy==2.2.6 ; python_full_version < '3.11'", "numpy==2.5.5 ; python_full_version >= '3.11'", "six==9.99"]
INSTALL = course.install


@pytest.fixture
def root(tmp_path):
    """Return a course folder with the three files that decide what is installed, and nothing else."""
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("-e .[test]\n", encoding="utf-8")
    (tmp_path / "constraints.txt").write_text("# made by a tool\n" + "\n".join(PINS) + "\n", encoding="utf-8")
    return tmp_path


def pretend(monkeypatch, answer):
    """Let the environment's Python answer what `answer` says of its arguments, or else truly."""
    ask = course.ask_python
    monkeypatch.setattr(course, "ask_python", lambda root, *t: answer[t[1]] if t[1] in answer else ask(root, *t))


@pytest.fixture
def stand_ins(root, monkeypatch):
    """Put quick stand-ins in the place of making and filling .venv and of its pip; return the list of what they did."""
    done = []

    def make_venv(root):
        done.append("make")
        python = course.environment_python(root, windows=False)
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)

    monkeypatch.setattr(course, "make_venv", make_venv)
    monkeypatch.setattr(course, "install", lambda root: done.append("install"))
    pretend(monkeypatch, {"pip": "pip 25.0"})
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


@pytest.mark.parametrize(
    ("platform", "cure"),
    [
        ("linux", "sudo apt install python3-venv    (or python3."),
        ("linux", "with your package manager"),
        ("darwin", "brew install python"),
        ("win32", "with 'pip' ticked"),
    ],
)
def test_a_missing_venv_gets_the_platforms_cure(platform, cure):
    text = course.missing_venv_message(["ensurepip"], platform)
    assert "This Python has no ensurepip." in text
    assert cure in text


def test_a_missing_venv_ends_the_set_up(root, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    assert course.main(["lab"], root=root) == 1
    assert "This Python has no ensurepip." in capsys.readouterr().out
    assert not (root / ".venv").exists()


# The environment


@pytest.mark.parametrize(
    ("windows", "separator", "python"), [(False, ":", "bin/python"), (True, ";", "Scripts/python.exe")]
)
def test_the_environment_of_children_is_clean(windows, separator, python):
    leading_out = "PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX __PYVENV_LAUNCHER__ PIP_TARGET PIP_PREFIX"
    given = dict.fromkeys(leading_out.split(), "elsewhere")
    given.update(PIP_USER="1", PATH="there", HOME="kept", PIP_INDEX_URL="kept")
    before = dict(given)
    clean = course.clean_environment("here", given, windows)
    assert set(clean) == {"PIP_USER", "PATH", "HOME", "PIP_INDEX_URL", "JUPYTER_PREFER_ENV_PATH"}
    assert course.environment_python("here", windows) == Path("here", ".venv", python)
    assert clean["PATH"] == str(Path("here", ".venv", python).parent) + separator + "there"
    assert clean["PIP_USER"] == "0"
    assert given == before


def test_the_fingerprint_sees_every_cause(root, tmp_path_factory):
    prints = [course.fingerprint(root, "3.11"), course.fingerprint(root, "3.12")]
    names = ("pyproject.toml", "requirements.txt", "constraints.txt")
    for name in names:
        (root / name).write_text("changed", encoding="utf-8")
        prints.append(course.fingerprint(root, "3.11"))
    moved = tmp_path_factory.mktemp("moved")
    for name in names:
        (moved / name).write_text("changed", encoding="utf-8")
    prints.append(course.fingerprint(moved, "3.11"))
    assert len(set(prints)) == 6
    assert course.fingerprint(root, "3.11") == prints[4]


def test_set_up_makes_installs_and_then_does_nothing(root, stand_ins):
    assert course.environment_state(root) == ("missing", None)
    course.set_up(root)
    assert stand_ins == ["make", "install"]
    assert course.environment_state(root) == ("ready", THIS_PYTHON)
    course.set_up(root)
    assert stand_ins == ["make", "install"]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({}, "stale"),
        ({"pip": None}, "broken"),
        ({"import sys; print('%d.%d' % sys.version_info[:2])": "3.9"}, "broken"),
    ],
    ids=["pip runs", "no pip", "old"],
)
def test_what_is_not_ready_is_used_if_its_python_fits_and_its_pip_runs(root, stand_ins, monkeypatch, answer, state):
    course.set_up(root)
    (root / "requirements.txt").write_text("changed", encoding="utf-8")
    pretend(monkeypatch, answer)
    assert course.environment_state(root)[0] == state


def test_an_environment_whose_python_does_not_run_is_broken(root):
    python = course.environment_python(root)
    python.parent.mkdir(parents=True)
    assert course.environment_state(root) == ("broken", None)
    python.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    assert course.environment_state(root) == ("broken", None)


def test_a_changed_pyproject_installs_again_but_keeps_the_environment(root, stand_ins):
    course.set_up(root)
    (root / "pyproject.toml").write_text("[project]\nversion = '2'\n", encoding="utf-8")
    course.set_up(root)
    course.set_up(root)
    assert stand_ins == ["make", "install", "install"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, course.SetupError("no network")])
def test_an_interrupted_installation_is_done_again(root, stand_ins, monkeypatch, interruption):
    def interrupted(root):
        raise interruption

    course.set_up(root)
    (root / "requirements.txt").write_text("-e .[test]\nmore\n", encoding="utf-8")
    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, course.SetupError)):
        patch.setattr(course, "install", interrupted)
        course.set_up(root)
    (root / "requirements.txt").write_text("-e .[test]\n", encoding="utf-8")  # back to what was complete before
    course.set_up(root)
    assert stand_ins == ["make", "install", "install"]


def test_make_venv_replaces_a_broken_one_and_touches_nothing_behind_a_link(root, monkeypatch):
    monkeypatch.setattr(course, "run_child", lambda command, root, on_line: Path(command[-1]).mkdir() or 0)
    (root / ".venv").mkdir()
    (root / ".venv" / "half").write_text("", encoding="utf-8")
    course.make_venv(root)
    assert list((root / ".venv").iterdir()) == []
    (root / ".venv").rmdir()
    (root / "other").mkdir()
    (root / "other" / "precious").write_text("", encoding="utf-8")
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


class FakePip:
    """Stand for pip: note what each try to install the course asks for; complain while it asks for some releases."""

    def __init__(self, complaints):
        self.complaints, self.asked, self.commands = complaints, [], []

    def __call__(self, command, root, on_line):
        if "-r" not in command:  # pip itself
            return 0
        assert command[command.index("-r") + 1] == "requirements.txt"
        self.commands.append(command)
        self.asked.append(Path(root, command[command.index("-c") + 1]).read_text(encoding="utf-8").splitlines()[1:])
        for release, complaint in self.complaints.items():
            if any(pin.startswith(release) for pin in self.asked[-1]):
                if isinstance(complaint, str):
                    on_line(complaint + "\n")
                    return 1
                raise complaint
        return 0


@pytest.fixture
def pip(root, monkeypatch):
    """Return a function that puts a `FakePip` with complaints in the place of pip; there is a .venv to install into."""

    def put(complaints):
        fake = FakePip(complaints)
        monkeypatch.setattr(course, "run_child", fake)
        return fake

    (root / ".venv").mkdir()
    return put


def test_the_tested_releases_are_installed_as_wheels(root, pip, capsys):
    fake = pip({})
    course.install(root)
    assert fake.asked == [PINS] and "--only-binary" in fake.commands[0]
    assert capsys.readouterr().out == ""


def test_a_release_that_pip_names_is_let_go_and_the_others_are_kept(root, pip, capsys):
    named = "    The user requested (constraint) {}"
    fake = pip({"six==9.99": named.format("six==9.99"), "numpy==2.5.5": named.format("numpy==2.5.5")})
    course.install(root)
    assert fake.asked == [PINS, PINS[:2], PINS[:1]]
    said = capsys.readouterr().out.splitlines()
    assert "pip cannot install six==9.99; going on without" in said[0]
    assert "pip cannot install numpy==2.5.5, six==9.99; going on without" in said[1]


@pytest.mark.parametrize("complaint", ["ERROR: something else", "    The user requested (constraint) other==1.0"])
def test_if_pip_names_none_of_the_tested_releases_all_are_let_go(root, pip, capsys, complaint):
    fake = pip({"six": complaint})
    course.install(root)
    assert fake.asked == [PINS, []]
    assert "--prefer-binary" in fake.commands[1] and "--only-binary" not in fake.commands[1]
    assert "pip cannot install the tested releases; going on without" in capsys.readouterr().out


def test_after_an_interruption_all_tested_releases_are_asked_for_again(root, stand_ins, monkeypatch):
    fake = FakePip({"six": "(constraint) six==9.99", "numpy": KeyboardInterrupt()})
    monkeypatch.setattr(course, "run_child", fake)
    monkeypatch.setattr(course, "install", INSTALL)
    with pytest.raises(KeyboardInterrupt):
        course.set_up(root)
    assert course.environment_state(root)[0] == "stale"
    fake.complaints = {}
    course.set_up(root)
    assert fake.asked == [PINS, PINS[:2], PINS]
    assert course.environment_state(root)[0] == "ready"


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
        (["tset"], ("", ["tset"])),
        (["test", "more"], ("", ["test", "more"])),
        (["--no-browser", "--port"], ("", ["--no-browser", "--port"])),
    ],
)
def test_parse(arguments, parsed):
    assert course.parse(arguments) == parsed


def test_an_unknown_command_lists_the_commands_and_installs_nothing(root, capsys):
    assert course.main(["tset", "x"], root=root) == 2
    text = capsys.readouterr().out
    assert "no command `tset x`" in text
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
    (elsewhere / "a.ipynb").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(course, "set_up", lambda root: None)
    calls = []
    monkeypatch.setattr(course, "run_child", lambda command, root: calls.append((command, root)) or 5)
    assert course.main(["check", "a.ipynb", "--seed"], root=root) == 5
    expected = [course.environment_python(root), "-m", "mpcrl_course"]
    assert calls == [(expected + ["check", str(elsewhere / "a.ipynb"), "--seed"], root)]


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_the_command_line_of_jupyterlab(root, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    command = course.lab_command(root, browser=True)
    assert command[1:3] == ["-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={root}" in command
    assert "--LabApp.default_url=/lab" in command
    assert "--no-browser" not in command
    assert ("--allow-root" in command) == allowed  # only root needs it
    (root / "lectures").mkdir()
    (root / course.START_PAGE).write_text("{}", encoding="utf-8")
    command = course.lab_command(root, browser=False)
    assert "--LabApp.default_url=/lab/tree/lectures/00_start.ipynb" in command
    assert "--no-browser" in command


def test_the_address_is_printed_once_and_a_crash_shows_why(root, monkeypatch, capsys):
    def crashed(command, root, output, watch):
        for line in ("[I] file:///x/jpserver-1-open.html", "[I] http://localhost:8889/lab?token=12ab", "the reason"):
            watch()
            output.write(line.encode() + b"\n")
            output.flush()
        watch()
        return 4

    (root / ".venv").mkdir()
    monkeypatch.setattr(course, "run_child", crashed)
    assert course.open_lab(root) == 4
    said = capsys.readouterr().out
    assert said.count("open this address:\n\n    http://localhost:8889/lab?token=12ab\n") == 1
    assert said.count("\nthe reason\n") == 1 and "exit code 4" in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_kill_closes_jupyterlab_and_is_a_success(root):
    """A stand-in for the environment's Python is the JupyterLab; only `course.py` gets the signal."""
    (root / "course.py").write_text(Path(course.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    stand_in = course.environment_python(root)
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(
        '#!/bin/sh\n[ "$1" = -c ] && echo 3.11 && exit\necho "http://x/lab?$$"\nexec sleep 1800\n', encoding="utf-8"
    )
    stand_in.chmod(0o755)
    (root / course.STAMP).write_text(course.fingerprint(root, "3.11"), encoding="utf-8")
    parent = subprocess.Popen([sys.executable, root / "course.py"], stdout=subprocess.PIPE, encoding="utf-8")
    child = next(int(line.split("?")[1]) for line in parent.stdout if "http://x/lab?" in line)
    parent.terminate()
    assert "see you soon" in parent.stdout.read()
    assert parent.wait() == 0
    parent.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


# The tests of the tests


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_is_ci(value, expected):
    assert course.is_ci({"CI": value}) is expected
    assert course.is_ci({}) is False


def program(path):
    """Make an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
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


@pytest.mark.parametrize("browser", [True, False])
def test_every_notebook_runs_once_and_its_record_is_read_afterwards(browser):
    steps = course.test_steps(browser)
    assert list(steps) == ["ruff check", "ruff format", "mypy", "tests", "notebooks", "records"]
    executing = [name for name, command in steps.items() if "--nbval-lax" in command]
    assert executing == ["notebooks"] and steps["notebooks"][-3:] == ["lectures", "solutions", "exercises"]
    assert "tests.records.record" in steps["notebooks"]
    assert {"--ignore=tests/records", "--ignore=tests/browser"} < set(steps["tests"])
    assert "tests/records" in steps["records"] and ("tests/browser" in steps["records"]) == browser
    assert not {"-n", "--dist"} & set(steps["records"])  # one after the other


def test_pytest_loads_the_plugins_that_are_named_and_no_others(root):
    run = FakeRun()
    course.run_tests(root, {"PATH": "", "MPCRL_CHROMIUM": sys.executable}, run)
    assert run.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] == "1"
    for command in course.test_steps().values():
        if command[0] == "pytest":
            named = {command[i + 1] for i, word in enumerate(command) if word == "-p"}
            assert {"pytest_timeout", "_hypothesis_pytestplugin"} <= named
            assert ("xdist.plugin" in named) == ("-n" in command)
            assert ("nbval.plugin" in named) == ("--nbval-lax" in command)


def junit(tests, failures=0, errors=0, skipped=0):
    """Return what pytest writes."""
    counts = f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"'
    return f'<?xml version="1.0"?><testsuites><testsuite name="pytest" {counts}></testsuite></testsuites>'


class FakeRun:
    """Stand for `run_child`: note what is run; answer for the named step with a code and a JUnit file."""

    def __init__(self, **answers):
        self.answers, self.commands, self.environ = answers, [], None

    def __call__(self, command, root, environ):
        self.commands.append(command)
        self.environ = environ
        name = "notebooks" if "--nbval-lax" in command else "records" if "tests/records" in command else command[2]
        code, text = self.answers.get(name, (0, junit(2)))
        junit_file = [part.split("=", 1)[1] for part in map(str, command) if part.startswith("--junitxml=")]
        if junit_file and text is not None:
            Path(junit_file[0]).write_text(text, encoding="utf-8")
        return code


@pytest.mark.parametrize(
    ("answers", "code", "last_line"),
    [
        ({}, 0, "6 passed, 0 failed"),
        ({"mypy": (1, None)}, 1, "6 passed, 0 failed"),
        ({"pytest": (1, junit(9, failures=2, skipped=1))}, 1, "10 passed, 2 failed"),
        ({"notebooks": (2, None)}, 1, "4 passed, 1 failed"),  # broke off before it wrote its report
        ({"records": (1, "<cut off")}, 1, "4 passed, 1 failed"),
    ],
)
def test_all_steps_run_and_the_last_line_sums_up(root, capsys, answers, code, last_line):
    run = FakeRun(**answers)
    environ = {"PATH": "", "MPCRL_CHROMIUM": sys.executable, "CI": "true"}
    assert course.run_tests(root, environ, run) == code
    assert [command[2] for command in run.commands] == ["ruff", "ruff", "mypy", "pytest", "pytest", "pytest"]
    assert capsys.readouterr().out.splitlines()[-1] == last_line
    assert run.environ["MPCRL_CHROMIUM"] == sys.executable


@pytest.mark.parametrize(
    ("environ", "code", "last_line"),
    [({"CI": "true"}, 1, "6 passed, 1 failed"), ({}, 0, "6 passed, 0 failed")],
)
def test_a_missing_chromium_is_said_and_on_ci_a_failure(root, monkeypatch, capsys, environ, code, last_line):
    monkeypatch.setattr(course, "find_chromium", lambda environ: None)
    run = FakeRun()
    assert course.run_tests(root, {"PATH": "", **environ}, run) == code
    assert "tests/browser" not in run.commands[-1]
    text = capsys.readouterr().out
    assert "no Chromium found" in text
    assert text.splitlines()[-1] == last_line


def test_tests_do_not_touch_the_readers_progress(root):
    run = FakeRun()
    course.run_tests(root, {"PATH": "", "MPCRL_CHROMIUM": sys.executable}, run)
    for name in ("MPCRL_COURSE_PROGRESS", "MPCRL_COURSE_RECORD"):
        assert root not in Path(run.environ[name]).parents


# What course.py and the other files must agree on


def test_pyproject_asks_for_the_python_that_course_py_asks_for():
    text = (course.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">={}.{}"'.format(*course.OLDEST_PYTHON) in text
    assert (course.ROOT / "requirements.txt").read_text(encoding="utf-8").strip() == "-e .[test]"


DEPENDENCIES = [Requirement(line) for line in requires("mpcrl-course")]
TESTED = [line for line in (course.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("python", ["3.10.13", "3.11.7", "3.12.1", "3.13.0", "3.14.0"])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_one_release_of_each_dependency_is_tested_for_every_python_and_system(python, system):
    here = {"python_full_version": python, "python_version": python.rpartition(".")[0], "sys_platform": system}
    here |= {"os_name": "nt" if system == "win32" else "posix", "extra": "test"}
    pins = [pin for pin in map(Requirement, TESTED) if pin.marker is None or pin.marker.evaluate(here)]
    assert len({pin.name for pin in pins}) == len(pins)
    tested = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    wanted = [one for one in DEPENDENCIES if one.marker is None or one.marker.evaluate(here)]
    assert len(wanted) > 20 and [one for one in wanted if not one.specifier.contains(tested[one.name])] == []


def test_the_constraints_say_how_they_are_made_and_name_neither_a_host_nor_a_folder():
    text = (course.ROOT / "constraints.txt").read_text(encoding="utf-8")
    command = text.splitlines()[1].lstrip("# ")
    assert command in " ".join((course.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert not re.search(r"://|--.*index|--find-links|@|\\|/", "\n".join(TESTED) + command)


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
