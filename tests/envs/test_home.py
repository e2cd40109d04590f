"""The house: a step against CVODES, the energy balance, COP, tariff and forecast, the settlement by hand."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.home import (
    DAY,
    DT,
    NOMINAL,
    Days,
    Home,
    HomeParameters,
    Noise,
    Weather,
    cop,
    discomfort,
    dynamics,
    held,
    lower,
)
from mpcrl_course.policies import Thermostat

OTHER = HomeParameters(C_i=1.5, C_m=14.0, R_o=4.5, R_m=0.7, capacity=6.0, efficiency=0.9, noise=0.3)


def anywhere(n=40, seed=0):
    """States with all kinds of charge (also full and empty) and hours, and inputs beyond what the battery can do."""
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [rng.uniform(16, 25, (n, 2)), rng.uniform(0, 6, n), rng.integers(0, 192, n), rng.integers(3, 9, n)]
    )
    x[:4, 2] = 0.0, 6.0, 0.05, 5.95
    return x, np.column_stack([rng.uniform(0, 2.5, n), rng.uniform(-3, 3, n)]), Noise(rng.standard_normal(n))


def cvodes(p):
    """An integrator of the equations as they are written, for a step: (T_i, T_m), heat, T_o -> temperatures, lost."""
    T, p_ = ca.SX.sym("T", 3), ca.SX.sym("p", 2)
    lost = (T[0] - p_[1]) / p.R_o
    rates = ca.vertcat(((T[1] - T[0]) / p.R_m - lost + p_[0]) / p.C_i, (T[0] - T[1]) / (p.R_m * p.C_m), lost)
    f = ca.integrator("f", "cvodes", {"x": T, "p": p_, "ode": rates}, 0, DT, {"abstol": 1e-12, "reltol": 1e-12})
    return lambda T, heat, outdoor: f(x0=[*T, 0.0], p=[heat, outdoor])["xf"].full().ravel()


@pytest.mark.parametrize("p", [NOMINAL, OTHER])
def test_a_step_is_what_cvodes_finds(p):
    x, u, noise = anywhere()
    integrate, w = cvodes(p), p.now(x)
    ahead, flows = p.step(x, u, noise)[0], p.flows(x, u, noise)
    for i in range(len(x)):
        *T, lost = integrate(x[i, :2], (flows.heat[i] + flows.gain[i]) / DT, w.outdoor[i])
        np.testing.assert_allclose(ahead[i, :2], T, atol=1e-8)
        np.testing.assert_allclose(flows.lost[i], lost, atol=1e-8)


@pytest.mark.parametrize("p", [NOMINAL, OTHER])
def test_no_energy_is_lost_or_made(p):
    x, u, noise = anywhere(seed=1)
    ahead, f = p.step(x, u, noise)[0], p.flows(x, u, noise)
    stored = p.C_i * (ahead - x)[:, 0] + p.C_m * (ahead - x)[:, 1]
    np.testing.assert_allclose(stored, f.heat + f.gain - f.lost, atol=1e-9)
    np.testing.assert_allclose(f.bought + f.pv + f.discharged, f.sold + f.load + f.pumped + f.charged, atol=1e-9)
    in_battery = p.efficiency * f.charged - f.discharged / p.efficiency
    np.testing.assert_allclose((ahead - x)[:, 2], in_battery, atol=1e-9)
    assert (f.bought * f.sold == 0.0).all() and (f.charged * f.discharged == 0.0).all()
    inside = x[:, 2] <= p.capacity
    assert (ahead[inside, 2] >= -1e-12).all() and (ahead[inside, 2] <= p.capacity + 1e-12).all()


def test_what_is_held_in_closed_form():
    """Without a mass the air is a first-order lag; with it, what is left goes to the outside's temperature."""
    one = HomeParameters(C_i=2.0, R_o=6.0, R_m=1e9)
    a = np.exp(-DT / 12.0)
    A, B = held(one)
    np.testing.assert_allclose([A[0, 0], *B[0]], [a, (1.0 - a) * 6.0, 1.0 - a], rtol=1e-7)
    A, B = NOMINAL.held
    np.testing.assert_allclose(A[:2, :2].sum(axis=1) + B[:2, 1], 1.0, rtol=1e-12)  # inside as outside: nothing moves
    half, b = held(NOMINAL, DT / 2)
    np.testing.assert_allclose(half @ half, A, atol=1e-13)
    np.testing.assert_allclose(half @ b + b, B, atol=1e-13)
    # at rest the air is heat * R_o above the outside
    np.testing.assert_allclose(np.linalg.solve(np.eye(2) - A[:2, :2], B[:2]), [[6.0, 1.0], [6.0, 1.0]], rtol=1e-10)


