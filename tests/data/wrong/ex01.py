"""Answers to exercise 01 by someone who saw only its notebook: (item, what is done, answer)."""

import numpy as np
import scipy.linalg
import scipy.sparse


def item_2_right(P, L, gamma, V, terminal):
    """The reference of this file."""
    V = np.where(terminal, 0.0, V)
    return np.where(terminal, 0.0, (L + gamma * P @ V).min(axis=1))


def item_2_loop(P, L, gamma, V, terminal):
    """Four loops, as a beginner writes them."""
    S, A = L.shape
    out = np.zeros(S)
    for s in range(S):
        if terminal[s]:
            continue
        best = float("inf")
        for a in range(A):
            q = L[s, a]
            for t in range(S):
                if not terminal[t]:
                    q += gamma * P[s, a, t] * V[t]
            best = min(best, q)
        out[s] = best
    return out


def item_2_einsum(P, L, gamma, V, terminal):
    """einsum and a copy."""
    V = V.copy()
    V[terminal] = 0
    TV = np.amin(L + gamma * np.einsum("sat,t->sa", P, V), axis=-1)
    TV[terminal] = 0
    return TV


def item_2_max_for_min(P, L, gamma, V, terminal):
    """In RL one takes the maximum, and so did I."""
    V = np.where(terminal, 0.0, V)
    return np.where(terminal, 0.0, (L + gamma * P @ V).max(axis=1))


def item_2_reward(P, L, gamma, V, terminal):
    """L read as a reward, so I put a minus before it."""
    V = np.where(terminal, 0.0, V)
    return np.where(terminal, 0.0, (-L + gamma * P @ V).min(axis=1))


def item_2_end_only_after(P, L, gamma, V, terminal):
    """The end's value set to 0 in the result, but V of the end still used in the expectation."""
    return np.where(terminal, 0.0, (L + gamma * P @ V).min(axis=1))


def item_2_end_only_before(P, L, gamma, V, terminal):
    """V set to 0 at the end before the backup; at the end the backup still pays L."""
    return (L + gamma * P @ np.where(terminal, 0.0, V)).min(axis=1)


def item_2_end_ignored(P, L, gamma, V, terminal):
    """The lecture's backup copied; the end does not appear."""
    return (L + gamma * P @ V).min(axis=1)


