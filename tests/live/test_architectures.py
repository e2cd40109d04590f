"""Five architectures on one cart-pole: the loop against what it is put together from, the scene, every control."""

import asyncio
import io
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import CRASH_COST, LADEN, MODEL, dynamics, stage_cost
from mpcrl_course.figures.cartpole import describe_cartpole
from mpcrl_course.live import architectures
from mpcrl_course.live.architectures import (
    ARCHITECTURES,
    Architectures,
    ArchitecturesLoop,
    ArchitecturesScene,
    architectures_live,
)
from mpcrl_course.live.player import PAUSE
from mpcrl_course.policies.comparison import CommonGuess, hanging_starts
from mpcrl_course.policies.hierarchical import Hierarchical, gate
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model
from tests.live.helpers import alt, sweep, ticking

NAMES = [name for name in ARCHITECTURES if name != "yours"]


@cache
def mpc():
    return cartpole_mpc()


def kept(make, key):
    """Return `make` as a function that makes each thing once: MPCs have no memory, and the same fit gives the same."""
    made = {}

    def get(*arguments, **options):
        name = key(*arguments)
        if name not in made:
            made[name] = make(*arguments, **options)
        return made[name]

    return get


INTEGRATED = kept(architectures.integrated_mpc, lambda phi: phi.theta.tobytes())
FIT = kept(architectures.fit, lambda network, x, y, rng: (network.theta.tobytes(), x.tobytes(), y.tobytes()))


@pytest.fixture(autouse=True)
def made_once(monkeypatch):
    monkeypatch.setattr(architectures, "cartpole_mpc", mpc)
    monkeypatch.setattr(architectures, "integrated_mpc", INTEGRATED)
    monkeypatch.setattr(architectures, "fit", FIT)


def friction(s, u):
    """The dry friction, made up for by hand."""
    return 3.0 * np.tanh(s[2] / 0.1)


def loop_of(architecture="plain", r=None, plant=LADEN, **options):
    return ArchitecturesLoop(r, architecture=architecture, plant=plant, **options)


@pytest.fixture
def live():
    return architectures_live(friction, width=640, architecture="plain")


def states(loop, steps):
    return np.array([(loop.step(), loop.x.copy())[1] for _ in range(steps)])


# ---- the loop, without any widget


def by_hand(loop, name):
    """Put the controller together that `name` says."""
    known, guess = with_model(mpc(), mpc().parameters.initial(), loop.boxes.model), CommonGuess(mpc())
    guess.plans = loop.boxes.guess.plans
    plain = Receding(mpc(), first=guess)
    return {
        "plain": plain,
        "parameterised": Receding(mpc(), known, first=guess),
        "hierarchical": Hierarchical(mpc(), gate(), known, first=guess),
        "yours": lambda y: plain(y) + 0.5 * friction(y[0], None),
    }[name]


@pytest.mark.parametrize("name", ["plain", "parameterised", "hierarchical", "yours"])
def test_both_are_driven_as_by_the_closed_loop(name):
    loop = loop_of(name, friction, beta=0.5)
    ours = states(loop, 50)
    for i, each in enumerate((name, "plain")):
        found = run(by_hand(loop, each), LADEN, loop.boxes.starts[:1], LADEN.draw(0, 1, 50))
        np.testing.assert_allclose(ours[:, i], found.x[1:, 0], atol=1e-9)
        assert loop.cost[i] == pytest.approx(found.cost.sum(), rel=1e-9)


def test_the_networks_learn_what_the_model_misses():
    """On steps that they have not seen; the correction makes the plant under u + r move about as the model under u."""
    loop, rng = loop_of("integrated"), np.random.default_rng(5)
    x = rng.uniform([-1, -3, -1, -4], [1, 3, 1, 4], (300, 4))
    u = rng.uniform(-10, 10, (300, 1))
    missed = (dynamics(x, u, LADEN) - dynamics(x, u))[:, 2:]
    learned = mpc_step(loop, x, u) - dynamics(x, u)
    assert np.abs(missed - learned[:, 2:]).mean() < 0.25 * np.abs(missed).mean()
    r = loop.boxes["parallel"].r(x, u)
    assert np.abs((dynamics(x, u + r, LADEN) - dynamics(x, u))[:, 2]).mean() < 0.5 * np.abs(missed[:, 0]).mean()


