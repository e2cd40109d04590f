"""The largest set of states that a linear plant with a bounded disturbance can be kept in, and a filter that does.

    x+ = A x + B u + e,   e = (e_1, 0, …),   -w <= e_1 <= 0,   |u| <= 1,   S_0 = {x: lower <= x <= upper}
    S_{j+1} = S_0 and {x: there is |u| <= 1 with H (A x + B u) <= h - max(0, -w H_1)},   S_j = {x: H x <= h}

max(0, -w H_1) is the most that the disturbance adds to each row. u is eliminated from the rows (Fourier & Motzkin: from
p'x + q u <= r, q > 0, and p-'x - q- u <= r-, q- > 0, follows (p / q + p- / q-)'x <= r / q + r- / q-), and rows that say
nothing are left out (a linear program each). When S_{j+1} = S_j, it is invariant under the best input: from a state
in it there is an input after which the next state is in it, whatever the disturbance.

With one input, the inputs that keep the next state in S are an interval. The filter is a clip: the least change.

Source: Kerrigan, Robust Constraint Satisfaction, PhD thesis, Cambridge 2000; Kolmanovsky & Gilbert, Mathematical
Problems in Engineering 4, 1998.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs import linear
from mpcrl_course.own import inputs
from mpcrl_course.validation import instance, real, reals, whole

#: Coefficients of u smaller than this are none; rows closer than this are one, and vertices of one set.
NO_ENTRY, SAME, CONVERGED = 1e-12, 1e-10, 1e-7
#: A change this small is none: an MPC that keeps the same rows differs by as much.
ROUNDING = 1e-8


class Polytope(NamedTuple):
    """The states x with H x <= h; rows have length 1.

    Attributes
    ----------
    H : ndarray, shape (rows, n_states)
    h : ndarray, shape (rows,)
    """

    H: np.ndarray
    h: np.ndarray


def without_idle_rows(H, h) -> Polytope:
    """Return the same set {x: H x <= h} without rows that follow from the others; ValueError if it is empty.

    H has shape (rows, n), h (rows,). The set must be bounded.
    """
    H, h = reals(H, "H", (None, None)), reals(h, "h", (None,))
    if len(H) != len(h):
        raise ValueError(f"H and h have the same rows, not {len(H)} and {len(h)}")
    length = np.linalg.norm(H, axis=1)
    if (h[length <= NO_ENTRY] < -SAME).any():
        raise ValueError("the set H x <= h is empty")
    H, h = H[length > NO_ENTRY], h[length > NO_ENTRY]
    H, h = H / length[length > NO_ENTRY, None], h / length[length > NO_ENTRY]
    _, first = np.unique(np.round(np.column_stack([H, h]) / SAME), axis=0, return_index=True)
    H, h = H[np.sort(first)], h[np.sort(first)]
    kept = list(range(len(h)))
    for i in range(len(h)):
        others = [j for j in kept if j != i]
        rows, bounds = np.vstack([H[others], H[i]]), np.append(h[others], h[i] + 1.0)
        furthest = linprog(-H[i], A_ub=rows, b_ub=bounds, bounds=(None, None))
        if furthest.status == 2:
            raise ValueError("the set H x <= h is empty")
        if -furthest.fun <= h[i] + 1e-9:
            kept = others
    return Polytope(H[kept], h[kept])


def predecessors(S: Polytope, A, B, w: float, limit: float = 1.0) -> Polytope:
    """Return the states from which an input keeps the next state in S, whatever the disturbance; rows may be idle.

    Parameters
    ----------
    S : Polytope
    A, B : array_like, shapes (n, n) and (n,)
    w : float
        Width of the disturbance of the first state.
    limit : float
        Of the input.
    """
    P, q, r = _rows(S, A, B, w)
    P, q, r = np.vstack([P, np.zeros((2, P.shape[1]))]), np.append(q, [1.0, -1.0]), np.append(r, [limit, limit])
    up, down = np.flatnonzero(q > NO_ENTRY), np.flatnonzero(q < -NO_ENTRY)
    i, j = (part.ravel() for part in np.meshgrid(up, down, indexing="ij"))
    free = np.abs(q) <= NO_ENTRY
    H = np.vstack([P[free], P[i] / q[i, None] - P[j] / q[j, None]])
    return Polytope(H, np.append(r[free], r[i] / q[i] - r[j] / q[j]))


def _rows(S: Polytope, A, B, w: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P, q, r: P x + q u <= r keeps the next state in S, whatever the disturbance."""
    return S.H @ A, S.H @ B, S.h - np.maximum(0.0, -w * S.H[:, 0])


