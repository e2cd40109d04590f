"""The barrier and the predictive filter of the pendulum."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters, dynamics, violations
from mpcrl_course.policies.filters import Filter, barrier_filter, barrier_torques, braking, predictive_filter
from mpcrl_course.policies.identifying import IdentifyingPolicy
from mpcrl_course.policies.observer import AngleOnly

HEAVY = PendulumParameters(mass=1.3, length=1.1, friction=0.1, max_torque=3.0)


def states(n, seed=0, fastest=6.0):
    return np.random.default_rng(seed).uniform([-np.pi, -fastest], [np.pi, fastest], (n, 2))


def pump(x):
    """Return torques that make it ever faster."""
    return 2.0 * np.where(x[:, 1] >= 0.0, 1.0, -1.0)


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
    u = barrier_filter(lambda x: wanted[:, None], limit, kappa)(x)[:, 0]
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
        make(pump, 6.0).reset()  # nothing to forget


def test_bad_settings_of_the_filters_are_named():
    for options in ({"kappa": 0.0}, {"kappa": 1.1}, {"max_speed": 0.0}, {"max_speed": np.nan}):
        with pytest.raises(ValueError, match="|".join(options)):
            barrier_torques(np.zeros((1, 2)), **{"max_speed": 6.0, **options})
    for options in ({"candidates": 1}, {"steps": -1}, {"max_speed": -1.0}):
        with pytest.raises(ValueError, match="|".join(options)):
            predictive_filter(pump, **{"max_speed": 6.0, **options})
    with pytest.raises(ValueError, match="plant 0 is not finite"):
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
    u = predictive_filter(lambda x: wanted, limit)(x)[:, 0]

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


@pytest.mark.parametrize("wrong", [None, "a", 1j, [[None]], np.zeros((3, 1))])
def test_what_a_change_returns_is_checked(wrong):
    with pytest.raises(ValueError, match="change (returned|must return)"):
        Filter(lambda y: np.zeros((len(y), 1)), lambda y, u: wrong)([[0.1, 0.2]])


@pytest.mark.parametrize(
    "filtered", [lambda p: barrier_filter(p, 6.0), lambda p: predictive_filter(p, 6.0), AngleOnly, IdentifyingPolicy]
)
@pytest.mark.parametrize("wrong", [np.zeros(1), np.zeros((2, 2)), np.zeros((1, 2)), np.zeros((2, 1, 1)), [0.1, np.nan]])
def test_a_policy_of_another_shape_or_nan_is_named_and_not_passed_on(filtered, wrong):
    assert filtered(lambda y: [0.1, 0.2])(np.zeros((2, 2))).shape == (2, 1)
    with pytest.raises(ValueError, match="must return finite inputs of shape"):
        filtered(lambda y: wrong)(np.zeros((2, 2)))


def test_states_of_another_plant_are_named():
    for filtered in (barrier_filter(pump, 6.0), predictive_filter(lambda y: np.zeros(len(y)), 6.0)):
        with pytest.raises(ValueError, match=r"what is measured has shape \(n, 2\), not \(3, 4\)"):
            filtered(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"x are states of shape \(..., 2\), not \(3,\)"):
        braking(np.zeros(3))
