"""Deep deterministic policy gradient (Lillicrap et al. 2016), for costs: everything is minimised.

    target     y = L + gamma Q'(s+, mu'(s+)),  without the second term if s+ is terminal (truncation is not termination)
    critic     w     <- w     - alpha (1/B) sum (Q_w(s, a) - y) grad_w Q_w(s, a)
    actor      theta <- theta - alpha (1/B) sum grad_theta mu_theta(s) grad_a Q_w(s, a) at a = mu_theta(s)
    targets    w'    <- (1 - tau) w' + tau w,    theta' <- (1 - tau) theta' + tau theta

The actor descends: Q is a cost. (The plus sign in other texts is for rewards.) Adam takes the place of the plain step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from mpcrl_course.learners.behaviour import as_schedule
from mpcrl_course.learners.log import load_run, save_state
from mpcrl_course.neural import Adam, Network, soft_update


class Batch(NamedTuple):
    """Transitions, one a row: s (B, n), a (B, m), cost (B, 1), s_next (B, n), terminated (B, 1)."""

    s: np.ndarray
    a: np.ndarray
    cost: np.ndarray
    s_next: np.ndarray
    terminated: np.ndarray


class ReplayBuffer:
    """The last `size` transitions in one array: a ring, in which the newest overwrites the oldest.

    Parameters
    ----------
    size : int
    n_states, n_actions : int
    """

    def __init__(self, size: int, n_states: int, n_actions: int, dtype=np.float32):
        self.rows = np.zeros((size, 2 * n_states + n_actions + 2), dtype)
        self.cuts = np.cumsum([0, n_states, n_actions, 1, n_states, 1]).tolist()
        self.count = 0  # of all transitions that ever came in

    def __len__(self) -> int:
        return min(self.count, len(self.rows))

    def add(self, s, a, cost: float, s_next, terminated: bool) -> None:
        """Store a transition."""
        row = self.rows[self.count % len(self.rows)]
        c = self.cuts
        row[: c[1]], row[c[1] : c[2]], row[c[2]], row[c[3] : c[4]], row[c[4]] = s, a, cost, s_next, terminated
        self.count += 1

    def draw(self, batch: int, rng: np.random.Generator) -> Batch:
        """Return `batch` transitions, each drawn uniformly from all that are stored."""
        rows = self.rows.take(rng.integers(len(self), size=batch), axis=0)
        return Batch(*(rows[:, i:j] for i, j in zip(self.cuts[:-1], self.cuts[1:], strict=True)))


def critic_target(cost, terminated, s_next, target_actor: Network, target_critic: Network, gamma: float) -> np.ndarray:
    """Return y = L + gamma Q'(s+, mu'(s+)), shape (B, 1); y = L where s+ is terminal."""
    a_next, _ = target_actor.forward(s_next)
    q_next, _ = target_critic.forward(s_next, a_next)
    return cost + gamma * (1 - terminated) * q_next


def critic_gradient(critic: Network, s, a, y):
    """Return the gradient of (1/2B) sum (Q_w(s, a) - y)^2 in w, and the TD errors y - Q, shape (B, 1)."""
    q, tape = critic.forward(s, a)
    td = y - q
    gradient, _ = critic.backward(tape, td / -len(y), inputs=False)
    return gradient, td


def actor_gradient(actor: Network, critic: Network, s) -> np.ndarray:
    """Return (1/B) sum grad_theta mu_theta(s) grad_a Q_w(s, a) at a = mu_theta(s): the gradient of the mean cost."""
    a, tape = actor.forward(s)
    q, critic_tape = critic.forward(s, a)
    _, dx = critic.backward(critic_tape, np.ones(q.shape, q.dtype), weights=False)
    gradient, _ = actor.backward(tape, dx[:, s.shape[1] :] / len(s), inputs=False)
    return gradient


def noisy_action(a: np.ndarray, sigma: float, lower, upper, rng: np.random.Generator) -> np.ndarray:
    """Return a plus normal noise of standard deviation sigma times half the range, clipped to [lower, upper]."""
    noise = sigma * (upper - lower) / 2 * rng.standard_normal(len(a))
    return np.minimum(np.maximum(a + noise, lower), upper)


class Agent:
    """Actor and critic, a slow copy of each (the targets), and their optimisers.

    Parameters
    ----------
    n_states : int
    lower, upper : array_like, shape (n_actions,)
        Action limits, kept by the actor.
    rng : numpy.random.Generator
        Draws the first weights.
    width : int
        Units of each hidden layer.
    actor_rate, critic_rate : float
        Learning rates. The critic's is the larger one: the actor can be no better than what it descends on.
    gamma, tau : float
        Discount, and the share of the new weights in a soft update (1: no target networks).
    next_action : {'target', 'current'}
        Which actor chooses the next action in the critic's target.

    Attributes
    ----------
    actor, critic, target_actor, target_critic : Network
        mu(s) of shape (n_actions,), and Q(s, a) of the concatenated (s, a).
    """

    def __init__(self, n_states: int, lower, upper, rng: np.random.Generator, *, width: int = 64,
                 actor_rate: float = 5e-4, critic_rate: float = 2e-3, gamma: float = 0.98, tau: float = 0.005,
                 next_action: str = "target"):  # fmt: skip
        if next_action not in ("target", "current"):
            raise ValueError(f"next_action must be 'target' or 'current', not {next_action!r}")
        if not 0.0 <= gamma <= 1.0 or not 0.0 < tau <= 1.0:
            raise ValueError(f"need 0 <= gamma <= 1 and 0 < tau <= 1, not gamma = {gamma} and tau = {tau}")
        self.lower, self.upper = (np.atleast_1d(np.asarray(bound, float)) for bound in (lower, upper))
        self.n_states, self.n_actions, self.gamma, self.tau = n_states, len(self.lower), gamma, tau
        self.next_action = next_action
        self.actor = Network(n_states, self.n_actions, rng, width=width, lower=self.lower, upper=self.upper)
        self.critic = Network(n_states + self.n_actions, 1, rng, width=width)
        self.target_actor, self.target_critic = self.actor.copy(), self.critic.copy()
        self.actor_adam = Adam(self.actor.theta.size, actor_rate)
        self.critic_adam = Adam(self.critic.theta.size, critic_rate)

    def policy(self, s) -> np.ndarray:
        """Return mu(s), shape (..., n_actions), in float64."""
        return self.actor(s).astype(float)

    def value(self, s, a) -> np.ndarray:
        """Return the critic's Q(s, a), shape (...)."""
        return self.critic(np.concatenate([s, a], axis=-1))[..., 0]

    def update(self, batch: Batch) -> tuple[float, float]:
        """Make one update from a batch; return the mean |TD error| and the mean target."""
        s, a, cost, s_next, terminated = batch
        chooser = self.target_actor if self.next_action == "target" else self.actor
        y = critic_target(cost, terminated, s_next, chooser, self.target_critic, self.gamma)
        gradient, td = critic_gradient(self.critic, s, a, y)
        self.critic_adam.descend(self.critic.theta, gradient)
        self.actor_adam.descend(self.actor.theta, actor_gradient(self.actor, self.critic, s))
        soft_update(self.target_critic.theta, self.critic.theta, self.tau)
        soft_update(self.target_actor.theta, self.actor.theta, self.tau)
        return float(np.abs(td).sum()) / len(td), float(y.sum()) / len(y)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that learning changes, by name."""
        networks = {n: getattr(self, n).theta for n in ("actor", "critic", "target_actor", "target_critic")}
        adams = {"actor_adam": self.actor_adam, "critic_adam": self.critic_adam}
        return networks | {f"{n}_{part}": np.asarray(getattr(adam, part))
                           for n, adam in adams.items() for part in ("mean", "square", "count")}  # fmt: skip

    def load(self, arrays) -> None:
        """Take what `arrays` gave."""
        for name in ("actor", "critic", "target_actor", "target_critic"):
            getattr(self, name).theta[:] = arrays[name]
        for name in ("actor_adam", "critic_adam"):
            adam = getattr(self, name)
            adam.mean[:], adam.square[:] = arrays[f"{name}_mean"], arrays[f"{name}_square"]
            adam.count = int(arrays[f"{name}_count"])


def pendulum_policy(agent: Agent) -> Callable:
    """Return the actor as a function of pendulum states (..., 2): it sees (cos q, sin q, v), as `Pendulum` shows it."""

    def policy(x):
        x = np.asarray(x, dtype=float)
        return agent.policy(np.stack([np.cos(x[..., 0]), np.sin(x[..., 0]), x[..., 1]], axis=-1))

    return policy


@dataclass
class DDPGLog:
    """What happened in a run.

    Attributes
    ----------
    s, a : ndarray, shapes (steps, n_states), (steps, n_actions)
        Observation and action (with noise) of step k.
    cost : ndarray, shape (steps,)
        Stage cost.
    td, target : ndarray, shape (steps,)
        Mean |TD error| and mean target of step k's batch; nan before learning starts.
    ended : ndarray of bool, shape (steps,)
        Steps that ended an episode.
    seconds : float
        Wall time.
    stopped : str
        Why the run ended before its last step; empty if it did not.
    """

    s: np.ndarray
    a: np.ndarray
    cost: np.ndarray
    td: np.ndarray
    target: np.ndarray
    ended: np.ndarray
    seconds: float = 0.0
    stopped: str = ""

    @property
    def steps(self) -> int:
        """Steps made."""
        return len(self.cost)

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the step at which each finished episode ended, and its undiscounted cost."""
        ends = np.flatnonzero(self.ended)
        return ends, np.diff(np.cumsum(self.cost)[ends], prepend=0.0)

    def __str__(self):
        _, costs = self.episodes()
        text = f"{self.steps} steps in {self.seconds:.1f} s, {len(costs)} episodes"
        if len(costs):
            text += f"; mean cost of the last {len(costs[-10:])}: {costs[-10:].mean():.1f}"
        return text + (f" (stopped: {self.stopped})" if self.stopped else "")


