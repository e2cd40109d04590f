"""Results kept in one local file: `.mpcrl_course/progress.json` in the course's folder.

    {"version": 1,
     "exercises": {"06": {"title": "MPC as value", "items": {"3": {
         "kind": "fill", "title": "TD error", "last": "right", "best": "right", "attempts": 2, "hints": 1,
         "sentence": "…", "text": "", "time": "2026-01-31T12:00:00+00:00"}}}}}

Every change takes a lock, reads the file anew, and replaces it in one step: two notebooks do not lose each other's
results, and an interruption leaves either the old file or the new one. What of the file we do not know, such as the
fields of a newer version, and what is not as it should be is passed over when it is read; it stays in the file until a
result is written over it. Only a file that is no JSON object at all is set aside, and a new one begun.
"""

from __future__ import annotations

import copy
import errno
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .console import say

NOT_ATTEMPTED = "not attempted"
RAISED = "raised an error"
WRONG = "wrong"
RIGHT = "right"
#: From worst to best, each with its sign.
SYMBOLS = {NOT_ATTEMPTED: "○", RAISED: "⚠", WRONG: "✗", RIGHT: "✓"}
VERDICTS = tuple(SYMBOLS)

#: Seconds that we wait for another process that has the lock.
PATIENCE = 10.0
#: Bytes; a larger file is none of ours (all exercises take about 50 kB), and would be read at every check.
LARGEST = 10_000_000
#: Characters of a text that are kept.
LONGEST = 5_000
#: What to do where the file cannot be written.
ELSEWHERE = "To record it in another place, let the environment variable MPCRL_COURSE_PROGRESS name a file."

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
        As in the module's docstring, complete: every entry has every field, and no other.

    Raises
    ------
    OSError
        If the file is there but the system does not let us read or move it.
    """
    try:
        return _known(_read(path))
    except (ValueError, RecursionError):
        return change(path, lambda data: None)


def _read(path: Path) -> dict[str, Any]:
    # What is in the file, as it is; ValueError or RecursionError if that is no JSON object, or could not be written.
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except FileNotFoundError:
        return {}
    data = json.loads(text, parse_int=_whole)  # UTF-8, with a mark at its head or not, or UTF-16
    if not isinstance(data, dict) or len(text) > LARGEST:
        raise ValueError("not a progress file")
    _text(data)
    return data


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < 1000 else digits  # Python makes no numbers of more than 4300


def _text(data: dict[str, Any]) -> bytes:
    # Half a character (a lone surrogate) cannot be written, but its number can, which in JSON means the same.
    return json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True).encode("utf-8", "backslashreplace")


def _known(data: dict[str, Any]) -> dict[str, Any]:
    # A copy of what is as documented; each field that is not is as if nothing had happened yet.
    known: dict[str, Any] = {"version": 1, "exercises": {}}
    for number, exercise in _table(data.get("exercises")).items():
        title = exercise.get("title")
        items = {
            n: _entry(entry) for n, entry in _table(exercise.get("items")).items() if re.fullmatch("[0-9]{1,4}", n)
        }
        known["exercises"][number] = {"title": title if isinstance(title, str) else "", "items": items}
    return known


def _table(value: Any) -> dict[str, dict]:
    return {key: one for key, one in value.items() if isinstance(one, dict)} if isinstance(value, dict) else {}


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    good = {name: entry[name] for name, new in _NEW_ENTRY.items() if type(entry.get(name)) is type(new)}
    bad = [name for name in ("last", "best") if good.get(name) not in VERDICTS]
    bad += [name for name in ("attempts", "hints") if good.get(name, 0) < 0]
    entry = _NEW_ENTRY | {name: value for name, value in good.items() if name not in bad}
    entry["best"] = max(entry["best"], entry["last"], key=VERDICTS.index)
    return entry


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Read the file, let `edit` alter the data in place, and write it back in one step.

    Parameters
    ----------
    path
        The progress file; its folder is made if needed. If it is a link, the file it leads to is changed.
    edit
        Called with the data as `load` gives them.

    Returns
    -------
    dict
        These data as they are then.

    Raises
    ------
    OSError
        If the file cannot be written; then it is as it was.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():  # a folder, or /dev/null: not to be set aside
        raise OSError(errno.EINVAL, "no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(path.name + ".lock")):
        try:
            raw = _read(path)
        except (ValueError, RecursionError):
            aside = _beside(path, "unreadable")
            os.replace(path, aside)
            say(f"The progress file could not be read; it is kept as {aside.name}, and a new one is begun.")
            raw = {}
        before = _known(raw)
        after = copy.deepcopy(before)
        edit(after)
        raw.setdefault("version", 1)
        if _carry_over(raw, before, after):
            aside = _beside(path, "before")
            shutil.copy(path, aside)
            say(f"Parts of the progress file could not be read; as it was, it is kept as {aside.name}.")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_text(raw))
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return after


def _carry_over(raw: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> bool:
    # Put into `raw` what an edit changed; returns whether it took the place of a list or a table that was none of ours.
    lost = False
    for key, value in after.items():
        old, table = raw.get(key), isinstance(value, dict)
        if key in before and value == before[key]:
            continue
        if not (table and isinstance(old, dict)):
            lost |= bool(old) and (table or isinstance(old, list | dict))
            raw[key] = {} if table else value
        if table:
            lost |= _carry_over(raw[key], before.get(key, {}), value)
    for key in before.keys() - after.keys():
        raw.pop(key, None)
    return lost


def _beside(path: Path, why: str) -> Path:
    return path.with_name(f"{path.stem}.{why}-{time.time_ns()}{path.suffix}")


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    # The system frees the lock of a process that dies. The file stays: deleting it would let two in, each with its own.
    with lock.open("ab") as file:
        give_up = time.monotonic() + PATIENCE
        while not _taken(file.fileno()):
            if time.monotonic() > give_up:
                raise TimeoutError(f"another notebook or command has been writing for {PATIENCE:g} s")
            time.sleep(0.005)
        yield


def _taken(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # held by another, or a file system that knows no locks: then without
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def new_entry(kind: str, title: str) -> dict[str, Any]:
    """Make the entry of an item of this `kind` and `title` that nobody has attempted."""
    return {**_NEW_ENTRY, "kind": kind, "title": title}


def note(entry: dict[str, Any], verdict: str, sentence: str, text: object = None) -> None:
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
        The student's reason, for items of kind explain; anything that is no text is no reason.
    """
    entry["last"] = verdict
    entry["best"] = max(entry["best"], verdict, key=VERDICTS.index)
    entry["attempts"] += verdict != NOT_ATTEMPTED
    entry["sentence"] = sentence[:LONGEST]
    entry["text"] = text[:LONGEST] if isinstance(text, str) else ""
    entry["time"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
