"""Two mistakes of published code that raise no error, to be switched on: what they do is shown in lecture 12."""

from __future__ import annotations

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
        """Return this agent's term of C, shape (T, T)."""
        if self.mean:
            T = len(self.td)
            self.K, sigma = self.K / T, sigma / T
        return super().term(sigma, safeguard)


def misalign(learner: DistributedQLearning) -> None:
    """Let every agent draw batches of its own: C then pairs samples that have nothing to do with each other."""
    for i, agent in enumerate(learner.agents):
        agent.rng = np.random.default_rng([learner.seed, i])
