"""The problems of the racing car, as in lecture 10: to drive fast, and to change another driver's input least.

The driving MPC goes along the track as fast as grip and edges allow:

min  sum_k (s'_k - v_ref)^2 + 0.01 n_k^2 + 0.1 mu_k^2 + 0.01 a_k^2 + delta_k^2 + 100 (slacks)     (x_N: without u)
s.t. x_0 = s,  x_{k+1} = RK4(x_k, u_k),  -6 <= a_k <= 4 m/s^2,  |delta_k| <= 0.35 rad,
     |n_k| <= track - 0.1 m + slack  (k = 1 … N),   (a_k^2 + (v_k^2 c_k)^2) / (0.95 grip)^2 <= 1 + slack  (k < N)

s' = v cos mu / (1 - n kappa) is the speed along the centre line: who cuts a bend gains. The margins of 0.1 m and 5 %
are for what a plan of soft rows, improved by one step a decision, does not keep exactly.

The safety MPC looks for the least change of an input after which the car can still stop on the track:

min  |(u_0 - target) / (5, 0.35)|^2 + 1e-4 sum_{k>0} |u_k / (5, 0.35)|^2 + 100 (slacks)
s.t. x_0 = s,  x_{k+1} = RK4(x_k, u_k),  the box on u,   0 <= v_k <= 12 m/s,  v_N = 0,
     |n_k| <= track - 0.05 m + slack  (k = 1 … N),   (a_k^2 + (v_k^2 c_k)^2) / (0.98 grip)^2 <= 1 + slack  (k < N)

What is paid for is u_0 - target, not u_0: at u_0 = target it is nothing. That the car stops is hard; edges and grip are
soft, as a plan that is certified may lie within their margins, where a hard QP has no solution. Nothing is promised
here: a plan of it is rolled out before it is believed (`policies/race_filter.py`).
"""

from __future__ import annotations

import casadi as ca
import numpy as np

from mpcrl_course.envs import race
from mpcrl_course.envs.race import CAR, RaceParameters
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows
from mpcrl_course.validation import choice, instance

#: Of s' - v_ref, n, mu, a, delta.
WEIGHTS = np.array([1.0, 0.01, 0.1, 0.01, 1.0])
ROW_WEIGHT = 100.0
MARGIN, SHARE = 0.1, 0.95
#: Of the safety MPC: what a change of u is measured by, the weight on inputs that are not asked about, and margins.
SCALE, SMALL = np.array([5.0, 0.35]), 1e-4
SAFE_MARGIN, SAFE_SHARE = 0.05, 0.98
STATES, INPUTS = ("length", "offset", "heading", "speed"), ("acceleration", "steering")


def residual(k, x, u, p):
    """Return the residuals of a stage (u = None: of the terminal cost), the sum of whose squares is the cost.

    x (4,) and u (2,) are CasADi columns, p the parameters by name; all stages k have the same residuals.
    """
    along = race.derivative(x, 0.0, 0.0)[0]
    y = ca.vertcat(along - p.v_ref, x[1], x[2])
    y = y if u is None else ca.vertcat(y, u)
    return np.sqrt(WEIGHTS[: y.numel()]) * y


def circle(x, u, p, share: float = SHARE):
    """Return (a^2 + (v^2 c)^2) / (share grip)^2, at most 1 where a `share` of the grip is kept.

    x and u are CasADi columns, p has gain and grip.
    """
    lateral = x[3] ** 2 * race.path_curvature(u[1], p.gain)
    return (u[0] ** 2 + lateral**2) / (share * p.grip) ** 2


def parameters(model: RaceParameters = CAR) -> Parameters:
    """Return the parameters of the OCP: reference speed (m/s), half width of the track (m), the model's grip, gain."""
    instance(model, RaceParameters, "model")
    return Parameters(v_ref=race.MAX_SPEED, track=race.WIDTH, grip=model.grip, gain=model.gain)


