"""The pendulum by value iteration: the yardstick of the lectures 01, 03 and 04."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.dp import bellman
from mpcrl_course.dp.pendulum import (
    FIXED_STARTS,
    evaluate,
    greedy_policy,
    pendulum_grid,
    pendulum_mdp,
    pendulum_value_iteration,
    simulate,
    table_policy,
)
from mpcrl_course.envs.pendulum import Pendulum, PendulumParameters, dynamics, stage_cost, wrap


@pytest.fixture(scope="module")
def solution():
    return pendulum_value_iteration()


def test_fixed_starts_are_fixed():
    assert FIXED_STARTS.shape == (100, 2) and not FIXED_STARTS.flags.writeable
    np.testing.assert_allclose(FIXED_STARTS[0], [0.86055566, -0.46042657], atol=1e-6)
    assert (np.abs(FIXED_STARTS) <= [np.pi, 1.0]).all()


def test_grid_holds_the_upright_and_is_symmetric():
    for n in (21, 40):
        grid = pendulum_grid(n, 21)
        assert np.abs(grid.points).max(axis=1).min() < 1e-12 or n % 2 == 0
    grid = pendulum_grid(21, 21)
    np.testing.assert_allclose(np.sort(grid.axes[0]), np.sort(-grid.axes[0]), atol=1e-12)


def test_the_grid_has_converged_to_one_per_cent(solution):
    fine = pendulum_value_iteration(241, 241, 15, tolerance=1e-2)
    coarse, finer = evaluate(solution.policy).mean(), evaluate(fine.policy).mean()
    assert abs(coarse / finer - 1) < 0.01
    assert 154 < coarse < 160


def test_every_start_is_swung_up(solution):
    end = simulate(solution.policy).x[-20:]
    assert np.abs(wrap(end[..., 0])).max() < 0.05 and np.abs(end[..., 1]).max() < 0.3


def test_value_is_a_fixed_point_symmetric_and_zero_only_upright(solution):
    V = solution.V.ravel()
    assert np.abs(bellman(solution.mdp, V) - V).max() < 1e-3
    np.testing.assert_allclose(solution.V, solution.V[::-1, ::-1], atol=1e-6)  # (q, v) and (-q, -v)
    assert V.argmin() == np.abs(solution.grid.points).sum(axis=1).argmin() and abs(V.min()) < 1e-9


def test_value_predicts_the_discounted_cost(solution):
    run = simulate(solution.policy, steps=400)
    measured = (0.98 ** np.arange(400)[:, None] * run.cost).sum(axis=0)
    predicted = solution.grid.interpolate(solution.V, FIXED_STARTS)
    assert np.abs(predicted - measured).mean() < 0.06 * measured.mean()
    assert np.corrcoef(predicted, measured)[0, 1] > 0.99


@pytest.mark.parametrize("delay", [0, 2])
def test_simulate_equals_the_environment(solution, delay):
    parameters = PendulumParameters(mass=1.2, friction=0.1, max_torque=1.5, delay=delay)
    run = simulate(solution.policy, parameters, FIXED_STARTS[:3], steps=80)
    for i, start in enumerate(FIXED_STARTS[:3]):
        env = Pendulum(parameters)
        env.reset(seed=0, options={"x": start})
        for k in range(80):
            np.testing.assert_allclose(run.x[k, i], env.x, atol=1e-9)
            info = env.step(solution.policy(env.x))[4]
            assert run.cost[k, i] == pytest.approx(info["cost"], abs=1e-9)
            assert run.u[k, i, 0] == pytest.approx(info["torque"], abs=1e-9)
    np.testing.assert_allclose(evaluate(solution.policy, parameters, FIXED_STARTS[:3], 80), run.cost.sum(axis=0))


def test_noise_is_seeded_and_has_its_size():
    still = replace(PendulumParameters(), process_noise=0.5)
    starts = np.zeros((4000, 2))
    first, again, other = (simulate(lambda x: np.zeros(len(x)), still, starts, 1, seed).x[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert first[:, 1].std() == pytest.approx(0.05 * 3 * 0.5, rel=0.05)  # dt u / (m l^2 / 3)
    seen = []
    simulate(lambda x: seen.append(x) or np.zeros(len(x)), PendulumParameters(measurement_noise=0.1), starts, 1)
    np.testing.assert_allclose(seen[0].std(axis=0), 0.1, rtol=0.05)


def test_noise_in_the_process_has_its_mean_and_variance():
    grid = pendulum_grid(201, 201)
    P = pendulum_mdp(grid, [0.7], parameters=PendulumParameters(process_noise=1.0)).rows()
    s = int(np.abs(grid.points - [0.4, 1.0]).sum(axis=1).argmin())
    mean = P[[s]] @ grid.points
    expected = dynamics(grid.points[s], np.array([0.7]))
    np.testing.assert_allclose(mean[0], expected, atol=1e-9)
    variance = (P[[s]] @ (grid.points[:, 1] - expected[1]) ** 2)[0]
    assert 0.15**2 <= variance <= 0.15**2 + 0.25 * grid.step[1] ** 2  # plus the spread of interpolation


def test_more_noise_costs_more_and_knowing_of_it_helps(solution):
    noisy = PendulumParameters(process_noise=1.5)
    aware = pendulum_value_iteration(81, 81, 9, parameters=noisy, tolerance=1e-2)
    assert aware.V.mean() > solution.V.mean() + 0.5
    assert aware.V.min() > 0.1  # with noise nothing is free any more


def test_policies_clip_shape_and_break_ties_the_same(solution):
    assert solution.policy(np.array([0.3, 0.1])).shape == (1,)
    assert solution.policy(FIXED_STARTS).shape == (100, 1)
    assert np.abs(solution.policy(FIXED_STARTS)).max() <= 2.0 + 1e-12
    Q = solution.mdp.action_values(solution.V.ravel())
    by_table = table_policy(solution.grid, Q, solution.torques)
    assert evaluate(by_table).mean() == pytest.approx(evaluate(solution.policy).mean(), rel=0.02)


def test_refined_torque_is_the_minimiser_of_a_parabola():
    """On V = 0 the lookahead minimises the stage cost, 0.001 u^2: zero torque, also if no action is zero."""
    grid = pendulum_grid(21, 21)
    policy = greedy_policy(grid, np.zeros(441), np.linspace(-2, 2, 4), 0.9)
    np.testing.assert_allclose(policy(FIXED_STARTS), 0.0, atol=1e-9)
    x = np.array([[0.5, 1.0]])
    assert stage_cost(x, policy(x))[0] == pytest.approx(0.25 + 0.1)


def test_bad_input_is_named(solution):
    for parameters in (PendulumParameters(delay=1), PendulumParameters(measurement_noise=0.1)):
        with pytest.raises(ValueError, match="measured exactly"):
            pendulum_value_iteration(21, 21, 3, parameters=parameters)
    with pytest.raises(ValueError, match="lower the discount"):
        pendulum_value_iteration(11, 11, 3, gamma=1.0, parameters=PendulumParameters(process_noise=1.0))
    for policy in (lambda x: np.zeros(3), lambda x: np.full(len(x), np.nan)):
        with pytest.raises(ValueError, match="finite inputs of shape"):
            evaluate(policy)
    with pytest.raises(ValueError, match="shape"):
        evaluate(solution.policy, starts=np.zeros(2))
    with pytest.raises(ValueError, match="Q has shape"):
        table_policy(solution.grid, np.zeros((3, 2)), solution.torques)
