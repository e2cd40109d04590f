"""Derivatives of V, Q, the policy and the whole prediction, from one solution and its multipliers.

First order needs only the multipliers (envelope theorem): the derivative of the optimal value is the partial
derivative of the Lagrangian at the solution. Second order and the policy need the implicit function theorem on the
KKT conditions with the active set held fixed; both are taken from one linear system (Büskens & Maurer 2001).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import casadi as ca
import numpy as np

from mpcrl_course.mpc.condensed_jacobian import condensed_policy_jacobian
from mpcrl_course.mpc.errors import ACTIVE, KINK
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.transcription import Transcription, pick
from mpcrl_course.validation import flag

if TYPE_CHECKING:
    from mpcrl_course.mpc.solution import Solution


def gradient(solution: Solution) -> np.ndarray:
    """Return dV/dtheta or dQ/dtheta at a solution: the partial derivative of the Lagrangian, shape (n_theta,)."""
    return _gradients(solution)[0]


def gradient_state(solution: Solution) -> np.ndarray:
    """Return dV/ds or dQ/ds at a solution, which is -nu_0, shape (n_states,)."""
    return -solution.nu[0]


def gradient_action(solution: Solution) -> np.ndarray:
    """Return dQ/da = dL/du_0, the Lagrangian's derivative without the multiplier of u_0 = a, shape (n_actions,).

    Raises
    ------
    ValueError
        If the solution is one of V, in which the action is not an argument.
    """
    if solution.kind != "Q":
        raise ValueError("gradient_action needs a solution of Q(theta, s, a); V has no action")
    return _gradients(solution)[1][: solution.transcription.problem.n_actions]


def _gradients(solution):
    t, question, m = solution.transcription, solution.question, solution.multipliers
    # arrays of shape (stages, entries), row by row, are what CasADi stores of (entries, stages), column by column
    x, u, nu = solution.x.ravel(), solution.u.ravel(), m.nu.ravel()
    return t.gradients(question.theta, x, u, solution.flat_slack[t.soft], nu, m.lam_lb, m.lam_ub, question.q)


def activity(solution: Solution) -> SimpleNamespace:
    """Classify every constraint row and every input bound at a solution.

    One side of a row, with distance d to its bound, multiplier m and slack weight w (infinite if hard), is

    ==========  =====================  ===========================
    inactive    d > 0 and m = 0        margin d
    active      d = 0 and 0 < m < w    margin min(m, w - m), scaled
    violated    d < 0 and m = w        margin -d
    ==========  =====================  ===========================

    and on the border of two of these cases, where the margin vanishes, the solution has a kink. A row that no input
    can move has no case in between: its margin is |d|.

    Returns
    -------
    SimpleNamespace
        lower, upper : bool arrays over the rows, that side is active or violated;
        violated : rows whose slack is positive; input_lower, input_upper : bool (N, n_inputs), active bounds;
        pushing : how many of all these push and are not violated;
        margin : the smallest margin; strict : see `Solution.strict`.
    """
    act = classified(solution)
    if act.strict and act.pushing:
        # few enough active rows can still depend on each other, such as a state bound and the input bound behind it
        kkt = kkt_of(solution)
        rows = kkt.active(solution, act)
        slopes = kkt.blocks(*kkt.point(solution))[3][rows] * kkt.unit_y / kkt.unit_c[rows, None]
        act.strict = bool(np.linalg.matrix_rank(slopes, tol=1e-9 * np.linalg.norm(slopes)) == len(slopes))
    return act


def classified(solution: Solution) -> SimpleNamespace:
    """Return the `activity` of a solution, before its active rows were tested for depending on each other."""
    t, problem, m = solution.transcription, solution.transcription.problem, solution.multipliers
    h, lower, upper, weight = t.rows(solution.theta, solution.x.ravel(), solution.u.ravel())
    units = t.units  # in which margins mean something
    below, above, weight = (h - lower) / units.rows, (upper - h) / units.rows, weight * units.rows
    lam_lb, lam_ub = m.lam_lb * units.rows, m.lam_ub * units.rows
    lam_input_lb, lam_input_ub = m.lam_input_lb * units.u, m.lam_input_ub * units.u
    # a weight that is only large enough for an exact penalty says nothing about the multipliers that it bounds
    scale = np.maximum(1.0, np.minimum(weight, max(lam_lb.max(initial=0.0), lam_ub.max(initial=0.0))))
    weight = np.where(t.soft, weight, np.inf)
    violated = t.soft & (np.maximum(-below, -above) > ACTIVE)
    fixed = t.fixed_rows[solution.kind]

    def margin(d, lam):
        active = np.minimum(lam, weight - lam) / scale
        return np.select([fixed, lam <= ACTIVE * scale, violated], [np.abs(d), d, -d], active)

    # in Q the action is given: it has no bounds
    given = np.zeros(solution.u.shape, bool)
    if solution.kind == "Q":
        given[0, : problem.n_actions] = True
    d_lower = np.where(given, np.inf, (solution.u - problem.input_lower) / units.u)
    d_upper = np.where(given, np.inf, (problem.input_upper - solution.u) / units.u)
    input_lower, input_upper = lam_input_lb > ACTIVE, lam_input_ub > ACTIVE
    margins = [
        margin(below, lam_lb),
        margin(above, lam_ub),
        np.where(input_lower, lam_input_lb, d_lower).ravel(),
        np.where(input_upper, lam_input_ub, d_upper).ravel(),
    ]
    smallest = min(float(each.min()) for each in margins if each.size)
    row_lower, row_upper = lam_lb > ACTIVE * scale, lam_ub > ACTIVE * scale
    pushing = int(((row_lower | row_upper) & ~violated).sum() + input_lower.sum() + input_upper.sum())
    act = SimpleNamespace(lower=row_lower, upper=row_upper, violated=violated, margin=smallest)
    act.input_lower, act.input_upper = input_lower, input_upper
    act.pushing, act.strict = pushing, bool(smallest > KINK and pushing <= (~given).sum())
    return act


class KKT:
    """First and second derivatives of the Lagrangian of the lifted problem, compiled once for V or Q.

    y = (X, U, sigma) are the unknowns, p = (theta, s, a, q) the data, and c(y, p) all constraints, written = 0 or <= 0,
    in the order: equalities, lower rows, upper rows, -sigma, lower and upper input box.

    Parameters
    ----------
    t : Transcription
    kind : {'V', 'Q'}
    """

    def __init__(self, t: Transcription, kind: str):
        problem = t.problem
        y = ca.vertcat(ca.vec(t.X), ca.vec(t.U), t.sigma)
        p = ca.vertcat(t.theta, t.s, t.a, t.perturbation)
        equalities = ca.vertcat(t.X[:, 0] - t.s, t.gaps)
        first = 0
        if kind == "Q":
            equalities, first = ca.vertcat(equalities, t.U[: problem.n_actions, 0] - t.a), problem.n_actions
        self.has_lower, self.has_upper = np.flatnonzero(t.has_lower), np.flatnonzero(t.has_upper)
        u, n_u = ca.vec(t.U), int(t.U.numel())
        box_lower, box_upper = (np.tile(b, problem.horizon) for b in (problem.input_lower, problem.input_upper))
        self.box_lower = np.array([i for i in range(first, n_u) if np.isfinite(box_lower[i])], dtype=int)
        self.box_upper = np.array([i for i in range(first, n_u) if np.isfinite(box_upper[i])], dtype=int)
        c = ca.vertcat(
            equalities,
            pick(t.lower - t.slack - t.h, self.has_lower),
            pick(t.h - t.upper - t.slack, self.has_upper),
            -t.sigma,
            pick(ca.DM(box_lower) - u, self.box_lower),
            pick(u - ca.DM(box_upper), self.box_upper),
        )
        N, units, soft = problem.horizon, t.units, t.units.rows[t.soft]
        self.unit_y = np.concatenate([np.tile(units.x, N + 1), np.tile(units.u, N), soft])
        sides = units.rows[self.has_lower], units.rows[self.has_upper], soft
        box = (np.tile(units.u, N)[each] for each in (self.box_lower, self.box_upper))
        self.unit_c = np.concatenate([np.tile(units.x, N + 1), units.u[:first], *sides, *box])
        m = ca.SX.sym("m", c.numel())
        L = t.cost + ca.dot(m, c)
        grad_y, grad_p = ca.gradient(L, y), ca.gradient(L, p)
        self.n_y, self.n_p, self.n_equal = int(y.numel()), int(p.numel()), int(equalities.numel())
        blocks = [ca.jacobian(grad_y, y), ca.jacobian(grad_y, p), ca.jacobian(grad_p, p)]
        blocks += [ca.jacobian(c, y), ca.jacobian(c, p)]
        self.blocks = BufferedFunction("kkt", [p, y, m], blocks, matrices={0, 1, 2, 3, 4})

    def point(self, solution: Solution):
        """Return (p, y, m) of a solution, in this object's order."""
        t, problem, m = solution.transcription, solution.transcription.problem, solution.multipliers
        a = solution.u0[: problem.n_actions] if solution.action is None else solution.action
        q = np.zeros(problem.n_inputs) if solution.perturbation is None else solution.perturbation
        p = np.concatenate([solution.theta, solution.state, a, q])
        sigma = solution.flat_slack[t.soft]
        y = np.concatenate([solution.x.ravel(), solution.u.ravel(), sigma])
        weight = t.rows(solution.theta, solution.x.ravel(), solution.u.ravel())[3]
        free = (weight - m.lam_lb - m.lam_ub)[t.soft]  # multiplier of -sigma <= 0
        equalities = m.nu.ravel()
        if solution.kind == "Q":
            equalities = np.concatenate([equalities, -gradient_action(solution)])
        rows = m.lam_lb[self.has_lower], m.lam_ub[self.has_upper], free
        box = m.lam_input_lb.ravel()[self.box_lower], m.lam_input_ub.ravel()[self.box_upper]
        return p, y, np.concatenate([equalities, *rows, *box])

    def active(self, solution: Solution, act: SimpleNamespace) -> np.ndarray:
        """Return the indices of the constraints that hold with equality and push, given a solution's activity `act`."""
        rows = act.lower[self.has_lower], act.upper[self.has_upper], ~act.violated[solution.transcription.soft]
        box = act.input_lower.ravel()[self.box_lower], act.input_upper.ravel()[self.box_upper]
        inequalities = np.concatenate([*rows, *box])
        return np.concatenate([np.arange(self.n_equal), self.n_equal + np.flatnonzero(inequalities)])


