"""When do two plain answers agree, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .values import Unreadable, kind_of

Agreement = bool | str  # True, or a sentence that says what differs
Compare = Callable[[Any, Any], Agreement]


@dataclass(frozen=True)
class Leaf:
    """One array of an answer beside the one that is expected.

    Parameters
    ----------
    name
        Of the part: "", "[1]", "z[0]"; as a reader would call it.
    yours, expected
        Arrays of one shape.
    """

    name: str
    yours: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Close:
    """The usual comparison: arrays by shape, then by value; tuples, lists and dicts part by part. See `close`.

    Parameters
    ----------
    rtol, atol, names, blocks
        As in `close`.
    """

    rtol: float
    atol: float
    names: Sequence[str]
    blocks: Mapping[str, Any]

    def __call__(self, yours: Any, expected: Any) -> Agreement:
        """Return True if `yours` agrees with `expected`, both plain, else a sentence."""
        leaves = self.leaves(yours, expected)
        if isinstance(leaves, str):
            return leaves
        for leaf in leaves:
            wrong = self.differing(leaf)
            lost = np.isnan(leaf.yours) & wrong
            if wrong.any():
                part = f"In part {leaf.name}: " if leaf.name else ""
                what = "Your answer is not a number (NaN)" if lost.any() else "The values differ"
                return f"{part}{what}{where(lost if lost.any() else wrong)}."
        return True

    def differing(self, leaf: Leaf) -> np.ndarray:
        """Return a boolean array: which entries of a `leaf` differ."""
        with np.errstate(all="ignore"):
            near = abs(leaf.yours - leaf.expected) <= self.atol + self.rtol * abs(leaf.expected)
            near &= np.isfinite(leaf.expected)  # nothing is near to infinity
        return ~(near | (leaf.yours == leaf.expected) | (np.isnan(leaf.yours) & np.isnan(leaf.expected)))

    def leaves(self, yours: Any, expected: Any) -> list[Leaf] | str:
        """Lay the arrays of two plain answers, `yours` and `expected`, side by side; a sentence if they cannot be."""
        try:
            return list(self._leaves(yours, expected, "", self.names))
        except _Unlike as unlike:
            return str(unlike)

    def _leaves(self, yours: Any, expected: Any, name: str, names: Sequence[str]) -> Iterator[Leaf]:
        part = f"In part {name}: " if name else ""
        if isinstance(yours, Unreadable):
            raise _Unlike(f"{part}Your answer is {yours.kind}; {_expected(expected)}. {yours.advice}".rstrip())
        if isinstance(expected, Mapping):
            if not isinstance(yours, Mapping):
                raise _Unlike(f"{part}Your answer is {kind_of(yours)}; a dict with {_listed(expected)} is expected.")
            if set(yours) != set(expected):
                raise _Unlike(f"{part}Your dict has {_listed(yours)}; expected are {_listed(expected)}.")
            for key in expected:
                yield from self._leaves(yours[key], expected[key], f"{name}[{key!r}]", ())
        elif isinstance(expected, tuple) or _is_ragged(expected):
            parts = _parts(yours, len(expected), names)
            if parts is None:
                raise _Unlike(f"{part}Your answer is {kind_of(yours)}; {len(expected)} values are expected.")
            if len(parts) != len(expected):
                raise _Unlike(f"{part}Your answer has {len(parts)} values; {len(expected)} are expected.")
            for i, (one, other) in enumerate(zip(parts, expected, strict=True)):
                yield from self._leaves(one, other, f"{name}{names[i] if names else f'[{i}]'}", ())
        elif isinstance(expected, str | Unreadable) or expected is None:
            if type(yours) is not type(expected) or yours != expected:
                raise _Unlike(f"{part}Your answer differs.")
        else:
            yield _leaf(yours, np.asarray(expected), name, part, self)


class _Unlike(Exception):
    """Two answers have no arrays that could be compared; says why."""


def close(
    rtol: float = 1e-6, atol: float = 1e-9, names: Sequence[str] = (), blocks: Mapping[str, Any] | None = None
) -> Close:
    """Make the usual comparison: arrays by shape, then by value; tuples, lists and dicts part by part.

    What people write for the same numbers is as good: an array, a list or a dict of the named parts for a tuple;
    where a number or a vector is expected, one with further axes of length 1.

    Parameters
    ----------
    rtol, atol
        Agree if |yours − expected| ≤ atol + rtol |expected|.
    names
        Of the parts of a tuple, as in the exercise.
    blocks
        {"A": index, …}: names for the entries of an array, for the message that says which of them are wrong.

    Returns
    -------
    Close
        `compare(yours, expected)`: True if they agree, else a sentence.
    """
    return Close(rtol, atol, tuple(names), dict(blocks or {}))


def _parts(yours: Any, number: int, names: Sequence[str]) -> Sequence[Any] | None:
    if isinstance(yours, Mapping) and names and set(yours) == set(names):
        return [yours[name] for name in names]
    if isinstance(yours, np.ndarray) and yours.ndim:
        row = yours.ndim > 1 and len(yours) == 1 != number or yours.ndim == 2 and 1 in yours.shape
        return list(yours.ravel() if row else yours)
    return yours if isinstance(yours, tuple | list) else None


def _leaf(yours: Any, want: np.ndarray, name: str, part: str, close: Close) -> Leaf:
    if isinstance(yours, str) or yours is None or yours is ...:
        said = f"the text {yours!r}" if isinstance(yours, str) else kind_of(yours)
        raise _Unlike(f"{part}Your answer is {said}; {_shape_in_words(want)} is expected.")
    try:
        got = np.asarray(yours)
    except ValueError:
        got = np.asarray(None)
    if got.dtype.kind not in "biufc":
        raise _Unlike(f"{part}Your answer is {_odd(yours)}; {_shape_in_words(want)} is expected.")
    if np.iscomplexobj(got) and not np.iscomplexobj(want):
        if (got.imag != 0).any():
            raise _Unlike(f"{part}Your answer has an imaginary part{where(got.imag != 0)}; real numbers are expected.")
        got = got.real
    if want.dtype.kind != "c":
        got, want = got.astype(float), want.astype(float)
    if got.shape != want.shape and want.ndim <= 1 and got.size == want.size and got.squeeze().ndim <= 1:
        got = got.reshape(want.shape)
    if got.shape != want.shape:
        raise _Unlike(f"{part}{_unlike_shape(got, want, name, close)}")
    return Leaf(name, got, want)


def _unlike_shape(got: np.ndarray, want: np.ndarray, name: str, close: Close) -> str:
    def same(array: np.ndarray) -> bool:
        return array.shape == want.shape and not close.differing(Leaf(name, array, want)).any()

    if got.shape == want.shape[::-1] and got.ndim > 1 and same(got.T):
        return f"The numbers are right, but transposed: the shape is {got.shape}, {want.shape} is expected."
    if got.size == want.size and same(got.reshape(want.shape)):
        return f"The numbers are right, but in {_shape_in_words(got)}; {_shape_in_words(want)} is expected."
    return f"Your answer is {_shape_in_words(got)}; {_shape_in_words(want)} is expected."


def _odd(yours: Any) -> str:
    inside = next((part for part in _flat(yours) if not isinstance(part, int | float | complex)), None)
    if isinstance(inside, Unreadable | str):
        return f"{kind_of(yours)} with {f'the text {inside!r}' if isinstance(inside, str) else inside.kind} in it"
    return f"{kind_of(yours)} of parts with different lengths" if isinstance(yours, list | tuple) else kind_of(yours)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    elif not isinstance(value, np.ndarray):
        yield value


def _is_ragged(value: Any) -> bool:
    return isinstance(value, list) and not all(isinstance(part, int | float | list) for part in value)


def _expected(expected: Any) -> str:
    if isinstance(expected, Mapping):
        return f"a dict with {_listed(expected)} is expected"
    if isinstance(expected, tuple) or _is_ragged(expected):
        return f"{len(expected)} values are expected"
    if isinstance(expected, str | Unreadable) or expected is None:
        return f"{kind_of(expected)} is expected"
    return f"{_shape_in_words(np.asarray(expected))} is expected"


def _listed(mapping: Mapping) -> str:
    return "the keys " + ", ".join(repr(key) for key in mapping)


def _shape_in_words(array: np.ndarray) -> str:
    return f"an array of shape {array.shape}" if array.ndim else "a single number (shape ())"


def where(mask: np.ndarray) -> str:
    """Say where a boolean `mask` is true: " at index [2] and 3 more"."""
    if mask.ndim == 0:
        return ""
    place = ", ".join(str(int(i)) for i in np.argwhere(mask)[0])
    return f" at index [{place}]" + (f" and {mask.sum() - 1} more" if mask.sum() > 1 else "")
