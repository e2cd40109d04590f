"""A correction beside an MPC: none is the MPC, its target by hand, its gradient; what nobody checks is counted."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import LADEN, MODEL, dynamics
from mpcrl_course.learners.regression import fit
from mpcrl_course.mlp import MLP
from mpcrl_course.policies.comparison import hanging_starts, measure
from mpcrl_course.policies.integrated import feature_mlp, features
from mpcrl_course.policies.parallel import BlendedValue, Parallel, correction, missing_force
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc
from mpcrl_course.problems.linear import linear_mpc

MPC = cartpole_mpc(horizon=15)
STARTS = hanging_starts(2)


def transitions(n=300, plant=LADEN, seed=0):
    rng = np.random.default_rng(seed)
    x, u = rng.uniform(-1.0, 1.0, (n, 4)) * [1.5, np.pi, 3.0, 8.0], rng.uniform(-15.0, 15.0, (n, 1))
    return x, u, dynamics(x, u, plant)


@pytest.mark.parametrize(("r", "beta"), [(lambda y, u: 1e3 + y[:, :1], 0.0), (lambda y, u: 0.0 * u, 1.0)])
def test_without_a_share_or_a_correction_it_is_the_plain_mpc(r, beta):
    noise = LADEN.draw(0, 2, 40)
    plain, found = (run(c, LADEN, STARTS, noise) for c in (Receding(MPC), Parallel(Receding(MPC), r, beta)))
    np.testing.assert_allclose(found.u, plain.u, atol=1e-9)
    np.testing.assert_array_equal(found.status, plain.status)


def test_the_correction_sees_state_and_input_and_counts_by_its_share():
    y, seen = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]), []

    def r(y, u):
        seen.append((y.copy(), u.copy()))
        return y[:, :1] + 2.0 * u

    beside = Parallel(lambda y: y[:, 1:2], r, 0.5)
    np.testing.assert_allclose(beside(y), y[:, 1:2] + 0.5 * (y[:, :1] + 2.0 * y[:, 1:2]))
    np.testing.assert_array_equal(seen[0][0], y)
    np.testing.assert_array_equal(seen[0][1], y[:, 1:2])
    beside.beta = 0.0
    np.testing.assert_array_equal(beside(y), y[:, 1:2])


def test_what_is_asked_beyond_the_limit_is_counted_and_what_acts_is_not():
    """The MPC keeps its limit of 15 N; the sum with a correction does not, and the plant clips it."""
    plain, pushed = (measure(Parallel(Receding(MPC), lambda y, u: u + np.sign(u), beta), starts=STARTS, steps=30)
                     for beta in (0.0, 1.0))  # fmt: skip
    assert not plain.beyond.any() and (pushed.beyond > 0).all()
    found = run(Parallel(Receding(MPC), lambda y, u: 100.0 + 0.0 * u), LADEN, STARTS, LADEN.draw(0, 2, 5))
    np.testing.assert_array_equal(found.u, 15.0)


def test_the_target_makes_up_for_a_force_exactly():
    """A plant that is pushed by 2 N more than the model knows needs 2 N less."""
    x, u, _ = transitions()
    missing = missing_force(x, u, dynamics(x, u + 2.0, MODEL))
    assert abs(missing + 2.0).max() < 1e-2  # a step of RK4 is not quite linear in the force


def test_the_target_is_the_least_squares_force():
    """No other force brings the model's velocities nearer to those of the plant, seen from the model's side."""
    x, u, ahead = transitions()
    r = missing_force(x, u, ahead)

    def left(r):
        return ((ahead - dynamics(x, u - r, MODEL))[:, 2:] ** 2).sum()

    assert left(r) < min(left(0.99 * r), left(1.01 * r), left(r + 0.05), left(r - 0.05), 0.5 * left(0.0 * r))


def test_a_trained_correction_lets_the_plant_move_as_the_model_does():
    """Dry friction alone, which a force can make up for: of the model's error of a step most is gone."""
    plant = replace(MODEL, coulomb=3.0)
    x, u, ahead = transitions(1000, plant)
    rng = np.random.default_rng(0)
    r = correction(fit(feature_mlp(rng, 1), features(x, u), missing_force(x, u, ahead), rng, steps=2500))
    x, u, _ = transitions(300, plant, seed=1)
    errors = [
        np.sqrt(((dynamics(x, now, plant) - dynamics(x, u, MODEL))[:, 2:] ** 2).mean()) for now in (u, u + r(x, u))
    ]
    assert errors[1] < 0.3 * errors[0]


def test_the_gradient_of_its_regression_is_that_of_finite_differences():
    x, u, ahead = transitions(50)
    net, z, y = feature_mlp(np.random.default_rng(1), 1), features(x, u), missing_force(x, u, ahead)

    def loss(theta):
        net.theta[:] = theta
        return 0.5 * ((correction(net)(x, u) - y) ** 2).mean()

    theta = net.theta.copy()
    found, tape = net.forward(z)
    gradient, _ = net.backward(tape, (found - y) / len(y), inputs=False)
    for d in np.random.default_rng(2).standard_normal((4, theta.size)):
        slope = (loss(theta + 1e-6 * d) - loss(theta - 1e-6 * d)) / 2e-6
        assert gradient @ d == pytest.approx(slope, rel=1e-6)


LINEAR = linear_mpc(8)
OFFSETS = np.linspace(-0.6, 0.6, 25)[:, None]


def test_a_value_without_a_share_leaves_the_mpc_and_alone_decides_by_itself():
    states = np.array([[0.4, 0.1], [0.1, -0.2], [0.6, 0.3]])
    plain = Receding(LINEAR)(states)
    np.testing.assert_allclose(BlendedValue(LINEAR, lambda s, a: 1e3 * a[:, 0], OFFSETS, 0.0)(states), plain, atol=1e-9)
    least = BlendedValue(LINEAR, lambda s, a: np.abs(a[:, 0] - 0.3 * s[:, 0]), OFFSETS, 1.0)(states)
    nearest = np.clip(plain + OFFSETS.T, -1.0, 1.0)
    by_hand = [row[np.argmin(np.abs(row - 0.3 * s[0]))] for row, s in zip(nearest, states, strict=True)]
    np.testing.assert_allclose(least[:, 0], by_hand, atol=1e-9)


def test_a_blended_value_is_least_where_slopes_balance():
    """Q_MPC beside a quadratic Q: at the minimum (1 - beta) dQ_MPC/du = -beta dQ/du, by the derivative of the MPC."""
    s, beta, theta = np.array([0.4, -0.1]), 0.6, LINEAR.parameters.initial()
    fine = np.linspace(-0.6, 0.6, 4001)[:, None]
    (u,) = BlendedValue(LINEAR, lambda s, a: 2.0 * (a[:, 0] + 0.8) ** 2, fine, beta)(s[None])
    slope = LINEAR.Q(theta, s, u).gradient_action()
    assert abs(u - LINEAR.policy(theta, s).u0) > 0.02
    np.testing.assert_allclose((1 - beta) * slope, -beta * 4.0 * (u + 0.8), atol=2e-2)


def test_another_network_is_refused():
    for sizes in ((4, 1), (5, 2)):
        with pytest.raises(ValueError, match="5 features and one output"):
            correction(MLP(*sizes, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="r must return finite inputs"):
        Parallel(lambda y: y[:, :1], lambda y, u: np.zeros((len(u), 2)))([[0.0, 0.0, 0.0, 0.0]])
