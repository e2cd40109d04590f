"""A plant of the reader's own, from a few lines of smooth dynamics and cost, with one input; what is wrong is named.

    x+ = dynamics(x, u) + noise w,  w ~ N(0, I),      lower <= u <= upper,      a step costs cost(x, u)

The two functions are called once, with CasADi symbols, and compiled; from then on the plant has the shape that all
plants have here. Learners and MPCs see it in units of its own, so that one setting serves plants in metres and in
kilowatts:

    z = (x - set point) / scale,      v = (u - rest) / half the input's range,      cost / unit of cost

`rest` is the input that holds the set point. A run that goes beyond `REACH` scales, or where there is no number any
more, ends, and pays what the rest of an episode would have cost there: going on is never dearer than leaving.
"""

from __future__ import annotations

import difflib
import importlib.util
import linecache
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import casadi as ca
import gymnasium as gym
import numpy as np
from scipy.optimize import least_squares

from mpcrl_course.envs.plant import PlantEnv, PlantParameters
from mpcrl_course.mpc import lqr
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.validation import flag, floats, function, instance, share, whole

#: Of a reader's file: what must be there, and what may be.
NEEDED, OPTIONAL = ("dynamics", "cost", "set_point", "limits", "starts"), ("noise", "discount", "horizon", "steps")
#: A run ends so many scales from the set point.
REACH = 10.0
#: CasADi's operations that have a kink or a jump, what readers call them, and what is smooth instead.
ROUNDED = "ca.sqrt(y**2 + 1e-4) is a smooth |y|, and (y + ca.sqrt(y**2 + 1e-4)) / 2 a smooth max(y, 0)"
KINKS = {
    "FABS": ("abs", ROUNDED),
    "FMAX": ("max", ROUNDED),
    "FMIN": ("min", ROUNDED),
    "SIGN": ("sign", "ca.tanh(y / 0.05) is a smooth sign of y"),
    "IF_ELSE_ZERO": ("if_else", "ca.tanh(y / 0.05) passes smoothly from -1 to 1, where y changes its sign"),
    "LT": ("<", "ca.tanh(y / 0.05) passes smoothly from -1 to 1, where y changes its sign"),
    "LE": ("<=", "ca.tanh(y / 0.05) passes smoothly from -1 to 1, where y changes its sign"),
    "FLOOR": ("floor", "leave the rounding out"),
    "CEIL": ("ceil", "leave the rounding out"),
    "FMOD": ("mod", "leave an angle as it is, and let the cost be periodic: 1 - ca.cos(angle)"),
    "REMAINDER": ("remainder", "leave an angle as it is, and let the cost be periodic: 1 - ca.cos(angle)"),
}


class OwnPlantError(ValueError):
    """What is wrong in a reader's plant; the message says where, and what to do."""


class Noise(NamedTuple):
    """Everything random about n runs: `w`, (steps, n, n_states), standard normal; times `noise` it is added to x+."""

    w: np.ndarray


