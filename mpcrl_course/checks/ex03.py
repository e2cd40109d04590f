"""Exercise 03, on how data can decide.

Seven items: a target by hand, the critic's target, the actor's gradient, the soft update, a loop that spoils its
memory, a rule that needs no learning, and why old data may be used at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.dp.pendulum import simulate
from mpcrl_course.envs.pendulum import Pendulum, energy, wrap
from mpcrl_course.mlp import MLP
from mpcrl_course.policies.energy import TOP, energy_rule

# -------------------------------------------------------------------------------- 1: a target by hand

GAMMA, COST, Q_HERE = 0.98, 4.1, 50.0
#: Q at the next state: critic w or its slow copy w', action of the actor or of its slow copy; the least over actions.
Q_NEXT = {("w", "θ"): 52.0, ("w", "θ'"): 55.0, ("w'", "θ"): 58.5, ("w'", "θ'"): 61.0}
LEAST = 56.5


def _y(q_next: float, cost: float = COST, gamma: float = GAMMA) -> float:
    return cost + gamma * q_next


SLOW = Q_NEXT["w'", "θ'"]
predict = Predict(
    1,
    "a target by hand",
    reference=_y(SLOW),
    rtol=0.0,
    atol=0.005,
    when_right="Truncated or not: the pendulum goes on, so the target looks ahead, with both slow networks.",
    hints=[
        "Does the pendulum stop costing because the clock of the episode has run out?",
        "The primes of y = L + γ Q_{w'}(s⁺, μ_{θ'}(s⁺)) say which of the numbers it is.",
    ],
    mistakes=[
        Mistake("truncation as termination",
                "You have dropped what comes after s⁺. The episode was cut off by a clock; the task was not over.",
                COST),
        Mistake("target from the online networks",
                "Both networks of the target have a prime: here they are the ones that are being trained, so that "
                "the target moves with every step.", _y(Q_NEXT["w", "θ"])),
        Mistake("online critic",
                "The next action comes from the slow actor, as it should; but which critic values it?",
                _y(Q_NEXT["w", "θ'"])),
        Mistake("current actor",
                "The slow critic is right; but the next action comes from the actor that is being trained. Look at "
                "its prime.", _y(Q_NEXT["w'", "θ"])),
        Mistake("least over the actions",
                "That is Q-learning's target. Here no minimum is searched: an actor chooses the next action.",
                _y(LEAST)),
        Mistake("discount missing", "A cost one step later counts less: what multiplies Q at s⁺?", _y(SLOW, gamma=1.0)),
        Mistake("cost discounted", "γ multiplies what comes after; the stage cost is paid now.", GAMMA * (COST + SLOW)),
        Mistake("reward", "You have counted L as a reward. Here it is a cost, and costs add up.", _y(SLOW, -COST)),
        Mistake("TD error", "This is the TD error. The target is what Q(s, a) is compared with.", _y(SLOW) - Q_HERE),
        Mistake("stage cost missing", "The stage cost of this step is missing.", GAMMA * SLOW),
        Mistake("rounded", "So it is but for the rounding: two decimals are asked for.", round(_y(SLOW), 1)),
    ],
)  # fmt: skip

# -------------------------------------------------------------------------------- 2: the critic's target


def _left_alone(function, *given, **named):
    """Tell whether a function leaves the arrays and the networks alone that it is given."""

    def numbers():
        return [np.array(getattr(value, "theta", value)) for value in (*given, *named.values())]

    before = numbers()
    function(*given, **named)
    return all(map(np.array_equal, before, numbers())) or (
        "The numbers are right, but your function has changed what it was given, and others still use it."
    )


#: Wide enough for single precision, in which the course's networks compute.
SINGLE = close(rtol=1e-5, atol=1e-6)


def critic_target(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
    """Return y = L + gamma Q'(s+, mu'(s+)), shape (B, 1); y = L where s+ is terminal.

    `cost`, `terminated` and `truncated` are columns (B, 1), `s_next` (B, n) the next states. The networks take rows:
    `actor` and `target_actor` states, `critic` and `target_critic` states with the actions beside them. Of these only
    the target networks count, and of the two ends only `terminated`.
    """
    return _target(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma)


def _target(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma, *,
            mu="slow", q="slow", ends="terminated", sign=1.0, now=1.0, cut=False, order=1, least=-np.inf):  # fmt: skip
    a_next = (target_actor if mu == "slow" else actor)(s_next)
    q_next = np.maximum((target_critic if q == "slow" else critic)(np.hstack([s_next, a_next][::order])), least)
    over = {"terminated": terminated, "truncated": truncated, "both": np.maximum(terminated, truncated),
            "turned": 1 - terminated, "never": 0 * terminated, "terminated only": terminated * (1 - truncated),
            "~": 2 + terminated}[ends]  # fmt: skip
    y = sign * now * cost + gamma * (1 - over) * q_next
    return y * (1 - over) if cut else y


def _slip_target(**slips: Any) -> Callable:
    gamma_factor = slips.pop("gamma_factor", None)

    def target(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
        own = dict(slips)
        if own.get("now") == "gamma":
            own["now"] = gamma
        used = gamma if gamma_factor is None else gamma_factor(gamma)
        return _target(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, used, **own)

    return target


def _target_by_sample(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
    y = []
    for i in range(len(cost)):
        value = 0.0 if terminated[i, 0] else target_critic(np.append(s_next[i], target_actor(s_next[i])))[0]
        y.append([cost[i, 0] + gamma * value])
    return np.array(y)


def _target_where(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
    ahead = gamma * target_critic(np.concatenate((s_next, target_actor(s_next)), axis=1))
    return np.where(terminated == 1, cost, ahead + cost)


def _networks(rng: np.random.Generator, n: int = 3, m: int = 2) -> tuple[MLP, MLP]:
    options: dict[str, Any] = {"width": 6, "activation": "tanh", "dtype": np.float64}
    actor = MLP(n, m, rng, lower=[-2.0, -1.0, -1.5][:m], upper=[2.0, 3.0, 1.0][:m], **options)
    critic = MLP(n + m, 1, rng, **options)
    for network in (actor, critic):
        network.theta[:] = rng.normal(0, 0.6, network.theta.size)
    return actor, critic


def _target_probes(rng: np.random.Generator) -> list[dict]:
    probes = []
    for gamma in rng.uniform(0.7, 0.95, 3):
        actor, critic = _networks(rng)
        target_actor, target_critic = _networks(rng)
        s_next = rng.normal(size=(6, 3))
        values = target_critic(np.hstack([s_next, target_actor(s_next)]))
        target_critic.W3[-1] -= np.median(values)  # half of them below zero, as a critic at its beginning is
        ends = rng.permutation([[0, 0], [1, 0], [0, 1], [0, 0], [0, 1], [1, 1]]).astype(float)
        probes.append(dict(cost=rng.uniform(0.3, 6, (6, 1)), terminated=ends[:, :1], truncated=ends[:, 1:],
                           s_next=s_next, actor=actor, critic=critic, target_actor=target_actor,
                           target_critic=target_critic, gamma=gamma))  # fmt: skip
    return probes


target = Fill(
    2,
    "the critic's target",
    reference=critic_target,
    probes=_target_probes,
    compare=SINGLE,
    properties=[("what is given stays as it is", _left_alone)],
    when_right="Four networks come in, two are used; two ends come in, one counts.",
    hints=[
        "Three lines: the next action, its value, the sum. Which two of the four networks have a prime in the formula?",
        "`np.hstack([s_next, a_next])` puts state and action side by side, one sample a row, as the critic wants them. "
        "Multiplying by (1 − terminated) drops a term where the episode was over.",
    ],
    mistakes=[
        Mistake("target from the online networks",
                "Both networks are the ones being trained: the target runs away from the regression that follows it. "
                "Use the slow copies.", _slip_target(mu="fast", q="fast")),
        Mistake("online critic", "The slow actor's action is valued by the critic that is being trained.",
                _slip_target(q="fast")),
        Mistake("current actor", "The next action comes from the actor that is being trained, not from its slow copy.",
                _slip_target(mu="fast")),
        Mistake("truncation masked as termination",
                "Where the episode was truncated you have dropped the future. Nobody stopped the plant: only "
                "watching it stopped.", _slip_target(ends="both")),
        Mistake("only truncation masked",
                "You have masked the truncated transitions and bootstrapped the terminated ones: it is the other way "
                "round.", _slip_target(ends="truncated")),
        Mistake("terminal states bootstrapped",
                "After a terminal state there is no cost any more: there y is L alone.", _slip_target(ends="never")),
        Mistake("mask turned round",
                "The mask keeps the future of the terminal states and drops that of all others.",
                _slip_target(ends="turned")),
        Mistake("terminal cost dropped", "Where the episode terminated you have dropped L, too. That step was paid.",
                _slip_target(cut=True)),
        Mistake("discount missing", "γ is missing before the next value.", _slip_target(gamma_factor=lambda g: 1.0)),
        Mistake("discount twice", "The next value is discounted twice.", _slip_target(gamma_factor=lambda g: g * g)),
        Mistake("cost discounted", "The stage cost is paid now: γ multiplies the next value only.",
                _slip_target(now="gamma")),
        Mistake("reward", "The stage cost enters with a minus: that is a reward. Here costs are added up.",
                _slip_target(sign=-1.0)),
        Mistake("stage cost missing", "The stage cost L is missing.", _slip_target(now=0.0)),
        Mistake("both at once",
                "A transition that is terminated and truncated at once is bootstrapped: terminal is terminal, whatever "
                "the clock says.", _slip_target(ends="terminated only")),
        Mistake("~ of numbers",
                "`~` turns True and False round, but of the whole numbers 0 and 1 it makes −1 and −2: your factor of γ "
                "is one of these.", _slip_target(ends="~")),
        Mistake("action before state", "The critic takes rows (s, a). In yours the action comes first.",
                _slip_target(order=-1)),
        Mistake("no value below zero",
                "Where the critic says less than 0 you have put 0. A cost may not be negative, but a critic "
                "errs both ways, and the formula cuts nothing off.", _slip_target(least=0.0)),
        Mistake("one number for the batch",
                "All entries of y are the same: their mean. Each transition has a target of its own.",
                lambda *given, **named: np.full((6, 1), critic_target(*given, **named).mean())),
    ],
    variants=[_target_by_sample, _target_where],
)  # fmt: skip

# -------------------------------------------------------------------------------- 3: the actor's gradient


def actor_gradient(actor, critic, s, a_replayed):
    """Return (1/B) sum grad_theta mu_theta(s) grad_a Q(s, a) at a = mu_theta(s), shape (n_theta,).

    `actor` (mu) and `critic` (Q) are `MLP`s, s (B, n) are states; the replayed actions `a_replayed` (B, m) are not
    used.
    """
    return _gradient(actor, critic, s, a_replayed)


def _gradient(actor, critic, s, a_replayed, *, sign=1.0, mean=1, part="a", at="mu", pull="slope", average=False):
    n = s.shape[1]
    a, tape = actor.forward(s)
    row = {"mu": [s, a], "replayed": [s, a_replayed], "(a, s)": [a, s]}[at]
    q, critic_tape = critic.forward(np.hstack(row))
    in_weights, dx = critic.backward(critic_tape, q if pull == "slope of q²/2" else np.ones_like(q))
    slope = dx[:, : a.shape[1]] if part == "s" or at == "(a, s)" else dx[:, n:]
    if part == "last":
        slope = dx[:, -1:] * np.ones_like(a)
    if pull == "sign":
        slope = np.sign(slope)
    elif pull == "imitate":
        slope = a - a_replayed
    elif pull == "q":
        slope = q * np.ones_like(a)
    elif pull == "ones":
        slope = np.ones_like(a)
    elif pull == "action":
        slope = a
    elif pull == "critic":
        return in_weights / len(s)
    if average:
        slope = np.ones_like(a) * slope.mean(0)
    gradient, _ = actor.backward(tape, slope)
    if pull == "unit":
        return gradient / np.linalg.norm(gradient)
    return sign * gradient / (a.size if mean == "entries" else len(s) ** mean)


def _slip_gradient(**slips: Any) -> Callable:
    return lambda actor, critic, s, a_replayed: _gradient(actor, critic, s, a_replayed, **slips)


def _gradient_by_sample(actor, critic, s, a_replayed):
    total = 0.0
    for row in s:
        a, tape = actor.forward(row[None])
        _, critic_tape = critic.forward(np.append(row, a)[None])
        slope = critic.backward(critic_tape, np.array([[1.0]]), weights=False)[1][:, len(row) :]
        total = total + actor.backward(tape, slope)[0]
    return total / len(s)


def _gradient_scaled_first(actor, critic, s, a_replayed):
    a, tape = actor.forward(s)
    q, critic_tape = critic.forward(np.concatenate([s, a], axis=1))
    _, dx = critic.backward(critic_tape, np.full(q.shape, 1 / len(q)))
    return actor.backward(tape, dx[:, -a.shape[1] :], inputs=False)[0]


def _gradient_probes(rng: np.random.Generator) -> list[tuple]:
    return [
        (*_networks(rng, n, m), rng.normal(size=(size, n)), rng.uniform(-0.9, 0.9, (size, m)))
        for size, n, m in ((5, 3, 2), (8, 2, 3), (1, 4, 1))
    ]


gradient = Fill(
    3,
    "the actor's gradient",
    reference=actor_gradient,
    probes=_gradient_probes,
    compare=SINGLE,
    properties=[("what is given stays as it is", _left_alone)],
    when_right="The learner subtracts it: the actor walks down the critic's slope. It needs the batch's states only.",
    hints=[
        "Two networks in a row: s → a = μ(s) → Q(s, a). Forward through both, then backward through both.",
        "`_, dx = critic.backward(tape, np.ones_like(q))` gives dQ/d(s, a), one row a sample: which columns are those "
        "of the action?",
        "`g, _ = actor.backward(tape, slope)` pulls the slope of each sample back to θ and adds up over the batch. A "
        "mean is asked for.",
    ],
    mistakes=[
        Mistake("actor ascending a cost",
                "The sign is turned: subtracted by the learner, it sends the actor up the cost. The plus sign of "
                "other texts is for rewards.", _slip_gradient(sign=-1.0)),
        Mistake("sum for mean", "`backward` adds up over the batch; the mean is asked for.", _slip_gradient(mean=0)),
        Mistake("divided twice", "You have divided by B twice: once in the slope, and once at the end.",
                _slip_gradient(mean=2)),
        Mistake("slope of the state", "These are the columns of the state in dQ/d(s, a); the action's come after them.",
                _slip_gradient(part="s")),
        Mistake("slope at the replayed action",
                "The critic's slope is taken at the action that was replayed. It is wanted where the actor is now: "
                "at a = μ_θ(s).", _slip_gradient(at="replayed")),
        Mistake("value for slope",
                "You have pulled back Q itself. The actor needs to know where Q falls, not how large it is: ∇_a Q.",
                _slip_gradient(pull="q")),
        Mistake("critic left out",
                "This is the gradient of the action itself; the critic's slope, which says where to go, is missing.",
                _slip_gradient(pull="ones")),
        Mistake("action for slope", "You have pulled back the action. What goes into `actor.backward` is dQ/da.",
                _slip_gradient(pull="action")),
        Mistake("the critic's weights",
                "This is the gradient of Q in the critic's weights. The critic stays as it is; θ is the actor's.",
                _slip_gradient(pull="critic")),
        Mistake("mean of the slopes first",
                "You have averaged the slopes before pulling them back: each sample's slope belongs to its own ∇_θ μ.",
                _slip_gradient(average=True)),
        Mistake("one action taken for all",
                "You have taken the last column only, as if there were one action. There are as many as the actor has "
                "outputs, each with its own slope.", _slip_gradient(part="last")),
        Mistake("divided by all entries",
                "You have divided by B times the number of actions. The mean is over the B samples; over the actions "
                "the chain rule adds up.", _slip_gradient(mean="entries")),
        Mistake("slope of Q²",
                "You have handed Q to `critic.backward`, which gives Q ∇Q, the slope of Q²/2. What is the derivative "
                "of Q in Q itself?", _slip_gradient(pull="slope of q²/2")),
        Mistake("imitates the memory",
                "You pull the actor towards the replayed actions, good or bad. It should go where the critic's cost "
                "falls.", _slip_gradient(pull="imitate")),
        Mistake("sign of the slope", "Of the slope you have kept the sign alone: how steep it is counts, too.",
                _slip_gradient(pull="sign")),
        Mistake("unit length",
                "You have divided the gradient by its length. How far to go is the learner's affair; how steep it is "
                "must be told.", _slip_gradient(pull="unit")),
        Mistake("action before state", "The critic takes rows (s, a). In yours the action comes first.",
                _slip_gradient(at="(a, s)")),
    ],
    variants=[_gradient_by_sample, _gradient_scaled_first],
)  # fmt: skip

# -------------------------------------------------------------------------------- 4: the soft update


def soft_update(target, theta, tau):
    """Return the slow weights after one soft update: a new array, (1 - tau) target + tau theta."""
    return (1 - tau) * target + tau * theta


def _soft_probes(rng: np.random.Generator) -> list[tuple]:
    taus = [*rng.uniform(0.05, 0.4, 3), 0.0]
    return [(rng.normal(0, 3, n), rng.normal(0, 3, n), tau) for n, tau in zip((3, 7, 12, 4), taus, strict=True)]


def _in_place(target, theta, tau):
    target += tau * (theta - target)
    return target


soft = Fill(
    4,
    "the soft update",
    reference=soft_update,
    probes=_soft_probes,
    compare=SINGLE,
    properties=[("what is given stays as it is", _left_alone)],
    when_right="A low-pass filter: a change of w arrives in w' within about 1/τ updates.",
    hints=[
        "Which of the two weights is nearly 1 when τ is small: that of the old slow weights or that of the new ones?",
        "(1 − τ) times the slow weights plus τ times the trained ones.",
    ],
    mistakes=[
        Mistake("τ and 1 − τ swapped",
                "τ and 1 − τ have changed places: with τ = 0.005 your slow copy takes over 99.5 % at once.",
                lambda target, theta, tau: tau * target + (1 - tau) * theta),
        Mistake("hard copy", "This copies the trained weights: nothing is slow any more.",
                lambda target, theta, tau: 1.0 * theta),
        Mistake("never updated", "The slow weights never move.", lambda target, theta, tau: 1.0 * target),
        Mistake("away from the weights", "The sign is turned: the slow copy runs away from the trained weights.",
                lambda target, theta, tau: target - tau * (theta - target)),
        Mistake("1 − τ forgotten", "The old weights keep their full size and the sum grows without end: what is their "
                "factor?", lambda target, theta, tau: target + tau * theta),
        Mistake("τ forgotten", "The trained weights enter in full: what is their factor?",
                lambda target, theta, tau: (1 - tau) * target + theta),
        Mistake("τ squared", "τ is applied twice.",
                lambda target, theta, tau: target + tau**2 * (theta - target)),
        Mistake("plain mean", "This is the mean of both, whatever τ is.",
                lambda target, theta, tau: 0.5 * (target + theta)),
        Mistake("shrunk after the sum",
                "1 − τ multiplies the sum, so that it shrinks what has just been added, too. It belongs to the old "
                "weights alone.", lambda target, theta, tau: (1 - tau) * (target + tau * theta)),
        Mistake("τ in per cent", "You have divided τ by 100: it is a share already, not a percentage.",
                lambda target, theta, tau: target + tau / 100 * (theta - target)),
        Mistake("the first weight only",
                "The first weight is updated, all others are as they were: does the loop end too early?",
                lambda target, theta, tau: np.append(soft_update(target, theta, tau)[:1], target[1:])),
        Mistake("whole numbers",
                "Your numbers are cut to whole ones: an array that was made for integers keeps no decimals.",
                lambda target, theta, tau: np.trunc(soft_update(target, theta, tau))),
        Mistake("in place",
                "The numbers are right, but the array that came in has been changed. Here, return a new one (the "
                "package does it in place, and says so).", _in_place),
    ],
    variants=[
        lambda target, theta, tau: target + tau * (theta - target),
        lambda target, theta, tau: np.average([target, theta], axis=0, weights=[1 - tau, tau]),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------- 5: a loop that spoils its memory


class Guarded(Pendulum):
    """A pendulum whose episode terminates beyond 5 rad/s (a guard stops it), and is truncated after `steps`."""

    def step(self, action):
        """As `Pendulum.step` with the same action, but terminated by the guard."""
        s, reward, _, truncated, info = super().step(action)
        terminated = bool(abs(s[2]) > 5.0)
        return s, reward, terminated, truncated and not terminated, info


def collect_as_given(policy, noise, steps, seed):
    """Return transitions; with the fault: at an episode's end it stores the start after the reset as the next state.

    `policy`, `noise`, `steps` and `seed` are those of `collect`.
    """
    return _collect(policy, noise, steps, seed, next_state="after the reset")


def collect(policy, noise, steps, seed):
    """Return transitions as arrays s, a, cost, s_next, terminated, one row a step.

    For so many `steps`, a `Guarded` pendulum is driven by `policy`, from an observation (3,) to a torque (1,), with
    `noise` times a standard normal number added, all clipped to 2 N m; `seed` is that of this noise and of the starts.
    """
    return _collect(policy, noise, steps, seed)


def _collect(policy, noise, steps, seed, *, next_state="right", ends="terminated", clip="action", reset="end",
             drop="none", sign=1.0, stored="applied", current=False, seeded=False):  # fmt: skip
    env, rng, memory = Guarded(steps=10), np.random.default_rng(seed), []
    env.np_random, anew = rng, seed if seeded else None
    s, _ = env.reset(seed=anew)
    for _ in range(steps):
        push = noise * rng.standard_normal(1)
        wanted = policy(s)
        if clip == "action":
            a = np.clip(wanted + push, -2, 2)
        elif clip == "noise":
            a = wanted + np.clip(push, -2, 2)
        elif clip == "policy":
            a = np.clip(wanted, -2, 2) + push
        else:
            a = wanted + push
        s_next, reward, terminated, truncated, _ = env.step(a)
        ended = {"end": terminated or truncated, "terminated": terminated, "truncated": truncated, "none": False}
        after = env.reset(seed=anew)[0] if ended[reset] else s_next
        kept = {"right": s_next, "after the reset": after, "s": s, "s at the end": s if ended["end"] else s_next,
                "jumps where terminated": after if terminated else s_next,
                "jumps where truncated": after if truncated else s_next}[next_state]  # fmt: skip
        row = s, wanted if stored == "policy" else a, -sign * reward, kept, float(ended[ends])
        if not ended[drop]:
            memory.append(row)
        s = s_next if current else after
    return tuple(np.array(part) for part in zip(*memory, strict=True))


def _slip_collect(**slips: Any) -> Callable:
    return lambda policy, noise, steps, seed: _collect(policy, noise, steps, seed, **slips)


def _collect_columns(policy, noise, steps, seed):
    env, rng = Guarded(steps=10), np.random.default_rng(seed)
    env.np_random = rng
    S, A, L, N, T = np.empty((steps, 3)), np.empty((steps, 1)), np.empty(steps), np.empty((steps, 3)), np.zeros(steps)
    S[0] = env.reset()[0]
    for k in range(steps):
        A[k] = np.minimum(np.maximum(policy(S[k]) + noise * rng.standard_normal(1), -2), 2)
        N[k], reward, terminated, truncated, _ = env.step(A[k])
        L[k], T[k] = -reward, terminated
        following = env.reset()[0] if terminated or truncated else N[k]
        if k + 1 < steps:
            S[k + 1] = following
    return S, A, L, N, T


def _collect_late_reset(policy, noise, steps, seed):
    env, rng, memory = Guarded(steps=10), np.random.default_rng(seed), []
    env.np_random = rng
    end = True
    for _ in range(steps):
        if end:
            s, _ = env.reset()
        a = np.clip(policy(s) + noise * rng.standard_normal(1), -2, 2)
        s_next, reward, terminated, truncated, _ = env.step(a)
        memory.append((s, a, -reward, s_next, terminated))
        s, end = s_next, terminated or truncated
    return tuple(np.array(part, dtype=float) for part in zip(*memory, strict=True))


class _Pushing:
    """A torque that pumps energy in, with the velocity, and asks for more than the motor has."""

    def __call__(self, s):
        return np.array([2.6 * np.tanh(2 * s[2] + 0.3)])

    def __repr__(self):
        return "pushing"


pushing = _Pushing()


def _collect_probes(rng: np.random.Generator) -> list[tuple]:
    return [(pushing, rng.uniform(0.7, 1.4), 100, int(seed)) for seed in rng.integers(1, 10_000, 2)]


debug = Debug(
    5,
    "a loop that spoils its memory",
    reference=collect,
    given=collect_as_given,
    probes=_collect_probes,
    compare=close(names=("s", "a", "cost", "s_next", "terminated")),
    when_right="One transition in eight was a jump to a place the plant never went to; and no error said so.",
    hints=[
        "Compare s_next of the last transition of an episode with what the plant did. Where does it come from?",
        "The state that is stored as s_next and the state the loop goes on from are different things when an episode "
        "has ended.",
    ],
    mistakes=[
        Mistake("truncation masked as termination",
                "That hides the jump, but declares every truncated episode finished: its future then counts as free. "
                "Keep `terminated`, and store the s⁺ the plant really reached.",
                _slip_collect(next_state="after the reset", ends="end")),
        Mistake("right state, truncation masked",
                "s_next is right now, but a truncated transition is stored as terminated. Only termination ends the "
                "sum of costs.", _slip_collect(ends="end")),
        Mistake("last transitions dropped",
                "You have left out the last transition of every episode. It is as true as the others; and where the "
                "guard stops the pendulum it is the only one that says so.", _slip_collect(drop="end")),
        Mistake("never reset", "The environment is never reset any more: an episode that has ended must start again.",
                _slip_collect(reset="none")),
        Mistake("goes on from the old state",
                "The next episode's first transition starts from the last state of the episode before.",
                _slip_collect(current=True)),
        Mistake("noise not clipped",
                "The stored action exceeds the torque limit: the plant clips, so that what is remembered was never "
                "done.", _slip_collect(clip="none")),
        Mistake("noise clipped, not the action",
                "Clip the sum: policy plus noise. A clipped noise still carries the action beyond the limit.",
                _slip_collect(clip="noise")),
        Mistake("clipped before the noise", "You clip first and add the noise after: the sum is not within the limits.",
                _slip_collect(clip="policy")),
        Mistake("policy's action stored",
                "Stored is the policy's action without its noise; the plant was driven by the one with it.",
                _slip_collect(stored="policy")),
        Mistake("termination forgotten",
                "Nothing is stored as terminated any more, not even where the guard stopped it.",
                _slip_collect(ends="none")),
        Mistake("reward stored", "The sign of the cost has changed: the reward is minus the cost.",
                _slip_collect(sign=-1.0)),
        Mistake("state for next state", "s_next is s itself now: nothing moves in this memory.",
                _slip_collect(next_state="s")),
        Mistake("s for s⁺ at the end",
                "At the end of an episode s_next is s now: as if nothing had moved in that step.",
                _slip_collect(next_state="s at the end")),
        Mistake("mended where truncated only",
                "Where the clock ends an episode s_next is right now. Where the guard does, it is still the start of "
                "the next episode.", _slip_collect(next_state="jumps where terminated")),
        Mistake("mended where terminated only",
                "Where the guard ends an episode s_next is right now. Where the clock does, it is still the start of "
                "the next episode, and there the critic bootstraps from it.",
                _slip_collect(next_state="jumps where truncated")),
        Mistake("terminal transitions dropped",
                "The transitions at which the guard stops the pendulum are missing: only they tell the critic that the "
                "costs end there.", _slip_collect(drop="terminated")),
        Mistake("reset after the guard only",
                "When the clock has run out nothing is reset any more: after ten steps an episode ends, even if the "
                "pendulum itself could go on.", _slip_collect(reset="terminated")),
        Mistake("reset after the clock only", "Where the guard has stopped the pendulum it is not reset any more.",
                _slip_collect(reset="truncated")),
        Mistake("every episode alike",
                "Every episode starts at the same place now: a reset with a seed begins the random numbers anew.",
                _slip_collect(seeded=True)),
    ],
    variants=[_collect_columns, _collect_late_reset],
)  # fmt: skip

# -------------------------------------------------------------------------------- 6: a rule without learning


def measure(policy, seed: int) -> dict[str, float]:
    """Measure a policy from 101 starts: angles all around, velocities in [-1, 1] rad/s, and hanging at rest.

    Parameters
    ----------
    policy : callable
        States (n, 2) to torques (n,) or (n, 1); clipped to 2 N m.
    seed : int
        Of the starts.
    """
    rng = np.random.default_rng(seed)
    q = -np.pi + 2 * np.pi * (np.arange(100) + rng.uniform(0, 1, 100)) / 100  # one in each hundredth of the circle
    starts = np.stack([q, rng.uniform(-1, 1, 100)], axis=1)
    run = simulate(policy, starts=np.vstack([starts, [np.pi, 0.0]]))
    upright = np.abs(wrap(run.x[-20:, :, 0])).max(axis=0) < 0.3
    return {"mean cost of 10 s": float(run.cost.sum(0).mean()), "upright in the last second": float(upright.mean())}


def _measured(policy, seed):
    if not callable(policy):
        raise TypeError("hand in the function itself: states (n, 2) to torques (n,)")
    return measure(policy, seed)


def _at(policy, *states):
    return np.clip(np.asarray(policy(np.array(states, dtype=float)), dtype=float).reshape(-1), -2, 2)


def _least_angle(policy) -> float:
    """How near to upright it comes from hanging at rest within 10 s, in rad."""
    return float(np.abs(wrap(simulate(policy, starts=[[HANG, 0.0]]).x[..., 0])).min())


def _with_velocity(policy, *states) -> np.ndarray:
    """Torques of a rule at states, positive where they work with the velocity."""
    return _at(policy, *states) * np.sign([v for _, v in states])


def _made(
    kq=10.0, kv=3.0, near=0.5, pump=2.0, turned=False, wrapped=True, top=TOP, endless=False, catch=True
) -> Callable:
    def policy(x):
        q, v = (wrap(x[:, 0]) if wrapped else x[:, 0]), x[:, 1]
        direction = np.where(v >= 0, 1.0, -1.0) * (-1.0 if turned else 1.0)
        lift = pump * direction * (1.0 if endless else np.sign(top - energy(x)))
        return np.where(np.abs(q) < near, -(kq * q + kv * v), lift) if catch else lift

    return policy


def _by_the_first(x):
    return _made()(np.tile(x[:1], (len(x), 1))) if len(x) else x[:, 0]


def _with_dice(x):
    return np.random.default_rng().uniform(-2, 2, len(x))


def _with_a_dead_zone(x):
    return _made()(x) * ((np.abs(x[:, 1]) > 0.9) | (np.abs(wrap(x[:, 0])) < 0.5))


HANG = np.pi
SOME = [(q, v) for q in (-3.0, -1.7, -0.3, 0.2, 1.2, 2.4) for v in (-4.0, -0.7, 0.4, 2.5)]  # states all around
LITTLE = [(q, v) for q in (HANG, -2.9) for v in (-1.0, 1.0)]  # 0.2 to 0.3 J
HALFWAY = [(q, v) for q in (HANG, 3.0) for v in (-6.5, 6.5)]  # 7 J: still too little to reach the top
MUCH = [(q, v) for q in (2.0, -2.0, HANG, 1.0) for v in (-9.5, 9.5)]  # 15 J and more
design = Design(
    6,
    "a rule without learning",
    reference=energy_rule,
    measure=_measured,
    targets={"mean cost of 10 s": ("<=", 180.0), "upright in the last second": (">=", 1.0)},
    when_right="Two lines of mechanics. A learner is worth what it does better than this, not better than nothing.",
    hints=[
        "Two tasks, two laws: far from the top bring the energy to 10 J (`energy(x)` gives it, 10 J is upright at "
        "rest); near the top hold it.",
        "Power is torque times velocity: a torque with the velocity's sign adds energy, against it takes energy away.",
        "Near the top, |q| < 0.5: −(k_q q + k_v v). Gravity pulls with 5 sin q N m, so k_q must exceed 5. At v = 0 "
        "choose a side, or it hangs forever.",
    ],
    mistakes=[
        Mistake("dice",
                "At the same state it gives another torque each time. What is it to do there?",
                lambda f, m: np.abs(_at(f, *SOME) - _at(f, *SOME)).max() > 1e-6, _with_dice),
        Mistake("depends on the other rows",
                "A pendulum's torque depends on which others are in `x`. Each row is a pendulum of its own: with "
                "`np.where`, say, each chooses for itself.",
                lambda f, m: max(abs(_at(f, *SOME)[i] - _at(f, SOME[i])[0]) for i in range(len(SOME))) > 1e-6,
                _by_the_first),
        Mistake("no torque", "The torque is zero everywhere.",
                lambda f, m: np.abs(_at(f, *SOME, *LITTLE)).max() < 1e-9, lambda x: np.zeros(len(x))),
        Mistake("does nothing at rest",
                "Hanging at rest your torque is zero, and so it stays there. Choose a side.",
                lambda f, m: abs(_at(f, [HANG, 0.0])[0]) < 1e-9 and _least_angle(f) > 3.1, _with_a_dead_zone),
        Mistake("falls over",
                "Near the top the torque has the wrong sign: tilted to positive q, it must push back, to negative.",
                lambda f, m: _at(f, [0.1, 0.0])[0] > 1e-9 and _at(f, [-0.1, 0.0])[0] < -1e-9, _made(kq=-10.0)),
        Mistake("brakes instead of pumping",
                "Hanging and swinging, your torque works against the velocity: that takes energy out. It has to go in.",
                lambda f, m: _with_velocity(f, *LITTLE).max() < -1e-3, _made(turned=True)),
        Mistake("never stops pumping",
                "With more than enough energy you still push with the velocity, so that it arrives too fast to be "
                "caught, and turns over and over.",
                lambda f, m: _with_velocity(f, *LITTLE, *MUCH).min() > 1e-3, _made(endless=True)),
        Mistake("stops pumping too early",
                "At the bottom with 7 J your torque works against the velocity already. The top needs 10 J.",
                lambda f, m: _with_velocity(f, *LITTLE).min() > 1e-3 and _with_velocity(f, *HALFWAY).max() < -1e-3,
                _made(top=5.0)),
        Mistake("angle not wrapped",
                "One turn further your rule gives another torque. The angle is not wrapped: q and q + 2π are one "
                "place.",
                lambda f, m: abs(_at(f, [0.2, -0.1])[0] - _at(f, [0.2 + 2 * np.pi, -0.1])[0]) > 1e-6,
                _made(wrapped=False)),
        Mistake("not caught",
                "Near the top your torque is the same whether it leans to the left or to the right. What is to push it "
                "back?",
                lambda f, m: all(abs(_at(f, [0.1, v])[0] - _at(f, [-0.1, v])[0]) < 1e-9 for v in (-0.5, 0.0, 0.5)),
                _made(catch=False)),
        Mistake("too weak to hold", "Near the top your gain is below what gravity pulls with: 5 N m for each rad.",
                lambda f, m: 0 < -_at(f, [0.05, 0.0])[0] < 5.0 * 0.05, _made(kq=3.0, kv=1.0)),
        Mistake("no damping",
                "Near the top nothing depends on the velocity: it swings through, or around.",
                lambda f, m: abs(_at(f, [0.0, -1.0])[0] - _at(f, [0.0, 1.0])[0]) < 1e-9, _made(kv=0.0, near=0.3)),
        Mistake("too weak a push",
                "It pushes the right way, but the motor could do more: at the bottom your torque is well below its "
                "limit, and time is cost.",
                lambda f, m: 1e-3 < _with_velocity(f, *LITTLE).min() and np.abs(_at(f, *LITTLE)).max() < 1.6,
                _made(pump=0.8)),
        Mistake("no swing-up",
                "Near the top it pushes back, but a pendulum that hangs never gets above the horizontal: gravity is "
                "stronger than the motor there. Far from the top, think of the energy instead of the angle.",
                lambda f, m: _at(f, [0.1, 0.0])[0] < -1e-9 and _least_angle(f) > np.pi / 2,
                lambda x: -(10 * wrap(x[:, 0]) + 3 * x[:, 1])),
    ],
    variants=[
        _made(kq=12.0, kv=3.0, near=0.4),
        lambda x: np.where(np.abs(12 * wrap(x[:, 0]) + 3 * x[:, 1]) < 4, -(12 * wrap(x[:, 0]) + 3 * x[:, 1]),
                           np.clip(4 * (TOP - energy(x)), -2, 2) * (2 * (x[:, 1] >= 0) - 1))[:, None],
    ],
)  # fmt: skip

# -------------------------------------------------------------------------------- 7: why old data may be used

explain = Explain(
    7,
    "why old data may be used",
    reference="a",
    choices={
        "a": "Neither the critic's step nor the actor's asks which policy made a transition: what they take from it is "
        "as true today as it was then.",
        "b": "The memory holds so many transitions that the old ones hardly count in a batch.",
        "c": "The exploration noise is small, so that old and new policies take nearly the same actions.",
        "d": "The slow targets keep the policy nearly constant, so that the data are as good as on-policy.",
        "e": "The actor's gradient is weighted by how likely the current policy would have taken the replayed action.",
    },
    reasons={
        1: "Every transition is used many times, which makes the most of the minutes at the plant.",
        2: "L and s⁺ are the plant's answer to (s, a), whoever chose a.",
        3: "The noise has mean zero, so that in the mean over a batch the replayed action is the policy's.",
        4: "The action after s⁺ that enters the target is computed now, by the slow actor; the one that was taken then "
        "does not enter.",
        5: "The actor's step computes its own actions: it takes only the states from a batch.",
        6: "Q-learning converges whatever policy makes the data, and so does its version with networks.",
    },
    carrying=(2, 4, 5),
    when_right="What it does not excuse: the states are those of old policies; where no data are, the critic guesses.",
    hints=[
        "Take one transition (s, a, L, s⁺) of a policy long gone. Which of its four parts would be different today?",
        "Look at item 2: which action enters the target? And at item 3: which part of the batch is used?",
    ],
    mistakes=[
        Mistake("old ones hardly count",
                "They are drawn as often as any other. In the lecture every batch is uniform over the whole memory.",
                "b"),
        Mistake("nearly the same actions",
                "The first 1000 transitions come from uniform random torques, and they are replayed, too.", "c"),
        Mistake("nearly on-policy",
                "Slow copies are for the regression's stability. In 20 000 steps the policy changes from useless to "
                "good, and the data of all of it stay in the memory.", "d"),
        Mistake("importance weights",
                "There are no such weights in DDPG: with a deterministic policy they would be zero or infinite.", "e"),
        Mistake("worth it, so allowed",
                "Reason 1 is true, and why one would like to use old data. It does not say why one may.", 1),
        Mistake("right in the mean",
                "Reason 3 is false: old actions are those of old policies plus noise, and the first ones are wholly "
                "random. Nor does a target that is right need it.", 3),
        Mistake("a theorem for tables",
                "Reason 6 is false: the theorem is for tables. With networks learning from other policies' data may "
                "well diverge.", 6),
    ],
)  # fmt: skip

exercise = Exercise(3, "How can data decide?", [predict, target, gradient, soft, debug, design, explain])
