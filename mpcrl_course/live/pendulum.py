"""The pendulum live: value iteration unfolds on its grid while the greedy policy already drives (lecture 01)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection

from mpcrl_course.dp.finite import FiniteMDP, bellman
from mpcrl_course.dp.grid import Grid
from mpcrl_course.dp.pendulum import greedy_policy, pendulum_grid, pendulum_mdp
from mpcrl_course.envs.pendulum import MAX_SPEED, Pendulum, PendulumParameters, wrap
from mpcrl_course.figures.pendulum import PendulumDrawing, describe_pendulum
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.own import checked

#: Steps of one run (10 s), sweeps that the strip shows, and torques to choose from.
RUN, SWEEPS = 200, 400
TORQUES = np.linspace(-2.0, 2.0, 9)

Backup = Callable[[FiniteMDP, np.ndarray], np.ndarray]


class ValueLoop:
    """One sweep of value iteration and one step of the plant under the greedy policy, again and again.

    Parameters
    ----------
    backup : callable (mdp, V) -> V, optional
        One sweep; by default `mpcrl_course.dp.bellman`.
    gamma : float
        Discount.
    noise : float
        Standard deviation of the random torque, N m; the grid's process and the plant both have it.
    size : int
        Grid points of angle and velocity, odd.
    start : array_like, shape (2,)
        Angle (rad) and velocity (rad/s) at which every run starts.
    seed : int
        Of the noise.

    Attributes
    ----------
    grid, mdp : Grid, FiniteMDP
        Now; change them with `change`.
    V : ndarray, shape (S,)
        Value after the sweeps so far.
    residuals : list of float
        Largest change of each sweep since the last `reset`.
    path : deque of (ndarray, float)
        States and torques of this run.
    cost, last_cost : float
        Cost of this run so far, and of the latest complete run of 10 s (NaN before the first).
    """

    def __init__(
        self,
        backup: Backup | None = None,
        *,
        gamma: float = 0.98,
        noise: float = 0.0,
        size: int = 41,
        start=(np.pi, 0.0),
        seed: int = 0,
    ):
        self.backup = backup or bellman
        self._build = lru_cache(maxsize=16)(_process)
        self.gamma, self.noise, self.size, self.seed = float(gamma), float(noise), int(size), seed
        self.start = np.array(start, dtype=float)
        self.plant = Pendulum(PendulumParameters(process_noise=self.noise), steps=None)
        self.grid, mdp = self._build(self.size, self.noise)
        self.mdp = mdp.discounted(self.gamma)
        self.reset()

    def reset(self) -> None:
        """Forget the value (V = 0) and start the run again."""
        self.V = np.zeros(self.mdp.states)
        self.residuals: list[float] = []
        self.sweep_time = float("nan")
        self.last_cost, self.changed = float("nan"), True
        self._kicks = np.random.default_rng([self.seed, 1])
        self.plant.np_random = np.random.default_rng(self.seed)
        self.restart()

    def restart(self) -> None:
        """Start the run again, with the value as it is."""
        self.plant.reset(options={"x": self.start})
        self.path: deque[tuple[np.ndarray, float]] = deque(maxlen=RUN)
        self.count, self.cost, self.torque = 0, 0.0, 0.0

    x = property(attrgetter("plant.x"), doc="Angle (rad, not wrapped) and velocity (rad/s) of the plant.")

    @property
    def residual(self) -> float:
        """Largest change of the latest sweep (NaN before the first)."""
        return self.residuals[-1] if self.residuals else float("nan")

    def value(self, x) -> float:
        """Return the value at a state x (2,), angle (rad) and velocity (rad/s), interpolated."""
        return float(self.grid.interpolate(self.V, np.asarray(x, dtype=float)[None])[0])

    def greedy(self) -> np.ndarray:
        """Return the greedy torque at every grid point, shape (size, size)."""
        return TORQUES[self.mdp.action_values(self.V).argmin(axis=1)].reshape(self.grid.sizes)

    def change(self, gamma: float | None = None, noise: float | None = None, size: int | None = None,
               start=None) -> None:  # fmt: skip
        """Change discount, noise, grid or start; the value goes on from where it is, on the new grid if need be."""
        gamma = self.gamma if gamma is None else float(gamma)
        noise = self.noise if noise is None else float(noise)
        size = self.size if size is None else int(size)
        grid, mdp = self._build(size, noise)
        mdp = mdp.discounted(gamma)
        if size != self.size:
            self.V = self.grid.interpolate(self.V, grid.points)
        self.gamma, self.noise, self.size, self.grid, self.mdp = gamma, noise, size, grid, mdp
        self.plant.parameters = replace(self.plant.parameters, process_noise=noise)
        self.changed = True
        if start is not None:
            start = np.array(start, dtype=float)
            if start.shape != (2,) or not np.isfinite(start).all():
                raise ValueError(f"the start must be a finite state of shape (2,), not {start}")
            self.start = start
            self.restart()

    def kick(self) -> None:
        """Push the pendulum: its velocity changes by 1 to 3 rad/s, in either direction."""
        push = self._kicks.uniform(1.0, 3.0) * self._kicks.choice([-1.0, 1.0])
        v = np.clip(self.plant.x[1] + push, -MAX_SPEED, MAX_SPEED)
        self.plant.x = np.array([self.plant.x[0], v])

    def sweep(self) -> None:
        """Improve the value by one sweep."""
        begun = time.perf_counter()
        V = checked("backup", self.backup(self.mdp, self.V.copy()), self.V.shape)
        self.sweep_time = time.perf_counter() - begun
        self.residuals.append(float(np.abs(V - self.V).max()))
        self.changed = self.changed or self.residuals[-1] > 1e-3
        self.V = V

    def drive(self) -> None:
        """Take one step of the plant with the greedy torque; after 10 s the run starts again."""
        if self.count == RUN:
            self.last_cost = self.cost
            self.restart()
        u = greedy_policy(self.grid, self.V, TORQUES, self.gamma)(self.plant.x)
        self.path.append((self.plant.x, float(u[0])))
        info = self.plant.step(u)[4]
        self.torque, self.cost, self.count = float(u[0]), self.cost + info["cost"], self.count + 1

    def step(self) -> None:
        """One sweep, one step of the plant."""
        self.sweep()
        self.drive()


def _process(size: int, noise: float) -> tuple[Grid, FiniteMDP]:
    grid = pendulum_grid(size, size)
    return grid, pendulum_mdp(grid, TORQUES, 0.9, PendulumParameters(process_noise=noise), nodes=3)


class ValueScene(Scene):
    """Draws a `ValueLoop`: value (or greedy torque) and run in the phase plane, pendulum, torque and residual."""

    #: Highest value that has a colour of its own, past states in the plane, and steps in the torque's strip.
    HIGHEST, TAIL, STRIP = 400.0, 60, 100

    def _make(self, canvas, width, height):
        self.torques = False
        self._shown: Any = None
        self._make_plane(canvas, width, height)
        self._make_right(canvas, width, height)

    def _make_plane(self, canvas, width, height):
        tall = height - 86
        ax = self._plane = canvas.axes(52, 42, 0.5 * width - 64, tall, pads=(4, 0, 6))
        ax.set(xlim=(-np.pi, np.pi), ylim=(-MAX_SPEED, MAX_SPEED))
        ax.set(xlabel="angle $q$ (rad), 0 = upright", ylabel="velocity $v$ (rad/s)")
        ax.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
        # colours of the square root of V, so that small values differ too
        look = {"vmin": 0.0, "vmax": np.sqrt(self.HIGHEST), "cmap": "cividis", "interpolation": "nearest"}
        levels = np.array([0, 10, 50, 100, 200, 400])
        self._value, bar = canvas.image(ax, None, (0.5 * width - 4, 42, 9, tall), np.sqrt(levels), **look)
        bar.set_yticklabels(levels)
        bar.set_title("$V$", loc="left", pad=3)
        fade = [(1.0, 1.0, 1.0, alpha) for alpha in np.linspace(0.05, 1.0, self.TAIL)]
        self._tail = LineCollection([], colors=fade, linewidths=2.0, animated=True)
        ax.add_collection(self._tail)
        self._start = canvas.curve(ax, "white", "", marker="o", markersize=7, mec="black", label="start")
        self._now = canvas.curve(ax, "vermilion", "", marker="D", markersize=8, mec="black", label="state")
        canvas.legend([self._start, self._now], 52, height, ncols=2)
        self._title = ax.text(1.0, 1.02, "", transform=ax.transAxes, ha="right", animated=True)

    def _make_right(self, canvas, width, height):
        left, side = 0.5 * width + 62, 188
        self.drawing = PendulumDrawing(canvas.axes(left - 22, height - side - 12, side, side), animated=True)
        place = left + side + 12, height - 178, width - left - side - 26, 134
        ax = canvas.axes(*place, "torque (N m)", pads=(1, 4, 6), bounds=(-2, 2), xlabel="time before now (s)")
        ax.set(xlim=(-self.STRIP * 0.05, 0), ylim=(-2.3, 2.3), yticks=[-2, 0, 2])
        self._u = canvas.curve(ax, "vermilion", linewidth=1.3, drawstyle="steps-post")
        title = "largest change of V in each sweep; dotted: factor γ"
        ax = canvas.axes(left + 32, 42, width - left - 46, 116, right=title, pads=(4, 1, 3), yscale="log")
        ax.set(xlim=(-SWEEPS, 0), xticks=range(-SWEEPS, 1, 100), ylim=(1e-5, 30), yticks=[1e-4, 1e-2, 1])
        ax.set(xlabel="sweeps before now", ylabel="change (cost)")
        ax.minorticks_off()
        self._residual = canvas.curve(ax, "blue", linewidth=1.3)
        self._slope = canvas.curve(ax, "black", ":", linewidth=1.3)

    def shade(self, loop: ValueLoop) -> None:
        """Colour the plane with the value of a loop, or its greedy torque, if it has changed."""
        if self._shown == self.torques and not loop.changed:
            return
        if self.torques:
            picture = (loop.greedy() / 2.0 + 1.0) * 0.5 * np.sqrt(self.HIGHEST)
        else:
            picture = np.sqrt(np.clip(loop.V, 0.0, self.HIGHEST)).reshape(loop.grid.sizes)
        high = MAX_SPEED + 0.5 * loop.grid.step[1]  # a pixel is a grid point with half a step around it
        self._value.set_data(picture.T)
        self._value.set_extent((-np.pi, np.pi, -high, high))
        self._plane.set(xlim=(-np.pi, np.pi), ylim=(-MAX_SPEED, MAX_SPEED))
        what = "torque: dark −2, bright +2 N m" if self.torques else "value V(q, v)"
        self._title.set_text(f"{what}; γ = {loop.gamma:.3f}, noise {loop.noise:.1f} N m")
        self.canvas.layer([self._value, self._title, *self._plane.spines.values()])
        self._shown, loop.changed = self.torques, False

    def draw(self, loop: ValueLoop) -> bytes:
        """Draw the loop's state; returns a JPEG."""
        self.shade(loop)
        states = np.array([x for x, _ in list(loop.path)[-self.TAIL :]] + [loop.x])
        states[:, 0] = wrap(states[:, 0])
        segments = np.stack([states[:-1], states[1:]], axis=1)
        segments = segments[np.abs(np.diff(segments[:, :, 0], axis=1)[:, 0]) < np.pi]  # not across the seam
        self._tail.set_segments([np.zeros((0, 2))] * (self.TAIL - len(segments)) + list(segments))
        self._now.set_data(states[-1:, 0], states[-1:, 1])
        self._start.set_data(wrap(loop.start[:1]), loop.start[1:])
        self.drawing.set(loop.x[0], loop.torque)
        torques = np.array([u for _, u in list(loop.path)[-self.STRIP :]])
        self._u.set_data(0.05 * np.arange(-len(torques), 0), torques)
        recent = np.maximum(np.array(loop.residuals[-SWEEPS:]), 1e-9)
        ago = np.arange(-len(recent), 0)
        self._residual.set_data(ago, recent)
        self._slope.set_data(ago, recent[0] * loop.gamma ** np.arange(len(recent)) if len(recent) else [])
        curves = [self._tail, self._start, self._now, self._u, self._residual, self._slope]
        return self.canvas.frame([*curves, *self.drawing.artists])

    def describe(self, loop: ValueLoop) -> str:
        """Return the state of a loop in words."""
        sweeps = len(loop.residuals)
        done = f"the last one changed V by {loop.residual:.2g} at most" if sweeps else "V is 0 everywhere"
        last = f" The latest complete run of 10 s cost {loop.last_cost:.1f}." if np.isfinite(loop.last_cost) else ""
        return (
            f"Value iteration on a grid of {loop.size} by {loop.size} points at discount {loop.gamma:.3f} and noise "
            f"{loop.noise:.1f} N m after {sweeps} sweeps; {done}. V at the start (angle {loop.start[0]:.2f} rad, "
            f"velocity {loop.start[1]:.2f} rad/s) is {loop.value(loop.start):.1f}, the largest value "
            f"{loop.V.max():.1f}. {describe_pendulum(loop.x[0], loop.x[1], loop.torque)} {loop.count} steps into this "
            f"run, which has cost {loop.cost:.1f} so far.{last}"
        )


