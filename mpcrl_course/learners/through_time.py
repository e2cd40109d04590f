"""Back-propagation through the roll-out: the gradient of J in theta, backwards in time through plant and MPC.

With u_k = pi_theta(s_k) and a plant whose slopes are known, A = ds+/ds, B = ds+/du, the noise held as it was:

    lam_K = 0,    q_k = L_u + gamma B'lam_{k+1},    g <- g + (dpi/dtheta)' q_k,
    lam_k = L_s + gamma A'lam_{k+1} + (dpi/ds)' q_k

lam_k is the slope of all that is still to pay in s_k. It goes back through A + B dpi/ds, and where that has an
eigenvalue outside of the unit circle, on an active soft bound, say, it grows at each such step: over a long roll-out
the gradient explodes, although J itself is small. The cure is a window: lam starts anew, at zero, every few steps.
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.policy_gradient import slopes_of_policy
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.own import answering
from mpcrl_course.validation import function, instance, real, whole


def backward_sweep(A, B, L_s, L_u, pi_theta, pi_s, window: int | None = None, gamma: float = 1.0) -> np.ndarray:
    """Return dJ/dtheta of a roll-out of K steps, shape (n_theta,).

    Parameters
    ----------
    A, B : ndarray, shapes (K, n, n) and (K, n, m)
        Slopes of the plant's steps.
    L_s, L_u : ndarray, shapes (K, n) and (K, m)
        Slopes of their costs.
    pi_theta, pi_s : ndarray, shapes (K, m, n_theta) and (K, m, n)
        Slopes of the policy.
    window : int, optional
        Forget what comes after every so many steps: of the steps k with (k + 1) % window == 0, lam_{k+1} is zero.
    gamma : float
        1: of the sum of costs, not discounted.
    """
    lam, g = np.zeros(A.shape[1]), np.zeros(pi_theta.shape[-1])
    for k in range(len(A) - 1, -1, -1):
        if window and (k + 1) % window == 0:
            lam = np.zeros_like(lam)
        q = L_u[k] + gamma * B[k].T @ lam
        g = g + pi_theta[k].T @ q
        lam = L_s[k] + gamma * A[k].T @ lam + pi_s[k].T @ q
    return g


class ThroughTime(Learner):
    """Back-propagation through roll-outs of the MPC in `env`, with the true slopes of the plant; no exploration.

    Parameters
    ----------
    mpc : MPC
    env, rng
        See `Learner`; episodes should be as long as a roll-out.
    slopes : callable (s, u) -> A, B, L_s, L_u
        Of the plant, as `envs.linear.slopes`.
    theta : array_like, optional
    step_size : float or schedule of the update
    window : int or None
        See `backward_sweep`.
    length : int
        Steps of a roll-out.
    largest : float or None
        A gradient longer than this is shortened to it.
    gamma : float
        Discount of what is differentiated.
    sweep : callable, optional
        A reader's own `backward_sweep`.

    Attributes
    ----------
    theta : ndarray
    norms : list of float
        Of each roll-out's gradient, before it is shortened; not saved.
    log : Log
        x, u, cost, kink (there were no slopes), ended; theta, shape (steps + 1, n_theta).
    """

    name = "back-propagation through time"
    kept = ("s", "theta")

    def __init__(
        self,
        mpc: MPC,
        env,
        rng: np.random.Generator,
        slopes: Callable,
        theta=None,
        *,
        step_size: float | Callable = lambda j: 0.01 / (1.0 + 0.1 * j),
        window: int | None = 5,
        length: int = 100,
        largest: float | None = 1.0,
        gamma: float = 1.0,
        sweep: Callable = backward_sweep,
    ):
        instance(mpc, MPC, "mpc"), instance(env, gym.Env, "env"), function(slopes, "slopes")
        self.theta = mpc.parameters.pack(theta)
        super().__init__(env, rng, theta=self.theta)
        self.mpc, self.slopes, self.alpha = mpc, slopes, as_schedule(step_size, "step_size")
        self.window, self.length = None if window is None else whole(window, "window", 1), whole(length, "length", 1)
        self.largest = np.inf if largest is None else real(largest, "largest", 0.0, strict=True)
        self.gamma = real(gamma, "gamma", 0.0, 1.0)
        self.sweep = answering("sweep", function(sweep, "sweep"), lambda *_: self.theta.shape)
        n, m = env.observation_space.shape[0], mpc.problem.n_actions
        self.rollout = Replay(self.length, s=n, u=m, pi_theta=(m, self.theta.size), pi_s=(m, n))
        self.parts["rollout"] = self.rollout
        self.norms: list[float] = []

    def step(self) -> None:
        """Act and remember; after the last step of a roll-out, sweep back through it and make an update."""
        theta, s, k, log = self.theta, self.s, self.k, self.log
        try:
            plan = self.mpc.policy(theta, s)
        except SolverError as error:
            nothing = np.full(self.mpc.problem.n_actions, np.nan)
            log.add(x=s, u=nothing, cost=np.nan, theta=theta, kink=True, ended=False)
            log.stopped = f"no plan at step {k}: {error}"
            return
        u = plan.u0[: self.mpc.problem.n_actions]
        pi_theta, pi_s, exist = slopes_of_policy(plan)
        s_next, cost, terminated, truncated, _ = self.apply(u)
        self.rollout.add(s=s, u=u, pi_theta=pi_theta, pi_s=pi_s)
        if self.rollout.count % self.length == 0:
            g = self.gradient()
            self.norms.append(float(np.linalg.norm(g)))
            size = at(self.alpha, k // self.length, "step_size") * min(1.0, self.largest / max(self.norms[-1], 1e-300))
            self.theta = theta - size * g
            if not np.isfinite(self.theta).all():
                self.theta, log.stopped = theta, f"the update of step {k} is not finite"
        ended = terminated or truncated
        log.add(x=s, u=u, cost=cost, theta=self.theta, kink=not exist, ended=ended)
        self.s = self.restart() if ended else s_next

    def gradient(self, window: int | None = -1) -> np.ndarray:
        """Return dJ/dtheta of the latest roll-out; with another `window`, None for none, than the learner's."""
        batch = self.rollout.all()
        window = self.window if window == -1 else window
        with np.errstate(over="ignore", invalid="ignore"):
            return self.sweep(*self.slopes(batch.s, batch.u), batch.pi_theta, batch.pi_s, window, self.gamma)
