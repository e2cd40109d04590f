"""Lecture 12 as its reader has it: JupyterLab, Run All, and three networks that learn, by keyboard."""

from pathlib import Path

from tests.browser.lab import becomes, check_cells, check_play_and_pause, check_slider, check_step, marks, open_notebook

LECTURES = Path(__file__).parents[2] / "lectures"
STEPS, OFF = r"step (\d+) of", r"is off by ([\d.e+-]+)"

pytestmark = marks()


def test_lecture_12_in_jupyterlab():
    with open_notebook(LECTURES / "12_second_order.ipynb") as lab:
        check_cells(lab, pictures=6)
        lab.watch_picture()
        check_step(lab, STEPS)
        check_play_and_pause(lab, STEPS)
        check_slider(lab, "regularisation", presses=4)
        check_mistake(lab)
        assert lab.errors() == []  # nor did the widget show one
        assert lab.page_errors == []


def check_mistake(lab):
    """A mean for a sum makes agent 1's C fifteen times too large, and takes nothing away when it is undone."""
    assert becomes(lambda: lab.number(OFF) < 1e-6)
    lab.button("Mean for sum").press("Space")
    assert becomes(lambda: 10 < lab.number(OFF) < 20), "the mistake is not seen in C"
    lab.button("Mean for sum").press("Space")
    assert becomes(lambda: lab.number(OFF) < 1e-6), "the mistake stays"
