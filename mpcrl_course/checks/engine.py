'''The exercise engine: checks that name the mistake, and let the notebook go on.

An exercise is a module with one `Exercise`, made of items numbered 1, 2, … of five kinds (here shortened):

    """Exercise 99: a toy."""
    import numpy as np
    from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict

    def td_error(cost, discount, v_next, q):
        return cost + discount * v_next - q

    exercise = Exercise(99, "A toy", [
        Predict(1, "Value of a constant cost", reference=10.0, rtol=0.02, hints=["…", "…"], mistakes=[
            Mistake("finite", "That is the sum of the first ten terms only.", (6.0, 7.0)),   # a range
            Mistake("one step", "That is one step's cost, not the sum.", 1.0)]),             # a number
        Fill(2, "TD error", reference=td_error, when_right="Its mean is what Q-learning drives to zero.",
            probes=lambda rng: [tuple(rng.uniform(0.2, 3, 4)) for _ in range(5)],            # tuples or dicts
            mistakes=[Mistake("no discount", "γ is missing before V(s⁺).", lambda c, g, v, q: c + v - q)],
            variants=[lambda c, g, v, q: -(q - c - g * v), lambda c, g, v, q: np.dot([1, g, -1], [c, v, q])],
            hints=["What is the target?", "The target is cost plus discounted value; subtract Q."]),
    ])

and in the notebook a student writes

    from mpcrl_course.checks import ex99
    check = ex99.exercise

    check(1, 9.8)                        # predict: a number or a choice
    td_error = check(2, td_error)        # fill, debug, design: hand it in, get back what the cells below use
    check(3, "b", because=[1, 4])        # explain: a claim and the numbers of the reasons that carry it
    check.hint(2)                        # the next hint
    check.summary()                      # the table

For fill, debug and design, `check` returns the student's answer if it is right, and else the course's
reference, and says so. For predict and explain it returns None. Blanks (None, `...`, a function that returns
nothing or raises NotImplementedError) are "not attempted". `mpcrl_course.checks.items` documents every field;
`assert_item_sound(item)` is the test each item must pass: six named mistakes each recognised by its own
sentence, two variants judged right, two hints.

Limits: of processor time, so that a busy machine makes nothing wrong. Code inside one long compiled call is
stopped only when the call returns, and code that catches everything in a loop (`except:`) may resist for a
while. What an answer changes in the process (folder, random state, NumPy's settings and functions) is put back
after each check. Grading a class needs a process of its own.
'''

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpcrl_course import places
from mpcrl_course.figures.tables import Card, Table

from . import progress
from .compare import close
from .console import say
from .items import Debug, Design, Explain, Fill, Item, Mistake, Predict, Result
from .progress import NOT_ATTEMPTED, RAISED, RIGHT, SYMBOLS, WRONG
from .report import card, show
from .sound import assert_item_sound
from .values import copied, shown

__all__ = [
    "NOT_ATTEMPTED",
    "RAISED",
    "RIGHT",
    "WRONG",
    "Debug",
    "Design",
    "Exercise",
    "Explain",
    "Fill",
    "Item",
    "Mistake",
    "Predict",
    "Result",
    "assert_item_sound",
    "close",
]


