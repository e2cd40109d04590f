"""When do two answers agree, when is an answer still blank, and how is a value shown in one line."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Agreement = bool | str  # True, or a sentence that says what differs
Compare = Callable[[Any, Any], Agreement]


def close(rtol: float = 1e-6, atol: float = 1e-9) -> Compare:
    """Make the usual comparison: arrays by shape, then by value; tuples, lists and dicts part by part.

    Where several values are expected, an array of so many numbers is as good as a tuple.

    Parameters
    ----------
    rtol, atol
        As in `numpy.isclose`: agree if |yours − expected| ≤ atol + rtol |expected|.

    Returns
    -------
    callable
        `compare(yours, expected)`, True if they agree, else a sentence.
    """

    def compare(yours: Any, expected: Any) -> Agreement:
        if isinstance(expected, Mapping):
            if not isinstance(yours, Mapping):
                return f"Your answer is {kind_of(yours)}; a dict with {_listed(expected)} is expected."
            if set(yours) != set(expected):
                return f"Your dict has {_listed(yours)}; expected are {_listed(expected)}."
            return _first_difference((f"[{key!r}]", yours[key], expected[key]) for key in expected)
        if isinstance(expected, tuple) or _is_ragged(expected):
            if isinstance(yours, np.ndarray) and yours.shape == (len(expected),):
                yours = tuple(yours)
            if not isinstance(yours, tuple | list):
                return f"Your answer is {kind_of(yours)}; {len(expected)} values are expected."
            if len(yours) != len(expected):
                return f"Your answer has {len(yours)} values; {len(expected)} are expected."
            return _first_difference((f"[{i}]", y, e) for i, (y, e) in enumerate(zip(yours, expected, strict=True)))
        if isinstance(expected, str) or expected is None:
            return yours == expected or "Your answer differs."
        return _close_arrays(yours, expected)

    def _first_difference(parts: Any) -> Agreement:
        for place, yours, expected in parts:
            agreement = compare(yours, expected)
            if agreement is not True:
                return f"In part {place}: {agreement}"
        return True

    def _close_arrays(yours: Any, expected: Any) -> Agreement:
        want = np.asarray(expected, dtype=float)
        try:
            got = np.asarray(yours, dtype=float)
        except Exception:  # CasADi raises plain Exceptions for its symbols
            return f"Your answer is {kind_of(yours)}; {_shape_in_words(want)} is expected."
        if got.shape != want.shape:
            return f"Your answer is {_shape_in_words(got)}; {_shape_in_words(want)} is expected."
        lost = np.isnan(got) & ~np.isnan(want)
        if lost.any():
            return f"Your answer is not a number (NaN){_where(lost)}."
        agree = np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
        return True if agree.all() else f"The values differ{_where(~agree)}."

    return compare


def _is_ragged(value: Any) -> bool:
    return isinstance(value, list) and not all(isinstance(part, numbers.Real | list) for part in value)


def _listed(mapping: Mapping) -> str:
    return "the keys " + ", ".join(repr(key) for key in mapping)


def _shape_in_words(array: np.ndarray) -> str:
    return f"an array of shape {array.shape}" if array.ndim else "a single number (shape ())"


def _where(mask: np.ndarray) -> str:
    if mask.ndim == 0:
        return ""
    place = ", ".join(str(int(i)) for i in np.argwhere(mask)[0])
    return f" at index [{place}]" + (f" and {mask.sum() - 1} more" if mask.sum() > 1 else "")


def kind_of(value: Any) -> str:
    """Name a value's type with an article: "a str", "an ndarray"."""
    name = type(value).__name__
    return "nothing (None)" if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def is_blank(value: Any) -> bool:
    """Tell whether an answer, a `value` of any type, is still a blank: None, `...`, or a container of nothing else."""
    if value is None or value is ...:
        return True
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.ravel().tolist()
    return isinstance(value, tuple | list) and len(value) > 0 and all(is_blank(part) for part in value)


def copied(value: Any) -> Any:
    """Copy a value deeply, so that no call sees what another did; what cannot be copied stays itself."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    if type(value) in (tuple, list):
        return type(value)(copied(part) for part in value)
    if type(value) is dict:
        return {key: copied(part) for key, part in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def shown(value: Any, digits: int = 6, limit: int = 240) -> str:
    """Show a value in one short line.

    Parameters
    ----------
    value
        Anything; a `repr` that fails is replaced by the type's name.
    digits
        Significant digits of numbers.
    limit
        Longest text, in characters.
    """
    try:
        text = " ".join(_text(value, digits).split())
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(value: Any, digits: int) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return np.array2string(value, precision=digits, threshold=24, edgeitems=3, separator=", ")
    if isinstance(value, np.ndarray) and value.dtype != object:
        value = value.item()
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return f"{float(value):.{digits}g}"
    if isinstance(value, np.integer):
        return str(int(value))
    if type(value) in (tuple, list):
        inside = ", ".join(_text(part, digits) for part in value)
        return f"[{inside}]" if type(value) is list else f"({inside}{',' if len(value) == 1 else ''})"
    if type(value) is dict:
        return "{" + ", ".join(f"{key!r}: {_text(part, digits)}" for key, part in value.items()) + "}"
    return repr(value)
