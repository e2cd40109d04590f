"""The careful back end for quadratic problems: condensed along the optimal feedback, free of units, then polished.

Condensing multiplies a plant's matrix with itself: an unstable one amplifies rounding by |eigenvalue|^N. Here the
inputs are written around the optimal linear feedback of the cost (Riccati's recursion, backwards in time),

    u_k = K_k x_k + k_k + L_k^-T w_k,    M_k = R_k + B'P_{k+1}B = L_k L_k',    K_k = -M_k^-1 (S_k + B'P_{k+1}A),

which makes the loop stable and the cost  constant + 1/2 w'w.  The cost is strictly convex where every M_k is positive
definite, and only there. What is left is to find the shortest w,

    minimise  1/2 w'w + weight'slack   subject to   lower <= G w + g <= upper  (rows, soft or hard, and the box on u),

where every row is divided by its length and w by the largest distance of a bound from w = 0, so that no unit is left.
daqp says which rows are active; with these, w follows from an orthogonal factorisation (the polish), and
states and multipliers run along the stable loop: with mu_k = dl/du_k + h_u'lam the slope that B'nu_{k+1} balances,

    nu_k = (A + B K_k)'nu_{k+1} - K_k'mu_k - dl/dx_k - h_x'lam.

It takes some milliseconds, and is asked where a faster back end's answer does not pass (`mpcrl_course.mpc.optimality`).

Source: Scokaert & Rawlings, IEEE Trans. Autom. Control 43(8), 1998 (inputs around a feedback); Bryson & Ho, 1975
(the backward sweep).
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import NamedTuple

import casadi as ca
import daqp
import numpy as np
from scipy.linalg import qr

from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.optimality import CANCELLED, OPTIMAL, RIGHT, residuals
from mpcrl_course.mpc.solution import Multipliers, Question, Solution, meeting
from mpcrl_course.mpc.transcription import Transcription

SETTINGS = {"primal_tol": 1e-11, "dual_tol": 1e-12, "iter_limit": 10_000}
#: Reciprocal of the quadratic weight that daqp adds to a soft row's linear one.
RECIPROCAL_WEIGHT = 1e6
#: A hard row costs this for a unit of w when it is asked which row is missed.
DEAR = 1e6
#: daqp's word for constraints that contradict each other.
INFEASIBLE = -1
#: An eigenvalue of M, scaled to a diagonal of ones, up to this counts as zero.
FLAT = 1e-13
#: Relative size of what counts as rounding in the polish.
ROUNDING = 1e-10
#: Rounding of an input along the loop, relative to the terms that it is the sum of.
EPS = 1e-14
#: Extended precision, where the machine has it.
exact = np.longdouble
#: Active rows nearer to each other than this, as directions, are dependent.
DEPENDENT = 1e-9
#: Newton steps of the polish, at most.
POLISHES = 20
#: Why even this back end may fail, and what helps.
SPAN = "the problem's numbers span too many digits: shorten the horizon, start nearer, or lower the slack weights"
#: How often which inputs are held at a bound is changed, at most.
ATTEMPTS = 10
#: A row of G shorter than this, against the terms that it is made of, cannot be moved by the inputs.
UNMOVED = 1e-12


class Loop(NamedTuple):
    """The plan as a function of w: y = (X, U) = T w + y_0, along the feedback u_k = K_k x_k + k_k + F_k w_k.

    Attributes
    ----------
    T, y_0 : ndarray, shapes (n_y, n_w) and (n_y,)
    K, k : ndarray, shapes (N, n_inputs, n_states) and (N, n_inputs)
        Feedback and feedforward; an input that is held has its value in k.
    F : list of ndarray
        L_k^-T, stage by stage; the rows of inputs that are held are zero.
    """

    T: np.ndarray
    y_0: np.ndarray
    K: np.ndarray
    k: np.ndarray
    F: list[np.ndarray]


def _project(G, lower, upper, weight) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the shortest w with lower <= G w <= upper (softly where the weight is finite), multipliers, the flag."""
    n, soft = G.shape[1], np.isfinite(weight)
    model = daqp.Model()
    model.settings = SETTINGS
    flag = model.setup(np.eye(n), np.zeros(n), G, upper, lower, np.where(soft, 8, 0).astype(np.intc))[0]
    if flag < 0:
        return np.zeros(n), np.zeros(len(G)), flag
    if soft.any():
        dear = np.where(soft, weight, 0.0)
        reciprocal = RECIPROCAL_WEIGHT / np.clip(dear, 1e-4, 1.0)
        model.soft_weights(reciprocal, reciprocal, dear, dear)
    w, _, flag, info = model.solve()
    return w.copy(), info["lam"].copy(), flag


