"""Plausible mistakes about populations, to be measured and to be found; and the plain planner that shows them.

Each has been made: the joint table replaced by its two margins, a whole cell moved by one draw, everybody's action
replaced by the commonest one, a sample without oneself. `plan_with` compares *every* table by the law that it is given,
the right one or a wrong one, and is as simple as that: it serves small k.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.population.choices import first_best
from mpcrl_course.population.counts import all_counts, number, rank
from mpcrl_course.population.laws import ahead, hypergeometric, listed, next_law
from mpcrl_course.population.model import Population
from mpcrl_course.population.policy import SampledPolicy
from mpcrl_course.population.solve import Planned
from mpcrl_course.validation import function, instance, whole

#: `plan_with` holds so many probabilities at most.
MOST = 30_000_000


def plan_with(
    model: Population, k: int, law: Callable = next_law, tolerance: float = 1e-10, sweeps: int = 100_000
) -> Planned:
    """Return the plan of k agents that follows from a law of the next counts, by value iteration over all tables.

    Parameters
    ----------
    model : Population
    k : int
    law : callable
        ``law(tables, p)`` gives a law of the next counts (N, number(k, S)), for tables (N, S A), a cell a column, whose
        agents move with the laws p (N, S A, S).
    tolerance : float
        Of the residual.
    sweeps : int
        RuntimeError if so many do not suffice.
    """
    G, B, S, A = instance(model, Population, "model").sizes
    k, sweeps = whole(k, "k", 1), whole(sweeps, "sweeps", 1)
    function(law, "law")
    if G * number(k, S * A) * number(k, S) > MOST:
        raise ValueError(f"k = {k} agents have too many tables to compare them all")
    tables = all_counts(k, S * A)
    c = rank(tables.reshape(-1, S, A).sum(axis=2))
    order = np.lexsort((np.arange(len(c)), c))
    tables, c = tables[order], c[order]
    paid = [tables @ model.r_l[:, g].ravel() / k for g in range(G)]
    laws = []
    for g in range(G):
        p = model.P_l[:, g].reshape(S * A, S)
        laws.append(law(tables, np.broadcast_to(p, (len(tables), *p.shape))))
    V = np.zeros((G, number(k, S)))
    for done in range(1, sweeps + 1):
        best, a_g, T = np.empty_like(V), np.empty(V.shape, dtype=int), np.empty((*V.shape, S, A), dtype=int)
        for g in range(G):
            Q = paid[g][:, None] + model.r_g[g] + model.gamma * (laws[g] @ V.T) @ model.P_g[g].T
            place = first_best(c, Q.max(axis=1))
            best[g], a_g[g], T[g] = Q[place].max(axis=1), Q[place].argmax(axis=1), tables[place].reshape(-1, S, A)
        residual, V = float(np.abs(best - V).max()), best
        if not residual > tolerance:
            return Planned(model, k, V, a_g, T, residual, done, G * B * len(tables))
    raise RuntimeError(f"after {sweeps} sweeps the residual is {residual:.1e}, above the tolerance {tolerance:g}")


def one_draw(tables, p) -> np.ndarray:
    """Return the law of the next counts if all agents of a cell moved by one draw; `tables` and p as for `next_law`."""
    tables, p = np.asarray(tables), np.asarray(p)
    k, S = int(tables[0].sum()), p.shape[-1]
    laws = np.zeros((len(tables), number(k, S)))
    for row, (table, mine) in enumerate(zip(tables, p)):
        found = {(0,) * S: 1.0}
        for many, where in zip(table, mine):
            after: dict[tuple, float] = {}
            for counts, probability in found.items():
                for i in np.flatnonzero(where) if many else ():
                    moved = (*counts[:i], counts[i] + int(many), *counts[i + 1 :])
                    after[moved] = after.get(moved, 0.0) + probability * where[i]
            found = after if many else found
        laws[row, rank(np.array(list(found)))] = list(found.values())
    return laws


def commonest(planned: Planned) -> SampledPolicy:
    """Return the policy of agents that all play the commonest action of what was `planned`, whatever their state."""
    model, k = planned.model, planned.k
    _, B, S, A = model.sizes
    said = planned.T.sum(axis=2).argmax(axis=-1)  # (S_g, counts)
    local = np.eye(A)[said[:, ahead(k - 1, S)]]
    return SampledPolicy(model, k, local, np.eye(B)[planned.a_g])


def margins(planned: Planned) -> SampledPolicy:
    """Return the policy of agents that know how many take each action of what was `planned`, but not in which state."""
    model, k = planned.model, planned.k
    _, B, S, _ = model.sizes
    local = planned.T.sum(axis=2)[:, ahead(k - 1, S)] / k
    return SampledPolicy(model, k, local, np.eye(B)[planned.a_g])


def without_itself(planned: Planned) -> SampledPolicy:
    """Return the policy of agents that draw k others and forget themselves; `planned` is for k.

    An agent whose state is not in its sample finds no component there, and takes its first action. It sees k others, so
    that the policy is one for samples of k + 1.
    """
    model, k = planned.model, planned.k
    G, B, S, A = model.sizes
    counts = listed(k, S)
    rows = planned.T / np.maximum(counts, 1)[None, :, :, None]
    rows[:, counts == 0] = np.eye(A)[0]
    led = np.stack([hypergeometric(counts, k) @ np.eye(B)[planned.a_g[g]] for g in range(G)])
    many = hypergeometric(listed(k + 1, S), k)  # the global agent still looks at k
    return SampledPolicy(model, k + 1, rows, many @ led)


def least_of_both(c, d) -> np.ndarray:
    """Return the "table" min(c[s], d[a]) of state counts c and action counts d: its sum is not the number of agents."""
    return np.minimum.outer(np.asarray(c), np.asarray(d))
