"""Interpolation on a grid: exact where it must be, second order where it can be."""

import numpy as np
import pytest

from mpcrl_course.dp import FiniteMDP, Grid, value_iteration
from mpcrl_course.mpc import lqr


def test_weights_are_probabilities_and_multilinear_functions_are_exact():
    grid, rng = Grid([-1, 0, 2], [1, 3, 4], [5, 4, 7]), np.random.default_rng(0)
    x = rng.uniform([-1, 0, 2], [1, 3, 4], (200, 3))
    corners, weights = grid.weights(x)
    assert weights.min() >= 0 and corners.shape == (200, 8)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)

    def f(p):
        return 1 + p[:, 0] - 2 * p[:, 1] * p[:, 2] + 0.5 * p[:, 0] * p[:, 1] * p[:, 2]

    np.testing.assert_allclose(grid.interpolate(f(grid.points), x), f(x), atol=1e-10)
    np.testing.assert_allclose(grid.matrix(x) @ f(grid.points), f(x), atol=1e-10)


def test_grid_points_are_hit_and_the_outside_is_the_nearest_edge():
    grid = Grid([-1, 0], [1, 3], [5, 4])
    V = np.random.default_rng(1).normal(size=20)
    np.testing.assert_allclose(grid.interpolate(V, grid.points), V, atol=1e-12)
    np.testing.assert_allclose(grid.interpolate(V, [[-7, 9], [0.5, 9]]), grid.interpolate(V, [[-1, 3], [0.5, 3]]))


def test_periodic_direction():
    grid = Grid([-np.pi], [np.pi], [64], [True])
    V, q = np.cos(grid.points[:, 0]), np.random.default_rng(2).uniform(-20, 20, 300)
    np.testing.assert_allclose(grid.interpolate(V, q[:, None]), np.cos(q), atol=1.3e-3)  # h^2 / 8
    np.testing.assert_allclose(grid.interpolate(V, q[:, None]), grid.interpolate(V, q[:, None] + 6 * np.pi), atol=1e-9)
    assert grid.axes[0][-1] == pytest.approx(np.pi - 2 * np.pi / 64)


def test_error_is_of_second_order():
    x = np.random.default_rng(3).uniform(-1, 1, (500, 2))

    def f(p):
        return np.exp(p[:, 0]) * np.sin(2 * p[:, 1])

    errors = []
    for n in (11, 21, 41):
        grid = Grid([-1, -1], [1, 1], [n, n])
        errors.append(np.abs(grid.interpolate(f(grid.points), x) - f(x)).mean())
    assert 3.5 < errors[0] / errors[1] < 4.5 and 3.5 < errors[1] / errors[2] < 4.5


def lq_on_a_grid(n, gamma=0.9):
    """Return the largest error of V on |x| <= 1 for x+ = 0.95 x + 0.3 u, L = x^2 + 0.5 u^2, and P of Riccati."""
    grid, u = Grid([-2], [2], [n]), np.linspace(-4, 4, 2 * n - 1)
    x, actions = np.repeat(grid.points[:, 0], len(u)), np.tile(u, n)
    P = grid.matrix((0.95 * x + 0.3 * actions)[:, None])
    V = value_iteration(FiniteMDP(P, (x**2 + 0.5 * actions**2).reshape(n, -1), gamma), tolerance=1e-11).V
    exact = lqr([[0.95]], [[0.3]], [[1.0]], [[0.5]], gamma).P[0, 0]
    near = np.abs(grid.points[:, 0]) <= 1
    return np.abs(V - exact * grid.points[:, 0] ** 2)[near].max(), exact


def test_grid_limit_is_riccati():
    errors = [lq_on_a_grid(n)[0] for n in (21, 41, 81, 161)]
    assert errors[-1] < 1e-3 * lq_on_a_grid(5)[1]
    assert all(2.5 < coarse / fine for coarse, fine in zip(errors, errors[1:])), errors


def test_bad_points_are_named():
    grid = Grid([0, 0], [1, 1], [3, 3])
    for bad in ([0.5, 0.5], [[0.5]], [[0.5, np.nan]]):
        with pytest.raises(ValueError, match="must be finite and of shape"):
            grid.weights(bad)


def test_bad_grids_are_named():
    for arguments, message in (
        (([0], [0], [3]), "empty"),
        (([0], [np.inf], [3]), "not finite"),
        (([0], [1], [1]), "at least 2"),
        (([0, 0], [1, 1], [3]), "one entry for each"),
    ):
        with pytest.raises(ValueError, match=message):
            Grid(*arguments)
