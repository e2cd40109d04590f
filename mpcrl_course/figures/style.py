"""One style for all figures of the course, and pictures that come with a description.

Colours are those of Okabe & Ito (safe for colour-blind readers); line styles and markers change along with them,
so that curves stay apart in grey, too.
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import display

#: The colours of Okabe & Ito by name, in the order in which curves get them (yellow is too pale for lines on white).
COLOURS = {
    "blue": "#0072B2", "vermilion": "#D55E00", "green": "#009E73", "purple": "#CC79A7",
    "orange": "#E69F00", "sky": "#56B4E9", "black": "#000000",
}  # fmt: skip
LINES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), "-"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]

STYLE: dict[Any, Any] = {
    # a marker about every eighth of the axes' diagonal, however many points a curve has
    "axes.prop_cycle": cycler(color=list(COLOURS.values())) + cycler(linestyle=LINES) + cycler(marker=MARKERS)
    + cycler(markevery=[0.12] * len(MARKERS)),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.labelsize": 11,
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (7.0, 3.6),
    "font.size": 11,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "image.cmap": "cividis",  # of costs, everywhere: dark is cheap; what has a sign is drawn in PuOr
    "legend.fontsize": 10,
    "legend.framealpha": 0.9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}  # fmt: skip


def use_style() -> None:
    """Use the course's style for every figure made from here on; called in each lecture's import cell."""
    plt.rcParams.update(STYLE)


def show(fig, description: str) -> None:
    """Display a figure in the notebook with a caption, which also tells those who cannot see it, and close it.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    description : str
        What the picture shows, in words and measured numbers (pass an f-string with the numbers that were drawn).
        It stands below the picture, and is its alt text: a screen reader reads it once.

    Raises
    ------
    ValueError
        The description is empty.
    """
    text = " ".join(str(description).split())
    if not text:
        raise ValueError("describe the figure: show(fig, f'what it shows, with its numbers')")
    buffer = io.BytesIO()
    # drawn finer than shown, for sharp text on screens of high resolution
    fig.savefig(buffer, format="png", dpi=1.5 * fig.dpi)
    plt.close(fig)
    width = round(fig.get_figwidth() * fig.dpi)
    data = base64.b64encode(buffer.getvalue()).decode()
    image = f'<img src="data:image/png;base64,{data}" width="{width}" alt="{html.escape(text)}" style="max-width:100%">'
    below = f'<figcaption aria-hidden="true" style="font-size:90%">{html.escape(text)}</figcaption>'
    figure = f'<figure style="margin:0;max-width:{width}px">{image}{below}</figure>'
    display({"text/html": figure, "text/plain": text}, raw=True)


def band(ax, x, runs, label: str | None = None, coverage: float = 0.95, **line):
    """Draw several runs as their median and a band, and return the median's line.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (n,)
    runs : array_like, shape (seeds, n)
        One row for each seed; NaN where a run has no value.
    label : str, optional
    coverage : float
        Share of the seeds, at each x, that the band holds: 0.95 from the 2.5th to the 97.5th percentile, 1.0 from
        the lowest to the highest (the honest choice for less than about twenty seeds).
    **line
        For `Axes.plot`: colour, line style ….

    Raises
    ------
    ValueError
        `runs` does not have one column for each x, or `coverage` is not in (0, 1].
    """
    x, runs = np.asarray(x, dtype=float), np.asarray(runs, dtype=float)
    if runs.ndim != 2 or x.shape != runs.shape[1:]:
        raise ValueError(f"runs has shape {runs.shape}, but needs (seeds, {x.size}): one column for each x")
    if not 0.0 < coverage <= 1.0:
        raise ValueError(f"coverage is {coverage}, but must be in (0, 1]")
    low, middle, high = np.nanquantile(runs, [(1 - coverage) / 2, 0.5, (1 + coverage) / 2], axis=0)
    (median,) = ax.plot(x, middle, label=label, **line)
    ax.fill_between(x, low, high, color=median.get_color(), alpha=0.2, linewidth=0)
    return median
