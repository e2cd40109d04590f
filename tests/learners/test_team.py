"""Policy iteration of a team: what it evaluates, and where own and summed TD errors lead."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from mpcrl_course.learners.team import TeamIteration, products, symmetric
from mpcrl_course.network import line, mixing_matrix
from mpcrl_course.problems.team import LinearTeam
from mpcrl_course.statistics import interval

RNG = np.random.default_rng(0)


def test_products_and_their_matrix():
    x, u, H = RNG.standard_normal((5, 4)), RNG.standard_normal((5, 2)), RNG.standard_normal((6, 6))
    H, z = H + H.T, np.concatenate([x, u], axis=1)
    i, j = np.triu_indices(6)
    weights = np.append(np.where(i == j, 1.0, 2.0) * H[i, j], 0.7)
    np.testing.assert_allclose(products(x, u) @ weights, ((z @ H) * z).sum(1) + 0.7, atol=1e-12)
    np.testing.assert_allclose(symmetric(weights, 6), H, atol=1e-14)


@pytest.mark.parametrize("summed", [False, True])
def test_the_greedy_row_is_that_of_the_exact_action_value(summed):
    """Against Q_i from its Lyapunov equation, at a policy that is not the first; exact up to the noise of the data."""
    team = LinearTeam((0.05, 1.0, 0.05), -0.3)
    learner = TeamIteration(team, np.random.default_rng(3), summed, M=40_000, K=team.team("own"))
    x, u, x_next = learner.collect()
    z, z_next, K = products(x, u), products(x_next, -x_next @ learner.K.T), learner.K
    np.testing.assert_allclose((x_next - x @ team.A.T - u @ team.B.T).std(axis=0), 0.05, rtol=0.03)
    for i in range(3):
        Q, R = (each.sum(0) if summed else each[i] for each in (team.Q, team.R))
        P = solve_discrete_lyapunov(np.sqrt(0.9) * (team.A - team.B @ K).T, Q + K.T @ R @ K)
        F, b = team.A - np.delete(team.B, i, 1) @ np.delete(K, i, 0), team.B[:, i]
        rest = np.delete(K, i, 0)
        exact = (0.9 * b @ P @ F - np.delete(R[i], i) @ rest) / (R[i, i] + 0.9 * b @ P @ b)
        cost = ((x @ Q) * x).sum(1) + ((u @ R) * u).sum(1)
        found = learner.greedy(i, z, z_next, cost)
        np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())


def test_own_errors_lead_to_the_equilibrium_and_their_sum_to_the_optimum():
    """Four seeds, unequal weights, coupling -0.3: the exact ratios are 1.544 and 1."""
    team = LinearTeam((0.05, 1.0, 0.05), -0.3)
    nash = team.cost(team.nash()) / team.cost(team.team())
    last = {}
    for summed in (False, True):
        runs = [TeamIteration(team, np.random.default_rng(seed), summed).run(12, progress=False) for seed in range(4)]
        last[summed] = [run.log.ratio[-1] for run in runs]
        assert all(run.log.ratio[0] == pytest.approx(1.979, abs=1e-3) for run in runs)
    own = interval(last[False])
    assert abs(own.mean - nash) < max(own.half, 0.01) and own.half < 0.03
    assert 1.0 < min(last[True]) and max(last[True]) < 1.01


def test_a_step_is_half_the_way_to_the_greedy_rows():
    team = LinearTeam(coupling=-0.3)
    learner, twin = (TeamIteration(team, np.random.default_rng(5), M=2000) for _ in range(2))
    K = learner.K.copy()
    x, u, x_next = twin.collect()
    cost = ((x @ team.Q.sum(0)) * x).sum(1) + ((u @ team.R.sum(0)) * u).sum(1)
    greedy = [twin.greedy(i, products(x, u), products(x_next, -x_next @ K.T), cost) for i in range(3)]
    learner.step()
    np.testing.assert_allclose(learner.K, 0.5 * (K + greedy), atol=1e-9)
    assert learner.log.ratio[1] == learner.ratio() < learner.log.ratio[0]


def test_a_policy_that_does_not_stabilise_ends_the_run():
    """Twenty transitions for 46 features: what is learned is noise."""
    learner = TeamIteration(LinearTeam(coupling=-0.5), np.random.default_rng(0), False, M=20, ridge=1e-3)
    learner.run(200, progress=False)
    assert learner.log.stopped == "the policy no longer stabilises the network" and np.isinf(learner.log.ratio[-1])
    assert learner.k < 200


def test_what_is_heard_weighs_the_td_errors():
    """Ones are the sum, the identity each agent's own; after some rounds of consensus the cost lies between."""
    team = LinearTeam((0.05, 1.0, 0.05), -0.3)

    def learned(summed=True, **options):
        return TeamIteration(team, np.random.default_rng(1), summed, M=2000, **options).run(8, progress=False).K

    np.testing.assert_allclose(learned(heard=np.ones((3, 3))), learned(), rtol=1e-12)
    np.testing.assert_allclose(learned(heard=np.eye(3)), learned(False), rtol=1e-12)
    np.testing.assert_allclose(learned(heard=5 * np.eye(3)), learned(False), rtol=1e-6)  # a factor changes no minimum
    P = mixing_matrix(3, line(3), 0.25)
    costs = [team.cost(learned(heard=3 * np.linalg.matrix_power(P, rounds))) for rounds in (0, 1, 4)]
    assert costs[0] > 1.2 * costs[1] and costs[1] > 1.01 * costs[2]
