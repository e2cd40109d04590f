"""The house live: two houses in one weather, what they pay, the reader's rule, and every control."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs.home import HomeParameters
from mpcrl_course.live.home import CONTROLLERS, FIRST, LAST, WINDOW, HomeLoop, HomeScene, home_live
from mpcrl_course.policies.house import Thermostat
from mpcrl_course.problems.home import home_mpc
from tests.live.helpers import alt


def lazy(y):
    """A rule that heats a little, and leaves the battery alone."""
    return 1.0, 0.0


@pytest.fixture
def live():
    return home_live(lazy, width=640)


def steps(loop, n):
    for _ in range(n):
        loop.step()
    return loop


# ---- the loop, without any widget


@pytest.mark.parametrize("name", ["thermostat", "simple"])
def test_the_houses_are_those_of_the_closed_loop(name):
    """Also with another tariff and winter: everybody looks up the same."""
    plant, mpc = HomeParameters(swing=1.5, colder=3.0), home_mpc(True, plant=HomeParameters(swing=1.5, colder=3.0))
    theta = mpc.parameters.initial()
    controller = Thermostat(plant) if name == "thermostat" else rowwise(lambda s: mpc.policy(theta, s).u0)
    loop = steps(HomeLoop(controller=name, number=104, swing=1.5, colder=3.0), 60)
    wanted = run(controller, plant, plant.starts([104]), plant.draw(0, 1, 60))
    np.testing.assert_allclose(np.array(loop.past)[:, 0], wanted.x[:, 0], atol=1e-6)
    outside = loop.plant.bill(wanted).discomfort * 60 / 96
    assert loop.outside[0] == pytest.approx(outside[0], abs=1e-6)
    paid = wanted.cost.sum() + plant.settlement(wanted.x[0], wanted.x[-1])[0]
    assert loop.J[-1][0] == pytest.approx(paid, abs=1e-6)
    assert loop.money[0] == pytest.approx(paid - 2.0 * outside[0], abs=1e-6)
    base = run(Thermostat(plant), plant, plant.starts([104]), plant.draw(0, 1, 60))
    np.testing.assert_allclose(np.array(loop.past)[:, 1], base.x[:, 0], atol=1e-12)


def test_at_the_end_the_bill_is_kept_and_the_next_weather_begins():
    loop = steps(HomeLoop(controller="proportional"), 192)
    plant = HomeParameters()
    wanted = run(Thermostat(plant), plant, plant.starts([FIRST]), plant.draw(0, 1, 192))
    money, outside = loop.results["thermostat"]
    assert money == pytest.approx(plant.bill(wanted).money[0]) and outside == pytest.approx(
        plant.bill(wanted).discomfort[0]
    )
    assert set(loop.results) == {"thermostat", "proportional"}
    loop.choose("thermostat")
    assert set(loop.results) == {"thermostat", "proportional"} and loop.count == 0
    steps(loop, 193)
    assert loop.number == FIRST + 1 and loop.count == 1 and loop.results == {}
    loop.change(number=LAST)
    steps(loop, 193)
    assert loop.number == FIRST


def test_what_was_changed_on_the_way_is_no_result():
    for change in ({"swing": 2.0}, {"colder": 4.0}, None):
        loop = steps(HomeLoop(controller="thermostat"), 5)
        loop.window() if change is None else loop.change(**change)
        assert loop.count == 5  # the days go on
        assert steps(loop, 187).results == {}
    loop = HomeLoop(controller="thermostat")
    loop.change(swing=0.0)
    assert set(steps(loop, 192).results) == {"thermostat"}


def test_with_a_flat_tariff_the_price_stays_and_with_none_below_what_is_sold():
    loop = HomeLoop(controller="whole", swing=0.0)
    assert np.ptp(loop.plant.forecast(0, FIRST, 192).price) < 1e-12
    for number in (103, 107):  # where a swing of 3 meets the least price
        steps(HomeLoop(controller="whole", number=number, swing=3.0), 20)
        assert HomeParameters(swing=3.0).forecast(0, number, 192).price.min() > HomeParameters().sell


def test_an_open_window_cools_both():
    loop = steps(HomeLoop(controller="thermostat"), 3)
    before = loop.x.copy()
    loop.window()
    np.testing.assert_allclose(before - loop.x, [[WINDOW, 0, 0, 0, 0]] * 2)


def test_the_learned_one_is_the_simple_one_with_another_theta():
    initial = home_mpc(True).parameters.initial()
    same = steps(HomeLoop(controller="learned", theta=initial), 4)
    np.testing.assert_array_equal(same.x, steps(HomeLoop(controller="simple"), 4).x)
    assert np.abs(same.x - steps(HomeLoop(controller="learned"), 4).x).max() > 1e-3


def test_what_is_no_option_is_named():
    for options, message in (
        ({"controller": "yours"}, "there is no controller"),
        ({"number": 7}, "number"),
        ({"number": 1.5}, "number"),
        ({"swing": -1.0}, "swing"),
        ({"colder": np.nan}, "colder"),
        ({"theta": [1.0]}, "theta"),
    ):
        with pytest.raises(ValueError, match=message):
            HomeLoop(**options)
    with pytest.raises(ValueError, match="rule must be a function"):
        HomeLoop(3.0)


# ---- the reader's own rule


def test_the_readers_rule_sees_the_state_and_is_kept_within_limits():
    seen = []

    def rule(y):
        seen.append(y.copy())
        y[:] = np.nan  # its own copy
        return [9.0, -99.0]

    loop = HomeLoop(rule)
    assert loop.controller == "yours" and "yours" in loop.names
    before = loop.x[0].copy()
    loop.step()
    np.testing.assert_array_equal(seen, [before])
    assert loop.inputs[0][0, 0] == 2.5 and -3.0 <= loop.inputs[0][0, 1] < 0.0
    steps(loop, 30)
    assert loop.x[0, 2] == pytest.approx(0.0, abs=1e-9) and loop.inputs[-1][0, 1] == pytest.approx(0.0, abs=1e-9)


def bad_division(y):
    return 1.0 / 0


NONSENSE = {
    "raises": (bad_division, "ZeroDivisionError"),
    "None": (lambda y: None, "is its last line a return"),
    "nan": (lambda y: (np.nan, 0.0), "not finite"),
    "one": (lambda y: 1.0, "shape (1,)"),
    "text": (lambda y: "warm", "your rule function returned"),
    "arguments": (lambda: (0.0, 0.0), "TypeError"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_shown_moves_nothing_and_the_widget_goes_on(what):
    live = home_live(lambda y: wanted(y) if what != "arguments" or wanted is lazy else wanted(), width=640)
    wanted = lazy
    live.buttons["Step"].click()
    wanted, words = NONSENSE[what]
    if what == "arguments":
        live.loop.rule = wanted
    x, count = live.loop.x.copy(), live.loop.count
    for _ in range(2):
        live.buttons["Step"].click()
        assert words in live.error and live.message.value
    np.testing.assert_array_equal(live.loop.x, x)
    assert live.loop.count == count
    live.loop.rule = wanted = lazy
    live.buttons["Step"].click()
    assert live.error == "" and live.message.value == "" and live.loop.count == count + 1
    np.testing.assert_array_equal(live.loop.x, steps(HomeLoop(lazy), count + 1).x)  # as if nothing had been


def test_an_error_says_the_readers_line():
    live = home_live(bad_division, width=640)
    live.buttons["Step"].click()
    assert "in bad_division, line" in live.error and "1.0 / 0" in live.error


# ---- the scene


def test_the_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = steps(HomeLoop(controller="simple"), 30), HomeScene(640)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (640, round(640 * HomeScene.SHAPE))
    text = scene.describe(loop)
    assert text.startswith("Two houses after 7.50 of 48 hours, weather 101") and "simple" in text
    for money, outside in zip(loop.money, loop.outside):
        assert f"{money:.2f} € and {outside:.2f} K h" in text


def test_axes_are_drawn_anew_only_for_another_scale(monkeypatch):
    scene, redrawn = HomeScene(640), []
    layer = scene.canvas.layer

    def watched(artists=(), redraw_base=False):
        redrawn.append(redraw_base)
        layer(artists, redraw_base)

    monkeypatch.setattr(scene.canvas, "layer", watched)
    loop = HomeLoop(controller="thermostat")
    for _ in range(3):
        scene.draw(steps(loop, 1))
    assert redrawn == [True]
    loop.choose("proportional")
    scene.draw(loop)
    assert redrawn == [True, False]
    loop.change(number=105)
    scene.draw(loop)
    assert redrawn == [True, False, False]
    loop.change(swing=3.0)  # prices above half a euro
    scene.draw(loop)
    loop.J = [np.array([40.0, 1.0])] * len(loop.past)
    scene.draw(loop)
    assert redrawn == [True, False, False, True, True]


def test_the_longest_words_above_the_picture_fit(monkeypatch):
    scene, drawn = HomeScene(800), []
    layer = scene.canvas.layer
    monkeypatch.setattr(scene.canvas, "layer", lambda artists, **options: (drawn.append(artists), layer(artists))[1])
    for name in CONTROLLERS:
        scene.draw(HomeLoop(lazy, controller=name, colder=10.0))
        (title,) = drawn[-1]
        box = title.get_window_extent(scene.canvas.figure.canvas.get_renderer())
        assert CONTROLLERS[name] in title.get_text() and 0 < box.x0 and box.x1 < 800


# ---- the widget, control by control


@pytest.mark.parametrize("name", ["swing", "colder", "number"])
def test_every_slider_over_its_range(live, name):
    slider, pictures = live.controls[name], []
    live.controls["controller"].value = "simple"
    at = {"swing": lambda: live.loop.plant.swing, "colder": lambda: live.loop.plant.colder,
          "number": lambda: live.loop.number}[name]  # fmt: skip
    assert slider.value == at()
    for value in (slider.max, slider.min, slider.min + 2 * slider.step):
        before = live.picture.value
        slider.value = value
        pictures.append(live.picture.value)
        assert at() == pytest.approx(value) and live.picture.value != before
        for _ in range(3):
            live.buttons["Step"].click()
        assert live.error == "" and live.message.value == ""
    assert slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit


def test_every_controller_can_be_chosen_and_begins_at_midnight(live):
    choose, pictures = live.controls["controller"], []
    assert dict(zip(choose.options, choose.tooltips)) == CONTROLLERS
    for name in choose.options:
        choose.value = name
        for _ in range(8):
            live.buttons["Step"].click()
        pictures.append(live.picture.value)
        assert live.loop.count == 8 and live.error == "" and f"<b>{name}</b>" in live.words.value
        choose.value = "thermostat" if name != "thermostat" else "whole"
        assert live.loop.count == 0
    assert len(set(pictures)) == len(CONTROLLERS)


def test_without_a_rule_there_is_no_yours():
    live = home_live(width=640)
    assert "yours" not in live.controls["controller"].options and live.loop.controller == "whole"


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Open a window", "Reset"]
    start = live.picture.value
    live.buttons["Step"].click()
    assert live.picture.value != start and live.loop.count == 1 and "step 1 of 192" in live.words.value
    before = live.picture.value
    live.buttons["Open a window"].click()
    assert live.loop.count == 1 and live.picture.value != before
    live.buttons["Pause"].click()
    assert live.error == "" and not live.playing
    live.buttons["Reset"].click()
    assert live.picture.value == start and live.loop.count == 0


def test_the_slider_follows_to_the_next_weather(live):
    for _ in range(193):
        live.frame()
    assert live.loop.number == live.controls["number"].value == FIRST + 1 and live.loop.count == 1
    assert live.error == ""


def test_words_and_alt_text_say_the_state(live):
    for _ in range(3):
        live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    said = re.findall(
        r"</b> air [\d.]+ °C · -?[\d.]+ € · [\d.]+ K h out of the band · bill J = -?[\d.]+ €", live.words.value
    )
    assert len(said) == 2 and "0:45" in live.words.value
