import asyncio
import threading
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest

from mpcrl_course.live.clock import Clock
from mpcrl_course.live.controls import checked_kick, slider, toggle
from mpcrl_course.live.player import SAY_EVERY, Player
from tests.live.helpers import Ticks, alt, turn


class Counter:
    """A loop and a scene in one, the smallest there are."""

    def __init__(self):
        self.n, self.fail_at = 0, None

    def step(self):
        if self.n == self.fail_at:
            raise ValueError("no <further>")
        self.n += 1

    def draw(self, loop):
        return b"picture %d" % loop.n

    def describe(self, loop):
        return f'state "{loop.n}"'

    def player(self, **options):
        self.clock = options.setdefault("clock", Ticks())
        return Player(self, self, lambda loop: f"n={loop.n}", **options)


def test_first_frame_is_there_without_a_browser():
    player = Counter().player()
    assert player.picture.value == b"picture 0" and player.frames == 1
    assert alt(player) == 'state "0"' and "n=0" in player.words.value
    assert list(player.buttons) == ["Play", "Pause", "Step"]
    assert "application/vnd.jupyter.widget-view+json" in str(player._repr_mimebundle_())


def test_step_advances_and_describes():
    player = Counter().player()
    player.buttons["Step"].click()
    assert player.picture.value == b"picture 1" and "1" in alt(player)


def test_play_shows_frames_at_the_rate_and_pause_stops():
    counter = Counter()
    player = counter.player(rate=64)

    async def scenario():
        player.buttons["Play"].click()
        assert player.playing
        await counter.clock.advance(0.5)  # frames at 0, 1/64, …, 32/64 s
        assert counter.n == 33 and player.frames == 34 and player.picture.value == b"picture 33"
        player.buttons["Pause"].click()
        await counter.clock.advance(0.5)
        assert counter.n == 33 and not player.playing

    asyncio.run(scenario())


def test_a_frame_that_takes_long_delays_the_next_and_none_is_made_up_for():
    clock, at = Ticks(), []

    def step():
        at.append(64 * clock.time)
        clock.time += 10.5 / 64 if len(at) == 2 else 0.0

    player = Counter().player(step=step, rate=64, clock=clock)

    async def scenario():
        player.play()
        await clock.advance(0.22)

    asyncio.run(scenario())
    assert at == [0, 1, 11.5, 12.5, 13.5]


def test_play_again_after_pause_runs_one_loop_only():
    counter = Counter()
    player = counter.player(rate=64)

    async def scenario():
        player.play()
        player.pause()
        player.play()
        player.play()
        await counter.clock.advance(0.25)
        player.pause()

    asyncio.run(scenario())
    assert counter.n == 17


def test_texts_change_a_few_times_a_second_only():
    player = (counter := Counter()).player(rate=64)
    said = []
    player.words.observe(lambda change: said.append(counter.clock.time), "value")

    async def scenario():
        player.play()
        await counter.clock.advance(0.6)
        player.pause()
        await counter.clock.advance(1.0)

    asyncio.run(scenario())
    assert len(said) == 3 and said[-1] == said[-2] + SAY_EVERY  # what pausing shows comes a little later, and comes
    assert min(after - before for before, after in zip([0.0, *said], said)) >= SAY_EVERY
    assert alt(player) == f'state "{counter.n}"' and counter.n == 39


def test_what_fits_into_a_frame_is_counted_by_the_clock():
    clock, made = Ticks(), []

    def step():
        made.append(0)
        for k in player.within(0.012, 24):
            made[-1] = k + 1
            clock.time += 0.005

    player = Counter().player(step=step, clock=clock)
    player.step()  # paused: the reader asked for all

    async def scenario():
        player.play()
        await clock.tick()
        clock.time += 100.0
        player.close()

    asyncio.run(scenario())
    assert made == [24, 3, 3]


