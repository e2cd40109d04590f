"""Results kept in one local file: `.mpcrl_course/progress.json` in the course's folder.

    {"version": 1,
     "exercises": {"06": {"title": "MPC as value", "items": {"3": {
         "kind": "fill", "title": "TD error", "last": "right", "best": "right", "attempts": 2, "hints": 1,
         "sentence": "…", "text": "", "time": "2026-01-31T12:00:00+00:00"}}}}}

Every change takes a lock, reads the file anew, and replaces it in one step: two notebooks do not lose each
other's results, and an interruption leaves either the old file or the new one.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

NOT_ATTEMPTED = "not attempted"
RAISED = "raised an error"
WRONG = "wrong"
RIGHT = "right"
#: From worst to best, each with its sign.
SYMBOLS = {NOT_ATTEMPTED: "○", RAISED: "⚠", WRONG: "✗", RIGHT: "✓"}
VERDICTS = tuple(SYMBOLS)

#: Seconds after which a lock is taken for that of a dead process.
PATIENCE = 2.0

_NEW_ENTRY: dict[str, Any] = {
    "kind": "",
    "title": "",
    "last": NOT_ATTEMPTED,
    "best": NOT_ATTEMPTED,
    "attempts": 0,
    "hints": 0,
    "sentence": "",
    "text": "",
    "time": "",
}


def load(path: Path) -> dict[str, Any]:
    """Read all results. A missing file is empty; an unreadable one is set aside, with a message.

    Parameters
    ----------
    path
        The progress file.

    Returns
    -------
    dict
        As in the module's docstring, complete: every entry has every field.

    Raises
    ------
    OSError
        If the file is there but the system does not let us read or move it.
    """
    try:
        data = json.loads(path.read_bytes().decode("utf-8"))
        _require_shape(data)
    except FileNotFoundError:
        return {"version": 1, "exercises": {}}
    except (ValueError, RecursionError):
        aside = path.with_name(f"{path.stem}.unreadable-{time.time_ns()}{path.suffix}")
        os.replace(path, aside)
        print(f"The progress file could not be read; it is kept as {aside.name}, and a new one is begun.")
        return {"version": 1, "exercises": {}}
    return data


def _require_shape(data: Any) -> None:
    # ValueError unless the data are as documented; fields that an older version lacks are filled in.
    def require(condition: bool) -> None:
        if not condition:
            raise ValueError("not a progress file")

    require(isinstance(data, dict) and data.get("version") == 1 and isinstance(data.get("exercises"), dict))
    for exercise in data["exercises"].values():
        require(isinstance(exercise, dict) and isinstance(exercise.get("items"), dict))
        require(isinstance(exercise.get("title"), str))
        for number, entry in exercise["items"].items():
            require(number.isdecimal() and isinstance(entry, dict))
            for name, new in _NEW_ENTRY.items():
                require(type(entry.setdefault(name, new)) is type(new))
            require(entry["last"] in VERDICTS and entry["best"] in VERDICTS)


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Read the file, let `edit` alter the data in place, and write it back in one step.

    Parameters
    ----------
    path
        The progress file; its folder is made if needed.
    edit
        Called with the data as `load` gives them.

    Returns
    -------
    dict
        The data written.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(path.name + ".lock")):
        data = load(path)
        edit(data)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1, ensure_ascii=False, sort_keys=True)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return data


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    # A file that only one process can create works on every system. A lock older than our patience was left
    # by a process that died, for nobody holds it for more than milliseconds.
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if time.monotonic() > give_up:
                lock.unlink(missing_ok=True)
                give_up = time.monotonic() + PATIENCE
        except PermissionError:
            if os.name != "nt" or time.monotonic() > give_up:  # Windows: the lock is just being deleted
                raise
        time.sleep(0.005)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def new_entry(kind: str, title: str) -> dict[str, Any]:
    """Make the entry of an item of this `kind` and `title` that nobody has attempted."""
    return {**_NEW_ENTRY, "kind": kind, "title": title}


def note(entry: dict[str, Any], verdict: str, sentence: str, text: str = "") -> None:
    """Write a new verdict into an item's entry, in place.

    Parameters
    ----------
    entry
        The entry.
    verdict
        One of `VERDICTS`; `best` keeps the best ever; all but "not attempted" count as attempts.
    sentence
        What the student was told.
    text
        The student's reason, for items of kind explain.
    """
    entry["last"] = verdict
    entry["best"] = max(entry["best"], verdict, key=VERDICTS.index)
    entry["attempts"] += verdict != NOT_ATTEMPTED
    entry["sentence"] = sentence
    entry["text"] = text
    entry["time"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
