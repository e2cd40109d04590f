"""A lecture as slides: one HTML file that asks nothing of any other machine.

reveal.js moves the slides, KaTeX sets the formulas; both, with the fonts, are in `vendor/` and go into the file. Cells
have their roles from the notebook (slide, subslide, fragment, notes, skip). Of cells without a role

    a heading of the first or second order begins a slide, one of a lower order a slide below it;
    any other cell follows the one before.

A cell without a role that only imports is left out. In either case there are four cells at most on a slide, and a new
one begins where it would be too full.

Code that only plots (folded in the notebook), or only calls what shows something, is left out, and what it shows stays;
of printed output `LONGEST` lines. A widget stands as it stood when the lecture had run, a progress bar not at all. What
the notebook skips in its text becomes a note for the speaker, who sees notes after pressing S; so do the moments at
which the room is to guess.
"""

from __future__ import annotations

import ast
import base64
import re
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from mpcrl_course.slides.static import VIEW, shown, states_of

HERE = Path(__file__).resolve().parent
#: Cells on a slide, at most; and lines of text, as far as they can be counted: of cells without a role, and of others.
CELLS, LINES, FULL = 4, 26, 36
#: A cell that only calls one of these, or is a widget, is told by what it shows.
SHOWS = {"predict", "Pseudocode", "diagram", "course_boxes", "closed_loop_boxes", "actor_critic_boxes", "tally"}
#: Lines of printed output that are shown.
LONGEST = 25
ROLES = ("slide", "subslide", "fragment", "skip", "notes")


class Deck(NamedTuple):
    """Slides.

    Attributes
    ----------
    html : str
        The file.
    slides : int
        How many.
    without_role : int
        Cells that have none in the notebook.
    """

    html: str
    slides: int
    without_role: int


def deck(notebook: Any, name: str) -> Deck:
    """Return a `notebook` that has run (an nbformat node) as slides, in a file called `name`."""
    from nbconvert.exporters import SlidesExporter

    book = deepcopy(notebook)
    book.cells = [cell for cell in book.cells if cell.source.strip() or cell.get("outputs")]
    states = states_of(book)
    for cell in book.cells:
        _still(cell, states)
    book.metadata.pop("widgets", None)
    without = _give_roles(book.cells)
    _take_notes(book)
    exporter = SlidesExporter(extra_template_paths=[str(HERE)], template_file="deck.html.j2")
    course = {"title": _title(book, name), "css": _styles(exporter), "js": _scripts()}
    html, _ = exporter.from_notebook_node(book, {"metadata": {"name": name}, "course": course})
    slides = sum(role_of(cell) in ("slide", "subslide") for cell in book.cells)
    return Deck(html, slides, without)


def role_of(cell) -> str:
    """Return the slide role of a `cell`, '' if it has none."""
    role = cell.metadata.get("slideshow", {}).get("slide_type", "")
    return role if role in ROLES else ""


# ---- cells


def _still(cell, states) -> None:
    """Make of a cell what can be shown without a kernel."""
    if cell.cell_type != "code":
        return
    outputs = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            lines = output.text.rstrip().splitlines()
            output.text = "\n".join(lines[:LONGEST] + ["…"] * (len(lines) > LONGEST))
        elif VIEW in data:
            html = shown(data[VIEW]["model_id"], states)
            if not html:
                continue
            output.data = type(data)({"text/html": html})
        outputs.append(output)
    cell.outputs = outputs
    if cell.metadata.get("jupyter", {}).get("source_hidden") or only_shows(cell.source):
        cell.metadata["transient"] = {"remove_source": True}


def only_shows(source: str) -> bool:
    """Return whether the `source` of a cell, but for imports, is one call that shows something: it teaches nothing."""
    try:
        lines = [line for line in ast.parse(source).body if not isinstance(line, (ast.Import, ast.ImportFrom))]
    except SyntaxError:
        return False
    call = lines[0].value if len(lines) == 1 and isinstance(lines[0], ast.Expr) else None
    name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
    return name in SHOWS or name.endswith("_live")


def only_imports(source: str) -> bool:
    """Return whether the `source` of a cell does nothing but import, and choose the style of figures."""
    try:
        lines = ast.parse(source).body
    except SyntaxError:
        return False
    return all(isinstance(line, (ast.Import, ast.ImportFrom)) or ast.unparse(line) == "use_style()" for line in lines)


