"""What every plant must do, as an environment and as pure functions for many states at once."""

import json
from dataclasses import fields, replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpcrl_course.bring import EXAMPLES, OwnPlantEnv, read
from mpcrl_course.envs.cartpole import CartPole, CartPoleParameters
from mpcrl_course.envs.home import Home, HomeParameters
from mpcrl_course.envs.linear import GustyPlant, LinearPlant
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.envs.pendulum import Pendulum, PendulumParameters
from mpcrl_course.envs.power import PowerParameters, PowerSystem
from mpcrl_course.envs.race import Race, RaceParameters
from mpcrl_course.envs.random_pendulum import RandomMass

RING = [[1, 4], [0, 2], [1, 3], [2, 4], [0, 3]]
TWO = PowerParameters(H=(5.0, 9.0), R=(0.1, 0.07), D=(0.5, 0.0), T_t=(0.5, 0.4), T_g=(0.2, 0.1), P_tie=(3.0,),
                      limit=(0.2, 0.4))  # fmt: skip
ROUGH = {"delay": 2, "process_noise": 0.4, "measurement_noise": 0.02}
#: By name: what makes the environment. These are nothing but their parameters …
PLANTS = {
    "linear": LinearPlant,
    "gusts": GustyPlant,
    "network": LinearNetwork,
    "ring": lambda **options: LinearNetwork(RING, weight=120.0, **options),
    "alone": lambda **options: LinearNetwork([[]], **options),
    "pendulum": Pendulum,
    "rough pendulum": lambda **options: Pendulum(PendulumParameters(mass=1.3, **ROUGH), **options),
    "cart-pole": CartPole,
    "rough cart-pole": lambda **options: CartPole(CartPoleParameters(friction=0.1, **ROUGH), **options),
    "house": Home,
    "other house": lambda **options: Home(HomeParameters(R_o=4.0, noise=0.2, swing=2.0, colder=5.0), **options),
    "power": PowerSystem,
    "two areas": lambda **options: PowerSystem(TWO, scenario=[(3, (0.1, 0.0))], noise=0.03, **options),
    "own": lambda **options: OwnPlantEnv(read(EXAMPLES / "drag.py"), **options),
    "race": Race,
    "bumpy race": lambda **options: Race(RaceParameters(grip=6.0, gain=0.9, noise=0.05), **options),
}
#: … and these draw something in each episode, too.
DRAWN = {
    "random mass": RandomMass,
    "identified": lambda **options: RandomMass((0.5, 1.5), True, parameters=PendulumParameters(**ROUGH), **options),
}
#: The coupling of a network pushes either way.
SIGNED = ("coupling", "set_point", "limits")
every = pytest.mark.parametrize("make", (PLANTS | DRAWN).values(), ids=PLANTS | DRAWN)
pure = pytest.mark.parametrize("make", PLANTS.values(), ids=PLANTS)


def actions(env, steps, seed=0, beyond=1.5):
    """Some of them beyond the limits."""
    high = env.action_space.high
    return np.random.default_rng(seed).uniform(-beyond, beyond, (steps, len(high))) * high


def same(one, other):
    """Whether two answers of `step` are equal to the bit."""
    assert set(one[4]) == set(other[4])
    pairs = [*zip(one[:4], other[:4]), *((one[4][name], other[4][name]) for name in one[4])]
    return all(np.array_equal(a, b) for a, b in pairs)


# ---- environments


@pytest.mark.filterwarnings("ignore:.*(Box|not within the observation space|unbounded|infinity).*")
@every
def test_it_conforms_to_gymnasium(make):
    check_env(make(steps=10), skip_render_check=True)
    env = gym.wrappers.TimeLimit(make(steps=None), 2)
    env.reset(seed=0)
    assert [env.step(np.zeros(env.action_space.shape))[3] for _ in range(2)] == [False, True]


@every
def test_the_same_seed_gives_the_same_run(make):
    def run(seed):
        env = make(steps=None)
        env.reset(seed=seed)
        return [env.step(u) for u in actions(env, 20)]

    assert all(same(one, other) for one, other in zip(run(1), run(1)))
    assert not all(np.array_equal(one[0], other[0]) for one, other in zip(run(1), run(2)))


@every
def test_a_saved_state_goes_on_exactly_there(make):
    env, other = make(steps=12), make(steps=12)
    env.reset(seed=5)
    before, after = actions(env, 5), actions(env, 7, seed=1)
    for u in before:
        env.step(u)
    saved, generator = json.loads(json.dumps(env.state_dict())), env.np_random.bit_generator.state
    expected = [env.step(u) for u in after]
    assert [answer[3] for answer in expected] == [False] * 6 + [True]
    other.reset(seed=1)
    other.step(before[0])
    other.load_state_dict(saved)
    other.np_random.bit_generator.state = generator
    assert all(same(one, other.step(u)) for one, u in zip(expected, after))