@dataclass(frozen=True, eq=False)
class OwnPlant(PlantParameters):
    """A plant with one input, of which the two functions are given.

    Parameters
    ----------
    name : str
    dynamics : callable (x, u) -> x_next
        Of CasADi columns x (n_states,) and u (1,): a list, a tuple or a column of n_states expressions.
    cost : callable (x, u) -> number
        Least at the set point, never below 0, curved upwards in u.
    set_point : array_like, shape (n_states,)
        A state at which some input within the limits can hold the plant.
    limits : (float, float)
        Lowest and highest input.
    starts : (array_like, array_like), shapes (n_states,)
        Lowest and highest states at the start of a run.
    noise : array_like, shape (n_states,) or ()
        Standard deviation of what is added to the state in every step.
    discount : float
        Of MPCs and learners.
    horizon : int
        Stages of an MPC.
    steps : int
        Of an episode.

    Attributes
    ----------
    rest : float
        The input that holds the set point.
    scale : ndarray, shape (n_states,)
        Unit of each state: how far starts, or ten steps of random inputs, are from the set point.
    half : float
        Unit of the input: half of its range.
    unit : float
        Unit of cost: the mean over random starts and inputs.
    A, B : ndarray, shapes (n_states, n_states), (n_states, 1)
        The model linearised at the set point, in these units: z+ = A z + B v.
    H : ndarray, shape (n_states + 1, n_states + 1)
        Half of the cost's curvature there: near the set point a step costs (z, v)'H (z, v).
    linear, quadratic : bool
        Whether the dynamics are linear, and the cost a quadratic function, everywhere.
    regulator : LQR
        Of A, B and H.

    Raises
    ------
    OwnPlantError
        Something is wrong with what is given.
    """

    name: str
    dynamics: Callable
    cost: Callable
    set_point: Any
    limits: Any
    starts: Any
    noise: Any = 0.0
    discount: float = 0.98
    horizon: int = 20
    steps: int = 100

    n_states = property(lambda self: len(self.set_point))
    limit = property(lambda self: self.limits[1:])
    input_lower = property(lambda self: np.array(self.limits[:1]))
    input_upper = property(lambda self: np.array(self.limits[1:]))
    symbols: ClassVar[Any]
    f: ClassVar[Any]
    slopes: ClassVar[Any]
    rest: ClassVar[Any]
    scale: ClassVar[Any]
    half: ClassVar[Any]
    unit: ClassVar[Any]
    A: ClassVar[Any]
    B: ClassVar[Any]
    H: ClassVar[Any]
    linear: ClassVar[Any]
    quadratic: ClassVar[Any]
    regulator: ClassVar[Any]

    def __post_init__(self):
        self._numbers()
        self._compile()
        self._at_rest()
        self._measure_units()
        self._at_set_point()
        self._look_around()
        self._linearise()

    def _set(self, **values) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    # ---- what is wrong is found here, in this order

    def _numbers(self) -> None:
        try:
            point = np.atleast_1d(floats(self.set_point, "set_point"))
            limits = floats(self.limits, "limits").ravel()
            starts = floats(self.starts, "starts")
            noise = floats(self.noise, "noise")
            more = {"discount": share(self.discount, "discount")}
            more |= {name: whole(getattr(self, name), name, 1) for name in ("horizon", "steps")}
            function(self.dynamics, "dynamics"), function(self.cost, "cost")
        except ValueError as error:
            raise OwnPlantError(f"{error}") from None
        n = len(point)
        if point.ndim != 1 or not np.isfinite(point).all():
            raise OwnPlantError(f"set_point is {self.set_point}: give one finite number for each state")
        if limits.shape != (2,) or not np.isfinite(limits).all():
            raise OwnPlantError(f"limits are {self.limits}: give the lowest and the highest input, as in -1.0, 1.0")
        if not limits[0] < limits[1]:
            raise OwnPlantError(f"limits are {limits[0]:g}, {limits[1]:g}: the lowest input comes first (swap them)")
        starts = starts[:, None] if starts.ndim == 1 and n == 1 else starts
        if starts.shape != (2, n) or not np.isfinite(starts).all():
            raise OwnPlantError(
                f"starts has shape {starts.shape}: give the lowest and the highest state, two lists of {n} numbers, as"
                " many as set_point has"
            )
        if (starts[0] > starts[1]).any():
            i = int((starts[0] > starts[1]).argmax())
            raise OwnPlantError(
                f"starts go from {starts[0, i]:g} to {starts[1, i]:g} in state {i}: the lowest comes first (swap them)"
            )
        if noise.shape not in ((), (n,)) or not (np.isfinite(noise) & (noise >= 0.0)).all():
            raise OwnPlantError(f"noise is {self.noise}: give a standard deviation, from 0 on, for each of {n} states")
        self._set(set_point=tuple(point.tolist()), limits=tuple(limits.tolist()), starts=starts, **more)
        self._set(noise=np.broadcast_to(noise, (n,)).copy())

    def _compile(self) -> None:
        """Call both functions with symbols, and make functions of numbers."""
        n = self.n_states
        x, u = ca.SX.sym("x", n), ca.SX.sym("u", 1)
        ahead = _column(_called(self.dynamics, "dynamics", x, u), "dynamics")
        if ahead.numel() != n:
            raise OwnPlantError(
                f"dynamics returns {ahead.numel()} numbers, but set_point has {n} states: return the next value of"
                " each state, in their order"
            )
        cost = _column(_called(self.cost, "cost", x, u), "cost")
        if cost.numel() != 1:
            raise OwnPlantError(
                f"cost returns {cost.numel()} numbers, but a cost is one: add up what each state and the input cost,"
                " as in x[0] ** 2 + 0.1 * u[0] ** 2"
            )
        for name, expression in (("dynamics", ahead), ("cost", cost)):
            _check_operations(name, ca.Function(name, [x, u], [expression]))
        if not ca.depends_on(ahead, u):
            raise OwnPlantError("dynamics does not depend on the input: where does u[0] act?")
        z = ca.vertcat(x, u)
        slope = [ca.jacobian(ahead, z), ca.gradient(cost, z), ca.hessian(cost, z)[0]]
        self._set(symbols=(x, u, ahead, cost))
        self._set(
            f=BufferedFunction("f", [x, u], [ahead, cost]), slopes=BufferedFunction("slopes", [x, u], slope, {0, 2})
        )
        self._set(linear=not ca.depends_on(slope[0], z), quadratic=not ca.depends_on(slope[2], z))

    def _at_rest(self) -> None:
        """Find the input that holds the set point."""
        point, (low, high) = np.array(self.set_point), self.limits
        here = _finite(self.f(point, 0.5 * (low + high))[0], "dynamics", point, 0.5 * (low + high))
        size = np.maximum(np.abs(self.starts - point).max(axis=0), 1e-6 * np.maximum(1.0, np.abs(point)))

        def drift(u):
            return np.nan_to_num((self.f(point, u[0])[0] - point) / size, nan=1e3, posinf=1e3, neginf=-1e3)

        found = min(
            (least_squares(drift, [u], bounds=(low, high), x_scale=high - low, xtol=1e-15, ftol=1e-15, gtol=1e-15)
             for u in np.linspace(low, high, 7)[1:-1]), key=lambda one: one.cost,
        )  # fmt: skip
        left = drift(found.x) * size
        if np.abs(left / size).max() > 1e-6:
            rates = " (It looks as if dynamics returned rates of change; the next state, x + DT * rate, is asked for.)"
            raise OwnPlantError(
                f"no input within the limits holds the set point {_short(point)}: with the best one, {found.x[0]:.4g},"
                f" the state moves by {_short(left)} in a step. {self._nearest(point, size)}"
                + (rates if np.abs(here).max() < 0.5 * np.abs(point).max() else "")
            )
        self._set(rest=float(found.x[0]), half=0.5 * (high - low))

    def _nearest(self, point, size) -> str:
        """Return in words which state nearby can be held."""
        low, high = self.limits

        def off(y):
            z = point + size * y[:-1]
            moved = (self.f(z, y[-1])[0] - z) / size
            return np.nan_to_num(np.concatenate([1e4 * moved, y[:-1]]), nan=1e6, posinf=1e6, neginf=-1e6)

        box = np.full(len(point), 10.0)
        found = least_squares(off, [*np.zeros(len(point)), 0.5 * (low + high)], bounds=([*-box, low], [*box, high]))
        if np.abs(off(found.x)[: len(point)]).max() > 1.0:
            return "Choose a set point at which the plant can rest, or wider limits."
        return f"One that can be held is {_short(point + size * found.x[:-1])}, by the input {found.x[-1]:.4g}."

    def _measure_units(self) -> None:
        """Choose the units: how far states are from the set point at the start and after ten steps of random inputs."""
        rng, point, (low, high) = np.random.default_rng(0), np.array(self.set_point), self.limits
        x = self.random_starts(64, rng)
        away, costs = [np.abs(x - point)], []
        for _ in range(10):
            u = rng.uniform(low, high, (64, 1))
            after, cost = self.f.over(x, u)
            bad = ~(np.isfinite(after).all(axis=1) & np.isfinite(cost[:, 0]))
            if bad.any():
                self._explain(x[bad][0], u[bad][0, 0])
            away.append(np.abs(after - point))
            costs.append(cost)
            x = after
        scale = np.maximum(np.median(away, axis=(0, 1)), np.abs(self.starts - point).max(axis=0))
        if not (scale > 0.0).all():
            i = int((scale > 0.0).argmin())
            raise OwnPlantError(
                f"state {i} never moves, from no start and with no input: leave it out of the state, as a constant"
            )
        self._set(scale=scale, unit=float(np.mean(costs)) or 1.0)

    def _at_set_point(self) -> None:
        """Look at the cost at the set point, and at slopes there."""
        point, n = np.array(self.set_point), self.n_states
        least, (slope, gradient, curvature) = self.f(point, self.rest)[1], self.slopes(point, self.rest)
        if not (np.isfinite(least).all() and np.isfinite(slope).all() and np.isfinite(gradient).all()):
            raise OwnPlantError(
                "dynamics or cost has no value or no slope at the set point, as the root of y has none at y = 0: write"
                " ca.sqrt(y**2 + 1e-4) or the like"
            )
        if least[0] < -1e-9 * self.unit:
            raise OwnPlantError(
                f"cost is {least[0]:.4g} at the set point: it is never negative. Add {-least[0]:.4g} to it"
            )
        units = np.append(self.scale, self.half)
        gradient, H = gradient * units / self.unit, 0.5 * curvature * units * units[:, None] / self.unit
        if np.abs(gradient).max() > 1e-3:
            i = int(np.abs(gradient).argmax())
            what, where = ("u[0]", self.rest) if i == n else (f"x[{i}]", point[i])
            where = 0.0 if abs(where) < 1e-9 * units[i] else where
            sign = "-" if where >= 0.0 else "+"
            raise OwnPlantError(
                f"cost is not least at the set point {_short(point)}, which the input {self.rest:.6g} holds: it slopes"
                f" in {what}. Let it count the distance, as in ({what} {sign} {abs(where):.6g}) ** 2"
            )
        A, B = slope[:, :n] * self.scale / self.scale[:, None], slope[:, n:] * self.half / self.scale[:, None]
        self._set(A=A, B=B, H=H)

    def _look_around(self) -> None:
        """Drive from random starts, with inputs that change seldom, and look for what is no number or no cost."""
        rng, point, (low, high) = np.random.default_rng(1), np.array(self.set_point), self.limits
        least = float(self.f(point, self.rest)[1][0])
        x, u = self.random_starts(64, rng), rng.choice([low, self.rest, high], (64, 1))
        x[0], u[0] = point, self.rest
        for k in range(self.steps):
            new = rng.choice([low, self.rest, high], (64, 1))
            u = np.where((rng.random((64, 1)) < 0.1) & (k > 0), new, u)
            after, cost = self.f.over(x, u)
            bad = ~(np.isfinite(after).all(axis=1) & np.isfinite(cost[:, 0]))
            if bad.any():
                self._explain(x[bad][0], u[bad][0, 0])
            lowest = int(cost[:, 0].argmin())
            if cost[lowest, 0] < least - 1e-6 * self.unit:
                at = f"{cost[lowest, 0]:.4g} at x = {_short(x[lowest])}, u = {u[lowest, 0]:.4g}"
                raise OwnPlantError(
                    f"cost is {at}, and {least:.4g} at the set point: it must be least at the set point, or the best"
                    " policy is another one, perhaps without end. Write squares of what is to be small, as in"
                    " (x[0] - 2.0) ** 2"
                )
            gone = self._left(after)
            x = np.where(gone[:, None], self.random_starts(64, rng), after)

    def _explain(self, x, u) -> None:
        """Raise what says which function gave no number at (x, u)."""
        ahead, cost = self.f(x, u)
        _finite(ahead, "dynamics", x, u)
        _finite(cost, "cost", x, u)

    def _linearise(self) -> None:
        """Find modes of the linearised model that nothing can tame, and its regulator."""
        n, A, B, H = self.n_states, self.A, self.B, self.H
        if not H[n, n] > 1e-9:
            raise OwnPlantError("cost does not count the input: add a little of its square, as in 0.01 * u[0] ** 2")
        if np.linalg.eigvalsh(H)[0] < -1e-7 * np.abs(H).max():
            raise OwnPlantError("cost is curved downwards at the set point: it must have its least value there")
        if not np.abs(B).max() > 1e-9:
            raise OwnPlantError(
                "near the set point the input moves nothing: is u[0] in dynamics, and not only squared or multiplied"
                " by what is 0 there?"
            )
        for eigenvalue in np.linalg.eigvals(A):
            rank = np.linalg.matrix_rank(
                np.hstack([A - eigenvalue * np.eye(n), B]), tol=1e-8 * max(1.0, np.abs(A).max())
            )
            if abs(eigenvalue) >= 1.0 - 1e-9 and rank < n:
                left = np.linalg.svd(np.hstack([A - eigenvalue * np.eye(n), B]).conj().T)[2][-1]
                i = int(np.abs(left).argmax())
                raise OwnPlantError(
                    f"near the set point no input can stabilise the plant: a mode with the eigenvalue"
                    f" {_short(eigenvalue)}, mostly of state {i}, is not moved by the input. Let the input act on it,"
                    " or leave the state out"
                )
        try:
            found = lqr(A, B, H[:n, :n], H[n:, n:], self.discount, N=H[:n, n:])
        except ValueError as error:
            raise OwnPlantError(
                f"there is no LQR at the set point ({error}): let the cost count every state, at least a little"
            ) from None
        self._set(regulator=found)

    # ---- the shape of all plants

    def draw(self, rng, n: int, steps: int) -> Noise:
        """Draw the noise of n runs of so many `steps`; `rng` is a generator or a seed."""
        return Noise(self._generator(rng, n, steps).standard_normal((steps, n, self.n_states)))

    def step(self, x, u, noise: Noise):
        """Return the states (n, n_states) after x, the costs (n,) of this step, and which runs end.

        u (n, 1) are the inputs as they act, `noise` is that of this step. A run that ends keeps its state.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            ahead, cost = self.f.over(x, u)
            ahead = ahead + self.noise * noise.w
        cost, ended = cost[:, 0], self._left(ahead)
        return np.where(ended[:, None], x, ahead), cost + self.steps * cost * ended, ended

    def _left(self, x) -> np.ndarray:
        """Return which of the states x (n, n_states) are beyond the plant's reach, or no numbers."""
        with np.errstate(invalid="ignore", over="ignore"):
            return ~(np.abs((x - np.array(self.set_point)) / self.scale) <= REACH).all(axis=1)

    def random_starts(self, n: int, rng) -> np.ndarray:
        """Return n starts (n, n_states), uniform between the lowest and the highest; `rng` is a generator or a seed."""
        low, high = self.starts
        return np.random.default_rng(rng).uniform(low, high, (whole(n, "n", 0), self.n_states))