def _meet(basis, R, G, p, edge) -> tuple[np.ndarray, np.ndarray]:
    """Return the w nearest to p with G w = edge, and lam in w + G'lam = p, given G' = basis R.

    A large p, of weights up to 1e12, is refined in extended precision: w is what is left where almost all cancels.
    """
    w, lam = exact(np.zeros(len(p))), exact(np.zeros(len(edge)))
    for _ in range(3):
        r, e = (p - w - exact(G).T @ lam).astype(float), (edge - exact(G) @ w).astype(float)
        along = np.linalg.solve(R.T, e)
        step = r - basis @ (basis.T @ r) + basis @ along
        w = w + step
        lam = lam + np.linalg.solve(R, basis.T @ r - along)
    return w.astype(float), lam.astype(float)


def _polish(w, lam, G, lower, upper, weight) -> tuple[np.ndarray, np.ndarray, float]:
    """Return w and multipliers to rounding, and by how much some row is missed.

    They come of Newton steps on the optimality conditions from daqp's active set.
    A row is free, active (on its bound, pushing with less than its weight) or out (pushing with all of it); given
    which, w and the multipliers of the active ones follow from one orthogonal factorisation. What they say about
    every row is the next guess; where it repeats itself the conditions hold. If it never does, daqp's answer stays, and
    what it misses is inf.
    """
    before = None
    w_daqp, lam_daqp, guess, over, under = w, lam, lam, np.zeros(len(lam)), np.zeros(len(lam))
    for _ in range(POLISHES):
        side = np.sign(guess)
        out = (np.abs(guess) >= weight * (1.0 - ROUNDING)) & (side != 0.0)
        active = (side != 0.0) & ~out
        state = np.where(out, 2.0, 1.0) * side
        if before is not None and np.array_equal(state, before):
            return w, lam, float(np.where(out, 0.0, np.maximum(over, under)).max(initial=0.0))
        before = state
        lam = np.where(out, side * weight, 0.0)
        basis, R, order = qr(G[active].T, mode="economic", pivoting=True)
        rank = int((np.abs(np.diag(R)) > DEPENDENT).sum())  # of dependent rows the others do without some
        meet = np.flatnonzero(active)[order[:rank]]
        edge = np.where(side > 0.0, upper, lower)[meet]
        w, lam[meet] = _meet(basis[:, :rank], R[:rank, :rank], G[meet], -(exact(G[out]).T @ lam[out]), edge)
        height = G @ w
        over, under = height - upper, lower - height
        tolerance = ROUNDING * (1.0 + np.abs(height))
        guess = np.where(over > tolerance, lam + over, np.where(under > tolerance, lam - under, lam))
        guess[active] = np.where(lam[active] * side[active] < 0.0, 0.0, guess[active])
        guess[out] = np.where((np.where(side > 0.0, over, under) < -tolerance)[out], 0.5 * guess[out], guess[out])
    return w_daqp, lam_daqp, np.inf


