"""A horizon that varies: held fixed it is the plain MPC of that horizon; chosen, it follows what was chosen."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import CartPoleParameters
from mpcrl_course.envs.linear import LinearParameters
from mpcrl_course.envs.pendulum import PendulumParameters
from mpcrl_course.learners import fit
from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import shift
from mpcrl_course.policies.horizon import Foreseen, Logged, VaryingHorizon
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc
from mpcrl_course.problems.linear import linear_mpc
from mpcrl_course.problems.pendulum import pendulum_mpc

STARTS = np.array([[2.9, 0.3], [0.8, -0.5]])
ROUGH = PendulumParameters(mass=1.2, process_noise=0.3)


@pytest.fixture(scope="module")
def mpcs():
    return [pendulum_mpc(horizon=N) for N in (5, 10, 20)]


def looped(controller, plant=ROUGH, starts=STARTS, steps=25):
    return run(controller, plant, starts, plant.draw(0, len(starts), steps))


def test_the_longest_alone_is_the_plain_mpc(mpcs):
    one, other = looped(Receding(mpcs[-1])), looped(VaryingHorizon(mpcs, lambda s, plan: 2))
    np.testing.assert_array_equal(one.x, other.x)
    assert (one.status == other.status).all()


def test_a_shorter_one_alone_is_the_shorter_mpc():
    """Of a linear MPC, whose optimum is one: it does not depend on where the solver starts. The first plan is long."""
    mpcs, plant = [linear_mpc(horizon=N) for N in (2, 4, 10)], LinearParameters()
    starts = np.array([[0.1, 0.9], [0.9, -0.8], [0.0, 0.15]])
    for i, short in enumerate(mpcs):
        policy = VaryingHorizon(mpcs, lambda s, plan, i=i: i)
        policy(starts)  # the first plan
        theta = short.parameters.initial()
        states = plant.draw(3, 3, 6).e.T * 4.0 + 0.2
        for s in np.stack([states[:, k : k + 2] for k in range(5)]):
            np.testing.assert_allclose(policy(s), [short.policy(theta, each).u0 for each in s], atol=1e-9)
        assert policy.chosen == [[10] + [short.problem.horizon] * 5] * 3


def test_a_plan_is_cut_or_held_to_start_the_next_one(mpcs):
    policy = VaryingHorizon(mpcs, lambda s, plan: which)
    policy([[0.3, -0.5]])  # where the box does not decide
    for which, N in ((1, 10), (0, 5), (2, 20), (2, 20)):
        (old,) = policy.plans
        s = old.x[1] + 0.02
        policy([s])
        (new,) = policy.plans
        assert new.x.shape == (N + 1, 2) and new.u.shape == (N, 1)
        guess = shift(old)
        x, u = (np.vstack([part, *[part[-1:]] * max(0, N - len(old.u))]) for part in (guess.x, guess.u))
        alone = mpcs[which].policy(new.theta, s, warm_start=(x[: N + 1], u[:N]))
        np.testing.assert_allclose(new.u, alone.u, atol=1e-6)
    assert policy.chosen == [[20, 10, 5, 20, 20]]


def test_the_end_of_the_swing_does_not_need_the_long_horizon():
    """Near the upright the cart-pole's terminal cost is nearly exact, so that N = 10 decides there as N = 40 does."""
    mpcs, plant = [cartpole_mpc(horizon=N) for N in (10, 40)], CartPoleParameters()
    noise, start = plant.draw(0, 1, 80), [[0.0, 1.5, 0.0, 0.0]]
    switched = run(VaryingHorizon(mpcs, lambda s, plan: int(np.cos(s[1]) < 0.9)), plant, start, noise)
    long = run(Receding(mpcs[1]), plant, start, noise)
    assert abs(switched.cost.sum() / long.cost.sum() - 1.0) < 0.01


def test_what_is_logged_is_what_each_horizon_would_change(mpcs):
    logged = Logged(mpcs, 0.5, np.random.default_rng(0))
    policy = VaryingHorizon(mpcs, logged)
    looped(policy, steps=12)
    assert len(logged.s) == 22 and set(np.ravel(policy.chosen)) == {5, 10, 20}
    x, y = logged.lesson(0)
    assert x.shape == (22, 3) and y.shape == (22, 2)
    np.testing.assert_allclose(x[:, 0] ** 2 + x[:, 1] ** 2, 1.0)
    np.testing.assert_array_equal(np.expm1(y).round(9), np.round(logged.change, 9))
    first = VaryingHorizon(mpcs, lambda s, plan: changes.append(changed(s, plan)) or 2)
    changes = []

    def changed(s, plan):
        long = mpcs[2].policy(plan.theta, s, warm_start=plan).u0
        return [abs(mpcs[i].policy(plan.theta, s, warm_start=(plan.x[: N + 1], plan.u[:N])).u0 - long).item()
                for i, N in ((0, 5), (1, 10))]  # fmt: skip

    looped(first, steps=2)  # the second decision is the first that chooses, in either loop from the same state
    np.testing.assert_allclose(logged.change[:2], changes, atol=1e-6)


def test_a_network_chooses_the_shortest_that_is_allowed():
    rng = np.random.default_rng(0)
    s = rng.uniform(-3.0, 3.0, (400, 2))
    change = np.stack([np.abs(np.sin(s[:, 0])), 0.3 * np.abs(np.sin(s[:, 0]))], 1)  # the longer one changes less
    x = np.stack([np.cos(s[:, 0]), np.sin(s[:, 0]), s[:, 1]], 1)
    choose = Foreseen(fit(MLP(3, 2, rng, width=16), x, np.log1p(change), rng, steps=2000), 0.25, 0)
    assert [choose([q, 0.5], None) for q in (0.05, 0.6, 1.5)] == [0, 1, 2]
    assert [choose([q + 2.0 * np.pi, 0.5], None) for q in (0.05, 0.6, 1.5)] == [0, 1, 2]
    np.testing.assert_allclose(choose.foresee([0.6, 0.5]), [np.sin(0.6), 0.3 * np.sin(0.6)], atol=0.08)
    choose.epsilon = 10.0
    assert choose([1.5, 0.5], None) == 0


def test_what_does_not_fit_is_refused(mpcs):
    net = MLP(3, 2, np.random.default_rng(0))
    for make, words in (
        (lambda: VaryingHorizon(mpcs[::-1], len), "growing"),
        (lambda: VaryingHorizon(mpcs[:1], len), "two or more"),
        (lambda: VaryingHorizon([linear_mpc(2), pendulum_mpc(horizon=5)], len), "parameters"),
        (lambda: VaryingHorizon(mpcs, None), "choose"),
        (lambda: Foreseen(net, 0.1, 2), "angle"),
        (lambda: Logged(mpcs, 1.5, np.random.default_rng(0)), "share"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    policy = VaryingHorizon(mpcs, lambda s, plan: 3)
    policy(STARTS)
    with pytest.raises(ValueError, match="3 horizons"):
        policy(STARTS)
