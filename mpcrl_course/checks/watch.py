"""Watch a function of the student at work: what it returns, or how it fails, as plain data."""

from __future__ import annotations

import contextlib
import inspect
import linecache
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .compare import Agreement
from .limits import TookTooLong, asked_to_end, collect
from .sandbox import quiet, undone
from .values import copied, harmless, is_blank, plain, shown

Probe = tuple | dict  # positional, or named, arguments of one call
Property = tuple[str, Callable[..., Agreement]]


@dataclass(frozen=True)
class Raised:
    """An error instead of a value: its type's name, its message, and the student's line ("" if not known)."""

    type: str
    message: str
    line: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.type, self.message) if part)


class _Theirs(Exception):
    """An error of the student's function in a test of ours."""


def is_time_out(outcome: Any) -> bool:
    """Tell whether an `outcome` is that time ran out."""
    return isinstance(outcome, Raised) and outcome.type == "time-out"


def is_unwritten(outcome: Any) -> bool:
    """Tell whether an `outcome` of a call is that of a blank."""
    return is_blank(outcome) or isinstance(outcome, Raised) and outcome.type == "NotImplementedError"


def observe(
    function: Callable,
    probes: Sequence[Probe],
    properties: Sequence[Property] = (),
    limit: float = math.inf,
    ours: bool = False,
) -> list[Any]:
    """Call a function on every probe, then try its properties on every probe.

    Each call gets its own copy of the arguments; what it returns is made plain at once; what it prints is
    dropped, and what it changes in the process is undone.

    Parameters
    ----------
    function, probes, properties
        As in `Fill`.
    limit
        Seconds of processor time for everything together.
    ours
        Whether it is the course's own function, which changes nothing in the process.

    Returns
    -------
    list
        Plain values or `Raised`, first of the calls, then of the properties: True, or what does not hold. If
        time ran out it is shorter and ends with a `Raised` of the type "time-out".
    """

    def outcomes(repair: Callable[[], None]) -> Iterator[Any]:
        def theirs(*args: Any, **kwargs: Any) -> Any:
            try:
                return plain(function(*args, **kwargs))
            except BaseException as error:
                if isinstance(error, TookTooLong) or isinstance(error, KeyboardInterrupt) and asked_to_end():
                    raise
                raise _Theirs from error
            finally:
                repair()

        for probe in probes:
            try:
                yield _called(theirs, (), probe)
            except _Theirs as error:
                yield _raised(function, error.__cause__)
        for _, holds in properties:
            for probe in probes:
                try:
                    verdict = plain(_called(holds, (theirs,), probe))
                    yield verdict if isinstance(verdict, str) else verdict is True
                except _Theirs as error:
                    yield _raised(function, error.__cause__)
                except Exception:  # our test cannot read what it was given: so it does not hold
                    yield False

    with quiet() as silence, contextlib.nullcontext(lambda: None) if ours else undone() as repair:
        seen, complete = collect(outcomes(repair), limit)
    if complete:
        return seen
    lines = silence.getvalue().count("\n")
    return [*seen, Raised("time-out", f"it printed {lines} lines" if lines > 1000 else "")]


def _called(function: Callable, first: tuple, probe: Probe) -> Any:
    arguments = copied(probe)
    return function(*first, **arguments) if isinstance(arguments, dict) else function(*first, *arguments)


def _raised(function: Callable, error: BaseException | None) -> Raised:
    message = " ".join(harmless(lambda: str(error), "").split())
    return Raised(type(error).__name__, message[:200], _line_of(function, error))


def _line_of(function: Callable, error: BaseException | None) -> str:
    # The deepest line of the student's own file (each notebook cell is one), not of the libraries below it.
    code, line = harmless(lambda: getattr(inspect.unwrap(function), "__code__", None), None), ""
    for frame, number in traceback.walk_tb(error.__traceback__ if error else None):
        if code is not None and frame.f_code.co_filename == code.co_filename:
            line = linecache.getline(code.co_filename, number, frame.f_globals).strip() or line
    return line


def named(function: Callable, probe: Probe) -> dict[str, Any]:
    """Give the arguments of a call by name.

    Parameters
    ----------
    function
        The reference.
    probe
        Positional or named arguments.
    """
    try:
        positional, keywords = ((), probe) if isinstance(probe, dict) else (probe, {})
        return dict(inspect.signature(function).bind(*positional, **keywords).arguments)
    except (TypeError, ValueError):
        return probe if isinstance(probe, dict) else {f"argument {i}": value for i, value in enumerate(probe, start=1)}


def in_words(function: Callable, probe: Probe, digits: int = 4) -> str:
    """Show a `probe` of a `function` in one line, numbers with so many `digits`."""
    return ", ".join(f"{name} = {shown(value, digits)}" for name, value in named(function, probe).items())
