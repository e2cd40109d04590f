"""Plausible mistakes, each with its number."""

import numpy as np
import pytest

from mpcrl_course.population import deployed, formation, next_law, plan, rendezvous, sampled_policy
from mpcrl_course.population.faulty import commonest, least_of_both, margins, one_draw, plan_with, without_itself


def test_one_draw_for_a_cell_is_another_law():
    p = np.array([[[0.1, 0.8, 0.1]]])
    assert one_draw(np.array([[8]]), p).max() == pytest.approx(0.8)
    assert next_law([[8]], p).max() == pytest.approx(0.8**8)
    singles = np.array([[1, 1]]), np.array([[[0.1, 0.9], [0.4, 0.6]]])
    np.testing.assert_allclose(one_draw(*singles), next_law(*singles))  # of single agents it is right
    assert plan_with(rendezvous(), 4, one_draw).start_value() > plan(rendezvous(), 4).start_value() + 0.1


def test_policies_that_forget_something_lose():
    found = plan(formation(), 6)
    right = deployed(sampled_policy(found), 8)
    assert deployed(commonest(found), 8) < right - 1.0
    assert deployed(margins(found), 8) < right - 1.0
    assert deployed(without_itself(found), 8) < right - 0.1


def test_agents_are_not_conserved():
    assert least_of_both([5, 5, 4], [6, 4, 4]).sum() == 38


def test_too_many_tables_are_refused():
    with pytest.raises(ValueError, match="too many"):
        plan_with(formation(), 14)


def test_value_iteration_that_does_not_arrive_says_so():
    with pytest.raises(RuntimeError, match="after 3 sweeps the residual"):
        plan_with(rendezvous(), 2, sweeps=3)
