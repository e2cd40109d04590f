"""Exercise 01: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex01
from mpcrl_course.checks.engine import RAISED, RIGHT, WRONG
from mpcrl_course.dp import FiniteMDP, bellman, policy_iteration
from mpcrl_course.dp.pendulum import evaluate, greedy_policy, pendulum_grid, pendulum_mdp
from mpcrl_course.envs.pendulum import PendulumParameters
from mpcrl_course.mpc import riccati_iteration

# ------------------------------------------------------------------------- references against the package


def test_references_are_those_of_the_package():
    rng = np.random.default_rng(0)
    P, L, V = rng.dirichlet(np.ones(4), (4, 2)), rng.uniform(0, 1, (4, 2)), rng.normal(size=4)
    none = np.zeros(4, dtype=bool)
    np.testing.assert_allclose(ex01.backup(P, L, 0.9, V, none), bellman(FiniteMDP(P, L, 0.9), V), atol=1e-14)
    for arguments in ex01._systems(rng):
        P0, A, B, W_x, W_u, gamma = arguments
        for mine, theirs in zip(ex01.riccati_step(*arguments), riccati_iteration(A, B, W_x, W_u, gamma, P=P0)):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10)


def test_terminal_states_are_free_absorbing_ones():
    """A terminal state with value 0 is the same as one that goes nowhere at no cost."""
    for P, L, gamma, _, terminal in ex01._processes(np.random.default_rng(1)):
        V = np.zeros(len(terminal))
        for _ in range(600):
            V = ex01.backup(P, L, gamma, V, terminal)
        P, L = P.copy(), L.copy()
        P[terminal], L[terminal] = 0.0, 0.0
        for s in np.flatnonzero(terminal):
            P[s, :, s] = 1.0
        np.testing.assert_allclose(V, policy_iteration(FiniteMDP(P, L, gamma)).V, atol=1e-8)


def test_the_given_value_iteration_misses_its_accuracy_and_the_repaired_one_keeps_it():
    for seed in range(5):
        for P, L, gamma, V, accuracy in ex01._slow_processes(np.random.default_rng(seed)):
            exact = policy_iteration(FiniteMDP(P, L, gamma)).V
            assert np.abs(ex01.solve(P, L, gamma, V, accuracy) - exact).max() <= accuracy
            assert np.abs(ex01.solve_as_given(P, L, gamma, V, accuracy) - exact).max() > 2 * accuracy


@pytest.mark.parametrize(
    "rule",
    [
        lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy / 50,
        lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy / 1000,
        lambda change, gamma, accuracy, V: np.abs(change).max() <= 2.5 * accuracy,
        lambda change, gamma, accuracy, V: np.abs(change).max() <= 2 * accuracy * (1 - gamma) / gamma,
        lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy * (1 - gamma**2),
        lambda change, gamma, accuracy, V: np.abs(change).mean() <= accuracy * (1 - gamma) / gamma,
        lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy * gamma,
        lambda change, gamma, accuracy, V: np.abs(change).max() <= 1e-9,
        lambda change, gamma, accuracy, V: abs(change.max()) <= accuracy * (1 - gamma) / gamma,
        lambda change, gamma, accuracy, V: abs(change[0]) <= accuracy * (1 - gamma) / gamma,
    ],
)
def test_a_rule_that_stops_too_early_is_wrong(rule):
    assert {ex01.debug.judge(ex01._solve(rule), seed=seed).verdict for seed in range(3)} == {WRONG}


def test_always_so_many_sweeps_is_wrong_and_a_stricter_rule_is_right():
    assert ex01.debug.judge(ex01._solve(lambda *_: False, limit=10_000)).mistake == "ten thousand sweeps"
    stricter = ex01._solve(lambda change, gamma, accuracy, V: np.linalg.norm(change) * gamma / (1 - gamma) <= accuracy)
    assert ex01.debug.judge(stricter).verdict == RIGHT


def test_a_transposed_gain_is_told_by_its_shape():
    result = ex01.riccati.judge(lambda *args: (ex01.riccati_step(*args)[0], ex01.riccati_step(*args)[1].T))
    assert result.verdict == WRONG and "In part K: The numbers are right, but transposed" in result.sentence


@pytest.mark.parametrize(
    "rule",
    [
        lambda change, gamma, accuracy, V: np.linalg.norm(change) <= accuracy / 20,
        lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy * 0.1 * np.sqrt(1 - gamma),
    ],
)
@pytest.mark.parametrize("seed", [0, 20_000])
def test_what_is_enough_at_the_smaller_gammas_is_told_so(rule, seed):
    """The sentence is true of every rule that is taken for a fixed share: wrong at γ = 0.9999, and only there."""
    probes, answer = ex01.debug.calls(seed), ex01._solve(rule)
    wrong = [
        gamma
        for P, L, gamma, V, accuracy in probes
        if np.abs(answer(P, L, gamma, V, accuracy) - ex01._exact(P, L, gamma, V, accuracy)).max() > accuracy
    ]
    assert wrong == [0.9999]
    result = ex01.debug.judge(answer, seed)
    assert result.mistake == "a fixed share of the accuracy" and "too early near 1" in result.sentence


def test_what_goes_with_a_flag_is_not_said_to_go_with_a_state():
    for seed in range(20):
        assert all(probe[1] != 0 for probe in ex01.tabular.calls(seed))
    skips = ex01._skips(lambda terminal, truncated: terminal)
    assert ex01.tabular.judge(skips).mistake == "nothing learned at the end"


def test_an_end_that_costs_once_is_not_a_forgotten_discount():
    assert ex01.predict.judge((3 + 0.6 * 0.55 * 3) / (1 - 0.27)).mistake == "end paid once"
    assert ex01.predict.judge(3 / 0.55).mistake == "discount missing"


def test_the_form_of_an_answer_is_judged_as_such():
    """A list is as good as an array; a gain that is forgotten is not an error in the student's code."""
    assert ex01.bellman.judge(lambda *args: ex01.backup(*args).tolist()).verdict == RIGHT
    result = ex01.riccati.judge(lambda *args: ex01.riccati_step(*args)[0])
    assert result.verdict == WRONG and "In part P⁺: Your answer is an array of shape (2,)" in result.sentence


