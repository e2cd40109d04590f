"""The exercise engine on a toy exercise with all five kinds of item."""

import json
import math
import signal
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mpcrl_course.checks import limits, progress
from mpcrl_course.checks.compare import close
from mpcrl_course.checks.engine import (
    NOT_ATTEMPTED,
    RAISED,
    RIGHT,
    WRONG,
    Debug,
    Design,
    Exercise,
    Explain,
    Fill,
    Mistake,
    Predict,
    Result,
    assert_item_sound,
)
from mpcrl_course.checks.limits import TookTooLong, _within_by_thread, collect, within
from mpcrl_course.checks.report import card
from mpcrl_course.checks.values import is_blank, shown
from mpcrl_course.figures.tables import Table

HOUR = 3600.0  # so long that nothing here reaches it, on any machine


# ------------------------------------------------------------------------------------------- the toy exercise


def td_error(cost, discount, v_next, q):
    return cost + discount * v_next - q


def value(P, x):
    return x @ P @ x


def measure(gain, seed):
    """Run x⁺ = 1.1 x + u + noise under u = −gain x."""
    gain = float(gain["gain"])
    rng = np.random.default_rng(seed)
    x, cost = 1.0, 0.0
    for _ in range(50):
        cost += x * x + 0.1 * (gain * x) ** 2
        x = (1.1 - gain) * x + 0.01 * rng.normal()
    return {"cost": cost, "gain": abs(gain)}


HINTS = ["Think of the target.", "The target is cost plus discounted value."]

PREDICT = Predict(
    1,
    "value of a constant cost",
    reference=10.0,
    rtol=0.02,
    hints=HINTS,
    when_right="1/(1 − γ) is the effective horizon.",
    mistakes=[
        Mistake("one step", "That is the cost of one step only.", 1.0),
        Mistake("ten steps", "That is the sum of the first steps, cut off.", (6.0, 7.0)),
        Mistake("discounted once more", "The first cost is not discounted.", 9.0),
        Mistake("undiscounted", "Without a discount the sum never ends.", (1000.0, float("inf"))),
        Mistake("reward", "We minimise costs: the value of a positive cost is positive.", (float("-inf"), 0.0)),
        Mistake("squared", "That is the discount applied twice.", 1 / (1 - 0.81)),
    ],
)

CHOICE = Predict(
    2,
    "which is larger",
    reference="b",
    choices={"a": "V", "b": "Q", "c": "neither", "d": "it depends"},
    hints=HINTS,
    mistakes=[
        Mistake("V", "V is the least of all Q, so it is never larger.", "a"),
        Mistake("neither", "They are equal at the best action only.", "c"),
        Mistake("depends", "It holds in every state: look at the minimum.", "d"),
    ],
)

FILL = Fill(
    3,
    "TD error",
    reference=td_error,
    probes=lambda rng: [tuple((rng.uniform(0.2, 0.9, 4) * [3, 1, 5, 4]).tolist()) for _ in range(5)],
    when_right="Its mean is what Q-learning drives to zero.",
    hints=HINTS,
    mistakes=[
        Mistake("no discount", "γ is missing in front of V(s⁺).", lambda c, g, v, q: c + v - q),
        Mistake("discount twice", "γ is applied twice.", lambda c, g, v, q: c + g * g * v - q),
        Mistake("sign", "The sign is turned: target minus Q.", lambda c, g, v, q: q - c - g * v),
        Mistake("no cost", "The stage cost is missing.", lambda c, g, v, q: g * v - q),
        Mistake("cost discounted", "γ multiplies V only, not the cost.", lambda c, g, v, q: g * (c + v) - q),
        Mistake("plus Q", "Q is subtracted, not added.", lambda c, g, v, q: c + g * v + q),
    ],
    variants=[lambda c, g, v, q: -(q - c) + v * g, lambda c, g, v, q: np.dot([1, g, -1], [c, v, q])],
)


def value_given(P, x):
    return x @ P @ abs(x)


