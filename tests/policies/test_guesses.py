"""Where a solver starts: rules by hand, stored plans, a network's; what comes of them is measured against the best."""

import numpy as np
import pytest

from mpcrl_course.dp.pendulum import FIXED_STARTS, simulate
from mpcrl_course.learners import fit
from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import SolverError
from mpcrl_course.policies.guesses import Nearest, Predicted, compare_guesses, held, lesson, line, mirrored, windows
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems import pendulum
from mpcrl_course.problems.pendulum import pendulum_mpc

N = 50
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def mpc():
    return pendulum_mpc(horizon=N)


@pytest.fixture(scope="module")
def stored(mpc):
    """Pieces of the MPC's own runs, and their mirror images."""
    found = simulate(Receding(mpc), starts=FIXED_STARTS[:12], steps=80)
    return mirrored(*windows(found.x, found.u / 2.0, N, every=3))


def test_rules_by_hand():
    x, u = held([1.0, 2.0], 3, 2)
    np.testing.assert_array_equal(x, [[1.0, 2.0]] * 4)
    np.testing.assert_array_equal(u, np.zeros((3, 2)))
    x, u = line([0.5, 7.0, 1.0], 2, 1)
    np.testing.assert_allclose(x, [[0.5, 7.0, 1.0], [0.25, 3.5 + np.pi, 0.5], [0.0, 2.0 * np.pi, 0.0]])
    np.testing.assert_array_equal(u, np.zeros((2, 1)))


def test_windows_are_pieces_of_runs_and_mirrors_are_runs_too():
    found = simulate(lambda y: 0.5 * np.cos(y[:, :1]), starts=FIXED_STARTS[:3], steps=11)
    x, u = windows(found.x, found.u, 5, every=3)
    assert x.shape == (9, 6, 2) and u.shape == (9, 5, 1)  # from steps 0, 3 and 6
    np.testing.assert_array_equal(x[4], found.x[3:9, 1])
    np.testing.assert_array_equal(u[8], found.u[6:11, 2])
    x, u = mirrored(x, u)
    for k in range(5):
        np.testing.assert_allclose(x[:, k + 1], pendulum.pendulum.dynamics(x[:, k], u[:, k]), atol=1e-12)


def test_the_nearest_plan_is_that_of_brute_force_whatever_the_turn():
    x, u, scale = RNG.uniform(-1.5, 1.5, (30, 4, 3)), RNG.normal(size=(30, 3, 1)), np.array([1.0, 0.5, 2.0])
    nearest = Nearest(x, u, 1, scale)
    for s in RNG.uniform(-1.5, 1.5, (10, 3)):
        i = min(range(30), key=lambda i: sum(((s - x[i, 0]) / scale) ** 2))
        for turns in (0, -2):
            turned = np.array([0.0, 2.0 * np.pi * turns, 0.0])
            ours = nearest(s + turned)
            np.testing.assert_allclose(ours[0], x[i] + turned, atol=1e-12)
            np.testing.assert_array_equal(ours[1], u[i])
    own = nearest(x[7, 0] + [0.0, np.pi + 0.1, 0.0])  # more than half a turn away is less than that the other way
    assert abs(own[0][0, 1] - x[7, 0, 1] - np.pi - 0.1) <= np.pi


def test_a_stored_state_is_its_own_nearest_and_is_handed_out_as_a_copy():
    x, u = RNG.normal(size=(5, 4, 2)), RNG.normal(size=(5, 3, 1))
    nearest = Nearest(x, u, 0, [1.0, 1.0])
    states, inputs = nearest(x[3, 0])
    np.testing.assert_array_equal(states, x[3])
    states[:], inputs[:] = np.nan, np.nan
    np.testing.assert_array_equal(nearest(x[3, 0])[0], x[3])


