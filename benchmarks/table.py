"""Measure and print: what every `bench_*.py` here shares. Standard library only."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Seconds(NamedTuple):
    """Seconds of one call."""

    wall: float
    cpu: float  # all threads of this process


def once(fn: Callable[[], object], repeats: int = 1) -> Seconds:
    """Seconds of one call of `fn`: the mean over `repeats` calls."""
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        fn()
    return Seconds((time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats)


def measure(fn: Callable[[], object], repeats: int, rounds: int = 5) -> Seconds:
    """Seconds of one call of `fn`: the mean over `repeats` calls, and of that the median over `rounds`.

    One round more is run first and thrown away. On a shared machine the CPU time is the steadier of the two.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    return median([once(fn, repeats) for _ in range(rounds + 1)][1:])


def alternate(rounds: int, *ways: Callable[[], Seconds]) -> list[list[Seconds]]:
    """Measure every way in turn, round after round: what else the machine does meets them alike.

    Returns the seconds of all rounds, a list for each way.
    """
    measured = [[way() for way in ways] for _ in range(rounds)]
    return [list(column) for column in zip(*measured, strict=True)]


def median(seconds: Sequence[Seconds]) -> Seconds:
    """Median of the wall times, and of the CPU times."""
    return Seconds(*map(statistics.median, zip(*seconds, strict=True)))


def ratio(peer: Sequence[Seconds], ours: Sequence[Seconds]) -> float:
    """How many times less CPU we need: of the rounds' ratios, peer to ours of the same round, the median."""
    return statistics.median(b.cpu / a.cpu for a, b in zip(ours, peer, strict=True))


def table(title: str, rows: Sequence[Sequence[object]], columns: Sequence[str]) -> None:
    """Print `rows` under `columns`, aligned: the first column to the left, the others to the right.

    Numbers get three significant digits; whatever needs others comes as text.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells under {len(columns)} columns: {row}")
    lines = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print(f"\n{title}")
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def compare(title: str, ours: Sequence[Seconds], peer: Sequence[Seconds], target: float | None = None) -> bool:
    """Print the table ours / peer / ratio, medians in ms, and judge the ratio of the CPU times."""
    a, b = median(ours), median(peer)
    walls = statistics.median(q.wall / p.wall for p, q in zip(ours, peer, strict=True))
    rows = [
        ("wall, ms", f"{1e3 * a.wall:.4f}", f"{1e3 * b.wall:.4f}", f"{walls:.1f}"),
        ("CPU, ms", f"{1e3 * a.cpu:.4f}", f"{1e3 * b.cpu:.4f}", f"{ratio(peer, ours):.1f}"),
    ]
    table(f"{title}, {len(ours)} rounds in turn", rows, ("", "ours", "peer", "peer / ours"))
    return target is None or cheaper(target, "the peer", ratio(peer, ours))


def cheaper(target: float, than: str, found: float) -> bool:
    """Print whether a ratio reaches its target, and return it."""
    return verdict(f"{target:g} times less CPU than {than}: {found:.1f} times", found >= target)


def verdict(target: str, met: bool) -> bool:
    """Print whether a target, a ratio of this run, is met, and return it."""
    print(f"  target: {target}: {'met' if met else 'MISSED'}")
    return met


def budget(value: float, most: float) -> str:
    """Say whether a time is within its budget: shown only, for it depends on the machine and on what else it does."""
    return "within budget" if value <= most else "over budget"


def _cell(value: object) -> str:
    """A cell as text: three significant digits, thousands in full, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"
    return str(value)