DEBUG = Debug(
    4,
    "quadratic value",
    reference=value,
    given=value_given,
    probes=lambda rng: [{"P": rng.normal(size=(3, 3)), "x": rng.normal(size=3)} for _ in range(4)],
    properties=[("even in x", lambda function, P, x: bool(np.isclose(function(P, x), function(P, -x))))],
    hints=HINTS,
    mistakes=[
        Mistake("not squared", "x appears on both sides of P.", lambda P, x: np.sum(P @ x)),
        Mistake("half", "This cost carries no ½.", lambda P, x: 0.5 * x @ P @ x),
        Mistake("diagonal", "P's off-diagonal entries count too.", lambda P, x: x @ np.diag(np.diag(P)) @ x),
        Mistake("elementwise", "This is a vector: sum over its entries.", lambda P, x: x * (P @ x)),
        Mistake("no weight", "P is missing.", lambda P, x: x @ x),
        Mistake("shape", "This multiplies along the wrong axis.", lambda P, x: x @ P @ x[:, None].T, raises=True),
    ],
    variants=[lambda P, x: np.einsum("i,ij,j", x, P, x), lambda P, x: float(np.trace(np.outer(x, x) @ P.T))],
)

DESIGN = Design(
    5,
    "a gain",
    reference={"gain": 0.9},
    variants=[{"gain": 1.0}, {"gain": np.float64(0.85)}],
    measure=measure,
    targets={"cost": ("<=", 1.2), "gain": ("<", 1.05)},
    hints=HINTS,
    mistakes=[
        Mistake("zero", "Without a gain nothing acts.", lambda a, m: a["gain"] == 0, {"gain": 0.0}),
        Mistake("negative", "This pushes away from 0.", lambda a, m: a["gain"] < 0, {"gain": -0.3}),
        Mistake("unstable", "The closed loop is unstable.", lambda a, m: a["gain"] > 2.1, {"gain": 2.5}),
        Mistake("shy", "Stable, but slow.", lambda a, m: 0.1 < a["gain"] < 0.5, {"gain": 0.4}),
        Mistake("timid", "The plant itself is unstable by 0.1.", lambda a, m: a["gain"] <= 0.1, {"gain": 0.05}),
        Mistake("large", "Cheap, but the gain is above its bound.", lambda a, m: a["gain"] > 1, {"gain": 1.1}),
    ],
)

EXPLAIN = Explain(
    6,
    "why the TD error",
    reference="b",
    choices={"a": "it is small", "b": "its mean vanishes", "c": "it is convex", "d": "custom"},
    reasons={1: "the Bellman equation", 2: "no noise", 3: "linearity", 4: "E of V(s⁺) is what Q needs", 5: "γ < 1"},
    carrying=(1, 4),
    hints=HINTS,
    mistakes=[
        Mistake("small", "It is not small under noise.", "a"),
        Mistake("convex", "Convexity plays no part here.", "c"),
        Mistake("custom", "There is a reason better than custom.", "d"),
        Mistake("no noise", "With noise the mean vanishes, too.", 2),
        Mistake("linearity", "Nothing here is linear in the state.", 3),
        Mistake("contraction", "γ < 1 makes the iteration converge; it is not why the mean vanishes.", 5),
    ],
)

ITEMS = [PREDICT, CHOICE, FILL, DEBUG, DESIGN, EXPLAIN]


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "record" / "progress.json"
    monkeypatch.setenv("MPCRL_COURSE_PROGRESS", str(path))
    return path


@pytest.fixture
def check(file):
    return Exercise(99, "a toy", ITEMS, seed=7)


@pytest.fixture
def spin():
    def forever(*_, **__):
        while True:
            pass

    return forever


# ------------------------------------------------------------------------------------------------- soundness


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.kind)
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_toy_items_are_sound(item, seed):
    assert_item_sound(item, seed)


