"""Distributed Q-learning: the step's algebra, the published runs, consensus and its cost, trouble, saving."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mpcrl_course.envs import linear
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.behaviour import perturbed_cost
from mpcrl_course.learners.distributed import (
    DistributedQLearning,
    LocalLearner,
    central_step,
    contribution,
    distributed_step,
    first_order_local,
    regularised_inverse,
    second_order_local,
    update,
)
from mpcrl_course.network import ADMM, AgentError, Central, line, mixing_matrix, ring, star
from mpcrl_course.problems.network import network_mpc

DATA = np.load(Path(__file__).parents[1] / "data" / "second_order_network.npz")
NET = network_mpc()
CENTRAL, LINE = Central(NET), mixing_matrix(3, line(3), 0.25)


def run(controller=CENTRAL, steps=12, seed=0, env=None, **options):
    env = env or LinearNetwork(controller.network.neighbours)
    return DistributedQLearning(controller, env, np.random.default_rng(seed), **options).run(steps, progress=False).log


def data(rng, sizes, T, spread=1.0):
    """Random gradients, symmetric Hessians and TD errors."""
    gradients = [rng.standard_normal((T, n)) for n in sizes]
    hessians = [spread * (h + h.transpose(0, 2, 1)) for h in (rng.standard_normal((T, n, n)) for n in sizes)]
    return gradients, hessians, rng.standard_normal(T)


# --- one step ---------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 12), st.integers(0, 2**31), st.booleans(),
    st.floats(-3, 1), st.floats(-2, 2),
)  # fmt: skip
def test_distributed_is_central(sizes, T, seed, safeguard, log_sigma, log_spread):
    """Any number of agents, of samples and of parameters; to 1e-8 wherever the systems are well conditioned."""
    gradients, hessians, td = data(np.random.default_rng(seed), sizes, T, 10**log_spread)
    sigma = 10**log_sigma
    one = distributed_step(gradients, hessians, td, sigma, safeguard=safeguard)
    other = central_step(gradients, hessians, td, sigma, safeguard=safeguard)
    assert [len(d) for d in one] == sizes
    if not safeguard:  # an indefinite matrix may happen to be close to a singular one, and its Woodbury form too
        K = [np.tensordot(td, h, axes=1) for h in hessians]
        blocks = [T * sigma * np.eye(len(k)) - k for k in K]
        C = sum(g @ np.linalg.solve(b, g.T) for g, b in zip(gradients, blocks))
        assume(max(np.linalg.cond(m) for m in [*blocks, np.eye(T) + C]) < 1e5)
    one, other = np.concatenate(one), np.concatenate(other)
    assert np.linalg.norm(one - other) <= 1e-8 * np.linalg.norm(other)


def test_the_central_step_is_the_formula():
    gradients, hessians, td = data(np.random.default_rng(0), [2, 3], 4)
    A = 4 * 0.1 * np.eye(5)
    for tau in range(4):
        g = np.concatenate([own[tau] for own in gradients])
        A += np.outer(g, g)
        A[:2, :2] -= td[tau] * hessians[0][tau]
        A[2:, 2:] -= td[tau] * hessians[1][tau]
    expected = np.linalg.inv(A) @ sum(td[tau] * np.concatenate([own[tau] for own in gradients]) for tau in range(4))
    np.testing.assert_allclose(
        np.concatenate(central_step(gradients, hessians, td, 0.1, safeguard=False)), expected, atol=1e-12
    )


def test_one_sample_and_no_curvature_is_a_normalised_gradient():
    """d = delta g / (|g|^2 + sigma), g of all agents."""
    gradients, hessians, td = data(np.random.default_rng(1), [3, 2, 4], 1, spread=0.0)
    g = np.concatenate([own[0] for own in gradients])
    d = np.concatenate(distributed_step(gradients, hessians, td, 0.2))
    np.testing.assert_allclose(d, td[0] * g / (g @ g + 0.2), atol=1e-13)


@pytest.mark.parametrize("edges", [line, ring, star])
def test_with_consensus_it_is_central_as_far_as_consensus_goes(edges):
    gradients, hessians, td = data(np.random.default_rng(2), [4, 3, 5, 2, 3], 6)
    P = mixing_matrix(5, edges(5))
    central = np.concatenate(central_step(gradients, hessians, td, 0.5))
    error = [
        np.abs(np.concatenate(distributed_step(gradients, hessians, td, 0.5, P, rounds)) - central).max()
        for rounds in (1, 20, 400)
    ]
    assert error[0] > 1e-3 and error[0] > 2 * error[1] > 4 * error[2] and error[2] < 1e-10


def test_the_safeguard_is_local_and_makes_the_step_descend():
    """The nearest positive semidefinite matrix to -K, by its polar form; the step goes uphill on sum delta g."""
    rng, shifted = np.random.default_rng(3), 0
    for _ in range(20):
        gradients, hessians, td = data(rng, [4, 3], 5)
        for h in hessians:
            K = np.tensordot(td, h, axes=1)
            Kt, lowest = regularised_inverse(K, 5, 0.01), np.linalg.eigvalsh(-K)[0]
            expected = np.linalg.inv(0.5 * (scipy.linalg.sqrtm(K @ K).real - K) + 0.05 * np.eye(len(K)))
            np.testing.assert_allclose(Kt, expected, atol=1e-6 * np.abs(expected).max())
            assert np.linalg.eigvalsh(Kt)[0] > 0.0
            plain = regularised_inverse(K, 5, 0.01, safeguard=False)
            np.testing.assert_allclose(plain @ (0.05 * np.eye(len(K)) - K), np.eye(len(K)), atol=1e-9)
            shifted += lowest < 0
        step = np.concatenate(distributed_step(gradients, hessians, td, 0.01))
        assert step @ np.concatenate([g.T @ td for g in gradients]) > 0
    assert shifted > 20
    K = -np.eye(3)  # positive semidefinite already: nothing is added
    np.testing.assert_allclose(regularised_inverse(K, 2, 0.5), np.eye(3) / 2, atol=1e-14)


def test_first_order_needs_no_one_else():
    gradients, _, td = data(np.random.default_rng(4), [4, 3], 5)
    for g in gradients:
        np.testing.assert_allclose(
            first_order_local(g.T, td), sum(td[tau] * g[tau] for tau in range(5)) / 5, atol=1e-14
        )


def test_mismatched_batches_and_mean_for_sum_are_other_steps():
    """Two mistakes found in published code: agents draw different samples; the mean of h beside the sum of g g'."""
    gradients, hessians, td = data(np.random.default_rng(5), [4, 3], 6)
    right = np.concatenate(distributed_step(gradients, hessians, td, 0.5, safeguard=False))
    swapped = np.roll(np.arange(6), 1)
    mixed = distributed_step(
        [gradients[0], gradients[1][swapped]], [hessians[0], hessians[1][swapped]], td, 0.5, safeguard=False
    )
    assert np.linalg.norm(np.concatenate(mixed) - right) > 0.1 * np.linalg.norm(right)
    G = [g.T for g in gradients]
    Kt = [regularised_inverse(np.tensordot(td, h, axes=1) / 6, 6, 0.5, safeguard=False) for h in hessians]
    C = sum(contribution(*own) for own in zip(G, Kt))
    mean = np.concatenate([second_order_local(*own, C, td) for own in zip(G, Kt)])
    assert np.linalg.norm(mean - right) > 0.1 * np.linalg.norm(right)


