"""The rules of the house by hand, and what they cost on held-out days."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.home import NOMINAL, cop, lower
from mpcrl_course.policies.house import Thermostat, by_tariff, proportional
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
