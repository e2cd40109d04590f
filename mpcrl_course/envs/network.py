"""A network of linear plants that push each other (arXiv 2511.16424; section 2 of the course's problems).

    x_i1+ = 0.9 x_i1 + 0.35 x_i2 + 0.0813 u_i + e_i,              e_i ~ U(-noise, 0),
    x_i2+ = 1.1 x_i2 + 0.2 u_i - 0.1 sum_{j in N_i} x_j2,         -1 <= u_i <= 1,     x_i0 = (0, 0.15).

Each is the linear plant of `mpcrl_course.envs.linear`, with its bounds, and is pushed by its neighbours' second states.
"""

from __future__ import annotations

from collections.abc import Sequence

import casadi as ca
import gymnasium as gym
import numpy as np

from mpcrl_course.envs.linear import LOWER, START, UPPER, A, B
from mpcrl_course.envs.plant import checked_action

COUPLING = -0.1
WEIGHT = 500.0
DISCOUNT = 0.9


def dynamics(x, u, neighbours):
    """Return agent i's next state without noise: x (2,), u (1,), a list of the neighbours' states; arrays or CasADi."""
    felt = sum((x_j[1] for x_j in neighbours), 0.0)
    push = ca.vertcat(0, COUPLING * felt) if isinstance(felt, ca.SX) else np.array([0.0, COUPLING * felt])
    return A @ x + B.reshape(2, 1) @ u + push


def stage_cost(x, u, weight: float = WEIGHT) -> np.ndarray:
    """Return L_i = 1/2 (|x|^2 + 1/2 u^2 + weight * violation) of every agent; add them up for the network's L.

    Parameters
    ----------
    x : array_like, shape (…, M, 2)
    u : array_like, shape (…, M)
    weight : float
        Cost of a unit of violation of the bounds on x.

    Returns
    -------
    ndarray, shape (…, M)
    """
    x, u = np.asarray(x, dtype=float), np.asarray(u, dtype=float)
    violation = np.maximum(0.0, LOWER - x) + np.maximum(0.0, x - UPPER)
    return 0.5 * ((x**2).sum(-1) + 0.5 * u**2 + weight * violation.sum(-1))


class LinearNetwork(gym.Env):
    """The network as a Gymnasium environment: observation (x_1, …, x_M), action (u_1, …, u_M), reward -L.

    Parameters
    ----------
    neighbours : sequence of sequence of int
        Neighbours of every agent (agents are counted from 0); by default the line of three.
    noise : float
        Width of the disturbance of x_i1, independent for every agent.
    weight : float
        Cost of a unit of violation (500; 120 in the first-order problem).
    steps : int, optional
        Length of an episode (then truncated); None for one without end.
    start : array_like, shape (2,) or (2 M,)
        Initial state, of every agent or of all.
    recorded : array_like, shape (…, M), optional
        Disturbances of the first steps of each episode, applied instead of random ones (which follow when it ends).
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        neighbours: Sequence[Sequence[int]] = ((1,), (0, 2), (1,)),
        noise: float = 0.1,
        weight: float = WEIGHT,
        steps: int | None = None,
        start=START,
        recorded=None,
    ):
        n = len(neighbours)
        self.neighbours, self.n_agents = [list(own) for own in neighbours], n
        for i, own in enumerate(self.neighbours):
            for j in own:
                if not 0 <= j < n or j == i or i not in self.neighbours[j]:
                    raise ValueError(f"agent {i} names {j} as a neighbour, but not the other way round")
        self.adjacency = np.zeros((n, n))
        for i, own in enumerate(self.neighbours):
            self.adjacency[i, own] = 1.0
        self.noise, self.weight, self.steps = float(noise), float(weight), steps
        if self.noise < 0.0:
            raise ValueError(f"noise must not be negative, but is {noise}")
        self.start = np.array(start, dtype=float)
        if self.start.shape == (2,):
            self.start = np.tile(self.start, n)
        if self.start.shape != (2 * n,):
            raise ValueError(f"start has shape {self.start.shape}, but {n} agents have a state of shape ({2 * n},)")
        self.recorded = np.zeros((0, n)) if recorded is None else np.array(recorded, dtype=float)
        if self.recorded.ndim != 2 or self.recorded.shape[1] != n or not np.isfinite(self.recorded).all():
            raise ValueError(f"recorded must be finite, of shape (…, {n}), not of shape {self.recorded.shape}")
        everything = np.full(2 * n, np.inf)
        self.observation_space = gym.spaces.Box(-everything, everything, dtype=np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (n,), dtype=np.float64)
        self.x, self.count = self.start.reshape(n, 2).copy(), 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode at `start`, or at ``options["x"]``, shape (2 M,)."""
        super().reset(seed=seed)
        start = self.start if not options or "x" not in options else np.array(options["x"], dtype=float)
        if start.shape != self.start.shape or not np.isfinite(start).all():
            raise ValueError(f"options['x'] must be a finite state of shape {self.start.shape}, not {start}")
        self.x, self.count = start.reshape(-1, 2).copy(), 0
        return self.x.ravel().copy(), {}

    def step(self, action):
        """Apply u (clipped to [-1, 1]); returns x+, -L, False, truncated, {'cost': L, 'costs': (L_1, …, L_M)}."""
        u = checked_action(action, self.n_agents)
        u = np.minimum(np.maximum(u, -1.0), 1.0)
        costs = stage_cost(self.x, u, self.weight)
        if self.count < len(self.recorded):
            e = self.recorded[self.count]
        else:
            e = self.np_random.uniform(-self.noise, 0.0, self.n_agents)
        push = COUPLING * (self.adjacency @ self.x[:, 1])
        self.x = self.x @ A.T + u[:, None] * B
        self.x[:, 0] += e
        self.x[:, 1] += push
        self.count += 1
        truncated = self.steps is not None and self.count >= self.steps
        cost = float(costs.sum())
        return self.x.ravel().copy(), -cost, False, truncated, {"cost": cost, "costs": costs}

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here (JSON-able; the generator is saved by its owner)."""
        return {"x": self.x.tolist(), "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`."""
        self.x, self.count = np.array(state["x"], dtype=float), int(state["count"])
