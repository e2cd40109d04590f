"""Any learner on any plant of the course, under Gymnasium's interface: one loop of ten lines."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
from tqdm.auto import tqdm

from mpcrl_course.validation import flag, function, instance, whole


def interact(
    env: gym.Env, act: Callable, learn: Callable | None, steps: int, seed: int = 0, progress: bool = True
) -> np.ndarray:
    """Let a learner of any make act on a plant, and learn from each step; return the costs, shape (steps,).

    Termination ends the sum of costs, truncation only the episode: `learn` is told of the first one alone, and
    bootstraps on the second.

    Parameters
    ----------
    env : gymnasium.Env
    act : callable (s) -> action
        s is the observation.
    learn : callable (s, a, reward, s_next, terminated), optional
        None: nothing learns.
    steps, seed : int
    progress : bool
        Whether to show a progress bar.
    """
    instance(env, gym.Env, "env"), function(act, "act"), function(learn, "learn", optional=True)
    costs, (s, _) = [], env.reset(seed=whole(seed, "seed", 0))
    for _ in tqdm(range(whole(steps, "steps", 0)), disable=not flag(progress, "progress"), unit="step"):
        a = act(s)
        s_next, reward, terminated, truncated, _ = env.step(a)
        if learn is not None:
            learn(s, a, reward, s_next, terminated)
        costs.append(-float(reward))
        s = env.reset()[0] if terminated or truncated else s_next
    return np.array(costs)
