"""Two mistakes of published code that raise no error, to be switched on: what they do is shown in lecture 12."""

from __future__ import annotations

from copy import copy

import numpy as np

from mpcrl_course.learners.distributed import DistributedQLearning, LocalLearner


class FaultyLearner(LocalLearner):
    """An agent that can take the mean for the sum, off at first.

    Attributes
    ----------
    mean : bool
        Whether K_i is the mean of the h_i,tau, and sigma I is added to -K_i, beside the *sum* of the g g'. Then Kt_i is
        T times what it should be.
    """

    mean = False

    def term(self, sigma: float, safeguard: bool) -> np.ndarray:
        """Return this agent's term of C, shape (T, T); sigma and `safeguard` as in `regularised_inverse`."""
        if self.mean:
            T = len(self.td)
            self.K, sigma = self.K / T, sigma / T
        return super().term(sigma, safeguard)


def misalign(learner: DistributedQLearning, wrong: bool = True) -> None:
    """Let every agent draw batches of its own: C then pairs samples that have nothing to do with each other.

    Parameters
    ----------
    learner : DistributedQLearning
    wrong : bool
        False: let all draw what agent 1 draws again.
    """
    state = learner.agents[0].rng.bit_generator.state
    for i, agent in enumerate(learner.agents):
        agent.rng = np.random.default_rng([learner.seed, i])
        if not wrong:
            agent.rng.bit_generator.state = state


def take_mean(learner: DistributedQLearning, wrong: bool = True) -> None:
    """Let every `FaultyLearner` of a `learner` take the mean for the sum, or no longer if not `wrong`."""
    for agent in learner.agents:
        vars(agent)["mean"] = wrong


def next_C(learner: DistributedQLearning) -> tuple[np.ndarray, np.ndarray] | None:
    """Return C of the batch that a `learner` will draw next, as agent 1 will have it, and as it should be.

    As it should be: all agents draw agent 1's batch, sums are sums, and consensus is exact. None in first order, and
    before there are samples. Nothing is changed.
    """
    if learner.order == 1 or not len(learner.agents[0].replay):
        return None
    states = [agent.rng.bit_generator.state for agent in learner.agents]

    def terms(states, **changes):
        twins = [copy(agent) for agent in learner.agents]
        for twin, state in zip(twins, states):
            twin.rng = np.random.default_rng()
            twin.rng.bit_generator.state = state
            vars(twin).update(changes)
            twin.draw()
        return [twin.term(learner.sigma, learner.safeguard) for twin in twins]

    used, sent = terms(states), learner.sent.copy()
    as_agent_1 = (used if learner.alone else learner.agree(used))[0]
    learner.sent[:] = sent
    return as_agent_1, np.sum(terms(states[:1] * len(states), mean=False), axis=0)
