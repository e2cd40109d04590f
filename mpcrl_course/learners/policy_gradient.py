"""The deterministic policy gradient through an MPC, with a critic by least squares.

Of a roll-out s_0, a_0, L_0, …, with a = pi_theta(s) + noise within the limits, and psi(s, a) = dpi/dtheta' (a - pi):

    value       sum_k phi_k (phi_k - gamma phi_{k+1})' v = sum_k phi_k L_k               phi: monomials up to degree 2
    TD error    delta_k = L_k + gamma v'phi_{k+1} - v'phi_k
    advantage   w = (sum_k psi_k psi_k' + reg I)^-1 sum_k psi_k delta_k                    A(s, a) = w'psi(s, a)
    gradient    g = 1/K sum_k (dpi/dtheta)'(dpi/dtheta) w,        theta <- theta - alpha g

The features of the advantage are compatible: its slope in a at a = pi is (dpi/dtheta) w, and with the w of least
squares the gradient of J is that of the mean of A, whatever A misses. Without the difference a - pi they would say
nothing of actions. The natural gradient is w itself.

Sources: Silver et al., ICML 2014; Gros & Zanon, IEEE TAC 65(2), 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.ddpg import box_of, noisy_action
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner, bounds_of
from mpcrl_course.mpc import MPC, Solution, SolverError
from mpcrl_course.own import answering
from mpcrl_course.validation import flag, function, instance, real, reals, whole


def monomials(s) -> np.ndarray:
    """Return 1, s_i, s_i s_j (i <= j) of states s (n, n_states): shape (n, 1 + n_states (n_states + 3) / 2)."""
    s = reals(s, "s", (None, None))
    i, j = np.triu_indices(s.shape[1])
    return np.column_stack([np.ones(len(s)), s, s[:, i] * s[:, j]])


def value_weights(phi, phi_next, cost, gamma: float) -> np.ndarray:
    """Return v of LSTD: sum phi (phi - gamma phi_next)'v = sum phi cost.

    Parameters
    ----------
    phi, phi_next : ndarray, shape (K, n)
        Features of the states, and of those after them; zero after a terminal one.
    cost : ndarray, shape (K,)
    gamma : float
    """
    M = phi.T @ (phi - gamma * phi_next)
    return np.linalg.lstsq(M + 1e-9 * np.eye(len(M)), phi.T @ cost, rcond=None)[0]


def advantage_weights(psi, td, regularisation: float = 1e-6) -> np.ndarray:
    """Return w = (sum psi psi' + regularisation I)^-1 sum psi td, for psi (K, n_theta) and td (K,)."""
    return np.linalg.solve(psi.T @ psi + regularisation * np.eye(psi.shape[1]), psi.T @ td)


def compatible(jacobian, difference) -> np.ndarray:
    """Return psi = dpi/dtheta' (a - pi), shape (K, n_theta).

    Parameters
    ----------
    jacobian : ndarray, shape (K, n_actions, n_theta)
        dpi/dtheta.
    difference : ndarray, shape (K, n_actions)
        a - pi, of what was applied.
    """
    return np.einsum("kmp,km->kp", jacobian, difference)


def lstd_gradient(
    batch, gamma: float, regularisation: float = 1e-6, natural: bool = False, features: Callable = monomials
) -> np.ndarray:
    """Return the policy gradient of a roll-out, or w, the natural one, shape (n_theta,).

    Parameters
    ----------
    batch : namedtuple
        s (K, n), a and pi (K, m), cost (K,), s_next (K, n), terminated (K,), jacobian (K, m, n_theta).
    gamma, regularisation : float
    natural : bool
    features : callable (s) -> ndarray (K, n_features)
        phi.
    """
    phi, phi_next = features(batch.s), features(batch.s_next) * (1.0 - batch.terminated)[:, None]
    v = value_weights(phi, phi_next, batch.cost, gamma)
    td = batch.cost + gamma * phi_next @ v - phi @ v
    w = advantage_weights(compatible(batch.jacobian, batch.a - batch.pi), td, regularisation)
    if natural:
        return w
    slope = batch.jacobian @ w  # dA/da at a = pi, (K, m)
    return np.einsum("kmp,km->p", batch.jacobian, slope) / len(td)


def slopes_of_policy(solution: Solution) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return dpi/dtheta, dpi/ds at a `solution` of V, and whether they exist: at some kinks none do, and are zero."""
    try:
        return *solution.policy_jacobian(state=True), True
    except SolverError:
        m = solution.u0.size
        return np.zeros((m, solution.theta.size)), np.zeros((m, solution.state.size)), False


class PolicyGradient(Learner):
    """Policy gradient on the parameters of an MPC while it controls `env`; an update after each roll-out.

    Parameters
    ----------
    mpc : MPC
        Gives policy, its Jacobian, and the discount.
    env, rng
        See `Learner`; the plant's episodes should be as long as a roll-out.
    theta : array_like, optional
        Where learning starts; by default the problem's initial parameters.
    step_size : float or schedule of the update
    noise : float or schedule
        Standard deviation of the exploration noise, relative to half the action's range.
    length : int
        Steps of a roll-out.
    natural : bool
        Whether the natural gradient is taken.
    regularisation : float
        Of the advantage's least squares.
    largest : float or None
        A gradient longer than this is shortened to it.
    lower, upper : array_like, optional
        Bounds on theta; an update that leaves them is cut off.
    scale : array_like, shape (n_theta,), optional
        Units in which theta is moved: g in theta / scale is scale * g in theta. `largest` is meant in them, too.
    features : callable (s) -> ndarray (K, n_features)
        phi of the value; by default monomials.
    gradient : callable (batch, gamma, regularisation) -> ndarray (n_theta,), optional
        A reader's own, in the place of `lstd_gradient`.

    Attributes
    ----------
    theta : ndarray
    plan : Solution
        The latest plan.
    log : Log
        x, u, cost, kink (there was no Jacobian), ended; theta, shape (steps + 1, n_theta): what was learned last.
    updates : list of float
        Norm of each roll-out's gradient; not saved.
    """

    name = "policy gradient"
    kept = ("s", "theta")

    def __init__(
        self,
        mpc: MPC,
        env,
        rng: np.random.Generator,
        theta=None,
        *,
        step_size: float | Callable = 1e-4,
        noise: float | Callable = 0.1,
        length: int = 100,
        natural: bool = False,
        regularisation: float = 1e-6,
        largest: float | None = None,
        lower=None,
        upper=None,
        scale=None,
        features: Callable = monomials,
        gradient: Callable | None = None,
    ):
        instance(mpc, MPC, "mpc"), instance(env, gym.Env, "env")
        self.theta = mpc.parameters.pack(theta)
        super().__init__(env, rng, theta=self.theta)
        self.mpc, self.alpha, self.noise = mpc, as_schedule(step_size, "step_size"), as_schedule(noise, "noise")
        self.length, self.natural = whole(length, "length", 1), flag(natural, "natural")
        self.regularisation = real(regularisation, "regularisation", 0.0, strict=True)
        self.largest = np.inf if largest is None else real(largest, "largest", 0.0, strict=True)
        self.lower, self.upper = bounds_of(mpc.parameters, lower, upper)
        self.limits = box_of(env)
        self.scale = np.ones(self.theta.size) if scale is None else mpc.parameters.check(scale, name="scale").copy()
        self.features = function(features, "features")
        function(gradient, "gradient", optional=True)
        self.gradient = answering("gradient", gradient or self._gradient, lambda *_: self.theta.shape)
        n, m = env.observation_space.shape[0], mpc.problem.n_actions
        columns = {"s": n, "a": m, "pi": m, "cost": (), "s_next": n, "terminated": (),
                   "jacobian": (m, self.theta.size)}  # fmt: skip
        self.rollout = Replay(self.length, **columns)
        self.parts["rollout"] = self.rollout
        self.updates: list[float] = []
        self.plan: Solution | None = None

    def _gradient(self, batch, gamma, regularisation):
        return lstd_gradient(batch, gamma, regularisation, self.natural, self.features)

    def step(self) -> None:
        """Act with noise and remember; after the last step of a roll-out, make an update."""
        theta, s, k, log = self.theta, self.s, self.k, self.log
        try:
            self.plan = self.mpc.policy(theta, s)
        except SolverError as error:
            self.stop(s, f"no plan at step {k}: {error}")
            return
        pi = self.plan.u0[: self.mpc.problem.n_actions]
        try:
            jacobian, exists = self.plan.policy_jacobian(), True
        except SolverError:
            jacobian, exists = np.zeros((len(pi), theta.size)), False
        a = noisy_action(pi, at(self.noise, k, "noise"), *self.limits, self.rng)
        s_next, cost, terminated, truncated, _ = self.apply(a)
        a = self.acted  # a filter between them may have let something else act
        self.rollout.add(s=s, a=a, pi=pi, cost=cost, s_next=s_next, terminated=terminated, jacobian=jacobian)
        if self.rollout.count % self.length == 0:
            self.update(k)
        ended = terminated or truncated
        log.add(x=s, u=a, cost=cost, theta=self.theta, kink=not exists, ended=ended)
        self.s = self.restart() if ended else s_next

    def update(self, k: int) -> None:
        """Move theta against the gradient of the roll-out that step k completes."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                g = self.gradient(self.rollout.all(), self.mpc.discount, self.regularisation)
            norm = float(np.linalg.norm(self.scale * g))
        except np.linalg.LinAlgError:
            norm = np.nan
        self.updates.append(norm)
        if not norm < np.inf:
            self.log.stopped = f"the update of step {k} is not finite"
            return
        alpha = at(self.alpha, k // self.length, "step_size") * min(1.0, self.largest / max(norm, 1e-300))
        self.theta = np.minimum(np.maximum(self.theta - alpha * self.scale**2 * g, self.lower), self.upper)

    def stop(self, s, why: str) -> None:
        """Log a step at the state s that could not be made, and end the run: `why`."""
        nothing = np.full(self.mpc.problem.n_actions, np.nan)
        self.log.add(x=s, u=nothing, cost=np.nan, theta=self.theta, kink=True, ended=False)
        self.log.stopped = why
