"""The cross-entropy method: search by trial, where only the cost of an episode is known, and no gradient.

    z_i = mu + sigma e_i,  e_i ~ N(0, I),   i = 1 … population,  z_1 = mu
    sigma <- 0.7 sqrt(mean over the elite of (z_i - mu)^2) + 0.3 sigma,    mu <- mean over the elite of z_i

The elite are the z_i of least cost (Rubinstein & Kroese 2004). Its spread is taken about the old mu: about its own mean
a small elite would shrink, and the search end wherever it happens to be. Nothing is asked of the policy behind z but
that it can be run: it may hold a solver, jumps, or a network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.learners.run import Learner
from mpcrl_course.own import checked
from mpcrl_course.validation import function, generator, reals, whole


def moved(mu, sigma, z, cost, elite: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mu and sigma (n,) after a generation.

    Parameters
    ----------
    mu, sigma : ndarray, shape (n,)
        With which it was drawn.
    z : ndarray, shape (population, n)
    cost : ndarray, shape (population,)
    elite : int
        So many of least cost count.
    """
    best = z[np.argsort(cost, kind="stable")[:elite]]
    return best.mean(axis=0), 0.7 * np.sqrt(((best - mu) ** 2).mean(axis=0)) + 0.3 * sigma


class CrossEntropy(Learner):
    """The cross-entropy method; a step of the learner is a generation.

    Parameters
    ----------
    cost : callable (z, rng) -> ndarray, shape (population,)
        Costs of the candidates z (population, n). What is random about a generation, such as its starts, it draws
        from rng: once for all candidates, so that none is the better one by luck.
    mu, sigma : array_like, shape (n,)
        Where to search at first, and how far around.
    rng : numpy.random.Generator
    population, elite : int
        Candidates of a generation, and how many of them count.

    Attributes
    ----------
    mu, sigma : ndarray, shape (n,)
        mu is what was learned.
    log : Log
        of_mean, least, median: costs of each generation: of its mu, of its best, of its median candidate. mu, sigma:
        before each step and after the last.
    """

    name = "cross-entropy"
    kept = ("mu", "sigma")

    def __init__(self, cost: Callable, mu, sigma, rng: np.random.Generator, *, population: int = 10, elite: int = 4):
        self.cost = function(cost, "cost")
        self.mu, self.sigma = reals(mu, "mu", (None,)), reals(sigma, "sigma", (None,))
        if self.mu.shape != self.sigma.shape or not self.mu.size or (self.sigma < 0.0).any():
            raise ValueError(f"mu and sigma, not negative, are vectors of one length, not {mu} and {sigma}")
        self.population, self.elite = whole(population, "population", 2), whole(elite, "elite", 1)
        if self.elite > self.population:
            raise ValueError(f"elite is a part of the population of {population}, not {elite}")
        super().__init__(None, generator(rng), mu=self.mu, sigma=self.sigma)

    def step(self) -> None:
        """Try a generation, and move to its elite."""
        z = self.mu + self.sigma * self.rng.standard_normal((self.population, self.mu.size))
        z[0] = self.mu
        cost = checked("cost", self.cost(z.copy(), self.rng), (self.population,))
        self.mu, self.sigma = moved(self.mu, self.sigma, z, cost, self.elite)
        self.log.add(of_mean=cost[0], least=cost.min(), median=np.median(cost), mu=self.mu, sigma=self.sigma)
