"""Load-frequency control of a power system of areas joined by tie lines (section 3 of the course's problems).

Area i has a state (angle_i in rad, frequency deviation omega_i in rad/s, mechanical power P_m,i, valve position P_v,i),
an input u_i (the reference of its governor) and a load; powers are per unit:

    d angle_i / dt = omega_i,
    2 H_i d omega_i / dt = P_m,i - load_i - D_i omega_i - sum_j P_ij (angle_i - angle_j),
    T_t,i d P_m,i / dt = P_v,i - P_m,i,
    T_g,i d P_v,i / dt = u_i - omega_i / R_i - P_v,i.

Inputs and loads are held for a second each, so a step is the exact matrix exponential of this linear system.

**What is known.** A load is a nominal one, which is measured, and noise around it, which is not: U(-noise, noise),
drawn anew for each area and second. An observation holds, area after area, (angle, omega, P_m, P_v, nominal load),
five numbers: with the load among its states, a controller needs to be told nothing else. The nominal load changes
unannounced: it acts for a second before anybody can answer it.

The set-point of an area is angle = omega = 0 and P_m = P_v = u = load: it covers its own load. Some loads are beyond
what its input can give; then the others help through the tie lines, which takes differences of angles.

Sources: Riverso & Ferrari-Trecate, Hycon2 benchmark: power network system, 2012 (model); Mallick, Airaldi, Dabiri &
De Schutter, Automatica 167:111803, 2024 (costs, limits, loads).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import expm

from mpcrl_course.envs.plant import PlantEnv, PlantParameters
from mpcrl_course.validation import asfloats, floats, instance, real, short, whole

#: Entries of an area's observation, and how many.
ENTRIES = ("angle", "omega", "P_m", "P_v", "load")
N_X = len(ENTRIES)
#: Length of a step (s), and largest |angle| (rad), a soft limit.
DT = 1.0
ANGLE_LIMIT = 0.1
#: Cost of (angle, omega, P_m, P_v) beside the set-point, of u, and of a radian of violation.
W_X, W_U, WEIGHT = np.array([500.0, 0.01, 0.01, 10.0]), 10.0, 500.0
#: Set-point of (angle, omega, P_m, P_v) for a load of 1.
PER_LOAD = np.array([0.0, 0.0, 1.0, 1.0])
DISCOUNT = 0.9
NOISE = 0.1
#: From which step on (counted from 1) which nominal loads act (per unit).
SCENARIO = (
    (5, (0.15, 0.0, 0.0, 0.0)), (15, (0.15, -0.15, 0.0, 0.0)), (20, (0.15, -0.15, 0.12, 0.0)),
    (40, (0.15, -0.15, -0.12, 0.28)),
)  # fmt: skip


def checked_scenario(scenario, n: int) -> list[tuple[int, np.ndarray]]:
    """Return a scenario with its loads as arrays (n,); raises ValueError if they are not n finite numbers each."""
    if not isinstance(scenario, Sequence) or not all(isinstance(e, Sequence) and len(e) == 2 for e in scenario):
        raise ValueError(f"scenario is a list of (step, loads), not {short(scenario)}")
    scenario = [(whole(step, "a step of scenario"), floats(loads, "the loads of scenario")) for step, loads in scenario]
    for step, loads in scenario:
        if loads.shape != (n,) or not np.isfinite(loads).all():
            raise ValueError(f"the loads from step {step} on must be {n} finite numbers, not {loads}")
    return scenario


class Noise(NamedTuple):
    """What happens to n runs, drawn beforehand.

    Attributes
    ----------
    e : ndarray, shape (steps, n, M)
        Added to the nominal loads and not measured.
    load : ndarray, shape (steps, n, M)
        The nominal loads that act in each step.
    """

    e: np.ndarray
    load: np.ndarray


@dataclass(frozen=True)
class PowerParameters(PlantParameters):
    """The plant by its physical parameters; the areas stand in a line.

    Attributes
    ----------
    H, R, D : tuple of float, one an area
        Inertia (s), droop (deviation of frequency that moves the valve by 1, rad/s per unit), damping (per unit s/rad).
    T_t, T_g, limit : tuple of float, one an area
        Time constants of turbine and governor (s), largest |u| (per unit).
    P_tie : tuple of float
        Of the tie lines between areas 1 and 2, 2 and 3, …: transferred power per radian of difference.
    noise, weight : float
        Half the width of the noise on every load (per unit); cost of a radian of violation.
    """

    H: tuple[float, ...] = (12.0, 10.0, 8.0, 8.0)
    R: tuple[float, ...] = (0.05, 0.0625, 0.08, 0.08)
    D: tuple[float, ...] = (0.7, 0.9, 0.9, 0.7)
    T_t: tuple[float, ...] = (0.65, 0.4, 0.3, 0.6)
    T_g: tuple[float, ...] = (0.1, 0.1, 0.1, 0.1)
    P_tie: tuple[float, ...] = (4.0, 2.0, 2.0)
    limit: tuple[float, ...] = (0.2, 0.1, 0.3, 0.1)
    noise: float = NOISE
    weight: float = WEIGHT
    n_areas = property(lambda self: len(self.H))
    n_states = property(lambda self: N_X * self.n_areas)

    def __post_init__(self):
        for name in ("H", "R", "D", "T_t", "T_g", "P_tie", "limit"):
            values = floats(getattr(self, name), name)
            if values.ndim != 1:
                raise ValueError(f"{name} has one entry an area, in a tuple, and is not {short(values)}")
            object.__setattr__(self, name, tuple(values.tolist()))
            wanted = self.n_areas - (name == "P_tie")
            if len(values) != wanted:
                raise ValueError(f"{name} has {len(values)} entries, but there are {self.n_areas} areas: give {wanted}")
        self._check("H R T_t T_g", "D P_tie limit noise weight")

    @cached_property
    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """A and B of a step of a second, shapes (4 M, 4 M) and (4 M, 2 M); see `continuous`."""
        return held(*continuous(self))

    def ties(self) -> np.ndarray:
        """Return P, shape (M, M): P_ij where a tie line joins i and j, else 0."""
        return np.diag(self.P_tie, 1) + np.diag(self.P_tie, -1)

    P = cached_property(ties)

    def stronger(self, factor: float) -> PowerParameters:
        """Return the same areas with `factor` times as strong tie lines."""
        factor = real(factor, "factor", 0.0)
        return replace(self, P_tie=tuple(factor * P for P in self.P_tie))

    def draw(self, rng, n: int, steps: int, scenario=None) -> Noise:
        """Draw the noise of n runs of so many `steps`, all with the nominal loads of a scenario; `rng` may be a seed.

        The scenario of four areas is `SCENARIO`, unless another one is given.
        """
        scenario = (SCENARIO if self.n_areas == 4 else ()) if scenario is None else scenario
        e = self._generator(rng, n, steps).uniform(-self.noise, self.noise, (steps, n, self.n_areas))
        load = np.zeros_like(e)
        for step, loads in checked_scenario(scenario, self.n_areas):
            load[max(step, 1) - 1 :] = loads
        return Noise(e, load)

    def move(self, x, u, noise: Noise) -> np.ndarray:
        """Return the areas' next states, shape (…, M, 5) as x."""
        A, B = self.held
        known, after = x[..., :4].reshape(x.shape[:-2] + (-1,)), np.empty(x.shape)
        moved = known @ A.T + np.concatenate([u, noise.load + noise.e], axis=-1) @ B.T
        after[..., :4], after[..., 4] = moved.reshape(x.shape[:-1] + (4,)), noise.load
        return after

    def step(self, x, u, noise: Noise):
        """Return the next states (n, 5 M), the costs (n,) of this step, and that no run ends, for inputs u (n, M).

        x (n, 5 M) are the states before, area by area, `noise` is that of this step.
        """
        areas = x.reshape(*x.shape[:-1], -1, N_X)
        cost = stage_cost(areas, u, self.P, self.weight).sum(-1)
        return self.move(areas, u, noise).reshape(x.shape), cost, np.zeros(np.shape(cost), dtype=bool)


