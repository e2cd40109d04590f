"""One plant for all architectures, one first guess, and what is measured: lecture 05's cart-pole with a payload.

    J = sum_k L(s_k, u_k)  over 120 steps,      |p_T|, the distance at which the cart comes to stand

The plant, `LADEN`, has a payload and dry friction; the models, unless they learn it, have neither. A swing-up has many
local optima, and the first plan decides which of them real-time iteration follows: the costs of two controllers that
start from plans of their own differ by the luck of these. So all start from the same one, the plan of the nominal MPC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import process_time
from typing import NamedTuple

import numpy as np

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import LADEN, TRACK, CartPoleParameters, hanging_start
from mpcrl_course.mpc import MPC, Solution
from mpcrl_course.own import inputs
from mpcrl_course.policies.receding import first_plan
from mpcrl_course.statistics import Bounds, bootstrap
from mpcrl_course.validation import choice, function, instance, real, reals, sequence, whole


def hanging_starts(n: int = 20, seed: int = 7) -> np.ndarray:
    """Return n starts near hanging, shape (n, 4): start i is drawn from a generator of its own, of (seed, i)."""
    n, seed = whole(n, "n", 0), whole(seed, "seed", 0)
    return np.array([hanging_start(np.random.default_rng([seed, i])) for i in range(n)]).reshape(n, 4)


class CommonGuess:
    """The same first guess for whatever plans: the nominal MPC's first plan, from which the other one goes on.

    A controller is given it as its `first`: ``Receding(mpc, theta, first=guess)``. The plans are kept, as each costs
    some solves by ipopt. Where another model finds no step of real-time iteration from such a plan, it goes on from it
    by ipopt: then its first plan is solved to the end, which is counted as a fallback.

    Parameters
    ----------
    nominal : MPC
    theta : array_like, optional
        Its parameters; by default the initial ones.

    Attributes
    ----------
    plans : dict of bytes to tuple of ndarray
        States and inputs of the plans made so far; the key is the start's ``tobytes()``.
    """

    def __init__(self, nominal: MPC, theta=None):
        self.nominal: MPC = instance(nominal, MPC, "nominal")
        self.theta = nominal.parameters.pack(theta)
        self.plans: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def plan(self, s) -> tuple[np.ndarray, np.ndarray]:
        """Return states (N + 1, n_states) and inputs (N, n_inputs) of the nominal plan from the state s."""
        s = reals(s, "s", (self.nominal.problem.n_states,))
        if s.tobytes() not in self.plans:
            found = first_plan(self.nominal, self.theta, s)
            self.plans[s.tobytes()] = found.x, found.u
        return self.plans[s.tobytes()]

    def __call__(self, mpc: MPC, theta, s) -> Solution:
        """Return the plan of an mpc with theta from the state s, found from the nominal one."""
        return instance(mpc, MPC, "mpc").policy(theta, s, warm_start=self.plan(s))


class Measured(NamedTuple):
    """What was measured of a controller from n starts.

    Attributes
    ----------
    cost, final : ndarray, shape (n,)
        J, and |p_T| in m.
    violations, beyond : ndarray of int, shape (n,)
        Steps that end off the track, |p| > 2 m; decisions beyond the force limit (the plant clips them).
    fallbacks, failed : ndarray of int, shape (n,)
        Decisions for which real-time iteration handed over to ipopt; for which no plan was found.
    ms : ndarray, shape (n, steps - 1)
        CPU time of each decision but the first, in ms; nan after the end of a run.
    """

    cost: np.ndarray
    final: np.ndarray
    violations: np.ndarray
    beyond: np.ndarray
    fallbacks: np.ndarray
    failed: np.ndarray
    ms: np.ndarray


def measure(controller: Callable, plant: CartPoleParameters = LADEN, starts=None, steps: int = 120) -> Measured:
    """Drive a cart-pole, a start after the other, so that each decision is timed alone.

    Parameters
    ----------
    controller : callable
        From y (n, 4) to forces (n, 1).
    plant : CartPoleParameters
    starts : array_like, shape (n, 4), optional
        By default `hanging_starts`.
    steps : int
    """
    function(controller, "controller"), instance(plant, CartPoleParameters, "plant")
    starts, steps = hanging_starts() if starts is None else reals(starts, "starts", (None, 4)), whole(steps, "steps", 2)
    rows = [_measure(_Watched(controller), plant, start, steps) for start in starts]
    return Measured(*(np.array(column) for column in zip(*rows, strict=True)))


class _Watched:
    """A controller of one plant, whose decisions are timed and kept."""

    def __init__(self, controller):
        self.controller, self.ms, self.forces = controller, [], []
        self.reset = getattr(controller, "reset", lambda: None)

    status = property(lambda self: getattr(self.controller, "status", [""]))

    def __call__(self, y):
        began = process_time()
        u = self.controller(y)
        self.ms.append(1e3 * (process_time() - began))
        u = inputs(u, 1, 1)
        self.forces.append(u[0, 0])
        return u


def _measure(watched, plant, start, steps):
    """Return what `Measured` holds of one start."""
    found = run(watched, plant, start[None], plant.draw(0, 1, steps))
    p, said = np.abs(found.x[1 : found.ended[0] + 2, 0, 0]), found.status[:, 0].tolist()
    beyond = int((np.abs(watched.forces) > plant.max_force * (1.0 + 1e-9)).sum())
    ms = np.full(steps, np.nan)
    ms[: len(watched.ms)] = watched.ms
    return (found.cost.sum(), p[-1], int((p > TRACK).sum()), beyond,
            said.count("fallback"), said.count("failed"), ms[1:])  # fmt: skip


COUNTS = ("violations", "beyond", "fallbacks", "failed")


class Row(NamedTuple):
    """A row of the table, as `row` makes it.

    Attributes
    ----------
    cost, difference : Bounds
        J, and J minus that of the plain MPC from the same start.
    final : float
        Median of |p_T|, m.
    violations, beyond, fallbacks, failed : float
        Steps and decisions an episode: see `Measured`.
    median, tail, relative : float
        CPU time of a decision in ms, median and 99 %; the median, relative to that of the plain MPC.
    """

    cost: Bounds
    difference: Bounds
    final: float
    violations: float
    beyond: float
    fallbacks: float
    failed: float
    median: float
    tail: float
    relative: float


def stack(trainings: Sequence[Measured]) -> Measured:
    """Return measurements of several `trainings` as one, with an axis for them before that of the starts."""
    every = [instance(each, Measured, "trainings") for each in sequence(trainings, "trainings")]
    if len({each.cost.shape for each in every}) != 1:
        raise ValueError(f"trainings must be measured from the same starts, not {[len(each.cost) for each in every]}")
    return Measured(*(np.stack(column) for column in zip(*every, strict=True)))


def row(found: Measured, plain: Measured, rng=0) -> Row:
    """Return a row of the table, with intervals of `bootstrap` over trainings and starts.

    Parameters
    ----------
    found : Measured
        Of a controller, or of several trainings of it (`stack`).
    plain : Measured
        Of the plain MPC, from the same starts.
    rng : numpy.random.Generator or seed
    """
    instance(found, Measured, "found"), instance(plain, Measured, "plain")
    if found.cost.shape[-1:] != plain.cost.shape or plain.cost.ndim != 1:
        raise ValueError(f"found is not of the {plain.cost.shape} starts of plain, but of {found.cost.shape}")
    median = float(np.nanmedian(found.ms))
    return Row(
        cost=bootstrap(found.cost, rng), difference=bootstrap(found.cost - plain.cost, rng),
        final=float(np.median(found.final)), **{name: float(np.mean(getattr(found, name))) for name in COUNTS},
        median=median, tail=float(np.nanquantile(found.ms, 0.99)), relative=median / float(np.nanmedian(plain.ms)),
    )  # fmt: skip


def shipped(file, name: str) -> Measured:
    """Return what a `file` of measurements, such as boxes_05.npz, holds of a row by `name`."""
    known = sorted({key.rsplit(" ", 1)[0] for key in file if key.endswith(" cost")})
    choice(name, known, "row")
    return Measured(*(np.asarray(file[f"{name} {field}"], float) for field in Measured._fields))


def objective(controller: Callable, starts, end: float = 50.0, most: float = 400.0, steps: int = 100,
              plant: CartPoleParameters = LADEN) -> float:  # fmt: skip
    """Return the mean of min(J, most) + end |p_T|: what architectures are trained on by trial.

    The stage cost alone does not teach to come to stand at p = 0: a quarter of a metre costs .75 an episode, and the
    choice of a swing ± 40. `most` keeps a run off the track from outweighing all others.

    Parameters
    ----------
    controller : callable
    starts : array_like, shape (n, 4)
    end, most : float
    steps : int
    plant : CartPoleParameters
    """
    starts, end, most = reals(starts, "starts", (None, 4)), real(end, "end", 0.0), real(most, "most", 0.0)
    found = run(controller, instance(plant, CartPoleParameters, "plant"), starts, plant.draw(0, len(starts), steps))
    return float(np.mean(np.minimum(found.cost.sum(axis=0), most) + end * np.abs(found.x[-1, :, 0])))
