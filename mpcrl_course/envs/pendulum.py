"""The pendulum with a torque limit too small to lift it: it must swing up.

State (q, v): angle q in rad, 0 upright, positive counter-clockwise; angular velocity v in rad/s. Torque u in N m.

    v+ = v + dt (3 g / (2 l) sin q + 3 / (m l^2) (u - friction v)),    q+ = q + dt v+       (semi-implicit Euler)

A uniform rod of mass m and length l on its end, m l^2 / 3 its moment of inertia. Semi-implicit Euler (new velocity
first) keeps the energy of the frictionless pendulum bounded, unlike explicit Euler.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import casadi as ca
import gymnasium as gym
import numpy as np

from mpcrl_course.envs.plant import Actuator, checked_action, checked_start

DT = 0.05  # s
MAX_SPEED = 8.0  # rad/s, range of grids; a good controller hardly passes it


@dataclass(frozen=True)
class PendulumParameters:
    """Physical parameters: what may differ between the plant and a model of it.

    Attributes
    ----------
    mass : float
        kg.
    length : float
        m.
    gravity : float
        m/s^2.
    friction : float
        Viscous friction, N m s.
    max_torque : float
        Actuator limit, N m.
    delay : int
        Steps between a command and its effect.
    process_noise : float
        Standard deviation of a random torque, N m.
    measurement_noise : float
        Standard deviation of the noise on the measured angle (rad) and velocity (rad/s).
    """

    mass: float = 1.0
    length: float = 1.0
    gravity: float = 10.0
    friction: float = 0.05
    max_torque: float = 2.0
    delay: int = 0
    process_noise: float = 0.0
    measurement_noise: float = 0.0

    def __post_init__(self):
        for name in ("mass", "length", "gravity", "max_torque"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, but is {getattr(self, name)}")
        for name in ("friction", "delay", "process_noise", "measurement_noise"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")


def dynamics(x, u, p: PendulumParameters = PendulumParameters(), dt: float = DT):  # noqa: B008 (immutable)
    """Return the state after one step, without noise and with the torque as given (not clipped).

    Parameters
    ----------
    x : CasADi column (2,) or ndarray, shape (..., 2)
        Angle (rad) and angular velocity (rad/s).
    u : CasADi column (1,) or ndarray, shape (..., 1)
        Torque (N m).
    """
    symbolic = isinstance(x, (ca.SX, ca.MX, ca.DM)) or isinstance(u, (ca.SX, ca.MX, ca.DM))
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
    """Return the angle(s) q in [-pi, pi)."""
    return (q + np.pi) % (2.0 * np.pi) - np.pi


def stage_cost(x, u):
    """Return L(x, u) = q^2 + 0.1 v^2 + 0.001 u^2 with q wrapped to [-pi, pi), shape (...)."""
    x, u = np.asarray(x, dtype=float), np.asarray(u, dtype=float)
    return wrap(x[..., 0]) ** 2 + 0.1 * x[..., 1] ** 2 + 0.001 * u[..., 0] ** 2


def energy(x, p: PendulumParameters = PendulumParameters()):  # noqa: B008 (immutable)
    """Return the mechanical energy in J, zero at rest and hanging down."""
    x = np.asarray(x, dtype=float)
    kinetic = p.mass * p.length**2 / 6.0 * x[..., 1] ** 2
    return kinetic + 0.5 * p.mass * p.gravity * p.length * (1.0 + np.cos(x[..., 0]))


class Pendulum(gym.Env):
    """The pendulum as a Gymnasium environment: observation (cos q, sin q, v), action the torque, reward -L.

    Parameters
    ----------
    parameters : PendulumParameters
        May be replaced while it runs: ``env.parameters = replace(env.parameters, mass=1.5)`` or `change`.
    steps : int, optional
        Length of an episode (then truncated); 200 steps are 10 s. None for one without end.
    start : array_like, shape (2,), optional
        Start of every episode; by default hanging down or anywhere: q uniform, v uniform in [-1, 1] rad/s.
    """

    metadata = {"render_modes": []}

    def __init__(self, parameters: PendulumParameters = PendulumParameters(), steps: int | None = 200, start=None):  # noqa: B008
        self.parameters, self.steps = parameters, steps
        self.start = None if start is None else np.array(start, dtype=float)
        high = np.array([1.0, 1.0, np.inf])
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float64)
        limit = parameters.max_torque
        self.action_space = gym.spaces.Box(-limit, limit, (1,), dtype=np.float64)
        self.x, self.count, self._actuator = np.array([np.pi, 0.0]), 0, Actuator()

    def change(self, **changes) -> None:
        """Change physical parameters from now on, by name."""
        self.parameters = replace(self.parameters, **changes)

    def observe(self) -> np.ndarray:
        """Return what is measured: (cos q, sin q, v), with measurement noise."""
        q, v = self.x
        if self.parameters.measurement_noise:
            q, v = np.array([q, v]) + self.parameters.measurement_noise * self.np_random.standard_normal(2)
        return np.array([np.cos(q), np.sin(q), v])

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode at `start`, at ``options["x"]``, or at a random state."""
        super().reset(seed=seed)
        start = options["x"] if options and "x" in options else self.start
        if start is None:
            start = self.np_random.uniform([-np.pi, -1.0], [np.pi, 1.0])
        self.x, self.count = checked_start(start, "q, v"), 0
        self._actuator = Actuator()
        return self.observe(), {"x": self.x.copy()}

    def step(self, action):
        """Apply a torque (clipped to the limit, late by the delay) for one step of 0.05 s."""
        u = checked_action(action)
        p = self.parameters
        torque = self._actuator.apply(u[0], p.max_torque, p.delay)
        cost = float(stage_cost(self.x, torque))
        push = p.process_noise * self.np_random.standard_normal(1) if p.process_noise else 0.0
        self.x = dynamics(self.x, torque + push, p)
        self.count += 1
        truncated = self.steps is not None and self.count >= self.steps
        info = {"cost": cost, "x": self.x.copy(), "torque": torque[0]}
        return self.observe(), -cost, False, truncated, info

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here (JSON-able)."""
        return {"x": self.x.tolist(), "count": self.count, "queue": list(self._actuator.queue)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`."""
        self.x, self.count = np.array(state["x"], dtype=float), int(state["count"])
        self._actuator = Actuator(state["queue"])
