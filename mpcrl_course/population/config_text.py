"""The text of a configuration: read, with the line of each key, and refused with its line."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from mpcrl_course.validation import short

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class At(Exception):
    """What is wrong at a `path` of keys, or at a `line`: `why`; in a long text, `offset` lines after its `first`."""

    def __init__(self, path: tuple, why: str, offset: int = 0, line: int = 0, first: str = ""):
        super().__init__(why)
        self.path, self.why, self.offset, self.line, self.first = path, why, offset, line, first

    def line_in(self, text: str) -> int:
        """Return the line in a `text`."""
        line = self.line or line_of(text, self.path)
        begins = not self.first or self.first in text.split("\n")[line - 1]
        return line + self.offset + (not begins)  # TOML's long texts begin on the line after their key


def line_of(text: str, path: tuple) -> int:
    """Return the line of a `text` in which the last key of a `path` stands; a number is an entry of a list of texts."""
    at = place = 0
    for key in path:
        if isinstance(key, int):
            strings = [m.start() for m in re.finditer(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', text[text.find("[", at) :])]
            place = text.find("[", at) + (strings[key] if key < len(strings) else 0)
        else:
            found = re.compile(rf"[\"'\[.\s]{re.escape(str(key))}[\"'\].\s=]").search(f"\n{text}", at)
            place, at = (found.start(), found.end() - 1) if found else (place, at)
    return text.count("\n", 0, place) + 1


def parsed_text(text: str, kind: str) -> dict:
    """Return what a `text` of a `kind`, "json" or "toml", holds; raise `At` if that cannot be said."""

    def once(pairs):
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            key = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise At((key, key), f"{key!r} stands there twice")
        return dict(pairs)

    def number(digits: str) -> float:
        raise ValueError(f"{digits} is no number")

    try:
        if kind == "toml":
            return tomllib.loads(text)
        data = json.loads(text, object_pairs_hook=once, parse_constant=number)
    except json.JSONDecodeError as error:
        raise At((), f"no JSON: {error.msg}", line=error.lineno) from None
    except tomllib.TOMLDecodeError as error:
        said = re.search(r"line (\d+)", str(error))
        raise At((), f"no TOML: {error}", line=int(said[1]) if said else text.count("\n") + 1) from None
    except (ValueError, RecursionError) as error:  # nan, thousands of digits, lists within lists within lists
        word = str(error).split()[0] if isinstance(error, ValueError) else ""
        line = 1 + text[: max(0, text.find(word))].count("\n") if word in ("NaN", "Infinity", "-Infinity") else 1
        raise At((), f"not to be read: {error}", line=line) from None
    return data


def check_keys(data: Any, keys: dict, path: tuple) -> None:
    """Raise `At` if `data`, at a `path`, has other keys than `keys`; where these say None, anything may stand."""
    if not isinstance(data, dict):
        raise At(path, f"{'.'.join(map(str, path)) or 'the file'} must hold keys and values, not {short(data)}")
    for key, value in data.items():
        if key not in keys:
            raise At((*path, key), f"there is no {key!r} here, but {', '.join(keys)}")
        if keys[key] is not None:
            check_keys(value, keys[key], (*path, key))
