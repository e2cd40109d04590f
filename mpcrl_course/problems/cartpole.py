"""Nonlinear MPC of the cart-pole: swing-up and balance in one problem, as in lecture 02.

min  |L' y(x_N)|^2 + sum_k |weights^(1/2) * (y(x_k), u_k)|^2 + track_weight 1's,   y = (p - target, 2 sin(q/2), v, w)
s.t. x_0 = s,  x_{k+1} = RK4(x_k, u_k),  |u_k| <= max_force,  |p_k| <= track + s_k,  s_k >= 0   (k = 1 … N)

Everything is a named parameter but the force limit: a slider changes the mass without building anything anew.
"""

from __future__ import annotations

from dataclasses import replace

import casadi as ca
import numpy as np

from mpcrl_course.envs import cartpole
from mpcrl_course.envs.cartpole import CartPoleParameters
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, riccati
from mpcrl_course.validation import choice, flag, instance, reals

MODEL = ("cart_mass", "mass", "length", "gravity", "friction")


def terminal_factor(
    model: CartPoleParameters = CartPoleParameters(),  # noqa: B008 (immutable)
    weights=cartpole.WEIGHTS,
) -> np.ndarray:
    """Return L (4, 4) with L L' = P, the Riccati solution of the model of the cart-pole linearised at the upright.

    Dry friction, whose slope at rest says nothing of a cart that moves, is left out; the `weights` (5,) are those of
    the stage cost.
    """
    model, weights = replace(instance(model, CartPoleParameters, "model"), coulomb=0.0), reals(weights, "weights", (5,))
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u", 1)
    step = cartpole.dynamics(x, u, model)
    A, B = (ca.Function("slope", [x, u], [ca.densify(ca.jacobian(step, y))])(np.zeros(4), 0.0).full() for y in (x, u))
    return np.linalg.cholesky(riccati(A, B, np.diag(weights[:4]), np.diag(weights[4:]))[0])


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
    """Return the OCP; model, horizon and track are those of `cartpole_mpc`. ValueError: another kind of track."""
    choice(track, ("soft", "hard", None), "track"), instance(model, CartPoleParameters, "model")

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
        guesses=lambda s, p: guesses(s, horizon),
    )  # fmt: skip


def residual(k, x, u, p):
    """Return the residuals of a stage (u = None: of the terminal cost), the sum of whose squares is the cost.

    x (4,) and u (1,) are CasADi columns, p the parameters by name; all stages k have the same residuals.
    """
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
    if choice(solver, ("rti", "ipopt"), "solver") == "rti":
        options = {"residual": residual} | options
    return MPC(problem(model, horizon, track), solver, **options)


def with_model(mpc: MPC, theta, model: CartPoleParameters, terminal: bool = False) -> np.ndarray:
    """Return theta of the mpc with the physical parameters of `model` (all but the force limit).

    If `terminal`, the terminal cost follows: it is that of `terminal_factor` for the model and the weights in theta.
    """
    instance(mpc, MPC, "mpc"), instance(model, CartPoleParameters, "model")
    theta = mpc.parameters.pack(theta, **{name: getattr(model, name) for name in MODEL})
    if flag(terminal, "terminal"):
        theta = mpc.parameters.pack(theta, terminal=terminal_factor(model, mpc.parameters.unpack(theta).weights))
    return theta


def guesses(s, N: int) -> list:
    """Return where a first plan of N stages may start: the state held, lines to the nearest upright and its neighbours.

    Parameters
    ----------
    s : ndarray, shape (4,)
    N : int
    """
    nearest = 2.0 * np.pi * np.round(s[1] / (2.0 * np.pi))
    uprights = (nearest - 2.0 * np.pi, nearest, nearest + 2.0 * np.pi)
    return [None, *((np.linspace(s, [0.0, q, 0.0, 0.0], N + 1), np.zeros((N, 1))) for q in uprights)]
