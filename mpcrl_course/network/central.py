"""V and Q of a network by one central solve, taken apart into what every agent would know had ADMM converged.

Stationarity of agent i's Lagrangian L_i (`mpcrl_course.network.solution`) in a copy, and of the sum of all in x_j, say
what y is where ADMM has arrived:

    y_ij = -d(L_i without y)/dc_ij  for a neighbour's copy,      y_jj = -sum of the others' y_ij.

One central solve therefore gives every agent's solution, multipliers and sensitivities at once, the same that ADMM
converges to wherever they are unique (`Solution.strict`).
"""

from __future__ import annotations

import time

import numpy as np

from mpcrl_course.mpc.door import MPC
from mpcrl_course.mpc.solution import Multipliers, Question, Solution
from mpcrl_course.network.door import NetworkController
from mpcrl_course.network.problem import Network
from mpcrl_course.network.solution import Duals, NetworkSolution, RelativeResidual


class Central(NetworkController):
    """V and Q by one central solve, taken apart into what every agent would know had ADMM converged.

    Parameters
    ----------
    network : Network
    rho : float
        Of the local problems that the solutions belong to; it changes neither values nor derivatives.
    solver : str, optional
        See `MPC`, which condenses up to 40 inputs. ("daqp" still takes less time than "piqp" for 10 agents, N = 10.)

    Attributes
    ----------
    mpc : MPC
        The central controller itself, behind the ordinary door.
    """

    def __init__(self, network: Network, rho: float = 1.0, solver: str | None = None):
        super().__init__(network, rho)
        self.mpc = MPC(network.problem, solver)
        t = self.mpc.transcription
        # where the rows of agent i lie among the rows of all, in the order of the local problem's
        rows = t.by_name(np.arange(t.n_rows))
        self._rows = [
            np.concatenate([np.zeros(0, int), *(rows[f"{name}_{i + 1}"].ravel() for name in agent.constraints)])
            for i, agent in enumerate(network.agents)
        ]

    def _solve(self, questions: list[Question], starts: list[Duals]) -> list[NetworkSolution]:
        return [self.take_apart(self.mpc.answer(question)) for question in questions]

    def take_apart(self, solution: Solution) -> NetworkSolution:
        """Return every agent's solution, multipliers and y from a solution of the central problem `mpc`."""
        began, network, rho, m = time.perf_counter(), self.network, self.rho, solution.multipliers
        z = np.concatenate([solution.x[:, own].ravel() for own in network.state_of])
        c = z[self.owner]
        y, values, points = np.zeros(len(c)), np.empty(network.n_agents), []
        for i, local in enumerate(self.problems):
            own, inputs, rows, c_i = network.state_of[i], network.input_of[i], self._rows[i], c[self.c_of[i]]
            # with y = 0 the tilt is -rho c: there the augmented terms have no slope, and the value -rho/2 |c|^2
            theta = np.concatenate([solution.theta[network.theta_of[i]], -rho * c_i])
            x, u = solution.x[:, own], solution.u[:, inputs]
            u = np.hstack([u, c_i[local.n_own :].reshape(network.horizon, -1)])  # and the copies
            point = x, u, solution.flat_slack[rows], m.nu[:, own], m.lam_lb[rows], m.lam_ub[rows]
            cost, slope = local.share(*local.flat(theta, *point))
            values[i] = cost.item() + 0.5 * rho * c_i @ c_i
            if solution.perturbation is not None:
                values[i] += solution.perturbation[inputs] @ solution.u0[inputs]
            y[self.c_of[i]][local.n_own :] = -slope
            points.append(point)
        others = ~self.own
        y[self.own] = -np.bincount(self.owner[others], y[others], minlength=len(z))[self.owner[self.own]]

        def make_local():
            return [self._local(i, solution, values[i], points[i], c[own], y[own]) for i, own in enumerate(self.c_of)]

        return NetworkSolution(
            question=solution.question,
            u0=solution.u0,
            values=values,
            duals=Duals(y, z),
            time=solution.time + time.perf_counter() - began,
            problems=self.problems,
            make_local=make_local,
            relative=RelativeResidual(0.0, 0.0),  # every copy is z, and y is what stationarity says
            missed=np.zeros(network.n_agents, int),
        )

    def _local(self, i: int, solution: Solution, value, point, c_i, y_i) -> Solution:
        """Return the solution of agent i's augmented problem at tilt y_i - rho c_i."""
        x, u, slack, nu, lam_lb, lam_ub = point
        inputs, rho, tilt = self.network.input_of[i], self.rho, y_i - self.rho * c_i
        box, own = np.zeros((2, *u.shape)), inputs.stop - inputs.start  # copies have no bounds
        box[0, :, :own], box[1, :, :own] = solution.lam_input_lb[:, inputs], solution.lam_input_ub[:, inputs]
        return Solution(
            question=self.local_question(i, solution.question, tilt),
            value=float(value + tilt @ c_i + 0.5 * rho * c_i @ c_i),
            x=x,
            u=u,
            flat_slack=slack,
            multipliers=Multipliers(nu, lam_lb, lam_ub, *box),
            status=solution.status,
            time=solution.time,
            transcription=self.problems[i].transcription,
        )
