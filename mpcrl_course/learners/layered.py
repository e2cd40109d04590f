"""A differentiable MPC as the last layer of an actor: phi = phi_w(s), u = pi(s; phi), and one gradient through both.

    target     y = L + gamma Q'(s+, pi(s+; phi'(s+)))
    critic     by the Huber loss of Q(s, a) - y: its slope is cut off at 1
    actor      w <- w - alpha mean of (dphi/dw)' (dpi/dphi)' grad_a Q(s, a) at a = pi(s; phi_w(s))

phi and Q are perceptrons, ' marks their slow copies, dpi/dphi comes from the MPC's own KKT system: the layer is a
convex QP, so it has one output, and a slope but where its active set changes. With `through=False` the MPC is part of
the environment instead: the critic judges phi, Q(s, phi), and no derivative of the MPC is asked for. That is DDPG with
phi as its action.

Where u lies on its limit, dpi/dphi is zero, and such a state teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.ddpg import box_of, noisy_action
from mpcrl_course.learners.policy_gradient import slopes_of_policy
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.mlp import MLP, Adam, Trainable, soft_update
from mpcrl_course.mpc import MPC
from mpcrl_course.validation import flag, function, generator, instance, real, reals, share, whole


def scaled(s) -> np.ndarray:
    """Return what networks see of the linear plant's states s (n, 2), or (n, 3) with gusts: about of size 1."""
    s = np.asarray(s)
    return np.hstack([4.0 * s[:, :2], 2.0 * s[:, 2:] - 1.0])


def blind(s) -> np.ndarray:
    """Return nothing of the states s (n, 2): phi is the same at all of them."""
    return np.zeros((len(s), 2))


