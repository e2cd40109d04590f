"""The linear plant without its bounds: its MPC, its critics and the cost of its policies, all in closed form.

    x+ = A x + B u + e,   e ~ N(0, 0.05^2 I);    L(x, u) = 1/2 (|x|^2 + 1/2 u^2);    gamma = 0.9;    x_0 ~ N(0, I/4)

With z = (s, a) everything that can be said of a pair is a quadratic function z'M z + 2 q'z + c, ten numbers: the
weights omega of the products and entries of z (`features`, `weights_of`). The MPC is

    min  V0 + sum_{k<N} gamma^k L(x_k, u_k) + gamma^N x_N'P x_N,    x_{k+1} = A x_k + B u_k + b,    x_0 = s

with phi = (V0, A by columns, B, b), nine numbers, and a fixed P; its Q_phi(s, a), with u_0 = a, is one step of the
Riccati recursion more (`QuadraticMPC`). Derivatives in phi are taken with a complex step (Squire & Trapp, SIAM Review
40(1), 1998): exact to the last digits, as nothing is subtracted.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from mpcrl_course.envs import linear
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, lqr, riccati_iteration
from mpcrl_course.validation import generator, real, reals, whole

A, B = linear.A, linear.B[:, None]
#: The model that lectures 06 and 09 begin with.
WRONG_A, WRONG_B = np.array([[1.0, 0.25], [0.0, 1.0]]), np.array([[0.0312], [0.25]])
Q_COST, R_COST = 0.5 * np.eye(2), np.array([[0.25]])
DISCOUNT = 0.9
#: Standard deviations: of the noise on each state, and of each state at the start of an episode.
DEVIATION, SPREAD = 0.05, 0.5
STAGE = np.diag([0.5, 0.5, 0.25])

_I, _J = np.triu_indices(3)
_TWICE = np.where(_I == _J, 1.0, 2.0)


class NoLeastAction(ValueError):
    """A function of (s, a) that is not curved upwards in a: there is no best action."""


class Quadratic(NamedTuple):
    """A quadratic function z'M z + 2 q'z + c of z; leading axes stand for several of them.

    Attributes
    ----------
    M : ndarray, shape (..., n, n)
    q : ndarray, shape (..., n)
    c : ndarray, shape (...)
    """

    M: np.ndarray
    q: np.ndarray
    c: np.ndarray


def features(s, a) -> np.ndarray:
    """Return the ten features of pairs s (n, 2), a (n, 1): s1², s1 s2, s1 a, s2², s2 a, a², s1, s2, a, 1."""
    z = np.concatenate([reals(s, "s", (None, 2)), reals(a, "a", (None, 1))], axis=1)
    return np.concatenate([z[:, _I] * z[:, _J], z, np.ones((len(z), 1))], axis=1)


def weights_of(function: Quadratic) -> np.ndarray:
    """Return the weights omega (..., 10) of the features that give a quadratic function of (s, a)."""
    M, q, c = function
    return np.concatenate([_TWICE * M[..., _I, _J], 2.0 * q, np.asarray(c)[..., None]], axis=-1)


def quadratic_of(omega) -> Quadratic:
    """Return the quadratic function of (s, a) with the weights omega, shape (10,)."""
    omega = reals(omega, "omega", (10,))
    M = np.zeros((3, 3))
    M[_I, _J] = omega[:6] / _TWICE
    return Quadratic(M + np.triu(M, 1).T, omega[6:9] / 2.0, omega[9])


def slope(omega, s, a) -> np.ndarray:
    """Return how steep the function with the weights omega (10,) is in a, for pairs s (n, 2), a (n, 1): shape (n,)."""
    M, q, _ = quadratic_of(omega)
    return 2.0 * (np.concatenate([s, a], axis=1) @ M[2] + q[2])


def greedy_policy(omega) -> tuple[np.ndarray, np.ndarray]:
    """Return K (1, 2) and k (1,) of the policy -K s - k that minimises the function with the weights omega over a.

    NoLeastAction: it is not curved upwards in a.
    """
    M, q, _ = quadratic_of(omega)
    if not M[2, 2] > 1e-9:
        raise NoLeastAction(f"a critic whose curvature in a is {2 * M[2, 2]:.3g} has no least action")
    return M[2:, :2] / M[2, 2], q[2:] / M[2, 2]


def backward(F, b, stage: Quadratic, discount: float, end: Quadratic, steps: int) -> Quadratic:
    """Return what a pair z = (s, a) costs if the best inputs follow, by so many `steps` backwards.

        Q(z) = stage(z) + discount V(F z + b),    V(s) = min_a Q(s, a),    at first V = end.

    Parameters
    ----------
    F, b : ndarray, shapes (..., n, n + 1), (..., n)
        The model x+ = F (x, u) + b; complex ones, and several at once, will do.
    stage : Quadratic
        Of (x, u).
    discount : float
    end : Quadratic
        Of x.
    steps : int
        One at least.

    Raises
    ------
    NoLeastAction
        A Q that is not curved upwards in a.
    """
    n = b.shape[-1]
    P, p, c = end
    for k in range(steps):
        Pb = (P @ b[..., None])[..., 0] + p
        M = stage.M + discount * np.swapaxes(F, -1, -2) @ P @ F
        q = stage.q + discount * (np.swapaxes(F, -1, -2) @ Pb[..., None])[..., 0]
        q0 = stage.c + discount * ((b * (Pb + p)).sum(-1) + c)
        if k + 1 == steps:
            break
        h = M[..., n, n]
        if not (h.real > 1e-9).all():
            raise NoLeastAction(f"a critic whose curvature in a is {2 * h.real.min():.3g} has no least action")
        K, k0 = M[..., n, :n] / h[..., None], q[..., n] / h
        P = M[..., :n, :n] - M[..., :n, n, None] * K[..., None, :]
        p, c = q[..., :n] - M[..., :n, n] * k0[..., None], q0 - q[..., n] * k0
    return Quadratic(M, q, q0)


@lru_cache(64)
def terminal_weight(bias: float = 0.0) -> np.ndarray:
    """Return the Riccati solution P (2, 2), not to be written to, of the model true + bias (wrong - true)."""
    a, b = A + bias * (WRONG_A - A), B + bias * (WRONG_B - B)
    # many steps of the recursion, which contracts: for so small a plant quicker than an equation solved
    P = riccati_iteration(a, b, Q_COST, R_COST, DISCOUNT, steps=200, P=np.eye(2))[0]
    P.setflags(write=False)
    return P


class QuadraticMPC:
    """The MPC of the head of this file.

    Parameters
    ----------
    P : array_like, shape (2, 2), optional
        Terminal weight; by default that of the true plant's Riccati equation, of the given discount.
    horizon : int
        N.

    Attributes
    ----------
    parameters : Parameters
        V0, A, B, b; initially the model of lecture 06.
    """

    def __init__(self, P=None, horizon: int = 10):
        self.P = terminal_weight() if P is None else reals(P, "P", (2, 2))
        self.horizon = whole(horizon, "horizon", 1)
        self.parameters = Parameters(V0=0.0, A=WRONG_A, B=WRONG_B[:, 0], b=[0.0, 0.0])

    def omega(self, phi) -> np.ndarray:
        """Return the weights (10,) of Q_phi, for phi (9,)."""
        return self._asked(self.parameters.check(phi, name="phi"))[0]

    def policy(self, phi) -> tuple[np.ndarray, np.ndarray]:
        """Return K (1, 2) and k (1,) of the policy pi_phi(s) = -K s - k, for phi (9,)."""
        gains = self._asked(self.parameters.check(phi, name="phi"))[1]
        return -gains[None, :2], -gains[2:]

    def derivatives(self, phi) -> tuple[np.ndarray, np.ndarray]:
        """Return what to multiply with features for gradients in phi.

        Returns
        -------
        D : ndarray, shape (9, 10)
            grad_phi Q_phi(s, a) = D features(s, a).
        E : ndarray, shape (9, 3)
            grad_phi pi_phi(s) = E (s, 1).
        """
        phi, h = self.parameters.check(phi, name="phi"), 1e-30
        omega, gains = self._asked(phi + 1j * h * np.eye(phi.size))
        return omega.imag / h, gains.imag / h

    def _asked(self, phi):
        """Return the weights of Q_phi (..., 10), and those of pi_phi over (s, 1), shape (..., 3)."""
        a, b, m = phi[..., 1:5].reshape(*phi.shape[:-1], 2, 2), phi[..., 5:7], phi[..., 7:9]
        F = np.concatenate([np.swapaxes(a, -1, -2), b[..., None]], axis=-1)
        end = Quadratic(self.P, np.zeros(2), np.zeros(()))
        stage = Quadratic(STAGE, np.zeros(3), np.zeros(()))
        M, q, c = backward(F, m, stage, DISCOUNT, end, self.horizon)
        gains = -np.concatenate([M[..., 2, :2], q[..., 2, None]], axis=-1) / M[..., 2, 2, None]
        return weights_of(Quadratic(M, q, c + phi[..., 0])), gains

    def declared(self) -> MPC:
        """Return the same problem as an `MPC`, which is solved."""

        def stage_cost(k, x, u, p):
            cost = DISCOUNT**k * (0.5 * x.T @ x + 0.25 * u.T @ u)
            return cost + p.V0 if k == 0 else cost

        problem = OptimalControlProblem(
            n_states=2, n_inputs=1, horizon=self.horizon, discount=DISCOUNT, parameters=self.parameters,
            dynamics=lambda x, u, p: p.A @ x + p.B @ u + p.b, stage_cost=stage_cost,
            terminal_cost=lambda x, p: DISCOUNT**self.horizon * x.T @ self.P @ x,
        )  # fmt: skip
        return MPC(problem)


def true_omega() -> np.ndarray:
    """Return the weights (10,) of the true Q*, of the plant with its noise."""
    star = lqr(A, B, Q_COST, R_COST, DISCOUNT, cov=DEVIATION**2 * np.eye(2))
    return weights_of(Quadratic(star.M, star.q, np.array(star.q0)))


def true_phi() -> np.ndarray:
    """Return the phi (9,) with which the MPC, its P that of the true plant, gives Q* exactly.

    V0 = gamma tr(P cov e) / (1 - gamma) is what the noise, of which the MPC knows nothing, costs from now on.
    """
    mpc = QuadraticMPC()
    V0 = DISCOUNT * DEVIATION**2 * np.trace(mpc.P) / (1.0 - DISCOUNT)
    return mpc.parameters.pack(V0=V0, A=A, B=B[:, 0])


def biased(bias: float) -> tuple[QuadraticMPC, np.ndarray]:
    """Return an MPC and its phi, with the model true + bias (wrong - true) and the terminal weight of that model.

    With a `bias` of 0 it gives Q*, with 1 the model is that of lecture 06.
    """
    bias, phi = real(bias, "bias"), true_phi()
    a, b = A + bias * (WRONG_A - A), B + bias * (WRONG_B - B)
    mpc = QuadraticMPC(terminal_weight(bias))
    return mpc, mpc.parameters.pack(phi, A=a, B=b[:, 0])


def policy_value(K, k) -> Quadratic | None:
    """Return the value V^pi of the policy -K s - k, K (1, 2) and k (1,), as a function of s; None if it is infinite."""
    K, k = reals(K, "K", (1, 2)), reals(k, "k", (1,))
    closed, d = A - B @ K, -B @ k
    if np.sqrt(DISCOUNT) * np.abs(np.linalg.eigvals(closed)).max() >= 1.0:
        return None
    P = solve_discrete_lyapunov(np.sqrt(DISCOUNT) * closed.T, Q_COST + K.T @ R_COST @ K)
    p = np.linalg.solve(np.eye(2) - DISCOUNT * closed.T, K.T @ R_COST @ k + DISCOUNT * closed.T @ P @ d)
    drift = DISCOUNT * (d @ P @ d + 2.0 * p @ d + DEVIATION**2 * np.trace(P))
    return Quadratic(P, p, (k @ R_COST @ k + drift) / (1.0 - DISCOUNT))


def policy_omega(K, k) -> np.ndarray | None:
    """Return the weights (10,) of Q^pi of the policy -K s - k: its true critic; None if it is infinite."""
    value = policy_value(K, k)
    if value is None:
        return None
    F, stage = np.hstack([A, B]), Quadratic(STAGE, np.zeros(3), np.zeros(()))
    end = value._replace(c=value.c + DEVIATION**2 * np.trace(value.M))
    return weights_of(backward(F, np.zeros(2), stage, DISCOUNT, end, 1))


def expected_cost(K, k) -> float:
    """Return J, the discounted cost of the policy -K s - k, K (1, 2) and k (1,), from x_0 ~ N(0, I/4); maybe infinite.

    Neither sampled nor simulated: V^pi solves a Lyapunov equation.
    """
    value = policy_value(K, k)
    return np.inf if value is None else float(SPREAD**2 * np.trace(value.M) + value.c)


@cache
def least_cost() -> float:
    """Return J*, the expected cost of the best policy."""
    return expected_cost(*greedy_policy(true_omega()))


class Transitions(NamedTuple):
    """What M steps have shown.

    Attributes
    ----------
    s, a, cost, s_next : ndarray, shapes (M, 2), (M, 1), (M,), (M, 2)
    """

    s: np.ndarray
    a: np.ndarray
    cost: np.ndarray
    s_next: np.ndarray


def collect(K, k, M: int, rng, exploration: float = 0.3, episode: int = 20) -> Transitions:
    """Drive the plant with a = -K s - k + exploration N(0, 1).

    Parameters
    ----------
    K, k : ndarray, shapes (1, 2), (1,)
        The policy.
    M : int
        Transitions: a multiple of the length of an `episode`, for all episodes are as long.
    rng : numpy.random.Generator
    exploration : float
        Standard deviation of the noise on the input.
    episode : int
        Steps of each episode, which begins anew at x_0 ~ N(0, I/4).
    """
    K, k, rng = reals(K, "K", (1, 2)), reals(k, "k", (1,)), generator(rng)
    n, left = divmod(whole(M, "M", 1), whole(episode, "episode", 1))
    if left:
        raise ValueError(f"M must be a multiple of {episode}, the length of an episode, not {M}")
    s = np.empty((episode + 1, n, 2))
    s[0] = SPREAD * rng.standard_normal((n, 2))
    more, w = (
        real(exploration, "exploration", 0.0) * rng.standard_normal((episode, n, 1)),
        rng.standard_normal(s[1:].shape),
    )
    a = np.empty((episode, n, 1))
    for i in range(episode):
        a[i] = more[i] - s[i] @ K.T - k
        s[i + 1] = s[i] @ A.T + a[i] @ B.T + DEVIATION * w[i]
    cost = 0.5 * (s[:-1] ** 2).sum(-1) + 0.25 * a[..., 0] ** 2
    return Transitions(s[:-1].reshape(-1, 2), a.reshape(-1, 1), cost.ravel(), s[1:].reshape(-1, 2))
