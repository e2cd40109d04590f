"""The closed loop of a controller and a plant, from many starts at once; it knows no plant by name.

    noise = plant.draw(rng, n, steps)                    # drawn beforehand: the same for every controller
    found = run(controller, plant, starts, noise)        # found.x, .u, .cost, .ended, .status

A controller is a function of what is measured, y (n, n_measured), that returns inputs (n, n_inputs). It may have a
method `reset()`, called before each run, and an attribute `status`, a word for each of its latest n decisions. A plant
has `measure`, `step` and limits as in `mpcrl_course.envs.plant`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mpcrl_course.own import inputs
from mpcrl_course.validation import asfloats, floats, function, short, whole

Controller = Callable[[np.ndarray], np.ndarray]


class Run(NamedTuple):
    """What happened in n closed loops; a run that has ended keeps its last state, and costs nothing more.

    Attributes
    ----------
    x : ndarray, shape (steps + 1, n, n_states)
        True states.
    u : ndarray, shape (steps, n, n_inputs)
        Inputs as they acted, 0 after the end.
    cost : ndarray, shape (steps, n)
        Stage costs.
    ended : ndarray, shape (n,)
        The step in which a run ended, counted from 0, and the number of steps if it did not.
    status : ndarray of str, shape (steps, n)
        What the controller said of each decision, if it says anything.
    """

    x: np.ndarray
    u: np.ndarray
    cost: np.ndarray
    ended: np.ndarray
    status: np.ndarray


def measured(y, entries: int | None = None) -> np.ndarray:
    """Return what is measured of n plants as a new float array (n, n_measured), of one (n_measured,) too.

    Parameters
    ----------
    y : array_like
    entries : int, optional
        What n_measured must be.

    Raises
    ------
    ValueError
        It has another shape, or is not finite: says of which plant.
    """
    if type(entries) is not int and entries is not None:
        entries = whole(entries, "entries", 1)
    y = np.atleast_2d(floats(y, "what is measured"))
    if y.ndim != 2 or (entries is not None and y.shape[1] != entries):
        raise ValueError(f"what is measured has shape (n, {entries or 'n_measured'}), not {y.shape}")
    if not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y).all(axis=1))[0])
        raise ValueError(f"what is measured of plant {row} is not finite: {y[row]}")
    return y


def rowwise(f: Callable) -> Controller:
    """Return a controller of n states from a function f of one: y (n_measured,) to u (n_inputs,) or a number."""
    function(f, "f")

    def controller(y):
        u = [np.atleast_1d(floats(f(row), "what f returned")) for row in measured(y)]
        return inputs(floats(u, "what f returned"), len(u), who="f")

    return controller


def run(controller: Controller, plant: Any, starts, noise: Any) -> Run:
    """Run a controller on a plant, for as many steps as there is noise.

    Commands are clipped to the plant's limits; nothing (0) acts until the first one arrives, `delay` steps late.

    Parameters
    ----------
    controller : callable
        From y (n, n_measured) to inputs (n, n_inputs), or (n,) if there is one input; its memory is reset first.
    plant : PlantParameters
    starts : array_like, shape (n, n_states)
    noise : NamedTuple of ndarray, shapes (steps, n, …)
        From the plant's `draw`; the same object for all controllers that are compared.

    Raises
    ------
    ValueError
        If the noise is that of another plant, starts and noise do not fit together or are not finite, an input is not
        finite or one is missing, or a state or a cost grows beyond all floats.
    """
    function(controller, "controller")
    known = all(hasattr(plant, name) for name in ("draw", "measure", "step", "n_inputs", "n_states", "delay"))
    if not known or isinstance(plant, type):
        raise ValueError(f"plant must be the parameters of a plant, such as PendulumParameters(), not {short(plant)}")
    if not hasattr(noise, "_asdict") or isinstance(noise, type) or not noise or min(map(np.ndim, noise)) < 2:
        raise ValueError(f"noise is what the plant's draw returned, arrays of shape (steps, n, …), not {short(noise)}")
    noise = noise._make(asfloats(part, f"the noise's {name}") for name, part in noise._asdict().items())
    x, (steps, n), m = floats(starts, "starts"), noise[0].shape[:2], plant.n_inputs
    wanted, given = _shapes(plant.draw(0, n, 1)), _shapes(noise)
    if given != wanted:
        raise ValueError(f"the noise is that of another plant: this one draws {wanted}, and not {given}")
    for name, part in noise._asdict().items():
        if part.shape[:2] != (steps, n):
            shapes = ", ".join(f"{name} {part.shape}" for name, part in noise._asdict().items())
            raise ValueError(f"the parts of the noise do not fit together: {shapes}")
        if not np.isfinite(part).all():
            raise ValueError(f"the noise is not finite in {name}, step {np.argwhere(~np.isfinite(part))[0][0]}")
    if x.shape != (n, plant.n_states) or not np.isfinite(x).all():
        wanted = f"({n}, {plant.n_states})"
        raise ValueError(f"the noise is that of {n} runs: they need finite starts of shape {wanted}, not {x.shape}")
    if hasattr(controller, "reset"):
        function(controller.reset, "the controller's reset")()
    xs, us, costs = np.empty((steps + 1, *x.shape)), np.zeros((steps, n, m)), np.zeros((steps, n))
    status, ended, late = np.full((steps, n), "", object), np.full(n, steps), deque([np.zeros((n, m))] * plant.delay)
    xs[0] = x
    for k in range(steps):
        now = noise._make(part[k] for part in noise)
        command = inputs(controller(plant.measure(x, now)), n, m, place=f"in step {k} ")
        late.append(np.clip(command, plant.input_lower, plant.input_upper))
        on, said = ended == steps, np.array(getattr(controller, "status", status[k]))
        if said.shape != (n,):
            raise ValueError(f"the controller's status must be a word for each of {n} decisions, not {short(said)}")
        us[k, on], status[k, on] = late.popleft()[on], said[on]
        after, cost, over = plant.step(x, us[k], now)
        costs[k, on], ended[on & over] = cost[on], k
        xs[k + 1] = x = np.where(on[:, None], after, x)
        if not (np.isfinite(x).all() and np.isfinite(costs[k]).all()):
            i = int(np.flatnonzero(~(np.isfinite(x).all(1) & np.isfinite(costs[k])))[0])
            raise ValueError(f"after step {k} the plant of run {i} is at {x[i]} and pays {costs[k, i]}: not finite")
        if (ended < steps).all():
            xs[k + 2 :] = x
            break
    return Run(xs, us, costs, ended, status.astype(str))


def _shapes(noise) -> str:
    """Return names and shapes of the parts of a noise, for a message."""
    parts = noise._asdict().items()
    return ", ".join(f"{name} ({', '.join(['steps', 'n', *map(str, np.shape(part)[2:])])})" for name, part in parts)