def broken(item, **changes):
    from dataclasses import replace

    return replace(item, **changes)


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (broken(FILL, mistakes=FILL.mistakes[:5]), "needs six mistakes"),
        (broken(FILL, variants=FILL.variants[:1]), "needs two variants"),
        (broken(FILL, hints=HINTS[:1]), "needs two hints"),
        (broken(FILL, reference=lambda c, g, v, q: c + v - q), "right answer 1"),
        (
            broken(FILL, mistakes=[*FILL.mistakes, Mistake("none", "No mistake at all.", td_error)]),
            "is judged",
        ),
        (
            broken(
                FILL,
                mistakes=[
                    *FILL.mistakes,
                    Mistake("again", "The same as one above.", lambda c, g, v, q: c + v - q),
                ],
            ),
            "is taken for 'no discount'",
        ),
        (broken(FILL, properties=[("never", lambda function, *_: "never holds")]), "fails a property"),
        (broken(CHOICE, mistakes=CHOICE.mistakes[:2]), "each wrong choice"),
        (broken(EXPLAIN, mistakes=EXPLAIN.mistakes[:3]), "each wrong reason"),
        (
            broken(PREDICT, mistakes=[*PREDICT.mistakes, Mistake("near", "Overlaps the truth.", 10.1)]),
            "is judged",
        ),
        (broken(DESIGN, variants=[{"gain": 0.2}, {"gain": 0.9}]), "right answer 1"),
        (broken(DEBUG, given=value), "the blank"),
    ],
)
def test_an_unsound_item_is_reported(item, complaint):
    with pytest.raises(AssertionError, match=complaint):
        assert_item_sound(item)


def test_a_reference_that_answers_otherwise_at_each_call_is_unsound():
    rng = np.random.default_rng(0)
    wavers = broken(
        FILL, reference=lambda cost, discount, v_next, q: td_error(cost, discount, v_next, q) + rng.random()
    )
    with pytest.raises(AssertionError, match="right answer 0 is judged"):
        assert_item_sound(wavers)


def test_a_mistake_that_changes_its_arguments_is_seen_to_each_time():
    def tidy(x):
        return x + 1.0

    def in_place(x):
        x += 1.0
        return x

    def keeps(function, x):
        before = x.copy()
        function(x)
        return bool((x == before).all())

    others = [Mistake(f"plus {i}", f"You add {i}, not one.", lambda x, i=i: x + i) for i in range(2, 7)]
    item = Fill(
        1, "add one", reference=tidy, variants=[lambda x: 1.0 + x, np.vectorize(lambda x: x + 1.0)], hints=HINTS,
        probes=lambda rng: [(rng.normal(size=3),)], properties=[("the array stays as it is", keeps)],
        mistakes=[*others, Mistake("in place", "The array you were given is changed.", in_place)],
    )  # fmt: skip
    assert_item_sound(item)


# -------------------------------------------------------------------------------------------------- verdicts


def test_right_gives_the_answer_back_and_says_why(check, capsys):
    mine = FILL.variants[0]
    assert check(3, mine) is mine
    assert capsys.readouterr().out == ("✓ Item 3, TD error: right. Its mean is what Q-learning drives to zero.\n")


def test_blank_goes_on_with_the_badged_reference(check, capsys):
    def blank(cost, discount, v_next, q): ...

    assert check(3, blank) is td_error
    out = capsys.readouterr().out
    assert out.startswith("○ Item 3, TD error: not attempted.")
    assert "use the course's reference for item 3, not your answer" in out
    assert check(3, td_error) is td_error  # the cell run a second time must not say "right"
    assert "This is the course's reference, not yours" in capsys.readouterr().out
    assert check.score() == 0


def test_reference_handed_out_by_a_design_is_not_taken_for_an_answer(check):
    theta = check(5, None)
    assert theta == {"gain": 0.9} and theta is not DESIGN.reference
    check(5, theta)
    assert check.results[5].verdict == NOT_ATTEMPTED
    assert check(5, {"gain": 0.95}) == {"gain": 0.95}
    assert check.results[5].verdict == RIGHT


def test_one_missing_value_is_wrong_and_not_blank():
    item = Fill(1, "sign", reference=np.sign, probes=lambda rng: [(-1.3,), (2.7,)])
    result = item.judge(lambda x: 1.0 if x > 0 else None)
    assert result.verdict == WRONG and ("yours", "None") in result.details


