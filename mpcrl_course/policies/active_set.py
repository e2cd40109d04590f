"""Algorithmic, of a quadratic problem: a memory or a network says which constraints hold with equality.

    min_z  1/2 z'Hz + f(s)'z + w'sigma    s.t.  l(s) - sigma <= C z <= u(s) + sigma,   sigma >= 0 (0 of the hard rows)

An active set a has an entry a_i for each row: 0 if it is free, -1 or 1 if it lies on its lower or upper bound, -2 or 2
if it is soft and violated, and so pushes with its whole weight. Where a is known, what is left is linear:

    H z + f + C'lambda = 0,      C_i z = l_i or u_i  (|a_i| = 1),      lambda_i = sign(a_i) w_i  (|a_i| = 2),  else 0

As f, l and u are affine in s, so are z = K (1, s) and the multipliers: for each a they are found once. They are the
optimum where the rows that are left keep their bounds and the multipliers their signs, M (1, s) >= 0: a polyhedron of
states, and all of them together are the explicit MPC. So a prediction is verified by a product, and nothing is lost
where it is wrong but time: then the ordinary solver decides.

Source: Bemporad, Morari, Dua & Pistikopoulos, Automatica 38 (2002), the explicit MPC; predicted active sets: Bertsimas
& Stellato, INFORMS J. Comput. 34 (2022).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from mpcrl_course.closed_loop import measured
from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import MPC, Solution
from mpcrl_course.mpc.condensed import CondensedSolver
from mpcrl_course.mpc.solution import Question
from mpcrl_course.own import checked
from mpcrl_course.validation import function, instance, reals

#: By how much a bound or a sign may be missed by a prediction that counts as verified.
TOLERANCE = 1e-9


def active_set(plan: Solution) -> np.ndarray:
    """Return the active set (rows,) of a plan for a state: the box on the inputs first, then the rows that they move.

    Parameters
    ----------
    plan : Solution
        Of an MPC that daqp solves, of V.
    """
    instance(plan, Solution, "plan")
    moving = ~plan.transcription.fixed_rows["V"]
    net = (plan.multipliers.lam_ub - plan.multipliers.lam_lb)[moving]
    box = (plan.lam_input_ub - plan.lam_input_lb).ravel()
    bounded = np.isfinite([plan.transcription.problem.input_lower, plan.transcription.problem.input_upper]).any()
    pushed = np.concatenate([box if bounded else box[:0], net])
    violated = np.concatenate([np.zeros(len(pushed) - len(net)), plan.flat_slack[moving] > TOLERANCE])
    return np.where(np.abs(pushed) > TOLERANCE, np.sign(pushed) * (1 + violated), 0).astype(np.int8)


def active_sets(mpc: MPC, states, theta=None) -> np.ndarray:
    """Return the active sets (n, rows) of plans.

    Parameters
    ----------
    mpc : MPC
        One that daqp solves.
    states : array_like, shape (n, n_states)
    theta : array_like, optional
        By default the initial one.
    """
    _condensed(mpc)
    theta = mpc.parameters.initial() if theta is None else theta
    states = reals(states, "states", (None, mpc.problem.n_states))
    return np.array([active_set(mpc.policy(theta, s)) for s in states], np.int8).reshape(len(states), -1)


def nearest_set(states, sets) -> Callable:
    """Return the memory as a prediction s -> a: the active set that is stored for the nearest state.

    Parameters
    ----------
    states : array_like, shape (n, n_states)
    sets : array_like, shape (n, rows)
        As `active_sets` gives them.
    """
    states, sets = reals(states, "states", (None, None)), reals(sets, "sets", (None, None)).astype(np.int8)
    if not len(states) == len(sets) > 0:
        raise ValueError(f"states and sets are pairs, but there are {len(states)} and {len(sets)}")
    tree = cKDTree(states)
    return lambda s: sets[tree.query(s)[1]]


def classified_set(network: MLP, sets) -> Callable:
    """Return a network as a prediction s -> a: of the `sets`, the one for which its output is largest.

    Parameters
    ----------
    network : MLP
        From states to an output for each of the sets; fitted to 1 for the right one and 0 for all others.
    sets : array_like, shape (n, rows)
        All of them different.
    """
    sets = reals(sets, "sets", (None, None)).astype(np.int8)
    if instance(network, MLP, "network").sizes[-1] != len(sets):
        raise ValueError(f"network has {network.sizes[-1]} outputs, but there are {len(sets)} sets")
    return lambda s: sets[network(s).argmax()]


class PredictedSet:
    """A linear MPC as a controller whose active set is predicted, verified, and solved for only where that fails.

    Parameters
    ----------
    mpc : MPC
        One that daqp solves.
    predict : callable (s) -> ndarray, shape (rows,)
        Such as `nearest_set`, of the state (n_states,).
    theta : array_like, optional
        By default the initial one.

    Attributes
    ----------
    status : list of str
        Of the latest decisions: 'verified', or the solver's word where the prediction was not the optimum's.
    laws : dict of bytes to (K, M), or None
        For each set that was predicted K, whose first rows are those of u_0 = K (1, s), and M; None: no optimum has it.
    """

    def __init__(self, mpc: MPC, predict: Callable, theta=None):
        back_end = _condensed(mpc)
        self.mpc, self.predict, n = mpc, function(predict, "predict"), mpc.problem.n_states
        self.theta = mpc.parameters.pack(theta)
        qp = back_end.qp("V")
        parts = [back_end.condense(qp, Question(self.theta, s)) for s in np.vstack([np.zeros(n), np.eye(n)])]
        self.H, self.C, weight = parts[0][:3]
        if len(self.C) < len(weight):  # the rows of C are those behind the box, whose own are a unit matrix
            self.C = np.vstack([np.eye(len(self.H))[: qp.n_box], self.C])
        self.weight = np.where(qp.sense == 8, weight, np.inf)
        # columns: of 1, and of each state
        self.f, self.lower, self.upper = (
            np.column_stack([at[0], *(each - at[0] for each in at[1:])])
            for at in ([each[i] for each in parts] for i in (3, 4, 5))
        )
        self.reset()

    def reset(self) -> None:
        """Forget the latest decisions. What is computed for a set stays: it does not depend on the states."""
        self.status: list[str] = []
        self.laws: dict[bytes, tuple[np.ndarray, np.ndarray] | None] = getattr(self, "laws", {})

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs) for what is measured, y (n, n_states)."""
        y, self.status = measured(y, self.mpc.problem.n_states), []
        return np.array([self._decide(s) for s in y])

    def _decide(self, s) -> np.ndarray:
        a = checked("predict", self.predict(s.copy()), (len(self.C),)).astype(np.int8)
        if (key := a.tobytes()) not in self.laws:
            self.laws[key] = self.law(a)
        law, one = self.laws[key], np.concatenate([[1.0], s])
        if law is not None and (law[1] @ one).min() >= -TOLERANCE:
            self.status.append("verified")
            return law[0][: self.mpc.problem.n_inputs] @ one
        plan = self.mpc.policy(self.theta, s)
        self.status.append(plan.status)
        return plan.u0

    def law(self, a) -> tuple[np.ndarray, np.ndarray] | None:
        """Return K and M: with the active set a (rows,), z = K (1, s), the optimum where M (1, s) >= 0.

        None where the rows of a are not independent, or a hard one is said to be violated.
        """
        a = reals(a, "a", (len(self.C),))
        on, beyond = np.abs(a) == 1, np.abs(a) == 2
        if (beyond & np.isinf(self.weight)).any():
            return None
        C, bound = self.C, np.where(a[:, None] < 0, self.lower, self.upper)
        pushed = np.zeros_like(bound)  # the multipliers; of rows on a bound they are what is looked for
        pushed[beyond, 0] = np.sign(a[beyond]) * self.weight[beyond]
        m, n = int(on.sum()), len(self.H)
        kkt = np.block([[self.H, C[on].T], [C[on], np.zeros((m, m))]])
        right = np.vstack([-self.f - C.T @ pushed, bound[on]])
        try:
            found = np.linalg.solve(kkt, right)
        except np.linalg.LinAlgError:
            return None
        if not np.abs(kkt @ found - right).max() <= TOLERANCE:  # nearly dependent, or a row on a bound that is none
            return None
        K, side = found[:n], np.sign(a)[:, None]
        pushed[on], z, soft = found[n:], C @ K, on & np.isfinite(self.weight)
        most = np.zeros_like(bound)
        most[soft, 0] = self.weight[soft]
        free = a == 0
        keep = [z[free] - self.lower[free], self.upper[free] - z[free]]  # free rows keep their bounds,
        push = [
            (side * pushed)[on],
            (most - side * pushed)[soft],
        ]  # others push outwards, soft ones up to their weight,
        M = np.vstack([*keep, *push, (side * (z - bound))[beyond]])  # and what counts as violated is so
        return K, M[np.isfinite(M).all(axis=1)]  # without the bounds that are none


def _condensed(mpc: MPC) -> CondensedSolver:
    """Return what solves the mpc, if that is daqp."""
    back_end = instance(mpc, MPC, "mpc").back_end
    if not isinstance(back_end, CondensedSolver):
        raise ValueError(f"mpc must be one that daqp solves, not {mpc.solver}")
    return back_end
