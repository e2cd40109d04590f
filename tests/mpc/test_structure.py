"""All the shapes a problem may have: hard, one-sided, input and stage-0 rows, many inputs, horizon 1, batches."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError
from mpcrl_course.problems.linear import linear_mpc

SOLVERS = ["daqp", "piqp", "ipopt"]
THETA = linear_mpc().parameters.initial()


def plant(constraints=None, *, n_inputs=2, horizon=5, box=(-1.0, 1.0), solver=None, **parameters):
    """Three states, one or two inputs, and weights as parameters."""
    B = np.array([[0.1, 0.0], [0.3, -0.2], [0.0, 0.4]])[:, :n_inputs]
    A = np.array([[0.9, 0.3, 0.0], [0.0, 0.95, 0.2], [0.1, 0.0, 0.8]])
    problem = OptimalControlProblem(
        n_states=3, n_inputs=n_inputs, horizon=horizon, parameters=Parameters(w=5.0, edge=0.3, **parameters),
        dynamics=lambda x, u, p: A @ x + B @ u,
        stage_cost=lambda k, x, u, p: x.T @ x + 0.1 * u.T @ u, terminal_cost=lambda x, p: 2 * x.T @ x,
        input_lower=box[0], input_upper=box[1], constraints=constraints or {},
    )  # fmt: skip
    return MPC(problem, solver)


KINDS = {
    "none": {},
    "hard, two-sided": {"r": lambda k, x, u, p: Rows(x[1], -p.edge, p.edge) if k > 1 else None},
    "hard, lower only": {"r": lambda k, x, u, p: Rows(x[0] + x[2], lower=-p.edge) if k > 1 else None},
    "soft, upper only": {"r": lambda k, x, u, p: Rows(x[1:], upper=p.edge, weight=p.w) if k > 0 else None},
    "soft, with u": {"r": lambda k, x, u, p: Rows(x[0] + u[0], -p.edge, p.edge, weight=p.w) if k < 5 else None},
    "hard, with u": {"r": lambda k, x, u, p: Rows(u[0] - 0.5 * x[0], upper=p.edge) if 0 < k < 5 else None},
    "soft, every stage": {"r": lambda k, x, u, p: Rows(x, -p.edge, p.edge, weight=p.w * ca.DM([1, 2, 3]))},
    "a row without bounds": {
        "r": lambda k, x, u, p: Rows(x, [-0.2, -np.inf, -np.inf], [0.2, 0.3, np.inf], weight=[1, 2, 3])
    },
    "soft and hard": {
        "soft": lambda k, x, u, p: Rows(x[0], upper=p.edge, weight=p.w),
        "hard": lambda k, x, u, p: Rows(x[2], lower=-0.9) if k > 1 else None,
    },
    "terminal": {"r": lambda k, x, u, p: Rows(x, -0.25, 0.25) if k == 5 else None},
}


def states(seed=0, n=6):
    return np.random.default_rng(seed).uniform(-0.8, 0.8, (n, 3))


def numeric_gradient(function, at, h=1e-6):
    return np.array([(function(at + e) - function(at - e)) / (2 * h) for e in h * np.eye(len(at))])


@pytest.mark.parametrize("n_inputs", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_back_ends_agree_and_gradients_are_right(kind, n_inputs):
    controllers = [plant(KINDS[kind], n_inputs=n_inputs, solver=name) for name in SOLVERS]
    ours, theta, solved = controllers[0], controllers[0].parameters.initial(), 0
    for i, s in enumerate(states()):
        a = np.array([0.2, -1.3])[:n_inputs]
        for ask in (lambda c, t: c.V(t, s), lambda c, t: c.Q(t, s, a)):  # noqa: B023
            try:
                answers = [ask(c, theta) for c in controllers]
            except SolverError:
                for c in controllers:  # hard rows: then all of them must say so
                    with pytest.raises(SolverError):
                        ask(c, theta)
                continue
            solved += 1
            first = answers[0]
            for answer in answers:
                assert answer.residual <= 2e-6
                assert answer.value == pytest.approx(first.value, abs=1e-7)
                np.testing.assert_allclose(answer.u, first.u, atol=2e-5)
                assert answer.strict == first.strict
                if first.strict:
                    np.testing.assert_allclose(answer.gradient(), first.gradient(), atol=1e-4)
            if i < 2 and first.strict and first.activity.margin > 1e-4:
                numeric = numeric_gradient(lambda t: ask(ours, t).value, theta)  # noqa: B023
                np.testing.assert_allclose(first.gradient(), numeric, atol=1e-5)
            for name, (stages, m) in ours.transcription.groups.items():
                assert first.slack[name].shape == first.lam_lb[name].shape == (len(stages), m)
    assert solved >= 6


@pytest.mark.parametrize("solver", SOLVERS)
def test_hard_rows_hold_and_one_sided_rows_push_one_way(solver):
    mpc = plant(KINDS["hard, lower only"], solver=solver)
    s = np.array([-0.7, 0.3, -0.6])
    v = mpc.V(mpc.parameters.initial(), s)
    np.testing.assert_allclose(v.slack["r"], 0.0)
    assert (v.x[2:, 0] + v.x[2:, 2]).min() == pytest.approx(-0.3, abs=1e-8)
    assert v.lam_lb["r"].max() > 1e-3 and v.lam_ub["r"].max() == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_stage_zero_rows_pay_for_the_state_itself(solver):
    """In the network's cost slacks count from k = 0: V and Q grow by weight * violation of s, and ds feels it."""
    with_zero = plant({"r": lambda k, x, u, p: Rows(x[0], upper=0.3, weight=p.w)}, solver=solver)
    without = plant({"r": lambda k, x, u, p: Rows(x[0], upper=0.3, weight=p.w) if k else None}, solver=solver)
    theta, s, a = with_zero.parameters.initial(), np.array([0.7, 0.1, -0.1]), [0.1, 0.2]
    for one, other in (
        (with_zero.V(theta, s), without.V(theta, s)),
        (with_zero.Q(theta, s, a), without.Q(theta, s, a)),
    ):
        assert one.value - other.value == pytest.approx(5.0 * 0.4, abs=1e-7)
        np.testing.assert_allclose(one.u, other.u, atol=1e-6)
        np.testing.assert_allclose(one.gradient_state() - other.gradient_state(), [5.0, 0, 0], atol=1e-5)
        difference = one.gradient() - other.gradient()
        np.testing.assert_allclose(difference, [0.4, 0.0], atol=1e-6)  # dV/dw = violation


