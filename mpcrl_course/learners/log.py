"""What a run leaves behind: arrays, one row a step; and how it is saved and taken up again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Log:
    """Everything that happened in a run, one row a step.

    Attributes
    ----------
    x, u : ndarray, shapes (steps, n_states), (steps, n_inputs)
        State and action of step k.
    cost, td : ndarray, shape (steps,)
        Stage cost and TD error; td is nan in a step whose solve failed (that sample was skipped).
    theta : ndarray, shape (steps + 1, n_theta)
        Parameters before step k; the last row is what was learned.
    failed : ndarray of bool, shape (steps,)
        Steps in which a solve failed.
    seconds : float
        Wall time.
    stopped : str
        Why the run ended before its last step; empty if it did not.
    """

    x: np.ndarray
    u: np.ndarray
    cost: np.ndarray
    td: np.ndarray
    theta: np.ndarray
    failed: np.ndarray
    seconds: float = 0.0
    stopped: str = ""
    steps: int = field(default=0)

    @classmethod
    def empty(cls, steps: int, n_states: int, n_inputs: int, n_theta: int) -> Log:
        """Return a log with room for `steps` steps."""
        return cls(
            np.zeros((steps, n_states)), np.zeros((steps, n_inputs)), np.zeros(steps), np.full(steps, np.nan),
            np.zeros((steps + 1, n_theta)), np.zeros(steps, bool),
        )  # fmt: skip

    def until(self, steps: int) -> Log:
        """Return the log of the first `steps` steps."""
        n = steps
        return Log(self.x[:n], self.u[:n], self.cost[:n], self.td[:n], self.theta[: n + 1], self.failed[:n],
                   self.seconds, self.stopped, n)  # fmt: skip

    def __str__(self):
        n, last = self.steps, slice(max(0, self.steps - 500), self.steps)
        with np.errstate(invalid="ignore"):
            td = np.abs(self.td[last])
        td = f"{td[~np.isnan(td)].mean():.4g}" if (~np.isnan(td)).any() else "none"
        text = f"{n} steps in {self.seconds:.1f} s, {int(self.failed.sum())} failed solves"
        if n:
            text += f"; last {last.stop - last.start}: mean |TD| {td}, mean stage cost {self.cost[last].mean():.4g}"
        return text + (f" (stopped: {self.stopped})" if self.stopped else "")


def save_state(path, arrays: dict[str, np.ndarray], scalars: dict) -> None:
    """Write arrays to a file that ``path.json`` names, beside all else; a run killed meanwhile keeps the old pair.

    Both files are written beside and renamed: the arrays first, under a name of their own (``path-k.npz``).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    index = path.with_name(f"{path.name}.json")  # not with_suffix: 'rate_0.1' and 'rate_0.2' are two runs
    old = json.loads(index.read_text())["arrays"] if index.exists() else None
    name = f"{path.name}-{scalars['k']}.npz"
    fresh = path.with_name(f"{path.name}.new")
    with open(fresh, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    os.replace(fresh, path.with_name(name))
    fresh.write_text(json.dumps({**scalars, "arrays": name}))
    os.replace(fresh, index)
    if old and old != name:
        path.with_name(old).unlink(missing_ok=True)


def load_state(path) -> tuple[dict[str, np.ndarray], dict]:
    """Read what `save_state` wrote; raises FileNotFoundError that names the file that is missing."""
    path = Path(path)
    scalars = json.loads(path.with_name(f"{path.name}.json").read_text())
    with np.load(path.with_name(scalars["arrays"]), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}, scalars


def load_run(path, steps: int) -> tuple[dict[str, np.ndarray], dict]:
    """Read the state from which a run of `steps` steps goes on.

    Raises
    ------
    ValueError
        No path was given, or the saved run has more steps than are asked for.
    """
    if path is None:
        raise ValueError("resume needs `save`, the path of the state to go on from")
    arrays, scalars = load_state(path)
    if scalars["k"] > steps:
        raise ValueError(f"the saved run has {scalars['k']} steps already, more than the {steps} asked for")
    return arrays, scalars
