"""The map of the course: its lectures, and which of them are there."""

from __future__ import annotations

from IPython.display import Markdown

from mpcrl_course.lectures import LECTURES


def course_map() -> Markdown:
    """Return the table of the lectures; links to those that are there are relative to a notebook in ``lectures/``."""
    rows = ["| # | lecture | about | builds on | exercise |", "|--:|:--|:--|:--|:--|"]
    for number, question, about, needs, notebook, _ in LECTURES:
        title = f"[{question}]({notebook}.ipynb)" if notebook else f"{question} *(in preparation)*"
        task = f"[open](../exercises/{notebook}.ipynb)" if notebook else "–"
        before = ", ".join(f"{n:02d}" for n in needs) or "–"
        rows.append(f"| {number:02d} | {title} | {about} | {before} | {task} |")
    return Markdown("\n".join(rows))
