"""The cart-pole: a force on a cart swings up the pole that hangs from it, on a track of finite length.

State (p, q, v, w): position p of the cart in m; angle q of the pole in rad, 0 upright, positive counter-clockwise;
their velocities v in m/s and w in rad/s. Input: the force F on the cart in N. The pole is a point mass m at the end
of a massless rod of length l, its tip at (p - l sin q, l cos q). With D = M + m sin(q)^2 and
G = F - friction v - coulomb tanh(v / 0.1)

    v' = (G + m sin q (g cos q - l w^2)) / D
    w' = (v' cos q + g sin q) / l           (a pendulum of length l whose pivot, the cart, accelerates by v')

One step is one of the classical Runge-Kutta method (RK4) over 0.05 s with the force held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import casadi as ca
import numpy as np

from mpcrl_course.envs.plant import CASADI, PlantEnv, PlantParameters
from mpcrl_course.validation import asfloats

DT = 0.05  # s
TRACK = 2.0  # m, leaving |p| <= TRACK costs
TRACK_END = 2.4  # m, here the episode ends
WEIGHTS = np.array([0.1, 1.0, 0.01, 0.01, 0.001])  # of p^2, (2 sin(q/2))^2, v^2, w^2, F^2
TRACK_WEIGHT = 300.0  # cost of a metre beyond TRACK
#: Cost of running into the track's end: more than hanging down beside it for 200 steps.
CRASH_COST = 1000.0
STICK = 0.1  # m/s: at this speed Coulomb's friction has tanh(1) = 0.76 of its size


class Noise(NamedTuple):
    """Everything random about n runs, drawn beforehand.

    Attributes
    ----------
    force : ndarray, shape (steps, n)
        Standard normal; times `process_noise` it is a random force.
    measurement : ndarray, shape (steps, n, 4)
        Standard normal; times `measurement_noise` it is the measurement's error.
    """

    force: np.ndarray
    measurement: np.ndarray


@dataclass(frozen=True)
class CartPoleParameters(PlantParameters):
    """The plant by its physical parameters: what may differ between it and a model of it.

    Attributes
    ----------
    cart_mass, mass : float
        Masses M of the cart and m of the pole, kg.
    length, gravity, friction : float
        m, m/s^2, N s/m (viscous, of the cart).
    coulomb : float
        Dry friction of the cart, N: the same at any speed but for the smooth passage through 0 (`STICK`). No model of
        an MPC of ours has it.
    max_force : float
        Actuator limit, N.
    delay : int
        Steps between a command and its effect.
    process_noise, measurement_noise : float
        Standard deviation of a random force (N), and of the error of every measured state (m, rad, m/s, rad/s).
    """

    cart_mass: float = 1.0
    mass: float = 0.2
    length: float = 0.5
    gravity: float = 9.81
    friction: float = 0.0
    coulomb: float = 0.0
    max_force: float = 15.0
    delay: int = 0
    process_noise: float = 0.0
    measurement_noise: float = 0.0

    n_states = 4
    limit = property(lambda self: (self.max_force,))

    def __post_init__(self):
        self._check("cart_mass mass length gravity max_force", "friction coulomb delay process_noise measurement_noise")

    def draw(self, rng, n: int, steps: int) -> Noise:
        """Draw the noise of n runs of so many `steps`; `rng` is a generator or a seed."""
        rng = self._generator(rng, n, steps)
        return Noise(rng.standard_normal((steps, n)), rng.standard_normal((steps, n, 4)))

    def measure(self, x, noise: Noise) -> np.ndarray:
        """Return the states x (n, 4) with measurement noise."""
        return x + self.measurement_noise * noise.measurement

    def step(self, x, u, noise: Noise):
        """Return next states (n, 4), costs (n,) and which runs end (n,), at the track's end, for forces u (n, 1).

        x (n, 4) are the states before, `noise` is that of this step.
        """
        cost = stage_cost(x, u)
        force = u[..., 0] + self.process_noise * noise.force
        x = dynamics(x, force[..., None], self)
        crashed = ~(np.abs(x[..., 0]) <= TRACK_END)
        return x, cost + CRASH_COST * crashed, crashed


MODEL = CartPoleParameters()
#: What lecture 05 drives with models of `MODEL`: a payload of 0.4 kg on the pole, and dry friction.
LADEN = CartPoleParameters(mass=0.6, coulomb=3.0)


def derivative(x, u, p: CartPoleParameters = MODEL):
    """Return dx/dt.

    Parameters
    ----------
    x : CasADi column (4,) or ndarray, shape (..., 4)
    u : CasADi column (1,) or ndarray, shape (..., 1)
        Force (N), not clipped.
    p : CartPoleParameters, or anything with cart_mass, mass, length, gravity and friction (and coulomb, else 0)
        The entries may be CasADi symbols, such as the parameters of an optimal-control problem.
    """
    symbolic = isinstance(x, CASADI) or isinstance(u, CASADI)
    x, u = (x, u) if symbolic else (asfloats(x, "x"), asfloats(u, "u"))
    q, v, w, force = (x[1], x[2], x[3], u[0]) if symbolic else (x[..., 1], x[..., 2], x[..., 3], u[..., 0])
    sin, cos = (ca.sin(q), ca.cos(q)) if symbolic else (np.sin(q), np.cos(q))
    push = force - p.friction * v - getattr(p, "coulomb", 0.0) * (ca.tanh if symbolic else np.tanh)(v / STICK)
    inertia = p.cart_mass + p.mass * sin**2
    v_dot = (push + p.mass * sin * (p.gravity * cos - p.length * w**2)) / inertia
    w_dot = (v_dot * cos + p.gravity * sin) / p.length
    return ca.vertcat(v, w, v_dot, w_dot) if symbolic else np.stack([v, w, v_dot, w_dot], axis=-1)


def dynamics(x, u, p: CartPoleParameters = MODEL, dt: float = DT):
    """Return the state after one step of RK4 of `dt` seconds, without noise and with the force as given (not clipped).

    x, u and p are those of `derivative`.
    """
    k1 = derivative(x, u, p)
    k2 = derivative(x + 0.5 * dt * k1, u, p)
    k3 = derivative(x + 0.5 * dt * k2, u, p)
    k4 = derivative(x + dt * k3, u, p)
    return x + dt / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)


def stage_cost(x, u):
    """Return L(x, u) = weights'(p^2, (2 sin(q/2))^2, v^2, w^2, F^2) + 300 max(0, |p| - 2), shape (...).

    2 sin(q/2) equals q near the upright, and unlike q it knows that 2 pi is upright, too.
    """
    x, u = asfloats(x, "x"), asfloats(u, "u")
    residuals = np.stack([x[..., 0], 2.0 * np.sin(0.5 * x[..., 1]), x[..., 2], x[..., 3], u[..., 0]], axis=-1)
    return residuals**2 @ WEIGHTS + TRACK_WEIGHT * np.maximum(0.0, np.abs(x[..., 0]) - TRACK)


def energy(x, p: CartPoleParameters = MODEL):
    """Return the mechanical energy in J of states x (..., 4) of a cart-pole p, zero at rest and hanging down."""
    x = asfloats(x, "x")
    q, v, w = x[..., 1], x[..., 2], x[..., 3]
    tip_x, tip_y = v - p.length * w * np.cos(q), -p.length * w * np.sin(q)
    kinetic = 0.5 * p.cart_mass * v**2 + 0.5 * p.mass * (tip_x**2 + tip_y**2)
    return kinetic + p.mass * p.gravity * p.length * (1.0 + np.cos(q))


def random_start(rng: np.random.Generator) -> np.ndarray:
    """Draw a start with rng: p in [-1, 1] m, any angle, v in [-0.5, 0.5] m/s, w in [-1, 1] rad/s, all uniform."""
    return rng.uniform([-1.0, -np.pi, -0.5, -1.0], [1.0, np.pi, 0.5, 1.0])


def hanging_start(rng: np.random.Generator) -> np.ndarray:
    """Draw a start with rng near hanging: as `random_start`, but with q in pi + [-0.5, 0.5] rad."""
    return rng.uniform([-1.0, np.pi - 0.5, -0.5, -1.0], [1.0, np.pi + 0.5, 0.5, 1.0])


def upright(x, last: int = 20, within: float = 0.3) -> np.ndarray:
    """Return in which runs the pole stood, within 0.3 rad, throughout the last second, shape (n,).

    x (steps + 1, n, 4) are the states of the runs; of the `last` ones each angle is asked to be `within` so many rad.
    """
    return np.abs(2.0 * np.sin(0.5 * np.asarray(x)[-last:, :, 1])).max(axis=0) < within


class CartPole(PlantEnv):
    """The cart-pole as a Gymnasium environment: observation (p, cos q, sin q, v, w), action the force, reward -L.

    The episode ends (terminated) where the cart meets the track's end, |p| > 2.4 m, with `CRASH_COST` on top.
    A controller that counts the turns of the pole reads the state itself from ``info["x"]``, where it is the true
    one, or from ``info["measured"]``, with the same noise as the observation.

    Parameters
    ----------
    parameters, steps, start
        See `PlantEnv`; 200 steps are 10 s, and the default start is a `random_start`.
    """

    def __init__(self, parameters: CartPoleParameters = MODEL, steps: int | None = 200, start=None):
        super().__init__(parameters, steps, start, random_start, high=[np.inf, 1.0, 1.0, np.inf, np.inf])

    def _look(self):
        noise = self.parameters.measurement_noise
        measured = self.x + noise * self.np_random.standard_normal(4) if noise else self.x.copy()
        p, q, v, w = measured
        return np.array([p, np.cos(q), np.sin(q), v, w]), {"x": self.x.copy(), "measured": measured}

    def _move(self, u):
        p = self.parameters
        cost = float(stage_cost(self.x, u))
        push = p.process_noise * self.np_random.standard_normal(1) if p.process_noise else 0.0
        self.x = dynamics(self.x, u + push, p)
        crashed = not abs(self.x[0]) <= TRACK_END
        return cost + CRASH_COST * crashed, crashed, {"force": u[0]}
