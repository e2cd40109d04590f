"""What comes from outside, checked: numbers, arrays, functions, generators, or a ValueError that names the argument.

NumPy alone is too kind: `float` conversions turn None into nan, read strings as numbers and drop imaginary parts.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

#: What each kind of NumPy array holds that is no real number.
KINDS = {"c": "complex numbers", "U": "strings", "S": "bytes", "M": "dates", "m": "times", "V": "records"}
FLOAT = np.dtype(float)
LARGEST = 2**53
#: So few numbers are quicker to ask in Python.
FEW = 16
#: Printed so, a long array does not flood a message.
SHORT = {"threshold": 20, "edgeitems": 3, "precision": 6}


def floats(value, name: str) -> np.ndarray:
    """Return `value` as a new array of floats, of any shape, finite or not.

    Parameters
    ----------
    value : array_like
    name : str
        What to call it in a message.

    Raises
    ------
    ValueError
        It holds complex numbers, strings, objects or None, or rows of different lengths.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):  # NumPy would take what lies under the mask
        raise ValueError(f"{name} holds masked entries, not numbers: {short(value)}")
    try:
        array = np.array(value)  # a copy: what is made of it outlives what the caller does to it
    except Exception:  # rows of different lengths, or an object with an __array__ of its own
        why = " (rows of different lengths?)" if isinstance(value, (list, tuple)) else ""
        raise ValueError(f"{name} is no array of numbers: {short(value)}{why}") from None
    kind = array.dtype.kind
    if array.dtype == FLOAT:
        return array
    if kind == "O":
        wrong = [entry for entry in array.flat if not isinstance(entry, Real)]
        if wrong:
            raise ValueError(f"{name} is no array of numbers: it holds {short(wrong[0])} ({type(wrong[0]).__name__})")
    elif kind not in "biuf":
        raise ValueError(f"{name} holds {KINDS.get(kind, 'objects')}, not real numbers: {short(value)}")
    try:
        return array.astype(float)
    except (OverflowError, TypeError, ValueError):
        raise ValueError(f"{name} holds a number that is no float: {short(value)}") from None


def asfloats(value, name: str) -> np.ndarray:
    """Return `value` itself if it is an array of floats already, else what `floats` makes of it, called `name`."""
    return value if type(value) is np.ndarray and value.dtype == FLOAT else floats(value, name)


def reals(value, name: str, shape: tuple | None = None, finite: bool = True) -> np.ndarray:
    """Return `value` as a new array of floats.

    Parameters
    ----------
    value : array_like
        Of real numbers.
    name : str
        What to call it in a message.
    shape : tuple of int or None, optional
        What its shape must be; None stands for any number of entries, and ... at its head for any number of axes. By
        default any shape will do.
    finite : bool
        Whether infinite entries are refused; nan always is.

    Raises
    ------
    ValueError
        Another shape (both are named), an entry that is not finite, or one that is no real number: complex, a string,
        an object, None, or rows of different lengths.
    """
    array = floats(value, name)
    if shape is not None and array.shape != shape:
        wanted, given = str(shape).replace("None", "n").replace("Ellipsis", "..."), array.shape
        if shape[:1] == (...,):
            shape = shape[1:]
            given = given[-len(shape) :]
        if len(given) != len(shape) or any(n is not None and n != m for n, m in zip(shape, given)):
            raise ValueError(f"{name} has shape {array.shape}, but needs {wanted}")
    if finite and array.size <= FEW:
        fine = all(map(isfinite, array.ravel().tolist()))
    else:
        fine = bool((np.isfinite(array) if finite else ~np.isnan(array)).all())
    if not fine:
        raise ValueError(f"{name} is not {'finite' if finite else 'a number'}: {short(array)}")
    return array


