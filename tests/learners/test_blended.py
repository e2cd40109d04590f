"""Blended critics: the parts at beta = 0 and 1, the mixture over lengths by brute force, the sweep of the lecture."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.data import make_09
from mpcrl_course.envs import LinearEpisodes
from mpcrl_course.learners.blended import BlendedIteration, blend, learned_omega, lstd_q, mixture
from mpcrl_course.learners.blended_target import BlendedDDPG
from mpcrl_course.learners.ddpg import DDPG, critic_gradient
from mpcrl_course.mlp import MLP
from mpcrl_course.problems import linear_mpc, quadratic

F = np.hstack([quadratic.WRONG_A, quadratic.WRONG_B])


def convex(rng):
    """Weights of a random critic that is curved upwards."""
    L = rng.normal(size=(3, 3))
    return quadratic.weights_of(quadratic.Quadratic(L @ L.T + 0.5 * np.eye(3), rng.normal(size=3), rng.normal()))


def sweep(bias, seeds, **options):
    mpc, phi = quadratic.biased(bias)
    runs = [BlendedIteration(mpc, phi, np.random.default_rng(seed), **options) for seed in range(seeds)]
    return np.array([learner.run(6, progress=False).log.ratio[-1] for learner in runs])


def test_a_blend_is_its_parts_at_both_ends():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=10), rng.normal(size=10)
    np.testing.assert_array_equal(blend(one, other, 0.0), one)
    np.testing.assert_array_equal(blend(one, other, 1.0), other)
    np.testing.assert_allclose(blend(one, other, 0.25), 0.75 * one + 0.25 * other)
    with pytest.raises(ValueError, match="beta"):
        blend(one, other, 1.1)


def test_from_much_data_the_critic_of_a_policy_is_found():
    """LSTD against the closed form, an error that falls as 1/sqrt(M) does; by hand for one feature."""
    K, k = np.array([[0.4, 1.6]]), np.array([0.1])
    true, error = quadratic.policy_omega(K, k), {}
    for M in (4_000, 400_000):
        data = [quadratic.collect(K, k, M, np.random.default_rng(seed)) for seed in range(4)]
        error[M] = np.sqrt(np.mean([(learned_omega(one, K, k, 0.0) - true) ** 2 for one in data]))
    assert error[400_000] < 0.05 and 5.0 < error[4_000] / error[400_000] < 20.0
    pulled = [np.abs(learned_omega(one, K, k, 1e-4) - true).max() for one in data]  # more data are no help against it
    assert min(pulled) > 0.4
    assert lstd_q([[1.0], [2.0]], [[2.0], [1.0]], [1.0, 3.0], 0.5, 0.1)[0] == pytest.approx(3.5 / (3.0 / 2 + 0.1))


def test_the_mixture_over_lengths_is_the_sum_by_brute_force():
    """Fixed inputs after a: sum (1 - lambda) lambda^h Q^h + lambda^H Q^H, minimised over the inputs by scipy."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    omega, b, H, lam = convex(rng), np.array([0.1, -0.2]), 4, 0.7
    s, a = rng.normal(size=2), rng.normal(size=1)

    def q(x, u):
        return (quadratic.features(x[None], u[None]) @ omega)[0]

    def total(inputs):
        inputs, x, lengths, paid = [a, *inputs.reshape(-1, 1)], s, [], 0.0
        for h in range(H + 1):
            lengths.append(paid + 0.9**h * q(x, inputs[h]))
            paid += 0.9**h * (0.5 * x @ x + 0.25 * inputs[h] @ inputs[h])
            x = F @ [*x, *inputs[h]] + b
        return sum((1 - lam) * lam**h * lengths[h] for h in range(H)) + lam**H * lengths[H]

    least = minimize(total, np.zeros(H), tol=1e-12).fun
    assert (quadratic.features(s[None], a[None]) @ mixture(omega, F, b, lam, H))[0] == pytest.approx(least, rel=1e-7)


