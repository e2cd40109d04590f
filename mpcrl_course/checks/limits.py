"""Run a student's code for a limited time, and stop it even inside `while True: pass`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

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
        Wall time allowed. The environment variable `MPCRL_COURSE_TIME_FACTOR` (default 1) multiplies it, for
        slow or busy machines.
    work
        Called without arguments; what it raises is passed on.

    Returns
    -------
    bool
        True if the work ended by itself, False if it was stopped.
    """
    seconds = seconds * _time_factor()
    on_main = threading.current_thread() is threading.main_thread()
    if sys.platform != "win32" and on_main:
        return _within_by_signal(seconds, work)
    return _within_by_thread(seconds, work)


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

    def stop(signum: int, frame: FrameType | None) -> None:
        if not _ours(frame):
            raise TookTooLong

    start = time.monotonic()
    previous = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        work()
    except TookTooLong:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if left:  # somebody else's alarm (pytest-timeout's, say) goes on where it was
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 1e-3), interval)
    return True


def _within_by_thread(seconds: float, work: Callable[[], object]) -> bool:
    me = ctypes.c_ulong(threading.get_ident())
    done = threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        while not done.wait(AGAIN):
            if not _ours(sys._current_frames().get(me.value)):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(me, ctypes.py_object(TookTooLong))

    def stand_down() -> None:
        while True:
            try:
                done.set()
                watchman.join()
                ctypes.pythonapi.PyThreadState_SetAsyncExc(me, None)  # one that is on its way is called back
                return
            except TookTooLong:
                continue

    watchman = threading.Thread(target=watch, daemon=True)
    watchman.start()
    try:
        work()
    except TookTooLong:
        return False
    finally:
        stand_down()
    return True
