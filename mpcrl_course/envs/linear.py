"""The linear plant with a constraint of Gros & Zanon (2020), section 1 of the course's problems.

    x+ = A x + B u + (e, 0),   e ~ U(-noise, 0),   x_0 = (0, 0.15),   -1 <= u <= 1

The noise pushes x_1 below its lower bound 0, next to which it is cheapest to live: without a back-off, every
second state violates the bound and pays for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpcrl_course.envs.plant import PlantEnv, PlantParameters
from mpcrl_course.validation import asfloats, real

A = np.array([[0.9, 0.35], [0.0, 1.1]])
B = np.array([0.0813, 0.2])
START = np.array([0.0, 0.15])
LOWER, UPPER = np.array([0.0, -1.0]), np.array([1.0, 1.0])
WEIGHT = 100.0
DISCOUNT = 0.9


def dynamics(x, u):
    """Return A x + B u, the next state without noise: x of shape (2,), u of shape (1,), arrays or CasADi columns."""
    return A @ x + B.reshape(2, 1) @ u


def stage_cost(x, u) -> float:
    """Return L(x, u) = 1/2 (|x|^2 + 1/2 u^2 + w (violation of the bounds on x)), of the current state and input.

    Parameters
    ----------
    x : ndarray, shape (..., 2)
    u : ndarray, shape (..., 1)
    """
    x, u = asfloats(x, "x"), asfloats(u, "u")
    violation = np.maximum(0.0, LOWER - x) + np.maximum(0.0, x - UPPER)
    return 0.5 * ((x**2).sum(-1) + 0.5 * (u**2).sum(-1) + WEIGHT * violation.sum(-1))


def slopes(x, u) -> tuple[np.ndarray, ...]:
    """Return how a step and its cost depend on where it begins: dx+/dx, dx+/du, dL/dx and dL/du.

    At a bound of x, where L has a kink, it is counted as kept.

    Parameters
    ----------
    x : ndarray, shape (n, 2)
    u : ndarray, shape (n, 1)

    Returns
    -------
    A, B : ndarray, shapes (n, 2, 2) and (n, 2, 1)
    L_x, L_u : ndarray, shapes (n, 2) and (n, 1)
    """
    n, outside = len(x), (x > UPPER) * 1.0 - (x < LOWER)
    return np.tile(A, (n, 1, 1)), np.tile(B[:, None], (n, 1, 1)), x + 0.5 * WEIGHT * outside, 0.5 * u


class Noise(NamedTuple):
    """Everything random about n runs, drawn beforehand.

    Attributes
    ----------
    e : ndarray, shape (steps, n), of a network (steps, n, M)
        Added to x_1.
    """

    e: np.ndarray


@dataclass(frozen=True)
class LinearParameters(PlantParameters):
    """The plant; `noise` is the width of its disturbance, e ~ U(-noise, 0) on x_1."""

    noise: float = 0.1
    n_states = 2
    limit = (1.0,)

    def __post_init__(self):
        self._check("", "noise")

    def draw(self, rng, n: int, steps: int) -> Noise:
        """Draw the noise of n runs of so many `steps`; `rng` is a generator or a seed."""
        return Noise(self._generator(rng, n, steps).uniform(-self.noise, 0.0, (steps, n)))

    def step(self, x, u, noise: Noise):
        """Return the next states (n, 2), the costs (n,) of this step, and that no run ends, for inputs u (n, 1).

        x (n, 2) are the states before, `noise` is that of this step.
        """
        cost = stage_cost(x, u)
        x = x @ A.T + u * B
        x[..., 0] += noise.e
        return x, cost, np.zeros(np.shape(cost), dtype=bool)


def random_start(rng: np.random.Generator) -> np.ndarray:
    """Draw a start (2,) with `rng`, uniform in [0, 0.5] x [0, 0.3]."""
    return rng.uniform([0.0, 0.0], [0.5, 0.3])


NOMINAL = LinearParameters()


class GustNoise(NamedTuple):
    """What is random about n runs with gusts: `e`, U(0, 1), times the gust's width; `switch`, U(0, 1); (steps, n)."""

    e: np.ndarray
    switch: np.ndarray


