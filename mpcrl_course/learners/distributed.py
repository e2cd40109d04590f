"""Distributed Q-learning on the parameters of a network of MPCs, first and second order, and its centralised twins.

Agent i holds theta_i, its own solutions of V and Q, and its own memory; for a batch of T transitions tau

    g_i,tau = dQ_tau/dtheta_i,    h_i,tau = delta_tau d2L_tau/dtheta_i2    (local: see `mpcrl_course.network.admm`).

The TD error is a sum over agents, so average consensus tells it to all: delta = M * mean of (L_i + gamma V_i - Q_i).

    first:   d_i = mean of delta_tau g_i,tau                                               needs nothing more
    second:  d = (sum_tau g g' - sum_tau h + T sigma I)^-1 sum_tau delta_tau g             of all agents together,

whose matrix is a block-diagonal one plus G G' of rank T, with G = [G_1; …; G_M], G_i = [g_i,1 … g_i,T]. By Woodbury,

    Kt_i = (T sigma I - sum_tau h_i,tau)^-1,    C = sum_i G_i' Kt_i G_i,    d_i = Kt_i G_i (I + C)^-1 delta:

the T x T matrix C and delta are all that the agents must agree on, and average consensus gives both. It is the
central step to rounding. What an agent's neighbours see are its terms of those sums, mixed: no theta, no data, but no
secret in any formal sense either.

Every agent must use the same transitions, or C pairs samples that have nothing to do with each other: all draw with
generators of one seed. Replayed g, h and delta are those computed at the theta of their own time.

Sources: Mallick, Airaldi, Dabiri & De Schutter, Automatica 167:111803, 2024 (first order); Mallick et al.,
arXiv 2511.16424 (second order).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at, greedy
from mpcrl_course.learners.log import part_of
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner, bounds_of
from mpcrl_course.mpc import SolverError
from mpcrl_course.network import AgentError, Duals, NetworkController, NetworkSolution, average
from mpcrl_course.own import answering
from mpcrl_course.validation import asfloats, choice, flag, function, generator, instance, real, reals, sequence, whole


def regularised_inverse(K, T: int, sigma: float, safeguard: bool = True) -> np.ndarray:
    """Return Kt_i = (T sigma I - K)^-1 for K = sum of h_i,tau, shape (n_i, n_i).

    T sigma I - K is indefinite in practice. With the `safeguard` the agent leaves out the directions in which -K bends
    downwards: its negative eigenvalues are set to 0 (the nearest positive semidefinite matrix). That is a local matter,
    and the whole matrix is positive definite if every agent's is, so that the step descends on the squared TD error.
    (Adding a multiple of I until the matrix is positive definite descends too, but so slowly that nothing is learned:
    the eigenvalues of K span many orders of magnitude.)
    """
    eigenvalues, E = np.linalg.eigh(-K)
    if flag(safeguard, "safeguard"):
        eigenvalues = np.maximum(eigenvalues, 0.0)
    return (E / (eigenvalues + T * sigma)) @ E.T


def contribution(G, Kt) -> np.ndarray:
    """Return agent i's term G' Kt G of C, shape (T, T), from its G (n_i, T) and Kt (n_i, n_i)."""
    return G.T @ Kt @ G


def second_order_local(G, Kt, C, td) -> np.ndarray:
    """Return d_i = Kt G (I + C)^-1 td, shape (n_i,), from agent i's G and Kt, and C and td (T,), which all know."""
    return Kt @ (G @ np.linalg.solve(np.eye(len(td)) + C, td))


def first_order_local(G, td) -> np.ndarray:
    """Return d_i, the mean of delta_tau g_i,tau, shape (n_i,), from agent i's G (n_i, T) and td (T,)."""
    return G @ td / len(td)


def distributed_step(
    gradients: Sequence, hessians: Sequence, td, sigma: float, P=None, rounds: int = 100, safeguard: bool = True
) -> list[np.ndarray]:
    """Return the second-order steps d_1, …, d_M of agents that agree on C by average consensus.

    Parameters
    ----------
    gradients : sequence of array_like, shape (T, n_i)
        Row tau of agent i's is g_i,tau.
    hessians : sequence of array_like, shape (T, n_i, n_i)
        d2L_tau/dtheta_i2, not yet multiplied by delta_tau.
    td : array_like, shape (T,)
    sigma : float
        Regularisation of one sample.
    P : array_like, shape (M, M), optional
        Mixing matrix; None: the exact sum, as after infinitely many rounds.
    rounds : int
    safeguard : bool
        See `regularised_inverse`.
    """
    td, G, hessians = _samples(gradients, hessians, td)
    M, T, sigma = len(G), len(td), real(sigma, "sigma", 0.0, strict=True)
    Kt = [regularised_inverse(np.tensordot(td, h, axes=1), T, sigma, safeguard) for h in hessians]
    terms = np.array([contribution(*own) for own in zip(G, Kt)])
    C = np.tile(terms.sum(axis=0), (M, 1, 1)) if P is None else M * average(P, terms, rounds).estimates
    return [second_order_local(G[i], Kt[i], C[i], td) for i in range(M)]


