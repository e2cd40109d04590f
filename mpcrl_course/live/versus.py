"""MPC and DDPG side by side on the same pendulum, with the same noise, live (lecture 04).

Move the plant under both, then tell the MPC (edit its model) or retrain the network, and watch what either costs.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

import ipywidgets
import numpy as np

from mpcrl_course.envs.pendulum import DT, Noise, Pendulum, PendulumParameters
from mpcrl_course.figures.pendulum import PendulumDrawing, describe_pendulum, without_jumps
from mpcrl_course.figures.style import COLOURS
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, pendulum_policy
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import checked_kick, slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.pendulum import pendulum_mpc, with_model

NAMES = ("MPC", "DDPG")
LOOKS = {"MPC": ("blue", "-"), "DDPG": ("vermilion", "--")}
#: Training steps of a retraining, and seconds of each frame for it.
STEPS, BUDGET = 20_000, 0.012
#: Steps of the past that the picture shows: 8 s.
PAST = 160
#: In steps; as many commands of the past are kept, so that another delay only means another one of them.
LONGEST_DELAY = 4


class VersusLoop:
    """Two pendulums with the same parameters, start and noise; an MPC drives one, a network the other.

    Parameters
    ----------
    agent : ActorCritic
        Trained on the plant with its nominal parameters; it is not changed (a retraining works on a copy).
    plant : PendulumParameters
    horizon : int
    start : float
        Angle in rad; pi hangs down.
    seed : int
        Of the noise, and of retraining.

    Attributes
    ----------
    x : ndarray, shape (2, 2)
        States of the MPC's pendulum and of the network's.
    u, cost : ndarray, shape (2,)
        Latest torque, and cost since the start.
    telling : bool
        Whether the MPC's model follows the plant.
    retraining : DDPG or None
        Learns on the plant as it was when it was made.
    training_seconds : float
        The wall time that it took so far.
    """

    def __init__(self, agent: ActorCritic, plant: PendulumParameters = PendulumParameters(), horizon: int = 80,  # noqa: B008
                 start: float = 2.5, seed: int = 0):  # fmt: skip
        self.first_agent, self.first_plant = agent, plant
        self.agent, self.parameters, self.believed = agent, plant, plant
        self.start, self.seed, self.telling = start, seed, False
        self.controller = Receding(pendulum_mpc(plant, horizon))
        self.retraining: DDPG | None = None
        self.restart()

    def restart(self) -> None:
        """Put both at the start angle, at rest, with the same noise again."""
        self.rng, self._kicks = (np.random.default_rng([self.seed, i]) for i in (0, 1))
        self.x, self.u, self.cost = np.tile([self.start, 0.0], (2, 1)), np.zeros(2), np.zeros(2)
        self.count, self.seconds = 0, np.full(2, np.nan)
        self.past: deque[np.ndarray] = deque([self.x[:, 0].copy()], maxlen=PAST)
        self._sent: deque[np.ndarray] = deque([np.zeros(2)] * (LONGEST_DELAY + 1), maxlen=LONGEST_DELAY + 1)
        self.controller.reset()

    def change(self, **changes) -> None:
        """Make `changes` of the plant's parameters, by name; the MPC learns of it if it is told.

        ValueError: a delay above `LONGEST_DELAY`.
        """
        parameters = replace(self.parameters, **changes)
        if parameters.delay > LONGEST_DELAY:
            raise ValueError(f"a delay of at most {LONGEST_DELAY} steps is possible here, not {parameters.delay}")
        self.parameters = parameters
        if self.telling:
            self.tell(True)

    def tell(self, telling: bool) -> None:
        """Tell the MPC what the plant is, from now on; or leave it with what it last knew."""
        self.telling = telling
        if telling:
            self._believe(self.parameters)

    def _believe(self, model: PendulumParameters) -> None:
        controller, self.believed = self.controller, model
        controller.theta, controller.delay = with_model(controller.mpc, controller.theta, model), model.delay

    def retrain(self) -> None:
        """Let a copy of the network go on learning on the plant as it is now, and drive meanwhile."""
        limit, old = self.parameters.max_torque, self.agent
        options = {name: getattr(old, name) for name in ("gamma", "tau", "next_action")}
        options |= {"actor_rate": old.actor_adam.rate, "critic_rate": old.critic_adam.rate}
        rng, width = np.random.default_rng(self.seed), old.actor.sizes[1]
        self.agent = ActorCritic(3, [-limit], [limit], np.random.default_rng(self.seed), width=width, **options)
        self.agent.load(old.arrays())
        self.retraining, self.training_seconds = DDPG(Pendulum(self.parameters), rng, self.agent), 0.0

    def learn(self, steps: int = STEPS) -> bool:
        """Make training steps, but none beyond the last; return whether all are made.

        Raises
        ------
        FloatingPointError
            Learning diverges.
        """
        learner = self.retraining
        if learner is None:
            return True
        began = time.perf_counter()
        for _ in range(min(steps, STEPS - learner.k)):
            learner.step()
            if learner.log.stopped:
                raise FloatingPointError(f"retraining has diverged: {learner.log.stopped}")
        self.training_seconds += time.perf_counter() - began
        return learner.k >= STEPS

    def forget(self) -> None:
        """Put the first plant, model and network back, and start again."""
        self.agent, self.parameters, self.retraining = self.first_agent, self.first_plant, None
        self._believe(self.parameters)
        self.restart()

    def kick(self, amount: float | None = None) -> None:
        """Change both velocities by `amount` in rad/s, or by 4 to either side."""
        amount = self._kicks.choice([-4.0, 4.0]) if amount is None else amount
        self.x = self.x + np.append(0.0, checked_kick(amount, "rad/s"))

    def step(self) -> None:
        """Drive both for one step of 0.05 s."""
        p = self.parameters
        noise = Noise(self.rng.standard_normal(1), self.rng.standard_normal(2), np.zeros(1))  # the same for both
        measured = p.measure(self.x, noise)
        began = time.perf_counter()
        first = self.controller(measured[:1])
        between = time.perf_counter()
        second = pendulum_policy(self.agent)(measured[1:])
        if self.count:  # the very first decision plans from nothing
            self.seconds = np.array([between - began, time.perf_counter() - between])
        command = np.array([first[0, 0], second[0, 0]])
        if not np.isfinite(command).all():
            raise ValueError(f"the network's torque is not finite: {command[1]}")
        self._sent.append(np.clip(command, -p.max_torque, p.max_torque))
        self.u = self._sent[-1 - p.delay]
        self.x, cost, _ = p.step(self.x, self.u[:, None], noise)
        self.cost = self.cost + cost
        self.count += 1
        self.past.append(self.x[:, 0].copy())

    def plan(self) -> tuple[np.ndarray, np.ndarray]:
        """Return times from now (s) and the angles that the MPC plans for them; empty before its first decision."""
        plans = self.controller.plans
        if not plans or plans[0] is None:
            return np.zeros(0), np.zeros(0)
        angles = plans[0].x[1:, 0]  # what was decided one step ago starts then, or `delay` steps later
        return DT * (self.controller.delay + np.arange(len(angles))), angles

    def knows(self) -> bool:
        """Whether the MPC's model is the plant, but for its noise, for which it does not plan."""
        p = self.parameters
        return replace(self.believed, process_noise=p.process_noise, measurement_noise=p.measurement_noise) == p