@every
def test_episodes_begin_anew_and_end_after_their_steps(make):
    env = make(steps=3)
    first, answers = [], []
    for _ in range(2):
        first.append(env.reset(seed=0)[0])
        answers += [env.step(u) for u in actions(env, 3)]
    assert [answer[3] for answer in answers] == [False, False, True] * 2 and env.count == 3
    np.testing.assert_array_equal(*first)
    assert all(same(one, other) for one, other in zip(answers[:3], answers[3:]))


@every
def test_starts_are_those_given(make):
    env = make(steps=None)
    x = 0.1 * np.arange(1, env.parameters.n_states + 1)
    env.reset(seed=0, options={"x": x})
    np.testing.assert_array_equal(env.x.ravel(), x)
    for bad in (x[1:], [x], np.where(x == x[0], np.nan, x)):
        with pytest.raises(ValueError, match=rf"finite state of shape \({len(x)},\)"):
            env.reset(options={"x": bad})
        np.testing.assert_array_equal(env.x.ravel(), x)


@every
def test_actions_are_clipped_or_refused(make):
    env, clipped = make(steps=None), make(steps=None)
    env.reset(seed=0), clipped.reset(seed=0)
    low, high = env.action_space.low, env.action_space.high
    for u in actions(env, 6):
        mixed = u.copy()
        assert same(env.step(u), clipped.step(np.clip(mixed, low, high)))
        u[:] = np.nan  # what the caller does with its array afterwards does not matter
    for bad, message in ((np.append(high, 0.0), rf"shape \({len(high) + 1},\)"), ([], r"shape \(0,\)"),
                         (np.nan * high, "not finite"), (np.inf * high, "not finite")):  # fmt: skip
        before = env.state_dict()
        with pytest.raises(ValueError, match=message):
            env.step(bad)
        assert env.state_dict() == before


@every
def test_what_is_returned_is_not_the_plant_itself(make):
    env = make(steps=None)
    seen, info = env.reset(seed=0)
    for _ in range(2):
        before = env.x.copy()
        for part in [seen, *info.values()]:
            if isinstance(part, np.ndarray):
                part[:] = 9.0
        np.testing.assert_array_equal(env.x, before)
        seen, *_, info = env.step(0.1 * env.action_space.high)


# ---- pure functions


@pure
def test_they_are_for_many_states_at_once(make):
    plant, n, steps = make().parameters, 5, 4
    noise, again = plant.draw(np.random.default_rng(3), n, steps), plant.draw(3, n, steps)
    for part, other in zip(noise, again):
        assert part.shape[:2] == (steps, n) and np.isfinite(part).all()
        np.testing.assert_array_equal(part, other)
    assert any((part != other).any() for part, other in zip(noise, plant.draw(4, n, steps)))
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.5, 0.5, (n, plant.n_states))
    u = rng.uniform(plant.input_lower, plant.input_upper, (n, plant.n_inputs))
    kept, now = x.copy(), noise._make(part[1] for part in noise)
    y, (ahead, cost, ended) = plant.measure(x, now), plant.step(x, u, now)
    assert y.shape == x.shape == ahead.shape and cost.shape == ended.shape == (n,) and ended.dtype == bool
    y[:] = 9.0
    np.testing.assert_array_equal(x, kept)  # neither changes the states
    for i in range(n):  # each by itself is what it is among others
        alone = plant.step(x[i : i + 1], u[i : i + 1], noise._make(part[i : i + 1] for part in now))
        for one, other in zip(alone, (ahead, cost, ended)):
            np.testing.assert_allclose(one[0], other[i], rtol=1e-13, atol=1e-13)


