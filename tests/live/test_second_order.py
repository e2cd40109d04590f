"""Four networks that learn: the loop against the learner, what the switches do to C, and every control."""

import asyncio
import io
import re

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import SymLogNorm
from PIL import Image

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.distributed import DistributedQLearning, second_order_local
from mpcrl_course.live import second_order
from mpcrl_course.live.second_order import (
    AT_MOST,
    BEGIN,
    BUDGET,
    NAMES,
    OWN,
    SecondOrderLoop,
    SecondOrderScene,
    binned,
    second_order_live,
)
from mpcrl_course.network import Central, line, mixing_matrix
from mpcrl_course.problems.network import network_mpc, weighted
from tests.live.helpers import alt, ticking


@pytest.fixture
def live():
    return second_order_live(width=640)


def learned(steps, **settings):
    """Return a loop after some steps."""
    loop = SecondOrderLoop()
    loop.change(**settings)
    for _ in range(steps):
        loop.step()
    return loop


def press(live, text, times=1):
    for _ in range(times):
        live.buttons[text].click()


# ---- the loop, without any widget


def test_the_runs_are_the_published_ones_step_by_step():
    loop = learned(25)
    silent = {"own_td": True, "alone": True, "learned": OWN}
    ways = {"order": 1, "step_size": 1e-8}, {}, {"P": mixing_matrix(3, line(3), 0.25)}, silent
    for name, options in zip(NAMES, ways, strict=True):
        options |= {"rng": np.random.default_rng(1), "safeguard": False}
        log = DistributedQLearning(Central(network_mpc()), LinearNetwork(), **options).run(25, progress=False).log
        for series in ("x", "u", "cost", "td", "theta"):
            np.testing.assert_allclose(getattr(loop.runs[name].log, series), getattr(log, series), atol=1e-12)


def test_a_step_size_that_diverges_ends_its_own_run_and_no_other(monkeypatch):
    monkeypatch.setattr(second_order, "RUNAWAY", 50.0)
    loop = SecondOrderLoop()
    loop.change(alpha=1.0)
    for _ in range(60):
        loop.step()
    central, first = loop.runs[NAMES[1]], loop.runs[NAMES[0]]
    assert central.log.stopped and central.k < 60 and first.k == 60 and not first.log.stopped


def test_a_changed_setting_of_second_order_is_that_of_the_learner():
    loop = learned(25, sigma=0.1, alpha=1e-3, safeguard=True, batch=6)
    options = {"sigma": 0.1, "step_size": 1e-3, "replay": (100, 6, 4)}
    learner = DistributedQLearning(Central(network_mpc()), LinearNetwork(), np.random.default_rng(1), **options)
    np.testing.assert_allclose(loop.runs[NAMES[1]].theta, learner.run(25, progress=False).theta, atol=1e-12)


def test_the_four_have_the_same_noise_and_distributed_is_centralised_to_rounding():
    loop = SecondOrderLoop(seed=3)
    for _ in range(15):
        loop.step()
    first, central, distributed, _ = (loop.runs[name] for name in NAMES)
    np.testing.assert_allclose(distributed.s, central.s, atol=1e-8)
    assert loop.apart() < 1e-8 and loop.wrong() < 1e-9
    assert np.abs(first.theta - central.theta).max() > 1e-6
    e = [run.env.np_random.bit_generator.state for run in loop.runs.values()]
    assert e[0] == e[1] == e[2] == e[3]


def test_reset_gives_the_same_run_again_and_another_seed_does_not():
    loop = SecondOrderLoop()
    loop.change(rounds=4)

    def run(steps=12):
        for _ in range(steps):
            loop.step()
        return np.concatenate([learning.theta for learning in loop.runs.values()])

    first = run()
    loop.reset()
    assert loop.count == 0 and loop.distributed.rounds == 4
    np.testing.assert_array_equal(run(), first)
    loop.reset(2)
    assert np.abs(run() - first).max() > 1e-6 and loop.seed == 2


