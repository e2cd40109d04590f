"""Where readers' plants are: `my_plants/` in the course's folder; a new one is a copy of the template."""

from __future__ import annotations

import keyword
from pathlib import Path

from mpcrl_course import places
from mpcrl_course.bring.plant import OwnPlantError

#: In the folder of the course.
FOLDER = "my_plants"
EXAMPLES = Path(__file__).resolve().parent / "examples"


def new_plant(name: str, start=None, overwrite: bool = False) -> Path:
    """Write a plant that works as it stands, to be changed, and return its path, `my_plants/NAME.py`.

    Parameters
    ----------
    name : str
        A word: it becomes the name of a module.
    start : path, optional
        Where the course is looked for: see `places.course_folder`.
    overwrite : bool
        Whether a file that is there already is lost.

    Raises
    ------
    OwnPlantError
        The name is none for a module, or such a file is there.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise OwnPlantError(f"{name!r} is no name for a plant: use letters, digits and _, and no digit first")
    path = places.course_folder(start) / FOLDER / f"{name}.py"
    if path.exists() and not overwrite:
        raise OwnPlantError(f"{path} is there already: choose another name, or say --overwrite")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (EXAMPLES / "template.py").read_text(encoding="utf-8")
    text = text.replace("NAME:", f"{name}:", 1).replace("FILE", name, 1).replace("FILE", path.as_posix())
    path.write_text(text, encoding="utf-8")
    return path


def find(name: str, start=None) -> Path:
    """Return the path of a reader's plant: `name` is a path, or that of a file in `my_plants/`.

    `start` is that of `new_plant`.
    """
    path = Path(name)
    own = places.course_folder(start) / FOLDER / f"{path.name.removesuffix('.py')}.py"
    return own if not path.is_file() and own.is_file() else path
