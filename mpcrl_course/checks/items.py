"""The five kinds of item an exercise is made of, and how each judges an answer.

    Predict   a number within a tolerance, or a choice, before anything is run
    Fill      a function to write
    Debug     a function that looks right, with one fault to find
    Design    anything that meets measured targets
    Explain   a choice and its reason

Every kind has `judge(answer, seed) -> Result`, a pure function; what is shown and recorded is the affair of
`engine` and `report`.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from .compare import Agreement, Close, Compare, close
from .diagnose import diagnose
from .progress import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from .sandbox import mending
from .suppose import suppose
from .values import Unreadable, copied, harmless, is_blank, kind_of, shown
from .watch import Probe, Property, Raised, in_words, is_time_out, is_unwritten, named, observe

RELATIONS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}


@dataclass(frozen=True)
class Mistake:
    """A wrong answer we know, with the sentence that helps.

    Parameters
    ----------
    name
        Short, unique within the item: "discount missing".
    sentence
        What a student who made it reads. It says what went wrong, not what to type.
    wrong
        What recognises it. Fill, Debug: an implementation that makes the mistake. Predict: the wrong number,
        a (low, high) range, or the wrong choice. Explain: the key of the wrong choice, or the number of the wrong
        reason. Design: a predicate `wrong(answer, measured)`.
    example
        Design only: an answer the predicate recognises; `assert_item_sound` tries it.
    raises
        Fill, Debug: that it stops with an error is its point. Otherwise it must give a value on every probe, since
        a mistake is known by its values.
    """

    name: str
    sentence: str
    wrong: Any
    example: Any = None
    raises: bool = False


@dataclass(frozen=True)
class Result:
    """What a check found.

    Parameters
    ----------
    verdict
        "not attempted", "raised an error", "wrong" or "right".
    sentence
        What the student is told.
    details
        Labelled lines below it: input, yours, expected; or a measured table.
    mistake
        Name of the known mistake that was recognised.
    """

    verdict: str
    sentence: str = ""
    details: tuple[tuple[str, str], ...] = ()
    mistake: str | None = None


@dataclass(frozen=True)
class Item:
    """What all kinds share.

    Parameters
    ----------
    number
        1, 2, … within the exercise.
    title
        A few words.
    reference
        The right answer.
    mistakes
        Known wrong answers: at least six; a sentence for every wrong choice where there are choices.
    hints
        From a nudge to nearly the answer; at least two.
    when_right
        One sentence on why it matters, shown with the verdict "right".
    time_limit
        Seconds of processor time for the answer; infinity for no limit.
    """

    number: int
    title: str
    reference: Any = field(kw_only=True)
    mistakes: Sequence[Mistake] = field(default=(), kw_only=True)
    hints: Sequence[str] = field(default=(), kw_only=True)
    when_right: str = field(default="", kw_only=True)
    time_limit: float = field(default=3.0, kw_only=True)

    kind: ClassVar[str] = ""
    hands_out_reference: ClassVar[bool] = False  # do the notebook's next cells need a working answer?

    def judge(self, answer: Any, seed: int = 0) -> Result:
        """Judge an answer.

        Parameters
        ----------
        answer
            The student's.
        seed
            Decides the probes: the same seed and answer give the same result.
        """
        raise NotImplementedError

    def right_answers(self) -> list[Any]:
        """Give answers that must be judged right."""
        return [self.reference]

    def wrong_answers(self) -> list[tuple[Mistake, Any]]:
        """Give, for every known mistake, answers that must be recognised as it."""
        return [(mistake, mistake.wrong) for mistake in self.mistakes]

    def right(self, details: tuple[tuple[str, str], ...] = ()) -> Result:
        """Give the result of a right answer, with `details` as in `Result`."""
        return Result(RIGHT, self.when_right, details)

    def rng(self, seed: int) -> np.random.Generator:
        """Give this item's own stream of random numbers for a `seed`."""
        return np.random.default_rng([seed, self.number])


