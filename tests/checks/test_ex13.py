"""Exercise 13: its references against agents with names, and what a student may write."""

from itertools import product
from math import comb

import numpy as np
import pytest

from mpcrl_course.checks import ex13
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.population import (
    all_counts,
    deployed,
    deployed_value,
    faulty,
    formation,
    hypergeometric,
    number,
    plan,
    rank,
    rendezvous,
    sampled_policy,
    tie,
)
from tests.notebooks import texts

NAME = "13_mean_field"


# --------------------------------------------------------------------------------- the references, independently


def test_the_predicted_number_is_counted_over_all_joint_moves():
    moves = np.array(list(product(range(3), repeat=ex13.AGENTS)))
    asked = [(moves == i).sum(axis=1) == m for i, m in enumerate(ex13.ASKED)]
    chance = ex13.LAW[moves].prod(axis=1)[np.all(asked, axis=0)].sum()
    assert chance == pytest.approx(ex13.predict.reference, rel=1e-12)
    np.testing.assert_allclose(formation(noise=ex13.NOISE).P_l[1, 2, 1], ex13.LAW, atol=1e-15)


def test_eight_agents_stay_with_the_eighth_power_and_a_block_with_the_first():
    P = formation(noise=ex13.NOISE).P_l[:, 2]
    T = np.zeros((3, 3), dtype=int)
    T[1, 1] = 8
    stay = rank([0, 8, 0])
    assert ex13.next_counts(T, P)[stay] == pytest.approx(0.8**8, rel=1e-12)  # 0.168
    block = faulty.one_draw(T.reshape(1, 9), P.reshape(1, 9, 3))[0]
    assert block[stay] == pytest.approx(0.8, rel=1e-12)
    kept = all_counts(8, 3)[:, 1]
    means = [law @ kept for law in (ex13.next_counts(T, P), block)]
    np.testing.assert_allclose(means, 6.4, rtol=1e-12)


def test_the_law_is_that_of_all_joint_moves():
    for T, P in ex13.law.calls(5):
        agents = [cell for cell in np.ndindex(*T.shape) for _ in range(T[cell])]
        found = np.zeros(number(len(agents), len(T)))
        for ahead in product(range(len(T)), repeat=len(agents)):
            chance = np.prod([P[cell][i] for cell, i in zip(agents, ahead, strict=True)])
            found[rank(np.bincount(ahead, minlength=len(T)))] += chance
        np.testing.assert_allclose(ex13.next_counts(T, P), found, atol=1e-12)


def test_value_iteration_is_that_of_agents_with_names_and_of_the_package():
    model, k = rendezvous(sites=2), 2
    G, _, S, _ = model.sizes
    V = np.zeros((G, number(k, S)))
    for named in ex13.labelled_value(model, k, 9):
        rows = [
            [
                ex13.best_value(V, c, model.P_g[g], model.P_l[:, g], model.r_g[g], model.r_l[:, g], model.gamma)
                for c in all_counts(k, S)
            ]
            for g in range(G)
        ]
        V = np.array(rows)
        for g, *s in np.ndindex(*named.shape):
            assert named[(g, *s)] == pytest.approx(V[g, rank(np.bincount(s, minlength=S))], abs=1e-12)
    np.testing.assert_allclose(V, plan(model, k, evaluate=False, sweeps=9).V, atol=1e-10)


def test_the_mixture_is_what_the_package_plays():
    model, C, k = rendezvous(), np.array([3, 1, 2]), 4
    planned = plan(model, k)
    mu = sampled_policy(planned).private(C[None])[0]
    for s_g, s in ((0, 0), (3, 1), (5, 2)):
        np.testing.assert_allclose(ex13.acts(planned.T[s_g], C, s, k), mu[s_g, 0, s], atol=1e-12)


def test_at_k_equal_to_n_the_plan_is_played_to_the_letter_only_without_the_fault():
    T, C, s, k = ex13.sample.calls(0)[-1]
    assert C.sum() == k
    played = T[rank(C), s] / C[s]
    np.testing.assert_allclose(ex13.acts(T, C, s, k), played, atol=1e-12)
    assert np.abs(ex13.acts_as_given(T, C, s, k) - played).max() > 0.02


def test_the_crowd_of_the_notebook_meets_only_without_the_fault():
    C, mu, P = np.array([2, 2]), np.eye(2), np.eye(2)[np.array([[0, 1], [1, 0]])]
    assert ex13.crowd_law(C, mu, P)[rank([4, 0])] == 1.0
    np.testing.assert_allclose(ex13.crowd_law_as_given(C, mu, P), np.array([1, 4, 6, 4, 1]) / 16)


# ------------------------------------------------------------------------------------ what a student would also write


@pytest.mark.parametrize(("answer", "verdict"), [(0.147, RIGHT), ("0.15", RIGHT), ("0,147", RIGHT), (0.155, WRONG)])
def test_the_predicted_number_may_be_rounded(answer, verdict):
    assert ex13.predict.judge(answer).verdict == verdict


@pytest.mark.parametrize("item", [ex13.margins, ex13.sample], ids=["margins", "sample"])
def test_the_given_code_is_not_attempted(item):
    assert item.judge(item.given).verdict == NOT_ATTEMPTED


