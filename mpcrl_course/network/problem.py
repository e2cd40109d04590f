"""A network of controllers: who is whose neighbour, the problem of all as one, and each agent's share of it.

Agent i of M has states x_i, inputs u_i, parameters theta_i, and its neighbours N_i, whose states it feels:

    minimise    sum_i J_i(x_i, u_i, {x_j}; theta_i),    J_i = sum_{k<N} l_i(k, x_ik, u_ik, {x_jk}) + T_i(x_iN) + slacks
    subject to  x_i0 = s_i,  x_i,k+1 = f_i(x_ik, u_ik, {x_jk}; theta_i),  rows of stage k,  j in N_i.         (network)

**Copies.** Agents can be taken apart by giving agent i its own copy c_ij of every neighbour's trajectory that it
feels; its own trajectory is c_ii = x_i. One trajectory z_j for each agent holds them together:

    minimise    sum_i J_i(x_i, u_i, {c_ij}; theta_i)    subject to  (dynamics and rows of every agent, in c_ij for x_j)
                c_ij = z_j  for every j in N_i and j = i,  with multipliers y_ij.                            (consensus)

Both problems have the same solutions: at consensus c_ij = x_j. What is left to agent i is in
`mpcrl_course.network.agent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course.mpc.declaration import check_functions
from mpcrl_course.mpc.parameters import Parameters
from mpcrl_course.mpc.problem import OptimalControlProblem
from mpcrl_course.network.agent import Agent, LocalProblem
from mpcrl_course.network.graph import Edges, neighbours_of
from mpcrl_course.validation import short


class Network:
    """Agents on a connected graph, and the problem (network) of them all.

    Parameters
    ----------
    agents : sequence of Agent
        With one horizon and one discount; agents that are the same object share what is compiled for them.
    edges : sequence of (i, j)
        Undirected: each of the two feels, and talks to, the other.

    Attributes
    ----------
    neighbours : list of list of int
    parameters : Parameters
        Of all agents: block ``name`` of agent i (counted from 0) is ``name_{i+1}``, agent after agent.
    theta_of, state_of, input_of : list of slice
        Where the parts of agent i lie in the network's theta, s and a.
    """

    def __init__(self, agents: Sequence[Agent], edges: Edges):
        self.agents = list(agents) if isinstance(agents, Sequence) else []
        if not self.agents or not all(isinstance(agent, Agent) for agent in self.agents):
            raise ValueError(f"a network needs at least one agent: agents is a list of Agent, not {short(agents)}")
        self.n_agents = len(self.agents)
        self.neighbours = neighbours_of(self.n_agents, edges)
        self.edges = [(int(i), int(j)) for i, j in edges]
        for what in ("horizon", "discount"):
            values = [getattr(agent, what) for agent in self.agents]
            if len(set(values)) > 1:
                raise ValueError(f"all agents need the same {what}, but theirs are {values}")
        self.horizon, self.discount = self.agents[0].horizon, self.agents[0].discount
        seen: dict[tuple, str] = {}
        for i, agent in enumerate(self.agents):
            sizes = tuple(self.agents[j].n_states for j in self.neighbours[i])
            if seen.setdefault((agent, sizes), f"agent {i + 1}'s ") == f"agent {i + 1}'s ":
                check_functions(agent, sizes, seen[agent, sizes])
        blocks: dict[str, Any] = {}
        self._names: list[list[str]] = []
        self._locals: dict[tuple, LocalProblem] = {}
        for i, agent in enumerate(self.agents):
            own = vars(agent.parameters.unpack(agent.parameters.initial()))
            blocks |= {f"{name}_{i + 1}": value for name, value in own.items()}
            self._names.append(list(own))
        self.parameters = Parameters(**blocks)
        self.theta_of = parts([agent.parameters.size for agent in self.agents])
        self.state_of = parts([agent.n_states for agent in self.agents])
        self.input_of = parts([agent.n_inputs for agent in self.agents])
        self.n_states, self.n_inputs = self.state_of[-1].stop, self.input_of[-1].stop

    @cached_property
    def problem(self) -> OptimalControlProblem:
        """The problem of all agents as one, for a central controller: states and inputs stacked, agent after agent."""
        agents = list(enumerate(self.agents))
        lower, upper = (
            np.concatenate([np.broadcast_to(getattr(a, side), (a.n_inputs,)) for a in self.agents])
            for side in ("input_lower", "input_upper")
        )

        def dynamics(x, u, p):
            return ca.vertcat(*[agent.dynamics(*self._own(i, x, u, p)) for i, agent in agents])

        def stage_cost(k, x, u, p):
            return sum(agent.stage_cost(k, *self._own(i, x, u, p)) for i, agent in agents)

        def terminal_cost(x, p):
            return sum(agent.terminal_cost(x[self.state_of[i]], self._parameters(i, p)) for i, agent in agents)

        names = list(dict.fromkeys(name for agent in self.agents for name in agent.constraints))
        return OptimalControlProblem(
            n_states=self.n_states,
            n_inputs=self.n_inputs,
            horizon=self.horizon,
            parameters=self.parameters,
            dynamics=dynamics,
            stage_cost=stage_cost,
            terminal_cost=terminal_cost,
            input_lower=lower,
            input_upper=upper,
            constraints={
                f"{name}_{i + 1}": self._constraint(i, agent.constraints[name])
                for name in names
                for i, agent in agents
                if name in agent.constraints
            },
            discount=self.discount,
        )

    def locals(self, rho: float) -> list[LocalProblem]:
        """Return the augmented problem of every agent at a penalty rho; equal agents with equal neighbours share it."""
        found = []
        for agent, neighbours in zip(self.agents, self.neighbours):
            sizes = tuple(self.agents[j].n_states for j in neighbours)
            if (agent, sizes, rho) not in self._locals:
                self._locals[agent, sizes, rho] = LocalProblem(agent, sizes, rho)
            found.append(self._locals[agent, sizes, rho])
        return found

    def split(self, theta) -> list[np.ndarray]:
        """Return theta_1, …, theta_M as new arrays, after a check of the shape and of every entry."""
        theta = self.parameters.check(theta)
        return [theta[own].copy() for own in self.theta_of]

    def _own(self, i, x, u, p):
        """Return what agent i knows: its state, input (None at k = N), neighbours' states, parameters."""
        x_i = x[self.state_of[i]]
        if u is None:
            return x_i, None, None, self._parameters(i, p)
        return x_i, u[self.input_of[i]], [x[self.state_of[j]] for j in self.neighbours[i]], self._parameters(i, p)

    def _parameters(self, i, p):
        return SimpleNamespace(**{name: getattr(p, f"{name}_{i + 1}") for name in self._names[i]})

    def _constraint(self, i, constraint):
        return lambda k, x, u, p: constraint(k, *self._own(i, x, u, p))


def parts(sizes: Sequence[int]) -> list[slice]:
    """Return consecutive slices of the given sizes."""
    ends = np.cumsum(sizes)
    return [slice(int(end - size), int(end)) for end, size in zip(ends, sizes)]
