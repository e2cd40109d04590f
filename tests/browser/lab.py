"""A notebook in a real JupyterLab in a real browser, for the browser tests and for benchmarks/bench_live.py.

    with open_notebook("lectures/06_mpc_as_value.ipynb", beside=["lectures/data"]) as lab:
        lab.run_all()
        lab.watch_picture()
        print(lab.press(lab.slider("back-off"), "ArrowRight"), "ms from key to picture")

The `check_…` functions are what the browser tests of all lectures have in common. Speed is printed by them
(`pytest -s`) and judged in benchmarks/bench_live.py: on a machine that does other work too, a time is no test.

JupyterLab works on a copy in a temporary folder and has settings, workspaces and runtime files of its own, so that
neither the notebook nor anything of the reader's is written to. Browser and server end with the `with` block.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from course import find_chromium, is_ci

HOW = {
    "playwright": "the Python package playwright is missing: pip install -r requirements.txt",
    "chromium": "no Chromium found: install it (Debian, Ubuntu: sudo apt install chromium) or set MPCRL_CHROMIUM to it",
}

#: All cells stay in the page (by default those out of sight are taken out), and no questions about news and updates.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

KERNEL_STATUS = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
OUTPUTS = f"{NOTEBOOK} .jp-OutputArea-output"

# A frame counts when it is decoded ('load') and the browser comes to painting it (the next animation frame).
WATCH = """(image) => {
  const seen = window.mpcrlSeen = {frames: 0, key: null, latency: null};
  let fresh = false;
  image.addEventListener('load', () => { fresh = true; });
  document.addEventListener('keydown', () => { seen.key = performance.now(); seen.latency = null; }, true);
  const look = () => {
    if (fresh) {
      fresh = false;
      seen.frames += 1;
      if (seen.key !== null) { seen.latency = performance.now() - seen.key; seen.key = null; }
    }
    requestAnimationFrame(look);
  };
  look();
}"""


def missing() -> list[str]:
    """Return one sentence for each thing that this machine lacks to show a notebook in a browser."""
    lacks = []
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        lacks.append(HOW["playwright"])
    if find_chromium() is None:
        lacks.append(HOW["chromium"])
    return lacks


def marks() -> list:
    """Return the marks of a browser test: left out where no browser is, but not by a CI, which has to have one."""
    import pytest

    lacks = missing()
    without = pytest.mark.skipif(bool(lacks) and not is_ci(os.environ), reason="; ".join(lacks) or "-")
    return [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600), without]


class Lab:
    """A notebook that is open in JupyterLab: its page, and what a reader does and sees there.

    Attributes
    ----------
    page : playwright.sync_api.Page
    page_errors : list of str
        JavaScript errors that nobody caught, so far.
    """

    def __init__(self, page: Any):
        self.page = page
        self.page_errors: list[str] = []
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))

    # ---- the notebook

    def run_all(self, timeout: float = 240.0) -> None:
        """Run all cells, and wait until the last has ended (or one has failed)."""
        self.page.evaluate("""() => {
          window.mpcrlRan = false;
          window.jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.mpcrlRan = true; });
        }""")
        self.page.wait_for_function("() => window.mpcrlRan", timeout=1e3 * timeout)
        self.wait_idle()

    def wait_idle(self, timeout: float = 60.0) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(f"() => {KERNEL_STATUS} === 'idle'", timeout=1e3 * timeout)

    def code_cells(self) -> list[dict]:
        """Return the code cells as they are now, in nbformat."""
        book = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.toJSON()")
        return [cell for cell in book["cells"] if cell["cell_type"] == "code"]

    def errors(self) -> list[str]:
        """Return what went wrong in the cells: error outputs and tracebacks, wherever they are shown."""
        found = []
        for cell in self.code_cells():
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    found.append(f"{output['ename']}: {output['evalue']}")
        for output in self.page.locator(OUTPUTS).all_inner_texts():
            if "Traceback (most recent call last)" in output:
                found.append(output)
        # what the live widgets say about errors in callbacks
        return found + self.page.locator(f"{NOTEBOOK} [role=alert]").all_inner_texts()

    def pictures(self) -> list[str]:
        """Return the text description of each picture in the outputs, '' for none."""
        script = "images => images.map(image => (image.getAttribute('alt') ?? '').trim())"
        return self.page.locator(f"{OUTPUTS} img").evaluate_all(script)

    # ---- the first live widget of the notebook

    def slider(self, label: str) -> Any:
        """Return the handle of the slider whose description contains `label`."""
        return self.page.locator(f"{NOTEBOOK} .widget-slider", has_text=label).locator(".noUi-handle").first

    def button(self, text: str) -> Any:
        """Return the button with this text."""
        return self.page.locator(f"{OUTPUTS} button", has_text=text).first

    def words(self) -> str:
        """Return all text of the widget: numbers under the picture, labels, messages."""
        return self.page.locator(f"{OUTPUTS} .widget-vbox").first.inner_text()

    def number(self, pattern: str) -> float:
        """Return the number that `pattern` finds in the text of the widget."""
        found = re.search(pattern, self.words())
        assert found, f"no {pattern!r} in {self.words()!r}"
        return float(found.group(1))

    def watch_picture(self) -> None:
        """Begin to count the frames of the live picture and to measure the time from key to frame."""
        self.page.locator(f"{OUTPUTS} img.widget-image").first.evaluate(WATCH)

    def frames(self) -> int:
        """Return how many frames of the live picture were painted since `watch_picture`."""
        return self.page.evaluate("() => window.mpcrlSeen.frames")

    def frames_in(self, seconds: float) -> tuple[int, float]:
        """Wait, and return (frames painted meanwhile, frames a second)."""
        look = "() => [window.mpcrlSeen.frames, performance.now()]"
        frames, begun = self.page.evaluate(look)
        self.page.wait_for_timeout(1e3 * seconds)
        frames_now, now = self.page.evaluate(look)
        return frames_now - frames, 1e3 * (frames_now - frames) / (now - begun)

    def settle(self, quiet: float = 0.3, timeout: float = 5.0) -> bool:
        """Wait until the picture has not changed for `quiet` seconds; return whether that came about."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.frames_in(quiet)[0] == 0:
                return True
        return False

    def press(self, element: Any, key: str, timeout: float = 2.0) -> float | None:
        """Press `key` on `element`; return the milliseconds until the picture changed (None: it did not)."""
        from playwright.sync_api import TimeoutError

        element.focus()
        element.press(key)
        try:
            self.page.wait_for_function("() => window.mpcrlSeen.latency !== null", timeout=1e3 * timeout)
        except TimeoutError:
            return None
        return self.page.evaluate("() => window.mpcrlSeen.latency")


