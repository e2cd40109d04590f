#!/usr/bin/env python3
"""Set up and open the course. Needs nothing but Python 3.10 or newer.

    python3 course.py                  open the course in JupyterLab
    python3 course.py --no-browser     the same, but only print the address
    python3 course.py test             run all tests
    python3 course.py check NOTEBOOK   run the checks of one notebook and print a table
    python3 course.py progress         show which exercise items are done
    python3 course.py build-exercises  make exercises/ from solutions/
    python3 course.py run LECTURE --html OUT   run a lecture and save it as a web page
    python3 course.py reproduce second-order   make a published result again (some minutes)

Everything is installed into the folder .venv beside this file; no other Python is touched. An interrupted
set-up goes on when the command is run again. To start from nothing, delete .venv.
"""

# This file uses the standard library only, and syntax that Python 3.6 still reads, so that on a Python that
# is too old one sees a sentence and not a SyntaxError.

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 10)
START_PAGE = "lectures/00_start.ipynb"
NOTEBOOK_FOLDERS = ("lectures", "solutions", "exercises")
PACKAGE_COMMANDS = ("check", "progress", "build-exercises", "run", "reproduce")  # handed on to `python -m mpcrl_course`
STAMP_NAME = "mpcrl_course.stamp"
BEGUN = time.time()


class SetupError(Exception):
    """Something the reader must put right; the message says what."""


def say(text):
    """Print one line that begins with the seconds since the start."""
    print(f"[{time.time() - BEGUN:4.0f} s] {text}", flush=True)


# ----------------------------------------------------------------------------------------------------
# What Python do we have?


def too_old(version):
    """Return the sentence for a Python that is too old, or None."""
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return None
    have, need = ".".join(map(str, version[:2])), ".".join(map(str, OLDEST_PYTHON))
    address = "https://www.python.org/downloads/"
    return f"Python {have} is too old: install Python {need} or newer from {address}, then run again"


def missing_modules(names=("venv", "ensurepip")):
    """Return those of the standard modules we need that this Python lacks (Debian splits them off)."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def linux_family(os_release="/etc/os-release"):
    """Return the words of ID and ID_LIKE, such as ['ubuntu', 'debian']."""
    try:
        text = Path(os_release).read_text(encoding="utf-8")
    except OSError:
        return []
    return " ".join(re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)"?$', text, flags=re.MULTILINE)).split()


def missing_venv_message(missing, platform=sys.platform, version=sys.version_info, family=None):
    """Say what to install when this Python cannot make virtual environments."""
    family = linux_family() if family is None else family
    if platform.startswith("linux") and "debian" in family:
        cure = "sudo apt install python3-venv"
        cure += f"    (or python{version[0]}.{version[1]}-venv, if your python3 is not the system's own)"
    elif platform.startswith("linux"):
        cure = "install the parts of Python named venv and ensurepip with your package manager"
    elif platform == "darwin":
        cure = "brew install python    (or the installer from https://www.python.org/downloads/)"
    else:
        cure = "install Python from https://www.python.org/downloads/ with 'pip' ticked"
    return f"This Python has no {' and no '.join(missing)}. To install it:\n    {cure}\nthen run again."


# ----------------------------------------------------------------------------------------------------
# The virtual environment


def scripts_folder(venv, windows=os.name == "nt"):
    """Return the folder of the environment's programs."""
    return Path(venv) / ("Scripts" if windows else "bin")


def venv_python(venv, windows=os.name == "nt"):
    """Return the environment's Python."""
    return scripts_folder(venv, windows) / ("python.exe" if windows else "python")


# Variables that would lead our Python, pip or Jupyter to another environment, or switch assertions off.
UNWANTED = (
    "PYTHONHOME PYTHONPATH PYTHONUSERBASE PYTHONSTARTUP PYTHONEXECUTABLE PYTHONPLATLIBDIR "
    "PYTHONOPTIMIZE PYTHONWARNINGS VIRTUAL_ENV VIRTUAL_ENV_PROMPT CONDA_PREFIX CONDA_DEFAULT_ENV "
    "__PYVENV_LAUNCHER__ PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_NO_DEPS "
    "PIP_REQUIREMENT PIP_EDITABLE PIP_IGNORE_INSTALLED JUPYTER_PATH MPLBACKEND"
).split()


