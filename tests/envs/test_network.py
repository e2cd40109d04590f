"""The network of linear plants: the definition's numbers, the published trajectories, bad declarations."""

from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.envs import linear, network
from mpcrl_course.envs.linear import Noise
from mpcrl_course.envs.network import LinearNetwork, NetworkParameters

DATA = np.load(Path(__file__).parents[1] / "data" / "second_order_network.npz")
LINE, RING = [[1], [0, 2], [1]], [[1, 4], [0, 2], [1, 3], [2, 4], [0, 3]]


def test_published_trajectories():
    """X and L of all four methods and three seeds, 200 steps each, every step from its own X, U (single precision)."""
    for method in range(4):
        for seed in range(3):
            env = LinearNetwork(recorded=DATA["noise"][seed])
            X, U = DATA["X"][method, seed].astype(float), DATA["U"][method, seed].astype(float)
            np.testing.assert_allclose(env.reset()[0], X[0], atol=1e-7)
            ours, costs = np.empty((200, 6)), np.empty(200)
            for k in range(200):
                env.load_state_dict({"x": X[k].reshape(3, 2), "count": k})
                ours[k], reward, *_ = env.step(U[k])
                costs[k] = -reward
            np.testing.assert_allclose(ours, X[1:], atol=1e-6)
            np.testing.assert_allclose(costs, DATA["L"][method, seed], rtol=2e-5, atol=1e-4)


def test_step_by_hand():
    """Ring of five: every term of the docstring."""
    env, rng = LinearNetwork(RING, noise=0.0, weight=120.0), np.random.default_rng(0)
    for _ in range(10):
        x, u = rng.uniform(-1.2, 1.2, (5, 2)), rng.uniform(-1, 1, 5)
        env.reset(options={"x": x.ravel()})
        x_next, reward, terminated, truncated, info = env.step(u)
        for i in range(5):
            one = 0.9 * x[i, 0] + 0.35 * x[i, 1] + 0.0813 * u[i]
            two = 1.1 * x[i, 1] + 0.2 * u[i] - 0.1 * (x[(i + 1) % 5, 1] + x[(i - 1) % 5, 1])
            np.testing.assert_allclose(x_next[2 * i : 2 * i + 2], [one, two], atol=1e-14)
            cost = 0.5 * (x[i] @ x[i] + 0.5 * u[i] ** 2)
            violation = max(0, -x[i, 0]) + max(0, x[i, 0] - 1) + max(0, -1 - x[i, 1]) + max(0, x[i, 1] - 1)
            assert info["costs"][i] == pytest.approx(cost + 60 * violation, abs=1e-11)
        assert -reward == info["cost"] == pytest.approx(info["costs"].sum(), abs=1e-11)
        assert not terminated and not truncated


def test_without_coupling_each_is_the_linear_plant():
    alone, plant = LinearNetwork([[]], weight=linear.WEIGHT), linear.LinearPlant()
    x, _ = alone.reset(seed=3)
    y, _ = plant.reset(seed=3)
    for k in range(50):
        np.testing.assert_allclose(x, y, atol=1e-14)
        (x, r, *_), (y, q, *_) = alone.step([np.sin(k)]), plant.step([np.sin(k)])
        assert r == pytest.approx(q, abs=1e-12)


def test_noise():
    """e_i ~ U(-0.1, 0), independent for every agent; none on the second states."""
    env = LinearNetwork()
    env.reset(seed=0)
    e = np.empty((4000, 6))
    for i in range(len(e)):
        env.reset(options={"x": np.zeros(6)})
        e[i] = env.step(np.zeros(3))[0]
    np.testing.assert_array_equal(e[:, 1::2], 0.0)
    e = e[:, ::2]
    assert -0.1 <= e.min() < -0.0995 and -0.0005 < e.max() <= 0.0
    np.testing.assert_allclose(e.mean(0), -0.05, atol=0.0015)  # three standard errors
    np.testing.assert_allclose(np.corrcoef(e.T), np.eye(3), atol=0.05)


