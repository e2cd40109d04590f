"""V and Q of a network of controllers: by consensus ADMM, agent beside agent, and by one central solve.

The problem, its copies c_ij and the local problem are those of `mpcrl_course.mpc.network`. Its augmented Lagrangian,

    L_rho = sum_i [ J_i(x_i, u_i, {c_ij}; theta_i) + sum_j ( y_ij'(c_ij - z_j) + rho/2 |c_ij - z_j|^2 ) ],

is minimised over what the agents decide, then over z, and then its multipliers climb (j in N_i or j = i throughout):

    1.  (x_i, u_i, {c_ij}) <- argmin of the local problem           every agent on its own, from theta_i, s_i, y_i, z
    2.  z_j  <- mean over those who hold a copy of x_j of (c_ij + y_ij / rho)      a message to the owner, one back
    3.  y_ij <- y_ij + rho (c_ij - z_j)                                            every agent on its own

It has arrived when nobody disagrees and nothing moves: the residuals  max |c_ij - z_j|  (primal) and
max rho |z_j - z_j before|  (dual) vanish. Where the local problems are convex it always arrives (Boyd et al. 2011).

**The value** is the sum of local ones, Q = sum_i J_i. **The gradient** needs nobody else either: theta_i appears in
agent i's Lagrangian only,

    L_i = J_i + nu_i'(x_i+ - f_i) + lam_i'(rows) + sum_j y_ij'(c_ij - z_j),

so dQ/dtheta_i = dL_i/dtheta_i at the local solution with the local multipliers, and the Hessian d2L/dtheta2 of the
Lagrangian is block-diagonal over the agents. Too few iterations leave errors in nu_i, lam_i and so in both.

**From the centre.** Stationarity of L_i in a copy, and of the sum in x_j, say what y is where ADMM has arrived:

    y_ij = -d(L_i without y)/dc_ij  for a neighbour's copy,      y_jj = -sum of the others' y_ij.

One central solve therefore gives every agent's solution, multipliers and sensitivities at once (`Central`), the same
that ADMM converges to wherever they are unique (`Solution.strict`).

Sources: Boyd, Parikh, Chu, Peleato & Eckstein, Found. Trends Mach. Learn. 3(1), 2011; Mallick, Airaldi, Dabiri &
De Schutter, Automatica 167:111803, 2024 (local sensitivities).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mpcrl_course.mpc import sensitivities
from mpcrl_course.mpc.door import MPC
from mpcrl_course.mpc.local_qp import CompiledLocal, LocalQP, LocalQPs, compiled
from mpcrl_course.mpc.network import LocalProblem, Network, parts
from mpcrl_course.mpc.solution import Solution, SolverError


class AgentError(SolverError):
    """A local problem that could not be solved; `agent` says whose (counted from 0; messages count from 1)."""

    def __init__(self, agent: int, status: str, reason: str, state, action, theta):
        super().__init__(status, f"agent {agent + 1}: {reason}", state, action, theta)
        self.agent = agent


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


@dataclass(frozen=True, eq=False)
class NetworkSolution:
    """V or Q of the network: one local `Solution` for each agent, and how the agents came to it.

    Attributes
    ----------
    kind : str
        'V' or 'Q'.
    u0 : ndarray, shape (n_inputs,)
        First inputs of all agents, one after the other.
    values : ndarray, shape (M,)
        J_i at the local solutions (with a perturbation, including its cost): they add up to `value`.
    duals : Duals
        For the next solve.
    primal, dual : ndarray, shape (iterations,)
        Residuals after every iteration (empty from the centre).
    messages : int
        Vectors sent from one agent to another. (V and Q solved in lockstep share theirs.)
    y_history, c_history : ndarray, shape (iterations, n_c)
        Multipliers and copies after every iteration, if they were to be recorded.
    z_history : ndarray, shape (iterations, n_z)
        Likewise.
    missed : ndarray of int, shape (M,)
        Iterations in which the agent did not answer and its last answer stood in.
    """

    kind: str
    u0: np.ndarray
    values: np.ndarray
    duals: Duals
    primal: np.ndarray
    dual: np.ndarray
    messages: int
    seconds: float
    missed: np.ndarray
    y_history: np.ndarray = field(repr=False)
    c_history: np.ndarray = field(repr=False)
    z_history: np.ndarray = field(repr=False)
    compiled: list[CompiledLocal] = field(repr=False)
    make_local: Callable[[], list[Solution]] = field(repr=False)

    @cached_property
    def local(self) -> list[Solution]:
        """Solutions of the augmented local problems, one an agent: states, inputs (u_i, copies), multipliers.

        Their `theta` is (theta_i, tilt), their value that of the augmented problem.
        """
        return self.make_local()

    @property
    def value(self) -> float:
        """V or Q of the whole network."""
        return float(self.values.sum())

    @property
    def iterations(self) -> int:
        """Number of ADMM iterations."""
        return len(self.primal)

    def gradient(self, i: int) -> np.ndarray:
        """Return dV/dtheta_i or dQ/dtheta_i from agent i's own solution, shape (n_theta_i,)."""
        return sensitivities.gradient(self.local[i])[: self.compiled[i].local.n_theta]

    def hessian(self, i: int) -> np.ndarray:
        """Return d2L_i/dtheta_i2, agent i's block of the Lagrangian's Hessian, shape (n_theta_i, n_theta_i)."""
        s, own = self.local[i], self.compiled[i]
        return own.hessian(*own.flat(s.theta, s.x, s.u, s.flat_slack, s.nu, s.flat_lb, s.flat_ub))[0]

    @property
    def strict(self) -> bool:
        """Whether every local solution is strict, so that multipliers and gradients are unique."""
        return all(solution.strict for solution in self.local)


