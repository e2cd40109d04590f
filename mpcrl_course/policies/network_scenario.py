"""Scenario MPC of a network: one central plan for n futures that share their inputs, all of them or the first only.

    min  mean over the scenarios i of (cost of i)    s.t.  x_{i,k+1} = enter(f(x_ik, u_ik; theta_i), d_i, theta_i),

with every scenario's own rows, f the dynamics of all agents together (`mpcrl_course.network.Network.problem`), and
d_i what scenario i takes the disturbance to be, the same over its whole horizon (as published; more cautious than a new
one in each stage, whose extremes average out). As in `mpcrl_course.policies.scenario`, whose `Scenarios` does the
stacking, ``shared="first"`` binds u_i0 only (from then on every future may react to itself) and ``shared="all"`` the
whole plan (the published way: more cautious, and with as few inputs as one future has).

Disturbances are data and no part of the problem: they can be drawn anew for every solve.

Sources: Calafiore & Campi, IEEE TAC 51(5), 2006; Mallick, Airaldi, Dabiri & De Schutter, Automatica 167:111803, 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import casadi as ca
import numpy as np

from mpcrl_course.mpc import MPC, Parameters, Solution, SolverError
from mpcrl_course.mpc.door import vector
from mpcrl_course.network import Network
from mpcrl_course.policies.scenario import Scenarios
from mpcrl_course.validation import floats, function, instance, reals

#: First inputs that should be the same may differ by this much, relative to 1 or to their size.
AGREEMENT = 1e-5


def additive(matrix) -> Callable:
    """Return the function `enter` of a disturbance that is added: x_next + matrix @ d.

    Parameters
    ----------
    matrix : array_like, shape (n_states, n_disturbances)
    """
    matrix = ca.DM(reals(matrix, "matrix", (None, None)))
    return lambda x_next, d, p: x_next + matrix @ d


class NetworkScenarios:
    """A central controller of a network that plans for several disturbances at once.

    Parameters
    ----------
    network : Network
    enter : callable (x_next, d, p) -> x_next
        How a disturbance d (n_disturbances,) enters the next state (n_states,) of the whole network; p holds the
        network's parameters. CasADi symbols; for a sum see `additive`.
    disturbances : array_like, shape (n, n_disturbances)
        One for each of n scenarios.
    varied : mapping of name to array_like, shape (n, …), optional
        Values of a block of the network's parameters (``A_1``, …), one for each scenario: models that differ. By
        default all scenarios have the parameters that are asked about.
    shared : {'first', 'all'}
    solver : str, optional
        See `MPC`.

    Attributes
    ----------
    n : int
        Number of scenarios.
    mpc : MPC
        Of the stacked problem.

    Examples
    --------
    >>> plan = NetworkScenarios(network, additive(E), rng.uniform(-0.1, 0.0, (25, 3)))    # doctest: +SKIP
    >>> u0 = plan.policy(theta, s)                                                        # doctest: +SKIP
    """

    def __init__(
        self,
        network: Network,
        enter: Callable,
        disturbances,
        varied: Mapping | None = None,
        shared: str = "first",
        solver: str | None = None,
    ):
        self.network, self.disturbances = instance(network, Network, "network"), floats(disturbances, "disturbances")
        function(enter, "enter")
        if self.disturbances.ndim != 2 or not self.disturbances.size:
            raise ValueError(f"disturbances have shape {self.disturbances.shape}; give (n, n_disturbances)")
        self._checked(self.disturbances)
        self.n, self._varied = (
            len(self.disturbances),
            {} if varied is None else dict(instance(varied, Mapping, "varied")),
        )
        problem = network.problem
        blocks = vars(problem.parameters.unpack(problem.parameters.initial()))
        if "disturbance" in blocks:
            raise ValueError("no parameter of a network with scenarios may be called 'disturbance'")
        base = replace(
            problem,
            parameters=Parameters(**blocks, disturbance=np.zeros(self.disturbances.shape[1])),
            dynamics=lambda x, u, p: enter(problem.dynamics(x, u, p), p.disturbance, p),
        )
        self.scenarios = Scenarios(base, self._varied | {"disturbance": self.disturbances}, shared=shared)
        self.mpc = MPC(self.scenarios.problem, solver)

    def V(self, theta, s, disturbances=None, *, warm_start: Solution | None = None) -> Solution:
        """Solve the stacked problem; its value is the mean cost of the scenarios, its inputs those of all of them.

        Parameters
        ----------
        theta : array_like, shape (n_theta,)
            Of the network; the blocks in `varied` are not looked at.
        s : array_like, shape (n_states,)
        disturbances : array_like, optional
            In the place of those given at first, of the same shape.
        warm_start : Solution, optional
            See `MPC.V`.

        Raises
        ------
        ValueError
            A wrong shape or an entry that is not finite.
        SolverError
            Also if the first inputs of the scenarios are not the same: their exact penalty is too small for the
            problem's cost.
        """
        d = self.disturbances if disturbances is None else self._checked(floats(disturbances, "disturbances"))
        s = vector(s, self.network.n_states, "state", "network")
        own = vars(self.network.parameters.unpack(theta))
        blocks = {name: value for name, value in own.items() if name not in self._varied}
        blocks |= {f"disturbance_{i + 1}": value for i, value in enumerate(d)}
        stacked = self.scenarios.stack(s)
        solution = self.mpc.V(self.mpc.parameters.pack(**blocks), stacked, warm_start=warm_start)
        first = solution.u0.reshape(-1, self.network.n_inputs)
        apart = float(np.ptp(first, axis=0).max())
        if apart > AGREEMENT * (1.0 + np.abs(first).max()):
            reason = f"the first inputs of the scenarios differ by {apart:.2g}"
            raise SolverError("not converged", reason, s, None, self.network.parameters.check(theta))
        return solution

    def policy(self, theta, s, disturbances=None) -> np.ndarray:
        """Return the input to apply, shape (n_inputs,): the first one, the same in every scenario."""
        return self.scenarios.first_input(self.V(theta, s, disturbances))

    def _checked(self, disturbances):
        if disturbances.shape != self.disturbances.shape or not np.isfinite(disturbances).all():
            raise ValueError(
                f"disturbances must be finite, of shape {self.disturbances.shape}, not of shape {disturbances.shape}"
            )
        return disturbances
