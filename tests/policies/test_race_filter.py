"""The race's safety filter: what it promises, state by state and episode by episode, and what it does not."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.data.make_10 import Random
from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, LENGTH, LOWER, MAX_SPEED, UPPER, WIDTH, RaceParameters
from mpcrl_course.policies.filters import Filter
from mpcrl_course.policies.race_filter import RaceSafety, RollOut, braking, changed, drives_on, race_barrier
from mpcrl_course.problems.race import SCALE, safety_mpc


@pytest.fixture(scope="module")
def safety():
    return RaceSafety()


def certifiable(safety, n, rng, edge=False):
    """Draw n states from which braking is certified, by the edge and pointing outwards or anywhere; and their share."""
    found, tried = [], 0
    while len(found) < n:
        x = rng.uniform([0.0, -2.3, -0.4, 0.0], [LENGTH, 2.3, 0.4, MAX_SPEED])
        if edge:
            side = rng.choice([-1.0, 1.0])
            x[1:3] = side * rng.uniform([1.5, 0.0], [WIDTH, 0.4])
        tried += 1
        if safety.certified(safety.stop(x)[0]):
            found.append(x)
    return np.array(found), n / tried


def drive(driver, n=60, steps=100, plant=CAR, seed=0, around=None):
    starts, _ = certifiable(around or RaceSafety(), n, np.random.default_rng(seed))
    return run(driver, plant, starts, plant.draw(seed, n, steps))


def outside(found):
    return (np.abs(found.x[:, :, 1]) > WIDTH).any(axis=0).sum()


def test_a_roll_out_is_the_plant_itself():
    plant, N, rng = RaceParameters(grip=6.5, gain=0.9), 40, np.random.default_rng(0)
    roll = RollOut(N)
    for follow in (0, 3, N):
        x = np.array([70.0, 0.3, 0.1, 9.0])
        U = rng.uniform(LOWER, UPPER, (N, 2))
        X, acted = roll(x, U, follow, plant)
        for k in range(N):
            u = U[k] if k < follow else braking(x, plant)
            np.testing.assert_allclose(acted[k], u, atol=1e-10)
            x = race.driven(x, u, plant)
            np.testing.assert_allclose(X[k + 1], x, atol=1e-10)


def test_braking_stops_within_the_grip():
    x = np.array([30.0, 0.5, 0.05, 9.0])
    speeds = [x[3]]
    for _ in range(45):
        u = braking(x, CAR)
        assert np.hypot(*race.acceleration(x, u)) <= 0.97 * CAR.grip + 1e-9 and (u >= LOWER).all()
        x = race.driven(x, u)
        speeds.append(x[3])
    assert (np.diff(speeds) <= 0.0).all() and speeds[-1] == 0.0 and abs(x[1]) < 0.5


def test_what_braking_certifies_passes_bit_for_bit(safety):
    rng = np.random.default_rng(1)
    starts, _ = certifiable(safety, 200, rng)
    wanted = rng.uniform(1.3 * LOWER, 1.3 * UPPER, (200, 2))  # some beyond the limits: the plant clips them
    passed = 0
    for x, u in zip(starts, wanted):
        found = safety.decide(x, u)
        after = race.driven(x, np.clip(u, LOWER, UPPER))
        by_hand = [after]
        for _ in range(39):
            by_hand.append(race.driven(by_hand[-1], braking(by_hand[-1], CAR)))
        safe = np.abs(np.array(by_hand)[:, 1]).max() <= WIDTH and by_hand[-1][3] <= 1e-3
        assert (found.status == "passed") == safe
        if safe:
            passed += 1
            np.testing.assert_array_equal(found.u, u)
    assert 50 < passed < 200


def test_from_certifiable_states_by_the_edge_every_next_state_is_certified(safety):
    """1000 states, pointing outwards, each with an input that steers outwards: 67 % of those drawn are certifiable."""
    rng = np.random.default_rng(0)
    starts, accepted = certifiable(safety, 1000, rng, edge=True)
    assert accepted == pytest.approx(0.67, abs=0.05)
    said = Counter()
    for x in starts:
        u = rng.uniform(LOWER, UPPER)
        u[1] = np.sign(x[1]) * abs(u[1])
        found = safety.decide(x, u)
        said[found.status] += 1
        ahead = race.driven(x, np.clip(found.u, LOWER, UPPER))
        assert abs(ahead[1]) <= WIDTH
        np.testing.assert_allclose(found.X[1], ahead, atol=1e-12)
        rest = np.concatenate([found.U[1:], [[-found.X[-1, 3] / race.DT, 0.0]]])
        assert safety.certified(safety.roll_out(ahead, rest, 40)[0])
    assert said["not certified"] == 0 and said["new plan"] + said["old plan"] > 50


def test_what_a_new_plan_begins_with_is_hardly_changed_when_it_is_wanted(safety):
    """Where not braking but another plan certifies an input, it acts within 1e-3 (in units of 5 m/s^2 and 0.35 rad)."""
    rng, said = np.random.default_rng(4), Counter()
    for x in certifiable(safety, 600, rng, edge=True)[0]:
        u = rng.uniform(LOWER, UPPER)
        u[1] = np.sign(x[1]) * abs(u[1])
        found = safety.decide(x, u)
        if found.status == "new plan":
            again = safety.decide(x, found.u)
            said[again.status] += 1
            assert np.linalg.norm((again.u - found.u) / SCALE) < 1e-3
    assert said["new plan"] >= 2 and said["passed"] >= 10


def test_the_random_driver_violates_in_no_episode_of_sixty(safety):
    """0 of 60 bounds the rate of such episodes by 5 % (with 95 % confidence). Without the filter nearly all crash."""
    found = drive(Filter(Random(0), safety))
    said = Counter(found.status.ravel().tolist())
    assert outside(found) == 0 and said["not certified"] == 0 and (found.ended == 100).all()
    assert said["passed"] > 3000 and said["new plan"] > 300 and said["old plan"] > 100
    alone = drive(Random(0), n=20, steps=150)
    assert outside(alone) == 20 and (alone.ended < 150).sum() >= 18


@pytest.mark.parametrize(
    ("plant", "model", "track"),
    [(RaceParameters(grip=6.8), RaceParameters(grip=6.56), 2.3), (RaceParameters(gain=0.85), CAR, 2.0)],
    ids=["grip", "gain"],
)
def test_a_filter_of_a_wrong_model_fails_and_a_tightened_one_does_not(safety, plant, model, track):
    wrong = drive(Filter(Random(0), safety), n=12, plant=plant)
    assert outside(wrong) > 0 and "not certified" in wrong.status
    tight = RaceSafety(model, track, mpc=safety.mpc)
    assert outside(drive(Filter(Random(0), tight), n=12, plant=plant, around=tight)) == 0


def steer_inwards(y):
    return np.stack([np.full(len(y), 0.5), -0.35 * np.sign(y[:, 1])], axis=-1)


def test_safe_is_not_live_but_plans_may_be_asked_to_end_where_a_car_can_drive_on(safety):
    """Standing at the edge and pointing outwards, no driver gets away; the filter lets the random one go there."""
    dead, noise = np.array([[20.0, 2.45, 0.5, 0.0], [20.0, -2.45, -0.6, 0.0]]), CAR.draw(0, 2, 100)
    assert not drives_on(dead).any() and safety.certified(safety.stop(dead[0])[0])
    found = run(Filter(steer_inwards, safety), CAR, dead, noise)
    assert (found.x[-1, :, 3] < 0.05).all() and (found.x[-1, :, 0] < 20.2).all()
    live = RaceSafety(mpc=safety.mpc, live=True)
    assert not live.certified(live.stop(dead[0])[0])
    left = {}
    for filtering in (safety, live):
        ends = drive(Filter(Random(0), filtering), n=20, steps=80, around=filtering).x[-1]
        standing = ends[ends[:, 3] < 0.05]
        away = run(Filter(steer_inwards, filtering), CAR, standing, CAR.draw(0, len(standing), 60))
        left[filtering is live] = int((away.x[-1, :, 0] - standing[:, 0] < 0.3).sum()), len(standing)
        assert np.abs(away.x[:, :, 1]).max() <= WIDTH
    assert left[False][0] >= 3 and left[True][1] >= 3 and left[True][0] == 0


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_from_where_a_car_drives_on_it_does(side):
    """Slowly, on the track's own bends: 200 standing cars at the limit of the set turn before the edge."""
    rng = np.random.default_rng(2)
    mu = rng.uniform(0.0, 0.6, 200)
    n = WIDTH - 7.8 * (1.0 - np.cos(mu)) - 1e-3
    x = np.stack([rng.uniform(0.0, LENGTH, 200), side * n, side * mu, np.full(200, 0.3)], axis=-1)[n > 0.0]
    assert drives_on(x).all() and not drives_on(x + [0.0, 0.02 * side, 0.0, 0.0])[mu[n > 0] > 0.1].any()
    found = run(steer_inwards, CAR, x, CAR.draw(0, len(x), 80))
    assert np.abs(found.x[:, :, 1]).max() <= WIDTH and (found.x[-1, :, 0] > x[:, 0] + 2.0).all()


