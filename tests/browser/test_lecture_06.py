"""Lecture 06 as its reader has it: JupyterLab, Run All, and the live widget by keyboard.

Speed is printed here (`pytest -s`) and judged in benchmarks/bench_live.py: on a machine that does other work too, a
time is no test.
"""

import os
import re
import statistics
import time
from pathlib import Path

import pytest

import course
from tests.browser.lab import missing, open_notebook

LECTURES = Path(__file__).parents[2] / "lectures"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()) and not course.is_ci(os.environ), reason="; ".join(missing()) or "-"),
]


def number(pattern, lab):
    """Return the number that `pattern` finds in the text of the widget."""
    found = re.search(pattern, lab.words())
    assert found, f"no {pattern!r} in {lab.words()!r}"
    return int(found.group(1))


def steps(lab):
    return number(r"of (\d+) steps", lab)


def updates(lab):
    return number(r"(\d+) updates of", lab)


def becomes(condition, timeout=10.0):
    """Return whether `condition()` becomes true in time; the texts of the widget follow a little later."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_lecture_06_in_jupyterlab():
    begun = time.monotonic()
    with open_notebook(LECTURES / "06_mpc_as_value.ipynb", beside=[LECTURES / "data"]) as lab:
        opened = time.monotonic()
        lab.run_all()
        print(f"\nopened in {opened - begun:.1f} s, all cells run in {time.monotonic() - opened:.1f} s")
        check_cells(lab)
        lab.watch_picture()
        check_slider(lab)
        check_play_and_pause(lab)
        check_step(lab)
        check_learning(lab)
        assert lab.errors() == []  # nor did the widget show one
        assert lab.page_errors == []


def check_cells(lab):
    """Every cell ran, none shows an error, every picture is described."""
    assert lab.errors() == []
    assert all(cell["execution_count"] for cell in lab.code_cells())
    descriptions = lab.pictures()
    print(f"{len(descriptions)} pictures")
    assert len(descriptions) >= 5
    assert all(descriptions), f"pictures without a description: {[i for i, d in enumerate(descriptions) if not d]}"


def check_slider(lab):
    """Every press of an arrow key changes the picture and what it says."""
    slider = lab.slider("back-off")
    assert lab.settle()
    times = []
    for press in range(8):
        times.append(lab.press(slider, "ArrowRight"))
        assert times[-1] is not None, f"press {press} did not change the picture"
        assert lab.settle()
    print(f"slider to picture: median {statistics.median(times):.0f} ms, max {max(times):.0f} ms")
    assert becomes(lambda: "back-off 0.080" in lab.words())


def check_play_and_pause(lab):
    """Play plays, Pause pauses; both by keyboard."""
    before = steps(lab)
    lab.button("Play").press("Enter")
    frames, rate = lab.frames_in(3.0)
    print(f"Play: {rate:.1f} frames/s")
    assert frames >= 5
    assert becomes(lambda: steps(lab) > before)
    lab.button("Pause").press("Space")
    assert lab.settle(), "it does not pause"
    assert lab.frames_in(1.0)[0] == 0


def check_step(lab):
    """One press of Step is one frame and one step."""
    lab.page.wait_for_timeout(500)  # let the text of the last frame come
    before, frames = steps(lab), lab.frames()
    for press in (1, 2):
        assert lab.press(lab.button("Step"), "Space") is not None, "Step did not change the picture"
        assert lab.settle()
        assert lab.frames() == frames + press
        assert becomes(lambda press=press: steps(lab) == before + press)


def check_learning(lab):
    """With learning on, playing updates theta; paused, nothing does."""
    assert updates(lab) == 0
    learn = lab.button("Learn while you watch")
    learn.press("Space")
    assert becomes(lambda: "mod-active" in learn.get_attribute("class"))
    lab.button("Play").press("Space")
    frames, rate = lab.frames_in(2.0)
    assert becomes(lambda: updates(lab) >= 20)
    first = updates(lab)
    assert becomes(lambda: updates(lab) > first)
    lab.button("Pause").press("Enter")
    assert lab.settle(), "it does not pause"
    print(f"learning: {rate:.1f} frames/s, {updates(lab)} updates")
    assert frames >= 5
