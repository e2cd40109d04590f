"""An MPC as teacher, live: a network drives the pendulum, asks, and is refitted while one watches (lecture 08)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import DT, MAX_SPEED, NOMINAL, dynamics, stage_cost, wrap
from mpcrl_course.figures.pendulum import PendulumDrawing, describe_pendulum, without_jumps
from mpcrl_course.learners.imitation import Pupil, hanging
from mpcrl_course.learners.replay import Replay
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import choice, slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.own import checked
from mpcrl_course.policies import pendulum_expert

#: Steps of one run (5 s), runs that the teacher can show at first, labels that are kept.
RUN, SHOWN, MEMORY = 100, 4, 3000
#: The teacher's plan is shown where the torques differ by more than so much, N m.
APART = 0.3


def always(x, u) -> np.ndarray:
    """Return True for each of the states x (n, 2): ask in all, whatever the pupil would do, u (n, 1)."""
    return np.ones(len(x), bool)


class ExpertLoop:
    """A pupil that drives, a teacher that watches, and labels from which the pupil goes on learning.

    Parameters
    ----------
    when : callable (x, u) -> bools (n,), optional
        A reader's own rule for when to ask, for states x (n, 2) and the pupil's torques u (n, 1): see `DAgger`.
    runs : int
        Runs of the teacher, from nearly hanging, whose labels the pupil has at first: 1 to 4.
    every : int
        By the rule, the teacher is asked once in so many steps at most.
    seed : int
        Of all randomness.

    Attributes
    ----------
    x : ndarray, shape (2,)
        Angle and velocity of the pendulum.
    u, told, plan : float, float, ndarray of shape (N + 1, 2)
        What the pupil would do here, what the teacher would do, and the states that the teacher plans.
    labels : Replay
        States x and the teacher's torques u.
    asked : int
        Labels beside those of the first runs.
    costs : list of (int, float, bool)
        Of each complete run: labels at its end, cost, and whether the teacher drove in it.
    teacher_cost : float
        Mean cost of the teacher's own runs.
    """

    def __init__(self, when: Callable = always, *, runs: int = 1, every: int = 5, seed: int = 0):
        self.when, self.runs, self.every, self.seed = when, int(runs), int(every), seed
        self.angle, self.mirror, self.teaching = np.pi, False, False
        self.teacher = pendulum_expert()
        starts = hanging(np.random.default_rng([seed, 0]), SHOWN)
        shown = run(self.teacher, NOMINAL, starts, NOMINAL.draw(0, SHOWN, RUN))
        self._shown, self.teacher_cost = shown, float(shown.cost.sum(axis=0).mean())
        self.reset()

    def reset(self) -> None:
        """Forget all labels but those of the teacher's first runs, and what was learned; start anew."""
        self._rng = np.random.default_rng([self.seed, 1])
        self.count = 0
        self.costs: list[tuple[int, float, bool]] = []
        self._begin()
        self.restart()

    def _begin(self) -> None:
        self.labels, self.asked = Replay(MEMORY, x=2, u=1), 0
        for i in range(self.runs):
            for x, u in zip(self._shown.x[:-1, i], self._shown.u[:, i]):
                self.labels.add(x=x, u=u)
        self.pupil = Pupil(2, 1, np.random.default_rng([self.seed, 2]), width=32)
        told = self.labels.all()
        self.pupil.learn(told.x, told.u, np.random.default_rng([self.seed, 3]), self.mirror, 200)

    def restart(self) -> None:
        """Start a run, near the angle of the starts; what was learned stays."""
        q, v = hanging(self._rng, 1)[0]
        self.x = np.array([q - np.pi + self.angle, v])
        self.path: deque[tuple[np.ndarray, float, float]] = deque(maxlen=RUN)
        self.cost, self.driven = 0.0, self.teaching
        self._look()

    def _look(self) -> None:
        x, u, _ = self.teacher.plan(self.x)
        limits = NOMINAL.input_lower[0], NOMINAL.input_upper[0]
        self.plan, self.told = x, float(np.clip(NOMINAL.max_torque * u[0, 0], *limits))
        self.u = float(np.clip(self.pupil(self.x[None])[0, 0], *limits))

    @property
    def apart(self) -> float:
        """Torque of the pupil minus that of the teacher, here."""
        return self.u - self.told

    def ask(self) -> None:
        """Add the teacher's answer in the present state to the labels, and let the pupil learn from all."""
        self.labels.add(x=self.x, u=[self.told])
        self.asked += 1
        self.learn(60)

    def learn(self, steps: int = 12) -> None:
        """Improve the pupil by so many steps on all labels."""
        told = self.labels.all()
        self.pupil.improve(told.x, told.u, self._rng, self.mirror, steps)
        self._look()

    def change(self, runs: int | None = None, every: int | None = None, angle: float | None = None) -> None:
        """Change the number of first `runs` (the pupil starts anew), how often is asked, or the starts' angle (rad)."""
        if every is not None:
            self.every = int(every)
        if runs is not None:
            self.runs = int(runs)
            self._begin()
            self._look()
        if angle is not None:
            self.angle = float(angle)
            self.restart()

    def step(self, asking: bool = False) -> None:
        """Let the pendulum make a step and the pupil learn; by the rule, if `asking`, ask the teacher before."""
        if asking and self.count % self.every == 0:
            answer = self.when(self.x[None].copy(), np.array([[self.u]]))
            if checked("when", answer, (1,))[0]:
                self.ask()
        u = np.array([self.told if self.teaching else self.u])
        self.driven = self.driven or self.teaching
        self.path.append((self.x, self.u, self.told))
        self.cost += float(stage_cost(self.x, u))
        self.x = dynamics(self.x, u, NOMINAL)
        self.count += 1
        if len(self.path) == RUN:
            self.costs.append((len(self.labels), self.cost, self.driven))
            self.restart()
        self.learn()

    def kick(self) -> None:
        """Push the pendulum: its velocity changes by 1 to 3 rad/s, in either direction."""
        push = self._rng.uniform(1.0, 3.0) * self._rng.choice([-1.0, 1.0])
        self.x = np.array([self.x[0], np.clip(self.x[1] + push, -MAX_SPEED, MAX_SPEED)])
        self._look()


