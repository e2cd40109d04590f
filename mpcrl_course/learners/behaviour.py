"""What a learner does instead of acting greedily, and how that changes with time.

A behaviour is a function ``(k, solution, policy, rng) -> action``: step number, the greedy solution at the current
state, ``policy(q)`` that solves again with a linear cost q'u_0 added, and the run's generator. A schedule is a
function of k.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def constant(value: float) -> Callable:
    """Return the schedule k -> value."""
    return lambda k: value


def exponential(start: float, factor: float, every: int = 1) -> Callable:
    """Return the schedule k -> start * factor**(k // every)."""
    return lambda k: start * factor ** (k // every)


def as_schedule(value) -> Callable:
    """Return `value` itself if it is a schedule, else a constant one."""
    return value if callable(value) else constant(float(value))


def greedy(k, solution, policy, rng):
    """Act as the greedy `solution` says, whatever `k`, `policy` and `rng` are: on-policy."""
    return solution.u0


def epsilon_greedy(epsilon, lower, upper) -> Callable:
    """Return a behaviour that draws a uniform action in [lower, upper] with probability epsilon (or schedule)."""
    epsilon, lower, upper = as_schedule(epsilon), np.atleast_1d(lower), np.atleast_1d(upper)

    def behave(k, solution, policy, rng):
        return rng.uniform(lower, upper) if rng.random() < epsilon(k) else solution.u0

    return behave


def perturbed_cost(epsilon, strength) -> Callable:
    """Return a behaviour that adds, with probability epsilon, a random linear term q'u_0 to the cost.

    q ~ N(0, strength^2) for every input; the action still satisfies the constraints, unlike one that is
    drawn at random (epsilon and strength are numbers or schedules).
    """
    epsilon, strength = as_schedule(epsilon), as_schedule(strength)

    def behave(k, solution, policy, rng):
        if rng.random() >= epsilon(k):
            return solution.u0
        return policy(strength(k) * rng.standard_normal(solution.u0.shape)).u0

    return behave
