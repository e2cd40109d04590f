"""Rules for the house of `mpcrl_course.envs.home`: a thermostat, a proportional controller, and one by the tariff.

    thermostat      on below low + 0.3 K, off above low + 1 K, at full power; low: of the band in half an hour
    proportional    P = K (low + 0.3 K - T_i) + 0.8 (20 °C - T_o) / (R_o cop),  within the limits of the pump
    battery         B = pv - load - P: what the roof gives beyond what is used is stored, and used when it is missing
    by tariff       P = K (low + 0.7 K - T_i) + (20 °C - T_o) / (R_o cop),  B = 3 kW in the cheapest fifth of the next
                    day, B as above in its dearer three fifths, and between them only what is left over

The first two do not know the tariff. What numbers the third has were chosen on other weathers than it is judged on.
`Programmed` is no rule: it plans by a program of `problems.home_program`, and remembers how long its pump has run;
`Switched` makes of any controller one whose pump is on or off.
"""

from __future__ import annotations

import numpy as np

from mpcrl_course.closed_loop import Controller, measured
from mpcrl_course.envs.home import DAY, NOMINAL, HomeParameters, cop, lower
from mpcrl_course.own import inputs
from mpcrl_course.problems.home_program import HomeProgram
from mpcrl_course.validation import function, instance, real, whole

#: Steps that the rules look ahead: the house is slow, and the band moves at 6 and 22 h.
AHEAD = 2


class Thermostat:
    """A thermostat with a dead zone, and a battery that serves the house's own use; of n houses.

    Another number of houses than last time starts anew, as `reset` does.

    Parameters
    ----------
    plant : HomeParameters
    """

    def __init__(self, plant: HomeParameters = NOMINAL):
        self.plant: HomeParameters = instance(plant, HomeParameters, "plant")
        self.reset()

    def reset(self) -> None:
        """Switch all heat pumps off."""
        self.on = np.zeros(0, dtype=bool)

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, 2) for what is measured, y (n, 5)."""
        y = measured(y, 5)
        if len(self.on) != len(y):
            self.on = np.zeros(len(y), dtype=bool)
        above = y[:, 0] - lower(np.rint(y[:, 3]) + AHEAD)
        self.on = (self.on | (above < 0.3)) & (above <= 1.0)
        return _own_use(self.plant, y, self.plant.limit[0] * self.on)


def proportional(gain: float = 1.0, plant: HomeParameters = NOMINAL) -> Controller:
    """Return the proportional rule of a `plant`: `gain` in kW/K, and most of what the house loses at 20 °C."""
    gain, most = real(gain, "gain", 0.0), instance(plant, HomeParameters, "plant").limit[0]

    def controller(y):
        y = measured(y, 5)
        outdoor = plant.now(y).outdoor
        missing = lower(np.rint(y[:, 3]) + AHEAD) + 0.3 - y[:, 0]
        P = gain * missing + 0.8 * (20.0 - outdoor) / (plant.R_o * cop(outdoor))
        return _own_use(plant, y, np.clip(P, 0.0, most))

    return controller


def by_tariff(gain: float = 1.0, plant: HomeParameters = NOMINAL) -> Controller:
    """Return the rule of a `plant` that fills its battery while power is cheap; `gain` in kW/K."""
    gain, (most, fastest) = real(gain, "gain", 0.0), instance(plant, HomeParameters, "plant").limit

    def controller(y):
        y = measured(y, 5)
        outdoor = plant.now(y).outdoor
        missing = lower(np.rint(y[:, 3]) + AHEAD) + 0.7 - y[:, 0]
        P = np.clip(gain * missing + (20.0 - outdoor) / (plant.R_o * cop(outdoor)), 0.0, most)
        u = _own_use(plant, y, P)
        ahead = np.array([plant.forecast(k, w, DAY).price for k, w in y[:, 3:]])
        cheaper = (ahead < ahead[:, :1]).mean(axis=1)  # the share of the next day in which power costs less than now
        u[:, 1] = np.where(cheaper < 0.2, fastest, np.where(cheaper > 0.4, u[:, 1], np.maximum(u[:, 1], 0.0)))
        return u

    return controller


def _own_use(plant: HomeParameters, y, P) -> np.ndarray:
    """Return inputs (n, 2): heat pumps at P (n,), and batteries that cover what is used."""
    w = plant.now(y)
    return np.column_stack([P, w.pv - w.load - P])


class Programmed:
    """A program of the house as a controller of n houses; a plan is made `every` steps, and followed till the next.

    Another number of houses than last time starts anew, as `reset` does.

    Parameters
    ----------
    program : HomeProgram
    every : int
        At most the program's horizon; where heat pumps are on or off, at most its `decided` steps.

    Attributes
    ----------
    gaps : list of float
        Of each plan: how far its cost may be above the least one, €.
    """

    def __init__(self, program: HomeProgram, every: int = 4):
        self.program, self.every = instance(program, HomeProgram, "program"), whole(every, "every", 1)
        if self.every > (program.decided if program.on_off and program.decided else program.horizon):
            raise ValueError(f"a plan is followed for {every} steps, but fewer are decided")
        self.reset()

    def reset(self) -> None:
        """Forget plans; all heat pumps are off."""
        self.k, self.ran, self.plans = 0, np.zeros(0, dtype=int), np.zeros((0, 0, 2))
        self.gaps: list[float] = []

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, 2) for what is measured, y (n, 5)."""
        y = measured(y, 5)
        if len(self.ran) != len(y):
            self.k, self.ran = 0, np.zeros(len(y), dtype=int)
        if self.k % self.every == 0:
            left = np.where(self.ran > 0, np.maximum(self.program.run_time - self.ran, 0), 0)
            found = [self.program.plan(s, bool(on), int(n)) for s, on, n in zip(y, self.ran > 0, left, strict=True)]
            self.plans = np.array([plan.u[0, : self.every] for plan in found]).reshape(len(y), self.every, 2)
            self.gaps += [plan.value - plan.bound for plan in found]
        u = self.plans[:, self.k % self.every]
        self.ran = np.where(u[:, 0] > 0.5 * self.program.plant.limit[0], self.ran + 1, 0)
        self.k += 1
        return u.copy()