#: What is compiled for V and Q of every problem, as long as that lives: an MPC that is never differentiated needs none.
_COMPILED: WeakKeyDictionary[Transcription, dict[str, KKT]] = WeakKeyDictionary()


def kkt_of(solution: Solution) -> KKT:
    """Return the compiled derivatives for the kind of `solution` (built on first use, kept as long as its problem)."""
    compiled = _COMPILED.setdefault(solution.transcription, {})
    if solution.kind not in compiled:
        compiled[solution.kind] = KKT(solution.transcription, solution.kind)
    return compiled[solution.kind]


def _implicit(solution: Solution):
    """Solve the KKT system for dy/dp and dm/dp with the active set held fixed."""
    kkt = kkt_of(solution)
    L_yy, L_yp, L_pp, c_y, c_p = kkt.blocks(*kkt.point(solution))
    rows = kkt.active(solution, solution.activity)
    unit_y, unit_c = kkt.unit_y[:, None], kkt.unit_c[rows, None]
    c_y, c_p = c_y[rows] * kkt.unit_y / unit_c, c_p[rows]
    n, m = kkt.n_y, len(rows)
    K = np.zeros((n + m, n + m))
    K[:n, :n], K[:n, n:], K[n:, :n] = L_yy * unit_y * kkt.unit_y, c_y.T, c_y
    right = -np.concatenate([L_yp * unit_y, c_p / unit_c])
    try:
        step = np.linalg.solve(K, right)
    except np.linalg.LinAlgError:
        step = np.full((n + m, 1), np.nan)
    if not np.isfinite(step).all() or np.abs(K @ step - right).max() > 1e-6 * (1.0 + np.abs(right).max()):
        reason = "the KKT system is singular here: the multipliers are not unique (see Solution.strict)"
        solution.question.fail("not converged", reason)
    return step[:n] * unit_y, step[n:] / unit_c, L_yp, L_pp, c_p


