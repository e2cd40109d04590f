"""A network of controllers: who is whose neighbour, the problem of all as one, and each agent's share of it.

Agent i of M has states x_i, inputs u_i, parameters theta_i, and its neighbours N_i, whose states it feels:

    minimise    sum_i J_i(x_i, u_i, {x_j}; theta_i),    J_i = sum_{k<N} l_i(k, x_ik, u_ik, {x_jk}) + T_i(x_iN) + slacks
    subject to  x_i0 = s_i,  x_i,k+1 = f_i(x_ik, u_ik, {x_jk}; theta_i),  rows of stage k,  j in N_i.         (network)

**Copies.** Agents can be taken apart by giving agent i its own copy c_ij of every neighbour's trajectory that it
feels; its own trajectory is c_ii = x_i. One trajectory z_j for each agent holds them together:

    minimise    sum_i J_i(x_i, u_i, {c_ij}; theta_i)    subject to  (dynamics and rows of every agent, in c_ij for x_j)
                c_ij = z_j  for every j in N_i and j = i,  with multipliers y_ij.                            (consensus)

Both problems have the same solutions: at consensus c_ij = x_j. What is left to agent i is its own augmented problem,

    minimise    J_i(x_i, u_i, {c_ij}; theta_i) + sum_j [ y_ij'(c_ij - z_j) + rho/2 |c_ij - z_j|^2 ]              (local)
              = J_i + sum_j [ r_ij'c_ij + rho/2 |c_ij|^2 ] + constant,       r_ij = y_ij - rho z_j,

an ordinary optimal-control problem with the state x_i, the inputs (u_i, {c_ij}), of which u_i is the action, and the
linear cost r (`tilt`) as a parameter. `LocalProblem` declares it, and any solver behind the one door can solve it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course.mpc.parameters import Parameters
from mpcrl_course.mpc.problem import OptimalControlProblem, Rows

Edges = Sequence[tuple[int, int]]


def line(n: int) -> list[tuple[int, int]]:
    """Return the edges of the line 0 - 1 - … - n-1."""
    return [(i, i + 1) for i in range(n - 1)]


def ring(n: int) -> list[tuple[int, int]]:
    """Return the edges of the ring 0 - 1 - … - n-1 - 0 (n at least 3)."""
    if n < 3:
        raise ValueError(f"a ring needs at least 3 agents, not {n}")
    return [*line(n), (n - 1, 0)]


def star(n: int) -> list[tuple[int, int]]:
    """Return the edges of the star with agent 0 in its middle."""
    return [(0, i) for i in range(1, n)]


def neighbours_of(n: int, edges: Edges) -> list[list[int]]:
    """Return the sorted neighbours of each of n agents; raises ValueError if it is not one connected graph.

    Parameters
    ----------
    n : int
        Number of agents.
    edges : sequence of (i, j)
        Each pair once, in any order; agents are counted from 0.
    """
    found: list[set[int]] = [set() for _ in range(n)]
    for i, j in edges:
        if not (0 <= i < n and 0 <= j < n):
            raise ValueError(f"edge {(i, j)} names an agent that is not there: there are 0 … {n - 1}")
        if i == j:
            raise ValueError(f"edge {(i, j)} joins an agent with itself")
        if j in found[i]:
            raise ValueError(f"edge {(i, j)} is given twice")
        found[i].add(j)
        found[j].add(i)
    reached, frontier = {0}, [0]
    while frontier:
        new = found[frontier.pop()] - reached
        reached |= new
        frontier += new
    if len(reached) < n:
        raise ValueError(
            f"the graph is disconnected: no path leads from agent 0 to {sorted(set(range(n)) - reached)}; "
            "agents that cannot reach each other cannot agree"
        )
    return [sorted(neighbours) for neighbours in found]


@dataclass(frozen=True, eq=False)
class Agent:
    """One agent's share of the network's problem, as in `OptimalControlProblem` but with an eye on its neighbours.

    `neighbours` is a list of the neighbours' states at stage k, in the order of `Network.neighbours` (ascending); it is
    None, as is u, where a constraint is asked for its rows at stage N.

    Attributes
    ----------
    n_states, n_inputs, horizon : int
    parameters : Parameters
        The agent's own theta_i.
    dynamics : callable (x, u, neighbours, p) -> x_next
    stage_cost : callable (k, x, u, neighbours, p) -> scalar
    terminal_cost : callable (x, p) -> scalar
    input_lower, input_upper : array_like, shape (n_inputs,)
    constraints : mapping of name to callable (k, x, u, neighbours, p) -> Rows or None
    discount : float
    """

    n_states: int
    n_inputs: int
    horizon: int
    parameters: Parameters
    dynamics: Callable
    stage_cost: Callable
    terminal_cost: Callable
    input_lower: Any = -np.inf
    input_upper: Any = np.inf
    constraints: Mapping[str, Callable] = field(default_factory=dict)
    discount: float = 1.0


class LocalProblem:
    """The augmented problem (local) of one agent, as an optimal-control problem with the inputs (u_i, copies).

    A copy is made of every entry of a neighbour's state that dynamics, cost or rows of the agent depend on, at the
    stages k < N. The parameters are the agent's own and `tilt`, the linear cost r of all that consensus is about:
    c_i = (x_i0, x_i1, …, x_iN, copies_0, …, copies_N-1).

    Parameters
    ----------
    agent : Agent
    sizes : sequence of int
        Number of states of each neighbour.
    rho : float
        Penalty on disagreement, > 0.

    Attributes
    ----------
    problem : OptimalControlProblem
    copied : list of (int, int)
        Neighbour (its place in the list) and entry of its state behind each copied number of a stage.
    n_theta, n_own, n_copies : int
        Sizes of theta_i, of x_i0 … x_iN, and of all copies.
    """

    def __init__(self, agent: Agent, sizes: Sequence[int], rho: float):
        if not (np.isfinite(rho) and rho > 0.0):
            raise ValueError(f"rho must be a positive number, not {rho}")
        blocks = vars(agent.parameters.unpack(agent.parameters.initial()))
        if "tilt" in blocks:
            raise ValueError("no parameter of an agent may be called 'tilt'")
        self.agent, self.sizes, self.rho = agent, list(sizes), rho
        N, nx, nu = agent.horizon, agent.n_states, agent.n_inputs
        self.copied = self._copied()
        m = len(self.copied)
        self.n_theta, self.n_own, self.n_copies = agent.parameters.size, (N + 1) * nx, N * m

        def augmented(cost, c, first, p):
            return cost + ca.dot(p.tilt[first : first + c.numel()], c) + 0.5 * rho * ca.sumsqr(c)

        def seen(v):  # the agent's own inputs and its neighbours' states
            return (None, None) if v is None else (v[:nu], self._neighbours(v[nu:]))

        def stage_cost(k, x, v, p):
            cost = augmented(agent.stage_cost(k, x, *seen(v), p), x, k * nx, p)
            return augmented(cost, v[nu:], self.n_own + k * m, p) if m else cost

        def rows_of(constraint):
            return lambda k, x, v, p: constraint(k, x, *seen(v), p)

        free = np.full(m, np.inf)
        box = [np.broadcast_to(np.asarray(b, dtype=float), (nu,)) for b in (agent.input_lower, agent.input_upper)]
        self.problem = OptimalControlProblem(
            n_states=nx, n_inputs=nu + m, n_actions=nu, horizon=N, discount=agent.discount,
            parameters=Parameters(**blocks, tilt=np.zeros(self.n_own + self.n_copies)),
            dynamics=lambda x, v, p: agent.dynamics(x, *seen(v), p),
            stage_cost=stage_cost,
            terminal_cost=lambda x, p: augmented(agent.terminal_cost(x, p), x, N * nx, p),
            input_lower=np.concatenate([box[0], -free]), input_upper=np.concatenate([box[1], free]),
            constraints={name: rows_of(constraint) for name, constraint in agent.constraints.items()},
        )  # fmt: skip

    def _copied(self) -> list[tuple[int, int]]:
        """Return which entries of the neighbours' states the agent's own problem depends on, at any stage k < N."""
        agent = self.agent
        x, u = ca.SX.sym("x", agent.n_states), ca.SX.sym("u", agent.n_inputs)
        others = [ca.SX.sym(f"x{j}", n) for j, n in enumerate(self.sizes)]
        p = agent.parameters.unpack(ca.SX.sym("theta", agent.parameters.size))
        felt = [ca.SX(agent.dynamics(x, u, others, p))]
        if felt[0].numel() != agent.n_states:
            raise ValueError(f"dynamics returns {felt[0].numel()} states, but the agent has {agent.n_states}")
        for k in range(agent.horizon):
            felt.append(ca.SX(agent.stage_cost(k, x, u, others, p)))
            for constraint in agent.constraints.values():
                rows = constraint(k, x, u, others, p)
                if rows is not None:
                    rows = Rows(*rows)
                    felt += [ca.SX(e) for e in rows if isinstance(e, ca.SX)]
        if not others:
            return []
        pattern = ca.jacobian_sparsity(ca.vertcat(*[ca.vec(e) for e in felt]), ca.vertcat(*others))
        used = np.atleast_1d(np.array(ca.DM(pattern, 1.0), dtype=bool).any(axis=0))
        entries = [(j, e) for j, n in enumerate(self.sizes) for e in range(n)]
        return [entry for entry, wanted in zip(entries, used) if wanted]

    def _neighbours(self, copies):
        """Return the neighbours' states with the copied entries in place; nothing depends on the others: 0."""
        states = [ca.SX.zeros(n) for n in self.sizes]
        for number, (j, e) in enumerate(self.copied):
            states[j][e] = copies[number]
        return states


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
        self.agents, self.edges = list(agents), [(int(i), int(j)) for i, j in edges]
        self.n_agents = len(self.agents)
        if not self.agents:
            raise ValueError("a network needs at least one agent")
        self.neighbours = neighbours_of(self.n_agents, self.edges)
        for what in ("horizon", "discount"):
            values = [getattr(agent, what) for agent in self.agents]
            if len(set(values)) > 1:
                raise ValueError(f"all agents need the same {what}, but theirs are {values}")
        self.horizon, self.discount = self.agents[0].horizon, self.agents[0].discount
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
        names = list(dict.fromkeys(name for agent in self.agents for name in agent.constraints))
        box = [
            np.concatenate([np.broadcast_to(getattr(a, side), (a.n_inputs,)) for a in self.agents])
            for side in ("input_lower", "input_upper")
        ]
        return OptimalControlProblem(
            n_states=self.n_states, n_inputs=self.n_inputs, horizon=self.horizon, parameters=self.parameters,
            dynamics=lambda x, u, p: ca.vertcat(*[
                agent.dynamics(*self._own(i, x, u, p)) for i, agent in enumerate(self.agents)
            ]),
            stage_cost=lambda k, x, u, p: sum(
                agent.stage_cost(k, *self._own(i, x, u, p)) for i, agent in enumerate(self.agents)
            ),
            terminal_cost=lambda x, p: sum(
                agent.terminal_cost(x[self.state_of[i]], self._parameters(i, p)) for i, agent in enumerate(self.agents)
            ),
            input_lower=box[0], input_upper=box[1], discount=self.discount,
            constraints={
                f"{name}_{i + 1}": self._constraint(i, agent.constraints[name])
                for name in names for i, agent in enumerate(self.agents) if name in agent.constraints
            },
        )  # fmt: skip

    def locals(self, rho: float) -> list[LocalProblem]:
        """Return the augmented problem of every agent; equal agents with equal neighbours share theirs."""
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
    """Return consecutive slices of the given lengths."""
    ends = np.cumsum(sizes)
    return [slice(int(end - size), int(end)) for end, size in zip(ends, sizes)]
