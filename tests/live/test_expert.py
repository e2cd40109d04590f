"""The teacher live: labels are the teacher's, the pupil learns from them, the reader's rule asks; every control."""

import asyncio
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.live.expert import APART, RUN, ExpertLoop, ExpertScene, expert_live
from mpcrl_course.policies import pendulum_expert
from tests.live.helpers import alt, ticking


@pytest.fixture
def live():
    return expert_live(width=640)


# ---- the loop, without any widget


def test_all_labels_are_the_teacher_s_and_the_first_ones_are_whole_runs():
    loop = ExpertLoop(runs=2)
    assert len(loop.labels) == 2 * RUN and loop.asked == 0
    for _ in range(3):
        loop.step()
        loop.ask()
    x, u = loop.labels.all()
    assert len(x) == 2 * RUN + 3 and loop.asked == 3
    np.testing.assert_allclose(u[-3:], np.clip(pendulum_expert()(x[-3:]), -2.0, 2.0), atol=1e-9)
    np.testing.assert_allclose(u[::20], np.clip(pendulum_expert()(x[::20]), -2.0, 2.0), atol=1e-9)


def test_what_is_shown_of_the_teacher_is_its_plan_from_here():
    loop = ExpertLoop()
    for _ in range(7):
        loop.step()
    np.testing.assert_allclose(loop.plan[0, 1], loop.x[1])
    assert loop.told == pytest.approx(np.clip(pendulum_expert()(loop.x[None])[0, 0], -2, 2))
    assert loop.u == pytest.approx(np.clip(loop.pupil(loop.x[None])[0, 0], -2, 2)) and loop.apart == loop.u - loop.told


def test_the_pupil_learns_what_it_asked():
    """One state, asked again and again: the pupil comes to agree there."""
    loop = ExpertLoop()
    loop.x = np.array([2.0, -1.0])
    loop.learn(0)
    before = abs(loop.apart)
    for _ in range(60):
        loop.ask()
    assert abs(loop.apart) < 0.1 < before


def test_the_reader_s_rule_is_asked_once_in_so_many_steps_and_only_where_it_says_so_there_is_a_label():
    seen = []

    def rule(x, u):
        seen.append((x.copy(), u.copy()))
        return np.abs(x[:, 1]) > 1.0

    loop = ExpertLoop(rule, every=4)
    for _ in range(60):
        loop.step(asking=True)
    assert len(seen) == 15 and all(x.shape == (1, 2) and u.shape == (1, 1) for x, u in seen)
    wanted = [x[0] for x, _ in seen if abs(x[0, 1]) > 1.0]
    assert 0 < loop.asked == len(wanted) < 15
    np.testing.assert_array_equal(loop.labels.all().x[RUN:], wanted)
    for _ in range(8):
        loop.step()
    assert len(seen) == 15


def test_a_run_ends_after_five_seconds_and_its_cost_is_kept():
    loop = ExpertLoop()
    loop.teaching = True
    loop.restart()
    for _ in range(RUN):
        loop.step()
    ((labels, cost, by_teacher),) = loop.costs
    assert labels == RUN and by_teacher and 0.5 * loop.teacher_cost < cost < 2.0 * loop.teacher_cost
    assert not loop.path and loop.cost == 0.0 and loop.count == RUN


def test_asking_along_the_way_makes_the_runs_cheaper():
    loop = ExpertLoop(every=3)
    costs = []
    for asking in (False, True):
        for _ in range(8 * RUN):
            loop.step(asking)
        costs.append(np.mean([cost for _, cost, _ in loop.costs[-3:]]))
    assert costs[1] < 0.7 * costs[0]


def test_mirror_images_make_the_pupil_odd():
    x = np.random.default_rng(0).uniform([-3.0, -4.0], [3.0, 4.0], (200, 2))
    odd = []
    for mirror in (False, True):
        loop = ExpertLoop()
        loop.mirror = mirror
        loop.learn(400)
        odd.append(np.abs(loop.pupil(x) + loop.pupil(-x)).mean())
    assert odd[1] < 0.5 * odd[0]