def test_one_update_of_all_agents():
    """Their own batches, C as `agree` says it; an update that is not finite in one agent changes none."""

    def agents(scale, order=2):
        everyone = []
        for i, n in enumerate((3, 2)):
            one = LocalLearner(np.zeros(n), (4, 3, 3), 0, order)
            for tau in range(3):
                one.remember(0.5 + tau, scale[i] * gradients[i][tau], hessians[i][tau] if order == 2 else None)
            everyone.append(one)
        return everyone

    gradients, hessians, _ = data(np.random.default_rng(8), [3, 2], 3)
    both = agents((1.0, 1.0))
    C = update(both, 0.1, lambda terms: [sum(terms)] * 2, sigma=0.2)
    newest_first = [np.flip(one, axis=0) for one in (*gradients, *hessians)]
    steps = central_step(newest_first[:2], newest_first[2:], [2.5, 1.5, 0.5], 0.2)
    for agent, d in zip(both, steps):
        np.testing.assert_allclose(agent.theta, 0.1 * d, atol=1e-12)
    np.testing.assert_allclose(C[0], sum(contribution(agent.G, agent.Kt) for agent in both), atol=1e-12)
    first = agents((1.0, 1.0), order=1)
    assert update(first, 0.1, None, order=1) == [None, None]
    np.testing.assert_allclose(first[0].theta, 0.1 * first_order_local(first[0].G, first[0].td), atol=1e-14)
    broken = agents((1.0, 1e300), order=1)
    with pytest.raises(FloatingPointError, match="not finite"):
        update(broken, 1e10, None, order=1)
    assert not any(agent.theta.any() for agent in broken)


