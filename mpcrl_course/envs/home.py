"""A house that pays its bill: heat pump, battery, solar panels and a tariff of the day ahead, in steps of 15 minutes.

State (T_i, T_m, E, k, w): temperatures of the air and of the mass (walls, floors) in °C, what the battery holds in kWh,
the step since the first midnight, and the number of the weather. Input (P, B) in kW: electric power of the heat pump,
and power into the battery (negative: out of it).

    C_i dT_i/dt = (T_m - T_i) / R_m + (T_o - T_i) / R_o + cop(T_o) P + gain,   C_m dT_m/dt = (T_i - T_m) / R_m
    E+ = E + dt (eta max(B, 0) - max(-B, 0) / eta),   0 <= E <= capacity
    grid = load + P + B - pv,   money = dt (price max(grid, 0) - sell max(-grid, 0))
    L = money + comfort dt (degrees of T_i+ outside of its band)

Inputs and what comes from outside are held for a step, which is the exact matrix exponential. The coefficient of
performance is cop = 2.9 + 0.07 T_o, within [2, 4.5]: heat per electricity. A battery that is full or empty takes or
gives no more than fits. The band is 20 to 23 °C from 6 to 22 h, and from 18 °C at night.

**What is synthetic.** All of it: outdoor temperature, sun, load and tariff are drawn by `Days` from the number w, with
shapes and sizes of a winter in central Europe, and are no measurements. Temperatures, clouds and the load are
autoregressive around daily courses; the tariff has a morning and an evening peak and is known a day ahead, as on an
exchange. Forecasts of the weather miss by what grows as the square root of the lead (1.5 K after a day). The house is
two capacities and two resistances, of the size found for small, insulated houses.

A controller sees the whole state: from k and w, the clock and the weather's number, it looks up what is forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import casadi as ca
import numpy as np
from scipy.linalg import expm

from mpcrl_course.envs.plant import PlantEnv, PlantParameters
from mpcrl_course.validation import flag, floats, instance, real, reals, short, whole

DT = 0.25  # h
DAY = 96  # steps of a day
LOW_DAY, LOW_NIGHT, HIGH = 20.0, 18.0, 23.0  # °C
#: € that a bought kWh costs more than a sold one, at least: else who buys and sells at once earns without end.
MARGIN = 0.01
#: At this efficiency heat that is left in the house at the end is paid for.
SETTLED_COP = 3.0
#: What learners meet unless told otherwise; evaluations use smaller numbers.
NUMBERS = range(1000, 2000)
#: Temperatures and charge at the start of a day: not at a bound, and about what a day ends with.
START = (20.5, 20.5, 4.0)


class Weather(NamedTuple):
    """What comes from outside in some steps, each an array with an entry a step.

    Attributes
    ----------
    outdoor : ndarray
        Temperature, °C.
    gain, pv, load : ndarray
        Heat of sun and people, power of the solar panels, and of what is plugged in, kW.
    price : ndarray
        Of bought energy, € a kWh.
    """

    outdoor: np.ndarray
    gain: np.ndarray
    pv: np.ndarray
    load: np.ndarray
    price: np.ndarray


def cop(outdoor):
    """Return heat per electricity of the heat pump at an `outdoor` temperature in °C, array or CasADi."""
    rise = 2.9 + 0.07 * outdoor
    if isinstance(outdoor, (ca.SX, ca.MX)):
        return ca.fmin(ca.fmax(rise, 2.0), 4.5)
    return np.clip(rise, 2.0, 4.5)


def lower(k) -> np.ndarray:
    """Return the lowest comfortable temperature at the beginning of step k (int or array), °C."""
    hour = (np.asarray(k) * DT) % 24.0
    return np.where((hour >= 6.0) & (hour < 22.0), LOW_DAY, LOW_NIGHT)


def _wander(rng: np.random.Generator, rho: float, sd: float, n: int) -> np.ndarray:
    """Return n steps of an autoregression of the deviation sd in which rho of a step is left in the next."""
    x, new = rng.standard_normal(n), np.sqrt(1.0 - rho * rho)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + new * x[i]
    return sd * x


class Days:
    """Weather, load and tariff of some days and of two more, which forecasts need: drawn from a `number`.

    Parameters
    ----------
    number : int
        Another one, another weather. It also depends on how many days there are.
    days : int

    Attributes
    ----------
    true : Weather
        Of all steps.
    mean_price : float
        Of all steps, € a kWh.
    """

    def __init__(self, number: int, days: int = 2):
        rng, d = np.random.default_rng(whole(number, "number", 0)), whole(days, "days", 1) + 2
        n = d * DAY
        k, hour = np.arange(n), np.arange(n) * DT % 24.0
        mean = 3.0 * rng.standard_normal(d)
        for i in range(1, d):
            mean[i] = 0.7 * mean[i - 1] + np.sqrt(0.51) * mean[i]
        slow = np.interp(k * DT, np.arange(d) * 24.0 + 12.0, 2.0 + mean)
        outdoor = slow + 3.5 * np.cos(2.0 * np.pi * (hour - 15.0) / 24.0) + _wander(rng, 0.97, 0.7, n)
        self._cloud = np.repeat(rng.uniform(0.1, 1.0, d), DAY)
        self._clear = np.maximum(0.0, np.sin(np.pi * (hour - 8.0) / 9.0)) * ((hour > 8.0) & (hour < 17.0))
        wobble = np.clip(1.0 + 0.3 * _wander(rng, 0.9, 1.0, n), 0.0, 1.5)
        self._sun = self._clear * np.clip(self._cloud * wobble, 0.0, 1.05)
        self._usual = 0.25 + 0.35 * _bump(hour, 7.5, 1.2) + 0.75 * _bump(hour, 19.0, 2.0)
        load = np.maximum(0.1, self._usual * np.exp(0.25 * _wander(rng, 0.8, 1.0, n) - 0.03))
        h = np.arange(24)
        shape = 0.06 * _bump(h, 8.0, 1.8) + 0.10 * _bump(h, 18.5, 2.0)
        shape -= 0.05 * _bump(h, 13.0, 2.5) + 0.03 * _bump(h, 3.0, 2.5)
        level, swing = 0.26 + 0.03 * rng.standard_normal(d), rng.uniform(0.7, 1.6, d)
        hourly = [level[i] + swing[i] * shape + 0.01 * rng.standard_normal(24) for i in range(d)]
        price = np.maximum(0.08, np.repeat(np.concatenate(hourly), 4))
        self.true = Weather(outdoor, 0.25 + 1.5 * self._sun, 3.2 * self._sun, load, price)
        self.mean_price = float(price.mean())
        rng = np.random.default_rng(number + 10**6)
        self._error = _wander(rng, 0.99, 1.0, n)  # the same air is late, or warm, in all forecasts of it
        self._missed = np.repeat(np.clip(rng.normal(0.0, 0.2, d), -0.5, 0.5), DAY)

    def forecast(self, k: int, steps: int, perfect: bool = False) -> Weather:
        """Return what is known at step k of the `steps` that begin with it; `perfect`: what will be.

        The tariff is known, and what is measured at k; of the load else the usual course is.
        """
        k, steps = whole(k, "k", 0), whole(steps, "steps", 1)
        if k + steps > len(self._clear):
            days = len(self._clear) // DAY - 2
            raise ValueError(f"weather of {days} days ends before step {k + steps}: give the plant more days")
        j = slice(k, k + steps)
        if perfect:
            return Weather(*(part[j].copy() for part in self.true))
        outdoor = self.true.outdoor[j] + 1.5 * np.sqrt(np.arange(steps) * DT / 24.0) * self._error[j]
        sun = self._clear[j] * np.clip(self._cloud[j] + self._missed[j], 0.05, 1.0)
        load = self._usual[j].copy()
        sun[0], load[0] = self._sun[k], self.true.load[k]
        return Weather(outdoor, 0.25 + 1.5 * sun, 3.2 * sun, load, self.true.price[j].copy())


def _numbers(value) -> np.ndarray:
    """Return the numbers of weathers as an array, or raise ValueError if one is none."""
    found = reals(value, "numbers", (None,))
    if (found < 0.0).any() or (found != np.rint(found)).any() or (found > 2**31).any():
        raise ValueError(f"numbers of weathers are whole and not negative, not {short(value)}")
    return found


def _bump(hour, middle: float, width: float) -> np.ndarray:
    """Return a bell of height 1 over the hours of a day."""
    return np.exp(-0.5 * ((hour - middle) / width) ** 2)


@lru_cache(maxsize=1024)
def _days(number: int, days: int) -> Days:
    return Days(number, days)


class Noise(NamedTuple):
    """What is random about n runs beside their weather: `load` (steps, n), standard normal; times `noise`, kW."""

    load: np.ndarray


class Flows(NamedTuple):
    """Energies of a step in n houses, kWh, each of shape (n,); none is negative but `lost` on a hot day and the air's.

    Attributes
    ----------
    bought, sold, pv, load, pumped : ndarray
        Electricity from and to the grid, from the roof, to what is plugged in, and to the heat pump.
    charged, discharged : ndarray
        Into the battery and out of it, on the house's side.
    heat, gain, lost : ndarray
        From the heat pump, from sun and people, and to the outside.
    """

    bought: np.ndarray
    sold: np.ndarray
    pv: np.ndarray
    load: np.ndarray
    pumped: np.ndarray
    charged: np.ndarray
    discharged: np.ndarray
    heat: np.ndarray
    gain: np.ndarray
    lost: np.ndarray


class Bill(NamedTuple):
    """What n runs cost a day, each of shape (n,).

    Attributes
    ----------
    money : ndarray
        €, with what is left in the stores settled.
    discomfort : ndarray
        K h outside of the band.
    J : ndarray
        Both: € for money, and 2 € (`comfort`) for a K h.
    """

    money: np.ndarray
    discomfort: np.ndarray
    J: np.ndarray


@dataclass(frozen=True)
class HomeParameters(PlantParameters):
    """The house, its tariff, and how its days are drawn.

    Attributes
    ----------
    C_i, C_m : float
        Capacities of the air (with what is light) and of the mass, kWh/K.
    R_o, R_m : float
        Resistances between air and outside, air and mass, K/kW.
    capacity, efficiency : float
        Of the battery: kWh, and one way.
    sell, comfort : float
        € for a kWh sold, and € for an hour a degree outside of the band.
    noise : float
        Deviation of a load that no forecast knows, kW.
    swing, colder : float
        How far the price departs from the day's mean, relative to what was drawn; and degrees taken from all outdoor
        temperatures: for other tariffs, and other winters.
    days : int
        Length of the weather; forecasts see two days more.
    limit : tuple of float
        Largest power of the heat pump and of the battery, kW.
    """

    C_i: float = 2.0
    C_m: float = 10.0
    R_o: float = 6.0
    R_m: float = 1.0
    capacity: float = 8.0
    efficiency: float = 0.95
    sell: float = 0.07
    comfort: float = 2.0
    noise: float = 0.0
    swing: float = 1.0
    colder: float = 0.0
    days: int = 2
    limit: tuple[float, ...] = (2.5, 3.0)
    n_states = 5

    input_lower = cached_property(lambda self: np.array([0.0, -self.limit[1]]))

    def __post_init__(self):
        object.__setattr__(self, "limit", tuple(floats(self.limit, "limit").ravel().tolist()))
        self._check("C_i C_m R_o R_m capacity efficiency", "sell comfort noise swing colder limit")
        whole(self.days, "days", 1)
        if len(self.limit) != 2:
            raise ValueError(f"limit is that of heat pump and battery, not {self.limit}")
        real(self.efficiency, "efficiency", 0.0, 1.0)

    @cached_property
    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """A (3, 3) and B (3, 2) of a step of (T_i, T_m, heat lost) with inputs (heat in kW, T_o), both held."""
        return held(self)

    def draw(self, rng, n: int, steps: int) -> Noise:
        """Draw the noise of n runs of so many `steps`; `rng` is a generator or a seed."""
        return Noise(self._generator(rng, n, steps).standard_normal((steps, n)))

    def starts(self, numbers: Sequence[int]) -> np.ndarray:
        """Return a start for the weather of each of the `numbers`, shape (n, 5): `START`, at midnight."""
        known = _numbers(numbers)
        return np.column_stack([np.tile([*START, 0.0], (len(known), 1)), known])

    def forecast(self, k, number, steps: int, perfect: bool = False) -> Weather:
        """Return what is known at step k of the next `steps`, in the weather of that number.

        If `perfect`, what will be: see `Days.forecast`.
        """
        days = _days(abs(round(number)), self.days)
        return self._changed(days.forecast(abs(round(k)), steps, flag(perfect, "perfect")), days.mean_price)

    def now(self, x) -> Weather:
        """Return what comes from outside at the states x (n, 5), in arrays (n,)."""
        rows, means = np.empty((5, len(x))), np.empty(len(x))
        for i, (k, w) in enumerate(x[:, 3:].tolist()):
            days, step = _days(abs(round(w)), self.days), abs(round(k))
            if step >= len(days.true.price):
                raise ValueError(f"weather of {self.days} days ends before step {step}: give the plant more days")
            rows[:, i], means[i] = [part[step] for part in days.true], days.mean_price
        return self._changed(Weather(*rows), means)

    def _changed(self, w: Weather, mean) -> Weather:
        """Return what was drawn, with this plant's tariff and in its climate; `mean` is the mean of prices drawn."""
        price = mean + self.swing * (w.price - mean) if self.swing != 1.0 else w.price
        return w._replace(outdoor=w.outdoor - self.colder, price=np.maximum(self.sell + MARGIN, price))

    def applied(self, x, u) -> np.ndarray:
        """Return what acts where u (n, 2) is asked at states x (n, 5): the battery gives and takes what it can."""
        room = np.maximum(self.capacity - x[:, 2], 0.0) / (self.efficiency * DT)
        there = np.maximum(x[:, 2], 0.0) * self.efficiency / DT
        return np.column_stack([u[:, 0], np.clip(u[:, 1], -there, room)])

    def flows(self, x, u, noise: Noise) -> Flows:
        """Return the energies of a step from states x (n, 5) with inputs u (n, 2), and the step's noise."""
        return self._flows(x, u, noise, self.now(x))

    def _flows(self, x, u, noise, w) -> Flows:
        P, B = self.applied(x, u).T
        load, heat = w.load + self.noise * noise.load, cop(w.outdoor) * P
        (A, B_d), grid = self.held, load + P + B - w.pv
        lost = A[2, 0] * x[:, 0] + A[2, 1] * x[:, 1] + B_d[2, 0] * (heat + w.gain) + B_d[2, 1] * w.outdoor
        charged, discharged = np.maximum(B, 0.0), np.maximum(-B, 0.0)
        bought, sold = np.maximum(grid, 0.0), np.maximum(-grid, 0.0)
        powers = np.array([bought, sold, w.pv, load, P, charged, discharged, heat, w.gain, lost / DT])
        return Flows(*(DT * powers))

    def step(self, x, u, noise: Noise):
        """Return the next states (n, 5), the costs (n,) of this step in €, and that no run ends, for inputs u (n, 2).

        x (n, 5) are the states before, `noise` is that of this step.
        """
        w = self.now(x)
        ahead, flows = dynamics(x.T, self.applied(x, u).T, w, self).T, self._flows(x, u, noise, w)
        money = w.price * flows.bought - self.sell * flows.sold
        return ahead, money + self.comfort * DT * discomfort(ahead), np.zeros(len(x), dtype=bool)

    def settlement(self, first, last) -> np.ndarray:
        """Return what the change of the stores from `first` to `last`, states (n, 5), costs in €, shape (n,).

        At the mean price of the weather: a kWh in the battery at what it gives, one of heat at `SETTLED_COP`.
        """
        first, last = reals(first, "first", (None, 5)), reals(last, "last", (None, 5))
        mean, more = np.array([_days(abs(round(w)), self.days).mean_price for w in first[:, 4].tolist()]), last - first
        heat = self.C_i * more[:, 0] + self.C_m * more[:, 1]
        return -mean * (self.efficiency * more[:, 2] + heat / SETTLED_COP)

    def bill(self, found) -> Bill:
        """Return what runs cost a day: `found` is that of `closed_loop.run`, of whole days."""
        x, cost = found.x, found.cost
        days = len(cost) / DAY
        outside = DT * discomfort(x[1:]).sum(axis=0)
        settled = self.settlement(x[0], x[-1])
        money = cost.sum(axis=0) - self.comfort * outside + settled
        return Bill(money / days, outside / days, (cost.sum(axis=0) + settled) / days)


