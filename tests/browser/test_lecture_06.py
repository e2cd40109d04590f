"""Lecture 06 as its reader has it: JupyterLab, Run All, and the live widget by keyboard."""

from pathlib import Path

from tests.browser.lab import becomes, check_cells, check_play_and_pause, check_slider, check_step, marks, open_notebook

LECTURES = Path(__file__).parents[2] / "lectures"
STEPS, UPDATES = r"of (\d+) steps", r"(\d+) updates of"

pytestmark = marks()


def test_lecture_06_in_jupyterlab():
    with open_notebook(LECTURES / "06_mpc_as_value.ipynb") as lab:
        check_cells(lab, pictures=5)
        lab.watch_picture()
        check_slider(lab, "back-off")
        assert becomes(lambda: "back-off 0.080" in lab.words())
        check_play_and_pause(lab, STEPS)
        check_step(lab, STEPS)
        check_learning(lab)
        assert lab.errors() == []  # nor did the widget show one
        assert lab.page_errors == []


def check_learning(lab):
    """With learning on, playing updates theta; paused, nothing does."""
    assert lab.number(UPDATES) == 0
    learn = lab.button("Learn while you watch")
    learn.press("Space")
    assert becomes(lambda: "mod-active" in learn.get_attribute("class"))
    lab.button("Play").press("Space")
    frames, rate = lab.frames_in(2.0)
    assert becomes(lambda: lab.number(UPDATES) >= 20)
    first = lab.number(UPDATES)
    assert becomes(lambda: lab.number(UPDATES) > first)
    lab.button("Pause").press("Enter")
    assert lab.settle(), "it does not pause"
    print(f"learning: {rate:.1f} frames/s, {lab.number(UPDATES):.0f} updates")
    assert frames >= 5
