"""Tuners: one interface, the least so far never rises, a known minimum, and the MPC of lecture 06."""

import sys

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import NOMINAL, START
from mpcrl_course.learners.cross_entropy import CrossEntropy, moved
from mpcrl_course.learners.surrogate import GaussianProcess, expected_improvement
from mpcrl_course.learners.tuning import TUNERS, CrossEntropySearch, SurrogateSearch, Tuner
from mpcrl_course.policies.parameterised import LINEAR_FIRST, LINEAR_LOWER, LINEAR_UPPER, linear_theta
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.linear import linear_mpc

LOWER, UPPER, LEAST = np.array([-1.0, 0.0]), np.array([3.0, 10.0]), np.array([1.5, 2.0])


def bowl(z, rng):
    return float((((z - LEAST) / (UPPER - LOWER)) ** 2).sum())


def made(name, cost=bowl, seed=0, **options):
    """Return a tuner; skip the test where the extra that it needs is not installed."""
    if name in ("CMA-ES", "Bayesian"):
        pytest.importorskip({"CMA-ES": "cma", "Bayesian": "bayes_opt"}[name], reason="of the extra [tuning]")
    return TUNERS[name](cost, LOWER, UPPER, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("name", TUNERS)
def test_the_least_so_far_never_rises_and_is_where_it_was_found(name):
    seen = []

    def noisy(z, rng):
        seen.append(z.copy())
        found = bowl(z, rng) + 0.3 * rng.standard_normal()
        z[:] = 99.0  # what a cost does to its z is its own affair
        return found

    n = 10 if name == "Bayesian" else 20
    tuner = made(name, noisy, first=[0.0, 1.0]).run(n, progress=False)
    log = tuner.log
    np.testing.assert_array_equal(log.z, seen)
    np.testing.assert_array_equal(log.z[0], [0.0, 1.0])
    np.testing.assert_array_equal(log.best, np.minimum.accumulate(log.cost))
    np.testing.assert_array_equal(log.at, log.z[[int(np.argmin(log.cost[: k + 1])) for k in range(n)]])
    assert tuner.best == log.cost.min() and (tuner.z == log.at[-1]).all()
    assert (log.z >= LOWER).all() and (log.z <= UPPER).all()


@pytest.mark.parametrize(
    "name, within", [("cross-entropy", 0.06), ("surrogate", 0.01), ("CMA-ES", 0.06), ("Bayesian", 0.05)]
)
def test_it_finds_a_known_minimum(name, within):
    """Distances are shares of the box; random search comes within .09 by 40 points, on average."""
    evaluations = {"surrogate": 25, "Bayesian": 16}.get(name, 64)
    tuner = made(name).run(evaluations, progress=False)
    assert np.sqrt(tuner.best) < within


def test_random_search_is_as_good_as_luck():
    """Of n points the share of the box that is better than the best one is 1 / (n + 1) on average."""
    shares = []
    for seed in range(200):
        tuner = made("random search", seed=seed, first=UPPER).run(20, progress=False)
        shares.append(np.pi * tuner.best)  # the disc around the minimum; it lies within the box
    error = np.std(shares) / np.sqrt(200)
    assert abs(np.mean(shares) - 1 / 20) < 4 * error


@pytest.mark.parametrize("name, options", [("CMA-ES", {"population": 4}), ("Bayesian", {"begin": 3})])
@pytest.mark.parametrize("middle", [5, 8])
def test_a_run_of_a_package_is_resumed_bit_for_bit(name, options, middle, tmp_path):
    whole = made(name, **options).run(10, progress=False)
    made(name, **options).run(middle, save=tmp_path / "half", progress=False)
    other = made(name, seed=5, **options).run(10, save=tmp_path / "half", resume=True, progress=False)
    np.testing.assert_array_equal(other.log.z, whole.log.z)


def test_cross_entropy_by_evaluations_is_that_by_generations():
    """The same draws, as far from the sides of the box as they stay: the same generations."""
    search = CrossEntropySearch(bowl, LOWER, UPPER, np.random.default_rng(3), first=LEAST + 0.1, population=6, elite=2)
    search.sigma[:] = 0.01
    search.waiting = search.mu + 0.01 * np.random.default_rng(4).standard_normal((6, 2))
    search.waiting[0] = search.mu
    search.rng = np.random.default_rng(5)
    first = search.waiting.copy()

    def cost(z, rng):
        return np.array([bowl(search.boxed(each), rng) for each in z])

    mu, sigma = moved(search.mu, search.sigma, first, cost(first, None), 2)
    whole = CrossEntropy(cost, mu, sigma, np.random.default_rng(5), population=6, elite=2).run(2, progress=False)
    search.run(18, progress=False)
    np.testing.assert_allclose(search.mu, whole.mu, rtol=1e-12)
    np.testing.assert_allclose(search.sigma, whole.sigma, rtol=1e-12)


def test_a_readers_acquisition_decides_where_to_ask():
    """Who wants the largest deviation is sent to what is farthest from all that was asked."""
    told = []

    def curious(mean, deviation, best):
        told.append(best)
        return deviation

    tuner = SurrogateSearch(
        lambda z, rng: float(z[0]), [0.0], [1.0], np.random.default_rng(0), first=[0.02], begin=3, acquisition=curious
    ).run(3, progress=False)
    surrogate = GaussianProcess(tuner.log.z, tuner.log.cost)
    asked, grid = surrogate(tuner.ask()[None])[1], surrogate(np.linspace(0.0, 1.0, 500)[:, None])[1]
    assert asked[0] > 0.97 * grid.max() > 0.0 and told == [0.02]
    for wrong, says in ((lambda mean, deviation, best: 1.0, "your acquisition"), (lambda *_: None, "returned None")):
        tuner = SurrogateSearch(bowl, LOWER, UPPER, np.random.default_rng(0), begin=1, acquisition=wrong)
        with pytest.raises(ValueError, match=says):
            tuner.run(2, progress=False)


def test_the_surrogate_asks_where_it_expects_most():
    tuner = SurrogateSearch(bowl, LOWER, UPPER, np.random.default_rng(2)).run(12, progress=False)
    surrogate, anywhere = GaussianProcess(tuner.unit(tuner.log.z), tuner.log.cost), np.random.default_rng(9)
    asked = tuner.ask()
    of_asked = expected_improvement(*surrogate(tuner.unit(asked[None])), tuner.best)
    of_others = expected_improvement(*surrogate(anywhere.uniform(size=(300, 2))), tuner.best)
    assert of_asked[0] >= of_others.max()


@pytest.mark.parametrize("name, module", [("CMA-ES", "cma"), ("Bayesian", "bayes_opt")])
def test_without_the_extra_one_is_told_how_to_get_it(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"\[tuning\].*pip install"):
        TUNERS[name](bowl, LOWER, UPPER, np.random.default_rng(0))


def test_it_tunes_the_mpc_of_lecture_06():
    mpc, noise = linear_mpc(), NOMINAL.draw(7, 2, 60)

    def cost(z, rng):
        return np.log(run(Receding(mpc, linear_theta(mpc, z)), NOMINAL, [START, START], noise).cost.mean())

    np.testing.assert_array_equal(linear_theta(mpc, LINEAR_FIRST), mpc.parameters.initial())
    p = mpc.parameters.unpack(linear_theta(mpc, [0.1, 0.2, 0.3, 0.4, 0.5]))
    assert (p.x_lb[0], *p.b, p.A[0, 1], np.ravel(p.B)[1]) == (0.1, 0.2, 0.3, 0.4, 0.5)
    rng = np.random.default_rng(0)
    tuner = SurrogateSearch(cost, LINEAR_LOWER, LINEAR_UPPER, rng, first=LINEAR_FIRST).run(25, progress=False)
    assert tuner.best < tuner.log.cost[0] - np.log(5.0)  # a fifth of the cost of the initial one


def test_what_makes_no_tuner_is_named():
    rng = np.random.default_rng(0)
    for lower, upper, says in (([], [], "no box"), ([1.0], [0.0], "no box"), ([0.0], [1.0, 2.0], "no box")):
        with pytest.raises(ValueError, match=says):
            Tuner(bowl, lower, upper, rng)
    with pytest.raises(ValueError, match="first must lie"):
        Tuner(bowl, LOWER, UPPER, rng, first=[9.0, 1.0])
    for cost in (lambda z, rng: None, lambda z, rng: np.nan, lambda z, rng: np.zeros(2)):
        with pytest.raises(ValueError, match="your cost function"):
            Tuner(cost, LOWER, UPPER, rng).step()
