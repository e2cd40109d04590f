"""The racing car, driven by the reader's own hands, and a safety filter between them and the car (lecture 10).

A driver wants (a, delta); a filter may change it; the plant has a grip and a steering gain that both may not know.
Pictures are drawn three times a step, so that one second of the car takes a little more than one and a half of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np
from matplotlib.patches import Polygon

from mpcrl_course import places
from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, DT, LENGTH, LOWER, UPPER, WIDTH, RaceParameters
from mpcrl_course.figures.race import OUTLINE, FrictionCircle, RaceDrawing, describe_race
from mpcrl_course.figures.style import COLOURS
from mpcrl_course.learners.trained import trained_driver
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import arrow_keys, slider, toggle
from mpcrl_course.live.controls import choice as choices
from mpcrl_course.live.player import Player
from mpcrl_course.mpc import MPC
from mpcrl_course.own import checked
from mpcrl_course.policies.race_filter import STATUSES, Decision, RaceSafety, changed, race_barrier
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.race import race_mpc, safety_mpc
from mpcrl_course.validation import choice, function, instance, real

#: By name, what each is; 'yours' is there if the reader gives a driver.
DRIVERS = {
    "hands": "the arrow keys, or the buttons Left, Gas, Brake, Right",
    "random": "random inputs, held for half a second",
    "free network": "DDPG, trained without the filter",
    "filtered network": "DDPG, trained behind the filter (raw action stored, change priced)",
    "MPC": "the driving MPC",
    "yours": "your own function",
}
FILTERS = {
    "none": "what the driver wants acts",
    "predictive": "the least change after which the car can still stop on the track",
    "barrier": "a condition on the distance to the edge at this instant, of second order",
}
KEYS = ("left", "right", "up", "down")
#: Pictures a step; steps that a press of a button lasts, that a car off the track waits, and that the strip shows.
PICTURES, PRESS, WAIT, PAST = 3, 4, 20, 120
#: Of the steering by hand: rad a step, and the share of the grip that it asks for at most.
TURN, HELD = 0.08, 0.9
START = np.array([0.0, 0.0, 0.0, 5.0])


@cache
def _problem(make: Callable) -> MPC:
    """Return the MPC that `make` makes, once for all widgets: it remembers nothing."""
    return make()


class RaceLoop:
    """The car, its driver and a filter: steps without any widget.

    Parameters
    ----------
    driver : callable (x) -> (a, delta), optional
        The reader's own, of the state x (4,) = (s, n, mu, v): an acceleration in m/s^2, a steering angle in rad.
    who : str, optional
        Who drives: one of `DRIVERS`; by default 'yours' if there is a driver, else 'hands'.
    filtered : str
        One of `FILTERS`.
    plant : RaceParameters
        The car, as it is.
    seed : int
        Of the random driver.

    Attributes
    ----------
    x, before : ndarray, shape (4,)
        The state, and that of the step before.
    wanted, acting : ndarray, shape (2,)
        Latest input of the driver (as the plant clips it), and the one that acted.
    status : str
        The filter's word for it, one of `STATUSES`, 'no filter', 'barrier', or 'waiting' (for a car off the track).
    plan : Decision or None
        Of the predictive filter.
    counts : dict of str to int
        Steps by status; 'changed', 'outside' and 'crashes' beside them.
    laps : list of float
        Times of the laps since the last time that the car was put on the track, s.
    past : list of (float, bool)
        n, and whether the input was changed, of the latest steps.
    pictures : int
        How many `frame` has asked for.
    """

    def __init__(
        self,
        driver: Callable | None = None,
        *,
        who: str | None = None,
        filtered: str = "predictive",
        plant: RaceParameters = CAR,
        seed: int = 0,
    ):
        self.driver, self.seed = function(driver, "driver", optional=True), seed
        self.parameters = instance(plant, RaceParameters, "plant")
        self.safety, self.margin, self.told = RaceSafety(mpc=_problem(safety_mpc)), 0.0, False
        self.filtered = choice(filtered, [*FILTERS], "filter")
        self._made: dict[str, Callable] = {}
        self.held: frozenset[str] = frozenset()
        self.who = choice(who or ("yours" if driver else "hands"), self.names, "driver")
        self._tell()
        self.reset()

    names = property(lambda self: [name for name in DRIVERS if name != "yours" or self.driver is not None])

    def reset(self) -> None:
        """Put the car at the start, and count from 0; who drives, filter and plant stay."""
        self.counts = dict.fromkeys([*STATUSES, "no filter", "barrier", "waiting", "changed", "outside", "crashes"], 0)
        self.past: list[tuple[float, bool]] = []
        self.count = self.pictures = 0
        self._rng = np.random.default_rng(self.seed)
        self.put(START)

    def put(self, x=None) -> None:
        """Put the car in a state x (4,), by default where it is along the track, on the centre line, at 5 m/s."""
        self.x: np.ndarray = np.array([self.x[0] % LENGTH, 0.0, 0.0, 5.0] if x is None else x, dtype=float)
        self.before, self._from, self._along, self._began = self.x, self.x[0], [self.x[0]], self.count
        self.wanted, self.acting, self.status = np.zeros(2), np.zeros(2), "passed"
        self.plan: Decision | None = None
        self._pressed, self._steering, self._waits, self._part = dict.fromkeys(KEYS, 0), 0.0, 0, 0
        self.laps: list[float] = []
        for made in self._made.values():
            if hasattr(made, "reset"):
                made.reset()

    # ---- what can be changed

    def hold(self, keys: str) -> None:
        """Hold these keys of `KEYS`, a text with spaces between them, until told otherwise."""
        self.held = frozenset(keys.split()) & frozenset(KEYS)

    def press(self, key: str) -> None:
        """Press a `key`, one of `KEYS`, for `PRESS` steps."""
        self._pressed[choice(key, KEYS, "key")] = PRESS

    def choose(self, who: str) -> None:
        """Let another drive on from here."""
        self.who = choice(who, self.names, "driver")

    def change(self, filtered=None, told=None, live=None, margin=None, **plant) -> None:
        """Change the filter, or by their names parameters of the plant (`grip`, `gain`).

        `told`: whether filters know the plant as it is; `live`: whether a plan must end where the car can drive on;
        `margin`: how far from the edge the predictive filter keeps, m.
        """
        parameters = replace(self.parameters, **plant)
        if filtered is not None:
            self.filtered, self.plan = choice(filtered, [*FILTERS], "filter"), None
        self.parameters, self.told = parameters, self.told if told is None else bool(told)
        self.margin = self.margin if margin is None else real(margin, "margin", 0.0, WIDTH)
        self.safety.live = self.safety.live if live is None else bool(live)
        self._tell()

    def _tell(self) -> None:
        """Tell the filters what they believe."""
        self.safety.model = replace(self.parameters if self.told else CAR, noise=0.0)
        self.safety.track = WIDTH - self.margin
        self._barrier = race_barrier(np.zeros_like, p=self.safety.model, track=self.safety.track).change

    def prepare(self, who: str) -> None:
        """Make a driver that may be chosen next, so that it is there in time."""
        driver = self._maker(who)
        driver(START[None])
        if hasattr(driver, "reset"):
            driver.reset()

    # ---- a step

    def step(self) -> None:
        """Drive for 0.05 s; what the reader's driver raises leaves all as it was."""
        if self._waits:
            self._waits -= 1
            self.before = self.x
            if not self._waits:
                self.put()
            self.status = "waiting"
        else:
            wanted = np.clip(self._wanted(), LOWER, UPPER)
            acting, status, plan = self._filtered(wanted)
            self._move(wanted, acting, status, plan)
        self.count += 1
        self.counts[self.status] += 1

    def _wanted(self) -> np.ndarray:
        if self.who == "hands":
            return self._hands()
        if self.who == "yours":
            return checked("driver", self.driver(self.x.copy()), (2,))
        return self._maker(self.who)(self.x[None])[0]

    def _maker(self, who: str) -> Callable:
        if who not in self._made:
            if who == "MPC":
                made: Callable = Receding(_problem(race_mpc))
            elif who == "random":
                made = self._random
            else:
                with places.data("racing_10.npz") as file:
                    made = trained_driver(file, {"free network": "free", "filtered network": "raw, priced"}[who])
            self._made[who] = made
        return self._made[who]

    def _random(self, y) -> np.ndarray:
        if self.count % 10 == 0 or not hasattr(self, "_drawn"):
            self._drawn = self._rng.uniform([-2.0, LOWER[1]], UPPER)
        return self._drawn[None]

    def _hands(self) -> np.ndarray:
        """Return what keys and buttons ask for: the steering moves to where it is held, and back if it is not."""
        down = [key in self.held or self._pressed[key] > 0 for key in KEYS]
        self._pressed = {key: max(0, left - 1) for key, left in self._pressed.items()}
        left, right, gas, brake = map(float, down)
        most = race.steering(HELD * CAR.grip / max(self.x[3] ** 2, 1.0))
        self._steering += float(np.clip((left - right) * most - self._steering, -TURN, TURN))
        return np.array([gas * UPPER[0] + brake * LOWER[0], self._steering])

    def _filtered(self, wanted) -> tuple[np.ndarray, str, Decision | None]:
        if self.filtered == "predictive":
            plan = self.safety.decide(self.x, wanted, self.plan)
            return plan.u, plan.status, plan
        if self.filtered == "barrier":
            return self._barrier(self.x[None], wanted[None])[0], "barrier", None
        return wanted, "no filter", None

    def _move(self, wanted, acting, status, plan) -> None:
        noise = self.parameters.draw(self._rng, 1, 1)
        x, _, crashed = self.parameters.step(self.x[None], np.clip(acting, LOWER, UPPER)[None],
                                             type(noise)(noise.steering[0]))  # fmt: skip
        self.wanted, self.acting, self.status, self.plan = wanted, acting, status, plan
        self.before, self.x = self.x, x[0]
        self._along.append(self.x[0])
        self.laps = race.lap_times(np.array(self._along)).tolist()
        different = bool(changed(acting, wanted))
        self.counts["changed"] += different
        self.counts["outside"] += bool(abs(self.x[1]) > WIDTH)
        self.past = [*self.past[1 - PAST :], (float(self.x[1]), different)]
        if crashed[0]:
            self.counts["crashes"] += 1
            self._waits = WAIT

    # ---- a picture

    def frame(self) -> None:
        """Go on by a picture: every third is the end of a step."""
        if self._part == 0:
            self.step()
        self._part = (self._part + 1) % PICTURES
        self.pictures += 1

    @property
    def shown(self) -> np.ndarray:
        """The state (4,) of the present picture, between those of two steps."""
        return self.before + (self._part or PICTURES) / PICTURES * (self.x - self.before)

    @property
    def changed(self) -> bool:
        """Whether the filter let something else act than was wanted."""
        return bool(changed(self.acting, self.wanted))

    @property
    def drivers_plan(self) -> np.ndarray | None:
        """The plan (N + 1, 4) of the driver, if it makes one."""
        plans = self._made["MPC"].plans if self.who == "MPC" and "MPC" in self._made else []  # type: ignore[attr-defined]
        return plans[0].x if plans else None


