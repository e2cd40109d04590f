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
import io
import linecache
import math
import operator
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .compare import Agreement, Compare, close, copied, is_blank, kind_of, shown
from .limits import TookTooLong, collect
from .progress import NOT_ATTEMPTED, RAISED, RIGHT, WRONG

Probe = tuple | dict  # positional, or named, arguments of one call
Property = tuple[str, Callable[..., Agreement]]
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
        a (low, high) range, or the wrong choice. Explain: the wrong choice. Design: a predicate
        `wrong(answer, measured)`.
    example
        Design only: an answer the predicate recognises; `assert_item_sound` tries it.
    """

    name: str
    sentence: str
    wrong: Any
    example: Any = None


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
        Seconds for the whole check; infinity for none.
    """

    number: int
    title: str
    reference: Any = field(kw_only=True)
    mistakes: Sequence[Mistake] = field(default=(), kw_only=True)
    hints: Sequence[str] = field(default=(), kw_only=True)
    when_right: str = field(default="", kw_only=True)
    time_limit: float = field(default=1.0, kw_only=True)

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
        if is_blank(answer):
            return Result(NOT_ATTEMPTED, "Commit to an answer first: a wrong guess teaches more than none.")
        if self.choices:
            return _judge_choice(self, answer, self.choices)
        number = _as_number(answer)
        if number is None:
            return Result(WRONG, f"Your answer is {kind_of(answer)}; a single number is expected.")
        if math.isnan(number):
            return Result(WRONG, "Your answer is not a number (NaN).")
        if abs(number - self.reference) <= self.tolerance:
            return self.right()
        yours = (("yours", shown(number)),)
        for mistake in self.mistakes:
            low, high = self.span(mistake)
            if low <= number <= high:
                return Result(WRONG, mistake.sentence, yours, mistake.name)
        return Result(WRONG, "This is not it, nor one of the slips we know. A hint may help.", yours)

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
            return [self.reference, f" {str(self.reference).upper()} "]
        return [self.reference + share * self.tolerance for share in (0, 0.9, -0.9)]

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
        if is_blank(answer):
            return Result(NOT_ATTEMPTED, "Fill in the blank, then run the cell again.")
        if not callable(answer):
            return Result(WRONG, f"Pass the function itself, without calling it; this is {kind_of(answer)}.")
        start = time.monotonic()
        probes = self.calls(seed)
        expected = observe(self.reference, probes, self.properties)
        left = max(self.time_limit - (time.monotonic() - start), self.time_limit / 2)
        yours = observe(answer, probes, self.properties, left)
        return self.assess(probes, yours, expected)

    def calls(self, seed: int) -> list[Probe]:
        """Give the calls a seed decides."""
        return list(self.probes(self.rng(seed)))

    def assess(self, probes: list[Probe], yours: list[Any], expected: list[Any]) -> Result:
        """Compare what `observe` saw of the student's function with what it saw of the reference."""
        calls = len(probes)
        if all(map(_is_unwritten, yours[:calls])) and not any(map(is_blank, expected[:calls])):
            return Result(NOT_ATTEMPTED, "It returns nothing yet. (If you have written it: is its last line a return?)")
        differing = self._differing(yours, expected, calls)
        if not differing:
            return self.right()
        errors = [place for place in differing if isinstance(yours[place], Raised)]
        place = (errors or differing)[0]
        found, wanted = yours[place], expected[place]
        details = [("input", _in_words(self.reference, probes[place % calls]))]
        if found is TIME_OUT:
            sentence = f"It took longer than {self.time_limit:g} s and was stopped: does a loop never end?"
            return Result(RAISED, sentence, tuple(details))
        mistake = self._recognise(probes, yours, expected)
        name, sentence = (mistake.name, mistake.sentence) if mistake else (None, "")
        if isinstance(found, Raised):
            details += [("error", str(found))] + ([("your line", found.line)] if found.line else [])
            return Result(RAISED, sentence or "It stopped with an error.", tuple(details), name)
        if place < calls:
            agreement = self._agreement(found, wanted)
            sentence = sentence or (agreement if isinstance(agreement, str) else "It differs from what is expected.")
            details += _side_by_side(found, wanted)
        else:
            property_name = self.properties[place // calls - 1][0]
            sentence = sentence or (found if isinstance(found, str) else f"It fails a test: {property_name}.")
            details += [("test", property_name)]
        return Result(WRONG, sentence, tuple(details), name)

    def _agreement(self, yours: Any, expected: Any) -> Agreement:
        if isinstance(expected, Raised):
            same = isinstance(yours, Raised) and yours.type == expected.type
            return same or f"Here an error is expected ({expected.type}); your function returns a value."
        return False if isinstance(yours, Raised) else self.compare(copied(yours), copied(expected))

    def _differing(self, some: list[Any], others: list[Any], calls: int) -> list[int]:
        def agree(place: int, one: Any, other: Any) -> bool:
            if place < calls or isinstance(one, Raised) or isinstance(other, Raised):
                return self._agreement(one, other) is True
            return (one is True) == (other is True)  # a property holds or not, whatever it says

        return [i for i, (one, other) in enumerate(zip(some, others, strict=False)) if not agree(i, one, other)]

    def _recognise(self, probes: list[Probe], yours: list[Any], expected: list[Any]) -> Mistake | None:
        # A mistake is recognised if the answer equals it at all places where it differs from the reference.
        # If several are, the one that explains most of the answer.
        calls, best, fewest = len(probes), None, len(yours) + 1
        first = self._differing(yours, expected, calls)[0]
        for mistake in self.mistakes:
            if first < calls:  # most are ruled out by one call: there they are neither right nor the answer
                one = slice(first, first + 1)
                seen = observe(mistake.wrong, probes[one], limit=self.time_limit)[:1]
                if self._differing(seen, yours[one], 1) and self._differing(seen, expected[one], 1):
                    continue
            wrong = observe(mistake.wrong, probes, self.properties, self.time_limit)
            if len(wrong) != len(yours):
                continue
            shows = self._differing(wrong, expected, calls)
            unexplained = self._differing(yours, wrong, calls)
            if shows and set(shows).isdisjoint(unexplained) and len(unexplained) < fewest:
                best, fewest = mistake, len(unexplained)
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

    def assess(self, probes: list[Probe], yours: list[Any], expected: list[Any]) -> Result:
        """Compare `yours` with `expected` on all `probes` as `Fill` does, and first with the code as given."""
        result = super().assess(probes, yours, expected)
        if result.verdict in (WRONG, RAISED):
            given = observe(self.given, probes, self.properties, self.time_limit)
            if len(given) == len(yours) and not self._differing(yours, given, len(probes)):
                return Result(NOT_ATTEMPTED, "It still behaves as the code you were given.", result.details)
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
        if is_blank(answer):
            return Result(NOT_ATTEMPTED, "Fill in the blank, then run the cell again.")
        measurement_seed = int(self.rng(seed).integers(2**31))
        (measured,) = observe(self.measure, [(answer, measurement_seed)], limit=self.time_limit)
        if isinstance(measured, Raised):
            slow = f"Measuring it took longer than {self.time_limit:g} s and was stopped."
            sentence = slow if measured is TIME_OUT else "It cannot be measured."
            return Result(RAISED, sentence, (("yours", shown(answer)), ("error", str(measured))))
        details: list[tuple[str, str]] = []
        missed: list[str] = []
        for name, (relation, bound) in self.targets.items():
            met = bool(RELATIONS[relation](measured[name], bound))
            said = "met" if met else "not a number" if math.isnan(measured[name]) else "missed"
            details.append((name, f"{shown(measured[name], 4)} (target {relation} {bound:g}: {said})"))
            missed += [] if met else [name]
        if not missed:
            return self.right(tuple(details))
        for mistake in self.mistakes:
            with contextlib.suppress(Exception):  # a predicate that cannot read this answer does not recognise it
                if mistake.wrong(copied(answer), dict(measured)):
                    return Result(WRONG, mistake.sentence, tuple(details), mistake.name)
        return Result(WRONG, f"Not yet: {' and '.join(missed)} missed.", tuple(details))

    def right_answers(self) -> list[Any]:
        """Give answers that must be judged right."""
        return [self.reference, *self.variants]

    def wrong_answers(self) -> list[tuple[Mistake, Any]]:
        """Give, for every known mistake, answers that must be recognised as it."""
        return [(mistake, mistake.example) for mistake in self.mistakes]


@dataclass(frozen=True)
class Explain(Item):
    """A choice and its reason; the answer is the pair of both. Of the reason only the length is checked.

    Parameters
    ----------
    choices
        {"a": "what it says", …}; the reference is one of the keys, and every other has a `Mistake`.
    least
        Fewest characters of a reason.
    """

    choices: Mapping[str, str] = field(kw_only=True)
    least: int = field(default=60, kw_only=True)

    kind: ClassVar[str] = "explain"

    def judge(self, answer: Any, seed: int = 0) -> Result:
        """Judge an answer, the pair of a choice and a reason, for a `seed`, as in `Item`."""
        choice, because = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        if is_blank(choice):
            return Result(NOT_ATTEMPTED, "Choose one, and say why.")
        if is_blank(because) or not str(because).strip():
            return Result(NOT_ATTEMPTED, "Your choice is noted; now say why, in a sentence or two.")
        result = _judge_choice(self, choice, self.choices)
        written = len(" ".join(str(because).split()))
        if result.verdict == RIGHT and written < self.least:
            return Result(WRONG, f"Say more: your reason has {written} characters of at least {self.least}.")
        return result

    def right_answers(self) -> list[Any]:
        """Give answers that must be judged right."""
        return [(self.reference, "because " * self.least)]

    def wrong_answers(self) -> list[tuple[Mistake, Any]]:
        """Give, for every known mistake, answers that must be recognised as it."""
        return [(mistake, (mistake.wrong, "because " * self.least)) for mistake in self.mistakes]


def _judge_choice(item: Predict | Explain, answer: Any, choices: Mapping[str, str]) -> Result:
    def plain(key: Any) -> str:
        return str(key).strip().lower()

    yours = (("yours", shown(answer)),)
    if plain(answer) == plain(item.reference):
        return item.right()
    for mistake in item.mistakes:
        if plain(answer) == plain(mistake.wrong):
            return Result(WRONG, mistake.sentence, yours, mistake.name)
    return Result(WRONG, f"Choose one of {', '.join(repr(key) for key in choices)}.", yours)


def _as_number(answer: Any) -> float | None:
    if isinstance(answer, str):
        return None
    try:
        return float(np.asarray(answer, dtype=float).item())
    except Exception:  # not one number; CasADi raises plain Exceptions for its symbols
        return None


# ----------------------------------------------------------------------------------------- watching functions


@dataclass(frozen=True)
class Raised:
    """An error instead of a value: its type's name, its message, and the student's line ("" if not known)."""

    type: str
    message: str
    line: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.type, self.message) if part)