class LayeredActor(Trainable):
    """phi_w(s) with the MPC behind it, a critic, a slow copy of both, and their optimisers.

    Parameters
    ----------
    mpc : MPC
        Its state is (x, phi), of which x is the first part of what is observed.
    theta : ndarray, shape (n_theta,)
        Of the MPC; it is not learned.
    n_states : int
        Numbers observed.
    lower, upper : array_like, shape (n_phi,)
        Limits of phi, kept by a tanh.
    rng : numpy.random.Generator
    sees, judges : callable (s) -> ndarray (n, …)
        What phi and the critic see of states (n, n_states).
    through : bool
        Whether the gradient goes through the MPC.
    width, critic_width : int
        Units of the hidden layers of phi, and of the critic.
    actor_rate, critic_rate, gamma, tau : float
        As of `ActorCritic`.
    dtype : numpy dtype
        Of the perceptrons; float64 for checking derivatives.

    Attributes
    ----------
    actor, critic, target_actor, target_critic : MLP
    """

    NETWORKS = ("actor", "critic", "target_actor", "target_critic")
    OPTIMISERS = ("actor_adam", "critic_adam")

    def __init__(
        self,
        mpc: MPC,
        theta,
        n_states: int,
        lower,
        upper,
        rng: np.random.Generator,
        *,
        sees: Callable = scaled,
        judges: Callable = scaled,
        through: bool = True,
        width: int = 8,
        critic_width: int = 64,
        actor_rate: float = 5e-4,
        critic_rate: float = 2e-3,
        gamma: float = 0.9,
        tau: float = 0.01,
        dtype: Any = np.float32,
    ):
        self.mpc, self.theta = instance(mpc, MPC, "mpc"), mpc.parameters.check(theta).copy()
        self.lower, self.upper = reals(lower, "lower", (None,)), reals(upper, "upper", (None,))
        if self.lower.shape != self.upper.shape or not self.lower.size or not (self.lower < self.upper).all():
            raise ValueError(f"lower must be below upper, of one shape (n_phi,), not {lower} and {upper}")
        rng, width, critic_width = generator(rng), whole(width, "width", 1), whole(critic_width, "critic_width", 1)
        self.n, self.through = mpc.problem.n_states - len(self.lower), flag(through, "through")
        self.sees, self.judges = function(sees, "sees"), function(judges, "judges")
        self.gamma, self.tau = share(gamma, "gamma"), share(tau, "tau")
        example = np.zeros((1, whole(n_states, "n_states", 1)))
        m = mpc.problem.n_actions if self.through else len(self.lower)
        seen, judged = (reals(f(example), f"what {name} returned", (1, None)).shape[1]
                        for f, name in ((self.sees, "sees"), (self.judges, "judges")))  # fmt: skip
        self.actor = MLP(seen, len(self.lower), rng, width=width, activation="tanh",
                         lower=self.lower, upper=self.upper, dtype=dtype)  # fmt: skip
        self.critic = MLP(judged + m, 1, rng, width=critic_width, dtype=dtype)
        self.dtype = dtype
        self.target_actor, self.target_critic = self.actor.copy(), self.critic.copy()
        self.actor_adam = Adam(self.actor.theta.size, real(actor_rate, "actor_rate", 0.0), dtype)
        self.critic_adam = Adam(self.critic.theta.size, real(critic_rate, "critic_rate", 0.0), dtype)

    def phi(self, s, slow: bool = False) -> np.ndarray:
        """Return phi (n, n_phi) at states s (n, n_states); that of the `slow` copy if so."""
        return (self.target_actor if slow else self.actor)(self.sees(s)).astype(float)

    def actions(self, s, phi) -> np.ndarray:
        """Return u (n, n_actions) of the MPC at states s with phi (n, n_phi)."""
        return self.mpc.values(self.theta, np.hstack([s[:, : self.n], phi]))[1]

    def policy(self, s, slow: bool = True) -> np.ndarray:
        """Return u (n, n_actions) at states s (n, n_states), by default of the `slow` copy: a controller."""
        return self.actions(s, self.phi(s, slow))

    def slopes(self, s, phi) -> tuple[np.ndarray, np.ndarray]:
        """Return u (n, m) and dpi/dphi (n, m, n_phi) of the MPC at states s with phi; zero where there is none."""
        plans = [self.mpc.policy(self.theta, row) for row in np.hstack([s[:, : self.n], phi])]
        m = self.mpc.problem.n_actions
        return np.array([v.u0[:m] for v in plans]), np.array([slopes_of_policy(v)[1][:m, self.n :] for v in plans])

    def update_critic(self, batch) -> float:
        """Make a step of the critic on a `batch`; return the mean |TD error|."""
        kind = self.dtype
        after = self.phi(batch.s_next, slow=True)
        if self.through:
            after = self.actions(batch.s_next, after)
        q_next = self.target_critic(np.hstack([self.judges(batch.s_next), after]))
        y = batch.cost + self.gamma * (1.0 - batch.terminated) * q_next
        q, tape = self.critic.forward(self.judges(batch.s).astype(kind), batch.a.astype(kind))
        td = y - q
        gradient, _ = self.critic.backward(tape, (np.clip(-td, -1.0, 1.0) / len(td)).astype(kind), inputs=False)
        self.critic_adam.descend(self.critic.theta, gradient)
        return float(np.abs(td).mean())

    def actor_gradient(self, s) -> tuple[np.ndarray, float]:
        """Return the gradient of the mean of Q in w at states s, and the share of states that teach nothing."""
        kind = self.dtype
        phi, tape = self.actor.forward(self.sees(s).astype(kind))
        if self.through:
            a, slope = self.slopes(s, phi.astype(float))
        else:
            a, slope = phi.astype(float), np.tile(np.eye(len(self.lower)), (len(s), 1, 1))
        seen = self.judges(s).astype(kind)
        q, critic_tape = self.critic.forward(seen, a.astype(kind))
        _, dx = self.critic.backward(critic_tape, np.ones_like(q), weights=False)
        of_phi = np.einsum("kmp,km->kp", slope, dx[:, seen.shape[1] :]) / len(s)
        gradient, _ = self.actor.backward(tape, of_phi.astype(kind), inputs=False)
        return gradient, float((~slope.any(axis=(1, 2))).mean())

    def follow(self) -> None:
        """Move the slow copies towards the networks."""
        soft_update(self.target_critic.theta, self.critic.theta, self.tau)
        soft_update(self.target_actor.theta, self.actor.theta, self.tau)


