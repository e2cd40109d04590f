"""Answers to exercise 05 by someone who saw only its notebook: (item, what is done, answer)."""

import casadi as ca
import numpy as np
from scipy.special import expit, softmax

from mpcrl_course.checks.ex05 import (  # as the notebook imports them
    LIMIT,
    P_END,
    cost_slopes,
    feature_slopes,
    features,
    model_slopes,
)
from mpcrl_course.envs.cartpole import WEIGHTS, dynamics, stage_cost

# ------------------------------------------------------------------------------------------------------- item 2


def _force(
    E=lambda f, x, u, ahead: ahead - f(x, u),
    h=1e-3,
    over=2,
    quotient=lambda B, E: -(B * E).sum(1) / (B**2).sum(1),
):
    def missing_force(f, x, u, ahead):
        B = (f(x, u + h) - f(x, u - h))[:, 2:] / (over * h)
        return np.reshape(quotient(B, E(f, x, u, ahead)[:, 2:]), (-1, 1))

    return missing_force


def matrices(f, x, u, ahead):
    """Take the formula at its word, as matrix products."""
    E = (ahead - f(x, u))[:, 2:]
    B = (f(x, u + 1e-3) - f(x, u - 1e-3))[:, 2:] / 2e-3
    return -(B.T @ E) / (B.T @ B)


def diagonal(f, x, u, ahead):
    """Take the diagonals of matrix products."""
    E = (ahead - f(x, u))[:, 2:]
    B = (f(x, u + 1e-3) - f(x, u - 1e-3))[:, 2:] / 2e-3
    return -np.diag(B @ E.T)[:, None] / np.diag(B @ B.T)[:, None]


def one_sided(f, x, u, ahead):
    """Take a one-sided difference, and einsum."""
    now = f(x, u)
    E, B = (ahead - now)[..., 2:], ((f(x, u + 1e-4) - now) / 1e-4)[..., 2:]
    return (-np.einsum("ni,ni->n", B, E) / np.einsum("ni,ni->n", B, B)).reshape(-1, 1)


def all_states(f, x, u, ahead):
    """Count positions, too: they hardly matter."""
    E, B = ahead - f(x, u), (f(x, u + 1e-3) - f(x, u - 1e-3)) / 2e-3
    return -(B * E).sum(1, keepdims=True) / (B * B).sum(1, keepdims=True)


# ------------------------------------------------------------------------------------------------------- item 3


def _decide(
    gate=lambda s, c, d: 1 / (1 + np.exp(-(np.cos(s[:, 1]) - c) / d)),
    weights=lambda n, factor: np.column_stack([WEIGHTS[0] * factor, np.tile(WEIGHTS[1:], (n, 1))]),
    add=lambda s, u, r, beta: u + beta * r(s, u),
    clip=lambda u: np.clip(u, -LIMIT, LIMIT),
):
    def decide(s, solve, r, theta, beta):
        a, c, d = theta
        w = weights(len(s), 1 + a * gate(s, c, d))
        u = solve(s, w)
        return w, clip(add(s, u, r, beta))

    return decide


def weights_overwritten(s, solve, r, theta, beta):
    """Multiply the course's weights in place."""
    a, c, d = theta
    w = np.zeros((len(s), 5))
    W = WEIGHTS.copy()
    for i in range(len(s)):
        W[0] *= 1 + a / (1 + np.exp(-(np.cos(s[i, 1]) - c) / d))
        w[i] = W
    u = solve(s, w)
    return w, np.clip(u + beta * r(s, u), -LIMIT, LIMIT)


def clip_before_adding(s, solve, r, theta, beta):
    """Clip the MPC's input, which needs none."""
    w, _ = _decide()(s, solve, r, theta, beta)
    u = solve(s, w)
    return w, np.clip(u, -LIMIT, LIMIT) + beta * r(s, u)


def r_clipped(s, solve, r, theta, beta):
    """Clip each of the two."""
    w, _ = _decide()(s, solve, r, theta, beta)
    u = solve(s, w)
    return w, u + np.clip(beta * r(s, u), -LIMIT, LIMIT)