def test_a_wrong_answer_of_the_rule_is_named_and_changes_nothing():
    loop = ExpertLoop(lambda x, u: None)
    before, labels = loop.x.copy(), len(loop.labels)
    with pytest.raises(ValueError, match="your when function returned None"):
        loop.step(asking=True)
    np.testing.assert_array_equal(loop.x, before)
    assert loop.count == 0 and len(loop.labels) == labels


# ---- the scene


def test_the_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = ExpertLoop(), ExpertScene(640)
    for _ in range(40):
        loop.step()
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (640, 320)
    text = scene.describe(loop)
    assert f"the pupil takes {loop.u:.2f} N m" in text and f"{len(loop.labels)} labels" in text
    assert ("its plan is shown" in text) == (abs(loop.apart) > APART)


def test_the_plan_is_drawn_only_where_they_differ():
    loop, scene = ExpertLoop(), ExpertScene(640)
    pictures = []
    for u in (loop.told, loop.told + 2 * APART):
        loop.u = u
        pictures.append(scene.draw(loop))
        assert ("its plan is shown" in scene.describe(loop)) == (u > loop.told + APART)
    assert pictures[0] != pictures[1]


# ---- the widget, control by control


@pytest.mark.parametrize("name", ["runs", "every", "angle"])
def test_every_slider_over_its_range(live, name):
    slider, pictures = live.controls[name], []
    for value in (slider.max, slider.min, slider.min + slider.step):
        slider.value = value
        assert live.error == "" and live.message.value == ""
        pictures.append(live.picture.value)
        for _ in range(3):
            live.buttons["Step"].click()
        assert live.error == ""
    assert len(set(pictures)) == 3
    assert slider.description and slider.readout and re.search(r"\(.+\)|…", slider.description)  # with its unit
    wanted = np.deg2rad(slider.value) if name == "angle" else slider.value
    assert getattr(live.loop, name) == pytest.approx(wanted)
    if name == "runs":
        assert len(live.loop.labels) == RUN * slider.value


def test_who_drives_and_mirror_images(live):
    for who in ("teacher", "pupil"):
        live.controls["drives"].value = who
        live.buttons["Step"].click()
        assert live.loop.teaching == (who == "teacher") and f"The {who} drives" in alt(live)
    before = live.picture.value
    live.controls["mirror"].value = True
    assert live.loop.mirror and live.picture.value != before and live.error == ""


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Ask here", "Kick", "Reset"]
    start = live.picture.value
    for text in ("Step", "Ask here", "Kick"):
        before = live.picture.value
        live.buttons[text].click()
        assert live.picture.value != before and live.error == ""
    assert live.loop.asked == 1 and "1 of them asked here" in live.words.value
    live.buttons["Pause"].click()
    live.buttons["Reset"].click()
    assert live.picture.value == start and live.error == "" and live.loop.asked == 0


def test_play_with_and_without_asking(live):
    clock = ticking(live)

    async def scenario():
        live.buttons["Play"].click()
        await clock.tick(10)
        assert live.loop.asked == 0 and live.loop.count == 11
        live.controls["asking"].value = True
        await clock.advance(20 / live.rate)
        live.buttons["Pause"].click()

    asyncio.run(scenario())
    assert live.error == "" and 3 <= live.loop.asked <= 6


def test_a_failing_rule_is_shown_and_the_widget_goes_on():
    def rule(x, u):
        if abs(x[0, 1]) >= 0.0:
            raise ZeroDivisionError("my own mistake")

    live = expert_live(rule, width=640)
    live.controls["asking"].value = True
    live.buttons["Step"].click()
    assert "my own mistake" in live.message.value and "in rule, line" in live.error
    live.controls["asking"].value = False
    live.buttons["Step"].click()
    assert live.error == "" and live.loop.count == 1


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert "apart" in live.words.value
