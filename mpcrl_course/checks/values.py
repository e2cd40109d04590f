"""A student's value made plain: data of our own, which is compared, shown and copied without surprises."""

from __future__ import annotations

import copy
import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np
import scipy.sparse

from .limits import TookTooLong

DEEPEST = 12  # lists in lists
LARGEST = 10_000_000  # numbers of an array


@dataclass(frozen=True)
class Unreadable:
    """What is no value that can be compared.

    Parameters
    ----------
    kind
        In words: "a generator".
    advice
        What would make it one, a whole sentence; "" if nothing can be said.
    """

    kind: str
    advice: str = ""

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def plain(value: Any) -> Any:
    """Copy a value of any type into plain data, whatever the value does when it is touched.

    Parameters
    ----------
    value
        Anything. Numbers stay; NumPy's, CasADi's numeric and SciPy's sparse matrices, and whatever has
        `__array__`, become arrays; lists, tuples and dicts (and their subclasses) are made plain part by part.

    Returns
    -------
    object
        None, `...`, a bool, int, float, complex or str; an array of one of the dtypes bool, int, float64 and
        complex128; a tuple, list or dict of such; or `Unreadable`.
    """
    return _part(value, ())


def harmless(work: Callable[[], Any], otherwise: Any) -> Any:
    """Do what touches an object of the student's, which may raise anything, KeyboardInterrupt and SystemExit too.

    Parameters
    ----------
    work
        Called without arguments.
    otherwise
        What is returned if it raises.
    """
    try:
        return work()
    except TookTooLong:
        raise
    except BaseException:
        return otherwise


def _part(value: Any, within: tuple[int, ...]) -> Any:
    """Make one part of a value plain: the others stay readable if this one is not."""
    return harmless(lambda: _plain(value, within), Unreadable(kind_of(value)))


def _plain(value: Any, within: tuple[int, ...]) -> Any:
    if value is None or value is ... or type(value) in (bool, float, complex, str):
        return value
    if isinstance(value, np.ndarray):
        return _plain_array(value, within)
    if isinstance(value, np.generic):
        return _plain_array(np.array(value), within)
    if isinstance(value, int | float):  # the subclasses too: an enum, say
        return int(value) if abs(value) < 2**63 and value == int(value) and isinstance(value, int) else float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list | tuple | dict):
        return _plain_parts(value, within)
    if isinstance(value, ca.DM):
        return np.array(value.full())
    if isinstance(value, ca.SX | ca.MX):
        advice = "It is a formula without a number yet: ask for its value, as in `ca.evalf(…)` or `sol.value(…)`."
        return Unreadable(f"a CasADi expression ({type(value).__name__})", advice)
    if scipy.sparse.issparse(value):
        return _plain_array(value.toarray(), within)
    return _from_its_methods(value, within)


def _from_its_methods(value: Any, within: tuple[int, ...]) -> Any:
    kind = type(value)
    if inspect.iscoroutine(value):
        value.close()  # or Python warns later that nobody has awaited it
        return Unreadable("a coroutine", "Write `def`, not `async def`.")
    if isinstance(value, type):
        return Unreadable("a class", "Is a pair of brackets missing?")
    if hasattr(kind, "__next__"):
        return Unreadable(kind_of(value), "It has computed nothing yet; `list(…)` makes it do so.")
    if isinstance(value, set | frozenset):
        return Unreadable(kind_of(value), "A set has no order: return a list or an array.")
    if isinstance(value, type({}.values()) | type({}.keys()) | type({}.items())):
        return Unreadable(kind_of(value), "`list(…)` makes a list of it.")
    if isinstance(value, range):
        return _plain_array(np.arange(value.start, value.stop, value.step), within)
    for method in ("__array__", "__float__"):
        if hasattr(kind, method):
            return _plain(np.asarray(value) if method == "__array__" else float(value), (*within, id(value)))
    if callable(value):
        return Unreadable("a function", "Are the brackets missing? `f()` calls `f`.")
    return Unreadable(kind_of(value))


