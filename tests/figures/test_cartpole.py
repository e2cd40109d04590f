"""The drawing of the cart-pole: everything where the state says, with the signs of the plant."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mpcrl_course.envs.cartpole import TRACK, TRACK_END
from mpcrl_course.figures.cartpole import ARROW, BOB, CART, CartPoleDrawing, describe_cartpole, poles, tips


@pytest.fixture
def drawing():
    figure, ax = plt.subplots(figsize=(8, 2))
    yield CartPoleDrawing(ax)
    plt.close(figure)


def test_tip_and_pole_are_where_the_plant_has_them():
    """The plant's tip is at (p - l sin q, l cos q): a positive angle leans to the left."""
    x = np.array([[0.3, 0.0, 1.0, 1.0], [-1.0, np.pi / 2, 0.0, 0.0], [0.5, np.pi, 0.0, 0.0], [0.2, -0.7, 3.0, 4.0]])
    expected = [[0.3, 0.5], [-1.5, 0.0], [0.5, -0.5], [0.2 + 0.5 * np.sin(0.7), 0.5 * np.cos(0.7)]]
    np.testing.assert_allclose(tips(x), expected, atol=1e-12)
    np.testing.assert_allclose(tips(x[1], length=0.8), [-1.8, 0.0], atol=1e-12)
    lines = poles(x, length=0.8)
    np.testing.assert_allclose(lines[:, 0], np.stack([x[:, 0], np.zeros(4)], axis=1))
    np.testing.assert_allclose(np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1), 0.8)


def test_cart_pole_and_bob_move_together(drawing):
    drawing.set([0.7, 0.4, 0.0, 0.0])
    assert drawing._cart.get_x() + CART[0] / 2 == pytest.approx(0.7)
    end = (0.7 - 0.5 * np.sin(0.4), 0.5 * np.cos(0.4))
    np.testing.assert_allclose(drawing._rod.get_data(), [[0.7, end[0]], [0.0, end[1]]])
    assert drawing._bob.center == pytest.approx(end)


def test_heavier_is_larger(drawing):
    drawing.set_masses(cart_mass=4.0, mass=1.6)
    drawing.set([0.7, 0.4, 0.0, 0.0], 15.0)
    assert drawing._cart.get_width() == pytest.approx(2 * CART[0])
    assert drawing._cart.get_x() + CART[0] == pytest.approx(0.7)
    assert drawing._cart.get_y() + CART[1] == pytest.approx(0.0)
    assert drawing.arrow.get_xdata()[0] == pytest.approx(0.7 + CART[0])
    assert drawing._bob.get_radius() == pytest.approx(2 * BOB)


@pytest.mark.parametrize(("force", "reach"), [(15.0, ARROW), (-7.5, -ARROW / 2), (60.0, ARROW), (0.0, None)])
def test_the_arrow_starts_at_the_cart_and_is_as_long_as_the_force(drawing, force, reach):
    drawing.set([0.5, np.pi, 0.0, 0.0], force)
    x, y = drawing.arrow.get_data()
    if reach is None:
        assert len(x) == 0
        return
    assert x[0] == pytest.approx(0.5 + np.sign(reach) * CART[0] / 2)
    assert x[1] - x[0] == pytest.approx(reach) and y[1] == 0.0
    assert all(abs(w - x[0]) < abs(reach) for w in (x[2], x[4]))  # the head points outwards


def test_the_plan_is_a_path_of_tips_with_ghosts_at_equal_times(drawing):
    plan = np.linspace([0.0, np.pi, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], 41)
    drawing.set_plan(plan)
    np.testing.assert_allclose(np.stack(drawing._path.get_data(), axis=1), tips(plan))
    np.testing.assert_allclose(drawing.ghost.get_segments(), poles(plan[4::4]))
    drawing.set_plan(plan[:6])  # fewer stages than ghosts: each is shown once, the present one is not
    np.testing.assert_allclose(drawing.ghost.get_segments(), poles(plan[1:6]))


def test_the_target_is_marked_and_the_limits_are_drawn(drawing):
    drawing.set_target(-1.2)
    assert drawing.target.get_xdata()[0] == -1.2 and drawing.target not in drawing.artists
    lines = [line.get_xdata() for line in drawing._path.axes.lines]
    for side in (-1, 1):
        assert any(list(x) == [side * TRACK, side * TRACK] for x in lines)
    assert any(list(x) == [-TRACK_END, TRACK_END] for x in lines)


@pytest.mark.parametrize(
    ("angle", "words"),
    [(0.1, "upright, 0.10 rad"), (2 * np.pi - 0.1, "upright, -0.10 rad"), (np.pi, "hanging down"), (4.0, "on its way")],
)
def test_the_state_in_words(angle, words):
    text = describe_cartpole([0.25, angle, -1.5, 2.0], -3.0)
    assert words in text and "cart at 0.25 m" in text and "-1.50 m/s and 2.00 rad/s, force -3.0 N" in text
