"""Real-time iteration against the converged problem, and what happens when a step goes wrong."""

from dataclasses import replace

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.envs.cartpole import CartPoleParameters
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError, shift
from mpcrl_course.mpc.real_time import RealTimeSolver
from mpcrl_course.policies.receding import first_plan
from mpcrl_course.problems.cartpole import cartpole_mpc
from mpcrl_course.problems.linear import linear_mpc

S = np.array([0.3, 2.8, -0.2, 0.4])


@pytest.fixture(scope="module")
def mpc():
    return cartpole_mpc()


@pytest.fixture(scope="module")
def theta(mpc):
    return mpc.parameters.initial()


@pytest.fixture(scope="module")
def plan(mpc, theta):
    return first_plan(mpc, theta, S)


def iterate(mpc, theta, s, guess, times, perturbation=None):
    for _ in range(times):
        guess = mpc.policy(theta, s, warm_start=guess, perturbation=perturbation)
    return guess


def distance(one, other):
    pairs = zip(*((part.x, part.u, part.flat_slack, *part.multipliers) for part in (one, other)))
    return max(np.abs(mine - yours).max() for mine, yours in pairs)


def test_iterations_at_a_fixed_state_converge_to_the_solution(mpc, theta, plan):
    """From the plan of a state beside it, to the converged one: states, inputs and multipliers."""
    s = S + [0.05, -0.1, 0.1, -0.2]
    exact = mpc.reference.policy(theta, s, warm_start=plan)
    errors = [distance(iterate(mpc, theta, s, plan, n), exact) for n in (1, 3, 25)]
    assert errors[0] > 1e-2 > errors[1] and errors[2] < 1e-6
    end = iterate(mpc, theta, s, plan, 25)
    assert end.status == "rti" and end.value == pytest.approx(exact.value, abs=1e-7)
    assert end.residual < 1e-6
    np.testing.assert_allclose(end.gradient(), exact.gradient(), atol=1e-5, rtol=1e-6)


def test_one_iteration_is_the_gauss_newton_step(mpc, theta, plan):
    """Where no bound is active, against a dense KKT system made from scratch by CasADi's derivatives."""
    t, wide = mpc.transcription, cartpole_mpc(CartPoleParameters(max_force=1e3))
    s = np.array([0.1, 0.4, 0.0, 0.1])
    guess = wide.policy(theta, s + 0.05)
    answer = wide.policy(theta, s, warm_start=guess)
    x = guess.x.copy()
    x[0] = s
    w = ca.vertcat(ca.vec(t.X[:, 1:]), ca.vec(t.U))
    p, N = mpc.parameters.unpack(t.theta), t.problem.horizon
    r = [t.problem.stage_cost(k, t.X[:, k], t.U[:, k], p) for k in range(N)]
    parts = []
    for k in range(N):
        y = ca.vertcat(t.X[0, k] - p.target, 2.0 * ca.sin(0.5 * t.X[1, k]), t.X[2:, k], t.U[:, k])
        parts.append(ca.sqrt(p.weights) * y)
    y = ca.vertcat(t.X[0, N] - p.target, 2.0 * ca.sin(0.5 * t.X[1, N]), t.X[2:, N])
    parts.append(p.terminal.T @ y)
    r = ca.vertcat(*parts)
    f = ca.Function("f", [t.theta, t.X, t.U], [ca.jacobian(r, w), r, ca.jacobian(t.gaps, w), t.gaps])
    J, r, A, g = (value.full() for value in f(theta, x.T, guess.u.T))
    n, m = J.shape[1], len(g)
    K = np.block([[2.0 * J.T @ J, A.T], [A, np.zeros((m, m))]])
    step = np.linalg.solve(K, -np.concatenate([2.0 * J.T @ r, g]).ravel())
    assert answer.status == "rti" and np.abs(answer.u).max() < 900.0
    np.testing.assert_allclose((answer.x[1:] - x[1:]).ravel(), step[: x[1:].size], atol=1e-5)
    np.testing.assert_allclose((answer.u - guess.u).ravel(), step[x[1:].size : n], atol=1e-4)
    np.testing.assert_allclose(answer.nu[1:].ravel(), step[n:], atol=1e-4)


