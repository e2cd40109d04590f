"""Suppose an argument was taken for something else: the reference, asked so, may give the student's wrong answer.

Where it does in every call, the check can say what happened: "your answer is the right one for `A` transposed".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .limits import collect
from .watch import Probe, Raised, named, observe

BUDGET = 0.4  # seconds of processor time for the search: with γ = 1, say, a reference may never end
Change = Callable[[Mapping[str, Any]], Any]  # from the arguments of a call to another value of one of them


class _NotHere(Exception):
    """A change has no meaning for this call."""


def suppose(
    reference: Callable, probes: Sequence[Probe], yours: Sequence[Any], agree: Callable[[Any, Any], bool], first: int
) -> str:
    """Find the misunderstood argument that explains a wrong answer in all calls; "" if there is none.

    Parameters
    ----------
    reference
        A right implementation.
    probes
        The calls.
    yours
        The student's plain values.
    agree
        Whether two plain values agree.
    first
        The call that is tried first, wrong and preferably small.
    """
    order = [first, *(i for i in range(len(probes)) if i != first)]

    def explains(name: str, change: Change) -> bool:
        values = ((i, _asked(reference, probes[i], name, change)) for i in order)
        return all(not isinstance(value, Raised) and agree(yours[i], value) for i, value in values)

    found = (said for said, name, change in _changes(named(reference, probes[first])) if explains(name, change))
    sentences, _ = collect(itertools.islice(found, 1), BUDGET)
    return sentences[0] if sentences else ""


def _asked(reference: Callable, probe: Probe, name: str, change: Change) -> Any:
    arguments = named(reference, probe)
    try:
        new = {**arguments, name: change(arguments)}
    except (_NotHere, ValueError, TypeError, IndexError, ZeroDivisionError):
        return Raised("no such value", name)
    if isinstance(probe, dict):
        return observe(reference, [new], ours=True)[0]
    return observe(reference, [tuple(new.values())], ours=True)[0]


def _changes(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str, Change]]:
    for name, value in arguments.items():
        for said, change in _OF_AN_ARRAY if _is_array(value) else _OF_A_NUMBER if _is_number(value) else ():
            end = "" if said.endswith("?") else "."
            yield f"Your answer is the right one for {said.format(f'`{name}`')}{end}", name, _applied(name, change)
    for name, value in arguments.items():
        for other, instead in arguments.items():
            if name != other and _alike(value, instead):
                sentence = f"Your answer is the right one for `{other}` in the place of `{name}`."
                yield sentence, name, _other(other)


def _other(name: str) -> Change:
    return lambda call: call[name]


def _applied(name: str, change: Callable[[Any], Any]) -> Change:
    def changed(call: Mapping[str, Any]) -> Any:
        value = call[name]
        if not (_is_array(value) or _is_number(value)):
            raise _NotHere
        new = change(value)
        if new is None:
            raise _NotHere
        return new

    return changed


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iufb" and value.size > 0 and value.ndim > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _alike(some: Any, others: Any) -> bool:
    if _is_array(some) and _is_array(others):
        return some.shape == others.shape
    return _is_number(some) == _is_number(others) and type(some) is type(others) and some is not others


def _first_of(array: np.ndarray) -> np.ndarray:
    return np.broadcast_to(array[:1], array.shape).copy()


def _last_of(array: np.ndarray) -> np.ndarray:
    return np.broadcast_to(array[-1:], array.shape).copy()


def _transposed(array: np.ndarray) -> np.ndarray | None:
    return array.swapaxes(-1, -2).copy() if array.ndim > 1 and array.shape[-1] == array.shape[-2] > 1 else None


def _diagonal(array: np.ndarray) -> np.ndarray | None:
    return array * np.eye(array.shape[-1]) if array.ndim > 1 and array.shape[-1] == array.shape[-2] > 1 else None


def _without(array: np.ndarray, place: int) -> np.ndarray | None:
    if len(array) < 2:
        return None
    changed = array.copy()
    changed[place] = 0
    return changed


_OF_AN_ARRAY: list[tuple[str, Callable[[np.ndarray], Any]]] = [
    ("{} = 0: is it used?", np.zeros_like),
    ("{} transposed", _transposed),
    ("{} with the other sign", lambda v: 1 - v if v.dtype == bool else -v),
    ("{} with 0 and 1 exchanged", lambda v: 1 - v if np.isin(v, (0, 1)).all() else None),
    ("{} = 1 everywhere", np.ones_like),
    ("{} in reverse order", lambda v: v[::-1].copy() if len(v) > 1 else None),
    ("{} shifted by one: each entry where the next should be", lambda v: np.roll(v, 1, 0) if len(v) > 2 else None),
    ("{} shifted by one: each entry where the last should be", lambda v: np.roll(v, -1, 0) if len(v) > 2 else None),
    ("{} with its first entry everywhere", lambda v: _first_of(v) if len(v) > 1 else None),
    ("{} with its last entry everywhere", lambda v: _last_of(v) if len(v) > 1 else None),
    ("{} without its first entry (0 there)", lambda v: _without(v, 0)),
    ("{} without its last entry (0 there)", lambda v: _without(v, -1)),
    ("the diagonal of {} alone", _diagonal),
    ("the absolute value of {}", abs),
    ("{} with its mean everywhere", lambda v: np.broadcast_to(v.mean(0), v.shape).copy() if len(v) > 1 else None),
    ("2 {}", lambda v: 2 * v),
    ("½ {}", lambda v: 0.5 * v),
    ("{} squared", np.square),
    ("{}, each entry inverted", lambda v: 1 / v if (v != 0).all() else None),
    ("the inverse of {}", lambda v: np.linalg.inv(v) if v.ndim > 1 and v.shape[-1] == v.shape[-2] else None),
]  # fmt: skip

_OF_A_NUMBER: list[tuple[str, Callable[[Any], Any]]] = [
    ("{} = 0: is it used?", lambda c: type(c)(0)),
    ("{} = 1: is it used?", lambda c: type(c)(1)),
    ("{} + 1", lambda c: c + 1),
    ("{} − 1", lambda c: c - 1),
    ("−{}", lambda c: -c),
    ("1 − {}", lambda c: 1 - c),
    ("{}²", lambda c: c * c),
    ("√{}", lambda c: c**0.5 if c > 0 and isinstance(c, float) else None),
    ("1/{}", lambda c: 1 / c if isinstance(c, float) else None),
    ("2 {}", lambda c: 2 * c),
    ("{}/2", lambda c: c / 2 if isinstance(c, float) else None),
    ("{}/100", lambda c: c / 100 if isinstance(c, float) else None),
    ("100 {}", lambda c: 100 * c if isinstance(c, float) else None),
]
