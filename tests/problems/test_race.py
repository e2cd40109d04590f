"""The driving MPC: its cost and rows by hand, an optimum that ipopt confirms, and laps."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, RaceParameters
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.problems.race import guesses, race_mpc


@pytest.fixture(scope="module")
def mpc():
    return race_mpc(horizon=20)


def drive(mpc, steps, plant=CAR, start=(0.0, 0.0, 0.0, 5.0), **changes):
    controller = Receding(mpc, mpc.parameters.pack(mpc.parameters.initial(), **changes))
    return run(controller, plant, [start], plant.draw(0, 1, steps))


def test_the_value_is_the_sum_of_costs_by_hand(mpc):
    theta, s = mpc.parameters.pack(mpc.parameters.initial(), v_ref=10.0, track=2.0), np.array([60.0, 0.5, 0.1, 9.0])
    plan = first_plan(mpc, theta, s)
    x, u, kappa = plan.x, plan.u, race.curvature(plan.x[:, 0])
    along = x[:, 3] * np.cos(x[:, 2]) / (1.0 - x[:, 1] * kappa)
    cost = ((along - 10.0) ** 2 + 0.01 * x[:, 1] ** 2 + 0.1 * x[:, 2] ** 2).sum()
    cost += 0.01 * (u[:, 0] ** 2).sum() + (u[:, 1] ** 2).sum()
    force = race.acceleration(x[:-1], u) / (0.95 * 8.0)
    rows = np.maximum(0.0, np.abs(x[1:, 1]) - 1.9).sum() + np.maximum(0.0, (force**2).sum(axis=1) - 1.0).sum()
    assert plan.value == pytest.approx(cost + 100.0 * rows, rel=1e-6)
    for k in range(20):
        np.testing.assert_allclose(race.dynamics(x[k], u[k]), x[k + 1], atol=1e-6)
    assert 0.97 < (force**2).sum(axis=1).max() < 1.001  # all of what it may have, in a bend


def test_a_guess_holds_the_speed_along_the_centre_line():
    s = np.array([55.0, 0.4, 0.1, 6.0])
    ((x, u),) = guesses(s, 8)
    np.testing.assert_array_equal(x[0], s)
    np.testing.assert_allclose(np.diff(x[:, 0]), 0.3)
    assert not x[1:, 1:3].any() and (x[:, 3] == 6.0).all() and not u[:, 0].any()
    np.testing.assert_allclose(np.tan(u[:, 1]) / 1.6, race.curvature(x[:-1, 0]))


def test_iterations_in_real_time_come_to_the_optimum_of_ipopt(mpc):
    theta, s = mpc.parameters.initial(), np.array([60.0, 0.5, 0.1, 9.0])
    plan = mpc.policy(theta, s, warm_start=guesses(s, 20)[0])
    for _ in range(12):
        plan = mpc.policy(theta, s, warm_start=plan)
    exact = race_mpc(horizon=20, solver="ipopt").policy(theta, s, warm_start=(plan.x, plan.u))
    assert plan.value == pytest.approx(exact.value, rel=1e-6)
    np.testing.assert_allclose(plan.u0, exact.u0, atol=1e-4)


def test_a_horizon_of_two_seconds_laps_within_the_track():
    """17.71 s from 5 m/s, with 40 stages; one that sees half as far leaves the track, a quarter crashes."""
    found = drive(race_mpc(), 360)
    assert found.ended[0] == 360 and np.abs(found.x[:, 0, 1]).max() <= race.WIDTH
    assert race.lap_times(found.x[:, 0, 0])[0] == pytest.approx(17.71, abs=0.1)


def test_a_short_horizon_crashes(mpc):
    short = drive(race_mpc(horizon=10), 250)
    assert short.ended[0] < 250 and np.abs(short.x[-1, 0, 1]) > race.CRASH
    assert np.abs(drive(mpc, 250).x[:, 0, 1]).max() > race.WIDTH


def test_a_model_of_less_grip_drives_more_slowly(mpc):
    slow, fast = (drive(mpc, 250, grip=grip).x[-1, 0, 0] for grip in (5.0, 8.0))
    assert slow < fast - 5.0
    theta = race_mpc(RaceParameters(grip=6.0, gain=0.9), horizon=3).parameters.initial()
    np.testing.assert_array_equal(theta, [12.0, 2.5, 6.0, 0.9])


def test_another_solver_is_refused():
    with pytest.raises(ValueError, match="no solver 'daqp'"):
        race_mpc(solver="daqp")
