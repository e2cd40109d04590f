"""Tuning by trial: of what is tuned only a cost can be asked, and each evaluation is dear.

    z_k = ask(),    c_k = cost(z_k),    tell(z_k, c_k),    best_k = min(best_{k-1}, c_k)

A step of a tuner is one evaluation. All search the same box and begin with the same point; they differ in `ask` and
`tell`:

    random            z uniform in the box
    cross-entropy     a generation from N(mu, sigma^2); mu and sigma move to its elite (see `cross_entropy`)
    CMA-ES            the same with a full covariance and step-size control, by the package `cma`
    surrogate         where a Gaussian process expects the largest improvement (see `surrogate`)
    Bayesian          the same by the package `bayesian-optimization`, whose search for the maximum is more thorough

Both packages come with the extra [tuning]. The best of many evaluations by the same few episodes is also the luckiest
of them: what was found has to be judged on others (`log.best` never rises, the cost on others may).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from mpcrl_course.learners.cross_entropy import moved
from mpcrl_course.learners.run import Learner
from mpcrl_course.learners.surrogate import GaussianProcess, expected_improvement
from mpcrl_course.own import answering, checked
from mpcrl_course.validation import function, generator, reals, whole


class Tuner(Learner):
    """What all tuners share; by itself it is random search.

    Parameters
    ----------
    cost : callable (z, rng) -> float
        Of one point z (n,). What is random about it may be drawn from rng, or be the same for all points.
    lower, upper : array_like, shape (n,)
        The box.
    rng : numpy.random.Generator
    first : array_like, shape (n,), optional
        The first point; by default the middle of the box.

    Attributes
    ----------
    z : ndarray, shape (n,)
        The best point so far.
    best : float
        Its cost.
    log : Log
        z, cost: of each evaluation; best: the least so far, which never rises; at: the point of it, (evaluations, n).
    """

    name = "random search"
    kept: tuple[str, ...] = ("z", "best")

    def __init__(self, cost: Callable, lower, upper, rng: np.random.Generator, *, first=None):
        self.cost = function(cost, "cost")
        self.lower, self.upper = reals(lower, "lower", (None,)), reals(upper, "upper", (None,))
        same = self.lower.shape == self.upper.shape
        if not same or not self.lower.size or not (self.lower < self.upper).all():
            raise ValueError(f"lower and upper make no box: {self.lower} and {self.upper}")
        middle = 0.5 * (self.lower + self.upper)
        self.first = middle if first is None else reals(first, "first", self.lower.shape)
        if ((self.first < self.lower) | (self.first > self.upper)).any():
            raise ValueError(f"first must lie in the box, unlike {self.first}")
        self.z, self.best = self.first.copy(), np.inf
        super().__init__(None, generator(rng))

    def step(self) -> None:
        """Ask for a point, evaluate it, tell its cost."""
        z = self.first.copy() if self.k == 0 else self.ask()
        cost = float(checked("cost", self.cost(z.copy(), self.rng), ()))
        if cost < self.best:
            self.z, self.best = z, cost
        self.log.add(z=z, cost=cost, best=self.best, at=self.z)
        self.tell()

    def ask(self) -> np.ndarray:
        """Return the point that is evaluated next, shape (n,): here any of the box."""
        return self.rng.uniform(self.lower, self.upper)

    def tell(self) -> None:
        """Learn from the last row of the log; random search does not."""

    def unit(self, z) -> np.ndarray:
        """Return points z (…, n) of the box in the unit box."""
        return (z - self.lower) / (self.upper - self.lower)

    def boxed(self, x) -> np.ndarray:
        """Return points x (…, n) of the unit box in the box, cut off at its sides."""
        return self.lower + np.clip(x, 0.0, 1.0) * (self.upper - self.lower)


class CrossEntropySearch(Tuner):
    """The cross-entropy method, an evaluation a step; after each generation its elite moves mu and sigma.

    Parameters
    ----------
    cost, lower, upper, rng, first
        See `Tuner`; the first point is the first mu, and a quarter of the box the first sigma.
    population, elite : int
        See `CrossEntropy`.
    """

    name = "cross-entropy"
    kept = ("z", "best", "mu", "sigma", "waiting")

    def __init__(self, cost, lower, upper, rng, *, first=None, population: int = 8, elite: int = 3):
        super().__init__(cost, lower, upper, rng, first=first)
        self.population = whole(population, "population", 2)
        self.elite = whole(elite, "elite", 1)
        if self.elite > self.population:
            raise ValueError(f"elite is a part of the population of {population}, not {elite}")
        self.mu, self.sigma = self.unit(self.first), np.full(self.first.size, 0.25)
        self.waiting = self._generation()

    def _generation(self) -> np.ndarray:
        """Return points (population, n) of the unit box, the first of which is mu."""
        x = self.mu + self.sigma * self.rng.standard_normal((self.population, self.mu.size))
        x[0] = self.mu
        return np.clip(x, 0.0, 1.0)

    def ask(self) -> np.ndarray:
        """Return the next point of the generation."""
        return self.boxed(self.waiting[self.k % self.population])

    def tell(self) -> None:
        """After the last point of a generation, move mu and sigma, and draw the next one."""
        if self.k % self.population == 0:
            cost = self.log.cost[-self.population :]
            self.mu, self.sigma = moved(self.mu, self.sigma, self.waiting, cost, self.elite)
            self.waiting = self._generation()


class SurrogateSearch(Tuner):
    """Bayesian optimisation with our own surrogate: the largest acquisition among many points.

    Parameters
    ----------
    cost, lower, upper, rng, first
        See `Tuner`.
    begin : int
        So many points, the first one and others at random, come before the surrogate is asked.
    candidates : int
        Points that are compared, half of them anywhere in the box, half near the best one.
    acquisition : callable (mean, deviation, best) -> ndarray, shape (m,)
        What is to be large where the next point is taken, for means and deviations (m,) of the cost there.
    """

    name = "surrogate"

    def __init__(
        self,
        cost,
        lower,
        upper,
        rng,
        *,
        first=None,
        begin: int = 5,
        candidates: int = 1000,
        acquisition: Callable = expected_improvement,
    ):
        super().__init__(cost, lower, upper, rng, first=first)
        self.begin, self.candidates = whole(begin, "begin", 1), whole(candidates, "candidates", 2)
        function(acquisition, "acquisition")
        self.acquisition = answering("acquisition", acquisition, lambda mean, *_: mean.shape)

    def ask(self) -> np.ndarray:
        """Return the candidate of largest acquisition."""
        if self.k < self.begin:
            return super().ask()
        n, half = self.first.size, self.candidates // 2
        surrogate, best = GaussianProcess(self.unit(self.log.z), self.log.cost), self.unit(self.z)
        near = best + self.rng.choice([0.02, 0.1], (half, 1)) * self.rng.standard_normal((half, n))
        x = np.vstack([self.rng.uniform(size=(self.candidates - half, n)), np.clip(near, 0.0, 1.0)])
        return self.boxed(x[np.argmax(self.acquisition(*surrogate(x), self.best))])


class CMAES(Tuner):
    """Covariance matrix adaptation by the package `cma` (Hansen, arXiv:1604.00772): extra [tuning].

    Its generator is one of its own, from a seed that `rng` draws. A run that is resumed tells it all once more.

    Parameters
    ----------
    cost, lower, upper, rng, first
        See `Tuner`.
    population : int
        Of a generation.

    Raises
    ------
    ImportError
        The package is not installed: says how it is.
    """

    name = "CMA-ES"

    def __init__(self, cost, lower, upper, rng, *, first=None, population: int = 8):
        self._cma = extra("cma", "cma")
        super().__init__(cost, lower, upper, rng, first=first)
        self.population, self.seed = whole(population, "population", 2), int(self.rng.integers(2**31))
        self.parts["strategy"] = self
        self._begin()

    def _begin(self) -> None:
        own = np.random.default_rng(self.seed)
        options = {
            "bounds": [0.0, 1.0],
            "verbose": -9,
            "popsize": self.population,
            "seed": np.nan,
            "randn": lambda *shape: own.standard_normal(shape),
        }
        self._strategy = self._cma.CMAEvolutionStrategy(self.unit(self.first), 0.25, options)
        self._waiting = self._strategy.ask()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved beside the log: the seed."""
        return {"seed": np.array(self.seed)}

    def load(self, arrays) -> None:
        """Go on from the seed in `arrays`, and from what the log has."""
        self.seed = int(arrays["seed"])
        self._begin()
        for last in range(self.population, self.k + 1, self.population):
            self._tell(self.log.cost[last - self.population : last])

    def ask(self) -> np.ndarray:
        """Return the next point of the generation."""
        return self.boxed(np.asarray(self._waiting[self.k % self.population]))

    def tell(self) -> None:
        """After the last point of a generation, let the strategy adapt."""
        if self.k % self.population == 0:
            self._tell(self.log.cost[-self.population :])

    def _tell(self, costs) -> None:
        self._strategy.tell(self._waiting, list(costs))
        self._waiting = self._strategy.ask()


