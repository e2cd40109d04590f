"""Texts on every system: files name their encoding, and consoles of any kind are printed to.

What a program gets if it names none is the system's: UTF-8 here, cp1252 on many a Windows, ASCII where LANG=C.
"""

import ast
import io
import os
import shutil
import subprocess
import sys

import pytest

import course
from mpcrl_course import cli
from mpcrl_course.checks import progress
from mpcrl_course.checks.engine import Exercise, Predict
from tests.notebooks import ROOT

# ---- files

#: Where the mode stands among the arguments of what opens a file, and where the encoding, if that may stand there.
OPENERS = {"open": (1, 3), "fdopen": (1, 3), "NamedTemporaryFile": (0, 2), "TemporaryFile": (0, 2)}
#: Nothing of these is text, or the name is ours.
OTHERS = {"os.open", "Image.open", "opener.open", "ZipFile.open", "course.read_text"}
PROCESSES = {"run", "Popen", "call", "check_call", "check_output"}
BINARY_UNLESS_TOLD = {"NamedTemporaryFile", "TemporaryFile"}


def nameless(source):
    """Return the lines that open, read or write text, or talk to a process in text, and name no encoding."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) in OTHERS:
            continue
        method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if method else getattr(node.func, "id", "")
        named, given = {keyword.arg: keyword.value for keyword in node.keywords}, len(node.args)
        if name in OPENERS:
            at, encoding = OPENERS[name]
            on_path = name == "open" and method and ast.unparse(node.func) not in ("io.open", "gzip.open")
            mode = named.get("mode") or dict(enumerate(node.args)).get(at - on_path)
            binary = "b" in ast.unparse(mode).strip("'\"") if mode else name in BINARY_UNLESS_TOLD
            text, said = not binary, given > encoding - on_path
        elif name in ("read_text", "write_text") and method:
            text, said = True, given > (name == "write_text")
        else:
            asked = [named[word] for word in ("text", "universal_newlines") if word in named and name in PROCESSES]
            text, said = any(ast.unparse(value) != "False" for value in asked), False
            text |= ast.unparse(node.func).endswith("TextIOWrapper")
        if text and not said and "encoding" not in named:
            found.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
    return found


@pytest.mark.parametrize(
    "call",
    [
        "open(p)",
        "open(p, 'w')",
        "open(p, mode='a')",
        "p.open()",
        "p.open('w')",
        "p.read_text()",
        "p.write_text(t)",
        "p.write_text(t, newline='')",
        "subprocess.run(c, text=True)",
        "Popen(c, universal_newlines=True)",
        "check_output(c, text=yes)",
        "os.fdopen(h, 'w')",
        "NamedTemporaryFile('w')",
        "io.TextIOWrapper(s)",
        "io.open(p)",
        "gzip.open(p, 'rt')",
    ],
)
def test_a_call_without_an_encoding_is_found(call):
    assert nameless(f"x = 1\nwith {call} as y: pass") == [f"line 2: {call}"]


@pytest.mark.parametrize(
    "call",
    [
        "open(p, 'rb')",
        "open(p, 'w', encoding='utf-8')",
        "open(p, 'w', -1, 'utf-8')",
        "p.open('wb')",
        "os.open(p, flags)",
        "p.open(encoding='ascii')",
        "p.read_text('utf-8')",
        "p.write_text(t, 'utf-8')",
        "p.read_text(encoding='utf-8')",
        "subprocess.run(c)",
        "subprocess.run(c, encoding='utf-8')",
        "run(c, text=True, encoding='utf-8')",
        "Image.open(p)",
        "os.fdopen(h, 'wb')",
        "NamedTemporaryFile()",
        "course.read_text(p)",
        "p.read_bytes()",
        "output(text=t)",
        "run(c, text=False)",
    ],
)
def test_a_call_with_an_encoding_or_without_text_is_none_of_them(call):
    assert nameless(call) == []


def test_every_text_is_read_and_written_in_an_encoding_that_is_named():
    rooms = [ROOT / name for name in ("mpcrl_course", "tests", "benchmarks")]
    files = [path for room in rooms for path in room.rglob("*.py") if ".peers" not in path.parts]
    files.append(ROOT / "course.py")
    assert len(files) > 150
    found = {path.relative_to(ROOT).as_posix(): nameless(path.read_text(encoding="utf-8")) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


# ---- consoles

CONSOLES = ("ascii", "cp1252", "cp437", "latin-1", "utf-8")


@pytest.fixture(params=CONSOLES)
def console(request, monkeypatch):
    """Return a function that puts a console of this encoding in the place of ours, and returns what reads it."""

    def begin():  # in the test: pytest puts its own there before
        out = io.TextIOWrapper(io.BytesIO(), encoding=request.param, newline="\n", write_through=True)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out)
        return lambda: out.buffer.getvalue().decode(request.param)

    return begin


def test_a_check_in_a_script_prints_on_every_console(console, tmp_path, monkeypatch):
    """Its streams are the script's own: they stay as they are."""
    monkeypatch.setenv("MPCRL_COURSE_PROGRESS", str(tmp_path / "progress \udcff.json"))
    read = console()
    (tmp_path / "progress \udcff.json").write_bytes(b"{")  # and what is said of it
    check = Exercise(99, "γ ≤ 1 – “Ü”", [Predict(1, "θ⁺", reference=2.0, hints=["∇"], when_right="λ ≥ 0")])
    check(1, 2.0)
    check.hint(1)
    check.summary()
    text = read()
    assert " Item 1, " in text and ": right. " in text and "Hint 1 of 1" in text and "100 %" in text
    assert "it is kept as progress " in text and sys.stdout.errors == "strict"


