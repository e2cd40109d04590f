"""Answers to exercise 07 by someone who saw only its notebook: (item, what is done, answer)."""

import numpy as np

# ------------------------------------------------------------------------------------------------------- item 2


def _td(
    delta=lambda L, g, v_next, v: L + g * v_next - v,
    step=lambda alpha, d, now, ahead, g: alpha * d * now / (now @ now + 0.1),
    after=lambda f, s, a, s_next: s_next,
    ended=True,
):
    def td_update(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha):
        now, ahead = phi(s), phi(after(f, s, a, s_next))
        v_next = 0 if ended and terminated else theta @ ahead
        d = delta(cost, gamma, v_next, theta @ now)
        return theta + step(alpha, d, now, ahead, gamma), d

    return td_update


def nothing_after_the_end(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha):
    """Stop learning at an end."""
    if terminated:
        return theta, 0.0
    return _td()(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha)


def in_turn(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha):
    """Write theta first, and delta from it."""
    d = cost + gamma * (not terminated) * theta @ phi(s_next) - theta @ phi(s)
    theta = theta + alpha * d * phi(s) / (phi(s) @ phi(s) + 0.1)
    return theta, cost + gamma * (not terminated) * theta @ phi(s_next) - theta @ phi(s)


def swapped(*args):
    """Return delta first."""
    return _td()(*args)[::-1]


# ------------------------------------------------------------------------------------------------------- item 3


def _policy(
    at=lambda pi, theta, s, a: pi(theta, s),
    chain=lambda D, q: np.einsum("kmp,km->p", D, q) / len(q),
    shorter=lambda g, G: g * min(1, G / np.linalg.norm(g)),
    end=lambda theta, change, low, high: np.clip(theta - change, low, high),
):
    def policy_step(theta, s, a, pi, critic, alpha, largest, lower, upper):
        g = chain(pi.slope(theta, s), critic.slope(s, at(pi, theta, s, a)))
        return g, end(theta, alpha * shorter(g, largest), lower, upper)

    return policy_step


def sup_norm(g, G):
    """Shorten by the largest entry."""
    return g * min(1, G / np.abs(g).max())


def slope_times_noise(theta, s, a, pi, critic, alpha, largest, lower, upper):
    """Multiply by the difference of the actions, too."""
    e = a - pi(theta, s)
    g = np.einsum("kmp,km->p", pi.slope(theta, s), e * critic.slope(s, pi(theta, s))) / len(s)
    return g, np.clip(theta - alpha * g * min(1, largest / np.linalg.norm(g)), lower, upper)


def scaled_after_alpha(theta, s, a, pi, critic, alpha, largest, lower, upper):
    """Shorten the step, not the gradient."""
    g = _policy()(theta, s, a, pi, critic, alpha, largest, lower, upper)[0]
    change = alpha * g
    change = change * min(1, largest / np.linalg.norm(change))
    return g, np.clip(theta - change, lower, upper)


# ------------------------------------------------------------------------------------------------------- item 4


