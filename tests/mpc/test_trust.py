"""No wrong number: units, unstable plants, large weights; judged by KKT conditions in extended precision.

The judge below shares nothing with the package but the meaning of a solution's numbers: it takes the matrices that a
problem was made of, and asks how well the optimality conditions hold, each against the terms that cancel in it.
"""

from dataclasses import replace
from types import SimpleNamespace

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError, shift
from mpcrl_course.mpc.optimality import OPTIMAL, relative_residual, residuals
from mpcrl_course.mpc.prestabilised import PrestabilisedSolver
from mpcrl_course.problems.linear import linear_mpc

exact = np.longdouble
QUADRATIC = ["daqp", "piqp"]


def quadratic(A, B, Q, R, P, *, c=None, f=None, box=np.inf, rows=None, weight=None, N=5, dx=None, du=None, dh=1.0):
    """Cost 1/2 x'Qx + 1/2 u'Ru + f'(x, u), terminal x'Px, |u| <= box, |x_k| <= rows for k > 0; in units dx, du, dh."""
    nx, nu = B.shape
    dx, du = np.ones(nx) if dx is None else dx, np.ones(nu) if du is None else du
    d = SimpleNamespace(
        A=A * dx[:, None] / dx,
        B=B * dx[:, None] / du,
        c=np.zeros(nx) if c is None else c * dx,
        Q=Q / dx / dx[:, None],
        R=R / du / du[:, None],
        P=P / dx / dx[:, None],
        N=N,
        rows=rows,
        f=np.zeros(nx + nu) if f is None else f / np.concatenate([dx, du]),
        box=np.broadcast_to(box, nu) * du,
        C=np.diag(dh / dx),
        weight=weight,
        dx=dx,
        du=du,
        dh=dh,
    )
    constraints = {}
    if rows is not None:
        constraints["state"] = lambda k, x, u, p: (
            Rows(d.C @ x, -rows * dh, rows * dh, None if weight is None else weight / dh) if k else None
        )
    problem = OptimalControlProblem(
        n_states=nx,
        n_inputs=nu,
        horizon=N,
        parameters=Parameters(one=1.0),
        dynamics=lambda x, u, p: d.A @ x + d.B @ u + d.c,
        stage_cost=lambda k, x, u, p: 0.5 * x.T @ d.Q @ x + 0.5 * u.T @ d.R @ u + ca.dot(d.f, ca.vertcat(x, u)),
        terminal_cost=lambda x, p: x.T @ d.P @ x,
        input_lower=-d.box,
        input_upper=d.box,
        constraints=constraints,
    )
    return problem, d


def judged(d, v) -> float:
    """How far a solution is from optimal, in np.longdouble: every condition relative to the terms that cancel in it."""
    x, u, nu = (part.astype(exact) for part in (v.x, v.u, v.nu))
    A, B, Q, R, P, f, C = (part.astype(exact) for part in (d.A, d.B, d.Q, d.R, d.P, d.f, d.C))
    nx, given, worst = len(A), 0 if v.action is None else len(v.action), [exact(0)]
    lam = np.zeros_like(x) if d.rows is None else np.vstack([np.zeros(nx), (v.lam_ub["state"] - v.lam_lb["state"])])
    mu, size_x, size_u = (v.lam_input_ub - v.lam_input_lb).astype(exact), abs(x).max(0), abs(u).max(0)
    value = abs(exact(v.value))

    def compare(parts, also=None, start=0):
        """Compare what is left of the parts, shapes (stages, n), with the largest terms of any stage."""
        left, terms = abs(sum(parts)), sum(abs(part) for part in parts).max(axis=0)
        terms = terms if also is None else terms + also
        left[0, :start] = 0
        worst.append(np.where(left > 0, left / np.where(terms > 0, terms, 1), 0).max())

    rows, ones = lam.astype(exact) @ C, np.ones((d.N, 1), dtype=exact)
    slopes = np.vstack([x[:-1] @ Q + f[:nx], 2 * x[-1:] @ P])
    compare([x[1:], -x[:-1] @ A.T, -u @ B.T, -ones * d.c.astype(exact)])
    compare([slopes, nu, np.vstack([-nu[1:] @ A, np.zeros((1, nx))]), rows])
    of_nu = (abs(nu) + abs(x) @ abs(Q)).max(axis=0) @ abs(B)  # what a multiplier is made of, one stage on
    compare([u @ R, ones * f[nx:], -nu[1:] @ B, mu], of_nu, given)
    edge = np.where(np.isfinite(d.box), d.box, 0).astype(exact)
    over = np.where(np.isfinite(d.box), abs(u) - edge, 0)
    product = abs(mu * (u - np.sign(mu) * edge)) / (value + abs(mu) * (abs(u) + edge) + TINY)
    over[0, :given], product[0, :given] = 0, 0
    worst += [(np.maximum(over, 0) / (size_u + edge + TINY)).max(), product.max()]
    if d.rows is not None:
        h, bound = (C @ x[1:].T).T, d.rows * d.dh
        over, lam, size = abs(h) - bound, lam[1:], abs(C) @ size_x + bound
        if d.weight is None:
            slack = np.zeros_like(h)
            worst.append((np.maximum(over, 0) / size).max())
        else:
            slack, w = v.slack["state"].astype(exact), exact(d.weight / d.dh)
            worst.append((np.maximum(over - slack, 0) / size).max())
            worst.append((np.maximum(abs(lam) - w, 0) / w).max())
            worst.append(((w - abs(lam)) * slack / (value + w * slack + TINY)).max())
        worst.append((abs(lam * (np.sign(lam) * h - bound - slack)) / (value + abs(lam) * size + TINY)).max())
    return float(max(worst))


