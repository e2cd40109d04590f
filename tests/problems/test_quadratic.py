"""The linear plant without bounds: its closed forms against a solver, finite differences, and many roll-outs."""

import numpy as np
import pytest

from mpcrl_course.mpc import riccati
from mpcrl_course.problems import quadratic
from mpcrl_course.problems.quadratic import NoLeastAction, QuadraticMPC

MPC = QuadraticMPC()
PHI = MPC.parameters.pack(V0=0.4, A=[[1.0, 0.25], [0.1, 0.9]], B=[0.05, 0.3], b=[0.3, -0.1])


def test_the_recursion_is_the_solved_problem():
    """Value, gradient in phi and in a, policy and its Jacobian, against the solver's and their sensitivities."""
    mpc, rng = MPC.declared(), np.random.default_rng(0)
    omega, (K, k), (D, E) = MPC.omega(PHI), MPC.policy(PHI), MPC.derivatives(PHI)
    for _ in range(10):
        s, a = rng.normal(size=2), rng.normal(size=1)
        q, v, z = mpc.Q(PHI, s, a), mpc.V(PHI, s), quadratic.features(s[None], a[None])[0]
        assert q.value == pytest.approx(z @ omega, abs=1e-11)
        np.testing.assert_allclose(q.gradient(), D @ z, atol=1e-11)
        np.testing.assert_allclose(q.gradient_action(), quadratic.slope(omega, s[None], a[None]), atol=1e-11)
        np.testing.assert_allclose(v.u0, -K @ s - k, atol=1e-12)
        np.testing.assert_allclose(v.policy_jacobian()[0], E @ [*s, 1.0], atol=1e-11)


def test_derivatives_are_those_by_differences():
    D, E = MPC.derivatives(PHI)
    h = 1e-6 * np.eye(9)
    np.testing.assert_allclose(D, [(MPC.omega(PHI + d) - MPC.omega(PHI - d)) / 2e-6 for d in h], atol=1e-7)
    gains = [np.concatenate([*-MPC.policy(PHI + d)[0], -MPC.policy(PHI + d)[1]]) for d in h]
    below = [np.concatenate([*-MPC.policy(PHI - d)[0], -MPC.policy(PHI - d)[1]]) for d in h]
    np.testing.assert_allclose(E, (np.array(gains) - below) / 2e-6, atol=1e-7)


def test_with_the_true_model_and_v0_it_is_the_optimal_critic():
    phi = quadratic.true_phi()
    assert phi[0] == pytest.approx(0.10103, abs=5e-6)
    np.testing.assert_allclose(MPC.omega(phi), quadratic.true_omega(), atol=1e-13)
    np.testing.assert_allclose(MPC.P, [[1.489, 0.582], [0.582, 3.001]], atol=6e-4)
    np.testing.assert_allclose(MPC.policy(phi)[0], [[0.501, 1.865]], atol=6e-4)


def test_parameters_that_the_critic_cannot_tell_apart():
    """Rank 8 of 9, whatever the terminal weight: M less the stage cost is gamma F'P F, of rank 2 and 5 dimensions."""
    for P in (None, np.eye(2), [[2.0, -0.3], [-0.3, 0.5]]):
        D, _ = QuadraticMPC(P).derivatives(PHI)
        assert np.linalg.matrix_rank(D, tol=1e-9) == 8
        D, _ = QuadraticMPC(P).derivatives(MPC.parameters.pack(PHI, b=[0.0, 0.0]))
        assert np.linalg.matrix_rank(D[1:7], tol=1e-9) == 5  # A and B, six entries, move M alone
    M = quadratic.quadratic_of(MPC.omega(PHI)).M - quadratic.STAGE
    assert np.linalg.matrix_rank(M, tol=1e-9) == 2


def test_turned_predictions_are_what_is_not_seen():
    """At the optimum: F -> F + e P^-1 Omega F, Omega antisymmetric, changes no value of any prediction."""
    D, _ = MPC.derivatives(quadratic.true_phi())
    F, turn = np.hstack([quadratic.A, quadratic.B]), np.array([[0.0, -1.0], [1.0, 0.0]])
    direction = np.concatenate([[0.0], (np.linalg.inv(MPC.P) @ turn @ F).ravel(order="F"), [0.0, 0.0]])
    np.testing.assert_allclose(direction @ D, 0.0, atol=1e-12)
    assert np.abs(np.roll(direction, 1) @ D).max() > 0.1


