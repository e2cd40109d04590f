"""Counts of agents and joint tables, in one order: how many there are, which is the r-th, which number has this one.

Exchangeable agents are known by how many of them are in each state, c = (c_0, …, c_{K-1}), c_0 + … + c_{K-1} = n. There
are C(n + K - 1, K - 1) such counts. They are ordered with the most in the first place first,

    (n, 0, 0), (n-1, 1, 0), (n-1, 0, 1), (n-2, 2, 0), …,      rank(c) = sum_{i=1}^{K-1} C(t_i + K - 1 - i, K - i),

with the tails t_i = c_i + … + c_{K-1}: the term i counts those that agree with c before the place i - 1 and have more
there. A joint table T (S, A), how many in state s take action a, has the counts as its row sums; within the same row
sums the tables are numbered row by row, the last row running fastest. Source: Knuth, The Art of Computer Programming
4A, 7.2.1.3 (the combinatorial number system).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb

import numpy as np

from mpcrl_course.validation import reals, whole

#: More than so many counts are not listed.
MOST = 20_000_000


def number(n: int, K: int) -> int:
    """Return how many counts of n agents in K states there are, C(n + K - 1, K - 1)."""
    return comb(whole(n, "n", 0) + whole(K, "K", 1) - 1, K - 1)


def all_counts(n: int, K: int) -> np.ndarray:
    """Return every count of n agents in K states in order, shape (number(n, K), K)."""
    if number(n, K) > MOST:
        raise ValueError(f"n = {n} agents in K = {K} states have {number(n, K)} counts, too many to list")
    return unrank(np.arange(number(n, K)), n, K)


def rank(c) -> np.ndarray:
    """Return the numbers, shape (...), of counts c (..., K) in the order of `all_counts`."""
    c = whole_numbers(c, "c")
    K = c.shape[-1]
    found, tail = np.zeros(c.shape[:-1], dtype=np.int64), np.zeros(c.shape[:-1], dtype=np.int64)
    for i in range(K - 1, 0, -1):
        tail += c[..., i]
        found += _column(int(tail.max(initial=0)), K, i)[tail]
    return found


def unrank(r, n: int, K: int) -> np.ndarray:
    """Return the counts (..., K) of n agents in K states that have the numbers r (...); the inverse of `rank`."""
    left = whole_numbers(r, "r")
    if left.size and left.max() >= number(n, K):
        raise ValueError(f"r must be below {number(n, K)}, the number of counts, not {left.max()}")
    tails = np.zeros((*left.shape, K + 1), dtype=np.int64)
    tails[..., 0] = n
    for i in range(1, K):
        column = _column(n, K, i)
        tails[..., i] = np.searchsorted(column, left, side="right") - 1
        left = left - column[tails[..., i]]
    return tails[..., :-1] - tails[..., 1:]


def one_more(n: int, K: int) -> np.ndarray:
    """Return the numbers of c + e_i, shape (number(n, K), K), for the counts c of n agents and each state i of K."""
    return rank(all_counts(n, K)[:, None, :] + np.eye(K, dtype=np.int64))


def number_of_tables(c, A: int) -> int:
    """Return how many joint tables with A actions have the row sums c (S,)."""
    A = whole(A, "A", 1)
    return int(np.prod([number(int(m), A) for m in whole_numbers(c, "c", 1)], dtype=object))


def table_rank(T) -> int:
    """Return the number of a joint table T (S, A) among those of its row sums."""
    T = whole_numbers(T, "T", 2)
    found = 0
    for row in T:
        found = found * number(int(row.sum()), T.shape[1]) + int(rank(row))
    return found


def table_unrank(r: int, c, A: int) -> np.ndarray:
    """Return the joint table (S, A) of the number r with the row sums c (S,) and A actions."""
    c, left = whole_numbers(c, "c", 1), whole(r, "r", 0)
    if left >= number_of_tables(c, A):
        raise ValueError(f"r must be below {number_of_tables(c, A)}, the number of tables, not {left}")
    rows = []
    for m in c[::-1]:
        left, place = divmod(left, number(int(m), A))
        rows.append(unrank(place, int(m), A))
    return np.array(rows[::-1], dtype=np.int64)


def all_tables(c, A: int) -> np.ndarray:
    """Return every joint table with the row sums c (S,) and A actions in order, (number_of_tables(c, A), S, A)."""
    c = whole_numbers(c, "c", 1)
    if number_of_tables(c, A) > MOST:
        raise ValueError(f"the row sums c = {c} have {number_of_tables(c, A)} tables, too many to list")
    rows = [all_counts(int(m), A) for m in c]
    places = np.indices([len(row) for row in rows]).reshape(len(rows), -1)
    return np.stack([row[place] for row, place in zip(rows, places)], axis=1)


def whole_numbers(value, name: str, axes: int | None = None) -> np.ndarray:
    """Return `value` as integers that are not negative, with as many `axes`; ValueError that names it `name` if not."""
    if not (isinstance(value, np.ndarray) and value.dtype.kind in "iu"):
        found = reals(value, name)
        if (found % 1.0).any() or np.abs(found).max(initial=0.0) > 2.0**53:
            raise ValueError(f"{name} must hold whole numbers, not {value}")
        value = found.astype(np.int64)
    counts = name.endswith(("c", "counts"))
    if (axes is not None and value.ndim != axes) or (counts and (not value.ndim or not value.shape[-1])):
        raise ValueError(
            f"{name} has shape {value.shape}, but needs {axes or '1 or more'} axes, the last one not empty"
        )
    if value.size and value.min() < 0:
        raise ValueError(f"{name} must not be negative")
    return value


@lru_cache(maxsize=4096)
def _column(n: int, K: int, i: int) -> np.ndarray:
    # C(t + K - 1 - i, K - i) for t = 0 … n
    if n > MOST or comb(n + K - 1 - i, K - i) > 2**62:
        raise ValueError(f"c: {n} agents in {K} states have more counts than can be numbered")
    return np.array([comb(t + K - 1 - i, K - i) for t in range(n + 1)], dtype=np.int64)