TIME_OUT = Raised("time-out", "took too long")


def _is_unwritten(outcome: Any) -> bool:
    return is_blank(outcome) or isinstance(outcome, Raised) and outcome.type == "NotImplementedError"


def observe(
    function: Callable,
    probes: Sequence[Probe],
    properties: Sequence[Property] = (),
    limit: float = math.inf,
) -> list[Any]:
    """Call a function on every probe, then try its properties on every probe.

    Each call gets its own copy of the arguments; what it returns is copied at once; prints and warnings are
    dropped.

    Parameters
    ----------
    function, probes, properties
        As in `Fill`.
    limit
        Seconds for everything together.

    Returns
    -------
    list
        Values or `Raised`, first of the calls, then of the properties. If time ran out it is shorter and ends
        with `TIME_OUT`.
    """

    def outcomes() -> Iterator[Any]:
        for probe in probes:
            yield _outcome(function, function, (), probe)
        for _, holds in properties:
            for probe in probes:
                verdict = _outcome(function, holds, (function,), probe)
                yield bool(verdict) if isinstance(verdict, np.bool_) else verdict

    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen, complete = collect(outcomes(), limit)
    return seen if complete else [*seen, TIME_OUT]


def _outcome(watched: Callable, called: Callable, first: tuple, probe: Probe) -> Any:
    arguments = copied(probe)
    try:
        if isinstance(arguments, dict):
            return copied(called(*first, **arguments))
        return copied(called(*first, *arguments))
    except (KeyboardInterrupt, TookTooLong):
        raise
    except BaseException as error:  # SystemExit too: a student's exit() must not end the notebook
        message = " ".join(str(error).split())
        return Raised(type(error).__name__, message[:200], _line_of(watched, error))


def _line_of(function: Callable, error: BaseException) -> str:
    # The deepest line of the student's own file (each notebook cell is one), not of the libraries below it.
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        if code is not None and frame.f_code.co_filename == code.co_filename:
            line = linecache.getline(code.co_filename, number, frame.f_globals).strip() or line
    return line


def _in_words(function: Callable, probe: Probe) -> str:
    try:
        positional, named = ((), probe) if isinstance(probe, dict) else (probe, {})
        arguments = inspect.signature(function).bind(*positional, **named).arguments
        return ", ".join(f"{name} = {shown(value)}" for name, value in arguments.items())
    except (TypeError, ValueError):
        return shown(probe)


def _side_by_side(yours: Any, expected: Any) -> tuple[tuple[str, str], ...]:
    digits = next((d for d in (4, 6, 9, 12) if shown(yours, d) != shown(expected, d)), 15)
    expected_text = f"an error ({expected})" if isinstance(expected, Raised) else shown(expected, digits)
    return ("yours", shown(yours, digits)), ("expected", expected_text)
