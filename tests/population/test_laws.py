"""Laws of counts: by listing where every agent goes, and by SciPy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multinomial as scipy_multinomial
from scipy.stats import multivariate_hypergeom

from mpcrl_course.population import (
    all_counts,
    expectations,
    hypergeometric,
    multinomial,
    next_law,
    number,
    rank,
    sampled_expectations,
)


def listed_law(c, p):
    """Return the law of the next counts by listing where each labelled agent goes."""
    kinds, K = np.repeat(np.arange(len(c)), c), p.shape[1]
    law = np.zeros(number(int(np.sum(c)), K))
    for where in product(range(K), repeat=len(kinds)):
        probability = np.prod([p[kind, i] for kind, i in zip(kinds, where)])
        law[rank(np.bincount(where, minlength=K))] += probability
    return law


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 3), min_size=2, max_size=2), st.integers(2, 3))
def test_the_next_law_and_every_expectation_are_those_of_labelled_agents(seed, c, K):
    rng, c = np.random.default_rng(seed), np.array(c)
    p = rng.dirichlet(np.full(K, 0.5), size=2)
    law, f = listed_law(c, p), rng.normal(size=(number(int(c.sum()), K), 2))
    np.testing.assert_allclose(next_law(c, p), law, atol=1e-13)
    np.testing.assert_allclose(expectations(f, p, int(c.sum()))[rank(c)], law @ f, atol=1e-12)


def test_eight_agents_in_one_state():
    """Of eight agents that stay with probability 0.8, all stay with 0.8^8 = 0.168; one draw for all would say 0.8."""
    law = next_law([8], [[0.1, 0.8, 0.1]])
    assert law[rank([0, 8, 0])] == pytest.approx(0.8**8, rel=1e-12)
    np.testing.assert_allclose(law, scipy_multinomial(8, [0.1, 0.8, 0.1]).pmf(all_counts(8, 3)), rtol=1e-10)


def test_batches_have_their_own_counts():
    rng = np.random.default_rng(1)
    c = np.array([[[3, 1], [0, 4]], [[2, 2], [4, 0]]])
    p = rng.dirichlet(np.ones(3), size=(2, 2, 2))
    laws = next_law(c, p)
    assert laws.shape == (2, 2, number(4, 3))
    for i, j in product(range(2), repeat=2):
        np.testing.assert_allclose(laws[i, j], listed_law(c[i, j], p[i, j]), atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=4), st.integers(0, 6))
def test_samples_are_hypergeometric(c, m):
    m = min(m, sum(c))
    expected = multivariate_hypergeom(c, m).pmf(all_counts(m, len(c)))
    np.testing.assert_allclose(hypergeometric(c, m), expected, atol=1e-12)


def test_a_sample_of_a_huge_population_is_multinomial():
    c = np.array([5, 3, 2]) * 10**11
    np.testing.assert_allclose(hypergeometric(c, 6), multinomial(6, [0.5, 0.3, 0.2]), rtol=1e-9)
    assert multinomial(3, [[0.0, 1.0], [0.5, 0.5]])[0].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_drawn_expectations_scatter_about_the_exact_ones():
    rng = np.random.default_rng(3)
    p, f = rng.dirichlet(np.ones(3), size=4), rng.normal(size=(number(3, 3), 1))
    exact = expectations(f, p, 3)
    spread = np.sqrt(expectations(f**2, p, 3) - exact**2)
    z = (sampled_expectations(f, p, 3, 4000, rng) - exact) / np.maximum(spread, 1e-9) * np.sqrt(4000)
    assert np.abs(z).max() < 4.5 and 0.6 < z.std() < 1.5


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: next_law([2, 1], [[0.5, 0.5]]), "shape"),
        (lambda: next_law([2], [[0.5, 0.6]]), "laws"),
        (lambda: next_law([[2], [1]], [[[1.0]], [[1.0]]]), "same sum"),
        (lambda: hypergeometric([1, 1], 3), "fewer"),
    ],
)
def test_what_is_no_law_is_refused(call, word):
    with pytest.raises(ValueError, match=word):
        call()
