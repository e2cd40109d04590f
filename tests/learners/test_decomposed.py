"""A value in parts: its first Q, its step against one central least-squares step, and where each way to learn ends."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from mpcrl_course.learners.decomposed import INPUT, STATE, DecomposedTD, own_features
from mpcrl_course.network import line, mixing_matrix
from mpcrl_course.problems.team import LinearTeam

UNEQUAL = LinearTeam((0.05, 1.0, 0.05), -0.3)
SCALE = np.array([STATE] * 6 + [INPUT] * 3)


def learner(seed=0, team=UNEQUAL, **options):
    return DecomposedTD(team, np.random.default_rng(seed), **options)


def test_the_first_parts_add_up_to_the_exact_action_value():
    rng, one, K = np.random.default_rng(1), learner(), UNEQUAL.start()
    x, u = rng.normal(size=(7, 6)), rng.normal(size=(7, 3))
    Q, R, F = UNEQUAL.Q.sum(0), UNEQUAL.R.sum(0), UNEQUAL.A - UNEQUAL.B @ K
    P = solve_discrete_lyapunov(np.sqrt(0.9) * F.T, Q + K.T @ R @ K)
    ahead = x @ UNEQUAL.A.T + u @ UNEQUAL.B.T
    exact = ((x @ Q) * x).sum(1) + ((u @ R) * u).sum(1) + 0.9 * ((ahead @ P) * ahead).sum(1)
    exact += 0.9 * 0.05**2 * np.trace(P) + 0.9 * 0.9 / 0.1 * 0.05**2 * np.trace(P)  # w now, and for ever after
    z = np.hstack([x, u]) / SCALE
    found = sum(own_features(z, i, 3) @ theta for i, theta in enumerate(one.theta))
    np.testing.assert_allclose(found, exact, rtol=1e-9)


@pytest.mark.parametrize("sends", ["delta and C", "nothing"])
def test_the_first_improvement_is_that_of_the_exact_value(sends):
    """Of all costs it is the derivative of J; agent by agent, the others as they are."""
    one, K = learner(sends=sends), UNEQUAL.start()
    for i in range(3):
        which = slice(i, i + 1) if sends == "nothing" else slice(None)
        Q, R = UNEQUAL.Q[which].sum(0), UNEQUAL.R[which].sum(0)
        P = solve_discrete_lyapunov(np.sqrt(0.9) * (UNEQUAL.A - UNEQUAL.B @ K).T, Q + K.T @ R @ K)
        H, G = R + 0.9 * UNEQUAL.B.T @ P @ UNEQUAL.B, 0.9 * UNEQUAL.B.T @ P @ UNEQUAL.A
        rest = np.delete(H[i], i) @ np.delete(K, i, 0)
        np.testing.assert_allclose(one.greedy()[i], (G[i] - rest) / H[i, i], rtol=1e-8, atol=1e-9)


def test_the_step_is_the_central_one_and_its_numbers_are_counted():
    """(sum of phi phi' + T sigma I)^-1 sum of delta phi, over the parameters of all agents together."""
    rng, one = np.random.default_rng(2), learner(sigma=0.3)
    G, td = [own_features(rng.normal(size=(15, 9)), i, 3).T for i in range(3)], rng.normal(size=15)
    whole = np.vstack(G)
    expected = np.linalg.solve(whole @ whole.T + 15 * 0.3 * np.eye(len(whole)), whole @ td)
    found = np.concatenate(one.changes(G, np.tile(td, (3, 1)), np.zeros(1, int)))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    P = mixing_matrix(3, line(3), 0.25)
    for sends, numbers in (("delta and C", 15 + 15**2), ("delta", 15), ("nothing", 0)):
        assert learner(sends=sends, P=P, rounds=7).run(1, progress=False).log.numbers[0] == 4 * 7 * numbers
    near = learner(P=P, rounds=90).run(20, progress=False)
    np.testing.assert_allclose(near.K, learner().run(20, progress=False).K, rtol=1e-5, atol=1e-7)


def test_the_sum_leads_to_the_team_s_optimum_and_nothing_sent_does_not():
    ends = {sends: learner(1, sends=sends, alpha=0.1).run(800, progress=False).log.ratio[-1]
            for sends in ("delta and C", "nothing")}  # fmt: skip
    assert ends["delta and C"] < 1.1 and ends["nothing"] > 1.4


def test_a_step_that_is_too_long_is_lost_and_says_so():
    run = learner(sends="delta", sigma=0.01, alpha=3.0).run(400, progress=False)
    assert run.log.ratio[-1] == np.inf and "no longer stabilises" in run.log.stopped
