"""Networks from a file: weights and forms, names that do not exist, and that those shipped do what the lecture says."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.dp.pendulum import FIXED_STARTS, evaluate
from mpcrl_course.envs.pendulum import NOMINAL, Pendulum, PendulumParameters, upright, violations
from mpcrl_course.envs.race import LOWER, UPPER, seen
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, pendulum_policy
from mpcrl_course.learners.trained import trained_agent, trained_driver, trained_policies
from mpcrl_course.policies.identifying import IdentifyingPolicy

KINDS = {"nominal", "randomised", "identified", "penalty 3", "penalty 300", "primal-dual"}


@pytest.fixture(scope="module")
def file():
    with places.data("agents_04.npz") as file:
        return dict(file)


def test_an_agent_has_the_weights_of_its_seed_also_in_its_targets(file):
    for seed in (0, 3):
        agent = trained_agent(file, seed=seed)
        for network, slow, name in (
            (agent.actor, agent.target_actor, "actor"),
            (agent.critic, agent.target_critic, "critic"),
        ):
            np.testing.assert_array_equal(network.theta, file[f"nominal {name}"][seed].astype(np.float32))
            np.testing.assert_array_equal(slow.theta, network.theta)
            assert slow.theta is not network.theta
        assert agent.actor_adam.count == 0
    assert np.abs(trained_agent(file, seed=1).actor.theta - agent.actor.theta).max() > 0.1


def test_where_no_critic_is_kept_there_is_a_fresh_one(file):
    one, other = (trained_agent(file, "randomised", seed) for seed in (0, 1))
    assert "randomised critic" not in file
    fresh = ActorCritic(3, [-2], [2], np.random.default_rng(1)).critic.theta
    np.testing.assert_array_equal(other.critic.theta, fresh)
    assert np.abs(one.critic.theta - fresh).max() > 0.1


def test_the_limit_scales_the_torque(file):
    s = np.array([np.cos(0.3), np.sin(0.3), 1.0])
    weak, strong = (trained_agent(file, max_torque=limit).policy(s) for limit in (1.0, 3.0))
    assert strong == pytest.approx(3.0 * weak, rel=1e-5) and abs(weak[0]) <= 1.0


def test_policies_of_all_kinds(file):
    policies, x = trained_policies(file, seed=2), np.array([[0.3, 1.0], [3.0, -1.0]])
    assert set(policies) == KINDS
    for kind, policy in policies.items():
        u = policy(x)
        assert u.shape == (2, 1) and np.abs(u).max() <= 2.0
        assert isinstance(policy, IdentifyingPolicy) == (kind == "identified")
        if kind != "identified":
            np.testing.assert_array_equal(u, pendulum_policy(trained_agent(file, kind, 2))(x))
    assert trained_agent(file, "identified").n_states == 4


def test_it_works_from_an_open_file_too(file):
    with places.data("agents_04.npz") as open_file:
        np.testing.assert_array_equal(trained_agent(open_file).actor.theta, trained_agent(file).actor.theta)


def test_unknown_names_are_named(file):
    with pytest.raises(KeyError, match="'nominl'; there are: nominal, randomised, identified"):
        trained_agent(file, "nominl")
    with pytest.raises(IndexError, match="seed 5 was not trained; there are 0 … 4"):
        trained_agent(file, seed=5)


def test_an_agent_goes_on_learning(file):
    agent = trained_agent(file)
    before = agent.actor.theta.copy()
    DDPG(Pendulum(), np.random.default_rng(0), agent, warm_up=20, batch=16).run(40, progress=False)
    assert 0.0 < np.abs(agent.actor.theta - before).max() < 0.1 and agent.actor_adam.count == 20


def test_the_shipped_networks_swing_up():
    """All five nominal seeds within 10 % of value iteration (156.7) on the fixed starts, in half precision."""
    with places.data("agents_04.npz") as file:
        costs = [evaluate(pendulum_policy(trained_agent(file, seed=seed))).mean() for seed in range(5)]
    assert max(costs) <= 1.1 * 156.7


def test_every_kind_costs_what_the_lecture_shows(file):
    """Seed 0 again: versus_04.npz holds cost, upright and share of steps beyond 6 rad/s of each run (make_04.py)."""
    with places.data("versus_04.npz") as shipped:
        quiet, limit, mass, masses = (shipped[name] for name in ("quiet", "limit", "mass", "masses"))
    policies, starts = trained_policies(file), np.random.default_rng([4, 0]).uniform([-np.pi, -1], [np.pi, 1], (5, 2))
    rows = [("nominal", 1.0, quiet[0, 1])]
    for i, kind in enumerate(("nominal", "penalty 3", "penalty 300", "primal-dual")):
        rows += [(kind, 1.0, limit[0, 0, 3 + i])]
    for i, kind in enumerate(("nominal", "randomised", "identified")):
        rows += [(kind, masses[m], mass[0, m, 3 + i]) for m in (0, 7)]
    assert {kind for kind, *_ in rows} == KINDS
    for kind, m, expected in rows:
        found = run(policies[kind], PendulumParameters(mass=m), starts, NOMINAL.draw(0, 5, 200))
        # numbers are kept, and networks calculate, in single precision
        np.testing.assert_allclose(found.cost.sum(0), expected[0, :5], rtol=1e-4, err_msg=f"{kind}, {m} kg")
        np.testing.assert_array_equal(upright(found.x), expected[1, :5])
        np.testing.assert_allclose(violations(found.x, 6.0), expected[2, :5], atol=1e-6)


@pytest.mark.parametrize("mass", [0.7, 1.3])
def test_the_randomised_and_the_identifying_network_swing_up_at_both_ends_of_their_range(file, mass):
    starts, noise = FIXED_STARTS[:20], NOMINAL.draw(0, 20, 200)
    for kind in ("randomised", "identified"):
        policy = trained_policies(file)[kind]
        assert upright(run(policy, PendulumParameters(mass=mass), starts, noise).x).mean() >= 0.95


def test_a_driver_of_the_racing_car_scales_what_its_network_says():
    with places.data("racing_10.npz") as file:
        driver, theta = trained_driver(file, "raw, priced"), file["driver raw, priced actor"]
        with pytest.raises(KeyError, match="no driver is called 'rw'"):
            trained_driver(file, "rw")
    agent = ActorCritic(9, [-1.0, -1.0], [1.0, 1.0], np.random.default_rng(3))
    agent.actor.theta[:] = theta
    y = np.random.default_rng(0).uniform([0.0, -2.0, -0.3, 8.0], [200.0, 2.0, 0.3, 12.0], (40, 4))
    for x, (acceleration, angle) in zip(y, driver(y), strict=True):
        a, delta = agent.policy(seen(x[None]))[0]
        assert acceleration == pytest.approx(a * (UPPER[0] if a > 0 else -LOWER[0]), abs=1e-4)
        assert angle == pytest.approx(delta * UPPER[1], abs=1e-4)  # single precision
    assert (driver(y)[:, 0] > 0).any() and (driver(y)[:, 0] < 0).any()
