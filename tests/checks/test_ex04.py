"""Exercise 04: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex04
from mpcrl_course.checks.engine import RIGHT, WRONG
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


def test_an_interval_may_be_an_array():
    assert ex04.honest.judge(lambda a, b: np.array(ex04.interval(a, b))).verdict == RIGHT


@pytest.mark.parametrize(
    ("limit", "kappa", "mistake"),
    [(5.9, 1.0, "looks one step ahead only"), (5.8, 0.5, None), (5.5, 0.3, "dear"), (5.6, 0.2, "dear"),
     (6.0, 0.1, "too timid")],
)  # fmt: skip
def test_filters_are_told_their_own_fault(limit, kappa, mistake):
    assert ex04.design.judge(ex04._barrier(limit, kappa)).mistake == mistake


def test_the_predicted_probability_is_that_of_a_simulation():
    hits = np.random.default_rng(0).random((20_000, ex04.RUNS)) < ex04.PROBABILITY
    assert np.mean(~hits.any(axis=1)) == pytest.approx(ex04.SEEN_NONE, abs=0.012)


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
    assert result.verdict == WRONG and "2 values are expected" in result.sentence
    result = ex04.timing.judge(lambda bench, states, warm_up: 1.0)
    assert result.verdict == WRONG and "2 are expected" in result.sentence


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
    for key, sentence in ex04.explain.choices.items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    assert f"p = {ex04.PROBABILITY}" in text["predict-text"] and f"**{ex04.RUNS}** runs" in text["predict-text"]
    assert all(f"{number:,.0f}".replace(",", r"\,") in text["predict-text"] or f"{number:,.0f}".replace(",", " ") in
               text["predict-text"] for number in (ex04.DAMAGE, ex04.USUAL))  # fmt: skip
    assert "0.2 %" in text["design-text"] and "**50** more" in text["design-text"] and "99 %" in text["design-text"]
    assert [bound for _, bound in ex04.design.targets.values()] == [0.002, 50.0, 0.99]
