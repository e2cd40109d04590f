"""Drawn diagrams: boxes and arrows in one style, and those that lectures share, each with the box in question lit.

course_boxes(lit="critic")          the map of the field, one box lit
diagram({"mpc": Box(1, 1, "MPC"), "plant": Box(4, 1, "plant")}, [Arrow("mpc", "plant", "u")], "An MPC acts …")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from mpcrl_course.figures.style import COLOURS, STYLE, show

#: Width of a diagram in inches: 640 pixels.
WIDTH = 6.4


class Box(NamedTuple):
    """A box of a diagram.

    Attributes
    ----------
    x, y : float
        Its centre, in inches from the lower left corner of a picture 6.4 inches wide.
    text : str
        A line or two; $…$ is mathematics.
    width, height : float
        In inches; of no width it is a point at which arrows begin and end.
    """

    x: float
    y: float
    text: str = ""
    width: float = 1.2
    height: float = 0.56


class Arrow(NamedTuple):
    """An arrow of a diagram.

    Attributes
    ----------
    start, end : str
        Keys of boxes.
    text : str
        Written beside the middle of its longest part: above one that is level, to the right of others.
    via : tuple of (x, y)
        Corners on its way.
    learns : bool
        Dashed: it carries what is learned from, not a signal of the loop.
    below : bool
        The text stands below, or to the left.
    """

    start: str
    end: str
    text: str = ""
    via: tuple[tuple[float, float], ...] = ()
    learns: bool = False
    below: bool = False


def draw(boxes: Mapping[str, Box], arrows: Sequence[Arrow], lit: str | Sequence[str] = ()) -> Figure:
    """Draw a diagram, and return it without showing it.

    Parameters
    ----------
    boxes : mapping of str to Box
    arrows : sequence of Arrow
    lit : str or sequence of str
        Keys of the boxes in question: filled, with a thick border and bold text.

    Raises
    ------
    ValueError
        An arrow, or `lit`, names a box that is not there.
    """
    lit = [lit] if isinstance(lit, str) else list(lit)
    for key in [*lit, *(end for arrow in arrows for end in (arrow.start, arrow.end))]:
        if key not in boxes:
            raise ValueError(f"no box is called {key!r}; there are {', '.join(boxes)}")
    points = [(box.y - box.height / 2, box.y + box.height / 2) for box in boxes.values()]
    points += [(y, y) for arrow in arrows for _, y in arrow.via]
    low, high = min(p[0] for p in points) - 0.25, max(p[1] for p in points) + 0.25
    with plt.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(WIDTH, high - low))
        ax = fig.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(low, high))
        ax.set_axis_off()
        for key, box in boxes.items():
            if box.width:
                _draw_box(ax, box, key in lit)
        for arrow in arrows:
            _draw_arrow(ax, boxes, arrow)
    return fig


def diagram(boxes: Mapping[str, Box], arrows: Sequence[Arrow], caption: str, lit: str | Sequence[str] = ()) -> None:
    """Show a diagram with a caption that says in words what the `boxes` and `arrows` say.

    Parameters
    ----------
    boxes, arrows, lit
        As in `draw`.
    caption : str
        Visible, and the alt text; which boxes are lit is added.
    """
    keys = [lit] if isinstance(lit, str) else list(lit)
    show(draw(boxes, arrows, lit), caption + (f" Lit: {' and '.join(keys)}." if keys else ""))


def _draw_box(ax, box: Box, lit: bool) -> None:
    edge = COLOURS["vermilion"] if lit else "#555555"
    ax.add_patch(
        FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2), box.width, box.height,
            boxstyle="round,pad=0,rounding_size=0.06", facecolor="#FFE9B8" if lit else "white", edgecolor=edge,
            linewidth=2.6 if lit else 1.1, zorder=2,
        )
    )  # fmt: skip
    weight = "bold" if lit else "normal"
    ax.text(box.x, box.y, box.text, ha="center", va="center", fontsize=10, weight=weight, zorder=3, gid="box")


def _draw_arrow(ax, boxes: Mapping[str, Box], arrow: Arrow) -> None:
    path = route(boxes, arrow)
    colour = COLOURS["blue"] if arrow.learns else "#222222"
    ax.add_patch(
        FancyArrowPatch(
            path=Path(path), arrowstyle="-|>", mutation_scale=12, color=colour, linewidth=1.4, joinstyle="round",
            linestyle=(0, (4, 2)) if arrow.learns else "-", shrinkA=0, shrinkB=0, zorder=1,
        )
    )  # fmt: skip
    if arrow.text:
        lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
        k = int(lengths.argmax())
        middle, along = (path[k] + path[k + 1]) / 2, np.abs(path[k + 1] - path[k])
        side = -1 if arrow.below else 1
        level = along[1] < 0.3 * along[0]
        place: dict[str, Any] = {"va": "top" if arrow.below else "bottom", "ha": "center"}
        if not level:
            place = {"va": "center", "ha": "right" if arrow.below else "left"}
        x, y = middle + side * np.array([0.0, 0.05] if level else [0.07, 0.0])
        ax.text(x, y, arrow.text, fontsize=10, color=colour, zorder=3, gid="arrow", **place)


def route(boxes: Mapping[str, Box], arrow: Arrow) -> np.ndarray:
    """Return the corners of the way of an `arrow` between its `boxes`, from border to border, shape (n, 2).

    It is level or upright between boxes that are beside or above each other, and straight across their borders.
    """
    start, end = boxes[arrow.start], boxes[arrow.end]
    corners = [np.array(corner, dtype=float) for corner in arrow.via]
    if corners:
        return np.array([_border(start, corners[0]), *corners, _border(end, corners[-1])])
    centres, halves = np.array([start[:2], end[:2]], dtype=float), np.array([start[3:], end[3:]]) / 2
    low, high = (centres - halves).max(axis=0), (centres + halves).min(axis=0)
    first, last = np.where(low <= high, (low + high) / 2, centres)  # what both of them span, they share
    return np.array([_border(start, last), _border(end, first)])


def _border(box: Box, towards: np.ndarray) -> np.ndarray:
    # Where an arrow meets a box: straight across its side if `towards` is beside or above it, else towards its centre.
    half = np.array([box.width, box.height]) / 2
    away = towards - (box.x, box.y)
    beside = np.abs(away) <= half
    if beside.all() or not half.any():
        return np.array([box.x, box.y], dtype=float)
    if beside.any():
        return (box.x, box.y) + np.where(beside, away, np.sign(away) * half)
    return (box.x, box.y) + away * np.min(half / np.abs(away))


#: The map of the field: what an MPC can be around a learned policy, and the lecture about it.
FIELD: tuple[dict[str, Box], list[Arrow]] = (
    {
        "expert": Box(2.75, 3.0, "expert actor\nMPC teaches (08)", 1.6),
        "before": Box(0.95, 1.9, "before\nreference (10)", 1.35),
        "policy": Box(2.75, 1.9, "deployed policy\nMPC acts (05–07)", 1.6),
        "after": Box(4.45, 1.9, "after\nsafety filter (10)", 1.4),
        "plant": Box(5.85, 1.9, "plant", 0.8),
        "critic": Box(2.75, 0.8, "critic\nMPC judges (09)", 1.6),
    },
    [
        Arrow("before", "policy"),
        Arrow("policy", "after"),
        Arrow("after", "plant", "$a$"),
        Arrow("expert", "policy", "imitate", learns=True),
        Arrow("critic", "policy", "improve", learns=True),
        Arrow("plant", "critic", "$s$, $a$, cost", via=((5.85, 0.8),)),
        Arrow("plant", "before", "$s$, also to policy, filter and expert", via=((5.85, 0.2), (0.95, 0.2))),
    ],
)

LOOP: tuple[dict[str, Box], list[Arrow]] = (
    {
        "controller": Box(1.4, 1.5, "controller\n$u = \\pi(y)$", 1.5),
        "plant": Box(4.4, 1.5, "plant\n$x^+ = f(x, u, e)$", 1.6),
        "measurement": Box(4.4, 0.5, "measurement", 1.3, 0.4),
        "e": Box(4.4, 2.2, width=0.0, height=0.0),
        "noise": Box(6.1, 0.5, width=0.0, height=0.0),
    },
    [
        Arrow("controller", "plant", "input $u$"),
        Arrow("e", "plant", "disturbance $e$"),
        Arrow("plant", "measurement", "state $x$"),
        Arrow("noise", "measurement", "noise"),
        Arrow("measurement", "controller", "measured $y$", via=((1.4, 0.5),)),
    ],
)

ACTOR_CRITIC: tuple[dict[str, Box], list[Arrow]] = (
    {
        "actor": Box(1.3, 1.9, "actor\n$a = \\mu_\\theta(s)$", 1.5),
        "plant": Box(5.0, 1.9, "plant"),
        "memory": Box(5.0, 0.6, "memory"),
        "critic": Box(1.3, 0.6, "critic\n$Q_w(s, a)$", 1.5),
    },
    [
        Arrow("actor", "plant", "action $a$"),
        Arrow("plant", "actor", "state $s$", via=((5.0, 2.6), (1.3, 2.6))),
        Arrow("plant", "memory", "$(s, a, L, s^+)$", below=True),
        Arrow("memory", "critic", "batches: $\\delta$", learns=True),
        Arrow("critic", "actor", "$\\nabla_a Q_w$", learns=True),
    ],
)


#: A step of three agents that plan and learn on a line: what is sent over a link, and how often.
MESSAGES: tuple[dict[str, Box], list[Arrow]] = (
    {
        "agent 1": Box(0.85, 1.75, "agent 1\n$\\theta_1$, memory", 1.2, 0.66),
        "agent 2": Box(3.2, 1.75, "agent 2\n$\\theta_2$, memory", 1.2, 0.66),
        "agent 3": Box(5.55, 1.75, "agent 3\n$\\theta_3$, memory", 1.2, 0.66),
        "plant 1": Box(0.85, 0.5, "plant 1", 1.2, 0.46),
        "plant 2": Box(3.2, 0.5, "plant 2", 1.2, 0.46),
        "plant 3": Box(5.55, 0.5, "plant 3", 1.2, 0.46),
    },
    [
        Arrow("agent 1", "agent 2", "$c$ there, $z$ back: 50 times", via=((1.1, 2.5), (2.95, 2.5))),
        Arrow("agent 2", "agent 3", "$c$ there, $z$ back: 50 times", via=((3.45, 2.5), (5.3, 2.5))),
        Arrow("agent 2", "agent 1", "$\\delta$, 35 times", learns=True),
        Arrow("agent 3", "agent 2", "$\\delta$, 35 times", learns=True),
        Arrow("agent 1", "plant 1", "$u$; $x$, $L$"),
        Arrow("agent 2", "plant 2", "$u$; $x$, $L$"),
        Arrow("agent 3", "plant 3", "$u$; $x$, $L$"),
        Arrow("plant 1", "plant 2", "push"),
        Arrow("plant 2", "plant 3", "push"),
    ],
)


def message_boxes(lit: str | Sequence[str] = ()) -> None:
    """Show who sends what to whom in a step of distributed learning; `lit` are boxes of `MESSAGES`."""
    caption = (
        "Who sends what to whom, when. In each step every agent measures its own plant, which its neighbours' plants "
        "push. Then, over every link and both ways: first copies of plans and what was agreed on, c and z, some fifty "
        "times (ADMM; solid); then shares of the TD error δ, some 35 times (average consensus; dashed). Then each sets "
        "its own input. Parameters θ, models, costs and memories are never sent, and nobody stands in the middle."
    )
    diagram(*MESSAGES, caption, lit)


def course_boxes(lit: str | Sequence[str] = ()) -> None:
    """Show the map of the field; `lit` are those of the boxes of `FIELD` that the lecture is about."""
    caption = (
        "The map of the field. Around a plant, an MPC can be an expert actor, whose actions the policy imitates "
        "(lecture 08); a generator of references before the policy (10); the deployed policy itself (05 to 07); a "
        "safety filter after it (10); the critic that judges its actions (09). Solid arrows are signals of the loop, "
        "dashed ones what the policy learns from."
    )
    diagram(*FIELD, caption, lit)


def closed_loop_boxes(lit: str | Sequence[str] = ()) -> None:
    """Show the closed loop of controller and plant; `lit` are those of the boxes of `LOOP` that a text is about."""
    caption = (
        "The closed loop: the controller sends the input u to the plant, which a disturbance e acts upon, too; its "
        "state x is measured with noise as y, and y is all that the controller sees."
    )
    diagram(*LOOP, caption, lit)


def actor_critic_boxes(lit: str | Sequence[str] = ()) -> None:
    """Show who acts, who judges, and what each learns from; `lit` are boxes of `ACTOR_CRITIC`."""
    caption = (
        "Actor and critic: the actor sends the action a to the plant; the transition (s, a, L, next s), with the cost "
        "L, goes into a memory; from batches of it the critic learns by its temporal-difference error δ what an action "
        "costs, and the actor follows the critic's gradient in a (both dashed)."
    )
    diagram(*ACTOR_CRITIC, caption, lit)
