"""Where a problem's function gives no number, the function is named, and the stage."""

import re

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import OptimalControlProblem, Parameters, Rows
from mpcrl_course.mpc.blame import blame, outside
from mpcrl_course.problems import cartpole_mpc, linear_mpc, pendulum_mpc

GOOD = {
    "n_states": 1,
    "n_inputs": 1,
    "horizon": 3,
    "parameters": Parameters(q=1.0),
    "dynamics": lambda x, u, p: x + u - 0.5,
    "stage_cost": lambda k, x, u, p: p.q * x**2 + u**2,
    "terminal_cost": lambda x, p: x**2,
    "input_lower": -1.0,
    "input_upper": 1.0,
}


def said(state=(1.2,), theta=(1.0,), action=None, **fields):
    return blame(OptimalControlProblem(**{**GOOD, **fields}), np.array(theta), np.array(state), action)


def wall(**rows):
    return {"wall": lambda k, x, u, p: Rows(x, **{side: bound(x, p) for side, bound in rows.items()})}


def test_nothing_is_blamed_where_all_are_numbers():
    assert said() is None
    assert said(constraints=wall(lower=lambda x, p: p.q - np.inf)) is None  # no bound is none
    for mpc, state in ((linear_mpc(3), np.zeros(2)), (pendulum_mpc(), np.ones(2)), (cartpole_mpc(), np.ones(4))):
        assert blame(mpc.problem, mpc.parameters.initial(), state) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        # with no input the states are 1.2, 0.7, 0.2, -0.3 by hand: log and sqrt end at the last of them
        ({"stage_cost": lambda k, x, u, p: ca.log(x - 0.5)}, r"stage_cost is nan at stage 2: x = \[0.2\], u = \[0.\]"),
        ({"terminal_cost": lambda x, p: ca.sqrt(x)}, r"terminal_cost is nan at stage 3: x = \[-0.3\]"),
        ({"stage_cost": lambda k, x, u, p: x / (p.q - 1) if k == 1 else x}, r"stage_cost is inf at stage 1"),
        ({"dynamics": lambda x, u, p: ca.sqrt(x - 1.5)}, r"dynamics is nan at stage 0: x = \[1.2\]"),
        ({"constraints": wall(upper=lambda x, p: ca.sqrt(x))}, r"the upper of constraint 'wall' is nan at stage 3"),
        (
            {"constraints": wall(weight=lambda x, p: 1 / (p.q - 1))},
            r"the weight of constraint 'wall' is inf at stage 0",
        ),
        (
            {"constraints": {"log": lambda k, x, u, p: Rows(ca.log(x), 0.0)}},
            r"the expression of constraint 'log' is nan",
        ),
        ({"stage_cost": lambda k, x, u, p: ca.sqrt(u) + x**2}, r"the derivative of stage_cost is inf at stage 0"),
    ],
)
def test_the_first_that_is_no_number_is_named(fields, message):
    assert re.match(message, said(**fields)), said(**fields)


def test_theta_the_action_and_a_plan_decide():
    root = {"stage_cost": lambda k, x, u, p: ca.sqrt(p.q) * x**2 + ca.log(1.5 + u)}
    assert said(**root) is None
    assert said(theta=[-1.0], **root).startswith("stage_cost is nan at stage 0")
    assert said(action=[-2.0], **root).startswith("stage_cost is nan at stage 0: x = [1.2], u = [-2.]")
    problem = OptimalControlProblem(**{**GOOD, **root})
    plan = np.array([[1.2], [1.0], [1.0], [1.0]]), np.array([[0.0], [0.0], [-1.6]])
    assert blame(problem, [1.0], [1.2], None, *plan).startswith("stage_cost is nan at stage 2: x = [1.], u = [-1.6]")


def test_a_state_outside_of_hard_rows_is_to_blame_itself():
    def box(k, x, u, p):
        return Rows(ca.vertcat(x, 2.0 * x), [-1.0, -np.inf], p.q) if k > 0 else None

    def hard(state, theta=(1.0,), **constraints):
        problem = OptimalControlProblem(**{**GOOD, "constraints": constraints or {"box": box}})
        return outside(problem, np.array(theta), np.array([state]))

    assert hard(0.4) is None and hard(0.5 + 1e-9) is None
    assert hard(0.9) == "the state itself lies outside of constraint 'box', row 2, by 0.8"  # 1.8 - 1
    assert hard(-1.25) == "the state itself lies outside of constraint 'box', row 1, by 0.25"
    assert hard(0.9, theta=(2.0,)) is None
    assert hard(5.0, soft=lambda k, x, u, p: Rows(x, upper=1.0, weight=3.0)) is None
    assert hard(5.0, input=lambda k, x, u, p: Rows(x + u, upper=1.0) if k < 3 else None) is None
    both = hard(5.0, near=lambda k, x, u, p: Rows(x, upper=4.0), far=lambda k, x, u, p: Rows(x, upper=1.0))
    assert both == "the state itself lies outside of constraint 'far', row 1, by 4"
