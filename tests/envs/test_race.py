"""The racing car: the track closes, steps against an integrator on the ground, and where model and plant are one."""

import casadi as ca
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, DT, LENGTH, LOWER, MAX_SPEED, UPPER, Race, RaceParameters


def on_the_ground(s_end):
    """Follow the curvature from (0, 0) towards +X: X, Y and heading, by another integrator."""
    right = lambda s, z: [np.cos(z[2]), np.sin(z[2]), race.curvature(s)]  # noqa: E731
    return solve_ivp(right, (0.0, s_end), np.zeros(3), rtol=1e-10, atol=1e-10).y[:, -1]


def draws(n, seed=0):
    """Return states and inputs as columns; many ask for more than the grip, or are slow."""
    rng = np.random.default_rng(seed)
    x = rng.uniform([0.0, -2.5, -0.6, 0.0], [LENGTH, 2.5, 0.6, MAX_SPEED], (n, 4))
    x[::10, 3] = rng.uniform(0.0, 0.3, len(x[::10]))
    return x.T, rng.uniform(LOWER, UPPER, (n, 2)).T


def kept(x, u, p=CAR):
    """Return where the model's rows hold."""
    a, lateral = race.acceleration(x.T, u.T, p.gain).T
    v = x[3] + DT * a
    return (np.hypot(a, lateral) <= p.grip) & (v >= 0.0) & (v <= MAX_SPEED)


def test_the_track_closes_and_is_wide_enough_for_its_bends():
    X, Y, heading = on_the_ground(LENGTH)
    assert np.hypot(X, Y) < 5.5e-5 and heading == pytest.approx(2.0 * np.pi, abs=1e-8)
    s = np.linspace(0.0, LENGTH, 4000, endpoint=False)
    assert 9.9 < 1.0 / np.abs(race.curvature(s)).max() < 10.1
    np.testing.assert_allclose(race.curvature(s), race.curvature(s + LENGTH), atol=1e-13)
    ground = np.stack(race.centre_line(s[::10])[:2])
    apart = np.linalg.norm(ground[:, :, None] - ground[:, None], axis=0)
    along = np.abs(s[::10, None] - s[::10])
    assert apart[np.minimum(along, LENGTH - along) > 35.0].min() > 2.0 * race.CRASH


def test_the_centre_line_is_the_integral_of_its_curvature():
    for s in (17.0, 61.3, 148.9):
        X, Y, heading = on_the_ground(s)
        np.testing.assert_allclose(np.stack(race.centre_line(s)), [X, Y, heading], atol=1e-6)
    np.testing.assert_allclose(race.place([[0.0, 1.5, 0.2, 3.0]]), [[0.0, 1.5, 0.2]], atol=1e-12)


def test_numpy_and_casadi_are_one_model():
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u", 2)
    p, (states, inputs) = RaceParameters(grip=6.0, gain=0.9), draws(200)
    for function in (race.dynamics, race.driven):
        f = ca.Function("f", [x, u], [function(x, u, p)])
        np.testing.assert_allclose(f(states, inputs).full(), function(states, inputs, p), rtol=1e-12, atol=1e-12)
    kappa = ca.Function("kappa", [x], [race.curvature(x[0])])
    np.testing.assert_allclose(kappa(states).full()[0], race.curvature(states[0]), atol=1e-14)


@pytest.mark.parametrize("p", [CAR, RaceParameters(grip=6.8), RaceParameters(gain=0.85)], ids=["", "grip", "gain"])
def test_the_model_is_the_plant_where_its_rows_hold_and_only_there(p):
    x, u = draws(3000)
    inside, same = kept(x, u, p), np.abs(race.dynamics(x, u, p) - race.driven(x, u, p)).max(axis=0) < 1e-12
    assert 0.15 < inside.mean() < 0.85
    np.testing.assert_array_equal(inside, same)