def test_cop():
    np.testing.assert_allclose(cop(np.array([-30.0, -12.0, 0.0, 10.0, 22.0, 40.0])), [2, 2.06, 2.9, 3.6, 4.44, 4.5])
    symbol = ca.SX.sym("T")
    f = ca.Function("f", [symbol], [cop(symbol)])
    for outdoor in (-20.0, 3.3, 30.0):
        assert float(f(outdoor)) == pytest.approx(float(cop(outdoor)), abs=1e-15)


def test_numpy_and_casadi_are_one_model():
    x, u, w = ca.SX.sym("x", 5), ca.SX.sym("u", 2), ca.SX.sym("w", 5)
    f = ca.Function("f", [x, u, w], [dynamics(x, u, Weather(*ca.vertsplit(w)), OTHER)])
    for row, action in zip(*anywhere(6)[:2]):
        outside = Weather(*np.array([3.0, 0.4, 1.0, 0.5, 0.3]))
        np.testing.assert_allclose(
            f(row, action, outside).full()[:, 0], dynamics(row, action, outside, OTHER), rtol=1e-14
        )


def test_a_step_by_hand():
    """A night with a price of p: 1 kW of pump, 1 kW into the battery, and a room that is too cold."""
    x, u = np.array([[17.0, 17.5, 4.0, 4.0, 3.0]]), np.array([[1.0, 1.0]])
    w, nothing = NOMINAL.now(x), Noise(np.zeros(1))
    ahead, cost, ended = NOMINAL.step(x, u, nothing)
    assert w.pv == 0.0 and not ended
    grid = w.load + 2.0
    money = 0.25 * w.price * grid
    assert cost == pytest.approx(money + 0.25 * 2.0 * (18.0 - ahead[0, 0]), rel=1e-12)
    assert ahead[0, 2] == pytest.approx(4.0 + 0.25 * 0.95) and ahead[0, 3:].tolist() == [5.0, 3.0]
    sold = np.array([[21.0, 21.0, 8.0, 48.0, 3.0]])  # noon, the battery is full and gives 3 kW
    flows = NOMINAL.flows(sold, np.array([[0.0, -3.0]]), nothing)
    w = NOMINAL.now(sold)
    left = 0.25 * (3.0 + w.pv - w.load)
    assert flows.sold == pytest.approx(left) and flows.bought == 0.0
    ahead, cost, _ = NOMINAL.step(sold, np.array([[0.0, -3.0]]), nothing)
    assert cost == pytest.approx(-0.07 * left) and ahead[0, 2] == pytest.approx(8.0 - 0.75 / 0.95)
    full = NOMINAL.flows(sold, np.array([[0.0, 3.0]]), nothing)
    assert full.charged == 0.0


def test_the_band():
    np.testing.assert_array_equal(lower([0, 23, 24, 87, 88, 95, 96 + 24]), [18, 18, 20, 20, 18, 18, 20])
    x = np.array([[19.0, 0, 0, 24, 0], [19.0, 0, 0, 23, 0], [23.5, 0, 0, 0, 0]])
    np.testing.assert_allclose(discomfort(x), [1.0, 0.0, 0.5])


def test_weather_is_that_of_its_number_and_of_winter():
    one, again, other = Days(5, 2), Days(5, 2), Days(6, 2)
    for a, b, c in zip(one.true, again.true, other.true):
        np.testing.assert_array_equal(a, b)
        assert a.shape == (4 * DAY,) and (a != c).any()
    all_of = [Days(number, 2).true for number in range(300)]
    mean = Weather(*(np.array(part) for part in zip(*all_of)))
    # what it was made from: 2 °C on average, a swing of 3.5 K with its peak at 15 h, a load of 11 kWh a day
    assert mean.outdoor.mean() == pytest.approx(2.0, abs=0.4)
    daily = mean.outdoor.mean(axis=0).reshape(4, DAY).mean(axis=0)
    assert daily.argmax() == pytest.approx(60, abs=3) and np.ptp(daily) == pytest.approx(7.0, rel=0.1)
    hour = np.arange(4 * DAY) * DT % 24.0
    assert not mean.pv[:, (hour < 8.0) | (hour > 17.0)].any() and mean.pv.max() <= 3.2 * 1.05
    assert mean.load.min() >= 0.1 and 10.0 < 24.0 * mean.load.mean() < 13.0
    assert mean.price.min() >= 0.08 and mean.price.mean() == pytest.approx(0.275, abs=0.015)
    hourly = mean.price.reshape(300, -1, 4)
    np.testing.assert_array_equal(hourly, np.broadcast_to(hourly[..., :1], hourly.shape))


