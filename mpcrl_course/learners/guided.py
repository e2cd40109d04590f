"""DDPG with an expert at hand: demonstrations in replay, and guidance for as long as a skip policy finds it worth.

Demonstrations (Vecerik et al. 2017, without their priorities): a fixed share of each batch is drawn from transitions
of the expert; before the first step, the agent may be updated on these alone (offline first).

Guidance: every decision is an option, (who acts, for how many steps n). Its value is learned beside DDPG, semi-Markov
(Sutton, Precup & Singh 1999; a learned number of steps as in Biedenkapp et al. 2021, here with an expert):

    Q_J(s, o)  <-  sum_i<n gamma^i (L_i + price [the expert acts]) + gamma^n min_o' Q_J'(s_n, o')

Every run of k steps of one option teaches all options of the same actor that fit into it, from each of its states. The
price of the expert's steps makes its use fall once the actor is as good. Every second episode the actor drives alone:
the expert would hide its faults. DDPG itself learns from all transitions: it does not matter who acted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpcrl_course.closed_loop import Controller
from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.ddpg import DDPG, box_of, noisy_action
from mpcrl_course.learners.log import Log
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.mlp import MLP, Adam, Trainable, soft_update
from mpcrl_course.own import answering, inputs
from mpcrl_course.validation import flag, function, generator, real, sequence, share, short, whole

#: (whether the expert acts, steps).
OPTIONS = ((False, 4), (True, 1), (True, 4), (True, 16))


def angle_and_velocity(s) -> np.ndarray:
    """Return the pendulum's state (2,) from what its environment shows, s = (cos q, sin q, v)."""
    return np.array([np.arctan2(s[1], s[0]), s[2]])


def falling_noise(k: int) -> float:
    """Return the share of random options at step k: from 1 to 0.1 over 2000 steps."""
    return max(0.1, 1.0 - 0.9 * k / 2000)


class Demonstrated(DDPG):
    """DDPG that has transitions of an expert.

    Parameters
    ----------
    env, rng
        See `Learner`.
    demonstrations : tuple of array_like
        s (M, n), a (M, m), cost (M,), s_next (M, n) and terminated (M,): see `transitions`.
    part : float
        Share of each batch that is drawn from them.
    offline : int
        Updates on them alone, made at the beginning of the first step.
    **options
        Of `DDPG`.
    """

    name = "DDPG with demonstrations"

    def __init__(self, env, rng: np.random.Generator, demonstrations, *, part: float = 0.25, offline: int = 0,
                 **options):  # fmt: skip
        super().__init__(env, rng, **options)
        self.part, self.offline = real(part, "part", 0.0, 1.0), whole(offline, "offline", 0)
        rows = sequence(demonstrations, "demonstrations")
        names = ("s", "a", "cost", "s_next", "terminated")
        if len(rows) != len(names) or len({len(np.atleast_1d(row)) for row in rows}) != 1 or not len(rows[0]):
            raise ValueError(
                f"demonstrations are {', '.join(names)}, as many rows of each, not {short(demonstrations)}"
            )
        n, m, batch = env.observation_space.shape[0], len(self.lower), self.replay.batch
        sizes = {"s": n, "a": m, "cost": 1, "s_next": n, "terminated": 1}
        self.demonstrations = Replay(len(rows[0]), batch, dtype=np.float32, **sizes)
        for row in zip(*rows):
            self.demonstrations.add(**dict(zip(names, row)))

    def step(self) -> None:
        """Update offline, if this is the first step; then as DDPG does."""
        if not self.k:
            for _ in range(self.offline):
                self.agent.update(self.demonstrations.draw(self.rng))
        super().step()

    def update(self, batch) -> tuple[float, float]:
        """Let the agent learn from a batch, a part of which demonstrations take; return |TD error| and target."""
        count = int(self.part * self.replay.batch)
        if not count:
            return super().update(batch)
        shown = self.demonstrations.draw(self.rng)
        return super().update([np.concatenate([own[count:], row[:count]]) for own, row in zip(batch, shown)])


def transitions(env, expert: Controller, steps: int, rng: np.random.Generator, state: Callable = angle_and_velocity):
    """Return what an expert does in `env`, from the start of an episode on: s, a, cost, s_next, terminated.

    Parameters
    ----------
    env : gymnasium.Env
    expert : Controller
        From states (1, …) to inputs (1, m). Its memory, if it has one, is reset before each episode.
    steps : int
    rng : numpy.random.Generator
        What env draws from.
    state : callable (observation) -> state
    """
    watched = _Watched(env, rng, function(expert, "expert"), function(state, "state"))
    return tuple(np.array(column) for column in zip(*(watched.one() for _ in range(whole(steps, "steps", 1)))))