def test_a_network_is_taught_what_is_relative_and_predicts_it_anywhere():
    x, u = RNG.normal(size=(6, 4, 2)), 5.0 * RNG.normal(size=(6, 3, 1))
    seen, predicted = lesson(x, u, 0)
    np.testing.assert_allclose(seen, np.column_stack([np.cos(x[:, 0, 0]), np.sin(x[:, 0, 0]), x[:, 0, 1]]))
    assert predicted.shape == (6, 11)
    net = MLP(3, 11, np.random.default_rng(0), width=4, dtype=np.float64)
    net.theta[:] = 0.0
    net.W3[-1] = predicted[2]  # it always says this one
    guess = Predicted(net, 3, 0, -1.0, 1.0)
    states, inputs = guess(x[2, 0] + [2.0 * np.pi, 0.0])
    np.testing.assert_allclose(states, x[2] + [2.0 * np.pi, 0.0], atol=1e-12)
    np.testing.assert_allclose(inputs, np.clip(u[2], -1.0, 1.0))


def test_memory_and_network_find_better_optima_than_the_state_held(mpc, stored):
    theta, starts = mpc.parameters.initial(), np.random.default_rng(321).uniform([-np.pi, -1.0], [np.pi, 1.0], (10, 2))
    p = mpc.parameters.unpack(theta)
    net = MLP(3, (N + 1) * 2 + N, np.random.default_rng(0), width=32)
    fit(net, *lesson(*stored, 0), np.random.default_rng(0), steps=1500, rate=2e-3)
    found = compare_guesses(mpc, theta, {
        "held": lambda s: held(s, N), "network": Predicted(net, N, 0, -1.0, 1.0),
        "nearest": Nearest(*stored, 0, [1.0, 2.0]),
        "several": [lambda s: held(s, N), lambda s: pendulum.swing(s, p, N)],
    }, starts)  # fmt: skip
    assert min(found["nearest"].share, found["network"].share) >= 0.7 > 0.5 >= found["held"].share
    assert found["several"].share == 1.0 and found["held"].excess > 0.1
    best = np.min([each.value for each in found.values()], axis=0)
    alone = [mpc.reference.policy(theta, s).value for s in starts]
    np.testing.assert_allclose(found["held"].value, alone, rtol=1e-6)  # no guess at all is the state held
    for each in found.values():
        near = each.value <= 1.01 * best + 1e-6
        assert each.share == near.mean()
        if not near.all():
            assert each.excess == pytest.approx(np.median(each.value[~near] / best[~near]) - 1.0)
        assert each.seconds.shape == (10,) and (each.seconds > 0.0).all()
    assert min(each.ratio for each in found.values()) == 1.0


def test_what_finds_nothing_is_infinitely_dear(mpc):
    def fails(s):
        raise SolverError("not converged", "on purpose", s, None, None)

    theta, starts = mpc.parameters.initial(), [[0.1, 0.0], [0.2, 0.1]]
    found = compare_guesses(mpc, theta, {"fails": fails, "held": lambda s: held(s, N)}, starts)
    assert found["fails"].share == 0.0 and found["fails"].excess == np.inf and np.isnan(found["held"].excess)
    with pytest.raises(ValueError, match="none of the guesses"):
        compare_guesses(mpc, theta, {"fails": fails}, starts)


def test_what_does_not_fit_is_refused(mpc):
    x, u = RNG.normal(size=(5, 4, 2)), RNG.normal(size=(5, 3, 1))
    net, theta = MLP(3, 11, np.random.default_rng(0)), mpc.parameters.initial()
    for why, call in (
        ("plans", lambda: Nearest(x, u[:, :2], 0, [1.0, 1.0])),
        ("plans", lambda: lesson(x[:0], u[:0], 0)),
        ("angle", lambda: Nearest(x, u, 2, [1.0, 1.0])),
        ("scale", lambda: Nearest(x, u, 0, [1.0, 0.0])),
        ("network", lambda: Predicted(net, 4, 0, -1.0, 1.0)),
        ("bounds", lambda: Predicted(net, 3, 0, 1.0, -1.0)),
        ("N = 9", lambda: windows(np.zeros((9, 1, 2)), np.zeros((8, 1, 1)), 9)),
        ("at least one", lambda: compare_guesses(mpc, theta, {}, [[0.0, 0.0]])),
        ("starts", lambda: compare_guesses(mpc, theta, {"held": held}, [0.0, 0.0])),
    ):
        with pytest.raises(ValueError, match=why):
            call()
