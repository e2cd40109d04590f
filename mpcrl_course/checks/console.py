"""Printing on a console of any encoding: for a sign that it lacks stands a "?", and nothing fails."""

from __future__ import annotations

import sys


def any_encoding() -> None:
    """Let this process's own output and errors print every text; for the command line, whose streams are its own."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def say(thing: object) -> None:
    """Print a `thing` to a stream that is the reader's, and stays as it is.

    Parameters
    ----------
    thing
        Anything; its text is what `str` gives.
    """
    text = str(thing)
    try:
        print(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "replace").decode(encoding))