TINY = exact(1e-300)

# --- the cases of the trial ---------------------------------------------------------------------------------------

A1, B1, I2 = np.array([[0.9, 0.35], [0.0, 1.1]]), np.array([[0.0813], [0.2]]), np.eye(2)


@pytest.mark.parametrize("solver", QUADRATIC)
@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e5, 1e6, 1e7])
def test_an_input_in_any_unit(unit, solver):
    problem, d = quadratic(A1, B1, 2 * I2, 2 * np.eye(1), I2, box=1.0, du=np.array([unit]))
    v = MPC(problem, solver).V([1.0], [0.3, 0.2])
    assert v.value == pytest.approx(0.8757, abs=5e-5) and judged(d, v) < 1e-6 and v.residual < 1e-7
    base = MPC(quadratic(A1, B1, 2 * I2, 2 * np.eye(1), I2, box=1.0)[0], solver).V([1.0], [0.3, 0.2])
    assert v.value == pytest.approx(base.value, rel=1e-8)
    np.testing.assert_allclose(v.u / unit, base.u, rtol=1e-6, atol=1e-8)
    assert v.strict == base.strict
    np.testing.assert_allclose(v.sensitivity().du_ds / unit, base.sensitivity().du_ds, atol=1e-6)


def riccati_value(A, B, N, s):
    """Return s'P_0 s and the first input of  sum x'x + u'u,  terminal x'x, in extended precision; one input."""
    A, B, P = A.astype(exact), B.astype(exact), np.eye(2, dtype=exact)
    for _ in range(N):
        K = (B.T @ P @ A) / (1 + (B.T @ P @ B).item())
        closed = A - B @ K
        P = np.eye(2) + K.T @ K + closed.T @ P @ closed
    return float(s @ P @ s), float((-K @ s).item())


@pytest.mark.parametrize("solver", QUADRATIC)
@pytest.mark.parametrize("a, N", [(1.5, 30), (2.0, 20), (2.0, 40), (3.0, 12), (3.0, 40), (-3.0, 40)])
def test_an_unstable_plant_without_a_box(a, N, solver):
    A, B, s = np.array([[a, 1.0], [0.0, a]]), np.array([[0.0], [1.0]]), np.ones(2)
    problem, d = quadratic(A, B, 2 * I2, 2 * np.eye(1), I2, N=N)
    mpc = MPC(problem, solver)
    v, (value, u0) = mpc.V([1.0], s), riccati_value(A, B, N, s)
    assert v.value == pytest.approx(value, rel=1e-10) and v.u0[0] == pytest.approx(u0, rel=1e-8)
    assert judged(d, v) < 1e-9
    q = mpc.Q([1.0], s, v.u0)
    assert q.value == pytest.approx(value, rel=1e-10) and judged(d, q) < 1e-9
    values, first = mpc.values([1.0], np.array([s, 2 * s, -s]))
    np.testing.assert_allclose(values, value * np.array([1, 4, 1]), rtol=1e-10)
    np.testing.assert_allclose(first[:, 0], u0 * np.array([1, 2, -1]), rtol=1e-8)