NOMINAL = HomeParameters()


def held(p: HomeParameters, dt: float = DT) -> tuple[np.ndarray, np.ndarray]:
    """Return A (3, 3) and B (3, 2) of a time dt (h): (T_i, T_m, lost)+ = A (T_i, T_m, lost) + B (heat, T_o).

    Heat (kW, of pump, sun and people) and T_o are held; lost is the heat that has gone outside, kWh. Exact, of p.
    """
    both = np.zeros((5, 5))
    both[0] = [-(1 / p.R_m + 1 / p.R_o) / p.C_i, 1 / (p.R_m * p.C_i), 0.0, 1 / p.C_i, 1 / (p.R_o * p.C_i)]
    both[1, :2] = 1 / (p.R_m * p.C_m), -1 / (p.R_m * p.C_m)
    both[2, 0], both[2, 4] = 1 / p.R_o, -1 / p.R_o
    found = expm(dt * both)
    return found[:3, :3], found[:3, 3:]


def dynamics(x, u, w: Weather, p: HomeParameters = NOMINAL):
    """Return the next state: columns x (5, …) and u (2, …), arrays or CasADi; w what comes from outside, p the house.

    The inputs are those that act: see `HomeParameters.applied`.
    """
    (A, B), heat = p.held, cop(w.outdoor) * u[0] + w.gain
    T = [A[i, 0] * x[0] + A[i, 1] * x[1] + B[i, 0] * heat + B[i, 1] * w.outdoor for i in range(2)]
    charge, discharge = (u[1] + abs(u[1])) / 2.0, (abs(u[1]) - u[1]) / 2.0
    E = x[2] + DT * (p.efficiency * charge - discharge / p.efficiency)
    columns = [*T, E, x[3] + 1.0, x[4]]
    return ca.vertcat(*columns) if isinstance(x, (ca.SX, ca.MX)) else np.stack(columns)