def problem(model: RaceParameters = CAR, horizon: int = 40) -> OptimalControlProblem:
    """Return the OCP; model and horizon are those of `race_mpc`."""

    def edges(k, x, u, p):
        if k > 0:
            return Rows(x[1], MARGIN - p.track, p.track - MARGIN, weight=ROW_WEIGHT)

    def grip(k, x, u, p):
        if u is not None:
            return Rows(circle(x, u, p), None, 1.0, weight=ROW_WEIGHT)

    return OptimalControlProblem(
        n_states=4, n_inputs=2, horizon=horizon, parameters=parameters(model),
        dynamics=lambda x, u, p: race.dynamics(x, u, p),
        stage_cost=lambda k, x, u, p: ca.sumsqr(residual(k, x, u, p)),
        terminal_cost=lambda x, p: ca.sumsqr(residual(horizon, x, None, p)),
        input_lower=race.LOWER, input_upper=race.UPPER, constraints={"edges": edges, "grip": grip},
        state_names=STATES, input_names=INPUTS,
        guesses=lambda s, p: guesses(s, horizon),
    )  # fmt: skip


def race_mpc(model: RaceParameters = CAR, horizon: int = 40, solver: str = "rti", **options) -> MPC:
    """Return the driving MPC of the car.

    Parameters
    ----------
    model : RaceParameters
        The initial model: its grip and gain are parameters.
    horizon : int
        Number of stages N of 0.05 s: 40 see 24 m ahead at full speed, about as far as a stop from there takes.
    solver : {'rti', 'ipopt'}
    **options
        See `RealTimeSolver`.
    """
    if choice(solver, ("rti", "ipopt"), "solver") == "rti":
        options = {"residual": residual} | options
    return MPC(problem(model, horizon), solver, **options)


def safety_residual(k, x, u, p):
    """Return the residuals of a stage of the safety MPC; k, x, u and p are those of `residual`."""
    if u is None:
        return 0.0 * x[1]
    return (u - p.target) / SCALE if k == 0 else np.sqrt(SMALL) * u / SCALE


def safety_mpc(model: RaceParameters = CAR, horizon: int = 40, solver: str = "rti", **options) -> MPC:
    """Return the safety MPC, whose parameter `target` (2,) is the input that is wanted.

    Parameters
    ----------
    model, solver, **options
        Those of `race_mpc`. Without ipopt behind it by default: who asks has another plan.
    horizon : int
        Number of stages N of 0.05 s, at the end of which the car stands: 40 stop it from 12 m/s where it need not
        steer, so it is slower in bends; 50 leave it more room.
    """
    instance(model, RaceParameters, "model")

    def edges(k, x, u, p):
        if k > 0:
            return Rows(x[1], SAFE_MARGIN - p.track, p.track - SAFE_MARGIN, weight=ROW_WEIGHT)

    def grip(k, x, u, p):
        if u is not None:
            return Rows(circle(x, u, p, SAFE_SHARE), None, 1.0, weight=ROW_WEIGHT)

    def speed(k, x, u, p):
        if k > 0:
            return Rows(x[3], 0.0, race.MAX_SPEED if k < horizon else 0.0)

    if choice(solver, ("rti", "ipopt"), "solver") == "rti":
        options = {"residual": safety_residual, "fallback": False} | options
    problem = OptimalControlProblem(
        n_states=4, n_inputs=2, horizon=horizon,
        parameters=Parameters(target=[0.0, 0.0], track=race.WIDTH, grip=model.grip, gain=model.gain),
        dynamics=lambda x, u, p: race.dynamics(x, u, p),
        stage_cost=lambda k, x, u, p: ca.sumsqr(safety_residual(k, x, u, p)), terminal_cost=lambda x, p: 0.0 * x[1],
        input_lower=race.LOWER, input_upper=race.UPPER, constraints={"edges": edges, "grip": grip, "speed": speed},
        state_names=STATES, input_names=INPUTS,
    )  # fmt: skip
    return MPC(problem, solver, **options)


def guesses(s, N: int) -> list:
    """Return where a first plan of N stages may start: the speed held along the centre line.

    Parameters
    ----------
    s : ndarray, shape (4,)
    N : int
    """
    x = np.tile(s, (N + 1, 1))
    x[:, 0] += s[3] * race.DT * np.arange(N + 1)
    x[1:, 1:3] = 0.0
    u = np.stack([np.zeros(N), race.steering(race.curvature(x[:-1, 0]))], axis=-1)
    return [(x, u)]
