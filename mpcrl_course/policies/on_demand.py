"""Algorithmic, too: whether to solve at all. A flag, by rule or by network, lets the plan of the step before go on.

    plan_k = solve(s_k)              if flag(s_k, shift(plan_{k-1}))
             shift(plan_{k-1})       otherwise

The problem stays as it is, and so does each plan that is solved for; between two of them the loop is open.

departed    solve where the state is further than epsilon from what was predicted: event-triggered MPC
Foreseen    solve where a network foresees that a new plan's first input would differ by more than epsilon
Logged      solve at random, and log what a new plan would change: what the network is taught

Source: Heemels, Johansson & Tabuada, CDC 2012 (event-triggered control).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import MPC, Solution, shift
from mpcrl_course.policies.guesses import index_of, scales, seen
from mpcrl_course.policies.receding import Receding, beside, improve
from mpcrl_course.validation import flag as truth
from mpcrl_course.validation import function, generator, instance, real, reals


def departed(epsilon: float, scale) -> Callable:
    """Return the rule: solve where |(s - x_0) / scale| > epsilon, x_0 what the plan before predicted for now.

    Parameters
    ----------
    epsilon : float
        0: solve always, unless the prediction was exact.
    scale : array_like, shape (n_states,)
    """
    epsilon, scale = real(epsilon, "epsilon", 0.0), scales(scale)
    return lambda s, plan: bool(np.linalg.norm((s - plan.x[0]) / scale) > epsilon)


def departures(s, predicted, scale, angle: int) -> np.ndarray:
    """Return what a network is shown: (s - x_0) / scale, and s with (cos, sin) in the place of its angle, side by side.

    Parameters
    ----------
    s, predicted : array_like, shape (..., n_states)
        States, and x_0, what the plan before predicted for them.
    scale : array_like, shape (n_states,)
    angle : int
        Which state is an angle.
    """
    s, scale = reals(s, "s", (..., None)), scales(scale)
    predicted = reals(predicted, "predicted", s.shape)
    if len(scale) != s.shape[-1]:
        raise ValueError(f"scale has {len(scale)} entries, but there are {s.shape[-1]} states")
    return np.concatenate([(s - predicted) / scale, seen(s, index_of(angle, len(scale)))], axis=-1)


class Foreseen:
    """The flag of a network that foresees by how much a new plan's first input would differ from the kept plan's.

    Parameters
    ----------
    network : MLP
        Of `departures`, to log(1 + |u_0 - kept u_0|): fitted to what was `Logged`.
    epsilon : float
        Solve where it foresees more; may be changed while it runs.
    scale : array_like, shape (n_states,)
    angle : int
        Those of `departures`.
    """

    def __init__(self, network: MLP, epsilon: float, scale, angle: int):
        self.network, self.epsilon = instance(network, MLP, "network"), real(epsilon, "epsilon")
        self.scale, self.angle = scales(scale), index_of(angle, len(scale))
        if (network.sizes[0], network.sizes[-1]) != (2 * len(self.scale) + 1, 1):
            raise ValueError(f"network must have {2 * len(self.scale) + 1} inputs and one output, not {network}")

    def foresee(self, s, plan: Solution) -> float:
        """Return by how much the first input of a new plan from s would differ from that of the kept plan."""
        return float(np.expm1(self.network(departures(s, plan.x[0], self.scale, self.angle))[0]))

    def __call__(self, s, plan: Solution) -> bool:
        """Return whether to solve in the state s, rather than keep the plan."""
        return self.foresee(s, plan) > self.epsilon


class Logged:
    """A flag that solves at random, and in each step logs what a new plan would have changed: a lesson for `Foreseen`.

    Parameters
    ----------
    mpc : MPC
    share : float
        Of the steps, in which it solves; the fewer, the further kept plans are from what they predicted.
    rng : numpy.random.Generator
    theta : array_like, optional
        By default the initial one.

    Attributes
    ----------
    s, predicted : list of ndarray, shape (n_states,)
        The state, and x_0 of the kept plan.
    change : list of float
        The largest |u_0 - kept u_0| of the inputs; of steps whose new plan was not found there is no row.
    """

    def __init__(self, mpc: MPC, share: float, rng: np.random.Generator, theta=None):
        self.mpc: MPC = instance(mpc, MPC, "mpc")
        self.share, self.rng = real(share, "share", 0.0, 1.0), generator(rng)
        self.theta = mpc.parameters.pack(theta)
        self.s: list[np.ndarray] = []
        self.predicted: list[np.ndarray] = []
        self.change: list[float] = []

    def __call__(self, s, plan: Solution) -> bool:
        """Log, and return whether to solve in the state s, rather than keep the plan."""
        new = improve(self.mpc, self.theta, s, plan)
        if new.status != "failed":
            self.s.append(s.copy())
            self.predicted.append(plan.x[0].copy())
            self.change.append(float(np.abs(new.u0 - plan.u0).max()))
        return bool(self.rng.random() < self.share)

    def lesson(self, scale, angle: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what a network is shown, `departures` with this scale and angle, and has to foresee (n, 1)."""
        return departures(self.s, self.predicted, scale, angle), np.log1p(self.change)[:, None]


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
