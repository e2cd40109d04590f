"""A predicted active set: a right one gives the solver's answer, a wrong one is refused, whatever predicts."""

from itertools import product

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import LinearParameters
from mpcrl_course.learners import fit
from mpcrl_course.mlp import MLP
from mpcrl_course.policies.active_set import PredictedSet, active_set, active_sets, classified_set, nearest_set
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.linear import linear_mpc
from mpcrl_course.problems.pendulum import pendulum_mpc

LOW, HIGH = [-0.2, -1.1], [1.2, 1.4]  # beyond the bounds, too, which are soft


@pytest.fixture(scope="module")
def mpc():
    return linear_mpc()


@pytest.fixture(scope="module")
def known(mpc):
    states = np.random.default_rng(0).uniform(LOW, HIGH, (300, 2))
    return states, active_sets(mpc, states), np.array([mpc.policy(mpc.parameters.initial(), s).u0 for s in states])


def test_the_right_set_gives_the_answer_of_the_solver(mpc, known):
    states, sets, plain = known
    policy = PredictedSet(mpc, nearest_set(states, sets))
    u = policy(states)
    assert policy.status == ["verified"] * len(states)
    np.testing.assert_allclose(u, plain, atol=1e-8)
    assert set(np.unique(sets)) == {-2, -1, 0, 1, 2}  # each kind of row occurs
    assert len(policy.laws) == len(np.unique(sets, axis=0)) > 30


def test_no_other_set_is_verified(known):
    """Brute force: of all sets of a short MPC only those whose plan is the optimum are accepted, and one always is."""
    mpc = linear_mpc(horizon=1)
    theta = mpc.parameters.initial()
    policy = PredictedSet(mpc, lambda s: a)
    rows, right = len(active_set(mpc.policy(theta, [0.1, 0.2]))), 0
    assert rows == 3  # u_0, and the two states after it
    for s in known[0][:25]:
        u = mpc.policy(theta, s).u0
        for kinds in product((-2, -1, 0, 1, 2), repeat=rows):
            a = np.array(kinds)
            found = policy(s[None])[0]
            np.testing.assert_allclose(found, u, atol=1e-8)
            right += policy.status == ["verified"]
            assert policy.status != ["verified"] or abs(a[0]) < 2  # an input does not leave its box
    assert 25 <= right < 50


def test_a_wrong_set_costs_time_only(mpc, known):
    states, sets, plain = known
    rng = np.random.default_rng(1)
    policy = PredictedSet(mpc, lambda s: rng.integers(-2, 3, sets.shape[1]))
    np.testing.assert_array_equal(policy(states[:50]), plain[:50])
    assert policy.status == ["solved"] * 50
    plant = LinearParameters()
    noise, start = plant.draw(0, 2, 30), [[0.0, 0.15], [0.9, -0.3]]
    ours, other = (run(each, plant, start, noise) for each in (PredictedSet(mpc, nearest_set(states, sets)),
                                                               Receding(mpc)))  # fmt: skip
    np.testing.assert_allclose(ours.u, other.u, atol=1e-8)
    assert 0.5 < np.mean(ours.status == "verified") < 1.0


def test_it_follows_other_parameters(mpc, known):
    theta = mpc.parameters.pack(mpc.parameters.initial(), b=[-0.02, 0.01], f=[0.1, -0.2, 0.05], x_lb=[0.1, 0.05])
    states = known[0][:60]
    policy = PredictedSet(mpc, nearest_set(states, active_sets(mpc, states, theta)), theta)
    np.testing.assert_allclose(policy(states), [mpc.policy(theta, s).u0 for s in states], atol=1e-8)
    assert policy.status == ["verified"] * len(states)


def test_a_network_classifies(mpc, known):
    states, sets, plain = known
    each, of = np.unique(sets, axis=0, return_inverse=True)
    rng = np.random.default_rng(2)
    net = fit(MLP(2, len(each), rng, width=32), states, np.eye(len(each))[of.ravel()], rng, steps=1500)
    policy = PredictedSet(mpc, classified_set(net, each))
    np.testing.assert_allclose(policy(states), plain, atol=1e-8)
    assert np.mean([said == "verified" for said in policy.status]) > 0.6
    a = classified_set(net, each)(states[3])
    np.testing.assert_array_equal(a, each[net(states)[3].argmax()])


def test_what_does_not_fit_is_refused(mpc, known):
    states, sets, _ = known
    for make, words in (
        (lambda: PredictedSet(pendulum_mpc(horizon=5), len), "daqp"),
        (lambda: PredictedSet(mpc, None), "predict"),
        (lambda: nearest_set(states, sets[1:]), "pairs"),
        (lambda: classified_set(MLP(2, 3, np.random.default_rng(0)), sets[:4]), "outputs"),
        (lambda: PredictedSet(mpc, lambda s: [0, 1])([[0.1, 0.2]]), "predict"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_what_is_shipped_of_lecture_05_is_found_again(mpc):
    """The memory of 100 states of the first training, at other states than those that were tried there."""
    with places.data("solver_05.npz") as file:
        shipped = {key: file[key] for key in file.files if key.startswith("active set")}
    for kind in ("nearest", "network"):
        assert shipped[f"active set {kind} share"].shape == (2, 3, 5) and shipped[f"active set {kind} off"].max() < 1e-8
        assert (
            np.diff(shipped[f"active set {kind} share"].mean(axis=2), axis=1) > 0.0
        ).all()  # more states, more right
    states = np.random.default_rng([17, 0]).uniform([-0.2, -1.0], [1.2, 1.0], (100, 2))
    policy = PredictedSet(mpc, nearest_set(states, active_sets(mpc, states)))
    policy(np.random.default_rng(5).uniform([-0.2, -1.0], [1.2, 1.0], (1500, 2)))
    again = np.mean([said == "verified" for said in policy.status])
    assert again == pytest.approx(shipped["active set nearest share"][0, 0, 0], abs=0.05)  # 3 deviations of either
    assert len(policy.laws) <= shipped["active set count"][0, 0]
