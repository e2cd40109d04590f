"""What k agents can choose, without what they never would: for each counts and each outcome the best joint table.

The next counts of a table T depend on it only through how many agents move with which *law* P_l(. | s, s_g, a). Kinds
of agents (s, a) that share a law are one for the future; they differ in the reward. So of all tables with the same row
sums c and the same numbers m of agents a law, only the best counts (a transportation problem), and it is found by one
agent after the other: a best table of j + 1 agents is a best table of j agents and one more,

    R_{j+1}(c, m) = max over kinds (s, a) of R_j(c - e_s, m - e_law(s,a)) + r_l(s, s_g, a).

At k = 14 Formation has 319 770 tables in each of its five global states; 21 880 choices are left of all of them.
Where no two laws are equal, every table is left. Of equally good tables the first is taken, in the order of `counts`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mpcrl_course.population.counts import number, rank
from mpcrl_course.population.laws import ahead
from mpcrl_course.population.model import Population

#: Values that differ by less, times their size, are equal.
EQUAL = 1e-11
#: So many entries have the tables that are compared, at most.
MOST = 25_000_000


class Kinds(NamedTuple):
    """The kinds of agents (s, a) that are worth choosing while the global state is s_g.

    An action is left out where another one of the same state has the same law and a reward that is at least as good.

    Attributes
    ----------
    state, action, law : ndarray of int, shape (kinds,)
        s, a, and the place in `laws`.
    reward : ndarray, shape (kinds,)
    laws : ndarray, shape (J, S)
        The different laws.
    """

    state: np.ndarray
    action: np.ndarray
    law: np.ndarray
    reward: np.ndarray
    laws: np.ndarray


def kinds_of(model: Population, s_g: int) -> Kinds:
    """Return the kinds of agents of a `model` in the global state `s_g` that are worth choosing."""
    _, _, S, A = model.sizes
    rows, reward = model.P_l[:, s_g].reshape(S * A, S), model.r_l[:, s_g].ravel()
    _, first, law = np.unique(rows.round(12), axis=0, return_index=True, return_inverse=True)
    law = law.ravel()
    kept: dict[tuple[int, int], int] = {}
    for i in range(S * A):
        best = kept.setdefault((i // A, law[i]), i)
        if reward[i] > reward[best] + EQUAL:
            kept[i // A, law[i]] = i
    chosen = np.array(sorted(kept.values()))
    used, law = np.unique(law[chosen], return_inverse=True)
    return Kinds(chosen // A, chosen % A, law.ravel(), reward[chosen], rows[first[used]])


class Choices(NamedTuple):
    """The best tables of k agents, one for each counts c and each m that c can have, ordered by c, then by the table.

    Attributes
    ----------
    k : int
    c, m : ndarray of int, shape (N,)
        Numbers of the counts in the states and in the laws.
    reward : ndarray, shape (N,)
        The sum of the agents' rewards.
    table : ndarray of int, shape (N, kinds)
        How many agents there are of each kind.
    """

    k: int
    c: np.ndarray
    m: np.ndarray
    reward: np.ndarray
    table: np.ndarray


def nobody(kinds: Kinds) -> Choices:
    """Return the one choice of no agents, of such `kinds`."""
    nothing = np.zeros(1, dtype=np.int64)
    return Choices(0, nothing, nothing, np.zeros(1), np.zeros((1, len(kinds.state)), dtype=np.int16))


def with_one_more(choices: Choices, kinds: Kinds, S: int) -> Choices:
    """Return the choices of one agent more than in `choices`, of such `kinds` and S local states."""
    k, J = choices.k + 1, len(kinds.laws)
    if len(kinds.state) ** 2 * len(choices.c) > MOST:
        raise ValueError(f"k is too large for this model: {k} agents have too many tables, with laws that differ")
    c = ahead(choices.k, S)[choices.c][:, kinds.state].T.ravel()
    m = ahead(choices.k, J)[choices.m][:, kinds.law].T.ravel()
    reward = (choices.reward + kinds.reward[:, None]).ravel()
    table = np.tile(choices.table, (len(kinds.state), 1))
    table[np.arange(len(table)), np.repeat(np.arange(len(kinds.state)), len(choices.c))] += 1
    place = first_best(c * number(k, J) + m, reward, rank(table))
    place = place[np.lexsort((rank(table[place]), c[place]))]
    return Choices(k, c[place], m[place], reward[place], table[place])


def first_best(group, value, order=None) -> np.ndarray:
    """Return for each group, in ascending order, the place of the first of its best entries.

    Parameters
    ----------
    group : ndarray of int, shape (N,)
        Sorted, if no order is given.
    value : ndarray, shape (N,)
    order : ndarray, shape (N,), optional
        Which comes first; by default the place.
    """
    if order is not None:
        sorting = np.lexsort((order, group))
        return sorting[first_best(group[sorting], value[sorting])]
    starts = np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
    best = np.maximum.reduceat(value, starts)
    size = np.diff(starts, append=len(group))
    good = np.flatnonzero(value >= np.repeat(best - EQUAL * (1.0 + np.abs(best)), size))
    return good[np.searchsorted(good, starts)]
