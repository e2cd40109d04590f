"""Exercise 03: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex03
from mpcrl_course.checks.engine import RAISED, RIGHT, WRONG
from mpcrl_course.learners import ddpg
from tests.notebooks import texts

NAME = "03_rl"


# ------------------------------------------------------------------------------- what a student would also write


def test_the_references_are_the_package_s():
    rng = np.random.default_rng(3)
    probe = ex03._target_probes(rng)[0]
    slow = probe["target_actor"], probe["target_critic"]
    ours = ddpg.critic_target(probe["cost"], probe["terminated"], probe["s_next"], *slow, probe["gamma"])
    np.testing.assert_allclose(ours, ex03.critic_target(**probe), rtol=1e-12)
    actor, critic, s, a = ex03._gradient_probes(rng)[0]
    ours = ddpg.actor_gradient(actor, critic, s)
    np.testing.assert_allclose(ours, ex03.actor_gradient(actor, critic, s, a), atol=1e-14)


def test_every_probe_of_the_target_has_all_kinds_of_ends():
    for seed in range(5):
        for probe in ex03._target_probes(np.random.default_rng(seed)):
            kinds = {(t, c) for t, c in np.hstack([probe["terminated"], probe["truncated"]])}
            assert kinds == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_the_loop_s_episodes_end_in_both_ways():
    for seed in (1, 2, 3):
        probe = ex03._collect_probes(np.random.default_rng(seed))[0]
        terminated = ex03.collect(*probe)[4]
        both = ex03._collect(*probe, ends="end")[4]
        assert terminated.sum() >= 1 and both.sum() > terminated.sum()


def test_every_probe_of_the_target_has_values_of_both_signs():
    """Else a target whose negative values are cut off is taken for right."""
    for seed in range(5):
        for probe in ex03._target_probes(np.random.default_rng(seed)):
            ahead = ex03.critic_target(**probe) - probe["cost"]
            assert (ahead > 0.01).any() and (ahead < -0.01).any()


def test_what_is_given_must_stay_as_it_is():
    def overwrites(cost, *given, **named):
        cost += ex03.critic_target(cost, *given, **named) - cost
        return cost

    def steps(actor, *given):
        slope = ex03.actor_gradient(actor, *given)
        actor.theta -= 0.1 * slope
        return slope

    for item, answer in [(ex03.target, overwrites), (ex03.gradient, steps)]:
        result = item.judge(answer)
        assert result.verdict == WRONG and "changed what it was given" in result.sentence


def test_the_number_of_states_or_actions_is_not_built_in():
    """Of 3 states and 2 actions."""

    def gradient(actor, critic, s, a_replayed):
        a, tape = actor.forward(s)
        _, dx = critic.backward(critic.forward(s, a)[1], np.ones((len(s), 1)) / len(s))
        return actor.backward(tape, dx[:, 3:] if s.shape[1] == 3 else dx[:, -2:] if a.shape[1] == 2 else 0 * a)[0]

    assert ex03.gradient.judge(gradient).verdict == WRONG


@pytest.mark.parametrize("item, answer", [
    (ex03.target, lambda *given, **named: ex03.critic_target(*given, **named).astype(np.float32)),
    (ex03.gradient, lambda *given: ex03.actor_gradient(*given).astype(np.float32)[:, None]),
    (ex03.soft, lambda target, theta, tau: [float(np.float32(v)) for v in ex03.soft_update(target, theta, tau)]),
    (ex03.debug, lambda *given: dict(zip(("s", "a", "cost", "s_next", "terminated"), ex03.collect(*given)))),
    (ex03.design, lambda x: ex03.energy_rule(x)[:, None]),
])  # fmt: skip
def test_other_forms_of_a_right_answer_are_right(item, answer):
    assert item.judge(answer).verdict == RIGHT


def test_a_wrong_shape_is_said():
    result = ex03.target.judge(lambda **probe: ex03.critic_target(**probe)[:, 0])
    assert result.verdict == WRONG and "shape (6, 1)" in result.sentence
    result = ex03.gradient.judge(lambda actor, critic, s, a: actor.backward(actor.forward(s)[1], np.ones((1, 7)))[0])
    assert result.verdict == RAISED


def _pump(x):
    return 2 * np.where(x[:, 1] >= 0, 1, -1) * np.sign(10 - ex03.energy(x))


@pytest.mark.parametrize("rule, mistake", [
    (lambda x: -2 * np.sign(ex03.wrap(x[:, 0]) + 0.3 * x[:, 1]), "no swing-up"),  # damped, saturated
    (lambda x: -(200 * ex03.wrap(x[:, 0]) + 2 * x[:, 1]), "no swing-up"),
    (_pump, "not caught"),
    (lambda x: np.sign(x[:, 1]) * np.abs(_pump(x)) * np.sign(10 - ex03.energy(x)), "not caught"),  # 0 at rest, but goes
    (lambda x: np.random.uniform(-2, 2, len(x)), "dice"),  # noqa: NPY002
    (lambda x: np.random.default_rng(4).uniform(-2, 2, len(x)), "depends on the other rows"),
    (lambda x: np.where(x[0, 0] > 1, 1.0, -1.0) * np.ones(len(x)), "depends on the other rows"),
    (ex03._made(pump=0.4), "too weak a push"),
    (ex03._made(kv=0.0, near=0.3), "no damping"),
    (ex03._made(top=7.0), "stops pumping too early"),
])  # fmt: skip
def test_rules_are_told_their_own_fault(rule, mistake):
    assert ex03.design.judge(rule).mistake == mistake


def test_design_has_margin_on_hidden_starts_and_says_what_it_measured():
    for seed in (10, 2000, 31_000):
        measured = ex03.measure(ex03.energy_rule, seed)
        assert measured["mean cost of 10 s"] < 175 and measured["upright in the last second"] == 1.0
    assert ex03.design.judge(ex03.energy_rule).verdict == RIGHT
    assert "hand in the function" in str(ex03.design.judge(3.0).details)


# ------------------------------------------------------------------------------------------------ the notebooks


def test_choices_and_numbers_in_the_notebook_are_those_of_the_check():
    text = texts(NAME)
    said = text["explain-text"].replace("$", "").replace("^+", "⁺")
    for key, sentence in (ex03.explain.choices | ex03.explain.reasons).items():
        assert f"- **{key}** {sentence}\n" in said
    assert ex03.predict.precision in text["predict-text"]
    row = [float(cell) for cell in text["predict-text"].split("|\n")[2].strip("| ").split("|")]
    assert row == [ex03.COST, ex03.GAMMA, ex03.Q_HERE, *ex03.Q_NEXT.values(), ex03.LEAST]
