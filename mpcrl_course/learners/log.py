"""Series of numbers, one row a step, and how a run is saved and taken up again: .npz and JSON, never pickle."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mpcrl_course.validation import real, short, whole

#: Of the files that `save_state` writes; others are refused.
FORMAT = 2


class Log:
    """What happened, one row a step: ``log.td`` is the series that ``add(td=…)`` wrote, shape (steps, …).

    Parameters
    ----------
    **first : array_like
        Series with a row before the first step, too (then steps + 1 of them), such as theta: its row k is what step k
        began with, its last row what was learned.

    Attributes
    ----------
    steps : int
        Rows written.
    seconds : float
        Wall time, kept by the runner.
    stopped : str
        Why the run ended before its last step; empty if it did not.
    """

    def __init__(self, **first):
        self.steps, self.seconds, self.stopped = 0, 0.0, ""
        self._series: dict[str, np.ndarray] = {}
        self._ahead = set(first)
        for name, value in first.items():
            self._series[name] = np.array(value)[None]

    def add(self, **row) -> None:
        """Write a row."""
        for name, value in row.items():
            place, series = self.steps + (name in self._ahead), self._series.get(name)
            if series is None or place == len(series):
                series = self._grown(name, value)
            try:
                series[place] = value
            except (TypeError, ValueError):
                raise ValueError(
                    f"the log's series '{name}' has rows of shape {series.shape[1:]}, not {value!r}"
                ) from None
        self.steps += 1  # last: an interruption leaves whole rows only

    def _grown(self, name: str, value) -> np.ndarray:
        old = self._series.get(name, np.zeros((0, *np.shape(value)), np.asarray(value).dtype))
        more = max(256, len(old), self.steps + 1)  # a series that an older saved run lacked starts late
        self._series[name] = np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)])
        return self._series[name]

    def __getattr__(self, name: str) -> np.ndarray:
        series = vars(self).get("_series", {})
        if name not in series:
            raise AttributeError(f"no series is called '{name}'; there are: {', '.join(series) or 'none yet'}")
        return series[name][: self.steps + (name in self._ahead)]

    def last(self, name: str, rows: int | None = None) -> np.ndarray:
        """Return the last `rows` of the series `name` (by default all); empty before the first."""
        return getattr(self, name)[-rows if rows else None :] if self.steps else np.zeros(0)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every series by name, and what else there is to save."""
        return {name: getattr(self, name) for name in self._series} | {"seconds": np.array(self.seconds)}

    def load(self, arrays) -> None:
        """Take what `arrays` gave; ValueError if these are no series of numbers with as many rows each."""
        found = {name: np.array(series) for name, series in arrays.items() if name != "seconds"}
        for name, series in found.items():
            if not series.ndim or series.dtype.kind not in "biuf":
                raise ValueError(f"the log's series '{name}' has shape {series.shape} of {series.dtype}: no numbers")
        rows = {name: len(series) - (name in self._ahead) for name, series in found.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"the log's series differ in their numbers of rows: {rows}")
        self.seconds = real(arrays["seconds"], "the log's seconds", 0.0)
        self._series, self.steps = found, min(rows.values(), default=0)

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the step at which each finished episode ended, and its undiscounted cost."""
        ends = np.flatnonzero(self.ended)
        return ends, np.diff(np.cumsum(self.cost)[ends], prepend=0.0)

    def __str__(self):
        text = f"{self.steps} steps in {self.seconds:.1f} s"
        if self.steps and "failed" in self._series:
            td = np.abs(self.td[-500:])
            td = f"{td[~np.isnan(td)].mean():.4g}" if (~np.isnan(td)).any() else "none"
            unsure = int(self.unconverged.sum()) if "unconverged" in self._series else 0
            text += f", {int(self.failed.sum())} failed solves"
            text += f", {unsure} answers that had not converged" if unsure else ""
            text += f"; last {min(self.steps, 500)}: mean |TD| {td}, "
            text += f"mean stage cost {self.cost[-500:].mean():.4g}"
        elif self.steps and "ended" in self._series:
            costs = self.episodes()[1]
            text += f", {len(costs)} episodes"
            text += f"; mean cost of the last {len(costs[-10:])}: {costs[-10:].mean():.1f}" if len(costs) else ""
        return text + (f" (stopped: {self.stopped})" if self.stopped else "")


def save_state(path, arrays: dict[str, np.ndarray], scalars: dict) -> None:
    """Write arrays to a file that ``path.json`` names, beside all else; a run killed meanwhile keeps the old pair.

    Both files are written beside and renamed: the arrays first, under a name of their own (``path-k.npz``).

    Parameters
    ----------
    path : path
        Without a suffix; its folder is made if there is none.
    arrays : dict of name to ndarray
    scalars : dict
        JSON-able; holds the number of steps as ``k``.

    Raises
    ------
    OSError
        There is no room for a file, or something else is in its place: says where.
    """
    path = _path(path)
    index = path.with_name(f"{path.name}.json")  # not with_suffix: 'rate_0.1' and 'rate_0.2' are two runs
    name = f"{path.name}-{scalars['k']}.npz"
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = _read(index).get("arrays") if index.exists() else None
        with open(fresh, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(fresh, path.with_name(name))
        fresh.write_text(json.dumps({**scalars, "arrays": name, "format": FORMAT}), encoding="utf-8")
        os.replace(fresh, index)
        if old and old != name and path.with_name(old).is_file():
            path.with_name(old).unlink()
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        why = f"{error.strerror or error}: {short(error.filename2 or error.filename)}"
        raise OSError(f"a run cannot be saved at {path} ({why}): make room there, or save it elsewhere") from None


def load_state(path) -> tuple[dict[str, np.ndarray], dict]:
    """Read what `save_state` wrote at that `path`: arrays and scalars.

    Raises
    ------
    FileNotFoundError
        Names the file that is missing.
    ValueError
        What is there is damaged, or was written by another version of the course.
    """
    path = _path(path)
    index = path.with_name(f"{path.name}.json")
    scalars = _read(index)
    if scalars.get("format", 1) != FORMAT:
        raise ValueError(f"{index} was saved by another version of the course: delete it, and begin this run anew")
    try:
        whole(scalars["k"], "k", 0)
        with np.load(path.with_name(scalars["arrays"]), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}, scalars
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{index} names {error.filename}, but there is no such file") from None
    except (KeyError, TypeError, AttributeError, BadZipFile, ValueError, EOFError, zlib.error, IsADirectoryError):
        raise ValueError(f"what {index} names is damaged: delete both, and begin this run anew") from None


def _path(path) -> Path:
    try:
        found = Path(path)
        found.with_name(f"{found.name}.json")  # not of the root, which has no name
        if "\0" in str(found):
            raise ValueError
        return found
    except (TypeError, ValueError):
        raise ValueError(f"a run is saved at a path with a name, not at {short(path)}") from None


def _read(index: Path) -> dict:
    """Return what an index file holds; raises ValueError if it is none that `save_state` wrote."""
    try:
        scalars = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no run is saved at {index.with_suffix('')}: there is no file {index}") from None
    except (ValueError, RecursionError, OSError):  # no JSON, no text, or no file
        scalars = None
    name = scalars.get("arrays") if isinstance(scalars, dict) else None
    if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
        raise ValueError(f"{index} is damaged, or no saved run: delete it, and begin this run anew")
    return scalars


def part_of(arrays, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of the part `name` of a saved run, by the names that the part gave them."""
    return {key[len(name) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{name} ")}


def saved_log(path) -> Log:
    """Return the log of a run that was saved at `path`, without its learner."""
    arrays, scalars = load_state(path)
    series = part_of(arrays, "log")
    k, rows = scalars["k"], {name: len(array) for name, array in series.items() if array.ndim}
    log = Log(**{name: 0.0 for name, n in rows.items() if n > k})
    try:
        log.load(series)
        if log.steps != k or (k and min(rows.values()) > k):
            raise ValueError(f"of {k} steps there are rows {rows}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the run saved at {path} has no log of a learner, or is damaged: {error}") from None
    return log
