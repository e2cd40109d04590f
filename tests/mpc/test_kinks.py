"""Where V, Q and the policy are not smooth, the solution says so, whatever back end solved it."""

import json
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError, lifted
from mpcrl_course.problems.linear import linear_mpc

DATA = Path(__file__).parents[1] / "data"
SOLVERS = ["daqp", "piqp", "ipopt"]
THETA = linear_mpc().parameters.initial()


@pytest.fixture(scope="module", params=SOLVERS)
def mpc(request):
    return linear_mpc(solver=request.param)


def test_greedy_action_on_an_active_soft_bound(mpc):
    """V keeps x_1 on its bound at stage 1 (0 < multiplier < weight): there Q(s, .) has its kink."""
    s = np.array([-0.03, 0.05])
    v = mpc.V(THETA, s)
    push = v.lam_lb["state"][0, 0]
    assert 1 < push < 49 and v.x[1, 0] == pytest.approx(0.0, abs=1e-8)
    assert v.strict and v.activity.margin > 1e-3  # V itself is smooth
    q = mpc.Q(THETA, s, v.u0)
    assert not q.strict and abs(q.activity.margin) < 1e-6
    # the two one-sided slopes differ by what a unit of slack costs, times how far the input moves x_1
    left, right = mpc.Q(THETA, s, v.u0 - 1e-3), mpc.Q(THETA, s, v.u0 + 1e-3)
    assert left.strict and right.strict
    assert min(left.activity.margin, right.activity.margin) == pytest.approx(1e-3 * 0.0312, rel=1e-2)
    jump = right.gradient_action()[0] - left.gradient_action()[0]
    assert jump == pytest.approx(50 * 0.0312, abs=0.02)
    assert left.gradient_action()[0] < 0 < right.gradient_action()[0]
    # and so do the gradients in theta: x_lb1 costs on the violated side only
    where = mpc.parameters.index("x_lb").start
    assert left.gradient()[where] - right.gradient()[where] == pytest.approx(50, abs=0.5)
    far = mpc.Q(THETA, s, v.u0 + 0.3)
    assert far.strict and far.activity.margin == pytest.approx(0.3 * 0.0312, rel=1e-3)


def test_margin_grows_with_the_distance_to_the_kink(mpc):
    s = np.array([-0.03, 0.05])
    u0 = mpc.V(THETA, s).u0
    margins = [mpc.Q(THETA, s, u0 + step).activity.margin for step in (1e-3, 1e-2, 1e-1)]
    np.testing.assert_allclose(margins, [0.0312e-3, 0.0312e-2, 0.0312e-1], rtol=2e-2)


def test_dependent_active_rows_are_a_kink(mpc):
    """x_1 on its bound at stage 2 with u_1 on its own: two active rows, one input to serve them.

    Few enough rows for the free inputs, yet the multipliers are not unique; the back ends return different ones.
    """
    steps = json.loads((DATA / "q_learning_steps.json").read_text(encoding="utf-8"))
    theta, s = np.array(steps["theta"][53]), np.array(steps["X"][53])
    v = mpc.V(theta, s)
    assert v.strict
    assert v.lam_lb["state"][1, 0] > 1 and v.lam_input_lb[1, 0] > 1e-3
    assert not mpc.Q(theta, s, v.u0).strict


def test_weakly_active_input_bound(mpc):
    """Between 'free' and 'pushed' lies a state at which u_0 reaches its bound without pushing."""
    direction = np.array([0.9, 0.8])

    def slope(t):  # of Q at a = -1: negative where the bound does not push
        return mpc.Q(THETA, t * direction, -1.0).gradient_action()[0]

    low, high = 0.3, 1.0
    assert slope(low) < 0 < slope(high)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    at, below, above = (mpc.V(THETA, t * direction) for t in (0.5 * (low + high), low - 0.02, high + 0.02))
    assert not at.strict and abs(at.activity.margin) < 1e-5
    assert below.strict and not below.activity.input_lower[0, 0] and below.u0[0] > -1 + 1e-3
    assert above.strict and above.activity.input_lower[0, 0] and above.u0[0] == pytest.approx(-1, abs=1e-8)
    np.testing.assert_allclose(above.policy_jacobian(), np.zeros((1, 16)), atol=1e-8)
    assert np.abs(below.policy_jacobian()).max() > 0.1


def test_states_of_a_learning_run(mpc):
    """Of the 60 states of the reference run, the greedy action of the same theta is a kink of Q at 3.

    The actions that were in fact taken come from the theta before: none of them is a kink.
    """
    steps = json.loads((DATA / "q_learning_steps.json").read_text(encoding="utf-8"))
    greedy, taken = [], []
    for theta, s, a in zip(np.array(steps["theta"][:60]), steps["X"][:60], steps["U"]):
        greedy.append(mpc.Q(theta, s, mpc.V(theta, s).u0).strict)
        taken.append(mpc.Q(theta, s, a).strict)
    assert np.flatnonzero(~np.array(greedy)).tolist() == [7, 53, 59]
    assert all(taken)


