"""What can go wrong, and what counts as zero."""

from __future__ import annotations

import numpy as np

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
    reason : str
        Why, in words.
    state, action, theta : ndarray or None
        Where it happened.
    """

    def __init__(self, status: str, reason: str, state, action, theta):
        self.status, self.reason, self.state, self.action, self.theta = status, reason, state, action, theta
        with np.printoptions(precision=6, threshold=40, suppress=True):
            where = f"state {state}" + ("" if action is None else f", action {action}")
            super().__init__(f"{status}: {reason}, at {where}, theta {theta}")
