"""Scenario MPC against its single scenarios and an independent model; back-off against the noise's quantile."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs.cartpole import CartPole, CartPoleParameters
from mpcrl_course.envs.linear import START, A, B, LinearParameters
from mpcrl_course.mpc import MPC, shift
from mpcrl_course.policies.back_off import back_off, cartpole_back_off, linear_back_off
from mpcrl_course.policies.receding import Receding
from mpcrl_course.policies.scenario import Scenarios, push_scenarios
from mpcrl_course.problems.cartpole import cartpole_mpc, problem, residual
from mpcrl_course.problems.linear import linear_mpc

LINEAR = linear_mpc(horizon=5)
DISTURBANCES = [[-0.1, 0.0], [-0.05, 0.0], [0.0, 0.0]]
S = np.array([0.2, 0.3])


@pytest.mark.parametrize("shared", ["first", "all"])
def test_equal_scenarios_are_the_nominal_problem(shared):
    scenarios = Scenarios(LINEAR.problem, {"b": [[-0.03, 0.0]] * 3}, [0.2, 0.3, 0.5], shared)
    mpc = MPC(scenarios.problem)
    theta = LINEAR.parameters.pack(b=[-0.03, 0.0])
    nominal, ours = LINEAR.policy(theta, S), mpc.policy(mpc.parameters.initial(), scenarios.stack(S))
    assert mpc.solver == "daqp" and ours.value == pytest.approx(nominal.value, abs=1e-7)
    np.testing.assert_allclose(scenarios.first_input(ours), nominal.u0, atol=1e-6)


def test_the_first_input_is_shared_and_it_pays_to_react_later():
    values = {}
    for shared in ("first", "all"):
        scenarios = Scenarios(LINEAR.problem, {"b": DISTURBANCES}, shared=shared)
        mpc, check = MPC(scenarios.problem), MPC(scenarios.problem, "ipopt")
        theta = mpc.parameters.initial()
        one, other = (m.policy(theta, scenarios.stack(S)) for m in (mpc, check))
        assert one.value == pytest.approx(other.value, abs=1e-6)
        np.testing.assert_allclose(scenarios.first_input(one), scenarios.first_input(other), atol=1e-5)
        if shared == "first":
            assert np.ptp(one.u[0]) < 1e-8 and np.ptp(one.u[1]) > 1e-3
        values[shared] = one.value
    alone = np.mean([LINEAR.policy(LINEAR.parameters.pack(b=b), S).value for b in DISTURBANCES])
    assert alone < values["first"] - 1e-4 and values["first"] < values["all"] - 1e-4


def test_the_shared_input_minimises_the_mean_of_q():
    """min_u0 of the mean over the scenarios of Q_i(s, u0): the definition, by a scalar search."""
    scenarios, share = Scenarios(LINEAR.problem, {"b": DISTURBANCES}, [0.5, 0.3, 0.2]), [0.5, 0.3, 0.2]
    mpc = MPC(scenarios.problem)
    ours = mpc.policy(mpc.parameters.initial(), scenarios.stack(S))

    def mean(u):
        return sum(w * LINEAR.Q(LINEAR.parameters.pack(b=b), S, u).value for w, b in zip(share, DISTURBANCES))

    found = minimize(mean, [0.1], method="Nelder-Mead", bounds=[(-1.0, 1.0)], options={"xatol": 1e-9, "fatol": 1e-12})
    assert ours.value == pytest.approx(found.fun, abs=1e-7)
    np.testing.assert_allclose(scenarios.first_input(ours), found.x, atol=1e-4)


def test_the_cart_pole_with_three_carts_by_real_time_iteration():
    carts = Scenarios(problem(horizon=30), {"cart_mass": [0.8, 1.0, 1.2]}, residual=residual)
    mpc = MPC(carts.problem, "rti", residual=carts.residual)
    theta = mpc.parameters.initial()
    s = np.array([0.2, 0.5, 0.0, 0.2])
    plan = mpc.policy(theta, carts.stack(s))
    near = s + [0.02, 0.02, 0.0, -0.05]
    exact, ours = mpc.reference.policy(theta, carts.stack(near), warm_start=plan), plan
    for _ in range(15):
        ours = mpc.policy(theta, carts.stack(near), warm_start=ours)
    assert ours.value == pytest.approx(exact.value, abs=1e-5)
    np.testing.assert_allclose(carts.first_input(ours), carts.first_input(exact), atol=1e-4)
    for cart in (0.8, 1.2):
        env, guess = CartPole(CartPoleParameters(cart_mass=cart), steps=60), plan
        _, info = env.reset(options={"x": s})
        for _ in range(60):
            guess = mpc.policy(theta, carts.stack(info["x"]), warm_start=guess)
            info = env.step(carts.first_input(guess))[4]
            guess = shift(guess)
        assert abs(np.sin(0.5 * info["x"][1])) < 0.05


def test_back_off_is_the_quantile_and_keeps_the_bound():
    """Noise U(-0.1, 0) on x_1 pushes it below 0 in most steps; backed off by its quantile, seldom."""
    rng = np.random.default_rng(0)
    errors = np.stack([rng.uniform(-0.1, 0.0, 4000), np.zeros(4000)], axis=1)
    below, above = back_off(errors, 0.95)
    np.testing.assert_allclose(below, [0.095, 0.0], atol=1e-3)
    np.testing.assert_array_equal(above, 0.0)
    mpc = linear_mpc()
    right = mpc.parameters.pack(A=A, B=B.reshape(2, 1)[:, 0])
    share = {}
    for name, theta in (("nominal", right), ("backed off", linear_back_off(mpc, right, errors))):
        controller, plant = rowwise(lambda s, t=theta: mpc.policy(t, s).u0), LinearParameters()
        found = run(controller, plant, [START], plant.draw(1, 1, 500))
        share[name] = np.mean(found.x[20:-1, 0, 0] < 0.0)
    assert share["nominal"] > 0.3 and share["backed off"] < 0.08


def test_back_off_of_the_track():
    mpc = cartpole_mpc(horizon=10)
    theta = mpc.parameters.initial()
    errors = np.random.default_rng(0).normal(size=(5000, 4)) * [0.1, 0.0, 0.0, 0.0]
    shorter = mpc.parameters.unpack(cartpole_back_off(mpc, theta, errors, 0.9))
    assert shorter.track == pytest.approx(2.0 - 0.128, abs=0.01)
    with pytest.raises(ValueError, match="nothing of a track"):
        cartpole_back_off(mpc, theta, 100.0 * errors)


def test_bad_input():
    for arguments, message in (
        ({"varied": {"b": DISTURBANCES, "V0": [0.0]}}, "one value a scenario"),
        ({"varied": {"b": DISTURBANCES}, "probabilities": [0.5, 0.5, 0.5]}, "add up to 1"),
        ({"varied": {"b": DISTURBANCES}, "shared": "some"}, "'some'"),
    ):
        with pytest.raises(ValueError, match=message):
            Scenarios(LINEAR.problem, **arguments)
    with pytest.raises(KeyError, match="'mass'"):
        Scenarios(LINEAR.problem, {"mass": [1.0, 2.0]})
    for errors, level in (([[0.0]], 0.3), ([[np.nan]], 0.9), ([0.0], 0.9)):
        with pytest.raises(ValueError):
            back_off(errors, level)


def test_a_scale_that_a_parameter_makes_zero_or_different_in_the_scenarios_is_named():
    mpc = linear_mpc(horizon=2)
    scaled = replace(mpc.problem, input_scale=lambda p: 2.0 + p.V0)
    controller = Receding(MPC(scaled))
    assert np.isfinite(controller([[0.1, 0.2]])).all()
    for V0, said in ((-2.0, "0"), (-3.0, "-1")):
        controller.theta = mpc.parameters.pack(V0=V0)
        with pytest.raises(ValueError, match=rf"input_scale returns \[{said}.\], but inputs are multiplied by what is"):
            controller([[0.1, 0.2]])
    same = Scenarios(scaled, {"V0": [1.0, 1.0]}).problem
    assert same.input_scale(same.parameters.unpack(same.parameters.initial())) == 3.0
    with pytest.raises(ValueError, match="the first input is the same in all scenarios, but its scales are"):
        Scenarios(scaled, {"V0": [0.0, 1.0]})


def test_one_push_is_the_mpc_that_expects_it_and_two_keep_off_the_bound():
    """No step of twenty runs violates it under the two extremes; under their mean alone nearly each run does."""
    plant, starts = LinearParameters(), np.tile(START, (20, 1))
    noise, mpc = plant.draw(3, 20, 50), linear_mpc()
    theta = mpc.parameters.pack(A=A, B=B, b=[-0.05, 0.0])
    mean, alone = run(push_scenarios([-0.05]), plant, starts, noise), run(Receding(mpc, theta), plant, starts, noise)
    np.testing.assert_allclose(mean.u, alone.u, atol=1e-6)
    both = run(push_scenarios(), plant, starts, noise)
    assert (both.x[1:, :, 0] >= 0.0).all() and (mean.x[1:, :, 0] < 0.0).any(axis=0).mean() > 0.9
    assert both.cost.mean() < 0.2 * mean.cost.mean()
    with pytest.raises(ValueError, match="pushes has no entry"):
        push_scenarios([])