# --- the published runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method, order, alpha", [(1, 2, 1e-4), (3, 1, 1e-8)])
@pytest.mark.parametrize("seed", range(3))
def test_centralised_runs_follow_the_published_ones_until_the_replay_is_random(method, order, alpha, seed):
    """X, U, L, TD of the first 15 steps, in which every batch is the whole memory."""
    log = run(steps=15, env=LinearNetwork(recorded=DATA["noise"][seed]), order=order, step_size=alpha, safeguard=False)
    assert not log.failed.any()
    np.testing.assert_allclose(log.td, DATA["td"][method, seed, :15], rtol=0, atol=1e-6)
    np.testing.assert_allclose(log.u, DATA["U"][method, seed, :15], rtol=0, atol=1e-6)  # single precision
    np.testing.assert_allclose(log.x, DATA["X"][method, seed, :15], rtol=0, atol=1e-6)
    np.testing.assert_allclose(log.cost, DATA["L"][method, seed, :15], rtol=1e-7, atol=1e-6)
    other = DATA["U"][4 - method, seed, :15]
    assert np.abs(log.u - other).max() > 1e-3  # and the order of the update does matter


@pytest.mark.parametrize("method, order, alpha, steps, tolerance", [(2, 1, 1e-8, 10, 1e-5), (0, 2, 1e-4, 3, 1e-5)])
@pytest.mark.parametrize("seed", range(3))
def test_distributed_runs_follow_the_published_ones(method, order, alpha, steps, tolerance, seed):
    """First order: ten steps. Second order: until the published mean of h (a mistake) makes a difference."""
    log = run(
        ADMM(NET), steps, env=LinearNetwork(recorded=DATA["noise"][seed]), order=order, step_size=alpha, P=LINE,
        safeguard=False,
    )  # fmt: skip
    np.testing.assert_allclose(log.td, DATA["td"][method, seed, :steps], rtol=0, atol=tolerance)
    np.testing.assert_allclose(log.u, DATA["U"][method, seed, :steps], rtol=0, atol=tolerance)


def test_second_order_learns_and_first_order_does_not_yet():
    """|TD| and L of a hundred steps; published, steps 500 to 600: 0.76 and 0.82 (second order), 10.3 and 9 (first)."""
    for order, alpha, safeguard, steps in ((2, 1e-4, False, 600), (2, 1e-4, True, 600), (1, 1e-8, True, 200)):
        log = run(steps=steps, seed=2, order=order, step_size=alpha, safeguard=safeguard)
        td, cost = np.abs(log.td[-100:]).mean(), log.cost[-100:].mean()
        assert not log.failed.any()
        assert (td < 4.0 and cost < 4.0) if order == 2 else (td > 6.0 and cost > 6.0)