class NetworkController:
    """What `ADMM` and `Central` share: the network's layout, and questions taken apart for the agents.

    Parameters
    ----------
    network : Network
    rho : float
        Penalty on disagreement.
    """

    def __init__(self, network: Network, rho: float = 1.0):
        self.network, self.rho, self.discount = network, rho, network.discount
        self.parameters = network.parameters
        locals_ = network.locals(rho)
        self.compiled = [compiled(local) for local in locals_]
        self.c_of = parts([local.n_own + local.n_copies for local in locals_])
        self.z_of = parts([local.n_own for local in locals_])
        #: Behind every entry of c: the entry of z that it is a copy of; and which entries are an agent's own.
        self.owner = np.concatenate([self._owner(i, local) for i, local in enumerate(locals_)])
        self.own = np.concatenate([np.arange(local.n_own + local.n_copies) < local.n_own for local in locals_])

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

    def _vector(self, value, n, name):
        value = np.array(value, dtype=float)
        if value.shape != (n,):
            raise ValueError(f"{name} has shape {value.shape}, but this network's has shape ({n},)")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite: {value}")
        return value

    def _question(self, s, a=None, perturbation=None, start=None):
        """Check a question about the network; `a` None asks for V."""
        n = self.network
        zero = self.start() if start is None else start
        return (
            self._vector(s, n.n_states, "state"),
            None if a is None else self._vector(a, n.n_inputs, "action"),
            None if perturbation is None else self._vector(perturbation, n.n_inputs, "perturbation"),
            Duals(self._vector(zero[0], len(self.owner), "y"), self._vector(zero[1], self.z_of[-1].stop, "z")),
        )

    def V(self, theta, s, *, perturbation=None, start: Duals | None = None) -> NetworkSolution:
        """Solve V_theta(s): the value, the policy ``solution.u0`` and the plans of all agents.

        Parameters
        ----------
        theta : array_like, shape (n_theta,)
            Of all agents, one after the other (``network.split`` takes it apart).
        s : array_like, shape (n_states,)
        perturbation : array_like, shape (n_inputs,), optional
            Linear cost q'u_0 (exploration).
        start : Duals, optional
            Where ADMM starts: ``solution.duals`` of an earlier V.

        Raises
        ------
        ValueError
            A wrong shape or an entry that is not finite.
        SolverError
            `AgentError` if it is one agent's problem that cannot be solved.
        """
        return self._solve(theta, [self._question(s, None, perturbation, start)])[0]

    def Q(self, theta, s, a, *, start: Duals | None = None) -> NetworkSolution:
        """Solve Q_theta(s, a): every agent's first input is fixed to its part of a, shape (n_inputs,)."""
        return self._solve(theta, [self._question(s, a, None, start)])[0]

    def V_and_Q(
        self, theta, s_next, s, a, *, perturbation=None, start: tuple = (None, None)
    ) -> tuple[NetworkSolution, NetworkSolution]:
        """Solve V(s_next) and Q(s, a) in lockstep: the same as one after the other, in half as many messages."""
        v = self._question(s_next, None, perturbation, start[0])
        v, q = self._solve(theta, [v, self._question(s, a, None, start[1])])
        return v, q

    def _solve(self, theta, questions) -> list[NetworkSolution]:
        """Answer all questions at once: `ADMM` by messages, `Central` from the centre."""
        raise NotImplementedError


