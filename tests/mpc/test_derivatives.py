"""Every derivative against central differences: a quadratic problem with daqp, a nonlinear one with ipopt."""

import casadi as ca
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows
from mpcrl_course.problems.linear import linear_mpc

unit = st.floats(-1.0, 1.0, allow_nan=False)
PROPERTY = settings(
    max_examples=25, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)  # fmt: skip


def units(n):
    return st.lists(unit, min_size=n, max_size=n).map(np.array)


def pendulum_mpc() -> MPC:
    """A pendulum in discrete time: sin in the dynamics, soft and hard rows, a learned weight, length and bound."""

    def dynamics(x, u, p):
        return ca.vertcat(x[0] + 0.2 * x[1], x[1] + 0.2 * (p.g * ca.sin(x[0]) - 0.3 * x[1] + p.b * u))

    def stage_cost(k, x, u, p):
        return 0.95**k * (p.q[0] * x[0] ** 2 + p.q[1] * x[1] ** 2 + 0.1 * u**2 + p.f * ca.cos(x[0]))

    def angle(k, x, u, p):
        if k > 0:
            return Rows(x[0], -p.edge, p.edge, weight=p.w)

    def power(k, x, u, p):  # hard, involves u, one-sided
        if u is not None and k > 0:
            return Rows(u * x[1], upper=0.6)

    problem = OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=6, discount=0.95,
        parameters=Parameters(g=2.0, b=1.5, q=[1.0, 0.1], f=0.2, edge=0.5, w=3.0),
        dynamics=dynamics, stage_cost=stage_cost, terminal_cost=lambda x, p: 4 * x.T @ x,
        input_lower=-2.0, input_upper=2.0, constraints={"angle": angle, "power": power},
    )  # fmt: skip
    return MPC(problem)


LINEAR, PENDULUM = linear_mpc(), pendulum_mpc()


def test_structure_chooses_the_back_end():
    assert LINEAR.solver == "daqp" and PENDULUM.solver == "ipopt"


def difference(function, at, h):
    """Central differences of a scalar or array function, along the last axis."""
    columns = []
    for i in range(len(at)):
        e = np.zeros(len(at))
        e[i] = h
        columns.append((function(at + e) - function(at - e)) / (2 * h))
    return np.stack(columns, axis=-1)


def assert_close(ours, numeric, tolerance, what):
    scale = max(1.0, np.abs(numeric).max())
    error = np.abs(ours - numeric).max() / scale
    assert error <= tolerance, f"{what}: error {error:.2g}"


def smooth(mpc, theta, s, a, margin):
    """Whether V and Q are that far from a change of the active set."""
    v, q = mpc.V(theta, s), mpc.Q(theta, s, a)
    return v.strict and q.strict and min(v.activity.margin, q.activity.margin) > margin


def check_all(mpc, theta, s, a, *, h, first, second):
    """Compare all derivatives of V and Q at one point."""
    v, q = mpc.V(theta, s), mpc.Q(theta, s, a)

    def along(function):
        return {"theta": (theta, lambda t: function(t, s, a)), "s": (s, lambda r: function(theta, r, a)),
                "a": (a, lambda b: function(theta, s, b))}  # fmt: skip

    def once(solve):
        """Solve at each point once: value, gradient, states and inputs are all differenced over the same points."""
        known = {}

        def solved(*point):
            key = b"".join(part.tobytes() for part in point)
            if key not in known:
                known[key] = solve(*point)
            return known[key]

        return solved

    for name, solution, solve in (("V", v, once(lambda t, r, b: mpc.V(t, r))), ("Q", q, once(mpc.Q))):
        value = along(lambda t, r, b, solve=solve: solve(t, r, b).value)
        gradients = {"theta": solution.gradient(), "s": solution.gradient_state()}
        if name == "Q":
            gradients["a"] = solution.gradient_action()
        for of, ours in gradients.items():
            at, function = value[of]
            assert_close(ours, difference(function, at, h), first, f"d{name}/d{of}")
        gradient = along(lambda t, r, b, solve=solve: solve(t, r, b).gradient())["theta"]
        assert_close(solution.hessian(), difference(gradient[1], theta, h), second, f"d2{name}/dtheta2")
        sensitivity = solution.sensitivity()
        for of in gradients:
            at = along(None)[of][0]
            for part in ("x", "u"):
                function = along(lambda t, r, b, solve=solve, part=part: getattr(solve(t, r, b), part))[of][1]
                ours = getattr(sensitivity, f"d{part}_d{of}")
                numeric = difference(function, at, h)
                assert ours.shape == numeric.shape
                assert_close(ours, numeric, second, f"d{part}/d{of} of {name}")
    assert_close(v.policy_jacobian(), v.sensitivity().du_dtheta[0], 1e-9, "dpi/dtheta, of the whole prediction")