class OwnPlantEnv(PlantEnv):
    """The plant as a Gymnasium environment, reward minus the cost.

    Parameters
    ----------
    parameters : OwnPlant
    steps, start
        See `PlantEnv`; by default the plant's steps, and random starts.
    units : bool or OwnPlant
        Whether observation, action and reward are in the plant's own units (see above), as learners like them; or the
        plant whose units they are in, a model of this one.
    """

    def __init__(self, parameters: OwnPlant, steps: int | None = None, start=None, units: bool | OwnPlant = False):
        instance(parameters, OwnPlant, "parameters")
        own = parameters if not isinstance(units, OwnPlant) and flag(units, "units") else None
        self.units: OwnPlant | None = units if isinstance(units, OwnPlant) else own
        random = lambda rng: parameters.random_starts(1, rng)[0]  # noqa: E731
        super().__init__(parameters, parameters.steps if steps is None else steps, start, random)
        if p := self.units:
            low, high = ((bound - p.rest) / p.half for bound in p.limits)
            self.action_space = gym.spaces.Box(low, high, (1,), np.float64)

    def step(self, action):
        """Apply an action (1,), in the plant's units if `units`; see `PlantEnv.step`."""
        p = self.units
        if p is None:
            return super().step(action)
        seen, reward, *rest = super().step(p.rest + p.half * floats(action, "action"))
        return seen, reward / p.unit, *rest

    def _look(self):
        p = self.units
        return ((self.x - p.set_point) / p.scale if p else self.x.flatten()), {}