@dataclass(frozen=True)
class GustyParameters(PlantParameters):
    """The plant in gusts that are seen: state (x_1, x_2, z), e ~ U(-width of z, 0) with z = 0 (calm) or 1.

    Attributes
    ----------
    widths : tuple of float
        Of the disturbance, calm and in a gust.
    change : float
        Probability that z is another one in the next step.
    """

    widths: tuple[float, ...] = (0.0, 0.2)
    change: float = 0.05
    n_states = 3
    limit = (1.0,)

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(asfloats(self.widths, "widths").ravel().tolist()))
        self._check("", "widths change")
        real(self.change, "change", 0.0, 1.0)
        if len(self.widths) != 2:
            raise ValueError(f"widths are two, calm and in a gust, not {self.widths}")

    def draw(self, rng, n: int, steps: int) -> GustNoise:
        """Draw the noise of n runs of so many `steps`; `rng` is a generator or a seed."""
        rng = self._generator(rng, n, steps)
        return GustNoise(*rng.uniform(size=(2, steps, n)))

    def step(self, x, u, noise: GustNoise):
        """Return the next states (n, 3), the costs (n,) of this step, and that no run ends, for inputs u (n, 1).

        x (n, 3) are the states before, `noise` is that of this step.
        """
        cost, gust = stage_cost(x[:, :2], u), x[:, 2] >= 0.5
        ahead = np.column_stack([x[:, :2] @ A.T + u * B, np.where(noise.switch < self.change, ~gust, gust)])
        ahead[:, 0] -= np.where(gust, self.widths[1], self.widths[0]) * noise.e
        return ahead, cost, np.zeros(len(x), dtype=bool)


class GustyPlant(PlantEnv):
    """The plant in gusts as a Gymnasium environment: observation (x_1, x_2, z), action u (1,), reward -L.

    Parameters
    ----------
    parameters, steps, start
        See `PlantEnv`.
    """

    def __init__(self, parameters=None, steps: int | None = None, start=(*START, 0.0)):
        super().__init__(GustyParameters() if parameters is None else parameters, steps, start)


class LinearPlant(PlantEnv):
    """The plant as a Gymnasium environment: observation x (2,), action u (1,), reward -L(x, u).

    Parameters
    ----------
    noise : float
        Width of the disturbance: e ~ U(-noise, 0) on x_1.
    steps, start
        See `PlantEnv`.
    """

    def __init__(self, noise: float = 0.1, steps: int | None = None, start=START):
        super().__init__(LinearParameters(noise), steps, start, random_start)

    def _move(self, u):
        cost = float(stage_cost(self.x, u))
        self.x = A @ self.x + B * u
        self.x[0] += self.np_random.uniform(-self.parameters.noise, 0.0)
        return cost, False, {}


class LinearEpisodes(LinearPlant):
    """The same plant in short episodes from random starts, as a network learns it: the observation is SCALE x.

    Starts are those of `random_start`. An episode is cut off (truncated) after `steps`, or where x_1 < -0.3 or an
    entry is beyond 1.2: what happens far outside costs so much that nothing is learned of the inside.

    Parameters
    ----------
    noise : float
        See `LinearPlant`.
    steps : int
    """

    #: States are tenths; a network learns faster from numbers near 1.
    SCALE = 4.0

    def __init__(self, noise: float = 0.1, steps: int = 20):
        super().__init__(noise, steps, None)

    def _look(self):
        return self.SCALE * self.x, {}

    def step(self, action):
        """Apply an action (1,) as `LinearPlant` does; the episode is cut off, too, where the state has left."""
        seen, reward, ended, truncated, info = super().step(action)
        outside = bool(self.x[0] < -0.3 or np.abs(self.x).max() > 1.2)
        return seen, reward, ended, truncated or outside, info
