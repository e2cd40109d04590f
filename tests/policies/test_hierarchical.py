"""phi before the solve: constant phi is the plain MPC, what is set is what is solved, its gradient; the environment."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import LADEN, WEIGHTS, stage_cost
from mpcrl_course.learners import ActorCritic
from mpcrl_course.policies.comparison import CommonGuess, hanging_starts
from mpcrl_course.policies.hierarchical import (
    N_PHI,
    Hierarchical,
    TunedCartPole,
    actor_of,
    constant_weight,
    gate,
    jumping,
    phi_of,
    standing,
    weights_of,
)
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc

MPC = cartpole_mpc(horizon=15)
THETA = MPC.parameters.initial()
STARTS = hanging_starts(2)
GUESS = CommonGuess(MPC)


def forces(controller, steps=25):
    return run(controller, LADEN, STARTS, LADEN.draw(0, 2, steps)).u


def test_a_constant_phi_is_the_plain_mpc():
    plain = forces(Receding(MPC, first=GUESS))
    same = [lambda s: {}, phi_of(np.zeros(N_PHI)), constant_weight(1.0), gate(1.0), jumping({}, {"target": 0.0})]
    for phi in same:
        np.testing.assert_allclose(forces(Hierarchical(MPC, phi, first=GUESS)), plain, atol=1e-9)
    theta = MPC.parameters.pack(target=0.3, weights=2.0 * WEIGHTS)
    found = Hierarchical(MPC, lambda s: {"target": 0.3, "weights": 2.0 * WEIGHTS}, first=GUESS)
    np.testing.assert_allclose(forces(found), forces(Receding(MPC, theta, first=GUESS)), atol=1e-9)


def test_each_plant_has_its_own_phi_and_the_rest_of_theta_stays():
    base = MPC.parameters.pack(mass=0.5)
    policy = Hierarchical(MPC, lambda s: {"target": s[0]}, base, first=GUESS)
    policy(STARTS)
    for s, plan in zip(STARTS, policy.plans, strict=True):
        np.testing.assert_array_equal(plan.theta, MPC.parameters.pack(base, target=s[0]))
    assert MPC.parameters.unpack(policy.base).target == 0.0


def test_the_gate_opens_when_the_pole_stands():
    hanging, upright = np.array([0.0, np.pi, 0.0, 0.0]), np.array([0.0, 2.0 * np.pi, 0.0, 0.0])
    assert standing(hanging) < 1e-12 and standing(upright) > 0.96 and standing([0.0, np.arccos(0.9), 0.0, 0.0]) == 0.5
    np.testing.assert_allclose(gate()(hanging)["weights"], WEIGHTS, rtol=1e-9)
    np.testing.assert_allclose(gate()(upright)["weights"], WEIGHTS * [1 + 9 * standing(upright), 1, 1, 1, 1])
    np.testing.assert_allclose(constant_weight()(hanging)["weights"], WEIGHTS * [10, 1, 1, 1, 1])


def test_phi_keeps_the_mirror_image_and_the_true_track():
    rng = np.random.default_rng(0)
    for z in rng.normal(0.0, 2.0, (20, N_PHI)):
        phi, s = phi_of(z), rng.normal(0.0, 2.0, 4)
        here, mirrored = phi(s), phi(-s)
        assert here["target"] == -mirrored["target"] and 0.4 <= here["track"] + 1e-12 <= 2.0 + 1e-12
        np.testing.assert_array_equal(here["weights"], mirrored["weights"])
    assert phi_of(np.eye(N_PHI)[8])(s)["track"] == pytest.approx(0.4)


def test_the_derivatives_of_value_and_input_through_phi_are_those_of_finite_differences():
    """dV/dz = dV/dphi dphi/dz, and so for the input: the solver's part is that of a problem with a fixed phi."""
    z, s, h = np.random.default_rng(1).normal(0.0, 0.1, N_PHI), np.array([0.3, 0.4, 0.1, -0.2]), 1e-5
    z[8:] = 0.2, 0.1
    exact = MPC.reference

    def theta(z):
        return MPC.parameters.pack(THETA, **phi_of(z)(s))

    plan = exact.policy(theta(z), s)
    for d in np.eye(N_PHI):
        slope = (theta(z + h * d) - theta(z - h * d)) / (2 * h)
        one, other = (exact.policy(theta(z + sign * h * d), s, warm_start=plan) for sign in (1, -1))
        assert plan.gradient() @ slope == pytest.approx((one.value - other.value) / (2 * h), rel=1e-4, abs=1e-6)
        by_differences = (one.u0 - other.u0) / (2 * h)
        np.testing.assert_allclose(plan.policy_jacobian() @ slope, by_differences, rtol=1e-3, atol=1e-5)


