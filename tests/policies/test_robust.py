"""Back-offs against their distributions, the scenario controller, the barrier and the predictive filter."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters, dynamics, upright, violations
from mpcrl_course.mpc import SolverError
from mpcrl_course.policies.pendulum_mpc import PendulumController, first_plan, pendulum_mpc, terminal_factor
from mpcrl_course.policies.robust import (
    ScenarioController,
    barrier_filter,
    barrier_torques,
    braking,
    chance_back_off,
    predictive_filter,
    robust_back_off,
    speed_deviation,
)

HEAVY = PendulumParameters(mass=1.3, length=1.1, friction=0.1, max_torque=3.0)


def states(n, seed=0, fastest=6.0):
    return np.random.default_rng(seed).uniform([-np.pi, -fastest], [np.pi, fastest], (n, 2))


def pump(x):
    """Return torques that make it ever faster."""
    return 2.0 * np.where(x[:, 1] >= 0.0, 1.0, -1.0)


# ---- back-off


def two_points(rng, epsilon, n):
    """Return n draws of the distribution that attains Cantelli's bound, of mean 0 and deviation 1."""
    far = np.sqrt((1 - epsilon) / epsilon)
    return np.where(rng.random(n) < epsilon, far, -1.0 / far)


def test_the_noise_of_one_step_has_this_deviation():
    plant = PendulumParameters(mass=1.3, length=0.8, process_noise=0.7)
    x = run(lambda x: np.zeros(len(x)), plant, np.ones((20_000, 2)), NOMINAL.draw(0, 20_000, 1)).x[1]
    assert x[:, 1].std() == pytest.approx(speed_deviation(plant), rel=0.02)
    assert speed_deviation(NOMINAL) == 0.0


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.3])
def test_chance_back_off_is_crossed_as_often_as_it_says(epsilon):
    rng, n = np.random.default_rng(1), 200_000
    three_sigma = 3.0 * np.sqrt(epsilon * (1 - epsilon) / n)
    assert (0.2 * rng.standard_normal(n) > chance_back_off(0.2, epsilon)).mean() == pytest.approx(
        epsilon, abs=three_sigma
    )
    skewed = rng.exponential(1.0, n) - 1.0
    b = chance_back_off(0.2, epsilon, samples=skewed[: n // 2])
    assert b == pytest.approx(-np.log(epsilon) - 1.0, rel=0.05)  # the exponential's own quantile
    assert (skewed[n // 2 :] > b).mean() == pytest.approx(epsilon, abs=3 * three_sigma)


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.3])
def test_cantelli_holds_for_all_and_is_attained_by_two_points(epsilon):
    rng, n, sigma = np.random.default_rng(2), 200_000, 0.3
    b = robust_back_off(sigma, epsilon)
    noises = {"normal": rng.standard_normal(n), "student": rng.standard_t(3, n) / np.sqrt(3),
              "skewed": rng.exponential(1.0, n) - 1.0, "uniform": rng.uniform(-np.sqrt(3), np.sqrt(3), n),
              "two points": two_points(rng, epsilon, n)}  # fmt: skip
    assert noises["two points"].mean() == pytest.approx(0.0, abs=0.01)
    assert noises["two points"].std() == pytest.approx(1.0, abs=0.03)
    crossed = {name: (sigma * noise > b * (1 + 1e-9)).mean() for name, noise in noises.items()}
    assert max(crossed.values()) <= epsilon
    # no smaller one would do
    attained = (sigma * noises["two points"] > b * (1 - 1e-9)).mean()
    assert attained == pytest.approx(epsilon, abs=3 * np.sqrt(epsilon / n))
    assert b > chance_back_off(sigma, epsilon)


def test_in_a_step_that_is_planned_to_the_limit_it_is_crossed_with_probability_epsilon():
    """One step of the plant from states in which the MPC plans to reach the backed-off limit: the promise is kept."""
    limit, epsilon, n = 5.5, 0.1, 20_000
    plant = PendulumParameters(process_noise=0.5)
    sigma, mpc = speed_deviation(plant), pendulum_mpc(max_speed=limit)
    for b, state in ((chance_back_off(sigma, epsilon), [3.14, -5.3]), (robust_back_off(sigma, epsilon), [3.0, -5.25])):
        controller = PendulumController(mpc, mpc.parameters.pack(back_off=b))
        u = float(controller(np.array([state]))[0, 0])
        assert dynamics(np.array(state), np.array([u]))[1] == pytest.approx(-(limit - b), abs=1e-6) and abs(u) < 1.9
        one = run(lambda x, u=u: np.full(len(x), u), plant, np.tile(state, (n, 1)), NOMINAL.draw(0, n, 1))
        share, expected = violations(one.x, limit).mean(), norm.sf(b / sigma)
        assert share == pytest.approx(expected, abs=3 * np.sqrt(epsilon / n)) and share < epsilon + 0.01


def test_bad_back_offs_are_named():
    for call in (
        lambda: chance_back_off(0.1, 0.0),
        lambda: chance_back_off(0.1, 0.6),
        lambda: robust_back_off(0.1, 1.0),
    ):
        with pytest.raises(ValueError, match="epsilon"):
            call()
    for call in (lambda: chance_back_off(np.nan), lambda: robust_back_off(-0.1)):
        with pytest.raises(ValueError, match="standard deviation"):
            call()
    for samples in ([], [0.1, np.nan]):
        with pytest.raises(ValueError, match="finite samples"):
            chance_back_off(0.1, samples=samples)


# ---- scenarios


def test_one_scenario_is_the_plain_mpc():
    starts, noise = np.array([[2.5, 0.3], [0.4, -1.0]]), NOMINAL.draw(0, 2, 40)
    one = run(ScenarioController(masses=(1.0,), horizon=40), NOMINAL, starts, noise)
    plain = run(PendulumController(pendulum_mpc(horizon=40)), NOMINAL, starts, noise)
    np.testing.assert_allclose(one.u, plain.u, atol=1e-5)


def test_the_first_torque_minimises_the_mean_cost_to_go():
    """The definition: min over u of L(s, u) + the mean of V_i(f_i(s, u)), one MPC a mass, by a scalar search."""
    s, masses = np.array([0.1, -0.2]), (0.7, 1.3)
    torque = ScenarioController(masses, horizon=41)(s)[0, 0]
    plants = [PendulumParameters(mass=mass) for mass in masses]
    mpcs = [pendulum_mpc(plant, horizon=40, solver="ipopt") for plant in plants]

    def mean(u):
        ahead = [dynamics(s, np.array([u]), plant) for plant in plants]
        return 0.001 * u**2 + np.mean([m.V(m.parameters.initial(), x).value for m, x in zip(mpcs, ahead)])

    found = minimize_scalar(mean, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 1e-5})
    assert abs(torque) < 1.95 and torque == pytest.approx(found.x, abs=1e-3)


def test_scenarios_share_their_first_torque_and_each_has_its_terminal_cost(monkeypatch):
    controller = ScenarioController(horizon=40)
    x = np.array([[0.2, 0.0], [0.3 - 2.0 * np.pi, 0.5]])
    before = x.copy()
    torques = controller(x)
    np.testing.assert_array_equal(x, before)  # what it is given stays as it is
    assert torques.shape == (2, 1) and np.abs(torques).max() <= 2.0
    assert all(np.ptp(plan.u[0]) < 1e-6 < np.ptp(plan.u[1]) for plan in controller.plans)
    p = controller.mpc.parameters.unpack(controller.theta)
    assert [p.mass_1, p.mass_2, p.mass_3] == [0.7, 1.0, 1.3]
    for name, mass in (("terminal_1", 0.7), ("terminal_3", 1.3)):
        np.testing.assert_array_equal(getattr(p, name), terminal_factor(PendulumParameters(mass=mass)))
    for mass in (0.7, 1.3):  # here no scenario needs a swing
        found = run(controller, PendulumParameters(mass=mass), [[0.2, 0.0]], NOMINAL.draw(0, 1, 80))
        assert upright(found.x, within=0.05).all()
    # where a solve fails, the plan goes on; angles may be wrapped
    plan = controller.plans[0]

    def fails(*args, **options):
        raise SolverError("not converged", "on purpose", np.zeros(6), None, None)

    monkeypatch.setattr(controller.mpc, "policy", fails)
    for k in (1, 2):
        assert controller(found.x[-1] + [[2.0 * np.pi, 0.0]])[0, 0] == pytest.approx(2.0 * plan.u[k, 0])
    with pytest.raises(ValueError, match="not finite"):
        controller([[np.nan, 0.0]])


def test_to_wait_for_news_costs_scenarios_next_to_nothing():
    """Half way up, where 0.7 kg can be held and 1.3 kg cannot: to hold once, and then know the mass, or to go on."""
    s, mean = np.array([0.5, 0.0]), {}
    for name, torque in (("hold", -3.5 * np.sin(0.5)), ("go on", -2.0)):
        costs = []
        for mass in (0.7, 1.0, 1.3):
            plant = PendulumParameters(mass=mass)
            mpc, ahead = pendulum_mpc(plant, horizon=80), dynamics(s, np.array([torque]), plant)
            costs.append(first_plan(mpc, mpc.parameters.initial(), ahead).value)
        mean[name] = 0.001 * torque**2 + np.mean(costs)
    assert mean["go on"] < mean["hold"] < 1.005 * mean["go on"]


# ---- barrier


@pytest.mark.parametrize("p", [NOMINAL, HEAVY], ids=["nominal", "heavy"])
@pytest.mark.parametrize("kappa", [1.0, 0.3, 0.05])
def test_the_two_torques_lie_on_the_edge_of_the_condition(kappa, p):
    x, limit = states(200), 6.0
    h = limit - np.abs(x[:, 1])
    low, high = barrier_torques(x, limit, kappa, p)
    assert (low <= high).all()
    for u, inwards in ((low, 1.0), (high, -1.0)):
        on, inside, outside = (
            limit - np.abs(dynamics(x, (u + e * inwards)[:, None], p)[:, 1]) for e in (0.0, 1e-3, -1e-3)
        )
        np.testing.assert_allclose(on, (1 - kappa) * h, atol=1e-9)
        assert (inside > on).all() and (outside < on).all()


def test_barrier_by_hand():
    # at the bottom gravity is silent: v+ = v + 0.15 (u - 0.05 v), and |v+| may reach 6 - 0.7 (6 - 4) = 4.6
    low, high = barrier_torques([[np.pi, 4.0]], 6.0, 0.3)
    assert high[0] == pytest.approx((4.6 - 3.97) / 0.15) and low[0] == pytest.approx((-4.6 - 3.97) / 0.15)
    # outside: back in, at once
    low, high = barrier_torques([[np.pi, 6.1]], 6.0, 0.3)
    assert high[0] == pytest.approx((6.0 - (6.1 - 0.15 * 0.305)) / 0.15)


@pytest.mark.parametrize("kappa", [1.0, 0.3, 0.1])
def test_the_filter_keeps_the_condition_wherever_the_motor_can_and_changes_as_little_as_it_must(kappa):
    x, limit, rng = states(2000, seed=3), 6.0, np.random.default_rng(4)
    wanted = rng.uniform(-3.0, 3.0, len(x))
    u = barrier_filter(lambda x: wanted[:, None], limit, kappa)(x)
    low, high = barrier_torques(x, limit, kappa)
    can = (np.maximum(low, -2.0) <= np.minimum(high, 2.0) + 1e-12)  # fmt: skip
    assert 0.5 < can.mean() < 1.0 and np.abs(u).max() <= 2.0
    h, h_next = limit - np.abs(x[:, 1]), limit - np.abs(dynamics(x, u[:, None])[:, 1])
    assert (h_next >= (1 - kappa) * h - 1e-9)[can].all()
    # the nearest admissible one, by brute force
    fine = np.linspace(-2.0, 2.0, 4001)
    for i in np.flatnonzero(can)[:100]:
        fits = fine[(fine >= low[i] - 1e-3) & (fine <= high[i] + 1e-3)]
        assert abs(u[i] - wanted[i]) == pytest.approx(np.abs(fits - wanted[i]).min(), abs=2e-3)
    # where it cannot, the motor does what it can
    assert np.isin(u[~can], [-2.0, 2.0]).all()


def test_in_its_own_model_a_low_kappa_brakes_in_time_where_action_restriction_does_not():
    starts, noise, limit = states(40, seed=5, fastest=1.0), NOMINAL.draw(0, 40, 300), 5.0
    share = {kappa: violations(run(barrier_filter(pump, limit, kappa), NOMINAL, starts, noise).x, limit).mean()
             for kappa in (1.0, 0.3, 0.1)}  # fmt: skip
    assert share[1.0] > share[0.3] > share[0.1] and share[1.0] > 0.02
    assert violations(run(pump, NOMINAL, starts, noise).x, limit).mean() > 2 * share[1.0]


def test_filters_pass_on_a_reset():
    class Counts:
        resets = 0

        def reset(self):
            self.resets += 1

        def __call__(self, x):
            return np.zeros(len(x))

    for make in (barrier_filter, predictive_filter):
        policy = Counts()
        run(make(policy, 6.0), NOMINAL, np.zeros((2, 2)), NOMINAL.draw(0, 2, 2))
        assert policy.resets == 1
        assert not hasattr(make(pump, 6.0), "reset")


def test_bad_settings_of_the_filters_are_named():
    for options in ({"kappa": 0.0}, {"kappa": 1.1}, {"max_speed": 0.0}, {"max_speed": np.nan}):
        with pytest.raises(ValueError, match="|".join(options)):
            barrier_torques(np.zeros((1, 2)), **{"max_speed": 6.0, **options})
    for options in ({"candidates": 1}, {"steps": -1}, {"max_speed": -1.0}):
        with pytest.raises(ValueError, match="|".join(options)):
            predictive_filter(pump, **{"max_speed": 6.0, **options})
    with pytest.raises(ValueError, match="pendulum 0 is not finite"):
        predictive_filter(pump, 6.0)([[np.nan, 0.0]])


# ---- predictive filter


def brake_peak(x, p=NOMINAL, steps=1000):
    """Return the highest speed that braking from x leads to."""
    peak = np.abs(x[:, 1])
    for _ in range(steps):
        x = dynamics(x, braking(x, p)[:, None], p)
        peak = np.maximum(peak, np.abs(x[:, 1]))
    return peak


def test_the_brake_stops_in_one_step_what_it_can_and_takes_energy_only():
    slow = np.array([np.pi, 0.25])
    np.testing.assert_allclose(dynamics(slow, braking(slow, HEAVY)[None], HEAVY)[1],
                               -0.05 * 3.0 * 0.1 * 0.25 / (1.3 * 1.21), atol=1e-12)  # fmt: skip
    u = braking(states(50))
    assert (u * states(50)[:, 1] < 0.0).all() and np.abs(u).max() == 2.0


def test_a_fall_under_the_brake_reaches_what_the_docstring_says():
    upright_at_rest = np.stack([np.linspace(1e-6, 0.7, 300), np.zeros(300)], axis=-1)
    assert brake_peak(upright_at_rest).max() == pytest.approx(5.02, abs=0.005)


@pytest.mark.parametrize("limit", [6.0, 5.1])
@pytest.mark.parametrize("policy", ["pump", "let go", "wild"])
def test_from_safe_starts_the_limit_is_kept_for_good_in_its_own_model(limit, policy):
    rng = np.random.default_rng(6)
    policies = {"pump": pump, "let go": lambda x: np.zeros(len(x)), "wild": lambda x: rng.uniform(-2.0, 2.0, len(x))}
    starts = states(60, seed=7)
    starts = starts[brake_peak(starts) <= limit]
    assert len(starts) > 30
    noise = NOMINAL.draw(0, len(starts), 150)
    assert not violations(run(predictive_filter(policies[policy], limit), NOMINAL, starts, noise).x, limit).any()
    if policy == "pump":
        assert violations(run(pump, NOMINAL, starts, noise).x, limit).mean() > 0.2


def test_it_leaves_safe_torques_alone_and_takes_the_nearest_or_the_least_bad():
    limit, x = 6.0, states(150, seed=8)
    wanted = np.random.default_rng(9).uniform(-2.0, 2.0, len(x))
    u = predictive_filter(lambda x: wanted, limit)(x)

    def peak(torque):
        ahead = dynamics(x, torque[:, None])
        return np.maximum(np.abs(ahead[:, 1]), brake_peak(ahead, steps=40))

    grid = np.linspace(-2.0, 2.0, 41)
    candidates = np.array([wanted, braking(x), *(np.full(len(x), g) for g in grid)])
    peaks = np.array([peak(row) for row in candidates])
    safe = peaks <= limit
    kept, hopeless = safe[0], ~safe.any(axis=0)
    assert 0.3 < kept.mean() < 1.0 and hopeless.any() and (~kept & ~hopeless).any()
    np.testing.assert_array_equal(u[kept], wanted[kept])
    change = np.where(safe, np.abs(candidates - wanted), np.inf).min(axis=0)
    np.testing.assert_allclose(np.abs(u - wanted)[~hopeless], change[~hopeless])
    np.testing.assert_allclose(peak(u)[hopeless], peaks.min(axis=0)[hopeless])
