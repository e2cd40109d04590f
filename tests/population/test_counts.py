"""Counts and tables: all of them, in their order, against lists made by hand and by itertools."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcrl_course.population import (
    all_counts,
    all_tables,
    number,
    number_of_tables,
    rank,
    table_rank,
    table_unrank,
    unrank,
)
from mpcrl_course.population.counts import one_more


@pytest.mark.parametrize(("n", "K"), [(0, 3), (1, 1), (4, 1), (5, 2), (4, 3), (3, 5)])
def test_all_counts_are_those_of_itertools_with_the_most_in_front_first(n, K):
    listed = sorted((c for c in product(range(n + 1), repeat=K) if sum(c) == n), reverse=True)
    np.testing.assert_array_equal(all_counts(n, K), listed)
    assert number(n, K) == len(listed)
    np.testing.assert_array_equal(rank(listed), np.arange(len(listed)))


def test_the_sizes_of_the_published_table():
    """5 C(k + 2, 2) states: 180, 600 and 1155, not 30, 600 and 1330."""
    assert [5 * number(k, 3) for k in (7, 14, 20)] == [180, 600, 1155]
    assert number(14, 9) == 319_770 and number(8, 3) == 45


@given(st.integers(1, 7), st.lists(st.integers(0, 40), min_size=7, max_size=7))
def test_a_number_leads_back_to_its_counts(K, c):
    c = np.array(c[:K])
    np.testing.assert_array_equal(unrank(rank(c), int(c.sum()), K), c)


def test_one_agent_more():
    for n, K in ((0, 3), (3, 3), (5, 2)):
        for i in range(K):
            np.testing.assert_array_equal(all_counts(n + 1, K)[one_more(n, K)[:, i]], all_counts(n, K) + np.eye(K)[i])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(1, 3), st.randoms())
def test_tables_are_ranked_within_their_row_sums(c, A, random):
    every = all_tables(c, A)
    assert len(every) == number_of_tables(c, A) and len({T.tobytes() for T in every}) == len(every)
    np.testing.assert_array_equal(every.sum(axis=2), np.broadcast_to(c, (len(every), len(c))))
    r = random.randrange(len(every))
    np.testing.assert_array_equal(table_unrank(r, c, A), every[r])
    assert table_rank(every[r]) == r


def test_all_tables_of_all_counts_are_the_counts_of_cells():
    assert sum(number_of_tables(c, 2) for c in all_counts(4, 3)) == number(4, 6)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: rank([1, -1]), "negative"),
        (lambda: rank([1.5, 2.0]), "whole"),
        (lambda: unrank(6, 2, 3), "below 6"),
        (lambda: all_counts(200, 9), "too many"),
        (lambda: table_unrank(3, [2], 2), "below 3"),
        (lambda: all_tables([60, 60], 5), "too many"),
        (lambda: rank(np.full(60, 10**6)), "numbered"),
    ],
)
def test_what_is_no_count_is_refused(call, word):
    with pytest.raises(ValueError, match=word):
        call()