def test_active_bounds_and_slacks(mpc, theta):
    """A start outside the soft track: slack, saturated inputs, and still the converged solution."""
    s = np.array([2.1, 0.3, 0.5, 0.0])
    exact = mpc.reference.policy(theta, s)
    near = mpc.reference.policy(theta, s + [-0.02, 0.01, 0.0, 0.05], warm_start=exact)
    end = iterate(mpc, theta, s, near, 40)
    assert exact.flat_slack.max() > 0.05 and (exact.lam_input_lb + exact.lam_input_ub).max() > 1e-2
    assert np.abs(end.u).max() <= 15.0
    np.testing.assert_allclose(end.u, exact.u, atol=1e-5)
    largest = exact.multipliers.lam_ub.max()
    assert distance(end, exact) < 1e-6 * largest and end.residual < 1e-6 * largest


def test_constraints_that_the_plan_does_not_touch_are_left_out_and_nothing_else_changes(mpc, theta, plan, monkeypatch):
    """The multipliers of the guess decide which QP is tried first; each way leads to the same answer."""
    solved, qps = [], mpc.back_end.qps
    for kind, qp in enumerate(qps):
        monkeypatch.setattr(qp, "solve", lambda *q, kind=kind, solve=qp.solve: solved.append(kind) or solve(*q))
    upright = mpc.reference.policy(theta, [0.1, 0.1, 0.0, 0.1])
    outside = mpc.reference.policy(theta, [2.1, 0.3, 0.5, 0.0])
    cases = [
        (upright, np.array([0.08, 0.12, 0.1, 0.1]), 0),
        (plan, S + [0.02, -0.05, 0.0, 0.1], 1),  # its force is at the limit
        (outside, outside.x[1], 2),  # and beyond the track
    ]
    none = plan.multipliers._make(0.0 * part for part in plan.multipliers)
    box = none._replace(lam_input_ub=np.ones_like(plan.u))
    rows = box._replace(lam_lb=np.ones_like(none.lam_lb))
    for guess, s, needed in cases:
        free, boxed, tied = (replace(guess, multipliers=m) for m in (none, box, rows))
        answers = []
        for start, first in ((guess, needed), (free, 0), (boxed, 1), (tied, 2), ((guess.x, guess.u), 2)):
            solved.clear()
            answers.append(mpc.policy(theta, s, warm_start=start))
            assert solved == list(range(first, max(first, needed) + 1))
            assert answers[-1].status == "rti"
        for other in answers[1:]:
            assert distance(answers[0], other) < 1e-6
            assert answers[0].value == pytest.approx(other.value, abs=1e-7)
        assert (np.abs(answers[0].u).max() > 15.0 - 1e-9) == (needed > 0)
        assert (answers[0].flat_slack.max() > 0.05) == (needed == 2)


def test_hard_rows():
    hard = cartpole_mpc(track="hard")
    theta = hard.parameters.pack(track=0.6)
    plan = hard.policy(theta, S)
    s = S + [0.02, 0.05, 0.0, 0.0]
    exact, end = hard.reference.policy(theta, s, warm_start=plan), iterate(hard, theta, s, plan, 30)
    assert np.abs(exact.x[1:, 0]).max() == pytest.approx(0.6, abs=1e-7)
    assert distance(end, exact) < 1e-5


def test_hard_rows_that_cannot_hold_and_negative_weights_are_named(mpc, theta, plan):
    hard = cartpole_mpc(track="hard")
    vector, s = hard.parameters.initial(), np.array([1.9, 0.0, 4.0, 0.0])
    guess = hard.policy(vector, S)
    before = hard.policy(vector, S + 0.05, warm_start=guess)
    with pytest.raises(SolverError) as error:
        hard.policy(vector, s, warm_start=guess)
    assert error.value.status == "infeasible" and "track" in str(error.value)
    with pytest.raises(SolverError, match="the QP was not solved|no short step|not finite"):
        cartpole_mpc(track="hard", fallback=False).policy(vector, s, warm_start=guess)
    after = hard.policy(vector, S + 0.05, warm_start=guess)  # nothing of the QP that failed is left
    assert after.status == "rti" and distance(before, after) == 0.0 and before.value == after.value
    with pytest.raises(SolverError, match="negative slack weight"):
        mpc.policy(mpc.parameters.pack(theta, track_weight=-1.0), S, warm_start=plan)


def test_perturbation_of_the_first_input(mpc, theta, plan):
    s, q = np.array([0.1, 0.2, 0.0, 0.0]), np.array([0.01])
    exact = mpc.reference.policy(theta, s, perturbation=q)
    end = iterate(mpc, theta, s, mpc.policy(theta, s), 20, perturbation=q)
    assert distance(end, exact) < 1e-6 and abs(end.u0[0] - mpc.policy(theta, s).u0[0]) > 1e-2


