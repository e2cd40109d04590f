"""Distributed Q-learning on the parameters of a network of MPCs, first and second order, and its centralised twins.

Agent i holds theta_i, its own solutions of V and Q, and its own memory; for a batch of T transitions tau

    g_i,tau = dQ_tau/dtheta_i,    h_i,tau = delta_tau d2L_tau/dtheta_i2    (local: see `mpcrl_course.network.solution`).

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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mpcrl_course.learners.behaviour import as_schedule, greedy
from mpcrl_course.learners.log import Log, load_run, save_state
from mpcrl_course.learners.replay import Replay
from mpcrl_course.mpc import SolverError
from mpcrl_course.network import AgentError, Duals, NetworkController, average


def regularised_inverse(K, T: int, sigma: float, safeguard: bool = True) -> np.ndarray:
    """Return Kt_i = (T sigma I - K)^-1 for K = sum of h_i,tau, shape (n_i, n_i).

    T sigma I - K is indefinite in practice. With the `safeguard` the agent leaves out the directions in which -K bends
    downwards: its negative eigenvalues are set to 0 (the nearest positive semidefinite matrix). That is a local matter,
    and the whole matrix is positive definite if every agent's is, so that the step descends on the squared TD error.
    (Adding a multiple of I until the matrix is positive definite descends too, but so slowly that nothing is learned:
    the eigenvalues of K span many orders of magnitude.)
    """
    eigenvalues, E = np.linalg.eigh(-K)
    if safeguard:
        eigenvalues = np.maximum(eigenvalues, 0.0)
    return (E / (eigenvalues + T * sigma)) @ E.T


def contribution(G, Kt) -> np.ndarray:
    """Return agent i's term G_i' Kt_i G_i of C, shape (T, T), from G_i of shape (n_i, T)."""
    return G.T @ Kt @ G


def second_order_local(G, Kt, C, td) -> np.ndarray:
    """Return d_i = Kt_i G_i (I + C)^-1 delta, shape (n_i,)."""
    return Kt @ (G @ np.linalg.solve(np.eye(len(td)) + C, td))


def first_order_local(G, td) -> np.ndarray:
    """Return d_i, the mean of delta_tau g_i,tau, shape (n_i,)."""
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
    td, M, T = np.asarray(td, dtype=float), len(gradients), len(td)
    G = [np.asarray(g, dtype=float).T for g in gradients]
    Kt = [regularised_inverse(np.tensordot(td, h, axes=1), T, sigma, safeguard) for h in hessians]
    terms = np.array([contribution(*own) for own in zip(G, Kt)])
    C = np.tile(terms.sum(axis=0), (M, 1, 1)) if P is None else M * average(P, terms, rounds).estimates
    return [second_order_local(G[i], Kt[i], C[i], td) for i in range(M)]


def central_step(gradients: Sequence, hessians: Sequence, td, sigma: float, safeguard: bool = True) -> list[np.ndarray]:
    """Return the same steps from (sum g g' - sum h + T sigma I)^-1 sum delta g, solved as one system."""
    td, T = np.asarray(td, dtype=float), len(td)
    G = np.vstack([np.asarray(g, dtype=float).T for g in gradients])
    A, rows, start = G @ G.T, [], 0
    for h in hessians:
        K = np.tensordot(td, h, axes=1)
        own = slice(start, start + len(K))
        if safeguard:
            eigenvalues, E = np.linalg.eigh(K)
            K = (E * np.minimum(eigenvalues, 0.0)) @ E.T
        A[own, own] += T * sigma * np.eye(len(K)) - K
        rows.append(own)
        start = own.stop
    d = np.linalg.solve(A, G @ td)
    return [d[own] for own in rows]


class LocalLearner:
    """One agent: its parameters and its memory. It reads nothing else; what others know arrives as arguments.

    Parameters
    ----------
    theta : ndarray, shape (n_i,)
    replay : Replay
    seed : int
        Of the generator that draws batches: the same for every agent, so that all draw the same transitions.
    learned : ndarray of bool, shape (n_i,)
        Which entries of theta_i are learned.
    lower, upper : ndarray, shape (n_i,)
        An update that leaves these bounds is cut off.

    Attributes
    ----------
    second_order : callable (G, Kt, C, td) -> ndarray, shape (n_i,)
        What makes d_i: `second_order_local`, or a reader's own.
    """

    second_order: Callable = staticmethod(second_order_local)

    def __init__(self, theta, replay: Replay, seed: int, learned, lower, upper):
        self.theta, self.replay, self.rng = theta.copy(), replay, np.random.default_rng(seed)
        self.learned, self.lower, self.upper = learned, lower, upper
        self.G = self.Kt = self.td = np.zeros(0)

    def remember(self, td: float, g, h=None) -> None:
        """Store what belongs to the newest transition: the agreed TD error, own gradient and Lagrangian Hessian."""
        sample = {"td": np.array(td), "g": g[self.learned]}
        if h is not None:
            sample["h"] = td * h[np.ix_(self.learned, self.learned)]
        self.replay.add(**sample)

    def draw(self) -> None:
        """Draw the next batch."""
        batch = self.replay.draw(self.rng)
        self.td = np.array([sample["td"] for sample in batch])
        self.G = np.array([sample["g"] for sample in batch]).T
        self.K = sum(sample["h"] for sample in batch) if "h" in batch[0] else None

    def term(self, sigma: float, safeguard: bool) -> np.ndarray:
        """Return this agent's term of C, shape (T, T)."""
        self.Kt = regularised_inverse(self.K, len(self.td), sigma, safeguard)
        return contribution(self.G, self.Kt)

    def updated(self, alpha: float, C=None) -> np.ndarray:
        """Return theta_i after the step of second order, or of first order if there is no C."""
        d = first_order_local(self.G, self.td) if C is None else self.second_order(self.G, self.Kt, C, self.td)
        theta = self.theta.copy()
        theta[self.learned] += alpha * d
        if not np.isfinite(theta).all():
            raise FloatingPointError("the update of theta is not finite")
        return np.minimum(np.maximum(theta, self.lower), self.upper)


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
        As in `distributed_q_learning`.
    """
    for agent in agents:
        agent.draw()
    C = list(agree([agent.term(sigma, safeguard) for agent in agents])) if order == 2 else [None] * len(agents)
    with np.errstate(over="ignore", invalid="ignore"):
        new = [agent.updated(alpha, C[i]) for i, agent in enumerate(agents)]
    for agent, theta_i in zip(agents, new):
        agent.theta = theta_i
    return C


@dataclass
class NetworkLog(Log):
    """What a run of a network leaves behind: `Log`, and what it cost the network.

    Attributes
    ----------
    solve_messages, consensus_messages : ndarray of int, shape (steps,)
        Messages of ADMM (for V and Q, and for another V in a step that explores), and of average consensus (TD error
        and C).
    consensus_numbers : ndarray of int, shape (steps,)
        Numbers in the latter.
    failed_agent : ndarray of int, shape (steps,)
        Whose local problem failed in a failed step, counted from 0; -1 if none in particular.
    """

    solve_messages: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    consensus_messages: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    consensus_numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    failed_agent: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    @classmethod
    def empty(cls, steps: int, n_states: int, n_inputs: int, n_theta: int) -> NetworkLog:
        """Return a log with room for `steps` steps."""
        counts: dict[str, Any] = {name: np.zeros(steps, int) for name in COUNTS}
        counts["failed_agent"] -= 1
        return cls(**vars(Log.empty(steps, n_states, n_inputs, n_theta)), **counts)

    def until(self, steps: int) -> NetworkLog:
        """Return the log of the first `steps` steps."""
        short = vars(super().until(steps))
        return NetworkLog(**short, **{name: getattr(self, name)[:steps] for name in COUNTS})


COUNTS = ("solve_messages", "consensus_messages", "consensus_numbers", "failed_agent")


def distributed_q_learning(
    controller: NetworkController,
    env,
    theta=None,
    *,
    steps: int,
    rng: np.random.Generator,
    P=None,
    rounds: int = 100,
    step_size: float | Callable = 1e-4,
    order: int = 2,
    sigma: float = 1e-3,
    safeguard: bool = True,
    behaviour: Callable = greedy,
    replay: tuple[int, int, int] = (100, 15, 10),
    every: int = 1,
    learned: Sequence[str] | None = None,
    lower=None,
    upper=None,
    gradient: Callable | None = None,
    save=None,
    save_every: int = 1000,
    resume: bool = False,
    progress: bool = True,
    on_step: Callable | None = None,
) -> NetworkLog:
    """Learn theta_1, …, theta_M by Q-learning while the agents control `env` together.

    With `ADMM` and a mixing matrix this is the distributed algorithm; with `Central` and P = None its centralised twin:
    the same updates from one central solve and exact sums.

    Parameters
    ----------
    controller : ADMM or Central
    env : gymnasium.Env
        The plant; ``info["costs"]`` are the agents' stage costs L_i. It draws its noise from `rng` too.
    theta : array_like, shape (n_theta,), optional
        Where learning starts; by default the network's initial parameters.
    steps : int
        Number of steps in total (also when resumed).
    rng : numpy.random.Generator
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
    gradient : callable (q, i) -> ndarray, shape (n_theta_i,), optional
        What an agent takes for dQ/dtheta_i; by default ``q.gradient(i)``.
    save, save_every, resume, progress, on_step
        As in `q_learning`.

    Returns
    -------
    NetworkLog
        A step in which some agent's solve fails is skipped by all (nobody knows the TD error without it) and counted;
        the last action that was found stays. The run stops if 200 follow each other.
    """
    network = controller.network
    if order not in (1, 2) or every < 1:
        raise ValueError(f"order must be 1 or 2 and every at least 1, not {order!r} and {every!r}")
    if P is not None and np.shape(P) != (network.n_agents,) * 2:
        raise ValueError(f"P has shape {np.shape(P)}, but there are {network.n_agents} agents")
    if save and env is not env.unwrapped:
        raise ValueError(f"a run that is saved needs the plant itself, not {env}: a wrapper's own state would be lost")
    M, alpha, slope = network.n_agents, as_schedule(step_size), gradient or (lambda q, i: q.gradient(i))
    theta = network.parameters.initial() if theta is None else network.parameters.check(theta).copy()
    lower = np.full(theta.size, -np.inf) if lower is None else network.parameters.check(lower, finite=False)
    upper = np.full(theta.size, np.inf) if upper is None else network.parameters.check(upper, finite=False)
    env.unwrapped.np_random = rng
    log = NetworkLog.empty(steps, network.n_states, network.n_inputs, theta.size)
    seed = int(rng.integers(2**31))
    agents = [
        LocalLearner(theta[own], Replay(*replay), seed, _mask(network, i, learned), lower[own], upper[own])
        for i, own in enumerate(network.theta_of)
    ]
    duals: tuple[Duals | None, Duals | None] = (None, None)
    began, k0, failures, updates = time.perf_counter(), 0, 0, 0

    def agree(k, terms):
        """Return every agent's estimate of the sum of all terms."""
        terms = np.array(terms)
        if P is None:
            return np.broadcast_to(terms.sum(axis=0), terms.shape)
        estimates, messages = average(P, terms, rounds)
        log.consensus_messages[k] += messages
        log.consensus_numbers[k] += messages * terms[0].size
        return M * estimates

    def behave(k, solution, theta, s):
        def policy(q):
            explored = controller.V(theta, s, perturbation=q, warm_start=solution)
            log.solve_messages[max(k - 1, 0) :][:1] += explored.messages  # step k's action is chosen in the step before
            return explored

        return behaviour(k, solution, policy, rng)

    if resume:
        k0, s, a, duals, seconds, failures, updates = _load(save, log, env, agents, rng)
        theta = log.theta[k0].copy()
        began -= seconds
    else:
        s, _ = env.reset()
        v = controller.V(theta, s)
        a, duals = behave(0, v, theta, s), (v.duals, None)
        log.theta[0] = theta
        if save:
            _save(save, 0, log, s, a, duals, env, agents, rng, 0.0, 0, 0)
    k = k0
    try:
        for k in tqdm(
            range(k0, steps), initial=k0, total=steps, disable=not progress, desc="distributed Q-learning", unit="step"
        ):
            s_next, reward, terminated, truncated, info = env.step(a)
            costs, ended = info["costs"], terminated or truncated
            log.x[k], log.u[k], log.cost[k] = s, a, -reward
            a_next = a
            try:
                # termination ends the sum of costs: no bootstrapping; truncation only ends the episode
                if terminated:
                    q, target = controller.Q(theta, s, a, warm_start=duals[1]), costs
                    duals = (duals[0], q.duals)
                else:
                    v, q = controller.V_and_Q(theta, s_next, s, a, warm_start=duals)
                    target, duals = costs + controller.discount * v.values, (v.duals, q.duals)
                    if not ended:
                        a_next = behave(k + 1, v, theta, s_next)
                log.solve_messages[k] += q.messages
                td = agree(k, target - q.values)
                for i, agent in enumerate(agents):
                    agent.remember(td[i], slope(q, i), q.hessian(i) if order == 2 else None)
                log.td[k] = td.mean()
                if (k + 1) % every == 0:
                    update(agents, alpha(updates), partial(agree, k), order, sigma, safeguard)
                    updates += 1
                failures = 0
            except (SolverError, np.linalg.LinAlgError, FloatingPointError) as error:
                log.failed[k], log.td[k], failures = True, np.nan, failures + 1
                log.failed_agent[k] = error.agent if isinstance(error, AgentError) else -1
                if failures >= 200:
                    log.stopped = f"200 steps failed in a row, the last with: {error}"
            theta = np.concatenate([agent.theta for agent in agents])
            log.theta[k + 1] = theta
            if ended:
                s_next, _ = env.reset()
                try:
                    v = controller.V(theta, s_next)
                    a_next, duals = behave(k + 1, v, theta, s_next), (v.duals, None)
                    log.solve_messages[k] += v.messages
                except SolverError:
                    log.failed[k] = True
            s, a = s_next, a_next
            if on_step:
                on_step(k, theta)
            if save and (k + 1) % save_every == 0:
                seconds = time.perf_counter() - began
                _save(save, k + 1, log, s, a, duals, env, agents, rng, seconds, failures, updates)
            if log.stopped:
                break
        k = k + 1 if steps > k0 else k0
    except KeyboardInterrupt:
        # the step that was interrupted is dropped: with `save`, resume from the last state written
        log.stopped = f"interrupted in step {k}"
    log.seconds = time.perf_counter() - began
    if save and not log.stopped:
        _save(save, k, log, s, a, duals, env, agents, rng, log.seconds, failures, updates)
    return log.until(k)


def _mask(network, i, learned) -> np.ndarray:
    """Return which entries of theta_i are learned; raises KeyError that lists the names there are."""
    parameters = network.agents[i].parameters
    mask = np.full(parameters.size, learned is None)
    for name in learned or ():
        mask[parameters.index(name)] = True
    return mask


def _save(path, k, log, s, a, duals, env, agents, rng, seconds, failures, updates):
    names = ("x", "u", "cost", "td", "failed", *COUNTS)
    arrays = {name: getattr(log, name)[:k] for name in names} | {"theta": log.theta[: k + 1], "s": s, "a": a}
    for which, part in zip("VQ", duals):
        if part is not None:
            arrays |= {f"y_{which}": part.y, f"z_{which}": part.z}
    for i, agent in enumerate(agents):
        arrays |= {f"agent{i}_{name}": value for name, value in agent.replay.arrays().items()}
    scalars = {"k": k, "seconds": seconds, "failures": failures, "updates": updates, "env": env.state_dict()}
    scalars |= {"rng": rng.bit_generator.state, "agents": [agent.rng.bit_generator.state for agent in agents]}
    save_state(path, arrays, scalars)


def _load(path, log, env, agents, rng):
    arrays, scalars = load_run(path, len(log.cost))
    k = scalars["k"]
    for name in ("x", "u", "cost", "td", "failed", *COUNTS):
        getattr(log, name)[:k] = arrays[name]
    log.theta[: k + 1] = arrays["theta"]
    start = 0
    for i, (agent, state) in enumerate(zip(agents, scalars["agents"])):
        agent.replay.load({name[len(f"agent{i}_") :]: v for name, v in arrays.items() if name.startswith(f"agent{i}_")})
        agent.rng.bit_generator.state = state
        agent.theta = log.theta[k, start : start + agent.theta.size].copy()
        start += agent.theta.size
    rng.bit_generator.state = scalars["rng"]
    env.reset()
    env.load_state_dict(scalars["env"])
    rng.bit_generator.state = scalars["rng"]
    duals = tuple(Duals(arrays[f"y_{w}"], arrays[f"z_{w}"]) if f"y_{w}" in arrays else None for w in "VQ")
    return k, arrays["s"], arrays["a"], duals, scalars["seconds"], scalars["failures"], scalars["updates"]
