"""Exercise 09, on whether an MPC can judge.

Seven items: what a bias does to a blend, Q with its first input fixed, a blended critic and its schedule, the weights
of the local critic, a learner that forgets at the wrong time, a schedule that survives a hidden bias, and why phi + w
may diverge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.problems import quadratic
from mpcrl_course.problems.quadratic import DEVIATION, DISCOUNT, SPREAD, QuadraticMPC

# ------------------------------------------------------------------------------- 1: what a bias does to a blend

STEEP, BEST, LEVEL = 6.0, 0.3, 0.8  # Q_w(a) = STEEP (a - BEST)^2 + LEVEL
MPC_STEEP, MPC_BEST, MPC_LEVEL = 1.0, 2.04, 2.3
SHARE = 0.75  # beta


def _between(learned: float, planned: float) -> float:
    """Return the mean of the two best actions with these weights."""
    return (learned * BEST + planned * MPC_BEST) / (learned + planned)


def _crossing() -> float:
    """Return the larger action at which the two critics agree."""
    learned, planned = ([c, -2 * c * b, c * b**2 + v] for c, b, v in (
        (STEEP, BEST, LEVEL), (MPC_STEEP, MPC_BEST, MPC_LEVEL)))  # fmt: skip
    return float(np.roots(np.subtract(learned, planned)).max())


_blended = _between((1 - SHARE) * STEEP, SHARE * MPC_STEEP)

predict = Predict(
    1,
    "what a bias does to a blend",
    reference=_blended,
    rtol=0.0,
    atol=0.01,
    when_right="A critic pulls at the action with its share times its curvature; a constant pulls at nothing.",
    hints=[
        "Write the blend as one function of a. Which of its terms stay when you differentiate?",
        "0 = (1 − β) 12 (a − 0.3) + β 2 (a − 2.04): solve for a.",
    ],
    mistakes=[
        Mistake("actions blended",
                "You have blended the two best actions. The *critics* are blended, and a steep one has more to say "
                "than a flat one.", _between(1 - SHARE, SHARE)),
        Mistake("β and 1 − β", "β and 1 − β have changed places: β is the share of the MPC.",
                _between(SHARE * STEEP, (1 - SHARE) * MPC_STEEP)),
        Mistake("actions blended, β and 1 − β",
                "You have blended the two best actions, and with β at the learned one. Blend the critics: how steep "
                "is each?", _between(SHARE, 1 - SHARE)),
        Mistake("no shares", "Both critics count in full here: where are β and 1 − β?", _between(STEEP, MPC_STEEP)),
        Mistake("β at the MPC only", "The learned critic's share is 1 − β; you have let it count in full.",
                _between(STEEP, SHARE * MPC_STEEP)),
        Mistake("divided by the curvature",
                "You have let the flat critic pull harder than the steep one: it is the other way round.",
                _between((1 - SHARE) * MPC_STEEP, SHARE * STEEP)),
        Mistake("the middle", "This is the middle between the two actions: neither share nor steepness is in it.",
                _between(1, 1)),
        Mistake("not divided",
                "You have added up the pulls, but not divided by how steep the blend is.",
                (1 - SHARE) * STEEP * BEST + SHARE * MPC_STEEP * MPC_BEST),
        Mistake("the learned critic's action", "This is the best action of the learned critic alone: β is not 0.",
                BEST),
        Mistake("the MPC's action", "This is the best action of the MPC alone: β is not 1.", MPC_BEST),
        Mistake("where the critics agree",
                "Here the two critics give the same value. The least of their *blend* is asked for.", _crossing()),
        Mistake("the shift", "This is how far the bias has moved the action. The action itself is asked for.",
                _blended - BEST),
        Mistake("the value", "This is what the blend says the action costs. The action is asked for.",
                (1 - SHARE) * (STEEP * (_blended - BEST) ** 2 + LEVEL)
                + SHARE * (MPC_STEEP * (_blended - MPC_BEST) ** 2 + MPC_LEVEL)),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------- 2: Q with its first input fixed


def q_mpc(s, a, V0, A, B, Q, R, P, gamma, N):
    """Return Q^MPC(s, a), shape (M,), for M states s (M, n) and actions a (M, m).

    The model is x+ = A x + B u, the stage cost x'Q x + u'R u, the terminal cost x'P x, gamma the discount, N the
    horizon; V0 a constant.
    """
    return _judged()(s, a, V0, A, B, Q, R, P, gamma, N)


def _gain(p, P):
    return p.gamma * np.linalg.solve(p.R + p.gamma * p.B.T @ P @ p.B, p.B.T @ P @ p.A)


def _form(x, M):
    return (x @ M * x).sum(axis=1)


def _judged(
    steps: Callable = lambda N: N - 1,
    gain: Callable = _gain,
    back: Callable = lambda p, P, K: p.Q + p.gamma * p.A.T @ P @ (p.A - p.B @ K),
    ahead: Callable = lambda p, s, a: s @ p.A.T + a @ p.B.T,
    total: Callable = lambda p, stage_s, stage_a, end: p.V0 + stage_s + stage_a + p.gamma * end,
    action: Callable = lambda p, s, a, P: a,
) -> Callable:
    """Make Q^MPC from its parts; each may be replaced by a faulty one."""

    def judged(s, a, V0, A, B, Q, R, P, gamma, N):
        p = SimpleNamespace(V0=V0, A=A, B=B, Q=Q, R=R, P=P, gamma=gamma, N=N)
        for _ in range(steps(N)):
            P = back(p, P, gain(p, P))
        u = action(p, s, a, P)
        x = ahead(p, s, u)
        return total(p, _form(s, Q), _form(u, R), _form(x, P))

    return judged


def _held(s, a, V0, A, B, Q, R, P, gamma, N):
    x, J = s, V0 + 0.0 * s[:, 0]
    for k in range(N):
        J, x = J + gamma**k * (_form(x, Q) + _form(a, R)), x @ A.T + a @ B.T
    return J + gamma**N * _form(x, P)


def _with_one_gain(s, a, V0, A, B, Q, R, P, gamma, N):
    p, after = SimpleNamespace(A=A, B=B, R=R, gamma=gamma), P
    for _ in range(N):
        K = _gain(p, after)
        after = Q + gamma * A.T @ after @ (A - B @ K)
    x, u, J = s, a, V0
    for k in range(N):
        J = J + gamma**k * (_form(x, Q) + _form(u, R))
        x = x @ A.T + u @ B.T
        u = -x @ K.T
    return J + gamma**N * _form(x, P)


def _gain_once(s, a, V0, A, B, Q, R, P, gamma, N):
    K = _gain(SimpleNamespace(A=A, B=B, R=R, gamma=gamma), P)
    return _judged(gain=lambda p, P: K)(s, a, V0, A, B, Q, R, P, gamma, N)


def _by_least_squares(s, a, V0, A, B, Q, R, P, gamma, N):
    """Stack all later inputs: a quadratic problem without constraints."""
    n, m = B.shape
    found = []
    for one, first in zip(s, a):
        x0, free, c = one @ A.T + first @ B.T, (N - 1) * m, 0.0
        H, g = np.zeros((free, free)), np.zeros(free)
        X, U = x0, np.zeros((n, free))  # x_k = X + U u
        for k in range(1, N + 1):
            weight, W = gamma**k, P if k == N else Q
            H, g, c = H + weight * U.T @ W @ U, g + weight * U.T @ W @ X, c + weight * X @ W @ X
            if k < N:
                now = slice((k - 1) * m, k * m)
                H[now, now] += weight * R
                X, U = A @ X, A @ U
                U[:, now] += B
        u = np.linalg.solve(H, -g) if free else np.zeros(0)
        found.append(V0 + one @ Q @ one + first @ R @ first + u @ H @ u + 2 * g @ u + c)
    return np.array(found)


def _by_simulation(s, a, V0, A, B, Q, R, P, gamma, N):
    """Find the gains of stages N - 1 … 1, then drive the model with them."""
    gains: list[np.ndarray] = []
    after = P
    for _ in range(N - 1):
        K = np.linalg.inv(R / gamma + B.T @ after @ B) @ B.T @ after @ A
        gains.insert(0, K)
        after = Q + K.T @ R @ K + gamma * (A - B @ K).T @ after @ (A - B @ K)
    J, x, u = [V0] * len(s), s, a
    for k, K in enumerate([*gains, None]):
        J = J + gamma**k * (np.einsum("ni,ij,nj->n", x, Q, x) + np.einsum("ni,ij,nj->n", u, R, u))
        x = x @ A.T + u @ B.T
        u = None if K is None else -x @ K.T
    return J + gamma**N * np.einsum("ni,ij,nj->n", x, P, x)


def _some_problems(rng: np.random.Generator) -> list[dict]:
    def positive(n, low, sign=-1):
        beside = np.triu(rng.uniform(0.05, 0.19, (n, n)), 1)
        return np.round(np.diag(rng.uniform(low, 2 * low, n)) + sign * (beside + beside.T), 2)

    probes = []
    for n, m, M, N in ((2, 1, 3, 3), (3, 2, 2, 4), (2, 1, 4, 1), (3, 2, 3, 2)):
        P = positive(n, 1.5)
        A = np.round(rng.uniform(-0.5, 0.5, (n, n)) + np.diag(rng.uniform(0.6, 1.1, n)), 2)
        B = np.round(rng.uniform(0.4, 1.2, (n, m)) * rng.choice([-1, 1], (n, m)), 2)
        probes.append(
            dict(s=np.round(rng.uniform(0.3, 1.5, (M, n)) * rng.choice([-1, 1], (M, n)), 2),
                 a=np.round(rng.uniform(0.3, 1.5, (M, m)) * rng.choice([-1, 1], (M, m)), 2),
                 V0=float(np.round(rng.uniform(0.6, 1.4), 2)), A=A, B=B, Q=positive(n, 0.5), R=positive(m, 0.4, 1), P=P,
                 gamma=float(np.round(rng.uniform(0.7, 0.85), 2)), N=N)
        )  # fmt: skip
    return probes


score = Fill(
    2,
    "Q with its first input fixed",
    reference=q_mpc,
    probes=_some_problems,
    compare=close(rtol=1e-6, atol=1e-9),
    when_right="The action is given, so it is not optimised: all else is, and that is what makes it a Q.",
    hints=[
        "With u_0 = a given, what is left to choose are u_1 … u_{N−1}. What is their least cost from x_1, as a "
        "function of x_1?",
        "x'P x is the least cost with no stage left. A Riccati step makes that with one stage more out of it. How many "
        "stages lie between x_1 and x_N?",
        "One step: K = γ (R + γ BᵀPB)⁻¹ BᵀPA, P ← Q + γ AᵀP(A − BK). At the end: V0 + L(s, a) + γ x_1'P x_1.",
    ],
    mistakes=[
        Mistake("one stage too many",
                "The horizon is one stage too long: from x_1 there are N − 1 stages to the end, and the first one is "
                "that of (s, a).", _judged(steps=lambda N: N)),
        Mistake("one stage too few", "The horizon is one stage too short: from x_1 to x_N there are N − 1 stages.",
                _judged(steps=lambda N: max(N - 2, 0))),
        Mistake("no stage left to plan",
                "After a you go straight to the terminal cost: the stages u_1 … u_{N−1} are missing.",
                _judged(steps=lambda N: 0)),
        Mistake("action ignored",
                "This is V(s): the first input is the MPC's own choice, and a does not enter. In Q it is given.",
                _judged(action=lambda p, s, a, P: -s @ _gain(p, P).T)),
        Mistake("action's cost of the MPC's own",
                "The plan starts with a, but what you pay for is the MPC's own first input: L(s, a), with a.",
                lambda s, a, V0, A, B, Q, R, P, gamma, N: _with_own_cost(s, a, V0, A, B, Q, R, P, gamma, N)),
        Mistake("a held", "You have applied a at every stage. Only u_0 is given; the others are chosen.", _held),
        Mistake("later inputs 0",
                "After a no input is applied. u_1 … u_{N−1} are chosen for the least cost, and 0 is no optimum.",
                _judged(gain=lambda p, P: 0.0 * p.B.T)),
        Mistake("V0 forgotten", "V0 is missing.",
                _judged(total=lambda p, stage_s, stage_a, end: stage_s + stage_a + p.gamma * end)),
        Mistake("V0 discounted",
                "V0 is multiplied by γ: it stands in front of the sum, once and undiscounted.",
                _judged(total=lambda p, stage_s, stage_a, end: stage_s + stage_a + p.gamma * (end + p.V0))),
        Mistake("V0 twice", "V0 counts once, not with every stage.",
                _judged(total=lambda p, stage_s, stage_a, end: p.N * p.V0 + stage_s + stage_a + p.gamma * end)
                ),
        Mistake("first stage's state missing", "s'Q s is missing in the first stage cost.",
                _judged(total=lambda p, stage_s, stage_a, end: p.V0 + stage_a + p.gamma * end)),
        Mistake("first stage's input missing", "a'R a is missing: the action itself costs, too.",
                _judged(total=lambda p, stage_s, stage_a, end: p.V0 + stage_s + p.gamma * end)),
        Mistake("first stage missing",
                "L(s, a) is missing: what you return are the costs from x_1 on.",
                _judged(total=lambda p, stage_s, stage_a, end: p.V0 + p.gamma * end)),
        Mistake("no γ before the rest",
                "What follows x_1 is paid a step later: γ is missing before it.",
                _judged(total=lambda p, stage_s, stage_a, end: p.V0 + stage_s + stage_a + end)),
        Mistake("γ to the N before the rest",
                "You have multiplied the rest by γ^N. The Riccati steps hold one γ each already; one more is left, for "
                "x_1.", _judged(total=lambda p, stage_s, stage_a, end: p.V0 + stage_s + stage_a + p.gamma**p.N * end)),
        Mistake("all discounted", "The first stage is paid now: γ stands before what follows only.",
                _judged(total=lambda p, stage_s, stage_a, end: p.V0 + p.gamma * (stage_s + stage_a + end))),
        Mistake("no γ in the Riccati steps", "The Riccati steps have no γ: each stage looks one step ahead.",
                lambda s, a, V0, A, B, Q, R, P, gamma, N: _judged(
                    gain=lambda p, P: _gain(SimpleNamespace(**{**vars(p), "gamma": 1.0}), P),
                    back=lambda p, P, K: p.Q + p.A.T @ P @ (p.A - p.B @ K))(s, a, V0, A, B, Q, R, P, gamma, N)),
        Mistake("no discount at all", "γ is nowhere: neither in the Riccati steps nor before what follows x_1.",
                lambda s, a, V0, A, B, Q, R, P, gamma, N: _judged()(s, a, V0, A, B, Q, R, P, 1.0, N)),
        Mistake("no γ in the gain", "γ is missing in the gain K.",
                _judged(gain=lambda p, P: _gain(SimpleNamespace(**{**vars(p), "gamma": 1.0}), P))),
        Mistake("γ missing inside the gain's inverse",
                "In K the γ before BᵀPB is missing: R and BᵀPB are costs of two different times.",
                _judged(gain=lambda p, P: p.gamma * np.linalg.solve(p.R + p.B.T @ P @ p.B, p.B.T @ P @ p.A))),
        Mistake("γ missing before the gain",
                "In K the γ before BᵀPA is missing; it has one inside the inverse and one outside.",
                _judged(gain=lambda p, P: _gain(p, P) / p.gamma)),
        Mistake("no γ in P", "γ is missing where P is updated: AᵀP(A − BK) is the cost of the next state.",
                _judged(back=lambda p, P, K: p.Q + p.A.T @ P @ (p.A - p.B @ K))),
        Mistake("R missing in the gain", "R is missing in the gain: without it inputs cost nothing.",
                _judged(gain=lambda p, P: np.linalg.lstsq(p.B.T @ P @ p.B, p.B.T @ P @ p.A, rcond=None)[0])),
        Mistake("sign of the gain", "The loop is A + BK here; with this K the input is u = −K x.",
                _judged(back=lambda p, P, K: p.Q + p.gamma * p.A.T @ P @ (p.A + p.B @ K))),
        Mistake("inputs of later stages not paid",
                "P lacks K'R K: with (A − BK)ᵀP(A − BK) the inputs of the later stages cost nothing. (AᵀP(A − BK) has "
                "them in it.)",
                _judged(back=lambda p, P, K: p.Q + p.gamma * (p.A - p.B @ K).T @ P @ (p.A - p.B @ K))),
        Mistake("Q missing in P", "Q is missing where P is updated: each later stage has its own cost of the state.",
                _judged(back=lambda p, P, K: p.gamma * p.A.T @ P @ (p.A - p.B @ K))),
        Mistake("A not transposed", "The states are rows here: x_1 = s Aᵀ + a Bᵀ. Yours is s A.",
                _judged(ahead=lambda p, s, a: s @ p.A + a @ p.B.T)),
        Mistake("no input in the model", "x_1 = A s: where does a enter the next state?",
                _judged(ahead=lambda p, s, a: s @ p.A.T)),
        Mistake("first stage halved", "L(s, a) is halved: here L(x, u) = x'Qx + u'Ru, without a ½.",
                _judged(total=lambda p, stage_s, stage_a, end: p.V0 + 0.5 * (stage_s + stage_a) + p.gamma * end)),
        Mistake("one gain for all stages",
                "You drive all stages with the first gain. Each has its own; or rather: P holds what they cost.",
                _with_one_gain),
        Mistake("gain not renewed",
                "K has been computed once. In each Riccati step it belongs to the P of that step.", _gain_once),
        Mistake("halves", "All is halved but V0: here L(x, u) = x'Qx + u'Ru, without a ½.",
                _judged(total=lambda p, stage_s, stage_a, end: p.V0 + 0.5 * (stage_s + stage_a + p.gamma * end))),
        Mistake("value at the present state", "The rest is x_1'P x_1; you have put s in the place of x_1.",
                _judged(ahead=lambda p, s, a: s)),
    ],
    variants=[_by_least_squares, _by_simulation],
)  # fmt: skip


def _with_own_cost(s, a, V0, A, B, Q, R, P, gamma, N):
    p, after = SimpleNamespace(A=A, B=B, R=R, gamma=gamma), P
    for _ in range(N - 1):
        after = Q + gamma * A.T @ after @ (A - B @ _gain(p, after))
    own = -s @ _gain(p, after).T
    return q_mpc(s, a, V0, A, B, Q, R, P, gamma, N) - _form(a, R) + _form(own, R)


# ------------------------------------------------------------------------- 3: a blended critic and its schedule


def improve(j, s, omega_w, omega_mpc, beta0, decay, m):
    """Return beta_j, the number M_j of transitions, and the best actions (n,) of the blend in the states s (n, 2).

    `omega_w` and `omega_mpc` (10,) are the weights of the two critics; beta0, `decay` and m make the schedule of
    iteration j.
    """
    return _improved()(j, s, omega_w, omega_mpc, beta0, decay, m)


def _best(s, omega, factor=2.0, linear=True):
    return -(omega[2] * s[:, 0] + omega[4] * s[:, 1] + linear * omega[8]) / (factor * omega[5])


def _blend(omega_w, omega_mpc, beta):
    return (1.0 - beta) * omega_w + beta * omega_mpc


def _improved(
    share: Callable = lambda j, beta0, decay: beta0 * decay**j,
    blend: Callable = _blend,
    fall_back: Callable = lambda omega, omega_w, omega_mpc: omega_mpc if omega[5] <= 0 else omega,
    act: Callable = _best,
    size: Callable = lambda m, beta, beta0: 20 * max(1, round(m / beta)),
) -> Callable:
    """Make the step from its parts; each may be replaced by a faulty one."""

    def improved(j, s, omega_w, omega_mpc, beta0, decay, m):
        beta = share(j, beta0, decay)
        with np.errstate(all="ignore"):
            omega = fall_back(blend(omega_w, omega_mpc, beta), omega_w, omega_mpc)
            return beta, size(m, beta, beta0), act(s, omega)

    return improved


def _actions_blended(j, s, omega_w, omega_mpc, beta0, decay, m):
    beta, M, a = improve(j, s, omega_w, omega_mpc, beta0, decay, m)
    convex = _blend(omega_w, omega_mpc, beta)[5] > 0
    return beta, M, (1 - beta) * _best(s, omega_w) + beta * _best(s, omega_mpc) if convex else a


def _improved_by_matrices(j, s, omega_w, omega_mpc, beta0, decay, m):
    beta = beta0 * np.prod(np.full(j, decay))
    mixed = omega_w + beta * (omega_mpc - omega_w)
    M, q, _ = quadratic.quadratic_of(mixed if mixed[5] > 0 else omega_mpc)
    return {"beta": beta, "M": max(20 * int(m / beta + 0.5), 20), "a": [-(M[2, :2] @ x + q[2]) / M[2, 2] for x in s]}


def _improved_by_minimising(j, s, omega_w, omega_mpc, beta0, decay, m):
    beta = beta0
    for _ in range(j):
        beta *= decay

    def critic(a):
        z = quadratic.features(s, a)
        return z @ omega_w * (1 - beta) + z @ omega_mpc * beta

    at = [critic(np.full((len(s), 1), a)) for a in (-1.0, 0.0, 1.0)]
    bend = at[0] + at[2] - 2 * at[1]
    if bend[0] < 1e-9:  # a straight line is one, but for rounding
        z = [quadratic.features(s, np.full((len(s), 1), a)) @ omega_mpc for a in (-1.0, 0.0, 1.0)]
        at, bend = z, z[0] + z[2] - 2 * z[1]
    return beta, 20 * int(max(1.0, np.rint(m / beta))), (at[0] - at[2]) / (2 * bend)


def _some_iterations(rng: np.random.Generator) -> list[dict]:
    probes = []
    for kind, j, n in (("", 3, 2), ("", 0, 3), ("mends", 2, 4), ("bent", 4, 2), ("flat", 1, 3), ("few", 1, 2)):
        omega_w, omega_mpc = (np.round(rng.uniform(0.3, 1.6, 10) * rng.choice([-1, 1], 10), 2) for _ in range(2))
        omega_w[5], omega_mpc[5] = np.round(rng.uniform(0.3, 0.8), 2), np.round(rng.uniform(0.9, 1.8), 2)
        beta0, decay = np.round(rng.uniform(0.75, 0.95), 2), np.round(rng.uniform(0.6, 0.7), 2)
        m = np.round(rng.uniform(2.1, 2.9), 2)
        if kind == "mends":  # Q_w has no least action, the blend has one
            omega_w[5] *= -0.25
        if kind == "bent":  # nor has the blend
            omega_w[5] = -3.0 * omega_mpc[5]
        if kind == "flat":  # nor has a straight line
            beta0, decay, omega_w[5] = 0.75, 2.0 / 3.0, -omega_mpc[5]
        if kind == "few":
            m = np.round(rng.uniform(0.1, 0.2), 2)
        s = np.round(rng.uniform(0.2, 1.2, (n, 2)) * rng.choice([-1, 1], (n, 2)), 2)
        probes.append(dict(j=j, s=s, omega_w=omega_w, omega_mpc=omega_mpc, beta0=float(beta0), decay=float(decay),
                           m=float(m)))  # fmt: skip
    return probes


schedule = Fill(
    3,
    "a blended critic and its schedule",
    reference=improve,
    probes=_some_iterations,
    compare=close(rtol=1e-6, atol=1e-9, names=("beta", "M", "a")),
    when_right="Ten numbers a critic: blending them is blending the functions, and the best action is one division.",
    hints=[
        "First β_j and M_j, one line each: `decay**j`, and `round`, which Python has. Then ω of the blend, one line.",
        "Collect what depends on a: ω[5] a² + (ω[2] s1 + ω[4] s2 + ω[8]) a. Where is its minimum?",
        "If ω[5] of the *blend* is not positive, take `omega_mpc` in its place before you minimise.",
    ],
    mistakes=[
        Mistake("β and 1 − β", "β and 1 − β have changed places: β is the share of the MPC.",
                _improved(blend=lambda w, mpc, beta: beta * w + (1 - beta) * mpc)),
        Mistake("MPC added in full", "The learned critic's share is 1 − β, but the MPC's is 1: where is β?",
                _improved(blend=lambda w, mpc, beta: (1 - beta) * w + mpc)),
        Mistake("learned critic in full", "The MPC's share is β, but the learned critic counts in full: 1 − β.",
                _improved(blend=lambda w, mpc, beta: w + beta * mpc)),
        Mistake("β0 in the blend", "The blend has β_0; iteration j has its own β_j, which you return.",
                lambda j, s, omega_w, omega_mpc, beta0, decay, m: (
                    *improve(j, s, omega_w, omega_mpc, beta0, decay, m)[:2],
                    improve(0, s, omega_w, omega_mpc, beta0, decay, m)[2])),
        Mistake("no learned critic", "These are the MPC's best actions: the learned critic is not in them.",
                _improved(blend=lambda w, mpc, beta: mpc)),
        Mistake("no MPC",
                "These are the learned critic's best actions: Q^MPC has no share (but where there is no least action).",
                _improved(blend=lambda w, mpc, beta: w)),
        Mistake("actions blended",
                "You have blended the two best actions. The critics are blended: the steeper one counts for more.",
                _actions_blended),
        Mistake("β does not fall", "β is β_0 in every iteration: where does `decay` enter?",
                _improved(share=lambda j, beta0, decay: beta0)),
        Mistake("one iteration too late", "β_j has one factor `decay` too many: iteration 0 has β_0.",
                _improved(share=lambda j, beta0, decay: beta0 * decay ** (j + 1))),
        Mistake("decay once", "β_0 times `decay` is that of iteration 1; of iteration j it is β_0 decay^j.",
                _improved(share=lambda j, beta0, decay: beta0 * decay)),
        Mistake("falls by the factor 1 − decay", "`decay` is what is left of β from iteration to iteration, not what "
                "is taken away.", _improved(share=lambda j, beta0, decay: beta0 * (1 - decay) ** j)),
        Mistake("everything to the power j", "β_0 has the power j as well: only `decay` has it.",
                _improved(share=lambda j, beta0, decay: (beta0 * decay) ** j)),
        Mistake("β0 forgotten", "β starts at 1 here: β_0 is missing.",
                _improved(share=lambda j, beta0, decay: decay**j)),
        Mistake("falls as 1/(1 + decay j)", "The share falls geometrically, β_0 decay^j; yours falls as 1/j.",
                _improved(share=lambda j, beta0, decay: beta0 / (1 + decay * j))),
        Mistake("falls exponentially", "β_j = β_0 decay^j: `decay` is the factor itself, not a rate in exp(−…).",
                _improved(share=lambda j, beta0, decay: beta0 * np.exp(-decay * j))),
        Mistake("the 2 forgotten", "Your actions are twice as large: the derivative of ω[5] a² is 2 ω[5] a.",
                _improved(act=lambda s, omega: _best(s, omega, 1.0))),
        Mistake("the 2 twice",
                "Your actions are half as large. The weight of s1 a is ω[2], which holds the two equal entries of a "
                "symmetric matrix already.", _improved(act=lambda s, omega: _best(s, omega, 4.0))),
        Mistake("sign of the action", "Your actions have the wrong sign.",
                _improved(act=lambda s, omega: -_best(s, omega))),
        Mistake("linear term forgotten", "The weight of a alone is missing, ω[8]: what if s = 0?",
                _improved(act=lambda s, omega: _best(s, omega, linear=False))),
        Mistake("linear term of the constant", "ω[9] is the weight of the constant. That of a is ω[8].",
                _improved(act=lambda s, omega: -(s @ omega[[2, 4]] + omega[9]) / (2 * omega[5]))),
        Mistake("linear term of a state", "ω[7] is the weight of s2. That of a is ω[8].",
                _improved(act=lambda s, omega: -(s @ omega[[2, 4]] + omega[7]) / (2 * omega[5]))),
        Mistake("divided by another weight",
                "You have divided by ω[3], the weight of s2². The weight of a² is ω[5].",
                _improved(act=lambda s, omega: -(s @ omega[[2, 4]] + omega[8]) / (2 * omega[3]))),
        Mistake("weights of other products",
                "ω[1] is the weight of s1 s2. Those of s1 a and s2 a are ω[2] and ω[4].",
                _improved(act=lambda s, omega: -(s @ omega[[1, 4]] + omega[8]) / (2 * omega[5]))),
        Mistake("s1 and s2 swapped", "ω[2] belongs to s1 a and ω[4] to s2 a: yours are swapped.",
                _improved(act=lambda s, omega: -(s @ omega[[4, 2]] + omega[8]) / (2 * omega[5]))),
        Mistake("no fall back",
                "Where ω[5] of the blend is not positive, −b/(2ω[5]) is the *dearest* action, or none: take the MPC's "
                "critic there.", _improved(fall_back=lambda omega, w, mpc: omega)),
        Mistake("falls back on the learned critic",
                "You look at ω[5] of the learned critic. What is minimised is the blend: it may have a least action "
                "where Q_w has none.", _improved(fall_back=lambda omega, w, mpc: mpc if w[5] <= 0 else omega)),
        Mistake("falls back to the learned critic",
                "Where the blend has no least action you take the learned critic's: that one has none, either.",
                _improved(fall_back=lambda omega, w, mpc: w if omega[5] <= 0 else omega)),
        Mistake("does not fall back from a straight line",
                "In one call ω[5] of the blend is 0: a straight line has no least action, either.",
                _improved(fall_back=lambda omega, w, mpc: mpc if omega[5] < 0 else omega)),
        Mistake("falls back where it need not",
                "You take the MPC's critic although the blend has a least action, and the blend where it has none.",
                _improved(fall_back=lambda omega, w, mpc: omega if omega[5] <= 0 else mpc)),
        Mistake("action 0 for none", "Where the blend has no least action you return 0. The MPC's critic has one.",
                _improved(fall_back=lambda omega, w, mpc: np.eye(10)[5] if omega[5] <= 0 else omega)),
        Mistake("data shrink with β", "M is proportional to β: the less the MPC has to say, the *more* data it takes.",
                _improved(size=lambda m, beta, beta0: 20 * max(1, round(m * beta)))),
        Mistake("data do not grow", "M is that of β_0 in every iteration. It grows as β_j falls.",
                _improved(size=lambda m, beta, beta0: 20 * max(1, round(m / beta0)))),
        Mistake("one episode each", "M is one episode in every iteration: of 1 and round(m/β_j) the *larger* is meant.",
                _improved(size=lambda m, beta, beta0: 20)),
        Mistake("no whole episode", "m/β_j has been rounded to 0 in one call: one episode is the least.",
                _improved(size=lambda m, beta, beta0: 20 * round(m / beta))),
        Mistake("rounded down", "M is rounded down; m/β_j is rounded to the nearest whole number.",
                _improved(size=lambda m, beta, beta0: 20 * max(1, int(m / beta)))),
        Mistake("rounded up", "M is rounded up; m/β_j is rounded to the nearest whole number.",
                _improved(size=lambda m, beta, beta0: 20 * max(1, int(np.ceil(m / beta))))),
        Mistake("rounded too late",
                "M is no whole number of episodes: round m/β_j first, then multiply by 20.",
                _improved(size=lambda m, beta, beta0: max(20, round(20 * m / beta)))),
        Mistake("not rounded", "M is no whole number of episodes: m/β_j must be rounded.",
                _improved(size=lambda m, beta, beta0: 20 * max(1, m / beta))),
        Mistake("episodes for transitions", "This is the number of episodes; an episode has 20 transitions.",
                _improved(size=lambda m, beta, beta0: max(1, round(m / beta)))),
        Mistake("one transition at least", "The least is one *episode*, 20 transitions: the 20 multiplies the maximum.",
                _improved(size=lambda m, beta, beta0: max(1, 20 * round(m / beta)))),
    ],
    variants=[_improved_by_matrices, _improved_by_minimising],
)  # fmt: skip

# --------------------------------------------------------------------------- 4: the weights of the local critic


def local_critic(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    """Return the TD errors delta (M,) of the MPC, and the weights w (n,) of its local critic.

    `cost`, q = Q(s, a) and `v_next` = V(s+) have shape (M,), the gradients psi and `psi_next` (M, n); `ended` (M,)
    says where s+ is terminal; gamma is the discount, `ridge` is added to the diagonal.
    """
    return _fitted()(cost, q, v_next, psi, psi_next, ended, gamma, ridge)


def _td(b):
    return b.cost + b.gamma * b.go_on * b.v_next - b.q


def _lstd_matrix(b):
    return b.psi.T @ (b.psi - b.gamma * b.after) / b.M + b.ridge * b.I


def _rhs(b, td):
    return b.psi.T @ td / b.M


def _fitted(td: Callable = _td, matrix: Callable = _lstd_matrix, rhs: Callable = _rhs) -> Callable:
    """Make the fit from its parts, functions of the batch b; each may be replaced by a faulty one."""

    def fitted(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
        go_on = 1.0 - ended
        b = SimpleNamespace(
            cost=cost, q=q, v_next=v_next, psi=psi, psi_next=psi_next, go_on=go_on, after=go_on[:, None] * psi_next,
            gamma=gamma, ridge=ridge, M=len(q), n=psi.shape[1], I=np.eye(psi.shape[1]),
        )  # fmt: skip
        delta = td(b)
        return delta, np.linalg.solve(matrix(b), rhs(b, delta))

    return fitted


def _fitted_by_samples(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    n, td = len(psi[0]), []
    left, right = len(q) * ridge * np.identity(n), np.zeros(n)
    for i, over in enumerate(ended):
        after = np.zeros(n) if over else gamma * psi_next[i]
        td.append(cost[i] - q[i] if over else cost[i] + gamma * v_next[i] - q[i])
        left += np.outer(psi[i], psi[i] - after)
        right += psi[i] * td[-1]
    return td, np.linalg.lstsq(left, right, rcond=None)[0]


def _fitted_by_inverse(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    discount = np.where(ended, 0.0, gamma)
    change = psi - discount[:, None] * psi_next
    td = cost - q + discount * v_next
    left = np.mean(psi[:, :, None] * change[:, None, :], axis=0)
    return {"delta": td, "w": np.linalg.inv(left + np.diag(np.full(len(left), ridge))) @ np.mean(psi.T * td, axis=1)}


def _td_of_the_critic(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    delta, w = local_critic(cost, q, v_next, psi, psi_next, ended, gamma, ridge)
    return delta - (psi - gamma * (1.0 - ended)[:, None] * psi_next) @ w, w


def _reshaped(cost, q, v_next, psi, psi_next, ended, gamma, ridge):
    go_on = 1.0 - ended
    td = cost + gamma * go_on * v_next - q
    columns = psi.reshape(psi.shape[::-1])
    matrix = columns @ (psi - gamma * go_on[:, None] * psi_next) / len(q) + ridge * np.eye(psi.shape[1])
    return td, np.linalg.solve(matrix, columns @ td / len(q))


def _some_batches(rng: np.random.Generator) -> list[dict]:
    probes = []
    for n, M in ((3, 4), (2, 3), (4, 7), (3, 5)):
        cost, q, v_next = (np.round(rng.uniform(0.3, 2.5, M), 2) for _ in range(3))
        psi, psi_next = (np.round(rng.uniform(0.2, 1.4, (M, n)) * rng.choice([-1, 1], (M, n)), 2) for _ in range(2))
        ended = np.zeros(M, dtype=bool)
        ended[rng.integers(1, M)] = n != 2  # in one batch no episode ends
        probes.append(dict(cost=cost, q=q, v_next=v_next, psi=psi, psi_next=psi_next, ended=ended,
                           gamma=float(np.round(rng.uniform(0.7, 0.85), 2)),
                           ridge=float(np.round(rng.uniform(0.3, 0.6), 2))))  # fmt: skip
    return probes


weights = Fill(
    4,
    "the weights of the local critic",
    reference=local_critic,
    probes=_some_batches,
    compare=close(rtol=1e-6, atol=1e-9, names=("delta", "w")),
    when_right="LSTD for what the MPC lacks: with w the TD errors are uncorrelated with ψ, but for the ridge.",
    hints=[
        "First δ: where an episode has ended, nothing follows. `1 - ended` is 0 there and 1 elsewhere.",
        "ψ⁺ is 0 there, too; it has a row for each transition, so the mask needs an axis more: `(1 - ended)[:, None]`.",
        "`psi.T @ (…) / M` is the mean of the outer products, `psi.T @ delta / M` that of ψ δ. Then `np.linalg.solve`.",
    ],
    mistakes=[
        Mistake("sign of δ", "δ has the wrong sign: it is the target minus Q.", _fitted(td=lambda b: -_td(b))),
        Mistake("no γ in δ", "γ is missing before V(s⁺) in δ.",
                _fitted(td=lambda b: b.cost + b.go_on * b.v_next - b.q)),
        Mistake("cost discounted in δ", "γ multiplies V(s⁺) only; L is paid now.",
                _fitted(td=lambda b: b.gamma * (b.cost + b.go_on * b.v_next) - b.q)),
        Mistake("Q discounted in δ", "γ multiplies V(s⁺), not Q(s, a).",
                _fitted(td=lambda b: b.cost + b.go_on * b.v_next - b.gamma * b.q)),
        Mistake("values swapped in δ", "Q(s, a) and V(s⁺) have changed places in δ.",
                _fitted(td=lambda b: b.cost + b.gamma * b.go_on * b.q - b.v_next)),
        Mistake("end ignored",
                "`ended` does not count here: where s⁺ is terminal neither V(s⁺) nor ψ⁺ may enter.",
                _fitted(td=lambda b: b.cost + b.gamma * b.v_next - b.q,
                        matrix=lambda b: b.psi.T @ (b.psi - b.gamma * b.psi_next) / b.M + b.ridge * b.I)),
        Mistake("end ignored in δ", "ψ⁺ is 0 where an episode has ended, but δ still counts V(s⁺) there.",
                _fitted(td=lambda b: b.cost + b.gamma * b.v_next - b.q)),
        Mistake("end ignored in ψ⁺", "δ is right, but ψ⁺ still counts where an episode has ended.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi - b.gamma * b.psi_next) / b.M + b.ridge * b.I)),
        Mistake("end turned round", "You let the future count where the episode has *ended*, and only there.",
                lambda cost, q, v_next, psi, psi_next, ended, gamma, ridge: local_critic(
                    cost, q, v_next, psi, psi_next, ~ended, gamma, ridge)),
        Mistake("ended transitions dropped from δ",
                "Where the episode has ended you set δ to 0. Something was learned there as well: δ = L − Q.",
                _fitted(td=lambda b: b.go_on * _td(b))),
        Mistake("ended transitions dropped from the fit",
                "δ is right, but w has been fitted without the transitions that end an episode. They count: there "
                "V(s⁺) and ψ⁺ are 0.",
                _fitted(matrix=lambda b: (b.psi * b.go_on[:, None]).T @ (b.psi - b.gamma * b.after) / b.go_on.sum()
                        + b.ridge * b.I, rhs=lambda b, td: b.psi.T @ (b.go_on * td) / b.go_on.sum())),
        Mistake("regression on δ",
                "ψ⁺ is missing: this is a regression of δ on ψ. It forgets that V(s⁺) changes with w, too.",
                _fitted(matrix=lambda b: b.psi.T @ b.psi / b.M + b.ridge * b.I)),
        Mistake("no γ in the matrix", "γ is missing before ψ⁺ in the matrix.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi - b.after) / b.M + b.ridge * b.I)),
        Mistake("no γ", "γ is missing, both in δ and before ψ⁺.",
                lambda cost, q, v_next, psi, psi_next, ended, gamma, ridge: local_critic(
                    cost, q, v_next, psi, psi_next, ended, 1.0, ridge)),
        Mistake("sign of ψ⁺", "γψ⁺ is added to ψ; it is subtracted.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi + b.gamma * b.after) / b.M + b.ridge * b.I)),
        Mistake("squares of the TD errors",
                "You minimise the square of the TD error: ψ − γψ⁺ stands on both sides. In LSTD ψ alone is in front.",
                _fitted(matrix=lambda b: (c := b.psi - b.gamma * b.after).T @ c / b.M + b.ridge * b.I,
                        rhs=lambda b, td: (b.psi - b.gamma * b.after).T @ td / b.M)),
        Mistake("squares of the TD errors in the matrix",
                "In the matrix ψ − γψ⁺ stands on both sides; in front it is ψ alone.",
                _fitted(matrix=lambda b: (c := b.psi - b.gamma * b.after).T @ c / b.M + b.ridge * b.I)),
        Mistake("matrix transposed",
                "The matrix is transposed: ψ in front, (ψ − γψ⁺)ᵀ behind. It is not symmetric.",
                _fitted(matrix=lambda b: _lstd_matrix(b).T)),
        Mistake("ψ⁺ in front", "ψ⁺ stands in front; it is ψ, the gradient where the action was taken.",
                _fitted(matrix=lambda b: b.after.T @ (b.psi - b.gamma * b.after) / b.M + b.ridge * b.I,
                        rhs=lambda b, td: b.after.T @ td / b.M)),
        Mistake("sums for means",
                "Sums where there are means, or the ridge within the mean: either way it weighs M times less.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi - b.gamma * b.after) + b.ridge * b.I,
                        rhs=lambda b, td: b.psi.T @ td)),
        Mistake("sum in the matrix", "The matrix is a sum, but ψδ is a mean: both are means.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi - b.gamma * b.after) + b.ridge * b.I)),
        Mistake("sum on the right", "ψδ is a sum, but the matrix is a mean: both are means.",
                _fitted(rhs=lambda b, td: b.psi.T @ td)),
        Mistake("divided by the number of weights",
                "You have divided by n, the number of weights; the mean is over the M transitions.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi - b.gamma * b.after) / b.n + b.ridge * b.I,
                        rhs=lambda b, td: b.psi.T @ td / b.n)),
        Mistake("ridge times M", "ε has been multiplied by M: it is added to the mean as it is.",
                _fitted(matrix=lambda b: _lstd_matrix(b) + (b.M - 1) * b.ridge * b.I)),
        Mistake("δ of the local critic",
                "w is right, but δ is that of Q_w, with w in it. The TD errors of the MPC itself are asked for.",
                _td_of_the_critic),
        Mistake("no ridge", "ε is missing on the diagonal.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi - b.gamma * b.after) / b.M)),
        Mistake("ridge in every entry", "ε has been added to every entry; it belongs on the diagonal.",
                _fitted(matrix=lambda b: b.psi.T @ (b.psi - b.gamma * b.after) / b.M + b.ridge)),
        Mistake("ridge subtracted", "ε has been subtracted from the diagonal.",
                _fitted(matrix=lambda b: _lstd_matrix(b) - 2 * b.ridge * b.I)),
        Mistake("matrix not inverted", "The matrix multiplies the mean of ψδ; its inverse should.",
                _fitted(rhs=lambda b, td: (m := _lstd_matrix(b)) @ m @ _rhs(b, td))),
        Mistake("inverted entry by entry",
                "1 / matrix divides 1 by every entry. The inverse is another matrix: solve a linear system.",
                _fitted(matrix=lambda b: b.I, rhs=lambda b, td: (1.0 / _lstd_matrix(b)) @ _rhs(b, td))),
        Mistake("no matrix", "This is the mean of ψδ, a gradient step: the matrix is missing.",
                _fitted(matrix=lambda b: b.I)),
        Mistake("costs for δ",
                "δ is right, but w is fitted to the costs: that is LSTD of a whole Q. The local critic learns what "
                "Q_φ lacks, so δ stands on the right.", _fitted(rhs=lambda b, td: b.psi.T @ b.cost / b.M)),
        Mistake("sign of w", "w has the wrong sign: where δ > 0 the MPC expects too little.",
                _fitted(rhs=lambda b, td: -b.psi.T @ td / b.M)),
        Mistake("product of two means",
                "You have taken means before multiplying. Each transition has its own product of ψ with δ; the mean "
                "comes last.", _fitted(rhs=lambda b, td: b.psi.mean(axis=0) * td.mean())),
        Mistake("reshaped, not transposed",
                "ψ has been put into the shape (n, M), but not transposed: a reshape leaves the numbers in their "
                "order, so that transitions are torn apart.", _reshaped),
    ],
    variants=[_fitted_by_samples, _fitted_by_inverse],
)  # fmt: skip

# -------------------------------------------------------------------- 5: a learner that forgets at the wrong time


class Critic:
    """An MPC as critic: the lecture's, whose Q, V and their gradients have a closed form.

    Parameters
    ----------
    horizon : int
    P : array_like, shape (2, 2), optional
        Terminal weight; by default that of lecture 06's model.
    """

    def __init__(self, horizon: int = 10, P=None):
        self._mpc = QuadraticMPC(quadratic.terminal_weight(1.0) if P is None else P, horizon)

    def Q(self, phi, s, a) -> tuple[np.ndarray, np.ndarray]:
        """Return Q_phi (M,) of pairs s (M, 2), a (M, 1), and its gradient in phi (M, 9)."""
        z = quadratic.features(s, a)
        return z @ self._mpc.omega(phi), z @ self._mpc.derivatives(phi)[0].T

    def V(self, phi, s) -> tuple[np.ndarray, np.ndarray]:
        """Return V_phi (M,) of states s (M, 2), and its gradient in phi (M, 9)."""
        return self.Q(phi, s, self.policy(phi, s))

    def policy(self, phi, s) -> np.ndarray:
        """Return the actions pi(s) (M, 1) of the policy of phi in states s (M, 2)."""
        K, k = self._mpc.policy(phi)
        return -np.asarray(s) @ K.T - k

    def __repr__(self):
        return "mpc"


def seven_tenths() -> np.ndarray:
    """Return the phi (9,) of an MPC whose A is 0.7 times the plant's, and whose B is right."""
    return _of_the_lecture().parameters.pack(A=0.7 * quadratic.A, B=quadratic.B[:, 0])


