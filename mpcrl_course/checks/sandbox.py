"""What a student's code changes in the process is undone: it outlives no check, and changes no verdict."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

#: Where a patched function would change a verdict: in these packages, ...
WATCHED = ("builtins", "math", "random", "numpy", "scipy", "casadi", "gymnasium", "mpcrl_course")
#: ... and of those from outside the course in these modules even between two calls of the same answer.
CLOSELY = ("builtins", "math", "random", "numpy", "numpy.linalg", "numpy.random", "scipy.linalg")


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keep back what is printed, and warnings.

    Yields
    ------
    io.StringIO
        What was printed. (It must be a compiled stream: CasADi prints while an interruption is on its way.)
    """
    silence = io.StringIO()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield silence


@contextlib.contextmanager
def undone() -> Iterator[Callable[[], None]]:
    """Undo, at the end, what code did to the process meanwhile.

    That is: the working folder, the environment, the import path, the recursion limit; random states; NumPy's
    error handling and print options; and functions of NumPy, SciPy, CasADi, Gymnasium, Python's builtins and this
    course that were replaced.

    Yields
    ------
    callable
        Puts back, between two calls, the functions that matter most.
    """
    closely, widely = _Functions(_is_close), _Functions(_is_watched)
    states = [(read(), write) for read, write in _STATES]
    try:
        yield closely.restore
    finally:
        widely.restore()
        for state, write in states:
            with contextlib.suppress(Exception):  # a folder that is gone, say
                write(state)


def _set_environment(environment: dict[str, str]) -> None:
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)


def _set_path(path: list[str]) -> None:
    sys.path[:] = path


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _go_to(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


#: Pairs of a function that reads a state and one that sets it.
_STATES: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (_folder, _go_to),
    (lambda: dict(os.environ), _set_environment),
    (lambda: list(sys.path), _set_path),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (random.getstate, random.setstate),
    (np.random.get_state, np.random.set_state),
    (np.geterr, lambda handling: np.seterr(**handling)),
    (np.geterrcall, np.seterrcall),
    (np.get_printoptions, lambda options: np.set_printoptions(**options)),
]


def _is_watched(name: str) -> bool:
    return name.split(".")[0] in WATCHED


def _is_close(name: str) -> bool:
    return name in CLOSELY or name.split(".")[0] == "mpcrl_course"


class _Functions:
    """What the names in modules, and in the course's classes, stood for."""

    def __init__(self, of: Callable[[str], bool]) -> None:
        modules, classes = _watched(of, len(sys.modules))
        self.modules = [(vars(module), dict(vars(module))) for module in modules]
        self.classes = [(part, dict(vars(part))) for part in classes]

    def restore(self) -> None:
        """Put back what was replaced or deleted, and hidden; what was added to a module stays."""
        for names, before in self.modules:
            if not _same(names, before):
                names.update({name: value for name, value in before.items() if names.get(name, names) is not value})
        for part, before in self.classes:
            with contextlib.suppress(AttributeError, TypeError):  # what no class lets one set
                for name in set(vars(part)) - set(before):  # it hides what the class has inherited
                    delattr(part, name)
                for name, value in before.items():
                    if vars(part).get(name, part) is not value:
                        setattr(part, name, value)


@functools.lru_cache(maxsize=4)
def _watched(of: Callable[[str], bool], modules_in_all: int) -> tuple[list[ModuleType], list[type]]:
    modules = {name: module for name, module in list(sys.modules.items()) if of(name) and type(module) is ModuleType}
    course = [vars(module).values() for name, module in modules.items() if name.startswith("mpcrl_course")]
    classes = {part for parts in course for part in parts if isinstance(part, type)}
    return list(modules.values()), [part for part in classes if part.__module__.startswith("mpcrl_course")]


def mending(function: Callable) -> Callable:
    """Return the `function` as one that puts back, after each call, what it has replaced of NumPy or the course."""
    closely = _Functions(_is_close)

    @functools.wraps(function)
    def mended(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            closely.restore()

    return mended


def _same(some: dict[str, Any], others: dict[str, Any]) -> bool:
    try:
        return some == others  # one and the same object is equal without being asked
    except Exception:
        return False
