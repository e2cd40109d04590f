"""Guesses are made before a result, kept, and counted; without one everything runs as well."""

import math
import subprocess
import sys

import pytest

from mpcrl_course.figures import predict, predictions, reveal, tally
from mpcrl_course.figures.predictions import control

CHOICES = ("plain", "learned")


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """What is displayed, with no question asked before."""
    outputs = []
    monkeypatch.setattr(predictions, "display", outputs.append)
    monkeypatch.setattr(predictions, "ASKED", {})
    return outputs


def asked(key="key"):
    return predictions.ASKED[key]


def parts(box):
    """Return the field of a control, and what it says."""
    return box.children[1].children[0], box.children[2]


def test_a_number_is_kept_and_its_answer_shown_beside_it(shown):
    predict("How long?", key="key", unit="ms", decimals=1)
    field, said = parts(control(asked()))
    assert field.value == "" and field.description == "Your guess" and said.value == ""
    field.value = "12,5 ms"
    assert said.value == "Kept: 12.5 ms." and asked().guess == 12.5
    reveal("key", 10.0)
    assert str(shown[-1]) == "Measured: 10.0 ms. You guessed 12.5 ms: too large by 2.5 ms.\n    How long?"
    reveal("key", 13.0)
    assert shown[-1].sentence == "You guessed 12.5 ms: right."  # within a tenth


@pytest.mark.parametrize(
    ("typed", "guess"),
    [("1e3", 1e3), ("−3", -3.0), (" 0 ", 0.0), ("7%", 7.0), ("many", None), ("inf", None), ("", None)],
)
def test_what_is_typed_is_read_as_a_number_or_no_guess_is_kept(typed, guess):
    predict("How much?", key="key", unit="%")
    field, said = parts(control(asked()))
    field.value = "1"
    field.value = typed
    assert asked().guess == guess
    if guess is None:
        assert said.value == ("That is no number: no guess is kept." if typed else "")


@pytest.mark.parametrize(("answer", "right"), [(4.0, True), (4.5, True), (4.6, False), (3.4, False)])
def test_how_near_is_right_can_be_said(answer, right):
    predict("How many?", key="key", within=0.5)
    asked().commit("4")
    reveal("key", answer)
    assert asked().right == right


def test_a_choice_is_right_or_not(shown):
    predict("Which?", CHOICES, key="key")
    field, said = parts(control(asked()))
    assert field.value is None and field.options == CHOICES
    field.value = "plain"
    assert said.value == "Kept: plain."
    reveal("key", "learned")
    assert str(shown[-1]) == "Measured: learned. You guessed plain: not so.\n    Which?"
    reveal("key", "plain")
    assert shown[-1].sentence == "You guessed plain: right."


@pytest.mark.parametrize("before", [None, "plain"])
def test_a_guess_after_the_answer_does_not_count(shown, before):
    predict("Which?", CHOICES, key="key")
    field, said = parts(control(asked()))
    field.value = before
    reveal("key", "learned")
    field.value = "learned"
    assert asked().guess == before and field.disabled and "counts before it" in said.value
    reveal("key", "learned")
    assert "learned: right" not in shown[-1].sentence
    again, said = parts(control(asked()))
    assert again.disabled and again.value == before and "has been shown" in said.value


def test_a_cell_that_runs_again_keeps_the_guess_and_another_question_begins_anew():
    predict("How many?", key="key")
    asked().commit("0")
    predict("How many?", key="key")
    field, said = parts(control(asked()))
    assert field.value == "0" and said.value == "Kept: 0.00."
    predict("How many more?", key="key")
    assert asked().guess is None


def test_the_tally_counts_what_was_shown():
    for key, guess in (("a", "1"), ("b", "5"), ("c", ""), ("d", "1")):
        predict(f"How many {key}?", key=key, decimals=0)
        asked(key).commit(guess)
    for key in "abc":
        reveal(key, 1)
    table = tally()
    assert table.caption == "1 right of 2 guessed, of 3 predictions"
    assert table.rows[0] == ("How many a?", "1", "1", "right")
    assert table.rows[1] == ("How many b?", "5", "1", "wrong")
    assert table.rows[2] == ("How many c?", "–", "1", "–")


def test_without_a_guess_everything_runs(shown):
    predict("Which?", CHOICES, key="key")
    assert shown == []  # there is no notebook here
    reveal("key", "plain")
    assert str(shown[-1]) == "Measured: plain. No guess was made.\n    Which?"
    assert tally().caption == "0 right of 0 guessed, of 1 predictions"


def test_in_a_notebook_the_control_is_shown(shown, monkeypatch):
    class Shell:
        kernel = object()

    monkeypatch.setattr(predictions, "get_ipython", Shell)
    predict("How many $x < 1$?", key="key")
    assert shown[0].children[0].value == "<b>Predict.</b> How many $x &lt; 1$?"


def test_a_script_says_the_answer_and_that_no_guess_was_made():
    code = (
        "from mpcrl_course.figures import predict, reveal, tally\n"
        "predict('How many?', key='n', decimals=0); reveal('n', 3); print(tally().caption)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert ran.stdout.splitlines() == [
        "Measured: 3. No guess was made.",
        "    How many?",
        "0 right of 0 guessed, of 1 predictions",
    ]


def test_what_cannot_be_asked_or_answered_is_refused():
    with pytest.raises(ValueError, match="question is empty"):
        predict(" ", key="key")
    for choices in (["one"], ["a", "a"], "ab"):
        with pytest.raises(ValueError, match="choices"):
            predict("Which?", choices, key="key")
    with pytest.raises(ValueError, match="nothing was asked with the key 'other'"):
        reveal("other", 1.0)
    predict("Which?", CHOICES, key="key")
    with pytest.raises(ValueError, match="none of the choices plain, learned"):
        reveal("key", "neither")
    predict("How many?", key="number")
    with pytest.raises(ValueError, match="value must be a finite number"):
        reveal("number", math.nan)
    assert asked("number").answer is None
