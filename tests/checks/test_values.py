"""Whatever an answer returns: no check raises, and what people write for a right value is understood."""

import decimal

import casadi as ca
import numpy as np
import pytest
import scipy.sparse

from mpcrl_course.checks.compare import close
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RIGHT, WRONG, Fill
from mpcrl_course.checks.values import LARGEST, Unreadable, plain, shown
from tests.checks.kinds import KINDS
from tests.checks.test_engine import DEBUG, DESIGN, EXPLAIN, FILL, PREDICT
from tests.notebooks import EXERCISES, exercise

PLAIN = (type(None), type(...), bool, int, float, complex, str, np.ndarray, tuple, list, dict, Unreadable)


def holds_plain_data(value):
    if isinstance(value, list | tuple | dict):
        return all(map(holds_plain_data, value.values() if isinstance(value, dict) else value))
    return type(value) in PLAIN and (not isinstance(value, np.ndarray) or value.dtype.kind in "bifc")


def answers(item, make):
    """Return the ways in which this kind of item can be given such an object."""
    if item.kind in ("fill", "debug"):
        return [lambda *_, **__: make(), make()]
    if item.kind == "explain":
        return [(make(), [1]), (item.reference, make())]
    return [make()] + [lambda *_, **__: make()] * (item.kind == "design")


@pytest.mark.parametrize("name", KINDS)
def test_everything_becomes_plain_data(name):
    value = plain(KINDS[name]())
    assert holds_plain_data(value)
    assert isinstance(shown(value), str)
    for expected in (1.0, np.ones(2), np.ones((2, 3)), (1.0, 2.0), {"V": 3.0}, "a", None):
        assert close()(value, plain(expected)) is not True or name == "dict"


@pytest.mark.parametrize("item", [PREDICT, FILL, DEBUG, DESIGN, EXPLAIN], ids=lambda item: item.kind)
@pytest.mark.parametrize("name", KINDS)
def test_no_object_makes_a_check_raise(name, item, recwarn):
    for answer in answers(item, KINDS[name]):
        result = item.judge(answer)
        assert result.verdict != RIGHT
        assert result.sentence
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


ITEMS = [item for name in EXERCISES for item in exercise(name).items.values()]


@pytest.mark.parametrize("place", range(len(ITEMS)))
def test_no_object_makes_an_item_of_the_course_raise(place):
    names = list(KINDS)
    for name in (names[(7 * place + 8 * k) % len(names)] for k in range(10)):
        for answer in answers(ITEMS[place], KINDS[name]):
            assert ITEMS[place].judge(answer).verdict != RIGHT, name


@pytest.mark.parametrize(
    ("yours", "expected"),
    [
        (np.array([2.5]), 2.5),
        (np.array([[2.5]]), 2.5),
        ([2.5], 2.5),
        (np.float32(2.5), 2.5),
        (np.longdouble(2.5), 2.5),
        (decimal.Decimal("2.5"), 2.5),
        (ca.DM(2.5), 2.5),
        (2.5 + 0j, 2.5),
        (np.ones((3, 1)), np.ones(3)),
        (np.ones((1, 3)), np.ones(3)),
        (ca.DM([1, 2, 3]), np.arange(1.0, 4)),
        (np.matrix([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])),
        (scipy.sparse.csr_array(np.eye(2)), np.eye(2)),
        (np.array([1, 2], dtype=np.uint8), np.array([1.0, 2.0])),
        (np.array([np.ones(2), np.ones(3)], dtype=object), [np.ones(2), np.ones(3)]),
        (np.array([[1.0], [2.0]]), (1.0, 2.0)),
        ([[1.0], np.array(2.0)], (1.0, 2.0)),
        (range(3), np.arange(3.0)),
    ],
)
def test_what_people_write_is_understood(yours, expected):
    assert close()(plain(yours), plain(expected)) is True


def test_parts_may_come_by_name():
    compare = close(names=("low", "high"))
    assert compare(plain({"high": 2.0, "low": np.ones(1)}), (1.0, 2.0)) is True
    assert "In part high: The values differ" in compare((1.0, 3.0), (1.0, 2.0))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((x for x in [1.0]), "a generator; a single number (shape ()) is expected. It has computed nothing yet"),
        (np.min, "a function; a single number (shape ()) is expected. Are the brackets missing?"),
        (ca.MX.sym("x"), "a CasADi expression (MX)"),
        ({1.0}, "A set has no order"),
        (np.array(["1.0"]), "an array of texts"),
        (np.broadcast_to(1.0, (10**5, 10**5)), f"an array of {10**10} numbers"),
        ({"a": 1}.values(), "makes a list of it"),
    ],
)
def test_what_cannot_be_compared_is_named(value, words):
    item = Fill(1, "one", reference=lambda x: 1.0, probes=lambda rng: [(1.3,)])
    result = item.judge(lambda x: value)
    assert result.verdict == WRONG and words in result.sentence
    assert LARGEST < 10**10


def test_a_container_of_blanks_is_a_blank():
    item = Fill(1, "pair", reference=lambda x: (x, x), probes=lambda rng: [(1.3,), (2.7,)])
    for blank in (None, ..., (None, None), {"a": None}, np.array([None, None])):
        assert item.judge(lambda x, blank=blank: blank).verdict == NOT_ATTEMPTED