class PrestabilisedSolver:
    """Answers V and Q of a quadratic problem along the optimal feedback; keeps nothing from one solve to the next.

    Parameters
    ----------
    transcription : Transcription
        Of a problem with quadratic structure.
    """

    def __init__(self, transcription: Transcription):
        self.t = t = transcription
        y = ca.vertcat(ca.vec(t.X), ca.vec(t.U))
        cost = t.path_cost + ca.dot(t.perturbation, t.U[:, 0])
        H, slope = ca.hessian(cost, y)
        x, u = t.X[:, 0], t.U[:, 0]
        self._at = ca.Function("at", [t.theta, t.perturbation, y], [cost, slope, t.h])
        affine = [slope, H, t.h, ca.jacobian(t.h, y), t.next[0], ca.jacobian(t.next[0], x), ca.jacobian(t.next[0], u)]
        at_zero = [ca.substitute(e, y, ca.SX.zeros(y.numel())) for e in affine]
        names = ["g", "H", "h", "h_y", "f", "A", "B", "lower", "upper", "weight"]
        self._data = ca.Function(
            "data", [t.theta, t.perturbation], [*at_zero, t.lower, t.upper, t.weight], ["theta", "q"], names
        )

    def solve(self, question: Question) -> Solution:
        """Answer a question; raises SolverError if there is no answer, or none that passes the test of optimality."""
        start, problem = time.perf_counter(), self.t.problem
        d = SimpleNamespace(**{k: v.full() for k, v in self._data(theta=question.theta, q=question.q).items()})
        for name in ("g", "h", "f", "lower", "upper", "weight"):
            setattr(d, name, getattr(d, name).ravel())
        self._check(d, question)
        action = np.full((problem.horizon, problem.n_inputs), np.nan)
        if question.action is not None:
            action[0, : problem.n_actions] = question.action
        with np.errstate(all="ignore"):  # what overflows is not finite, and found below
            loop, failure = self._loop(d, question, action), None
            given = action
            for _ in range(ATTEMPTS):
                try:
                    solution, right = self._along(d, loop, given, action, question, start)
                    *others, off = residuals(solution)
                    left = np.max(others if right else [*others, off])
                    if left <= OPTIMAL:
                        return solution
                    error = None
                except SolverError as failed:
                    solution, error = None, failed
                failure = failure or error
                new = self._saturated(d, loop, given, action, solution)
                if np.array_equal(new, given, equal_nan=True):
                    break
                given, loop = new, self._loop(d, question, new)
        if failure is not None:
            raise failure
        question.fail("not converged", f"{SPAN} (a relative KKT residual of {left:.2g} is left)")

    def _check(self, d, question: Question) -> None:
        """Raise SolverError if the problem's numbers make none."""
        if not all(np.isfinite(part).all() for part in (d.g, d.H, d.h, d.h_y, d.f, d.A, d.B)):
            question.fail("not converged", "cost, dynamics or rows are not finite")
        for i in np.flatnonzero(~(d.weight >= 0.0)).tolist():
            question.fail("unbounded", f"slack weight {d.weight[i]:.3g} of {self.t.row_name(i)}")
        if self.t.n_rows:
            d.lower, d.upper = meeting(question, d.lower, d.upper, self.t.row_name)

    def _along(self, d, loop, given, action, question: Question, start: float) -> tuple[Solution, bool]:
        """Return the solution with the `given` inputs held, among them those of a given `action`; and if u is right.

        It is where the active set repeats itself, every input that is held pushes outwards, and what rows miss and
        rounding of the terms that an input is the sum of are below `RIGHT`.
        """
        w, lam, missed = self._shortest(self._rows(d, loop, given), question)
        solution, clipped = self._solution(d, loop, given, action, w, lam, question, start)
        held = ~np.isnan(given) & np.isnan(action)
        terms = np.abs(loop.k) + np.einsum("kij,kj->ki", np.abs(loop.K), np.abs(solution.x[:-1]))
        of_w = np.array([np.linalg.norm(F, axis=1) for F in loop.F])
        wrong = EPS * (terms + of_w * np.abs(w).max(initial=0.0)) + of_w * missed + clipped
        width = self.t.problem.input_upper - self.t.problem.input_lower
        largest = np.maximum(np.abs(solution.u), CANCELLED * terms).max(axis=0)  # at rest, u is what terms cancel to
        size = np.where(np.isfinite(width), width, largest)
        right = (wrong <= RIGHT * size)[np.isnan(given)].all() and self._outwards(solution, given)[held].all()
        return solution, bool(right)

    def _outwards(self, solution: Solution, given) -> np.ndarray:
        """Return which inputs, if held at the bound `given`, push outwards."""
        m = solution.multipliers
        return np.where(given == self.t.problem.input_lower, m.lam_input_lb, m.lam_input_ub) > 0.0

    def _saturated(self, d, loop: Loop, given, action, solution: Solution | None) -> np.ndarray:
        """Return which inputs to hold at a bound next, as `given`.

        Where the box cuts the feedback off for long, an unstable plant runs away from the loop around which the
        inputs are written, and numbers grow again: there the inputs are better held.
        """
        problem, new = self.t.problem, action.copy()
        lower, upper = problem.input_lower, problem.input_upper
        if solution is None or np.array_equal(given, action, equal_nan=True):
            x = loop.y_0[: problem.n_states]
            for k in range(problem.horizon):
                u = loop.K[k] @ x + loop.k[k]
                held = np.isnan(new[k]) & ((u < lower) | (u > upper))
                u = np.where(np.isnan(action[k]), np.clip(u, lower, upper), u)
                new[k, held], x = u[held], d.A @ x + d.B @ u + d.f
            return new
        right = ~np.isnan(given) & np.isnan(action) & self._outwards(solution, given)
        new[right] = given[right]
        return new

    def _loop(self, d, question: Question, given: np.ndarray) -> Loop:
        """Return the plan as a function of w: Riccati backwards, then the stable loop forwards.

        `given`, shape (N, n_inputs), are inputs that are known, nan where they are free.
        """
        problem = self.t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        n_x = nx * (N + 1)
        x_at = [slice(k * nx, (k + 1) * nx) for k in range(N + 1)]
        u_at = [slice(n_x + k * nu, n_x + (k + 1) * nu) for k in range(N)]
        P, p = d.H[x_at[N], x_at[N]], d.g[x_at[N]]
        K, k_ = np.zeros((N, nu, nx)), np.where(np.isnan(given), 0.0, given)
        F: list[np.ndarray] = [np.zeros(0)] * N
        for k in reversed(range(N)):
            Q, S, R = d.H[x_at[k], x_at[k]], d.H[u_at[k], x_at[k]], d.H[u_at[k], u_at[k]]
            q, r, free = d.g[x_at[k]], d.g[u_at[k]], np.isnan(given[k])
            M, G, g = R + d.B.T @ P @ d.B, S + d.B.T @ P @ d.A, r + d.B.T @ (P @ d.f + p)
            inverse = self._inverse_factor(M[np.ix_(free, free)], k, question)
            K[k, free] = -inverse.T @ (inverse @ G[free])
            k_[k, free] = -inverse.T @ (inverse @ (g + M @ k_[k])[free])
            F[k] = np.zeros((nu, int(free.sum())))
            F[k][free] = inverse.T
            closed, f = d.A + d.B @ K[k], d.f + d.B @ k_[k]
            p = q + K[k].T @ r + (S + R @ K[k]).T @ k_[k] + closed.T @ (P @ f + p)
            P = Q + K[k].T @ S + S.T @ K[k] + K[k].T @ R @ K[k] + closed.T @ P @ closed
            P = 0.5 * (P + P.T)
        T: np.ndarray = np.zeros((n_x + N * nu, int(np.isnan(given).sum())))
        y_0, first = np.zeros(n_x + N * nu), 0
        y_0[:nx] = question.state
        for k in range(N):
            x, u = x_at[k], u_at[k]
            T[u], y_0[u] = K[k] @ T[x], K[k] @ y_0[x] + k_[k]
            T[u, first : first + F[k].shape[1]] += F[k]
            first += F[k].shape[1]
            T[x_at[k + 1]], y_0[x_at[k + 1]] = d.A @ T[x] + d.B @ T[u], d.A @ y_0[x] + d.B @ y_0[u] + d.f
        if not (np.isfinite(T).all() and np.isfinite(y_0).all()):
            question.fail("not converged", SPAN)
        return Loop(T, y_0, K, k_, F)

    def _inverse_factor(self, M, k: int, question: Question) -> np.ndarray:
        """Return L^-1 of M = L L', which must be positive definite whatever the units of the inputs are."""
        if not np.isfinite(M).all():
            question.fail("not converged", SPAN)
        unit = np.sqrt(np.abs(np.diag(M)))
        unit[unit == 0.0] = 1.0
        scaled = M / unit / unit[:, None]
        if len(M) and (least := float(np.linalg.eigvalsh(scaled)[0])) <= FLAT:
            if least < -1e3 * FLAT:
                question.fail("unbounded", f"the cost is not convex in the inputs (of stage {k})")
            question.fail("not converged", f"the cost is flat in some input of stage {k}: give every input a cost")
        return np.linalg.inv(np.linalg.cholesky(scaled)) / unit

    def _rows(self, d, loop: Loop, given) -> SimpleNamespace:
        """Return all rows, those of the problem first and the box on u after them, in terms of w."""
        t, problem = self.t, self.t.problem
        n_u = problem.n_inputs * problem.horizon
        U, u_0, free = loop.T[-n_u:], loop.y_0[-n_u:], np.isnan(given).ravel()
        sides = (problem.input_lower, -np.inf), (problem.input_upper, np.inf)
        box = [np.where(free, np.tile(bound, problem.horizon), edge) for bound, edge in sides]
        G, g = np.vstack([d.h_y @ loop.T, U]), np.concatenate([d.h_y @ loop.y_0 + d.h, u_0])
        lower, upper = np.concatenate([d.lower, box[0]]), np.concatenate([d.upper, box[1]])
        soft = np.concatenate([t.soft, np.zeros(n_u, bool)])
        weight = np.where(soft, np.concatenate([d.weight, np.zeros(n_u)]), np.inf)
        made_of = np.concatenate([np.abs(d.h_y) @ np.linalg.norm(loop.T, axis=1), np.linalg.norm(U, axis=1)])
        size = np.concatenate([np.abs(d.h_y) @ np.abs(loop.y_0) + np.abs(d.h), np.abs(u_0)])
        length = np.linalg.norm(G, axis=1)
        return SimpleNamespace(
            G=G,
            g=g,
            lower=lower,
            upper=upper,
            soft=soft,
            weight=weight,
            length=length,
            size=size,
            moved=length > UNMOVED * made_of,
        )

    def _shortest(self, rows, question: Question) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the optimal w, the multipliers of all rows (positive: upper side), and how far off w may be."""
        over, under = rows.g - rows.upper, rows.lower - rows.g
        beyond, lam = np.maximum(over, under), np.zeros(len(rows.g))
        still = ~rows.moved & (beyond > 1e-15 * rows.size)
        lam[still & rows.soft] = (np.where(over > under, 1.0, -1.0) * rows.weight)[still & rows.soft]
        for i in np.flatnonzero(still & ~rows.soft).tolist():
            if beyond[i] > OPTIMAL * (rows.size[i] + abs(rows.g[i] + beyond[i])):
                question.fail("infeasible", f"{self._name(i)} is violated by {beyond[i]:.3g} whatever the inputs do")
        bounded = np.isfinite(rows.lower) | np.isfinite(rows.upper)
        use = np.flatnonzero(rows.moved & bounded)
        length, weight, soft = rows.length[use], rows.weight[use], rows.soft[use]
        unit = np.minimum(beyond[use] / length, weight * length).max(initial=0.0)
        if unit <= 0.0:
            return np.zeros(rows.G.shape[1]), lam, 0.0
        scaled = (
            rows.G[use] / length[:, None],
            (rows.lower - rows.g)[use] / (length * unit),
            (rows.upper - rows.g)[use] / (length * unit),
            weight * length / unit,
        )
        w, push, flag = _project(*scaled)
        if flag == INFEASIBLE:
            hard = np.isinf(scaled[3]) & (use < self.t.n_rows)  # the box stands
            if not hard.any():  # soft rows and a box never contradict each other
                question.fail("not converged", SPAN)
            relaxed = _project(*scaled[:3], np.where(hard, DEAR, scaled[3]))[0]
            height = scaled[0] @ relaxed
            by = np.where(hard, np.maximum(scaled[1] - height, height - scaled[2]), -np.inf)
            worst = int(by.argmax())
            missed_by = f"it is missed by {by[worst] * length[worst] * unit:.3g} at best"
            question.fail("infeasible", f"{self._name(int(use[worst]))} cannot be satisfied: {missed_by}")
        if flag < 1:
            question.fail("not converged", SPAN)
        w, push, missed = _polish(w, push, *scaled)
        whole = soft & (np.abs(push) >= scaled[3] * (1.0 - ROUNDING))
        lam[use] = np.where(whole, np.sign(push) * weight, push * unit / length)
        return w * unit, lam, missed * unit

    def _solution(
        self, d, loop: Loop, given, action, w, lam, question: Question, start: float
    ) -> tuple[Solution, np.ndarray]:
        """Run along the stable loop: states and inputs forwards, multipliers of the dynamics backwards.

        Returns also by how much every input was clipped to its box.
        """
        t, problem = self.t, self.t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        push, box = lam[: t.n_rows], lam[t.n_rows :].reshape(N, nu)
        X, U, clipped, first = np.empty((N + 1, nx)), np.empty((N, nu)), np.empty((N, nu)), 0
        X[0] = question.state
        for k in range(N):
            n = loop.F[k].shape[1]
            u = loop.K[k] @ X[k] + loop.k[k] + loop.F[k] @ w[first : first + n]
            U[k] = np.where(np.isnan(action[k]), np.clip(u, problem.input_lower, problem.input_upper), action[k])
            clipped[k] = np.abs(U[k] - u)
            X[k + 1], first = d.A @ X[k] + d.B @ U[k] + d.f, first + n
        y = np.concatenate([X.ravel(), U.ravel()])
        cost, slope, h = (part.full().ravel() for part in self._at(question.theta, question.q, y))
        out = t.soft & (np.abs(push) >= d.weight)
        slack = np.where(out, np.maximum(np.maximum(d.lower - h, h - d.upper), 0.0), 0.0)
        of_x, of_u = np.split(slope + d.h_y.T @ push, [nx * (N + 1)])
        of_x, of_u, nu_ = of_x.reshape(N + 1, nx), of_u.reshape(N, nu), np.empty((N + 1, nx))
        nu_[N] = -of_x[N]
        for k in reversed(range(N)):
            held = ~np.isnan(given[k]) & np.isnan(action[k])
            box[k, held] = (d.B.T @ nu_[k + 1] - of_u[k])[held]
            nu_[k] = (d.A + d.B @ loop.K[k]).T @ nu_[k + 1] - loop.K[k].T @ (of_u[k] + box[k]) - of_x[k]
        solution = Solution(
            question=question,
            value=float(cost.item() + d.weight @ slack),
            x=X,
            u=U,
            flat_slack=slack,
            multipliers=Multipliers(
                nu_, np.maximum(-push, 0.0), np.maximum(push, 0.0), np.maximum(-box, 0.0), np.maximum(box, 0.0)
            ),
            status="solved",
            time=time.perf_counter() - start,
            transcription=t,
        )
        return solution, clipped

    def _name(self, i: int) -> str:
        """Return the name of the i-th of all rows, for messages."""
        if i < self.t.n_rows:
            return self.t.row_name(i)
        k, j = divmod(i - self.t.n_rows, self.t.problem.n_inputs)
        return f"the box on input {self.t.problem.input_names[j]}, stage {k}"
