"""Exercise 05, on where a network may sit: after the MPC, before it, inside it, around it, or nowhere.

Seven items: a force that nobody checks, what a correction is taught, a network before the solve and one after it, a
plan by sampling in a model with a network inside, a gradient that leaves the network out, a model that need not be
true, and which architecture a plant asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course import places
from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.closed_loop import Run, run
from mpcrl_course.envs.cartpole import LADEN, MODEL, WEIGHTS, CartPoleParameters, dynamics, stage_cost
from mpcrl_course.learners.regression import cartpole_transitions, fit
from mpcrl_course.mlp import MLP
from mpcrl_course.policies.comparison import CommonGuess, hanging_starts
from mpcrl_course.policies.integrated import SCALE, feature_mlp, features
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc, terminal_factor, with_model

LIMIT = MODEL.max_force  # N

# ------------------------------------------------------------------------------- 1: a force that nobody checks

FRICTION, DECIDED, SHARE = 3.0, 13.0, 0.8  # N, N, beta


def force_on_cart(decided: float, correction: float, share: float, friction: float, limit: float = LIMIT) -> float:
    """Return the force that moves the cart, in N: what the motor gives, minus dry friction.

    Parameters
    ----------
    decided : float
        By the MPC, N.
    correction : float
        r, N.
    share : float
        beta.
    friction : float
        Against the motion, N.
    limit : float
        Of the motor, N.
    """
    return float(np.clip(decided + share * correction, -limit, limit)) - friction


_moved = dict(decided=DECIDED, correction=FRICTION, share=SHARE, friction=FRICTION)

predict = Predict(
    1,
    "a force that nobody checks",
    reference=force_on_cart(**_moved),
    rtol=0.0,
    atol=0.05,
    when_right="The MPC's own input keeps the limit, the sum need not: the motor cuts it off, and the plan does not "
    "know.",
    hints=[
        "What is the model's error E, if the plant differs from the model by a force of −3 N that acts where u acts? "
        "Put E = −3 B into r = −BᵀE/BᵀB.",
        "Then one after the other: the sum u + β r, what the motor can give of it, and what friction leaves.",
    ],
    mistakes=[
        Mistake("limit forgotten",
                "The motor is asked for more than it can give: what is left of the sum at its limit?",
                force_on_cart(**_moved, limit=np.inf)),
        Mistake("as the MPC believes",
                "13 N is what the MPC believes. It would be true of a full correction (β = 1) by a motor without a "
                "limit.", force_on_cart(**_moved | {"share": 1.0}, limit=np.inf)),
        Mistake("friction forgotten", "This is the motor's force. Friction still pulls against it.",
                force_on_cart(**_moved) + FRICTION),
        Mistake("the command", "This is what the motor is told, u + β r. Can it? And what does friction leave of it?",
                DECIDED + SHARE * FRICTION),
        Mistake("no correction", "This is the plain MPC: its force minus friction, without any correction.",
                DECIDED - FRICTION),
        Mistake("correction with the wrong sign",
                "Your correction pushes with friction, not against it: r makes up for what is missing.",
                force_on_cart(**_moved | {"correction": -FRICTION})),
        Mistake("β swapped",
                "You have mixed the two, (1 − β) u + β r. In parallel the MPC keeps its full voice: u + β r.",
                (1 - SHARE) * DECIDED + SHARE * FRICTION - FRICTION),
        Mistake("β at the MPC",
                "β is the share of the correction; you have multiplied the MPC's force by it.",
                SHARE * DECIDED + FRICTION - FRICTION),
        Mistake("friction twice", "Friction has been subtracted twice: the correction does not take any force away.",
                force_on_cart(**_moved) - FRICTION),
        Mistake("1 − β", "The correction has got the share 1 − β.",
                force_on_cart(**_moved | {"share": 1 - SHARE})),
        Mistake("friction with the wrong sign", "Friction helps the motor here: it acts against the motion.",
                force_on_cart(**_moved) + 2 * FRICTION),
        Mistake("the correction alone", "This is the correction, or its share; the force on the cart is asked for.",
                (SHARE * FRICTION - 0.1, FRICTION + 0.1)),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------- 2: what the correction is taught


class Model:
    """A model of the cart-pole: f(x, u) gives the next states (n, 4) for states x (n, 4) and forces u (n, 1).

    Parameters
    ----------
    parameters : CartPoleParameters
    """

    def __init__(self, parameters: CartPoleParameters):
        self._parameters = parameters

    def __call__(self, x, u) -> np.ndarray:
        """Return the next states."""
        return dynamics(x, u, self._parameters)

    def __repr__(self):
        return f"model with a mass of {self._parameters.mass:.2f} kg"


def missing_force(f, x, u, ahead):
    """Return -B'E / B'B, shape (n, 1): the force that would have made up for the model's error.

    f(x, u) is the model; of n steps of the plant, x (n, 4) are the states, u (n, 1) the forces, `ahead` (n, 4) the next
    states. E and B are those of the velocities.
    """
    return _target()(f, x, u, ahead)


def _central(f, x, u):
    return (f(x, u + 1e-3) - f(x, u - 1e-3)) / 2e-3


def _target(
    error: Callable = lambda f, x, u, ahead: ahead - f(x, u),
    slope: Callable = _central,
    counted: Any = slice(2, None),
    force: Callable = lambda B, E: -(B * E).sum(1, keepdims=True) / (B * B).sum(1, keepdims=True),
) -> Callable:
    """Make the correction's target from its parts; each may be replaced by a faulty one."""

    def target(f, x, u, ahead):
        return force(slope(f, x, u)[:, counted], error(f, x, u, ahead)[:, counted])

    return target


def _target_by_lstsq(f, x, u, ahead):
    found = []
    for one, force, after in zip(x, u, ahead):
        B = ((f(one, force + 0.01) - f(one, force - 0.01)) / 0.02)[2:]
        found.append(np.linalg.lstsq(B[:, None], (f(one, force) - after)[2:], rcond=None)[0])
    return np.array(found)


def _target_by_casadi(f, x, u, ahead):
    s, force = ca.SX.sym("s", 4), ca.SX.sym("u")
    ahead_of = f(s, force)
    both = ca.Function("both", [s, force], [ahead_of, ca.jacobian(ahead_of, force)])
    found = []
    for one, own, after in zip(x, u, ahead):
        predicted, B = (part.full().ravel()[2:] for part in both(one, own))
        found.append([B @ (predicted - after[2:]) / np.linalg.norm(B) ** 2])
    return found


def _force_on_steps(rng: np.random.Generator, n: int) -> tuple:
    x = rng.uniform(-1.0, 1.0, (n, 4)) * [1.0, 3.0, 2.0, 6.0]
    u = rng.uniform(2.0, 12.0, (n, 1)) * rng.choice([-1.0, 1.0], (n, 1))
    plant = CartPoleParameters(mass=rng.uniform(0.5, 0.9), coulomb=rng.uniform(2.0, 4.0), length=rng.uniform(0.4, 0.6))
    return Model(CartPoleParameters(mass=rng.uniform(0.15, 0.3))), x, u, dynamics(x, u, plant)


