"""The pendulum: physics, integrator, delay, noise and kicks, what is measured of runs, bad parameters."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course import closed_loop
from mpcrl_course.envs import pendulum
from mpcrl_course.envs.pendulum import (
    NOMINAL,
    Pendulum,
    PendulumParameters,
    dynamics,
    energy,
    observation,
    stage_cost,
    upright,
    violations,
    wrap,
)

FREE = PendulumParameters(friction=0.0)


def run(x, seconds, dt, u=0.0, p=FREE):
    states = [np.array(x, dtype=float)]
    for _ in range(round(seconds / dt)):
        states.append(dynamics(states[-1], np.array([u]), p, dt))
    return np.array(states)


def test_energy_of_the_free_pendulum_stays_bounded_and_friction_takes_it():
    """Semi-implicit Euler: no drift over 100 s, and half the step halves the ripple."""
    ripple = []
    for dt in (0.02, 0.01):
        e = energy(run([2.0, 0.5], 100.0, dt), FREE)
        first, last = e[: len(e) // 5], e[-len(e) // 5 :]
        assert last.mean() == pytest.approx(first.mean(), rel=2e-3)
        ripple.append(np.ptp(e))
    assert ripple[0] / ripple[1] == pytest.approx(2.0, rel=0.05)
    assert np.ptp(energy(run([2.0, 0.5], 100.0, 0.05), FREE)) < 0.12 * 10.0
    e = energy(run([2.0, 0.5], 60.0, 0.01, p=PendulumParameters(friction=0.1)))
    assert e[-1] < 1e-3 < e[0]


def test_integrator_is_of_first_order():
    fine = run([2.0, 0.5], 1.0, 1e-5)[-1]
    errors = [np.abs(run([2.0, 0.5], 1.0, dt)[-1] - fine).max() for dt in (0.02, 0.01, 0.005)]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.1)


def test_the_torque_holds_what_it_should():
    """m g l / 2 sin q = u: with 2 N m held at asin(0.4) from the upright, and no further."""
    q = np.arcsin(0.4)
    np.testing.assert_allclose(dynamics(np.array([q, 0.0]), np.array([-2.0])), [q, 0.0], atol=1e-12)
    assert dynamics(np.array([q + 0.01, 0.0]), np.array([-2.0]))[1] > 0


def test_small_oscillation_has_its_period():
    """About hanging down: omega = sqrt(3 g / (2 l))."""
    states = run([np.pi - 0.01, 0.0], 10.0, 1e-3)
    crossings = np.flatnonzero(np.diff(np.sign(states[:, 0] - np.pi)) != 0) * 1e-3
    assert 2 * np.diff(crossings).mean() == pytest.approx(2 * np.pi / np.sqrt(15.0), rel=1e-3)


def test_casadi_and_numpy_agree():
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u")
    f, rng = ca.Function("f", [x, u], [dynamics(x, u)]), np.random.default_rng(0)
    for state, torque in zip(rng.normal(size=(10, 2)), rng.normal(size=(10, 1))):
        np.testing.assert_allclose(np.array(f(state, torque)).ravel(), dynamics(state, torque), atol=1e-12)
    batch = dynamics(np.zeros((3, 4, 2)), np.zeros((3, 4, 1)))
    assert batch.shape == (3, 4, 2)


def test_cost_wraps_the_angle():
    assert stage_cost([2 * np.pi + 0.3, 2.0], [1.5]) == pytest.approx(0.09 + 0.4 + 0.00225)
    assert stage_cost([-np.pi, 0.0], [0.0]) == pytest.approx(np.pi**2)
    np.testing.assert_allclose(wrap(np.array([3.5, -3.5, np.pi])), [3.5 - 2 * np.pi, 2 * np.pi - 3.5, -np.pi])


def test_reward_is_minus_the_cost_and_episodes_are_truncated_not_terminated():
    env = Pendulum(steps=3)
    observation, info = env.reset(seed=0)
    np.testing.assert_allclose(observation, [np.cos(env.x[0]), np.sin(env.x[0]), env.x[1]])
    for k in range(3):
        x = env.x
        _, reward, terminated, truncated, info = env.step([0.5])
        assert -reward == info["cost"] == pytest.approx(stage_cost(x, [0.5]))
        assert not terminated and truncated == (k == 2)


def test_torque_is_clipped():
    env = Pendulum()
    env.reset(options={"x": [1.0, 0.0]})
    assert env.step([7.0])[4]["torque"] == 2.0 and env.step([-7.0])[4]["torque"] == -2.0


def test_delay_also_when_changed_on_the_way():
    env = Pendulum(PendulumParameters(delay=2))
    env.reset(options={"x": [1.0, 0.0]})
    assert [env.step([u])[4]["torque"] for u in (1.0, 0.5, 0.2, 0.1)] == [0.0, 0.0, 1.0, 0.5]
    env.change(delay=0)
    assert env.step([0.7])[4]["torque"] == 0.7


def test_noise_is_seeded_and_has_its_size():
    def states(seed, **noise):
        env = Pendulum(PendulumParameters(**noise), steps=None)
        env.reset(seed=seed, options={"x": [0.5, 0.0]})
        return np.array([env.step([0.0])[4]["x"] for _ in range(50)])

    np.testing.assert_array_equal(states(1, process_noise=0.5), states(1, process_noise=0.5))
    assert np.abs(states(1, process_noise=0.5) - states(2, process_noise=0.5)).max() > 1e-3
    np.testing.assert_array_equal(states(1, measurement_noise=0.5), states(2, measurement_noise=0.5))
    env = Pendulum(PendulumParameters(measurement_noise=0.1))
    env.reset(seed=0, options={"x": [0.0, 0.0]})
    seen = np.array([env.observe() for _ in range(4000)])
    assert seen[:, 2].std() == pytest.approx(0.1, rel=0.05) and np.arctan2(seen[:, 1], seen[:, 0]).std() > 0.09


def test_bad_parameters_are_named():
    for name, value in (("mass", 0.0), ("length", -1.0), ("friction", -0.1), ("delay", -1), ("delay", 0.5),
                        ("max_torque", np.nan), ("gravity", np.inf)):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            PendulumParameters(**{name: value})
    assert pendulum.MAX_SPEED > np.sqrt(60.0)  # faster than a fall from the upright


# ---- noise drawn beforehand, and what is measured of runs


def test_noise_is_the_same_for_all_and_kicks_change_the_velocity_by_their_size():
    noise = NOMINAL.draw(1, 2000, 3, kick_probability=0.1, kick=5.0)
    quiet = NOMINAL.draw(1, 2000, 3)
    np.testing.assert_array_equal(noise.torque, quiet.torque)
    np.testing.assert_array_equal(noise.measurement, quiet.measurement)
    assert not quiet.kicks.any() and set(np.unique(noise.kicks)) == {-5.0, 0.0, 5.0}
    assert (noise.kicks != 0.0).mean() == pytest.approx(0.1, abs=0.01) and abs(noise.kicks.mean()) < 0.1
    starts = np.tile([1.0, 0.0], (2000, 1))
    kicked, calm = (closed_loop.run(lambda x: 0.0 * x[:, :1], NOMINAL, starts, n).x for n in (noise, quiet))
    np.testing.assert_allclose(kicked[1, :, 1] - calm[1, :, 1], noise.kicks[0], atol=1e-12)
    np.testing.assert_array_equal(kicked[1, :, 0], calm[1, :, 0])
    for options in ({"kick_probability": 1.1}, {"kick": np.nan}):
        with pytest.raises(ValueError, match="kick"):
            NOMINAL.draw(0, 2, 5, **options)


def test_plants_may_differ_while_the_noise_is_the_same():
    starts, noise = np.array([[1.0, 0.0]]), NOMINAL.draw(2, 1, 1)
    for mass in (0.5, 2.0):
        plants = [PendulumParameters(mass=mass, process_noise=width) for width in (0.3, 0.0)]
        pushed, free = (closed_loop.run(lambda x: np.zeros(1), p, starts, noise).x[1, 0, 1] for p in plants)
        assert pushed - free == pytest.approx(0.05 * 3.0 * 0.3 * noise.torque[0, 0] / mass)


def test_upright_and_violations_by_hand():
    x = np.zeros((41, 4, 2))
    x[:21, 0, 0] = 1.0  # late, but in time
    x[:, 1, 0] = 2 * np.pi + 0.29  # a turn further
    x[30, 2, 0] = 0.31  # once out
    x[:, 3, 0] = np.pi
    np.testing.assert_array_equal(upright(x), [True, True, False, False])
    x[0, 0, 1] = 9.0  # the start does not count
    x[1:5, 1, 1] = -6.5
    x[7, 2, 1] = 6.0  # on the limit
    np.testing.assert_allclose(violations(x, 6.0), [0.0, 0.1, 0.0, 0.0])
    x[3, 3, 1] = np.nan
    for measure in (lambda: violations(x, 6.0), lambda: upright(x), lambda: upright(x[0])):
        with pytest.raises(ValueError, match="finite states of shape"):
            measure()


def test_what_learners_see_of_a_state_is_what_the_environment_shows():
    env, x = Pendulum(), np.array([2.5, -1.0])
    shown, _ = env.reset(options={"x": x})
    np.testing.assert_array_equal(observation(x), shown)
    np.testing.assert_array_equal(observation([[x, x]]), [[shown, shown]])
    with pytest.raises(ValueError, match="x has shape"):
        observation(np.zeros((4, 3)))
