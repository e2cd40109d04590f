"""The racing car live: the loop against plant and filter alone, hands and readers' drivers, every control."""

import asyncio
import html
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.envs.race import CAR, LOWER, UPPER, WIDTH, RaceParameters, path_curvature, place
from mpcrl_course.live.race import DRIVERS, FILTERS, PICTURES, PRESS, START, WAIT, RaceLoop, RaceScene, race_live
from mpcrl_course.policies.race_filter import RaceSafety
from tests.live.helpers import alt, sweep, ticking


@pytest.fixture(scope="module")
def live():
    return race_live(width=640)


@pytest.fixture(autouse=True)
def at_first(request):
    """Put the shared widget back to how it began."""
    if "live" in request.fixturenames:
        player = request.getfixturevalue("live")
        for name, value in (("who", "hands"), ("filtered", "predictive"), ("grip", 8.0), ("gain", 1.0),
                            ("margin", 0.0), ("told", False), ("live", False)):  # fmt: skip
            player.controls[name].value = value
        player.loop.hold("")
        player.buttons["Reset"].click()


def straight_on(x):
    return 4.0, 0.0


# ---- the loop, without any widget


def test_a_step_is_one_of_the_plant_under_the_filter():
    loop, x, plan, safety = RaceLoop(straight_on), START, None, RaceSafety()
    for _ in range(45):
        plan = safety.decide(x, [4.0, 0.0], plan)
        x = CAR.step(x[None], plan.u[None], type(CAR.draw(0, 1, 1))(np.zeros(1)))[0][0]
        loop.step()
        np.testing.assert_array_equal(loop.x, x)
        assert loop.status == plan.status and np.abs(x[1]) <= WIDTH
    assert loop.counts["new plan"] > 0 and loop.counts["changed"] > 0 and loop.counts["outside"] == 0
    assert loop.count == 45 and len(loop.past) == 45


def test_without_a_filter_the_car_leaves_the_track_waits_and_is_put_back():
    loop, outside = RaceLoop(straight_on, filtered="none"), 0
    while not loop.counts["crashes"]:
        loop.step()
        np.testing.assert_array_equal(loop.acting, [4.0, 0.0])
        outside += abs(loop.x[1]) > WIDTH
    assert abs(loop.x[1]) > 4.0 and loop.counts["outside"] == outside > 1
    there = loop.x
    for _ in range(WAIT):
        np.testing.assert_array_equal(loop.x, there)
        loop.step()
        assert loop.status == "waiting"
    np.testing.assert_array_equal(loop.x, [there[0] % 200, 0.0, 0.0, 5.0])
    loop.step()
    assert loop.status == "no filter" and loop.counts["crashes"] == 1


def test_what_the_filter_is_told_and_keeps():
    loop = RaceLoop(plant=RaceParameters(grip=6.4))
    assert loop.safety.model == CAR and loop.safety.track == WIDTH
    loop.change(told=True, margin=0.4, gain=0.8, live=True)
    assert loop.safety.model == RaceParameters(grip=6.4, gain=0.8) == loop.parameters
    assert loop.safety.track == pytest.approx(2.1) and loop.safety.live
    for _ in range(60):
        loop.hold("up left")
        loop.step()
        assert abs(loop.x[1]) <= 2.1 + 1e-9  # told and certified, with a margin
    loop.change(told=False)
    assert loop.safety.model == CAR
    with pytest.raises(ValueError, match="margin"):
        loop.change(margin=-1.0)
    assert loop.margin == 0.4


def test_the_barrier_changes_the_steering_near_the_edge():
    loop = RaceLoop(straight_on, filtered="barrier")
    for _ in range(60):
        loop.step()
    assert loop.plan is None and loop.counts["barrier"] == 60 and loop.counts["changed"] > 0


