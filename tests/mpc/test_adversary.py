"""Ordinary problems that once were refused, or refused for a reason that was not theirs."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError


@pytest.mark.parametrize("solver", ["daqp", "piqp"])
@pytest.mark.parametrize("u_rest", [0.0, 0.7, -13.0])
def test_at_rest_under_an_offset_that_the_input_balances(u_rest, solver):
    """x = 0 is held by u = u_rest: every term of the states' conditions is rounding, and V = 0."""
    A, B = np.array([[0.9, 0.35, 0.1], [0.0, 1.1, 0.3], [0.1, 0.0, 0.7]]), np.array([0.0813, 0.2, 0.37])
    problem = OptimalControlProblem(
        n_states=3,
        n_inputs=1,
        horizon=15,
        parameters=Parameters(w=1.3),
        dynamics=lambda x, u, p: A @ x + B * u - B * u_rest,
        stage_cost=lambda k, x, u, p: p.w * ca.sumsqr(x) + 0.7 * (u - u_rest) ** 2,
        terminal_cost=lambda x, p: 3.1 * ca.sumsqr(x),
        constraints={"x": lambda k, x, u, p: Rows(x, -1.0, 1.0, weight=5.0) if k else None},
    )
    v = MPC(problem, solver).V([1.3], np.zeros(3))
    assert abs(v.value) < 1e-12 and v.u == pytest.approx(np.full((15, 1), u_rest), abs=1e-9)
    assert v.residual <= 1e-7


@pytest.mark.parametrize("solver", ["daqp", "piqp"])
def test_a_terminal_constraint_says_nothing_of_the_state(solver):
    problem = OptimalControlProblem(
        n_states=1,
        n_inputs=1,
        horizon=4,
        parameters=Parameters(w=1.0),
        dynamics=lambda x, u, p: x + u,
        stage_cost=lambda k, x, u, p: p.w * x**2 + u**2,
        terminal_cost=lambda x, p: x**2,
        input_lower=-1.0,
        input_upper=1.0,
        constraints={"end": lambda k, x, u, p: Rows(x, 0.0, 0.0) if k == 4 else None},
    )
    assert MPC(problem, solver).V([1.0], [4.0]).u == pytest.approx(-np.ones((4, 1)), abs=1e-6)
    with pytest.raises(SolverError, match="infeasible") as error:
        MPC(problem, solver).V([1.0], [7.0])
    assert "'end'" in error.value.reason and "state itself" not in error.value.reason


@pytest.mark.parametrize("solver", ["daqp", "piqp"])
@pytest.mark.parametrize("weight", [1e2, 1e6, 1e8, 1e10, 1e12])
def test_a_large_slack_weight_changes_no_derivative(weight, solver):
    """The speed is held at its bound c, with multipliers of about 4, whatever the weight: du_0/dc = -1 / 0.25."""
    A, B = np.array([[1.0, 0.25], [0.0, 1.0]]), np.array([0.0312, 0.25])
    problem = OptimalControlProblem(
        n_states=2,
        n_inputs=1,
        horizon=6,
        parameters=Parameters(c=0.3),
        dynamics=lambda x, u, p: A @ x + B * u,
        stage_cost=lambda k, x, u, p: 0.5 * ca.sumsqr(x) + 0.25 * u**2,
        terminal_cost=lambda x, p: 2 * ca.sumsqr(x),
        input_lower=-3,
        input_upper=3,
        constraints={"speed": lambda k, x, u, p: Rows(x[1], -p.c, p.c, weight) if k else None},
    )
    mpc, s = MPC(problem, solver), [2.5, 0.1]
    v, up, down = (mpc.V([c], s) for c in (0.3, 0.301, 0.299))
    assert v.strict
    assert v.policy_jacobian().item() == pytest.approx(-4.0, rel=1e-6)
    assert v.hessian().item() == pytest.approx((up.gradient() - down.gradient()).item() / 2e-3, rel=1e-5)
