"""The linear MPC against reference values of another implementation, by all three back ends."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpcrl_course.problems.linear import linear_mpc

DATA = json.loads((Path(__file__).parents[1] / "data" / "lti_mpc.json").read_text(encoding="utf-8"))
POINTS = [(np.array(d["theta"]), row) for d in DATA["sets"].values() for row in d["rows"]]
SOLVERS = ["daqp", "piqp", "ipopt"]
#: Largest KKT residual (stationarity, feasibility, signs, complementarity), relative to max(1, |value|).
KKT = {"daqp": 3e-8, "piqp": 1e-9, "ipopt": 1e-10}


@pytest.fixture(scope="module", params=SOLVERS)
def mpc(request):
    return linear_mpc(solver=request.param)


def close(actual, expected, relative, floor=1e-3):
    """Norm-wise relative agreement; `floor` is the norm below which a reference counts as zero."""
    expected = np.asarray(expected)
    error = np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), floor)
    assert error <= relative, f"relative error {error:.3g}"


def test_the_reference_has_what_these_tests_need():
    assert len(POINTS) == 30 and sum(row["strict"] for _, row in POINTS) >= 25
    assert linear_mpc().parameters.initial().tolist() == DATA["sets"]["initial"]["theta"]


def test_values_and_policy(mpc):
    for theta, row in POINTS:
        v, q = mpc.V(theta, row["s"]), mpc.Q(theta, row["s"], row["a"])
        assert v.value == pytest.approx(row["V"], abs=1e-6)
        assert q.value == pytest.approx(row["Q"], abs=1e-6)
        assert v.u0[0] == pytest.approx(row["pi"], abs=1e-6)
        assert mpc.policy(theta, row["s"]).u0[0] == v.u0[0]
        np.testing.assert_allclose(v.x[0], row["s"], atol=1e-9)
        assert q.u0[0] == pytest.approx(row["a"], abs=1e-9)


def test_gradients(mpc):
    for theta, row in POINTS:
        close(mpc.V(theta, row["s"]).gradient(), row["dV"], 1e-5)
        close(mpc.Q(theta, row["s"], row["a"]).gradient(), row["dQ"], 1e-5)


def test_exact_hessian_and_policy_jacobian_on_strict_rows(mpc):
    for theta, row in POINTS:
        v, q = mpc.V(theta, row["s"]), mpc.Q(theta, row["s"], row["a"])
        if not row["strict"]:
            continue
        assert v.strict and q.strict
        jacobian = v.policy_jacobian()
        assert jacobian.shape == (1, 16)
        close(jacobian[0], row["dpi"], 1e-5)
        hessian = q.hessian()
        close(hessian, row["d2Q_full"], 1e-3)
        np.testing.assert_array_equal(hessian, hessian.T)
        # the Lagrangian is affine in theta: nothing remains of its own second derivative
        np.testing.assert_array_equal(q.hessian(exact=False), np.zeros((16, 16)))


def test_gradient_is_the_hand_formula(mpc):
    """V0: 1, x_lb: sum lam_lb, x_ub: -sum lam_ub, b: -sum nu, f: sum [x; u], A: -sum nu x', B: -sum nu u."""
    for theta, row in POINTS:
        for solution in (mpc.V(theta, row["s"]), mpc.Q(theta, row["s"], row["a"])):
            x, u, nu = solution.x[:-1], solution.u, solution.nu[1:]
            by_hand = mpc.parameters.pack(
                V0=1.0, x_lb=solution.lam_lb["state"].sum(0), x_ub=-solution.lam_ub["state"].sum(0), b=-nu.sum(0),
                f=np.hstack([x, u]).sum(0), A=-nu.T @ x, B=-(nu.T @ u).ravel(),
            )  # fmt: skip
            np.testing.assert_allclose(solution.gradient(), by_hand, rtol=1e-10, atol=1e-10)


def test_kkt_residuals(mpc):
    for theta, row in POINTS:
        for solution in (mpc.V(theta, row["s"]), mpc.Q(theta, row["s"], row["a"])):
            assert solution.residual <= KKT[mpc.solver] * max(1.0, abs(solution.value))


def test_kkt_residual_sees_a_wrong_solution(mpc):
    theta, row = POINTS[0]
    solution = mpc.V(theta, row["s"])
    m = solution.multipliers
    assert replace(solution, u=solution.u + 1e-3).residual > 1e-4
    assert replace(solution, multipliers=m._replace(nu=m.nu * (1 + 1e-3))).residual > 1e-4
    assert replace(solution, multipliers=m._replace(lam_lb=m.lam_lb - 1e-3)).residual > 1e-4


def test_solutions_of_the_back_ends_are_the_same():
    """Whole predictions and multipliers, not only what the reference holds."""
    controllers = [linear_mpc(solver=name) for name in SOLVERS]
    for theta, row in POINTS[::3]:
        ours, *others = (c.Q(theta, row["s"], row["a"]) for c in controllers)
        if not row["strict"]:
            continue
        for other in others:
            for name in ("x", "u", "nu", "lam_input_lb", "lam_input_ub"):
                np.testing.assert_allclose(
                    getattr(other, name), getattr(ours, name), atol=2e-5, rtol=1e-6, err_msg=name
                )
            for name in ("slack", "lam_lb", "lam_ub"):
                np.testing.assert_allclose(
                    getattr(other, name)["state"],
                    getattr(ours, name)["state"],
                    atol=2e-5,
                    rtol=1e-6,
                    err_msg=name,
                )


@pytest.mark.parametrize("solver, count, tolerance", [("daqp", 600, 3e-7), ("piqp", 60, 1e-9), ("ipopt", 30, 1e-10)])
def test_kkt_residuals_at_random(solver, count, tolerance):
    """Random parameters, states far outside the bounds too: a residual, not only agreement somewhere."""
    mpc, rng = linear_mpc(solver=solver), np.random.default_rng(8)
    for i in range(count):
        theta = mpc.parameters.initial() + 0.1 * rng.standard_normal(16)
        s = rng.uniform(-1, 1, 2) * (1 if i % 3 else 10)
        solution = mpc.V(theta, s) if i % 2 else mpc.Q(theta, s, rng.uniform(-1.5, 1.5))
        assert solution.residual <= tolerance * max(1.0, abs(solution.value))
