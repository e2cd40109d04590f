"""Controllers of the network by what they tell each other: where they must agree, and in what they differ."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import START
from mpcrl_course.envs.network import LinearNetwork, NetworkParameters, Noise
from mpcrl_course.network import ADMM, Central, line, ring
from mpcrl_course.policies.communication import Alone, mean_push, true_theta
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.network import network_mpc

NET, STARTS = network_mpc(), np.tile(START, (2, 3))
CENTRAL = Central(NET)
STATES = np.random.default_rng(0).uniform([0.0, -0.3] * 3, [0.4, 0.3] * 3, (6, 6))


def test_without_coupling_all_are_equal():
    plant = NetworkParameters(coupling=0.0)
    noise, theta = plant.draw(3, 2, 12), true_theta(NET, 0.0)
    best = run(Receding(CENTRAL, theta), plant, STARTS, noise)
    np.testing.assert_allclose(mean_push(plant, steps=20, settled=5), 0.0, atol=1e-15)
    plans = Receding(ADMM(NET, iterations=2000, tolerance=1e-8), theta)
    for controller in (plans, Alone(plant), Alone(plant, told=True), Alone(plant, push=[0.0] * 3)):
        np.testing.assert_allclose(run(controller, plant, STARTS, noise).u, best.u, atol=1e-5)


@pytest.mark.parametrize("coupling", [-0.1, -0.4])
def test_plans_by_admm_are_the_central_ones(coupling):
    theta = true_theta(NET, coupling)
    plans, central = Receding(ADMM(NET, rho=10.0, iterations=20_000, tolerance=1e-6), theta), Receding(CENTRAL, theta)
    np.testing.assert_allclose(plans(STATES), central(STATES), atol=1e-4)


@pytest.mark.parametrize("coupling", [-0.1, 0.3])
def test_a_push_is_a_constant_in_the_model(coupling):
    """On a ring of four: as the central MPC that knows no coupling, with the push written into every agent's b."""
    neighbours = [[1, 3], [0, 2], [1, 3], [0, 2]]
    plant, net = NetworkParameters(neighbours, coupling=coupling), network_mpc(4, ring(4))
    central, rng = Central(net), np.random.default_rng(1)
    told, assumed, nothing = Alone(plant, told=True), Alone(plant, push=[0.1, -0.05, 0.0, 0.02]), Alone(plant)
    assert (told.messages, assumed.messages, nothing.messages) == (8, 0, 0)
    for s in rng.uniform([0.0, -0.3] * 4, [0.4, 0.3] * 4, (3, 8)):
        x2 = s[1::2]
        felt = [coupling * (x2[1] + x2[3]), coupling * (x2[0] + x2[2])] * 2
        for controller, push in ((told, felt), (assumed, [0.1, -0.05, 0.0, 0.02]), (nothing, [0.0] * 4)):
            blocks = {f"b_{i + 1}": [-0.05, f] for i, f in enumerate(push)}
            theta = net.parameters.pack(true_theta(net, 0.0), **blocks)
            np.testing.assert_allclose(controller(s)[0], central.V(theta, s).u0, atol=1e-6)


def test_a_readers_own_push_is_asked_with_what_is_told():
    plant, seen = NetworkParameters(coupling=-0.3), []
    held = Alone(plant, told=True)
    own = Alone(plant, told=True, push=lambda coupling, x2: (seen.append(x2), coupling * x2.sum())[1])
    np.testing.assert_allclose(own(STATES), held(STATES), atol=1e-12)
    assert own.messages == held.messages == 4
    np.testing.assert_array_equal(np.concatenate(seen[:3]), STATES[0, [3, 1, 5, 3]])  # neighbours only, in order
    less = Alone(plant, told=True, push=lambda coupling, x2: 0.0)
    np.testing.assert_allclose(less(STATES), Alone(plant)(STATES), atol=1e-12)


def test_the_true_theta_predicts_the_plant():
    """Without noise but its mean, the central plan's next state is the plant's."""
    theta = true_theta(NET, -0.3)
    for s in STATES[:3]:
        v = CENTRAL.mpc.V(theta, s)
        plant = LinearNetwork(coupling=-0.3, start=s, recorded=np.full((1, 3), -0.05))
        plant.reset()
        np.testing.assert_allclose(plant.step(v.u0)[0], v.x[1], atol=1e-9)


