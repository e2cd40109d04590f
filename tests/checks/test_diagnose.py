"""A mistake that is on no list is located: where it is, and how the numbers differ."""

import numpy as np
import pytest

from mpcrl_course.checks.compare import close
from mpcrl_course.checks.diagnose import diagnose
from mpcrl_course.checks.engine import RAISED, WRONG, Fill


def value(r, gamma, a, mask):
    """Return a discounted sum, a vector and a matrix: what an answer may be made of."""
    size = len(r)
    J = float(r @ gamma ** np.arange(size)) + (0.0 if a is None else a)
    return J, np.where(mask, r, 2 * r), np.outer(r, r**2) + np.arange(size)


def probes(rng):
    masks = [rng.permutation([True, False, *(rng.random(n - 2) < 0.5)]) for n in (3, 4, 5, 3)]
    given = [None, rng.uniform(-3, -1), rng.uniform(1, 3), None]
    return [
        (rng.uniform(0.5, 2, len(mask)) * rng.choice([-1, 1], len(mask)), rng.uniform(0.5, 0.9), a, mask)
        for mask, a in zip(masks, given, strict=True)
    ]


ITEM = Fill(1, "values", reference=value, probes=probes, compare=close(names=("J", "v", "M")))


def changed(change):
    def answer(r, gamma, a, mask):
        J, v, M = value(r, gamma, a, mask)
        return change(J, v, M, r, gamma, a, mask)

    return answer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda J, v, M, *_: (-J, v, M), "J is wrong, v and M are right. The sign is turned"),
        (
            lambda J, v, M, *_: (J, 3 * v, M),
            "v is wrong, J and M are right. Right but for a constant factor: yours is 3 ",
        ),
        (lambda J, v, M, r, g, *_: (J * g, v, M), "yours is gamma times"),
        (lambda J, v, M, r, g, *_: (J / (1 - g), v, M), "yours is 1/(1 − gamma) times"),
        (lambda J, v, M, r, *_: (J / len(r), v / len(r), M), "J and v are wrong, M is right"),
        (lambda J, v, M, r, *_: (J, v, M / len(r)), "yours is 1/len(r) times"),
        (lambda J, v, M, *_: (J + 2.5, v, M), "off by the same constant: +2.5"),
        (lambda J, v, M, r, g, *_: (J + g, v, M), "The difference is exactly `gamma`, which is too much"),
        (lambda J, v, M, r, *_: (J, v - r, M), "The difference is exactly `r`, which is missing"),
        (lambda J, v, M, *_: (J, v, M.T), "transpose"),
        (lambda J, v, M, *_: (J, v[::-1], M), "reverse order"),
        (lambda J, v, M, *_: (J, np.roll(v, 1), M), "one place too late"),
        (lambda J, v, M, *_: (J, abs(v), M), "the signs are lost"),
        (lambda J, v, M, *_: (J, v**2, M), "Yours is the square"),
        (lambda J, v, M, *_: (J, np.maximum(v, 0), M), "Negative numbers became 0"),
        (lambda J, v, M, *_: (J, np.append(v[:-1], 9.0), M), "Only the last entry is wrong"),
        (lambda J, v, M, *_: (J, np.append(9.0, v[1:]), M), "Only the first entry is wrong"),
        (lambda J, v, M, *_: (J, v, M + np.eye(len(M))), "Only the diagonal is wrong"),
        (lambda J, v, M, *_: (J, v, np.triu(M)), "Only what lies below the diagonal is wrong"),
        (lambda J, v, M, *_: (J, v, np.vstack([M[:-1], M[:1]])), "Only the last row is wrong"),
        (lambda J, v, M, r, g, a, mask: (J, r, M), "the right one for `mask` = 1 everywhere."),
        (lambda J, v, M, r, g, a, mask: (J - (a or 0), v, M), "2 of 4 calls where `a` is given (not None)"),
        (lambda J, v, M, r, g, a, mask: (J + 1 - (a or 1), v, M), "in the others"),
        (lambda J, v, M, r, g, a, mask: (J - min(a or 0, 0), v, M), "1 of 4 calls where `a` is negative"),
        (lambda J, v, M, r, g, a, mask: (J, np.where(mask, r, r + r.max()), M), "Wrong only where `mask` is 0 (false)"),
        (lambda J, v, M, *_: (J, v + np.abs(v).sum(), M + v[0] ** 2), "Every wrong number is too large"),
        (lambda J, v, M, r, g, *_: (value(r, 1 - g, *_)[0], v, M), "the right one for 1 − `gamma`"),
        (lambda J, v, M, r, *_: (*value(r[::-1], *_)[:2], M), "J and v are wrong"),
        (lambda J, v, M, *_: (J, v), "has 2 values; 3 are expected"),
        (lambda J, v, M, *_: (J, np.nan * v, M), "In part v: Your answer is not a number (NaN)"),
        (lambda J, v, M, *_: (7.0, v * np.nan, M), "In part v: Your answer is not a number (NaN)"),
        (
            lambda J, v, M, *_: (J, v.reshape(-1, 1) @ v.reshape(1, -1), M),
            "In part v: Your answer is an array of shape",
        ),
        (lambda J, v, M, *_: (J, v + 0.5j, M), "an imaginary part"),
        (lambda J, v, M, *_: (J, v.astype(str), M), "an array of texts"),
    ],
)
def test_a_mistake_is_located(change, words):
    result = ITEM.judge(changed(change))
    assert result.verdict == WRONG and words in result.sentence, result.sentence
    for label, text in result.details:
        assert len(text) <= 240, label