def robust_invariant_set(
    w: float = 0.1,
    A=linear.A,
    B=linear.B,
    lower=linear.LOWER,
    upper=linear.UPPER,
    limit: float = 1.0,
    iterations: int = 60,
) -> Polytope:
    """Return the largest set within lower <= x <= upper that one input can keep x in.

    Parameters
    ----------
    w, A, B, limit
        See `predecessors`; by default those of the linear plant.
    lower, upper : array_like, shape (2,)
    iterations : int
        At most.

    Raises
    ------
    ValueError
        The set is empty, or the iterations did not suffice.
    """
    lower, upper = reals(lower, "lower", (2,)), reals(upper, "upper", (2,))
    w, limit = real(w, "w", 0.0), real(limit, "limit", 0.0, strict=True)
    A, B = reals(A, "A", (2, 2)), reals(np.ravel(reals(B, "B")), "B", (2,))
    box = Polytope(np.vstack([np.eye(2), -np.eye(2)]), np.append(upper, -lower))
    S = without_idle_rows(*box)
    for _ in range(whole(iterations, "iterations", 1)):
        before = predecessors(S, A, B, w, limit)
        try:
            ahead = without_idle_rows(np.vstack([box.H, before.H]), np.append(box.h, before.h))
        except ValueError as error:
            raise ValueError(f"no state can be kept within the bounds for w = {w:g}: the set is empty") from error
        if len(ahead.h) == len(S.h) and np.abs(vertices(ahead) - vertices(S)).max() < CONVERGED:
            return ahead
        S = ahead
    raise ValueError(f"after {iterations} iterations the set still shrinks")


def vertices(S: Polytope) -> np.ndarray:
    """Return the corners of a set S in the plane, counter-clockwise, shape (rows, 2): rows must not be idle."""
    instance(S, Polytope, "S")
    order = np.argsort(np.arctan2(S.H[:, 1], S.H[:, 0]))
    H, h = S.H[order], S.h[order]
    return np.array([np.linalg.solve(H[[i - 1, i]], h[[i - 1, i]]) for i in range(len(h))])


def area(S: Polytope) -> float:
    """Return the area of a set S in the plane."""
    x, y = vertices(S).T
    return float(0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def contains(S: Polytope, x, tolerance: float = 1e-9) -> np.ndarray:
    """Return which states x (…, n) lie in S, up to the tolerance."""
    return (reals(x, "x") @ S.H.T <= S.h + real(tolerance, "tolerance", 0.0)).all(axis=-1)


class Clip:
    """The filter of a safe set, as a change (y, u) -> u for `Filter` and `Filtered`: u is clipped to `interval`.

    It remembers nothing. From outside of the set the interval may be empty; then its middle acts.

    Parameters
    ----------
    S : Polytope, optional
        By default `robust_invariant_set` of the model.
    w, A, B, limit
        The model, see `predecessors`.

    Attributes
    ----------
    status : list of str
        A word for each of the latest decisions: 'passed', 'clipped', or 'outside' (the interval was empty).
    """

    def __init__(self, S: Polytope | None = None, w: float = 0.1, A=linear.A, B=linear.B, limit: float = 1.0):
        self.S: Polytope = robust_invariant_set(w, A, B, limit=limit) if S is None else instance(S, Polytope, "S")
        n = self.S.H.shape[1]
        A, B = reals(A, "A", (n, n)), reals(np.ravel(reals(B, "B")), "B", (n,))
        self.limit = real(limit, "limit", 0.0, strict=True)
        self.P, self.q, self.r = _rows(self.S, A, B, real(w, "w", 0.0))
        self.status: list[str] = []

    def interval(self, y) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest inputs (n,) that keep the next states in the set, from y (n, n_states)."""
        left = self.r - measured(y, self.P.shape[1]) @ self.P.T
        up, down = self.q > NO_ENTRY, self.q < -NO_ENTRY
        low = (left[:, down] / self.q[down]).max(axis=1, initial=-self.limit)
        return low, (left[:, up] / self.q[up]).min(axis=1, initial=self.limit)

    def __call__(self, y, u) -> np.ndarray:
        """Return what acts (n, 1) in the place of inputs u (n, 1), in states y (n, n_states)."""
        low, high = self.interval(y)
        u = inputs(u, len(low), 1, "the controller")[:, 0]
        middle = np.clip(0.5 * (low + high), -self.limit, self.limit)
        acting = np.where(low <= high, np.clip(u, low, high), middle)
        empty, same = low > high + CONVERGED, np.abs(acting - np.clip(u, -self.limit, self.limit)) <= ROUNDING
        self.status = np.where(empty, "outside", np.where(same, "passed", "clipped")).tolist()
        return acting[:, None]
