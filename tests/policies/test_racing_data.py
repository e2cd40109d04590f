"""What is shipped for lecture 10: it is what the code computes, and what the lecture says of it holds."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.data import make_10
from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, WIDTH
from mpcrl_course.learners import ActorCritic
from mpcrl_course.policies import Clip, Filter, Hierarchical, RaceSafety, speed_ahead
from mpcrl_course.problems.race import race_mpc


@pytest.fixture(scope="module")
def data():
    with places.data(make_10.FILE) as file:
        return dict(file)


def test_what_was_learned_behind_the_clip_does_what_was_measured(data):
    for name in ("applied", "raw"):
        theta = data[f"safe {name} theta"][3].astype(float)
        cost, share = make_10.greedy(theta, Clip())
        assert cost == pytest.approx(data[f"safe {name} filtered"][3], rel=0.02)  # theta is stored in single precision
        assert share == pytest.approx(data[f"safe {name} changed"][3], abs=0.02)


def test_behind_the_clip_no_state_violated_and_learners_lean_on_it(data):
    assert data["safe free violated"].min() > 200
    for name in ("applied", "raw", "priced"):
        assert not data[f"safe {name} violated"].any()
        assert np.median(data[f"safe {name} alone"]) > 3.0 * np.median(data[f"safe {name} filtered"])
    assert np.median(data["safe applied cost"]) < 0.5 * np.median(data["safe free cost"])


@pytest.mark.parametrize("part", ["gradient", "critic"])
def test_other_learners_behind_the_clip_violate_nothing_and_store_as_they_do(data, part):
    assert data[f"{part} free violated"].min() > 200
    for name in ("applied", "raw", "priced"):
        assert not data[f"{part} {name} violated"].any()
    for name in ("applied", "raw"):
        assert np.median(data[f"{part} {name} cost"]) < 0.5 * np.median(data[f"{part} free cost"])
    assert np.median(data[f"{part} raw alone"]) > 3.0 * np.median(data[f"{part} raw filtered"])
    assert np.median(data[f"{part} priced alone"]) < np.median(data[f"{part} raw alone"])  # the price unlearns leaning
    theta = data[f"{part} raw theta"][1].astype(float)
    assert make_10.greedy(theta, Clip())[0] == pytest.approx(data[f"{part} raw filtered"][1], rel=0.02)


def test_episodes_of_the_filter_are_as_they_were(data):
    safety = RaceSafety(mpc=make_10.problem(40))
    starts = make_10.certifiable(safety, make_10.EPISODES, 0)[:6]
    driver = make_10.Random(0)

    def first_six(y):  # of the draws for 60
        return driver(np.zeros((make_10.EPISODES, 4)))[:6]

    found = run(Filter(first_six, safety), CAR, starts, CAR.draw(0, 6, make_10.EPISODE))
    np.testing.assert_allclose(found.x[-1, :, 0] - found.x[0, :, 0], data["filter nominal metres"][:6], atol=0.05)


def test_with_the_right_model_or_a_tightened_one_no_episode_of_60_leaves_the_track(data):
    def outside(name):
        return int((data[f"filter {name} outside"] > 0).sum())

    for name in ("nominal", "two iterations", "fifty stages", "live", "less grip, tightened", "less gain, tightened"):
        assert outside(name) == 0
    assert outside("none") > 50 and outside("less grip") > 5 and outside("less gain") > 5
    for name in make_10.FILTERS:
        assert data[f"filter {name} said"].sum() == (0 if name == "none" else 60 * 100)
    assert data["filter nominal said"][3] == 0


def test_the_outer_learner_laps_within_the_track(data):
    lap, outside, steps = data["outer first"]
    assert np.isnan(lap) and steps < make_10.OUTER_STEPS
    assert (data["outer lap"][:, 0] <= 20.0).all() and not data["outer lap"][:, 1].any()
    mpc, phi = race_mpc(horizon=15), speed_ahead(*data["outer numbers"][0])
    found = run(Hierarchical(mpc, phi), CAR, make_10.START, CAR.draw(0, 1, make_10.OUTER_STEPS))
    assert race.lap_times(found.x[:, 0, 0])[0] == pytest.approx(data["outer lap"][0, 0], abs=0.05)
    assert (np.abs(found.x[:, 0, 1]) > WIDTH).sum() <= 2


def test_trackers_that_were_learned_are_better_than_the_one_by_hand_also_where_they_were_not(data):
    for name in ("less gain", "right"):
        by_hand, *learned = data[f"tracker {name}"]
        for lap, outside, steps, J in learned:
            assert lap < by_hand[0] and J < by_hand[3] and outside == 0 and steps == make_10.TRACKER_STEPS


def test_a_longer_horizon_of_the_filter_costs_the_driving_mpc_less(data):
    none, *laps = data["stages laps"][:, 1]
    assert none == pytest.approx(17.23, abs=0.02) and laps[0] > laps[1] > laps[2] > none
    assert (data["stages laps"][:, 2] <= WIDTH).all() and not data["stages said"][:, 3].any()


def test_drivers_behind_the_filter_never_left_the_track_and_most_need_it_afterwards(data):
    """Ten runs of each of five seeds. A price on changes, charged to the action asked for, unlearns the leaning."""
    runs, crashed, metres, share = range(4)
    behind = ("applied", "applied, priced", "raw", "raw, priced")
    assert data["driver free outside"].min() > 200 and data["driver free crashes"].min() > 10
    for name in behind:
        assert not data[f"driver {name} outside"].any() and not data[f"driver {name} crashes"].any()
        assert not data[f"driver {name} filtered"][:, [runs, crashed]].any()
        assert data[f"driver {name} filtered"][:, metres].min() > 9.5
    assert (data["driver applied alone"][:, crashed] == 10).all()
    changed = {name: data[f"driver {name} filtered"][:, share].mean() for name in behind}
    assert changed["raw, priced"] < 0.15 < changed["raw"] < 0.5 < changed["applied"]
    assert data["driver raw, priced alone"][:, crashed].sum() < 15 < data["driver raw alone"][:, crashed].sum()


def test_the_actor_that_is_shipped_drives_as_was_measured(data):
    agent = ActorCritic(9, [-1.0, -1.0], [1.0, 1.0], np.random.default_rng(0))
    agent.actor.theta[:] = data["driver raw, priced actor"]
    outside, crashed, metres, share, standing = data["driver raw, priced filtered"][0]
    again = make_10.driven(agent, RaceSafety(mpc=make_10.problem(40)))
    assert again[0] == outside == 0 and again[2] == pytest.approx(metres, rel=0.01)
    assert again[3] == pytest.approx(share, abs=0.02)
