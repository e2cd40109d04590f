"""The rooms of the package: who imports whom, and what must not come along."""

import ast
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "mpcrl_course"
#: From the ground up: a room imports only from rooms before it.
ORDER = """
    lectures places validation own mpc network population mlp statistics closed_loop envs dp problems policies learners
    figures live reproduce bring slides checks cli
""".split()
#: The rooms that compute; they run on machines without a screen, too. The command shall start quickly.
COMPUTE = [*ORDER[: ORDER.index("figures")], "cli"]
#: Underscored, but documented by the libraries that they are of.
PUBLIC = {"_make", "_replace", "_asdict", "_fields", "_repr_html_", "_repr_mimebundle_", "_exit"}


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
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    assert "mpcrl_course.learners" in loaded and not {"matplotlib", "ipywidgets", "IPython"} & set(loaded)


def test_private_names_are_asked_only_by_the_tests_of_their_own_room():
    asked = re.compile(r"\b(?!self\b|cls\b)\w+\.(_[a-z]\w*)|import (_[a-z]\w*)")
    strangers = []
    for path in sorted(TESTS.rglob("*.py")):
        room = path.relative_to(TESTS).parts[0].removeprefix("test_").removesuffix(".py")
        own = "".join(
            p.read_text(encoding="utf-8") for p in [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/*.py")]
        )
        for name in sorted({a or b for a, b in asked.findall(path.read_text(encoding="utf-8"))} - PUBLIC):
            if not re.search(rf"\b{name}\b", own):
                strangers.append(f"{path.relative_to(TESTS).as_posix()} asks {name}")
    assert not strangers, "\n".join(strangers)
