"""Scenario MPC of a network against the central controller and against its definition, the mean of Q."""

import numpy as np
import pytest

from mpcrl_course.mpc import SolverError
from mpcrl_course.network import Central
from mpcrl_course.policies.network_scenario import NetworkScenarios, additive
from mpcrl_course.problems.network import network_mpc

NETWORK = network_mpc(2, order=1, horizon=4)
CENTRAL = Central(NETWORK)
#: A disturbance of every agent's first state.
E = np.kron(np.eye(2), [[1.0], [0.0]])
RNG = np.random.default_rng(0)
THETA = NETWORK.parameters.initial() + 0.02 * RNG.standard_normal(NETWORK.parameters.size)
STATES = [[0.05, 0.15, 0.02, 0.1], [0.3, -0.4, 0.01, 0.6], [-0.2, 0.1, 0.9, 0.9]]
DRAWS = RNG.uniform(-0.1, 0.0, (3, 2))


def shifted(d, theta=THETA):
    """theta with the disturbance inside the model's own offset b."""
    p = NETWORK.parameters.unpack(theta)
    return NETWORK.parameters.pack(theta, b_1=p.b_1 + [d[0], 0.0], b_2=p.b_2 + [d[1], 0.0])


@pytest.mark.parametrize("shared", ["first", "all"])
@pytest.mark.parametrize("n", [1, 3])
def test_scenarios_of_the_mean_are_the_central_controller(shared, n):
    plan = NetworkScenarios(NETWORK, additive(E), [[-0.05, -0.02]] * n, shared=shared)
    for s in STATES:
        ours, central = plan.V(THETA, s), CENTRAL.V(shifted([-0.05, -0.02]), s)
        assert ours.value == pytest.approx(central.value, abs=1e-6)
        np.testing.assert_allclose(plan.policy(THETA, s), central.u0, atol=1e-6)


def test_the_shared_input_minimises_the_mean_of_q():
    """The definition: at u0 the mean of Central's Q over the scenarios is the value, and nowhere near it is lower."""
    plan = NetworkScenarios(NETWORK, additive(E), DRAWS)

    def mean(s, u):
        return np.mean([CENTRAL.Q(shifted(d), s, u).value for d in DRAWS])

    for s in STATES:
        value, u0 = plan.V(THETA, s).value, plan.policy(THETA, s)
        assert value == pytest.approx(mean(s, u0), abs=1e-6)
        for step in RNG.uniform(-0.05, 0.05, (8, 2)):
            assert mean(s, np.clip(u0 + step, -1.0, 1.0)) > value - 1e-7


def test_reacting_later_pays():
    values = {}
    for shared in ("first", "all"):
        plan = NetworkScenarios(NETWORK, additive(E), DRAWS, shared=shared)
        check = NetworkScenarios(NETWORK, additive(E), DRAWS, shared=shared, solver="ipopt")
        values[shared] = plan.V(THETA, STATES[0]).value
        assert values[shared] == pytest.approx(check.V(THETA, STATES[0]).value, abs=1e-6)
        np.testing.assert_allclose(plan.policy(THETA, STATES[0]), check.policy(THETA, STATES[0]), atol=1e-5)
    alone = np.mean([CENTRAL.V(shifted(d), STATES[0]).value for d in DRAWS])
    assert alone < values["first"] - 1e-4 and values["first"] < values["all"] - 1e-4


