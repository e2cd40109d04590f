"""Make `exercises/` from `solutions/`: the solved notebook is the single source of an exercise.

What is removed or changed, and nothing else:

- In a code cell, the lines from `### BEGIN SOLUTION` to `### END SOLUTION` (nbgrader's convention) become one
  line `...  # your code here` at the same indentation. Another stub may be given, and is put in as it stands,
  so that a seeded fault looks like any other code; one of several lines is written below the marker:

      ### BEGIN SOLUTION stub: answer = None
      answer = 0.81
      ### END SOLUTION

      ### BEGIN SOLUTION
      ### stub: target = cost + v_next
      ### stub: return target - q
      return cost + discount * v_next - q
      ### END SOLUTION

- A cell tagged `solution` (discussion) is removed; one tagged `your-answer` becomes "*Your answer here.*".
- In headings, "Solution" before a colon becomes "Exercise": `# Solution: …`, `# Solution 06: …`.
- A link to the blank exercise becomes one to the solution: `[exercise](../exercises/x.ipynb)` becomes
  `[solution](../solutions/x.ipynb)`.
- Outputs, execution counts and timings go; cell ids and all other metadata (nbgrader's too) stay.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

BLANK = "...  # your code here"
YOUR_ANSWER = "*Your answer here.*"

_BEGIN = re.compile(r"^(?P<indent>[ \t]*)### BEGIN SOLUTION(?:\s+stub:\s?(?P<stub>.*\S))?\s*$")
_STUB = re.compile(r"^[ \t]*### stub: ?(?P<stub>.*\S)\s*$")
_END = re.compile(r"^[ \t]*### END SOLUTION\s*$")
_MARKER_LIKE = re.compile(r"#\s*(BEGIN|END)\s*SOLUTION|###\s*stub:", re.I)
_HEADING = re.compile(r"^(#{1,6} .*?)\bSolution\b(?=\s*\d*\s*:)", re.M)
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?:\.\./)exercises/(?P<rest>[^)]*)\)")


class SolutionError(ValueError):
    """A solution notebook is malformed; the message names the file and the cell."""


def build_exercises(root: Path, force: bool = False) -> list[Path]:
    """Write all exercises of a course anew.

    Parameters
    ----------
    root
        The course's folder, holding `solutions/`.
    force
        Overwrite exercises somebody has worked in.

    Returns
    -------
    list of Path
        The files that changed.

    Raises
    ------
    SolutionError
        If a solution is malformed; then nothing is written.
    FileExistsError
        If an exercise that would change carries outputs, so somebody has worked in it; then nothing is
        written.
    """
    wanted = _wanted(root)
    changed = [path for path, text in wanted.items() if _read(path) != text]
    worked_in = [path.name for path in changed if is_worked_in(path)]
    if worked_in and not force:
        raise FileExistsError(f"somebody has worked in {', '.join(worked_in)}: copy it elsewhere, or use --force")
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8", newline="\n")
    return changed


def out_of_step(root: Path) -> list[Path]:
    """List the exercises that are missing, differ from what their solution gives, or have lost it.

    Parameters
    ----------
    root
        The course's folder.

    Raises
    ------
    SolutionError
        If a solution is malformed.
    """
    wanted = _wanted(root)
    stale = [path for path in sorted((root / "exercises").glob("*.ipynb")) if _is_orphan(path, wanted)]
    return [path for path, text in wanted.items() if _read(path) != text] + stale


def is_worked_in(path: Path) -> bool:
    """Tell whether the notebook at `path` carries outputs or execution counts, as generated ones never do."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def exercise_text(solution: Path) -> str:
    """Give the text of the exercise notebook that a solution notebook makes; the same text every time.

    Parameters
    ----------
    solution
        Path of the solved notebook.

    Raises
    ------
    SolutionError
        If its markers are malformed, or a blanked cell is no Python.
    """
    import nbformat  # takes a second, which only this function is worth

    try:
        raw = json.loads(solution.read_text(encoding="utf-8"))
        for index, cell in enumerate(raw["cells"]):
            cell.setdefault("id", f"cell-{index:03d}")  # nbformat would make random ones
        raw["nbformat_minor"] = max(raw.get("nbformat_minor", 0), 5)
        notebook = nbformat.reads(json.dumps(raw), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat has a dozen ways to say so
        raise SolutionError(f"{solution.name} is not a notebook: {' '.join(str(error).split())[:120]}") from None
    cells = [
        _exercise_cell(cell, f"{solution.name}, cell {index}")
        for index, cell in enumerate(notebook.cells, start=1)
        if "solution" not in cell.metadata.get("tags", [])
    ]
    metadata = {
        "kernelspec": notebook.metadata.get("kernelspec", {"name": "python3", "display_name": "Python 3"}),
        "language_info": {"name": "python"},
        "mpcrl_course": {"generated_from": f"solutions/{solution.name}"},
    }
    made = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    made.nbformat_minor = 5
    return nbformat.writes(made).rstrip("\n") + "\n"


def blanked(source: str, where: str = "cell") -> str:
    """Replace the solution regions of a code cell by their stubs.

    Parameters
    ----------
    source
        The cell's text.
    where
        Named in errors.

    Raises
    ------
    SolutionError
        If markers are unbalanced, nested or misspelt, or the result is no Python.
    """
    lines: list[str] = []
    indent: str | None = None  # not None: within a region
    stub: list[str] = []
    for line in source.split("\n"):
        begin, end, more = _BEGIN.match(line), _END.match(line), _STUB.match(line)
        if begin:
            if indent is not None:
                raise SolutionError(f"{where}: a solution begins inside another")
            indent, stub = begin["indent"], [begin["stub"]] if begin["stub"] else []
        elif end:
            if indent is None:
                raise SolutionError(f"{where}: a solution ends that did not begin")
            lines += [indent + text for text in stub or [BLANK]]
            indent = None
        elif more and indent is not None:
            stub.append(more["stub"])
        elif _MARKER_LIKE.search(line):
            raise SolutionError(f"{where}: misspelt marker {line.strip()!r}")
        elif indent is None:
            lines.append(line)
    if indent is not None:
        raise SolutionError(f"{where}: a solution does not end")
    text = "\n".join(lines)
    if text != source and not re.search(r"^\s*[%!]", text, re.M):  # IPython's magics are no Python
        try:
            ast.parse(text)
        except SyntaxError as error:
            raise SolutionError(f"{where}: blanked, it is no Python: line {error.lineno}: {error.msg}") from None
    return text


def _exercise_cell(cell: Any, where: str) -> Any:
    cell.metadata.pop("execution", None)
    if cell.cell_type == "code":
        cell.source = blanked(cell.source, where)
        cell.outputs, cell.execution_count = [], None
    elif _MARKER_LIKE.search(cell.source):
        raise SolutionError(f"{where}: markers belong in code cells; tag a text cell `solution` or `your-answer`")
    elif "your-answer" in cell.metadata.get("tags", []):
        cell.source = YOUR_ANSWER
    else:
        cell.source = _LINK.sub(_turned_round, _HEADING.sub(r"\1Exercise", cell.source))
    return cell


def _turned_round(link: re.Match[str]) -> str:
    text = link["text"].replace("exercise", "solution").replace("Exercise", "Solution")
    return f"[{text}](../solutions/{link['rest']})"


def _wanted(root: Path) -> dict[Path, str]:
    solutions = sorted((root / "solutions").glob("*.ipynb"))
    return {root / "exercises" / path.name: exercise_text(path) for path in solutions}


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        return None


def _is_orphan(path: Path, wanted: dict[Path, str]) -> bool:
    # Generated from a solution that is gone; a copy of another name, in which somebody works, is none.
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))["metadata"]["mpcrl_course"]["generated_from"]
    except (ValueError, KeyError, TypeError):
        return False
    return path.with_name(Path(origin).name) not in wanted
