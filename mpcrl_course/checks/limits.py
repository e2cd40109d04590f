"""Run a student's code for a limited time, and stop it even inside `while True: pass`."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

AGAIN = 0.02  # seconds between two attempts to stop code which caught the first


class TookTooLong(BaseException):
    """Raised inside code whose time is over; `except Exception` does not swallow a `BaseException`."""


def within(seconds: float, work: Callable[[], object]) -> bool:
    """Call `work()` and stop it when its time is over.

    On the main thread of a POSIX system an interval timer's signal stops the work; elsewhere (Windows, other
    threads) a second thread raises the exception in this one. Both stop pure Python at its next bytecode; a
    call into compiled code is stopped when it returns.

    Parameters
    ----------
    seconds
        Wall time allowed; infinity for no limit. The environment variable `MPCRL_COURSE_TIME_FACTOR` (default 1)
        multiplies it, for slow or busy machines.
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
    seconds = seconds * _time_factor()
    on_main = threading.current_thread() is threading.main_thread()
    if sys.platform != "win32" and on_main:
        return _within_by_signal(seconds, work)
    return _within_by_thread(seconds, work)


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
    end = time.monotonic() + seconds * _time_factor()

    def work() -> None:
        for result in results:
            if time.monotonic() > end:  # computed in one long compiled call, or after an interruption was swallowed
                raise TookTooLong
            collected.append(result)

    return collected, within(seconds, work)


def _time_factor() -> float:
    try:
        return max(float(os.environ.get("MPCRL_COURSE_TIME_FACTOR", "1")), 1e-3)
    except ValueError:
        return 1.0


def _ours(frame: FrameType | None) -> bool:
    # An interruption while this file disarms its alarm would leave the alarm on: it waits for the next tick.
    return frame is not None and frame.f_code.co_filename == __file__


def _within_by_signal(seconds: float, work: Callable[[], object]) -> bool:
    if sys.platform == "win32":  # for the type checker: Windows has neither setitimer nor SIGALRM
        raise NotImplementedError
    over = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal over
        if not _ours(frame):
            over = True
            _trip_wire(frame)
            raise TookTooLong

    start = time.monotonic()
    trace, handler = sys.gettrace(), signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        work()
    except (TookTooLong, KeyboardInterrupt):  # a solver may turn the one into the other
        if not over and not isinstance(sys.exc_info()[1], TookTooLong):
            raise
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
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
    leaving = False

    def watch() -> None:
        wait = seconds
        while not done.acquire(timeout=wait):
            wait = AGAIN
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
