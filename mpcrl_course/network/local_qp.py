"""The local problem of one agent as a QP: condensed once, solved for many tilts, and explicitly where it can be.

Symbols as in `mpcrl_course.network.agent`: agent i decides z (its free inputs and copies), and its consensus entries
are c_i = T z + c_0. Everything here is fast bookkeeping; what is solved is `LocalProblem`, which `MPC` would solve as
well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpcrl_course.mpc.condensed import RECIPROCAL_WEIGHT
from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.solution import Solution
from mpcrl_course.network.agent import LocalProblem
from mpcrl_course.network.solution import AgentQuestion

#: A region of the explicit solution is left when a row or a multiplier is beyond its limit by more than this.
ROUNDING = 1e-11
#: Relative KKT residual up to which a local answer is taken: ADMM's own are larger (`NetworkSolution.converged`).
ADMM = 1e-3
#: A region must give the answer that it was made from to this relative accuracy; it does not if its rows are dependent.
AGREEMENT = 1e-9


class LocalQP:
    """One agent's local problem at one (theta_i, s_i, a_i): condensed once, then solved for one tilt after another.

    In terms of the free inputs z it reads  min 1/2 z'Hz + (f_0 + T'r)'z + weight'slack,  lower <= A z <= upper,  and
    c_i = T z + c_0. Between two iterations only the tilt r changes, so daqp keeps its factors and starts from the
    active set of the last one.

    Parameters
    ----------
    local : LocalProblem
    question : AgentQuestion
        At tilt 0.
    """

    def __init__(self, local: LocalProblem, question: AgentQuestion):
        self.local, self.question, self.solver = local, question, local.solver
        self.qp = self.solver.qp(question.kind)
        data = self.solver.condense(self.qp, question)
        self.H: np.ndarray
        self.H, self.C, self.weight, self.f, self.lower, self.upper = data
        try:
            self.model = self.solver.model(self.qp, question, data)
        except SolverError:
            self.solver.careful(question)  # knows why
            raise
        self.T, self.c_0 = local.trajectory(question.kind)(question.theta, question.fixed)
        self.z, self.lam, self.active, self.steady = np.zeros(0), np.zeros(0), b"", False

    def minimise(self, tilt: np.ndarray) -> np.ndarray:
        """Solve for one tilt; return c_i: the agent's own trajectory and its copies."""
        if self.model is not None and self.model.update(f=self.f + tilt @ self.T) < 0:
            self.question.fail("not converged", "daqp refuses the new linear cost")
        try:
            self.z, self.lam = self.solver.solve_qp(self.qp, self.question, self.model)
        except SolverError:
            theta = np.concatenate([self.question.theta[: self.local.n_theta], tilt])
            self.solver.careful(replace(self.question, theta=theta))  # knows why
            raise
        before, self.active = self.active, np.sign(self.lam).tobytes()
        self.steady = before == self.active
        return self.T @ self.z + self.c_0

    def solution(self, tilt: np.ndarray, start: float) -> Solution:
        """Return the solution for one tilt with all of its multipliers; its theta is (theta_i, tilt).

        `start` is since when it took.
        """
        self.minimise(tilt)
        theta = np.concatenate([self.question.theta[: self.local.n_theta], tilt])
        return self.solver.solution(self.qp, replace(self.question, theta=theta), self.z, self.lam, start, ADMM)

    def region(self) -> tuple[np.ndarray, np.ndarray]:
        """Return G, g: as long as e >= 0 in (c_i, e) = G r + g, the active set of the last solve stays what it is.

        With the rows W active, and the violated soft rows V pushing with their whole weight (daqp adds a little more,
        the violation v times 1 / RECIPROCAL_WEIGHT),

            H z + A_W' lam_W + A_V'(+-weight + v / RECIPROCAL_WEIGHT) = -(f_0 + T'r),    A_W z = b_W,

        is linear in r, and with z and lam_W so is all that must not become negative: the distances of the other rows
        to their bounds, the violation of those in V, and lam_W and weight - lam_W. This is one region of the explicit
        solution of the QP.
        """
        n, weight, soft, side = len(self.H), self.weight, self.qp.sense == 8, np.sign(self.lam)
        A = np.vstack([np.eye(n)[: self.qp.n_box], self.C])
        V = soft & (np.abs(self.lam) >= weight) & (side != 0.0)
        W = (side != 0.0) & ~V
        bound = np.where(side > 0.0, self.upper, np.where(side < 0.0, self.lower, 0.0))
        A_V, A_W = A[V], A[W]
        K = np.zeros((n + len(A_W), n + len(A_W)))
        K[:n, :n], K[:n, n:], K[n:, :n] = self.H + A_V.T @ A_V / RECIPROCAL_WEIGHT, A_W.T, A_W
        right = np.zeros((len(K), len(self.c_0) + 1))  # one column for each entry of r, and one for the constant
        right[:n, :-1] = -self.T.T
        right[:n, -1] = A_V.T @ (bound[V] / RECIPROCAL_WEIGHT - (side * weight)[V]) - self.f
        right[n:, -1] = bound[W]
        step = np.linalg.solve(K, right)
        lam = side[W, None] * step[n:]
        rows = np.vstack([self.T, A]) @ step[:n]
        c, h = rows[: len(self.c_0)], rows[len(self.c_0) :]
        low, high = ~(V | W) & np.isfinite(self.lower), ~(V | W) & np.isfinite(self.upper)
        G = np.vstack([c, h[low], -h[high], side[V, None] * h[V], lam, -lam[soft[W]]])
        zero = np.zeros(len(lam))
        G[:, -1] += np.concatenate(
            [self.c_0, -self.lower[low], self.upper[high], -(side * bound)[V], zero, weight[W & soft]]
        )
        return G[:, :-1], G[:, -1]