def test_means_of_25_leave_out_what_is_not_a_number():
    values = np.arange(60.0)
    values[3] = np.nan
    np.testing.assert_allclose(binned(values), [(300 - 3) / 24, 37.0, 54.5])
    assert binned([]).shape == (0,) and np.isnan(binned([np.nan])).all()


# ---- the scene


def test_the_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = SecondOrderLoop(), SecondOrderScene(800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 400)
    for _ in range(18):
        loop.step()
    text = scene.describe(loop)
    td = np.abs(loop.runs[NAMES[0]].log.td).mean()
    assert "18 of 2000 steps" in text and f"first order: latest mean |TD| {td:.3g}" in text and "15 by 15" in text
    assert scene.draw(loop) != scene.draw(SecondOrderLoop())


def test_the_colours_of_c_are_those_of_the_scale_beside_it():
    scene = SecondOrderScene(800)
    C = np.array([[1e7, -1e7, 0.0], [99.0, 101.0, -3e4], [1e12, -1e12, 2.0]])
    norm = SymLogNorm(scene.SMALLEST, vmin=-scene.LARGEST, vmax=scene.LARGEST, clip=True)
    picture = scene.coloured(C)
    assert picture.shape == (144, 144, 4)
    expected = 255 * colormaps["RdBu_r"](norm(C))
    np.testing.assert_allclose(picture[24::48, 24::48], expected, atol=4)
    scene.images[0].pixels = picture
    frame = np.asarray(Image.open(io.BytesIO(scene.canvas.frame(scene.images[:1]))))
    top, left = 400 - 18 - 180 - 144, 800 - 144 - 84  # row 0 is the upper one, where the axes are
    shown = frame[top + 24 : top + 144 : 48, left + 24 : left + 144 : 48]
    np.testing.assert_allclose(shown, expected[..., :3], atol=12)  # it is a JPEG
    assert picture[24, 24, 0] > 2 * picture[24, 24, 2] and picture[24, 72, 2] > 2 * picture[24, 72, 0]  # red, blue


# ---- the widget, control by control


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch", (1, 30, 7)),
        ("sigma", (1e-6, 10.0, 1e-2)),
        ("alpha", (1e-6, 1e-3, 3e-4)),
        ("alpha_first", (1e-10, 1e-6, 1e-7)),
        ("rounds", (0, 100, 3)),
    ],
)
def test_every_slider_over_its_range(live, name, values):
    press(live, "Step", 3)
    slider, pictures = live.controls[name], []
    for value in values:
        slider.value = value
        press(live, "Step", 2)
        assert live.error == "" and live.message.value == ""
        pictures.append(live.picture.value)
    assert len(set(pictures)) == 3
    first, central, third, alone = (live.loop.runs[key] for key in NAMES)
    batches = [agent.replay.batch for run in live.loop.runs.values() for agent in run.agents]
    reached = {
        "batch": batches,
        "sigma": [central.sigma, third.sigma, alone.sigma],
        "alpha": [central.alpha(0), third.alpha(0), alone.alpha(0)],
        "alpha_first": [first.alpha(0)],
        "rounds": [third.rounds],
    }[name]
    assert reached == [pytest.approx(values[-1])] * len(reached)
    if name == "batch":
        assert len(third.C[0]) == 7
    assert first.alpha(0) == (values[-1] if name == "alpha_first" else 1e-8) and central.P is None
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit


@pytest.mark.parametrize(("name", "value"), [("weight", 0.05), ("coupling", -0.3)])
def test_another_plant_begins_anew_and_keeps_what_was_adjusted(live, name, value):
    live.controls["rounds"].value = 5
    press(live, "Step", 3)
    live.controls[name].value = value
    assert live.error == "" and live.loop.count == BEGIN and live.loop.distributed.rounds == 5
    plant = live.loop.plant
    omega = (plant["weight"], 1.0, plant["weight"])
    env = LinearNetwork(coupling=plant["coupling"], omega=omega)
    options = {"theta": weighted(network_mpc(), omega), "safeguard": False}
    learner = DistributedQLearning(Central(network_mpc()), env, np.random.default_rng(1), **options)
    np.testing.assert_allclose(live.loop.runs[NAMES[1]].theta, learner.run(BEGIN, progress=False).theta, atol=1e-12)
    press(live, "Restart")
    assert live.loop.plant[name] == value  # as the dial says


