"""Text that shows itself: HTML in a notebook, the same words as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


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
    """A small table that shows itself in a notebook and prints as text.

    Parameters
    ----------
    caption
        A line above it.
    header, rows
        Texts; all rows as long as the header.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [list(self.header), *map(list, self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        text = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([self.caption, text[0], "  ".join("-" * width for width in widths), *text[1:]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="text-align:left">{escape(cell)}</th>' for cell in self.header)
        rows = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{escape(self.caption)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