def central_step(gradients: Sequence, hessians: Sequence, td, sigma: float, safeguard: bool = True) -> list[np.ndarray]:
    """Return the same steps from (sum g g' - sum h + T sigma I)^-1 sum delta g, solved as one system.

    Parameters
    ----------
    gradients, hessians, td, sigma, safeguard
        See `distributed_step`.
    """
    td, parts, hessians = _samples(gradients, hessians, td)
    T, G, sigma = len(td), np.vstack(parts), real(sigma, "sigma", 0.0, strict=True)
    A, rows, start = G @ G.T, [], 0
    for h in hessians:
        K = np.tensordot(td, h, axes=1)
        own = slice(start, start + len(K))
        if flag(safeguard, "safeguard"):
            eigenvalues, E = np.linalg.eigh(K)
            K = (E * np.minimum(eigenvalues, 0.0)) @ E.T
        A[own, own] += T * sigma * np.eye(len(K)) - K
        rows.append(own)
        start = own.stop
    d = np.linalg.solve(A, G @ td)
    return [d[own] for own in rows]


def _samples(gradients: Sequence, hessians: Sequence, td) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Return td (T,), G_i (n_i, T) and the Hessians (T, n_i, n_i) of a batch as arrays, after a check."""
    td, gradients, hessians = reals(td, "td", (None,)), sequence(gradients, "gradients"), sequence(hessians, "hessians")
    if len(gradients) != len(hessians) or not len(gradients) or not len(td):
        numbers = f"{len(gradients)}, {len(hessians)} and {len(td)}"
        raise ValueError(f"gradients and hessians are one an agent, of one sample in td or more, not {numbers}")
    g = [reals(each, f"gradients[{i}]", (len(td), None)) for i, each in enumerate(gradients)]
    h = [reals(each, f"hessians[{i}]", (*g[i].shape, g[i].shape[1])) for i, each in enumerate(hessians)]
    return td, [each.T for each in g], h


class LocalLearner:
    """One agent: its parameters and its memory. It reads nothing else; what others know arrives as arguments.

    Parameters
    ----------
    theta : ndarray, shape (n_i,)
    replay : (size, batch, latest)
        Of its memory: see `Replay`.
    seed : int
        Of the generator that draws batches: the same for every agent, so that all draw the same transitions.
    order : {2, 1}
    learned : ndarray of bool, shape (n_i,), optional
        Which entries of theta_i are learned; by default all.
    lower, upper : array_like, shape (n_i,)
        An update that leaves these bounds is cut off.
    second_order : callable (G, Kt, C, td) -> ndarray, shape (n_i,)
        What makes d_i: `second_order_local`, or a reader's own.
    """

    def __init__(
        self,
        theta,
        replay: tuple[int, int, int],
        seed: int,
        order: int = 2,
        learned=None,
        lower=-np.inf,
        upper=np.inf,
        second_order: Callable = second_order_local,
    ):
        self.theta, self.rng = np.array(theta, dtype=float), np.random.default_rng(seed)
        self.learned = np.ones(self.theta.size, bool) if learned is None else learned
        self.lower, self.upper, n = lower, upper, int(self.learned.sum())
        columns: dict = {"td": (), "g": n, "h": (n, n)}
        self.replay = Replay.of(replay, **{name: columns[name] for name in ("td", "g", "h")[: order + 1]})
        self.second_order = answering("step", second_order, lambda G, *_: (len(G),))
        self.G = self.Kt = self.td = np.zeros(0)
        self.K: Any = None

    def remember(self, td: float, g, h=None) -> None:
        """Store what belongs to the newest transition: the agreed TD error, own gradient g and Lagrangian Hessian h."""
        sample = {"td": td, "g": g[self.learned]}
        if h is not None:
            sample["h"] = td * h[np.ix_(self.learned, self.learned)]
        self.replay.add(**sample)

    def draw(self) -> None:
        """Draw the next batch."""
        batch = self.replay.draw(self.rng)
        self.td, self.G = batch.td, batch.g.T
        self.K = batch.h.sum(axis=0) if "h" in self.replay.columns else None

    def term(self, sigma: float, safeguard: bool) -> np.ndarray:
        """Return this agent's term of C, shape (T, T); sigma and `safeguard` as in `regularised_inverse`."""
        self.Kt = regularised_inverse(self.K, len(self.td), sigma, safeguard)
        return contribution(self.G, self.Kt)

    def updated(self, alpha: float, C=None) -> np.ndarray:
        """Return theta_i after alpha times the step of second order, or of first order if there is no C."""
        d = first_order_local(self.G, self.td) if C is None else self.second_order(self.G, self.Kt, C, self.td)
        theta = self.theta.copy()
        theta[self.learned] += alpha * d
        if not np.isfinite(theta).all():
            raise FloatingPointError("the update of theta is not finite")
        return np.minimum(np.maximum(theta, self.lower), self.upper)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that learning changes, by name."""
        own = {"theta": self.theta, "generator": np.array(json.dumps(self.rng.bit_generator.state))}
        return own | {f"replay {name}": array for name, array in self.replay.arrays().items()}

    def load(self, arrays) -> None:
        """Take what `arrays` gave."""
        self.theta = reals(arrays["theta"], "its theta", self.theta.shape)
        try:
            self.rng.bit_generator.state = json.loads(str(arrays["generator"]))
        except (KeyError, TypeError, ValueError):
            raise ValueError("its generator is no state of a random generator") from None
        self.replay.load(part_of(arrays, "replay"))


def update(
    agents: Sequence[LocalLearner],
    alpha: float,
    agree: Callable,
    order: int = 2,
    sigma: float = 1e-3,
    safeguard: bool = True,
) -> list:
    """Let every agent draw a batch and take its step; returns C as each agent knows it (first order: None of each).

    Parameters
    ----------
    agents : sequence of LocalLearner
        Their theta is changed, of all of them or, if an update is not finite (FloatingPointError), of none.
    alpha : float
        Step size.
    agree : callable (terms) -> sequence
        Takes one term of each agent and returns every agent's estimate of their sum. Not called in first order.
    order, sigma, safeguard
        As in `DistributedQLearning`.
    """
    for agent in agents:
        agent.draw()
    C = list(agree([agent.term(sigma, safeguard) for agent in agents])) if order == 2 else [None] * len(agents)
    with np.errstate(over="ignore", invalid="ignore"):
        new = [agent.updated(alpha, C[i]) for i, agent in enumerate(agents)]
    for agent, theta_i in zip(agents, new):
        agent.theta = theta_i
    return C


class WarmStarts:
    """Where the solves of V and Q stand, for those of the next step; None: they start from nothing."""

    def __init__(self):
        self.V: Duals | None = None
        self.Q: Duals | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything, to be saved."""
        return {f"{n} {part}": a for n, d in vars(self).items() if d is not None for part, a in d._asdict().items()}

    def load(self, arrays) -> None:
        """Take what `arrays` gave; ValueError if it is of other shapes than V's."""
        shapes = {} if self.V is None else {part: own.shape for part, own in self.V._asdict().items()}
        for name in ("V", "Q"):
            found = {
                part: reals(a, f"its {name} {part}", shapes.get(part)) for part, a in part_of(arrays, name).items()
            }
            setattr(self, name, Duals(**found) if found else None)