def _give_roles(cells) -> int:
    """Give a role to each cell that has none, and begin a slide anew after four cells; return how many had none."""
    without, on_slide, lines = 0, 0, 0
    for k, cell in enumerate(cells):
        role, size = role_of(cell), _lines(cell)
        if not role:
            without += 1
            heading = re.match(r"(#+) ", cell.source) if cell.cell_type == "markdown" else None
            role = "-"
            if k == 0 or (heading and len(heading[1]) <= 2):
                role = "slide"
            elif heading or lines + size > LINES:
                role = "subslide"
            elif cell.cell_type == "code" and not cell.get("outputs"):
                if cell.metadata.get("transient") or only_imports(cell.source):
                    role = "skip"  # nothing to see
        if role in ("fragment", "-") and (on_slide >= CELLS or lines + size > FULL):
            role = "subslide"
        if role in ("slide", "subslide"):
            on_slide, lines = 0, 0
        if role in ("slide", "subslide", "fragment", "-"):
            on_slide, lines = on_slide + 1, lines + size
        cell.metadata["slideshow"] = {"slide_type": role}
    return without


def _lines(cell) -> int:
    """Return about how many lines of a slide a cell takes."""
    if cell.cell_type != "code":
        return sum(1 + len(line) // 100 for line in cell.source.splitlines() if line.strip())
    lines = 0 if cell.metadata.get("transient") else len(cell.source.splitlines())
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if output.output_type == "stream":
            lines += len(output.text.splitlines())
        elif any(kind.startswith("image/") for kind in data) or "<img" in data.get("text/html", ""):
            lines += 14
        else:
            html = data.get("text/html", "")
            lines += html.count("<tr") + html.count("<li") or len(data.get("text/plain", "").splitlines())
    return lines


def _take_notes(book) -> None:
    """Make notes for the speaker: of skipped text, of widgets, and of where the room is to guess."""
    from nbformat.v4 import new_markdown_cell

    cells: list[Any] = []
    for cell in book.cells:
        note = ""
        if role_of(cell) == "skip" and cell.cell_type == "markdown" and cells:
            note = cell.source
        elif role_of(cell) not in ("skip", "notes") and cell.cell_type == "code":
            guesses = len(re.findall(r"^predict\(", cell.source, re.M))
            live = "live" in cell.metadata.get("tags", [])
            note = "\n\n".join(
                ["Let the room commit to a guess, in words or by a show of hands, before the next slide."]
                * bool(guesses)
                + ["This widget lives in the notebook: open the lecture in JupyterLab beside the slides."] * live
            )
        cells.append(cell)
        if note:
            extra = new_markdown_cell(note, metadata={"slideshow": {"slide_type": "notes"}})
            cells.append(extra)
    book.cells = cells


def _title(book, name: str) -> str:
    heading = re.search(r"^# (.*)", "\n".join(c.source for c in book.cells if c.cell_type == "markdown"), re.M)
    return heading[1].strip() if heading else name


# ---- what goes into the file


def _read(path: str) -> str:
    return (HERE / path).read_text(encoding="utf-8")


def _styles(exporter) -> str:
    """Return all style sheets as one, the fonts inside."""
    from pygments.formatters import HtmlFormatter

    def font(found: re.Match) -> str:
        file = HERE / "vendor" / "katex" / "fonts" / f"{found[1]}.woff2"
        if not file.is_file():
            return found[0].split("src:")[0] + "src:local('serif')}"
        data = base64.b64encode(file.read_bytes()).decode()
        return found[0].split("src:")[0] + f'src:url(data:font/woff2;base64,{data}) format("woff2")}}'

    katex = re.sub(r"@font-face\{[^}]*url\(fonts/([\w-]+)\.woff2\)[^}]*\}", font, _read("vendor/katex/katex.min.css"))
    code = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    return "\n".join([_read("vendor/reveal/reveal.css"), katex, code, _read("deck.css")])


def _scripts() -> str:
    """Return all scripts as one; none may end the element that it stands in."""
    names = ("reveal/reveal.js", "reveal/notes.js", "katex/katex.min.js", "katex/auto-render.min.js")
    text = "\n".join([*(_read(f"vendor/{name}") for name in names), _read("deck.js")])
    return re.sub(r"</(script)", r"<\\/\1", text, flags=re.I)
