"""Sixty kinds of things that an answer may return, none of them a right one, and some of them hostile."""

import array
import asyncio
import collections
import datetime
import decimal
import enum
import fractions
import io
import pathlib
import re
import threading
import types
import weakref
from dataclasses import dataclass

import casadi as ca
import numpy as np
import scipy.sparse


class Hostile:
    """An object of which nothing can be asked."""

    def __init__(self, error):
        object.__setattr__(self, "error", error)

    def refuse(self, *_, **__):
        raise object.__getattribute__(self, "error")

    __array__ = __float__ = __repr__ = __str__ = __eq__ = __len__ = __iter__ = __bool__ = __deepcopy__ = refuse
    __getattr__ = __index__ = __getitem__ = __contains__ = __lt__ = __gt__ = __sub__ = __abs__ = refuse
    __hash__ = None


class Array(Hostile):
    """An object that becomes an array, and nothing else."""

    def __array__(self, *_, **__):
        return object.__getattribute__(self, "error")


class HostileList(list):
    __iter__ = __len__ = __eq__ = __repr__ = Hostile.refuse
    error = ValueError("no")
    __hash__ = None


class HostileDict(dict):
    __iter__ = items = keys = __len__ = __eq__ = __repr__ = Hostile.refuse
    error = ValueError("no")
    __hash__ = None


class HostileFloat(float):
    __eq__ = __abs__ = __float__ = __sub__ = __lt__ = __gt__ = __repr__ = Hostile.refuse
    error = ValueError("no")
    __hash__ = float.__hash__


class Meta(type):
    @property
    def __name__(cls):
        raise ValueError("no name")

    def __instancecheck__(cls, instance):
        raise ValueError("no instance")


class Nameless(metaclass=Meta):
    pass


class Colour(enum.Enum):
    RED = 1


@dataclass
class Record:
    value: float = 1.0


Pair = collections.namedtuple("Pair", "one other")


def _loop_list():
    inner: list = [1.0]
    inner.append(inner)
    return inner


def _loop_dict():
    inner: dict = {}
    inner["self"] = inner
    return inner


def _loop_array():
    inner = np.empty(2, dtype=object)
    inner[:] = [inner, inner]
    return inner


def _wide_loop():
    inner: list = []
    inner.extend([inner] * 20)
    return [inner, [inner, [inner]]]


async def _coroutine():
    return 1.0


async def _generator():
    yield 1.0


def _deep(n=5000):
    inner = [1.0]
    for _ in range(n):
        inner = [inner]
    return inner


def _opti():
    opti = ca.Opti()
    return opti, opti.variable()


#: Name → a function that makes one.
KINDS = {
    "None in a list": lambda: [None, 1.0],
    "ellipsis in a tuple": lambda: (..., 2.0),
    "text": lambda: "3.5",
    "bytes": lambda: b"3.5",
    "list of texts": lambda: ["1.0", "2.0"],
    "array of texts": lambda: np.array(["1.0", "2.0"]),
    "ragged list": lambda: [[1.0, 2.0], [3.0]],
    "ragged array": lambda: np.array([np.ones(2), np.ones(3)], dtype=object),
    "object array": lambda: np.array([1.0, "a", None], dtype=object),
    "structured array": lambda: np.zeros(2, dtype=[("a", float), ("b", int)]),
    "dates": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "masked array": lambda: np.ma.array([1.0, 2.0], mask=[True, False]),
    "empty array": lambda: np.array([]),
    "huge array": lambda: np.broadcast_to(1.0, (10**5, 10**5)),
    "array of many axes": lambda: np.ones((1,) * 20 + (7,)),
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "huge int": lambda: 10**400,
    "complex": lambda: 1.0 + 0.5j,
    "complex array": lambda: np.array([1.0, 2.0j]),
    "bool": lambda: False,
    "decimal NaN": lambda: decimal.Decimal("sNaN"),
    "fraction": lambda: fractions.Fraction(7, 3),
    "long double": lambda: np.longdouble("1e4000"),
    "enum": lambda: Colour.RED,
    "date": lambda: datetime.date(2020, 1, 1),
    "set": lambda: {1.0, 2.0},
    "frozenset": lambda: frozenset([1.0]),
    "dict": lambda: {"V": 1.0},
    "dict with odd keys": lambda: {(1, 2): 1.0, None: 2.0, Colour.RED: 3.0},
    "dict values": lambda: {"a": 1.0}.values(),
    "dict items": lambda: {"a": 1.0}.items(),
    "generator": lambda: (x for x in [1.0]),
    "map": lambda: map(abs, [1.0]),
    "zip": lambda: zip([1.0], [2.0], strict=True),
    "range": lambda: range(3),
    "endless iterator": lambda: iter(int, 1),
    "function": lambda: np.min,
    "lambda": lambda: lambda *_: 1.0,
    "class": lambda: float,
    "module": lambda: np,
    "coroutine": _coroutine,
    "asynchronous generator": _generator,
    "list in itself": _loop_list,
    "dict in itself": _loop_dict,
    "array in itself": _loop_array,
    "list in itself many times": _wide_loop,
    "deep list": _deep,
    "named tuple": lambda: Pair(Hostile(ValueError("no")), 2.0),
    "deque": lambda: collections.deque([1.0]),
    "array.array": lambda: array.array("d", [1.0, 2.0]),
    "memory view": lambda: memoryview(np.ones(3)),
    "sparse matrix": lambda: scipy.sparse.eye(3).tocsr(),
    "CasADi symbol": lambda: ca.MX.sym("x", 2),
    "CasADi expression": lambda: ca.SX.sym("x", 2) ** 2,
    "Opti": _opti,
    "CasADi DM of NaN": lambda: ca.DM([np.nan]),
    "record": Record,
    "open file": lambda: io.StringIO("1.0"),
    "path": lambda: pathlib.Path("1.0"),
    "pattern": lambda: re.compile("1"),
    "lock": threading.Lock,
    "namespace": lambda: types.SimpleNamespace(value=1.0),
    "weak reference": lambda: weakref.ref(Record),
    "event loop policy": asyncio.DefaultEventLoopPolicy,
    "an error as a value": lambda: ValueError("not raised"),
    "not implemented": lambda: NotImplemented,
    "numpy scalar type": lambda: np.float64,
    "__array__ raises ValueError": lambda: Hostile(ValueError("no")),
    "__array__ raises SystemExit": lambda: Hostile(SystemExit(3)),
    "__array__ raises KeyboardInterrupt": lambda: Hostile(KeyboardInterrupt()),
    "__array__ raises StopIteration": lambda: Hostile(StopIteration()),
    "__array__ raises RecursionError": lambda: Hostile(RecursionError()),
    "__array__ raises MemoryError": lambda: Hostile(MemoryError()),
    "__array__ gives itself": lambda: Array(None),
    "__array__ gives texts": lambda: Array(np.array(["a"])),
    "hostile list": lambda: HostileList([7.0]),
    "hostile dict": lambda: HostileDict(V=1.0),
    "hostile float": lambda: HostileFloat(1.0),
    "object of a class without a name": Nameless,
    "tuple of hostile parts": lambda: (Hostile(ValueError("no")), [Hostile(KeyError("no"))]),
}