TRUE = PowerParameters()


def area(H, R, D, T_t, T_g, P):
    """Return A (4, 4) and B (4, 2) of one area with tie lines of the strength P in all: dx/dt = A x + B (u, arriving).

    H, R, D, T_t and T_g are the area's, as in `PowerParameters`. The power that arrives is sum_j P_ij angle_j - load.
    """
    A = np.array([[0.0, 1.0, 0.0, 0.0], [-P / (2 * H), -D / (2 * H), 1 / (2 * H), 0.0],
                  [0.0, 0.0, -1 / T_t, 1 / T_t], [0.0, -1 / (R * T_g), 0.0, -1 / T_g]])  # fmt: skip
    B = np.array([[0.0, 0.0], [0.0, 1 / (2 * H)], [0.0, 0.0], [1 / T_g, 0.0]])
    return A, B


def continuous(p: PowerParameters) -> tuple[np.ndarray, np.ndarray]:
    """Return A (4 M, 4 M) and B (4 M, 2 M) of all areas: dx/dt = A x + B (u_1, …, u_M, load_1, …, load_M).

    They are those of the plant p.
    """
    n, P = p.n_areas, p.ties()
    A, B = np.zeros((4 * n, 4 * n)), np.zeros((4 * n, 2 * n))
    for i in range(n):
        own = slice(4 * i, 4 * i + 4)
        A[own, own], both = area(p.H[i], p.R[i], p.D[i], p.T_t[i], p.T_g[i], P[i].sum())
        B[own, i], B[own, n + i] = both[:, 0], -both[:, 1]
        A[4 * i + 1, ::4] += P[i] / (2 * p.H[i])
    return A, B


