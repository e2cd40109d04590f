"""Answers to exercise 12 by someone who saw only its notebook: (item, what is done, answer)."""

import numpy as np
from scipy.linalg import solve, sqrtm

from mpcrl_course.network import average

# ------------------------------------------------------------------------------------------------------- item 2


def _inverse(
    K=lambda hessians, td: np.tensordot(td, hessians, 1), value=lambda e, T, n, sigma: np.maximum(e, 0) + T * sigma
):
    def regularised_inverse(hessians, td, sigma):
        e, E = np.linalg.eigh(-K(hessians, td))
        return E @ np.diag(1 / value(e, len(td), len(e), sigma)) @ E.T

    return regularised_inverse


regularised_inverse = _inverse()


def by_entries(hessians, td, sigma):
    with np.errstate(all="ignore"):
        return 1 / np.linalg.inv(regularised_inverse(hessians, td, sigma))


def errors_clipped(hessians, td, sigma):
    T, n = hessians.shape[:2]
    return np.linalg.inv(T * sigma * np.eye(n) + np.tensordot(np.maximum(-td, 0), hessians, 1))


def by_matrix_root(hessians, td, sigma):
    K = -np.tensordot(td, hessians, 1)
    positive = 0.5 * (K + np.real(sqrtm(K @ K)))  # (K + |K|) / 2
    return np.linalg.inv(positive + len(td) * sigma * np.eye(len(K))).tolist()


def single_precision(hessians, td, sigma):
    hessians *= td[:, None, None]
    e, E = np.linalg.eigh(-hessians.sum(axis=0))
    return (E @ np.diag(1 / (np.maximum(e, 0) + len(td) * sigma)) @ E.T).astype(np.float32)


# ------------------------------------------------------------------------------------------------------- item 3


def _shared(term=lambda g, Kt: g @ Kt @ g.T, scale=lambda P, C, rounds: len(P) * C):
    def shared_matrix(gradients, inverses, P, rounds):
        terms = np.array([term(g, Kt) for g, Kt in zip(gradients, inverses)])
        return scale(P, average(P, terms, rounds).estimates, rounds)

    return shared_matrix


def one_agent_after_the_other(gradients, inverses, P, rounds):
    C = np.array([g @ Kt @ g.T for g, Kt in zip(gradients, inverses)])
    for _ in range(rounds):
        for i in range(len(P)):
            C[i] = np.tensordot(P[i], C, 1)
    return len(P) * C


def loops(gradients, inverses, P, rounds):
    M = len(gradients)
    C = [M * gradients[i].dot(inverses[i]).dot(gradients[i].T) for i in range(M)]
    for _ in range(rounds):
        C = [sum(P[i, j] * C[j] for j in range(M)) for i in range(M)]
    return C


def matrix_power(gradients, inverses, P, rounds):
    terms = np.stack([np.einsum("ti,ij,sj->ts", g, Kt, g) for g, Kt in zip(gradients, inverses)])
    return np.einsum("ij,jts->its", len(P) * np.linalg.matrix_power(np.asarray(P), rounds), terms)


# ------------------------------------------------------------------------------------------------------- item 4


def _step(weights=lambda C, td: np.linalg.solve(np.eye(len(td)) + C, td), rest=lambda g, Kt, w: Kt @ g.T @ w):
    def local_step(gradients, inverse, C, td):
        return rest(gradients, inverse, weights(C, td))

    return local_step


local_step = _step()


def errors_first(gradients, inverse, C, td):
    return inverse @ (gradients.T * td) @ np.linalg.inv(np.eye(len(td)) + C).sum(axis=1)


def a_column(gradients, inverse, C, td):
    C += np.eye(len(td))
    return (inverse @ gradients.T @ np.linalg.solve(C, td))[:, None]


def loops_and_scipy(gradients, inverse, C, td):
    T, n = gradients.shape
    v = solve(np.identity(T) + C, td)
    g = [sum(gradients[t, i] * v[t] for t in range(T)) for i in range(n)]
    return [sum(inverse[i, j] * g[j] for j in range(n)) for i in range(n)]


# ------------------------------------------------------------------------------------------------------- item 5


