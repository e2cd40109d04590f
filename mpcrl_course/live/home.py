"""Two days in a house with heat pump, battery and tariff, under a rule or an MPC that is chosen (lecture 07).

A second house, in the same weather and with the same tariff, is driven by a thermostat. Both pay; the bill runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mpcrl_course import places
from mpcrl_course.closed_loop import Controller
from mpcrl_course.envs.home import DAY, DT, HomeParameters, Noise, discomfort
from mpcrl_course.figures.home import HomeDrawing, describe_home
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import choice as choices
from mpcrl_course.live.controls import slider
from mpcrl_course.live.player import Player
from mpcrl_course.own import checked, inputs
from mpcrl_course.policies.house import Thermostat, proportional
from mpcrl_course.problems.home import HomeMPC, home_mpc
from mpcrl_course.validation import choice, function, real, whole

#: By name, what each is; 'yours' is there if the reader gives a rule.
CONTROLLERS = {
    "thermostat": "thermostat",
    "proportional": "proportional rule",
    "simple": "MPC of one temperature, 12 h ahead",
    "learned": "MPC of one temperature, learned",
    "whole": "MPC of two temperatures, 24 h ahead",
    "yours": "your own rule",
}
#: Weathers that can be chosen; none of them has been learned from. K that an open window takes from the air.
FIRST, LAST, WINDOW = 101, 130, 2.0
#: Upper ends of the axes of the bill, €, and of the tariff, € a kWh.
BILLS, PRICES = (16.0, 32.0, 64.0, 256.0), (0.5, 1.0, 2.0)


class HomeLoop:
    """Two houses in one weather: a controller drives one, a thermostat the other; steps without any widget.

    Parameters
    ----------
    rule : callable (y) -> (P, B), optional
        The reader's own: powers of heat pump and into the battery (kW), from the state y (5,) of `envs.home`.
    controller : str, optional
        That drives the first house: one of `CONTROLLERS`; by default 'yours' if there is a rule, else 'whole'.
    number : int
        Of the weather, 101 to 130.
    swing, colder : float
        Of the tariff (1: as drawn, 0: the same price at all times), and K taken from all outdoor temperatures.
    theta : array_like, shape (6,), optional
        Of the learned MPC; by default a shipped one, of learned_07.npz.

    Attributes
    ----------
    plant : HomeParameters
    x : ndarray, shape (2, 5)
        States of the chosen one's house and of the thermostat's.
    past, inputs : list of ndarray, shapes (2, 5) and (2, 2)
        All states and inputs since the start.
    J : list of ndarray, shape (2,)
        Bill so far (€, with discomfort and the stores settled), beginning with 0.
    outside : ndarray, shape (2,)
        K h out of the band.
    plan : ndarray, shape (N + 1, 3), or None
        What the chosen MPC plans of air, mass and battery, from the state before.
    results : dict
        € and K h a day of what was driven to its end without a change on the way; of this weather and tariff.
    """

    def __init__(
        self,
        rule: Callable | None = None,
        *,
        controller: str | None = None,
        number: int = FIRST,
        swing: float = 1.0,
        colder: float = 0.0,
        theta=None,
    ):
        self.rule = function(rule, "rule", optional=True)
        self.results: dict[str, tuple[float, float]] = {}
        self.plant, self.number = HomeParameters(), _numbered(number)
        self._base, self._mpcs = Thermostat(self.plant), {"whole": home_mpc(plant=self.plant)}
        self._mpcs |= dict.fromkeys(("simple", "learned"), home_mpc(True, plant=self.plant))
        self._theta = {name: mpc.parameters.initial() for name, mpc in self._mpcs.items()}
        if theta is None:
            with places.data("learned_07.npz") as file:
                theta = np.append(file["house cross-entropy learned"][0].astype(float), 0.0)
        self._theta["learned"] = self._mpcs["learned"].parameters.check(theta).copy()
        self._take(swing, colder)
        self.choose(controller or ("yours" if rule is not None else "whole"))

    names = property(lambda self: [name for name in CONTROLLERS if name != "yours" or self.rule is not None])
    steps = property(lambda self: self.plant.days * DAY, doc="Of the weather.")
    count = property(lambda self: len(self.inputs), doc="Steps since the start.")

    def choose(self, controller: str) -> None:
        """Let another controller drive the first house, and start again."""
        self.controller = choice(controller, self.names, "controller")
        self.restart()

    def restart(self) -> None:
        """Put both houses at the first midnight of this weather."""
        self.x = np.repeat(self.plant.starts([self.number]), 2, axis=0)
        self.past, self.J = [self.x], [np.zeros(2)]
        self.inputs: list[np.ndarray] = []
        self.plan: np.ndarray | None = None
        self.outside, self._paid, self._undisturbed = np.zeros(2), np.zeros(2), True
        self._drive = self._made(self.controller)
        self._base.reset()

    def change(self, number: int | None = None, swing: float | None = None, colder: float | None = None) -> None:
        """Take another weather and start again; or another `swing` or `colder` from now on, which all forecasts show.

        `number` is that of the weather, `swing` and `colder` are those of the plant.
        """
        if number is not None:
            self.number = _numbered(number)
            self.results = {}
            self.restart()
        if swing is not None or colder is not None:
            self._take(self.plant.swing if swing is None else swing, self.plant.colder if colder is None else colder)
            self._undisturbed, self.results = not self.count, {}
            if self.controller == "proportional":
                self._drive = self._made(self.controller)

    def _take(self, swing, colder) -> None:
        self.plant = replace(self.plant, swing=real(swing, "swing", 0.0), colder=real(colder, "colder", 0.0))
        for mpc in self._mpcs.values():
            mpc.plant = self.plant  # whose tariff and forecasts it looks up
        self._base.plant = self.plant

    def _made(self, name: str) -> Controller:
        """Return a controller by name, of y (n, 5)."""
        if name == "thermostat":
            return Thermostat(self.plant)
        return proportional(plant=self.plant) if name == "proportional" else self._row

    def _row(self, y) -> np.ndarray:
        """Return the inputs (1, 2) of the reader's rule or of an MPC, whose plan is kept, at y (1, 5)."""
        if self.controller == "yours":
            value = self.rule(y[0].copy())
            return checked("rule", None if value is None else np.ravel(value), (2,))[None]
        mpc: HomeMPC = self._mpcs[self.controller]
        answer = mpc.policy(self._theta[self.controller], y[0])
        self.plan = answer.x
        return answer.u0[None]

    def window(self) -> None:
        """Open a window in both houses, which takes 2 K from the air."""
        self.x = self.x - np.eye(5)[0] * WINDOW
        self.past[-1], self._undisturbed = self.x, False

    def step(self) -> None:
        """Drive both for a step of 15 minutes; where the weather has ended, begin with the next one.

        What a controller raises leaves all as it was.
        """
        if self.count == self.steps:
            self.change(number=self.number + 1 if self.number < LAST else FIRST)
        plan, self.plan = self.plan, None
        try:
            u = inputs(self._drive(self.x[:1].copy()), 1, 2, who=self.controller)
        except Exception:
            self.plan = plan
            raise
        command = np.vstack([u, self._base(self.x[1:])])
        u = self.plant.applied(self.x, np.clip(command, self.plant.input_lower, self.plant.input_upper))
        self.x, cost, _ = self.plant.step(self.x, u, Noise(np.zeros(2)))
        self._paid, self.outside = self._paid + cost, self.outside + DT * discomfort(self.x)
        self.past.append(self.x)
        self.inputs.append(u)
        self.J.append(self._paid + self.plant.settlement(self.past[0], self.x))
        if self.count == self.steps and self._undisturbed:
            found = zip(self.money.tolist(), self.outside.tolist(), strict=True)
            days = self.plant.days
            self.results |= {
                name: (money / days, outside / days)
                for name, (money, outside) in zip(("thermostat", self.controller)[::-1], found, strict=True)
            }

    @property
    def money(self) -> np.ndarray:
        """€ so far, with what has changed in the stores settled, shape (2,)."""
        return self.J[-1] - self.plant.comfort * self.outside


