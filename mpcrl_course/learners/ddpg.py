"""Deep deterministic policy gradient (Lillicrap et al. 2016), for costs: everything is minimised.

    target     y = L + gamma Q'(s+, mu'(s+)),  without the second term if s+ is terminal (truncation is not termination)
    critic     w     <- w     - alpha (1/B) sum (Q_w(s, a) - y) grad_w Q_w(s, a)
    actor      theta <- theta - alpha (1/B) sum grad_theta mu_theta(s) grad_a Q_w(s, a) at a = mu_theta(s)
    targets    w'    <- (1 - tau) w' + tau w,    theta' <- (1 - tau) theta' + tau theta

The actor descends: Q is a cost. (The plus sign in other texts is for rewards.) Adam takes the place of the plain step.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import gymnasium as gym
import numpy as np

from mpcrl_course.envs.pendulum import observation
from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.mlp import MLP, Adam, Trainable, soft_update
from mpcrl_course.own import answering, checked
from mpcrl_course.validation import asfloats, choice, flag, generator, instance, real, reals, share, whole


def critic_target(cost, terminated, s_next, target_actor: MLP, target_critic: MLP, gamma: float) -> np.ndarray:
    """Return y = L + gamma Q'(s+, mu'(s+)), shape (B, 1); y = L where s+ is terminal.

    Parameters
    ----------
    cost, terminated : ndarray, shape (B, 1)
        L, and 1 where s+ is terminal, else 0.
    s_next : ndarray, shape (B, n)
        s+.
    target_actor, target_critic : MLP
        mu' and Q'.
    gamma : float
        Discount.
    """
    a_next, _ = target_actor.forward(s_next)
    q_next, _ = target_critic.forward(s_next, a_next)
    return cost + gamma * (1 - terminated) * q_next


def critic_gradient(critic: MLP, s, a, y, huber: float | None = None):
    """Return the gradient of (1/2B) sum (Q_w(s, a) - y)^2 in w, and the TD errors y - Q, shape (B, 1).

    The `critic` is Q_w; s (B, n), a (B, m), y (B, 1). With `huber`, an error counts no more than one of this size
    (Huber's loss): a few very dear transitions do not drown the others.
    """
    q, tape = critic.forward(s, a)
    td = y - q
    counted = td if huber is None else np.clip(td, -huber, huber)
    gradient, _ = critic.backward(tape, counted / -len(y), inputs=False)
    return gradient, td


def actor_gradient(actor: MLP, critic: MLP, s) -> np.ndarray:
    """Return (1/B) sum grad_theta mu_theta(s) grad_a Q_w(s, a) at a = mu_theta(s): the gradient of the mean cost.

    The `actor` is mu_theta, the `critic` Q_w; s (B, n).
    """
    a, tape = actor.forward(s)
    q, critic_tape = critic.forward(s, a)
    _, dx = critic.backward(critic_tape, np.ones(q.shape, q.dtype), weights=False)
    gradient, _ = actor.backward(tape, dx[:, s.shape[1] :] / len(s), inputs=False)
    return gradient


def noisy_action(a: np.ndarray, sigma: float, lower, upper, rng: np.random.Generator) -> np.ndarray:
    """Return the action `a` plus normal noise of standard deviation sigma times half the range, within [lower, upper].

    `a`, `lower` and `upper` have shape (m,); `rng` draws the noise.
    """
    a, lower, upper = asfloats(a, "a"), asfloats(lower, "lower"), asfloats(upper, "upper")
    if not a.shape == lower.shape == upper.shape == (a.size,):
        raise ValueError(f"a, lower and upper have shapes {a.shape}, {lower.shape} and {upper.shape}, not all (m,)")
    if type(sigma) is not float or not 0.0 <= sigma < np.inf:
        sigma = real(sigma, "sigma", 0.0)
    noise = sigma * (upper - lower) / 2 * generator(rng).standard_normal(len(a))
    action = np.minimum(np.maximum(a + noise, lower), upper)
    if not all(map(isfinite, action.tolist())):
        reals(a, "a"), reals(lower, "lower"), reals(upper, "upper")
    return action


class ActorCritic(Trainable):
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
    huber : float, optional
        See `critic_gradient`.
    next_action : {'target', 'current'}
        Which actor chooses the next action in the critic's target.
    critic_target, actor_gradient, soft_update : callable, optional
        A reader's own functions in the place of those of this file; `soft_update` may return the new target, or change
        it in place and return None.

    Attributes
    ----------
    actor, critic, target_actor, target_critic : MLP
        mu(s) of shape (n_actions,), and Q(s, a) of the concatenated (s, a).
    """

    NETWORKS: tuple[str, ...] = ("actor", "critic", "target_actor", "target_critic")
    OPTIMISERS: tuple[str, ...] = ("actor_adam", "critic_adam")

    def __init__(
        self,
        n_states: int,
        lower,
        upper,
        rng: np.random.Generator,
        *,
        width: int = 64,
        actor_rate: float = 5e-4,
        critic_rate: float = 2e-3,
        gamma: float = 0.98,
        tau: float = 0.005,
        huber: float | None = None,
        next_action: str = "target",
        critic_target: Callable = critic_target,
        actor_gradient: Callable = actor_gradient,
        soft_update: Callable = soft_update,
    ):
        choice(next_action, ("target", "current"), "next_action")
        gamma, tau = real(gamma, "gamma", 0.0, 1.0), share(tau, "tau")
        actor_rate, critic_rate = real(actor_rate, "actor_rate", 0.0), real(critic_rate, "critic_rate", 0.0)
        n_states, width, rng = whole(n_states, "n_states", 1), whole(width, "width", 1), generator(rng)
        self.lower, self.upper = (
            np.atleast_1d(reals(bound, name)) for bound, name in ((lower, "lower"), (upper, "upper"))
        )
        if self.lower.ndim != 1 or self.lower.shape != self.upper.shape or not (self.lower < self.upper).all():
            raise ValueError(f"lower must be below upper, of shape (n_actions,), but they are {lower} and {upper}")
        self.n_states, self.n_actions, self.gamma, self.tau = n_states, len(self.lower), gamma, tau
        self.next_action, self.huber = next_action, None if huber is None else real(huber, "huber", 0.0)
        self.actor = MLP(n_states, self.n_actions, rng, width=width, lower=self.lower, upper=self.upper)
        self.critic = MLP(n_states + self.n_actions, 1, rng, width=width)
        self.target_actor, self.target_critic = self.actor.copy(), self.critic.copy()
        self.actor_adam = Adam(self.actor.theta.size, actor_rate)
        self.critic_adam = Adam(self.critic.theta.size, critic_rate)
        float32 = np.float32
        self.critic_target = answering("critic_target", critic_target, lambda cost, *_: cost.shape, float32)
        self.actor_gradient = answering("actor_gradient", actor_gradient, lambda mu, *_: mu.theta.shape, float32)
        self.soft_update = soft_update

    def policy(self, s) -> np.ndarray:
        """Return mu(s), shape (..., n_actions), in float64."""
        return self.actor(s).astype(float)

    def value(self, s, a) -> np.ndarray:
        """Return the critic's Q(s, a), shape (...)."""
        s, a = reals(s, "s", (..., self.n_states)), reals(a, "a", (..., self.n_actions))
        if s.shape[:-1] != a.shape[:-1]:
            raise ValueError(f"s and a are pairs, but have shapes {s.shape} and {a.shape}")
        return self.critic(np.concatenate([s, a], axis=-1))[..., 0]

    def update(self, batch, change: Callable | None = None) -> tuple[float, float]:
        """Make one update.

        Parameters
        ----------
        batch : sequence of ndarray
            s (B, n), a (B, m), cost (B, 1), s_next (B, n), terminated (B, 1).
        change : callable (y) -> y, optional
            What is made of the targets (B, 1) before the critic moves towards them.

        Returns
        -------
        td, target : float
            Mean |TD error| and mean target.
        """
        s, a, cost, s_next, terminated = batch
        chooser = self.target_actor if self.next_action == "target" else self.actor
        y = self.critic_target(cost, terminated, s_next, chooser, self.target_critic, self.gamma)
        y = y if change is None else change(y)
        gradient, td = critic_gradient(self.critic, s, a, y, self.huber)
        self.critic_adam.descend(self.critic.theta, gradient)
        self.actor_adam.descend(self.actor.theta, self.actor_gradient(self.actor, self.critic, s))
        self.follow(self.target_critic, self.critic)
        self.follow(self.target_actor, self.actor)
        return float(np.abs(td).sum()) / len(td), float(y.sum()) / len(y)

    def follow(self, slow: MLP, fast: MLP) -> None:
        """Move the weights of `slow`, a target network, towards those of the network it follows, `fast`."""
        new = self.soft_update(slow.theta, fast.theta, self.tau)
        if new is not None:
            slow.theta[:] = checked("soft_update", new, slow.theta.shape, np.float32)


def pendulum_policy(agent: ActorCritic) -> Callable:
    """Return the actor of an `agent` as a function of pendulum states (..., 2).

    It sees (cos q, sin q, v), as `Pendulum` shows it.
    """
    instance(agent, ActorCritic, "agent")

    def policy(x):
        return agent.policy(observation(x))

    return policy


def pendulum_value(agent: ActorCritic) -> Callable:
    """Return V(x) = Q(x, mu(x)) of an `agent` as a function of pendulum states (..., 2), to numbers (...)."""
    instance(agent, ActorCritic, "agent")

    def value(x):
        s = observation(x)
        return agent.value(s, agent.policy(s))

    return value


def box_of(env) -> tuple[np.ndarray, np.ndarray]:
    """Return lowest and highest actions of an `env`, shape (n_actions,); ValueError if they are not a finite box."""
    space = instance(env, gym.Env, "env").action_space
    if not isinstance(space, gym.spaces.Box) or not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"env needs actions in a finite box, not {space}")
    instance(env.observation_space, gym.spaces.Box, "the plant's observation_space")
    return space.low.astype(float), space.high.astype(float)


