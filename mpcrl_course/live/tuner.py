"""A tuner's next question, live (lecture 14): a surrogate of one parameter, and where it would ask next.

The parameter is the back-off of lecture 06's MPC, which knows the plant and the noise's mean; an evaluation is a short
run in closed loop. It is noisy if each evaluation meets noise of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import linear
from mpcrl_course.learners.surrogate import GaussianProcess, expected_improvement
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.own import answering
from mpcrl_course.problems.linear import linear_mpc

#: The back-offs that may be asked for, and the points at which the surrogate is drawn and the next question is chosen.
LOWER, UPPER, POINTS = -0.05, 0.25, 121
#: Steps of the long test, runs at once in any test, evaluations at most, and frames of a question while it plays.
LONG, RUNS, MOST, FRAMES = 400, 2, 40, 12


@cache
def _mpc():
    return linear_mpc()


def cost(z: float, steps: int, seed) -> float:
    """Return log10 of the mean stage cost with the back-off z, over two runs of so many `steps`; seed: of the noise."""
    plant, mpc = linear.LinearParameters(), _mpc()
    theta = mpc.parameters.pack(A=linear.A, B=linear.B, b=[-0.05, 0.0], x_lb=[z, 0.0])
    noise, starts = plant.draw(seed, RUNS, steps), np.tile(linear.START, (RUNS, 1))
    return float(np.log10(run(lambda y: mpc.values(theta, y)[1], plant, starts, noise).cost.mean()))


@cache
def long_test() -> tuple[np.ndarray, np.ndarray]:
    """Return back-offs and their cost in a long test, the same noise for all: what the short ones try to find."""
    z = np.linspace(LOWER, UPPER, 25)
    return z, np.array([cost(each, LONG, 10**6) for each in z])


class TunerLoop:
    """Evaluations of one parameter, the surrogate through them, and the next question; steps without any widget.

    Parameters
    ----------
    acquisition : callable (mean, deviation, best) -> value, optional
        How much a point is worth asking, arrays of shape (m,); the largest is asked next. By default the expected
        improvement.
    steps : int
        Of each run in an evaluation.
    noisy : bool
        Each evaluation has noise of its own; else all meet the same.
    seed : int

    Attributes
    ----------
    grid : ndarray, shape (121,)
        Points of the parameter.
    asked, cost : list of float
        Evaluations so far, and what they gave (log10 of the mean stage cost).
    mean, deviation, worth : ndarray, shape (121,)
        Of the surrogate on the grid, and the acquisition there.
    """

    def __init__(
        self, acquisition: Callable = expected_improvement, *, steps: int = 50, noisy: bool = True, seed: int = 0
    ):
        self.acquisition = answering("acquisition", acquisition, lambda mean, *_: mean.shape)
        self.steps, self.noisy, self.seed = int(steps), bool(noisy), int(seed)
        self.grid = np.linspace(LOWER, UPPER, POINTS)
        self.reset()

    def reset(self) -> None:
        """Forget all evaluations but two, at the ends."""
        self.asked: list[float] = []
        self.cost: list[float] = []
        for z in (LOWER, UPPER):
            self._append(z)
        self._look()

    def _append(self, z: float) -> None:
        self.cost.append(cost(z, self.steps, [self.seed, len(self.cost) if self.noisy else 0]))
        self.asked.append(float(z))

    def _look(self) -> None:
        box = (np.array([*self.asked, *self.grid]) - LOWER) / (UPPER - LOWER)
        n = len(self.asked)
        self.mean, self.deviation = GaussianProcess(box[:n, None], self.cost)(box[n:, None])
        self.worth = self.acquisition(self.mean.copy(), self.deviation.copy(), min(self.cost))

    @property
    def next(self) -> float:
        """Where the acquisition is largest."""
        return float(self.grid[np.argmax(self.worth)])

    @property
    def best(self) -> float:
        """The parameter whose cost was least so far."""
        return self.asked[int(np.argmin(self.cost))]

    def evaluate(self, z: float | None = None) -> None:
        """Evaluate the parameter z, or the next question; RuntimeError after forty evaluations."""
        if len(self.asked) >= MOST:
            raise RuntimeError(f"{MOST} evaluations are made: press Reset")
        self._append(self.next if z is None else float(z))
        self._look()

    def step(self) -> None:
        """Evaluate the next question; after forty evaluations begin again, with another seed."""
        if len(self.asked) >= MOST:
            self.seed += 1
            self.reset()
        else:
            self.evaluate()

    def change(self, steps: int | None = None, noisy: bool | None = None) -> None:
        """Make tests of other length, or with other noise, and begin again."""
        self.steps = self.steps if steps is None else int(steps)
        self.noisy = self.noisy if noisy is None else bool(noisy)
        self.reset()


class TunerScene(Scene):
    """Draws a `TunerLoop`: evaluations and surrogate above the acquisition; `truth` shows the long test."""

    SHAPE = 0.6

    def _make(self, canvas, width, height):
        self.truth, self.here, self.asking = False, 0.1, 0.0
        top, wide = 0.5 * height, width - 92
        ax = canvas.axes(66, height - top - 46, wide, top, pads=(4, 4, 6))
        ax.set(xlim=(LOWER, UPPER), ylim=(-1.7, 0.6), ylabel="log₁₀ of the mean stage cost")
        self._mean = canvas.curve(ax, "blue", linewidth=2, label="surrogate")
        self._band = [
            canvas.curve(ax, "blue", ":", linewidth=1.2, label="± 2 deviations"),
            canvas.curve(ax, "blue", ":"),
        ]
        self._truth = canvas.curve(ax, "green", "-.", linewidth=1.6, label="long test")
        self._dots = canvas.curve(ax, "black", "", marker="o", markersize=6, label="evaluations")
        self._best = canvas.curve(ax, "vermilion", "", marker="D", markersize=8, mec="black", label="best so far")
        self._here = canvas.curve(ax, "grey", "--", linewidth=1, label="yours")
        self._asking = canvas.curve(ax, "purple", linewidth=1.2)
        bottom = 0.21 * height
        ax = self._below = canvas.axes(66, 46, wide, bottom, pads=(4, 4, 6))
        ax.set(xlim=(LOWER, UPPER), ylim=(-0.05, 1.15), xlabel="back-off (dimensionless)", ylabel="worth, scaled")
        self._worth = canvas.curve(ax, "purple", linewidth=1.8, label="acquisition")
        self._next = canvas.curve(ax, "purple", "", marker="^", markersize=9, mec="black", label="next question")
        handles = [self._mean, self._band[0], self._dots, self._best, self._here, self._truth, self._worth, self._next]
        canvas.legend(handles, 60, height, ncols=4, columnspacing=1.2, handlelength=2.0, fontsize=9)

    def draw(self, loop: TunerLoop) -> bytes:
        """Draw the loop's state; returns a JPEG."""
        self._mean.set_data(loop.grid, loop.mean)
        for line, sign in zip(self._band, (2.0, -2.0), strict=True):
            line.set_data(loop.grid, loop.mean + sign * loop.deviation)
        self._truth.set_data(*(long_test() if self.truth else ([], [])))
        self._dots.set_data(loop.asked, loop.cost)
        self._best.set_data([loop.best], [min(loop.cost)])
        self._here.set_data([self.here] * 2, [-9.0, 9.0])
        low, high = float(np.min(loop.worth)), float(np.max(loop.worth))
        self._worth.set_data(loop.grid, (loop.worth - low) / (high - low or 1.0))
        self._next.set_data([loop.next], [1.0])
        self._asking.set_data([loop.next] * 2, [-1.7, -1.7 + 2.3 * self.asking])
        return self.canvas.frame(
            [
                *self._band,
                self._mean,
                self._truth,
                self._dots,
                self._best,
                self._here,
                self._asking,
                self._worth,
                self._next,
            ]
        )

    def describe(self, loop: TunerLoop) -> str:
        """Return the picture of a loop in words."""
        at = int(np.argmax(loop.worth))
        return (
            f"{len(loop.asked)} evaluations of a back-off in [{LOWER}, {UPPER}]; the best so far, {loop.best:.3f}, "
            f"costs {10 ** min(loop.cost):.3f} a step. The surrogate would ask next at {loop.next:.3f}, "
            f"where it expects {10 ** loop.mean[at]:.3f}, within a factor of {10 ** (2 * loop.deviation[at]):.2f}."
        )


