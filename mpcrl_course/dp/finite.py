"""Markov decision processes with finitely many states and actions, solved exactly.

States s = 0 … S-1, actions a = 0 … A-1, transition probabilities P[s, a, s'], stage cost L[s, a], discount gamma.

    Q[s, a] = L[s, a] + gamma sum_s' P[s, a, s'] V[s'],        (T V)[s] = min_a Q[s, a]

T is the Bellman operator; for gamma < 1 it shrinks the largest difference of two value functions by the factor gamma
(a contraction), so that V <- T V converges from anywhere to the one V* = T V*. Source: Bertsekas, Dynamic Programming
and Optimal Control, volume 2; Puterman, Markov Decision Processes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, eye_array, issparse
from scipy.sparse.linalg import spsolve

from mpcrl_course.validation import asfloats, floats, generator, instance, real, reals, sequence, share, short, whole


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite Markov decision process.

    Parameters
    ----------
    P : array_like (S, A, S), or sparse array (S * A, S)
        P[s, a, s'], the probability to go from s to s' under a; in the sparse form row s * A + a belongs to (s, a).
    cost : array_like, shape (S, A)
        Stage cost L[s, a].
    gamma : float
        Discount in (0, 1]. With 1, value iteration converges only where the cost ends by itself.

    Raises
    ------
    ValueError
        If the shapes do not match, a probability is negative, or a row does not sum to one.
    """

    P: Any
    cost: Any
    gamma: float
    _rows: Any = field(init=False, repr=False)

    def __post_init__(self):
        cost, gamma = floats(self.cost, "cost"), floats(self.gamma, "gamma")
        object.__setattr__(self, "cost", cost)
        if cost.ndim != 2 or not cost.size:
            raise ValueError(f"the cost has shape {cost.shape}, but needs (S, A): one row for each state")
        S, A = cost.shape
        P = self.P if issparse(self.P) else floats(self.P, "P")
        if issparse(P) and P.dtype.kind not in "biuf":
            raise ValueError(f"P holds {P.dtype}, not real numbers")
        if P.shape != ((S * A, S) if issparse(P) else (S, A, S)):
            raise ValueError(f"P has shape {P.shape}, but with a cost of shape {cost.shape} it needs ({S}, {A}, {S})")
        rows = csr_array(P if issparse(P) else P.reshape(S * A, S))
        if rows.data.size and not rows.data.min() >= 0.0:
            raise ValueError("P has an entry that is negative or nan")
        sums = np.asarray(rows.sum(axis=1)).ravel()
        if not np.allclose(sums, 1.0, atol=1e-9):
            s, a = divmod(int(np.abs(sums - 1.0).argmax()), A)
            raise ValueError(f"P[{s}, {a}] sums to {sums[s * A + a]:.6g}, not to 1 (transposed?)")
        if not np.isfinite(cost).all():
            raise ValueError("the cost is not finite everywhere")
        if gamma.shape or not 0.0 < gamma <= 1.0:
            raise ValueError(f"the discount gamma is {self.gamma}, but must be in (0, 1]")
        object.__setattr__(self, "P", P)
        object.__setattr__(self, "gamma", float(gamma))
        object.__setattr__(self, "_rows", rows)

    @property
    def states(self) -> int:
        """Number of states S."""
        return self.cost.shape[0]

    @property
    def actions(self) -> int:
        """Number of actions A."""
        return self.cost.shape[1]

    def action_values(self, V) -> np.ndarray:
        """Return Q[s, a] = L[s, a] + gamma E V(s'), shape (S, A), for a value V of shape (S,)."""
        V = asfloats(V, "V")
        if V.shape != (self.states,):
            raise ValueError(f"V has shape {V.shape}, but there are {self.states} states")
        return self.cost + self.gamma * (self._rows @ V).reshape(self.cost.shape)

    def discounted(self, gamma: float) -> FiniteMDP:
        """Return the same process with another discount."""
        gamma = share(gamma, "the discount gamma")
        other = object.__new__(FiniteMDP)  # what was checked need not be checked again
        for name, value in (("P", self.P), ("cost", self.cost), ("gamma", float(gamma)), ("_rows", self._rows)):
            object.__setattr__(other, name, value)
        return other

    def rows(self) -> csr_array:
        """Return P as a sparse array of shape (S * A, S)."""
        return self._rows


class Solved(NamedTuple):
    """What value and policy iteration return.

    Attributes
    ----------
    V : ndarray, shape (S,)
        The value after the last sweep.
    policy : ndarray of int, shape (S,)
        The greedy action in each state (the first of equals).
    residuals : ndarray
        max |V_{j+1} - V_j| of each sweep (value iteration), or each evaluation (policy iteration).
    converged : bool
        Whether the last residual is below the tolerance, or the policy repeats itself.
    """

    V: np.ndarray
    policy: np.ndarray
    residuals: np.ndarray
    converged: bool


def bellman(mdp: FiniteMDP, V) -> np.ndarray:
    """Return T V, one sweep of value iteration of an `mdp`, shape (S,), for a value V of shape (S,)."""
    return smallest(instance(mdp, FiniteMDP, "mdp").action_values(reals(V, "V")))


def smallest(Q: np.ndarray) -> np.ndarray:
    """Return min_a Q[s, a], shape (S,): the same as ``Q.min(axis=1)``, but faster for few actions."""
    V = Q[:, 0].copy()
    for a in range(1, Q.shape[1]):
        np.minimum(V, Q[:, a], out=V)
    return V


