"""Consensus ADMM live: the loop without a widget, the scene, and every control."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.live.admm import (
    CUT_AT,
    GRAPHS,
    HOLD,
    ITERATIONS,
    RHOS,
    ADMMLoop,
    ADMMScene,
    admm_live,
    off,
    positions,
)
from mpcrl_course.network import ADMM
from tests.live.helpers import alt, ticking, turn


@pytest.fixture(scope="module")
def live():
    return admm_live(width=640)


def test_the_agents_know_the_true_plant():
    """One step of the network without noise is what the central plan predicts."""
    loop = ADMMLoop("ring of 4")
    plant = LinearNetwork([[1, 3], [0, 2], [1, 3], [0, 2]], noise=0.0, start=loop.s)
    x = plant.step(loop.optimum.u0)[0]
    z = [loop.optimum.duals.z[own].reshape(-1, 2) for own in loop.admm.z_of]
    np.testing.assert_allclose(np.concatenate([trajectory[0] for trajectory in z]), loop.s, atol=1e-12)
    np.testing.assert_allclose(np.concatenate([trajectory[1] for trajectory in z]), x, atol=1e-9)


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_comes_to_the_optimum_and_the_plans_are_those_of_its_iterations(graph):
    loop = ADMMLoop(graph)
    assert loop.distance[-1] < 1e-6 and loop.solution.primal[-1] < 1e-6
    assert np.abs(loop.solution.u0 - loop.optimum.u0).max() < 1e-6
    short = ADMM(loop.problem.network, loop.rho, 7).V(loop.problem.theta, loop.s)
    loop.show(7)
    for (plan, copies), local, own in zip(loop.plans(), short.local, loop.problem.network.neighbours):
        np.testing.assert_allclose(plan, local.x[:, 1], atol=1e-9)
        assert list(copies) == own
    for j, (_, copies) in enumerate(loop.plans()):  # agent i's copies stand in its inputs after u_i
        for i, held in copies.items():
            place = loop.problem.network.neighbours[i].index(j)
            np.testing.assert_allclose(held, short.local[i].u[:, 2 + 2 * place], atol=1e-9)
    assert loop.gaps().max() <= loop.solution.primal[6] + 1e-12
    loop.show(0)
    assert all(not plan.any() for plan, _ in loop.plans())
    at = positions(graph)
    assert at.shape == (GRAPHS[graph][0], 2) and np.abs(at).max() <= 1.0
    assert min(np.hypot(*(a - b)) for k, a in enumerate(at) for b in at[:k]) > 0.4


def test_a_cut_link_and_lost_messages():
    loop = ADMMLoop()
    whole = loop.solution
    loop.change(cut=(0, 1))
    np.testing.assert_array_equal(loop.solution.history.z[:CUT_AT], whole.history.z[:CUT_AT])
    assert loop.solution.primal[-1] > 1e-3 > 1e-6 > loop.solution.dual[-1]  # they settle without agreeing
    loop.change(cut=None, loss=0.3)
    assert loop.solution.messages < whole.messages and loop.distance[-1] < 1e-3
    few = loop.solution.messages
    loop.change(loss=0.6)
    assert loop.solution.messages < few
    loop.change(loss=0.0)
    np.testing.assert_array_equal(loop.solution.history.z, whole.history.z)


def test_the_pages_turn_and_begin_again():
    loop = ADMMLoop()
    turned = [(loop.step(), loop.t)[1] for _ in range(ITERATIONS + HOLD + 2)]
    assert turned == [*range(1, ITERATIONS + 1), *[ITERATIONS] * HOLD, 0, 1]


def test_bad_values_are_named_and_change_nothing():
    loop = ADMMLoop()
    before = loop.solution
    for change, message in (({"rho": 0.0}, "rho must be positive"), ({"loss": 1.0}, "share of lost"),
                            ({"cut": (0, 2)}, "no link"), ({"graph": "tree"}, "graph must be one of")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            loop.change(**change)
    assert loop.solution is before and loop.rho == 1.0 and loop.cut is None and loop.graph == "line of 3"


def test_scene_draws_a_picture_of_its_size_and_describes_it():
    loop = ADMMLoop()
    scene = ADMMScene(loop, 800)
    picture = Image.open(io.BytesIO(scene.draw(loop)))
    assert picture.format == "JPEG" and picture.size == (800, 420)
    assert "Before the first iteration" in scene.describe(loop)
    loop.show(12)
    assert f"{loop.solution.primal[11]:.1e}" in scene.describe(loop) and "iteration 12" in scene.describe(loop)
    loop.change(cut=(1, 2), loss=0.25)
    assert "Link 2 – 3 is cut" in scene.describe(loop) and "25 % are lost" in scene.describe(loop)


def test_at_another_coupling_the_centre_still_predicts_the_plant():
    loop = ADMMLoop()
    loop.change(coupling=-0.4)
    plant = LinearNetwork(noise=0.0, start=loop.s, coupling=-0.4)
    x = plant.step(loop.optimum.u0)[0]
    z = [loop.optimum.duals.z[own].reshape(-1, 2) for own in loop.admm.z_of]
    np.testing.assert_allclose(np.concatenate([trajectory[1] for trajectory in z]), x, atol=1e-9)


def test_what_is_planned_alone_knows_of_the_others_what_it_is_told():
    """Without coupling it is the optimum; else nothing sent looks at no other agent, one number at its neighbours."""
    loop = ADMMLoop()
    loop.change(coupling=0.0)
    for told in ("nothing sent", "one number a link"):
        loop.change(told=told)
        assert off(loop, loop.alone) < 1e-9
    loop.change(coupling=-0.3)
    number = loop.alone.u0
    assert off(loop, loop.alone) > 1e-3
    loop.change(told="nothing sent")
    nothing = loop.alone.u0
    loop.s = loop.s.copy()
    loop.s[3] += 0.2  # x_2 of agent 2, the neighbour of both others
    loop.solve()
    np.testing.assert_allclose(loop.alone.u0[[0, 2]], nothing[[0, 2]], atol=1e-9)
    loop.change(told="one number a link")
    assert (np.abs(loop.alone.u0[[0, 2]] - number[[0, 2]]) > 1e-4).any()


def test_a_readers_own_push():
    asked = []
    loop = ADMMLoop(push=lambda c, x2: (asked.append((c, x2)), c * x2.sum())[1])
    own = loop.alone.u0
    assert [len(x2) for _, x2 in asked[:3]] == [1, 2, 1] and asked[0][0] == -0.1
    np.testing.assert_array_equal(asked[1][1], loop.s[[1, 5]])
    loop.change(told="one number a link")
    np.testing.assert_allclose(loop.alone.u0, own, atol=1e-12)
    with pytest.raises(ValueError, match="your push function returned shape"):
        admm_live(lambda c, x2: x2, width=640)
    live = admm_live(lambda c, x2: 0.0 if c > -0.3 else 1 / 0, width=640)
    assert live.controls["told"].value == "yours" and live.error == ""
    live.controls["coupling"].value = -0.4
    assert "ZeroDivisionError" in live.error
    live.controls["coupling"].value = -0.2
    assert live.error == "" and "planned alone, yours" in live.words.value
    with pytest.raises(ValueError, match="there is no told 'yours'"):
        ADMMLoop().change(told="yours")


def test_a_step_later_admm_starts_where_it_stood():
    """The state is where the plants go without noise; from a warm start fewer iterations are needed."""
    loop = ADMMLoop()
    plant = LinearNetwork(noise=0.0, start=loop.s)
    x = plant.step(loop.solution.u0)[0]
    loop.advance()
    np.testing.assert_allclose(loop.s, x, atol=1e-12)
    assert loop.warm and loop.t == 0
    warm = int(np.argmax(loop.distance < 1e-3))
    np.testing.assert_array_equal(loop.copies()[1], loop._start.z)
    loop._start = None
    loop.solve()
    assert warm < int(np.argmax(loop.distance < 1e-3))
    loop.advance()
    loop.renew()
    assert not loop.warm


@pytest.mark.parametrize("name", ["rho", "t", "loss", "cut", "graph", "coupling", "told"])
def test_every_control_over_its_range(live, name):
    control = live.controls[name]
    options = getattr(control, "options", None)
    if name == "told":
        values = list(control.options)
    elif name == "coupling":
        values = [control.min, control.max, -0.25]
    elif options is None:
        values = [control.min, control.max, 0.4 * control.max]
        values = [type(control.value)(value) for value in values]
    else:
        values = [value[1] if isinstance(value, tuple) else value for value in options]
    live.controls["t"].value = 3
    pictures = []
    for value in values:
        control.value = value
        if name != "t":
            live.controls["t"].value = 7
        live.buttons["Step"].click()
        assert live.error == "" and live.message.value == ""
        pictures.append(live.picture.value)
    assert len(set(pictures)) == len(values) if name != "t" else len(set(pictures)) >= 2
    assert name == "t" or getattr(live.loop, name) == values[-1]
    assert control.description
    first = {"rho": 1.0, "t": 0, "loss": 0.0, "cut": None, "graph": "line of 3", "coupling": -0.1}
    control.value = (first | {"told": "nothing sent"})[name]


def test_the_links_that_can_be_cut_are_those_of_the_graph(live):
    live.controls["cut"].value = (0, 1)
    live.controls["graph"].value = "star of 4"
    assert live.loop.cut is None and live.controls["cut"].value is None and live.error == ""
    assert [value for _, value in live.controls["cut"].options] == [None, *GRAPHS["star of 4"][1]]
    live.controls["graph"].value = "line of 3"


def test_new_states_and_the_slider_that_follows(live):
    live.controls["t"].value = 5
    live.buttons["Step"].click()
    assert live.loop.t == live.controls["t"].value == 6
    before = live.loop.s
    live.buttons["New states"].click()
    assert live.loop.t == live.controls["t"].value == 0 and np.abs(live.loop.s - before).max() > 1e-3
    assert RHOS[0] == live.controls["rho"].options[0][1]


def test_play_and_a_solve_that_fails(monkeypatch):
    live = admm_live(width=640)

    def fail(*args):
        raise ZeroDivisionError("no plan")

    async def scenario():
        live.buttons["Play"].click()
        await ticking(live).tick(4)
        assert live.playing
        monkeypatch.setattr(live.loop, "solve", fail)
        live.controls["rho"].value = 3.0
        await turn()
        assert not live.playing

    asyncio.run(scenario())
    assert live.loop.t == 5 and "no plan" in live.message.value
    monkeypatch.undo()
    live.controls["rho"].value = 1.0
    assert live.error == ""


def test_the_alt_text_says_the_state(live):
    live.buttons["Step"].click()
    assert alt(live) == live.scene.describe(live.loop)
    assert "messages each" in live.words.value


def test_it_says_whether_it_has_converged_and_from_where_it_started(live):
    live.controls["rho"].value = 1.0
    live.buttons["New states"].click()
    assert live.loop.solution.converged and "from a cold start: converged" in live.words.value
    live.buttons["A step later"].click()
    assert live.error == "" and "from a warm start: converged" in live.words.value
    live.controls["cut"].value = (0, 1)
    assert not live.loop.solution.converged and "<b>not converged</b>" in live.words.value
    live.controls["cut"].value = None
