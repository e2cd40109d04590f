"""Scenario MPC: plan for several models at once.

Scenario MPC plans one future for each of n models (or constant disturbances), and only the first input is the same in
all of them: from the next step on, each future may react to what will have been seen by then,

    min  sum_i probability_i * (cost of scenario i)    s.t.  every scenario's own dynamics and constraints,  u_0 shared.

States and inputs of all scenarios are stacked into one optimal-control problem.

Sources: Scokaert & Mayne, IEEE TAC 43(8), 1998 (scenarios); Calafiore & Campi, IEEE TAC 51(5), 2006 (how many).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace

import casadi as ca
import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs import linear as plant
from mpcrl_course.envs.pendulum import NOMINAL
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows
from mpcrl_course.mpc.door import vector
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.problems import linear, pendulum
from mpcrl_course.validation import choice, floats, function, instance, reals

#: Cost of a unit of difference between the first inputs of two scenarios: an exact penalty, so that there is none.
SHARING_WEIGHT = 1e4


class Scenarios:
    """One optimal-control problem made of n copies of another one that differ in some of their parameters.

    Parameters
    ----------
    base : OptimalControlProblem
    varied : mapping of name to array_like, shape (n, …)
        Values of a parameter block, one for each scenario.
    probabilities : array_like, shape (n,), optional
        By default all 1 / n.
    shared : {'first', 'all'}
        Which inputs are the same in all scenarios: the first one only, or the whole plan (more cautious).
    residual : callable, optional
        Residuals of the base problem, for real-time iteration.

    Attributes
    ----------
    problem : OptimalControlProblem
        With n * n_states states. Its parameters are those of the base, each varied block ``name`` as ``name_1``,
        ``name_2``, …, and the block ``probability``.

    Examples
    --------
    >>> carts = Scenarios(problem(), {"cart_mass": [0.8, 1.0, 1.2]}, residual=residual)    # doctest: +SKIP
    >>> mpc = MPC(carts.problem, "rti", residual=carts.residual)                           # doctest: +SKIP
    >>> u0 = carts.first_input(mpc.policy(theta, carts.stack(s)))                          # doctest: +SKIP
    """

    def __init__(
        self,
        base: OptimalControlProblem,
        varied: Mapping,
        probabilities=None,
        shared: str = "first",
        residual: Callable | None = None,
    ):
        choice(shared, ("first", "all"), "shared"), instance(base, OptimalControlProblem, "base")
        varied = {
            name: reals(values, f"varied '{name}'") for name, values in instance(varied, Mapping, "varied").items()
        }
        function(residual, "residual", optional=True)
        counts = {name: len(np.atleast_1d(values)) for name, values in varied.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ValueError(f"every varied parameter needs one value a scenario, but their numbers are {counts}")
        for name in varied:
            base.parameters.index(name)  # raises KeyError that lists the names there are
        self.base, self.n, self.varied = base, next(iter(counts.values())), dict(varied)
        self.own_inputs, self._residual = shared == "first", residual
        share = np.full(self.n, 1.0 / self.n) if probabilities is None else floats(probabilities, "probabilities")
        if share.shape != (self.n,) or not (share > 0.0).all() or not np.isclose(share.sum(), 1.0):
            raise ValueError(f"{self.n} positive probabilities that add up to 1 are needed, not {share}")
        blocks: dict = {}
        for name, value in vars(base.parameters.unpack(base.parameters.initial())).items():
            if name in varied:
                blocks |= {f"{name}_{i + 1}": v for i, v in enumerate(np.atleast_1d(varied[name]))}
            else:
                blocks[name] = value
        copies = self.n if self.own_inputs else 1
        constraints = {name: self._constraint(rows) for name, rows in base.constraints.items()}
        if self.own_inputs and self.n > 1:
            constraints["same first input"] = self._same_first_input
        self.problem = OptimalControlProblem(
            n_states=self.n * base.n_states, n_inputs=copies * base.n_inputs, horizon=base.horizon,
            parameters=Parameters(**blocks, probability=share), dynamics=self._dynamics,
            stage_cost=lambda k, x, u, p: sum(
                p.probability[i] * base.stage_cost(k, x_i, u_i, p_i) for i, x_i, u_i, p_i in self._each(x, u, p)
            ),
            terminal_cost=lambda x, p: sum(
                p.probability[i] * base.terminal_cost(x_i, p_i) for i, x_i, _, p_i in self._each(x, None, p)
            ),
            input_lower=np.tile(base.input_lower, copies), input_upper=np.tile(base.input_upper, copies),
            constraints=constraints, discount=base.discount, input_scale=self._scale,
            angles=[i * base.n_states + angle for i in range(self.n) for angle in base.angles],
        )  # fmt: skip

    def _scale(self, p):
        if self.base.input_scale is None:
            return np.ones(self.base.n_inputs)
        scales = [self.base.input_scale(own) for *_, own in self._each(np.zeros(self.n * self.base.n_states), None, p)]
        if np.ptp(scales, axis=0).any():
            raise ValueError(f"the first input is the same in all scenarios, but its scales are {scales}")
        return scales[0]

    def stack(self, s) -> np.ndarray:
        """Return the state of the stacked problem: s in every scenario."""
        return np.tile(vector(s, self.base.n_states, "state"), self.n)

    def first_input(self, solution) -> np.ndarray:
        """Return the input to apply, shape (n_inputs,), from a solution of `problem`."""
        return solution.u0[: self.base.n_inputs]

    def residual(self, k, x, u, p):
        """Return the residuals of all scenarios, for real-time iteration; ValueError if the base's were not given.

        The stage k, the stacked states x and inputs u (None: of the terminal cost) and the parameters p are
        `problem`'s.
        """
        if self._residual is None:
            raise ValueError("give the residual of the base problem to Scenarios")
        parts = self._each(x, u, p)
        return ca.vertcat(*[ca.sqrt(p.probability[i]) * self._residual(k, x_i, u_i, p_i) for i, x_i, u_i, p_i in parts])

    def _each(self, x, u, p):
        """Return a list of scenario number, its state, its input and its parameters."""
        nx, nu, parts = self.base.n_states, self.base.n_inputs, []
        for i in range(self.n):
            own = {name: getattr(p, f"{name}_{i + 1}") for name in self.varied}
            first = i * nu if self.own_inputs else 0
            u_i = None if u is None else u[first : first + nu]
            parts.append((i, x[i * nx : (i + 1) * nx], u_i, SimpleNamespace(**(vars(p) | own))))
        return parts

    def _dynamics(self, x, u, p):
        return ca.vertcat(*[self.base.dynamics(x_i, u_i, p_i) for _, x_i, u_i, p_i in self._each(x, u, p)])

    def _constraint(self, rows):
        """Return the rows of all scenarios under each other; their slacks cost by the scenario's probability."""

        def stacked(k, x, u, p):
            found = [rows(k, x_i, u_i, p_i) for _, x_i, u_i, p_i in self._each(x, u, p)]
            if found[0] is None:
                return None
            found = [Rows(*r) for r in found]
            sizes = [ca.SX(r.expression).numel() for r in found]

            def under_each_other(values):
                if values[0] is None:
                    return None
                columns = [ca.vec(v) if isinstance(v, ca.SX) else ca.SX(np.ravel(v)) for v in values]
                return ca.vertcat(*[ca.repmat(c, m if c.numel() == 1 else 1, 1) for c, m in zip(columns, sizes)])

            weights = [None if r.weight is None else p.probability[i] * r.weight for i, r in enumerate(found)]
            return Rows(
                ca.vertcat(*[r.expression for r in found]),
                under_each_other([r.lower for r in found]),
                under_each_other([r.upper for r in found]),
                under_each_other(weights),
            )

        return stacked

    def _same_first_input(self, k, x, u, p):
        if k == 0:
            nu = self.base.n_inputs
            return Rows(u[nu:] - ca.repmat(u[:nu], self.n - 1, 1), 0.0, 0.0, weight=SHARING_WEIGHT)


