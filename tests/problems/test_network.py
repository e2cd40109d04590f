"""The declarations of the network's MPCs, against the definitions and the published numbers they were copied from."""

from pathlib import Path

import numpy as np
import pytest

from mpcrl_course.envs import network as plant
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.mpc import MPC
from mpcrl_course.network import ADMM, Central, ring, star
from mpcrl_course.problems import network as module
from mpcrl_course.problems.network import network_mpc

DATA = np.load(Path(__file__).parents[1] / "data" / "second_order_network.npz")
START = np.tile([0.0, 0.15], 3)


def test_parameters():
    own = module.agent(1).parameters
    assert own.names == (
        "V0 f1 f2 f3 x_lb1 x_lb2 x_ub1 x_ub2 b1 b2 W_x1 W_x2 W_u1 w1 w2 A11 A21 A12 A22 B1 B2 A_c".split()
    )
    expected = [0] * 10 + [1, 1, 1, 500, 500, 1, 0, 0.25, 1, 0.0312, 0.25, 0]
    np.testing.assert_array_equal(own.initial(), expected)
    assert network_mpc().parameters.size == 66
    first = module.agent(2, order=1).parameters
    assert first.size == 1 + 2 + 2 + 2 + 3 + 4 + 2 + 2 * 4
    p = first.unpack(first.initial())
    np.testing.assert_array_equal(p.x_ub, [1.0, 0.0])
    np.testing.assert_array_equal(p.A_c2, np.zeros((2, 2)))
    np.testing.assert_array_equal(p.A, [[1.0, 0.25], [0.0, 1.0]])
    with pytest.raises(ValueError, match="no order 3; there are: 1, 2"):
        network_mpc(order=3)


def test_bounds_weights_and_discount_are_those_of_the_plant():
    np.testing.assert_array_equal(module.LOWER, plant.LOWER)
    np.testing.assert_array_equal(module.UPPER, plant.UPPER)
    assert module.WEIGHT == {1: 120.0, 2: plant.WEIGHT} and network_mpc().discount == plant.DISCOUNT


def test_agents_of_one_degree_are_one():
    net = network_mpc(6, ring(6), order=1)
    assert len({id(agent) for agent in net.agents}) == 1
    net = network_mpc(6, star(6), order=1)
    assert len({id(agent) for agent in net.agents}) == 2
    assert net.parameters.size == (16 + 5 * 4) + 5 * (16 + 4)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["V", "Q"])
def test_value_is_the_cost_of_its_own_plan(order, kind):
    """Every term of the docstring, added up by hand along the central plan, at random parameters."""
    net = network_mpc(3, order=order)
    rng, mpc = np.random.default_rng(0), MPC(net.problem)
    for _ in range(3):
        theta = net.parameters.initial() + 0.05 * rng.standard_normal(net.parameters.size)
        s = rng.uniform([-0.2, -0.5] * 3, [1.1, 0.5] * 3)
        solution = mpc.V(theta, s) if kind == "V" else mpc.Q(theta, s, rng.uniform(-1, 1, 3))
        total, x = 0.0, solution.x.reshape(11, 3, 2)
        for i, (own, others) in enumerate(zip(net.split(theta), net.neighbours)):
            p = net.agents[i].parameters.unpack(own)
            total += p.V0
            low, high = plant.LOWER + p.x_lb, plant.UPPER + p.x_ub
            slack = np.maximum(0, np.maximum(low - x[:, i], x[:, i] - high))
            for k in range(11):
                g, u = 0.9**k, solution.u[k, i] if k < 10 else None
                if order == 2:
                    total += 0.5 * g * (((p.W_x * x[k, i]) ** 2).sum() + p.w @ slack[k])
                if k == 10:
                    break
                total += p.f @ [*x[k, i], u]
                if order == 2:
                    total += 0.5 * g * 0.5 * (p.W_u[0] * u) ** 2
                    push = np.array([0.0, p.A_c * sum(x[k, j, 1] for j in others)])
                else:
                    total += 0.5 * g * (x[k, i] @ x[k, i] + 0.5 * u**2 + 120 * slack[k + 1].sum())
                    push = sum(getattr(p, f"A_c{n + 1}") @ x[k, j] for n, j in enumerate(others))
                np.testing.assert_allclose(x[k + 1, i], p.A @ x[k, i] + p.B * u + p.b + push, atol=1e-12)
        assert solution.value == pytest.approx(total, rel=1e-8, abs=1e-7)


def first_td(controller, seed):
    """The TD error of the first step at the initial parameters, and the first action."""
    theta, env = controller.parameters.initial(), LinearNetwork(recorded=DATA["noise"][seed])
    s, _ = env.reset()
    a = controller.V(theta, s).u0
    s_next, reward, *_ = env.step(a)
    v, q = controller.V_and_Q(theta, s_next, s, a)
    return -reward + 0.9 * v.value - q.value, a


@pytest.mark.parametrize("seed", range(3))
def test_published_first_step(seed):
    """U[0] (stored in single precision) and TD[0], centralised and by 100 iterations of ADMM."""
    central = Central(network_mpc())
    td, a = first_td(central, seed)
    assert list(DATA["methods"]) == ["dist_so", "cent_so", "dist_fo", "cent_fo"]
    np.testing.assert_allclose(a, DATA["U"][1, seed, 0], atol=2e-8)
    assert td == pytest.approx(DATA["td"][1, seed, 0], abs=1e-9) == DATA["td"][3, seed, 0]
    td, a = first_td(ADMM(network_mpc()), seed)
    np.testing.assert_allclose(a, DATA["U"][0, seed, 0], atol=2e-8)
    assert td == pytest.approx(DATA["td"][0, seed, 0], abs=1e-7)  # the published one has not converged further
    assert td == pytest.approx(DATA["td"][2, seed, 0], abs=1e-7)


def test_with_the_true_model_the_prediction_is_the_plant():
    net, rng = network_mpc(4, star(4)), np.random.default_rng(2)
    true = {"A": [[0.9, 0.35], [0.0, 1.1]], "B": [0.0813, 0.2], "A_c": -0.1}
    theta = net.parameters.pack(**{f"{name}_{i + 1}": value for i in range(4) for name, value in true.items()})
    env = LinearNetwork(net.neighbours, noise=0.0)
    s, _ = env.reset(options={"x": rng.uniform([0, -0.3] * 4, [0.8, 0.3] * 4)})
    plan = Central(net).V(theta, s)
    for k in range(10):
        for i, own in enumerate(plan.local):
            np.testing.assert_allclose(own.x[k], s[2 * i : 2 * i + 2], atol=1e-10)
        s = env.step([own.u[k, 0] for own in plan.local])[0]


def test_a_weight_counts_the_whole_cost_of_an_agent():
    """With weights omega_i the value of a network without coupling is the sum of omega_i times each agent's own."""
    network, omega = network_mpc(), (0.05, 1.0, 3.0)
    s = np.array([0.2, 0.1, -0.1, 0.3, 0.6, -0.2])
    plain = Central(network).V(network.parameters.initial(), s).values
    theta = module.weighted(network, omega)
    np.testing.assert_allclose(Central(network).V(theta, s).values, omega * plain, rtol=1e-6)
    np.testing.assert_allclose(module.weighted(network, [1, 1, 1], theta), network.parameters.initial())
    for wrong in ((1.0, 1.0), (1.0, -1.0, 1.0)):
        with pytest.raises(ValueError, match="omega"):
            module.weighted(network, wrong)
