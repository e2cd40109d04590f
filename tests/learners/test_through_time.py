"""Back-propagation through the roll-out: against differences of J with common noise, the window, and five seeds."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import LinearPlant, linear
from mpcrl_course.learners.through_time import ThroughTime, backward_sweep
from mpcrl_course.policies import Receding
from mpcrl_course.problems import linear_mpc

MPC10, PLANT = linear_mpc(), linear.LinearParameters()
NOISE = PLANT.draw(5, 40, 100)


def cost(theta, noise=NOISE, start=linear.START):
    n = noise.e.shape[1]
    return float(run(Receding(MPC10, theta), PLANT, np.tile(start, (n, 1)), noise).cost.sum(axis=0).mean())


def test_slopes_of_the_plant_are_differences():
    x = np.array([[0.3, 0.2], [-0.2, 0.4], [0.5, -1.3], [1.2, 1.4]])
    u, h = np.array([[0.5], [-0.3], [0.1], [0.9]]), 1e-6
    A, B, L_x, L_u = linear.slopes(x, u)
    nothing = linear.Noise(np.zeros(4))
    for i in range(2):
        e = h * np.eye(2)[i]
        one, other = PLANT.step(x + e, u, nothing), PLANT.step(x - e, u, nothing)
        np.testing.assert_allclose(A[:, :, i], (one[0] - other[0]) / (2 * h), atol=1e-8)
        np.testing.assert_allclose(L_x[:, i], (one[1] - other[1]) / (2 * h), atol=1e-6)
    one, other = PLANT.step(x, u + h, nothing), PLANT.step(x, u - h, nothing)
    np.testing.assert_allclose(B[:, :, 0], (one[0] - other[0]) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(L_u[:, 0], (one[1] - other[1]) / (2 * h), atol=1e-8)


def rolled(theta, length, seed, window=None, start=linear.START):
    env = LinearPlant(steps=length, start=start)
    learner = ThroughTime(MPC10, env, np.random.default_rng(seed), linear.slopes, theta, length=length, step_size=0.0,
                          window=window)  # fmt: skip
    learner.run(length, progress=False)
    return learner, linear.Noise(np.random.default_rng(seed).uniform(-0.1, 0.0, (length, 1)))


@pytest.mark.parametrize("length, seed", [(3, 0), (12, 1), (12, 2), (25, 7)])
def test_without_a_window_it_is_the_slope_of_the_cost(length, seed):
    """Central differences of J, the noise the same: of a few steps, and of many around a good theta."""
    theta = MPC10.parameters.pack(A=linear.A, B=linear.B, b=[-0.05, 0.0], x_lb=[0.06, 0.0])
    learner, noise = rolled(theta, length, seed)
    g, h = learner.gradient(), 1e-6
    assert learner.log.cost.sum() == pytest.approx(cost(theta, noise), rel=1e-9)  # the same roll-out
    numeric = [(cost(theta + e, noise) - cost(theta - e, noise)) / (2.0 * h) for e in h * np.eye(16)]
    np.testing.assert_allclose(g, numeric, rtol=1e-4, atol=1e-4 * np.abs(numeric).max())
    assert np.abs(g).max() > 1e-3


def test_a_window_is_a_sum_of_sweeps_that_know_nothing_of_each_other():
    rng, K, n, m, p = np.random.default_rng(0), 11, 3, 2, 4
    parts = [rng.normal(size=shape) for shape in ((K, n, n), (K, n, m), (K, n), (K, m), (K, m, p), (K, m, n))]
    pieces = [backward_sweep(*(part[i : i + 4] for part in parts)) for i in (0, 4, 8)]
    np.testing.assert_allclose(backward_sweep(*parts, window=4), sum(pieces), rtol=1e-12)
    alone = sum(parts[4][k].T @ parts[3][k] for k in range(K))
    np.testing.assert_allclose(backward_sweep(*parts, window=1), alone, rtol=1e-12)  # nothing of the future
    np.testing.assert_allclose(backward_sweep(*parts, gamma=0.0), alone, rtol=1e-12)
    discounted = [parts[0] * 0.9, parts[1] * 0.9, *parts[2:]]
    np.testing.assert_allclose(backward_sweep(*parts, gamma=0.9), backward_sweep(*discounted), rtol=1e-12)


def test_through_all_steps_the_gradient_explodes():
    """At the first theta: on an active bound A + B dpi/ds has an eigenvalue of -2.6."""
    learner, _ = rolled(None, 100, 0)
    norms = [np.linalg.norm(learner.gradient(window)) for window in (1, 5, 20, None)]
    assert norms[0] < norms[1] < norms[2] < norms[3] and norms[3] > 1e6 > 1e2 * norms[1]
    batch = learner.rollout.all()
    growth = [np.abs(np.linalg.eigvals(linear.A + linear.B[:, None] @ pi_s)).max() for pi_s in batch.pi_s]
    unstable = np.mean(np.array(growth) > 1.0)
    assert 0.1 < unstable < 0.6 and max(growth) == pytest.approx(2.6, abs=0.05)


def test_five_seeds_on_the_linear_plant():
    """Windowed: a median below 4 (of 94 at first) in 2000 steps; through all steps it does not learn."""
    after, whole = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        learner = ThroughTime(MPC10, LinearPlant(steps=100), rng, linear.slopes).run(2000, progress=False)
        after.append(cost(learner.theta))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        learner = ThroughTime(MPC10, LinearPlant(steps=100), rng, linear.slopes, window=None).run(1000, progress=False)
        whole.append(learner.log.cost[-300:].sum() / 3.0)
    assert np.median(after) <= 4.0 and max(after) < 6.0 and not min(whole) < 10.0
