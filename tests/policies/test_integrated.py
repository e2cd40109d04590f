"""A network inside the cart-pole's problem: one network in NumPy and CasADi, its derivatives, plain MPC as its zero."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import CartPoleParameters, dynamics, stage_cost
from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import shift
from mpcrl_course.policies.integrated import ResidualModel, feature_mlp, features, integrated_mpc
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc

RNG = np.random.default_rng(3)
X = RNG.uniform([-1.0, -9.0, -2.0, -8.0], [1.0, 9.0, 2.0, 8.0], (7, 4))
U = RNG.uniform(-15.0, 15.0, (7, 1))
S = np.array([0.3, 2.7, -0.2, 0.4])
N = 12


def drawn(n_outputs=2, size=0.2, width=8, seed=0):
    """A network whose outputs are of about this size, nothing of it zero."""
    net = feature_mlp(np.random.default_rng(seed), n_outputs, width)
    net.theta[:] = np.random.default_rng(seed + 1).normal(0.0, 0.5, net.theta.size)
    net.W3 *= size
    return net


def zero(n_outputs=2):
    net = feature_mlp(np.random.default_rng(0), n_outputs, 4)
    net.theta[:] = 0.0
    return net


@pytest.fixture(scope="module")
def mpc():
    return integrated_mpc(drawn(), horizon=N)


@pytest.fixture(scope="module")
def theta(mpc):
    return mpc.parameters.initial()


def test_one_network_in_numpy_and_casadi():
    model, x, u = ResidualModel(drawn(width=32)), ca.SX.sym("x", 4), ca.SX.sym("u", 1)
    value = model(x, u)
    f = ca.Function("f", [x, u], [value, ca.jacobian(value, ca.vertcat(x, u)), features(x, u)])
    ours, slopes = model.along(X, U, True)
    np.testing.assert_array_equal(model.along(X, U, False)[0], model(X, U))
    for i in range(len(X)):
        expected, jacobian, z = (part.full() for part in f(X[i], U[i]))
        np.testing.assert_allclose(ours[i], expected[:, 0], rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(model(X[i], U[i]), expected[:, 0], rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(slopes[i], jacobian, rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(features(X[i], U[i]), z[:, 0], rtol=0.0, atol=1e-14)
    assert np.abs(slopes[:, 2:, 1:]).min() > 0.0  # each of its places is tried


def test_the_gradient_in_what_is_optimised_against_finite_differences():
    model, h = ResidualModel(drawn(width=32)), 1e-6
    _, slopes = model.along(X, U, True)
    for j, e in enumerate(np.eye(5) * h):
        ahead, back = model(X + e[:4], U + e[4:]), model(X - e[:4], U - e[4:])
        np.testing.assert_allclose(slopes[:, :, j], (ahead - back) / (2.0 * h), atol=1e-8)


def test_the_plan_goes_by_the_model_and_the_network(mpc, theta):
    plan, model = mpc.reference.policy(theta, S), ResidualModel(drawn())
    missed = plan.x[1:] - dynamics(plan.x[:-1], plan.u)
    np.testing.assert_allclose(missed, model(plan.x[:-1], plan.u), atol=1e-9)
    assert np.abs(missed[:, 2:]).max() > 0.1


@pytest.mark.parametrize("split", [True, False])
def test_a_network_of_zeros_is_the_plain_mpc(split):
    plain, zeros = cartpole_mpc(horizon=N), integrated_mpc(zero(), horizon=N, cost=zero(1), split=split)
    plant = CartPoleParameters(mass=0.4)
    one, other = (run(Receding(each), plant, [S], plant.draw(0, 1, 25)) for each in (plain, zeros))
    np.testing.assert_allclose(other.x, one.x, atol=1e-9)
    np.testing.assert_allclose(other.u, one.u, atol=1e-9)
    assert (one.status == other.status).all() and "rti" in one.status


def test_the_network_outside_of_casadi_makes_the_same_steps(mpc, theta):
    """Along a run of 30 decisions: states, inputs, slacks and multipliers, also where the line search halves a step."""
    whole = integrated_mpc(drawn(), horizon=N, split=False)
    plan = other = mpc.reference.policy(theta, S)
    plant, x, said = CartPoleParameters(mass=0.6, coulomb=3.0), S, []
    for _ in range(30):
        plan, other = (m.policy(theta, x, warm_start=shift(p)) for m, p in ((mpc, plan), (whole, other)))
        assert plan.status == other.status
        assert plan.value == pytest.approx(other.value, rel=1e-9)
        for one, two in zip(
            (plan.x, plan.u, plan.flat_slack, *plan.multipliers),
            (other.x, other.u, other.flat_slack, *other.multipliers),
        ):
            np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-7)
        x = dynamics(x, plan.u0, plant)
        other, said = plan, [*said, plan.status]
    assert {"rti", "line search"} <= set(said)


def test_derivatives_of_its_value_and_policy_against_finite_differences(theta):
    """In theta, through the network at the optimum: V and u_0 of converged problems beside it."""
    exact, h = integrated_mpc(drawn(), horizon=N, solver="ipopt"), 1e-5
    s = np.array([0.1, 0.3, -0.1, 0.2])
    at, guess = exact.V(theta, s), exact.V(theta, s)
    gradient, jacobian = at.gradient(), at.policy_jacobian()
    for i in (0, 1, 2, 5, 8, 26):  # masses, length, weights, target
        e = h * np.eye(len(theta))[i]
        ahead, back = (exact.V(theta + d, s, warm_start=guess) for d in (e, -e))
        assert gradient[i] == pytest.approx((ahead.value - back.value) / (2.0 * h), rel=1e-5, abs=1e-7)
        np.testing.assert_allclose(jacobian[:, i], (ahead.u0 - back.u0) / (2.0 * h), rtol=1e-4, atol=1e-5)


def test_a_learned_cost_is_added_to_each_stage():
    """The value is that of the plan; and one iteration from an optimum stays there, so that its curvature is right."""
    cost = drawn(2, 0.5, seed=4)
    mpc = integrated_mpc(zero(), horizon=N, cost=cost)
    theta, s = mpc.parameters.initial(), np.array([0.1, 0.8, 0.0, 0.1])
    plan = mpc.reference.policy(theta, s)
    end = ca.DM(plan.x[-1])
    known = stage_cost(plan.x[:-1], plan.u).sum() + float(
        mpc.problem.terminal_cost(end, mpc.parameters.unpack(ca.SX(theta)))
    )
    learned = (cost(features(plan.x[:-1], plan.u)) ** 2).sum()
    assert plan.value == pytest.approx(known + learned, rel=1e-9) and learned > 0.1
    again = mpc.policy(theta, s, warm_start=plan)
    assert again.status == "rti"
    np.testing.assert_allclose(again.u, plan.u, atol=1e-5)


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    for bad in (feature_mlp(rng, 1), MLP(4, 2, rng, activation="tanh"), MLP(5, 2, rng), None):
        with pytest.raises(ValueError, match="phi"):
            ResidualModel(bad)
    spoilt = drawn()
    spoilt.theta[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        integrated_mpc(spoilt)
    with pytest.raises(ValueError, match="cost"):
        integrated_mpc(drawn(), cost=MLP(4, 1, rng, activation="tanh"))


def test_weights_that_change_later_change_no_problem(mpc, theta):
    phi = drawn()
    mine = integrated_mpc(phi, horizon=N)
    phi.theta[:] = 0.0
    one, other = (m.policy(theta, S, warm_start=mpc.reference.policy(theta, S)) for m in (mine, mpc))
    np.testing.assert_allclose(one.u, other.u, atol=1e-12)