target = Fill(
    2,
    "what the correction is taught",
    reference=missing_force,
    probes=lambda rng: [_force_on_steps(rng, n) for n in (3, 5, 2, 4)],
    compare=close(rtol=1e-3, atol=1e-3),
    when_right="Least squares with one unknown, min |E + B r|²: what no force reaches is left.",
    hints=[
        "E is what the plant did minus what the model says, `ahead - f(x, u)`. Which columns are the velocities?",
        "f is known: B comes from two calls of it, `(f(x, u + h) - f(x, u - h)) / (2 * h)` with a small h.",
        "Every step has its own E and B, a row each: multiply entry by entry, then sum over the columns, "
        "`(B * E).sum(axis=1, keepdims=True)`.",
    ],
    mistakes=[
        Mistake("sign", "The sign is turned: this force would double the error. r pushes against it.",
                _target(force=lambda B, E: (B * E).sum(1, keepdims=True) / (B * B).sum(1, keepdims=True))),
        Mistake("not divided by BᵀB",
                "BᵀE is not a force yet: it shrinks with B twice, where it should grow. Divide by BᵀB.",
                _target(force=lambda B, E: -(B * E).sum(1, keepdims=True))),
        Mistake("divided by the length of B",
                "You have divided by |B|; BᵀB is its square. The unit tells: E/B is a force.",
                _target(force=lambda B, E: -(B * E).sum(1, keepdims=True) / np.linalg.norm(B, axis=1)[:, None])),
        Mistake("sums over the steps",
                "You have summed over all steps, so that every step gets the same number. Each step has its own E and "
                "B: sum over its two velocities only.",
                _target(force=lambda B, E: np.full((len(B), 1), -(B * E).sum() / (B * B).sum()))),
        Mistake("BᵀB of all steps",
                "BᵀB is summed over all steps. It belongs to one step, as BᵀE does.",
                _target(force=lambda B, E: -(B * E).sum(1, keepdims=True) / (B * B).sum())),
        Mistake("positions for velocities", "You have taken p and q, columns 0 and 1; the velocities are 2 and 3.",
                _target(counted=slice(None, 2))),
        Mistake("angle and velocity", "You have taken q and v, columns 1 and 2; the velocities are 2 and 3.",
                _target(counted=slice(1, 3))),
        Mistake("mean over the steps",
                "Every step has the mean of all targets. Each step is a sample of its own.",
                lambda f, x, u, ahead: np.full((len(x), 1), missing_force(f, x, u, ahead).mean())),
        Mistake("another model", "You have used the nominal `dynamics`. The model is the f that is given.",
                lambda f, x, u, ahead: missing_force(dynamics, x, u, ahead)),
        Mistake("slope at the next state",
                "B is taken at `ahead`. It is the derivative in u of the step that starts in x.",
                lambda f, x, u, ahead: _target(slope=lambda f, x, u: _central(f, ahead, u))(f, x, u, ahead)),
        Mistake("brackets",
                "Only one of the two f is divided by h: B is (f(x, u + h) − f(x, u − h))/(2h), with brackets.",
                _target(slope=lambda f, x, u: f(x, u + 1e-3) - f(x, u - 1e-3) / 2e-3)),
        Mistake("divided by EᵀE", "You have divided by EᵀE; it is BᵀB.",
                _target(force=lambda B, E: -(B * E).sum(1, keepdims=True) / (E * E).sum(1, keepdims=True))),
        Mistake("cart only", "Only v is in your products; w is a velocity, too.", _target(counted=slice(2, 3))),
        Mistake("pole only", "Only w is in your products; v is a velocity, too.", _target(counted=slice(3, 4))),
        Mistake("mean of two quotients",
                "This is the mean of −E_v/B_v and −E_w/B_w. Where B is small such a quotient is large and says little: "
                "−BᵀE/BᵀB weighs by B.", _target(force=lambda B, E: -(E / B).mean(1, keepdims=True))),
        Mistake("sum of two quotients",
                "This is −E_v/B_v − E_w/B_w: two forces, each of which would have been enough for one velocity. BᵀE "
                "and BᵀB are sums, of which one quotient is made.",
                _target(force=lambda B, E: -(E / B).sum(1, keepdims=True))),
        Mistake("the model's step, not its error",
                "Your E is ahead − x, what the plant did. The error is what the model has *not* foreseen: ahead − "
                "f(x, u).", _target(error=lambda f, x, u, ahead: ahead - x)),
        Mistake("model without the force",
                "Your E is taken from f(x, 0), so that it holds the force's own effect, too: r would undo what the MPC "
                "decides.", _target(error=lambda f, x, u, ahead: ahead - f(x, 0.0 * u))),
        Mistake("slope of the wrong argument",
                "B is the derivative of f in u; yours is how much a step with this force changes the state.",
                _target(slope=lambda f, x, u: f(x, u) - x)),
        Mistake("half",
                "All numbers are half of what is expected. From u − h to u + h it is 2h; and BᵀE and BᵀB are both sums "
                "over the two velocities, neither is a mean.",
                _target(slope=lambda f, x, u: (f(x, u + 1e-3) - f(x, u - 1e-3)) / 1e-3)),
        Mistake("twice",
                "All numbers are twice what is expected: a difference over h alone is not divided by 2h; and BᵀE and "
                "BᵀB are both sums over the two velocities, neither is a mean.",
                _target(slope=lambda f, x, u: (f(x, u + 1e-3) - f(x, u)) / 2e-3)),
        Mistake("f for its slope", "You have taken f(x, u) itself for B; B is its derivative in u.",
                _target(slope=lambda f, x, u: f(x, u))),
        Mistake("size of the error", "This is |E|/|B|: it is never negative. BᵀE says which way E points along B.",
                _target(force=lambda B, E: (np.linalg.norm(E, axis=1) / np.linalg.norm(B, axis=1))[:, None])),
    ],
    variants=[_target_by_lstsq, _target_by_casadi],
)  # fmt: skip

# ---------------------------------------------------------------------- 3: one network before the solve, one after


class Solve:
    """An MPC as it is seen from outside: ``solve(s, weights)`` is u_0 of the problem with these weights.

    For states s (n, 4) and weights (n, 5), of p^2, (2 sin(q/2))^2, v^2, w^2, F^2, it returns forces (n, 1) within the
    limit. (Instead of a plan it has a formula, so that a check takes no time.)

    Parameters
    ----------
    gains : array_like, shape (4,)
        Of the formula: of p, 2 sin(q/2), v and w.
    """

    def __init__(self, gains):
        self._gains = np.array(gains, dtype=float)
        self._called = 0

    def __call__(self, s, weights) -> np.ndarray:
        """Return the forces."""
        s, weights = np.asarray(s, dtype=float), np.asarray(weights, dtype=float)
        if s.shape[-1:] != (4,) or weights.shape != (*s.shape[:-1], 5):
            raise ValueError(f"solve(s, weights) wants s (n, 4) and weights (n, 5), not {s.shape} and {weights.shape}")
        weights = np.maximum(weights, 1e-9)  # it must be told from its negative
        y = np.stack([s[..., 0], 2.0 * np.sin(0.5 * s[..., 1]), s[..., 2], s[..., 3]], axis=-1)
        u = (self._gains * np.sqrt(weights[..., :4] / weights[..., 4:]) * y).sum(axis=-1, keepdims=True)
        return LIMIT * np.tanh(u / LIMIT)

    def __repr__(self):
        return "solve"


class Correction:
    """A learned correction ``r(s, u)``, shape (n, 1), of states s (n, 4) and the MPC's forces u (n, 1).

    Parameters
    ----------
    gains : array_like, shape (4,)
        Of the states, before a tanh.
    tilt : float
        Of the force.
    """

    def __init__(self, gains, tilt: float):
        self._gains, self._tilt = np.array(gains, dtype=float), tilt

    def __call__(self, s, u) -> np.ndarray:
        """Return the correction, N."""
        s, u = np.asarray(s, dtype=float), np.asarray(u, dtype=float)
        if s.shape[-1:] != (4,) or u.shape != (*s.shape[:-1], 1):
            raise ValueError(f"r(s, u) wants s (n, 4) and u (n, 1), not {s.shape} and {u.shape}")
        return 4.0 * np.tanh((self._gains * s).sum(axis=-1, keepdims=True)) + self._tilt * u

    def __repr__(self):
        return "r"


def decide(s, solve, r, theta, beta):
    """Return the weights (n, 5) that are set before the solve, and the forces u (n, 1) that are applied.

    For states s (n, 4); theta is (a, c, d), and beta the share of the correction r.
    """
    return _decision()(s, solve, r, theta, beta)


def _sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def _decision(
    up: Callable = lambda s, c, d: _sigmoid((np.cos(s[:, 1]) - c) / d),
    factor: Callable = lambda a, up: 1.0 + a * up,
    place: Any = 0,
    base: Any = WEIGHTS,
    solved: Callable = lambda weights: weights,
    corrected: Callable = lambda s, u, r: r(s, u),
    blend: Callable = lambda u, r, beta: u + beta * r,
    cut: Callable = lambda u, add: np.clip(u, -LIMIT, LIMIT),
) -> Callable:
    """Make the decision from its parts; each may be replaced by a faulty one."""

    def decision(s, solve, r, theta, beta):
        a, c, d = theta
        weights = np.tile(base, (len(s), 1))
        scale = np.asarray(factor(a, up(s, c, d)))
        weights[:, place] *= scale if np.ndim(place) == 0 and isinstance(place, int) else scale[:, None]
        u = solve(s, solved(weights))
        add = corrected(s, u, r)
        return weights, cut(blend(u, add, beta), add)

    return decision