def gains(phi) -> tuple[np.ndarray, np.ndarray]:
    """Return K (1, 2) and k (1,) of the policy -K s - k of phi (9,)."""
    return _of_the_lecture().policy(phi)


def ratio(phi) -> float:
    """Return J/J* of the policy of phi (9,): infinite if it does not stabilise the plant."""
    try:
        return quadratic.expected_cost(*gains(phi)) / quadratic.least_cost()
    except ValueError:  # phi has left all reason: the recursion overflows
        return np.inf


@cache
def _of_the_lecture() -> QuadraticMPC:
    return QuadraticMPC(quadratic.terminal_weight(1.0))


def learn(phi, batches, mpc, gamma, rate, alpha):
    """Return phi (9,) after a batch each, and the weights w (9,) of the last local critic.

    Each of the `batches` is (s, a, cost, s_next); ``mpc.Q(phi, s, a)`` and ``mpc.V(phi, s)`` give values and gradients;
    `gamma` is the discount, `rate` the step size of w, alpha that of phi.
    """
    return _learner()(phi, batches, mpc, gamma, rate, alpha)


def learn_as_given(phi, batches, mpc, gamma, rate, alpha):
    """Return what the faulty function of item 5 returns; phi, batches, mpc, gamma, rate and alpha as for `learn`."""
    return _learner(at=lambda start, last, phi: start, reset="transition")(phi, batches, mpc, gamma, rate, alpha)


