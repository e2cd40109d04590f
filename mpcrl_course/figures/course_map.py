"""The map of the course: its lectures, and which of them are there."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from IPython.display import Markdown

from mpcrl_course import places
from mpcrl_course.lectures import LECTURES


def course_map(start: str | os.PathLike | None = None) -> Markdown:
    """Return the table of the lectures, with links to the notebooks that are there.

    Parameters
    ----------
    start
        The folder of the notebook that shows it; the one in which we are if not given.
    """
    here, course = Path(start or places.notebook_folder()).resolve(), places.course_folder(start)
    rows = ["| # | lecture | about | builds on | exercise |", "|--:|:--|:--|:--|:--|"]
    for number, question, about, needs, notebook, _ in LECTURES:
        title = question if notebook else f"{question} *(in preparation)*"
        lecture, exercise = (_link(course / folder / f"{notebook}.ipynb", here) for folder in ("lectures", "exercises"))
        title, task = f"[{title}]({lecture})" if lecture else title, f"[open]({exercise})" if exercise else "–"
        before = ", ".join(f"{n:02d}" for n in needs) or "–"
        rows.append(f"| {number:02d} | {title} | {about} | {before} | {task} |")
    if not os.path.isdir(course / "lectures"):
        rows += ["", "Nothing is linked: the notebooks are in the folder of the course, and this is another one."]
    return Markdown("\n".join(rows))


def _link(notebook: Path, here: Path) -> str:
    # From a notebook in the folder `here`; nothing if there is no such notebook, or no way (another drive of Windows).
    try:
        way = Path(os.path.relpath(notebook, here)).as_posix()
    except ValueError:
        return ""
    return quote(way, errors="surrogateescape") if os.path.isfile(notebook) else ""