def test_hands_steer_softly_and_no_more_than_the_grip_holds():
    loop = RaceLoop()
    loop.put([0.0, 0.0, 0.0, 10.0])
    loop.hold("left up nonsense")
    for _ in range(10):
        loop.step()
    a, delta = loop.wanted
    assert a == UPPER[0] and delta > 0
    assert loop.before[3] ** 2 * path_curvature(delta) == pytest.approx(0.9 * CAR.grip, rel=1e-9)
    loop.hold("down right")
    loop.step()
    assert loop.wanted[0] == LOWER[0] and loop.wanted[1] < delta
    loop.hold("")
    for _ in range(10):
        loop.step()
    np.testing.assert_array_equal(loop.wanted, [0.0, 0.0])


def test_a_pressed_button_is_a_key_for_a_moment():
    loop = RaceLoop()
    loop.press("up")
    gas = []
    for _ in range(PRESS + 2):
        loop.step()
        gas.append(loop.wanted[0])
    assert gas == [4.0] * PRESS + [0.0, 0.0]
    with pytest.raises(ValueError, match="key"):
        loop.press("space")


@pytest.mark.parametrize("who", ["random", "free network", "filtered network"])
def test_every_driver_drives_and_is_kept_on_the_track(who):
    loop = RaceLoop(who=who)
    for _ in range(60):
        loop.step()
    assert loop.counts["outside"] == 0 and loop.counts["not certified"] == 0 and loop.x[0] > 5.0
    assert loop.drivers_plan is None


def test_the_same_seed_drives_the_same_and_a_lap_is_timed():
    loop = RaceLoop(who="MPC", filtered="none")
    while not loop.laps:
        loop.step()
    assert loop.laps == [pytest.approx(17.7, abs=0.05)] and loop.drivers_plan.shape == (41, 4)
    random = [RaceLoop(who="random", seed=4) for _ in range(2)]
    for _ in range(30):
        for each in random:
            each.step()
    np.testing.assert_array_equal(random[0].x, random[1].x)


def test_a_wrong_answer_of_the_reader_is_named_and_changes_nothing():
    loop = RaceLoop(lambda x: (1.0, 0.0) if x[3] < 6.0 else None)
    with pytest.raises(ValueError, match="your driver function returned None"):
        for _ in range(100):
            before = loop.x, loop.count, dict(loop.counts)
            loop.step()
    np.testing.assert_array_equal(loop.x, before[0])
    assert (loop.count, loop.counts) == before[1:] and loop.x[3] >= 6.0
    loop.choose("hands")
    loop.step()
    with pytest.raises(ValueError, match="driver"):
        RaceLoop().choose("yours")


def test_three_pictures_a_step():
    loop = RaceLoop(straight_on)
    for k in range(1, 3 * PICTURES + 1):
        loop.frame()
        part = (k - 1) % PICTURES + 1
        np.testing.assert_allclose(loop.shown, loop.before + part / PICTURES * (loop.x - loop.before))
        assert loop.pictures == k and loop.count == (k - 1) // PICTURES + 1
    np.testing.assert_array_equal(loop.shown, loop.x)


# ---- the scene


def test_the_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = RaceLoop(straight_on), RaceScene(640)
    for _ in range(35):
        loop.step()
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (640, 339)
    text = scene.describe(loop)
    assert f"{loop.x[3]:.1f} m/s" in text and "wanted were 4.0 m/s² and 0.00 rad" in text and "is not told" in text


def test_the_road_ahead_is_the_track_turned_so_that_the_car_points_up():
    x = np.array([55.0, 1.0, 0.3, 8.0])
    X, Y, heading = place(x)
    further = x + [0.5, 0.0, 0.0, 0.0]
    right, ahead = RaceScene._from_the_car(x, np.array([x, further]))
    np.testing.assert_allclose([right[0], ahead[0]], [0.0, 0.0], atol=1e-9)
    turned = np.array([[np.sin(heading), -np.cos(heading)], [np.cos(heading), np.sin(heading)]])
    np.testing.assert_allclose([right[1], ahead[1]], turned @ (place(further)[:2] - [X, Y]), atol=1e-9)
    assert ahead[1] > 0 and right[1] > 0  # it points to the left of the road: along it lies to its right


# ---- the widget, control by control


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("grip", lambda loop: loop.parameters.grip),
        ("gain", lambda loop: loop.parameters.gain),
        ("margin", lambda loop: WIDTH - loop.safety.track),
    ],
)
def test_every_slider_over_its_range(live, name, read):
    sweep(live, name, lambda: read(live.loop))


