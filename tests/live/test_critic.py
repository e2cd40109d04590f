"""Critics side by side: the loop against the learner's own iteration, the reader's blend, every control."""

import asyncio
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.learners.blended import learned_omega
from mpcrl_course.live.critic import BLEND, CRITICS, EPISODE, LEARNED, MPC, TRUE, CriticLoop, CriticScene, critic_live
from mpcrl_course.problems import quadratic
from tests.live.helpers import alt, ticking


@pytest.fixture
def live():
    return critic_live(width=640)


# ---- the loop, without any widget


def test_the_critics_are_what_they_are_called():
    loop = CriticLoop(bias=1.5, beta=0.3, M=400)
    mpc, phi = quadratic.biased(1.5)
    np.testing.assert_allclose(loop.K, mpc.policy(phi)[0])
    np.testing.assert_allclose(loop.omega[MPC], mpc.omega(phi))
    np.testing.assert_allclose(loop.omega[LEARNED], learned_omega(loop.data, loop.K, loop.k))
    np.testing.assert_allclose(loop.omega[BLEND], 0.7 * loop.omega[LEARNED] + 0.3 * loop.omega[MPC])
    np.testing.assert_allclose(loop.omega[TRUE], quadratic.policy_omega(loop.K, loop.k))
    assert loop.ratios == [quadratic.expected_cost(loop.K, loop.k) / quadratic.least_cost()]


def test_fewer_data_are_the_first_episodes_of_the_same_ones():
    loop = CriticLoop()
    loop.change(M=40)
    episodes = [part.reshape(EPISODE, 20, *part.shape[1:])[:, :2] for part in loop.data]
    part = quadratic.Transitions(*(one.reshape(40, *one.shape[2:]) for one in episodes))
    np.testing.assert_allclose(loop.omega[LEARNED], learned_omega(part, loop.K, loop.k))
    np.testing.assert_allclose(part.s_next[:2], part.s[2:4])  # whole episodes: the next state is the next state


def test_an_improvement_takes_what_the_blend_thinks_best():
    loop = CriticLoop(bias=2.0, beta=0.25)
    K, k = quadratic.greedy_policy(loop.omega[BLEND])
    loop.improve()
    np.testing.assert_allclose(loop.K, K)
    np.testing.assert_allclose(loop.k, k)
    assert len(loop.ratios) == 2 and loop.ratios[1] < loop.ratios[0]
    loop.reset()
    assert len(loop.ratios) == 1


def test_the_best_action_is_the_least_of_the_curve():
    loop = CriticLoop()
    a = np.linspace(-3, 3, 6001)
    for name in CRITICS:
        curve = quadratic.features(np.tile(loop.x, (6001, 1)), a[:, None]) @ loop.omega[name]
        best, value = loop.best(name)
        assert best == pytest.approx(a[curve.argmin()], abs=6e-4) and value == pytest.approx(curve.min(), abs=1e-5)


def test_an_episode_ends_with_an_improvement_if_asked():
    loop, other = CriticLoop(), CriticLoop()
    for _ in range(2 * EPISODE):
        loop.step(improve=True)
        other.step()
    assert len(loop.ratios) == 3 and len(other.ratios) == 1


def test_a_blend_without_a_least_action_is_said_and_changes_nothing():
    loop = CriticLoop(lambda q, q_mpc, beta: -q_mpc)
    before = loop.K.copy()
    with pytest.raises(RuntimeError, match="no least action. The policy stays"):
        loop.improve()
    assert loop.best(BLEND) is None and "blend none" in CriticScene(640).describe(loop)
    np.testing.assert_array_equal(loop.K, before)
    unstable = CriticLoop(lambda q, q_mpc, beta: q_mpc * np.where(np.arange(10) == 4, -1.0, 1.0))
    with pytest.raises(RuntimeError, match="does not stabilise"):
        unstable.improve()
    assert len(unstable.ratios) == 1


def test_a_wrong_answer_of_the_reader_is_named_and_changes_nothing():
    asked = []

    def own(q_learned, q_mpc, beta):
        asked.append(beta)
        return q_mpc if beta < 0.9 else None

    loop = CriticLoop(own)
    before = loop.omega
    with pytest.raises(ValueError, match="your blend function returned None"):
        loop.change(beta=0.95)
    assert loop.beta == 0.5 and loop.omega is before and asked == [0.5, 0.95]
    loop.change(bias=0.4)
    assert loop.bias == 0.4


# ---- the scene


def test_the_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = CriticLoop(), CriticScene(640)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (640, 294)
    text = scene.describe(loop)
    assert f"s1 = {loop.x[0]:.2f}" in text and f"J/J* = {loop.ratios[-1]:.3f}" in text
    for name in CRITICS:
        assert name in text


# ---- the widget, control by control


@pytest.mark.parametrize("name", ["bias", "beta", "M"])
def test_every_slider_over_its_range(live, name):
    slider, pictures = live.controls[name], []
    for value in (slider.min, slider.max, 0.5 * (slider.min + slider.max)):
        slider.value = int(value) // EPISODE * EPISODE if name == "M" else value
        assert live.error == "" and live.message.value == ""
        pictures.append(live.picture.value)
    assert len(set(pictures)) == 3
    assert getattr(live.loop, name) == pytest.approx(slider.value)
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit


def test_every_critic_on_the_map(live):
    pictures = set()
    for name in CRITICS:
        live.controls["shown"].value = name
        assert live.error == "" and f"'{name}'" in live.scene.describe(live.loop)
        pictures.add(live.picture.value)
    assert len(pictures) == 4


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Improve", "Kick", "Reset"]
    start = live.picture.value
    for text in ("Step", "Improve", "Kick"):
        before = live.picture.value
        live.buttons[text].click()
        assert live.picture.value != before and live.error == ""
    assert len(live.loop.ratios) == 2 and "after 1 improvements" in live.words.value
    live.buttons["Pause"].click()
    live.buttons["Reset"].click()
    assert live.picture.value == start and live.error == ""


def test_play_with_and_without_improvement(live):
    clock = ticking(live)

    async def scenario():
        live.buttons["Play"].click()
        await clock.tick(EPISODE)
        assert len(live.loop.ratios) == 1 and live.loop.count == EPISODE + 1
        live.controls["improve"].value = True
        await clock.advance(2 * EPISODE / live.rate)
        live.buttons["Pause"].click()

    asyncio.run(scenario())
    assert live.error == "" and len(live.loop.ratios) == 3


def test_a_failing_blend_is_shown_and_the_widget_goes_on():
    def own(q_learned, q_mpc, beta):
        if beta > 0.9:
            raise ZeroDivisionError("my own mistake")
        return q_mpc

    live = critic_live(own, width=640)
    live.controls["beta"].value = 1.0
    assert "my own mistake" in live.message.value and "in own, line" in live.error
    live.controls["beta"].value = 0.2
    assert live.error == ""
    live.buttons["Step"].click()
    assert live.loop.count == 1


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert "largest error of the ten weights" in live.words.value
