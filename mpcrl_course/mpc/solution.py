"""What a solver is asked, and what it answers: a `Solution` that knows its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from mpcrl_course.mpc import sensitivities
from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.optimality import relative_residual

if TYPE_CHECKING:
    from mpcrl_course.mpc.transcription import Transcription


#: Bounds that cross by no more than this, relative to 1 or to their size, count as equal.
CROSSED = 1e-9


@dataclass(frozen=True, eq=False)
class Question:
    """What a solver is asked: V, or with an action Q.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
    state : ndarray, shape (n_states,)
    action : ndarray, shape (n_actions,), or None
    perturbation : ndarray, shape (n_inputs,), or None
        Linear cost of u_0.
    """

    theta: np.ndarray
    state: np.ndarray
    action: np.ndarray | None = None
    perturbation: np.ndarray | None = None

    @property
    def kind(self) -> str:
        """'V' or 'Q'."""
        return "V" if self.action is None else "Q"

    @property
    def fixed(self) -> np.ndarray:
        """What is given of the plan: the state, and in Q the action after it."""
        return self.state if self.action is None else np.concatenate((self.state, self.action))

    @property
    def q(self) -> np.ndarray | float:
        """The linear cost of u_0: the perturbation, or 0."""
        return 0.0 if self.perturbation is None else self.perturbation

    def fail(self, status: str, reason: str) -> NoReturn:
        """Raise the `SolverError` of this question, with a status ('infeasible', …) and the reason in words."""
        raise SolverError(status, reason, self.state, self.action, self.theta) from None


def meeting(question: Question, lower, upper, name: Callable[[int], str]) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of which no lower one lies above its upper one: those that do by rounding meet in the middle.

    Parameters
    ----------
    question : Question
        It fails where a bound is not a number, or bounds cross by more than 1e-9 (relative to 1 or to their size).
    lower, upper : ndarray
    name : callable (i) -> str
        What the bounds belong to, for the message.
    """
    none = np.isnan(lower) | np.isnan(upper)
    if none.any():
        i = int(none.argmax())
        question.fail("not converged", f"a bound of {name(i)} is not a number")
    with np.errstate(invalid="ignore"):
        middle, over = 0.5 * (lower + upper), lower - upper
        i = int((over - CROSSED * np.maximum(1.0, np.abs(middle))).argmax())
    if over[i] > CROSSED * max(1.0, abs(middle[i])):
        question.fail("infeasible", f"the lower bound of {name(i)} lies {over[i]:.3g} above its upper bound")
    return np.where(over > 0.0, middle, lower), np.where(over > 0.0, middle, upper)


class Multipliers(NamedTuple):
    """Multipliers in CasADi's convention: every inequality is a row <= 0, so that all of its multipliers are >= 0.

    Attributes
    ----------
    nu : ndarray, shape (N + 1, n_states)
        Of the initial condition (nu[0]) and of the dynamics (nu[k + 1], from stage k to k + 1).
    lam_lb, lam_ub : ndarray, shape (rows,)
        Of the lower and upper sides of all constraint rows, in the order of the transcription.
    lam_input_lb, lam_input_ub : ndarray, shape (N, n_inputs)
        Of the box on the inputs (zero for u_0 in Q, where it has none).
    """

    nu: np.ndarray
    lam_lb: np.ndarray
    lam_ub: np.ndarray
    lam_input_lb: np.ndarray
    lam_input_ub: np.ndarray


class Guess(NamedTuple):
    """Where an iterative solver may start, as a `Solution` is one too; no multipliers known.

    Attributes
    ----------
    x : ndarray, shape (N + 1, n_states)
        States.
    u : ndarray, shape (N, n_inputs)
        Inputs.
    flat_slack : ndarray, shape (rows,)
        Slacks of all constraint rows, in the order of the transcription.
    multipliers : None
    """

    x: np.ndarray
    u: np.ndarray
    flat_slack: np.ndarray
    multipliers: None = None


