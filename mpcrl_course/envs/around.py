"""Environments around a plant: a filter between learner and plant, and actions in [-1, 1].

They are plants' environments themselves, which learners can save, and may stand around each other:
``Scaled(Filtered(Race(), RaceSafety()))``.

With a filter there are two actions, the one that a learner asked for and the one that acted, and both may be stored:

    applied    (s, a_acted, L, s+):      a true transition of the plant; what the filter did to a is not learned
    raw        (s, a_asked, L, s+):      a true transition of plant and filter together

`Filtered` says by ``info["applied"]`` what acted where that is to be stored; `Learner.apply` keeps it as `acted`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from mpcrl_course.envs.plant import PlantEnv
from mpcrl_course.own import inputs
from mpcrl_course.validation import choice, function, instance, real, reals


class Around(gym.Env):
    """An environment that is another one, of a plant, but for what a subclass changes.

    Parameters
    ----------
    env : PlantEnv or Around
    """

    metadata = {"render_modes": []}

    def __init__(self, env):
        self.env: Any = instance(env, (PlantEnv, Around), "env")
        self.observation_space = env.observation_space
        self.action_space: Any = env.action_space

    # one generator for all: what a learner sets here is the plant's
    _np_random = property(  # type: ignore[assignment]
        lambda self: self.env._np_random, lambda self, rng: setattr(self.env, "_np_random", rng)
    )
    parameters = property(lambda self: self.env.parameters)
    x = property(lambda self: self.env.x)
    count = property(lambda self: self.env.count)

    def change(self, **changes) -> None:
        """Make `changes` of the plant's parameters, by name."""
        self.env.change(**changes)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode of the plant; `seed` and `options` are its own."""
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        """Make a step with an `action`."""
        return self.env.step(action)

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here (JSON-able)."""
        return self.env.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Go on from the `state` of a `state_dict`."""
        self.env.load_state_dict(state)


class Filtered(Around):
    """A plant behind a filter: what acts is change(x, a).

    ``info`` tells what acted, ``info["acting"]``, whether that was another action, ``info["changed"]``, and the
    filter's word for it, ``info["status"]``, if it has words.

    Parameters
    ----------
    env : PlantEnv or Around
    change : callable (x, u) -> ndarray, shape (1, n_inputs)
        What acts in the place of actions u (1, n_inputs) in true states x (1, n_states): of any `Filter`. If it
        remembers it has a `reset`, and, for runs that are saved, `state_dict` and `load_state_dict`.
    store : {'applied', 'raw'}
        Which action a learner is to store.
    price : float
        Added to the cost: times the sum over inputs of |a - change(x, a)|, relative to half their range.
    start : callable (x) -> bool, optional
        Starts x (n_states,) are drawn until it is true: a filter can keep safe only what is.
    """

    def __init__(
        self, env, change: Callable, store: str = "applied", price: float = 0.0, start: Callable | None = None
    ):
        super().__init__(env)
        self.filter: Any = function(change, "change")
        self.store, self.price = choice(store, ("applied", "raw"), "store"), real(price, "price", 0.0)
        self.start = function(start, "start", optional=True)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode where the filter can keep it safe, or where `options` say; `seed` is that of the plant."""
        if hasattr(self.filter, "reset"):
            self.filter.reset()
        answer = self.env.reset(seed=seed, options=options)
        for _ in range(1000):
            if options or self.start is None or self.start(self.x.ravel().copy()):
                return answer
            answer = self.env.reset()
        raise ValueError("start refused 1000 starts of the plant")

    def step(self, action):
        """Let what the filter makes of an `action` act."""
        space = self.action_space
        asked = np.clip(reals(action, "action", space.shape), space.low, space.high)
        acting = inputs(self.filter(self.x.reshape(1, -1).copy(), asked[None].copy()), 1, asked.size, "change")[0]
        acting = np.clip(acting, space.low, space.high)
        seen, reward, terminated, truncated, info = self.env.step(acting)
        size = float((np.abs(asked - acting) / (0.5 * (space.high - space.low))).sum())
        extra = self.price * size
        info |= {"cost": info["cost"] + extra, "acting": acting, "changed": size > 1e-9}
        if self.store == "applied":
            info["applied"] = acting.copy()
        if hasattr(self.filter, "status"):
            info["status"] = self.filter.status[0]
        return seen, reward - extra, terminated, truncated, info

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here: the plant's, and the filter's."""
        inner = self.filter.state_dict() if hasattr(self.filter, "state_dict") else None
        return super().state_dict() | {"filter": inner}

    def load_state_dict(self, state: dict) -> None:
        """Go on from the `state` of a `state_dict`."""
        super().load_state_dict(state)
        if hasattr(self.filter, "load_state_dict"):
            self.filter.load_state_dict(state.get("filter"))


class Scaled(Around):
    """A plant whose actions lie in [-1, 1]: 1 is the upper limit, -1 the lower one, and 0 is 0.

    So networks see actions of one size, and an action of 0 does nothing also where limits are not symmetric.

    Parameters
    ----------
    env : PlantEnv or Around
        Its lower limits are below 0, its upper ones above.
    """

    def __init__(self, env):
        super().__init__(env)
        low, high = self.env.action_space.low, self.env.action_space.high
        if not ((low < 0.0) & (high > 0.0)).all():
            raise ValueError(f"env needs limits on both sides of 0, not {low} and {high}")
        self.action_space = gym.spaces.Box(-1.0, 1.0, low.shape, dtype=np.float64)

    def step(self, action):
        """Make a step with an `action` in [-1, 1]."""
        space = self.env.action_space
        a = np.clip(reals(action, "action", self.action_space.shape), -1.0, 1.0)
        answer = self.env.step(np.where(a > 0.0, a * space.high, -a * space.low))
        if "applied" in answer[4]:
            u = answer[4]["applied"]
            answer[4]["applied"] = np.where(u > 0.0, u / space.high, -u / space.low)
        return answer
