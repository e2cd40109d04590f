"""The learnable MPC of the linear plant (Gros & Zanon 2020), as in lecture 06.

min  V0 + x_N' S x_N + sum_k f'[x_k; u_k] + 1/2 sum_k gamma^k (|x_k|^2 + 1/2 u_k^2 + w 1'sigma_{k+1})
s.t. x_0 = s,  x_{k+1} = A x_k + B u_k + b,  |u_k| <= 1,
     lb + x_lb - sigma_k <= x_k <= ub + x_ub + sigma_k,  sigma_k >= 0   (k = 1 … N)

`terminal_mpc` has a terminal cost that is to be learned instead: gamma^N V(x_N) with V(x) = theta'phi(x), of which the
rows above are part. phi are the squares of x, and hinges max(0, c - n'x) at the bound of x_1 and before it, now and one
free step ahead; with weights that are not negative V is convex, and a hinge is the slack of a soft row.
"""

from __future__ import annotations

import casadi as ca
import numpy as np

from mpcrl_course.envs import linear as plant
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows
from mpcrl_course.validation import reals, share, whole

#: Terminal weight: undiscounted Riccati solution for the initial model with Q = I/2, R = 1/4.
S = np.array([[3.3820230313, 1.4367670671], [1.4367670671, 2.4993064190]])
LOWER, UPPER = np.array([0.0, -1.0]), np.array([1.0, 1.0])
WEIGHT = 100.0
#: Of the hinges max(0, c - n'x) of a learned terminal value: n, and c.
HINGES = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.9, 0.35], [0.9, 0.35]])
EDGES = np.array([0.0, 0.05, 0.12, 0.05, 0.15])


def parameters(learn_weights: bool = False) -> Parameters:
    """Return the 16 parameters V0, x_lb, x_ub, b, f, A (by columns), B with the initial, wrong model.

    With `learn_weights` the stage cost's own weights W_x (2) and W_u (1) follow, initially 1.
    """
    weights = {"W_x": [1.0, 1.0], "W_u": [1.0]} if learn_weights else {}
    return Parameters(
        V0=0.0, x_lb=[0.0, 0.0], x_ub=[1.0, 0.0], b=[0.0, 0.0], f=[0.0, 0.0, 0.0],
        A=[[1.0, 0.25], [0.0, 1.0]], B=[0.0312, 0.25], **weights,
    )  # fmt: skip


def linear_mpc(horizon: int = 10, discount: float = 0.9, solver: str | None = None, learn_weights: bool = False) -> MPC:
    """Return the MPC of the linear plant.

    Parameters
    ----------
    horizon : int
        Number of stages N.
    discount : float
        Discount factor gamma; the terms of f and the terminal cost are not discounted.
    solver : str, optional
        See `MPC`.
    learn_weights : bool
        Whether the weights of the stage cost are parameters too: |W_x * x|^2 + 1/2 |W_u * u|^2 replaces
        |x|^2 + 1/2 u^2, and the Lagrangian is no longer affine in theta.
    """
    discount = share(discount, "discount")

    def dynamics(x, u, p):
        return p.A @ x + p.B @ u + p.b

    def stage_cost(k, x, u, p):
        y, v = (p.W_x * x, p.W_u * u) if learn_weights else (x, u)
        cost = p.f.T @ ca.vertcat(x, u) + 0.5 * discount**k * (y.T @ y + 0.5 * v.T @ v)
        return cost + p.V0 if k == 0 else cost

    def terminal_cost(x, p):
        return x.T @ S @ x

    def state_bounds(k, x, u, p):
        if k > 0:
            return Rows(x, LOWER + p.x_lb, UPPER + p.x_ub, weight=0.5 * discount ** (k - 1) * WEIGHT)

    problem = OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=horizon, discount=discount, parameters=parameters(learn_weights),
        dynamics=dynamics, stage_cost=stage_cost, terminal_cost=terminal_cost,
        input_lower=-1.0, input_upper=1.0, constraints={"state": state_bounds},
    )  # fmt: skip
    return MPC(problem, solver)


def value_features(x) -> np.ndarray:
    """Return phi(x), shape (n, 9): x_1^2, 2 x_1 x_2, x_2^2, the hinges, 1; for states x (n, 2)."""
    x = reals(x, "x", (None, 2))
    squares = [x[:, 0] ** 2, 2.0 * x[:, 0] * x[:, 1], x[:, 1] ** 2]
    return np.column_stack([*squares, np.maximum(0.0, EDGES - x @ HINGES.T), np.ones(len(x))])


