"""What a solver answers: a `Solution`, or a `SolverError` that says what went wrong and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mpcrl_course.mpc.transcription import Transcription

#: A multiplier, slack or margin below this (relative to the row's weight) counts as zero.
ACTIVE = 1e-6
#: A solution closer than this to a change of its active set counts as a kink: there, interior-point solutions
#: are accurate to the square root of their tolerance only.
KINK = 1e-5


class SolverError(RuntimeError):
    """An optimal-control problem that could not be solved: infeasible, unbounded or not converged.

    Attributes
    ----------
    status : str
        'infeasible', 'unbounded' or 'not converged'.
    state, action, theta : ndarray or None
        Where it happened.
    """

    def __init__(self, status: str, reason: str, state, action, theta):
        self.status, self.state, self.action, self.theta = status, state, action, theta
        with np.printoptions(precision=6, threshold=40, suppress=True):
            where = f"state {state}" + ("" if action is None else f", action {action}")
            super().__init__(f"{status}: {reason}, at {where}, theta {theta}")


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of one optimal-control problem, with its multipliers.

    The Lagrangian is  cost + nu_0'(x_0 - s) + sum_k nu_{k+1}'(x_{k+1} - f(x_k, u_k)) + lam_lb'(lb - sigma - h)
    + lam_ub'(h - ub - sigma) - mu'sigma + the same as for the rows h for the box on the inputs: CasADi's convention,
    every inequality written as a row <= 0, so that all of its multipliers are >= 0 (mu = weight - lam_lb - lam_ub).

    Attributes
    ----------
    kind : str
        'V' or 'Q'.
    value : float
        Optimal cost: V_theta(s) or Q_theta(s, a); with a perturbation q, including its cost q'u_0.
    x : ndarray, shape (N + 1, n_states)
        Predicted states; x[0] is s.
    u : ndarray, shape (N, n_inputs)
        Predicted inputs.
    nu : ndarray, shape (N + 1, n_states)
        Multipliers of the initial condition (nu[0]) and of the dynamics (nu[k + 1], from stage k to k + 1).
    slack, lam_lb, lam_ub : dict of name to ndarray, shape (stages, rows)
        Slack of every group of constraint rows, and the multipliers of its lower and upper side.
    lam_input_lb, lam_input_ub : ndarray, shape (N, n_inputs)
        Multipliers of the box on the inputs (zero for u_0 in Q, where it has none).
    theta, state, action, perturbation : ndarray
        What was asked (action and perturbation may be None).
    status : str
        The solver's own word.
    time : float
        Seconds spent.
    flat_slack, flat_lb, flat_ub : ndarray, shape (rows,)
        Slack and multipliers of all rows in one array each, in the order of the transcription.
    """

    kind: str
    value: float
    x: np.ndarray
    u: np.ndarray
    nu: np.ndarray
    lam_input_lb: np.ndarray
    lam_input_ub: np.ndarray
    theta: np.ndarray
    state: np.ndarray
    action: np.ndarray | None
    perturbation: np.ndarray | None
    status: str
    time: float
    flat_slack: np.ndarray = field(repr=False)
    flat_lb: np.ndarray = field(repr=False)
    flat_ub: np.ndarray = field(repr=False)
    transcription: Transcription = field(repr=False)

    @property
    def u0(self) -> np.ndarray:
        """First input, shape (n_inputs,)."""
        return self.u[0]

    @property
    def slack(self) -> dict[str, np.ndarray]:  # noqa: D102 (described above)
        return self.transcription.by_name(self.flat_slack)

    @property
    def lam_lb(self) -> dict[str, np.ndarray]:  # noqa: D102
        return self.transcription.by_name(self.flat_lb)

    @property
    def lam_ub(self) -> dict[str, np.ndarray]:  # noqa: D102
        return self.transcription.by_name(self.flat_ub)

    @cached_property
    def activity(self) -> Any:
        """Which rows are active, violated or weakly active; see `mpcrl_course.mpc.sensitivities.activity`."""
        from mpcrl_course.mpc.sensitivities import activity

        return activity(self)

    @property
    def strict(self) -> bool:
        """Whether the multipliers are unique and strictly complementary, so that value and policy are smooth here.

        False at a kink: a row that lies on its bound without pushing (or a soft row pushing with its full weight),
        or more active rows than free inputs. A derivative of this solution is then one of several.
        """
        return self.activity.strict