def test_one_plan_for_all_futures():
    """The sum of the discounted stage costs of every scenario's own rollout of the one plan, written out."""
    plan = NetworkScenarios(NETWORK, additive(E), DRAWS, shared="all")
    v, p, total = plan.V(THETA, STATES[1]), NETWORK.parameters.unpack(THETA), 0.0
    assert v.u.shape == (4, 2)
    for d in DRAWS:
        x = np.array(STATES[1]).reshape(2, 2)
        for k, u in enumerate(v.u):
            before = x
            x = np.array([
                p.A_1 @ x[0] + p.B_1 * u[0] + p.b_1 + p.A_c1_1 @ x[1] + [d[0], 0.0],
                p.A_2 @ x[1] + p.B_2 * u[1] + p.b_2 + p.A_c1_2 @ x[0] + [d[1], 0.0],
            ])  # fmt: skip
            for i, (x_lb, x_ub, f) in enumerate([(p.x_lb_1, p.x_ub_1, p.f_1), (p.x_lb_2, p.x_ub_2, p.f_2)]):
                slack = np.maximum(0.0, np.maximum([0.0, -1.0] + x_lb - x[i], x[i] - [1.0, 1.0] - x_ub)).sum()
                total += f @ [*before[i], u[i]]
                total += 0.5 * 0.9**k * (before[i] @ before[i] + 0.5 * u[i] ** 2 + 120.0 * slack)
    assert v.value == pytest.approx(total / 3 + p.V0_1 + p.V0_2, abs=1e-9)


def test_models_that_differ_and_a_disturbance_that_is_no_sum():
    """Scenario i has its own A_1, and its disturbance scales how much of the next state is left."""
    A = [[[1.0, 0.2], [0.0, 1.1]], [[0.9, 0.3], [0.1, 1.0]]]
    plan = NetworkScenarios(NETWORK, lambda x, d, p: (1.0 + d) * x, [[0.1], [-0.2]], {"A_1": A})
    p, models = NETWORK.parameters.unpack(THETA), []
    for A_1, d in zip(A, (0.1, -0.2)):
        scaled = {name: (1 + d) * value for name, value in vars(p).items() if name[0] in "ABb"}
        models.append(NETWORK.parameters.pack(THETA, **scaled | {"A_1": (1 + d) * np.array(A_1)}))
    for s in STATES:
        u0 = plan.policy(THETA, s)
        expected = np.mean([CENTRAL.Q(theta, s, u0).value for theta in models])
        assert plan.V(THETA, s).value == pytest.approx(expected, abs=1e-6)
        for step in RNG.uniform(-0.05, 0.05, (4, 2)):
            u = np.clip(u0 + step, -1.0, 1.0)
            assert np.mean([CENTRAL.Q(theta, s, u).value for theta in models]) > expected - 1e-7


def test_disturbances_may_be_drawn_anew():
    plan, other = (NetworkScenarios(NETWORK, additive(E), d) for d in (DRAWS, 0.5 * DRAWS))
    assert plan.V(THETA, STATES[0], 0.5 * DRAWS).value == pytest.approx(other.V(THETA, STATES[0]).value, abs=1e-9)
    assert plan.V(THETA, STATES[0]).value > other.V(THETA, STATES[0]).value + 1e-3


def test_scenarios_that_cannot_agree_are_an_error_and_no_answer():
    dear = {"f_1": [[0.0, 0.0, 1e6], [0.0, 0.0, -1e6]]}
    plan = NetworkScenarios(NETWORK, additive(E), DRAWS[:2], dear)
    with pytest.raises(SolverError, match="first inputs of the scenarios differ"):
        plan.V(THETA, STATES[0])


def test_bad_input():
    for d in (np.zeros(2), np.zeros((0, 2)), np.zeros((3, 4, 2))):
        with pytest.raises(ValueError, match="shape"):
            NetworkScenarios(NETWORK, additive(E), d)
    with pytest.raises(ValueError, match="one value a scenario"):
        NetworkScenarios(NETWORK, additive(E), DRAWS, {"V0_1": [0.0, 1.0]})
    with pytest.raises(KeyError, match="'mass'"):
        NetworkScenarios(NETWORK, additive(E), DRAWS, {"mass": [0.0, 1.0, 2.0]})
    plan = NetworkScenarios(NETWORK, additive(E), DRAWS)
    with pytest.raises(ValueError, match="this network's has shape"):
        plan.V(THETA, np.zeros(6))
    with pytest.raises(ValueError, match="must be finite"):
        plan.V(THETA, STATES[0], np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="not of shape"):
        plan.V(THETA, STATES[0], DRAWS[:2])
