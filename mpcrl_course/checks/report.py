"""What a student sees: a few lines of HTML in a notebook, the same words as plain text elsewhere."""

from __future__ import annotations

from mpcrl_course.figures.tables import Card, Table

from .console import say
from .items import Result
from .progress import NOT_ATTEMPTED, RAISED, RIGHT, SYMBOLS, WRONG

_COLOURS = {NOT_ATTEMPTED: "#767676", RAISED: "#b35900", WRONG: "#b00040", RIGHT: "#1a7f37"}


def card(number: int, title: str, result: Result, stand_in: bool = False, hints_left: bool = False) -> Card:
    """Make the card of one check.

    Parameters
    ----------
    number, title
        Of the item.
    result
        What the check found.
    stand_in
        Whether the cells below go on with the course's reference.
    hints_left
        Whether to offer a hint.
    """
    footer = [f"The cells below use the course's reference for item {number}, not your answer."] if stand_in else []
    if hints_left and result.verdict in (RAISED, WRONG):
        footer.append(f"A hint: check.hint({number})")
    heading = f"{SYMBOLS[result.verdict]} Item {number}, {title}: {result.verdict}"
    return Card(heading, result.sentence, result.details, footer, _COLOURS[result.verdict])


def show(thing: Card | Table) -> None:
    """Display a `thing` in a notebook, print it elsewhere."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        say(thing)
        return
    if get_ipython() is None:
        say(thing)
    else:
        display(thing)
