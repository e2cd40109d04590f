"""Exercise 04: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex04
from mpcrl_course.checks.engine import RAISED, RIGHT, WRONG
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import Noise, violations
from mpcrl_course.statistics import difference
from tests.notebooks import texts

NAME = "04_mpc_vs_rl"


# ------------------------------------------------------------------------------- what a student would also write


def test_the_interval_is_the_package_s():
    a, b = ex04._interval_probes(np.random.default_rng(0))[0]
    ours = difference(a, b)
    np.testing.assert_allclose(ex04.interval(a, b), (ours.mean, ours.half), rtol=1e-12)


TABLE = {4: 3.182, 5: 2.776, 8: 2.365}  # t of 0.975 for n − 1, as printed


def _by_table(a, b):
    d = (a - b).mean(axis=1)
    return {"mean": d.mean(), "half_width": TABLE[len(d)] * d.std(ddof=1) / len(d) ** 0.5}


def _times(bench, states, warm_up):
    times = []
    for state in states:
        began = bench.clock()
        bench.decide(state)
        times.append(1e3 * (bench.clock() - began))
    return times[warm_up:]


QUANTILES = ("linear", "higher", "lower", "nearest", "hazen", "weibull", "median_unbiased", "inverted_cdf")


@pytest.mark.parametrize("item, answer", [
    (ex04.honest, lambda a, b: np.array(ex04.interval(a, b))),
    (ex04.honest, lambda a, b: np.array([ex04.interval(a, b)])),
    (ex04.honest, _by_table),
    *[(ex04.timing, lambda *given, method=method: np.quantile(_times(*given), [0.5, 0.99], method=method))
      for method in QUANTILES],
    (ex04.timing, lambda *given: {"median": np.median(_times(*given)), "quantile": ex04.decision_time(*given)[1]}),
    (ex04.experiment, lambda *given: dict(zip(("before", "right_after", "adapted", "back"), ex04.adaptation(*given)))),
    (ex04.experiment, lambda *given: np.float32(ex04.adaptation(*given)).astype(float)),
    (ex04.debug, lambda *given: {name: np.array(parts) for name, parts in ex04.compare(*given).items()}),
    (ex04.design, lambda x, u: ex04.safe(x, u)[:, None]),
])  # fmt: skip
def test_other_forms_of_a_right_answer_are_right(item, answer):
    assert item.judge(answer).verdict == RIGHT


def test_a_state_is_decided_as_it_is():
    """The time of a decision depends on its state, so that a decision in another state is seen."""

    class Turned:
        def __init__(self, bench):
            self.clock, self.decide = bench.clock, lambda state: bench.decide(-state)

    assert ex04.timing.judge(lambda bench, *given: ex04.decision_time(Turned(bench), *given)).verdict == WRONG


def test_what_adapt_returns_is_told_by_itself_only():
    def in_words(policy, cost, adapt, old, new):
        return cost("policy", old)

    result = ex04.experiment.judge(lambda policy, cost, adapt, old, new: cost(adapt(policy, new), new))
    assert (result.verdict, result.mistake) == (RAISED, "`adapt` returns nothing")
    result = ex04.experiment.judge(in_words)
    assert (result.verdict, result.mistake) == (RAISED, None) and "was given a str" in dict(result.details)["error"]


def test_what_is_given_must_stay_as_it_is():
    def overwrites(a, b):
        a -= b
        return ex04.interval(a, 0 * b)

    result = ex04.honest.judge(overwrites)
    assert result.verdict == WRONG and "changed an array it was given" in result.sentence


@pytest.mark.parametrize(
    ("limit", "kappa", "mistake"),
    [(5.9, 1.0, "looks one step ahead only"), (5.8, 0.5, "not enough"), (5.5, 0.3, "dear"), (5.6, 0.2, "dear"),
     (6.0, 0.1, "too timid"), (4.0, 0.3, "too timid")],
)  # fmt: skip
def test_filters_are_told_their_own_fault(limit, kappa, mistake):
    assert ex04.design.judge(ex04._barrier(limit, kappa)).mistake == mistake


def _brakes_beyond(speed):
    return lambda x, u: np.where(np.abs(x[:, 1]) > speed, -2 * np.sign(x[:, 1]), u)


@pytest.mark.parametrize("filtered, mistake", [
    (lambda x, u: -0.5 * x[:, 1], "ignores the network"),
    (lambda x, u: sum(ex04.barrier_torques(x, 5.8, 0.4)) / 2, "ignores the network"),
    (lambda x, u: np.maximum(np.minimum(u, ex04.barrier_torques(x, 5.8, 0.4)[0]), ex04.barrier_torques(x, 5.8, 0.4)[1]),
     "bounds swapped"),
    (lambda x, u: np.full(len(x), -2.0), "bounds swapped"),  # nor can it be told from that
    (_brakes_beyond(5.0), "a switch"),
    (_brakes_beyond(3.0), "too timid"),
    (_brakes_beyond(6.0), "brakes when it is too late"),
    (lambda x, u: np.where(np.abs(x[:, 1]) > 5, 0.0, u), "lets go"),
    (lambda x, u: np.where(np.abs(x[:, 1]) > 5, 2.0 * np.sign(x[:, 1]), u), "with the velocity"),
])  # fmt: skip
def test_other_rules_are_told_their_own_fault(filtered, mistake):
    assert ex04.design.judge(filtered).mistake == mistake


def test_the_predicted_probability_is_that_of_a_simulation():
    hits = np.random.default_rng(0).random((20_000, ex04.RUNS)) < ex04.PROBABILITY
    assert np.mean(~hits.any(axis=1)) == pytest.approx(ex04.SEEN_NONE, abs=0.01)


def test_the_harness_is_the_package_s():
    """Cost and violations of `compare` are those of `closed_loop.run` with the same random numbers."""
    controllers, plant, starts, steps, seed = ex04._compare_probes(np.random.default_rng(1))[0]
    rng, n = np.random.default_rng(seed), len(starts)
    drawn = [(rng.standard_normal((n, 2)), rng.standard_normal(n)) for _ in range(steps)]
    seen, pushed = (np.array(part) for part in zip(*drawn, strict=True))
    noise = Noise(torque=pushed, measurement=seen, kicks=np.zeros((steps, n)))
    for name, (cost, beyond) in ex04.compare(controllers, plant, starts, steps, seed).items():
        found = run(controllers[name], plant, starts, noise)
        np.testing.assert_allclose(cost, found.cost.sum(0), rtol=1e-12)
        np.testing.assert_allclose(beyond, violations(found.x, ex04.SPEED_LIMIT), atol=1e-12)


def test_the_biased_harness_differs_between_twins_and_the_repaired_one_does_not():
    _, plant, starts, steps, seed = ex04._compare_probes(np.random.default_rng(2))[0]
    twins = {"one": ex04.Linear(9, 2), "other": ex04.Linear(9, 2)}
    given, fair = (f(twins, plant, starts, steps, seed) for f in (ex04.compare_as_given, ex04.compare))
    np.testing.assert_array_equal(fair["one"], fair["other"])
    np.testing.assert_array_equal(given["one"], fair["one"])
    assert np.abs(given["one"][0] - given["other"][0]).max() > 0.1


def test_the_adaptation_s_policy_changes_in_place():
    policy, cost, adapt, old, new = ex04._adaptation_probes(np.random.default_rng(0))[0]
    before, after, adapted, back = ex04.adaptation(policy, cost, adapt, old, new)
    assert adapted < after and before < back and policy.gain > old


def test_a_wrong_shape_is_said():
    result = ex04.honest.judge(lambda a, b: (a - b).mean(axis=1))
    assert result.verdict == WRONG and "has 5 values; 2 are expected" in result.sentence
    result = ex04.timing.judge(lambda bench, states, warm_up: 1.0)
    assert result.verdict == WRONG and "2 values are expected" in result.sentence


def test_design_has_margin_on_hidden_noise_and_says_what_it_measured():
    for seed in (10, 2000, 31_000):
        measured = ex04.measure(ex04.safe, seed)
        assert measured["steps beyond 6 rad/s"] < 0.0015 and measured["extra cost"] < 42.0
        assert measured["upright in the last second"] == 1.0
        alone = ex04.measure(lambda x, u: u, seed)
        assert 0.015 < alone["steps beyond 6 rad/s"] < 0.03 and alone["extra cost"] == 0.0
    assert ex04.design.judge(ex04.safe).verdict == RIGHT
    assert "hand in the function" in str(ex04.design.judge(3.0).details)


# ------------------------------------------------------------------------------------------------ the notebooks


def test_choices_and_numbers_in_the_notebook_are_those_of_the_check():
    text = texts(NAME)
    for key, sentence in (ex04.explain.choices | ex04.explain.reasons).items():
        assert f"- **{key}** {sentence}\n" in text["explain-text"]
    assert ex04.predict.precision in text["predict-text"]
    assert f"p = {ex04.PROBABILITY}" in text["predict-text"] and f"**{ex04.RUNS}** runs" in text["predict-text"]
    assert all(f"{number:,.0f}".replace(",", r"\,") in text["predict-text"] or f"{number:,.0f}".replace(",", " ") in
               text["predict-text"] for number in (ex04.DAMAGE, ex04.USUAL))  # fmt: skip
    assert "0.2 %" in text["design-text"] and "**50** more" in text["design-text"] and "99 %" in text["design-text"]
    assert [bound for _, bound in ex04.design.targets.values()] == [0.002, 50.0, 0.99]
