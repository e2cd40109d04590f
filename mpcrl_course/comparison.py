"""Fair comparisons of controllers on the pendulum: the same plants, starts and noise for all, and honest intervals.

    noise = draw_noise(len(starts), steps=200, seed=3)
    cost = {name: run(controller, plant, starts, noise).cost.sum(0) for name, controller in controllers.items()}
    difference = interval(cost["MPC"] - cost["DDPG"])          # paired: what both suffered from cancels

A controller is a function of the measured states (n, 2) that returns torques (n, 1) or (n,), clipped by the plant. One
that remembers has a method `reset()`, called before each run. Violations are counted on the true states, as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from mpcrl_course.envs.pendulum import PendulumParameters, dynamics, stage_cost, wrap

Controller = Callable[[np.ndarray], np.ndarray]
NOMINAL = PendulumParameters()


class Noise(NamedTuple):
    """Everything random about n runs, drawn beforehand, so that it does not depend on who controls.

    Attributes
    ----------
    torque : ndarray, shape (steps, n)
        Standard normal; times `process_noise` it is a random torque.
    measurement : ndarray, shape (steps, n, 2)
        Standard normal; times `measurement_noise` it is the error of the measured state.
    kicks : ndarray, shape (steps, n)
        Sudden changes of the velocity, rad/s; mostly zero.
    """

    torque: np.ndarray
    measurement: np.ndarray
    kicks: np.ndarray


def draw_noise(n: int, steps: int = 200, seed: int = 0, kick_probability: float = 0.0, kick: float = 0.0) -> Noise:
    """Draw the noise of n runs; a kick of +-`kick` rad/s comes with a probability in each step.

    With the same seed, torque and measurement noise are the same with and without kicks.
    """
    if not 0.0 <= kick_probability <= 1.0 or not np.isfinite(kick):
        raise ValueError(f"a kick is finite and its probability in [0, 1], not {kick} and {kick_probability}")
    rng = np.random.default_rng(seed)
    torque, measurement = rng.standard_normal((steps, n)), rng.standard_normal((steps, n, 2))
    hit, side = rng.random((steps, n)) < kick_probability, rng.choice([-1.0, 1.0], (steps, n))
    return Noise(torque, measurement, kick * side * hit)


class Run(NamedTuple):
    """Closed loops: true states (steps + 1, n, 2), applied torques and stage costs (steps, n)."""

    x: np.ndarray
    u: np.ndarray
    cost: np.ndarray


def run(controller: Controller, plant: PendulumParameters, starts, noise: Noise) -> Run:
    """Run a controller from many starts at once, for as many steps as there is noise.

    Parameters
    ----------
    controller : callable
        Measured states (n, 2) to torques; its memory is reset first.
    plant : PendulumParameters
        With its delay and the widths of its noises.
    starts : array_like, shape (n, 2)
    noise : Noise
        The same object for every controller that is compared.

    Raises
    ------
    ValueError
        If starts and noise do not fit together or are not finite, or a torque is not finite or one is missing.
    """
    x, p = np.array(starts, dtype=float), plant
    steps, n = noise.torque.shape
    if noise.measurement.shape != (steps, n, 2) or noise.kicks.shape != (steps, n):
        shapes = ", ".join(f"{name} {part.shape}" for name, part in noise._asdict().items())
        raise ValueError(f"the parts of the noise do not fit together: {shapes}")
    for name, part in noise._asdict().items():
        if not np.isfinite(part).all():
            raise ValueError(f"the noise is not finite in {name}, step {np.argwhere(~np.isfinite(part))[0][0]}")
    if x.shape != (n, 2) or not np.isfinite(x).all():
        raise ValueError(f"the noise is that of {n} runs: they need finite starts of shape ({n}, 2), not {x.shape}")
    if hasattr(controller, "reset"):
        controller.reset()
    xs, us, costs = np.empty((steps + 1, n, 2)), np.empty((steps, n)), np.empty((steps, n))
    waiting = deque([np.zeros(n)] * p.delay)
    for k in range(steps):
        command = np.asarray(controller(x + p.measurement_noise * noise.measurement[k]), dtype=float).reshape(-1)
        if command.shape != (n,) or not np.isfinite(command).all():
            raise ValueError(f"the controller must return {n} finite torques, one a state; in step {k}: {command}")
        waiting.append(np.clip(command, -p.max_torque, p.max_torque))
        u = waiting.popleft()
        xs[k], us[k], costs[k] = x, u, stage_cost(x, u[:, None])
        x = dynamics(x, (u + p.process_noise * noise.torque[k])[:, None], p)
        x[:, 1] += noise.kicks[k]
    xs[steps] = x
    return Run(xs, us, costs)


def upright(x, last: int = 20, within: float = 0.3) -> np.ndarray:
    """Return which runs (steps + 1, n, 2) stood upright, within 0.3 rad, throughout their last second, shape (n,)."""
    return np.abs(wrap(_finite_runs(x)[-last:, :, 0])).max(axis=0) < within


def violations(x, max_speed: float) -> np.ndarray:
    """Return the share of the steps in which the true speed exceeds the limit, shape (n,); the start does not count."""
    return (np.abs(_finite_runs(x)[1:, :, 1]) > max_speed + 1e-9).mean(axis=0)


def _finite_runs(x) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if x.ndim != 3 or x.shape[2] != 2 or not np.isfinite(x).all():
        raise ValueError(f"runs are finite states of shape (steps + 1, n, 2), not of shape {x.shape}")
    return x


class Interval(NamedTuple):
    """A mean and how far to either side its confidence interval reaches."""

    mean: float
    half: float

    def __str__(self):
        # two digits of what is uncertain, and as many places of the mean; what is left by rounding is no width
        wide = self.half > 1e-12 * abs(self.mean)
        places = max(0, 1 - int(np.floor(np.log10(self.half)))) if wide else 3
        return f"{self.mean:.{places}f} ± {self.half:.{places}f}"


def interval(values, level: float = 0.95) -> Interval:
    """Return mean and confidence interval (Student's t) of independent values, one a seed; nan is not allowed.

    For a comparison of two controllers hand in the differences of pairs. A run is not independent of another one
    with the same network: average within a seed first.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"an interval needs at least two finite values in a row, not {values}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), not {level}")
    half = student_t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean()), float(half))