def convex(theta) -> np.ndarray:
    """Return the nearest theta (9,) whose value is convex: a matrix P >= 0, weights of hinges >= 0."""
    theta = reals(theta, "theta", (9,))
    values, E = np.linalg.eigh(theta[[0, 1, 1, 2]].reshape(2, 2))
    P = (E * np.maximum(values, 0.0)) @ E.T
    return np.concatenate([[P[0, 0], P[0, 1], P[1, 1]], np.maximum(theta[3:8], 0.0), theta[8:]])


def terminal_mpc(horizon: int = 1, discount: float = 0.9) -> MPC:
    """Return the MPC with the true model and the mean of its noise, whose terminal value is learned.

    At first its value is the x'S x and the weight of the bound of x_1 of `linear_mpc`: theta = (P11, P12, P22, the
    weights of five hinges, a constant).

    Parameters
    ----------
    horizon : int
    discount : float
    """
    N, gamma = whole(horizon, "horizon", 1), share(discount, "discount")
    mean = np.array([-plant.NOMINAL.noise / 2.0, 0.0])

    def value(x, p):
        return p.P[0] * x[0] ** 2 + 2 * p.P[1] * x[0] * x[1] + p.P[2] * x[1] ** 2 + p.constant

    def bounds(k, x, u, p):
        if 0 < k < N:
            return Rows(x, LOWER, UPPER, weight=0.5 * gamma**k * WEIGHT)

    def hinges(k, x, u, p):
        if k == N:
            return Rows(ca.DM(HINGES) @ x, lower=ca.DM(EDGES), weight=gamma**N * p.hinges)

    problem = OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=N, discount=gamma,
        parameters=Parameters(P=[S[0, 0], S[0, 1], S[1, 1]], hinges=[0.5 * WEIGHT, 0.0, 0.0, 0.0, 0.0], constant=0.0),
        dynamics=lambda x, u, p: plant.dynamics(x, u) + mean,
        stage_cost=lambda k, x, u, p: 0.5 * gamma**k * (ca.sumsqr(x) + 0.5 * ca.sumsqr(u)),
        terminal_cost=lambda x, p: gamma**N * value(x, p), input_lower=-1.0, input_upper=1.0,
        constraints={"state": bounds, "value": hinges} if N > 1 else {"value": hinges},
    )  # fmt: skip
    return MPC(problem)


def layer_mpc(horizon: int = 10, discount: float = 0.9) -> MPC:
    """Return the MPC of `linear_mpc` with three of its parameters in the state: (x, phi), phi = (x_lb1, b_1, b_2).

    A parameter that is another one at each state is a state that does not move. So one theta, that of `linear_mpc`,
    serves a whole batch (`mpc.values`), and ``v.policy_jacobian(state=True)`` has the slope in phi. phi is added to
    what theta has of these parameters.

    Parameters
    ----------
    horizon : int
    discount : float
    """
    whole(horizon, "horizon", 1)
    discount = share(discount, "discount")

    def dynamics(x, u, p):
        return ca.vertcat(p.A @ x[:2] + p.B @ u + p.b + x[3:], x[2:])

    def stage_cost(k, x, u, p):
        cost = p.f.T @ ca.vertcat(x[:2], u) + 0.5 * discount**k * (ca.sumsqr(x[:2]) + 0.5 * ca.sumsqr(u))
        return cost + p.V0 if k == 0 else cost

    def lower(k, x, u, p):
        if k > 0:
            return Rows(x[:2] - ca.vertcat(x[2], 0), LOWER + p.x_lb, weight=0.5 * discount ** (k - 1) * WEIGHT)

    def upper(k, x, u, p):
        if k > 0:
            return Rows(x[:2], upper=UPPER + p.x_ub, weight=0.5 * discount ** (k - 1) * WEIGHT)

    problem = OptimalControlProblem(
        n_states=5, n_inputs=1, horizon=horizon, discount=discount, parameters=parameters(), dynamics=dynamics,
        stage_cost=stage_cost, terminal_cost=lambda x, p: x[:2].T @ S @ x[:2], input_lower=-1.0, input_upper=1.0,
        constraints={"lower": lower, "upper": upper},
    )  # fmt: skip
    return MPC(problem)