def _decision_one_by_one(s, solve, r, theta, beta):
    a, c, d = theta
    all_weights, all_u = [], []
    for one in s:
        gate = 0.5 * (1.0 + np.tanh((np.cos(one[1]) - c) / (2.0 * d)))
        weights = [WEIGHTS[0] * (1 + a * gate), *WEIGHTS[1:]]
        u = solve(one[None], np.array([weights]))[0]
        all_weights.append(weights)
        all_u.append([min(max((u + beta * r(one[None], u[None])[0]).item(), -LIMIT), LIMIT)])
    return np.array(all_weights), np.array(all_u)


def _decision_by_stacking(s, solve, r, theta, beta):
    e = np.exp((theta[1] - np.cos(s[:, 1])) / theta[2])
    p = 0.1 + 0.1 * theta[0] / (e + 1.0)
    weights = np.column_stack([p, *(np.full(len(s), w) for w in WEIGHTS[1:])])
    u = solve(s, weights)
    return {"weights": weights, "u": np.minimum(LIMIT, np.maximum(-LIMIT, u + r(s, u) * beta))}


def _with_plain_forces(s, solve, r, theta, beta):
    u = solve(s, np.tile(WEIGHTS, (len(s), 1)))
    return decide(s, solve, r, theta, beta)[0], np.clip(u + beta * r(s, u), -LIMIT, LIMIT)


def _solved_twice(s, solve, r, theta, beta):
    weights, u = decide(s, solve, r, theta, beta)[0], solve(s, np.tile(WEIGHTS, (len(s), 1)))
    return weights, np.clip(solve(s, weights) + beta * r(s, u), -LIMIT, LIMIT)


def _piled_up(s, solve, r, theta, beta):
    weights = decide(s, solve, r, theta, beta)[0]
    weights[:, 0] = WEIGHTS[0] * np.cumprod(weights[:, 0] / WEIGHTS[0])
    u = solve(s, weights)
    return weights, np.clip(u + beta * r(s, u), -LIMIT, LIMIT)


def _some_decisions(rng: np.random.Generator, n: int) -> tuple:
    s = rng.uniform(-1.0, 1.0, (n, 4)) * [1.5, 1.0, 1.5, 3.0]
    gains = -rng.uniform([0.3, 0.4, 0.3, 0.2], [0.7, 0.9, 0.7, 0.6])
    c, d = rng.uniform(0.7, 0.9), rng.uniform(0.03, 0.08)
    s[:, 1] = np.arccos(c + d * rng.uniform(-1.8, 1.8, n)) * rng.choice([-1, 1], n)  # on the way to upright: both count
    s[0, 1] = rng.uniform(2.0, 3.0)  # hanging
    s[1] = s[1] * [0.2, 1.0, 0.2, 0.2] + [2.5, 0.0, 1.5, 0.0]  # the sum goes beyond the limit
    return (s, Solve(gains), Correction(rng.uniform(-1, 1, 4), rng.uniform(0.2, 0.4)),
            np.array([rng.uniform(5.0, 12.0), c, d]), rng.uniform(0.6, 0.9))  # fmt: skip


decision = Fill(
    3,
    "one network before the solve, one after it",
    reference=decide,
    probes=lambda rng: [_some_decisions(rng, n) for n in (4, 6, 5)],
    compare=close(rtol=1e-6, atol=1e-8, names=("weights", "u")),
    when_right="Before the solve φ is a number, after it r is one: neither asks the solver for a derivative.",
    hints=[
        "First φ: one row of weights for each state. Only the first entry of a row depends on the state.",
        "`weights = np.tile(WEIGHTS, (len(s), 1))` is a copy with a row for each state; then multiply its column 0.",
        "Then `u = solve(s, weights)`, and the sum u + β r(s, u), which must be clipped to ± LIMIT.",
    ],
    mistakes=[
        Mistake("φ not set",
                "The weights are right, but u comes from the nominal ones. φ must be in the problem that is solved.",
                _with_plain_forces),
        Mistake("correction of another problem's force",
                "The MPC's force is right, but r was shown the force of the nominal problem. It corrects what is "
                "decided now.", _solved_twice),
        Mistake("weights nominal", "These are the nominal weights: where does the state enter?",
                _decision(factor=lambda a, up: 1.0 + 0.0 * up)),
        Mistake("gate without the 1", "Where the pole hangs your weight on p is 0: 1 + a up(s), not a up(s).",
                _decision(factor=lambda a, up: a * up)),
        Mistake("1 + a in front", "The factor goes from 1 (hanging) to 1 + a: 1 + a up(s), not (1 + a) up(s).",
                _decision(factor=lambda a, up: (1.0 + a) * up)),
        Mistake("gate turned round",
                "Your gate is open while the pole hangs, and closes as it stands up: mind the sign in exp(−…).",
                _decision(up=lambda s, c, d: _sigmoid(-(np.cos(s[:, 1]) - c) / d))),
        Mistake("switch for a gate",
                "Your gate is 0 or 1. A sigmoid passes from one to the other smoothly; where φ jumps, the last plan is "
                "a poor guess.", _decision(up=lambda s, c, d: 1.0 * (np.cos(s[:, 1]) > c))),
        Mistake("sine for cosine", "sin q is 0 both hanging and standing: cos q tells them apart.",
                _decision(up=lambda s, c, d: _sigmoid((np.sin(s[:, 1]) - c) / d))),
        Mistake("angle for its cosine", "The gate is given q itself; it is one of cos q.",
                _decision(up=lambda s, c, d: _sigmoid((s[:, 1] - c) / d))),
        Mistake("degrees", "NumPy's cosine takes radians: q needs no conversion.",
                _decision(up=lambda s, c, d: _sigmoid((np.cos(np.degrees(s[:, 1])) - c) / d))),
        Mistake("another state", "The gate looks at p. The angle is q, column 1.",
                _decision(up=lambda s, c, d: _sigmoid((np.cos(s[:, 0]) - c) / d))),
        Mistake("brackets", "Only c has been divided by d: it is (cos q − c)/d, with brackets.",
                _decision(up=lambda s, c, d: _sigmoid(np.cos(s[:, 1]) - c / d))),
        Mistake("velocity for the angle", "The gate looks at v, column 2. The angle is q, column 1.",
                _decision(up=lambda s, c, d: _sigmoid((np.cos(s[:, 2]) - c) / d))),
        Mistake("no width", "d is missing in the gate: (cos q − c)/d.",
                _decision(up=lambda s, c, d: _sigmoid(np.cos(s[:, 1]) - c))),
        Mistake("c and d swapped", "c and d have changed places: θ = (a, c, d).",
                lambda s, solve, r, theta, beta: decide(s, solve, r, np.asarray(theta)[[0, 2, 1]], beta)),
        Mistake("ramp for a sigmoid",
                "Your gate is a ramp that is cut off at 0 and 1. A sigmoid is ½ where cos q = c, and smooth.",
                _decision(up=lambda s, c, d: np.clip((np.cos(s[:, 1]) - c) / d, 0.0, 1.0))),
        Mistake("factor added", "The factor is added to the weight on p; it multiplies it.",
                _decision(factor=lambda a, up: 1.0 + (1.0 + a * up) / WEIGHTS[0])),
        Mistake("gate added", "a up(s) is added to the weight on p; the weight is multiplied by 1 + a up(s).",
                _decision(factor=lambda a, up: 1.0 + a * up / WEIGHTS[0])),
        Mistake("factors pile up",
                "The first state's weight is right, and from there on the factors pile up: weights are multiplied that "
                "have been multiplied before. Each row starts from WEIGHTS.", _piled_up),
        Mistake("multiplied by the width", "cos q − c is divided by d: with d = 0.03 the gate is a narrow one.",
                _decision(up=lambda s, c, d: _sigmoid((np.cos(s[:, 1]) - c) * d))),
        Mistake("tanh for the sigmoid", "tanh goes from −1 to 1; the sigmoid 1/(1 + exp(−z)) goes from 0 to 1.",
                _decision(up=lambda s, c, d: np.tanh((np.cos(s[:, 1]) - c) / d))),
        Mistake("one gate for all", "All states have the same weights. φ is a function of the state: a row for each.",
                _decision(up=lambda s, c, d: np.full(len(s), _sigmoid((np.cos(s[-1, 1]) - c) / d)))),
        Mistake("mean gate", "All states have the weights of a mean gate. φ is a function of each state by itself.",
                _decision(up=lambda s, c, d: np.full(len(s), _sigmoid((np.cos(s[:, 1]) - c) / d).mean()))),
        Mistake("all weights", "All five weights are multiplied: then only their common size changes, and not what is "
                "best. Only the weight on p is meant.", _decision(place=slice(None))),
        Mistake("weight on the angle", "The second weight is multiplied, that on the angle. Which is that on p?",
                _decision(place=1)),
        Mistake("weight on the force", "The last weight is multiplied, that on the force. Which is that on p?",
                _decision(place=4)),
        Mistake("factor for weight", "The first entry is the factor; it multiplies the nominal weight, 0.1.",
                _decision(base=np.array([1.0, *WEIGHTS[1:]]))),
        Mistake("φ of the force, too", "All weights but that on p are 1: they keep their nominal values.",
                _decision(base=np.array([WEIGHTS[0], 1.0, 1.0, 1.0, 1.0]))),
        Mistake("β swapped",
                "You have mixed, (1 − β) u + β r. In parallel the MPC keeps its full voice, and the correction comes "
                "on top: u + β r.", _decision(blend=lambda u, r, beta: (1 - beta) * u + beta * r)),
        Mistake("β at the MPC", "β stands at the MPC's force: it is the share of the correction.",
                _decision(blend=lambda u, r, beta: beta * u + r)),
        Mistake("β swapped, mixed", "β and 1 − β have changed places, and the two are mixed: u + β r is asked for.",
                _decision(blend=lambda u, r, beta: beta * u + (1 - beta) * r)),
        Mistake("1 − β", "The correction has the share 1 − β.", _decision(blend=lambda u, r, beta: u + (1 - beta) * r)),
        Mistake("β at both", "β multiplies the whole sum; it is the share of the correction alone.",
                _decision(blend=lambda u, r, beta: beta * (u + r))),
        Mistake("β forgotten", "The correction is added in full: where is β?",
                _decision(blend=lambda u, r, beta: u + r)),
        Mistake("correction subtracted", "r has been subtracted. Its sign is already the right one.",
                _decision(blend=lambda u, r, beta: u - beta * r)),
        Mistake("no correction", "This is the MPC's force alone; β r(s, u) comes on top.",
                _decision(blend=lambda u, r, beta: u)),
        Mistake("the correction alone", "u is β r alone. It is added to the MPC's force.",
                _decision(blend=lambda u, r, beta: beta * r)),
        Mistake("not clipped", "One force is beyond ± 15 N. The MPC's own keeps the limit, the sum need not: clip it.",
                _decision(cut=lambda u, add: u)),
        Mistake("clipped on one side", "The sum is clipped from above only; it can also fall below −15 N.",
                _decision(cut=lambda u, add: np.minimum(u, LIMIT))),
        Mistake("clipped to 1", "The forces are clipped to ± 1. The limit is ± LIMIT, 15 N.",
                _decision(cut=lambda u, add: np.clip(u, -1.0, 1.0))),
        Mistake("r without the force",
                "r was shown the force 0. It is trained on states *and* forces: show it what the MPC decides.",
                _decision(corrected=lambda s, u, r: r(s, 0.0 * u))),
        Mistake("r asked twice",
                "r was shown a force that has its own correction in it already. It is asked once, about the MPC's.",
                _decision(corrected=lambda s, u, r: r(s, u + r(s, u)))),
    ],
    variants=[_decision_one_by_one, _decision_by_stacking],
)  # fmt: skip