@pytest.mark.parametrize("solver", SOLVERS)
def test_hard_row_on_the_state_itself(solver):
    mpc = plant({"here": lambda k, x, u, p: Rows(x[0], upper=p.edge) if k == 0 else None}, solver=solver)
    theta = mpc.parameters.initial()
    assert np.isfinite(mpc.V(theta, [0.29, 0.0, 0.0]).value)
    with pytest.raises(SolverError, match="infeasible.*here.*0.4") as error:
        mpc.V(theta, [0.4, 0.0, 0.0])
    assert error.value.status == "infeasible"


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("constrained", [True, False])
def test_horizon_one(solver, constrained):
    """Q has no free input left: a formula."""
    rows = {"r": lambda k, x, u, p: Rows(x[0], upper=p.edge, weight=p.w) if k else None} if constrained else {}
    mpc = plant(rows, horizon=1, solver=solver)
    theta, s, a = mpc.parameters.initial(), np.array([0.9, 0.5, -0.2]), np.array([0.4, -0.3])
    A = np.array([[0.9, 0.3, 0.0], [0.0, 0.95, 0.2], [0.1, 0.0, 0.8]])
    B = np.array([[0.1, 0.0], [0.3, -0.2], [0.0, 0.4]])
    x = A @ s + B @ a
    expected = s @ s + 0.1 * a @ a + 2 * x @ x + constrained * 5.0 * max(0, x[0] - 0.3)
    q = mpc.Q(theta, s, a)
    assert q.value == pytest.approx(expected, abs=1e-7)
    np.testing.assert_allclose(q.x[1], x, atol=1e-9)
    push = constrained * 5.0 * np.eye(3)[0]
    np.testing.assert_allclose(q.gradient_action(), 0.2 * a + B.T @ (4 * x + push), atol=1e-5)
    np.testing.assert_allclose(q.gradient_state(), 2 * s + A.T @ (4 * x + push), atol=1e-5)
    np.testing.assert_allclose(q.sensitivity().dx_da[1], B, atol=1e-7)
    assert q.strict and q.hessian().shape == (2, 2)
    assert mpc.V(theta, s).value <= expected
    values, first = mpc.values(theta, [s, s], [a, 2 * a])
    assert values[0] == pytest.approx(expected, abs=1e-7)
    np.testing.assert_allclose(first, [a, 2 * a], atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_box_and_half_a_box(solver):
    box = ([-np.inf, -0.2], [0.1, np.inf])
    free, half = plant(box=(-np.inf, np.inf), solver=solver), plant(box=box, solver=solver)
    theta, s = free.parameters.initial(), np.array([-0.9, -0.8, 0.9])
    v, w = free.V(theta, s), half.V(theta, s)
    for solution in (v, free.Q(theta, s, [3.0, 3.0])):
        assert solution.lam_input_lb.max() == solution.lam_input_ub.max() == 0
    assert v.u[0, 0] > 0.1 or v.u[0, 1] < -0.2
    assert w.value > v.value
    assert (w.u[:, 0] <= 0.1 + 1e-8).all() and (w.u[:, 1] >= -0.2 - 1e-8).all()
    assert w.lam_input_lb[:, 0].max() == 0 and w.lam_input_ub[:, 1].max() == 0
    assert w.residual < 1e-7


@pytest.mark.parametrize("solver", SOLVERS)
def test_batch_equals_single_solves(solver):
    mpc, rng = linear_mpc(solver=solver), np.random.default_rng(2)
    S, A = rng.uniform([-0.3, -0.8], [1.1, 0.8], (40, 2)), rng.uniform(-1.2, 1.2, (40, 1))
    tolerance = 1e-10 if solver == "daqp" else 1e-7
    for actions in (None, A):
        values, first = mpc.values(THETA, S, actions)
        assert values.shape == (40,) and first.shape == (40, 1)
        for i in range(40):
            one = mpc.V(THETA, S[i]) if actions is None else mpc.Q(THETA, S[i], A[i])
            assert values[i] == pytest.approx(one.value, abs=tolerance)
            np.testing.assert_allclose(first[i], one.u0, atol=1e-8 if solver == "daqp" else 2e-5)
    values, first = mpc.values(THETA, np.zeros((0, 2)))
    assert values.shape == (0,) and first.shape == (0, 1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_batch_error_names_the_state_and_leaves_no_trace(solver):
    wall = {"wall": lambda k, x, u, p: Rows(x[1], upper=p.edge) if k > 1 else None}
    mpc = plant(wall, solver=solver)
    theta, good = mpc.parameters.initial(), states(1, 5) * 0.3
    before, bad = mpc.values(theta, good), good.copy()
    bad[3] = [0.1, 7.5, 0.2]
    with pytest.raises(SolverError, match=r"infeasible.*7\.5") as error:
        mpc.values(theta, bad)
    np.testing.assert_array_equal(error.value.state, bad[3])
    after = mpc.values(theta, good)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize("solver", SOLVERS)
def test_perturbation_is_a_linear_cost_on_the_first_input(solver):
    mpc, s = plant(KINDS["soft, upper only"], solver=solver), np.array([0.5, 0.6, -0.1])
    theta, q = mpc.parameters.initial(), np.array([0.3, -0.2])
    v, plain = mpc.V(theta, s, perturbation=q), mpc.V(theta, s)
    # the perturbed value is the least of Q(s, a) + q'a over the box
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21)), -1).reshape(-1, 2)
    best = (mpc.values(theta, np.tile(s, (len(grid), 1)), grid)[0] + grid @ q).min() if solver == "daqp" else v.value
    assert v.value <= best + 1e-7 and best - v.value < 0.02
    assert v.value == pytest.approx(mpc.Q(theta, s, v.u0).value + q @ v.u0, abs=1e-6)
    zero = mpc.V(theta, s, perturbation=[0.0, 0.0])
    assert zero.value == pytest.approx(plain.value, abs=1e-9)
    assert v.residual < 1e-6
    assert q @ v.u0 < q @ plain.u0  # it pushes against q
    np.testing.assert_array_equal(mpc.policy(theta, s, perturbation=q).u0, v.u0)


