import asyncio
import re
import threading

import ipywidgets
import pytest

from mpcrl_course.live import Player
from mpcrl_course.live import player as module


class Counter:
    """A loop and a scene in one, the smallest there are."""

    def __init__(self):
        self.n, self.fail_at = 0, None

    def step(self):
        if self.n == self.fail_at:
            raise ValueError("no <further>")
        self.n += 1

    def player(self, **options):
        return Player(
            self.step,
            lambda: b"picture %d" % self.n,
            lambda: f'state "{self.n}"',
            status=lambda: f"n={self.n}",
            **options,
        )


def alt(player):
    return re.search('data-alt="([^"]*)"', player._words.value).group(1)


def test_first_frame_is_there_without_a_browser():
    player = Counter().player()
    assert player.picture.value == b"picture 0" and player.frames == 1
    assert alt(player) == "state &quot;0&quot;" and "n=0" in player._words.value
    assert list(player.buttons) == ["Play", "Pause", "Step"]
    assert "application/vnd.jupyter.widget-view+json" in str(player._repr_mimebundle_())


def test_step_advances_and_describes():
    player = Counter().player()
    player.buttons["Step"].click()
    assert player.picture.value == b"picture 1" and "1" in alt(player)


def test_play_shows_frames_at_the_rate_and_pause_stops():
    counter = Counter()
    player = counter.player(rate=100)

    async def scenario():
        player.buttons["Play"].click()
        assert player.playing
        await asyncio.sleep(0.5)
        player.buttons["Pause"].click()
        await asyncio.sleep(0.05)
        stopped = counter.n
        await asyncio.sleep(0.1)
        return stopped

    stopped = asyncio.run(scenario())
    assert 5 <= stopped <= 52 and counter.n == stopped and not player.playing
    assert player.picture.value == b"picture %d" % stopped


def test_play_again_after_pause_runs_one_loop_only():
    counter = Counter()
    player = counter.player(rate=50)

    async def scenario():
        player.play()
        player.pause()
        player.play()
        player.play()
        await asyncio.sleep(0.3)
        player.pause()

    asyncio.run(scenario())
    assert 2 <= counter.n <= 17


def test_texts_change_a_few_times_a_second_only():
    player = Counter().player(rate=200)
    said = []
    player._words.observe(lambda change: said.append(change["new"]), "value")

    async def scenario():
        player.play()
        await asyncio.sleep(0.6)
        player.pause()
        await asyncio.sleep(0.3)

    asyncio.run(scenario())
    assert 2 <= len(said) <= 5
    assert f"state &quot;{bytes(player.picture.value).split()[1].decode()}&quot;" == alt(player)


def test_error_in_the_play_loop_is_shown_and_it_lives_on():
    counter = Counter()
    player = counter.player(rate=200)
    counter.fail_at = 3

    async def scenario():
        player.play()
        await asyncio.sleep(0.2)
        assert not player.playing and "ValueError: no <further>" in player.error
        assert "no &lt;further&gt;" in player._message.value and 'role="alert"' in player._message.value
        assert "raise ValueError" in player.error  # the reader's own line
        counter.fail_at = None
        player.play()
        assert player.error == player._message.value == ""
        await asyncio.sleep(0.1)
        player.pause()

    asyncio.run(scenario())
    assert counter.n > 4


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
    assert player.error and "Paused by an error" in player._message.value
    counter.fail_at = None
    player.buttons["Step"].click()
    assert player.error == player._message.value == "" and counter.n == 1


def test_error_while_drawing_or_describing_is_shown():
    player = Player(lambda: None, lambda: 1 / 0, lambda: "never")
    assert "ZeroDivisionError" in player.error
    player = Player(lambda: None, lambda: b"", lambda: 1 / 0)
    assert "ZeroDivisionError" in player.error


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
        await asyncio.sleep(0.1)
        assert player.playing and counter.n > 0
        player.pause()
        await asyncio.sleep(0.05)

    here = threading.get_ident
    asyncio.run(scenario())
    assert seen == [(50, here()), ("button", here())]


def test_closing_stops_the_loop():
    counter = Counter()
    player = counter.player(rate=200)

    async def scenario():
        player.play()
        await asyncio.sleep(0.05)
        player.box.close()
        await asyncio.sleep(0.05)
        stopped = counter.n
        await asyncio.sleep(0.1)
        return stopped

    assert asyncio.run(scenario()) == counter.n and not player.playing


def test_only_one_plays_and_a_new_one_pauses_the_old():
    first, second = Counter(), Counter()

    async def scenario():
        a = first.player(rate=100)
        a.play()
        await asyncio.sleep(0.05)
        b = second.player(rate=100)
        await asyncio.sleep(0.05)
        assert not a.playing
        a.play()
        b.play()
        await asyncio.sleep(0.05)
        assert b.playing and not a.playing
        b.close()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_a_forgotten_player_pauses():
    player = Counter().player(rate=100, idle=0.1)

    async def scenario():
        player.play()
        await asyncio.sleep(0.3)

    asyncio.run(scenario())
    assert not player.playing and "press Play" in player._message.value


def test_play_outside_a_notebook_says_so():
    player = Counter().player()
    player.buttons["Play"].click()
    assert "notebook" in player.error


def test_the_next_frame_waits_until_the_last_was_sent(monkeypatch):
    waiting = []

    async def sent():
        waiting.append(1)
        await asyncio.sleep(0.05)

    monkeypatch.setattr(module, "_sent", sent)
    counter = Counter()
    player = counter.player(rate=1000)

    async def scenario():
        player.play()
        await asyncio.sleep(0.3)
        player.pause()

    asyncio.run(scenario())
    assert counter.n <= 7 and len(waiting) == counter.n
