"""Intervals by simulation and by hand, paired differences, the tail as defined, decisions by a clock of the test."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest

from mpcrl_course.statistics import Interval, bootstrap, decision_seconds, difference, interval, proportion, tail


def test_decisions_are_timed_one_by_one_without_the_warm_up(monkeypatch):
    clock, asked = [0.0], []
    monkeypatch.setattr("mpcrl_course.statistics.perf_counter", lambda: clock[0])

    class Slow:
        def reset(self):
            asked.clear()

        def __call__(self, x):
            asked.append(x.copy())
            clock[0] += 100.0 if len(asked) <= 3 else float(len(asked))
            return np.zeros((1, 1))

    path, controller = np.arange(20.0).reshape(10, 2), Slow()
    for _ in range(2):
        np.testing.assert_allclose(decision_seconds(controller, path, warm_up=3), np.arange(4.0, 11.0))
        np.testing.assert_array_equal(np.vstack(asked), path)
    for warm_up in (10, -1):
        with pytest.raises(ValueError, match=f"warm-up of {warm_up}"):
            decision_seconds(controller, path, warm_up=warm_up)


def test_intervals_of_five_cover_the_mean_in_95_of_100_experiments():
    rng, n = np.random.default_rng(0), 4000
    for level in (0.95, 0.8):
        hits = np.mean([abs((found := interval(rng.normal(3.0, 2.0, 5), level)).mean - 3.0) <= found.half
                        for _ in range(n)])  # fmt: skip
        assert hits == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / n))


def test_interval_by_hand_and_in_words():
    found = interval([1.0, 2.0, 4.0])
    assert found.mean == pytest.approx(7 / 3)
    assert found.half == pytest.approx(4.302653 * np.sqrt(7 / 3) / np.sqrt(3), rel=1e-6)  # t(0.975; 2) = 4.302653
    for mean, half, words in ((12.3456, 0.0123, "12.346 ± 0.012"), (120.0, 34.5, "120 ± 34"),
                              (1.0, 0.0, "1.000 ± 0.000"), (-0.004, 0.00098, "-0.00400 ± 0.00098")):  # fmt: skip
        assert str(Interval(mean, half)) == words
    assert str(interval([0.1, 0.1, 0.1])) == "0.100 ± 0.000"  # its deviation is 1.7e-17 by rounding
    assert f"{Interval(12.3456, 0.0123):.1f}" == "12.3 ± 0.0" and f"{Interval(1.0, 0.5)}" == "1.00 ± 0.50"
    for values in ([1.0], [[1.0, 2.0]], [1.0, np.nan], []):
        with pytest.raises(ValueError, match="at least two finite values"):
            interval(values)
    with pytest.raises(ValueError, match="level"):
        interval([1.0, 2.0], level=95)


def test_a_paired_difference_holds_nothing_of_what_both_suffer_and_averages_within_a_seed():
    rng = np.random.default_rng(0)
    common, own = rng.normal(150.0, 60.0, (5, 20)), rng.normal(0.0, 1.0, (5, 20))
    found = difference(common + 3.0 + own, common)
    assert abs(found.mean - 3.0) < found.half < 1.0 < 10.0 < interval(common.mean(1)).half
    assert found == pytest.approx(interval(3.0 + own.mean(1)), rel=1e-9)
    assert difference([3.0, 5.0, 9.0], [1.0, 2.0, 3.0]) == interval([2.0, 3.0, 6.0])
    with pytest.raises(ValueError, match="at least two finite values"):
        difference([[1.0, 2.0]], [[0.0, 0.0]])


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 7, 30, 100])
def test_tail_is_the_minimum_of_rockafellar_and_uryasev(n, share):
    costs = np.random.default_rng(n).gamma(2.0, 50.0, n)

    def bound(c):
        return c + np.maximum(0.0, costs - c).mean() / share

    least = min(bound(c) for c in costs)  # convex and piecewise linear: it is least at one of the costs
    assert tail(costs, share) == pytest.approx(least, rel=1e-9)
    found = minimize_scalar(bound, bracket=(costs.min(), costs.max()))
    assert tail(costs, share) <= found.fun + 1e-9


@pytest.mark.parametrize("n", [1, 7, 60])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_a_proportion_has_the_exact_interval(n, level):
    """Clopper and Pearson's ends by what they mean, sums of binomial probabilities, and by SciPy's own."""
    for k in range(n + 1):
        found, other = proportion(k, n, level), binomtest(k, n).proportion_ci(level, "exact")
        np.testing.assert_allclose(found, [k / n, other.low, other.high], atol=1e-12)
        if k:
            assert binom.sf(k - 1, n, found.low) == pytest.approx((1.0 - level) / 2.0, rel=1e-6)
        if k < n:
            assert binom.cdf(k, n, found.high) == pytest.approx((1.0 - level) / 2.0, rel=1e-6)
    for successes, trials in ((n + 1, n), (-1, n), (0, 0), (0.5, n)):
        with pytest.raises(ValueError):
            proportion(successes, trials)


def test_tail_of_small_counts_and_bad_input():
    assert tail([1.0, 5.0, 2.0], 0.05) == 5.0 == tail([1.0, 5.0, 2.0], 1 / 3)
    assert tail([1.0, 5.0, 2.0], 0.5) == pytest.approx((5.0 + 0.5 * 2.0) / 1.5)
    assert tail([[1.0, 5.0], [2.0, 4.0]], 1.0) == pytest.approx(3.0)
    for costs, share in (([], 0.1), ([1.0, np.nan], 0.1), ([1.0], 0.0), ([1.0], 1.5)):
        with pytest.raises(ValueError, match="the tail of finite costs"):
            tail(costs, share)


@pytest.mark.parametrize("k", [1000, 500, -500, -1000])
def test_intervals_of_huge_and_of_tiny_values_are_those_of_ordinary_ones(k):
    """Scaled by a power of two, which rounds nothing: no sum and no square overflows or vanishes."""
    values, other = np.random.default_rng(0).normal(1.0, 1.0, (2, 7))
    for ordinary, scaled in (
        (interval(values), interval(np.ldexp(values, k))),
        (difference(values, other), difference(np.ldexp(values, k), np.ldexp(other, k))),
    ):
        assert scaled == tuple(np.ldexp(ordinary, k))
    assert tail(np.ldexp(values, k), 0.3) == np.ldexp(tail(values, 0.3), k)


def test_near_the_largest_float_an_answer_is_right_or_the_error_named():
    assert interval([1.7e308] * 4) == (1.7e308, 0.0)
    assert tail([1.7e308] * 4, 1.0) == 1.7e308 == tail([1.7e308, 0.0], 1e-320)
    np.testing.assert_allclose(interval([1e307, 1.1e307]), [1.05e307, 12.706204736 * 0.05e307])
    for ask in (
        lambda: interval([1e308, -1e308]),
        lambda: difference([1e308, 1e308], [-1e308, -1e308]),
        lambda: interval([1.0, 2.0], 1.0 - 1e-16),
    ):
        with pytest.raises(ValueError, match="reaches beyond all floats: lower the level, or the values"):
            ask()
    assert str(Interval(0.0, np.inf)) == "0.000 ± inf"


def test_the_bootstrap_of_starts_alone_is_that_by_hand():
    """Of one training, resampled starts; its quantiles against resamples that are drawn one by one."""
    values = np.random.default_rng(0).gamma(2.0, 10.0, 20)
    found, rng = bootstrap(values, rng=1, draws=20_000), np.random.default_rng(2)
    means = [values[rng.integers(20, size=20)].mean() for _ in range(20_000)]
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    np.testing.assert_allclose(found[1:], np.quantile(means, [0.025, 0.975]), rtol=0.02)
    assert bootstrap(values, rng=1, draws=20_000) == found == bootstrap([values], rng=1, draws=20_000)
    assert bootstrap(values, rng=1, level=0.5).high < found.high


def test_the_bootstrap_covers_the_mean_where_trainings_and_starts_both_matter():
    """Cost = training + start + rest: as many samples as pairs would give an interval far too narrow."""
    rng, n, hits, naive = np.random.default_rng(0), 400, 0, 0
    for _ in range(n):
        table = rng.normal(0.0, 3.0, (8, 1)) + rng.normal(0.0, 3.0, (1, 20)) + rng.normal(0.0, 1.0, (8, 20))
        found, half = bootstrap(table, rng, draws=400), interval(table.ravel()).half
        hits += found.low <= 0.0 <= found.high
        naive += abs(found.mean) <= half
    assert hits > 0.86 * n and naive < 0.6 * n


def test_the_bootstrap_of_what_does_not_differ_is_a_point_and_bad_input_is_named():
    assert bootstrap(np.full((3, 4), 2.5)) == pytest.approx((2.5, 2.5, 2.5))
    assert f"{bootstrap([[1.0, 3.0], [1.0, 3.0]], draws=9):+.1f}".startswith("+2.0 [+1.0, +")
    assert bootstrap(np.full((2, 2), 1.5e308)).mean == 1.5e308
    for values in ([1.0], [[1.0], [2.0]], [[1.0, np.nan]], [], np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match="values"):
            bootstrap(values)
    with pytest.raises(ValueError, match="level"):
        bootstrap([1.0, 2.0], level=95)