def _plain_array(array: np.ndarray, within: tuple[int, ...]) -> Any:
    if array.size > LARGEST:
        return Unreadable(f"an array of {array.size} numbers")
    if isinstance(array, np.ma.MaskedArray):
        array = np.ma.filled(array.astype(float), np.nan)
    array = np.array(array, subok=False)
    kind = array.dtype.kind
    if kind == "O":
        return _plain_objects(array, within)
    if kind in "SU":
        advice = "Numbers in quotation marks are text: leave out the quotation marks."
        return Unreadable("an array of texts", advice) if array.ndim else str(array)
    if kind not in "biufc":
        return Unreadable(f"an array of dtype {array.dtype}")
    wide = {"f": float, "c": complex, "u": float}.get(kind)
    array = array.astype(wide) if wide else array
    return array if array.ndim else array.item()


def _plain_objects(array: np.ndarray, within: tuple[int, ...]) -> Any:
    parts = [_plain(part, (*within, id(array))) for part in array.ravel().tolist()]
    single = [part.item() if isinstance(part, np.ndarray) and part.size == 1 else part for part in parts]
    if all(isinstance(part, numbers.Number) for part in single):
        return _plain_array(np.array(single).reshape(array.shape), within)
    return parts if array.ndim == 1 else parts[0] if array.ndim == 0 else Unreadable("an array of objects")


def _plain_parts(value: Any, within: tuple[int, ...]) -> Any:
    if id(value) in within:
        return Unreadable(f"{kind_of(value)} that contains itself")
    if len(within) > DEEPEST:
        return Unreadable("lists in lists in lists without an end")
    within = (*within, id(value))
    if isinstance(value, dict):
        return {_plain_key(key): _part(part, within) for key, part in dict.items(value)}
    base = list if isinstance(value, list) else tuple
    return base(_part(part, within) for part in base.__iter__(value))


def _plain_key(key: Any) -> Any:
    if isinstance(key, np.generic):
        key = key.item()
    return key if type(key) in (str, int, float, bool, bytes) else kind_of(key)


def kind_of(value: Any) -> str:
    """Name a value's type with an article: "a str", "an ndarray"."""
    if isinstance(value, Unreadable):
        return value.kind
    name = type.__dict__["__name__"].__get__(type(value))  # a class may hide its own
    return "nothing (None)" if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def is_blank(value: Any) -> bool:
    """Tell whether a plain `value` is still a blank: None, `...`, or a container of nothing else."""
    if value is None or value is ...:
        return True
    parts = list(value.values()) if isinstance(value, Mapping) else value
    return isinstance(parts, tuple | list) and len(parts) > 0 and all(is_blank(part) for part in parts)


def copied(value: Any) -> Any:
    """Copy a value deeply, so that no call sees what another did; what cannot be copied stays itself."""
    return harmless(lambda: _copied(value), value)


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value if value.size > LARGEST else value.copy()
    if type(value) in (tuple, list):
        return type(value)(_copied(part) for part in value)
    if type(value) is dict:
        return {key: _copied(part) for key, part in value.items()}
    return harmless(lambda: copy.deepcopy(value), value)


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
    text = " ".join(harmless(lambda: _text(value, digits), f"<{kind_of(value)}>").split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(value: Any, digits: int) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return np.array2string(
            value,
            formatter={"float_kind": lambda x: _text(float(x), digits)},
            threshold=24,
            edgeitems=3,
            separator=", ",
        )
    if isinstance(value, np.ndarray) and value.dtype != object:
        value = value.item()
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return f"{float(value) + 0.0:.{digits}g}"  # no -0
    if isinstance(value, complex | np.complexfloating):
        return f"{complex(value):.{digits}g}"
    if isinstance(value, np.integer):
        return str(int(value))
    if type(value) in (tuple, list):
        inside = ", ".join(_text(part, digits) for part in value)
        return f"[{inside}]" if type(value) is list else f"({inside}{',' if len(value) == 1 else ''})"
    if type(value) is dict:
        return "{" + ", ".join(f"{key!r}: {_text(part, digits)}" for key, part in value.items()) + "}"
    return repr(value)
