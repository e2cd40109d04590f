"""Nonlinear MPC of the cart-pole: swing-up and balance in one problem, as in lecture 02.

min  |L' y(x_N)|^2 + sum_k |weights^(1/2) * (y(x_k), u_k)|^2 + track_weight 1's,   y = (p - target, 2 sin(q/2), v, w)
s.t. x_0 = s,  x_{k+1} = RK4(x_k, u_k),  |u_k| <= max_force,  |p_k| <= track + s_k,  s_k >= 0   (k = 1 … N)

Everything is a named parameter but the force limit: a slider changes the mass without building anything anew.
"""

from __future__ import annotations

from time import process_time
from types import SimpleNamespace

import casadi as ca
import numpy as np

from mpcrl_course.envs import cartpole
from mpcrl_course.envs.cartpole import CartPoleParameters
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, Solution, SolverError, riccati, shift

MODEL = ("cart_mass", "mass", "length", "gravity", "friction")


def terminal_factor(model: CartPoleParameters = CartPoleParameters()) -> np.ndarray:  # noqa: B008 (immutable)
    """Return L with L L' = P, the Riccati solution of the cart-pole linearised at the upright."""
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u", 1)
    step = cartpole.dynamics(x, u, model)
    A, B = (ca.Function("slope", [x, u], [ca.densify(ca.jacobian(step, y))])(np.zeros(4), 0.0).full() for y in (x, u))
    return np.linalg.cholesky(riccati(A, B, np.diag(cartpole.WEIGHTS[:4]), np.diag(cartpole.WEIGHTS[4:]))[0])


def parameters(model: CartPoleParameters = CartPoleParameters()) -> Parameters:  # noqa: B008 (immutable)
    """Return the parameters of the OCP: those of the model, weights, target position, track."""
    return Parameters(
        **{name: getattr(model, name) for name in MODEL},
        weights=cartpole.WEIGHTS, terminal=terminal_factor(model), target=0.0, track=cartpole.TRACK,
        track_weight=cartpole.TRACK_WEIGHT,
    )  # fmt: skip


def problem(
    model: CartPoleParameters = CartPoleParameters(),  # noqa: B008
    horizon: int = 40,
    track: str | None = "soft",
) -> OptimalControlProblem:
    """Return the OCP; see `cartpole_mpc`."""
    if track not in ("soft", "hard", None):
        raise ValueError(f"track is 'soft', 'hard' or None, not {track!r}")

    def track_rows(k, x, u, p):
        if k > 0:
            return Rows(x[0], -p.track, p.track, weight=p.track_weight if track == "soft" else None)

    return OptimalControlProblem(
        n_states=4, n_inputs=1, horizon=horizon, parameters=parameters(model),
        dynamics=lambda x, u, p: cartpole.dynamics(x, u, p),
        stage_cost=lambda k, x, u, p: ca.sumsqr(residual(k, x, u, p)),
        terminal_cost=lambda x, p: ca.sumsqr(residual(horizon, x, None, p)),
        input_lower=-model.max_force, input_upper=model.max_force,
        constraints={"track": track_rows} if track else {},
        state_names=["position", "angle", "velocity", "rate"], input_names=["force"],
    )  # fmt: skip


def residual(k, x, u, p):
    """Return the residuals of a stage (u = None: of the terminal cost), the sum of whose squares is the cost."""
    y = ca.vertcat(x[0] - p.target, 2.0 * ca.sin(0.5 * x[1]), x[2], x[3])
    return p.terminal.T @ y if u is None else ca.sqrt(p.weights) * ca.vertcat(y, u)


def cartpole_mpc(
    model: CartPoleParameters = CartPoleParameters(),  # noqa: B008
    horizon: int = 40,
    solver: str = "rti",
    track: str | None = "soft",
    **options,
) -> MPC:
    """Return the MPC of the cart-pole.

    Parameters
    ----------
    model : CartPoleParameters
        The initial model (its masses, length, gravity and friction are parameters) and the force limit.
    horizon : int
        Number of stages N of 0.05 s.
    solver : {'rti', 'ipopt'}
    track : {'soft', 'hard', None}
        Kind of the constraint on the position.
    **options
        ``line_search=False``, ``fallback=False``: see `RealTimeSolver`.
    """
    if solver == "rti":
        options = {"residual": residual} | options
    return MPC(problem(model, horizon, track), solver, **options)


def with_model(mpc: MPC, theta, model: CartPoleParameters) -> np.ndarray:
    """Return theta with the physical parameters of `model` (all but the force limit)."""
    return mpc.parameters.pack(theta, **{name: getattr(model, name) for name in MODEL})


def first_plan(mpc: MPC, theta, s) -> Solution:
    """Return the cheapest converged plan from s among those found from four guesses.

    A swing-up has many local optima (which way round, how many swings), and real-time iteration follows the one it
    is given: so the first plan is worth some solves by ipopt, before the clock runs. The guesses are the state held
    and straight lines to the nearest upright and to its neighbours, one turn away.

    Raises
    ------
    SolverError
        If no guess leads to an optimum.
    """
    s = np.asarray(s, dtype=float)
    plans = [mpc.reference.policy(theta, s)]
    nearest = 2.0 * np.pi * np.round(s[1] / (2.0 * np.pi))
    for upright in (nearest - 2.0 * np.pi, nearest, nearest + 2.0 * np.pi):
        line = np.linspace(s, [0.0, upright, 0.0, 0.0], len(plans[0].x))
        try:
            plans.append(mpc.reference.policy(theta, s, warm_start=(line, 0.0 * plans[0].u)))
        except SolverError:
            continue  # no optimum is found from there
    return min(plans, key=lambda plan: plan.value)


def closed_loop(mpc: MPC, theta, env: cartpole.CartPole, seed: int | None = None, start=None) -> SimpleNamespace:
    """Run the MPC on the plant for one episode; the plan of each step, one stage further, starts the next.

    Where a solve fails, the next input of the last plan is applied.

    Parameters
    ----------
    mpc : MPC
        Of the cart-pole; sees the measured state.
    theta : array_like, shape (n_theta,)
    env : CartPole
        With `steps`, or it may never end.
    seed, start
        Of the episode: see `CartPole.reset`.

    Returns
    -------
    SimpleNamespace
        x (T + 1, 4) true states, u (T, 1) commands, cost (T,), seconds (T,) of CPU time a decision (the first one is
        `first_plan`), status (T,) of str ('failed' among them), crashed, swung_up: the pole stood, within 0.3 rad,
        for the last second.
    """
    _, info = env.reset(seed=seed, options=None if start is None else {"x": start})
    began = process_time()
    plan = first_plan(mpc, theta, info["measured"])
    status, seconds, states, inputs, costs = [plan.status], [process_time() - began], [info["x"]], [], []
    while True:
        inputs.append(plan.u0)
        _, reward, crashed, truncated, info = env.step(plan.u0)
        states.append(info["x"])
        costs.append(-reward)
        if crashed or truncated:
            break
        began = process_time()
        plan = shift(plan)
        try:
            plan = mpc.policy(theta, info["measured"], warm_start=plan)
            status.append(plan.status)
        except SolverError:
            status.append("failed")
        seconds.append(process_time() - began)
    x = np.array(states)
    upright = np.abs(2.0 * np.sin(0.5 * x[-20:, 1])).max() < 0.3
    return SimpleNamespace(
        x=x, u=np.array(inputs), cost=np.array(costs), seconds=np.array(seconds), status=np.array(status),
        crashed=crashed, swung_up=bool(upright and not crashed),
    )  # fmt: skip
