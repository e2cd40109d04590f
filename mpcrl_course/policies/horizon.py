"""Algorithmic, too: how far to look ahead. A rule or a network chooses the horizon N of each solve from the state.

    plan_k = solve_N(s_k) from shift(plan_{k-1}), resized to N stages,     N = horizons[choose(s_k, shift(plan_{k-1}))]

One MPC for each horizon, all with the same cost, model and parameters. A plan is cut where the next one is shorter;
where it is longer, its last state and input are held. (To keep the end of the last long plan behind a short one, and
start from it later, is worse than to have none: by then the head has long gone elsewhere.) `Foreseen` chooses by a
network, trained on what was `Logged`: the shortest horizon whose first input is foreseen to be within epsilon of that
of the longest.

What the network sees is one decision's loss. What the loop loses when it decides so again and again stands nowhere in
its lesson: measure that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import MPC, Solution, SolverError, shift
from mpcrl_course.policies.guesses import index_of, seen
from mpcrl_course.policies.receding import Receding, beside
from mpcrl_course.validation import function, generator, instance, real, sequence, whole


def resized(plan: Solution, N: int) -> Solution | tuple[np.ndarray, np.ndarray]:
    """Return a plan as a guess of N stages: itself, if it has N; else cut, or its last state and input held.

    Parameters
    ----------
    plan : Solution
    N : int
    """
    have, N = len(instance(plan, Solution, "plan").u), whole(N, "N", 1)
    if have == N:
        return plan
    more = max(0, N - have)
    x, u = (np.concatenate([part, np.repeat(part[-1:], more, axis=0)]) for part in (plan.x, plan.u))
    return x[: N + 1], u[:N]


def improved(mpc: MPC, theta, s, kept: Solution) -> Solution:
    """Return the plan from s that the mpc finds from the kept one, of whatever length; else that, its status 'failed'.

    Parameters
    ----------
    mpc : MPC
    theta : array_like, shape (n_theta,)
    s : array_like, shape (n_states,)
    kept : Solution
    """
    try:
        return mpc.policy(theta, s, warm_start=resized(kept, mpc.problem.horizon))
    except SolverError:
        return replace(kept, status="failed")


class VaryingHorizon(Receding):
    """A receding horizon of varying length.

    Parameters
    ----------
    mpcs : sequence of MPC
        Of one problem, the horizons growing.
    choose : callable (s, plan) -> int
        Which of them plans, from the state (n_states,) and the kept plan, one stage further. The first plan is the
        longest one's.
    theta, **options
        Those of `Receding`.

    Attributes
    ----------
    chosen : list of list of int
        Horizon N of each plant's decisions; the first is that of the first plan.
    """

    def __init__(self, mpcs: Sequence[MPC], choose: Callable, theta=None, **options):
        self.mpcs, self.choose = same_problem(mpcs), function(choose, "choose")
        super().__init__(self.mpcs[-1], theta, **options)

    def reset(self) -> None:
        """Forget all plans: the next call starts anew."""
        super().reset()
        self.chosen: list[list[int]] = []

    def _plan(self, i: int, s, problem, scale):
        if len(self.chosen) != len(self.plans):
            self.chosen = [[] for _ in self.plans]
        self._now = self.mpc.problem.horizon
        plan = super()._plan(i, s, problem, scale)
        self.chosen[i].append(self._now)
        return plan

    def _answer(self, s, old):
        kept = beside(shift(old), s, self.mpc.problem.angles)
        which = whole(self.choose(s.copy(), kept), "what choose returned", 0)
        if which >= len(self.mpcs):
            raise ValueError(f"choose returned {which}, but there are {len(self.mpcs)} horizons")
        self._now = self.mpcs[which].problem.horizon
        return improved(self.mpcs[which], self.theta, s, kept)


class Foreseen:
    """The choice of a network that foresees what a shorter horizon changes: the shortest that changes little.

    Parameters
    ----------
    network : MLP
        From the state, with (cos, sin) in the place of its angle, to log(1 + |u_N - u_longest|) of each shorter one:
        fitted to what was `Logged`.
    epsilon : float
        The change that is allowed; may be changed while it runs.
    angle : int
        Which state is an angle.
    """

    def __init__(self, network: MLP, epsilon: float, angle: int):
        self.network, self.epsilon = instance(network, MLP, "network"), real(epsilon, "epsilon")
        self.angle = index_of(angle, network.sizes[0] - 1)

    def foresee(self, s) -> np.ndarray:
        """Return by how much the first input of each shorter horizon would differ in s from that of the longest."""
        return np.expm1(self.network(seen(s, self.angle)))

    def __call__(self, s, plan: Solution) -> int:
        """Return the index of the horizon for the state s; the kept plan does not matter."""
        allowed = self.foresee(s) <= self.epsilon
        return int(allowed.argmax()) if allowed.any() else len(allowed)


class Logged:
    """A choice at random that logs in each step what every shorter horizon changes: a lesson for `Foreseen`.

    Parameters
    ----------
    mpcs : sequence of MPC
        Those of the `VaryingHorizon` that it chooses for.
    share : float
        Of the steps, in which the longest one decides; in the others, any of the shorter ones.
    rng : numpy.random.Generator
    theta : array_like, optional
        By default the initial one.

    Attributes
    ----------
    s : list of ndarray, shape (n_states,)
    change : list of ndarray, shape (n_shorter,)
        The largest |u_N - u_longest| of the first inputs; of steps with a plan that was not found there is no row.
    """

    def __init__(self, mpcs: Sequence[MPC], share: float, rng: np.random.Generator, theta=None):
        self.mpcs, self.share, self.rng = same_problem(mpcs), real(share, "share", 0.0, 1.0), generator(rng)
        self.theta = self.mpcs[0].parameters.pack(theta)
        self.s: list[np.ndarray] = []
        self.change: list[np.ndarray] = []

    def __call__(self, s, plan: Solution) -> int:
        """Log, and return the index of a horizon, for the state s and the kept plan."""
        *shorter, longest = (improved(mpc, self.theta, s, plan) for mpc in self.mpcs)
        if all(each.status != "failed" for each in (*shorter, longest)):
            self.s.append(s.copy())
            self.change.append(np.array([np.abs(each.u0 - longest.u0).max() for each in shorter]))
        return len(shorter) if self.rng.random() < self.share else int(self.rng.integers(len(shorter)))

    def lesson(self, angle: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what a network is shown (n, n_states + 1), `angle` being one, and has to foresee (n, n_shorter)."""
        s = np.array(self.s)
        return seen(s, index_of(angle, s.shape[1])), np.log1p(self.change)


def same_problem(mpcs) -> tuple[MPC, ...]:
    """Return the mpcs, two or more; ValueError if their horizons do not grow, or states, inputs or theta differ."""
    mpcs = tuple(instance(mpc, MPC, "mpcs") for mpc in sequence(mpcs, "mpcs"))
    horizons = [mpc.problem.horizon for mpc in mpcs]
    if len(mpcs) < 2 or (np.diff(horizons) <= 0).any():
        raise ValueError(f"mpcs must be two or more, of growing horizons, not of {horizons}")
    shapes = {(m.problem.n_states, m.problem.n_inputs, tuple(m.parameters.initial().shape)) for m in mpcs}
    if len(shapes) > 1:
        raise ValueError(f"mpcs must have the same states, inputs and parameters, not {sorted(shapes)}")
    return mpcs
