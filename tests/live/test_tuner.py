"""A tuner's next question: the loop against surrogate and closed loop, the reader's acquisition, every control."""

import re

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import linear
from mpcrl_course.learners.surrogate import GaussianProcess, expected_improvement
from mpcrl_course.live import tuner
from mpcrl_course.live.tuner import LOWER, MOST, UPPER, TunerLoop, TunerScene, tuner_live
from mpcrl_course.problems import linear_mpc


def test_an_evaluation_is_the_closed_loop_of_that_back_off():
    mpc, plant = linear_mpc(), linear.LinearParameters()
    theta = mpc.parameters.pack(A=linear.A, B=linear.B, b=[-0.05, 0.0], x_lb=[0.08, 0.0])
    noise = plant.draw([3, 1], 2, 50)
    found = run(lambda y: mpc.values(theta, y)[1], plant, np.tile(linear.START, (2, 1)), noise)
    assert tuner.cost(0.08, 50, [3, 1]) == pytest.approx(np.log10(found.cost.mean()), rel=1e-12)


def test_the_next_question_is_where_the_acquisition_of_the_surrogate_is_largest():
    loop = TunerLoop(seed=2)
    loop.step()
    x = (np.array(loop.asked) - LOWER) / (UPPER - LOWER)
    mean, deviation = GaussianProcess(x[:, None], loop.cost)(np.linspace(0, 1, 121)[:, None])
    worth = expected_improvement(mean, deviation, min(loop.cost))
    np.testing.assert_allclose(loop.worth, worth, atol=1e-12)
    assert loop.next == pytest.approx(np.linspace(LOWER, UPPER, 121)[np.argmax(worth)])
    asked = loop.next
    loop.step()
    assert loop.asked[-1] == asked and len(loop.asked) == 4


def test_with_the_same_noise_a_question_has_one_answer_and_else_not():
    for noisy, equal in ((False, True), (True, False)):
        loop = TunerLoop(noisy=noisy)
        loop.evaluate(0.05)
        loop.evaluate(0.05)
        assert (loop.cost[-1] == loop.cost[-2]) is equal


def test_the_readers_acquisition_decides():
    loop = TunerLoop(lambda mean, deviation, best: -abs(np.linspace(LOWER, UPPER, 121) - 0.1))
    assert loop.next == pytest.approx(0.1)
    with pytest.raises(ValueError, match="acquisition"):
        TunerLoop(lambda mean, deviation, best: 1.0)


def test_it_ends_after_forty_and_begins_again():
    loop = TunerLoop(steps=25)
    loop.asked, loop.cost = [0.0] * MOST, [0.0] * MOST
    with pytest.raises(RuntimeError, match="40 evaluations are made: press Reset"):
        loop.evaluate(0.1)
    loop.step()
    assert loop.asked == [LOWER, UPPER] and loop.seed == 1
    loop.evaluate(0.1)
    loop.reset()
    assert loop.asked == [LOWER, UPPER]


def test_the_picture_says_what_the_loop_holds():
    loop, scene = TunerLoop(), TunerScene(640)
    before = scene.draw(loop)
    loop.evaluate(0.1)
    assert scene.draw(loop) != before
    words = scene.describe(loop)
    assert "3 evaluations" in words and f"{loop.next:.3f}" in words
    scene.truth = True
    assert scene.draw(loop) != before


def test_every_control_and_action():
    live = tuner_live(width=640)
    loop, scene, controls = live.loop, live.scene, live.controls
    live.buttons["Evaluate the tuner's"].click()
    controls["here"].value = 0.12
    live.buttons["Evaluate yours"].click()
    assert loop.asked[-1] == pytest.approx(0.12) and scene.here == pytest.approx(0.12)
    controls["truth"].value = True
    assert scene.truth
    controls["steps"].value = 100
    assert loop.steps == 100 and len(loop.asked) == 2
    controls["same"].value = True
    assert loop.noisy is False
    live.buttons["Step"].click()
    assert len(loop.asked) == 3 and re.search(r"evaluation 3 of 40", live.words.value)
    live.buttons["Reset"].click()
    assert len(loop.asked) == 2 and live.error == ""


def test_an_error_of_the_readers_acquisition_is_shown():
    calls = []

    def falls(mean, deviation, best):
        calls.append(1)
        return mean if len(calls) < 2 else 1 / 0

    live = tuner_live(falls, width=640)
    live.buttons["Step"].click()
    assert "ZeroDivisionError" in live.error or "division" in live.error