def tuner_live(acquisition: Callable = expected_improvement, *, width: int = 800, **options) -> Player:
    """Return the live picture of a `TunerLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    acquisition, **options
        `steps`, `noisy`, `seed`: see `TunerLoop`; `acquisition(mean, deviation, best)` may be the reader's own.
    width : int
        Of the picture in pixels.
    """
    loop, scene = TunerLoop(acquisition, **options), TunerScene(width)
    controls = {
        "here": slider("your question: back-off (–)", scene.here, LOWER, UPPER, 0.005, ".3f"),
        "steps": slider("length of a test (steps)", loop.steps, 25, 400, 25),
        "same": toggle("Same noise in each test", "clone"),
        "truth": toggle("Show the long test", "eye"),
    }
    controls["same"].value = not loop.noisy
    actions = {
        "Evaluate yours": lambda: loop.evaluate(controls["here"].value),
        "Evaluate the tuner's": loop.evaluate,
        "Reset": loop.reset,
    }

    def step():
        # while it plays a question is on its way for some frames; a press of Step asks at once
        scene.asking = (scene.asking + 1.0 / FRAMES) % 1.0 if player.playing else 0.0
        if scene.asking < 0.5 / FRAMES:
            scene.asking = 0.0
            loop.step()

    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=170, width=width)
    player.watch(controls["here"], lambda value: setattr(scene, "here", value))
    player.watch(controls["truth"], lambda value: setattr(scene, "truth", value))
    player.connect(loop.change, "steps")
    player.watch(controls["same"], lambda value: loop.change(noisy=not value))
    return player


def _status(loop: TunerLoop) -> str:
    return (
        f"evaluation {len(loop.asked)} of {MOST} · best so far: back-off {loop.best:.3f}, mean stage cost "
        f"{10 ** min(loop.cost):.4f} in a test of {RUNS} × {loop.steps} steps<br>next question: {loop.next:.3f}"
    )
