"""The local critic: its closed form, what it finds, and the three steps that it gives an MPC."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import LinearParameters, LinearPlant, linear
from mpcrl_course.learners.local_critic import (
    LocalCritic,
    LocalIteration,
    actor_gradient,
    curvature,
    filtered,
    gauss_newton_step,
    limited,
    local_fit,
    lstd,
)
from mpcrl_course.problems import linear_mpc, quadratic
from mpcrl_course.problems.quadratic import QuadraticMPC

TRUE = QuadraticMPC()
PHI = quadratic.true_phi()
#: The terminal weight of lecture 06's model, with which learning begins.
WRONG = QuadraticMPC(quadratic.terminal_weight(1.0))
STARTS = {
    "lecture 06": WRONG.parameters.pack(),
    "2.5 B": WRONG.parameters.pack(A=quadratic.A, B=2.5 * quadratic.B[:, 0]),
    "0.7 A": WRONG.parameters.pack(A=0.7 * quadratic.A, B=quadratic.B[:, 0]),
    "b": WRONG.parameters.pack(b=[0.3, 0.1]),
}


def first(phi, seed, M=2000, ridge=1e-4):
    learner = LocalIteration(TRUE, phi, np.random.default_rng(seed), M=M, ridge=ridge)
    learner.step()
    return learner.log.w[0], learner.log.se[0], learner


def ratios(start, rule, step_size, steps, seed=0):
    learner = LocalIteration(WRONG, STARTS[start], np.random.default_rng(seed), rule=rule, step_size=step_size)
    return learner.run(steps, progress=False).log.ratio


def test_lstd_is_the_formula_and_its_fixed_point():
    """By hand for one parameter; and for more: the TD errors of Q_w are orthogonal to psi, but for the ridge."""
    w = lstd([[1.0], [2.0], [1.0]], [[2.0], [0.0], [1.0]], [1.0, 3.0, -2.0], 0.5, 0.25)
    assert w[0] == pytest.approx((1 + 6 - 2) / 3 / ((1 * 0 + 2 * 2 + 1 * 0.5) / 3 + 0.25))
    rng = np.random.default_rng(0)
    psi, psi_next, td = rng.normal(size=(50, 4)), rng.normal(size=(50, 4)), rng.normal(size=50)
    fit = local_fit(psi, psi_next, td, 0.9, 0.0)
    left = td + 0.9 * psi_next @ fit.w - psi @ fit.w
    np.testing.assert_allclose(psi.T @ left, 0.0, atol=1e-10)
    assert (fit.before, fit.after) == pytest.approx((np.sqrt(np.mean(td**2)), np.sqrt(np.mean(left**2))))
    with pytest.raises(ValueError, match="ridge"):
        lstd(np.ones((3, 2)), np.zeros((3, 2)), np.ones(3), 0.9, 0.0)


def test_standard_errors_are_the_spread_over_many_samples():
    """A regression with known noise, of another size where psi is larger (gamma 0: LSTD is least squares)."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        psi = rng.normal(size=(300, 2)) * [1.0, 2.0]
        td = psi @ [0.5, -1.0] + 0.3 * rng.standard_normal(300) * (1.0 + np.abs(psi[:, 0]))
        fit = local_fit(psi, 0.0 * psi, td, 0.0, 0.0)
        found.append([*fit.w, *fit.se])
    found = np.array(found)
    np.testing.assert_allclose(found[:, :2].mean(0), [0.5, -1.0], atol=0.01)
    np.testing.assert_allclose(found[:, :2].std(0), found[:, 2:].mean(0), rtol=0.1)


def test_at_the_optimum_there_is_nothing_to_correct():
    """All nine w within 3.5 standard errors of 0 on fixed seeds, and w/se spread as it should be."""
    fits = [first(PHI, seed)[:2] for seed in range(12)]
    z = np.array([w / se for w, se in fits])
    assert np.abs(z).max() < 3.5 and 0.8 < z.std() < 1.25
    assert np.median([np.abs(w).max() for w, _ in fits]) < 0.03


def test_what_is_left_out_is_found():
    """With V0 = 0 the error is found in w_V0, and nowhere else."""
    without = TRUE.parameters.pack(PHI, V0=0.0)
    w, se, _ = first(without, 0)
    assert abs(w[0] - PHI[0]) < 3.5 * se[0] and w[0] > 5 * se[0]
    assert (np.abs(w[1:]) < 3.5 * se[1:]).all()


