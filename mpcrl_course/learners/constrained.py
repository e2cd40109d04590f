"""Primal-dual DDPG: lower the cost, and keep the expected violation below a budget.

    minimise over theta, maximise over lambda >= 0    J_L(theta) + lambda (J_d(theta) - budget)

J_L and J_d are means over the steps of the cost L and of the violation d >= 0 of the state that is reached. There are
two critics, of the discounted sums of the one and of the other; the actor descends on Q_L + lambda Q_d, and once an
episode

    lambda <- max(0, lambda + rate * (mean violation of its steps - budget)).

Everything else is DDPG. What it promises is a mean, not each step; and what it measures is the policy with its
exploration noise, which violates more than the policy without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.ddpg import ActorCritic, box_of, critic_gradient, critic_target, noisy_action
from mpcrl_course.learners.log import Log
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.mlp import MLP, Adam
from mpcrl_course.validation import function, real, whole


class ConstrainedActorCritic(ActorCritic):
    """Actor and critic with a second critic, of the violation, and a multiplier.

    Parameters
    ----------
    n_states, lower, upper, rng, **options
        See `ActorCritic`.

    Attributes
    ----------
    risk, target_risk : MLP
        Q_d(s, a): the discounted sum of violations to come.
    multiplier : float
        lambda.
    """

    NETWORKS = (*ActorCritic.NETWORKS, "risk", "target_risk")
    OPTIMISERS = (*ActorCritic.OPTIMISERS, "risk_adam")

    def __init__(self, n_states: int, lower, upper, rng: np.random.Generator, **options):
        super().__init__(n_states, lower, upper, rng, **options)
        self.risk = MLP(n_states + self.n_actions, 1, rng, width=self.critic.sizes[1])
        self.target_risk = self.risk.copy()
        self.risk_adam = Adam(self.risk.theta.size, self.critic_adam.rate)
        self.multiplier = 0.0

    def update_both(self, batch) -> None:
        """Make one update from a batch as in `ActorCritic.update`, with the violations (B, 1) at its end."""
        s, a, cost, s_next, terminated, violation = batch
        chooser = self.target_actor if self.next_action == "target" else self.actor
        for critic, target, adam, number in (
            (self.critic, self.target_critic, self.critic_adam, cost),
            (self.risk, self.target_risk, self.risk_adam, violation),
        ):
            y = critic_target(number, terminated, s_next, chooser, target, self.gamma)
            adam.descend(critic.theta, critic_gradient(critic, s, a, y)[0])
        self.actor_adam.descend(self.actor.theta, self.lagrangian_gradient(s))
        self.follow(self.target_critic, self.critic)
        self.follow(self.target_risk, self.risk)
        self.follow(self.target_actor, self.actor)

    def lagrangian_gradient(self, s) -> np.ndarray:
        """Return the gradient of the batch's mean of (Q_L + lambda Q_d) / (1 + lambda) in theta.

        The division changes no minimum, and keeps the gradient's size when lambda is large.
        """
        a, tape = self.actor.forward(s)
        slope = np.zeros_like(a)
        for critic, weight in ((self.critic, 1.0), (self.risk, self.multiplier)):
            q, critic_tape = critic.forward(s, a)
            _, dx = critic.backward(critic_tape, np.ones(q.shape, q.dtype), weights=False)
            slope += np.float32(weight) * dx[:, s.shape[1] :]
        return self.actor.backward(tape, slope / np.float32((1.0 + self.multiplier) * len(s)), inputs=False)[0]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that learning changes, by name."""
        return super().arrays() | {"multiplier": np.array(self.multiplier)}

    def load(self, arrays) -> None:
        """Take what `arrays` gave."""
        super().load(arrays)
        self.multiplier = real(arrays["multiplier"], "its multiplier", 0.0)


def next_multiplier(multiplier: float, violation: float, budget: float, rate: float) -> float:
    """Return max(0, multiplier + rate * (violation - budget)): it rises while the budget is exceeded."""
    return max(0.0, multiplier + rate * (violation - budget))


