"""Bad questions get a clear error, and leave no trace in later answers."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError
from mpcrl_course.problems.linear import linear_mpc

SOLVERS = ["daqp", "piqp", "ipopt"]
THETA = linear_mpc().parameters.initial()


@pytest.fixture(scope="module", params=SOLVERS)
def mpc(request):
    return linear_mpc(solver=request.param)


def make(solver, *, constraints=None, parameters=None, horizon=4, box=1.0, stage_cost=None, dynamics=None):
    """A double integrator (position, speed)."""
    problem = OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=horizon, parameters=parameters or Parameters(w=10.0),
        dynamics=dynamics or (lambda x, u, p: ca.vertcat(x[0] + 0.5 * x[1], x[1] + u)),
        stage_cost=stage_cost or (lambda k, x, u, p: x.T @ x + u.T @ u), terminal_cost=lambda x, p: x.T @ x,
        input_lower=-box, input_upper=box, constraints=constraints or {},
    )  # fmt: skip
    return MPC(problem, solver)


# --- wrong shapes, names, numbers -------------------------------------------------------------------------


def test_wrong_shapes_name_both_shapes(mpc):
    s = [0.3, 0.1]
    for call, has, wants in (
        (lambda: mpc.V(THETA[:5], s), "(5,)", "(16,)"),
        (lambda: mpc.V(THETA, [0.1, 0.2, 0.3]), "(3,)", "(2,)"),
        (lambda: mpc.V(THETA, 0.1), "()", "(2,)"),
        (lambda: mpc.policy(THETA, [[0.1, 0.2]]), "(1, 2)", "(2,)"),
        (lambda: mpc.Q(THETA, s, [0.1, 0.2]), "(2,)", "(1,)"),
        (lambda: mpc.V(THETA, s, perturbation=[0.1, 0.2]), "(2,)", "(1,)"),
        (lambda: mpc.values(THETA, s), "(2,)", "(M, 2)"),
        (lambda: mpc.values(THETA, [s, s], [[0.1, 0.2]] * 2), "(2, 2)", "(M, 1)"),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert has in str(error.value) and wants in str(error.value), str(error.value)
    with pytest.raises(ValueError, match="2 states but 3 actions"):
        mpc.values(THETA, [s, s], [[0.1]] * 3)


def test_unknown_parameter_names_are_listed():
    parameters = linear_mpc().parameters
    for call in (lambda: parameters.index("C"), lambda: parameters.pack(C=1.0)):
        with pytest.raises(KeyError, match="'C'.*V0, x_lb, x_ub, b, f, A, B"):
            call()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(mpc, bad):
    theta, s = THETA.copy(), np.array([0.3, 0.1])
    theta[12] = bad
    with pytest.raises(ValueError, match="theta is not finite in A12"):
        mpc.V(theta, s)
    with pytest.raises(ValueError, match="state is not finite"):
        mpc.V(THETA, [0.3, bad])
    with pytest.raises(ValueError, match="action is not finite"):
        mpc.Q(THETA, s, bad)
    with pytest.raises(ValueError, match="perturbation is not finite"):
        mpc.V(THETA, s, perturbation=bad)
    with pytest.raises(ValueError, match="states is not finite in row 1"):
        mpc.values(THETA, [s, [bad, 0.0]])


def test_unknown_solver_and_wrong_structure():
    with pytest.raises(ValueError, match="'osqp'.*daqp, piqp .* ipopt"):
        linear_mpc(solver="osqp")
    for solver in ("daqp", "piqp"):
        with pytest.raises(ValueError, match=f"'{solver}' solves quadratic problems only"):
            make(solver, dynamics=lambda x, u, p: ca.vertcat(x[0] + x[1], x[1] + ca.sin(x[0]) + u))
    assert make(None, dynamics=lambda x, u, p: ca.vertcat(x[0] + x[1] * u, x[1] + u)).solver == "ipopt"
    assert make(None, stage_cost=lambda k, x, u, p: x[0] ** 4 + u**2).solver == "ipopt"
    bound = {"cone": lambda k, x, u, p: Rows(x[0], upper=1 + x[1] ** 2)}
    assert make(None, constraints=bound).solver == "ipopt"
    assert make(None, constraints={"line": lambda k, x, u, p: Rows(x[0] - x[1], upper=1)}).solver == "daqp"


def test_options_that_no_solver_has():
    with pytest.raises(ValueError, match="'daqp' has no options, but was given fallback"):
        MPC(linear_mpc().problem, "daqp", fallback=False)
    with pytest.raises(ValueError, match="'rti' has no option steps; it has residual, line_search, fallback"):
        MPC(linear_mpc().problem, "rti", steps=3)
    assert Parameters(self=1.0).names == ["self"]


def test_wrong_declarations():
    good = {
        "n_states": 1, "n_inputs": 1, "horizon": 2, "parameters": Parameters(a=1.0), "dynamics": lambda x, u, p: x + u,
        "stage_cost": lambda k, x, u, p: x**2 + u**2, "terminal_cost": lambda x, p: x**2,
    }  # fmt: skip
    MPC(OptimalControlProblem(**good))
    for wrong, message in (
        ({"horizon": 0}, "horizon must be at least 1, not 0"),
        ({"discount": 1.1}, "discount must lie in"),
        ({"input_lower": 2.0, "input_upper": 1.0}, "exceeds"),
        ({"dynamics": lambda x, u, p: ca.vertcat(x, u)}, "dynamics returns 2 states, but the problem has 1"),
        ({"constraints": {"r": lambda k, x, u, p: Rows(x, [0.0, 1.0])}}, "constraint 'r' has 1 rows, but its lower"),
        ({"constraints": {"r": lambda k, x, u, p: Rows(ca.vertcat(x, x)[: k + 1 if k < 2 else 1], 0.0)}}, "one number"),
    ):
        with pytest.raises(ValueError, match=message):
            MPC(OptimalControlProblem(**{**good, **wrong}))


# --- problems without a solution --------------------------------------------------------------------------


def failing(solver):
    """(what, mpc, theta, state, action, status, words of the message) of problems that have no solution."""
    wall = {"wall": lambda k, x, u, p: Rows(x[1], -0.5, 0.5) if k > 0 else None}
    soft = {"wall": lambda k, x, u, p: Rows(x[1], -0.5, 0.5, weight=p.w) if k > 0 else None}
    infeasible, unbounded = make(solver, constraints=wall), make(solver, constraints=soft)
    return [
        ("infeasible in V", infeasible, [10.0], [0.1, 3.0], None, "infeasible", ["wall", "0.1", "3"]),
        ("infeasible in Q", infeasible, [10.0], [0.1, 3.0], [0.0], "infeasible", ["wall", "0.1", "3"]),
        ("negative weight", unbounded, [-10.0], [0.1, 0.3], None, "unbounded", ["wall", "-10", "0.3"]),
        ("negative weight in Q", unbounded, [-10.0], [0.1, 0.3], [0.2], "unbounded", ["wall", "-10", "0.3", "0.2"]),
    ]


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("solver", SOLVERS)
def test_no_solution_is_a_solver_error_that_names_the_place(solver, case):
    _, mpc, theta, s, a, status, words = failing(solver)[case]
    with pytest.raises(SolverError) as error:
        mpc.V(theta, s) if a is None else mpc.Q(theta, s, a)
    assert error.value.status == status
    np.testing.assert_array_equal(error.value.state, s)
    np.testing.assert_array_equal(error.value.theta, theta)
    assert (error.value.action is None) == (a is None)
    for word in words:
        assert word in str(error.value), f"{word!r} is missing in: {error.value}"


@pytest.mark.parametrize("solver", SOLVERS)
def test_negative_weight_of_a_row_that_no_input_moves(solver):
    """At horizon 1 no input is left in Q: its rows cost what they cost, and a negative weight is still refused."""
    soft = {"wall": lambda k, x, u, p: Rows(x[1], -0.5, 0.5, weight=p.w) if k > 0 else None}
    mpc = make(solver, constraints=soft, horizon=1)
    with pytest.raises(SolverError, match="unbounded.*weight -10.*wall"):
        mpc.Q([-10.0], [0.1, 0.9], [0.5])


@pytest.mark.parametrize("solver", SOLVERS)
def test_cost_without_lower_bound(solver):
    mpc = make(
        solver, box=np.inf, parameters=Parameters(r=1.0), stage_cost=lambda k, x, u, p: 0.1 * x.T @ x + p.r * u**2
    )
    assert np.isfinite(mpc.V([1.0], [0.1, 0.3]).value)
    with pytest.raises(SolverError) as error:
        mpc.V([-1.0], [0.1, 0.3])
    assert error.value.status == "unbounded"


@pytest.mark.parametrize("solver", ["daqp", "piqp"])
def test_a_cost_that_is_not_convex_is_never_answered_by_a_saddle_point(solver):
    """Bounded by the box, but no QP: the quadratic back ends must refuse it (ipopt finds a local minimum)."""
    mpc = make(solver, parameters=Parameters(r=1.0), stage_cost=lambda k, x, u, p: 0.1 * x.T @ x + p.r * u**2)
    with pytest.raises(SolverError, match="convex"):
        mpc.V([-1.0], [0.1, 0.3])


@pytest.mark.parametrize("solver", SOLVERS)
def test_dynamics_that_blow_up(solver):
    mpc = make(solver, horizon=40, parameters=Parameters(a=1.0), dynamics=lambda x, u, p: p.a * x + u)
    assert np.isfinite(mpc.V([1.0], [0.1, 0.3]).value)
    with pytest.raises(SolverError):
        mpc.V([1e30], [0.1, 0.3])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("where", ["bound", "weight", "dynamics"])
def test_numbers_that_become_nan_inside_the_problem(solver, where):
    """sqrt of a negative parameter: finite theta and state, but no problem to solve."""

    def wall(k, x, u, p):
        bound = ca.sqrt(p.q) if where == "bound" else 0.5
        return Rows(x[1], upper=bound, weight=ca.sqrt(p.q) if where == "weight" else 1.0) if k > 0 else None

    gain = (lambda p: ca.sqrt(p.q)) if where == "dynamics" else (lambda p: 1.0)
    mpc = make(
        solver, parameters=Parameters(q=1.0), constraints={"wall": wall},
        dynamics=lambda x, u, p: ca.vertcat(x[0] + 0.5 * x[1], x[1] + gain(p) * u),
    )  # fmt: skip
    assert np.isfinite(mpc.V([1.0], [0.1, 0.3]).value)
    with pytest.raises(SolverError):
        mpc.V([-1.0], [0.1, 0.3])


def test_ipopt_that_does_not_converge():
    """Fifty stages of a chaotic map to be driven through a needle's eye: says so, or says infeasible."""
    problem = OptimalControlProblem(
        n_states=1, n_inputs=1, horizon=3, parameters=Parameters(c=0.0),
        dynamics=lambda x, u, p: ca.exp(10 * x) + u * 1e-9, stage_cost=lambda k, x, u, p: u**2,
        terminal_cost=lambda x, p: (x - 1e5) ** 2, constraints={"end": lambda k, x, u, p: Rows(x, 0.0, 1.0)},
    )  # fmt: skip
    with pytest.raises(SolverError) as error:
        MPC(problem).V([0.0], [0.9])
    assert error.value.status in ("not converged", "infeasible") and "ipopt" in str(error.value)


