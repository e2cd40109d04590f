"""Every public function has a docstring, and every public argument is named by it (or by that of its class)."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mpcrl_course"
FILES = sorted(PACKAGE.rglob("*.py"))


def offenders(path):
    """Return what a file leaves undocumented, a line each."""
    found = []

    def look(node, name, around=""):
        where = f"{path.name}:{node.lineno} {name}"
        docstring = ast.get_docstring(node) or ""
        if not docstring and node.name != "__init__":
            found.append(f"{where} has no docstring")
        unnamed = [argument for argument in arguments(node) if not named(argument, f"{around}\n{docstring}")]
        if unnamed:
            found.append(f"{where} does not name {', '.join(unnamed)}")
        if isinstance(node, ast.ClassDef):
            for method in public(node):
                look(method, f"{name}.{method.name}", docstring)

    for node in public(ast.parse(path.read_text(encoding="utf-8"))):
        look(node, node.name)
    return found


def public(node):
    """Return the public functions and classes of a module or class; `__init__` and `__call__` are public, too."""
    return [
        n
        for n in node.body
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and (not n.name.startswith("_") or n.name in ("__init__", "__call__"))
        and not any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in n.decorator_list)
    ]


def arguments(node):
    """Return the names of a function's public arguments, or of what makes a data class or a named tuple."""
    if isinstance(node, ast.ClassDef):
        kinds = " ".join(ast.unparse(kind) for kind in (*node.decorator_list, *node.bases))
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and "ClassVar" not in ast.unparse(n.annotation)]
        names = [n.target.id for n in fields] if re.search(r"\bdataclass\b|\bNamedTuple\b", kinds) else []
    else:
        spec = node.args
        every = (*spec.posonlyargs, *spec.args, spec.vararg, *spec.kwonlyargs, spec.kwarg)
        names = [argument.arg for argument in every if argument is not None]
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def named(argument, docstring):
    """Tell whether a docstring has the argument as a word; `a` before another word is the article."""
    return re.search(rf"\b{re.escape(argument)}\b" + r"(?! [a-z])" * (argument == "a"), docstring) is not None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_public_argument_is_named_by_a_docstring(path):
    found = offenders(path)
    assert not found, "\n" + "\n".join(found)


def test_what_is_missing_is_found(tmp_path):
    file = tmp_path / "room.py"
    file.write_text(
        'def f(a, b, *c, _d):\n    """Return a number of `b`."""\n'
        'class C(NamedTuple):\n    """Of x."""\n    x: int\n    y: int\n    def m(self, x, z): ...\n'
        "def _g(a): ...\n",
        encoding="utf-8",
    )
    assert offenders(file) == [
        "room.py:1 f does not name a, c",
        "room.py:3 C does not name y",
        "room.py:7 C.m has no docstring",
        "room.py:7 C.m does not name z",
    ]