def test_known_mistake_is_named_with_a_counterexample():
    result = FILL.judge(lambda cost, discount, v_next, q: cost + v_next - q, seed=7)
    assert (result.verdict, result.mistake, result.sentence) == (
        WRONG,
        "no discount",
        "γ is missing in front of V(s⁺).",
    )
    details = dict(result.details)
    assert details["input"].startswith("cost = ") and "discount = " in details["input"]
    assert details["yours"] != details["expected"]


def test_mistake_that_shows_on_some_probes_only_is_named():
    clip = Fill(
        1,
        "clip",
        reference=lambda x: np.clip(x, -1, 1),
        probes=lambda rng: [(value,) for value in (-1.7, -0.3, 0.4, 1.6)],
        mistakes=[
            Mistake("upper", "The upper bound is missing.", lambda x: np.maximum(x, -1)),
            Mistake("both", "Both bounds are missing.", lambda x: np.multiply(x, 1.0)),
        ],
    )
    assert clip.judge(lambda x: max(x, -1.0)).mistake == "upper"
    assert clip.judge(lambda x: x * 1.0).mistake == "both"
    assert clip.judge(lambda x: max(x, -1.0) if x != 0.4 else 0.3).mistake == "upper"  # and another fault besides
    assert clip.judge(lambda x: min(x, 1.0)).mistake is None


def test_unknown_mistake_is_wrong_without_a_name():
    result = FILL.judge(lambda c, g, v, q: 17.3)
    assert (result.verdict, result.mistake) == (WRONG, None) and "too large" in result.sentence


def test_error_is_shown_short_with_the_students_line_and_the_probe():
    def faulty(cost, discount, v_next, q):
        scale = 1 / (cost - cost)  # the line
        return scale

    result = FILL.judge(faulty)
    details = dict(result.details)
    assert result.verdict == RAISED
    assert details["error"].startswith("ZeroDivisionError: ")
    assert details["your line"] == "scale = 1 / (cost - cost)  # the line"
    assert details["input"].startswith("cost = ")


def test_an_error_names_a_mistake_only_if_it_is_its_point():
    box = Mistake("box", "The bound is still there.", lambda *_: [][3])
    for point, name in ((False, None), (True, "box")):
        result = broken(FILL, mistakes=[broken(box, raises=point)]).judge(lambda *_: [][1])
        assert (result.verdict, result.mistake) == (RAISED, name)


def test_error_that_is_expected_is_right_and_its_absence_is_not():
    item = Fill(1, "root", reference=lambda x: [][1] if x < 0 else x, probes=lambda rng: [(-2.3,), (1.7,)])
    assert item.judge(lambda x: [][7] if x < 0 else x).verdict == RIGHT
    result = item.judge(lambda x: x)
    assert result.verdict == WRONG and "an error is expected (IndexError)" in result.sentence


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, RecursionError])
def test_errors_that_end_programs_are_caught(error):
    def leave(*_):
        raise error("bye")

    assert FILL.judge(leave).verdict == RAISED


def test_the_reader_s_interrupt_passes():
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # some who run tests ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            FILL.judge(interrupted)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)


def test_an_interrupt_of_the_answer_s_own_does_not():
    def interrupts(*_):
        raise KeyboardInterrupt

    assert FILL.judge(interrupts).verdict == RAISED


def test_property_failing_alone_is_wrong():
    item = Fill(
        1,
        "any unit vector",
        reference=lambda x: x / np.linalg.norm(x),
        compare=lambda yours, expected: True,
        probes=lambda rng: [(rng.normal(size=2),) for _ in range(3)],
        properties=[("length 1", lambda f, x: abs(np.linalg.norm(f(x)) - 1) < 1e-9 or "Its length is not 1.")],
    )
    assert item.judge(lambda x: np.array([1.0, 0.0])).verdict == RIGHT
    result = item.judge(lambda x: x)
    assert (result.verdict, result.sentence) == (WRONG, "Its length is not 1.")
    assert ("test", "length 1") in result.details