def test_the_real_clock_goes_on_waits_and_asks_the_kernel(monkeypatch):
    clock, order = Clock(), []
    before = clock.now()

    async def scenario():
        asyncio.get_running_loop().call_soon(order.append, "turned")
        await clock.sleep(-1.0)
        await clock.sent()  # there is no kernel
        monkeypatch.setattr("IPython.get_ipython", lambda: shell)
        await clock.sent()

    def schedule(function):
        order.append("asked")
        function()

    shell = SimpleNamespace(kernel=SimpleNamespace(iopub_thread=SimpleNamespace(schedule=schedule)))
    asyncio.run(scenario())
    assert order == ["turned", "asked"] and clock.now() > before


def test_error_in_the_play_loop_is_shown_and_it_lives_on():
    counter = Counter()
    player = counter.player(rate=200)
    counter.fail_at = 3

    async def scenario():
        player.play()
        await counter.clock.tick(3)
        assert not player.playing and "ValueError: no <further>" in player.error
        assert "no &lt;further&gt;" in player.message.value and 'role="alert"' in player.message.value
        assert "raise ValueError" in player.error  # the reader's own line
        counter.fail_at = None
        player.play()
        assert player.error == player.message.value == ""
        await counter.clock.tick(4)
        player.pause()

    asyncio.run(scenario())
    assert counter.n == 8


@pytest.mark.parametrize("which", ["Step", "Break", "slider"])
def test_error_in_a_callback_is_shown_and_the_next_touch_clears_it(which):
    def broken(*_):
        raise KeyError("missing")

    counter, slider = Counter(), ipywidgets.IntSlider()
    player = counter.player(actions={"Break": broken}, controls={"slider": slider})
    player.watch(slider, broken)
    if which == "slider":
        slider.value = 5
    else:
        counter.fail_at = 0
        player.buttons[which].click()
    assert player.error and "Paused by an error" in player.message.value
    counter.fail_at = None
    player.buttons["Step"].click()
    assert player.error == player.message.value == "" and counter.n == 1


def test_error_while_drawing_or_describing_is_shown():
    for name in ("draw", "describe"):
        scene = Counter()
        setattr(scene, name, lambda loop: 1 / 0)
        assert "ZeroDivisionError" in Player(Counter(), scene).error


def test_controls_stand_beside_the_buttons_or_in_a_row_below():
    controls = {
        "a": slider("speed (m/s)", 1.0, 0.0, 3.0, 0.5),
        "b": toggle("Faster", "bolt"),
        "c": slider("n (–)", 2, 1, 9),
    }
    player = Counter().player(controls=controls, label=90, width=640)
    buttons, below = (box for box in player.box.children if isinstance(box, ipywidgets.HBox))
    assert buttons.children == (*player.buttons.values(), controls["b"]) and not controls["b"].value
    assert below.children == (controls["a"], controls["c"])
    assert all((one.style.description_width, one.layout.width) == ("90px", "310px") for one in below.children)
    assert isinstance(controls["c"].value, int) and controls["a"].step == 0.5


def test_connected_controls_change_by_their_names():
    changes, controls = [], {"a": slider("a", 1.0, 0.0, 3.0, 0.5), "b": slider("b", 1, -4, 0, 0.5, ".1e", log=True)}
    player = Counter().player(controls=controls)
    player.connect(lambda **change: changes.append(change), "a", "b", then=lambda: changes.append("then"))
    controls["a"].value = 2.5
    controls["b"].value = 1e-3
    assert changes == [{"a": 2.5}, "then", {"b": 1e-3}, "then"] and controls["b"].readout_format == ".1e"


@pytest.mark.parametrize("amount", [[np.inf, 0.0], [1.0], 2.0, [[1.0, 2.0]]])
def test_a_kick_is_checked(amount):
    with pytest.raises(ValueError, match=r"a kick is two finite numbers \(m/s, rad/s\), not \["):
        checked_kick(amount, "m/s", "rad/s")
    np.testing.assert_array_equal(checked_kick([1, 2], "m/s", "rad/s"), [1.0, 2.0])
    np.testing.assert_array_equal(checked_kick(3, "rad/s"), [3.0])


