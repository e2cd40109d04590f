"""Lifted back ends: states, inputs and slacks are all unknowns of one sparse problem that CasADi hands to a solver.

`piqp` (an interior-point QP solver) serves quadratic problems with long horizons and cross-checks the condensed
back end; `ipopt` serves everything else.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

import casadi as ca
import numpy as np
from scipy.linalg import null_space
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.optimality import OPTIMAL, relative_residual, residuals, sharpened
from mpcrl_course.mpc.prestabilised import PrestabilisedSolver
from mpcrl_course.mpc.solution import Guess, Multipliers, Question, Solution, meeting
from mpcrl_course.mpc.transcription import Transcription, pick

TOLERANCES = {"eps_abs": 1e-14, "eps_rel": 1e-14, "eps_duality_gap_abs": 1e-14, "eps_duality_gap_rel": 1e-14}
#: Times `OPTIMAL`: what an interior point's answer may leave once its multipliers are sharpened. It leaves more than a
#: vertex does, and its inputs are off by a tenth of it or less.
INTERIOR = 10.0
SILENT = {"print_level": 0, "sb": "yes"}
TO_THE_END = {"tol": 1e-11, "compl_inf_tol": 1e-10, "acceptable_iter": 0, "max_iter": 500}
EXACT_BOUNDS = {"bound_relax_factor": 0.0, "honor_original_bounds": "yes"}
OPTIONS: dict[str, dict] = {
    "piqp": {"error_on_fail": False, "piqp": TOLERANCES},
    "ipopt": {
        "expand": True,
        "print_time": False,
        "error_on_fail": False,
        "ipopt": {**SILENT, **TO_THE_END, **EXACT_BOUNDS},
    },
}
#: An eigenvalue above minus this, of a Hessian scaled to a diagonal of ones, counts as not negative.
FLAT = 1e-10
#: In units that suit the problem, what is to cancel in an answer of ipopt counts as at least this large: its tolerances
#: are absolute, and where all is at rest nothing else is left.
AT_REST = 1e-3
WORDS = {
    "infeasible": ("infeasible", "the hard constraints contradict each other"),
    "unbounded": ("unbounded", "the cost has no lower bound"),
    "diverging": ("unbounded", "the iterates diverge"),
}


class LiftedSolver:
    """Solves V and Q through CasADi's `nlpsol` (ipopt) or `qpsol` (piqp).

    Parameters
    ----------
    transcription : Transcription
    plugin : {'ipopt', 'piqp'}
    """

    def __init__(self, transcription: Transcription, plugin: str):
        self.t = t = transcription
        self.plugin = plugin
        self._has_lower, self._has_upper = np.flatnonzero(t.has_lower), np.flatnonzero(t.has_upper)
        # bounds that cross by rounding meet in the middle, as everywhere
        lower, upper = ca.SX(t.lower), ca.SX(t.upper)
        for i in np.flatnonzero(t.has_lower & t.has_upper).tolist():
            if not (t.lower[i].is_constant() and t.upper[i].is_constant()):
                crossed, middle = t.upper[i] < t.lower[i], 0.5 * (t.lower[i] + t.upper[i])
                lower[i], upper[i] = ca.if_else(crossed, middle, t.lower[i]), ca.if_else(crossed, middle, t.upper[i])
        fixed = not ca.depends_on(ca.vertcat(t.lower, t.upper), ca.vertcat(ca.vec(t.X), ca.vec(t.U)))
        self._bounds = BufferedFunction("bounds", [t.theta], [t.weight, *((t.lower, t.upper) if fixed else ())])
        self._rows = ca.vertcat(
            pick(lower - t.slack - t.h, self._has_lower), pick(t.h - upper - t.slack, self._has_upper)
        )
        self._built: dict[str, tuple] = {}
        if plugin == "piqp":
            self._curvature = BlockHessian(t)
            self._sharpened = sharpened(t)

    def _equalities(self, kind: str) -> ca.SX:
        """Return x_0 - s, the gaps, and for Q also u_0 - a."""
        t = self.t
        fixed = [t.U[: t.problem.n_actions, 0] - t.a] if kind == "Q" else []
        return ca.vertcat(t.X[:, 0] - t.s, t.gaps, *fixed)

    def _solver(self, kind: str) -> tuple:
        """Return the solver of V or Q and its bounds, made when first asked for: many never ask for Q."""
        if kind not in self._built:
            t, problem, equalities = self.t, self.t.problem, self._equalities(kind)
            y = ca.vertcat(ca.vec(t.X), ca.vec(t.U), t.sigma)
            p = ca.vertcat(t.theta, t.s, t.perturbation, t.a)
            nlp = {"x": y, "p": p, "f": t.cost, "g": ca.densify(ca.vertcat(equalities, self._rows))}
            make = ca.qpsol if self.plugin == "piqp" else ca.nlpsol
            solver = make(f"{kind}_{self.plugin}", self.plugin, nlp, OPTIONS[self.plugin])
            box = []
            for bound, edge in ((problem.input_lower, -np.inf), (problem.input_upper, np.inf)):
                u = np.tile(bound, (problem.horizon, 1))
                if kind == "Q":
                    u[0, : problem.n_actions] = edge
                box.append(u.ravel())
            free, positive = np.full(t.X.numel(), np.inf), np.zeros(t.sigma.numel())
            n_eq, n_rows = int(equalities.numel()), int(self._rows.numel())
            bounds = {
                "lbx": np.concatenate([-free, box[0], positive]),
                "ubx": np.concatenate([free, box[1], positive + np.inf]),
                "lbg": np.concatenate([np.zeros(n_eq), np.full(n_rows, -np.inf)]),
                "ubg": np.zeros(n_eq + n_rows),
            }
            self._built[kind] = solver, bounds
        return self._built[kind]

    def solve(self, question: Question, guess: Solution | Guess | None = None) -> Solution:
        """Answer a question, starting from a `guess`, or from the state held over the horizon.

        An answer that does not pass the test of optimality is none; of a quadratic problem it is sought once more, by
        the careful back end.
        """
        problem = self.t.problem
        if self.plugin == "ipopt":
            try:
                solution = self.answer(question, guess)
            except SolverError as error:  # the root of no input has no slope: begin where there is one
                if guess is not None or "Invalid_Number" not in error.reason:
                    raise
                box = [
                    np.nan_to_num(bound, posinf=1.0, neginf=-1.0)
                    for bound in (problem.input_lower, problem.input_upper)
                ]
                u = np.tile(0.5 * (box[0] + box[1]) + 0.1 * (box[1] - box[0]), (problem.horizon, 1))
                if question.action is not None:
                    u[:, : problem.n_actions] = question.action
                solution = self.answer(question, self._held(question, u))
            if not (left := residuals(solution, AT_REST)[0]) <= OPTIMAL:  # ipopt's barrier sees to complementarity
                question.fail("not converged", f"ipopt's answer leaves a relative KKT residual of {left:.2g}")
            return solution
        try:
            solution = self.answer(question, guess)
            if self.passes(solution):
                return solution
        except SolverError as error:
            if error.status == "unbounded":
                raise
        return self._careful.solve(question)

    def passes(self, solution: Solution) -> bool:
        """Return whether a `solution` of piqp passes the test of optimality, also with sharpened multipliers."""
        m = solution.multipliers
        of_rows = solution.flat_slack, m.lam_lb, m.lam_ub
        nu, lam_lb, lam_ub = self._sharpened(solution.theta, solution.x.ravel(), solution.u.ravel(), *of_rows)
        sharp = replace(solution, multipliers=m._replace(nu=nu, lam_lb=lam_lb, lam_ub=lam_ub))
        return bool(residuals(sharp).max() <= INTERIOR * OPTIMAL) and relative_residual(solution) <= OPTIMAL

    def _held(self, question: Question, u) -> Guess:
        """Return the guess of the state held and inputs u, the first of which is the action if that is given."""
        if question.action is not None:
            u[0, : self.t.problem.n_actions] = question.action
        return Guess(np.tile(question.state, (len(u) + 1, 1)), u, np.zeros(self.t.n_rows))

    @cached_property
    def _careful(self) -> PrestabilisedSolver:
        return PrestabilisedSolver(self.t)

    def answer(self, question: Question, guess: Solution | Guess | None = None) -> Solution:
        """Return the plugin's answer to a question (from a `guess`), whatever the test of optimality says of it."""
        start = time.perf_counter()
        t, problem, theta, state = self.t, self.t.problem, question.theta, question.state
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        weight, *bounds = self._bounds(theta)
        if t.n_rows and weight.min() < 0.0:
            row = t.row_name(int(weight.argmin()))
            question.fail("unbounded", f"negative slack weight {weight.min():.3g} of {row}")
        if t.n_rows and bounds and not (bounds[0] <= bounds[1]).all():
            meeting(question, bounds[0], bounds[1], t.row_name)
        if self.plugin == "piqp" and not self._convex(question):
            question.fail("unbounded", "the cost is not convex in the inputs")
        q = np.zeros(nu) if question.perturbation is None else question.perturbation
        a = np.zeros(problem.n_actions) if question.action is None else question.action
        if guess is None:
            u = np.tile(np.clip(np.zeros(nu), problem.input_lower, problem.input_upper), (N, 1))
            guess = self._held(question, u)
        first = np.concatenate([guess.x.ravel(), guess.u.ravel(), guess.flat_slack[t.soft]])
        solver, bounds = self._solver(question.kind)
        try:
            answer = solver(x0=first, p=np.concatenate([theta, state, q, a]), **bounds)
        except RuntimeError as error:  # CasADi refuses the problem: some bound is not a number
            question.fail("not converged", f"{self.plugin}: {str(error).strip().splitlines()[-1]}")
        stats = solver.stats()
        y, lam_y, lam_g = (answer[key].full().ravel() for key in ("x", "lam_x", "lam_g"))
        value, word = float(answer["f"].full().item()), str(stats.get("return_status", ""))
        if not stats["success"] or not np.isfinite(value):
            self._explain(question, word, answer["g"].full().ravel(), bounds)
        n_x, n_u = nx * (N + 1), nu * N
        slack, lam_lb, lam_ub = np.zeros(t.n_rows), np.zeros(t.n_rows), np.zeros(t.n_rows)
        slack[t.soft] = y[n_x + n_u :]
        lam_rows = lam_g[n_x + (0 if question.action is None else problem.n_actions) :]
        lam_lb[self._has_lower], lam_ub[self._has_upper] = np.split(lam_rows, [len(self._has_lower)])
        lam_u = lam_y[n_x : n_x + n_u].reshape(N, nu)
        return Solution(
            question=question,
            value=value,
            x=y[:n_x].reshape(N + 1, nx),
            u=y[n_x : n_x + n_u].reshape(N, nu),
            flat_slack=slack,
            multipliers=Multipliers(
                nu=lam_g[:n_x].reshape(N + 1, nx),
                lam_lb=np.maximum(lam_lb, 0.0),
                lam_ub=np.maximum(lam_ub, 0.0),
                lam_input_lb=np.maximum(-lam_u, 0.0),
                lam_input_ub=np.maximum(lam_u, 0.0),
            ),
            status=word,
            time=time.perf_counter() - start,
            transcription=t,
        )

    def _explain(self, question: Question, word: str, g, bounds) -> NoReturn:
        """Raise the SolverError of a failed solve, from the plugin's own word and the constraints g."""
        status, reason = next((WORDS[key] for key in WORDS if key in word.lower()), ("not converged", ""))
        gap = float(np.maximum(bounds["lbg"] - g, g - bounds["ubg"]).max())
        if status == "not converged" and self.t.hard_names and gap > 1e-4:  # piqp seldom says it in words
            status, reason = WORDS["infeasible"]
        if status == "infeasible" and self.t.hard_names:
            reason += f" ({', '.join(self.t.hard_names)})"
        elif status == "infeasible":  # soft rows and a box never contradict each other
            status, reason = "not converged", "numbers overflow, or are too far apart"
        said = f"{self.plugin}: {word}"
        question.fail(status, f"{reason} ({said})" if reason else said)

    def _convex(self, question: Question) -> bool:
        """Return whether the cost is convex in the inputs: piqp would call a saddle point solved."""
        try:
            for block in self._curvature(question.theta):  # scaled to a diagonal of ones
                unit = np.sqrt(np.abs(np.diagonal(block, axis1=1, axis2=2)))
                unit[unit == 0.0] = 1.0
                np.linalg.cholesky(block / unit[:, :, None] / unit[:, None, :] + FLAT * np.eye(block.shape[-1]))
        except np.linalg.LinAlgError:  # not in states and inputs taken apart; perhaps along the dynamics
            xu = ca.vertcat(ca.vec(self.t.X), ca.vec(self.t.U))
            dense = [ca.hessian(self.t.cost, xu)[0], ca.jacobian(self._equalities(question.kind), xu)]
            H, G = (part.full() for part in ca.Function("dense", [self.t.theta], dense)(question.theta))
            unit = np.sqrt(np.abs(np.diag(H)))
            unit[unit == 0.0] = 1.0
            Z = null_space(G / unit)
            return not Z.size or bool(np.linalg.eigvalsh(Z.T @ (H / unit / unit[:, None]) @ Z)[0] > -FLAT)
        return True

    def solve_batch(self, theta, states, actions=None):
        """Return values and first inputs for many states (and actions) at one theta, as `MPC.values` does.

        One is solved after the other, each started from its neighbour.
        Threads would need a solver each and gain little: measured on two cores 0.9x (piqp) and 1.3x (ipopt).
        """
        values, first, last = np.empty(len(states)), np.empty((len(states), self.t.problem.n_actions)), None
        for i, state in enumerate(states):
            last = self.solve(Question(theta, state, None if actions is None else actions[i]), last)
            values[i], first[i] = last.value, last.u0[: first.shape[1]]
        return values, first