def tail(costs, share: float = 0.05) -> float:
    """Return the mean of the worst `share` of the costs (the conditional value at risk).

    Where the share is no whole number of them, the last one counts in part: of 30 costs the worst 5 % are the worst
    one and half of the second. A share of less than one cost is the worst one. It is the minimum over c of
    c + mean(max(0, costs - c)) / share (Rockafellar & Uryasev, J. Risk 2(3), 2000).
    """
    worst = np.sort(np.ravel(np.asarray(costs, dtype=float)))[::-1]
    if not len(worst) or not np.isfinite(worst).all() or not 0.0 < share <= 1.0:
        raise ValueError(f"the tail of finite costs and a share in (0, 1] is asked for, not {share} of {worst}")
    weights = np.clip(share * len(worst) - np.arange(len(worst)), 0.0, 1.0)
    return float(weights @ worst / weights.sum())


def decision_seconds(controller: Controller, x, warm_up: int = 20) -> np.ndarray:
    """Return the wall time of single decisions along a path, without the first `warm_up` of them.

    Parameters
    ----------
    controller : callable
        Asked one state (1, 2) at a time, in order; its memory is reset first.
    x : array_like, shape (steps, 2)
        Successive states of one closed loop.
    warm_up : int
        Decisions that are made, but not counted: caches and an MPC's first plan are paid once.

    Returns
    -------
    ndarray, shape (steps - warm_up,)
    """
    x = np.asarray(x, dtype=float)
    if not 0 <= warm_up < len(x):
        raise ValueError(f"{len(x)} decisions are too few for a warm-up of {warm_up}")
    if hasattr(controller, "reset"):
        controller.reset()
    seconds = []
    for state in x:
        began = perf_counter()
        controller(state[None])
        seconds.append(perf_counter() - began)
    return np.array(seconds[warm_up:])