def r_of_what_is_applied(s, solve, r, theta, beta):
    """Ask r about a clipped sum, again and again."""
    w, _ = _decide()(s, solve, r, theta, beta)
    u = first = solve(s, w)
    for _ in range(5):
        u = np.clip(first + beta * r(s, u), -LIMIT, LIMIT)
    return w, u


def scipy_and_lists(s, solve, r, theta, beta):
    """Use SciPy's sigmoid, and lists."""
    factor = theta[0] * expit((np.cos(s[:, 1]) - theta[1]) / theta[2]) + 1
    w = [[0.1 * f, 1.0, 0.01, 0.01, 0.001] for f in factor]
    u = solve(s, np.array(w))
    u = u + beta * r(s, u)
    u[u > LIMIT], u[u < -LIMIT] = LIMIT, -LIMIT
    return [w, u]


def broadcast(s, solve, r, theta, beta):
    """Multiply by a matrix of factors."""
    p, q, v, w = s.T
    factors = np.ones((len(s), 5))
    factors[:, 0] += theta[0] / (1 + np.exp((theta[1] - np.cos(q)) / theta[2]))
    u = solve(s, WEIGHTS * factors)
    return dict(weights=WEIGHTS * factors, u=(u + beta * r(s, u)).clip(-15, 15))


# ------------------------------------------------------------------------------------------------------- item 4


def _mppi(
    draw=lambda plan, noise: np.clip(plan + noise, -LIMIT, LIMIT),
    order="before",
    columns=slice(2, None),
    stages=lambda H: range(H),
    end=lambda V, x: V(x),
    weights=lambda J, T: np.exp(-(J - J.min()) / T) / np.exp(-(J - J.min()) / T).sum(),
    new=lambda w, a, plan, noise: w @ a,
):
    def sampled_plan(s, plan, noise, net, V, temperature):
        a = draw(plan, noise)
        x, J = np.tile(s, (len(a), 1)), np.zeros(len(a))
        for h in stages(a.shape[1]):
            u = a[:, h : h + 1]
            J += stage_cost(x, u)
            error = net(features(x, u))
            x = dynamics(x, u)
            x[:, columns] += error if order == "before" else net(features(x, u))
        J += end(V, x)
        w = weights(J, temperature)
        return J, w, new(w, a, plan, noise)

    return sampled_plan


def raw_features(s, plan, noise, net, V, temperature):
    """Show the network q itself and no scales."""
    a = np.clip(plan + noise, -LIMIT, LIMIT)
    x, J = np.tile(s, (len(a), 1)), np.zeros(len(a))
    for h in range(len(plan)):
        u = a[:, h : h + 1]
        J += stage_cost(x, u)
        error = net(np.hstack([x, u]))
        x = dynamics(x, u) + np.hstack([np.zeros((len(a), 2)), error])
    J += V(x)
    w = softmax(-J / temperature)
    return J, w, w @ a


def overwritten(s, plan, noise, net, V, temperature):
    """Forget the plus in +=."""
    a = np.clip(plan + noise, -LIMIT, LIMIT)
    x = np.tile(s, (len(a), 1))
    for h in range(len(plan)):
        u = a[:, [h]]
        J = stage_cost(x, u)
        x = dynamics(x, u) + np.hstack([np.zeros((len(a), 2)), net(features(x, u))])
    J += V(x)
    w = np.exp(-(J - J.min()) / temperature)
    w /= w.sum()
    return J, w, w @ a


def with_softmax(s, plan, noise, net, V, temperature):
    """Use SciPy's softmax, and overwrite the noise."""
    noise += plan
    np.clip(noise, -LIMIT, LIMIT, out=noise)
    x, J = np.repeat([s], len(noise), 0), 0
    for u in np.moveaxis(noise[:, :, None], 1, 0):
        J = J + stage_cost(x, u)
        x = dynamics(x, u) + net(features(x, u)) @ np.eye(4)[2:]
    w = softmax(-(J + V(x)) / temperature)
    return J + V(x), w, np.average(noise, axis=0, weights=w)


# ------------------------------------------------------------------------------------------------------- item 5


