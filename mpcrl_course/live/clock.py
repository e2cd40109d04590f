"""When things happen in a live picture; a player is given a clock, and a test one whose hands it moves."""

from __future__ import annotations

import asyncio
import time


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs this code; None outside a notebook."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Clock:
    """The time, waiting, and the moment when the kernel has sent what was shown."""

    def now(self) -> float:
        """Return the time in seconds, from any beginning."""
        return time.perf_counter()

    async def sleep(self, seconds: float) -> None:
        """Wait so many `seconds`; with nothing to wait for, let the event loop turn once."""
        await asyncio.sleep(seconds)

    async def sent(self) -> None:
        """Wait until the kernel has handed the messages so far to the network, so that frames cannot pile up."""
        try:
            from IPython import get_ipython

            schedule = get_ipython().kernel.iopub_thread.schedule
        except (ImportError, AttributeError):
            return  # no Jupyter kernel: nothing is sent
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        schedule(lambda: loop.call_soon_threadsafe(done.set))
        try:
            await asyncio.wait_for(done.wait(), 1.0)
        except asyncio.TimeoutError:
            pass
