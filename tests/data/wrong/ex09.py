"""Answers to exercise 09 by someone who saw only its notebook: (item, what is done, answer)."""

import numpy as np
from scipy.linalg import solve
from scipy.optimize import minimize_scalar

from mpcrl_course.problems import quadratic

# ------------------------------------------------------------------------------------------------------- item 2


def _score(
    steps=lambda N: N - 1,
    K=lambda A, B, R, P, g: solve(R / g + B.T @ P @ B, B.T @ P @ A),
    new=lambda A, B, Q, R, P, g, K: Q + g * A.T @ P @ (A - B @ K),
    x1=lambda s, a, A, B: (A @ s.T + B @ a.T).T,
    end=lambda L, V0, tail, g, N: V0 + L + g * tail,
    stage=lambda s, a, Q, R: np.diag(s @ Q @ s.T) + np.diag(a @ R @ a.T),
):
    def q_mpc(s, a, V0, A, B, Q, R, P, gamma, N):
        for _ in range(steps(N)):
            P = new(A, B, Q, R, P, gamma, K(A, B, R, P, gamma))
        x = x1(s, a, A, B)
        return end(stage(s, a, Q, R), V0, np.einsum("mi,ij,mj->m", x, P, x), gamma, N)

    return q_mpc


def policy_cost(s, a, V0, A, B, Q, R, P, gamma, N):
    """Go on with one gain for all stages, the last one found."""
    for _ in range(N):
        K = gamma * solve(R + gamma * B.T @ P @ B, B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A - B @ K)
    x, u, J = s, a, V0
    for k in range(N):
        J = J + gamma**k * _score()(x, u, 0, A, B, Q, R, 0 * P, gamma, 1)
        x = x @ A.T + u @ B.T
        u = -x @ K.T
    return J + gamma**N * np.sum(x @ P * x, axis=1)


def one_number(s, a, V0, A, B, Q, R, P, gamma, N):
    """Sum over the pairs, too."""
    for _ in range(N - 1):
        K = gamma * solve(R + gamma * B.T @ P @ B, B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A - B @ K)
    x = s @ A.T + a @ B.T
    return V0 + np.sum(s @ Q * s) + np.sum(a @ R * a) + gamma * np.sum(x @ P * x)


def full_matrices(s, a, V0, A, B, Q, R, P, gamma, N):
    """Take the formula at its word, row vectors and all."""
    for _ in range(N - 1):
        K = gamma * solve(R + gamma * B.T @ P @ B, B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A - B @ K)
    x = s @ A.T + a @ B.T
    return V0 + s @ Q @ s.T + a @ R @ a.T + gamma * x @ P @ x.T


def one_pair(s, a, V0, A, B, Q, R, P, gamma, N):
    """Forget that there are many."""
    for _ in range(N - 1):
        K = gamma * solve(R + gamma * B.T @ P @ B, B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A - B @ K)
    x = A @ s + B @ a
    return V0 + s @ Q @ s + a @ R @ a + gamma * x @ P @ x


def with_old_gain(s, a, V0, A, B, Q, R, P, gamma, N):
    """Compute the gain once, before the loop."""
    K = gamma * solve(R + gamma * B.T @ P @ B, B.T @ P @ A)
    for _ in range(N - 1):
        P = Q + gamma * A.T @ P @ (A - B @ K)
    return _score(steps=lambda N: 0)(s, a, V0, A, B, Q, R, P, gamma, N)


def joseph(s, a, V0, A, B, Q, R, P, gamma, N):
    """Write the step in Joseph's form, and the states as columns."""
    for _ in range(N - 1):
        H = R + gamma * B.T @ P @ B
        K = np.linalg.inv(H) @ (gamma * B.T @ P @ A)
        P = Q + K.T @ R @ K + gamma * (A - B @ K).T @ P @ (A - B @ K)
    return [V0 + p @ Q @ p + u @ R @ u + gamma * (A @ p + B @ u) @ P @ (A @ p + B @ u) for p, u in zip(s, a)]


# ------------------------------------------------------------------------------------------------------- item 3