# ------------------------------------------------------- 4: a plan by sampling, in a model with a network inside


class Network:
    """A trained network φ: of the features z (..., 5) it returns the model's error of the next v and w, (..., 2).

    ``net.slope(z)`` is its Jacobian (2, 5) at one z (5,).

    Parameters
    ----------
    mlp : MLP
    """

    def __init__(self, mlp: MLP):
        self._mlp = mlp

    def __call__(self, z) -> np.ndarray:
        """Return the error of the next v and w."""
        return self._mlp(np.asarray(z, dtype=float))

    def slope(self, z) -> np.ndarray:
        """Return the Jacobian (2, 5) at z (5,)."""
        return self._mlp.jacobian(np.asarray(z, dtype=float)[None])[1][0]

    def __repr__(self):
        return "net"


class Terminal:
    """A learned terminal cost ``V(x)`` = y'P y + tilt'y, shape (n,), of states x (n, 4), y = (p, 2 sin(q/2), v, w).

    Parameters
    ----------
    P : array_like, shape (4, 4)
    tilt : array_like, shape (4,), optional
    """

    def __init__(self, P, tilt=0.0):
        self._P, self._tilt = np.array(P, dtype=float), np.array(tilt, dtype=float)

    def __call__(self, x) -> np.ndarray:
        """Return the values."""
        x = np.asarray(x, dtype=float)
        y = np.stack([x[..., 0], 2.0 * np.sin(0.5 * x[..., 1]), x[..., 2], x[..., 3]], axis=-1)
        return ((y @ self._P + self._tilt) * y).sum(axis=-1)

    def __repr__(self):
        return "V"


def some_network(rng: np.random.Generator, size: float = 1.0, width: int = 4) -> Network:
    """Return a network drawn with `rng`; its outputs are of about `size`, its layers have so many units (`width`)."""
    mlp = feature_mlp(rng, 2, width)
    mlp.W3[:] = size * rng.uniform(0.4, 1.0, mlp.W3.shape) * rng.choice([-1.0, 1.0], mlp.W3.shape)
    return Network(mlp)


def upright_cost() -> Terminal:
    """Return the terminal cost of the plain MPC: the Riccati solution at the upright."""
    factor = terminal_factor()
    return Terminal(factor @ factor.T)


@cache
def fitted_network() -> Network:
    """Return a network that has learned what the plain model misses of 600 steps of the lecture's plant."""
    x, u, ahead = transitions()
    rng = np.random.default_rng(1)
    return Network(fit(feature_mlp(rng, 2), features(x, u), (ahead - dynamics(x, u))[:, 2:], rng, steps=3000))


def sampled_plan(s, plan, noise, net, V, temperature):
    """Return the costs J (n,) of n samples about a plan (H,), their weights (n,), and the new plan (H,).

    From the state s (4,); `noise` (n, H) is what is added to the plan, net(z) the network inside the model, V(x) the
    terminal cost, temperature lambda.
    """
    return _sampled()(s, plan, noise, net, V, temperature)


def _raw(x, u):
    return np.concatenate([np.cos(x[..., 1:2]), np.sin(x[..., 1:2]), x[..., 2:], u], axis=-1)


def _step_inside(x, u, net):
    ahead = dynamics(x, u)
    ahead[:, 2:] += net(features(x, u))
    return ahead


def _step_of(fed: Callable, place: Any = slice(2, None), sign: float = 1.0) -> Callable:
    """Return a step with the network inside: `fed(x, ahead, u)` is what it is shown, `place` where it is added."""

    def step(x, u, net):
        ahead = dynamics(x, u)
        ahead[:, place] += sign * net(fed(x, ahead.copy(), u))
        return ahead

    return step


def _softmax(J, temperature):
    w = np.exp(-(J - J.min()) / temperature)
    return w / w.sum()


def _without_the_least(J, temperature):
    with np.errstate(all="ignore"):
        w = np.exp(-J / temperature)
        return w / w.sum()


def _without_the_largest(J, temperature):
    with np.errstate(all="ignore"):
        w = np.exp(-(J - J.max()) / temperature)
        return w / w.sum()


def _sampled(
    draw: Callable = lambda plan, noise: np.clip(plan + noise, -LIMIT, LIMIT),
    step: Callable = _step_inside,
    cost: Callable = lambda x, ahead, u: stage_cost(x, u),
    end: Callable = lambda V, x, before: V(x),
    force: Callable = lambda a, h, plan: a[:, h : h + 1],
    keep: Callable = lambda J, h: J,
    first: int = 0,
    stages: Callable = range,
    weigh: Callable = _softmax,
    update: Callable = lambda w, a, plan, noise: w @ a,
) -> Callable:
    """Make the update from its parts; each may be replaced by a faulty one."""

    def sampled(s, plan, noise, net, V, temperature):
        a = draw(plan, noise)
        x, J = np.tile(s, (len(a), 1)), np.zeros(len(a))
        before = x
        for h in stages(a.shape[1]):
            before, u = x, force(a, h, plan)
            x = step(x, u, net)
            if h >= first:
                J = keep(J, h) + cost(before, x, u)
        J = J + end(V, x, before)
        w = weigh(J, temperature)
        return J, w, update(w, a, plan, noise)

    return sampled