@dataclass(frozen=True)
class Predict(Item):
    """A number within a tolerance, or a choice, said before anything is run. The right one is never shown.

    Parameters
    ----------
    rtol, atol
        A number is accepted if it lies within atol + rtol |reference|.
    choices
        For a choice: {"a": "what it says", …}; the reference is then one of the keys.
    """

    rtol: float = field(default=0.02, kw_only=True)
    atol: float = field(default=0.0, kw_only=True)
    choices: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    kind: ClassVar[str] = "predict"

    def judge(self, answer: Any, seed: int = 0) -> Result:
        """Judge an answer for a `seed`, as in `Item`."""
        (answer,) = observe(lambda: answer, [()], limit=self.time_limit, ours=True)
        if is_blank(answer) or isinstance(answer, str) and not answer.strip():
            return Result(NOT_ATTEMPTED, "Commit to an answer first: a wrong guess teaches more than none.")
        if self.choices:
            return _judge_choice(self, answer, self.choices)
        numbers = _readings(answer) if isinstance(answer, str) else [_as_number(answer)]
        number = numbers[0]
        if isinstance(number, str):
            return Result(WRONG, f"Your answer is {number}; a single number is expected.")
        if math.isnan(number):
            return Result(WRONG, "Your answer is not a number (NaN).")
        if any(abs(n - self.reference) <= self.tolerance * (1 + 1e-9) for n in numbers):  # the very edge is within
            return self.right()
        yours = (("yours", shown(number)),)
        for mistake in self.mistakes:
            low, high = self.span(mistake)
            if low <= number <= high:
                return Result(WRONG, mistake.sentence, yours, mistake.name)
        side = "large" if number > self.reference else "small"
        return Result(WRONG, f"It is too {side}; this is none of the slips we know. A hint may help.", yours)

    @property
    def precision(self) -> str:
        """How exact a number must be, in the words in which the notebook must ask for it."""
        parts = [f"{100 * self.rtol:g} %"] * bool(self.rtol) + [f"{self.atol:g}"] * bool(self.atol)
        return f"to within {' and '.join(parts)}" if parts else "exactly"

    @property
    def tolerance(self) -> float:
        """Largest accepted distance from the reference."""
        return self.atol + self.rtol * abs(self.reference)

    def span(self, mistake: Mistake) -> tuple[float, float]:
        """Give the numbers recognised as a mistake: its range, or its value and the tolerance around it."""
        if isinstance(mistake.wrong, tuple):
            return mistake.wrong
        around = self.atol + self.rtol * abs(mistake.wrong)
        return mistake.wrong - around, mistake.wrong + around

    def right_answers(self) -> list[Any]:
        """Give answers that must be judged right."""
        if self.choices:
            key = str(self.reference)
            return [key, f" {key.upper()} ", f"({key})", f"{key.upper()}.", f"{key})"]
        accepted = [self.reference + share * self.tolerance for share in (0, 0.99, -0.99)]
        return [*accepted, repr(float(self.reference)), np.array([[accepted[1]]])]

    def wrong_answers(self) -> list[tuple[Mistake, Any]]:
        """Give, for every known mistake, answers that must be recognised as it."""
        if self.choices:
            return super().wrong_answers()
        answers = []
        for mistake in self.mistakes:
            low, high = self.span(mistake)
            low = high - 1e3 if math.isinf(low) else low
            high = low + 1e3 if math.isinf(high) else high
            answers += [(mistake, low + share * (high - low)) for share in (0.01, 0.5, 0.99)]
        return answers


