"""Regression: a network learns to predict, by Adam on the mean square of its errors.

    min_theta  mean |phi_theta(x_i) - (y_i - c) / d|^2,        c_j, d_j the mean and standard deviation of y_j

One fit, and no learner that acts: what is predicted stands in the data. The last layer is multiplied by d afterwards,
and c added to it, so that the network gives y itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.envs.cartpole import CartPoleParameters, dynamics
from mpcrl_course.mlp import MLP, Adam
from mpcrl_course.validation import function, generator, instance, real, reals, whole


def fit(network: MLP, x, y, rng: np.random.Generator, steps: int = 6000, batch: int = 64, rate: float = 3e-3) -> MLP:
    """Train a network to give y for x, in place, and return it.

    Parameters
    ----------
    network : MLP
        Without bounds of its outputs. Its weights are where the fit of (y - c) / d starts.
    x : array_like, shape (n, n_inputs)
    y : array_like, shape (n, n_outputs)
    rng : numpy.random.Generator
        Draws the batches.
    steps, batch : int
    rate : float
        Of Adam; a sixth of it for the last 40 % of the steps.
    """
    instance(network, MLP, "network"), generator(rng)
    if network.bounded:
        raise ValueError("network has bounds of its outputs: they would be scaled with the rest")
    x, y = reals(x, "x", (None, network.sizes[0])), reals(y, "y", (None, network.sizes[-1]))
    steps, batch, rate = whole(steps, "steps", 0), whole(batch, "batch", 1), real(rate, "rate", 0.0)
    if not len(x) == len(y) > 0:
        raise ValueError(f"x and y are pairs, but there are {len(x)} and {len(y)}")
    dtype = network.theta.dtype
    centre, scale = y.mean(axis=0), y.std(axis=0)
    scale[scale == 0.0] = 1.0
    x, target, adam = x.astype(dtype), ((y - centre) / scale).astype(dtype), Adam(network.theta.size, rate, dtype)
    for k in range(steps):
        if k == int(0.6 * steps):
            adam.rate = rate / 6.0
        i = rng.integers(len(x), size=batch)
        found, tape = network.forward(x[i])
        gradient, _ = network.backward(tape, (found - target[i]) / batch, inputs=False)
        adam.descend(network.theta, gradient)
    network.W3 *= scale
    network.W3[-1] += centre
    return network


class LastLayer:
    """A controller whose first layer is drawn once, and whose last one is fitted in closed form, by a ridge regression.

        min_W  mean |W' phi(x_i) - u_i|^2 + ridge |W|^2,      phi(x) = [tanh(1.5 (see(x) D + d)), 1]

    D and d are drawn from a standard normal distribution, always the same (Rahimi & Recht 2007): two of these differ
    in their labels only.

    Parameters
    ----------
    x, u : array_like, shapes (M, n_states) and (M, n_inputs)
        States and what is to be done there.
    see : callable (x) -> array
        What it sees of states: (M, …).
    units : int
        Features, without the constant one.
    ridge : float

    Attributes
    ----------
    W : ndarray, shape (units + 1, n_inputs)
    """

    def __init__(self, x, u, see: Callable, units: int = 80, ridge: float = 1e-3):
        x, u = reals(x, "x", (None, None)), reals(u, "u", (None, None))
        if not len(x) == len(u) > 0:
            raise ValueError(f"x and u are pairs, but there are {len(x)} and {len(u)}")
        self.see, self.units = function(see, "see"), whole(units, "units", 1)
        phi = self.features(x)
        self.W = np.linalg.solve(
            phi.T @ phi / len(x) + real(ridge, "ridge", 0.0) * np.eye(self.units + 1), phi.T @ u / len(x)
        )

    def features(self, x) -> np.ndarray:
        """Return phi(x), shape (n, units + 1), of states x (n, n_states)."""
        seen, rng = self.see(x), np.random.default_rng(5)
        directions, offsets = rng.normal(size=(seen.shape[1], self.units)), rng.normal(size=self.units)
        return np.column_stack([np.tanh(1.5 * (seen @ directions + offsets)), np.ones(len(seen))])

    def __call__(self, x) -> np.ndarray:
        """Return inputs (n, n_inputs), not clipped, for states x (n, n_states)."""
        return self.features(x) @ self.W


def cartpole_transitions(plant: CartPoleParameters, x, u, rng: np.random.Generator, copies: int = 3,
                         anywhere: int = 280):  # fmt: skip
    """Return single steps of a cart-pole: states (n, 4), forces (n, 1) and next states (n, 4).

    Parameters
    ----------
    plant : CartPoleParameters
        What is to be learned; its steps are without noise.
    x, u : array_like, shapes (..., 4) and (..., 1)
        States and forces of plans: most steps start around these, where a controller will come by.
    rng : numpy.random.Generator
    copies : int
        Steps around each.
    anywhere : int
        Steps more, from |p| <= 1.5 m, any angle, |v| <= 3 m/s, |w| <= 8 rad/s, with any force.
    """
    instance(plant, CartPoleParameters, "plant"), generator(rng)
    x, u = reals(x, "x", (..., 4)).reshape(-1, 4), reals(u, "u", (..., 1)).reshape(-1, 1)
    copies, anywhere = whole(copies, "copies", 0), whole(anywhere, "anywhere", 0)
    if len(x) != len(u):
        raise ValueError(f"x and u are pairs, but there are {len(x)} and {len(u)}")
    x, u, limit, high = np.tile(x, (copies, 1)), np.tile(u, (copies, 1)), plant.max_force, [1.5, np.pi, 3.0, 8.0]
    x = x + rng.normal(size=x.shape) * [0.1, 0.15, 0.3, 0.6]
    u = np.clip(u + 2.0 * rng.normal(size=u.shape), -limit, limit)
    x = np.concatenate([x, rng.uniform(-1.0, 1.0, (anywhere, 4)) * high])
    u = np.concatenate([u, rng.uniform(-limit, limit, (anywhere, 1))])
    return x, u, dynamics(x, u, plant)
