"""The cart-pole against its Lagrangian, its energy and the order of its integrator; noise; faults."""

from dataclasses import replace

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.envs import cartpole
from mpcrl_course.envs.cartpole import CartPole, CartPoleParameters, dynamics, energy, random_start, stage_cost

P = CartPoleParameters(cart_mass=1.3, mass=0.3, length=0.7, friction=0.4)
X = np.array([0.3, 2.1, -0.7, 1.9])


def test_the_equations_of_motion_are_those_of_the_lagrangian():
    """d/dt dL/dv - dL/dx = generalised forces, from the kinetic and potential energy of the two points."""
    x, dx, ddx = (ca.SX.sym(n, 2) for n in ("x", "dx", "ddx"))
    p, q = x[0], x[1]
    tip = ca.vertcat(p - P.length * ca.sin(q), P.length * ca.cos(q))
    speed = ca.jtimes(tip, x, dx)
    kinetic = 0.5 * P.cart_mass * dx[0] ** 2 + 0.5 * P.mass * ca.sumsqr(speed)
    momentum = ca.gradient(kinetic, dx)
    force = ca.vertcat(3.0 - P.friction * dx[0] - 0.8 * ca.tanh(dx[0] / 0.1), 0.0)
    L = kinetic - P.mass * P.gravity * tip[1]
    residual = ca.jtimes(momentum, dx, ddx) + ca.jtimes(momentum, x, dx) - ca.gradient(L, x) - force
    for v in (-0.7, 0.05):  # dry friction at its full size, and on its way through 0
        now = np.array([*X[:2], v, X[3]])
        rate = cartpole.derivative(now, np.array([3.0]), replace(P, coulomb=0.8))
        left = ca.Function("r", [x, dx, ddx], [residual])(now[:2], now[2:], rate[2:])
        np.testing.assert_allclose(left, 0.0, atol=1e-12)
        np.testing.assert_array_equal(rate[:2], now[2:])


def test_energy_is_kept_without_friction_and_force():
    free, x = replace(P, friction=0.0), np.array([0.0, 0.3, 0.0, 0.0])
    start = energy(x, free)
    for _ in range(1000):
        x = dynamics(x, np.zeros(1), free, dt=0.01)
    assert abs(energy(x, free) - start) < 2e-6 * start
    assert energy(np.array([1.0, np.pi, 0.0, 0.0]), free) == pytest.approx(0.0, abs=1e-12)


def test_friction_and_force_do_their_work():
    """The change of energy is the work of force and friction (Simpson's rule along the steps)."""
    x, work, dt = X.copy(), 0.0, 1e-3
    start = energy(x, P)
    for _ in range(500):
        half, end = dynamics(x, np.array([2.0]), P, 0.5 * dt), dynamics(x, np.array([2.0]), P, dt)
        power = [(2.0 - P.friction * y[2]) * y[2] for y in (x, half, end)]
        work += dt / 6.0 * (power[0] + 4.0 * power[1] + power[2])
        x = end
    assert energy(x, P) - start == pytest.approx(work, abs=1e-9)


def test_the_integrator_is_of_fourth_order():
    def end(steps):
        x = X
        for _ in range(steps):
            x = dynamics(x, np.array([5.0]), P, 0.8 / steps)
        return x

    exact = end(4096)
    errors = [np.abs(end(steps) - exact).max() for steps in (32, 64, 128)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 4.0, atol=0.25)


def test_casadi_and_numpy_agree_also_on_batches():
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u", 1)
    f = ca.Function("f", [x, u], [dynamics(x, u, P)])
    batch = np.random.default_rng(0).normal(size=(3, 5, 4))
    force = np.random.default_rng(1).normal(size=(3, 5, 1))
    out = dynamics(batch, force, P)
    assert out.shape == batch.shape
    for i in np.ndindex(3, 5):
        np.testing.assert_allclose(f(batch[i], force[i]).full().ravel(), out[i], atol=1e-13)


