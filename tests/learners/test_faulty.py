"""Two mistakes, and what they do to C; and that the runs which lecture 12 ships begin as they do here."""

from functools import partial

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.distributed import DistributedQLearning, regularised_inverse
from mpcrl_course.learners.faulty import FaultyLearner, misalign, next_C, take_mean
from mpcrl_course.network import Central, line, mixing_matrix
from mpcrl_course.problems.network import network_mpc

CENTRAL, LINE = Central(network_mpc()), mixing_matrix(3, line(3), 0.25)


def learned(steps, misaligned=False, mean=False, seed=1, **options):
    options = {"safeguard": False, "agent": FaultyLearner, **options}
    learner = DistributedQLearning(CENTRAL, LinearNetwork(), np.random.default_rng(seed), **options)
    take_mean(learner, mean)
    if misaligned:
        misalign(learner)
    return learner.run(steps, progress=False)


def off(**options):
    used, right = next_C(learned(30, **options))
    return np.abs(used - right) / np.abs(right).max()


def test_c_as_it_should_be_is_c_unless_something_is_wrong():
    used, right = next_C(learned(30))
    np.testing.assert_array_equal(used, right)
    assert off(P=LINE).max() < 1e-9 and off(P=LINE, rounds=2).max() > 1e-2
    used, right = next_C(learned(30, mean=True))
    np.testing.assert_allclose(used, 15 * right, rtol=1e-6, atol=1e-6 * np.abs(used).max())
    # other old samples of the neighbours, and through them another K: the terms of the newest samples change, too
    assert off(misaligned=True)[10:, 10:].max() > 1e-2
    misaligned = learned(30, misaligned=True)
    drawn = [agent.td for agent in misaligned.agents]
    np.testing.assert_array_equal(drawn[0][:10], drawn[1][:10])
    assert np.abs(drawn[0][10:] - drawn[1][10:]).max() > 1e-3
    assert next_C(learned(3, order=1)) is None and next_C(learned(0)) is None


def test_to_look_changes_nothing_and_sees_what_the_next_update_would_draw():
    looked_at, other = (learned(25, misaligned=True, P=LINE, rounds=9) for _ in range(2))
    seen = next_C(looked_at)[0]
    np.testing.assert_array_equal(next_C(looked_at)[0], seen)
    for learner in (looked_at, other):
        learner.step()
    np.testing.assert_array_equal(looked_at.theta, other.theta)
    np.testing.assert_array_equal(looked_at.log.consensus_messages, other.log.consensus_messages)
    still = learned(25, P=LINE, rounds=9)
    seen, terms = next_C(still)[0], []
    for agent in still.agents:
        agent.draw()
        terms.append(agent.term(still.sigma, still.safeguard))
    np.testing.assert_allclose(seen, still.agree(terms)[0], rtol=1e-12)


def test_a_switch_that_is_taken_back_lets_all_draw_the_same_again():
    learner = learned(30, misaligned=True)
    misalign(learner, False)
    for _ in range(2):
        learner.step()
        for agent in learner.agents[1:]:
            np.testing.assert_array_equal(agent.td, learner.agents[0].td)
    np.testing.assert_array_equal(*next_C(learner))


def test_mean_for_sum_is_the_published_regularised_inverse():
    """(sigma I - mean of h)^-1, by hand."""
    agent = learned(20).agents[1]
    agent.mean = True
    agent.draw()
    K = agent.K.copy()
    agent.term(1e-3, False)
    np.testing.assert_allclose(agent.Kt, np.linalg.inv(1e-3 * np.eye(22) - K / 15), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(agent.Kt, 15 * regularised_inverse(K, 15, 1e-3, False), rtol=1e-6, atol=1e-9)


def test_alone_every_agent_uses_its_own_term():
    learner = learned(20, alone=True)
    for i, agent in enumerate(learner.agents):
        np.testing.assert_allclose(learner.C[i], agent.G.T @ agent.Kt @ agent.G, rtol=1e-9)
    assert np.abs(learner.C[0] - learner.C[1]).max() > 1.0


def test_a_readers_own_step_is_used_and_checked():
    zero = learned(20).theta * 0
    own = partial(FaultyLearner, second_order=lambda G, Kt, C, td: 0 * G[:, 0])
    learner = DistributedQLearning(CENTRAL, LinearNetwork(), np.random.default_rng(1), agent=own)
    np.testing.assert_array_equal(learner.run(20, progress=False).theta - learner.log.theta[0], zero)


# ---- the runs that lecture 12 ships


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("centralised, second order", {}),
        ("centralised, first order", {"order": 1, "step_size": 1e-8}),
        ("misaligned and mean", {"misaligned": True, "mean": True}),
        ("3 rounds", {"P": LINE, "rounds": 3}),
        ("alone, triple step", {"alone": True, "step_size": 3e-4}),
        ("safeguard", {"safeguard": True}),
    ],
)
def test_the_shipped_runs_begin_as_they_do_here(name, options):
    """The first mean of 25 steps; later ones depend on rounding, as every run that learns."""
    with places.data("second_order_12.npz") as file:
        shipped = file[name]
    assert shipped.shape == (20 if name.startswith("centralised") else 10, 2, 80)
    for seed in (1, 5):
        log = learned(25, seed=seed, **options).log
        np.testing.assert_allclose(shipped[seed - 1, :, 0], [np.abs(log.td).mean(), log.cost.mean()], rtol=1e-4)