def _improve(
    beta=lambda j, beta0, d: beta0 * d**j,
    M=lambda m, b: 20 * max(1, int(round(m / b))),
    mix=lambda w, mpc, b: (1 - b) * w + b * mpc,
    bad=lambda omega, w: omega[5] <= 0,
    a=lambda o, s: -(s @ o[[2, 4]] + o[8]) / (2 * o[5]),
):
    def improve(j, s, omega_w, omega_mpc, beta0, decay, m):
        b = beta(j, beta0, decay)
        omega = mix(omega_w, omega_mpc, b)
        if bad(omega, omega_w):
            omega = omega_mpc
        with np.errstate(all="ignore"):
            return b, M(m, b), a(omega, s)

    return improve


def by_search(j, s, omega_w, omega_mpc, beta0, decay, m):
    """Search the best action of each state numerically."""
    b = beta0 * decay**j
    omega = (1 - b) * omega_w + b * omega_mpc
    omega = omega_mpc if omega[5] <= 0 else omega

    def best(x):
        return minimize_scalar(lambda u: (quadratic.features(x[None], np.array([[u]])) @ omega)[0], tol=1e-12).x

    return b, 20 * max(round(m / b), 1), np.array([best(x) for x in s])


def over_a_grid(j, s, omega_w, omega_mpc, beta0, decay, m):
    """Take the best of a grid of actions."""
    b = beta0 * decay**j
    omega = (1 - b) * omega_w + b * omega_mpc
    omega = omega_mpc if omega[5] <= 0 else omega
    grid = np.linspace(-1, 1, 201)
    values = [quadratic.features(np.tile(x, (201, 1)), grid[:, None]) @ omega for x in s]
    return b, 20 * max(round(m / b), 1), grid[np.argmin(values, axis=1)]


def through_gains(j, s, omega_w, omega_mpc, beta0, decay, m):
    """Use the package's own policy of a critic."""
    b = beta0 * decay**j
    omega = (1 - b) * omega_w + b * omega_mpc
    try:
        K, k = quadratic.greedy_policy(omega)
    except ValueError:
        K, k = quadratic.greedy_policy(omega_mpc)
    return b, max(20, 20 * round(m / b)), -s @ K.T - k


# ------------------------------------------------------------------------------------------------------- item 4


