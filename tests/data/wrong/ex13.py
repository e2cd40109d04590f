"""Answers to exercise 13 by someone who saw only its notebook: (item, what is done, answer)."""

from itertools import product
from math import comb, factorial

import numpy as np

from mpcrl_course.population import all_counts, all_tables, hypergeometric, multinomial, next_law, number, rank

# ------------------------------------------------------------------------------------------------------- item 2


def convolve(one, other, S):
    """Return the law of the sum of two independent counts, each a law in the order of `all_counts`."""
    n, m = (next(n for n in range(99) if number(n, S) == len(law)) for law in (one, other))
    found = np.zeros(number(n + m, S))
    for p, c in zip(one, all_counts(n, S)):
        for q, d in zip(other, all_counts(m, S)):
            found[rank(c + d)] += p * q
    return found


def cell_by_cell(T, P, weigh=lambda c: factorial(c.sum()) / np.prod([factorial(m) for m in c])):
    S, A = T.shape
    law = np.ones(1)
    for s in range(S):
        for a in range(A):
            cell = np.array([weigh(c) * np.prod(P[s, a] ** c) for c in all_counts(T[s, a], S)])
            law = convolve(law, cell, S)
    return law


def binomials(T, P):
    n, S = T.sum(), len(T)
    p = np.einsum("sa,sat->t", T, P) / n
    return [
        np.prod([comb(n, m) * p[i] ** m * (1 - p[i]) ** (n - m) for i, m in enumerate(c)]) for c in all_counts(n, S)
    ]


def actions_averaged(T, P):
    share = T.sum(axis=0) / T.sum()
    return next_law(T.sum(axis=1), np.einsum("a,sat->st", share, P))


def states_averaged(T, P):
    share = T.sum(axis=1) / T.sum()
    return next_law(T.sum(axis=0), np.einsum("s,sat->at", share, P))


def block(T, P):
    S, A = T.shape
    law = np.ones(1)
    for s, a in product(range(S), range(A)):
        cell = np.zeros(number(T[s, a], S))
        for i in range(S):
            cell[rank(T[s, a] * np.eye(S, dtype=int)[i])] += P[s, a, i]
        law = convolve(law, cell, S)
    return law


def only_last_agent(T, P):
    S, A = T.shape
    law, n = np.ones(1), 0
    for s, a in product(range(S), range(A)):
        for _ in range(T[s, a]):
            longer = np.zeros(number(n + 1, S))
            for i in range(S):
                longer[rank(all_counts(n, S) + np.eye(S, dtype=int)[i])] = P[s, a, i] * law
            law, n = longer, n + 1
    return law


def one_agent_too_few(T, P):
    T = T.copy()
    T[tuple(np.argwhere(T)[-1])] -= 1
    return cell_by_cell(T, P)


def listed_moves(T, P):
    S = len(T)
    agents = [cell for cell in np.ndindex(*T.shape) for _ in range(T[cell])]
    law = np.zeros(number(len(agents), S))
    for ahead in product(range(S), repeat=len(agents)):
        law[rank(np.bincount(ahead, minlength=S))] += np.prod([P[cell][i] for cell, i in zip(agents, ahead)])
    return law.tolist()


def logarithms(T, P):
    S = len(T)
    law = np.ones(1)
    for cell in np.argwhere(T):
        law = convolve(law, multinomial(T[tuple(cell)], P[tuple(cell)]), S)
    return law[None]


# ------------------------------------------------------------------------------------------------------- item 3


def _best(
    tables=lambda c, A: all_tables(c, A),
    paid=lambda T, r, c: (T * r).sum() / c.sum(),
    future=lambda V, T, P, P_g: P_g @ (V @ cell_by_cell(T, P)),
    total=lambda r_g, paid, future, gamma: r_g + paid + gamma * future,
    pick=np.max,
):
    def best_value(V, c, P_g, P, r_g, r, gamma):
        Q = []
        for T in tables(c, r.shape[1]):
            Q.append(total(r_g, paid(T, r, c), future(V, T, P, P_g), gamma))
        return pick(np.array(Q))

    return best_value


