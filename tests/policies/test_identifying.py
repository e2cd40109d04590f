"""The policy that identifies: it sees what it was trained on, and forgets when it should."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters, dynamics
from mpcrl_course.envs.random_pendulum import RandomMass
from mpcrl_course.policies.identifying import IdentifyingPolicy


def test_the_policy_acts_as_it_was_trained_and_identifies_each_pendulum():
    """Deployed on the same plant it must see what the environment shows in training, step by step."""
    env = RandomMass(masses=(1.5, 1.5), identify=True)
    seen, start = [], [2.0, 0.5]

    def actor(s):
        return 2.0 * np.sin(3.0 * s[..., 2:3]) * s[..., 3:4]

    policy = IdentifyingPolicy(lambda s: (seen.append(s.copy()), actor(s))[1])
    found = run(policy, PendulumParameters(mass=1.5), [start, [1.0, 0.0]], NOMINAL.draw(0, 2, 40))
    s, _ = env.reset(seed=0, options={"x": start})
    for k in range(40):
        np.testing.assert_allclose(seen[k][0], s, atol=1e-9)
        s, *_, info = env.step(np.clip(actor(s), -2.0, 2.0))
        assert found.u[k, 0, 0] == pytest.approx(info["torque"], abs=1e-9)
    np.testing.assert_allclose(policy.estimate(), [1.5, 1.5], atol=0.1)


def test_a_reset_and_another_number_of_pendulums_forget():
    policy = IdentifyingPolicy(lambda s: 1.0 + 0.0 * s[:, :1])
    plant, x = PendulumParameters(mass=2.0), np.array([[1.0, 0.0], [0.5, 1.0]])
    for _ in range(5):
        x = dynamics(x, policy(x), plant)
    assert (policy.estimate() > 1.3).all()
    policy(x[:1])
    np.testing.assert_array_equal(policy.estimate(), [1.0])
    x = dynamics(x[:1], policy(x[:1]), plant)
    policy.reset()
    assert policy.estimate is None
    assert policy(x).shape == (1, 1) and policy.estimate() == 1.0
    for bad, why in ((np.zeros(3), r"shape \(n, 2\)"), ([[np.nan, 0.0]], "plant 0 is not finite")):
        with pytest.raises(ValueError, match=why):
            policy(bad)


def test_angles_may_be_wrapped_and_torques_come_in_any_shape():
    one, other = (IdentifyingPolicy(lambda s: np.sin(s[:, 2])) for _ in range(2))
    x = np.array([[3.1, 1.0]])
    for _ in range(3):
        u = one(x)
        assert u.shape == (1, 1)
        np.testing.assert_allclose(other(x - [[2 * np.pi, 0.0]]), u, atol=1e-9)
        x = dynamics(x, u)
    assert x[0, 0] > np.pi