class VersusScene(Scene):
    """Draws a `VersusLoop`: the two pendulums, the angles of the last 8 s, and the MPC's plan."""

    def _make(self, canvas, width, height):
        self._drawings, self.lines, side = {}, {}, height // 2 - 24
        for i, name in enumerate(NAMES):
            ax = canvas.axes(8, 2 + (1 - i) * (height // 2 - 2), side, side)
            ax.set_title(f"{name} ({'solid' if i == 0 else 'dashed'} line)", color=COLOURS[LOOKS[name][0]])
            self._drawings[name] = PendulumDrawing(ax, colour=LOOKS[name][0], animated=True)
        ax = canvas.axes(side + 74, 46, width - side - 92, height - 84)
        ax.set(xlim=(-PAST * DT, 4.0), ylim=(-np.pi, np.pi), xlabel="time from now (s)", ylabel="angle q (rad)")
        ax.set_yticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
        ax.axvline(0.0, color="0.4", lw=1, ls="-", marker="none")
        ax.text(0.06, 0.985 * np.pi, "what the MPC plans", va="top", fontsize=8.5, color="0.35")
        for name, (colour, line) in LOOKS.items():
            self.lines[name] = canvas.curve(ax, colour, line, linewidth=2, label=name)
        self.lines["plan"] = canvas.curve(ax, "blue", ":", linewidth=2)
        self.plant = canvas.text(side + 20, height - 32, "", fontsize=8.5, animated=True)

    def draw(self, loop: VersusLoop) -> bytes:
        """Return the picture of a loop as JPEG."""
        p = loop.parameters
        words = f"plant: {p.mass:.2f} kg, friction {p.friction:.2f} N m s, delay {p.delay} steps, "
        words += f"≤ {p.max_torque:.1f} N m, noise {p.process_noise:.1f} N m"
        if words != self.plant.get_text():  # text is slow to draw, and this one changes seldom
            self.plant.set_text(words)
            self.canvas.layer([self.plant])
        past = np.array(loop.past)
        t = DT * np.arange(1 - len(past), 1)
        for i, name in enumerate(NAMES):
            self._drawings[name].max_torque, self._drawings[name].mass = p.max_torque, p.mass
            self._drawings[name].set(loop.x[i, 0], loop.u[i])
            self.lines[name].set_data(t, without_jumps(past[:, i]))
        times, plan = loop.plan()
        self.lines["plan"].set_data(times, without_jumps(plan))
        pendulums = [artist for drawing in self._drawings.values() for artist in drawing.artists]
        return self.canvas.frame([*self.lines.values(), *pendulums])

    def describe(self, loop: VersusLoop) -> str:
        """Return the picture of a loop in words."""
        parts = [f"{name}: {describe_pendulum(q, v, u)} Cost so far {cost:.0f}."
                 for name, (q, v), u, cost in zip(NAMES, loop.x, loop.u, loop.cost, strict=True)]  # fmt: skip
        knows = "knows" if loop.knows() else "does not know"
        return " ".join(parts) + f" The MPC {knows} the plant. {_training_words(loop)}."


def _training_words(loop: VersusLoop) -> str:
    """Return what the network's training is at."""
    if loop.retraining is None:
        return "The network was trained on the nominal plant"
    return f"The network has been retrained for {loop.retraining.k} of {STEPS} steps, {loop.training_seconds:.1f} s"


def _status(loop: VersusLoop) -> str:
    b = loop.believed
    words = (f"believes: {b.mass:.2f} kg, friction {b.friction:.2f} N m s, delay {b.delay} steps, limit "
             f"{b.max_torque:.1f} N m" if not loop.knows() else "knows the plant (it plans without noise)")  # fmt: skip
    ms = [f"{1e3 * s:.2f} ms" if np.isfinite(s) else "–" for s in loop.seconds]
    first = f"step {loop.count} ({loop.count * DT:.1f} s) · <b>MPC</b> cost {loop.cost[0]:.0f}, decision {ms[0]}"
    return (f"{first}, {words}<br>"
            f"<b>DDPG</b> cost {loop.cost[1]:.0f}, decision {ms[1]}. {_training_words(loop)}")  # fmt: skip


def versus_live(agent: ActorCritic, *, width: int = 800, **options) -> Player:
    """Return the live picture of a `VersusLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    agent, **options
        `plant`, `horizon`, `start`, `seed`: see `VersusLoop`.
    width : int
        Of the picture in pixels.
    """
    loop, scene = VersusLoop(agent, **options), VersusScene(width)
    controls = {
        "mass": slider("mass (kg)", 1.0, 0.4, 2.0, 0.05),
        "friction": slider("friction (N m s)", 0.05, 0.0, 0.5, 0.05),
        "delay": slider("delay (steps of 50 ms)", 0, 0, LONGEST_DELAY),
        "torque": slider("torque limit (N m)", 2.0, 1.0, 4.0, 0.1),
        "noise": slider("torque noise (N m)", 0.0, 0.0, 2.0, 0.1),
        "tell": toggle("Tell the MPC", "comment"),
        "progress": ipywidgets.IntProgress(0, 0, STEPS, description="retraining", layout={"width": "260px"}),
    }
    progress = controls["progress"]
    progress.bar_style = "info"

    def step():
        if loop.retraining is not None:
            for _ in player.within(BUDGET, 100):
                if loop.learn(1):
                    break
            progress.value = loop.retraining.k
            progress.bar_style = "success" if loop.retraining.k >= STEPS else "info"
        loop.step()

    def retrain():
        loop.retrain()
        progress.value, progress.bar_style = 0, "info"
        try:
            player.play()  # training goes on with the frames
        except RuntimeError:
            pass  # no notebook

    def back():
        loop.forget()
        progress.value = 0
        p = loop.parameters
        for control, value in zip(controls.values(), (p.mass, p.friction, p.delay, p.max_torque, p.process_noise)):
            player.set(control, value)

    actions = {"Kick": loop.kick, "Restart": loop.restart, "Retrain the RL": retrain, "Back to nominal": back}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, width=width)
    player.connect(loop.change, "mass", "friction", "delay")
    player.watch(controls["torque"], lambda value: loop.change(max_torque=value))
    player.watch(controls["noise"], lambda value: loop.change(process_noise=value))
    player.watch(controls["tell"], loop.tell)
    return player