@dataclass(frozen=True)
class Fill(Item):
    """A function to write.

    Parameters
    ----------
    reference
        A right implementation; handed to the cells below while the student's is not right.
    probes
        `probes(rng)` gives a list of calls: tuples of positional or dicts of named arguments. Random, never
        symmetric points (0, ½, 1, equal numbers, matrices that happen to be symmetric), on which mistakes
        hide.
    compare
        `compare(yours, expected)` gives True or a sentence; by default `close(rtol=1e-6, atol=1e-9)`.
    properties
        Pairs of a name and `holds(function, *probe)`, which gives True or a sentence.
    variants
        At least two other right implementations, as different as may be.
    """

    probes: Callable[[np.random.Generator], Iterable[Probe]] = field(kw_only=True)
    compare: Compare = field(default=close(), kw_only=True)
    properties: Sequence[Property] = field(default=(), kw_only=True)
    variants: Sequence[Callable] = field(default=(), kw_only=True)

    kind: ClassVar[str] = "fill"
    hands_out_reference: ClassVar[bool] = True

    def judge(self, answer: Any, seed: int = 0) -> Result:
        """Judge an answer for a `seed`, as in `Item`."""
        (seen,) = observe(lambda: answer, [()], limit=self.time_limit, ours=True)
        if is_blank(seen):
            return Result(NOT_ATTEMPTED, "Fill in the blank, then run the cell again.")
        if not callable(answer):
            return Result(WRONG, f"Pass the function itself, without calling it; this is {kind_of(seen)}.")
        probes = self.calls(seed)
        expected = observe(self.reference, probes, self.properties, ours=True)
        yours = observe(answer, probes, self.properties, self.time_limit)
        return self.assess(answer, probes, yours, expected)

    def calls(self, seed: int) -> list[Probe]:
        """Give the calls a seed decides."""
        return list(self.probes(self.rng(seed)))

    def assess(self, answer: Callable, probes: list[Probe], yours: list[Any], expected: list[Any]) -> Result:
        """Compare what `observe` saw of `answer` on all `probes`, `yours`, with what it saw of the reference."""
        calls = len(probes)
        if all(map(is_unwritten, yours[:calls])) and not any(map(is_blank, expected[:calls])):
            return Result(NOT_ATTEMPTED, "It returns nothing yet. (If you have written it: is its last line a return?)")
        differing = self._differing(yours, expected, calls)
        if not differing:
            return self.right()
        errors = [place for place in differing if isinstance(yours[place], Raised)]
        mistake = self._recognise(probes, yours, expected)
        if errors:
            return self._stopped(probes, yours, errors[0], mistake)
        if differing[0] >= calls:
            place = differing[0]
            test, found = self.properties[place // calls - 1][0], yours[place]
            sentence = mistake.sentence if mistake else found if isinstance(found, str) else f"It fails a test: {test}."
            failed = (("input", in_words(self.reference, probes[place % calls])), ("test", test))
            return Result(WRONG, sentence, failed, mistake.name if mistake else None)
        if mistake:
            place, sentence, name = differing[0], mistake.sentence, mistake.name
        else:
            (sentence, place), name = self._located(answer, probes, yours, expected, differing), None
        shown_call = ("input", in_words(self.reference, probes[place]))
        return Result(WRONG, sentence, (shown_call, *_side_by_side(yours[place], expected[place])), name)

    def _stopped(self, probes: list[Probe], yours: list[Any], place: int, mistake: Mistake | None) -> Result:
        found, details = yours[place], [("input", in_words(self.reference, probes[place % len(probes)]))]
        if is_time_out(found):
            sentence = f"It computed for more than {self.time_limit:g} s and was stopped: does a loop never end?"
            return Result(RAISED, sentence, (*details, ("besides", found.message)) if found.message else tuple(details))
        details += [("error", str(found))] + ([("your line", found.line)] if found.line else [])
        if mistake:
            return Result(RAISED, mistake.sentence, tuple(details), mistake.name)
        wrong = sum(isinstance(outcome, Raised) for outcome in yours[: len(probes)])
        where = f" in {wrong} of {len(probes)} calls" if 0 < wrong < len(probes) else ""
        return Result(RAISED, f"It stopped with an error{where}.", tuple(details))

    def _located(
        self, answer: Callable, probes: list[Probe], yours: list[Any], expected: list[Any], differing: list[int]
    ) -> tuple[str, int]:
        # What can be said of an answer that makes no known mistake, and the call that shows it.
        wrong = [i for i in differing if i < len(probes)]
        for place in wrong:
            if isinstance(expected[place], Raised):
                return f"Here an error is expected ({expected[place].type}); your function returns a value.", place
        if isinstance(self.compare, Close):
            compare = self.compare
            (again,) = observe(answer, probes[wrong[0] : wrong[0] + 1], limit=self.time_limit)
            leaves = harmless(lambda: compare.leaves(again, yours[wrong[0]]), "")
            if not isinstance(leaves, str) and any(compare.differing(leaf).any() for leaf in leaves):
                said = "Asked twice the same, it gives two answers: does it draw at random, or keep something?"
                return said, wrong[0]
            good = [i for i in range(len(probes)) if not isinstance(expected[i], Raised)]
            calls = [named(self.reference, probes[i]) for i in good]
            found = diagnose(self.compare, calls, [yours[i] for i in good], [expected[i] for i in good])
            place = good[found.place]
            said = "" if found.explained else suppose(self.reference, probes, yours, self._agree, place)
            return said or found.sentence, place
        agreement = self._agreement(yours[wrong[0]], expected[wrong[0]])
        return (agreement if isinstance(agreement, str) else "It differs from what is expected."), wrong[0]

    def _agree(self, yours: Any, expected: Any) -> bool:
        return self._agreement(yours, expected) is True

    def _agreement(self, yours: Any, expected: Any) -> Agreement:
        if isinstance(yours, Raised) or isinstance(expected, Raised):
            return isinstance(yours, Raised) and isinstance(expected, Raised) and yours.type == expected.type
        try:
            return self.compare(yours, expected)
        except Exception:  # a comparison of its own, that cannot read this answer
            return f"Your answer is {kind_of(yours)}, which cannot be compared."

    def _differing(self, some: list[Any], others: list[Any], calls: int) -> list[int]:
        def agree(place: int, one: Any, other: Any) -> bool:
            if place < calls or isinstance(one, Raised) or isinstance(other, Raised):
                return self._agree(one, other)
            return (one is True) == (other is True)  # a property holds or not, whatever it says

        differing = [i for i, (one, other) in enumerate(zip(some, others, strict=False)) if not agree(i, one, other)]
        return differing + list(range(min(len(some), len(others)), len(some)))

    def _exactly(self) -> Fill:
        # Its comparison without tolerance, for rounding: is it the same computation?
        return (
            replace(self, compare=replace(self.compare, rtol=1e-9, atol=1e-12))
            if isinstance(self.compare, Close)
            else self
        )

    def _recognise(self, probes: list[Probe], yours: list[Any], expected: list[Any]) -> Mistake | None:
        # A mistake is recognised if the answer equals it at all places where it differs from the reference.
        # If several are, the one that explains most of the answer, and then the one that is nearer to it.
        calls, best, fewest = len(probes), None, (len(yours) + 1, 0)
        first = self._differing(yours, expected, calls)[0]
        for mistake in self.mistakes:
            if isinstance(yours[first], Raised) and not mistake.raises:
                continue  # no mistake is known by an error, unless the error is its point
            if first < calls:  # most are ruled out by one call: there they are neither right nor the answer
                one = slice(first, first + 1)
                seen = observe(mistake.wrong, probes[one], limit=self.time_limit, ours=True)[:1]
                if self._differing(seen, yours[one], 1) and self._differing(seen, expected[one], 1):
                    continue
            wrong = observe(mistake.wrong, probes, self.properties, self.time_limit, ours=True)
            if len(wrong) != len(yours):
                continue
            shows = self._differing(wrong, expected, calls)
            unexplained = self._differing(yours, wrong, calls)
            if mistake.raises:  # known by where it stops
                unexplained += [
                    i for i in range(len(yours)) if isinstance(yours[i], Raised) and not isinstance(wrong[i], Raised)
                ]
            else:
                unexplained += [i for i in shows if isinstance(wrong[i], Raised)]
            left = len(unexplained), len(self._exactly()._differing(yours, wrong, calls))
            if shows and set(shows).isdisjoint(unexplained) and left < fewest:
                best, fewest = mistake, left
        return best

    def right_answers(self) -> list[Any]:
        """Give answers that must be judged right."""
        return [self.reference, *self.variants]


@dataclass(frozen=True)
class Debug(Fill):
    """A function that looks right, with one fault to find.

    Parameters
    ----------
    given
        The faulty function as the notebook shows it; an answer that behaves like it is "not attempted".
    """

    given: Callable = field(kw_only=True)

    kind: ClassVar[str] = "debug"

    def assess(self, answer: Callable, probes: list[Probe], yours: list[Any], expected: list[Any]) -> Result:
        """Judge an `answer` (`yours`, `expected` on all `probes`) as `Fill` does; or say that it is as it was given."""
        result = super().assess(answer, probes, yours, expected)
        if result.verdict in (WRONG, RAISED):
            given = observe(self.given, probes, self.properties, self.time_limit, ours=True)
            if len(given) == len(yours) and not self._exactly()._differing(yours, given, len(probes)):
                return Result(NOT_ATTEMPTED, "It still behaves as the code you were given.", result.details[:1])
        return result


@dataclass(frozen=True)
class Design(Item):
    """Anything that meets measured targets.

    Parameters
    ----------
    measure
        `measure(answer, seed)` gives a dict of measured numbers; it may raise an error with a clear message
        for an answer of the wrong form.
    targets
        {"mean cost": ("<=", 0.032), …}: of each measured number that counts, a relation and a bound.
    variants
        At least two other answers that meet the targets.
    """

    measure: Callable[[Any, int], Mapping[str, float]] = field(kw_only=True)
    targets: Mapping[str, tuple[str, float]] = field(kw_only=True)
    variants: Sequence[Any] = field(default=(), kw_only=True)

    kind: ClassVar[str] = "design"
    hands_out_reference: ClassVar[bool] = True

    def judge(self, answer: Any, seed: int = 0) -> Result:
        """Judge an answer for a `seed`, as in `Item`."""
        (seen,) = observe(lambda: answer, [()], limit=self.time_limit, ours=True)
        if is_blank(seen):
            return Result(NOT_ATTEMPTED, "Fill in the blank, then run the cell again.")
        measurement_seed = int(self.rng(seed).integers(2**31))

        def measure(answer: Any) -> Mapping[str, float]:
            return self.measure(mending(answer) if inspect.isfunction(answer) else answer, measurement_seed)

        (measured,) = observe(measure, [(answer,)], limit=self.time_limit)
        if isinstance(measured, Raised):
            slow = f"Measuring it computed for more than {self.time_limit:g} s and was stopped."
            sentence = (
                slow
                if is_time_out(measured)
                else f"It cannot be measured: {(measured.message or measured.type).rstrip('.')}."
            )
            return Result(RAISED, sentence, (("yours", shown(seen)), ("error", str(measured))))
        details: list[tuple[str, str]] = []
        missed: list[str] = []
        for name, (relation, bound) in self.targets.items():
            number = _as_number(measured[name])
            number = math.nan if isinstance(number, str) else number
            met = bool(RELATIONS[relation](number, bound))
            said = "met" if met else "not a number" if math.isnan(number) else "missed"
            digits = next((d for d in (4, 6, 9) if shown(number, d) != shown(bound, d)), 15)
            details.append((name, f"{shown(number, digits)} (target {relation} {bound:g}: {said})"))
            missed += [] if met else [name]
        if not missed:
            return self.right(tuple(details))
        for mistake in self.mistakes:
            with contextlib.suppress(Exception):  # a predicate that cannot read this answer does not recognise it
                if _predicate(mistake, answer, measured):
                    return Result(WRONG, mistake.sentence, tuple(details), mistake.name)
        return Result(WRONG, f"Not yet: {' and '.join(missed)} missed.", tuple(details))

    def right_answers(self) -> list[Any]:
        """Give answers that must be judged right."""
        return [self.reference, *self.variants]

    def wrong_answers(self) -> list[tuple[Mistake, Any]]:
        """Give, for every known mistake, answers that must be recognised as it."""
        return [(mistake, mistake.example) for mistake in self.mistakes]


def _predicate(mistake: Mistake, answer: Any, measured: Mapping[str, float]) -> bool:
    return observe(lambda: bool(mistake.wrong(copied(answer), dict(measured))), [()], limit=1.0, ours=True)[0] is True


@dataclass(frozen=True)
class Explain(Item):
    """A claim, and those of several reasons that carry it; the answer is the pair of both.

    Parameters
    ----------
    choices
        {"a": "what it claims", …}; the reference is one of the keys, and every other has a `Mistake`.
    reasons
        {1: "because …", …}; some carry the right claim, and every other has a `Mistake`.
    carrying
        The numbers of those that do.
    """

    choices: Mapping[str, str] = field(kw_only=True)
    reasons: Mapping[int, str] = field(kw_only=True)
    carrying: Sequence[int] = field(kw_only=True)

    kind: ClassVar[str] = "explain"

    def judge(self, answer: Any, seed: int = 0) -> Result:
        """Judge an answer, the pair of a choice and the numbers of the reasons, for a `seed`, as in `Item`."""
        choice, because = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        because = sorted(because) if isinstance(because, set) and all(type(n) is int for n in because) else because
        ((choice, because),) = observe(lambda: (choice, because), [()], limit=self.time_limit)
        if is_blank(choice) or isinstance(choice, str) and not choice.strip(" ."):
            return Result(NOT_ATTEMPTED, "Choose one, and the reasons that carry it.")
        numbers = _numbers(because)
        if not numbers and (is_blank(because) or len(shown(because).strip("[]()'\" .")) == 0):
            return Result(NOT_ATTEMPTED, "Your claim is noted; now give the numbers of the reasons that carry it.")
        yours = (("yours", f"{shown(choice)} because of {shown(because)}"),)
        if not numbers or not numbers <= set(self.reasons):
            known = ", ".join(map(str, self.reasons))
            return Result(WRONG, f"Give the reasons by their numbers, as in [1, 2]; there are {known}.", yours)
        result = _judge_choice(self, choice, self.choices)
        if result.verdict != RIGHT:
            return result
        for mistake in self.mistakes:
            if mistake.wrong in numbers:
                return Result(WRONG, f"The claim is right. {mistake.sentence}", yours, mistake.name)
        if len(numbers) < len(self.carrying):
            return Result(WRONG, "The claim is right, and your reasons carry it, but not alone: look further.", yours)
        return self.right()

    def right_answers(self) -> list[Any]:
        """Give answers that must be judged right."""
        texts = [", ".join(map(str, self.carrying)), " and ".join(f"({n})" for n in reversed(self.carrying))]
        return [(self.reference, because) for because in (list(self.carrying), set(self.carrying), *texts)]

    def wrong_answers(self) -> list[tuple[Mistake, Any]]:
        """Give, for every known mistake, answers that must be recognised as it."""
        answers: list[tuple[Mistake, Any]] = []
        for mistake in self.mistakes:
            if mistake.wrong in self.choices:
                answers.append((mistake, (mistake.wrong, list(self.carrying))))
            else:
                answers += [(mistake, (self.reference, [mistake.wrong, *more])) for more in ([], self.carrying)]
        return answers


def _numbers(because: Any) -> set[int]:
    """Read the numbers of reasons out of what a person writes: 2, [1, 3], "1, 3", "(1) and (3)"."""
    if isinstance(because, Unreadable | Mapping):
        return set()
    parts = np.ravel(because).tolist() if isinstance(because, np.ndarray) else because
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    found: set[int] = set()
    for part in parts:
        if isinstance(part, str):
            found |= {int(n) for n in re.findall(r"\d{1,3}", part)}
        elif isinstance(part, int | float) and not isinstance(part, bool) and float(part).is_integer():
            found.add(int(part))
    return found


def _bare(key: Any) -> str:
    """Read a choice as people write it: "c", "C)", "(c)", "c."."""
    if isinstance(key, list | tuple) and len(key) == 1:
        key = key[0]
    return str(key).strip(" \t\n()[]{}.,:;'\"*_`").lower() if isinstance(key, str | int) else ""


def _judge_choice(item: Predict | Explain, answer: Any, choices: Mapping[str, str]) -> Result:
    yours = (("yours", shown(answer)),)
    if _bare(answer) == _bare(item.reference):
        return item.right()
    for mistake in item.mistakes:
        if mistake.wrong in choices and _bare(answer) == _bare(mistake.wrong):
            return Result(WRONG, mistake.sentence, yours, mistake.name)
    return Result(WRONG, f"Choose one of {', '.join(repr(key) for key in choices)}.", yours)


def _readings(answer: str) -> list[Any]:
    """Read a text as a number, in all the ways in which it may be meant: "406,800" with and without thousands."""
    text = re.sub(r"(?<=\d)[\s'_](?=\d{3})", "", answer.strip().lstrip("=≈~ ").replace("−", "-"))
    found = []
    for way in (text, text.replace(",", "."), text.replace(",", "")):
        for read in (float, Fraction):
            with contextlib.suppress(ValueError, ZeroDivisionError, OverflowError):
                found.append(float(read(way)))
    return found or [f"the text {shown(answer, limit=40)}"]


def _as_number(answer: Any) -> float | str:
    """Read a plain answer as one number, or say what it is."""
    if isinstance(answer, Unreadable | str | Raised | Mapping) or answer is ...:
        return kind_of(answer)
    number = answer[0] if isinstance(answer, list | tuple) and len(answer) == 1 else answer
    array = np.asarray(None if isinstance(number, list | tuple | Mapping) else number)
    if array.size != 1 or array.dtype.kind not in "biufc":
        return f"{kind_of(answer)} of {answer.size} numbers" if isinstance(answer, np.ndarray) else kind_of(answer)
    number = array.ravel()[0]
    if np.iscomplex(number):
        return "a complex number"
    return float(number.real)


def _side_by_side(yours: Any, expected: Any) -> tuple[tuple[str, str], ...]:
    digits = next((d for d in (4, 6, 9, 12) if shown(yours, d) != shown(expected, d)), 15)
    expected_text = f"an error ({expected})" if isinstance(expected, Raised) else shown(expected, digits)
    return ("yours", shown(yours, digits)), ("expected", expected_text)
