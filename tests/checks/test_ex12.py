"""Exercise 12: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex12
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.learners.distributed import central_step
from mpcrl_course.network import average, line, mixing_matrix
from tests.notebooks import texts

NAME = "12_second_order"


# ------------------------------------------------------------------------------- what a student would also write


def test_the_predicted_number_is_what_consensus_counts():
    P, T = mixing_matrix(ex12.AGENTS, line(ex12.AGENTS)), ex12.BATCH
    matrices = average(P, np.zeros((ex12.AGENTS, T, T)), ex12.ROUNDS).messages * T * T
    errors = average(P, np.zeros(ex12.AGENTS), ex12.ROUNDS).messages
    assert matrices + errors == ex12.predict.reference


def test_the_inverse_of_a_matrix_known_by_hand():
    hessians, td = np.array([np.diag([-6.0, 1.0]), np.diag([0.0, 3.0])]), np.array([0.5, 1.0])
    # K = diag(-3, 3.5), T sigma = 0.4: the second direction is left out
    np.testing.assert_allclose(ex12.regularised_inverse(hessians, td, 0.2), np.diag([1 / 3.4, 1 / 0.4]), rtol=1e-12)


def test_the_pieces_together_are_the_central_step():
    rng = np.random.default_rng(2)
    gradients, inverses = ex12._some_agents(rng, (4, 2, 5, 3), 6)
    td, P = rng.normal(size=6), mixing_matrix(4, line(4))
    A, start = np.hstack(gradients).T @ np.hstack(gradients), 0
    for Kt in inverses:
        own = slice(start, start + len(Kt))
        A[own, own] += np.linalg.inv(Kt)
        start = own.stop
    C = ex12.shared_matrix(gradients, inverses, P, 400)
    steps = [ex12.local_step(g, Kt, C_i, td) for g, Kt, C_i in zip(gradients, inverses, C, strict=True)]
    np.testing.assert_allclose(np.concatenate(steps), np.linalg.solve(A, np.hstack(gradients).T @ td), rtol=1e-8)


def test_the_given_function_is_not_the_network_s_step_and_the_repaired_one_is():
    memories, seed, T, sigma = ex12._memory_probes(np.random.default_rng(3))[0]
    batch = np.random.default_rng(seed).choice(len(memories[0]["td"]), T, replace=False)
    central = central_step([m["g"][batch] for m in memories], [m["h"][batch] for m in memories],
                           memories[0]["td"][batch], sigma)  # fmt: skip
    central = np.concatenate(central)
    given, repaired = (
        np.concatenate(step(memories, seed, T, sigma)) for step in (ex12.network_step_as_given, ex12.network_step)
    )
    np.testing.assert_allclose(repaired, central, rtol=1e-8, atol=1e-12)
    assert np.linalg.norm(given - central) > 0.2 * np.linalg.norm(central)


def drawn_by(draw):
    """Return a network's step whose agents draw by `draw(seed, i, n, T)`."""

    def step(memories, seed, T, sigma):
        terms, parts = [], []
        for i, memory in enumerate(memories):
            batch = draw(seed, i, len(memory["td"]), T)
            g, td = memory["g"][batch], memory["td"][batch]
            Kt = ex12.regularised_inverse(memory["h"][batch], td, sigma)
            terms.append(g @ Kt @ g.T)
            parts.append((g, Kt, td))
        return [ex12.local_step(g, Kt, sum(terms), td) for g, Kt, td in parts]

    return step


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed, i, n, T: np.sort(np.random.default_rng(seed).choice(n, T, replace=False)),
        lambda seed, i, n, T: np.random.default_rng(seed).permutation(n)[:T],
        lambda seed, i, n, T: np.random.RandomState(seed).choice(n, T, replace=False),
        lambda seed, i, n, T: np.random.default_rng([seed, 5]).choice(n, T, replace=False),
    ],
    ids=["sorted", "permutation", "RandomState", "another seed"],
)
def test_matching_batches_are_right_however_they_are_drawn(draw):
    assert ex12.debug.judge(drawn_by(draw)).verdict == RIGHT


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda seed, i, n, T: np.arange(T), "All take the first T"),
        (lambda seed, i, n, T: np.arange(n - T, n), "All take the latest T"),
        (lambda seed, i, n, T: np.arange(n), "All use the whole memory"),
        (lambda seed, i, n, T: np.random.default_rng(0).choice(n, T, replace=False), "All take the same"),
        (
            lambda seed, i, n, T: np.sort(np.random.default_rng(seed + i).choice(n, T, replace=False)),
            "not the steps of",
        ),
        (lambda seed, i, n, T: np.random.default_rng(seed).integers(n, size=T), "with replacement"),
        (lambda seed, i, n, T: np.random.default_rng(seed + i).choice(n, T, replace=False), "with another seed"),
    ],
    ids=["first", "latest", "all", "seed 0", "sorted", "replaced", "seeds"],
)
def test_other_batches_are_named(draw, said):
    result = ex12.debug.judge(drawn_by(draw))
    assert result.verdict == WRONG and said in result.sentence