def _now(start, last, phi):
    return phi


def _start(start, last, phi):
    return start


def _learner(
    at: Callable = _now,
    at_next: Callable | None = None,
    values_at: Callable = _now,
    reset: str = "batch",
    moves: str = "batch",
    gain: Callable = lambda phi, w, alpha: phi + alpha * w,
    error: Callable = lambda b, w: b.cost + b.gamma * (b.v + b.after @ w) - b.q - b.psi @ w,
    follow: Callable = lambda w, rate, delta, psi: w + rate * delta * psi / (1 + psi @ psi),
) -> Callable:
    """Make the learner: where gradients and values are taken, when w is forgotten, when phi moves; and its steps."""

    def learned(phi, batches, mpc, gamma, rate, alpha):
        start = last = phi
        w = np.zeros(len(phi))
        for s, a, cost, s_next in batches:
            q, v = mpc.Q(values_at(start, last, phi), s, a)[0], mpc.V(values_at(start, last, phi), s_next)[0]
            psi = mpc.Q(at(start, last, phi), s, a)[1]
            after = mpc.V((at_next or at)(start, last, phi), s_next)[1]
            w = np.zeros(len(phi)) if reset == "batch" else w
            last = phi
            for i in range(len(cost)):
                w = np.zeros(len(phi)) if reset == "transition" else w
                b = SimpleNamespace(cost=cost[i], q=q[i], v=v[i], psi=psi[i], after=after[i], gamma=gamma)
                w = follow(w, rate, error(b, w), psi[i])
                phi = gain(phi, w, alpha) if moves == "transition" else phi
            phi = gain(phi, w, alpha) if moves == "batch" else phi
        return (gain(phi, w, alpha) if moves == "end" else phi), w

    return learned


