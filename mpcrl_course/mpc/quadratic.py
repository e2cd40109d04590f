"""Quadratic back end: the states are eliminated (condensing) and a small dense QP goes to the active-set solver daqp.

With w = (s, u_0, …, u_{N-1}) all states are affine in w, so the whole problem is

    minimise  1/2 w'H w + g'w + c + weight'slack    subject to  lower <= J w + h0 <= upper (soft or hard),  box on u,

with matrices that depend on theta only. V fixes the first part of w, s; Q fixes (s, a): the two are the same QP
with a longer fixed part, and share one condensing.
"""

from __future__ import annotations

import time

import casadi as ca
import daqp
import numpy as np

from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.solution import Solution, SolverError
from mpcrl_course.mpc.transcription import Transcription, rollout, stack

#: A violation of a row on which no input has a say counts as none below this (it is rounding, or a kink).
ROUNDING = 1e-9
#: Reciprocal of the quadratic weight that daqp adds to a linear slack penalty: 1e8 makes it an exact l1 penalty.
RECIPROCAL_WEIGHT = 1e8
FLAGS = {
    -1: ("infeasible", "the hard constraints contradict each other"),
    -2: ("not converged", "the active-set method cycles"),
    -3: ("unbounded", "the cost has no lower bound"),
    -4: ("not converged", "iteration limit reached"),
    -5: ("unbounded", "the cost is not convex in the inputs"),
    -6: ("not converged", "the initial working set is overdetermined"),
}


def is_quadratic(transcription: Transcription) -> bool:
    """Return whether cost, dynamics and rows have the structure of a QP in (X, U) for every theta."""
    t = transcription
    y = ca.vertcat(ca.vec(t.X), ca.vec(t.U))
    curvature = ca.hessian(t.stage_costs, y)[0]
    slopes = ca.jacobian(ca.vertcat(t.gaps, t.h), y)
    return not (
        ca.depends_on(ca.vertcat(ca.vec(curvature), ca.vec(slopes)), y)
        or ca.depends_on(ca.vertcat(t.lower, t.upper, t.weight), y)
    )


