"""Exercise 06: its references, and what a student may write."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.checks import ex06
from mpcrl_course.checks.engine import RAISED, RIGHT, WRONG
from mpcrl_course.envs import linear
from tests.data.wrong import ex06 as answers
from tests.notebooks import texts

NOTEBOOK = "06_mpc_as_value"

# ------------------------------------------------------------------------------- what a student would also write

#: What was once accepted, or had a message that was not true, and its mistake now.
NAMED = {
    "V0 raises the target, or L as well": "V0 in the target only",
    "V0 raises Q only, or the target falls": "V0 in Q only",
    "slack not discounted": "slack not discounted",
    "if a:": "a = 0 taken for none",
    "box kept on u_0": "box kept on the given input",
    "a given to u_1": "action at the wrong stage",
    "no box on the last input": "no box on the last input",
    "bounds of x_N forgotten": "bounds of the last state forgotten",
    "sum times sum": "product of two sums",
}


@pytest.mark.parametrize("what", NAMED)
def test_what_was_once_accepted_has_its_mistake(what):
    ((number, answer),) = [(number, answer) for number, said, answer in answers.WRONG if said == what]
    assert ex06.exercise.item(number).judge(answer).mistake == NAMED[what]


def test_whoever_only_raises_one_value_is_not_told_what_was_not_done():
    sentences = [ex06.predict.judge(number).sentence for number in (2.149, 0.249)]
    assert not any("You have" in sentence for sentence in sentences)  # L + 1 gives 2.149, too


def test_a_message_names_the_blocks_that_differ():
    def by_rows_and_x_n(x, u, nu, lam_lb, lam_ub):
        g = ex06.theta_gradient(x, u, nu, lam_lb, lam_ub)
        g[7:9] += x[-1]
        g[5] += 1.0
        return g

    result = ex06.gradient.judge(by_rows_and_x_n)
    assert (result.verdict, result.mistake) == (WRONG, None)
    assert result.sentence == "Not right: the blocks of b and f. The others are right."
    assert "shape (16,)" in ex06.gradient.judge(lambda x, u, nu, lam_lb, lam_ub: x).sentence


def test_each_reason_of_its_own_is_judged():
    judged = {n: ex06.explain.judge(("b", [n])) for n in ex06.explain.reasons}
    assert {n for n, result in judged.items() if result.mistake is None} == set(ex06.explain.carrying)
    assert ex06.explain.judge(("b", [1, 3])).verdict == RIGHT


def test_what_the_notebook_says_is_what_the_check_does():
    text = "\n".join(texts(NOTEBOOK).values())
    assert ex06.predict.precision in text
    for number in ex06.explain.reasons:
        assert f"- **{number}** " in text


def test_minimum_says_that_there_is_no_solution():
    opti = ca.Opti("conic")
    x = opti.variable()
    opti.subject_to(x >= 1)
    opti.subject_to(x <= 0)
    with pytest.raises(ex06.NoSolution, match="do the constraints contradict each other"):
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