def mpc_step(loop, x, u):
    t = loop.boxes["integrated"].mpc.transcription
    return np.array([t.step(loop.boxes["integrated"].theta, *one)[0] for one in zip(x, u, strict=True)])


def test_the_lectures_claims_on_three_starts():
    """What knows the payload is cheaper than the plain MPC; the correction and the gate come to stand nearer to 0."""
    boxes = Architectures()
    starts, noise = boxes.starts[:3], LADEN.draw(0, 3, 120)
    runs = {name: run(boxes[name], LADEN, starts, noise) for name in NAMES if name != "algorithmic"}
    cost = {name: found.cost.sum() for name, found in runs.items()}
    end = {name: np.abs(found.x[-1, :, 0]).mean() for name, found in runs.items()}
    assert max(cost[name] for name in ("parameterised", "hierarchical", "integrated")) < cost["plain"]
    assert max(end["parallel"], end["hierarchical"]) < 0.5 * end["plain"]


def test_with_the_plain_mpc_chosen_both_move_alike_under_noise_and_kicks():
    loop = loop_of(plant=replace(LADEN, process_noise=2.0))
    noisy, quiet = states(loop, 20), states(loop_of(), 20)
    assert np.abs(noisy - quiet).max() > 0.05
    loop.kick()
    states(loop, 10)
    np.testing.assert_array_equal(loop.x[0], loop.x[1])


def test_the_noise_is_a_random_force_of_its_size_the_same_for_both():
    plant = replace(LADEN, coulomb=0.0, process_noise=0.8)
    loop = loop_of("yours", lambda s, u: 1.0, plant)
    pushes = []
    for _ in range(200):
        before = loop.x
        loop.step()
        slope = dynamics(before, loop.u[:, None] + 0.5, plant) - dynamics(before, loop.u[:, None] - 0.5, plant)
        pushes.append(((loop.x - dynamics(before, loop.u[:, None], plant)) / slope)[:, 2])
    pushes = np.array(pushes)
    np.testing.assert_allclose(pushes[:, 0], pushes[:, 1], atol=0.01)  # the plant is nearly linear in the force
    assert pushes.std() == pytest.approx(0.8, rel=0.15)


def test_restart_gives_the_same_run_again_and_another_seed_or_start_does_not():
    plant = replace(LADEN, process_noise=1.0)
    loop = loop_of("parameterised", plant=plant)
    first = states(loop, 25)
    loop.kick()
    loop.restart()
    assert loop.count == 0 and not loop.cost.any() and loop.seconds == ([], []) and len(loop.past) == 1
    np.testing.assert_array_equal(states(loop, 25), first)
    loop.next_start()
    np.testing.assert_array_equal(loop.x, [loop.boxes.starts[1]] * 2)
    assert np.abs(states(loop, 25) - first).max() > 0.1
    other = loop_of("parameterised", plant=plant, seed=1)
    assert np.abs(states(other, 25) - first).max() > 1e-3


def test_the_starts_are_those_of_the_table_and_their_plans_the_common_guess():
    boxes = Architectures()
    np.testing.assert_array_equal(boxes.starts, hanging_starts(len(boxes.starts)))
    x, u = CommonGuess(mpc()).plan(boxes.starts[2])
    np.testing.assert_allclose(boxes.guess.plan(boxes.starts[2])[0], x, atol=1e-5)
    np.testing.assert_allclose(boxes.guess.plan(boxes.starts[2])[1], u, atol=1e-4)


