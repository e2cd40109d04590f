"""Back-off: a single future is planned, with bounds moved inwards by as much as what is not known may amount to.

Measured errors of the prediction give a quantile of each state (`back_off`). Of the pendulum, whose limit on the speed,
|v| <= max_speed, is kept by planning with max_speed - back_off, the noise is known: a random torque of the standard
deviation s moves the next velocity by sigma = dt 3 s / (m l^2), and the back-off is

    0                                 nominal: hopes,
    quantile of that noise            chance-constrained: crossed with probability epsilon, if its shape is right,
    sqrt((1 - epsilon)/epsilon) sigma distributionally robust: whatever the distribution of this variance (Cantelli).

Both count the noise of one step, on the side of the limit that is near, in a step that is planned to end at the
backed-off limit. That is enough as long as the motor can undo each step's noise before the next comes. It cannot
everywhere: it changes the velocity by 0.3 rad/s a step, gravity by up to 0.75. While the pendulum falls, the noise of
several steps adds up, and the promise of epsilon ends; the limit is soft, so that a plan is found all the same.

Source: Calafiore & El Ghaoui, JOTA 130(1), 2006 (the last line).
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri  # the quantiles of the normal distribution, without all of scipy.stats

from mpcrl_course.envs.pendulum import DT, PendulumParameters
from mpcrl_course.mpc import MPC
from mpcrl_course.validation import floats, instance, real, short


def back_off(errors, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the bounds must move inwards so that an error crosses each with probability 1 - level.

    Parameters
    ----------
    errors : array_like, shape (M, n_states)
        Measured states minus predicted ones.
    level : float
        In [0.5, 1].

    Returns
    -------
    below, above : ndarray, shape (n_states,)
        For the lower and the upper bounds, both >= 0.
    """
    level, errors = real(level, "level", 0.5, 1.0), floats(errors, "errors")
    if errors.ndim != 2 or not len(errors) or not np.isfinite(errors).all():
        raise ValueError(f"errors must be finite, of shape (M, n_states), not of shape {errors.shape}")
    low, high = np.quantile(errors, [1.0 - level, level], axis=0)
    return np.maximum(-low, 0.0), np.maximum(high, 0.0)


def linear_back_off(mpc, theta, errors, level: float = 0.95) -> np.ndarray:
    """Return theta of the linear plant's mpc with its state bounds tightened by `back_off` of the errors at a level."""
    p, (below, above) = _blocks(mpc, theta, "x_lb"), back_off(errors, level)
    if below.shape != np.shape(p.x_lb):
        raise ValueError(f"errors are of {len(below)} states, but the mpc has {np.size(p.x_lb)}")
    return mpc.parameters.pack(theta, x_lb=p.x_lb + below, x_ub=p.x_ub - above)


def cartpole_back_off(mpc, theta, errors, level: float = 0.95) -> np.ndarray:
    """Return theta of the cart-pole's mpc with a track shorter at both ends by `back_off` of the position.

    `errors` (M, 4) and `level` are those of `back_off`. ValueError: they leave nothing of the track.
    """
    p, (below, above) = _blocks(mpc, theta, "track"), back_off(errors, level)
    track = float(p.track) - max(below[0], above[0])
    if track <= 0.0:
        raise ValueError(f"errors of {max(below[0], above[0]):.3g} m leave nothing of a track of ±{p.track:.3g} m")
    return mpc.parameters.pack(theta, track=track)


def speed_deviation(p: PendulumParameters) -> float:
    """Return the standard deviation of the velocity after one step that the noise of p's torque makes, rad/s."""
    instance(p, PendulumParameters, "p")
    return DT * 3.0 * p.process_noise / (p.mass * p.length**2)


def chance_back_off(sigma: float, epsilon: float = 0.05, samples=None) -> float:
    """Return the back-off that a noise crosses with probability epsilon.

    Parameters
    ----------
    sigma : float
        Standard deviation of a normal noise.
    epsilon : float
        In (0, 0.5].
    samples : array_like, optional
        Measured noise, positive towards the limit; then its quantile is taken, and `sigma` is not used.
    """
    _check(sigma, epsilon)
    if samples is None:
        return float(ndtri(1.0 - epsilon) * sigma)
    samples = np.ravel(floats(samples, "samples"))
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"a quantile needs finite samples, not {samples}")
    return float(np.quantile(samples, 1.0 - epsilon))


def robust_back_off(sigma: float, epsilon: float = 0.05) -> float:
    """Return the back-off that no noise of mean 0 and deviation sigma crosses with more than probability epsilon."""
    _check(sigma, epsilon)
    return float(np.sqrt((1.0 - epsilon) / epsilon) * sigma)


def _check(sigma, epsilon):
    try:
        fine = 0.0 < real(epsilon, "epsilon") <= 0.5
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(f"epsilon must lie in (0, 0.5], not {short(epsilon)}")
    try:
        real(sigma, "sigma", 0.0)
    except ValueError:
        raise ValueError(f"sigma, a standard deviation, is finite and not negative, not {short(sigma)}") from None


def _blocks(mpc, theta, name: str):
    """Return the parameters of an mpc by name, after a check that `name` is one of them."""
    p = instance(mpc, MPC, "mpc").parameters.unpack(theta)
    mpc.parameters.index(name)
    return p
