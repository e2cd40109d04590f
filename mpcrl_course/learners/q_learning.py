"""Q-learning on the parameters of an MPC, first and second order (Gros & Zanon 2020; Esfahani et al. 2021).

    delta   = L(s, a) + gamma V_theta(s+) - Q_theta(s, a)
    first:  theta <- theta + alpha * mean of delta grad Q
    second: theta <- theta + alpha * (sum of grad Q grad Q' - delta hess Q + sigma I)^-1 * sum of delta grad Q

V_theta, Q_theta and their derivatives come from one optimal-control problem. The second-order step is Newton's on
1/2 delta^2 with a fixed target (semi-gradient); where its matrix is indefinite it is shifted (`second_order_step`).
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at, greedy
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner, bounds_of
from mpcrl_course.mpc import MPC, Solution, SolverError
from mpcrl_course.own import answering
from mpcrl_course.validation import asfloats, choice, flag, function, instance, real


def td_error(mpc: MPC, theta, s, a, cost, s_next, terminated=False):
    """Return (delta, solution of Q) of one transition, solving V(s_next) and Q(s, a).

    Parameters
    ----------
    mpc : MPC
    theta : array_like, shape (n_theta,)
    s, a, cost, s_next
        The transition: s and a were followed by the stage cost and s_next.
    terminated : bool
        Whether s_next is terminal: it then costs nothing more.
    """
    q = mpc.Q(theta, s, a)
    target = cost if terminated else cost + mpc.discount * mpc.V(theta, s_next).value
    return target - q.value, q


def first_order_step(gradients: np.ndarray, td: np.ndarray) -> np.ndarray:
    """Return the mean of delta * grad Q over a batch: gradients of shape (T, n_theta), td of shape (T,)."""
    return gradients.T @ td / len(td)


def second_order_step(gradients: np.ndarray, td: np.ndarray, sigma: float, hessians=None) -> np.ndarray:
    """Return (G G' - K + sigma I)^-1 G td with G = gradients' and K = sum of td * hessians.

    Without Hessians and for one sample that is a normalised gradient, td * g / (|g|^2 + sigma); for more it follows
    from the singular values of G, whatever the batch. With Hessians the matrix can be indefinite: then a multiple of
    the identity is added that makes it positive definite, so that the step descends on the squared TD error.

    Parameters
    ----------
    gradients : ndarray, shape (T, n_theta)
    td : ndarray, shape (T,)
    sigma : float
        Regularisation.
    hessians : ndarray, shape (T, n_theta, n_theta), optional
    """
    if hessians is None:
        if len(td) == 1:
            g = gradients[0]
            return g * (td[0] / (g @ g + sigma))
        U, singular, Vt = np.linalg.svd(gradients, full_matrices=False)
        return Vt.T @ (singular / (singular**2 + sigma) * (U.T @ td))
    eigenvalues, E = np.linalg.eigh(gradients.T @ gradients - np.tensordot(td, hessians, axes=1))
    shift = sigma + max(0.0, -2.0 * float(eigenvalues[0]))
    return E @ ((E.T @ (gradients.T @ td)) / (eigenvalues + shift))


class QLearning(Learner):
    """Q-learning of theta while the MPC controls `env`.

    Parameters
    ----------
    mpc : MPC
        Gives V, Q, the policy, the gradient and the discount.
    env, rng
        See `Learner`.
    theta : array_like, optional
        Where learning starts; by default the problem's initial parameters.
    step_size : float or schedule
    order : {1, 2}
        First order (gradient) or second order (Newton type).
    hessian : {'none', 'approximate', 'exact'}
        Which Hessian of Q the second-order step uses: none (Gauss-Newton), that of the Lagrangian, which leaves out how
        the solution moves with theta (zero, and skipped, if the Lagrangian is affine in theta), or the exact one from
        the KKT system.
    sigma : float
        Regularisation of the second-order step.
    act : {'before', 'after'}
        Whether the next action comes from theta before its update (the solution that also gave the target's V) or
        from the updated theta. It decides: acting after the update puts Q(s, pi(s)) on its kink.
    behaviour : callable
        How to act; see `mpcrl_course.learners.behaviour`.
    replay : (size, batch, latest)
        See `Replay`; by default only the latest sample is used.
    fresh : bool
        Whether TD errors and gradients of replayed samples are computed again at the current theta, or used as they
        were computed when the sample was new.
    lower, upper : array_like, optional
        Bounds on theta; an update that leaves them is cut off.
    gradient : callable (solution of Q) -> ndarray, optional
        A reader's own gradient of Q in theta.
    update : callable (theta, td, gradient) -> ndarray, optional
        A reader's own: the new theta, in the place of the step of `order`.

    Attributes
    ----------
    theta, a : ndarray
        Parameters now, and the action that comes next.
    learning : bool
        Whether theta is updated; else it only controls, and takes TD errors.
    trouble : Exception or None
        Why the latest step failed.
    plan : Solution
        The solution from which `a` was chosen.
    log : Log
        x, u, cost; td, nan in a step whose solve failed: that sample is skipped; theta, shape (steps + 1, n_theta): its
        last row is what was learned; failed. The run stops if 200 failed steps follow each other.
    """

    name = "Q-learning"
    kept = ("s", "a", "theta")

    def __init__(
        self,
        mpc: MPC,
        env,
        rng: np.random.Generator,
        theta=None,
        *,
        step_size: float | Callable = 0.05,
        order: int = 2,
        hessian: str = "approximate",
        sigma: float = 1e-3,
        act: str = "before",
        behaviour: Callable = greedy,
        replay: tuple[int, int, int] = (1, 1, 1),
        fresh: bool = False,
        lower=None,
        upper=None,
        gradient: Callable | None = None,
        update: Callable | None = None,
    ):
        choice(order, (1, 2), "order"), choice(act, ("before", "after"), "act")
        choice(hessian, ("none", "approximate", "exact"), "hessian")
        instance(mpc, MPC, "mpc"), instance(env, gym.Env, "env")
        if order == 1 or (hessian == "approximate" and mpc.lagrangian_is_affine):
            hessian = "none"
        self.theta = mpc.parameters.pack(theta)
        super().__init__(env, rng, theta=self.theta)
        self.mpc, self.alpha, self.order, self.hessian = mpc, as_schedule(step_size, "step_size"), order, hessian
        self.sigma = real(sigma, "sigma", 0.0)
        function(behaviour, "behaviour"), function(gradient, "gradient", True), function(update, "update", True)
        self.act, self.behaviour, self.fresh, self.learning = act, behaviour, flag(fresh, "fresh"), True
        self.trouble: Exception | None = None
        self.lower, self.upper = bounds_of(mpc.parameters, lower, upper)
        self.gradient = answering("gradient", gradient or Solution.gradient, lambda q: q.theta.shape)
        self.own_update = update and answering("update", update, lambda theta, *_: theta.shape)
        n, m, p = mpc.problem.n_states, mpc.problem.n_actions, self.theta.size
        columns: dict = {"s": n, "a": m, "cost": (), "s_next": n, "terminated": (), "td": (), "g": p}
        columns |= {} if hessian == "none" else {"h": (p, p)}
        self.replay = Replay.of(replay, **columns)
        self.parts["replay"] = self.replay
        self.plan = mpc.policy(self.theta, self.s)
        self.a = self.choose(self.plan, 0)

    def step(self) -> None:
        """Act, take the TD error, update theta, choose the next action."""
        mpc, theta, s, a, k = self.mpc, self.theta, self.s, self.a, self.k
        s_next, cost, terminated, truncated, _ = self.apply(a)
        a = self.acted
        ended, a_next, td, self.trouble = terminated or truncated, a, np.nan, None
        try:
            # termination ends the sum of costs: no bootstrapping; truncation only ends the episode
            v = None if terminated else mpc.V(theta, s_next)
            if v is not None and self.act == "before" and not ended:
                a_next = self.choose(v, k + 1)
            q = mpc.Q(theta, s, a)
            delta = cost + (0.0 if v is None else mpc.discount * v.value) - q.value
            if self.learning:
                sample = {"s": s, "a": a, "cost": cost, "s_next": s_next, "terminated": terminated}
                self.replay.add(**sample, td=delta, **self.derivatives(q))
                batch = self.replay.draw(self.rng)
                self.theta = self.updated(self.again(batch) if self.fresh else batch)
            td = delta
        except (SolverError, np.linalg.LinAlgError) as error:
            self.trouble = error
        failed = self.trouble is not None
        if ended:
            s_next = self.restart()
        if ended or self.act == "after":
            try:
                a_next = self.choose(mpc.policy(self.theta, s_next), k + 1)
            except SolverError:
                failed = True
        self.s, self.a = s_next, a_next
        self.log.add(x=s, u=a, cost=cost, td=td, theta=self.theta, failed=failed)
        if self.trouble:
            self.stop_if_hopeless(self.trouble)

    def choose(self, solution: Solution, k: int) -> np.ndarray:
        """Return the action of step k at the state of `solution`, which becomes the plan."""
        self.plan, theta = solution, self.theta
        explored = lambda q: self.mpc.policy(theta, solution.state, perturbation=q)  # noqa: E731
        return asfloats(self.behaviour(k, solution, explored, self.rng), "what behaviour returned")

    def derivatives(self, q: Solution) -> dict[str, np.ndarray]:
        """Return gradient g and, where the step needs it, Hessian h of Q, from its solution q."""
        g = {"g": self.gradient(q)}
        return g if self.hessian == "none" else g | {"h": q.hessian(exact=self.hessian == "exact")}

    def again(self, batch):
        """Return the batch with TD errors and derivatives at the present theta."""
        found = [td_error(self.mpc, self.theta, *sample[:5]) for sample in zip(*batch, strict=True)]
        columns = [self.derivatives(q) for _, q in found]
        fresh = {name: np.array([column[name] for column in columns]) for name in columns[0]}
        return batch._replace(td=np.array([td for td, _ in found]), **fresh)

    def updated(self, batch) -> np.ndarray:
        """Return theta after the update that a batch asks for; raises SolverError if it is not finite."""
        theta = self.theta
        if self.own_update:
            return self.own_update(theta.copy(), float(batch.td[0]), batch.g[0])  # the newest sample
        if self.order == 1:
            step = first_order_step(batch.g, batch.td)
        else:
            step = second_order_step(batch.g, batch.td, self.sigma, getattr(batch, "h", None))
        with np.errstate(over="ignore", invalid="ignore"):
            new = theta + at(self.alpha, self.k, "step_size") * step
        if not np.isfinite(new).all():
            raise SolverError("not converged", "the update of theta is not finite", self.s, self.a, theta)
        return np.minimum(np.maximum(new, self.lower), self.upper)