def held(A, B, dt: float = DT) -> tuple[np.ndarray, np.ndarray]:
    """Return what A and B do in a time dt (s) in which the inputs are held: x+ = A_d x + B_d u, exactly."""
    n, m = np.shape(B)
    both = expm(dt * np.block([[A, B], [np.zeros((m, n + m))]]))
    return both[:n, :n], both[:n, n:]


def stage_cost(x, u, P, weight: float = WEIGHT) -> np.ndarray:
    """Return the stage cost L_i of every area; add them up for the network's L.

    L_i = sum of W_X * (beside the set-point)^2 + W_U (u - load)^2 + 1/2 sum_j |P_ij (angle_i - angle_j)| (power that
    its tie lines carry: half of it, the other half is the neighbour's) + weight * violation of |angle| <= ANGLE_LIMIT.

    Parameters
    ----------
    x : array_like, shape (…, M, 5)
    u : array_like, shape (…, M)
    P : array_like, shape (M, M)
        See `PowerParameters.ties`.
    weight : float

    Returns
    -------
    ndarray, shape (…, M)
    """
    x, u = asfloats(x, "x"), asfloats(u, "u")
    angle, load = x[..., 0], x[..., 4]
    beside = x[..., :4] - PER_LOAD * load[..., None]
    flows = np.abs(P * (angle[..., :, None] - angle[..., None, :])).sum(-1)
    violation = np.maximum(0.0, np.abs(angle) - ANGLE_LIMIT)
    return (beside**2) @ W_X + W_U * (u - load) ** 2 + 0.5 * flows + weight * violation


class PowerSystem(PlantEnv):
    """The areas as a Gymnasium environment: observation (x_1, …, x_M) of five each, action (u_1, …, u_M), reward -L.

    Its `x` has shape (M, 5). The info of a step holds, beside the cost, ``costs``, the areas' (L_1, …, L_M): of the
    state, nominal load and input at the beginning of the second; and ``noise``, what was added to the nominal loads.

    Parameters
    ----------
    parameters, steps, recorded
        See `PlantEnv`.
    noise, weight : float, optional
        Instead of those of the parameters.
    scenario : sequence of (step, loads)
        From which step on, counted from 1, which nominal loads act; before the first of them there are none.
    """

    def __init__(
        self, parameters=TRUE, noise=None, weight=None, steps: int | None = 100, scenario=SCENARIO, recorded=None
    ):
        instance(parameters, PowerParameters, "parameters")
        given = {"noise": noise, "weight": weight}
        parameters = replace(parameters, **{name: value for name, value in given.items() if value is not None})
        super().__init__(parameters, steps, np.zeros(parameters.n_states), shape=(-1, N_X), recorded=recorded)
        self.scenario = checked_scenario(scenario, parameters.n_areas)

    def _move(self, u):
        p, load = self.parameters, self.x[:, 4]
        costs = stage_cost(self.x, u, p.P, p.weight)
        e = self._uniform(-p.noise, p.noise)
        for step, loads in self.scenario:
            if step == self.count + 1:
                load = loads
        self.x = p.move(self.x, u, Noise(e, load))
        return float(costs.sum()), False, {"costs": costs, "noise": e}
