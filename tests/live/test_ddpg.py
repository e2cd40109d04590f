"""The live picture of lecture 03: loop, scene, every control, and the reader's own functions."""

import asyncio
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.envs.pendulum import Pendulum
from mpcrl_course.learners import ddpg as learner
from mpcrl_course.live.ddpg import BUDGET, DDPGLoop, DDPGScene, ddpg_live
from tests.live.helpers import alt, ticking


@pytest.fixture
def live():
    return ddpg_live(yardstick=157.0, width=640, learn_steps=4)


def weights(loop):
    return loop.agent.actor.theta.copy()


# ---- the loop, without any widget


def test_learning_equals_the_learner_step_by_step():
    whole = learner.DDPG(Pendulum(), np.random.default_rng(5)).run(1100, progress=False)
    agent, log = whole.agent, whole.log
    loop = DDPGLoop(seed=5)
    loop.learn(700)
    loop.learn(400)
    np.testing.assert_array_equal(loop.agent.actor.theta, agent.actor.theta)
    np.testing.assert_array_equal(loop.agent.critic.theta, agent.critic.theta)
    ends, costs = log.episodes()
    np.testing.assert_allclose(loop.episodes(), np.stack([ends + 1, costs], axis=1))
    assert loop.count == 1100 and [k for k, _ in loop.tests] == [1000]


def test_showing_does_not_change_what_is_learned():
    quiet, shown = DDPGLoop(seed=2), DDPGLoop(seed=2)
    for loop in (quiet, shown):
        for _ in range(11):
            loop.learn(100)
            if loop is shown:
                loop.step()
                loop.kick()
                loop.restart(1.0)
    np.testing.assert_array_equal(weights(quiet), weights(shown))


def test_the_shown_pendulum_is_driven_by_the_actor_without_noise():
    loop, env = DDPGLoop(seed=1, start=2.0), Pendulum(start=[2.0, 0.0])
    s, _ = env.reset()
    for _ in range(30):
        loop.step()
        s, reward, *_ = env.step(loop.agent.policy(s))
        np.testing.assert_allclose(loop.x, env.x, atol=1e-6)
    assert loop.steps == 30 and loop.cost > 0


def test_reset_forgets_and_starts_the_same_run_again():
    loop = DDPGLoop(seed=3)
    first = weights(loop)
    loop.learn(1050)
    learned = weights(loop)
    loop.reset()
    np.testing.assert_array_equal(weights(loop), first)
    assert loop.count == 0 and loop.tests == [] and not len(loop.episodes())
    loop.learn(1050)
    np.testing.assert_array_equal(weights(loop), learned)


def test_changes_reach_the_agent_and_survive_a_reset():
    loop = DDPGLoop()
    loop.change(rate=4e-3, tau=0.3, noise=0.7)
    loop.reset()
    assert (loop.agent.critic_adam.rate, loop.agent.actor_adam.rate, loop.agent.tau) == (4e-3, 1e-3, 0.3)
    assert loop.noise == 0.7
    with pytest.raises(ValueError, match="finite"):
        loop.kick(np.inf)
    before = loop.x
    loop.kick(2.0)
    np.testing.assert_allclose(loop.x, before + [0, 2.0])


# ---- functions of the reader


def make_own(**functions):
    return lambda rng: learner.ActorCritic(3, [-2], [2], rng, **functions)


def test_own_functions_that_are_right_learn_the_same():
    def target(cost, terminated, s_next, mu, q, gamma):
        return cost + gamma * (1 - terminated) * q(np.hstack([s_next, mu(s_next)]))

    own = make_own(
        critic_target=target,
        actor_gradient=learner.actor_gradient,
        soft_update=lambda target, theta, tau: (1 - tau) * target + tau * theta,
    )  # fmt: skip
    ours, theirs = DDPGLoop(seed=4), DDPGLoop(own, seed=4)
    for loop in (ours, theirs):
        loop.learn(1040)
    np.testing.assert_allclose(weights(theirs), weights(ours), atol=2e-4)


def test_learning_that_diverges_is_said():
    loop = DDPGLoop(lambda rng: learner.ActorCritic(3, [-2], [2], rng, critic_rate=1e30, actor_rate=1e30))
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="not finite: press Forget"):
        loop.learn(1100)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"critic_target": lambda *a: None}, "critic_target function returned None"),
        ({"critic_target": lambda cost, *a: cost[:, 0]}, r"critic_target function returned shape \(64,\)"),
        ({"actor_gradient": lambda actor, *a: actor.theta[:3]}, r"actor_gradient function returned shape \(3,\)"),
        ({"actor_gradient": lambda actor, *a: actor.theta * np.nan}, "not finite"),
        ({"soft_update": lambda target, theta, tau: theta[0]}, r"soft_update function returned shape \(\)"),
    ],
)
def test_own_functions_that_are_wrong_say_so(functions, message):
    loop = DDPGLoop(make_own(**functions))
    with pytest.raises(ValueError, match=message):
        loop.learn(1001)