@pytest.mark.parametrize(
    ("item", "change", "said"),
    [
        (ex13.law, lambda law, T, P: 2 * law, "2 times what is expected"),
        (ex13.law, lambda law, T, P: law[:-1], "is expected"),
        (ex13.backup, lambda Q, V, **rest: Q + 1.0, "1"),
        (ex13.sample, lambda mu, T, C, s, k: mu[::-1], "order"),
    ],
    ids=["twice", "too few", "one more", "reversed"],
)
def test_a_slip_on_no_list_is_located(item, change, said):
    def answer(*args, **named):
        return change(item.reference(*args, **named), *args, **named)

    result = item.judge(answer)
    assert (result.verdict, result.mistake) == (WRONG, None) and said in result.sentence


def test_probes_of_the_backup_have_both_signs_and_a_state_without_agents():
    for seed in range(4):
        probes = ex13.backup.calls(seed)
        best = [ex13.best_value(**probe) for probe in probes]
        assert min(best) < -0.5 and max(best) > 0.5 and any(min(probe["c"]) == 0 for probe in probes)


def test_k_others_stop_where_everybody_is_seen():
    def k_others(T, C, s, k):
        others, mu = C - np.eye(len(C), dtype=int)[s], 0.0
        for h in all_counts(k, len(C)):
            ways = np.prod([comb(m, j) for m, j in zip(others.tolist(), h.tolist(), strict=True)])
            mu = mu + int(ways) / comb(int(others.sum()), k) * T[rank(h), s] / max(h[s], 1)
        return mu

    result = ex13.sample.judge(k_others)
    assert (result.verdict, result.mistake) == (RAISED, "k others")


# ----------------------------------------------------------------------------------------- the rules of the design


def test_the_convention_is_measured_as_the_package_does_and_has_margin():
    for answer in ex13.design.right_answers():
        measured = ex13.lost(**answer)
        assert measured["lost after a storm"] < 0.9 * ex13.STORM
        assert measured["lost by those who have met"] < 0.9 * ex13.TOGETHER


def test_the_plans_of_small_samples_miss_the_target():
    best = ex13._best_plan().start_value()
    gaps = [best - deployed(sampled_policy(plan(rendezvous(), k)), ex13.CROWD) for k in range(1, ex13.MOST + 1)]
    assert min(gaps) > 5 * ex13.STORM


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"k": 0}, "k must be a whole number from 1 to 14"),
        ({"k": 2.5}, "whole number"),
        ({"act": 3}, "act must be a function"),
        ({"act": lambda s, s_g, h: 3}, "returned action 3"),
        ({"lead": lambda s_g, c: [0.5, 0.2, 0.2]}, "no probabilities"),
        ({"act": lambda s, s_g, h: None}, "act function"),
    ],
    ids=["none", "half", "number", "no site", "no law", "nothing"],
)
def test_a_rule_of_the_wrong_form_says_so(change, said):
    result = ex13.design.judge(ex13.design.reference | change)
    assert result.verdict == RAISED and said in str(result)


def test_a_rule_that_is_no_dict_says_so():
    assert "keys k, act and lead" in str(ex13.design.judge([1, 2]))


def test_a_rule_that_asks_more_than_it_may_and_loses_little_is_told_the_number():
    assert ex13.design.judge(ex13.design.reference | {"k": 5}).mistake == "too many seen"


# ----------------------------------------------------------------------------------------------- what the tie does


@pytest.mark.parametrize("k", [3, 9])
def test_reasons_that_carry_are_true(k):
    counts = all_counts(k, 2)
    assert (counts[:, 0] != counts[:, 1]).all()  # 1: odd, so no tie
    law = hypergeometric([10, 10], k)
    assert law @ (counts[:, 0] > k / 2) == pytest.approx(0.5, abs=1e-12)  # 3: as many here as there
    n, half = 20, int(rank([10, 10]))
    V = plan(tie(), n).V
    assert V[0, half] == pytest.approx(V[1, half], abs=1e-9)  # 6: either site is as good
    policy = sampled_policy(plan(tie(), k))
    assert V[0, half] - deployed_value(policy, n, "shared")[0, half] < 1e-6  # 4: all see the same majority
    assert V[0, half] - deployed_value(policy, n)[0, half] > 0.5


# ------------------------------------------------------------------------------------------------- the notebooks


def test_choices_and_numbers_in_the_notebook_are_those_of_the_check():
    text = texts(NAME)
    for key, sentence in (ex13.explain.choices | ex13.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    assert ex13.predict.precision in text["predict-text"] and "**Eight** agents" in text["predict-text"]
    assert ex13.AGENTS == 8 and ex13.ASKED == [1, 6, 1] and "20 % noise" in text["predict-text"]
    design = text["design-text"]
    assert f"**{ex13.CROWD}** agents" in design and f"at most **{ex13.STORM}**" in design
    assert f"at most **{ex13.TOGETHER}**" in design and f"at most **{ex13.MOST}**" in design
    assert f"= {ex13._best_plan().start_value():.2f} is lost" in design
