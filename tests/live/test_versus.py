"""MPC and DDPG side by side: the loop against the environment, retraining against the learner, every control."""

import asyncio
import io
import re

import numpy as np
import pytest
from PIL import Image

from mpcrl_course import places
from mpcrl_course.envs.pendulum import Pendulum, PendulumParameters, dynamics, wrap
from mpcrl_course.figures.pendulum import describe_pendulum
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, pendulum_policy
from mpcrl_course.learners.trained import trained_agent
from mpcrl_course.live import versus
from mpcrl_course.live.versus import BUDGET, LONGEST_DELAY, STEPS, VersusLoop, VersusScene, versus_live
from mpcrl_course.mpc import SolverError
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.pendulum import pendulum_mpc, with_model
from tests.live.helpers import alt, sweep, ticking

NOMINAL = PendulumParameters()
HORIZON = 40


@pytest.fixture(scope="module")
def file():
    with places.data("agents_04.npz") as file:
        return dict(file)


@pytest.fixture
def agent(file):
    return trained_agent(file)


@pytest.fixture
def loop(agent):
    return VersusLoop(agent, horizon=HORIZON)


@pytest.fixture
def live(agent):
    return versus_live(agent, horizon=HORIZON, width=640)


def states(loop, steps):
    return np.array([(loop.step(), loop.x.copy())[1] for _ in range(steps)])


# ---- the loop, without any widget


def test_both_are_driven_as_in_the_environment_also_with_a_delay(agent):
    plant = PendulumParameters(mass=1.2, delay=2)
    loop, mpc = VersusLoop(agent, plant, HORIZON), Receding(pendulum_mpc(plant, HORIZON))
    loop.tell(True)
    mpc.theta, mpc.delay = with_model(mpc.mpc, mpc.theta, plant), plant.delay
    controllers, envs = (mpc, pendulum_policy(agent)), [Pendulum(plant, start=[2.5, 0.0]) for _ in range(2)]
    for env in envs:
        env.reset()
    cost = np.zeros(2)
    for _ in range(30):
        loop.step()
        for i, (controller, env) in enumerate(zip(controllers, envs)):
            *_, info = env.step(controller(env.x[None])[0])
            cost[i] += info["cost"]
            assert loop.u[i] == pytest.approx(info["torque"], abs=1e-9)
        np.testing.assert_allclose(loop.x, [env.x for env in envs], atol=1e-9)
    np.testing.assert_allclose(loop.cost, cost)


def test_both_suffer_the_same_noise():
    """With one network in place of both controllers, both pendulums move alike, under all kinds of noise."""
    agent = ActorCritic(3, [-2], [2], np.random.default_rng(0))
    loop = VersusLoop(agent, PendulumParameters(process_noise=1.0, measurement_noise=0.1), HORIZON)
    twin = pendulum_policy(agent)

    class Twin:
        plans: list = []
        delay = 0

        def reset(self):
            pass

        def __call__(self, x):
            return twin(x)

    loop.controller = Twin()
    x = states(loop, 40)
    np.testing.assert_allclose(x[:, 0], x[:, 1], atol=1e-12)
    loop.kick()
    np.testing.assert_array_equal(loop.x[0], loop.x[1])
    quiet = VersusLoop(agent, NOMINAL, HORIZON)
    quiet.controller = Twin()
    assert np.abs(states(quiet, 40) - x).max() > 0.1


def test_noise_is_a_random_torque_of_its_size(agent):
    loop = VersusLoop(agent, horizon=5)
    pushes = []
    loop.change(process_noise=0.8)
    for _ in range(300):
        before = loop.x
        loop.step()
        pushes.append((loop.x - dynamics(before, loop.u[:, None]))[:, 1] / 0.15)
    pushes = np.array(pushes)
    np.testing.assert_allclose(pushes[:, 0], pushes[:, 1], atol=1e-9)
    assert pushes.std() == pytest.approx(0.8, rel=0.1)


def test_restart_gives_the_same_run_again_and_another_seed_does_not(agent, loop):
    loop.change(process_noise=0.5)
    first = states(loop, 25)
    loop.kick()
    loop.restart()
    np.testing.assert_array_equal(loop.x, [[2.5, 0.0]] * 2)
    assert loop.count == 0 and not loop.cost.any() and len(loop.plan()[0]) == 0 and np.isnan(loop.seconds).all()
    np.testing.assert_array_equal(states(loop, 25), first)
    other = VersusLoop(agent, horizon=HORIZON, seed=1)
    other.change(process_noise=0.5)
    assert np.abs(states(other, 25) - first).max() > 1e-3


