"""Back-offs of the pendulum against their distributions."""

import numpy as np
import pytest
from scipy.stats import norm

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters, dynamics, violations
from mpcrl_course.policies.back_off import chance_back_off, robust_back_off, speed_deviation
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.pendulum import pendulum_mpc


def two_points(rng, epsilon, n):
    """Return n draws of the distribution that attains Cantelli's bound, of mean 0 and deviation 1."""
    far = np.sqrt((1 - epsilon) / epsilon)
    return np.where(rng.random(n) < epsilon, far, -1.0 / far)


def test_the_noise_of_one_step_has_this_deviation():
    plant = PendulumParameters(mass=1.3, length=0.8, process_noise=0.7)
    x = run(lambda x: np.zeros(len(x)), plant, np.ones((20_000, 2)), NOMINAL.draw(0, 20_000, 1)).x[1]
    assert x[:, 1].std() == pytest.approx(speed_deviation(plant), rel=0.02)
    assert speed_deviation(NOMINAL) == 0.0


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.3])
def test_chance_back_off_is_crossed_as_often_as_it_says(epsilon):
    rng, n = np.random.default_rng(1), 200_000
    three_sigma = 3.0 * np.sqrt(epsilon * (1 - epsilon) / n)
    assert (0.2 * rng.standard_normal(n) > chance_back_off(0.2, epsilon)).mean() == pytest.approx(
        epsilon, abs=three_sigma
    )
    skewed = rng.exponential(1.0, n) - 1.0
    b = chance_back_off(0.2, epsilon, samples=skewed[: n // 2])
    assert b == pytest.approx(-np.log(epsilon) - 1.0, rel=0.05)  # the exponential's own quantile
    assert (skewed[n // 2 :] > b).mean() == pytest.approx(epsilon, abs=3 * three_sigma)


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.3])
def test_cantelli_holds_for_all_and_is_attained_by_two_points(epsilon):
    rng, n, sigma = np.random.default_rng(2), 200_000, 0.3
    b = robust_back_off(sigma, epsilon)
    noises = {"normal": rng.standard_normal(n), "student": rng.standard_t(3, n) / np.sqrt(3),
              "skewed": rng.exponential(1.0, n) - 1.0, "uniform": rng.uniform(-np.sqrt(3), np.sqrt(3), n),
              "two points": two_points(rng, epsilon, n)}  # fmt: skip
    assert noises["two points"].mean() == pytest.approx(0.0, abs=0.01)
    assert noises["two points"].std() == pytest.approx(1.0, abs=0.03)
    crossed = {name: (sigma * noise > b * (1 + 1e-9)).mean() for name, noise in noises.items()}
    assert max(crossed.values()) <= epsilon
    # no smaller one would do
    attained = (sigma * noises["two points"] > b * (1 - 1e-9)).mean()
    assert attained == pytest.approx(epsilon, abs=3 * np.sqrt(epsilon / n))
    assert b > chance_back_off(sigma, epsilon)


def test_in_a_step_that_is_planned_to_the_limit_it_is_crossed_with_probability_epsilon():
    """One step of the plant from states in which the MPC plans to reach the backed-off limit: the promise is kept."""
    limit, epsilon, n = 5.5, 0.1, 20_000
    plant = PendulumParameters(process_noise=0.5)
    sigma, mpc = speed_deviation(plant), pendulum_mpc(max_speed=limit)
    for b, state in ((chance_back_off(sigma, epsilon), [3.14, -5.3]), (robust_back_off(sigma, epsilon), [3.0, -5.25])):
        controller = Receding(mpc, mpc.parameters.pack(back_off=b))
        u = float(controller(np.array([state]))[0, 0])
        assert dynamics(np.array(state), np.array([u]))[1] == pytest.approx(-(limit - b), abs=1e-6) and abs(u) < 1.9
        one = run(lambda x, u=u: np.full(len(x), u), plant, np.tile(state, (n, 1)), NOMINAL.draw(0, n, 1))
        share, expected = violations(one.x, limit).mean(), norm.sf(b / sigma)
        assert share == pytest.approx(expected, abs=3 * np.sqrt(epsilon / n)) and share < epsilon + 0.01


def test_bad_back_offs_are_named():
    for call in (
        lambda: chance_back_off(0.1, 0.0),
        lambda: chance_back_off(0.1, 0.6),
        lambda: robust_back_off(0.1, 1.0),
    ):
        with pytest.raises(ValueError, match="epsilon"):
            call()
    for call in (lambda: chance_back_off(np.nan), lambda: robust_back_off(-0.1)):
        with pytest.raises(ValueError, match="standard deviation"):
            call()
    for samples in ([], [0.1, np.nan]):
        with pytest.raises(ValueError, match="finite samples"):
            chance_back_off(0.1, samples=samples)