def unsorted(c, A):
    return [T.reshape(len(c), A) for T in all_counts(c.sum(), len(c) * A)]


def deterministic(c, A):
    for actions in product(range(A), repeat=len(c)):
        T = np.zeros((len(c), A), dtype=int)
        T[np.arange(len(c)), list(actions)] = c
        yield T


def through_margins(c, A):
    for d in all_counts(c.sum(), A):
        T, left = np.zeros((len(c), A), dtype=int), d.copy()
        for s, m in enumerate(c):  # fill the states one after the other
            for a in range(A):
                T[s, a] = min(left[a], m - T[s].sum())
                left[a] -= T[s, a]
        yield T


def value_of_mean(V, T, P, P_g):
    mean = np.einsum("sa,sat->t", T, P)
    counts = all_counts(T.sum(), len(T))
    return P_g @ V[:, np.abs(counts - mean).sum(axis=1).argmin()]


def separately(V, c, P_g, P, r_g, r, gamma):
    k, best = c.sum(), 0.0
    for s in range(len(c)):  # everybody chooses what is best for itself alone
        best += c[s] * r[s].max() / k
    return best + max(r_g + gamma * P_g @ (V @ cell_by_cell(next(all_best(c, r)), P)))


def all_best(c, r):
    T = np.zeros(r.shape, dtype=int)
    T[np.arange(len(c)), r.argmax(axis=1)] = c
    yield T


def from_zero(V, c, P_g, P, r_g, r, gamma):
    best = 0.0
    for T in all_tables(c, r.shape[1]):
        best = max(
            best, (r_g + (T * r).sum() / c.sum() + gamma * P_g @ (V @ next_law(T.ravel(), P.reshape(-1, len(c))))).max()
        )
    return best


def all_at_once(V, c, P_g, P, r_g, r, gamma):
    T = all_tables(c, r.shape[1])
    laws = np.array([listed_moves(one, P) for one in T])
    return ((T * r).mean(axis=(1, 2)) * r.size / c.sum() + (r_g + gamma * laws @ V.T @ P_g.T).T).max()


# ------------------------------------------------------------------------------------------------------- item 4


def _crowd(q):
    def crowd_law(C, mu, P):
        q_s = q(C, mu, P)
        return cell_by_cell(C[:, None], q_s[:, None])

    return crowd_law


def rounded(C, mu, P):
    T = np.round(C[:, None] * mu).astype(int)
    T[:, 0] = C - T[:, 1:].sum(axis=1)
    return cell_by_cell(np.maximum(T, 0), P)


def by_tables(C, mu, P):
    law = 0
    for T in all_tables(C, mu.shape[1]):
        weight = 1.0
        for s in range(len(C)):
            weight *= factorial(C[s]) * np.prod([mu[s, a] ** m / factorial(m) for a, m in enumerate(T[s])])
        law = law + weight * cell_by_cell(T, P)
    return law


# ------------------------------------------------------------------------------------------------------- item 5


def _acts(others=lambda C, me: C - me, size=lambda k: k - 1, row=lambda T, h, me, s: T[rank(h + me)][s] / (h[s] + 1)):
    def acts(T, C, s, k):
        me, mu = np.eye(len(C), dtype=int)[s], np.zeros(T.shape[2])
        m = others(C, me)
        for h in all_counts(size(k), len(C)):
            ways = 1
            for i, j in zip(m, h):
                ways *= comb(i, j)
            mu += ways / comb(m.sum(), size(k)) * row(T, h, me, s)
        return mu

    return acts


def by_hypergeometric(T, C, s, k):
    C[s] -= 1
    P, mu = hypergeometric(C, k - 1), 0
    for p, h in zip(P, all_counts(k - 1, len(C))):
        h = h.copy()
        h[s] += 1
        mu = mu + p * T[rank(h), s] / h[s]
    return list(mu)


def negative_clipped(T, C, s, k):
    return _acts(lambda C, me: np.maximum(C - 1, 0))(T, C, s, k) if C.min() else _acts()(T, C, s, k)


