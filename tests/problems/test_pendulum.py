"""The pendulum's MPC: LQR near every upright, converged plans, what it is told, delay, wrapped angles, failures."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from mpcrl_course.closed_loop import run
from mpcrl_course.dp.pendulum import FIXED_STARTS
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters, dynamics, upright, wrap
from mpcrl_course.mpc import SolverError
from mpcrl_course.policies.receding import Receding, beside, first_plan
from mpcrl_course.problems.pendulum import SPEED_WEIGHT, pendulum_mpc, terminal_factor, with_model

OTHER = PendulumParameters(mass=1.4, length=0.9, gravity=9.81, friction=0.2, max_torque=3.0, delay=2)
TURN = 2.0 * np.pi


@pytest.fixture(scope="module")
def mpc():
    return pendulum_mpc()


@pytest.fixture(scope="module")
def theta(mpc):
    return mpc.parameters.initial()


def slopes(p):
    """Return A and B of the linearised pendulum, by hand."""
    inertia = p.mass * p.length**2 / 3.0
    a, b, d = 0.05 * 1.5 * p.gravity / p.length, 0.05 / inertia, 1.0 - 0.05 * p.friction / inertia
    return np.array([[1.0 + 0.05 * a, 0.05 * d], [a, d]]), np.array([[0.05 * b], [b]])


def lqr(p):
    A, B = slopes(p)
    P = solve_discrete_are(A, B, np.diag([1.0, 0.1]), [[0.001]])
    return P, np.linalg.solve(0.001 + B.T @ P @ B, B.T @ P @ A)


# ---- the problem


@pytest.mark.parametrize("model", [NOMINAL, OTHER], ids=["nominal", "other"])
def test_the_terminal_cost_is_the_riccati_matrix(model):
    F = terminal_factor(model)
    np.testing.assert_allclose(F @ F.T, lqr(model)[0], rtol=1e-9)
    assert F[0, 1] == 0.0


@pytest.mark.parametrize("horizon", [5, 50])
@pytest.mark.parametrize("turns", [0, 1, -1, 2])
def test_near_every_upright_it_is_the_lqr_whatever_the_horizon(horizon, turns):
    """The terminal cost is the LQR's value, also one turn further: the plan's length does not matter."""
    mpc, K = pendulum_mpc(horizon=horizon), lqr(NOMINAL)[1]
    for d in (np.array([1e-3, -1.5e-3]), np.array([1e-3, 2e-3])):
        plan = mpc.reference.policy(mpc.parameters.initial(), [turns * TURN, 0.0] + d)
        np.testing.assert_allclose(2.0 * plan.u0, -K @ d, rtol=1e-5, atol=1e-8)
        assert plan.value == pytest.approx(d @ lqr(NOMINAL)[0] @ d, rel=1e-5)


def test_value_is_the_cost_of_the_plan_and_the_plan_obeys_the_model(mpc, theta):
    s = np.array([2.0, 1.0])
    plan = mpc.reference.policy(theta, s)
    q, v, u = plan.x[:-1, 0], plan.x[:-1, 1], 2.0 * plan.u[:, 0]
    (end, speed), P = plan.x[-1], lqr(NOMINAL)[0]
    y = np.array([np.sin(end), speed])
    cost = (4.0 * np.sin(0.5 * q) ** 2 + 0.1 * v**2 + 0.001 * u**2).sum()
    assert plan.value == pytest.approx(cost + y @ P @ y + P[0, 0] * (1.0 - np.cos(end)) ** 2, rel=1e-9)
    np.testing.assert_allclose(plan.x[1:], dynamics(plan.x[:-1], u[:, None]), atol=1e-8)
    np.testing.assert_allclose(plan.x[0], s)
    assert np.abs(u).max() <= 2.0 + 1e-7


def test_turns_do_not_matter(mpc, theta):
    s = np.array([2.9, 0.5])
    plan = first_plan(mpc, theta, s)
    for turns in (1, -3):
        other = first_plan(mpc, theta, s + [turns * TURN, 0.0])
        assert other.value == pytest.approx(plan.value, rel=1e-8)
        np.testing.assert_allclose(other.u, plan.u, atol=1e-5)


def test_the_first_plan_is_an_optimum_and_no_worse_than_a_cold_one(mpc, theta):
    worse = 0
    for s in FIXED_STARTS[:6]:
        plan, cold = first_plan(mpc, theta, s), mpc.reference.policy(theta, s)
        assert plan.residual < 1e-6 and plan.value <= cold.value + 1e-6
        worse += cold.value > plan.value + 1.0
    assert worse >= 1  # it is worth trying several guesses


def test_a_first_plan_that_is_not_found_says_so(mpc, theta, monkeypatch):
    found = mpc.reference.policy(theta, np.zeros(2))

    def fails(theta, s, warm_start=None):
        if warm_start is None:
            return found
        raise SolverError("infeasible", "no way", s, None, theta)

    monkeypatch.setattr(mpc.reference, "policy", fails)
    with pytest.raises(SolverError, match="no way, at state"):
        Receding(mpc)([[1.0, 0.0]])


def test_told_is_built_anew_with_that_model(mpc, theta):
    anew = pendulum_mpc(OTHER)
    np.testing.assert_array_equal(with_model(mpc, theta, OTHER), anew.parameters.initial())
    np.testing.assert_array_equal(with_model(mpc, with_model(mpc, theta, OTHER), NOMINAL), theta)
    limited = pendulum_mpc(max_speed=5.0)
    p = limited.parameters.unpack(with_model(limited, limited.parameters.pack(back_off=0.3), OTHER))
    assert (p.max_speed, p.back_off, p.mass) == (5.0, 0.3, 1.4)  # the rest is kept


# ---- real-time iteration


def test_iterations_converge_to_the_plan_of_ipopt(mpc, theta):
    s = np.array([1.2, 0.5])
    guess, near, errors = first_plan(mpc, theta, s), s + [0.05, -0.1], []
    exact = mpc.reference.policy(theta, near, warm_start=guess)
    for _ in range(22):  # Gauss-Newton: linear convergence, here by more than half an iteration
        guess = mpc.policy(theta, near, warm_start=guess)
        errors.append(np.abs(guess.u - exact.u).max())
    assert guess.status == "rti" and errors[-1] < 1e-6 < errors[0]
    assert guess.value == pytest.approx(exact.value, rel=1e-9)


@pytest.mark.parametrize("plant", [NOMINAL, PendulumParameters(mass=1.1)], ids=["model", "heavier"])
def test_one_iteration_a_step_costs_what_converged_plans_cost(plant):
    starts, noise, cost = FIXED_STARTS[[0, 4]], NOMINAL.draw(0, 2, 100), {}
    for solver in ("rti", "ipopt"):
        controller = Receding(pendulum_mpc(solver=solver))
        found = run(controller, plant, starts, noise)
        assert upright(found.x).all()
        cost[solver] = found.cost.sum(0)
    np.testing.assert_allclose(cost["rti"], cost["ipopt"], rtol=0.01)


# ---- the controller and its memory


def test_it_swings_up_and_remembers_how(mpc):
    controller = Receding(mpc)
    found = run(controller, NOMINAL, FIXED_STARTS[:4], NOMINAL.draw(0, 4, 150))
    assert upright(found.x).all() and np.abs(found.u).max() <= 2.0 + 1e-9
    assert (found.status[0] == "Solve_Succeeded").all() and set(found.status[1:].ravel()) <= {"rti", "line search"}
    assert [len(seconds) for seconds in controller.seconds] == [150] * 4
    np.testing.assert_allclose([plan.x[0] for plan in controller.plans], found.x[-2])


def test_a_told_delay_is_the_undelayed_loop_later(mpc):
    """Without noise the prediction is exact: after `delay` free steps the loops are the same."""
    starts, delay = FIXED_STARTS[:3], 3
    plant = replace(NOMINAL, delay=delay)
    late = run(Receding(mpc, delay=delay), plant, starts, NOMINAL.draw(0, 3, 80))
    free = starts
    for _ in range(delay):
        free = dynamics(free, np.zeros((3, 1)))
    np.testing.assert_allclose(late.x[delay], free, atol=1e-12)
    assert not late.u[:delay].any()
    prompt = run(Receding(mpc), NOMINAL, free, NOMINAL.draw(0, 3, 80 - delay))
    np.testing.assert_allclose(late.x[delay:], prompt.x, atol=1e-9)
    np.testing.assert_allclose(late.u[delay:], prompt.u, atol=1e-9)
    unaware = run(Receding(mpc), plant, starts, NOMINAL.draw(0, 3, 80))
    assert (unaware.cost[delay:].sum(0) > prompt.cost.sum(0)).all()


def test_wrapped_angles_make_no_difference(mpc):
    """From hanging down it swings through the jump at pi and up at 2 pi."""
    starts, noise = np.array([[3.0, 0.5], [2.5, 0.0], [-2.0, 1.0]]), NOMINAL.draw(0, 3, 100)
    inner = Receding(mpc)

    class Wrapped:
        reset, status = staticmethod(inner.reset), property(lambda self: inner.status)

        def __call__(self, x):
            return inner(np.stack([wrap(x[:, 0]), x[:, 1]], axis=-1))

    plain = run(Receding(mpc), NOMINAL, starts, noise)
    jumps = np.abs(np.diff(wrap(plain.x[:, :, 0]), axis=0)).max(axis=0) > np.pi
    assert jumps.sum() >= 2
    other = run(Wrapped(), NOMINAL, starts, noise)
    np.testing.assert_allclose(other.x, plain.x, atol=1e-8)
    assert not (other.status == "failed").any()


def test_a_guess_is_moved_by_whole_turns_only(mpc, theta):
    plan = mpc.policy(theta, [0.3, 0.1])
    moved = beside(plan, np.array([2 * TURN + 1.0, 0.0]), (0,))
    np.testing.assert_allclose(moved.x - plan.x, np.tile([2 * TURN, 0.0], (len(plan.x), 1)), atol=1e-12)
    np.testing.assert_array_equal(beside(plan, np.array([3.0, 0.0]), (0,)).x, plan.x)


def test_where_a_solve_fails_the_plan_goes_on(mpc, monkeypatch):
    controller = Receding(mpc)
    x = np.array([[2.0, 0.0], [0.2, 0.1]])
    controller(x)
    plans = list(controller.plans)
    assert mpc.reference.solver == "ipopt"  # made before policy is replaced

    def fails(theta, s, warm_start=None):
        raise SolverError("not converged", "on purpose", s, None, theta)

    monkeypatch.setattr(mpc, "policy", fails)
    for k in range(1, 4):
        torques = controller(x + 0.01 * k)
        np.testing.assert_allclose(torques, [2.0 * plan.u[k] for plan in plans])
        assert controller.status == ["failed"] * 2
    monkeypatch.undo()
    controller(x)
    assert "failed" not in controller.status


def test_another_number_of_states_and_a_reset_start_anew(mpc):
    fresh = Receding(mpc)([[2.0, 0.3]])
    controller = Receding(mpc)
    for _ in range(3):
        controller([[0.5, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(controller([2.0, 0.3]), fresh)  # one state, without brackets
    assert controller.status == ["Solve_Succeeded"] and len(controller.plans) == 1
    controller([2.0, 0.3])
    controller.reset()
    np.testing.assert_allclose(controller([[2.0, 0.3]]), fresh)


def test_what_it_is_told_on_the_way_it_uses_from_then_on(mpc):
    controller, plant = Receding(mpc), PendulumParameters(mass=1.3, max_torque=3.0, delay=2)
    x = np.array([[0.3, 0.0]])
    sent = [controller(x)[0, 0] for _ in range(5)]
    controller.theta, controller.delay = with_model(mpc, controller.theta, plant), plant.delay
    for _ in range(60):  # what it sent before is still on its way
        sent.append(controller(x)[0, 0])
        assert controller.status != ["failed"]
        x = dynamics(x, np.array([[sent[-3]]]), plant)
    assert np.abs(x).max() < 0.01


def test_a_speed_limit_is_kept_by_the_plan_and_slack_is_taken_only_where_it_must():
    mpc = pendulum_mpc(max_speed=5.5)
    theta = mpc.parameters.pack(back_off=0.25)
    plan = first_plan(mpc, theta, [3.0, 0.0])
    assert np.abs(plan.x[:, 1]).max() == pytest.approx(5.25, abs=1e-5)  # reached, not crossed
    assert plan.flat_slack.max() < 1e-6 and max(plan.lam_ub["speed"].max(), plan.lam_lb["speed"].max()) < SPEED_WEIGHT
    assert np.abs(first_plan(mpc, mpc.parameters.pack(max_speed=99.0), [3.0, 0.0]).x[:, 1]).max() > 5.3  # it would
    too_fast = first_plan(mpc, theta, [2.0, 7.0])
    v = np.abs(too_fast.x[1:, 1])
    np.testing.assert_allclose(too_fast.slack["speed"][:, 0], np.maximum(v - 5.25, 0.0), atol=1e-5)
    assert v[0] > 5.25
    found = run(Receding(mpc), NOMINAL, [[2.5, 0.0], [-3.0, -0.5]], NOMINAL.draw(0, 2, 120))
    assert np.abs(found.x[1:, :, 1]).max() <= 5.5 + 1e-4 and upright(found.x).all()


def test_a_limit_that_asks_for_another_swing_is_kept_only_if_its_price_is_high():
    mpc, excess = pendulum_mpc(max_speed=5.4, horizon=80), {}
    for price in (SPEED_WEIGHT, 5000.0):
        controller = Receding(mpc, mpc.parameters.pack(speed_weight=price))
        found = run(controller, NOMINAL, [[2.5, 0.0]], NOMINAL.draw(0, 1, 60))
        excess[price] = np.abs(found.x[1:, 0, 1]).max() - 5.4
    assert 0.03 < excess[SPEED_WEIGHT] < 0.1 and excess[5000.0] < 1e-6


def test_bad_states_are_named(mpc):
    controller = Receding(mpc)
    for x, message in (([1.0, 2.0, 3.0], r"shape \(n, 2\), not \(1, 3\)"), (np.zeros((1, 2, 2)), "not \\(1, 2, 2\\)"),
                       ([[0.0, 0.0], [np.nan, 1.0]], "plant 1 is not finite")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            controller(x)
    assert not controller.plans
    with pytest.raises(ValueError, match="theta"):
        Receding(mpc, theta=np.zeros(3))