def value_iteration(mdp: FiniteMDP, V=None, tolerance: float = 1e-6, sweeps: int = 5000) -> Solved:
    """Iterate V <- T V until no entry moves by more than `tolerance`.

    Parameters
    ----------
    mdp : FiniteMDP
    V : array_like, shape (S,), optional
        Where to start; by default 0.
    tolerance : float
        Of the residual. V is then within gamma / (1 - gamma) times as much of V*.
    sweeps : int
        At most.
    """
    instance(mdp, FiniteMDP, "mdp")
    V = np.zeros(mdp.states) if V is None else reals(V, "V")
    if V.shape != (mdp.states,):
        raise ValueError(f"V has shape {V.shape}, but there are {mdp.states} states")
    residuals, tolerance = [], real(tolerance, "tolerance", 0.0)
    for _ in range(whole(sweeps, "sweeps", 0)):
        V, before = smallest(mdp.action_values(V)), V
        residuals.append(np.abs(V - before).max())
        if residuals[-1] <= tolerance:
            break
    policy = mdp.action_values(V).argmin(axis=1)
    return Solved(V, policy, np.array(residuals), bool(residuals) and bool(residuals[-1] <= tolerance))


def policy_value(mdp: FiniteMDP, policy) -> np.ndarray:
    """Return V^pi, shape (S,), of a policy: solves V = L_pi + gamma P_pi V.

    Parameters
    ----------
    mdp : FiniteMDP
    policy : array_like of int, shape (S,)
        The number of each state's action.

    Raises
    ------
    ValueError
        At discount 1, where this system has no unique solution.
    """
    if not instance(mdp, FiniteMDP, "mdp").gamma < 1.0:
        raise ValueError("the value of a policy is a linear system with a unique solution for gamma < 1 only")
    policy, s = _policy(mdp, policy), np.arange(mdp.states)
    P = mdp.rows()[s * mdp.actions + policy]
    return np.atleast_1d(spsolve((eye_array(mdp.states) - mdp.gamma * P).tocsc(), mdp.cost[s, policy]))


def _policy(mdp: FiniteMDP, policy) -> np.ndarray:
    """Return a policy as the numbers of actions, after a check: True or 1.0 is none."""
    found = policy
    if type(policy) is not np.ndarray or policy.dtype.kind not in "iu":
        found = np.array([whole(a, f"the policy in state {s}") for s, a in enumerate(sequence(policy, "policy"))])
    if found.shape != (mdp.states,):
        raise ValueError(f"the policy has shape {found.shape}, but there are {mdp.states} states")
    if not np.isin(found, np.arange(mdp.actions)).all():
        raise ValueError(f"a policy is one of the actions 0 … {mdp.actions - 1} for each state, not {short(policy)}")
    return found.astype(int)


def policy_iteration(mdp: FiniteMDP, policy=None, rounds: int = 100) -> Solved:
    """Alternate exact evaluation and greedy improvement until the policy stays.

    Parameters
    ----------
    mdp : FiniteMDP
        With a discount below 1.
    policy : array_like of int, shape (S,), optional
        Where to start; by default action 0 everywhere.
    rounds : int
        At most.
    """
    instance(mdp, FiniteMDP, "mdp")
    policy = np.zeros(mdp.states, dtype=int) if policy is None else _policy(mdp, policy)
    V, residuals, s = np.zeros(mdp.states), [], np.arange(mdp.states)
    for _ in range(whole(rounds, "rounds", 0)):
        V, before = policy_value(mdp, policy), V
        residuals.append(np.abs(V - before).max())
        Q = mdp.action_values(V)
        # change an action only if that helps by more than rounding, or equals would take turns for ever
        better = Q[s, policy] - Q.min(axis=1) > 1e-10 * (1.0 + np.abs(V))
        if not better.any():
            return Solved(V, policy, np.array(residuals), True)
        policy = np.where(better, Q.argmin(axis=1), policy)
    return Solved(V, policy, np.array(residuals), False)


def sampler(mdp: FiniteMDP, rng: np.random.Generator) -> Callable[[int, int], tuple[float, int, bool]]:
    """Return a function that draws from the process: all that a learner may know of it.

    Parameters
    ----------
    mdp : FiniteMDP
    rng : numpy.random.Generator

    Returns
    -------
    callable
        ``step(s, a)`` gives the cost, the next state, and whether it is terminal (never).
    """
    P, S, A = instance(mdp, FiniteMDP, "mdp").rows(), mdp.states, mdp.actions
    generator(rng)
    P.sort_indices()
    starts, successors = P.indptr.tolist(), P.indices.tolist()
    cumulative = (np.cumsum(P.data) - np.repeat(np.arange(len(starts) - 1), np.diff(P.indptr))).tolist()
    cost = mdp.cost.tolist()
    block: list[float] = []

    def step(s: int, a: int) -> tuple[float, int, bool]:
        if not (type(s) is type(a) is int and 0 <= s < S and 0 <= a < A):
            s, a = whole(s, "the state s", 0), whole(a, "the action a", 0)
            if s >= S or a >= A:
                raise ValueError(f"there are states s from 0 to {S - 1} and actions a to {A - 1}, not {(s, a)}")
        if not block:
            block.extend(rng.random(10_000).tolist())
        row = s * A + a
        first, last = starts[row], starts[row + 1]
        place = bisect_right(cumulative, block.pop(), first, last)
        return cost[s][a], successors[min(place, last - 1)], False

    step.block = block  # type: ignore[attr-defined]  # random numbers that wait, for whoever saves a run
    return step