def test_the_command_line_prints_on_every_console(console, tmp_path, monkeypatch):
    entry = {"kind": "fill", "title": "θ⁺ = θ − α ∇", "last": progress.RIGHT, "best": progress.RIGHT}
    record = {"exercises": {"06": {"title": "γ \ud800", "items": {"1": entry}}}}
    file = tmp_path / "Jürgen's “record”" / "π.json"
    progress.change(file, lambda data: data.update(record))
    monkeypatch.setenv("MPCRL_COURSE_PROGRESS", str(file))
    read = console()
    assert cli.main(["progress"]) == 0
    assert "Exercise 06, " in read() and ": 1 of 1 right" in read()
    assert cli.main(["check", "no such notebook: π"]) == 2
    assert "mpcrl-course: no notebook " in read()


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A course whose environment is a stand-in that cannot install: pip complains in many letters."""
    root = tmp_path_factory.mktemp("of") / "Jürgen's “course” π"
    python = course.environment_python(root)
    python.parent.mkdir(parents=True)
    (root / "pyproject.toml").write_text("", encoding="utf-8")
    shutil.copy(ROOT / "course.py", root)
    version = r"[ $PYTHONIOENCODING = utf-8 ] && echo 'pip of ü' || printf 'pip of \374'"
    complaint = f"*install*) echo 'π: not found ✗'; exit 1;; *version_info*) echo 3.11;; *) {version};;"
    python.write_text(f"#!/bin/sh\ncase $* in {complaint} esac\n", encoding="utf-8")
    python.chmod(0o755)
    return root


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize("console", [*({"PYTHONIOENCODING": name} for name in CONSOLES), {"LC_ALL": "C"}], ids=str)
def test_course_py_prints_on_every_console(half_done, console):
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    command = [sys.executable, "course.py", "progress"]
    done = subprocess.run(command, cwd=half_done, env={**environ, **console}, capture_output=True)
    text = done.stdout.decode(console.get("PYTHONIOENCODING", "utf-8"))
    assert done.returncode == 1 and "The installation failed (all of its output: " in text, done.stderr
    assert ": not found " in text and not done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
@pytest.mark.parametrize("language", ["C", "C.UTF-8"])
def test_a_folder_whose_name_is_no_text_works_or_is_named(tmp_path, language):
    root = os.path.join(os.fsencode(tmp_path), b"kurs-\xfc")
    os.makedirs(os.path.join(root, b"lectures"))
    shutil.copy(os.fsencode(ROOT / "course.py"), root)
    environ = {**os.environ, "LC_ALL": language, "PYTHONPATH": str(ROOT)}
    environ.pop("MPCRL_COURSE_PROGRESS", None)
    done = subprocess.run([sys.executable, "course.py", "progress"], cwd=root, env=environ, capture_output=True)
    sentence = rb"The folder 'kurs-\udcfc' has a name that is no text here (no UTF-8): rename it, then run again."
    assert (done.returncode, done.stdout.strip(), done.stderr) == (1, sentence, b"")
    assert not os.path.exists(os.path.join(root, b".venv"))
    done = subprocess.run(
        [sys.executable, "-m", "mpcrl_course", "progress"], cwd=root, env=environ, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"") and b"Nothing recorded yet in " in done.stdout
