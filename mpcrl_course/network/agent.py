"""One agent of a network: what it declares, and its share of the consensus problem.

Agent i's share of the problem (consensus) of `mpcrl_course.network.problem` is its own augmented problem,

    minimise    J_i(x_i, u_i, {c_ij}; theta_i) + sum_j [ y_ij'(c_ij - z_j) + rho/2 |c_ij - z_j|^2 ]              (local)
              = J_i + sum_j [ r_ij'c_ij + rho/2 |c_ij|^2 ] + constant,       r_ij = y_ij - rho z_j,

an ordinary optimal-control problem with the state x_i, the inputs (u_i, {c_ij}), of which u_i is the action, and the
linear cost r (`tilt`) as a parameter. `LocalProblem` declares it, and any solver behind the one door can solve it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course.mpc.condensed import CondensedSolver
from mpcrl_course.mpc.declaration import check_fields, check_functions
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.parameters import Parameters
from mpcrl_course.mpc.problem import OptimalControlProblem, Rows
from mpcrl_course.mpc.transcription import Transcription, pick
from mpcrl_course.validation import instance, real, sequence, whole


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

    def __post_init__(self):
        check_fields(self)  # its functions are called when the network says whose states they see


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
        What `MPC` would solve as well; what follows is compiled when it is first asked for.
    copied : list of (int, int)
        Neighbour (its place in the list) and entry of its state behind each copied number of a stage.
    n_theta, n_own, n_copies : int
        Sizes of theta_i, of x_i0 … x_iN, and of all copies.
    """

    def __init__(self, agent: Agent, sizes: Sequence[int], rho: float):
        rho, sizes = (
            real(rho, "rho", 0.0, strict=True),
            [whole(n, "an entry of sizes", 1) for n in sequence(sizes, "sizes")],
        )
        check_functions(instance(agent, Agent, "agent"), sizes)
        blocks = vars(agent.parameters.unpack(agent.parameters.initial()))
        if "tilt" in blocks:
            raise ValueError("no parameter of an agent may be called 'tilt'")
        self.agent, self.sizes, self.rho = agent, sizes, rho
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
        self.problem = OptimalControlProblem(
            n_states=nx,
            n_inputs=nu + m,
            n_actions=nu,
            horizon=N,
            discount=agent.discount,
            parameters=Parameters(**blocks, tilt=np.zeros(self.n_own + self.n_copies)),
            dynamics=lambda x, v, p: agent.dynamics(x, *seen(v), p),
            stage_cost=stage_cost,
            terminal_cost=lambda x, p: augmented(agent.terminal_cost(x, p), x, N * nx, p),
            input_lower=np.concatenate([agent.input_lower, -free]),
            input_upper=np.concatenate([agent.input_upper, free]),
            constraints={name: rows_of(constraint) for name, constraint in agent.constraints.items()},
        )
        self._trajectories: dict[str, BufferedFunction] = {}

    def _copied(self) -> list[tuple[int, int]]:
        """Return which entries of the neighbours' states the agent's own problem depends on, at any stage k < N."""
        agent = self.agent
        x, u = ca.SX.sym("x", agent.n_states), ca.SX.sym("u", agent.n_inputs)
        others = [ca.SX.sym(f"x{j}", n) for j, n in enumerate(self.sizes)]
        p = agent.parameters.unpack(ca.SX.sym("theta", agent.parameters.size))
        felt = [ca.SX(agent.dynamics(x, u, others, p))]
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
        for place, (j, e) in enumerate(self.copied):
            states[j][e] = copies[place]
        return states

    @cached_property
    def transcription(self) -> Transcription:
        """The problem in symbols."""
        return Transcription(self.problem)

    @cached_property
    def solver(self) -> CondensedSolver:
        """Condenses and solves it; of quadratic problems only."""
        return CondensedSolver(self.transcription)

    @cached_property
    def hessian(self) -> BufferedFunction:
        """Function (theta, X, U, sigma, nu, lam_lb, lam_ub) -> d2L_i/dtheta_i2; see `flat`."""
        t, n, L = self.transcription, self.n_theta, self._lagrangian()
        by_theta = pick(ca.gradient(L, t.theta), range(n))
        return BufferedFunction("hessian", self._point(), [ca.jacobian(by_theta, t.theta)[:, :n]], matrices={0})

    @cached_property
    def share(self) -> BufferedFunction:
        """Function of the same -> augmented cost, dL_i/dcopies."""
        t = self.transcription
        copies = ca.vec(ca.gradient(self._lagrangian(), t.U)[self.agent.n_inputs :, :])
        return BufferedFunction("share", self._point(), [t.path_cost + ca.dot(t.weight, t.slack), copies])

    def flat(self, theta, x, u, flat_slack, nu, lam_lb, lam_ub):
        """Return the arguments of `hessian` and `share` as flat arrays.

        They are those of a `Solution`: theta, x, u, flat_slack, and of its multipliers nu, lam_lb, lam_ub.
        """
        return theta, x.ravel(), u.ravel(), flat_slack[self.transcription.soft], nu.ravel(), lam_lb, lam_ub

    def trajectory(self, kind: str) -> BufferedFunction:
        """Return (theta, fixed) -> T, c_0 of a `kind`, 'V' or 'Q': c_i = T z + c_0 in terms of the free inputs z.

        It is the cost's slope in the tilt.
        """
        if kind not in self._trajectories:
            qp, t = self.solver.qp(kind), self.transcription
            c = pick(ca.gradient(qp.cost, t.theta), range(self.n_theta, t.theta.numel()))
            T, c_0 = ca.jacobian(c, qp.z), ca.substitute(c, qp.z, ca.SX.zeros(qp.z.numel()))
            self._trajectories[kind] = BufferedFunction(f"trajectory_{kind}", [t.theta, qp.fixed], [T, c_0], {0})
        return self._trajectories[kind]

    def _point(self) -> list:
        t = self.transcription
        return [t.theta, t.X, t.U, t.sigma, t.nu, t.lam_lb, t.lam_ub]

    def _lagrangian(self):
        t = self.transcription
        return ca.substitute(t.lagrangian(), t.perturbation, ca.SX.zeros(t.perturbation.numel()))
