"""Reference generator: an MPC plans now and then, and in between something quick follows the plan.

    every M-th step      plan from where the car is: a few real-time iterations from the plan before, M stages further
    every step           u = tracker(x, r),   r what is planned at the length s of the track where the car is

The reader of the plan is at s, not at time k: a car that is late is asked for what belongs there. A tracker by hand is
five numbers, z = (1, 4, 1, 0.15, 0.8):

    a = z_0 a_r + z_1 (v_r - v),    c = z_2 c_r - z_3 (n - n_r) - z_4 (mu - mu_r)

They may be learned by trial as well as guessed. Without a tracker the plan is held: its inputs act as they were
planned, and M - 1 steps out of M are blind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs import race
from mpcrl_course.mpc import MPC, Solution, SolverError, shift
from mpcrl_course.own import checked
from mpcrl_course.policies.receding import first_plan
from mpcrl_course.validation import function, instance, real, reals, whole

#: z of the tracker by hand.
BY_HAND = np.array([1.0, 4.0, 1.0, 0.15, 0.8])


class Reference(NamedTuple):
    """What a plan asks for at one length of the track: n (m), mu (rad), v (m/s), a (m/s^2), c (1/m)."""

    n: float
    mu: float
    v: float
    a: float
    c: float


def reference_at(plan: Solution, s: float, gain: float = 1.0) -> Reference:
    """Return what a plan asks for at length s (m), interpolated; beyond its ends, what it asks for there.

    Parameters
    ----------
    plan : Solution
        Of a `race_mpc`.
    s : float
    gain : float
        Steering gain of the plan's model, by which its angles are curvatures.
    """
    at, s, gain = instance(plan, Solution, "plan").x[:, 0], real(s, "s"), real(gain, "gain")
    n, mu, v = (float(np.interp(s, at, plan.x[:, i])) for i in (1, 2, 3))
    a, c = (float(np.interp(s, at[:-1], y)) for y in (plan.u[:, 0], race.path_curvature(plan.u[:, 1], gain)))
    return Reference(n, mu, v, a, c)


def tracker(z=BY_HAND) -> Callable:
    """Return the tracker (x, r) -> u of the numbers z (5,): x (4,) is the state, r a `Reference`, u (2,) the input."""
    z = reals(z, "z", (5,))

    def follow(x, r: Reference) -> np.ndarray:
        a = z[0] * r.a + z[1] * (r.v - x[3])
        return np.array([a, race.steering(z[2] * r.c - z[3] * (x[1] - r.n) - z[4] * (x[2] - r.mu))])

    return follow


class ReferenceGenerator:
    """A `race_mpc` that plans every M steps, and a tracker that follows.

    Another number of cars than last time starts anew, as `reset` does.

    Parameters
    ----------
    mpc : MPC
    theta : array_like, optional
        By default the initial one.
    every : int
        M.
    tracker : callable (x, r) -> ndarray, shape (2,), optional
        By default none: the plan's inputs are held.
    iterations : int, optional
        Real-time iterations of a plan; by default one if M < 5, else three: after ten stages at once one is too few.
    first : callable (mpc, theta, s) -> Solution, optional
        Makes the first plan.

    Attributes
    ----------
    plans : list of Solution
        Latest of each car, from where it was planned.
    status : list of str
        A word for each car: that of the plan's solve where it planned ('failed' if the plan before goes on), else
        'tracked' or 'held'.
    """

    def __init__(
        self,
        mpc: MPC,
        theta=None,
        *,
        every: int = 5,
        tracker: Callable | None = None,
        iterations: int | None = None,
        first: Callable = first_plan,
    ):
        self.mpc: MPC = instance(mpc, MPC, "mpc")
        self.theta = mpc.parameters.pack(theta)
        self.every, self.tracker = whole(every, "every", 1), function(tracker, "tracker", optional=True)
        self.iterations = (3 if self.every >= 5 else 1) if iterations is None else whole(iterations, "iterations", 1)
        self.first = function(first, "first")
        self.reset()

    def reset(self) -> None:
        """Forget all plans: the next call starts anew."""
        self.plans: list[Solution] = []
        self.status: list[str] = []
        self.k = 0

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, 2) for what is measured, y (n, 4)."""
        y = measured(y, self.mpc.problem.n_states)
        if len(y) != len(self.plans):
            self.reset()
        age = self.k % self.every
        if age == 0:
            self.plans = [self._plan(s, self.plans[i] if self.plans else None) for i, s in enumerate(y)]
        between = "tracked" if self.tracker else "held"
        self.status = [between if age else plan.status for plan in self.plans]
        self.k += 1
        return np.array([self._input(s, plan, age) for s, plan in zip(y, self.plans, strict=True)])

    def _plan(self, s, old: Solution | None) -> Solution:
        if old is None:
            return instance(self.first(self.mpc, self.theta, s), Solution, "what first returns")
        plan = old
        for _ in range(self.every):
            plan = shift(plan)
        try:
            for _ in range(self.iterations):
                plan = self.mpc.policy(self.theta, s, warm_start=plan)
            return plan
        except SolverError:
            return replace(plan, status="failed")

    def _input(self, s, plan: Solution, age: int) -> np.ndarray:
        if self.tracker is None:
            return plan.u[min(age, len(plan.u) - 1)]
        r = reference_at(plan, s[0], float(self.mpc.parameters.unpack(self.theta).gain))
        return checked("tracker", self.tracker(s.copy(), r), (2,))
