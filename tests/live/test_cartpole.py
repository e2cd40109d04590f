"""The cart-pole live: the closed loop without a widget, the scene, and every control."""

import asyncio
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.envs import cartpole
from mpcrl_course.live.cartpole import (
    HORIZONS,
    PAST,
    PATIENCE,
    CartPoleLoop,
    CartPoleScene,
    build_mpc,
    cartpole_live,
)
from mpcrl_course.live.player import PAUSE
from mpcrl_course.mpc import shift
from mpcrl_course.policies.receding import first_plan
from mpcrl_course.problems.cartpole import cartpole_mpc
from tests.live.helpers import alt, ticking

UPRIGHT = (0.0, 0.1, 0.0, 0.0)  # nearly


@pytest.fixture(scope="module")
def build():
    """Build each MPC once for this file: MPCs have no memory."""
    built = {}

    def get(horizon, track):
        if (horizon, track) not in built:
            built[horizon, track] = build_mpc(horizon, track)
        return built[horizon, track]

    return get


@pytest.fixture
def live(build):
    return cartpole_live(horizon=20, start=UPRIGHT, build=build, width=640)


def trace(loop, steps):
    states = []
    for _ in range(steps):
        loop.step()
        states.append(loop.x)
    return np.array(states)


def swing(loop, steps=160):
    trace(loop, steps)
    return loop.cost


# ---- the loop, without any widget


def test_the_loop_is_plant_and_real_time_iteration():
    """Step by step the same as plant, MPC and shift, put together by hand."""
    mpc = cartpole_mpc(horizon=30)
    theta, x = mpc.parameters.initial(), np.array([0.0, np.pi, 0.0, 0.0])
    plan, cost = first_plan(mpc, theta, x), 0.0
    loop = CartPoleLoop(horizon=30)
    for _ in range(40):
        np.testing.assert_allclose(loop.plan.x, plan.x, atol=1e-9)
        loop.step()
        cost += float(cartpole.stage_cost(x, plan.u0))
        x = cartpole.dynamics(x, plan.u0)
        np.testing.assert_allclose(loop.x, x, atol=1e-9)
        plan = mpc.policy(theta, x, warm_start=shift(plan))
    assert loop.cost == pytest.approx(cost, rel=1e-9) and loop.count == 40 and loop.status == "rti"


def test_what_the_lecture_asks_the_reader_to_find(build):
    """Horizon 10 costs half as much again; a heavier cart costs more, the more so if nobody tells the MPC."""
    usual = CartPoleLoop(build=build)
    cost = swing(usual)
    assert abs(2 * np.sin(usual.x[1] / 2)) < 0.01 and cost == pytest.approx(61.8, abs=0.1)
    assert swing(CartPoleLoop(horizon=10, build=build)) == pytest.approx(1.58 * cost, rel=0.02)
    usual.change(cart_mass=1.75)
    usual.reset()
    unknown = swing(usual)
    usual.change(told=True)
    usual.reset()
    assert 1.2 * cost < swing(usual) < 0.7 * unknown


def test_kicks_beside_the_limit_cross_a_soft_one_and_leave_a_hard_one_no_plan(build):
    def kicked(track, kicks):
        loop = CartPoleLoop(track=track, build=build)
        loop.change(target=1.9)
        trace(loop, 80)
        for _ in range(kicks - 1):
            loop.kick()
            trace(loop, 50)
        loop.kick()
        with pytest.raises(RuntimeError, match="end of the track"):
            trace(loop, 50)
        return loop

    soft = kicked("soft", 2)
    assert soft.outside >= 3 and soft.failed == 0
    hard = kicked("hard", 3)
    assert hard.failed >= 3 and hard.status == "failed" and "infeasible" in hard.reason
    hard.reset()
    assert hard.reason == "" and hard.failed == hard.outside == hard.count == 0
    hard.step()


def test_a_failed_solve_goes_on_with_the_old_plan_and_asks_patiently(build, monkeypatch):
    loop, asked = CartPoleLoop(horizon=20, track="hard", start=(1.9, 0.0, 0.0, 0.0), build=build), []
    before, policy = loop.plan, loop.mpc.reference.policy
    loop.plant.x = np.array([1.9, 0.0, 3.0, 0.0])  # 0.1 m before the limit at 3 m/s
    monkeypatch.setattr(loop.mpc.reference, "policy", lambda *a, **options: (asked.append(1), policy(*a, **options))[1])
    for _ in range(PATIENCE + 2):
        loop.plan = shift(loop.plan)
        loop.kick([0.0, 0.0])  # plan again
    assert len(asked) == 2 and loop.failed == PATIENCE + 2
    np.testing.assert_array_equal(loop.plan.u[: 20 - PATIENCE - 2], before.u[PATIENCE + 2 :])