def identical(one, other):
    pairs = zip(*((part.x, part.u, part.flat_slack, *part.multipliers) for part in (one, other)))
    return one.value == other.value and all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_failing_solve_between_two_good_ones_changes_nothing(solver, case):
    _, mpc, bad_theta, bad_state, a, *_ = failing(solver)[case]
    good = [(lambda: mpc.V([10.0], [0.2, -0.3])), (lambda: mpc.Q([10.0], [0.2, -0.3], [0.1]))]
    before = [ask() for ask in good]
    for ask, first in zip(good, before):
        for _ in range(2):
            with pytest.raises(SolverError):
                mpc.V(bad_theta, bad_state) if a is None else mpc.Q(bad_theta, bad_state, a)
            with pytest.raises(ValueError):
                mpc.V([np.nan], [0.0, 0.0])
            assert identical(ask(), first)


def test_daqp_answers_do_not_depend_on_history():
    """200 questions in random order against a fresh MPC for each: V, Q and perturbed V at six thetas, bit for bit."""
    rng, mpc = np.random.default_rng(0), linear_mpc()
    thetas = [THETA + 0.05 * i * rng.standard_normal(16) for i in range(6)]
    questions = []
    for i in range(200):
        theta, s = thetas[rng.integers(6)], rng.uniform([-0.3, -0.8], [1.1, 0.8])
        kind = i % 3
        questions.append((theta, s, rng.uniform(-1.1, 1.1, 1), kind))

    def ask(mpc, question):
        theta, s, extra, kind = question
        if kind == 0:
            return mpc.Q(theta, s, extra)
        return mpc.V(theta, s) if kind == 1 else mpc.V(theta, s, perturbation=extra)

    once = [ask(mpc, question) for question in questions]
    for i in rng.permutation(200):
        assert identical(ask(mpc, questions[i]), once[i])
    for i in rng.choice(200, 40, replace=False):
        assert identical(ask(linear_mpc(), questions[i]), once[i])


@pytest.mark.parametrize("solver", ["piqp", "ipopt"])
def test_iterative_back_ends_do_not_depend_on_history_either(solver):
    rng, mpc = np.random.default_rng(0), linear_mpc(solver=solver)
    questions = [(THETA + 0.03 * rng.standard_normal(16), rng.uniform([0, -0.5], [1, 0.5])) for _ in range(20)]
    once = [mpc.V(*question) for question in questions]
    for i in rng.permutation(20):
        assert identical(mpc.V(*questions[i]), once[i])
        warm = mpc.V(*questions[i], warm_start=once[(i + 1) % 20])
        assert warm.value == pytest.approx(once[i].value, abs=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solution_does_not_change_with_the_arrays_that_were_asked_about(solver):
    mpc, theta, s, a = linear_mpc(solver=solver), THETA.copy(), np.array([0.3, 0.1]), np.array([0.2])
    q = mpc.Q(theta, s, a)
    before = q.gradient()
    theta += 1.0  # such as an update in place
    s += 1.0
    a += 1.0
    np.testing.assert_array_equal(q.gradient(), before)
    np.testing.assert_array_equal(q.state, [0.3, 0.1])
    np.testing.assert_array_equal(q.action, [0.2])
