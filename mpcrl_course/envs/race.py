"""A racing car on a closed track of 200 m: a kinematic bicycle with limited grip, in the coordinates of the track.

State (s, n, mu, v): length s along the centre line in m, distance n from it in m (positive to the left), heading mu
relative to it in rad, speed v in m/s. Input (a, delta): acceleration in m/s^2, steering angle in rad.

    s' = v cos mu / (1 - n kappa(s)),    n' = v sin mu,    mu' = v c - kappa(s) s',    v' = a,    c = g tan(delta) / 1.6

c is the curvature of the car's path in 1/m, kappa that of the centre line. One step is one of the classical Runge-Kutta
method (RK4) over 0.05 s with a and c held. Tyres hold an acceleration (a, v^2 c) of length G, the grip, at most: a
longer one is shortened to it, once, at the step's start; then a is limited so that 0 <= v <= 12 m/s. `dynamics` is the
step without these two limits, for models: it equals the plant where a plan keeps (a^2 + (v^2 c)^2) <= G^2 and
0 <= v + 0.05 s a <= 12 m/s, and only there.

A step costs 0.6 - (s+ - s) + 10 max(0, |n+| - 2.5): metres that a car at full speed would have gone more, and metres
beyond the edge. Beyond |n| = 4 m the run ends, and that costs 50.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import casadi as ca
import numpy as np

from mpcrl_course.envs.plant import CASADI, PlantEnv, PlantParameters
from mpcrl_course.validation import asfloats, floats

DT = 0.05  # s
LENGTH = 200.0  # m, of the track's centre line
WIDTH = 2.5  # m, of the track on either side, for the car's reference point
CRASH = 4.0  # m, so far from the centre line a run ends
MAX_SPEED = 12.0  # m/s
BASE = 1.6  # m, between the axles
LOWER, UPPER = np.array([-6.0, -0.35]), np.array([4.0, 0.35])  # of acceleration and steering angle
EDGE_COST, CRASH_COST = 10.0, 50.0
#: kappa(s) = (2 pi / LENGTH) (1 + sum_k COS_k cos kt + SIN_k sin kt), k = 1 … 8, t = 2 pi s / LENGTH, in 1/m.
COS = np.array([0.163472, -0.794, 1.248, -0.461, -0.038, -0.117, -0.044, 0.021])
SIN = np.array([-0.05167, 0.042, -1.293, 0.043, -0.02, -0.008, -0.106, -0.154])
#: How far ahead a learner sees the curvature, m.
AHEAD = np.array([0.0, 3.0, 6.0, 10.0, 15.0, 20.0])


class Noise(NamedTuple):
    """Everything random about n runs, drawn beforehand.

    Attributes
    ----------
    steering : ndarray, shape (steps, n)
        Standard normal; times `noise` it is what bumps add to the steering angle.
    """

    steering: np.ndarray


@dataclass(frozen=True)
class RaceParameters(PlantParameters):
    """The car by what may differ between it and a model of it.

    Attributes
    ----------
    grip : float
        Largest acceleration G that the tyres hold, m/s^2.
    gain : float
        Steering gain g: the front wheels turn so that tan(delta) is g times what was asked for.
    noise : float
        Standard deviation of what bumps add to the steering angle, rad.
    """

    grip: float = 8.0
    gain: float = 1.0
    noise: float = 0.0
    n_states = 4
    n_inputs = 2
    input_lower = property(lambda self: LOWER.copy())
    input_upper = property(lambda self: UPPER.copy())

    def __post_init__(self):
        self._check("grip gain", "noise")

    def draw(self, rng, n: int, steps: int) -> Noise:
        """Draw the noise of n runs of so many `steps`; `rng` is a generator or a seed."""
        return Noise(self._generator(rng, n, steps).standard_normal((steps, n)))

    def step(self, x, u, noise: Noise):
        """Return next states (n, 4), costs (n,) and which runs end (n,), off the track, for inputs u (n, 2).

        x (n, 4) are the states before, `noise` is that of this step.
        """
        u = np.stack([u[:, 0], u[:, 1] + self.noise * noise.steering])
        ahead = driven(x.T, u, self).T
        crashed = ~(np.abs(ahead[:, 1]) <= CRASH)
        return ahead, stage_cost(x, ahead) + CRASH_COST * crashed, crashed


CAR = RaceParameters()


def curvature(s):
    """Return kappa, the curvature of the centre line (1/m) at s (m), an array of any shape or CasADi."""
    t = 2.0 * np.pi / LENGTH * s
    if not isinstance(t, CASADI):
        kt = np.multiply.outer(t, np.arange(1, len(COS) + 1))
        return 2.0 * np.pi / LENGTH * (1.0 + np.cos(kt) @ COS + np.sin(kt) @ SIN)
    cos, sin, total = ca.cos(t), ca.sin(t), 1.0
    cos_k, sin_k = cos, sin
    for a, b in zip(COS.tolist(), SIN.tolist(), strict=True):  # angles added: one sine and cosine instead of eight
        total = total + a * cos_k + b * sin_k
        cos_k, sin_k = cos_k * cos - sin_k * sin, sin_k * cos + cos_k * sin
    return 2.0 * np.pi / LENGTH * total


def path_curvature(delta, gain=1.0):
    """Return c = g tan(delta) / 1.6, the curvature of the car's path (1/m), of an angle delta (rad) and the gain g."""
    return gain * (ca.tan if isinstance(delta, CASADI) else np.tan)(delta) / BASE


