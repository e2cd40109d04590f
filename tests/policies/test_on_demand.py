"""A horizon that recedes on demand: always asked it is the usual one, never asked it is an open loop."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters
from mpcrl_course.policies.on_demand import OnDemand, departed
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


def test_what_does_not_fit_is_refused(mpc):
    with pytest.raises(ValueError, match="flag"):
        OnDemand(mpc, None)
    policy = OnDemand(linear_mpc(), lambda s, plan: "perhaps")
    policy([[0.1, 0.2]])
    with pytest.raises(ValueError, match="what flag returned"):
        policy([[0.1, 0.2]])
    for epsilon, scale in ((-1.0, [1.0, 1.0]), (0.1, [1.0, 0.0]), (0.1, 1.0)):
        with pytest.raises(ValueError, match="epsilon|scale"):
            departed(epsilon, scale)