def _sampled_one_by_one(s, plan, noise, net, V, temperature):
    J, tried = [], []
    for e in noise:
        a, x, total = np.minimum(np.maximum(plan + e, -LIMIT), LIMIT), np.array(s), 0.0
        for u in a:
            total += stage_cost(x, [u])
            x = dynamics(x, [u]) + np.concatenate([[0.0, 0.0], net(features(x, [u]))])
        J.append(total + V(x[None])[0])
        tried.append(a)
    z = -np.array(J) / temperature
    w = np.exp(z - np.logaddexp.reduce(z))
    return np.array(J), w, sum(own * a for own, a in zip(w, tried))


def _sampled_by_change(s, plan, noise, net, V, temperature):
    e = np.clip(plan + noise, -LIMIT, LIMIT) - plan
    x, J = np.repeat(np.asarray(s)[None], len(e), axis=0), 0.0
    for u in (plan + e).T[:, :, None]:
        J, x = J + stage_cost(x, u), dynamics(x, u) + np.pad(net(features(x, u)), [(0, 0), (2, 0)])
    J = J + V(x)
    better = np.exp((J.min() - J) / temperature)
    return {"J": J, "weights": better / better.sum(), "plan": plan + better @ e / better.sum()}


def _some_samples(rng: np.random.Generator, n: int, H: int, far: float = 0.0, cold: float = 1.0) -> tuple:
    s = rng.uniform([-0.8, 2.2, -0.9, -2.0], [0.8, 3.4, 0.9, 2.0]) + [far, 0.0, 0.0, 0.0]
    plan, noise = rng.uniform(-8.0, 8.0, H), 3.0 * rng.standard_normal((n, H))
    plan[0], noise[0] = 12.0, np.abs(noise[0]) + 5.0  # beyond the limit
    plan[-1], noise[1] = -12.5, -np.abs(noise[1]) - 5.0
    if far:
        noise[:, 0] = np.abs(noise[:, 0]) + 4.0  # so is the mean of what is not clipped
    plan[1], noise[2, 1] = -6.0, rng.uniform(16.0, 18.0)  # noise beyond the limit, and the sum within
    half = rng.normal(size=(4, 4))
    V = Terminal(0.5 * np.eye(4) + 0.1 * half @ half.T, rng.uniform(-0.6, 0.6, 4))
    return s, plan, noise, some_network(rng, 0.3), V, cold * rng.uniform(0.6, 1.5)


sampling = Fill(
    4,
    "a plan by sampling, with a network inside the model",
    reference=sampled_plan,
    probes=lambda rng: [
        _some_samples(rng, 5, 3),
        _some_samples(rng, 4, 4),
        _some_samples(rng, 6, 3, far=7.0),
        _some_samples(rng, 5, 2, cold=0.003),
    ],
    compare=close(rtol=1e-6, atol=1e-9, names=("J", "weights", "plan")),
    when_right="No solver, no derivative: the network only has to be evaluated, for all samples at once.",
    hints=[
        "All samples go through the model together: x has n rows, and u = a[:, h:h+1] is a column of n forces.",
        "One step: first z = features(x, u), then x = dynamics(x, u), then x[:, 2:] += net(z). In this order: φ "
        "belongs to the state that is left.",
        "w = np.exp(-(J - J.min()) / temperature), divided by its sum; the new plan is the mean of the samples with "
        "these weights, w @ a.",
    ],
    mistakes=[
        Mistake("no network", "This is the plain model: the network's φ is missing in every step.",
                _sampled(step=lambda x, u, net: dynamics(x, u))),
        Mistake("network fed the raw state",
                "φ was shown w and F as they are. It was trained on features(x, u), where they are divided by 3 and "
                "15.", _sampled(step=_step_of(lambda x, ahead, u: _raw(x, u)))),
        Mistake("network fed x and u",
                "φ was shown (p, q, v, w, u) themselves. It was trained on features(x, u).",
                _sampled(step=_step_of(lambda x, ahead, u: np.concatenate([x, u], axis=1)))),
        Mistake("network fed the next state",
                "φ was shown the state after the model's step. It belongs to (x, u), the state that is left.",
                _sampled(step=_step_of(lambda x, ahead, u: features(ahead, u)))),
        Mistake("network on the positions",
                "φ was added to the first two states. It is the error of v and w, columns 2 and 3.",
                _sampled(step=_step_of(lambda x, ahead, u: features(x, u), slice(None, 2)))),
        Mistake("network subtracted", "φ is what the model *misses*, so it is added.",
                _sampled(step=_step_of(lambda x, ahead, u: features(x, u), sign=-1.0))),
        Mistake("error for a rate",
                "φ was multiplied by the 0.05 s of a step. It is the error of the next v and w, not of their "
                "derivatives.", _sampled(step=_step_of(lambda x, ahead, u: features(x, u), sign=0.05))),
        Mistake("network for the model", "The next velocities are φ alone. It is added to what the model says.",
                _sampled(step=lambda x, u, net: np.concatenate([dynamics(x, u)[:, :2], net(features(x, u))], axis=1))),
        Mistake("costs of the states after",
                "Each stage's cost is that of the state after the step; L(x_h, a_h) is that of the state in which a_h "
                "is applied.", _sampled(cost=lambda x, ahead, u: stage_cost(ahead, u))),
        Mistake("last stage only",
                "J holds the last stage's cost and V only: does your loop add up, or overwrite?",
                _sampled(keep=lambda J, h: 0.0 * J)),
        Mistake("cost of the old plan's forces",
                "All samples go through the model with the forces of the old plan: apply each sample's own, column h "
                "of a.", _sampled(force=lambda a, h, plan: np.full((len(a), 1), plan[h]))),
        Mistake("one force for all stages", "Every stage is driven by the first force: take column h of a.",
                _sampled(force=lambda a, h, plan: a[:, :1])),
        Mistake("first stage missing", "The costs lack their first stage, h = 0.", _sampled(first=1)),
        Mistake("last stage missing",
                "The roll-out ends a step early, so that V is taken at x_{H−1}: the last force is never applied.",
                _sampled(stages=lambda H: range(H - 1))),
        Mistake("no terminal cost", "V(x_H) is missing: what comes after the last step costs nothing here.",
                _sampled(end=lambda V, x, before: 0.0)),
        Mistake("terminal cost one state early",
                "V is taken where the last force is applied, x_{H−1}. It belongs to the state after it, x_H.",
                _sampled(end=lambda V, x, before: V(before))),
        Mistake("stage cost at the end", "At the end there is a stage cost, L(x_H, 0), instead of V(x_H).",
                _sampled(end=lambda V, x, before: stage_cost(x, np.zeros((len(x), 1))))),
        Mistake("not clipped", "Some samples are beyond ± 15 N: plan plus noise must be clipped.",
                _sampled(draw=lambda plan, noise: plan + noise)),
        Mistake("clipped to 1", "The samples are clipped to ± 1. The limit is ± LIMIT, 15 N.",
                _sampled(draw=lambda plan, noise: np.clip(plan + noise, -1.0, 1.0))),
        Mistake("noise clipped", "You have clipped the noise. What keeps the limit is the sum, plan plus noise.",
                _sampled(draw=lambda plan, noise: plan + np.clip(noise, -LIMIT, LIMIT))),
        Mistake("noise without the plan", "Your samples lie about 0, not about the plan.",
                _sampled(draw=lambda plan, noise: np.clip(noise, -LIMIT, LIMIT))),
        Mistake("clipped too late", "The limit was kept in the mean only: every sample must keep it, also when its "
                "cost is taken.", _sampled(draw=lambda plan, noise: plan + noise,
                                           update=lambda w, a, plan, noise: np.clip(w @ a, -LIMIT, LIMIT))),
        Mistake("sign in the exponent", "The dearest sample has the largest weight: exp(−…), the cheapest counts most.",
                _sampled(weigh=lambda J, lam: (w := np.exp((J - J.max()) / lam)) / w.sum())),
        Mistake("least cost not subtracted",
                "Where all costs are large, exp(−J/λ) is 0 for every sample, and 0/0 no number: subtract min J first.",
                _sampled(weigh=_without_the_least)),
        Mistake("largest cost subtracted",
                "Where a sample is far cheaper than what you subtract, exp overflows: subtract the least cost, so that "
                "no exponent is positive.", _sampled(weigh=_without_the_largest)),
        Mistake("shares of the costs", "These weights are shares of 1/J. They are exp(−(J − min J)/λ), over their sum.",
                _sampled(weigh=lambda J, lam: (1.0 / J) / (1.0 / J).sum())),
        Mistake("temperature multiplied", "You have multiplied by λ; costs are divided by it.",
                _sampled(weigh=lambda J, lam: _softmax(J, 1.0 / lam))),
        Mistake("temperature outside",
                "The weights were divided by λ in the end, so that they do not add up to 1. λ divides the costs, in "
                "the exponent.", _sampled(weigh=lambda J, lam: _softmax(J, 1.0) / lam)),
        Mistake("no temperature", "λ is missing in the weights.", _sampled(weigh=lambda J, lam: _softmax(J, 1.0))),
        Mistake("twice the temperature", "Costs were divided by 2λ; here it is λ.",
                _sampled(weigh=lambda J, lam: _softmax(J, 2.0 * lam))),
        Mistake("weights not normalised",
                "The weights do not add up to 1: the best sample has 1 already. Divide by their sum.",
                _sampled(weigh=lambda J, lam: np.exp(-(J - J.min()) / lam))),
        Mistake("best sample only", "This is the best sample alone. All count, the cheaper the more.",
                _sampled(weigh=lambda J, lam: 1.0 * (np.arange(len(J)) == J.argmin()))),
        Mistake("best sample for the mean", "The weights are right, but the plan is the best sample. It is the mean "
                "of all, with these weights.", _sampled(update=lambda w, a, plan, noise: a[w.argmax()])),
        Mistake("plain mean", "The plan is the plain mean of the samples: the weights are missing.",
                _sampled(update=lambda w, a, plan, noise: a.mean(axis=0))),
        Mistake("plan added twice", "The old plan has been added to the mean of the samples; they hold it already.",
                _sampled(update=lambda w, a, plan, noise: plan + w @ a)),
        Mistake("unclipped noise in the mean",
                "The plan is moved by the noise as it was drawn. What was tried are the clipped samples: their mean.",
                _sampled(update=lambda w, a, plan, noise: plan + w @ noise)),
        Mistake("only the change", "This is the mean of the noise. The plan itself is asked for.",
                _sampled(update=lambda w, a, plan, noise: w @ a - plan)),
        Mistake("mean of the noise", "This is the mean of the noise as it was drawn, without the plan.",
                _sampled(update=lambda w, a, plan, noise: w @ noise)),
        Mistake("mean not weighed", "The plan is a plain mean of w times the samples: n times too small. The weights "
                "add up to 1 already: a sum.", _sampled(update=lambda w, a, plan, noise: w @ a / len(w))),
        Mistake("first force only", "Every entry of your plan is the first force. Each stage has its own mean.",
                _sampled(update=lambda w, a, plan, noise: np.full(len(plan), (w @ a)[0]))),
    ],
    variants=[_sampled_one_by_one, _sampled_by_change],
)  # fmt: skip

