"""Exercise 05: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex05
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.data import make_05_models
from mpcrl_course.envs.cartpole import MODEL, WEIGHTS, CartPoleParameters, dynamics
from mpcrl_course.learners import identify
from mpcrl_course.policies import hierarchical, mppi_weights, parallel
from mpcrl_course.policies.comparison import hanging_starts
from mpcrl_course.policies.sampling import MPPI
from tests.notebooks import texts

NAME = "05_architectures"


# ------------------------------------------------------------------------------ the references, against the package


def test_the_predicted_force_is_what_the_lecture_s_correction_leaves():
    x, plant = np.array([[0.1, 2.0, 0.5, 1.0]]), CartPoleParameters(coulomb=ex05.FRICTION)
    u = np.array([[ex05.DECIDED]])
    r = parallel.missing_force(x, u, dynamics(x, u, plant))
    assert r == pytest.approx(3.0, abs=0.01)
    applied = np.clip(u + ex05.SHARE * r, -plant.max_force, plant.max_force)
    # a frictionless cart under the force that is asked for moves as the plant under what is applied
    np.testing.assert_allclose(dynamics(x, u * 0 + ex05.predict.reference), dynamics(x, applied, plant), atol=2e-3)


def test_targets_are_those_of_the_package():
    f, x, u, ahead = ex05._force_on_steps(np.random.default_rng(0), 7)
    expected = parallel.missing_force(x, u, ahead, f._parameters)
    np.testing.assert_allclose(ex05.missing_force(f, x, u, ahead), expected, rtol=1e-9)


def test_the_gate_is_that_of_the_package():
    s, solve, r, _, beta = ex05._some_decisions(np.random.default_rng(0), 6)
    weights, u = ex05.decide(s, solve, r, (9.0, 0.9, 0.03), beta)
    np.testing.assert_allclose(weights, [hierarchical.gate()(one)["weights"] for one in s], rtol=1e-12)
    together = parallel.Parallel(lambda y: solve(y, weights), r, beta)(s)
    np.testing.assert_allclose(u, np.clip(together, -MODEL.max_force, MODEL.max_force), rtol=1e-12)


def test_the_plan_is_that_of_the_package():
    s, plan, noise, net, V, temperature = ex05._some_samples(np.random.default_rng(1), 6, 4)

    def step(x, u):
        return dynamics(x, u) + np.concatenate([np.zeros_like(x[..., :2]), net(ex05.features(x, u))], axis=-1)

    planner = MPPI(step, ex05.stage_cost, -15.0, 15.0, horizon=4, samples=6, temperature=temperature, terminal=V)
    a, J = planner.rollouts(s[None], plan[None, :, None])
    own = ex05.sampled_plan(s, plan, a[0, :, :, 0] - plan, net, V, temperature)
    np.testing.assert_allclose(own[0], J[0], rtol=1e-10)
    np.testing.assert_allclose(own[1], mppi_weights(J[0], temperature), rtol=1e-8)
    np.testing.assert_allclose(own[2], own[1] @ a[0, :, :, 0], rtol=1e-10)


def test_slopes_are_difference_quotients():
    rng, h = np.random.default_rng(2), 1e-6
    x, u, net = rng.normal(size=4), 3.0, ex05.some_network(rng)
    points = np.append(x, u) + h * np.concatenate([np.eye(5), -np.eye(5)])

    def slope(f):
        up, down = np.split(np.array([f(one[:4], one[4:]) for one in points]), 2)
        return (up - down).T / (2 * h)

    np.testing.assert_allclose(ex05.model_slopes(x, u), slope(dynamics), atol=1e-8)
    np.testing.assert_allclose(ex05.cost_slopes(x, u), slope(ex05.stage_cost), atol=1e-8)
    np.testing.assert_allclose(ex05.feature_slopes(x, u), slope(ex05.features), atol=1e-8)
    z = ex05.features(x, [u])
    quotients = [(net(z + e) - net(z - e)) / (2 * h) for e in h * np.eye(5)]
    np.testing.assert_allclose(net.slope(z), np.transpose(quotients), atol=1e-8)


def test_the_given_gradient_is_not_that_of_its_cost_and_the_repaired_one_is():
    s, plan, net = ex05._some_plans(np.random.default_rng(3))[1]
    for function, agrees in ((ex05.plan_gradient, True), (ex05.gradient_as_given, False)):
        quotients = [(function(s, plan + e, net)[0] - function(s, plan - e, net)[0]) / 2e-5 for e in 1e-5 * np.eye(5)]
        assert np.allclose(function(s, plan, net)[1], quotients, rtol=1e-5, atol=1e-6) == agrees
    assert abs(ex05.gradient_as_given(s, plan, net)[0] - ex05.plan_gradient(s, plan, net)[0]) > 0.1


# ------------------------------------------------------------------------------------------------- what is judged


@pytest.mark.parametrize(
    ("number", "verdict"), [(12, RIGHT), ("12.0", RIGHT), (12.04, RIGHT), (12.4, WRONG), (10, WRONG)]
)
def test_the_predicted_number(number, verdict):
    assert ex05.predict.judge(number).verdict == verdict


def test_positions_make_no_difference():
    both = ex05._target(counted=slice(None))
    assert ex05.target.judge(both).verdict == RIGHT


def test_the_given_code_is_not_attempted():
    assert ex05.debug.judge(ex05.gradient_as_given).verdict == NOT_ATTEMPTED


def test_half_of_the_repair_is_told_from_the_other():
    names = [ex05.debug.judge(answer).mistake for answer in (
        ex05._differentiated(slopes=ex05._fixed), ex05._differentiated(ex05._fed_raw, ex05._chained))]  # fmt: skip
    assert names == ["only the network's input repaired", "only the gradient repaired"]


def test_weights_that_are_overwritten_are_told():
    def decide(s, solve, r, theta, beta):
        weights, u = ex05.decide(s, solve, r, theta, beta)
        WEIGHTS[0] *= 1.0 + 1e-3  # the course's own
        return weights * WEIGHTS[0] / 0.1, u

    before = WEIGHTS.copy()
    try:
        assert ex05.decision.judge(decide).verdict == WRONG
    finally:
        WEIGHTS[:] = before


def test_a_part_that_is_wrong_is_said():
    def shifted(*call):
        J, w, plan = ex05.sampled_plan(*call)
        return J, np.roll(w, 1), plan

    result = ex05.sampling.judge(shifted)
    assert result.verdict == WRONG and result.sentence.startswith("weights is wrong, J and plan are right.")


def test_each_reason_of_its_own_is_judged():
    judged = {n: ex05.explain.judge(("d", [n])) for n in ex05.explain.reasons}
    assert {n for n, result in judged.items() if result.mistake is None} == set(ex05.explain.carrying)


# ------------------------------------------------------------------------------------------ the table of the design


def test_the_table_holds_what_the_closed_loop_does():
    """Where two swings cost nearly the same, rounding decides between them: so half of a few runs, and their gain."""
    starts = hanging_starts(20, make_05_models.SEED)[:4]
    found = {}
    for mass, friction in ((0.2, 0.0), (0.6, 1.5)):
        run = ex05.drive(mass, friction, starts)
        found[mass] = np.minimum(run.cost.sum(axis=0), ex05.MOST)
        near = np.isclose(found[mass], ex05._cost(mass, friction)[:4], rtol=0.02)
        assert near.sum() >= 2
    assert found[0.2].mean() > found[0.6].mean()


def test_the_table_is_that_of_the_script():
    runs = ex05._runs()
    np.testing.assert_array_equal(runs.mass, make_05_models.MASS)
    np.testing.assert_array_equal(runs.friction, make_05_models.FRICTION)
    assert runs.cost.shape == runs.final.shape == (12, 13, 20) and np.isfinite(runs.cost).all()


def test_the_reference_is_what_least_squares_says():
    model = identify(*ex05.transitions())
    assert ex05.design.reference == {"mass": round(model.mass, 1), "friction": round(2 * model.friction) / 2}


def test_a_gain_is_in_doubt_by_the_starts_and_the_targets_keep_away_from_it():
    """What is right gains more than half of the reference's, and what is wrong less, by a margin."""
    target = ex05.design.targets["gain over plain"][1]
    rights = [ex05.gain_over_plain(**answer) for answer in ex05.design.right_answers()]
    wrongs = [ex05.gain_over_plain(**mistake.example) for mistake in ex05.design.mistakes]
    assert min(rights) > 1.2 * target and max(wrongs) < 0.8 * target


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0.6, 1.5), "a dict with the keys"),
        ({"mass": 0.6}, "a dict with the keys"),
        ({"mass": 6.0, "friction": 1.0}, "between 0.05 and 1.25"),
        ({"mass": 0.6, "friction": -1.0}, "between 0 and 6.25"),
        ({"mass": np.nan, "friction": 1.0}, "between 0.05 and 1.25"),
    ],
    ids=str,
)
def test_design_of_the_wrong_form_says_so(answer, said):
    result = ex05.design.judge(answer)
    assert result.verdict == RAISED and said in str(result.details)


# --------------------------------------------------------------------------------------------------- the notebooks


def test_what_the_notebook_says_is_what_the_check_does():
    text = texts(NAME)
    for key, sentence in (ex05.explain.choices | ex05.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    said = text["predict-text"]
    assert ex05.predict.precision in said and f"**{ex05.FRICTION:g} N**" in said
    assert f"**{ex05.DECIDED:g} N**" in said and f"**{ex05.SHARE:g}**" in said
    assert f"min(J, {ex05.MOST:.0f})" in text["design-text"] and ex05.LEAST_SHARE == 0.5
