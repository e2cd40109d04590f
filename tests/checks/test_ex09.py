"""Exercise 09: its references, and what a student may write."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mpcrl_course.checks import ex09
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.learners import BlendedIteration, LocalIteration, blend, filtered, lstd
from mpcrl_course.problems import QuadraticMPC, quadratic
from tests.notebooks import texts

NAME = "09_critic"


# ------------------------------------------------------------------------------ the references, against the package


def test_the_predicted_action_is_the_least_of_the_blend():
    def critic(a):
        learned = ex09.STEEP * (a - ex09.BEST) ** 2 + ex09.LEVEL
        return blend(learned, ex09.MPC_STEEP * (a - ex09.MPC_BEST) ** 2 + ex09.MPC_LEVEL, ex09.SHARE)

    found = minimize_scalar(critic)
    assert ex09.predict.reference == pytest.approx(found.x, abs=1e-6) == pytest.approx(0.88)
    the_value = next(mistake for mistake in ex09.predict.mistakes if mistake.name == "the value")
    assert the_value.wrong == pytest.approx(found.fun)


def test_q_is_that_of_the_package_in_closed_form_and_solved():
    mpc, phi = QuadraticMPC(horizon=4), quadratic.true_phi()
    rng = np.random.default_rng(0)
    s, a, p = rng.normal(size=(5, 2)), rng.normal(size=(5, 1)), mpc.parameters.unpack(phi)
    own = ex09.q_mpc(s, a, p.V0, p.A, p.B[:, None], quadratic.Q_COST, quadratic.R_COST, mpc.P, quadratic.DISCOUNT, 4)
    np.testing.assert_allclose(own, quadratic.features(s, a) @ mpc.omega(phi), rtol=1e-10)
    solved = mpc.declared()
    np.testing.assert_allclose(own, [solved.Q(phi, *one).value for one in zip(s, a)], rtol=1e-6)


def test_the_action_is_that_of_the_package():
    probe = ex09._some_iterations(np.random.default_rng(1))[0]
    beta, M, a = ex09.improve(**probe)
    assert beta == pytest.approx(probe["beta0"] * probe["decay"] ** 3) and M % 20 == 0
    K, k = quadratic.greedy_policy(blend(probe["omega_w"], probe["omega_mpc"], beta))
    np.testing.assert_allclose(a, (-probe["s"] @ K.T - k)[:, 0], rtol=1e-10)


def test_the_schedule_of_the_notebook_is_the_lecture_s():
    sizes = [ex09.improve(j, np.zeros((1, 2)), np.ones(10), np.ones(10), 1.0, 0.7, 1.05)[1] for j in range(6)]
    assert sizes == [20, 40, 40, 60, 80, 120]


def test_the_weights_are_those_of_the_package():
    batch = ex09._some_batches(np.random.default_rng(2))[2]
    delta, w = ex09.local_critic(**batch)
    after = batch["psi_next"] * ~batch["ended"][:, None]
    np.testing.assert_allclose(w, lstd(batch["psi"], after, delta, batch["gamma"], batch["ridge"]), rtol=1e-10)
    left = delta - (batch["psi"] - batch["gamma"] * after) @ w  # the ridge is all that keeps them correlated
    np.testing.assert_allclose(batch["psi"].T @ left / len(left), batch["ridge"] * w, rtol=1e-8, atol=1e-12)


def test_gradients_of_the_critic_are_difference_quotients():
    probe = ex09._some_learning(np.random.default_rng(3))[0]
    mpc, phi, (s, a, *_) = probe["mpc"], probe["phi"], probe["batches"][0]
    for ask in (lambda phi: mpc.Q(phi, s, a), lambda phi: mpc.V(phi, s)):
        quotients = [(ask(phi + h)[0] - ask(phi - h)[0]) / 2e-6 for h in 1e-6 * np.eye(9)]
        np.testing.assert_allclose(ask(phi)[1].T, quotients, atol=1e-7)
    least = minimize_scalar(lambda u: mpc.Q(phi, s[:1], [[u]])[0][0])
    assert mpc.V(phi, s)[0][0] == pytest.approx(least.fun) and mpc.policy(phi, s)[0, 0] == pytest.approx(least.x)


def test_learning_many_times_from_a_batch_comes_to_what_lstd_says():
    """The mean step of w is 0 at the solution of a weighted LSTD: here all weights are nearly one."""
    rng = np.random.default_rng(4)
    s, a, s_next = rng.normal(size=(40, 2)), rng.normal(size=(40, 1)), rng.normal(size=(40, 2))
    mpc, phi, cost = ex09.Critic(3), ex09.seven_tenths(), rng.uniform(0.5, 1.5, 40)
    (q, psi), (v, after) = mpc.Q(phi, s, a), mpc.V(phi, s_next)
    again = tuple(np.tile(part, (300,) + (1,) * (part.ndim - 1)) for part in (s, a, cost, s_next))
    _, w = ex09.learn(phi, [again], mpc, 0.5, 0.05, 0.0)
    weighted = psi / (1.0 + (psi**2).sum(axis=1, keepdims=True))
    step = weighted.T @ (cost + 0.5 * (v + after @ w) - q - psi @ w) / 40
    assert np.abs(step).max() < 0.05 * np.abs(weighted.T @ (cost + 0.5 * v - q) / 40).max()


def test_the_two_faults_are_two():
    """With one batch only the reset shows; the gradient shows from the second on."""
    probe = ex09._some_learning(np.random.default_rng(5))[0]
    old = ex09._learner(at=ex09._start)
    for batches, same in ((probe["batches"][:1], True), (probe["batches"], False)):
        one = probe | {"batches": batches}
        assert np.allclose(old(**one)[1], ex09.learn(**one)[1]) == same
        assert not np.allclose(ex09.learn_as_given(**one)[1], ex09.learn(**one)[1])


# -------------------------------------------------------------------------------------------- the runs of the design


def test_many_runs_at_once_are_those_of_the_learner():
    """One run alone draws the same numbers in the same order."""
    schedule = [(0.6, 60), (0.3, 40), (0.1, 60)]
    for bias, seed in ((0.0, 0), (2.0, 1), (2.3, 2)):
        mpc, phi = quadratic.biased(bias)
        learner = BlendedIteration(
            mpc, phi, np.random.default_rng(seed), beta=lambda j: schedule[j][0], M=lambda j: schedule[j][1]
        )
        ratio = learner.run(3, progress=False).log.ratio
        np.testing.assert_allclose(ex09.trial(schedule, bias, 1, seed)[:, 0], ratio, rtol=1e-6)


def test_costs_are_those_of_a_lyapunov_equation_each():
    rng = np.random.default_rng(6)
    K, k = rng.uniform([-0.2, 0.2], [1.5, 2.5], (30, 2)), rng.normal(size=30)
    K[0] = [-9.0, 0.0]  # does not stabilise
    expected = [quadratic.expected_cost(one[None], offset[None]) for one, offset in zip(K, k)]
    assert expected[0] == np.inf and np.isfinite(expected[1:]).sum() > 10
    np.testing.assert_allclose(ex09._costs(K, k), expected, rtol=1e-9)


def test_a_run_that_has_failed_stays_failed():
    ratio = ex09.trial([(0.0, 20)] * 4, 0.0, 200, 3)
    lost = np.isinf(ratio)
    assert lost[-1].any() and not lost[-1].all() and (lost[1:] >= lost[:-1]).all()


def test_right_schedules_are_right_and_wrong_ones_wrong_beyond_doubt():
    """Each by two standard errors of its mean over 2000 runs, on other seeds than the check's."""
    bounds = {0.0: ex09.MOST_RIGHT, ex09.HIDDEN: ex09.MOST_HIDDEN}

    def distances(schedule):
        for bias, bound in bounds.items():
            J = np.minimum(ex09.trial(schedule, bias, 2000, seed=11)[-1], ex09.MOST)
            yield (bound - J.mean()) / max(J.std() / np.sqrt(2000), 1e-9)

    for schedule in ex09.design.right_answers():
        assert min(distances(schedule)) > 2
    for mistake in ex09.design.mistakes:
        assert min(distances(mistake.example)) < -2, mistake.name