# --- distributed against centralised runs -----------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_a_distributed_run_is_its_centralised_twin(order):
    """With converged ADMM and enough rounds: states, TD errors and theta of eight steps on a ring of four."""
    net = network_mpc(4, ring(4), horizon=5)
    options = {"steps": 8, "order": order, "step_size": 1e-3 if order == 2 else 1e-7, "replay": (6, 4, 2)}
    one = run(ADMM(net, iterations=20_000, tolerance=1e-10), P=mixing_matrix(4, ring(4)), rounds=60, **options)
    other = run(Central(net), **options)
    assert not one.failed.any()
    for name in ("x", "u", "td", "theta"):
        ours, theirs = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1.0, np.abs(theirs).max()))
    assert np.abs(one.theta[-1] - one.theta[0]).max() > 1e-6


def test_messages_and_numbers():
    """Line of three, T = 15: 100 rounds over 4 links, twice a step (TD error, C); 100 iterations of 8 vectors."""
    log = run(ADMM(NET), 18, P=LINE)
    np.testing.assert_array_equal(log.solve_messages, 800)
    np.testing.assert_array_equal(log.consensus_messages, 800)
    T = np.minimum(np.arange(1, 19), 15)
    np.testing.assert_array_equal(log.consensus_numbers, 400 * (1 + T**2))
    explored = run(ADMM(NET), 18, P=LINE, behaviour=perturbed_cost(lambda k: float(k in (0, 3, 4)), 1.0))
    np.testing.assert_array_equal(explored.solve_messages, [1600, 800, 1600, 1600, *[800] * 14])  # another V each
    first = run(ADMM(NET), 4, P=LINE, order=1, rounds=30)
    np.testing.assert_array_equal(first.consensus_numbers, 120)  # the TD error only
    assert run(steps=3).consensus_messages.sum() == run(steps=3).solve_messages.sum() == 0


def test_few_rounds_of_consensus_show():
    """Ten rounds: agents disagree about delta and C by about 0.75^10; a hundred: they do not."""
    whole, some, many = (run(steps=10, safeguard=True, P=P, rounds=n) for P, n in ((None, 1), (LINE, 10), (LINE, 100)))
    np.testing.assert_allclose(many.theta, whole.theta, rtol=0, atol=1e-7)
    assert np.abs(some.theta - whole.theta).max() > 1e-5


def test_all_agents_draw_the_same_transitions():
    """Each from its own generator of the common seed; the stored TD error tells which transition it was."""
    agents = [LocalLearner(np.zeros(2), (20, 6, 2), 7) for _ in range(4)]
    rng, seen = np.random.default_rng(0), set()
    for _ in range(50):
        td = rng.standard_normal()
        for agent in agents:
            agent.remember(td, rng.standard_normal(2), np.eye(2))
            agent.draw()
        for agent in agents[1:]:
            np.testing.assert_array_equal(agent.td, agents[0].td)
        seen.add(tuple(agents[0].td[2:]))
    assert len(seen) > 40  # and not always the same
    assert len(agents[0].td) == 6 and agents[0].G.shape == (2, 6)


# --- options ----------------------------------------------------------------------------------------------------


def test_only_what_is_to_be_learned_is_learned_and_stays_in_its_bounds():
    names = NET.parameters.names
    log = run(steps=10, learned=["x_lb", "b", "w"], step_size=1e-2)
    changed = {names[i] for i in np.flatnonzero(np.abs(log.theta[-1] - log.theta[0]) > 0)}
    assert changed and all(name.split("_1")[0].startswith(("x_lb", "b", "w")) for name in changed)
    assert not any(name.startswith("b") and not name.startswith("b_") for name in changed)
    with pytest.raises(KeyError, match="'C'.*V0, f"):
        run(steps=1, learned=["C"])
    lower = NET.parameters.initial() - 1e-4
    bounded = run(steps=10, lower=lower, upper=lower + 2e-4, step_size=1.0)
    assert not bounded.failed.any() and np.abs(bounded.theta - bounded.theta[0]).max() == pytest.approx(1e-4, rel=1e-9)


