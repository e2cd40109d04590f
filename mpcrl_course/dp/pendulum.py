"""The torque-limited pendulum by value iteration: the yardstick that learned policies are measured with.

    solution = pendulum_value_iteration()
    costs = evaluate(solution.policy)          # undiscounted cost of 10 s from each of the 100 FIXED_STARTS

The grid's angle is periodic; its velocity ends at +-8 rad/s. The noise of the torque is averaged over a few Gauss-
Hermite nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mpcrl_course.closed_loop import Controller, Run, run
from mpcrl_course.dp.finite import FiniteMDP, value_iteration
from mpcrl_course.dp.grid import Grid
from mpcrl_course.envs.pendulum import MAX_SPEED, NOMINAL, PendulumParameters, dynamics, stage_cost
from mpcrl_course.envs.plant import PlantParameters
from mpcrl_course.validation import instance, reals, share, whole

#: Where every controller of the pendulum is compared from: angle uniform in [-pi, pi), velocity in [-1, 1] rad/s.
FIXED_STARTS = np.random.default_rng(0).uniform([-np.pi, -1.0], [np.pi, 1.0], (100, 2))
FIXED_STARTS.flags.writeable = False


class PendulumSolution(NamedTuple):
    """A value function of the pendulum and its greedy policy.

    Attributes
    ----------
    grid : Grid
    V : ndarray, shape (angles, velocities)
        Value at the grid's points.
    policy : callable
        States (n, 2) or (2,) to torques (n, 1) or (1,).
    residuals : ndarray
        Largest change in each sweep.
    mdp : FiniteMDP
        The process on the grid.
    torques : ndarray, shape (A,)
        The actions' torques in N m.
    """

    grid: Grid
    V: np.ndarray
    policy: Controller
    residuals: np.ndarray
    mdp: FiniteMDP
    torques: np.ndarray


def pendulum_grid(angles: int = 101, velocities: int = 101) -> Grid:
    """Return the grid: angle in [-pi, pi), periodic, and velocity in [-8, 8] rad/s.

    The upright is one of its points if the number of velocities is odd, for any number of angles.
    Periodic points start at -pi, so that an odd number of angles would miss q = 0: the range is shifted by half a
    step, to be symmetric about the upright.
    """
    angles, velocities = whole(angles, "angles", 2), whole(velocities, "velocities", 2)
    half = 0.0 if angles % 2 == 0 else np.pi / angles
    return Grid([-np.pi + half, -MAX_SPEED], [np.pi + half, MAX_SPEED], [angles, velocities], [True, False])


def pendulum_mdp(
    grid: Grid, torques, gamma: float = 0.98, parameters: PendulumParameters = NOMINAL, nodes: int = 5
) -> FiniteMDP:
    """Return the finite process that the grid makes of the pendulum.

    Parameters
    ----------
    grid : Grid
        Of angle and velocity.
    torques : array_like, shape (A,)
        The actions, N m.
    gamma : float
        Discount.
    parameters : PendulumParameters
        Process noise counts; delay and measurement noise cannot (the state would have to remember more).
    nodes : int
        Gauss-Hermite nodes that stand for the noise.

    Raises
    ------
    ValueError
        If the parameters have a delay or measurement noise.
    """
    instance(grid, Grid, "grid")
    if instance(parameters, PendulumParameters, "parameters").delay or parameters.measurement_noise:
        raise ValueError("value iteration needs the state measured exactly and torques without delay")
    torques, nodes = _torques(torques), whole(nodes, "nodes", 1)
    S, A = len(grid.points), len(torques)
    x = np.repeat(grid.points, A, axis=0)
    u = np.tile(torques, S)[:, None]
    cost = stage_cost(x, u).reshape(S, A)
    if parameters.process_noise:
        noise, weights = np.polynomial.hermite_e.hermegauss(nodes)
        weights = weights / weights.sum()
        P = sum(
            w * grid.matrix(dynamics(x, u + parameters.process_noise * e, parameters)) for e, w in zip(noise, weights)
        )
    else:
        P = grid.matrix(dynamics(x, u, parameters))
    return FiniteMDP(P, cost, gamma)


def greedy_policy(grid: Grid, V, torques, gamma: float, parameters: PendulumParameters = NOMINAL) -> Controller:
    """Return the policy that looks one step ahead: argmin over the torques of L(x, u) + gamma V(f(x, u)).

    The parabola through the best torque and its two neighbours refines the choice between them. Noise is left out of
    this one step (V knows of it).

    Parameters
    ----------
    grid : Grid
        Of angle and velocity.
    V : array_like
        Value at its points.
    torques : array_like, shape (A,)
        The actions, N m.
    gamma : float
        Discount.
    parameters : PendulumParameters
        The plant.
    """
    V, torques, gamma = np.ravel(reals(V, "V")), _torques(torques), share(gamma, "gamma")
    instance(parameters, PendulumParameters, "parameters")
    if V.size != len(instance(grid, Grid, "grid").points):
        raise ValueError(f"V has {V.size} entries, but the grid has {len(grid.points)} points")

    def policy(x):
        x = reals(x, "x", (..., 2))
        states = x.reshape(-1, 2)
        n, A = len(states), len(torques)
        ahead, u = np.repeat(states, A, axis=0), np.tile(torques, n)[:, None]
        Q = stage_cost(ahead, u) + gamma * grid.interpolate(V, dynamics(ahead, u, parameters))
        Q, i = Q.reshape(n, A), np.arange(n)
        best = Q.argmin(axis=1)
        u = torques[best].copy()
        inside = (best > 0) & (best < A - 1)
        i, b = i[inside], best[inside]
        left, middle, right = Q[i, b - 1], Q[i, b], Q[i, b + 1]
        bend = left - 2.0 * middle + right
        shift = np.where(bend > 1e-12, 0.5 * (left - right) / np.maximum(bend, 1e-12), 0.0)
        u[inside] += shift * (torques[b + 1] - torques[b])
        return u.reshape(*x.shape[:-1], 1)

    return policy


def _torques(torques) -> np.ndarray:
    """Return torques as an array (A,) of one finite number or more; raises ValueError if they are not."""
    torques = reals(torques, "torques", (None,))
    if not torques.size:
        raise ValueError("torques has no entry, but there must be an action")
    return torques


def table_policy(grid: Grid, Q, torques) -> Controller:
    """Return the policy argmin over the torques of Q, interpolated from a table: it needs no model.

    Parameters
    ----------
    grid : Grid
        Of angle and velocity, S points.
    Q : array_like, shape (S, A)
    torques : array_like, shape (A,)
        The actions, N m.
    """
    instance(grid, Grid, "grid")
    Q, torques = reals(Q, "Q"), _torques(torques)
    if Q.shape != (len(grid.points), len(torques)):
        raise ValueError(f"Q has shape {Q.shape}, but needs ({len(grid.points)}, {len(torques)})")

    def policy(x):
        x = reals(x, "x", (..., 2))
        corners, weights = grid.weights(x.reshape(-1, 2))
        best = np.einsum("nc,nca->na", weights, Q[corners]).argmin(axis=1)
        return torques[best].reshape(*x.shape[:-1], 1)

    return policy


def pendulum_value_iteration(
    angles: int = 161,
    velocities: int = 161,
    torques: int = 11,
    gamma: float = 0.98,
    parameters: PendulumParameters = NOMINAL,
    tolerance: float = 1e-3,
) -> PendulumSolution:
    """Solve the pendulum on a grid.

    Parameters
    ----------
    angles, velocities, torques : int
        Grid points of the angle, the velocity and the torque (an odd number of torques holds 0). With the defaults the
        mean cost of the FIXED_STARTS is within 1 % of that on the grid of 321 x 321 x 21.
    gamma : float
        Discount below 1.
    parameters : PendulumParameters
        The plant; its torque limit spans the actions.
    tolerance : float
        Largest change of the value in the last sweep.

    Raises
    ------
    ValueError
        If the value does not converge within 20 000 sweeps; with noise it grows for ever at discount 1.
    """
    gamma, torques = share(gamma, "gamma"), whole(torques, "torques", 1)
    if instance(parameters, PendulumParameters, "parameters").process_noise and gamma == 1.0:
        raise ValueError("with noise the value grows for ever at discount 1: lower the discount")
    grid = pendulum_grid(angles, velocities)
    u = np.linspace(-parameters.max_torque, parameters.max_torque, torques)
    mdp = pendulum_mdp(grid, u, gamma, parameters)
    solved = value_iteration(mdp, tolerance=tolerance, sweeps=20_000)
    if not solved.converged:
        change = solved.residuals[-1]
        raise ValueError(
            f"value iteration at discount {gamma} still changes by {change:.1e} a sweep: lower the discount"
        )
    policy = greedy_policy(grid, solved.V, u, gamma, parameters)
    return PendulumSolution(grid, solved.V.reshape(grid.sizes), policy, solved.residuals, mdp, u)


def simulate(
    policy: Controller, plant: PendulumParameters = NOMINAL, starts=FIXED_STARTS, steps: int = 200, seed: int = 0
) -> Run:
    """Run the pendulum in closed loop, for `steps` of 0.05 s and with the noise of a seed; see `closed_loop.run`.

    The policy, from measured states (n, 2) to torques (n, 1), drives the `plant` from `starts` (n, 2).
    """
    starts = reals(starts, "starts", (None, 2))
    noise = instance(plant, PlantParameters, "plant").draw(seed, len(starts), steps)
    return run(policy, plant, starts, noise)


def evaluate(
    policy: Controller, plant: PendulumParameters = NOMINAL, starts=FIXED_STARTS, steps: int = 200, seed: int = 0
) -> np.ndarray:
    """Return the undiscounted cost of 10 s (200 steps) from each start, shape (n,).

    policy, plant, starts, steps and seed are those of `simulate`.
    """
    return simulate(policy, plant, starts, steps, seed).cost.sum(axis=0)
