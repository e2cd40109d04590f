"""The Gaussian process against conditioning a normal law, its likelihood against SciPy, EI against Monte Carlo."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mpcrl_course.learners.surrogate import LENGTHS, NOISES, GaussianProcess, expected_improvement, matern

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(9, 2))
Y = 40.0 + 5.0 * np.sin(4.0 * X[:, 0]) + 3.0 * X[:, 1] ** 2
ASKED = RNG.uniform(size=(20, 2))


def kernel(a, b, length):
    """Matern 5/2 as in Rasmussen & Williams, equation 4.17, an entry at a time."""
    k = np.empty((len(a), len(b)))
    for i, x in enumerate(a):
        for j, z in enumerate(b):
            r = float(np.sqrt(((x - z) ** 2).sum()))
            k[i, j] = (1 + 5**0.5 * r / length + 5 * r**2 / (3 * length**2)) * np.exp(-(5**0.5) * r / length)
    return k


def test_the_posterior_is_that_of_a_normal_law():
    gp = GaussianProcess(X, Y)
    mean, deviation = gp(ASKED)
    every = np.vstack([X, ASKED])
    cov = gp.sigma**2 * (kernel(every, every, gp.length) + gp.noise * np.diag(np.arange(29) < 9))
    gain = cov[9:, :9] @ np.linalg.inv(cov[:9, :9])
    np.testing.assert_allclose(mean, Y.mean() + gain @ (Y - Y.mean()), rtol=1e-6)
    left = cov[9:, 9:] - gain @ cov[:9, 9:]
    np.testing.assert_allclose(deviation**2, np.diag(left), rtol=1e-4, atol=1e-6 * gp.sigma**2)
    np.testing.assert_allclose(matern(X, ASKED, 0.3), kernel(X, ASKED, 0.3), rtol=1e-12)


def test_length_and_noise_are_the_most_likely_of_the_list():
    def likelihood(length, noise, y):
        k = kernel(X, X, length) + noise * np.eye(9)
        return multivariate_normal(None, (y @ np.linalg.solve(k, y)) / 9 * k).logpdf(y)

    for y in (Y, RNG.standard_normal(9)):
        gp, centred = GaussianProcess(X, y), y - y.mean()
        most = max((likelihood(length, noise, centred), length, noise) for length in LENGTHS for noise in NOISES)
        assert (gp.length, gp.noise) == most[1:]


def test_it_agrees_with_scikit_learn():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels", reason="comes with the extra [tuning]")
    from sklearn.gaussian_process import GaussianProcessRegressor

    gp = GaussianProcess(X, Y)
    other = GaussianProcessRegressor(
        gp.sigma**2 * kernels.Matern(gp.length, "fixed", nu=2.5), alpha=gp.sigma**2 * gp.noise, optimizer=None
    )
    mean, deviation = other.fit(X, Y - Y.mean()).predict(ASKED, return_std=True)
    np.testing.assert_allclose(gp(ASKED)[0], mean + Y.mean(), rtol=1e-6)
    np.testing.assert_allclose(gp(ASKED)[1], deviation, rtol=1e-3, atol=1e-3 * gp.sigma)


def test_expected_improvement_is_that_of_many_draws():
    mean, deviation, best = np.array([1.0, 0.2, -0.5, 3.0]), np.array([0.5, 1.0, 0.1, 0.7]), 0.3
    draws = mean + deviation * np.random.default_rng(1).standard_normal((400_000, 4))
    better = np.maximum(0.0, best - draws)
    error = better.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(expected_improvement(mean, deviation, best) - better.mean(axis=0)) < 4.0 * error + 1e-12).all()


def test_what_is_certain_improves_by_what_it_is_lower():
    np.testing.assert_array_equal(expected_improvement([1.0, 3.0], [0.0, 0.0], 2.0), [1.0, 0.0])
    one = GaussianProcess([[0.5]], [3.0])  # of one evaluation nothing is known but its value
    assert one([[0.5]])[0] == pytest.approx(3.0) and np.isfinite(one([[0.1]])[1])


def test_what_makes_no_surrogate_is_named():
    with pytest.raises(ValueError, match="a y for each x"):
        GaussianProcess(X, Y[:3])
    with pytest.raises(ValueError, match="deviation"):
        expected_improvement([1.0], [-1.0], 0.0)