def _gradient_at_phi_plus_w(phi, batches, mpc, gamma, rate, alpha):
    for s, a, cost, s_next in batches:
        q, v, w = mpc.Q(phi, s, a)[0], mpc.V(phi, s_next)[0], np.zeros(len(phi))
        for i in range(len(cost)):
            psi, after = mpc.Q(phi + w, s[[i]], a[[i]])[1][0], mpc.V(phi + w, s_next[[i]])[1][0]
            delta = cost[i] + gamma * (v[i] + after @ w) - q[i] - psi @ w
            w = w + rate * delta * psi / (1 + psi @ psi)
        phi = phi + alpha * w
    return phi, w


def _values_at_phi_plus_w(phi, batches, mpc, gamma, rate, alpha):
    for s, a, cost, s_next in batches:
        w = np.zeros(len(phi))
        for i in range(len(cost)):
            (q, psi), (v, _) = mpc.Q(phi + w, s[[i]], a[[i]]), mpc.V(phi + w, s_next[[i]])
            w = w + rate * (cost[i] + gamma * v[0] - q[0]) * psi[0] / (1 + psi[0] @ psi[0])
        phi = phi + alpha * w
    return phi, w


def _one_by_one(phi, batches, mpc, gamma, rate, alpha):
    for batch in batches:
        w = 0.0 * phi
        for s, a, cost, s_next in zip(*batch):
            (q, psi), (v, after) = mpc.Q(phi, s[None], a[None]), mpc.V(phi, s_next[None])
            delta = cost + gamma * v - q + (gamma * after - psi) @ w
            w = w + rate / (1 + np.sum(psi**2)) * delta * psi[0]
        phi = alpha * w + phi
    return [phi, w]


