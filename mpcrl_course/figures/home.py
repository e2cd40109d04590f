"""A drawing of the house: temperatures in their band, the tariff, what flows now, and what the battery holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from mpcrl_course.envs.home import DT, HIGH, NOMINAL, HomeParameters, Noise, lower
from mpcrl_course.figures.style import COLOURS

#: What flows, from top to bottom: the name, and which energies of a step make it up (into the house is positive).
POWERS = ("grid", "roof", "load", "heat pump", "battery")
#: Their colours, and the largest power that is drawn, kW.
LOOKS = [COLOURS[name] for name in ("vermilion", "orange", "black", "blue", "green")]
MOST = 6.0


class HomeDrawing:
    """One weather's days in four axes; call `set` to show a run so far, then draw its `artists`.

    Temperatures: the air as a solid line, the mass dashed, a plan of the air dotted, the band shaded. Tariff: € a kWh,
    with a mark at now. Powers: a bar for each of `POWERS`, to the right into the house. Battery: what it holds, solid,
    and a plan of it, dotted.

    Parameters
    ----------
    axes : sequence of matplotlib.axes.Axes
        Four: temperatures, tariff, powers, battery.
    number : int
        Of the weather.
    plant : HomeParameters
    animated : bool
        Whether a `Canvas` draws the artists that move, frame by frame.

    Attributes
    ----------
    artists : list of Artist
        What moves, in drawing order.
    """

    def __init__(self, axes: Sequence[Axes], number: int, plant: HomeParameters = NOMINAL, animated: bool = False):
        temperatures, tariff, powers, battery = axes
        steps = plant.days * round(24.0 / DT)
        k = np.arange(steps + 1)
        hours = k * DT
        look: dict[str, Any] = {"marker": "", "animated": animated}
        temperatures.fill_between(hours, lower(k), HIGH, step="post", color=COLOURS["sky"], alpha=0.25, lw=0)
        temperatures.set(xlim=(0, hours[-1]), ylim=(17.0, 24.0), ylabel="°C")
        (self._tariff,) = tariff.step(hours, 0.0 * hours, where="post", color=COLOURS["purple"], ls="-", **look)
        self.set_weather(number, plant)
        tariff.set(xlim=(0, hours[-1]), ylim=(0.0, 1.15 * self._price.max()), ylabel="€/kWh")
        battery.set(xlim=(0, hours[-1]), ylim=(0.0, 1.05 * plant.capacity), ylabel="battery, kWh", xlabel="hour")
        battery.axhline(plant.capacity, color="black", lw=1, ls="--", marker="")
        for ax in (temperatures, tariff, battery):
            ax.set_xticks(np.arange(0.0, hours[-1] + 1.0, 6.0 * plant.days))
        places = np.arange(len(POWERS))[::-1]
        powers.set(xlim=(-MOST, MOST), ylim=(-0.6, len(POWERS) - 0.4), yticks=places, xlabel="kW into the house")
        powers.set_yticklabels(POWERS)
        powers.axvline(0.0, color="black", lw=1, ls="-", marker="")
        (self._air,) = temperatures.plot([], [], color=COLOURS["vermilion"], ls="-", **look)
        (self._mass,) = temperatures.plot([], [], color=COLOURS["black"], ls="--", lw=1.2, **look)
        (self._plan,) = temperatures.plot([], [], color=COLOURS["vermilion"], ls=":", **look)
        (self._now,) = tariff.plot([], [], color=COLOURS["black"], ls="", markersize=7, markevery=1,
                                   **{**look, "marker": "o"})  # fmt: skip
        (self._charge,) = battery.plot([], [], color=COLOURS["green"], ls="-", **look)
        (self._charge_plan,) = battery.plot([], [], color=COLOURS["green"], ls=":", **look)
        self._bars = PolyCollection([], facecolors=LOOKS, edgecolors="black", linewidths=0.8, animated=animated,
                                    zorder=3)  # fmt: skip
        powers.add_collection(self._bars)
        self.artists: list[Artist] = [self._tariff, self._air, self._mass, self._plan, self._now, self._charge,
                                      self._charge_plan, self._bars]  # fmt: skip

    def set_weather(self, number: int, plant: HomeParameters) -> None:
        """Show the tariff of another weather, by its `number`, or of another `plant` with as many days."""
        self.plant, self.number = plant, number
        self._price = plant.forecast(0, number, plant.days * round(24.0 / DT) + 1).price
        self._tariff.set_ydata(self._price)

    @property
    def highest(self) -> float:
        """The highest price of the tariff, € a kWh."""
        return float(self._price.max())

    def set(self, x, u, plan=None) -> None:
        """Show states x (steps + 1, 5) and inputs u (steps, 2) of a run so far; and a `plan` (N + 1, 3) from its last.

        Of the plan there are air, mass and charge, as `HomeSolution.x` has them.
        """
        x, u = np.asarray(x, dtype=float), np.asarray(u, dtype=float).reshape(-1, 2)
        hours = x[:, 3] * DT
        self._air.set_data(hours, x[:, 0])
        self._mass.set_data(hours, x[:, 1])
        self._charge.set_data(hours, x[:, 2])
        self._now.set_data(hours[-1:], self._price[round(x[-1, 3]) :][:1])
        ahead = np.zeros((0, 3)) if plan is None else np.asarray(plan, dtype=float)
        self.set_plan(hours[-1] + DT * np.arange(len(ahead)), ahead)
        ends = np.clip(powers(x[-2], u[-1], self.plant), -MOST, MOST) if len(u) else np.zeros(len(POWERS))
        self._bars.set_verts([_bar(i, end) for i, end in zip(range(len(POWERS))[::-1], ends.tolist(), strict=True)])

    def set_plan(self, hours, plan) -> None:
        """Show a `plan` (N + 1, 3) of air, mass and charge at these `hours` (N + 1,)."""
        self._plan.set_data(hours, plan[:, 0])
        self._charge_plan.set_data(hours, plan[:, 2])


def powers(x, u, plant: HomeParameters = NOMINAL) -> np.ndarray:
    """Return mean powers of the step from the state x (5,) with the input u (2,), kW, in the order of `POWERS`.

    Positive: into the house's wires; they add up to zero. `plant` is the house.
    """
    f = plant.flows(np.asarray(x)[None], np.asarray(u)[None], Noise(np.zeros(1)))
    found = [f.bought - f.sold, f.pv, -f.load, -f.pumped, f.discharged - f.charged]
    return np.concatenate(found) / DT


def _bar(y: float, end: float) -> list[tuple[float, float]]:
    """Return the corners of a bar at y from 0 to `end`."""
    return [(0.0, y - 0.3), (end, y - 0.3), (end, y + 0.3), (0.0, y + 0.3)]


def describe_home(x, u, plant: HomeParameters = NOMINAL) -> str:
    """Return the state x (5,) of a `plant`, and what flows with the input u (2,), in words."""
    x, hour = np.asarray(x, dtype=float), (round(x[3]) * DT) % 24.0
    low, w = float(lower(round(x[3]))), plant.now(np.asarray(x)[None])
    where = "too cold" if x[0] < low else "too warm" if x[0] > HIGH else "within its band"
    grid = powers(x, u, plant)[0]
    traded = f"{grid:.2f} kW are bought" if grid >= 0.0 else f"{-grid:.2f} kW are sold"
    return (
        f"{int(hour)}:{round(60 * (hour % 1)):02d}, {w.outdoor[0]:.1f} °C outside: air {x[0]:.1f} °C, {where} from "
        f"{low:g} to {HIGH:g} °C; battery {x[2]:.1f} of {plant.capacity:g} kWh; heat pump {u[0]:.2f} kW; {traded}, "
        f"at {w.price[0]:.2f} € a kWh."
    )
