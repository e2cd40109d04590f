"""The cart-pole live: an MPC swings it up and balances it, its plan drawn ahead of it (lecture 02)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, NamedTuple

import ipywidgets
import numpy as np

from mpcrl_course.envs.cartpole import DT, TRACK, TRACK_END, CartPole, CartPoleParameters
from mpcrl_course.figures.cartpole import CartPoleDrawing, describe_cartpole
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import checked_kick, slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.mpc import MPC, Solution, SolverError, shift
from mpcrl_course.own import checked
from mpcrl_course.policies.receding import first_plan, improve
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model

#: Horizons to choose from, steps that the strips show of the past and of the plan.
HORIZONS, PAST, AHEAD = (10, 20, 30, 40, 50, 60), 80, 60
HANGING = (0.0, np.pi, 0.0, 0.0)
#: After a failed solve the patient solver is asked again only after so many steps: it takes long to say no.
PATIENCE = 10


class Step(NamedTuple):
    """One step: the state x (4,), the force u (N), the stage cost, the seconds of the solve, `CartPoleLoop.status`."""

    x: np.ndarray
    u: float
    cost: float
    seconds: float
    status: str


def build_mpc(horizon: int, track: str) -> MPC:
    """Return the cart-pole's MPC with real-time iteration and its line search; `CartPoleLoop` has its own fallback.

    `horizon` counts stages of 0.05 s, `track` is the kind of its constraint on the position, as for `cartpole_mpc`.
    """
    return cartpole_mpc(horizon=horizon, track=track, fallback=False)


class CartPoleLoop:
    """The cart-pole under its MPC: steps without any widget.

    Parameters
    ----------
    controller : callable (x, solution) -> float or ndarray, optional
        What is applied; by default the plan's first input, ``solution.u0``.
    horizon : int
        Number of stages N of 0.05 s.
    track : {'soft', 'hard'}
        Kind of the constraint on the position.
    start : array_like, shape (4,)
        Position (m), angle (rad), velocities (m/s, rad/s) after a `reset`; by default hanging down at rest.
    build : callable (horizon, track) -> MPC
        Makes the MPC; its solver should be 'rti'.
    seed : int
        Of the kicks.

    Attributes
    ----------
    mpc, theta : MPC, ndarray
        Now; change them with `change`.
    plan : Solution
        Of the latest solve, or, where it failed, the one before it, one stage further.
    status : str
        How the plan came about: 'rti', 'line search', 'fallback' (ipopt), or 'failed'.
    reason : str
        Of the failure, as ipopt gave it when it was last asked, or ''.
    history : deque of Step
        The latest 80 steps.
    seconds : float
        What the latest plan took, a failed attempt before it included.
    count, outside, failed : int
        Steps, steps outside of the track's limit and failed solves since the last `reset`.
    cost : float
        Since the last `reset`.
    """

    def __init__(
        self,
        controller: Callable | None = None,
        *,
        horizon: int = 40,
        track: str = "soft",
        start=HANGING,
        build: Callable[[int, str], MPC] = build_mpc,
        seed: int = 0,
    ):
        self.controller = controller or (lambda x, solution: solution.u0)
        self._build = lru_cache(maxsize=2 * len(HORIZONS))(build)
        self._first: dict[tuple, Solution] = {}
        self.start, self.seed = np.array(start, dtype=float), seed
        self.plant = CartPole(steps=None)
        self.told = False
        self.track, self.mpc = track, self._build(horizon, track)
        self.theta = self.mpc.parameters.initial()
        self.reset()

    x = property(attrgetter("plant.x"), doc="Position (m), angle (rad), velocity (m/s) and rate (rad/s) of the plant.")
    horizon = property(attrgetter("mpc.problem.horizon"), doc="Number of stages N.")

    @property
    def target(self) -> float:
        """Where the cart shall go, m."""
        return float(self.mpc.parameters.unpack(self.theta).target)

    def reset(self) -> None:
        """Go back to the start; masses, weights and horizon stay. The first plan is the best of four guesses."""
        self.plant.reset(options={"x": self.start})
        self._kicks = np.random.default_rng(self.seed)
        self.history: deque[Step] = deque(maxlen=PAST)
        self.count = self.outside = self.failed = self._wait = 0
        self.cost, self.seconds, self.reason, self._no = 0.0, 0.0, "", ""
        key = (self.mpc, self.theta.tobytes(), self.start.tobytes())
        if key not in self._first:
            self._first[key] = first_plan(self.mpc, self.theta, self.start)
        self.plan = self._first[key]
        self.status, self.seconds = "fallback", self.plan.time

    def change(self, horizon: int | None = None, track: str | None = None, **changes) -> None:
        """Change the MPC, or by their names the other `changes`, and plan again.

        `horizon` (stages) and `track` make another MPC, `cart_mass` and `mass` (kg) are the plant's, and if `told` the
        MPC's, `position_weight` and `force_weight` are in its cost, `target` is where the cart shall go (m). The plan
        so far is the guess of the new one, cut off or, with its last state held, made longer.
        """
        self.told, p = bool(changes.pop("told", self.told)), self.mpc.parameters.unpack(self.theta)
        p.weights[[0, 4]] = [changes.pop(f"{of}_weight", p.weights[i]) for i, of in ((0, "position"), (4, "force"))]
        target = float(changes.pop("target", self.target))
        plant = replace(self.plant.parameters, **changes)
        theta = self.mpc.parameters.pack(self.theta, weights=p.weights, target=target)
        theta = with_model(self.mpc, theta, plant if self.told else CartPoleParameters())
        self.plant.parameters, self.theta = plant, theta
        if horizon is not None or track is not None:
            self.track = track or self.track
            self.mpc = self._build(int(horizon or self.horizon), self.track)
            self.plan = _fitted(self.plan, self.mpc)
        self._wait = 0
        self._solve(self.plan)

    def prepare(self, horizon: int | None = None, track: str | None = None) -> None:
        """Build an MPC that is likely to be asked for next, so that it is there in time."""
        if horizon is None or HORIZONS[0] <= horizon <= HORIZONS[-1]:
            self._build(int(horizon or self.horizon), track or self.track)

    def kick(self, amount=None) -> None:
        """Push cart and pole: add `amount` (2,) in m/s and rad/s, or a random one, to the velocities; plan again."""
        if amount is None:
            amount = self._kicks.choice([-1.0, 1.0], 2) * self._kicks.uniform([0.3, 1.0], [2.5, 5.0])
        self.plant.x = self.plant.x + np.append([0.0, 0.0], checked_kick(amount, "m/s", "rad/s"))
        self._solve(self.plan)

    def step(self) -> None:
        """Apply the controller's force for 0.05 s, and plan again from where that led."""
        x = self.plant.x
        if abs(x[0]) > TRACK_END:
            raise RuntimeError(f"the cart has run into the end of the track, {TRACK_END} m. Press Reset")
        u = self.controller(x.copy(), self.plan)
        u = checked("controller", None if u is None else np.asarray(u, dtype=float).ravel(), (1,))
        _, reward, *_, info = self.plant.step(u)
        self.history.append(Step(x, float(info["force"]), -reward, self.seconds, self.status))
        self.cost, self.count = self.cost - reward, self.count + 1
        self.outside += bool(abs(self.plant.x[0]) > TRACK + 1e-6)
        self._solve(shift(self.plan))

    def _solve(self, guess: Solution) -> None:
        """Improve the guess by one iteration; if that fails, by ipopt; if that fails too, keep the guess."""
        begun, self.reason = time.perf_counter(), ""
        self.plan = improve(self.mpc, self.theta, self.plant.x, guess)
        if self.plan.status == "failed":
            self._solve_patiently(guess)
        else:
            self.status, self._wait = self.plan.status, 0
        self.seconds = time.perf_counter() - begun

    def _solve_patiently(self, guess: Solution) -> None:
        if self._wait == 0:
            try:
                self.plan = self.mpc.reference.policy(self.theta, self.plant.x, warm_start=guess)
                self.status = "fallback"
                return
            except SolverError as error:
                self._no, self._wait = str(error).split(", at state")[0], PATIENCE
        self._wait -= 1
        self.status, self.reason = "failed", self._no
        self.failed += 1


