"""Exercise 14: its references, and what a student may write."""

from itertools import product

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.checks import ex14
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.learners import cross_entropy, fitted_q, surrogate
from mpcrl_course.problems import quadratic
from mpcrl_course.statistics import interval, tail
from tests.notebooks import texts

NAME = "14_frontiers"

# ------------------------------------------------------------------------------ the references, against the package


def test_so_many_plans_are_left():
    """By brute force over starts as well: a plan is allowed if any starts keep all rows."""
    N, m, kept = ex14.STAGES, ex14.RUN_TIME, set()
    for on, start in product(product((0, 1), repeat=N), repeat=2):
        starts = all(start[k] >= on[k] - (on[k - 1] if k else 0) for k in range(N))
        if starts and all(sum(start[max(0, k - m + 1) : k + 1]) <= on[k] for k in range(N)):
            kept.add(on)
    assert len(kept) == ex14.predict.reference
    assert kept == {on for on in product((0, 1), repeat=N) if ex14.allowed(on, m)}
    for on in kept:  # in words: each run is as long, or reaches the end
        runs = "".join(map(str, on)).split("0")
        assert all(len(run) >= m for run in runs[:-1] if run)


def test_the_generation_is_that_of_the_package():
    for probe in ex14.generation.calls(1):
        risk, mu, sigma = ex14.moved(**probe)
        np.testing.assert_allclose(risk, [tail(costs, probe["share"]) for costs in probe["costs"]], rtol=1e-12)
        elite = probe["elite"]
        expected = cross_entropy.moved(probe["mu"], probe["sigma"], probe["z"], risk, elite)
        np.testing.assert_allclose(mu, expected[0], rtol=1e-12)
        np.testing.assert_allclose(ex14.moved(**probe | {"keep": 0.3})[2], expected[1], rtol=1e-12)


def test_the_improvement_is_that_of_the_package_and_of_sampling():
    for probe in ex14.expected.calls(1):
        found = ex14.improvement(**probe)
        np.testing.assert_allclose(found, surrogate.expected_improvement(**probe), rtol=1e-9, atol=1e-12)
        draws = np.random.default_rng(0).normal(probe["mean"], probe["deviation"], (100_000, len(found)))
        np.testing.assert_allclose(found, np.maximum(0.0, probe["best"] - draws).mean(axis=0), atol=6e-3)


def test_the_targets_are_those_of_the_package():
    for probe in ex14.fitted.calls(1):
        value = [min(q[seen]) for q, seen in zip(probe["q_next"], probe["tried"])]
        value = np.where(probe["terminated"], 0.0, value)
        expected = fitted_q.targets(probe["cost"], value, probe["terminated"], probe["gamma"])
        np.testing.assert_allclose(ex14.targets(**probe), expected, rtol=1e-12)


def test_the_given_tuner_praises_itself():
    trial, fresh, rises = ex14.Trial(), np.arange(10_000, 30_000), 0
    for seed in range(5):
        train, test = np.split(np.random.default_rng(seed).choice(5000, 20, replace=False) + 1, 2)
        for function in (ex14.tune, ex14.tune_as_given):
            history, at, judged = function(trial, 0.1, train, test, 15, 1)
            true = np.sort(trial.cost(at, fresh))[-2000:].mean()
            if function is ex14.tune:
                assert (np.diff(history) <= 0).all() and abs(judged - true) < 0.4
            else:
                rises += (np.diff(history) > 0).any()
                assert judged < true - 0.7
    assert rises == 5


# ---------------------------------------------------------------------------------------------- the MPC of the design


def test_right_numbers_are_right_and_wrong_ones_wrong_beyond_doubt():
    """Each by two standard errors of its mean over 50 runs, on another seed than the check's."""
    for z in ex14.design.right_answers():
        J = ex14.costs_of(z, seed=11)
        assert (ex14.BAR - J.mean()) / (J.std() / np.sqrt(len(J))) > 2
    for mistake in ex14.design.mistakes:
        J = ex14.costs_of(mistake.example, seed=11)
        assert (J.mean() - ex14.BAR) / (J.std() / np.sqrt(len(J))) > 2, mistake.name


def test_thirty_questions_are_enough_mostly_and_the_next_is_refused():
    from mpcrl_course.learners.tuning import SurrogateSearch

    costs = []
    for seed in range(4):
        ask = ex14.Questions(seed)
        tuner = SurrogateSearch(
            lambda z, rng, ask=ask: np.log(ask(z)),
            ex14.LINEAR_LOWER,
            ex14.LINEAR_UPPER,
            np.random.default_rng(seed),
            first=ex14.LINEAR_FIRST,
        ).run(ex14.QUESTIONS, progress=False)
        costs.append(ex14.costs_of(tuner.z, seed=1).mean())
        assert min(ask.cost) == pytest.approx(np.exp(tuner.best))
    assert np.sum(np.array(costs) <= ex14.BAR) >= 3
    with pytest.raises(RuntimeError, match="30 questions are asked"):
        ask(ex14.LINEAR_FIRST)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.zeros(4), "give five numbers"),
        ("back-off", "give five numbers"),
        ([[1.0, 2.0], [3.0]], "give five numbers"),
        ([np.nan, 0, 0, 0.25, 0.25], "not finite"),
        ([0, 0, 0, 0.25, 5.0], "B₂ lies in the box from 0.1 to 0.4"),
    ],
    ids=str,
)
def test_numbers_of_the_wrong_form_say_so(answer, said):
    result = ex14.design.judge(answer)
    assert result.verdict == RAISED and said in str(result.details)