class Residuals:
    """Largest primal and dual residuals after every iteration, for each of n questions.

    They are kept as they come and reduced many at a time, which costs a tenth of one at a time.
    """

    def __init__(self, n: int):
        self.n = n
        self.waiting: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self.reduced: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, gap: np.ndarray, move: np.ndarray) -> None:
        """Add the disagreement c - z and rho times the movement of z, of all questions, one after the other."""
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
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {iterations}")
        for i, one in enumerate(self.compiled):
            if not one.quadratic:
                raise ValueError(f"ADMM solves quadratic problems, and that of agent {i + 1} is none")
        self.iterations, self.tolerance, self.outage, self.lost, self.record = (
            iterations, tolerance, outage, lost, record
        )  # fmt: skip
        #: Vectors sent in an iteration: over every edge both ways, a copy to its owner and z back.
        self.messages_per_iteration = 4 * len(network.edges)
        # agents whose local problems are of about the same size are answered together
        sizes = [own.stop - own.start for own in self.c_of]
        self._groups: list[list[int]] = []
        for i in np.argsort(sizes, kind="stable"):
            if not self._groups or sizes[i] > 1.5 * sizes[self._groups[-1][0]]:
                self._groups.append([])
            self._groups[-1].append(int(i))
        self._agent = np.repeat(np.arange(network.n_agents), sizes)
        #: The edges as pairs i < j; and the one over which an entry of c travels: its number, or -1 for an agent's own.
        self.links = [(min(edge), max(edge)) for edge in network.edges]
        number = {link: k for k, link in enumerate(self.links)}
        owner = np.repeat(np.arange(network.n_agents), [part.stop - part.start for part in self.z_of])[self.owner]
        self.edge_of = np.array([number.get((min(pair), max(pair)), -1) for pair in zip(self._agent, owner)])

    def _solve(self, theta, questions) -> list[NetworkSolution]:
        began, rho, network = time.perf_counter(), self.rho, self.network
        thetas, n = network.split(theta), len(questions)
        local = [[self._local(i, thetas[i], *question[:3]) for i in range(network.n_agents)] for question in questions]
        # y, c and z of all questions in one array each, question after question
        y, z = (np.concatenate([question[3][part] for question in questions]) for part in (0, 1))
        n_c, n_z = len(y) // n, len(z) // n
        owner = np.concatenate([self.owner + n_z * which for which in range(n)])
        holders, agent = np.bincount(owner), np.tile(self._agent, n)
        groups = []
        for group in self._groups:
            members = [(which, i) for which in range(n) for i in group]
            where = [slice(which * n_c + self.c_of[i].start, which * n_c + self.c_of[i].stop) for which, i in members]
            groups.append(LocalQPs([local[which][i] for which, i in members], where))
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
                out = np.array([self.outage(t, i) for i in range(network.n_agents)], dtype=bool)
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
                down = np.array([self.lost(t, *link) for link in self.links] + [False], dtype=bool)
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
            raise SolverError("not converged", reason, questions[0][0], questions[0][1], np.concatenate(thetas))
        for i in np.flatnonzero(missed == len(primal)):
            local[0][i].fail("not converged", "it never answered")
        messages = self.messages_per_iteration * len(primal) - 4 * lost
        asked, y, z = (part.reshape(n, -1) for part in (asked, y, z))
        histories = [np.array(part).reshape(len(part), n, -1 if part else 0) for part in recorded]
        return [
            self._network_solution(
                local[which], asked[which], Duals(y[which], z[which]), primal[:, which], dual[:, which], messages,
                missed, [history[:, which] for history in histories], began,
            )
            for which in range(n)
        ]  # fmt: skip

    def _network_solution(
        self, local, asked, duals, primal, dual, messages, missed, histories, began
    ) -> NetworkSolution:
        y, c, z = histories
        own = [qp.solution(asked[c_i], began) for qp, c_i in zip(local, self.c_of)]
        values = np.empty(len(own))
        for i, solution in enumerate(own):  # J_i: without the augmented terms
            c_i = np.concatenate([solution.x.ravel(), solution.u[:, self.network.agents[i].n_inputs :].ravel()])
            values[i] = solution.value - asked[self.c_of[i]] @ c_i - 0.5 * self.rho * c_i @ c_i
        u0 = np.concatenate([s.u[0, : agent.n_inputs] for s, agent in zip(own, self.network.agents)])
        return NetworkSolution(
            own[0].kind, u0, values, duals, primal, dual, messages, time.perf_counter() - began, missed, y, c, z,
            self.compiled, lambda: own,
        )  # fmt: skip

    def _local(self, i, theta, s, a, perturbation) -> LocalQP:
        own, inputs = self.network.state_of[i], self.network.input_of[i]
        state = s[own]
        action, q = (None if part is None else part[inputs] for part in (a, perturbation))

        def fail(status, reason):
            raise AgentError(i, status, reason, state, action, theta)

        return LocalQP(self.compiled[i], theta, state, action, q, fail)