def _fit(
    delta=lambda c, q, v, e, g: c + g * v * ~e - q,
    after=lambda p, e: p * ~e[:, None],
    left=lambda psi, d, M: np.einsum("ti,tj->ij", psi, d) / M,
    right=lambda psi, delta, M: psi.T @ delta / M,
    ridge=lambda r, n, M: r * np.eye(n),
    answer=lambda A, b: np.linalg.solve(A, b),
):
    def local_critic(cost, q, v_next, psi, psi_next, ended, gamma, ridge_):
        M, n = psi.shape
        d = delta(cost, q, v_next, ended, gamma)
        A = left(psi, psi - gamma * after(psi_next, ended), M) + ridge(ridge_, n, M)
        return d, answer(A, right(psi, d, M))

    def named(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
        return local_critic(cost, q, v_next, psi, psi_next, ended, gamma, ridge)

    return named


def only_ended(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    """Forget that a mask of rows needs an axis: it fits only by chance."""
    psi_next = (1 - ended) * psi_next
    return _fit(after=lambda p, e: p)(cost, q, v_next, psi, psi_next, ended, gamma, ridge)


def steps_of_gradient(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    """Go through the transitions with a step size instead of solving."""
    w = np.zeros(psi.shape[1])
    delta = cost + gamma * np.where(ended, 0, v_next) - q
    for i in range(len(q)):
        w = w + ridge * psi[i] * (delta[i] - (psi[i] - gamma * psi_next[i] * (1 - ended[i])) @ w)
    return delta, w


def delta_of_w(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    """Return the TD errors with w, not those without."""
    delta, w = _fit()(cost, q, v_next, psi, psi_next, ended, gamma, ridge)
    return delta - (psi - gamma * psi_next * (1 - ended)[:, None]) @ w, w


def stopped_at_the_end(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    """Use only the transitions up to the end of the first episode."""
    last = int(np.argmax(ended)) + 1 if ended.any() else len(q)
    delta = _fit()(cost, q, v_next, psi, psi_next, ended, gamma, ridge)[0]
    part = (x[:last] for x in (cost, q, v_next, psi, psi_next, ended))
    return delta, _fit()(*part, gamma, ridge)[1]


def by_least_squares(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    """Solve sums with M times the ridge, by lstsq."""
    alive = ~ended
    delta = cost - q
    delta[alive] += gamma * v_next[alive]
    change = psi.copy()
    change[alive] -= gamma * psi_next[alive]
    A = psi.T @ change + len(q) * ridge * np.eye(psi.shape[1])
    return np.array(delta), np.linalg.lstsq(A, psi.T @ delta, rcond=None)[0]


# ------------------------------------------------------------------------------------------------------- item 5


def _learn(
    fresh="batch",
    q_at=lambda start, phi, w: phi,
    psi_at=lambda start, phi, w: phi,
    target=lambda v, after, w: v + w @ after,
    alpha_of=lambda alpha, n: alpha,
):
    def learn(phi, batches, mpc, gamma, rate, alpha):
        start, w = phi, np.zeros(9)
        for s, a, cost, s_next in batches:
            if fresh == "batch":
                w = np.zeros(9)
            q, v = mpc.Q(q_at(start, phi, w), s, a)[0], mpc.V(q_at(start, phi, w), s_next)[0]
            psi, after = mpc.Q(psi_at(start, phi, w), s, a)[1], mpc.V(psi_at(start, phi, w), s_next)[1]
            for i in range(len(cost)):
                if fresh == "transition":
                    w = np.zeros(9)
                delta = cost[i] + gamma * target(v[i], after[i], w) - q[i] - w @ psi[i]
                w = w + rate * delta * psi[i] / (1 + psi[i] @ psi[i])
            phi = phi + alpha_of(alpha, len(cost)) * w
        return phi, w

    return learn


def reset_at_the_end(phi, batches, mpc, gamma, rate, alpha):
    """Set w to 0 after the step of phi, so that the last one is lost."""
    w = np.zeros(9)
    for batch in batches:
        phi, w = _learn()(phi, [batch], mpc, gamma, rate, alpha)
        w = np.zeros(9)
    return phi, w


def all_in_one(phi, batches, mpc, gamma, rate, alpha):
    """Join the batches to a long one."""
    return _learn()(phi, [tuple(map(np.concatenate, zip(*batches)))], mpc, gamma, rate, alpha)


def solved(phi, batches, mpc, gamma, rate, alpha):
    """Put the lecture's LSTD in the place of the loop."""
    for s, a, cost, s_next in batches:
        (q, psi), (v, after) = mpc.Q(phi, s, a), mpc.V(phi, s_next)
        A = psi.T @ (psi - gamma * after) / len(q) + 1e-3 * np.eye(9)
        w = np.linalg.solve(A, psi.T @ (cost + gamma * v - q) / len(q))
        phi = phi + alpha * w
    return phi, w


def moved_in_the_loop(phi, batches, mpc, gamma, rate, alpha):
    """Ask the MPC anew for each transition, with w already added."""
    for s, a, cost, s_next in batches:
        w = np.zeros(9)
        for i in range(len(cost)):
            (q, psi), (v, _) = mpc.Q(phi + w, s[i : i + 1], a[i : i + 1]), mpc.V(phi + w, s_next[i : i + 1])
            delta = cost[i] + gamma * v[0] - q[0]
            w = w + rate * delta * psi[0] / (1 + psi[0] @ psi[0])
        phi = phi + alpha * w
    return phi, w


def start_follows(phi, batches, mpc, gamma, rate, alpha):
    """Keep `start`, and move it along."""
    start = phi
    for s, a, cost, s_next in batches:
        start = phi
        phi, w = _learn(psi_at=lambda _, phi, w, start=start: start)(
            phi, [(s, a, cost, s_next)], mpc, gamma, rate, alpha
        )
    return phi, w


def in_place(phi, batches, mpc, gamma, rate, alpha):
    """Work in place on a copy, with zips."""
    phi = phi.copy()
    for s, a, cost, s_next in batches:
        w = np.zeros_like(phi)
        for q, g, v, h, L in zip(*mpc.Q(phi, s, a), *mpc.V(phi, s_next), cost):
            w += rate * (L + gamma * (v + h @ w) - (q + g @ w)) * g / (1 + (g**2).sum())
        phi += alpha * w
    return {"phi": phi, "w": w}


WRONG = [
    (1, "mean of the best actions", 0.25 * 0.3 + 0.75 * 2.04),
    (1, "beta at the learned one", 0.392),
    (1, "MPC decides", "2.04"),
    (1, "in the middle", 1.17),
    (1, "value there", 3.439),
    (1, "constants weighed in", (0.25 * 6 * 0.3 + 0.75 * 2.04 + 0.25 * 0.8 + 0.75 * 2.3) / 2.25),
    (1, "where the curves cross", 0.9652),
    (2, "range(N)", _score(steps=lambda N: N)),
    (2, "no loop", _score(steps=lambda N: 0)),
    (2, "K of the undiscounted", _score(K=lambda A, B, R, P, g: solve(R + B.T @ P @ B, B.T @ P @ A))),
    (2, "gain half discounted", _score(K=lambda A, B, R, P, g: solve(R + g * B.T @ P @ B, B.T @ P @ A))),
    (2, "A + BK", _score(new=lambda A, B, Q, R, P, g, K: Q + g * A.T @ P @ (A + B @ K))),
    (2, "closed loop twice", _score(new=lambda A, B, Q, R, P, g, K: Q + g * (A - B @ K).T @ P @ (A - B @ K))),
    (2, "V0 in the discount", _score(end=lambda L, V0, tail, g, N: L + g * (V0 + tail))),
    (2, "gamma to the N", _score(end=lambda L, V0, tail, g, N: V0 + L + g**N * tail)),
    (2, "no gamma outside", _score(end=lambda L, V0, tail, g, N: V0 + L + tail)),
    (2, "cost of s only", _score(stage=lambda s, a, Q, R: np.sum(s @ Q * s, axis=1))),
    (2, "s A", _score(x1=lambda s, a, A, B: s @ A + a @ B.T)),
    (
        2,
        "the lecture's half",
        _score(stage=lambda s, a, Q, R: 0.5 * np.sum(s @ Q * s, 1) + 0.25 * np.sum(a @ R * a, 1)),
    ),
    (2, "one gain for all stages", policy_cost),
    (2, "gain before the loop", with_old_gain),
    (2, "sum over the pairs", one_number),
    (2, "matrix of pairs", full_matrices),
    (2, "one pair only", one_pair),
    (3, "beta swapped", _improve(mix=lambda w, mpc, b: b * w + (1 - b) * mpc)),
    (3, "minus b over c", _improve(a=lambda o, s: -(s @ o[[2, 4]] + o[8]) / o[5])),
    (3, "no constant part", _improve(a=lambda o, s: -(s @ o[[2, 4]]) / (2 * o[5]))),
    (3, "weights twice halved", _improve(a=lambda o, s: -(s @ o[[2, 4]] / 2 + o[8]) / (2 * o[5]))),
    (3, "last weight", _improve(a=lambda o, s: -(s @ o[[2, 4]] + o[9]) / (2 * o[5]))),
    (3, "next weights", _improve(a=lambda o, s: -(s @ o[[3, 4]] + o[8]) / (2 * o[5]))),
    (3, "fallback by Q_w", _improve(bad=lambda omega, w: w[5] <= 0)),
    (3, "fallback never", _improve(bad=lambda omega, w: False)),
    (3, "strictly below", _improve(bad=lambda omega, w: omega[5] < 0)),
    (3, "j + 1", _improve(beta=lambda j, beta0, d: beta0 * d ** (j + 1))),
    (3, "1 / (1 + j)", _improve(beta=lambda j, beta0, d: beta0 / (1 + j))),
    (3, "linear decay", _improve(beta=lambda j, beta0, d: max(beta0 - d * j, 0.01))),
    (3, "m beta", _improve(M=lambda m, b: 20 * max(1, round(m * b)))),
    (3, "whole division", _improve(M=lambda m, b: 20 * max(1, m // b))),
    (3, "rounded after", _improve(M=lambda m, b: max(20, round(20 * m / b)))),
    (3, "min for max", _improve(M=lambda m, b: 20 * min(1, round(m / b)))),
    (3, "clipped to one", _improve(a=lambda o, s: np.clip(-(s @ o[[2, 4]] + o[8]) / (2 * o[5]), -1, 1))),
    (3, "a grid", over_a_grid),
    (4, "Q minus target", _fit(delta=lambda c, q, v, e, g: q - c - g * v * ~e)),
    (4, "ended forgotten in delta", _fit(delta=lambda c, q, v, e, g: c + g * v - q)),
    (4, "ended forgotten in psi", _fit(after=lambda p, e: p)),
    (4, "ended for not ended", _fit(delta=lambda c, q, v, e, g: c + g * v * e - q, after=lambda p, e: p * e[:, None])),
    (4, "no psi next", _fit(after=lambda p, e: 0 * p)),
    (4, "outer product turned", _fit(left=lambda psi, d, M: d.T @ psi / M)),
    (4, "sums", _fit(left=lambda psi, d, M: psi.T @ d, right=lambda psi, delta, M: psi.T @ delta)),
    (
        4,
        "mean of everything",
        _fit(left=lambda psi, d, M: np.mean(psi * d), right=lambda psi, d, M: np.mean(psi.T * d, 1)),
    ),
    (4, "ridge times M", _fit(ridge=lambda r, n, M: M * r * np.eye(n))),
    (4, "ridge as a number", _fit(ridge=lambda r, n, M: r)),
    (4, "inverse forgotten", _fit(answer=lambda A, b: A @ b)),
    (4, "A squared", _fit(answer=lambda A, b: np.linalg.solve(A.T @ A, b))),
    (4, "mask along the wrong axis", only_ended),
    (4, "steps, not solved", steps_of_gradient),
    (4, "delta of Q_w", delta_of_w),
    (4, "first episode only", stopped_at_the_end),
    (5, "w out of both loops", _learn(fresh="never")),
    (5, "w where it was", _learn(fresh="transition")),
    (5, "still the first gradient", _learn(psi_at=lambda start, phi, w: start)),
    (5, "both at the start", _learn(q_at=lambda start, phi, w: start, psi_at=lambda start, phi, w: start)),
    (5, "no w in the target", _learn(target=lambda v, after, w: v)),
    (5, "alpha shared out", _learn(alpha_of=lambda alpha, n: alpha / n)),
    (5, "zero after the step", reset_at_the_end),
    (5, "one long batch", all_in_one),
    (5, "LSTD", solved),
    (5, "MPC asked with w", moved_in_the_loop),
    (6, "the lecture's", [(0.7**j, M) for j, M in enumerate((20, 40, 40, 60))]),
    (6, "half throughout", [(0.5, 40)] * 4),
    (6, "quarter in one go", [(0.25, 160)]),
    (6, "more and more MPC", [(0.2, 60), (0.5, 100)]),
    (6, "many small", [(0.5, 20), (0.4, 20), (0.3, 20), (0.2, 20), (0.1, 80)]),
    (6, "too much", [(0.5, 100), (0.1, 100)]),
    (6, "not of twenty", [(0.5, 50), (0.1, 110)]),
    (6, "lists of both", ([0.4, 0.1, 0.05], [60, 40, 60])),
    (6, "only shares", [0.5, 0.25, 0.1]),
    (6, "little data first", [(0.2, 20), (0.1, 140)]),
    (7, "not enough data", ("a", [5])),
    (7, "all true ones", ("c", [1, 3, 4, 5])),
    (7, "shorter step", ("c", [1, 6])),
    (7, "one reason", ("c", 1)),
    (7, "gradient elsewhere", ("d", [1])),
]

RIGHT = [
    (1, "a fraction", "22/25"),
    (1, "a comma", "0,88"),
    (2, "Joseph's form", joseph),
    (2, "columns and diagonals", _score()),
    (3, "numerical search", by_search),
    (3, "the package's policy", through_gains),
    (3, "int of round", _improve()),
    (4, "sums and lstsq", by_least_squares),
    (4, "einsum and masks", _fit()),
    (5, "loops of its own", _learn()),
    (5, "in place", in_place),
    (5, "start moved along", start_follows),
    (6, "array", np.array([[0.35, 60], [0.1, 100]])),
    (6, "others", [(0.35, 60), (0.08, 100)]),
    (7, "in words", ("C", "1, 3, 4")),
]
