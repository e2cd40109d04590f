#!/usr/bin/env python3
"""Set up and open the course. Needs nothing but Python 3.10 or newer.

    python3 course.py                  open the course in JupyterLab
    python3 course.py --no-browser     the same, but only print the address
    python3 course.py test             run all tests
    python3 course.py check NOTEBOOK   run the checks of one notebook and print a table
    python3 course.py progress         show which exercise items are done
    python3 course.py build-exercises  make exercises/ from solutions/
    python3 course.py run LECTURE --html OUT   run a lecture and save it as a web page
    python3 course.py slides LECTURE           run a lecture and save it as slides
    python3 course.py new-plant NAME           write a plant of your own, to be changed
    python3 course.py try-plant NAME           compare controllers on it
    python3 course.py reproduce second-order   make a published result again (some minutes)
    python3 course.py population CONFIG        plan for a population of agents, and deploy it

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
# Handed on to `python -m mpcrl_course`.
PACKAGE_COMMANDS = (
    "check",
    "progress",
    "build-exercises",
    "run",
    "slides",
    "new-plant",
    "try-plant",
    "reproduce",
    "population",
)
STAMP = ".venv/mpcrl_course.stamp"  # the fingerprint of the last complete installation
BEGUN = time.time()


class SetupError(Exception):
    """Something the reader must put right; the message says what."""


def say(text):
    """Print one line that begins with the seconds since the start."""
    print(f"[{time.time() - BEGUN:4.0f} s] {text}", flush=True)


def read_text(path):
    """Return a file's text, whatever its bytes; empty if there is no file."""
    try:
        return Path(path).read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def too_old(version):
    """Return the sentence for a Python that is too old, or None."""
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return None
    have, need = ".".join(map(str, version[:2])), ".".join(map(str, OLDEST_PYTHON))
    address = "https://www.python.org/downloads/"
    return f"Python {have} is too old: install Python {need} or newer from {address}, then run again"


def missing_venv_message(missing, platform=sys.platform):
    """Say what to install when this Python cannot make virtual environments."""
    own = "python{}.{}-venv".format(*sys.version_info[:2])
    cure = {
        "linux": f"sudo apt install python3-venv    (or {own}, if your python3 is not the system's own; where there\n"
        "    is no apt, the parts of Python named venv and ensurepip, with your package manager)",
        "darwin": "brew install python    (or the installer from https://www.python.org/downloads/)",
    }.get(platform, "install Python from https://www.python.org/downloads/ with 'pip' ticked")
    return f"This Python has no {' and no '.join(missing)}. To install it:\n    {cure}\nthen run again."


# ---- the virtual environment ---------------------------------------------------------------------


def environment_python(root, windows=os.name == "nt"):
    """Return the Python of the course's environment; its programs are in the same folder."""
    return Path(root, ".venv", "Scripts", "python.exe") if windows else Path(root, ".venv", "bin", "python")


# Variables that would lead our Python, pip or Jupyter to another environment, or switch assertions off.
UNWANTED = (
    "PYTHONHOME PYTHONPATH PYTHONUSERBASE PYTHONSTARTUP PYTHONEXECUTABLE PYTHONPLATLIBDIR "
    "PYTHONOPTIMIZE PYTHONWARNINGS VIRTUAL_ENV VIRTUAL_ENV_PROMPT CONDA_PREFIX CONDA_DEFAULT_ENV "
    "__PYVENV_LAUNCHER__ PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_NO_DEPS "
    "PIP_REQUIREMENT PIP_EDITABLE PIP_IGNORE_INSTALLED JUPYTER_PATH MPLBACKEND"
).split()


def clean_environment(root, environ=None, windows=os.name == "nt"):
    """Return the variables for our child processes: those given, without what leads out of .venv."""
    environ = os.environ if environ is None else environ
    result = {name: value for name, value in environ.items() if name not in UNWANTED}
    result["PIP_USER"] = "0"  # pip's configuration file may say user = true, which fails in an environment
    result["JUPYTER_PREFER_ENV_PATH"] = "1"  # our kernel, not one of the same name in the home folder
    folders = [str(environment_python(root, windows).parent), environ.get("PATH", "")]
    result["PATH"] = (";" if windows else ":").join(folder for folder in folders if folder)
    return result


