"""The power system live: the loop against the environment, the scene's curves, every control, errors."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.envs.power import ANGLE_LIMIT, SCENARIO, PowerParameters, PowerSystem
from mpcrl_course.figures.power import describe_power
from mpcrl_course.live.power import PARTS, TOPS, Areas, PowerLoop, PowerScene, central_policy, power_live
from mpcrl_course.network import ADMM
from mpcrl_course.problems.power import power_mpc
from tests.live.helpers import alt

P = PowerParameters()
NOMINAL = central_policy()
THETA = power_mpc().parameters.pack(angle_lb_4=0.06)
LEARNED = central_policy(THETA)


def follows(s):
    """Each area covers its own load, as far as it can."""
    return s[4::5]


@pytest.fixture
def loop():
    return PowerLoop({"nominal": NOMINAL, "learned": LEARNED})


@pytest.fixture
def live():
    return power_live(LEARNED, NOMINAL, width=640)


def seconds(loop, n):
    for _ in range(PARTS * n):
        loop.step()


# ---- the loop, without any widget


def test_both_are_driven_as_in_the_environment(loop):
    envs, cost, violated = [PowerSystem(), PowerSystem()], np.zeros(2), np.zeros(2)
    for env in envs:
        env.reset(seed=0)
    for _ in range(90):
        for i, policy in enumerate((NOMINAL, LEARNED)):
            *_, info = envs[i].step(policy(envs[i].x.ravel()))
            cost[i] += info["cost"]
            violated[i] += (np.abs(envs[i].x[:, 0]) > ANGLE_LIMIT).any()
        seconds(loop, 1)
        np.testing.assert_allclose(loop.x, [env.x for env in envs], atol=1e-12)
    np.testing.assert_allclose(loop.cost, cost)
    np.testing.assert_array_equal(loop.violated, violated)
    assert loop.count == 90 and violated[0] > violated[1] == 0 and len(loop.past) == 60 * PARTS + 1


def test_between_decisions_the_states_are_exact():
    """A quarter of a second: a fine integration of the differential equations from one decision to the next."""
    loop, quarters = PowerLoop({"one": follows, "other": follows}, seed=3), []
    seconds(loop, 7)
    start, dt = loop.x[0, :, :4].copy(), 1e-3
    for _ in range(PARTS):
        loop.step()
        quarters.append(loop.x[0, :, :4].copy())
    load, u, x = loop.inputs[0][4:], loop.u[0], start
    for k in range(1000):
        angle, omega, P_m, P_v = x.T
        out = (P.ties() * (angle[:, None] - angle)).sum(1)
        half = x + 0.5 * dt * np.column_stack([
            omega, (P_m - load - np.array(P.D) * omega - out) / (2 * np.array(P.H)), (P_v - P_m) / P.T_t,
            (u - omega / P.R - P_v) / P.T_g,
        ])  # fmt: skip
        angle, omega, P_m, P_v = half.T
        out = (P.ties() * (angle[:, None] - angle)).sum(1)
        x = x + dt * np.column_stack([
            omega, (P_m - load - np.array(P.D) * omega - out) / (2 * np.array(P.H)), (P_v - P_m) / P.T_t,
            (u - omega / P.R - P_v) / P.T_g,
        ])  # fmt: skip
        if (k + 1) % 250 == 0:
            np.testing.assert_allclose(x, quarters[k // 250], atol=2e-5)


def test_both_suffer_the_same_noise_and_another_seed_another():
    loop = PowerLoop({"one": follows, "twin": follows})
    seconds(loop, 30)
    np.testing.assert_array_equal(loop.x[0], loop.x[1])
    other = PowerLoop({"one": follows, "twin": follows}, seed=1)
    seconds(other, 30)
    assert np.abs(loop.x - other.x).max() > 1e-3
    quiet = PowerLoop({"one": follows, "twin": follows}, noise=0.0)
    seconds(quiet, 4)
    assert not quiet.x.any()


def test_restart_gives_the_same_run_again(loop):
    seconds(loop, 12)
    first = loop.x.copy()
    loop.restart()
    assert loop.count == 0 and not loop.x.any() and not loop.cost.any() and len(loop.past) == 1
    seconds(loop, 12)
    np.testing.assert_array_equal(loop.x, first)


def test_the_scenario_and_loads_in_the_readers_hand(loop):
    seconds(loop, 4)
    np.testing.assert_array_equal(loop.loads, 0.0)
    seconds(loop, 1)
    np.testing.assert_array_equal(loop.loads, SCENARIO[0][1])
    loop.step()
    loop.set_loads([0.0, 0.1, -0.1, 0.2])  # shown at once, though the load of this second is another
    for _ in range(PARTS - 1):
        np.testing.assert_array_equal(loop.x[:, :, 4], [[0.0, 0.1, -0.1, 0.2]] * 2)
        np.testing.assert_array_equal(loop.loads, SCENARIO[0][1])
        loop.step()
    loop.step()
    np.testing.assert_array_equal(loop.loads, [0.0, 0.1, -0.1, 0.2])
    np.testing.assert_array_equal(loop.x[:, :, 4], [[0.0, 0.1, -0.1, 0.2]] * 2)
    seconds(loop, 40)  # the scenario is over
    np.testing.assert_array_equal(loop.loads, [0.0, 0.1, -0.1, 0.2])
    for bad in ([0.1] * 3, [0.1, np.nan, 0, 0]):
        with pytest.raises(ValueError, match="loads must be 4 finite numbers"):
            loop.set_loads(bad)


def test_the_central_policy_is_where_admm_arrives():
    network, rng = power_mpc(), np.random.default_rng(0)
    admm = ADMM(network, 50.0, 20_000, tolerance=1e-8)
    for _ in range(3):
        s = rng.uniform(-0.1, 0.1, 20)
        np.testing.assert_allclose(LEARNED(s), admm.V(THETA, s).u0, atol=1e-6)
    with pytest.raises(ValueError, match=r"theta has shape \(3,\)"):
        central_policy(np.zeros(3))


def test_what_cannot_be_compared_is_refused_and_nothing_moves_after_a_failure(loop):
    with pytest.raises(ValueError, match="two policies can be compared here, not 1"):
        PowerLoop({"one": follows})
    seconds(loop, 3)
    before, ends = loop.x.copy(), [env.x.copy() for env in loop.envs]
    loop.policies[1] = lambda s: np.full(4, np.nan)
    with pytest.raises(ValueError, match="inputs of 'learned' are not finite"):
        loop.step()
    np.testing.assert_array_equal(loop.x, before)
    np.testing.assert_array_equal([env.x for env in loop.envs], ends)
    assert loop.count == 3 and loop.part == PARTS


def test_inputs_are_clipped_to_their_limits():
    loop = PowerLoop({"large": lambda s: np.full(4, 9.0), "small": lambda s: np.full(4, -9.0)})
    loop.step()
    np.testing.assert_array_equal(loop.u, [P.limit, [-limit for limit in P.limit]])


# ---- the scene


def test_scene_draws_a_picture_of_its_size_and_describes_it(loop):
    scene = PowerScene(loop, 800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 480)
    seconds(loop, 5)
    text = scene.describe(loop)
    for i, name in enumerate(("nominal", "learned")):
        words = describe_power(loop.x[i], loop.u[i], P.ties(), P.limit)
        assert f"{name}: {words} Cost so far {loop.cost[i]:.0f}; 0 of 5 seconds ended beyond a limit." in text


def test_curves_hold_the_past_and_end_now(loop):
    scene = PowerScene(loop)
    for steps, points in ((0, 1), (7, 4), (400, 121)):
        for _ in range(steps):
            loop.step()
        scene.draw(loop)
        for i in range(2):
            for j, curve in enumerate(scene.angles[i]):
                t, angle = curve.get_data()
                assert len(t) == points and t[-1] == 0.0 and angle[-1] == loop.x[i, j, 0]
            assert scene.costs[i].get_ydata()[-1] == loop.cost[i]
    np.testing.assert_allclose(t, np.arange(-60, 0.1, 0.5))
    angles = np.array([angles for angles, _ in loop.past])
    np.testing.assert_array_equal(angle[-2], angles[-3, 1, 3])


def test_the_axis_of_cost_grows_and_is_drawn_anew_only_then(loop, monkeypatch):
    scene, drawn = PowerScene(loop), []
    scene.draw(loop)
    layer = scene.canvas.layer
    monkeypatch.setattr(scene.canvas, "layer", lambda **options: drawn.append(layer(**options)))
    for cost, top in ((99.0, 100), (100.5, 200), (180.0, 200), (4000.0, 5000), (0.0, 100), (1e6, TOPS[-1])):
        loop.past.clear()
        loop.past.append((loop.x[:, :, 0], np.array([cost, 0.0])))
        scene.draw(loop)
        assert scene.cost_axes.get_ylim() == (0.0, top)
    assert len(drawn) == 4


def test_a_frame_redraws_no_axes_and_a_decision_is_made_every_fourth_frame_only(loop, monkeypatch):
    scene, drawn, asked = PowerScene(loop), [], []
    layer = scene.canvas.layer
    loop.policies = [lambda s, policy=policy: (asked.append(1), policy(s))[1] for policy in loop.policies]
    scene.draw(loop)
    monkeypatch.setattr(scene.canvas, "layer", lambda **options: drawn.append(layer(**options)))
    for _ in range(10 * PARTS):
        loop.step()
        scene.draw(loop)
    assert len(asked) == 2 * 10 and not drawn


# ---- the widget, control by control


@pytest.mark.parametrize("name", ["load1", "load2", "load3", "load4", "noise"])
def test_every_slider_over_its_range(live, name):
    slider = live.controls[name]
    for value in (slider.max, slider.min, slider.min + 3 * slider.step):
        before = live.picture.value
        slider.value = value
        assert live.picture.value != before  # at once, before the next step
        for _ in range(PARTS):
            live.buttons["Step"].click()
        assert live.error == "" and live.message.value == ""
        acts = live.loop.envs[0].noise if name == "noise" else live.loop.loads[int(name[-1]) - 1]
        assert acts == pytest.approx(value) and slider.value == pytest.approx(value)
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Restart", "Scenario"]
    start = live.picture.value
    for _ in range(5 * PARTS):
        live.buttons["Step"].click()
    assert live.loop.count == 5 and live.controls["load1"].value == 0.15  # the scenario moves the slider
    assert live.picture.value != start
    live.buttons["Pause"].click()
    assert live.error == "" and not live.playing
    live.controls["load4"].value = -0.1
    live.buttons["Restart"].click()  # with the loads as they are
    assert live.loop.count == 0 and not live.loop.x[:, :, :4].any() and live.picture.value != start  # loads are shown
    live.buttons["Step"].click()
    np.testing.assert_allclose(live.loop.loads, [0.15, 0.0, 0.0, -0.1])
    live.buttons["Scenario"].click()
    assert [live.controls[f"load{i + 1}"].value for i in range(4)] == [0.0] * 4 and live.loop.count == 0
    assert live.picture.value == start
    for _ in range(5 * PARTS):
        live.buttons["Step"].click()
    np.testing.assert_array_equal(live.loop.loads, SCENARIO[0][1])


def test_a_slider_moved_on_the_way_takes_the_loads_over(live):
    for _ in range(4 * PARTS + 2):
        live.buttons["Step"].click()
    live.controls["load3"].value = 0.2
    live.buttons["Step"].click()
    assert live.controls["load3"].value == 0.2  # the loop does not move it back
    for _ in range(20 * PARTS):
        live.buttons["Step"].click()
    np.testing.assert_allclose(live.loop.loads, [0.15, 0.0, 0.2, 0.0])


def test_stronger_tie_lines_are_of_the_plant_and_of_who_knows_them():
    loop = PowerLoop({"true": Areas(), "learned": Areas(np.stack([THETA, THETA + 0.01, THETA, THETA]))})
    assert loop.policies[0](np.zeros(20)).shape == (4,)
    for _ in range(30 * PARTS):
        loop.step()
    before = loop.x.copy()
    loop.strengthen(2)
    assert loop.factor == 2 and loop.count == 0 and not loop.x.any()
    env = PowerSystem(P.stronger(2))
    env.reset(seed=0)
    ties = {f"P_tie_{i + 1}": row[row > 0] for i, row in enumerate(2 * P.ties())}
    known = central_policy(power_mpc().parameters.pack(**ties))
    for _ in range(30):
        env.step(known(env.x.ravel()))
        seconds(loop, 1)
    np.testing.assert_allclose(loop.x[0], env.x, atol=1e-9)
    assert np.abs(loop.x - before).max() > 1e-3
    other = central_policy(THETA + 0.01)
    s = loop.envs[1].x.ravel()
    np.testing.assert_allclose(loop.policies[1](s), other(s), atol=1e-12)  # those of this strength


def test_who_is_told_nothing_and_who_is_chosen():
    several = {"plans": Areas(THETA), "nothing sent": Areas(THETA, told=False), "mine": follows}
    live = power_live(several, width=640)
    for name, policy in (("plans", LEARNED), ("nothing sent", central_policy(THETA, told=False)), ("mine", follows)):
        live.controls["second"].value = name
        assert live.error == "" and live.loop.count == 0 and live.loop.names == ["nominal", name]
        env = PowerSystem()
        env.reset(seed=0)
        for _ in range(7):
            env.step(policy(env.x.ravel()))
        for _ in range(7 * PARTS):
            live.buttons["Step"].click()
        np.testing.assert_allclose(live.loop.x[1], env.x, atol=1e-9)
        assert f"<b>{name}</b> cost" in live.words.value and live.scene.names == live.loop.names
    pictures = []
    for factor in (4, 1):
        live.controls["factor"].value = factor
        for _ in range(6 * PARTS):
            live.buttons["Step"].click()
        assert live.error == "" and live.loop.factor == factor and f"tie lines × {factor}" in live.words.value
        pictures.append(live.picture.value)
    assert pictures[0] != pictures[1]


def test_what_fails_is_shown_and_the_widget_goes_on(live):
    def mine(s):
        raise ZeroDivisionError("my own mistake")

    live.buttons["Step"].click()
    policy, live.loop.policies[1] = live.loop.policies[1], mine
    for _ in range(PARTS):
        live.buttons["Step"].click()
    assert "my own mistake" in live.message.value and "in mine, line" in live.error and live.loop.count == 1
    live.loop.policies[1] = policy
    live.buttons["Step"].click()
    assert live.error == "" and live.loop.count == 2


def test_parameters_functions_and_names():
    live = power_live(THETA, follows, names=("own load", "back-off"), noise=0.02, width=640)
    for _ in range(6 * PARTS):
        live.buttons["Step"].click()
    env = PowerSystem(noise=0.02)
    env.reset(seed=0)
    for _ in range(6):
        env.step(LEARNED(env.x.ravel()))
    np.testing.assert_allclose(live.loop.x[1], env.x, atol=1e-12)
    assert "<b>own load</b> cost" in live.words.value and live.controls["noise"].value == 0.02


def test_the_alt_text_says_the_state(live):
    for _ in range(3):
        live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert re.search(
        r"tie lines × 1 · second 1 · <b>nominal</b> cost \d+, 0 s beyond a limit, decision \d+\.\d ms", live.words.value
    )