# --------------------------------------------------------------------- 5: a gradient that leaves the network out

P_END = np.diag([4.0, 12.0, 1.0, 0.5])  # V(x_N) = x_N' P x_N


@cache
def _slopes() -> tuple[ca.Function, ca.Function]:
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u")
    both = ca.vertcat(x, u)
    y = ca.vertcat(x[0], 2.0 * ca.sin(0.5 * x[1]), x[2], x[3], u)
    cost = ca.dot(ca.DM(WEIGHTS), y * y)  # the plans of this item stay on the track
    return (ca.Function("model", [x, u], [ca.densify(ca.jacobian(dynamics(x, u), both))]),
            ca.Function("cost", [x, u], [ca.densify(ca.gradient(cost, both))]))  # fmt: skip


def model_slopes(x, u) -> np.ndarray:
    """Return the Jacobian of the model f in (p, q, v, w, u), shape (4, 5), at a state x (4,) and a force u."""
    return _slopes()[0](x, u).full()


def cost_slopes(x, u) -> np.ndarray:
    """Return the derivatives of the stage cost L in (p, q, v, w, u), shape (5,), at a state x (4,) and a force u."""
    return _slopes()[1](x, u).full()[:, 0]


def feature_slopes(x, u) -> np.ndarray:
    """Return the Jacobian of the features z in (p, q, v, w, u), shape (5, 5), at a state x (4,) and a force u."""
    found = np.diag([0.0, 0.0, *(1.0 / SCALE)])
    found[0, 1], found[1, 1] = -np.sin(x[1]), np.cos(x[1])
    return found


def _raw_slopes(x, u) -> np.ndarray:
    found = np.diag([0.0, 0.0, 1.0, 1.0, 1.0])
    found[0, 1], found[1, 1] = -np.sin(x[1]), np.cos(x[1])
    return found


def plan_gradient(s, plan, net):
    """Return the cost J of a plan (N,) and its gradient (N,), from s (4,), in the model with net(z) inside."""
    return _differentiated()(s, plan, net)


def gradient_as_given(s, plan, net):
    """Return what the faulty function of item 5 returns: the network is fed the raw state, and held fixed.

    s, plan and net are those of `plan_gradient`.
    """
    return _differentiated(_fed_raw, _fixed)(s, plan, net)


def _fed_features(x, ahead, u):
    return features(x, [u])


def _fed_raw(x, ahead, u):
    return _raw(x, np.array([u]))


def _fixed(C, x, u, z, net):
    return C


def _chained(C, x, u, z, net):
    C[2:] += net.slope(z) @ feature_slopes(x, u)
    return C


def _added(slope: Callable, rows: Any = slice(2, None), columns: Any = slice(None)) -> Callable:
    """Return the slopes of a step: those of the model, and `slope(x, u, z, net)` (2, 5) in some rows and columns."""

    def slopes(C, x, u, z, net):
        C[rows, columns] += slope(x, u, z, net)[:, columns]
        return C

    return slopes


def _chain(x, u, z, net):
    return net.slope(z) @ feature_slopes(x, u)


def _chain_raw(x, u, z, net):
    return net.slope(z) @ _raw_slopes(x, u)


def _replaced(C, x, u, z, net):
    C[2:] = _chain(x, u, z, net)
    return C


def _differentiated(
    fed: Callable = _fed_features,
    slopes: Callable = _chained,
    share: float = 1.0,
    model: Callable = lambda x, u: dynamics(x, [u]),
    behind: Callable = lambda J, gradient, fixed: (J, gradient),
) -> Callable:
    """Make the gradient from its parts; each may be replaced by a faulty one."""

    def gradient_of(s, plan, net):
        x, steps = [np.asarray(s, dtype=float)], []
        for u in plan:
            ahead = model(x[-1], u)
            z = fed(x[-1], ahead, u)
            steps.append((model_slopes(x[-1], u), z))
            x.append(ahead + share * np.concatenate([[0.0, 0.0], net(z)]))
        J = sum(stage_cost(one, [u]) for one, u in zip(x, plan)) + x[-1] @ P_END @ x[-1]
        costate, gradient = 2.0 * P_END @ x[-1], np.zeros(len(plan))
        for k in reversed(range(len(plan))):
            C = slopes(steps[k][0], x[k], plan[k], steps[k][1], net)
            L = cost_slopes(x[k], plan[k])
            gradient[k] = L[4] + costate @ C[:, 4]
            costate = L[:4] + costate @ C[:, :4]
        return J, gradient

    return gradient_of


def _cost_of(s, plan, net):
    x, J = np.array(s, dtype=float), 0.0
    for u in plan:
        J += stage_cost(x, [u])
        x = dynamics(x, [u]) + np.append([0.0, 0.0], net(features(x, [u])))
    return float(J + x @ P_END @ x)


def _gradient_by_differences(s, plan, net):
    h = 1e-5 * np.eye(len(plan))
    ends = [(_cost_of(s, plan + e, net), _cost_of(s, plan - e, net)) for e in h]
    return _cost_of(s, plan, net), [(up - down) / 2e-5 for up, down in ends]