def _gradient(z=lambda x, u: features(x, [u]), more=lambda C, x, u, z, net: net.slope(z) @ feature_slopes(x, u)):
    def plan_gradient(s, plan, net):
        x, steps = [s], []
        for u in plan:
            C, seen = model_slopes(x[-1], u), z(x[-1], u)
            C[2:] += more(C, x[-1], u, seen, net)
            x.append(dynamics(x[-1], [u]) + np.append([0, 0], net(seen)))
            steps.append(C)
        J = sum(stage_cost(x[k], [u]) for k, u in enumerate(plan)) + x[-1] @ P_END @ x[-1]
        costate, gradient = 2 * P_END @ x[-1], np.zeros(len(plan))
        for k in reversed(range(len(plan))):
            L, C = cost_slopes(x[k], plan[k]), steps[k]
            gradient[k] = L[4] + costate @ C[:, 4]
            costate = L[:4] + costate @ C[:, :4]
        return J, gradient

    return plan_gradient


def _raw(x, u):
    return np.array([np.cos(x[1]), np.sin(x[1]), x[2], x[3], u])


def _chain(x, u, z, net):
    return net.slope(z) @ feature_slopes(x, u)


def _zero(C, x, u, z, net):
    return 0.0


def late(s, plan, net):
    """Take the features after the step has been appended."""
    x, steps = [s], []
    for u in plan:
        C = model_slopes(x[-1], u)
        z = features(x[-1], [u])
        x.append(dynamics(x[-1], [u]) + np.append([0, 0], net(z)))
        C[2:] += net.slope(z) @ feature_slopes(x[-1], u)
        steps.append(C)
    J = sum(stage_cost(x[k], [u]) for k, u in enumerate(plan)) + x[-1] @ P_END @ x[-1]
    costate, gradient = 2 * P_END @ x[-1], np.zeros(len(plan))
    for k in reversed(range(len(plan))):
        L, C = cost_slopes(x[k], plan[k]), steps[k]
        gradient[k] = L[4] + costate @ C[:, 4]
        costate = L[:4] + costate @ C[:, :4]
    return J, gradient


def by_complex_differences(s, plan, net):
    """Ask for the cost only, and take differences."""

    def J(plan):
        return _gradient()(s, plan, net)[0]

    h = 1e-4
    return [J(plan), np.array([(J(plan + h * e) - J(plan - h * e)) / (2 * h) for e in np.eye(len(plan))])]


def in_a_block(s, plan, net):
    """Write the slope as a block of zeros and a product."""
    found = _gradient(more=lambda C, x, u, z, net: (np.r_[np.zeros((2, 5)), net.slope(z) @ feature_slopes(x, u)])[2:])
    J, gradient = found(s, plan, net)
    return {"J": np.array([[J]]), "gradient": ca.DM(gradient)}