def ddpg(
    env,
    *,
    steps: int,
    rng: np.random.Generator,
    agent: Agent | None = None,
    batch: int = 64,
    memory: int = 100_000,
    warm_up: int = 1000,
    noise: float | Callable = 0.2,
    mask_truncation: bool = False,
    save=None,
    save_every: int = 5000,
    resume: bool = False,
    progress: bool = True,
    on_step: Callable | None = None,
    **options,
) -> tuple[Agent, DDPGLog]:
    """Learn actor and critic while controlling `env`, one update a step.

    Parameters
    ----------
    env : gymnasium.Env
        The plant; its reward is minus the stage cost. It draws from `rng` too.
    steps : int
        Number of steps in total (also when resumed).
    rng : numpy.random.Generator
        All randomness of the run.
    agent : Agent, optional
        Goes on learning; by default a new one, made with `**options` (see `Agent`).
    batch, memory : int
        Size of a batch, and of the replay memory.
    warm_up : int
        Steps with uniform random actions, before learning starts.
    noise : float or schedule
        Standard deviation of the exploration noise, relative to half the action's range.
    mask_truncation : bool
        Treat truncation as termination: wrong, and here so that it can be shown.
    save, save_every, resume
        Path (without suffix) of a state that is written every `save_every` steps and at the end, and from which the run
        goes on bit for bit if `resume`.
    progress : bool
        Whether to show a progress bar.
    on_step : callable (k, agent), optional
        Called after every step.

    Returns
    -------
    agent : Agent
    log : DDPGLog
    """
    lower, upper = env.action_space.low.astype(float), env.action_space.high.astype(float)
    n_states, n_actions = env.observation_space.shape[0], len(lower)
    agent = agent or Agent(n_states, lower, upper, rng, **options)
    replay, sigma = ReplayBuffer(min(memory, steps), n_states, n_actions), as_schedule(noise)
    log = DDPGLog(np.zeros((steps, n_states)), np.zeros((steps, n_actions)), np.zeros(steps), np.full(steps, np.nan),
                  np.full(steps, np.nan), np.zeros(steps, bool))  # fmt: skip
    began, k0 = time.perf_counter(), 0
    env.unwrapped.np_random = rng
    if resume:
        k0, s, seconds = _load(save, log, agent, replay, env, rng)
        began -= seconds
    else:
        s, _ = env.reset()
    k = k0
    try:
        for k in tqdm(range(k0, steps), initial=k0, total=steps, disable=not progress, desc="DDPG", unit="step"):
            if k < warm_up:
                a = rng.uniform(lower, upper)
            else:
                a = noisy_action(agent.policy(s), sigma(k), lower, upper, rng)
            s_next, reward, terminated, truncated, _ = env.step(a)
            # only termination ends the sum of costs; truncation only ends our watching
            replay.add(s, a, -reward, s_next, terminated or (mask_truncation and truncated))
            log.s[k], log.a[k], log.cost[k], log.ended[k] = s, a, -reward, terminated or truncated
            if k >= warm_up:
                log.td[k], log.target[k] = agent.update(replay.draw(batch, rng))
                if not np.isfinite(log.td[k] + agent.actor.theta @ agent.actor.theta):
                    log.stopped = f"the update of step {k} is not finite"
            s = env.reset()[0] if log.ended[k] else s_next
            if on_step:
                on_step(k, agent)
            if save and (k + 1) % save_every == 0:
                _save(save, k + 1, log, agent, replay, env, rng, s, time.perf_counter() - began)
            if log.stopped:
                break
        k = k + 1 if steps > k0 else k0
    except KeyboardInterrupt:
        # the step that was interrupted is dropped: with `save`, resume from the last state written
        log.stopped = f"interrupted in step {k}"
    seconds = time.perf_counter() - began
    if save and not log.stopped:
        _save(save, k, log, agent, replay, env, rng, s, seconds)
    return agent, DDPGLog(**{name: getattr(log, name)[:k] for name in _SERIES}, seconds=seconds, stopped=log.stopped)


_SERIES = ("s", "a", "cost", "td", "target", "ended")


def _save(path, k, log, agent, replay, env, rng, s, seconds):
    arrays = {f"log_{name}": getattr(log, name)[:k] for name in _SERIES}
    arrays |= {"replay": replay.rows[: len(replay)], "state": s, **agent.arrays()}
    scalars = {"k": k, "seconds": seconds, "replay_count": replay.count}
    scalars |= {"env": env.unwrapped.state_dict(), "rng": rng.bit_generator.state}
    save_state(path, arrays, scalars)


def _load(path, log, agent, replay, env, rng):
    arrays, scalars = load_run(path, len(log.cost))
    k = scalars["k"]
    for name in _SERIES:
        getattr(log, name)[:k] = arrays[f"log_{name}"]
    agent.load(arrays)
    rows = arrays["replay"]
    if len(rows) > len(replay.rows):
        raise ValueError(f"the saved memory has {len(rows)} transitions, more than the {len(replay.rows)} asked for")
    replay.rows[: len(rows)], replay.count = rows, scalars["replay_count"]
    env.reset()
    env.unwrapped.load_state_dict(scalars["env"])
    rng.bit_generator.state = scalars["rng"]
    return k, arrays["state"], scalars["seconds"]
