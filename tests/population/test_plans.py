"""Plans of k agents against the joint process of labelled agents, and against a plain planner over all tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpcrl_course.population import formation, plan, plans, rendezvous, sampled_value_iteration, tie
from mpcrl_course.population.choices import kinds_of
from mpcrl_course.population.faulty import plan_with
from tests.population.labelled import by_counts, joint_value, random_model


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([(2, 2, 2, 2, 3), (1, 2, 3, 2, 2), (3, 1, 2, 3, 2)]))
def test_random_models_have_the_value_of_labelled_agents(seed, sparse, sizes):
    *shape, k = sizes
    model = random_model(np.random.default_rng(seed), *shape, sparse=sparse)
    expected = by_counts(joint_value(model, k), k, model.sizes[2])
    np.testing.assert_allclose(plan(model, k).V, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("model", "k"),
    [(formation(0.2), 2), (rendezvous(), 2), (tie(), 2), (tie(), 3), (rendezvous(2), 3)],
    ids=lambda x: getattr(x, "name", x),
)
def test_the_named_models_have_the_value_of_labelled_agents(model, k):
    expected = by_counts(joint_value(model, k), k, model.sizes[2])
    np.testing.assert_allclose(plan(model, k).V, expected, rtol=0, atol=1e-8)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_nothing_is_lost_where_kinds_and_tables_are_left_out(seed, sparse):
    model = random_model(np.random.default_rng(seed), 2, 2, 3, 3, sparse=sparse)
    ours, plain = plan(model, 3), plan_with(model, 3)
    np.testing.assert_allclose(ours.V, plain.V, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(ours.T.sum(axis=3), plain.T.sum(axis=3))  # rows sum to the counts
    if not sparse:  # no two laws are equal, no two tables equally good
        np.testing.assert_array_equal(ours.T, plain.T)
        np.testing.assert_array_equal(ours.a_g, plain.a_g)


def test_value_iteration_without_evaluation_comes_to_the_same():
    fast, slow = (plans(formation(0.2), [3], evaluate=e, tolerance=1e-11)[0] for e in (True, False))
    np.testing.assert_allclose(fast.V, slow.V, atol=1e-9)
    assert fast.sweeps < 10 < 200 < slow.sweeps


def test_several_k_are_those_of_one_at_a_time():
    together = plans(rendezvous(), [5, 1, 3])
    assert [one.k for one in together] == [5, 1, 3]
    for one in together:
        alone = plan(rendezvous(), one.k)
        assert np.array_equal(one.V, alone.V) and np.array_equal(one.T, alone.T)


def test_laws_that_are_equal_are_one_and_dominated_actions_are_left_out():
    kinds = kinds_of(formation(), 2)  # s_g = 0: from -1, "down" and "stay" lead to -1, and staying pays more
    assert len(kinds.laws) == 3 and len(kinds.state) == 7
    assert (kinds.state[0], kinds.action[0]) == (0, 1)
    assert len(kinds_of(formation(), 4).state) == 4
    assert len(kinds_of(rendezvous(), 5).laws) == 1  # in a storm nobody's action matters


def test_drawn_backups_are_too_large():
    """The largest of noisy means: value iteration by single draws ends above the exact value, by 30 less so."""
    exact = plan(formation(0.2), 4).V
    once, often = (
        np.array([(sampled_value_iteration(formation(0.2), 4, m, seed, 60) - exact).mean() for seed in range(12)])
        for m in (1, 30)
    )
    assert once.mean() > 3 * once.std() / np.sqrt(11) and abs(often.mean()) < 0.3 * once.mean()


@pytest.mark.parametrize("k", [0, 2.5, True, "3"])
def test_a_k_that_is_none_is_refused(k):
    with pytest.raises(ValueError, match="k"):
        plan(tie(), k)


def test_too_large_a_k_is_refused_in_time():
    with pytest.raises(ValueError, match="too large"):
        plan(random_model(np.random.default_rng(0), 1, 1, 4, 4), 40)
