"""Fitted Q iteration: its target by hand, LSTD and Riccati as where it must arrive, a step by finite differences."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import cartpole
from mpcrl_course.envs.linear import NOMINAL, START, A, B
from mpcrl_course.learners.blended import lstd_q
from mpcrl_course.learners.fitted_q import FittedQ, Logged, evaluated, logged, quadratic_iteration, targets
from mpcrl_course.mpc import lqr
from mpcrl_course.policies.parameterised import LINEAR_LOWER, LINEAR_UPPER, linear_theta
from mpcrl_course.problems import quadratic
from mpcrl_course.problems.linear import linear_mpc

K, NO_OFFSET = np.array([[0.5, 1.5]]), np.zeros(1)


def log_of(mpc, theta, noise, steps=40, runs=3, seed=0):
    """Return a log of the MPC with theta, and a deviation of noise on its inputs."""
    rng = np.random.default_rng(seed)

    def explored(y):
        return mpc.values(theta, y)[1] + noise * rng.standard_normal((len(y), 1))

    return logged(run(explored, NOMINAL, np.tile(START, (runs, 1)), NOMINAL.draw(seed, runs, steps)))


def test_targets_by_hand():
    y = targets([1.0, 2.0, 3.0], [10.0, 20.0, np.pi], [False, True, False], 0.5)
    np.testing.assert_allclose(y, [6.0, 2.0, 3.0 + np.pi / 2.0])


def test_a_log_has_what_happened_and_ends_where_the_run_did():
    plant = cartpole.CartPoleParameters()
    starts = np.array([[0.0, 0.1, 0.0, 0.0], [1.9, 0.0, 3.0, 0.0]])
    found = run(lambda y: np.full((len(y), 1), 2.0), plant, starts, plant.draw(0, 2, 12))
    last = found.ended[1] + 1
    assert last < 12 == found.ended[0], "one of the two leaves the track"
    data = logged(found)
    assert len(data.cost) == 12 + last and data.terminated.sum() == 1 and data.terminated[-1]
    np.testing.assert_array_equal(data.s[:12], found.x[:-1, 0])
    np.testing.assert_array_equal(data.s_next[12:], found.x[1 : last + 1, 1])
    np.testing.assert_array_equal(data.cost[12:], found.cost[:last, 1])
    np.testing.assert_array_equal(data.a[:12], found.u[:, 0])


def test_the_value_of_a_policy_is_that_of_lstd():
    data = quadratic.collect(K, NO_OFFSET, 400, np.random.default_rng(0), exploration=0.5)
    z = quadratic.features(data.s, data.a)
    z_next = quadratic.features(data.s_next, -data.s_next @ K.T)
    ours = evaluated(z, z_next, data.cost, quadratic.DISCOUNT, 400)
    np.testing.assert_allclose(ours, lstd_q(z, z_next, data.cost, quadratic.DISCOUNT, ridge=0.0), rtol=1e-6, atol=1e-8)


def test_without_noise_it_arrives_at_the_lqr():
    rng = np.random.default_rng(1)
    s, a = rng.normal(size=(60, 2)), rng.normal(size=(60, 1))
    cost = 0.5 * (s**2).sum(axis=1) + 0.25 * a[:, 0] ** 2
    data = quadratic.Transitions(s, a, cost, s @ A.T + a * B)
    best = lqr(quadratic.A, quadratic.B, quadratic.Q_COST, quadratic.R_COST, quadratic.DISCOUNT)
    omega = quadratic_iteration(data, 300)
    for pair in zip(s[:5], a[:5], strict=True):
        ours = float((quadratic.features(*(part[None] for part in pair)) @ omega)[0])
        assert ours == pytest.approx(best.Q(*pair), rel=1e-8)


def test_more_data_cost_less_and_a_narrow_log_more():
    """Exact costs, relative to the least, by transitions and by how far the behaviour explored; medians of 11 seeds."""

    def ratio(M, exploration, seed):
        data = quadratic.collect(K, NO_OFFSET, M, np.random.default_rng([seed, M]), exploration=exploration)
        try:
            return quadratic.expected_cost(*quadratic.greedy_policy(quadratic_iteration(data))) / quadratic.least_cost()
        except quadratic.NoLeastAction:
            return np.inf

    median = {
        key: np.median([ratio(*key, seed) for seed in range(11)]) for key in ((200, 0.5), (4000, 0.5), (200, 0.02))
    }
    behaviour = quadratic.expected_cost(K, NO_OFFSET) / quadratic.least_cost()
    assert 1.0 <= median[4000, 0.5] < median[200, 0.5] < behaviour < median[200, 0.02]


def test_a_step_is_that_of_gauss_and_newton():
    """Its gradients by finite differences of Q, its targets from V, the step by least squares of another form."""
    mpc = linear_mpc(4)
    theta = mpc.parameters.pack(x_lb=[0.05, 0.0])
    data = log_of(mpc, theta, 0.3, steps=6)
    learner = FittedQ(mpc, data, np.random.default_rng(0), theta, step_size=0.3, sigma=0.1)
    learner.step()

    def Q(theta):
        return mpc.values(theta, data.s, data.a)[0]

    h, n, m = 1e-6, theta.size, len(data.cost)
    G = np.column_stack([(Q(theta + h * e) - Q(theta - h * e)) / (2.0 * h) for e in np.eye(n)])
    error = data.cost + mpc.discount * mpc.values(theta, data.s_next)[0] - Q(theta)
    longer = np.vstack([G / np.sqrt(m), np.sqrt(0.1) * np.eye(n)])
    step = np.linalg.lstsq(longer, np.append(error / np.sqrt(m), np.zeros(n)), rcond=None)[0]
    np.testing.assert_allclose(learner.theta, theta + 0.3 * step, rtol=1e-4, atol=1e-5)
    assert learner.log.td[0] == pytest.approx(np.sqrt((error**2).mean()))


def test_it_learns_from_a_log_what_its_behaviour_did_not_know():
    """V0 and the five numbers that are tuned are learned, the rest stays; judged on fresh noise."""
    mpc = linear_mpc()
    first, box = mpc.parameters.initial(), ((LINEAR_LOWER, -20.0), (LINEAR_UPPER, 20.0))
    low, high = (mpc.parameters.pack(linear_theta(mpc, z), V0=V0) for z, V0 in box)
    data = log_of(mpc, first, 0.3, steps=50, runs=16)
    learner = FittedQ(mpc, data, np.random.default_rng(0), step_size=0.3, lower=low, upper=high).run(20, progress=False)
    assert set(np.flatnonzero(learner.theta != first)) == {0, 1, 5, 6, 12, 15}
    assert learner.log.td[-1] < learner.log.td[0] and ((learner.theta >= low) & (learner.theta <= high)).all()
    noise = NOMINAL.draw(99, 10, 100)
    before, after = (
        run(lambda y, theta=theta: mpc.values(theta, y)[1], NOMINAL, np.tile(START, (10, 1)), noise).cost.mean()
        for theta in (first, learner.theta)
    )
    assert after < 0.5 * before


def test_a_theta_without_solution_stops_it():
    mpc = linear_mpc(3)
    theta = mpc.parameters.pack(x_lb=[5.0, 0.0], x_ub=[1.0, 0.0])
    data = log_of(mpc, mpc.parameters.initial(), 0.1, steps=4, runs=1)
    learner = FittedQ(mpc, data, np.random.default_rng(0), theta).run(5, progress=False)
    assert learner.k == 1 and learner.log.stopped.startswith("no solution in step 0")


def test_what_is_no_log_is_named():
    mpc, nothing = linear_mpc(2), Logged(np.zeros((0, 2)), np.zeros((0, 1)), np.zeros(0), np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(ValueError, match="no transition"):
        FittedQ(mpc, nothing, np.random.default_rng(0))
    with pytest.raises(ValueError, match="value_next"):
        targets([1.0], [1.0, 2.0], [False], 0.9)