def steering(c, gain: float = 1.0):
    """Return the steering angle (rad), within its limits, for a path of curvature c (1/m): see `path_curvature`.

    c is an array or CasADi, `gain` that of the car.
    """
    if isinstance(c, CASADI):
        return ca.fmin(ca.fmax(ca.atan(BASE * c / gain), LOWER[1]), UPPER[1])
    return np.clip(np.arctan(BASE * c / gain), LOWER[1], UPPER[1])


def derivative(x, a, c):
    """Return [s', n', mu', v'] for x of entries s, n, mu, v, the acceleration `a` and the curvature c of the path."""
    m = ca if isinstance(x[0], CASADI) else np
    kappa = curvature(x[0])
    along = x[3] * m.cos(x[2]) / (1.0 - x[1] * kappa)
    return [along, x[3] * m.sin(x[2]), x[3] * c - kappa * along, a]


def advance(x, a, c):
    """Return the entries of the state after one step of RK4 with a (m/s^2) and c (1/m) held; x as in `derivative`."""

    def moved(rate, h):
        return [each + h * r for each, r in zip([x[0], x[1], x[2], x[3]], rate, strict=True)]

    k1 = derivative(x, a, c)
    k2 = derivative(moved(k1, 0.5 * DT), a, c)
    k3 = derivative(moved(k2, 0.5 * DT), a, c)
    k4 = derivative(moved(k3, DT), a, c)
    return moved([(p + 2.0 * (q + r) + s) / 6.0 for p, q, r, s in zip(k1, k2, k3, k4, strict=True)], DT)


def dynamics(x, u, p=CAR):
    """Return the next state of the model, which knows no limits.

    Parameters
    ----------
    x, u : CasADi columns (4,) and (2,), or ndarrays, shapes (4, …) and (2, …)
    p : RaceParameters, or anything with `gain`
        Its entries may be CasADi symbols, such as the parameters of an optimal-control problem.
    """
    return _together(advance(x, u[0], path_curvature(u[1], p.gain)))


def driven(x, u, p=CAR):
    """Return the next state of the plant, its acceleration shortened to the grip and its speed kept in [0, 12] m/s.

    x, u and p are those of `dynamics`; p has a `grip`, too.
    """
    m = ca if isinstance(x, CASADI) or isinstance(u, CASADI) else np
    a, c, v = u[0], path_curvature(u[1], p.gain), x[3]
    length = m.sqrt(a**2 + (v**2 * c) ** 2 + 1e-300)
    held = m.fmin(1.0, p.grip / length)
    a, c = held * a, held * c
    a = m.fmin(m.fmax(a, -v / DT), (MAX_SPEED - v) / DT)
    *rest, v = advance(x, a, c)
    return _together([*rest, m.fmin(m.fmax(v, 0.0), MAX_SPEED)])


def _together(parts):
    """Return the entries of a state as a CasADi column, or as an array with them along its first axis."""
    if any(isinstance(part, CASADI) for part in parts):
        return ca.vertcat(*parts)
    return np.stack(np.broadcast_arrays(*parts))


def acceleration(x, u, gain: float = 1.0) -> np.ndarray:
    """Return (a, v^2 c) in m/s^2, shape (…, 2), that inputs u (…, 2) ask for in states x (…, 4): see the grip.

    `gain` is that of the steering.
    """
    x, u = asfloats(x, "x"), asfloats(u, "u")
    return np.stack([u[..., 0], x[..., 3] ** 2 * path_curvature(u[..., 1], gain)], axis=-1)