# ---------------------------------------------------------------------------------- what the explanation says is so


def test_what_is_shipped_is_what_the_explanation_says():
    batch = places.data("batch_14.npz")
    sigma, sizes = batch["explorations"].tolist(), batch["sizes"].tolist()
    ratio, behaviour = batch["ratio"], float(batch["behaviour"])
    assert behaviour == pytest.approx(1.027, abs=5e-4)  # reason 4
    wide, narrow = ratio[sigma.index(0.3), sizes.index(1000)], ratio[sigma.index(0.01), sizes.index(100_000)]
    assert np.median(wide) == pytest.approx(1.003, abs=5e-4) and (wide < behaviour).all()
    assert np.mean(narrow > behaviour) > 0.5 and np.mean(np.isinf(narrow)) >= 0.4  # reason 6 is false
    assert (ratio[sigma.index(0.1), sizes.index(10_000)] < behaviour).all()  # reason 3


def test_the_narrow_log_knows_its_own_controller():
    K, k = np.array([[0.5, 1.5]]), np.zeros(1)
    fresh = quadratic.collect(K, k, 500, np.random.default_rng(99), 0.0)

    def own(s):
        return quadratic.features(s, -s @ K.T - k)

    right, errors, spreads, fits = own(fresh.s) @ quadratic.policy_omega(K, k), {}, {}, {}
    for sigma in (0.3, 0.01):
        error, spread, fit = [], [], []
        for seed in range(8):
            log = quadratic.collect(K, k, 10_000, np.random.default_rng(seed), sigma)
            phi = quadratic.features(log.s, log.a)
            w = fitted_q.evaluated(phi, own(log.s_next), log.cost, quadratic.DISCOUNT)
            error.append(np.sqrt(np.mean((own(fresh.s) @ w - right) ** 2)) / right.std())
            spread.append(log.s.std(axis=0))
            y = log.cost + quadratic.DISCOUNT * own(log.s_next) @ w
            fit.append(np.std(y - phi @ w) / np.std(y))
        errors[sigma], spreads[sigma], fits[sigma] = interval(error), np.mean(spread, axis=0), np.mean(fit)
    assert abs(errors[0.01].mean - errors[0.3].mean) < errors[0.01].half + errors[0.3].half  # reason 1
    np.testing.assert_allclose(spreads[0.01], [0.26, 0.20], atol=0.01)  # reason 2 is false
    np.testing.assert_allclose(spreads[0.3], [0.28, 0.22], atol=0.01)
    assert fits[0.01] < fits[0.3] * 1.2  # the fit is not to blame


def test_each_reason_of_its_own_is_judged():
    judged = {n: ex14.explain.judge(("f", [n])) for n in ex14.explain.reasons}
    assert {n for n, result in judged.items() if result.mistake is None} == set(ex14.explain.carrying)


# ------------------------------------------------------------------------------------------------- what is judged


@pytest.mark.parametrize(("number", "verdict"), [(10, RIGHT), ("10", RIGHT), (16, WRONG), (11, WRONG)])
def test_the_predicted_number(number, verdict):
    assert ex14.predict.judge(number).verdict == verdict


def test_the_given_code_is_not_attempted():
    assert ex14.debug.judge(ex14.tune_as_given).verdict == NOT_ATTEMPTED


@pytest.mark.parametrize("kept", ["tail", "seeds", "best"])
def test_one_fault_is_named_and_one_repair_too(kept):
    names = {
        "tail": ("tail on the wrong side", "only the tail repaired"),
        "seeds": ("test seeds in training", "only the seeds repaired"),
        "best": ("best-so-far not monotone", "only the best repaired"),
    }[kept]
    others = [fault for fault in ex14._FAULTS if fault != kept]
    judged = [ex14.debug.judge(ex14._with(*faults)).mistake for faults in ([kept], others)]
    assert judged == list(names)


def test_a_part_that_is_wrong_is_said():
    def shifted(**named):
        risk, mu, sigma = ex14.moved(**named)
        return risk, mu + 0.123 * sigma, sigma

    result = ex14.generation.judge(shifted)
    assert result.verdict == WRONG and result.sentence.startswith("mu is wrong, risk and sigma are right.")


def test_costs_that_are_sorted_in_place_are_no_harm():
    def in_place(mu, sigma, z, costs, elite, share, keep):
        costs.sort(axis=1)
        return ex14.moved(mu, sigma, z, costs, elite, share, keep)

    assert ex14.generation.judge(in_place).verdict == RIGHT


# --------------------------------------------------------------------------------------------------- the notebooks


def test_what_the_notebook_says_is_what_the_check_does():
    text = texts(NAME)
    for key, sentence in (ex14.explain.choices | ex14.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    assert (
        f"k = 0, \\dots, {ex14.STAGES - 1}$" in text["predict-text"]
        and f"$m = {ex14.RUN_TIME}$" in text["predict-text"]
    )
    for number in (ex14.QUESTIONS, ex14.RUNS, ex14.STEPS, ex14.BAR):
        assert f"**{number}**" in text["design-text"]
