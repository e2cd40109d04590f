"""Drawings of the racing car: the track with car and plan, seen from above, and the circle that the grip allows."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Polygon

from mpcrl_course.envs.race import CAR, CRASH, LENGTH, UPPER, WIDTH, acceleration, place
from mpcrl_course.figures.style import COLOURS

#: Corners of the car, m, for a heading of 0; drawn larger than it is (1.6 m between the axles), to be seen.
OUTLINE = 1.6 * np.array([[1.5, 0.0], [0.8, 0.6], [-1.1, 0.6], [-1.1, -0.6], [0.8, -0.6]])
#: What the axes show, and thereby their shape: X from, to, Y from, to, in m.
VIEW = (-21.0, 56.0, -6.0, 61.0)


def edge(offset: float, points: int = 600) -> np.ndarray:
    """Return the line at an `offset` (m) to the left of the centre line, closed, of so many points: (points, 2)."""
    s = np.linspace(0.0, LENGTH, int(points))
    zero = np.zeros_like(s)
    return place(np.stack([s, zero + float(offset), zero, zero], axis=-1))[:, :2]


def car_outline(x) -> np.ndarray:
    """Return the corners (5, 2) on the ground of the car in a state x (4,)."""
    X, Y, heading = place(x)
    cos, sin = np.cos(heading), np.sin(heading)
    return OUTLINE @ np.array([[cos, sin], [-sin, cos]]) + [X, Y]


class RaceDrawing:
    """Track and car in axes of their own; call `set` (`set_plan`, `set_backup`) to move them, then draw the `artists`.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its limits are set.
    animated : bool
        Whether a `Canvas` draws the artists that move, frame by frame.

    Attributes
    ----------
    artists : list of Artist
        What moves, in drawing order.
    plan, backup, car : Artist
        For a legend: the plan, the way to a stop of a safety filter, the car.
    """

    def __init__(self, ax: Axes, animated: bool = False):
        ax.set(xlim=VIEW[:2], ylim=VIEW[2:], aspect="equal", xlabel="$X$ (m)", ylabel="$Y$ (m)")
        ax.grid(False)
        outer, inner = edge(-WIDTH), edge(WIDTH)
        ax.add_patch(Polygon(np.concatenate([outer, inner[::-1]]), facecolor="0.92", edgecolor="none", zorder=-3))
        for line in (outer, inner):
            ax.plot(*line.T, color="black", linewidth=1.0, linestyle="-", marker="", zorder=-2)
        ax.plot(*edge(0.0).T, color="0.65", linewidth=0.7, linestyle=(0, (6, 6)), marker="", zorder=-2)
        ax.plot(*place([[0, -WIDTH, 0, 0], [0, WIDTH, 0, 0]])[:, :2].T, color="black", linewidth=2.5, linestyle="-",
                marker="", zorder=-1)  # fmt: skip
        look: dict[str, Any] = {"marker": "", "animated": animated}
        (self.plan,) = ax.plot([], [], color=COLOURS["blue"], linewidth=2.0, linestyle="-", **look)
        (self.backup,) = ax.plot([], [], color=COLOURS["vermilion"], linewidth=2.0, linestyle=(0, (3, 1.2)), **look)
        self.car = Polygon(OUTLINE, facecolor=COLOURS["orange"], edgecolor="black", linewidth=0.8, zorder=5,
                           animated=animated)  # fmt: skip
        ax.add_patch(self.car)
        self.artists: list[Artist] = [self.plan, self.backup, self.car]
        self.set(np.zeros(4))

    def set(self, x, changed: bool = False) -> None:
        """Show the car in a state x (4,); vermilion if its driver's input was `changed` by a filter."""
        self.car.set_xy(car_outline(x))
        self.car.set_facecolor(COLOURS["vermilion" if changed else "orange"])

    def set_plan(self, x=None) -> None:
        """Show a plan x (N + 1, 4) of a driver; None takes it away."""
        self._line(self.plan, x)

    def set_backup(self, x=None) -> None:
        """Show the states x (N + 1, 4) on the way to a stop that a filter keeps; None takes them away."""
        self._line(self.backup, x)

    @staticmethod
    def _line(line, x) -> None:
        line.set_data(*(([], []) if x is None else place(x)[:, :2].T))


class FrictionCircle:
    """Longitudinal and lateral acceleration, what is wanted and what acts, in the circle that the grip allows.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its limits are set; make it square.
    grip : float
        Radius of the circle, m/s^2; may be changed by `set_grip`.
    animated : bool
        Whether a `Canvas` draws the artists that move, frame by frame.

    Attributes
    ----------
    artists : list of Artist
        What moves, in drawing order.
    wanted, acting : Artist
        For a legend: the marks of the driver's input and of the one that acts.
    """

    def __init__(self, ax: Axes, grip: float = CAR.grip, animated: bool = False):
        ax.set(xlim=(-11, 11), ylim=(-11, 11), aspect="equal", xlabel="to the right (m/s²)", ylabel="forward (m/s²)")
        self._circle = Circle((0.0, 0.0), grip, facecolor="0.94", edgecolor="black", linestyle="--", zorder=-1,
                              animated=animated)  # fmt: skip
        ax.add_patch(self._circle)
        look: dict[str, Any] = {"linestyle": "", "markevery": 1, "markersize": 9, "animated": animated}
        (self.wanted,) = ax.plot([], [], marker="o", markerfacecolor="none", color=COLOURS["blue"], **look)
        (self.acting,) = ax.plot([], [], marker="X", color=COLOURS["vermilion"], **look)
        self.artists: list[Artist] = [self._circle, self.wanted, self.acting]

    def set_grip(self, grip: float) -> None:
        """Draw the circle of a `grip` in m/s^2."""
        self._circle.set_radius(float(grip))

    def set(self, x, wanted, acting, gain: float = 1.0) -> None:
        """Show what inputs (2,), the `wanted` and the `acting` one, ask of the tyres in the state x (4,).

        A positive lateral acceleration is one to the left, and is drawn there. `gain` is that of the steering.
        What lies beyond the picture stands at its edge.
        """
        for mark, u in ((self.wanted, wanted), (self.acting, acting)):
            forward, left = np.clip(acceleration(x, u, gain), -10.5, 10.5)
            mark.set_data([-left], [forward])


def describe_race(x, u) -> str:
    """Return the car's state x (4,) and its input u (2,) in words."""
    lap, s = divmod(float(x[0]), LENGTH)
    side = "left" if x[1] > 0 else "right"
    where = "off the track" if abs(x[1]) > CRASH else "outside" if abs(x[1]) > WIDTH else "on the track"
    turn = "straight on" if abs(u[1]) < 0.01 * UPPER[1] else "to the left" if u[1] > 0 else "to the right"
    return (
        f"The car is {where}, {abs(x[1]):.2f} m {side} of the centre line, at {s:.0f} m of lap {int(lap) + 1}; "
        f"{x[3]:.1f} m/s, acceleration {u[0]:.1f} m/s², steering {abs(u[1]):.2f} rad {turn}."
    )