def test_without_a_ridge_the_direction_that_is_not_seen_is_arbitrary():
    """The eighth singular value of psi is not small, the ninth is rounding."""
    psi = quadratic.features(*quadratic.collect(*TRUE.policy(PHI), 2000, np.random.default_rng(0))[:2])
    psi = psi @ TRUE.derivatives(PHI)[0].T
    singular = np.linalg.svd(psi / np.sqrt(len(psi)))[1]
    assert singular[7] > 1e-3 and singular[8] < 1e-12


def test_the_three_steps_are_one_step_filtered():
    """mean of grad pi grad_a Q_w = -G w, two independent sums: so Gauss-Newton's step is (G + ridge I)^-1 G w."""
    for phi in (*STARTS.values(), PHI):
        rng = np.random.default_rng(0)
        K, k = WRONG.policy(phi)
        s, w = rng.normal(size=(200, 2)), rng.normal(size=9)
        omega, (D, E) = WRONG.omega(phi), WRONG.derivatives(phi)
        jacobian = np.column_stack([s, np.ones(200)]) @ E.T
        gradient = actor_gradient(jacobian, quadratic.slope(omega + w @ D, s, -s @ K.T - k))
        G = curvature(jacobian, np.full(200, 2 * quadratic.quadratic_of(omega).M[2, 2]))
        np.testing.assert_allclose(gradient, -G @ w, atol=1e-9 * np.abs(gradient).max())
        step = gauss_newton_step(gradient, G, 1e-3)
        np.testing.assert_allclose(step, filtered(w, G, 1e-3), atol=1e-9 * np.abs(step).max())
        assert np.linalg.matrix_rank(G, tol=1e-9 * np.linalg.norm(G)) == 3  # of nine directions three move the policy