def test_the_cost_knows_turns_and_the_track():
    x = np.array([[0.5, 0.2, 0.1, -0.3], [0.5, 0.2 + 2.0 * np.pi, 0.1, -0.3], [2.1, 0.0, 0.0, 0.0]])
    cost = stage_cost(x, np.full((3, 1), 2.0))
    by_hand = 0.1 * 0.25 + 4.0 * np.sin(0.1) ** 2 + 0.01 * (0.01 + 0.09) + 0.001 * 4.0
    np.testing.assert_allclose(cost, [by_hand, by_hand, 0.1 * 2.1**2 + 0.004 + 30.0], rtol=1e-12)


def test_noise_has_its_standard_deviation():
    env = CartPole(CartPoleParameters(measurement_noise=0.02, process_noise=0.7), steps=None)
    start, errors, pushes = np.array([0.0, np.pi, 0.0, 0.0]), [], []
    env.reset(seed=0)
    gain = cartpole.derivative(start, np.ones(1))[2] * cartpole.DT
    for _ in range(2000):
        env.reset(options={"x": start})
        info = env.step([0.0])[4]
        errors.append(info["measured"] - info["x"])
        pushes.append(info["x"][2] / gain)
    np.testing.assert_allclose(np.std(errors, axis=0), 0.02, rtol=0.06)
    assert np.std(pushes) == pytest.approx(0.7, rel=0.06)


def test_delay_and_limit():
    env = CartPole(CartPoleParameters(delay=2, max_force=5.0))
    env.reset(options={"x": X})
    assert [env.step([f])[4]["force"] for f in (9.0, -9.0, 3.0, 0.0, 0.0)] == [0.0, 0.0, 5.0, -5.0, 3.0]
    env.change(delay=0)
    assert env.step([2.0])[4]["force"] == 2.0
    env.change(delay=1, max_force=1.0)
    assert [env.step([f])[4]["force"] for f in (4.0, 0.0)] == [0.0, 1.0]


def test_a_changed_mass_changes_the_next_step():
    env = CartPole()
    env.reset(options={"x": X})
    env.change(mass=0.5)
    np.testing.assert_array_equal(env.step([1.0])[4]["x"], dynamics(X, np.ones(1), CartPoleParameters(mass=0.5)))


def test_the_track_ends():
    env = CartPole(start=[2.35, np.pi, 2.0, 0.0])
    env.reset()
    _, reward, terminated, truncated, info = env.step([0.0])
    assert terminated and not truncated and abs(info["x"][0]) > cartpole.TRACK_END
    expected = stage_cost(env.start, np.zeros(1)) + cartpole.CRASH_COST
    assert -reward == info["cost"] == pytest.approx(expected, rel=1e-12)
    hanging = 200 * stage_cost(np.array([2.0, np.pi, 0.0, 0.0]), np.zeros(1))
    assert cartpole.CRASH_COST > hanging  # or crashing would pay


def test_starts_lie_where_they_are_said_to():
    starts = np.array([random_start(np.random.default_rng(i)) for i in range(300)])
    bounds = np.array([1.0, np.pi, 0.5, 1.0])
    assert (np.abs(starts) <= bounds).all() and (np.abs(starts).max(axis=0) > 0.95 * bounds).all()


def test_bad_parameters_are_refused():
    env = CartPole()
    for change in (
        {"mass": 0.0},
        {"length": np.nan},
        {"friction": -1.0},
        {"coulomb": -1.0},
        {"delay": 0.5},
        {"gravity": np.inf},
    ):
        with pytest.raises(ValueError, match=next(iter(change))):
            env.change(**change)


def test_dry_friction_holds_the_cart_against_a_small_force():
    """Pushed by half the dry friction, it creeps: at the speed where tanh(v / 0.1) = 1/2."""
    x, sticky = np.array([0.0, np.pi, 0.0, 0.0]), replace(P, coulomb=2.0, friction=0.0)
    for _ in range(3000):
        x = dynamics(x, np.array([1.0]), sticky)
    assert x[2] == pytest.approx(0.1 * np.arctanh(0.5), rel=1e-6)
