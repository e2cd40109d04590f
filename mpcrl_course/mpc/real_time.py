"""Real-time iteration: one Gauss-Newton step of sequential quadratic programming per decision (Diehl et al. 2005).

From a guess (X, U) with x_0 = s, the problem is made quadratic and solved once,

    minimise  g'd + 1/2 d'H d + weight'slack   over d = (dX, dU), slack >= 0
    subject to  the linearised dynamics, constraint rows and the box on the inputs,

with H = 2 J'J and J the slope of the residuals whose squares are the cost. The guess is the previous solution, one
stage further (`shift`); each decision improves it a little instead of solving every problem to the end. What can go
wrong is looked after: a line search on the l1 merit function

    cost + weight'(violation of the soft rows) + mu (sum of the gaps and of the violations of the hard rows)

shortens a step that would be too long, and where no short step helps, or the step is not finite, ipopt solves the
problem. Linearisation, QP (sparse, by the interior-point method piqp) and step are one CasADi function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import casadi as ca
import numpy as np

from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.lifted import LiftedSolver
from mpcrl_course.mpc.solution import Solution, SolverError
from mpcrl_course.mpc.transcription import Transcription, columns, pick

PIQP = {"error_on_fail": False, "piqp": {"eps_abs": 1e-8, "eps_rel": 1e-9}}
#: The linearised constraints must hold this well after the QP, or it counts as failed.
QP_TOLERANCE = 1e-5
#: A step must lower the merit by this fraction of what the quadratic model promises (Armijo).
SUFFICIENT = 1e-4
#: Steps are halved down to this fraction; if that does not help either, ipopt takes over.
SHORTEST = 1.0 / 16.0
#: A guess whose cost and gaps add up to more than this is as good as none.
OVERFLOW = 1e12
BAD_GUESS = "the guess is not finite"
#: Merits closer than this, relatively, count as equal: the QP is not solved more exactly either.
ROUNDING = 1e-8


def _step(t: Transcription) -> BufferedFunction:
    """Return the dynamics (theta, x, u) -> x_next as a function, built on first use and kept with the problem."""
    if "_step" not in t.__dict__:
        x, u = columns(t.X)[0], columns(t.U)[0]
        t.__dict__["_step"] = BufferedFunction("step", [t.theta, x, u], [t.next[0]])
    return t.__dict__["_step"]


def shift(solution: Solution) -> Solution:
    """Return the prediction one stage further, as the start of the next solve: the last input is held for one more.

    It is a guess, not a solution: value and multipliers are those of the old one.
    """
    t = solution.transcription
    u = np.concatenate([solution.u[1:], solution.u[-1:]])
    last = _step(t)(solution.theta, solution.x[-1], u[-1])[0]
    return replace(solution, x=np.concatenate([solution.x[1:], last[None]]), u=u)


def curvature(t: Transcription, w, residual: Callable | None):
    """Return the Hessian that the QP uses, for the unknowns w: Gauss-Newton's 2 J'J if there are residuals."""
    if residual is None:
        return ca.hessian(t.path_cost, w)[0]
    p, x, u = t.problem.parameters.unpack(t.theta), columns(t.X), [*columns(t.U), None]
    J = ca.jacobian(ca.vertcat(*[residual(k, x[k], u[k], p) for k in range(t.problem.horizon + 1)]), w)
    return 2.0 * J.T @ J


class RealTimeSolver:
    """Answers V by one real-time iteration from `warm_start`; Q, batches and a first V without one by ipopt.

    Parameters
    ----------
    transcription : Transcription
    residual : callable (k, x, u, p) -> casadi.SX, optional
        The residuals of stage k, whose squares add up to its cost (u = None at k = N): they give the Gauss-Newton
        Hessian. Without it the Hessian of the cost itself is used, which should then be convex.
    line_search, fallback : bool
        Switch off the one or the other: both off is plain real-time iteration.
    """

    def __init__(
        self, transcription: Transcription, residual: Callable | None = None, line_search: bool = True,
        fallback: bool = True,
    ):  # fmt: skip
        self.t = t = transcription
        self.line_search, self.fallback = line_search, fallback
        self.ipopt = LiftedSolver(t, "ipopt")
        problem = t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        self.n_x, self.n_u, n_soft = nx * N, nu * N, int(t.sigma.numel())
        w = ca.vertcat(ca.vec(t.X[:, 1:]), ca.vec(t.U))  # x_0 = s is no unknown
        n_w = self.n_x + self.n_u
        H = curvature(t, w, residual)
        cost = t.path_cost + ca.dot(t.perturbation, t.U[:, 0])
        # rows that x_0 alone decides would only be in the way of the QP
        self.lower_rows, self.upper_rows = (
            np.flatnonzero(has & ~t.fixed_rows["V"]) for has in (t.has_lower, t.has_upper)
        )
        of_slack = ca.jacobian(t.slack, t.sigma)
        lower, upper = self.lower_rows.tolist(), self.upper_rows.tolist()
        above_lower, above_upper = pick(t.h - t.lower, lower), pick(t.h - t.upper, upper)
        A = ca.vertcat(
            ca.horzcat(ca.jacobian(t.gaps, w), ca.SX(self.n_x, n_soft)),
            ca.horzcat(ca.jacobian(above_lower, w), of_slack[lower, :]),
            ca.horzcat(ca.jacobian(above_upper, w), -of_slack[upper, :]),
        )
        lba = ca.vertcat(-t.gaps, -above_lower, -ca.DM.inf(len(upper)))
        uba = ca.vertcat(-t.gaps, ca.DM.inf(len(lower)), -above_upper)
        soft = np.flatnonzero(t.soft).tolist()
        self.hard = np.concatenate([np.ones(self.n_x, bool), ~t.soft[lower], ~t.soft[upper]])
        box = [np.tile(b, N) for b in (problem.input_lower, problem.input_upper)]
        free, u = ca.DM.inf(self.n_x), ca.vec(t.U)
        data = {
            "h": ca.diagcat(H, ca.SX(n_soft, n_soft)),
            "g": ca.vertcat(ca.gradient(cost, w), pick(t.weight, soft)),
            "a": A, "lba": lba, "uba": uba,
            "lbx": ca.vertcat(-free, ca.DM(box[0]) - u, ca.DM.zeros(n_soft)),
            "ubx": ca.vertcat(free, ca.DM(box[1]) - u, ca.DM.inf(n_soft)),
        }  # fmt: skip
        inputs = [t.theta, t.X, t.U, t.perturbation]
        linearise = ca.Function("linearise", inputs, list(data.values()))
        qp = ca.conic("qp", "piqp", {"h": data["h"].sparsity(), "a": data["a"].sparsity()}, PIQP)
        symbols = [ca.MX.sym(f"i{i}", s.shape) for i, s in enumerate(inputs)]
        named = dict(zip(data, linearise(*symbols)))
        answer = qp(**named)
        d = answer["x"]
        slope = ca.dot(named["g"], d)
        rows = named["a"] @ d
        gap = ca.mmax(ca.fmax(named["lba"] - rows, rows - named["uba"]))
        self._qp = BufferedFunction(
            "iteration", symbols, [d[:n_w], answer["lam_a"], answer["lam_x"][self.n_x : n_w], slope, gap]
        )
        is_soft = ca.DM(t.soft.astype(float))
        excess = ca.fmax(0.0, ca.fmax(t.lower - t.h, t.h - t.upper))
        penalty = ca.dot(t.weight, excess)  # of soft rows: the weight of hard ones is zero
        hard = ca.dot(1.0 - is_soft, excess) + ca.norm_1(t.gaps)
        self._merit = BufferedFunction("merit", inputs, [cost, penalty, hard])
        self._rows = BufferedFunction("rows", inputs[:3], [t.h, t.lower, t.upper, t.weight])
        stationarity = ca.gradient(t.lagrangian(), t.X)[:, 0] - t.nu[:, 0]  # in x_0, without nu_0: that is -nu_0
        inputs = [*inputs[:3], t.sigma, t.nu, t.lam_lb, t.lam_ub, t.perturbation]
        self._first = BufferedFunction("first", inputs, [-stationarity])

    def solve(self, theta, state, action=None, perturbation=None, warm_start: Solution | None = None) -> Solution:
        """Answer V by one iteration from `warm_start`, a Solution (`shift` it first if it is of the step before)."""
        start = time.perf_counter()
        if action is not None or warm_start is None:
            return self.ipopt.solve(theta, state, action, perturbation, warm_start)
        found = self._iterate(theta, state, 0.0 if perturbation is None else perturbation, warm_start)
        if isinstance(found, str):
            if not self.fallback:
                raise SolverError("not converged", f"real-time iteration: {found}", state, None, theta)
            try:
                guess = None if found is BAD_GUESS else warm_start
                solution = self.ipopt.solve(theta, state, None, perturbation, guess)
            except SolverError:  # once more, without what led there
                solution = self.ipopt.solve(theta, state, None, perturbation)
            return replace(solution, status="fallback", time=time.perf_counter() - start)
        status, value, x, u, lam_a, lam_u = found
        t, problem = self.t, self.t.problem
        nu = np.zeros_like(x)
        nu[1:] = lam_a[: self.n_x].reshape(-1, problem.n_states)
        lam_lb, lam_ub = np.zeros(t.n_rows), np.zeros(t.n_rows)
        n_lower = len(self.lower_rows)
        lam_lb[self.lower_rows] = np.maximum(-lam_a[self.n_x : self.n_x + n_lower], 0.0)
        lam_ub[self.upper_rows] = np.maximum(lam_a[self.n_x + n_lower :], 0.0)
        h, lower, upper, weight = self._rows(theta, x.ravel(), u.ravel())
        slack = np.where(t.soft, np.maximum(0.0, np.maximum(lower - h, h - upper)), 0.0)
        given = t.fixed_rows["V"] & t.soft
        if given.any():  # rows of x_0 push with their whole weight if they are violated
            lam_lb[given], lam_ub[given] = (weight * (lower > h))[given], (weight * (h > upper))[given]
        nu[0] = self._first(theta, x.ravel(), u.ravel(), 0.0, nu.ravel(), lam_lb, lam_ub, 0.0)[0]
        lam_u = lam_u.reshape(u.shape)
        return Solution(
            "V", value, x, u, nu, np.maximum(-lam_u, 0.0), np.maximum(lam_u, 0.0), theta, state, None, perturbation,
            status, time.perf_counter() - start, slack, lam_lb, lam_ub, t,
        )  # fmt: skip

    def _iterate(self, theta, state, q, guess: Solution):
        """Return (status, value, x, u, multipliers of the rows, of the box), or a str: why there is no step."""
        problem, x, u = self.t.problem, guess.x.copy(), guess.u
        x[0] = state
        old = self._measure(theta, x, u, q)
        if not sum(old) < OVERFLOW:  # nor if it is not a number
            return BAD_GUESS
        try:
            d, lam_a, lam_u, slope, gap = self._qp(theta, x.ravel(), u.ravel(), q)
        except RuntimeError:  # CasADi refuses the QP
            return "the QP is ill-posed"
        if not (np.isfinite(d).all() and np.isfinite(lam_a).all()):
            return "the step is not finite"
        if not gap[0] <= QP_TOLERANCE * (1.0 + np.abs(d).max()):
            return f"the QP was not solved: gap {gap[0]:.1e}"
        dx, du = d[: self.n_x].reshape(x[1:].shape), d[self.n_x :].reshape(u.shape)
        mu = 1.1 * np.abs(lam_a[self.hard]).max()
        merit = old[0] + old[1] + mu * old[2]
        promise = slope[0] - old[1] - mu * old[2]  # slope holds the slacks' costs after the step
        length = 1.0
        while length >= (SHORTEST if self.line_search else 1.0):
            new_x, new_u = x.copy(), np.clip(u + length * du, problem.input_lower, problem.input_upper)
            new_x[1:] += length * dx
            cost, penalty, hard = self._measure(theta, new_x, new_u, q)
            enough = merit + SUFFICIENT * length * min(promise, 0.0) + ROUNDING * (1.0 + abs(merit))
            if cost + penalty + mu * hard <= enough or (not self.line_search and cost + penalty + hard < OVERFLOW):
                status = "rti" if length == 1.0 else "line search"
                return status, cost + penalty, new_x, new_u, lam_a, lam_u
            length *= 0.5
        return "no short step lowers the merit" if self.line_search else "the step is not finite"

    def _measure(self, theta, x, u, q):
        """Return the cost, the costs of slacks, and the sum of the gaps and of the violations of hard rows."""
        return [value.item() for value in self._merit(theta, x.ravel(), u.ravel(), q)]

    def solve_batch(self, theta, states, actions=None):
        """Return values and first inputs for many states: strangers to each other, so ipopt solves each."""
        return self.ipopt.solve_batch(theta, states, actions)