def item_3_right(P, A, B, W_x, W_u, gamma):
    """The reference of this file."""
    K = np.linalg.solve(W_u + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
    return W_x + gamma * A.T @ P @ A - gamma * A.T @ P @ B @ K, K


def item_3_joseph(P, A, B, W_x, W_u, gamma):
    """By the closed loop, with an inverse, and as a list."""
    K = gamma * np.linalg.inv(W_u + gamma * B.T @ P @ B) @ B.T @ P @ A
    M = A - B @ K
    return [W_x + K.T @ W_u @ K + gamma * M.T @ P @ M, K]


def item_3_scaled(P, A, B, W_x, W_u, gamma):
    """sqrt(gamma) in A and B, and SciPy."""
    g = np.sqrt(gamma)
    A, B = g * A, g * B
    K = scipy.linalg.solve(W_u + B.T.dot(P).dot(B), B.T.dot(P).dot(A), assume_a="sym")
    new = W_x + A.T.dot(P).dot(A - B.dot(K))
    return (new + new.T) / 2, K


def item_3_gain_without_gamma(P, A, B, W_x, W_u, gamma):
    """The undiscounted gain, put into the discounted P."""
    K = np.linalg.solve(W_u + B.T @ P @ B, B.T @ P @ A)
    return W_x + gamma * A.T @ P @ A - gamma * A.T @ P @ B @ K, K


def item_3_no_gamma(P, A, B, W_x, W_u, gamma):
    """The textbook's LQR without discount."""
    K = np.linalg.solve(W_u + B.T @ P @ B, B.T @ P @ A)
    return W_x + A.T @ P @ A - A.T @ P @ B @ K, K


def item_3_gamma_half_in_gain(P, A, B, W_x, W_u, gamma):
    """gamma in the numerator of K only."""
    K = np.linalg.solve(W_u + B.T @ P @ B, gamma * B.T @ P @ A)
    return W_x + gamma * A.T @ P @ A - gamma * A.T @ P @ B @ K, K


def item_3_gamma_outside(P, A, B, W_x, W_u, gamma):
    """gamma times everything that comes from P, of an undiscounted step."""
    K = np.linalg.solve(W_u + B.T @ P @ B, B.T @ P @ A)
    return W_x + gamma * (A.T @ P @ A - A.T @ P @ B @ K), K


def item_3_gamma_on_q(P, A, B, W_x, W_u, gamma):
    """gamma also before W_x."""
    K = np.linalg.solve(W_u + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
    return gamma * (W_x + A.T @ P @ A - A.T @ P @ B @ K), K


def item_4_right(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """The reference of this file."""
    Q = np.array(Q, dtype=float)
    target = cost if terminal else cost + gamma * Q[s_next].min()
    Q[s, a] += alpha * (target - Q[s, a])
    return Q


def item_4_convex(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """As a mean of old and new."""
    new = Q.copy()
    new[s][a] = (1 - alpha) * Q[s][a] + alpha * (cost + gamma * (not terminal) * min(Q[s_next]))
    return new


def item_4_one_hot(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """Adds a table that is zero but for one entry."""
    step = np.zeros(Q.shape)
    step[s, a] = cost - Q[s, a]
    if not terminal:
        step[s, a] += gamma * np.min(Q, axis=1)[s_next]
    return Q + alpha * step


def item_4_drops_at_cut(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """done = terminal or truncated, as in old gym."""
    Q = Q.copy()
    Q[s, a] += alpha * (cost + gamma * (0 if terminal or truncated else Q[s_next].min()) - Q[s, a])
    return Q


def item_4_never_drops(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """Bootstraps at the end, too."""
    Q = Q.copy()
    Q[s, a] += alpha * (cost + gamma * Q[s_next].min() - Q[s, a])
    return Q


def item_4_swapped_flags(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """Took 'truncated' for the one that drops the min."""
    Q = Q.copy()
    Q[s, a] += alpha * (cost + gamma * (0 if truncated else Q[s_next].min()) - Q[s, a])
    return Q


def item_4_truncated_wins(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """Where both are true the cut-off wins: 'cut off, so the min stays'."""
    Q = Q.copy()
    Q[s, a] += alpha * (cost + gamma * (0 if terminal and not truncated else Q[s_next].min()) - Q[s, a])
    return Q


def item_4_skips_cut(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """Throws a cut-off sample away."""
    if truncated:
        return Q.copy()
    return item_4_right(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma)


def item_5_right(P, L, gamma, V, accuracy):
    """The contraction's bound."""
    while True:
        before = V
        V = (L + gamma * P @ V).min(axis=1)
        change = np.abs(V - before).max()
        if gamma * change <= (1 - gamma) * accuracy:
            return V


def item_5_strict(P, L, gamma, V, accuracy):
    """Without the gamma on top: a little too careful, and never wrong."""
    while True:
        before = V
        V = (L + gamma * P @ V).min(axis=1)
        change = np.abs(V - before).max()
        if change <= accuracy * (1 - gamma):
            return V


def item_5_divided(P, L, gamma, V, accuracy):
    """The bound put into the change's line."""
    while True:
        before = V
        V = (L + gamma * P @ V).min(axis=1)
        change = np.abs(V - before).max() * gamma / (1 - gamma)
        if change <= accuracy:
            return V


def _stops(rule, keep=lambda V, before: V):
    def solve(P, L, gamma, V, accuracy):
        for _ in range(1_000_000):
            before = V
            V = (L + gamma * P @ V).min(axis=1)
            if rule(V - before, gamma, accuracy, V):
                return keep(V, before)
        return V

    return solve


def item_5_times_gamma(P, L, gamma, V, accuracy):
    """accuracy * gamma: stricter, so it must be enough."""
    return _stops(lambda d, g, eps, V: np.abs(d).max() <= eps * g)(P, L, gamma, V, accuracy)


def item_5_upside_down(P, L, gamma, V, accuracy):
    """accuracy / (1 - gamma): the factor on the wrong side."""
    return _stops(lambda d, g, eps, V: np.abs(d).max() <= eps / (1 - g))(P, L, gamma, V, accuracy)


def item_5_one_minus_gamma_squared(P, L, gamma, V, accuracy):
    """1 - gamma^2, 'since two sweeps are compared': a factor of nearly 2."""
    return _stops(lambda d, g, eps, V: np.abs(d).max() <= eps * (1 - g**2))(P, L, gamma, V, accuracy)


def item_5_root(P, L, gamma, V, accuracy):
    """sqrt(1 - gamma)."""
    return _stops(lambda d, g, eps, V: np.abs(d).max() <= eps * np.sqrt(1 - g))(P, L, gamma, V, accuracy)


def item_5_double(P, L, gamma, V, accuracy):
    """(1 - gamma) / (2 gamma) remembered as 2 (1 - gamma) / gamma."""
    return _stops(lambda d, g, eps, V: np.abs(d).max() <= 2 * eps * (1 - g) / g)(P, L, gamma, V, accuracy)


def _table(angles, velocities, torques, gamma):
    return {"angles": angles, "velocities": velocities, "torques": torques, "gamma": gamma}


def item_2_in_place(P, L, gamma, V, terminal):
    """V[s] is overwritten while the sweep still runs (and the caller's V with it)."""
    V[terminal] = 0.0
    for s in range(len(V)):
        if not terminal[s]:
            V[s] = (L[s] + gamma * P[s] @ V).min()
    return V


def item_3_q_r_swapped_default(P, A, B, W_x, W_u, gamma):
    """Stage cost read as one half of a quadratic form, so P doubles its weight."""
    K = np.linalg.solve(0.5 * W_u + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
    return 0.5 * W_x + gamma * A.T @ P @ A - gamma * A.T @ P @ B @ K, K


def item_4_skips_terminal(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    """At the end there is nothing to learn."""
    if terminal:
        return Q.copy()
    return item_4_right(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma)


WRONG = [
    (1, "the machine never stops: 3 / (1 - 0.6)", 7.5),
    (1, "discount forgotten: 3 / (1 - 0.45)", 5.45),
    (1, "probability to stop for the one to go on: 3 / (1 - 0.6 * 0.55)", 4.48),
    (2, "max for min", item_2_max_for_min),
    (2, "L read as a reward", item_2_reward),
    (2, "end set to 0 only after", item_2_end_only_after),
    (2, "end set to 0 only before", item_2_end_only_before),
    (2, "end ignored", item_2_end_ignored),
    (3, "gain without gamma", item_3_gain_without_gamma),
    (3, "no gamma at all", item_3_no_gamma),
    (3, "gamma missing in the gain's denominator", item_3_gamma_half_in_gain),
    (3, "gamma outside an undiscounted step", item_3_gamma_outside),
    (3, "gamma on Q, too", item_3_gamma_on_q),
    (4, "min dropped at a cut-off, too", item_4_drops_at_cut),
    (4, "min never dropped", item_4_never_drops),
    (4, "flags exchanged", item_4_swapped_flags),
    (4, "both flags: the cut-off wins", item_4_truncated_wins),
    (4, "cut-off sample thrown away", item_4_skips_cut),
    (5, "accuracy * gamma", item_5_times_gamma),
    (5, "accuracy / (1 - gamma)", item_5_upside_down),
    (5, "1 - gamma^2", item_5_one_minus_gamma_squared),
    (5, "sqrt(1 - gamma)", item_5_root),
    (5, "right up to a factor of 2", item_5_double),
    (6, "more than 6000 entries", _table(41, 41, 5, 0.995)),
    (6, "the example of the notebook", _table(31, 31, 5, 0.98)),
    (6, "gamma 0.8 looks too short", _table(31, 31, 5, 0.8)),
    (2, "sweep in place", item_2_in_place),
    (3, "halves the cost", item_3_q_r_swapped_default),
    (4, "terminal sample thrown away", item_4_skips_terminal),
]

RIGHT = [
    (1, "number", 4.11),
    (1, "text", "4.11"),
    (1, "numpy", np.float64(3 / 0.73)),
    (2, "where", item_2_right),
    (2, "loop over states", item_2_loop),
    (2, "einsum", item_2_einsum),
    (3, "solve", item_3_right),
    (3, "closed loop, list", item_3_joseph),
    (3, "scaled, SciPy", item_3_scaled),
    (4, "copy", item_4_right),
    (4, "convex", item_4_convex),
    (4, "one-hot", item_4_one_hot),
    (5, "product form", item_5_right),
    (5, "too careful", item_5_strict),
    (5, "in the change", item_5_divided),
    (6, "fine and few torques", _table(43, 45, 3, 0.995)),
    (6, "the same, more angles", _table(51, 39, 3, 0.995)),
]