def discomfort(x) -> np.ndarray:
    """Return how far the air of states x (…, 5) is outside of its band, K."""
    low = lower(np.rint(x[..., 3]))
    return np.maximum(0.0, low - x[..., 0]) + np.maximum(0.0, x[..., 0] - HIGH)


def value_features(x) -> np.ndarray:
    """Return features of states x (n, 5), for critics: temperatures, charge, hour, squares; shape (n, 12)."""
    x = reals(x, "x", (None, 5))
    T_i, T_m, E, hour = x[:, 0] - 20.0, x[:, 1] - 20.0, x[:, 2] / 4.0 - 1.0, 2.0 * np.pi * (x[:, 3] * DT % 24.0) / 24.0
    waves = [f(j * hour) for j in (1, 2) for f in (np.sin, np.cos)]
    cold = np.maximum(0.0, lower(np.rint(x[:, 3])) - x[:, 0])
    return np.column_stack([np.ones(len(x)), T_i, T_m, E, *waves, T_i**2, E**2, T_i * T_m, cold])


class Home(PlantEnv):
    """The house as a Gymnasium environment: observation (T_i, T_m, E, k, w), action (P, B), reward -L.

    Parameters
    ----------
    parameters, steps, start
        See `PlantEnv`; by default an episode is two days, and starts at midnight with a number that is drawn.
    numbers : sequence of int
        Which weathers it draws from.
    """

    def __init__(self, parameters=NOMINAL, steps: int | None = 2 * DAY, start=None, numbers: Sequence[int] = NUMBERS):
        instance(parameters, HomeParameters, "parameters")
        known = _numbers(numbers)
        if not len(known):
            raise ValueError("numbers is empty: there is no weather to draw from")

        def random_start(rng):
            return parameters.starts([known[rng.integers(len(known))]])[0]

        super().__init__(parameters, steps, start, random_start)
