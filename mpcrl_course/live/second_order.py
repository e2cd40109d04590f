"""First and second order, and nothing sent, side by side on the network of linear plants (lecture 12)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.cm import ScalarMappable
from matplotlib.colors import SymLogNorm

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.behaviour import constant
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.learners.faulty import FaultyLearner, misalign, next_C, take_mean
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.network import Central, line, mixing_matrix
from mpcrl_course.problems.network import network_mpc, weighted

#: Steps of a run, as published; the published step sizes, by order; a run ends early with a state so large.
STEPS, STEP_SIZE, RUNAWAY = 2000, {1: 1e-8, 2: 1e-4}, 1e6
NAMES = ("first order", "second order, centralised", "second order, distributed", "second order, nothing sent")
LOOKS = {NAMES[0]: ("green", "-."), NAMES[1]: ("vermilion", "--"), NAMES[2]: ("blue", "-"), NAMES[3]: ("black", ":")}
#: What the plant is at first: the weight of the costs of the agents at both ends, and the coupling.
PLANT = {"weight": 1.0, "coupling": -0.1}
#: Blocks of theta_i that agents learn who know nothing of each other: all but A_c.
OWN = ("V0", "f", "x_lb", "x_ub", "b", "W_x", "W_u", "w", "A", "B")
#: Steps over which curves are averaged, seconds of a frame that are left for learning, steps of a frame at most, and
#: steps with which the live picture begins: as many as make the largest batch, so that every control shows in C.
WINDOW, BUDGET, AT_MOST, BEGIN = 25, 0.012, 6, 30


class SecondOrderLoop:
    """The same network four times, with the same noise: first order, and second order by a centre, consensus, or alone.

    V and Q come from one central solve, which is where ADMM converges to. In the fourth network nothing is sent: every
    agent learns from its own TD error with its own term of C, and its model has no coupling.

    Parameters
    ----------
    seed : int
        Of the noise and of the batches.
    local_step : callable (G, Kt, C, td) -> ndarray, optional
        Of the third network: a reader's own `second_order_local`.

    Attributes
    ----------
    runs : dict of str to DistributedQLearning
        By the names in `NAMES`.
    distributed : DistributedQLearning
        The third network.
    settings : dict
        What was adjusted: see `change`.
    plant : dict
        From the next reset on: `weight` of the costs of the agents at both ends, and `coupling`.
    """

    def __init__(self, seed: int = 1, local_step: Callable | None = None):
        self._own: dict[str, Any] = {} if local_step is None else {"second_order": local_step}
        self.settings: dict[str, Any] = {}
        self.plant = dict(PLANT)
        self.seed = seed
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Go back to the start, with another seed or the same; what was adjusted stays."""
        self.seed = self.seed if seed is None else seed
        first, central = self._learner(order=1), self._learner(agent=FaultyLearner)
        own = partial(FaultyLearner, **self._own)
        self.distributed = self._learner(agent=own, P=mixing_matrix(3, line(3), 0.25))
        alone = self._learner(own_td=True, alone=True, learned=OWN)
        self.runs = dict(zip(NAMES, (first, central, self.distributed, alone)))
        self.change(**self.settings)

    def _learner(self, order: int = 2, **options) -> DistributedQLearning:
        controller, rng = _controller(), np.random.default_rng(self.seed)
        omega = (self.plant["weight"], 1.0, self.plant["weight"])
        env = LinearNetwork(coupling=self.plant["coupling"], omega=omega)
        options |= {"order": order, "step_size": STEP_SIZE[order], "safeguard": False}
        return DistributedQLearning(controller, env, rng, weighted(controller.network, omega), **options)

    @property
    def count(self) -> int:
        """Steps since the start."""
        return max(run.k for run in self.runs.values())

    @property
    def done(self) -> bool:
        """Whether all runs are over."""
        return all(run.k >= STEPS or run.log.stopped for run in self.runs.values())

    def step(self) -> None:
        """Make a step of every run that is not over; an error of the reader's function leaves all as they were."""
        for run in sorted(self.runs.values(), key=lambda run: run is not self.distributed):  # the reader's own first
            if run.k < STEPS and not run.log.stopped:
                run.careful_step()
                if not np.abs(run.s).max() < RUNAWAY:
                    run.log.stopped = f"the plant has run away in step {run.k}"

    def change(self, **changes) -> None:
        """Adjust the runs that it concerns; `changes` go by the names of the controls.

        `batch` (two thirds of it are the latest samples): all; `sigma`, `safeguard`, `alpha`: second order;
        `alpha_first`: first order; `rounds`, and the two mistakes `misaligned` and `mean`: the distributed run.
        """
        self.settings |= changes
        first, central, third, alone = (self.runs[name] for name in NAMES)
        for name, value in changes.items():
            if name == "batch":
                for agent in (agent for run in self.runs.values() for agent in run.agents):
                    agent.replay.batch, agent.replay.latest = value, round(2 * value / 3)
            elif name == "alpha_first":
                first.alpha = constant(value)
            elif name == "alpha":
                central.alpha = third.alpha = alone.alpha = constant(value)
            elif name == "misaligned":
                misalign(third, value)
            elif name == "mean":
                take_mean(third, value)
            else:
                for run in (third,) if name == "rounds" else (central, third, alone):
                    setattr(run, name, value)

    def apart(self) -> float:
        """Return by how much the two networks of second order have come to differ: largest |difference| in theta."""
        return float(np.abs(self.runs[NAMES[1]].theta - self.distributed.theta).max())

    def wrong(self) -> float:
        """Return by how much agent 1's C is off, relative to what it should be (nan before the first step)."""
        seen = next_C(self.distributed)
        return float("nan") if seen is None else float(np.abs(seen[0] - seen[1]).max() / np.abs(seen[1]).max())


