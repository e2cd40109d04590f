"""Text that shows itself: HTML in a notebook, the same words as plain text elsewhere."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from numbers import Integral, Real
from os import PathLike
from textwrap import dedent
from typing import Any

import numpy as np

from mpcrl_course.statistics import Bounds, Interval

#: Numbers with an interval; what else the columns of their CSV are called.
UNSURE: dict[type, tuple[str, ...]] = {Interval: ("±",), Bounds: ("low", "high")}


@dataclass(frozen=True)
class Card:
    """A few lines that show themselves in a notebook and print as text.

    Parameters
    ----------
    heading
        First words, bold.
    sentence
        What follows them.
    details
        Labelled lines.
    footer
        Last lines.
    colour
        Of the bar at the left; it carries no meaning the words do not.
    """

    heading: str
    sentence: str = ""
    details: Sequence[tuple[str, str]] = ()
    footer: Sequence[str] = ()
    colour: str = "#767676"

    def __str__(self) -> str:
        width = max((len(label) for label, _ in self.details), default=0)
        lines = [f"{self.heading}. {self.sentence}".strip()]
        lines += [f"    {label:<{width}}  {text}" for label, text in self.details]
        return "\n".join(lines + [f"    {line}" for line in self.footer])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(label)}</th>'
            f'<td style="text-align:left"><code>{escape(text)}</code></td></tr>'
            for label, text in self.details
        )
        return (
            f'<div role="status" style="border-left:4px solid {self.colour};padding:2px 10px">'
            f"<b>{escape(self.heading)}.</b> {escape(self.sentence)}"
            + (f"<table>{rows}</table>" if rows else "")
            + "".join(f"<div><i>{escape(line)}</i></div>" for line in self.footer)
            + "</div>"
        )


@dataclass(frozen=True)
class Table:
    """A small table that shows itself in a notebook and prints as text; columns of numbers are flush right.

    Parameters
    ----------
    caption
        A line above it.
    header
        Of each column, with the unit of its numbers: "time (ms)".
    rows
        Each as long as the header: texts, numbers, `Interval`s, `Bounds`, or None where there is nothing. They are kept
        as they are given, so that `rows` has every digit.
    formats
        How the numbers of a column are written, by its head: {"time (ms)": ".1f"}. By default all have as many places
        as give the largest three digits and the smallest two.

    Raises
    ------
    ValueError
        A row is not as long as the header, or a format is for a column that is not there.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    formats: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        wrong = [row for row in self.rows if len(row) != len(self.header)]
        if wrong:
            raise ValueError(f"a row has {len(wrong[0])} entries, but the header {len(self.header)}: {wrong[0]}")
        if set(self.formats) - set(self.header):
            raise ValueError(f"no column is called {sorted(set(self.formats) - set(self.header))[0]!r}")

    def __str__(self) -> str:
        lines = [list(self.header), *self._texts()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        sides = [">" if right else "<" for right in self._right()]
        text = [
            "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.caption, text[0], "  ".join("-" * width for width in widths), *text[1:]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        right = self._right()

        def line(cells, tag, scope=""):
            inside = ""
            for cell, flush in zip(cells, right, strict=True):
                style = ("right;white-space:nowrap" if tag == "td" else "right") if flush else "left"
                inside += f'<{tag}{scope} style="text-align:{style}">{escape(cell)}</{tag}>'
            return f"<tr>{inside}</tr>"

        head, rows = line(self.header, "th", ' scope="col"'), "".join(line(cells, "td") for cells in self._texts())
        caption = f'<caption style="caption-side:top;text-align:left">{escape(self.caption)}</caption>'
        return f"<table>{caption}<thead>{head}</thead><tbody>{rows}</tbody></table>"

    def csv(self) -> str:
        """Return the rows as comma-separated values, every digit; what is said of an interval has its own columns."""
        columns = [[type(row[k]) for row in self.rows] for k in range(len(self.header))]
        kinds = [next((kind for kind in UNSURE if kind in column), None) for column in columns]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in [self.header, *self.rows]:
            line: list[Any] = []
            for cell, kind in zip(row, kinds, strict=True):
                rest = [f"{cell}, {name}" if row is self.header else None for name in (UNSURE[kind] if kind else ())]
                line += list(cell) if isinstance(cell, (Interval, Bounds)) else [cell, *rest]
            writer.writerow(line)
        return text.getvalue()

    def to_csv(self, path: str | PathLike) -> None:
        """Write `csv` to the file `path`."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(self.csv())

    def _right(self) -> list[bool]:
        # Which columns hold numbers, and nothing else.
        columns = [[row[k] for row in self.rows if row[k] is not None] for k in range(len(self.header))]
        return [
            bool(column) and all(isinstance(cell, (Real, *UNSURE)) and not isinstance(cell, bool) for cell in column)
            for column in columns
        ]

    def _texts(self) -> list[list[str]]:
        columns = [[row[k] for row in self.rows] for k in range(len(self.header))]
        forms = [self.formats.get(head) or _form(column) for head, column in zip(self.header, columns, strict=True)]
        return [[_written(cell, form) for cell, form in zip(row, forms, strict=True)] for row in self.rows]


def _form(column: Sequence[Any]) -> str:
    # So many places for all that the largest number has three digits and the smallest two; if they differ too much
    # for this, three digits for each.
    floats = [cell for cell in column if isinstance(cell, Real) and not isinstance(cell, Integral)]
    sizes = [abs(float(cell)) for cell in floats if cell and np.isfinite(float(cell))]
    if not sizes:
        return ".0f" if floats else ""
    low, high = (int(np.floor(np.log10(size))) for size in (min(sizes), max(sizes)))
    return f".{max(0, 2 - high, 1 - low)}f" if high - low <= 3 and -4 <= high < 6 else ".3g"


def _written(cell: Any, form: str) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, (bool, np.bool_)):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return cell
    text = format(cell, form) if isinstance(cell, Integral) or not isinstance(cell, Real) else format(float(cell), form)
    return text[1:] if re.fullmatch(r"-0[.0]*%?", text) else text  # what rounds to zero has no sign


@dataclass(frozen=True)
class Pseudocode:
    """A method in numbered lines; shows itself as a box in a notebook and prints as text.

    Parameters
    ----------
    title
        Of the box.
    text
        The lines; what a line is indented by is kept, blank lines are not.
    """

    title: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines, without what all of them are indented by."""
        return [line.rstrip() for line in dedent(self.text).splitlines() if line.strip()]

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"{k:3d}  {line}" for k, line in enumerate(self.lines, 1))])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # an ordered list, which a screen reader counts; non-breaking blanks keep the indentation
        lines = ""
        for line in self.lines:
            words = line.lstrip()
            lines += f"<li>{'&nbsp;' * (len(line) - len(words))}{escape(words)}</li>"
        listed = f'<ol style="font-family:monospace;margin:4px 0;padding-left:3em">{lines}</ol>'
        box = "border:1px solid #767676;padding:4px 10px;display:inline-block;max-width:100%"
        return f'<div style="{box}"><b>{escape(self.title)}</b>{listed}</div>'
