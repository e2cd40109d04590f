"""The reference generator: what the tracker is told, when it plans, and laps of held and of tracked plans."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, RaceParameters
from mpcrl_course.mpc import shift
from mpcrl_course.policies.receding import Receding
from mpcrl_course.policies.reference_generator import BY_HAND, Reference, ReferenceGenerator, reference_at, tracker
from mpcrl_course.problems.race import race_mpc

START = [[0.0, 0.0, 0.0, 5.0]]


@pytest.fixture(scope="module")
def mpc():
    return race_mpc()


def drive(mpc, every, follow=None, plant=CAR, steps=390, **changes):
    theta = mpc.parameters.pack(mpc.parameters.initial(), **({"track": 2.2} | changes))
    return run(ReferenceGenerator(mpc, theta, every=every, tracker=follow), plant, START, plant.draw(0, 1, steps))


def out(found):
    return int((np.abs(found.x[:, 0, 1]) > race.WIDTH).sum())


def test_a_tracker_by_hand():
    x, r = np.array([10.0, 0.3, 0.1, 7.0]), Reference(n=0.1, mu=-0.1, v=8.0, a=1.5, c=0.05)
    a, delta = tracker([0.5, 2.0, 0.9, 0.1, 0.4])(x, r)
    assert a == pytest.approx(0.5 * 1.5 + 2.0 * 1.0)
    assert np.tan(delta) / 1.6 == pytest.approx(0.9 * 0.05 - 0.1 * 0.2 - 0.4 * 0.2)
    on_the_plan = tracker()(np.array([10.0, 0.1, -0.1, 8.0]), r)
    np.testing.assert_allclose(on_the_plan, [1.5, race.steering(0.05)], rtol=1e-12)
    assert BY_HAND.tolist() == [1.0, 4.0, 1.0, 0.15, 0.8]


def test_the_reference_is_that_of_the_place_not_of_the_time(mpc):
    plan = Receding(mpc)
    plan(START)
    plan = replace(plan.plans[0])
    for i in (0, 7, 30):
        expected = [*plan.x[i, 1:], plan.u[i, 0], 0.9 * np.tan(plan.u[i, 1]) / 1.6]
        np.testing.assert_allclose(reference_at(plan, plan.x[i, 0], gain=0.9), expected, atol=1e-12)
    between = 0.25 * plan.x[3, 0] + 0.75 * plan.x[4, 0]
    assert reference_at(plan, between).v == pytest.approx(0.25 * plan.x[3, 3] + 0.75 * plan.x[4, 3])
    assert reference_at(plan, plan.x[-1, 0] + 50.0).n == plan.x[-1, 1]


def test_it_plans_every_so_many_steps_and_holds_what_was_planned(mpc):
    generator = ReferenceGenerator(mpc, every=4)
    found = run(generator, CAR, START, CAR.draw(0, 1, 9))
    assert [word == "held" for word in found.status[:, 0]] == [False, True, True, True] * 2 + [False]
    again = Receding(mpc)  # by hand: the first plan, its inputs held, then one iteration from it, four stages further
    again(START)
    plan = again.plans[0]
    np.testing.assert_allclose(found.u[:4, 0], plan.u[:4], atol=1e-9)
    for _ in range(4):
        plan = shift(plan)
    plan = mpc.policy(mpc.parameters.initial(), found.x[4, 0], warm_start=plan)
    np.testing.assert_allclose(found.u[4:8, 0], plan.u[:4], atol=1e-9)


def test_planning_in_each_step_is_the_receding_horizon(mpc):
    found = run(ReferenceGenerator(mpc, every=1), CAR, START, CAR.draw(0, 1, 40))
    np.testing.assert_allclose(found.u, run(Receding(mpc), CAR, START, CAR.draw(0, 1, 40)).u, atol=1e-9)


def test_with_the_right_model_a_tenth_of_the_plans_will_do(mpc):
    held, tracked = drive(mpc, 10), drive(mpc, 10, tracker())
    assert out(held) == out(tracked) == 0
    laps = [race.lap_times(found.x[:, 0, 0])[0] for found in (held, tracked)]
    assert laps[0] == pytest.approx(18.05, abs=0.1) and laps[1] == pytest.approx(17.95, abs=0.1)


@pytest.mark.parametrize(
    ("plant", "changes"),
    [(RaceParameters(gain=0.85), {}), (RaceParameters(grip=6.8), {"grip": 6.4})],
    ids=["gain", "grip"],
)
def test_where_the_model_is_wrong_a_tracker_saves_what_a_held_plan_loses(mpc, plant, changes):
    held, tracked = drive(mpc, 10, plant=plant, **changes), drive(mpc, 10, tracker(), plant, **changes)
    assert out(held) > 5 and out(tracked) == 0
    assert tracked.cost.sum() < 0.6 * held.cost.sum()


def test_a_tracker_must_answer_with_an_input(mpc):
    with pytest.raises(ValueError, match="tracker function returned shape"):
        ReferenceGenerator(mpc, tracker=lambda x, r: np.zeros(3))(START)
