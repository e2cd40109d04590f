"""The controls of a live picture: play, pause, step, and a loop that survives errors.

A live picture has three parts, which know as little of each other as possible: a closed loop that steps without any
widget, a scene that draws its state, and this player, which calls both and holds the buttons.
"""

from __future__ import annotations

import asyncio
import html
import math
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets

from mpcrl_course.live.clock import Clock, running_loop
from mpcrl_course.live.controls import BESIDE, row

#: Descriptions are renewed this often at most, in seconds: nobody reads faster.
SAY_EVERY = 0.25
#: Seconds between two jobs that are done while nothing plays.
PAUSE = 0.5

_PACKAGE = str(Path(__file__).parents[1])
_playing: weakref.ref | None = None


class Player:
    """Buttons, picture and texts around a loop and its scene; display it by naming it in a cell's last line.

    Parameters
    ----------
    loop
        Its ``step()`` advances it by one frame.
    scene
        Its ``draw(loop)`` returns the picture as JPEG, its ``describe(loop)`` the same in words: the alt text.
    status : callable (loop) -> str, optional
        A short line (HTML) shown under the picture.
    controls : mapping of str to widgets, optional
        By name; connect them with `connect` or `watch`. Toggles and progress bars join the row of the buttons, what
        can be slid or chosen stands below it.
    step : callable (), optional
        Advances the loop by one frame instead.
    actions : mapping of str to callable (), optional
        Further buttons by their text, such as 'Kick' and 'Reset'.
    label : int
        Pixels of a control's text.
    rate : float
        Frames a second at most.
    width : int
        Width of the picture on the page, in pixels.
    idle : float
        Seconds without a touch after which it pauses by itself (a forgotten page should not heat the room).
    clock : Clock, optional
        What it tells the time by and waits with.

    Attributes
    ----------
    box : ipywidgets.VBox
        All of it.
    buttons : dict of str to ipywidgets.Button
        By their text: 'Play', 'Pause', 'Step' and those of `actions`.
    picture : ipywidgets.Image
    words, message : ipywidgets.HTML
        Status and alt text below the picture; at the very bottom an error, or why it has paused.
    error : str
        The error that is shown, or ''.
    frames : int
        Frames shown since the start.
    loop, scene, controls, rate, idle, clock
        As given; another clock can be put in as long as nothing plays.

    Notes
    -----
    Whatever loop, scene, an action or a watched function raises is shown below the picture; the player pauses and
    stays alive. Only one player plays at a time: a new one, or one that starts to play, pauses the other.

    JupyterLab delivers what the reader does in a thread of its own (a subshell). Loops and solvers are not made for
    that, so the player hands everything over to the thread and event loop in which it was made: there, frames,
    callbacks and cells follow each other and never overlap. Slider moves that arrive meanwhile are taken together.
    """

    def __init__(
        self,
        loop: Any,
        scene: Any,
        status: Callable[[Any], str] | None = None,
        controls: Mapping[str, Any] | None = None,
        *,
        step: Callable[[], object] | None = None,
        actions: Mapping[str, Callable[[], object]] | None = None,
        label: int = 150,
        width: int = 800,
        rate: float = 38.0,
        idle: float = 900.0,
        clock: Clock | None = None,
    ):
        self._step, self._status = step or loop.step, status or (lambda loop: "")
        self.loop, self.scene, self.controls = loop, scene, dict(controls or {})
        self.rate, self.idle, self.clock = float(rate), float(idle), clock or Clock()
        self.error, self.frames = "", 0
        self._task: asyncio.Task | None = None
        self._finishing: dict[Callable, asyncio.Task] = {}
        self._wanted, self._touched = False, -math.inf
        self._quiet: int | None = None  # the thread in which `set` moves a control
        self._thread, self._home = threading.get_ident(), running_loop()
        self._said = -math.inf
        self._saying: asyncio.Task | None = None

        wide = {"width": f"{width}px", "max_width": "100%"}
        self.picture = ipywidgets.Image(format="jpeg", layout=wide | {"height": "auto"})
        self.words, self.message = (ipywidgets.HTML(layout=wide | {"margin": "0"}) for _ in range(2))
        self.buttons: dict[str, ipywidgets.Button] = {}
        self._button("Play", "play", self.play)
        self._button("Pause", "pause", self.pause)
        self._button("Step", "step-forward", self.step)
        for text, action in (actions or {}).items():
            self._button(text, "", partial(self._act, action))
        beside = [one for one in self.controls.values() if isinstance(one, BESIDE)]
        below = [one for one in self.controls.values() if one not in beside]
        buttons = ipywidgets.HBox([*self.buttons.values(), *beside], layout={"flex_flow": "row wrap"})
        rows = [row(below, label, width)] if below else []
        self.box = ipywidgets.VBox([self.picture, self.words, buttons, *rows, self.message])
        _pause_other(self)
        self.refresh()

    def _repr_mimebundle_(self, **kwargs):
        return self.box._repr_mimebundle_(**kwargs)

    # ---- what the buttons do ------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether frames are being shown."""
        return self._wanted and self._task is not None and not self._task.done()

    def play(self) -> None:
        """Show frame after frame, until `pause`, an error, or the widget is closed."""
        global _playing
        loop = running_loop()
        if loop is None:
            raise RuntimeError("Play works in a notebook only; here, call step()")
        _pause_other(self)
        _playing = weakref.ref(self)
        self._touch()
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())

    def pause(self) -> None:
        """Stop after the frame that is being drawn."""
        self._wanted = False
        self._say()

    def step(self) -> None:
        """Pause, and advance by one frame."""
        self.pause()
        self._act(self._step)

    def frame(self) -> bool:
        """Advance by one frame, as Play does again and again; an error is shown. Returns whether it went well."""
        return self.guard(self._step) and self.guard(self._show)

    def within(self, seconds: float, at_most: int) -> Iterator[int]:
        """Count to `at_most`; while playing, stop before if `seconds` are over: as much as one frame has room for."""
        end = self.clock.now() + (seconds if self.playing else math.inf)
        for k in range(at_most):
            yield k
            if self.clock.now() > end:
                return

    def refresh(self) -> None:
        """Draw the state as it is."""
        if self.guard(self._show):
            self._say()

    def close(self) -> None:
        """Stop, and remove the widget from the page."""
        self._wanted = False
        for widget in (self.picture, self.words, self.message, *self.buttons.values(), self.box):
            widget.close()

    def watch(
        self,
        control: Any,
        function: Callable[[Any], object],
        then: Callable[[], object] | None = None,
    ) -> None:
        """Call ``function(value)`` and redraw when the reader changes `control`; its errors are shown.

        Slow parts of the picture belong into `then`, called after the first picture was sent: the reader sees the
        effect at once, and the finished picture a moment later.
        """
        moves: list = []

        def changed(change):
            if self._quiet == threading.get_ident():
                return
            moves.append(change["new"])
            if len(moves) == 1:
                self._hand_over(react)

        def react():
            value = moves[-1]
            moves.clear()
            self._touch()
            self._act(partial(function, value))
            if then is not None:
                self._afterwards(then)

        control.observe(changed, "value")

    def connect(self, change: Callable[..., object], *names: str, then: Callable[[], object] | None = None) -> None:
        """Call ``change(name=value)`` when the reader changes one of the controls of these names.

        It is called as by `watch`, and so is `then`.
        """

        def change_one(name, value):
            change(**{name: value})

        for name in names:
            self.watch(self.controls[name], partial(change_one, name), then)

    def set(self, control, value) -> None:
        """Set a watched control without calling its function: the loop moves the slider, not the reader.

        A slider's value is rounded to its step and kept in its range; otherwise the browser would do so, and send
        the rounded value back as if the reader had moved it.
        """
        step = getattr(control, "step", None)
        if step:
            value = round(control.min + round((value - control.min) / step) * step, 9)
            value = type(control.value)(min(max(value, control.min), control.max))
        self._quiet = threading.get_ident()
        try:
            control.value = value
        finally:
            self._quiet = None

    def when_idle(self, jobs: Iterable[Callable[[], object]]) -> None:
        """Do the jobs one by one while nothing plays here; without an event loop (in no notebook) never."""
        if (loop := running_loop()) is None:
            return

        async def work():
            for job in jobs:
                await self.clock.sleep(PAUSE)
                while self.playing:
                    await self.clock.sleep(PAUSE)
                if self._closed():
                    return
                self.guard(job)

        self.ahead = loop.create_task(work())  # kept, or it would be forgotten

    def guard(self, function: Callable[[], object]) -> bool:
        """Call `function`; an error is shown, not raised, and pauses. Returns whether it went well."""
        try:
            function()
            return True
        except Exception as error:
            self._wanted = False
            self.error = _in_short(error)
            self.message.value = (
                '<div role="alert" style="border-left:4px solid #D55E00; padding:2px 10px; line-height:1.4">'
                f'<b>Paused by an error.</b><pre style="white-space:pre-wrap; margin:0">{html.escape(self.error)}</pre>'
                "</div>"
            )
            return False

    # ---- how frames get out -------------------------------------------------------------------------------------

    async def _run(self):
        clock = self.clock
        due = clock.now()
        while self._wanted and not self._closed() and self.frame():
            if clock.now() - self._touched > self.idle:
                self.message.value = f"Paused after {self.idle / 60:.0f} minutes; press Play to go on."
                break
            if clock.now() - self._said > SAY_EVERY:
                self._say()
            await clock.sent()
            due = max(due + 1 / self.rate, clock.now())
            # at least one turn of the event loop, or no slider and no button would ever be heard
            await clock.sleep(due - clock.now())
        self._wanted = False
        if not self._closed():
            self._say()

    def _show(self):
        self.picture.value = self.scene.draw(self.loop)
        self.frames += 1

    def _afterwards(self, then):
        def finish():
            if self.guard(then):
                self.refresh()

        async def finish_later():
            await self.clock.sent()
            del self._finishing[then]
            finish()

        loop = running_loop()
        if loop is None:
            finish()
        elif then not in self._finishing:
            self._finishing[then] = loop.create_task(finish_later())

    def _say(self):
        """Renew the texts now, or a little later if they were renewed just now."""
        wait, loop = self._said + SAY_EVERY - self.clock.now(), running_loop()
        if wait <= 0 or loop is None:  # without a notebook there is nobody to spare
            self._say_now()
        elif self._saying is None:
            self._saying = loop.create_task(self._say_later(wait))

    async def _say_later(self, wait):
        await self.clock.sleep(wait)
        self._say_now()

    def _say_now(self):
        self._said, self._saying = self.clock.now(), None
        if not self._closed():
            self.guard(self._renew_words)

    def _renew_words(self):
        self.words.value = _with_alt(self._status(self.loop), self.scene.describe(self.loop))

    def _closed(self):
        return self.box.comm is None or self.picture.comm is None

    def _touch(self):
        self._touched = self.clock.now()
        self.error = self.message.value = ""

    def _hand_over(self, function):
        """Call `function` in the thread of this player: now, if this is it, else as soon as it is free."""
        if self._home is None or self._home.is_closed() or threading.get_ident() == self._thread:
            function()
        else:
            self._home.call_soon_threadsafe(function)

    def _act(self, action):
        self.guard(action)
        self.refresh()

    def _button(self, text, icon, function):
        def pressed():
            self._touch()
            self.guard(function)

        button = ipywidgets.Button(description=text, icon=icon, layout={"width": "auto", "min_width": "76px"})
        button.on_click(lambda _: self._hand_over(pressed))
        self.buttons[text] = button


def _with_alt(status: str, description: str) -> str:
    """Return the HTML of the line under the picture, which carries the picture's alt text along.

    `ipywidgets.Image` knows no alt text (as of 8.1), and an <img> in an HTML widget would be made anew with every
    frame. So the text travels with the status line, and an empty style element hands it over when it is loaded,
    that is, each time the line changes.
    """
    hand_over = (
        "const p = this.closest('.widget-vbox'), i = p && p.querySelector('img'); if (i) i.alt = this.dataset.alt"
    )
    return (
        f'<div style="line-height:1.5; font-variant-numeric:tabular-nums">{status}</div>'
        f'<style onload="{hand_over}" data-alt="{html.escape(" ".join(description.split()))}">/**/</style>'
    )


def _in_short(error: BaseException) -> str:
    """Return the error and the last line of the reader's own code that led to it."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(_PACKAGE) and "site-packages" not in f.filename]
    if own:
        text += f"\n  in {own[-1].name}, line {own[-1].lineno}: {own[-1].line}"
    return text


def _pause_other(player):
    global _playing
    other = _playing() if _playing is not None else None
    if other is not None and other is not player:
        other.pause()
        _playing = None
