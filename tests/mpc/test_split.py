"""A part of the dynamics outside of CasADi: what does not fit is refused, where f is linear it works as well."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters


def problem(dynamics, weight=1.0):
    return OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=4, parameters=Parameters(b=1.0), dynamics=dynamics,
        stage_cost=lambda k, x, u, p: weight * (ca.sumsqr(x) + ca.sumsqr(u)),
        terminal_cost=lambda x, p: weight * ca.sumsqr(x), input_lower=-1.0, input_upper=1.0, constraints={},
    )  # fmt: skip


def f(x, u, p):
    return ca.vertcat(x[0] + 0.2 * x[1], x[1] - 0.1 * x[0] + 0.2 * p.b * u)


def phi(x, u, slopes):
    value = np.stack([0.0 * x[:, 0], 0.3 * np.sin(x[:, 0])], axis=1)
    J = np.zeros((len(x), 2, 3))
    J[:, 1, 0] = 0.3 * np.cos(x[:, 0])
    return value, J if slopes else None


def whole(x, u, p):
    return f(x, u, p) + ca.vertcat(0.0, 0.3 * ca.sin(x[0]))


def test_iterations_converge_to_the_solution_of_the_whole():
    mpc, s = MPC(problem(whole), "rti", split=(f, phi)), np.array([1.0, -0.5])
    theta = mpc.parameters.initial()
    exact = mpc.reference.policy(theta, s)
    plan = mpc.policy(theta, s, warm_start=(np.tile(s, (5, 1)), np.zeros((4, 1))))
    for _ in range(20):
        plan = mpc.policy(theta, s, warm_start=plan)
    assert plan.residual < 1e-7
    np.testing.assert_allclose(plan.u, exact.u, atol=1e-7)
    np.testing.assert_allclose(plan.nu, exact.nu, atol=1e-6)
    np.testing.assert_allclose(plan.gradient(), exact.gradient(), atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="differs from the dynamics"):
        MPC(problem(whole), "rti", split=(f, lambda x, u, slopes: (0.0 * x, None)))
    with pytest.raises(ValueError, match=r"entry \(0, 2\)"):
        MPC(problem(lambda x, u, p: whole(x, u, p) + ca.vertcat(u, 0)), "rti", split=(f, phi))
    with pytest.raises(ValueError, match="units"):
        MPC(problem(whole, 1e-9), "rti", split=(f, phi))
    for bad in (None, f, (f, 3.0), (f,)):
        with pytest.raises(ValueError, match="split"):
            MPC(problem(whole), "rti", split=bad)


def test_a_guess_that_is_not_finite_is_none():
    mpc, s = MPC(problem(whole), "rti", split=(f, phi)), np.array([1.0, -0.5])
    x = np.full((5, 2), np.inf)
    plan = mpc.policy(mpc.parameters.initial(), s, warm_start=(x, np.zeros((4, 1))))
    assert plan.status == "fallback"