class DDPG(Learner):
    """One update a step, while controlling `env`.

    Parameters
    ----------
    env, rng
        See `Learner`.
    agent : ActorCritic, optional
        Goes on learning; by default a new one, made with `**options` (see `ActorCritic`).
    batch, memory : int
        Size of a batch, and of the replay memory.
    warm_up : int
        Steps with uniform random actions, before learning starts.
    noise : float or schedule
        Standard deviation of the exploration noise, relative to half the action's range.
    mask_truncation : bool
        Treat truncation as termination: wrong, and here so that it can be shown.

    Attributes
    ----------
    agent : ActorCritic
    replay : Replay
    log : Log
        s, a: observation and action (with noise); cost; td, target: mean |TD error| and mean target of the batch (nan
        before learning starts); ended: whether the step ended an episode.
    """

    name = "DDPG"
    #: What else is stored of a transition, and its size: see `told`.
    more: dict[str, int] = {}

    def __init__(
        self,
        env,
        rng: np.random.Generator,
        agent: ActorCritic | None = None,
        *,
        batch: int = 64,
        memory: int = 100_000,
        warm_up: int = 1000,
        noise: float | Callable = 0.2,
        mask_truncation: bool = False,
        **options,
    ):
        self.lower, self.upper = box_of(env)
        n, m = env.observation_space.shape[0], len(self.lower)
        agent = agent if agent is None else instance(agent, ActorCritic, "agent")
        if agent is not None and (agent.n_states, agent.n_actions) != (n, m):
            sizes = f"{agent.n_states} states and {agent.n_actions} inputs"
            raise ValueError(f"agent is one of {sizes}, but the plant shows {n} numbers and takes {m}")
        self.agent = agent or ActorCritic(n, self.lower, self.upper, rng, **options)
        super().__init__(env, rng)
        self.replay = Replay(memory, batch, dtype=np.float32, s=n, a=m, cost=1, s_next=n, terminated=1, **self.more)
        self.warm_up, self.noise = whole(warm_up, "warm_up", 0), as_schedule(noise, "noise")
        self.mask_truncation = flag(mask_truncation, "mask_truncation")
        self.parts |= {"agent": self.agent, "replay": self.replay}

    def step(self) -> None:
        """Act, remember, update."""
        agent, learning, td, target = self.agent, self.k >= self.warm_up, np.nan, np.nan
        a = self.act()
        told = self.told(a)
        s_next, cost, terminated, truncated, _ = self.apply(a)
        a = self.acted
        # only termination ends the sum of costs; truncation only ends our watching
        final, ended = terminated or (self.mask_truncation and truncated), terminated or truncated
        self.replay.add(s=self.s, a=a, cost=cost, s_next=s_next, terminated=final, **told)
        if learning:
            td, target = self.update(self.replay.draw(self.rng))
            if not np.isfinite(td + agent.actor.theta @ agent.actor.theta):
                self.log.stopped = f"the update of step {self.k} is not finite"
        self.log.add(s=self.s, a=a, cost=cost, td=td, target=target, ended=ended)
        self.s = self.restart() if ended else s_next

    def act(self) -> np.ndarray:
        """Return the action (m,) in the present state: random while warming up, then the actor's with noise."""
        if self.k < self.warm_up:
            return self.rng.uniform(self.lower, self.upper)
        sigma = at(self.noise, self.k, "noise")
        return noisy_action(self.agent.policy(self.s), sigma, self.lower, self.upper, self.rng)

    def told(self, a) -> dict:
        """Return what else is stored of the present state and the action a (m,), by name: here nothing."""
        return {}

    def update(self, batch) -> tuple[float, float]:
        """Let the agent learn from a batch; return mean |TD error| and mean target."""
        return self.agent.update(batch)
