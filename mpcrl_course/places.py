"""Where things are, whatever the working folder: the course, its shipped numbers, the reader's record of progress.

    places.course_folder()          the folder with lectures/, exercises/ and solutions/
    places.data("ddpg_03.npz")      numbers that come with the package, in `mpcrl_course/data/`
    places.progress_file()          what the reader has done

The reader is where the notebook is: the folder in which its kernel *started*, which `%cd` and `os.chdir` leave as it
is; of a notebook that is a symbolic link also the folder that it leads to. The course is the nearest one upwards from
there, so that of two copies on one machine a notebook belongs to its own. A notebook outside of any course (a copy on
the desktop) belongs to the course from whose folder this package comes: an editable installation, as `course.py` makes
it, or one in an environment inside the course's folder.

The record is `.mpcrl_course/progress.json` in the course's folder. If there is no course at all (a plain
`pip install`, and notebooks in a folder of their own), it stands in the notebook's folder, or in the nearest folder
above it that has one already: nothing is ever written to another place, unless `MPCRL_COURSE_PROGRESS` names it.

Nothing else in the package guesses where it is.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

_PACKAGE = Path(__file__).resolve().parent
#: The folder of the shipped numbers.
DATA = _PACKAGE / "data"
#: In the folder of the course.
RECORD = Path(".mpcrl_course", "progress.json")


def working_folder() -> Path:
    """Give the working folder of this moment; if it was deleted, that of temporary files."""
    try:
        return Path.cwd()
    except OSError:
        return Path(tempfile.gettempdir())


_AT_IMPORT = working_folder()


def _reader() -> list[Path]:
    # Where the reader is. A notebook's shell remembers where it started, also if we are imported after a %cd.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    started = Path(getattr(shell, "starting_dir", _AT_IMPORT)).resolve()
    edited = getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__")  # VS Code may start the kernel elsewhere
    if isinstance(edited, str) and os.path.isfile(edited):
        return [Path(edited).parent.resolve(), Path(edited).resolve().parent, started]
    opened = Path(os.environ.get("JPY_SESSION_NAME", ""))  # by Jupyter; children inherit it, so it must fit
    linked = [opened.resolve().parent] if os.path.isfile(opened) and opened.parent.resolve() == started else []
    return [started, *linked]


def notebook_folder() -> Path:
    """Give the folder of the reader's notebook; of a script, the folder from which it was started."""
    return _reader()[0]


def course_folder(start: str | os.PathLike | None = None) -> Path:
    """Find the course: the nearest folder upwards with `course.py` and `lectures/`, or our `pyproject.toml`.

    If none is found, the course is where this package comes from, as the module's docstring says; if that is no course
    either, it is where we are.

    Parameters
    ----------
    start
        Where to begin; where the reader is if not given.
    """
    places = _reader() if start is None else [Path(start).resolve()]
    upwards = [folder for place in places for folder in (place, *place.parents)]
    return next((folder for folder in [*upwards, *_PACKAGE.parents] if _is_course(folder)), places[0])


def _is_course(folder: Path) -> bool:
    if os.path.isfile(folder / "course.py") and os.path.isdir(folder / "lectures"):
        return True
    try:
        text = (folder / "pyproject.toml").read_text("utf-8")
    except (OSError, ValueError):
        return False
    return re.search(r'^name\s*=\s*["\']mpcrl[-_]course["\']', text, re.M) is not None


def progress_file(start: str | os.PathLike | None = None) -> Path:
    """Give the file results are kept in; the environment variable `MPCRL_COURSE_PROGRESS` names another.

    Parameters
    ----------
    start
        Where to begin, as for `course_folder`.
    """
    named = os.path.expanduser(os.environ.get("MPCRL_COURSE_PROGRESS", ""))
    if named:  # if relative, to where we started
        return (notebook_folder() if start is None else Path(start).resolve()) / named
    folder = course_folder(start)
    above = [] if _is_course(folder) else folder.parents
    return next((place / RECORD for place in (folder, *above) if os.path.isfile(place / RECORD)), folder / RECORD)


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
    ValueError
        The file is damaged.
    """
    again = "get the course's files again and install them (`python3 course.py`)."
    try:
        return np.load(DATA / name, allow_pickle=False)
    except FileNotFoundError:
        there = ", ".join(sorted(path.name for path in DATA.glob("*.npz"))) or "none"
        why = f"the course ships no {name!r}. In {DATA} there are: {there}. If one is missing, {again}"
        raise FileNotFoundError(why) from None
    except (BadZipFile, EOFError, ValueError):
        raise ValueError(f"{DATA / name} is damaged: {again}") from None