def _numbered(number) -> int:
    """Return the number of a weather, or raise ValueError if it is none of those here."""
    return int(real(whole(number, "number", 0), "number", FIRST, LAST))


class HomeScene(Scene):
    """Draws a `HomeLoop`: temperatures, tariff, battery and flows of the chosen one's house, and both bills."""

    SHAPE = 0.58

    def _make(self, canvas, width, height):
        left, right, wide = 50, round(0.64 * width), round(0.64 * width) - 50 - 92
        tall = height - 100
        sizes = [(0.53, 0.47), (0.29, 0.16), (0.0, 0.21)]  # from, and how much of the height
        columns = [(left, 40 + tall * low + 8, wide, tall * high) for low, high in sizes]
        powers = (right, 40 + tall * 0.53 + 8, width - right - 14, tall * 0.47)
        self._axes = [canvas.axes(*size) for size in (columns[0], columns[1], powers, columns[2])]
        self._bill = canvas.axes(right, 40, width - right - 14, tall * 0.36, left="bill so far (€)")
        self._lines = [
            canvas.curve(self._bill, "vermilion", linewidth=2.0, label="chosen"),
            canvas.curve(self._bill, "blue", "--", linewidth=1.6, label="thermostat"),
        ]
        self._bill.legend(handles=self._lines, loc="upper left", frameon=False)
        self._title = canvas.text(left, height - 20, "", fontsize=9.5, animated=True)
        self._drawing = HomeDrawing(self._axes, FIRST, animated=True)
        self._other = canvas.curve(self._axes[0], "blue", "--", linewidth=1.2)
        hours = HomeParameters().days * 24.0
        for ax, title in zip(self._axes, ("air, its band (shaded) and mass (thin dashes), °C", "tariff, €/kWh", "",
                                          "battery, kWh"), strict=True):  # fmt: skip
            ax.set_title(title, loc="left")
            ax.set_ylabel("")
            ax.xaxis.labelpad = 1
        self._axes[0].set(ylim=(15.0, 24.0))
        for ax in self._axes[:2]:
            ax.tick_params(labelbottom=False)
        self._bill.set(xlim=(0, hours), xticks=np.arange(0.0, hours + 1.0, 12.0), xlabel="hour")
        self._bill.xaxis.labelpad = 1
        self._known: Any = None

    def _prepare(self, loop: HomeLoop) -> None:
        """Draw anew what changes seldom: the ranges of tariff and bill, the title."""
        where = f"weather {loop.number}, {loop.plant.colder:.1f} K colder"
        title = f"{where}; solid: {CONTROLLERS[loop.controller]}; dotted: its plan; dashed: thermostat"
        bill = next((top for top in BILLS if np.max(loop.J) < top), BILLS[-1])
        self._drawing.set_weather(loop.number, loop.plant)
        price = next((top for top in PRICES if self._drawing.highest < top), PRICES[-1])
        if (known := (title, bill, price)) == self._known:
            return
        self._bill.set(ylim=(-2.0, bill))
        self._axes[1].set(ylim=(0.0, price))
        self._title.set_text(title)
        self.canvas.layer([self._title], redraw_base=self._known is None or known[1:] != self._known[1:])
        self._known = known

    def draw(self, loop: HomeLoop) -> bytes:
        """Return the picture of a loop as JPEG."""
        self._prepare(loop)
        past = np.array(loop.past)
        x = past[:, 0] if loop.plan is None else past[:-1, 0]  # a plan begins where it was made
        self._drawing.set(past[:, 0], np.array(loop.inputs).reshape(-1, 2, 2)[:, 0])
        if loop.plan is not None:
            later = DT * (x[-1, 3] + np.arange(len(loop.plan)))
            self._drawing.set_plan(later, loop.plan)
        hours = DT * past[:, 0, 3]
        self._other.set_data(hours, past[:, 1, 0])
        for line, J in zip(self._lines, np.array(loop.J).T, strict=True):
            line.set_data(hours, J)
        return self.canvas.frame([self._other, *self._drawing.artists, *reversed(self._lines)])

    def describe(self, loop: HomeLoop) -> str:
        """Return the picture of a loop in words."""
        u = loop.inputs[-1] if loop.inputs else np.zeros((2, 2))
        who = (f"The chosen controller, {loop.controller}", "The thermostat")
        parts = [
            f"{name}: {describe_home(loop.x[i], u[i], loop.plant)} So far {loop.money[i]:.2f} € and "
            f"{loop.outside[i]:.2f} K h out of the band."
            for i, name in enumerate(who)
        ]
        place = f"weather {loop.number}, {loop.plant.colder:.0f} K colder, tariff's swing {loop.plant.swing:.2f}"
        return f"Two houses after {DT * loop.count:.2f} of {DT * loop.steps:.0f} hours, {place}. " + " ".join(parts)


