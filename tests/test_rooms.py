"""The rooms of the package: who imports whom, and what must not come along."""

import ast
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "mpcrl_course"
#: From the ground up: a room imports only from rooms before it.
ORDER = """
    lectures places own mpc network mlp statistics closed_loop envs dp problems policies learners figures live checks
    reproduce exercises cli
""".split()
#: The rooms that compute; they run on machines without a screen, too.
COMPUTE = [room for room in ORDER if room not in ("figures", "live", "reproduce", "exercises")]


def imported(path):
    """Return the rooms that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            here = path.relative_to(PACKAGE.parent).parts[: -node.level] if node.level else ()
            package, *rest = [*here, *(node.module or "").split(".")] if node.module else here
            if package == "mpcrl_course":
                found |= {rest[0]} if rest else {alias.name for alias in node.names}
    return found


def test_a_room_imports_only_from_rooms_before_it():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py"): [] for path in PACKAGE.rglob("*.py")}
    assert set(rooms) - {"__init__", "__main__", "data"} == set(ORDER), "a room has no place in the order"
    upwards = [
        f"{path.relative_to(PACKAGE).as_posix()} imports from {other}"
        for k, room in enumerate(ORDER)
        for path in [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py")]
        for other in sorted(imported(path) & set(ORDER[k + 1 :]))
    ]
    assert not upwards, "\n".join(upwards)


def test_the_docstring_of_the_package_lists_the_rooms_in_order():
    docstring = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")))
    assert ", ".join(re.findall(r"^([a-z_, ]+)\n    ", docstring, re.M)).split(", ") == ORDER


def test_what_computes_does_not_draw():
    """A worker on another machine need not load what draws."""
    code = f"import sys; from mpcrl_course import {', '.join(COMPUTE)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mpcrl_course.learners" in loaded and not {"matplotlib", "ipywidgets", "IPython"} & set(loaded)