def test_a_quadratic_problem_takes_one_iteration():
    """Without residuals the Hessian is that of the cost: of a QP, also with soft rows of x_0 itself."""
    exact = linear_mpc(solver="daqp")
    rti = linear_mpc(solver="rti")
    theta = exact.parameters.initial()
    s = np.array([0.3, 0.4])
    end = rti.policy(theta, s, warm_start=exact.policy(theta, [0.35, 0.3]))
    assert distance(end, exact.policy(theta, s)) < 1e-5 and end.status == "rti"

    def rows(k, x, u, p):
        return Rows(x, -1.0, 1.0, weight=p.w)

    problem = OptimalControlProblem(
        n_states=1, n_inputs=1, horizon=3, parameters=Parameters(w=2.0), dynamics=lambda x, u, p: x + 0.1 * u,
        stage_cost=lambda k, x, u, p: x**2 + u**2, terminal_cost=lambda x, p: x**2, constraints={"box": rows},
    )  # fmt: skip
    rti, exact = MPC(problem, "rti"), MPC(problem, "ipopt").policy([2.0], [1.5])
    guess = rti.policy([2.0], [0.5])
    assert distance(iterate(rti, [2.0], [1.5], guess, 3), exact) < 1e-6


def test_shift_moves_the_plan_by_one_stage(mpc, theta, plan):
    moved = shift(plan)
    np.testing.assert_array_equal(moved.x[:-1], plan.x[1:])
    np.testing.assert_array_equal(moved.u[:-1], plan.u[1:])
    np.testing.assert_array_equal(moved.u[-1], plan.u[-1])
    gaps = ca.Function("gaps", [mpc.transcription.theta, mpc.transcription.X, mpc.transcription.U],
                       [mpc.transcription.gaps])  # fmt: skip
    assert np.abs(gaps(theta, moved.x.T, moved.u.T).full()).max() < 1e-8


def test_the_answer_depends_on_its_arguments_only(mpc, theta, plan):
    first = mpc.policy(theta, S + 0.1, warm_start=plan)
    mpc.policy(theta, S - 0.5, warm_start=plan)
    with pytest.raises(ValueError):
        mpc.policy(theta, [np.nan] * 4, warm_start=plan)
    again = mpc.policy(theta, S + 0.1, warm_start=plan)
    assert distance(first, again) == 0.0 and first.value == again.value


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_a_guess_that_is_not_finite_is_caught_and_the_next_step_recovers(mpc, theta, plan, bad, capfd):
    broken = np.where(np.arange(41)[:, None] == 7, bad, plan.x), plan.u
    plain = cartpole_mpc(line_search=False, fallback=False)
    with pytest.raises(SolverError, match="not finite") as error:
        plain.policy(theta, S, warm_start=broken)
    assert error.value.status == "not converged" and (error.value.state == S).all()
    assert distance(iterate(plain, theta, S, plan, 2), plan) < 1e-6  # nothing of the failure is left
    answer = mpc.policy(theta, S, warm_start=broken)
    assert answer.status == "fallback" and answer.residual < 1e-6
    assert mpc.policy(theta, S, warm_start=answer).status == "rti"
    assert capfd.readouterr().out == ""  # CasADi prints a whole QP that is not a number


def arctan(**options):
    """Minimise atan(x_1)^2 with x_1 = u: Gauss-Newton steps from |x_1| > 1.39 lead further away."""

    def residual(k, x, u, p):
        return 1e-4 * u if k == 0 else p.scale * ca.atan(x)

    problem = OptimalControlProblem(
        n_states=1, n_inputs=1, horizon=1, parameters=Parameters(scale=1.0), dynamics=lambda x, u, p: u,
        stage_cost=lambda k, x, u, p: residual(k, x, u, p) ** 2,
        terminal_cost=lambda x, p: residual(1, x, None, p) ** 2,
        input_lower=-1e5, input_upper=1e5,
    )  # fmt: skip
    return MPC(problem, "rti", residual=residual, **options)


def test_a_step_too_long_is_shortened():
    mpc, plain = arctan(), arctan(line_search=False, fallback=False)
    guess = [[0.0], [3.0]], [[3.0]]
    shorter, full = (m.policy([1.0], [0.0], warm_start=guess) for m in (mpc, plain))
    step = -np.arctan(3.0) * 10.0
    assert shorter.status == "line search" and full.status == "rti"
    np.testing.assert_allclose(full.u0, 3.0 + step, rtol=1e-4)
    np.testing.assert_allclose(shorter.u0, 3.0 + 0.25 * step, rtol=1e-3)  # the half step, to -3.2, is no better
    assert shorter.value < np.arctan(3.0) ** 2 < full.value
    end = iterate(mpc, [1.0], [0.0], guess, 10)
    assert abs(end.u0[0]) < 1e-6 and end.residual < 1e-6


