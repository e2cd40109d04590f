"""A drawing of the power system: a gauge for each area, what flows between them, loads and inputs."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Circle

from mpcrl_course.envs.power import ANGLE_LIMIT
from mpcrl_course.figures.style import COLOURS

#: Colour and line of every area, in all pictures.
LOOKS = [(COLOURS["blue"], "-"), (COLOURS["vermilion"], "--"), (COLOURS["green"], "-."), (COLOURS["black"], ":")]
#: Radius of a gauge, and its height above the middle. Areas stand 1 apart.
RADIUS, HEIGHT = 0.28, 0.22
#: The hand's turn at the limit of the angle, and its largest one (rad); the arc's turn for 0.005 rad/s.
TURN, LARGEST = np.pi / 3, 0.8 * np.pi
OMEGA = 0.005
#: Foot of the bars, height of a bar of 0.3, half its width, and how far from the area's middle it stands.
FOOT, BAR, HALF, ASIDE = -0.62, 0.36, 0.07, 0.12
#: A flow of this size has the thickest arrow (per unit), of this half height.
FLOW, THICK = 0.2, 0.1


class PowerDrawing:
    """The areas in axes of their own; call `set` to show a state, then draw its `artists`.

    A gauge's hand shows the area's angle: upright is 0, to the right positive, and the marks on the rim are its limits;
    beyond them an exclamation mark stands beside the gauge. The arc around it shows the frequency deviation, to the
    right positive. Arrows between gauges show what flows, the thicker the more. Of the two bars below, the left one
    (empty) is the load, with a line as long as its noise, the right one (filled) the input, its limits drawn as lines.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Emptied of ticks; make it twice as wide as high.
    P : array_like, shape (M, M)
        Strengths of the tie lines.
    limit : array_like, shape (M,)
        Of the inputs.
    animated : bool
        Whether a `Canvas` draws the artists that move, frame by frame.

    Attributes
    ----------
    artists : list of Artist
        What moves, in drawing order.
    """

    def __init__(self, ax: Axes, P, limit, animated: bool = False):
        self.P, self.n = np.asarray(P, dtype=float), len(limit)
        ax.set(xlim=(-0.55, self.n - 0.45), ylim=(-1.18, 0.72), aspect="equal", xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        for i in range(self.n):
            colour = LOOKS[i % len(LOOKS)][0]
            if i:
                ax.plot([i - 1 + RADIUS, i - RADIUS], [HEIGHT] * 2, color="0.7", lw=1, ls="-", marker="", zorder=0)
            ax.add_patch(Circle((i, HEIGHT), RADIUS, facecolor="0.96", edgecolor=colour, linewidth=2))
            for side in (-1, 1):
                rim = np.array([[np.sin(side * TURN)], [np.cos(side * TURN)]]) * [0.82 * RADIUS, 1.12 * RADIUS]
                ax.plot(i + rim[0], HEIGHT + rim[1], color="black", lw=1.5, ls="-", marker="")
                y = FOOT + side * limit[i] / 0.3 * BAR
                ax.plot([i + ASIDE - 0.11, i + ASIDE + 0.11], [y, y], color="black", lw=1.2, ls="-", marker="")
            ax.plot([i - 0.28, i + 0.28], [FOOT, FOOT], color="0.5", lw=0.8, ls="-", marker="")
            ax.text(i, HEIGHT - 0.7 * RADIUS, str(i + 1), ha="center", va="center", color=colour, weight="bold")
            for x, word in ((i - ASIDE, "load"), (i + ASIDE, "$u$")):
                ax.text(x, -1.17, word, ha="center", va="bottom", fontsize=7.5, color="0.3")
        self._bars = [
            PolyCollection([], facecolors=colour, edgecolors="black", linewidths=1.2, animated=animated)
            for colour in ("white", COLOURS["sky"])
        ]
        self._flows = PolyCollection([], facecolors=COLOURS["orange"], edgecolors="black", linewidths=0.8,
                                     animated=animated, zorder=1)  # fmt: skip
        self._hands = LineCollection([], colors="black", linewidths=2.5, capstyle="round", animated=animated, zorder=4)
        self._noise = LineCollection([], colors="black", linewidths=1.2, animated=animated, zorder=3)
        self._arcs = LineCollection([], colors=COLOURS["purple"], linewidths=3.0, animated=animated, zorder=3)
        self.artists: list[Artist] = []
        for artist in (*self._bars, self._noise, self._flows, self._arcs, self._hands):
            ax.add_collection(artist)
            self.artists.append(artist)
        (self._beyond,) = ax.plot([], [], color=COLOURS["vermilion"], marker="$!$", markersize=11, markevery=1,
                                  markeredgewidth=1.2, linestyle="", animated=animated, zorder=5)  # fmt: skip
        self.artists.append(self._beyond)
        self.set(np.zeros((self.n, 5)), np.zeros(self.n))

    def flows(self, angle) -> np.ndarray:
        """Return the power from each area to the next, shape (M - 1,), at angles (M,)."""
        return np.diag(self.P, 1) * -np.diff(angle)

    def set(self, x, u, noise: float = 0.0) -> None:
        """Show states x (M, 5), as the plant observes them, inputs u (M,), and loads that may be off by `noise`."""
        x, u, places = np.asarray(x, dtype=float), np.asarray(u, dtype=float), np.arange(self.n)
        turn = np.clip(x[:, 0] / ANGLE_LIMIT * TURN, -LARGEST, LARGEST)
        tips = np.stack([places + 0.85 * RADIUS * np.sin(turn), HEIGHT + 0.85 * RADIUS * np.cos(turn)], axis=1)
        middles = np.stack([places, np.full(self.n, HEIGHT)], axis=1)
        self._hands.set_segments(list(np.stack([middles, tips], axis=1)))
        sweep = np.clip(x[:, 1] / OMEGA * TURN, -LARGEST, LARGEST)[:, None] * np.linspace(0.0, 1.0, 12)
        arcs = 1.25 * RADIUS * np.stack([np.sin(sweep), np.cos(sweep)], axis=2)
        self._arcs.set_segments(list(arcs + middles[:, None]))
        for bars, values, aside in zip(self._bars, (x[:, 4], u), (-ASIDE, ASIDE)):
            tops = FOOT + np.clip(values / 0.3, -1.25, 1.25) * BAR
            left, right, foot = places + aside - HALF, places + aside + HALF, np.full(self.n, FOOT)
            corners = (np.stack(sides, axis=1) for sides in ([left, right, right, left], [foot, foot, tops, tops]))
            bars.set_verts(list(np.stack(list(corners), axis=2)))
        ends = x[:, 4, None] + noise * np.array([-1.0, 1.0])
        ends = FOOT + np.clip(ends / 0.3, -1.25, 1.25) * BAR
        self._noise.set_segments([[(i - ASIDE, low), (i - ASIDE, high)] for i, (low, high) in enumerate(ends)])
        self._flows.set_verts([arrow for i, flow in enumerate(self.flows(x[:, 0])) for arrow in _arrow(i + 0.5, flow)])
        beyond = np.flatnonzero(np.abs(x[:, 0]) > ANGLE_LIMIT)
        self._beyond.set_data(beyond + 1.3 * RADIUS, np.full(len(beyond), HEIGHT + 1.1 * RADIUS))


def _arrow(x: float, flow: float) -> list[np.ndarray]:
    """Return the outline of an arrow around (x, HEIGHT) to the right if `flow` is positive; none if it is almost 0."""
    size = min(abs(flow) / FLOW, 1.0)
    if size < 0.01:
        return []
    thick, reach, sign = 0.012 + (THICK - 0.012) * size, 0.5 - 1.15 * RADIUS, np.sign(flow)
    along = sign * np.array([-reach, 0.15 * reach, 0.15 * reach, reach, 0.15 * reach, 0.15 * reach, -reach])
    across = thick * np.array([0.55, 0.55, 1.0, 0.0, -1.0, -0.55, -0.55])
    return [np.stack([x + along, HEIGHT + across], axis=1)]


def describe_power(x, u, P, limit) -> str:
    """Return the areas' states x (M, 5) and inputs u (M,), of at most `limit` (M,), in words.

    Also what flows through the tie lines P (M, M).
    """
    x, parts = np.asarray(x, dtype=float), []
    for i, (angle, omega, _, _, load) in enumerate(x):
        beyond = ", beyond its limit" if abs(angle) > ANGLE_LIMIT else ""
        parts.append(
            f"Area {i + 1}: angle {angle:.3f} rad{beyond}, frequency deviation {1e3 * omega:.1f} mrad/s, "
            f"load {load:.2f}, input {u[i]:.2f} of at most {limit[i]:.2f}."
        )
    flows = [f"{abs(flow):.2f} from {i + 1 + (flow < 0)} to {i + 2 - (flow < 0)}"
             for i, flow in enumerate(np.diag(P, 1) * -np.diff(x[:, 0]))]  # fmt: skip
    return " ".join(parts) + f" Flows: {', '.join(flows)}."
