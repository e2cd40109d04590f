"""Replay memory: the last transitions, and beside each what was computed from it when it was new."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np


class Replay:
    """The last `size` rows of named columns, in one array: a ring, in which the newest overwrites the oldest.

    Parameters
    ----------
    size : int
        Number of rows kept.
    batch : int
        Number of rows of a batch.
    latest : int, optional
        How many of a batch are the most recent ones; the others are drawn from the rest without replacement (fewer
        while the memory fills). By default every row of a batch is drawn from all, with replacement.
    dtype : numpy dtype
    **columns : int or tuple of int
        Shape of each column's entry, () for a number: ``Replay(1000, 64, s=3, a=1, cost=1, s_next=3, terminated=1)``.

    Attributes
    ----------
    rows : ndarray, shape (size, entries)
    count : int
        Rows that ever came in.
    """

    def __init__(self, size: int, batch: int = 1, latest: int | None = None, dtype: Any = float, **columns):
        if not 1 <= batch or (latest is not None and not (batch <= size and 0 <= latest <= batch)) or size < 1:
            sizes = f"size {size}, batch {batch}, latest {latest}"
            raise ValueError(f"need 1 <= batch <= size and 0 <= latest <= batch, not {sizes}")
        self.size, self.batch, self.latest = size, batch, latest
        self.shapes = {name: shape if isinstance(shape, tuple) else (shape,) for name, shape in columns.items()}
        widths = [int(np.prod(shape)) for shape in self.shapes.values()]
        ends = np.cumsum(widths).tolist()
        self._where = {n: slice(end - width, end) for n, end, width in zip(columns, ends, widths, strict=True)}
        self._batch: Any = namedtuple("Batch", list(columns))  # type: ignore[misc]
        self.rows, self.count = np.zeros((size, sum(widths)), dtype), 0

    def __len__(self) -> int:
        return min(self.count, self.size)

    def add(self, **row) -> None:
        """Store a row: an entry for each column."""
        place = self.rows[self.count % self.size]
        for name, where in self._where.items():
            value = row[name]
            place[where] = value.ravel() if getattr(value, "ndim", 0) > 1 else value
        self.count += 1

    def draw(self, rng: np.random.Generator):
        """Return a batch: a named tuple of arrays, one for each column, one row a sample; the latest first."""
        if self.latest is None:
            return self._columns(rng.integers(len(self), size=self.batch))
        n = len(self)
        # while fewer are there than `latest`, the oldest of them are drawn: stored runs were made so
        newest = self.latest if n >= self.latest else min(n, self.latest - n)
        chosen, older = self.count - 1 - np.arange(newest), min(self.batch, n) - newest
        if older > 0:
            chosen = np.concatenate([chosen, self.count - n + rng.choice(n - newest, older, replace=False)])
        return self._columns(chosen % self.size)

    def all(self):
        """Return everything that is stored, the oldest first, in the form of a batch."""
        return self._columns((self.count - len(self) + np.arange(len(self))) % self.size)

    def _columns(self, chosen):
        rows = self.rows.take(chosen, axis=0)
        parts = (rows[:, where] for where in self._where.values())
        return self._batch(*(p if len(s) == 1 else p.reshape(-1, *s) for p, s in zip(parts, self.shapes.values())))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything, to be saved."""
        return {"rows": self.rows[: len(self)], "count": np.array(self.count)}

    def load(self, arrays) -> None:
        """Take what `arrays` gave; raises ValueError if it does not fit."""
        rows = arrays["rows"]
        if len(rows) > self.size or rows.shape[1] != self.rows.shape[1]:
            ours = f"{self.size} rows of {self.rows.shape[1]} entries"
            raise ValueError(f"the saved memory has shape {rows.shape}, but this one has room for {ours}")
        self.rows[: len(rows)], self.count = rows, int(arrays["count"])
