"""The policy's Jacobian where states can be eliminated: a KKT system of free inputs and active rows only.

With the states rolled out from s, a quadratic problem is one in the inputs z. Where the solution is strict, its active
set stays what it is nearby: inputs on their bounds stay there, the active rows A stay on theirs, and a violated soft
row pushes with its whole weight w(theta), to the upper or lower side (push = 1 or -1). Of the Lagrangian

    L(z, lam; theta) = J + lam'(h - bound)_A + sum_violated w |h - bound|,      L_z = 0,    (h - bound)_A = 0,

the implicit function theorem differentiates in theta, for the inputs that are free:

    [ L_zz  A_z' ] [ dz/dtheta   ]      [ L_z,theta             ]
    [ A_z   0    ] [ dlam/dtheta ]  = - [ d(h - bound)_A/dtheta ]

and in the state s likewise. It is what is left of the system of `mpcrl_course.mpc.sensitivities` once its states,
slacks and inputs on bounds are eliminated: regular where that is, and with the same solution.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import casadi as ca
import numpy as np

from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.transcription import Transcription, rollout, stack

if TYPE_CHECKING:
    from mpcrl_course.mpc.solution import Solution

#: With more inputs than this the problem is not condensed: the dense matrices would be larger than the sparse ones.
CONDENSED_INPUTS = 40
#: A pivot below this, of the Hessian scaled to a diagonal of ones: condensing has lost half the digits of the plant.
ILL_CONDITIONED = 1e-4
#: A step larger than this (relative to the right-hand side) comes from a system that may be singular.
SINGULAR = 1e6

_COMPILED: WeakKeyDictionary[Transcription, BufferedFunction] = WeakKeyDictionary()


def condensed_policy_jacobian(solution: Solution, act: SimpleNamespace) -> np.ndarray | None:
    """Return dpi/d(theta, s) at a solution of V, shape (n_inputs, n_theta + n_states).

    Or None: the whole KKT system has to decide. That is where the problem is not condensed, at kinks, and where the
    system is singular or nearly so.

    Parameters
    ----------
    solution : Solution
    act : SimpleNamespace
        Its rows and bounds, classified: see `mpcrl_course.mpc.sensitivities.activity`.
    """
    t, m = solution.transcription, solution.multipliers
    pushing, violated = act.lower | act.upper, act.violated
    if not act.strict or (act.lower & act.upper).any() or (violated & ~pushing).any() or not condensed(t):
        return None
    if t not in _COMPILED:
        _COMPILED[t] = _blocks(t)
    lam, push = np.where(violated, 0.0, m.lam_ub - m.lam_lb), violated * (act.upper * 1.0 - act.lower)
    blocks = _COMPILED[t](solution.theta, solution.state, solution.u.ravel(), lam, push)
    H, L_zp, h_z, above_lower, above_upper = blocks
    free, A = (~(act.input_lower | act.input_upper)).ravel().nonzero()[0], (pushing & ~violated).nonzero()[0]
    H, A_z, n = H[free][:, free], h_z[A][:, free], len(free)
    unit = np.sqrt(np.diag(H))  # in which every input has curvature 1, whatever it is measured in
    if not (unit > 0.0).all():
        return None
    H, A_z = H / unit / unit[:, None], A_z / unit
    length = np.sqrt((A_z * A_z).sum(axis=1))
    if len(A) > n or not (length > 0.0).all():
        return None
    A_z /= length[:, None]
    if len(A) and np.linalg.matrix_rank(A_z, tol=1e-9) < len(A):
        return None
    K = np.zeros((n + len(A), n + len(A)))
    K[:n, :n], K[:n, n:], K[n:, :n] = H, A_z.T, A_z
    edge = np.where(act.lower[A, None], above_lower[A], above_upper[A])
    right = -np.vstack([L_zp[free] / unit[:, None], edge / length[:, None]])
    try:
        if np.linalg.cholesky(H).diagonal().min(initial=1.0) < ILL_CONDITIONED:
            return None
        step = np.linalg.solve(K, right)
    except np.linalg.LinAlgError:
        return None
    largest = np.abs(right).max(axis=0, initial=0.0)
    if not (np.abs(step).max(axis=0, initial=0.0) <= SINGULAR * largest).all():  # nor if it is not a number
        return None
    if (np.abs(K @ step - right).max(axis=0, initial=0.0) > 1e-6 * largest).any():
        return None
    dz = np.zeros((t.U.numel(), right.shape[1]))
    dz[free] = step[:n] / unit[:, None]
    return dz[: t.problem.n_inputs]


def condensed(t: Transcription) -> bool:
    """Return whether states are eliminated: from a quadratic problem, `t`, with few inputs."""
    return t.U.numel() <= CONDENSED_INPUTS and t.quadratic


def _blocks(t: Transcription) -> BufferedFunction:
    """Return (theta, s, U, lam, push) -> L_zz, L_zp, h_z, d(h - lower)/dp, d(h - upper)/dp; p = (theta, s)."""
    problem = t.problem
    rows = stack(problem, rollout(problem, t.s, t.U, t.theta), t.U, t.theta)
    lam, push, p = ca.SX.sym("lam", t.n_rows), ca.SX.sym("push", t.n_rows), ca.vertcat(t.theta, t.s)
    L_z = ca.vec(ca.gradient(rows.cost + ca.dot(lam + push * rows.weight, rows.h), t.U))
    outputs = [ca.jacobian(L_z, t.U), ca.jacobian(L_z, p), ca.jacobian(rows.h, t.U)]
    outputs += [ca.jacobian(rows.h - bound, p) for bound in (rows.lower, rows.upper)]
    return BufferedFunction("condensed_jacobian", [t.theta, t.s, t.U, lam, push], outputs, matrices=set(range(5)))
