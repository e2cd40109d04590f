"""The linear plant live: an MPC in closed loop that learns while you watch (lecture 06)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Rectangle

from mpcrl_course.envs.linear import LOWER, UPPER, LinearPlant
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import checked_kick, slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.mpc import MPC
from mpcrl_course.problems.linear import linear_mpc

#: Steps that the strips on the right show, and over which the shown mean is taken.
MEMORY, WINDOW = 200, 50


class LinearLoop:
    """The linear plant under the MPC of `theta`: steps without any widget, and learns if asked to.

    Parameters
    ----------
    mpc : MPC, optional
        By default ``build(10, 0.9)``.
    theta : array_like, optional
        By default the MPC's initial parameters.
    gradient : callable (solution of Q) -> ndarray, optional
        Gradient of Q in theta; by default the solution's own.
    update : callable (theta, td, grad) -> ndarray, optional
        The new theta; by default after the second-order step of one sample.
    build : callable (horizon, discount) -> MPC, optional
        Makes the MPC of another horizon or discount.
    noise : float
        Width of the disturbance: e ~ U(-noise, 0).
    seed : int
        Of all randomness; kicks draw from a stream of their own and do not change the noise.

    Attributes
    ----------
    learner : QLearning
        Drives the plant, and learns if it is asked to.
    updates : int
        Changes of theta by learning since the last `reset`.
    """

    def __init__(
        self,
        mpc: MPC | None = None,
        theta=None,
        *,
        gradient: Callable | None = None,
        update: Callable | None = None,
        build: Callable[[int, float], MPC] = linear_mpc,
        noise: float = 0.1,
        seed: int = 1,
    ):
        self._build = lru_cache(maxsize=32)(build)
        self._own: dict[str, Any] = {"gradient": gradient, "update": update}
        self._given = mpc
        mpc = mpc or self._build(10, 0.9)
        self.start = mpc.parameters.pack(theta)
        self.plant, self.seed = LinearPlant(noise=noise), seed
        self._warm: MPC | None = None
        self._begin(mpc)

    def _begin(self, mpc: MPC) -> None:
        rng, self._kicks = np.random.default_rng(self.seed), np.random.default_rng([self.seed, 1])
        self.learner = QLearning(mpc, self.plant, rng, self.start, hessian="none", **self._own)
        self.updates = 0
        self._plan()

    def reset(self) -> None:
        """Go back to the start: plant, theta, random numbers; forget what happened."""
        self._begin(self.mpc)

    x = property(attrgetter("plant.x"), doc="The plant's state, shape (2,).")
    mpc = property(attrgetter("learner.mpc"), doc="The MPC; change it with `change`.")
    theta = property(attrgetter("learner.theta"), doc="Its parameters; change them with `change`, or let it learn.")
    solution = property(attrgetter("learner.plan"), doc="The `Solution` of V at the current state: the plan.")
    action = property(attrgetter("learner.a"), doc="The input that comes next.")
    count = property(attrgetter("learner.k"), doc="Steps since the last `reset`.")

    @property
    def mean_cost(self) -> float:
        """Mean stage cost of the latest 50 steps (NaN before the first)."""
        return float(self.learner.log.last("cost", WINDOW).mean()) if self.count else float("nan")

    @property
    def violations(self) -> int:
        """Steps with violated bounds since the last `reset`."""
        x = self.learner.log.last("x").reshape(-1, 2)
        return int(((x < LOWER - 1e-9) | (x > UPPER + 1e-9)).any(axis=1).sum())

    def back_off(self) -> float:
        """The entry x_lb1 of theta: how far inside its true bound the MPC keeps x1."""
        return float(self.theta[self.mpc.parameters.index("x_lb")][0])

    def change(self, back_off: float | None = None, horizon: int | None = None, discount: float | None = None,
               noise: float | None = None) -> None:  # fmt: skip
        """Change theta's `back_off`, the MPC's `horizon` or `discount`, or the width of the `noise`, and plan again.

        If the new problem cannot be solved at the current state, the error is raised and nothing has changed.
        """
        learner, before = self.learner, (self.mpc, self.theta)
        if noise is not None:
            self.plant.noise = float(noise)
        try:
            if horizon is not None or discount is not None:
                learner.mpc = self._other(horizon, discount)
            if back_off is not None:
                learner.theta = self.theta.copy()
                learner.theta[self.mpc.parameters.index("x_lb").start] = back_off
            self._plan()
        except Exception:
            learner.mpc, learner.theta = before
            raise

    def prepare(self, horizon: int | None = None, discount: float | None = None) -> None:
        """Build the MPC of a horizon or discount that is likely to be asked for next, so that it is there in time."""
        if 1 <= (horizon or 1) <= 20 and 0.5 <= (discount or 0.5) < 1.0:
            self._other(horizon, discount)

    def kick(self, amount=None) -> None:
        """Push the state by `amount` (2,), or by a random one that leaves it inside the picture."""
        before = self.plant.x
        if amount is None:
            to = before + self._kicks.uniform([-0.3, -0.5], [0.5, 0.5])
            self.plant.x = np.clip(to, [-0.3, -1.0], [1.0, 1.0])
        else:
            self.plant.x = before + checked_kick(amount, "x1", "x2")
        try:
            self._plan()
        except Exception:
            self.plant.x = before
            raise

    def step(self, learn: bool = False) -> None:
        """Let the learner make a step, and change theta if `learn`.

        An error of the reader's functions leaves the loop as it was; one of the solver, too, but for the plant.
        """
        learner, plan = self.learner, self.solution
        learner.learning = learn
        try:
            learner.careful_step()
        except Exception:
            learner.plan = plan
            raise
        if not np.abs(self.x).max() < 100.0:
            raise RuntimeError(f"the plant has run away: its state is {self.x}. Press Reset")
        if learner.trouble:
            raise learner.trouble
        self.updates += learn

    def _plan(self) -> None:
        learner = self.learner
        learner.s = self.plant.x.copy()
        if self._warm is not self.mpc:  # the first solve of an MPC takes longer, which is not worth showing
            self.mpc.V(self.theta, learner.s)
            self._warm = self.mpc
        learner.a = learner.choose(self.mpc.V(self.theta, learner.s), self.count)

    def _other(self, horizon, discount):
        wanted, given = (horizon or self.mpc.problem.horizon, discount or self.mpc.discount), self._given
        if given is not None and wanted == (given.problem.horizon, given.discount):
            return given
        return self._build(int(wanted[0]), round(float(wanted[1]), 6))


class LinearScene(Scene):
    """Draws a `LinearLoop`: the phase plane with set, plan and value on the left, strips over time on the right.

    All quantities of this plant are dimensionless.
    """

    #: What the phase plane shows: x1 from, to, x2 from, to.
    VIEW = (-0.4, 1.15, -1.15, 1.15)
    LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    #: Past states in the plane, and points in each direction at which the value is computed for the shading.
    TAIL, GRID = 40, 26

    def _make(self, canvas, width, height):
        x1, x2 = np.linspace(*self.VIEW[:2], self.GRID), np.linspace(*self.VIEW[2:], self.GRID)
        self._grid = np.stack(np.meshgrid(x1, x2), axis=-1).reshape(-1, 2)
        self._shown: Any = None
        self._make_plane(canvas, width, height)
        self._make_strips(canvas, width, height)

    def _make_plane(self, canvas, width, height):
        wide, tall = 0.5 * width - 58, height - 84
        ax = self._plane = canvas.axes(58, 40, wide, tall, "closed loop, plan, and value (grey)", pads=(4, 0, 6))
        ax.set(xlim=self.VIEW[:2], ylim=self.VIEW[2:], yticks=[-1, -0.5, 0, 0.5, 1])
        ax.set(xlabel="state $x_1$ (dimensionless)", ylabel="state $x_2$ (dimensionless)")
        levels, greys = np.log10(self.LEVELS), ListedColormap(np.linspace(1.0, 0.62, len(self.LEVELS) + 1).astype(str))
        look: dict[str, Any] = {"cmap": greys, "norm": BoundaryNorm(levels, greys.N, extend="both")}
        bar = 58 + wide + 8, 40, 9, tall
        self._value, bar_axes = canvas.image(ax, self.VIEW, bar, levels, **look)
        bar_axes.set_yticklabels([f"{level:g}" for level in self.LEVELS])
        bar_axes.set_title(r"$V_\theta(s)$", loc="left")
        look = {"fill": False, "edgecolor": "black", "linewidth": 1.6, "animated": True, "label": "constraint set"}
        self._set = ax.add_patch(Rectangle((LOWER[0], LOWER[1]), *(UPPER - LOWER), **look))
        self._bound = canvas.curve(ax, "green", "--", label="bound with back-off")
        self._bound.set_data([0, 0], [LOWER[1], UPPER[1]])
        fade = [(0.835, 0.369, 0.0, alpha) for alpha in np.linspace(0.05, 1.0, self.TAIL)]
        self._tail = LineCollection([], colors=fade, linewidths=1.4, animated=True)
        ax.add_collection(self._tail)
        look = {"marker": "o", "markersize": 4, "linewidth": 1.2, "markerfacecolor": "white"}
        self._plan = canvas.curve(ax, "blue", label="plan $x_0 … x_N$", **look)
        self._now = canvas.curve(ax, "vermilion", marker="D", markersize=8, mec="black", label="state and its past")
        canvas.legend([self._set, self._bound, self._plan, self._now], 58, height, ncols=4, columnspacing=1.5)

    def _make_strips(self, canvas, width, height):
        gap, axes = 26, []
        each = (height - 84 - 2 * gap) / 3
        for k, title in enumerate(("dashed: bounds", f"thick: mean of {WINDOW} steps", "")):
            place = 0.5 * width + 118, 40 + (2 - k) * (each + gap), 0.5 * width - 130, each
            axes.append(canvas.axes(*place, right=title, pads=(4, 4, 3), bounds=(-1, 1) if k == 0 else ()))
            axes[k].set(xlim=(-MEMORY, 0), yscale="log" if k else "linear", xlabel="steps before now" if k == 2 else "")
            axes[k].tick_params(labelbottom=k == 2)
            axes[k].minorticks_off()
        axes[0].set(ylim=(-1.25, 1.25), ylabel="input $u$", yticks=[-1, 0, 1])
        axes[1].set(ylim=(1e-3, 1e2), ylabel="stage cost", yticks=[1e-2, 1, 1e2])
        axes[2].set(ylim=(1e-4, 1e2), ylabel="|TD error|", yticks=[1e-4, 1e-2, 1, 1e2])
        self._u = canvas.curve(axes[0], "blue", linewidth=1.0, drawstyle="steps-post")
        self._cost = canvas.curve(axes[1], "sky", linewidth=1.0)
        self._mean = canvas.curve(axes[1], "vermilion", linewidth=2.2)
        self._td = canvas.curve(axes[2], "purple", linewidth=1.0)

    def shade(self, loop: LinearLoop) -> None:
        """Compute a loop's V_theta on the grid, if theta or the MPC have changed, and shade the plane (about 12 ms)."""
        now = (loop.mpc, loop.theta.tobytes())
        if now == self._shown:
            return
        values, _ = loop.mpc.values(loop.theta, self._grid)
        self._value.set_data(np.log10(np.clip(values, 1e-3, 1e3)).reshape(self.GRID, self.GRID))
        self.canvas.layer([self._value, *self._plane.spines.values(), self._set])
        self._shown = now

    def draw(self, loop: LinearLoop) -> bytes:
        """Draw the loop's state; returns a JPEG. The shading stays as `shade` left it."""
        if self._shown is None:
            self.shade(loop)
        log = loop.learner.log
        path = np.vstack([log.last("x", self.TAIL).reshape(-1, 2), loop.x])
        segments = np.stack([path[:-1], path[1:]], axis=1)
        # the newest segments get the strongest colours
        self._tail.set_segments([np.zeros((0, 2))] * (self.TAIL - len(segments)) + list(segments))
        self._now.set_data(path[-1:, 0], path[-1:, 1])
        self._plan.set_data(loop.solution.x[:, 0], loop.solution.x[:, 1])
        back_off = loop.back_off()
        self._bound.set_xdata([back_off, back_off])
        cost = log.last("cost", MEMORY + WINDOW)
        n, sums = min(len(cost), MEMORY), np.cumsum([0.0, *cost])
        last = np.arange(len(cost) - n, len(cost)) + 1
        first = np.maximum(last - WINDOW, 0)
        ago = np.arange(-n, 0)
        self._u.set_data(ago, log.last("u", MEMORY).reshape(-1))
        self._cost.set_data(ago, np.maximum(cost[len(cost) - n :], 1e-6))
        self._mean.set_data(ago, (sums[last] - sums[first]) / (last - first))
        self._td.set_data(ago, np.maximum(np.abs(log.last("td", MEMORY)), 1e-9))
        strips = [self._u, self._cost, self._mean, self._td]
        return self.canvas.frame([self._bound, self._tail, self._plan, self._now, *strips])

    def describe(self, loop: LinearLoop) -> str:
        """Return the state of a loop in words."""
        x, end = loop.x, loop.solution.x[-1]
        inside = "inside" if ((x >= LOWER) & (x <= UPPER)).all() else "outside"
        past = (
            f"Mean stage cost of the latest {min(loop.count, WINDOW)} steps {loop.mean_cost:.3g}; "
            f"the bounds were violated in {loop.violations} of {loop.count} steps."
            if loop.count
            else "No step has been made yet."
        )
        return (
            f"Phase plane of the linear plant after {loop.count} steps: the state x1 = {x[0]:.3f}, x2 = {x[1]:.3f} is "
            f"{inside} the constraint set (x1 from 0 to 1, x2 from -1 to 1). The plan of "
            f"{len(loop.solution.u)} steps ends at x1 = {end[0]:.3f}, x2 = {end[1]:.3f}. The MPC keeps x1 above its "
            f"back-off {loop.back_off():.3f}; next input u = {loop.action[0]:.3f}, value V = {loop.solution.value:.3g}."
            f" {past}"
        )


