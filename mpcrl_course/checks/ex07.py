"""Exercise 07, on learning the model or the behaviour: what a house pays, and what moves the parameters of an MPC.

Seven items: a house's balance, a TD step of a terminal value, a policy-gradient step with a critic, a sweep backwards
through a roll-out, compatible features that are not, a rule for the house, and which paradigm for which plant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.closed_loop import Run, run
from mpcrl_course.envs.home import DAY, DT, NOMINAL, Noise, cop, lower
from mpcrl_course.learners.terminal_value import SMALL
from mpcrl_course.policies.house import AHEAD, Thermostat

# ------------------------------------------------------------------------------------------ 1: a house's balance

PUMP, LOAD, PV, WANTED, HELD = 2.4, 0.6, 0.2, 3.0, 0.4  # kW, and in the battery kWh
PRICE, SELL, EFFICIENCY, HEAT = 40.0, 7.0, 0.95, 3.0  # ct/kWh; heat per electricity


def balance(
    pump: float = PUMP, load: float = LOAD, pv: float = PV, battery: float = HELD * EFFICIENCY / DT, sell: float = SELL
) -> float:
    """Return what a quarter of an hour costs, in ct: bought energy at `PRICE`, sold energy at `sell`.

    Parameters
    ----------
    pump, load, pv, battery : float
        Electric powers, kW; that of the battery is what it gives.
    sell : float
        ct/kWh.
    """
    grid = load + pump - pv - battery
    return DT * (PRICE * max(grid, 0.0) - sell * max(-grid, 0.0))


predict = Predict(
    1,
    "what a quarter of an hour costs",
    reference=balance(),
    rtol=0.0,
    atol=0.1,
    when_right="A balance closes with what acts, not with what is asked: the plan of an MPC must know of both stores.",
    hints=[
        "How much of the 0.4 kWh comes out of the battery, and which power is that for a quarter of an hour?",
        "Powers first: bought = load + heat pump − roof − battery, in kW; then times 0.25 h, then times the price.",
    ],
    mistakes=[
        Mistake("what is asked", "The battery gives 3 kW here. It holds 0.4 kWh: for how long would that do?",
                balance(battery=WANTED)),
        Mistake("what is asked, sold at the price",
                "The battery gives 3 kW here, which it does not hold; and what is sold is not paid like what is "
                "bought.", balance(battery=WANTED, sell=PRICE)),
        Mistake("no loss", "All of the 0.4 kWh comes out here: 5 % of it are lost on the way.",
                balance(battery=HELD / DT)),
        Mistake("loss the wrong way round",
                "More comes out of the battery than it holds: going out, it is times 0.95.",
                balance(battery=HELD / EFFICIENCY / DT)),
        Mistake("energy for power",
                "0.4 kWh, or what is left of it, is subtracted from powers in kW. In a quarter of an hour it is four "
                "times as many kW.", (balance(battery=HELD) - 0.05, balance(battery=HELD * EFFICIENCY) + 0.05)),
        Mistake("an hour", "This is the cost of an hour at this power. A step is a quarter of one.", balance() / DT),
        Mistake("heat for electricity",
                "The pump's heat is in your balance. What is paid for is its electric power, 2.4 kW.",
                balance(pump=HEAT * PUMP)),
        Mistake("divided by the coefficient of performance",
                "2.4 kW is the electric power already: the coefficient of performance says what heat it makes.",
                balance(pump=PUMP / HEAT)),
        Mistake("roof forgotten", "The roof's 0.2 kW need not be bought.", balance(pv=0.0)),
        Mistake("roof with the wrong sign", "The roof's power is added to what is bought; it makes it less.",
                balance(pv=-PV)),
        Mistake("load forgotten", "The 0.6 kW of what is plugged in are missing.", balance(load=0.0)),
        Mistake("battery forgotten", "This is the cost with an idle battery.", balance(battery=0.0)),
        Mistake("battery with the wrong sign", "The battery is charged here, not discharged.",
                balance(battery=-HELD * EFFICIENCY / DT)),
        Mistake("euros, or kWh", "This is in euros, or still in kWh: cents are asked for.", (0.125, 0.325)),
    ],
)  # fmt: skip

# -------------------------------------------------------------------------------- 2: TD step of a terminal value


class Features:
    """Features ``phi(s)`` of a state s (2,): the squares, hinges and 1; shape (4 + hinges,).

    Parameters
    ----------
    hinges : array_like, shape (n, 2)
    """

    def __init__(self, hinges):
        self._hinges = np.array(hinges, dtype=float)

    def __call__(self, s) -> np.ndarray:
        """Return phi(s)."""
        s = np.asarray(s, dtype=float)
        if s.shape != (2,):
            raise ValueError(f"phi(s) wants one state (2,), not {s.shape}")
        squares = [s[0] ** 2, 2.0 * s[0] * s[1], s[1] ** 2]
        return np.concatenate([squares, np.maximum(0.0, 2.0 + self._hinges @ s), [1.0]])

    def __repr__(self):
        return "phi"


class Model:
    """A model ``f(s, a)`` = A s + B a (2,) of the mean of the next state, for s (2,) and a (1,).

    Parameters
    ----------
    A : array_like, shape (2, 2)
    B : array_like, shape (2,)
    """

    def __init__(self, A, B):
        self._A, self._B = np.array(A, dtype=float), np.array(B, dtype=float)

    def __call__(self, s, a) -> np.ndarray:
        """Return the mean of the next state."""
        return self._A @ np.asarray(s) + self._B * np.asarray(a).item()

    def __repr__(self):
        return "f"


def td_update(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha):
    """Return theta after a normalised step of TD(0), and the TD error; see the module `learners.terminal_value`.

    phi(s) are the features, f(s, a) the MPC's model of the mean, and (s, a, cost, s_next, terminated) what happened;
    gamma discounts, alpha is the size of the step.
    """
    return _td()(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha)


def _td(
    after: Callable = lambda f, s, a, s_next: s_next,
    end: Callable = lambda terminated: 1.0 - terminated,
    error: Callable = lambda cost, gamma, v_next, v: cost + gamma * v_next - v,
    direction: Callable = lambda now, ahead, gamma: now,
    size: Callable = lambda now: now @ now + SMALL,
    move: Callable = lambda theta, step: theta + step,
    told: Callable = lambda delta, again: delta,
) -> Callable:
    """Make the step from its parts; each may be replaced by a faulty one."""

    def td(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha):
        now, ahead = phi(s), phi(after(f, s, a, s_next)) * end(terminated)
        delta = error(cost, gamma, ahead @ theta, now @ theta)
        new = move(theta, alpha * delta * direction(now, ahead, gamma) / size(now))
        return new, told(delta, error(cost, gamma, ahead @ new, now @ new))

    return td


def _td_with_branches(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha):
    target = cost
    if not terminated:
        target += gamma * sum(t * p for t, p in zip(theta, phi(s_next)))
    delta = target - np.dot(phi(s), theta)
    norm = 0.1 + np.linalg.norm(phi(s)) ** 2
    return [t + alpha / norm * delta * p for t, p in zip(theta, phi(s))], delta


def _td_by_difference(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha):
    change = phi(s) - gamma * phi(s_next) * (not terminated)
    delta = cost - change @ theta
    theta += alpha * delta * phi(s) / (0.1 + np.square(phi(s)).sum())
    return {"theta": theta, "delta": delta}


def _td_silent_at_the_end(theta, phi, f, s, a, cost, s_next, terminated, *rest):
    if terminated:
        return theta, 0.0
    return td_update(theta, phi, f, s, a, cost, s_next, terminated, *rest)


def _some_transition(rng: np.random.Generator, n: int, terminated: bool = False, small: bool = False) -> tuple:
    s = rng.uniform(0.4, 1.2, 2) * rng.choice([-1, 1], 2)
    phi = Features(rng.uniform(-1.0, 1.0, (n, 2)))
    f, a = Model(rng.uniform(-0.6, 0.9, (2, 2)), rng.uniform(0.2, 0.7, 2)), rng.uniform(-0.9, 0.9, 1)
    s_next = f(s, a) + rng.uniform(0.2, 0.5, 2) * rng.choice([-1, 1], 2)
    theta = rng.uniform(0.4, 1.6, n + 4)
    return theta, phi, f, s, a, rng.uniform(0.5, 3.0), s_next, terminated, rng.uniform(0.7, 0.95), rng.uniform(0.2, 0.6)


terminal = Fill(
    2,
    "a TD step of a terminal value",
    reference=td_update,
    probes=lambda rng: [_some_transition(rng, 2), _some_transition(rng, 3, terminated=True),
                        _some_transition(rng, 1), _some_transition(rng, 4)],
    compare=close(rtol=1e-7, atol=1e-9, names=("theta", "delta")),
    when_right="Aligned: the value is fitted to what happened, and no derivative of the policy is needed.",
    hints=[
        "The target is what was paid, and γ times the value of the state that *came*; after an end nothing is paid.",
        "`delta = cost + gamma * (1 - terminated) * phi(s_next) @ theta - phi(s) @ theta`",
        "Only V(s) is moved, not its target: the direction is phi(s), over its square length plus 0.1.",
    ],
    mistakes=[
        Mistake("mean model",
                "Your target takes the value of f(s, a), the model's mean. V is not linear: the mean of V(s⁺) is not V "
                "at the mean, and what the noise costs would never be learned.",
                _td(after=lambda f, s, a, s_next: f(s, a))),
        Mistake("no discount", "γ is missing before the value of the next state.",
                _td(error=lambda cost, gamma, v_next, v: cost + v_next - v)),
        Mistake("end ignored", "In one call the episode has ended: what comes after it costs nothing.",
                _td(end=lambda terminated: 1.0)),
        Mistake("end turned round", "The next value counts only where the episode has ended: it is the other way "
                "round.", _td(end=lambda terminated: float(terminated))),
        Mistake("no next value", "The value of the next state is missing in the target: this fits the stage cost.",
                _td(end=lambda terminated: 0.0)),
        Mistake("cost forgotten", "The stage cost is missing in δ.",
                _td(error=lambda cost, gamma, v_next, v: gamma * v_next - v)),
        Mistake("target for the error", "This is the target. V(s) must be subtracted from it.",
                _td(error=lambda cost, gamma, v_next, v: cost + gamma * v_next)),
        Mistake("cost discounted", "γ multiplies the cost, too: it is paid now.",
                _td(error=lambda cost, gamma, v_next, v: gamma * (cost + v_next) - v)),
        Mistake("discount on the wrong value", "γ stands at V(s); it belongs to the next state's value.",
                _td(error=lambda cost, gamma, v_next, v: cost + v_next - gamma * v)),
        Mistake("sign of δ", "δ has the wrong sign, V(s) minus the target, and θ moves away from the target.",
                _td(error=lambda cost, gamma, v_next, v: v - cost - gamma * v_next)),
        Mistake("sign of δ, descent",
                "θ is right. But your δ is V(s) minus the target: it is asked for as target minus V(s).",
                _td(error=lambda cost, gamma, v_next, v: v - cost - gamma * v_next,
                    move=lambda theta, step: theta - step)),
        Mistake("wrong way", "δ is right, and θ moves against it: V(s) must come nearer to its target.",
                _td(move=lambda theta, step: theta - step)),
        Mistake("step only", "The first part is the change of θ; the new θ is asked for.",
                _td(move=lambda theta, step: step)),
        Mistake("not normalised", "The step is not divided by |φ|² + 0.1.", _td(size=lambda now: 1.0)),
        Mistake("0.1 forgotten", "The step is divided by |φ|² alone: 0.1 is missing.", _td(size=lambda now: now @ now)),
        Mistake("length for its square", "The step is divided by |φ| + 0.1: it is the square of the length.",
                _td(size=lambda now: np.sqrt(now @ now) + SMALL)),
        Mistake("0.1 outside", "The step is divided by |φ|², and then 0.1 is added: mind the brackets.",
                lambda theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha: (
                    _td(size=lambda now: now @ now)(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha)[0]
                    + SMALL, td_update(theta, phi, f, s, a, cost, s_next, terminated, gamma, alpha)[1])),
        Mistake("residual gradient",
                "The target is moved, too: along φ(s) − γ φ(s⁺) it is the residual gradient. TD takes the target as a "
                "number.", _td(direction=lambda now, ahead, gamma: now - gamma * ahead)),
        Mistake("next features", "θ moves along φ(s⁺). V is corrected where it was wrong: at s.",
                lambda theta, phi, f, s, a, cost, s_next, *rest:
                _td(direction=lambda now, ahead, gamma: phi(s_next))(theta, phi, f, s, a, cost, s_next, *rest)),
        Mistake("nothing learned at the end",
                "Where the episode ends nothing is learned here. Its last cost is a target, too: only the value after "
                "it is 0.", _td_silent_at_the_end),
        Mistake("squared error", "δ is squared: it must keep its sign, which says whether V(s) was too small.",
                _td(error=lambda cost, gamma, v_next, v: (cost + gamma * v_next - v) ** 2)),
        Mistake("parts swapped", "The two parts have changed places: first θ, then δ.",
                lambda *call: td_update(*call)[::-1]),
        Mistake("discount twice", "The next value is discounted twice.",
                _td(error=lambda cost, gamma, v_next, v: cost + gamma**2 * v_next - v)),
        Mistake("δ after the step", "θ is right, but δ is taken with the new θ. It is the error before the step.",
                _td(told=lambda delta, again: again)),
        Mistake("normalised by the next features", "The step is divided by the length of φ(s⁺); it is that of φ(s).",
                lambda theta, phi, f, s, a, cost, s_next, *rest:
                _td(size=lambda now: phi(s_next) @ phi(s_next) + SMALL)(theta, phi, f, s, a, cost, s_next, *rest)),
    ],
    variants=[_td_with_branches, _td_by_difference],
)  # fmt: skip

# --------------------------------------------------------------------- 3: a policy-gradient step with a critic


class Policy:
    """A policy ``pi(theta, s)`` (K, m) of states s (K, n); ``pi.slope(theta, s)`` (K, m, p) is dpi/dtheta.

    Parameters
    ----------
    W : array_like, shape (m, n, p)
    offset : float
        Of tanh's argument.
    """

    def __init__(self, W, offset: float):
        self._W, self._offset = np.array(W, dtype=float), offset

    def _inner(self, theta, s):
        theta, s = np.asarray(theta, dtype=float), np.asarray(s, dtype=float)
        if theta.shape != self._W.shape[2:] or s.ndim != 2 or s.shape[1] != self._W.shape[1]:
            raise ValueError(f"pi wants theta {self._W.shape[2:]} and s (K, {self._W.shape[1]}), not {theta.shape} "
                             f"and {s.shape}")  # fmt: skip
        return np.einsum("mnp,kn->kmp", self._W, s), theta

    def __call__(self, theta, s) -> np.ndarray:
        """Return the actions."""
        z, theta = self._inner(theta, s)
        return np.tanh(z @ theta + self._offset)

    def slope(self, theta, s) -> np.ndarray:
        """Return the Jacobians in theta."""
        z, theta = self._inner(theta, s)
        return (1.0 - np.tanh(z @ theta + self._offset) ** 2)[:, :, None] * z

    def __repr__(self):
        return "pi"


class Critic:
    """A critic Q(s, a), of which ``critic.slope(s, a)`` (K, m) is dQ/da; for s (K, n) and a (K, m).

    Parameters
    ----------
    H : array_like, shape (m, m)
    G : array_like, shape (m, n)
    """

    def __init__(self, H, G):
        self._H, self._G = np.array(H, dtype=float), np.array(G, dtype=float)

    def slope(self, s, a) -> np.ndarray:
        """Return dQ/da."""
        s, a = np.asarray(s, dtype=float), np.asarray(a, dtype=float)
        if a.ndim != 2 or a.shape[1] != len(self._H) or s.shape != (len(a), self._G.shape[1]):
            raise ValueError(f"critic.slope wants s (K, {self._G.shape[1]}) and a (K, {len(self._H)}), not {s.shape} "
                             f"and {a.shape}")  # fmt: skip
        return a @ self._H.T + s @ self._G.T

    def __repr__(self):
        return "critic"


def policy_step(theta, s, a, pi, critic, alpha, largest, lower, upper):
    """Return the policy gradient g (p,), and theta after a step of at most alpha * largest, within its bounds.

    s (K, n) are the states of a roll-out, a (K, m) the actions with noise; pi is the policy, critic
    has the slope of Q, and theta stays within lower and upper.
    """
    return _stepped()(theta, s, a, pi, critic, alpha, largest, lower, upper)


def _mean_product(D, q):
    return np.einsum("kmp,km->p", D, q) / len(q)


def _shortened(g, largest):
    return min(1.0, largest / np.linalg.norm(g))


def _stepped(
    where: Callable = lambda pi, theta, s, a: pi(theta, s),
    product: Callable = _mean_product,
    factor: Callable = _shortened,
    step: Callable = lambda theta, change: theta - change,
    cut: Callable = np.clip,
    told: Callable = lambda g, shorter: g,
) -> Callable:
    """Make the step from its parts; each may be replaced by a faulty one."""

    def stepped(theta, s, a, pi, critic, alpha, largest, lower, upper):
        g = product(pi.slope(theta, s), critic.slope(s, where(pi, theta, s, a)))
        return told(g, factor(g, largest) * g), cut(step(theta, alpha * factor(g, largest) * g), lower, upper)

    return stepped


def _stepped_one_by_one(theta, s, a, pi, critic, alpha, largest, lower, upper):
    parts = []
    for one in s:
        at, x = pi(theta, one[None]), one[None]
        parts.append(pi.slope(theta, x)[0].T @ critic.slope(x, at)[0])
    g = np.mean(parts, axis=0)
    length = float(np.sqrt((g**2).sum()))
    direction = g * largest / length if length > largest else g
    return [g, np.minimum(np.maximum(theta - alpha * direction, lower), upper)]


def _stepped_by_matmul(theta, s, a, pi, critic, alpha, largest, lower, upper):
    D = pi.slope(theta, s)
    g = (D * critic.slope(s, pi(theta, s))[:, :, None]).sum(axis=1).mean(axis=0)
    theta = theta - alpha * g / max(1.0, np.linalg.norm(g) / largest)
    return {"g": g, "theta": np.clip(theta, lower, upper)}


def _times_noise(theta, s, a, pi, critic, alpha, largest, lower, upper):
    e = a - pi(theta, s)

    def product(D, q):
        return _mean_product(D, e * q)

    return _stepped(product=product)(theta, s, a, pi, critic, alpha, largest, lower, upper)


def _step_shortened(theta, s, a, pi, critic, alpha, largest, lower, upper):
    return _stepped(factor=lambda g, G: min(1.0, G / np.linalg.norm(alpha * g)))(
        theta, s, a, pi, critic, alpha, largest, lower, upper)  # fmt: skip


def _clipped_change(theta, s, a, pi, critic, alpha, largest, lower, upper):
    g, _ = policy_step(theta, s, a, pi, critic, alpha, largest, lower, upper)
    return g, theta + np.clip(-alpha * _shortened(g, largest) * g, lower, upper)


def _some_rollout(rng: np.random.Generator, K: int, m: int, long: bool) -> tuple:
    n, p = 3, 4
    theta, s = rng.uniform(0.3, 1.2, p), rng.uniform(0.3, 1.5, (K, n)) * rng.choice([-1, 1], (K, n))
    W = rng.uniform(0.2, 0.8, (m, n, p)) * rng.choice([-1, 1], (m, n, p))
    pi = Policy(W, rng.uniform(0.3, 0.6))
    critic = Critic(np.eye(m) + rng.uniform(0.2, 0.8, (m, m)), rng.uniform(0.5, 1.5, (m, n)))
    a = pi(theta, s) + rng.uniform(0.3, 0.8, (K, m)) * rng.choice([-1, 1], (K, m))
    g = _mean_product(pi.slope(theta, s), critic.slope(s, pi(theta, s)))
    largest = np.linalg.norm(g) * (rng.uniform(0.3, 0.6) if long else rng.uniform(1.3, 1.8))
    change = -0.4 * _shortened(g, largest) * g  # one bound of each side is met
    low, high = theta + np.minimum(9 * change, -0.1), theta + np.maximum(9 * change, 0.1)
    i = int(np.argmax(np.abs(change)))
    (low if change[i] < 0 else high)[i] = theta[i] + 0.5 * change[i]
    return theta, s, a, pi, critic, 0.4, largest, low, high


def _some_rollouts(rng):
    calls = [
        _some_rollout(rng, K, m, long) for K, m, long in ((3, 2, False), (5, 1, True), (4, 3, True), (2, 2, False))
    ]
    return [*calls, *(_other_side(call) for call in calls[:2])]


def _other_side(call: tuple) -> tuple:
    """Return the call with a critic that says the opposite, and bounds mirrored at theta: the other ones are met."""
    theta, s, a, pi, critic, alpha, largest, low, high = call
    return theta, s, a, pi, Critic(-critic._H, -critic._G), alpha, largest, 2 * theta - high, 2 * theta - low


step = Fill(
    3,
    "a policy-gradient step with a critic",
    reference=policy_step,
    probes=_some_rollouts,
    compare=close(rtol=1e-7, atol=1e-10, names=("g", "theta")),
    when_right="Closed-loop: the critic says which action would have been better, the Jacobian how θ moves it.",
    hints=[
        "The gradient is that of Q(s, π_θ(s)) in θ, by the chain rule: at which action is dQ/da taken?",
        "`D = pi.slope(theta, s)` is (K, m, p) and `q = critic.slope(s, pi(theta, s))` is (K, m): sum over m, mean "
        "over K, as in `np.einsum('kmp,km->p', D, q) / len(s)`.",
        "The factor min(1, largest / |g|) shortens a long gradient; costs are minimised; clip last.",
    ],
    mistakes=[
        Mistake("at the noisy action",
                "The critic's slope is taken at a, the actions with noise. The gradient is that of Q(s, π(s)): take it "
                "at π(s).", _stepped(where=lambda pi, theta, s, a: a)),
        Mistake("at the noise", "The critic's slope is taken at a − π, the noise alone; it is asked at an action.",
                _stepped(where=lambda pi, theta, s, a: a - pi(theta, s))),
        Mistake("at zero", "The critic's slope is taken at the action 0.",
                _stepped(where=lambda pi, theta, s, a: 0.0 * a)),
        Mistake("uphill", "θ moves along g: Q is a cost, which is minimised.",
                _stepped(step=lambda theta, change: theta + change)),
        Mistake("sum for the mean", "g is a sum over the roll-out; a mean is asked for.",
                _stepped(product=lambda D, q: np.einsum("kmp,km->p", D, q))),
        Mistake("mean over the actions, too",
                "g is a mean over states *and* actions. Over the components of the action the chain rule sums.",
                _stepped(product=lambda D, q: _mean_product(D, q) / q.shape[1])),
        Mistake("product of means",
                "The mean Jacobian is multiplied by the mean slope. State by state first, then the mean.",
                _stepped(product=lambda D, q: D.mean(0).T @ q.mean(0))),
        Mistake("first action only", "Only the first component of the action is in g: sum over all of them.",
                _stepped(product=lambda D, q: np.einsum("kp,k->p", D[:, 0], q[:, 0]) / len(q))),
        Mistake("all components mixed",
                "Each component's Jacobian is multiplied by the sum of all slopes. Component m of the one goes with "
                "component m of the other.",
                _stepped(product=lambda D, q: np.einsum("kmp,kl->p", D, q) / len(q))),
        Mistake("last state only", "g is that of the last state alone: does your loop add up, or overwrite?",
                _stepped(product=lambda D, q: D[-1].T @ q[-1])),
        Mistake("not shortened", "g is right, but a long gradient is not shortened to `largest`.",
                _stepped(factor=lambda g, largest: 1.0)),
        Mistake("always that long",
                "g is right, but a short one is made longer: only one that is longer than `largest` is changed.",
                _stepped(factor=lambda g, largest: largest / np.linalg.norm(g))),
        Mistake("direction only", "g is right, but every step has the length α: the direction alone counts here.",
                _stepped(factor=lambda g, largest: 1.0 / np.linalg.norm(g))),
        Mistake("shortened entry by entry",
                "g is right, but its entries are clipped one by one, which turns it. The whole is shortened.",
                _stepped(factor=lambda g, largest: np.clip(g, -largest, largest) / g)),
        Mistake("max for min",
                "g is right, but a long gradient stays and a short one is made longer: the factor is at most 1.",
                _stepped(factor=lambda g, largest: max(1.0, largest / np.linalg.norm(g)))),
        Mistake("largest entry for the length",
                "g is right, but it is shortened until its largest entry is `largest`; |g| is the length of the whole.",
                _stepped(factor=lambda g, largest: min(1.0, largest / np.abs(g).max()))),
        Mistake("step shortened", "g is right, but α g is shortened to `largest`: shorten g, then multiply by α.",
                _step_shortened),
        Mistake("times the noise",
                "The critic's slope is multiplied by a − π as well. The noise was for learning the critic; it has no "
                "place in the gradient.", _times_noise),
        Mistake("shortened by the square", "g is right, but |g|² stands where |g| should.",
                _stepped(factor=lambda g, largest: min(1.0, largest / (g @ g)))),
        Mistake("shortened gradient returned", "θ is right, but g is the shortened one: the true one is asked for.",
                _stepped(told=lambda g, shorter: shorter)),
        Mistake("not clipped", "g is right, but θ leaves its bounds.",
                _stepped(cut=lambda theta, low, high: theta)),
        Mistake("upper bound only", "θ is not clipped at its lower bound.",
                _stepped(cut=lambda theta, low, high: np.minimum(theta, high))),
        Mistake("lower bound only", "θ is not clipped at its upper bound.",
                _stepped(cut=lambda theta, low, high: np.maximum(theta, low))),
        Mistake("change clipped", "The change of θ is clipped to the bounds; they are bounds of θ itself.",
                _clipped_change),
        Mistake("change returned", "The second part is the change of θ, or clipped as if it were θ: add it to θ.",
                _stepped(step=lambda theta, change: -change)),
    ],
    variants=[_stepped_one_by_one, _stepped_by_matmul],
)  # fmt: skip

# ------------------------------------------------------------------- 4: backwards through a roll-out, with a window


def sweep(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    """Return dJ/dtheta (p,) of a roll-out of K steps; see `learners.through_time.backward_sweep`.

    A (K, n, n), B (K, n, m), L_s (K, n), L_u (K, m), pi_theta (K, m, p) and pi_s (K, m, n) are slopes; lam starts anew
    after every `window` steps; gamma discounts.
    """
    return _swept()(A, B, L_s, L_u, pi_theta, pi_s, window, gamma)


def _swept(
    anew: Callable = lambda k, window, K: (k + 1) % window == 0,
    input_slope: Callable = lambda L_u, B, lam, gamma: L_u + gamma * B.T @ lam,
    back: Callable = lambda L_s, A, lam, pi_s, q, gamma: L_s + gamma * A.T @ lam + pi_s.T @ q,
    add: Callable = lambda g, part: g + part,
    steps: Callable = lambda K: range(K - 1, -1, -1),
    late: bool = False,
    stale: bool = False,
) -> Callable:
    """Make the sweep from its parts; each may be replaced by a faulty one."""

    def swept(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
        K, lam, g = len(A), np.zeros(A.shape[1]), np.zeros(pi_theta.shape[2])
        for k in steps(K):
            if anew(k, window, K):
                lam = np.zeros_like(lam)
            before = lam
            q = input_slope(L_u[k], B[k], lam, gamma)
            lam = back(L_s[k], A[k], lam, pi_s[k], q, gamma)
            if late:
                q = input_slope(L_u[k], B[k], lam, gamma)
            g = add(g, pi_theta[k].T @ q)
            lam = before if stale else lam
        return g

    return swept


def _swept_forwards(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    """Carry ds/dtheta forwards, anew in each window; the discount of a part counts from its step."""
    g = np.zeros(pi_theta.shape[2])
    for first in range(0, len(A), window):
        held = [np.zeros((A.shape[1], len(g))) for _ in range(window)]  # of theta in each step apart
        for k in range(first, min(first + window, len(A))):
            for j in range(k - first + 1):
                own = pi_s[k] @ held[j] + (pi_theta[k] if j == k - first else 0.0)
                g += gamma ** (k - first - j) * (held[j].T @ L_s[k] + own.T @ L_u[k])
                held[j] = A[k] @ held[j] + B[k] @ own
    return g


def _swept_in_blocks(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    g = np.zeros(pi_theta.shape[2])
    for first in range(0, len(A), window):
        lam = np.zeros(A.shape[2])
        for k in reversed(range(first, min(first + window, len(A)))):
            g = g + (L_u[k] + gamma * lam @ B[k]) @ pi_theta[k]
            closed = A[k] + B[k] @ pi_s[k]
            lam = L_s[k] + L_u[k] @ pi_s[k] + gamma * lam @ closed
    return g[None]


def _sweep_without_cost(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    lam, g = np.zeros(A.shape[1]), 0.0
    for k in reversed(range(len(A))):
        lam = 0.0 * lam if (k + 1) % window == 0 else lam
        g = g + pi_theta[k].T @ (L_u[k] + gamma * B[k].T @ lam)
        lam = L_s[k] + gamma * (A[k] + B[k] @ pi_s[k]).T @ lam
    return g


def _set_back_after(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    lam, g = np.zeros(A.shape[1]), 0.0
    for k in reversed(range(len(A))):
        q = L_u[k] + gamma * B[k].T @ lam
        g = g + pi_theta[k].T @ q
        lam = 0.0 * lam if (k + 1) % window == 0 else L_s[k] + gamma * A[k].T @ lam + pi_s[k].T @ q
    return g


def _discounted_from_0(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    weights = gamma ** np.arange(len(A))
    return sweep(A, B, L_s, L_u, weights[:, None, None] * pi_theta, pi_s, window, gamma)


def _last_window(A, B, L_s, L_u, pi_theta, pi_s, window, gamma):
    first = (len(A) - 1) // window * window
    return sweep(A[first:], B[first:], L_s[first:], L_u[first:], pi_theta[first:], pi_s[first:], window, gamma)


def _some_slopes(rng: np.random.Generator, K: int, window: int, m: int = 2, n: int = 3, p: int = 4) -> tuple:
    def draw(*shape):
        return rng.uniform(0.3, 1.0, shape) * rng.choice([-1, 1], shape)

    return (draw(K, n, n), draw(K, n, m), draw(K, n), draw(K, m), draw(K, m, p), 0.6 * draw(K, m, n), window,
            rng.uniform(0.7, 0.95))  # fmt: skip


backwards = Fill(
    4,
    "backwards through a roll-out, with a window",
    reference=sweep,
    probes=lambda rng: [_some_slopes(rng, 7, 3), _some_slopes(rng, 5, 9, m=1), _some_slopes(rng, 6, 2, n=2),
                        _some_slopes(rng, 4, 1, m=3), _some_slopes(rng, 8, 4)],
    compare=close(rtol=1e-7, atol=1e-9),
    when_right="Exact, as long as slopes of the plant are known; the window keeps λ from growing over a long roll-out.",
    hints=[
        "Start with λ = 0 and go from k = K − 1 down to 0. What is λ where a window ends?",
        "`if (k + 1) % window == 0: lam = np.zeros_like(lam)`, before q is made.",
        "`q = L_u[k] + gamma * B[k].T @ lam`; add `pi_theta[k].T @ q`; `lam = L_s[k] + gamma * A[k].T @ lam + "
        "pi_s[k].T @ q`.",
    ],
    mistakes=[
        Mistake("no window", "λ is never set back: in a short window your gradient sees all of the future.",
                _swept(anew=lambda k, window, K: False)),
        Mistake("window one step late",
                "λ is set back one step too early in the sweep: at k % window == 0. It is zero *after* the last step "
                "of a window, (k + 1) % window == 0.", _swept(anew=lambda k, window, K: k % window == 0)),
        Mistake("windows from the end",
                "Your windows are counted from the end of the roll-out. They are counted from its beginning.",
                _swept(anew=lambda k, window, K: (K - 1 - k) % window == 0)),
        Mistake("windows from the end, one step late",
                "Your windows are counted from the end of the roll-out, and the first of them is a step longer. They "
                "are counted from its beginning.", _swept(anew=lambda k, window, K: (K - k) % window == 0)),
        Mistake("set back after the step",
                "λ is set back when the last step of a window has been done, so that the slope of that step's own "
                "cost is lost. It is set back before.", _set_back_after),
        Mistake("discount on q", "q is discounted on its way into λ: it is paid in the same step as L_s.",
                _swept(back=lambda L_s, A, lam, pi_s, q, gamma: L_s + gamma * (A.T @ lam + pi_s.T @ q))),
        Mistake("γ to the k",
                "Each step's part is multiplied by γ^k once more. The γ in the recursion is the only one here.",
                _discounted_from_0),
        Mistake("only the last window", "The sweep ends after one window: the windows before it count as well.",
                _last_window),
        Mistake("no future", "λ is never used in q: what a force does to later states is left out.",
                _swept(input_slope=lambda L_u, B, lam, gamma: L_u)),
        Mistake("cost of the force forgotten", "L_u is missing in q: the force costs by itself, too.",
                _swept(input_slope=lambda L_u, B, lam, gamma: gamma * B.T @ lam)),
        Mistake("no discount", "γ is missing at both places.",
                _swept(input_slope=lambda L_u, B, lam, gamma: L_u + B.T @ lam,
                       back=lambda L_s, A, lam, pi_s, q, gamma: L_s + A.T @ lam + pi_s.T @ q)),
        Mistake("no discount in q", "γ is missing in q: λ belongs to the next step.",
                _swept(input_slope=lambda L_u, B, lam, gamma: L_u + B.T @ lam)),
        Mistake("no discount in λ", "γ is missing in the step of λ.",
                _swept(back=lambda L_s, A, lam, pi_s, q, gamma: L_s + A.T @ lam + pi_s.T @ q)),
        Mistake("policy held fixed",
                "The way through the policy is missing in λ: a later state also changes what is done there, "
                "(∂π/∂s)ᵀ q.", _swept(back=lambda L_s, A, lam, pi_s, q, gamma: L_s + gamma * A.T @ lam)),
        Mistake("cost of the policy's change forgotten",
                "λ goes back through A + B ∂π/∂s, but what the policy's change costs is left out: it is q, not only "
                "its second part, that ∂π/∂s carries back.",
                _sweep_without_cost),
        Mistake("plant forgotten", "Aᵀλ is missing: how does a state go on by itself?",
                _swept(back=lambda L_s, A, lam, pi_s, q, gamma: L_s + pi_s.T @ q)),
        Mistake("cost of the state forgotten", "L_s is missing in λ.",
                _swept(back=lambda L_s, A, lam, pi_s, q, gamma: gamma * A.T @ lam + pi_s.T @ q)),
        Mistake("A not transposed", "A is not transposed: backwards it is Aᵀ that carries λ.",
                _swept(back=lambda L_s, A, lam, pi_s, q, gamma: L_s + gamma * A @ lam + pi_s.T @ q)),
        Mistake("forwards", "Your loop runs forwards. λ comes from the future: begin with the last step.",
                _swept(steps=range)),
        Mistake("last step missing", "The sweep begins one step too early in time: the last is K − 1.",
                _swept(steps=lambda K: range(K - 2, -1, -1))),
        Mistake("first step missing", "The sweep ends before step 0.", _swept(steps=lambda K: range(K - 1, 0, -1))),
        Mistake("overwritten", "g is the part of step 0 alone: does your loop add up, or overwrite?",
                _swept(add=lambda g, part: part)),
        Mistake("λ of the wrong stage", "q is made with λ after its own step: it needs λ of k + 1, before that.",
                _swept(late=True)),
        Mistake("λ added up", "λ is added to itself at each step; it is replaced.",
                _swept(back=lambda L_s, A, lam, pi_s, q, gamma: lam + L_s + gamma * A.T @ lam + pi_s.T @ q)),
        Mistake("mean over the steps", "g is a mean; J is a sum over the steps.",
                lambda A, *rest: sweep(A, *rest) / len(A)),
        Mistake("minus g", "All signs are turned: the gradient is asked for, not the step.",
                lambda *call: -sweep(*call)),
    ],
    variants=[_swept_forwards, _swept_in_blocks],
)  # fmt: skip


# ------------------------------------------------------------------------------ 5: compatible features that are not


def advantage_gradient(plan, slope, a, td, regularisation):
    """Return w (p,) of the advantage, and the policy gradient g (p,).

    Of K plans `plan` (K, N, m) are the inputs of all N stages and `slope` (K, N, m, p) their Jacobians in theta; a
    (K, m) is what was applied, td (K,) are the TD errors; `regularisation` is that of the least squares.
    """
    return _advantage()(plan, slope, a, td, regularisation)


def gradient_as_given(plan, slope, a, td, regularisation):
    """Return what item 5 is given: of plan, slope, a, td and regularisation, with two faults."""
    return _advantage(jacobian=_last, difference=_no_difference)(plan, slope, a, td, regularisation)


def _first(slope):
    return slope[:, 0]


def _last(slope):
    return slope[:, -1]


def _no_difference(a, plan):
    return a


def _solved(psi, td, regularisation):
    return np.linalg.solve(psi.T @ psi + regularisation * np.eye(psi.shape[1]), psi.T @ td)


def _advantage(
    jacobian: Callable = _first,
    difference: Callable = lambda a, plan: a - plan[:, 0],
    weights: Callable = _solved,
    other: Callable | None = None,
    gradient: Callable = lambda D, w: np.einsum("kmp,km->p", D, D @ w) / len(D),
) -> Callable:
    """Make the gradient from its parts; each may be replaced by a faulty one. `other`: the Jacobian in g."""

    def advantage(plan, slope, a, td, regularisation):
        D = jacobian(slope)
        w = weights(np.einsum("kmp,km->kp", D, difference(a, plan)), td, regularisation)
        return w, gradient((other or jacobian)(slope), w)

    return advantage


def _advantage_one_by_one(plan, slope, a, td, regularisation):
    D = [one[0] for one in slope]
    psi = np.array([J.T @ (own - inputs[0]) for J, own, inputs in zip(D, a, plan)])
    p = psi.shape[1]
    rows = np.vstack([psi, np.sqrt(regularisation) * np.eye(p)])
    w = np.linalg.lstsq(rows, np.concatenate([td, np.zeros(p)]), rcond=None)[0]
    return {"w": w, "g": sum(J.T @ J @ w for J in D) / len(D)}


def _advantage_by_matmul(plan, slope, a, td, regularisation):
    D, e = slope[:, 0], a - plan[:, 0, :]
    psi = (e[:, None, :] @ D)[:, 0]
    w = np.linalg.inv(psi.T @ psi + regularisation * np.eye(D.shape[2])) @ (psi.T @ td)
    return w, (D.transpose(0, 2, 1) @ D).mean(axis=0) @ w


def some_plans(rng: np.random.Generator, K: int, m: int = 2, N: int = 3, p: int = 3, noise: float = 0.1) -> tuple:
    """Return plans, slopes, actions, TD errors and a regularisation, as item 5 takes them, and the true w.

    Parameters
    ----------
    rng : numpy.random.Generator
    K, m, N, p : int
        Steps, inputs, stages, parameters.
    noise : float
        Deviation of the TD errors about the advantage.
    """
    plan, slope, w = rng.normal(size=(K, N, m)), rng.normal(size=(K, N, m, p)) + 0.4, rng.uniform(0.5, 1.5, p)
    away = rng.uniform(0.2, 0.7, (K, m)) * rng.choice([-1, 1], (K, m))
    td = np.einsum("kmp,km,p->k", slope[:, 0], away, w) + noise * rng.normal(size=K)
    return plan, slope, plan[:, 0] + away, td, rng.uniform(0.2, 0.6), w


debug = Debug(
    5,
    "compatible features that are not",
    given=gradient_as_given,
    reference=advantage_gradient,
    probes=lambda rng: [some_plans(rng, K, m, N, p, 0.5)[:5] for K, m, N, p in
                        ((9, 2, 3, 4), (6, 1, 4, 3), (8, 3, 2, 2), (7, 2, 5, 3))],
    compare=close(rtol=1e-6, atol=1e-9, names=("w", "g")),
    when_right="ψ is zero at a = π, so A is, and its slope there is (∂π/∂θ) w: that is what makes ψ compatible.",
    hints=[
        "What should the advantage of a = π(s) be, whatever w is? Which number do the given features say?",
        "Of a plan only the first input is applied: which stage's Jacobian is that of the policy?",
        "`D = slope[:, 0]`, and `a - plan[:, 0]` instead of `a`.",
    ],
    mistakes=[
        Mistake("only the difference repaired",
                "The difference is there now. But the Jacobian is still that of the plan's last input: which one is "
                "applied?", _advantage(jacobian=_last)),
        Mistake("only the stage repaired",
                "The Jacobian is that of the policy now. But ψ still holds a itself, so that the advantage of π(s) "
                "is not zero.", _advantage(difference=_no_difference)),
        Mistake("difference to the last input", "a is compared with the plan's last input; π(s) is its first.",
                _advantage(difference=lambda a, plan: a - plan[:, -1])),
        Mistake("difference to the last input, and its Jacobian",
                "Both are of the plan's last stage. Only the first input is ever applied.",
                _advantage(jacobian=_last, difference=lambda a, plan: a - plan[:, -1])),
        Mistake("second stage", "This is stage 1, the plan's second input. Python counts from 0.",
                _advantage(jacobian=lambda slope: slope[:, 1], difference=lambda a, plan: a - plan[:, 1])),
        Mistake("second stage's Jacobian", "The Jacobian is that of stage 1, the second input: Python counts from 0.",
                _advantage(jacobian=lambda slope: slope[:, 1])),
        Mistake("mean over the stages",
                "The Jacobian is a mean over all stages. Only the first input is applied.",
                _advantage(jacobian=lambda slope: slope.mean(axis=1))),
        Mistake("sum over the stages", "The Jacobian is a sum over all stages. Only the first input is applied.",
                _advantage(jacobian=lambda slope: slope.sum(axis=1))),
        Mistake("mean over the stages, both",
                "Jacobian and difference are means over all stages. Only the first input is applied.",
                _advantage(lambda slope: slope.mean(axis=1), lambda a, plan: a - plan.mean(axis=1))),
        Mistake("difference to the mean plan", "a is compared with the mean of the plan: π(s) is its first input.",
                _advantage(difference=lambda a, plan: a - plan.mean(axis=1))),
        Mistake("difference to the mean action",
                "a is compared with the mean over the roll-out. Each state has its own π(s).",
                _advantage(difference=lambda a, plan: a - a.mean(axis=0))),
        Mistake("sign of the difference", "The difference is π − a: w, and with it g, has the wrong sign.",
                _advantage(difference=lambda a, plan: plan[:, 0] - a)),
        Mistake("policy for the action", "ψ holds π(s) alone: what was tried is nowhere in it.",
                _advantage(difference=lambda a, plan: plan[:, 0])),
        Mistake("old stage in w", "g has the right Jacobian, but ψ still that of the last stage.",
                _advantage(jacobian=_last, other=_first)),
        Mistake("old stage in g", "w is right, but g still has the Jacobian of the last stage.",
                _advantage(other=_last)),
        Mistake("regularisation lost", "The regularisation has gone: it was no fault.",
                _advantage(weights=lambda psi, td, regularisation: np.linalg.lstsq(psi, td, rcond=None)[0])),
        Mistake("w for g", "The second part is w, the natural gradient; g has the mean of DᵀD before it.",
                _advantage(gradient=lambda D, w: w)),
        Mistake("sum for the mean", "g is a sum over the roll-out: the mean was no fault.",
                _advantage(gradient=lambda D, w: np.einsum("kmp,km->p", D, D @ w))),
    ],
    variants=[_advantage_one_by_one, _advantage_by_matmul],
)  # fmt: skip

# --------------------------------------------------------------------------------- 6: a rule that knows the tariff


class Seen(NamedTuple):
    """What a rule sees of n houses, arrays (n,).

    Attributes
    ----------
    hour : ndarray
        Of the day, h.
    T, E : ndarray
        Of the air, °C; in the battery, kWh (it holds 8).
    low : ndarray
        Lowest comfortable temperature in half an hour, °C.
    keep : ndarray
        Electric power with which the heat pump keeps 20 °C, kW.
    price, mean : ndarray
        Of bought energy now, and the mean of the next 24 h, € a kWh.
    pv, load : ndarray
        Of the roof, and of what is plugged in, kW.
    """

    hour: np.ndarray
    T: np.ndarray
    E: np.ndarray
    low: np.ndarray
    keep: np.ndarray
    price: np.ndarray
    mean: np.ndarray
    pv: np.ndarray
    load: np.ndarray


SHOWN, HIDDEN, DAYS, GAIN = range(101, 107), range(3000, 4000), 60, 0.3  # numbers of weathers; days; € a day


def seen(y) -> Seen:
    """Return what a rule sees of the states y (n, 5)."""
    now = NOMINAL.now(y)
    ahead = np.array([NOMINAL.forecast(k, w, DAY).price.mean() for k, w in y[:, 3:].tolist()])
    keep = (20.0 - now.outdoor) / (NOMINAL.R_o * cop(now.outdoor))
    low = lower(np.rint(y[:, 3]) + AHEAD)
    return Seen(y[:, 3] * DT % 24.0, y[:, 0].copy(), y[:, 2].copy(), low, keep, now.price, ahead, now.pv, now.load)


def controlled(rule: Callable[[Seen], tuple]) -> Callable:
    """Return the controller of a `rule` that gives the powers of heat pump and battery, kW, of n houses."""

    def controller(y):
        powers = rule(seen(y))
        if not isinstance(powers, tuple | list | np.ndarray) or len(powers) != 2:
            raise TypeError("the rule must return two things, P and B")
        P, B = (np.broadcast_to(np.asarray(power, dtype=float), len(y)) for power in powers)
        if not np.isfinite([P, B]).all():
            raise ValueError("the rule returned a power that is not finite")
        return np.column_stack([P, B])

    return controller


def drive(rule: Callable[[Seen], tuple] | None = None, numbers=SHOWN) -> Run:
    """Let a rule run the house for two days.

    Parameters
    ----------
    rule : callable, optional
        By default the thermostat.
    numbers : sequence of int
        Of the weathers; by default six that may be seen.
    """
    starts = NOMINAL.starts(numbers)
    noise = NOMINAL.draw(0, len(starts), 2 * DAY)
    return run(controlled(rule) if rule else Thermostat(), NOMINAL, starts, noise)


def saved(rule: Callable[[Seen], tuple], numbers=SHOWN) -> dict[str, float]:
    """Return what a rule saves a day against the thermostat, in the mean over weathers with these `numbers`.

    J and money in €, comfort in K h. And the mean `heat` of its pump beyond the thermostat's, kW; `moved`, all
    that goes into the battery and out of it, kWh a day; `dear`, by how much its battery gives at higher prices than it
    is charged, € a kWh; `sold`, what it sells to the grid beyond what the thermostat does, kWh a day.
    """
    own, usual = drive(rule, numbers), drive(None, numbers)
    mine, theirs = NOMINAL.bill(own), NOMINAL.bill(usual)
    energy = np.diff(own.x[:, :, 2], axis=0)
    price = np.array([NOMINAL.now(x).price for x in own.x[:-1]])
    came, went = np.maximum(energy, 0.0), np.maximum(-energy, 0.0)
    dear = (price * went).sum() / max(went.sum(), 1e-9) - (price * came).sum() / max(came.sum(), 1e-9)
    return {
        "sold": _sold(own) - _sold(usual),
        "gain": float((theirs.J - mine.J).mean()), "money": float((theirs.money - mine.money).mean()),
        "comfort": float((theirs.discomfort - mine.discomfort).mean()),
        "heat": float(np.clip(own.u[..., 0], *_PUMP).mean() - usual.u[..., 0].mean()),
        "moved": float((came + went).sum() / energy[0].size / 2.0), "dear": float(dear),
    }  # fmt: skip


_PUMP = 0.0, NOMINAL.limit[0]


def _sold(found: Run) -> float:
    nothing = Noise(np.zeros(found.x.shape[1]))
    flows = [NOMINAL.flows(x, u, nothing).sold.mean() for x, u in zip(found.x, found.u)]
    return float(DAY * np.mean(flows))


def _measured(answer, seed: int) -> dict[str, float]:
    if not callable(answer):
        raise TypeError("give the rule itself, a function of what is seen")
    found = saved(answer, np.random.default_rng(seed).choice(HIDDEN, DAYS // 2, replace=False).tolist())
    return {"gain over the thermostat": found.pop("gain"), **found}


def rule(s: Seen):
    """Return powers P and B for what is seen, s: proportional heating, and a battery that follows the tariff."""
    P = np.clip(s.keep + 4.0 * (s.low + 0.7 - s.T), 0.0, 2.5)
    return P, _by_tariff(s, P)


def _own_use(s, P):
    return s.pv - s.load - P


def _by_tariff(s, P):
    own = _own_use(s, P)
    return np.where(s.price < 0.85 * s.mean, 3.0, np.where(s.price > s.mean, own, np.maximum(own, 0.0)))


def _rule_by_hours(s: Seen):
    P = np.minimum(np.maximum(0.0, s.keep + 4.0 * (s.low + 0.5 - s.T)), 2.5)
    night = (s.hour < 5.0) | (s.hour >= 11.0) & (s.hour < 15.0)
    return P, np.where(night, 2.0, np.where((s.hour >= 6.0) & (s.hour < 10.0) | (s.hour > 16.0), _own_use(s, P), 0.0))


def _rule_by_relay(s: Seen):
    P = 2.5 * (s.T < s.low + 0.5)
    cheap = s.price < 0.85 * s.mean
    return np.array([P, cheap * 3.0 + ~cheap * np.maximum(s.pv - s.load - P, -3.0)])


def _thermal(margin: float, battery: Callable = _own_use, gain: float = 4.0) -> Callable:
    def rule(s):
        P = np.clip(s.keep + gain * (s.low + margin - s.T), 0.0, 2.5)
        return P, battery(s, P)

    return rule


def _always_warm(s):
    P = np.clip(s.keep + 6.0 * (22.7 - s.T), 0.0, 2.5)
    return P, _by_tariff(s, P)


def _power(heating: float) -> Callable:
    return lambda s: (np.full(len(s.T), heating), _by_tariff(s, heating))


def _where(test: Callable[[dict], bool]) -> Callable:
    return lambda answer, measured: test(measured)


design = Design(
    6,
    "a rule that knows the tariff",
    reference=rule,
    measure=_measured,
    targets={"gain over the thermostat": (">=", GAIN)},
    when_right="Two stores, one for comfort and one for money: a rule goes far, and its numbers are what one learns.",
    hints=[
        "Comfort first: 1 K h outside of the band costs as much as 7 kWh. Which rule for P never lets it get cold?",
        "P = keep + gain · (low + something − T), cut off at 0 and 2.5, holds the band with less heat than a relay "
        "that swings.",
        "When is s.price below s.mean? Fill the battery then, and serve the house, `s.pv - s.load - P`, when it is "
        "above.",
    ],
    mistakes=[
        Mistake("no heating", "The house freezes: your heat pump hardly runs. (P is its electric power, in kW.)",
                _where(lambda m: m["comfort"] < -20.0 and m["heat"] < 0), _power(0.0)),
        Mistake("far too hot", "Your heat pump runs far too much: the air leaves its band above 23 °C, and heat is "
                "paid for.", _where(lambda m: m["comfort"] < -2.0 and m["heat"] > 0), _power(2.5)),
        Mistake("comfort sold",
                "Money is saved, and more than that is paid in comfort: an hour that is 1 K too cold costs 2 €. The "
                "band rises at 6 h, and the house is slow.",
                _where(lambda m: m["money"] > 0 and m["comfort"] < -0.1), _thermal(-0.3, _by_tariff)),
        Mistake("buys dear",
                "Your battery is charged at higher prices than those at which it gives: the comparison with the mean "
                "is the wrong way round.", _where(lambda m: m["moved"] > 1.0 and m["dear"] < 0.0),
                _thermal(0.15, lambda s, P: np.where(s.price > s.mean, 3.0, -3.0))),
        Mistake("sold to the grid",
                "Much of what your battery gives is sold, at 7 ct, and was bought for more. When the price is high, "
                "give what the house needs and no more.", _where(lambda m: m["moved"] > 1.0 and m["sold"] > 2.0),
                _thermal(0.7, lambda s, P: np.where(s.price < s.mean, 3.0, -3.0))),
        Mistake("battery idle",
                "Your battery does nothing, or nearly: it is the store that the tariff is for.",
                _where(lambda m: m["moved"] < 1.0), _thermal(0.15, lambda s, P: 0.0 * P)),
        Mistake("thermostat's battery",
                "Your battery takes what the roof gives and no more, as the thermostat's does. In winter that is "
                "little: buy while it is cheap.", _where(lambda m: m["moved"] < 14.0),
                _thermal(0.3)),
        Mistake("warmer than needed", "Your house is warmer than the band asks for, and heat costs more than your "
                "battery saves.", _where(lambda m: m["heat"] > 0.02), _always_warm),
    ],
    variants=[_rule_by_hours, _rule_by_relay],
)  # fmt: skip

# ------------------------------------------------------------------------------ 7: which paradigm for which plant

explain = Explain(
    7,
    "which paradigm for which plant",
    reference="b",
    choices={
        "a": "Aligned: identify the model anew from two more years of records, until its one-step error is least.",
        "b": "Closed-loop: move the back-off and the weights by policy gradients on what nights in the simulator cost.",
        "c": "Closed-loop: back-propagation through whole nights of the simulator, since no gradient is more exact.",
        "d": "Aligned: learn a terminal value by TD, with the model's mean in the place of the state that comes.",
        "e": "MPC in the environment: a network sets the back-off at every step, as it sees more than any fixed one.",
    },
    reasons={
        1: "No model of this class predicts better; but what the plans do with it can be made better.",
        2: "Door, tariff and goods stay as they are: what is fitted to this cost is wanted for this cost.",
        3: "It asks for slopes of the MPC and for costs, not for slopes of the plant.",
        4: "Learning in closed loop ends with a lower cost than aligned learning on every plant.",
        5: "What lowers the cost brings the model nearer to the true store.",
        6: "Bounds and limits stay in the problem, and a solver keeps them.",
    },
    carrying=(1, 2, 3),
    when_right="Where the model cannot be true, fit what it is for; where tasks change, fit the model.",
    hints=[
        "Go through the story: which sentence rules out which claim?",
        "Three reasons: why not the model, why this one cost, and what the gradient needs.",
        "A reason can be true of all five claims; then it carries none.",
    ],
    mistakes=[
        Mistake("the class is too small",
                "More records of the same kind make the fit surer, not the class larger: what the door does is in no "
                "such model.", "a"),
        Mistake("no slopes", "The simulator has no slopes to go back through. And over a whole night on a bound the "
                "gradient explodes.", "c"),
        Mistake("mean model", "The mean of the model knows nothing of the door, and what costs lies within the "
                "horizon: a value for what comes after it mends the wrong end.", "d"),
        Mistake("not to be read", "A network that sets the back-off cannot be read by the operator, who wants a few "
                "numbers.", "e"),
        Mistake("not on every plant",
                "Reason 4 is false: where the model's class holds the plant, or little is tried, aligned learning "
                "gets there sooner and as far.", 4),
        Mistake("cost is not truth",
                "Reason 5 is false: a back-off is no property of the store, and the cost may well be least with a "
                "model that is less true.", 5),
        Mistake("true of all", "Reason 6 is true of every claim, as all of them keep the MPC: it tells none apart.", 6),
    ],
)  # fmt: skip

exercise = Exercise(
    7,
    "Learn the model, or the behaviour?",
    [predict, terminal, step, backwards, debug, design, explain],
)