@pytest.mark.parametrize("name", ["misaligned", "mean", "safeguard"])
def test_every_switch(live, name):
    press(live, "Step", 10)
    third, central = live.loop.distributed, live.loop.runs[NAMES[1]]
    before = live.picture.value
    live.controls[name].value = True
    if name != "safeguard":  # which changes C too little to be seen
        assert live.picture.value != before  # at once
    press(live, "Step")
    assert live.error == "" and third.safeguard == central.safeguard == (name == "safeguard")
    assert all(agent.mean == (name == "mean") for agent in third.agents)
    assert not any(agent.mean for agent in central.agents)  # the mistakes are the distributed run's
    assert (live.loop.wrong() > 1e-3) == (name != "safeguard")
    live.controls[name].value = False
    press(live, "Step")
    assert live.loop.wrong() < 1e-9 and live.error == ""


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Restart", "Next seed"]
    start = live.picture.value
    assert live.loop.count == BEGIN and np.isfinite(live.loop.wrong())
    press(live, "Step", 2)
    assert live.loop.count == BEGIN + 2 and live.picture.value != start and live.error == ""
    press(live, "Pause")
    press(live, "Restart")
    assert live.loop.count == BEGIN and live.picture.value == start
    press(live, "Next seed")
    assert live.loop.seed == 2 and live.loop.count == BEGIN and live.error == ""


def test_play_makes_as_many_steps_as_a_frame_has_time_for_and_pauses_at_the_end(live):
    clock, step = ticking(live), live.loop.step

    def slow():
        step()
        clock.time += 0.4 * BUDGET

    async def scenario():
        press(live, "Play")
        await clock.tick(2)
        assert live.loop.count == BEGIN + 3 * AT_MOST
        live.loop.step = slow
        await clock.tick(2)
        assert live.loop.count == BEGIN + 3 * AT_MOST + 2 * 3
        for run in live.loop.runs.values():
            run.log.stopped = "by the test"
        await clock.tick()
        assert not live.playing

    asyncio.run(scenario())
    assert live.error == "" and live.loop.done
    count = live.loop.count
    press(live, "Step")
    assert live.loop.count == count and "over: Restart" in live.words.value and "by the test" in live.words.value


def test_a_readers_own_step_drives_the_distributed_network():
    own = second_order_live(local_step=lambda G, Kt, C, td: 2.0 * second_order_local(G, Kt, C, td), width=640)
    third, central = own.loop.distributed, own.loop.runs[NAMES[1]]
    moved = [run.theta - run.log.theta[0] for run in (third, central)]
    assert np.linalg.norm(moved[0]) > 1.5 * np.linalg.norm(moved[1]) > 0
    assert own.error == ""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda G, Kt, C, td: None, "your step function returned None"),
        (lambda G, Kt, C, td: td, "your step function returned shape"),
        (lambda G, Kt, C, td: 1 / 0, "division by zero"),
    ],
)
def test_a_failing_function_is_shown_and_the_widget_goes_on(function, message):
    answers = [function]
    live = second_order_live(local_step=lambda *given: answers[0](*given), width=640)
    assert message in live.message.value  # at once
    press(live, "Step")
    assert message in live.message.value
    answers[0] = second_order_local
    press(live, "Step")
    assert live.error == "" and live.message.value == ""
    assert [run.k for run in live.loop.runs.values()] == [1, 1, 1, 1]  # a failed attempt changed none


def test_the_alt_text_says_the_state(live):
    press(live, "Step", 2)
    assert alt(live) == live.scene.describe(live.loop)
    assert f"step {BEGIN + 2} of 2000" in live.words.value and "is off by" in live.words.value
