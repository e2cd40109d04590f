"""The house's programs: against piqp, brute force, the plant itself; run times; what several forecasts cost."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from mpcrl_course.envs.home import DAY, NOMINAL, Days, Weather
from mpcrl_course.mpc import Question
from mpcrl_course.problems.home import HomeMPC, Q, home_mpc
from mpcrl_course.problems.home_program import HomeProgram, weathers

#: Before the morning, warm enough for a choice; and a step of the afternoon.
STATES = [[19.2, 19.6, 2.0, 20.0, 11.0], [20.1, 20.4, 5.0, 60.0, 12.0], [19.9, 20.2, 0.5, 26.0, 13.0]]


def runs_of(on, before=False):
    """Return lengths of the runs of ones, the ends of which lie within."""
    lengths, n = [], 0
    for k, one in enumerate([*on, False]):
        if one:
            n += 1
        elif n:
            if k < len(on) and not (before and k == n):
                lengths.append(n)
            n = 0
    return lengths


@pytest.mark.parametrize("s", STATES)
def test_without_switches_it_is_the_linear_program(s):
    mpc = home_mpc(horizon=24, curvature=0.0)
    assert HomeProgram(horizon=24).plan(s).value == pytest.approx(mpc.V(mpc.parameters.initial(), s).value, abs=1e-5)


def least(s, N, schedule):
    """Return the least cost with this schedule of the heat pump, by another solver of linear programs."""
    mpc = HomeMPC(horizon=N, curvature=0.0)
    d = mpc.data(Question(mpc.parameters.initial(), np.array(s), None))
    d.low[:, Q] = d.high[:, Q] = d.cop * NOMINAL.limit[0] * np.array(schedule)
    A, G = mpc.rows(d)
    bounds = np.column_stack([d.low.ravel(), np.where(d.high.ravel() > 1e20, np.inf, d.high.ravel())])
    found = linprog(d.c.ravel(), G, d.h.ravel(), A, d.b.ravel(), bounds, method="highs-ipm")
    assert found.status == 0
    return found.fun


@pytest.mark.parametrize("s", STATES)
@pytest.mark.parametrize("run_time, on, left", [(1, False, 0), (3, False, 0), (3, True, 2)])
def test_the_optimum_of_six_stages_is_that_of_brute_force(s, run_time, on, left):
    plan = HomeProgram(horizon=6, decided=6, run_time=run_time, gap=0.0).plan(s, on, left)
    costs = {}
    for schedule in product((False, True), repeat=6):
        starts = [k for k in range(6) if schedule[k] and not (schedule[k - 1] if k else on)]
        goes_on = all(all(schedule[k : k + run_time]) for k in starts)  # what lies behind the horizon may be anything
        if goes_on and all(schedule[:left]):
            costs[schedule] = least(s, 6, schedule)
    assert len(costs) < 2**6 or run_time == 1
    assert plan.value == pytest.approx(min(costs.values()), abs=1e-6)
    assert costs[tuple(plan.on.tolist())] == pytest.approx(plan.value, abs=1e-6)


def test_a_plan_costs_in_the_plant_what_it_says():
    """With what will be as its forecast, the money and discomfort of the plant's own steps, and the stores' worth."""
    s = np.array([20.5, 20.5, 4.0, 0.0, 11.0])
    program = HomeProgram(horizon=30, decided=30, run_time=2, perfect=True, gap=0.03)
    plan, x, paid = program.plan(s), s[None], 0.0
    noise = NOMINAL.draw(0, 1, 30)
    for k, u in enumerate(plan.u[0]):
        x, cost, _ = NOMINAL.step(x, u[None], noise._make(part[k] for part in noise))
        paid += cost[0]
    price = NOMINAL.forecast(0, 11, 30, True).price.mean()
    assert paid - price * NOMINAL.efficiency * x[0, 2] == pytest.approx(plan.value, abs=1e-6)
    assert plan.bound <= plan.value <= plan.bound + 0.03 * abs(plan.value) + 1e-9
    np.testing.assert_allclose(plan.u[0, :, 0], NOMINAL.limit[0] * plan.on, atol=1e-6)


def test_who_starts_goes_on():
    rng = np.random.default_rng(0)
    for number in range(20, 24):
        s = [rng.uniform(18.5, 21.0), rng.uniform(19.0, 21.0), 4.0, 16.0, number]
        plan = HomeProgram(horizon=20, decided=20, run_time=4, gap=0.05).plan(s, on=True, left=2)
        assert plan.on[:2].all() and min(runs_of(plan.on, before=True), default=4) >= 4


def test_several_forecasts_share_stage_one_and_cost_at_least_what_each_alone_does():
    """Who waits and sees pays no more than who decides before; what is the same in all is no news."""
    s, alone = np.array(STATES[1]), HomeProgram(horizon=16)
    known = alone.mpc.known(s)
    several = weathers(known, 4, 1)
    program = HomeProgram(horizon=16, decided=4, on_off=False)
    plan = program.plan(s, known=several)
    np.testing.assert_allclose(plan.u[:, :4], np.tile(plan.u[0, :4], (4, 1, 1)), atol=1e-6)
    assert np.ptp(plan.u[:, 4:], axis=0).max() > 0.1
    wait_and_see = np.mean([alone.plan(s, known=[w]).value for w in several])
    later = HomeProgram(horizon=16, decided=8, on_off=False).plan(s, known=several).value
    assert wait_and_see + 1e-4 < plan.value <= later + 1e-7
    assert program.plan(s, known=[known] * 3).value == pytest.approx(alone.plan(s).value, abs=1e-6)
    switched = HomeProgram(horizon=16, decided=4, run_time=2).plan(s, known=several)
    np.testing.assert_allclose(switched.u[:, :4, 0], np.tile(NOMINAL.limit[0] * switched.on, (4, 1)), atol=1e-6)


def test_weathers_err_as_forecasts_do():
    """Their spread of the outdoor temperature a day ahead is that by which forecasts of many days miss."""
    drawn = weathers(NOMINAL.forecast(0, 5, DAY), 400, 0)
    spread = np.std([w.outdoor[-1] for w in drawn])
    missed = [np.subtract(days.forecast(0, DAY).outdoor, days.true.outdoor[:DAY])[-1] for days in map(Days, range(300))]
    assert spread == pytest.approx(np.std(missed), rel=0.15) and spread == pytest.approx(1.5, rel=0.1)
    for w in drawn[:5]:
        assert [part[0] for part in w] == [part[0] for part in NOMINAL.forecast(0, 5, DAY)]
        assert min(part.min() for part in w[1:]) >= 0.0


def test_what_is_no_program_is_named():
    with pytest.raises(ValueError, match="decided"):
        HomeProgram(horizon=4, decided=5)
    with pytest.raises(ValueError, match="known"):
        HomeProgram(horizon=4).plan(STATES[0], known=[Weather])
