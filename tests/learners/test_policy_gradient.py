"""Policy gradient by LSTD: each part by hand, against differences of J, and five seeds on the linear plant."""

from collections import namedtuple

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import LinearPlant, linear
from mpcrl_course.learners.policy_gradient import (
    PolicyGradient,
    advantage_weights,
    compatible,
    lstd_gradient,
    monomials,
    slopes_of_policy,
    value_weights,
)
from mpcrl_course.policies import Receding
from mpcrl_course.problems import linear_mpc

MPC10, PLANT = linear_mpc(), linear.LinearParameters()
NOISE = PLANT.draw(5, 40, 100)  # of the roll-outs by which all are judged


def cost(theta):
    return float(run(Receding(MPC10, theta), PLANT, np.tile(linear.START, (40, 1)), NOISE).cost.sum(axis=0).mean())


def test_monomials():
    expected = [[1.0, 2.0, 3.0, 5.0, 4.0, 6.0, 10.0, 9.0, 15.0, 25.0]]
    np.testing.assert_array_equal(monomials([[2.0, 3.0, 5.0]]), expected)


def test_the_value_of_a_linear_plant_in_closed_form():
    """x+ = 0.8 x, L = x^2, gamma = 0.9: V = x^2 / (1 - 0.9 * 0.64); LSTD finds it, and TD errors vanish."""
    x = np.random.default_rng(0).normal(size=(60, 1))
    phi, phi_next = monomials(x), monomials(0.8 * x)
    v = value_weights(phi, phi_next, x[:, 0] ** 2, 0.9)
    np.testing.assert_allclose(v, [0.0, 0.0, 1.0 / (1.0 - 0.9 * 0.64)], atol=1e-6)
    ended = value_weights(phi, 0.0 * phi_next, x[:, 0] ** 2, 0.9)
    np.testing.assert_allclose(ended, [0.0, 0.0, 1.0], atol=1e-6)


def test_compatible_features_and_their_weights_by_hand():
    jacobian = np.array([[[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]])
    np.testing.assert_allclose(compatible(jacobian, np.array([[0.5, 2.0]])), [[0.5, 3.0, -2.0]])
    psi = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    td = psi @ [3.0, -1.0]
    np.testing.assert_allclose(advantage_weights(psi, td), [3.0, -1.0], atol=1e-5)


def linear_feedback(theta, sigma, n, seed=0):
    """One step from x ~ N(0, 1), a = theta_1 x + theta_2 + noise, L = x^2 + (a - 2 x)^2: dJ/dtheta is known."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    jacobian = np.stack([x, np.ones_like(x)], axis=2)
    pi = x * theta[0] + theta[1]
    a = pi + sigma * rng.normal(size=(n, 1))
    L = x[:, 0] ** 2 + ((a - 2.0 * x) ** 2)[:, 0]
    Batch = namedtuple("Batch", "s a pi cost s_next terminated jacobian")
    gradient = np.mean(2.0 * (pi - 2.0 * x) * jacobian[:, 0], axis=0)
    return Batch(x, a, pi, L, x, np.zeros(n), jacobian), gradient


def test_the_gradient_is_that_of_the_mean_cost():
    """Where the exact policy gradient is known: the estimate comes to it, the natural one is its Fisher inverse."""
    batch, gradient = linear_feedback(np.array([0.5, 0.3]), 0.1, 400_000)
    np.testing.assert_allclose(lstd_gradient(batch, 0.0), gradient, rtol=0.02, atol=0.03)
    fisher = np.mean(np.einsum("kmp,kmq->kpq", batch.jacobian, batch.jacobian), axis=0)
    natural = lstd_gradient(batch, 0.0, natural=True)
    np.testing.assert_allclose(natural, np.linalg.solve(fisher, gradient), rtol=0.02, atol=0.03)
    # without the action's difference the features would say nothing of actions: the estimate is far off
    wrong = batch._replace(a=batch.pi + 1.0)
    assert np.abs(lstd_gradient(wrong, 0.0) - gradient).max() > 0.5


def test_slopes_at_a_kink_are_zero_and_said_to_be():
    theta = MPC10.parameters.initial()
    of_theta, of_s, exist = slopes_of_policy(MPC10.policy(theta, [0.3, 0.1]))
    assert exist and of_theta.shape == (1, 16) and of_s.shape == (1, 2)
    h, s = 1e-6, np.array([0.3, 0.1])
    for i, e in enumerate(h * np.eye(2)):
        slope = (MPC10.policy(theta, s + e).u0 - MPC10.policy(theta, s - e).u0) / (2.0 * h)
        assert of_s[0, i] == pytest.approx(slope[0], abs=1e-5)


def test_an_update_is_made_after_each_roll_out_and_from_it_alone():
    learner = PolicyGradient(MPC10, LinearPlant(steps=20), np.random.default_rng(0), length=20, step_size=1e-3)
    learner.run(59, progress=False)
    moved = np.flatnonzero((np.diff(learner.log.theta, axis=0) != 0.0).any(axis=1))
    assert moved.tolist() == [19, 39] and learner.log.ended.nonzero()[0].tolist() == [19, 39]
    batch = learner.rollout.all()
    learner.run(60, progress=False)
    batch = learner.rollout.all()
    np.testing.assert_array_equal(batch.s, learner.log.x[40:60])
    g = lstd_gradient(batch, 0.9)
    np.testing.assert_allclose(learner.theta, learner.log.theta[40] - 1e-3 * g, rtol=1e-12)
    assert learner.updates[-1] == pytest.approx(np.linalg.norm(g))
    short = PolicyGradient(
        MPC10, LinearPlant(steps=20), np.random.default_rng(0), length=20, largest=0.01, step_size=1.0
    )
    short.run(20, progress=False)
    assert np.linalg.norm(short.theta - short.log.theta[0]) == pytest.approx(0.01)


def test_five_seeds_on_the_linear_plant():
    """From 94 to a median below 4 in 5000 steps."""
    before, after = cost(MPC10.parameters.initial()), []
    for seed in range(5):
        learner = PolicyGradient(MPC10, LinearPlant(steps=100), np.random.default_rng(seed)).run(5000, progress=False)
        assert not learner.log.stopped
        after.append(cost(learner.theta))
    assert before > 85.0 and np.median(after) <= 4.0 and max(after) < 6.0
