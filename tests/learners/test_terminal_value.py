"""The terminal value by TD: a step by hand, its features as the MPC has them, and one stage against ten."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import LinearPlant, linear
from mpcrl_course.learners.terminal_value import TerminalValue, td_step
from mpcrl_course.policies import Receding
from mpcrl_course.problems.linear import convex, linear_mpc, terminal_mpc, value_features

PLANT, NOISE = linear.NOMINAL, linear.NOMINAL.draw(77, 20, 300)


def cost(mpc, theta):
    """Mean stage cost of twenty runs."""
    return float(run(Receding(mpc, theta), PLANT, np.tile(linear.START, (20, 1)), NOISE).cost.mean())


def test_a_step_by_hand():
    theta, delta = td_step(np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([0.5, 1.0]), 3.0, 0.9, 0.2)
    assert delta == pytest.approx(3.0 + 0.9 * 2.5 - 5.0)
    np.testing.assert_allclose(theta, np.array([1.0, 2.0]) + 0.2 * delta * np.array([1.0, 2.0]) / 5.1)


def test_the_value_of_the_mpc_is_that_of_its_features():
    """A given input and one stage: Q(s, a) = L + gamma theta'phi(x+), with hinges also where they cost."""
    rng, mpc = np.random.default_rng(0), terminal_mpc()
    for _ in range(30):
        theta = convex(rng.normal(size=9) * 3.0)
        s, a = rng.uniform([-0.3, -0.5], [0.6, 0.6]), rng.uniform(-1.0, 1.0, 1)
        ahead = linear.dynamics(s, a) + [-0.05, 0.0]
        expected = 0.5 * s @ s + 0.25 * a @ a + 0.9 * value_features(ahead[None])[0] @ theta
        assert mpc.Q(theta, s, a).value == pytest.approx(expected, abs=1e-8)
    by_hand = [[0.04, -0.12, 0.09, 0.2, 0.25, 0.32, 0.125, 0.225, 1.0]]
    np.testing.assert_allclose(value_features([[-0.2, 0.3]]), by_hand, atol=1e-12)


def test_projection():
    theta = np.array([1.0, 2.0, 1.0, -1.0, 0.5, -0.2, 0.0, 1.0, -7.0])  # eigenvalues 3 and -1
    found = convex(theta)
    np.testing.assert_allclose(found, [1.5, 1.5, 1.5, 0.0, 0.5, 0.0, 0.0, 1.0, -7.0])
    np.testing.assert_allclose(convex(found), found)


def test_one_stage_with_a_learned_value_is_worth_three():
    """Five seeds of 4000 steps; by horizon, with a fixed terminal cost and back-off: .053, .035, .030."""
    by_horizon = []
    for horizon in (1, 2, 3):
        mpc = linear_mpc(horizon)
        theta = mpc.parameters.pack(A=linear.A, B=linear.B, b=[-0.05, 0.0], x_lb=[0.05, 0.0])
        by_horizon.append(cost(mpc, theta))
    np.testing.assert_allclose(by_horizon, [0.053, 0.035, 0.030], atol=0.001)
    mpc = terminal_mpc()
    assert cost(mpc, mpc.parameters.initial()) > 0.4  # as the fixed one without back-off
    learned = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        learner = TerminalValue(mpc, LinearPlant(steps=50), rng, value_features, convex).run(4000, progress=False)
        learned.append(cost(mpc, learner.theta))
    assert np.median(learned) <= 0.034 and max(learned) <= by_horizon[1] and min(learned) > 0.027
