"""Three networks that learn: the loop against the learner, what the switches do to C, and every control."""

import asyncio
import io
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import SymLogNorm
from PIL import Image

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.distributed import distributed_q_learning, regularised_inverse, second_order_local
from mpcrl_course.live import second_order
from mpcrl_course.live.second_order import (
    AT_MOST,
    BEGIN,
    BUDGET,
    NAMES,
    STEP_SIZE,
    Learning,
    SecondOrderLoop,
    SecondOrderScene,
    binned,
    second_order_live,
)
from mpcrl_course.mpc import SolverError
from mpcrl_course.mpc.admm import Central
from mpcrl_course.mpc.consensus import mixing_matrix
from mpcrl_course.mpc.network import line
from mpcrl_course.policies.network_mpc import network_mpc
from tests.live.helpers import alt, ticking

CENTRAL = Central(network_mpc())
LINE = mixing_matrix(3, line(3), 0.25)
DATA = Path(__file__).parents[2] / "lectures" / "data" / "second_order_12.npz"


@pytest.fixture
def live():
    return second_order_live(width=640)


def learned(steps, **options):
    learning = Learning(controller=CENTRAL, **options)
    for _ in range(steps):
        learning.step()
    return learning


def press(live, text, times=1):
    for _ in range(times):
        live.buttons[text].click()


# ---- the loop, without any widget


@pytest.mark.parametrize(
    ("order", "P", "options"),
    [
        (2, None, {}),
        (2, LINE, {"rounds": 7}),
        (1, None, {}),
        (2, None, {"sigma": 0.1, "alpha": 1e-3, "safeguard": True, "batch": 6}),
    ],
)
def test_learning_equals_the_learner_step_by_step(order, P, options):
    batch = options.get("batch", 15)
    log = distributed_q_learning(
        CENTRAL, LinearNetwork(), steps=25, rng=np.random.default_rng(7), order=order, P=P, progress=False,
        rounds=options.get("rounds", 100), step_size=options.get("alpha", STEP_SIZE[order]),
        sigma=options.get("sigma", 1e-3), safeguard=options.get("safeguard", False),
        replay=(100, batch, round(2 * batch / 3)),
    )  # fmt: skip
    learning = Learning(order, seed=7, controller=CENTRAL, **options)
    for k in range(25):
        np.testing.assert_allclose(learning.s, log.x[k], atol=1e-12)
        np.testing.assert_allclose(learning.a, log.u[k], atol=1e-12)
        learning.step()
        np.testing.assert_allclose(learning.theta, log.theta[k + 1], atol=1e-12)
    np.testing.assert_allclose(learning.td, log.td, atol=1e-12)
    np.testing.assert_allclose(learning.cost, log.cost, atol=1e-12)
    assert np.abs(log.theta[-1] - log.theta[0]).max() > 1e-7


class Flaky(Central):
    """Fails at the questions whose numbers it is given."""

    def __init__(self, failing):
        super().__init__(network_mpc())
        self.failing, self.asked = failing, 0

    def V_and_Q(self, theta, s_next, s, a, **options):
        self.asked += 1
        if self.asked - 1 in self.failing:
            raise SolverError("not converged", "on purpose", s, a, theta)
        return super().V_and_Q(theta, s_next, s, a, **options)


def test_a_failed_step_is_skipped_as_in_the_learner_and_many_in_a_row_end_the_run(monkeypatch):
    log = distributed_q_learning(Flaky({2, 5}), LinearNetwork(), steps=9, rng=np.random.default_rng(1),
                                 safeguard=False, progress=False)  # fmt: skip
    learning = Learning(controller=Flaky({2, 5}))
    for _ in range(9):
        learning.step()
    np.testing.assert_array_equal(np.isnan(learning.td), log.failed)
    np.testing.assert_allclose(learning.theta, log.theta[-1], atol=1e-12)
    assert learning.failed == 2 and not learning.done
    monkeypatch.setattr(second_order, "PATIENCE", 3)
    hopeless = Learning(controller=Flaky(set(range(50))))
    while not hopeless.done:
        hopeless.step()
    assert hopeless.count == 3 and "3 steps failed in a row" in hopeless.stopped and "on purpose" in hopeless.stopped
    with pytest.raises(RuntimeError, match="reset it"):
        hopeless.step()


