"""The policy's Jacobian from the condensed problem: against the whole KKT system, differences, closed forms."""

from dataclasses import replace

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError
from mpcrl_course.mpc.condensed_jacobian import condensed_policy_jacobian
from mpcrl_course.problems.linear import linear_mpc


def random_mpc(seed=0, n_actions=0, solver=None) -> MPC:
    """Two inputs, three states; soft and hard rows and rows of x_0 alone; bounds, weights and costs depend on theta."""
    rng = np.random.default_rng(seed)
    A, B = 0.5 * rng.standard_normal((3, 3)) + 0.5 * np.eye(3), rng.standard_normal((3, 2))

    def soft(k, x, u, p):
        return Rows(p.h @ x, -0.4 + p.low, 0.5 + p.high, weight=p.w * 0.9**k)

    def hard(k, x, u, p):
        if u is not None:
            return Rows(u[0] + p.mix * u[1], upper=0.5 + p.high)

    problem = OptimalControlProblem(
        n_states=3,
        n_inputs=2,
        horizon=5,
        n_actions=n_actions,
        parameters=Parameters(
            A=A, B=B, q=[1.0, 2.0, 0.5], f=[0.1, -0.1], h=[[1.0, 0.3, -0.5]], low=0.0, high=0.05, w=1.5, mix=0.5
        ),
        dynamics=lambda x, u, p: p.A @ x + p.B @ u,
        stage_cost=lambda k, x, u, p: ca.sumsqr(p.q * x) + 0.3 * ca.sumsqr(u) + p.f.T @ u,
        terminal_cost=lambda x, p: ca.sumsqr(x),
        input_lower=[-0.4, -0.3],
        input_upper=[0.4, np.inf],
        constraints={"soft": soft, "hard": hard},
    )
    return MPC(problem, solver)


