"""A drawing of the cart-pole: track with its limits, cart, pole, force, target, and the plan as ghosts of the pole."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle, Rectangle

from mpcrl_course.envs.cartpole import TRACK, TRACK_END
from mpcrl_course.figures.style import COLOURS

#: The cart of 1 kg in the drawing: width and height in m. The bob of 0.2 kg: its radius in m.
CART, BOB = (0.36, 0.16), 0.055
#: Length of the arrow of the largest force, m.
ARROW = 0.7


def tips(x, length: float = 0.5) -> np.ndarray:
    """Return where the tip of a pole of that length (m) is, shape (..., 2), at states x (..., 4)."""
    x = np.asarray(x, dtype=float)
    return np.stack([x[..., 0] - length * np.sin(x[..., 1]), length * np.cos(x[..., 1])], axis=-1)


def poles(x, length: float = 0.5) -> np.ndarray:
    """Return a pole of that length (m) as a line from cart to tip, shape (n, 2, 2), at states x (n, 4)."""
    x = np.asarray(x, dtype=float)
    feet = np.stack([x[:, 0], np.zeros(len(x))], axis=-1)
    return np.stack([feet, tips(x, length)], axis=1)


class CartPoleDrawing:
    """The cart-pole in axes of its own; call `set` (`set_plan`, `set_target` …) to move it, then draw its `artists`.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its limits are set; make it four times as wide as high, or wider.
    length : float
        Of the pole, m.
    max_force : float
        Force of the longest arrow, N.
    ghosts : int
        Poles of a plan that are shown.
    animated : bool
        Whether a `Canvas` draws the artists that move, frame by frame.
    colour : str
        Of the pole, a name in `COLOURS`.

    Attributes
    ----------
    artists : list of Artist
        What moves, in drawing order.
    ghost, arrow, target : Artist
        For a legend: the plan's poles, the force, and the mark of the target, which is not among the `artists`.
    """

    def __init__(
        self,
        ax: Axes,
        length: float = 0.5,
        max_force: float = 15.0,
        ghosts: int = 10,
        animated: bool = False,
        colour: str = "vermilion",
    ):
        self.length, self.max_force, self.ghosts = float(length), float(max_force), int(ghosts)
        ax.set(xlim=(-2.62, 2.62), ylim=(-0.64, 0.64), aspect="equal", yticks=[], xlabel="position $p$ (m)")
        ax.set_xticks(np.arange(-2.0, 2.1, 0.5))
        ax.grid(False)
        for name in ("left", "bottom"):
            ax.spines[name].set_visible(False)
        ax.axvspan(-TRACK, TRACK, color="0.95", zorder=-3)
        ax.plot([-TRACK_END, TRACK_END], [0, 0], color="0.6", linewidth=3, marker="", linestyle="-", zorder=0)
        for side in (-1, 1):
            ax.axvline(side * TRACK, color="black", linewidth=1, linestyle="--", marker="", zorder=-2)
            ax.add_patch(Rectangle((side * TRACK_END - 0.02, -0.12), 0.04, 0.24, facecolor="0.25"))
        line: dict[str, Any] = {"marker": "", "linestyle": "-", "animated": animated}
        (self._path,) = ax.plot([], [], color=COLOURS["blue"], linewidth=1.2, **line)
        fade = np.linspace(0.75, 0.12, self.ghosts)
        self.ghost = LineCollection([], colors=[(0.0, 0.447, 0.698, alpha) for alpha in fade], linewidths=2.0,
                                      animated=animated)  # fmt: skip
        ax.add_collection(self.ghost)
        self._cart = Rectangle((-CART[0] / 2, -CART[1] / 2), *CART, facecolor="0.75", edgecolor="black",
                               animated=animated, zorder=3)  # fmt: skip
        ax.add_patch(self._cart)
        (self._rod,) = ax.plot([], [], color=COLOURS[colour], linewidth=6, solid_capstyle="round", zorder=4,
                               **line)  # fmt: skip
        self._bob = Circle((0, 0), BOB, facecolor=COLOURS[colour], edgecolor="black", animated=animated,
                           zorder=5)  # fmt: skip
        ax.add_patch(self._bob)
        (self.arrow,) = ax.plot([], [], color=COLOURS["green"], linewidth=2.5, zorder=6, **line)
        (self.target,) = ax.plot([], [], color="black", marker="^", markersize=7, markevery=1, linestyle="",
                                 animated=animated)  # fmt: skip
        self.artists: list[Artist] = [self._path, self.ghost, self._cart, self._rod, self._bob, self.arrow]
        self.set(np.array([0.0, np.pi, 0.0, 0.0]))

    def set(self, x, force: float = 0.0) -> None:
        """Show the state x (position in m, angle in rad, 0 upright, and velocities) and the force in N."""
        (foot, tip), p = poles(np.asarray(x, dtype=float)[None], self.length)[0], float(x[0])
        half, high = self._cart.get_width() / 2, self._cart.get_height()
        self._cart.set_xy((p - half, -high / 2))
        self._rod.set_data([foot[0], tip[0]], [foot[1], tip[1]])
        self._bob.center = (tip[0], tip[1])
        reach = ARROW * float(np.clip(force / self.max_force, -1.0, 1.0))
        if abs(reach) < 0.02:
            self.arrow.set_data([], [])
            return
        from_ = p + np.sign(reach) * half
        end, wing = from_ + reach, np.sign(reach) * min(0.07, abs(reach))
        self.arrow.set_data([from_, end, end - wing, end, end - wing], [0.0, 0.0, 0.04, 0.0, -0.04])

    def set_masses(self, cart_mass: float = 1.0, mass: float = 0.2) -> None:
        """Draw the cart's area and the bob's volume in proportion to `cart_mass` and `mass` (kg); then call `set`."""
        self._cart.set_width(CART[0] * np.sqrt(cart_mass))
        self._cart.set_height(CART[1] * np.sqrt(cart_mass))
        self._bob.set_radius(BOB * np.cbrt(mass / 0.2))

    def set_plan(self, x) -> None:
        """Show a plan x (N + 1, 4): the path of the tip, and ghosts of the pole at equal times."""
        x = np.asarray(x, dtype=float)
        path = tips(x, self.length)
        self._path.set_data(path[:, 0], path[:, 1])
        chosen = np.unique(np.linspace(0, len(x) - 1, self.ghosts + 1).round().astype(int))[1:]
        self.ghost.set_segments(list(poles(x[chosen], self.length)))

    def set_target(self, p: float) -> None:
        """Mark the position p (m), where the cart shall go, below the track."""
        self.target.set_data([p], [-0.59])


def describe_cartpole(x, force: float) -> str:
    """Return the cart-pole's state x (4,) and the `force` on the cart (N) in words."""
    angle = (x[1] + np.pi) % (2.0 * np.pi) - np.pi
    where = "upright" if abs(angle) < 0.2 else "hanging down" if abs(angle) > np.pi - 0.2 else "on its way"
    return (
        f"The pole is {where}, {angle:.2f} rad from the upright, the cart at {x[0]:.2f} m; velocities {x[2]:.2f} m/s "
        f"and {x[3]:.2f} rad/s, force {force:.1f} N."
    )