def test_facts_of_the_last_item():
    """At discount 1 with noise V grows by the same amount everywhere, and the policy stays."""
    noisy, torques, grid = PendulumParameters(process_noise=1.0), np.linspace(-2, 2, 9), pendulum_grid(41, 41)
    mdp, V, costs = pendulum_mdp(grid, torques, 1.0, noisy), np.zeros(1681), []
    for sweep in range(1, 401):
        V, before = bellman(mdp, V), V
        if sweep in (200, 400):
            costs.append(evaluate(greedy_policy(grid, V, torques, 1.0), noisy).mean())
    assert np.ptp(V - before) < 1e-6 and (V - before).mean() == pytest.approx(0.1407, abs=1e-3)
    assert costs[1] == pytest.approx(costs[0], rel=1e-3)


def test_design_of_the_wrong_form_says_so():
    for answer in (3.0, {"angles": 41}, ex01._choice(torques=0), ex01._choice(gamma=2.0), ex01._choice(angles=41.5)):
        assert ex01.design.judge(answer).verdict == RAISED
    assert "a whole number, not 41.5" in str(ex01.design.judge(ex01._choice(angles=41.5)).details)
    assert ex01.design.judge(ex01._choice(angles=41.0)).verdict == RIGHT
    huge = ex01.design.judge(ex01._choice(angles=1001, velocities=1001))
    assert huge.verdict == WRONG and "too large" in huge.sentence


def test_lecture_grid_misses_the_small_tables_cost_only_by_its_discount():
    assert ex01.measure(ex01.design.reference)["mean cost of 10 s"] < ex01.TARGET - 0.2
    low = ex01._choice(gamma=0.98)
    assert ex01.measure(low)["mean cost of 10 s"] > ex01.TARGET + 2
