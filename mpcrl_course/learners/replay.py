"""Replay memory: transitions, and beside each what was computed from it when it was new."""

from __future__ import annotations

import numpy as np


class Replay:
    """The last `size` samples, drawn in batches of which some are the latest.

    Every sample is a row of named arrays: state s, action a, cost L, next state s_next, terminated (0 or 1), and
    what was computed from it at the theta of its own time: TD error td and gradient g of Q.

    Parameters
    ----------
    size : int
        Number of samples kept.
    batch : int
        Number of samples of a batch (fewer while the memory fills).
    latest : int
        How many of a batch are the most recent ones; the others are drawn from the rest without replacement.
    """

    def __init__(self, size: int = 1, batch: int = 1, latest: int = 1):
        if not 1 <= batch <= size or not 0 <= latest <= batch:
            raise ValueError(
                f"need 1 <= batch <= size and 0 <= latest <= batch, not size {size}, batch {batch}, latest {latest}"
            )
        self.size, self.batch, self.latest = size, batch, latest
        self.samples: list[dict[str, np.ndarray]] = []

    def add(self, **sample) -> None:
        """Store one sample, forgetting the oldest if the memory is full."""
        self.samples.append(sample)
        if len(self.samples) > self.size:
            del self.samples[0]

    def draw(self, rng: np.random.Generator) -> list[dict]:
        """Return a batch: the latest samples first, then random older ones."""
        if self.batch == 1 and self.latest == 1:
            return self.samples[-1:]
        newest = self.samples[len(self.samples) - self.latest :] if self.latest else []
        older = self.samples[: len(self.samples) - len(newest)]
        n = min(self.batch - len(newest), len(older))
        return newest[::-1] + [older[i] for i in rng.choice(len(older), n, replace=False)] if n > 0 else newest[::-1]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all samples as arrays, to be saved."""
        return {
            f"replay_{k}": np.array([s[k] for s in self.samples]) for k in (self.samples[0] if self.samples else ())
        }

    def load(self, arrays) -> None:
        """Take the samples of `arrays` (the names that start with ``replay_``)."""
        names = [k for k in arrays if k.startswith("replay_")]
        n = len(arrays[names[0]]) if names else 0
        self.samples = [{k[7:]: arrays[k][i] for k in names} for i in range(n)]