def _gradient_forwards(s, plan, net):
    x, S, J, g = np.array(s, dtype=float), np.zeros((4, len(plan))), 0.0, np.zeros(len(plan))
    for k, u in enumerate(plan):
        L, z, C = cost_slopes(x, u), features(x, [u]), model_slopes(x, u)
        C = C + np.vstack([np.zeros((2, 5)), net.slope(z) @ feature_slopes(x, u)])
        J, g = J + stage_cost(x, [u]), g + L[:4] @ S
        g[k] += L[4]
        S = C[:, :4] @ S
        S[:, k] += C[:, 4]
        x = dynamics(x, [u]) + np.hstack([0.0, 0.0, net(z)])
    return J + x @ P_END @ x, g + 2.0 * P_END @ x @ S


def _slope_too_late(s, plan, net):
    def slopes(C, x, u, z, net):
        ahead = dynamics(x, [u]) + np.concatenate([[0.0, 0.0], net(z)])
        C[2:] += net.slope(z) @ feature_slopes(ahead, u)
        return C

    return _differentiated(slopes=slopes)(s, plan, net)


def _normalised_handed_on(s, plan, net):
    def model(x, u):
        return dynamics(x / [1.0, 1.0, *SCALE[:2]], [u / SCALE[2]])

    return _differentiated(model=model)(s, plan, net)


