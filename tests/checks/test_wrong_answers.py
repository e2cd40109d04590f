"""Answers by people who saw only the notebooks: wrong ones are told where they go wrong, right ones are right."""

import functools
import importlib

import pytest

from mpcrl_course.checks.engine import RAISED, RIGHT, WRONG
from tests.notebooks import EXERCISES, exercise


def answers(kind):
    """Return (exercise, place in its list) of all such answers."""
    lists = {name: getattr(importlib.import_module(f"tests.data.wrong.ex{name[:2]}"), kind) for name in EXERCISES}
    return [
        pytest.param(name, place, id=f"{name[:2]}.{number} {what}")
        for name, listed in lists.items()
        for place, (number, what, _) in enumerate(listed)
    ]


@functools.cache
def judged(kind, name, place):
    number, _, answer = getattr(importlib.import_module(f"tests.data.wrong.ex{name[:2]}"), kind)[place]
    return exercise(name).items[number].judge(answer, exercise(name).seed)


def is_told(result):
    """Whether the student learns more than that values differ: a known slip, or where and how."""
    vague = ("The values differ", "It differs", "It is too large; this", "It is too small; this")
    return result.mistake is not None or not any(words in result.sentence for words in vague)


@pytest.mark.parametrize(("name", "place"), answers("WRONG"))
def test_a_wrong_answer_is_wrong(name, place):
    assert judged("WRONG", name, place).verdict in (WRONG, RAISED)


@pytest.mark.parametrize(("name", "place"), answers("RIGHT"))
def test_a_right_answer_is_right(name, place):
    assert judged("RIGHT", name, place).verdict == RIGHT


@pytest.mark.parametrize("name", EXERCISES)
def test_most_wrong_answers_are_told_where_or_how(name):
    results = [judged("WRONG", *param.values) for param in answers("WRONG") if param.values[0] == name]
    assert len(results) >= 20
    assert sum(map(is_told, results)) >= 0.85 * len(results)