class LocalQPs:
    """Several local problems, of about the same size, answered together.

    Near its end ADMM does not change active sets any more. Then all answers are known linear functions of the tilts,
    and one product of matrices replaces many small QPs; whoever has left its region asks daqp again.

    Parameters
    ----------
    qps : list of LocalQP
    where : list of slice
        Where c and tilt of each problem lie in the arrays of all.
    """

    def __init__(self, qps: list[LocalQP], where: list[slice]):
        sizes = [len(qp.c_0) for qp in qps]
        self.qps, self.where, self.n_c = qps, where, max(sizes)
        rows = self.n_c + 1 + 2 * max(len(qp.lower) for qp in qps)
        self.G, self.g = np.zeros((len(qps), rows, self.n_c)), np.zeros((len(qps), rows))
        self.g[:, self.n_c :] = -1.0  # outside: no region is known yet
        # smaller problems are filled up with columns of zeros, which may be multiplied by anything
        self.index = np.zeros((len(qps), self.n_c), int)
        for k, n in enumerate(sizes):
            self.index[k, :n] = np.arange(where[k].start, where[k].stop)
        self.entries = np.concatenate([np.arange(own.start, own.stop) for own in where])
        self.source = np.concatenate([k * rows + np.arange(n) for k, n in enumerate(sizes)])

    def minimise(self, tilt: np.ndarray, c: np.ndarray) -> None:
        """Write every problem's answer for its part of `tilt` into its part of `c`."""
        answer = np.matmul(self.G, tilt[self.index][:, :, None])[:, :, 0]
        answer += self.g
        e = answer[:, self.n_c :]
        if e.min() < -ROUNDING:
            for k in np.flatnonzero(e.min(axis=1) < -ROUNDING):
                own = tilt[self.where[k]]
                c_k = self.qps[k].minimise(own)
                answer[k, : len(c_k)] = c_k
                if self.qps[k].steady:  # the same active set twice: worth its region
                    self._remember(k, own, c_k)
        c[self.entries] = answer.ravel()[self.source]

    def _remember(self, k, tilt, c):
        try:
            G, g = self.qps[k].region()
        except np.linalg.LinAlgError:
            return
        n, rows = len(c), len(g) - len(c)
        if np.abs(G[:n] @ tilt + g[:n] - c).max() > AGREEMENT * (1.0 + np.abs(c).max()):
            return
        self.G[k], self.g[k] = 0.0, 0.0
        self.G[k, :n, :n], self.g[k, :n] = G[:n], g[:n]
        self.G[k, self.n_c : self.n_c + rows, :n], self.g[k, self.n_c : self.n_c + rows] = G[n:], g[n:]