@pytest.mark.parametrize("solver", QUADRATIC)
@pytest.mark.parametrize("a", [1.5, 3.0])
def test_an_unstable_plant_that_the_box_cannot_hold(a, solver):
    """The state runs away as 3^40, the input sits at its bound; the cost is what simulation says."""
    A, B, s = np.array([[a, 1.0], [0.0, a]]), np.array([[0.0], [1.0]]), np.ones(2)
    problem, d = quadratic(A, B, 2 * I2, 2 * np.eye(1), I2, N=40, box=0.5)
    v = MPC(problem, solver).V([1.0], s)
    x, cost = s.astype(exact), exact(0)
    for u in v.u:
        cost, x = cost + x @ x + u @ u, A @ x + B @ u
    assert v.value == pytest.approx(float(cost + x @ x), rel=1e-9) and judged(d, v) < 1e-6
    assert (v.u[:20] == -0.5).all()


@pytest.mark.parametrize("solver", QUADRATIC)
@pytest.mark.parametrize("N", [10, 50])
def test_a_slack_weight_that_is_large_enough_changes_nothing(N, solver):
    """An exact penalty: from some weight on, no row is violated and V stays what it is, up to 1e12."""
    A, B, values = np.array([[1.0, 0.25], [0.0, 1.0]]), np.array([[0.0312], [0.25]]), []
    for weight in (1e4, 1e6, 1e8, 1e10, 1e12):
        problem, d = quadratic(
            A, B, I2, 0.5 * np.eye(1), 2 * I2, N=N, box=1.0, rows=np.array([2.0, 0.3]), weight=weight
        )
        v = MPC(problem, solver).V([1.0], [1.5, 0.3])
        assert judged(d, v) < 1e-6 and v.slack["state"].max() < 1e-9
        values.append(v.value)
    np.testing.assert_allclose(values, values[0], rtol=1e-8)


@pytest.mark.parametrize("solver", QUADRATIC)
@pytest.mark.parametrize("weight", [1e-3, 1.0, 1e6, 1e10, 1e12])
def test_a_row_that_must_be_violated_costs_what_it_costs(weight, solver):
    A, B = np.array([[1.0, 0.25], [0.0, 1.0]]), np.array([[0.0312], [0.25]])
    problem, d = quadratic(A, B, I2, 0.5 * np.eye(1), 2 * I2, N=8, box=1.0, rows=np.array([2.0, 0.3]), weight=weight)
    v = MPC(problem, solver).V([1.0], [1.9, 0.9])
    assert judged(d, v) < 1e-6 and v.slack["state"].max() > 0.1


# --- drawn at random ----------------------------------------------------------------------------------------------


