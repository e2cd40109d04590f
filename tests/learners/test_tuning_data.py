"""What is shipped of lecture 14: it is what the code computes, and it says what is said of it."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.data import make_14_batch, make_14_home, make_14_tuning
from mpcrl_course.envs.home import DAY, NOMINAL
from mpcrl_course.policies.house import Thermostat
from mpcrl_course.statistics import difference


@pytest.fixture(scope="module")
def tuned():
    with places.data(make_14_tuning.FILE.name) as file:
        return dict(file)


@pytest.fixture(scope="module")
def house():
    with places.data(make_14_home.FILE.name) as file:
        return dict(file)


@pytest.fixture(scope="module")
def batch():
    with places.data("batch_14.npz") as file:
        return dict(file)


def test_a_row_of_the_tuning_is_made_again(tuned):
    found = make_14_tuning.linear_run("cross-entropy", 3, after=[40])
    np.testing.assert_allclose(found["cost"][:8], tuned["linear cross-entropy cost"][3, :8], rtol=1e-4)
    assert found["test"][0] == pytest.approx(tuned["linear cross-entropy test"][3, -1], rel=0.05)


def test_all_tuners_find_most_of_what_there_is(tuned):
    for name in make_14_tuning.TUNERS:
        cost, test = tuned[f"linear {name} cost"], tuned[f"linear {name} test"]
        assert cost.shape == test.shape == (make_14_tuning.SEEDS, make_14_tuning.EVALUATIONS)
        assert np.median(test[:, -1]) < 0.05 < 0.9 < test[:, 0].min()


def test_a_row_of_the_house_is_made_again_and_the_order_holds(house):
    starts, noise = NOMINAL.starts([101, 102]), NOMINAL.draw(0, 2, 2 * DAY)
    bill = NOMINAL.bill(run(Thermostat(), NOMINAL, starts, noise))
    np.testing.assert_allclose(bill.J, house["thermostat J"][:2], rtol=1e-9)
    for better, worse in (
        ("LP", "LP hourly"),
        ("two-stage hourly", "LP hourly"),
        ("MILP", "thermostat"),
        ("MILP", "LP switched"),
        ("LP", "MILP"),
    ):
        apart = difference(house[f"{better} J"], house[f"{worse} J"])
        assert apart.mean + apart.half < 0.0, (better, worse)


def test_a_cell_of_the_batch_is_made_again_and_more_data_are_worth_more(batch):
    again = make_14_batch.ratio(1000, 0.3, 4)
    assert again == pytest.approx(batch["ratio"][1, 1, 4], rel=1e-6)
    wide = np.median(batch["ratio"][0], axis=1)
    assert (np.diff(wide) < 0.0).all() and wide[1] < batch["behaviour"]
    lost = np.isinf(batch["ratio"]).mean(axis=2)
    assert lost[0].max() == 0.0 < 0.2 < lost[-1].min()
