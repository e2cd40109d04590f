"""Average consensus: agents learn the mean of what they all hold by talking to their neighbours only.

    v_i <- sum_j P_ij v_j

with a mixing matrix P that is symmetric, has no negative entry, P_ij = 0 unless j is i or a neighbour, and rows that
add up to 1. Every round keeps the mean and, on a connected graph, shrinks what lies beside it by the second-largest
modulus of P's eigenvalues, the `rate`: after n rounds the error is at most rate^n times that at the start.

Source: Xiao & Boyd, Systems & Control Letters 53(1), 2004.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from mpcrl_course.network.graph import Edges, neighbours_of
from mpcrl_course.validation import floats, real, sequence, short, whole


class Average(NamedTuple):
    """What the agents know after some rounds.

    Attributes
    ----------
    estimates : ndarray, shape (M, …)
        Row i: what agent i takes the mean to be.
    messages : int
        Arrays that arrived.
    """

    estimates: np.ndarray
    messages: int


def laplacian(n: int, edges: Edges) -> np.ndarray:
    """Return the Laplacian of the graph with these edges, shape (n, n): degrees on the diagonal, -1 for a neighbour."""
    neighbours_of_each = neighbours_of(n, edges)
    L = np.zeros((n, n))
    for i, neighbours in enumerate(neighbours_of_each):
        L[i, i] = len(neighbours)
        L[i, neighbours] = -1.0
    return L


def mixing_matrix(n: int, edges: Edges, step: float | None = None) -> np.ndarray:
    """Return a mixing matrix P of a connected graph, shape (n, n).

    Parameters
    ----------
    n : int
    edges : sequence of (i, j)
    step : float, optional
        P = I - step * Laplacian, with 0 < step <= 1 / (largest degree) (the published line of three: 1/4). By default
        the Metropolis weights P_ij = 1 / (1 + the larger degree of i and j), for which agents need to know nothing but
        their own and their neighbours' degrees.

    Raises
    ------
    ValueError
        The step is not in its range, or the rate of its weights is 1. That is so at step = 1 / (largest degree) where
        agents with equally many neighbours fall into two camps that hear each other only, as two agents or an even
        ring do: each agent gives all of its weight away, and the camps exchange their values for ever.
    """
    L = laplacian(n, edges)
    degree = np.diag(L)
    if step is not None:
        step = real(step, "step")
        if not 0.0 < step * degree.max() <= 1.0:
            raise ValueError(f"step must lie in (0, 1 / {degree.max():.0f}], not be {step}")
        P = np.eye(n) - step * L
        if rate(P) > 1.0 - 1e-12:
            raise ValueError(f"at step {step:g} two camps exchange their values for ever (rate 1): take a smaller step")
        return P
    P = np.where(L < 0.0, 1.0 / (1.0 + np.maximum.outer(degree, degree)), 0.0)
    return P + np.diag(1.0 - P.sum(axis=1))


def rate(P) -> float:
    """Return the second-largest modulus of the eigenvalues of P, the factor by which each round shrinks the error."""
    P = _checked(P)
    return float(np.sort(np.abs(np.linalg.eigvalsh(P)))[-2]) if len(P) > 1 else 0.0


def average(P, values, rounds: int, lost: Collection[tuple[int, int, int]] = ()) -> Average:
    """Let agents average their values for some rounds.

    Parameters
    ----------
    P : array_like, shape (M, M)
        Mixing matrix.
    values : array_like, shape (M, …)
        Row i is what agent i holds.
    rounds : int
    lost : collection of (round, sender, receiver)
        Messages that do not arrive (rounds are counted from 0). The receiver takes its own value instead. If the one
        back is lost in the same round too, the mean is kept and consensus is only slower; if not, the mean moves by
        P_ij (v_i - v_j) / M, of receiver i and sender j.

    Raises
    ------
    ValueError
        If P is no mixing matrix, if there is not one row of values for each agent, or if a value is not finite.
    """
    P, values, rounds = _checked(P), floats(values, "values"), whole(rounds, "rounds", 0)
    n, dropped = len(P), [_message(each) for each in sequence(lost, "lost")]
    if values.shape[:1] != (n,):
        raise ValueError(f"values have shape {values.shape}, but there are {n} agents: give ({n}, …)")
    if not np.isfinite(values).all():
        agents = [i + 1 for i in range(n) if not np.isfinite(values[i]).all()]
        raise ValueError(f"the values of agent {', '.join(map(str, agents))} are not finite")
    links = int((P != 0.0).sum() - (np.diag(P) != 0.0).sum())
    v, messages = values.reshape(n, -1), rounds * links
    for t in range(rounds):
        mix = P
        for _, sender, receiver in (message for message in dropped if message[0] == t):
            if sender == receiver or max(sender, receiver) >= n or P[receiver, sender] == 0.0:
                raise ValueError(f"no message goes from agent {sender} to agent {receiver}")
            mix = P.copy() if mix is P else mix
            mix[receiver, receiver] += mix[receiver, sender]
            mix[receiver, sender] = 0.0
            messages -= 1
        v = mix @ v
    return Average(v.reshape(values.shape), messages)


def _message(lost) -> tuple[int, ...]:
    """Return a lost message as whole numbers (round, sender, receiver), after a check."""
    if not isinstance(lost, (tuple, list)) or len(lost) != 3:
        raise ValueError(f"each of `lost` is (round, sender, receiver), not {short(lost)}")
    return tuple(whole(each, "a number of a lost message", 0) for each in lost)


def _checked(P):
    P = floats(P, "the mixing matrix P")
    if P.ndim != 2 or P.shape[0] != P.shape[1] or not P.size:
        raise ValueError(f"a mixing matrix is square, but this has shape {P.shape}")
    if not (np.abs(P - P.T).max() <= 1e-12 and P.min() >= 0.0 and np.abs(P.sum(axis=1) - 1.0).max() <= 1e-12):
        raise ValueError("a mixing matrix is symmetric, has no negative entry, and rows that add up to 1")
    return P
