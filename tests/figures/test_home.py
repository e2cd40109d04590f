"""The drawing of the house: everything where the run says, and powers that add up."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.home import NOMINAL, HomeParameters
from mpcrl_course.figures.home import MOST, POWERS, HomeDrawing, describe_home, powers
from mpcrl_course.policies import Thermostat
from mpcrl_course.problems import home_mpc

FOUND = run(Thermostat(), NOMINAL, NOMINAL.starts([101]), NOMINAL.draw(0, 1, 90))
X, U = FOUND.x[:, 0], FOUND.u[:, 0]


@pytest.fixture
def drawing():
    figure, axes = plt.subplots(2, 2)
    yield HomeDrawing(axes.ravel(), 101)
    plt.close(figure)


def test_lines_are_those_of_the_run_and_of_the_plan(drawing):
    mpc = home_mpc(True, 20)
    plan = mpc.V(mpc.parameters.initial(), X[-1]).x
    drawing.set(X, U, plan)
    _, air, mass, ahead, now, charge, ahead_charge, _ = drawing.artists
    hours = X[:, 3] / 4.0
    for line, column in ((air, 0), (mass, 1), (charge, 2)):
        np.testing.assert_array_equal(line.get_data(), [hours, X[:, column]])
    np.testing.assert_allclose(ahead.get_data(), [hours[-1] + np.arange(21) / 4.0, plan[:, 0]])
    np.testing.assert_allclose(ahead_charge.get_data()[1], plan[:, 2])
    np.testing.assert_allclose(now.get_data(), [[22.5], NOMINAL.now(X[-1:]).price])
    drawing.set(X, U)
    assert not len(ahead.get_data()[0])


def test_bars_are_what_flows(drawing):
    drawing.set(X, U)
    flows = powers(X[-2], U[-1])
    assert flows.sum() == pytest.approx(0.0, abs=1e-12) and flows[POWERS.index("load")] < 0.0
    assert flows[POWERS.index("heat pump")] == pytest.approx(-U[-1, 0])
    bars = [path.vertices for path in drawing.artists[-1].get_paths()]
    for i, flow in enumerate(flows):
        ends = bars[i][:4, 0]
        assert ends[np.abs(ends).argmax()] == pytest.approx(np.clip(flow, -MOST, MOST))
        assert bars[i][:, 1].mean() == pytest.approx(len(POWERS) - 1 - i, abs=0.2)
    drawing.set(X[:1], np.zeros((0, 2)))  # nothing has flown yet
    assert not np.concatenate([path.vertices[:4, 0] for path in drawing.artists[-1].get_paths()]).any()


def test_words_say_what_is_shown():
    cold = np.array([19.1, 19.5, 2.0, 30.0, 101.0])
    said = describe_home(cold, [1.0, -0.5])
    assert said.startswith("7:30") and "air 19.1 °C, too cold from 20 to 23 °C" in said and "2.0 of 8 kWh" in said
    assert f"{powers(cold, [1.0, -0.5])[0]:.2f} kW are bought" in said
    assert "too warm" in describe_home([23.5, 23, 8, 48, 101], [0.0, -3.0]) and "sold" in describe_home(
        [22.0, 22, 8, 48, 101], [0.0, -3.0]
    )


def test_a_drawing_of_another_house_shows_its_capacity():
    figure, axes = plt.subplots(4)
    HomeDrawing(axes, round(X[0, 4]), HomeParameters(capacity=5.0)).set(X, U)
    assert axes[3].get_ylim()[1] == pytest.approx(5.25)
    plt.close(figure)