def real(value, name: str, lowest: float = -np.inf, highest: float = np.inf, strict: bool = False) -> float:
    """Return `value` as a float, finite and between `lowest` and `highest` (if `strict`, above `lowest`).

    Raises
    ------
    ValueError
        It is not; says so of `name`.
    """
    try:
        x = float(reals(value, name, ()))
    except ValueError:
        x = np.nan
    if not lowest <= x <= highest or (strict and x == lowest):
        said = "a positive number" if strict and not lowest else "a number that is not negative"
        if highest < np.inf or lowest not in (0.0, -np.inf):
            said = f"a number {'above' if strict else 'from'} {lowest:g}"
        elif lowest < 0.0:
            said = "a finite number"
        said += f" to {highest:g}" if highest < np.inf else ""
        raise ValueError(f"{name} must be {said}, not {short(value)}")
    return x


def share(value, name: str) -> float:
    """Return `value` as a float in (0, 1], such as a discount; ValueError that names `name` if it is none."""
    try:
        x = float(reals(value, name, ()))
    except ValueError:
        x = np.nan
    if not 0.0 < x <= 1.0:
        raise ValueError(f"{name} must lie in (0, 1], not {short(value)}")
    return x


def whole(value, name: str, lowest: int | None = None) -> int:
    """Return `value` as an int that is at least `lowest`; ValueError that names `name` if it is none, such as 2.5.

    Nothing here is counted beyond LARGEST.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, not {short(value)}") from None
    if abs(found) > LARGEST:
        raise ValueError(f"{name} is too large to be counted to: {short(value)}")
    if lowest is not None and found < lowest:
        raise ValueError(f"{name} must be at least {lowest}, not {found}")
    return found


def instance(value, kind: type | tuple[type, ...], name: str) -> Any:
    """Return `value`, if it is a `kind` (or one of several); ValueError that names `name` if it is not."""
    if not isinstance(value, kind):
        kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{name} must be of the type {kinds}, not {short(value)}")
    return value


def function(value, name: str, optional: bool = False, maker: bool = False) -> Any:
    """Return `value`, if it can be called (or is None, if `optional`); ValueError that names `name` if it cannot.

    A class can be called, too, but only a `maker` of objects is meant to be one.
    """
    if isinstance(value, type) and not maker:
        raise ValueError(f"{name} must be a function, not the class {value.__name__}: make an object of it first")
    if not callable(value) and not (optional and value is None):
        raise ValueError(f"{name} must be a function{' or None' if optional else ''}, not {short(value)}")
    return value


def sequence(value, name: str) -> list:
    """Return `value` as a list; ValueError that names `name` if it is none, but a string, a dict, or a single thing."""
    try:
        if isinstance(value, (str, bytes, dict)):
            raise TypeError
        return list(value)
    except Exception:  # a CasADi matrix, too, is none
        raise ValueError(f"{name} must be a list, not {short(value)}") from None


def flag(value, name: str) -> bool:
    """Return `value` as a bool, if it is one, or 0 or 1; ValueError that names `name` if it is not."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, (int, np.integer)) and value in (0, 1)):
        return bool(value)
    raise ValueError(f"{name} must be True or False, not {short(value)}")


def choice(value, options: Sequence, name: str) -> Any:
    """Return `value`, if it is one of the `options`; ValueError that names `name` and lists them if it is not."""
    if not any(type(value) is type(option) and value == option for option in options):
        raise ValueError(f"there is no {name} {short(value)}; there are: {', '.join(map(repr, options))}")
    return value


def generator(rng, seeds: bool = False) -> np.random.Generator:
    """Return the generator `rng`; if `seeds`, that of a seed too. TypeError for what is none."""
    if isinstance(rng, np.random.Generator):
        return rng
    if seeds and rng is not None and not isinstance(rng, (bool, np.bool_, np.random.RandomState)):
        try:
            return np.random.default_rng(rng)
        except (TypeError, ValueError):
            pass
    also = ", or a seed" if seeds else ""
    raise TypeError(f"rng must be a generator, such as numpy.random.default_rng(0){also}, not {short(rng)}")


def short(value) -> str:
    """Return what a value looks like, in one line of a message."""
    try:
        with np.printoptions(**SHORT):  # type: ignore[arg-type]
            text = " ".join((str(value) if isinstance(value, np.ndarray) else repr(value)).split())
    except Exception:  # an object whose own repr fails
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."
