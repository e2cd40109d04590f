"""A small latent space that is learned to plan in: TD-MPC (Hansen et al., ICML 2022) in the small, for costs.

    encoder z = h(s),    model z+ = z + d(z, a),    cost r(z, a),    critic Q(z, a),    actor pi(z)

From windows s_0, a_0, L_0, ... s_K of a log, with z_0 = h(s_0) and z_k+1 = z_k + d(z_k, a_k) along the whole window:

    loss = sum_k<K rho^k mean [   w_z |z_k+1 - sg h'(s_k+1)|^2 / n              consistency (joint embedding)
                                + w_r (r(z_k, a_k) - L_k)^2                     cost
                                + w_q (Q(z_k, a_k) - y_k)^2 ]                   temporal difference
    y_k  = sg [L_k + gamma Q'(h'(s_k+1), pi(h'(s_k+1)))],    sg: no gradient goes through

Its gradient in h, d, r and Q goes back through all K steps. The actor descends on mean Q(z_0, pi(z_0)), and changes no
z. Slow copies follow: h' <- (1 - tau) h' + tau h, and Q' likewise. No state is ever reconstructed: z need only tell
what is needed to foresee itself and the costs. Nothing acts here: the log may be anybody's. What is learned is planned
with by `policies.sampling.MPPI`:

    MPPI(model.dynamics, model.cost, -2, 2, horizon=5, gamma=model.gamma, encode=lambda x: model.encode(observation(x)),
         prior=model.policy, terminal=model.value)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpcrl_course.learners.run import Learner
from mpcrl_course.mlp import MLP, Adam, Trainable, soft_update
from mpcrl_course.validation import flag, generator, instance, real, reals, share, whole


class LatentModel(Trainable):
    """Encoder, latent model, cost, critic and actor, slow copies of encoder and critic, and their optimisers.

    Parameters
    ----------
    n_measured : int
        Numbers that are measured, s.
    lower, upper : array_like, shape (n_actions,)
        Action limits, kept by the actor.
    rng : numpy.random.Generator
        Draws the first weights.
    n : int
        Dimension of z.
    K : int
        Steps of a window.
    weights : tuple of three floats
        w_z, w_r, w_q of the losses.
    rho : float
        How much less each later step of a window counts.
    gamma : float
        Discount.
    tau : float or pair of floats
        Share of the new weights in the slow copies of encoder and critic (1: that one is no slower).
    stop_gradient : bool
        Whether the consistency loss takes h'(s_k+1) for given; else its gradient goes through h(s_k+1), too: then z
        that is the same everywhere is a perfect answer to this loss.
    rate : float
        Learning rate of all networks.
    width : int
        Units of each hidden layer.
    scale : float or array_like, shape (n_measured,)
        What is measured is multiplied with it before a network sees it.
    cost_scale : float
        And so are the costs.
    dtype : numpy dtype

    Attributes
    ----------
    h, d, r, q, pi, slow_h, slow_q : MLP
    """

    NETWORKS = ("h", "d", "r", "q", "pi", "slow_h", "slow_q")
    OPTIMISERS = ("h_adam", "d_adam", "r_adam", "q_adam", "pi_adam")

    def __init__(self, n_measured: int, lower, upper, rng: np.random.Generator, *, n: int = 8, K: int = 5,
                 weights=(2.0, 0.5, 0.1), rho: float = 0.7, gamma: float = 0.98, tau=0.01,
                 stop_gradient: bool = True, rate: float = 1e-3, width: int = 64, scale=1.0, cost_scale: float = 1.0,
                 dtype: Any = np.float32):  # fmt: skip
        self.n_measured, self.n, self.K = whole(n_measured, "n_measured", 1), whole(n, "n", 1), whole(K, "K", 1)
        self.weights, self.rho = reals(weights, "weights", (3,)), share(rho, "rho")
        if (self.weights < 0).any():
            raise ValueError(f"weights must not be negative, but are {weights}")
        self.gamma, self.tau = real(gamma, "gamma", 0.0, 1.0), reals(tau, "tau")
        if self.tau.shape not in ((), (2,)) or not ((self.tau > 0) & (self.tau <= 1)).all():
            raise ValueError(f"tau must be a number or a pair, in (0, 1], but is {tau}")
        self.stop_gradient = flag(stop_gradient, "stop_gradient")
        self.scale = reals(scale, "scale")
        if self.scale.shape not in ((), (self.n_measured,)):
            raise ValueError(f"scale must be a number, or of shape ({self.n_measured},), but is {scale}")
        self.cost_scale, rate = real(cost_scale, "cost_scale", 0.0, strict=True), real(rate, "rate", 0.0)
        lower, upper = np.atleast_1d(reals(lower, "lower")), np.atleast_1d(reals(upper, "upper"))
        if lower.ndim != 1 or lower.shape != upper.shape or not (lower < upper).all():
            raise ValueError(f"lower must be below upper, of shape (n_actions,), but they are {lower} and {upper}")
        m, rng, same = len(lower), generator(rng), {"width": whole(width, "width", 1), "dtype": dtype}
        self.m, self.h = m, MLP(self.n_measured, n, rng, **same)
        self.h.W3 *= 10  # first weights are a tenth, which suits outputs that are to begin near 0; z is to be about 1
        self.d, self.r, self.q = (MLP(n + m, outputs, rng, **same) for outputs in (n, 1, 1))
        self.pi = MLP(n, m, rng, lower=lower, upper=upper, **same)
        self.slow_h, self.slow_q = self.h.copy(), self.q.copy()
        self.h_adam, self.d_adam, self.r_adam, self.q_adam, self.pi_adam = (
            Adam(getattr(self, name).theta.size, rate, dtype) for name in self.NETWORKS[:5]
        )

    def encode(self, s) -> np.ndarray:
        """Return z = h(s), shape (..., n), of what is measured, s (..., n_measured)."""
        return self.h(reals(s, "s", (..., self.n_measured)) * self.scale)

    def dynamics(self, z, a) -> np.ndarray:
        """Return z+ = z + d(z, a), shape (..., n), for z (..., n) and actions a (..., m)."""
        return z + self.d(np.concatenate([z, a], axis=-1))

    def cost(self, z, a) -> np.ndarray:
        """Return the stage cost that z (..., n) and a (..., m) foretell, shape (...)."""
        return self.r(np.concatenate([z, a], axis=-1))[..., 0] / self.cost_scale

    def policy(self, z) -> np.ndarray:
        """Return pi(z), shape (..., m), of z (..., n)."""
        return self.pi(z)

    def value(self, z) -> np.ndarray:
        """Return V(z) = Q(z, pi(z)), shape (...), of z (..., n)."""
        return self.q(np.concatenate([z, self.pi(z)], axis=-1))[..., 0] / self.cost_scale

    def gradients(self, s, a, c) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """Return the losses of a batch of windows and their gradients; s and c are scaled already.

        Parameters
        ----------
        s : ndarray, shape (K + 1, B, n_measured)
        a : ndarray, shape (K, B, m)
        c : ndarray, shape (K, B, 1)
            Costs.

        Returns
        -------
        losses : ndarray, shape (3,)
            Consistency, cost, temporal difference, as they enter the sum.
        gradients : dict of name to ndarray
            Of the sum of the losses in h, d, r and q, and of mean Q(z_0, pi(z_0)) in pi.
        z : ndarray, shape (B, n)
            z_0.
        """
        (K, B), h, d, r, q = a.shape[:2], self.h, self.d, self.r, self.q
        z_next = self.slow_h(s[1:])
        y = c + self.gamma * self.slow_q(np.concatenate([z_next, self.pi(z_next)], axis=-1))
        targets = []  # of the consistency loss, and their tapes: only without the stopped gradient
        if not self.stop_gradient:
            targets = [h.forward(s_next) for s_next in s[1:]]
            z_next = np.array([target for target, _ in targets])
        z0, tape = h.forward(s[0])
        z, losses, tapes, errors = z0, np.zeros(3), [], []
        for k in range(K):
            (dz, d_tape), (cost, r_tape), (value, q_tape) = (net.forward(z, a[k]) for net in (d, r, q))
            z = z + dz
            wrong = (z - z_next[k], cost - c[k], value - y[k])
            weights = self.weights * self.rho**k / B / (self.n, 1, 1)
            losses += [w * float((e * e).sum()) for w, e in zip(weights, wrong, strict=True)]
            errors.append([float(2 * w) * e for w, e in zip(weights, wrong, strict=True)])  # derivatives of the loss
            tapes.append((d_tape, r_tape, q_tape))
        gradients = {name: np.zeros_like(getattr(self, name).theta) for name in ("h", "d", "r", "q")}
        dz = np.zeros_like(z0)  # derivative in z_k+1, from the steps after it
        for k in reversed(range(K)):
            dz = dz + errors[k][0]
            for name, tape_k, dy in zip("drq", tapes[k], (dz, *errors[k][1:]), strict=True):
                gradient, dx = getattr(self, name).backward(tape_k, dy)
                gradients[name] += gradient
                dz = dz + dx[:, : self.n]
            if targets:
                gradients["h"] += h.backward(targets[k][1], -errors[k][0], inputs=False)[0]
        gradients["h"] += h.backward(tape, dz, inputs=False)[0]
        action, tape = self.pi.forward(z0)
        value, q_tape = q.forward(z0, action)
        _, dx = q.backward(q_tape, np.ones_like(value), weights=False)
        gradients["pi"] = self.pi.backward(tape, dx[:, self.n :] / B, inputs=False)[0]
        return losses, gradients, z0

    def update(self, s, a, c) -> tuple[np.ndarray, float]:
        """Make one update from a batch s, a, c as `gradients` takes it.

        Returns
        -------
        losses : ndarray, shape (3,)
        spread : float
            Standard deviation of z over the batch, mean of its entries: towards 0, h has collapsed.
        """
        losses, gradients, z = self.gradients(s, a, c)
        for name, gradient in gradients.items():
            getattr(self, f"{name}_adam").descend(getattr(self, name).theta, gradient)
        tau_h, tau_q = np.broadcast_to(self.tau, 2).tolist()
        soft_update(self.slow_h.theta, self.h.theta, tau_h)
        soft_update(self.slow_q.theta, self.q.theta, tau_q)
        return losses, float(z.std(axis=0).mean())


class LatentLearning(Learner):
    """One update of a `LatentModel` a step, from a log: no plant is acted in.

    Parameters
    ----------
    model : LatentModel
    s : array_like, shape (steps + 1, runs, n_measured)
        What was measured; of a `Run` of states that are seen as they are, its x.
    a : array_like, shape (steps, runs, m)
        What was done.
    cost : array_like, shape (steps, runs)
        What it cost. No run may have ended before its last step.
    rng : numpy.random.Generator
        Draws the windows.
    batch : int
        Windows of an update.

    Attributes
    ----------
    log : Log
        consistency, cost, value: the losses; spread: that of z over the batch.
    """

    name = "latent model"
    kept = ()

    def __init__(self, model: LatentModel, s, a, cost, rng: np.random.Generator, *, batch: int = 64):
        super().__init__(None, rng)
        self.model, self.batch = instance(model, LatentModel, "model"), whole(batch, "batch", 1)
        dtype = model.h.theta.dtype
        s, a = reals(s, "s", (None, None, model.n_measured)), reals(a, "a", (None, None, model.m))
        cost = reals(cost, "cost", a.shape[:2])
        if s.shape[:2] != (len(a) + 1, a.shape[1]) or len(a) < model.K or not a.shape[1]:
            shapes = f"of shapes {s.shape} and {a.shape}"
            raise ValueError(f"s has a row more than a, and a at least K = {model.K}; not {shapes}")
        self.data = (s * model.scale).astype(dtype), a.astype(dtype), (cost * model.cost_scale)[..., None].astype(dtype)
        self.parts["model"] = model

    def windows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw windows: s (K + 1, batch, n_measured), a (K, batch, m) and costs (K, batch, 1), both scaled."""
        (s, a, c), K = self.data, self.model.K
        runs, at = self.rng.integers(a.shape[1], size=self.batch), self.rng.integers(len(a) - K + 1, size=self.batch)
        steps = at + np.arange(K + 1)[:, None]
        return s[steps, runs], a[steps[:-1], runs], c[steps[:-1], runs]

    def step(self) -> None:
        """Draw windows, and make an update."""
        (consistency, cost, value), spread = self.model.update(*self.windows())
        if not np.isfinite(consistency + cost + value):
            self.log.stopped = f"the update of step {self.k} is not finite"
        self.log.add(consistency=consistency, cost=cost, value=value, spread=spread)