def test_where_no_short_step_helps_ipopt_takes_over():
    mpc, strict = arctan(), arctan(fallback=False)
    guess = [[0.0], [60.0]], [[60.0]]
    answer = mpc.policy([1.0], [0.0], warm_start=guess)
    assert answer.status == "fallback" and abs(answer.u0[0]) < 1e-6
    with pytest.raises(SolverError, match="no short step lowers the merit"):
        strict.policy([1.0], [0.0], warm_start=guess)


def test_poor_guesses_lead_to_finite_admissible_plans(mpc, theta, plan):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        guess = plan.x + rng.normal(size=plan.x.shape), plan.u + 5.0 * rng.normal(size=plan.u.shape)
        answer = mpc.policy(theta, S, warm_start=guess)
        assert np.isfinite(answer.x).all() and np.abs(answer.u).max() <= 15.0
        assert answer.status != "fallback" or answer.residual < 1e-6


def test_q_batches_and_first_plans_are_ipopt_s(mpc, theta, plan):
    Q = mpc.Q(theta, S, [3.0], warm_start=plan)
    assert Q.kind == "Q" and Q.residual < 1e-6 and Q.value > plan.value - 1e-6
    values, first = mpc.values(theta, [S, S + 0.01])
    cold = mpc.policy(theta, S)
    assert values[0] == pytest.approx(cold.value, rel=1e-9) and first.shape == (2, 1)
    assert cold.residual < 1e-6


def test_a_guess_may_be_a_pair_of_arrays(mpc, theta, plan):
    """The same answers as from a Solution with those states and inputs; for ipopt and real-time iteration."""
    s, line = S + 0.05, np.linspace(S, np.zeros(4), 41)
    ipopt, pair = mpc.reference, (line.tolist(), np.zeros((40, 1)))
    template = replace(plan, x=line, u=pair[1], flat_slack=0.0 * plan.flat_slack)
    assert distance(ipopt.policy(theta, s, warm_start=pair), ipopt.policy(theta, s, warm_start=template)) == 0.0
    assert distance(ipopt.Q(theta, s, [1.0], warm_start=pair), ipopt.Q(theta, s, [1.0], warm_start=template)) == 0.0
    one, other = (mpc.policy(theta, s, warm_start=start) for start in ((plan.x, plan.u), plan))
    assert one.status == other.status == "rti" and distance(one, other) < 1e-6


def test_a_guess_that_does_not_fit_is_named(mpc, theta, plan):
    short, x, u = cartpole_mpc(horizon=30), plan.x, plan.u
    for start, message in (
        ((x[:-1], u), r"x of shape \(40, 4\), not \(41, 4\)$"),
        ((x, u[:, 0]), r"u of shape \(40,\), not \(40, 1\)$"),
        ((u, x), r"x of shape \(40, 1\), not \(41, 4\), u of shape \(41, 4\), not \(40, 1\)"),
        (x, "a Solution or a pair .x, u., not ndarray"),
        ((x, u, 0.0 * u), "a Solution or a pair .x, u., not tuple"),
        (replace(plan, flat_slack=np.zeros(3)), r"slacks of shape \(3,\)"),
    ):
        for solver in (mpc, mpc.reference):
            with pytest.raises(ValueError, match=message):
                solver.policy(theta, S, warm_start=start)
    with pytest.raises(ValueError, match=r"x of shape \(41, 4\), not \(31, 4\), u of shape .*, slacks of shape"):
        short.policy(theta, S, warm_start=plan)


def test_options_and_names(mpc):
    assert isinstance(mpc.back_end, RealTimeSolver) and mpc.solver == "rti"
    reference = mpc.reference
    assert reference.solver == "ipopt" and reference.reference is reference and mpc.solver == "rti"
    with pytest.raises(ValueError, match="'ipopt' has no options"):
        cartpole_mpc(solver="ipopt", line_search=False)
    with pytest.raises(ValueError, match="no option patience"):
        cartpole_mpc(patience=3)
    with pytest.raises(ValueError, match="there are.*rti"):
        cartpole_mpc(solver="rtx")
