"""Policy gradient by perturbed parameters: a policy without a slope has one in the mean over a neighbourhood.

    J_sigma(theta) = E J(theta + sigma e),    e ~ N(0, I)
    its gradient, in units of sigma:  E [J(theta + sigma e) - J(theta - sigma e)] e / 2
    theta <- theta - alpha sigma g / d,    g = mean over pairs of d_i e_i,  d_i = (J+ - J-) / 2,  d^2 = mean of d_i^2

The policy of a linear program moves in jumps: its slope is zero almost everywhere, and a gradient through it says
nothing. Averaged over random theta, jumps become slopes (PGPE with symmetric samples: Sehnke et al., Neural Networks
23(4), 2010). Each pair meets the same noise, so what is left in d_i is theta's doing. Divided by d the step has the
size of sigma, whatever the unit of cost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.run import Learner
from mpcrl_course.own import checked
from mpcrl_course.validation import function, generator, reals, whole


def perturbed_gradient(e, plus, minus) -> np.ndarray:
    """Return g / d: the gradient in units of sigma, over the root mean square of the half differences.

    Parameters
    ----------
    e : ndarray, shape (pairs, n)
        Directions.
    plus, minus : ndarray, shape (pairs,)
        Costs at theta + sigma e and theta - sigma e.
    """
    d = (plus - minus) / 2.0
    size = np.sqrt(np.mean(d**2))
    return e.T @ d / len(d) / size if size > 0.0 else np.zeros(e.shape[1])


class Perturbation(Learner):
    """Descent along perturbed parameters; a step of the learner is an update.

    Parameters
    ----------
    cost : callable (z, rng) -> ndarray, shape (2 pairs,)
        Costs of candidates z (2 pairs, n): as of `CrossEntropy`.
    theta, sigma : array_like, shape (n,)
        Where learning starts, and how far perturbed.
    rng : numpy.random.Generator
    pairs : int
    step_size : float or schedule
    lower, upper : array_like, shape (n,), optional
        Candidates and theta are cut off there.

    Attributes
    ----------
    theta : ndarray, shape (n,)
        What was learned.
    log : Log
        cost: the mean of each step's candidates; theta: before each step, and after the last.
    """

    name = "perturbed parameters"
    kept = ("theta",)

    def __init__(self, cost: Callable, theta, sigma, rng: np.random.Generator, *, pairs: int = 4,
                 step_size: float | Callable = 0.5, lower=None, upper=None):  # fmt: skip
        self.cost = function(cost, "cost")
        self.theta, self.sigma = reals(theta, "theta", (None,)), reals(sigma, "sigma", (None,))
        n = self.theta.size
        if self.sigma.shape != (n,) or not n or (self.sigma < 0.0).any():
            raise ValueError(f"theta and sigma, not negative, are vectors of one length, not {theta} and {sigma}")
        self.pairs, self.alpha = whole(pairs, "pairs", 1), as_schedule(step_size, "step_size")
        self.lower = np.full(n, -np.inf) if lower is None else reals(lower, "lower", (n,), finite=False)
        self.upper = np.full(n, np.inf) if upper is None else reals(upper, "upper", (n,), finite=False)
        super().__init__(None, generator(rng), theta=self.theta)

    def step(self) -> None:
        """Try pairs of theta, and move to where they are cheaper."""
        e = self.rng.standard_normal((self.pairs, self.theta.size))
        z = self.theta + self.sigma * np.concatenate([e, -e])
        cost = checked("cost", self.cost(np.clip(z, self.lower, self.upper), self.rng), (2 * self.pairs,))
        move = perturbed_gradient(e, *np.split(cost, 2))
        theta = self.theta - at(self.alpha, self.k, "step_size") * self.sigma * move
        self.theta = np.clip(theta, self.lower, self.upper)
        self.log.add(cost=cost.mean(), theta=self.theta)
