"""The rules of the house by hand, and what they cost on held-out days."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.home import NOMINAL, cop, lower
from mpcrl_course.policies.house import Programmed, Switched, Thermostat, by_tariff, proportional
from mpcrl_course.problems.home_program import HomeProgram
from mpcrl_course.statistics import difference

STARTS, NOISE = NOMINAL.starts(range(101, 111)), NOMINAL.draw(0, 10, 192)


def test_a_thermostat_has_a_dead_zone_for_each_house():
    rule, at = Thermostat(), np.array([[20.2, 20.0, 4.0, 40.0, 3.0], [20.5, 20.0, 4.0, 40.0, 3.0]])
    w = NOMINAL.now(at)
    u = rule(at)
    np.testing.assert_allclose(u, np.column_stack([[2.5, 0.0], w.pv - w.load - [2.5, 0.0]]))
    at[:, 0] = 20.9
    assert rule(at)[:, 0].tolist() == [2.5, 0.0]  # between the two, what was goes on
    at[:, 0] = 21.1
    assert not rule(at)[:, 0].any()
    at[0, [0, 3]] = 18.9, 22.0  # at half past five it looks for the band of six o'clock
    assert rule(at)[0, 0] == 2.5


def test_the_proportional_rule_by_hand():
    at = np.array([[20.0, 20.0, 4.0, 40.0, 3.0], [25.0, 20.0, 4.0, 40.0, 3.0]])
    w = NOMINAL.now(at)
    P = np.clip(2.0 * (20.3 - at[:, 0]) + 0.8 * (20.0 - w.outdoor) / (6.0 * (2.9 + 0.07 * w.outdoor)), 0.0, 2.5)
    np.testing.assert_allclose(proportional(2.0)(at), np.column_stack([P, w.pv - w.load - P]))
    assert P[1] == 0.0


def test_the_rule_by_tariff_by_hand():
    at = np.array([[20.0, 20.0, 4.0, k, 3.0] for k in range(96)])
    w = NOMINAL.now(at)
    u = by_tariff(2.0)(at)
    P = np.clip(
        2.0 * (at[:, 0] * 0 + [lower(k + 2) for k in range(96)] + 0.7 - 20.0)
        + (20.0 - w.outdoor) / (6.0 * cop(w.outdoor)),
        0,
        2.5,
    )
    np.testing.assert_allclose(u[:, 0], P)
    for k in range(96):
        price = NOMINAL.forecast(k, 3, 96).price
        cheaper, own = np.sum(price < price[0]) / 96, w.pv[k] - w.load[k] - P[k]
        assert u[k, 1] == pytest.approx(3.0 if cheaper < 0.2 else own if cheaper > 0.4 else max(own, 0.0))
    assert {3.0} < set(u[:, 1]) and (u[:, 1] < 0.0).any()


def test_who_knows_the_tariff_saves_half_of_what_planning_saves():
    knows, thermostat = (NOMINAL.bill(run(rule, NOMINAL, STARTS, NOISE)) for rule in (by_tariff(), Thermostat()))
    assert knows.J.mean() == pytest.approx(5.55, abs=0.01)
    saved = difference(knows.J, thermostat.J)
    assert saved.mean + saved.half < -0.3


def test_what_the_rules_cost_on_held_out_days():
    """Measured before this package was written: money, discomfort and J of both, on the same days."""
    thermostat, other = (NOMINAL.bill(run(rule, NOMINAL, STARTS, NOISE)) for rule in (Thermostat(), proportional()))
    for bill, expected in ((thermostat, (6.10, 0.04, 6.17)), (other, (5.88, 0.26, 6.39))):
        np.testing.assert_allclose([part.mean() for part in bill], expected, atol=0.01)
    apart = difference(other.J, thermostat.J)
    assert apart.mean == pytest.approx(0.22, abs=0.02)


def test_a_switched_pump_carries_on_what_it_owes():
    asked = iter([0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 2.5, 0.0, 0.0])
    rule = Switched(lambda y: np.tile([next(asked), 1.0], (len(y), 1)), run_time=2)
    at = np.array([[20.0, 20.0, 4.0, 40.0, 3.0]])
    u = np.array([rule(at)[0] for _ in range(9)])
    # owed: .5, 1, 1.5 and on, -1 and goes on, -1.25, -1.25, 1.25 and on, -1.25 and goes on, -1.25
    np.testing.assert_array_equal(u[:, 0] / 2.5, [0, 0, 1, 1, 0, 0, 1, 1, 0])
    assert (u[:, 1] == 1.0).all()


def test_a_program_in_the_loop_runs_as_long_as_it_must_and_is_the_plan_it_made():
    program = HomeProgram(horizon=16, decided=6, run_time=4, gap=0.05)
    controller, starts = Programmed(program, 2), NOMINAL.starts([101, 102])
    starts[:, 3] = 16.0
    found = run(controller, NOMINAL, starts, NOMINAL.draw(0, 2, 24))
    plan = program.plan(starts[1])
    np.testing.assert_allclose(found.u[:2, 1], np.clip(plan.u[0, :2], [0.0, -3.0], [2.5, 3.0]), atol=1e-6)
    on = found.u[:, :, 0] > 1.0
    assert set(np.round(found.u[:, :, 0].ravel(), 6)) == {0.0, 2.5} and len(controller.gaps) == 24
    for house in on.T:
        changes = np.flatnonzero(np.diff(house.astype(int), prepend=0))
        starts_at, ends = changes[::2], changes[1::2]
        assert len(ends) and (ends - starts_at[: len(ends)] >= 4).all()
    assert min(controller.gaps) >= -1e-9
    with pytest.raises(ValueError, match="fewer are decided"):
        Programmed(program, 7)


def test_planning_beats_rules_and_deciding_for_an_hour_costs():
    """Of 12 hours in two weathers: the linear program at each step, and held for an hour."""
    starts, noise = NOMINAL.starts([101, 102]), NOMINAL.draw(0, 2, 48)
    J = []
    for every in (1, 4):
        found = run(Programmed(HomeProgram(horizon=48, on_off=False), every), NOMINAL, starts, noise)
        J.append(found.cost.sum(axis=0) + NOMINAL.settlement(found.x[0], found.x[-1]))
    assert (J[0] < J[1]).all()