def _fitted(plan: Solution, mpc: MPC) -> Solution:
    """Return the plan as one for a problem of another horizon: cut off, or with its last state held."""
    N, t = mpc.problem.horizon, mpc.transcription
    more = max(N - len(plan.u), 0)
    x = np.concatenate([plan.x, np.repeat(plan.x[-1:] * [1.0, 1.0, 0.0, 0.0], more, axis=0)])[: N + 1]
    u = np.concatenate([plan.u, np.zeros((more, 1))])[:N]
    return replace(plan, x=x, u=u, transcription=t, flat_slack=np.zeros(t.n_rows))


class CartPoleScene(Scene):
    """Draws a `CartPoleLoop`: track, cart and plan above; position, angle and force over time below."""

    def _make(self, canvas, width, height):
        top = canvas.axes(8, height - 222, width - 16, 196, pads=(0, 4, 6))
        self.drawing = CartPoleDrawing(top, animated=True)
        top.tick_params(pad=1)
        top.set_xlabel("position $p$ (m); dashed: limit, black: end of the track")
        left, each = 48, (width - 48 - 12 - 2 * 52) / 3
        self.strips = []
        shown = (
            ("position (m)", (-2.6, 2.6), (-2, 0, 2), (-2, 2)),
            ("angle (rad), 0 = upright", (-0.3, 6.6), (0, np.pi, 2 * np.pi), ()),
            ("force (N)", (-17, 17), (-15, 0, 15), (-15, 15)),
        )
        for i, (title, limits, ticks, bounds) in enumerate(shown):
            ax = canvas.axes(left + i * (each + 52), 36, each, 84, left=title, pads=(0, 4, 2), bounds=bounds)
            ax.set(xlim=(-PAST * DT, AHEAD * DT), ylim=limits, yticks=ticks, xlabel="time from now (s)")
            ax.axvline(0.0, color="black", linewidth=1, marker="", linestyle="-")
            look: dict[str, Any] = {"linewidth": 1.4, "drawstyle": "steps-post" if i == 2 else "default"}
            past = canvas.curve(ax, "vermilion", **look)
            self.strips.append((ax, past, canvas.curve(ax, "blue", "--", **look)))
        self.strips[1][0].set_yticks([0, np.pi, 2 * np.pi], ["0", "π", "2π"])
        keys = [*self.strips[0][1:], self.drawing.ghost, self.drawing.arrow, self.drawing.target]
        names = ["past", "plan", "poles of the plan", "force", "target"]
        canvas.legend(keys, 0, height, labels=names, ncols=5, columnspacing=1.5)
        self.title = canvas.text(width - 10, height - 18, "", ha="right", animated=True, fontsize=9.5)
        self._still: tuple[str, float] | None = None  # title and target that are drawn

    def draw(self, loop: CartPoleLoop) -> bytes:
        """Draw the loop's state; returns a JPEG."""
        plan, past, plant = loop.plan, list(loop.history), loop.plant.parameters
        self.drawing.set_masses(plant.cart_mass, plant.mass)
        self.drawing.set(loop.x, float(plan.u0[0]))
        self.drawing.set_plan(plan.x)
        x = np.array([step.x for step in past] + [loop.x])
        u = np.array([step.u for step in past])
        n = min(loop.horizon, AHEAD)
        ago, ahead = DT * np.arange(-len(past), 1), DT * np.arange(n + 1)
        turns = 2.0 * np.pi * np.floor((loop.x[1] + 0.3) / (2.0 * np.pi))  # the strip shows one turn
        was = x[:, 0], x[:, 1] - turns, np.append(u, plan.u[0, 0])
        will = plan.x[: n + 1, 0], plan.x[: n + 1, 1] - turns, plan.u[:n, 0]
        for (_, line, dashes), before, after in zip(self.strips, was, will):
            line.set_data(ago, before)
            dashes.set_data(ahead[: len(after)], after)
        words = {"rti": "one iteration", "line search": "one iteration, shortened", "fallback": "solved by ipopt"}
        title = f"N = {loop.horizon}, {loop.track} limit; {words.get(loop.status, 'NO SOLUTION: last plan goes on')}"
        if (title, loop.target) != self._still:  # text is slow to draw, and this one changes seldom
            self._still = title, loop.target
            self.title.set_text(title)
            self.drawing.set_target(loop.target)
            self.canvas.layer([self.drawing.target, self.title])
        lines = [line for strip in self.strips for line in strip[1:]]
        return self.canvas.frame([*self.drawing.artists, *lines])

    def describe(self, loop: CartPoleLoop) -> str:
        """Return the state of a loop in words."""
        m, ghosts = loop.plant.parameters, self.drawing.ghosts
        where, end = describe_cartpole(loop.x, float(loop.plan.u0[0])), loop.plan.x[-1]
        from_upright = (end[1] + np.pi) % (2.0 * np.pi) - np.pi
        solved = f"The latest plan took {1e3 * loop.seconds:.1f} ms ({loop.status})"
        solved = f"The latest solve failed: {loop.reason}" if loop.reason else solved
        known = "known" if loop.told else "not known"
        return (
            f"Cart-pole under an MPC with horizon {loop.horizon} ({DT * loop.horizon:.1f} s) and a {loop.track} limit "
            f"of {TRACK:g} m, target {loop.target:g} m, after {loop.count} steps. {where} The plan ends at "
            f"{end[0]:.2f} m with the pole {from_upright:.2f} rad from the upright; {ghosts} ghosts show it. "
            f"{solved}. The plant's masses are {m.cart_mass:.2f} and {m.mass:.2f} kg, {known} "
            f"to the MPC. Cost so far {loop.cost:.1f}; outside of the limit in {loop.outside} steps; "
            f"{loop.failed} failed solves."
        )


