"""Exercise 03: its references, and what a student may write."""

import numpy as np

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
        both = ex03._collect(*probe, ends="both")[4]
        assert terminated.sum() >= 1 and both.sum() > terminated.sum()


def test_a_wrong_shape_is_said():
    result = ex03.target.judge(lambda **probe: ex03.critic_target(**probe)[:, 0])
    assert result.verdict == WRONG and "shape (6, 1)" in result.sentence
    result = ex03.gradient.judge(lambda actor, critic, s, a: actor.backward(actor.forward(s)[1], np.ones((1, 7)))[0])
    assert result.verdict == RAISED


def test_no_damping_is_said_of_rules_without_damping_only():
    damped = [
        lambda x: -2 * np.sign(ex03.wrap(x[:, 0]) + 0.3 * x[:, 1]),  # saturated
        lambda x: -(200 * ex03.wrap(x[:, 0]) + 2 * x[:, 1]),
        lambda x: 2 * np.where(x[:, 1] >= 0, 1, -1) * np.sign(10 - ex03.energy(x)),  # pumping alone, uncaught
    ]
    assert [ex03.design.judge(rule).mistake for rule in damped] == [None] * 3
    assert ex03.design.judge(ex03._made(kv=0.0, near=0.3)).mistake == "no damping"


def test_design_has_margin_on_hidden_starts_and_says_what_it_measured():
    for seed in (10, 2000, 31_000):
        measured = ex03.measure(ex03.energy_rule, seed)
        assert measured["mean cost of 10 s"] < 175 and measured["upright in the last second"] == 1.0
    assert ex03.design.judge(ex03.energy_rule).verdict == RIGHT
    assert "hand in the function" in str(ex03.design.judge(3.0).details)


# ------------------------------------------------------------------------------------------------ the notebooks


def test_choices_and_numbers_in_the_notebook_are_those_of_the_check():
    text = texts(NAME)
    for sentence in ex03.explain.choices.values():
        assert sentence.split(":")[0] in text["explain-text"].replace("$", "").replace("\\", "")
    row = [float(cell) for cell in text["predict-text"].split("|\n")[2].strip("| ").split("|")]
    assert row == [ex03.COST, ex03.GAMMA, ex03.Q_HERE, *ex03.Q_NEXT.values(), ex03.LEAST]