@cache
def _controller() -> Central:
    return Central(network_mpc())


def binned(values) -> np.ndarray:
    """Return the means of 25 values each, without nan; the last of those that there are. Empty for none."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        return np.zeros(0)
    starts = np.arange(0, len(values), WINDOW)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.add.reduceat(np.where(known, values, 0.0), starts) / np.add.reduceat(known, starts)


class Pixels(Artist):
    """A picture that is put on the figure as it is: what Matplotlib's own images do beside takes 3 ms.

    Parameters
    ----------
    x, y : int
        Its lower left corner, in pixels of the figure.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (height, width, 4)
        Red, green, blue and opacity, the upper row first.
    """

    def __init__(self, x: int, y: int):
        super().__init__()
        self.x, self.y, self.pixels = x, y, np.zeros((1, 1, 4), np.uint8)
        self.set_animated(True)

    def draw(self, renderer):
        """Put the pixels there, with Matplotlib's renderer."""
        graphics = renderer.new_gc()
        renderer.draw_image(graphics, self.x, self.y, np.ascontiguousarray(self.pixels[::-1]))
        graphics.restore()


class SecondOrderScene(Scene):
    """Draws a `SecondOrderLoop`: |TD| and stage cost over the run, and C, as agent 1 has it and as it should be.

    All quantities are dimensionless.
    """

    #: Colours tell entries of C between -LARGEST and LARGEST apart, on a logarithmic scale beyond SMALLEST.
    SMALLEST, LARGEST = 1e2, 1e8

    def _make(self, canvas, width, height):
        side = (height - 112) // 2
        self._make_strips(width, height, width - side - 224)
        self._make_matrices(width, height, side)

    def _make_strips(self, width, height, wide):
        each = (height - 104) // 2
        self._curves: dict[str, list] = {name: [] for name in NAMES}
        for row, (label, limits) in enumerate((("|TD error|", (3e-3, 3e2)), ("stage cost L", (1e-2, 3e2)))):
            ax = self.canvas.axes(62, 44 + (1 - row) * (each + 16), wide, each, xlim=(0, STEPS), yscale="log")
            ax.set(ylim=limits, ylabel=f"{label}, mean of {WINDOW}")
            ax.minorticks_off()
            ax.tick_params(labelbottom=row == 1)
            ax.set_xlabel("step k" if row == 1 else "")
            for name in NAMES:
                wide_line = 2.6 if name == NAMES[2] else 1.7  # a dashed line on top of it stays visible
                self._curves[name].append(self.canvas.curve(ax, *LOOKS[name], linewidth=wide_line, label=name))
        self.canvas.legend([self._curves[name][0] for name in NAMES], 8, height, ncols=4, columnspacing=1.0)

    def _make_matrices(self, width, height, side):
        self.images: list[Pixels] = []
        self._borders = []
        self._palette = (255 * colormaps["RdBu_r"](np.linspace(0.0, 1.0, 513))).astype(np.uint8)
        self._side = side
        left = width - side - 84
        for row, title in enumerate(("C, as agent 1 has it", "C, as it should be")):
            place = left, 18 + (1 - row) * (side + 36)
            ax = self.canvas.axes(*place, side, side, title, pads=(3, 4, 4))
            ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[])
            ax.grid(False)
            self.images.append(Pixels(*place))
            self.canvas.figure.add_artist(self.images[-1])
            self._borders.append(self.canvas.curve(ax, "black", linewidth=0.9))
            if row == 1:
                ax.set_xlabel("sample τ, newest first", fontsize=8.5)
        bar_axes = self.canvas.axes(left + side + 10, 18, 10, 2 * side + 36)
        decades = [-1e8, -1e6, -1e4, 0, 1e4, 1e6, 1e8]
        norm = SymLogNorm(self.SMALLEST, vmin=-self.LARGEST, vmax=self.LARGEST)
        bar = self.canvas.figure.colorbar(ScalarMappable(norm, "RdBu_r"), cax=bar_axes, ticks=decades)
        bar.ax.set_yticklabels(["−10⁸", "−10⁶", "−10⁴", "0", "10⁴", "10⁶", "10⁸"])
        bar.ax.minorticks_off()

    def coloured(self, C) -> np.ndarray:
        """Return C as a picture of the size at which it is shown, in the colours of the scale."""
        size = np.abs(C) / self.SMALLEST
        linear = 1 / 0.9  # decades that `SymLogNorm` gives to the entries below SMALLEST, on either side of 0
        share = np.where(size < 1.0, linear * size, linear + np.log10(np.maximum(size, 1.0)))
        share = np.sign(C) * share / (linear + np.log10(self.LARGEST / self.SMALLEST))
        pixel = np.arange(self._side) * len(C) // self._side
        colours = self._palette[np.rint(256 + 256 * np.clip(share, -1.0, 1.0)).astype(int)]
        return colours[pixel][:, pixel]

    def draw(self, loop: SecondOrderLoop) -> bytes:
        """Return the picture of a loop as JPEG."""
        for name, run in loop.runs.items():
            for curve, values in zip(self._curves[name], (np.abs(run.log.last("td")), run.log.last("cost"))):
                means = binned(values)
                curve.set_data(np.minimum((np.arange(len(means)) + 0.5) * WINDOW, len(values)), np.maximum(means, 1e-9))
        curves = [self._curves[name][row] for row in (0, 1) for name in (NAMES[0], NAMES[3], NAMES[2], NAMES[1])]
        seen = next_C(loop.distributed)
        if seen is None:
            return self.canvas.frame(curves)
        for image, border, C in zip(self.images, self._borders, seen):
            image.pixels = self.coloured(C)
            share = min(loop.distributed.agents[0].replay.latest or 0, len(C)) / len(C)  # of the latest samples
            border.set_data([share, share, np.nan, 0, 1], [0, 1, np.nan, share, share])
        return self.canvas.frame([*curves, *self.images, *self._borders])

    def describe(self, loop: SecondOrderLoop) -> str:
        """Return the picture of a loop in words."""
        parts = [f"Four networks with the same noise (seed {loop.seed}) after {loop.count} of {STEPS} steps."]
        for name, run in loop.runs.items():
            if run.k:
                td, cost = binned(np.abs(run.log.td))[-1], binned(run.log.cost)[-1]
                parts.append(f"{name}: latest mean |TD| {td:.3g}, stage cost {cost:.3g}.")
        seen = next_C(loop.distributed)
        if seen is not None:
            T, (used, right) = len(seen[0]), (f"from {C.min():.2g} to {C.max():.2g}" for C in seen)
            parts.append(
                f"C of agent 1 has {T} by {T} entries, {used}; as it should be, {right}. Lines part the latest samples "
                "from older ones."
            )
        return " ".join(parts)


