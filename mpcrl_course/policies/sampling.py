"""Algorithmic: a plan by sampling (MPPI, model predictive path integral control), guided by an actor and a critic.

    a_h^i   = clip(plan_h + sigma e_h^i),  e ~ N(0, I),  e^1 = 0                                  i = 1 ... samples
    a_h^i   = clip(mu(z_h^i) + prior_sigma e_h^i)  for `guided` of them: a prior, an actor mu along the model
    z_0^i   = h(y),    z_h+1^i = f(z_h^i, a_h^i)
    J^i     = sum_h<H gamma^h L(z_h^i, a_h^i) + gamma^H V(z_H^i),    of a critic V(z) = Q(z, mu(z))
    w^i     = exp(-(J^i - min J) / lambda) / sum_j exp(-(J^j - min J) / lambda)
    plan   <- sum_i w^i a^i,    u = plan_0;    the next decision begins with this plan, shifted by a step

Model, cost and limits stay as they are: actor and critic only say which plans are tried, and what comes after the
horizon. h is the identity where states are measured, and an encoder where the model is one of a latent space.

Sources: Williams et al., ICRA 2017 (MPPI; its term lambda u' Sigma^-1 e is left out: what inputs cost stands in L);
Hansen et al., ICML 2022 (TD-MPC: prior and terminal Q).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.own import answering, checked
from mpcrl_course.validation import function, real, reals, whole


def mppi_weights(J, temperature: float = 1.0) -> np.ndarray:
    """Return the weights of samples with costs J: softmax(-(J - min J) / lambda), shape (..., samples).

    Parameters
    ----------
    J : array_like, shape (..., samples)
        Without min J, a common part of all costs as large as 1000 lambda would leave 0 / 0.
    temperature : float
        lambda > 0: towards 0 the best sample gets all the weight, towards infinity all get the same.
    """
    J, temperature = reals(J, "J", (..., None)), real(temperature, "temperature", 0.0, strict=True)
    if not J.shape[-1]:
        raise ValueError("J has no entry, but there must be a sample")
    with np.errstate(over="ignore"):  # where a difference is beyond all floats, the weight is 0
        w = np.exp(-(J - J.min(axis=-1, keepdims=True)) / temperature)
    return w / w.sum(axis=-1, keepdims=True)


class MPPI:
    """A controller of n plants; each has a plan of its own, and all are tried with the same random numbers.

    Another number of plants than last time starts anew, as `reset` does.

    Parameters
    ----------
    dynamics, cost : callable (z, a)
        The model f, (..., n_z) and (..., n_inputs) to (..., n_z), and the stage cost L, to (...).
    lower, upper : array_like, shape (n_inputs,)
        Limits of the inputs, kept by every sample.
    horizon : int
        H.
    samples : int
        Plans that are tried in a decision.
    temperature : float
        lambda of the weights.
    sigma : float or array_like, shape (n_inputs,)
        Standard deviation of the samples about the plan, in units of the input.
    gamma : float
        Discount; that of the critic, if there is one.
    encode : callable, optional
        h, from what is measured, (n, n_measured), to z (n, n_z); by default z is what is measured.
    prior : callable, optional
        mu, from z (..., n_z) to inputs (..., n_inputs).
    guided : int, optional
        Samples that follow the prior, the first of them without noise; by default a quarter.
    prior_sigma : float
        Standard deviation of the others about the prior.
    terminal : callable, optional
        V, from z (..., n_z) to (...); by default 0.
    weights : callable (J, temperature)
        From costs (n, samples) to weights (n, samples); a reader's own, perhaps.
    n_measured : int, optional
        Numbers that are measured of a plant; by default as many as come, and `encode` or `dynamics` may complain.
    seed : int

    Attributes
    ----------
    plan : ndarray, shape (n, horizon, n_inputs)
        Of each plant's latest decision.

    Raises
    ------
    ValueError
        What is measured is not finite or of another shape, or a function returns what is not finite or does not fit.
    """

    def __init__(
        self,
        dynamics: Callable,
        cost: Callable,
        lower,
        upper,
        *,
        horizon: int,
        samples: int = 64,
        temperature: float = 1.0,
        sigma=1.0,
        gamma: float = 1.0,
        encode: Callable | None = None,
        prior: Callable | None = None,
        guided: int | None = None,
        prior_sigma: float = 0.3,
        terminal: Callable | None = None,
        weights: Callable = mppi_weights,
        n_measured: int | None = None,
        seed: int = 0,
    ):
        self.lower, self.upper = (np.atleast_1d(reals(b, name)) for b, name in ((lower, "lower"), (upper, "upper")))
        if self.lower.ndim != 1 or self.lower.shape != self.upper.shape or not (self.lower < self.upper).all():
            raise ValueError(f"lower must be below upper, of shape (n_inputs,), but they are {lower} and {upper}")
        self.horizon, self.samples, m = whole(horizon, "horizon", 1), whole(samples, "samples", 1), self.lower.shape
        self.sigma = reals(sigma, "sigma")
        if self.sigma.shape not in ((), m) or (self.sigma < 0).any():
            raise ValueError(f"sigma must be a number or one an input, none negative, but is {sigma}")
        self.gamma, self.prior_sigma = real(gamma, "gamma", 0.0, 1.0), real(prior_sigma, "prior_sigma", 0.0)
        self.temperature = real(temperature, "temperature", 0.0, strict=True)
        function(encode, "encode", optional=True), function(prior, "prior", optional=True)
        function(terminal, "terminal", optional=True)
        guided = (self.samples // 4 if prior else 0) if guided is None else whole(guided, "guided", 0)
        if guided >= self.samples or (guided and not prior):
            raise ValueError(f"guided samples need a prior, and there must be one more than they, not {guided}")
        self.n_measured = None if n_measured is None else whole(n_measured, "n_measured", 1)
        self.seed, self.guided = whole(seed, "seed", 0), slice(1, 1 + guided)
        self.encode = encode or (lambda y: y)
        self.dynamics = answering("dynamics", function(dynamics, "dynamics"), lambda z, a: z.shape)
        self.cost = answering("cost", function(cost, "cost"), lambda z, a: z.shape[:-1])
        self.prior = answering("prior", prior, lambda z: (*z.shape[:-1], *m)) if prior and guided else None
        self.terminal = answering("terminal", terminal, lambda z: z.shape[:-1]) if terminal else None
        self.weights = answering("weights", function(weights, "weights"), lambda J, temperature: J.shape)
        self.reset()

    def reset(self) -> None:
        """Forget the plans; the same random numbers come again."""
        self.plan = np.zeros((0, self.horizon, len(self.lower)))
        self.rng = np.random.default_rng(self.seed)

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs) for what is measured, y (n, n_measured)."""
        y = measured(y, self.n_measured)
        if len(self.plan) != len(y):
            self.reset()
            self.plan = np.zeros((len(y), *self.plan.shape[1:]))
        shifted = np.concatenate([self.plan[:, 1:], self.plan[:, -1:]], axis=1)
        a, J = self.rollouts(self.encode(y), shifted)
        self.plan = np.einsum("ns,nshm->nhm", self.weights(J, self.temperature), a)
        return self.plan[:, 0].copy()

    def rollouts(self, z, plan) -> tuple[np.ndarray, np.ndarray]:
        """Return samples about a plan (n, horizon, n_inputs) and their costs from z (n, n_z).

        Returns
        -------
        a : ndarray, shape (n, samples, horizon, n_inputs)
        J : ndarray, shape (n, samples)
        """
        e = self.rng.standard_normal((self.samples, *plan.shape[1:]))
        e[0] = 0.0  # the plan itself
        if self.prior:
            e[1] = 0.0  # the prior itself
        a = np.clip(plan[:, None] + self.sigma * e, self.lower, self.upper)
        z = np.repeat(z[:, None], self.samples, axis=1)
        J, shape, by = np.zeros(a.shape[:2]), z.shape, self.guided
        for h in range(self.horizon):
            if self.prior:
                a[:, by, h] = np.clip(self.prior(z[:, by]) + self.prior_sigma * e[by, h], self.lower, self.upper)
            J += self.gamma**h * self.cost(z, a[:, :, h])
            z = self.dynamics(z, a[:, :, h])
            if z.shape != shape:
                raise ValueError(f"dynamics must return states of shape {shape}, as they came, not {z.shape}")
        if self.terminal:
            J += self.gamma**self.horizon * self.terminal(z)
        return a, checked("cost", J, J.shape)
