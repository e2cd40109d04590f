"""The command line, on a small course in a temporary folder."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from mpcrl_course import cli, places
from mpcrl_course.checks import progress
from mpcrl_course.cli import main

ROOT = Path(__file__).resolve().parent.parent

TOY = """\
from mpcrl_course.checks.engine import Exercise, Fill, Predict

exercise = Exercise(9, "a toy", [
    Predict(1, "a number", reference=2.5),
    Fill(2, "double", reference=lambda x: 2 * x, probes=lambda rng: [(rng.normal(),)]),
    Fill(3, "triple", reference=lambda x: 3 * x, probes=lambda rng: [(rng.normal(),)]),
])
"""


def write(path, *sources):
    path.parent.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mpcrl-course"\n', encoding="utf-8")
    (tmp_path / "lectures").mkdir()
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPCRL_COURSE_PROGRESS", raising=False)
    return tmp_path


def test_check_runs_a_notebook_and_tells_what_is_not_right(course, capsys):
    write(
        course / "exercises" / "09_toy.ipynb",
        "import os, toy\ncheck = toy.exercise",
        "check(1, 2.5)",
        "1 / 0",
        "double = check(2, lambda x: 2 * x)\ncheck.hint(2)",
        "assert double(4) == 8",
    )
    assert main(["check", "9"]) == 1
    out = capsys.readouterr().out
    assert "cell 3: ZeroDivisionError: division by zero" in out and "cell 5" not in out
    lines = [line.split() for line in out.splitlines()]
    assert ["1", "predict", "✓", "right"] in lines and ["2", "fill", "✓", "right"] in lines
    assert ["3", "fill", "○", "not", "attempted"] in lines  # its check was deleted
    assert "2 of 3 right." in out
    assert not (course / ".mpcrl_course").exists()  # a fresh record, not the student's own


def test_exit_code_0_only_if_all_is_right(course, capsys, monkeypatch):
    def pretend(path, timeout, environment):
        Path(environment["MPCRL_COURSE_PROGRESS"]).write_text(record, encoding="utf-8")
        return None, []

    monkeypatch.setattr(cli, "_execute", pretend)
    write(course / "exercises" / "09_toy.ipynb")
    entry = {**progress.new_entry("fill", "x"), "last": progress.RIGHT}
    record = json.dumps({"version": 1, "exercises": {"09": {"title": "toy", "items": {"1": entry}}}})
    assert main(["check", "exercises/09_toy.ipynb"]) == 0
    assert "1 of 1 right." in capsys.readouterr().out
    record = json.dumps({"version": 1, "exercises": {}})
    assert main(["check", "09_toy"]) == 1
    assert "no check ran" in capsys.readouterr().out


def test_run_writes_html_and_tells_of_errors(course, capsys):
    write(course / "lectures" / "01_first.ipynb", "print('seen' * 2)", "[][1]", "print(6 * 7)")
    assert main(["run", "1", "--html", "out.html"]) == 1
    html = (course / "out.html").read_text("utf-8")
    assert "seenseen" in html and "42" in html
    out = capsys.readouterr().out
    assert "cell 2: IndexError" in out and "wrote " in out


def test_run_interrupts_a_cell_that_hangs_and_goes_on(course, capsys):
    write(course / "lectures" / "01_first.ipynb", "while True:\n    pass", "while True:\n    pass")
    assert main(["run", "1", "--html", "out.html", "--timeout", "0.5"]) == 1
    out = capsys.readouterr().out
    assert "cell 1: KeyboardInterrupt" in out and "cell 2: KeyboardInterrupt" in out and "wrote " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "12"], "no notebook '12'. In exercises/ there are: 09_toy."),
        (["check", "absent.ipynb"], "there are: 09_toy."),
        (["run", "3", "--html", "x.html"], "In lectures/ there are: none yet."),
        (["check", "text.ipynb"], "is not a notebook"),
        (["check", "list.ipynb"], "is not a notebook"),
        (["run", "exercises/09_toy.ipynb", "--html", "absent/x.html"], "in a folder that exists"),
        (["check", "9", "--timeout", "0"], "not a positive number of seconds"),
        (["lab"], "there is no lectures/00_start.ipynb"),
        (["build-exercises"], "there is no solutions/"),
        (["nonsense"], "invalid choice"),
        ([], "required"),
    ],
)
def test_bad_requests_say_what_is_wrong(course, capsys, arguments, words):
    write(course / "exercises" / "09_toy.ipynb")
    (course / "text.ipynb").write_text("no notebook", encoding="utf-8")
    (course / "list.ipynb").write_text("[1, 2]", encoding="utf-8")
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_help_is_no_error(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("lab", "check", "progress", "build-exercises", "run"))


def test_progress(course, capsys):
    assert main(["progress"]) == 0
    assert "Nothing recorded yet" in capsys.readouterr().out
    entry = progress.new_entry("fill", "TD error")
    progress.note(entry, progress.RIGHT, "")
    progress.note(entry, progress.WRONG, "")
    exercise = {"title": "toy", "items": {"2": entry, "10": entry}}
    progress.change(places.progress_file(course), lambda data: data["exercises"].update({"06": exercise}))
    assert main(["progress"]) == 0
    out = capsys.readouterr().out
    assert "Exercise 06, toy: 0 of 2 right" in out and "TD error  ✗ wrong  ✓ right  2       0" in out
    assert out.index("\n2 ") < out.index("\n10 ")


def test_build_exercises(course, capsys):
    write(course / "solutions" / "06_toy.ipynb", "### BEGIN SOLUTION\nx = 1\n### END SOLUTION")
    assert main(["build-exercises", "--check"]) == 1
    assert "exercises/06_toy.ipynb differs from its solution" in capsys.readouterr().out
    assert main(["build-exercises"]) == 0
    assert capsys.readouterr().out == "wrote exercises/06_toy.ipynb\n"
    assert main(["build-exercises", "--check"]) == 0
    assert "in step" in capsys.readouterr().out
    write(course / "solutions" / "06_toy.ipynb", "### BEGIN SOLUTION\nx = 1")
    assert main(["build-exercises"]) == 2
    assert "06_toy.ipynb, cell 1: a solution does not end" in capsys.readouterr().err


def test_lab_opens_the_start_page(course, monkeypatch):
    write(course / "lectures" / "00_start.ipynb")
    calls = []
    monkeypatch.setattr(cli.subprocess, "call", lambda command, cwd: calls.append((command, cwd)) or 0)
    assert main(["lab", "--no-browser"]) == 0
    ((command, folder),) = calls
    assert command[:3] == [sys.executable, "-m", "jupyterlab"] and "--no-browser" in command
    assert "--LabApp.default_url=/lab/tree/lectures/00_start.ipynb" in command and folder == course