def _by_recursion(phi, batches, mpc, gamma, rate, alpha):
    if not batches:
        return phi, None
    s, a, cost, s_next = batches[0]
    (q, psi), (v, after) = mpc.Q(phi, s, a), mpc.V(phi, s_next)
    td, change, w = cost + gamma * v - q, gamma * after - psi, np.zeros(9)
    for g, error, d in zip(psi, td, change):  # w <- (I + step g d') w + step g error
        step = rate / (1 + g @ g)
        w = (np.eye(9) + step * np.outer(g, d)) @ w + step * error * g
    phi, later = _by_recursion(phi + alpha * w, batches[1:], mpc, gamma, rate, alpha)
    return phi, w if later is None else later


def _some_learning(rng: np.random.Generator) -> list[dict]:
    probes = []
    for horizon, sizes in ((3, (3, 2)), (2, (2, 4, 3)), (4, (4, 3))):
        mpc = Critic(horizon, np.array([[1.6, 0.4], [0.4, 1.2]]) + np.diag(rng.uniform(-0.2, 0.3, 2)))
        parts = rng.uniform(-0.1, 0.1, 9)
        phi = QuadraticMPC().parameters.pack(V0=0.2, A=[[0.9, 0.3], [0.1, 0.8]], B=[0.2, 0.6], b=[0.1, -0.2]) + parts
        batches = []
        for M in sizes:
            s, s_next = (rng.uniform(0.3, 1.1, (M, 2)) * rng.choice([-1, 1], (M, 2)) for _ in range(2))
            a, cost = rng.uniform(0.3, 1.0, (M, 1)) * rng.choice([-1, 1], (M, 1)), rng.uniform(0.3, 2.0, M)
            batches.append(tuple(np.round(part, 2) for part in (s, a, cost, s_next)))
        probes.append(dict(phi=np.round(phi, 2), batches=batches, mpc=mpc, gamma=float(rng.uniform(0.75, 0.9)),
                           rate=float(rng.uniform(0.3, 0.6)), alpha=float(rng.uniform(0.4, 0.7))))  # fmt: skip
    return probes


