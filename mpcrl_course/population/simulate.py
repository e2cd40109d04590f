"""n agents simulated, in two ways of the same law: agent by agent, and by their counts.

Agent by agent, each draws the labels of the others that it sees: n (k - 1) draws a step. By counts, an agent in state s
takes an action with the probability mu(a | s) of the mixture over samples (`policy`), and those in s are scattered by
one multinomial draw: the work of a step does not grow with n, so that a hundred thousand agents cost what ten do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mpcrl_course.population.counts import rank, whole_numbers
from mpcrl_course.population.execute import SAMPLES
from mpcrl_course.population.laws import hypergeometric
from mpcrl_course.population.policy import SampledPolicy
from mpcrl_course.validation import choice, flag, generator, instance, sequence, short, whole


class Flock(NamedTuple):
    """Simulated populations.

    Attributes
    ----------
    s_g : ndarray of int, shape (steps + 1, runs)
        Global states.
    C : ndarray of int, shape (steps + 1, runs, S)
        Counts.
    reward : ndarray, shape (steps, runs)
    """

    s_g: np.ndarray
    C: np.ndarray
    reward: np.ndarray

    def total(self, gamma: float) -> np.ndarray:
        """Return the discounted sum of the rewards, with the discount `gamma`, of each run, shape (runs,)."""
        return gamma ** np.arange(len(self.reward)) @ self.reward


def drawn(rng: np.random.Generator, P: np.ndarray) -> np.ndarray:
    """Return a place drawn by `rng` from each of the laws P (..., K), shape (...)."""
    ends = np.cumsum(P, axis=-1)
    return (rng.random((*P.shape[:-1], 1)) * ends[..., -1:] >= ends).sum(axis=-1)


def simulate(
    policy: SampledPolicy,
    n: int,
    steps: int,
    runs: int,
    rng: np.random.Generator,
    samples: str = "private",
    each: bool = False,
    start=None,
) -> Flock:
    """Simulate `runs` populations of n agents.

    Parameters
    ----------
    policy : SampledPolicy
    n : int
        At least the policy's k.
    steps, runs : int
    rng : numpy.random.Generator or seed
    samples : str
        "private", each agent its own, or "shared", one for all.
    each : bool
        Agent by agent; by default by counts.
    start : tuple, optional
        Number of the global state and counts (S,) of the n agents; by default drawn as the model says.
    """
    model = instance(policy, SampledPolicy, "policy").model
    n, steps, runs, rng = (
        whole(n, "n", policy.k),
        whole(steps, "steps", 0),
        whole(runs, "runs", 1),
        generator(rng, True),
    )
    choice(samples, SAMPLES, "samples")
    flag(each, "each")
    s_g, C = begin(model, n, runs, rng) if start is None else given(model, n, runs, start)
    move = Each(policy, C, rng, samples) if each else Counted(policy, rng, samples)
    path, counts, rewards = [s_g], [C], []
    for _ in range(steps):
        s_g, C, reward = move(s_g, C)
        path.append(s_g)
        counts.append(C)
        rewards.append(reward)
    return Flock(np.array(path), np.array(counts), np.array(rewards).reshape(steps, runs))


def begin(model, n: int, runs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw global states (runs,) and counts (runs, S) of n agents by `rng`, as the `model` says."""
    w, G, L = model.start
    j = drawn(rng, np.tile(w, (runs, 1)))
    return drawn(rng, G[j]), rng.multinomial(n, L[j])


def given(model, n: int, runs: int, start) -> tuple[np.ndarray, np.ndarray]:
    """Return a `start` of n agents of the `model`, for each of so many `runs`."""
    start = sequence(start, "start")
    if len(start) != 2:
        raise ValueError(f"start must be the number of a global state, and counts, not {short(start)}")
    s_g, C = start[0], whole_numbers(start[1], "start's counts", 1)
    if not 0 <= whole(s_g, "start's s_g", 0) < model.sizes[0] or C.shape != (model.sizes[2],) or C.sum() != n:
        raise ValueError(f"start must be the number of a global state, and counts ({model.sizes[2]},) of {n} agents")
    return np.full(runs, s_g), np.tile(C.astype(np.int64), (runs, 1))