def test_beta_is_the_share_of_the_correction_and_may_change_while_it_runs():
    loop = loop_of("yours", friction)
    states(loop, 5)
    for beta in (0.0, 0.5, 1.0):
        loop.change(beta=beta)
        before = loop.x[0].copy()
        loop.step()
        planned = loop.mpcs[0].plans[0].u0[0]
        assert loop.u[0] == pytest.approx(planned + beta * friction(before, planned), abs=1e-9)
    with pytest.raises(ValueError, match="beta"):
        loop.change(beta=1.5)


def test_a_changed_plant_is_what_moves_and_no_model_follows_until_it_is_learned():
    loop = loop_of("parameterised")
    model = loop.boxes.model
    loop.change(mass=0.3, coulomb=0.0)
    before = loop.x
    loop.step()
    light = replace(MODEL, mass=0.3)
    np.testing.assert_allclose(loop.x, dynamics(before, loop.u[:, None], light), atol=1e-9)
    assert loop.boxes.model is model and model.mass == pytest.approx(0.55, abs=0.05) and model.friction > 1.0
    loop.learn()
    learned = loop.boxes.model  # without dry friction the model can be exact
    assert (learned.mass, learned.friction) == (pytest.approx(0.3, abs=1e-4), pytest.approx(0.0, abs=1e-3))
    assert loop.count == 0 and mpc().parameters.unpack(loop.controller.theta).mass == learned.mass
    assert mpc().parameters.unpack(loop.mpcs[1].theta).mass == MODEL.mass  # the plain one never learns


def test_what_is_learned_on_a_lighter_plant_drives_it_better():
    costs = []
    for learn in (False, True):
        loop = loop_of("parameterised")
        loop.change(mass=0.2, coulomb=0.0)
        if learn:
            loop.learn()
        states(loop, 100)
        costs.append(loop.cost[0])
    assert costs[1] == pytest.approx(loop.cost[1], rel=0.02) and costs[1] < costs[0]


def test_a_kick_pushes_both_and_the_algorithmic_one_looks_into_its_memory_again(monkeypatch):
    loop, asked = loop_of("algorithmic"), []
    nearest = architectures.Nearest.__call__
    monkeypatch.setattr(architectures.Nearest, "__call__", lambda self, s: (asked.append(s), nearest(self, s))[1])
    states(loop, 3)
    assert len(asked) == 1
    before = loop.x
    loop.kick([0.5, -2.0])
    np.testing.assert_allclose(loop.x - before, [[0.0, 0.0, 0.5, -2.0]] * 2, atol=1e-12)
    states(loop, 3)
    assert len(asked) == 2
    np.testing.assert_array_equal(asked[1], loop_state_after(before, [0.5, -2.0]))
    with pytest.raises(ValueError, match="two finite numbers"):
        loop.kick(1.0)


def loop_state_after(x, push):
    return x[0] + np.append([0.0, 0.0], push)


def test_where_its_iteration_fails_the_integrated_one_goes_on_from_the_identified_models_plan():
    """It never builds ipopt for its own problem, which takes seconds; and it comes to stand all the same."""
    loop = loop_of("integrated")
    states(loop, 60)
    loop.kick([-2.0, 4.0])
    states(loop, 100)
    assert loop.fallbacks[0] >= 1 and abs(2 * np.sin(loop.x[0, 1] / 2)) < 0.05 and abs(loop.x[0, 0]) < 0.5
    controller = loop.controller
    plan = controller.plans[0]
    np.testing.assert_allclose(plan.x[1], mpc_step(loop, plan.x[:1], plan.u[:1])[0], atol=1e-3)


def test_a_cart_that_leaves_the_track_stays_there_and_the_other_goes_on():
    loop = loop_of("yours", lambda s, u: 40.0)
    while not loop.ended[0]:
        loop.step()
    at, cost, count = loop.x[0].copy(), loop.cost[0], loop.count
    assert cost > CRASH_COST and loop.outside[0] > 0 and loop.beyond[0] > 0 and not loop.ended[1]
    states(loop, 5)
    np.testing.assert_array_equal(loop.x[0], at)
    assert loop.cost[0] == cost and loop.u[0] == 0.0 and loop.count == count + 5
    assert len(loop.seconds[0]) == count - 1 and len(loop.seconds[1]) == count + 4
    loop.kick()
    np.testing.assert_array_equal(loop.x[0], at)
    loop.ended[:] = True
    with pytest.raises(RuntimeError, match="Press Reset"):
        loop.step()
    loop.restart()
    loop.step()