def _some_plans(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for N in (3, 5, 4):
        s = rng.uniform([-0.6, 2.0, -0.8, -2.0], [0.6, 3.0, 0.8, 2.0])
        plan = rng.uniform(3.0, 9.0, N) * rng.choice([-1.0, 1.0], N)
        probes.append((s, plan, some_network(rng, 0.3)))
    return probes


debug = Debug(
    5,
    "a gradient that leaves the network out",
    reference=plan_gradient,
    given=gradient_as_given,
    probes=_some_plans,
    compare=close(rtol=1e-5, atol=1e-6, names=("J", "gradient")),
    when_right="This is the price of a network inside: its Jacobian, at every stage of every iteration.",
    hints=[
        "First J: what was the network trained on, and what is it shown here? The state itself stays as it is: x goes "
        "into the model.",
        "Then the gradient: compare it with difference quotients of your J. C is the Jacobian of the whole step, f + "
        "φ; which part of it is missing?",
        "The chain rule: φ depends on z, and z on (x, u). `net.slope(z)` is (2, 5), `feature_slopes(x, u)` (5, 5), and "
        "their product belongs to the rows of v and w.",
    ],
    mistakes=[
        Mistake("only the network's input repaired",
                "J is right now. The gradient still takes φ for a fixed number: C lacks the Jacobian of φ.",
                _differentiated(slopes=_fixed)),
        Mistake("only the gradient repaired",
                "The derivative of φ is in C now. But the network still sees w and F as they are; it was trained on "
                "features(x, u).", _differentiated(_fed_raw, _chained)),
        Mistake("raw state, differentiated as such",
                "The gradient is now that of its J, but J is not the plan's cost: the network still sees w and F as "
                "they are. It was trained on features(x, u).", _differentiated(_fed_raw, _added(_chain_raw))),
        Mistake("network fed x and u",
                "The network sees (p, q, v, w, u) themselves. It was trained on features(x, u).",
                _differentiated(lambda x, ahead, u: np.append(x, u))),
        Mistake("network fed x and u, and fixed",
                "The network sees (p, q, v, w, u) themselves; it was trained on features(x, u). And the gradient still "
                "takes φ for a fixed number.", _differentiated(lambda x, ahead, u: np.append(x, u), _fixed)),
        Mistake("slope twice", "The slope of φ has been added twice.",
                _differentiated(slopes=_added(lambda x, u, z, net: 2.0 * _chain(x, u, z, net)))),
        Mistake("slope in the features",
                "net.slope(z) is a derivative in z. C holds those in (x, u): the chain rule needs "
                "feature_slopes(x, u), too.", _differentiated(slopes=_added(lambda x, u, z, net: net.slope(z)))),
        Mistake("slope in the features, raw state",
                "net.slope(z) is a derivative in z; C holds those in (x, u). And the network still sees the raw state.",
                _differentiated(_fed_raw, _added(lambda x, u, z, net: net.slope(z)))),
        Mistake("slopes of the raw state",
                "J is right, but the chain rule lacks the features' scales: w is divided by 3, and F by 15.",
                _differentiated(slopes=_added(_chain_raw))),
        Mistake("on the positions",
                "The slope of φ was added to the rows of p and q. φ is the error of v and w: rows 2 and 3.",
                _differentiated(slopes=_added(_chain, slice(None, 2)))),
        Mistake("in the state only",
                "φ depends on the force, too: the last column of its slope is missing in C.",
                _differentiated(slopes=_added(_chain, columns=slice(None, 4)))),
        Mistake("in the force only",
                "φ depends on the state, too, and what a force does now φ meets at the next stages: the first four "
                "columns are missing in C.", _differentiated(slopes=_added(_chain, columns=slice(4, None)))),
        Mistake("slope of φ for the whole",
                "The rows of v and w hold the slope of φ alone: that of the model is gone. They are added.",
                _differentiated(slopes=_replaced)),
        Mistake("sign of the slope", "The slope of φ was subtracted; φ is added to f, and so is its slope.",
                _differentiated(slopes=_added(lambda x, u, z, net: -_chain(x, u, z, net)))),
        Mistake("chain rule transposed",
                "feature_slopes(x, u) has been transposed: its rows are the features, as the columns of net.slope(z) "
                "are.", _differentiated(slopes=_added(lambda x, u, z, net: net.slope(z) @ feature_slopes(x, u).T))),
        Mistake("network fed the next state",
                "The network sees the state after the model's step. φ belongs to (x, u), the state that is left.",
                _differentiated(lambda x, ahead, u: features(ahead, [u]))),
        Mistake("slope at the next state",
                "J is right. But the slope of the features is taken at the state after the step: x[-1] is another "
                "state once it has been appended.", _slope_too_late),
        Mistake("network fed the next state, and fixed",
                "The network sees the state after the model's step, and the gradient takes φ for a fixed number.",
                _differentiated(lambda x, ahead, u: features(ahead, [u]), _fixed)),
        Mistake("normalised state handed on",
                "Now the model gets the normalised state, too. Only the network was trained on it: the problem keeps "
                "x and u as they are.", _normalised_handed_on),
        Mistake("normalised twice",
                "w and F have been divided twice: features(x, u) does it already.",
                _differentiated(lambda x, ahead, u: features(x, [u]) / [1.0, 1.0, *SCALE])),
        Mistake("network left out",
                "This is the cost of the plan in the model alone, and its gradient. The two agree, but the network has "
                "gone.", _differentiated(slopes=_fixed, share=0.0)),
        Mistake("network out of J only",
                "J is the cost in the model alone: φ is no longer added to the next state.",
                _differentiated(share=0.0)),
        Mistake("network subtracted", "φ is subtracted from the next state: it is what the model misses.",
                _differentiated(share=-1.0)),
    ],
    variants=[_gradient_by_differences, _gradient_forwards],
)  # fmt: skip

# ----------------------------------------------------------------------------- 6: a model that need not be true

#: Plants whose steps item 2 looks at.
PLANTS = {"dry friction alone": CartPoleParameters(coulomb=FRICTION), "payload and dry friction": LADEN}
SHOWN = hanging_starts(3)  # the lecture's first ones, which may be seen
MOST, LEAST_SHARE = 400.0, 0.5  # of the cost of a run; of the identified model's gain
PLAIN = {"mass": MODEL.mass, "friction": MODEL.friction}


def transitions(n: int = 600, seed: int = 5, plant: CartPoleParameters = LADEN):
    """Return single steps of the lecture's plant: states x (n, 4), forces u (n, 1), next states (n, 4).

    Parameters
    ----------
    n : int
        Steps, from states all over the track.
    seed : int
    plant : CartPoleParameters
    """
    nothing = np.zeros((0, 4)), np.zeros((0, 1))
    return cartpole_transitions(plant, *nothing, np.random.default_rng(seed), anywhere=n)


@cache
def _common() -> tuple[Any, CommonGuess]:
    mpc = cartpole_mpc()
    return mpc, CommonGuess(mpc)


def drive(mass: float, friction: float, starts=SHOWN) -> Run:
    """Drive the lecture's plant by the MPC with a model of this mass and this viscous friction.

    Parameters
    ----------
    mass, friction : float
        kg, N s/m.
    starts : array_like, shape (n, 4)
        By default three that may be seen.

    Returns
    -------
    Run
        120 steps.
    """
    mpc, guess = _common()
    model = replace(MODEL, mass=mass, friction=friction)
    controller = Receding(mpc, with_model(mpc, mpc.parameters.initial(), model), first=guess)
    return run(controller, LADEN, starts, LADEN.draw(0, len(starts), 120))


@cache
def _runs() -> SimpleNamespace:
    """Return what `data/make_05_models.py` has measured."""
    with places.data("models_05.npz") as file:
        return SimpleNamespace(**{name: file[name].astype(float) for name in file.files})


def _cost(mass: float, friction: float) -> np.ndarray:
    """Return min(J, 400) of each hidden start, (20,), with the model of the grid that is nearest."""
    runs = _runs()
    i, j = np.abs(runs.mass - mass).argmin(), np.abs(runs.friction - friction).argmin()
    return np.minimum(runs.cost[i, j], MOST)


def gain_over_plain(mass: float, friction: float) -> float:
    """Return by how much the MPC with this model is cheaper than the plain one, in the mean over the hidden starts.

    Parameters
    ----------
    mass : float
        Of the pole and its payload, kg, from 0.05 to 1.25; what counts is the nearest tenth.
    friction : float
        Viscous, N s/m, from 0 to 6.25; what counts is the nearest half.
    """
    return float((_cost(**PLAIN) - _cost(mass, friction)).mean())


def _hidden(answer, seed: int) -> dict[str, float]:
    if not isinstance(answer, dict) or set(answer) != {"mass", "friction"}:
        raise TypeError("give a dict with the keys mass and friction")
    model = {name: float(np.asarray(value, dtype=float).item()) for name, value in answer.items()}
    if not 0.05 <= model["mass"] <= 1.25:
        raise ValueError(f"the mass must lie between 0.05 and 1.25 kg, and is {model['mass']:g}")
    if not 0.0 <= model["friction"] <= 6.25:
        raise ValueError(f"the friction must lie between 0 and 6.25 N s/m, and is {model['friction']:g}")
    return {"gain over plain": gain_over_plain(**model)}


IDENTIFIED = {"mass": 0.6, "friction": 1.5}  # least squares on `transitions`, rounded to the grid


def _where(test: Callable[[float, float], bool]) -> Callable:
    """Make a predicate from `test(mass, friction)`."""
    return lambda answer, measured: test(float(answer["mass"]), float(answer["friction"]))


design = Design(
    6,
    "a model that need not be true",
    reference=IDENTIFIED,
    measure=_hidden,
    targets={"gain over plain": (">=", LEAST_SHARE * gain_over_plain(**IDENTIFIED))},
    when_right="No viscous friction is dry friction, and several models do: θ is chosen for what the plans are worth.",
    hints=[
        "A force of friction slows the plant down, and the plain model knows of none. Which of the two numbers can say "
        "so, even if not quite truly?",
        "Try every mass and every friction of the grid on the 600 steps: for which is the mean square of the error "
        "in v and w least?",
        "`dynamics(x, u, CartPoleParameters(mass=…, friction=…))` predicts all steps at once; compare its columns 2 "
        "and 3 with those of `ahead`.",
    ],
    mistakes=[
        Mistake("nothing changed", "That is the plain model, so there is nothing to gain.",
                _where(lambda m, b: abs(m - 0.2) < 0.05 and b < 0.25), {"mass": 0.2, "friction": 0.0}),
        Mistake("payload alone",
                "0.4 kg is the payload alone; the pole has its own 0.2 kg. And there is no friction in this model, "
                "which does more than the mass.",
                _where(lambda m, b: abs(m - 0.4) < 0.05 and b < 0.75), {"mass": 0.4, "friction": 0.0}),
        Mistake("heavy without friction",
                "A heavier pole does not stand in for friction: with so much mass and hardly any friction the "
                "plans push as if the cart ran freely.",
                _where(lambda m, b: m >= 0.95 and b < 0.75), {"mass": 1.2, "friction": 0.0}),
        Mistake("no friction",
                "The mass is about right, and yet it gains little: the plans still believe that the cart runs as good "
                "as freely. Friction costs more than the payload.",
                _where(lambda m, b: m >= 0.45 and b < 0.75), {"mass": 0.6, "friction": 0.0}),
        Mistake("hardly any friction",
                "Viscous friction b is a force b v: at 1 m/s yours is below the plant's 3 N, and the mass is too small "
                "as well. One of the two may be off, hardly both.",
                _where(lambda m, b: m < 0.55 and b < 2.75), {"mass": 0.2, "friction": 1.0}),
        Mistake("far too heavy",
                "With this mass the model expects the pole to push the cart about as it does not: the swings come too "
                "late or too far.", _where(lambda m, b: m >= 0.95), {"mass": 1.2, "friction": 3.0}),
        Mistake("too much friction",
                "So much friction slows the model's cart far more than the plant's at high speed: the plans push too "
                "hard. (With less mass the same friction would do.)",
                _where(lambda m, b: b >= 3.25), {"mass": 0.8, "friction": 6.0}),
    ],
    variants=[{"mass": 0.5, "friction": 2.0}, {"mass": 0.42, "friction": 2.9}, {"mass": 0.2, "friction": 4.0}],
)  # fmt: skip

# ----------------------------------------------------------------------- 7: which architecture for which plant

explain = Explain(
    7,
    "which architecture for which plant",
    reference="d",
    choices={
        "a": "Parameterised: θ of its model is identified from the recorded steps, and its viscous friction stands in "
        "for the dry one.",
        "b": "Hierarchical: φ_θ(s) raises the weight on position once the load hangs still; constraints are kept.",
        "c": "Algorithmic: a network proposes the first guess, so that the solver ends in a plan that stops at the "
        "right place.",
        "d": "Parallel: a correction r(s, u) beside it, which is taught −BᵀE/BᵀB on the recorded steps.",
        "e": "Integrated: a residual inside its dynamics, since only a plan that knows of friction can stop at the "
        "right place.",
    },
    reasons={
        1: "Friction acts on the trolley as the motor's force does: its error E lies along B.",
        2: "In the lecture's table parallel has the lowest cost of all.",
        3: "It comes after the solve: the program stays as it is, and a small network takes microseconds.",
        4: "An input that is added to a feasible one is feasible, as the plan has been checked.",
        5: "Its inputs stay far from the motor's limit and its positions far from the ends of the rail.",
        6: "It can be trained by regression: no solver has to be differentiated.",
    },
    carrying=(1, 3, 5),
    when_right="The question is what may be touched, where the error acts, and who keeps the constraints.",
    hints=[
        "For each claim: what would have to be changed in the certified program, and what does a solve then take?",
        "Which of the five can cancel a force at rest at all, with the problem left as it is?",
        "Three reasons: one says that the correction *can* mend this error, one that it *may* and in time, one that it "
        "does no harm.",
    ],
    mistakes=[
        Mistake("parameters are inside",
                "θ stands in the problem that may not be changed. And viscous friction is 0 at rest, where the load "
                "stops: in the lecture it lowers the cost more than the distance.", "a"),
        Mistake("weights are inside",
                "φ is a parameter of the problem, so the problem is changed before each solve. A larger weight makes "
                "the distance smaller, but the plan still knows of no friction.", "b"),
        Mistake("same problem, same minimum",
                "A better guess finds a better minimum of the *same* problem. Its model has no friction: it does not "
                "know that it stops too early.", "c"),
        Mistake("dynamics are inside",
                "A residual changes the program's equations, and a solve takes several times as long, because it is "
                "differentiated at every stage: 7 ms of 10 are gone already. And friction can also be cancelled from "
                "outside.", "e"),
        Mistake("not the lowest cost",
                "Reason 2 is false: there, parallel comes to stand nearest, but a model identified from steps is "
                "cheaper. And it would say nothing of this crane.", 2),
        Mistake("nobody checks the sum",
                "Reason 4 is false: the MPC has checked its own input, and knows nothing of the sum. That is why one "
                "must ask how far the limits are.", 4),
        Mistake("true of the others, too",
                "Reason 6 is true, but also of the parameterised and the integrated one: it does not tell them apart.",
                6),
    ],
)  # fmt: skip

exercise = Exercise(
    5,
    "Where may a network sit?",
    [predict, target, decision, sampling, debug, design, explain],
)
