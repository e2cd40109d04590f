"""Discounted LQR: closed form against the reference file, and the MPC against the closed form."""

import json
from pathlib import Path

import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, lqr, riccati, riccati_iteration

CASES = json.loads((Path(__file__).parents[1] / "data" / "lqr.json").read_text(encoding="utf-8"))["cases"]
LOOSE = {"daqp": 1e-9, "piqp": 1e-7, "ipopt": 1e-7}


def solution(case, disturbance=True):
    spec = {k: np.array(v) for k, v in CASES[case]["spec"].items()}
    noise = {"mean": spec["m"], "cov": spec["W"]} if disturbance else {}
    return spec, lqr(spec["A"], spec["B"], spec["Q"], spec["R"], float(spec["g"]), spec["N"], **noise)


@pytest.mark.parametrize("case", CASES)
def test_closed_form_agrees_with_the_reference(case):
    reference, (_, ours) = CASES[case], solution(case)
    for name in ("P", "p", "c", "K", "k", "M", "q", "q0"):
        np.testing.assert_allclose(getattr(ours, name), reference[name], atol=1e-9, err_msg=name)
    for point in reference["points"]:
        assert ours.V(point["s"]) == pytest.approx(point["V"], abs=1e-9)
        assert ours.Q(point["s"], point["a"]) == pytest.approx(point["Q"], abs=1e-9)
        np.testing.assert_allclose(ours.policy(point["s"]), point["pi"], atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_bellman_equation_by_sampling_free_expectation(case):
    spec, ours = solution(case)
    rng, noise_cost = np.random.default_rng(0), np.trace(ours.P @ spec["W"])
    for _ in range(20):
        s, a = rng.normal(size=len(spec["A"])), rng.normal(size=spec["B"].shape[1])
        stage = s @ spec["Q"] @ s + a @ spec["R"] @ a + 2 * s @ spec["N"] @ a
        expected = ours.V(spec["A"] @ s + spec["B"] @ a + spec["m"]) + noise_cost
        assert ours.Q(s, a) == pytest.approx(stage + spec["g"] * expected, abs=1e-11)
        assert ours.V(s) == pytest.approx(ours.Q(s, ours.policy(s)), abs=1e-11)
        assert ours.Q(s, ours.policy(s) + 1e-3 * a) > ours.V(s)


@pytest.mark.parametrize("case", CASES)
def test_value_iteration_converges_to_the_riccati_solution(case):
    spec, ours = solution(case)
    data = spec["A"], spec["B"], spec["Q"], spec["R"], float(spec["g"]), spec["N"]
    P, K = riccati_iteration(*data, steps=300)
    np.testing.assert_allclose(P, ours.P, atol=1e-10)
    np.testing.assert_allclose(K, ours.K, atol=1e-10)
    np.testing.assert_allclose(riccati_iteration(*data, P=ours.P)[0], ours.P, atol=1e-11)  # a fixed point
    np.testing.assert_array_equal(riccati_iteration(*data, steps=0)[0], 0.0 * ours.P)


def test_lqr_refuses_what_has_no_solution():
    uncontrollable = np.diag([1.2, 0.5]), np.array([[0.0], [1.0]]), np.eye(2), np.eye(1)
    with pytest.raises(ValueError, match="no stabilising solution"):
        riccati(*uncontrollable)
    # a discount below 1/1.2^2 tames the uncontrollable mode
    P, _ = riccati(*uncontrollable, gamma=0.6)
    assert P[0, 0] == pytest.approx(1 / (1 - 0.6 * 1.2**2), abs=1e-9)
    with pytest.raises(ValueError, match="without disturbance"):
        lqr([[0.9]], [[1.0]], [[1.0]], [[1.0]], 1.0, cov=[[0.1]])
    with pytest.raises(ValueError, match="gamma must lie in .0, 1., not 1.1"):
        lqr([[0.9]], [[1.0]], [[1.0]], [[1.0]], 1.1)
    undiscounted = lqr([[0.9]], [[1.0]], [[1.0]], [[1.0]], 1.0)
    assert undiscounted.c == 0.0
    # P = 1 + 0.81 P / (1 + P): the golden-section-like positive root
    assert undiscounted.P[0, 0] == pytest.approx((0.81 + np.sqrt(0.81**2 + 4)) / 2, abs=1e-12)


def riccati_mpc(spec, ours, horizon, solver, disturbance=True):
    """The N-stage problem with the discounted Riccati terminal cost: exact at every N."""
    g, noise = float(spec["g"]), np.trace(ours.P @ spec["W"]) if disturbance else 0.0
    m, p_terminal = spec["m"] if disturbance else 0 * spec["m"], ours.p.reshape(-1, 1)

    def stage_cost(k, x, u, p):
        cost = x.T @ spec["Q"] @ x + u.T @ spec["R"] @ u + 2 * x.T @ spec["N"] @ u
        return p.gamma**k * (cost + p.gamma * noise)

    def terminal_cost(x, p):
        return p.gamma**horizon * (x.T @ p.P @ x + 2 * p_terminal.T @ x + ours.c)

    problem = OptimalControlProblem(
        n_states=len(spec["A"]), n_inputs=spec["B"].shape[1], horizon=horizon, discount=g,
        parameters=Parameters(A=spec["A"], B=spec["B"], P=ours.P, gamma=g),
        dynamics=lambda x, u, p: p.A @ x + p.B @ u + m, stage_cost=stage_cost, terminal_cost=terminal_cost,
    )  # fmt: skip
    return MPC(problem, solver)


@pytest.mark.parametrize("solver", LOOSE)
@pytest.mark.parametrize("horizon", [1, 2, 5, 10])
@pytest.mark.parametrize("case", CASES)
def test_mpc_with_riccati_terminal_cost_is_the_lqr(case, horizon, solver):
    spec, ours = solution(case)
    mpc, tolerance = riccati_mpc(spec, ours, horizon, solver), LOOSE[solver]
    theta = mpc.parameters.initial()
    for point in CASES[case]["points"]:
        s, a = np.array(point["s"]), np.array(point["a"])
        v, q = mpc.V(theta, s), mpc.Q(theta, s, a)
        assert v.value == pytest.approx(point["V"], abs=tolerance)
        assert q.value == pytest.approx(point["Q"], abs=tolerance)
        np.testing.assert_allclose(v.u0, point["pi"], atol=tolerance)
        assert v.strict and q.strict
        np.testing.assert_allclose(v.gradient_state(), 2 * (ours.P @ s + ours.p), atol=10 * tolerance)
        z = 2 * (ours.M @ np.concatenate([s, a]) + ours.q)
        np.testing.assert_allclose(q.gradient_state(), z[: len(s)], atol=10 * tolerance)
        np.testing.assert_allclose(q.gradient_action(), z[len(s) :], atol=10 * tolerance)
        np.testing.assert_allclose(v.sensitivity().du_ds[0], -ours.K, atol=1e-9)


@pytest.mark.parametrize("solver", LOOSE)
@pytest.mark.parametrize("case", CASES)
def test_total_derivative_of_V_is_the_derivative_of_the_riccati_solution(case, solver):
    """Without disturbance V(s) = s'P s. Its derivative in A is the gradient in A at a fixed terminal weight
    plus that in the terminal weight times dP/dA; so it is for B and the discount."""
    reference, (spec, ours) = CASES[case], solution(case, disturbance=False)
    mpc = riccati_mpc(spec, ours, 3, solver, disturbance=False)
    parameters = mpc.parameters
    tolerance = {"daqp": 1e-8, "piqp": 1e-6, "ipopt": 1e-6}[solver]
    for point in reference["points"]:
        s = np.array(point["s"])
        p = parameters.unpack(mpc.V(parameters.initial(), s).gradient())
        for name, block in (("dP_dA", p.A), ("dP_dB", p.B)):
            for ij, dP in reference[name].items():
                total = block[int(ij[0]), int(ij[1])] + (p.P * np.array(dP)).sum()
                assert total == pytest.approx(s @ np.array(dP) @ s, abs=tolerance)
        dP = np.array(reference["dP_dgamma"])
        assert p.gamma + (p.P * dP).sum() == pytest.approx(s @ dP @ s, abs=tolerance)
