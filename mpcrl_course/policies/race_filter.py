"""A predictive safety filter for the racing car: any driver's input acts, if the car can still stop on the track.

A plan is certified if, rolled out exactly in the filter's model of the *plant* (grip, steering gain; clipped and
shortened as the plant does it), it keeps |n| <= track throughout and ends standing, v_N <= 1e-3 m/s. Each decision is
the first of these that is certified:

    pass        the wanted input, then braking along the centre line: it acts unchanged, bit for bit
    new plan    one real-time iteration of the safety MPC (`problems/race.py`), which changes the input least
    old plan    the plan of the step before, one stage further, standing still at its end

The last one was certified when it was made. In the model, its rest therefore is certified now: from a state that has
a certified plan, every later state has one, whatever the driver does (recursive feasibility). The promise is the
roll-out's, not the solver's: a plan that would not keep it is refused. It is a promise about the model. Where the plant
has less grip, the old plan may no longer be certified; it acts all the same, and that is counted ('not certified').

The filter keeps a plan, so a policy behind it is not a function of the state alone. And safe is not live: a car that
stands at the edge, pointing outwards, is safe. With `live`, a plan must end where the car can also drive on.

Beside it stands a barrier condition, for n, whose second derivative is the first that an input decides:

    h = 2.5 m -+ n,   psi = h' + alpha h,   psi' + alpha psi >= 0

It looks at this instant only. Where the input that it asks for is beyond the grip, it promises nothing.

Sources: Wabersich & Zeilinger, Automatica 129, 2021; Xiao & Belta, IEEE TAC 67(7), 2022 (barriers of higher order).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import casadi as ca
import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs import race
from mpcrl_course.envs.plant import CASADI
from mpcrl_course.envs.race import CAR, DT, LOWER, UPPER, WIDTH, RaceParameters
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.own import inputs
from mpcrl_course.policies.filters import Filter
from mpcrl_course.problems.race import SCALE, safety_mpc
from mpcrl_course.validation import choice, flag, function, instance, real, reals, sequence, whole

#: m/s; a car as slow as this stands.
STANDING = 1e-3
#: Share of the grip with which the braking manoeuvre brakes.
BRAKING_SHARE = 0.97
STATUSES = ("passed", "new plan", "old plan", "not certified")


def braking(x, p):
    """Return the input (2,) that brakes along the centre line, as hard as the grip allows beside the steering.

        c = kappa(s) - 0.1 n - 0.6 mu,    |a| = min(6, sqrt((0.97 grip)^2 - (v^2 c)^2), v / dt)

    Parameters
    ----------
    x : CasADi column or ndarray, shape (4,)
    p : RaceParameters, or anything with grip and gain
    """
    m = ca if isinstance(x, CASADI) else np
    c = race.curvature(x[0]) - 0.1 * x[1] - 0.6 * x[2]
    delta = race.steering(c, p.gain)
    lateral = x[3] ** 2 * race.path_curvature(delta, p.gain)
    left = m.sqrt(m.fmax((BRAKING_SHARE * p.grip) ** 2 - lateral**2, 0.0))
    a = -m.fmin(m.fmin(-LOWER[0], left), x[3] / DT)
    return ca.vertcat(a, delta) if m is ca else np.array([a, delta])


def drives_on(x, track: float = WIDTH) -> np.ndarray:
    """Return from which states x (…, 4) a slow car, steering inwards as far as it can, turns before the edge.

    It turns on a circle of curvature tan(0.35) / 1.6 = 0.23 / m, of which the track's own bend may take 0.1 / m: so by
    R = 7.8 m, and a car that points outwards by mu comes R (1 - cos mu) closer to the edge at |n| = `track`.
    """
    x = reals(x, "x", (..., 4))
    R = 1.0 / (race.path_curvature(UPPER[1]) - 0.1)
    outwards = x[..., 1] * x[..., 2] > 0.0
    return np.abs(x[..., 1]) + outwards * R * (1.0 - np.cos(x[..., 2])) <= real(track, "track", 0.0)


class RollOut:
    """The plant of a model p, from a state x: so many steps of given inputs, then braking; N steps in all.

    Parameters
    ----------
    N : int
    """

    def __init__(self, N: int):
        x, u, brakes, p = ca.SX.sym("x", 4), ca.SX.sym("u", 2), ca.SX.sym("brakes"), ca.SX.sym("p", 2)
        model = _Model(p[0], p[1])
        acting = ca.if_else(brakes > 0.5, braking(x, model), u)
        one = ca.Function("one", [x, u, brakes, p], [race.driven(x, acting, model), acting])
        arguments = [ca.MX.sym("x", 4), ca.MX.sym("U", 2, N), ca.MX.sym("brakes", 1, N), ca.MX.sym("p", 2)]
        X, U = one.mapaccum(N)(*arguments[:3], ca.repmat(arguments[3], 1, N))
        self.N, self._roll = N, BufferedFunction("roll", arguments, [ca.vec(X), ca.vec(U)])

    def __call__(self, x, U, follow: int, model: RaceParameters = CAR) -> tuple[np.ndarray, np.ndarray]:
        """Return states (N + 1, 4) and inputs (N, 2): from x (4,), `follow` inputs of U (N, 2), then braking.

        They are those of a plant with the parameters of `model`.
        """
        brakes = np.ones(self.N)
        brakes[:follow] = 0.0
        X, acting = self._roll(x, np.ravel(U), brakes, [model.grip, model.gain])
        return np.concatenate([np.ravel(x), X]).reshape(-1, 4), acting.reshape(-1, 2)


class _Model(NamedTuple):
    grip: ca.SX
    gain: ca.SX


class Decision(NamedTuple):
    """What acts, and the plan behind it.

    Attributes
    ----------
    u : ndarray, shape (2,)
    X, U : ndarray, shapes (N + 1, 4) and (N, 2)
        The plan, rolled out in the filter's model.
    status : str
        One of `STATUSES`.
    """

    u: np.ndarray
    X: np.ndarray
    U: np.ndarray
    status: str


class RaceSafety:
    """The filter, as a change (y, u) -> u of inputs for `Filter`, with a plan kept for each car.

    ``Filter(driver, RaceSafety())`` is a controller; `decide` is the filter itself, which remembers nothing. Another
    number of cars than last time starts anew, as `reset` does.

    Parameters
    ----------
    model : RaceParameters
        The filter's model of the plant; may be changed while it runs, as may `track`.
    track : float
        What |n| of a certified plan keeps, m. Less than 2.5 m, or a model of less grip, is a tightening: room for what
        the model does not know.
    horizon : int
        Stages N of 0.05 s in which the car must be able to stop.
    iterations : int
        Real-time iterations of the safety MPC a decision.
    mpc : MPC, optional
        A `safety_mpc` with the horizon, made already.
    live : bool
        Whether a plan must also end where the car can drive on without leaving the track: see `drives_on`.

    Attributes
    ----------
    plans : list of Decision
        Latest of each car.
    status : list of str
        A word for each of the latest decisions: 'passed', 'new plan', 'old plan', 'not certified'.
    """

    def __init__(
        self,
        model: RaceParameters = CAR,
        track: float = WIDTH,
        horizon: int = 40,
        iterations: int = 1,
        mpc: MPC | None = None,
        live: bool = False,
    ):
        self.model: RaceParameters = instance(model, RaceParameters, "model")
        self.live = flag(live, "live")
        self.track = real(track, "track", 0.1, race.CRASH)
        horizon, self.iterations = whole(horizon, "horizon", 1), whole(iterations, "iterations", 0)
        self.mpc: MPC = safety_mpc(horizon=horizon) if mpc is None else instance(mpc, MPC, "mpc")
        named = vars(self.mpc.parameters.unpack(self.mpc.parameters.initial()))
        if self.mpc.problem.horizon != horizon or "target" not in named:
            raise ValueError(f"mpc must be a safety_mpc of horizon {horizon}")
        self.roll_out = RollOut(horizon)
        self.reset()

    def reset(self) -> None:
        """Forget all plans."""
        self.plans: list[Decision | None] = []

    @property
    def status(self) -> list[str]:
        """A word for each of the latest decisions."""
        return [plan.status for plan in self.plans if plan is not None]

    def __call__(self, y, u) -> np.ndarray:
        """Return what acts (n, 2) in the place of the inputs u (n, 2), in measured states y (n, 4)."""
        y = measured(y, 4)
        u = inputs(u, len(y), 2, "the driver")
        if len(self.plans) != len(y):
            self.plans = [None] * len(y)
        self.plans = [self.decide(x, wanted, plan) for x, wanted, plan in zip(y, u, self.plans, strict=True)]
        return np.array([plan.u for plan in self.plans if plan is not None])

    def certified(self, X) -> bool:
        """Return whether states X (N + 1, 4) from now on keep to the track and end standing (where it can drive on)."""
        safe = bool((np.abs(X[1:, 1]) <= self.track).all() and X[-1, 3] <= STANDING)
        return safe and (not self.live or bool(drives_on(X[-1], self.track)))

    def stop(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return states (N + 1, 4) and inputs (N, 2) of braking from x (4,): if certified, the state is certifiable."""
        N = self.roll_out.N
        return self.roll_out(x, np.zeros((N, 2)), 0, self.model)

    def decide(self, x, wanted, before: Decision | None = None) -> Decision:
        """Return the decision in the state x (4,).

        Parameters
        ----------
        x : array_like, shape (4,)
        wanted : array_like, shape (2,)
            The driver's input; beyond its limits it counts as the plant clips it.
        before : Decision, optional
            That of the step before, whose rest is the old plan; without one, braking from here takes its place.
        """
        x, wanted = reals(x, "x", (4,)), reals(wanted, "wanted", (2,))
        N, clipped = self.roll_out.N, np.clip(wanted, LOWER, UPPER)
        U = np.zeros((N, 2))
        U[0] = clipped
        X, U = self.roll_out(x, U, 1, self.model)
        if self.certified(X):
            return Decision(wanted, X, U, "passed")
        old_X, old_U = self.stop(x) if before is None else self._rest(x, before)
        plan = self._plan(x, clipped, old_X, old_U)
        if plan is not None:
            return plan
        status = "old plan" if self.certified(old_X) else "not certified"
        return Decision(old_U[0].copy(), old_X, old_U, status)

    def _rest(self, x, before: Decision) -> tuple[np.ndarray, np.ndarray]:
        """Return the plan before, one stage further; it ends with the input after which the car stands."""
        last = [-before.X[-1, 3] / DT, 0.0]
        return self.roll_out(x, np.concatenate([before.U[1:], [last]]), self.roll_out.N, self.model)

    def _plan(self, x, target, X, U) -> Decision | None:
        """Return what the safety MPC finds from the guess X, U, if it is certified."""
        known = {"track": self.track, "grip": self.model.grip, "gain": self.model.gain}
        theta = self.mpc.parameters.pack(target=target, **known)
        guess = (X, U)
        try:
            for _ in range(self.iterations):
                found = self.mpc.policy(theta, x, warm_start=guess)
                guess = (found.x, found.u)
        except SolverError:
            return None
        X, U = self.roll_out(x, guess[1], self.roll_out.N, self.model)
        return Decision(U[0].copy(), X, U, "new plan") if self.certified(X) else None

    def state_dict(self) -> dict:
        """Return the plans (JSON-able)."""
        return {"plans": [p and [p.u.tolist(), p.X.tolist(), p.U.tolist(), p.status] for p in self.plans]}

    def load_state_dict(self, state: dict) -> None:
        """Go on with the plans of `state`, a `state_dict`; ValueError if it is none of this filter."""
        N, plans = self.roll_out.N, []
        for plan in sequence(instance(state, dict, "a filter's state").get("plans"), "a filter's plans"):
            if plan is not None:
                parts = sequence(plan, "a filter's plan")
                if len(parts) != 4:
                    raise ValueError(f"a filter's plan has four parts, u, X, U and its status, not {len(parts)}")
                u, X, U = (
                    reals(part, f"a plan's {name}", shape)
                    for part, name, shape in zip(parts, "uXU", ((2,), (N + 1, 4), (N, 2)))
                )
                plan = Decision(u, X, U, choice(parts[3], STATUSES, "status of a plan"))
            plans.append(plan)
        self.plans = plans