class Counted:
    """A step by counts; the `policy`, the generator `rng` and the kind of `samples` as `simulate` takes them."""

    def __init__(self, policy: SampledPolicy, rng: np.random.Generator, samples: str = "private"):
        self.policy, self.rng, self.samples = policy, rng, samples
        self.shown = policy.shared() if samples == "shared" else None

    def __call__(self, s_g: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the next global states (runs,) and counts (runs, S) after `s_g` and `C`, and the rewards (runs,)."""
        model, rng, rows = self.policy.model, self.rng, np.arange(len(C))
        if self.shown is None:
            mu, alpha = self.policy.private(C)
            mu, alpha = mu[s_g, rows], alpha[s_g, rows]
        else:
            sample = drawn(rng, hypergeometric(C, self.policy.k))
            mu, alpha = self.shown[s_g, sample], self.policy.globally[s_g, sample]
        a_g = drawn(rng, alpha)
        taken = rng.multinomial(C, mu / mu.sum(axis=-1, keepdims=True))  # (runs, S, A)
        r_l, P_l = np.moveaxis(model.r_l, 1, 0), np.moveaxis(model.P_l, 1, 0)
        reward = model.r_g[s_g, a_g] + (taken * r_l[s_g]).sum(axis=(1, 2)) / C.sum(axis=1)
        moved = rng.multinomial(taken, P_l[s_g])
        return drawn(rng, model.P_g[s_g, a_g]), moved.sum(axis=(1, 2)), reward


class Each:
    """A step agent by agent, with labels.

    Parameters
    ----------
    policy, rng, samples
        As `simulate` takes them.
    C : ndarray of int, shape (runs, S)
        Counts of the agents at the beginning.
    """

    def __init__(self, policy: SampledPolicy, C: np.ndarray, rng: np.random.Generator, samples: str = "private"):
        self.policy, self.rng, self.samples = policy, rng, samples
        self.s = np.array([np.repeat(np.arange(C.shape[1]), c) for c in C])  # of each agent

    def __call__(self, s_g: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the next global states (runs,) and counts (runs, S) after `s_g` and `C`, and the rewards (runs,)."""
        model, k, s = self.policy.model, self.policy.k, self.s
        S, rows, rng = model.sizes[2], np.arange(len(s))[:, None], self.rng
        led = self.some(k, every=False)  # labels of the agents that the global agent sees
        a_g = drawn(rng, self.policy.globally[s_g, rank(_counted(s[rows, led], S))])
        others = self._shown(led) if self.samples == "shared" else self.some(k - 1, every=True)
        h = rank(_counted(s[rows[..., None], others], S))
        a = drawn(rng, self.policy.local[s_g[:, None], h, s])
        reward = model.r_g[s_g, a_g] + model.r_l[s, s_g[:, None], a].mean(axis=1)
        self.s = drawn(rng, model.P_l[s, s_g[:, None], a])
        return drawn(rng, model.P_g[s_g, a_g]), _counted(self.s, S), reward

    def some(self, m: int, every: bool) -> np.ndarray:
        """Draw m labels without replacement: one sample a run (runs, m), or one for `every` agent, without itself."""
        runs, n = self.s.shape
        keys = self.rng.random((runs, n, n) if every else (runs, n))
        if every:
            keys[:, np.arange(n), np.arange(n)] = 2.0  # an agent does not draw itself
        return np.argsort(keys, axis=-1)[..., :m]

    def _shown(self, led: np.ndarray) -> np.ndarray:
        # An agent takes itself for one in its own state, else it puts itself in the place of a random one: of the k
        # shown, that one is left out for it.
        runs, n = self.s.shape
        states = self.s[np.arange(runs)[:, None], led]
        same = states[:, None, :] == self.s[:, :, None]  # (runs, n, k)
        keys = self.rng.random(same.shape) - same  # its own state first
        order = np.argsort(keys, axis=-1)[..., 1:]
        return np.take_along_axis(np.broadcast_to(led[:, None, :], same.shape), order, axis=-1)


def _counted(s: np.ndarray, S: int) -> np.ndarray:
    return (s[..., None] == np.arange(S)).sum(axis=-2)