class InUnits:
    """A controller that was made in a plant's own units, as a controller of that plant.

    Parameters
    ----------
    controller : callable
        From z (n, n_states) to v (n, 1).
    plant : OwnPlant
    """

    def __init__(self, controller: Callable, plant: OwnPlant):
        self.controller, self.plant = function(controller, "controller"), instance(plant, OwnPlant, "plant")
        self._n = 0

    def reset(self) -> None:
        """Let the controller begin anew."""
        getattr(self.controller, "reset", lambda: None)()

    @property
    def status(self) -> list[str]:
        """What the controller says of its latest decisions, a word for each."""
        return list(getattr(self.controller, "status", [""] * self._n))

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, 1) for states y (n, n_states)."""
        p, self._n = self.plant, len(y)
        v = floats(self.controller((y - np.array(p.set_point)) / p.scale), "what the controller returned")
        return p.rest + p.half * v.reshape(len(y), 1)


# ---- the reader's file


def read(file: str | os.PathLike) -> OwnPlant:
    """Import a reader's `file` as a module, and return the plant that it describes.

    It has functions `dynamics` and `cost`, and `set_point`, `limits` and `starts`; perhaps `noise`, `discount`,
    `horizon` and `steps`: see `OwnPlant`.

    Raises
    ------
    OwnPlantError
        It cannot be imported, something is missing or wrong; says where, and what to do.
    """
    path = Path(file)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [one.name for one in path.parent.glob("*.py")], 1)
        also = f"; did you mean {near[0]}?" if near else "; `mpcrl-course new-plant NAME` makes one"
        raise OwnPlantError(f"there is no file {path}{also}")
    module = _imported(path)
    known = [name for name in vars(module) if not name.startswith("_")]
    for name in NEEDED:
        if name not in known:
            others = [other for other in known if other not in NEEDED]
            near = difflib.get_close_matches(name, others, 1, 0.5) or [n for n in others if n.lower() == name]
            also = f"'{near[0]}' is perhaps meant: call it {name}" if near else f"define {name}"
            raise OwnPlantError(f"{path.name} has no '{name}': {also}")
    for name in OPTIONAL:
        near = [other for other in difflib.get_close_matches(name, known, 1, 0.8) if other not in (*NEEDED, *OPTIONAL)]
        if near and name not in known and not near[0].isupper():
            raise OwnPlantError(f"{path.name} has '{near[0]}', which nobody reads: is {name} meant?")
    return OwnPlant(path.stem, **{name: getattr(module, name) for name in (*NEEDED, *OPTIONAL) if name in known})


def _imported(path: Path) -> ModuleType:
    linecache.checkcache(str(path))
    spec = importlib.util.spec_from_file_location(f"own_plant_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise OwnPlantError(f"{path.name} is no Python file: its name must end in .py")
    module, written = importlib.util.module_from_spec(spec), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # what is kept beside it would be taken for the file itself, if that changes at once
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        line = f"line {error.lineno}, '{(error.text or '').strip()}'"
        raise OwnPlantError(
            f"{path.name} is not Python in {line} ({error.msg}): look at it, and at the end of the line before"
        ) from None
    except Exception as error:
        raise OwnPlantError(f"{path.name}{_place(error, path)} raised {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = written
    return module


def _called(own: Callable, name: str, x, u):
    """Call a reader's function with symbols; name what goes wrong."""
    file = Path(getattr(getattr(own, "__code__", None), "co_filename", ""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # CasADi's, of NumPy's functions, which do work
            return own(x, u)
    except Exception as error:
        place, text = _place(error, file), _line(error, file)
        said = str(error).strip().splitlines()[-1] if str(error).strip() else ""
        where = f"{name}{place}" + (f", '{text}'," if text else "")
        if "truth value" in str(error):
            raise OwnPlantError(
                f"{where} decides by an if, a max or a min what happens: dynamics and cost must be smooth. {ROUNDED}"
            ) from error
        if "out of bounds" in str(error):
            raise OwnPlantError(
                f"{where} asks for an entry that is not there: x has {x.numel()} entries, from x[0] on, and u one,"
                f" u[0]; {name} is called as {name}(x, u)"
            ) from error
        if isinstance(error, TypeError) and "argument" in str(error) and not text:
            raise OwnPlantError(f"{name} is called as {name}(x, u), with two arguments: {said}") from error
        if any(word in text for word in ("np.", "numpy.", "math.", "scipy", "float(")):
            raise OwnPlantError(
                f"{where} uses a function that CasADi's symbols do not know ({type(error).__name__}: {said}): take that"
                " of CasADi, ca.sin, ca.exp, ca.sqrt, ca.tanh, ca.interpolant, …"
            ) from error
        raise OwnPlantError(
            f"{where} raised {type(error).__name__}: {said} (x and u are CasADi columns: x[0], x[1], …, u[0])"
        ) from error


def _column(value, name: str) -> ca.SX:
    """Return what a reader's function returned as a column; name what is none, and what is no number already."""
    if value is None:
        raise OwnPlantError(f"{name} returned nothing: its last line must be a return")
    try:
        if isinstance(value, (ca.SX, ca.DM)):
            column = ca.vec(ca.SX(value))
        else:
            entries = [value] if np.ndim(value) == 0 else list(np.ravel(np.array(value, dtype=object)))
            column = ca.vertcat(*[ca.SX(entry) for entry in entries])
    except Exception:
        raise OwnPlantError(
            f"{name} returned a {type(value).__name__}, not numbers made of x and u: return a list of expressions"
        ) from None
    return ca.densify(column)


def _check_operations(name: str, compiled: ca.Function) -> None:
    """Name what in a function has a kink or a jump, and a constant that is no number."""
    constants = [i for i in range(compiled.n_instructions()) if compiled.instruction_id(i) == ca.OP_CONST]
    if any(np.isnan(compiled.instruction_constant(i)) for i in constants):
        raise OwnPlantError(
            f"{name} returns nan, whatever x and u are: math.sin, float and their like make nan of CasADi's symbols."
            " Take ca.sin, ca.exp, …"
        )
    used = {compiled.instruction_id(i) for i in range(compiled.n_instructions())}
    for operation, (word, advice) in KINKS.items():
        if getattr(ca, f"OP_{operation}") in used:
            raise OwnPlantError(f"{name} uses {word}, which has a kink or a jump; it must be smooth: {advice}")


def _finite(value, name: str, x, u):
    if not np.isfinite(value).all():
        raise OwnPlantError(
            f"{name} is {_short(value)} at x = {_short(x)}, u = {u:.4g}, where the plant gets to with inputs within the"
            " limits: is there a root or a logarithm of what can be negative, or a division by 0? Of a level y that may"
            " get to 0, y / (y**2 + 1e-4) ** 0.25 is a smooth root, and y / (y**2 + 1e-4) a smooth 1 / y"
        )
    return value


def _place(error: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f", line {lines[-1]}" if lines and path.suffix == ".py" else ""


def _line(error: BaseException, path: Path) -> str:
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return (lines[-1] or "").strip() if lines else ""


def _short(value) -> str:
    value = np.asarray(value)
    value = value[0] if value.shape == (1,) else value
    if np.iscomplexobj(value) and (np.abs(value.imag) < 1e-12).all():
        value = value.real
    return f"{value:.4g}" if not value.ndim else "(" + ", ".join(f"{entry:.4g}" for entry in value.ravel()) + ")"