@PROPERTY
@given(units(16), units(2), unit)
def test_linear_quadratic_problem_with_daqp(d, s, a):
    spread = LINEAR.parameters.pack(
        V0=1.0,
        x_lb=[0.2, 0.2],
        x_ub=[0.2, 0.2],
        b=[0.05, 0.05],
        f=[0.1, 0.1, 0.1],
        A=np.full((2, 2), 0.1),
        B=[0.05, 0.1],
    )
    theta = LINEAR.parameters.initial() + spread * d
    s = np.array([0.5, 0.0]) + np.array([0.6, 0.5]) * s
    a = np.array([a])
    assume(smooth(LINEAR, theta, s, a, margin=1e-3))
    check_all(LINEAR, theta, s, a, h=1e-6, first=1e-6, second=1e-5)


@settings(PROPERTY, max_examples=8)
@given(units(7), units(2), unit)
def test_nonlinear_problem_with_ipopt(d, s, a):
    theta = PENDULUM.parameters.initial() * (1 + 0.15 * d)
    s, a = np.array([0.6, 0.8]) * s, np.array([1.5 * a])
    assume(smooth(PENDULUM, theta, s, a, margin=3e-3))
    check_all(PENDULUM, theta, s, a, h=1e-5, first=1e-6, second=1e-4)


@pytest.mark.parametrize(
    "weight, s, violated, on_the_bound, hard_row", [(3.0, [0.5, 0.8], 5, 0, 0.5716), (8.0, [0.42, 0.9], 4, 1, 0.0)]
)
def test_nonlinear_problem_where_soft_and_hard_rows_push(weight, s, violated, on_the_bound, hard_row):
    """Chosen points at which every kind of row pushes: the property above may miss them."""
    theta, s, a = PENDULUM.parameters.pack(w=weight), np.array(s), np.array([0.7])
    v = PENDULUM.V(theta, s)
    assert v.activity.violated.sum() == violated
    assert (v.activity.upper & ~v.activity.violated)[:6].sum() == on_the_bound
    assert v.lam_ub["power"].max() == pytest.approx(hard_row, abs=1e-3)
    assert smooth(PENDULUM, theta, s, a, margin=1e-3)
    check_all(PENDULUM, theta, s, a, h=1e-5, first=1e-6, second=1e-4)


def test_derivatives_of_a_perturbed_solution():
    """q'u_0 in the cost: the gradient is that of the perturbed value, and dV/dq = u_0."""
    theta, s = LINEAR.parameters.initial(), np.array([0.4, 0.1])
    q = np.array([0.7])
    v = LINEAR.V(theta, s, perturbation=q)
    assert v.strict
    numeric = difference(lambda t: LINEAR.V(t, s, perturbation=q).value, theta, 1e-6)
    assert_close(v.gradient(), numeric, 1e-6, "dV/dtheta")
    numeric = difference(lambda t: LINEAR.V(t, s, perturbation=q).u0, theta, 1e-6)
    assert_close(v.policy_jacobian(), numeric, 1e-6, "dpi/dtheta")
    numeric = difference(lambda q: LINEAR.V(theta, s, perturbation=q).value, q, 1e-6)
    np.testing.assert_allclose(v.u0, numeric, atol=1e-8)
    assert v.u0[0] < LINEAR.V(theta, s).u0[0] - 0.05  # and it does move the action


def test_wrong_kind_of_solution_is_refused():
    theta = LINEAR.parameters.initial()
    with pytest.raises(ValueError, match="Q"):
        LINEAR.V(theta, [0.3, 0.0]).gradient_action()
    with pytest.raises(ValueError, match="policy_jacobian needs a solution of V"):
        LINEAR.Q(theta, [0.3, 0.0], 0.1).policy_jacobian()
