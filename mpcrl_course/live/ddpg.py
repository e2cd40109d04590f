"""DDPG learning to swing up the pendulum, live (lecture 03): critic, policy, cost, and the pendulum it drives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter

import numpy as np

from mpcrl_course.dp.pendulum import evaluate
from mpcrl_course.envs.pendulum import DT, Pendulum, PendulumParameters, dynamics, observation, stage_cost, wrap
from mpcrl_course.figures.pendulum import PendulumDrawing, describe_pendulum, without_jumps
from mpcrl_course.figures.style import COLOURS
from mpcrl_course.learners.behaviour import constant
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, pendulum_policy
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import checked_kick, slider, toggle
from mpcrl_course.live.player import Player

#: Training steps between two tests on the fixed starts, and with random actions before learning starts.
TEST_EVERY, WARM_UP = 1000, 1000
#: Seconds of each frame that may go into learning while playing: the picture stays fluent on a slow machine, too.
BUDGET = 0.012
#: Training steps after which the maps are computed and drawn anew (some 20 ms): about every tenth frame.
SHADE_EVERY = 200


class DDPGLoop:
    """A pendulum that learns, and a second one that shows what has been learned: steps without any widget.

    The learner trains on a pendulum of its own, from random starts and with exploration noise. The one that is shown
    is driven by the present policy, without noise, and can be kicked and restarted meanwhile.

    Parameters
    ----------
    make_agent : callable (rng) -> ActorCritic, optional
        Makes a fresh agent for (cos q, sin q, v) and the torque; by default that of the lecture.
    noise : float
        Of exploration, relative to the torque limit.
    start : float
        Angle in rad from which the shown pendulum starts; pi hangs down.
    seed : int

    Attributes
    ----------
    learner : DDPG
    noise : float
        Width of the exploration noise, relative to the torque limit.
    x, u : ndarray, float
        State of the shown pendulum, and its latest torque.
    trail : deque of ndarray
        Its latest states.
    tests : list of (step, cost)
        Mean cost of the hundred fixed starts, without noise.
    """

    def __init__(self, make_agent: Callable | None = None, *, noise: float = 0.2, start: float = np.pi, seed: int = 0):
        self.parameters = PendulumParameters()
        limit = self.parameters.max_torque
        self._make = make_agent or (lambda rng: ActorCritic(3, [-limit], [limit], rng))
        self.start, self.seed = start, seed
        self._settings: dict[str, float] = {"noise": noise}
        self.reset()

    def reset(self) -> None:
        """Forget everything that was learned, and start anew."""
        rng, self._kicks = np.random.default_rng(self.seed), np.random.default_rng([self.seed, 1])
        self.learner = DDPG(Pendulum(self.parameters), rng, self._make(rng), warm_up=WARM_UP)
        self.change(**self._settings)
        self.tests: list[tuple[int, float]] = []
        self.restart()

    agent = property(attrgetter("learner.agent"), doc="What has been learned so far.")
    count = property(attrgetter("learner.k"), doc="Training steps.")

    def episodes(self) -> np.ndarray:
        """Return training step and cost of each finished episode, shape (episodes, 2)."""
        if not self.count:
            return np.zeros((0, 2))
        ends, costs = self.learner.log.episodes()
        return np.stack([ends + 1, costs], axis=1)

    def restart(self, start: float | None = None) -> None:
        """Put the shown pendulum at its start angle, at rest."""
        self.start = self.start if start is None else float(start)
        self.x, self.u, self.steps, self.cost = np.array([self.start, 0.0]), 0.0, 0, 0.0
        self.trail: deque[np.ndarray] = deque([self.x], maxlen=40)

    def kick(self, amount: float | None = None) -> None:
        """Change the shown pendulum's velocity by `amount` in rad/s, or by 3 to either side."""
        amount = self._kicks.choice([-3.0, 3.0]) if amount is None else amount
        self.x = self.x + np.append(0.0, checked_kick(amount, "rad/s"))

    def change(self, rate: float | None = None, tau: float | None = None, noise: float | None = None) -> None:
        """Change the critic's learning rate (the actor's is a quarter of it), tau, or the exploration noise."""
        given = {"rate": rate, "tau": tau, "noise": noise}
        self._settings |= {name: value for name, value in given.items() if value is not None}
        if rate is not None:
            self.agent.critic_adam.rate, self.agent.actor_adam.rate = rate, rate / 4
        if tau is not None:
            self.agent.tau = tau
        if noise is not None:
            self.noise, self.learner.noise = noise, constant(noise)

    def step(self) -> None:
        """Drive the shown pendulum for one step of 0.05 s."""
        u = pendulum_policy(self.agent)(self.x)
        self.u, self.cost, self.steps = float(u[0]), self.cost + float(stage_cost(self.x, u)), self.steps + 1
        self.x = dynamics(self.x, u, self.parameters)
        self.trail.append(self.x)

    def learn(self, steps: int = 1) -> None:
        """Make training steps; raises FloatingPointError if learning diverges."""
        for _ in range(steps):
            self.learner.step()
            if self.learner.log.stopped:
                raise FloatingPointError(f"{self.learner.log.stopped}: press Forget")
            if self.count % TEST_EVERY == 0:
                self.tests.append((self.count, float(evaluate(pendulum_policy(self.agent)).mean())))