class ExpertScene(Scene):
    """Draws an `ExpertLoop`: the pupil's torque and the labels in the phase plane, pendulum, torques, costs of runs."""

    #: Points of the map in each direction, past states in the plane, and steps from one map to the next.
    GRID, TAIL, MAP = 41, 60, 3

    def _make(self, canvas, width, height):
        self._drawn, self._count = None, 0
        axes = np.linspace(-np.pi, np.pi, self.GRID), np.linspace(-MAX_SPEED, MAX_SPEED, self.GRID)
        self._grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        tall = height - 86
        ax = self._plane = canvas.axes(52, 42, 0.5 * width - 64, tall, pads=(4, 0, 6))
        ax.set(xlim=(-np.pi, np.pi), ylim=(-MAX_SPEED, MAX_SPEED))
        ax.set(xlabel="angle $q$ (rad), 0 = upright", ylabel="velocity $v$ (rad/s)")
        ax.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
        bar = 0.5 * width - 4, 42, 9, tall
        look = {"vmin": -2.0, "vmax": 2.0, "cmap": "cividis"}
        extent = -np.pi, np.pi, -MAX_SPEED, MAX_SPEED
        self._torque, bar_axes = canvas.image(ax, extent, bar, [-2, -1, 0, 1, 2], **look)
        bar_axes.set_title("N m", loc="left", pad=3)
        self._labels = canvas.curve(ax, "white", "", marker="o", ms=3, mec="black", mew=0.5, label="labels")
        self._tail = canvas.curve(ax, "vermilion", linewidth=2.2, label="pendulum")
        self._glow = canvas.curve(ax, "white", linewidth=4.0)  # the plan is seen on dark and bright
        self._plan = canvas.curve(ax, "black", "--", linewidth=2.0, label="teacher's plan, where they differ")
        self._now = canvas.curve(ax, "vermilion", "", marker="D", markersize=8, mec="black")
        canvas.legend([self._labels, self._tail, self._plan], 52, height, ncols=3, columnspacing=1.0, handlelength=1.8)
        left, side = 0.5 * width + 62, 176
        self.drawing = PendulumDrawing(canvas.axes(left - 26, height - side - 12, side, side), animated=True)
        place = left + side + 6, height - 178, width - left - side - 20, 134
        ax = canvas.axes(*place, pads=(1, 4, 20), bounds=(-2, 2), xlabel="time before now (s)")
        ax.set_title("torque (N m)", loc="left", pad=20)
        ax.set(xlim=(-self.TAIL * DT, 0), ylim=(-2.3, 2.3), yticks=[-2, 0, 2])
        self._u = canvas.curve(ax, "vermilion", linewidth=1.6, label="pupil")
        self._told = canvas.curve(ax, "black", "--", linewidth=1.2, label="teacher")
        above = place[0] - 6, place[1] + place[3] + 22
        canvas.legend([self._u, self._told], *above, ncols=2, columnspacing=0.8, handlelength=1.5)
        place = left + 32, 42, width - left - 52, 116
        ax = canvas.axes(*place, right="cost of each run of 5 s", pads=(4, 1, 3), xscale="log", yscale="log")
        ax.set(xlim=(80, 3500), ylim=(20, 5000), xlabel="labels (dashed: the teacher's runs)")
        ax.minorticks_off()
        self._runs = canvas.curve(ax, "vermilion", "", marker="o", markersize=4)
        self._taught = canvas.curve(ax, "black", "", marker="s", markersize=4)
        self._line = canvas.curve(ax, "black", "--", linewidth=1.2)

    def shade(self, loop: ExpertLoop) -> None:
        """Colour the plane with the torque of the pupil of a `loop`, if it has learned: every `MAP` steps."""
        now = loop.pupil.network.theta.tobytes()
        if now == self._drawn or 0 < loop.count - self._count < self.MAP:
            return
        self._torque.set_data(np.clip(loop.pupil(self._grid), -2.0, 2.0).reshape(self.GRID, self.GRID))
        x = loop.labels.all().x
        self._labels.set_data(wrap(x[:, 0]), x[:, 1])
        self.canvas.layer([self._torque, self._labels, *self._plane.spines.values()])
        self._drawn, self._count = now, loop.count

    def draw(self, loop: ExpertLoop) -> bytes:
        """Draw the loop's state; returns a JPEG."""
        self.shade(loop)
        tail = list(loop.path)[-self.TAIL :]
        states = np.array([x for x, *_ in tail] + [loop.x])
        self._tail.set_data(without_jumps(states[:, 0]), states[:, 1])
        self._now.set_data(wrap(loop.x[:1]), loop.x[1:])
        differ = abs(loop.apart) > APART
        for curve in (self._glow, self._plan):
            curve.set_data(*((without_jumps(loop.plan[:, 0]), loop.plan[:, 1]) if differ else ([], [])))
        self.drawing.set(loop.x[0], loop.told if loop.teaching else loop.u)
        time = DT * np.arange(-len(tail), 1)
        self._u.set_data(time, [u for _, u, _ in tail] + [loop.u])
        self._told.set_data(time, [told for *_, told in tail] + [loop.told])
        for curve, teacher in ((self._runs, False), (self._taught, True)):
            own = [(labels, cost) for labels, cost, by in loop.costs if by == teacher]
            curve.set_data([labels for labels, _ in own], [cost for _, cost in own])
        self._line.set_data([80, 3500], [loop.teacher_cost] * 2)
        plane = [self._tail, self._glow, self._plan, self._now]
        curves = [*plane, self._u, self._told, self._line, self._runs, self._taught]
        return self.canvas.frame([*curves, *self.drawing.artists])

    def describe(self, loop: ExpertLoop) -> str:
        """Return the state of a loop in words."""
        shown = "its plan is shown" if abs(loop.apart) > APART else "its plan is not shown"
        runs = f" The last run of 5 s cost {loop.costs[-1][1]:.0f}." if loop.costs else ""
        driver, u = ("teacher", loop.told) if loop.teaching else ("pupil", loop.u)
        return (
            f"Left, the torque of the pupil over angle and velocity, after {len(loop.labels)} labels of the teacher, "
            f"which are dots. Here the pupil takes {loop.u:.2f} N m, the teacher would take {loop.told:.2f}; {shown}. "
            f"The {driver} drives. {describe_pendulum(loop.x[0], loop.x[1], u)} This run has cost {loop.cost:.0f} so "
            f"far.{runs} The teacher's own first runs cost {loop.teacher_cost:.0f}."
        )


