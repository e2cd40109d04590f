"""The discounted linear-quadratic regulator: V, Q and the policy in closed form, the yardstick of every other solver here.

    x+ = A x + B u + m + w,  E w = 0, cov w = W;    stage cost  x'Q x + u'R u + 2 x'N u;    discount gamma

    V(s) = s'P s + 2 p's + c,    Q(s, a) = z'M z + 2 q'z + q0 with z = (s, a),    pi(s) = -K s - k

Source: Bertsekas, Dynamic Programming and Optimal Control, vol. II (discounted linear-quadratic problems); the discount is
a change of variables, A and B scaled by sqrt(gamma), after which the undiscounted equation holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_discrete_are


@dataclass(frozen=True, eq=False)
class LQR:
    """Closed-form solution of a discounted LQR problem.

    Attributes
    ----------
    P, p, c : ndarray (n, n), ndarray (n,), float
        Value function s'P s + 2 p's + c.
    K, k : ndarray (m, n), ndarray (m,)
        Policy -K s - k.
    M, q, q0 : ndarray (n + m, n + m), ndarray (n + m,), float
        Action-value function z'M z + 2 q'z + q0 of z = (s, a).
    """

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
        s = np.asarray(s, dtype=float)
        return float(s @ self.P @ s + 2.0 * self.p @ s + self.c)

    def Q(self, s, a) -> float:
        """Return the cost of taking a, shape (m,), in s and acting optimally from then on."""
        z = np.concatenate([s, a])
        return float(z @ self.M @ z + 2.0 * self.q @ z + self.q0)

    def policy(self, s) -> np.ndarray:
        """Return the optimal action in s, shape (m,)."""
        return -self.K @ np.asarray(s, dtype=float) - self.k


def riccati(A, B, Q, R, gamma: float = 1.0, N=None) -> tuple[np.ndarray, np.ndarray]:
    """Solve P = Q + gamma A'PA - (gamma A'PB + N) K with K = (R + gamma B'PB)^-1 (gamma B'PA + N').

    Returns
    -------
    P : ndarray, shape (n, n)
    K : ndarray, shape (m, n)

    Raises
    ------
    ValueError
        If no P stabilises sqrt(gamma) (A - B K): a mode that neither the input nor the discount tames, or that costs nothing.
    """
    A, B = np.asarray(A, dtype=float), np.asarray(B, dtype=float)
    scale = np.sqrt(gamma)
    reason = ""
    try:
        P = solve_discrete_are(scale * A, scale * B, Q, R, s=None if N is None else np.asarray(N, dtype=float))
        K = _gain(P, A, B, R, gamma, N)
        radius = float(np.abs(np.linalg.eigvals(scale * (A - B @ K))).max())
    except np.linalg.LinAlgError as error:
        radius, reason = np.inf, f" ({error})"
    if not radius < 1.0:
        raise ValueError(f"the Riccati equation with discount {gamma} has no stabilising solution{reason}")
    return P, K


def riccati_iteration(A, B, Q, R, gamma: float = 1.0, N=None, steps: int = 1, P=None) -> tuple[np.ndarray, np.ndarray]:
    """Apply `steps` steps of value iteration to P (default 0), as `riccati` otherwise: the LQR with that many stages to go."""
    A, B, Q = (np.asarray(matrix, dtype=float) for matrix in (A, B, Q))
    N = np.zeros(B.shape) if N is None else np.asarray(N, dtype=float)
    P, K = np.zeros_like(Q) if P is None else np.asarray(P, dtype=float), np.zeros(B.T.shape)
    for _ in range(steps):
        K = _gain(P, A, B, R, gamma, N)
        P = Q + gamma * A.T @ P @ A - (gamma * A.T @ P @ B + N) @ K
    return P, K


def _gain(P, A, B, R, gamma, N):
    cross = gamma * B.T @ P @ A + (0.0 if N is None else np.transpose(N))
    return np.linalg.solve(np.asarray(R) + gamma * B.T @ P @ B, cross)


def lqr(A, B, Q, R, gamma: float, N=None, mean=None, cov=None) -> LQR:
    """Return V, Q and the policy of the discounted LQR problem.

    Parameters
    ----------
    A, B : array_like, shapes (n, n), (n, m)
    Q, R, N : array_like, shapes (n, n), (m, m), (n, m)
        Stage cost x'Q x + u'R u + 2 x'N u; N defaults to 0.
    gamma : float
        Discount in (0, 1); 1 is allowed without noise and drift, where the cost is finite.
    mean, cov : array_like, shapes (n,), (n, n)
        Mean m and covariance W of the disturbance; both default to 0.
    """
    A, B, Q, R = (np.asarray(matrix, dtype=float) for matrix in (A, B, Q, R))
    n = len(A)
    N = np.zeros(B.shape) if N is None else np.asarray(N, dtype=float)
    m, W = np.zeros(n) if mean is None else np.asarray(mean), np.zeros((n, n)) if cov is None else np.asarray(cov)
    if gamma == 1.0 and (m.any() or W.any()):
        raise ValueError("with noise or drift the undiscounted cost is infinite: give gamma < 1")
    P, K = riccati(A, B, Q, R, gamma, N)
    closed = A - B @ K
    p = np.linalg.solve(np.eye(n) - gamma * closed.T, gamma * closed.T @ P @ m)
    H = R + gamma * B.T @ P @ B
    k = np.linalg.solve(H, gamma * B.T @ (P @ m + p))
    drift = gamma * (m @ P @ m + 2.0 * p @ m + np.trace(P @ W))  # expected cost of one disturbance
    c = 0.0 if gamma == 1.0 else float(drift - k @ H @ k) / (1.0 - gamma)
    cross = N + gamma * A.T @ P @ B
    M = np.block([[Q + gamma * A.T @ P @ A, cross], [cross.T, H]])
    q = gamma * np.concatenate([A.T, B.T]) @ (P @ m + p)
    return LQR(P, p, c, K, k, M, q, float(drift + gamma * c))