class BlockHessian:
    """Hessian of the cost in (X, U) as the dense blocks it falls apart into (stages and, in a network, agents).

    Called with theta, it returns one array of shape (blocks, n, n) for every size n of block.

    Parameters
    ----------
    t : Transcription
    """

    def __init__(self, t: Transcription):
        H = ca.hessian(t.cost, ca.vertcat(ca.vec(t.X), ca.vec(t.U)))[0]
        n, (row, column) = H.shape[0], (np.array(index, int) for index in H.sparsity().get_triplet())
        block = connected_components(coo_array((np.ones(len(row)), (row, column)), shape=(n, n)))[1]
        size = np.bincount(block)
        # number of every block among those of its size, and of every variable within its block
        order = np.argsort(block, kind="stable")
        place = np.empty(n, int)
        place[order] = np.arange(n) - np.repeat(np.cumsum(size) - size, size)
        self._where = []
        for m in np.unique(size):
            number = np.cumsum(size == m) - 1
            mine = np.flatnonzero(size[block[row]] == m)
            index = number[block[row[mine]]], place[row[mine]], place[column[mine]]
            self._where.append(((int((size == m).sum()), int(m), int(m)), mine, index))
        self._nonzeros = BufferedFunction("curvature", [t.theta], [ca.vertcat(*H.nonzeros(), 0)])

    def __call__(self, theta) -> list[np.ndarray]:
        """Return the blocks at theta."""
        nonzeros, blocks = self._nonzeros(theta)[0], []
        for shape, mine, index in self._where:
            block = np.zeros(shape)
            block[index] = nonzeros[mine]
            blocks.append(block)
        return blocks
