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


def measure(fn: Callable[[], object], repeats: int, rounds: int = 5) -> Seconds:
    """Seconds of one call of `fn`: the mean over `repeats` calls, and of that the median over `rounds`.

    One round more is run first and thrown away. On a shared machine the CPU time is the steadier of the two.
    """
    if repeats < 1 or rounds < 1:
        raise ValueError(f"repeats and rounds must be at least 1, got {repeats} and {rounds}")
    wall, cpu = [], []
    for _ in range(rounds + 1):
        started_wall, started_cpu = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            fn()
        wall.append((time.perf_counter() - started_wall) / repeats)
        cpu.append((time.process_time() - started_cpu) / repeats)
    return Seconds(statistics.median(wall[1:]), statistics.median(cpu[1:]))


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


def compare(title: str, ours: Seconds, peer: Seconds, target: float | None = None) -> bool:
    """Print the table ours / peer / ratio, in milliseconds; the ratio says how many times faster we are.

    Returns whether the ratio of the CPU times reaches `target` (always, if none is given).
    """
    rows = [
        (name, f"{1e3 * a:.4f}", f"{1e3 * b:.4f}", f"{b / a:.1f}")
        for name, a, b in (("wall, ms", ours.wall, peer.wall), ("CPU, ms", ours.cpu, peer.cpu))
    ]
    table(title, rows, ("", "ours", "peer", "peer / ours"))
    if target is None:
        return True
    return verdict(f"{target:g} times less CPU", peer.cpu / ours.cpu >= target)


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
