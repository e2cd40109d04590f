"""Lecture 04 as its reader has it: JupyterLab, Run All, and MPC beside DDPG by keyboard and mouse."""

from pathlib import Path

from tests.browser.lab import becomes, check_cells, check_play_and_pause, check_slider, check_step, marks, open_notebook

LECTURES = Path(__file__).parents[2] / "lectures"
STEPS, TRAINED = r"step (\d+) \(", r"retrained for (\d+) of"

pytestmark = marks()


def test_lecture_04_in_jupyterlab():
    with open_notebook(LECTURES / "04_mpc_vs_rl.ipynb") as lab:
        check_cells(lab, pictures=8)
        lab.watch_picture()
        check_step(lab, STEPS)
        check_play_and_pause(lab, STEPS)
        check_the_mpc_is_told(lab)
        check_retraining(lab)
        assert lab.errors() == []  # nor did the widget show one
        assert lab.page_errors == []


def check_the_mpc_is_told(lab):
    """A heavier pendulum is a surprise to the MPC until it is told."""
    check_slider(lab, "mass (kg)", presses=4)
    assert becomes(lambda: "believes: 1.00 kg" in lab.words())
    lab.button("Tell the MPC").press("Space")
    assert becomes(lambda: "knows the plant" in lab.words()), "the MPC was told, but still believes in 1 kg"


def check_retraining(lab):
    """Retraining goes on frame by frame while both are driven, and its progress and its seconds are shown."""
    lab.button("Retrain the RL").click()
    assert becomes(lambda: "retrained for" in lab.words())
    before = lab.number(TRAINED)
    assert becomes(lambda: lab.number(TRAINED) > before), "the count of training steps does not move"
    lab.button("Pause").press("Enter")
    assert lab.settle()
    lab.button("Back to nominal").click()
    assert becomes(lambda: lab.number(STEPS) == 0 and "trained on the nominal plant" in lab.words())
