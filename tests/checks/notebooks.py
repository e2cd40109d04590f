"""What the notebooks of every exercise must keep; called by the tests of each exercise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from mpcrl_course.checks.engine import NOT_ATTEMPTED
from mpcrl_course.exercises import exercise_text

ROOT = Path(__file__).resolve().parents[2]


def check_texts(name):
    """The exercise is in step with its solution; no notebook of the lecture is committed with outputs."""
    assert (ROOT / "exercises" / name).read_text(encoding="utf-8") == exercise_text(ROOT / "solutions" / name)
    for folder in ("exercises", "solutions", "lectures"):
        notebook = json.loads((ROOT / folder / name).read_text(encoding="utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
        ids = [cell["id"] for cell in notebook["cells"]]
        assert len(set(ids)) == len(ids)
        assert folder == "solutions" or not any("SOLUTION" in str(cell) for cell in code)


def check_blank(exercise, name, record):
    """The blank exercise runs top to bottom; each item is "not attempted", and stands in with the reference if it can.

    Parameters
    ----------
    exercise : Exercise
    name : str
        Of the notebook.
    record : path
        Where MPCRL_COURSE_PROGRESS points.
    """
    notebook = nbformat.read(ROOT / "exercises" / name, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT / "exercises")}}).execute()
    items = json.loads(record.read_text(encoding="utf-8"))["exercises"][f"{exercise.number:02d}"]["items"]
    assert [items[str(n)]["last"] for n in exercise.items] == [NOT_ATTEMPTED] * len(exercise.items)
    for number, item in exercise.items.items():
        (cell,) = (cell for cell in notebook.cells if f"check({number}, " in cell.source and cell.cell_type == "code")
        shown = str(cell.outputs).replace("&#x27;", "'").replace("\\'", "'")
        assert (f"use the course's reference for item {number}" in shown) == item.hands_out_reference


def check_solved(exercise, name, home):
    """The solution scores 100 % on the command line."""
    command = [sys.executable, "-m", "mpcrl_course", "check", str(ROOT / "solutions" / name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "HOME": str(home)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(exercise.items)} of {len(exercise.items)} right." in done.stdout