def test_costs_are_those_of_the_plant(monkeypatch):
    loop = loop_of("parameterised")
    cost = np.zeros(2)
    for _ in range(10):
        x = loop.x
        loop.step()
        cost += stage_cost(x, loop.u[:, None])
    np.testing.assert_allclose(loop.cost, cost)
    np.testing.assert_allclose(loop.past[-1], [loop.x[:, 0], loop.cost])


def test_results_are_kept_of_runs_that_nobody_disturbed(monkeypatch):
    monkeypatch.setattr(architectures, "END", 6)
    loop = loop_of("parameterised")
    states(loop, 8)
    first = dict(loop.results)
    assert list(first) == ["parameterised", "plain"]
    loop.choose("hierarchical")
    states(loop, 6)
    assert set(loop.results) == {"parameterised", "plain", "hierarchical"}
    assert loop.results["hierarchical"][0] == loop.cost[0] and loop.results["plain"] == first["plain"]
    loop.choose("algorithmic")
    loop.kick()
    states(loop, 6)
    assert "algorithmic" not in loop.results
    loop.change(mass=0.4)
    assert loop.results == {}


def test_what_is_no_option_is_named():
    for options, message in (
        ({"architecture": "serial"}, "there is no architecture"),
        ({"architecture": "yours"}, "there is no architecture"),  # without a function of the reader's
        ({"beta": 2.0}, "beta"),
        ({"plant": replace(LADEN, delay=1)}, "without delay"),
        ({"plant": replace(LADEN, measurement_noise=0.1)}, "without measurement noise"),
    ):
        with pytest.raises(ValueError, match=message):
            ArchitecturesLoop(**options)
    with pytest.raises(ValueError, match="r must be a function"):
        ArchitecturesLoop(3.0)


# ---- the reader's own correction


def test_the_readers_own_function_is_chosen_and_sees_state_and_force():
    seen = []

    def r(s, u):
        seen.append((s.copy(), u))
        s[:] = np.nan  # its own copy
        return 0.0

    loop = ArchitecturesLoop(r, plant=LADEN)
    assert loop.architecture == "yours" and loop.label == "yours, β = 1.00" and "yours" in loop.boxes.names
    before = loop.x[0].copy()
    loop.step()
    np.testing.assert_array_equal(seen[0][0], before)
    assert seen[0][1] == loop.u[0] and isinstance(seen[0][1], float)
    np.testing.assert_array_equal(loop.x[0], loop.x[1])


def bad_division(s, u):
    return 1.0 / 0


