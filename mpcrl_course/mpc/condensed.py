"""Condensed back end: the states are eliminated (condensing) and a small dense QP goes to the active-set solver daqp.

The states follow from the fixed part (s in V; s and a in Q) and the free inputs z, so the whole problem reads

    minimise  1/2 z'H z + f'z + weight'slack   subject to   lower <= C z <= upper (soft or hard),  box on z,

where H, C and the weights depend on theta, and f and the bounds are affine in the fixed part. CasADi derives and
evaluates all of it; this file only carries arrays between CasADi and daqp.
"""

from __future__ import annotations

import time
from functools import cached_property

import casadi as ca
import daqp
import numpy as np

from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.lifted import LiftedSolver
from mpcrl_course.mpc.optimality import OPTIMAL, RIGHT, ROUNDED, SHARP, SLOPE_ROUNDED, doubt, relative_residual
from mpcrl_course.mpc.prestabilised import PrestabilisedSolver
from mpcrl_course.mpc.solution import Guess, Multipliers, Question, Solution, meeting
from mpcrl_course.mpc.transcription import Transcription, pick, rollout, stack

#: A violation of a row on which no input has a say counts as none below this (it is rounding, or a kink).
ROUNDING = 1e-9
#: Reciprocal of the quadratic weight that daqp adds to a linear slack penalty: large makes the l1 penalty exact.
#: 1e6 leaves KKT residuals below 1e-7 of the value; from 1e8 on, 1 of 8000 random problems is solved wrongly.
RECIPROCAL_WEIGHT = 1e6
#: A batch's answers are judged by the condensed QP where no pivot of its scaled Hessian is smaller than this.
WELL_CONDITIONED = 1e-3
SETTINGS = {"primal_tol": 1e-10, "dual_tol": 1e-12}
FLAGS = {
    -1: ("infeasible", "the hard constraints contradict each other"),
    -2: ("not converged", "the active-set method cycles"),
    -3: ("unbounded", "the cost has no lower bound"),
    -4: ("not converged", "iteration limit reached"),
    -5: ("unbounded", "the cost is not convex in the inputs"),
    -6: ("not converged", "the initial working set is overdetermined"),
}


