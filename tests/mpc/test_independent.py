"""The MPC against other ways to the same number: grids, a hand-written QP for other solvers, Bellman's identity."""

from functools import partial

import casadi as ca
import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize_scalar

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows
from mpcrl_course.problems.linear import LOWER, UPPER, S, linear_mpc

MODELS = {name: linear_mpc(solver=name) for name in ("daqp", "piqp", "ipopt")}
MPC10 = MODELS["daqp"]
RNG = np.random.default_rng(7)


def random_theta(rng=RNG, spread=0.05):
    return MPC10.parameters.initial() + spread * rng.standard_normal(16)


def random_state(rng=RNG):
    return rng.uniform([-0.3, -0.8], [1.1, 0.8])


def cost_of_inputs(theta, s, U, horizon):
    """The cost of input sequences U (..., N), by hand: simulate, add up, pay for violations."""
    p = MPC10.parameters.unpack(theta)
    x, total = np.broadcast_to(s, U.shape[:-1] + (2,)), p.V0 * np.ones(U.shape[:-1])
    for k in range(horizon):
        u = U[..., k]
        total = total + x @ p.f[:2] + p.f[2] * u + 0.5 * 0.9**k * ((x**2).sum(-1) + 0.5 * u**2)
        x = x @ p.A.T + u[..., None] * p.B + p.b
        violation = np.maximum(0, np.maximum(LOWER + p.x_lb - x, x - UPPER - p.x_ub)).sum(-1)
        total = total + 0.5 * 0.9**k * 100 * violation
    return total + np.einsum("...i,ij,...j", x, S, x)


@pytest.mark.parametrize("horizon, points", [(1, 200_001), (2, 801)])
def test_brute_force_over_the_inputs(horizon, points):
    mpc, grid = linear_mpc(horizon=horizon), np.linspace(-1, 1, points)
    U = np.stack(np.meshgrid(*[grid] * horizon, indexing="ij"), axis=-1)
    for _ in range(3):
        theta, s, a = random_theta(), random_state(), RNG.uniform(-1.2, 1.2)
        best, v = cost_of_inputs(theta, s, U, horizon), mpc.V(theta, s)
        # no grid point is better, and the cost of the grid point next to the solution is at most slope * spacing worse
        assert v.value <= best.min() + 1e-9
        assert best.min() - v.value <= 100 * horizon * 0.3 * (grid[1] - grid[0])
        assert cost_of_inputs(theta, s, v.u[:, 0], horizon) == pytest.approx(v.value, abs=1e-9)
        U_after = np.concatenate([np.full((points, 1), a), grid[:, None]], axis=1)[:, :horizon]
        best, q = cost_of_inputs(theta, s, U_after, horizon), mpc.Q(theta, s, a)
        assert q.value <= best.min() + 1e-9
        assert best.min() - q.value <= 100 * 0.3 * (grid[1] - grid[0])
        assert q.u0[0] == a


def hand_written_qp(theta, s, N=10):
    """The sparse QP in z = (x_0 … x_N, u_0 … u_{N-1}, slacks of x_1 … x_N), built by loops without the package."""
    p = MPC10.parameters.unpack(theta)
    nx, n = 2, 2 * (N + 1) + N + 2 * N
    X, U, E = (
        (lambda k: slice(2 * k, 2 * k + 2)),
        (lambda k: 2 * (N + 1) + k),
        (lambda k: 2 * (N + 1) + N + 2 * (k - 1)),
    )
    H, g = np.zeros((n, n)), np.zeros(n)
    equal, equal_to, rows, at_least = [], [], [], []
    for i in range(nx):
        equal.append(np.eye(n)[i])
        equal_to.append(s[i])
    H[X(N), X(N)] = 2 * S
    for k in range(N):
        H[X(k), X(k)] += 0.9**k * np.eye(2)
        H[U(k), U(k)] = 0.9**k * 0.5
        g[X(k)] += p.f[:2]
        g[U(k)] = p.f[2]
        for i in range(nx):
            row = np.zeros(n)
            row[X(k + 1)] = np.eye(2)[i]
            row[X(k)] -= p.A[i]
            row[U(k)] = -p.B[i]
            equal.append(row)
            equal_to.append(p.b[i])
            slack = E(k + 1) + i
            g[slack] = 0.5 * 0.9**k * 100
            for sign, bound in ((1, LOWER[i] + p.x_lb[i]), (-1, -UPPER[i] - p.x_ub[i])):
                row = np.zeros(n)
                row[2 * (k + 1) + i], row[slack] = sign, 1
                rows.append(row)
                at_least.append(bound)
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    lower[2 * (N + 1) : 2 * (N + 1) + N], upper[2 * (N + 1) : 2 * (N + 1) + N] = -1, 1
    lower[2 * (N + 1) + N :] = 0
    return H, g, p.V0, np.array(equal), np.array(equal_to), np.array(rows), np.array(at_least), lower, upper


@pytest.mark.parametrize("name", MODELS)
def test_hand_written_qp_by_qpoases(name):
    rng, violated = np.random.default_rng(4), 0
    for i in range(10):
        theta, s = random_theta(rng), rng.uniform([-0.2, -0.8], [0.3, 0.2])
        H, g, c, equal, equal_to, rows, at_least, lower, upper = hand_written_qp(theta, s)
        A = np.vstack([equal, rows])
        if i == 0:
            qp = {"h": ca.DM(H).sparsity(), "a": ca.Sparsity.dense(*A.shape)}
            other = ca.conic("other", "qpoases", qp, {"printLevel": "none", "sparse": False})
        answer = other(
            h=H, g=g, a=A, lbx=lower, ubx=upper, lba=np.concatenate([equal_to, at_least]),
            uba=np.concatenate([equal_to, np.full(len(rows), np.inf)]),
        )  # fmt: skip
        assert other.stats()["success"]
        v, z = MODELS[name].V(theta, s), answer["x"].full().ravel()
        assert v.value == pytest.approx(float(answer["cost"]) + c, abs=1e-7)
        np.testing.assert_allclose(v.x.ravel(), z[:22], atol=1e-6)
        np.testing.assert_allclose(v.u.ravel(), z[22:32], atol=1e-6)
        np.testing.assert_allclose(v.slack["state"].ravel(), z[32:], atol=1e-6)
        violated += v.slack["state"].max() > 1e-3
    assert violated >= 3  # the soft rows have a say