def test_numpy_casadi_and_environment_are_one_model():
    x, u = ca.SX.sym("x", 6), ca.SX.sym("u", 3)
    parts = [x[:2], x[2:4], x[4:]]
    steps = [network.dynamics(parts[i], u[i], [parts[j] for j in own]) for i, own in enumerate(LINE)]
    f = ca.Function("f", [x, u], [ca.vertcat(*steps)])
    env, rng = LinearNetwork(noise=0.0), np.random.default_rng(1)
    for _ in range(20):
        s, a = rng.uniform(-1, 1, 6), rng.uniform(-1, 1, 3)
        env.reset(options={"x": s})
        expected = env.step(a)[0]
        np.testing.assert_allclose(f(s, a).full().ravel(), expected, atol=1e-14)
        rows = s.reshape(3, 2)
        own = [network.dynamics(rows[i], a[i : i + 1], rows[own]) for i, own in enumerate(LINE)]
        np.testing.assert_allclose(np.concatenate(own), expected, atol=1e-14)


def test_recorded_disturbances_come_first():
    e = np.array([[-0.01, -0.02, -0.03], [-0.04, -0.05, -0.06]])
    env = LinearNetwork(recorded=e)
    env.reset(seed=0, options={"x": np.zeros(6)})
    for k in range(2):
        env.x[:] = 0.0
        np.testing.assert_array_equal(env.step(np.zeros(3))[0][::2], e[k])
    env.x[:] = 0.0
    drawn = env.step(np.zeros(3))[0][::2]
    np.testing.assert_array_equal(drawn, np.random.default_rng(0).uniform(-0.1, 0.0, 3))


def test_bad_declarations():
    with pytest.raises(ValueError, match="noise"):
        LinearNetwork(noise=-0.1)
    with pytest.raises(ValueError, match="finite state of shape"):
        LinearNetwork(start=[0.0, 0.0, 0.0])
    for neighbours in ([[1], []], [[0], []], [[2], [0]]):
        with pytest.raises(ValueError, match="names . as a neighbour"):
            LinearNetwork(neighbours)
    for recorded in (np.zeros((4, 2)), np.zeros(3), np.full((2, 3), np.nan)):
        with pytest.raises(ValueError, match="recorded must be finite"):
            LinearNetwork(recorded=recorded)


def test_starts_of_one_agent_or_of_all():
    np.testing.assert_array_equal(LinearNetwork().reset()[0], [0.0, 0.15] * 3)
    start = np.arange(6) / 10
    np.testing.assert_array_equal(LinearNetwork(start=start).reset()[0], start)


def test_the_coupling_and_the_reach():
    """Another coupling pushes as much more; a state beyond the reach ends the run, in the batch and alone."""
    x = np.array([0.1, 0.2, 0.0, 0.4, 0.3, -0.1])
    pushed = []
    for coupling in (0.0, -0.3):
        env = LinearNetwork(noise=0.0, start=x, coupling=coupling)
        env.reset()
        pushed.append(env.step(np.zeros(3))[0])
    np.testing.assert_allclose(pushed[1] - pushed[0], [0, -0.3 * 0.4, 0, -0.3 * 0.1, 0, -0.3 * 0.4], atol=1e-15)
    for reach, ends in ((0.43, True), (0.45, False), (None, False)):  # 0.44 = 1.1 * 0.4 is the largest entry
        env = LinearNetwork(noise=0.0, start=x, coupling=0.0, reach=reach)
        env.reset()
        assert env.step(np.zeros(3))[2] is ends
        plant = env.parameters
        assert plant.step(x[None], np.zeros((1, 3)), Noise(np.zeros((1, 3))))[2].tolist() == [ends]


def test_weights_count_every_agent_s_cost():
    rng = np.random.default_rng(0)
    x, u = rng.uniform(-0.5, 1.5, (4, 3, 2)), rng.uniform(-1.0, 1.0, (4, 3))
    omega = (0.05, 1.0, 2.0)
    plain, weighed = NetworkParameters(), NetworkParameters(omega=omega)
    np.testing.assert_allclose(weighed.costs(x, u), omega * plain.costs(x, u))
    noise = plain.draw(0, 4, 1)
    step = type(noise)(noise.e[0])
    found = weighed.step(x.reshape(4, 6), u, step)
    np.testing.assert_allclose(found[1], (omega * plain.costs(x, u)).sum(axis=1))
    np.testing.assert_allclose(found[0], plain.step(x.reshape(4, 6), u, step)[0])
    env = LinearNetwork(omega=omega, start=x[0].ravel())
    env.reset(seed=0)
    *_, info = env.step(u[0])
    np.testing.assert_allclose(info["costs"], omega * plain.costs(x[0], u[0]))
    for wrong in ((1.0, 1.0), (1.0, 0.0, 1.0), (1.0, np.nan, 1.0)):
        with pytest.raises(ValueError, match="omega"):
            NetworkParameters(omega=wrong)