class CondensedQP:
    """The functions that turn V or Q into a dense QP and its answer back into a prediction.

    Parameters
    ----------
    t : Transcription
    kind : {'V', 'Q'}

    Attributes
    ----------
    z, fixed, cost : casadi.SX
        Free inputs, fixed part, and the cost (without slacks) in terms of them, for whoever derives more from it.
    matrices : (theta) -> H, C, weight, all_weights
        weight in the order of daqp (the box on z first, with zeros), all_weights over all rows of the problem.
    vectors : (theta, fixed, q) -> f, lower, upper
        With the box on z, if there is one, as the first rows of lower and upper.
    value : (theta, fixed, z) -> value
    expand : (theta, fixed, z, lam, q) -> value, X, U, nu, slack, lam_lb, lam_ub, doubts
        lam are daqp's multipliers, the box on z first (positive: upper side); doubts are above 0 where the answer
        fails the test of optimality (`mpcrl_course.mpc.optimality`).
    """

    def __init__(self, t: Transcription, kind: str):
        problem = t.problem
        nx, n_u, N = problem.n_states, problem.n_inputs, problem.horizon
        fixed = t.s if kind == "V" else ca.vertcat(t.s, t.a)
        z = ca.SX.sym("z", nx + N * n_u - fixed.numel())
        U = ca.reshape(ca.vertcat(fixed, z)[nx:], n_u, N)
        X = rollout(problem, t.s, U, t.theta)
        rows = stack(problem, X, U, t.theta)
        cost = rows.cost + ca.dot(t.perturbation, U[:, 0])
        self.z, self.fixed, self.cost = z, fixed, cost
        H, gradient = ca.hessian(cost, z)
        moving = np.flatnonzero(~t.fixed_rows[kind]).tolist()
        self.n_z, self.moving, self.n_rows = int(z.numel()), moving, len(moving)
        self.soft, self.model = t.soft[moving], None
        self.any_soft, self.any_fixed_hard = bool(self.soft.any()), bool((~t.soft & t.fixed_rows[kind]).any())
        self.n_box = self.n_z if np.isfinite([problem.input_lower, problem.input_upper]).any() else 0
        box_lower, box_upper = (
            np.tile(b, N)[N * n_u - self.n_box :] for b in (problem.input_lower, problem.input_upper)
        )
        self.sense = np.concatenate([np.zeros(self.n_box), np.where(self.soft, 8, 0)]).astype(np.intc)
        self.reciprocal = np.full(self.sense.size, RECIPROCAL_WEIGHT)
        h = pick(rows.h, moving)
        f, shift = (ca.substitute(e, z, ca.SX.zeros(z.numel())) for e in (gradient, h))
        weight = ca.vertcat(ca.SX.zeros(self.n_box), pick(rows.weight, moving))
        of_theta = [H, ca.jacobian(h, z), weight, rows.weight]
        self.matrices = BufferedFunction(f"matrices_{kind}", [t.theta], of_theta, matrices={0, 1})
        lower = ca.vertcat(ca.DM(box_lower), pick(rows.lower, moving) - shift)
        upper = ca.vertcat(ca.DM(box_upper), pick(rows.upper, moving) - shift)
        self.vectors = BufferedFunction(f"vectors_{kind}", [t.theta, fixed, t.perturbation], [f, lower, upper])
        # back from z: every slack, and the multipliers of both sides. A violated soft row pushes with its whole
        # weight, whether an input moves it (then daqp says so too) or not (then daqp has not seen it).
        lam = ca.SX.sym("lam", self.n_box + self.n_rows)
        violation = ca.fmax(rows.lower - rows.h, rows.h - rows.upper)
        violation = ca.if_else(violation > ROUNDING, violation, 0.0)
        net, slack = ca.SX.zeros(t.n_rows), ca.SX.zeros(t.n_rows)
        if moving:
            net[moving] = pick(lam, range(self.n_box, lam.numel()))
        soft = np.flatnonzero(t.soft).tolist()
        if soft:
            within = ca.fmin(ca.fmax(net, -rows.weight), rows.weight)
            whole = ca.if_else(rows.h > rows.upper, rows.weight, -rows.weight)
            net[soft] = ca.if_else(violation > 0.0, whole, within)[soft]
            slack[soft] = violation[soft]
        lam_lb, lam_ub = ca.fmax(-net, 0.0), ca.fmax(net, 0.0)
        total = cost + ca.dot(rows.weight, slack)
        nu = t.adjoint(t.theta, X, U, lam_lb, lam_ub)
        mu = ca.vertcat(ca.SX.zeros(N * n_u - self.n_box), pick(lam, range(self.n_box)))
        doubts = doubt(t, kind)(t.theta, X, U, slack, nu, net, ca.reshape(mu, n_u, N), t.perturbation)
        inputs = [t.theta, fixed, z, lam, t.perturbation]
        answer = [total, X.T, U.T, nu.T, slack, lam_lb, lam_ub, doubts]
        self.expand = BufferedFunction(f"expand_{kind}", inputs, answer, matrices={1, 2, 3})
        unperturbed = ca.substitute(total, t.perturbation, ca.SX.zeros(n_u))
        self.value = BufferedFunction(f"value_{kind}", inputs[:3], [unperturbed])


