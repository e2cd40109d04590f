"""The linear plant with a constraint of Gros & Zanon (2020), section 1 of the course's problems.

    x+ = A x + B u + (e, 0),   e ~ U(-noise, 0),   x_0 = (0, 0.15),   -1 <= u <= 1

The noise pushes x_1 below its lower bound 0, next to which it is cheapest to live: without a back-off, every
second state violates the bound and pays for it.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from mpcrl_course.envs.plant import checked_action

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
    x, u = np.asarray(x, dtype=float), np.asarray(u, dtype=float)
    violation = np.maximum(0.0, LOWER - x) + np.maximum(0.0, x - UPPER)
    return 0.5 * ((x**2).sum(-1) + 0.5 * (u**2).sum(-1) + WEIGHT * violation.sum(-1))


class LinearPlant(gym.Env):
    """The plant as a Gymnasium environment: observation x (2,), action u (1,), reward -L(x, u).

    Parameters
    ----------
    noise : float
        Width of the disturbance: e ~ U(-noise, 0) on x_1.
    steps : int, optional
        Length of an episode (then truncated); None for one without end.
    start : array_like, shape (2,)
        Initial state.
    """

    metadata = {"render_modes": []}

    def __init__(self, noise: float = 0.1, steps: int | None = None, start=START):
        self.noise, self.steps, self.start = float(noise), steps, np.array(start, dtype=float)
        if self.noise < 0.0:
            raise ValueError(f"noise must not be negative, but is {noise}")
        if self.start.shape != (2,):
            raise ValueError(f"start has shape {self.start.shape}, but a state of this plant has shape (2,)")
        everything = np.full(2, np.inf)
        self.observation_space = gym.spaces.Box(-everything, everything, dtype=np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), dtype=np.float64)
        self.x, self.count = self.start.copy(), 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode at `start`, or at ``options["x"]``."""
        super().reset(seed=seed)
        start = self.start if not options or "x" not in options else np.array(options["x"], dtype=float)
        if start.shape != (2,) or not np.isfinite(start).all():
            raise ValueError(f"options['x'] must be a finite state of shape (2,), not {start}")
        self.x, self.count = start.copy(), 0
        return self.x.copy(), {}

    def step(self, action):
        """Apply u (clipped to [-1, 1]) for one step; returns x+, -L(x, u), False, truncated, {'cost': L}."""
        u = checked_action(action)
        u = np.minimum(np.maximum(u, -1.0), 1.0)
        cost = float(stage_cost(self.x, u))
        e = self.np_random.uniform(-self.noise, 0.0)
        self.x = A @ self.x + B * u[0]
        self.x[0] += e
        self.count += 1
        truncated = self.steps is not None and self.count >= self.steps
        return self.x.copy(), -cost, False, truncated, {"cost": cost}

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here (JSON-able; the generator is saved by its owner)."""
        return {"x": self.x.tolist(), "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`."""
        self.x, self.count = np.array(state["x"], dtype=float), int(state["count"])