def test_a_changed_plant_is_known_only_if_told_and_only_from_then_on(loop):
    loop.change(mass=1.5)
    theta = loop.controller.theta.copy()
    assert loop.believed == NOMINAL and not loop.knows()
    loop.tell(True)
    assert loop.knows() and loop.controller.mpc.parameters.unpack(loop.controller.theta).mass == 1.5
    loop.change(friction=0.2, delay=1)
    assert loop.knows() and loop.controller.delay == 1
    loop.tell(False)
    loop.change(mass=0.5)
    assert not loop.knows() and (loop.believed.mass, loop.believed.friction) == (1.5, 0.2)
    loop.change(mass=1.5, process_noise=1.0)
    assert loop.knows()  # but for the noise
    assert np.abs(loop.controller.theta - theta).max() > 0.1


def test_being_told_of_a_heavy_pendulum_helps(agent):
    costs = []
    for telling in (False, True):
        loop = VersusLoop(agent, horizon=80)
        loop.tell(telling)
        loop.change(mass=2.0)
        states(loop, 150)
        costs.append(loop.cost[0])
    assert costs[1] < 0.7 * costs[0]


def test_another_delay_is_another_command_of_the_past(loop):
    """Both ways, on the way: the torque that acts is always the one sent `delay` steps ago, as the MPC counts on."""

    class Recorder:
        def __call__(self, x):
            self.latest = controller(x)
            return self.latest

        def __getattr__(self, name):
            return getattr(controller, name)

    loop.tell(True)
    controller, loop.controller = loop.controller, Recorder()
    network, sent = pendulum_policy(loop.agent), [np.zeros(2)] * LONGEST_DELAY
    for delay in (0, 0, 0, 0, 0, 3, 3, 1, 1, LONGEST_DELAY, LONGEST_DELAY, 0):
        loop.change(delay=delay)
        before = loop.x
        loop.step()
        sent.append(np.array([loop.controller.latest[0, 0], network(before[1:])[0, 0]]))
        np.testing.assert_array_equal(loop.u, sent[-1 - delay])
    assert "failed" not in controller.status


def test_bad_changes_are_named_and_change_nothing(loop):
    for changes, message in (({"delay": 5}, "at most 4"), ({"mass": -1.0}, "mass"), ({"mass": np.nan}, "mass")):
        with pytest.raises(ValueError, match=message):
            loop.change(**changes)
    assert loop.parameters == NOMINAL
    with pytest.raises(ValueError, match="finite"):
        loop.kick(np.nan)
    before = loop.x
    loop.kick(2.0)
    np.testing.assert_allclose(loop.x, before + [0.0, 2.0])


def test_a_network_that_is_not_finite_is_named_and_nothing_moves(agent, loop):
    loop.step()
    loop.agent.actor.theta[:] = np.nan
    before, count = loop.x.copy(), loop.count
    with pytest.raises(ValueError, match="network's torque is not finite"):
        loop.step()
    np.testing.assert_array_equal(loop.x, before)
    assert loop.count == count and np.isfinite(loop.cost).all()


def test_the_plan_starts_where_the_pendulum_is(loop):
    loop.step()
    times, angles = loop.plan()
    assert times[0] == 0.0 and len(times) == len(angles) == HORIZON
    assert angles[0] == pytest.approx(loop.x[0, 0], abs=1e-9)  # no noise, the model is right
    loop.tell(True)
    loop.change(delay=2)
    loop.step()
    times, angles = loop.plan()
    assert times[0] == pytest.approx(0.1)
    for _ in range(2):
        loop.step()
    assert angles[0] == pytest.approx(loop.x[0, 0], abs=1e-9)


# ---- retraining