class _Watched(Learner):
    """An expert that acts, and does not learn."""

    def __init__(self, env, rng, expert: Controller, state: Callable):
        self.low, self.high = box_of(env)
        self.expert, self.state = expert, state
        super().__init__(env, rng)

    def restart(self) -> np.ndarray:
        if hasattr(self.expert, "reset"):
            self.expert.reset()
        return super().restart()

    def one(self) -> tuple:
        s, m = self.s, len(self.low)
        a = inputs(self.expert(self.state(s)[None]), 1, m, "the expert")[0]
        a = np.clip(a, self.low, self.high)  # what is stored is what acts
        s_next, cost, terminated, truncated, _ = self.apply(a)
        self.s = self.restart() if terminated or truncated else s_next
        return s, self.acted, cost, s_next, terminated


class SkipPolicy(Trainable):
    """Q_J of options, its slow copy, its optimiser.

    Parameters
    ----------
    n_states : int
    options : sequence of (bool, int)
        Whether the expert acts, and for how many steps.
    rng : numpy.random.Generator
        Draws the first weights.
    price : float
        Of a step of the expert, added to its stage cost.
    gamma, tau, rate : float
        Discount of a step, share of the new weights in the slow copy, and learning rate.
    width : int
    """

    NETWORKS = ("q", "slow")
    OPTIMISERS = ("adam",)

    def __init__(self, n_states: int, options: Sequence, rng: np.random.Generator, *, price: float = 1.0,
                 gamma: float = 0.98, tau: float = 0.01, rate: float = 1e-3, width: int = 64):  # fmt: skip
        pairs = [sequence(option, "an option") for option in sequence(options, "options")]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"options are pairs (whether the expert acts, steps), not {short(options)}")
        self.options = [(flag(who, "an option's first"), whole(n, "an option's steps", 1)) for who, n in pairs]
        self.price, self.gamma, self.tau = real(price, "price", 0.0), real(gamma, "gamma", 0.0, 1.0), share(tau, "tau")
        n_states, width, rate = whole(n_states, "n_states", 1), whole(width, "width", 1), real(rate, "rate", 0.0)
        self.q = MLP(n_states, len(self.options), generator(rng), width=width)
        self.slow, self.adam = self.q.copy(), Adam(self.q.theta.size, rate)

    def best(self, s) -> int:
        """Return the option that is cheapest in s (n_states,)."""
        return int(np.argmin(self.q(s)))

    def windows(self, by_expert: bool, s, cost, s_next) -> list[tuple]:
        """Return what k steps of one actor say of options: (s, option, return, discount, s_n) of each that fits.

        `by_expert` says whether that was the expert; s (k, n_states), cost (k,) without the price, and s_next
        (k, n_states) are those of the steps.
        """
        paid = np.asarray(cost, float) + self.price * by_expert
        found = []
        for o, (who, n) in enumerate(self.options):
            if who == by_expert:
                discounts = self.gamma ** np.arange(n)
                for i in range(len(paid) - n + 1):
                    found.append((s[i], o, float(discounts @ paid[i : i + n]), self.gamma**n, s_next[i + n - 1]))
        return found

    def update(self, batch) -> float:
        """Make one update; return the mean |TD error|.

        The `batch` has the columns s, option, total, discount and s_next of windows.
        """
        rows, o = np.arange(len(batch.s)), batch.option[:, 0].astype(int)
        y = batch.total[:, 0] + batch.discount[:, 0] * self.slow(batch.s_next).min(axis=1)
        q, tape = self.q.forward(batch.s)
        td, slope = y - q[rows, o], np.zeros_like(q)
        slope[rows, o] = -td / len(rows)
        gradient, _ = self.q.backward(tape, slope, inputs=False)
        self.adam.descend(self.q.theta, gradient)
        soft_update(self.slow.theta, self.q.theta, self.tau)
        return float(np.abs(td).mean())