def pendulum_live(backup: Backup | None = None, *, width: int = 800, **options) -> Player:
    """Return the live picture of a `ValueLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    backup, **options
        `gamma`, `noise`, `size`, `start`, `seed`: see `ValueLoop`; `backup(mdp, V)` may be the reader's own function.
    width : int
        Of the picture in pixels.

    Notes
    -----
    Reset sets V to 0; a slider leaves it, so that one sees how the value moves on to the new fixed point.
    """
    loop, scene = ValueLoop(backup, **options), ValueScene(width)
    controls = {
        "gamma": slider("discount γ (–)", loop.gamma, 0.8, 1.0, 0.005, ".3f"),
        "noise": slider("torque noise (N m)", loop.noise, 0.0, 3.0, 0.1, ".1f"),
        "size": slider("grid (points an axis)", loop.size, 11, 81, 2),
        "angle": slider("start: angle (rad)", loop.start[0], -3.15, 3.15, 0.05),
        "velocity": slider("start: velocity (rad/s)", loop.start[1], -8.0, 8.0, 0.1, ".1f"),
        "torques": toggle("Show the greedy torque", "map"),
    }
    player = Player(loop, scene, _status, controls, actions={"Kick": loop.kick, "Reset": loop.reset}, width=width)
    player.connect(loop.change, "gamma", "noise", "size")
    player.watch(controls["angle"], lambda value: loop.change(start=[value, loop.start[1]]))
    player.watch(controls["velocity"], lambda value: loop.change(start=[loop.start[0], value]))
    player.watch(controls["torques"], partial(setattr, scene, "torques"))
    return player


def _status(loop):
    first = [f"{len(loop.residuals)} sweeps over {loop.mdp.states} states × {loop.mdp.actions} torques"]
    if loop.residuals:
        first += [f"a sweep takes {1e3 * loop.sweep_time:.2f} ms", f"largest change {loop.residual:.1e}"]
    second = [f"V(start) = {loop.value(loop.start):.1f}", f"this run: {0.05 * loop.count:.1f} s, cost {loop.cost:.1f}"]
    if np.isfinite(loop.last_cost):
        second.append(f"latest 10 s from the start: cost {loop.last_cost:.1f}")
    return " · ".join(first) + "<br>" + " · ".join(second)
