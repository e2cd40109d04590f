"""Closed loop of a policy and a plant, without learning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def rollout(policy: Callable, env, steps: int, rng: np.random.Generator):
    """Run ``policy(x) -> u`` on `env` and record what happens.

    Parameters
    ----------
    policy : callable
        From an observation (n_states,) to an action (n_inputs,).
    env : gymnasium.Env
        Draws its noise from `rng`; is reset at the start and after every episode.
    steps : int
    rng : numpy.random.Generator

    Returns
    -------
    x : ndarray, shape (steps, n_states)
    u : ndarray, shape (steps, n_inputs)
    cost : ndarray, shape (steps,)
        Stage costs, minus the rewards.
    """
    env.unwrapped.np_random = rng
    s, _ = env.reset()
    x, u, cost = [], [], np.zeros(steps)
    for k in range(steps):
        a = np.atleast_1d(np.asarray(policy(s), dtype=float))
        x.append(s)
        u.append(a)
        s, reward, terminated, truncated, _ = env.step(a)
        cost[k] = -reward
        if terminated or truncated:
            s, _ = env.reset()
    return np.array(x), np.array(u), cost