def itself_left_to_chance(T, C, s, k):
    P, mu = hypergeometric(C, k), np.zeros(T.shape[2])
    for p, h in zip(P, all_counts(k, len(C))):
        mu += p * (T[rank(h), s] / h[s] if h[s] else np.ones(T.shape[2]) / T.shape[2])
    return mu


# ------------------------------------------------------------------------------------------------------- item 6


def most(s, s_g, h):
    c = h + np.eye(3)[s]
    return s_g if s_g < 3 else int(c.argmax())


def follow(s, s_g, h):
    return s_g if s_g < 3 else s


def most_of_sample(s_g, c):
    return int(c.argmax())


def stay_or_most(s_g, c):
    return s_g if s_g < 3 else int(c.argmax())


def middle(s, s_g, h):
    return s_g if s_g in (0, 1, 2) else 1


def clear_majority(s, s_g, h):
    c = h + np.eye(3)[s]
    return s_g if s_g < 3 else int(c.argmax()) if c.max() == c.sum() else 0


WRONG = [
    (1, "certain agents", 0.0026),
    (1, "two leave", 0.2936),
    (1, "choose two of eight", 0.0734),
    (1, "all stay", 0.17),
    (1, "0.2 each", 0.5872),
    (1, "a guess", 0.3),
    (2, "no coefficient", lambda T, P: cell_by_cell(T, P, weigh=lambda c: 1)),
    (2, "binomials", binomials),
    (2, "actions averaged", actions_averaged),
    (2, "states averaged", states_averaged),
    (2, "block", block),
    (2, "= for +=", only_last_agent),
    (2, "one agent too few", one_agent_too_few),
    (2, "the mean law", lambda T, P: multinomial(T.sum(), (T[..., None] * P).sum(axis=(0, 1)) / T.sum())),
    (2, "n / prod", lambda T, P: cell_by_cell(T, P, weigh=lambda c: factorial(c.sum()))),
    (2, "c! upside down", lambda T, P: cell_by_cell(T, P, weigh=lambda c: 1 / np.prod([factorial(m) for m in c]))),
    (2, "a dict", lambda T, P: dict(enumerate(cell_by_cell(T, P)))),
    (2, "the first cell's", lambda T, P: multinomial(T.sum(), P[tuple(np.argwhere(T)[0])])),
    (2, "cumulated", lambda T, P: np.cumsum(cell_by_cell(T, P))),
    (3, "a number for each a_g", _best(pick=lambda Q: Q.max(axis=0))),
    (3, "len(c)", _best(paid=lambda T, r, c: (T * r).sum() / len(c))),
    (3, "r times action counts", _best(paid=lambda T, r, c: (T.sum(axis=0) * r).sum() / c.sum())),
    (3, "one agent more", _best(paid=lambda T, r, c: (T * r).sum() / (c.sum() + 1))),
    (3, "likeliest s_g", _best(future=lambda V, T, P, P_g: (V @ cell_by_cell(T, P))[P_g.argmax(axis=1)])),
    (3, "all counts of cells", _best(tables=unsorted)),
    (3, "one action a state", _best(tables=deterministic)),
    (3, "through margins", _best(tables=through_margins)),
    (3, "mean over cells", _best(paid=lambda T, r, c: (T * r).mean())),
    (3, "not divided", _best(paid=lambda T, r, c: (T * r).sum())),
    (3, "value of the mean", _best(future=value_of_mean)),
    (3, "gamma on all", _best(total=lambda r_g, paid, future, gamma: gamma * (r_g + paid + future))),
    (3, "minimum", _best(pick=np.min)),
    (3, "each for itself", separately),
    (3, "max from 0", from_zero),
    (3, "block", _best(future=lambda V, T, P, P_g: P_g @ (V @ block(T, P)))),
    (4, "mean over states", _crowd(lambda C, mu, P: np.einsum("a,sat->st", mu.mean(axis=0), P))),
    (4, "argmax", _crowd(lambda C, mu, P: P[np.arange(len(C)), mu.argmax(axis=1)])),
    (4, "rounded tables", rounded),
    (4, "C times mu", _crowd(lambda C, mu, P: np.einsum("s,sa,sat->st", C, mu, P))),
    (4, "mean over actions", _crowd(lambda C, mu, P: (mu[:, :, None] * P).mean(axis=1))),
    (4, "Bayes", _crowd(lambda C, mu, P: np.einsum("sa,sat->st", C[:, None] * mu / (C @ mu), P))),
    (4, "no s on P", _crowd(lambda C, mu, P: mu @ P.mean(axis=0))),
    (5, "k others", _acts(size=lambda k: k, row=lambda T, h, me, s: T[rank(h)][s] / max(h[s], 1))),
    (5, "divided by h_s", _acts(row=lambda T, h, me, s: T[rank(h + me)][s] / max(h[s], 1))),
    (5, "plus me", _acts(others=lambda C, me: C + me)),
    (5, "C - 1", negative_clipped),
    (5, "itself left to chance", itself_left_to_chance),
    (5, "without h + me", _acts(row=lambda T, h, me, s: T[rank(h)][s] / (h[s] + 1))),
    (5, "divided by the others", _acts(row=lambda T, h, me, s: T[rank(h + me)][s] / max(h.sum(), 1))),
    (5, "another's row", _acts(row=lambda T, h, me, s: T[rank(h + me)][s - 1] / max((h + me)[s - 1], 1))),
    (5, "h - me", _acts(others=lambda C, me: C, row=lambda T, h, me, s: T[rank(h + me)][s] / max(h[s], 1))),
    (6, "lecture's", dict(k=4, act=most, lead=most_of_sample)),
    (6, "keep or most", dict(k=4, act=most, lead=stay_or_most)),
    (6, "wait and follow", dict(k=4, act=follow, lead=stay_or_most)),
    (6, "wait, leader convention", dict(k=1, act=follow, lead=lambda s_g, c: s_g if s_g < 3 else 0)),
    (6, "two sites", dict(k=1, act=middle, lead=lambda s_g, c: s_g if s_g < 3 else 0)),
    (6, "all to 0", dict(k=1, act=lambda s, s_g, h: 0, lead=lambda s_g, c: 0)),
    (6, "leader to 0", dict(k=1, act=lambda s, s_g, h: s_g if s_g < 3 else 0, lead=lambda s_g, c: 0)),
    (6, "nobody moves", dict(k=1, act=lambda s, s_g, h: s, lead=lambda s_g, c: int(c.argmax()))),
    (6, "see nearly all", dict(k=14, act=most, lead=stay_or_most)),
    (7, "larger samples", ("b", [2, 5])),
    (7, "a rule for ties", ("d", [1])),
    (7, "right, too few reasons", ("c", [4, 6])),
    (7, "right, and too much", ("c", [1, 2, 3, 4, 6])),
]

