"""What a network is asked and answers: one local `Solution` for each agent, and derivatives that need nobody else.

**The value** is the sum of local ones, Q = sum_i J_i. **The gradient** is local: theta_i appears in agent i's
Lagrangian only,

    L_i = J_i + nu_i'(x_i+ - f_i) + lam_i'(rows) + sum_j y_ij'(c_ij - z_j),

so dQ/dtheta_i = dL_i/dtheta_i at the local solution with the local multipliers, and the Hessian d2L/dtheta2 of the
Lagrangian is block-diagonal over the agents. Too few iterations leave errors in nu_i, lam_i and so in both.

**How far it may be trusted.** An answer of ADMM is locally optimal at the tilt r that was asked: r + rho c = -dJ_i/dc.
It is that of the whole network where nobody disagrees and r + rho c = y, where the multipliers y of those who hold a
copy of the same add up to 0 (they do, or what is left of their mean is taken off). With E z that of which c is copies,

    primal = |c - E z| / max(|c|, |E z|),    dual = |r + rho c - y| / max(|y|, |nu|),

and r + rho c - y = rho E(z - z before) unless messages were lost. Both are relative to what is compared (for the dual
one, slopes of costs in states: y, and nu, which stays where nobody is coupled and y vanishes): neither the units of
states and costs nor rho as such matter.

Sources: Boyd, Parikh, Chu, Peleato & Eckstein, Found. Trends Mach. Learn. 3(1), 2011, section 3.3 (residuals);
Mallick, Airaldi, Dabiri & De Schutter, Automatica 167:111803, 2024 (local sensitivities).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
from scipy.linalg import block_diag

from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.solution import Question, Solution
from mpcrl_course.validation import whole

if TYPE_CHECKING:
    from mpcrl_course.network.agent import LocalProblem


#: The largest relative residual of an answer that counts as converged. Measured on 3690 answers (graphs, penalties from
#: 0.01 to 1000, random parameters): none of the 2449 within it was off by more than 6.2e-4 (value) or 4.6e-3 (gradient,
#: of its largest entry); within three times it, three were off by more than 1e-3 or 1e-2. 448 of the 1241 beyond were
#: good enough all the same. Warm starts along a run stay below 5e-8.
CONVERGED = 1e-4


class AgentError(SolverError):
    """A local problem that could not be solved; `agent` says whose (counted from 0; messages count from 1).

    The rest (status, reason, state, action, theta) is that of `SolverError`; theta is theta_i.
    """

    def __init__(self, agent: int, status: str, reason: str, state, action, theta):
        super().__init__(status, f"agent {agent + 1}: {reason}", state, action, theta)
        self.agent = agent


@dataclass(frozen=True, eq=False)
class AgentQuestion(Question):
    """What one agent is asked about its local problem, at theta = (theta_i, tilt).

    Attributes
    ----------
    agent : int
        Which one, counted from 0.
    n_theta : int
        Size of theta_i.
    """

    agent: int = 0
    n_theta: int = 0

    def fail(self, status: str, reason: str) -> NoReturn:
        """Raise the `AgentError` of this question, with its status and reason, at theta_i."""
        theta = self.theta[: self.n_theta]
        raise AgentError(self.agent, status, reason, self.state, self.action, theta) from None


class Duals(NamedTuple):
    """Where ADMM stands: what a later solve may start from. With few iterations it changes the answer.

    Attributes
    ----------
    y : ndarray, shape (n_c,)
        Multipliers of c = z, agent after agent: of x_i0 … x_iN, then of the copies of stage 0, …, N - 1.
    z : ndarray, shape (n_z,)
        The trajectories that all agree on, agent after agent, stage after stage.
    """

    y: np.ndarray
    z: np.ndarray


class RelativeResidual(NamedTuple):
    """Disagreement and missing stationarity, relative to what is compared: the formulas of this module's head.

    Attributes
    ----------
    primal, dual : float
    """

    primal: float
    dual: float


class History(NamedTuple):
    """What ADMM went through: multipliers, copies and common trajectories after every iteration.

    Attributes
    ----------
    y, c : ndarray, shape (iterations, n_c)
    z : ndarray, shape (iterations, n_z)
    """

    y: np.ndarray
    c: np.ndarray
    z: np.ndarray


def relative_residual(r, rho: float, c, duals: Duals, owner, nu) -> RelativeResidual:
    """Return the residuals of local optima, relative to what is compared; 0 where there is nothing to compare.

    Parameters
    ----------
    r : ndarray, shape (n_c,)
        The tilt at which c is optimal.
    rho : float
    c : ndarray, shape (n_c,)
    duals : Duals
        The multipliers y and the trajectories z.
    owner : ndarray of int, shape (n_c,)
        Behind every entry of c: the entry of z that it is a copy of.
    nu : sequence of ndarray
        Every agent's multipliers of its dynamics.
    """
    z = duals.z[owner]
    y = duals.y - (np.bincount(owner, duals.y) / np.bincount(owner))[owner]  # adds up to 0, also if messages were lost
    gap, wrong, slopes = c - z, r + rho * c - y, np.concatenate([own.ravel() for own in nu])

    def relative(error, *compared):
        error, scale = (float(np.sqrt(max(part @ part for part in parts))) for parts in ([error], compared))
        return error / scale if scale > 0.0 else (0.0 if error == 0.0 else np.inf)

    return RelativeResidual(relative(gap, c, z), relative(wrong, y, slopes))


@dataclass(frozen=True, eq=False)
class NetworkSolution:
    """V or Q of the network: one local `Solution` for each agent, and how the agents came to it.

    Attributes
    ----------
    question : Question
        What was asked, of all agents together.
    u0 : ndarray, shape (n_inputs,)
        First inputs of all agents, one after the other.
    values : ndarray, shape (M,)
        J_i at the local solutions (with a perturbation, including its cost): they add up to `value`.
    duals : Duals
        For the next solve.
    time : float
        Seconds spent.
    problems : list of LocalProblem
        What every agent solved.
    make_local : callable () -> list of Solution
        Makes `local`.
    relative : RelativeResidual
        How far the answer is from that of the whole network.
    missed : ndarray of int, shape (M,)
        Iterations in which the agent did not answer and its last answer stood in.
    messages : int
        Vectors sent from one agent to another. (V and Q solved in lockstep share theirs.)
    primal, dual : ndarray, shape (iterations,)
        Residuals after every iteration (empty from the centre).
    history : History
        Of ADMM (empty unless it was to be recorded).
    """

    question: Question
    u0: np.ndarray
    values: np.ndarray
    duals: Duals
    time: float
    problems: list[LocalProblem] = field(repr=False)
    make_local: Callable[[], list[Solution]] = field(repr=False)
    relative: RelativeResidual
    missed: np.ndarray
    messages: int = 0
    primal: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    dual: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    history: History = field(default_factory=lambda: History(*np.zeros((3, 0, 0))), repr=False)

    @cached_property
    def local(self) -> list[Solution]:
        """Solutions of the augmented local problems, one an agent: states, inputs (u_i, copies), multipliers.

        Their `theta` is (theta_i, tilt), their value that of the augmented problem.
        """
        return self.make_local()

    @property
    def kind(self) -> str:
        """'V' or 'Q'."""
        return self.question.kind

    @property
    def value(self) -> float:
        """V or Q of the whole network."""
        return float(self.values.sum())

    @property
    def iterations(self) -> int:
        """Number of ADMM iterations."""
        return len(self.primal)

    def gradient(self, i: int | None = None) -> np.ndarray:
        """Return dV/dtheta or dQ/dtheta, shape (n_theta,): that of every agent, one after the other.

        Parameters
        ----------
        i : int, optional
            Return agent i's part only, from its own solution, shape (n_theta_i,).
        """
        if i is None:
            return np.concatenate([self.gradient(j) for j in range(len(self.problems))])
        i = self._agent(i)
        return self.local[i].gradient()[: self.problems[i].n_theta]

    def hessian(self, i: int | None = None) -> np.ndarray:
        """Return d2L/dtheta2, the second partial derivative of the Lagrangian, shape (n_theta, n_theta).

        It is block-diagonal over the agents. (How the solution moves with theta is not in it: that couples all.)

        Parameters
        ----------
        i : int, optional
            Return agent i's block only, from its own solution, shape (n_theta_i, n_theta_i).
        """
        if i is None:
            return block_diag(*[self.hessian(j) for j in range(len(self.problems))])
        i = self._agent(i)
        own, problem = self.local[i], self.problems[i]
        m = own.multipliers
        return problem.hessian(*problem.flat(own.theta, own.x, own.u, own.flat_slack, m.nu, m.lam_lb, m.lam_ub))[0]

    def _agent(self, i: int) -> int:
        """Return i, if it is the number of an agent."""
        if whole(i, "i", 0) >= len(self.problems):
            raise ValueError(f"i must be the number of an agent, from 0 to {len(self.problems) - 1}, not {i}")
        return i

    @property
    def strict(self) -> bool:
        """Whether it has converged and every local solution is strict, so that multipliers and gradients are unique."""
        return self.converged and all(solution.strict for solution in self.local)

    @property
    def converged(self) -> bool:
        """Whether both relative residuals are at most `CONVERGED`, and all is finite."""
        small = max(self.relative.primal, self.relative.dual) <= CONVERGED
        return bool(small and np.isfinite([*self.relative, *self.values]).all())

    @property
    def residual(self) -> float:
        """Largest violation of the KKT conditions of all: locally, by disagreement (primal) and movement (dual)."""
        own = [solution.residual for solution in self.local]
        return max(*own, *self.primal[-1:].tolist(), *self.dual[-1:].tolist(), 0.0)
