"""Exercise 13, on a thousand agents.

Seven items: eight agents that are thrown off, the law of the next counts, the best value over all tables, two faulty
populations, a rule that agrees, and what a shared sample cures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from itertools import product
from math import comb
from types import SimpleNamespace
from typing import Any

import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.population import (
    Planned,
    all_counts,
    all_tables,
    deployed_value,
    faulty,
    hypergeometric,
    multinomial,
    next_law,
    number,
    own_policy,
    plan,
    rank,
    rendezvous,
    start_value,
)

# ------------------------------------------------------------------------------------ 1: eight agents, thrown off

AGENTS, NOISE = 8, 0.2
LAW = np.array([NOISE / 2, 1 - NOISE, NOISE / 2])
ASKED = [1, 6, 1]


def _chance(counts: Sequence[int], law: np.ndarray = LAW) -> float:
    return float(multinomial(sum(counts), law)[rank(counts)])


_STAY, _GO = LAW[1], LAW[0]

predict = Predict(
    1,
    "eight agents, thrown off",
    reference=_chance(ASKED),
    rtol=0.0,
    atol=0.004,
    when_right="56 ways, each with the probability 0.8⁶ · 0.1²: the coefficient counts who it is that leaves, and "
    "which way. Of eight agents without names nobody asks who, so all the ways add up.",
    hints=[
        "Number the agents for a moment. How likely is it that agents 1 to 6 stay, 7 goes to −1 and 8 to +1?",
        "In how many ways can one choose who goes to −1, and then who goes to +1?",
    ],
    mistakes=[
        Mistake("one draw for a cell",
                "So all eight would move as one block: with a draw of its own for each agent, some stay and some go.",
                (-0.0004, 0.0004)),
        Mistake("coefficient missing",
                "That is the probability that certain agents leave, say 7 and 8. Which of them it is does not matter: "
                "count the ways.", (0.0024, 0.0031)),
        Mistake("coefficient of pairs",
                "28 ways to choose who leaves; and which of the two goes to −1?", (0.07, 0.077)),
        Mistake("whichever way", "That is: two leave, whichever way. Here one is to go to each side.",
                (0.285, 0.302)),
        Mistake("one for eight", "8 ways choose one of those that leave; the other one has to be chosen, too.",
                (0.0195, 0.0225)),
        Mistake("all stay", "That is the probability that all eight stay.", (0.16, 0.175)),
        Mistake("the six only", "That is the probability that six certain agents stay. What do the other two do?",
                _STAY**6),
        Mistake("the two only", "The six that stay are missing: a factor 0.8 for each.", 56 * _GO**2),
        Mistake("0.2 to each side", "0.2 is the probability to be thrown off at all: half of it for each side.",
                56 * _STAY**6 * NOISE**2),
        Mistake("0.2 to each side, 0.6 to stay",
                "0.2 is the probability to be thrown off at all: half of it for each side, and 0.8 to stay.",
                56 * 0.6**6 * NOISE**2),
        Mistake("per cent", "A probability is asked for, between 0 and 1.", (14.3, 15.1)),
    ],
)  # fmt: skip

# ----------------------------------------------------------------------------------- 2: the law of the next counts


def next_counts(T, P):
    """Return the law of the next counts, shape (number(n, S),), in the order of `all_counts`.

    T[s, a] agents in state s take action a, n in all; P[s, a, s'] is where each of them goes.
    """
    S = len(T)
    return next_law(np.ravel(T), np.reshape(P, (-1, S)))


def _cells(T, P) -> list[tuple[int, np.ndarray]]:
    """Return how many agents there are in each cell, and where they go."""
    return [(int(T[cell]), P[cell]) for cell in np.ndindex(*T.shape)]


def _moved(cells: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """Return the law of the counts after every agent of each of some `cells` has moved; the p may be no laws."""
    S = len(cells[0][1])
    found = {(0,) * S: 1.0}
    for many, p in cells:
        for _ in range(many):
            found = _sum(found, {tuple(one): p[i] for i, one in enumerate(np.eye(S, dtype=int))})
    return _listed(found)


def _sum(one: dict, other: dict) -> dict:
    """Return the law of the sum of two independent counts, given as {counts: probability}."""
    found: dict[tuple, float] = {}
    for (c, p), (d, q) in product(one.items(), other.items()):
        to = tuple(i + j for i, j in zip(c, d))
        found[to] = found.get(to, 0.0) + p * q
    return found


def _listed(law: dict) -> np.ndarray:
    counts = np.array(list(law))
    found = np.zeros(number(int(counts[0].sum()), counts.shape[1]))
    found[rank(counts)] = list(law.values())
    return found


def _without_coefficient(T, P):
    laws = []
    for many, p in _cells(T, P):
        laws.append({tuple(c): float(np.prod(p**c)) for c in all_counts(many, len(p)).tolist()})
    return _listed(reduce(_sum, laws))


def _one_coefficient(T, P):
    n, S, law = int(T.sum()), len(T), _without_coefficient(T, P)
    return np.array([w * _ways(c) for w, c in zip(law, all_counts(n, S).tolist())])


def _ways(c: Sequence[int]) -> int:
    """Return the multinomial coefficient of counts c."""
    left, found = sum(c), 1
    for m in c:
        found, left = found * comb(left, m), left - m
    return found


def _marginal_product(T, P):
    n, S = int(T.sum()), len(T)
    alone = []
    for i in range(S):  # the law of the number in i, by itself
        q = np.ones(1)
        for many, p in _cells(T, P):
            for _ in range(many):
                q = np.convolve(q, [1 - p[i], p[i]])
        alone.append(q)
    return np.array([np.prod([q[m] for q, m in zip(alone, c)]) for c in all_counts(n, S)])


def _one_draw(T, P):
    S = len(T)
    return faulty.one_draw(np.reshape(T, (1, -1)), np.reshape(P, (1, -1, S)))[0]


def _margins(T, P):
    q = np.einsum("a,sat->st", T.sum(axis=0) / T.sum(), P)
    return next_law(T.sum(axis=1), q)


def _states_averaged(T, P):
    return next_law(T.sum(axis=0), np.einsum("s,sat->at", T.sum(axis=1) / T.sum(), P))


def _binomials(T, P):
    n, S = int(T.sum()), len(T)
    p = np.einsum("sa,sat->t", T, P) / n
    alone = [multinomial(n, [q, 1 - q])[::-1] for q in p]
    return np.array([np.prod([q[m] for q, m in zip(alone, c)]) for c in all_counts(n, S)])


def _mean_law(T, P):
    return multinomial(int(T.sum()), np.einsum("sa,sat->t", T, P) / T.sum())


def _mixture(T, P):
    n = int(T.sum())
    return sum(many / n * multinomial(n, p) for many, p in _cells(T, P))


def _one_action(T, P):
    return next_law(T.sum(axis=1), P[np.arange(len(T)), T.argmax(axis=1)])


def _first_state(T, P):
    return next_law(T.sum(axis=0), P[0])


def _first_cell(T, P):
    return multinomial(int(T.sum()), P[tuple(np.argwhere(T)[0])])


def _transposed(T, P):
    return _moved([(many, P[:, a, s]) for (s, a), many in np.ndenumerate(T)])


def _counted_by_cells(T, P):
    S = len(T)
    law = {(0,) * S: 1.0}
    for many, p in _cells(T, P):
        law = _sum(law, {tuple(c): q for c, q in zip(all_counts(many, S).tolist(), multinomial(many, p))})
    return _listed(law)


def _counted_by_polynomials(T, P):
    # The coefficients of the product over agents of p_0 + p_1 x + p_2 x^2 (n + 1): a number stands for counts.
    n, S = int(T.sum()), len(T)
    base = [0, *((n + 1) ** np.arange(S - 1))]
    generating = np.ones(1)
    for many, p in _cells(T, P):
        factor = np.zeros(base[-1] + 1)
        np.add.at(factor, base, p)
        for _ in range(many):
            generating = np.convolve(generating, factor)
    return [generating[int(np.dot(base, c))] for c in all_counts(n, S)]


def _some_laws(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def _table_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for T in (
        [[2, 0], [0, 1]],
        [[0, 2, 1], [1, 0, 1]],
        [[3, 0], [0, 1], [1, 0]],
        [[0, 1], [2, 1], [0, 0]],
        [[1, 0, 2], [0, 2, 1], [1, 0, 0]],
    ):
        table = np.array(T)
        probes.append((table, _some_laws(rng, *table.shape, len(table))))
    probes[-2][1][1, 0] = [0.0, 0.7, 0.3]  # where one cannot go
    return probes


law = Fill(
    2,
    "the law of the next counts",
    reference=next_counts,
    probes=_table_probes,
    compare=close(rtol=1e-6, atol=1e-9),
    when_right="It is exact, and it took n small steps: nowhere are the agents' 3ⁿ joint moves listed.",
    hints=[
        "Let one agent after the other move. If q is the law of the counts of those that have moved, the next one, "
        "with the law p, makes it q'(c) = Σ_i p_i q(c − e_i).",
        "Start with law = np.ones(1), n = 0. For each agent: longer = np.zeros(number(n + 1, S)), and for each i what "
        "stands in `law` for c goes, times p_i, to the place of c + e_i: `rank(all_counts(n, S) + e_i)`.",
        "An agent of the cell (s, a) has p = P[s, a]; there are T[s, a] of them.",
    ],
    mistakes=[
        Mistake("one draw for a cell",
                "A whole cell moves as one block here: one draw for all T[s, a] agents. Each draws for itself.",
                _one_draw),
        Mistake("margins for the joint table",
                "Here every agent acts as agents do on average, whatever its state: the two margins of T have been "
                "used, how many are in s and how many take a. T says how many do *both*.", _margins),
        Mistake("one law for all",
                "This is one multinomial draw of all n from the mean of the laws. Its mean is right; but agents of "
                "different cells have different laws.", _mean_law),
        Mistake("a mixture for a sum",
                "This is a mixture over the cells: all agents in one cell, or all in another. The next counts are "
                "the *sum* of what the cells send: convolve.", _mixture),
        Mistake("multinomial coefficient missing",
                "The multinomial coefficient is missing: m agents of a cell can be scattered into the same counts in "
                "many ways. The numbers do not sum to 1.", _without_coefficient),
        Mistake("scaled to one",
                "The numbers were scaled to sum to 1, but ways are missing in them: more for some counts than for "
                "others. The multinomial coefficient goes before each.",
                lambda T, P: _without_coefficient(T, P) / _without_coefficient(T, P).sum()),
        Mistake("one coefficient for all cells",
                "The coefficient of all n agents together was used. Those of different cells have different laws: "
                "each cell has a coefficient of its own.", _one_coefficient),
        Mistake("binomials",
                "The number in each next state was taken as a binomial by itself, and the probabilities multiplied. "
                "They are not independent (who goes to one state does not go to another), and agents of different "
                "cells have different laws.", _binomials),
        Mistake("states averaged",
                "All agents that take an action move as one of them does on average, whatever its state. T says how "
                "many do both: be in s, and take a.", _states_averaged),
        Mistake("states by themselves",
                "The number in each next state was taken by itself, and the probabilities multiplied. They are not "
                "independent: who goes to one state does not go to another.", _marginal_product),
        Mistake("action ignored", "All agents of a state move as with action 0: P[s, a] depends on a.",
                lambda T, P: next_law(T.sum(axis=1), P[:, 0])),
        Mistake("commonest action of a state",
                "All agents of a state move as with the commonest action in it. T[s, a] of them take a.", _one_action),
        Mistake("state ignored", "All agents move as from state 0: P[s, a] depends on s.", _first_state),
        Mistake("P transposed", "P[s, a, s'] is read from its end: the last axis is where an agent goes.",
                _transposed),
        Mistake("order of the counts",
                "The numbers are right, but in the opposite order: the first is for (n, 0, …), all in state 0.",
                lambda T, P: next_counts(T, P)[::-1]),
        Mistake("expected counts",
                "These are the expected next counts. The law is asked for: a probability for each counts.",
                lambda T, P: np.einsum("sa,sat->t", T, P)),
        Mistake("shares of the expected counts",
                "This is the law of a single agent. Asked for is a probability for each counts of all n.",
                lambda T, P: np.einsum("sa,sat->t", T, P) / T.sum()),
        Mistake("one cell's law for all", "All n move as the agents of the first cell: each cell has its own law.",
                _first_cell),
        Mistake("one agent a cell",
                "One agent of each cell moves, and how many there are does not matter. T[s, a] of them do.",
                lambda T, P: _moved([(min(many, 1), p) for many, p in _cells(T, P)])),
        Mistake("all cells full", "Every cell moves n agents here, not T[s, a] of them.",
                lambda T, P: _moved([(int(T.sum()), p) for _, p in _cells(T, P)])),
        Mistake("squared", "Each agent's law came in twice.",
                lambda T, P: _moved([(many, p**2) for many, p in _cells(T, P)])),
    ],
    variants=[_counted_by_cells, _counted_by_polynomials, lambda T, P: _moved(_cells(T, P))],
)  # fmt: skip

# ------------------------------------------------------------------------------------ 3: the best over all tables


def best_value(V, c, P_g, P, r_g, r, gamma):
    """Return the largest Q(s_g, c, a_g, T) over all a_g and T, of one state (s_g, c).

    V (S_g, N) is the value of the next state (s_g', c'); c (S,) are the counts. What else belongs to s_g:
    P_g[a_g, s_g'], P[s, a, s'], r_g[a_g] and r[s, a]. gamma is the discount.
    """
    return _best()(V, c, P_g, P, r_g, r, gamma)


def _best(
    value: Callable = lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.future).max(),
    tables: Callable = lambda c, A: all_tables(c, A),
    laws: Callable | None = None,
) -> Callable:
    """Make the backup from its parts; `value(b)` sees what `_seen` returns."""

    def backup(V, c, P_g, P, r_g, r, gamma):
        T = tables(c, r.shape[1])
        return float(value(_seen(V, c, P_g, P, r_g, r, gamma, T, (laws or _of_tables)(T, P))))

    return backup


def _seen(V, c, P_g, P, r_g, r, gamma, T, law) -> SimpleNamespace:
    """Return what a choice among the tables T is made from: what they earn, b.paid, and b.future (tables, a_g)."""
    expected = law @ V.T
    return SimpleNamespace(V=V, k=int(c.sum()), P_g=P_g, r_g=r_g, r=r, gamma=gamma, T=T, law=law, expected=expected,
                           paid=(T * r).sum(axis=(1, 2)) / c.sum(), future=expected @ P_g.T)  # fmt: skip


def _of_tables(T, P) -> np.ndarray:
    return np.array([next_counts(one, P) for one in T])


def _alike(c, A: int) -> np.ndarray:
    """Return the tables in which all agents of a state take one action."""
    some = [
        np.eye(A, dtype=int)[list(actions)] * np.asarray(c)[:, None] for actions in product(range(A), repeat=len(c))
    ]
    return np.unique(some, axis=0)


def _filled(c, A: int) -> np.ndarray:
    tables = []
    for left in all_counts(int(sum(c)), A).tolist():
        T = np.zeros((len(c), A), dtype=int)
        for s, m in enumerate(c):
            for a in range(A):
                T[s, a] = min(left[a], m - T[s].sum())
                left[a] -= T[s, a]
        tables.append(T)
    return np.array(tables)


def _of_margins(T, P) -> np.ndarray:
    return np.array([_margins(one, P) for one in T])


def _independent(V, c, P_g, P, r_g, r, gamma):
    # action counts d are chosen, and paid for and moved as if they did not depend on the state
    best = -np.inf
    for d in all_counts(int(c.sum()), r.shape[1]) / c.sum():
        law = next_law(c, np.einsum("a,sat->st", d, P))
        best = max(best, c @ r @ d / c.sum() + (r_g + gamma * P_g @ (V @ law)).max())
    return float(best)


def _greedy(b) -> float:
    place = int(b.paid.argmax())
    return (b.paid[place] + b.r_g + b.gamma * b.future[place]).max()


def _with_greedy_leader(b) -> float:
    return (b.paid[:, None] + b.r_g + b.gamma * b.future)[:, b.r_g.argmax()].max()


def _with_first_action(b) -> float:
    return (b.paid[:, None] + b.r_g + b.gamma * b.future)[:, 0].max()


def _best_for_all_alike(V, c, P_g, P, r_g, r, gamma):
    all_alike = _best(tables=lambda c, A: np.array([np.outer(c, one) for one in np.eye(A, dtype=int)]))
    return all_alike(V, c, P_g, P, r_g, r, gamma)


def _best_by_labels(V, c, P_g, P, r_g, r, gamma):
    """Return the best over the actions of agents with names, whose moves are listed one by one."""
    S, A = r.shape
    states, n, best = np.repeat(np.arange(S), c), int(c.sum()), -np.inf
    moves = np.array(list(product(range(S), repeat=n)))
    ahead = rank((moves[:, :, None] == np.arange(S)).sum(axis=1))
    for actions in product(range(A), repeat=n):
        p = np.prod([P[s, a][moves[:, i]] for i, (s, a) in enumerate(zip(states, actions))], axis=0)
        for a_g in range(len(r_g)):
            Q = r_g[a_g] + np.mean(r[states, actions])
            for g in range(len(V)):
                Q += gamma * P_g[a_g, g] * (p @ V[g][ahead])
            best = max(best, Q)
    return best


def _best_by_loops(V, c, P_g, P, r_g, r, gamma):
    found = []
    for T in all_tables(c, r.shape[1]):
        E = [sum(v * q for v, q in zip(row, next_counts(T, P))) for row in V]
        for a_g, reward in enumerate(r_g):
            found.append(reward + np.vdot(T, r) / np.sum(T) + gamma * np.dot(P_g[a_g], E))
    return np.array([max(found)])


#: Draws of the probes of a backup, at most: a third or more of the draws will do.
DRAWS = 1000


def _backup_probes(rng: np.random.Generator) -> list[dict]:
    sizes = (([2, 1], 3, 3, 2), ([1, 1, 2], 2, 3, 2), ([0, 3], 2, 4, 3), ([3, 1], 4, 2, 2), ([1, 2], 2, 2, 3))
    for _ in range(DRAWS):
        probes = [_some_state(rng, np.array(c), G, A_g, A) for c, G, A_g, A in sizes]
        if _telling(probes):
            return probes
    raise RuntimeError(f"of {DRAWS} draws of the probes, none tells the mistakes of this item apart")


def _some_state(rng: np.random.Generator, c: np.ndarray, G: int, A_g: int, A: int) -> dict[str, Any]:
    S, k = len(c), int(c.sum())
    spread = 5.0 * (np.abs(all_counts(k, S) - k / S).max(axis=1) < k / 2)  # it is good to be spread
    return {
        "V": spread + rng.uniform(-15, 0) + 3 * rng.normal(size=(G, number(k, S))),
        "c": c,
        "P_g": _some_laws(rng, A_g, G),
        "P": rng.dirichlet(np.full(S, 0.4), (S, A)),
        "r_g": 0.7 * rng.normal(size=A_g),
        "r": 2 * rng.normal(size=(S, A)),
        "gamma": float(rng.uniform(0.6, 0.95)),
    }


def _telling(probes: list[dict]) -> bool:
    """Tell whether those who choose otherwise choose worse in some probe, each in a way of its own."""
    found = np.array([_choosing(**probe) for probe in probes])
    apart = (np.abs(found[:, :, None] - found[:, None, :]) > 0.05).any(axis=0)
    both_signs = found[:, 0].min() < -0.5 and found[:, 0].max() > 0.5
    return bool(both_signs and (apart | np.eye(len(apart), dtype=bool)).all())


def _choosing(V, c, P_g, P, r_g, r, gamma) -> list[float]:
    """Return the value of the best choice, and of some others."""
    T = all_tables(c, r.shape[1])
    b = _seen(V, c, P_g, P, r_g, r, gamma, T, _of_tables(T, P))
    Q = b.paid[:, None] + b.r_g + b.gamma * b.future
    a_state, all_alike = ((T > 0).sum(axis=2) <= 1).all(axis=1), (T.any(axis=1).sum(axis=1) == 1)
    chosen = [Q.max(), Q[a_state].max(), Q[all_alike].max(), _greedy(b), _with_greedy_leader(b), _with_first_action(b)]
    return [*map(float, chosen), _independent(V, c, P_g, P, r_g, r, gamma)]


backup = Fill(
    3,
    "the best over all tables",
    reference=best_value,
    probes=_backup_probes,
    compare=close(rtol=1e-6, atol=1e-8),
    when_right="One such maximum for each (s_g, c), again and again, is value iteration; agents with names, below, "
    "need far more states for the same value.",
    hints=[
        "`for T in all_tables(c, A)`. Given T, what do k agents earn on average, and what is E V(s_g', c')?",
        "`V @ next_counts(T, P)` is E V(s_g', c') for each s_g', and P_g @ that is its mean for each a_g.",
        "Q for each a_g: r_g + (T * r).sum() / c.sum() + gamma * P_g @ (V @ next_counts(T, P)). Keep the largest.",
    ],
    mistakes=[
        Mistake("sum for mean", "The agents' rewards are added up. They count with 1/k each.",
                _best(lambda b: (b.k * b.paid[:, None] + b.r_g + b.gamma * b.future).max())),
        Mistake("mean over the cells", "The rewards were divided by the number of cells of T, not by that of agents.",
                _best(lambda b: (b.paid[:, None] * b.k / b.r.size + b.r_g + b.gamma * b.future).max())),
        Mistake("mean over the states", "The rewards were divided by the number of states, not by that of agents.",
                _best(lambda b: (b.paid[:, None] * b.k / len(b.r) + b.r_g + b.gamma * b.future).max())),
        Mistake("paid by margins",
                "The rewards count how many take each action, in whatever state. T[s, a] agents earn r[s, a].",
                _best(lambda b: ((b.T.sum(axis=1)[:, None] * b.r).sum(axis=(1, 2))[:, None] / b.k
                                 + b.r_g + b.gamma * b.future).max())),
        Mistake("rewards times 1 − γ",
                "The rewards were multiplied by 1 − γ. That would make a mean over time of the value; V is a sum.",
                _best(lambda b: ((1 - b.gamma) * (b.paid[:, None] + b.r_g) + b.gamma * b.future).max())),
        Mistake("moved by one law",
                "The rewards are those of T, but all its agents move by one law, the mean over the cells.",
                _best(laws=lambda T, P: np.array([_mean_law(one, P) for one in T]))),
        Mistake("a reward once for each cell",
                "Every cell of T that is not empty counts once in your reward. It has T[s, a] agents.",
                _best(lambda b: ((np.minimum(b.T, 1) * b.r).sum(axis=(1, 2))[:, None] / b.k
                                 + b.r_g + b.gamma * b.future).max())),
        Mistake("discount missing", "γ is missing: the value is that of the next state.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.future).max())),
        Mistake("rewards discounted", "γ also multiplies rewards that are paid now.",
                _best(lambda b: b.gamma * (b.paid[:, None] + b.r_g + b.future).max())),
        Mistake("future missing", "This is the largest reward of this step. The value of the next state is missing.",
                _best(lambda b: (b.paid[:, None] + b.r_g).max())),
        Mistake("global reward missing", "r_g[a_g] is missing.",
                _best(lambda b: (b.paid[:, None] + b.gamma * b.future).max())),
        Mistake("local rewards missing", "The local agents' rewards are missing.",
                _best(lambda b: (b.r_g + b.gamma * b.future).max())),
        Mistake("one draw for a cell",
                "The law moves a whole cell by one draw: has another law been used than that of item 2?",
                _best(laws=lambda T, P: np.array([_one_draw(one, P) for one in T]))),
        Mistake("margins for the joint table",
                "Only counts of *actions* are chosen, and spread over the states in proportion. A table can send the "
                "agents of one state here and those of another there.", _independent),
        Mistake("moved by margins",
                "The rewards are those of T, but its agents are moved by its margins, as if the action did not depend "
                "on the state.", _best(laws=_of_margins)),
        Mistake("row sums ignored",
                "The best table has other row sums than c: only agents that are in s can act in s. "
                "`all_tables(c, A)` has the right ones.",
                _best(tables=lambda c, A: all_counts(int(c.sum()), len(c) * A).reshape(-1, len(c), A))),
        Mistake("one action for a state",
                "All agents of a state take the same action here. A table may divide them: that is often better.",
                _best(tables=_alike)),
        Mistake("filled from action counts",
                "For each number of agents an action there is one table here, filled from the first state on. Many "
                "tables have the same margins: list all of them.", _best(tables=_filled)),
        Mistake("not below 0", "The largest Q was kept, but of 0 and all Q: start with -np.inf.",
                _best(lambda b: max(0.0, (b.paid[:, None] + b.r_g + b.gamma * b.future).max()))),
        Mistake("one action for all", "All agents take the same action, whatever their state.", _best_for_all_alike),
        Mistake("greedy", "The table with the largest reward now was taken. It is the sum with the future that counts.",
                _best(_greedy)),
        Mistake("first table", "Only the first table is looked at, or the last one kept: keep the largest Q.",
                _best(lambda b: (b.paid[0] + b.r_g + b.gamma * b.future[0]).max())),
        Mistake("last table", "This is the Q of the last table. Keep the largest over all.",
                _best(lambda b: (b.paid[-1] + b.r_g + b.gamma * b.future[-1]).max())),
        Mistake("two maxima",
                "The largest reward and the largest future were added, but they belong to different tables: one T has "
                "to serve for both.",
                _best(lambda b: b.paid.max() + (b.r_g + b.gamma * b.future).max())),
        Mistake("global agent: two maxima",
                "r_g and the future have each been maximised over a_g. One a_g has to serve for both.",
                _best(lambda b: (b.paid + b.r_g.max() + b.gamma * b.future.max(axis=1)).max())),
        Mistake("minimum", "This is the smallest Q. Rewards are maximised in this problem.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.future).min())),
        Mistake("mean over the tables", "This is the mean over all tables, not the best of them.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.future).mean(axis=0).max())),
        Mistake("global action not chosen", "The global agent always takes its action 0: it chooses, too.",
                _best(_with_first_action)),
        Mistake("global action greedy", "a_g was chosen by r_g alone; it also decides where s_g goes.",
                _best(_with_greedy_leader)),
        Mistake("global action averaged", "This is a mean over the global actions; the best one is asked for.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.future).mean(axis=1).max())),
        Mistake("global actions added", "Q was added up over the global actions; the best one is asked for.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.future).sum(axis=1).max())),
        Mistake("likeliest global state",
                "V was taken at the likeliest next global state. Chance decides: take the mean by P_g.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.expected[:, b.P_g.argmax(axis=1)]).max())),
        Mistake("next global states averaged",
                "The next global states count alike. P_g[a_g, s_g'] says how likely each is.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.expected.mean(axis=1)[:, None]).max())),
        Mistake("next global states added",
                "V was added up over the next global states, without P_g.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.expected.sum(axis=1)[:, None]).max())),
        Mistake("best case", "You have taken the best of the next global states. Chance decides: take the mean by P_g.",
                _best(lambda b: (b.paid[:, None] + b.r_g + b.gamma * b.expected.max(axis=1)[:, None]).max())),
        Mistake("likeliest counts",
                "V was taken at the likeliest next counts. E V(c') is a mean over all of them.",
                _best(lambda b: (b.paid[:, None] + b.r_g
                                 + b.gamma * b.V[:, b.law.argmax(axis=1)].T @ b.P_g.T).max())),
    ],
    variants=[_best_by_labels, _best_by_loops],
)  # fmt: skip


def labelled_value(model, n: int, sweeps: int) -> Iterator[np.ndarray]:
    """Yield V (S_g, S, …, S) of n agents with names after each of so many `sweeps` of value iteration.

    For comparison: the states and the actions of every agent are listed, S^n and A^n of them. `model` is a Population.
    """
    G, _, S, A = model.sizes
    V = np.zeros((G, *[S] * n))
    for _ in range(sweeps):
        better = np.empty_like(V)
        for place in np.ndindex(*V.shape):
            s_g, *s = place
            Q = []
            for a in product(range(A), repeat=n):
                future = V
                for one, act in zip(s, a):  # each agent's move takes one axis off
                    future = np.tensordot(future, model.P_l[one, s_g, act], (1, 0))
                paid = np.mean([model.r_l[one, s_g, act] for one, act in zip(s, a)])
                Q.append(paid + np.max(model.r_g[s_g] + model.gamma * model.P_g[s_g] @ future))
            better[place] = max(Q)
        V = better
        yield V


# ------------------------------------------------------------------------- 4: a faulty population: how many take what


def crowd_law(C, mu, P):
    """Return the law of the next counts of a crowd C (S,), each acting by itself: mu[s, a] is how an agent in s acts.

    P[s, a, s'] is where it goes.
    """
    return next_law(C, np.einsum("sa,sat->st", mu, P))


def crowd_law_as_given(C, mu, P):
    """Return what the faulty function of item 4 returns; C, mu and P are those of `crowd_law`."""
    return next_law(C, np.einsum("a,sat->st", C @ mu / C.sum(), P))


def _crowd(where: Callable) -> Callable:
    """Make the law from `where(C, mu, P)`, where an agent in each state goes."""

    def crowd(C, mu, P):
        q = where(C, mu, P)
        return _moved([(int(m), p) for m, p in zip(C, q)])

    return crowd


def _one_action_together(C, mu, P):
    found = np.zeros(number(int(C.sum()), len(C)))
    for actions in product(range(mu.shape[1]), repeat=len(C)):
        s = np.arange(len(C))
        found += np.prod(mu[s, actions]) * next_law(C, P[s, actions])
    return found


def _crowd_of_tables(C, mu, P):
    """Return the mixture over all tables that the crowd may come to."""
    found = np.zeros(number(int(C.sum()), len(C)))
    for T in all_tables(C, mu.shape[1]):
        weight = np.prod([multinomial(int(m), p)[rank(row)] for m, p, row in zip(C, mu, T)])
        found += weight * next_counts(T, P)
    return found


def _crowd_by_agents(C, mu, P):
    q = [sum(mu[s, a] * P[s, a] for a in range(mu.shape[1])) for s in range(len(C))]
    law = Counter({(0,) * len(C): 1.0})
    for s, many in enumerate(C):
        for _ in range(many):
            longer: Counter = Counter()
            for c, p in law.items():
                for i, one in enumerate(q[s]):
                    to = (*c[:i], c[i] + 1, *c[i + 1 :])
                    longer[to] += p * one
            law = longer
    return [law[tuple(c)] for c in all_counts(int(C.sum()), len(C)).tolist()]


def _crowd_probes(rng: np.random.Generator) -> list[tuple]:
    return [
        (np.array(C), _some_laws(rng, len(C), A), _some_laws(rng, len(C), A, len(C)))
        for C, A in (([2, 3], 2), ([1, 3, 2], 2), ([4, 1], 3), ([2, 0, 3], 4))
    ]


margins = Debug(
    4,
    "a population that forgets who acts",
    reference=crowd_law,
    given=crowd_law_as_given,
    probes=_crowd_probes,
    compare=close(rtol=1e-6, atol=1e-9),
    when_right="A margin says how many go, and not from where: no agent is lost and all looks plausible, but nobody "
    "acts on where it is.",
    hints=[
        "Let mu be a rule that sends everybody in state 0 to the right and everybody in state 1 to the left. What do "
        "the agents in state 0 do in this code?",
        "How likely is it that an agent in s takes action a? Which of the arrays says so?",
        "Where one in s goes is the mean of P[s, a] over its own actions, weighed with mu[s, a].",
    ],
    mistakes=[
        Mistake("states count alike",
                "The mean over the states has changed, but it is still one for all: every agent acts as an average "
                "one.", _crowd(lambda C, mu, P: np.einsum("a,sat->st", mu.mean(axis=0), P))),
        Mistake("one law for all",
                "All agents move by one law now, the mean over the crowd. Those in s start from s.",
                _crowd(lambda C, mu, P: np.tile(np.einsum("s,sa,sat->t", C / C.sum(), mu, P), (len(C), 1)))),
        Mistake("own action, another's move",
                "An agent acts by its own mu now, but moves as an average agent: P[s, a] depends on s, too.",
                _crowd(lambda C, mu, P: mu @ np.einsum("s,sat->at", C / C.sum(), P))),
        Mistake("likeliest action of a state",
                "All in a state take its likeliest action now. Each draws for itself, with mu[s].",
                _crowd(lambda C, mu, P: P[np.arange(len(C)), mu.argmax(axis=1)])),
        Mistake("commonest action",
                "Everybody takes the action that is commonest in the crowd now, whatever its own state.",
                _crowd(lambda C, mu, P: P[:, (C @ mu).argmax()])),
        Mistake("actions count alike", "mu is not used any more: all actions count alike.",
                _crowd(lambda C, mu, P: P.mean(axis=1))),
        Mistake("one action drawn for a state",
                "All agents of a state take the same action, drawn once for them. Each draws for itself.",
                _one_action_together),
        Mistake("one draw for a state",
                "All agents of a state go to the same place, by one draw. Each moves for itself.",
                lambda C, mu, P: faulty.one_draw(C[None], np.einsum("sa,sat->st", mu, P)[None])[0]),
        Mistake("mean over the actions",
                "mu[s, a] P[s, a] was averaged over the actions, where it should be added up: the law does not "
                "sum to 1.",
                _crowd(lambda C, mu, P: (mu[:, :, None] * P).mean(axis=1))),
        Mistake("one law for all, states alike",
                "All agents move by one law now, the mean over the states. Those in s start from s.",
                _crowd(lambda C, mu, P: np.tile(np.einsum("sa,sat->t", mu, P) / len(C), (len(C), 1)))),
        Mistake("the wrong way round",
                "This weighs with how likely one that takes a is in s. It is how likely one in s takes a, mu[s, a].",
                _crowd(lambda C, mu, P: np.einsum("sa,sat->st", C[:, None] * mu / (C @ mu), P))),
        Mistake("numbers for shares",
                "C @ mu counts the agents that take each action, all together. What is needed is how likely one in s "
                "takes it.", _crowd(lambda C, mu, P: np.einsum("a,sat->st", C @ mu, P))),
        Mistake("weighed by how many there are",
                "mu[s, a] was multiplied by C[s], too; that is how many take a, not how likely it is, and the law does "
                "not sum to 1.",
                _crowd(lambda C, mu, P: np.einsum("sa,sat->st", C[:, None] * mu, P))),
        Mistake("weighed by the share",
                "mu[s, a] was multiplied by the share C[s] / n, too. C comes in when the agents move, and the law does "
                "not sum to 1.",
                _crowd(lambda C, mu, P: np.einsum("sa,sat->st", C[:, None] * mu / C.sum(), P))),
        Mistake("not weighed", "P was added up over the actions, without mu: the law does not sum to 1.",
                _crowd(lambda C, mu, P: P.sum(axis=1))),
        Mistake("order of the counts", "The fault is gone, but the counts come in the opposite order now.",
                lambda C, mu, P: crowd_law(C, mu, P)[::-1]),
        Mistake("of the wrong agent",
                "The states have come in the opposite order: the agents in s act, or move, as those of another state.",
                _crowd(lambda C, mu, P: np.einsum("sa,sat->st", mu[::-1], P))),
    ],
    variants=[_crowd_of_tables, _crowd_by_agents],
)  # fmt: skip

# --------------------------------------------------------------------------- 5: a faulty population: who is seen


def acts(T, C, s, k):
    """Return how an agent in s acts on average over its samples, shape (A,).

    T (number(k, S), S, A) are the joint tables of the plan for k agents, in the order of `all_counts`; C (S,) are the
    counts of all, the agent in s among them. It draws k - 1 others.
    """
    return _acts()(T, C, s, k)


def acts_as_given(T, C, s, k):
    """Return what the faulty function of item 5 returns: an agent may draw itself; T, C, s, k as in `acts`."""
    return _acts(others=lambda C, me: C)(T, C, s, k)


def _acts(
    others: Callable = lambda C, me: C - me,
    weigh: Callable = lambda others, h, size: _ways_to_draw(others, h) / comb(int(others.sum()), size),
    seen: Callable = lambda k: k - 1,
    counts: Callable = lambda h, me: h + me,
    row: Callable = lambda table, s, h, k: table[s] / (h[s] + 1),
) -> Callable:
    """Make the mixture from its parts; each may be replaced by a faulty one."""

    def mixture(T, C, s, k):
        me = np.eye(len(C), dtype=int)[s]
        some, found = others(C, me), np.zeros(T.shape[2])
        for h in all_counts(seen(k), len(C)):
            found = found + weigh(some, h, seen(k)) * row(T[rank(counts(h, me))], s, h, k)
        return found

    return mixture


def _ways_to_draw(others, h) -> int:
    found = 1
    for m, j in zip(others.tolist(), h.tolist()):
        found *= comb(m, j)
    return found


def _own_row_or_first(table, s, h, k):
    return table[s] / h[s] if h[s] else np.eye(table.shape[1])[0]


def _with_replacement(others, h, size):
    return float(multinomial(size, others / others.sum())[rank(h)])


def _without_ways(others, h, size):
    return _with_replacement(others, h, size) / _ways(h.tolist())


def _possible(others, h, size):
    fitting = (all_counts(size, len(h)) <= others).all(axis=1).sum()
    return float((h <= others).all() / fitting)


def _likeliest(others, h, size):
    law = hypergeometric(others, size)
    return float(rank(h) == law.argmax())


def _acts_vectorised(T, C, s, k):
    C = np.array(C)
    C[s] -= 1
    h = all_counts(k - 1, len(C))
    h[:, s] += 1
    return hypergeometric(C, k - 1) @ (T[rank(h), s] / h[:, [s]])


def _acts_by_draws(T, C, s, k):
    """Draw one other after the other, and follow every branch."""

    def follow(left, h, m):
        if not m:
            return T[rank(h), s] / h[s]
        return sum(
            left[i] / left.sum() * follow(left - one, h + one, m - 1)
            for i, one in enumerate(np.eye(len(C), dtype=int))
            if left[i]
        )

    me = np.eye(len(C), dtype=int)[s]
    return follow(C - me, me, k - 1)


def _sample_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for C, s, k, A in (
        ([3, 2], 1, 2, 2),
        ([4, 3], 0, 4, 3),
        ([2, 3, 2], 2, 3, 2),
        ([1, 2, 3], 0, 4, 4),
        ([2, 2, 1], 1, 5, 2),
    ):
        T = [[rng.multinomial(m, rng.dirichlet(np.ones(A))) for m in c] for c in all_counts(k, len(C))]
        probes.append((np.array(T), np.array(C), s, k))
    return probes


sample = Debug(
    5,
    "a population that forgets itself",
    reference=acts,
    given=acts_as_given,
    probes=_sample_probes,
    compare=close(rtol=1e-6, atol=1e-9),
    when_right="Who draws k − 1 *others* sees, with itself, k different agents; and at k = n everybody sees the same "
    "counts, those of all, and the plan is played to the letter.",
    hints=[
        "Take k = n: everybody draws all others. Which h is then the only possible one, and which does the code "
        "consider?",
        "From whom does the agent draw? Is it one of them?",
        "C counts the agent in s, too: without it there are C − e_s others.",
    ],
    mistakes=[
        Mistake("itself not seen",
                "k are drawn from all, and the agent looks for itself among them: if its state is not there it finds "
                "no row. It always knows its own state; it draws k − 1 others.",
                _acts(others=lambda C, me: C, seen=lambda k: k, counts=lambda h, me: h, row=_own_row_or_first)),
        Mistake("k others",
                "k others are drawn. With the agent itself it would see k + 1; the plan is for k.",
                _acts(seen=lambda k: k, counts=lambda h, me: h,
                      row=lambda table, s, h, k: table[s] / max(h[s], 1)), raises=True),
        Mistake("still drawn from all",
                "The row is divided by another number now, and the agent still draws from all: it may draw itself.",
                _acts(others=lambda C, me: C, row=lambda table, s, h, k: table[s] / max(h[s], 1))),
        Mistake("counted among the others twice", "The agent has been added to the others, instead of taken out.",
                _acts(others=lambda C, me: C + me)),
        Mistake("normalised by all",
                "The ways are those of drawing from the others, but they are divided by those of drawing from all n: "
                "the weights do not sum to 1.",
                _acts(weigh=lambda others, h, size: _ways_to_draw(others, h) / comb(int(others.sum()) + 1, size))),
        Mistake("ways of all",
                "The ways are still those of drawing from all, but they are divided by those of drawing from the "
                "others.",
                _acts(others=lambda C, me: C,
                      weigh=lambda C, h, size: _ways_to_draw(C, h) / comb(int(C.sum()) - 1, size))),
        Mistake("with replacement",
                "The others are drawn with replacement: one may come twice. The law is hypergeometric.",
                _acts(weigh=_with_replacement)),
        Mistake("drawn from all with replacement",
                "The agent draws from all, with replacement: it may draw itself, and others twice.",
                _acts(others=lambda C, me: C, weigh=_with_replacement)),
        Mistake("coefficient missing",
                "In the weights the number of ways is missing in which h can be drawn: they do not sum to 1.",
                _acts(weigh=_without_ways)),
        Mistake("samples count alike", "All h count alike now, also those that cannot be drawn.",
                _acts(weigh=lambda others, h, size: 1.0 / number(size, len(h)))),
        Mistake("possible samples count alike", "All h that can be drawn count alike. Some are likelier.",
                _acts(weigh=_possible)),
        Mistake("likeliest sample", "Only the likeliest sample counts now.", _acts(weigh=_likeliest)),
        Mistake("not normalised", "The weights are numbers of ways now: divide by how many there are in all.",
                _acts(weigh=lambda others, h, size: 1.0 * _ways_to_draw(others, h))),
        Mistake("divided by the others",
                "The row is divided by the h_s others in s. The agent itself is among those in s: h_s + 1.",
                _acts(row=lambda table, s, h, k: table[s] / max(h[s], 1))),
        Mistake("divided by k",
                "The row is divided by k. It says how many of the h_s + 1 agents *in s* take each action.",
                _acts(row=lambda table, s, h, k: table[s] / k)),
        Mistake("divided by k − 1",
                "The row is divided by the number of others. It says how many of the h_s + 1 agents *in s* take each "
                "action.", _acts(row=lambda table, s, h, k: table[s] / (k - 1))),
        Mistake("all like itself",
                "The plan is looked up for k agents that are all in s. The others are where they are: h.",
                lambda T, C, s, k: T[rank(k * np.eye(len(C), dtype=int)[s])][s] / k),
        Mistake("not divided", "The row holds numbers of agents; divide by how many there are in s.",
                _acts(row=lambda table, s, h, k: table[s])),
        Mistake("margin for its row",
                "The whole table's actions are mixed now. The agent plays the row of its own state.",
                _acts(row=lambda table, s, h, k: table.sum(axis=0) / k)),
        Mistake("commonest action of the row",
                "The agent takes the commonest action of its row now. It plays a with probability T[s, a] / (h_s + 1).",
                _acts(row=lambda table, s, h, k: np.eye(table.shape[1])[table[s].argmax()])),
        Mistake("itself missing in the table",
                "The others are drawn rightly, but the table is looked up for h alone. The plan is for k agents: the "
                "others and the agent itself, h + e_s.", _acts(counts=lambda h, me: h)),
    ],
    variants=[_acts_vectorised, _acts_by_draws],
)  # fmt: skip

# ------------------------------------------------------------------------------------------ 6: a rule that agrees

CROWD, MOST, STORM, TOGETHER = 14, 4, 0.15, 0.1


@cache
def _best_plan() -> Planned:
    return plan(rendezvous(), CROWD)


def lost(k: int, act: Callable, lead: Callable) -> dict[str, float]:
    """Measure what 14 agents lose on Rendezvous with private samples of k, exactly.

    They act by `act(s, s_g, h)`, and the global agent by `lead(s_g, c)`, as `own_policy` takes them. Returned are what
    is lost from the start, after a storm, and, at worst over the sites, where all stand with the global agent.
    """
    model, best = rendezvous(), _best_plan()
    policy = own_policy(model, k, act, lead)
    V = deployed_value(policy, CROWD)
    met = [int(rank(CROWD * one)) for one in np.eye(3, dtype=int)]
    return {
        "lost after a storm": best.start_value() - start_value(model, V, CROWD),
        "lost by those who have met": max(float(best.V[s, c] - V[s, c]) for s, c in enumerate(met)),
        "k": float(k),
    }


def _hidden(answer, seed: int) -> dict[str, float]:
    if not isinstance(answer, dict) or set(answer) != {"k", "act", "lead"}:
        raise TypeError("give a dict with the keys k, act and lead")
    k = answer["k"]
    if isinstance(k, bool) or not isinstance(k, int | np.integer | float) or k != int(k) or not 1 <= k <= CROWD:
        raise ValueError(f"k must be a whole number from 1 to {CROWD}")
    for name in ("act", "lead"):
        if not callable(answer[name]):
            raise TypeError(f"{name} must be a function")
    k, act, lead = int(k), answer["act"], answer["lead"]
    measured = lost(k, act, lead)
    if _missed(measured):  # which half would do with the other one's remedy?
        for name, change in (("lead", (act, _lead_keep)), ("act", (_act_agree, lead))):
            measured[f"mended by {name}"] = float(not _missed(lost(k, *change)))
        measured |= {f"same {name}": same for name, same in _habits(k, act, lead).items()}
    return measured


def _missed(m) -> bool:
    return not (m["lost after a storm"] <= STORM and m["lost by those who have met"] <= TOGETHER)


def _habits(k: int, act: Callable, lead: Callable) -> dict[str, float]:
    """Tell which sites the rules take where; 1 for yes."""
    policy = own_policy(rendezvous(), k, act, lead)
    local, globally, s = policy.local, policy.globally, np.arange(3)
    met = [int(rank(k * one)) for one in np.eye(3, dtype=int)]
    alone = [int(rank((k - 1) * one)) for one in np.eye(3, dtype=int)]
    return {
        "site while it is idle": float(np.ptp(local[3], axis=(0, 1)).max() < 1e-9),
        "site where all have met": float(all(local[i, alone[i], i, i] > 1 - 1e-9 for i in s)),
        "lead where all have met": float(all(globally[i, met[i], i] > 1 - 1e-9 for i in s)),
        "lead while it has a site": float(all(globally[i, :, i].min() > 1 - 1e-9 for i in s)),
        "lead from idle": float(np.ptp(globally[3], axis=0).max() < 1e-9),
        "place while it is idle": float(all(local[3, :, i, i].min() > 1 - 1e-9 for i in s)),
        "place wherever it is": float(all(local[:4, :, i, i].min() > 1 - 1e-9 for i in s)),
        "follows": float(all(local[i, :, :, i].min() > 1 - 1e-9 for i in s)),
        "drawn": float(bool((np.abs(local[:4] * (1 - local[:4])) > 1e-9).any() or
                            (np.abs(globally[:4] * (1 - globally[:4])) > 1e-9).any())),
    }  # fmt: skip


def _act_agree(s, s_g, h):
    return s_g if s_g < 3 else 0


def _lead_keep(s_g, c):
    return s_g if s_g < 3 else 0


def _most_here(s, s_g, h):
    c = np.array(h)
    c[s] += 1
    return s_g if s_g < 3 else int(c.argmax())


def _most_anywhere(s, s_g, h):
    c = np.array(h)
    c[s] += 1
    return int(c.argmax())


def _lead_most(s_g, c):
    return int(np.argmax(c))


def _lead_keep_or_most(s_g, c):
    return s_g if s_g < 3 else int(np.argmax(c))


def _rule(act: Callable = _act_agree, lead: Callable = _lead_keep, k: int = 1) -> dict[str, Any]:
    return {"k": k, "act": act, "lead": lead}


def _is(m, name: str) -> bool:
    return _missed(m) and m.get(f"same {name}", 0.0) == 1.0


def _yes(m, name: str) -> bool:
    return m.get(f"mended by {name}", 0.0) == 1.0


design = Design(
    6,
    "a rule that agrees",
    reference=_rule(),
    measure=_hidden,
    targets={
        "lost after a storm": ("<=", STORM),
        "lost by those who have met": ("<=", TOGETHER),
        "k": ("<=", float(MOST)),
    },
    when_right="A convention needs no sample: k = 1 does here what the plan of k = 4, whose agents ask three others, "
    "does not. Agents that must agree are served by what all know.",
    hints=[
        "What do *all* agents know, the global one included, whatever they have drawn?",
        "While s_g is a site, all know where to go. Idle says nothing: there they need a site that is agreed on "
        "beforehand, and the global agent must choose the same one.",
        "Who has met should stay: then the global agent must not leave its site.",
    ],
    mistakes=[
        Mistake("too many seen", f"Little is lost, but an agent may see {MOST - 1} others at most. Is it used?",
                lambda answer, m: not _missed(m) and m["k"] > MOST, _rule(k=6)),
        Mistake("those who have met are moved",
                "The storm is weathered, but where all stand with the global agent on another site your agents "
                "move: that costs all of them, for nothing. Stay, if s_g is a site.",
                lambda answer, m: m["lost after a storm"] <= STORM and not _is(m, "site where all have met")
                and not _is(m, "lead where all have met"),
                _rule(lambda s, s_g, h: 0, lambda s_g, c: 0)),
        Mistake("the global agent leaves",
                "The local agents stay where they have met, and the global agent leaves them. They can only follow a "
                "step later, when it is somewhere else.",
                lambda answer, m: _is(m, "site where all have met") and not _is(m, "lead where all have met"),
                _rule(lead=lambda s_g, c: 0)),
        Mistake("the local agents leave",
                "Where all have met the global agent stays, and the local ones leave it.",
                lambda answer, m: not _is(m, "site where all have met") and _is(m, "lead where all have met"),
                _rule(act=lambda s, s_g, h: 0)),
        Mistake("the global agent changes its mind",
                "The global agent looks at a new sample at every step, and changes its site with it: the local agents "
                "follow it, and are always a step late. It should keep a site that it has.",
                lambda answer, m: _is(m, "follows") and not _is(m, "lead while it has a site"),
                _rule(lead=_lead_most, k=3)),
        Mistake("drawn by lot",
                "The agents draw their actions by lot, each for itself. Those who draw agree by chance only.",
                lambda answer, m: _is(m, "drawn"),
                _rule(act=lambda s, s_g, h: np.eye(3)[s_g] if s_g < 3 else np.full(3, 1 / 3))),
        Mistake("two conventions",
                "Both have a fixed site for the time after a storm, but not the same one.",
                lambda answer, m: _is(m, "site while it is idle") and _is(m, "lead from idle"),
                _rule(act=lambda s, s_g, h: s_g if s_g < 3 else 1)),
        Mistake("nobody moves",
                "The local agents stay where they are, wherever the global agent is: only the storms move them.",
                lambda answer, m: _is(m, "place wherever it is"),
                _rule(act=lambda s, s_g, h: s)),
        Mistake("waiting for the global agent",
                "The local agents stay where they are until the global one has chosen, and go there when it stands "
                "there already: after each storm a step is lost. Where will it go? They could know beforehand.",
                lambda answer, m: _is(m, "place while it is idle") and _is(m, "follows"),
                _rule(act=lambda s, s_g, h: s_g if s_g < 3 else s)),
        Mistake("the local agents ask their samples",
                "After a storm every local agent goes by its own sample, and the samples differ: some go here and some "
                "there. What do all of them know?",
                lambda answer, m: _yes(m, "act") and not _is(m, "drawn"), _rule(act=_most_here, k=4)),
        Mistake("the global agent asks its sample",
                "After a storm the local agents go to one site, and the global agent goes by its sample to another.",
                lambda answer, m: _yes(m, "lead"), _rule(lead=_lead_keep_or_most, k=4)),
        Mistake("samples everywhere",
                "Local agents and the global one go by samples, each by its own, and these differ: they agree by "
                "chance only. What do all of them know?",
                lambda answer, m: _missed(m), _rule(_most_anywhere, _lead_most, k=4)),
    ],
    variants=[
        _rule(lambda s, s_g, h: s_g if s_g < 3 else 2, lambda s_g, c: s_g if s_g < 3 else 2, k=2),
        _rule(lambda s, s_g, h: np.eye(3)[min(s_g, 3) % 3], lambda s_g, c: [0, 1, 2, 0, 1, 2, 1][s_g], k=4),
        _rule(lambda s, s_g, h: s_g if s_g < 3 else s if s_g > 3 else 1, lambda s_g, c: s_g if s_g < 3 else 1, k=3),
    ],
)  # fmt: skip

# --------------------------------------------------------------------------------------- 7: the tie and its cure

explain = Explain(
    7,
    "the tie and its cure",
    reference="c",
    choices={
        "a": "A shared sample of nine tells more about the crowd than the private ones do, and so it is nearer to "
        "knowing that there are as many agents here as there.",
        "b": "The samples of nine were too small: by the 1/√k law private samples of 99 do as well, and with k large "
        "enough the tie is no problem.",
        "c": "The shared sample is no better, but it is the same for all: then all go to one site, and either is "
        "as good as the other. Private samples send about half of the agents to each site, whatever odd k.",
        "d": "The agents lack a rule for equally good choices: with one and the same rule for ties, all with private "
        "samples would go to the same site.",
        "e": "A shared sample spares the cost of moving: agents that see the same stay where they are.",
    },
    reasons={
        1: "An odd number of agents on two sites is never a tie: a rule for ties is never asked.",
        2: "In the next steps the crowd is no longer exactly even, and then a larger sample is wrong less often.",
        3: "Exchange the sites, and the samples drawn from half and half are as likely as before: as many show a "
        "majority here as there.",
        4: "If all see one sample, all see the same majority.",
        5: "The share of a site in a sample comes closer to its share in the crowd as 1/√k.",
        6: "Half of the agents on each site: all to one or all to the other earns the same.",
    },
    carrying=(1, 3, 4, 6),
    when_right="So a larger sample is not what is needed here, but a common one; a common rule that asks no sample "
    "does as well (item 6).",
    hints=[
        "What does an agent do that sees five agents there and four here? And one that sees four there and five here?",
        "Half of the samples of k = 99, too, show a majority here. What is an agent sure of that sees 50 to 49?",
        "The claim has four parts: all do the same; that it is good; that private samples halve the crowd; and that "
        "no rule for ties prevents it.",
    ],
    mistakes=[
        Mistake("no better an estimate",
                "A sample of nine tells the same about the crowd, whoever sees it. What differs is who sees what.",
                "a"),
        Mistake("a larger sample",
                "The table shows k = 99 still losing .9. From half and half a sample of 99 has a majority for one site "
                "as often as for the other, as one of 9 has.", "b"),
        Mistake("no tie in a sample",
                "They have such a rule. When would an agent that sees an odd number of agents on two sites ask it?",
                "d"),
        Mistake("half of them must move",
                "All are to meet, so that about half have to move in any case. The shared sample does not spare it.",
                "e"),
        Mistake("what comes later",
                "Reason 2 is true, and it is why the loss does shrink with k. It does not carry that half and half "
                "divides the crowd, nor that one sample cures it.", 2),
        Mistake("a share is no decision",
                "Reason 5 is true of the share. But a decision asks on which side of ½ it lies, and from half and half "
                "that stays a toss of a coin.", 5),
    ],
)  # fmt: skip

exercise = Exercise(
    13,
    "A thousand agents?",
    [predict, law, backup, margins, sample, design, explain],
)