def plan_changes(policy, steps=50):
    """Return by how much the plan of each step differs from that of the step before, one stage further."""
    plans = []

    def watched(y):
        u = policy(y)
        plans.append(policy.plans[0].u[:-1, 0].copy())
        return u

    run(watched, LADEN, [[0.3, 0.1, 0.0, 0.0]], LADEN.draw(0, 1, steps))
    return [np.abs(new[:-1] - old[1:]).mean() for old, new in zip(plans[2:-1], plans[3:], strict=True)]


def test_where_phi_jumps_the_plan_before_is_a_poor_guess():
    phi = jumping({"target": -1.0}, {"target": 1.0})
    jumps, calm = (plan_changes(Hierarchical(MPC, each, first=GUESS)) for each in (phi, lambda s: {}))
    assert np.median(jumps[10:]) > 3.0 * np.median(calm[10:])
    targets = [phi(s)["target"] for s in hanging_starts(40)]
    assert set(targets) == {-1.0, 1.0} and 10 < targets.count(1.0) < 30


def environment(**options):
    return TunedCartPole(MPC, weights_of, [-1.0, -1.0], [1.0, 1.0], first=GUESS, starts=STARTS, **options)


def test_a_constant_action_is_the_constant_phi_and_the_price_is_paid_by_what_stands():
    env, a = environment(steps=25, price=1.0), np.array([0.5, -0.3])
    loop = run(Hierarchical(MPC, lambda s: weights_of(a), first=GUESS), LADEN, STARTS[:1], LADEN.draw(0, 1, 25))
    env.reset(options={"x": STARTS[0]})
    for k in range(25):
        seen, reward, terminated, truncated, info = env.step(a)
        np.testing.assert_allclose(info["x"], loop.x[k + 1, 0], atol=1e-5)
        paid = loop.cost[k, 0] + abs(info["x"][0]) * standing(info["x"])
        assert -reward == info["cost"] == pytest.approx(paid, abs=1e-5)
    assert truncated and not terminated
    stands = np.array([0.4, 0.01, 0.0, 0.0])
    env.reset(options={"x": stands})
    reward, info = env.step([0.0, 0.0])[1::3]
    assert -reward > stage_cost(stands, np.array([info["force"]])) + 0.38


def test_it_is_an_environment_and_goes_on_exactly_from_what_it_saved():
    env, other = environment(), environment()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Box observation space.*")  # speeds have no bounds
        check_env(env, skip_render_check=True)
    env.reset(seed=3)
    for _ in range(4):
        env.step([0.2, 0.2])
    other.load_state_dict(env.state_dict())
    for a in ([1.0, 0.0], [9.0, 0.0]):  # the second is clipped
        one, two = env.step(a), other.step(a)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1] == two[1]
    assert isinstance(env, gymnasium.Env) and {tuple(env.reset()[1]["x"]) for _ in range(20)} == set(map(tuple, STARTS))
    env.change(mass=0.3, max_force=9.0)
    np.testing.assert_array_equal(env.action_space.high, [1.0, 1.0])
    with pytest.raises(ValueError, match="a plan has shape"):
        other.load_state_dict({**env.state_dict(), "plan": [[[0.0] * 4], [[0.0]]]})


def test_an_actor_is_a_phi_of_the_observation():
    agent = ActorCritic(5, [-1.0, -1.0], [1.0, 1.0], np.random.default_rng(0), width=8)
    s = np.array([0.3, 2.0, -0.1, 0.4])
    a = agent.policy(np.array([0.3, np.cos(2.0), np.sin(2.0), -0.1, 0.4]))
    np.testing.assert_allclose(actor_of(agent)(s)["weights"], WEIGHTS * [10 ** a[0], 1, 1, 1, 10 ** a[1]])
    for low, high in (([0.0], [0.0]), ([0.0, 1.0], [1.0])):
        with pytest.raises(ValueError, match="lower must be below upper"):
            TunedCartPole(MPC, weights_of, low, high)