def _status(loop: HomeLoop) -> str:
    hour = DT * loop.count
    rows = [
        f"step {loop.count} of {loop.steps} (day {int(hour // 24) + 1}, {int(hour % 24)}:{int(60 * (hour % 1)):02d})"
    ]
    if loop.results:
        found = sorted(loop.results.items(), key=lambda item: item[1][0] + loop.plant.comfort * item[1][1])
        told = ", ".join(f"{name} {money + loop.plant.comfort * out:.2f}" for name, (money, out) in found)
        rows[0] += f" · J a day at the end, €: {told}"
    for i, name in enumerate((loop.controller, "thermostat")):
        rows.append(
            f"<b>{name}</b> air {loop.x[i, 0]:.1f} °C · {loop.money[i]:.2f} € · {loop.outside[i]:.2f} K h out of the "
            f"band · bill J = {loop.J[-1][i]:.2f} €"
        )
    return "<br>".join(rows)


def home_live(mine: Callable | None = None, *, width: int = 800, **options) -> Player:
    """Return the live picture of a `HomeLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    mine : callable (y) -> (P, B), optional
        The reader's own rule.
    **options
        `controller`, `number`, `swing`, `colder`, `theta`: see `HomeLoop`.
    width : int
        Of the picture in pixels.
    """
    loop, scene = HomeLoop(mine, **options), HomeScene(width)
    controls = {
        "controller": choices("controller", {n: CONTROLLERS[n] for n in loop.names}, loop.controller),
        "swing": slider("swing of the tariff (–)", loop.plant.swing, 0.0, 3.0, 0.25),
        "colder": slider("colder by (K)", loop.plant.colder, 0.0, 10.0, 0.5),
        "number": slider("weather (number)", loop.number, FIRST, LAST, 1),
    }

    def step():
        loop.step()
        player.set(controls["number"], loop.number)

    actions = {"Open a window": loop.window, "Reset": loop.restart}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=160, width=width, rate=36.0)
    player.connect(loop.change, "swing", "colder", "number")
    player.watch(controls["controller"], loop.choose)
    return player
