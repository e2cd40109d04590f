"""The live widget in a real JupyterLab: from key to picture, and frames a second, with the solver in the loop."""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from table import table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the helper is the browser test's

from tests.browser.lab import missing, open_notebook  # noqa: E402

SOURCE = "from mpcrl_course.live.linear import linear_live\nlinear_live()"
SLIDERS = ("back-off", "horizon", "discount")
PRESSES, SECONDS = 20, 5.0
LATENCY, RATE = 60.0, 30.0  # ms from key to picture (median), frames a second


def main():
    """Print the table; exit code 1 if a target is missed, 2 if there is no browser."""
    if missing():
        print("not measured:", "; ".join(missing()))
        return 2
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder, "live.ipynb")
        notebook.write_text(json.dumps(one_cell(SOURCE)), encoding="utf-8")
        with open_notebook(notebook) as lab:
            lab.run_all()
            if lab.errors():
                print("the widget shows an error:", *lab.errors())
                return 1
            lab.watch_picture()
            lab.button("Play").press("Enter")
            lab.page.wait_for_timeout(500)
            playing = lab.frames_in(SECONDS)[1]
            lab.button("Learn while you watch").press("Space")
            lab.page.wait_for_timeout(500)
            learning = lab.frames_in(SECONDS)[1]
            lab.button("Pause").press("Enter")
            unpaused = not lab.settle()
            lab.button("Learn while you watch").press("Space")
            lab.button("Reset").press("Enter")
            latencies = {name: press_through(lab, name) for name in SLIDERS}
    if unpaused or lab.page_errors:
        print("the widget did not pause" if unpaused else f"errors in the page: {lab.page_errors}")
        return 1
    rows = []
    for name, times in latencies.items():
        rows.append((f"{name}, key to picture, ms", statistics.median(times), max(times), f"{LATENCY:.0f}"))
    rows.append(("playing, frames/s", playing, None, f"{RATE:.0f}"))
    rows.append(("playing and learning, frames/s", learning, None, f"{RATE:.0f}"))
    table(f"live widget in JupyterLab, {PRESSES} presses, {SECONDS:g} s", rows, ("", "median", "max", "target"))
    slowest = max(statistics.median(times) for times in latencies.values())
    met = slowest <= LATENCY and min(playing, learning) >= RATE
    print("  horizon and discount: every press shows a new MPC (the next one of a moving slider is built ahead)")
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"  targets {'met' if met else 'MISSED'} ({os.cpu_count()} cores{busy})")
    return 0 if met else 1


def press_through(lab, name):
    """Press an arrow key again and again, from the slider's low end; return the milliseconds of each press."""
    slider, times = lab.slider(name), []
    slider.press("Home")
    for _ in range(PRESSES):
        lab.settle()
        at_end = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemax")
        milliseconds = lab.press(slider, "ArrowLeft" if at_end else "ArrowRight", timeout=10.0)
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
    sys.exit(main())