class RaceScene(Scene):
    """Draws a `RaceLoop`: the track, the road ahead of the car, what is asked of the tyres, n of the last 6 s."""

    SHAPE = 0.53
    #: The road ahead: metres to either side, and from behind to ahead.
    SIDE, BEHIND, AHEAD = 12.0, -7.0, 26.0
    WORDS = {
        "passed": "filter: passed, unchanged", "new plan": "filter: NEW PLAN", "old plan": "filter: OLD PLAN",
        "not certified": "NOT CERTIFIED: old plan goes on", "no filter": "no filter", "barrier": "barrier",
        "waiting": "off the track: put back in a second",
    }  # fmt: skip

    def _make(self, canvas, width, height):
        left, high = 0.36 * width, height - 176
        ax = canvas.axes(28, 140, left, high, pads=(1, 0, 4))
        self._track = RaceDrawing(ax, animated=True)
        ax.set(xlabel="", ylabel="", xticks=[0, 20, 40], yticks=[0, 20, 40, 60], title="the track from above (m)")
        ax = self._strip = canvas.axes(40, 40, left - 12, 58, pads=(1, 0, 3), bounds=(-WIDTH, WIDTH))
        ax.set(xlim=(-PAST * DT, 0.0), ylim=(-4.2, 4.2), yticks=[-2.5, 0, 2.5], xlabel="time from now (s)")
        ax.set_title("distance to the left $n$ (m); crosses: changed", loc="left")
        self._past = canvas.curve(ax, "blue", linewidth=1.5)
        self._changed = canvas.curve(ax, "vermilion", "", marker="x", markersize=4)
        tall = height - 78
        wide = tall * 2 * self.SIDE / (self.AHEAD - self.BEHIND)
        ax = canvas.axes(40 + left + 46, 40, wide, tall, pads=(4, 0, 6))
        ax.set(xlim=(-self.SIDE, self.SIDE), ylim=(self.BEHIND, self.AHEAD), xticks=[-10, 0, 10], yticks=[0, 10, 20])
        ax.set_xlabel("the road ahead of the car (m)")
        ax.grid(False)
        self._road = Polygon(np.zeros((3, 2)), facecolor="0.92", edgecolor="black", animated=True)
        self._car = Polygon(OUTLINE, edgecolor="black", linewidth=0.8, animated=True)
        ax.add_patch(self._road), ax.add_patch(self._car)
        self._kept = [canvas.curve(ax, "0.4", (0, (2, 2)), linewidth=1.2) for _ in "lr"]
        self._plan = canvas.curve(ax, "blue", linewidth=2.2)
        self._backup = canvas.curve(ax, "vermilion", (0, (3, 1.2)), linewidth=2.5)
        self._title = canvas.text(40 + left + 46, height - 24, "", fontsize=10.5, weight="bold", animated=True)
        x = 40 + left + 46 + wide + 56
        size = width - x - 12
        ax = canvas.axes(x, height - 40 - size, size, size, pads=(2, 0, 4))
        self._tyres = FrictionCircle(ax, animated=True)
        ax.set(xlabel="right (m/s²)", ylabel="forward (m/s²)")
        self._plant = canvas.text(width - 10, height - 24, "", ha="right", animated=True)
        keys = [self._backup, self._plan, self._kept[0], self._tyres.wanted, self._tyres.acting]
        names = ["way to a stop", "driver's plan", "filter's edge", "wanted", "acting"]
        canvas.legend(keys, x - 46, height - 92 - size, labels=names, handlelength=2.6)

    def draw(self, loop: RaceLoop) -> bytes:
        """Return the picture of a loop as JPEG."""
        x = loop.shown
        backup, plan = None if loop.plan is None else loop.plan.X, loop.drivers_plan
        self._track.set(x, loop.changed)
        self._track.set_plan(plan)
        self._track.set_backup(backup)
        self._draw_road(x, WIDTH - loop.margin if loop.margin and loop.filtered == "predictive" else None)
        for line, states in ((self._plan, plan), (self._backup, backup)):
            line.set_data(*([[], []] if states is None else self._from_the_car(x, states)))
        self._car.set_xy(np.stack([-OUTLINE[:, 1], OUTLINE[:, 0]], axis=-1) / 1.6)
        self._car.set_facecolor(COLOURS["vermilion" if loop.changed else "orange"])
        self._tyres.set_grip(loop.parameters.grip)
        self._tyres.set(loop.before, loop.wanted, loop.acting, loop.parameters.gain)
        t = DT * np.arange(1 - len(loop.past), 1)
        n, different = (np.array(part) for part in zip(*loop.past)) if loop.past else (np.zeros(0), np.zeros(0, bool))
        self._past.set_data(t, n)
        self._changed.set_data(t[different], n[different])
        self._write(loop)
        ahead = [self._road, *self._kept, self._plan, self._backup, self._car]
        return self.canvas.frame([*self._track.artists, *ahead, *self._tyres.artists, self._past, self._changed])

    def _write(self, loop: RaceLoop) -> None:
        """Renew what is slow to draw, if it has changed: texts."""
        plant = f"grip {loop.parameters.grip:.1f}, gain {loop.parameters.gain:.2f}"
        words = self.WORDS[loop.status], plant
        if words != (self._title.get_text(), self._plant.get_text()):
            self._title.set_text(words[0])
            self._title.set_color("black" if loop.status in ("passed", "no filter") else COLOURS["vermilion"])
            self._plant.set_text(plant)
            self.canvas.layer([self._title, self._plant])

    def _draw_road(self, x, kept) -> None:
        s = np.linspace(x[0] - 16.0, x[0] + 42.0, 80)
        zero = np.zeros_like(s)
        edges = [np.stack([s, zero + n, zero, zero], axis=-1) for n in (WIDTH, -WIDTH)]
        self._road.set_xy(np.concatenate([self._from_the_car(x, edges[0]).T, self._from_the_car(x, edges[1]).T[::-1]]))
        for line, side in zip(self._kept, (1.0, -1.0), strict=True):
            states = None if kept is None else np.stack([s, zero + side * kept, zero, zero], axis=-1)
            line.set_data(*([[], []] if states is None else self._from_the_car(x, states)))

    @staticmethod
    def _from_the_car(x, states) -> np.ndarray:
        """Return where states (n, 4) are as seen from a car in the state x: to its right and ahead, shape (2, n)."""
        X, Y, heading = race.place(x)
        d = race.place(states)[:, :2] - [X, Y]
        cos, sin = np.cos(heading), np.sin(heading)
        return np.stack([d @ [sin, -cos], d @ [cos, sin]])

    def describe(self, loop: RaceLoop) -> str:
        """Return the picture of a loop in words."""
        p, known = loop.parameters, "is told" if loop.told else "is not told"
        stop = ""
        if loop.plan is not None:
            end = loop.plan.X[-1]
            stop = f" Its way to a stop ends {end[0] - loop.x[0]:.0f} m ahead, {abs(end[1]):.1f} m off the centre line."
        return (
            f"A racing car on a closed track of {LENGTH:.0f} m, driver: {loop.who}, filter: {loop.filtered}, after "
            f"{loop.count} steps. {describe_race(loop.shown, loop.acting)} {self.WORDS[loop.status]}; wanted were "
            f"{loop.wanted[0]:.1f} m/s² and {loop.wanted[1]:.2f} rad.{stop} The plant's grip is {p.grip:.1f} m/s², "
            f"its steering gain {p.gain:.2f}; the filter {known}, and keeps {loop.margin:.1f} m from the edge."
        )