@pytest.mark.parametrize("share", [0.05, 0.1, 0.12, 0.13, 0.15, 0.2, 0.6])
@pytest.mark.parametrize("sizes", [(160,), (80, 80), (60, 100), (40, 40, 80)], ids=str)
def test_no_constant_share_survives(share, sizes):
    assert ex09.design.judge([(share, M) for M in sizes]).mistake in ("share does not fall", "one iteration")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0.4, 0.1], "a list of pairs"),
        ("0.4, 60", "a list of pairs"),
        ([(0.4, 60), (0.1,)], "a list of pairs"),
        ([(1.4, 60)], "between 0 and 1"),
        ([(np.nan, 60)], "between 0 and 1"),
        ([(0.4, 70)], "a multiple of 20"),
        ([(0.4, 0)], "a multiple of 20"),
        ([(0.4, np.inf)], "a multiple of 20"),
        ([(0.4, 80), (0.1, 100)], "180 transitions, and 160 are allowed"),
    ],
    ids=str,
)
def test_a_schedule_of_the_wrong_form_says_so(answer, said):
    result = ex09.design.judge(answer)
    assert result.verdict == RAISED and said in str(result.details)


# ---------------------------------------------------------------------------------- what the explanation says is so


def test_the_measurements_of_the_explanation():
    mpc, phi = ex09.Critic(), ex09.seven_tenths()
    K, k = ex09.gains(phi)
    assert ex09.ratio(phi) == pytest.approx(2.26, abs=0.01)
    found, omega, (D, _) = {}, ex09._of_the_lecture().omega(phi), ex09._of_the_lecture().derivatives(phi)
    for M, ridge in ((1000, 1e-3), (1000, 1e-2), (200_000, 1e-3)):
        s, a, cost, s_next = quadratic.collect(K, k, M, np.random.default_rng(0))
        (q, psi), (v, after) = mpc.Q(phi, s, a), mpc.V(phi, s_next)
        w = found[M, ridge] = lstd(psi, after, cost + 0.9 * v - q, 0.9, ridge)
        assert ex09.ratio(phi + w) == np.inf and ex09.ratio(phi + 0.1 * w) < 0.55 * ex09.ratio(phi)  # reasons 3, 4
        s, a, *_ = quadratic.collect(K, k, 2000, np.random.default_rng(1))
        z, truth = quadratic.features(s, a), quadratic.policy_omega(K, k)
        critics = omega, omega + w @ D, ex09._of_the_lecture().omega(phi + w)
        before, local, after = (np.sqrt(np.mean((z @ (critic - truth)) ** 2)) for critic in critics)
        assert local < 0.2 * before and after > 10 * before  # reason 1
    lengths = [np.linalg.norm(w) for w in found.values()]
    assert np.round(lengths[0], 1) == 3.1 and np.round(lengths[2], 1) == 3.2 and lengths[1] > 0.75 * lengths[0]
    # reason 6: what Gauss-Newton takes of w points elsewhere
    E = ex09._of_the_lecture().derivatives(phi)[1]
    jacobian = np.column_stack([s, np.ones(len(s))]) @ E.T
    w = found[1000, 1e-3]
    part = filtered(w, jacobian.T @ jacobian / len(s))
    assert abs(part @ w) < 0.9 * np.linalg.norm(part) * np.linalg.norm(w)
    wrong = ex09._of_the_lecture()
    learner = LocalIteration(wrong, phi, np.random.default_rng(0), rule="critic", step_size=1.0)
    assert np.isinf(learner.run(1, progress=False).log.ratio[-1])  # as in the lecture