def test_every_second_step_and_schedules():
    log = run(steps=9, every=2, step_size=lambda update: 1e-4 * 0.5**update)
    moved = np.abs(np.diff(log.theta, axis=0)).max(axis=1) > 0
    np.testing.assert_array_equal(moved, [False, True] * 4 + [False])
    asked = []
    run(steps=5, every=2, step_size=lambda update: asked.append(update) or 0.0)
    np.testing.assert_array_equal(asked, [0, 1])  # once an update, for all agents


def test_exploration_by_a_perturbed_cost_on_the_first_order_problem():
    """On a kink (seed 0 meets one) the two ways may answer with different subgradients; these seeds meet none."""
    net = network_mpc(3, order=1)
    options = {"order": 1, "step_size": 6e-5, "every": 2, "steps": 6, "seed": 1}
    explore = {"behaviour": perturbed_cost(1.0, 1.0)}
    plant = LinearNetwork(weight=120.0)
    one = run(ADMM(net, rho=0.5, iterations=4000, tolerance=1e-9), env=plant, P=LINE, **options, **explore)
    other = run(Central(net, rho=0.5), env=plant, **options, **explore)
    np.testing.assert_allclose(one.u, other.u, atol=1e-6)
    np.testing.assert_allclose(one.theta, other.theta, atol=1e-6)
    assert np.abs(one.u - run(Central(net), env=plant, **options).u).max() > 1e-2
    assert np.abs(one.u).max() <= 1.0 + 1e-9


class Ending(LinearNetwork):
    """An episode ends after three steps, for good or by truncation."""

    def __init__(self, terminated):
        super().__init__(noise=0.0)
        self.terminated = terminated

    def step(self, action):
        x, reward, _, _, info = super().step(action)
        ended = self.count == 3
        return x, reward, ended and self.terminated, ended and not self.terminated, info


def test_termination_masks_bootstrapping_and_truncation_does_not():
    cut, final = run(env=Ending(False), steps=5, step_size=0.0), run(env=Ending(True), steps=5, step_size=0.0)
    np.testing.assert_allclose(cut.x, final.x, atol=1e-12)
    np.testing.assert_allclose(cut.x[3], [0.0, 0.15] * 3, atol=1e-15)
    theta, plant = NET.parameters.initial(), LinearNetwork(noise=0.0)
    plant.reset(options={"x": cut.x[2]})
    s_next = plant.step(cut.u[2])[0]
    np.testing.assert_allclose(cut.td[2] - final.td[2], 0.9 * CENTRAL.V(theta, s_next).value, atol=1e-9)
    np.testing.assert_allclose(np.delete(cut.td, 2), np.delete(final.td, 2), atol=1e-9)


