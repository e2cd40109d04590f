"""The cross-entropy method: a generation by hand, a known minimum, the closed loop of an MPC."""

import numpy as np
import pytest

from mpcrl_course.learners.cross_entropy import CrossEntropy
from mpcrl_course.policies.comparison import CommonGuess, objective
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc


def bowl(z, rng):
    return ((z - [1.0, -2.0]) ** 2 * [1.0, 9.0]).sum(axis=1)


def test_a_generation_by_hand():
    seen = []

    def cost(z, rng):
        seen.append(z)
        return bowl(z, rng) + rng.random()  # as random as a start: the same for all

    learner = CrossEntropy(cost, [0.5, 0.0], [1.0, 2.0], np.random.default_rng(3), population=7, elite=3)
    learner.step()
    z = np.array([0.5, 0.0]) + np.array([1.0, 2.0]) * np.random.default_rng(3).standard_normal((7, 2))
    z[0] = 0.5, 0.0
    np.testing.assert_array_equal(seen[0], z)
    best = z[np.argsort(bowl(z, None))[:3]]
    np.testing.assert_allclose(learner.mu, best.mean(axis=0))
    spread = np.sqrt(np.mean((best - [0.5, 0.0]) ** 2, axis=0))
    np.testing.assert_allclose(learner.sigma, 0.7 * spread + 0.3 * np.array([1.0, 2.0]))
    log = learner.log
    np.testing.assert_array_equal(log.mu, [[0.5, 0.0], learner.mu])
    assert log.of_mean[0] - log.least[0] == pytest.approx(bowl(z[:1], None)[0] - bowl(z, None).min())


def test_it_finds_a_known_minimum():
    learner = CrossEntropy(bowl, [0.0, 0.0], [1.0, 1.0], np.random.default_rng(0), population=20, elite=5)
    learner.run(40, progress=False)
    np.testing.assert_allclose(learner.mu, [1.0, -2.0], atol=1e-3)
    assert learner.log.least[-1] < 1e-5 < learner.log.least[0]


def test_it_sees_no_gradient_and_no_draw_of_another_candidate():
    """A staircase has none, and costs that are drawn once a generation change no order."""

    def staircase(z, rng):
        return np.floor(4.0 * np.abs(z - 1.0)).sum(axis=1) + 100.0 * rng.random()

    learner = CrossEntropy(staircase, [-3.0], [2.0], np.random.default_rng(1), population=12).run(15, progress=False)
    assert abs(learner.mu[0] - 1.0) < 0.3


def test_it_tunes_the_closed_loop_of_an_mpc():
    """One weight of the cart-pole's MPC, by trial: better than where it began, on what it was trained on."""
    mpc, starts = cartpole_mpc(horizon=10), np.array([[0.5, 0.3, 0.0, 0.0]])
    guess = CommonGuess(mpc)

    def cost(z, rng):
        thetas = [mpc.parameters.pack(target=float(each)) for (each,) in z]
        return [objective(Receding(mpc, theta, first=guess), starts, steps=30) for theta in thetas]

    learner = CrossEntropy(cost, [0.8], [0.5], np.random.default_rng(0), population=6, elite=2).run(3, progress=False)
    assert learner.log.least[-1] < learner.log.of_mean[0] - 5.0 and abs(learner.mu[0]) < 0.8


def test_costs_that_are_none_are_named():
    for cost in (lambda z, rng: None, lambda z, rng: np.zeros(3), lambda z, rng: np.full(10, np.nan)):
        with pytest.raises(ValueError, match="your cost function"):
            CrossEntropy(cost, [0.0], [1.0], np.random.default_rng(0)).step()
    for mu, sigma in (([0.0], [1.0, 1.0]), ([0.0], [-1.0]), ([], [])):
        with pytest.raises(ValueError, match="mu and sigma"):
            CrossEntropy(bowl, mu, sigma, np.random.default_rng(0))
    with pytest.raises(ValueError, match="elite is a part"):
        CrossEntropy(bowl, [0.0], [1.0], np.random.default_rng(0), population=3, elite=4)
