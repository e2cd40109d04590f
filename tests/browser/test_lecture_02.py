"""Lecture 02 as its reader has it: JupyterLab, Run All, and the live cart-pole by keyboard and mouse."""

from pathlib import Path

from tests.browser.lab import becomes, check_cells, check_play_and_pause, check_slider, check_step, marks, open_notebook

LECTURES = Path(__file__).parents[2] / "lectures"
STEPS, VALUE, COST = r"step (\d+) \(", r"V\(s\) = ([\d.]+)", r"cost so far ([\d.]+)"

pytestmark = marks()


def test_lecture_02_in_jupyterlab():
    with open_notebook(LECTURES / "02_mpc.ipynb") as lab:
        check_cells(lab, pictures=5)
        lab.watch_picture()
        before = lab.number(VALUE)
        check_slider(lab, "target of p")
        assert becomes(lambda: lab.number(VALUE) != before), "the words do not follow the slider"
        check_slider(lab, "horizon N", presses=2)
        check_play_and_pause(lab, STEPS)
        check_step(lab, STEPS)
        check_kick_and_reset(lab)
        check_the_model_is_told(lab)
        assert lab.errors() == []  # nor did the widget show one
        assert lab.page_errors == []


def check_kick_and_reset(lab):
    """Kick changes picture and plan, Reset goes back to the start; both by mouse."""
    value, steps, frames = lab.number(VALUE), lab.number(STEPS), lab.frames()
    lab.button("Kick").click()
    assert becomes(lambda: lab.frames() > frames), "Kick did not change the picture"
    assert becomes(lambda: lab.number(VALUE) != value) and lab.number(STEPS) == steps
    lab.button("Reset").click()
    assert becomes(lambda: lab.number(STEPS) == 0) and lab.number(COST) == 0.0


def check_the_model_is_told(lab):
    """A heavier cart is a surprise to the MPC until it is told: then another plan is made at once."""
    check_slider(lab, "plant: cart", presses=3)
    unaware = lab.number(VALUE)
    tell = lab.button("Tell the MPC the masses")
    tell.press("Space")
    assert becomes(lambda: "mod-active" in tell.get_attribute("class"))
    assert becomes(lambda: lab.number(VALUE) > unaware), "the MPC was told, but plans as before"
