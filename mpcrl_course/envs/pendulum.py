"""The pendulum with a torque limit too small to lift it: it must swing up.

State (q, v): angle q in rad, 0 upright, positive counter-clockwise; angular velocity v in rad/s. Torque u in N m.

    v+ = v + dt (3 g / (2 l) sin q + 3 / (m l^2) (u - friction v)),    q+ = q + dt v+       (semi-implicit Euler)

A uniform rod of mass m and length l on its end, m l^2 / 3 its moment of inertia. Semi-implicit Euler (new velocity
first) keeps the energy of the frictionless pendulum bounded, unlike explicit Euler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import casadi as ca
import numpy as np

from mpcrl_course.envs.plant import CASADI, PlantEnv, PlantParameters
from mpcrl_course.validation import asfloats, real, reals

DT = 0.05  # s
MAX_SPEED = 8.0  # rad/s, range of grids; a good controller hardly passes it


class Noise(NamedTuple):
    """Everything random about n runs, drawn beforehand, so that it does not depend on who controls.

    Attributes
    ----------
    torque : ndarray, shape (steps, n)
        Standard normal; times `process_noise` it is a random torque.
    measurement : ndarray, shape (steps, n, 2)
        Standard normal; times `measurement_noise` it is the measurement's error.
    kicks : ndarray, shape (steps, n)
        Sudden changes of the velocity, rad/s; mostly zero.
    """

    torque: np.ndarray
    measurement: np.ndarray
    kicks: np.ndarray


@dataclass(frozen=True)
class PendulumParameters(PlantParameters):
    """The plant by its physical parameters: what may differ between it and a model of it.

    Attributes
    ----------
    mass, length, gravity, friction : float
        kg, m, m/s^2, N m s (viscous).
    max_torque : float
        Actuator limit, N m.
    delay : int
        Steps between a command and its effect.
    process_noise, measurement_noise : float
        Standard deviation of a random torque (N m), and of the error of the measured angle (rad) and velocity (rad/s).
    """

    mass: float = 1.0
    length: float = 1.0
    gravity: float = 10.0
    friction: float = 0.05
    max_torque: float = 2.0
    delay: int = 0
    process_noise: float = 0.0
    measurement_noise: float = 0.0
    n_states = 2
    limit = property(lambda self: (self.max_torque,))

    def __post_init__(self):
        self._check("mass length gravity max_torque", "friction delay process_noise measurement_noise")

    def draw(self, rng, n: int, steps: int, kick_probability: float = 0.0, kick: float = 0.0) -> Noise:
        """Draw the noise of n runs of so many `steps`; in each, `kick_probability` is that of a kick of +-`kick` rad/s.

        Torque and measurement noise are the same with and without kicks, and for every plant; `rng` may be a seed.
        ValueError: a kick that is not finite, a probability outside of [0, 1].
        """
        kick_probability, kick = real(kick_probability, "kick_probability", 0.0, 1.0), real(kick, "kick")
        rng = self._generator(rng, n, steps)
        torque, measurement = rng.standard_normal((steps, n)), rng.standard_normal((steps, n, 2))
        hit, side = rng.random((steps, n)) < kick_probability, rng.choice([-1.0, 1.0], (steps, n))
        return Noise(torque, measurement, kick * side * hit)

    def measure(self, x, noise: Noise) -> np.ndarray:
        """Return the states x (n, 2) with measurement noise."""
        return x + self.measurement_noise * noise.measurement

    def step(self, x, u, noise: Noise):
        """Return the next states (n, 2), the costs (n,) of this step, and that no run ends, for torques u (n, 1).

        x (n, 2) are the states before, `noise` is that of this step.
        """
        cost = stage_cost(x, u)
        torque = u[..., 0] + self.process_noise * noise.torque
        x = dynamics(x, torque[..., None], self)
        x[..., 1] += noise.kicks
        return x, cost, np.zeros(cost.shape, dtype=bool)


NOMINAL = PendulumParameters()


def dynamics(x, u, p: PendulumParameters = NOMINAL, dt: float = DT):
    """Return the state after one step, without noise and with the torque as given (not clipped).

    Parameters
    ----------
    x : CasADi column (2,) or ndarray, shape (..., 2)
        Angle (rad) and angular velocity (rad/s).
    u : CasADi column (1,) or ndarray, shape (..., 1)
        Torque (N m).
    p : PendulumParameters, or anything with mass, length, gravity and friction
        The entries may be CasADi symbols, such as the parameters of an optimal-control problem.
    dt : float
        Length of the step, s.
    """
    symbolic = isinstance(x, CASADI) or isinstance(u, CASADI)
    # [()] turns an array of one number into the number, which is quicker to reckon with, and leaves others alone
    q, v, torque = (x[0], x[1], u[0]) if symbolic else (x[..., 0][()], x[..., 1][()], u[..., 0][()])
    sin = ca.sin(q) if symbolic else np.sin(q)
    inertia = p.mass * p.length**2 / 3.0
    v_next = v + dt * (1.5 * p.gravity / p.length * sin + (torque - p.friction * v) / inertia)
    q_next = q + dt * v_next
    if symbolic:
        return ca.vertcat(q_next, v_next)
    return np.stack([q_next, v_next], axis=-1) if q_next.ndim else np.array([q_next, v_next])


def wrap(q):
    """Return the angle(s) q in [-pi, pi); ValueError if they are no real numbers (those of nan and inf are nan)."""
    if type(q) is not float and type(q) is not np.float64:
        q = asfloats(q, "q")[()]
    return (q + np.pi) % (2.0 * np.pi) - np.pi


def observation(x) -> np.ndarray:
    """Return what learners see of states x (..., 2): (cos q, sin q, v), shape (..., 3)."""
    x = reals(x, "x", (..., 2))
    return np.stack([np.cos(x[..., 0]), np.sin(x[..., 0]), x[..., 1]], axis=-1)


def stage_cost(x, u):
    """Return L(x, u) = q^2 + 0.1 v^2 + 0.001 u^2 with q wrapped to [-pi, pi), shape (...)."""
    x, u = asfloats(x, "x"), asfloats(u, "u")
    return wrap(x[..., 0][()]) ** 2 + 0.1 * x[..., 1] ** 2 + 0.001 * u[..., 0] ** 2


def energy(x, p: PendulumParameters = NOMINAL):
    """Return the mechanical energy in J of states x (..., 2) of a pendulum p, zero at rest and hanging down."""
    x = asfloats(x, "x")
    kinetic = p.mass * p.length**2 / 6.0 * x[..., 1] ** 2
    return kinetic + 0.5 * p.mass * p.gravity * p.length * (1.0 + np.cos(x[..., 0]))


def random_start(rng: np.random.Generator) -> np.ndarray:
    """Draw a start with rng: any angle, velocity in [-1, 1] rad/s, both uniform."""
    return rng.uniform([-np.pi, -1.0], [np.pi, 1.0])


def upright(x, last: int = 20, within: float = 0.3) -> np.ndarray:
    """Return which runs stood upright, within 0.3 rad, throughout their last second, shape (n,).

    x (steps + 1, n, 2) are the states of the runs; of the `last` ones each angle is asked to be `within` so many rad.
    """
    return np.abs(wrap(_finite_runs(x)[-last:, :, 0])).max(axis=0) < within


def violations(x, max_speed: float) -> np.ndarray:
    """Return the share of the steps in which the true speed exceeds max_speed (rad/s), shape (n,).

    x (steps + 1, n, 2) are the runs' states; the start does not count.
    """
    return (np.abs(_finite_runs(x)[1:, :, 1]) > max_speed + 1e-9).mean(axis=0)


def _finite_runs(x) -> np.ndarray:
    x = asfloats(x, "x")
    if x.ndim != 3 or x.shape[2] != 2 or not np.isfinite(x).all():
        raise ValueError(f"runs are finite states of shape (steps + 1, n, 2), not of shape {x.shape}")
    return x


class Pendulum(PlantEnv):
    """The pendulum as a Gymnasium environment: observation (cos q, sin q, v), action the torque, reward -L.

    Parameters
    ----------
    parameters, steps, start
        See `PlantEnv`; 200 steps are 10 s, and the default start is a `random_start`.
    """

    def __init__(self, parameters: PendulumParameters = NOMINAL, steps: int | None = 200, start=None):
        super().__init__(parameters, steps, start, random_start, high=[1.0, 1.0, np.inf])

    def observe(self) -> np.ndarray:
        """Return what is measured: (cos q, sin q, v), with measurement noise."""
        noise = self.parameters.measurement_noise
        q, v = self.x + noise * self.np_random.standard_normal(2) if noise else self.x
        return np.array([np.cos(q), np.sin(q), v])

    def _look(self):
        return self.observe(), {"x": self.x.copy()}

    def _move(self, u):
        p = self.parameters
        cost = float(stage_cost(self.x, u))
        push = p.process_noise * self.np_random.standard_normal(1) if p.process_noise else 0.0
        self.x = dynamics(self.x, u + push, p)
        return cost, False, {"torque": u[0]}