def mass_scenarios(masses=(0.7, 1.0, 1.3), horizon: int = 80) -> Receding:
    """Return scenario MPC of the pendulum for several masses, as a controller.

    It plans as if the mass became known after the next step. It never does, and one step of waiting costs next to
    nothing: so where the heavy pendulum needs another swing and the light one does not, the plan may be to hold and
    wait for the news, again and again. Solved to the end in every step, at many times the time, it waits more seldom.

    Parameters
    ----------
    masses : sequence of float
        One scenario each, kg; each with the terminal cost that belongs to it.
    horizon : int
    """
    masses = reals(masses, "masses", (None,)).tolist()
    if not masses:
        raise ValueError("masses has no entry, but there must be a scenario")
    base, models = pendulum.pendulum_mpc(horizon=horizon), [replace(NOMINAL, mass=mass) for mass in masses]
    varied = {"mass": masses, "terminal": [pendulum.terminal_factor(model) for model in models]}
    scenarios = Scenarios(base.problem, varied, residual=pendulum.residual)

    def first(mpc, theta, s):
        """Return the optimum that ipopt finds from the best plan of each mass alone, side by side."""
        alone = [pendulum.with_model(base, base.parameters.initial(), model) for model in models]
        plans = [first_plan(base, own, s[:2]) for own in alone]
        x, u = np.hstack([plan.x for plan in plans]), np.hstack([plan.u for plan in plans])
        return mpc.reference.policy(theta, s, warm_start=(x, u))

    mpc = MPC(scenarios.problem, "rti", residual=scenarios.residual)
    return Receding(mpc, stack=scenarios.stack, first=first)


def push_scenarios(pushes=(-0.1, 0.0), mpc: MPC | None = None) -> Callable:
    """Return scenario MPC of the linear plant, which plans for several constant disturbances b_1, as a controller.

    The model is the true one. Each scenario is the problem of `linear_mpc` with one b_1 for all stages, all equally
    likely; the first input is the same in all.

    Parameters
    ----------
    pushes : sequence of float
        b_1 of each.
    mpc : MPC, optional
        By default `linear_mpc`.
    """
    pushes = reals(pushes, "pushes", (None,))
    if not len(pushes):
        raise ValueError("pushes has no entry, but there must be a scenario")
    base = linear.linear_mpc() if mpc is None else instance(mpc, MPC, "mpc")
    scenarios = Scenarios(base.problem, {"b": np.column_stack([pushes, np.zeros(len(pushes))])})
    stacked = MPC(scenarios.problem)
    theta = stacked.parameters.pack(A=plant.A, B=plant.B)
    n = base.problem.n_states

    def controller(y):
        return stacked.values(theta, np.tile(measured(y, n), (1, len(pushes))))[1][:, : base.problem.n_inputs]

    return controller