def becomes(condition: Callable[[], bool], timeout: float = 10.0) -> bool:
    """Return whether `condition()` becomes true in time; the texts of the widget follow a little later."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def check_cells(lab: Lab, pictures: int) -> None:
    """Run all cells: every one ran, none shows an error, and at least so many pictures are all described."""
    begun = time.monotonic()
    lab.run_all()
    descriptions = lab.pictures()
    print(f"\nall cells run in {time.monotonic() - begun:.1f} s, {len(descriptions)} pictures")
    assert lab.errors() == []
    assert all(cell["execution_count"] for cell in lab.code_cells()), "a cell has not run"
    assert len(descriptions) >= pictures, f"there are {len(descriptions)} pictures only"
    assert all(descriptions), f"pictures without a description: {[i for i, d in enumerate(descriptions) if not d]}"


def check_slider(lab: Lab, label: str, presses: int = 8) -> None:
    """Every press of an arrow key on the slider changes the picture."""
    slider, times = lab.slider(label), []
    assert lab.settle(), "the picture moves by itself"
    for press in range(presses):
        taken = lab.press(slider, "ArrowRight", timeout=20.0)
        assert taken is not None, f"press {press} on '{label}' did not change the picture"
        times.append(taken)
        assert lab.settle(), f"the picture does not settle after press {press} on '{label}'"
    print(f"slider to picture, {label}: median {statistics.median(times):.0f} ms, max {max(times):.0f} ms")


def check_play_and_pause(lab: Lab, count: str) -> None:
    """Play plays, Pause pauses, both by keyboard; `count` is a pattern that finds the number of steps."""
    before = lab.number(count)
    lab.button("Play").press("Enter")
    frames, rate = lab.frames_in(3.0)
    print(f"Play: {rate:.1f} frames/s")
    assert frames >= 5, f"{frames} frames in three seconds"
    assert becomes(lambda: lab.number(count) > before), "the text under the picture does not count"
    lab.button("Pause").press("Space")
    assert lab.settle(), "it does not pause"
    assert lab.frames_in(1.0)[0] == 0, "it does not pause"


def check_step(lab: Lab, count: str) -> None:
    """One press of Step is one frame and one step; `count` is a pattern that finds the number of steps."""
    lab.page.wait_for_timeout(500)  # let the text of the last frame come
    before, frames = lab.number(count), lab.frames()
    for press in (1, 2):
        assert lab.press(lab.button("Step"), "Space") is not None, "Step did not change the picture"
        assert lab.settle(), "it does not stop after one step"
        assert lab.frames() == frames + press, f"{lab.frames() - frames} frames after {press} presses"
        assert becomes(lambda press=press: lab.number(count) == before + press), "the text does not count the step"


@contextlib.contextmanager
def open_notebook(notebook: str | Path, beside: Iterable[str | Path] = ()) -> Iterator[Lab]:
    """Open a copy of `notebook` (and of the files and folders `beside` it) in JupyterLab; yields a `Lab`.

    Raises
    ------
    RuntimeError
        Playwright or Chromium is missing, or JupyterLab does not start.
    """
    if missing():
        raise RuntimeError("; ".join(missing()))
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="mpcrl_lab_", ignore_cleanup_errors=True) as folder:
        books = Path(folder, "books")
        books.mkdir()
        for path in map(Path, (notebook, *beside)):
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, books / path.name)
        with _jupyterlab(Path(folder), books) as (address, token), sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
            )
            try:
                page = browser.new_page(viewport={"width": 1280, "height": 1000})
                lab = Lab(page)
                page.goto(f"{address}/lab/tree/{Path(notebook).name}?token={token}", wait_until="domcontentloaded")
                page.wait_for_selector(f"{NOTEBOOK} .jp-Cell", timeout=90_000)
                page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
                lab.wait_idle()
                yield lab
            finally:
                browser.close()


@contextlib.contextmanager
def _jupyterlab(folder: Path, books: Path) -> Iterator[tuple[str, str]]:
    """Run JupyterLab on `books`; yields (address, token)."""
    for name, content in SETTINGS.items():
        extension, plugin = name.split("/")
        place = folder / "settings" / "@jupyterlab" / extension
        place.mkdir(parents=True)
        (place / f"{plugin}.jupyterlab-settings").write_text(json.dumps(content), encoding="utf-8")
    environment = dict(os.environ, JUPYTER_PREFER_ENV_PATH="1", JUPYTERLAB_SETTINGS_DIR=str(folder / "settings"))
    for variable, name in {
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "IPYTHONDIR": "ipython",
    }.items():
        environment[variable] = str(folder / name)
    token, port = secrets.token_hex(16), _free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.root_dir={books}", "--LabApp.expose_app_in_browser=True"]
    command += ["--LabApp.extension_manager=readonly"]  # else it asks PyPI
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    log = folder / "jupyterlab.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, cwd=books, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, f"{address}/api/status?token={token}")
        yield address, token
    except BaseException:  # also when the test fails: pytest shows what was printed
        print("the last lines of JupyterLab's log:", *log.read_text(errors="replace").splitlines()[-25:], sep="\n  ")
        raise
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(server: subprocess.Popen, address: str, timeout: float = 90.0) -> None:
    end = time.monotonic() + timeout
    # never by a proxy, which some machines set for everything
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with exit code {server.returncode}")
        with contextlib.suppress(urllib.error.URLError, OSError):
            opener.open(address, timeout=2.0).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not answer within {timeout:g} s")


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