def test_the_given_code_is_not_attempted():
    assert ex12.debug.judge(ex12.network_step_as_given).verdict == NOT_ATTEMPTED


@pytest.mark.parametrize(
    ("number", "verdict"),
    [(406_800, RIGHT), ("406800", RIGHT), (406_800.0, RIGHT), (406_800 + 203, WRONG), (406_800 - 203, WRONG)],
)
def test_the_predicted_number_is_exact(number, verdict):
    assert ex12.predict.judge(number).verdict == verdict


@pytest.mark.parametrize("item", [ex12.shared, ex12.step], ids=["C", "step"])
def test_an_error_of_numpy_is_no_mistake_that_we_know(item):
    def columns(gradients, *others, **named):
        raise ValueError("matmul: the shapes do not fit")

    result = item.judge(columns)
    assert (result.verdict, result.mistake) == (RAISED, None)


def test_without_a_round_an_agent_knows_m_times_its_own_term():
    def scaled_by_rounds(gradients, inverses, P, rounds):
        terms = np.array([g @ Kt @ g.T for g, Kt in zip(gradients, inverses, strict=True)])
        return len(P) * average(P, terms, rounds).estimates if rounds else terms

    result = ex12.shared.judge(scaled_by_rounds)
    assert result.verdict == WRONG and "where `rounds` is 0" in result.sentence


def test_a_wrong_shape_is_said():
    result = ex12.step.judge(lambda gradients, inverse, C, td: td)
    assert result.verdict == WRONG and "shape (4,) is expected" in result.sentence


# ------------------------------------------------------------------------- the task that item 5 is pictured with


def test_the_exact_value_solves_the_bellman_equation():
    rng = np.random.default_rng(0)
    x, h = ex12.MEAN + rng.normal(size=(20, 5)), 1e-2
    ahead = ex12.MEAN + ex12.PULL * (x - ex12.MEAN)
    expected = ex12.exact_value(ahead)
    for i in range(5):  # the value is quadratic: its differences are exact, and noise adds half its curvature
        step = h * np.eye(5)[i]
        curvature = (
            ex12.exact_value(ahead + step) - 2 * ex12.exact_value(ahead) + ex12.exact_value(ahead - step)
        ) / h**2
        expected = expected + 0.5 * curvature * ex12.SPREAD[i] ** 2
    right = ex12.task_cost(x).sum(axis=1) + ex12.TASK_GAMMA * expected
    np.testing.assert_allclose(ex12.exact_value(x), right, rtol=1e-7)


def test_the_features_can_represent_it():
    data = ex12.task(seed=4)
    columns = np.hstack(data.test)
    found = np.linalg.lstsq(columns, data.value, rcond=None)[0]
    np.testing.assert_allclose(columns @ found, data.value, rtol=1e-9)


def test_enough_rounds_give_the_central_step_and_matching_batches_learn_better():
    P = mixing_matrix(5, ex12.EDGES)
    runs = [[ex12.learn(10, 2.0, 0.4, P, 200, seed, aligned) for seed in range(6)] for aligned in (True, False)]
    matching, others = ([run.error[-1] for run in part] for part in runs)
    assert max(run.off.max() for run in runs[0]) < 1e-9
    assert np.mean(matching) < 0.25 and np.mean(others) > 1.5 * np.mean(matching)