def test_a_step_is_the_drive_of_a_bicycle_on_the_ground():
    """X' = v cos, Y' = v sin, heading' = v c, integrated there, and not along the track."""
    x, u = np.array([63.0, -0.8, 0.12, 9.0]), np.array([1.5, 0.08])
    c = np.tan(u[1]) / race.BASE
    right = lambda t, z: [z[3] * np.cos(z[2]), z[3] * np.sin(z[2]), z[3] * c, u[0]]  # noqa: E731
    for _ in range(5):
        expected = solve_ivp(right, (0.0, DT), [*race.place(x), x[3]], rtol=1e-11, atol=1e-11).y[:, -1]
        x = race.dynamics(x, u)
        np.testing.assert_allclose([*race.place(x), x[3]], expected, atol=2e-6)


def test_an_acceleration_beyond_the_grip_keeps_its_direction():
    p, x = RaceParameters(grip=6.5), np.array([10.0, 0.2, 0.0, 10.0])
    u = np.array([-4.0, 0.2])
    asked = np.array([-4.0, 100.0 * np.tan(0.2) / race.BASE])
    held = 6.5 * asked / np.hypot(*asked)
    by_hand = race.advance(x, held[0], held[1] / 100.0)
    np.testing.assert_allclose(race.driven(x, u, p), by_hand, rtol=1e-13)


@pytest.mark.parametrize(("v", "a", "after"), [(0.1, -6.0, 0.0), (11.95, 4.0, 12.0), (0.0, 0.0, 0.0), (0.0, 2.0, 0.1)])
def test_the_car_neither_rolls_back_nor_exceeds_its_speed(v, a, after):
    ahead = race.driven(np.array([5.0, 0.1, 0.0, v]), np.array([a, 0.0]))
    assert ahead[3] == pytest.approx(after, abs=1e-12)
    if v == a == 0.0:
        np.testing.assert_array_equal(ahead, [5.0, 0.1, 0.0, 0.0])


def test_costs_and_the_crash_by_hand():
    env = Race(steps=None)
    env.reset(options={"x": [20.0, 2.45, 0.4, 10.0]})
    before = env.x.copy()
    _, reward, terminated, _, info = env.step([0.0, 0.0])
    beyond = abs(env.x[1]) - 2.5
    assert 0.0 < beyond < 0.5 and not terminated
    assert -reward == pytest.approx(0.6 - (env.x[0] - before[0]) + 10.0 * beyond) == info["cost"]
    for _ in range(20):
        _, reward, terminated, _, _ = env.step([0.0, 0.0])
        if terminated:
            break
    assert terminated and abs(env.x[1]) > 4.0 and -reward > 50.0


def test_what_is_seen_is_the_state_and_the_curvature_ahead():
    x = np.array([190.0, -1.0, 0.25, 9.0])
    expected = [-0.4, 0.5, 0.5, *(10.0 * race.curvature(190.0 + d) for d in (0.0, 3.0, 6.0, 10.0, 15.0, 20.0))]
    np.testing.assert_allclose(race.seen(x), expected, rtol=1e-12)
    seen, info = Race().reset(seed=0, options={"x": x})
    np.testing.assert_allclose(seen, expected, rtol=1e-12)
    np.testing.assert_array_equal(info["x"], x)


def test_bumps_turn_the_wheels():
    plant, x, u = RaceParameters(noise=0.02), np.array([[3.0, 0.0, 0.0, 6.0]]), np.array([[1.0, 0.1]])
    bump = plant.draw(0, 1, 1).steering
    ahead = plant.step(x, u, race.Noise(bump[0]))[0][0]
    np.testing.assert_allclose(ahead, race.driven(x[0], [1.0, 0.1 + 0.02 * bump[0, 0]]), rtol=1e-13)


def test_steering_follows_a_path():
    np.testing.assert_allclose(race.path_curvature(race.steering(0.07, 0.8), 0.8), 0.07, rtol=1e-13)
    assert race.steering(1.0) == UPPER[1] and race.steering(-1.0) == LOWER[1]


def test_lap_times_by_hand():
    s = 30.0 + 8.0 * DT * np.arange(1200)  # 8 m/s: 25 s a lap
    np.testing.assert_allclose(race.lap_times(s), [25.0, 25.0], rtol=1e-12)
    assert len(race.lap_times(s[:400])) == 0
