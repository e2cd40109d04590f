"""Plant and MPC as one environment: a constant action is that MPC, what is asked for, and what it is worth."""

import json
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, Race
from mpcrl_course.policies.as_environment import WithMPC, asked_speed, speed_ahead
from mpcrl_course.policies.hierarchical import Hierarchical
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.race import race_mpc

START = [0.0, 0.0, 0.0, 5.0]
SHORT = race_mpc(horizon=15)


def environment(**options):
    return WithMPC(Race(**options), SHORT, asked_speed, [-1.0], [1.0])


def lap(phi, steps=460):
    return run(Hierarchical(SHORT, phi), CAR, [START], CAR.draw(0, 1, steps))


def outside(found):
    return int((np.abs(found.x[:, 0, 1]) > race.WIDTH).sum())


def test_a_constant_action_is_the_mpc_that_is_asked_for_it():
    env = environment()
    loop = run(Receding(SHORT, SHORT.parameters.pack(SHORT.parameters.initial(), v_ref=9.0)), CAR, [START],
               CAR.draw(0, 1, 40))  # fmt: skip
    env.reset(options={"x": START})
    for k in range(40):
        seen, reward, *_, info = env.step([1.0 / 7.0])
        np.testing.assert_allclose(env.x, loop.x[k + 1, 0], atol=1e-6)
        np.testing.assert_allclose(seen, race.seen(env.x))
        assert reward == pytest.approx(-loop.cost[k, 0], abs=1e-6) and info["status"]


def test_it_conforms_and_goes_on_exactly_from_what_it_saved():
    env, other = environment(steps=10), environment(steps=10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Box observation space.*")
        check_env(env, skip_render_check=True)
    env.reset(seed=1)
    for a in (-0.4, 0.7, 0.1):
        env.step([a])
    other.load_state_dict(json.loads(json.dumps(env.state_dict())))
    for a in (-0.1, 30.0):  # the second is clipped
        np.testing.assert_array_equal(env.step([a])[0], other.step([a])[0])
    with pytest.raises(ValueError, match="a plan has shape"):
        other.load_state_dict(env.state_dict() | {"plan": [[[0.0] * 4], [[0.0]]]})
    with pytest.raises(ValueError, match="lower must be below upper"):
        WithMPC(Race(), SHORT, asked_speed, [0.5], [0.5])


def test_what_is_asked_for_by_hand():
    s = np.array([47.0, 0.3, 0.1, 6.0])
    assert asked_speed([-1.0]) == {"v_ref": 5.0} and asked_speed([1.0]) == {"v_ref": 12.0}
    sharpest = np.abs(race.curvature(47.0 + np.linspace(0.0, 10.0, 500))).max()
    assert speed_ahead(0.8, 10.0)(s)["v_ref"] == pytest.approx(0.8 * np.sqrt(8.0 / sharpest), rel=1e-3)
    straight = s - [27.0, 0.0, 0.0, 0.0]
    assert speed_ahead(2.0, 3.0)(straight) == {"v_ref": 12.0}


def test_a_short_sighted_mpc_needs_to_be_told_how_fast():
    """Asked for 9 m/s it needs 22.4 s; for 12 it crashes; by the bend ahead, with a tenth in reserve, 20.5 s."""
    slow, full, told = lap(lambda s: {"v_ref": 9.0}), lap(lambda s: {"v_ref": 12.0}), lap(speed_ahead(0.9, 10.0))
    assert race.lap_times(slow.x[:, 0, 0])[0] == pytest.approx(22.4, abs=0.1) and outside(slow) == 0
    assert full.ended[0] < 460
    assert race.lap_times(told.x[:, 0, 0])[0] == pytest.approx(20.5, abs=0.15) and outside(told) == 0
