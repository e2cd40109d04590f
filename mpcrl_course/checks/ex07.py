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
from mpcrl_course.envs.home import DAY, DT, NOMINAL, cop, lower
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

    phi(s) are the features, f(s, a) the MPC's model of the mean, and (s, a, cost, s_next, terminated) what happened.
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
    """

    def __init__(self, W):
        self._W = np.array(W, dtype=float)

    def _inner(self, theta, s):
        theta, s = np.asarray(theta, dtype=float), np.asarray(s, dtype=float)
        if theta.shape != self._W.shape[2:] or s.ndim != 2 or s.shape[1] != self._W.shape[1]:
            raise ValueError(f"pi wants theta {self._W.shape[2:]} and s (K, {self._W.shape[1]}), not {theta.shape} "
                             f"and {s.shape}")  # fmt: skip
        return np.einsum("mnp,kn->kmp", self._W, s), theta

    def __call__(self, theta, s) -> np.ndarray:
        """Return the actions."""
        z, theta = self._inner(theta, s)
        return np.tanh(z @ theta)

    def slope(self, theta, s) -> np.ndarray:
        """Return the Jacobians in theta."""
        z, theta = self._inner(theta, s)
        return (1.0 - np.tanh(z @ theta) ** 2)[:, :, None] * z

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

    s (K, n) are the states of a roll-out, a (K, m) the actions with noise.
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


def _clipped_change(theta, s, a, pi, critic, alpha, largest, lower, upper):
    g, _ = policy_step(theta, s, a, pi, critic, alpha, largest, lower, upper)
    return g, theta + np.clip(-alpha * _shortened(g, largest) * g, lower, upper)


def _some_rollout(rng: np.random.Generator, K: int, m: int, long: bool) -> tuple:
    n, p = 3, 4
    theta, s = rng.uniform(0.3, 1.2, p), rng.uniform(0.3, 1.5, (K, n)) * rng.choice([-1, 1], (K, n))
    pi = Policy(rng.uniform(0.2, 0.8, (m, n, p)) * rng.choice([-1, 1], (m, n, p)))
    critic = Critic(np.eye(m) + rng.uniform(0.2, 0.8, (m, m)), rng.uniform(0.5, 1.5, (m, n)))
    a = pi(theta, s) + rng.uniform(0.3, 0.8, (K, m)) * rng.choice([-1, 1], (K, m))
    g = _mean_product(pi.slope(theta, s), critic.slope(s, pi(theta, s)))
    largest = np.linalg.norm(g) * (rng.uniform(0.3, 0.6) if long else rng.uniform(1.3, 1.8))
    change = -0.4 * _shortened(g, largest) * g  # one bound of each side is met
    low, high = theta + np.minimum(2 * change, -0.01), theta + np.maximum(2 * change, 0.01)
    i = int(np.argmax(np.abs(change)))
    (low if change[i] < 0 else high)[i] = theta[i] + 0.5 * change[i]
    return theta, s, a, pi, critic, 0.4, largest, low, high


def _some_rollouts(rng):
    calls = [_some_rollout(rng, K, m, long) for K, m, long in ((3, 2, False), (5, 1, True), (4, 3, True), (2, 2, False))]
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