def test_an_agent_who_is_told_nothing_looks_at_its_own_state_only():
    other = STATES.copy()
    other[:, 2:] += 0.1
    plant = NetworkParameters(coupling=-0.3)
    np.testing.assert_allclose(Alone(plant)(other)[:, 0], Alone(plant)(STATES)[:, 0], atol=1e-8)
    told = [Alone(plant, told=True)(x)[:, 0] for x in (STATES, other)]
    assert np.abs(told[1] - told[0]).max() > 1e-2
    other = STATES.copy()
    other[:, 4:] += 0.1  # agent 3 is no neighbour of agent 1
    np.testing.assert_allclose(Alone(plant, told=True)(other)[:, 0], told[0], atol=1e-8)


def test_the_mean_push_is_that_of_the_best_controller():
    """It is steady from noise to noise, has the sign of the coupling, and is largest in the middle."""
    plant = NetworkParameters(coupling=-0.3)
    push, again = mean_push(plant, 0, 120, 40), mean_push(plant, 1, 120, 40)
    np.testing.assert_allclose(push, again, rtol=0.2)
    assert (push < 0.0).all() and push[1] < push[0] and push[1] < push[2]  # the middle has two neighbours


def test_a_lost_plant_ends_the_run():
    """Coupling -0.5: agents who know nothing of it lose the plant; those who plan together do not."""
    plant = NetworkParameters(coupling=-0.5, reach=10.0)
    noise = plant.draw(0, 2, 100)
    lost = run(Alone(plant), plant, STARTS, noise)
    assert (lost.ended < 100).all() and (np.abs(lost.x[-1]).max(axis=1) > 10.0).all()
    assert (run(Receding(CENTRAL, true_theta(NET, -0.5)), plant, STARTS, noise).ended == 100).all()


def test_bad_input():
    with pytest.raises(ValueError, match="need a function for push"):
        Alone(NetworkParameters(), told=True, push=[0.0] * 3)
    with pytest.raises(ValueError, match="push is a function of what agents are told"):
        Alone(NetworkParameters(), push=lambda coupling, x2: 0.0)
    with pytest.raises(ValueError, match="your push function returned shape"):
        Alone(NetworkParameters(), told=True, push=lambda coupling, x2: coupling * x2)(np.zeros(6))
    with pytest.raises(ValueError, match="push has shape"):
        Alone(NetworkParameters(), push=[0.0] * 2)
    with pytest.raises(ValueError, match="must be more than settled"):
        mean_push(NetworkParameters(), steps=10, settled=10)
    for wrong in ({"coupling": np.nan}, {"reach": 0.0}, {"reach": np.inf}, {"reach": np.nan}):
        with pytest.raises(ValueError, match="coupling|reach"):
            NetworkParameters(**wrong)
    with pytest.raises(KeyError):
        true_theta(network_mpc(3, line(3), order=1), 0.0)


# --- what lecture 11 shows


@pytest.fixture(scope="module")
def shipped():
    with places.data("coupling_11.npz") as file:
        return dict(file)


def test_the_stored_costs_are_what_the_controllers_cost(shipped):
    """The first of the twenty noises at -0.2; the run that is lost first at -0.5."""
    couplings = list(shipped["coupling"])
    for coupling, who in ((-0.2, 0), (-0.5, int(shipped["more_ended"][-1].argmin()))):
        i, plant = couplings.index(coupling), NetworkParameters(coupling=coupling, reach=10.0)
        noise = Noise(plant.draw(11, 20, 400).e[:, who : who + 1])
        controllers = {
            "central": Receding(CENTRAL, true_theta(NET, coupling)),
            "number": Alone(plant, told=True),
            "more": Alone(plant, told=True, push=lambda c, x2: 1.25 * c * x2.sum()),
            "push": Alone(plant, push=shipped["push"][i]),
            "nothing": Alone(plant),
        }
        for name, controller in controllers.items():
            found = run(controller, plant, STARTS[:1], noise)
            assert found.ended[0] == shipped[f"{name}_ended"][i, who]
            cost = found.cost.mean() if found.ended[0] == 400 else np.nan
            np.testing.assert_allclose(shipped[f"{name}_cost"][i, who], cost, rtol=1e-4)


def test_what_a_message_is_worth(shipped):
    """Plans are the centre's; one number a link does down to -0.3, with a factor to -0.4; nothing sent to -0.2."""
    lost = {name: np.isnan(shipped[f"{name}_cost"]).sum(axis=1) for name in ("plans", "number", "more", "nothing")}
    ratio = {name: shipped[f"{name}_cost"] / shipped["central_cost"] for name in lost}
    np.testing.assert_allclose(ratio["plans"], 1.0, atol=1e-3)
    assert not lost["number"][:4].any() and lost["number"][4] > 10 and not lost["more"][:5].any()
    assert not lost["nothing"][:2].any() and lost["nothing"][3] > 15
    assert ratio["number"][2].mean() < 1.1 < ratio["nothing"][0].mean()
    assert (ratio["more"][:4].mean(axis=1) < 1.0).all()