def test_debug_knows_the_code_as_given():
    result = DEBUG.judge(value_given)
    assert result.verdict == NOT_ATTEMPTED and "as the code you were given" in result.sentence
    assert dict(result.details)["input"].startswith("P = ")


def test_a_function_without_return_is_told_so_in_plain_text():
    sentence = FILL.judge(lambda *_: None).sentence
    assert "return" in sentence and "`" not in sentence  # a card shows text, no Markdown


def test_passing_a_value_for_a_function_is_explained():
    assert "Pass the function itself" in FILL.judge(3.4).sentence


def test_predict_number():
    assert PREDICT.judge(np.array([9.9])).verdict == RIGHT
    assert PREDICT.judge(6.5).mistake == "ten steps"
    assert PREDICT.judge(55).mistake is None
    assert "10" not in PREDICT.judge(55).sentence  # the right number is never shown
    assert broken(PREDICT, reference=406_800.0, rtol=0.0).judge("406,800").verdict == RIGHT
    assert broken(PREDICT, reference=406_800.0, rtol=0.0).judge("406 800").verdict == RIGHT
    for text in ("10", " 10.0 ", "≈ 10", "10,1", "30/3"):
        assert PREDICT.judge(text).verdict == RIGHT, text
    assert "the text 'ten'" in PREDICT.judge("ten").sentence
    assert "a complex number" in PREDICT.judge(10 + 0.5j).sentence
    assert PREDICT.precision == "to within 2 %"
    assert "NaN" in PREDICT.judge(float("nan")).sentence
    assert PREDICT.judge([1.0, 2.0]).verdict == WRONG


def test_predict_and_explain_hand_nothing_out(check):
    assert check(1, 10) is None and check(2, "B") is None
    assert check(6, "b", because=[1, 4]) is None and check.results[6].verdict == RIGHT


def test_choice_that_is_none():
    assert CHOICE.judge("z").sentence == "Choose one of 'a', 'b', 'c', 'd'."


def test_explain_needs_the_reasons_that_carry_the_claim():
    assert EXPLAIN.judge(("b", None)).verdict == NOT_ATTEMPTED
    assert "by their numbers" in EXPLAIN.judge(("b", "because it is so, and has always been so")).sentence
    assert "there are 1, 2, 3, 4, 5" in EXPLAIN.judge(("b", [1, 9])).sentence
    assert "but not alone" in EXPLAIN.judge(("b", 4)).sentence
    assert EXPLAIN.judge(("b", [1, 3, 4])).mistake == "linearity"
    for because in ((4, 1), {1, 4}, "1, 4", "(1) and (4)", np.array([4, 1])):
        assert EXPLAIN.judge(("(B)", because)).verdict == RIGHT
    assert EXPLAIN.judge(("a", [1, 4])).mistake == "small"
    assert EXPLAIN.judge(("b", [1, 4])).verdict == RIGHT


def test_design_shows_what_was_measured():
    result = DESIGN.judge({"gain": 0.4})
    assert result.mistake == "shy"
    assert dict(result.details)["cost"].endswith("(target <= 1.2: missed)")
    assert DESIGN.judge({"gain": 0.7}).sentence == "Not yet: cost missed."
    assert dict(DESIGN.judge({"gain": float("nan")}).details)["cost"] == "nan (target <= 1.2: not a number)"


def test_design_of_the_wrong_form_is_an_error():
    result = DESIGN.judge([1, 2])
    assert result.verdict == RAISED and "TypeError" in dict(result.details)["error"]


# ------------------------------------------------------------------------------------- values, shapes, copies


def test_wrong_shape_names_both():
    item = Fill(1, "id", reference=lambda x: x, probes=lambda rng: [(rng.normal(size=3),)])
    sentence = item.judge(lambda x: np.outer(x, x)).sentence
    assert "(3, 3)" in sentence and "(3,)" in sentence
    assert item.judge(lambda x: x[:, None]).verdict == RIGHT  # a column is a vector, too


