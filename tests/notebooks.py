"""The course's notebooks as they are committed, for all tests that look at them."""

import importlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("lectures", "solutions", "exercises")
#: The exercises by the names of their notebooks, such as '01_decisions'.
EXERCISES = [path.stem for path in sorted((ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))]


def notebooks(*folders):
    """Return the notebooks in these folders, without those that a reader has added or Jupyter has copied."""
    return [path for folder in folders for path in sorted((ROOT / folder).glob("[0-9][0-9]_*.ipynb"))]


def load(notebook):
    """Return a notebook, as in the file."""
    return json.loads(Path(notebook).read_text(encoding="utf-8"))


def cells(notebook):
    """Return the cells of a notebook, as in the file."""
    return load(notebook)["cells"]


def texts(name, folder="exercises"):
    """Return the source of each cell of an exercise (or solution, or lecture) by the cell's id."""
    return {cell["id"]: "".join(cell["source"]) for cell in cells(ROOT / folder / f"{name}.ipynb")}


def exercise(name):
    """Return the `Exercise` whose notebook has this name."""
    return importlib.import_module(f"mpcrl_course.checks.ex{name[:2]}").exercise