@pure
def test_a_step_of_the_environment_is_one_of_the_plant(make):
    """With the same random numbers: the environment draws those of a step as `draw` does."""
    env, rng = make(steps=None), np.random.default_rng(0)
    env.parameters = plant = replace(env.parameters, **({"delay": 0} if env.parameters.delay else {}))
    env.reset(seed=0)
    for k in range(20):
        x = rng.uniform(-0.5, 0.5, plant.n_states)
        x[-1] *= 1.0 if k % 2 else 4.79  # a cart-pole's and a pendulum's velocity
        x = np.where(np.arange(x.size) % 5 == 4, 0.0, x) if isinstance(plant, PowerParameters) else x  # no load yet
        u, noise = rng.uniform(plant.input_lower, plant.input_upper), plant.draw(k, 1, 1)
        env.reset(options={"x": x})
        env.np_random = np.random.default_rng(k)
        _, reward, terminated, _, info = env.step(u)
        (ahead,), (cost,), (ended,) = plant.step(x[None], u[None], noise._make(part[0] for part in noise))
        np.testing.assert_allclose(env.x.ravel(), ahead, rtol=1e-13, atol=1e-14)
        assert -reward == info["cost"] == pytest.approx(cost, rel=1e-13) and terminated == ended
        if "measured" in info:
            shown = plant.measure(ahead[None], noise._make(part[0] for part in noise))[0]
            np.testing.assert_allclose(info["measured"], shown, atol=1e-13)


@pure
def test_limits_are_the_action_space_also_after_a_change(make):
    env = make()
    plant = env.parameters
    np.testing.assert_array_equal(env.action_space.high, plant.input_upper)
    np.testing.assert_array_equal(env.action_space.low, plant.input_lower)
    assert plant.n_inputs == len(plant.input_upper) and plant.delay >= 0
    name = next((name for name in ("max_torque", "max_force", "limit") if name in vars(plant)), None)
    if name:
        env.change(**{name: 0.5 * plant.input_upper if name == "limit" else 0.5 * plant.input_upper[0]})
        np.testing.assert_array_equal(env.action_space.high, 0.5 * plant.input_upper)
    with pytest.raises(TypeError):
        env.change(colour=1.0)


@every
def test_nan_and_the_like_are_no_parameters(make):
    """No parameter of any plant, nor one of its entries, may be nan, infinite, complex, or a string.

    Nor negative, but what has either sign.
    """
    plant = make().parameters
    values = {field.name: getattr(plant, field.name) for field in fields(plant)}
    names = [n for n, value in values.items() if isinstance(value[0] if isinstance(value, tuple) else value, float)]
    assert names
    for name in names:
        for bad in (np.nan, np.inf, *[-1.0] * (name not in SIGNED), 1j, "0.1", None):
            value = getattr(plant, name)
            wrong = (bad, *value[1:]) if isinstance(value, tuple) else bad
            with pytest.raises(ValueError, match=name):
                replace(plant, **{name: wrong})
            with pytest.raises(ValueError, match=name):
                make().change(**{name: wrong})


@every
def test_options_that_no_plant_knows_are_refused(make):
    env = make()
    for options in ({"X": env.x.ravel()}, {"x": env.x.ravel(), "start": 1}, {"theta": 0.0}):
        with pytest.raises(ValueError, match="reset knows no option '(X|start|theta)'; there is: 'x'"):
            env.reset(options=options)
    with pytest.raises(ValueError, match="options must be of the type dict"):
        env.reset(options=[1.0])
    for seed in (-1, 0.5, "0"):
        with pytest.raises(ValueError, match="seed must be"):
            env.reset(seed=seed)
    assert np.isfinite(env.reset(seed=0, options={})[0]).all()


@every
def test_imaginary_parts_are_not_dropped(make):
    env = make()
    env.reset(seed=0)
    before, m, n = env.x.copy(), len(env.action_space.high), env.parameters.n_states
    for bad in (np.zeros(m) + 1j, ["0.1"] * m, [None] * m, object()):
        with pytest.raises(ValueError, match="action (holds|is no array)"):
            env.step(bad)
    np.testing.assert_array_equal(env.x, before)
    for bad in (np.zeros(n) + 1j, ["0.1"] * n, [None] * n):
        with pytest.raises(ValueError, match="start (holds|is no array)"):
            env.reset(options={"x": bad})


@every
def test_a_state_of_another_plant_is_named_and_changes_nothing(make):
    env = make(steps=12)
    env.reset(seed=5)
    right = json.loads(json.dumps(env.state_dict()))
    flat = np.ravel(right["x"])
    x = [flat[:-1], np.append(flat, 0.0), flat[0], flat * np.nan, None, "x", flat.reshape(-1, 1, 1)]
    counts, late = [2.5, -1, None, "3", True], [3, "ab", [["a"]], [[np.nan] * env.action_space.shape[0]], [np.zeros(9)]]
    for key, values in {"x": x, "count": counts, "late": late}.items():
        for wrong in values:
            with pytest.raises(ValueError, match=f"a plant's {key}"):
                env.load_state_dict(right | {key: wrong})
            assert env.state_dict() == right
    for wrong in (None, [1], "state"):
        with pytest.raises(ValueError, match="a plant's state must be of the type dict"):
            env.load_state_dict(wrong)