class LayerLearning(Learner):
    """Learning of phi(s) through the MPC (or with it in the environment) while it controls `env`.

    Parameters
    ----------
    mpc, theta, lower, upper
        As of `LayeredActor`; theta by default the initial one.
    env, rng
        See `Learner`.
    noise : float or schedule
        Standard deviation of the exploration noise, relative to half the range of u; or of phi, if the MPC is in the
        environment.
    warm_up, actor_after : int
        Steps before the critic learns, and before the actor does.
    every, batch, actor_batch : int
        Steps between updates of the actor, and sizes of both batches.
    memory : int
    **options
        Of `LayeredActor`.

    Attributes
    ----------
    agent : LayeredActor
    log : Log
        s, a (u, or phi), cost, td, idle (the share of the actor's batch with slope zero; nan without an update), ended.
    """

    name = "MPC as a layer"

    def __init__(
        self,
        mpc: MPC,
        env,
        rng: np.random.Generator,
        lower,
        upper,
        theta=None,
        *,
        noise: float | Callable = 0.1,
        warm_up: int = 200,
        actor_after: int = 500,
        every: int = 2,
        batch: int = 32,
        actor_batch: int = 32,
        memory: int = 20_000,
        **options,
    ):
        instance(mpc, MPC, "mpc"), instance(env, gym.Env, "env")
        theta, n = mpc.parameters.initial() if theta is None else theta, env.observation_space.shape[0]
        self.agent = LayeredActor(mpc, theta, n, lower, upper, rng, **options)
        super().__init__(env, rng)
        self.noise, self.limits = as_schedule(noise, "noise"), box_of(env)
        self.warm_up, self.actor_after = whole(warm_up, "warm_up", 1), whole(actor_after, "actor_after", 0)
        self.every, self.actor_batch = whole(every, "every", 1), whole(actor_batch, "actor_batch", 1)
        m = mpc.problem.n_actions if self.agent.through else len(self.agent.lower)
        self.replay = Replay(memory, batch, s=n, a=m, cost=1, s_next=n, terminated=1)
        self.parts |= {"agent": self.agent, "replay": self.replay}

    def step(self) -> None:
        """Act, remember, update."""
        agent, s, k, td, idle = self.agent, self.s, self.k, np.nan, np.nan
        sigma, phi = at(self.noise, k, "noise"), agent.phi(s[None])[0]
        if agent.through:
            a = u = noisy_action(agent.actions(s[None], phi[None])[0], sigma, *self.limits, self.rng)
        else:
            a = noisy_action(phi, sigma, agent.lower, agent.upper, self.rng)
            if k < self.warm_up:
                a = self.rng.uniform(agent.lower, agent.upper)
            u = agent.actions(s[None], a[None])[0]
        s_next, cost, terminated, truncated, _ = self.apply(u)
        self.replay.add(s=s, a=a, cost=cost, s_next=s_next, terminated=terminated)
        if k >= self.warm_up:
            td = agent.update_critic(self.replay.draw(self.rng))
            if k >= self.actor_after and k % self.every == 0:
                rows = self.rng.integers(len(self.replay), size=self.actor_batch)
                gradient, idle = agent.actor_gradient(self.replay.columns["s"][rows])
                agent.actor_adam.descend(agent.actor.theta, gradient)
            agent.follow()
        ended = terminated or truncated
        self.log.add(s=s, a=a, cost=cost, td=td, idle=idle, ended=ended)
        self.s = self.restart() if ended else s_next