class History(NamedTuple):
    """Of each episode, shape (episodes,): the multiplier after it, the mean violation of its steps, and its cost."""

    multiplier: np.ndarray
    violation: np.ndarray
    cost: np.ndarray


class PrimalDual(Learner):
    """One update of actor and both critics a step, and one of the multiplier an episode.

    Parameters
    ----------
    env, rng
        See `Learner`; episodes must end, or the multiplier never moves.
    violation : callable (s_next) -> float
        How much the observation that was reached violates; >= 0.
    budget : float
        Mean violation of a step that is allowed.
    rate : float
        Step size of the multiplier; 0 keeps it, which makes it a plain penalty.
    multiplier : float
        First value of lambda.
    batch, memory, warm_up, noise
        As of `DDPG`. The multiplier moves after the warm-up only.
    **options
        Of `ActorCritic`.

    Attributes
    ----------
    agent : ConstrainedActorCritic
    log : Log
        s, a, cost, violation, multiplier (that was in force), ended.

    Raises
    ------
    ValueError
        A violation is negative or not finite; says in which step.
    """

    name = "primal-dual DDPG"

    def __init__(
        self,
        env,
        rng: np.random.Generator,
        violation: Callable,
        *,
        budget: float,
        rate: float = 20.0,
        multiplier: float = 0.0,
        batch: int = 64,
        memory: int = 100_000,
        warm_up: int = 1000,
        noise: float | Callable = 0.2,
        **options,
    ):
        budget, rate, multiplier = real(budget, "budget", 0), real(rate, "rate", 0), real(multiplier, "multiplier", 0)
        function(violation, "violation")
        self.lower, self.upper = box_of(env)
        n, m = env.observation_space.shape[0], len(self.lower)
        self.agent = ConstrainedActorCritic(n, self.lower, self.upper, rng, **options)
        self.agent.multiplier = float(multiplier)
        super().__init__(env, rng)
        self.replay = Replay(memory, batch, dtype=np.float32, s=n, a=m, cost=1, s_next=n, terminated=1, violation=1)
        self.violation, self.budget, self.rate = violation, budget, rate
        self.warm_up, self.noise = whole(warm_up, "warm_up", 0), as_schedule(noise, "noise")
        self.episodes = Log()
        self.parts |= {"agent": self.agent, "replay": self.replay, "episodes": self.episodes}

    def step(self) -> None:
        """Act, remember, update; at an episode's end the multiplier moves."""
        agent, log, learning = self.agent, self.log, self.k >= self.warm_up
        if learning:
            a = noisy_action(agent.policy(self.s), at(self.noise, self.k, "noise"), self.lower, self.upper, self.rng)
        else:
            a = self.rng.uniform(self.lower, self.upper)
        s_next, cost, terminated, truncated, _ = self.apply(a)
        ended, d = terminated or truncated, real(self.violation(s_next), f"the violation in step {self.k}", 0.0)
        # truncation ends our watching, not the sum of costs
        self.replay.add(s=self.s, a=a, cost=cost, s_next=s_next, terminated=terminated, violation=d)
        multiplier = agent.multiplier
        if learning:
            agent.update_both(self.replay.draw(self.rng))
            if not np.isfinite(agent.actor.theta.sum()):
                log.stopped = f"the actor's weights are not finite after the update of step {self.k}"
        log.add(s=self.s, a=a, cost=cost, violation=np.float32(d), multiplier=multiplier, ended=ended)
        if ended:
            ends = np.flatnonzero(log.ended)
            own = slice(ends[-2] + 1 if len(ends) > 1 else 0, None)
            mean, total = float(log.violation[own].mean(dtype=float)), sum(log.cost[own].tolist())
            if learning:
                agent.multiplier = next_multiplier(agent.multiplier, mean, self.budget, self.rate)
            self.episodes.add(multiplier=agent.multiplier, violation=mean, cost=total)
        self.s = self.restart() if ended else s_next

    def history(self) -> History:
        """Return what happened, episode by episode."""
        if not self.episodes.steps:
            return History(*np.zeros((3, 0)))
        return History(self.episodes.multiplier, self.episodes.violation, self.episodes.cost)