class Exercise:
    """The checks of one exercise notebook; call it to check an item.

    Parameters
    ----------
    number
        Of the lecture, 1 … 99.
    title
        A few words.
    items
        Numbered 1, 2, … in order.
    seed
        Decides all probes.
    """

    def __init__(self, number: int, title: str, items: Sequence[Item], seed: int = 0) -> None:
        self.number, self.title, self.seed = number, title, seed
        self.items = {item.number: item for item in items}
        if [item.number for item in items] != list(range(1, len(items) + 1)):
            raise ValueError(f"exercise {number}: items must be numbered 1, 2, … in order")
        self.results: dict[int, Result] = {}  # of this session
        self._handed_out = {n: item.reference for n, item in self.items.items() if item.hands_out_reference}
        self._hints_shown: dict[int, int] = {}

    def __call__(self, number: int, answer: Any, because: Any = None) -> Any:
        """Check an item, show the verdict and record it.

        Parameters
        ----------
        number
            Of the item.
        answer
            A function (fill, debug), anything (design), a number or a choice (predict), a choice (explain).
        because
            The numbers of the reasons, for items of kind explain.

        Returns
        -------
        object
            Fill, debug, design: the answer if right, else the course's reference. Predict, explain: None.
        """
        item = self.item(number)
        if item.hands_out_reference and _is_same(answer, self._handed_out[number]):
            sentence = "This is the course's reference, not yours: run the cell with your answer, then this one."
            show(card(number, item.title, Result(NOT_ATTEMPTED, sentence), stand_in=True))
            return answer
        result = item.judge((answer, because) if isinstance(item, Explain) else answer, self.seed)
        self.results[number] = result
        reasons = shown(because) if isinstance(item, Explain) and result.verdict != NOT_ATTEMPTED else ""
        self._record(item, lambda entry: progress.note(entry, result.verdict, result.sentence, reasons))
        stand_in = item.hands_out_reference and result.verdict != RIGHT
        hints_left = self._hints_shown.get(number, 0) < len(item.hints)
        show(card(number, item.title, result, stand_in, hints_left))
        if not item.hands_out_reference:
            return None
        if stand_in:
            self._handed_out[number] = copied(item.reference)
            return self._handed_out[number]
        return answer

    def stands_in(self, *numbers: int) -> bool:
        """Tell whether the course's reference stands in for the answer to one of the items with these `numbers`."""
        results = [self.results.get(number) for number in numbers]
        return any(result is None or result.verdict != RIGHT for result in results)

    def item(self, number: int) -> Item:
        """Give an item by its number.

        Raises
        ------
        ValueError
            If there is none of that number.
        """
        if number not in self.items:
            raise ValueError(f"exercise {self.number:02d} has items 1 to {len(self.items)}, no item {number!r}")
        return self.items[number]

    def hint(self, number: int) -> None:
        """Show an item's next hint; how many were taken is recorded.

        Parameters
        ----------
        number
            Of the item.
        """
        item = self.item(number)
        if not item.hints:
            show(Card(f"Item {number} has no hints"))
            return
        tier = min(self._hints_shown.get(number, 0) + 1, len(item.hints))
        self._hints_shown[number] = tier
        self._record(item, lambda entry: entry.update(hints=max(entry["hints"], tier)))
        last = ["This was the last hint."] if tier == len(item.hints) else []
        show(Card(f"Hint {tier} of {len(item.hints)} for item {number}", item.hints[tier - 1], footer=last))

    def score(self) -> float:
        """Give the share of items whose last verdict is "right", 0 to 1."""
        return sum(verdict == RIGHT for verdict in self._last_verdicts().values()) / len(self.items)

    def summary(self) -> None:
        """Show all items with their last verdicts, recorded in this session or an earlier one."""
        verdicts = self._last_verdicts()
        rows = [[str(n), i.kind, i.title, f"{SYMBOLS[verdicts[n]]} {verdicts[n]}"] for n, i in self.items.items()]
        caption = f"Exercise {self.number:02d}, {self.title}: {100 * self.score():.0f} %"
        show(Table(caption, ["item", "kind", "title", "verdict"], rows))

    def _last_verdicts(self) -> dict[int, str]:
        try:
            recorded = progress.load(places.progress_file())["exercises"].get(f"{self.number:02d}", {"items": {}})
        except OSError:
            recorded = {"items": {}}
        verdicts = {n: recorded["items"].get(str(n), {}).get("last", NOT_ATTEMPTED) for n in self.items}
        return verdicts | {n: result.verdict for n, result in self.results.items()}

    def _record(self, item: Item, edit: Any) -> None:
        def change(data: dict[str, Any]) -> None:
            mine = data["exercises"].setdefault(f"{self.number:02d}", {"items": {}})
            mine["title"] = self.title
            for n, other in self.items.items():  # all, so that one whose check was deleted is seen to be missing
                entry = mine["items"].setdefault(str(n), progress.new_entry(other.kind, other.title))
                entry.update(kind=other.kind, title=other.title)
            edit(mine["items"][str(item.number)])

        try:
            progress.change(places.progress_file(), change)
        except OSError as error:
            say(f"Your progress could not be recorded ({error}); everything else works. {progress.ELSEWHERE}")


def _is_same(answer: Any, handed_out: Any) -> bool:
    # The very object, not an equal one; small numbers and short texts are one object in Python if equal: not
    # those.
    return answer is handed_out and not isinstance(answer, int | float | str | type(None))