def test_linear_constraints_of_the_hand_written_qp_hold_at_our_solution():
    theta, s = random_theta(), random_state()
    v = MPC10.V(theta, s)
    _, _, _, equal, equal_to, rows, at_least, _, _ = hand_written_qp(theta, s)
    z = np.concatenate([v.x.ravel(), v.u.ravel(), v.slack["state"].ravel()])
    assert np.abs(LinearConstraint(equal, equal_to, equal_to).residual(z)[0]).max() <= 1e-9
    assert (rows @ z - at_least).min() >= -1e-8


@pytest.mark.parametrize("name", ["daqp", "piqp"])
def test_bellman_identity(name):
    """V(s) = min over |a| <= 1 of Q(s, a): a grid, then golden section around its best point."""
    mpc, rng = MODELS[name], np.random.default_rng(5)
    tolerance = {"daqp": 1e-8, "piqp": 1e-8}[name]
    for _ in range(4):
        theta, s = random_theta(rng), random_state(rng)
        actions = np.linspace(-1, 1, 101)
        q = mpc.values(theta, np.tile(s, (101, 1)), actions[:, None])[0]
        v = mpc.V(theta, s)
        assert v.value <= q.min() + tolerance
        assert (np.diff(q, 2) >= -1e-7).all()  # Q is convex in a
        i = int(q.argmin())
        best = minimize_scalar(
            lambda a, theta=theta, s=s: mpc.Q(theta, s, a).value, method="bounded",
            bounds=(actions[max(i - 1, 0)], actions[min(i + 1, 100)]), options={"xatol": 1e-10},
        )  # fmt: skip
        assert best.fun == pytest.approx(v.value, abs=1e-6)
        assert mpc.Q(theta, s, v.u0).value == pytest.approx(v.value, abs=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_box_on_the_first_input_is_dropped_in_Q(name):
    mpc, theta, s = MODELS[name], MPC10.parameters.initial(), np.array([0.3, 0.1])
    q = partial(mpc.Q, theta, s)
    inside, edge, outside = q(1.0), q(1.0 + 1e-9), q(1.5)
    assert edge.value == pytest.approx(inside.value, abs=1e-7)
    assert outside.value > inside.value and outside.u0[0] == pytest.approx(1.5, abs=1e-9)
    assert (np.abs(outside.u[1:]) <= 1 + 1e-8).all()  # the others keep theirs
    for solution in (inside, edge, outside, q(-1.0), q(-7.0)):
        assert solution.lam_input_lb[0] == 0 and solution.lam_input_ub[0] == 0
    slope = outside.gradient_action()
    assert slope == pytest.approx((q(1.5 + 1e-4).value - q(1.5 - 1e-4).value) / 2e-4, rel=1e-5)
    # in V the box holds, and its multiplier is the slope of Q there
    s = np.array([0.9, 0.8])
    v = mpc.V(theta, s)
    assert v.lam_input_lb[0, 0] > 0.1
    assert v.u0[0] == pytest.approx(-1.0, abs=1e-9)
    assert mpc.Q(theta, s, -1.0).gradient_action()[0] == pytest.approx(v.lam_input_lb[0, 0], abs=1e-6)


def test_small_lp_by_linprog():
    """Linear costs only: the soft rows and the box decide everything."""
    from scipy.optimize import linprog

    def stage_cost(k, x, u, p):
        return p.price[k] * u + 0.5 * x

    problem = OptimalControlProblem(
        n_states=1, n_inputs=1, horizon=3, parameters=Parameters(price=[1.0, -2.0, 0.3], w=4.0),
        dynamics=lambda x, u, p: 0.9 * x + u, stage_cost=stage_cost, terminal_cost=lambda x, p: 0.5 * x,
        input_lower=-1.0, input_upper=1.0,
        constraints={"level": lambda k, x, u, p: Rows(x, -0.2, 0.4, weight=p.w) if k else None},
    )  # fmt: skip
    # by hand: z = (u0, u1, u2, slack1, slack2, slack3), x_k = 0.9^k s + sum of 0.9^(k-1-j) u_j
    L = np.array([[1, 0, 0], [0.9, 1, 0], [0.81, 0.9, 1]])
    for s in (-1.0, 0.3, 2.0):
        free = s * 0.9 ** np.arange(1, 4)
        cost = np.concatenate([[1, -2, 0.3] + 0.5 * L.sum(0), [4, 4, 4]])
        A = np.block([[L, -np.eye(3)], [-L, -np.eye(3)]])
        answer = linprog(
            cost, A, np.concatenate([0.4 - free, 0.2 + free]), bounds=[(-1, 1)] * 3 + [(0, None)] * 3, method="highs"
        )
        expected = answer.fun + 0.5 * s + 0.5 * free.sum()
        for name in ("piqp", "ipopt", "daqp"):
            assert MPC(problem, name).V([1, -2, 0.3, 4], [s]).value == pytest.approx(expected, abs=1e-6), name
