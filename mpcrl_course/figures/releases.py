"""Which packages differ here from the releases that the course was tested with, those in `constraints.txt`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

from mpcrl_course import places
from mpcrl_course.figures.tables import Table


def untested_releases() -> Table | None:
    """Tabulate the packages that differ here from the tested releases; None, which shows nothing, if all agree.

    None also where the course's folder, and `constraints.txt` in it, is not at hand.
    """
    folder = places.course_folder()
    if not ((folder / "course.py").is_file() and (folder / "constraints.txt").is_file()):
        return None
    rows = differences((folder / "constraints.txt").read_text("utf-8"))
    caption = "Not the releases that the course was tested with. If something goes wrong, begin here:"
    return Table(caption, ["package", "tested", "here"], rows) if rows else None


def differences(constraints: str) -> list[tuple[str, str, str]]:
    """List (package, tested, here) for each package that is installed in another release than pinned.

    Parameters
    ----------
    constraints
        Text of a constraints file for pip: lines `package==release`, or `package==release ; marker`, where a marker
        says for which Pythons and systems the line holds; and comments.
    """
    rows = []
    for line in constraints.splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        pin = Requirement(text)
        if pin.marker is None or pin.marker.evaluate():
            try:
                here = version(pin.name)
            except PackageNotFoundError:  # for the tests only, perhaps
                continue
            if not pin.specifier.contains(here, prereleases=True):
                rows.append((pin.name, str(pin.specifier).removeprefix("=="), here))
    return rows
