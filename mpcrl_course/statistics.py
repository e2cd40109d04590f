"""What may be said of measured costs and times: intervals, also of trained networks and of shares, the tail, times.

    cost = {name: run(controller, plant, starts, noise).cost.sum(0) for name, controller in controllers.items()}
    print(difference(cost["MPC"], cost["DDPG"]))

A difference is paired: with the same starts and noise for both, what both suffered from cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, stdtrit  # quantiles; all of scipy.stats takes half a second to import

from mpcrl_course.own import inputs
from mpcrl_course.validation import floats, function, generator, real, reals, whole


class Interval(NamedTuple):
    """A mean and half the width of its confidence interval, `half`; in an f-string ``:.3f`` formats both."""

    mean: float
    half: float

    def __str__(self):
        # two digits of what is uncertain, and as many places of the mean; what is left by rounding is no width
        wide = 1e-12 * abs(self.mean) < self.half < np.inf
        places = max(0, 1 - int(np.floor(np.log10(self.half)))) if wide else 3
        return f"{self:.{places}f}"

    def __format__(self, form):
        return f"{self.mean:{form}} ± {self.half:{form}}" if form else str(self)


def interval(values, level: float = 0.95) -> Interval:
    """Return mean and confidence interval (Student's t) of independent values, one a seed.

    The interval holds the true mean with the probability `level`. A run is not independent of another one with the same
    network: average within a seed first. ValueError: fewer than two values, one that is nan or infinite, a level
    outside of (0, 1), or an interval that reaches beyond all floats.
    """
    return _interval(floats(values, "values"), level)


def _interval(values: np.ndarray, level: float, e: int = 0) -> Interval:
    """Return the interval of 2**e times the values."""
    level = real(level, "level")
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"an interval needs at least two finite values in a row, not {values}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), not {level}")
    values, more = _scaled(values)
    half = stdtrit(len(values) - 1, 0.5 + level / 2) * values.std(ddof=1) / np.sqrt(len(values))
    with np.errstate(over="ignore"):
        mean, half = np.ldexp([values.mean(), half], e + more).tolist()
    if not max(abs(mean), half) < np.inf:
        raise ValueError(f"the interval at the level {level} reaches beyond all floats: lower the level, or the values")
    return Interval(mean, half)


def _scaled(*values: np.ndarray) -> tuple:
    """Return the values divided by the power of two above the largest of them, and its exponent.

    No sum and no square of them overflows then, and none is rounded.
    """
    e = int(np.frexp(max(np.abs(part).max(initial=0.0) for part in values))[1])
    return (*(np.ldexp(part, -e) for part in values), e)


def difference(one, other, level: float = 0.95) -> Interval:
    """Return the interval of one - other, pair by pair, at a level as `interval` takes it.

    Both have shape (seeds,) or (seeds, runs); of runs the mean is taken.
    """
    one, other = reals(one, "one"), reals(other, "other")
    if one.shape != other.shape:
        raise ValueError(f"one and other are pairs, but have shapes {one.shape} and {other.shape}")
    one, other, e = _scaled(one, other)
    apart = one - other
    return _interval(apart.mean(axis=1) if apart.ndim == 2 else apart, level, e)


class Bounds(NamedTuple):
    """A mean, and the ends of its confidence interval, `low` and `high`; an f-string's form is that of all three."""

    mean: float
    low: float
    high: float

    def __format__(self, form):
        form = form or ".3g"
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"


def bootstrap(values, rng=0, level: float = 0.95, draws: int = 4000) -> Bounds:
    """Return the mean of what was measured of `trainings` networks from the same starts, and its bootstrap interval.

    Five trainings from twenty starts are not a hundred samples: a lucky training is lucky from all starts, and a hard
    start is hard for all networks. So both are drawn, each with replacement, and every drawn network meets every drawn
    start (the two-way bootstrap of Owen, Ann. Appl. Stat. 1(2), 2007). The interval holds the share `level` of the
    means. Differences are paired: hand over ``cost - cost_of_plain``.

    Parameters
    ----------
    values : array_like, shape (trainings, starts) or (starts,)
        Of what was not trained, a row, of which the starts alone are drawn.
    rng : numpy.random.Generator or seed
    level : float
    draws : int

    Raises
    ------
    ValueError
        Fewer than two starts, a value that is nan or infinite, or a level outside of (0, 1).
    """
    rng, draws, level = generator(rng, seeds=True), whole(draws, "draws", 1), real(level, "level")
    table, e = _scaled(np.atleast_2d(reals(values, "values")))
    if table.ndim != 2 or len(table) < 1 or table.shape[1] < 2:
        raise ValueError(f"values has the shape (trainings, starts), two starts or more, not {np.shape(values)}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), not {level}")
    rows, columns = (rng.multinomial(n, np.full(n, 1.0 / n), draws) / n for n in table.shape)  # how often each is drawn
    means = np.einsum("dt,ts,ds->d", rows, table, columns, optimize=True)
    ends = np.quantile(means, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return Bounds(*np.ldexp([table.mean(), *ends], e).tolist())


def proportion(successes: int, trials: int, level: float = 0.95) -> Bounds:
    """Return the share of successes in independent trials, and its interval after Clopper and Pearson.

    low is the share with which so many successes or more come with a probability of (1 - level) / 2, and high that
    with which so many or fewer do (Biometrika 26(4), 1934). The interval holds the true share with at least the
    probability `level`, whatever it is: of 60 trials without a failure it is [0.940, 1].

    Parameters
    ----------
    successes, trials : int
    level : float

    Raises
    ------
    ValueError
        More successes than trials, no trials, or a level outside of (0, 1).
    """
    k, n, level = whole(successes, "successes", 0), whole(trials, "trials", 1), real(level, "level")
    if k > n or not 0.0 < level < 1.0:
        raise ValueError(f"{k} successes of {n} trials at the level {level}: more than all, or no level in (0, 1)")
    rest = (1.0 - level) / 2.0
    low = float(betaincinv(k, n - k + 1, rest)) if k else 0.0
    return Bounds(k / n, low, float(betaincinv(k + 1, n - k, 1.0 - rest)) if k < n else 1.0)


def tail(costs, share: float = 0.05) -> float:
    """Return the mean of the worst `share` of the costs (the conditional value at risk).

    Where the share is no whole number of them, the last one counts in part: of 30 costs the worst 5 % are the worst
    one and half of the second. A share of less than one cost is the worst one. It is the minimum over c of
    c + mean(max(0, costs - c)) / share (Rockafellar & Uryasev, J. Risk 2(3), 2000).
    """
    worst, share = np.sort(np.ravel(floats(costs, "costs")))[::-1], real(share, "share")
    if not len(worst) or not np.isfinite(worst).all() or not 0.0 < share <= 1.0:
        raise ValueError(f"the tail of finite costs and a share in (0, 1] is asked for, not {share} of {worst}")
    worst, e = _scaled(worst)
    weights = np.clip(max(share * len(worst), 1.0) - np.arange(len(worst)), 0.0, 1.0)
    return float(np.ldexp(weights @ worst / weights.sum(), e))


def decision_seconds(controller: Callable, x, warm_up: int = 20) -> np.ndarray:
    """Return the wall times (steps - warm_up,) of single decisions along a path x (steps, n_states), in s.

    The controller, its memory reset, is asked one state (1, n_states) at a time. The first `warm_up` decisions are not
    counted: caches and an MPC's first plan are paid once.
    """
    x, warm_up = reals(x, "x", (None, None)), whole(warm_up, "warm_up")
    function(controller, "controller")
    if not 0 <= warm_up < len(x):
        raise ValueError(f"{len(x)} decisions are too few for a warm-up of {warm_up}")
    if hasattr(controller, "reset"):
        controller.reset()
    seconds = []
    for state in x:
        began = perf_counter()
        u = controller(state[None])
        seconds.append(perf_counter() - began)
        inputs(u, 1)
    return np.array(seconds[warm_up:])