@pytest.mark.parametrize(
    ("yours", "expected", "words"),
    [
        (np.nan, 1.0, "not a number (NaN)"),
        (np.array([1, np.nan, np.nan]), np.ones(3), r"(NaN) at index [1] and 1 more"),
        (np.ones((1, 2)), 1.0, "an array of shape (1, 2); a single number (shape ()) is expected"),
        ((1, 2), (1, 2, 3), "has 2 values; 3 are expected"),
        (1.0, (1, 2), "a float; 2 values are expected"),
        ({"a": 1}, {"a": 1, "b": 2}, "the keys 'a'; expected are the keys 'a', 'b'"),
        ("text", 1.0, "the text 'text'"),
        ((1, np.ones(2)), (1, np.array([1, 2])), "In part [1]: The values differ at index [1]."),
        (1.0 + 1e-5, 1.0, "The values differ."),
        (1.0, np.inf, "The values differ."),
        (np.array([0.0, -np.inf]), np.array([0.0, np.inf]), "The values differ at index [1]."),
        (None, 1.0, "nothing (None)"),
        (1 + 0.5j, 1.0, "an imaginary part"),
        (np.ones((3, 2)).cumsum(1), np.ones((2, 3)).cumsum(0), "but transposed"),
        (np.arange(6.0), np.arange(6.0).reshape(6, 1), "The numbers are right, but in an array of shape (6,)"),
        ([[1, 2], [3]], np.ones((2, 2)), "parts with different lengths"),
        ([1, "2"], np.ones(2), "the text '2' in it"),
    ],
)
def test_differences_are_said_in_words(yours, expected, words):
    agreement = close()(yours, expected)
    assert agreement is not True and words in agreement


def test_values_that_agree():
    for yours, expected in [
        (1 + 1e-8, 1.0),
        ([1, 2], (1, 2)),
        ([1.0, 2.0], np.array([1, 2])),
        (np.inf, np.inf),
        (True, True),
        ("a", "a"),
        ({"a": [1, np.ones(2)]}, {"a": [1, np.ones(2)]}),
    ]:
        assert close()(yours, expected) is True


def test_arguments_that_are_mutated_fool_nobody():
    def doubled(x):
        return 2 * x

    def mutating(x):
        x *= 2
        return x

    item = Fill(1, "double", reference=doubled, probes=lambda rng: [(rng.normal(size=2),)] * 3)
    assert item.judge(mutating).verdict == RIGHT

    def zeroing(x):
        x[:] = 0
        return x

    result = item.judge(zeroing)
    assert result.verdict == WRONG and dict(result.details)["input"] != "x = [0., 0.]"


def test_a_buffer_returned_again_and_again_fools_nobody():
    buffer = np.zeros(2)

    def reused(x):
        buffer[:] = 2 * x
        return buffer

    item = Fill(1, "double", reference=lambda x: 2 * x, probes=lambda rng: [(rng.normal(size=2),) for _ in range(3)])
    assert item.judge(reused).verdict == RIGHT


def test_same_seed_same_probes_and_another_seed_others():
    assert FILL.calls(3) == FILL.calls(3) != FILL.calls(4)
    assert broken(FILL, number=2).calls(3) != FILL.calls(3)


def test_an_answer_that_wavers_is_told_so():
    rng = np.random.default_rng(0)
    assert "gives two answers" in FILL.judge(lambda *_: rng.random()).sentence


def test_prints_are_dropped(capsys):
    FILL.judge(lambda *a: print("noise"))
    assert capsys.readouterr().out == ""


def test_blanks_and_lines():
    assert is_blank((None, ...)) and is_blank({"a": None}) and is_blank([None])
    assert not is_blank((None, 1)) and not is_blank([]) and not is_blank(0)

    class Rude:
        def __repr__(self):
            raise RuntimeError

    assert shown(Rude()) == "<a Rude>"
    assert shown([np.float64(0.1) * 3, (1,), np.array([[1.0], [2.5]])]) == "[0.3, (1,), [[1], [2.5]]]"
    assert len(shown("x" * 10_000)) == 240


# ------------------------------------------------------------------------------------------------ time limits