DRIVERS = {"pupil": "what it has learned drives", "teacher": "the MPC drives, and the pupil watches"}


def expert_live(when: Callable = always, *, width: int = 800, **options) -> Player:
    """Return the live picture of an `ExpertLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    when, **options
        `runs`, `every`, `seed`: see `ExpertLoop`; `when(x, u)` may be the reader's own rule for when to ask.
    width : int
        Of the picture in pixels.
    """
    loop, scene = ExpertLoop(when, **options), ExpertScene(width)
    controls = {
        "drives": choice("who drives", DRIVERS, "pupil"),
        "runs": slider("runs of the teacher (–)", loop.runs, 1, SHOWN, 1),
        "every": slider("ask once in … steps (–)", loop.every, 1, 50, 1),
        "angle": slider("start: angle (°)", 180, 0, 180, 5),
        "asking": toggle("Ask by the rule", "question-circle"),
        "mirror": toggle("Mirror images", "exchange"),
    }

    def step():
        loop.step(controls["asking"].value)

    def mirror(on):
        loop.mirror = on
        loop.learn()

    actions = {"Ask here": loop.ask, "Kick": loop.kick, "Reset": loop.reset}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=190, width=width)
    player.connect(loop.change, "runs", "every")
    player.watch(controls["angle"], lambda value: loop.change(angle=np.deg2rad(value)))
    player.watch(controls["drives"], lambda who: setattr(loop, "teaching", who == "teacher"))
    player.watch(controls["mirror"], mirror)
    player.watch(controls["asking"], lambda on: None)
    return player


def _status(loop):
    first = [
        f"step {loop.count}",
        f"{len(loop.labels)} labels, {loop.asked} of them asked here",
        f"pupil {loop.u:+.2f}, teacher {loop.told:+.2f} N m: {abs(loop.apart):.2f} apart",
    ]
    second = f"cost of this run so far {loop.cost:.0f}"
    if loop.costs:
        second += "; of the last ones " + ", ".join(f"{cost:.0f}" for _, cost, _ in loop.costs[-3:])
    return f"{' · '.join(first)}<br>{second}"