def test_each_reason_of_its_own_is_judged():
    judged = {n: ex09.explain.judge(("c", [n])) for n in ex09.explain.reasons}
    assert {n for n, result in judged.items() if result.mistake is None} == set(ex09.explain.carrying)


# ------------------------------------------------------------------------------------------------- what is judged


@pytest.mark.parametrize(
    ("number", "verdict"), [(0.88, RIGHT), ("22/25", RIGHT), (0.885, RIGHT), (0.9, WRONG), (1.2, WRONG)]
)
def test_the_predicted_number(number, verdict):
    assert ex09.predict.judge(number).verdict == verdict


def test_the_given_code_is_not_attempted():
    assert ex09.debug.judge(ex09.learn_as_given).verdict == NOT_ATTEMPTED


def test_half_of_the_repair_is_told_from_the_other():
    halves = ex09._learner(reset="transition"), ex09._learner(at=ex09._start)
    names = [ex09.debug.judge(half).mistake for half in halves]
    assert names == ["only the gradient repaired", "only w repaired"]


def test_critics_without_a_least_action_are_all_tried():
    """The learned one bent down and the blend up, both bent down, and a straight line to the last digit."""
    kinds = set()
    for probe in ex09.schedule.calls(0):
        omega = ex09._blend(probe["omega_w"], probe["omega_mpc"], probe["beta0"] * probe["decay"] ** probe["j"])
        kinds.add((np.sign(probe["omega_w"][5]), np.sign(omega[5])))
    assert kinds == {(1, 1), (-1, 1), (-1, -1), (-1, 0)}


def test_a_part_that_is_wrong_is_said():
    def shifted(*call, **named):
        beta, M, a = ex09.improve(*call, **named)
        return beta, M, a[::-1]

    result = ex09.schedule.judge(shifted)
    assert result.verdict == WRONG and result.sentence.startswith("a is wrong, beta and M are right.")


def test_batches_that_are_overwritten_are_no_harm():
    def in_place(phi, batches, mpc, gamma, rate, alpha):
        result = ex09.learn(phi, batches, mpc, gamma, rate, alpha)
        for batch in batches:
            for part in batch:
                part[:] = 0.0
        return result

    assert ex09.debug.judge(in_place).verdict == RIGHT


# --------------------------------------------------------------------------------------------------- the notebooks


def test_what_the_notebook_says_is_what_the_check_does():
    text = texts(NAME)
    for key, sentence in (ex09.explain.choices | ex09.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    said = text["predict-text"]
    assert ex09.predict.precision in said and f"$\\beta =$ **{ex09.SHARE}**" in said
    assert f"{ex09.STEEP:g}\\,(a - {ex09.BEST})^2 + {ex09.LEVEL}" in said
    assert f"(a - {ex09.MPC_BEST})^2 + {ex09.MPC_LEVEL}" in said
    said = text["design-text"]
    for number in (ex09.BUDGET, ex09.RUNS, ex09.MOST_RIGHT, ex09.MOST_HIDDEN):
        assert f"**{number}**" in said
    assert 2.0 < ex09.HIDDEN < 2.5 and ex09.trial([(1, 20)], ex09.HIDDEN, 1)[0, 0] > 1.5
