"""Regression: a network learns what another one computes, and what the model of a cart-pole misses."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.envs.cartpole import MODEL, dynamics
from mpcrl_course.learners.regression import cartpole_transitions, fit
from mpcrl_course.mlp import MLP
from mpcrl_course.policies.integrated import feature_mlp, features

X = np.linspace([0.5, np.pi, 0.0, 0.0], np.zeros(4), 40)
U = np.full((40, 1), 2.0)


def test_it_learns_a_function_in_its_own_units():
    """Outputs of very different size, one far from 0: each is learned relative to its own spread."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (400, 2))
    y = np.stack([1e4 * np.sin(x[:, 0]) + 1e6, 1e-3 * x[:, 0] * x[:, 1], 0.0 * x[:, 0]], axis=1)
    net = MLP(2, 3, rng, width=16, activation="tanh", dtype=np.float64)
    assert fit(net, x, y, rng, steps=2000) is net
    fresh = rng.uniform(-1.8, 1.8, (200, 2))
    truth = np.stack([1e4 * np.sin(fresh[:, 0]) + 1e6, 1e-3 * fresh[:, 0] * fresh[:, 1]], axis=1)
    missed = net(fresh)
    assert (np.abs(missed[:, :2] - truth).mean(axis=0) < 0.05 * truth.std(axis=0)).all()
    assert np.abs(missed[:, 2]).max() < 0.05


def test_a_seed_gives_one_network():
    x = np.random.default_rng(0).normal(size=(30, 5))
    y = np.stack([x[:, 0], 3.0 * x[:, 1]], axis=1)
    one, other = (fit(feature_mlp(np.random.default_rng(1)), x, y, np.random.default_rng(2), steps=5) for _ in range(2))
    np.testing.assert_array_equal(one.theta, other.theta)
    assert not np.array_equal(
        one.theta, fit(feature_mlp(np.random.default_rng(1)), x, y, np.random.default_rng(3), steps=5).theta
    )


def test_it_learns_what_the_model_of_a_cart_pole_misses():
    """Of payload and dry friction, from fresh steps, a sixth is left."""
    plant, rng = replace(MODEL, mass=0.6, coulomb=3.0), np.random.default_rng(0)
    x, u, after = cartpole_transitions(plant, X, U, rng, copies=10, anywhere=600)
    assert x.shape == (1000, 4) and u.shape == (1000, 1)
    phi = fit(feature_mlp(rng), features(x, u), (after - dynamics(x, u))[:, 2:], rng, steps=3000)
    x, u, after = cartpole_transitions(plant, X, U, rng)
    missed = (after - dynamics(x, u))[:, 2:]
    left = missed - phi(features(x, u))
    assert (left.std(axis=0) < 0.167 * missed.std(axis=0)).all()


def test_transitions_are_those_of_the_plant_around_plans_and_anywhere():
    plant = replace(MODEL, coulomb=2.0)
    x, u, after = cartpole_transitions(plant, X, U, np.random.default_rng(0))
    assert len(x) == 3 * 40 + 280
    np.testing.assert_array_equal(after, dynamics(x, u, plant))
    assert np.abs(u).max() <= 15.0 and np.abs(x[120:, 1]).max() <= np.pi
    around = x[:120] - np.tile(X, (3, 1))
    np.testing.assert_allclose(around.std(axis=0), [0.1, 0.15, 0.3, 0.6], rtol=0.2)
    alone, *_ = cartpole_transitions(plant, X[:0], U[:0], np.random.default_rng(0), anywhere=5)
    assert len(alone) == 5


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    net = feature_mlp(rng)
    for x, y, why in (
        (np.zeros((3, 5)), np.zeros((2, 2)), "pairs"),
        (np.zeros((3, 4)), np.zeros((3, 2)), "x"),
        (np.zeros((3, 5)), np.full((3, 2), np.nan), "y"),
        (np.zeros((0, 5)), np.zeros((0, 2)), "pairs"),
    ):
        with pytest.raises(ValueError, match=why):
            fit(net, x, y, rng)
    with pytest.raises(ValueError, match="bounds"):
        fit(MLP(5, 1, rng, lower=-1.0, upper=1.0), np.zeros((3, 5)), np.zeros((3, 1)), rng)
    with pytest.raises(ValueError, match="pairs"):
        cartpole_transitions(MODEL, X, U[:-1], rng)