def stage_cost(x, ahead):
    """Return L = 0.6 - (s+ - s) + 10 max(0, |n+| - 2.5), shape (…), of states x (…, 4) and the next ones, `ahead`."""
    x, ahead = asfloats(x, "x"), asfloats(ahead, "ahead")
    beyond = np.maximum(0.0, np.abs(ahead[..., 1]) - WIDTH)
    return MAX_SPEED * DT - (ahead[..., 0] - x[..., 0]) + EDGE_COST * beyond


def centre_line(s) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the centre line is at s (m, any shape): X and Y in m, and its heading in rad.

    It starts at (0, 0) towards +X. The heading is the integral of `curvature` in closed form; X and Y are interpolated
    in a table, to 1e-6 m.
    """
    s = floats(s, "s")
    along, X, Y = _table()
    lap = np.mod(s, LENGTH)
    return np.interp(lap, along, X), np.interp(lap, along, Y), _heading(s)


def _heading(s) -> np.ndarray:
    t, k = 2.0 * np.pi / LENGTH * s, np.arange(1, len(COS) + 1)
    kt = np.multiply.outer(t, k)
    return t + np.sin(kt) @ (COS / k) + (1.0 - np.cos(kt)) @ (SIN / k)


@cache
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 20 001 points of the centre line: s, X and Y, by Simpson's rule."""
    s = np.linspace(0.0, LENGTH, 40_001)
    slopes = np.stack([np.cos(_heading(s)), np.sin(_heading(s))])
    pieces = (slopes[:, :-2:2] + 4.0 * slopes[:, 1:-1:2] + slopes[:, 2::2]) * (s[2] - s[0]) / 6.0
    X, Y = np.concatenate([np.zeros((2, 1)), np.cumsum(pieces, axis=1)], axis=1)
    return s[::2], X, Y


def place(x) -> np.ndarray:
    """Return where cars in states x (…, 4) are on the ground: X, Y in m and heading in rad, shape (…, 3)."""
    x = floats(x, "x")
    X, Y, heading = centre_line(x[..., 0])
    return np.stack([X - x[..., 1] * np.sin(heading), Y + x[..., 1] * np.cos(heading), heading + x[..., 2]], axis=-1)


def lap_times(s) -> np.ndarray:
    """Return the times (s) of the laps of one car, shape (laps,), from where it is at each step, s (steps + 1,) in m.

    A lap is 200 m from the start, or from the end of the lap before; crossings are interpolated within a step.
    """
    s = floats(s, "s")
    ends = s[0] + LENGTH * np.arange(int(max(0.0, (s[-1] - s[0]) // LENGTH)) + 1)
    return np.diff(np.interp(ends, s, DT * np.arange(len(s))))


def seen(x) -> np.ndarray:
    """Return what a learner sees of states x (…, 4), shape (…, 9), each about as large as 1.

    (n / 2.5, 2 mu, v / 6 - 1, 10 kappa at 0, 3, 6, 10, 15 and 20 m ahead)
    """
    x = asfloats(x, "x")
    own = np.stack([x[..., 1] / WIDTH, 2.0 * x[..., 2], x[..., 3] / 6.0 - 1.0], axis=-1)
    return np.concatenate([own, 10.0 * curvature(x[..., :1] + AHEAD)], axis=-1)


def random_start(rng: np.random.Generator) -> np.ndarray:
    """Draw a start with rng, uniform: anywhere along the track, n within 1 m, mu within 0.1 rad, v from 2 to 8 m/s."""
    return rng.uniform([0.0, -1.0, -0.1, 2.0], [LENGTH, 1.0, 0.1, 8.0])


class Race(PlantEnv):
    """The car as a Gymnasium environment: observation as in `seen`, action (a, delta), reward -L.

    The state itself stands in ``info["x"]``. Beyond 4 m from the centre line the episode ends (terminated).

    Parameters
    ----------
    parameters, steps, start
        See `PlantEnv`; 200 steps are 10 s, and the default start is a `random_start`.
    """

    def __init__(self, parameters: RaceParameters = CAR, steps: int | None = 200, start=None):
        super().__init__(parameters, steps, start, random_start, high=np.full(3 + len(AHEAD), np.inf))

    def _look(self):
        return seen(self.x), {"x": self.x.copy()}
