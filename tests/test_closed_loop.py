"""The closed loop on a plant of this test, by hand; on the pendulum, the environment step by step; faults are named."""

from typing import NamedTuple

import numpy as np
import pytest

from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs import LinearParameters, NetworkParameters
from mpcrl_course.envs.pendulum import Noise, Pendulum, PendulumParameters


class Push(NamedTuple):
    push: np.ndarray
    error: np.ndarray


class Carts:
    """x+ = x + (u_1 + push, u_2), measured with an error; costs |x|^2 + |u|^2; ends beyond 3."""

    n_states = n_inputs = 2
    input_lower, input_upper = np.array([-1.0, 0.0]), np.array([1.0, 2.0])

    def __init__(self, delay=0):
        self.delay = delay

    def draw(self, seed, n, steps):
        rng = np.random.default_rng(seed)
        return Push(rng.normal(0.0, 0.3, (steps, n)), rng.normal(0.0, 0.1, (steps, n, 2)))

    def measure(self, x, noise):
        return x + noise.error

    def step(self, x, u, noise):
        ahead = x + u + np.stack([noise.push, 0.0 * noise.push], axis=-1)
        return ahead, (x**2).sum(-1) + (u**2).sum(-1), np.abs(ahead).max(-1) > 3.0


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_every_run_is_one_written_out(delay):
    plant, n, steps = Carts(delay), 8, 9 + 2 * delay
    noise, starts = plant.draw(0, n, steps), np.random.default_rng(1).uniform(-1.5, 1.5, (n, 2))
    found = run(lambda y: 0.2 * y - 0.1, plant, starts, noise)
    assert 0 < (found.ended < steps).sum() < n  # some runs end, some do not
    for i in range(n):
        x, sent = starts[i], [np.zeros(2)] * delay
        for k in range(found.ended[i] + 1 if found.ended[i] < steps else steps):
            np.testing.assert_array_equal(found.x[k, i], x)
            sent.append(np.clip(0.2 * (x + noise.error[k, i]) - 0.1, [-1.0, 0.0], [1.0, 2.0]))
            u = sent[k]
            np.testing.assert_array_equal(found.u[k, i], u)
            assert found.cost[k, i] == pytest.approx(x @ x + u @ u, rel=1e-14)
            x = x + u + [noise.push[k, i], 0.0]
        np.testing.assert_array_equal(found.x[k + 1 :, i], np.tile(x, (steps - k, 1)))
        assert not found.u[k + 1 :, i].any() and not found.cost[k + 1 :, i].any()
        assert (np.abs(x).max() > 3.0) == (found.ended[i] < steps)


def test_what_the_controller_says_is_kept_until_a_run_ends_and_then_nobody_asks_it():
    class Says:
        def reset(self):
            self.calls = 0

        def __call__(self, y):
            self.calls += 1
            self.status = [f"{self.calls}{letter}" for letter in "ab"[: len(y)]]
            return np.ones((len(y), 2))

    controller, plant = Says(), Carts()
    noise = Push(np.zeros((9, 2)), np.zeros((9, 2, 2)))
    found = run(controller, plant, [[0.5, 0.0], [2.5, 0.0]], noise)
    assert found.ended.tolist() == [2, 0] and controller.calls == 3
    assert found.status[:4].tolist() == [["1a", "1b"], ["2a", ""], ["3a", ""], ["", ""]]
    assert run(lambda y: np.zeros((1, 2)), plant, np.zeros((1, 2)), plant.draw(0, 1, 2)).status.tolist() == [[""], [""]]


def test_a_function_of_one_state_becomes_a_controller():
    plant, starts = Carts(), np.random.default_rng(1).uniform(-0.5, 0.5, (4, 2))
    noise = plant.draw(2, 4, 8)
    one = run(rowwise(lambda y: [-y[0], abs(y[1])]), plant, starts, noise)
    many = run(lambda y: np.stack([-y[:, 0], np.abs(y[:, 1])], axis=1), plant, starts, noise)
    np.testing.assert_array_equal(one.x, many.x)
    assert rowwise(lambda y: y.sum())(starts).shape == (4, 1)


def test_a_memory_is_reset_and_a_spoilt_argument_spoils_nothing():
    class Counts:
        def reset(self):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            x[:] = np.nan
            return 0.1 * self.calls * np.ones((len(x), 1))

    controller, plant = Counts(), PendulumParameters()
    first, second = (run(controller, plant, np.ones((2, 2)), plant.draw(0, 2, 5)) for _ in range(2))
    assert controller.calls == 5 and np.isfinite(first.x).all()
    np.testing.assert_array_equal(first.x, second.x)


# ---- on a plant and its environment

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


def test_run_is_the_environment_step_by_step():
    starts, noise = np.array([[3.0, 0.5], [-1.0, 0.2], [0.3, -0.4]]), PLANT.draw(5, 3, 60)
    found = run(gain, PLANT, starts, noise)  # (n,) will do for a plant of one input
    assert found.x.shape == (61, 3, 2) and found.u.shape == (60, 3, 1) and found.cost.shape == (60, 3)
    for i, start in enumerate(starts):
        env = Pendulum(PLANT, steps=None)
        env.reset(seed=0, options={"x": start})
        env.np_random = Drawn(noise, i)
        seen = env.observe()
        for k in range(60):
            np.testing.assert_allclose(found.x[k, i], env.x, atol=1e-10)
            measured = np.array([[np.arctan2(seen[1], seen[0]), seen[2]]])
            seen, reward, *_, info = env.step(gain(measured))
            assert found.u[k, i, 0] == pytest.approx(info["torque"], abs=1e-10)
            assert found.cost[k, i] == pytest.approx(-reward, abs=1e-9)
        np.testing.assert_allclose(found.x[60, i], env.x, atol=1e-10)


