"""From the declaration of an optimal-control problem to symbols: cost, rows, Lagrangian."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace

import casadi as ca
import numpy as np

from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.problem import OptimalControlProblem, Rows
from mpcrl_course.mpc.units import Units


def columns(matrix) -> list:
    """Return the columns of a CasADi matrix as a list."""
    return ca.horzsplit(matrix, 1)


def entries(column) -> list:
    """Return the entries of a CasADi column as a list."""
    return ca.vertsplit(column) if column.numel() else []


def pick(column, indices):
    """Return the entries at `indices` of a CasADi column as a column (plain indexing turns none of one into a row)."""
    indices = [int(i) for i in indices]
    return ca.reshape(column[indices], len(indices), 1)


def stack(problem: OptimalControlProblem, X, U, theta) -> SimpleNamespace:
    """Write cost and constraint rows of a whole horizon for given expressions X and U.

    Parameters
    ----------
    problem : OptimalControlProblem
    X : casadi.SX, shape (n_states, N + 1)
    U : casadi.SX, shape (n_inputs, N)
    theta : casadi.SX, shape (n_theta,)

    Returns
    -------
    SimpleNamespace
        cost (without slacks), h, lower, upper, weight: columns over all rows; `soft`: a list of bool;
        groups: name -> (stages, rows a stage).
    """
    N, p, x, u = problem.horizon, problem.parameters.unpack(theta), columns(X), columns(U)
    cost = problem.terminal_cost(x[N], p)
    for k in range(N):
        cost += problem.stage_cost(k, x[k], u[k], p)
    h, lower, upper, weight, soft, groups = [], [], [], [], [], {}
    for name, constraint in problem.constraints.items():
        stages = [(k, constraint(k, x[k], u[k] if k < N else None, p)) for k in range(N + 1)]
        stages = [(k, Rows(*rows)) for k, rows in stages if rows is not None]
        m = int(ca.SX(stages[0][1].expression).numel())
        groups[name] = ([k for k, _ in stages], m)
        for _, rows in stages:
            h.append(ca.SX(rows.expression))
            lower.append(_column(-np.inf if rows.lower is None else rows.lower, m))
            upper.append(_column(np.inf if rows.upper is None else rows.upper, m))
            weight.append(_column(0.0 if rows.weight is None else rows.weight, m))
            soft += [rows.weight is not None] * m
    h, lower, upper, weight = (ca.vertcat(*part) if part else ca.SX(0, 1) for part in (h, lower, upper, weight))
    return SimpleNamespace(
        cost=ca.SX(cost), h=h, lower=lower, upper=upper, weight=weight, soft=np.array(soft, bool), groups=groups
    )


def _column(value, m):
    value = ca.SX(value) if isinstance(value, ca.SX) else ca.SX(np.asarray(value, dtype=float))
    return ca.repmat(value, m, 1) if value.numel() == 1 else ca.reshape(value, m, 1)


def rollout(problem: OptimalControlProblem, s, U, theta):
    """Return the states (n_states, N + 1) that the inputs U lead to from s in a `problem` at theta, as expressions."""
    p, x = problem.parameters.unpack(theta), [s]
    for u in columns(U):
        x.append(ca.SX(problem.dynamics(x[-1], u, p)))
    return ca.horzcat(*x)


class Transcription:
    """Symbols and expressions of the lifted problem (multiple shooting: states and inputs are both unknowns).

    Attributes
    ----------
    theta, s, a, perturbation, X, U, sigma : casadi.SX
        Parameters, state, fixed first action, linear cost of u_0, states, inputs, slacks (one a soft row).
    path_cost, cost : casadi.SX
        Stage and terminal costs; and the whole objective, with the costs of slacks and perturbation.
    gaps : casadi.SX
        x_{k+1} - f(x_k, u_k), all stages.
    h, lower, upper, weight : casadi.SX
        Constraint rows.
    """

    def __init__(self, problem: OptimalControlProblem):
        self.problem = problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        self.theta = ca.SX.sym("theta", problem.parameters.size)
        self.s, self.a = ca.SX.sym("s", nx), ca.SX.sym("a", problem.n_actions)
        self.perturbation = ca.SX.sym("q", nu)
        self.X, self.U = ca.SX.sym("X", nx, N + 1), ca.SX.sym("U", nu, N)
        rows = stack(problem, self.X, self.U, self.theta)
        self.h, self.lower, self.upper, self.weight = rows.h, rows.lower, rows.upper, rows.weight
        self.soft, self.groups = rows.soft, rows.groups
        self.n_rows = int(self.h.numel())
        self.has_lower, self.has_upper = (
            np.array([not (e.is_constant() and np.isinf(float(e))) for e in entries(bound)], dtype=bool)
            for bound in (self.lower, self.upper)
        )
        self.sigma = ca.SX.sym("sigma", int(self.soft.sum()))
        full = ca.SX.zeros(self.n_rows, 1)
        full[np.flatnonzero(self.soft).tolist()] = self.sigma
        self.slack = full
        self.path_cost = rows.cost
        self.cost = rows.cost + ca.dot(self.weight, full) + ca.dot(self.perturbation, self.U[:, 0])
        p, x, u = problem.parameters.unpack(self.theta), columns(self.X), columns(self.U)
        self.next = [ca.SX(problem.dynamics(x[k], u[k], p)) for k in range(N)]
        self.gaps = ca.vertcat(*[x[k + 1] - self.next[k] for k in range(N)])
        # multipliers, all of inequalities written as rows <= 0
        self.nu = ca.SX.sym("nu", nx, N + 1)
        self.lam_lb, self.lam_ub = ca.SX.sym("lam_lb", self.n_rows), ca.SX.sym("lam_ub", self.n_rows)

        # rows on which the free inputs have no say, such as those of x_0 in V and of x_1 = f(s, a) in Q
        self.fixed_rows = {"V": ~self._moved_by_inputs(0), "Q": ~self._moved_by_inputs(problem.n_actions)}

    def _moved_by_inputs(self, given: int) -> np.ndarray:
        """Return which rows the inputs can move, also through the states, if the first `given` of u_0 are given."""

        def depends(expression, on):
            return np.array(ca.DM(ca.jacobian_sparsity(expression, on), 1.0), dtype=bool)

        x, u = columns(self.X), columns(self.U)
        of_x, of_u = depends(self.next[0], x[0]), depends(self.next[0], u[0])
        free = np.arange(self.U.numel()) >= given
        moved = [np.zeros(self.problem.n_states, bool)]
        for k in range(self.problem.horizon):
            free_k = free[k * self.problem.n_inputs :][: self.problem.n_inputs]
            moved.append((of_x & moved[k]).any(axis=1) | (of_u & free_k).any(axis=1))
        if not self.n_rows:
            return np.zeros(0, bool)
        by_x, by_u = depends(self.h, ca.vec(self.X)), depends(self.h, ca.vec(self.U))
        return (by_x & np.concatenate(moved)).any(axis=1) | (by_u & free).any(axis=1)

    @cached_property
    def quadratic(self) -> bool:
        """Whether cost, dynamics and rows have the structure of a QP in (X, U) for every theta."""
        y = ca.vertcat(ca.vec(self.X), ca.vec(self.U))
        curvature = ca.hessian(self.path_cost, y)[0]
        slopes = ca.jacobian(ca.vertcat(self.gaps, self.h), y)
        return not (
            ca.depends_on(ca.vertcat(ca.vec(curvature), ca.vec(slopes)), y)
            or ca.depends_on(ca.vertcat(self.lower, self.upper, self.weight), y)
        )

    @cached_property
    def units(self) -> Units:
        """Units that suit the problem."""
        return Units(self)

    @cached_property
    def step(self) -> BufferedFunction:
        """Function (theta, x, u) -> x_next: the dynamics."""
        x, u = columns(self.X)[0], columns(self.U)[0]
        return BufferedFunction("step", [self.theta, x, u], [self.next[0]])

    @cached_property
    def rows(self) -> BufferedFunction:
        """Function (theta, X, U) -> h, lower, upper, weight."""
        return BufferedFunction("rows", [self.theta, self.X, self.U], [self.h, self.lower, self.upper, self.weight])

    @cached_property
    def gradients(self) -> BufferedFunction:
        """Function (theta, X, U, sigma, nu, lam_lb, lam_ub, q) -> dL/dtheta, dL/du_0, without the input box."""
        L = self.lagrangian()
        inputs = [self.theta, self.X, self.U, self.sigma, self.nu, self.lam_lb, self.lam_ub, self.perturbation]
        return BufferedFunction("gradients", inputs, [ca.gradient(L, self.theta), ca.gradient(L, self.U)[:, 0]])

    @cached_property
    def adjoint(self):
        """CasADi function (theta, X, U, lam_lb, lam_ub) -> nu: the multipliers of the dynamics, backwards in time.

        Stationarity in x_k reads  nu_k = (df/dx_k)' nu_{k+1} - dl/dx_k - (dh/dx_k)'(lam_ub - lam_lb).
        """
        x = columns(self.X)
        own = columns(ca.gradient(self.path_cost + ca.dot(self.lam_ub - self.lam_lb, self.h), self.X))
        nu = [-own[-1]]
        for k in reversed(range(self.problem.horizon)):
            nu.insert(0, ca.jtimes(self.next[k], x[k], nu[0], True) - own[k])
        return ca.Function("adjoint", [self.theta, self.X, self.U, self.lam_lb, self.lam_ub], [ca.horzcat(*nu)])

    def lagrangian(self):
        """Return the Lagrangian without the terms of the input box and of u_0 = a, which do not depend on theta."""
        L = self.cost + ca.dot(self.nu[:, 0], self.X[:, 0] - self.s) + ca.dot(ca.vec(self.nu[:, 1:]), self.gaps)
        for i in range(self.n_rows):
            if self.has_lower[i]:
                L += self.lam_lb[i] * (self.lower[i] - self.slack[i] - self.h[i])
            if self.has_upper[i]:
                L += self.lam_ub[i] * (self.h[i] - self.upper[i] - self.slack[i])
        return L

    def by_name(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Split an array over all rows (`flat`) into named groups of shape (stages, rows)."""
        parts, start = {}, 0
        for name, (stages, m) in self.groups.items():
            parts[name] = flat[start : start + len(stages) * m].reshape(len(stages), m)
            start += len(stages) * m
        return parts

    @property
    def hard_names(self) -> list[str]:
        """Names of the constraints with hard rows, for messages."""
        return [name for name, hard in self.by_name(~self.soft).items() if hard.any()]

    def row_name(self, i: int) -> str:
        """Return 'name, row j, stage k' of the i-th row, for messages."""
        for name, (stages, m) in self.groups.items():
            if i < len(stages) * m:
                return f"constraint '{name}', row {i % m + 1}, stage {stages[i // m]}"
            i -= len(stages) * m
        raise IndexError(i)
