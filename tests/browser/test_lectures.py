"""Every lecture as its reader has it: JupyterLab, the import cell, and the live widgets by keyboard and mouse."""

import json
import re
from pathlib import Path

import pytest

from tests.browser.lab import becomes, check_play_and_pause, check_slider, check_step, jupyterlab, marks
from tests.notebooks import cells, notebooks

LIVE = [path.stem for path in notebooks("lectures") if "live" in str([cell["metadata"] for cell in cells(path)])]
#: For each live widget, a pattern that finds the number of steps in its words ('' where there is none).
STEPS = {
    "00_start": [r"of (\d+) steps"],
    "01_decisions": [r"(\d+) sweeps over", r"(\d+) sweeps over"],
    "02_mpc": [r"step (\d+) \(", r"step (\d+) \("],
    "03_rl": ["", ""],
    "04_mpc_vs_rl": [r"step (\d+) \("],
    "05_architectures": [r"step (\d+) \(", r"step (\d+) \("],
    "06_mpc_as_value": [r"of (\d+) steps", r"of (\d+) steps"],
    "07_aligned_vs_closed_loop": [r"step (\d+) of", r"step (\d+) of"],
    "08_expert": [r"step (\d+) ·", r"step (\d+) ·"],
    "09_critic": [r"step (\d+) ·", r"step (\d+) ·"],
    "10_around_the_policy": [r"(\d+) frames", r"(\d+) frames"],
    "11_distributed": [r"iteration (\d+) of 100", r"iteration (\d+) of 100", ""],
    "12_second_order": [r"step (\d+) of", r"step (\d+) of"],
    "13_mean_field": [r"step (\d+) ·", r"step (\d+) ·"],
    "14_frontiers": [r"evaluation (\d+) of", r"evaluation (\d+) of"],
}

pytestmark = marks()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lectures")
    with jupyterlab([folder / path.name for path in notebooks("lectures") if opened(path, folder)]) as notebook:
        yield notebook