def _sweep(
    q=lambda L_u, B, lam, g: L_u + g * B.T @ lam,
    lam=lambda L_s, A, lam, S, q, g: L_s + g * A.T @ lam + S.T @ q,
    end=lambda k, W, K: (k + 1) % W == 0,
    add=True,
):
    def sweep(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
        now, grad = np.zeros(A.shape[1]), np.zeros(pi_theta.shape[2])
        for k in range(len(A) - 1, -1, -1):
            if end(k, window, len(A)):
                now = np.zeros(A.shape[1])
            own = q(L_u[k], B[k], now, gamma)
            grad = grad * add + pi_theta[k].T @ own
            now = lam(L_s[k], A[k], now, pi_s[k], own, gamma)
        return grad

    return sweep


def reset_last(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    """Set lam back at the end of the loop's body."""
    now, grad = np.zeros(A.shape[1]), np.zeros(pi_theta.shape[2])
    for k in reversed(range(len(A))):
        own = L_u[k] + gamma * B[k].T @ now
        grad += pi_theta[k].T @ own
        now = L_s[k] + gamma * A[k].T @ now + pi_s[k].T @ own
        if (k + 1) % window == 0:
            now[:] = 0
    return grad


def gamma_to_the_k(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    """Discount from the beginning of the roll-out."""
    now, grad = np.zeros(A.shape[1]), np.zeros(pi_theta.shape[2])
    for k in reversed(range(len(A))):
        if (k + 1) % window == 0:
            now = np.zeros(A.shape[1])
        own = L_u[k] + gamma * B[k].T @ now
        grad += gamma**k * pi_theta[k].T @ own
        now = L_s[k] + gamma * A[k].T @ now + pi_s[k].T @ own
    return grad


# ------------------------------------------------------------------------------------------------------- item 5


def _gradient(
    D=lambda slope: slope[:, 0],
    e=lambda a, plan: a - plan[:, 0],
    w=lambda psi, td, rho: np.linalg.solve(psi.T @ psi + rho * np.eye(psi.shape[1]), psi.T @ td),
    g=lambda D, w: np.einsum("kmp,kmq,q->p", D, D, w) / len(D),
):
    def advantage_gradient(plan, slope, a, td, regularisation):
        J = D(slope)
        found = w(np.einsum("kmp,km->kp", J, e(a, plan)), td, regularisation)
        return found, g(J, found)

    return advantage_gradient


# ------------------------------------------------------------------------------------------------------- item 6


def _house(heat=lambda s: s.keep + 4 * (s.low + 0.7 - s.T), battery=lambda s, P: s.pv - s.load - P):
    def rule(s):
        P = np.clip(heat(s), 0, 2.5)
        return P, battery(s, P)

    return rule


def _sell_dear(s, P):
    return np.where(s.price < s.mean, 3.0, -3.0)


def with_if(s):
    """Ask one question for all houses."""
    if s.price < s.mean:
        return 0 * s.T, 3.0
    return s.keep, s.pv - s.load


def _cheap_heat(s):
    return np.where(s.price < s.mean, 2.5, 0.0)


WRONG = [
    (1, "battery as asked", 0.25 * 7 * -0.2),
    (1, "no loss", 12.0),
    (1, "per hour", 51.2),
    (1, "euros", 0.128),
    (1, "heat for power", 60.8),
    (1, "0.38 kW", 24.2),
    (2, "model's mean", _td(after=lambda f, s, a, s_next: f(s, a))),
    (2, "no gamma", _td(delta=lambda L, g, v_next, v: L + v_next - v)),
    (2, "no end", _td(ended=False)),
    (2, "nothing learned at the end", nothing_after_the_end),
    (2, "delta of the new theta", in_turn),
    (2, "both ends moved", _td(step=lambda al, d, now, ahead, g: al * d * (now - g * ahead) / (now @ now + 0.1))),
    (2, "norm for its square", _td(step=lambda al, d, now, ahead, g: al * d * now / (np.linalg.norm(now) + 0.1))),
    (2, "brackets", _td(step=lambda al, d, now, ahead, g: al * d * now / (now @ now) + 0.1)),
    (2, "descent on V", _td(step=lambda al, d, now, ahead, g: -al * d * now / (now @ now + 0.1))),
    (2, "twice the step", _td(step=lambda al, d, now, ahead, g: 2 * al * d * now / (now @ now + 0.1))),
    (2, "squared error", _td(delta=lambda L, g, v_next, v: (L + g * v_next - v) ** 2)),
    (2, "parts swapped", swapped),
    (3, "at the noisy action", _policy(at=lambda pi, theta, s, a: a)),
    (3, "sum", _policy(chain=lambda D, q: np.einsum("kmp,km->p", D, q))),
    (3, "mean of each", _policy(chain=lambda D, q: D.mean(0).T @ q.mean(0))),
    (3, "ascent", _policy(end=lambda theta, change, low, high: np.clip(theta + change, low, high))),
    (3, "always shortened", _policy(shorter=lambda g, G: g * G / np.linalg.norm(g))),
    (3, "max for min", _policy(shorter=lambda g, G: g * max(1, G / np.linalg.norm(g)))),
    (3, "largest entry", _policy(shorter=sup_norm)),
    (3, "entries clipped", _policy(shorter=lambda g, G: np.clip(g, -G, G))),
    (3, "times the noise", slope_times_noise),
    (3, "step shortened", scaled_after_alpha),
    (3, "change clipped", _policy(end=lambda theta, change, low, high: theta + np.clip(-change, low, high))),
    (3, "no bounds", _policy(end=lambda theta, change, low, high: theta - change)),
    (4, "window at k", _sweep(end=lambda k, W, K: k % W == 0)),
    (4, "window from the end", _sweep(end=lambda k, W, K: (K - k) % W == 0)),
    (4, "set back last", reset_last),
    (4, "no policy in lam", _sweep(lam=lambda L_s, A, lam, S, q, g: L_s + g * A.T @ lam)),
    (4, "no discount in lam", _sweep(lam=lambda L_s, A, lam, S, q, g: L_s + A.T @ lam + S.T @ q)),
    (4, "discount on q", _sweep(lam=lambda L_s, A, lam, S, q, g: L_s + g * (A.T @ lam + S.T @ q))),
    (4, "gamma to the k", gamma_to_the_k),
    (4, "no transpose", _sweep(lam=lambda L_s, A, lam, S, q, g: L_s + g * A @ lam + S.T @ q)),
    (4, "g overwritten", _sweep(add=False)),
    (4, "no L_u", _sweep(q=lambda L_u, B, lam, g: g * B.T @ lam)),
    (5, "stage only", _gradient(e=lambda a, plan: a)),
    (5, "difference only", _gradient(D=lambda slope: slope[:, -1])),
    (5, "second stage", _gradient(D=lambda slope: slope[:, 1], e=lambda a, plan: a - plan[:, 1])),
    (5, "mean of the plan", _gradient(D=lambda slope: slope.mean(1), e=lambda a, plan: a - plan.mean(1))),
    (5, "sum of stages, right difference", _gradient(D=lambda slope: slope.sum(1))),
    (5, "mean action", _gradient(e=lambda a, plan: a - a.mean(0))),
    (5, "pi minus a", _gradient(e=lambda a, plan: plan[:, 0] - a)),
    (5, "natural gradient", _gradient(g=lambda D, w: w)),
    (6, "warm only", _house()),
    (6, "sell all", _house(heat=lambda s: s.keep, battery=_sell_dear)),
    (6, "heat while cheap", _house(heat=_cheap_heat)),
    (6, "battery asleep", _house(battery=lambda s, P: 0 * P)),
    (6, "an if for arrays", with_if),
    (6, "one power", lambda s: s.keep),
    (6, "the plain band", _house(heat=lambda s: 5 * (s.low - s.T))),
    (7, "more data", ("a", [1, 2])),
    (7, "exact gradients", ("c", [2, 3])),
    (7, "bounds are kept", ("b", [1, 2, 3, 6])),
    (7, "lower on every plant", ("b", [1, 4])),
    (7, "two of three", ("b", "1 and 3")),
]


def _with_loops(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    """Take each window as a roll-out of its own."""
    parts = []
    for i in range(0, len(A), window):
        own = [slopes[i : i + window] for slopes in (A, B, L_s, L_u, pi_theta, pi_s)]
        parts.append(_sweep(end=lambda k, W, K: False)(*own, window, gamma))
    return sum(parts)


def _inverse(psi, td, rho):
    return np.linalg.inv(psi.T @ psi + rho * np.eye(len(psi.T))) @ psi.T @ td


RIGHT = [
    (1, "text", "12.8"),
    (1, "an integer of tenths", np.float32(12.8)),
    (2, "list of both", lambda *args: list(_td()(*args))),
    (2, "ended as a factor", _td()),
    (3, "sums by hand", _policy(chain=lambda D, q: sum(J.T @ slope for J, slope in zip(D, q)) / len(D))),
    (3, "if for min", _policy(shorter=lambda g, G: g / np.linalg.norm(g) * G if np.linalg.norm(g) > G else g)),
    (4, "windows apart", _with_loops),
    (4, "a column", lambda *args: _sweep()(*args)[:, None]),
    (5, "matrices", _gradient(g=lambda D, w: np.mean([J.T @ (J @ w) for J in D], axis=0))),
    (5, "least squares, inverse", _gradient(w=_inverse)),
    (6, "clipped twice", lambda s: [np.clip(s.keep + 3 * (s.low + 0.6 - s.T), 0, 2.5), np.where(
        s.price < 0.9 * s.mean, 3, s.pv - s.load - s.keep)]),
    (7, "in words", ("B)", "1, 2 and 3")),
]  # fmt: skip