def second_order_live(*, local_step: Callable | None = None, seed: int = 1, width: int = 800) -> Player:
    """Return the live picture of a `SecondOrderLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    local_step, seed
        See `SecondOrderLoop`; `local_step(G, Kt, C, td)` may be the reader's own `second_order_local`.
    width : int
        Of the picture in pixels.
    """
    loop, scene = SecondOrderLoop(seed, local_step), SecondOrderScene(width)
    controls = {
        "batch": slider("batch T (samples)", 15, 1, 30),
        "sigma": slider("regularisation ς (–)", 1e-3, -6, 1, 0.5, ".1e", log=True),
        "alpha": slider("step α, 2nd order (–)", 1e-4, -6, -2, 0.25, ".1e", log=True),
        "alpha_first": slider("step α, 1st order (–)", 1e-8, -10, -5, 0.25, ".1e", log=True),
        "rounds": slider("consensus (rounds)", 100, 0, 100),
        "weight": slider("weight ω of the ends (–)", PLANT["weight"], 0.05, 1.0, 0.05),
        "coupling": slider("coupling c (–)", PLANT["coupling"], -0.3, 0.0, 0.05),
        "misaligned": toggle("Misalign the batches", "random"),
        "mean": toggle("Mean for sum", "percent"),
        "safeguard": toggle("Safeguard", "shield"),
    }

    def step():
        for _ in player.within(BUDGET, AT_MOST if player.playing else 1):
            loop.step()
        if loop.done:
            player.pause()

    def begin(seed=None, **plant):
        loop.plant |= plant
        loop.reset(seed)
        for _ in range(BEGIN):
            loop.step()

    actions = {"Restart": begin, "Next seed": lambda: begin(loop.seed + 1)}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=170, width=width)
    player.connect(loop.change, *(name for name in controls if name not in PLANT))
    player.connect(begin, *PLANT)
    player.guard(begin)
    player.refresh()
    return player


def _status(loop: SecondOrderLoop) -> str:
    parts = []
    for name, run in loop.runs.items():
        words = f"<b>{name.split(', ')[-1]}</b> {run.log.last('cost').sum():.4g}"
        failed = int(run.log.last("failed").sum())
        words += f", {failed} failed steps" if failed else ""
        parts.append(words + (f", stopped: {run.log.stopped}" if run.log.stopped else ""))
    end = " (over: Restart, or Next seed)" if loop.done else ""
    last, wrong = f"seed {loop.seed}, step {loop.count} of {STEPS}{end}", loop.wrong()
    last += f" · θ of the two second orders differ by {loop.apart():.1e}"
    last += f" · agent 1's C is off by {wrong:.1e} (relative)" if np.isfinite(wrong) else ""
    return "cost so far: " + " · ".join(parts) + "<br>" + last
