"""Value iteration and policy iteration against closed forms and each other."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from mpcrl_course.dp import FiniteMDP, bellman, policy_iteration, policy_value, sampler, value_iteration
from mpcrl_course.dp.finite import smallest


def random_mdp(S=7, A=3, gamma=0.9, seed=0):
    rng = np.random.default_rng(seed)
    return FiniteMDP(rng.dirichlet(np.full(S, 0.3), (S, A)), rng.uniform(0, 1, (S, A)), gamma)


def test_two_states_in_closed_form():
    """Stay at cost 1 for ever: 1 / (1 - gamma). Pay 3 once to go where all is free: 3. So it depends on gamma."""
    P = np.zeros((2, 2, 2))
    P[0, 0, 0] = P[0, 1, 1] = P[1, :, 1] = 1.0
    cost = [[1.0, 3.0], [0.0, 0.0]]
    for gamma, value, action in ((0.6, 2.5, 0), (0.9, 3.0, 1)):
        solved = value_iteration(FiniteMDP(P, cost, gamma), tolerance=1e-12)
        np.testing.assert_allclose(solved.V, [value, 0.0], atol=1e-10)
        assert solved.policy[0] == action and solved.converged


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99])
def test_value_iteration_equals_policy_iteration_and_brute_force(gamma):
    mdp = random_mdp(S=4, A=2, gamma=gamma)
    everything = np.array([policy_value(mdp, [n >> s & 1 for s in range(4)]) for n in range(16)])
    best = everything.min(axis=0)  # one policy is best in all states at once
    np.testing.assert_allclose(value_iteration(mdp, tolerance=1e-12).V, best, atol=1e-9)
    by_policies = policy_iteration(mdp)
    np.testing.assert_allclose(by_policies.V, best, atol=1e-10)
    assert by_policies.converged and len(by_policies.residuals) <= 4


def test_policy_value_equals_the_mean_of_roll_outs():
    mdp, rng = random_mdp(gamma=0.8), np.random.default_rng(1)
    policy, n = rng.integers(3, size=7), 20_000
    s, total = np.zeros(n, dtype=int), np.zeros(n)
    cumulative = mdp.P.cumsum(axis=2)
    for k in range(60):
        a = policy[s]
        total += 0.8**k * mdp.cost[s, a]
        s = np.minimum((rng.random(n)[:, None] > cumulative[s, a]).sum(axis=1), 6)
    assert policy_value(mdp, policy)[0] == pytest.approx(total.mean(), abs=4 * total.std() / np.sqrt(n))


@pytest.mark.parametrize("gamma", [0.3, 0.9, 1.0])
def test_contraction_monotonicity_and_shift(gamma):
    mdp, rng = random_mdp(gamma=gamma), np.random.default_rng(2)
    for _ in range(100):
        V, W = rng.normal(size=(2, 7)) * 10.0 ** rng.uniform(-2, 2)
        assert np.abs(bellman(mdp, V) - bellman(mdp, W)).max() <= gamma * np.abs(V - W).max() * (1 + 1e-12)
        assert (bellman(mdp, np.minimum(V, W)) <= bellman(mdp, V) + 1e-12).all()
        np.testing.assert_allclose(bellman(mdp, V + 3.7), bellman(mdp, V) + gamma * 3.7, atol=1e-9)


def test_without_discount_the_value_grows_by_the_mean_cost_of_a_step():
    mdp = random_mdp(gamma=1.0)
    solved = value_iteration(mdp, sweeps=3000)
    assert not solved.converged
    growth = bellman(mdp, solved.V) - solved.V
    policy = mdp.action_values(solved.V).argmin(axis=1)
    P = mdp.P[np.arange(7), policy]
    stationary = np.linalg.lstsq(np.vstack([P.T - np.eye(7), np.ones(7)]), np.r_[np.zeros(7), 1.0], rcond=None)[0]
    np.testing.assert_allclose(growth, stationary @ mdp.cost[np.arange(7), policy], atol=1e-9)


def test_error_bound_of_the_tolerance_holds():
    mdp = random_mdp(gamma=0.95)
    exact = policy_iteration(mdp).V
    for tolerance in (1e-1, 1e-3):
        V = value_iteration(mdp, tolerance=tolerance).V
        assert np.abs(V - exact).max() <= 0.95 / 0.05 * tolerance


def test_sparse_equals_dense_and_another_discount_keeps_the_rest():
    mdp = random_mdp()
    sparse = FiniteMDP(csr_array(mdp.P.reshape(21, 7)), mdp.cost, 0.9)
    V = np.random.default_rng(3).normal(size=7)
    np.testing.assert_allclose(sparse.action_values(V), mdp.cost + 0.9 * mdp.P @ V, atol=1e-14)
    np.testing.assert_allclose(bellman(sparse, V), bellman(mdp, V), atol=1e-14)
    np.testing.assert_allclose(sparse.discounted(0.5).action_values(V), mdp.cost + 0.5 * mdp.P @ V, atol=1e-14)
    Q = mdp.action_values(V)
    np.testing.assert_array_equal(smallest(Q), Q.min(axis=1))


def test_bad_processes_are_named():
    P, cost = np.full((2, 3, 2), 0.5), np.ones((2, 3))
    leaning = np.array([[[0.9, 0.1]], [[0.4, 0.6]]])
    for arguments, message in (
        ((P, np.ones(2), 0.9), "needs \\(S, A\\)"),
        ((P[:, :2], cost, 0.9), "P has shape"),
        ((leaning.transpose(2, 1, 0), np.ones((2, 1)), 0.9), "transposed"),
        ((np.stack([P[..., 0] + 1, P[..., 0] - 1], axis=-1), cost, 0.9), "negative"),
        ((P, cost * np.nan, 0.9), "not finite"),
        ((P, cost, 0.0), "discount"),
        ((P, cost, 1.1), "discount"),
    ):
        with pytest.raises(ValueError, match=message):
            FiniteMDP(*arguments)
    mdp = FiniteMDP(P, cost, 0.9)
    for bad in (lambda: value_iteration(mdp, np.zeros(3)), lambda: policy_value(mdp, [0]), lambda: mdp.discounted(2.0)):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(ValueError, match="gamma < 1"):
        policy_value(mdp.discounted(1.0), [0, 0])


def test_the_sampler_draws_from_P():
    mdp = random_mdp(S=4, A=2)
    step = sampler(mdp, np.random.default_rng(5))
    counts = np.bincount([step(2, 1)[1] for _ in range(20_000)], minlength=4) / 20_000
    np.testing.assert_allclose(counts, mdp.P[2, 1], atol=0.015)
    assert step(2, 1)[0] == mdp.cost[2, 1]


@pytest.mark.parametrize(
    "wrong", [[True, False], np.array([False, True]), [0, np.True_], [0.0, 1.0], np.zeros(2), "01"]
)
@pytest.mark.parametrize("solve", [policy_value, policy_iteration])
def test_only_whole_numbers_are_actions(solve, wrong):
    mdp = FiniteMDP(np.full((2, 2, 2), 0.5), np.ones((2, 2)), 0.9)
    with pytest.raises(ValueError, match="the policy in state [01] must be a whole number|policy must be a list"):
        solve(mdp, wrong)
    for right in ([0, 1], np.array([0, 1], np.uint8), (np.int64(0), 1)):
        np.testing.assert_allclose(policy_value(mdp, right), 10.0)


def test_what_is_no_state_and_no_action_is_not_sampled():
    step = sampler(FiniteMDP(np.full((2, 3, 2), 0.5), np.ones((2, 3)), 0.9), np.random.default_rng(0))
    assert step(1, 2)[0] == step(np.int64(1), np.int32(2))[0] == 1.0
    for s, a in ((-1, 0), (2, 0), (0, 3), (0, -1), (0.5, 0), (0, True), (None, 0)):
        with pytest.raises(
            ValueError, match="there are states s from 0 to 1 and actions a to 2, not|the (state|action)"
        ):
            step(s, a)