def test_the_mixture_is_its_parts_at_both_ends():
    omega = convex(np.random.default_rng(1))
    np.testing.assert_allclose(mixture(omega, F, np.zeros(2), 0.0, 10), omega)
    np.testing.assert_allclose(mixture(omega, F, np.zeros(2), 0.5, 0), omega)
    mpc = quadratic.QuadraticMPC()
    V0 = quadratic.true_phi()[0]  # the plant's noise, which the model does not know, enters Q* as a constant
    found = mixture(mpc.omega(mpc.parameters.pack(quadratic.true_phi())), np.hstack([quadratic.A, quadratic.B]),
                    np.zeros(2), 1.0, 3)  # fmt: skip
    np.testing.assert_allclose(found, quadratic.true_omega() - V0 * (1 - 0.9**3) * np.eye(10)[9], atol=1e-12)
    with pytest.raises(quadratic.NoLeastAction):
        mixture(omega - 9.0 * np.eye(10)[5], F, np.zeros(2), 0.5, 2)


def test_iterations_with_only_the_mpc_stay_where_they_are():
    for bias, ratio in ((0.0, 1.0), (1.0, 1.046), (2.0, 1.400)):
        np.testing.assert_allclose(sweep(bias, 2, beta=1.0), ratio, atol=5e-4)


def test_the_sweep_of_bias_and_beta():
    """30 seeds: what is best at no bias is worst at twice the bias; without the MPC many runs fail."""
    median = {(bias, beta): np.median(sweep(bias, 30, beta=beta)) for bias in (0.0, 2.0) for beta in (0.25, 0.75)}
    assert median[0.0, 0.75] < 1.01 < 1.02 < median[0.0, 0.25] < 1.08
    assert median[2.0, 0.25] < 1.1 < 1.2 < median[2.0, 0.75] < 1.29
    assert (sweep(2.0, 30, beta=0.0) > 1.5).mean() > 0.2
    assert (sweep(2.0, 30, beta=0.5) > 1.5).mean() < 0.1


def test_a_ridge_that_is_not_small_makes_a_critic_fail():
    """M = 200 is enough for the critic alone; a ridge of 1e-4, of the size of its least singular value, spoils it."""
    assert (sweep(1.0, 20, beta=0.0, M=200) < 1.5).all()
    assert (sweep(1.0, 20, beta=0.0, M=200, ridge=1e-4) > 1.5).mean() > 0.3


def test_more_data_as_beta_falls_is_what_a_decay_needs():
    """With as many transitions in all, those of the last iterations count."""
    M = [20 * max(1, round(1.05 / 0.7**j)) for j in range(6)]
    assert sum(M) == 6 * 60
    fixed, growing = (sweep(1.0, 30, beta=lambda j: 0.7**j, M=one) for one in (60, M.__getitem__))
    assert np.median(growing) < np.median(fixed) - 0.02


def test_an_iteration_is_evaluation_blend_and_improvement():
    mpc, phi = quadratic.biased(1.0)
    learner = BlendedIteration(mpc, phi, np.random.default_rng(0), beta=0.3, M=100)
    K, k = mpc.policy(phi)
    learner.step()
    data = quadratic.collect(K, k, 100, np.random.default_rng(0))
    omega = 0.7 * learned_omega(data, K, k) + 0.3 * mpc.omega(phi)
    np.testing.assert_allclose(learner.critic, omega)
    np.testing.assert_allclose(learner.K, quadratic.greedy_policy(omega)[0])
    assert learner.log.ratio[1] * quadratic.least_cost() == pytest.approx(
        quadratic.expected_cost(learner.K, learner.offset)
    )
    own = BlendedIteration(
        mpc, phi, np.random.default_rng(0), M=100, blend=lambda q, q_mpc, beta: 0.7 * q + 0.3 * q_mpc
    )
    own.step()
    np.testing.assert_allclose(own.critic, omega)


def test_a_critic_without_a_least_action_ends_the_run():
    mpc, phi = quadratic.biased(1.0)
    learner = BlendedIteration(mpc, phi, np.random.default_rng(0), blend=lambda q, q_mpc, beta: -q_mpc)
    learner.run(6, progress=False)
    assert learner.k == 1 and "no least action" in learner.log.stopped and learner.log.ratio[-1] == np.inf


# ---- a network with a blended target


def blended(seed, beta, **options):
    options = {"warm_up": 20, "batch": 8, "width": 8, "gamma": 0.9, **options}
    return BlendedDDPG(
        LinearEpisodes(), np.random.default_rng(seed), linear_mpc(), beta=beta, state=lambda s: s / 4.0, **options
    )


