"""What plants have in common: their pure functions for many states at once, and the Gymnasium environment around them.

A plant is the frozen dataclass of its parameters. It remembers nothing, and only `draw` is random:

    noise = plant.draw(rng, n, steps)            all that is random about n runs: a NamedTuple of arrays (steps, n, …)
    y = plant.measure(x, now)                    what controllers see of the states x (n, n_states); now: a step's noise
    x, cost, ended = plant.step(x, u, now)       one step with the inputs u (n, n_inputs), as they act

`closed_loop.run` drives it; `PlantEnv` makes an environment of it for learners, with episodes and a memory. Both clip
commands to the plant's limits and hold them back by its delay.
"""

from __future__ import annotations

from collections import deque
from dataclasses import fields, replace
from functools import cached_property
from math import isfinite
from operator import le
from typing import Any

import casadi as ca
import gymnasium as gym
import numpy as np

from mpcrl_course.validation import asfloats, floats, generator, instance, reals, sequence, whole

#: CasADi's symbols and numbers: a model that is given one of them is written in CasADi's functions, else in NumPy's.
CASADI = (ca.SX, ca.MX, ca.DM)


class PlantParameters:
    """Base of all plants; unless they differ, limits are symmetric, states are measured as they are, nothing is late.

    Attributes
    ----------
    n_states, n_inputs : int
    limit : tuple of float
        Largest inputs.
    input_lower, input_upper : ndarray, shape (n_inputs,)
    delay : int
        Steps between a command and its effect.
    """

    n_states: Any
    limit: Any
    delay = 0
    n_inputs = property(lambda self: len(self.limit))
    input_lower = cached_property(lambda self: -self.input_upper)
    input_upper = cached_property(lambda self: np.array(self.limit, dtype=float))
    _bounds = cached_property(lambda self: (self.input_lower.tolist(), self.input_upper.tolist()))

    def _generator(self, rng, n: int, steps: int) -> np.random.Generator:
        """Return the generator `rng`, or that of a seed, from which the noise of n runs of so many steps is drawn."""
        whole(n, "n", 0), whole(steps, "steps", 0)
        return generator(rng, seeds=True)

    def measure(self, x, noise) -> np.ndarray:
        """Return what a controller sees of the states x (n, n_states), as a new array; `noise` is not used here."""
        return x.copy()

    def _check(self, positive: str, not_negative: str) -> None:
        """Raise ValueError if a parameter of those listed is not what it must be."""
        for name in f"{positive} {not_negative}".split():
            value, above = floats(getattr(self, name), name), name in positive.split()
            if not (np.isfinite(value) & (value > 0.0 if above else value >= 0.0)).all():
                word = "be positive" if above else "not be negative"
                raise ValueError(f"{name} must {word} and be finite, but is {value}")
        if np.ndim(self.delay) or self.delay != int(self.delay):
            raise ValueError(f"delay must be a whole number of steps, but is {self.delay}")


