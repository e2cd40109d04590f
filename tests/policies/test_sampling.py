"""Sampling: the weights by hand, plans against closed forms and brute force, plain MPPI as what prior and Q leave."""

import math

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.dp.pendulum import FIXED_STARTS, evaluate
from mpcrl_course.envs.pendulum import NOMINAL, dynamics, stage_cost
from mpcrl_course.policies.sampling import MPPI, mppi_weights


def linear(z, a):
    return 0.9 * z + 0.5 * a


def quadratic(z, a):
    return z[..., 0] ** 2 + 0.1 * a[..., 0] ** 2


def tail(z):
    return 2.0 * z[..., 0] ** 2


def feedback(z):
    return -0.8 * z


def make(horizon=3, limit=2.0, **options):
    return MPPI(linear, quadratic, [-limit], [limit], horizon=horizon, **options)


# --- weights ----------------------------------------------------------------------------------------------


def test_weights_by_hand_sum_to_one_and_know_no_common_cost():
    J = np.array([3.0, 1.0, 2.0])
    by_hand = [math.exp(-2 / 0.5), 1.0, math.exp(-1 / 0.5)]
    w = mppi_weights(J, 0.5)
    np.testing.assert_allclose(w, np.array(by_hand) / sum(by_hand), rtol=1e-14)
    for shift in (-5.0, 7.0, 1e4, -1e4):  # a common cost of 1e4 would be exp(-1e4) = 0 without the minimum taken off
        np.testing.assert_allclose(mppi_weights(J + shift, 0.5), w, rtol=1e-9)
    many = np.random.default_rng(0).normal(0, 50, (4, 7, 30))
    np.testing.assert_allclose(mppi_weights(many, 2.0).sum(axis=-1), 1.0, rtol=1e-14)
    np.testing.assert_array_equal(mppi_weights(many, 2.0)[2, 3], mppi_weights(many[2, 3], 2.0))  # plant by plant