def cartpole_live(controller: Callable | None = None, *, width: int = 800, **options) -> Player:
    """Return the live picture of a `CartPoleLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    controller, **options
        `horizon`, `track`, `start`, `build`, `seed`: see `CartPoleLoop`; `controller(x, solution)` may be the reader's
        own function.
    width : int
        Of the picture in pixels.

    Notes
    -----
    Masses, weights and target are parameters of the problem: to change them builds nothing. Another horizon or kind
    of limit is another problem; they are built ahead, after the picture has been sent and while nothing plays.
    """
    loop, scene = CartPoleLoop(controller, **options), CartPoleScene(width)
    p, m = loop.mpc.parameters.unpack(loop.theta), loop.plant.parameters
    controls = {
        "horizon": slider("horizon N (steps)", loop.horizon, HORIZONS[0], HORIZONS[-1], 10),
        "track": ipywidgets.Dropdown(options=["soft", "hard"], value=loop.track, description="track limit ±2 (m)"),
        "position_weight": slider("weight of p² (1/m²)", p.weights[0], -2, 1, 0.25, ".2f", log=True),
        "force_weight": slider("weight of F² (1/N²)", p.weights[4], -4, 0, 0.25, ".4f", log=True),
        "cart_mass": slider("plant: cart (kg)", m.cart_mass, 0.5, 2.0, 0.05),
        "mass": slider("plant: pole (kg)", m.mass, 0.05, 0.6, 0.05),
        "target": slider("target of p (m)", loop.target, -1.9, 1.9, 0.1, ".1f"),
        "told": toggle("Tell the MPC the masses", "comment"),
    }
    actions = {"Kick": loop.kick, "Reset": loop.reset}
    player = Player(loop, scene, _status, controls, actions=actions, label=138, width=width, rate=36.0)
    horizon = last = loop.horizon

    def look_ahead():
        nonlocal last
        now = controls["horizon"].value
        loop.prepare(horizon=2 * now - last if now != last else now + 10)  # a slider that moves goes on moving
        last = now

    def other_limit():
        loop.prepare(track="hard" if loop.track == "soft" else "soft")

    player.connect(loop.change, "position_weight", "force_weight", "target", "cart_mass", "mass", "told")
    player.connect(loop.change, "horizon", "track", then=look_ahead)
    nearest = sorted(HORIZONS, key=lambda other: abs(other - horizon))
    player.when_idle([other_limit, *(partial(loop.prepare, other) for other in nearest)])
    return player


def _status(loop):
    ms = 1e3 * np.array([step.seconds for step in loop.history] or [loop.seconds])
    first = [f"step {loop.count} ({DT * loop.count:.1f} s)", f"cost so far {loop.cost:.1f}",
             f"outside of the limit in {loop.outside} steps", f"{loop.failed} failed solves"]  # fmt: skip
    second = [f"solve time {ms[-1]:.1f} ms, median {np.median(ms):.1f} ms of the last {len(ms)}"]
    second += [f"V(s) = {loop.plan.value:.1f}"] if not loop.reason else [f"<b>{loop.reason}</b>"]
    return " · ".join(first) + "<br>" + " · ".join(second)