def test_endless_loop_is_stopped(check, spin, capsys):
    assert check(3, spin) is td_error
    assert "⚠ Item 3, TD error: raised an error. It computed for more than 3 s" in capsys.readouterr().out


def test_loop_that_catches_exceptions_is_stopped(monkeypatch):
    monkeypatch.setattr(limits, "_patience", lambda seconds: seconds)

    def stubborn(*_):
        while True:
            try:
                time.sleep(10)
            except Exception:
                pass

    assert "more than 0.1 s" in broken(FILL, time_limit=0.1).judge(stubborn).sentence


def test_design_that_hangs_is_stopped(spin):
    result = broken(DESIGN, measure=spin, time_limit=0.1).judge({"gain": 1})
    assert result.verdict == RAISED and "more than 0.1 s" in result.sentence


def test_limit_off_the_main_thread(spin):
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(broken(FILL, time_limit=0.1).judge(spin).verdict))
    thread.start()
    thread.join()
    assert verdicts == [RAISED]


@pytest.mark.parametrize("way", [within, _within_by_thread])
def test_limits_leave_nothing_behind(way, spin):
    before = set(threading.enumerate())
    for _ in range(5):
        assert way(0.03, spin) is False
        assert way(HOUR, lambda: None) is True
    for watcher in set(threading.enumerate()) - before:
        watcher.join()
    with pytest.raises(ZeroDivisionError):
        way(HOUR, lambda: 1 / 0)


def test_no_limit_is_none():
    assert within(math.inf, lambda: None) is True
    assert collect(iter("ab"), math.inf) == (["a", "b"], True)


@pytest.mark.parametrize("way", [within, _within_by_thread])
def test_work_that_ends_with_its_time_leaves_no_exception_on_its_way(way, monkeypatch):
    monkeypatch.setattr(limits, "TICK", 1e-4)

    def compute():
        end = time.thread_time() + 0.001
        while time.thread_time() < end:
            pass

    for _ in range(100):
        way(0.001, compute)
        sum(range(1000))  # a late exception would arrive here
    trace = sys.gettrace()
    sys.settrace(lambda *_: None)  # one that was called back would let no traced function begin
    try:
        assert (lambda: 3)() == 3
    finally:
        sys.settrace(trace)


def test_solver_that_swallows_interruptions_is_stopped(capfd):
    casadi = pytest.importorskip("casadi")
    x = casadi.SX.sym("x", 2)
    options = {"print_time": 0, "ipopt": {"print_level": 0, "tol": 1e-30, "max_iter": 10**9}}
    rosenbrock = {"x": x, "f": (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2}
    solver = casadi.nlpsol("solver", "ipopt", rosenbrock, options)

    def solve_for_ever(*_):
        while True:
            solver(x0=[1.7, 2.3])

    def solve_long(*_):
        return [solver(x0=[1.7, 2.3]) for _ in range(10**9)] and 1.0

    item = Fill(1, "long", reference=lambda x: 1.0, probes=lambda rng: [(1.3,)], time_limit=0.2)
    trace = sys.gettrace()
    assert "more than 0.2 s" in item.judge(solve_for_ever).sentence
    assert "more than 0.2 s" in item.judge(solve_long).sentence
    assert sys.gettrace() is trace
    assert capfd.readouterr().err == ""


def test_what_comes_late_is_not_collected(monkeypatch):
    monkeypatch.setattr(limits, "_patience", lambda seconds: seconds)

    def late():
        try:
            while True:
                time.sleep(10)
        except TookTooLong:
            pass
        yield 2

    assert collect(late(), 0.05) == ([], False)


def test_what_a_long_call_gives_late_is_not_collected(monkeypatch):
    clock, collected = [0.0], []
    monkeypatch.setattr(
        limits,
        "time",
        SimpleNamespace(monotonic=time.monotonic, thread_time=lambda: clock[0], process_time=lambda: 0.0),
    )

    def slower():
        for hours in (0.4, 0.5, 0.2):
            clock[0] += hours * HOUR
            yield hours

    # in a thread of its own: in this one, pytest's own alarm would be set by the wrong clock
    thread = threading.Thread(target=lambda: collected.append(collect(slower(), HOUR)))
    thread.start()
    thread.join()
    assert collected == [([0.4, 0.5], False)]


def test_limit_returns_the_alarm_it_found():
    if not hasattr(signal, "setitimer"):
        pytest.skip("no alarms on this system")
    before, theirs = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, HOUR / 2)
    try:
        within(HOUR, lambda: None)
        assert signal.getsignal(signal.SIGALRM) is before
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= HOUR / 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, *theirs)


