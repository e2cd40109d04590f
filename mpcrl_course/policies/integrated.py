"""Integrated: a network inside the optimal-control problem, phi_theta(s, z), where z is what is optimised.

    min_z  sum_k L(x_k, u_k) + |c(x_k, u_k)|^2 + V_f(x_N)       z = (u_0, x_1, u_1, …, x_N)
    s.t.   x_0 = s,   x_{k+1} = f(x_k, u_k) + (0, 0, phi(x_k, u_k)),   |u_k| <= max_force,   |p_k| <= track + s_k

phi, two hidden layers of tanh of (cos q, sin q, v, w/3, F/15), is what the model f of the cart-pole misses of the next
v and w; c, if there is one, a learned cost. They are trained beforehand (`learners/regression.py`), by what they
predict and not through the solver. Here the solver differentiates them: not in theta, but in z, at every decision.
The rest of the theory is that of MPC with another model: what is optimised is optimal for f + phi.
"""

from __future__ import annotations

from dataclasses import replace

import casadi as ca
import numpy as np

from mpcrl_course.envs.cartpole import CartPoleParameters
from mpcrl_course.envs.plant import CASADI
from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import MPC
from mpcrl_course.problems import cartpole
from mpcrl_course.validation import asfloats, choice, flag, instance

#: By what v, w and F are divided for a network: about the size that they have in a swing-up.
SCALE = np.array([1.0, 3.0, 15.0])


def features(x, u):
    """Return what a network is shown of a cart-pole: (cos q, sin q, v, w/3, F/15).

    The position is none of it: the dynamics are the same all along the track.

    Parameters
    ----------
    x : CasADi column (4,) or ndarray, shape (..., 4)
    u : CasADi column (1,) or ndarray, shape (..., 1)
    """
    if isinstance(x, CASADI):
        return ca.vertcat(ca.cos(x[1]), ca.sin(x[1]), x[2] / SCALE[0], x[3] / SCALE[1], u[0] / SCALE[2])
    x, u = asfloats(x, "x"), asfloats(u, "u")
    q = x[..., 1]
    return np.stack([np.cos(q), np.sin(q), *np.moveaxis(np.concatenate([x[..., 2:], u], -1) / SCALE, -1, 0)], axis=-1)


def feature_mlp(rng: np.random.Generator, n_outputs: int = 2, width: int = 32) -> MLP:
    """Return a new network of the `features`: tanh, as what is optimised over must be smooth; weights drawn with rng.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_outputs, width : int
    """
    return MLP(5, n_outputs, rng, width=width, activation="tanh", dtype=np.float64)


class ResidualModel:
    """The next state's error of a model of the cart-pole: (0, 0, phi(x, u)), in NumPy and in CasADi.

    Positions follow from velocities whatever the forces are: their error of a step is left to the model.

    Parameters
    ----------
    phi : MLP
        Of the five `features`, with two outputs, tanh.
    """

    def __init__(self, phi: MLP):
        self.phi = _smooth(phi, 2, "phi")

    def __call__(self, x, u):
        """Return (0, 0, phi(x, u)), shape (..., 4), for x (..., 4) and u (..., 1), or for CasADi columns a column."""
        if isinstance(x, CASADI):
            return ca.vertcat(0.0, 0.0, self.phi.expression(features(x, u)))
        value = self.phi(features(x, u))
        return np.concatenate([np.zeros_like(value), value], axis=-1)

    def along(self, x, u, slopes: bool):
        """Return values (N, 4) along a path x (N, 4), u (N, 1) and, if `slopes`, the Jacobian in (x, u), (N, 4, 5)."""
        if not slopes:
            return self(x, u), None
        z = features(x, u)
        y, J = self.phi.jacobian(z)
        value, slope = np.zeros((len(x), 4)), np.zeros((len(x), 4, 5))
        value[:, 2:] = y
        slope[:, 2:, 1] = J[:, :, 1] * z[:, :1] - J[:, :, 0] * z[:, 1:2]  # d(cos, sin)/dq = (-sin, cos)
        slope[:, 2:, 2:] = J[:, :, 2:] / SCALE
        return value, slope


def integrated_mpc(
    phi: MLP,
    model: CartPoleParameters = cartpole.CartPoleParameters(),  # noqa: B008 (immutable)
    horizon: int = 40,
    solver: str = "rti",
    cost: MLP | None = None,
    split: bool = True,
    **options,
) -> MPC:
    """Return the MPC of the cart-pole with networks inside its problem; a network of zeros makes it the plain one.

    Parameters
    ----------
    phi : MLP
        See `ResidualModel`.
    model, horizon, solver
        Those of `cartpole_mpc`.
    cost : MLP, optional
        Of the `features`; the squares of its outputs are added to the cost of each stage.
    split : bool
        Whether real-time iteration evaluates phi for all stages at once, outside of CasADi, which is faster and else
        the same (`SplitRealTimeSolver`).
    **options
        ``line_search=False``, ``fallback=False``: see `RealTimeSolver`.
    """
    added, plain = ResidualModel(phi), cartpole.problem(model, horizon)
    choice(solver, ("rti", "ipopt"), "solver"), flag(split, "split")
    learned = None if cost is None else _smooth(cost, None, "cost")

    def residual(k, x, u, p):
        known = cartpole.residual(k, x, u, p)
        return known if u is None or learned is None else ca.vertcat(known, learned.expression(features(x, u)))

    problem = replace(
        plain,
        dynamics=lambda x, u, p: plain.dynamics(x, u, p) + added(x, u),
        stage_cost=lambda k, x, u, p: ca.sumsqr(residual(k, x, u, p)),
    )
    if solver == "ipopt":
        return MPC(problem, solver, **options)
    options |= {"split": (plain.dynamics, added.along)} if split else {}
    return MPC(problem, solver, residual=residual, **options)


def _smooth(network: MLP, n_outputs: int | None, name: str) -> MLP:
    """Return a copy of a network of the features, if it is one."""
    found = instance(network, MLP, name)
    if found.sizes[0] != 5 or n_outputs not in (None, found.sizes[-1]) or found.activation != "tanh":
        raise ValueError(
            f"{name} must be a tanh network of 5 features{f' and {n_outputs} outputs' * bool(n_outputs)}, not {found}"
        )
    if not np.isfinite(found.theta).all():
        raise ValueError(f"{name} has weights that are not finite")
    return found.copy()