def test_retraining_is_ddpg_going_on_step_by_step(file, monkeypatch):
    monkeypatch.setattr(versus, "STEPS", 1100)
    loop, theirs = VersusLoop(trained_agent(file), horizon=HORIZON, seed=7), trained_agent(file)
    assert loop.learn(10)  # nothing to learn yet
    loop.change(mass=1.4)
    loop.retrain()
    assert [loop.learn(steps) for steps in (300, 500, 1000)] == [False, False, True]  # not beyond the end
    DDPG(Pendulum(loop.parameters), np.random.default_rng(7), theirs).run(1100, progress=False)
    assert loop.retraining.k == 1100 and loop.training_seconds > 0.0
    for name, values in loop.agent.arrays().items():
        np.testing.assert_array_equal(values, theirs.arrays()[name])


def test_retraining_works_on_a_copy_with_the_plants_limit_and_the_agents_settings(file):
    agent = trained_agent(file)
    agent.gamma, agent.tau, agent.critic_adam.rate = 0.95, 0.01, 1e-3
    loop, before = VersusLoop(agent, horizon=HORIZON), agent.actor.theta.copy()
    loop.change(max_torque=3.0, mass=1.4)
    loop.retrain()
    copy = loop.agent
    assert copy is not agent and (copy.gamma, copy.tau, copy.critic_adam.rate) == (0.95, 0.01, 1e-3)
    assert copy.upper == 3.0 and loop.retraining.env.parameters == loop.parameters
    loop.learn(1010)
    np.testing.assert_array_equal(agent.actor.theta, before)
    assert np.abs(copy.actor.theta - before).max() > 0.0
    loop.retrain()  # goes on from there
    np.testing.assert_array_equal(loop.agent.actor.theta, copy.actor.theta)
    loop.forget()
    assert loop.agent is agent and loop.retraining is None and loop.parameters == NOMINAL and loop.knows()


def test_retraining_that_diverges_says_where(agent):
    agent.critic_adam.rate = agent.actor_adam.rate = 1e30
    loop = VersusLoop(agent, horizon=HORIZON)
    loop.retrain()
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"diverged: the update of step 10\d\d"):
        loop.learn(1100)


# ---- the scene


def test_scene_draws_a_picture_of_its_size_and_describes_it(loop):
    scene = VersusScene(800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 400)
    states(loop, 5)
    loop.change(mass=1.5)
    text = scene.describe(loop)
    for i, name in enumerate(("MPC", "DDPG")):
        (q, v), u = loop.x[i], loop.u[i]
        assert f"{name}: {describe_pendulum(q, v, u)} Cost so far {loop.cost[i]:.0f}." in text
    assert "does not know the plant" in text and "trained on the nominal plant" in text
    loop.tell(True)
    loop.retrain()
    assert f"MPC knows the plant. The network has been retrained for 0 of {STEPS} steps" in scene.describe(loop)


def test_curves_hold_the_past_the_plan_and_no_jumps(loop):
    scene = VersusScene()
    states(loop, 45)
    scene.draw(loop)
    t, q = scene.lines["DDPG"].get_data()
    np.testing.assert_allclose(t, 0.05 * np.arange(-45, 1))
    shown = np.isfinite(q)
    np.testing.assert_allclose(q[shown], wrap(np.array(loop.past)[shown, 1]))
    assert 1 <= (~shown).sum() <= 3  # it has swung through pi
    assert np.nanmax(np.abs(np.diff(q))) < np.pi
    np.testing.assert_allclose(scene.lines["plan"].get_xdata(), loop.plan()[0])


def test_the_picture_says_what_the_plant_is_and_draws_it_only_when_it_changes(loop, monkeypatch):
    scene = VersusScene()
    scene.draw(loop)
    drawn = []
    monkeypatch.setattr(scene.canvas, "layer", lambda artists: drawn.append(list(artists)))
    loop.step()
    scene.draw(loop)
    assert drawn == []
    loop.change(mass=1.35, friction=0.2, delay=3, max_torque=2.5, process_noise=0.7)
    scene.draw(loop)
    assert drawn == [[scene.plant]] and scene.plant.get_window_extent().x1 < 800
    assert scene.plant.get_text() == "plant: 1.35 kg, friction 0.20 N m s, delay 3 steps, ≤ 2.5 N m, noise 0.7 N m"


# ---- the widget, control by control


