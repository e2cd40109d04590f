"""Safety filters: the least change of a controller's input after which a limit is kept.

Of the pendulum there are a barrier and a predictive one, for its speed.

Sources: Ames et al., IEEE TAC 62(8), 2017 (barriers); Wabersich & Zeilinger, Automatica 129, 2021 (predictive filter).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs.pendulum import DT, NOMINAL, PendulumParameters, dynamics
from mpcrl_course.own import inputs
from mpcrl_course.validation import asfloats, function, instance, real, share, whole


class Filter:
    """A controller whose inputs are changed before they act; it has the memory and the words of the one behind it.

    A `change` that remembers has a `reset`, too; if it has a `status`, its words are the ones that are heard.

    Parameters
    ----------
    controller : callable
        From what is measured, y (n, n_measured), to inputs (n, n_inputs), or (n,) if there is one input.
    change : callable (y, u) -> ndarray, shape (n, n_inputs)
        What acts in the place of u (n, n_inputs).
    """

    def __init__(self, controller: Callable, change: Callable):
        self.controller: Any = function(controller, "controller")
        self.change = function(change, "change")

    def reset(self) -> None:
        """Reset the controller behind it, and the change, if they remember."""
        for part in (self.controller, self.change):
            if hasattr(part, "reset"):
                part.reset()

    @property
    def status(self) -> list[str]:
        """What the change says of its latest decisions, else the controller behind it."""
        if hasattr(self.change, "status"):
            return self.change.status
        return self.controller.status  # an AttributeError if it says nothing, as of a plain function

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs) for what is measured, y (n, n_measured)."""
        y = measured(y)
        u = inputs(self.controller(y), len(y))
        return inputs(self.change(y, u), len(u), u.shape[1], "change")


def barrier_torques(x, max_speed: float, kappa: float = 0.3, p: PendulumParameters = NOMINAL):
    """Return the lowest and the highest torque (n,) that keep the barrier condition h(x+) >= (1 - kappa) h(x).

    h = max_speed - |v| >= 0 is the safe set; kappa = 1 asks only that the next state is in it (action restriction).
    From outside of it (h < 0) the next state is asked to be inside, at once. The two torques may lie beyond the motor's
    limit: then no admissible torque keeps the condition. x+ follows from x (n, 2) by the model p, without noise.

    Raises
    ------
    ValueError
        A kappa outside of (0, 1], or a max_speed (rad/s) that is not positive and finite.
    """
    _check(max_speed, kappa, p)
    x = measured(x, 2)
    drift = dynamics(x, np.zeros((len(x), 1)), p)[:, 1]
    gain = DT * 3.0 / (p.mass * p.length**2)
    fastest = max_speed - (1.0 - kappa) * np.maximum(max_speed - np.abs(x[:, 1]), 0.0)  # |v+| may be so much
    return (-fastest - drift) / gain, (fastest - drift) / gain


def _check(max_speed, kappa, p) -> None:
    instance(p, PendulumParameters, "p")
    real(max_speed, "max_speed", 0.0, strict=True)
    share(kappa, "kappa")


def barrier_filter(policy: Callable, max_speed: float, kappa: float = 0.3, p: PendulumParameters = NOMINAL) -> Filter:
    """Return the policy, its torque changed as little as the barrier condition asks (and as the motor allows).

    max_speed, kappa and p are those of `barrier_torques`.
    """
    _check(max_speed, kappa, p)

    def change(x, u):
        low, high = barrier_torques(x, max_speed, kappa, p)
        u = inputs(u, len(x), 1, "the policy")
        return np.clip(np.clip(u[:, 0], low, high), -p.max_torque, p.max_torque)[:, None]

    return Filter(policy, change)


def braking(x, p: PendulumParameters = NOMINAL) -> np.ndarray:
    """Return the torques (...,) of the backup controller: against the velocity, as much as stops it in one step.

    They are for states x (..., 2), and no larger than the motor of p allows; gravity and friction are not counted.
    """
    x = asfloats(x, "x")
    if x.shape[-1:] != (2,):
        raise ValueError(f"x are states of shape (..., 2), not {x.shape}")
    stop = -p.mass * p.length**2 / (3.0 * DT) * x[..., 1]
    return np.clip(stop, -p.max_torque, p.max_torque)


def predictive_filter(
    policy: Callable, max_speed: float, p: PendulumParameters = NOMINAL, steps: int = 40, candidates: int = 41
) -> Filter:
    """Return the policy with the least change after which braking would still keep |v| <= max_speed (rad/s).

    The `candidates` are the wanted torque, that of `braking`, and a grid of so many torques over the motor's range.
    Each is followed, in the model p, by `steps` steps of `braking`; it is safe if the speed stays within the limit
    throughout. If none is, the one with the lowest peak is taken.

    What is safe now stays so, in the model, if `steps` steps of braking show the highest speed that braking leads to.
    There is one place where it comes later: near the upright, where the brake holds the pendulum and lets it go slowly.
    Such a fall reaches 5.02 rad/s (the nominal pendulum), so limits above that are kept; a lower one needs another
    backup controller there, which balances.

    Raises
    ------
    ValueError
        Fewer than 2 candidates, negative steps, or a max_speed that is not positive and finite.
    """
    candidates, steps = whole(candidates, "candidates", 2), whole(steps, "steps", 0)
    _check(max_speed, 1.0, p)
    function(policy, "policy")
    grid = np.linspace(-p.max_torque, p.max_torque, candidates)

    def change(x, u):
        x, wanted = measured(x, 2), np.clip(inputs(u, len(x), 1, "the policy"), -p.max_torque, p.max_torque)
        tried = np.hstack([wanted, braking(x, p)[:, None], np.tile(grid, (len(x), 1))])
        ahead = dynamics(np.repeat(x[:, None], tried.shape[1], axis=1), tried[..., None], p)
        peak = np.abs(ahead[..., 1])
        for _ in range(steps):
            ahead = dynamics(ahead, braking(ahead, p)[..., None], p)
            peak = np.maximum(peak, np.abs(ahead[..., 1]))
        unsafe = peak > max_speed
        badness = np.where(unsafe, 2.0 * p.max_torque + peak, np.abs(tried - wanted))  # no change is above 2 max_torque
        return tried[np.arange(len(x)), badness.argmin(axis=1)][:, None]

    return Filter(policy, change)