debug = Debug(
    5,
    "a learner that forgets at the wrong time",
    reference=learn,
    given=learn_as_given,
    probes=_some_learning,
    compare=close(rtol=1e-6, atol=1e-9, names=("phi", "w")),
    when_right="One φ, one expansion, one w: all three change together, once a batch.",
    hints=[
        "Follow w through the inner loop: what is left of the first transition when the second one comes?",
        "Q_w is Q_φ + wᵀ∇Q_φ. In the second batch φ has moved: at which φ are values and gradients taken?",
        "w = 0 belongs before the loop over the transitions, and after φ has moved; `start` is not needed at all.",
    ],
    mistakes=[
        Mistake("only the gradient repaired",
                "ψ is taken at the present φ now. But w is still set to 0 before each transition: in the end it "
                "holds what the last one said.", _learner(reset="transition")),
        Mistake("only w repaired",
                "w now collects all transitions of a batch. But from the second batch on ψ still belongs to the φ with "
                "which learning began.", _learner(at=_start)),
        Mistake("w never forgotten",
                "w is carried from batch to batch. φ has taken its step, so that the old w counts twice: the new one "
                "belongs to the new φ and starts at 0.", _learner(reset="never")),
        Mistake("w never forgotten, gradient at the start",
                "w is carried from batch to batch, although φ has taken its step; and ψ still belongs to the φ with "
                "which learning began.", _learner(at=_start, reset="never")),
        Mistake("gradient at φ + w",
                "ψ is taken at φ + w, and so changes with every transition. The local critic is the expansion about φ: "
                "one point, as long as w is learned.", _gradient_at_phi_plus_w),
        Mistake("MPC asked at φ + w",
                "Values and gradients are those of the MPC at φ + w: this is Q-learning on φ. The local critic stays "
                "at φ and is linear in w.", _values_at_phi_plus_w),
        Mistake("last w forgotten", "φ is right, but you return w = 0: the last local critic's is asked for.",
                lambda *batch, **named: (learn(*batch, **named)[0], np.zeros(9))),
        Mistake("gradient at the last φ",
                "ψ is that of the batch before. Values and gradients belong to one φ, the present one.",
                _learner(at=lambda start, last, phi: last)),
        Mistake("all at the start",
                "Now the values are taken at the first φ as well. They agree with ψ, but not with the φ that moves.",
                _learner(at=_start, values_at=_start)),
        Mistake("all at the start, w reset",
                "The values are taken at the first φ as well, and w is still set to 0 before each transition.",
                _learner(at=_start, values_at=_start, reset="transition")),
        Mistake("ψ⁺ at the start", "ψ is that of the present φ, but ψ⁺ still that of the first one: ∇V, too.",
                _learner(at_next=_start)),
        Mistake("ψ at the start", "ψ⁺ is that of the present φ, but ψ still that of the first one: ∇Q, too.",
                _learner(at=_start, at_next=_now)),
        Mistake("φ moves with every transition",
                "φ moves with every transition, by all of w each time: it has to stand still while w is learned.",
                _learner(moves="transition")),
        Mistake("φ moves with every transition, w reset",
                "φ moves with every transition, while q and ψ are those of the φ before the batch. It moves once a "
                "batch, by a w that has collected it.", _learner(moves="transition", reset="transition")),
        Mistake("φ moves at the end", "φ moves once, after the last batch; it moves after each.",
                _learner(moves="end")),
        Mistake("φ moves at the end, w never forgotten",
                "All batches are learned at the first φ, and φ moves once, after the last. It moves after each, and "
                "then w starts anew.", _learner(moves="end", reset="never")),
        Mistake("full step", "φ moves by all of w: where is α?", _learner(gain=lambda phi, w, alpha: phi + w)),
        Mistake("φ descends", "φ moves against w. Q_φ + wᵀψ is Q of φ + w: it goes along w.",
                _learner(gain=lambda phi, w, alpha: phi - alpha * w)),
        Mistake("δ of the MPC",
                "δ is that of Q_φ alone. While w is learned the critic is Q_w, and its TD error counts.",
                _learner(error=lambda b, w: b.cost + b.gamma * b.v - b.q)),
        Mistake("δ without w in the target", "In δ the value of s⁺ is V_φ alone; w changes it, too: V + wᵀψ⁺.",
                _learner(error=lambda b, w: b.cost + b.gamma * b.v - b.q - b.psi @ w)),
        Mistake("w overwritten",
                "w holds the last transition only: each step is to be added to it.",
                _learner(follow=lambda w, rate, delta, psi: rate * delta * psi / (1 + psi @ psi))),
        Mistake("sign of w's step", "w goes the wrong way: where δ > 0 the critic has to rise.",
                _learner(follow=lambda w, rate, delta, psi: w - rate * delta * psi / (1 + psi @ psi))),
        Mistake("step not normalised", "The step of w has lost its 1 + |ψ|²; leave it as it was.",
                _learner(follow=lambda w, rate, delta, psi: w + rate * delta * psi)),
    ],
    variants=[_one_by_one, _by_recursion],
)  # fmt: skip

