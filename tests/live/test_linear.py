import asyncio
import io
import re
from functools import cache

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.envs.linear import LinearPlant
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.live.linear import LinearLoop, LinearScene, linear_live
from mpcrl_course.mpc import SolverError
from mpcrl_course.problems.linear import linear_mpc
from tests.live.helpers import alt, ticking, turn

BUILD = cache(linear_mpc)  # one for all tests


@pytest.fixture
def live():
    return linear_live(width=640, build=BUILD)


def trace(loop, steps, learn=False):
    states = []
    for _ in range(steps):
        loop.step(learn)
        states.append(loop.x)
    return np.array(states)


# ---- the loop, without any widget


def test_loop_is_deterministic_per_seed():
    first, again, other = (trace(LinearLoop(seed=seed), 60) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_reset_starts_the_same_run_again_even_after_kicks_and_learning():
    loop = LinearLoop(seed=3, build=BUILD)
    first = trace(loop, 30, learn=True)
    loop.kick()
    loop.step(True)
    loop.reset()
    np.testing.assert_array_equal(trace(loop, 30, learn=True), first)


def test_learning_equals_the_learner_step_by_step():
    mpc = linear_mpc()
    log = QLearning(mpc, LinearPlant(), np.random.default_rng(7)).run(50, progress=False).log
    loop = LinearLoop(mpc, seed=7)
    for k in range(50):
        np.testing.assert_allclose(loop.x, log.x[k], atol=1e-12)
        np.testing.assert_allclose(loop.action, log.u[k], atol=1e-12)
        loop.step(learn=True)
        np.testing.assert_allclose(loop.theta, log.theta[k + 1], atol=1e-12)
        assert loop.learner.log.last("td", 1) == pytest.approx(log.td[k], abs=1e-12)
        assert loop.learner.log.last("cost", 1) == pytest.approx(log.cost[k], abs=1e-12)
    assert loop.updates == loop.count == 50


def test_td_error_without_learning_is_that_of_q():
    loop = LinearLoop(seed=2, build=BUILD)
    s, a = loop.x, loop.action
    loop.step()
    q = loop.mpc.Q(loop.theta, s, a).value
    td = loop.learner.log.cost[0] + loop.mpc.discount * loop.mpc.V(loop.theta, loop.x).value - q
    assert loop.learner.log.td[0] == pytest.approx(td, abs=1e-7)


def test_back_off_of_the_learned_size_ends_the_violations():
    loop = LinearLoop(build=BUILD)
    trace(loop, 300)
    assert loop.violations > 50
    loop.reset()
    loop.change(back_off=0.2)
    trace(loop, 300)
    assert loop.violations == 0


def test_reader_functions_are_called_and_decide():
    calls = []

    def gradient(solution):
        calls.append(solution.kind)
        return solution.gradient()

    loop = LinearLoop(build=BUILD, gradient=gradient, update=lambda theta, td, grad: theta + 0 * grad)
    trace(loop, 5, learn=True)
    assert calls == ["Q"] * 5
    np.testing.assert_array_equal(loop.theta, loop.start)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"gradient": lambda solution: None}, "gradient function returned None"),
        ({"gradient": lambda solution: np.zeros(3)}, r"gradient .* shape \(3,\)"),
        ({"update": lambda theta, td, grad: theta * np.nan}, "update .* not finite"),
        ({"update": lambda theta, td, grad: None}, "update function returned None"),
    ],
)
def test_wrong_answers_of_the_reader_are_named_and_change_nothing(functions, message):
    loop = LinearLoop(**functions, build=BUILD)
    trace(loop, 3)
    state, theta = loop.x.copy(), loop.theta.copy()
    with pytest.raises(ValueError, match=message):
        loop.step(learn=True)
    np.testing.assert_array_equal(loop.x, state)
    np.testing.assert_array_equal(loop.theta, theta)
    assert loop.count == 3 and loop.updates == 0
    loop.step()


def test_runaway_and_non_finite_changes_raise_and_change_nothing():
    loop = LinearLoop(build=BUILD)
    with pytest.raises(ValueError, match="not finite"):
        loop.change(back_off=np.nan)
    with pytest.raises(ValueError, match="a kick is two finite numbers"):
        loop.kick([np.inf, 0])
    assert loop.back_off() == 0.0 and np.isfinite(loop.x).all()
    loop.kick([0.0, 95.0])
    with pytest.raises(RuntimeError, match="run away"):
        loop.step()


def test_a_given_mpc_is_used_at_its_own_horizon_only():
    mpc = linear_mpc(4, 0.8)
    loop = LinearLoop(mpc)
    assert loop.mpc is mpc
    loop.change(horizon=6)
    assert loop.mpc.problem.horizon == 6 and loop.mpc.discount == 0.8
    six = loop.mpc
    loop.change(horizon=4)
    assert loop.mpc is mpc
    loop.change(horizon=6)
    assert loop.mpc is six  # built once


