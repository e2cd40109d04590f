"""The learnable MPCs of the power system's areas, as in lecture 11 (Automatica 167:111803, 2024).

Area i predicts five seconds of its five states x = (angle, omega, P_m, P_v, load), with what its neighbours' angles do:

    min  V0 + sum_{k<N} f_x'z_k + f_u u_k + gamma^k [ (z_k - z_o)'W_x (z_k - z_o) + W_u (u_k - load)^2 + w sigma_{k+1} ]
    s.t. x_0 = s,  z_{k+1} = A z_k + B u_k + L load + sum_j A_j angle_jk + 0.1 b,  |u_k| <= limit,
         -0.1 + angle_lb - sigma_k <= angle_k <= 0.1 + angle_ub + sigma_k,  sigma_k >= 0  (k = 1 … N),

with z = (angle, omega, P_m, P_v), its set-point z_o = (0, 0, load, load), w = 500, gamma = 0.9, N = 5, and a load that
stays what it is. Learned are V0, angle_lb, angle_ub, b, f_x, f_u, W_x (4 x 4), W_u and, for each tie line, the area's
own idea of its strength (the two ends of a line need not agree). At first these ideas are wrong, and the rest is as if
there were no noise.

**The model** is the area's continuous one, made discrete exactly for an input, a load and *neighbours' angles* that are
held for a second. Angles move within a second; with the true strengths that costs 0.002 rad in five seconds, where the
wrong strengths cost 0.04 rad. Like this, A, B, L and A_j are functions of the area's own parameters alone. They are no
polynomials in P_tie, but the matrix exponential by scaling and squaring is one, and it is accurate to rounding.

**One definition for all.** The published central and local MPCs differ: the central one has a terminal cost, fewer
stages with slack and the model of all areas at once. Here one declaration serves both, the published local one, and the
central problem is its sum over the areas. As the published ones, it knows nothing of the cost of what flows through the
tie lines. The published nominal controller, which learns nothing, is `joint_mpc`.
"""

from __future__ import annotations

import casadi as ca
import numpy as np

from mpcrl_course.envs import power as plant
from mpcrl_course.envs.power import ANGLE_LIMIT, DISCOUNT, DT, N_X, WEIGHT, PowerParameters, area, continuous, held
from mpcrl_course.mpc import OptimalControlProblem, Parameters, Rows
from mpcrl_course.network import Agent, Network, line
from mpcrl_course.validation import flag, floats, instance, real, share, whole

#: The initial, wrong strengths of the tie lines: what area i (row) takes that to area j (column) to be.
WRONG = np.array([[0.0, 4.768, 0.0, 0.0], [3.262, 0.0, 2.746, 0.0], [0.0, 3.339, 0.0, 0.073], [0.0, 0.0, 3.001, 0.0]])
#: The initial weights of (angle, omega, P_m, P_v) and of u.
W_X, W_U = np.diag([500.0, 0.1, 0.1, 10.0]), 10.0
#: The offset of the model is this times b.
B_SCALE = 0.1


def exponential(A, dt: float = DT, halvings: int = 6, order: int = 8):
    """Return exp(A dt) of a square CasADi (or NumPy) matrix: a Taylor sum for dt / 2^halvings, squared so often.

    The sum ends with the power `order`.
    """
    A = A * (dt / 2**halvings)
    E = term = ca.SX.eye(A.shape[0]) if isinstance(A, ca.SX) else np.eye(len(A))
    for n in range(1, order + 1):
        term = term @ A / n
        E = E + term
    for _ in range(halvings):
        E = E @ E
    return E


def discrete(i: int, P, parameters: PowerParameters = PowerParameters()):  # noqa: B008
    """Return A (4, 4) and B (4, 2) of area i (counted from 0) in z+ = A z + B (u, power that arrives), both held.

    Parameters
    ----------
    i : int
    P : CasADi scalar
        Strength of all its tie lines together.
    parameters : PowerParameters
    """
    p = parameters
    A, B = area(p.H[i], p.R[i], p.D[i], p.T_t[i], p.T_g[i], 0.0)
    A = ca.SX(A)
    A[1, 0] = -P / (2 * p.H[i])
    both = exponential(ca.vertcat(ca.horzcat(A, B), ca.SX(2, 6)))
    return both[:4, :4], both[:4, 4:]


def power_mpc(
    parameters: PowerParameters = PowerParameters(),  # noqa: B008
    ties=None,
    horizon: int = 5,
    discount: float = DISCOUNT,
    weight: float = WEIGHT,
    told: bool = True,
) -> Network:
    """Return the network of the areas' MPCs.

    Parameters
    ----------
    parameters : PowerParameters
        What the areas know of themselves (its tie lines are not used).
    ties : array_like, shape (M, M), optional
        Initial strengths: row i is what area i believes. By default the published wrong ones, of four areas.
    horizon : int
    discount : float
    weight : float
        Cost of a radian of violation.
    told : bool
        Whether areas hear of their neighbours' angles. If not, each takes them to be 0, where they should be: the
        problem of all falls apart into those of the areas.
    """
    told = flag(told, "told")
    n, weight = instance(parameters, PowerParameters, "parameters").n_areas, real(weight, "weight", 0.0)
    horizon, discount = whole(horizon, "horizon", 1), share(discount, "discount")
    ties = floats(WRONG if ties is None else ties, "ties")
    if ties.shape != (n, n) or not np.isfinite(ties).all():
        raise ValueError(f"ties must be finite, of shape ({n}, {n}), not of shape {ties.shape}")
    agents = [
        _agent(i, ties[i][[j for j in (i - 1, i + 1) if 0 <= j < n]], parameters, horizon, discount, weight, told)
        for i in range(n)
    ]
    return Network(agents, line(n))


