"""Random masses: the estimate against least squares and on the plant, the environment."""

import numpy as np
import pytest

from mpcrl_course.envs.pendulum import Pendulum, PendulumParameters, dynamics
from mpcrl_course.envs.random_pendulum import MASSES, WINDOW, MassEstimate, RandomMass


def transitions(masses, steps, seed=0, noise=0.0, **parameters):
    """Return transitions (x, u, v_next) of pendulums of these masses under random torques."""
    rng = np.random.default_rng(seed)
    x, found = rng.uniform([-np.pi, -4], [np.pi, 4], (len(masses), 2)), []
    for _ in range(steps):
        u = rng.uniform(-2.0, 2.0, len(masses))
        push = u + noise * rng.standard_normal(len(masses))
        rows = [dynamics(x[i : i + 1], push[i : i + 1, None], PendulumParameters(mass=m, **parameters))
                for i, m in enumerate(masses)]  # fmt: skip
        x_next = np.vstack(rows)
        found.append((x, u, x_next[:, 1]))
        x = x_next
    return found


# ---- the estimate


@pytest.mark.parametrize("p", [{}, {"length": 0.8, "gravity": 9.81, "friction": 0.3}], ids=["nominal", "other"])
def test_without_noise_the_mass_is_found(p):
    masses = np.array([0.4, 0.7, 1.0, 1.3, 2.5])
    estimate = MassEstimate(5, PendulumParameters(**p), prior=1e-9)
    for transition in transitions(masses, 3, **p):
        estimate.see(*transition)
    np.testing.assert_allclose(estimate(), masses, rtol=1e-6)


def test_it_is_regularised_least_squares_over_the_last_transitions():
    """The ridge regression (v+ - v)/dt - 15 sin q = a / m towards 1/m = 1, by its normal equations."""
    masses = np.array([0.6, 1.6])
    found, estimate = transitions(masses, 35, noise=0.3), MassEstimate(2, prior=7.0)
    for transition in found:
        estimate.see(*transition)
    for i in range(2):
        x, u, v_next = (np.array([transition[part][i] for transition in found[-WINDOW:]]) for part in range(3))
        a, y = 3.0 * (u - 0.05 * x[:, 1]), (v_next - x[:, 1]) / 0.05 - 15.0 * np.sin(x[:, 0])
        A, b = np.append(a, np.sqrt(7.0)), np.append(y, np.sqrt(7.0))
        assert estimate()[i] == pytest.approx(1.0 / np.linalg.lstsq(A[:, None], b, rcond=None)[0][0], rel=1e-9)


def test_it_starts_from_one_kilogram_and_stays_within_its_range():
    estimate = MassEstimate(3)
    np.testing.assert_array_equal(estimate(), np.ones(3))
    for transition in transitions(np.array([0.05, 1.0, 50.0]), 20):
        estimate.see(*transition)
    np.testing.assert_allclose(estimate(), [0.3, 1.0, 3.0], rtol=1e-9)
    for prior in (0.0, np.nan):
        with pytest.raises(ValueError, match="prior"):
            MassEstimate(1, prior=prior)


# ---- the environment


def test_masses_are_drawn_at_each_reset_and_seeded():
    env = RandomMass(steps=5)
    env.reset(seed=4)
    drawn = []
    for _ in range(500):
        env.reset()
        drawn.append(env.parameters.mass)
    assert MASSES[0] <= min(drawn) < 0.71 and 1.29 < max(drawn) <= MASSES[1]
    assert np.mean(drawn) == pytest.approx(1.0, abs=0.03)
    for _ in range(2):
        again = RandomMass()
        again.reset(seed=4)
        again.reset()
        assert again.parameters.mass == drawn[0]
    for masses in ((0.0, 1.0), (1.3, 0.7), (0.7, np.inf)):
        with pytest.raises(ValueError, match="masses"):
            RandomMass(masses)


def test_it_moves_as_a_pendulum_of_that_mass():
    env = RandomMass()
    env.reset(seed=1, options={"x": [2.0, 0.3]})
    twin = Pendulum(env.parameters)
    twin.reset(options={"x": [2.0, 0.3]})
    assert env.parameters.mass != 1.0
    for u in (2.0, -1.0, 5.0):
        for one, other in zip(env.step([u])[:4], twin.step([u])[:4]):
            np.testing.assert_allclose(one, other)
    with pytest.raises(ValueError, match="not finite"):
        env.step([np.nan])


def test_what_is_identified_is_observed_at_once_and_forgotten_at_a_reset():
    env = RandomMass(masses=(1.8, 1.8), identify=True)
    s, _ = env.reset(seed=0)
    assert s.shape == (4,) and s[3] == 1.0
    rng, by_hand = np.random.default_rng(0), MassEstimate(1)
    for _ in range(30):
        x, u = env.x.copy(), rng.uniform(-3.0, 3.0, 1)
        s = env.step(u)[0]
        by_hand.see(x[None], np.clip(u, -2.0, 2.0), env.x[1:])
        assert s[3] == pytest.approx(by_hand()[0], rel=1e-12)
    assert s[3] == pytest.approx(1.8, abs=0.05)  # the prior still pulls a little
    assert env.reset()[0][3] == 1.0
