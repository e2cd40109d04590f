"""Where things are, whatever the working folder: the course, its shipped numbers, the reader's record of progress.

    places.course_folder()          the folder with lectures/, exercises/ and solutions/
    places.data("ddpg_03.npz")      numbers that come with the package, in `mpcrl_course/data/`
    places.progress_file()          what the reader has done

Nothing else in the package guesses where it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"


def course_folder(start: Path | None = None) -> Path:
    """Find the course: the nearest folder upwards with `course.py` and `lectures/`, or our `pyproject.toml`.

    If none is found, the course is where this package was installed from, if it was installed to be edited
    (`pip install -e`, as `course.py` does); else it is where we are: `start`.

    Parameters
    ----------
    start
        Where to begin; the current directory if not given.
    """
    start = Path.cwd() if start is None else Path(start).resolve()
    places = (start, *start.parents, _PACKAGE.parent)
    return next((folder for folder in places if _is_course(folder)), start)


def _is_course(folder: Path) -> bool:
    if (folder / "course.py").is_file() and (folder / "lectures").is_dir():
        return True
    try:
        text = (folder / "pyproject.toml").read_text("utf-8")
    except (OSError, ValueError):
        return False
    return re.search(r'^name\s*=\s*["\']mpcrl[-_]course["\']', text, re.M) is not None


def progress_file() -> Path:
    """Give the file results are kept in; the environment variable `MPCRL_COURSE_PROGRESS` names another."""
    named = os.environ.get("MPCRL_COURSE_PROGRESS")
    return Path(named) if named else course_folder() / ".mpcrl_course" / "progress.json"


def data(name: str) -> NpzFile:
    """Open numbers that come with the course: arrays by name, as `numpy.load` gives them.

    Parameters
    ----------
    name
        The file's name, such as ``"ddpg_03.npz"``.

    Raises
    ------
    FileNotFoundError
        There is no such file; the message lists those that are there.
    """
    try:
        return np.load(_DATA / name, allow_pickle=False)
    except FileNotFoundError:
        there = ", ".join(sorted(path.name for path in _DATA.glob("*.npz"))) or "none"
        raise FileNotFoundError(
            f"the course ships no {name!r}. In {_DATA} there are: {there}. If one is missing, "
            "get the course's files again and install them (`python3 course.py`)."
        ) from None