def race_live(driver: Callable | None = None, *, width: int = 800, **options) -> Player:
    """Return the live picture of a `RaceLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    driver, **options
        `who`, `filtered`, `plant`, `seed`: see `RaceLoop`; ``driver(x)`` may be the reader's own function.
    width : int
        Of the picture in pixels.
    """
    loop, scene = RaceLoop(driver, **options), RaceScene(width)
    pad, held = arrow_keys("Click here (or come with Tab) and drive: ← → steer, ↑ gas, ↓ brake. A key also starts it.")
    controls = {
        "who": choices("driver", {name: DRIVERS[name] for name in loop.names}, loop.who),
        "filtered": choices("filter", FILTERS, loop.filtered),
        "grip": slider("plant: grip (m/s²)", loop.parameters.grip, 4.0, 10.0, 0.2, ".1f"),
        "gain": slider("plant: steering gain (–)", loop.parameters.gain, 0.7, 1.3, 0.05, ".2f"),
        "margin": slider("filter: margin (m)", 0.0, 0.0, 1.0, 0.1, ".1f"),
        "told": toggle("Tell the filter grip and gain", "comment"),
        "live": toggle("Stop only where it can drive on", "road"),
    }
    keys = {"Left": "left", "Gas": "up", "Brake": "down", "Right": "right"}
    actions: dict[str, Callable[[], object]] = {text: partial(loop.press, key) for text, key in keys.items()}
    actions |= {"Back on the track": loop.put, "Reset": loop.reset}
    player = Player(loop, scene, _status, controls, step=loop.frame, actions=actions, label=170, width=width, rate=38.0)
    player.box.children = (player.picture, pad, held, *player.box.children[1:])
    player.connect(loop.change, "filtered", "grip", "gain", "margin", "told", "live")
    player.watch(controls["who"], loop.choose)

    def hold(keys: str) -> None:
        loop.hold(keys)
        if keys and not player.playing and not player.error:
            player.play()

    player.watch(held, hold)
    player.when_idle([partial(loop.prepare, name) for name in loop.names if name not in ("hands", "yours")])
    return player


def _status(loop: RaceLoop) -> str:
    c, x = loop.counts, loop.x
    lap = f", last lap {loop.laps[-1]:.2f} s" if loop.laps else ""
    rows = [f"{loop.pictures} frames · {DT * loop.count:.1f} s · {x[3]:.1f} m/s · n {x[1]:+.2f} m{lap}"
            f" · steps outside {c['outside']} · crashes {c['crashes']}"]  # fmt: skip
    words = [f"{word} {c[word]}" for word in (*STATUSES, "no filter", "barrier") if c[word]]
    rows.append(f"steps: {', '.join(words) or 'none yet'}; input changed in {c['changed']}")
    model = f"grip {loop.safety.model.grip:.1f}, gain {loop.safety.model.gain:.2f}"
    rows[1] += f" · filters believe: {model}"
    if loop.status != "waiting" and x[3] < 0.05 and loop.filtered == "predictive":
        rows.append(
            "<b>The car stands.</b> Safe is not live: turn the wheel and give gas, or put it back on the track."
        )
    return "<br>".join(rows)