# ---- the scene


def test_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = DDPGLoop(), DDPGScene(800, 157.0)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 460)
    assert "hanging down" in scene.describe(loop) and "After 0 training steps" in scene.describe(loop)
    loop.learn(1000)
    loop.step()
    text = scene.describe(loop)
    assert f"last {loop.tests[-1][1]:.0f}" in text and "value iteration: 157" in text
    assert f"velocity {loop.x[1]:.2f} rad/s" in text


def test_maps_show_the_present_networks():
    loop, scene = DDPGLoop(), DDPGScene()
    loop.learn(1200)
    scene.shade(loop)
    q, v = scene.grid[7, 11]
    s = np.array([np.cos(q), np.sin(q), v])
    a = loop.agent.policy(s)
    assert scene.images[1].get_array()[7, 11] == pytest.approx(a[0], abs=1e-4)
    assert scene.images[0].get_array()[7, 11] == pytest.approx(loop.agent.value(s, a), abs=1e-3)


def test_maps_are_drawn_anew_only_after_learning(monkeypatch):
    loop, scene, shaded = DDPGLoop(), DDPGScene(), []
    monkeypatch.setattr(scene, "shade", lambda loop: (shaded.append(loop.count), DDPGScene.shade(scene, loop)))
    for _ in range(5):
        loop.step()
        scene.draw(loop)
    assert shaded == [0]
    for _ in range(10):
        loop.learn(50)
        scene.draw(loop)
    assert shaded == [0, 200, 400]
    loop.reset()
    scene.draw(loop)
    assert shaded == [0, 200, 400, 0]


# ---- the widget, control by control


@pytest.mark.parametrize("name", ["rate", "tau", "noise", "start"])
def test_every_slider_over_its_range(live, name):
    slider = live.controls[name]
    log = name in ("rate", "tau")
    low, high = (10**slider.min, 10**slider.max) if log else (slider.min, slider.max)
    for value in (high, low, (low + high) // 2 if name == "start" else (low + high) / 2):
        slider.value = value
        live.buttons["Step"].click()
        assert live.error == "" and live.message.value == ""
    shown = {"rate": live.loop.agent.critic_adam.rate, "tau": live.loop.agent.tau, "noise": live.loop.noise,
             "start": np.rad2deg(live.loop.start)}  # fmt: skip
    assert shown[name] == pytest.approx(slider.value)
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit


def test_sliders_start_where_the_agent_is(live):
    assert live.controls["rate"].value == pytest.approx(2e-3) and live.controls["tau"].value == pytest.approx(0.005)
    agent = live.loop.agent
    assert (agent.critic_adam.rate, agent.actor_adam.rate, agent.tau) == (2e-3, 5e-4, 0.005)


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Kick", "Restart", "Forget"]
    for text in ("Step", "Kick", "Restart"):
        if text == "Restart":
            live.buttons["Step"].click()
        before = live.picture.value
        live.buttons[text].click()
        assert live.picture.value != before and live.error == ""
    live.buttons["Pause"].click()
    live.controls["learn"].value = True
    live.buttons["Step"].click()
    assert live.loop.count == 4
    live.buttons["Forget"].click()
    assert live.loop.count == 0 and live.error == ""


def test_play_learns_within_its_budget_of_time(live):
    clock, learn, made = ticking(live), live.loop.learn, []

    def slow():
        learn()
        clock.time += 0.6 * BUDGET

    async def scenario():
        live.buttons["Play"].click()
        await clock.tick(3)
        assert live.loop.count == 0 and live.loop.steps == 4
        live.controls["learn"].value = True
        for live.loop.learn in (learn, slow):  # in no time all of them, else as many as fit
            before = live.loop.count, live.loop.steps
            await clock.advance(5 / live.rate)
            made.append((live.loop.count - before[0]) / (live.loop.steps - before[1]))
        live.buttons["Pause"].click()

    asyncio.run(scenario())
    assert live.error == "" and made == [4, 2]


def test_a_failing_function_is_shown_and_the_widget_goes_on():
    def actor_gradient(actor, critic, s):
        raise ZeroDivisionError("my own mistake")

    live = ddpg_live(make_own(actor_gradient=actor_gradient), width=640, train_first=999)
    live.controls["learn"].value = True
    live.buttons["Step"].click()
    assert "my own mistake" in live.message.value and "in actor_gradient, line" in live.error
    live.controls["learn"].value = False
    live.buttons["Step"].click()
    assert live.error == "" and live.loop.steps == 1


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert "training steps" in live.words.value and "N m" in live.words.value
