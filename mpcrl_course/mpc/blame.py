"""Which of a problem's functions gives no number: asked when a solve has failed, so that the message can name it."""

from __future__ import annotations

import casadi as ca
import numpy as np

from mpcrl_course.mpc.problem import OptimalControlProblem, Rows


def blame(problem: OptimalControlProblem, theta, state, action=None, x=None, u=None) -> str | None:
    """Return which function of a problem, at which stage, is not finite along a plan, and where; None if none is.

    Values are looked at first, all along the plan, then slopes: sqrt(x) has none at 0.

    Parameters
    ----------
    problem : OptimalControlProblem
    theta : array_like, shape (n_theta,)
    state : array_like, shape (n_states,)
    action : array_like, shape (n_actions,), optional
        The first input, of Q.
    x, u : array_like, shapes (N + 1, n_states) and (N, n_inputs), optional
        The plan. By default no input, as far as the box allows, and the states that follow from the dynamics.
    """
    N, nu = problem.horizon, problem.n_inputs
    plan = (
        np.tile(np.clip(np.zeros(nu), problem.input_lower, problem.input_upper), (N, 1)) if u is None else np.array(u)
    )
    if action is not None:
        plan[0, : problem.n_actions] = action
    X, U, p = ca.SX.sym("x", problem.n_states), ca.SX.sym("u", nu), ca.SX.sym("theta", problem.parameters.size)
    blocks = problem.parameters.unpack(p)
    slopes, now = [], np.array(state, dtype=float)
    for k in range(N + 1):
        u_k, last = (plan[k], False) if k < N else (np.zeros(nu), True)
        now = now if x is None or not k else np.array(x[k], dtype=float)
        named = [("terminal_cost", problem.terminal_cost(X, blocks))] if last else []
        if not last:
            named.append(("stage_cost", problem.stage_cost(k, X, U, blocks)))
            named.append(("dynamics", problem.dynamics(X, U, blocks)))
        for name, constraint in problem.constraints.items():
            rows = constraint(k, X, None if last else U, blocks)
            if rows is not None:
                parts = zip(("the expression", "the lower", "the upper", "the weight"), Rows(*rows))
                named += [(f"{what} of constraint '{name}'", part) for what, part in parts if isinstance(part, ca.SX)]
        where = f" at stage {k}: x = {_short(now)}" + ("" if last else f", u = {_short(u_k)}")
        ahead = now
        for name, expression in named:
            expression, bound = ca.SX(expression), name.startswith(("the lower", "the upper"))
            slope = ca.jacobian(expression, ca.vertcat(X, U))
            value, slope = (part.full() for part in ca.Function("f", [X, U, p], [expression, slope])(now, u_k, theta))
            if not (~np.isnan(value) if bound else np.isfinite(value)).all():
                return f"{name} is {_first(value, bound)}{where}"
            if not np.isfinite(slope).all():
                slopes.append(f"the derivative of {name} is {_first(slope)}{where}")
            ahead = value.ravel() if name == "dynamics" else ahead
        now = ahead
    return slopes[0] if slopes else None


def outside(problem: OptimalControlProblem, theta, state, least: float = 1e-6) -> str | None:
    """Return which hard row the state itself violates most, and by how much; None if it violates none.

    A row from stage 1 on is looked at as if it held of the state, too: who starts outside of hard bounds often cannot
    be inside one stage later, and it is not that stage that is to blame. One of later stages only, such as a terminal
    constraint, says nothing of the state.

    Parameters
    ----------
    problem : OptimalControlProblem
    theta : array_like, shape (n_theta,)
    state : array_like, shape (n_states,)
    least : float
        Violations up to this count as none.
    """
    x, u, p = (ca.SX.sym(n, size) for n, size in (("x", problem.n_states), ("u", problem.n_inputs), ("p", len(theta))))
    blocks, worst, found = problem.parameters.unpack(p), least, None
    for name, constraint in problem.constraints.items():
        stages = (constraint(k, x, u if k < problem.horizon else None, blocks) for k in range(2))
        found_rows = next((rows for rows in stages if rows is not None), None)
        if found_rows is None:
            continue
        rows = Rows(*found_rows)
        if rows.weight is not None or ca.depends_on(ca.SX(rows.expression), u):
            continue
        parts = [
            rows.expression,
            -np.inf if rows.lower is None else rows.lower,
            np.inf if rows.upper is None else rows.upper,
        ]
        parts = [part if isinstance(part, ca.SX) else ca.SX(np.asarray(part, dtype=float)) for part in parts]
        h, lower, upper = (part.full().ravel() for part in ca.Function("rows", [x, u, p], parts)(state, 0.0, theta))
        excess = np.maximum(lower - h, h - upper)
        if excess.max() > worst:
            worst, i = float(excess.max()), int(excess.argmax())
            found = f"the state itself lies outside of constraint '{name}', row {i + 1}, by {worst:.3g}"
    return found


def _first(value: np.ndarray, bound: bool = False) -> str:
    """Return the first number that is none, in words."""
    return f"{value[np.isnan(value) if bound else ~np.isfinite(value)][0]}"


def _short(value: np.ndarray) -> str:
    with np.printoptions(precision=4, threshold=8, suppress=True):
        return str(value)
