"""Answers to exercise 03 by someone who saw only the notebook: (item, the slip in a few words, the answer)."""

import numpy as np

from mpcrl_course.checks.ex03 import Guarded  # as the notebook imports it
from mpcrl_course.envs.pendulum import energy, wrap


def target(ends="terminated", mean=False, rows=np.hstack, form=np.array, overwrite=False):
    """Write the critic's target in one of several ways."""

    def critic_target(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
        done = {"terminated": terminated, "either": np.maximum(terminated, truncated),
                "not both": np.where(truncated == 1, 0, terminated),
                "any": np.full_like(cost, terminated.any())}[ends]  # fmt: skip
        y = cost if overwrite else cost.copy()
        y += gamma * (1 - done) * target_critic(rows([s_next, target_actor(s_next)]))
        return form(np.full_like(y, y.mean()) if mean else y)

    return critic_target


def online_critic(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
    """The value is best from the newest critic."""
    return cost + gamma * (1 - terminated) * critic(np.hstack([s_next, target_actor(s_next)]))


def returns_in_the_loop(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
    """The return is indented one level too far."""
    y = cost.copy()
    for i in range(len(y)):
        if not terminated[i, 0]:
            row = s_next[i : i + 1]
            y[i] += gamma * target_critic(np.hstack([row, target_actor(row)]))[0]
        return y


def target_by_rows(cost, terminated, truncated, s_next, actor, critic, target_actor, target_critic, gamma):
    """Row by row, with a list of numbers at the end."""
    y = []
    for now, dead, row in zip(cost, terminated, s_next, strict=True):
        ahead = 0.0 if dead[0] else target_critic(np.r_[row, target_actor(row[None])[0]][None])[0, 0]
        y.append(float(now[0] + gamma * ahead))
    return np.array(y).reshape(-1, 1)


def gradient(change=lambda slope, *given: slope, at="mu", upstream=np.ones_like):
    """Write the actor's gradient, with a change of the slopes (B, m) before they are pulled back."""

    def actor_gradient(actor, critic, s, a_replayed):
        a, tape = actor.forward(s)
        q, critic_tape = critic.forward(s, a if at == "mu" else a_replayed)
        _, dx = critic.backward(critic_tape, upstream(q) / len(s))
        return actor.backward(tape, change(dx[:, s.shape[1] :], dx, a, a_replayed))[0]

    return actor_gradient


def makes_the_step_itself(actor, critic, s, a_replayed):
    """To descend is what the actor does."""
    slope = gradient()(actor, critic, s, a_replayed)
    actor.theta -= 5e-4 * slope
    return slope


def gradient_by_rows(actor, critic, s, a_replayed):
    """Sample by sample, the mean at the end."""
    total = np.zeros(actor.theta.size)
    for row in s:
        a, tape = actor.forward(row[None])
        _, dx = critic.backward(critic.forward(row[None], a)[1], [[1.0]])
        total += actor.backward(tape, dx[:, len(row) :])[0]
    return total / len(s)


def plus_equals(target, theta, tau):
    """A second name is no copy."""
    new = target
    new += tau * (theta - new)
    return new


def first_weight_only(target, theta, tau):
    """Returns before the loop ends."""
    new = target.copy()
    for i in range(len(new)):
        new[i] = (1 - tau) * target[i] + tau * theta[i]
        return new


def loop(jump="", flag="terminated", keep="all", again="either", late=False):
    """Write the loop with its switches: where s⁺ is the next start, what is stored, what is kept, when it resets."""

    def collect(policy, noise, steps, seed):
        env, rng, memory = Guarded(steps=10), np.random.default_rng(seed), []
        env.np_random = rng
        s, _ = env.reset()
        for _ in range(steps):
            a = np.clip(policy(s) + noise * rng.standard_normal(1), -2, 2)
            s_next, reward, terminated, truncated, _ = env.step(a)
            when = {"terminated": terminated, "truncated": truncated, "either": terminated or truncated, "": False}
            start = env.reset()[0] if when[again] else s_next
            if keep == "all" or not when[keep]:
                memory.append((s, a, -reward, start if when[jump] else s_next, when[flag]))
            s = s_next if late else start
        return tuple(np.array(column, dtype=float) for column in zip(*memory, strict=True))

    return collect


def rule(x, near=0.5, gain=10, top=10, pump=None):
    """Pump, then hold."""
    q, v = wrap(x[:, 0]), x[:, 1]
    push = 2 * np.where(v >= 0, 1, -1) * np.sign(top - energy(x))
    return np.where(np.abs(q) < near, -(gain * q + 3 * v), push if pump is None else pump(x))


def first_decides(x):
    """An `if` on the first pendulum, for all of them."""
    return rule(x, near=4.0 if abs(wrap(x[0, 0])) < 0.5 else 0.0)


WRONG = [
    (1, "truncation taken for termination", 4.1),
    (1, "minimum over the actions", 59.47),
    (2, "target of the online critic", online_critic),
    (2, "truncation masked, too", target("either")),
    (2, "both flags at once: bootstrapped", target("not both")),
    (2, "one terminal row masks all", target("any")),
    (2, "mean over the batch", target(mean=True)),
    (2, "returns in the loop", returns_in_the_loop),
    (2, "cost overwritten", target(overwrite=True)),
    (3, "slope at the replayed action", gradient(at="replayed")),
    (3, "slope in the states", gradient(lambda slope, dx, a, _: dx[:, : a.shape[1]])),
    (3, "Q handed to backward", gradient(upstream=np.array)),
    (3, "imitation of the memory", gradient(lambda slope, dx, a, replayed: (a - replayed) / len(a))),
    (3, "makes the step itself", makes_the_step_itself),
    (4, "decay after the addition", lambda target, theta, tau: (1 - tau) * (target + tau * theta)),
    (4, "returns in the loop", first_weight_only),
    (4, "+= on a second name", plus_equals),
    (5, "both flags stored, the jump stays", loop(jump="either", flag="either")),
    (5, "mended for truncation only", loop(jump="terminated")),
    (5, "terminal transitions dropped", loop(keep="terminated")),
    (5, "the new start is lost", loop(late=True)),
    (6, "feedback only", lambda x: -(10 * wrap(x[:, 0]) + 3 * x[:, 1])),
    (6, "5 J for 10 J", lambda x: rule(x, top=5)),
    (6, "first pendulum decides for all", first_decides),
    (7, "nearly on-policy", ("d", [2, 4, 5])),
    (7, "right for a reason that carries nothing", ("a", [1, 2, 4, 5])),
]

RIGHT = [
    (1, "text", "63.88"),
    (1, "a matrix of one number", np.array([[63.88]])),
    (2, "formula", target()),
    (2, "rows one by one", target_by_rows),
    (2, "single precision", target(form=np.float32)),
    (3, "formula", gradient()),
    (3, "samples one by one", gradient_by_rows),
    (4, "a step towards the weights", lambda target, theta, tau: target + tau * (theta - target)),
    (4, "a product", lambda target, theta, tau: np.array([1 - tau, tau]) @ np.vstack([target, theta])),
    (5, "stored, then reset", loop()),
    (5, "a list of columns", lambda *given: [column.tolist() for column in loop()(*given)]),
    (6, "pump and hold", rule),
    (6, "caught from 90 degrees on", lambda x: rule(x, near=np.pi / 2)),
    (6, "a steep pump", lambda x: rule(x, pump=lambda x: 20 * (10 - energy(x)) * np.where(x[:, 1] < 0, -1, 1))),
    (7, "letter and numbers", ("A)", "2, 4 and 5")),
]
