"""A surrogate of what is dear to evaluate: a Gaussian process, and where to ask next.

Of n evaluations y_i at x_i in the unit box, standardised, with the kernel k (Matern 5/2, one length for all entries),

    K = k(x_i, x_j) + noise I,   sigma^2 = y'K^-1 y / n,   log likelihood = -n/2 log sigma^2 - 1/2 log det K
    mean m(x) = k(x)'K^-1 y,     variance s^2(x) = sigma^2 (1 - k(x)'K^-1 k(x))

where length and noise are those of a short list that are most likely. Asked next is where the expected improvement on
the best value so far is largest (Jones, Schonlau & Welch, J. Global Optimization 13, 1998):

    EI(x) = E[max(0, best - Y)] = (best - m) Phi(z) + s phi(z),   z = (best - m) / s,   Y ~ N(m, s^2)

Source: Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

from mpcrl_course.validation import real, reals, short

#: Among these the most likely is taken; of the box, and of the variance of what is modelled.
LENGTHS, NOISES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0), (1e-6, 1e-3, 1e-2, 1e-1)


def matern(x, z, length: float) -> np.ndarray:
    """Return k = (1 + r + r^2 / 3) e^-r, r = sqrt(5) |x - z| / length, of points x (m, n) and z (l, n): (m, l)."""
    x, z = reals(x, "x", (None, None)), reals(z, "z", (None, None))
    r = np.sqrt(5.0) * np.linalg.norm(x[:, None] - z, axis=2) / real(length, "length", 0.0, strict=True)
    return (1.0 + r + r * r / 3.0) * np.exp(-r)


class GaussianProcess:
    """A Gaussian process through some evaluations; made anew with each of them.

    Parameters
    ----------
    x : array_like, shape (n, n_x)
        In the unit box.
    y : array_like, shape (n,)

    Attributes
    ----------
    length, noise, sigma : float
        Most likely; noise relative to sigma^2, and sigma in units of y.
    """

    def __init__(self, x, y):
        self.x, y = reals(x, "x", (None, None)), reals(y, "y", (None,))
        if len(y) != len(self.x) or not len(y):
            raise ValueError(f"there is a y for each x, but their shapes are {y.shape} and {self.x.shape}")
        self._mean, self._unit = float(y.mean()), float(y.std()) or 1.0
        y, found = (y - self._mean) / self._unit, []
        for length in LENGTHS:
            k = matern(self.x, self.x, length)
            for noise in NOISES:
                factor = cho_factor(k + noise * np.eye(len(y)), lower=True)
                weights = cho_solve(factor, y)
                variance = max(float(y @ weights) / len(y), 1e-12)
                likelihood = -0.5 * len(y) * np.log(variance) - np.log(np.diag(factor[0])).sum()
                found.append((likelihood, length, noise, variance, factor, weights))
        _, self.length, self.noise, variance, self._factor, self._weights = max(found, key=lambda each: each[0])
        self.sigma = self._unit * float(np.sqrt(variance))

    def __call__(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation, without the noise of an evaluation, at points x (m, n_x): both (m,)."""
        k = matern(x, self.x, self.length)
        explained = (k * cho_solve(self._factor, k.T).T).sum(axis=1)
        mean = self._mean + self._unit * k @ self._weights
        return mean, self.sigma * np.sqrt(np.maximum(1.0 - explained, 0.0))


def expected_improvement(mean, deviation, best: float) -> np.ndarray:
    """Return E[max(0, best - Y)] for Y ~ N(mean, deviation^2); where the deviation is 0, what is certain.

    Parameters
    ----------
    mean, deviation : array_like, shape (m,)
    best : float
        Least value so far.
    """
    mean, deviation, best = reals(mean, "mean", (None,)), reals(deviation, "deviation", (None,)), real(best, "best")
    if deviation.shape != mean.shape or (deviation < 0.0).any():
        raise ValueError(f"each mean has a deviation that is not negative, unlike {short(deviation)} of {short(mean)}")
    gain, spread = best - mean, np.where(deviation > 0.0, deviation, 1.0)
    z = gain / spread
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return np.where(deviation > 0.0, np.maximum(gain * ndtr(z) + spread * density, 0.0), np.maximum(gain, 0.0))
