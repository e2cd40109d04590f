"""Agents that act on samples: exact values against labelled agents whose samples are listed, and published ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpcrl_course.population import (
    SampledPolicy,
    deployed,
    deployed_value,
    formation,
    number,
    own_policy,
    plan,
    plans,
    rank,
    rendezvous,
    sampled_policy,
    tie,
)
from tests.population.labelled import by_counts, deployed_labelled, random_model


def random_policy(rng, model, k):
    G, B, S, A = model.sizes
    local = rng.dirichlet(np.ones(A), size=(G, number(k - 1, S), S))
    return SampledPolicy(model, k, local, rng.dirichlet(np.ones(B), size=(G, number(k, S))))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(1, 3), (2, 4), (3, 4), (4, 4)]), st.booleans())
def test_the_exact_value_is_that_of_labelled_agents(seed, sizes, shared):
    rng, (k, n) = np.random.default_rng(seed), sizes
    policy = random_policy(rng, random_model(rng), k)
    expected = by_counts(deployed_labelled(policy, n, shared), n, 2)
    ours = deployed_value(policy, n, "shared" if shared else "private")
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shared", [False, True])
def test_three_states(shared):
    rng = np.random.default_rng(4)
    policy = random_policy(rng, random_model(rng, 2, 2, 3, 2), 2)
    ours = deployed_value(policy, 3, "shared" if shared else "private")
    np.testing.assert_allclose(ours, by_counts(deployed_labelled(policy, 3, shared), 3, 3), rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def met():
    """Rendezvous, planned for k = 1 … 14, and its value."""
    found = plans(rendezvous(), range(1, 15))
    return {one.k: sampled_policy(one) for one in found}, found[-1]


def test_formation():
    """The published configuration; V* ± 1e-4, and the largest loss of a sample (41 thousandths at most)."""
    for options, value in (((), 30.6888), ((0.2,), 28.6169), ((0.2, False), 28.9733)):
        assert plan(formation(*options), 14).start_value() == pytest.approx(value, abs=1e-4)
    found = plans(formation(), range(1, 15))
    lost = [found[-1].start_value() - deployed(sampled_policy(one), 14) for one in found]
    assert -1e-9 < min(lost) and max(lost) < 0.041 and abs(lost[-1]) < 1e-8


def test_rendezvous(met):
    """V* ± 1e-3; what is lost with samples of k, ± 5 %; nothing at k = n."""
    policies, best = met
    assert best.start_value() == pytest.approx(6.843, abs=1e-3)
    for k, gap in ((1, 3.95), (2, 1.23), (4, 1.46), (8, 0.787), (12, 0.358), (13, 0.247)):
        assert best.start_value() - deployed(policies[k], 14) == pytest.approx(gap, rel=0.05)
    assert abs(best.start_value() - deployed(policies[14], 14)) < 1e-8


def test_rendezvous_with_a_shared_sample(met):
    policies, best = met
    for k, gap in ((2, 0.517), (4, 0.077), (8, 0.020)):
        assert best.start_value() - deployed(policies[k], 14, "shared") == pytest.approx(gap, rel=0.1)


def test_ties_that_everybody_breaks_alone(met):
    """Published: 4.0 at k = 2, and 0.169 even at k = n."""
    _, best = met
    for k, gap in ((2, 4.0), (14, 0.169)):
        random = sampled_policy(plan(rendezvous(), k), ties="random")
        assert best.start_value() - deployed(random, 14) == pytest.approx(gap, rel=0.05)


def test_the_tie():
    """200 agents, half on each site: V* = 9.35, and what is lost at k = 9, 33, 99; a shared sample loses nothing."""
    found = plans(tie(), [2, 9, 20, 33, 99])
    for one in (found[0], found[2]):
        assert one.V[:, rank([one.k // 2] * 2)] == pytest.approx([9.35, 9.35], abs=1e-9)
    half = int(rank([100, 100]))
    for one, gap in zip((found[1], found[3], found[4]), (1.69, 1.19, 0.94)):
        lost = 9.35 - deployed_value(sampled_policy(one), 200)[:, half]
        assert lost == pytest.approx([gap] * 2, rel=0.05)
    assert 9.35 - deployed_value(sampled_policy(found[1]), 60, "shared")[:, rank([30, 30])] == pytest.approx(
        0, abs=0.05
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_whoever_sees_all_acts_as_planned(seed, n):
    """At k = n nothing is lost, also of random models: their plans do not part agents of one state."""
    found = plan(random_model(np.random.default_rng(seed), 2, 2, 3, 2), n)
    assert abs(found.start_value() - deployed(sampled_policy(found), n)) < 1e-8
    assert ((found.T > 0).sum(axis=-1) <= 1).all()


def test_a_policy_of_ones_own():
    model = rendezvous()
    follow = own_policy(model, 3, lambda s, s_g, h: int((h + np.eye(3)[s]).argmax()), lambda s_g, c: int(c.argmax()))
    planned = deployed(sampled_policy(plan(model, 3)), 14)
    assert 0.5 * planned < deployed(follow, 14) < planned + 1e-9 + 2.0
    lazy = own_policy(model, 1, lambda s, s_g, h: [1 / 3] * 3)
    assert deployed(lazy, 14) < deployed(follow, 14)


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda s, g, h: None, "None"),
        (lambda s, g, h: 3, "action 3"),
        (lambda s, g, h: [0.5, 0.5], "shape"),
        (lambda s, g, h: [0.5, 0.7, 0.1], "no probabilities"),
        (lambda s, g, h: [np.nan] * 3, "finite"),
        (7, "function"),
    ],
)
def test_what_a_reader_might_return_is_named(act, word):
    with pytest.raises(ValueError, match=word):
        own_policy(rendezvous(), 1, act)


def test_too_many_agents_are_to_be_simulated():
    with pytest.raises(ValueError, match="simulate"):
        deployed(sampled_policy(plan(rendezvous(), 2)), 100)
    with pytest.raises(ValueError, match="n must be at least 2"):
        deployed(sampled_policy(plan(rendezvous(), 2)), 1)