class DDPGScene(Scene):
    """Draws a `DDPGLoop`: pendulum, critic and policy over the state, and cost over training.

    Parameters
    ----------
    width : int
        In pixels.
    yardstick : float, optional
        A mean cost of the fixed starts to compare with, such as value iteration's; drawn as a level line.
    """

    SHAPE = 0.575
    GRID = (61, 41)  # angles, velocities
    SPAN, COSTS, LEVELS = 20_000, (100.0, 10_000.0), 300.0

    def __init__(self, width: int = 800, yardstick: float | None = None):
        self.yardstick = yardstick
        q, v = np.linspace(-np.pi, np.pi, self.GRID[0]), np.linspace(-8, 8, self.GRID[1])
        self.grid = np.stack(np.meshgrid(q, v), axis=-1)
        self._shaded: tuple[int, ActorCritic | None] = (0, None)
        super().__init__(width)

    def _make(self, canvas, width, height):
        ax = canvas.axes(6, height - 208, 190, 182, title="driven by the policy")
        self._pendulum = PendulumDrawing(ax, animated=True)
        self._make_maps(canvas, width, height)
        self._make_curve(canvas, width, height)

    def _make_maps(self, canvas, width, height):
        view, room = (-np.pi, np.pi, -8.0, 8.0), (width - 250) / 2
        looks = {"cmap": "cividis", "vmin": 0.0, "vmax": self.LEVELS}, {"cmap": "PuOr", "vmin": -2.0, "vmax": 2.0}
        self.images, self._tails, self._dots = [], [], []
        for i, (title, look) in enumerate(zip(("Q(s, μ(s)): cost to go", "policy μ(s) (N m)"), looks)):
            left = 246 + i * (room + 2)
            ax = canvas.axes(left, height - 208, room - 78, 182, title, pads=(0, 0, 6), xlabel="angle q (rad)")
            bar = left + room - 70, height - 208, 9, 182
            self.images.append(canvas.image(ax, view, bar, **look)[0])
            ax.set(xlim=view[:2], ylim=view[2:])
            ax.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
            ax.set_ylabel("velocity v (rad/s)" if i == 0 else "")
            ax.tick_params(labelleft=i == 0)
            self._tails.append(canvas.curve(ax, "vermilion", linewidth=1.6))
            self._dots.append(canvas.curve(ax, "vermilion", "", marker="o", mec="white", markersize=9))

    def _make_curve(self, canvas, width, height):
        ax = self._curve = canvas.axes(62, 46, width - 92, height - 208 - 46 - 66, left="cost while learning")
        ax.set(yscale="log", ylim=self.COSTS, xlabel="training step", ylabel="cost of 10 s")
        if self.yardstick is not None:
            label = f"value iteration, {self.yardstick:.0f}"
            ax.axhline(self.yardstick, color=COLOURS["black"], ls="--", marker="none", label=label)
        self._episodes = canvas.curve(ax, "0.55", "", marker="x", markersize=4, label="training episode")
        self._tests = canvas.curve(ax, "blue", marker="o", markersize=4, label="mean of 100 fixed starts, no noise")
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, borderaxespad=0.1)

    def shade(self, loop: DDPGLoop) -> None:
        """Compute a loop's critic and policy over the state, draw them and the curve (the slow part of the picture)."""
        x = self.grid
        s = observation(x).reshape(-1, 3)
        # in parts that are too small to be spread over threads, which would wait for each other on a busy machine
        parts = np.array_split(s, 20)
        actions = [loop.agent.policy(part) for part in parts]
        values = [loop.agent.value(*pair) for pair in zip(parts, actions, strict=True)]
        for image, numbers in zip(self.images, (values, actions), strict=True):
            image.set_data(np.concatenate(numbers).reshape(self.GRID[::-1]))
        for line, data in ((self._episodes, loop.episodes()), (self._tests, loop.tests)):
            line.set_data(*np.array(data).T if len(data) else ([], []))
        span = self.SPAN * (1 + max(loop.count - 1, 0) // self.SPAN)
        if changed := span != self._curve.get_xlim()[1]:
            self._curve.set_xlim(0, span)
        self.canvas.layer([*self.images, self._episodes, self._tests], redraw_base=changed)
        self._shaded = (loop.count, loop.agent)

    def draw(self, loop: DDPGLoop) -> bytes:
        """Return the picture of a loop as JPEG; critic, policy and curve are renewed every 200 training steps."""
        count, agent = self._shaded
        if agent is not loop.agent or not 0 <= loop.count - count < SHADE_EVERY:
            self.shade(loop)
        q, v = loop.x
        self._pendulum.set(q, loop.u)
        trail = np.array(loop.trail)
        angle = without_jumps(trail[:, 0])
        for tail, dot in zip(self._tails, self._dots, strict=True):
            tail.set_data(angle, trail[:, 1])
            dot.set_data([wrap(q)], [v])
        return self.canvas.frame([*self._tails, *self._dots, *self._pendulum.artists])

    def describe(self, loop: DDPGLoop) -> str:
        """Return the picture of a loop in words."""
        q, v = loop.x
        text = f"{describe_pendulum(q, v, loop.u)} "
        s = np.array([np.cos(q), np.sin(q), v])
        text += f"The critic expects a discounted cost of {loop.agent.value(s, loop.agent.policy(s)):.0f} from here. "
        text += f"After {loop.count} training steps and {len(loop.episodes())} episodes"
        if loop.tests:
            text += f" the mean cost of the fixed starts was last {loop.tests[-1][1]:.0f}"
        if self.yardstick is not None:
            text += f" (value iteration: {self.yardstick:.0f})"
        return text + "."


def ddpg_live(
    make_agent: Callable | None = None,
    *,
    yardstick: float | None = None,
    learn_steps: int = 24,
    train_first: int = 0,
    width: int = 800,
    **options,
) -> Player:
    """Return the live picture of a `DDPGLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    make_agent, **options
        `noise`, `start`, `seed`: see `DDPGLoop`. For functions of your own,
        ``lambda rng: ActorCritic(3, [-2], [2], rng, critic_target=…)``.
    yardstick : float, optional
        Mean cost of the fixed starts to compare with.
    learn_steps : int
        Training steps in each frame with learning on (while playing fewer, if they take too long).
    train_first : int
        Training steps before the picture is shown.
    width : int
        Of the picture in pixels.
    """
    loop, scene = DDPGLoop(make_agent, **options), DDPGScene(width, yardstick)
    loop.learn(train_first)
    controls = {
        "start": slider("start angle (degrees)", round(np.rad2deg(loop.start)), 0, 360, 5),
        "rate": slider("critic's learning rate (–)", loop.agent.critic_adam.rate, -5, -1, 0.1, ".1e", log=True),
        "tau": slider("τ of the targets (–)", loop.agent.tau, -4, 0, 0.05, ".1e", log=True),
        "noise": slider("noise σ (of the limit)", loop.noise, 0.0, 1.0, 0.05),
        "learn": toggle("Learn while you watch", "graduation-cap"),
    }

    def step():
        if controls["learn"].value:
            for _ in player.within(BUDGET, learn_steps):
                loop.learn()
        loop.step()

    actions = {"Kick": loop.kick, "Restart": loop.restart, "Forget": loop.reset}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=160, width=width)
    player.connect(loop.change, "rate", "tau", "noise")
    player.watch(controls["start"], lambda value: loop.restart(np.deg2rad(value)))
    player.watch(controls["learn"], lambda value: None)
    return player


def _status(loop):
    first = f"t = {loop.steps * DT:.1f} s since the start · cost so far {loop.cost:.0f} · torque {loop.u:+.2f} N m"
    second = f"{loop.count} training steps · {len(loop.episodes())} episodes"
    if loop.count < WARM_UP:
        second += f" · random actions until step {WARM_UP}"
    elif loop.count > WARM_UP:
        second += f" · mean |TD error| {loop.learner.log.td[-1]:.2f}"
    if loop.tests:
        second += f" · mean cost of the fixed starts {loop.tests[-1][1]:.0f}"
    return f"{first}<br>{second}"
