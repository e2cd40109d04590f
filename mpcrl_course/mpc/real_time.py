"""Real-time iteration: one Gauss-Newton step of sequential quadratic programming per decision (Diehl et al. 2005).

From a guess (X, U) with x_0 = s, the problem is made quadratic and solved once,

    minimise  g'd + 1/2 d'H d + weight'slack   over d = (dX, dU), slack >= 0
    subject to  the linearised dynamics, constraint rows and the box on the inputs,

with H = 2 J'J and J the slope of the residuals whose squares are the cost. The guess is the previous solution, one
stage further (`shift`); each decision improves it a little instead of solving every problem to the end. What can go
wrong is looked after: a line search on the l1 merit function

    cost + weight'(violation of the soft rows) + mu (sum of the gaps and of the violations of the hard rows)

shortens a step that would be too long, and where no short step helps, or the step is not finite, ipopt solves the
problem. CasADi linearises; the sparse interior-point method piqp solves the QP, always in the same memory.

Constraints that the previous plan did not touch are first left out: a minimiser that keeps them all the same is the
minimiser, and without rows and slacks is found in 0.6 of the time, without the box on the inputs, too, in 0.4. If it
does not keep them, the QP is solved again with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import casadi as ca
import numpy as np
import piqp
from scipy.sparse import csc_matrix

from mpcrl_course.mpc.errors import ACTIVE, SolverError
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.lifted import LiftedSolver
from mpcrl_course.mpc.solution import Guess, Multipliers, Question, Solution
from mpcrl_course.mpc.transcription import Transcription, columns, pick
from mpcrl_course.validation import function, instance

#: Steps to 0.9999 of the way to the nearest bound (0.99 is piqp's default) save three iterations of eight; scaling the
#: QP first saves none and costs a fifth of the time.
PIQP = {"eps_abs": 1e-8, "eps_rel": 1e-9, "tau": 0.9999, "preconditioner_iter": 0}
#: What a plan touches, or a QP holds, at most: the box on the inputs; constraint rows, too.
BOX, ROWS = 1, 2
#: A step must lower the merit by this fraction of what the quadratic model promises (Armijo).
SUFFICIENT = 1e-4
#: Steps are halved down to this fraction; if that does not help either, ipopt takes over.
SHORTEST = 1.0 / 16.0
#: A guess whose cost and gaps add up to more than this is as good as none.
OVERFLOW = 1e12
BAD_GUESS = "the guess is not finite"
#: Merits closer than this, relatively, count as equal: the QP is not solved more exactly either.
ROUNDING = 1e-8


def shift(solution: Solution) -> Solution:
    """Return the prediction one stage further, as the start of the next solve: the last input is held for one more.

    It is a guess, not a solution: value and multipliers are those of the old one.
    """
    instance(solution, Solution, "solution")
    u = np.concatenate([solution.u[1:], solution.u[-1:]])
    last = solution.transcription.step(solution.theta, solution.x[-1], u[-1])[0]
    return replace(solution, x=np.concatenate([solution.x[1:], last[None]]), u=u)


def curvature(t: Transcription, w, residual: Callable | None):
    """Return the Hessian of the cost of t, for the unknowns w: Gauss-Newton's 2 J'J if there is a `residual`."""
    if residual is None:
        return ca.hessian(t.path_cost, w)[0]
    p, x, u = t.problem.parameters.unpack(t.theta), columns(t.X), [*columns(t.U), None]
    function(residual, "residual")
    try:
        J = ca.jacobian(ca.vertcat(*[residual(k, x[k], u[k], p) for k in range(t.problem.horizon + 1)]), w)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[-1]
        hint = "a column for every stage k from 0 to N, and u is None at N"
        raise ValueError(f"residual(k, x, u, p) failed with CasADi symbols: {said} ({hint})") from error
    return 2.0 * J.T @ J


class SparseQP:
    """minimise 1/2 z'H z + g'z  subject to  A z = b,  G z <= h,  below <= z <= above, solved in the same memory.

    Parameters
    ----------
    H, A, G : casadi.SX
        Their structure; whether an entry may vary; not their values.
    """

    def __init__(self, H: ca.SX, A: ca.SX, G: ca.SX):
        self.matrices = [_sparse(M) for M in (H, A, G)]
        self.varies = [not M.is_constant() for M in (H, A, G)]
        self.solver: piqp.SparseSolver | None = None  # with the QP's structure, after the first one

    def solve(self, H, A, G, g, b, h, below, above):
        """Return z, and the multipliers of A z = b, G z <= h and of both sides of the box; or None.

        The matrices are given by their entries, column by column; `below` and `above` are None if there is no box.
        """
        solver, self.solver = self.solver, None  # only a QP that is solved leaves its memory to the next
        for matrix, entries in zip(self.matrices, (H, A, G), strict=True):
            matrix.data = entries
        if solver is None:
            sparse_H, sparse_A, sparse_G = self.matrices
            solver = piqp.SparseSolver()
            for name, value in PIQP.items():
                setattr(solver.settings, name, value)
            solver.setup(sparse_H, g, sparse_A, b, sparse_G, None, h, below, above)
        else:  # handing over a matrix costs 14 µs: None says that it is the same as before
            sparse_H, sparse_A, sparse_G = (
                matrix if varies else None for matrix, varies in zip(self.matrices, self.varies, strict=True)
            )
            solver.update(sparse_H, g, sparse_A, b, sparse_G, None, h, below, above)
        if solver.solve() != piqp.PIQP_SOLVED:
            return None
        self.solver, found = solver, solver.result
        return [part.copy() for part in (found.x, found.y, found.z_u, found.z_bl, found.z_bu)]


def _sparse(M: ca.SX) -> csc_matrix:
    """Return a SciPy matrix with the structure of M."""
    s = M.sparsity()
    return csc_matrix((np.ones(s.nnz()), s.row(), s.colind()), shape=s.shape)


def _touched(plan: Solution | Guess) -> int:
    """Return which constraints the plan touches: none (0), the box on the inputs (BOX), or rows (ROWS), too."""
    m = plan.multipliers
    if m is None or m.lam_lb.max(initial=0.0) > ACTIVE or m.lam_ub.max(initial=0.0) > ACTIVE:
        return ROWS
    return BOX if m.lam_input_lb.max() > ACTIVE or m.lam_input_ub.max() > ACTIVE else 0


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
        self,
        transcription: Transcription,
        residual: Callable | None = None,
        line_search: bool = True,
        fallback: bool = True,
    ):
        self.t = t = transcription
        self.line_search, self.fallback = line_search, fallback
        self.ipopt = LiftedSolver(t, "ipopt")
        problem = t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        self.n_x, n_soft = nx * N, int(t.sigma.numel())
        self.box = slice(self.n_x, self.n_x + nu * N)  # the inputs among the unknowns of the QP
        w = ca.vertcat(ca.vec(t.X[:, 1:]), ca.vec(t.U))  # x_0 = s is no unknown
        H = curvature(t, w, residual)
        cost = t.path_cost + ca.dot(t.perturbation, t.U[:, 0])
        # rows that x_0 alone decides would only be in the way of the QP
        self.lower_rows, self.upper_rows = (
            np.flatnonzero(has & ~t.fixed_rows["V"]) for has in (t.has_lower, t.has_upper)
        )
        of_slack = ca.jacobian(t.slack, t.sigma)
        lower, upper = self.lower_rows.tolist(), self.upper_rows.tolist()
        above_lower, above_upper = pick(t.h - t.lower, lower), pick(t.h - t.upper, upper)
        H = ca.diagcat(H, ca.SX(n_soft, n_soft))
        A = ca.horzcat(ca.jacobian(t.gaps, w), ca.SX(self.n_x, n_soft))
        G = ca.vertcat(
            ca.horzcat(-ca.jacobian(above_lower, w), -of_slack[lower, :]),
            ca.horzcat(ca.jacobian(above_upper, w), -of_slack[upper, :]),
        )
        soft = np.flatnonzero(t.soft).tolist()
        self.hard_rows = np.flatnonzero(np.concatenate([~t.soft[lower], ~t.soft[upper]]))
        u, free = ca.vec(t.U), np.full(self.n_x, np.inf)
        # minimise 1/2 z'H z + g'z  subject to  A z = b,  G z <= h,  below <= z <= above
        b, h = -t.gaps, ca.vertcat(above_lower, -above_upper)
        below = ca.vertcat(-free, np.tile(problem.input_lower, N) - u, np.zeros(n_soft))
        above = ca.vertcat(free, np.tile(problem.input_upper, N) - u, np.full(n_soft, np.inf))
        g = ca.vertcat(ca.gradient(cost, w), pick(t.weight, soft))
        n = self.box.stop
        without_rows = H[:n, :n], A[:, :n], ca.SX(0, n)
        self.qps = SparseQP(*without_rows), SparseQP(*without_rows), SparseQP(H, A, G)  # free, with the box, and all
        excess = ca.fmax(0.0, ca.fmax(t.lower - t.h, t.h - t.upper))
        penalty = ca.dot(t.weight, excess)  # of soft rows: the weight of hard ones is zero
        hard = ca.dot(1.0 - ca.DM(t.soft.astype(float)), excess) + ca.norm_1(t.gaps)
        merit = ca.vertcat(cost, penalty, hard)
        inputs = [t.theta, t.X, t.U, t.perturbation]
        entries = [ca.vertcat(*M.nonzeros()) for M in (H, A, G)]
        self._linearise = BufferedFunction("linearise", inputs, [merit, *entries, g, b, h, below, above])
        # soft rows of x_0 are not in the QP: they push with their whole weight where they are violated
        alone = ca.DM((t.fixed_rows["V"] & t.soft).astype(float)) * t.weight
        slack = ca.DM(t.soft.astype(float)) * excess
        self._evaluate = BufferedFunction(
            "evaluate", inputs, [merit, slack, alone * (t.lower > t.h), alone * (t.h > t.upper)]
        )
        self._first = self._costate(t)

    @staticmethod
    def _costate(t: Transcription) -> BufferedFunction:
        """Return the function that gives the multiplier nu_0 of the initial state, from the plan and the others."""
        stationarity = ca.gradient(t.lagrangian(), t.X)[:, 0] - t.nu[:, 0]  # in x_0, without nu_0: that is -nu_0
        inputs = [t.theta, t.X, t.U, t.sigma, t.nu, t.lam_lb, t.lam_ub, t.perturbation]
        return BufferedFunction("first", inputs, [-stationarity])

    def solve(self, question: Question, guess: Solution | Guess | None = None) -> Solution:
        """Answer a question about V by one iteration from the `guess` (`shift` that of the step before first)."""
        start = time.perf_counter()
        if question.kind == "Q" or guess is None:
            return self.ipopt.solve(question, guess)
        found = self._iterate(question, guess)
        if isinstance(found, str):
            if not self.fallback:
                question.fail("not converged", f"real-time iteration: {found}")
            try:
                solution = self.ipopt.solve(question, None if found is BAD_GUESS else guess)
            except SolverError:  # once more, without what led there
                solution = self.ipopt.solve(question)
            return replace(solution, status="fallback", time=time.perf_counter() - start)
        status, value, x, u, slack, lam_lb, lam_ub, (lam_gaps, lam_rows, lam_below, lam_above) = found
        n_lower = len(self.lower_rows)
        lam_lb[self.lower_rows], lam_ub[self.upper_rows] = lam_rows[:n_lower], lam_rows[n_lower:]
        nu = np.concatenate([np.zeros(x.shape[1]), lam_gaps])
        nu[: x.shape[1]] = self._first(question.theta, x.ravel(), u.ravel(), 0.0, nu, lam_lb, lam_ub, 0.0)[0]
        box = lam_below.reshape(u.shape), lam_above.reshape(u.shape)
        return Solution(
            question=question,
            value=value,
            x=x,
            u=u,
            flat_slack=slack,
            multipliers=Multipliers(nu.reshape(x.shape), lam_lb, lam_ub, *box),
            status=status,
            time=time.perf_counter() - start,
            transcription=self.t,
        )

    def _iterate(self, question: Question, guess: Solution | Guess):
        """Return status, value, x, u, the rest of `_evaluate` and the QP's multipliers, or why there is no step."""
        problem, theta, q, x, u = self.t.problem, question.theta, question.q, guess.x.copy(), guess.u
        x[0] = question.state
        merit, H, A, G, g, *bounds = self._linearise(theta, x.ravel(), u.ravel(), q)
        cost, penalty, hard = merit.tolist()
        if not cost + penalty + hard < OVERFLOW:  # nor if it is not a number
            return BAD_GUESS
        found = self._solve_qp(_touched(guess), H, A, G, g, *bounds)
        if found is None:
            return "the QP was not solved"
        d, *lam = found
        dx, du = d[: self.n_x].reshape(x[1:].shape), d[self.box].reshape(u.shape)
        mu = 1.1 * float(np.abs(lam[0]).max())
        if self.hard_rows.size:
            mu = max(mu, 1.1 * float(lam[1][self.hard_rows].max()))
        merit = cost + penalty + mu * hard
        promise = float(g @ d) - penalty - mu * hard  # g'd holds the slacks' costs after the step
        length = 1.0
        while length >= (SHORTEST if self.line_search else 1.0):
            new_x, new_u = x.copy(), u + length * du
            new_x[1:] += length * dx
            new_u = np.minimum(np.maximum(new_u, problem.input_lower), problem.input_upper)
            new_merit, *rest = self._evaluate(theta, new_x.ravel(), new_u.ravel(), q)
            cost, penalty, hard = new_merit.tolist()
            enough = merit + SUFFICIENT * length * min(promise, 0.0) + ROUNDING * (1.0 + abs(merit))
            if cost + penalty + mu * hard <= enough or (not self.line_search and cost + penalty + hard < OVERFLOW):
                status = "rti" if length == 1.0 else "line search"
                return status, cost + penalty, new_x, new_u, *rest, lam
            length *= 0.5
        return "no short step lowers the merit" if self.line_search else "the step is not finite"

    def _solve_qp(self, touched: int, H, A, G, g, b, h, below, above):
        """Return d with the slacks, and the multipliers of A d = b, G d <= h and of both sides of the box, or None.

        What the plan before touched (see `_touched`) says with how few constraints to begin.
        """
        n, none = self.box.stop, np.zeros(0)
        if g[n:].min(initial=0.0) < 0.0:  # slacks that are rewarded
            touched = ROWS
        for kind in range(touched, ROWS):  # the slacks, the last unknowns, have no entries in H and A
            box = (below[:n], above[:n]) if kind == BOX else (None, None)
            found = self.qps[kind].solve(H, A, none, g[:n], b, none, *box)
            if found is None:
                continue
            d, rows = np.concatenate([found[0], np.zeros(g.size - n)]), self.qps[ROWS].matrices[2]
            rows.data = G
            excess = below - d, d - above, rows @ d - h
            if all(each.max(initial=0.0) <= PIQP["eps_abs"] for each in excess):
                lam_box = [lam[self.box] if kind == BOX else np.zeros(n - self.n_x) for lam in found[3:]]
                return d, found[1], np.zeros(h.size), *lam_box
        found = self.qps[ROWS].solve(H, A, G, g, b, h, below, above)
        return found and (*found[:3], *(lam[self.box] for lam in found[3:]))

    def solve_batch(self, theta, states, actions=None):
        """Return values and first inputs for many states (and actions) at one theta, as `MPC.values` does.

        They are strangers to each other, so ipopt solves each.
        """
        return self.ipopt.solve_batch(theta, states, actions)