def changed(u, wanted, tolerance: float = 1e-2) -> np.ndarray:
    """Return where inputs u (…, 2) that act differ from the `wanted` ones: by more than the tolerance, in (5, 0.35)."""
    u, wanted = reals(u, "u", (..., 2)), reals(wanted, "wanted", (..., 2))
    return np.linalg.norm((u - np.clip(wanted, LOWER, UPPER)) / SCALE, axis=-1) > real(tolerance, "tolerance", 0.0)


def race_barrier(driver: Callable, alpha: float = 3.0, p: RaceParameters = CAR, track: float = WIDTH) -> Filter:
    """Return the driver, its steering changed as little as the barrier condition of second order asks.

    With n'' = a sin mu + v cos mu (v c - kappa s'), the condition is, for both edges at once,

        |n'' + 2 alpha n' + alpha^2 n| <= alpha^2 track

    The wanted acceleration a stays, the path's curvature c moves into the interval that is left; beyond the grip it is
    c that is kept, and a shortened.

    Parameters
    ----------
    driver : callable
        From states (n, 4) to inputs (n, 2).
    alpha : float
        1/s, above 0: how fast the edge may be approached.
    p : RaceParameters
        The model.
    track : float
        m.
    """
    function(driver, "driver"), instance(p, RaceParameters, "p")
    alpha, track = real(alpha, "alpha", 0.0, strict=True), real(track, "track", 0.0, strict=True)

    def change(y, u):
        s, n, mu, v = measured(y, 4).T
        a, delta = np.clip(inputs(u, len(s), 2, "the driver"), LOWER, UPPER).T
        kappa, rate = race.curvature(s), v * np.sin(mu)
        along = v * np.cos(mu) / (1.0 - n * kappa)
        by_c = np.maximum(v**2 * np.cos(mu), 1e-6)
        middle = -2.0 * alpha * rate - alpha**2 * n - a * np.sin(mu) + v * np.cos(mu) * kappa * along
        c = race.path_curvature(delta, p.gain)
        c = np.clip(c, (middle - alpha**2 * track) / by_c, (middle + alpha**2 * track) / by_c)
        most = p.grip / np.maximum(v**2, 1e-6)
        c = race.path_curvature(race.steering(np.clip(c, -most, most), p.gain), p.gain)
        left = np.sqrt(np.maximum(p.grip**2 - (v**2 * c) ** 2, 0.0))
        kept = np.abs(c - race.path_curvature(delta, p.gain)) < 1e-12
        return np.stack([np.where(kept, a, np.clip(a, -left, left)), race.steering(c, p.gain)], axis=-1)

    return Filter(driver, change)
