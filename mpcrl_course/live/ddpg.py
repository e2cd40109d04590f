"""DDPG learning to swing up the pendulum, live (lecture 03): critic, policy, cost, and the pendulum it drives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from mpcrl_course.dp.pendulum import evaluate
from mpcrl_course.envs.pendulum import DT, Pendulum, PendulumParameters, dynamics, stage_cost, wrap
from mpcrl_course.figures.pendulum import PendulumDrawing, describe_pendulum, without_jumps
from mpcrl_course.figures.style import COLOURS
from mpcrl_course.learners import ddpg
from mpcrl_course.learners.ddpg import Agent, Batch, ReplayBuffer, noisy_action, pendulum_policy
from mpcrl_course.live.canvas import Canvas
from mpcrl_course.live.controls import checked_kick, slider, toggle
from mpcrl_course.live.player import Player

#: Training steps between two tests on the fixed starts, and with random actions before learning starts.
TEST_EVERY, WARM_UP = 1000, 1000
#: Seconds of each frame that may go into learning while playing: the picture stays fluent on a slow machine, too.
BUDGET = 0.012
#: Training steps after which the maps are computed and drawn anew (some 20 ms): about every tenth frame.
SHADE_EVERY = 200


class OwnAgent(Agent):
    """An agent whose target, actor gradient and soft update may be the reader's own functions.

    Parameters
    ----------
    n_states, lower, upper, rng, **options
        See `Agent`.
    critic_target : callable (cost, terminated, s_next, target_actor, target_critic, gamma) -> (B, 1), optional
    actor_gradient : callable (actor, critic, s) -> (n_theta,), optional
    soft_update : callable (target, theta, tau) -> the new target, optional
        Returns it, or changes `target` in place and returns None.
    """

    def __init__(self, n_states, lower, upper, rng, *, critic_target: Callable | None = None,
                 actor_gradient: Callable | None = None, soft_update: Callable | None = None, **options):  # fmt: skip
        super().__init__(n_states, lower, upper, rng, **options)
        self.own_target, self.own_gradient = critic_target or ddpg.critic_target, actor_gradient or ddpg.actor_gradient
        self.own_soft_update = soft_update or ddpg.soft_update

    def update(self, batch: Batch) -> tuple[float, float]:
        """Make one update, as `Agent.update` does, with the given functions."""
        s, a, cost, s_next, terminated = batch
        y = self.own_target(cost, terminated, s_next, self.target_actor, self.target_critic, self.gamma)
        y = _checked("critic_target", y, cost.shape)
        gradient, td = ddpg.critic_gradient(self.critic, s, a, y)
        self.critic_adam.descend(self.critic.theta, gradient)
        gradient = _checked("actor_gradient", self.own_gradient(self.actor, self.critic, s), self.actor.theta.shape)
        self.actor_adam.descend(self.actor.theta, gradient)
        for slow, fast in ((self.target_critic, self.critic), (self.target_actor, self.actor)):
            new = self.own_soft_update(slow.theta, fast.theta, self.tau)
            if new is not None:
                slow.theta[:] = _checked("soft_update", new, slow.theta.shape)
        return float(np.abs(td).mean()), float(y.mean())


def _checked(name, value, shape):
    if value is None:
        raise ValueError(f"your {name} function returned None: is its last line a return?")
    value = np.asarray(value)
    if value.shape != shape:
        raise ValueError(f"your {name} function returned shape {value.shape}, but {shape} is needed")
    if not np.isfinite(value).all():
        raise ValueError(f"your {name} function returned a number that is not finite")
    return value.astype(np.float32, copy=False)


class DDPGLoop:
    """A pendulum that learns, and a second one that shows what has been learned: steps without any widget.

    The learner trains on a pendulum of its own, from random starts and with exploration noise. The one that is shown
    is driven by the present policy, without noise, and can be kicked and restarted meanwhile.

    Parameters
    ----------
    make_agent : callable (rng) -> Agent, optional
        Makes a fresh agent for (cos q, sin q, v) and the torque; by default that of the lecture.
    noise : float
        Of exploration, relative to the torque limit.
    start : float
        Angle in rad from which the shown pendulum starts; pi hangs down.
    seed : int

    Attributes
    ----------
    agent : Agent
    x, u : ndarray, float
        State of the shown pendulum, and its latest torque.
    trail : deque of ndarray
        Its latest states.
    count : int
        Training steps.
    tests, episodes : list of (step, cost)
        Mean cost of the hundred fixed starts, without noise; cost of each training episode.
    """

    def __init__(self, make_agent: Callable | None = None, *, noise: float = 0.2, start: float = np.pi, seed: int = 0):
        self.parameters = PendulumParameters()
        limit = self.parameters.max_torque
        self._make = make_agent or (lambda rng: Agent(3, [-limit], [limit], rng))
        self.noise, self.start, self.seed = noise, start, seed
        self._rate: float | None = None
        self._tau: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything that was learned, and start anew."""
        self.rng = np.random.default_rng(self.seed)
        self._kicks = np.random.default_rng([self.seed, 1])
        self.agent = self._make(self.rng)
        self.change(rate=self._rate, tau=self._tau)
        self.replay = ReplayBuffer(100_000, 3, 1)
        self.env = Pendulum(self.parameters)
        self.env.np_random = self.rng
        self.s, _ = self.env.reset()
        self.count, self._cost = 0, 0.0
        self.td = float("nan")
        self.tests: list[tuple[int, float]] = []
        self.episodes: list[tuple[int, float]] = []
        self.restart()

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
        if rate is not None:
            self._rate = self.agent.critic_adam.rate = rate
            self.agent.actor_adam.rate = rate / 4
        if tau is not None:
            self._tau = self.agent.tau = tau
        if noise is not None:
            self.noise = noise

    def step(self) -> None:
        """Drive the shown pendulum for one step of 0.05 s."""
        u = pendulum_policy(self.agent)(self.x)
        self.u, self.cost, self.steps = float(u[0]), self.cost + float(stage_cost(self.x, u)), self.steps + 1
        self.x = dynamics(self.x, u, self.parameters)
        self.trail.append(self.x)

    def learn(self, steps: int = 1) -> None:
        """Make training steps: act with noise, remember, update."""
        agent, limit = self.agent, self.parameters.max_torque
        lower, upper = np.array([-limit]), np.array([limit])
        for _ in range(steps):
            if self.count < WARM_UP:
                a = self.rng.uniform(lower, upper)
            else:
                a = noisy_action(agent.policy(self.s), self.noise, lower, upper, self.rng)
            s_next, reward, terminated, truncated, _ = self.env.step(a)
            self.replay.add(self.s, a, -reward, s_next, terminated)
            if self.count >= WARM_UP:
                self.td, _ = agent.update(self.replay.draw(64, self.rng))
            self._cost -= reward
            self.count += 1
            self.s = s_next
            if terminated or truncated:
                self.episodes.append((self.count, self._cost))
                self.s, self._cost = self.env.reset()[0], 0.0
            if self.count % TEST_EVERY == 0:
                self.tests.append((self.count, float(evaluate(pendulum_policy(agent)).mean())))


