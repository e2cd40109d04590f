"""The latent model: its losses by hand, gradients against finite differences, collapse, and that it can plan in it."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.dp.pendulum import FIXED_STARTS, evaluate
from mpcrl_course.envs.pendulum import NOMINAL, observation
from mpcrl_course.learners.latent import LatentLearning, LatentModel
from mpcrl_course.policies.sampling import MPPI

EXACT = {"n": 4, "width": 6, "dtype": np.float64, "K": 3}


def model(seed=0, **options):
    """Return a model of which nothing is small or zero, its slow copies apart from what they follow."""
    rng = np.random.default_rng(seed)
    made = LatentModel(3, [-2.0], [2.0], rng, **EXACT | options)
    for name in made.NETWORKS:
        theta = getattr(made, name).theta
        theta[:] = rng.normal(0, 0.5, theta.size)
    return made


def batch(K=3, B=5, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(K + 1, B, 3)), rng.uniform(-2, 2, (K, B, 1)), rng.uniform(0, 1, (K, B, 1))


def losses_by_hand(m, s, a, c, fixed):
    """Return the three losses, sample by sample and step by step; `fixed` is the model whose targets are taken."""
    found = np.zeros(3)
    (K, B), (w_z, w_r, w_q) = a.shape[:2], m.weights
    for b in range(B):
        z = m.h(s[0, b])
        for k in range(K):
            za = np.concatenate([z, a[k, b]])
            ahead = fixed.slow_h(s[k + 1, b])
            q_next = fixed.slow_q(np.concatenate([ahead, fixed.pi(ahead)]))[0]
            wrong = m.r(za)[0] - c[k, b, 0], m.q(za)[0] - (c[k, b, 0] + m.gamma * q_next)
            z = z + m.d(za)
            apart = z - (ahead if m.stop_gradient else m.h(s[k + 1, b]))
            found += m.rho**k / B * np.array([w_z * apart @ apart / m.n, w_r * wrong[0] ** 2, w_q * wrong[1] ** 2])
    return found


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_losses_are_the_formula(stop_gradient):
    m = model(stop_gradient=stop_gradient, weights=(2.0, 0.5, 0.1))
    losses, _, z = m.gradients(*batch())
    np.testing.assert_allclose(losses, losses_by_hand(m, *batch(), fixed=m), rtol=1e-12)
    np.testing.assert_allclose(z, m.h(batch()[0][0]), rtol=1e-13)


@pytest.mark.parametrize("weights", [(2.0, 0.5, 0.1), (2.0, 0.0, 0.0), (0.0, 0.5, 0.1)])
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_gradients_against_finite_differences(stop_gradient, weights):
    """Every weight of every network, through all steps of the windows; nothing else moves the loss."""
    m, (s, a, c), h = model(stop_gradient=stop_gradient, weights=weights, K=2), batch(K=2), 1e-6
    smooth(m)
    fixed = model(stop_gradient=stop_gradient, weights=weights, K=2)
    _, gradients, _ = m.gradients(s, a, c)
    z0 = m.h(s[0])

    def loss(name):
        if name == "pi":  # Q(z_0, pi(z_0)), z_0 for given
            return float(m.q(np.concatenate([z0, m.pi(z0)], axis=1)).mean())
        return losses_by_hand(m, s, a, c, fixed).sum()

    smooth(fixed)
    assert gradients.keys() == {"h", "d", "r", "q", "pi"}
    for name, gradient in gradients.items():
        theta = getattr(m, name).theta
        numeric = np.zeros(theta.size)
        for i in range(theta.size):
            old = theta[i]
            theta[i] = old + h
            up = loss(name)
            theta[i] = old - h
            numeric[i] = (up - loss(name)) / (2 * h)
            theta[i] = old
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7, err_msg=name)


def smooth(m):
    """Replace relu by tanh, which finite differences can follow everywhere."""
    for name in m.NETWORKS:
        getattr(m, name).activation = "tanh"


def test_an_update_by_hand():
    m, before = model(tau=(0.25, 0.4)), model(tau=(0.25, 0.4))
    _, gradients, z = before.gradients(*batch())
    losses, spread = m.update(*batch())
    np.testing.assert_allclose(losses, before.gradients(*batch())[0])
    assert spread == pytest.approx(z.std(axis=0).mean())
    for name, gradient in gradients.items():
        moved = getattr(m, name).theta - getattr(before, name).theta
        large = np.abs(gradient) > 1e-4  # the first step of Adam is as long as its rate, whatever the gradient
        np.testing.assert_allclose(moved[large], -1e-3 * np.sign(gradient[large]), rtol=1e-3)
    for slow, fast, tau in (("slow_h", "h", 0.25), ("slow_q", "q", 0.4)):
        mixed = (1 - tau) * getattr(before, slow).theta + tau * getattr(m, fast).theta
        np.testing.assert_allclose(getattr(m, slow).theta, mixed, rtol=1e-12)


def test_what_is_planned_with_are_the_networks():
    m, rng = model(scale=[1.0, 2.0, 0.5], cost_scale=0.1), np.random.default_rng(3)
    s, a = rng.normal(size=(4, 6, 3)), rng.uniform(-2, 2, (4, 6, 1))
    z = m.encode(s)
    za = np.concatenate([z, a], axis=-1)
    np.testing.assert_allclose(z, m.h(s * [1.0, 2.0, 0.5]), rtol=1e-13)
    np.testing.assert_allclose(m.dynamics(z, a), z + m.d(za), rtol=1e-13)
    np.testing.assert_allclose(m.cost(z, a), 10 * m.r(za)[..., 0], rtol=1e-13)
    np.testing.assert_allclose(m.value(z), 10 * m.q(np.concatenate([z, m.policy(z)], axis=-1))[..., 0], rtol=1e-13)


# --- learning ---------------------------------------------------------------------------------------------


def logged(runs=1000, steps=20, seed=0):
    """Return a log of pendulums with random torques, from any angle and |v| <= 7."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform([-np.pi, -7.0], [np.pi, 7.0], (runs, 2))
    found = run(lambda y: rng.uniform(-2, 2, (len(y), 1)), NOMINAL, starts, NOMINAL.draw(rng, runs, steps))
    return observation(found.x), found.u, found.cost


