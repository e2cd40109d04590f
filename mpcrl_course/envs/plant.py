"""What plants have in common: checked actions and starts, and an actuator with a limit and a delay."""

from __future__ import annotations

from collections import deque
from math import isfinite

import numpy as np


def checked_action(action, n: int = 1) -> np.ndarray:
    """Return `action` as a float array of shape (n,); raises ValueError if its shape or an entry is wrong."""
    u = np.asarray(action, dtype=float).reshape(-1)
    if u.shape != (n,):
        raise ValueError(f"action has shape {np.shape(action)}, but this plant's has shape ({n},)")
    if not all(map(isfinite, u.tolist())):  # for a few numbers quicker than an array's isfinite
        raise ValueError(f"action is not finite: {u}")
    return u


def checked_start(start, entries: str) -> np.ndarray:
    """Return `start` as a new float array with one entry for each of the comma-separated `entries`."""
    start, n = np.array(start, dtype=float), len(entries.split(","))
    if start.shape != (n,) or not np.isfinite(start).all():
        raise ValueError(f"the start must be a finite state of shape ({n},), ({entries}), not {start}")
    return start


class Actuator:
    """One actuator: it clips a command to its limit and applies it some steps later (zero until the first arrives)."""

    def __init__(self, queue=()):
        self.queue = deque(queue)

    def apply(self, command: float, limit: float, delay: int) -> np.ndarray:
        """Return what acts now, shape (1,); a delay that has changed since the last step is respected from now on."""
        while len(self.queue) < delay:
            self.queue.appendleft(0.0)
        self.queue.append(min(max(command, -limit), limit))
        while len(self.queue) > delay + 1:
            self.queue.popleft()
        return np.array([self.queue.popleft()])