def linear_live(mpc: MPC | None = None, theta=None, *, learn_steps: int = 5, width: int = 800, **options) -> Player:
    """Return the live picture of a `LinearLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    mpc, theta, **options
        `gradient`, `update`, `build`, `noise`, `seed`: see `LinearLoop`; `gradient(solution)` and
        `update(theta, td, grad)` may be the reader's own functions.
    learn_steps : int
        Steps of plant and learner in each frame while playing with learning on (else, and by Step, one).
    width : int
        Of the picture in pixels.

    Notes
    -----
    Reset also takes theta back to where it was given, and with it the slider of the back-off; horizon, discount and
    noise stay.
    """
    loop, scene = LinearLoop(mpc, theta, **options), LinearScene(width)
    controls = {
        "back_off": slider("back-off of x₁ (–)", min(max(loop.back_off(), 0.0), 0.3), 0.0, 0.3, 0.01),
        "horizon": slider("horizon N (steps)", loop.mpc.problem.horizon, 1, 20),
        "discount": slider("discount γ (–)", loop.mpc.discount, 0.5, 0.99, 0.01),
        "noise": slider("noise width (–)", loop.plant.noise, 0.0, 0.3, 0.01),
        "learn": toggle("Learn while you watch", "graduation-cap"),
    }
    learn, frames = controls["learn"], 0

    def step():
        nonlocal frames
        frames += 1
        for _ in range(learn_steps if learn.value and player.playing else 1):
            loop.step(learn.value)
        # while playing, a slider and a shading that move four times a second are enough
        if learn.value and (frames % 10 == 0 or not player.playing):
            follow()

    def follow():
        player.set(controls["back_off"], loop.back_off())
        scene.shade(loop)

    def reset():
        loop.reset()
        follow()

    def shade_and_look_ahead(name):
        last = controls[name].value

        def then():
            nonlocal last
            scene.shade(loop)
            value = controls[name].value
            loop.prepare(**{name: 2 * value - last})  # a slider that moves goes on moving
            last = value

        return then

    actions = {"Kick": loop.kick, "Reset": reset}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=130, width=width)
    player.connect(loop.change, "back_off", "noise", then=lambda: scene.shade(loop))
    for name in ("horizon", "discount"):
        player.connect(loop.change, name, then=shade_and_look_ahead(name))
    player.watch(learn, lambda value: follow())
    return player


def _status(loop):
    share = f"violated {loop.violations} of {loop.count} steps"
    td = np.abs(loop.learner.log.last("td", WINDOW))
    first = [f"solve time {1e6 * loop.solution.time:.0f} µs", f"V(s) = {loop.solution.value:.3g}"]
    if np.isfinite(td).any():
        first += [f"mean stage cost {loop.mean_cost:.3f}", f"mean |TD error| {np.nanmean(td):.3f}"]
    second = [share, f"back-off {loop.back_off():.3f}", f"{loop.updates} updates of θ"]
    return " · ".join(first) + "<br>" + " · ".join(second)