def test_the_terminal_weight_solves_the_riccati_equation():
    for bias in (0.0, 1.0, 2.0):
        a = quadratic.A + bias * (quadratic.WRONG_A - quadratic.A)
        b = quadratic.B + bias * (quadratic.WRONG_B - quadratic.B)
        P, _ = riccati(a, b, quadratic.Q_COST, quadratic.R_COST, 0.9)
        np.testing.assert_allclose(quadratic.terminal_weight(bias), P, rtol=1e-11)


def test_a_biased_model_goes_from_the_true_one_to_that_of_the_lectures():
    for bias, ratio in ((0.0, 1.0), (1.0, 1.0459), (2.0, 1.400)):
        mpc, phi = quadratic.biased(bias)
        assert quadratic.expected_cost(*mpc.policy(phi)) / quadratic.least_cost() == pytest.approx(ratio, abs=5e-4)
    np.testing.assert_allclose(mpc.parameters.unpack(phi).A, 2 * quadratic.WRONG_A - quadratic.A)


def test_the_expected_cost_is_the_mean_of_many_roll_outs():
    K, k, rng = np.array([[0.3, 1.5]]), np.array([0.2]), np.random.default_rng(0)
    discounts = quadratic.DISCOUNT ** np.arange(150)[:, None]
    costs = (discounts * quadratic.collect(K, k, 150 * 20000, rng, 0.0, 150).cost.reshape(150, -1)).sum(0)
    error = costs.std() / np.sqrt(len(costs))
    assert abs(costs.mean() - quadratic.expected_cost(K, k)) < 3.5 * error
    assert quadratic.expected_cost(np.array([[0.3, -1.0]]), k) == np.inf
    assert quadratic.policy_omega(np.array([[0.3, -1.0]]), k) is None


def test_the_critic_of_a_policy_satisfies_its_bellman_equation():
    K, k, rng = np.array([[0.3, 1.5]]), np.array([0.2]), np.random.default_rng(1)
    omega, value = quadratic.policy_omega(K, k), quadratic.policy_value(K, k)
    s, a, w = rng.normal(size=(5, 2)), rng.normal(size=(5, 1)), 0.05 * rng.standard_normal((200000, 2))
    on = quadratic.features(s, -s @ K.T - k) @ omega  # V = Q(s, pi(s))
    np.testing.assert_allclose(on, np.einsum("ni,ij,nj->n", s, value.M, s) + 2 * s @ value.q + value.c, atol=1e-12)
    for i in range(5):
        x = quadratic.A @ s[i] + quadratic.B @ a[i] + w
        next_values = np.einsum("ni,ij,nj->n", x, value.M, x) + 2 * x @ value.q + value.c
        cost = 0.5 * s[i] @ s[i] + 0.25 * a[i] @ a[i]
        found = (quadratic.features(s[i : i + 1], a[i : i + 1]) @ omega)[0]
        assert abs(found - cost - 0.9 * next_values.mean()) < 4 * 0.9 * next_values.std() / np.sqrt(len(w))


def test_weights_and_quadratic_functions_are_each_others_inverse():
    rng = np.random.default_rng(2)
    omega, s, a = rng.normal(size=10), rng.normal(size=(4, 2)), rng.normal(size=(4, 1))
    M, q, c = function = quadratic.quadratic_of(omega)
    np.testing.assert_allclose(quadratic.weights_of(function), omega)
    z = np.hstack([s, a])
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", z, M, z) + 2 * z @ q + c, quadratic.features(s, a) @ omega)
    up = omega + 5.0 * np.eye(10)[5]
    K, k = quadratic.greedy_policy(up)
    np.testing.assert_allclose(quadratic.slope(up, s, -s @ K.T - k), 0.0, atol=1e-12)
    with pytest.raises(NoLeastAction, match="curvature in a is -"):
        quadratic.greedy_policy(omega - 9.0 * np.eye(10)[5])


def test_transitions_are_those_of_the_plant_under_the_policy():
    K, k = np.array([[0.5, 1.8]]), np.array([0.1])
    data = quadratic.collect(K, k, 4000, np.random.default_rng(0))
    assert [part.shape for part in data] == [(4000, 2), (4000, 1), (4000,), (4000, 2)]
    noise = data.s_next - data.s @ quadratic.A.T - data.a @ quadratic.B.T
    np.testing.assert_allclose(noise.std(0), 0.05, rtol=0.05)
    np.testing.assert_allclose((data.a + data.s @ K.T + k).std(), 0.3, rtol=0.05)
    np.testing.assert_allclose(data.cost, 0.5 * (data.s**2).sum(1) + 0.25 * data.a[:, 0] ** 2)
    np.testing.assert_array_equal(data.s_next[:200], data.s[200:400])  # 200 episodes, step by step
    with pytest.raises(ValueError, match="multiple of 20"):
        quadratic.collect(K, k, 30, np.random.default_rng(0))
