"""Exercise 02: its references, and what a student may write."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.checks import ex02
from mpcrl_course.checks.engine import RAISED, RIGHT, WRONG
from mpcrl_course.envs import cartpole
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError, shift
from mpcrl_course.policies.receding import first_plan
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model
from tests.notebooks import texts

NAME = "02_mpc"


# ------------------------------------------------------------------------------- what a student would also write


def test_the_problem_is_that_of_the_package():
    def package(s, N, edge, w):
        problem = OptimalControlProblem(
            2, 1, N, Parameters(),
            dynamics=lambda x, u, p: ex02.A @ x + ex02.B.reshape(2, 1) @ u,
            stage_cost=lambda k, x, u, p: 0.5 * x.T @ x + 0.25 * u.T @ u,
            terminal_cost=lambda x, p: x.T @ ex02.P @ x, input_lower=-1.0, input_upper=1.0,
            constraints={"x1": lambda k, x, u, p: Rows(x[0], edge, weight=w) if k > 0 else None},
        )  # fmt: skip
        return MPC(problem).V(np.zeros(0), s).value

    assert ex02.ocp.judge(package).verdict == RIGHT


def test_the_shifted_plan_costs_what_item_1_says():
    """The identity behind item 1, on a plan of the problem of item 3 without its bound."""
    rng = np.random.default_rng(0)
    x, u = [rng.uniform(-0.3, 0.3, 2)], rng.uniform(-0.5, 0.5, (6, 1))
    for v in u:
        x.append(ex02.A @ x[-1] + ex02.B * v)
    new_x, new_u = ex02.shift_plan(np.array(x), u)

    def cost(x, u):
        return 0.5 * (np.array(x[:-1]) ** 2).sum() + 0.25 * (u**2).sum() + x[-1] @ ex02.P @ x[-1]

    stage = [0.5 * (x[k] ** 2).sum() + 0.25 * u[k, 0] ** 2 for k in range(6)]
    V_f = [end @ ex02.P @ end for end in (x[-1], new_x[-1])]
    ends = V_f[1] - V_f[0] + 0.5 * (x[-1] ** 2).sum() + 0.25 * new_u[-1, 0] ** 2
    assert cost(new_x, new_u) == pytest.approx(cost(x, u) - stage[0] + ends, abs=1e-12)
    assert ends == pytest.approx(0.0, abs=2e-4)  # P is the Riccati solution, rounded: here they cancel


def test_the_given_loop_runs_away_and_the_repaired_one_does_not():
    s = np.array([0.4, 0.1])
    repaired, given = (
        np.mean([loop(s, seed, 40)[10:].mean() for seed in range(5)]) for loop in (ex02.drive, ex02.loop_as_given)
    )
    assert given > 5.0 * repaired


def test_design_has_some_margin_and_a_hidden_seed_decides_nothing():
    found = [ex02.measure(ex02.design.reference, seed) for seed in range(20)]
    assert max(m["mean stage cost"] for m in found) < 0.102
    assert max(m["steps with x1 < 0 (%)"] for m in found) < 0.9


def test_the_estimate_s_error_does_not_depend_on_the_inputs():
    for variance in (0.01, 0.1):
        x, estimates, _ = ex02.estimated_loop(0.175, variance, seed=3)
        error = np.sqrt(((x - estimates)[20:, :, 0] ** 2).mean())
        assert ex02.estimate_error(variance, 3) == pytest.approx(error, rel=1e-12)


def test_a_standard_deviation_for_the_variance_is_seen_whatever_the_back_off():
    """The larger back-off makes up for it in the loop; the estimate is worse all the same."""
    for back_off in (0.1, 0.2, 0.25):
        assert ex02.design.judge(ex02._answer(back_off, 0.1)).mistake == "standard deviation for variance"
    for seed in range(10):
        found = {v: ex02.estimate_error(v, seed) / ex02.estimate_error(0.01, seed) for v in (0.007, 0.02, 0.1)}
        assert found[0.1] > 1.08 and max(found[0.007], found[0.02]) < 1.045


def clipped_end(x, u):
    x, u = ex02.shift_plan(x, u)
    x[-1] = np.clip(x[-1], -1, 1)
    return x, u


def first_step_from_s(s, x, u):
    return ex02.gaps(s, x, u) - np.eye(len(x))[:, 1:2] * (cartpole.dynamics(s, u[0]) - cartpole.dynamics(x[0], u[0]))


@pytest.mark.parametrize(
    ("item", "answer", "mistake"),
    [
        ("shooting", ex02._wrapped, "angle wrapped"),
        ("shifting", clipped_end, "last state clipped"),
        ("shooting", first_step_from_s, "first step from the state"),
        ("ocp", ex02._written(lower=False), "box from above only"),
        ("ocp", ex02._written(end_stage=1.0), "running cost at the end, too"),
    ],
)
def test_slips_that_were_right_once_are_named(item, answer, mistake):
    assert getattr(ex02, item).judge(answer).mistake == mistake


def test_a_box_on_the_states_is_wrong():
    def boxed(s, N, edge, w):
        opti = ex02.ca.Opti("conic")
        x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(1, N)
        opti.subject_to(x[:, 0] == s)
        cost = x[:, N].T @ ex02.P @ x[:, N]
        for k in range(N):
            cost += 0.5 * ex02.ca.sumsqr(x[:, k]) + 0.25 * u[k] ** 2 + w * slack[k]
            opti.subject_to(x[:, k + 1] == ex02.A @ x[:, k] + ex02.B * u[k])
            opti.subject_to(opti.bounded(-1, u[k], 1))
            opti.subject_to(opti.bounded(-1, x[0, k + 1], 1))
            opti.subject_to(x[0, k + 1] >= edge - slack[k])
            opti.subject_to(slack[k] >= 0)
        return ex02.minimum(opti, cost)

    assert ex02.ocp.judge(boxed).verdict != RIGHT


def test_the_table_of_item_7():
    """Its first and its last line, whole: plain iteration without and with the plant's mass, 7 s from eight starts."""
    model = cartpole.CartPoleParameters(max_force=10.0)
    heavy = replace(model, cart_mass=1.2)
    mpc = cartpole_mpc(model, line_search=False, fallback=False)
    rng = np.random.default_rng(0)
    starts = [cartpole.random_start(rng) for _ in range(8)]

    def drive(theta, start):
        env, plan, cost, failed = cartpole.CartPole(heavy, steps=140), first_plan(mpc, theta, start), 0.0, 0
        env.reset(options={"x": start})
        for _ in range(140):
            _, reward, crashed, _, info = env.step(plan.u0)
            cost -= reward
            if crashed:
                return "×", failed
            try:
                plan = mpc.policy(theta, info["x"], warm_start=shift(plan))
            except SolverError:
                plan, failed = shift(plan), failed + 1
        assert abs(2 * np.sin(info["x"][1] / 2)) < 0.01
        return f"{cost:.0f}", failed

    text = texts(NAME, "solutions")["explain-text"]
    initial = mpc.parameters.initial()
    for line, theta in ((0, initial), (-1, with_model(mpc, initial, heavy))):
        words, failed = zip(*(drive(theta, start) for start in starts), strict=True)
        row = [row for row in text.splitlines() if row.startswith("| plain RTI")][line]
        assert row.endswith(f"{8 - words.count('×')} of 8 | {', '.join(words)} | {sum(failed)} |")


@pytest.mark.parametrize(
    "answer", [0.1, {"back_off": 0.1}, {"back_off": np.nan, "variance": 0.01}, {"back_off": 0.1, "variance": -1}]
)
def test_design_of_the_wrong_form_says_so(answer):
    result = ex02.design.judge(answer)
    assert result.verdict == RAISED and "back_off" in str(result.details)


def test_a_function_of_the_wrong_shape_is_told_so():
    result = ex02.shooting.judge(lambda s, x, u: x)
    assert (result.verdict, result.mistake) == (WRONG, None)


# ------------------------------------------------------------------------------------------------ the notebooks


def test_choices_in_the_notebook_are_those_of_the_check():
    text = texts(NAME)["explain-text"]
    for key, choice in ex02.explain.choices.items():
        assert f"- **{key}** {choice}" in " ".join(text.split())