@pytest.mark.parametrize("name", ["told", "live"])
def test_every_toggle(live, name):
    live.controls["grip"].value = 6.4
    live.controls[name].value = True
    assert live.error == "" and (live.loop.told if name == "told" else live.loop.safety.live)
    if name == "told":
        assert live.loop.safety.model.grip == 6.4 and "filters believe: grip 6.4" in live.words.value
    live.controls[name].value = False
    assert live.error == "" and not live.loop.safety.live and live.loop.safety.model.grip == 8.0


def test_every_driver_and_every_filter(live):
    assert list(live.controls["who"].options) == [name for name in DRIVERS if name != "yours"]
    for who in live.controls["who"].options:
        for filtered in FILTERS:
            live.controls["who"].value, live.controls["filtered"].value = who, filtered
            before = live.picture.value
            for _ in range(PICTURES):
                live.buttons["Step"].click()
            assert live.error == "" and live.picture.value != before
            assert f"driver: {who}, filter: {filtered}" in live.scene.describe(live.loop)


def test_every_button(live):
    names = ["Play", "Pause", "Step", "Left", "Gas", "Brake", "Right", "Back on the track", "Reset"]
    assert list(live.buttons) == names
    start = live.picture.value
    for text, entry, sign in (("Gas", 0, 1), ("Brake", 0, -1), ("Left", 1, 1), ("Right", 1, -1)):
        live.buttons["Reset"].click()
        assert live.picture.value == start
        live.buttons[text].click()
        live.buttons["Step"].click()
        assert np.sign(live.loop.wanted[entry]) == sign and live.loop.wanted[1 - entry] == 0.0
    live.loop.x = np.array([210.0, 2.4, 0.3, 0.0])
    live.buttons["Back on the track"].click()
    np.testing.assert_array_equal(live.loop.x, [10.0, 0.0, 0.0, 5.0])
    live.buttons["Pause"].click()
    assert live.error == ""


def test_the_field_of_the_arrow_keys_holds_them_and_starts_to_play(live):
    pad, field = live.box.children[1:3]
    page = html.unescape(pad.value)
    for needed in ("tabindex", "onkeydown", "onkeyup", "onblur", "aria-label", "data-lm-suppress-shortcuts"):
        assert needed in page
    assert "mpcrl-held" in field.get_state()["_dom_classes"] and field.layout.display == "none"
    clock = ticking(live)

    async def scenario():
        field.value = "left up"
        await clock.tick(2 * PICTURES)
        assert live.loop.held == {"left", "up"} and live.playing
        field.value = ""
        await clock.tick(PICTURES)
        assert live.loop.held == set() and live.playing
        live.buttons["Pause"].click()
        await clock.advance(1.0)

    asyncio.run(scenario())
    assert live.error == "" and live.loop.count >= 2


def test_the_filter_brakes_a_car_that_is_held_on_the_gas(live):
    live.loop.hold("up")
    seen = []
    for _ in range(60 * PICTURES):
        live.frame()
        seen.append((live.loop.status, live.loop.acting[0]))
    assert live.error == "" and live.loop.counts["outside"] == live.loop.counts["not certified"] == 0
    assert any(a < -2.0 for status, a in seen if status != "passed")
    assert live.loop.wanted[0] == 4.0


def test_a_car_that_stands_is_said_to_stand(live):
    live.loop.put([20.0, 2.4, 0.3, 0.0])
    for _ in range(PICTURES):
        live.buttons["Step"].click()
    assert "The car stands." in live.words.value


def test_a_failing_driver_is_shown_and_the_widget_goes_on():
    live = race_live(lambda x: 1 / 0, width=640)
    live.buttons["Step"].click()
    assert "ZeroDivisionError" in live.message.value and live.loop.count == 0
    live.controls["who"].value = "hands"
    assert live.error == ""
    live.buttons["Step"].click()
    assert live.loop.count == 1 and live.loop.who == "hands"


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert re.search(r"\b1 frames", live.words.value)