def test_a_step_size_that_diverges_ends_its_own_run_and_no_other(monkeypatch):
    monkeypatch.setattr(second_order, "RUNAWAY", 50.0)
    loop = SecondOrderLoop()
    loop.change(alpha=1.0)
    for _ in range(60):
        loop.step()
    central, first = loop.runs[NAMES[1]], loop.runs[NAMES[0]]
    assert central.stopped and central.count < 60 and first.count == 60 and not first.stopped


def test_c_as_it_should_be_is_c_unless_something_is_wrong():
    """Exact; by few rounds; each mistake: the mean gives T times as much, other batches other rows of old samples."""
    used, right = learned(30).look()
    np.testing.assert_array_equal(used, right)

    def off(**options):
        learning = learned(30, **options)
        used, right = learning.look()
        return np.abs(used - right) / np.abs(right).max()

    assert off(rounds=100).max() < 1e-9 and off(rounds=2).max() > 1e-2
    used, right = learned(30, mean=True).look()
    np.testing.assert_allclose(used, 15 * right, rtol=1e-6, atol=1e-6 * np.abs(used).max())
    # other old samples of the neighbours, and through them another K: the terms of the newest samples change, too
    assert off(misaligned=True)[10:, 10:].max() > 1e-2
    misaligned = learned(30, misaligned=True)
    drawn = [agent.td for agent in misaligned.agents]
    np.testing.assert_array_equal(drawn[0][:10], drawn[1][:10])
    assert np.abs(drawn[0][10:] - drawn[1][10:]).max() > 1e-3
    assert learned(3, order=1).look() is None and Learning(controller=CENTRAL).look() is None


def test_to_look_changes_nothing_and_sees_what_the_next_update_would_draw():
    looked_at, other = learned(25, misaligned=True, rounds=9), learned(25, misaligned=True, rounds=9)
    seen = looked_at.look()[0]
    np.testing.assert_array_equal(looked_at.look()[0], seen)
    for learning in (looked_at, other):
        learning.step()
    np.testing.assert_array_equal(looked_at.theta, other.theta)
    still = learned(25, rounds=9)
    seen = still.look()[0]
    terms = []
    for agent in still.agents:
        agent.draw()
        terms.append(agent.term(still.sigma, still.safeguard))
    np.testing.assert_allclose(seen, still._agree(terms)[0], rtol=1e-12)


def test_a_switch_that_is_taken_back_lets_all_draw_the_same_again():
    learning = learned(30, misaligned=True)
    learning.misaligned = False
    for _ in range(2):
        learning.step()
        for agent in learning.agents[1:]:
            np.testing.assert_array_equal(agent.td, learning.agents[0].td)
    np.testing.assert_array_equal(*learning.look())


def test_mean_for_sum_is_the_published_regularised_inverse():
    """(sigma I - mean of h)^-1, by hand."""
    learning = learned(20)
    agent = learning.agents[1]
    agent.mean = True
    agent.draw()
    K = agent.K.copy()
    agent.term(1e-3, False)
    np.testing.assert_allclose(agent.Kt, np.linalg.inv(1e-3 * np.eye(22) - K / 15), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(agent.Kt, 15 * regularised_inverse(K, 15, 1e-3, False), rtol=1e-6, atol=1e-9)


def test_alone_every_agent_uses_its_own_term():
    learning = learned(20, alone=True)
    for i, agent in enumerate(learning.agents):
        np.testing.assert_allclose(learning.C[i], agent.G.T @ agent.Kt @ agent.G, rtol=1e-9)
    assert np.abs(learning.C[0] - learning.C[1]).max() > 1.0


def test_the_three_have_the_same_noise_and_distributed_is_centralised_to_rounding():
    loop = SecondOrderLoop(seed=3)
    for _ in range(15):
        loop.step()
    first, central, distributed = (loop.runs[name] for name in NAMES)
    np.testing.assert_allclose(distributed.s, central.s, atol=1e-8)
    assert loop.apart() < 1e-8 and loop.wrong() < 1e-9
    assert np.abs(first.theta - central.theta).max() > 1e-6
    e = [run.plant.np_random.bit_generator.state for run in loop.runs.values()]
    assert e[0] == e[1] == e[2]


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
    loop, scene = SecondOrderLoop(), SecondOrderScene(800, 400)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 400)
    for _ in range(18):
        loop.step()
    text = scene.describe(loop)
    td = np.abs(loop.runs[NAMES[0]].td).mean()
    assert "18 of 2000 steps" in text and f"first order: latest mean |TD| {td:.3g}" in text and "15 by 15" in text
    assert scene.draw(loop) != scene.draw(SecondOrderLoop())