class DDPGScene:
    """Draws a `DDPGLoop`: pendulum, critic and policy over the state, and cost over training.

    Parameters
    ----------
    width, height : int
        In pixels.
    yardstick : float, optional
        A mean cost of the fixed starts to compare with, such as value iteration's; drawn as a level line.
    """

    GRID = (61, 41)  # angles, velocities
    SPAN, COSTS, LEVELS = 20_000, (100.0, 10_000.0), 300.0

    def __init__(self, width: int = 800, height: int = 460, yardstick: float | None = None):
        self.canvas, self.yardstick = Canvas(width, height), yardstick
        q, v = np.linspace(-np.pi, np.pi, self.GRID[0]), np.linspace(-8, 8, self.GRID[1])
        self.grid = np.stack(np.meshgrid(q, v), axis=-1)
        self._shaded: tuple[int, Agent | None] = (0, None)
        self._span = 0
        self.canvas.figure.set_facecolor("white")
        with self.canvas.style():
            ax = self.canvas.axes(6, height - 208, 190, 182, title="driven by the policy")
            self._pendulum = PendulumDrawing(ax, animated=True)
            self._make_maps(width, height)
            self._make_curve(width, height)

    def _make_maps(self, width, height):
        view, canvas, room = (-np.pi, np.pi, -8.0, 8.0), self.canvas, (width - 250) / 2
        looks = ("cividis_r", 0.0, self.LEVELS), ("PuOr", -2.0, 2.0)
        self.images, self._tails, self._dots = [], [], []
        for i, (title, look) in enumerate(zip(("Q(s, μ(s)): cost to go", "policy μ(s) (N m)"), looks)):
            left = 246 + i * (room + 2)
            ax = canvas.axes(left, height - 208, room - 78, 182, title=title, xlabel="angle q (rad)")
            smooth = {"interpolation": "bilinear", "interpolation_stage": "data"}
            colours = dict(zip(("cmap", "vmin", "vmax"), look))
            bar = left + room - 70, height - 208, 9, 182
            self.images.append(canvas.image(ax, view, bar, **colours, **smooth)[0])
            ax.set(xlim=view[:2], ylim=view[2:])
            ax.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
            ax.xaxis.labelpad = 0
            if i == 0:
                ax.set_ylabel("velocity v (rad/s)", labelpad=0)
            else:
                ax.set_yticklabels([])
            self._tails.append(canvas.curve(ax, "vermilion", linewidth=1.6))
            self._dots.append(canvas.curve(ax, "vermilion", "", marker="o", mec="white", markersize=9, markevery=1))

    def _make_curve(self, width, height):
        canvas = self.canvas
        ax = self._curve = canvas.axes(62, 46, width - 92, height - 208 - 46 - 66)
        ax.set(yscale="log", ylim=self.COSTS, xlabel="training step", ylabel="cost of 10 s")
        ax.set_title("cost while learning", loc="left")
        if self.yardstick is not None:
            label = f"value iteration, {self.yardstick:.0f}"
            ax.axhline(self.yardstick, color=COLOURS["black"], ls="--", marker="none", label=label)
        look: dict[str, Any] = {"markersize": 4, "markevery": 1}
        self._episodes = canvas.curve(ax, "0.55", "", marker="x", label="training episode", **look)
        self._tests = canvas.curve(ax, "blue", marker="o", label="mean of 100 fixed starts, no noise", **look)
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, borderaxespad=0.1)

    def shade(self, loop: DDPGLoop) -> None:
        """Compute critic and policy over the state, and draw them and the curve (the slow part of the picture)."""
        x = self.grid
        s = np.stack([np.cos(x[..., 0]), np.sin(x[..., 0]), x[..., 1]], axis=-1).reshape(-1, 3)
        # in parts that are too small to be spread over threads, which would wait for each other on a busy machine
        parts = np.array_split(s, 20)
        actions = [loop.agent.policy(part) for part in parts]
        values = [loop.agent.value(*pair) for pair in zip(parts, actions, strict=True)]
        for image, numbers in zip(self.images, (values, actions), strict=True):
            image.set_data(np.concatenate(numbers).reshape(self.GRID[::-1]))
        for line, data in ((self._episodes, loop.episodes), (self._tests, loop.tests)):
            line.set_data(*np.array(data).T if data else ([], []))
        span = self.SPAN * (1 + max(loop.count - 1, 0) // self.SPAN)
        if changed := span != self._span:
            self._curve.set_xlim(0, span)
            self._span = span
        self.canvas.layer([*self.images, self._episodes, self._tests], redraw_base=changed)
        self._shaded = (loop.count, loop.agent)

    def draw(self, loop: DDPGLoop) -> bytes:
        """Return the picture as JPEG; critic, policy and curve are renewed every 200 training steps."""
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
        """Return the picture in words."""
        q, v = loop.x
        text = f"{describe_pendulum(q, v, loop.u)} "
        s = np.array([np.cos(q), np.sin(q), v])
        text += f"The critic expects a discounted cost of {loop.agent.value(s, loop.agent.policy(s)):.0f} from here. "
        text += f"After {loop.count} training steps and {len(loop.episodes)} episodes"
        if loop.tests:
            text += f" the mean cost of the fixed starts was last {loop.tests[-1][1]:.0f}"
        if self.yardstick is not None:
            text += f" (value iteration: {self.yardstick:.0f})"
        return text + "."


def ddpg_live(
    make_agent: Callable | None = None,
    *,
    yardstick: float | None = None,
    noise: float = 0.2,
    seed: int = 0,
    learn_steps: int = 24,
    train_first: int = 0,
    width: int = 800,
) -> Player:
    """Return the live picture of DDPG on the pendulum; name it in a cell's last line to see it.

    Parameters
    ----------
    make_agent, noise, seed
        See `DDPGLoop`; for functions of your own, ``lambda rng: OwnAgent(3, [-2], [2], rng, critic_target=…)``.
    yardstick : float, optional
        Mean cost of the fixed starts to compare with.
    learn_steps : int
        Training steps in each frame with learning on (while playing fewer, if they take too long).
    train_first : int
        Training steps before the picture is shown.
    width : int
        Of the picture in pixels; its height follows.

    Returns
    -------
    Player
        Its `loop` is a DDPGLoop, its `scene` a DDPGScene, its `controls` are 'rate', 'tau', 'noise', 'start' and
        'learn', its buttons Play, Pause, Step, Kick, Restart and Forget.
    """
    loop = DDPGLoop(make_agent, noise=noise, seed=seed)
    loop.learn(train_first)
    scene = DDPGScene(width, round(width * 0.575), yardstick)
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
    second = f"{loop.count} training steps · {len(loop.episodes)} episodes"
    if loop.count < WARM_UP:
        second += f" · random actions until step {WARM_UP}"
    elif np.isfinite(loop.td):
        second += f" · mean |TD error| {loop.td:.2f}"
    if loop.tests:
        second += f" · mean cost of the fixed starts {loop.tests[-1][1]:.0f}"
    return f"{first}<br>{second}"
