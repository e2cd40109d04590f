"""Environments around a plant: what acts, what is told and stored, what is saved."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpcrl_course.envs.around import Filtered, Scaled
from mpcrl_course.envs.linear import LinearPlant
from mpcrl_course.envs.pendulum import Pendulum
from mpcrl_course.envs.race import LOWER, UPPER, Race
from mpcrl_course.learners.ddpg import DDPG
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.policies.race_filter import RaceSafety
from mpcrl_course.problems.linear import linear_mpc

SAFETY = RaceSafety()


def at_most(y, u):
    """A filter of the linear plant: u <= 0.2 + x_2."""
    return np.minimum(u, 0.2 + y[:, 1:])


class Slow:
    """A filter that remembers: an input changes by 0.1 a step at most."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.last = 0.0

    def __call__(self, y, u):
        new = np.clip(u, self.last - 0.1, self.last + 0.1)
        self.status = ["slow" if abs(new - u).max() > 0.0 else "as it was"]
        self.last = float(new[0, 0])
        return new

    def state_dict(self):
        return {"last": self.last}

    def load_state_dict(self, state):
        self.last = state["last"]


@pytest.mark.filterwarnings("ignore:.*(Box|not within the observation space|unbounded|infinity).*")
@pytest.mark.parametrize(
    "make",
    [
        lambda: Scaled(Race(steps=10)),
        lambda: Filtered(LinearPlant(steps=10), at_most, price=1.0),
        lambda: Scaled(Filtered(Race(steps=10), SAFETY)),
    ],
    ids=["scaled", "filtered", "both"],
)
def test_they_conform_to_gymnasium(make):
    check_env(make(), skip_render_check=True)


def test_what_acts_is_what_the_filter_says_and_a_change_has_its_price():
    env, plant = Filtered(LinearPlant(), at_most, price=0.7), LinearPlant()
    for a, acting in ((0.9, 0.35), (0.3, 0.3), (-3.0, -1.0)):
        env.reset(seed=1, options={"x": [0.5, 0.15]}), plant.reset(seed=1, options={"x": [0.5, 0.15]})
        seen, reward, *_, info = env.step([a])
        expected, alone, *_ = plant.step([acting])
        np.testing.assert_allclose(seen, expected, rtol=1e-14)
        asked = max(a, -1.0)
        assert reward == pytest.approx(alone - 0.7 * abs(asked - acting)) and info["cost"] == -reward
        assert info["acting"] == info["applied"] == acting and info["changed"] == (asked != acting)


def test_what_is_stored_is_what_acted_or_what_was_asked_for():
    for store in ("applied", "raw"):
        rng = np.random.default_rng(0)

        env = Filtered(LinearPlant(), lambda y, u: np.minimum(u, -0.4), store)
        learner = QLearning(linear_mpc(), env, rng, np.full(16, 0.1))
        asked = learner.a.copy()
        assert -0.4 < asked[0] < 0.0
        learner.step()
        stored = np.minimum(asked, -0.4) if store == "applied" else asked
        np.testing.assert_array_equal(learner.log.u[0], stored)
        np.testing.assert_array_equal(learner.replay.all().a[0], stored)
        q = linear_mpc().Q(np.full(16, 0.1), learner.log.x[0], stored)
        v = linear_mpc().V(np.full(16, 0.1), learner.s)
        assert learner.log.td[0] == pytest.approx(learner.log.cost[0] + 0.9 * v.value - q.value, abs=1e-7)


def test_without_a_filter_nothing_is_different():
    logs = [
        QLearning(linear_mpc(), env, np.random.default_rng(3)).run(30, progress=False).log
        for env in (
            LinearPlant(),
            Filtered(LinearPlant(), lambda y, u: u),
            Filtered(LinearPlant(), lambda y, u: u, "raw"),
        )
    ]
    for log in logs[1:]:
        np.testing.assert_array_equal(log.theta, logs[0].theta)
        np.testing.assert_array_equal(log.u, logs[0].u)


def test_scaled_actions_reach_both_limits_and_0_is_0():
    env, plant = Scaled(Race()), Race()
    for a, u in (([1.0, 1.0], UPPER), ([-1.0, -1.0], LOWER), ([0.0, 0.0], [0.0, 0.0]), ([0.25, -0.5], [1.0, -0.175])):
        for each in (env, plant):
            each.reset(seed=0)
        np.testing.assert_array_equal(env.step(a)[0], plant.step(u)[0])

    class Forward(Pendulum):
        pass

    forward = Forward()
    forward.action_space = gym.spaces.Box(0.0, 2.0, (1,))
    with pytest.raises(ValueError, match="both sides of 0"):
        Scaled(forward)


def test_what_acted_is_told_in_the_units_of_the_action():
    env = Scaled(Filtered(Race(), lambda y, u: np.array([[-3.0, 0.0875]])))
    env.reset(seed=0)
    info = env.step([1.0, 1.0])[4]
    np.testing.assert_allclose(info["applied"], [-0.5, 0.25], rtol=1e-14)
    np.testing.assert_allclose(info["acting"], [-3.0, 0.0875], rtol=1e-14)


def test_starts_are_those_that_can_be_kept_safe():
    env = Filtered(Race(), SAFETY, start=lambda x: x[3] < 3.0)
    for seed in range(20):
        env.reset(seed=seed)
        assert env.x[3] < 3.0
    env.reset(options={"x": [0.0, 0.0, 0.0, 7.0]})
    assert env.x[3] == 7.0
    with pytest.raises(ValueError, match="refused 1000 starts"):
        Filtered(Race(), SAFETY, start=lambda x: False).reset(seed=0)


@pytest.mark.parametrize(
    "make", [lambda: Filtered(LinearPlant(), Slow()), lambda: Scaled(Filtered(Race(), SAFETY, "raw"))], ids=["", "race"]
)
def test_a_saved_state_goes_on_exactly_there_with_the_filters_memory(make):
    env, rng = make(), np.random.default_rng(0)
    env.reset(seed=4)
    actions = rng.uniform(-1.0, 1.0, (12, *env.action_space.shape))
    for a in actions[:5]:
        env.step(a)
    saved, generator = json.loads(json.dumps(env.state_dict())), env.np_random.bit_generator.state
    expected = [env.step(a)[0] for a in actions[5:]]
    other = make()
    other.reset(seed=9)
    other.step(actions[0])
    other.load_state_dict(saved)
    other.np_random.bit_generator.state = generator
    np.testing.assert_array_equal([other.step(a)[0] for a in actions[5:]], expected)


def test_a_driver_learns_behind_the_filter_and_never_leaves_the_track():
    """Whatever DDPG tries: 700 steps, most of them of random actions."""
    env = Scaled(Filtered(Race(steps=100), SAFETY, start=lambda x: SAFETY.certified(SAFETY.stop(x)[0])))
    outside, changed = [], []

    def look(k, learner):
        outside.append(abs(env.x[1]) > 2.5)
        changed.append(SAFETY.status[0] != "passed" if SAFETY.plans else False)

    learner = DDPG(env, np.random.default_rng(0), warm_up=500, width=16).run(700, progress=False, on_step=look)
    assert not any(outside) and any(changed)
    assert (np.abs(learner.log.a) <= 1.0 + 1e-12).all()