def opened(path, folder):
    """Write what is opened of a lecture into `folder`: title, import cell and live cells; of the first one, all.

    To typeset a lecture's text, of which nothing is asked here, costs the browser more than its widgets do.
    """
    book = json.loads(Path(path).read_text(encoding="utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    if path.stem != LIVE[0]:
        live = [cell for cell in code[1:] if "live" in cell["metadata"].get("tags", [])]
        book["cells"] = [book["cells"][0], code[0], *live]
    return (folder / path.name).write_text(json.dumps(book), encoding="utf-8")


@pytest.mark.parametrize("name", LIVE)
def test_live_widgets(notebook, name):
    with notebook(f"{name}.ipynb") as lab:
        lab.run_live()
        assert lab.errors() == []
        assert len(lab.pictures()) == len(STEPS[name])
        assert becomes(lambda: all(lab.pictures())), "a picture has no description"
        for number, steps in enumerate(STEPS[name]):
            lab.watch_picture(number)
            check_step(lab, steps)
            check_play_and_pause(lab)
        if name in FURTHER:
            lab.watch_picture()
            FURTHER[name](lab)
        assert lab.errors() == []  # nor did a widget show one
        assert lab.page_errors == []


# ---- what else there is to play with in some lectures


def lecture_02(lab):
    value = r"V\(s\) = ([\d.]+)"
    reset(lab)  # near the upright another target may cost the same, to the digit that is shown
    before = lab.number(value)
    check_slider(lab, "target of p")
    assert becomes(lambda: lab.number(value) != before), "the words do not follow the slider"
    check_slider(lab, "horizon N", presses=2)
    check_kick(lab, value)
    reset(lab)
    check_the_model_is_told(lab, value)


def reset(lab):
    """Reset goes back to the start, by mouse."""
    steps = STEPS["02_mpc"][0]
    lab.button("Reset").click()
    assert becomes(lambda: lab.number(steps) == 0 and lab.number(r"cost so far ([\d.]+)") == 0.0)


def check_kick(lab, value):
    """Kick changes picture and plan, but is no step; by mouse."""
    steps = STEPS["02_mpc"][0]
    assert lab.settle()
    before, done, picture = lab.number(value), lab.number(steps), lab.picture()
    lab.button("Kick").click()
    assert becomes(lambda: lab.picture() not in ("", picture)), "Kick did not change the picture"
    assert becomes(lambda: lab.number(value) != before) and lab.number(steps) == done


def check_the_model_is_told(lab, value):
    """A heavier cart is a surprise to the MPC until it is told: then another plan is made at once."""
    check_slider(lab, "plant: cart", presses=3)
    unaware = lab.number(value)
    tell = lab.button("Tell the MPC the masses")
    tell.press("Space")
    assert becomes(lambda: "mod-active" in tell.get_attribute("class"))
    assert becomes(lambda: lab.number(value) > unaware), "the MPC was told, but plans as before"


def lecture_04(lab):
    check_the_mpc_is_told(lab)
    check_retraining(lab)


def check_the_mpc_is_told(lab):
    """A heavier pendulum is a surprise to the MPC until it is told."""
    check_slider(lab, "mass (kg)", presses=4)
    assert becomes(lambda: "believes: 1.00 kg" in lab.words())
    lab.button("Tell the MPC").press("Space")
    assert becomes(lambda: "knows the plant" in lab.words()), "the MPC was told, but still believes in 1 kg"


def check_retraining(lab):
    """Retraining goes on frame by frame while both are driven, and its progress and its seconds are shown."""
    trained, (steps,) = r"retrained for (\d+) of", STEPS["04_mpc_vs_rl"]
    lab.button("Retrain the RL").click()
    assert becomes(lambda: "retrained for" in lab.words())
    before = lab.number(trained)
    assert becomes(lambda: lab.number(trained) > before), "the count of training steps does not move"
    lab.button("Pause").press("Enter")
    assert lab.settle()
    lab.button("Back to nominal").click()
    assert becomes(lambda: lab.number(steps) == 0 and "trained on the nominal plant" in lab.words())


def lecture_05(lab):
    """Every architecture can be chosen by keyboard and begins from the start; sliders and the kick act at once."""
    step = STEPS["05_architectures"][0]
    for name in ("plain", "parameterised", "hierarchical", "integrated", "algorithmic", "parallel"):
        lab.button(name).press("Space")
        assert becomes(lambda name=name: re.search(rf"{name}[^a-z]* cost", lab.words()) and lab.number(step) == 0), name
        lab.press(lab.button("Step"), "Space")
        assert becomes(lambda: lab.number(step) == 1) and lab.errors() == [], name
    for name in ("payload m", "dry friction", "random force"):
        check_slider(lab, name, presses=3)
    lab.slider("share β of r").press("Home")
    assert becomes(lambda: "β = 0.00" in lab.words())
    check_slider(lab, "share β of r", presses=3)
    lab.button("Kick").click()
    assert becomes(lambda: "kicked by" in lab.words())
    lab.button("Learn this plant").press("Enter")
    assert becomes(lambda: lab.number(step) == 0 and "learned at 0.75 kg, 3.75 N" in lab.pictures()[0])


def lecture_06(lab):
    """The back-off, and learning: switched on, playing updates theta; paused, nothing does."""
    updates = r"(\d+) updates of"
    check_slider(lab, "back-off")
    assert becomes(lambda: "back-off 0.080" in lab.words())
    assert lab.number(updates) == 0
    learn = lab.button("Learn while you watch")
    learn.press("Space")
    assert becomes(lambda: "mod-active" in learn.get_attribute("class"))
    lab.button("Play").press("Space")
    rate = lab.painted(5)
    assert becomes(lambda: lab.number(updates) >= 20)
    first = lab.number(updates)
    assert becomes(lambda: lab.number(updates) > first)
    lab.button("Pause").press("Enter")
    assert lab.settle(), "it does not pause"
    print(f"learning: {rate:.1f} frames/s, {lab.number(updates):.0f} updates")


def lecture_07(lab):
    """Every controller can be chosen by keyboard and begins at midnight; sliders act at once, an open window cools."""
    step = STEPS["07_aligned_vs_closed_loop"][0]
    for name in ("thermostat", "proportional", "simple", "learned", "whole"):
        lab.button(name).press("Space")
        assert becomes(lambda name=name: f"{name} " in lab.words() and lab.number(step) == 0), name
        lab.press(lab.button("Step"), "Space")
        assert becomes(lambda: lab.number(step) == 1) and lab.errors() == [], name
    for name in ("swing of the tariff", "colder by", "weather (number)"):
        check_slider(lab, name, presses=3)
    assert becomes(lambda: "weather 104" in lab.pictures()[0] and lab.number(step) == 0)
    warm = lab.number(r"air ([\d.]+) °C")
    lab.button("Open a window").press("Enter")
    assert becomes(lambda: lab.number(r"air ([\d.]+) °C") == pytest.approx(warm - 2.0)) and lab.errors() == []


def lecture_11(lab):
    check_slider(lab, "penalty ρ", presses=2)
    assert becomes(lambda: "ρ = 10" in lab.words())
    check_slider(lab, "messages lost", presses=3)
    check_slider(lab, "coupling", presses=2)
    assert becomes(lambda: "planned alone, nothing sent" in lab.words() and "converged" in lab.words())
    iteration, before = STEPS["11_distributed"][0], lab.number(STEPS["11_distributed"][0])
    lab.button("New states").press("Space")
    assert becomes(lambda: lab.number(iteration) == 0), f"new states begin at iteration 0, not {before}"


def lecture_12(lab):
    """A mean for a sum makes agent 1's C fifteen times too large, and takes nothing away when it is undone."""
    off = r"is off by ([\d.e+-]+)"
    check_slider(lab, "regularisation", presses=4)
    assert becomes(lambda: lab.number(off) < 1e-6)
    lab.button("Mean for sum").press("Space")
    assert becomes(lambda: 10 < lab.number(off) < 20), "the mistake is not seen in C"
    lab.button("Mean for sum").press("Space")
    assert becomes(lambda: lab.number(off) < 1e-6), "the mistake stays"


def lecture_08(lab):
    """A label that is asked for is added and learned from; another number of first runs begins anew."""
    labels, asked = r"(\d+) labels", r"labels, (\d+) of them"
    lab.button("Reset").click()
    assert becomes(lambda: (lab.number(labels), lab.number(asked)) == (100, 0))
    lab.button("Ask here").press("Enter")
    assert becomes(lambda: (lab.number(labels), lab.number(asked)) == (101, 1))
    check_slider(lab, "runs of the teacher", presses=1)
    assert becomes(lambda: lab.number(labels) == 200 and lab.number(asked) == 0)


def lecture_09(lab):
    """The bias moves the MPC's critic, not the policy; an improvement moves the policy."""
    improved, ratio = r"after (\d+) improvements", r"J/J\* = ([\d.]+)"
    lab.button("Reset").click()
    assert becomes(lambda: lab.number(improved) == 0)
    before = lab.number(ratio)
    check_slider(lab, "bias of the model", presses=3)
    assert lab.number(ratio) == before
    lab.button("Improve").press("Enter")
    assert becomes(lambda: lab.number(improved) == 1)
    assert becomes(lambda: lab.number(ratio) != before), "the policy is the same"


def lecture_10(lab):
    """The arrow keys drive while they are held: on the gas the car gets faster, and before the bend it is braked."""
    frames, speed, changed = r"(\d+) frames", r"([\d.]+) m/s · n", r"input changed in (\d+)"
    for name in ("plant: grip", "plant: steering gain", "filter: margin"):
        check_slider(lab, name, presses=3)
    lab.slider("filter: margin").press("Home")
    lab.button("barrier").press("Space")
    assert becomes(lambda: "barrier" in lab.pictures()[0])
    lab.button("predictive").press("Space")
    lab.button("Tell the filter").press("Space")
    assert becomes(lambda: "filters believe: grip 8.6" in lab.words())
    lab.button("Reset").click()
    assert becomes(lambda: lab.number(frames) == 0 and lab.number(speed) == 5.0)
    road, keyboard = lab.page.locator(".mpcrl-keys").first, lab.page.keyboard
    road.focus()
    keyboard.down("ArrowUp")  # it also begins to play
    assert becomes(lambda: lab.number(speed) > 8.0), "the car does not follow the arrow key"
    assert becomes(lambda: lab.number(changed) > 0), "the filter does not brake before the bend"
    keyboard.up("ArrowUp")
    assert becomes(lambda: "wanted were 0.0 m/s²" in lab.pictures()[0]), "the key stays down"
    assert lab.number(r"steps outside (\d+)") == 0
    assert road.evaluate("e => e === document.activeElement"), "JupyterLab took the arrow key"
    lab.button("Pause").press("Enter")
    assert lab.settle()


FURTHER = {
    "02_mpc": lecture_02,
    "04_mpc_vs_rl": lecture_04,
    "05_architectures": lecture_05,
    "06_mpc_as_value": lecture_06,
    "07_aligned_vs_closed_loop": lecture_07,
    "08_expert": lecture_08,
    "09_critic": lecture_09,
    "10_around_the_policy": lecture_10,
    "11_distributed": lecture_11,
    "12_second_order": lecture_12,
}