def clean_environment(venv, environ=None, windows=os.name == "nt"):
    """Return the variables for our child processes: those given, without what leads out of `venv`."""
    environ = os.environ if environ is None else environ
    result = {name: value for name, value in environ.items() if name not in UNWANTED}
    result["PIP_USER"] = "0"  # pip's configuration file may say user = true, which fails in an environment
    result["JUPYTER_PREFER_ENV_PATH"] = "1"  # our kernel, not one of the same name in the home folder
    folders = [str(scripts_folder(venv, windows)), environ.get("PATH", "")]
    result["PATH"] = (";" if windows else ":").join(folder for folder in folders if folder)
    return result


def fingerprint(root, python_version):
    """Return a hash of all that decides what is installed.

    The folder belongs to it: an editable installation knows its place, so a moved course is installed again.
    """
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "requirements.txt"):
        digest.update((Path(root) / name).read_bytes() + b"\0")
    digest.update(f"{python_version} {Path(root).resolve()}".encode())
    return digest.hexdigest()


def read_stamp(venv):
    """Return the fingerprint of the last complete installation, or None."""
    try:
        return (Path(venv) / STAMP_NAME).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def probe_version(venv):
    """Return the version of the environment's Python as '3.11', or None if it does not run."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    text = _answer([str(venv_python(venv)), "-c", question], venv)
    return None if text is None else text.strip()


def has_pip(venv):
    """Return whether the environment's pip runs."""
    return _answer([str(venv_python(venv)), "-m", "pip", "--version"], venv) is not None


def _answer(command, venv):
    environ = clean_environment(venv)
    try:
        return subprocess.check_output(command, env=environ, stderr=subprocess.DEVNULL, timeout=120).decode()
    except (OSError, subprocess.SubprocessError):
        return None


def environment_state(root):
    """Return (state, Python version); the state is missing, broken (make anew), stale (install) or ready."""
    venv = Path(root) / ".venv"
    if not os.path.lexists(str(venv)):
        return "missing", None
    version = probe_version(venv)
    if version is None or too_old([int(part) for part in version.split(".")]):
        return "broken", None
    if read_stamp(venv) == fingerprint(root, version):
        return "ready", version
    return ("stale", version) if has_pip(venv) else ("broken", None)


def make_venv(root):
    """Make a new .venv in place of whatever is there."""
    venv = Path(root) / ".venv"
    missing = missing_modules()
    if missing:
        raise SetupError(missing_venv_message(missing))
    if Path(sys.prefix).resolve() == venv.resolve():
        raise SetupError("The .venv you are working in is broken: run `deactivate`, then run again.")
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    elif venv.exists():
        shutil.rmtree(str(venv))
    lines = []
    code = run_child([sys.executable, "-m", "venv", str(venv)], root, on_line=lines.append)
    if code != 0:
        raise SetupError("".join(lines) + f"\nMaking .venv failed (exit code {code}).")


def install(root):
    """Install the course and what it needs into .venv with pip; the full output goes to .venv/install.log."""
    python = str(venv_python(Path(root) / ".venv"))
    log = Path(root) / ".venv" / "install.log"
    options = "--disable-pip-version-check --no-input --progress-bar off".split()
    with log.open("w", encoding="utf-8") as stream:
        # The pip of the very first 3.10 cannot make editable installs from a pyproject.toml.
        for arguments in (["pip>=23"], ["--prefer-binary", "-r", "requirements.txt"]):
            code = run_child([python, "-m", "pip", "install"] + options + arguments, root, on_line=PipReport(stream))
            if code != 0:
                stream.flush()
                tail = "\n".join(read_text(log).splitlines()[-15:])
                raise SetupError(
                    f"{tail}\n\nThe installation failed (all of its output: {log}).\n"
                    "Is this machine online? Run the same command again: it goes on where it stopped."
                )