RIGHT = [
    (1, "text, with a comma", "0,147"),
    (1, "computed", 56 * np.float64(0.8) ** 6 * 0.01),
    (1, "rounded", 0.15 - 0.003),
    (2, "moves listed, a list", listed_moves),
    (2, "cells convolved, coefficient by factorials", cell_by_cell),
    (2, "multinomial of the package, a row", logarithms),
    (3, "the package's law", all_at_once),
    (3, "cells", _best()),
    (3, "a list and max", _best(pick=lambda Q: [max(q for row in Q for q in row)])),
    (4, "a product of matrices", _crowd(lambda C, mu, P: np.array([m @ p for m, p in zip(mu, P)]))),
    (4, "over tables", by_tables),
    (4, "the package's law", lambda C, mu, P: next_law(C, (mu[:, :, None] * P).sum(axis=1))),
    (5, "C - me", _acts()),
    (5, "hypergeometric of the package, C overwritten", by_hypergeometric),
    (6, "site 1", dict(k=1, act=middle, lead=lambda s_g, c: min(s_g, 3) if s_g < 3 else 1)),
    (6, "a sample only if it is clear", dict(k=4, act=clear_majority, lead=lambda s_g, c: s_g if s_g < 3 else 0)),
    (7, "in words", ("C)", "(1), (3), (4) and (6)")),
]