def test_reset_and_seed_give_the_same_run_again(build):
    def run(loop):
        states = trace(loop, 10)
        loop.kick()
        return np.concatenate([states, trace(loop, 10)])

    loop = CartPoleLoop(horizon=20, build=build, seed=3)
    first = run(loop)
    loop.kick()
    loop.reset()
    np.testing.assert_array_equal(run(loop), first)
    np.testing.assert_array_equal(run(CartPoleLoop(horizon=20, build=build, seed=3)), first)
    other = run(CartPoleLoop(horizon=20, build=build, seed=4))
    np.testing.assert_array_equal(other[:10], first[:10])
    assert np.abs(other - first).max() > 0.1


def test_another_horizon_goes_on_with_the_plan_cut_off_or_longer(build):
    loop = CartPoleLoop(horizon=20, build=build)
    trace(loop, 5)
    state, angle = loop.x, loop.plan.x[:, 1]
    for horizon in (30, 10):
        loop.change(horizon=horizon)
        assert loop.horizon == horizon and loop.plan.x.shape == (horizon + 1, 4) and loop.status != "failed"
        np.testing.assert_array_equal(loop.x, state)
        assert np.abs(loop.plan.x[:8, 1] - angle[:8]).max() < 1.0  # the same way round
    trace(loop, 3)


def test_the_reader_s_controller_decides(build):
    seen = []

    def controller(x, solution):
        seen.append((x.copy(), solution.u0))
        x[:] = 99.0  # must not harm anybody
        return -3.0

    loop = CartPoleLoop(controller, horizon=20, start=UPRIGHT, build=build)
    trace(loop, 2)
    np.testing.assert_array_equal(seen[0][0], UPRIGHT)
    assert [step.u for step in loop.history] == [-3.0, -3.0]
    np.testing.assert_allclose(loop.history[1].x, cartpole.dynamics(np.array(UPRIGHT), np.array([-3.0])))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "returned None"),
        (np.nan, "not finite"),
        ([1.0, 2.0], r"shape \(2,\), but \(1,\) is needed"),
        ("left", "left"),
    ],
)
def test_wrong_answers_of_the_reader_are_named_and_change_nothing(build, answer, message):
    loop = CartPoleLoop(lambda x, solution: answer, horizon=20, start=UPRIGHT, build=build)
    with pytest.raises(ValueError, match=message):
        loop.step()
    assert loop.count == 0 and loop.cost == 0.0 and not loop.history
    np.testing.assert_array_equal(loop.x, UPRIGHT)


@pytest.mark.parametrize("amount", [[np.inf, 0.0], [1.0], 2.0])
def test_bad_kicks_are_named_and_change_nothing(build, amount):
    loop = CartPoleLoop(horizon=20, start=UPRIGHT, build=build)
    with pytest.raises(ValueError, match="a kick is two finite numbers"):
        loop.kick(amount)
    np.testing.assert_array_equal(loop.x, UPRIGHT)


# ---- the scene


def test_scene_draws_a_picture_of_its_size_and_describes_it(build):
    loop, scene = CartPoleLoop(build=build), CartPoleScene(800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 400)
    assert "after 0 steps" in scene.describe(loop) and "hanging down" in scene.describe(loop)
    trace(loop, 12)
    text = scene.describe(loop)
    for words in ("horizon 40 (2.0 s)", "soft limit of 2 m", "after 12 steps", f"the cart at {loop.x[0]:.2f} m",
                  f"Cost so far {loop.cost:.1f}", "not known to the MPC", "0 failed solves"):  # fmt: skip
        assert words in text
    loop.change(cart_mass=1.3, told=True, target=-0.7)
    text = scene.describe(loop)
    assert "masses are 1.30 and 0.20 kg, known to the MPC" in text and "target -0.7 m" in text


def test_the_strips_show_past_and_plan_joined_at_the_present(build):
    loop, scene = CartPoleLoop(horizon=20, build=build), CartPoleScene(640)
    trace(loop, 12)
    scene.draw(loop)
    for i, (_, past, plan) in enumerate(scene.strips):
        ago, was = past.get_data()
        ahead, will = plan.get_data()
        assert ago[-1] == ahead[0] == 0.0 and was[-1] == pytest.approx(will[0], abs=1e-9)
        if i == 2:
            np.testing.assert_allclose(was[:-1], [step.u for step in loop.history])
            np.testing.assert_allclose(will, loop.plan.u[:, 0])
        else:
            np.testing.assert_allclose(np.mod(was[:-1], 2 * np.pi), [step.x[i] % (2 * np.pi) for step in loop.history])
            assert ahead[-1] == pytest.approx(1.0)


def test_the_target_and_the_title_are_redrawn_when_they_change(build, monkeypatch):
    loop, scene = CartPoleLoop(horizon=20, start=UPRIGHT, build=build), CartPoleScene(640)
    first = scene.draw(loop)
    assert scene.draw(loop) == first
    layers = []
    draw_layer = scene.canvas.layer
    monkeypatch.setattr(scene.canvas, "layer", lambda artists: (layers.append(1), draw_layer(artists)))
    scene.draw(loop)
    assert not layers
    loop.change(target=1.0)
    scene.draw(loop)
    assert layers == [1] and scene.drawing.target.get_xdata()[0] == 1.0
    loop.status = "failed"
    scene.draw(loop)
    assert layers == [1, 1] and "NO SOLUTION" in scene.title.get_text()


