"""Algorithmic, too: whether to solve at all. A flag, by rule or by network, lets the plan of the step before go on.

    plan_k = solve(s_k)              if flag(s_k, shift(plan_{k-1}))
             shift(plan_{k-1})       otherwise

The problem stays as it is, and so does each plan that is solved for; between two of them the loop is open. A rule:
solve where the state is further than epsilon from what was predicted, event-triggered MPC. A network may be trained to
foresee by how much a new plan's input would differ.

Source: Heemels, Johansson & Tabuada, CDC 2012 (event-triggered control).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mpcrl_course.mpc import MPC, shift
from mpcrl_course.policies.receding import Receding, beside
from mpcrl_course.validation import flag as truth
from mpcrl_course.validation import function, instance, real, reals


def departed(epsilon: float, scale) -> Callable:
    """Return the rule: solve where |(s - x_0) / scale| > epsilon, x_0 what the plan before predicted for now.

    Parameters
    ----------
    epsilon : float
        0: solve always, unless the prediction was exact.
    scale : array_like, shape (n_states,)
    """
    epsilon, scale = real(epsilon, "epsilon", 0.0), reals(scale, "scale", (None,))
    if not (scale > 0.0).all():
        raise ValueError(f"scale must be positive, not {scale}")
    return lambda s, plan: bool(np.linalg.norm((s - plan.x[0]) / scale) > epsilon)


class OnDemand(Receding):
    """A receding horizon that solves where a flag asks for it; where it does not, the status is 'kept'.

    Parameters
    ----------
    mpc : MPC
    flag : callable (s, plan) -> bool
        Of the state (n_states,) and the plan of the step before, one stage further.
    theta, **options
        Those of `Receding`.
    """

    def __init__(self, mpc: MPC, flag: Callable, theta=None, **options):
        self.flag = function(flag, "flag")
        super().__init__(instance(mpc, MPC, "mpc"), theta, **options)

    def _answer(self, s, old):
        kept = beside(shift(old), s, self.mpc.problem.angles)
        if truth(self.flag(s.copy(), kept), "what flag returned"):
            return super()._answer(s, old)
        return replace(kept, status="kept")
