"""The declaration of the linear MPC, against the definition it was copied from."""

import json
from pathlib import Path

import numpy as np
import pytest

from mpcrl_course.envs import linear
from mpcrl_course.mpc import riccati
from mpcrl_course.problems import linear as module
from mpcrl_course.problems.linear import linear_mpc

DATA = json.loads((Path(__file__).parents[1] / "data" / "lti_mpc.json").read_text(encoding="utf-8"))


def test_parameters_are_laid_out_as_the_reference_says():
    parameters = module.parameters()
    assert parameters.names == ("V0 x_lb1 x_lb2 x_ub1 x_ub2 b1 b2 f1 f2 f3 A11 A21 A12 A22 B1 B2".split())
    np.testing.assert_array_equal(parameters.initial(), DATA["sets"]["initial"]["theta"])


def test_terminal_weight_is_the_undiscounted_riccati_solution_of_the_initial_model():
    p = module.parameters().unpack(module.parameters().initial())
    P, _ = riccati(p.A, p.B[:, None], 0.5 * np.eye(2), [[0.25]])
    np.testing.assert_allclose(module.S, P, atol=1e-9)


def test_bounds_and_weight_are_those_of_the_plant():
    np.testing.assert_array_equal(module.LOWER, linear.LOWER)
    np.testing.assert_array_equal(module.UPPER, linear.UPPER)
    assert module.WEIGHT == linear.WEIGHT and linear_mpc().discount == linear.DISCOUNT


@pytest.mark.parametrize("kind", ["V", "Q"])
def test_value_is_the_cost_of_its_own_plan(kind):
    """Every term of the docstring, added up by hand along the plan, at random parameters."""
    rng, mpc = np.random.default_rng(0), linear_mpc()
    for _ in range(10):
        theta, s = mpc.parameters.initial() + 0.05 * rng.standard_normal(16), rng.uniform([-0.2, -0.5], [1.1, 0.5])
        solution = mpc.V(theta, s) if kind == "V" else mpc.Q(theta, s, rng.uniform(-1, 1))
        p, total = mpc.parameters.unpack(theta), 0.0
        x, u = solution.x, solution.u
        for k in range(10):
            np.testing.assert_allclose(x[k + 1], p.A @ x[k] + p.B * u[k] + p.b, atol=1e-12)
            low, high = module.LOWER + p.x_lb, module.UPPER + p.x_ub
            slack = np.maximum(0, np.maximum(low - x[k + 1], x[k + 1] - high)).sum()
            total += p.f @ [*x[k], u[k, 0]] + 0.5 * 0.9**k * (x[k] @ x[k] + 0.5 * u[k, 0] ** 2 + 100 * slack)
        assert solution.value == pytest.approx(p.V0 + total + x[10] @ module.S @ x[10], abs=1e-7)


def test_learned_weights_start_as_the_plain_problem_and_change_it():
    plain, weighted = linear_mpc(), linear_mpc(learn_weights=True)
    theta, s = weighted.parameters.initial(), [0.3, 0.1]
    assert weighted.parameters.names[16:] == ["W_x1", "W_x2", "W_u1"]
    assert weighted.V(theta, s).value == pytest.approx(plain.V(theta[:16], s).value, abs=1e-9)
    v = weighted.V(theta, s)
    assert v.strict
    for i in (16, 17, 18):
        e = 1e-6 * np.eye(19)[i]
        numeric = (weighted.V(theta + e, s).value - weighted.V(theta - e, s).value) / 2e-6
        assert v.gradient()[i] == pytest.approx(numeric, abs=1e-6)
    # d2L/dW2 = sum gamma^k x^2, d2L/dW_u2 = sum gamma^k u^2 / 2
    approximate, weights = v.hessian(exact=False), 0.9 ** np.arange(10)
    expected = np.zeros((19, 19))
    expected[[16, 17, 18], [16, 17, 18]] = [*(weights @ v.x[:-1] ** 2), 0.5 * (weights @ v.u[:, 0] ** 2)]
    np.testing.assert_allclose(approximate, expected, atol=1e-12)
