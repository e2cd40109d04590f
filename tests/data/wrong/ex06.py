"""Answers to exercise 06 by someone who saw only its notebook: (item, what is done, answer)."""

import casadi as ca
import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from mpcrl_course.checks.ex06 import minimum  # as the notebook imports it
from mpcrl_course.envs import LinearPlant, linear
from mpcrl_course.problems.linear import LOWER, UPPER, S, linear_mpc

mpc = linear_mpc()
parameters, gamma = mpc.parameters, mpc.discount
N, w = mpc.problem.horizon, 100

# ------------------------------------------------------------------------------------------------------- item 2


def _ocp(
    given=lambda a: a is not None,
    tied=0,
    boxed=lambda k, is_q: k > 0 or not is_q,
    slack_weight=lambda k: gamma**k,
    upper=lambda p: UPPER + p.x_ub,
    bounded=lambda k: True,
    end=minimum,
):
    def ocp_value(theta, s, a=None):
        p = parameters.unpack(theta)
        opti = ca.Opti("conic")
        x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(2, N)
        opti.subject_to(x[:, 0] == s)
        cost = p.V0 + x[:, N].T @ S @ x[:, N]
        for k in range(N):
            cost += ca.dot(p.f, ca.vertcat(x[:, k], u[k]))
            cost += 0.5 * gamma**k * (ca.sumsqr(x[:, k]) + 0.5 * u[k] ** 2)
            cost += 0.5 * slack_weight(k) * w * ca.sum1(slack[:, k])
            opti.subject_to(x[:, k + 1] == p.A @ x[:, k] + p.B * u[k] + p.b)
            opti.subject_to(slack[:, k] >= 0)
            if bounded(k):
                opti.subject_to(x[:, k + 1] >= LOWER + p.x_lb - slack[:, k])
                opti.subject_to(x[:, k + 1] <= upper(p) + slack[:, k])
            if boxed(k, given(a)):
                opti.subject_to(opti.bounded(-1, u[k], 1))
        if given(a):
            opti.subject_to(u[tied] == a)
        return end(opti, cost)

    return ocp_value


def vectorised(theta, s, a=None):
    """Write all stages at once."""
    p = parameters.unpack(theta)
    opti = ca.Opti("conic")
    x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(2, N)
    now, after, one = x[:, :-1], x[:, 1:], np.ones((1, N))
    stage = 0.5 * ca.DM(gamma ** np.arange(N)).T * (ca.sum1(now**2) + 0.5 * u**2 + w * ca.sum1(slack))
    cost = p.V0 + ca.bilin(S, x[:, -1]) + ca.sum2(stage + p.f.reshape(1, 3) @ ca.vertcat(now, u))
    opti.subject_to(x[:, 0] == s)
    opti.subject_to(ca.vec(after - p.A @ now - p.B.reshape(2, 1) @ u - np.outer(p.b, one)) == 0)
    opti.subject_to(ca.vec(np.outer(LOWER + p.x_lb, one) - slack - after) <= 0)
    opti.subject_to(ca.vec(after - np.outer(UPPER + p.x_ub, one) - slack) <= 0)
    opti.subject_to(ca.vec(slack) >= 0)
    first = 0 if a is None else 1
    opti.subject_to(opti.bounded(-1, u[first:], 1))
    if first:
        opti.subject_to(u[0] == a)
    return minimum(opti, cost)


def by_scipy(theta, s, a=None):
    """Simulate the plan, and leave the rest to SciPy."""
    p = parameters.unpack(theta)

    def plan(z):
        u, slack, x = z[:N], z[N:].reshape(N, 2), [np.asarray(s, dtype=float)]
        for k in range(N):
            x.append(p.A @ x[k] + np.ravel(p.B) * u[k] + p.b)
        return np.array(x), u, slack

    def cost(z):
        x, u, slack = plan(z)
        stage = (x[:-1] ** 2).sum(axis=1) + 0.5 * u**2 + w * slack.sum(axis=1)
        return p.V0 + x[N] @ S @ x[N] + (np.column_stack([x[:-1], u]) @ p.f).sum() + 0.5 * gamma ** np.arange(N) @ stage

    def room(z):
        x, _, slack = plan(z)
        return np.concatenate([x[1:] - LOWER - p.x_lb + slack, UPPER + p.x_ub + slack - x[1:]]).ravel()

    bounds = [(-1, 1) if a is None else (a, a)] + [(-1, 1)] * (N - 1) + [(0, None)] * (2 * N)
    start, constraint = np.concatenate([np.zeros(N), np.ones(2 * N)]), {"type": "ineq", "fun": room}
    return minimize(cost, start, method="SLSQP", bounds=bounds, constraints=constraint).fun


