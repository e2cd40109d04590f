"""The drawings of the racing car: everything where the state says, left being left."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mpcrl_course.envs.race import WIDTH, place
from mpcrl_course.figures.race import VIEW, FrictionCircle, RaceDrawing, car_outline, describe_race, edge


@pytest.fixture
def axes():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_the_edges_are_half_a_width_away_on_either_side_and_in_view():
    s = np.linspace(0.0, 200.0, 600)
    centre = place(np.stack([s, 0 * s, 0 * s, 0 * s], axis=-1))
    for side in (1, -1):
        line = edge(side * WIDTH)
        normal = np.stack([-np.sin(centre[:, 2]), np.cos(centre[:, 2])], axis=-1)
        np.testing.assert_allclose(((line - centre[:, :2]) * normal).sum(axis=1), side * WIDTH, atol=1e-9)
        assert (line.min(axis=0) > [VIEW[0], VIEW[2]]).all() and (line.max(axis=0) < [VIEW[1], VIEW[3]]).all()


def test_the_car_stands_where_it_is_and_points_where_it_goes(axes):
    x, drawing = np.array([63.0, 1.2, 0.3, 7.0]), RaceDrawing(axes)
    drawing.set(x, changed=True)
    corners, (X, Y, heading) = drawing.car.get_xy()[:5], place(x)
    np.testing.assert_allclose(corners, car_outline(x))
    nose = corners[0] - [X, Y]
    assert np.arctan2(nose[1], nose[0]) == pytest.approx((heading + np.pi) % (2 * np.pi) - np.pi)
    changed = drawing.car.get_facecolor()
    drawing.set(x)
    assert drawing.car.get_facecolor() != changed


def test_plan_and_backup_are_lines_on_the_ground_and_go_away(axes):
    drawing, plan = RaceDrawing(axes), np.linspace([10.0, 0.0, 0.0, 8.0], [20.0, 1.0, 0.1, 0.0], 11)
    for set_line, line in ((drawing.set_plan, drawing.plan), (drawing.set_backup, drawing.backup)):
        set_line(plan)
        np.testing.assert_allclose(np.stack(line.get_data(), axis=-1), place(plan)[:, :2])
        set_line(None)
        assert len(line.get_xdata()) == 0


def test_the_circle_has_its_grip_and_left_is_left(axes):
    circle = FrictionCircle(axes, grip=6.8)
    circle.set([0.0, 0.0, 0.0, 8.0], [2.0, 0.1], [-3.0, 0.35], gain=0.85)
    x, y = (float(part[0]) for part in circle.wanted.get_data())
    assert (x, y) == (pytest.approx(-64.0 * 0.85 * np.tan(0.1) / 1.6), 2.0)
    assert float(circle.acting.get_xdata()[0]) == -10.5  # beyond the picture
    assert circle.artists[0].get_radius() == 6.8
    circle.set_grip(8.0)
    assert circle.artists[0].get_radius() == 8.0


@pytest.mark.parametrize(
    ("x", "u", "words"),
    [
        ([10.0, 1.0, 0.0, 5.0], [1.0, 0.1], "on the track, 1.00 m left of the centre line, at 10 m of lap 1; 5.0 m/s"),
        ([210.0, -2.7, 0.0, 5.0], [1.0, -0.1], "outside, 2.70 m right of the centre line, at 10 m of lap 2"),
        ([10.0, 4.2, 0.0, 5.0], [1.0, 0.0], "off the track"),
    ],
)
def test_the_state_in_words(x, u, words):
    said = describe_race(np.array(x), np.array(u))
    assert words in said and ("straight on", "to the left", "to the right")[int(np.sign(u[1]))] in said
