"""The test that every item of every exercise must pass."""

from __future__ import annotations

import functools
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .items import Debug, Design, Explain, Fill, Item, Predict
from .progress import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from .values import copied
from .watch import Raised, observe


def assert_item_sound(item: Item, seed: int = 0) -> float:
    """Assert that an item judges as it should.

    The reference and at least two variants are right; at least six known mistakes (where there are choices: one
    for every wrong choice, at least three; to explain: one for every wrong claim and reason) are each caught and
    named by their own sentence, and known by values: none stops with an error, unless that is its point; a blank
    is "not attempted"; there are at least two hints. Nothing is judged by time: each check takes as long as it
    takes, without the item's limit.

    Parameters
    ----------
    item
        Any kind.
    seed
        Decides the probes; try several.

    Returns
    -------
    float
        Seconds of processor time of the slowest check.

    Raises
    ------
    AssertionError
        Naming the item and what is wrong with it.
    """
    where = f"item {item.number} ({item.kind}, {item.title}), seed {seed}"
    assert len(item.hints) >= 2, f"{where}: needs two hints, has {len(item.hints)}"
    _assert_mistakes_complete(item, where)
    item, took = replace(item, time_limit=math.inf), [0.0]
    judging = _knowing_what_it_saw(item) if isinstance(item, Fill) else item

    def judge(answer: Any) -> Any:
        start = time.process_time()
        result = judging.judge(answer, seed)
        took.append(time.process_time() - start)
        return result

    for i, answer in enumerate(item.right_answers()):
        result = judge(answer)
        assert result.verdict == RIGHT, f"{where}: right answer {i} is judged {result}"
    for mistake, answer in item.wrong_answers():
        result = judge(answer)
        assert result.verdict in (WRONG, RAISED), f"{where}: mistake {mistake.name!r} is judged {result}"
        assert result.mistake == mistake.name and result.sentence.endswith(mistake.sentence), (
            f"{where}: mistake {mistake.name!r} is taken for {result.mistake!r}: {result}"
        )
    for blank in _blanks(item):
        result = judge(blank)
        assert result.verdict == NOT_ATTEMPTED, f"{where}: the blank {blank!r} is judged {result}"
    if isinstance(item, Fill):
        calls = item.calls(seed)
        assert calls, f"{where}: no probes"
        held = observe(item.reference, calls, item.properties, ours=True)[len(calls) :]
        assert all(holds is True for holds in held), f"{where}: the reference fails a property: {held}"
        _assert_known_by_values(item, calls, where)
    return max(took)


def _assert_known_by_values(item: Fill, calls: list, where: str) -> None:
    expected = observe(item.reference, calls, ours=True)
    for mistake in item.mistakes:
        seen = observe(mistake.wrong, calls, ours=True)
        dead = [i for i, one in enumerate(seen) if isinstance(one, Raised) and not isinstance(expected[i], Raised)]
        assert bool(dead) == mistake.raises, (
            f"{where}: mistake {mistake.name!r} is dead, it raises {seen[dead[0]]}"
            if dead
            else f"{where}: mistake {mistake.name!r} does not raise"
        )


def _knowing_what_it_saw(item: Fill) -> Fill:
    """Return the item with which each answer is compared: what is known is called once for a probe, not every time.

    The answers themselves are not changed: one that gives something else at each call is still seen to.
    """
    known = [replace(mistake, wrong=_once(mistake.wrong)) for mistake in item.mistakes]
    item = replace(item, reference=_once(item.reference), mistakes=known)
    return replace(item, given=_once(item.given)) if isinstance(item, Debug) else item


def _once(function: Callable) -> Callable:
    seen: dict[bytes, Any] = {}

    @functools.wraps(function)
    def remembering(*args: Any, **kwargs: Any) -> Any:
        try:
            call = pickle.dumps((args, kwargs))
        except Exception:  # a probe with a function, say
            return function(*args, **kwargs)
        if call in seen:
            return copied(seen[call])
        result = function(*args, **kwargs)
        if pickle.dumps((args, kwargs)) == call:  # it has not changed what it was given
            seen[call] = copied(result)
        return result

    return remembering


def _assert_mistakes_complete(item: Item, where: str) -> None:
    names = [mistake.name for mistake in item.mistakes]
    sentences = [mistake.sentence for mistake in item.mistakes]
    assert len(set(names)) == len(names) and len(set(sentences)) == len(sentences), f"{where}: mistakes repeat"
    assert all(len(sentence) > 10 for sentence in sentences), f"{where}: a mistake without a sentence"
    if isinstance(item, Explain):
        false = {mistake.wrong for mistake in item.mistakes} - set(item.choices)
        assert item.carrying, f"{where}: no reason carries the claim"
        assert false == set(item.reasons) - set(item.carrying), f"{where}: each wrong reason needs its mistake"
        assert len(names) >= 6, f"{where}: needs six mistakes, has {len(names)}"
    if isinstance(item, Predict | Explain) and item.choices:
        wrong = {mistake.wrong for mistake in item.mistakes if isinstance(mistake.wrong, str)}
        assert item.reference in item.choices, f"{where}: the reference is no choice"
        assert wrong == set(item.choices) - {item.reference}, f"{where}: each wrong choice needs its mistake"
        assert len(wrong) >= 3, f"{where}: needs three wrong choices, has {len(wrong)}"
    else:
        assert len(names) >= 6, f"{where}: needs six mistakes, has {len(names)}"
    if isinstance(item, Fill | Design):
        assert len(item.variants) >= 2, f"{where}: needs two variants, has {len(item.variants)}"


def _blanks(item: Item) -> list[Any]:
    def returns_nothing(*args: Any, **kwargs: Any) -> None:
        return None

    def not_implemented(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    if isinstance(item, Explain):
        return [(None, None), (item.reference, None), (None, "because"), ("...", " "), (item.reference, [])]
    if isinstance(item, Debug):
        return [None, ..., item.given]
    if isinstance(item, Fill):
        return [None, ..., returns_nothing, not_implemented]
    return [None, ...]