class PipReport:
    """Turn pip's many lines into a few: one every 3 s, and every big download."""

    def __init__(self, log):
        self.log, self.packages, self.last = log, 0, time.time()

    def __call__(self, line):
        self.log.write(line)
        found = re.match(r"\s*(Collecting|Downloading|Installing collected packages)\b[: ]*(\S+)(.*)", line)
        if not found:
            return
        verb, what, rest = found.groups()
        self.packages += verb == "Collecting"
        size = re.search(r"\(([\d.]+) MB\)", rest) if verb == "Downloading" else None
        if size and float(size.group(1)) >= 5:
            self._tell(f"  downloading {what.split('/')[-1].split('-')[0]} ({size.group(1)} MB)")
        elif verb == "Installing collected packages":
            self._tell(f"  unpacking {1 + line.count(',')} packages (up to a minute or two)")
        elif verb == "Collecting" and time.time() - self.last > 3:
            self._tell(f"  fetching package {self.packages}: {re.split('[^A-Za-z0-9_.-]', what)[0]}")

    def _tell(self, text):
        self.last = time.time()
        say(text)


def set_up(root=ROOT, make=make_venv, fill=install):
    """Make .venv fit pyproject.toml; the stamp is written last, so that an interruption shows."""
    venv = Path(root) / ".venv"
    state, version = environment_state(root)
    if state == "ready":
        return
    if state != "stale":
        how = " anew (it was incomplete)" if state == "broken" else ""
        say(f"making the virtual environment .venv{how}")
        make(root)
        version = probe_version(venv)
    stamp = venv / STAMP_NAME
    if stamp.exists():
        stamp.unlink()
    say("installing the course into .venv (the first time takes one to five minutes)")
    before = fingerprint(root, version)
    fill(root)
    stamp.write_text(before + "\n", encoding="ascii")
    say("installed")


# ----------------------------------------------------------------------------------------------------
# Child processes


def run_child(command, root, on_line=None, environ=None, output=None, watch=None):
    """Run a command in the course folder and return its exit code; if we are interrupted, end it first.

    `on_line` is called with each line of its output, `watch` several times a second while it runs.
    """
    environ = clean_environment(Path(root) / ".venv") if environ is None else environ
    if on_line is not None:
        environ = dict(environ, PYTHONIOENCODING="utf-8")
        output = subprocess.PIPE
    errors = None if output is None else subprocess.STDOUT
    child = subprocess.Popen([str(part) for part in command], cwd=str(root), env=environ, stdout=output, stderr=errors)
    try:
        if on_line is not None:
            for line in child.stdout:
                on_line(line.decode("utf-8", "replace"))
        while child.poll() is None:  # not wait(): on Windows it would hold back Ctrl-C
            if watch is not None:
                watch()
            time.sleep(0.1)
        return child.returncode
    finally:
        end_child(child)


def end_child(child, patience=3.0):
    """End a child: it usually got the Ctrl-C too and is closing; else ask it, and at last force it."""
    for push in (lambda: None, child.terminate, child.kill):
        if child.poll() is not None:
            break
        push()
        try:
            child.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:  # a second Ctrl-C: no more patience
            patience = 0.5
    if child.stdout is not None:
        child.stdout.close()


def read_text(path):
    """Return a file's text, whatever its bytes; empty if there is no file."""
    try:
        return Path(path).read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


# ----------------------------------------------------------------------------------------------------
# The commands


def lab_command(root, browser=True, as_root=None):
    """Return the command line that starts JupyterLab on the start page."""
    if as_root is None:
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    page = "/lab/tree/" + START_PAGE if (Path(root) / START_PAGE).exists() else "/lab"
    command = [str(venv_python(Path(root) / ".venv")), "-m", "jupyterlab"]
    command += [f"--ServerApp.root_dir={root}", f"--LabApp.default_url={page}"]
    command += ["--ServerApp.answer_yes=True"]  # Ctrl-C ends it without a question
    command += [] if browser else ["--no-browser"]
    command += ["--allow-root"] if as_root else []
    return command


