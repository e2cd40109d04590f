"""Replay memory: the last transitions, and beside each what was computed from it when it was new."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from mpcrl_course.validation import short, whole


class Replay:
    """The last `size` rows of named columns: a ring, in which the newest overwrites the oldest.

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
    columns : dict of name to ndarray, shape (size, …)
    count : int
        Rows that ever came in.
    """

    def __init__(self, size: int, batch: int = 1, latest: int | None = None, dtype: Any = float, **columns):
        size, batch = whole(size, "size"), whole(batch, "batch")
        latest = None if latest is None else whole(latest, "latest")
        if size < 1 or batch < 1 or (latest is not None and not (0 <= latest <= batch <= size)):
            sizes = f"size {size}, batch {batch}, latest {latest}"
            raise ValueError(f"need 1 <= batch <= size and 0 <= latest <= batch, not {sizes}")
        self.size, self.batch, self.latest, self.count = size, batch, latest, 0
        shapes = {name: shape if isinstance(shape, tuple) else (shape,) for name, shape in columns.items()}
        self.columns = {name: np.zeros((size, *shape), dtype) for name, shape in shapes.items()}
        self._batch: Any = namedtuple("Batch", list(columns))  # type: ignore[misc]

    @classmethod
    def of(cls, sizes: tuple[int, int, int], **columns) -> Replay:
        """Return a memory of the `sizes` (size, batch, latest) with such `columns`, as learners are given them."""
        if not isinstance(sizes, (tuple, list)) or len(sizes) != 3:
            raise ValueError(f"replay is (size, batch, latest), such as (1, 1, 1), not {short(sizes)}")
        return cls(*sizes, **columns)

    def __len__(self) -> int:
        return min(self.count, self.size)

    def add(self, **row) -> None:
        """Store a row: an entry for each column."""
        place = self.count % self.size
        for name, column in self.columns.items():
            try:
                column[place] = row[name]
            except (KeyError, TypeError, ValueError):
                given = f"shape {np.shape(row[name])}" if name in row else "nothing"
                raise ValueError(f"the memory's {name} has shape {column.shape[1:]}, but got {given}") from None
        self.count += 1

    def draw(self, rng: np.random.Generator):
        """Draw a batch with `rng`: a named tuple of arrays, one for each column, one row a sample; the latest first."""
        n = len(self)
        if self.latest is None:
            if not n:
                raise ValueError("nothing can be drawn from a memory that is empty")
            return self._rows(rng.integers(n, size=self.batch))
        if self.latest == self.batch == 1 and n:  # nothing to choose: every step of plain Q-learning, so make it short
            newest = (self.count - 1) % self.size
            return self._batch(*[column[newest : newest + 1].copy() for column in self.columns.values()])
        # while fewer are there than `latest`, the oldest of them are drawn: stored runs were made so
        newest = self.latest if n >= self.latest else min(n, self.latest - n)
        chosen, older = self.count - 1 - np.arange(newest), min(self.batch, n) - newest
        if older > 0:
            chosen = np.concatenate([chosen, self.count - n + rng.choice(n - newest, older, replace=False)])
        return self._rows(chosen % self.size)

    def all(self):
        """Return everything that is stored, the oldest first, in the form of a batch."""
        return self._rows((self.count - len(self) + np.arange(len(self))) % self.size)

    def _rows(self, chosen):
        return self._batch(*[column.take(chosen, axis=0) for column in self.columns.values()])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything, to be saved."""
        return {name: column[: len(self)] for name, column in self.columns.items()} | {"rows": np.array(self.count)}

    def load(self, arrays) -> None:
        """Take what `arrays` gave; raises ValueError if there is no room for it."""
        count = whole(arrays["rows"][()], "the saved memory's rows", 0)
        for name, column in self.columns.items():
            saved, n = arrays[name], min(count, self.size)
            if saved.shape != (n, *column.shape[1:]):
                raise ValueError(
                    f"the saved memory's {name} has shape {saved.shape}, but {count} rows are {(n, *column.shape[1:])}"
                )
            column[:n] = saved
        self.count = count
