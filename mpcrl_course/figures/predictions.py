"""Predictions: the reader commits to a guess before a result is shown, and is told afterwards how near it was.

    predict("How many of 20 starts end upright?", key="upright", decimals=0)     # in a cell before
    reveal("upright", ends.sum())                                                # in the cell of the result
    tally()                                                                      # at the end

Guesses live as long as the kernel. Whoever runs all cells at once makes none, and nothing waits for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets
from IPython import get_ipython
from IPython.display import display

from mpcrl_course.figures.tables import Card, Table
from mpcrl_course.validation import real


@dataclass
class Question:
    """What is asked, what was guessed, and, once it is shown, the answer; a later guess does not count.

    Parameters
    ----------
    text, choices, unit, decimals, within
        As in `predict`.
    guess
        One of the choices, or a number; None if there is none.
    answer
        None until it is shown.
    """

    text: str
    choices: tuple[str, ...] = ()
    unit: str = ""
    decimals: int = 2
    within: float | None = None
    guess: Any = None
    answer: Any = None

    @property
    def right(self) -> bool:
        """Whether the guess was near enough, or the right choice."""
        if self.guess is None or self.answer is None:
            return False
        if self.choices:
            return self.guess == self.answer
        return abs(self.guess - self.answer) <= (0.1 * abs(self.answer) if self.within is None else self.within)

    def commit(self, guess: str | None) -> None:
        """Keep a guess, as the control gives it, unless the answer has been shown; what is no number is no guess."""
        if self.answer is None:
            self.guess = guess if self.choices else _number((guess or "").strip().removesuffix(self.unit))

    def status(self) -> str:
        """Return what the control says below itself."""
        kept = "" if self.guess is None else f"Kept: {self.written(self.guess)}."
        return kept if self.answer is None else f"{kept} The answer has been shown: a guess counts before it.".strip()

    def written(self, value: Any) -> str:
        """Write a guess or an answer, its `value`, with unit and decimals."""
        if value is None or self.choices:
            return value or "–"
        return f"{value:.{self.decimals}f} {self.unit}".strip()

    def verdict(self) -> str:
        """Return the guess beside the answer, in words."""
        if self.guess is None:
            return "No guess was made."
        words = f"You guessed {self.written(self.guess)}: "
        if self.right or self.choices:
            return words + ("right." if self.right else "not so.")
        off = self.guess - self.answer
        return words + f"too {'large' if off > 0 else 'small'} by {self.written(abs(off))}."


#: What has been asked in this kernel, by key.
ASKED: dict[str, Question] = {}


def predict(
    question: str,
    choices: Sequence[str] = (),
    *,
    key: str,
    unit: str = "",
    decimals: int = 2,
    within: float | None = None,
) -> None:
    """Show a control with which the reader guesses a result that a later cell shows with `reveal`.

    A cell that is run again shows the guess that is kept, and after `reveal` a control that is closed. Outside of a
    notebook nothing is shown.

    Parameters
    ----------
    question : str
        A sentence.
    choices : sequence of str, optional
        Among which one chooses; by default a number is asked for.
    key : str
        By which `reveal` knows it.
    unit : str, optional
        Of the number.
    decimals : int, optional
        With how many it is shown.
    within : float, optional
        How near a number must be to be right, in its unit; by default a tenth of the answer.

    Raises
    ------
    ValueError
        There is no question, or only one choice, or two choices are the same.
    """
    if not question.strip():
        raise ValueError("question is empty: what is the reader to predict?")
    if len(set(choices)) != len(choices) or len(choices) == 1 or isinstance(choices, str):
        raise ValueError(f"choices must be two or more texts that differ, not {choices!r}")
    new = Question(question, tuple(choices), unit, decimals, within)
    old = ASKED.get(key)
    if old is None or old.text != new.text or old.choices != new.choices:
        ASKED[key] = new
    if getattr(get_ipython(), "kernel", None) is not None:
        display(control(ASKED[key]))


def control(asked: Question) -> ipywidgets.VBox:
    """Return the control of a question that was `asked`: radio buttons or a field for a number, and what is kept."""
    given: dict[str, Any] = {"description": "Your guess", "tooltip": asked.text, "disabled": asked.answer is not None}
    if asked.choices:
        guess = ipywidgets.RadioButtons(options=asked.choices, value=asked.guess, layout={"width": "auto"}, **given)
    else:
        value = "" if asked.guess is None else f"{asked.guess:g}"
        guess = ipywidgets.Text(value=value, placeholder="a number", continuous_update=False, **given)
    said = ipywidgets.Label(asked.status())

    def kept(change):
        asked.commit(change["new"])
        no_number = change["new"] and asked.guess is None and asked.answer is None
        said.value = "That is no number: no guess is kept." if no_number else asked.status()
        guess.disabled = asked.answer is not None

    guess.observe(kept, "value")
    question = ipywidgets.HTMLMath(f"<b>Predict.</b> {escape(asked.text, quote=False)}")
    return ipywidgets.VBox([question, ipywidgets.HBox([guess, ipywidgets.Label(asked.unit)]), said])


def reveal(key: str, value: Any) -> None:
    """Show the measured answer beside the guess; from then on the guess cannot be changed.

    Parameters
    ----------
    key : str
        Of the prediction.
    value : str or float
        The answer: one of the choices, or a number in the unit that was asked for.

    Raises
    ------
    ValueError
        Nothing was asked with this key, or the value is none that could have been guessed.
    """
    if key not in ASKED:
        raise ValueError(f"nothing was asked with the key {key!r}: run the cell with its predict first")
    asked = ASKED[key]
    if asked.choices and value not in asked.choices:
        raise ValueError(f"value {value!r} is none of the choices {', '.join(asked.choices)}")
    asked.answer = value if asked.choices else real(value, "value")
    display(Card(f"Measured: {asked.written(asked.answer)}", asked.verdict(), footer=[asked.text]))


def tally() -> Table:
    """Tabulate the predictions whose answer was shown: question, guess, answer, and how many were right."""
    shown = [asked for asked in ASKED.values() if asked.answer is not None]
    rows = []
    for asked in shown:
        verdict = "–" if asked.guess is None else "right" if asked.right else "wrong"
        rows.append((asked.text, asked.written(asked.guess), asked.written(asked.answer), verdict))
    made = sum(asked.guess is not None for asked in shown)
    caption = f"{sum(asked.right for asked in shown)} right of {made} guessed, of {len(shown)} predictions"
    return Table(caption, ["question", "your guess", "measured", "verdict"], rows)


def _number(text: str) -> float | None:
    # As it is typed: a comma, or a minus sign of typesetting, is understood.
    try:
        number = float(text.replace("−", "-").replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