def test_forecasts():
    days, k = Days(7, 2), 30
    seen, true = days.forecast(k, DAY), days.forecast(k, DAY, perfect=True)
    for part, now in zip(true, days.true):
        np.testing.assert_array_equal(part, now[k : k + DAY])
    np.testing.assert_array_equal(seen.price, true.price)  # of the day ahead
    for part, other in zip(seen, true):
        assert part[0] == pytest.approx(other[0], abs=1e-12)  # what is now is measured
    misses = np.array([Days(n, 2).forecast(k, DAY).outdoor - Days(n, 2).true.outdoor[k : k + DAY] for n in range(300)])
    np.testing.assert_allclose(misses[:, [24, 95]].std(axis=0), 1.5 * np.sqrt(np.array([24, 95]) / DAY), rtol=0.15)
    with pytest.raises(ValueError, match="weather of 2 days ends before step 385: give the plant more days"):
        days.forecast(4 * DAY, 1)
    with pytest.raises(ValueError, match="ends before step 384"):
        NOMINAL.now(np.array([[20.0, 20.0, 0.0, 4 * DAY, 3.0]]))


def test_another_tariff_and_another_winter():
    changed = HomeParameters(swing=2.0, colder=5.0)
    one, other = NOMINAL.forecast(10, 3, 50), changed.forecast(10, 3, 50)
    np.testing.assert_allclose(one.outdoor - other.outdoor, 5.0)
    mean = Days(3, 2).mean_price
    np.testing.assert_allclose(other.price - mean, 2.0 * (one.price - mean))
    x = np.array([[20.0, 20.0, 4.0, 10.0, 3.0]])
    assert changed.now(x).outdoor == other.outdoor[0] and changed.now(x).price == other.price[0]


def test_stores_are_settled_and_a_bill_adds_up():
    first, last = np.array([[20.5, 20.5, 4.0, 0, 3]]), np.array([[21.5, 20.0, 6.0, 192, 3]])
    mean = Days(3, 2).true.price.mean()
    expected = -mean * (0.95 * 2.0 + (2.0 * 1.0 - 10.0 * 0.5) / 3.0)
    np.testing.assert_allclose(NOMINAL.settlement(first, last), [expected])
    starts, noise = NOMINAL.starts([3, 4]), NOMINAL.draw(0, 2, 2 * DAY)
    found = run(Thermostat(), NOMINAL, starts, noise)
    bill = NOMINAL.bill(found)
    flows = [NOMINAL.flows(found.x[k], found.u[k], Noise(noise.load[k])) for k in range(2 * DAY)]
    paid = sum(NOMINAL.now(found.x[k]).price * f.bought - 0.07 * f.sold for k, f in enumerate(flows))
    paid += NOMINAL.settlement(found.x[0], found.x[-1])
    np.testing.assert_allclose(bill.money, paid / 2.0, rtol=1e-12)
    np.testing.assert_allclose(bill.J, bill.money + 2.0 * bill.discomfort, rtol=1e-12)


def test_an_episode_is_the_days_of_one_weather():
    env = Home(HomeParameters(days=1), steps=DAY, numbers=[4, 5])
    seen = {env.reset(seed=seed)[0][4] for seed in range(10)}
    assert seen == {4.0, 5.0} and env.x[3] == 0.0
    assert [env.step([0.5, 0.0])[3] for _ in range(DAY)] == [False] * (DAY - 1) + [True]


def test_bad_declarations():
    for changes, message in (
        ({"efficiency": 1.2}, "efficiency must be a number from 0 to 1"),
        ({"days": 0}, "days"),
        ({"limit": (1.0,)}, "limit is that of heat pump and battery"),
        ({"C_m": 0.0}, "C_m must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            HomeParameters(**changes)
    with pytest.raises(ValueError, match="numbers is empty"):
        Home(numbers=[])