# -------------------------------------------------------------------- 6: a schedule that survives a hidden bias

BUDGET, EPISODE = 160, 20  # transitions in all, and of an episode
HIDDEN, RUNS, MOST = 2.3, 2000, 1.5  # the bias that nobody is told; runs for each; what a failed run counts
RIGHT_MODEL, WRONG_MODEL = "mean J/J*, right model", "mean J/J*, hidden bias"


def _as_schedule(schedule) -> list[tuple[float, int]]:
    """Read [(beta, M), …], and say what is wrong with it."""
    try:
        rows = np.asarray(schedule, dtype=float)
    except (TypeError, ValueError):
        rows = np.zeros(0)
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
        raise TypeError("give a list of pairs (β, M), one for each iteration")
    beta, M = rows.T
    if not ((beta >= 0) & (beta <= 1)).all():
        raise ValueError("every β must lie between 0 and 1")
    if not ((M >= EPISODE) & (M % EPISODE == 0)).all():
        raise ValueError(f"every M must be a multiple of {EPISODE}, the length of an episode, and {EPISODE} at least")
    if M.sum() > BUDGET:
        raise ValueError(f"together that is {M.sum():.0f} transitions, and {BUDGET} are allowed")
    return [(float(share), int(size)) for share, size in rows]


def trial(schedule, bias: float = 0.0, runs: int = RUNS, seed: int = 0) -> np.ndarray:
    """Return J/J* of many runs of policy iteration with a blended critic, all at once.

    Parameters
    ----------
    schedule : sequence of (beta, M)
        Of each iteration the share of the MPC, and the transitions.
    bias : float
        Of the MPC's model; 0 is the true one, 1 that of lecture 06.
    runs, seed : int

    Returns
    -------
    ndarray, shape (len(schedule) + 1, runs)
        Of the MPC's policy, and after each iteration; infinite from where a run has failed.
    """
    rng = np.random.default_rng(seed)
    mpc, phi = quadratic.biased(bias)
    omega_mpc, (K0, k0) = mpc.omega(phi), mpc.policy(phi)
    K, k, alive = np.tile(K0, (runs, 1)), np.tile(k0, runs), np.ones(runs, dtype=bool)
    ratio = [_costs(K, k)]
    for beta, M in _as_schedule(schedule):
        z, z_next, cost = _driven(K, k, M // EPISODE, rng)
        left = np.swapaxes(z, 1, 2) @ (z - DISCOUNT * z_next) / M + 1e-6 * np.eye(10)
        left[~alive] = np.eye(10)
        omega_w = np.linalg.solve(left, np.swapaxes(z, 1, 2) @ cost[..., None] / M)[..., 0]
        omega = (1.0 - beta) * omega_w + beta * omega_mpc
        alive &= omega[:, 5] > 1e-9
        curvature = np.where(alive, 2.0 * omega[:, 5], np.inf)  # a run that has failed rests
        K, k = omega[:, [2, 4]] / curvature[:, None], omega[:, 8] / curvature
        ratio.append(np.where(alive, _costs(K, k), np.inf))
        alive &= np.isfinite(ratio[-1])
        K, k = np.where(alive[:, None], K, 0.0), np.where(alive, k, 0.0)
    return np.array(ratio) / quadratic.least_cost()


def _driven(K, k, episodes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drive the plant as `quadratic.collect` does, with many policies; return z, z+ (n, M, 10) and costs (n, M)."""
    A, B, n = quadratic.A, quadratic.B, len(K)

    def policy(s):
        return -(s * K[:, None]).sum(axis=-1, keepdims=True) - k[:, None, None]

    s = np.empty((EPISODE + 1, n, episodes, 2))
    s[0] = SPREAD * rng.standard_normal((n, episodes, 2))
    a = 0.3 * rng.standard_normal((EPISODE, n, episodes, 1))
    w = DEVIATION * rng.standard_normal((EPISODE, n, episodes, 2))
    for i in range(EPISODE):
        a[i] += policy(s[i])
        s[i + 1] = s[i] @ A.T + a[i] @ B.T + w[i]
    after = np.stack([policy(x) for x in s[1:]])
    cost = 0.5 * (s[:-1] ** 2).sum(axis=-1) + 0.25 * a[..., 0] ** 2

    def by_run(x, *shape):
        return np.moveaxis(x, 1, 0).reshape(n, -1, *shape)

    z, z_next = (
        quadratic.features(by_run(x, 2).reshape(-1, 2), by_run(u, 1).reshape(-1, 1)).reshape(n, -1, 10)
        for x, u in ((s[:-1], a), (s[1:], after))
    )
    return z, z_next, by_run(cost)


def _costs(K, k) -> np.ndarray:
    """Return the expected costs (n,) of policies -K s - k, K (n, 2) and k (n,): `quadratic.expected_cost` of each."""
    A, B, n = quadratic.A, quadratic.B, len(K)
    closed, d = A - B * K[:, None, :], -B[:, 0] * k[:, None]
    lost = np.sqrt(DISCOUNT) * np.abs(np.linalg.eigvals(closed)).max(axis=1) >= 1.0
    closed[lost] = 0.0
    back = np.swapaxes(closed, 1, 2)
    stage = quadratic.Q_COST + quadratic.R_COST * K[:, :, None] * K[:, None, :]
    twice = np.einsum("nij,nkl->nikjl", back, back).reshape(n, 4, 4)
    P = np.linalg.solve(np.eye(4) - DISCOUNT * twice, stage.reshape(n, 4, 1)).reshape(n, 2, 2)  # a Lyapunov equation
    Pd = (P @ d[..., None])[..., 0]
    right = quadratic.R_COST * K * k[:, None] + DISCOUNT * (back @ Pd[..., None])[..., 0]
    p = np.linalg.solve(np.eye(2) - DISCOUNT * back, right[..., None])[..., 0]
    trace = np.trace(P, axis1=1, axis2=2)
    drift = DISCOUNT * ((d * (Pd + 2.0 * p)).sum(axis=1) + DEVIATION**2 * trace)
    return np.where(lost, np.inf, SPREAD**2 * trace + (quadratic.R_COST[0, 0] * k**2 + drift) / (1.0 - DISCOUNT))


def mean_ratio(schedule, bias: float, seed: int = 0, runs: int = RUNS) -> float:
    """Return the mean of min(J/J*, 1.5) at the end of many runs; schedule, bias, seed and runs as for `trial`."""
    return float(np.minimum(trial(schedule, bias, runs, seed)[-1], MOST).mean())


def _survival(answer, seed: int) -> dict[str, float]:
    schedule = _as_schedule(answer)
    return {RIGHT_MODEL: mean_ratio(schedule, 0.0, seed), WRONG_MODEL: mean_ratio(schedule, HIDDEN, seed)}


def _shape(test: Callable) -> Callable:
    """Make a predicate from `test(beta, M, right, hidden)`; the last two say what was measured."""

    def recognises(answer, measured):
        beta, M = np.array(_as_schedule(answer)).T
        return bool(test(beta, M, measured[RIGHT_MODEL], measured[WRONG_MODEL]))

    return recognises


MOST_RIGHT, MOST_HIDDEN = 1.06, 1.09

design = Design(
    6,
    "a schedule that survives a hidden bias",
    reference=[(0.35, 60), (0.08, 100)],
    measure=_survival,
    targets={RIGHT_MODEL: ("<=", MOST_RIGHT), WRONG_MODEL: ("<=", MOST_HIDDEN)},
    when_right="Trust first, data last: the share is large while data are few, and small where its bias would stay.",
    hints=[
        "The policy of the end minimises the *last* blend. What does its share of the MPC cost where the MPC is wrong, "
        "and what does the learned share cost where data are few?",
        "Try one share throughout, at bias 0 and at bias 2: small ones lose by variance, large ones by bias. Which of "
        "the iterations suffers from which?",
        "Two iterations are enough. The last has more data than the first, and about a tenth of the MPC.",
    ],
    mistakes=[
        Mistake("the MPC alone", "This is the MPC, whatever the data say: with a wrong model nothing gets better.",
                _shape(lambda beta, M, right, hidden: (beta > 0.9).all()), [(1.0, 40)] * 4),
        Mistake("one iteration",
                "One iteration judges the policy of the MPC and improves it once. With a bias as large as this, that "
                "is not enough.", _shape(lambda beta, M, right, hidden: len(M) == 1), [(0.1, 160)]),
        Mistake("budget not used",
                "Much of the budget is left: each transition makes the learned critic steadier.",
                _shape(lambda beta, M, right, hidden: M.sum() < 0.8 * BUDGET), [(0.4, 40), (0.1, 60)]),
        Mistake("never the MPC",
                "The MPC has no share: from so few data the learned critic alone errs too far, too often.",
                _shape(lambda beta, M, right, hidden: (beta < 0.02).all()), [(0.0, 80)] * 2),
        Mistake("share does not fall",
                "The share stays where it is. Small enough for the bias at the end, it is too small for the few data "
                "of the beginning: no constant does both.",
                _shape(lambda beta, M, right, hidden: np.ptp(beta) < 0.01), [(0.3, 40)] * 4),
        Mistake("share rises",
                "The share rises, so that the last blend is the one with the most bias, and the first the one with "
                "the most variance.", _shape(lambda beta, M, right, hidden: beta[-1] > beta[0]),
                [(0.1, 80), (0.4, 80)]),
        Mistake("share still large at the end",
                "The share falls, but too little: at the end the MPC's bias still has its say.",
                _shape(lambda beta, M, right, hidden: beta[-1] > 0.12 and hidden > MOST_HIDDEN),
                [(0.7**j, 40) for j in range(4)]),
        Mistake("too many iterations",
                "The budget is spread over many iterations: none has data enough for a share as small as it needs.",
                _shape(lambda beta, M, right, hidden: len(M) > 2 and right > MOST_RIGHT),
                [(0.5, 40), (0.3, 40), (0.1, 80)]),
        Mistake("data do not grow",
                "The share falls, and the data do not grow: the last critic is the one that is mostly learned, so it "
                "needs most of them.", _shape(lambda beta, M, right, hidden: M[-1] <= M[0]), [(0.4, 100), (0.1, 60)]),
        Mistake("astray at the beginning",
                "So few data and so small a share in the first iteration: in some runs its policy goes astray, and the "
                "next one starts from there.",
                _shape(lambda beta, M, right, hidden: M[0] <= 60 and right > MOST_RIGHT), [(0.2, 40), (0.05, 120)]),
        Mistake("bias at the beginning",
                "The right model is served well. With the hidden bias the first policy is still too bad, or the last "
                "share too large.", _shape(lambda beta, M, right, hidden: hidden > MOST_HIDDEN),
                [(0.7, 60), (0.1, 100)]),
    ],
    variants=[[(0.3, 60), (0.1, 100)], [(0.45, 60), (0.05, 100)], [(0.35, 60), (0.1, 100)]],
)  # fmt: skip

# ------------------------------------------------------------------------------------ 7: why phi + w may diverge

explain = Explain(
    7,
    "why φ + w may diverge",
    reference="c",
    choices={
        "a": "1000 transitions are too few: w is mostly noise, and with more data the full step is a good one.",
        "b": "w points the wrong way: what makes the critic better need not make the controller better.",
        "c": "Q_w is Q_{φ+w} to first order only, and w is long: the critic may be right and the model φ + w far off.",
        "d": "ψ should have been taken at φ + w, where the new MPC is: then its critic and its model would agree.",
        "e": "The ridge is too small: the matrix is nearly singular, and its inverse blows w up.",
    },
    reasons={
        1: "Q_w, with this w, is near the true Q of the policy; Q of φ + w is not even near Q_w.",
        2: "LSTD minimises the error of Q_{φ+w}, so a large w means that φ was far from the optimum.",
        3: "From the same batch φ + 0.1 w is much better than φ.",
        4: "With 200 times as many transitions w is nearly the same, and φ + w loses the plant again.",
        5: "The standard errors of w shrink as 1/√M.",
        6: "Gauss–Newton survives because it takes a shorter step in the same direction.",
    },
    carrying=(1, 3, 4),
    when_right="Right as a critic, bad as a model: so shorten the step, or filter it, and fit anew at each φ.",
    hints=[
        "Three functions are compared: Q_φ, Q_w and Q of φ + w. Which two are equal where w is small?",
        "Which reason rules out the noise, which the wrong direction, and which shows the gap itself?",
        "Two reasons are false, and one is true of every fit. The other three carry the claim together.",
    ],
    mistakes=[
        Mistake("no matter of noise",
                "With 200 000 transitions w is nearly the same, 3.2 long instead of 3.1, and φ + w still loses the "
                "plant. That is no variance.", "a"),
        Mistake("the way is right",
                "φ + 0.1 w, with the very same w, costs half of what φ does: the direction is a good one. It is how "
                "far one goes that is wrong.", "b"),
        Mistake("one point for ψ",
                "φ + w is not known before w is. Q_w is an expansion about φ, where the data and the policy are: take "
                "ψ elsewhere and it is no longer the critic of this policy.", "d"),
        Mistake("no matter of the ridge",
                "Ten times the ridge makes w shorter by a fifth, and φ + w loses the plant all the same: it is long in "
                "directions that the data do determine.", "e"),
        Mistake("LSTD knows nothing of φ + w",
                "Reason 2 is false: LSTD fits Q_w, which is linear in w. It never asks for Q_{φ+w}, and that is why "
                "nothing keeps w short.", 2),
        Mistake("true of every fit",
                "Reason 5 is true, of a fit whose full step is good as well as of this one: it does not say why the "
                "step fails.", 5),
        Mistake("another direction",
                "Reason 6 is false: (G + εI)⁻¹G takes directions out of w, those that do not move the policy. What is "
                "left points elsewhere.", 6),
    ],
)  # fmt: skip

exercise = Exercise(
    9,
    "Can MPC judge?",
    [predict, score, schedule, weights, debug, design, explain],
)
