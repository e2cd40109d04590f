"""What the cells of a lecture must be: each with its role on a slide, few on a slide, folded if they only plot.

python -m tests.anatomy lectures/05_*.ipynb
"""

import ast
import sys

from tests.notebooks import load

ROLES = {"slide", "subslide", "fragment", "skip", "notes"}
#: So many cells stand on a slide, those that are skipped or are notes not counted.
MOST = 4
#: With these a drawing begins; what is made of them is of the drawing, too.
DRAWING = {"plt", "ax", "axes", "fig", "figure", "show", "band", "use_style"}


def offences(notebook):
    """Return what is wrong with a notebook (a file's content as a dict), a line each."""
    found, on_slide, code = [], 0, [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(notebook["cells"], 1):
        where = f"cell {number} ({cell.get('id', '')})"
        role = cell["metadata"].get("slideshow", {}).get("slide_type")
        if role not in ROLES:
            found.append(f"{where} has no slide role, but {role!r}")
        if number == 1 and role != "slide":
            found.append(f"{where} must begin a slide")
        on_slide = 1 if role in ("slide", "subslide") else on_slide + (role not in ("skip", "notes"))
        if on_slide == MOST + 1 and role not in ("skip", "notes"):
            found.append(f"{where} is the {MOST + 1}th of its slide")
        if cell["cell_type"] == "code":
            folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
            source = "".join(cell["source"])
            if only_plots(source) and not folded:
                found.append(f"{where} only plots, but is not folded")
            if folded and teaches(source):
                found.append(f"{where} is folded, but defines what a reader should see")
    if "widgets" in notebook["metadata"]:
        found.append("the notebook keeps the state of its widgets")
    if any(cell["outputs"] or cell["execution_count"] for cell in code):
        found.append("the notebook keeps outputs or execution counts")
    return found


def only_plots(source):
    """Tell whether every statement of a cell is of a drawing, but for those that prepare a single value to be said.

    A drawing calls `show`, or `diagram` or one of the drawn `…_boxes`; a statement is of it if it asks one of the
    `DRAWING` names, or what was made of them.
    """
    tree = _parsed(source)
    if not any(_shows(node) for node in ast.walk(tree)):
        return False
    drawing, others = set(DRAWING), 0
    for statement in tree.body:
        asked = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            return False
        if asked & drawing or any(_shows(node) for node in ast.walk(statement)):
            drawing |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        elif not isinstance(statement, (ast.Import, ast.ImportFrom)):
            others += 1
    return others <= 1


def teaches(source):
    """Tell whether a cell defines a function or a class."""
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(_parsed(source)))


def _parsed(source):
    # Without the magics of IPython.
    return ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))))


def _shows(node):
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    return name in ("show", "diagram") or name.endswith("_boxes")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for line in offences(load(name)):
            print(f"{name}: {line}")
