"""The door to a network's V and Q, whoever answers: what `ADMM` and `Central` share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpcrl_course.mpc.door import reckonable, vector
from mpcrl_course.mpc.solution import Question
from mpcrl_course.network.agent import LocalProblem
from mpcrl_course.network.problem import Network, parts
from mpcrl_course.network.solution import AgentQuestion, Duals, NetworkSolution
from mpcrl_course.validation import instance, real, short


class NetworkController:
    """V and Q of a network: the layout of what its agents share, and questions taken apart for them.

    Parameters
    ----------
    network : Network
    rho : float
        Penalty on disagreement.

    Attributes
    ----------
    problems : list of LocalProblem
        What each agent solves.
    c_of, z_of : list of slice
        Where the parts of agent i lie in c and y, and in z.
    owner : ndarray of int, shape (n_c,)
        Behind every entry of c: the entry of z that it is a copy of.
    own : ndarray of bool, shape (n_c,)
        Which entries of c are an agent's own.
    """

    def __init__(self, network: Network, rho: float = 1.0):
        self.network, self.discount = instance(network, Network, "network"), network.discount
        self.rho = rho = real(rho, "rho", 0.0, strict=True)
        self.parameters, self.problems = network.parameters, network.locals(rho)
        self.c_of = parts([local.n_own + local.n_copies for local in self.problems])
        self.z_of = parts([local.n_own for local in self.problems])
        self.owner = np.concatenate([self._owner(i, local) for i, local in enumerate(self.problems)])
        own = [np.arange(local.n_own + local.n_copies) < local.n_own for local in self.problems]
        self.own = np.concatenate(own)

    def _owner(self, i: int, local: LocalProblem) -> np.ndarray:
        index = [np.arange(self.z_of[i].start, self.z_of[i].stop)]
        for k in range(self.network.horizon):
            for place, entry in local.copied:
                j = self.network.neighbours[i][place]
                index.append(np.array([self.z_of[j].start + k * self.network.agents[j].n_states + entry]))
        return np.concatenate(index)

    def start(self) -> Duals:
        """Return where a first solve starts: y = 0 and z = 0."""
        return Duals(np.zeros(len(self.owner)), np.zeros(self.z_of[-1].stop))

    def V(self, theta, s, *, perturbation=None, warm_start: NetworkSolution | Duals | None = None) -> NetworkSolution:
        """Solve V_theta(s): the value, the policy ``solution.u0`` and the plans of all agents.

        Parameters
        ----------
        theta : array_like, shape (n_theta,)
            Of all agents, one after the other (``network.split`` takes it apart).
        s : array_like, shape (n_states,)
        perturbation : array_like, shape (n_inputs,), optional
            Linear cost q'u_0 (exploration).
        warm_start : NetworkSolution or Duals, optional
            Where ADMM starts: an earlier V, or its `duals`.

        Raises
        ------
        ValueError
            A wrong shape or an entry that is not finite.
        SolverError
            `AgentError` if it is one agent's problem that cannot be solved.
        """
        question = self._question(self.parameters.check(theta).copy(), s, None, perturbation)
        return self._solve([question], [self._duals(warm_start)])[0]

    def Q(self, theta, s, a, *, warm_start: NetworkSolution | Duals | None = None) -> NetworkSolution:
        """Solve Q_theta(s, a): every agent's first input is fixed to its part of a, shape (n_inputs,).

        theta, s and warm_start (an earlier Q) are those of V.
        """
        question = self._question(self.parameters.check(theta).copy(), s, a)
        return self._solve([question], [self._duals(warm_start)])[0]

    def V_and_Q(
        self, theta, s_next, s, a, *, perturbation=None, warm_start: Sequence = (None, None)
    ) -> tuple[NetworkSolution, NetworkSolution]:
        """Solve V_theta(s_next) and Q_theta(s, a) in lockstep: as one after the other, in half as many messages.

        Parameters
        ----------
        theta, s_next, s, a : array_like
            As in `V` and `Q`.
        perturbation : array_like, shape (n_inputs,), optional
            Of V.
        warm_start : pair
            Where V and where Q starts.
        """
        theta = self.parameters.check(theta).copy()
        questions = [self._question(theta, s_next, None, perturbation), self._question(theta, s, a)]
        if not isinstance(warm_start, (tuple, list)) or len(warm_start) != 2:
            raise ValueError(f"warm_start is a pair, of V and of Q, not {short(warm_start)}")
        v, q = self._solve(questions, [self._duals(start) for start in warm_start])
        return v, q

    def local_question(self, i: int, question: Question, tilt) -> AgentQuestion:
        """Return what agent i is asked, about its local problem at `tilt`, when all are asked `question`."""
        inputs, local = self.network.input_of[i], self.problems[i]
        a, q = question.action, question.perturbation
        return AgentQuestion(
            theta=np.concatenate([question.theta[self.network.theta_of[i]], tilt]),
            state=question.state[self.network.state_of[i]],
            action=None if a is None else a[inputs],
            perturbation=None if q is None else np.concatenate([q[inputs], np.zeros(len(local.copied))]),
            agent=i,
            n_theta=local.n_theta,
        )

    def _question(self, theta, s, a=None, perturbation=None) -> Question:
        """Check a question about the network; `a` None asks for V."""
        n = self.network
        question = Question(
            theta,
            vector(s, n.n_states, "state", "network"),
            None if a is None else vector(a, n.n_inputs, "action", "network"),
            None if perturbation is None else vector(perturbation, n.n_inputs, "perturbation", "network"),
        )
        return reckonable(question)

    def _duals(self, start: NetworkSolution | Duals | None) -> Duals:
        """Return where ADMM starts, after a check of the shapes."""
        if start is None:
            return self.start()
        duals = start.duals if isinstance(start, NetworkSolution) else start
        if not isinstance(duals, tuple) or len(duals) != 2:
            raise ValueError(f"warm_start is a NetworkSolution or its Duals, not {type(start).__name__}")
        names = ("warm_start's y", "warm_start's z")
        sizes = len(self.owner), self.z_of[-1].stop
        return Duals(*(vector(part, n, name, "network") for part, n, name in zip(duals, sizes, names)))

    def _solve(self, questions: list[Question], starts: list[Duals]) -> list[NetworkSolution]:
        """Answer all questions at once: `ADMM` by messages, `Central` from the centre."""
        raise NotImplementedError