def test_q_mpc_is_stored_with_its_transition():
    learner, mpc = blended(0, 0.5).run(60, progress=False), linear_mpc()
    rows = learner.replay.all()
    expected = mpc.values(mpc.parameters.initial(), rows.s.astype(float) / 4.0, rows.a.astype(float))[0]
    np.testing.assert_allclose(rows.q[:, 0], expected, rtol=1e-4, atol=1e-3)


def test_without_a_share_of_the_mpc_it_is_ddpg():
    one = blended(1, 0.0).run(60, progress=False)
    other = DDPG(LinearEpisodes(), np.random.default_rng(1), warm_up=20, batch=8, width=8, gamma=0.9)
    other.run(60, progress=False)
    np.testing.assert_array_equal(one.agent.actor.theta, other.agent.actor.theta)
    np.testing.assert_array_equal(one.log.td, other.log.td)


def test_the_target_is_blended():
    """At beta = 1 the mean target is that of the stored Q^MPC; between, the share of each."""
    learner = blended(2, 1.0).run(40, progress=False)
    batch = learner.replay.draw(np.random.default_rng(5))
    assert learner.update(batch)[1] == pytest.approx(float(batch.q.mean()), rel=1e-5)
    plain = learner.agent.critic_target(batch.cost, batch.terminated, batch.s_next, learner.agent.target_actor,
                                        learner.agent.target_critic, 0.9)  # fmt: skip
    learner.beta = lambda k: 0.25
    assert learner.update(batch)[1] == pytest.approx(0.75 * plain.mean() + 0.25 * batch.q.mean(), rel=1e-5)


def test_a_seed_gives_one_run():
    one, other, third = (blended(seed, lambda k: max(0.0, 1.0 - k / 50)).run(60, progress=False) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.agent.critic.theta, other.agent.critic.theta)
    assert not np.array_equal(one.agent.critic.theta, third.agent.critic.theta)


def test_hubers_loss_bounds_what_a_transition_counts():
    rng = np.random.default_rng(0)
    critic = MLP(3, 1, rng, width=8)
    s, a = (rng.normal(size=(6, n)).astype(np.float32) for n in (2, 1))
    y = critic(np.hstack([s, a])) + np.array([[0.5], [-0.2], [100.0], [-100.0], [1.0], [3.0]], np.float32)
    near = critic(np.hstack([s, a])) + np.array([[0.5], [-0.2], [1.0], [-1.0], [1.0], [1.0]], np.float32)
    clipped, td = critic_gradient(critic, s, a, y, 1.0)
    np.testing.assert_allclose(clipped, critic_gradient(critic, s, a, near)[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(td[:, 0], [0.5, -0.2, 100.0, -100.0, 1.0, 3.0], rtol=1e-4)


# ---- what lecture 09 shows


def test_the_shipped_sweep_is_what_the_code_computes():
    with places.data("critic_09.npz") as file:
        shipped, names = dict(file), list(file["names"])
    assert names == list(make_09.SWEEP) and shipped["ratio"].shape == (len(names), 5, 100)
    for row in ("β = 0.25", "β = 0.7ʲ, M grows", "λ = 0.9ʲ"):
        found = sweep(1.0, 4, **make_09.SWEEP[row])
        np.testing.assert_allclose(shipped["ratio"][names.index(row), 2, :4], found, rtol=1e-5)


def test_the_shipped_networks_learned_from_their_targets():
    """Ten a row: a wrong model at beta = 1 ends near its own MPC, the others near the true one."""
    with places.data("critic_09.npz") as file:
        costs, names = file["costs"], list(file["targets"])
        alone = {"wrong": float(file["alone_wrong"]), "true": float(file["alone_true"])}
    assert names == list(make_09.TARGETS) and costs.shape == (7, 10, 50)
    final = dict(zip(names, np.median(costs[:, :, 40:], axis=(1, 2))))
    assert 0.7 * alone["wrong"] < final["β = 1, wrong model"] < 1.3 * alone["wrong"]
    for row in ("β = 0", "β falls, wrong model", "β = 1, true model"):
        assert alone["true"] < final[row] < 1.3 * alone["true"]