# ---- the scene


def test_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = LinearLoop(build=BUILD), LinearScene(800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 400)
    assert "No step has been made" in scene.describe(loop)
    trace(loop, 7)
    text = scene.describe(loop)
    assert "after 7 steps" in text and f"x1 = {loop.x[0]:.3f}" in text and f"of {loop.count} steps" in text
    assert scene.draw(loop) != scene.draw(LinearLoop(seed=9, build=BUILD))


# ---- the widget, control by control


def picture(live):
    return live.picture.value


@pytest.mark.parametrize("name", ["back_off", "horizon", "discount", "noise"])
def test_every_slider_over_its_range(live, name):
    slider = live.controls[name]
    live.buttons["Step"].click()
    pictures = []
    for value in (slider.min, slider.max, slider.min + (slider.max - slider.min) / 2):
        slider.value = int(value) if name == "horizon" else value
        live.buttons["Step"].click()
        assert live.error == "" and live.message.value == ""
        pictures.append(picture(live))
    assert len(set(pictures)) == 3
    shown = {
        "back_off": live.loop.back_off(),
        "horizon": live.loop.mpc.problem.horizon,
        "discount": live.loop.mpc.discount,
        "noise": live.loop.plant.noise,
    }
    assert shown[name] == pytest.approx(slider.value)
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit


@pytest.mark.parametrize("name", ["back_off", "horizon", "discount"])
def test_a_slider_changes_the_picture_at_once(live, name):
    before = picture(live)
    live.controls[name].value = live.controls[name].min if name != "back_off" else 0.15
    assert picture(live) != before and live.error == ""


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Kick", "Reset"]
    start = picture(live)
    for text in ("Step", "Kick"):
        before = picture(live)
        live.buttons[text].click()
        assert picture(live) != before and live.error == ""
    live.buttons["Pause"].click()
    live.buttons["Reset"].click()
    assert picture(live) == start and live.error == ""


def test_play_with_and_without_learning_and_the_slider_follows(live):
    clock = ticking(live)

    async def scenario():
        live.buttons["Play"].click()
        await clock.tick(4)
        assert live.loop.count == 5 and live.loop.updates == 0
        live.controls["learn"].value = True
        await clock.advance(25 / live.rate)
        live.buttons["Pause"].click()

    asyncio.run(scenario())
    assert live.error == "" and live.loop.updates == live.loop.count - 5 >= 5 * 24  # five a frame
    live.buttons["Step"].click()
    back_off = live.loop.back_off()
    assert back_off != 0.0 and live.controls["back_off"].value == pytest.approx(
        min(max(back_off, 0.0), 0.3), abs=0.0051
    )
    live.buttons["Reset"].click()
    assert live.controls["back_off"].value == live.loop.back_off() == 0.0


def test_a_learned_back_off_outside_of_the_slider_is_not_cut_off():
    def shift(theta, td, grad):
        theta[1] = 0.5
        return theta

    live = linear_live(update=shift, width=640, build=BUILD)
    live.controls["learn"].value = True
    live.buttons["Step"].click()
    assert live.error == "" and live.controls["back_off"].value == 0.3 and live.loop.back_off() == 0.5


def test_step_learns_exactly_one_step(live):
    live.controls["learn"].value = True
    live.buttons["Step"].click()
    assert live.loop.count == live.loop.updates == 1


def test_a_failing_function_is_shown_and_the_widget_goes_on():
    def gradient(solution):
        raise ZeroDivisionError("my own mistake")

    live = linear_live(gradient=gradient, width=640, build=BUILD)
    live.controls["learn"].value = True
    live.buttons["Step"].click()
    assert "my own mistake" in live.message.value and "in gradient, line" in live.error

    clock = ticking(live)

    async def scenario():
        live.buttons["Play"].click()
        await turn()
        assert not live.playing and "my own mistake" in live.message.value
        live.controls["learn"].value = False
        live.buttons["Play"].click()
        await clock.advance(4 / live.rate)
        assert live.playing and live.error == "" and live.message.value == ""
        live.buttons["Pause"].click()

    asyncio.run(scenario())
    assert live.loop.count >= 4 and live.loop.updates == 0


def test_a_failing_solve_is_shown_and_the_widget_goes_on(live, monkeypatch):
    def fail(*args, **kwargs):
        raise SolverError("not converged", "made to fail", live.loop.x, None, live.loop.theta)

    before = picture(live)
    monkeypatch.setattr(live.loop.mpc, "V", fail)
    live.buttons["Step"].click()
    live.controls["back_off"].value = 0.1
    assert "made to fail" in live.message.value
    monkeypatch.undo()
    live.buttons["Step"].click()
    assert live.error == "" and picture(live) != before


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert ".alt = this.dataset.alt" in live.words.value
    assert "solve time" in live.words.value and "µs" in live.words.value
