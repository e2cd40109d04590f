"""Exercise 06: its references, and what a student may write."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.checks import ex06
from mpcrl_course.checks.engine import RAISED, WRONG
from mpcrl_course.envs import linear

# ------------------------------------------------------------------------------- what a student would also write


def test_a_message_names_the_blocks_that_differ():
    def by_rows_and_x_n(x, u, nu, lam_lb, lam_ub):
        g = ex06.theta_gradient(x, u, nu, lam_lb, lam_ub)
        g[7:9] += x[-1]
        g[5] += 1.0
        return g

    result = ex06.gradient.judge(by_rows_and_x_n)
    assert (result.verdict, result.mistake) == (WRONG, None)
    assert result.sentence == "Not right on this plan: the blocks of b, f."
    assert "shape (16,)" in ex06.gradient.judge(lambda x, u, nu, lam_lb, lam_ub: x).sentence


def test_minimum_says_that_there_is_no_solution():
    opti = ca.Opti("conic")
    x = opti.variable()
    opti.subject_to(x >= 1)
    opti.subject_to(x <= 0)
    with pytest.raises(RuntimeError, match="do the constraints contradict each other"):
        ex06.minimum(opti, x**2)


def test_the_problem_written_twice_gives_the_same_values():
    rng = np.random.default_rng(5)
    again = ex06._written()
    for _ in range(20):
        theta, s, a = ex06._some_theta(rng), rng.uniform([-0.3, -1.2], [1.5, 1.2]), rng.uniform(-1.5, 1.5, 1)
        assert again(theta, s) == pytest.approx(ex06.mpc.V(theta, s).value, rel=1e-6, abs=1e-7)
        assert again(theta, s, a) == pytest.approx(ex06.mpc.Q(theta, s, a).value, rel=1e-6, abs=1e-7)


def test_predict_numbers_are_those_of_the_mpc():
    s, a, theta = np.array([-0.02, 0.8]), np.array([-1.0]), ex06.parameters.initial()
    s_next = ex06.PLANT_A @ s + ex06.PLANT_B * a - [0.08, 0.0]
    assert ex06.mpc.policy(theta, s).u0 == pytest.approx(a)
    measured = [linear.stage_cost(s, a), ex06.mpc.V(theta, s).value, ex06.mpc.V(theta, s_next).value]
    measured.append(ex06.mpc.Q(theta, s_next, [0.0]).value)
    assert measured == pytest.approx([ex06.COST, ex06.V_HERE, ex06.V_NEXT, ex06.Q_ZERO], abs=0.006)


def test_design_has_some_margin_and_a_hidden_seed_decides_nothing():
    costs = [ex06.measure(ex06.design.reference, [seed, seed + 1, seed + 2]) for seed in (10, 2000, 31_000)]
    assert max(m["mean stage cost"] for m in costs) < 0.0312
    assert all(m["steps with x1 < 0"] == 0 for m in costs)


@pytest.mark.parametrize("theta", [[0.0, 0.05], {"x_lb": 0.05}, np.full(16, np.nan)], ids=["short", "dict", "NaN"])
def test_design_of_the_wrong_form_says_so(theta):
    result = ex06.design.judge(theta)
    assert "θ" in str(result.details) or "theta" in str(result.details)
    assert result.verdict == RAISED


def test_the_given_loop_fails_and_the_repaired_one_learns():
    late = {}
    for loop in (ex06.loop_as_given, ex06.learn):
        td = [loop(ex06.parameters.initial(), seed, 1500)[0][-100:] for seed in (0, 1, 2)]
        late[loop.__name__] = np.abs(td).mean(axis=1)
    assert 2 * np.median(late["learn"]) < np.median(late["loop_as_given"])  # single seeds are chaotic
