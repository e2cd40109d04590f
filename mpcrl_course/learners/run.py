"""What every learner shares: one step after another, with a progress bar, saved and taken up again.

A learner acts in a plant and learns from what happens: its `step` is the whole of its algorithm. A notebook lets it
`run`; a widget calls `step` itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import isfinite
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
from tqdm.auto import tqdm

from mpcrl_course.learners.log import Log, load_state, part_of, save_state
from mpcrl_course.mpc import Parameters
from mpcrl_course.validation import FLOAT, flag, function, generator, instance, real, reals, short, whole

#: So many failed steps in a row end a run.
PATIENCE = 200


class Learner:
    """A plant, a generator for all randomness, the present state, and a log.

    Parameters
    ----------
    env : gymnasium.Env or None
        The plant; its reward is minus the stage cost. It draws from `rng` too.
    rng : numpy.random.Generator
        All randomness of the run.
    **first : array_like
        Series of the log with a row before the first step: see `Log`.

    Attributes
    ----------
    s : ndarray
        Present observation.
    acted : ndarray
        The latest action, as it is to be stored: that of `apply`, or what a filter made of it (see `envs/around.py`).
    log : Log
        What happened, one row a step.
    parts : dict of name to object
        What learning changes, each with ``arrays()`` and ``load(arrays)``: saved beside plant, generator and `kept`.
    """

    name = "learning"
    #: Attributes that are arrays or numbers, and saved.
    kept: tuple[str, ...] = ("s",)

    def __init__(self, env, rng: np.random.Generator, **first):
        self.env, self.rng, self.log = env, generator(rng), Log(**first)
        self.parts: dict[str, Any] = {"log": self.log}
        if env is not None:
            instance(env, gym.Env, "env").unwrapped.np_random = rng
            self._shape = instance(env.observation_space, gym.spaces.Box, "the plant's observation_space").shape
            self.s: Any = self.restart()

    @property
    def k(self) -> int:
        """Steps made."""
        return self.log.steps

    def restart(self) -> np.ndarray:
        """Start an episode; return its first observation."""
        answer = self.env.reset()
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ValueError(f"the plant's reset returned {short(answer)}, not an observation and a dict")
        return self.observed(answer[0])

    def apply(self, a) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Apply an action `a` to the plant.

        Returns
        -------
        s_next : ndarray
            The next observation: a copy, of which the plant knows nothing.
        cost : float
        terminated, truncated : bool
        info : dict

        Raises
        ------
        ValueError
            The plant's reward or observation is no finite number, or of a wrong shape; names the step.
        """
        answer = self.env.step(a)
        if not isinstance(answer, tuple) or len(answer) != 5:
            raise ValueError(f"in step {self.k} the plant returned {short(answer)}, not five things as Gymnasium asks")
        s_next, reward, terminated, truncated, info = answer
        self.acted = info.get("applied", a) if isinstance(info, dict) else a
        if type(reward) is not float or not isfinite(reward):
            reward = real(reward, f"the plant's reward in step {self.k}")
        if type(terminated) is not bool or type(truncated) is not bool:
            terminated = flag(terminated, f"the plant's terminated in step {self.k}")
            truncated = flag(truncated, f"the plant's truncated in step {self.k}")
        return self.observed(s_next), -reward, terminated, truncated, info

    def observed(self, s) -> np.ndarray:
        """Return what the plant shows, s, as an array of one's own; ValueError if it is not what was announced."""
        if type(s) is np.ndarray and s.dtype == FLOAT and s.shape == self._shape:  # nearly always, so make it short
            if all(map(isfinite, s.tolist())) if s.ndim == 1 else np.isfinite(s).all():
                return s.copy()
        shape = self._shape
        try:
            return reals(s, "observation", shape)
        except ValueError as error:
            raise ValueError(f"in step {self.k} the plant shows no observation of shape {shape}: {error}") from None

    def step(self) -> None:
        """Act, learn from what happened, and write a row of the log."""
        raise NotImplementedError

    def careful_step(self) -> None:
        """Make a step; an error, such as one of a reader's own function, leaves plant and generator as they were."""
        before = self.env.state_dict(), self.rng.bit_generator.state
        try:
            self.step()
        except Exception:
            self.env.load_state_dict(before[0])
            self.rng.bit_generator.state = before[1]
            raise

    def run(
        self,
        steps: int,
        *,
        save=None,
        save_every: int = 1000,
        resume: bool = False,
        progress: bool = True,
        on_step: Callable | None = None,
    ) -> Any:
        """Make steps until there are `steps` of them.

        Parameters
        ----------
        steps : int
            In all: also of a run that is resumed, or goes on.
        save : path, optional
            Without suffix. A state is written there at the start, every `save_every` steps and at the end.
        save_every : int
        resume : bool
            Go on bit for bit from the state in `save`. An interrupted run goes on from the last state written.
        progress : bool
            Whether to show a progress bar.
        on_step : callable (k, learner), optional
            Called after every step k.

        Returns
        -------
        Learner
            Itself; ``log.stopped`` says why it ended before its last step, if it did.

        Raises
        ------
        ValueError
            There is nothing to resume, or more than is asked for; or a wrapped plant is to be saved.
        """
        log, steps, save_every = self.log, whole(steps, "steps", 0), whole(save_every, "save_every", 1)
        function(on_step, "on_step", optional=True)
        resume, progress = flag(resume, "resume"), flag(progress, "progress")
        if save is not None and (not isinstance(save, (str, os.PathLike)) or not str(save)):
            raise ValueError(f"save must be a path, not {short(save)}")
        if save and self.env is not None and self.env is not self.env.unwrapped:
            why = "a wrapper's own state would be lost"
            raise ValueError(f"a run that is saved needs the plant itself, not {self.env}: {why}")
        if resume:
            self._resume(save, steps)
        elif save:
            self.save(save)
        log.stopped, began = "", perf_counter() - log.seconds
        try:
            for _ in tqdm(range(self.k, steps), self.name, steps, initial=self.k, disable=not progress, unit="step"):
                self.step()
                log.seconds = perf_counter() - began
                if on_step:
                    on_step(self.k - 1, self)
                if save and not log.stopped and (self.k % save_every == 0 or self.k == steps):
                    self.save(save)
                if log.stopped:
                    break
        except KeyboardInterrupt:
            log.stopped = f"interrupted after {self.k} steps"
        return self

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return everything that learning changes, by name; of a part, by ``part name``."""
        found = {name: np.asarray(getattr(self, name)) for name in self.kept}
        return found | {f"{part} {name}": a for part, one in self.parts.items() for name, a in one.arrays().items()}

    def save(self, path) -> None:
        """Write everything that learning changes to `path`: see `save_state`."""
        plant = None if self.env is None else self.env.state_dict()
        save_state(path, self._arrays(), {"k": self.k, "env": plant, "rng": self.rng.bit_generator.state})

    def _resume(self, path, steps: int) -> None:
        if path is None:
            raise ValueError("resume needs `save`, the path of the state to go on from")
        arrays, scalars = load_state(path)
        if scalars["k"] > steps:
            raise ValueError(f"the saved run has {scalars['k']} steps already, more than the {steps} asked for")
        try:
            for name, own in self._arrays().items():
                if name in arrays or name in self.kept:
                    _check_saved(arrays[name], own, name, name in self.kept)
            for part, thing in self.parts.items():
                thing.load(part_of(arrays, part))
            for name in self.kept:
                setattr(self, name, arrays[name] if arrays[name].ndim else arrays[name].item())
            if self.env is not None:
                self.env.load_state_dict(scalars["env"])
            self.rng.bit_generator.state = scalars["rng"]
            if self.k != scalars["k"]:
                raise ValueError(f"its log has {self.k} rows, not {scalars['k']}")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"the run saved at {path} is another learner's, or damaged: {what}") from error

    def stop_if_hopeless(self, error: Exception) -> None:
        """Stop if the TD errors of the last 200 steps are all nan: each of them failed, the last with `error`."""
        td = self.log.td[-PATIENCE:]
        if len(td) == PATIENCE and np.isnan(td).all():
            self.log.stopped = f"{PATIENCE} steps failed in a row, the last with: {error}"


def _check_saved(array: np.ndarray, own: np.ndarray, name: str, whole_shape: bool) -> None:
    """Check what a run saved against what the learner has of it; a memory or a log may have other numbers of rows."""
    first = 0 if whole_shape else 1
    if array.ndim != own.ndim or array.shape[first:] != own.shape[first:]:
        raise ValueError(f"its {name} has shape {array.shape}, not {own.shape}")
    if array.size and not np.can_cast(array.dtype, own.dtype, "same_kind"):
        raise ValueError(f"its {name} holds {array.dtype}, not {own.dtype}")
    if array.dtype.kind == "f" and not name.startswith(("log ", "episodes ")) and not np.isfinite(array).all():
        raise ValueError(f"its {name} is not finite")


def bounds_of(parameters: Parameters, lower=None, upper=None) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds on theta as arrays, infinite where there are none.

    Parameters
    ----------
    parameters : Parameters
    lower, upper : array_like, shape (n_theta,), optional

    Raises
    ------
    ValueError
        Another shape, nan, or a lower bound above its upper one: says of which parameters.
    """
    low, high = np.full(parameters.size, -np.inf), np.full(parameters.size, np.inf)
    low = low if lower is None else parameters.check(lower, finite=False, name="lower").copy()
    high = high if upper is None else parameters.check(upper, finite=False, name="upper").copy()
    if (low > high).any():
        crossing = ", ".join(parameters.names[i] for i in np.flatnonzero(low > high))
        raise ValueError(f"lower is above upper in {crossing}: no theta is within such bounds")
    return low, high
