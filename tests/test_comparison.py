"""Fair comparisons: closed loops against the environment step by step, intervals by simulation, the tail as defined."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mpcrl_course.comparison import (
    Interval,
    decision_seconds,
    draw_noise,
    interval,
    run,
    tail,
    upright,
    violations,
)  # fmt: skip
from mpcrl_course.dp.pendulum import simulate
from mpcrl_course.envs.pendulum import Pendulum, PendulumParameters

PLANT = PendulumParameters(mass=1.2, friction=0.1, delay=2, process_noise=0.4, measurement_noise=0.02)


def gain(x):
    return -12.0 * np.sin(x[:, 0]) - 2.0 * x[:, 1]


class Drawn:
    """A generator that hands out one pendulum's part of a `Noise`, in the order in which the environment asks."""

    def __init__(self, noise, i):
        self.numbers = []
        for torque, measurement in zip(noise.torque[:, i], noise.measurement[:, i]):
            self.numbers += [measurement, np.array([torque])]
        self.numbers.append(np.zeros(2))  # the last observation is not used

    def standard_normal(self, n):
        assert self.numbers[0].shape == (n,)
        return self.numbers.pop(0)


# ---- runs


def test_run_is_the_environment_step_by_step():
    starts, noise = np.array([[3.0, 0.5], [-1.0, 0.2], [0.3, -0.4]]), draw_noise(3, steps=60, seed=5)
    found = run(gain, PLANT, starts, noise)
    assert found.x.shape == (61, 3, 2) and found.u.shape == found.cost.shape == (60, 3)
    for i, start in enumerate(starts):
        env = Pendulum(PLANT, steps=None)
        env.reset(seed=0, options={"x": start})
        env.np_random = Drawn(noise, i)
        seen = env.observe()
        for k in range(60):
            np.testing.assert_allclose(found.x[k, i], env.x, atol=1e-10)
            measured = np.array([[np.arctan2(seen[1], seen[0]), seen[2]]])
            seen, reward, *_, info = env.step(gain(measured))
            assert found.u[k, i] == pytest.approx(info["torque"], abs=1e-10)
            assert found.cost[k, i] == pytest.approx(-reward, abs=1e-9)
        np.testing.assert_allclose(found.x[60, i], env.x, atol=1e-10)


def test_without_noise_it_is_the_simulation_of_lecture_01():
    starts, plant = np.array([[2.0, 0.0], [0.1, 1.0]]), PendulumParameters(delay=1)
    ours, theirs = run(gain, plant, starts, draw_noise(2, steps=50)), simulate(gain, plant, starts, steps=50)
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one, other)


def test_noise_is_the_same_for_all_and_kicks_change_the_velocity_by_their_size():
    noise = draw_noise(2000, steps=3, seed=1, kick_probability=0.1, kick=5.0)
    quiet = draw_noise(2000, steps=3, seed=1)
    np.testing.assert_array_equal(noise.torque, quiet.torque)
    np.testing.assert_array_equal(noise.measurement, quiet.measurement)
    assert not quiet.kicks.any() and set(np.unique(noise.kicks)) == {-5.0, 0.0, 5.0}
    assert (noise.kicks != 0.0).mean() == pytest.approx(0.1, abs=0.01) and abs(noise.kicks.mean()) < 0.1
    starts, plant = np.tile([1.0, 0.0], (2000, 1)), PendulumParameters()
    kicked, calm = (run(lambda x: 0.0 * x[:, :1], plant, starts, n).x for n in (noise, quiet))
    np.testing.assert_allclose(kicked[1, :, 1] - calm[1, :, 1], noise.kicks[0], atol=1e-12)
    np.testing.assert_array_equal(kicked[1, :, 0], calm[1, :, 0])


def test_paired_differences_hold_none_of_what_both_suffer():
    """Two controllers that differ by a hair: their costs vary by hundreds over the starts, the differences do not."""
    rng = np.random.default_rng(0)
    starts, noise = rng.uniform([-np.pi, -1], [np.pi, 1], (20, 2)), draw_noise(20, steps=40)
    plant = PendulumParameters(process_noise=0.3)
    one, other = (run(lambda x, g=g: g * gain(x), plant, starts, noise).cost.sum(0) for g in (1.0, 1.001))
    assert interval(one).half > 30.0 and interval(one - other).half < 1.0


def test_a_memory_is_reset_and_a_spoilt_argument_spoils_nothing():
    class Counts:
        def reset(self):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            torque = 0.1 * self.calls * np.ones((len(x), 1))
            x[:] = np.nan
            return torque

    controller, starts, noise = Counts(), np.ones((2, 2)), draw_noise(2, steps=5)
    first, second = (run(controller, PendulumParameters(), starts, noise) for _ in range(2))
    assert controller.calls == 5 and np.isfinite(first.x).all()
    np.testing.assert_array_equal(first.x, second.x)


@pytest.mark.parametrize(
    ("controller", "message"),
    [
        (lambda x: np.zeros(3), "2 finite torques.*in step 0"),
        (lambda x: np.where(x[:, 1] > 0.5, np.nan, 0.0), r"in step \d: .*nan"),
        (lambda x: 1.0, "2 finite torques"),
    ],
)
def test_bad_torques_are_named_with_their_step(controller, message):
    with pytest.raises(ValueError, match=message):
        run(controller, PendulumParameters(), [[1.0, 0.4], [0.5, 0.0]], draw_noise(2, steps=10))