class CondensedSolver:
    """Solves V and Q of a quadratic problem by condensing and daqp; keeps nothing from one solve to the next.

    The steps of `solve`, for whoever takes them one by one: `condense` makes the data of the QP `qp` for a `question`,
    `model` hands them to daqp, `solve_qp` solves, `solution` expands the answer; `careful` is asked if that fails.

    Parameters
    ----------
    transcription : Transcription
        Of a problem with quadratic structure.
    """

    def __init__(self, transcription: Transcription):
        self.t = transcription
        self._qps = {"V": CondensedQP(transcription, "V")}

    def qp(self, kind: str) -> CondensedQP:
        """Return the condensed QP of a `kind`, 'V' or 'Q' (that of Q is derived when it is first asked for)."""
        if kind not in self._qps:
            self._qps[kind] = CondensedQP(self.t, kind)
        return self._qps[kind]

    def solve(self, question: Question, guess: Solution | Guess | None = None) -> Solution:
        """Answer a question; a `guess` is accepted and not needed."""
        start = time.perf_counter()
        qp = self.qp(question.kind)
        data = self.condense(qp, question)
        old, qp.model = qp.model, None  # only a solve that succeeds puts one back: nothing of a failed one is used
        try:
            model = self.model(qp, question, data, old)
            z, lam = self.solve_qp(qp, question, model)
        except SolverError:
            return self.careful(question)
        qp.model = model
        return self.solution(qp, question, z, lam, start, model=model)

    def careful(self, question: Question) -> Solution:
        """Answer a question to which daqp's answer did not pass the test of optimality, or was none."""
        try:
            return self._careful.solve(question)
        except SolverError as error:
            if error.status == "not converged":  # such as a cost that is flat in some input
                try:
                    solution = self._interior.answer(question)
                    if self._interior.passes(solution):
                        return solution
                except SolverError as other:
                    if other.status != "not converged":
                        raise
            raise

    @cached_property
    def _careful(self) -> PrestabilisedSolver:
        return PrestabilisedSolver(self.t)

    @cached_property
    def _interior(self) -> LiftedSolver:
        return LiftedSolver(self.t, "piqp")

    def solution(
        self, qp: CondensedQP, question: Question, z, lam, start: float, accept: float = OPTIMAL, model=None
    ) -> Solution:
        """Return the prediction, slacks and multipliers of daqp's answer (z, lam); `start`: since when it took.

        If its relative KKT residual is larger than what we `accept`, daqp's `model`, if given, solves once more with
        what it paid too much for violated rows taken off their weights; if that does not help, or no model is given,
        the careful back end answers.
        """
        problem = self.t.problem
        value, x, u, nu, slack, lam_lb, lam_ub, doubts = qp.expand(question.theta, question.fixed, z, lam, question.q)
        box = np.zeros((problem.horizon, problem.n_inputs))
        box.reshape(-1)[box.size - qp.n_box :] = lam[: qp.n_box]
        answer = Solution(
            question=question,
            value=value.item(),
            x=x,
            u=u,
            flat_slack=slack,
            multipliers=Multipliers(nu, lam_lb, lam_ub, np.maximum(-box, 0.0), np.maximum(box, 0.0)),
            status="solved",
            time=time.perf_counter() - start,
            transcription=self.t,
        )
        if doubts[0] <= 0.0 or (accept > OPTIMAL and relative_residual(answer) <= accept):
            return answer
        if model is not None and qp.any_soft:
            weight = qp.matrices(question.theta)[2]
            less = weight - np.where(qp.sense == 8, np.maximum(np.abs(lam) - weight, 0.0), 0.0)
            if (less < weight).any():
                model.soft_weights(qp.reciprocal, qp.reciprocal, less, less)
                try:
                    return self.solution(qp, question, *self.solve_qp(qp, question, model), start, accept)
                except SolverError:
                    pass
        return self.careful(question)  # also if something is not a number

    def condense(self, qp: CondensedQP, question: Question) -> tuple[np.ndarray, ...]:
        """Return H, C, weight, f, lower, upper of the condensed QP; raises SolverError if they make none."""
        H, C, weight, all_weights = qp.matrices(question.theta)
        f, lower, upper = qp.vectors(question.theta, question.fixed, question.q)
        if not (np.isfinite(H).all() and np.isfinite(C).all() and np.isfinite(f).all()):
            question.fail("not converged", "the condensed problem is not finite")
        if all_weights.size and not all_weights.min() >= 0.0:  # nor if it is not a number
            i = int(np.argmin(all_weights))
            question.fail("unbounded", f"negative slack weight {all_weights[i]:.3g} of {self.t.row_name(i)}")
        if not (lower <= upper).all():
            lower, upper = meeting(question, lower, upper, lambda i: self.t.row_name(qp.moving[i - qp.n_box]))
        return H, C, weight, f, lower, upper

    def model(self, qp: CondensedQP, question: Question, data, model: daqp.Model | None = None) -> daqp.Model | None:
        """Hand the `data` from `condense` to daqp, in the memory of an earlier `model` if given.

        Returns None if no input is free.
        """
        H, C, weight, f, lower, upper = data
        if qp.n_z == 0:
            return None
        if model is None or not qp.n_rows:  # (daqp cannot update a QP without rows)
            model = daqp.Model()
            model.settings = SETTINGS
            flag = model.setup(H, f, C, upper, lower, qp.sense)[0]
        else:  # everything is new, also the working set; only memory is kept (3 µs instead of 15)
            flag = model.update(H=H, f=f, A=C, bupper=upper, blower=lower, sense=qp.sense)
        if flag < 0:
            question.fail(*FLAGS.get(flag, ("not converged", f"daqp returned {flag}")))
        if qp.any_soft:
            model.soft_weights(qp.reciprocal, qp.reciprocal, weight, weight)
        return model

    def solve_qp(self, qp: CondensedQP, question: Question, model: daqp.Model | None) -> tuple[np.ndarray, np.ndarray]:
        """Return daqp's unknowns z and multipliers (box first, positive: upper side)."""
        if model is None:
            return np.zeros(0), np.zeros(0)
        z, _, flag, info = model.solve()
        if flag < 1 or not z @ z < np.inf:  # nor if it is not a number
            question.fail(*FLAGS.get(flag, ("not converged", f"daqp returned {flag}")))
        return z.copy(), info["lam"].copy()

    def solve_batch(self, theta, states, actions=None):
        """Return values and first inputs for many states (and actions) at one theta, as `MPC.values` does.

        One factorisation serves them all. A solve takes about 3 µs, less than handing it to a thread costs.
        """

        def question(i):
            return Question(theta, states[i], None if actions is None else actions[i])

        qp = self.qp("V" if actions is None else "Q")
        fixed = states if actions is None else np.hstack([states, actions])
        n = len(states)
        if not n:
            return np.zeros(0), np.zeros((0, self.t.problem.n_actions))
        Z, lam, model = np.zeros((n, qp.n_z)), np.zeros((n, qp.sense.size)), None
        failed, vectors = np.zeros(n, bool), qp.vectors.over(theta, fixed, 0.0)
        for i, (f, lower, upper) in enumerate(zip(*vectors)):
            try:
                if model is None or not qp.n_rows:
                    model = self.model(qp, question(i), self.condense(qp, question(i)))
                elif model.update(f=f, bupper=upper, blower=lower) < 0:
                    question(i).fail("not converged", "daqp refuses the new bounds")
                if model is not None:
                    Z[i], _, flag, info = model.solve()
                    lam[i], failed[i] = info["lam"], flag < 1
            except SolverError:
                failed[i], model = True, None
        values = qp.value.over(theta, fixed, Z)[0][:, 0]
        first = Z[:, : self.t.problem.n_actions] if actions is None else np.array(actions, dtype=float)
        for i in np.flatnonzero(failed | ~self._sure(qp, theta, vectors, Z, lam, values)).tolist():
            solution = self.solve(question(i))
            values[i], first[i] = solution.value, solution.u0[: first.shape[1]]
        return values, first

    def _sure(self, qp: CondensedQP, theta, vectors, Z, lam, values) -> np.ndarray:
        """Return which answers of a batch pass the test of optimality (see `optimality`), written for the dense QP.

        A few products of matrices serve all. They say something only where condensing keeps digits, of a Hessian that
        is well-conditioned once its diagonal is scaled to ones; elsewhere nothing is sure, and each is solved alone.
        """
        f, lower, upper = vectors
        H, C, weight, _ = qp.matrices(theta)
        unit = np.sqrt(np.abs(np.diag(H)))
        if qp.n_z == 0 or not unit.all() or qp.any_fixed_hard:
            return np.zeros(len(Z), bool)
        try:
            if np.linalg.cholesky(H / unit / unit[:, None]).diagonal().min() < WELL_CONDITIONED:
                return np.zeros(len(Z), bool)
        except np.linalg.LinAlgError:
            return np.zeros(len(Z), bool)
        rows, whole = np.vstack([np.eye(qp.n_box, qp.n_z), C]), np.where(qp.sense == 8, weight, np.inf)
        lam = np.minimum(np.maximum(lam, -whole), whole)  # daqp's own may be larger
        r = Z @ H + f + lam @ rows
        against = np.abs(Z) @ np.abs(H) + np.abs(f) + np.abs(lam) @ np.abs(rows)
        height, push = Z @ rows.T, np.abs(lam)
        size, cost = np.abs(Z) @ np.abs(rows).T, np.abs(values)[:, None]
        edge = np.where(lam > 0.0, upper, np.where(lam < 0.0, lower, height))
        beyond = np.maximum(np.maximum(height - upper, lower - height), 0.0)
        # a violated soft row pushes with its whole weight
        out = (qp.sense == 8) & (push >= weight * (1.0 - OPTIMAL)) & (beyond > 0.0)
        size += np.where(np.isfinite(edge), np.abs(edge), 0.0)
        close = (out | (push * np.abs(height - edge) <= OPTIMAL * (cost + ROUNDED * push * size))).all(axis=1)
        sure = (np.abs(r) <= np.where(out.any(axis=1), OPTIMAL, SHARP)[:, None] * against).all(axis=1)
        # and a Newton step in every input, the others free, within the box, is small
        problem, mu, largest = self.t.problem, np.zeros_like(Z), np.zeros((len(Z), self.t.U.numel()))
        mu[:, : qp.n_box], largest[:, -qp.n_z :] = lam[:, : qp.n_box], np.abs(Z)
        low, high = (np.tile(b, problem.horizon)[-qp.n_z :] for b in (problem.input_lower, problem.input_upper))
        if not np.isfinite(high - low).all():
            largest = np.tile(largest.reshape(len(Z), problem.horizon, -1).max(axis=1), problem.horizon)
        free = np.diag(np.linalg.inv(H))
        unboxed = RIGHT * largest[:, -qp.n_z :] + SLOPE_ROUNDED * free * against
        allowed = np.where(np.isfinite(high - low), RIGHT * (high - low), unboxed)
        step = Z - np.clip(Z - (r - mu) * free, low, high)
        sure &= (np.abs(step) <= allowed).all(axis=1)
        # what else is violated, by rounding, must not count: in the value it costs its whole weight
        dear = np.where(qp.sense == 8, weight * beyond <= OPTIMAL * cost, beyond <= OPTIMAL * size)
        return sure & close & (out | dear).all(axis=1)