def test_most_states_are_kinks_once_the_bound_is_learned():
    """In closed loop with the learned parameters the controller lives on its bound: 45 to 55 of 60 steps."""
    from mpcrl_course.envs.linear import LinearPlant

    learned = json.loads((DATA / "lti_mpc.json").read_text(encoding="utf-8"))["sets"]["learned"]["theta"]
    mpc, env = linear_mpc(), LinearPlant()
    s, _ = env.reset(seed=0)
    kinks = 0
    for _ in range(60):
        v = mpc.V(learned, s)
        assert v.strict
        kinks += not mpc.Q(learned, s, v.u0).strict
        s, *_ = env.step(v.u0)
    assert 45 <= kinks <= 55


def position_mpc(solver, b=0.0, parameter=False):
    """Double integrator: the position after one step listens to no input, the soft row on it neither."""
    gain = Parameters(b=b, w=3.0) if parameter else Parameters(w=3.0)
    problem = OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=4, parameters=gain,
        dynamics=lambda x, u, p: ca.vertcat(x[0] + 0.5 * x[1] + (p.b * u if parameter else 0), x[1] + u),
        stage_cost=lambda k, x, u, p: x.T @ x + u**2, terminal_cost=lambda x, p: x.T @ x,
        input_lower=-1.0, input_upper=1.0,
        constraints={"position": lambda k, x, u, p: Rows(x[0], -0.5, 0.5, weight=p.w) if k > 0 else None},
    )  # fmt: skip
    return MPC(problem, solver)


@pytest.mark.parametrize("parameter", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_violated_row_that_no_input_moves(solver, parameter):
    """Its multiplier is its weight, not zero: it pays for its violation, and V feels it in s.

    Structural (there is no gain) or numerical (the gain is a parameter that happens to be 0).
    """
    mpc, s = position_mpc(solver, parameter=parameter), np.array([-0.6, -0.2])
    theta = mpc.parameters.initial()
    for solution in (mpc.V(theta, s), mpc.Q(theta, s, 0.3)):
        assert solution.lam_lb["position"][0, 0] == pytest.approx(3.0, abs=1e-6)
        assert solution.slack["position"][0, 0] == pytest.approx(0.2, abs=1e-8)
        assert solution.strict
        assert solution.residual <= 1e-6

        def value(s, solution=solution):
            return (mpc.V(theta, s) if solution.kind == "V" else mpc.Q(theta, s, 0.3)).value

        numeric = [(value(s + e) - value(s - e)) / 2e-5 for e in 1e-5 * np.eye(2)]
        np.testing.assert_allclose(solution.gradient_state(), numeric, atol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_row_that_no_input_moves_on_its_bound_is_a_kink(solver):
    mpc = position_mpc(solver)
    s = np.array([-0.4, -0.2])  # x_1 = -0.5 whatever u_0
    assert not mpc.V([3.0], s).strict
    assert mpc.V([3.0], s + [1e-3, 0]).strict and mpc.V([3.0], s - [1e-3, 0]).strict


def test_derivatives_at_a_singular_kkt_system_raise(monkeypatch):
    """At a kink, between the vertices, the KKT system may be singular: an error that says so, not arbitrary numbers."""
    monkeypatch.setitem(lifted.OPTIONS["piqp"], "piqp", dict.fromkeys(lifted.TOLERANCES, 1e-10))
    steps = json.loads((DATA / "q_learning_steps.json").read_text(encoding="utf-8"))
    theta, s = np.array(steps["theta"][53]), np.array(steps["X"][53])
    mpc = linear_mpc(solver="piqp")
    q = mpc.back_end.answer(mpc.Q(theta, s, mpc.V(theta, s).u0).question)  # the interior point's own
    with pytest.raises(SolverError, match="multipliers are not unique"):
        q.hessian()
    with pytest.raises(SolverError, match="multipliers are not unique"):
        q.sensitivity()


@pytest.mark.parametrize("solver", SOLVERS)
def test_soft_row_that_pushes_with_its_full_weight_but_is_not_violated_is_a_kink(solver):
    """min u^2 + w max(0, -(s + u)): held on the bound down to s = -w/2, violated below; at -w/2 both at once."""
    problem = OptimalControlProblem(
        n_states=1, n_inputs=1, horizon=1, parameters=Parameters(w=0.5), dynamics=lambda x, u, p: x + u,
        stage_cost=lambda k, x, u, p: u**2, terminal_cost=lambda x, p: 0,
        constraints={"floor": lambda k, x, u, p: Rows(x, lower=0.0, weight=p.w) if k else None},
    )  # fmt: skip
    mpc = MPC(problem, solver)
    held, kink, violated = (mpc.V([0.5], [s]) for s in (-0.2, -0.25, -0.3))
    assert held.strict and violated.strict and not kink.strict
    assert held.lam_lb["floor"].item() == pytest.approx(0.4, abs=1e-6) and not held.activity.violated.any()
    assert held.activity.margin == pytest.approx(0.1, abs=1e-5)  # multiplier 0.4 of 0.5
    assert violated.slack["floor"].item() == pytest.approx(0.05, abs=1e-6)
    np.testing.assert_allclose(held.policy_jacobian(), 0.0, atol=1e-6)
    np.testing.assert_allclose(violated.policy_jacobian(), 0.5, atol=1e-6)  # u = w/2