class QuadraticSolver:
    """Solves V and Q of a quadratic problem by condensing and daqp.

    Parameters
    ----------
    transcription : Transcription
        Of a problem with quadratic structure.
    """

    def __init__(self, transcription: Transcription):
        self.t = t = transcription
        problem = t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        w = ca.SX.sym("w", nx + N * nu)
        U = ca.reshape(w[nx:], nu, N)
        X = rollout(problem, w[:nx], U, t.theta)
        rows = stack(problem, X, U, t.theta)
        H, gradient = ca.hessian(rows.cost, w)
        origin = ca.SX.zeros(w.numel())
        at_zero = ca.substitute(ca.vertcat(rows.cost, gradient, rows.h), w, origin)
        n = w.numel()
        self._matrices = BufferedFunction(
            "matrices", [t.theta],
            [H, at_zero[1 : n + 1], at_zero[0], ca.jacobian(rows.h, w), at_zero[n + 1 :],
             rows.lower, rows.upper, rows.weight],
        )  # fmt: skip
        lams = [t.lam_lb, t.lam_ub]
        nu_of_w = t.adjoint(t.theta, X, U, *lams)
        self._expand = BufferedFunction("expand", [t.theta, w, *lams], [X.T, nu_of_w.T])
        self._nx, self._nu, self._N = nx, nu, N
        self._box_lower, self._box_upper = (
            np.tile(b, N) for b in (problem.input_lower, problem.input_upper)
        )
        self._boxed = bool(np.isfinite([problem.input_lower, problem.input_upper]).any())
        # moving rows: those on which a free input has a say; the other ones only add to the cost
        self._moving = {kind: np.flatnonzero(~fixed) for kind, fixed in t.fixed_rows.items()}
        self._all_moving = {kind: len(i) == t.n_rows for kind, i in self._moving.items()}
        self._key, self._qp = b"", {}

    def prepare(self, theta: np.ndarray, state=None, action=None) -> dict:
        """Condense for theta (remembered until theta changes) and check what no state can mend."""
        key = theta.tobytes()
        if key == self._key:
            return self._qp
        H, g, c, J, h0, lower, upper, weight = self._matrices(theta)
        if not np.isfinite(H.sum() + g.sum() + h0.sum()):
            raise SolverError("not converged", "the condensed matrices are not finite", state, action, theta)
        if self.t.n_rows:
            if weight.min() < 0.0:
                row = self.t.row_name(int(weight.argmin()))
                raise SolverError("unbounded", f"negative slack weight {weight.min():.3g} of {row}", state, action, theta)
            crossed = lower > upper
            if crossed.any():
                i = int(crossed.argmax())
                reason = f"lower bound {lower[i]:.6g} above upper bound {upper[i]:.6g} in {self.t.row_name(i)}"
                raise SolverError("infeasible", reason, state, action, theta)
        qp = {"H": H, "g": g, "c": c[0], "J": J, "h0": h0, "lower": lower, "upper": upper, "weight": weight}
        for kind, n_fixed in (("V", self._nx), ("Q", self._nx + self._nu)):
            moving = slice(None) if self._all_moving[kind] else self._moving[kind]
            J_moving = J[moving]
            qp[kind] = {
                "H": np.ascontiguousarray(H[n_fixed:, n_fixed:]),
                "G": H[n_fixed:, :n_fixed], "g": g[n_fixed:],
                "C": np.ascontiguousarray(J_moving[:, n_fixed:]), "D": J_moving[:, :n_fixed], "h0": h0[moving],
                "lower": lower[moving], "upper": upper[moving], "weight": weight[moving],
                "soft": self.t.soft[moving], "model": None,
            }  # fmt: skip
        self._key, self._qp = key, qp
        return qp

    def _solve_qp(self, part: dict, fixed: np.ndarray, perturbation, fail):
        """Solve one QP for the free inputs z; returns z, its box multipliers and the rows' multipliers (net, + = upper)."""
        nz = part["g"].size
        if nz == 0:
            return part["g"], part["g"], np.zeros(0)
        f = part["G"] @ fixed
        f += part["g"]
        if perturbation is not None:
            f[: self._nu] += perturbation
        shift = part["D"] @ fixed
        shift += part["h0"]
        n_box = nz if self._boxed else 0
        upper = np.empty(n_box + shift.size)
        lower = np.empty(n_box + shift.size)
        if n_box:
            upper[:nz], lower[:nz] = self._box_upper[-nz:], self._box_lower[-nz:]
        np.subtract(part["upper"], shift, out=upper[n_box:])
        np.subtract(part["lower"], shift, out=lower[n_box:])
        if part["model"] is None:
            flag = self._setup(part, f, lower, upper, n_box)
        else:
            flag = part["model"].update(f=f, bupper=upper, blower=lower, sense=part["sense"])
        if isinstance(flag, tuple):
            flag = flag[0]
        if flag is None or flag >= 0:
            z, _, flag, info = part["model"].solve()
        if flag < 1 or not np.isfinite(z.sum()):
            part["model"] = None  # nothing of a failed solve is used again
            fail(*FLAGS.get(flag, ("not converged", f"daqp returned {flag}")))
        lam = info["lam"]
        return z.copy(), lam[:n_box].copy() if n_box else np.zeros(nz), lam[n_box:].copy()

    def _setup(self, part, f, lower, upper, n_box):
        model = daqp.Model()
        model.settings = {"primal_tol": 1e-10, "dual_tol": 1e-12}
        part["sense"] = np.concatenate([np.zeros(n_box), np.where(part["soft"], 8, 0)]).astype(np.intc)
        flag = model.setup(part["H"], f, part["C"], upper, lower, part["sense"])
        if part["soft"].any():
            weight = np.concatenate([np.zeros(n_box), part["weight"]])
            reciprocal = np.full(weight.size, RECIPROCAL_WEIGHT)
            model.soft_weights(reciprocal, reciprocal, weight, weight)
        part["model"] = model
        return flag

    def solve(self, theta, state, action=None, perturbation=None, warm_start=None) -> Solution:
        """Solve V (action None) or Q; `warm_start` is accepted and not needed."""
        start = time.perf_counter()
        t, nx, nu = self.t, self._nx, self._nu
        kind = "V" if action is None else "Q"

        def fail(status, reason):
            raise SolverError(status, reason, state, action, theta)

        qp = self.prepare(theta, state, action)
        part = qp[kind]
        fixed = state if action is None else np.concatenate([state, action])
        z, lam_box, lam = self._solve_qp(part, fixed, perturbation, fail)
        w = np.concatenate([fixed, z])
        h = qp["J"] @ w
        h += qp["h0"]
        violation = np.maximum(qp["lower"] - h, h - qp["upper"])
        if self._all_moving[kind]:
            net, slack = lam, np.where(t.soft, np.maximum(violation, 0.0), 0.0)
        else:
            net = np.zeros(t.n_rows)
            net[self._moving[kind]] = lam
            rest = t.fixed_rows[kind]
            over = violation * (violation > ROUNDING)
            if (over[rest & ~t.soft] > 0).any():
                i = int(np.argmax(np.where(rest & ~t.soft, over, 0.0)))
                fail("infeasible", f"{t.row_name(i)} is violated by {over[i]:.3g} whatever the inputs do")
            sign = np.where(h > qp["upper"], 1.0, -1.0)
            net = np.where(rest, np.where(over > 0, sign * qp["weight"], 0.0), net)
            slack = np.where(t.soft, np.where(rest, over, np.maximum(violation, 0.0)), 0.0)
        if t.soft.any():
            bound = np.where(t.soft, qp["weight"], np.inf)
            net = np.minimum(np.maximum(net, -bound), bound)
        lam_lb, lam_ub = np.maximum(-net, 0.0), np.maximum(net, 0.0)
        value = 0.5 * w @ (qp["H"] @ w) + qp["g"] @ w + qp["c"] + qp["weight"] @ slack
        if perturbation is not None:
            value += perturbation @ w[nx : nx + nu]
        x, nu_multipliers = self._expand(theta, w, lam_lb, lam_ub)
        box = np.zeros(self._N * nu)
        box[self._N * nu - lam_box.size :] = lam_box
        box = box.reshape(self._N, nu)
        return Solution(
            kind, float(value), x, w[nx:].reshape(self._N, nu), nu_multipliers,
            np.maximum(-box, 0.0), np.maximum(box, 0.0), theta, state, action, perturbation,
            "solved", time.perf_counter() - start, slack, lam_lb, lam_ub, t,
        )  # fmt: skip

    def solve_batch(self, theta, states, actions=None):
        """Return values and first inputs for many states; one condensing, one factorisation, no multipliers.

        A solve takes about 3 µs, less than handing it to a thread costs.
        """
        def fail(status, reason):
            raise SolverError(status, reason, states[i], None if actions is None else actions[i], theta)

        i = 0
        qp = self.prepare(theta, states[0] if len(states) else None)
        kind = "V" if actions is None else "Q"
        part = qp[kind]
        fixed = states if actions is None else np.hstack([states, actions])
        Z = np.empty((len(states), part["g"].size))
        for i in range(len(states)):
            Z[i] = self._solve_qp(part, fixed[i], None, fail)[0]
        W = np.hstack([fixed, Z])
        h = W @ qp["J"].T + qp["h0"]
        violation = np.maximum(qp["lower"] - h, h - qp["upper"])
        hard = self.t.fixed_rows[kind] & ~self.t.soft
        if hard.any() and (violation[:, hard] > ROUNDING).any():
            i = int((violation[:, hard] > ROUNDING).any(axis=1).argmax())
            row = np.flatnonzero(hard)[int(violation[i, hard].argmax())]
            fail("infeasible", f"{self.t.row_name(row)} is violated whatever the inputs do")
        slack = np.where(self.t.soft, np.maximum(violation, 0.0), 0.0)
        values = 0.5 * np.einsum("ij,jk,ik->i", W, qp["H"], W) + W @ qp["g"] + qp["c"] + slack @ qp["weight"]
        return values, W[:, self._nx : self._nx + self._nu].copy()
