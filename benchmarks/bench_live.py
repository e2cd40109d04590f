"""The live widgets of lectures 02, 04, 06, 11 (two) and 12, with the solver in the loop: processor time of a frame in
the kernel, and in a real JupyterLab the time from key to picture and the frames a second.

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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the helper is the browser test's

from tests.browser.lab import missing, open_notebook  # noqa: E402

DATA = ROOT / "lectures" / "data"
PRESSES, SECONDS, FRAMES = 20, 5.0, 200
FRAME, LATENCY, RATE = 8.0, 60.0, 30.0  # budgets: CPU ms a frame, ms from key to picture (medians), frames a second
REDRAWN = 4.0  # times what drawing the whole figure takes at least, of what a frame takes


class Widget(NamedTuple):
    """A widget as its lecture shows it, and what is done with it."""

    source: str  # the last line names it
    sliders: tuple[str, ...]
    busy: str  # a button that adds work to every frame: its text, '' for none
    back: str  # a button that puts things back


WIDGETS = {
    "02": Widget(
        "from mpcrl_course.live.cartpole import cartpole_live\nlive = cartpole_live()\nlive",
        ("horizon", "weight of p²", "weight of F²", "target", "cart (kg)", "pole (kg)"), "", "Reset",
    ),
    "04": Widget(
        "import numpy as np\nfrom mpcrl_course.learners.trained import trained_agent\n"
        "from mpcrl_course.live.versus import versus_live\n"
        f"live = versus_live(trained_agent(np.load({str(DATA / 'agents_04.npz')!r})))\nlive",
        ("mass", "friction", "delay", "torque limit", "torque noise"), "Retrain the RL", "Back to nominal",
    ),
    "06": Widget(
        "from mpcrl_course.live.linear import linear_live\nlive = linear_live()\nlive",
        ("back-off", "horizon", "discount"), "Learn while you watch", "Reset",
    ),
    "11": Widget(
        "from mpcrl_course.live.admm import admm_live\nlive = admm_live()\nlive",
        ("penalty", "iteration shown", "messages lost"), "", "New states",
    ),
    "11-power": Widget(
        "import numpy as np\nfrom mpcrl_course.live.power import power_live\n"
        f"live = power_live(np.load({str(DATA / 'power_11.npz')!r})['distributed_theta'][0])\nlive",
        ("load 1", "load 4", "noise"), "", "Restart",
    ),
    "12": Widget(
        "from mpcrl_course.live.second_order import second_order_live\nlive = second_order_live()\nlive",
        ("batch T", "regularisation"), "", "Restart",
    ),
}  # fmt: skip


def main(names):
    """Print a table for each widget; exit code 1 if a frame takes too long beside drawing its whole figure."""
    unknown = set(names) - set(WIDGETS)
    if unknown:
        raise SystemExit(f"no widget is called {', '.join(sorted(unknown))}; there are: {', '.join(WIDGETS)}")
    met = True
    for name in names:
        widget = WIDGETS[name]
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
        title = f"live widget of lecture {name}: {FRAMES} frames; {PRESSES} presses, {SECONDS:g} s in JupyterLab"
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
        milliseconds = lab.press(slider, key, timeout=600.0)
        if milliseconds is None:
            raise SystemExit(f"a press on the slider of the {name} did not change the picture")
        times.append(milliseconds)
    return times


def one_cell(source):
    """Return a notebook of one cell."""
    cell = {"cell_type": "code", "id": "live", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or WIDGETS))