def test_moving_a_slider_from_the_loop_does_not_call_back():
    calls, slider = [], ipywidgets.IntSlider()
    player = Counter().player(controls={"slider": slider})
    player.watch(slider, calls.append, then=lambda: calls.append("then"))
    player.set(slider, 7)
    assert slider.value == 7 and calls == []
    slider.value = 8
    assert calls == [8, "then"]


def test_a_slider_moved_from_the_loop_stays_on_its_grid():
    slider = ipywidgets.FloatSlider(min=0.0, max=0.3, step=0.01)
    whole = ipywidgets.IntSlider(min=1, max=20)
    player = Counter().player()
    for value, on_grid in ((0.248783, 0.25), (0.071, 0.07), (0.5, 0.3), (-1.0, 0.0)):
        player.set(slider, value)
        assert slider.value == on_grid  # exactly: anything else comes back from the browser as a reader's move
    player.set(whole, 7)
    assert whole.value == 7 and isinstance(whole.value, int)


def test_moves_from_another_thread_are_handled_in_the_player_s_own_and_taken_together():
    slider, seen = ipywidgets.IntSlider(max=1000), []

    async def scenario():
        counter = Counter()
        player = counter.player(controls={"slider": slider}, actions={"Who": lambda: seen.append(("button", here()))})
        player.watch(slider, lambda value: seen.append((value, here())))

        def reader():
            for value in range(1, 51):
                slider.value = value
            player.buttons["Who"].click()
            player.buttons["Play"].click()

        thread = threading.Thread(target=reader)
        thread.start()
        thread.join()  # our event loop is busy all the time
        assert seen == []
        await turn()
        assert player.playing and counter.n == 1
        player.pause()

    here = threading.get_ident
    asyncio.run(scenario())
    assert seen == [(50, here()), ("button", here())]


def test_closing_stops_the_loop():
    counter = Counter()
    player = counter.player()

    async def scenario():
        player.play()
        await counter.clock.tick(3)
        player.box.close()
        await counter.clock.advance(10.0)

    asyncio.run(scenario())
    assert counter.n == 4 and not player.playing


def test_only_one_plays_and_a_new_one_pauses_the_old():
    first, second = Counter(), Counter()

    async def scenario():
        a = first.player()
        a.play()
        await first.clock.tick()
        b = second.player()
        await first.clock.tick()
        assert not a.playing
        a.play()
        b.play()
        await turn()
        assert b.playing and not a.playing
        b.close()
        await second.clock.tick()
        assert not b.playing

    asyncio.run(scenario())
    assert (first.n, second.n) == (2, 1)


def test_a_forgotten_player_pauses_and_a_touch_keeps_it_awake():
    counter = Counter()
    player = counter.player(rate=1, idle=60.0)

    async def scenario():
        player.play()
        await counter.clock.advance(50.0)
        player.buttons["Play"].click()
        await counter.clock.advance(60.0)
        assert player.playing
        await counter.clock.advance(1.0)

    asyncio.run(scenario())
    assert not player.playing and "Paused after 1 minutes; press Play" in player.message.value and counter.n == 112


def test_play_outside_a_notebook_says_so():
    player = Counter().player()
    player.buttons["Play"].click()
    assert "notebook" in player.error


def test_the_next_frame_waits_until_the_last_was_sent():
    class Slow(Ticks):
        async def sent(self):
            await self.sleep(1.0)

    counter = Counter()
    player = counter.player(rate=1000, clock=Slow())

    async def scenario():
        player.play()
        await counter.clock.advance(10.5)
        player.pause()

    asyncio.run(scenario())
    assert counter.n == 11


def test_the_finished_picture_comes_after_the_first_was_sent():
    class Slow(Ticks):
        async def sent(self):
            order.append("first picture")
            await self.sleep(1.0)

    order, slider, clock = [], ipywidgets.IntSlider(), Slow()

    async def scenario():
        player = Counter().player(controls={"slider": slider}, clock=clock)
        player.watch(slider, order.append, then=lambda: order.append("then"))
        slider.value = 3
        await turn()
        assert order == [3, "first picture"]
        await clock.advance(1.0)

    asyncio.run(scenario())
    assert order == [3, "first picture", "then"]