def test_wrong_options():
    for options, message in (
        ({"order": 3}, "no order 3; there are: 1, 2"),
        ({"every": 0}, "every must be at least 1"),
        ({"P": np.eye(2)}, r"P has shape \(2, 2\), but there are 3 agents"),
        ({"theta": np.zeros(5)}, r"theta has shape \(5,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            run(steps=2, **options)


# --- trouble, and saving --------------------------------------------------------------------------------------------


class Flaky(Central):
    """Agent 2 cannot solve its problem in some steps."""

    def __init__(self, network, failing):
        super().__init__(network)
        self.failing, self.asked = failing, 0

    def V_and_Q(self, theta, s_next, s, a, **options):
        self.asked += 1
        if self.asked - 1 in self.failing:
            raise AgentError(1, "not converged", "on purpose", s[2:4], None, theta)
        return super().V_and_Q(theta, s_next, s, a, **options)


def test_a_step_in_which_an_agent_fails_is_skipped_by_all_and_counted():
    log = run(Flaky(NET, {2, 5, 6}), steps=10)
    np.testing.assert_array_equal(np.flatnonzero(log.failed), [2, 5, 6])
    np.testing.assert_array_equal(log.failed_agent, [-1, -1, 1, -1, -1, 1, 1, -1, -1, -1])
    assert np.isnan(log.td[log.failed]).all() and np.isfinite(log.td[~log.failed]).all()
    for k in (2, 5, 6):
        np.testing.assert_array_equal(log.theta[k + 1], log.theta[k])
        np.testing.assert_array_equal(log.u[k + 1], log.u[k])  # the last action that was found stays
    assert np.abs(log.theta[4] - log.theta[3]).max() > 0
    stopped = run(Flaky(NET, set(range(300))), steps=300)
    assert stopped.steps == 200 and "200 steps failed in a row" in stopped.stopped and "agent 2" in stopped.stopped


def test_unbounded_parameters_end_as_counted_failures_not_as_numbers():
    """A step far too long makes some w negative: its agent says so, and nobody learns from it."""
    log = run(steps=40, step_size=3.0, safeguard=False)
    assert log.failed.any() and np.isfinite(log.theta).all() and np.isnan(log.td[log.failed]).all()


def test_answers_that_have_not_converged_are_counted_and_can_be_refused():
    """Two iterations of ADMM are too few: every step says so; refused, nothing is learned from them."""
    theta = NET.parameters.pack(**{f"A_c_{i}": -0.1 for i in (1, 2, 3)})
    hasty = ADMM(NET, iterations=2)
    counted, refused = (run(hasty, 12, theta=theta, refuse=refuse) for refuse in (False, True))
    assert (counted.unconverged >= 1).all() and counted.unconverged.max() == 2 and not counted.failed.any()
    assert (counted.theta[-1] != theta).any()
    assert f"{counted.unconverged.sum()} answers that had not converged" in str(counted)
    assert refused.failed.all() and np.isnan(refused.td).all() and (refused.failed_agent == -1).all()
    assert (refused.theta == theta).all() and (refused.u[1:] != refused.u[:-1]).any()  # it acts all the same


def test_refusing_changes_nothing_where_all_converge():
    for controller in (CENTRAL, ADMM(NET)):
        one, other = (run(controller, 8, P=LINE, refuse=refuse) for refuse in (False, True))
        assert not one.unconverged.any() and "converged" not in str(one)
        np.testing.assert_array_equal(one.theta, other.theta)


def test_refused_answers_end_a_run_that_has_no_others():
    theta = NET.parameters.pack(**{f"A_c_{i}": -0.1 for i in (1, 2, 3)})
    log = run(ADMM(NET, iterations=1), 220, theta=theta, refuse=True)
    assert log.steps == 200 and "the answer is refused" in log.stopped


def test_agents_who_send_nothing_are_learners_by_themselves():
    """Own TD errors, own terms of C, no model of the others: the first agent learns as if it were the only one."""
    own = ["V0", "f", "x_lb", "x_ub", "b", "W_x", "W_u", "w", "A", "B"]
    env = LinearNetwork(coupling=0.0)
    three = DistributedQLearning(CENTRAL, env, np.random.default_rng(4), alone=True, own_td=True, learned=own)
    log = three.run(40, progress=False).log
    recorded = np.array([
        x_next[0] - (linear.A @ x[:2] + linear.B * u[0])[0] for x, x_next, u in zip(log.x, log.x[1:], log.u)
    ])  # fmt: skip  # one agent alone meets agent 1's noise
    alone = Central(network_mpc(1))
    single = DistributedQLearning(alone, LinearNetwork(((),), recorded=recorded[:, None]), np.random.default_rng(4),
                                  alone=True, learned=own)  # fmt: skip
    single.run(39, progress=False)
    np.testing.assert_allclose(log.theta[39][:22], single.theta, rtol=1e-6, atol=1e-8)
    assert log.consensus_numbers.sum() == 0
    td = log.td[5]
    v, q = CENTRAL.V(log.theta[5], log.x[6]), CENTRAL.Q(log.theta[5], log.x[5], log.u[5])
    assert td == pytest.approx(log.cost[5] + 0.9 * v.value - q.value, abs=1e-8)  # the log has the sum
