"""The terminal value of an MPC by temporal differences: aligned learning, of what the rest of the future costs.

The MPC looks N steps ahead and takes V_theta(x) = theta'phi(x) for what comes after them; theta is learned from what
happens, without any derivative of the policy:

    delta = L(s, a) + gamma V_theta(s+) - V_theta(s),      theta <- theta + alpha delta phi(s) / (|phi(s)|^2 + 0.1)

It is TD(0) with a linear value, normalised, and made convex after each step, or there would be no QP. While the policy
follows theta, it is policy iteration with one step of each.
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.ddpg import box_of, noisy_action
from mpcrl_course.learners.run import Learner
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.own import answering, checked
from mpcrl_course.validation import function, instance

#: Added to |phi|^2: near zero, where there is nothing to learn, the step stays small.
SMALL = 0.1


def td_step(theta, phi, phi_next, cost: float, gamma: float, alpha: float) -> tuple[np.ndarray, float]:
    """Return theta after a step of TD(0), and the TD error.

    Parameters
    ----------
    theta : ndarray, shape (n,)
    phi, phi_next : ndarray, shape (n,)
        Features of the state and of the next one; zero if that is terminal.
    cost, gamma, alpha : float
    """
    delta = cost + gamma * float(phi_next @ theta) - float(phi @ theta)
    return theta + alpha * delta * phi / (phi @ phi + SMALL), delta


class TerminalValue(Learner):
    """TD(0) of the terminal value of an MPC while it controls `env`.

    Parameters
    ----------
    mpc : MPC
        Its theta are the weights of the terminal value.
    env, rng
        See `Learner`.
    features : callable (x) -> ndarray (n, n_theta)
    project : callable (theta) -> theta
        To those for which the MPC is convex.
    theta : array_like, optional
    step_size : float or schedule
    noise : float or schedule
        Standard deviation of the exploration noise, relative to half the action's range.
    update : callable (theta, phi, phi_next, cost, gamma, alpha) -> theta, delta, optional
        A reader's own `td_step`.

    Attributes
    ----------
    theta : ndarray
    log : Log
        x, u, cost, td; theta, shape (steps + 1, n_theta).
    """

    name = "TD of a terminal value"
    kept = ("s", "theta")

    def __init__(
        self,
        mpc: MPC,
        env,
        rng: np.random.Generator,
        features: Callable,
        project: Callable,
        theta=None,
        *,
        step_size: float | Callable = lambda k: 0.3 / (1.0 + k / 1000.0),
        noise: float | Callable = 0.1,
        update: Callable = td_step,
    ):
        instance(mpc, MPC, "mpc"), instance(env, gym.Env, "env"), function(update, "update")
        self.theta = mpc.parameters.pack(theta)
        super().__init__(env, rng, theta=self.theta)
        n = self.theta.size
        self.features = answering("features", function(features, "features"), lambda x: (len(x), n))
        self.project = answering("project", function(project, "project"), lambda theta: theta.shape)
        self.mpc, self.alpha, self.noise = mpc, as_schedule(step_size, "step_size"), as_schedule(noise, "noise")
        self.own, self.limits = update, box_of(env)

    def step(self) -> None:
        """Act, take the TD error, move the value."""
        s, theta, k, log = self.s, self.theta, self.k, self.log
        try:
            pi = self.mpc.policy(theta, s).u0[: self.mpc.problem.n_actions]
        except SolverError as error:
            log.stopped = f"no plan at step {k}: {error}"
            pi = np.zeros(self.mpc.problem.n_actions)
        a = noisy_action(pi, at(self.noise, k, "noise"), *self.limits, self.rng)
        s_next, cost, terminated, truncated, _ = self.apply(a)
        phi, phi_next = self.features(np.array([s, s_next]))
        new, delta = self.own(
            theta.copy(), phi, phi_next * (not terminated), cost, self.mpc.discount, at(self.alpha, k, "step_size")
        )
        self.theta = self.project(checked("update", new, theta.shape))
        log.add(x=s, u=a, cost=cost, td=float(delta), theta=self.theta, failed=bool(log.stopped))
        self.s = self.restart() if terminated or truncated else s_next
