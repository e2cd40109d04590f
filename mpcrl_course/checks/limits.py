"""Run a student's code for a limited time, and stop it even inside `while True: pass`."""

from __future__ import annotations

import ctypes
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

TICK = 0.05  # seconds between two looks at the clock, and between two attempts to stop code which caught the first
PATIENCE = 30.0  # seconds of wall time that even code which sleeps gets


class TookTooLong(BaseException):
    """Raised inside code whose time is over; `except Exception` does not swallow a `BaseException`."""


#: Whether the work under way was asked to end, by the reader or by its alarm; None while nothing would tell us.
_asked: dict[str, bool | None] = {"to end": None}  # no bare name: the sandbox puts those back


def asked_to_end() -> bool:
    """Tell whether a KeyboardInterrupt can be the reader's, or an alarm's: if not, the student's code raised it."""
    return _asked["to end"] is not False


def _patience(seconds: float) -> float:
    return max(PATIENCE, 20 * seconds)


def within(seconds: float, work: Callable[[], object]) -> bool:
    """Call `work()` and stop it when it has computed for too long.

    On the main thread of a POSIX system a timer's signal looks at the clock, and stops the work; elsewhere
    (Windows, other threads) a second thread does. Both stop pure Python at its next bytecode; a call into
    compiled code is stopped when it returns.

    Parameters
    ----------
    seconds
        Processor time allowed (of this thread; where a second thread watches, of the process), so that a busy
        machine makes no answer wrong; infinity for no limit. Code that only waits is stopped after 20 times as
        long, but not before 30 s.
    work
        Called without arguments; what it raises is passed on.

    Returns
    -------
    bool
        True if the work ended by itself, False if it was stopped.
    """
    if math.isinf(seconds):
        work()
        return True
    on_main = threading.current_thread() is threading.main_thread()
    if sys.platform != "win32" and on_main:
        return _within_by_signal(seconds, work)
    return _within_by_thread(seconds, work)


def _alarm(seconds: float, clock: Callable[[], float]) -> Callable[[], bool]:
    """Return a function that tells whether, from now on, the time by this clock or all patience is over."""
    computed, waited = clock() + seconds, time.monotonic() + _patience(seconds)
    return lambda: clock() > computed or time.monotonic() > waited


def collect(results: Iterable[Any], seconds: float) -> tuple[list[Any], bool]:
    """Collect what an iterator gives in a limited time; nothing that came late is among it.

    Parameters
    ----------
    results
        Computes each result when asked for it.
    seconds
        As in `within`.

    Returns
    -------
    collected : list
    complete : bool
        False if time ran out.
    """
    collected: list[Any] = []
    over = _alarm(seconds, time.thread_time)

    def work() -> None:
        for result in results:
            if over():  # computed in one long compiled call, or after an interruption was swallowed
                raise TookTooLong
            collected.append(result)

    return collected, within(seconds, work)


def _ours(frame: FrameType | None) -> bool:
    # An interruption while this file disarms its alarm would leave the alarm on: it waits for the next tick.
    return frame is not None and frame.f_code.co_filename == __file__


def _within_by_signal(seconds: float, work: Callable[[], object]) -> bool:
    if sys.platform == "win32":  # for the type checker: Windows has neither setitimer nor SIGALRM
        raise NotImplementedError
    stopped, over = False, _alarm(seconds, time.thread_time)

    def look(signum: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if over() and not _ours(frame):
            stopped = _asked["to end"] = True
            _trip_wire(frame)
            raise TookTooLong

    def interrupt(signum: int, frame: FrameType | None) -> None:
        _asked["to end"] = True
        if callable(interrupted):
            interrupted(signum, frame)

    start, before = time.monotonic(), _asked["to end"]
    _asked["to end"] = False
    interrupted = signal.signal(signal.SIGINT, interrupt)
    trace, handler = sys.gettrace(), signal.signal(signal.SIGALRM, look)
    signal.siginterrupt(signal.SIGALRM, False)  # a tick breaks off no reading of a file
    left, interval = signal.setitimer(signal.ITIMER_REAL, min(TICK, seconds), TICK)
    try:
        work()
    except (TookTooLong, KeyboardInterrupt):  # a solver may turn the one into the other
        if not stopped and not isinstance(sys.exc_info()[1], TookTooLong):
            raise
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.signal(signal.SIGINT, interrupted)
        _asked["to end"] = before
        sys.settrace(trace)
        if left:  # somebody else's alarm (pytest-timeout's, say) goes on where it was
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 1e-3), interval)
    return True


def _trip_wire(frame: FrameType | None) -> None:
    # CasADi swallows what is raised while it solves: it ends that solve and returns as if nothing had happened. So
    # the next line of Python raises once more.
    def trip(frame: FrameType, event: str, argument: object) -> Callable | None:
        if _ours(frame):
            return None
        raise TookTooLong

    while frame is not None and not _ours(frame):
        frame.f_trace = trip
        frame = frame.f_back
    sys.settrace(trip)


def _within_by_thread(seconds: float, work: Callable[[], object]) -> bool:
    me = ctypes.c_ulong(threading.get_ident())
    done, throwing = threading.Lock(), threading.Lock()
    leaving, over = False, _alarm(seconds, time.process_time)

    def watch() -> None:
        while not done.acquire(timeout=min(TICK, seconds)):
            if not over():
                continue
            with throwing:
                if leaving:
                    return
                ctypes.pythonapi.PyThreadState_SetAsyncExc(me, ctypes.py_object(TookTooLong))

    done.acquire()
    throwing.acquire()
    threading.Thread(target=watch, daemon=True).start()
    try:
        try:
            throwing.release()  # from here on what is thrown is caught below
            work()
        finally:
            # No call comes before this line, so nothing can interrupt it. After it at most one exception arrives,
            # which is under way already: here, where `except` sees it, or it is called back.
            leaving = True
            with throwing:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(me, None)
            done.release()
    except TookTooLong:
        return False
    return True