# ---- faults


@pytest.mark.parametrize(
    ("controller", "message"),
    [
        (lambda x: np.zeros(3), r"finite inputs of shape \(2, 1\); in step 0 came shape \(3, 1\)"),
        (lambda x: np.where(x[:, 1] > 0.5, np.nan, 0.0), r"in step [1-9] came \[nan\]"),
        (lambda x: 1.0, r"shape \(2, 1\)"),
        (lambda x: np.zeros((1, 2)), r"came shape \(1, 2\)"),
    ],
)
def test_bad_inputs_are_named_with_their_step(controller, message):
    with pytest.raises(ValueError, match=message):
        run(controller, PendulumParameters(), [[1.0, 0.4], [0.5, 0.0]], PLANT.draw(0, 2, 10))


def test_bad_starts_and_noise_are_named():
    noise, plant = PLANT.draw(0, 2, 4), PendulumParameters()
    for starts in (np.zeros((3, 2)), [[np.nan, 0.0], [0.0, 0.0]], np.zeros(2)):
        with pytest.raises(ValueError, match="finite starts of shape"):
            run(gain, plant, starts, noise)
    with pytest.raises(ValueError, match="do not fit together: torque"):
        run(gain, plant, np.zeros((2, 2)), noise._replace(kicks=np.zeros((4, 3))))
    spoilt = noise.torque.copy()
    spoilt[2, 1] = np.inf
    with pytest.raises(ValueError, match="not finite in torque, step 2"):
        run(gain, plant, np.zeros((2, 2)), Noise(spoilt, noise.measurement, noise.kicks))


@pytest.mark.parametrize("status", [["a", "b", "c"], [], None, 3, "ok"])
def test_a_status_is_a_word_for_each_decision(status):
    def controller(y):
        return np.zeros((len(y), 1))

    controller.status = status
    plant = PendulumParameters()
    with pytest.raises(ValueError, match="status must be a word for each of 1 decisions"):
        run(controller, plant, [[0.1, 0.2]], plant.draw(0, 1, 3))
    controller.reset = 3
    with pytest.raises(ValueError, match="the controller's reset must be a function"):
        run(controller, plant, [[0.1, 0.2]], plant.draw(0, 1, 3))


@pytest.mark.parametrize(
    ("plant", "noise", "said"),
    [
        (PLANT, LinearParameters().draw(0, 2, 4), r"torque \(steps, n\), measurement .*, and not e \(steps, n\)"),
        (
            PLANT,
            PLANT.draw(0, 2, 4)._replace(torque=np.zeros((4, 2, 1))),
            r".* and not torque \(steps, n, 1\)",
        ),
        (
            PLANT,
            PLANT.draw(0, 2, 4)._replace(measurement=np.zeros((4, 2, 1))),
            r".* not .*t \(steps, n, 1\)",
        ),
        (LinearParameters(), PLANT.draw(0, 2, 4), r"e \(steps, n\), and not torque"),
        (LinearParameters(), NetworkParameters().draw(0, 2, 4), r"e \(steps, n\), and not e \(steps, n, 3\)"),
        (NetworkParameters(), LinearParameters().draw(0, 2, 4), r"e \(steps, n, 3\), and not e \(steps, n\)"),
    ],
)
def test_noise_of_another_plant_is_named(plant, noise, said):
    with pytest.raises(ValueError, match=f"the noise is that of another plant: this one draws {said}"):
        run(lambda y: np.zeros((len(y), plant.n_inputs)), plant, np.zeros((2, plant.n_states)), noise)


def test_a_class_is_neither_a_controller_nor_a_plant_nor_noise():
    class Holds:
        def reset(self):
            pass

        def __call__(self, y):
            return np.zeros((len(y), 1))

    plant, starts = PendulumParameters(), [[0.1, 0.2]]
    noise = plant.draw(0, 1, 3)
    assert run(Holds(), plant, starts, noise).u.shape == (3, 1, 1)
    with pytest.raises(ValueError, match="controller must be a function, not the class Holds: make an object of it"):
        run(Holds, plant, starts, noise)
    with pytest.raises(ValueError, match="plant must be the parameters of a plant"):
        run(Holds(), PendulumParameters, starts, noise)
    with pytest.raises(ValueError, match="noise is what the plant's draw returned"):
        run(Holds(), plant, starts, Noise)


@pytest.mark.parametrize("start", [1e200, 1.7e308])
def test_a_run_that_grows_beyond_all_floats_is_named(start):
    plant = LinearParameters()
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"after step \d the plant of run 1 is at .* pays inf"),
    ):
        run(lambda y: np.zeros((len(y), 1)), plant, [[0.0, 0.1], [start, start]], plant.draw(0, 2, 5))
