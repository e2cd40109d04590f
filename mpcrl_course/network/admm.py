"""V and Q of a network by consensus ADMM, agent beside agent.

The problem and its copies c_ij are those of `mpcrl_course.network.problem`. Its augmented Lagrangian,

    L_rho = sum_i [ J_i(x_i, u_i, {c_ij}; theta_i) + sum_j ( y_ij'(c_ij - z_j) + rho/2 |c_ij - z_j|^2 ) ],

is minimised over what the agents decide, then over z, and then its multipliers climb (j in N_i or j = i throughout):

    1.  (x_i, u_i, {c_ij}) <- argmin of the local problem           every agent on its own, from theta_i, s_i, y_i, z
    2.  z_j  <- mean over those who hold a copy of x_j of (c_ij + y_ij / rho)      a message to the owner, one back
    3.  y_ij <- y_ij + rho (c_ij - z_j)                                            every agent on its own

It has arrived when nobody disagrees and nothing moves: the residuals  max |c_ij - z_j|  (primal) and
max rho |z_j - z_j before|  (dual) vanish. Where the local problems are convex it always arrives.

Source: Boyd, Parikh, Chu, Peleato & Eckstein, Found. Trends Mach. Learn. 3(1), 2011.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mpcrl_course.mpc.solution import Question, Solution
from mpcrl_course.network.door import NetworkController
from mpcrl_course.network.local_qp import LocalQP, LocalQPs
from mpcrl_course.network.problem import Network
from mpcrl_course.network.solution import Duals, History, NetworkSolution, relative_residual
from mpcrl_course.validation import flag, function, real, whole


class Residuals:
    """Largest primal and dual residuals after every iteration, for each of n questions.

    They are kept as they come and reduced many at a time, which costs a tenth of one at a time.
    """

    def __init__(self, n: int):
        self.n = n
        self.waiting: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self.reduced: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, gap: np.ndarray, move: np.ndarray) -> None:
        """Add the disagreement c - z (`gap`) and rho times the movement of z (`move`), question after question."""
        self.waiting[0].append(gap)
        self.waiting[1].append(move)
        if len(self.waiting[0]) == 256:
            self._reduce()

    def latest(self) -> float:
        """Return the largest residual of the last iteration."""
        if not self.waiting[0]:
            return float(max(part[-1][-1].max() for part in self.reduced))
        return float(max(np.abs(part[-1]).max() for part in self.waiting))

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """Return primal and dual residuals, shape (iterations, n) each."""
        self._reduce()
        return np.concatenate(self.reduced[0]), np.concatenate(self.reduced[1])

    def _reduce(self):
        for waiting, reduced in zip(self.waiting, self.reduced):
            if waiting:
                reduced.append(np.abs(np.array(waiting)).reshape(len(waiting), self.n, -1).max(axis=2))
                waiting.clear()


class ADMM(NetworkController):
    """V and Q by consensus ADMM.

    Parameters
    ----------
    network : Network
        Of quadratic problems.
    rho : float
        Penalty on disagreement.
    iterations : int
        How many, or at most how many if there is a tolerance.
    tolerance : float, optional
        Stop as soon as both residuals are below it; SolverError if they never are. None: always all `iterations`.
    outage : callable (t, i) -> bool, optional
        Whether agent i fails to answer in iteration t. The others go on with its last copies (at first: its part of
        the start); iterations that come after are not affected, so that ADMM still arrives at the same place, later.
    lost : callable (t, i, j) -> bool, optional
        Whether what the neighbours i < j tell each other in iteration t is lost, both ways. Agent j then goes on with
        the last of i's messages about x_j that arrived, and i with the z_j and y_ij that it had; and the other way
        round. Where ADMM has arrived this changes nothing.
    record : bool
        Whether to keep y, c and z after every iteration.

    Attributes
    ----------
    messages_per_iteration : int
        Vectors sent in an iteration: over every edge both ways, a copy to its owner and z back.
    links : list of (i, j)
        The edges as pairs i < j.
    edge_of : ndarray of int, shape (n_c,)
        Over which of them an entry of c travels: its number, or -1 for an agent's own.
    """

    def __init__(
        self,
        network: Network,
        rho: float = 1.0,
        iterations: int = 100,
        tolerance: float | None = None,
        outage: Callable | None = None,
        lost: Callable | None = None,
        record: bool = False,
    ):
        super().__init__(network, rho)
        iterations = whole(iterations, "iterations", 1)
        if tolerance is not None:
            tolerance = real(tolerance, "tolerance", 0.0)
        function(outage, "outage", optional=True), function(lost, "lost", optional=True)
        for i, local in enumerate(self.problems):
            if not local.transcription.quadratic:
                raise ValueError(f"ADMM solves quadratic problems, and that of agent {i + 1} is none")
        self.iterations, self.tolerance, self.record = iterations, tolerance, flag(record, "record")
        self.outage, self.lost = outage, lost
        self.messages_per_iteration = 4 * len(network.edges)
        # agents whose local problems are of about the same size are answered together
        sizes = [own.stop - own.start for own in self.c_of]
        self._groups: list[list[int]] = []
        for i in np.argsort(sizes, kind="stable"):
            if not self._groups or sizes[i] > 1.5 * sizes[self._groups[-1][0]]:
                self._groups.append([])
            self._groups[-1].append(int(i))
        self._agent = np.repeat(np.arange(network.n_agents), sizes)
        self.links = [(min(edge), max(edge)) for edge in network.edges]
        number = {link: k for k, link in enumerate(self.links)}
        owner = np.repeat(np.arange(network.n_agents), [part.stop - part.start for part in self.z_of])[self.owner]
        self.edge_of = np.array([number.get((min(pair), max(pair)), -1) for pair in zip(self._agent, owner)])

    def local_qp(self, i: int, question: Question) -> LocalQP:
        """Return agent i's local problem as a QP, ready for any tilt, when all are asked `question`."""
        own = self.problems[i]
        return LocalQP(own, self.local_question(i, question, np.zeros(own.n_own + own.n_copies)))

    def _solve(self, questions: list[Question], starts: list[Duals]) -> list[NetworkSolution]:
        began, rho, network, n = time.perf_counter(), self.rho, self.network, len(questions)
        local = [[self.local_qp(i, question) for i in range(network.n_agents)] for question in questions]
        # y, c and z of all questions in one array each, question after question
        y, z = (np.concatenate(part) for part in zip(*starts))
        owner = np.concatenate([self.owner + len(z) // n * which for which in range(n)])
        holders, agent = np.bincount(owner), np.tile(self._agent, n)
        groups = [self._together(local, group) for group in self._groups]
        known = c = z[owner]  # what the holders of copies know of z
        asked = tilt = y - rho * c
        edge, message, lost = np.tile(self.edge_of, n), c + y / rho, 0
        residuals, missed = Residuals(n), np.zeros(network.n_agents, int)
        recorded: tuple[list, list, list] = ([], [], [])
        for t in range(self.iterations):
            # 1. every agent on its own
            last, c = c, np.empty(len(y))
            for problems in groups:
                problems.minimise(tilt, c)
            if self.outage is None:
                asked = tilt
            else:
                out = np.array([flag(self.outage(t, i), f"outage({t}, {i})") for i in range(network.n_agents)])
                missed += out
                c, asked = np.where(out[agent], last, c), np.where(out[agent], asked, tilt)
            # 2. a message to the owner, one back; 3. every agent on its own
            before = z
            if self.lost is None:
                z = np.bincount(owner, c + y / rho) / holders
                known = z[owner]
                gap = c - known
                y = y + rho * gap
            else:
                down = np.array([flag(self.lost(t, *ij), f"lost{(t, *ij)}") for ij in self.links] + [False])
                heard = ~down[edge]  # an agent's own copy (edge -1, the last entry) always arrives
                message = np.where(heard, c + y / rho, message)
                z = np.bincount(owner, message) / holders
                gap = c - z[owner]
                y, known = np.where(heard, y + rho * gap, y), np.where(heard, z[owner], known)
                lost += int(down.sum())
            tilt = y - rho * known
            residuals.add(gap, rho * (z - before))
            if self.record:
                for part, value in zip(recorded, (y, c, z)):
                    part.append(value)
            if self.tolerance is not None and residuals.latest() <= self.tolerance:
                break
        primal, dual = residuals.all()
        if self.tolerance is not None and max(primal[-1].max(), dual[-1].max()) > self.tolerance:
            reason = (
                f"after {self.iterations} iterations of ADMM the agents disagree by {primal[-1].max():.2g} and move by "
                f"{dual[-1].max():.2g}; the tolerance is {self.tolerance:.2g}"
            )
            questions[0].fail("not converged", reason)
        for i in np.flatnonzero(missed == len(primal)):
            local[0][i].question.fail("not converged", "it never answered")
        asked, c, y, z = (part.reshape(n, -1) for part in (asked, c, y, z))
        histories = [np.array(part).reshape(len(part), n, -1 if part else 0) for part in recorded]

        def answer(which, question):
            own = [qp.solution(asked[which, c_i], began) for qp, c_i in zip(local[which], self.c_of)]
            duals, nu = Duals(y[which], z[which]), [solution.nu for solution in own]
            return NetworkSolution(
                question=question,
                u0=np.concatenate([s.u0[: agent.n_inputs] for s, agent in zip(own, network.agents)]),
                values=self._values(own, asked[which]),
                duals=duals,
                time=time.perf_counter() - began,
                problems=self.problems,
                make_local=lambda: own,
                relative=relative_residual(asked[which], rho, c[which], duals, self.owner, nu),
                missed=missed,
                messages=self.messages_per_iteration * len(primal) - 4 * lost,
                primal=primal[:, which],
                dual=dual[:, which],
                history=History(*(part[:, which] for part in histories)),
            )

        return [answer(which, question) for which, question in enumerate(questions)]

    def _together(self, local: list[list[LocalQP]], group: list[int]) -> LocalQPs:
        """Return the problems that some agents solve for all questions, to be answered together."""
        members, n_c = [(which, i) for which in range(len(local)) for i in group], len(self.owner)
        where = [slice(which * n_c + self.c_of[i].start, which * n_c + self.c_of[i].stop) for which, i in members]
        return LocalQPs([local[which][i] for which, i in members], where)

    def _values(self, local: list[Solution], tilt: np.ndarray) -> np.ndarray:
        """Return every J_i: the local values without the augmented terms."""
        values = np.empty(len(local))
        for i, solution in enumerate(local):
            c_i = np.concatenate([solution.x.ravel(), solution.u[:, self.network.agents[i].n_inputs :].ravel()])
            values[i] = solution.value - tilt[self.c_of[i]] @ c_i - 0.5 * self.rho * c_i @ c_i
        return values
