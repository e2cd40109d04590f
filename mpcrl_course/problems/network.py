"""The learnable MPCs of the network of linear plants, one for each agent, as in lectures 11 and 12.

Second order (lecture 12; arXiv 2511.16424), 22 parameters an agent:

    min  V0 + sum_{k<N} f'[x_k; u_k] + 1/2 [ sum_{k<=N} gamma^k (|W_x * x_k|^2 + w'sigma_k)
                                             + sum_{k<N} gamma^k 1/2 (W_u u_k)^2 ]
    s.t. x_0 = s,  x_{k+1} = A x_k + B u_k + b + A_c (0, sum of the neighbours' second states),  |u_k| <= 1,
         lb + x_lb - sigma_k <= x_k <= ub + x_ub + sigma_k,  sigma_k >= 0   (k = 0 … N)

First order (lecture 11; Automatica 167:111803): weights fixed, a coupling matrix A_c for each neighbour, the stage sum
and its slack as in the MPC of a single plant,

    min  V0 + sum_{k<N} f'[x_k; u_k] + 1/2 sum_{k<N} gamma^k (|x_k|^2 + 1/2 u_k^2 + w 1'sigma_{k+1})
    s.t. x_0 = s,  x_{k+1} = A x_k + B u_k + b + sum_j A_cj x_jk,  |u_k| <= 1,  the same bounds for k = 1 … N.

Both models start without coupling, and wrong.
"""

from __future__ import annotations

from functools import cache

import casadi as ca
import numpy as np

from mpcrl_course.mpc import Parameters, Rows
from mpcrl_course.network import Agent, Network, line, neighbours_of
from mpcrl_course.network.graph import Edges
from mpcrl_course.validation import choice, instance, reals, share, whole

LOWER, UPPER = np.array([0.0, -1.0]), np.array([1.0, 1.0])
#: The initial, wrong model of a plant.
A, B = np.array([[1.0, 0.25], [0.0, 1.0]]), np.array([0.0312, 0.25])
WEIGHT = {1: 120.0, 2: 500.0}


def agent(degree: int, order: int = 2, horizon: int = 10, discount: float = 0.9) -> Agent:
    """Return the share of an agent with `degree` neighbours; `order` says which of the two problems (see above).

    `horizon` is N, `discount` is gamma. ValueError: another order than 1 or 2.
    """
    if choice(order, tuple(WEIGHT), "order") == 2:
        return _second_order(whole(horizon, "horizon", 1), share(discount, "discount"))
    return _first_order(whole(degree, "degree", 0), whole(horizon, "horizon", 1), share(discount, "discount"))


def network_mpc(
    n: int = 3, edges: Edges | None = None, order: int = 2, horizon: int = 10, discount: float = 0.9
) -> Network:
    """Return the network of n agents, by default on a line.

    Parameters
    ----------
    n : int
        Number of agents.
    edges : sequence of (i, j), optional
    order : {2, 1}
        The problem of the second-order or of the first-order paper.
    horizon : int
    discount : float
    """
    edges = line(whole(n, "n", 1)) if edges is None else edges
    return Network([agent(len(own), order, horizon, discount) for own in neighbours_of(n, edges)], edges)


def weighted(network: Network, omega, theta=None) -> np.ndarray:
    """Return theta of a second-order `network` with every agent's weights such that its cost counts omega_i times.

    Parameters
    ----------
    network : Network
    omega : array_like, shape (M,)
        Positive.
    theta : array_like, optional
        All but the weights; by default the initial parameters.
    """
    omega = reals(omega, "omega", (instance(network, Network, "network").n_agents,))
    if not (omega > 0.0).all():
        raise ValueError(f"omega must be positive, but is {omega}")
    blocks: dict[str, np.ndarray] = {}
    for i, weight in enumerate(omega, 1):
        root = np.sqrt(weight)
        blocks |= {f"W_x_{i}": np.full(2, root), f"W_u_{i}": np.array([root]), f"w_{i}": np.full(2, WEIGHT[2] * weight)}
    return network.parameters.pack(theta, **blocks)


@cache
def _second_order(horizon, discount):
    parameters = Parameters(
        V0=0.0, f=np.zeros(3), x_lb=np.zeros(2), x_ub=np.zeros(2), b=np.zeros(2), W_x=np.ones(2), W_u=[1.0],
        w=np.full(2, WEIGHT[2]), A=A, B=B, A_c=0.0,
    )  # fmt: skip

    def dynamics(x, u, neighbours, p):
        felt = sum((x_j[1] for x_j in neighbours), ca.SX(0))
        return p.A @ x + p.B @ u + p.b + ca.vertcat(0, p.A_c * felt)

    def stage_cost(k, x, u, neighbours, p):
        cost = p.f.T @ ca.vertcat(x, u) + 0.5 * discount**k * (ca.sumsqr(p.W_x * x) + 0.5 * ca.sumsqr(p.W_u * u))
        return cost + p.V0 if k == 0 else cost

    def terminal_cost(x, p):
        return 0.5 * discount**horizon * ca.sumsqr(p.W_x * x)

    def state_bounds(k, x, u, neighbours, p):
        return Rows(x, LOWER + p.x_lb, UPPER + p.x_ub, weight=0.5 * discount**k * p.w)

    bounds = {"state": state_bounds}
    return Agent(2, 1, horizon, parameters, dynamics, stage_cost, terminal_cost, -1.0, 1.0, bounds, discount)


@cache
def _first_order(degree, horizon, discount):
    coupling = {f"A_c{j + 1}": np.zeros((2, 2)) for j in range(degree)}
    parameters = Parameters(
        V0=0.0, x_lb=np.zeros(2), x_ub=[1.0, 0.0], b=np.zeros(2), f=np.zeros(3), A=A, B=B, **coupling,
    )  # fmt: skip

    def dynamics(x, u, neighbours, p):
        felt = sum((getattr(p, name) @ x_j for name, x_j in zip(coupling, neighbours)), ca.SX.zeros(2))
        return p.A @ x + p.B @ u + p.b + felt

    def stage_cost(k, x, u, neighbours, p):
        cost = p.f.T @ ca.vertcat(x, u) + 0.5 * discount**k * (ca.sumsqr(x) + 0.5 * ca.sumsqr(u))
        return cost + p.V0 if k == 0 else cost

    def state_bounds(k, x, u, neighbours, p):
        if k > 0:
            return Rows(x, LOWER + p.x_lb, UPPER + p.x_ub, weight=0.5 * discount ** (k - 1) * WEIGHT[1])

    bounds = {"state": state_bounds}
    return Agent(2, 1, horizon, parameters, dynamics, stage_cost, lambda x, p: 0.0, -1.0, 1.0, bounds, discount)