RANDOM = random_mpc()
CASES = {
    "soft rows": (linear_mpc(), [-0.1, -1.0], [1.0, 1.0], 0.02),
    "weights learned": (linear_mpc(learn_weights=True), [-0.1, -1.0], [1.0, 1.0], 0.02),
    "two inputs": (RANDOM, [-1.5] * 3, [1.5] * 3, 0.05),
    "fewer actions": (random_mpc(1, n_actions=1), [-1.5] * 3, [1.5] * 3, 0.05),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_that_of_the_whole_kkt_system(case):
    """300 random points, half of them with a perturbed cost: where one is defined so is the other, and they agree."""
    mpc, low, high, spread = CASES[case]
    rng, small, rows, violated, box = np.random.default_rng(0), 0, 0, 0, 0
    for i in range(300):
        theta = mpc.parameters.initial()
        theta = theta + spread * rng.standard_normal(theta.size)
        q = 0.3 * rng.standard_normal(mpc.problem.n_inputs) if i % 2 else None
        try:
            v = mpc.V(theta, rng.uniform(low, high), perturbation=q)
        except SolverError:
            continue  # the hard rows contradict each other
        try:
            ours, of_s = v.policy_jacobian(state=True)
        except SolverError:
            with pytest.raises(SolverError, match="singular"):
                v.sensitivity()
            continue
        whole = v.sensitivity().du_dtheta[0]
        np.testing.assert_allclose(ours, whole, rtol=0, atol=1e-7 * (1.0 + np.abs(whole).max()))
        np.testing.assert_array_equal(ours, v.policy_jacobian())
        whole = v.sensitivity().du_ds[0]
        np.testing.assert_allclose(of_s, whole, rtol=0, atol=1e-7 * (1.0 + np.abs(whole).max()))
        act = v.activity
        found = condensed_policy_jacobian(v, act)
        assert (found is None) <= (not act.strict)
        small += found is not None
        rows += found is not None and bool(((act.lower | act.upper) & ~act.violated).any())
        violated += found is not None and bool(act.violated.any())
        box += found is not None and bool((act.input_lower | act.input_upper).any())
    assert small > 200 and min(rows, violated, box) > 20, (small, rows, violated, box)


def test_against_differences():
    """Away from kinks: central differences of the first input to 1e-6."""
    rng, compared = np.random.default_rng(1), 0
    for _ in range(40):
        theta = RANDOM.parameters.initial()
        theta = theta + 0.05 * rng.standard_normal(theta.size)
        s = rng.uniform(-1.2, 1.2, 3)
        try:
            v = RANDOM.V(theta, s)
        except SolverError:
            continue
        if not v.strict or v.activity.margin < 1e-2:
            continue
        p = np.concatenate([theta, s])
        first = lambda p: RANDOM.V(p[: theta.size], p[theta.size :]).u0  # noqa: B023, E731
        numeric = [(first(p + e) - first(p - e)) / 2e-5 for e in 1e-5 * np.eye(p.size)]
        found = condensed_policy_jacobian(v, v.activity)
        np.testing.assert_allclose(found, np.transpose(numeric), rtol=0, atol=1e-6 * (1.0 + np.abs(numeric).max()))
        compared += 1
    assert compared >= 10


def scalar_mpc(rows) -> MPC:
    """x+ = u, minimise (u - 2)^2 + the slacks of `rows` (x, u, p) at stage 0."""
    problem = OptimalControlProblem(
        n_states=1,
        n_inputs=1,
        horizon=1,
        parameters=Parameters(b=1.0, w=1.0),
        dynamics=lambda x, u, p: u,
        stage_cost=lambda k, x, u, p: (u - 2.0) ** 2,
        terminal_cost=lambda x, p: 0.0,
        constraints={"row": lambda k, x, u, p: None if u is None else rows(x, u, p)},
    )
    return MPC(problem)


@pytest.mark.parametrize("w, expected", [(1.0, [0.0, -0.5]), (5.0, [1.0, 0.0])])
def test_closed_forms_of_a_soft_row(w, expected):
    """u <= b + slack: violated, u = 2 - w/2; active, u = b."""
    mpc = scalar_mpc(lambda x, u, p: Rows(u, upper=p.b, weight=p.w))
    v = mpc.V(mpc.parameters.pack(w=w), [0.0])
    np.testing.assert_allclose(condensed_policy_jacobian(v, v.activity), [[*expected, 0.0]], atol=1e-6)
    np.testing.assert_allclose(v.policy_jacobian(), [expected], atol=1e-6)


def test_a_violated_row_of_the_state_alone_changes_nothing():
    mpc = scalar_mpc(lambda x, u, p: Rows(x, upper=p.b, weight=p.w))
    v = mpc.V(mpc.parameters.initial(), [3.0])
    assert v.activity.violated.any()
    np.testing.assert_allclose(condensed_policy_jacobian(v, v.activity), [[0.0, 0.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("soft", [False, True])
def test_more_rows_than_inputs_are_singular(soft):
    """Twice the same row: the multipliers are not unique."""
    mpc = scalar_mpc(lambda x, u, p: Rows(ca.vertcat(u, u), upper=ca.vertcat(p.b, p.b), weight=3 if soft else None))
    v = MPC(mpc.problem).V(mpc.parameters.initial(), [0.0])
    m = v.multipliers  # an active-set method pushes on one of them only
    v = replace(v, multipliers=m._replace(lam_ub=np.full_like(m.lam_ub, m.lam_ub.mean())))
    assert not v.strict and condensed_policy_jacobian(v, v.activity) is None
    with pytest.raises(SolverError, match="singular"):
        v.policy_jacobian()


def test_an_input_bound_with_a_row_behind_it_is_singular():
    """The plan's second input: as many rows as inputs, and dependent all the same."""
    problem = OptimalControlProblem(
        n_states=1,
        n_inputs=1,
        horizon=2,
        parameters=Parameters(b=1.0),
        dynamics=lambda x, u, p: u,
        stage_cost=lambda k, x, u, p: (u - 2.0) ** 2,
        terminal_cost=lambda x, p: 0.0,
        constraints={"row": lambda k, x, u, p: Rows(x, upper=p.b) if k == 1 else None},
        input_upper=1.0,
    )
    v = MPC(problem, "piqp").V([1.0], [0.0])
    assert not v.strict
    with pytest.raises(SolverError, match="singular"):
        v.policy_jacobian()


def test_of_another_problem_the_whole_system_decides():
    long = linear_mpc(horizon=41)
    v = long.V(long.parameters.initial(), [0.3, 0.1])
    assert condensed_policy_jacobian(v, v.activity) is None
    np.testing.assert_array_equal(v.policy_jacobian(), v.sensitivity().du_dtheta[0])
