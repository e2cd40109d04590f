"""Lectures have the anatomy that `tests.anatomy` asks for, and it sees what has not."""

import os
import re
import subprocess
import sys

import pytest

from mpcrl_course.lectures import LECTURES
from tests.anatomy import offences, only_plots
from tests.notebooks import ROOT, load

THERE = {lecture.number: ROOT / "lectures" / f"{lecture.notebook}.ipynb" for lecture in LECTURES if lecture.notebook}


@pytest.mark.parametrize("number", sorted(THERE))
def test_a_lecture_has_the_anatomy(number):
    found = offences(load(THERE[number]))
    assert found == [], "\n".join(found)


PLOT = "fig, ax = plt.subplots()\nax.plot(run.x)\nax.legend()\nshow(fig, f'{run.x[-1]:.1f}')"


def cell(role, source=None, hidden=False, **more):
    """Return a cell: of code if there is a source."""
    metadata = {"slideshow": {"slide_type": role}} | ({"jupyter": {"source_hidden": True}} if hidden else {})
    if source is None:
        return {"cell_type": "markdown", "id": "m", "metadata": metadata, "source": ["words"]}
    code = {"outputs": [], "execution_count": None} | more
    return {"cell_type": "code", "id": "c", "metadata": metadata, "source": source.splitlines(True)} | code


GOOD = [
    cell("slide"), cell("fragment", "run = closed_loop.run(mpc, plant, starts, noise)"), cell("notes"),
    cell("fragment", PLOT, hidden=True), cell("fragment"), cell("subslide"), cell("skip", "%matplotlib inline\nf = 1"),
]  # fmt: skip


def test_a_good_notebook_has_nothing_to_be_said_of():
    assert offences({"cells": GOOD, "metadata": {}}) == []


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([cell("slide"), cell("-")], "cell 2 (m) has no slide role"),
        ([cell("slide"), {**cell("slide"), "metadata": {}}], "cell 2 (m) has no slide role"),
        ([cell("fragment")], "cell 1 (m) must begin a slide"),
        ([cell("slide"), *[cell("fragment")] * 4], "cell 5 (m) is the 5th of its slide"),
        ([cell("slide"), cell("fragment", PLOT)], "cell 2 (c) only plots, but is not folded"),
        ([cell("slide"), cell("fragment", "course_boxes(lit='critic')")], "cell 2 (c) only plots"),
        ([cell("slide"), cell("fragment", "def f(x):\n    return x", hidden=True)], "cell 2 (c) is folded"),
        ([cell("slide", "1", execution_count=3)], "keeps outputs"),
        ([cell("slide", "1", outputs=[{}])], "keeps outputs"),
    ],
)
def test_each_offence_is_seen_and_located(cells, said):
    (found,) = offences({"cells": cells, "metadata": {}})
    assert said in found


def test_the_state_of_widgets_is_seen():
    (found,) = offences({"cells": GOOD, "metadata": {"widgets": {}}})
    assert "state of its widgets" in found


@pytest.mark.parametrize(
    ("source", "plots"),
    [
        (PLOT, True),
        ("last = run.x[-1]\n" + PLOT, True),
        ("for x in runs:\n    ax.plot(x)\nshow(fig, 'words')", True),
        ("run = closed_loop.run(mpc)\nmore = closed_loop.run(other)\n" + PLOT, False),
        ("def f(x):\n    return x\n" + PLOT, False),
        ("x = 1", False),
        ("predict('How many?', key='n')", False),
    ],
)
def test_a_cell_that_computes_does_not_only_plot(source, plots):
    assert only_plots(source) == plots


def test_the_example_of_the_page_runs_without_a_guess():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a lecture")[1]
    example = re.search(r"^```python\n(.*?)^```", page, re.M | re.S).group(1) + "print(table)\nprint(tally())"
    environ = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", "-c", example]
    ran = subprocess.run(command, env=environ, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    said = [
        "The map of the field",
        "Lit: policy.",
        "Measured: 22 %. No guess was made.",
        "parallel    122 ± 11",
        "of 1 pred",
    ]
    assert [words for words in said if words not in ran.stdout] == []
