"""How far an answer is from optimal: a relative KKT residual that no choice of units changes.

Every condition is compared with the size of the terms that are to cancel in it. With the unknowns y = (X, U),
constraint rows h, slack weights w and multipliers nu, lam, mu (of the box on U), and |.| for every entry's size:

    stationarity      dL/dy = 0                    against |H||y| + |dl/dy - H y| + |h_y|'lam + mu + |f_y|'|nu|
    dynamics          x_{k+1} - f(x_k, u_k) = 0    against |x_{k+1}| + |f_y||y| + |f - f_y y|
    feasibility       h - sigma <= bound           against |h_y||y| + |h - h_y y| + |bound|          (a row's size)
    complementarity   lam (h - sigma - bound) = 0  against |cost| (or rounding of lam h);    likewise sigma and the box
    slacks            0 <= w - lam                 against w

Where states cost far more than an input, its slope consists of terms beside which a wrong input is not seen. So every
input of a quadratic problem has to be right, too: a Newton step in it, within its box, is at most 1e-6 of that.

At rest all terms may be rounding: a state counts as large as 10^-6 of the terms of the dynamics that it is the sum of,
the cost as 10^-6 of its own terms, which asks of what cancels there no more than 13 digits.

A state or an input has one unit at all stages: its size is the largest of the horizon. Changing the unit of a state,
an input, a row or the cost scales a condition and what it is compared with alike.

The cost of a convex problem is off by at most  1/2 r'H^-1 r + lam'(distances)  where r are what is left of dL/du with
dynamics and dL/dx exact: twice as many digits as those of r are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import casadi as ca
import numpy as np

from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.transcription import Transcription, columns, entries

if TYPE_CHECKING:
    from mpcrl_course.mpc.solution import Solution

#: A relative KKT residual up to this counts as solved.
OPTIMAL = 1e-7
#: Stationarity of a condensed answer, relative, where no soft row is violated: daqp pays for those a little more than
#: their weight, elsewhere it is exact to rounding. Around a far set-point most of what is compared with cancels.
SHARP = 1e-11
#: An input off by more than this, of its box or of its largest size, is wrong, however little it matters to the cost.
RIGHT = 1e-6
#: Relative size of what counts as rounding of a slope.
SLOPE_ROUNDED = 1e-15
#: Times `OPTIMAL`: the relative size of what counts as rounding of a row, 1e-13.
ROUNDED = 1e-6
#: What is to cancel counts as nothing below this: a plan that rests at 0 is left there by iterations to rounding.
TINY = 1e-25
#: What terms cancel to counts as at least this part of them: times `OPTIMAL`, a thousand roundings.
CANCELLED = 1e-6
#: What is compiled for V and Q of every problem, as long as that lives.
_COMPILED: WeakKeyDictionary[Transcription, dict[tuple, BufferedFunction]] = WeakKeyDictionary()


def optimality(t: Transcription, kind: str, floor: float = TINY) -> BufferedFunction:
    """Return a function (theta, s, X, U, slack, nu, lam_lb, lam_ub, mu, q) -> relative KKT residuals.

    They are three: the largest of all conditions but complementarity, that of complementarity, and that of what the
    inputs of a quadratic problem are off, which is `OPTIMAL` at `RIGHT`.

    Parameters
    ----------
    t : Transcription
    kind : {'V', 'Q'}
        In Q the first inputs are given: nothing is to be stationary in them. mu has the shape of U, positive at upper
        bounds.
    floor : float
        What is to cancel counts as at least this large.
    """
    problem, fabs = t.problem, ca.fabs
    nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
    y, mu, slack, s = ca.vertcat(ca.vec(t.X), ca.vec(t.U)), ca.SX.sym("mu", nu, N), ca.SX.sym("slack", t.n_rows), t.s
    n_x = nx * (N + 1)
    size_x, size_u = _largest(fabs(t.X)), _largest(fabs(t.U))
    size_y = ca.vertcat(*[size_x] * (N + 1), *[size_u] * N)

    # stationarity; rows as lower - h - slack <= 0 and h - upper - slack <= 0
    H, slope = ca.hessian(t.path_cost, y)
    f_y = -ca.jacobian(t.gaps, y) + ca.horzcat(ca.SX(nx * N, nx), ca.SX.eye(nx * N), ca.SX(nx * N, nu * N))
    lower, upper = _finite(t.lower, t.has_lower), _finite(t.upper, t.has_upper)
    below, above = ca.densify(lower - t.h), ca.densify(t.h - upper)
    J_below, J_above, h_y = (ca.jacobian(part, y) for part in (below, above, t.h))
    q = ca.vertcat(ca.SX(n_x, 1), t.perturbation, ca.SX(nu * (N - 1), 1))
    push = J_below.T @ t.lam_lb + J_above.T @ t.lam_ub + ca.vertcat(ca.SX(n_x, 1), ca.vec(mu))
    later, nu_y = ca.vec(t.nu[:, 1:]), ca.vertcat(ca.vec(t.nu), ca.SX(nu * N, 1))
    r = slope + q + push + nu_y - f_y.T @ later
    terms = size_y[nx:n_x] + fabs(f_y) @ size_y + fabs(ca.vec(t.X[:, 1:]) - t.gaps - f_y @ y)
    rest = CANCELLED * ca.vertcat(*[_largest(ca.reshape(terms, nx, N))] * (N + 1), ca.SX(nu * N, 1))
    own = fabs(H) @ (fabs(y) + rest) + fabs(slope - H @ y) + fabs(q)
    own += fabs(J_below).T @ t.lam_lb + fabs(J_above).T @ t.lam_ub + ca.vertcat(ca.SX(n_x, 1), fabs(ca.vec(mu)))
    against_x = _largest(ca.reshape((own + fabs(nu_y) + fabs(f_y).T @ fabs(later))[:n_x], nx, N + 1))
    of_nu = fabs(f_y[:, n_x:]).T @ ca.vertcat(*[against_x] * N)
    against_u = _largest(ca.reshape(own[n_x:] + of_nu, nu, N))
    r_u, first = ca.reshape(r[n_x:], nu, N), problem.n_actions if kind == "Q" else 0
    if first:
        r_u[:first, 0] = 0.0
    ratios = [fabs(r_u) / (ca.repmat(against_u, 1, N) + floor)]
    steps = [ca.SX(0.0)]
    if t.quadratic:
        off, allowed = _off(t, H, r_u - mu, ca.reshape(own[n_x:] + fabs(f_y[:, n_x:]).T @ fabs(later), nu, N))
        steps += entries(ca.vec(OPTIMAL * off / (allowed + floor)))[first:]
    x = columns(t.X)
    ratios += [fabs(ca.reshape(r[:n_x], nx, N + 1)) / (ca.repmat(against_x, 1, N + 1) + floor)]
    ratios += [
        fabs(ca.reshape(t.gaps, nx, N)) / (ca.reshape(terms, nx, N) + floor),
        fabs(x[0] - s) / (size_x + fabs(s) + floor),
    ]

    # rows and box: feasibility and complementarity
    cost = fabs(t.path_cost + ca.dot(t.weight, slack) + ca.dot(t.perturbation, t.U[:, 0]))
    cost += CANCELLED * ca.dot(fabs(y), fabs(H) @ fabs(y) + fabs(slope - H @ y))
    size_h = fabs(h_y) @ size_y + fabs(t.h - h_y @ y)

    products = [ca.SX(0.0)]

    def side(excess, lam, size):
        products.append(lam * fabs(excess) / (cost + ROUNDED * lam * size + floor))
        ratios.append(ca.fmax(excess, 0.0) / (size + floor))

    for edge, excess, lam, has in ((lower, below, t.lam_lb, t.has_lower), (upper, above, t.lam_ub, t.has_upper)):
        there = np.flatnonzero(has).tolist()
        if there:
            side((excess - slack)[there], lam[there], (size_h + fabs(edge))[there])
    if t.soft.any():
        soft = np.flatnonzero(t.soft).tolist()
        w, sigma, lam = t.weight[soft], slack[soft], (t.lam_lb + t.lam_ub)[soft]
        ratios.append(ca.fmax(lam - w, 0.0) / (w + floor))
        products.append(fabs(w - lam) * sigma / (cost + floor))
    for bound, sign in ((problem.input_lower, -1.0), (problem.input_upper, 1.0)):
        for j in np.flatnonzero(np.isfinite(bound)).tolist():
            k = 1 if j < first else 0
            if k < N:
                excess, lam = sign * (t.U[j, k:] - bound[j]), ca.fmax(sign * mu[j, k:], 0.0)
                side(excess, lam, size_u[j] + abs(bound[j]))
    worst = [ca.mmax(ca.vertcat(*[ca.vec(ca.densify(part)) for part in parts])) for parts in (ratios, products, steps)]
    worst[0] += TINY**10 * (ca.sumsqr(r) + cost)  # fmax overlooks what is not a number; this does not
    inputs = [t.theta, s, t.X, t.U, slack, t.nu, t.lam_lb, t.lam_ub, mu, t.perturbation]
    return BufferedFunction(f"optimality_{kind}", inputs, [ca.cse(ca.vertcat(*worst))])


def doubt(t: Transcription, kind: str) -> ca.Function:
    """Return the function (theta, X, U, slack, nu, net, mu, q) -> by how much an answer fails, below 0 if it passes.

    The test of a condensed answer, in few operations, for it is asked at every solve: the states follow from the
    inputs, nu from stationarity in the states, and slacks from violations, so that what may be wrong are stationarity
    in the inputs, hard rows, and the complementarity of rows (multipliers `net`, positive at upper bounds) and box
    (`mu`). Every condition is compared with `OPTIMAL` times the size of its terms; rows without stage maxima.

    Parameters
    ----------
    t : Transcription
        Of a problem with quadratic structure.
    kind : {'V', 'Q'}
    """
    problem, fabs = t.problem, ca.fabs
    nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
    n_x, first = nx * (N + 1), problem.n_actions if kind == "Q" else 0
    y, net, mu = ca.vertcat(ca.vec(t.X), ca.vec(t.U)), ca.SX.sym("net", t.n_rows), ca.SX.sym("mu", nu, N)
    slack = ca.SX.sym("slack", t.n_rows)
    H, slope = ca.hessian(t.path_cost, y)
    h_y, B = ca.jacobian(t.h, y), ca.jacobian(t.next[0], t.U[:, 0])
    terms, q = fabs(H) @ fabs(y), ca.horzcat(t.perturbation, ca.SX(nu, N - 1))
    of_nu = _largest(fabs(t.nu) + ca.reshape(terms[:n_x], nx, N + 1))
    r = ca.reshape((slope + h_y.T @ net)[n_x:], nu, N) + q + mu - B.T @ t.nu[:, 1:]
    against = ca.reshape((terms + fabs(slope) + fabs(h_y).T @ fabs(net))[n_x:], nu, N) + fabs(q) + fabs(mu)
    against += ca.repmat(fabs(B).T @ of_nu, 1, N)
    cost = fabs(t.path_cost + ca.dot(t.weight, slack) + ca.dot(t.perturbation, t.U[:, 0]))
    lower, upper = _finite(t.lower, t.has_lower), _finite(t.upper, t.has_upper)
    size = fabs(h_y) @ fabs(y) + fabs(lower) + fabs(upper)
    tolerance = ca.if_else(ca.sum1(slack) > 0.0, OPTIMAL, SHARP) if t.soft.any() else SHARP
    off, allowed = _off(t, H, r - mu, against)
    excesses = entries(ca.vec(ca.fmax(fabs(r) - tolerance * against, off - allowed)))[first:]
    products: list = []

    def side(value, low, high, lam, size, slack=0.0, weight=None):
        """Add what a value between two bounds violates, and lam times its distance to the bound that lam belongs to."""
        push = fabs(lam)
        if low is not None and high is not None:
            middle, half = 0.5 * (low + high), 0.5 * (high - low)
            excess, product = fabs(value - middle) - half, push * (half + slack) - lam * (value - middle)
        else:
            excess = (value - high) if low is None else (low - value)
            product = push * fabs(excess - slack)
        products.append(product - OPTIMAL * ROUNDED * push * size)
        if weight is None:
            excesses.append(excess - OPTIMAL * size)
        else:
            products.append(weight * (excess - slack))  # violated, and not paid for

    for i in range(t.n_rows):
        if t.has_lower[i] or t.has_upper[i]:
            edges = lower[i] if t.has_lower[i] else None, upper[i] if t.has_upper[i] else None
            side(t.h[i], *edges, net[i], size[i], *((slack[i], t.weight[i]) if t.soft[i] else ()))
    for j, edges in enumerate(zip(problem.input_lower, problem.input_upper)):
        low, high = (float(edge) if np.isfinite(edge) else None for edge in edges)
        for k in range(int(j < first), N if np.isfinite(edges).any() else 0):
            side(t.U[j, k], low, high, mu[j, k], abs(low or 0.0) + abs(high or 0.0) + fabs(t.U[j, k]))
    worst = ca.SX(-TINY)
    for parts, nothing in ((excesses, TINY), (products, cost + TINY)):
        worst = ca.fmax(worst, ca.mmax(ca.vertcat(*parts)) - OPTIMAL * nothing) if parts else worst
    worst += TINY**10 * (ca.sumsqr(r) + cost)  # fmax overlooks what is not a number; this does not
    inputs = [t.theta, t.X, t.U, slack, t.nu, net, mu, t.perturbation]
    return ca.Function(f"doubt_{kind}", inputs, [ca.cse(worst)])


def sharpened(t: Transcription) -> BufferedFunction:
    """Return a function (theta, X, U, slack, lam_lb, lam_ub) -> nu, lam_lb, lam_ub of an interior point's answer.

    A row away from its bound pushes with nothing, one that is violated with its whole weight, and nu follows: what an
    interior point leaves of them would hide in the multipliers what is wrong with u.

    Parameters
    ----------
    t
        The problem.
    """
    y, slack = ca.vertcat(ca.vec(t.X), ca.vec(t.U)), ca.SX.sym("slack", t.n_rows)
    sizes = [_largest(ca.fabs(part)) for part in (t.X, t.U)]
    h_y = ca.jacobian(t.h, y)
    size_h = ca.fabs(h_y) @ ca.vertcat(*[ca.repmat(d, p.shape[1], 1) for d, p in zip(sizes, (t.X, t.U))])
    size_h += ca.fabs(t.h - h_y @ y)
    lams = []
    for bound, sign, lam, has in ((t.lower, -1.0, t.lam_lb, t.has_lower), (t.upper, 1.0, t.lam_ub, t.has_upper)):
        edge = _finite(bound, has)
        much, beyond = OPTIMAL * (size_h + ca.fabs(edge)), sign * (t.h - edge)
        out = ca.logic_and(slack > much, beyond > much)
        lams.append(ca.if_else(beyond - slack < -much, 0.0, ca.if_else(out, t.weight, lam)))
    lams = [ca.densify(lam) for lam in lams]
    inputs = [t.theta, t.X, t.U, slack, t.lam_lb, t.lam_ub]
    return BufferedFunction("sharpened", inputs, [t.adjoint(*inputs[:3], *lams).T, *lams], matrices={0})


def relative_residual(solution: Solution) -> float:
    """Return the relative KKT residual of a solution, nan if any of its numbers is not finite."""
    return float(residuals(solution)[:2].max())


def residuals(solution: Solution, floor: float = TINY) -> np.ndarray:
    """Return the three relative residuals of a solution, as `optimality` does; `floor` is that of `optimality`."""
    compiled = _COMPILED.setdefault(solution.transcription, {})
    key = solution.kind, floor
    if key not in compiled:
        compiled[key] = optimality(solution.transcription, solution.kind, floor=floor)
    x, u, m = solution.x.ravel(), solution.u.ravel(), solution.multipliers
    mu, flat = (m.lam_input_ub - m.lam_input_lb).ravel(), (solution.flat_slack, m.nu.ravel(), m.lam_lb, m.lam_ub)
    return compiled[key](solution.theta, solution.state, x, u, *flat, mu, solution.question.q)[0]


def _off(t: Transcription, H, g, against) -> tuple[ca.SX, ca.SX]:
    """Return by how much every input is off, times its curvature c, and what is allowed, shapes (n_inputs, N).

    With the slope g of the Lagrangian in u, box apart, u is off by |u - clip(u - g / c)|: a Newton step within the box.
    c is the curvature of the stage cost, for no other input can take from it; without one, that of the next state's.
    """
    problem = t.problem
    nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
    off, allowed, B = ca.SX.zeros(nu, N), ca.SX.ones(nu, N), ca.jacobian(t.next[0], t.U[:, 0])
    of_x, of_u = H[nx:, nx:], ca.reshape(ca.diag(H)[nx * (N + 1) :], nu, N)
    for j, (low, high) in enumerate(zip(problem.input_lower.tolist(), problem.input_upper.tolist())):
        size, boxed = (high - low, True) if np.isfinite(high - low) else (ca.mmax(ca.fabs(t.U[j, :])), False)
        for k in range(N):
            c, u, later = of_u[j, k], t.U[j, k], of_x[k * nx : (k + 1) * nx, k * nx : (k + 1) * nx]
            if not (c.is_constant() and float(c) > 0.0):
                c = ca.fmax(ca.if_else(c > 0.0, c, c + B[:, j].T @ later @ B[:, j]), 0.0)
            aim = c * u - g[j, k]
            aim = ca.fmax(aim, c * low) if np.isfinite(low) else aim
            aim = ca.fmin(aim, c * high) if np.isfinite(high) else aim
            off[j, k] = ca.fabs(c * u - aim) * (c > 0.0)
            allowed[j, k] = RIGHT * size * c + (0.0 if boxed else SLOPE_ROUNDED * against[j, k])
    return off, allowed


def _largest(matrix):
    """Return the largest entry of every row, as a column."""
    return ca.vertcat(*[ca.mmax(row) for row in ca.vertsplit(matrix)])


def _finite(bound, has):
    """Return a column of bounds with 0 where there is none."""
    parts = [e if there else ca.SX(0) for e, there in zip(entries(bound), has)]
    return ca.vertcat(*parts) if parts else bound
