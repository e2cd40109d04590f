"""Only the angle is measured: the observer's gain, and both ways to a velocity."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import DT, NOMINAL, PendulumParameters, dynamics, wrap
from mpcrl_course.policies.observer import AngleOnly, kalman_gain


def test_the_gain_is_that_of_an_independent_riccati_solver():
    model = PendulumParameters(mass=1.3, friction=0.1)
    rate = 1.5 * model.gravity / model.length * DT
    damping = 1.0 - DT * 3.0 * model.friction / (model.mass * model.length**2)
    A = np.array([[1.0 + DT * rate, DT * damping], [rate, damping]])  # by hand, semi-implicit Euler
    push = DT * 3.0 * 0.4 / 1.3 * np.array([DT, 1.0])
    P = solve_discrete_are(A.T, np.array([[1.0], [0.0]]), np.outer(push, push), np.array([[0.03**2]]))
    np.testing.assert_allclose(kalman_gain(model, 0.4, 0.03), P[:, 0] / (P[0, 0] + 0.03**2), rtol=1e-8)
    for bad in ((0.0, 0.1), (0.1, np.nan)):
        with pytest.raises(ValueError, match="noise must be a positive number"):
            kalman_gain(model, *bad)


def states_seen(model, noise, start=(0.4, 1.5), steps=120, measurement=0.0):
    """True states (steps, 2) of one pendulum and what the controller behind `AngleOnly` was given."""
    seen = []

    def controller(x):
        seen.append(x[0].copy())
        return -(12.0 * np.sin(x[:, 0]) + 3.0 * x[:, 1])

    plant = PendulumParameters(max_torque=6.0, measurement_noise=measurement)
    watcher = AngleOnly(controller, model)
    found = run(watcher, plant, np.array([start]), noise)
    return found.x[:steps, 0], np.array(seen), watcher


def test_with_the_right_model_and_no_noise_the_estimate_becomes_exact():
    true, seen, _ = states_seen(PendulumParameters(max_torque=6.0), NOMINAL.draw(0, 1, 120))
    assert abs(seen[0, 1] - true[0, 1]) == pytest.approx(1.5)  # the first velocity is taken for zero
    np.testing.assert_allclose(seen[60:], true[60:], atol=1e-6)


def test_differences_are_the_velocity_of_semi_implicit_euler_without_noise():
    true, seen, _ = states_seen(None, NOMINAL.draw(0, 1, 120))
    np.testing.assert_allclose(seen[1:], np.stack([true[1:, 0], np.diff(true[:, 0]) / DT], axis=1), atol=1e-12)
    np.testing.assert_allclose(seen[1:, 1], true[1:, 1], atol=1e-9)  # q+ = q + dt v+


def test_the_observer_filters_what_differences_amplify():
    noise = NOMINAL.draw(3, 1, 120)
    errors = {}
    for name, model in (("observer", PendulumParameters(max_torque=6.0)), ("differences", None)):
        true, seen, _ = states_seen(model, noise, measurement=0.02)
        errors[name] = np.std((seen - true)[40:, 1])
    # two measurements of 0.02 rad, 0.05 s apart: sqrt(2) 0.02 / 0.05 = 0.57 rad/s
    assert errors["differences"] == pytest.approx(np.sqrt(2) * 0.02 / DT, rel=0.25)
    assert errors["observer"] < 0.5 * errors["differences"]


def test_angles_may_jump_by_a_turn_and_reset_forgets():
    model = NOMINAL
    jumps, straight = (AngleOnly(lambda x: 0.0 * x[:, 0], m) for m in (model, model))
    x = np.array([[3.0, 2.0]])
    for _ in range(20):
        wrapped = np.array([[wrap(x[0, 0]), 0.0]])
        jumps(wrapped)
        straight(x)
        np.testing.assert_allclose(wrap(jumps.x[:, 0] - straight.x[:, 0]), 0.0, atol=1e-9)
        np.testing.assert_allclose(jumps.x[:, 1], straight.x[:, 1], atol=1e-9)
        x = dynamics(x, np.zeros((1, 1)), model)
    jumps.reset()
    assert jumps.x is None
    jumps(np.zeros((4, 2)))
    assert jumps.x.shape == (4, 2)
