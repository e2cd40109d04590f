"""The one door to optimisation: declare a problem, ask for V, Q and the policy, differentiate the answers."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from threading import Lock

import casadi as ca
import numpy as np

from mpcrl_course.mpc import sensitivities
from mpcrl_course.mpc.lifted import LiftedSolver
from mpcrl_course.mpc.problem import OptimalControlProblem
from mpcrl_course.mpc.quadratic import QuadraticSolver, is_quadratic
from mpcrl_course.mpc.real_time import RealTimeSolver
from mpcrl_course.mpc.solution import Solution
from mpcrl_course.mpc.transcription import Transcription

#: With more free inputs than this the quadratic back end does not condense: it solves the sparse problem.
CONDENSED_INPUTS = 40


class MPC:
    """A parametric model predictive controller: V_theta, Q_theta and pi_theta from one optimal-control problem.

    Parameters
    ----------
    problem : OptimalControlProblem
    solver : {'daqp', 'piqp', 'ipopt', 'rti'}, optional
        By default the problem's structure decides: a quadratic problem with a short horizon is condensed and solved
        by the active-set method daqp, one with a long horizon by the sparse interior-point method piqp, and any
        other one by ipopt. 'rti' is real-time iteration: V and policy improve their `warm_start` by one step.
    **options
        Of real-time iteration only: see `RealTimeSolver`.

    Examples
    --------
    >>> mpc = MPC(problem)                                  # doctest: +SKIP
    >>> theta = mpc.parameters.initial()                    # doctest: +SKIP
    >>> mpc.Q(theta, s, a).value - mpc.V(theta, s).value    # doctest: +SKIP
    """

    def __init__(self, problem: OptimalControlProblem, solver: str | None = None, **options):
        self.problem, self.parameters, self.discount = problem, problem.parameters, problem.discount
        self.transcription = Transcription(problem)
        quadratic = solver not in ("ipopt", "rti") and is_quadratic(self.transcription)
        if solver is None:
            short = problem.horizon * problem.n_inputs <= CONDENSED_INPUTS
            solver = ("daqp" if short else "piqp") if quadratic else "ipopt"
        if solver not in ("daqp", "piqp", "ipopt", "rti"):
            raise ValueError(
                f"no solver is called '{solver}'; there are: daqp, piqp (quadratic problems), ipopt and rti"
            )
        if solver in ("daqp", "piqp") and not quadratic:
            raise ValueError(f"'{solver}' solves quadratic problems only, and this one is not: use ipopt")
        if options and solver != "rti":
            raise ValueError(f"'{solver}' has no options, but was given {', '.join(options)}")
        self.solver = solver
        self._lock = Lock()  # a notebook's widgets may ask from another thread than its cells
        self._solve: QuadraticSolver | RealTimeSolver | LiftedSolver
        if solver == "daqp":
            self._solve = QuadraticSolver(self.transcription)
        elif solver == "rti":
            self._solve = RealTimeSolver(self.transcription, **options)
        else:
            self._solve = LiftedSolver(self.transcription, solver)

    def V(self, theta, s, *, perturbation=None, warm_start: Solution | None = None) -> Solution:
        """Solve the problem from state s: the optimal value V_theta(s), the policy u_0 and the plan.

        Parameters
        ----------
        theta : array_like, shape (n_theta,)
        s : array_like, shape (n_states,)
        perturbation : array_like, shape (n_inputs,), optional
            Linear cost q'u_0 added to the objective (exploration).
        warm_start : Solution, optional
            Where an iterative solver starts; `shift` the solution of the step before first.

        Raises
        ------
        ValueError
            A wrong shape (both are named) or an entry that is not finite.
        SolverError
            Infeasible, unbounded or not converged; says where.
        """
        theta, s = self.parameters.check(theta).copy(), self._vector(s, self.problem.n_states, "state")
        if perturbation is not None:
            perturbation = self._vector(perturbation, self.problem.n_inputs, "perturbation")
        with self._lock:
            return self._solve.solve(theta, s, perturbation=perturbation, warm_start=warm_start)

    def policy(self, theta, s, *, perturbation=None, warm_start: Solution | None = None) -> Solution:
        """Solve for the action: the same problem as V, asked for ``solution.u0`` = pi_theta(s)."""
        return self.V(theta, s, perturbation=perturbation, warm_start=warm_start)

    def Q(self, theta, s, a, *, warm_start: Solution | None = None) -> Solution:
        """Solve the problem with the first input fixed to a (and without its box): the action value Q_theta(s, a)."""
        theta, s = self.parameters.check(theta).copy(), self._vector(s, self.problem.n_states, "state")
        a = self._vector(a, self.problem.n_actions, "action")
        with self._lock:
            return self._solve.solve(theta, s, a, warm_start=warm_start)

    def values(self, theta, states, actions=None) -> tuple[np.ndarray, np.ndarray]:
        """Solve V (or Q, with actions) for many states at once.

        Parameters
        ----------
        states : array_like, shape (M, n_states)
        actions : array_like, shape (M, n_actions), optional

        Returns
        -------
        values : ndarray, shape (M,)
        first_inputs : ndarray, shape (M, n_actions)

        Raises
        ------
        SolverError
            At the first state that cannot be solved.
        """
        theta = self.parameters.check(theta)
        states = self._matrix(states, self.problem.n_states, "states")
        if actions is not None:
            actions = self._matrix(actions, self.problem.n_actions, "actions")
            if len(actions) != len(states):
                raise ValueError(f"{len(states)} states but {len(actions)} actions were given")
        with self._lock:
            return self._solve.solve_batch(theta, states, actions)

    @cached_property
    def reference(self) -> MPC:
        """The same problem, solved to the end by ipopt."""
        if self.solver == "ipopt":
            return self
        other = copy(self)
        rti = self._solve if isinstance(self._solve, RealTimeSolver) else None
        other.solver, other._solve = "ipopt", rti.ipopt if rti else LiftedSolver(self.transcription, "ipopt")
        return other

    @cached_property
    def lagrangian_is_affine(self) -> bool:
        """Whether the Lagrangian is affine in theta, so that its own Hessian, the approximate one, is zero."""
        t = self.transcription
        return ca.hessian(t.lagrangian(), t.theta)[0].nnz() == 0

    gradient = staticmethod(sensitivities.gradient)
    gradient_state = staticmethod(sensitivities.gradient_state)
    gradient_action = staticmethod(sensitivities.gradient_action)
    hessian = staticmethod(sensitivities.hessian)
    sensitivity = staticmethod(sensitivities.sensitivity)
    policy_jacobian = staticmethod(sensitivities.policy_jacobian)
    kkt_residual = staticmethod(sensitivities.kkt_residual)

    def _vector(self, value, n, name):
        value = np.array(value, dtype=float)  # a copy: a solution outlives what the caller does to these arrays
        if value.shape != (n,):
            if value.shape == () and n == 1:
                value = value.reshape(1)
            else:
                raise ValueError(f"{name} has shape {value.shape}, but this problem's has shape ({n},)")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite: {value}")
        return value

    def _matrix(self, value, n, name):
        value = np.asarray(value, dtype=float)
        if value.ndim != 2 or value.shape[1] != n:
            raise ValueError(f"{name} has shape {value.shape}, but a batch of this problem has shape (M, {n})")
        if not np.isfinite(value).all():
            row = int(np.flatnonzero(~np.isfinite(value).all(axis=1))[0])
            raise ValueError(f"{name} is not finite in row {row}: {value[row]}")
        return value
