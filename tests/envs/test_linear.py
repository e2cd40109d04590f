"""The linear plant: the definition's numbers, bad declarations."""

import casadi as ca
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpcrl_course.envs import LinearEpisodes, LinearPlant, linear


def test_start_and_reset_options():
    env = LinearPlant()
    np.testing.assert_array_equal(env.reset(seed=0)[0], [0.0, 0.15])
    np.testing.assert_array_equal(env.reset(options={"x": [0.5, -0.2]})[0], [0.5, -0.2])
    np.testing.assert_array_equal(LinearPlant(start=[0.3, 0.1]).reset()[0], [0.3, 0.1])
    assert np.isfinite(env.step(0.3)[1])  # a plain number will do


def test_cost_by_hand():
    """1/2 (|x|^2 + 1/2 u^2 + 100 * violation), of the current state and input."""
    for x, u, expected in (
        ([0.0, 0.0], 0.0, 0.0),
        ([0.5, -0.4], 0.6, 0.5 * (0.25 + 0.16 + 0.18)),
        ([-0.1, 0.2], 1.0, 0.5 * (0.01 + 0.04 + 0.5 + 100 * 0.1)),
        ([1.2, -1.5], -1.0, 0.5 * (1.44 + 2.25 + 0.5 + 100 * (0.2 + 0.5))),
    ):
        assert linear.stage_cost(x, [u]) == pytest.approx(expected, abs=1e-12)
        env = LinearPlant()
        env.reset(options={"x": x})
        _, reward, terminated, truncated, info = env.step([u])
        assert -reward == info["cost"] == pytest.approx(expected, abs=1e-12)
        assert not terminated and not truncated
    batch = linear.stage_cost([[0.0, 0.0], [-0.1, 0.2]], [[0.0], [1.0]])
    np.testing.assert_allclose(batch, [0.0, 5.275])


def test_step_and_noise():
    """x+ = A x + B u + (e, 0) with e ~ U(-0.1, 0): range, mean and spread over 4000 steps."""
    env, rng = LinearPlant(), np.random.default_rng(0)
    env.reset(seed=3)
    e = np.empty((4000, 2))
    for i in range(len(e)):
        x, u = rng.uniform(-1, 1, 2), rng.uniform(-1, 1)
        env.reset(options={"x": x})
        e[i] = env.step([u])[0] - (np.array([[0.9, 0.35], [0, 1.1]]) @ x + np.array([0.0813, 0.2]) * u)
    np.testing.assert_allclose(e[:, 1], 0.0, atol=1e-15)
    assert -0.1 <= e[:, 0].min() < -0.0995 and -0.0005 < e[:, 0].max() <= 1e-15
    assert e[:, 0].mean() == pytest.approx(-0.05, abs=0.0015)  # three standard errors
    assert e[:, 0].std() == pytest.approx(0.1 / np.sqrt(12), rel=0.03)
    quiet = LinearPlant(noise=0.0)
    quiet.reset(options={"x": [0.2, 0.1]})
    np.testing.assert_allclose(quiet.step([0.5])[0], [0.9 * 0.2 + 0.035 + 0.5 * 0.0813, 0.11 + 0.1], atol=1e-15)


def test_numpy_casadi_and_environment_are_one_model():
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u", 1)
    f = ca.Function("f", [x, u], [linear.dynamics(x, u)])
    env, rng = LinearPlant(noise=0.0), np.random.default_rng(1)
    for _ in range(20):
        s, a = rng.uniform(-1, 1, 2), rng.uniform(-1, 1, 1)
        env.reset(options={"x": s})
        expected = env.step(a)[0]
        np.testing.assert_allclose(f(s, a).full().ravel(), expected, atol=1e-14)
        np.testing.assert_allclose(linear.dynamics(s, a), expected, atol=1e-14)


def test_bad_declarations():
    with pytest.raises(ValueError, match="noise"):
        LinearPlant(noise=-0.1)
    with pytest.raises(ValueError, match="finite state of shape"):
        LinearPlant(start=[0.0, 0.0, 0.0])


@pytest.mark.filterwarnings("ignore:.*(Box|not within the observation space|unbounded|infinity).*")
def test_short_episodes_are_cut_off_where_they_leave():
    env = LinearEpisodes(steps=7)
    check_env(env, skip_render_check=True)
    starts = np.array([env.reset(seed=seed)[0] for seed in range(200)]) / LinearEpisodes.SCALE
    assert (starts >= 0.0).all() and (starts <= [0.5, 0.3]).all()
    assert (starts.min(0) < [0.02, 0.01]).all() and (starts.max(0) > [0.48, 0.29]).all()
    env = LinearEpisodes(noise=0.0, steps=7)
    for x, left in (
        ([0.3, 0.1], False),
        ([-0.33, 0.0], False),
        ([-0.34, 0.0], True),
        ([0.5, 1.1], True),
        ([1.0, -1.1], True),
    ):
        env.reset(seed=0, options={"x": x})
        seen, reward, ended, truncated, info = env.step([0.0])
        np.testing.assert_allclose(seen, 4.0 * env.x)
        assert not ended and truncated == left and -reward == info["cost"] == linear.stage_cost(x, [0.0])
    env.reset(options={"x": [0.3, 0.0]})
    assert [env.step([0.0])[3] for _ in range(7)] == [False] * 6 + [True]
