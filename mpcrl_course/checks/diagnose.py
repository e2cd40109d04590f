"""Where, and how, an answer differs that makes no mistake we know.

From all calls together: which of them are right and what the wrong ones have in common; which part, block, row
or entry is wrong; and whether the wrong numbers are the right ones with another sign, times a factor, shifted,
transposed or in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .compare import Close, Leaf, where


@dataclass(frozen=True)
class Diagnosis:
    """What can be said of a wrong answer.

    Parameters
    ----------
    sentence
        Where and how it differs.
    place
        Which call shows it best: the smallest that is wrong.
    located
        Whether the sentence says more than that values differ.
    explained
        Whether it says how, so that no other explanation is sought.
    """

    sentence: str
    place: int
    located: bool
    explained: bool


def diagnose(close: Close, calls: Sequence[Mapping[str, Any]], yours: Sequence, expected: Sequence) -> Diagnosis:
    """Say where and how an answer differs from the expected one.

    Parameters
    ----------
    close
        The comparison, by which at least one call differs.
    calls
        Arguments of each call by name.
    yours, expected
        Plain values, one a call.
    """
    agreements = [close(one, other) for one, other in zip(yours, expected, strict=True)]
    wrong = [i for i, agreement in enumerate(agreements) if agreement is not True]
    place = min(wrong, key=lambda i: (_size(calls[i].values()) + _size([expected[i]]), i))
    which = _which_calls(calls, wrong)
    leaves = [close.leaves(yours[i], expected[i]) for i in wrong]
    if any(isinstance(found, str) for found in leaves):
        place = next(i for i, found in zip(wrong, leaves) if isinstance(found, str))
        return Diagnosis(_joined(which, str(agreements[place])), place, True, True)
    pairs = [found for found in leaves if not isinstance(found, str)]
    for i, found in zip(wrong, pairs, strict=True):
        for leaf in found:
            lost = np.isnan(leaf.yours) & close.differing(leaf)
            if lost.any():
                part = f"In part {leaf.name}: " if leaf.name else ""
                said = f"{part}Your answer is not a number (NaN){where(lost)}."
                return Diagnosis(_joined(which, said), i, True, False)
    parts = _which_parts(close, pairs)
    bad = [[leaf for leaf in found if not parts or _part(leaf.name) in parts[1]] for found in pairs]
    entries = _which_entries(close, bad, [calls[i] for i in wrong])
    how = _how(close, bad, [calls[i] for i in wrong], pairs)
    side = "" if how else _one_sided(close, bad)
    located = bool(which or parts or entries or how or side)
    said = _joined(which, parts[0] if parts else "", entries, how, side) if located else str(agreements[place])
    return Diagnosis(said, place, located, bool(how))


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _size(values: Iterable[Any]) -> int:
    total = 0
    for value in values:
        if isinstance(value, np.ndarray):
            total += value.size
        elif isinstance(value, list | tuple):
            total += _size(value)
        elif isinstance(value, Mapping):
            total += _size(value.values())
        else:
            total += 1
    return total


# ---------------------------------------------------------------------------------------------- which calls


def _which_calls(calls: Sequence[Mapping[str, Any]], wrong: list[int]) -> str:
    n, right = len(calls), len(calls) - len(wrong)
    if not right:
        return ""
    for name in calls[0]:
        for said, holds in _CONDITIONS:
            found = [_true(holds, call.get(name)) for call in calls]
            if None not in found and [i for i in range(n) if found[i]] == wrong:
                return f"Wrong in the {len(wrong)} of {n} calls where `{name}` {said}, right in the others."
    return f"Right in {right} of {n} calls."


#: What a single argument may have in all wrong calls, and in no right one.
_CONDITIONS: list[tuple[str, Callable[[Any], bool]]] = [
    ("is None", lambda v: v is None),
    ("is given (not None)", lambda v: v is not None),
    ("is 0", lambda v: _number(v) == 0),
    ("is negative", lambda v: _number(v) < 0),
    ("is positive", lambda v: _number(v) > 0),
    ("has negative entries", lambda v: bool((_array(v) < 0).any())),
    ("has entries that are true", lambda v: bool(_array(v, "b").any())),
    ("has more than one row", lambda v: len(_array(v)) > 1),
]


def _true(holds: Callable[[Any], bool], value: Any) -> bool | None:
    try:
        return holds(value)
    except TypeError:
        return None


def _number(value: Any) -> float:
    if value is None:
        return np.nan
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError
    return float(value)


def _array(value: Any, kinds: str = "iuf") -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or not value.ndim:
        raise TypeError
    return value


# ------------------------------------------------------------------------------------- which parts and entries


def _which_parts(close: Close, pairs: list[list[Leaf]]) -> tuple[str, set[str]] | None:
    pairs = [[replace(leaf, name=_part(leaf.name)) for leaf in found] for found in pairs]
    names = list(dict.fromkeys(leaf.name for found in pairs for leaf in found))
    bad = [name for name in names if any(close.differing(f).any() for found in pairs for f in found if f.name == name)]
    if len(bad) == len(names):
        return None
    good = [name for name in names if name not in bad]
    said = f"{_and(bad)} {_is(bad)} wrong, {_and(good)} {_is(good)} right."
    return "Part " * (bad[0][:1] == "[") + said, set(bad)


def _part(name: str) -> str:
    """Give the name of the whole part: y of y[0]."""
    return name if name.startswith("[") or "[" not in name else name[: name.index("[")]


def _is(names: Sequence[Any] | np.ndarray) -> str:
    return "is" if len(names) == 1 else "are"


def _and(names: Sequence[str]) -> str:
    names = [*names[:4], "others"] if len(names) > 5 else names
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def _which_entries(close: Close, bad: list[list[Leaf]], calls: list[Mapping[str, Any]]) -> str:
    leaves = [leaf for found in bad for leaf in found]
    masks = [close.differing(leaf) for leaf in leaves]
    if close.blocks and len(leaves) == len(bad):
        whole = np.logical_or.reduce(masks)
        named = [name for name, index in close.blocks.items() if whole[index].any()]
        if len(named) == len(close.blocks):
            return ""
        return f"Not right: the block{'s' * (len(named) > 1)} of {_and(named)}. The others are right."
    if all(mask.all() for mask in masks) or any(mask.ndim == 0 for mask in masks):
        return ""
    if len(leaves) == len(bad):
        under = _where_an_argument_is_true(leaves, masks, calls)
        if under:
            return under
    for said, region in _REGIONS:
        regions = [region(mask) for mask in masks]
        if all(r is not None and not r.all() and not (mask & ~r).any() for mask, r in zip(masks, regions)):
            return f"Only {said} wrong; the rest is right."
    if len({mask.shape for mask in masks}) == 1:
        union = np.logical_or.reduce(masks)
        if 1 <= union.sum() <= 3:
            return f"Only wrong at index {_and([str(i.tolist()) for i in np.argwhere(union)])}; the rest is right."
        for axis, word in [(0, "row"), (1, "column")] if union.ndim == 2 else []:
            lines = np.flatnonzero(union.any(axis=1 - axis))
            if len(lines) < union.shape[axis] and len(lines) <= 3:
                said = f"{word}{'s' * (len(lines) > 1)} {_and([str(i) for i in lines])}"
                return f"Only the {said} (counted from 0) {_is(lines)} wrong; the rest is right."
    begins = sorted(int(np.argwhere(mask)[0][0]) if mask.any() else 0 for mask in masks)
    if begins[0] > 0 and all(len(mask) > 2 for mask in masks):
        later = f", in other calls from {begins[-1]}" if begins[-1] > begins[0] else ""
        of_rows: list[Any] = [mask.reshape(len(mask), -1).any(axis=1) for mask in masks if mask.any()]
        if all(rows[int(np.argmax(rows)) :].all() for rows in of_rows):
            return f"Right at first: it differs from index {begins[0]} on{later}."
        return f"Right at first: the first difference is at index {begins[0]}{later.replace('from', 'at')}."
    wrong, total = sum(int(m.sum()) for m in masks), sum(m.size for m in masks)
    return f"{wrong} of {total} numbers are wrong, the others right." if wrong < total / 2 else ""


def _where_an_argument_is_true(leaves: list[Leaf], masks: list[np.ndarray], calls: list[Mapping[str, Any]]) -> str:
    for name in calls[0]:
        flags = [call.get(name) for call in calls]
        if not all(isinstance(f, np.ndarray) and f.size == m.size and f.ndim for f, m in zip(flags, masks)):
            continue
        flat = [np.asarray(f).reshape(m.shape) for f, m in zip(flags, masks)]
        if not all(f.dtype == bool or np.isin(f, (0, 1)).all() for f in flat):
            continue
        for said, conditions in (("1 (true)", [f == 1 for f in flat]), ("0 (false)", [f == 0 for f in flat])):
            only = all(not (m & ~c).any() for m, c in zip(masks, conditions))
            # that what is 0 elsewhere is right there, nobody need be told
            if only and any((leaf.expected[~c] != 0).any() for leaf, c in zip(leaves, conditions)):
                return f"Wrong only where `{name}` is {said}."
    return ""


def _region(choose: Callable[[np.ndarray], Any], least: int, ndims: Sequence[int], square: bool = False) -> Callable:
    def region(mask: np.ndarray) -> np.ndarray | None:
        if mask.ndim not in ndims or mask.shape[0] < least:
            return None
        if square and mask.shape[0] != mask.shape[1]:
            return None
        chosen = np.zeros(mask.shape, dtype=bool)
        chosen[choose(mask)] = True
        return chosen

    return region


#: Where all wrong entries may lie, whatever the shape of the arrays is.
_REGIONS: list[tuple[str, Callable[[np.ndarray], np.ndarray | None]]] = [
    ("the first entry is", _region(lambda m: 0, 2, [1])),
    ("the last entry is", _region(lambda m: -1, 2, [1])),
    ("the first row is", _region(lambda m: 0, 2, [2, 3])),
    ("the last row is", _region(lambda m: -1, 2, [2, 3])),
    ("the first column is", _region(lambda m: np.s_[:, 0], 1, [2])),
    ("the last column is", _region(lambda m: np.s_[:, -1], 1, [2])),
    ("the diagonal is", _region(lambda m: np.diag_indices(len(m)), 2, [2], True)),
    ("what lies above the diagonal is", _region(lambda m: np.triu_indices(len(m), 1), 2, [2], True)),
    ("what lies below the diagonal is", _region(lambda m: np.tril_indices(len(m), -1), 2, [2], True)),
    ("what lies off the diagonal is", _region(lambda m: np.eye(len(m)) == 0, 2, [2], True)),
    ("the first and the last entry are", _region(lambda m: [0, -1], 3, [1])),
]


# --------------------------------------------------------------------------------------------------------- how


def _how(close: Close, bad: list[list[Leaf]], calls: list[Mapping[str, Any]], pairs: list[list[Leaf]]) -> str:
    numbers = [
        tuple(np.hstack([getattr(leaf, of).ravel() for leaf in found]) for of in ("yours", "expected")) for found in bad
    ]

    def fits(guesses: Iterable[np.ndarray]) -> bool:
        return all(_near(close, y, guess) for (y, _), guess in zip(numbers, guesses, strict=True))

    if fits(-e for _, e in numbers):
        return "The sign is turned: yours is minus what is expected."
    if sum(e.size for _, e in numbers) > 1:
        found = _factor(close, numbers, calls) or _offset(close, numbers, calls)
        if found:
            return found
    mapped = (said for said, f in _MAPS if fits(f(e) for _, e in numbers))
    return _order(close, bad, pairs) or next(mapped, "")


def _one_sided(close: Close, bad: list[list[Leaf]]) -> str:
    gaps = np.hstack([(leaf.yours - leaf.expected)[close.differing(leaf)] for found in bad for leaf in found])
    if len(gaps) < 5 or not ((gaps > 0).all() or (gaps < 0).all()):
        return ""
    side = "large" if gaps[0] > 0 else "small"
    return f"Every wrong number is too {side}, by {abs(gaps).min():.3g} to {abs(gaps).max():.3g}."


def _near(close: Close, yours: np.ndarray, guess: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        size = max(float(abs(guess).max(initial=0.0)), float(abs(yours).max(initial=0.0)))
        return bool((abs(yours - guess) <= close.atol + max(close.rtol, 1e-9) * size).all())


#: A scalar argument's c, as it may be forgotten, doubled or mistaken.
_FACTORS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("{}", lambda c: c), ("1/{}", lambda c: 1 / c), ("{}²", lambda c: c * c), ("1/{}²", lambda c: 1 / (c * c)),
    ("(1 − {})", lambda c: 1 - c), ("1/(1 − {})", lambda c: 1 / (1 - c)), ("√{}", lambda c: c**0.5),
    ("1/√{}", lambda c: c**-0.5), ("({} − 1)", lambda c: c - 1), ("({} + 1)", lambda c: c + 1),
    ("1/({} − 1)", lambda c: 1 / (c - 1)), ("1/({} + 1)", lambda c: 1 / (c + 1)),
]  # fmt: skip


def _factor(close: Close, numbers: list, calls: list[Mapping[str, Any]]) -> str:
    factors = []
    for y, e in numbers:
        scale = float(e @ e)
        c = float(y @ e) / scale if scale > 0 else np.nan
        if not np.isfinite(c) or abs(c) < 1e-6 or not _near(close, y, c * e):
            return ""
        factors.append(c)
    factor = np.array(factors)
    if (abs(factor - 1) < 1e-3).all():
        return ""
    if np.ptp(factor) <= 1e-5 * abs(factor).max() and (len(factor) > 1 or numbers[0][0].size > 1):
        return f"Right but for a constant factor: yours is {factor.mean():.4g} times what is expected."
    for name in calls[0]:
        for what, values in _sizes(name, [call[name] for call in calls]):
            for text, power in _FACTORS:
                with np.errstate(all="ignore"):
                    if np.ptp(values) > 0 and np.allclose(power(values), factor, rtol=1e-5):
                        return f"Right but for a factor: yours is {text.format(what)} times what is expected."
    return ""


def _sizes(name: str, values: list[Any]) -> list[tuple[str, np.ndarray]]:
    if all(isinstance(v, int | float | np.integer | np.floating) and not isinstance(v, bool) for v in values):
        return [(name, np.array(values, dtype=float))]
    if all(isinstance(v, np.ndarray | list | tuple) and np.ndim(v) for v in values if not isinstance(v, list)):
        if all(isinstance(v, np.ndarray | list | tuple) for v in values):
            return [(f"len({name})", np.array([len(v) for v in values], dtype=float))]
    return []


def _offset(close: Close, numbers: list, calls: list[Mapping[str, Any]]) -> str:
    gaps = [y - e for y, e in numbers]
    constant = np.concatenate(gaps)
    if constant.size > 1 and np.ptp(constant) <= 1e-6 * abs(constant).max():
        return f"Each number is off by the same constant: {constant.mean():+.4g}."
    for name in calls[0]:
        for sign, word in ((1, "too much"), (-1, "missing")):
            added = [sign * np.asarray(call[name]).ravel() if _is_numeric(call[name]) else None for call in calls]
            if all(a is not None and a.size in (1, g.size) and abs(a).max() > 0 for a, g in zip(added, gaps)) and all(
                _near(close, y, e + a) for (y, e), a in zip(numbers, added)
            ):
                return f"The difference is exactly `{name}`, which is {word}."
    return ""


def _is_numeric(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf" and value.size > 0
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _order(close: Close, bad: list[list[Leaf]], pairs: list[list[Leaf]]) -> str:
    for said, change in _ORDERS:
        if all(
            leaf.yours.ndim and (guess := change(leaf.expected)) is not None and _near(close, leaf.yours, guess)
            for found in bad
            for leaf in found
        ):
            return said
    for found in pairs:
        swapped = [
            any(_near(close, leaf.yours, o.expected) for o in found if o.expected.shape == leaf.yours.shape)
            for leaf in found
            if close.differing(leaf).any()
        ]
        if len(swapped) < 2 or not all(swapped):
            return ""
    return "The parts are right, but in another order."


def _transposed(e: np.ndarray) -> np.ndarray | None:
    return e.T if e.ndim == 2 and e.shape[0] == e.shape[1] > 1 else None


#: Other orders of the same numbers.
_ORDERS: list[tuple[str, Callable[[np.ndarray], np.ndarray | None]]] = [
    ("It is the transpose of what is expected.", _transposed),
    ("The numbers are right, but in reverse order.", lambda e: e[::-1] if len(e) > 1 else None),
    ("The numbers are right, but each stands one place too late.", lambda e: np.roll(e, 1, 0) if len(e) > 2 else None),
    ("The numbers are right, but each stands one too early.", lambda e: np.roll(e, -1, 0) if len(e) > 2 else None),
]

#: What was done to each number once too often, or was forgotten.
_MAPS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("The size is right, the signs are lost: yours is |what is expected|.", abs),
    ("Yours is the square of what is expected.", np.square),
    ("Yours is the square root of what is expected.", lambda e: np.sqrt(np.maximum(e, 0))),
    ("Yours is 1 divided by what is expected.", lambda e: np.divide(1.0, np.where(e == 0, np.nan, e))),
    ("Yours is 1 minus what is expected.", lambda e: 1 - e),
    ("Yours is what is expected, rounded.", np.round),
    ("Negative numbers became 0.", lambda e: np.maximum(e, 0)),
]