NONSENSE = {
    "raises": (bad_division, "ZeroDivisionError"),
    "None": (lambda s, u: None, "is its last line a return"),
    "nan": (lambda s, u: np.nan, "not finite"),
    "two": (lambda s, u: [1.0, 2.0], "shape (2,)"),
    "text": (lambda s, u: "right", "your r function returned"),
    "dict": (lambda s, u: {}, "your r function returned"),
    "arguments": (lambda s: 0.0, "TypeError"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_shown_moves_nothing_and_the_widget_goes_on(what):
    live = architectures_live(lambda s, u: wanted(s, u), width=640)
    wanted = friction
    live.buttons["Step"].click()
    wanted, words = NONSENSE[what]
    x, count = live.loop.x.copy(), live.loop.count
    for _ in range(2):
        live.buttons["Step"].click()
        assert words in live.error and live.message.value
    np.testing.assert_array_equal(live.loop.x, x)
    assert live.loop.count == count
    wanted = friction
    live.buttons["Step"].click()
    assert live.error == "" and live.message.value == "" and live.loop.count == count + 1
    other = ArchitecturesLoop(friction)
    states(other, count + 1)
    np.testing.assert_allclose(live.loop.x, other.x, atol=1e-9)  # as if nothing had been


def test_an_error_says_the_readers_line(live):
    live = architectures_live(bad_division, width=640)
    live.buttons["Step"].click()
    assert "in bad_division, line" in live.error and "1.0 / 0" in live.error


@pytest.mark.parametrize("value", [-2.0, np.float32(-2.0), -2, [-2.0], np.array([-2.0]), np.array([[-2.0]])])
def test_a_number_in_any_dress_will_do(value):
    loop = loop_of("yours", lambda s, u: value)
    loop.step()
    assert loop.u[0] == pytest.approx(loop.u[1] - 2.0)


# ---- the scene


def test_scene_draws_a_picture_of_its_size_and_describes_it():
    loop, scene = loop_of("hierarchical"), ArchitecturesScene(800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 400)
    states(loop, 4)
    loop.change(mass=0.45)
    text = scene.describe(loop)
    for x, u, cost in zip(loop.x, loop.u, loop.cost):
        assert f"{describe_cartpole(x, u)} Cost so far {cost:.1f}." in text
    assert text.startswith("Two cart-poles after 4 steps") and "payload 0.45 kg" in text and "hierarchical" in text
    assert "learned at 0.60 kg, 3.00 N" in text


def test_texts_are_drawn_only_when_they_change_and_fit(monkeypatch):
    scene = ArchitecturesScene(800)
    drawn, layer = [], scene.canvas.layer
    monkeypatch.setattr(scene.canvas, "layer", lambda artists, **options: (drawn.append(artists), layer(artists))[1])
    loop = ArchitecturesLoop(friction)
    for name in ARCHITECTURES:
        loop.choose(name)
        for _ in range(2):
            scene.draw(loop)
    assert len(drawn) == len(ARCHITECTURES)
    renderer = scene.canvas.figure.canvas.get_renderer()
    for text in drawn[-1]:
        box = text.get_window_extent(renderer)
        assert 0 < box.x0 and box.x1 < 800 and box.y1 < 400


def test_the_axis_of_costs_follows_the_costs(monkeypatch):
    scene, loop, redrawn = ArchitecturesScene(640), loop_of(), []
    layer = scene.canvas.layer

    def watched(artists, redraw_base):
        redrawn.append(redraw_base)
        layer(artists, redraw_base)

    monkeypatch.setattr(scene.canvas, "layer", watched)
    for cost in (10.0, 199.0, 201.0, 1500.0, 9e9, 10.0):
        loop.cost = np.array([cost, 1.0])
        scene.draw(loop)
    assert redrawn[-3:] == [True, True, True] and len(redrawn) in (3, 4)


# ---- the widget, control by control


@pytest.mark.parametrize("name", ["mass", "coulomb", "process_noise"])
def test_every_slider_over_its_range(live, name):
    slider = live.controls[name]
    assert slider.value == getattr(live.loop.parameters, name)
    sweep(live, name, lambda: getattr(live.loop.parameters, name))


def test_beta_over_its_range_where_it_means_something(live):
    beta = live.controls["beta"]
    assert beta.disabled
    live.controls["architecture"].value = "yours"
    assert not beta.disabled and beta.value == live.loop.beta == 1.0
    for value in (beta.min, 0.35, beta.max):
        before = live.picture.value
        beta.value = value
        assert live.picture.value != before and live.loop.controller.beta == pytest.approx(value)
        live.buttons["Step"].click()
        assert f"β = {value:.2f}" in live.words.value and live.error == ""
    beta.value = 0.2
    live.controls["architecture"].value = "parallel"
    assert live.loop.controller.beta == pytest.approx(0.2)  # it goes along
    live.controls["architecture"].value = "integrated"
    assert beta.disabled


def test_every_architecture_can_be_chosen_and_begins_from_the_start(live):
    choose, pictures = live.controls["architecture"], []
    assert dict(zip(choose.options, choose.tooltips)) == ARCHITECTURES
    for name in reversed(choose.options):
        if name != live.loop.architecture:
            choose.value = name
            assert live.loop.architecture == name and live.loop.count == 0
        for _ in range(3):
            live.buttons["Step"].click()
        pictures.append(live.picture.value)
        assert live.error == "" and f"<b>{live.loop.label}</b>" in live.words.value
    assert len(set(pictures)) == len(ARCHITECTURES)


def test_without_a_function_of_the_readers_there_is_no_yours():
    live = architectures_live(width=640)
    assert list(live.controls["architecture"].options) == NAMES
    assert live.controls["architecture"].value == live.loop.architecture == "parallel"


def test_every_button(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Kick", "Reset", "Next start", "Learn this plant"]
    start = live.picture.value
    live.buttons["Step"].click()
    assert live.picture.value != start and live.loop.count == 1
    before = live.loop.x
    live.buttons["Kick"].click()
    assert live.loop.count == 1 and (np.abs(live.loop.x - before)[:, 2:] > 0.2).all()
    assert "kicked by {:+.1f} m/s and {:+.1f} rad/s".format(*live.loop.kicked) in live.words.value
    live.buttons["Pause"].click()
    assert live.error == "" and not live.playing
    live.buttons["Reset"].click()
    assert live.picture.value == start and "kicked" not in live.words.value
    live.buttons["Next start"].click()
    assert live.picture.value != start
    for _ in range(len(live.loop.boxes.starts) - 1):
        live.buttons["Next start"].click()
    assert live.picture.value == start
    live.controls["mass"].value = 0.9
    assert "learned at 0.60 kg" in alt(live)
    live.buttons["Learn this plant"].click()
    assert "learned at 0.90 kg" in alt(live) and live.loop.boxes.model.mass > 0.75
    assert live.loop.parameters.process_noise > 0.0 and live.loop.boxes.plant.process_noise == 0.0
    assert live.error == ""


def test_what_is_learned_is_made_ahead_while_nothing_plays(monkeypatch):
    fits, fit = [], architectures.fit
    monkeypatch.setattr(architectures, "fit", lambda *a, **options: (fits.append(1), fit(*a, **options))[1])

    async def scenario():
        live = architectures_live(friction, width=640, architecture="yours")
        clock = ticking(live)
        live.play()
        await clock.advance(4 * PAUSE)
        assert live.loop.count > 0 and not fits
        live.pause()
        before = live.loop.x.copy()
        await clock.advance(9 * PAUSE)
        assert len(fits) == 2 and live.ahead.done()
        np.testing.assert_array_equal(live.loop.x, before)
        for name in ("parallel", "integrated"):
            live.controls["architecture"].value = name
        assert len(fits) == 2 and live.error == ""
        live.close()

    asyncio.run(scenario())


def test_preparing_leaves_the_one_that_drives_alone():
    loop, twin = loop_of("parameterised"), loop_of("parameterised")
    states(loop, 10)
    loop.prepare("parameterised")
    loop.prepare("hierarchical")
    states(loop, 10)
    np.testing.assert_array_equal(loop.x, states(twin, 20)[-1])


def test_a_first_plan_that_is_not_found_is_shown(live):
    def fails(mpc, theta, s):
        raise ArithmeticError("no plan")

    live.loop.mpcs[0].first = fails
    live.buttons["Step"].click()
    assert "no plan" in live.error and live.loop.count == 0


def test_words_and_alt_text_say_the_state(live):
    for _ in range(3):
        live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert re.search(r"step 3 \(0\.\d s\)", live.words.value)
    said = re.findall(
        r"</b> cost [\d.]+ · \|p\| [\d.]+ m · decision median [\d.]+ ms, mean [\d.]+ ms", live.words.value
    )
    assert len(said) == 2