def find_address(log_text):
    """Return the address JupyterLab wrote into its log, or None as long as there is none."""
    found = re.search(r"https?://\S+/lab\S*", log_text)
    return found.group() if found else None


class AddressReport:
    """Print the address of the course once, as soon as JupyterLab knows it."""

    def __init__(self, log, browser):
        self.log, self.browser, self.address = log, browser, None

    def __call__(self):
        if self.address is None:
            self.address = find_address(read_text(self.log))
            if self.address is not None:
                opening = "opening the course in your browser; if no page appears, " if self.browser else ""
                say(f"{opening}open this address:")
                print(f"\n    {self.address}\n", flush=True)
                say("to stop: save your notebooks, then press Ctrl-C here")


def open_lab(root, browser=True):
    """Run JupyterLab until the reader stops it."""
    log = Path(root) / ".venv" / "jupyter.log"
    report = AddressReport(log, browser)
    say("starting JupyterLab")
    with log.open("wb") as stream:
        try:
            code = run_child(lab_command(root, browser), root, output=stream, watch=report)
        except KeyboardInterrupt:
            print()
            say("JupyterLab is closed; see you soon")
            return 0
    if code != 0:
        print("\n".join(read_text(log).splitlines()[-15:]))
        say(f"JupyterLab ended with exit code {code} (all of its output: {log})")
    return code


def package_arguments(arguments, folder):
    """Return arguments with the paths of existing files made absolute, as we run in the course folder."""
    return [str(Path(folder, a).resolve()) if Path(folder, a).exists() else a for a in arguments]


def is_ci(environ):
    """Return whether we run on a CI machine, where nothing may be left out."""
    return environ.get("CI", "").lower() not in ("", "0", "false")


def find_chromium(environ=None, platform=sys.platform):
    """Return a Chromium-like browser: MPCRL_CHROMIUM, else from PATH, else from the usual places; or None."""
    environ = os.environ if environ is None else environ
    if environ.get("MPCRL_CHROMIUM"):
        return shutil.which(environ["MPCRL_CHROMIUM"], path=environ.get("PATH", ""))
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        found = shutil.which(name, path=environ.get("PATH", ""))
        if found:
            return found
    if platform == "darwin":
        folders = ["/Applications", os.path.join(environ.get("HOME", ""), "Applications")]
        names = ["Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium"]
    elif platform == "win32":
        variables = ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
        folders = [environ[name] for name in variables if name in environ]
        names = ["Google/Chrome/Application/chrome.exe", "Chromium/Application/chrome.exe"]
        names += ["Microsoft/Edge/Application/msedge.exe"]
    else:
        return None
    places = [os.path.join(folder, *name.split("/")) for name in names for folder in folders]
    return next((place for place in places if os.path.isfile(place)), None)


