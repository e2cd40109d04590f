"""Lifted back ends: states, inputs and slacks are all unknowns of one sparse problem that CasADi hands to a solver.

`piqp` (an interior-point QP solver) serves quadratic problems with long horizons and cross-checks the condensed
back end; `ipopt` serves everything else.
"""

from __future__ import annotations

import time

import casadi as ca
import numpy as np
from scipy.linalg import null_space
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.solution import Solution, SolverError
from mpcrl_course.mpc.transcription import Transcription, pick

OPTIONS: dict[str, dict] = {
    "piqp": {
        "error_on_fail": False,
        "piqp": {"eps_abs": 1e-10, "eps_rel": 1e-11, "eps_duality_gap_abs": 1e-10, "eps_duality_gap_rel": 1e-11},
    },
    "ipopt": {
        "expand": True, "print_time": False, "error_on_fail": False,
        "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-11, "compl_inf_tol": 1e-10, "acceptable_iter": 0,
                  "bound_relax_factor": 0.0, "honor_original_bounds": "yes", "max_iter": 500},
    },
}  # fmt: skip
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
        self._rows = ca.vertcat(
            pick(t.lower - t.slack - t.h, self._has_lower), pick(t.h - t.upper - t.slack, self._has_upper)
        )
        self._built: dict[str, tuple] = {}
        self._weights = ca.Function("weights", [t.theta], [t.weight])
        if plugin == "piqp":
            self._curvature = BlockHessian(t)

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

    def solve(self, theta, state, action=None, perturbation=None, warm_start: Solution | None = None) -> Solution:
        """Solve V (action None) or Q, from `warm_start` (a Solution) or from the state held over the horizon."""
        start = time.perf_counter()
        t, problem = self.t, self.t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        kind = "V" if action is None else "Q"
        weight = self._weights(theta).full().ravel()
        if t.n_rows and weight.min() < 0.0:
            row = t.row_name(int(weight.argmin()))
            raise SolverError("unbounded", f"negative slack weight {weight.min():.3g} of {row}", state, action, theta)
        if self.plugin == "piqp" and not self._convex(kind, theta):
            raise SolverError("unbounded", "the cost is not convex in the inputs", state, action, theta)
        q = np.zeros(nu) if perturbation is None else perturbation
        a = np.zeros(problem.n_actions) if action is None else action
        if warm_start is None:
            u = np.clip(np.zeros((N, nu)), problem.input_lower, problem.input_upper)
            guess = np.concatenate([np.tile(state, N + 1), u.ravel(), np.zeros(t.sigma.numel())])
        else:
            guess = np.concatenate([warm_start.x.ravel(), warm_start.u.ravel(), warm_start.flat_slack[t.soft]])
        p = np.concatenate([theta, state, q, a])
        solver, bounds = self._solver(kind)
        try:
            answer = solver(x0=guess, p=p, **bounds)
        except RuntimeError as error:  # CasADi refuses the problem: some bound is not a number
            reason = str(error).strip().splitlines()[-1]
            raise SolverError("not converged", f"{self.plugin}: {reason}", state, action, theta) from None
        stats = solver.stats()
        y, lam_y, lam_g = (answer[key].full().ravel() for key in ("x", "lam_x", "lam_g"))
        value = float(answer["f"].full().item())
        word = str(stats.get("return_status", ""))
        if not stats["success"] or not np.isfinite(value):
            status, reason = next((WORDS[key] for key in WORDS if key in word.lower()), ("not converged", ""))
            g = answer["g"].full().ravel()
            gap = float(np.maximum(bounds["lbg"] - g, g - bounds["ubg"]).max())
            if status == "not converged" and t.hard_names and gap > 1e-4:  # piqp seldom says it in words
                status, reason = WORDS["infeasible"]
            if status == "infeasible":
                reason += f" ({', '.join(t.hard_names) or 'none, so it is numbers that overflow'})"
            said = f"{self.plugin}: {word}"
            raise SolverError(status, f"{reason} ({said})" if reason else said, state, action, theta)
        n_x, n_u = nx * (N + 1), nu * N
        slack, lam_lb, lam_ub = np.zeros(t.n_rows), np.zeros(t.n_rows), np.zeros(t.n_rows)
        slack[t.soft] = y[n_x + n_u :]
        n_eq = n_x + (0 if action is None else problem.n_actions)
        n_lower = len(self._has_lower)
        lam_lb[self._has_lower] = lam_g[n_eq : n_eq + n_lower]
        lam_ub[self._has_upper] = lam_g[n_eq + n_lower :]
        lam_u = lam_y[n_x : n_x + n_u].reshape(N, nu)
        return Solution(
            kind, value, y[:n_x].reshape(N + 1, nx), y[n_x : n_x + n_u].reshape(N, nu), lam_g[:n_x].reshape(N + 1, nx),
            np.maximum(-lam_u, 0.0), np.maximum(lam_u, 0.0), theta, state, action, perturbation,
            word, time.perf_counter() - start, slack, np.maximum(lam_lb, 0.0), np.maximum(lam_ub, 0.0), t,
        )  # fmt: skip

    def _convex(self, kind, theta) -> bool:
        """Return whether the cost is convex in the inputs: piqp would call a saddle point solved."""
        blocks = self._curvature(theta)
        tiny = 1e-10 * (1.0 + max(np.abs(block).max() for block in blocks))
        try:
            for block in blocks:
                np.linalg.cholesky(block + tiny * np.eye(block.shape[-1]))
        except np.linalg.LinAlgError:  # not in states and inputs taken apart; perhaps along the dynamics
            xu = ca.vertcat(ca.vec(self.t.X), ca.vec(self.t.U))
            dense = [ca.hessian(self.t.cost, xu)[0], ca.jacobian(self._equalities(kind), xu)]
            H, G = (part.full() for part in ca.Function("dense", [self.t.theta], dense)(theta))
            Z = null_space(G)
            return not Z.size or bool(np.linalg.eigvalsh(Z.T @ H @ Z)[0] > -tiny)
        return True

    def solve_batch(self, theta, states, actions=None):
        """Return values and first inputs for many states, one after the other, each started from its neighbour.

        Threads would need a solver each and gain little: measured on two cores 0.9x (piqp) and 1.3x (ipopt).
        """
        values, first, last = np.empty(len(states)), np.empty((len(states), self.t.problem.n_actions)), None
        for i, state in enumerate(states):
            last = self.solve(theta, state, None if actions is None else actions[i], warm_start=last)
            values[i], first[i] = last.value, last.u0[: first.shape[1]]
        return values, first


class BlockHessian:
    """Hessian of the cost in (X, U) as the dense blocks it falls apart into (stages and, in a network, agents).

    Called with theta, it returns one array of shape (blocks, n, n) for every size n of block.
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