WRONG = [
    (1, "no limit", 12.4),
    (1, "the motor's force", 15),
    (1, "the model's belief", 13),
    (1, "mixed with beta", 2.0),
    (1, "friction counted twice", 9.0),
    (2, "E turned round", _force(E=lambda f, x, u, ahead: f(x, u) - ahead)),
    (2, "h for 2h", _force(over=1)),
    (2, "matrix products", matrices),
    (2, "one sum over all", _force(quotient=lambda B, E: np.full(len(B), -(B * E).sum() / (B * B).sum()))),
    (2, "mean over the velocities", _force(quotient=lambda B, E: -(B * E).mean(1) / (B * B).sum(1))),
    (2, "only v", _force(quotient=lambda B, E: -E[:, 0] / B[:, 0])),
    (2, "norm of B", _force(quotient=lambda B, E: -(B * E).sum(1) / np.linalg.norm(B, axis=1))),
    (2, "E entry by entry", _force(quotient=lambda B, E: -(E / B).sum(1))),
    (2, "a change of the state", _force(E=lambda f, x, u, ahead: ahead - x)),
    (2, "the course's model for f", lambda f, x, u, ahead: _force()(lambda x, u: dynamics(x, u), x, u, ahead)),
    (2, "rows and columns", _force(quotient=lambda B, E: -(B * E).sum(0)[:1] / (B * B).sum(0)[:1])),
    (3, "sigma of degrees", _decide(gate=lambda s, c, d: expit((np.cos(np.degrees(s[:, 1])) - c) / d))),
    (3, "exp without the minus", _decide(gate=lambda s, c, d: 1 / (1 + np.exp((np.cos(s[:, 1]) - c) / d)))),
    (3, "brackets", _decide(gate=lambda s, c, d: expit(np.cos(s[:, 1]) - c / d))),
    (3, "velocity for angle", _decide(gate=lambda s, c, d: expit((np.cos(s[:, 2]) - c) / d))),
    (3, "weights that add up", weights_overwritten),
    (3, "every weight", _decide(weights=lambda n, factor: np.outer(factor, WEIGHTS))),
    (3, "MPC clipped only", clip_before_adding),
    (3, "r clipped only", r_clipped),
    (3, "fixed point", r_of_what_is_applied),
    (3, "convex combination", _decide(add=lambda s, u, r, beta: beta * r(s, u) + (1 - beta) * u)),
    (3, "r of the state's own", _decide(add=lambda s, u, r, beta: u + beta * r(s, np.zeros_like(u)))),
    (4, "x overwritten first", _mppi(order="after")),
    (4, "columns 0 and 1", _mppi(columns=slice(0, 2))),
    (4, "one stage less", _mppi(stages=lambda H: range(H - 1))),
    (4, "no V", _mppi(end=lambda V, x: 0)),
    (4, "x for z", raw_features),
    (4, "J overwritten", overwritten),
    (4, "plain exp", _mppi(weights=lambda J, T: np.exp(-J / T) / np.exp(-J / T).sum())),
    (4, "max for min", _mppi(weights=lambda J, T: np.exp((J - J.max()) / T) / np.exp((J - J.max()) / T).sum())),
    (4, "lambda outside", _mppi(weights=lambda J, T: (w := np.exp(-(J - J.min()))) / w.sum() / T)),
    (4, "mean of w a", _mppi(new=lambda w, a, plan, noise: (w[:, None] * a).mean(axis=0))),
    (4, "plan plus all", _mppi(new=lambda w, a, plan, noise: plan + w @ a)),
    (4, "noise, not what was tried", _mppi(new=lambda w, a, plan, noise: plan + w @ noise)),
    (4, "clipped at 1", _mppi(draw=lambda plan, noise: np.clip(plan + noise, -1, 1))),
    (5, "features only", _gradient(more=_zero)),
    (5, "x and u for z", _gradient(z=lambda x, u: np.array([*x, u]), more=_zero)),
    (5, "slope in z", _gradient(more=lambda C, x, u, z, net: net.slope(z))),
    (5, "slope, and still the raw state", _gradient(z=_raw)),
    (5, "slope times the model's", _gradient(more=lambda C, x, u, z, net: C[2:] * _chain(x, u, z, net))),
    (5, "features twice", _gradient(z=lambda x, u: features(x / [1, 1, 1, 3], [u / 15]))),
    (5, "slope at the next state", late),
    (6, "the payload, no friction", {"mass": 0.6, "friction": 0.0}),
    (6, "coulomb in the nominal model", {"mass": 0.2, "friction": 2.0}),
    (6, "nothing changed", {"mass": 0.2, "friction": 0.0}),
    (6, "much friction", {"mass": 0.6, "friction": 6.0}),
    (6, "a pair", (0.6, 1.5)),
    (7, "the plan must know", ("e", [1])),
    (7, "cheapest in the table", ("d", [1, 2])),
    (7, "all true ones", ("d", [1, 3, 5, 6])),
    (7, "one reason", ("d", 1)),
]

RIGHT = [
    (1, "text", "12 N".split()[0]),
    (1, "array", np.array([12.0])),
    (2, "diagonals", diagonal),
    (2, "one-sided, einsum", one_sided),
    (2, "all four states", all_states),
    (2, "steps of 1 N", _force(h=1.0)),
    (3, "SciPy and lists", scipy_and_lists),
    (3, "a matrix of factors", broadcast),
    (4, "softmax, noise overwritten", with_softmax),
    (4, "change of the plan", _mppi(new=lambda w, a, plan, noise: plan + w @ (a - plan))),
    (5, "differences", by_complex_differences),
    (5, "a block, CasADi", in_a_block),
    (6, "least squares", {"mass": 0.6, "friction": 1.54}),
    (6, "strings of a slider", {"mass": np.float32(0.6), "friction": 2}),
    (7, "in words", ("D)", "1, 3 and 5")),
]
