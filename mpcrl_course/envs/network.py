"""A network of linear plants that push each other (arXiv 2511.16424; section 2 of the course's problems).

    x_i1+ = 0.9 x_i1 + 0.35 x_i2 + 0.0813 u_i + e_i,              e_i ~ U(-noise, 0),
    x_i2+ = 1.1 x_i2 + 0.2 u_i - 0.1 sum_{j in N_i} x_j2,         -1 <= u_i <= 1,     x_i0 = (0, 0.15).

Each is the linear plant of `mpcrl_course.envs.linear`, with its bounds, and is pushed by its neighbours' second states.
The coupling, here -0.1, is the dial of "what is communication worth?" (`mpcrl_course.policies.communication`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np

from mpcrl_course.envs.linear import LOWER, START, UPPER, A, B, Noise
from mpcrl_course.envs.plant import PlantEnv, PlantParameters
from mpcrl_course.validation import asfloats, floats, real, reals, short, whole

COUPLING = -0.1
WEIGHT = 500.0
LINE = ((1,), (0, 2), (1,))
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
    x, u = asfloats(x, "x"), asfloats(u, "u")
    violation = np.maximum(0.0, LOWER - x) + np.maximum(0.0, x - UPPER)
    return 0.5 * ((x**2).sum(-1) + 0.5 * u**2 + weight * violation.sum(-1))


@dataclass(frozen=True)
class NetworkParameters(PlantParameters):
    """The plant; its state is (x_1, …, x_M), its input (u_1, …, u_M).

    Attributes
    ----------
    neighbours : sequence of sequence of int
        Neighbours of every agent (agents are counted from 0); by default the line of three.
    noise : float
        Width of the disturbance of x_i1, independent for every agent.
    weight : float
        Cost of a unit of violation (500; 120 in the first-order problem).
    coupling : float
        What a neighbour's second state counts in an agent's own; -0.1 as published.
    reach : float, optional
        A run ends where an entry of the state is beyond it: the agents have lost the plant. By default never.
    omega : sequence of float, optional
        What each agent's cost counts in the network's, > 0; by default 1 for all, as published.
    """

    neighbours: Sequence[Sequence[int]] = LINE
    noise: float = 0.1
    weight: float = WEIGHT
    coupling: float = COUPLING
    reach: float | None = None
    omega: Sequence[float] | None = None
    n_agents = property(lambda self: len(self.neighbours))
    n_states = property(lambda self: 2 * self.n_agents)
    limit = property(lambda self: self.n_agents * (1.0,))

    def __post_init__(self):
        try:
            own_of_each = tuple(tuple(whole(j, "an entry of neighbours") for j in own) for own in self.neighbours)
        except TypeError:
            own_of_each = ()
        if not own_of_each:
            given = short(self.neighbours)
            raise ValueError(f"neighbours is a list of each agent's neighbours, such as {LINE}, not {given}")
        object.__setattr__(self, "neighbours", own_of_each)
        for i, own in enumerate(self.neighbours):
            for j in own:
                if not 0 <= j < self.n_agents or j == i or i not in self.neighbours[j]:
                    raise ValueError(f"agent {i} names {j} as a neighbour, but not the other way round")
        self._check("", "noise weight")
        real(self.coupling, "coupling")
        if self.reach is not None:
            real(self.reach, "reach", 0.0, strict=True)
        if self.omega is not None:
            omega = reals(self.omega, "omega", (self.n_agents,))
            if not (omega > 0.0).all():
                raise ValueError(f"omega must be positive, but is {omega}")
            object.__setattr__(self, "omega", tuple(omega.tolist()))

    @cached_property
    def adjacency(self) -> np.ndarray:
        """Matrix (M, M) with a one where two agents are neighbours."""
        return np.array([[float(j in own) for j in range(self.n_agents)] for own in self.neighbours])

    def draw(self, rng, n: int, steps: int) -> Noise:
        """Draw the noise of n runs of so many `steps`; `rng` is a generator or a seed."""
        return Noise(self._generator(rng, n, steps).uniform(-self.noise, 0.0, (steps, n, self.n_agents)))

    def move(self, x, u, noise: Noise) -> np.ndarray:
        """Return the next states of the agents, shape (…, M, 2) as x, for inputs u (…, M)."""
        push = self.coupling * (x[..., 1] @ self.adjacency.T)
        x = x @ A.T + u[..., None] * B
        x[..., 0] += noise.e
        x[..., 1] += push
        return x

    def costs(self, x, u) -> np.ndarray:
        """Return what each agent's cost counts, omega_i L_i, shape (…, M), at states x (…, M, 2), inputs u (…, M)."""
        costs = stage_cost(x, u, self.weight)
        return costs if self.omega is None else np.array(self.omega) * costs

    def lost(self, x) -> np.ndarray:
        """Return which of the states x (…, 2 M) have an entry beyond the reach, shape (…)."""
        return np.abs(x).max(axis=-1) > (np.inf if self.reach is None else self.reach)

    def step(self, x, u, noise: Noise):
        """Return the next states (n, 2 M), the costs (n,) of this step, and which runs end, for inputs u (n, M).

        x (n, 2 M) are the states before, agent by agent, `noise` is that of this step.
        """
        agents = x.reshape(*x.shape[:-1], -1, 2)
        cost = self.costs(agents, u).sum(-1)
        x = self.move(agents, u, noise).reshape(x.shape)
        return x, cost, self.lost(x)


class LinearNetwork(PlantEnv):
    """The network as a Gymnasium environment: observation (x_1, …, x_M), action (u_1, …, u_M), reward -L.

    Its `x` has shape (M, 2); the info of a step holds, beside the cost, the agents' ``costs`` (L_1, …, L_M).

    Parameters
    ----------
    neighbours, noise, weight, coupling, reach, omega
        See `NetworkParameters`.
    steps, recorded
        See `PlantEnv`.
    start : array_like, shape (2,) or (2 M,)
        Initial state, of every agent or of all.
    """

    def __init__(
        self,
        neighbours=LINE,
        noise=0.1,
        weight=WEIGHT,
        steps: int | None = None,
        start=START,
        recorded=None,
        coupling=COUPLING,
        reach=None,
        omega=None,
    ):
        parameters = NetworkParameters(neighbours, noise, weight, coupling, reach, omega)
        start = floats(start, "start")
        start = np.tile(start, parameters.n_agents) if start.shape == (2,) else start
        super().__init__(parameters, steps, start, shape=(-1, 2), recorded=recorded)

    def _move(self, u):
        p = self.parameters
        costs = p.costs(self.x, u)
        self.x = p.move(self.x, u, Noise(self._uniform(-p.noise, 0.0)))
        return float(costs.sum()), bool(p.lost(self.x.reshape(-1))), {"costs": costs}