def hessian(solution: Solution, exact: bool = True) -> np.ndarray:
    """Return the second derivative of V or Q in theta, shape (n_theta, n_theta).

    Parameters
    ----------
    solution : Solution
    exact : bool
        True: including how the solution moves with theta (KKT system; the active set is held fixed, so it is the
        second derivative where `solution.strict`, and one of several at a kink). False: the second partial
        derivative of the Lagrangian only, the usual approximation.

    Raises
    ------
    SolverError
        If the KKT system is singular, as at some kinks.
    """
    n = solution.theta.size
    if not flag(exact, "exact"):
        kkt = kkt_of(solution)
        return kkt.blocks(*kkt.point(solution))[2][:n, :n]
    dy, dm, L_yp, L_pp, c_p = _implicit(solution)
    H = L_pp + L_yp.T @ dy + c_p.T @ dm
    return 0.5 * (H + H.T)[:n, :n]


def sensitivity(solution: Solution) -> SimpleNamespace:
    """Return how the whole prediction of a solution moves with theta, with the state and (in Q) with the action.

    Returns
    -------
    SimpleNamespace
        dx_dtheta (N + 1, n_states, n_theta), du_dtheta (N, n_inputs, n_theta), dx_ds, du_ds, and for Q dx_da, du_da.

    Raises
    ------
    SolverError
        If the KKT system is singular, as at some kinks.
    """
    dy = _implicit(solution)[0]
    problem = solution.transcription.problem
    nx, nu, N, n = problem.n_states, problem.n_inputs, problem.horizon, solution.theta.size
    dx = dy[: nx * (N + 1)].reshape(N + 1, nx, -1)
    du = dy[nx * (N + 1) : nx * (N + 1) + nu * N].reshape(N, nu, -1)
    parts = {"theta": slice(0, n), "s": slice(n, n + nx)}
    if solution.kind == "Q":
        parts["a"] = slice(n + nx, n + nx + problem.n_actions)
    return SimpleNamespace(
        **{f"dx_d{name}": dx[..., part] for name, part in parts.items()},
        **{f"du_d{name}": du[..., part] for name, part in parts.items()},
    )


def policy_jacobian(solution: Solution, state: bool = False) -> Any:
    """Return dpi/dtheta at a solution of V, the derivative of the first input, shape (n_inputs, n_theta).

    If `state`, the pair of it and dpi/ds, shape (n_inputs, n_states).

    Raises
    ------
    ValueError
        If the solution is one of Q.
    SolverError
        If the KKT system is singular, as at some kinks.
    """
    if solution.kind != "V":
        raise ValueError("policy_jacobian needs a solution of V or policy; in Q the first input is fixed")
    act = vars(solution).get("activity") or classified(solution)
    small = condensed_policy_jacobian(solution, act)
    if small is None:
        whole = sensitivity(solution)
        return (whole.du_dtheta[0], whole.du_ds[0]) if state else whole.du_dtheta[0]
    n = solution.theta.size
    return (small[:, :n], small[:, n:]) if state else small[:, :n]