def test_the_colours_of_c_are_those_of_the_scale_beside_it():
    scene = SecondOrderScene(800, 400)
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
    first, central, third = (live.loop.runs[key] for key in NAMES)
    reached = {
        "batch": [first.batch, central.batch, third.batch],
        "sigma": [central.sigma, third.sigma],
        "alpha": [central.alpha, third.alpha],
        "alpha_first": [first.alpha],
        "rounds": [third.rounds],
    }[name]
    assert reached == [pytest.approx(values[-1])] * len(reached)
    if name == "batch":
        assert len(third.C[0]) == 7
    assert first.alpha == (values[-1] if name == "alpha_first" else 1e-8) and central.rounds is None
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit


@pytest.mark.parametrize("name", ["misaligned", "mean", "safeguard"])
def test_every_switch(live, name):
    press(live, "Step", 10)
    assert not getattr(live.loop.distributed, name)
    before = live.picture.value
    live.controls[name].value = True
    if name != "safeguard":  # which changes C too little to be seen
        assert live.picture.value != before  # at once
    press(live, "Step")
    central, third = live.loop.runs[NAMES[1]], live.loop.distributed
    assert getattr(third, name) and live.error == ""
    assert getattr(central, name) == (name == "safeguard")  # the mistakes are the distributed run's
    assert (live.loop.wrong() > 1e-3) == (name != "safeguard")
    live.controls[name].value = False
    press(live, "Step")
    assert live.loop.wrong() < 1e-9 and live.error == ""


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Restart", "Next seed"]
    start = live.picture.value
    assert live.loop.count == BEGIN and live.loop.distributed.look() is not None
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
            run.stopped = "by the test"
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
    moved = [run.theta - run.controller.parameters.initial() for run in (third, central)]
    assert np.linalg.norm(moved[0]) > 1.5 * np.linalg.norm(moved[1]) > 0
    assert own.error == ""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda G, Kt, C, td: None, "your step returned None"),
        (lambda G, Kt, C, td: td, "your step returned shape"),
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
    assert [run.count for run in live.loop.runs.values()] == [3, 3, 3]


def test_the_alt_text_says_the_state(live):
    press(live, "Step", 2)
    assert alt(live) == live.scene.describe(live.loop)
    assert f"step {BEGIN + 2} of 2000" in live.words.value and "is off by" in live.words.value


# ---- the runs that lecture 12 ships


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("centralised, second order", {}),
        ("centralised, first order", {"order": 1}),
        ("misaligned and mean", {"misaligned": True, "mean": True}),
        ("3 rounds", {"rounds": 3}),
        ("alone, triple step", {"alone": True, "alpha": 3e-4}),
        ("safeguard", {"safeguard": True}),
    ],
)
def test_the_shipped_runs_begin_as_they_do_here(name, options):
    """The first mean of 25 steps; later ones depend on rounding, as every run that learns."""
    with np.load(DATA) as file:
        shipped = file[name]
    assert shipped.shape == (20 if name.startswith("centralised") else 10, 2, 80)
    for seed in (1, 5):
        run = learned(25, seed=seed, **options)
        np.testing.assert_allclose(shipped[seed - 1, :, 0], [np.abs(run.td).mean(), run.cost.mean()], rtol=1e-4)
