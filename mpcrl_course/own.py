"""A reader's own function in the place of one of ours: what it returns is checked, and the mistake named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.validation import asfloats, floats


def checked(name: str, value, shape: tuple, dtype=float) -> np.ndarray:
    """Return what a reader's function returned as an array.

    Parameters
    ----------
    name : str
        Of the function.
    value
        What it returned.
    shape : tuple of int
    dtype : numpy dtype
        Of the array that is returned.

    Raises
    ------
    ValueError
        It is None, no array of real numbers, of another shape, or not finite.
    """
    if value is None:
        raise ValueError(f"your {name} function returned None: is its last line a return?")
    value = floats(value, f"what your {name} function returned")
    if value.shape != tuple(shape):
        raise ValueError(f"your {name} function returned shape {value.shape}, but {tuple(shape)} is needed")
    if not np.isfinite(value).all():
        raise ValueError(f"your {name} function returned a number that is not finite")
    return value.astype(dtype, copy=False)


def inputs(value, n: int, m: int | None = None, who: str = "the controller", place: str = "there ") -> np.ndarray:
    """Return what a controller returned for n plants as inputs (n, m); where there is one input, (n,) will do.

    Parameters
    ----------
    value
        What it returned.
    n : int
    m : int, optional
        By default any number.
    who, place : str
        In a message: what to call it, and where that was ("in step 3 ").

    Raises
    ------
    ValueError
        It is no array of real numbers, of another shape, or not finite.
    """
    u = asfloats(value, f"what {who} returned")
    u = u.reshape(-1, 1) if u.ndim < 2 and m in (1, None) else u
    fits = u.ndim == 2 and len(u) == n and m in (u.shape[1], None) and u.shape[1] > 0
    if not fits or not np.isfinite(u).all():
        got = u[~np.isfinite(u).all(-1)][0] if fits else f"shape {u.shape}"
        raise ValueError(f"{who} must return finite inputs of shape ({n}, {m or 'n_inputs'}); {place}came {got}")
    return u


def answering(name: str, function: Callable, shape: Callable, dtype=float) -> Callable:
    """Return `function`, if it is a reader's own with its answers checked.

    Parameters
    ----------
    name : str
        What to call it.
    function : callable
    shape : callable
        ``shape(*arguments)`` is the shape that its answer must have.
    dtype : numpy dtype
        Of the answers.
    """
    if (getattr(function, "__module__", None) or "").startswith("mpcrl_course."):
        return function
    return lambda *arguments: checked(name, function(*arguments), shape(*arguments), dtype)
