"""Problems in which only some inputs are the action: Q fixes these, and the others stay unknowns of the plan."""

import casadi as ca
import numpy as np
import pytest
from scipy.optimize import minimize

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows


def make(n_actions, solver=None):
    """Two inputs; the second one has a wider box and moves a soft row already at stage 0."""
    problem = OptimalControlProblem(
        n_states=2, n_inputs=2, horizon=4, parameters=Parameters(b=0.7, w=2.0),
        dynamics=lambda x, u, p: ca.vertcat(x[0] + 0.5 * x[1] + 0.2 * u[1], x[1] + p.b * u[0]),
        stage_cost=lambda k, x, u, p: x.T @ x + 0.3 * u[0] ** 2 + 0.8 * (u[1] - 0.3 * x[0]) ** 2,
        terminal_cost=lambda x, p: 2 * x.T @ x, input_lower=[-1.0, -3.0], input_upper=[1.0, 3.0],
        constraints={"sum": lambda k, x, u, p: Rows(x[1] + u[1], -0.2, 0.3, weight=p.w) if k < 4 else None},
        n_actions=n_actions,
    )  # fmt: skip
    return MPC(problem, solver)


SOLVERS = ["daqp", "piqp", "ipopt"]
PARTS = {name: make(1, name) for name in SOLVERS}
WHOLE = make(2)
THETA = WHOLE.parameters.initial()


def test_all_inputs_are_the_action_by_default():
    assert make(0).problem.n_actions == 2
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=f"n_actions must lie between 1 and n_inputs = 2, not {wrong}"):
            make(wrong)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("s, a", [([0.4, 0.2], 0.3), ([-0.5, 0.4], -0.8), ([0.9, -0.6], 1.4)])
def test_q_is_the_minimum_over_the_other_inputs(solver, s, a):
    """Q(s, a_1) = min over a_2 in its box of Q(s, (a_1, a_2)), whose own box is not asked for."""
    q = PARTS[solver].Q(THETA, s, [a])
    assert q.action.shape == (1,) and q.u0[0] == pytest.approx(a, abs=1e-9)
    grid = np.linspace(-3, 3, 6001)
    values = WHOLE.values(THETA, np.tile(s, (6001, 1)), np.column_stack([np.full(6001, a), grid]))[0]
    assert q.value <= values.min() + 1e-8
    assert q.value == pytest.approx(WHOLE.Q(THETA, s, q.u0).value, abs=1e-7)
    assert grid[values.argmin()] == pytest.approx(q.u0[1], abs=1.1e-3)
    np.testing.assert_allclose(q.residual, 0.0, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_v_is_the_minimum_of_q(solver):
    mpc, s = PARTS[solver], [0.4, 0.2]
    best = minimize(lambda a: PARTS["daqp"].Q(THETA, s, a).value, [0.0], bounds=[(-1, 1)], tol=1e-14)
    assert mpc.V(THETA, s).value == pytest.approx(best.fun, abs=1e-8)
    assert mpc.V(THETA, s).u0[0] == pytest.approx(best.x[0], abs=1e-5)
    values, first = mpc.values(THETA, [s])
    assert first.shape == (1, 1) and first[0, 0] == pytest.approx(best.x[0], abs=1e-5)
    assert mpc.values(THETA, [s], first)[0][0] == pytest.approx(values[0], abs=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_derivatives(solver):
    mpc, s, a = PARTS[solver], np.array([0.4, 0.2]), np.array([0.3])
    q = mpc.Q(THETA, s, a)
    assert q.strict and q.gradient_action().shape == (1,)
    h = 1e-5
    numeric = (mpc.Q(THETA, s, a + h).value - mpc.Q(THETA, s, a - h).value) / (2 * h)
    assert q.gradient_action()[0] == pytest.approx(numeric, abs=1e-6)
    sensitivity = q.sensitivity()
    assert sensitivity.du_da.shape == (4, 2, 1) and sensitivity.du_da[0, 0, 0] == pytest.approx(1.0)
    numeric = (mpc.Q(THETA, s, a + h).u - mpc.Q(THETA, s, a - h).u) / (2 * h)
    np.testing.assert_allclose(sensitivity.du_da[..., 0], numeric, atol=1e-5)
    for i in range(2):
        e = h * np.eye(2)[i]
        numeric = (mpc.Q(THETA + e, s, a).value - mpc.Q(THETA - e, s, a).value) / (2 * h)
        assert q.gradient()[i] == pytest.approx(numeric, abs=1e-6)
        numeric = (mpc.Q(THETA + e, s, a).gradient() - mpc.Q(THETA - e, s, a).gradient()) / (2 * h)
        np.testing.assert_allclose(q.hessian()[i], numeric, atol=1e-4)
