"""Lecture 11 as its reader has it: JupyterLab, Run All, and agents that come to agree, by keyboard."""

from pathlib import Path

from tests.browser.lab import becomes, check_cells, check_play_and_pause, check_slider, check_step, marks, open_notebook

LECTURES = Path(__file__).parents[2] / "lectures"
ITERATION = r"iteration (\d+) of 100"

pytestmark = marks()


def test_lecture_11_in_jupyterlab():
    with open_notebook(LECTURES / "11_distributed.ipynb") as lab:
        check_cells(lab, pictures=6)
        lab.watch_picture()
        check_step(lab, ITERATION)
        check_play_and_pause(lab, ITERATION)
        check_slider(lab, "penalty ρ", presses=2)
        assert becomes(lambda: "ρ = 10" in lab.words())
        check_slider(lab, "messages lost", presses=3)
        before = lab.number(ITERATION)
        lab.button("New states").press("Space")
        assert becomes(lambda: lab.number(ITERATION) == 0), f"new states begin at iteration 0, not {before}"
        assert lab.errors() == []  # nor did the widget show one
        assert lab.page_errors == []
