"""Nonlinear MPC of the torque-limited pendulum: swing-up and balance in one problem, as in lecture 04.

min  y_N'P y_N + P_11 (1 - cos q_N)^2 + sum_k 4 sin^2(q_k / 2) + 0.1 v_k^2 + 0.001 u_k^2 + speed_weight s_k
s.t. x_0 = s,  x_{k+1} = f(x_k, u_k),  |u_k| <= max_torque,  |v_k| <= max_speed - back_off + s_k,  s_k >= 0

P is the Riccati matrix at the upright, y = (sin q, v). 4 sin^2(q/2) = sin^2 q + (1 - cos q)^2 is q^2 near the upright,
and smooth where the wrapped angle jumps; like the plant, the costs do not know how many turns were made. The input of
the problem is the torque's share of its limit, so that the limit is a parameter, too: all that the MPC believes about
the plant is in theta, and to tell it of a change is to change theta (`with_model`).
"""

from __future__ import annotations

import casadi as ca
import numpy as np

from mpcrl_course.envs import pendulum
from mpcrl_course.envs.pendulum import PendulumParameters
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, riccati
from mpcrl_course.validation import choice, instance, real

MODEL = ("mass", "length", "gravity", "friction", "max_torque")
NOMINAL = PendulumParameters()
#: Cost of exceeding the speed limit by 1 rad/s for one step. A further swing costs about 100, so that a limit that asks
#: for one is exceeded a little (0.05 rad/s at 5.4 rad/s); 5000 keeps it, at the price of that swing.
SPEED_WEIGHT = 200.0


def terminal_factor(model: PendulumParameters = NOMINAL) -> np.ndarray:
    """Return F (2, 2), lower triangular, with F F' = P, the Riccati solution of the model linearised at the upright."""
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u", 1)
    step = pendulum.dynamics(x, u, model)
    A, B = (ca.Function("slope", [x, u], [ca.densify(ca.jacobian(step, y))])(np.zeros(2), 0.0).full() for y in (x, u))
    return np.linalg.cholesky(riccati(A, B, np.diag([1.0, 0.1]), np.array([[0.001]]))[0])


def residual(k, x, u, p):
    """Return the residuals of a stage (u = None: of the terminal cost), the sum of whose squares is the cost.

    x (2,) and u (1,), a share of the torque limit, are CasADi columns, p the parameters by name; all stages k have the
    same residuals.
    """
    if u is None:
        # not 2 sin(q/2): one turn on it has the other sign, and with it the product of angle and velocity
        return ca.vertcat(p.terminal.T @ ca.vertcat(ca.sin(x[0]), x[1]), p.terminal[0, 0] * (1.0 - ca.cos(x[0])))
    return ca.vertcat(2.0 * ca.sin(0.5 * x[0]), np.sqrt(0.1) * x[1], np.sqrt(0.001) * p.max_torque * u[0])


def problem(model: PendulumParameters = NOMINAL, horizon: int = 50, max_speed: float | None = None):
    """Return the OCP; model, horizon and max_speed are those of `pendulum_mpc`."""
    instance(model, PendulumParameters, "model")
    if max_speed is not None:
        max_speed = real(max_speed, "max_speed", 0.0, strict=True)

    def speed(k, x, u, p):
        if k > 0:
            bound = p.max_speed - p.back_off
            return Rows(x[1], -bound, bound, weight=p.speed_weight)

    limit = {} if max_speed is None else {"max_speed": max_speed, "back_off": 0.0, "speed_weight": SPEED_WEIGHT}
    return OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=horizon,
        parameters=Parameters(**{n: getattr(model, n) for n in MODEL}, terminal=terminal_factor(model), **limit),
        dynamics=lambda x, u, p: pendulum.dynamics(x, p.max_torque * u, p),
        stage_cost=lambda k, x, u, p: ca.sumsqr(residual(k, x, u, p)),
        terminal_cost=lambda x, p: ca.sumsqr(residual(horizon, x, None, p)),
        input_lower=-1.0, input_upper=1.0, constraints={} if max_speed is None else {"speed": speed},
        state_names=["angle", "velocity"], input_names=["share of the torque limit"],
        angles=(0,), guesses=lambda s, p: guesses(s, p, horizon), input_scale=lambda p: p.max_torque,
    )  # fmt: skip


def pendulum_mpc(
    model: PendulumParameters = NOMINAL, horizon: int = 50, solver: str = "rti", max_speed: float | None = None
) -> MPC:
    """Return the MPC of the pendulum.

    Parameters
    ----------
    model : PendulumParameters
        What it believes at first.
    horizon : int
        Number of stages of 0.05 s.
    solver : {'rti', 'ipopt'}
    max_speed : float, optional
        Soft limit on |v_1| … |v_N| in rad/s (then `max_speed`, `back_off` and `speed_weight` are parameters); none by
        default.
    """
    options = {"residual": residual} if choice(solver, ("rti", "ipopt"), "solver") == "rti" else {}
    return MPC(problem(model, horizon, max_speed), solver, **options)


def with_model(mpc: MPC, theta, model: PendulumParameters) -> np.ndarray:
    """Return theta of the mpc with the physical parameters of `model`, and the terminal cost that belongs to them."""
    return mpc.parameters.pack(theta, **{n: getattr(model, n) for n in MODEL}, terminal=terminal_factor(model))


def guesses(s, p, N: int) -> list:
    """Return where a first plan of N stages may start: straight lines to the uprights within reach, and a `swing`.

    Parameters
    ----------
    s : ndarray, shape (2,)
    p : namespace
        Parameters of the problem.
    N : int
    """
    nearest = 2.0 * np.pi * np.round(s[0] / (2.0 * np.pi))
    uprights = [nearest + turn for turn in (-2.0 * np.pi, 0.0, 2.0 * np.pi) if abs(s[0] - nearest - turn) < 1.6 * np.pi]
    lines = [(np.linspace(s, [upright, 0.0], N + 1), np.zeros((N, 1))) for upright in uprights]
    return [*lines, swing(s, p, N)]


def swing(s, p, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return states and inputs of a swing from s: push along the velocity until the energy is that of the upright.

    Parameters
    ----------
    s : array_like, shape (2,)
    p : namespace
        Parameters of the problem.
    steps : int
    """
    x, u = np.empty((steps + 1, 2)), np.empty((steps, 1))
    x[0] = s
    for k in range(steps):
        q, v = x[k]
        missing = 0.5 * p.mass * p.gravity * p.length * (1.0 - np.cos(q)) - p.mass * p.length**2 / 6.0 * v**2
        push = np.sign(missing) * (1.0 if v >= 0.0 else -1.0)
        if abs(pendulum.wrap(q)) < 0.5:
            push = np.clip(-(10.0 * pendulum.wrap(q) + 3.0 * v) * p.mass / p.max_torque, -1.0, 1.0)
        u[k] = push
        x[k + 1] = pendulum.dynamics(x[k], p.max_torque * u[k], p)
    return x, u
