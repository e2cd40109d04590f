"""The back ends whose steps depend on units, asked in units that suit the problem (`mpcrl_course.mpc.units`).

A barrier, a merit function or an absolute tolerance leads another way in other units, to other digits or to another
local minimum. With this, states, inputs and rows in other units lead to the same answer.
"""

from __future__ import annotations

from dataclasses import replace

from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.solution import Guess, Multipliers, Question, Solution
from mpcrl_course.mpc.transcription import Transcription
from mpcrl_course.mpc.units import Units


class ScaledSolver:
    """Answers V and Q by a back end that solves the problem in other units.

    Parameters
    ----------
    transcription : Transcription
        In the problem's own units, as are questions and answers.
    units : Units
    back_end : LiftedSolver or RealTimeSolver
        Of the problem in those units.
    """

    def __init__(self, transcription: Transcription, units: Units, back_end):
        self.t, self.units, self.back_end = transcription, units, back_end

    def solve(self, question: Question, guess: Solution | Guess | None = None) -> Solution:
        """Answer a question, starting from a `guess`."""
        d, a, q = self.units, question.action, question.perturbation
        scaled = replace(
            question,
            state=question.state / d.x,
            action=None if a is None else a / d.u[: len(a)],
            perturbation=None if q is None else q * d.u,
        )
        try:
            answer = self.back_end.solve(scaled, None if guess is None else self._scale(guess))
        except SolverError as error:
            question.fail(error.status, error.reason)
        m = answer.multipliers
        return replace(
            answer,
            question=question,
            x=answer.x * d.x,
            u=answer.u * d.u,
            flat_slack=answer.flat_slack * d.rows,
            multipliers=Multipliers(
                m.nu / d.x, m.lam_lb / d.rows, m.lam_ub / d.rows, m.lam_input_lb / d.u, m.lam_input_ub / d.u
            ),
            transcription=self.t,
        )

    def _scale(self, guess: Solution | Guess) -> Solution | Guess:
        d, m = self.units, guess.multipliers
        parts = {"x": guess.x / d.x, "u": guess.u / d.u, "flat_slack": guess.flat_slack / d.rows}
        if isinstance(guess, Guess):
            return guess._replace(**parts)
        scaled = Multipliers(
            m.nu * d.x, m.lam_lb * d.rows, m.lam_ub * d.rows, m.lam_input_lb * d.u, m.lam_input_ub * d.u
        )
        return replace(guess, multipliers=scaled, transcription=self.back_end.t, **parts)

    def solve_batch(self, theta, states, actions=None):
        """Return values and first inputs for many states (and actions) at one theta, as `MPC.values` does."""
        d = self.units
        n = self.t.problem.n_actions
        values, first = self.back_end.solve_batch(theta, states / d.x, None if actions is None else actions / d.u[:n])
        return values, first * d.u[:n]
