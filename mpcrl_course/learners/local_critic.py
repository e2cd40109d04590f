"""The local critic of an MPC: the action value that its own gradient can express, and what to learn from it.

    Q_w(s, a) = Q_phi(s, a) + w'psi(s, a),    psi = grad_phi Q_phi,    V_w(s) = V_phi(s) + w'grad_phi V_phi(s)
    delta     = L + gamma V_phi(s+) - Q_phi(s, a),    the TD error without w
    w         : mean of psi (psi - gamma psi+)' w + ridge w = mean of psi delta,    psi+ = grad_phi V_phi(s+)    (LSTD)

Q_w is what Q_{phi + w} is to first order. Where the action is free, psi knows what the policy knows: grad_a psi =
-Q_aa grad_phi pi at a = pi_phi(s), for the policy is where grad_a Q_phi = 0. With G = mean of grad pi Q_aa grad pi',

    as a critic    phi <- phi + alpha w
    actor          phi <- phi - alpha mean of grad_phi pi_phi grad_a Q_w        = phi + alpha G w
    Gauss-Newton   phi <- phi - alpha (G + ridge I)^-1 mean of the same         = phi + alpha (G + ridge I)^-1 G w

so that the third is the first one, less the directions in which the policy does not move (`filtered`).

Source: Reiter et al., arXiv 2502.02133, a survey in which MPC as the critic is one box; LSTD: Bradtke & Barto, Machine
Learning 22, 1996. A critic linear in gradients of the policy's own function is a compatible one (Silver et al. 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gymnasium as gym
import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner, bounds_of
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.own import answering
from mpcrl_course.problems import quadratic
from mpcrl_course.problems.quadratic import DISCOUNT, QuadraticMPC
from mpcrl_course.validation import choice, function, instance, real, reals, whole


class LocalFit(NamedTuple):
    """Weights of a local critic, and how far to trust them.

    Attributes
    ----------
    w, se : ndarray, shape (n_phi,)
        Weights, and their standard errors.
    before, after : float
        Root mean squared TD error of Q_phi, and of Q_w.
    """

    w: np.ndarray
    se: np.ndarray
    before: float
    after: float


def lstd(psi, psi_next, td, gamma: float, ridge: float = 1e-3) -> np.ndarray:
    """Return the weights w of the local critic: (mean of psi (psi - gamma psi+)' + ridge I)^-1 mean of psi delta.

    Parameters
    ----------
    psi, psi_next : array_like, shape (M, n_phi)
        grad_phi Q_phi(s, a) and grad_phi V_phi(s+), 0 where s+ is terminal: both at the *same* phi.
    td : array_like, shape (M,)
        TD errors delta of Q_phi, at that phi too.
    gamma : float
        Discount.
    ridge : float
        Added to the diagonal. Two parameters that Q_phi cannot tell apart need it: the matrix is then singular.
    """
    return local_fit(psi, psi_next, td, gamma, ridge).w


def local_fit(psi, psi_next, td, gamma: float, ridge: float = 1e-3) -> LocalFit:
    """Return the weights of `lstd` with their standard errors; psi, psi_next, td, gamma and ridge are the same.

    With A the matrix and e = delta - (psi - gamma psi+)'w what is left, the covariance of w is A^-1 (mean of e^2 psi
    psi') A^-T / M, the sandwich of an estimating equation. Errors of a run of transitions are uncorrelated where Q_w is
    right, for e is then a martingale difference.
    """
    psi = reals(psi, "psi", (None, None))
    psi_next, td = reals(psi_next, "psi_next", psi.shape), reals(td, "td", psi.shape[:1])
    gamma, ridge = real(gamma, "gamma", 0.0, 1.0), real(ridge, "ridge", 0.0)
    if not len(psi):
        raise ValueError("a critic is fitted to one transition or more, not to none")
    M, change = len(td), psi - gamma * psi_next
    matrix = psi.T @ change / M + ridge * np.eye(psi.shape[1])
    try:
        w = np.linalg.solve(matrix, psi.T @ td / M)
    except np.linalg.LinAlgError:
        raise ValueError("psi does not tell all parameters apart: give a ridge above 0") from None
    left = td - change @ w
    se = np.linalg.norm(np.linalg.solve(matrix, (psi * left[:, None]).T), axis=1) / M
    return LocalFit(w, se, float(np.sqrt(np.mean(td**2))), float(np.sqrt(np.mean(left**2))))


def actor_gradient(jacobian, slope) -> np.ndarray:
    """Return the mean of grad_phi pi_phi(s) grad_a Q_w(s, pi_phi(s)): that of the policy's cost, shape (n_phi,).

    `jacobian` (M, n_phi) is grad_phi pi_phi of one input, `slope` (M,) is grad_a Q_w.
    """
    jacobian = reals(jacobian, "jacobian", (None, None))
    return jacobian.T @ reals(slope, "slope", jacobian.shape[:1]) / len(jacobian)


def curvature(jacobian, Q_aa) -> np.ndarray:
    """Return G, the mean of Q_aa grad pi grad pi': the curvature of the cost in phi, where the critic alone has one.

    `jacobian` (M, n_phi) is grad_phi pi_phi of one input, `Q_aa` (M,) the second derivative of Q_phi in it.
    """
    jacobian = reals(jacobian, "jacobian", (None, None))
    return (jacobian * reals(Q_aa, "Q_aa", jacobian.shape[:1])[:, None]).T @ jacobian / len(jacobian)


def gauss_newton_step(gradient, G, ridge: float = 1e-3) -> np.ndarray:
    """Return -(G + ridge I)^-1 gradient, for the `actor_gradient` (n_phi,) and its `curvature` G (n_phi, n_phi)."""
    gradient, G, ridge = reals(gradient, "gradient", (None,)), reals(G, "G", (None, None)), real(ridge, "ridge", 0.0)
    if G.shape != (gradient.size,) * 2:
        raise ValueError(
            f"G is the curvature in all entries of the gradient, but they have shapes {G.shape} and {gradient.shape}"
        )
    try:
        return -np.linalg.solve(G + ridge * np.eye(len(G)), gradient)
    except np.linalg.LinAlgError:
        raise ValueError("some directions do not move the policy: give a ridge above 0") from None


def filtered(w, G, ridge: float = 1e-3) -> np.ndarray:
    """Return (G + ridge I)^-1 G w: what of w (n_phi,) moves the policy, whose `curvature` is G (n_phi, n_phi)."""
    w, G = reals(w, "w", (None,)), reals(G, "G", (None, None))
    if G.shape != (w.size,) * 2:
        raise ValueError(f"G is the curvature in all entries of w, but they have shapes {G.shape} and {w.shape}")
    return gauss_newton_step(-G @ w, G, ridge)


def limited(step, limit: float | None) -> np.ndarray:
    """Return a step (n_phi,), shortened to the length `limit` if it is longer, and if there is a limit."""
    step, limit = reals(step, "step", (None,)), None if limit is None else real(limit, "limit", 0.0)
    length = float(np.linalg.norm(step))
    return step if limit is None or length <= limit else step * (limit / length)


class LocalCritic(Learner):
    """Actor and critic from one MPC, along one path of `env`; every so many transitions theta <- theta + alpha w.

    Parameters
    ----------
    mpc : MPC
        Gives V, Q, their gradients, the policy and the discount.
    env, rng
        See `Learner`.
    theta : array_like, optional
        Where learning starts; by default the problem's initial parameters.
    every : int
        Transitions of a batch: all at one theta, and forgotten after the step that they gave.
    step_size : float or schedule
        alpha, at the step's number k.
    ridge : float
        See `lstd`.
    limit : float, optional
        Longest step of theta: psi is the gradient at theta, and says little of what is far away.
    noise : float
        Standard deviation of the exploration: a = clip(pi + noise N(0, 1)).
    lower, upper : array_like, optional
        Bounds on theta; a step that leaves them is cut off.
    weights : callable (psi, psi_next, td, gamma, ridge) -> w, optional
        A reader's own in the place of `lstd`.

    Attributes
    ----------
    theta, a, w : ndarray
        Parameters now, the action that comes next, and the weights of the latest fit.
    plan : Solution
        The solution from which `a` was chosen.
    log : Log
        x, u, cost; td, that of Q_theta, nan where a solve failed: that transition is not used; theta, shape (steps + 1,
        n_theta); failed. The run stops if 200 failed steps follow each other.
    """

    name = "local critic"
    kept = ("s", "a", "theta", "w")

    def __init__(
        self,
        mpc: MPC,
        env,
        rng: np.random.Generator,
        theta=None,
        *,
        every: int = 300,
        step_size: float | Callable = 0.3,
        ridge: float = 1e-2,
        limit: float | None = 0.1,
        noise: float = 0.1,
        lower=None,
        upper=None,
        weights: Callable = lstd,
    ):
        instance(mpc, MPC, "mpc"), instance(env, gym.Env, "env")
        self.theta = mpc.parameters.pack(theta)
        super().__init__(env, rng, theta=self.theta)
        self.mpc, self.every, self.alpha = mpc, whole(every, "every", 1), as_schedule(step_size, "step_size")
        self.ridge, self.limit = real(ridge, "ridge", 0.0), limit if limit is None else real(limit, "limit", 0.0)
        self.noise, self.bounds = real(noise, "noise", 0.0), bounds_of(mpc.parameters, lower, upper)
        self.weights = answering("weights", function(weights, "weights"), lambda psi, *_: psi.shape[1:])
        n = self.theta.size
        self.w, self.batch = np.zeros(n), Replay(self.every, psi=n, psi_next=n, td=())
        self.parts["batch"] = self.batch
        self.plan = mpc.V(self.theta, self.s)
        self.a = self.explored()

    def step(self) -> None:
        """Act, keep the gradients and the TD error; every so many transitions fit w, and move theta."""
        mpc, theta, s, a, td, trouble = self.mpc, self.theta, self.s, self.a, np.nan, None
        s_next, cost, terminated, truncated, _ = self.apply(a)
        a = self.acted  # a filter between them may have let something else act
        ended = terminated or truncated
        try:
            q = mpc.Q(theta, s, a)
            v = None if terminated else mpc.V(theta, s_next)  # also the plan of the next action
            delta = cost + (0.0 if v is None else mpc.discount * v.value) - q.value
            after = np.zeros(theta.size) if v is None else v.gradient()
            self.batch.add(psi=q.gradient(), psi_next=after, td=delta)
            td = delta
            if self.batch.count % self.every == 0:
                self.theta, v = self.improved(), None  # the next plan is that of the new theta
            if ended:
                s_next, v = self.restart(), None
            self.plan = v or mpc.V(self.theta, s_next)
            self.a = self.explored()
        except SolverError as error:
            trouble = error
            if ended and np.isnan(td):
                s_next = self.restart()
        self.s = s_next
        self.log.add(x=s, u=a, cost=cost, td=td, theta=self.theta, failed=trouble is not None)
        if trouble:
            self.stop_if_hopeless(trouble)

    def improved(self) -> np.ndarray:
        """Return theta + alpha w, w fitted to the batch."""
        batch = self.batch.all()
        self.w = self.weights(batch.psi, batch.psi_next, batch.td, self.mpc.discount, self.ridge)
        step = limited(at(self.alpha, self.k, "step_size") * self.w, self.limit)
        return np.clip(self.theta + step, *self.bounds)

    def explored(self) -> np.ndarray:
        """Return the plan's action with noise, within the plant's limits."""
        u, limits = self.plan.u0, self.env.action_space
        return np.clip(u + self.noise * self.rng.standard_normal(u.shape), limits.low, limits.high)


#: What `LocalIteration` can do with w.
RULES = ("critic", "actor", "Gauss-Newton")


class LocalIteration(Learner):
    """The same where all is known: the linear plant without bounds; a step is a batch, a fit and a step of phi.

    Parameters
    ----------
    mpc : QuadraticMPC
    phi : array_like, shape (9,)
        Where learning starts.
    rng : numpy.random.Generator
    rule : {'critic', 'actor', 'Gauss-Newton'}
        See the head of this file.
    M : int
        Transitions of a batch, in episodes of 20 steps.
    step_size, ridge, limit : float
        As in `LocalCritic`.
    exploration : float
        Standard deviation of the noise on the input.

    Attributes
    ----------
    phi, w : ndarray, shape (9,)
        Parameters now, and the weights of the latest fit.
    data : Transitions
        The latest batch.
    log : Log
        phi, and ratio, the expected cost of its policy over the least one, each with a row before the first step; w,
        se, before, after: see `LocalFit`. The run stops where the policy no longer stabilises the plant.
    """

    name = "local critic, LQR"
    kept = ("phi", "w")

    def __init__(
        self,
        mpc: QuadraticMPC,
        phi,
        rng: np.random.Generator,
        *,
        rule: str = "critic",
        M: int = 1000,
        step_size: float = 0.3,
        ridge: float = 1e-3,
        limit: float | None = None,
        exploration: float = 0.3,
    ):
        self.mpc, self.rule = instance(mpc, QuadraticMPC, "mpc"), choice(rule, RULES, "rule")
        self.phi, self.w = mpc.parameters.check(phi, name="phi").copy(), np.zeros(mpc.parameters.size)
        self.M, self.alpha = whole(M, "M", 1), real(step_size, "step_size", 0.0)
        self.ridge, self.limit = real(ridge, "ridge", 0.0), limit if limit is None else real(limit, "limit", 0.0)
        self.exploration, self.least = real(exploration, "exploration", 0.0), quadratic.least_cost()
        self.data: quadratic.Transitions | None = None
        super().__init__(None, rng, phi=self.phi, ratio=self.ratio())

    def ratio(self) -> float:
        """Return J/J*: the expected cost of the present policy over that of the best one."""
        try:
            return quadratic.expected_cost(*self.mpc.policy(self.phi)) / self.least
        except ValueError:  # phi has left all reason: the recursion overflows
            return np.inf

    def step(self) -> None:
        """Drive with the present policy, fit w, move phi."""
        K, k = self.mpc.policy(self.phi)
        self.data = data = quadratic.collect(K, k, self.M, self.rng, self.exploration)
        omega, (D, E) = self.mpc.omega(self.phi), self.mpc.derivatives(self.phi)
        z, z_next = quadratic.features(data.s, data.a), quadratic.features(data.s_next, -data.s_next @ K.T - k)
        td = data.cost + DISCOUNT * z_next @ omega - z @ omega
        fit = local_fit(z @ D.T, z_next @ D.T, td, DISCOUNT, self.ridge)
        self.w = fit.w
        if self.rule == "critic":
            step = fit.w
        else:
            jacobian = np.column_stack([data.s, np.ones(self.M)]) @ E.T
            gradient = actor_gradient(jacobian, quadratic.slope(omega + fit.w @ D, data.s, -data.s @ K.T - k))
            if self.rule == "actor":
                step = -gradient
            else:
                G = curvature(jacobian, np.full(self.M, 2.0 * quadratic.quadratic_of(omega).M[2, 2]))
                step = gauss_newton_step(gradient, G, self.ridge)
        self.phi = self.phi + limited(self.alpha * step, self.limit)
        self.log.add(phi=self.phi, ratio=self.ratio(), w=fit.w, se=fit.se, before=fit.before, after=fit.after)
        if not np.isfinite(self.log.ratio[-1]):
            self.log.stopped = "the policy no longer stabilises the plant"
