"""Units that suit a problem: every state, input and row in that in which the cost's curvature, or its slope, is one.

An input in newtons where millinewtons would do has a curvature of the cost that is 10^6 times too small, and whatever
compares with a number of its own, such as a tolerance, sees another problem. So every state and input gets the unit
d = |d2l/dy2|^-1/2, and every row that in which its slope is about one. Units are powers of 1000: a problem whose units
suit it, 0.1 <= d < 100 (weights of inputs are often small), is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import casadi as ca
import numpy as np

from mpcrl_course.mpc.problem import OptimalControlProblem, Rows

if TYPE_CHECKING:
    from mpcrl_course.mpc.transcription import Transcription


class Units:
    """What the states x, the inputs u and the rows of a problem are measured in, best for its initial parameters.

    Parameters
    ----------
    t : Transcription

    Attributes
    ----------
    x, u, rows : ndarray, shapes (n_states,), (n_inputs,) and (rows,)
        A number in the problem's own units is this times the number in the new ones.
    plain : bool
        Whether all of them are 1.
    """

    def __init__(self, t: Transcription):
        problem = self.problem = t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        y = ca.vertcat(ca.vec(t.X), ca.vec(t.U))
        at = ca.Function("at", [t.theta, y], [ca.hessian(t.path_cost, y)[0], ca.jacobian(t.h, y)])
        H, h_y = at(problem.parameters.initial(), 0.0)
        curvature = np.abs(np.array(ca.diag(H), dtype=float).ravel())
        of_x, of_u = np.split(curvature, [nx * (N + 1)])
        self.x, self.u = _unit(of_x.reshape(N + 1, nx).max(axis=0)), _unit(of_u.reshape(N, nu).max(axis=0))
        sizes = np.concatenate([np.tile(self.x, N + 1), np.tile(self.u, N)])
        slopes = np.abs(np.array(h_y, dtype=float).reshape(t.n_rows, len(sizes)) * sizes).max(axis=1, initial=0.0)
        self.rows = 1.0 / _unit(slopes**2)
        self._of_stage = {
            (name, k): unit
            for (name, (stages, _)), units in zip(t.groups.items(), t.by_name(self.rows).values())
            for k, unit in zip(stages, units)
        }
        self.plain = bool((self.x == 1.0).all() and (self.u == 1.0).all() and (self.rows == 1.0).all())

    def scaled(self) -> OptimalControlProblem:
        """Return the problem in these units."""
        problem = self.problem

        def rows_of(name: str, constraint: Callable) -> Callable:
            def rows(k, x, u, p):
                found = self.own(constraint)(k, x, u, p)
                if found is None:
                    return None
                expression, lower, upper, weight = Rows(*found)
                unit = ca.DM(self._of_stage[name, k])
                sides = (None if bound is None else _column(bound, unit) / unit for bound in (lower, upper))
                return Rows(expression / unit, *sides, None if weight is None else _column(weight, unit) * unit)

            return rows

        return replace(
            problem,
            dynamics=lambda x, u, p: problem.dynamics(x * self.x, u * self.u, p) / self.x,
            stage_cost=self.own(problem.stage_cost),
            terminal_cost=lambda x, p: problem.terminal_cost(x * self.x, p),
            input_lower=problem.input_lower / self.u,
            input_upper=problem.input_upper / self.u,
            constraints={name: rows_of(name, constraint) for name, constraint in problem.constraints.items()},
        )

    def own(self, function: Callable) -> Callable:
        """Return a function (k, x, u, p) of the problem's own units as one of these."""
        return lambda k, x, u, p: function(k, x * self.x, None if u is None else u * self.u, p)


def _unit(curvature) -> np.ndarray:
    """Return curvature^-1/2 as a power of 1000, 1 if the curvature lies between 1e-4 and 100 or is none."""
    there = np.isfinite(curvature) & (curvature > 0.0)
    digits = -0.5 * np.log10(np.where(there, curvature, 1.0))
    return 1000.0 ** np.floor((digits + 1.0) / 3.0)


def _column(value, like):
    """Return a bound or weight as a column, one entry for each row."""
    value = ca.SX(value) if isinstance(value, ca.SX) else ca.DM(np.asarray(value, dtype=float))
    return ca.repmat(value, like.numel(), 1) if value.numel() == 1 else value
