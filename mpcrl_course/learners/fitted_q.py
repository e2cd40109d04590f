"""Fitted Q iteration: learning from a log alone, without another step of the plant.

Of M transitions (s, a, L, s+) that some behaviour left, again and again

    y     = L + gamma V_theta(s+)          with theta held: the target; V = 0 where s+ is terminal
    theta = argmin mean of (Q_theta(s, a) - y)^2

(Ernst, Geurts & Wehenkel, JMLR 6, 2005). With an MPC as Q the regression is not linear: one step is made of it, that of
Gauss and Newton, on a batch of the log,

    theta <- theta + alpha (G'G / m + sigma I)^-1 G'(y - Q) / m,     G: rows dQ/dtheta,  m: transitions in the batch

All values of a batch are solved at once (`MPC.values`). With features phi(s, a) the regression is least squares; for a
given policy it converges to what LSTD solves for directly (`evaluated`).

A log says nothing of where its behaviour never was. There Q is what the features, or the MPC, make of it, and the
minimum over actions goes where it errs downwards: the distribution shift.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mpcrl_course.closed_loop import Run
from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.run import Learner, bounds_of
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.problems import quadratic
from mpcrl_course.validation import instance, real, reals, whole


class Logged(NamedTuple):
    """A log of M transitions.

    Attributes
    ----------
    s, a, cost, s_next : ndarray, shapes (M, n_states), (M, n_actions), (M,), (M, n_states)
    terminated : ndarray of bool, shape (M,)
    """

    s: np.ndarray
    a: np.ndarray
    cost: np.ndarray
    s_next: np.ndarray
    terminated: np.ndarray


def logged(found: Run) -> Logged:
    """Return the transitions of the runs `found`, those of `closed_loop.run`, run after run, up to where each ends."""
    instance(found, Run, "found")
    steps, n = found.cost.shape
    k = np.arange(steps)[:, None]
    made = (k <= found.ended).T  # of run i in step k
    s, a, cost, s_next = (np.swapaxes(part, 0, 1)[made] for part in (found.x[:-1], found.u, found.cost, found.x[1:]))
    return Logged(s, a, cost, s_next, (k == found.ended).T[made])


def targets(cost, value_next, terminated, gamma: float) -> np.ndarray:
    """Return y = L + gamma V(s+), or L where s+ is terminal, shape (M,).

    Parameters
    ----------
    cost, value_next : array_like, shape (M,)
        L, and V(s+) at the parameters that are held.
    terminated : array_like of bool, shape (M,)
    gamma : float
    """
    cost, value = reals(cost, "cost", (None,)), reals(value_next, "value_next", (None,))
    ended = reals(terminated, "terminated", (None,))
    if not cost.shape == value.shape == ended.shape:
        shapes = f"{cost.shape}, {value.shape} and {ended.shape}"
        raise ValueError(f"cost, value_next and terminated are of the same transitions, not of shapes {shapes}")
    return cost + real(gamma, "gamma", 0.0, 1.0) * np.where(ended > 0.0, 0.0, value)


def gauss_newton(gradients, error, sigma: float = 1e-3) -> np.ndarray:
    """Return (G'G / m + sigma I)^-1 G'e / m, for `gradients` G (m, n_theta) and the `error` e (m,)."""
    G = reals(gradients, "gradients", (None, None))
    e = reals(error, "error", (len(G),))
    return np.linalg.solve(G.T @ G / len(G) + real(sigma, "sigma", 0.0) * np.eye(G.shape[1]), G.T @ e / len(G))


def evaluated(features, features_next, cost, gamma: float, iterations: int = 200) -> np.ndarray:
    """Return the weights w of Q = w'phi(s, a) of a policy, by regression after regression on targets L + gamma w'phi+.

    Parameters
    ----------
    features, features_next : array_like, shape (M, n)
        phi of (s, a), and of (s+, pi(s+)).
    cost : array_like, shape (M,)
    gamma : float
    iterations : int
    """
    phi = reals(features, "features", (None, None))
    ahead, cost = reals(features_next, "features_next", phi.shape), reals(cost, "cost", phi.shape[:1])
    w, solved, nowhere = np.zeros(phi.shape[1]), np.linalg.pinv(phi), np.zeros(len(phi))
    for _ in range(whole(iterations, "iterations", 1)):
        w = solved @ targets(cost, ahead @ w, nowhere, gamma)
    return w


def quadratic_iteration(data: quadratic.Transitions, iterations: int = 100) -> np.ndarray:
    """Return the weights (10,) of the quadratic Q of fitted Q iteration, on the linear plant without bounds.

    From Q = 0 on: least squares on targets L + gamma min_a Q(s+, a), of the ten features of `problems.quadratic`.

    Parameters
    ----------
    data : Transitions
        Of `quadratic.collect`.
    iterations : int

    Raises
    ------
    NoLeastAction
        A Q is not curved upwards in a: the log does not say what actions cost.
    """
    instance(data, quadratic.Transitions, "data")
    solved, nowhere = np.linalg.pinv(quadratic.features(data.s, data.a)), np.zeros(len(data.cost))
    omega = solved @ data.cost  # of Q = 0 the least value is 0
    for _ in range(whole(iterations, "iterations", 0)):
        K, k = quadratic.greedy_policy(omega)
        ahead = quadratic.features(data.s_next, -data.s_next @ K.T - k) @ omega
        omega = solved @ targets(data.cost, ahead, nowhere, quadratic.DISCOUNT)
    return omega


class FittedQ(Learner):
    """Fitted Q iteration of the parameters of an MPC, from a log.

    Parameters
    ----------
    mpc : MPC
    data : Logged
    rng : numpy.random.Generator
        Draws the batches.
    theta : array_like, optional
        Where learning starts; by default the problem's initial parameters.
    batch : int
        Transitions of a step, drawn without replacement; all of a smaller log.
    step_size : float or schedule
        alpha.
    sigma : float
    lower, upper : array_like, optional
        Bounds on theta; an update that leaves them is cut off, and where they coincide theta is not learned.

    Attributes
    ----------
    theta : ndarray
    log : Log
        td: root mean square of y - Q over the batch before the step; theta, shape (steps + 1, n_theta).
    """

    name = "fitted Q"
    kept = ("theta",)

    def __init__(
        self,
        mpc: MPC,
        data: Logged,
        rng,
        theta=None,
        *,
        batch: int = 1000,
        step_size=0.5,
        sigma: float = 1e-3,
        lower=None,
        upper=None,
    ):
        self.mpc, self.data = instance(mpc, MPC, "mpc"), instance(data, Logged, "data")
        if not len(self.data.cost):
            raise ValueError("data has no transition to learn from")
        self.theta = mpc.parameters.pack(theta)
        self.batch, self.alpha = whole(batch, "batch", 1), as_schedule(step_size, "step_size")
        self.sigma = real(sigma, "sigma", 0.0, strict=True)
        self.lower, self.upper = bounds_of(mpc.parameters, lower, upper)
        super().__init__(None, rng, theta=self.theta)

    def step(self) -> None:
        """Draw a batch, make its targets with theta held, and take a step towards them."""
        mpc, theta, M = self.mpc, self.theta, len(self.data.cost)
        drawn = self.rng.choice(M, min(self.batch, M), replace=False)
        s, a, cost, s_next, terminated = (part[drawn] for part in self.data)
        try:
            y = targets(cost, mpc.values(theta, s_next)[0], terminated, mpc.discount)
            asked = [mpc.Q(theta, *pair) for pair in zip(s, a, strict=True)]
        except SolverError as error:
            self.log.stopped = f"no solution in step {self.k}: {error}"
            self.log.add(td=np.nan, theta=theta)
            return
        G, Q = np.array([q.gradient() for q in asked]), np.array([q.value for q in asked])
        new, free = theta.copy(), self.lower < self.upper
        new[free] += at(self.alpha, self.k, "step_size") * gauss_newton(G[:, free], y - Q, self.sigma)
        if np.isfinite(new).all():
            self.theta = np.minimum(np.maximum(new, self.lower), self.upper)
        else:
            self.log.stopped = f"the update of step {self.k} is not finite"
        self.log.add(td=float(np.sqrt(np.mean((y - Q) ** 2))), theta=self.theta)
