"""An MPC as an expert: one that is a function of the state, and can therefore be imitated.

    u = pi(s),    the plan from one solve (of real-time iteration: one Gauss-Newton step) that starts at guess(s)

`Receding` starts each solve from the plan before: its answer depends on where it came from, and from one state it gives
several. No function of the state, however large a network, agrees with all of them. Here nothing is kept: the same
state has the same answer, whoever asked what before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.mpc.declaration import scale_of
from mpcrl_course.own import checked
from mpcrl_course.problems.pendulum import pendulum_mpc, swing
from mpcrl_course.validation import function, instance, sequence


class Memoryless:
    """An MPC whose every solve starts from a guess that is a function of the state.

    Parameters
    ----------
    mpc : MPC
    guess : callable (s, p, N) -> (x, u)
        For a state s, `angles` of the problem in [-pi, pi), and its parameters p: states (N + 1, n_states) and inputs
        (N, n_inputs), such as `problems.pendulum.swing`.
    theta : array_like, optional
        By default the initial one.

    Attributes
    ----------
    status : list of str
        A word for each of the latest decisions; 'failed' where the guess itself is followed.
    calls : int
        Decisions made so far.
    """

    def __init__(self, mpc: MPC, guess: Callable, theta=None):
        self.mpc, self.guess = instance(mpc, MPC, "mpc"), function(guess, "guess")
        self.theta = mpc.parameters.pack(theta)
        self.status: list[str] = []
        self.calls = 0

    def plan(self, s):
        """Return states (N + 1, n_states) and inputs (N, n_inputs) of the plan from s (n_states,), and its status."""
        problem = self.mpc.problem
        N, n, m = problem.horizon, problem.n_states, problem.n_inputs
        s = measured(s, n)[0]
        angles = list(problem.angles or ())
        s[angles] -= 2.0 * np.pi * np.floor(s[angles] / (2.0 * np.pi) + 0.5)
        x, u = sequence(self.guess(s.copy(), self.mpc.parameters.unpack(self.theta), N), "what guess returns")
        x, u = checked("guess", x, (N + 1, n)), checked("guess", u, (N, m))
        try:
            found = self.mpc.policy(self.theta, s, warm_start=(x, u))
        except SolverError:
            return x, u, "failed"
        return found.x, found.u, found.status

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs) for what is measured, y (n, n_states)."""
        problem = self.mpc.problem
        y = measured(y, problem.n_states)
        plans = [self.plan(s) for s in y]
        self.status = [status for _, _, status in plans]
        self.calls += len(plans)
        first = np.array([u[0] for _, u, _ in plans]).reshape(len(y), problem.n_inputs)
        return first if problem.input_scale is None else first * scale_of(problem, self.theta)


def pendulum_expert(mpc: MPC | None = None) -> Memoryless:
    """Return the memoryless expert of the pendulum: one step of `mpc` (the nominal one) from the swing by energy."""
    return Memoryless(pendulum_mpc() if mpc is None else mpc, swing)