def fingerprint(root, python_version):
    """Return a hash of all that decides what is installed.

    The folder belongs to it: an editable installation knows its place, so a moved course is installed again.
    """
    files = [read_text(Path(root, name)) for name in ("pyproject.toml", "requirements.txt", "constraints.txt")]
    return hashlib.sha256("\0".join(files + [python_version, str(Path(root).resolve())]).encode()).hexdigest()


def ask_python(root, *arguments):
    """Return what the environment's Python prints, or None if it fails or is not there."""
    command = [str(environment_python(root))] + list(arguments)
    environ = dict(clean_environment(root), PYTHONIOENCODING="utf-8")
    try:
        return subprocess.check_output(command, env=environ, stderr=subprocess.DEVNULL, timeout=120).decode().strip()
    except (OSError, subprocess.SubprocessError):
        return None


def environment_state(root):
    """Return (state, Python version); the state is missing, broken (make anew), stale (install) or ready."""
    if not os.path.lexists(str(Path(root, ".venv"))):
        return "missing", None
    version = ask_python(root, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    if version is None or too_old([int(part) for part in version.split(".")]):
        return "broken", None
    if read_text(Path(root, STAMP)).strip() == fingerprint(root, version):
        return "ready", version
    return ("broken", None) if ask_python(root, "-m", "pip", "--version") is None else ("stale", version)


def make_venv(root):
    """Make a new .venv in place of whatever is there."""
    venv = Path(root, ".venv")
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:  # Debian splits them off
        raise SetupError(missing_venv_message(missing))
    if Path(sys.prefix).resolve() == venv.resolve():
        raise SetupError("The .venv you are working in is broken: run `deactivate`, then run again.")
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    elif venv.exists():
        shutil.rmtree(str(venv))
    lines = []
    if run_child([sys.executable, "-m", "venv", str(venv)], root, on_line=lines.append) != 0:
        raise SetupError("".join(lines) + "\nMaking .venv failed.")


def install(root):
    """Install the course and what it needs into .venv with pip; the full output goes to .venv/install.log.

    The tested releases are asked for as wheels. Those that pip names as it fails are let go; if it names none, all.
    """
    log, tested = Path(root, ".venv", "install.log"), read_text(Path(root, "constraints.txt")).splitlines()
    pip = "-m pip install --disable-pip-version-check --no-input --progress-bar off".split()
    # The pip of the very first 3.10 cannot make editable installs from a pyproject.toml.
    steps = [["pip>=23"], "-r requirements.txt -c .venv/constraints.txt".split()]
    with log.open("w", buffering=1, encoding="utf-8") as stream:
        while steps:
            log.with_name("constraints.txt").write_text("\n".join(tested), encoding="utf-8")
            how = ["--only-binary", ":all:"] if tested else ["--prefer-binary"]
            if run_child([environment_python(root)] + pip + how + steps[0], root, on_line=PipReport(stream)) == 0:
                steps = steps[1:]
            elif not tested:
                raise SetupError(
                    f"{read_text(log)[-1500:]}\n\nThe installation failed (all of its output: {log}).\n"
                    "Is this machine online? Run the same command again: it goes on where it stopped."
                )
            else:
                named = sorted(set(re.findall(r"\(constraint\) ([\w.-]+==[\w.]+)", read_text(log))))
                left = [pin for pin in tested if pin.split(" ")[0] not in named]
                tested = left if len(left) < len(tested) else []
                say(f"pip cannot install {', '.join(named) if tested else 'the tested releases'}; going on without")


class PipReport:
    """Turn pip's many lines into a few: one every 3 s, and every big download."""

    def __init__(self, log):
        self.log, self.last = log, time.time()

    def __call__(self, line):
        self.log.write(line)
        found = re.match(r"\s*(Collecting|Downloading|Installing collected) (\S*)", line)
        verb, what = found.groups() if found else ("", "")
        name = re.split(r"[^\w.-]|-\d", what.split("/")[-1])[0]
        size = re.search(r"\(([\d.]+) MB\)", line)
        if verb == "Downloading" and size and float(size.group(1)) >= 5:
            say(f"  downloading {name} ({size.group(1)} MB)")
        elif verb == "Installing collected":
            say(f"  unpacking {1 + line.count(',')} packages (up to a minute or two)")
        elif verb == "Collecting" and time.time() - self.last > 3:
            say(f"  fetching {name}")
            self.last = time.time()


def set_up(root=ROOT):
    """Make .venv fit pyproject.toml and constraints.txt; the stamp is written last, so that an interruption shows."""
    for name in [ascii(part) for part in Path(root).parts if re.search("[\ud800-\udfff]", part)]:
        raise SetupError(f"The folder {name} has a name that is no text here (no UTF-8): rename it, then run again.")
    (state, version), stamp = environment_state(root), Path(root, STAMP)
    if state == "ready":
        return
    if state != "stale":
        say(f"making the virtual environment .venv{' anew (it was incomplete)' if state == 'broken' else ''}")
        make_venv(root)
        _, version = environment_state(root)
    stamp.write_text("", encoding="ascii")
    say("installing the course into .venv (the first time takes one to five minutes)")
    before = fingerprint(root, version)
    install(root)
    stamp.write_text(before + "\n", encoding="ascii")
    say("installed")


# ---- child processes -----------------------------------------------------------------------------


def run_child(command, root, on_line=None, environ=None, output=None, watch=None):
    """Run a command in the course folder and return its exit code; if we are interrupted, end it first.

    `on_line` is called with each line of its output, `watch` several times a second while it runs.
    """
    environ = clean_environment(root) if environ is None else environ
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


# ---- the course in JupyterLab --------------------------------------------------------------------


def lab_command(root, browser=True):
    """Return the command line that starts JupyterLab on the start page."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0  # which JupyterLab refuses unless told
    page = "/lab/tree/" + START_PAGE if Path(root, START_PAGE).exists() else "/lab"
    command = [str(environment_python(root)), "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    command += [f"--LabApp.default_url={page}", "--ServerApp.answer_yes=True"]  # Ctrl-C ends it without a question
    return command + ([] if browser else ["--no-browser"]) + (["--allow-root"] if as_root else [])


def open_lab(root, browser=True):
    """Run JupyterLab until the reader stops it; print its address once, as soon as it stands in its log."""
    log, said = Path(root, ".venv", "jupyter.log"), []

    def report():
        address = None if said else re.search(r"https?://\S+/lab\S*", read_text(log))
        if address:
            said.append(address)
            opening = "opening the course in your browser; if no page appears, " if browser else ""
            say(f"{opening}open this address:")
            print(f"\n    {address.group()}\n", flush=True)
            say("to stop: save your notebooks, then press Ctrl-C here")

    say("starting JupyterLab")
    with log.open("wb") as stream:
        try:
            code = run_child(lab_command(root, browser), root, output=stream, watch=report)
        except KeyboardInterrupt:
            print()
            say("JupyterLab is closed; see you soon")
            return 0
    if code != 0:
        print(read_text(log)[-1500:])
        say(f"JupyterLab ended with exit code {code} (all of its output: {log})")
    return code


# ---- the tests -----------------------------------------------------------------------------------


def is_ci(environ):
    """Return whether we run on a CI machine, where nothing may be left out."""
    return environ.get("CI", "").lower() not in ("", "0", "false")


def find_chromium(environ=None, platform=sys.platform):
    """Return a Chromium-like browser: MPCRL_CHROMIUM, else from PATH, else from the usual places; or None."""
    environ = os.environ if environ is None else environ
    if environ.get("MPCRL_CHROMIUM"):
        return shutil.which(environ["MPCRL_CHROMIUM"], path=environ.get("PATH", ""))
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = [shutil.which(name, path=environ.get("PATH", "")) for name in names]
    folders, programs = [], []
    if platform == "darwin":
        folders = ["/Applications", environ.get("HOME", "") + "/Applications"]
        programs = ["Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium"]
    elif platform == "win32":
        folders = [environ.get(name, "") for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
        programs = ["Google/Chrome/Application/chrome.exe", "Chromium/Application/chrome.exe"]
        programs += ["Microsoft/Edge/Application/msedge.exe"]
    found += [str(Path(folder, program)) for program in programs for folder in folders if folder]
    return next((path for path in found if path and os.path.isfile(path)), None)


def test_steps(browser=True):
    """Return the steps of `course.py test`: by their names, what the environment's Python is to run."""
    # Only the plugins that we name: pytest would load, and rewrite, all that are installed, in every worker.
    pytest = ["pytest", "-q", "--durations=40", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
    parallel = pytest + ["-p", "xdist.plugin", "-n", "2", "--dist", "loadfile"]
    # Each notebook is run once, by nbval; the plugin keeps what it said for the tests of the last step.
    nbval = ["-p", "nbval.plugin", "-p", "tests.records.record", "--nbval-lax", "--nbval-current-env"]
    nbval += ["--nbval-cell-timeout=1800", "--nbval-kernel-startup-timeout=1800"]  # against hanging, no verdicts
    return {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        "tests": parallel + ["tests", "--ignore=tests/records", "--ignore=tests/browser"],
        "notebooks": parallel + nbval + ["lectures", "solutions", "exercises"],
        "records": pytest + ["tests/records"] + (["tests/browser"] if browser else []),
    }


def count_tests(junit_file):
    """Return how many tests (passed, failed, skipped) a JUnit file of pytest reports, zeros if it cannot be read."""
    try:
        suite = xml.etree.ElementTree.parse(str(junit_file)).getroot()[0]
    except (OSError, xml.etree.ElementTree.ParseError):
        return 0, 0, 0
    total, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    return max(total - failures - errors - skipped, 0), failures + errors, skipped


def run_tests(root, environ=None, run=run_child):
    """Run every step, also after a failure; print a summary; return 0 only if all went well."""
    environ = clean_environment(root, environ)
    chromium = find_chromium(environ)
    lines, passed, failed, fine = [], 0, 0, bool(chromium) or not is_ci(environ)
    if not chromium:
        choice = "the browser tests are left out" if fine else "on CI that is a failure"
        say(f"no Chromium found: {choice} (install it, or name it by MPCRL_CHROMIUM)")
        failed += not fine
    with tempfile.TemporaryDirectory() as folder:
        environ.update({"MPCRL_CHROMIUM": chromium} if chromium else {})
        environ["MPCRL_COURSE_RECORD"] = str(Path(folder, "record"))
        # The notebooks' checks must not write into the reader's own record of what is done.
        environ["MPCRL_COURSE_PROGRESS"] = str(Path(folder, "progress.json"))
        environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # several workers share the machine
        environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        for name, arguments in test_steps(bool(chromium)).items():
            say(f"--- {name}")
            begun, junit, note = time.time(), Path(folder, name + ".xml"), ""
            counted = arguments[0] == "pytest"
            arguments = arguments + [f"--junitxml={junit}"] * counted
            code = run([environment_python(root), "-m"] + arguments, root, environ=environ)
            if counted:
                good, bad, skipped = count_tests(junit)
                bad = bad if code == 0 else max(bad, 1)  # a run that broke off counts as one failure
                passed, failed = passed + good, failed + bad
                note = f"{good} passed, {bad} failed, {skipped} skipped"
            fine = fine and code == 0
            lines.append(f"    {'FAILED' if code else 'ok':8}{name:14}{time.time() - begun:7.1f} s   {note}".rstrip())
    say("summary")
    print("\n".join(lines + [f"{passed} passed, {failed} failed"]), flush=True)
    return 0 if fine else 1


# ---- the command line ----------------------------------------------------------------------------


def parse(arguments):
    """Return (command, its arguments); the command is '' for what we do not know."""
    lab = not arguments or arguments[0] == "--no-browser"
    command, rest = ("lab", list(arguments)) if lab else (arguments[0], list(arguments[1:]))
    if command in ("-h", "--help", "help"):
        return "help", []
    allowed = {"lab": {"--no-browser"}, "test": set()}
    if command in PACKAGE_COMMANDS or (command in allowed and set(rest) <= allowed[command]):
        return command, rest
    return "", list(arguments)


def main(arguments=None, version=sys.version_info, root=ROOT):
    """Do what the command line asks; return the exit code."""
    for stream in [one for one in (sys.stdout, sys.stderr) if hasattr(one, "reconfigure")]:
        stream.reconfigure(errors="replace")  # a console may lack a letter: it prints "?"
    if too_old(version):
        print(too_old(version))
        return 1
    command, rest = parse(sys.argv[1:] if arguments is None else arguments)
    if command in ("help", ""):
        said = "" if command else f"There is no command `{' '.join(rest)}`. The commands are:\n\n"
        print(said + "\n".join(line[4:] for line in __doc__.splitlines() if line.startswith("    ")))
        return 0 if command else 2
    try:
        set_up(root)
        if command == "lab":
            return open_lab(root, browser="--no-browser" not in rest)
        if command == "test":
            return run_tests(root)
        # We run in the course folder: what names a file where the reader is must still name it there.
        rest = [str(Path(name).resolve()) if Path(name).exists() else name for name in rest]
        return run_child([environment_python(root), "-m", "mpcrl_course", command] + rest, root)
    except SetupError as problem:
        print(problem)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on.")
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a `kill` also closes JupyterLab
    sys.exit(main())