def _network(draw, C=lambda terms, i: sum(terms)):
    def network_step(memories, seed, T, sigma):
        terms, parts, common = [], [], np.random.default_rng(seed)
        for i, memory in enumerate(memories):
            batch = draw(common, seed, i, len(memory["td"]), T)
            g, td = memory["g"][batch], memory["td"][batch]
            Kt = regularised_inverse(memory["h"][batch], td, sigma)
            terms.append(g @ Kt @ g.T)
            parts.append((g, Kt, td))
        return [local_step(g, Kt, C(terms, i), td) for i, (g, Kt, td) in enumerate(parts)]

    return network_step


def _own(common, seed, i, n, T):
    return np.random.default_rng(seed).choice(n, T, replace=False)


# ------------------------------------------------------------------------------------------------------- item 6


def _design(rounds=3, step=0.33, samples=800, iterations=8, exploration=1.0):
    return dict(rounds=rounds, step=step, samples=samples, iterations=iterations, exploration=exploration)


WRONG = [
    (1, "rounded", 4.1e5),
    (1, "a ring's ten links", 452_000),
    (1, "theta in place of C", 41_400),
    (2, "n for T", _inverse(value=lambda e, T, n, sigma: np.maximum(e, 0) + n * sigma)),
    (
        2,
        "mean for sum, with sigma",
        _inverse(lambda h, td: np.tensordot(td, h, 1) / len(td), lambda e, T, n, sigma: np.maximum(e, 0) + sigma),
    ),
    (2, "maximum with T sigma", _inverse(value=lambda e, T, n, sigma: np.maximum(e, T * sigma))),
    (2, "entries inverted", by_entries),
    (2, "TD errors clipped", errors_clipped),
    (3, "T for M", _shared(scale=lambda P, C, rounds: C.shape[1] * C)),
    (3, "M only if there are rounds", _shared(scale=lambda P, C, rounds: len(P) * C if rounds else C)),
    (3, "agent 0's only", _shared(scale=lambda P, C, rounds: len(P) * C[0])),
    (3, "diagonal of K~", _shared(term=lambda g, Kt: g * np.diag(Kt) @ g.T)),
    (3, "Gauss-Seidel", one_agent_after_the_other),
    (4, "1 + C", _step(weights=lambda C, td: np.linalg.solve(1 + C, td))),
    (4, "entries inverted", _step(weights=lambda C, td: (np.eye(len(td)) + C) ** -1 @ td)),
    (4, "reshape for transpose", _step(rest=lambda g, Kt, w: Kt @ g.reshape(len(Kt), -1) @ w)),
    (4, "K~ inverted", _step(rest=lambda g, Kt, w: np.linalg.solve(Kt, g.T @ w))),
    (4, "delta in the wrong place", errors_first),
    (
        5,
        "seed + i",
        _network(lambda common, seed, i, n, T: np.random.default_rng(seed + i).choice(n, T, replace=False)),
    ),
    (
        5,
        "batches sorted, not shared",
        _network(lambda common, seed, i, n, T: np.sort(common.choice(n, T, replace=False))),
    ),
    (5, "the latest T", _network(lambda common, seed, i, n, T: np.arange(n - T, n))),
    (5, "own term only", _network(_own, C=lambda terms, i: terms[i])),
    (6, "no consensus at all", _design(rounds=0, samples=2500)),
    (6, "one round, largest step", _design(rounds=1, step=0.5, samples=2000)),
    (6, "published 100 rounds", _design(rounds=100, step=0.25)),
    (6, "quiet exploration", _design(exploration=0.1)),
    (7, "only a mixed sum arrives", ("b", [4])),
    (7, "the right claim, and too much", ("a", [1, 3, 5, 6])),
]

RIGHT = [
    (1, "text", "406800"),
    (1, "computed", np.int64(2 * 9 * 100 * (15**2 + 1))),
    (2, "matrix square root, lists", by_matrix_root),
    (2, "float32, Hessians overwritten", single_precision),
    (3, "loops, list", loops),
    (3, "matrix power, einsum", matrix_power),
    (4, "SciPy and loops, list", loops_and_scipy),
    (4, "a column, C overwritten", a_column),
    (5, "rng in the loop", _network(_own)),
    (5, "permutation", _network(lambda common, seed, i, n, T: np.random.default_rng(seed).permutation(n)[:T])),
    (6, "3 rounds", _design()),
    (6, "2 rounds, 10 iterations", _design(rounds=2, iterations=10, samples=900)),
    (7, "in words", ("A)", "(1), (3) and (6)")),
]
