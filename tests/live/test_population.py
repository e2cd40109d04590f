"""A population live: the loop without a widget, the scene, every control, and the reader's own policy."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.live.population import (
    DOTS,
    FRAMES,
    IDLE,
    KS,
    NOISES,
    NS,
    PopulationLoop,
    PopulationScene,
    population_live,
)
from mpcrl_course.population import all_counts, plan, rendezvous, sampled_policy
from tests.live.helpers import alt, ticking, turn


@pytest.fixture(scope="module")
def live():
    return population_live(width=640)


def to_most(s, s_g, h):
    c = np.array(h) + np.eye(3)[s]
    return int(c.argmax())


def test_the_policy_is_that_of_the_plan_and_steps_are_by_counts():
    loop = PopulationLoop(n=200, k=4)
    planned = sampled_policy(plan(rendezvous(), 4))
    np.testing.assert_allclose(loop.policy.local, planned.local)
    for _ in range(60):
        loop.step()
        assert loop.C.sum() == 200 and 0 <= loop.s_g <= 6 and (loop.seen.sum(axis=1) == 4).all()
    assert 0.2 < loop.mean_reward < 1.0 and len(loop.rewards) == 60
    one, other = PopulationLoop(seed=3), PopulationLoop(seed=3)
    for loop in (one, other):
        loop.step()
    assert one.C.tolist() == other.C.tolist() and one.rewards == other.rewards
    one.reset()
    assert one.rewards == [] and one.s_g == IDLE


def test_whoever_sees_nobody_meets_nobody():
    means = []
    for k in (1, 10):
        loop = PopulationLoop(n=10_000, k=k, seed=1)
        rewards = [(loop.step(), loop.rewards[-1])[1] for _ in range(400)]
        means.append(np.mean(rewards))
    assert means[1] > means[0] + 0.2


def test_what_most_of_a_sample_does():
    """Idle, and seeing everybody, agents of the plan go where most are."""
    loop = PopulationLoop(n=14, k=10)
    loop.s_g = IDLE
    c = all_counts(10, 3)
    clear = np.sort(c, axis=1)[:, 2] > np.sort(c, axis=1)[:, 1]
    np.testing.assert_array_equal(loop.decisions()[clear], c[clear].argmax(axis=1))


def test_the_readers_policy_drives_the_agents():
    loop = PopulationLoop(lambda s, s_g, h: 2, n=1000)
    for _ in range(40):
        loop.step()
        if loop.s_g <= IDLE and loop.rewards:
            assert set(loop.decisions()) == {2}
    shared = PopulationLoop(to_most, n=1000, k=3, samples="shared")
    shared.step()
    assert shared.seen.shape == (1, 3)


def test_bad_values_are_named_and_change_nothing():
    loop = PopulationLoop()
    for change, words in (({"n": 15}, "number of agents"), ({"k": 5}, "size k"), ({"noise": 0.3}, "noise"),
                          ({"samples": "own"}, "samples")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            loop.change(**change)
    assert (loop.n, loop.k, loop.noise, loop.samples) == (200, 4, 0.05, "private")


def test_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = PopulationLoop(), PopulationScene(800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 448)
    assert "No step has been made" in scene.describe(loop) and "idle" in scene.describe(loop)
    for s_g, words in ((1, "at site B"), (5, "a storm on site B")):
        loop.step()
        loop.s_g = s_g
        scene.draw(loop)
        assert words in scene.describe(loop) and "15 counts" in scene.describe(loop)


@pytest.mark.parametrize(
    ("name", "values"), [("k", KS), ("n", NS), ("noise", NOISES), ("samples", ("shared", "private"))]
)
def test_every_control_over_its_range(live, name, values):
    pictures = []
    for value in values:
        live.controls[name].value = value
        live.buttons["Step"].click()
        assert live.error == "" and live.message.value == "" and getattr(live.loop, name) == value
        assert live.loop.C.sum() == live.loop.n
        pictures.append(live.picture.value)
    assert len(set(pictures)) == len(values) and live.controls[name].description
    live.controls[name].value = {"k": 4, "n": 200, "noise": 0.05, "samples": "private"}[name]


def test_while_it_plays_a_step_takes_several_frames(live):
    async def scenario():
        live.buttons["Reset"].click()
        live.buttons["Play"].click()
        await ticking(live).tick(2 * FRAMES)
        live.buttons["Pause"].click()
        await turn()

    frames = live.frames
    asyncio.run(scenario())
    assert live.error == "" and live.loop.count == -(-(live.frames - frames - 1) // FRAMES) > 1


def test_dots_go_where_the_agents_are(live):
    for _ in range(5):
        live.buttons["Step"].click()
        places = [len(artist.get_xdata()) for artist in live.scene._dots]
        assert sum(places) == DOTS
        np.testing.assert_allclose(np.array(places) / DOTS, live.loop.C / live.loop.n, atol=0.01)


def test_scatter_and_reset(live):
    live.buttons["Step"].click()
    live.buttons["Scatter"].click()
    assert live.loop.s_g == IDLE and live.loop.C.min() > 30
    live.buttons["Reset"].click()
    assert live.loop.rewards == [] and live.error == ""


def test_an_error_of_the_reader_is_shown_and_the_widget_stays_alive():
    live = population_live(lambda s, s_g, h: None, width=640)
    assert "your act function returned None" in live.message.value
    live.loop.act = to_most
    live.buttons["Step"].click()
    assert live.error == "" and len(live.loop.rewards) == 1


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop) and "mean reward" in live.words.value
