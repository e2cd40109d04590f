"""A drawing of the pendulum: rod, bob, pivot, and the torque as an arc with an arrow head."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from mpcrl_course.envs.pendulum import wrap
from mpcrl_course.figures.style import COLOURS


class PendulumDrawing:
    """The pendulum in axes of its own; call `set` to move it, then draw its `artists`.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Emptied of ticks; keep it square.
    max_torque : float
        Torque of the longest arc, N m.
    colour : str
        Of rod and bob, by its name in `COLOURS` or as Matplotlib knows it.
    animated : bool
        Whether a `Canvas` draws the artists that move, frame by frame.

    Attributes
    ----------
    mass : float
        In kg: the bob's area grows with it; 1 by default.
    bob, arc, head : Artist
        The bob; the torque's arc, and the arrow's head at its end.
    artists : list of Artist
        What moves, in drawing order.
    """

    #: Radius of the torque's arc, and the angle of the longest one in rad.
    ARC, REACH = 0.42, 2.2
    #: Radius of the bob of 1 kg.
    BOB = 0.11

    def __init__(self, ax: Axes, max_torque: float = 2.0, colour: str = "blue", animated: bool = False):
        self.max_torque, self.mass = float(max_torque), 1.0
        colour = COLOURS.get(colour, colour)
        ax.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal", xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.add_patch(Circle((0, 0), 1.0, fill=False, edgecolor="0.85", linewidth=1))
        ax.plot([0, 0], [1.0, 1.15], color="0.6", linewidth=1.5, marker="", linestyle="-")  # where upright is
        line: dict[str, Any] = {"marker": "", "linestyle": "-", "animated": animated, "solid_capstyle": "round"}
        (self._rod,) = ax.plot([], [], color=colour, linewidth=6, **line)
        (self.arc,) = ax.plot([], [], color=COLOURS["vermilion"], linewidth=2.5, **line)
        (self.head,) = ax.plot([], [], color=COLOURS["vermilion"], linewidth=2.5, **line)
        self.bob = Circle((0, 1), self.BOB, facecolor=colour, edgecolor="black", animated=animated, zorder=3)
        self._pivot = Circle((0, 0), 0.05, facecolor="black", animated=animated, zorder=4)
        ax.add_patch(self.bob)
        ax.add_patch(self._pivot)
        self.artists: list[Artist] = [self._rod, self.arc, self.head, self.bob, self._pivot]
        self.set(np.pi, 0.0)

    def set(self, q: float, torque: float = 0.0) -> None:
        """Show the angle q (rad, 0 upright, positive counter-clockwise) and the torque (N m)."""
        tip = np.array([-np.sin(q), np.cos(q)])
        self._rod.set_data([0.0, tip[0]], [0.0, tip[1]])
        self.bob.center, self.bob.radius = (tip[0], tip[1]), self.BOB * np.sqrt(self.mass)
        reach = self.REACH * float(np.clip(torque / self.max_torque, -1.0, 1.0))
        if abs(reach) < 0.05:
            self.arc.set_data([], [])
            self.head.set_data([], [])
            return
        # counter-clockwise torque: an arc that starts on the right of the pivot and runs to the left over the top
        angles = np.pi / 2 - reach / 2 + np.linspace(0.0, reach, 25)
        self.arc.set_data(self.ARC * np.cos(angles), self.ARC * np.sin(angles))
        end, sign = angles[-1], np.sign(reach)
        point = self.ARC * np.array([np.cos(end), np.sin(end)])
        along, out = sign * np.array([-np.sin(end), np.cos(end)]), np.array([np.cos(end), np.sin(end)])
        wings = [point - 0.13 * along + 0.09 * out, point, point - 0.13 * along - 0.09 * out]
        self.head.set_data([w[0] for w in wings], [w[1] for w in wings])


def without_jumps(angles) -> np.ndarray:
    """Return wrapped angles with nan where they jump, so that no line crosses the picture there."""
    angles = wrap(np.asarray(angles, dtype=float)).copy()
    angles[1:][np.abs(np.diff(angles)) > np.pi] = np.nan
    return angles


def describe_pendulum(q: float, v: float, torque: float) -> str:
    """Return the angle q (rad, 0 upright), the velocity v (rad/s) and the `torque` (N m) in words."""
    angle = (q + np.pi) % (2 * np.pi) - np.pi
    where = "upright" if abs(angle) < 0.2 else "hanging down" if abs(angle) > np.pi - 0.2 else "on its way"
    motion = f"velocity {v:.2f} rad/s, torque {torque:.2f} N m"
    return f"The pendulum is {where}: angle {angle:.2f} rad from the upright, {motion}."
