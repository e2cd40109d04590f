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
from tqdm.auto import tqdm

from mpcrl_course.learners.ddpg import Agent, Batch, ReplayBuffer, critic_gradient, critic_target, noisy_action
from mpcrl_course.neural import Adam, Network, soft_update


class ConstrainedAgent(Agent):
    """An agent with a second critic, of the violation, and a multiplier.

    Parameters
    ----------
    n_states, lower, upper, rng, **options
        See `Agent`.

    Attributes
    ----------
    risk, target_risk : Network
        Q_d(s, a): the discounted sum of violations to come.
    multiplier : float
        lambda.
    """

    def __init__(self, n_states: int, lower, upper, rng: np.random.Generator, **options):
        super().__init__(n_states, lower, upper, rng, **options)
        self.risk = Network(n_states + self.n_actions, 1, rng, width=self.critic.sizes[1])
        self.target_risk = self.risk.copy()
        self.risk_adam = Adam(self.risk.theta.size, self.critic_adam.rate)
        self.multiplier = 0.0

    def update_both(self, batch: Batch, violation) -> None:
        """Make one update from a batch and its violations (B, 1)."""
        s, a, cost, s_next, terminated = batch
        chooser = self.target_actor if self.next_action == "target" else self.actor
        for critic, target, adam, number in (
            (self.critic, self.target_critic, self.critic_adam, cost),
            (self.risk, self.target_risk, self.risk_adam, violation),
        ):
            y = critic_target(number, terminated, s_next, chooser, target, self.gamma)
            adam.descend(critic.theta, critic_gradient(critic, s, a, y)[0])
        self.actor_adam.descend(self.actor.theta, self.actor_gradient(s))
        for slow, fast in ((self.target_critic, self.critic), (self.target_risk, self.risk),
                           (self.target_actor, self.actor)):  # fmt: skip
            soft_update(slow.theta, fast.theta, self.tau)

    def actor_gradient(self, s) -> np.ndarray:
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
        own = {"risk": self.risk.theta, "target_risk": self.target_risk.theta, "multiplier": np.array(self.multiplier)}
        adam = {f"risk_adam_{part}": np.asarray(getattr(self.risk_adam, part)) for part in ("mean", "square", "count")}
        return super().arrays() | own | adam

    def load(self, arrays) -> None:
        """Take what `arrays` gave."""
        super().load(arrays)
        self.risk.theta[:], self.target_risk.theta[:] = arrays["risk"], arrays["target_risk"]
        self.risk_adam.mean[:], self.risk_adam.square[:] = arrays["risk_adam_mean"], arrays["risk_adam_square"]
        self.risk_adam.count, self.multiplier = int(arrays["risk_adam_count"]), float(arrays["multiplier"])


class History(NamedTuple):
    """Of each episode, shape (episodes,): the multiplier after it, the mean violation of its steps, and its cost."""

    multiplier: np.ndarray
    violation: np.ndarray
    cost: np.ndarray


def next_multiplier(multiplier: float, violation: float, budget: float, rate: float) -> float:
    """Return max(0, lambda + rate * (violation - budget)): it rises while the budget is exceeded."""
    return max(0.0, multiplier + rate * (violation - budget))


def primal_dual_ddpg(
    env, violation: Callable, *, steps: int, rng: np.random.Generator, budget: float, rate: float = 20.0,
    multiplier: float = 0.0, batch: int = 64, warm_up: int = 1000, noise: float = 0.2, progress: bool = True, **options,
) -> tuple[ConstrainedAgent, History]:  # fmt: skip
    """Learn while controlling `env`.

    Parameters
    ----------
    env : gymnasium.Env
        Its reward is minus the stage cost; episodes must end, or the multiplier never moves.
    violation : callable (s_next) -> float
        How much the observation that was reached violates; >= 0.
    steps : int
    rng : numpy.random.Generator
        All randomness of the run; `env` draws from it, too.
    budget : float
        Mean violation of a step that is allowed.
    rate : float
        Step size of the multiplier; 0 keeps it, which makes it a plain penalty.
    multiplier : float
        First value of lambda.
    batch, warm_up, noise
        As of `ddpg`. The multiplier moves after the warm-up only.
    progress : bool
        Whether to show a progress bar.
    **options
        Of `Agent`.

    Raises
    ------
    ValueError
        A violation is negative or not finite; says in which step.
    FloatingPointError
        The actor's weights are not finite any more.
    """
    if not all(0.0 <= number < np.inf for number in (budget, rate, multiplier)):
        raise ValueError(f"budget, rate and multiplier must be >= 0 and finite, not {budget}, {rate} and {multiplier}")
    lower, upper = env.action_space.low.astype(float), env.action_space.high.astype(float)
    n = env.observation_space.shape[0]
    agent = ConstrainedAgent(n, lower, upper, rng, **options)
    agent.multiplier = float(multiplier)
    replay, beside = ReplayBuffer(steps, n, len(lower)), np.zeros((steps, 1), np.float32)
    env.unwrapped.np_random = rng
    s, _ = env.reset()
    history: list[tuple[float, float, float]] = []
    cost, began = 0.0, 0  # of the episode, and its first step
    for k in tqdm(range(steps), disable=not progress, desc="primal-dual DDPG", unit="step"):
        a = rng.uniform(lower, upper) if k < warm_up else noisy_action(agent.policy(s), noise, lower, upper, rng)
        s_next, reward, terminated, truncated, _ = env.step(a)
        replay.add(s, a, -reward, s_next, terminated)  # truncation ends our watching, not the sum of costs
        beside[k] = _checked(violation(s_next), k)
        cost -= reward
        if k >= warm_up:
            chosen = rng.integers(len(replay), size=batch)
            rows = replay.rows[chosen]
            parts = [rows[:, i:j] for i, j in zip(replay.cuts[:-1], replay.cuts[1:], strict=True)]
            agent.update_both(Batch(*parts), beside[chosen])
            if not np.isfinite(agent.actor.theta.sum()):
                raise FloatingPointError(f"the actor's weights are not finite after the update of step {k}")
        s = s_next
        if terminated or truncated:
            mean = float(beside[began : k + 1].mean(dtype=float))
            if k >= warm_up:
                agent.multiplier = next_multiplier(agent.multiplier, mean, budget, rate)
            history.append((agent.multiplier, mean, cost))
            cost, began = 0.0, k + 1
            s, _ = env.reset()
    return agent, History(*np.array(history).reshape(-1, 3).T)


def _checked(violation, k: int) -> float:
    if violation is None or not 0.0 <= float(violation) < np.inf:
        raise ValueError(f"a violation must be a finite number >= 0, not {violation} (step {k})")
    return float(violation)