def test_bad_starts_and_noise_are_named():
    noise, plant = draw_noise(2, steps=4), PendulumParameters()
    for starts in (np.zeros((3, 2)), [[np.nan, 0.0], [0.0, 0.0]], np.zeros(2)):
        with pytest.raises(ValueError, match="finite starts"):
            run(gain, plant, starts, noise)
    with pytest.raises(ValueError, match="do not fit together: torque"):
        run(gain, plant, np.zeros((2, 2)), noise._replace(kicks=np.zeros((4, 3))))
    spoilt = noise.torque.copy()
    spoilt[2, 1] = np.inf
    with pytest.raises(ValueError, match="not finite in torque, step 2"):
        run(gain, plant, np.zeros((2, 2)), noise._replace(torque=spoilt))
    for options in ({"kick_probability": 1.1}, {"kick": np.nan}):
        with pytest.raises(ValueError, match="kick"):
            draw_noise(2, **options)


# ---- what is measured of runs


def test_upright_and_violations_by_hand():
    x = np.zeros((41, 4, 2))
    x[:21, 0, 0] = 1.0  # late, but in time
    x[:, 1, 0] = 2 * np.pi + 0.29  # a turn further
    x[30, 2, 0] = 0.31  # once out
    x[:, 3, 0] = np.pi
    np.testing.assert_array_equal(upright(x), [True, True, False, False])
    x[0, 0, 1] = 9.0  # the start does not count
    x[1:5, 1, 1] = -6.5
    x[7, 2, 1] = 6.0  # on the limit
    np.testing.assert_allclose(violations(x, 6.0), [0.0, 0.1, 0.0, 0.0])
    x[3, 3, 1] = np.nan
    for measure in (lambda: violations(x, 6.0), lambda: upright(x), lambda: upright(x[0])):
        with pytest.raises(ValueError, match="finite states of shape"):
            measure()


def test_decisions_are_timed_one_by_one_without_the_warm_up(monkeypatch):
    clock, asked = [0.0], []
    monkeypatch.setattr("mpcrl_course.comparison.perf_counter", lambda: clock[0])

    class Slow:
        def reset(self):
            asked.clear()

        def __call__(self, x):
            asked.append(x.copy())
            clock[0] += 100.0 if len(asked) <= 3 else float(len(asked))
            return np.zeros((1, 1))

    path, controller = np.arange(20.0).reshape(10, 2), Slow()
    for _ in range(2):
        np.testing.assert_allclose(decision_seconds(controller, path, warm_up=3), np.arange(4.0, 11.0))
        np.testing.assert_array_equal(np.vstack(asked), path)
    for warm_up in (10, -1):
        with pytest.raises(ValueError, match=f"warm-up of {warm_up}"):
            decision_seconds(controller, path, warm_up=warm_up)


# ---- statistics


def test_intervals_of_five_cover_the_mean_in_95_of_100_experiments():
    rng, n = np.random.default_rng(0), 4000
    for level in (0.95, 0.8):
        hits = np.mean([abs((found := interval(rng.normal(3.0, 2.0, 5), level)).mean - 3.0) <= found.half
                        for _ in range(n)])  # fmt: skip
        assert hits == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / n))


def test_interval_by_hand_and_in_words():
    found = interval([1.0, 2.0, 4.0])
    assert found.mean == pytest.approx(7 / 3)
    assert found.half == pytest.approx(4.302653 * np.sqrt(7 / 3) / np.sqrt(3), rel=1e-6)  # t(0.975; 2) = 4.302653
    for mean, half, words in ((12.3456, 0.0123, "12.346 ± 0.012"), (120.0, 34.5, "120 ± 34"),
                              (1.0, 0.0, "1.000 ± 0.000"), (-0.004, 0.00098, "-0.00400 ± 0.00098")):  # fmt: skip
        assert str(Interval(mean, half)) == words
    assert str(interval([0.1, 0.1, 0.1])) == "0.100 ± 0.000"  # its deviation is 1.7e-17 by rounding
    for values in ([1.0], [[1.0, 2.0]], [1.0, np.nan], []):
        with pytest.raises(ValueError, match="at least two finite values"):
            interval(values)
    with pytest.raises(ValueError, match="level"):
        interval([1.0, 2.0], level=95)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 7, 30, 100])
def test_tail_is_the_minimum_of_rockafellar_and_uryasev(n, share):
    costs = np.random.default_rng(n).gamma(2.0, 50.0, n)

    def bound(c):
        return c + np.maximum(0.0, costs - c).mean() / share

    least = min(bound(c) for c in costs)  # convex and piecewise linear: it is least at one of the costs
    assert tail(costs, share) == pytest.approx(least, rel=1e-9)
    found = minimize_scalar(bound, bracket=(costs.min(), costs.max()))
    assert tail(costs, share) <= found.fun + 1e-9


def test_tail_of_small_counts_and_bad_input():
    assert tail([1.0, 5.0, 2.0], 0.05) == 5.0 == tail([1.0, 5.0, 2.0], 1 / 3)
    assert tail([1.0, 5.0, 2.0], 0.5) == pytest.approx((5.0 + 0.5 * 2.0) / 1.5)
    assert tail([[1.0, 5.0], [2.0, 4.0]], 1.0) == pytest.approx(3.0)
    for costs, share in (([], 0.1), ([1.0, np.nan], 0.1), ([1.0], 0.0), ([1.0], 1.5)):
        with pytest.raises(ValueError, match="the tail of finite costs"):
            tail(costs, share)


def test_plants_may_differ_while_the_noise_is_the_same():
    starts, noise = np.array([[1.0, 0.0]]), draw_noise(1, steps=1, seed=2)
    for mass in (0.5, 2.0):
        plant = replace(PendulumParameters(process_noise=0.3), mass=mass)
        pushed, free = (
            run(lambda x: np.zeros(1), p, starts, noise).x[1, 0, 1] for p in (plant, replace(plant, process_noise=0))
        )
        assert pushed - free == pytest.approx(0.05 * 3.0 * 0.3 * noise.torque[0, 0] / mass)