def notebooks(root):
    """Return the course's notebooks, without Jupyter's checkpoint copies."""
    return [
        path
        for folder in NOTEBOOK_FOLDERS
        for path in sorted((Path(root) / folder).rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts
    ]


def test_steps(root, chromium, junit_folder):
    """Return the steps of `course.py test` as (name, command, junit file or None)."""
    python = [str(venv_python(Path(root) / ".venv")), "-m"]
    pytest = python + ["pytest", "-q", "-n", "2", "--dist", "loadfile"]
    unit, books = Path(junit_folder) / "tests.xml", Path(junit_folder) / "notebooks.xml"
    tests = ["tests"] if chromium else ["tests", "--ignore=tests/browser"]
    steps = [
        ("ruff check", python + ["ruff", "check", "."], None),
        ("ruff format", python + ["ruff", "format", "--check", "."], None),
        ("mypy", python + ["mypy"], None),
        ("tests", pytest + [f"--junitxml={unit}"] + tests, unit),
    ]
    folders = [folder for folder in NOTEBOOK_FOLDERS if any(p.parts[-2] == folder for p in notebooks(root))]
    if folders:
        options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120", f"--junitxml={books}"]
        steps.append(("notebooks", pytest + options + folders, books))
    return steps


def count_tests(junit_file):
    """Return how many tests (passed, failed, skipped) a JUnit file reports, zeros if it cannot be read."""
    try:
        suites = list(xml.etree.ElementTree.parse(str(junit_file)).getroot().iter("testsuite"))
    except (OSError, xml.etree.ElementTree.ParseError):
        return 0, 0, 0
    total, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return max(total - failed - skipped, 0), failed, skipped


def run_tests(root, environ=None, run=run_child):
    """Run every step, also after a failure; print a summary; return 0 only if all went well."""
    environ = os.environ if environ is None else environ
    environ = clean_environment(Path(root) / ".venv", environ)
    chromium = find_chromium(environ)
    summary, passed, failed = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        # The notebooks' checks must not write into the reader's own record of what is done.
        environ["MPCRL_COURSE_PROGRESS"] = str(Path(folder) / "progress.json")
        # Several workers share the machine: what is slow for that reason is no endless loop.
        environ.setdefault("MPCRL_COURSE_TIME_FACTOR", "5")
        if chromium:
            environ["MPCRL_CHROMIUM"] = chromium
        elif is_ci(environ):
            say("no Chromium found: on CI that is a failure (install it, or set MPCRL_CHROMIUM)")
            summary.append(("FAILED", "chromium", 0.0, "not found"))
            failed += 1
        else:
            say("no Chromium found: the browser tests are left out (it can be named by MPCRL_CHROMIUM)")
        for name, command, junit_file in test_steps(root, chromium, folder):
            say(f"--- {name}")
            begun = time.time()
            code = run(command, root, environ=environ)
            note = ""
            if junit_file is not None:
                good, bad, skipped = count_tests(junit_file)
                bad = bad if code == 0 else max(bad, 1)  # a run that broke off counts as one failure
                passed, failed = passed + good, failed + bad
                note = f"{good} passed, {bad} failed, {skipped} skipped"
            summary.append(("ok" if code == 0 else "FAILED", name, time.time() - begun, note))
    say("summary")
    for verdict, name, seconds, note in summary:
        print(f"    {verdict:8}{name:14}{seconds:7.1f} s   {note}".rstrip())
    if not notebooks(root):
        print("    (no notebooks found)")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if all(verdict == "ok" for verdict, _, _, _ in summary) else 1


def parse(arguments):
    """Return (command, its arguments); the command is 'usage' for what we do not know."""
    if not arguments:
        return "lab", []
    first, rest = arguments[0], list(arguments[1:])
    if first in ("-h", "--help", "help"):
        return "help", []
    if first == "--no-browser":
        first, rest = "lab", list(arguments)
    if first in PACKAGE_COMMANDS:
        return first, rest
    if (first == "lab" and set(rest) <= {"--no-browser"}) or (first == "test" and not rest):
        return first, rest
    return "usage", [" ".join(arguments)]


def usage():
    """Return the list of commands, from the top of this file."""
    return "\n".join(line[4:] for line in __doc__.splitlines() if line.startswith("    "))


def main(arguments=None, version=sys.version_info, root=ROOT):
    """Do what the command line asks; return the exit code."""
    complaint = too_old(version)
    if complaint:
        print(complaint)
        return 1
    command, rest = parse(sys.argv[1:] if arguments is None else arguments)
    if command == "help":
        print(usage())
        return 0
    if command == "usage":
        print(f"There is no command `{rest[0]}`. The commands are:\n\n{usage()}")
        return 2
    try:
        set_up(root)
        if command == "lab":
            return open_lab(root, browser="--no-browser" not in rest)
        if command == "test":
            return run_tests(root)
        python = str(venv_python(Path(root) / ".venv"))
        rest = package_arguments(rest, os.getcwd())
        return run_child([python, "-m", "mpcrl_course", command] + rest, root)
    except SetupError as problem:
        print(problem)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on.")
        return 130


def _on_terminate(signal_number, frame):
    raise KeyboardInterrupt  # so that a `kill` also closes JupyterLab


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _on_terminate)
    sys.exit(main())