# --------------------------------------------------------------------------------------- hints, table, output


def test_hints_come_in_tiers_and_are_counted(check, file, capsys):
    for _ in range(3):
        check.hint(3)
    out = capsys.readouterr().out
    assert "Hint 1 of 2 for item 3. Think of the target." in out and out.count("Hint 2 of 2") == 2
    assert progress.load(file)["exercises"]["99"]["items"]["3"]["hints"] == 2
    Exercise(99, "a toy", ITEMS).hint(3)  # a new session begins at the first hint and forgets none
    assert progress.load(file)["exercises"]["99"]["items"]["3"]["hints"] == 2


def test_summary_and_score(check, capsys):
    check(3, td_error_by_student)
    check(2, "a")
    capsys.readouterr()
    check.summary()
    out = capsys.readouterr().out
    assert "Exercise 99, a toy: 17 %" in out
    assert "✓ right" in out and "✗ wrong" in out and out.count("○ not attempted") == 4
    assert check.score() == pytest.approx(1 / 6)


def td_error_by_student(cost, discount, v_next, q):
    return cost + discount * v_next - q


def test_everything_right_is_100_percent(check):
    for number, answer in enumerate([10, "b", td_error_by_student, DEBUG.variants[0], {"gain": 0.9}], start=1):
        check(number, answer)
    check(6, "b", [1, 4])
    assert check.score() == 1


def test_unknown_item_names_the_known(check):
    with pytest.raises(ValueError, match="has items 1 to 6, no item 9"):
        check(9, None)
    with pytest.raises(ValueError, match="numbered"):
        Exercise(1, "gap", [FILL])


def test_html_is_escaped_and_says_everything_in_words():
    evil = Result(WRONG, "a < b", (("yours", "<script>alert(1)</script>"),))
    html = card(3, "<b>", evil, stand_in=True, hints_left=True)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;alert(1)" in html and "a &lt; b" in html
    assert "Item 3, &lt;b&gt;: wrong" in html and "course&#x27;s reference" in html and "check.hint(3)" in html
    assert "<script>" not in Table("<script>", ["<script>"], [["<script>"]])._repr_html_()


# --------------------------------------------------------------------------------------------------- progress


def test_progress_keeps_last_and_best(check, file):
    check(3, td_error_by_student)
    check(3, lambda c, g, v, q: c + v - q)
    check(6, "b", [1, 4])
    items = json.loads(file.read_text("utf-8"))["exercises"]["99"]["items"]
    assert {name: items["3"][name] for name in ("kind", "last", "best", "attempts", "hints", "sentence")} == {
        "kind": "fill",
        "last": WRONG,
        "best": RIGHT,
        "attempts": 2,
        "hints": 0,
        "sentence": "γ is missing in front of V(s⁺).",
    }
    assert items["3"]["time"].endswith("+00:00")
    assert items["6"]["text"] == "[1, 4]"
    assert set(items) == set("123456") and items["1"]["last"] == NOT_ATTEMPTED


def test_a_later_session_reads_the_earlier_one(check):
    check(3, td_error_by_student)
    assert Exercise(99, "a toy", ITEMS).score() == pytest.approx(1 / 6)


def test_progress_that_cannot_be_written_stops_nothing(check, file, capsys):
    file.parent.parent.joinpath("record").write_text("a file where the folder should be", "utf-8")
    assert check(3, td_error_by_student) is td_error_by_student
    said = capsys.readouterr().out
    assert "could not be recorded" in said and "let the environment variable MPCRL_COURSE_PROGRESS name a file" in said
    assert check.score() == pytest.approx(1 / 6)
