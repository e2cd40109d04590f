"""Exercise 11: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex11
from mpcrl_course.checks.engine import RAISED, RIGHT, WRONG
from mpcrl_course.network import ADMM, average, neighbours_of, ring
from tests.notebooks import texts

NAME = "11_distributed"


# ------------------------------------------------------------------------------- what a student would also write


def test_the_predicted_number_is_that_of_a_simulation():
    r = np.array([2.0, -7.0, 4.0, 9.0, 1.0])
    z, y, iterations = 0.0, np.zeros(5), 0
    while abs(z - r.mean()) > ex11.LEFT * abs(r.mean()):
        c = (r + ex11.RHO * z - y) / (1 + ex11.RHO)
        z = np.mean(c + y / ex11.RHO)
        y, iterations = y + ex11.RHO * (c - z), iterations + 1
    assert iterations == ex11.predict.reference


@pytest.mark.parametrize("rho", [0.5, 1.0, 3.0])
def test_the_iteration_arrives_where_one_central_solve_does(rho):
    neighbours, rng = neighbours_of(5, ring(5)), np.random.default_rng(1)
    agents, hold = ex11.quadratic_network(neighbours, rng), ex11.holders_of(neighbours)
    y, z = [rng.normal(size=len(own)) for own in hold], rng.normal(size=5)
    for _ in range(400):
        c, y, z = ex11.admm_iteration(agents, hold, y, z, rho)
    best = ex11.joint_minimum(agents, hold)
    np.testing.assert_allclose(z, best, atol=1e-9)
    for own, c_i, y_i, agent in zip(hold, c, y, agents, strict=True):
        np.testing.assert_allclose(c_i, best[own], atol=1e-9)
        np.testing.assert_allclose(agent.H @ c_i + agent.h + y_i, 0.0, atol=1e-8)  # y is what agreeing costs


def test_the_td_error_is_averaged_as_the_package_does():
    probe = ex11._estimates_probes(np.random.default_rng(0))[1]
    terms = probe["cost"] + probe["gamma"] * probe["v_next"] - probe["q"]
    ours = len(terms) * average(probe["P"], terms, probe["rounds"]).estimates
    np.testing.assert_allclose(ex11.td_estimates(**probe), ours, rtol=1e-12)


def test_the_chain_s_value_solves_its_bellman_equation():
    x, cost = ex11.chain_record(seed=3, steps=50)
    gamma, v = ex11.CHAIN_GAMMA, ex11.chain_value()
    constant = gamma * v.sum() / (1 - gamma)  # E e_i^2 = 1
    value = x[:-1] ** 2 @ v + constant
    ahead = (ex11.PULL * x[:-1]) ** 2 @ v + v.sum() + constant
    np.testing.assert_allclose(value, cost.sum(axis=1) + gamma * ahead, rtol=1e-12)


def test_the_given_loop_learns_another_value_and_the_repaired_one_learns_it():
    learned = {}
    for loop in (ex11.learn_as_given, ex11.learn):
        runs = [loop(np.zeros((4, 2)), *ex11.chain_record(seed, 8000), ex11.CHAIN_GAMMA, 0.002) for seed in range(5)]
        learned[loop.__name__] = np.mean(runs, axis=0)[:, 1]
    error = {name: np.linalg.norm(v - ex11.chain_value()) / np.linalg.norm(ex11.chain_value())
             for name, v in learned.items()}  # fmt: skip
    assert error["learn"] < 0.15 and error["learn_as_given"] > 0.6


def test_a_message_names_the_parts_that_differ():
    def only_the_own_price_climbs(agents, hold, y, z, rho):
        c, climbed, z = ex11.admm_iteration(agents, hold, y, z, rho)
        return c, [np.append(new[:1], old[1:]) for new, old in zip(climbed, y, strict=True)], z

    result = ex11.admm.judge(only_the_own_price_climbs)
    assert result.mistake is None and result.sentence.startswith("y is wrong, c and z are right.")
    assert "2 values; 3 are expected" in ex11.admm.judge(lambda agents, hold, y, z, rho: (y, z)).sentence


@pytest.mark.parametrize(("number", "verdict"), [(44, RIGHT), ("44", RIGHT), (43, WRONG), (45, WRONG), (43.7, WRONG)])
def test_the_predicted_number_is_exact(number, verdict):
    assert ex11.predict.judge(number).verdict == verdict


def test_of_21_iterations_no_more_is_said_than_is_true():
    assert ex11.predict.judge(21).sentence.startswith("A little more than a tenth")
    assert 0.1 < 0.9**21 < 0.11 and 0.9**22 < 0.1


@pytest.mark.parametrize("values", [lambda P: P @ P, lambda P: P.T @ P], ids=["P P", "PᵀP"])
def test_the_squared_rate_is_not_taken_for_a_forgotten_modulus(values):
    def metropolis(neighbours):
        P, _ = ex11.metropolis(neighbours)
        return P, np.sort(np.abs(np.linalg.eigvals(values(P))))[-2]

    result = ex11.mixing.judge(metropolis)
    assert result.mistake is None and "rate is wrong, P is right. Yours is the square" in result.sentence


@pytest.mark.parametrize("value", [np.nan, True, None, "P", {"P": 1}, np.array([["a"]])], ids=repr)
def test_an_odd_part_of_an_iteration_is_said(value):
    def odd(agents, hold, y, z, rho):
        return ex11.admm_iteration(agents, hold, y, z, rho)[:2] + (value,)

    assert ex11.admm.judge(odd).verdict == WRONG


@pytest.mark.parametrize("bare", [np.asmatrix, np.float32], ids=["matrix", "float32"])
def test_other_kinds_of_arrays_are_as_good(bare):
    P_and_rate = ex11.mixing.judge(lambda neighbours: [bare(part) for part in ex11.metropolis(neighbours)])
    estimates = ex11.consensus.judge(lambda *args, **named: bare(ex11.td_estimates(*args, **named)))
    assert P_and_rate.verdict == estimates.verdict == RIGHT


def test_a_wrong_shape_is_said():
    result = ex11.admm.judge(lambda agents, hold, y, z, rho: z)
    assert result.verdict == WRONG and "3" in result.sentence
    result = ex11.consensus.judge(lambda cost, v_next, q, gamma, P, rounds: (cost + gamma * v_next - q).sum())
    assert result.verdict == WRONG and "shape (3,)" in result.sentence


def test_design_has_margin_on_hidden_states():
    for seed in (10, 2000, 31_000):
        for answer in ex11.design.right_answers():
            measured = ex11.measure(seed=seed, **answer)
            assert measured["error of the action"] < 0.0035 and measured["disagreement left"] < 0.0085
        assert ex11.action_error(0.3, 28, ex11.some_states(seed)) > 0.02
        assert ex11.action_error(50.0, 28, ex11.some_states(seed)) > 0.05
    assert ex11.measure(seed=0, **ex11.design.reference)["messages per step"] == 8 * 28 + 4 * 12
    published = ex11.design.judge({"rho": 1.0, "iterations": 100, "P": ex11.mixing_matrix(3, ex11.EDGES, 0.25),
                                   "rounds": 100})  # fmt: skip
    assert "1200 (target <= 300: missed)" in str(published.details)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rho": -1.0}, "positive"),
        ({"rho": np.nan}, "positive"),
        ({"iterations": 2.5}, "whole numbers"),
        ({"rounds": 100_000}, "beyond any budget"),
        ({"P": np.eye(4)}, "three agents"),
    ],
    ids=["negative", "NaN", "fraction", "endless", "shape"],
)
def test_design_of_the_wrong_form_says_so(change, said):
    result = ex11.design.judge(ex11.design.reference | change)
    assert result.verdict == RAISED and said in str(result.details)
    assert ex11.design.judge(ex11.design.reference).verdict == RIGHT


@pytest.mark.parametrize("P", [np.ones((3, 3)) / 3, ex11.mixing_matrix(3, ring(3))], ids=["everybody", "ring"])
def test_messages_go_only_along_the_edges(P):
    result = ex11.design.judge(ex11.design.reference | {"P": P, "rounds": 1})
    assert (result.verdict, result.mistake) == (WRONG, "talking to strangers")


def test_a_rounded_mixing_matrix_will_do():
    third = 0.3333
    P = [[0.6667, third, 0], [third, third, third], [0, third, 0.6667]]
    assert ex11.design.judge(ex11.design.reference | {"P": P}).verdict == RIGHT
    np.testing.assert_allclose(ex11.as_mixing_matrix([[0.5, 0.5, 0], [0.5, 0, 0.5004], [0, 0.5, 0.5]]).sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"rho": 50.0, "iterations": 5}, "too few iterations"),
        ({"rho": 0.5, "iterations": 5}, "too few iterations"),
        ({"rho": 9.0}, "ρ too large"),
        ({"rho": 1.0}, "ρ too small"),
        ({"iterations": 60, "rounds": 26}, "too many iterations"),
        ({"iterations": 30, "rounds": 26}, "too many rounds"),
    ],
    ids=lambda value: str(value),
)
def test_design_names_what_is_at_fault(change, mistake):
    assert ex11.design.judge(ex11.design.reference | change).mistake == mistake


def test_design_that_is_no_dict_says_so():
    assert "keys rho, iterations, P and rounds" in str(ex11.design.judge((4.0, 28)).details)


# ------------------------------------------------------------------------------------------------ the notebooks


def test_choices_and_numbers_in_the_notebook_are_those_of_the_check():
    text = texts(NAME)
    for key, sentence in (ex11.explain.choices | ex11.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    assert ex11.predict.precision in text["predict-text"]
    assert f"rho = {ex11.RHO:.0f}" in text["predict-text"] and "**1 %**" in text["predict-text"]
    assert f"**{ex11.ACTION}**" in text["design-text"] and f"**{ex11.BUDGET}** messages" in text["design-text"]
    assert f"**{100 * ex11.DISAGREEMENT:.0f} %**" in text["design-text"]


def test_the_table_of_the_last_item_is_measured():
    rows = [
        line.split("|")[2:-1] for line in texts(NAME)["explain-text"].splitlines() if line[:3] in ("| 1", "| 2", "| 3")
    ]
    exact = ex11.central.V(ex11.theta, ex11.HARD)
    for rho, primal, dual, inputs, value, gradient in rows:
        s = ADMM(ex11.network, float(rho), 100).V(ex11.theta, ex11.HARD)
        gap = [np.linalg.norm(s.gradient(i) - exact.gradient(i)) / np.linalg.norm(exact.gradient(i)) for i in range(3)]
        assert s.value == pytest.approx(float(value), abs=6e-4)
        measured = [s.primal[-1], s.dual[-1], np.abs(s.u0 - exact.u0).max(), max(gap)]
        said = [float(primal), float(dual), float(inputs), float(gradient.replace("%", "")) / 100]
        for one, other in zip(measured, said, strict=True):  # converged ones: the order of magnitude
            assert one == pytest.approx(other, rel=0.06) if other > 1e-5 else one < 4 * other