class Guided(DDPG):
    """DDPG that may let an expert act, for as many steps as its skip policy says.

    Parameters
    ----------
    env, rng
        See `Learner`.
    expert : Controller
        From states (1, …) to inputs (1, m).
    state : callable (observation) -> state
        What the expert is shown.
    use : 'learned', or schedule
        The skip policy; or the probability, at step k, that the expert acts in the next option (all of an actor's
        options are equally likely): a fixed schedule.
    epsilon : float or schedule
        Share of random options, of the learned skip policy.
    alone : int
        Every so many episodes, the actor drives alone (0: never). Of the learned skip policy.
    choices, price : sequence of (bool, int), float
        See `SkipPolicy`.
    recent : int
        Windows that the skip policy learns from: the expert's value stays, the actor's changes.
    warm_up : int
        Steps before DDPG learns; the same act in them.
    **options
        Of `DDPG`.

    Attributes
    ----------
    skip : SkipPolicy
    decisions : Log
        Of each step: option; expert: whether it acted.
    """

    name = "guided DDPG"
    kept = ("s", "option", "left", "episode")

    def __init__(
        self,
        env,
        rng: np.random.Generator,
        expert: Controller,
        *,
        state: Callable = angle_and_velocity,
        use: Any = "learned",
        epsilon: float | Callable = falling_noise,
        alone: int = 2,
        choices: Sequence = OPTIONS,
        price: float = 1.0,
        recent: int = 3000,
        warm_up: int = 0,
        **options,
    ):
        super().__init__(env, rng, warm_up=warm_up, **options)
        self.expert, n, m = function(expert, "expert"), self.agent.n_states, self.agent.n_actions
        self.state = answering("state", function(state, "state"), lambda s: np.shape(state(s)))
        if isinstance(use, str) and use != "learned":
            raise ValueError(f"use is 'learned' or a schedule, not {short(use)}")
        self.use: Any = use if isinstance(use, str) else as_schedule(use, "use", 1.0)
        self.epsilon, self.alone = as_schedule(epsilon, "epsilon", 1.0), whole(alone, "alone", 0)
        self.skip = SkipPolicy(n, choices, rng, price=price, gamma=self.agent.gamma)
        self.by = {who: [o for o, (by, _) in enumerate(self.skip.options) if by == who] for who in (False, True)}
        if not all(self.by.values()):
            raise ValueError(f"choices must have an option of the actor and one of the expert, not {short(choices)}")
        longest = max(steps for _, steps in self.skip.options)
        one = {"s": n, "s_next": n}
        self.segment = Replay(longest, cost=1, **one)  # the steps of the option that is being followed
        recent = whole(recent, "recent", self.replay.batch)
        self.windows = Replay(recent, self.replay.batch, dtype=np.float32, option=1, total=1, discount=1, **one)
        self.decisions = Log()
        self.option, self.left, self.episode = 0, 0, 0
        self.parts |= {"skip": self.skip, "segment": self.segment, "windows": self.windows, "decisions": self.decisions}
        self.m = m

    def choose(self) -> int:
        """Return the option to be followed from here."""
        rng = self.rng
        if self.use != "learned":
            who = bool(rng.random() < at(self.use, self.k, "use", 1.0))
            return int(rng.choice(self.by[who]))
        if self.alone and self.episode % self.alone == self.alone - 1:
            return self.by[False][0]
        if rng.random() < at(self.epsilon, self.k, "epsilon", 1.0):
            return int(rng.integers(len(self.skip.options)))
        return self.skip.best(self.s)

    def act(self) -> np.ndarray:
        """Return the action (m,) of whoever acts now."""
        if not self.left:
            self.option = self.choose()
            self.left = self.skip.options[self.option][1]
            self.segment.count = 0
        if self.skip.options[self.option][0]:
            a = inputs(self.expert(self.state(self.s)[None]), 1, self.m, "the expert")[0]
            return np.clip(a, self.lower, self.upper)  # what is stored is what acts
        sigma = at(self.noise, self.k, "noise")
        return noisy_action(self.agent.policy(self.s), sigma, self.lower, self.upper, self.rng)

    def step(self) -> None:
        """Act as DDPG does, whoever acts; when an option ends, let the skip policy learn what it cost."""
        super().step()
        newest, log = (self.replay.count - 1) % self.replay.size, self.log
        s, s_next = (self.replay.columns[name][newest].astype(float) for name in ("s", "s_next"))
        ended, by_expert = bool(log.ended[-1]), self.skip.options[self.option][0]
        self.segment.add(s=s, cost=log.cost[-1], s_next=s_next)
        self.decisions.add(option=self.option, expert=by_expert)
        self.left = 0 if ended else self.left - 1
        self.episode += ended
        if self.use == "learned":
            if not self.left:
                steps = self.segment.all()
                for s, o, total, discount, ahead in self.skip.windows(
                    by_expert, steps.s, steps.cost[:, 0], steps.s_next
                ):
                    self.windows.add(s=s, option=o, total=total, discount=discount, s_next=ahead)
            if len(self.windows) >= self.windows.batch:
                self.skip.update(self.windows.draw(self.rng))