class BayesianSearch(Tuner):
    """Bayesian optimisation by the package `bayesian-optimization`, with expected improvement: extra [tuning].

    Parameters
    ----------
    cost, lower, upper, rng, first
        See `Tuner`.
    begin : int
        So many points, the first one and others at random, come before the surrogate is asked.

    Raises
    ------
    ImportError
        The package is not installed: says how it is.
    """

    name = "Bayesian"

    def __init__(self, cost, lower, upper, rng, *, first=None, begin: int = 5):
        self._bayes: Any = extra("bayes_opt", "bayesian-optimization")
        super().__init__(cost, lower, upper, rng, first=first)
        self.begin = whole(begin, "begin", 1)

    def ask(self) -> np.ndarray:
        """Return what the package suggests after all that the log has; it maximises, so costs change their sign."""
        if self.k < self.begin:
            return super().ask()
        names = [f"x{i:03d}" for i in range(self.first.size)]  # in the order of their names
        found = self._bayes.BayesianOptimization(
            None,
            dict.fromkeys(names, (0.0, 1.0)),
            verbose=0,
            random_state=int(self.rng.integers(2**31)),
            acquisition_function=self._bayes.acquisition.ExpectedImprovement(xi=0.0),
            allow_duplicate_points=True,
        )
        for x, cost in zip(self.unit(self.log.z), self.log.cost, strict=True):
            found.register(dict(zip(names, x, strict=True)), -cost)
        asked = found.suggest()
        return self.boxed(np.array([asked[name] for name in names]))


def extra(module: str, package: str) -> Any:
    """Return a `module` of the extra [tuning]; ImportError that says how its `package` is installed."""
    try:
        return import_module(module)
    except ImportError:
        how = "python -m pip install -e '.[tuning]'"
        raise ImportError(f"this tuner needs the package {package}, of the extra [tuning]: {how}") from None


#: All by their names.
TUNERS: dict[str, type[Tuner]] = {
    each.name: each for each in (Tuner, CrossEntropySearch, CMAES, SurrogateSearch, BayesianSearch)
}