class Answer:
    """What every plan says of itself, of the `question` that was asked and the inputs `u`, shape (N, n_inputs)."""

    question: Question
    u: np.ndarray

    @property
    def kind(self) -> str:
        """'V' or 'Q'."""
        return self.question.kind

    @property
    def theta(self) -> np.ndarray:
        """Parameters that were asked about, shape (n_theta,)."""
        return self.question.theta

    @property
    def state(self) -> np.ndarray:
        """State that was asked about, shape (n_states,)."""
        return self.question.state

    @property
    def action(self) -> np.ndarray | None:
        """Action that was asked about, shape (n_actions,), or None."""
        return self.question.action

    @property
    def perturbation(self) -> np.ndarray | None:
        """Linear cost of u_0, shape (n_inputs,), or None."""
        return self.question.perturbation

    @property
    def u0(self) -> np.ndarray:
        """First input, shape (n_inputs,)."""
        return self.u[0]


@dataclass(frozen=True, eq=False)
class Solution(Answer):
    """The solution of one optimal-control problem, with its multipliers.

    The Lagrangian is  cost + nu_0'(x_0 - s) + sum_k nu_{k+1}'(x_{k+1} - f(x_k, u_k)) + lam_lb'(lb - sigma - h)
    + lam_ub'(h - ub - sigma) - mu'sigma + the same as for the rows h for the box on the inputs: CasADi's convention,
    every inequality written as a row <= 0, so that all of its multipliers are >= 0 (mu = weight - lam_lb - lam_ub).

    Attributes
    ----------
    question : Question
        What was asked; also as `kind` ('V' or 'Q'), `theta`, `state`, `action` and `perturbation` (either may be None).
    value : float
        Optimal cost: V_theta(s) or Q_theta(s, a); with a perturbation q, including its cost q'u_0.
    x : ndarray, shape (N + 1, n_states)
        Predicted states; x[0] is s.
    u : ndarray, shape (N, n_inputs)
        Predicted inputs.
    flat_slack : ndarray, shape (rows,)
        Slacks of all constraint rows, in the order of the transcription; by name: `slack`.
    multipliers : Multipliers
        Also as `nu`, `lam_input_lb`, `lam_input_ub` and, by name, `lam_lb` and `lam_ub`.
    status : str
        The solver's own word.
    time : float
        Seconds spent.
    transcription : Transcription
        Of the problem.
    """

    question: Question
    value: float
    x: np.ndarray
    u: np.ndarray
    flat_slack: np.ndarray = field(repr=False)
    multipliers: Multipliers = field(repr=False)
    status: str
    time: float
    transcription: Transcription = field(repr=False)

    # derivatives, and what says how far they may be trusted
    gradient = sensitivities.gradient
    gradient_state = sensitivities.gradient_state
    gradient_action = sensitivities.gradient_action
    hessian = sensitivities.hessian
    sensitivity = sensitivities.sensitivity
    policy_jacobian = sensitivities.policy_jacobian
    residual = property(relative_residual)
    activity = cached_property(sensitivities.activity)

    @property
    def strict(self) -> bool:
        """Whether the multipliers are unique and strictly complementary, so that value and policy are smooth here.

        False at a kink: a row that lies on its bound without pushing (or a soft row pushing with its full weight),
        or more active rows than free inputs. A derivative of this solution is then one of several.
        """
        return self.activity.strict

    @property
    def slack(self) -> dict[str, np.ndarray]:
        """Slack of every group of constraint rows, by name, shape (stages, rows)."""
        return self.transcription.by_name(self.flat_slack)

    @property
    def lam_lb(self) -> dict[str, np.ndarray]:
        """Multipliers of the lower sides of every group of constraint rows, by name, shape (stages, rows)."""
        return self.transcription.by_name(self.multipliers.lam_lb)

    @property
    def lam_ub(self) -> dict[str, np.ndarray]:
        """Multipliers of the upper sides of every group of constraint rows, by name, shape (stages, rows)."""
        return self.transcription.by_name(self.multipliers.lam_ub)

    @property
    def nu(self) -> np.ndarray:
        """Multipliers of initial condition and dynamics, shape (N + 1, n_states); see `Multipliers`."""
        return self.multipliers.nu

    @property
    def lam_input_lb(self) -> np.ndarray:
        """Multipliers of the lower bounds on the inputs, shape (N, n_inputs)."""
        return self.multipliers.lam_input_lb

    @property
    def lam_input_ub(self) -> np.ndarray:
        """Multipliers of the upper bounds on the inputs, shape (N, n_inputs)."""
        return self.multipliers.lam_input_ub
