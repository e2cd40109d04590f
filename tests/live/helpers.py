"""What the tests of live pictures share: a clock that they move by hand, and the picture's alt text."""

import asyncio
import heapq
import html
import re

from mpcrl_course.live.clock import Clock


class Ticks(Clock):
    """Stands still until a test lets time pass; who sleeps wakes in order."""

    def __init__(self, time=0.0):
        self.time, self._sleepers, self._count = time, [], 0

    def now(self):
        return self.time

    async def sleep(self, seconds):
        awake = asyncio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (self.time + max(seconds, 0.0), self._count, awake))
        await awake.wait()

    async def tick(self, times=1):
        """Go on to the moment when the next sleeper wakes (of a player that plays: to its next frame)."""
        await turn()
        for _ in range(times):
            due, _, awake = heapq.heappop(self._sleepers)
            self.time = max(self.time, due)
            awake.set()
            await turn()

    async def advance(self, seconds):
        """Let so many seconds pass."""
        end = self.time + seconds
        await turn()
        while self._sleepers and self._sleepers[0][0] <= end:
            await self.tick()
        self.time = max(self.time, end)


async def turn():
    """Let the event loop turn until all who can go on have done so."""
    for _ in range(10):
        await asyncio.sleep(0)


def ticking(player):
    """Give a player such a clock, which goes on from its own; returns the clock."""
    player.clock = Ticks(player.clock.now())
    return player.clock


def alt(player):
    """Return the picture's alt text."""
    return html.unescape(re.search('data-alt="([^"]*)"', player.words.value).group(1))


def sweep(player, name, value):
    """Move a slider over its range: a picture at once, a value that `value()` reads, and steps without an error."""
    slider, pictures = player.controls[name], []
    for wanted in (slider.max, slider.min, slider.min + 2 * slider.step):
        before = player.picture.value
        slider.value = wanted
        pictures.append(player.picture.value)
        assert player.picture.value != before  # at once, before the next step
        assert abs(value() - wanted) <= 1e-6 * max(abs(wanted), abs(value()), 1e-6)
        for _ in range(3):
            player.buttons["Step"].click()
        assert player.error == "" and player.message.value == ""
    assert len(set(pictures)) == 3
    assert slider.description and slider.readout and re.search(r"\(.+\)", slider.description)  # with its unit