def learn(steps, seed=0, **options):
    rng = np.random.default_rng(seed)
    made = LatentModel(3, [-2.0], [2.0], rng, scale=[1.0, 1.0, 0.25], cost_scale=0.1, **options)
    return LatentLearning(made, *logged(), rng).run(steps, progress=False)


def test_windows_are_windows_of_one_run():
    s, a, cost = logged(7, 9)
    made = LatentModel(3, [-2.0], [2.0], np.random.default_rng(0), dtype=np.float64, scale=[1.0, 1.0, 0.25], K=4)
    learner = LatentLearning(made, s, a, cost, np.random.default_rng(0), batch=400)
    seen, done, paid = learner.windows()
    assert seen.shape == (5, 400, 3) and done.shape == (4, 400, 1) and paid.shape == (4, 400, 1)
    places = set()
    for b in range(400):
        (run_of,), (step,) = (found[:1] for found in np.nonzero(np.isclose(a[:, :, 0], done[0, b, 0]).T))
        np.testing.assert_allclose(seen[:, b], s[step : step + 5, run_of] * [1.0, 1.0, 0.25])
        np.testing.assert_allclose(done[:, b], a[step : step + 4, run_of])
        np.testing.assert_allclose(paid[:, b, 0], cost[step : step + 4, run_of])
        places.add((run_of, step))
    assert places == {(i, k) for i in range(7) for k in range(6)}  # each of them, and none that ends outside


def test_consistency_alone_collapses_without_the_stopped_gradient():
    spread = {}
    for stop in (True, False):
        log = learn(300, weights=(2.0, 0.0, 0.0), stop_gradient=stop).log
        spread[stop] = log.spread[-1] / log.spread[0]
    assert spread[False] < 0.25 < 0.5 < spread[True]


def test_it_learns_a_latent_space_to_plan_in():
    """Two thousand updates, half as wide as the lecture's: torques that nobody planned cost ten times as much."""
    learner = learn(2000, width=32)
    m, log = learner.model, learner.log
    assert log.cost[-50:].mean() < 0.1 * log.cost[:5].mean() and log.spread[-1] > 0.5 * log.spread[0]
    controller = MPPI(m.dynamics, m.cost, -2.0, 2.0, horizon=5, gamma=m.gamma,
                      encode=lambda x: m.encode(observation(x)), prior=m.policy, terminal=m.value)  # fmt: skip
    cost = {name: evaluate(policy, starts=FIXED_STARTS[:5]).mean()
            for name, policy in (("planned", controller), ("nothing", lambda x: 0.0 * x[:, :1]))}  # fmt: skip
    assert cost["planned"] < 0.3 * cost["nothing"]


def test_a_run_that_diverges_stops_and_says_so():
    with np.errstate(all="ignore"):
        log = learn(200, rate=1e30).log
    assert "not finite" in log.stopped and log.steps < 200


def test_a_log_that_does_not_fit_is_named():
    s, a, cost = logged(4, 6)
    made, rng = LatentModel(3, [-2.0], [2.0], np.random.default_rng(0)), np.random.default_rng(0)
    for wrong, what in (
        ((s[:-1], a, cost), "s has a row more than a"),
        ((s[:4], a[:3], cost[:3]), "at least K = 5"),
        ((s[..., :2], a, cost), "s has shape"),
        ((s, a[..., 0], cost), "a has shape"),
        ((s, a, cost[:-1]), "cost has shape"),
        ((s, a, cost * np.nan), "cost is not finite"),
    ):
        with pytest.raises(ValueError, match=what):
            LatentLearning(made, *wrong, rng)
    more = ("scale", [1.0, 2.0]), ("tau", 0.0), ("tau", [0.1] * 3)
    for option, value in (("weights", (1.0, 2.0)), ("weights", (1.0, -2.0, 0.0)), *more):
        with pytest.raises(ValueError, match=f"^{option} "):
            LatentModel(3, [-2.0], [2.0], rng, **{option: value})
