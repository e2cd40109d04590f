"""A figure that is drawn once and then only touched up: what makes live pictures fast.

Drawing a Matplotlib figure costs 25 ms or more, most of it for axes, ticks and labels that do not change. A `Canvas`
keeps these as a bitmap and draws only the few artists that moved on top of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from mpcrl_course.figures.style import COLOURS, STYLE

#: Live pictures are smaller than printed ones: smaller type, and axes placed by hand (nothing may jump).
LIVE_STYLE: dict[Any, Any] = STYLE | {
    "figure.constrained_layout.use": False, "figure.facecolor": "white", "font.size": 9.5, "axes.labelsize": 9.5,
    "axes.titlesize": 9.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5,
}  # fmt: skip


class Canvas:
    """A persistent figure of `width` x `height` pixels, in three layers.

    Base: all that is not animated (axes, labels, what never changes). Middle: artists that change seldom, drawn by
    `layer`. Top: artists that change with every frame, drawn by `frame`. Make artists of the two upper layers with
    ``animated=True``; the figure's type is that of `LIVE_STYLE` (make axes and artists within ``canvas.style()``).

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    width, height : int
    """

    def __init__(self, width: int = 800, height: int = 400):
        self.width, self.height = width, height
        with self.style():
            self.figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        self._agg = FigureCanvasAgg(self.figure)
        self._base = self._middle = None

    def style(self):
        """Return a context in which new axes and artists get the style of live pictures."""
        return matplotlib.rc_context(LIVE_STYLE)

    def axes(self, x, y, width, height, title="", left="", right="", pads=(4, 4, 6), bounds=(), **options) -> Axes:
        """Return new axes by their lower left corner x, y and size in pixels; `options` as `Axes.set` takes them.

        A `title` stands in the middle, others `left` and `right`; `pads` are the distances of x label, y label and
        titles in points, `bounds` the levels of dashed lines across.
        """
        ax = self.figure.add_axes((x / self.width, y / self.height, width / self.width, height / self.height))
        ax.xaxis.labelpad, ax.yaxis.labelpad, above = pads
        ax.set(**options)
        ax.set_title(title, pad=above)
        ax.set_title(left, loc="left", pad=above)
        ax.set_title(right, loc="right", pad=above)
        for bound in bounds:
            ax.axhline(bound, color="black", linestyle="--", linewidth=1, marker="")
        return ax

    def curve(self, ax: Axes, colour: str, line: str = "-", **options) -> Line2D:
        """Return an animated line on the axes ax, without data.

        `colour` is a name in `COLOURS` or known to Matplotlib; `line` is the style, and `options` are those of
        `Axes.plot`.
        """
        look: dict[str, Any] = {"color": COLOURS.get(colour, colour), "linestyle": line, "marker": "", "markevery": 1}
        look |= options
        return ax.plot([], [], animated=True, **look)[0]

    def image(self, ax: Axes, extent, bar: tuple, ticks=None, **options) -> tuple[AxesImage, Axes]:
        """Return an animated image over `extent` of the axes ax, without data, and the axes of its colour bar.

        `bar` are their x, y, width and height in pixels, `ticks` the levels that are marked there; `options` are those
        of `Axes.imshow`.
        """
        look: dict[str, Any] = {"origin": "lower", "aspect": "auto", "animated": True}
        look |= {"interpolation": "bilinear", "interpolation_stage": "data"} | options
        image, bar_axes = ax.imshow(np.zeros((2, 2)), extent=extent, **look), self.axes(*bar)
        ax.grid(False)
        self.figure.colorbar(image, cax=bar_axes, ticks=ticks)
        return image, bar_axes

    def text(self, x: float, y: float, words: str, **options) -> Text:
        """Return words on the figure, at x, y in pixels; `options` are those of `Figure.text`."""
        return self.figure.text(x / self.width, y / self.height, words, **options)

    def legend(self, handles: list, x: float, y: float, **options) -> None:
        """Write a legend of `handles` outside of all axes, its upper left corner at x, y in pixels.

        There it belongs to the base. On top of axes a frame would draw it, which costs more than all else in a frame.
        `options` are those of `Figure.legend`.
        """
        look: dict[str, Any] = {"loc": "upper left", "frameon": False, "borderaxespad": 0.2} | options
        self.figure.legend(handles=handles, bbox_to_anchor=(x / self.width, y / self.height), **look)

    def layer(self, artists: Iterable[Artist] = (), redraw_base: bool = False) -> None:
        """Draw the middle layer, on top of the base (drawn the first time, and when `redraw_base`)."""
        if self._base is None or redraw_base:
            with self.style():
                self._agg.draw()
            self._base = self._agg.copy_from_bbox(self.figure.bbox)
        self._agg.restore_region(self._base)
        self._draw(artists)
        self._middle = self._agg.copy_from_bbox(self.figure.bbox)

    def frame(self, artists: Iterable[Artist]) -> bytes:
        """Draw the top layer, on top of base and middle, and return the picture as JPEG."""
        if self._middle is None:
            self.layer()
        self._agg.restore_region(self._middle)
        self._draw(artists)
        # RGBX: the encoder skips the fourth byte itself, which saves a copy of the picture
        picture = Image.frombuffer("RGBX", self._agg.get_width_height(), self._agg.buffer_rgba(), "raw", "RGBX", 0, 1)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=88, subsampling=0)
        return buffer.getvalue()

    def _draw(self, artists):
        for artist in artists:
            (artist.axes or self.figure).draw_artist(artist)


class Scene:
    """What draws a loop: its ``draw(loop)`` returns the picture as JPEG, its ``describe(loop)`` the same in words.

    Parameters
    ----------
    width : int
        In pixels; the height is `SHAPE` times as much.

    Attributes
    ----------
    canvas : Canvas
    """

    SHAPE = 0.5

    def __init__(self, width: int = 800):
        height = round(self.SHAPE * width)
        self.canvas = Canvas(width, height)
        with self.canvas.style():
            self._make(self.canvas, width, height)

    def _make(self, canvas: Canvas, width: int, height: int) -> None:
        """Make all axes and artists."""
        raise NotImplementedError