def test_the_smallest_call_that_fails_is_shown_in_four_digits():
    result = ITEM.judge(changed(lambda J, v, M, r, *_: (np.pi * J + v[0], v + J, M)))
    assert result.verdict == WRONG and "J and v are wrong, M is right" in result.sentence
    shown = dict(result.details)
    assert shown["input"].count(",") <= 8  # three numbers, not five
    assert all(len(number.strip("-[] ").replace(".", "").lstrip("0")) <= 4 for number in
               shown["input"].split("r = ")[1].split("]")[0].split(","))  # fmt: skip


def test_nothing_is_claimed_that_is_not_seen():
    rng = np.random.default_rng(3)
    for _ in range(20):
        yours = [rng.normal(size=4) for _ in range(3)]
        expected = [rng.normal(size=4) for _ in range(3)]
        found = diagnose(close(), [{"x": rng.normal(size=4), "c": rng.normal()} for _ in range(3)], yours, expected)
        assert not found.located and found.sentence.startswith("The values differ at index [0]")
    one = diagnose(close(), [{"c": 2.0}], [3.0], [1.5])  # a single number is any number's multiple
    assert not one.located and one.sentence == "The values differ."


def test_a_single_wrong_entry_is_not_said_to_go_on():
    sizes, calls = (5, 6), [{"x": np.arange(5.0)}, {"x": np.arange(6.0)}]
    right = [np.arange(1.0, n + 1) for n in sizes]
    alone = [np.where(np.arange(len(e)) == 2, 9.3, e) for e in right]
    after = [np.where(np.arange(len(e)) >= 2, e**3 + 0.3, e) for e in right]
    assert "the first difference is at index 2" in diagnose(close(), calls, alone, right).sentence
    assert "it differs from index 2 on" in diagnose(close(), calls, after, right).sentence


def test_what_is_always_zero_elsewhere_locates_nothing():
    mask, right = np.array([True, False, False, True]), np.array([0.0, 1.3, 2.9, 0.0])
    found = diagnose(close(), [{"terminal": mask}], [np.array([0.0, 2.1, 3.4, 0.0])], [right])
    assert "terminal" not in found.sentence


def test_blocks_are_named():
    names = {"A": slice(0, 2), "b": 2, "c": slice(3, None)}
    yours, expected = [np.array([1.0, 5, 3, 4, 7])], [np.array([1.0, 2, 3, 4, 5])]
    found = diagnose(close(blocks=names), [{}], yours, expected)
    assert found.sentence == "Not right: the blocks of A and c. The others are right."


def test_an_error_in_some_calls_says_in_how_many():
    def answer(r, gamma, a, mask):
        return 1.0 + a, r, np.outer(r, r)

    result = ITEM.judge(answer)
    assert result.verdict == RAISED and result.sentence == "It stopped with an error in 2 of 4 calls."
    assert dict(result.details)["your line"] == "return 1.0 + a, r, np.outer(r, r)"