class Switched:
    """Another controller of n houses whose heat pump is on, at full power, or off: what it owes is carried on.

        owed += P asked;    on where owed >= half the full power, or where it has run for less than run_time steps;
        owed -= full power where it is on;    of what is owed, either way, at most half the full power is carried on

    It is what a reviewer would try first. The plan that it rounds does not know that it is rounded.

    Another number of houses than last time starts anew.

    Parameters
    ----------
    controller : callable
        From what is measured, (n, 5), to inputs (n, 2).
    plant : HomeParameters
    run_time : int
        Steps that the pump runs at least, once on.
    """

    def __init__(self, controller: Controller, plant: HomeParameters = NOMINAL, run_time: int = 1):
        self.controller, self.plant = function(controller, "controller"), instance(plant, HomeParameters, "plant")
        self.run_time = whole(run_time, "run_time", 1)
        self._forget(0)

    def _forget(self, n: int) -> None:
        self.ran, self.owed = np.zeros(n, dtype=int), np.zeros(n)

    def reset(self) -> None:
        """Switch all heat pumps off, and reset the controller."""
        self._forget(0)
        if hasattr(self.controller, "reset"):
            self.controller.reset()

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, 2) for what is measured, y (n, 5)."""
        y, most = measured(y, 5), self.plant.limit[0]
        if len(self.ran) != len(y):
            self._forget(len(y))
        u = inputs(self.controller(y), len(y), 2)
        self.owed = self.owed + u[:, 0]
        on = (self.owed >= 0.5 * most) | ((self.ran > 0) & (self.ran < self.run_time))
        self.ran = np.where(on, self.ran + 1, 0)
        self.owed = np.clip(self.owed - most * on, -0.5 * most, 0.5 * most)
        return np.column_stack([most * on, u[:, 1]])
