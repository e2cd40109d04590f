"""Named parameters of an optimal-control problem, kept as one flat vector theta."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import casadi as ca
import numpy as np

from mpcrl_course.validation import asfloats, floats


class Parameters:
    """Named blocks of numbers, and their one documented layout in a flat vector.

    Blocks follow each other in the order in which they are given. A vector keeps its order, a matrix is
    stored column by column (as in CasADi), so ``A`` of shape (2, 2) is laid out as A11, A21, A12, A22.

    Parameters
    ----------
    **blocks : float or array_like
        Initial value of each block, by name: a number, a vector or a matrix.

    Examples
    --------
    >>> parameters = Parameters(V0=0.0, A=[[1.0, 0.25], [0.0, 1.0]])
    >>> parameters.names
    ['V0', 'A11', 'A21', 'A12', 'A22']
    >>> parameters.initial()
    array([0.  , 1.  , 0.  , 0.25, 1.  ])
    >>> parameters.unpack(parameters.initial()).A
    array([[1.  , 0.25],
           [0.  , 1.  ]])
    """

    def __init__(self, /, **blocks):
        self._blocks = {name: floats(value, f"parameter '{name}'") for name, value in blocks.items()}
        for name, block in self._blocks.items():
            if not name.isidentifier():
                raise ValueError(f"a parameter is read as p.name, which '{name}' cannot be: use letters, digits and _")
            if block.ndim > 2:
                raise ValueError(f"parameter '{name}' has shape {block.shape}: give a number, vector or matrix")
            if not np.isfinite(block).all():
                raise ValueError(f"parameter '{name}' has an initial value that is not finite: {block}")
        ends = np.cumsum([block.size for block in self._blocks.values()])
        starts = [0, *ends][: len(ends)]
        self._slices = {name: slice(int(i), int(j)) for name, i, j in zip(self._blocks, starts, ends, strict=True)}
        self.size = int(ends[-1]) if self._blocks else 0

    @property
    def names(self) -> list[str]:
        """A name for every entry of theta, in order: ``V0``, ``x_lb1``, ``A21``, … (counted from 1).

        Where two entries would be called the same, it is ``A_1`` beside a block ``A1``, and ``A1_11`` beside ``A11_1``.
        """
        entries = [(name, *index) for name, block in self._blocks.items() for index in _indices(block.shape)]
        form = [0] * len(entries)
        while True:
            names = [_named(*entry, form=k) for entry, k in zip(entries, form)]
            count = Counter(names)
            twice = [i for i, name in enumerate(names) if count[name] > 1 and len(entries[i]) > 1]
            if not twice:
                return names
            for i in twice:
                form[i] += 1

    def initial(self) -> np.ndarray:
        """Return the initial values as a new flat vector, shape (size,)."""
        return self.pack()

    def index(self, name: str) -> slice:
        """Return where block `name` lies in theta; raises KeyError that lists the names there are."""
        if not isinstance(name, str) or name not in self._slices:
            raise KeyError(f"no parameter is called '{name}'; there are: {', '.join(self._slices)}")
        return self._slices[name]

    def pack(self, theta=None, **blocks) -> np.ndarray:
        """Return a flat vector: `theta` (default: the initial values) with the named blocks replaced.

        Raises
        ------
        KeyError
            A name that no parameter has.
        ValueError
            A block of another shape than it was declared with (both shapes are named).
        """
        flat = np.concatenate([b.ravel(order="F") for b in self._blocks.values()] or [np.zeros(0)])
        if theta is not None:
            flat = self.check(theta).copy()
        for name, value in blocks.items():
            where, value = self.index(name), floats(value, f"parameter '{name}'")
            shape = self._blocks[name].shape
            if value.shape != shape:
                raise ValueError(f"parameter '{name}' has shape {shape}, but a value of shape {value.shape} was given")
            if np.isnan(value).any():
                raise ValueError(f"parameter '{name}' is not a number: {value}")
            flat[where] = value.ravel(order="F")
        return flat

    def unpack(self, theta) -> SimpleNamespace:
        """Return the blocks of `theta` as arrays (or SX blocks if theta is symbolic): ``p.A`` and so on."""
        if isinstance(theta, ca.SX):
            if theta.shape != (self.size, 1):
                raise ValueError(f"theta has shape {theta.shape}, but these parameters have shape ({self.size}, 1)")
            return SimpleNamespace(
                **{
                    name: ca.reshape(theta[self._slices[name]], *(block.shape + (1, 1))[:2])
                    for name, block in self._blocks.items()
                }
            )
        theta = self.check(theta).copy()
        return SimpleNamespace(
            **{
                name: theta[self._slices[name]].reshape(block.shape, order="F")[()]
                for name, block in self._blocks.items()
            }
        )

    def check(self, theta, finite: bool = True, name: str = "theta") -> np.ndarray:
        """Return `theta` as a float array, or raise ValueError if its shape or an entry is wrong.

        NaN is always wrong; infinite entries are not where `finite` is False (bounds on theta, called by their `name`).
        """
        theta = asfloats(theta, name)
        if theta.shape != (self.size,):
            raise ValueError(
                f"{name} has shape {theta.shape}, but these parameters have shape ({self.size},): "
                + ", ".join(f"{name} {block.shape}" for name, block in self._blocks.items())
            )
        fine = np.isfinite(theta) if finite else ~np.isnan(theta)
        if not fine.all():
            wrong = [self.names[i] for i in np.flatnonzero(~fine)]
            raise ValueError(f"{name} is not {'finite' if finite else 'a number'} in {', '.join(wrong)}")
        return theta


def _indices(shape: tuple) -> list[tuple]:
    """Return the indices of the entries of a block of this shape, column by column."""
    return [index[::-1] for index in np.ndindex(*shape[::-1])] if shape else [()]


def _named(block: str, *index: int, form: int = 0) -> str:
    """Return the name of a block's entry in one of three forms: A12 and x1, A1_2 and x_1, A[1,2] and x[1]."""
    at = [str(i + 1) for i in index]
    if form == 0 or not at:
        return block + "".join(at)
    if form == 1:
        return block + "_".join(at if len(at) > 1 else ["", *at])
    return f"{block}[{','.join(at)}]"
