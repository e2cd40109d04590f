"""Exact laws of counts: who goes where, and who is in a sample.

Agents that choose independently go where they go independently, so that the next counts of a table T are a sum over its
cells, and their law a convolution of multinomials,

    c' = sum_{s,a} M_{s,a},     M_{s,a} ~ Multinomial(T[s, a]; P_l(. | s, s_g, a)).

It is built by one agent after the other (`next_law`); an expected value needs no law at all: with the operators
(A_p f)(c) = sum_i p_i f(c + e_i), one an agent, E f(c') is their product on f, and they commute, so that tables share
what they have in common (`expectations`). A sample of m of the agents, drawn without replacement, is multivariate
hypergeometric.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import gammaln, xlogy

from mpcrl_course.population.counts import all_counts, number, one_more, rank, whole_numbers
from mpcrl_course.validation import generator, reals, whole

#: So many numbers are held at once, in the largest arrays.
CHUNK = 4_000_000


@lru_cache(maxsize=4096)
def ahead(n: int, K: int) -> np.ndarray:
    """Return `one_more(n, K)`, kept, for n agents in K states."""
    found = one_more(n, K)
    found.setflags(write=False)
    return found


@lru_cache(maxsize=256)
def listed(n: int, K: int) -> np.ndarray:
    """Return `all_counts(n, K)`, kept, for n agents in K states."""
    found = all_counts(n, K)
    found.setflags(write=False)
    return found


def next_law(c, p) -> np.ndarray:
    """Return the law of the next counts, where the c[s] agents in state s move independently with the law p[s].

    Parameters
    ----------
    c : array_like of int, shape (..., S)
        Counts, of the same number of agents n everywhere; S may be any number of kinds of agents.
    p : array_like, shape (..., S, K)
        Where each kind goes.

    Returns
    -------
    ndarray, shape (..., number(n, K))
        A probability for each of `all_counts(n, K)`.
    """
    c, p = whole_numbers(c, "c"), reals(p, "p", (..., None, None))
    if p.shape[:-1] != c.shape or not c.size:
        raise ValueError(f"p has shape {p.shape}, but c has {c.shape}: each of c needs a law in p")
    _laws(p)
    around, K = c.shape[:-1], p.shape[-1]
    c, p = c.reshape(-1, c.shape[-1]), p.reshape(-1, c.shape[-1], K)
    n = int(c[0].sum())
    if (c.sum(axis=1) != n).any():
        raise ValueError("c must have the same sum everywhere")
    ends, rows = np.cumsum(c, axis=1), np.arange(len(c))
    law = np.ones((1, len(c)))  # counts first: what is picked is then contiguous
    for j in range(n):
        kind = (ends <= j).sum(axis=1)  # of the j-th agent
        mine = p[rows, kind].T
        longer = np.zeros((number(j + 1, K), len(c)))
        for i in range(K):
            longer[ahead(j, K)[:, i]] += mine[i] * law
        law = longer
    return law.T.reshape(*around, -1)


def expectations(f, p, k: int) -> np.ndarray:
    """Return E f(c') for every count m of k agents among the laws p: m[j] of them move with the law p[j].

    Parameters
    ----------
    f : array_like, shape (number(k, K), columns)
        A function of the next counts, or several.
    p : array_like, shape (J, K)
    k : int

    Returns
    -------
    ndarray, shape (number(k, J), columns)
        In the order of `all_counts(k, J)`.
    """
    p, f = _laws_and_values(f, p, k)
    J, K = p.shape
    widest = max(number(j, J) * number(k - j, K) for j in range(k + 1))
    step = max(1, CHUNK // widest)
    parts = [_expectations(f[:, i : i + step], p, k) for i in range(0, f.shape[1], step)]
    return np.concatenate(parts, axis=1)


def _expectations(f: np.ndarray, p: np.ndarray, k: int) -> np.ndarray:
    # known[j]: f averaged over the moves of j agents, for each count of these j among the laws from `mine` on and each
    # count of the others' next states, shape (number(k - j, K), counts of j, columns)
    K = p.shape[1]
    known = [f[:, None, :]] + [np.zeros((number(k - j, K), 0, f.shape[1])) for j in range(1, k + 1)]
    for mine in p[::-1]:
        for j in range(1, k + 1):
            onward = ahead(k - j, K)
            moved = sum(mine[i] * known[j - 1][onward[:, i]] for i in range(K) if mine[i] > 0.0)
            known[j] = np.concatenate([moved, known[j]], axis=1)  # at least one agent of this law, or none
    return known[k][0]


def _laws_and_values(f, p, k: int) -> tuple[np.ndarray, np.ndarray]:
    p = _laws(reals(p, "p", (None, None)))
    f, many = reals(f, "f", (None, None)), number(whole(k, "k", 0), p.shape[1])
    if len(f) != many:
        raise ValueError(f"f has shape {f.shape}, but k = {k} agents have {many} counts in {p.shape[1]} states")
    return p, f


def _laws(p: np.ndarray) -> np.ndarray:
    if not p.size or p.min() < -1e-12 or not np.allclose(p.sum(axis=-1), 1.0, atol=1e-9):
        raise ValueError("p must hold laws: not negative, with the sum 1")
    return p


def multinomial(n: int, p) -> np.ndarray:
    """Return the law (..., number(n, K)) of the counts of n agents that are drawn independently from p (..., K)."""
    p = _laws(reals(p, "p", (..., None)))
    c = listed(whole(n, "n", 0), p.shape[-1])
    log = gammaln(n + 1.0) - gammaln(c + 1.0).sum(axis=1) + xlogy(c, p[..., None, :]).sum(axis=-1)
    return np.exp(log)


def hypergeometric(c, m: int) -> np.ndarray:
    """Return the law of a sample: m agents drawn without replacement from counts c.

    Parameters
    ----------
    c : array_like of int, shape (..., K)
        At least m agents everywhere.
    m : int

    Returns
    -------
    ndarray, shape (..., number(m, K))
        A probability for each of `all_counts(m, K)`.
    """
    c, m = whole_numbers(c, "c"), whole(m, "m", 0)
    if c.size and c.sum(axis=-1).min() < m:
        raise ValueError(f"m = {m} agents cannot be drawn from c, of fewer agents")
    h, i = listed(m, c.shape[-1]), np.arange(m)
    with np.errstate(divide="ignore"):
        factors = np.log(np.maximum(c[..., None] - i, 0.0)) - np.log(
            i + 1.0
        )  # C(c, h) = prod_{i < h} (c - i) / (i + 1)
    log = np.concatenate([np.zeros((*c.shape, 1)), np.cumsum(factors, axis=-1)], axis=-1)
    weights = np.sum([log[..., s, h[:, s]] for s in range(c.shape[-1])], axis=0)
    weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def sampled_expectations(f, p, k: int, samples: int, rng) -> np.ndarray:
    """Return what `expectations` does as means over so many `samples` of the next counts, drawn anew for each m.

    Parameters
    ----------
    f, p, k
        See `expectations`.
    samples : int
    rng : numpy.random.Generator or seed
    """
    p, f = _laws_and_values(f, p, k)
    J, K = p.shape
    m, rng = listed(k, J), generator(rng, seeds=True)
    step = max(1, CHUNK // (whole(samples, "samples", 1) * K))
    means = []
    for i in range(0, len(m), step):
        c = sum(rng.multinomial(m[i : i + step, j], p[j], size=(samples, len(m[i : i + step]))) for j in range(J))
        means.append(f[rank(c)].mean(axis=0))
    return np.concatenate(means)
