"""Constant parameters: six numbers and what they set; identified from steps of the plant."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.envs.cartpole import LADEN, MODEL, WEIGHTS, dynamics
from mpcrl_course.learners.identification import identify
from mpcrl_course.policies.parameterised import N_THETA, coordinates, tuned_theta
from mpcrl_course.problems.cartpole import cartpole_mpc, terminal_factor, with_model

MPC = cartpole_mpc(horizon=5)


def transitions(plant, n=400, seed=0):
    rng = np.random.default_rng(seed)
    x, u = rng.uniform(-1.0, 1.0, (n, 4)) * [1.5, np.pi, 3.0, 8.0], rng.uniform(-15.0, 15.0, (n, 1))
    return x, u, dynamics(x, u, plant)


def test_zero_is_the_plain_mpc_and_each_number_sets_its_own():
    initial = MPC.parameters.initial()
    for terminal in (False, True):
        np.testing.assert_allclose(tuned_theta(MPC, np.zeros(N_THETA), terminal), initial, rtol=1e-12)
    found = MPC.parameters.unpack(tuned_theta(MPC, [0.5, 0.7, -0.3, 0.2, 0.1, 9.0]))
    assert found.mass == pytest.approx(0.2 * np.exp(0.5)) and found.friction == pytest.approx(1.4)
    np.testing.assert_allclose(found.weights, WEIGHTS * np.exp([-0.3, 0.0, 0.2, 0.1, 3.0]))  # 9 is clipped to 3
    assert MPC.parameters.unpack(tuned_theta(MPC, [0.0, -2.0, 0, 0, 0, 0])).friction == 0.0
    np.testing.assert_array_equal(found.terminal, terminal_factor())


def test_the_terminal_cost_follows_model_and_weights_if_it_is_asked_to():
    z = np.array([0.4, 0.5, 1.0, 0.0, 0.0, -0.5])
    model = replace(MODEL, mass=0.2 * np.exp(0.4), friction=1.0)
    found = MPC.parameters.unpack(tuned_theta(MPC, z, terminal=True))
    np.testing.assert_allclose(
        found.terminal, terminal_factor(model, WEIGHTS * np.exp([1.0, 0, 0, 0, -0.5])), rtol=1e-9
    )
    assert np.abs(found.terminal - terminal_factor()).max() > 0.1


def test_a_model_that_can_be_right_is_identified_exactly():
    plant = replace(MODEL, mass=0.43, friction=2.7)
    found = identify(*transitions(plant))
    assert (found.mass, found.friction) == pytest.approx((0.43, 2.7), rel=1e-6)
    assert replace(found, mass=0.2, friction=0.0) == MODEL
    z = coordinates(found)
    np.testing.assert_allclose(tuned_theta(MPC, z), with_model(MPC, MPC.parameters.initial(), found), rtol=1e-12)


def test_viscous_friction_stands_in_for_dry_friction():
    """No model of two numbers is right: no other pair explains the steps better."""
    x, u, ahead = transitions(LADEN)
    found = identify(x, u, ahead)

    def left(mass, friction):
        return ((dynamics(x, u, replace(MODEL, mass=mass, friction=friction)) - ahead)[:, 2:] ** 2).sum()

    least = left(found.mass, found.friction)
    assert 0.5 < found.mass < 0.65 and found.friction > 1.0 and 0.0 < least < 0.4 * left(0.2, 0.0)
    for mass, friction in ((0.01, 0.0), (-0.01, 0.0), (0.0, 0.05), (0.0, -0.05)):
        assert least < left(found.mass + mass, found.friction + friction)
    with pytest.raises(ValueError, match="same steps"):
        identify(x[:3], u, ahead)
