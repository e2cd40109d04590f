"""The cart-pole's MPC in closed loop: swing-up, cost against converged plans, a heavier cart and its cures."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs import cartpole
from mpcrl_course.envs.cartpole import CartPoleParameters, random_start, upright
from mpcrl_course.mpc import SolverError, riccati
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.problems.cartpole import cartpole_mpc, terminal_factor, with_model

MODEL = CartPoleParameters()
STARTS = [random_start(np.random.default_rng(i)) for i in range(4)]


@pytest.fixture(scope="module")
def mpc():
    return cartpole_mpc(MODEL)


@pytest.fixture(scope="module")
def theta(mpc):
    return mpc.parameters.initial()


FIRST = {}


def known_first_plan(mpc, theta, s):
    """Solve by ipopt once for all runs of one problem from one start, whatever the plant, the line search, the rest."""
    force = mpc.problem.input_upper  # all that is no parameter
    key = (np.asarray(force).tobytes(), theta.tobytes(), np.asarray(s).tobytes())
    if key not in FIRST:
        FIRST[key] = first_plan(mpc, theta, s)
    return FIRST[key]


def runs(mpc, theta, plant, starts=STARTS, steps=200):
    """One run after the other, so that one that crashes asks for no more decisions; each with its CPU seconds."""
    found = []
    for i, start in enumerate(starts):
        controller = Receding(mpc, theta, first=known_first_plan)
        found.append((run(controller, plant, [start], plant.draw(i, 1, steps)), controller.seconds[0]))
    return found


def swung_up(found):
    return [bool(upright(one.x)[0]) and one.ended[0] == len(one.cost) for one, _ in found]


def test_it_swings_up_at_the_cost_of_converged_plans(mpc, theta):
    ours, exact = (runs(m, theta, MODEL, STARTS[:2], steps=100) for m in (mpc, mpc.reference))
    assert all(swung_up(ours + exact))
    ratio = sum(one.cost.sum() for one, _ in ours) / sum(one.cost.sum() for one, _ in exact)
    assert ratio == pytest.approx(1.0, abs=0.01)
    assert set(exact[0][0].status.ravel()) == {"Solve_Succeeded"}
    for one, _ in ours:  # one iteration a decision, once it has begun
        assert set(one.status[1:].ravel()) == {"rti"}


CHANGES = {
    "noise": {"process_noise": 0.5, "measurement_noise": 0.005},
    "heavy pole": {"mass": 0.24},
    "light pole": {"mass": 0.16},
    "light cart": {"cart_mass": 0.8},
    "heavy cart": {"cart_mass": 1.2},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_swings_up_with_noise_and_other_masses(mpc, theta, change):
    plant = replace(MODEL, **change)
    found = runs(mpc, theta, plant)
    assert all(swung_up(found))
    assert all(np.isfinite(one.x).all() and np.abs(one.u).max() <= 15.0 for one, _ in found)
    assert not any((one.status == "failed").any() for one, _ in found)


def test_a_heavy_cart_runs_away_from_plain_iteration_and_three_things_cure_it():
    model = CartPoleParameters(max_force=10.0)
    careful, plain = cartpole_mpc(model), cartpole_mpc(model, line_search=False, fallback=False)
    theta, plant = careful.parameters.initial(), replace(model, cart_mass=1.2)
    rng = np.random.default_rng(1)
    starts = [random_start(rng) for _ in range(3)]
    crashes = runs(plain, theta, plant, starts)
    assert not any(swung_up(crashes))
    for one, seconds in crashes:
        assert one.ended[0] < 200 and abs(one.x[-1, 0, 0]) > cartpole.TRACK_END
        assert len(seconds) == one.ended[0] + 1 and one.cost[one.ended[0], 0] > cartpole.CRASH_COST
    cured = runs(careful, theta, plant, starts)
    assert all(swung_up(cured))
    assert {"rti", "line search", "fallback"} <= {word for one, _ in cured for word in one.status.ravel()}
    told = with_model(careful, theta, plant)
    assert all(swung_up(runs(careful, told, plant, starts)))
    assert all(swung_up(runs(plain, told, plant, starts)))


def test_each_of_several_has_its_own_plan_and_where_a_solve_fails_the_last_plan_goes_on(mpc, theta):
    plant, steps, failing = replace(MODEL, mass=0.22), 6, False

    class Fails:
        """The MPC, as long as it does not fail."""

        problem, parameters, reference = mpc.problem, mpc.parameters, mpc.reference

        def policy(self, *question, **options):
            if failing:
                raise SolverError("not converged", "failed", question[1], None, theta)
            return mpc.policy(*question, **options)

    both = run(Receding(mpc, theta, first=known_first_plan), plant, STARTS[:2], plant.draw(0, 2, steps))
    for i in range(2):
        alone = run(Receding(mpc, theta, first=known_first_plan), plant, STARTS[i : i + 1], plant.draw(0, 1, steps))
        np.testing.assert_array_equal(both.x[:, i], alone.x[:, 0])
    controller = Receding(Fails(), theta)
    controller(np.array(STARTS[:1]))
    plan, failing = controller.plans[0], True
    for k in (1, 2):
        np.testing.assert_array_equal(controller(np.array(STARTS[:1])), plan.u[k : k + 1])
        assert controller.status == ["failed"]


def test_parameters_of_the_model_are_those_of_the_plant(mpc, theta):
    plant = CartPoleParameters(cart_mass=1.4, mass=0.3, length=0.6, friction=0.2)
    s = np.array([0.1, 0.5, 0.0, 0.3])
    plan = mpc.policy(with_model(mpc, theta, plant), s)
    np.testing.assert_allclose(plan.x[1], cartpole.dynamics(s, plan.u0, plant), atol=1e-10)
    assert mpc.parameters.pack(theta).size == theta.size == 5 + 5 + 16 + 3


def test_the_terminal_cost_follows_model_and_weights_only_if_it_is_asked_to(mpc, theta):
    """And is then that of an infinite horizon: near the upright the value does not care where the horizon ends."""
    plant, weights = CartPoleParameters(mass=0.5, friction=1.0), cartpole.WEIGHTS * [5.0, 1.0, 1.0, 1.0, 2.0]
    heavy = mpc.parameters.pack(theta, weights=weights)
    kept, own = (with_model(mpc, heavy, plant, terminal) for terminal in (False, True))
    np.testing.assert_array_equal(mpc.parameters.unpack(kept).terminal, terminal_factor())
    short, s = cartpole_mpc(MODEL, horizon=10, solver="ipopt"), np.array([0.01, 0.01, 0.0, 0.0])
    values = [[each.policy(it, s).value for each in (mpc.reference, short)] for it in (kept, own)]
    assert values[1][0] == pytest.approx(values[1][1], rel=1e-3) and abs(values[0][0] / values[0][1] - 1.0) > 0.02
    np.testing.assert_array_equal(
        terminal_factor(replace(plant, coulomb=3.0), weights), terminal_factor(plant, weights)
    )


def test_the_value_is_the_cost_of_the_plan(mpc, theta):
    s = np.array([1.9, 2.5, 1.0, 0.3])
    plan = mpc.policy(theta, s)
    end = plan.x[-1].copy()
    end[1] = 2.0 * np.sin(0.5 * end[1])
    L = terminal_factor()
    cost = cartpole.stage_cost(plan.x[:-1], plan.u).sum() + ((L.T @ end) ** 2).sum()
    assert plan.value == pytest.approx(cost, abs=1e-4)  # x_0 and x_N lie inside the track, or nearly


def test_near_the_upright_it_is_the_lqr(mpc, theta):
    A, B, eps = np.zeros((4, 4)), np.zeros((4, 1)), 1e-6
    for i, e in enumerate(np.eye(4) * eps):
        A[:, i] = (cartpole.dynamics(e, np.zeros(1)) - cartpole.dynamics(-e, np.zeros(1))) / (2.0 * eps)
    B[:, 0] = (cartpole.dynamics(np.zeros(4), [eps]) - cartpole.dynamics(np.zeros(4), [-eps])) / (2.0 * eps)
    P, K = riccati(A, B, np.diag(cartpole.WEIGHTS[:4]), np.diag(cartpole.WEIGHTS[4:]))
    L = terminal_factor()
    np.testing.assert_allclose(L @ L.T, P, rtol=1e-6)
    s = np.array([1e-4, -1e-4, 2e-4, 1e-4])
    np.testing.assert_allclose(mpc.policy(theta, s).u0, -K @ s, rtol=1e-3)


def test_the_first_plan_is_at_least_as_good_as_a_cold_one(mpc, theta):
    for s in STARTS:
        plan = known_first_plan(mpc, theta, s)
        assert plan.value <= mpc.policy(theta, s).value + 1e-9 and plan.residual < 1e-6


def test_turns_do_not_matter(mpc, theta):
    s = np.array([0.2, 2.9, 0.1, 0.5])
    turned = first_plan(mpc, theta, s + [0.0, 4.0 * np.pi, 0.0, 0.0])
    assert turned.value == pytest.approx(first_plan(mpc, theta, s).value, rel=1e-8)


def test_bad_track():
    with pytest.raises(ValueError, match="'firm'"):
        cartpole_mpc(track="firm")
