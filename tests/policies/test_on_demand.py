"""A horizon that recedes on demand: always asked it is the usual one, never asked it is an open loop."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters
from mpcrl_course.learners import fit
from mpcrl_course.mlp import MLP
from mpcrl_course.policies.on_demand import Foreseen, Logged, OnDemand, departed, departures
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.linear import linear_mpc
from mpcrl_course.problems.pendulum import pendulum_mpc

STARTS = np.array([[2.9, 0.3], [0.8, -0.5]])


@pytest.fixture(scope="module")
def mpc():
    return pendulum_mpc(horizon=20)


def looped(controller, plant, steps=25, seed=0):
    return run(controller, plant, STARTS, plant.draw(seed, 2, steps))


def test_always_asked_it_is_plain(mpc):
    rough = PendulumParameters(mass=1.2, process_noise=0.3)
    one, other = looped(Receding(mpc), rough), looped(OnDemand(mpc, lambda s, plan: True), rough)
    np.testing.assert_array_equal(one.x, other.x)
    assert (one.status == other.status).all()


def test_never_asked_the_first_plan_goes_on_and_then_holds_its_last_input(mpc):
    policy = OnDemand(mpc, lambda s, plan: False)
    policy(STARTS)
    plans = [plan.u * 2.0 for plan in policy.plans]
    found = looped(policy, PendulumParameters(mass=1.2))
    assert (found.status[1:] == "kept").all() and (found.status[0] != "kept").all()
    for i, u in enumerate(plans):
        np.testing.assert_allclose(found.u[:20, i], u, atol=1e-12)
        np.testing.assert_allclose(found.u[20:, i], np.tile(u[-1], (5, 1)), atol=1e-12)


def test_it_solves_where_the_state_has_left_the_prediction(mpc):
    """The rule is evaluated by hand along the run; on the model itself, without noise, there is never any need."""
    seen, rule = [], departed(0.05, [1.0, 2.0])

    def flag(s, plan):
        seen.append((np.hypot(s[0] - plan.x[0, 0], (s[1] - plan.x[0, 1]) / 2.0) > 0.05, rule(s, plan)))
        return rule(s, plan)

    found = looped(OnDemand(mpc, flag), PendulumParameters(mass=1.2, process_noise=0.3))
    asked = np.array(seen)
    np.testing.assert_array_equal(asked[:, 0], asked[:, 1])
    np.testing.assert_array_equal(found.status[1:].ravel() != "kept", asked[:, 1])
    assert 0 < asked[:, 1].sum() < len(asked)
    quiet = looped(OnDemand(mpc, departed(1e-6, [1.0, 1.0])), NOMINAL, steps=15)
    assert (quiet.status[1:] == "kept").all()


def test_what_a_network_is_shown(mpc):
    s, predicted = [[2.0 * np.pi + 0.3, 1.0], [0.1, -2.0]], [[2.0 * np.pi + 0.2, 1.4], [0.1, -2.0]]
    by_hand = [[1.0, -0.8, np.cos(0.3), np.sin(0.3), 1.0], [0.0, 0.0, np.cos(0.1), np.sin(0.1), -2.0]]
    np.testing.assert_allclose(departures(s, predicted, [0.1, 0.5], 0), by_hand, atol=1e-12)
    np.testing.assert_allclose(departures(s[0], predicted[0], [0.1, 0.5], 0), by_hand[0], atol=1e-12)


def test_what_is_logged_is_what_a_new_plan_changes(mpc):
    """Solving always, the loop is the plain one: the change is |u_0 of this plan - u_1 of the one before|."""
    rough, logged = PendulumParameters(mass=1.2, process_noise=0.3), Logged(mpc, 1.0, np.random.default_rng(0))
    policy, plans = OnDemand(mpc, logged), []

    def watched(y):
        u = policy(y)
        plans.append(list(policy.plans))
        return u

    watched.reset = policy.reset
    found = looped(watched, rough, steps=10)
    pairs = [(plans[k][i], plans[k - 1][i]) for k in range(1, 10) for i in range(2)]
    np.testing.assert_allclose(logged.change, [abs(new.u0 - old.u[1]).item() for new, old in pairs], atol=1e-9)
    np.testing.assert_array_equal(logged.s, found.x[1:10].reshape(-1, 2))
    x, y = logged.lesson([1.0, 2.0], 0)
    np.testing.assert_allclose(x[:, :2], [(new.x[0] - old.x[1]) / [1.0, 2.0] for new, old in pairs], atol=1e-9)
    np.testing.assert_allclose(np.expm1(y[:, 0]), logged.change)
    never = Logged(mpc, 0.0, np.random.default_rng(0))
    found = looped(OnDemand(mpc, never), rough, steps=10)
    assert (found.status[1:] == "kept").all() and len(never.s) == 18


def test_a_network_asks_where_it_foresees_more_than_epsilon(mpc):
    """Taught that the change is twice the departure in the angle, it is the rule for that one."""
    rng = np.random.default_rng(0)
    s = rng.uniform(-3.0, 3.0, (500, 2))
    predicted = s - rng.uniform(-0.5, 0.5, (500, 2))
    x, change = departures(s, predicted, [1.0, 1.0], 0), 2.0 * np.abs(s - predicted)[:, 0]
    net = fit(MLP(5, 1, rng, width=16, activation="tanh"), x, np.log1p(change)[:, None], rng, steps=3000)
    flag = Foreseen(net, 0.4, [1.0, 1.0], 0)
    policy = OnDemand(mpc, lambda s, plan: True)
    policy(STARTS)
    plan = policy.plans[1]
    foreseen = [flag.foresee(plan.x[0] + [d, 0.1], plan) for d in (0.0, 0.1, -0.3, 0.45)]
    np.testing.assert_allclose(foreseen, [0.0, 0.2, 0.6, 0.9], atol=0.15)
    assert [flag(plan.x[0] + [d, 0.1], plan) for d in (0.0, 0.1, -0.3, 0.45)] == [False, False, True, True]
    flag.epsilon = -1.0
    one, other = (
        looped(Receding(mpc), PendulumParameters(mass=1.2)),
        looped(OnDemand(mpc, flag), PendulumParameters(mass=1.2)),
    )
    np.testing.assert_array_equal(one.x, other.x)


def test_what_does_not_fit_is_refused(mpc):
    net = MLP(4, 1, np.random.default_rng(0))
    for make, words in (
        (lambda: Foreseen(net, 0.1, [1.0, 1.0], 0), "network"),
        (lambda: Foreseen(MLP(5, 1, np.random.default_rng(0)), 0.1, [1.0, 0.0], 0), "scale"),
        (lambda: Logged(mpc, 1.2, np.random.default_rng(0)), "share"),
        (lambda: departures([[0.1, 0.2]], [0.1, 0.2], [1.0, 1.0], 0), "predicted"),
        (lambda: departures([0.1, 0.2], [0.1, 0.2], [1.0], 0), "scale"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match="flag"):
        OnDemand(mpc, None)
    policy = OnDemand(linear_mpc(), lambda s, plan: "perhaps")
    policy([[0.1, 0.2]])
    with pytest.raises(ValueError, match="what flag returned"):
        policy([[0.1, 0.2]])
    for epsilon, scale in ((-1.0, [1.0, 1.0]), (0.1, [1.0, 0.0]), (0.1, 1.0)):
        with pytest.raises(ValueError, match="epsilon|scale"):
            departed(epsilon, scale)