# ------------------------------------------------------------------------------------------ the design's own task


def test_what_is_heard_is_what_consensus_gives():
    P, own = mixing_matrix(3, line(3), 0.3), np.diag([1.0, 2.0, -3.0])  # column j: agent j's TD error, held by j alone
    np.testing.assert_allclose(ex12.heard(4, 0.3) @ own, 3 * average(P, own, 4).estimates, atol=1e-12)
    np.testing.assert_allclose(ex12.heard(0, 0.3), 3 * np.eye(3))
    assert ex12.numbers_of(4, 7, 5) == 35 * average(P, np.zeros(3), 4).messages


def test_without_a_round_no_number_of_samples_helps_and_two_rounds_do():
    """Zero rounds end at the Nash equilibrium of the exact problem, many at the team's optimum."""
    team = ex12.TEAM
    nash = team.cost(team.nash()) / team.cost(team.team())
    alone, two, many = (ex12.learn_together(rounds, 0.4, 4000, 12, 1.0, 5)[-1] for rounds in (0, 2, 60))
    assert nash > 1.6 and alone == pytest.approx(nash, abs=0.03)
    assert many < 1.01 and two < 1.05


def test_design_has_margin_on_hidden_recordings():
    for seed in (10, 2000, 31_000):
        for answer in ex12.design.right_answers():
            measured = ex12._hidden(answer, seed)
            assert measured["cost over the team's"] < 1.045 and measured["the worst of four"] < 1.08
    assert ex12._hidden(ex12.design.reference, 0)["numbers sent"] == 4 * 2 * 1000 * 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exploration": 0.0}, "exploration must be a positive number"),
        ({"step": np.nan}, "step must be a positive number"),
        ({"rounds": 1.5}, "rounds is a whole number"),
        ({"samples": 10**6}, "beyond any budget"),
        ({"exploration": 3.0}, "noisy enough"),
        ({"step": 0.7}, "step must lie in"),
    ],
    ids=["zero", "NaN", "fraction", "a million", "loud", "step"],
)
def test_design_of_the_wrong_form_says_so(change, said):
    result = ex12.design.judge(ex12.design.reference | change)
    assert result.verdict == RAISED and said in str(result.details)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"rounds": 0}, "nothing sent"),
        ({"rounds": 0, "samples": 1000, "iterations": 20}, "nothing sent"),
        ({"rounds": 1, "step": 0.5}, "own cost forgotten"),
        ({"rounds": 1, "step": 0.25}, "too few rounds"),
        ({"rounds": 2, "step": 0.05, "samples": 150, "iterations": 3}, "more than one knob"),
        ({"samples": 100}, "too few samples"),
        ({"iterations": 4}, "too few iterations"),
        ({"exploration": 0.1}, "exploration too quiet"),
        ({"rounds": 100}, "too many rounds"),
    ],
    ids=str,
)
def test_design_names_what_is_at_fault(change, mistake):
    assert ex12.design.judge(ex12.design.reference | change).mistake == mistake


def test_design_that_is_no_dict_says_so():
    assert "keys rounds, step, samples" in str(ex12.design.judge([10, 2.0]).details)


# ------------------------------------------------------------------------------------------------ the notebooks


def test_choices_and_numbers_in_the_notebook_are_those_of_the_check():
    text = texts(NAME)
    for key, sentence in (ex12.explain.choices | ex12.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    assert ex12.predict.precision in text["predict-text"]
    assert f"**{ex12.ROUNDS}** rounds" in text["predict-text"] and f"T = {ex12.BATCH}" in text["predict-text"]
    assert f"{ex12.PARAMETERS} parameters" in text["predict-text"] and "Ten agents" in text["predict-text"]
    assert f"**{ex12.RATIO}** times" in text["design-text"] and f"**{ex12.WORST}** times" in text["design-text"]
    assert "**80 000** numbers" in text["design-text"] and ex12.BUDGET == 80_000
    assert f"c = {ex12.TEAM.coupling}" in text["design-text"]
    assert f"exploration at most {ex12.LOUDEST:g}" in text["design-text"]
