"""The one door to optimisation: declare a problem, ask for V, Q and the policy, differentiate the answers."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from threading import Lock
from typing import NoReturn

import casadi as ca
import numpy as np

from mpcrl_course.mpc.blame import blame, outside
from mpcrl_course.mpc.condensed import CondensedSolver
from mpcrl_course.mpc.condensed_jacobian import CONDENSED_INPUTS
from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.lifted import LiftedSolver
from mpcrl_course.mpc.problem import OptimalControlProblem
from mpcrl_course.mpc.real_time import RealTimeSolver
from mpcrl_course.mpc.scaling import ScaledSolver
from mpcrl_course.mpc.solution import Guess, Question, Solution
from mpcrl_course.mpc.split import SplitRealTimeSolver
from mpcrl_course.mpc.transcription import Transcription
from mpcrl_course.validation import FEW, floats, instance, reals

#: See `RealTimeSolver` and, of a split, `SplitRealTimeSolver`.
RTI_OPTIONS = ("residual", "line_search", "fallback", "split")
#: What back ends say of numbers that are none.
NO_NUMBER = ("not finite", "not a number", "Invalid_Number")
#: Larger states and inputs are refused: squares of squares of them are no numbers any more.
LARGE = 1e75


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
        Of real-time iteration only: see `RealTimeSolver` and, of `split`, `SplitRealTimeSolver`.

    Attributes
    ----------
    problem, parameters, discount : OptimalControlProblem, Parameters, float
        As declared.
    transcription : Transcription
        The problem in symbols.
    solver : str
        Which one was chosen.
    back_end : CondensedSolver, LiftedSolver, RealTimeSolver or ScaledSolver
        What answers.

    Examples
    --------
    >>> mpc = MPC(problem)                                  # doctest: +SKIP
    >>> theta = mpc.parameters.initial()                    # doctest: +SKIP
    >>> v, q = mpc.V(theta, s), mpc.Q(theta, s, a)          # doctest: +SKIP
    >>> q.value - v.value, q.gradient()                     # doctest: +SKIP
    """

    def __init__(self, problem: OptimalControlProblem, solver: str | None = None, **options):
        instance(problem, OptimalControlProblem, "problem")
        if solver is not None:
            instance(solver, str, "solver")
        self.problem, self.parameters, self.discount = problem, problem.parameters, problem.discount
        self.transcription = Transcription(problem)
        quadratic = solver not in ("ipopt", "rti") and self.transcription.quadratic
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
        if unknown := set(options) - set(RTI_OPTIONS):
            raise ValueError(f"'rti' has no option {', '.join(sorted(unknown))}; it has {', '.join(RTI_OPTIONS)}")
        self.solver = solver
        N = problem.horizon
        self._guess_shapes = (N + 1, problem.n_states), (N, problem.n_inputs), (self.transcription.n_rows,)
        self._lock = Lock()  # a notebook's widgets may ask from another thread than its cells
        self.back_end: CondensedSolver | RealTimeSolver | LiftedSolver | ScaledSolver
        if solver == "daqp":
            self.back_end = CondensedSolver(self.transcription)
        elif solver == "piqp":
            self.back_end = LiftedSolver(self.transcription, solver)
        else:
            self.back_end = self._in_units(solver, **options)

    def _in_units(self, solver: str, **options) -> LiftedSolver | RealTimeSolver | ScaledSolver:
        """Return a back end for a problem that need not be quadratic: in units that suit the problem."""
        t, units = self.transcription, self.transcription.units
        if not units.plain:
            t = Transcription(units.scaled())
            if options.get("residual") is not None:
                options["residual"] = units.own(options["residual"])
            if "split" in options:
                raise ValueError(
                    "a split needs states and inputs whose cost has a curvature near one: choose other units"
                )
        kind = SplitRealTimeSolver if "split" in options else RealTimeSolver
        back_end = LiftedSolver(t, "ipopt") if solver == "ipopt" else kind(t, **options)
        return back_end if units.plain else ScaledSolver(self.transcription, units, back_end)

    def V(self, theta, s, *, perturbation=None, warm_start: Solution | tuple | None = None) -> Solution:
        """Solve the problem from state s: the optimal value V_theta(s), the policy u_0 and the plan.

        Parameters
        ----------
        theta : array_like, shape (n_theta,)
        s : array_like, shape (n_states,)
        perturbation : array_like, shape (n_inputs,), optional
            Linear cost q'u_0 added to the objective (exploration).
        warm_start : Solution or (x, u), optional
            Where an iterative solver starts: a solution (`shift` that of the step before first), or states
            (N + 1, n_states) and inputs (N, n_inputs).

        Raises
        ------
        ValueError
            A wrong shape (both are named) or an entry that is not finite.
        SolverError
            Infeasible, unbounded or not converged; says where.
        """
        return self.answer(self._question(theta, s, None, perturbation), warm_start)

    def policy(self, theta, s, *, perturbation=None, warm_start: Solution | tuple | None = None) -> Solution:
        """Solve for the action: the same problem as V, asked for ``solution.u0`` = pi_theta(s).

        theta, s, perturbation and warm_start are those of V.
        """
        return self.V(theta, s, perturbation=perturbation, warm_start=warm_start)

    def Q(self, theta, s, a, *, warm_start: Solution | tuple | None = None) -> Solution:
        """Solve the problem with the first input fixed to a (and without its box): the action value Q_theta(s, a)."""
        return self.answer(self._question(theta, s, a), warm_start)

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
        asked = states if actions is None else np.hstack([states, actions])
        for row in np.flatnonzero(~(np.abs(asked).max(axis=1) < LARGE))[:1]:
            reckonable(Question(theta, states[row], None if actions is None else actions[row]))
        with self._lock:
            try:
                return self.back_end.solve_batch(theta, states, actions)
            except SolverError as error:
                self._explain(Question(error.theta, error.state, error.action), error)

    def _explain(self, question: Question, error: SolverError) -> NoReturn:
        """Raise the error again, with what of the reader's problem or question is behind it, if that can be told."""
        asked, reason = (self.problem, question.theta, question.state), error.reason
        if error.status == "infeasible" and "upper bound" not in reason and (seen := outside(*asked)):
            name = seen.split("'")[1]  # of the constraint: it is behind a failure only if that names it, too
            reason = f"{seen}; {reason}" if name in reason else reason
        elif any(word in reason for word in NO_NUMBER) and (seen := blame(*asked, question.action)):
            reason = f"{seen}; {reason}"
        question.fail(error.status, reason)

    @cached_property
    def reference(self) -> MPC:
        """The same problem, solved to the end by ipopt."""
        if self.solver == "ipopt":
            return self
        other, own = copy(self), self.back_end
        other.solver = "ipopt"
        other.back_end = own.ipopt if isinstance(own, RealTimeSolver) else self._in_units("ipopt")
        return other

    @cached_property
    def lagrangian_is_affine(self) -> bool:
        """Whether the Lagrangian is affine in theta, so that its own Hessian, the approximate one, is zero."""
        t = self.transcription
        return ca.hessian(t.lagrangian(), t.theta)[0].nnz() == 0

    def _question(self, theta, s, a=None, perturbation=None) -> Question:
        problem, theta = self.problem, self.parameters.check(theta).copy()
        return reckonable(
            Question(
                theta,
                vector(s, problem.n_states, "state"),
                None if a is None else vector(a, problem.n_actions, "action"),
                None if perturbation is None else vector(perturbation, problem.n_inputs, "perturbation"),
            )
        )

    def answer(self, question: Question, warm_start: Solution | tuple | None = None) -> Solution:
        """Answer a question that has been checked; raises as `V` does."""
        guess = None if warm_start is None else self._guess(warm_start)
        with self._lock:
            try:
                return self.back_end.solve(question, guess)
            except SolverError as error:
                self._explain(question, error)

    def _guess(self, start) -> Solution | Guess:
        """Return a solution as it is and a pair (x, u) as a guess, or raise ValueError if they do not fit."""
        if not isinstance(start, Solution):
            if not isinstance(start, (tuple, list)) or len(start) != 2:
                raise ValueError(f"warm_start is a Solution or a pair (x, u), not {type(start).__name__}")
            kind = floats if self.solver == "rti" else reals  # real-time iteration has its own way out of such a guess
            x, u = (kind(part, f"the {name} of warm_start") for part, name in zip(start, "xu"))
            start = Guess(x, u, np.zeros(self.transcription.n_rows))
        has, wants = (start.x.shape, start.u.shape, start.flat_slack.shape), self._guess_shapes
        if has != wants:
            parts = zip(("x", "u", "slacks"), has, wants)
            raise ValueError(
                "warm_start does not fit this problem: "
                + ", ".join(f"{name} of shape {own}, not {wanted}" for name, own, wanted in parts if own != wanted)
            )
        return start

    def _matrix(self, value, n, name):
        value = floats(value, name)
        if value.ndim != 2 or value.shape[1] != n:
            raise ValueError(f"{name} has shape {value.shape}, but a batch of this problem has shape (M, {n})")
        if not np.isfinite(value).all():
            row = int(np.flatnonzero(~np.isfinite(value).all(axis=1))[0])
            raise ValueError(f"{name} is not finite in row {row}: {value[row]}")
        return value


def vector(value, n: int, name: str, whose: str = "problem") -> np.ndarray:
    """Return a new array of shape (n,), or raise ValueError: another shape, or an entry that is not finite.

    Parameters
    ----------
    value : array_like, shape (n,)
        A number if n is 1.
    n : int
    name, whose : str
        For the message: the state, of this problem.
    """
    value = reals(value, name)  # a copy: a solution outlives what the caller does to these arrays
    if value.shape != (n,):
        if value.shape == () and n == 1:
            value = value.reshape(1)
        else:
            raise ValueError(f"{name} has shape {value.shape}, but this {whose}'s has shape ({n},)")
    return value


def reckonable(question: Question) -> Question:
    """Return a question; raise its SolverError if a state, action or perturbation is too large to reckon with."""
    for name, value in (
        ("state", question.state),
        ("action", question.action),
        ("perturbation", question.perturbation),
    ):
        if value is None:
            continue
        least, most = (value.min(), value.max()) if value.size > FEW else (min(flat := value.tolist()), max(flat))
        if not -LARGE < least <= most < LARGE:
            size = max(-least, most)
            question.fail("not converged", f"the {name} is too large ({size:.3g}): its cost would be no number")
    return question