class Central(NetworkController):
    """V and Q by one central solve, taken apart into what every agent would know had ADMM converged.

    Parameters
    ----------
    network : Network
    rho : float
        Of the local problems that the solutions belong to; it changes neither values nor derivatives.
    solver : str, optional
        See `MPC`, which condenses up to 40 inputs. ("daqp" still takes less time than "piqp" for 10 agents, N = 10.)

    Attributes
    ----------
    mpc : MPC
        The central controller itself, behind the ordinary door.
    """

    def __init__(self, network: Network, rho: float = 1.0, solver: str | None = None):
        super().__init__(network, rho)
        self.mpc = MPC(network.problem, solver)
        t = self.mpc.transcription
        # where the rows of agent i lie among the rows of all, in the order of the local problem's
        rows = t.by_name(np.arange(t.n_rows))
        self._rows = [
            np.concatenate([np.zeros(0, int), *(rows[f"{name}_{i + 1}"].ravel() for name in agent.constraints)])
            for i, agent in enumerate(network.agents)
        ]

    def _solve(self, theta, questions) -> list[NetworkSolution]:
        self.network.parameters.check(theta)
        return [
            self.take_apart(self.mpc.V(theta, s, perturbation=q) if a is None else self.mpc.Q(theta, s, a))
            for s, a, q, _ in questions
        ]

    def take_apart(self, solution: Solution) -> NetworkSolution:
        """Return every agent's solution, multipliers and y from a solution of the central problem `mpc`."""
        began, network, rho = time.perf_counter(), self.network, self.rho
        z = np.concatenate([solution.x[:, own].ravel() for own in network.state_of])
        c = z[self.owner]
        y, values, points = np.zeros(len(c)), np.empty(network.n_agents), []
        for i, one in enumerate(self.compiled):
            own, inputs, rows, c_i = network.state_of[i], network.input_of[i], self._rows[i], c[self.c_of[i]]
            copies = c_i[one.local.n_own :].reshape(network.horizon, -1)
            # with y = 0 the tilt is -rho c: there the augmented terms have no slope, and the value -rho/2 |c|^2
            point = (
                np.concatenate([solution.theta[network.theta_of[i]], -rho * c_i]), solution.x[:, own],
                np.hstack([solution.u[:, inputs], copies]), solution.flat_slack[rows], solution.nu[:, own],
                solution.flat_lb[rows], solution.flat_ub[rows],
            )  # fmt: skip
            cost, slope = one.share(*one.flat(*point))
            values[i] = cost.item() + 0.5 * rho * c_i @ c_i
            if solution.perturbation is not None:
                values[i] += solution.perturbation[inputs] @ solution.u0[inputs]
            y[self.c_of[i]][one.local.n_own :] = -slope
            points.append(point)
        others = ~self.own
        y[self.own] = -np.bincount(self.owner[others], y[others], minlength=len(z))[self.owner[self.own]]

        def make_local():
            return [self._local(i, solution, values[i], points[i], c[own], y[own]) for i, own in enumerate(self.c_of)]

        empty = np.zeros(0)
        return NetworkSolution(
            solution.kind, solution.u0, values, Duals(y, z), empty, empty, 0,
            solution.time + time.perf_counter() - began, np.zeros(network.n_agents, int), empty, empty, empty,
            self.compiled, make_local,
        )  # fmt: skip

    def _local(self, i, solution, value, point, c_i, y_i) -> Solution:
        """Return the solution of agent i's augmented problem at tilt y_i - rho c_i."""
        theta, x, u, slack, nu, lam_lb, lam_ub = point
        inputs, rho, tilt = self.network.input_of[i], self.rho, y_i - self.rho * c_i
        theta = np.concatenate([theta[: len(theta) - len(tilt)], tilt])
        box, own = np.zeros((2, *u.shape)), inputs.stop - inputs.start  # copies have neither bounds nor q
        box[0, :, :own], box[1, :, :own] = solution.lam_input_lb[:, inputs], solution.lam_input_ub[:, inputs]
        q = None
        if solution.perturbation is not None:
            q = np.concatenate([solution.perturbation[inputs], np.zeros(u.shape[1] - own)])
        return Solution(
            solution.kind, float(value + tilt @ c_i + 0.5 * rho * c_i @ c_i), x, u, nu, box[0], box[1], theta,
            solution.state[self.network.state_of[i]], None if solution.action is None else solution.action[inputs], q,
            solution.status, solution.time, slack, lam_lb, lam_ub, self.compiled[i].t,
        )  # fmt: skip
