"""The discounted linear-quadratic regulator in closed form: the yardstick of every other solver here.

x+ = A x + B u + m + w,  E w = 0, cov w = W;    stage cost  x'Q x + u'R u + 2 x'N u;    discount gamma.
V(s) = s'P s + 2 p's + c,    Q(s, a) = z'M z + 2 q'z + q0 with z = (s, a),    pi(s) = -K s - k.

Source: Bertsekas, Dynamic Programming and Optimal Control (linear systems, quadratic cost); the discount
scales A and B by sqrt(gamma), after which the undiscounted Riccati equation holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_discrete_are

from mpcrl_course.validation import reals, share, whole


@dataclass(frozen=True, eq=False)
class LQR:
    """Value function (P, p, c), policy (K, k) and action-value function (M, q, q0) of a discounted LQR."""

    P: np.ndarray
    p: np.ndarray
    c: float
    K: np.ndarray
    k: np.ndarray
    M: np.ndarray
    q: np.ndarray
    q0: float

    def V(self, s) -> float:
        """Return the optimal expected discounted cost from s, shape (n,)."""
        s = reals(s, "s", self.p.shape)
        return float(s @ self.P @ s + 2.0 * self.p @ s + self.c)

    def Q(self, s, a) -> float:
        """Return the cost of taking a, shape (m,), in s and acting optimally from then on."""
        z = np.concatenate([reals(s, "s", self.p.shape), reals(a, "a", self.k.shape)])
        return float(z @ self.M @ z + 2.0 * self.q @ z + self.q0)

    def policy(self, s) -> np.ndarray:
        """Return the optimal action in s, shape (m,)."""
        return -self.K @ reals(s, "s", self.p.shape) - self.k


def riccati(A, B, Q, R, gamma: float = 1.0, N=None) -> tuple[np.ndarray, np.ndarray]:
    """Solve P = Q + gamma A'PA - (gamma A'PB + N) K,  K = (R + gamma B'PB)^-1 (gamma B'PA + N').

    Returns
    -------
    P, K : ndarray, shapes (n, n), (m, n)

    Raises
    ------
    ValueError
        If no P stabilises sqrt(gamma) (A - B K): some mode is tamed by neither the inputs nor the discount,
        or costs nothing.
    """
    A, B, Q, R, N = _matrices(A, B, Q, R, N)
    reason, radius, scale = "", np.inf, np.sqrt(share(gamma, "gamma"))
    try:
        P = solve_discrete_are(scale * A, scale * B, Q, R, s=N)
        K = _gain(P, A, B, R, gamma, N)
        radius = float(np.abs(np.linalg.eigvals(scale * (A - B @ K))).max())
    except np.linalg.LinAlgError as error:
        reason = f": {error}"
    if not radius < 1.0:
        raise ValueError(f"the Riccati equation at discount {gamma} has no stabilising solution{reason}")
    return P, K


def riccati_iteration(A, B, Q, R, gamma: float = 1.0, N=None, steps: int = 1, P=None):
    """Return P and K of the problem with `steps` stages and terminal cost x'P x (default 0).

    A, B, Q, R, gamma and N are those of `riccati`.
    """
    A, B, Q, R, N = _matrices(A, B, Q, R, N)
    P, K = np.zeros_like(Q) if P is None else reals(P, "P", Q.shape), np.zeros(B.T.shape)
    gamma = share(gamma, "gamma")
    for _ in range(whole(steps, "steps", 0)):
        K = _gain(P, A, B, R, gamma, N)
        P = Q + gamma * A.T @ P @ A - (gamma * A.T @ P @ B + N) @ K
    return P, K


def lqr(A, B, Q, R, gamma: float, N=None, mean=None, cov=None) -> LQR:
    """Return V, Q and the policy of the discounted LQR.

    Parameters
    ----------
    A, B : array_like, shapes (n, n), (n, m)
    Q, R, N : array_like, shapes (n, n), (m, m), (n, m)
        Stage cost x'Q x + u'R u + 2 x'N u; N defaults to 0.
    gamma : float
        Discount in (0, 1]; 1 only without disturbance, where the cost is finite.
    mean, cov : array_like, shapes (n,), (n, n)
        Mean m and covariance W of the disturbance; default 0.
    """
    A, B, Q, R, N = _matrices(A, B, Q, R, N)
    n, gamma = len(A), share(gamma, "gamma")
    m = np.zeros(n) if mean is None else reals(mean, "mean", (n,))
    W = np.zeros((n, n)) if cov is None else reals(cov, "cov", (n, n))
    if gamma == 1.0 and (m.any() or W.any()):
        raise ValueError(f"discount {gamma}: give one in (0, 1), or 1 without disturbance")
    P, K = riccati(A, B, Q, R, gamma, N)
    closed, H, cross = A - B @ K, R + gamma * B.T @ P @ B, N + gamma * A.T @ P @ B
    p = np.linalg.solve(np.eye(n) - gamma * closed.T, gamma * closed.T @ P @ m)
    k = np.linalg.solve(H, gamma * B.T @ (P @ m + p))
    drift = gamma * (m @ P @ m + 2.0 * p @ m + np.trace(P @ W))  # what one disturbance costs on average
    c = 0.0 if gamma == 1.0 else float(drift - k @ H @ k) / (1.0 - gamma)
    M = np.block([[Q + gamma * A.T @ P @ A, cross], [cross.T, H]])
    q = gamma * np.hstack([A, B]).T @ (P @ m + p)
    return LQR(P, p, c, K, k, M, q, float(drift + gamma * c))


def _gain(P, A, B, R, gamma, N):
    return np.linalg.solve(R + gamma * B.T @ P @ B, gamma * B.T @ P @ A + N.T)


def _matrices(A, B, Q, R, N):
    A, B = reals(A, "A", (None, None)), reals(B, "B", (None, None))
    n, m = B.shape
    A, Q, R = reals(A, "A", (n, n)), reals(Q, "Q", (n, n)), reals(R, "R", (m, m))
    return A, B, Q, R, np.zeros(B.shape) if N is None else reals(N, "N", (n, m))