class PlantEnv(gym.Env):
    """A plant as a Gymnasium environment, reward minus the cost.

    A step is one of the parameters' own, with noise drawn for it. A plant may have its own `_move`, where few numbers
    go quicker by themselves, and `_look`, where what is observed is not the state.

    Parameters
    ----------
    parameters : PlantParameters
        May be replaced while it runs: ``env.parameters = replace(env.parameters, mass=1.5)``, or `change`.
    steps : int or None
        Length of an episode (then truncated); None for one without end.
    start : array_like or None, shape (n_states,)
        Start of every episode; None for a random one.
    random_start, high, shape
        Of the plant: generator to start; largest observation, if there is one; shape of `x`.
    recorded : array_like, shape (…, n_inputs), optional
        Noise of the first steps of each episode, applied instead of random noise (which follows when it ends).

    Attributes
    ----------
    x, count : ndarray, int
        True state, and steps since the last reset.
    """

    metadata = {"render_modes": []}

    def __init__(self, parameters, steps, start, random_start=None, high=None, shape=(-1,), recorded=None):
        instance(parameters, PlantParameters, "parameters")
        n, m, steps = parameters.n_states, parameters.n_inputs, None if steps is None else whole(steps, "steps", 1)
        self.steps, self.count, self.random_start, self._shape = steps, 0, random_start, shape
        self.parameters: Any = parameters
        if start is None and random_start is None:
            raise ValueError("start must be a state: this plant has no random start")
        self.start = None if start is None else self._checked(start)
        self.recorded = floats(np.zeros((0, m)) if recorded is None else recorded, "recorded")
        if self.recorded.ndim != 2 or self.recorded.shape[1] != m or not np.isfinite(self.recorded).all():
            raise ValueError(f"recorded must be finite, of shape (…, {m}), not of shape {self.recorded.shape}")
        high = np.full(n, np.inf) if high is None else np.array(high)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float64)
        self.action_space = gym.spaces.Box(parameters.input_lower, parameters.input_upper, dtype=np.float64)
        self.x = np.zeros(n).reshape(shape) if self.start is None else self.start.reshape(shape).copy()
        self._late: deque[np.ndarray] = deque()

    noise = property(lambda self: self.parameters.noise, lambda self, noise: self.change(noise=noise))

    def change(self, **changes) -> None:
        """Make `changes` of parameters, by name, from now on; ValueError for another number of states."""
        known = [field.name for field in fields(self.parameters)]
        for name in changes:
            if name not in known:
                raise TypeError(f"the plant has no parameter '{name}'; there are: {', '.join(known)}")
        p = replace(self.parameters, **changes)
        if p.n_states != self.parameters.n_states:
            raise ValueError(f"the plant has {self.parameters.n_states} states, not {p.n_states}")
        self.parameters = p
        self.action_space = gym.spaces.Box(p.input_lower, p.input_upper, dtype=np.float64)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode at ``options["x"]``, at `start`, or at a random state.

        A `seed` begins the random numbers anew. ValueError: other options than x, or a start that is no state.
        """
        if seed is not None:
            super().reset(seed=whole(seed, "seed", 0))
        unknown = [] if options is None else [name for name in instance(options, dict, "options") if name != "x"]
        if unknown:
            raise ValueError(
                f"reset knows no option {', '.join(map(repr, unknown))}; there is: 'x', the state to start at"
            )
        if options:
            start = options["x"]
        else:
            start = self.random_start(self.np_random) if self.start is None else self.start
        self.x = self._checked(start).reshape(self._shape)
        self.count = 0
        self._late.clear()
        return self._look()

    def step(self, action):
        """Apply an action (n_inputs,), clipped to its limits and late by the delay, for one step.

        ``info["cost"]`` is the step's cost. ValueError: an action of another shape, or one that is not finite.
        """
        p, u = self.parameters, asfloats(action, "action").reshape(-1)
        values, (lower, upper) = u.tolist(), p._bounds  # lists: for a few numbers quicker than arrays
        if len(values) != len(upper):
            raise ValueError(f"action has shape {np.shape(action)}, but this plant's has shape ({len(upper)},)")
        if not (all(map(le, lower, values)) and all(map(le, values, upper))):  # nor does nan pass
            if not all(map(isfinite, values)):
                raise ValueError(f"action is not finite: {u}")
            u = np.minimum(np.maximum(u, lower), upper)
        if p.delay or self._late:
            u = self._delayed(u.copy(), p.delay)
        cost, ended, info = self._move(u)
        self.count += 1
        seen, more = self._look()
        truncated = self.steps is not None and self.count >= self.steps
        return seen, -cost, ended, truncated, {"cost": cost, **info, **more}

    def _delayed(self, u: np.ndarray, delay: int) -> np.ndarray:
        """Return what acts now, zero until a command arrives; a delay that has changed is respected from now on."""
        while len(self._late) < delay:
            self._late.appendleft(np.zeros_like(u))
        self._late.append(u)
        while len(self._late) > delay + 1:
            self._late.popleft()
        return self._late.popleft()

    def _move(self, u: np.ndarray) -> tuple[float, bool, dict]:
        """Apply u to the state for one step; return its cost, whether the episode ends, and what else is told."""
        noise = self.parameters.draw(self.np_random, 1, 1)
        now = noise._make(part[0] for part in noise)
        x, cost, ended = self.parameters.step(self.x.reshape(1, -1), u[None], now)
        self.x = x.reshape(self._shape)
        return float(cost[0]), bool(ended[0]), {}

    def _look(self) -> tuple[np.ndarray, dict]:
        """Return the observation, and what else is told of the state."""
        return self.x.flatten(), {}

    def _uniform(self, low: float, high: float):
        """Return the noise of this step, one number an input: recorded, or uniform where the record has ended."""
        recorded = self.count < len(self.recorded)
        return self.recorded[self.count] if recorded else self.np_random.uniform(low, high, self.recorded.shape[1])

    def _checked(self, start) -> np.ndarray:
        start, n = floats(start, "start"), self.parameters.n_states
        if start.shape != (n,) or not np.isfinite(start).all():
            raise ValueError(f"a start is a finite state of shape ({n},), not {start}")
        return start

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here (JSON-able; the generator is saved by its owner)."""
        return {"x": self.x.tolist(), "count": self.count, "late": [u.tolist() for u in self._late]}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`; ValueError if it is none of this plant."""
        known, m = instance(state, dict, "a plant's state"), (self.parameters.n_inputs,)
        x, count = reals(known.get("x"), "a plant's x", self.x.shape), whole(known.get("count"), "a plant's count", 0)
        late = [reals(u, "a plant's late input", m) for u in sequence(known.get("late", ()), "a plant's late")]
        self.x, self.count, self._late = x, count, deque(late)
