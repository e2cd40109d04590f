"""Value iteration live: the loop without a widget, the scene, and every control."""

import asyncio
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from mpcrl_course.dp import bellman, value_iteration
from mpcrl_course.envs.pendulum import wrap
from mpcrl_course.figures.pendulum import PendulumDrawing, describe_pendulum
from mpcrl_course.live.pendulum import RUN, ValueLoop, ValueScene, pendulum_live
from tests.live.helpers import alt, ticking


@pytest.fixture
def live():
    return pendulum_live(width=640, size=21)


def test_sweeps_are_those_of_value_iteration():
    loop, V = ValueLoop(size=21), np.zeros(441)
    for _ in range(30):
        loop.step()
        V, before = bellman(loop.mdp, V), V
        assert loop.residual == pytest.approx(np.abs(V - before).max())
    np.testing.assert_allclose(loop.V, V, atol=1e-12)


def test_the_value_moves_on_to_the_new_fixed_point():
    loop = ValueLoop(size=21)
    for change in ({"gamma": 0.9}, {"noise": 1.0}, {"size": 31}, {"size": 15, "gamma": 0.95}):
        loop.change(**change)
        for _ in range(300):
            loop.sweep()
        np.testing.assert_allclose(loop.V, value_iteration(loop.mdp, tolerance=1e-9).V, atol=1e-4)


def test_the_greedy_policy_swings_up_once_the_value_is_there_and_not_before():
    loop = ValueLoop(start=(np.pi - 0.1, 0.0))
    for _ in range(RUN):
        loop.drive()  # V = 0: nothing is worth an effort
    early = loop.cost
    for _ in range(200):
        loop.sweep()
    loop.drive()
    assert loop.last_cost == early and loop.count == 1  # the run has been started again
    loop.restart()
    for _ in range(RUN):
        loop.drive()
    assert abs(wrap(loop.x[0])) < 0.1 and loop.cost < 0.3 * early


def test_reset_and_seed_give_the_same_run_again():
    def states(loop):
        return np.array([(loop.step(), loop.x)[1] for _ in range(40)])

    loop = ValueLoop(noise=0.5, size=21, seed=3)
    first = states(loop)
    loop.kick()
    loop.step()
    loop.reset()
    np.testing.assert_array_equal(states(loop), first)
    assert np.abs(states(ValueLoop(noise=0.5, size=21, seed=4)) - first).max() > 1e-3


@pytest.mark.parametrize(
    ("backup", "message"),
    [
        (lambda mdp, V: None, "returned None"),
        (lambda mdp, V: V[:3], "returned shape"),
        (lambda mdp, V: V * np.nan, "not finite"),
    ],
)
def test_wrong_backups_are_named_and_change_nothing(backup, message):
    loop = ValueLoop(backup, size=21)
    with pytest.raises(ValueError, match=message):
        loop.step()
    assert loop.count == 0 and not loop.residuals and not loop.V.any()


def test_a_backup_cannot_spoil_the_value_in_place():
    def backup(mdp, V):
        V[:] = 7.0
        raise RuntimeError("no")

    loop = ValueLoop(backup, size=21)
    with pytest.raises(RuntimeError):
        loop.step()
    assert not loop.V.any()


def test_a_bad_start_is_named():
    with pytest.raises(ValueError, match="finite state"):
        ValueLoop(size=21).change(start=[np.nan, 0.0])


def test_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = ValueLoop(), ValueScene(800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 400)
    assert "V is 0 everywhere" in scene.describe(loop) and "hanging down" in scene.describe(loop)
    for _ in range(7):
        loop.step()
    text = scene.describe(loop)
    assert "after 7 sweeps" in text and f"{loop.value(loop.start):.1f}" in text and "41 by 41" in text


@pytest.mark.parametrize("name", ["gamma", "noise", "size", "angle", "velocity"])
def test_every_slider_over_its_range(live, name):
    slider = live.controls[name]
    live.buttons["Step"].click()
    pictures = []
    for value in (slider.min, slider.max, slider.min + (slider.max - slider.min) * 0.4):
        slider.value = 2 * (int(value) // 2) + 1 if name == "size" else value
        for _ in range(3):
            live.buttons["Step"].click()
        assert live.error == "" and live.message.value == ""
        pictures.append(live.picture.value)
    assert len(set(pictures)) == 3
    loop = live.loop
    shown = {"gamma": loop.gamma, "noise": loop.noise, "size": loop.grid.sizes[0], "angle": loop.start[0],
             "velocity": loop.start[1]}  # fmt: skip
    assert shown[name] == pytest.approx(slider.value)
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)


def test_every_button_and_the_toggle(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Kick", "Reset"]
    start = live.picture.value
    for text in ("Step", "Kick"):
        before = live.picture.value
        live.buttons[text].click()
        assert live.picture.value != before and live.error == ""
    before = live.picture.value
    live.controls["torques"].value = True
    assert live.picture.value != before
    live.controls["torques"].value = False
    live.buttons["Pause"].click()
    live.buttons["Reset"].click()
    assert live.picture.value == start and live.error == ""


def test_play_and_a_failing_backup():
    def backup(mdp, V):
        if V.max() > 20:
            raise ZeroDivisionError("my own mistake")
        return bellman(mdp, V)

    live = pendulum_live(backup, size=21, width=640)

    async def scenario():
        clock = ticking(live)
        live.buttons["Play"].click()
        while live.playing:
            await clock.tick()

    asyncio.run(scenario())
    assert len(live.loop.residuals) >= 2
    assert "my own mistake" in live.message.value and "in backup, line" in live.error
    live.buttons["Reset"].click()
    live.buttons["Step"].click()
    assert live.error == ""


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert "a sweep takes" in live.words.value


def test_the_drawing_turns_as_the_pendulum_does():
    """Positive angle and torque are counter-clockwise: to the left of the upright, an arrow to the left."""
    with plt.rc_context():
        _, ax = plt.subplots()
        drawing = PendulumDrawing(ax)
    drawing.set(0.5, 1.0)
    assert drawing.bob.center == pytest.approx((-np.sin(0.5), np.cos(0.5)))
    x, y = drawing.arc.get_data()
    assert x[0] > 0 > x[-1] and np.hypot(x, y) == pytest.approx(drawing.ARC) and x[0] == pytest.approx(-x[-1])
    longer = np.ptp(drawing.arc.get_xdata())
    drawing.set(0.5, -0.5)
    assert drawing.arc.get_xdata()[0] < 0 < drawing.arc.get_xdata()[-1]
    assert np.ptp(drawing.arc.get_xdata()) < longer
    drawing.set(0.5, 0.0)
    assert len(drawing.arc.get_xdata()) == len(drawing.head.get_xdata()) == 0
    plt.close(ax.figure)
    for q, words in ((0.1, "upright"), (np.pi + 0.1, "hanging down"), (2 * np.pi + 1.0, "angle 1.00 rad")):
        assert words in describe_pendulum(q, 0.0, 0.0)
