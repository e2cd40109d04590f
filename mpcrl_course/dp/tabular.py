"""Tabular Q-learning: one number for each state and action, learned from transitions instead of from P.

    Q[s, a] <- Q[s, a] + alpha (L + gamma min_a' Q[s', a'] - Q[s, a])           (no min at a terminal state)

The step size of a pair is the power of its own visit count, alpha = 1 / n(s, a) ** power: with 1/2 < power <= 1 and
every pair visited for ever Q converges to Q* (Watkins & Dayan 1992; power 1 is slow, see Even-Dar & Mansour 2003).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mpcrl_course.dp.finite import FiniteMDP

Step = Callable[[int, int], tuple[float, int, bool]]  # (s, a) -> cost, next state, terminal?


class TabularLog(NamedTuple):
    """What `q_learning` returns.

    Attributes
    ----------
    Q : ndarray, shape (S, A)
    visits : ndarray of int, shape (S, A)
    snapshots : dict of int to ndarray
        Q after so many steps.
    """

    Q: np.ndarray
    visits: np.ndarray
    snapshots: dict[int, np.ndarray]


def sampler(mdp: FiniteMDP, rng: np.random.Generator) -> Step:
    """Return a function step(s, a) that draws from the process: all that a learner may know of it."""
    P, A = mdp.rows(), mdp.actions
    P.sort_indices()
    starts, successors = P.indptr.tolist(), P.indices.tolist()
    cumulative = (np.cumsum(P.data) - np.repeat(np.arange(len(starts) - 1), np.diff(P.indptr))).tolist()
    cost = mdp.cost.tolist()
    block: list[float] = []

    def step(s: int, a: int) -> tuple[float, int, bool]:
        if not block:
            block.extend(rng.random(10_000).tolist())
        row = s * A + a
        first, last = starts[row], starts[row + 1]
        place = bisect_right(cumulative, block.pop(), first, last)
        return cost[s][a], successors[min(place, last - 1)], False

    return step


def q_learning(
    step: Step,
    states: int,
    actions: int,
    gamma: float,
    steps: int,
    rng: np.random.Generator,
    *,
    epsilon: float = 0.2,
    power: float = 0.6,
    episode: int = 100,
    reset: Callable[[], int] | None = None,
    Q=None,
    snapshots=(),
) -> TabularLog:
    """Learn Q by tabular Q-learning with epsilon-greedy actions.

    Parameters
    ----------
    step : callable (s, a) -> (cost, next state, terminal)
        The plant. At a terminal state nothing more is paid, so its value is 0.
    states, actions : int
        S and A.
    gamma : float
        Discount.
    steps : int
        Transitions in all.
    rng : numpy.random.Generator
    epsilon : float
        Probability of a random action.
    power : float
        Step size 1 / n(s, a) ** power.
    episode : int
        Steps after which an episode is cut off and the next one starts: a *truncation*, which leaves the target as it
        is.
    reset : callable () -> s, optional
        Start of an episode; by default any state with equal probability.
    Q : array_like, shape (S, A), optional
        Where to start; by default 0, which is optimistic for costs and so explores.
    snapshots : iterable of int
        Steps after which a copy of Q is kept.
    """
    if not 0.0 <= epsilon <= 1.0 or not 0.0 < gamma <= 1.0:
        raise ValueError(f"epsilon {epsilon} must be in [0, 1] and gamma {gamma} in (0, 1]")
    start = np.zeros((states, actions)) if Q is None else np.array(Q, dtype=float)
    if start.shape != (states, actions):
        raise ValueError(f"Q has shape {start.shape}, but needs ({states}, {actions})")
    table, visits = start.tolist(), [[0] * actions for _ in range(states)]  # lists: faster than arrays, entry by entry
    wanted, kept = set(snapshots), {}
    new_start = reset or (lambda: int(rng.integers(states)))
    explore = (rng.random(steps) < epsilon).tolist()
    random_actions = rng.integers(actions, size=steps).tolist()
    s, since = new_start(), 0
    for k in range(steps):
        row = table[s]
        a = random_actions[k] if explore[k] else row.index(min(row))
        cost, s_next, terminal = step(s, a)
        target = cost if terminal else cost + gamma * min(table[s_next])
        visits[s][a] += 1
        row[a] += (target - row[a]) / visits[s][a] ** power
        s, since = s_next, since + 1
        if terminal or since == episode:
            s, since = new_start(), 0
        if k + 1 in wanted:
            kept[k + 1] = np.array(table)
    return TabularLog(np.array(table), np.array(visits), kept)
