"""Exercise 01, on what an optimal decision is.

Seven items: the value of a chain with an end, the Bellman backup, the Riccati step, the tabular update, a value
iteration that stops too early, a small grid that drives well, and what the growing value at discount 1 means.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.dp.finite import FiniteMDP, policy_iteration
from mpcrl_course.dp.pendulum import evaluate, pendulum_value_iteration

# -------------------------------------------------------------------------------------- 1: the value of a chain

COST, STAY, GAMMA = 3.0, 0.45, 0.6  # per step; probability to stay; discount


def _chain(cost: float = COST, stay: float = STAY, gamma: float = GAMMA) -> float:
    return cost / (1.0 - gamma * stay)


predict = Predict(
    1,
    "the value of a chain with an end",
    reference=_chain(),
    rtol=0.0,
    atol=0.02,
    when_right="One equation with one unknown: the value stands on both sides, and the end contributes nothing.",
    hints=[
        "Call the value of the running machine V. What is it after one more step, with which probability?",
        "V = L + γ (p V + (1 − p) · value of the end). What does the end cost?",
    ],
    mistakes=[
        Mistake("one-step loss for the fixed point",
                "That is the cost of the next step only. With probability 0.45 there is another one after it.", COST),
        Mistake("two steps only",
                "That counts two steps. A third one may follow, and a fourth: let V stand on both sides.",
                COST * (1 + GAMMA * STAY)),
        Mistake("discount missing", "A cost one step later counts γ as much: where is γ?", (5.44, 5.46)),
        Mistake("end paid once",
                "Your end costs 3, too: once, when the machine has stopped. After the end nothing is paid.",
                (5.4601, 5.48)),
        Mistake("discount applied twice", "γ counts once for each step, not twice.", _chain(gamma=GAMMA**2)),
        Mistake("terminal state bootstrapped",
                "You let the machine go on for ever. When it has stopped nothing more is paid: the value of the end "
                "is 0.", _chain(stay=1.0)),
        Mistake("probabilities swapped",
                "0.45 is the probability that it goes on running; you have used that of its end.",
                _chain(stay=1 - STAY)),
        Mistake("cost discounted", "The first cost is paid now, and counts in full.", GAMMA * _chain()),
        Mistake("first cost missing", "That is what follows the next step. The step itself costs 3, too.",
                _chain() - COST),
        Mistake("reward", "L is a cost, and costs add up to a positive value here.", -_chain()),
    ],
)  # fmt: skip

# ----------------------------------------------------------------------------------------- 2: the Bellman backup


def backup(P, L, gamma, V, terminal) -> np.ndarray:
    """Return T V, shape (S,), with the value 0 at terminal states.

    P (S, A, S) holds the probabilities P[s, a, s'], L (S, A) the stage costs, V (S,) the values, terminal (S,) a mask;
    gamma is the discount.
    """
    Q = L + gamma * P @ np.where(terminal, 0.0, V)
    return np.where(terminal, 0.0, Q.min(axis=1))


def _backup(look: Callable | None = None, pick: Callable | None = None, gamma_of: Callable = lambda g: g,
            on_cost: bool = False, end_ahead: bool = True, end_here: bool = True,
            cost: float = 1.0) -> Callable:  # fmt: skip
    expect = look or (lambda P, V: P @ V)
    choose = pick or (lambda Q: Q.min(axis=1))

    def wrong(P, L, gamma, V, terminal):
        ahead = expect(P, np.where(terminal, 0.0, V) if end_ahead else V)
        g = gamma_of(gamma)
        T = choose(g * (L + ahead) if on_cost else cost * L + g * ahead)
        return np.where(terminal, 0.0, T) if end_here else T

    return wrong


def _in_place(P, L, gamma, V, terminal):
    V = np.where(terminal, 0.0, V)
    for s in np.flatnonzero(~np.asarray(terminal)):
        V[s] = (L[s] + gamma * P[s] @ V).min()
    return V


def _by_loops(P, L, gamma, V, terminal):
    T = np.zeros(len(V))
    for s in range(len(V)):
        if not terminal[s]:
            ends = [sum(P[s, a, t] * V[t] for t in range(len(V)) if not terminal[t]) for a in range(L.shape[1])]
            T[s] = min(L[s, a] + gamma * ends[a] for a in range(L.shape[1]))
    return T


def _by_einsum(P, L, gamma, V, terminal):
    goes_on = 1.0 - np.asarray(terminal, dtype=float)
    return goes_on * np.amin(L + gamma * np.einsum("sat,t,t->sa", P, V, goes_on), axis=-1)


def _processes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for S, A in ((5, 3), (4, 2), (6, 4)):
        P, L = rng.dirichlet(np.full(S, 0.7), (S, A)), rng.uniform(0.3, 3.0, (S, A))
        terminal = np.zeros(S, dtype=bool)
        terminal[rng.choice(S, 1 if S < 6 else 2, replace=False)] = True
        probes.append((P, L, rng.uniform(0.7, 0.95), rng.uniform(1.0, 9.0, S), terminal))
    return probes


def _shift(function, P, L, gamma, V, terminal):
    nowhere = np.zeros(len(V), dtype=bool)
    up = np.subtract(function(P, L, gamma, V + 2.3, nowhere), function(P, L, gamma, V, nowhere))
    return np.allclose(up, 2.3 * gamma) or "Adding a constant to V must add γ times as much to T V."


bellman = Fill(
    2,
    "the Bellman backup",
    reference=backup,
    probes=_processes,
    properties=[("a constant shrinks by γ", _shift)],
    when_right="This line, repeated, is all of dynamic programming; and sampled, Q-learning.",
    hints=[
        "First Q, an array (S, A): the cost now plus γ times the expected value of the next state. Then the best "
        "action.",
        "P @ V sums over the last index of P, which is s'. Before that, set V to 0 where a state is terminal.",
        "np.where(terminal, 0.0, V) does so; the same once more on the result.",
    ],
    mistakes=[
        Mistake("discount missing", "γ is missing before the expected value of the next state.",
                _backup(gamma_of=lambda g: 1.0)),
        Mistake("discount applied twice", "γ is applied twice: the next state is one step ahead, not two.",
                _backup(gamma_of=lambda g: g**2)),
        Mistake("cost discounted", "The stage cost has been discounted: it is paid now.", _backup(on_cost=True)),
        Mistake("max for min", "You take the dearest action. L is a cost: the best action is the cheapest.",
                _backup(pick=lambda Q: Q.max(axis=1))),
        Mistake("mean for min", "You average over the actions: that is the value of choosing at random.",
                _backup(pick=lambda Q: Q.mean(axis=1))),
        Mistake("action for value", "You return the number of the best action; its value is asked for.",
                _backup(pick=lambda Q: Q.argmin(axis=1).astype(float))),
        Mistake("transposed P",
                "P is transposed: P[s, a, s'] leads from s to s', and the sum runs over s', its last index.",
                _backup(look=lambda P, V: np.einsum("tas,t->sa", P, V))),
        Mistake("likeliest for expected",
                "You use the likeliest next state. Unlikely ones count, too, each with its probability.",
                _backup(look=lambda P, V: V[P.argmax(axis=2)])),
        Mistake("terminal state bootstrapped",
                "V at a terminal state enters the expectation. Nothing is paid after the end: its value is 0.",
                _backup(end_ahead=False)),
        Mistake("terminal state goes on",
                "The result is not 0 at the terminal states: there, no cost is to come.", _backup(end_here=False)),
        Mistake("terminal states not used",
                "The terminal states are treated like all others: before and after the backup their value is 0.",
                _backup(end_ahead=False, end_here=False)),
        Mistake("one-step loss", "That is the cheapest cost of one step: the future is missing.",
                _backup(gamma_of=lambda g: 0.0)),
        Mistake("cost missing", "The stage cost L is missing.", _backup(cost=0.0)),
        Mistake("reward for cost", "L enters with a minus: it is a cost here, not a reward.", _backup(cost=-1.0)),
        Mistake("separate minima",
                "You take the cheapest cost now and the cheapest future, of different actions perhaps. Both belong to "
                "one action: add first, then take the minimum.",
                lambda P, L, gamma, V, terminal: np.where(
                    terminal, 0.0, L.min(axis=1) + gamma * (P @ np.where(terminal, 0.0, V)).min(axis=1))),
        Mistake("the last state as the end",
                "You take the last state for the end. Which states are terminal says `terminal`.",
                lambda P, L, gamma, V, terminal: backup(P, L, gamma, V, np.arange(len(V)) == len(V) - 1)),
        Mistake("values replaced while the sweep runs",
                "Some states see values that this sweep has just made. T V has the old V on its right side, for every "
                "state.", _in_place),
        Mistake("action chosen by its cost now",
                "The action with the cheapest cost *now* is chosen. The minimum is over cost and future together.",
                lambda P, L, gamma, V, terminal: np.where(terminal, 0.0, (L + gamma * P @ np.where(terminal, 0.0, V))[
                    np.arange(len(V)), L.argmin(axis=1)])),
    ],
    variants=[_by_loops, _by_einsum],
)  # fmt: skip

# ------------------------------------------------------------------------------------------- 3: the Riccati step


def riccati_step(P, A, B, W_x, W_u, gamma) -> tuple[np.ndarray, np.ndarray]:
    """Return P+, shape (n, n), and the gain K, shape (m, n), of the minimising action -K s.

    P (n, n) makes the value s'P s one step later, the dynamics are A s + B a, the cost is s'W_x s + a'W_u a, gamma
    discounts.
    """
    K = np.linalg.solve(W_u + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
    return W_x + gamma * A.T @ P @ A - gamma * A.T @ P @ B @ K, K


def _riccati(gain: float | None = None, value: float | None = None, square: bool = False, with_W_u: bool = True,
             with_Q: bool = True, sign: float = 1.0, transpose: bool = False, minimise: bool = True,
             cross: float = -1.0, below: float | None = None, last: float | None = None) -> Callable:  # fmt: skip
    def wrong(P, A, B, W_x, W_u, gamma):
        F = A.T if transpose else A
        g = gamma**2 if square else gamma
        gk, gv = gain or g, value or g
        K = np.linalg.solve(with_W_u * W_u + (below or gk) * B.T @ P @ B, gk * B.T @ P @ F)
        step = gv * F.T @ P @ F + (cross * (last or gv) * F.T @ P @ B @ K if minimise else 0.0)
        return with_Q * W_x + step, sign * K

    return wrong


def _without_actions(P, A, B, W_x, W_u, gamma):
    K = riccati_step(P, A, B, W_x, W_u, gamma)[1]
    return W_x + gamma * (A - B @ K).T @ P @ (A - B @ K), K


def _fixed_point(P, A, B, W_x, W_u, gamma):
    for _ in range(200):
        P, K = riccati_step(P, A, B, W_x, W_u, gamma)
    return P, K


def _joseph(P, A, B, W_x, W_u, gamma):
    K = gamma * np.linalg.inv(W_u + gamma * B.T @ P @ B) @ B.T @ P @ A
    F = A - B @ K
    return W_x + K.T @ W_u @ K + gamma * F.T @ P @ F, K


def _by_schur(P, A, B, W_x, W_u, gamma):
    n, F = len(A), np.hstack([A, B])
    M = gamma * F.T @ P @ F
    M[:n, :n] += W_x
    M[n:, n:] += W_u
    K = np.linalg.solve(M[n:, n:], M[n:, :n])
    return M[:n, :n] - M[:n, n:] @ K, K


def _systems(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for n, m in ((2, 1), (3, 2), (2, 2)):

        def definite(k):
            F = rng.normal(size=(k, k))
            return F @ F.T + 0.3 * np.eye(k)

        A, B = rng.normal(size=(n, n)), rng.normal(size=(n, m))
        probes.append((definite(n), A, B, definite(n), definite(m), rng.uniform(0.6, 0.9)))
    return probes


def _is_minimum(function, P, A, B, W_x, W_u, gamma):
    answer = function(P, A, B, W_x, W_u, gamma)
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return True  # the comparison says what is wrong with it
    P_next, K = answer
    s = np.linspace(0.4, -1.3, len(A))
    for a in (-K @ s, 0.9 * -K @ s, -K @ s + 0.1):
        s_next = A @ s + B @ a
        cost = s @ W_x @ s + a @ W_u @ a + gamma * s_next @ P @ s_next
        if s @ P_next @ s > cost * (1 + 1e-9):
            return "There is an action that is cheaper than s'P⁺s says: P⁺ is not the minimum."
    return True


riccati = Fill(
    3,
    "the Riccati step",
    reference=riccati_step,
    probes=_systems,
    compare=close(rtol=1e-7, atol=1e-9, names=("P⁺", "K")),
    properties=[("s'P⁺s is a minimum", _is_minimum)],
    when_right="The same backup, for all states of the plane at once: a quadratic goes in, a quadratic comes out.",
    hints=[
        "Write s'Qs + a'Ra + γ (As + Ba)'P(As + Ba) and set its derivative in a to 0. That gives a = −K s.",
        "γ comes with P, always: wherever P stands, γ stands before it; and nowhere else.",
        "np.linalg.solve(M, N) is M⁻¹N. P⁺ = W_x + γA'PA − γA'PB K.",
    ],
    mistakes=[
        Mistake("discount missing", "γ is missing: the next state's value counts γ.", _riccati(gain=1.0, value=1.0)),
        Mistake("discount applied twice", "γ is applied twice: once for each P is enough.", _riccati(square=True)),
        Mistake("discount missing in the gain", "P⁺ has its γ, but the gain K has not.", _riccati(gain=1.0)),
        Mistake("discount missing in P", "The gain K has its γ, but P⁺ has not.", _riccati(value=1.0)),
        Mistake("discount missing below", "In the gain γ is missing before B'PB, the part that is added to W_u.",
                _riccati(below=1.0)),
        Mistake("discount missing in the last term", "The last term of P⁺ has a P, but not its γ.", _riccati(last=1.0)),
        Mistake("cost of the action missing",
                "With F = A − BK, γF'PF is what follows; the action itself costs, too: K'RK is missing.",
                _without_actions),
        Mistake("fixed point", "This is the end of many steps. One step is asked for: P goes in, P⁺ comes out.",
                _fixed_point),
        Mistake("W_u missing", "W_u is missing in the gain: as if actions cost nothing.", _riccati(with_W_u=False)),
        Mistake("W_x missing", "The cost of the present state, W_x, is missing in P⁺.", _riccati(with_Q=False)),
        Mistake("transposed A", "A is transposed: it should be A'PA, with the transpose on the left.",
                _riccati(transpose=True)),
        Mistake("order of a covariance",
                "A P A' moves a covariance forwards. A quadratic form in the next state goes the other way: "
                "(As)'P(As).",
                lambda P, A, B, W_x, W_u, gamma: (riccati_step(P, A, B, W_x, W_u, gamma)[0]
                                              + gamma * (A @ P @ A.T - A.T @ P @ A),
                                              riccati_step(P, A, B, W_x, W_u, gamma)[1])),
        Mistake("cost discounted", "W_x has been discounted, too: the present state is paid for now.",
                lambda P, A, B, W_x, W_u, gamma: (riccati_step(P, A, B, W_x, W_u, gamma)[0] - (1 - gamma) * W_x,
                                              riccati_step(P, A, B, W_x, W_u, gamma)[1])),
        Mistake("cost halved", "W_x and W_u carry a factor ½ in your step. The cost is s'W_x s + a'W_u a, without one.",
                lambda P, A, B, W_x, W_u, gamma: riccati_step(P, A, B, 0.5 * W_x, 0.5 * W_u, gamma)),
        Mistake("gain of the new P", "Your K comes from P⁺. The action is chosen with the P that went in.",
                lambda P, A, B, W_x, W_u, gamma: (riccati_step(P, A, B, W_x, W_u, gamma)[0], riccati_step(
                    riccati_step(P, A, B, W_x, W_u, gamma)[0], A, B, W_x, W_u, gamma)[1])),
        Mistake("max for min", "The last term is added: that is not the minimum over the action. Its sign?",
                _riccati(cross=1.0)),
        Mistake("no action", "P⁺ is the value of doing nothing: what the best action saves is missing.",
                _riccati(minimise=False)),
        Mistake("sign of the gain", "The gain's sign is turned. The action is −K s.", _riccati(sign=-1.0)),
        Mistake("one-step loss", "P⁺ is W_x alone: the cost of this step, without the future.",
                lambda P, A, B, W_x, W_u, gamma: (W_x + 0.0 * P, riccati_step(P, A, B, W_x, W_u, gamma)[1])),
        Mistake("order swapped", "P⁺ and K have changed places: return P⁺ first.",
                lambda *args: riccati_step(*args)[::-1]),
    ],
    variants=[_joseph, _by_schur],
)  # fmt: skip

# ------------------------------------------------------------------------------------------ 4: the tabular update


def update(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma) -> np.ndarray:
    """Return the table after one step of Q-learning with the transition s, a, cost, s_next; Q (S, A) stays as it is.

    `alpha` is the step size, `gamma` the discount. Nothing follows a `terminal` s_next; `truncated` changes nothing.
    """
    Q = np.array(Q, dtype=float)
    target = cost + gamma * (0.0 if terminal else Q[s_next].min())
    Q[s, a] += alpha * (target - Q[s, a])
    return Q


def _update(ahead: Callable | None = None, ends: Callable = lambda terminal, truncated: terminal,
            g: Callable = lambda gamma: gamma, on_cost: bool = False, sign: float = 1.0,
            rate: Callable = lambda alpha: alpha, where: Callable = lambda s, a, t: (s, a),
            keep: bool = True) -> Callable:  # fmt: skip
    look = ahead or (lambda row, a: row.min())

    def wrong(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
        Q = np.array(Q, dtype=float)
        future = 0.0 if ends(terminal, truncated) else look(Q[s_next], a)
        target = g(gamma) * (cost + future) if on_cost else cost + g(gamma) * future
        place = where(s, a, s_next)
        Q[place] += sign * rate(alpha) * (target - (Q[s, a] if keep else 0.0))
        return Q

    return wrong


def _skips(when: Callable) -> Callable:
    def wrong(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
        kept = np.array(Q)
        return (
            kept if when(terminal, truncated) else update(kept, s, a, cost, s_next, terminal, truncated, alpha, gamma)
        )

    return wrong


def _convex(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    Q = Q.copy()
    Q[s, a] = (1 - alpha) * Q[s, a] + alpha * (cost + gamma * (not terminal) * min(Q[s_next]))
    return Q


def _by_mask(Q, s, a, cost, s_next, terminal, truncated, alpha, gamma):
    mask = np.zeros_like(Q)
    mask[s, a] = 1.0
    V = np.sort(Q, axis=1)[:, 0]
    return Q + alpha * mask * (cost + (0.0 if terminal else gamma * V[s_next]) - Q)


def _samples(rng: np.random.Generator) -> list[tuple]:
    probes, flags = [], ((False, False), (False, False), (True, False), (False, True), (True, True))
    # s is never 0: else "where s is 0" may be said of what goes with a flag.
    for s, (terminal, truncated) in zip(rng.permutation(np.arange(1, 5))[[0, 1, 2, 0, 1]], flags, strict=True):
        Q = rng.uniform(1.0, 9.0, (5, 3))
        s_next = rng.choice(np.delete(np.arange(5), s))
        a = int(rng.choice(np.flatnonzero(Q[s_next] > Q[s_next].min())))  # neither the best nor the worst in s'
        if Q[s_next, a] == Q[s_next].max():
            Q[s_next, (a + 1) % 3 if (a + 1) % 3 != Q[s_next].argmin() else (a + 2) % 3] += 5.0
        probes.append((Q, int(s), a, rng.uniform(0.5, 3.0), int(s_next), terminal, truncated, rng.uniform(0.1, 0.35),
                       rng.uniform(0.6, 0.9)))  # fmt: skip
    return probes


tabular = Fill(
    4,
    "the tabular update",
    reference=update,
    probes=_samples,
    when_right="No P and no L as a function: one sample, one entry of the table.",
    hints=[
        "The target is the right side of Bellman's equation with the sampled s' in place of the expectation.",
        "A terminal state has no future. A truncated episode has one; we only stopped looking.",
        "Q[s, a] moves the share alpha of the way to the target; all other entries stay.",
    ],
    mistakes=[
        Mistake("discount missing", "γ is missing in the target.", _update(g=lambda gamma: 1.0)),
        Mistake("discount applied twice", "γ is applied twice.", _update(g=lambda gamma: gamma**2)),
        Mistake("cost discounted", "The cost has been discounted: it is paid now.", _update(on_cost=True)),
        Mistake("max for min", "The target takes the dearest next action. Q is a cost.",
                _update(ahead=lambda row, a: row.max())),
        Mistake("same action again",
                "The target takes action a once more. Q-learning's target takes the best one in s'.",
                _update(ahead=lambda row, a: row[a])),
        Mistake("minimum in s", "The target takes the best value in s. What follows happens in s': look there.",
                lambda Q, s, a, cost, s_next, terminal, truncated, alpha, gamma: update(
                    Q, s, a, cost + (0.0 if terminal else gamma * (Q[s].min() - Q[s_next].min())), s_next, terminal,
                    truncated, alpha, gamma)),
        Mistake("action for value",
                "The target adds the number of the best next action. Its value is what follows.",
                _update(ahead=lambda row, a: float(row.argmin()))),
        Mistake("minimum of the table",
                "The target takes the best value of the whole table. What follows starts in s'.",
                lambda Q, s, a, cost, s_next, terminal, truncated, alpha, gamma: update(
                    Q, s, a, cost + (0.0 if terminal else gamma * (Q.min() - Q[s_next].min())), s_next, terminal,
                    truncated, alpha, gamma)),
        Mistake("last cost lost",
                "At the end your target is 0. Nothing follows the end, but the step into it has its cost.",
                lambda Q, s, a, cost, s_next, terminal, truncated, alpha, gamma: update(
                    Q, s, a, 0.0 if terminal else cost, s_next, terminal, truncated, alpha, gamma)),
        Mistake("nothing learned at the end",
                "Where the process ends nothing is changed. The last step has a cost, and that is to be learned, too.",
                _skips(lambda terminal, truncated: terminal)),
        Mistake("nothing learned where an episode is cut off",
                "A sample with `truncated` is thrown away. It is as good as any other.",
                _skips(lambda terminal, truncated: truncated)),
        Mistake("truncation wins",
                "Where both flags are set the process has ended: terminal decides, whatever truncated says.",
                _update(ends=lambda terminal, truncated: terminal and not truncated)),
        Mistake("mean for min", "The target averages over the next actions.", _update(ahead=lambda row, a: row.mean())),
        Mistake("terminal state bootstrapped",
                "After a terminal state nothing follows, but your target adds its value.",
                _update(ends=lambda terminal, truncated: False)),
        Mistake("truncation taken for the end",
                "A truncated episode is only cut off: the future would have gone on, and its value belongs into the "
                "target.", _update(ends=lambda terminal, truncated: terminal or truncated)),
        Mistake("truncation for termination",
                "You look at truncated where terminal belongs.", _update(ends=lambda terminal, truncated: truncated)),
        Mistake("sign", "Q moves away from the target: the TD error's sign is turned.", _update(sign=-1.0)),
        Mistake("step size missing", "Q jumps all the way to the target: one sample is not the mean.",
                _update(rate=lambda alpha: 1.0)),
        Mistake("1 - alpha", "Q moves by 1 − α of the way: old and new have changed their weights.",
                _update(rate=lambda alpha: 1 - alpha)),
        Mistake("target added", "The old value is not subtracted: α times the *target* is added, not α times δ.",
                _update(keep=False)),
        Mistake("wrong row", "You have changed the row of s'. What was tried is action a in state s.",
                _update(where=lambda s, a, t: (t, a))),
        Mistake("whole row", "You have changed all actions of s. Only a was tried.",
                _update(where=lambda s, a, t: (s, slice(None)))),
        Mistake("one-step loss", "The target is the cost of this step alone.", _update(g=lambda gamma: 0.0)),
    ],
    variants=[_convex, _by_mask],
)  # fmt: skip

# ---------------------------------------------------------------------------------------- 5: when may it stop?

SHARE = 1e-5  # of the smallest value: the accuracy that is asked for


def _sweep(P, L, gamma, V):
    return (L + gamma * P @ V).min(axis=1)


def solve_as_given(P, L, gamma, V, accuracy):
    """Value iteration as the notebook gives it: it stops too early.

    It ends when a sweep changes V by no more than `accuracy`; P, L, gamma and V are those of `backup`, without an end.
    """
    while True:
        V, before = _sweep(P, L, gamma, V), V
        if np.abs(V - before).max() <= accuracy:
            return V


def solve(P, L, gamma, V, accuracy):
    """Return V, shape (S,), within `accuracy` of V* everywhere.

    The sweeps begin with the given V; P, L and gamma < 1 are those of `backup`, without an end.
    """
    while True:
        V, before = _sweep(P, L, gamma, V), V
        if gamma / (1 - gamma) * np.abs(V - before).max() <= accuracy:
            return V


def _solve(stop: Callable | None = None, sweep: Callable = _sweep, limit: int = 20_000) -> Callable:
    done = stop or (lambda change, gamma, accuracy, V: gamma / (1 - gamma) * np.abs(change).max() <= accuracy)

    def wrong(P, L, gamma, V, accuracy):
        for _ in range(limit):
            V, before = sweep(P, L, gamma, V), V
            if done(V - before, gamma, accuracy, V):
                break
        return V

    return wrong


def _exact(P, L, gamma, V, accuracy):
    """Return V* itself: what all answers are compared with."""
    return policy_iteration(FiniteMDP(P, L, gamma)).V


def _before(P, L, gamma, V, accuracy):
    while True:
        V, before = _sweep(P, L, gamma, V), V
        if gamma / (1 - gamma) * np.abs(V - before).max() <= accuracy:
            return before


def _by_count(P, L, gamma, V, accuracy):
    first = np.abs(_sweep(P, L, gamma, V) - V).max()
    for _ in range(int(np.ceil(np.log(accuracy * (1 - gamma) / first) / np.log(gamma))) + 1):
        V = _sweep(P, L, gamma, V)
    return V


def _slow_processes(rng: np.random.Generator) -> list[tuple]:
    # The bound γ/(1 − γ) times the change is tight if all states are off by the same, or one, which nothing leaves: a
    # rule that is wrong by a tenth is seen. The accuracy goes with V, so that one relative tolerance judges all.
    probes = []
    for gamma, scale, off, alone in ((0.86, 1e-7, 300.0, True), (0.95, 1.0, -120.0, False), (0.93, 1.0, 60.0, False),
                                     (0.9999, 100.0, 3.0, False)):  # fmt: skip
        gamma = gamma if gamma > 0.99 else round(gamma + rng.uniform(-0.02, 0.02), 4)
        likely = rng.dirichlet(np.full(3, 0.7), (3, 2))
        L = rng.uniform(1.2, 2.0, (3, 2)).round(2)
        if alone:
            likely[:2, :, :2], likely[:2, :, 2], likely[2] = (
                rng.dirichlet(np.full(2, 0.7), (2, 2)),
                0.0,
                [0.0, 0.0, 1.0],
            )
            L[2] = [1.0, 1.1]
        P = rng.multinomial(20, likely) / 20.0  # short numbers, to be read
        V = _exact(P, scale * L, gamma, None, None)
        accuracy = SHARE * V.min()
        probes.append((P, scale * L, gamma, V + off * accuracy * (np.arange(3) == 2 if alone else 1.0), accuracy))
    return probes


debug = Debug(
    5,
    "when may it stop?",
    reference=_exact,
    given=solve_as_given,
    probes=_slow_processes,
    compare=close(rtol=SHARE * (1 + 1e-6), atol=0.0),  # any way to stay within the accuracy is right
    when_right="The contraction bounds the way still to go: residual · (γ + γ² + …) = residual · γ/(1 − γ).",
    hints=[
        "At γ = 0.98, how much may V still move after a sweep that changed it by 0.001? Add up the next changes.",
        "‖V − V*‖ ≤ (γ + γ² + …) ‖V − V_before‖. What is the sum?",
    ],
    mistakes=[
        Mistake("bound multiplied the wrong way",
                "The threshold has become larger instead of smaller: 1 − γ is below 1, on which side does it belong?",
                _solve(lambda change, gamma, accuracy, V: (1 - gamma) * np.abs(change).max() <= accuracy)),
        Mistake("twice the accuracy",
                "Nearly: but your V may be off by up to about twice the accuracy. What is γ + γ² + …, exactly?",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).max() * gamma / (1 - gamma) <= 2 * accuracy)),
        Mistake("the next change only",
                "A factor γ bounds the next change only. After it come γ², γ³, …: add them all up.",
                _solve(lambda change, gamma, accuracy, V: gamma * np.abs(change).max() <= accuracy)),
        Mistake("γ on the wrong side",
                "γ · accuracy is a little stricter, and still says nothing of all the later changes: add them up.",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy * gamma)),
        Mistake("V before the sweep",
                "The rule is right, but you return V from before the last sweep.",
                lambda P, L, gamma, V, accuracy: _before(P, L, gamma, V, accuracy)),
        Mistake("mean over the states",
                "The mean change is small, and one state may still be far off: it is asked for in every state.",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).mean() * gamma / (1 - gamma) <= accuracy)),
        Mistake("not every state",
                "Your rule looks at a state that has arrived; another one has not. Every state counts.",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).min() * gamma / (1 - gamma) <= accuracy)),
        Mistake("no absolute value",
                "From a start above V* all changes are negative: without the absolute value it stops at once.",
                _solve(lambda change, gamma, accuracy, V: gamma / (1 - gamma) * change.max() <= accuracy)),
        Mistake("relative accuracy",
                "The accuracy has become relative to V. It is asked for in the units of V, and at every state.",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy * np.abs(V).max())),
        Mistake("a fixed share of the accuracy",
                "Enough at the smaller γ, and too early near 1: how far V may still move grows like 1/(1 − γ), so that "
                "neither a fixed share of the accuracy nor a fixed number of sweeps is enough for all γ.",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy / 100)),
        Mistake("a fixed threshold",
                "A fixed threshold does for one accuracy and one γ. Both are arguments here.",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).max() <= 1e-9)),
        Mistake("one sweep", "That is one sweep. The answer is the fixed point.", _solve(limit=1)),
        Mistake("a fixed number of sweeps",
                "A hundred sweeps are not enough at every γ: the number depends on γ and on the start.",
                _solve(lambda *_: False, limit=100)),
        Mistake("ten thousand sweeps",
                "Ten thousand sweeps are many, and still too few at γ = 0.9999; at γ = 0.8 a hundred would do.",
                _solve(lambda change, gamma, accuracy, V: np.abs(change).max() <= 1e-14 * V.max(), limit=10_000)),
        Mistake("max for min", "The sweep was right: it took the cheapest action.",
                _solve(sweep=lambda P, L, gamma, V: (L + gamma * P @ V).max(axis=1))),
        Mistake("discount missing", "The sweep was right: now its γ is missing, and V grows without end.",
                _solve(sweep=lambda P, L, gamma, V: (L + P @ V).min(axis=1), limit=300)),
        Mistake("discount applied twice", "The sweep was right: now its γ counts twice.",
                _solve(sweep=lambda P, L, gamma, V: (L + gamma**2 * P @ V).min(axis=1))),
        Mistake("transposed P", "The sweep was right: P[s, a, s'] is summed over its last index.",
                _solve(sweep=lambda P, L, gamma, V: (L + gamma * np.einsum("tas,t->sa", P, V)).min(axis=1),
                       limit=300)),
    ],
    variants=[
        solve,
        _by_count,
        _solve(lambda change, gamma, accuracy, V: np.abs(change).max() <= accuracy * (1 - gamma)),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------- 6: a small table that drives well

ENTRIES, TARGET = 6000, 157.8


@cache
def _measured(angles: int, velocities: int, torques: int, gamma: float) -> tuple[float, float]:
    entries = angles * velocities * torques
    if entries > 5 * ENTRIES:  # too large to be worth the wait
        return float("nan"), float(entries)
    solved = pendulum_value_iteration(angles, velocities, torques, gamma, tolerance=1e-2)
    return float(evaluate(solved.policy).mean()), float(entries)


def measure(choice: dict[str, Any], seed: int = 0) -> dict[str, float]:
    """Solve the pendulum on a grid, and drive it from the 100 fixed starts.

    Parameters
    ----------
    choice : dict
        angles, velocities, torques: numbers of points; gamma: the discount.
    seed : int
        Not used: starts and plant are fixed.
    """
    if not isinstance(choice, dict) or set(choice) != {"angles", "velocities", "torques", "gamma"}:
        raise TypeError("give a dict with the keys 'angles', 'velocities', 'torques' and 'gamma'")
    for name in ("angles", "velocities", "torques"):
        if not isinstance(choice[name], int | float | np.number) or choice[name] != int(choice[name]):
            raise TypeError(f"'{name}' is a number of points, a whole number, not {choice[name]!r}")
    points = [int(choice[name]) for name in ("angles", "velocities", "torques")]
    if min(points[:2]) < 2 or points[2] < 1 or not 0.0 < float(choice["gamma"]) <= 1.0:
        raise ValueError("at least 2 angles, 2 velocities and 1 torque, and gamma in (0, 1]")
    cost, entries = _measured(*points, float(choice["gamma"]))
    return {"mean cost of 10 s": cost, "entries of the table": entries}


def _choice(angles=41, velocities=41, torques=3, gamma=0.999) -> dict[str, Any]:
    return {"angles": angles, "velocities": velocities, "torques": torques, "gamma": gamma}


design = Design(
    6,
    "a small table that drives well",
    reference=_choice(),
    measure=measure,
    targets={"mean cost of 10 s": ("<=", TARGET), "entries of the table": ("<=", ENTRIES)},
    when_right="A better problem (γ) beats a finer grid; and a policy at its limits needs few actions.",
    hints=[
        "Which of the four numbers costs no entries at all?",
        "Look at the greedy torque in the lecture: how many different torques does it use nearly everywhere?",
        "The cost that is measured is not discounted. A discount γ looks ahead about 0.05 s / (1 − γ).",
    ],
    mistakes=[
        Mistake("too many torques",
                "The table is too large, and most of it are torques between the limits, which the greedy policy hardly "
                "ever uses.", lambda choice, m: m["entries of the table"] > ENTRIES and choice["torques"] > 3,
                _choice(torques=5)),
        Mistake("too fine a grid",
                "The table is too large. A finer grid is the dear way to a better policy: there is a number that "
                "takes no entries.", lambda choice, m: m["entries of the table"] > ENTRIES,
                _choice(angles=71, gamma=0.98)),
        Mistake("a single torque",
                "With a single torque there is nothing to choose.", lambda choice, m: choice["torques"] == 1,
                _choice(torques=1)),
        Mistake("no zero torque",
                "Two torques swing it up, but the upright is never at rest: ±2 N m rattle about it. Zero is missing.",
                lambda choice, m: choice["torques"] == 2, _choice(torques=2)),
        Mistake("blind",
                "At this γ the upright is too far in the future to be worth an effort: from many starts it is never "
                "reached.", lambda choice, m: choice["gamma"] < 0.87, _choice(gamma=0.8)),
        Mistake("discount too low",
                "10 s are 200 steps; your policy sees the last of them with a weight of γ²⁰⁰. It is optimal, but for "
                "another problem than the one that is measured.", lambda choice, m: choice["gamma"] < 0.997,
                _choice(gamma=0.98)),
        Mistake("too few angles",
                "γ is fine. A cell is so wide in angle that the policy cannot tell the upright from its neighbours.",
                lambda choice, m: choice["angles"] < 37, _choice(angles=15, velocities=81)),
        Mistake("too few velocities",
                "γ is fine. One step changes the velocity by about 1 rad/s at most: a cell should be less than half as "
                "wide.",
                lambda choice, m: choice["velocities"] < 37, _choice(angles=81, velocities=15)),
    ],
    variants=[_choice(43, 43, 3, 0.999), _choice(39, 49, 3, 0.9995), _choice(45, 43, 3, 0.998)],
)  # fmt: skip

# ------------------------------------------------------------------------------------- 7: what grows at discount 1

explain = Explain(
    7,
    "a value that grows and a policy that stays",
    reference="c",
    choices={
        "a": "T is a contraction for γ = 1, too; the growth is rounding, and would stop.",
        "b": "The grid is finite, so V is bounded; with more sweeps the growth ends, and the policy then changes.",
        "c": "Each sweep adds the same number to V in all states, and the greedy policy does not see such a number.",
        "d": "At γ = 1 the future weighs so much that the argmin no longer depends on V, but on the stage cost alone.",
        "e": "Noise of this size is too small to change a torque; with more noise the policy would change for ever.",
    },
    reasons={
        1: "With noise every step costs something on average, in the long run as much from every start: one more sweep "
        "adds this mean cost in all states.",
        2: "The cost is measured from 100 starts only; from more starts one would see the policy change.",
        3: "The probabilities of the next states add up to 1: a number that is added to V everywhere adds as much to "
        "each action.",
        4: "Upright and hanging down come to the same value in the end, since at γ = 1 the start is forgotten.",
        5: "Rounding errors add up in V; they are much too small to change a torque.",
    },
    carrying=(1, 3),
    when_right="Subtract the value of one state in each sweep, and V stays finite: the last cell does so.",
    hints=[
        "Subtract two columns of the table: by how much did V grow hanging down, and by how much upright?",
        "Which torque is chosen if V is replaced by V + 100 in every state?",
        "The claim has two halves. One reason says why the number is the same everywhere, another why it is not seen.",
    ],
    mistakes=[
        Mistake("still a contraction",
                "At γ = 1 a constant is not shrunk: T(V + c) = TV + c. And the growth per sweep is far above rounding.",
                "a"),
        Mistake("bounded on a finite grid",
                "Finitely many states do not bound V: with noise every step costs something on average, for ever.",
                "b"),
        Mistake("stage cost alone",
                "With the stage cost alone it would not swing up: that costs more at first.", "d"),
        Mistake("small noise", "The size of the noise changes the rate of growth, not that the differences settle.",
                "e"),
        Mistake("too few starts",
                "Not reason 2: the greedy policy is a map of all states, and stays; the starts only measure it.", 2),
        Mistake("all values equal",
                "Not reason 4: look at the two columns. Their difference settles, far from 0.", 4),
        Mistake("rounding",
                "Not reason 5: V grows by 0.14 a sweep, thirteen digits above rounding.", 5),
    ],
)  # fmt: skip

exercise = Exercise(
    1,
    "What is an optimal decision?",
    [predict, bellman, riccati, tabular, debug, design, explain],
)
