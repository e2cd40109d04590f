"""The drawing of the power system: everything where the state says, with the signs of the plant."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mpcrl_course.envs.power import PowerParameters
from mpcrl_course.figures.power import (
    ASIDE,
    BAR,
    FLOW,
    FOOT,
    HALF,
    HEIGHT,
    LARGEST,
    OMEGA,
    RADIUS,
    THICK,
    TURN,
    PowerDrawing,
    describe_power,
)  # fmt: skip

P = PowerParameters()
X = np.array([[0.05, 0.002, 0.1, 0.1, 0.15], [0.02, -0.001, 0, 0, -0.15], [0.02, 0.0, 0, 0, -0.12],
              [-0.11, -0.004, 0.2, 0.2, 0.28]])  # fmt: skip
U = np.array([0.14, -0.1, -0.05, 0.1])


@pytest.fixture
def drawing():
    figure, ax = plt.subplots(figsize=(4, 2))
    yield PowerDrawing(ax, P.ties(), P.limit)
    plt.close(figure)


def outlines(collection):
    return [path.vertices for path in collection.get_paths()]


def test_hands_turn_with_the_angles_and_stop_before_they_meet(drawing):
    drawing.set(X, U)
    for i, (foot, tip) in enumerate(drawing._hands.get_segments()):
        np.testing.assert_allclose(foot, [i, HEIGHT])
        turn = X[i, 0] / 0.1 * TURN  # at the limit: at its mark
        np.testing.assert_allclose(tip - foot, 0.85 * RADIUS * np.array([np.sin(turn), np.cos(turn)]), atol=1e-12)
    drawing.set(10 * X, U)
    foot, tip = drawing._hands.get_segments()[3]
    assert np.arctan2(*(tip - foot)) == pytest.approx(-LARGEST)


def test_arcs_sweep_with_the_frequency(drawing):
    drawing.set(X, U)
    for i, arc in enumerate(drawing._arcs.get_segments()):
        arc = arc - [i, HEIGHT]
        np.testing.assert_allclose(np.hypot(*arc.T), 1.25 * RADIUS)
        assert np.arctan2(*arc[0]) == 0.0
        assert np.arctan2(*arc[-1]) == pytest.approx(X[i, 1] / OMEGA * TURN, abs=1e-12)


def test_bars_are_loads_and_inputs_and_the_limits_stand_beside_them(drawing):
    drawing.set(X, U)
    for bars, values, aside in zip(drawing._bars, (X[:, 4], U), (-ASIDE, ASIDE)):
        for i, outline in enumerate(outlines(bars)):
            assert {round(float(x), 9) for x in outline[:4, 0]} == {
                round(i + aside - HALF, 9),
                round(i + aside + HALF, 9),
            }
            heights = sorted(outline[:4, 1] - FOOT, key=abs)
            np.testing.assert_allclose(heights, [0, 0, *2 * [values[i] / 0.3 * BAR]], atol=1e-12)
    levels = [line.get_ydata()[0] for line in drawing.artists[0].axes.lines if len(line.get_ydata()) == 2]
    for limit in P.limit:
        for side in (-1, 1):
            assert min(abs(level - FOOT - side * limit / 0.3 * BAR) for level in levels) < 1e-12
    drawing.set(10 * X, U)  # no bar leaves the picture
    assert max(np.abs(outline[:, 1] - FOOT).max() for outline in outlines(drawing._bars[0])) <= 1.25 * BAR + 1e-12


def test_noise_is_a_line_around_the_load(drawing):
    drawing.set(X, U, 0.08)
    for i, line in enumerate(drawing._noise.get_segments()):
        np.testing.assert_allclose(line[:, 0], i - ASIDE)
        ends = np.minimum((X[i, 4] + np.array([-0.08, 0.08])) / 0.3, 1.25)
        np.testing.assert_allclose(line[:, 1], FOOT + ends * BAR, atol=1e-12)


def test_arrows_point_where_the_power_flows_and_are_as_thick(drawing):
    flows = drawing.flows(X[:, 0])
    np.testing.assert_allclose(flows, [4 * 0.03, 0.0, 2 * 0.13], atol=1e-15)
    drawing.set(X, U)
    first, last = outlines(drawing._flows)  # none where nothing flows
    for outline, i, size in ((first, 0, 0.12 / FLOW), (last, 2, 1.0)):
        tip = outline[3]
        np.testing.assert_allclose(tip[1], HEIGHT)
        assert i + 0.5 < tip[0] < i + 1 - RADIUS and tip[0] == outline[:, 0].max()
        assert outline[:, 1].max() - HEIGHT == pytest.approx(0.012 + (THICK - 0.012) * size)
    drawing.set(-X, U)
    assert outlines(drawing._flows)[0][3, 0] == outlines(drawing._flows)[0][:, 0].min() > RADIUS


def test_a_violation_is_marked_by_a_sign(drawing):
    drawing.set(X, U)
    x, y = drawing._beyond.get_data()
    assert len(x) == 1 and 3 < x[0] < 3.55 and HEIGHT < y[0] < 0.72
    assert drawing._beyond.get_marker() == "$!$"
    drawing.set(0.9 * X, U)
    assert len(drawing._beyond.get_xdata()) == 0


def test_words():
    text = describe_power(X, U, P.ties(), P.limit)
    assert text.startswith(
        "Area 1: angle 0.050 rad, frequency deviation 2.0 mrad/s, load 0.15, input 0.14 of at most 0.20. Area 2: "
    )
    assert "Area 4: angle -0.110 rad, beyond its limit, frequency deviation -4.0 mrad/s, load 0.28" in text
    assert text.count("beyond") == 1 and text.endswith("Flows: 0.12 from 1 to 2, 0.00 from 2 to 3, 0.26 from 3 to 4.")
    assert "0.12 from 2 to 1" in describe_power(-X, U, P.ties(), P.limit)
