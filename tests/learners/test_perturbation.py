"""Perturbed parameters: the gradient of a linear and of a jumping cost, and a minimum that is found."""

import numpy as np
import pytest

from mpcrl_course.learners.perturbation import Perturbation, perturbed_gradient


def test_the_gradient_by_hand_and_of_a_linear_cost():
    e = np.array([[1.0, 0.0], [0.0, 2.0]])
    d = np.array([3.0, 1.0])  # half differences
    expected = np.array([3.0, 2.0]) / 2.0 / np.sqrt(5.0)
    np.testing.assert_allclose(perturbed_gradient(e, 7.0 + d, 7.0 - d), expected)
    rng = np.random.default_rng(0)
    e = rng.standard_normal((200_000, 3))
    slope = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(perturbed_gradient(e, e @ slope, -e @ slope), slope / np.linalg.norm(slope), atol=0.01)
    assert not perturbed_gradient(e, np.ones(len(e)), np.ones(len(e))).any()


def test_a_staircase_has_no_slope_but_a_perturbed_one():
    """Flat almost everywhere, with steps up too, and yet it falls towards 20."""

    def stairs(z, rng):
        return np.floor(z[:, 0]) - 2.0 * np.floor(z[:, 0] / 2.0) + np.floor(np.abs(z[:, 0] - 20.0))

    learner = Perturbation(stairs, [3.3], [2.0], np.random.default_rng(0), pairs=6).run(60, progress=False)
    assert learner.theta[0] == pytest.approx(20.0, abs=2.0)


def test_noise_that_is_common_cancels_and_bounds_are_kept():
    seen = []

    def cost(z, rng):
        seen.append(z)
        return ((z - [1.0, -2.0]) ** 2).sum(1) + 50.0 * rng.normal()

    options = {"step_size": lambda k: 0.5 / (1 + k / 20), "lower": [-9.0, -1.5], "upper": [9.0, 9.0]}
    learner = Perturbation(cost, [0.0, 0.0], [0.3, 0.3], np.random.default_rng(1), **options)
    learner.run(80, progress=False)
    np.testing.assert_allclose(learner.theta, [1.0, -1.5], atol=0.15)
    assert min(z[:, 1].min() for z in seen) >= -1.5 and learner.log.theta.shape == (81, 2)


def test_bad_declarations():
    for arguments in (([0.0], [1.0, 2.0]), ([], []), ([0.0], [-1.0])):
        with pytest.raises(ValueError, match="theta and sigma"):
            Perturbation(lambda z, rng: z[:, 0], *arguments, np.random.default_rng(0))