def own_solver(opti, cost):
    """Solve it without `minimum`."""
    opti.minimize(cost)
    opti.solver("piqp", {"print_time": False})
    return ca.DM(opti.solve().value(cost))


# ------------------------------------------------------------------------------------------------------- item 3


def _gradient(A=lambda nu, x: -nu.T @ x, rows=slice(1, None), used=slice(None)):
    def theta_gradient(x, u, nu, lam_lb, lam_ub):
        nu, x = nu[rows][:N], x[:-1]
        bounds = [lam_lb[used].sum(0), -lam_ub[used].sum(0)]
        blocks = [[1.0], *bounds, -nu.sum(0), x.sum(0), u.sum(0), A(nu, x).ravel("F"), -nu.T @ u[:, 0]]
        return np.concatenate(blocks)

    return theta_gradient


def list_of_blocks(x, u, nu, lam_lb, lam_ub):
    """Give the seven blocks one by one."""
    nu, x = nu[1:], x[:-1]
    f = np.hstack([x, u]).sum(0)
    return [1.0, lam_lb.sum(0), -lam_ub.sum(0), -nu.sum(0), f, -nu.T @ x, -nu.T @ u[:, 0]]


def packed(x, u, nu, lam_lb, lam_ub):
    """Let the course put the blocks in order."""
    x, nu = x[:-1], nu[1:]
    f = np.hstack([x, u]).sum(0)
    blocks = {"x_lb": lam_lb.sum(0), "x_ub": -lam_ub.sum(0), "b": -nu.sum(0), "A": -nu.T @ x, "B": -nu.T @ u[:, 0]}
    return parameters.pack(V0=1.0, f=f, **blocks)


def by_casadi(x, u, nu, lam_lb, lam_ub):
    """Let CasADi differentiate the Lagrangian."""
    theta = ca.SX.sym("theta", 16)
    p = parameters.unpack(theta)
    lagrangian = p.V0
    for k in range(N):
        lagrangian += ca.dot(p.f, ca.vertcat(*x[k], *u[k]))
        lagrangian += ca.dot(nu[k + 1], x[k + 1] - p.A @ x[k] - p.B @ u[k] - p.b)
        lagrangian += ca.dot(lam_lb[k], p.x_lb - x[k + 1]) + ca.dot(lam_ub[k], x[k + 1] - p.x_ub)
    return ca.DM(ca.gradient(lagrangian, theta))


# ------------------------------------------------------------------------------------------------------- item 4