def test_cold_weights_pick_the_best_and_hot_ones_all_alike():
    J = np.array([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(mppi_weights(J, 1e-300), [0.0, 1.0, 0.0])
    np.testing.assert_allclose(mppi_weights(J, 1e12), 1 / 3, rtol=1e-11)
    np.testing.assert_array_equal(mppi_weights([4.0], 0.1), [1.0])


# --- the plan ---------------------------------------------------------------------------------------------


def test_one_decision_by_hand():
    """Three samples, two steps, a discount, a critic, two plants: loops over numbers in the place of arrays."""
    policy = make(2, 1.2, samples=3, temperature=0.7, sigma=0.9, gamma=0.8, terminal=tail, seed=5)
    for decision in range(2):
        e = np.random.default_rng(5).standard_normal((2, 3, 2, 1))[decision]
        e[0] = 0
        before = np.concatenate([policy.plan[:, 1:], policy.plan[:, -1:]], axis=1) if decision else np.zeros((2, 2, 1))
        expected = []
        for i, start in enumerate((0.7, -1.5)):
            costs, plans = [], []
            for s in range(3):
                z, J, plan = start, 0.0, []
                for h in range(2):
                    a = min(1.2, max(-1.2, before[i, h, 0] + 0.9 * e[s, h, 0]))
                    J += 0.8**h * (z**2 + 0.1 * a**2)
                    z = 0.9 * z + 0.5 * a
                    plan.append(a)
                costs.append(J + 0.8**2 * 2.0 * z**2)
                plans.append(plan)
            w = [math.exp(-J / 0.7) for J in costs]
            expected.append([sum(w[s] * plans[s][h] for s in range(3)) / sum(w) for h in range(2)])
        u = policy([[0.7], [-1.5]])
        np.testing.assert_allclose(policy.plan[..., 0], expected, rtol=1e-12)
        np.testing.assert_array_equal(u, policy.plan[:, 0])


def test_of_a_quadratic_cost_the_plan_is_that_of_two_normal_laws():
    """N(0, sigma^2) times exp(-J / lambda), J = k (a - b)^2 / 2 + …, is normal: its mean is known."""
    z, sigma, temperature = 1.5, 0.8, 0.6
    policy = make(1, 50.0, samples=400_000, temperature=temperature, sigma=sigma, terminal=tail)
    k = 2 * 0.1 + 4 * 0.5**2  # of J(a) = z^2 + 0.1 a^2 + 2 (0.9 z + 0.5 a)^2
    b = -4 * 0.5 * 0.9 * z / k
    expected = (k * b / temperature) / (1 / sigma**2 + k / temperature)
    assert policy([[z]])[0, 0] == pytest.approx(expected, abs=5e-3)


def test_cold_and_with_many_samples_it_is_the_best_of_all_plans():
    """Brute force over both inputs of two steps; the limit of the first one is active."""
    grid = np.linspace(-1, 1, 401)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    z1 = 0.9 * 1.2 + 0.5 * a
    J = 1.2**2 + 0.1 * a**2 + z1**2 + 0.1 * b**2 + tail((0.9 * z1 + 0.5 * b)[..., None])
    best = np.unravel_index(J.argmin(), J.shape)
    policy = make(2, 1.0, samples=200_000, temperature=1e-4, terminal=tail)
    u = policy([[1.2]])
    assert grid[best[0]] == -1.0 and abs(grid[best[1]]) < 0.9
    np.testing.assert_allclose(u[0, 0], -1.0, atol=1e-3)
    np.testing.assert_allclose(policy.plan[0, 1, 0], grid[best[1]], atol=0.01)


def test_a_sample_alone_is_the_plan_and_cold_it_is_never_worse_than_plan_and_prior():
    assert make(samples=1)([[3.0]])[0, 0] == 0.0
    y = np.array([[1.0], [-2.5]])
    policy = make(4, samples=12, temperature=1e-9, prior=feedback, terminal=tail)

    def planned(plan):
        z, J = y.copy(), np.zeros(2)
        for h in range(4):
            a = feedback(z) if plan is None else plan[:, h]
            J, z = J + quadratic(z, np.clip(a, -2, 2)), linear(z, np.clip(a, -2, 2))
        return J + tail(z)

    policy(y)
    assert (planned(policy.plan) <= np.minimum(planned(None), planned(np.zeros((2, 4, 1)))) + 1e-12).all()


# --- prior and critic -------------------------------------------------------------------------------------


def test_plain_mppi_is_what_no_prior_and_no_critic_leave():
    y = np.array([[1.0], [-2.5]])
    plain = make()(y)
    for same in ({"prior": feedback, "guided": 0}, {"terminal": lambda z: 0.0 * z[..., 0]}, {"encode": lambda y: y}):
        np.testing.assert_array_equal(make(**same)(y), plain)
    for other in ({"prior": feedback}, {"terminal": tail}, {"seed": 1}, {"gamma": 0.5}):
        assert np.abs(make(**other)(y) - plain).min() > 1e-6


def test_samples_that_all_follow_the_prior_are_the_prior():
    """The plan itself is one sample more; where it costs much, and the prior has no noise, nothing else is left."""
    policy = make(4, samples=9, guided=8, prior=feedback, prior_sigma=0.0, terminal=lambda z: 1e6 * z[..., 0] ** 2)
    y = np.array([[1.0], [-2.0]])
    np.testing.assert_allclose(policy(y), feedback(y), rtol=1e-12)
    z = y.copy()
    for h in range(4):
        np.testing.assert_allclose(policy.plan[:, h], feedback(z), rtol=1e-12)
        z = linear(z, feedback(z))


def test_a_quarter_follows_the_prior_along_the_model_with_its_own_noise_and_the_rest_the_plan():
    policy = make(2, 50.0, samples=4000, sigma=3.0, prior=feedback, prior_sigma=0.3)
    a, J = policy.rollouts(np.array([[1.0]]), np.full((1, 2, 1), 5.0))
    assert a.shape == (1, 4000, 2, 1) and J.shape == (1, 4000)
    np.testing.assert_array_equal(a[0, 0], 5.0)
    second = feedback(linear(1.0, a[0, 1:1001, 0]))  # the prior where each sample then is
    np.testing.assert_allclose([a[0, 1, 0], a[0, 1, 1]], [[-0.8], second[0]])
    for mean, sigma, apart in (
        (-0.8, 0.3, a[0, 1:1001, 0]),
        (0.0, 0.3, a[0, 1:1001, 1] - second),
        (5.0, 3.0, a[0, 1001:]),
    ):
        assert apart.mean() == pytest.approx(mean, abs=0.1 * sigma)
        assert apart.std() == pytest.approx(sigma, rel=0.06)


def test_the_horizon_after_which_the_value_is_known_does_not_matter():
    """With the exact value behind it, one step is enough; without, the plan of one step does nothing."""
    P = 1.0
    for _ in range(200):
        P = 1 + 0.9**2 * P - (0.9 * 0.5 * P) ** 2 / (0.1 + 0.5**2 * P)
    gain = 0.9 * 0.5 * P / (0.1 + 0.5**2 * P)
    policy = make(1, 9.0, samples=100_000, temperature=1e-3, sigma=2.0, terminal=lambda z: P * z[..., 0] ** 2)
    y = np.array([[1.0], [-0.6]])
    np.testing.assert_allclose(policy(y), -gain * y, atol=0.02)
    blind = make(1, 9.0, samples=1000, temperature=1e-3, sigma=2.0)
    np.testing.assert_allclose(blind(y), 0.0, atol=0.1)


# --- as a controller --------------------------------------------------------------------------------------


def test_limits_are_kept_and_differ_by_input():
    policy = MPPI(
        lambda z, a: z + a, lambda z, a: (z**2).sum(-1), [-0.1, -2.0], [0.2, 1.0], horizon=3, sigma=[3.0, 5.0]
    )
    u = policy([[5.0, 5.0], [-5.0, -5.0]])
    assert u.shape == (2, 2) and (policy.plan >= [-0.1, -2.0]).all() and (policy.plan <= [0.2, 1.0]).all()
    assert (u[0] < -0.01).all() and (u[1] > 0.01).all()


def test_it_swings_the_pendulum_up_with_a_long_horizon_only():
    starts = FIXED_STARTS[:8]
    long, short = (evaluate(MPPI(dynamics, stage_cost, -2.0, 2.0, horizon=H), starts=starts).mean() for H in (30, 10))
    assert long < 300 and short > 2.5 * long


def test_functions_of_ones_own_are_checked():
    y = [[1.0], [2.0]]
    for wrong, what in (
        ({"terminal": lambda z: None}, "your terminal function returned None"),
        ({"terminal": lambda z: z}, r"your terminal function returned shape \(2, 64, 1\), but \(2, 64\)"),
        ({"prior": lambda z: z[..., 0]}, r"your prior function returned shape \(2, 16\), but \(2, 16, 1\)"),
        ({"weights": lambda J, temperature: J[0]}, r"your weights function returned shape \(64,\), but \(2, 64\)"),
        ({"weights": lambda J, temperature: J / 0}, "your weights function returned a number that is not finite"),
    ):
        with pytest.raises(ValueError, match=what), np.errstate(all="ignore"):
            make(**wrong)(y)
    with pytest.raises(ValueError, match="your cost function returned shape"):
        MPPI(linear, lambda z, a: z, -1.0, 1.0, horizon=2)(y)
    with pytest.raises(ValueError, match=r"dynamics must return states of shape \(1, 64, 3\)"):
        MPPI(dynamics, lambda z, a: z[..., 0], -1.0, 1.0, horizon=2)([[1.0, 2.0, 3.0]])
    for options in ({"guided": 3}, {"guided": 64, "prior": feedback}, {"sigma": -1.0}, {"sigma": [1.0, 1.0]}):
        with pytest.raises(ValueError, match="guided|sigma"):
            make(**options)
    with pytest.raises(ValueError, match="lower must be below upper"):
        MPPI(linear, quadratic, 1.0, -1.0, horizon=2)


def test_weights_of_ones_own_are_used():
    seen = []

    def best(J, temperature):
        seen.append(temperature)
        return (J == J.min(axis=1, keepdims=True)).astype(float)

    y = np.array([[1.0], [-2.5]])
    np.testing.assert_allclose(make(weights=best, temperature=3.0)(y), make(temperature=1e-12)(y), rtol=1e-12)
    assert seen == [3.0]


def test_a_seed_gives_one_run_and_another_one_another():
    noise, starts = NOMINAL.draw(0, 2, 5), FIXED_STARTS[:2]
    one, same, other = (
        run(MPPI(dynamics, stage_cost, -2.0, 2.0, horizon=4, seed=seed), NOMINAL, starts, noise).u for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_the_shipped_costs_hold_what_the_lecture_says():
    """Five trainings from 20 starts; data/make_05_sampling.py makes them."""
    with places.data("sampling_05.npz") as file:
        cost = {row: costs for name in ("planned", "agents", "latent")
                for row, costs in zip(file[f"{name}_rows"], file[name], strict=True)}  # fmt: skip
        spread = dict(zip(file["spread_rows"], file["spread"], strict=True))
    assert all(costs.shape == (5, 20) and np.isfinite(costs).all() for costs in cost.values())
    mean = {row: costs.mean() for row, costs in cost.items()}
    assert mean["H = 30"] < 200 < 900 < mean["H = 10"]
    np.testing.assert_allclose(cost["H = 10"][0], evaluate(MPPI(dynamics, stage_cost, -2.0, 2.0, horizon=10),
                                                           starts=FIXED_STARTS[:20]), rtol=0.1)  # fmt: skip
    for steps in (3000, 4000, 5000):  # the critic is good long before the actor; the actor alone helps little
        both, critic, prior, actor = (
            cost[f"{steps} steps: {row}"].mean(axis=1)
            for row in ("H = 10, prior and Q", "H = 10, Q", "H = 10, prior", "actor alone")
        )
        assert critic.max() < 200 and both.max() < 260 and prior.min() > 800 and np.median(actor) > 700
    best = mean["random log: prior and Q"]
    assert best < 170 and mean["random log: DDPG from it"] > best + 25
    assert abs(best - mean["random log: actor alone"]) < 5 and mean["random log: neither"] > 1000
    assert mean["DDPG's own log: prior and Q"] < 0.5 * mean["DDPG's own log: DDPG from it"]
    harmless = "no stopped gradient", "no slow encoder", "no slow critic", "no consistency loss"
    assert all(mean[f"{row}: prior and Q"] < best + 10 for row in harmless)
    assert mean["no slow copies: prior and Q"] > best + 50
    assert (spread["no stopped gradient"][:, -1] < 0.002).all()
    assert (spread["stopped gradient, slow encoder"] > 0.05).all() and (spread["stopped gradient"] > 0.05).all()
