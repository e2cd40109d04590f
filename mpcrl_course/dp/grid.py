"""A rectangular grid with multilinear interpolation: how a continuous state becomes a finite one.

A point x inside a cell lies between 2^n corners. Multilinear interpolation writes a value there as

    V(x) = sum_c w_c(x) V_c,        w_c >= 0,        sum_c w_c = 1,

so the weights are *probabilities*: on the grid the plant "jumps" to corner c with probability w_c(x+). With these as P
the grid is a finite Markov decision process, and all that is true of those (`dp/finite.py`) is true of it. The price is
an error: the jumps add a spread of the size of the cell that the plant does not have. Source: Kushner & Dupuis,
Numerical Methods for Stochastic Control Problems in Continuous Time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from mpcrl_course.validation import asfloats, floats, sequence, short, whole


class Grid:
    """A grid of points, evenly spaced in each direction.

    Parameters
    ----------
    lower, upper : sequence of float
        Range in each direction.
    sizes : sequence of int
        Points in each direction, at least 2.
    periodic : sequence of bool, optional
        Directions in which `upper` is the same place as `lower` (an angle); there the last point is one step before
        `upper`. By default none.

    Attributes
    ----------
    axes : list of ndarray
        The coordinates in each direction.
    points : ndarray, shape (S, n)
        All grid points, the last direction running fastest.
    """

    def __init__(
        self,
        lower: Sequence[float],
        upper: Sequence[float],
        sizes: Sequence[int],
        periodic: Sequence[bool] | None = None,
    ):
        self.lower, self.upper = floats(lower, "lower"), floats(upper, "upper")
        self.sizes = tuple(whole(size, "an entry of sizes") for size in sequence(sizes, "sizes"))
        own = (False,) * len(self.sizes) if periodic is None else sequence(periodic, "periodic")
        self.periodic = tuple(_truth(entry) for entry in own)
        if self.lower.ndim != 1 or self.upper.ndim != 1:
            raise ValueError("lower, upper, sizes and periodic need one entry for each direction")
        lengths = {len(self.lower), len(self.upper), len(self.sizes), len(self.periodic)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError("lower, upper, sizes and periodic need one entry for each direction")
        if not (np.isfinite(self.lower) & np.isfinite(self.upper) & (self.lower < self.upper)).all():
            raise ValueError(f"the range from {self.lower} to {self.upper} is empty or not finite")
        if min(self.sizes) < 2:
            raise ValueError(f"a grid needs at least 2 points in each direction, not {self.sizes}")
        cells = np.array([size if p else size - 1 for size, p in zip(self.sizes, self.periodic)])
        self.step = (self.upper - self.lower) / cells
        self.axes = [low + h * np.arange(n) for low, h, n in zip(self.lower, self.step, self.sizes)]
        mesh = np.meshgrid(*self.axes, indexing="ij")
        self.points = np.stack([m.ravel() for m in mesh], axis=1)

    def weights(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return the corners around each point and their weights.

        Parameters
        ----------
        x : array_like, shape (m, n)
            Outside of the grid, the nearest point of its edge counts (periodic directions have no outside).

        Returns
        -------
        corners : ndarray of int, shape (m, 2 ** n)
            Numbers of grid points.
        weights : ndarray, shape (m, 2 ** n)
            At least 0, with sum 1.

        Raises
        ------
        ValueError
            If a point is not finite, or has not one entry for each direction.
        """
        x = asfloats(x, "x")
        if x.ndim != 2 or x.shape[1] != len(self.sizes) or not np.isfinite(x).all():
            raise ValueError(f"the points must be finite and of shape (m, {len(self.sizes)}), but have shape {x.shape}")
        corners, weights = np.zeros((len(x), 1), dtype=np.intp), np.ones((len(x), 1))
        for i, (size, periodic) in enumerate(zip(self.sizes, self.periodic)):
            place = (x[:, i] - self.lower[i]) / self.step[i]
            if periodic:
                cell = np.floor(place).astype(np.intp)
                share = place - cell
                low, high = cell % size, (cell + 1) % size
            else:
                place = np.minimum(np.maximum(place, 0.0), size - 1)
                low = np.minimum(place.astype(np.intp), size - 2)
                share, high = place - low, low + 1
            corners = np.concatenate([corners * size + low[:, None], corners * size + high[:, None]], axis=1)
            weights = np.concatenate([weights * (1.0 - share)[:, None], weights * share[:, None]], axis=1)
        return corners, weights

    def matrix(self, x) -> csr_array:
        """Return the sparse (m, S) array whose row j holds the weights of x[j]: ``matrix(x) @ V`` interpolates."""
        corners, weights = self.weights(x)
        rows = corners.shape[1] * np.arange(len(corners) + 1)
        return csr_array((weights.ravel(), corners.ravel(), rows), shape=(len(corners), len(self.points)))

    def interpolate(self, V, x) -> np.ndarray:
        """Return V at the points x, shape (m,); V has one entry for each grid point."""
        (corners, weights), V = self.weights(x), np.ravel(asfloats(V, "V"))
        if V.size != len(self.points):
            raise ValueError(f"V has {V.size} entries, but the grid has {len(self.points)} points")
        return (V[corners] * weights).sum(axis=1)


def _truth(value) -> bool:
    """Return an entry of `periodic` as a bool; raises ValueError if it is none."""
    if not isinstance(value, (bool, np.bool_, int)) or value not in (0, 1):
        raise ValueError(f"an entry of periodic must be True or False, not {short(value)}")
    return bool(value)