@pytest.mark.parametrize("name", ["mass", "friction", "delay", "torque", "noise"])
def test_every_slider_over_its_range(live, name):
    slider = live.controls[name]
    field = {"torque": "max_torque", "noise": "process_noise"}.get(name, name)
    assert slider.value == getattr(live.loop.parameters, field) == getattr(NOMINAL, field)
    sweep(live, name, lambda: getattr(live.loop.parameters, field))


def test_every_button_and_the_toggle(live):
    assert list(live.buttons) == ["Play", "Pause", "Step", "Kick", "Restart", "Retrain the RL", "Back to nominal"]
    start = live.picture.value
    live.buttons["Step"].click()
    assert live.picture.value != start and live.loop.count == 1
    before = live.loop.x
    live.buttons["Kick"].click()
    np.testing.assert_allclose(np.abs(live.loop.x - before), [[0.0, 4.0]] * 2)
    live.buttons["Pause"].click()
    assert live.error == "" and not live.playing
    live.buttons["Restart"].click()
    assert live.picture.value == start
    live.controls["mass"].value = 1.5
    live.controls["delay"].value = 2
    assert "believes: 1.00 kg" in live.words.value and "delay 0 steps" in live.words.value
    live.controls["tell"].value = True
    assert live.loop.knows() and live.loop.controller.delay == 2 and "knows the plant" in live.words.value
    live.buttons["Retrain the RL"].click()
    live.buttons["Step"].click()
    assert live.loop.retraining.k >= 1 and live.error == ""
    live.buttons["Back to nominal"].click()
    assert live.loop.parameters == live.loop.believed == NOMINAL and live.loop.retraining is None
    mpc = live.loop.controller
    assert mpc.delay == 0 and mpc.mpc.parameters.unpack(mpc.theta).mass == 1.0  # it plans with that, too
    assert (live.controls["mass"].value, live.controls["delay"].value, live.controls["progress"].value) == (1.0, 0, 0)
    assert live.picture.value == start and live.error == ""
    live.controls["tell"].value = False
    live.controls["mass"].value = 0.8
    assert not live.loop.knows()


def test_retraining_goes_on_a_little_with_each_frame_and_shows_how_far_it_is(live, monkeypatch):
    monkeypatch.setattr(versus, "STEPS", 250)
    live.controls["progress"].max = 250
    live.buttons["Retrain the RL"].click()
    progress, shown = live.controls["progress"], []
    for _ in range(4):
        live.buttons["Step"].click()
        shown.append((progress.value, progress.bar_style))
    assert shown == [(100, "info"), (200, "info"), (250, "success"), (250, "success")]
    assert "retrained for 250 of 250 steps" in live.words.value
    live.buttons["Retrain the RL"].click()
    assert (progress.value, progress.bar_style) == (0, "info")


def test_retrain_plays_by_itself_in_a_notebook_as_long_as_a_frame_has_time_for(live):
    clock = ticking(live)

    async def scenario():
        live.buttons["Retrain the RL"].click()
        assert live.playing
        learn = live.loop.learn

        def slow(steps):
            clock.time += 0.3 * BUDGET
            return learn(steps)

        live.loop.learn = slow
        await clock.advance(3 / live.rate)
        live.buttons["Pause"].click()
        assert not live.playing

    asyncio.run(scenario())
    assert live.error == "" and live.loop.count >= 3
    assert live.controls["progress"].value == live.loop.retraining.k == 4 * live.loop.count


def test_what_fails_is_shown_and_the_widget_goes_on(live, monkeypatch):
    def fails(s):
        raise ZeroDivisionError("my own mistake")

    live.buttons["Step"].click()
    before = live.loop.x.copy()
    monkeypatch.setattr(live.loop.agent, "policy", fails)
    live.buttons["Step"].click()
    assert "my own mistake" in live.message.value and "in fails, line" in live.error
    np.testing.assert_array_equal(live.loop.x, before)
    monkeypatch.undo()
    live.buttons["Step"].click()
    assert live.error == "" and live.message.value == ""


def test_a_first_plan_that_is_not_found_is_shown(live):
    def fails(mpc, theta, s):
        raise SolverError("infeasible", "no plan", s, None, theta)

    live.loop.controller.first = fails
    live.buttons["Restart"].click()
    live.buttons["Step"].click()
    assert "no plan, at state" in live.error and live.loop.count == 0


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert re.search(r"MPC</b> cost \d+, decision \d+\.\d+ ms", live.words.value)
