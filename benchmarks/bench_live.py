"""The live widgets of all lectures, with the solver in the loop: processor time of a frame in the kernel, and in a
real JupyterLab the time from key to picture and the frames a second.

Times are shown beside their budgets. What is judged is a ratio: all of a frame against drawing its figure anew."""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from table import budget, table, verdict

from mpcrl_course.lectures import LECTURES

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the helper is the browser test's

from tests.browser.lab import missing, open_notebook  # noqa: E402

PRESSES, SECONDS, FRAMES = 20, 5.0, 200
FRAME, LATENCY, RATE = 8.0, 60.0, 30.0  # budgets: CPU ms a frame, ms from key to picture (medians), frames a second
REDRAWN = 4.0  # times what drawing the whole figure takes at least, of what a frame takes


class Widget(NamedTuple):
    """A widget as its lecture shows it, and what is done with it."""

    name: str  # its module in `mpcrl_course.live`
    arguments: str
    sliders: tuple[str, ...]
    busy: str  # a button that adds work to every frame: its text, '' for none
    back: str  # a button that puts things back

    @property
    def source(self):
        """A cell that shows it."""
        show = f"{self.name}_live"
        return f"{IMPORTS}from mpcrl_course.live.{self.name} import {show}\nlive = {show}({self.arguments})\nlive"


IMPORTS = "from mpcrl_course import places\nfrom mpcrl_course.learners.trained import trained_agent\n"
#: In the order of the table of lectures, which tells who shows which.
WIDGETS = (
    Widget("pendulum", "", ("start: angle", "start: velocity"), "", "Reset"),
    Widget(
        "cartpole", "", ("horizon", "weight of p²", "weight of F²", "target", "cart (kg)", "pole (kg)"), "", "Reset"
    ),
    Widget("ddpg", "", ("start angle",), "Learn while you watch", "Restart"),
    Widget(
        "versus",
        "trained_agent(places.data('agents_04.npz'))",
        ("mass", "friction", "delay", "torque limit", "torque noise"),
        "Retrain the RL",
        "Back to nominal",
    ),
    Widget("architectures", "", ("payload m", "dry friction", "share β of r", "random force"), "", "Reset"),
    Widget("linear", "", ("back-off", "horizon", "discount"), "Learn while you watch", "Reset"),
    Widget("home", "", ("swing of the tariff", "colder by", "weather"), "", "Reset"),
    Widget("expert", "", ("start: angle", "runs of the teacher"), "Ask by the rule", "Reset"),
    Widget("critic", "", ("bias", "share", "number of data"), "Improve while you watch", "Reset"),
    Widget("race", "who='random'", ("plant: grip", "steering gain", "filter: margin"), "", "Reset"),
    Widget("admm", "", ("penalty", "iteration shown", "coupling", "messages lost"), "", "New states"),
    Widget(
        "power",
        "places.data('power_11.npz')['distributed_theta'][0]",
        ("load 1", "load 4", "noise", "tie lines"),
        "",
        "Restart",
    ),
    Widget("second_order", "", ("batch T", "regularisation"), "", "Restart"),
    Widget("population", "", ("agents in a sample", "agents n"), "", "Reset"),
    Widget("tuner", "", ("your question", "length of a test"), "", "Reset"),
)


def main(numbers):
    """Print a table for each widget of these lectures, or of all; exit code 1 if drawing a figure anew is as fast."""
    unknown = set(numbers) - {f"{lecture.number:02d}" for lecture in LECTURES if lecture.live}
    if unknown:
        raise SystemExit(f"there is no lecture {', '.join(sorted(unknown))} with a live widget")
    shown = [name for lecture in LECTURES if f"{lecture.number:02d}" in numbers or not numbers for name in lecture.live]
    met = True
    for widget in (widget for widget in WIDGETS if widget.name in shown):
        (frames, redrawn), rows = frame_times(widget), []

        def add(what, times, most):
            median = statistics.median(times)
            rows.append((what, median, max(times), most, budget(median, most)))  # noqa: B023

        add("a frame in the kernel, CPU ms", frames, FRAME)
        if not missing():
            latencies, rates = in_the_browser(widget)
            for slider, times in latencies.items():
                add(f"{slider}, key to picture, ms", times, LATENCY)
            for what, rate in rates.items():
                rows.append((f"{what}, frames/s", rate, None, RATE, budget(-rate, -RATE)))
        title = f"live widget {widget.name}: {FRAMES} frames; {PRESSES} presses, {SECONDS:g} s in JupyterLab"
        table(title, rows, ("", "median", "max", "budget", ""))
        ratio = statistics.median(redrawn) / statistics.median(frames)
        met &= verdict(f"{REDRAWN:g} times faster than to draw the figure ({ratio:.1f} times)", ratio >= REDRAWN)
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"  {os.cpu_count()} cores{busy}", *(f"; in the browser not measured: {what}" for what in missing()), sep="")
    return 0 if met else 1


def frame_times(widget):
    """Return the milliseconds of processor time of each of the first frames, and of drawing the figure, here."""
    namespace = {}
    exec(widget.source, namespace)
    live = namespace["live"]

    def clocked(do):
        begun = time.process_time()
        do()
        return 1e3 * (time.process_time() - begun)

    frames = [clocked(live.frame) for _ in range(FRAMES)]
    if live.error:
        raise SystemExit(f"the widget shows an error: {live.error}")
    return frames, [clocked(lambda: live.scene.canvas.layer(redraw_base=True)) for _ in range(FRAMES // 10)]


def in_the_browser(widget):
    """Return the milliseconds of each key press by slider, and the frames a second by what goes on."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder, "live.ipynb")
        notebook.write_text(json.dumps(one_cell(widget.source)), encoding="utf-8")
        with open_notebook(notebook) as lab:
            lab.run_all()
            lab.watch_picture()
            rates = {"playing": rate(lab, "Play")}
            if widget.busy:
                rates[f"playing, {widget.busy}"] = rate(lab, widget.busy)
            lab.button("Pause").press("Enter")
            unpaused = not lab.settle()
            lab.button(widget.back).press("Enter")
            latencies = {name: press_through(lab, name) for name in widget.sliders}
            wrong = lab.errors() + lab.page_errors + (["the widget did not pause"] if unpaused else [])
    if wrong:
        raise SystemExit("; ".join(wrong))
    return latencies, rates


def rate(lab, button):
    """Press a button and return the frames a second that follow."""
    lab.button(button).press("Enter")
    lab.page.wait_for_timeout(500)
    return lab.frames_in(SECONDS)[1]


def press_through(lab, name):
    """Press an arrow key again and again, from the slider's low end; return the milliseconds of each press."""
    slider, times = lab.slider(name), []
    slider.press("Home")
    key = "ArrowRight"
    for _ in range(PRESSES):
        lab.settle()
        now, low, high = (slider.get_attribute(f"aria-value{part}") for part in ("now", "min", "max"))
        key = "ArrowLeft" if now == high else "ArrowRight" if now == low else key
        times.append(lab.press(slider, key))
    return times


def one_cell(source):
    """Return a notebook of one cell."""
    cell = {"cell_type": "code", "id": "live", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