# ---- the widget

SLIDERS = ["horizon", "position_weight", "force_weight", "target", "cart_mass", "mass"]


@pytest.mark.parametrize("name", SLIDERS)
def test_every_slider_over_its_range(live, name):
    slider, loop = live.controls[name], live.loop
    low, high = (10**slider.min, 10**slider.max) if name.endswith("weight") else (slider.min, slider.max)
    pictures = []
    for value in (low, high, 30 if name == "horizon" else low + 0.4 * (high - low)):
        slider.value = value
        for _ in range(3):
            live.buttons["Step"].click()
        assert live.error == "" and live.message.value == ""
        pictures.append(live.picture.value)
    assert len(set(pictures)) == 3
    p, plant = loop.mpc.parameters.unpack(loop.theta), loop.plant.parameters
    shown = {"horizon": loop.horizon, "position_weight": p.weights[0], "force_weight": p.weights[4],
             "target": float(p.target), "cart_mass": plant.cart_mass, "mass": plant.mass}  # fmt: skip
    assert shown[name] == pytest.approx(slider.value) and loop.count == 9
    before = live.picture.value
    slider.value = low
    assert live.picture.value != before  # at once, before any step
    assert slider.readout and re.search(r"\(.+\)", slider.description)


def test_every_horizon_and_both_limits_can_be_chosen(live):
    horizon = live.controls["horizon"]
    assert tuple(range(horizon.min, horizon.max + 1, horizon.step)) == HORIZONS
    live.controls["track"].value = "hard"
    assert live.loop.mpc.problem.horizon == 20 and live.loop.track == "hard" and live.error == ""
    assert "hard limit" in live.scene.title.get_text()
    live.controls["track"].value = "soft"
    assert live.loop.track == "soft"


def test_telling_the_mpc_the_masses(live):
    live.controls["cart_mass"].value = 1.5
    p = live.loop.mpc.parameters.unpack(live.loop.theta)
    assert (float(p.cart_mass), live.loop.plant.parameters.cart_mass) == (1.0, 1.5)
    live.controls["told"].value = True
    assert float(live.loop.mpc.parameters.unpack(live.loop.theta).cart_mass) == 1.5
    live.controls["mass"].value = 0.4
    assert float(live.loop.mpc.parameters.unpack(live.loop.theta).mass) == 0.4
    live.controls["told"].value = False
    p = live.loop.mpc.parameters.unpack(live.loop.theta)
    assert (float(p.cart_mass), float(p.mass)) == (1.0, 0.2) and live.error == ""


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Kick", "Reset"]
    start = live.picture.value
    for text in ("Step", "Kick"):
        before = live.picture.value
        live.buttons[text].click()
        assert live.picture.value != before and live.error == ""
    live.buttons["Pause"].click()
    live.buttons["Reset"].click()
    assert live.picture.value == start and live.error == "" and live.loop.count == 0


def test_the_other_problems_are_built_ahead_but_not_while_it_plays(build):
    built = []

    def counted(horizon, track):
        built.append((horizon, track))
        return build(horizon, track)

    async def scenario():
        live = cartpole_live(horizon=20, start=UPRIGHT, build=counted, width=640)
        clock = ticking(live)
        live.buttons["Play"].click()
        await clock.advance(10 * PAUSE)
        assert live.playing and built == [(20, "soft")]
        live.buttons["Pause"].click()
        await clock.advance(PAUSE)
        assert len(built) == 2  # one by one
        await clock.advance(6 * PAUSE)
        assert live.ahead.done()
        live.controls["horizon"].value = 30
        assert live.error == ""

    asyncio.run(scenario())
    assert sorted(built) == sorted([(20, "hard"), *((horizon, "soft") for horizon in HORIZONS)])


def test_play_and_a_failing_controller(build):
    def controller(x, solution):
        if abs(x[1]) < 0.05:
            raise ZeroDivisionError("my own mistake")
        return solution.u0

    live = cartpole_live(controller, horizon=20, start=UPRIGHT, build=build, width=640)

    async def scenario():
        clock = ticking(live)
        live.buttons["Play"].click()
        while live.playing:
            await clock.tick()

    asyncio.run(scenario())
    assert live.loop.count >= 2
    assert "my own mistake" in live.message.value and "in controller, line" in live.error
    live.buttons["Reset"].click()
    live.buttons["Step"].click()
    assert live.error == ""


def test_the_end_of_the_track_is_shown_and_reset_helps(live):
    live.loop.kick([30.0, 0.0])
    for _ in range(4):
        live.buttons["Step"].click()
    assert "has run into the end of the track" in live.error and abs(live.loop.x[0]) > cartpole.TRACK_END
    assert live.loop.outside >= 1 and live.loop.cost > cartpole.CRASH_COST
    live.buttons["Reset"].click()
    live.buttons["Step"].click()
    assert live.error == "" and live.loop.count == 1


def test_the_alt_text_and_the_line_below_say_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert "solve time" in live.words.value and f"cost so far {live.loop.cost:.1f}" in live.words.value
    assert len(live.loop.history) == 1 <= PAST