def sum_times_sum(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
    """K is the sum of the errors times the sum of the Hessians."""
    delta, G = cost + gamma * v_next - q, gradients.T
    K = delta.sum() * hessians.sum(axis=0)
    return theta + alpha * np.linalg.solve(G @ G.T - K + sigma * np.eye(len(theta)), G @ delta)


def reshaped(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
    """G has the shape (n, T)."""
    delta, G = cost + gamma * v_next - q, gradients.reshape(len(theta), -1)
    K = np.tensordot(delta, hessians, 1)
    return theta + alpha * np.linalg.solve(G @ G.T - K + sigma * np.eye(len(theta)), G @ delta)


def one_after_the_other(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
    """Make a step for every sample, and add them up."""
    delta, step = cost + gamma * v_next - q, np.zeros(len(theta))
    for d, g, H in zip(delta, gradients, hessians):
        step = step + np.linalg.solve(np.outer(g, g) - d * H + sigma * np.eye(len(theta)), d * g)
    return theta + alpha * step


def matrices_and_columns(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
    """Calculate as on paper."""
    d = (cost + gamma * v_next - q).reshape(-1, 1)
    K = np.einsum("tk,tij->ij", d, hessians)
    M = np.matrix(gradients.T @ gradients - K + sigma * np.identity(theta.size))
    return theta.reshape(-1, 1) + alpha * (M.I @ (gradients.T @ d))


def by_cholesky(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
    """Factor the matrix, in single precision at the end, and overwrite theta."""
    delta = cost + gamma * v_next - q
    M = gradients.T @ gradients - sum(d * H for d, H in zip(delta, hessians)) + sigma * np.eye(len(theta))
    theta += alpha * cho_solve(cho_factor(M), gradients.T @ delta)
    return theta.astype(np.float32)


# ------------------------------------------------------------------------------------------------------- item 5


def _loop(q=lambda theta, s, a, v: v, slope=lambda q, v: q.gradient(), act=lambda theta, s, v: v.u0, alpha=0.05):
    def learn(theta, seed, steps):
        env = LinearPlant()
        s, _ = env.reset(seed=seed)
        v = mpc.V(theta, s)
        a, td = v.u0, []
        for _ in range(steps):
            s_next, reward, _, _, _ = env.step(a)
            asked = q(theta, s, a, v)
            v = mpc.V(theta, s_next)
            delta = -reward + gamma * v.value - asked.value
            g = slope(asked, v)
            theta = theta + alpha * delta * g / (g @ g + 1e-3)
            td.append(delta)
            s, a = s_next, act(theta, s_next, v)
        return np.array(td), theta

    return learn


# ------------------------------------------------------------------------------------------------------- item 6


def _theta(b1, back_off, A=linear.A):
    return parameters.pack(A=A, B=linear.B, b=[b1, 0.0], x_lb=[back_off, 0.0])


WRONG = [
    (1, "V0 raises the target, or L as well", 2.149),
    (1, "V0 raises Q only, or the target falls", 0.249),
    (1, "Bellman's equation taken for granted", 0.0),
    (2, "slack not discounted", _ocp(slack_weight=lambda k: 1.0)),
    (2, "if a:", _ocp(given=bool)),
    (2, "box kept on u_0", _ocp(boxed=lambda k, is_q: True)),
    (2, "a given to u_1", _ocp(tied=1)),
    (2, "no box on the last input", _ocp(boxed=lambda k, is_q: k < N - 1 and (k > 0 or not is_q))),
    (2, "x_ub inwards", _ocp(upper=lambda p: UPPER - p.x_ub)),
    (2, "x_N not bounded", _ocp(bounded=lambda k: k < N - 1)),
    (2, "not solved", _ocp(end=lambda opti, cost: cost)),
    (3, "A by rows", _gradient(A=lambda nu, x: -x.T @ nu)),
    (3, "nu of the same row", _gradient(rows=slice(None, -1))),
    (3, "bounds of x_N forgotten", _gradient(used=slice(None, -1))),
    (3, "sums multiplied in A only", _gradient(A=lambda nu, x: -np.outer(nu.sum(0), x.sum(0)))),
    (3, "a list of blocks", list_of_blocks),
    (4, "sum times sum", sum_times_sum),
    (4, "reshape for transpose", reshaped),
    (4, "one step a sample", one_after_the_other),
    (5, "V solved again", _loop(q=lambda theta, s, a, v: mpc.V(theta, s))),
    (5, "gradient of all of delta", _loop(slope=lambda q, v: q.gradient() - gamma * v.gradient())),
    (5, "acts after the update", _loop(act=lambda theta, s, v: mpc.V(theta, s).u0)),
    (6, "standard deviation as back-off", _theta(-0.05, 0.1 / 12**0.5)),
    (6, "A transposed", _theta(-0.05, 0.05, linear.A.T)),
    (7, "small errors, low cost", ("e", [1, 3])),
    (7, "the right claim for a wrong reason", ("b", [1, 4])),
]

RIGHT = [
    (1, "text", "1.149"),
    (1, "from CasADi", ca.DM(1.15)),
    (2, "all stages at once", vectorised),
    (2, "SciPy", by_scipy),
    (2, "another solver's answer", _ocp(end=own_solver)),
    (3, "packed", packed),
    (3, "differentiated by CasADi", by_casadi),
    (4, "matrices and columns", matrices_and_columns),
    (4, "Cholesky, single precision, theta overwritten", by_cholesky),
    (5, "Q of the action taken", _loop(q=lambda theta, s, a, v: mpc.Q(theta, s, a))),
    (5, "Q of what V chose", _loop(q=lambda theta, s, a, v: mpc.Q(theta, v.state, v.u0))),
    (6, "more of the noise in b", _theta(-0.06, 0.04)),
    (6, "a list", _theta(-0.05, 0.0501).tolist()),
    (7, "in words", ("B)", "1 and 3")),
]