class DistributedQLearning(Learner):
    """Q-learning of theta_1, …, theta_M while the agents control `env` together.

    With `ADMM` and a mixing matrix this is the distributed algorithm; with `Central` and P = None its centralised twin:
    the same updates from one central solve and exact sums.

    Parameters
    ----------
    controller : ADMM or Central
    env, rng
        See `Learner`; ``info["costs"]`` are the agents' stage costs L_i.
    theta : array_like, shape (n_theta,), optional
        Where learning starts; by default the network's initial parameters.
    P : array_like, shape (M, M), optional
        Mixing matrix of average consensus; None: every agent is told the exact sums.
    rounds : int
        Rounds of consensus.
    step_size : float or schedule
        Of the update's number (not of the step's).
    order : {2, 1}
    sigma : float
        Regularisation of one sample: T sigma I in a batch of T.
    safeguard : bool
        Whether agents make an indefinite matrix definite (see `regularised_inverse`); the published runs do not.
    alone : bool
        Whether every agent takes its own term for C, so that no matrix is sent at all.
    own_td : bool
        Whether every agent learns from its own TD error, so that none is sent; with `alone` and a model without
        coupling (A_c = 0, not learned) nothing is sent at all. The log's td is the sum in any case.
    behaviour : callable
        How to act; see `mpcrl_course.learners.behaviour`.
    replay : (size, batch, latest)
        See `Replay`; every agent has its own.
    every : int
        Steps from one update to the next.
    learned : sequence of str, optional
        Names of the blocks of an agent's parameters that are learned; by default all.
    lower, upper : array_like, shape (n_theta,), optional
        Bounds on theta; an update that leaves them is cut off.
    gradient : callable (solution of Q, i) -> ndarray, optional
        Gradient in theta_i, where it is not that of the solution itself.
    agent : callable, optional
        Makes an agent, with the arguments of `LocalLearner`.
    refuse : bool
        Whether to learn nothing from answers that have not converged: such a step fails, its TD error is nan. (It still
        acts on what V said, and the next solves start from these.)

    Attributes
    ----------
    agents : list of LocalLearner
    theta, a : ndarray
        Parameters of all agents now, one after the other; the action that comes next.
    seed : int
        Of the generators of all agents.
    C : list of ndarray
        What each agent took for C in the latest update (None in first order).
    log : Log
        x, u, cost; td, nan in a step in which some agent's solve failed, which all skip (nobody knows the TD error
        without it; the last action that was found stays); theta, shape (steps + 1, n_theta); failed; failed_agent, from
        0, or -1 if none in particular; unconverged, how many of this step's V and Q had not `converged`;
        solve_messages, consensus_messages, consensus_numbers: messages of ADMM (for V and Q, and for another V in a
        step that explores) and of average consensus (TD error and C), and the numbers in the latter. The run
        stops if 200 failed steps follow each other.
    """

    name = "distributed Q-learning"
    kept = ("s", "a", "updates", "sent")

    def __init__(
        self,
        controller: NetworkController,
        env,
        rng: np.random.Generator,
        theta=None,
        *,
        P=None,
        rounds: int = 100,
        step_size: float | Callable = 1e-4,
        order: int = 2,
        sigma: float = 1e-3,
        safeguard: bool = True,
        alone: bool = False,
        own_td: bool = False,
        behaviour: Callable = greedy,
        replay: tuple[int, int, int] = (100, 15, 10),
        every: int = 1,
        learned: Sequence[str] | None = None,
        lower=None,
        upper=None,
        gradient: Callable | None = None,
        agent: Callable[..., LocalLearner] = LocalLearner,
        refuse: bool = False,
    ):
        network, every = instance(controller, NetworkController, "controller").network, whole(every, "every", 1)
        instance(env, gym.Env, "env")
        choice(order, (1, 2), "order"), function(behaviour, "behaviour"), function(gradient, "gradient", True)
        function(agent, "agent", maker=True)
        P, rounds = P if P is None else reals(P, "P"), whole(rounds, "rounds", 0)
        if P is not None and P.shape != (network.n_agents,) * 2:
            raise ValueError(f"P has shape {P.shape}, but there are {network.n_agents} agents")
        theta = network.parameters.pack(theta)
        lower, upper = bounds_of(network.parameters, lower, upper)
        self.seed = seed = int(generator(rng).integers(2**31))
        self.agents = [
            agent(theta[own], replay, seed, order, _mask(network, i, learned), lower[own], upper[own])
            for i, own in enumerate(network.theta_of)
        ]
        for one, own in zip(self.agents, network.theta_of):
            found = np.shape(getattr(instance(one, LocalLearner, "what agent makes"), "theta", 0.0))
            if found != theta[own].shape:
                raise ValueError(f"what agent makes has a theta of shape {found}, but needs {theta[own].shape}")
        super().__init__(env, rng, theta=theta)
        self.controller, self.P, self.rounds, self.every = controller, P, rounds, every
        self.alone, self.own_td = flag(alone, "alone"), flag(own_td, "own_td")
        self.alpha, self.order, self.safeguard = (
            as_schedule(step_size, "step_size"),
            order,
            flag(safeguard, "safeguard"),
        )
        self.sigma, self.refuse = real(sigma, "sigma", 0.0), flag(refuse, "refuse")
        own = gradient or NetworkSolution.gradient
        self.behaviour = behaviour
        self.gradient = answering("gradient", own, lambda q, i: self.agents[i].theta.shape)
        self.duals, self.updates, self.sent = WarmStarts(), 0, np.zeros(3, int)
        self.parts |= {f"agent{i}": one for i, one in enumerate(self.agents)} | {"duals": self.duals}
        self.C: list = [None] * len(self.agents)
        v = controller.V(theta, self.s)
        self.duals.V, self.a = v.duals, self.choose(v, 0, self.s)

    @property
    def theta(self) -> np.ndarray:
        """Parameters of all agents, one after the other."""
        return np.concatenate([agent.theta for agent in self.agents])

    def step(self) -> None:
        """Act, agree on the TD error, update every theta_i, choose the next action (with theta before its update)."""
        controller, duals, theta, s, a, k = self.controller, self.duals, self.theta, self.s, self.a, self.k
        s_next, cost, terminated, truncated, info = self.apply(a)
        known = instance(info, dict, f"the plant's info in step {k}")
        costs = reals(known.get("costs"), f"the plant's info['costs'] in step {k}", (len(self.agents),))
        ended, a_next, td, trouble = terminated or truncated, a, np.nan, None
        unsure: list[NetworkSolution] = []
        try:
            # termination ends the sum of costs: no bootstrapping; truncation only ends the episode
            if terminated:
                q, target = controller.Q(theta, s, a, warm_start=duals.Q), costs
                answers = [q]
            else:
                v, q = controller.V_and_Q(theta, s_next, s, a, warm_start=(duals.V, duals.Q))
                answers = [v, q]
                target, duals.V = costs + controller.discount * v.values, v.duals
                if not ended:
                    a_next = self.choose(v, k + 1, s_next)
            duals.Q = q.duals
            self.sent[0] += q.messages
            unsure = [one for one in answers if not one.converged]
            if self.refuse and unsure:
                primal, dual = unsure[0].relative
                reason = (
                    f"the answer is refused: its relative residuals are {primal:.2g} (primal) and {dual:.2g} (dual)"
                )
                unsure[0].question.fail("not converged", reason)
            terms = target - q.values
            agreed = terms if self.own_td else self.agree(terms)
            for i, agent in enumerate(self.agents):
                agent.remember(agreed[i], self.gradient(q, i), q.hessian(i) if self.order == 2 else None)
            if (k + 1) % self.every == 0:
                alpha, share = at(self.alpha, self.updates, "step_size"), list if self.alone else self.agree
                self.C = update(self.agents, alpha, share, self.order, self.sigma, self.safeguard)
                self.updates += 1
            td = terms.sum() if self.own_td else agreed.mean()
        except (SolverError, np.linalg.LinAlgError, FloatingPointError) as error:
            trouble = error
        failed = trouble is not None
        if ended:
            s_next = self.restart()
            try:
                v = controller.V(self.theta, s_next)
                self.sent[0] += v.messages
                duals.V, duals.Q, a_next = v.duals, None, self.choose(v, k + 1, s_next)
            except SolverError:
                failed = True
        self.s, self.a = s_next, a_next
        self.log.add(
            x=s, u=a, cost=cost, td=td, theta=self.theta, failed=failed,
            failed_agent=trouble.agent if isinstance(trouble, AgentError) else -1, unconverged=len(unsure),
            **dict(zip(("solve_messages", "consensus_messages", "consensus_numbers"), self.sent, strict=True)),
        )  # fmt: skip
        self.sent[:] = 0
        if trouble:
            self.stop_if_hopeless(trouble)

    def choose(self, solution: NetworkSolution, k: int, s) -> np.ndarray:
        """Return the action of step k at the state s, of which `solution` is V."""
        theta = self.theta

        def explored(q):
            v = self.controller.V(theta, s, perturbation=q, warm_start=solution)
            self.sent[0] += v.messages
            return v

        return asfloats(self.behaviour(k, solution, explored, self.rng), "what behaviour returned")

    def agree(self, terms) -> np.ndarray:
        """Return every agent's estimate of the sum of all terms, one of each: by average consensus, or exactly."""
        terms = np.array(terms)
        if self.P is None:
            return np.broadcast_to(terms.sum(axis=0), terms.shape)
        estimates, messages = average(self.P, terms, self.rounds)
        self.sent[1:] += messages, messages * terms[0].size
        return len(terms) * estimates


def _mask(network, i, learned) -> np.ndarray:
    """Return which entries of theta_i are learned; raises KeyError that lists the names there are."""
    parameters = network.agents[i].parameters
    mask = np.full(parameters.size, learned is None)
    for name in [] if learned is None else sequence(learned, "learned"):
        mask[parameters.index(name)] = True
    return mask
