"""What a learner does instead of acting greedily, and how that changes with time.

A behaviour is a function ``(k, solution, policy, rng) -> action``: step number, the greedy solution at the current
state, ``policy(q)`` that solves again with a linear cost q'u_0 added, and the run's generator. A schedule is a
function of k.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.validation import real, reals, whole


def constant(value: float) -> Callable:
    """Return the schedule k -> value."""
    value = real(value, "value")
    return lambda k: value


def exponential(start: float, factor: float, every: int = 1) -> Callable:
    """Return the schedule k -> start * factor**(k // every)."""
    start, factor, every = real(start, "start"), real(factor, "factor"), whole(every, "every", 1)
    return lambda k: start * factor ** (k // every)


def as_schedule(value, name: str = "value", highest: float = np.inf) -> Callable:
    """Return `value` itself if it is a schedule, else a constant one; ValueError, by `name`: not in [0, highest]."""
    return value if callable(value) else constant(real(value, name, 0.0, highest))


def at(schedule: Callable, k: int, name: str, highest: float = np.inf) -> float:
    """Return what a schedule says of step k.

    Parameters
    ----------
    schedule : callable
    k : int
    name : str
        Of what is scheduled, for the message.
    highest : float

    Raises
    ------
    ValueError
        It is no finite number from 0 to `highest`.
    """
    value = schedule(k)
    if type(value) is float and 0.0 <= value <= highest and value != np.inf:
        return value
    return real(value, f"{name} of step {k}", 0.0, highest)


def greedy(k, solution, policy, rng):
    """Act as the greedy `solution` says, whatever `k`, `policy` and `rng` are: on-policy."""
    return solution.u0


def epsilon_greedy(epsilon, lower, upper) -> Callable:
    """Return a behaviour that draws a uniform action in [lower, upper] with probability epsilon (or schedule)."""
    epsilon = as_schedule(epsilon, "epsilon", 1.0)
    lower, upper = np.atleast_1d(reals(lower, "lower")), np.atleast_1d(reals(upper, "upper"))
    if lower.shape != upper.shape or (lower > upper).any():
        raise ValueError(f"lower must be below upper, in each of the same entries, but they are {lower} and {upper}")

    def behave(k, solution, policy, rng):
        return rng.uniform(lower, upper) if rng.random() < at(epsilon, k, "epsilon", 1.0) else solution.u0

    return behave


def noisy(sigma, lower, upper) -> Callable:
    """Return a behaviour that adds normal noise to the greedy action: clip(pi + sigma e), e ~ N(0, I).

    Where the greedy action is at a limit, half of the noise is cut off, and E[a - pi] is not 0.

    Parameters
    ----------
    sigma : float or schedule
        Standard deviation, in the action's units.
    lower, upper : array_like
    """
    sigma = as_schedule(sigma, "sigma")
    lower, upper = np.atleast_1d(reals(lower, "lower")), np.atleast_1d(reals(upper, "upper"))
    if lower.shape != upper.shape or (lower > upper).any():
        raise ValueError(f"lower must be below upper, in each of the same entries, but they are {lower} and {upper}")

    def behave(k, solution, policy, rng):
        return np.clip(solution.u0 + at(sigma, k, "sigma") * rng.standard_normal(solution.u0.shape), lower, upper)

    return behave


def perturbed_cost(epsilon, strength) -> Callable:
    """Return a behaviour that adds, with probability epsilon, a random linear term q'u_0 to the cost.

    q ~ N(0, strength^2) for every input; the action still satisfies the constraints, unlike one that is
    drawn at random (epsilon and strength are numbers or schedules).
    """
    epsilon, strength = as_schedule(epsilon, "epsilon", 1.0), as_schedule(strength, "strength")

    def behave(k, solution, policy, rng):
        if rng.random() >= at(epsilon, k, "epsilon", 1.0):
            return solution.u0
        return policy(at(strength, k, "strength") * rng.standard_normal(solution.u0.shape)).u0

    return behave