def test_long_horizons_go_to_piqp():
    assert linear_mpc(horizon=40).solver == "daqp" and linear_mpc(horizon=41).solver == "piqp"
    assert plant(horizon=20).solver == "daqp" and plant(horizon=21).solver == "piqp"
    condensed, sparse = linear_mpc(horizon=30, solver="daqp"), linear_mpc(horizon=30, solver="piqp")
    rng = np.random.default_rng(6)
    for _ in range(10):
        s = rng.uniform([-0.2, -0.6], [1.0, 0.6])
        for one, other in (
            (condensed.V(THETA, s), sparse.V(THETA, s)), (condensed.Q(THETA, s, 0.3), sparse.Q(THETA, s, 0.3))
        ):  # fmt: skip
            assert one.value == pytest.approx(other.value, abs=1e-6)
            np.testing.assert_allclose(one.u, other.u, atol=1e-5)
            np.testing.assert_allclose(one.gradient(), other.gradient(), rtol=1e-5, atol=1e-4)
            assert one.residual < 1e-6 and other.residual < 1e-6


def test_a_long_horizon_of_an_unstable_plant():
    """Where condensing loses digits (1.3^60 is 7e6) the sparse back end is the default and solves to 1e-6."""
    problem = OptimalControlProblem(
        n_states=1, n_inputs=1, horizon=60, parameters=Parameters(a=1.3), dynamics=lambda x, u, p: p.a * x + u,
        stage_cost=lambda k, x, u, p: x**2 + u**2, terminal_cost=lambda x, p: x**2, input_lower=-1, input_upper=1,
    )  # fmt: skip
    mpc = MPC(problem)
    assert mpc.solver == "piqp"
    v = mpc.V([1.3], [2.0])
    assert v.residual < 1e-6
    assert v.value == pytest.approx(MPC(problem, "ipopt").V([1.3], [2.0]).value, abs=1e-6)


def test_discount_and_names_are_kept():
    mpc = linear_mpc(discount=0.8)
    assert mpc.discount == mpc.problem.discount == 0.8
    assert mpc.problem.state_names == ["x1", "x2"] and mpc.problem.input_names == ["u1"]


def test_lagrangian_is_affine_only_where_it_is():
    assert linear_mpc().lagrangian_is_affine
    assert not linear_mpc(learn_weights=True).lagrangian_is_affine
    assert plant(KINDS["soft, upper only"]).lagrangian_is_affine