def test_a_step_follows_its_rule():
    for rule in ("critic", "actor", "Gauss-Newton"):
        learner = LocalIteration(WRONG, STARTS["b"], np.random.default_rng(3), rule=rule, step_size=0.2, limit=None)
        phi, (K, k) = learner.phi, WRONG.policy(STARTS["b"])
        learner.step()
        s, w = learner.data.s, learner.w
        jacobian = np.column_stack([s, np.ones(len(s))]) @ WRONG.derivatives(phi)[1].T
        G = jacobian.T @ jacobian / len(s) * 2 * quadratic.quadratic_of(WRONG.omega(phi)).M[2, 2]
        expected = {"critic": w, "actor": G @ w, "Gauss-Newton": np.linalg.solve(G + 1e-3 * np.eye(9), G @ w)}[rule]
        np.testing.assert_allclose(learner.phi - phi, 0.2 * expected, rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(learner.log.phi[-1], learner.phi)
        assert learner.log.ratio[0] == pytest.approx(quadratic.expected_cost(K, k) / quadratic.least_cost())


def test_from_wrong_models_short_steps_learn_and_full_ones_may_diverge():
    assert ratios("lecture 06", "critic", 0.3, 12)[-1] < 1.005
    assert ratios("2.5 B", "critic", 0.3, 12)[-1] < 1.005
    for start in ("2.5 B", "0.7 A"):  # right as a critic, bad as a model
        assert ratios(start, "critic", 1.0, 6)[-1] == np.inf
    assert ratios("0.7 A", "Gauss-Newton", 1.0, 6)[-1] < 1.01
    assert ratios("b", "Gauss-Newton", 1.0, 6)[-1] < 1.03 < ratios("b", "critic", 0.3, 12)[-1]
    assert ratios("2.5 B", "actor", 0.1, 12)[-1] < 1.06


def test_a_run_without_a_stable_policy_stops_and_says_so():
    learner = LocalIteration(WRONG, STARTS["0.7 A"], np.random.default_rng(0), step_size=1.0).run(6, progress=False)
    assert "stabilises" in learner.log.stopped and learner.k < 6


def test_a_step_is_shortened_to_its_limit():
    np.testing.assert_allclose(limited([3.0, 4.0], 1.0), [0.6, 0.8])
    np.testing.assert_allclose(limited([0.3, 0.4], 1.0), [0.3, 0.4])
    np.testing.assert_allclose(limited([3.0, 4.0], None), [3.0, 4.0])


# ---- along a path of the constrained plant


def test_a_batch_is_one_of_gradients_at_one_theta():
    """The first steps by hand: psi = grad Q(s, a), psi+ = grad V(s+), delta; then theta + alpha w, at most 0.1 long."""
    mpc, learner = linear_mpc(), LocalCritic(linear_mpc(), LinearPlant(), np.random.default_rng(0), every=20)
    theta, rows = learner.theta, []
    for _ in range(20):
        s, a = learner.s, learner.a
        learner.step()
        q, v = mpc.Q(theta, s, a), mpc.V(theta, learner.s)
        rows.append([q.gradient(), v.gradient(), learner.log.cost[-1] + 0.9 * v.value - q.value])
        assert learner.log.td[-1] == pytest.approx(rows[-1][2], abs=1e-8)
    psi, psi_next, td = map(np.array, zip(*rows))
    A = psi.T @ (psi - 0.9 * psi_next) / 20 + 1e-2 * np.eye(16)
    w = np.linalg.solve(A, psi.T @ td / 20)
    np.testing.assert_allclose(learner.w, w, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(learner.theta - theta, limited(0.3 * w, 0.1), rtol=1e-5, atol=1e-8)
    assert np.linalg.norm(0.3 * w) > 0.1
    np.testing.assert_allclose(learner.plan.u0, mpc.policy(learner.theta, learner.s).u0, atol=1e-8)


def test_it_explores_within_the_limits_of_the_plant():
    learner = LocalCritic(linear_mpc(), LinearPlant(), np.random.default_rng(0), noise=3.0)
    log = learner.run(50, progress=False).log
    assert np.abs(log.u).max() == 1.0 and (np.abs(log.u) < 1.0).any()


@pytest.mark.parametrize("seed", range(5))
def test_it_learns_the_constrained_plant(seed):
    """3000 transitions from lecture 06's wrong model: from 0.92 to below 0.05, greedy, on noise not seen."""
    mpc, plant = linear_mpc(), LinearParameters()
    theta = LocalCritic(mpc, LinearPlant(), np.random.default_rng(seed)).run(3000, progress=False).theta
    noise = plant.draw(1234, 3, 400)
    costs = [run(lambda y, t=t: mpc.values(t, y)[1], plant, [linear.START] * 3, noise).cost.mean() for t in
             (mpc.parameters.initial(), theta)]  # fmt: skip
    assert costs[0] > 0.8 and costs[1] < 0.05


def test_without_a_limit_it_leaves_what_its_gradient_knows():
    learner = LocalCritic(linear_mpc(), LinearPlant(), np.random.default_rng(1), limit=None).run(1500, progress=False)
    assert learner.log.stopped and learner.k < 1500 and learner.log.failed[-200:].all()
    assert np.isnan(learner.log.td[-200:]).all()


def test_a_readers_own_weights_are_asked_and_checked():
    seen = []

    def own(psi, psi_next, td, gamma, ridge):
        seen.append((psi.shape, psi_next.shape, td.shape, gamma, ridge))
        return 0.01 * np.ones(psi.shape[1])

    learner = LocalCritic(linear_mpc(), LinearPlant(), np.random.default_rng(0), every=10, weights=own)
    learner.run(10, progress=False)
    np.testing.assert_allclose(learner.log.theta[-1] - learner.log.theta[0], 0.003)
    assert seen == [((10, 16), (10, 16), (10,), 0.9, 0.01)]
    bad = LocalCritic(linear_mpc(), LinearPlant(), np.random.default_rng(0), every=1, weights=lambda *_: 1.0)
    with pytest.raises(ValueError, match="your weights function"):
        bad.step()


def test_bounds_on_theta_are_kept():
    mpc = linear_mpc()
    theta = mpc.parameters.initial()
    learner = LocalCritic(
        mpc, LinearPlant(), np.random.default_rng(0), every=20, lower=theta - 0.01, upper=theta + 0.01
    )
    learner.run(100, progress=False)
    apart = np.abs(learner.log.theta - theta)
    assert apart.max() == pytest.approx(0.01, abs=1e-12)