def test_its_memory_is_saved_and_taken_up_again(safety):
    y, u = np.array([[60.0, 1.5, 0.2, 8.0]]), np.array([[4.0, -0.35]])
    safety.reset()
    first = safety(y, u)
    ahead = race.driven(y.T, first.T).T
    saved = safety.state_dict()
    second, said = safety(ahead, u), safety.status
    other = RaceSafety(mpc=safety.mpc)
    other.load_state_dict(saved)
    np.testing.assert_array_equal(other(ahead, u), second)
    assert other.status == said
    for wrong in ({}, {"plans": [[1.0]]}, {"plans": [[[0.0], [[0.0]], [[0.0]], "passed"]]}):
        with pytest.raises(ValueError, match="plan"):
            other.load_state_dict(wrong)


def test_a_model_may_be_told_while_it_drives(safety):
    x, told = np.array([60.0, 0.0, 0.0, 8.5]), RaceSafety(mpc=safety.mpc)
    assert told.certified(told.stop(x)[0])
    told.model = replace(CAR, grip=4.0)
    assert not told.certified(told.stop(x)[0])


def test_another_problem_is_refused():
    with pytest.raises(ValueError, match="safety_mpc of horizon 30"):
        RaceSafety(horizon=30, mpc=safety_mpc(horizon=20))


def test_changed_counts_what_was_asked_within_its_limits():
    assert changed([[4.0, 0.0], [3.9, 0.0], [4.0, 0.01]], [[9.0, 0.0], [4.0, 0.0], [4.0, 0.0]]).tolist() == [0, 1, 1]


def test_a_barrier_of_second_order_bends_a_path_in_time_and_promises_nothing_at_speed():
    def towards_the_edge(y):
        return np.tile([0.0, 0.1], (len(y), 1))

    kept = run(race_barrier(towards_the_edge), CAR, [[0.0, 0.0, 0.0, 4.0]], CAR.draw(0, 1, 100))
    assert 2.0 < np.abs(kept.x[:, 0, 1]).max() <= WIDTH + 1e-2
    slow = np.array([[10.0, 0.2, 0.05, 4.0]])
    np.testing.assert_allclose(race_barrier(towards_the_edge)(slow), [[0.0, 0.1]], atol=1e-12)  # far from both
    found = run(race_barrier(Random(0)), CAR, [[0.0, 0.0, 0.0, 8.0]] * 12, CAR.draw(0, 12, 100))
    assert outside(found) > 0