def _agent(i, ties, physical, horizon, discount, weight, told) -> Agent:
    parameters = Parameters(
        V0=0.0, angle_lb=0.0, angle_ub=0.0, b=np.zeros(4), f_x=np.zeros(4), f_u=0.0, W_x=W_X, W_u=W_U, P_tie=ties,
    )  # fmt: skip
    models: dict[tuple, tuple] = {}

    def model(P_tie):  # made once for the same symbols: all stages share it, and evaluate it once
        key = tuple(P.element_hash() for P in P_tie.elements())
        if key not in models:
            models[key] = P_tie, discrete(i, ca.sum1(P_tie), physical)
        return models[key][1]

    def dynamics(x, u, neighbours, p):
        A, B = model(p.P_tie)
        angles = [x_j[0] for x_j in neighbours if told]
        arrives = sum((p.P_tie[j] * angle for j, angle in enumerate(angles)), -x[4])
        return ca.vertcat(A @ x[:4] + B @ ca.vertcat(u, arrives) + B_SCALE * p.b, x[4])

    def stage_cost(k, x, u, neighbours, p):
        beside = x[:4] - ca.vertcat(0, 0, x[4], x[4])
        cost = ca.dot(p.f_x, x[:4]) + p.f_u * u
        cost += discount**k * (ca.bilin(p.W_x, beside, beside) + p.W_u * (u - x[4]) ** 2)
        return cost + p.V0 if k == 0 else cost

    def angle_bounds(k, x, u, neighbours, p):
        if k > 0:
            low, high = -ANGLE_LIMIT + p.angle_lb, ANGLE_LIMIT + p.angle_ub
            return Rows(x[0], low, high, weight=weight * discount ** (k - 1))

    limit, bounds = physical.limit[i], {"angle": angle_bounds}
    return Agent(N_X, 1, horizon, parameters, dynamics, stage_cost, lambda x, p: 0.0, -limit, limit, bounds, discount)


def joint_mpc(
    parameters: PowerParameters = PowerParameters(),  # noqa: B008
    horizon: int = 5,
    discount: float = DISCOUNT,
    weight: float = WEIGHT,
) -> OptimalControlProblem:
    """Return the problem of the published nominal controller: the plant's exact model of all areas, nothing learned.

    `parameters` are the plant's, `horizon` is N, `discount` is gamma, `weight` is w. Other than the learnable one it
    has the plant's weights, a terminal cost gamma^N (z_N - z_o)'W_x (z_N - z_o), and slack at the stages 1 … N - 1
    only, for gamma^k w each. Its parameters, an offset of all loads and the back-offs `angle_lb` and `angle_ub` of the
    areas' limits, are 0.
    """
    instance(parameters, PowerParameters, "parameters")
    weight, discount = real(weight, "weight", 0.0), share(discount, "discount")
    n, (A, B) = parameters.n_areas, held(*continuous(parameters))
    W_x = ca.DM(np.tile(plant.W_X, n))

    def split(x):
        x = ca.reshape(x, N_X, n)
        return ca.vec(x[:4, :]), x[4, :].T

    def dynamics(x, u, p):
        z, load = split(x)
        z_next = A @ z + B @ ca.vertcat(u, load + p.offset)
        return ca.vec(ca.vertcat(ca.reshape(z_next, 4, n), load.T))

    def states(k, x):
        z, load = split(x)
        beside = z - ca.vec(ca.vertcat(ca.SX.zeros(2, n), load.T, load.T))
        return discount**k * ca.dot(W_x, beside**2)

    def angle_bounds(k, x, u, p):
        if 0 < k < horizon:
            return Rows(x[::N_X], p.angle_lb - ANGLE_LIMIT, p.angle_ub + ANGLE_LIMIT, weight=weight * discount**k)

    limit = np.array(parameters.limit)
    return OptimalControlProblem(
        n_states=N_X * n, n_inputs=n, horizon=horizon, dynamics=dynamics,
        parameters=Parameters(offset=0.0, angle_lb=np.zeros(n), angle_ub=np.zeros(n)),
        stage_cost=lambda k, x, u, p: states(k, x) + discount**k * plant.W_U * ca.sumsqr(u - split(x)[1]),
        terminal_cost=lambda x, p: states(horizon, x), input_lower=-limit, input_upper=limit,
        constraints={"angle": angle_bounds}, discount=discount,
    )  # fmt: skip
