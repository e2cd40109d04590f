"""Q-learning: single steps against a reference, the update's algebra, and whole runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpcrl_course.envs import LinearPlant
from mpcrl_course.envs.linear import stage_cost
from mpcrl_course.learners.behaviour import epsilon_greedy, exponential, perturbed_cost
from mpcrl_course.learners.q_learning import QLearning, first_order_step, second_order_step, td_error
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows, SolverError
from mpcrl_course.problems.linear import linear_mpc

STEPS = json.loads((Path(__file__).parents[1] / "data" / "q_learning_steps.json").read_text(encoding="utf-8"))
MPC10 = linear_mpc()
THETA = MPC10.parameters.initial()


def learner(seed=0, mpc=MPC10, env=None, **options):
    return QLearning(mpc, env or LinearPlant(), np.random.default_rng(seed), **options)


def run(steps=60, seed=0, on_step=None, **options):
    return learner(seed, **options).run(steps, progress=False, on_step=on_step).log


def assert_same(one, other):
    assert one.steps == other.steps
    for name in ("x", "u", "cost", "td", "theta", "failed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# --- one step ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["daqp", "piqp", "ipopt"])
def test_every_step_of_the_reference(solver):
    """From the reference's own theta, state and action: a run of one's own drifts apart with the last digits."""
    mpc = linear_mpc(solver=solver)
    for k in range(60):
        theta, x, u, cost, x_next = (np.array(STEPS[n][k]) for n in ("theta", "X", "U", "R", "X"))
        x_next = np.array(STEPS["X"][k + 1])
        delta, q = td_error(mpc, theta, x, u, cost, x_next)
        g = q.gradient()
        assert delta == pytest.approx(STEPS["TD"][k], abs=1e-6)
        np.testing.assert_allclose(g, STEPS["dQ"][k], atol=1e-6)
        step = second_order_step(g[None], np.array([delta]), 1e-3)
        np.testing.assert_allclose(theta + 0.05 * step, STEPS["theta"][k + 1], atol=1e-8)
        assert stage_cost(x, np.atleast_1d(u)) == pytest.approx(float(cost), abs=1e-9)
        # the action taken next comes from the theta before the update
        assert (
            mpc.policy(theta, x_next).u0[0] == pytest.approx(np.ravel(STEPS["U"])[min(k + 1, 59)], abs=2e-5) or k == 59
        )


class Replayed(LinearPlant):
    """The plant with the reference's noise: it visits the reference's states if it gets its actions."""

    def step(self, action):
        x, *rest = super().step(action)
        self.x = np.array(STEPS["X"][self.count])
        return self.x.copy(), *rest


def test_loop_takes_the_first_steps_of_the_reference():
    """The loop itself, free-running: equal up to step 10, before the last digits grow."""
    log = run(10, env=Replayed())
    np.testing.assert_allclose(log.u[:, 0], np.ravel(STEPS["U"])[:10], atol=1e-5)
    np.testing.assert_allclose(log.td, STEPS["TD"][:10], atol=1e-4)
    np.testing.assert_allclose(log.theta, STEPS["theta"][:11], atol=1e-5)


def test_td_error_masks_the_terminal_value():
    s, a, x_next = np.array([0.3, 0.1]), np.array([0.2]), np.array([0.2, 0.0])
    q, v = MPC10.Q(THETA, s, a).value, MPC10.V(THETA, x_next).value
    assert td_error(MPC10, THETA, s, a, 0.7, x_next)[0] == pytest.approx(0.7 + 0.9 * v - q, abs=1e-12)
    assert td_error(MPC10, THETA, s, a, 0.7, x_next, terminated=True)[0] == pytest.approx(0.7 - q, abs=1e-12)


batches = st.integers(1, 6).flatmap(
    lambda T: st.integers(1, 8).flatmap(
        lambda n: st.tuples(
            hnp.arrays(float, (T, n), elements=st.floats(-3, 3)),
            hnp.arrays(float, (T,), elements=st.floats(-3, 3)),
            st.floats(1e-3, 1.0),
            hnp.arrays(float, (T, n, n), elements=st.floats(-1, 1)),
        )
    )
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(batches)
def test_second_order_step_is_the_dense_formula(batch):
    G, td, sigma, H = batch
    n = G.shape[1]
    dense = sum(np.outer(g, g) for g in G) + sigma * np.eye(n)
    right = sum(d * g for d, g in zip(td, G))
    step = second_order_step(G, td, sigma)
    np.testing.assert_allclose(step, np.linalg.solve(dense, right), atol=1e-10 * max(1, np.abs(step).max()))
    np.testing.assert_allclose(first_order_step(G, td), right / len(td), atol=1e-13)
    # with Hessians that leave the matrix positive definite: minus delta * h
    H = -np.sign(td)[:, None, None] * np.einsum("tij,tkj->tik", H, H)
    dense -= np.einsum("t,tij->ij", td, H)
    step = second_order_step(G, td, sigma, H)
    np.testing.assert_allclose(step, np.linalg.solve(dense, right), atol=1e-10 * max(1, np.abs(step).max()))
    assert np.abs(dense @ step - right).max() <= 1e-10 * max(1, np.abs(right).max())


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(batches)
def test_second_order_step_descends_where_the_matrix_is_indefinite(batch):
    G, td, sigma, H = batch
    H = H + H.transpose(0, 2, 1)
    matrix = G.T @ G - np.einsum("t,tij->ij", td, H)
    step, right = second_order_step(G, td, sigma, H), G.T @ td
    lowest = np.linalg.eigvalsh(matrix)[0]
    assert step @ right >= -1e-9  # the direction in which the squared TD error, its target fixed, falls
    if np.linalg.norm(right) > 1e-3:
        assert step @ right > 0
    # no step is longer than the shift allows (but for what lies below all floats)
    longest = np.linalg.norm(right) / (sigma + max(0.0, -lowest)) * (1 + 1e-6) + 1e-150
    assert np.linalg.norm(step) <= longest or lowest > 0
    # the step solves (matrix + shift I) step = right for one shift >= 0
    if np.linalg.norm(step) > 1e-6:
        rest = right - (matrix + sigma * np.eye(len(right))) @ step
        shift = rest @ step / (step @ step)
        np.testing.assert_allclose(rest, shift * step, atol=1e-7)
        assert shift >= -1e-7 and (shift <= 1e-7 or lowest < 1e-9)


def test_second_order_step_survives_a_batch_without_scale():
    """Equal, huge gradients: the matrix is singular to rounding, the step is not."""
    g = 1e9 * np.array([1.0, -2.0, 0.5])
    step = second_order_step(np.array([g, g, g]), np.array([2.0, 2.0, 2.0]), 1e-3)
    np.testing.assert_allclose(step, 2 * g / (g @ g), rtol=1e-9)
    step = second_order_step(np.array([g, g, g]), np.array([2.0, 2.0, 2.0]), 1e-3, np.zeros((3, 3, 3)))
    assert np.isfinite(step).all() and step @ g > 0


def test_one_replayed_step_by_hand():
    """Batch of three, stored and fresh: sums over the batch, each at its own theta or all at the current one."""
    taken = []

    def remember(k, learner):
        taken.append(learner.theta.copy())

    for fresh in (False, True):
        log = run(3, seed=4, replay=(3, 3, 3), fresh=fresh, on_step=remember)
        G, td = [], []
        for k in range(3):
            theta = log.theta[2 if fresh else k]
            x_next = log.x[k + 1] if k < 2 else None
            if x_next is None:  # the state after the last step: run one step longer, with the same seed
                x_next = run(4, seed=4, replay=(3, 3, 3), fresh=fresh).x[3]
            delta, q = td_error(MPC10, theta, log.x[k], log.u[k], log.cost[k], x_next)
            G.append(q.gradient())
            td.append(delta)
        G, td = np.array(G), np.array(td)
        by_hand = log.theta[2] + 0.05 * np.linalg.solve(G.T @ G + 1e-3 * np.eye(16), G.T @ td)
        np.testing.assert_allclose(log.theta[3], by_hand, atol=1e-9)
        if not fresh:
            stored = log.theta[3]
    assert np.abs(stored - log.theta[3]).max() > 1e-6  # the two are not the same algorithm
    np.testing.assert_array_equal(taken[-1], log.theta[3])


def test_first_order_run_by_hand():
    log = run(5, seed=2, order=1, step_size=exponential(0.01, 0.5))
    for k in range(4):
        delta, q = td_error(MPC10, log.theta[k], log.x[k], log.u[k], log.cost[k], log.x[k + 1])
        assert log.td[k] == pytest.approx(delta, abs=1e-12)
        expected = log.theta[k] + 0.01 * 0.5**k * delta * q.gradient()
        np.testing.assert_allclose(log.theta[k + 1], expected, atol=1e-12)


def test_exact_hessian_step_by_hand():
    log = run(5, seed=2, hessian="exact")
    for k in range(4):
        delta, q = td_error(MPC10, log.theta[k], log.x[k], log.u[k], log.cost[k], log.x[k + 1])
        step = second_order_step(q.gradient()[None], np.array([delta]), 1e-3, q.hessian()[None])
        np.testing.assert_allclose(log.theta[k + 1], log.theta[k] + 0.05 * step, atol=1e-12)
    assert np.abs(log.theta - run(5, seed=2, hessian="none").theta).max() > 1e-6


def test_approximate_hessian_is_none_where_the_lagrangian_is_affine():
    assert_same(run(20, hessian="approximate"), run(20, hessian="none"))
    mpc = linear_mpc(learn_weights=True)
    approximate = run(20, mpc=mpc, hessian="approximate")
    assert np.abs(approximate.theta - run(20, mpc=mpc, hessian="none").theta).max() > 1e-9


# --- acting, seeds, options -------------------------------------------------------------------------------


def test_acting_before_or_after_the_update():
    before, after = run(30), run(30, act="after")
    for k in range(29):
        assert before.u[k + 1] == MPC10.policy(before.theta[k], before.x[k + 1]).u0
        assert after.u[k + 1] == MPC10.policy(after.theta[k + 1], after.x[k + 1]).u0
    assert np.abs(before.u - after.u).max() > 1e-6


def test_same_seed_same_run_and_another_seed_another():
    options = {"behaviour": perturbed_cost(0.5, 1.0), "replay": (20, 5, 2)}
    one = run(40, seed=1, **options)
    assert_same(one, run(40, seed=1, behaviour=perturbed_cost(0.5, 1.0), replay=(20, 5, 2)))
    assert np.abs(one.x - run(40, seed=2, behaviour=perturbed_cost(0.5, 1.0), replay=(20, 5, 2)).x).max() > 1e-3
    # a longer run starts with the shorter one, and the caller's theta is not touched
    theta = THETA.copy()
    longer = run(60, seed=1, theta=theta, behaviour=perturbed_cost(0.5, 1.0), replay=(20, 5, 2))
    np.testing.assert_array_equal(longer.theta[:41], one.theta)
    np.testing.assert_array_equal(theta, THETA)


def test_exploring_is_off_policy():
    log = run(200, behaviour=epsilon_greedy(0.3, -1.0, 1.0))
    greedy = [MPC10.policy(log.theta[max(k - 1, 0)], log.x[k]).u0[0] for k in range(200)]
    explored = np.abs(log.u[:, 0] - greedy) > 1e-9
    assert 0.2 < explored.mean() < 0.4
    # Q is asked at the action that was taken
    k = int(np.flatnonzero(explored[:-1])[0])
    delta, _ = td_error(MPC10, log.theta[k], log.x[k], log.u[k], log.cost[k], log.x[k + 1])
    assert log.td[k] == pytest.approx(delta, abs=1e-12)


def test_bounds_on_theta_are_respected():
    width = np.full(THETA.size, 0.02)
    width[0] = np.inf  # a parameter without bounds
    log = run(300, lower=THETA - width, upper=THETA + width)
    assert (np.abs(log.theta - THETA) <= width + 1e-15).all()
    assert np.isclose(np.abs(log.theta[-1] - THETA), width).any()  # and they do bind
    free = run(300)
    assert np.abs(free.theta - THETA)[1:].max() > 2 * 0.02


def test_bad_options():
    for options, message in (
        ({"order": 3}, "no order 3; there are: 1, 2"), ({"act": "now"}, "'now'"), ({"hessian": "full"}, "'full'"),
        ({"theta": np.zeros(3)}, r"\(3,\)"), ({"lower": np.zeros(3)}, r"\(3,\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            run(3, **options)


# --- episodes ---------------------------------------------------------------------------------------------


class Episodes(LinearPlant):
    """Ends every third step, by termination or truncation."""

    def __init__(self, terminate):
        super().__init__()
        self.terminate = terminate

    def step(self, action):
        x, reward, _, _, info = super().step(action)
        end = self.count % 3 == 0
        return x, reward, end and self.terminate, end and not self.terminate, {**info, "x_next": x}


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize("terminate", [True, False])
def test_termination_masks_bootstrapping_and_truncation_does_not(terminate, replayed):
    class Recording(Episodes):
        nexts = []

        def step(self, action):
            answer = super().step(action)
            self.nexts.append(answer[0].copy())
            return answer

    env = Recording(terminate)
    env.nexts.clear()
    options = {"replay": (4, 4, 4), "fresh": True} if replayed else {}
    log = run(12, env=env, **options)
    for k in range(12):
        end = (k + 1) % 3 == 0
        delta, _ = td_error(MPC10, log.theta[k], log.x[k], log.u[k], log.cost[k], env.nexts[k], end and terminate)
        assert log.td[k] == pytest.approx(delta, abs=1e-12)
        if k < 11:
            if end:
                np.testing.assert_array_equal(log.x[k + 1], [0.0, 0.15])  # the next episode
                # its first action is the policy's at its first state, not at the last one of the episode before
                assert log.u[k + 1] == MPC10.policy(log.theta[k + 1], log.x[k + 1]).u0
            else:
                np.testing.assert_array_equal(log.x[k + 1], env.nexts[k])
    if replayed:  # a terminated sample stays terminated in the memory
        batch = [td_error(MPC10, log.theta[11], log.x[j], log.u[j], log.cost[j], env.nexts[j], terminate and j % 3 == 2)
                 for j in (11, 10, 9, 8)]  # fmt: skip
        G, td = np.array([q.gradient() for _, q in batch]), np.array([delta for delta, _ in batch])
        np.testing.assert_allclose(log.theta[12], log.theta[11] + 0.05 * second_order_step(G, td, 1e-3), atol=1e-9)


def test_nothing_is_solved_at_a_terminal_state(monkeypatch):
    """A state that ends the episode may well be one at which the MPC has no solution."""
    mpc, asked = linear_mpc(), []
    monkeypatch.setattr(mpc, "V", lambda theta, s, **options: asked.append(s[0]) or MPC.V(mpc, theta, s, **options))
    log = run(30, mpc=mpc, env=Episodes(terminate=True))
    assert not log.failed.any() and not np.isnan(log.td).any()
    assert len(asked) == 1 + 20 + 10  # the first state, every target that counts, every new episode's start


@pytest.mark.parametrize("act", ["before", "after"])
@pytest.mark.parametrize("terminate", [True, False])
def test_behaviour_is_asked_once_a_step(act, terminate):
    calls = []

    def behaviour(k, solution, policy, rng):
        calls.append(k)
        return solution.u0

    run(12, act=act, env=Episodes(terminate), behaviour=behaviour)
    assert calls == list(range(13))


# --- failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["V", "Q"])
def test_failed_solves_are_skipped_and_counted(monkeypatch, kind):
    """Every tenth solve of that kind fails: that sample changes nothing, the others go on."""
    mpc, calls, original = linear_mpc(), [0], getattr(MPC, kind)

    def sometimes(*arguments, **options):
        calls[0] += 1
        if calls[0] % 10 == 0:
            raise SolverError("not converged", "a test", arguments[1], None, arguments[0])
        return original(mpc, *arguments, **options)

    monkeypatch.setattr(mpc, kind, sometimes)
    learning = learner(mpc=mpc, replay=(1000, 5, 1)).run(100, progress=False)
    log, replay = learning.log, learning.replay
    assert log.steps == 100 and not log.stopped
    assert log.failed.sum() == calls[0] // 10 >= 9
    np.testing.assert_array_equal(np.isnan(log.td), log.failed)
    unchanged = (np.diff(log.theta, axis=0) == 0).all(axis=1)
    np.testing.assert_array_equal(unchanged, log.failed)
    assert len(replay) == 100 - log.failed.sum()
    assert np.isfinite(log.u).all() and np.isfinite(log.theta).all()
    assert f"{int(log.failed.sum())} failed solves" in str(log)


def test_a_run_whose_solves_all_fail_stops_and_says_why(monkeypatch):
    mpc, original, count = linear_mpc(), MPC.V, [0]

    def failing(theta, s, **options):
        count[0] += 1
        if count[0] > 50:
            raise SolverError("infeasible", "a test", s, None, theta)
        return original(mpc, theta, s, **options)

    monkeypatch.setattr(mpc, "V", failing)
    log = run(1000, mpc=mpc)
    assert log.steps == 49 + 200 and log.failed.sum() == 200
    assert "200 steps failed" in log.stopped and "a test" in log.stopped and "stopped" in str(log)


@pytest.mark.parametrize("step_size", [1e2, 1e150, 1e308])
def test_theta_stays_finite_however_wild_the_step(step_size):
    log = run(400, order=1, step_size=step_size)
    assert np.isfinite(log.theta).all() and log.failed.any()


def test_a_weight_that_learning_turns_negative():
    """The slack weight is a parameter: once negative, the problem is unbounded, its samples are skipped."""

    problem = OptimalControlProblem(
        n_states=2, n_inputs=1, horizon=5, discount=0.9, parameters=Parameters(w=0.5, V0=0.0),
        dynamics=lambda x, u, p: np.array([[0.9, 0.35], [0, 1.1]]) @ x + np.array([0.0813, 0.2]) * u,
        stage_cost=lambda k, x, u, p: 0.5 * 0.9**k * (x.T @ x + 0.5 * u**2) + (p.V0 if k == 0 else 0),
        terminal_cost=lambda x, p: 2 * x.T @ x, input_lower=-1, input_upper=1,
        constraints={"bound": lambda k, x, u, p: Rows(x[0], lower=0.0, weight=p.w) if k > 0 else None},
    )  # fmt: skip
    mpc, seen = MPC(problem), []

    def push(k, learner):
        seen.append(learner.theta[0])

    ascent = {"gradient": lambda q: -q.gradient(), "step_size": 5.0}  # the weight soon is negative
    log = run(300, mpc=mpc, order=1, on_step=push, **ascent)
    assert log.failed.any() and not log.failed[:1].any()
    first = int(np.flatnonzero(log.failed)[0])
    assert log.theta[first, 0] < 0 and np.isfinite(log.theta).all() and len(seen) == log.steps


# --- learning ---------------------------------------------------------------------------------------------


def test_it_learns():
    """Five seeds of 5000 steps; about 3 of 50 seeds fail, so the median is what is asked for."""
    logs = [run(5000, seed=seed) for seed in range(5)]
    td = [np.abs(log.td[-500:]).mean() for log in logs]
    cost = [log.cost[-500:].mean() for log in logs]
    violated = [(log.x[-500:, 0] < -1e-9).mean() for log in logs]
    first = [np.abs(log.td[:500]).mean() for log in logs]
    assert np.median(td) <= 0.06 and np.median(cost) <= 0.07 and np.median(violated) == 0, (td, cost, violated)
    assert np.median(first) > 1.5 and np.median([log.cost[:500].mean() for log in logs]) > 0.9  # it had to learn that
    assert sum(log.failed.sum() for log in logs) == 0