def drawn(rng, digits=6.0):
    """A random problem with ill-conditioned weights, an unstable plant and units over 2 x `digits` decades."""
    nx, nu = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    N = int(rng.integers(1, 41 // nu if rng.random() < 0.5 else 13))
    A = rng.standard_normal((nx, nx))
    A *= rng.uniform(0.3, 3.0) / np.abs(np.linalg.eigvals(A)).max()
    soft = rng.random() < 0.7
    problem, d = quadratic(
        A,
        rng.standard_normal((nx, nu)),
        np.diag(10 ** rng.uniform(-3, 3, nx)),
        np.diag(10 ** rng.uniform(-4, 2, nu)),
        np.diag(10 ** rng.uniform(-3, 3, nx)),
        c=rng.standard_normal(nx) * (rng.random() < 0.3),
        f=rng.standard_normal(nx + nu) * (rng.random() < 0.5),
        N=N,
        box=rng.uniform(0.1, 3.0, nu) if rng.random() < 0.7 else np.inf,
        rows=rng.uniform(0.2, 2.0, nx) if soft else None,
        weight=10 ** rng.uniform(-3, 12) if soft else None,
        dx=10 ** rng.uniform(-digits, digits, nx),
        du=10 ** rng.uniform(-digits, digits, nu),
        dh=10 ** rng.uniform(-digits, digits),
    )
    return problem, d, rng.uniform(-1, 1, nx) * d.dx, rng.uniform(-1, 1, nu) * d.du


@pytest.mark.parametrize("solver", QUADRATIC)
def test_of_ill_conditioned_problems_nearly_all_are_solved_and_none_wrongly(solver):
    solved, n = 0, 60
    for seed in range(n):
        problem, d, s, a = drawn(np.random.default_rng(seed))
        mpc = MPC(problem, solver)
        try:
            v = mpc.Q([1.0], s, a) if seed % 3 == 0 else mpc.V([1.0], s)
        except SolverError as error:
            assert error.status == "not converged" and "digits" in str(error)
            continue
        solved += 1
        assert judged(d, v) < 1e-6, seed
        assert v.residual <= OPTIMAL
        value = mpc.values([1.0], s[None], None if v.action is None else a[None])[0]
        assert value[0] == pytest.approx(v.value, rel=1e-6)
    assert solved >= 0.95 * n


def off(d, v) -> np.ndarray:
    """How far every input is off, of its box or of its largest size: a Newton step in it, in np.longdouble.

    The cost is 1/2 u'Ru and what is convex in u: no input can be off by much more, however large V is. States run along
    the open loop, which is exact enough where the inputs are at their box or the plant amplifies little.
    """
    x, lam = [v.state.astype(exact)], np.zeros((d.N + 1, len(d.A)), dtype=exact)
    if d.rows is not None:
        lam[1:] = v.lam_ub["state"] - v.lam_lb["state"]
    for u in v.u.astype(exact):
        x.append(d.A.astype(exact) @ x[-1] + d.B.astype(exact) @ u + d.c.astype(exact))
    nx, g, later = len(d.A), np.zeros_like(v.u, dtype=exact), 2 * d.P.astype(exact) @ x[-1] + d.C @ lam[-1]
    for k in reversed(range(d.N)):
        g[k] = d.R @ v.u[k].astype(exact) + d.f[nx:] + d.B.T @ later
        later = d.Q.astype(exact) @ x[k] + d.f[:nx] + d.C @ lam[k] + d.A.T @ later
    step = v.u - np.clip(v.u - g / np.diag(d.R), -d.box, d.box)
    step[0, : 0 if v.action is None else len(v.action)] = 0
    return np.abs(step) / size(d, v)


HIDDEN = [24, 83, 84, 105, 149, 200, 204, 207]


@pytest.mark.parametrize("seed", HIDDEN)
def test_an_input_that_matters_little_to_the_cost_is_right(seed):
    """Costs of states dwarf those of an input: both back ends and a batch agree in it all the same."""
    problem, d, s, a = drawn(np.random.default_rng(seed))
    action, answers = (a if seed % 3 == 0 else None), []
    for solver in QUADRATIC:
        mpc = MPC(problem, solver)
        v = mpc.V([1.0], s) if action is None else mpc.Q([1.0], s, action)
        assert judged(d, v) < 1e-6 and off(d, v).max() < 1e-5
        answers.append(v.u)
        if action is None:
            assert (np.abs(mpc.values([1.0], s[None])[1][0] - v.u0) < 1e-6 * size(d, v)).all()
    assert (np.abs(answers[0] - answers[1]) < 1e-6 * size(d, v)).all()


def size(d, v):
    """Return the width of the box, or the largest input where there is none."""
    return np.where(np.isfinite(d.box), 2 * d.box, np.abs(v.u).max(axis=0))


@pytest.mark.parametrize("seed", HIDDEN)
def test_an_input_that_is_a_little_wrong_is_not_called_solved(seed, monkeypatch):
    """Off by 1e-4 of the box, every single one: the back ends look for another answer, and find the right one."""
    problem, d, s, a = drawn(np.random.default_rng(seed))
    daqp, piqp = (MPC(problem, solver) for solver in QUADRATIC)
    v = daqp.V([1.0], s) if seed % 3 else daqp.Q([1.0], s, a)
    free = np.arange(v.u.size).reshape(v.u.shape)[int(v.action is not None) :].ravel()
    qp, mu = daqp.back_end.qp(v.kind), (v.lam_input_ub - v.lam_input_lb).ravel()[-len(free) :]
    net = (v.multipliers.lam_ub - v.multipliers.lam_lb)[qp.moving]
    for i in free:
        wrong = v.u.ravel().copy()
        wrong[i] -= 1e-4 * size(d, v)[i % d.B.shape[1]] * (1.0 if v.u.ravel()[i] > 0.0 else -1.0)
        spoilt = replace(v, u=wrong.reshape(v.u.shape))
        assert residuals(spoilt).max() > OPTIMAL and not piqp.back_end.passes(spoilt)
        lam = np.concatenate([mu[: qp.n_box], net])
        again = daqp.back_end.solution(qp, v.question, wrong[free], lam, 0.0)
        assert (np.abs(again.u - v.u) < 1e-6 * size(d, v)).all()
    monkeypatch.setattr(piqp.back_end, "answer", lambda question, guess: spoilt)
    assert (np.abs(piqp.answer(v.question).u - v.u) < 1e-6 * size(d, v)).all()


@pytest.mark.parametrize("seed", range(6))
def test_units_change_no_answer(seed):
    """V, Q, policy, derivatives of a problem in units of 10^-6 to 10^6 against the same in plain ones."""
    plain, _, s, a = drawn(np.random.default_rng(seed), 0.0)
    for other in range(3):
        rng = np.random.default_rng(seed)
        problem, d, _, _ = drawn(rng, 0.0)
        dx, du = (10 ** np.random.default_rng(100 * seed + other).uniform(-6, 6, len(v)) for v in (s, a))
        scaled = replace(
            problem,
            dynamics=lambda x, u, p, dx=dx, du=du: plain.dynamics(x / dx, u / du, p) * dx,
            stage_cost=lambda k, x, u, p, dx=dx, du=du: plain.stage_cost(k, x / dx, u / du, p),
            terminal_cost=lambda x, p, dx=dx: plain.terminal_cost(x / dx, p),
            constraints={
                name: lambda k, x, u, p, rows=rows, dx=dx: rows(k, x / dx, u, p)
                for name, rows in plain.constraints.items()
            },
            input_lower=plain.input_lower * du,
            input_upper=plain.input_upper * du,
        )
        one, two = MPC(plain).V([1.0], s), MPC(scaled).V([1.0], s * dx)
        assert two.value == pytest.approx(one.value, rel=1e-8)
        np.testing.assert_allclose(two.u / du, one.u, rtol=1e-6, atol=1e-7 * np.abs(one.u).max())
        np.testing.assert_allclose(two.gradient_state() * dx, one.gradient_state(), rtol=1e-5, atol=1e-6)
        assert relative_residual(two) <= OPTIMAL


# --- problems that are not quadratic ------------------------------------------------------------------------------


def swing(dx=(1.0, 1.0), du=1.0, solver="ipopt"):
    """A pendulum in units dx of its angle and rate, du of its torque."""
    dx = np.array(dx)

    def dynamics(x, u, p):
        y = x / dx
        return ca.vertcat(y[0] + 0.1 * y[1], y[1] + 0.1 * (9.81 * ca.sin(y[0]) - 0.1 * y[1] + 5 * u / du)) * dx

    def residual(k, x, u, p):
        y = ca.vertcat(2.0 * ca.sin(0.5 * x[0] / dx[0]), 0.3 * x[1] / dx[1])
        return 3.0 * y if u is None else ca.vertcat(y, 0.2 * u / du)

    problem = OptimalControlProblem(
        n_states=2,
        n_inputs=1,
        horizon=20,
        parameters=Parameters(w=10.0),
        dynamics=dynamics,
        stage_cost=lambda k, x, u, p: ca.sumsqr(residual(k, x, u, p)),
        terminal_cost=lambda x, p: ca.sumsqr(residual(20, x, None, p)),
        input_lower=-2 * du,
        input_upper=2 * du,
        constraints={"rate": lambda k, x, u, p: Rows(x[1], -3 * dx[1], 3 * dx[1], weight=p.w / dx[1]) if k else None},
    )
    return MPC(problem, solver, **({"residual": residual} if solver == "rti" else {}))


UNITS = [((1e-3, 1e3), 1e3), ((1e3, 1e-3), 1e-3), ((1.0, 1e3), 1e-3), ((1e3, 1e3), 1e3), ((1e-3, 1e-3), 1e-3)]


@pytest.mark.parametrize("dx, du", UNITS)
def test_ipopt_in_other_units_finds_the_same(dx, du):
    plain, other, rng = swing(), swing(dx, du), np.random.default_rng(0)
    for s in rng.uniform([-1, -2], [1, 2], (4, 2)):
        a = rng.uniform(-1, 1, 1)
        for one, two in (
            (plain.V([10.0], s), other.V([10.0], s * dx)),
            (plain.Q([10.0], s, a), other.Q([10.0], s * dx, a * du)),
        ):
            assert two.value == pytest.approx(one.value, rel=1e-8) and two.residual < 1e-6
            np.testing.assert_allclose(two.u / du, one.u, atol=1e-7)
            np.testing.assert_allclose(two.gradient_state() * dx, one.gradient_state(), rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(two.gradient(), one.gradient(), atol=1e-8)
            assert two.strict == one.strict
    np.testing.assert_allclose(
        other.policy([10.0], s * dx).policy_jacobian() / du, plain.policy([10.0], s).policy_jacobian(), atol=1e-6
    )
    values = other.values([10.0], rng.uniform([-1, -2], [1, 2], (2, 2)) * dx)[0]
    assert np.isfinite(values).all()


@pytest.mark.parametrize("dx, du", UNITS)
def test_real_time_iteration_in_other_units_takes_the_same_steps(dx, du):
    plain, other = swing(solver="rti"), swing(dx, du, solver="rti")
    s = np.array([0.6, -1.0])
    one, two = plain.policy([10.0], s), other.policy([10.0], s * dx)
    for _ in range(6):
        s = s * 0.9
        one = plain.policy([10.0], s, warm_start=shift(one))
        two = other.policy([10.0], s * dx, warm_start=shift(two))
        assert two.status == one.status and two.value == pytest.approx(one.value, rel=1e-8)
        np.testing.assert_allclose(two.u / du, one.u, atol=1e-7)
    start = np.tile(s, (21, 1)), np.zeros((20, 1))
    one = plain.policy([10.0], s, warm_start=start)
    two = other.policy([10.0], s * dx, warm_start=(start[0] * dx, start[1]))
    assert two.value == pytest.approx(one.value, rel=1e-8)


# --- the test of optimality and the careful back end themselves ---------------------------------------------------


def test_the_residual_has_no_unit_and_sees_what_is_wrong():
    mpc = linear_mpc()
    theta, s = mpc.parameters.initial(), np.array([0.2, -0.6])
    v = mpc.V(theta, s)
    assert v.residual < 1e-7
    for wrong in (
        replace(v, u=v.u * (1 + 1e-3)),
        replace(v, multipliers=v.multipliers._replace(nu=v.nu * (1 + 1e-3))),
        replace(v, multipliers=v.multipliers._replace(lam_lb=v.multipliers.lam_lb * (1 - 1e-3))),
        replace(v, x=v.x * (1 + 1e-3)),
        replace(v, flat_slack=v.flat_slack + 1e-3),
    ):
        assert wrong.residual > 1e-5
    assert np.isnan(replace(v, u=v.u * np.nan).residual)


def test_the_careful_back_end_gives_the_same_answers_to_rounding():
    mpc, rng = linear_mpc(), np.random.default_rng(3)
    careful = PrestabilisedSolver(mpc.transcription)
    for i in range(100):
        theta, s = mpc.parameters.initial() + 0.05 * rng.standard_normal(16), rng.uniform([-0.3, -0.8], [1.1, 0.8])
        fast = mpc.Q(theta, s, rng.uniform(-1, 1, 1)) if i % 2 else mpc.V(theta, s, perturbation=rng.normal(0, 0.1, 1))
        ours = careful.solve(fast.question)
        assert ours.residual < 1e-13 and ours.value == pytest.approx(fast.value, rel=1e-12)
        np.testing.assert_allclose(ours.u, fast.u, atol=1e-6)


def test_what_daqp_overpays_for_violated_rows_is_taken_off_their_weights(monkeypatch):
    """It puts an input off by more than 1e-6 of the box where the model is poor; nobody else need be asked."""
    mpc, rng = linear_mpc(), np.random.default_rng(0)
    careful, off_by = PrestabilisedSolver(mpc.transcription), []
    monkeypatch.setattr(mpc.back_end, "careful", None)
    for _ in range(200):
        theta, s = mpc.parameters.initial() + 0.2 * rng.standard_normal(16), rng.uniform([-0.5, -1], [1.3, 1])
        v = mpc.V(theta, s)
        off_by.append(np.abs(v.u - careful.solve(v.question).u).max())
    assert max(off_by) < 2e-6


@pytest.mark.parametrize("solver", QUADRATIC)
@pytest.mark.parametrize("seed", range(8))
def test_at_rest_at_a_far_set_point_without_a_box(seed, solver):
    """Nothing is to be done, but for what the terms of the slope leave when they cancel."""
    rng = np.random.default_rng(seed)
    nx, nu, N = (int(rng.integers(*ends)) for ends in ((1, 4), (1, 3), (1, 15)))
    A, B, r = rng.standard_normal((nx, nx)), rng.standard_normal((nx, nu)), 1e3 * rng.uniform(-1, 1, nx)
    A *= rng.uniform(0.3, 1.5) / np.abs(np.linalg.eigvals(A)).max()
    problem = OptimalControlProblem(
        n_states=nx,
        n_inputs=nu,
        horizon=N,
        parameters=Parameters(one=1.0),
        dynamics=lambda x, u, p: A @ x + B @ u + (r - A @ r),
        stage_cost=lambda k, x, u, p: 10 * ca.sumsqr(x - r) + 0.01 * ca.sumsqr(u),
        terminal_cost=lambda x, p: ca.sumsqr(x - r),
    )
    mpc = MPC(problem, solver)
    assert np.abs(mpc.V([1.0], r).u).max() < 1e-9 * np.abs(r).max()
    assert np.abs(mpc.values([1.0], r[None])[1]).max() < 1e-9 * np.abs(r).max()


@pytest.mark.parametrize("solver", QUADRATIC)
@pytest.mark.parametrize("weight", [-0.1, 0.0, 1e-12, 1.0])
def test_a_weight_of_the_input_that_is_a_parameter_may_vanish(weight, solver):
    """The next state's cost is what is left of an input's curvature then."""
    problem = OptimalControlProblem(
        n_states=1,
        n_inputs=1,
        horizon=3,
        parameters=Parameters(w=1.0),
        dynamics=lambda x, u, p: 2.0 * x + u,
        stage_cost=lambda k, x, u, p: x**2 + p.w * u**2,
        terminal_cost=lambda x, p: x**2,
        input_lower=-1.0,
        input_upper=1.0,
    )
    P = 1.0
    for _ in range(3):
        K = -2.0 * P / (weight + P)
        P = 1.0 + weight * K**2 + P * (2.0 + K) ** 2
    v = MPC(problem, solver).V([weight], [0.1])
    assert v.value == pytest.approx(0.01 * P, rel=1e-7) and v.u0[0] == pytest.approx(0.1 * K, abs=1e-6)


def test_a_cost_that_is_flat_in_an_input_is_left_to_the_interior_point_method():
    """The last input costs nothing and moves nothing: no strictly convex problem, and an answer all the same."""
    problem = OptimalControlProblem(
        n_states=1,
        n_inputs=2,
        horizon=3,
        parameters=Parameters(a=1.0),
        dynamics=lambda x, u, p: x + u[0],
        stage_cost=lambda k, x, u, p: x**2 + u[0] ** 2,
        terminal_cost=lambda x, p: x**2,
        input_lower=-1,
        input_upper=1,
    )
    by_hand = 1.0
    for _ in range(3):
        by_hand = 1.0 + by_hand / (1.0 + by_hand)
    assert MPC(problem).V([1.0], [0.5]).value == pytest.approx(0.25 * by_hand, rel=1e-7)


def test_soft_rows_and_a_box_are_never_called_infeasible():
    problem, d, s, _ = drawn(np.random.default_rng(255))
    for solver in QUADRATIC:
        try:
            assert judged(d, MPC(problem, solver).V([1.0], 1e8 * s)) < 1e-6
        except SolverError as error:
            assert error.status == "not converged"


# --- where a solver starts ----------------------------------------------------------------------------------------


def test_a_cost_with_a_root_of_the_input():
    """The root has no slope at no input: V, Q and policy start elsewhere, of their own accord or from arrays (x, u)."""
    problem = OptimalControlProblem(
        n_states=1,
        n_inputs=1,
        horizon=3,
        parameters=Parameters(w=1.0),
        dynamics=lambda x, u, p: x - 0.5 * u,
        stage_cost=lambda k, x, u, p: x**2 - p.w * ca.sqrt(u),
        terminal_cost=lambda x, p: x**2,
        input_lower=0.0,
        input_upper=2.0,
    )
    mpc, guess = MPC(problem), (np.full((4, 1), 1.0), np.full((3, 1), 0.5))
    assert mpc.solver == "ipopt"
    v, given = mpc.V([1.0], [1.0]), mpc.V([1.0], [1.0], warm_start=guess)
    assert v.value == pytest.approx(given.value, rel=1e-9) and v.residual < 1e-6
    assert mpc.policy([1.0], [1.0], warm_start=guess).u0 == pytest.approx(v.u0, abs=1e-7)
    grid = np.linspace(1e-3, 2.0, 400)
    U = np.stack(np.meshgrid(grid, grid[::8], grid[::8], indexing="ij"), axis=-1)
    x, cost = np.ones(U.shape[:-1]), 0.0
    for k in range(3):
        cost, x = cost + x**2 - np.sqrt(U[..., k]), x - 0.5 * U[..., k]
    assert v.value <= (cost + x**2).min() + 1e-9 and v.value == pytest.approx((cost + x**2).min(), abs=2e-3)
    for a in (0.3, 1.7):
        q = mpc.Q([1.0], [1.0], [a])
        assert q.u0[0] == pytest.approx(a) and q.value >= v.value - 1e-9
        assert q.value == pytest.approx(mpc.Q([1.0], [1.0], [a], warm_start=guess).value, rel=1e-9)
    assert mpc.Q([1.0], [1.0], v.u0).value == pytest.approx(v.value, rel=1e-7)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("unit_x", [1e-6, 1.0, 1e6])
def test_a_small_input_at_a_far_set_point(unit, unit_x):
    """What cancels at the set-point is 1e8 times what is left for the input, which is right all the same."""
    A, B, c, Q, R, P, r, q, gamma = 1.6509, -0.9565, 16.795, 983.3, 0.0913, 4.089, -25.803, -0.1986, 0.9
    problem = OptimalControlProblem(
        n_states=1,
        n_inputs=1,
        horizon=2,
        parameters=Parameters(one=1.0),
        dynamics=lambda x, u, p: unit_x * (A * x / unit_x + B * u / unit + c),
        stage_cost=lambda k, x, u, p: gamma**k * (Q * (x / unit_x - r) ** 2 + R * (u / unit) ** 2) / 2,
        terminal_cost=lambda x, p: P * (x / unit_x - r) ** 2,
        input_lower=-5 * unit,
        input_upper=5 * unit,
    )
    v = MPC(problem).V([1.0], [r * unit_x], perturbation=[q / unit])

    def cost(u):  # in extended precision
        x, total = exact(r), q * u[0]
        for k in range(2):
            total, x = total + gamma**k * (Q * (x - r) ** 2 + R * u[k] ** 2) / 2, A * x + B * u[k] + c
        return total + P * (x - r) ** 2

    e = np.eye(2, dtype=exact)
    H = np.array([[cost(i + j) - cost(i) - cost(j) + cost(0 * i) for j in e] for i in e])
    g = np.array([cost(i) - cost(0 * i) for i in e]) - np.diag(H) / 2
    u = -np.array([H[1, 1] * g[0] - H[0, 1] * g[1], H[0, 0] * g[1] - H[0, 1] * g[0]]) / (
        H[0, 0] * H[1, 1] - H[0, 1] ** 2
    )
    np.testing.assert_allclose(v.u.ravel() / unit, u.astype(float), rtol=1e-6, atol=1e-9)
