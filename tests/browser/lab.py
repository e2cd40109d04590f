"""Notebooks in a real JupyterLab in a real browser, for the browser tests and for benchmarks/bench_live.py.

    with jupyterlab(["lectures/06_mpc_as_value.ipynb"]) as notebook:
        with notebook("06_mpc_as_value.ipynb") as lab:
            lab.run_live()
            lab.watch_picture()
            print(lab.press(lab.slider("back-off"), "ArrowRight"), "ms from key to picture")

All waits are for something that happens on the page or in the kernel, and end after `LIMIT` seconds, which is far
beyond what any of them takes. Nothing is judged by its speed, which benchmarks/bench_live.py measures: on a machine
that does other work too, a time is no test.

JupyterLab works on copies in a temporary folder and has settings, workspaces and runtime files of its own, so that
neither the notebooks nor anything of the reader's is written to. Browser and server end with the `with` block.
"""

from __future__ import annotations

import ast
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
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from course import find_chromium, is_ci

LIMIT = 600.0  # seconds: what has not happened by then never will

HOW = {
    "playwright": "the Python package playwright is missing: pip install -r requirements.txt",
    "chromium": "no Chromium found: install it (Debian, Ubuntu: sudo apt install chromium) or set MPCRL_CHROMIUM to it",
}

#: All cells stay in the page (by default those out of sight are taken out), and no questions about news and updates.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
OUTPUTS = f"{NOTEBOOK} .jp-OutputArea-output"
LIVE = f"{NOTEBOOK} .jp-Cell:has(img.widget-image)"

# Run the first code cell, which imports, and those with the tag 'live'.
RUN_LIVE = """async () => {
  const book = window.jupyterapp.shell.currentWidget.content;
  const code = book.widgets.filter(cell => cell.model.type === 'code');
  for (const cell of code.filter((cell, i) => i === 0 || cell.model.getMetadata('tags')?.includes('live'))) {
    book.deselectAll();
    book.activeCellIndex = book.widgets.indexOf(cell);
    await window.jupyterapp.commands.execute('notebook:run-cell');
  }
}"""

OPEN = "async (path) => { await window.jupyterapp.commands.execute('docmanager:open', {path: path}); }"

# Nothing is kept: neither the kernel nor the outputs, which JupyterLab would ask about.
CLOSE = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.sessionContext.shutdown();
  panel.context.model.dirty = false;
  panel.dispose();
}"""

# A frame counts when it is decoded ('load') and the browser comes to painting it (the next animation frame).
WATCH = """(image) => {
  const seen = window.mpcrlSeen = {image: image, frames: 0, key: null, latency: null};
  let fresh = false;
  image.addEventListener('load', () => { fresh = true; });
  document.addEventListener('keydown', () => { seen.key = performance.now(); seen.latency = null; }, true);
  const look = () => {
    if (fresh) {
      fresh = false;
      seen.frames += 1;
      if (seen.key !== null) { seen.latency = performance.now() - seen.key; seen.key = null; }
    }
    if (seen === window.mpcrlSeen) requestAnimationFrame(look);
  };
  look();
}"""

# A fingerprint of the picture that is shown; null while one is being exchanged for the next.
PICTURE = """async () => {
  try {
    const bytes = await (await fetch(window.mpcrlSeen.image.src)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  } catch { return null; }
}"""

ASK = f"""async (expression) => {{
  const future = {KERNEL}.requestExecute({{code: '', silent: true, user_expressions: {{answer: expression}}}});
  return (await future.done).content.user_expressions.answer;
}}"""


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
    return [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(3 * LIMIT), without]


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
        self._cell, self._player = page.locator(LIVE).first, ""  # of the live widget that is watched
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))

    # ---- the notebook

    def run_all(self) -> None:
        """Run all cells, and wait until the last has ended (or one has failed)."""
        self._run("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def run_live(self) -> None:
        """Run the import cell and the cells tagged 'live', and wait until the last has ended."""
        self._run(RUN_LIVE)

    def _run(self, script: str) -> None:
        self.page.evaluate(
            f"() => {{ window.mpcrlRan = false; ({script})().finally(() => {{ window.mpcrlRan = true; }}); }}"
        )
        self.page.wait_for_function("() => window.mpcrlRan")
        self.wait_idle()

    def wait_idle(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(f"() => {KERNEL}?.status === 'idle'")

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

    def ask(self, expression: str) -> Any:
        """Return the value of a Python expression in the kernel (numbers, texts and tuples of them)."""
        answer = self.page.evaluate(ASK, expression)
        if answer["status"] != "ok":
            raise RuntimeError(f"{expression}: {answer['ename']}: {answer['evalue']}")
        return ast.literal_eval(answer["data"]["text/plain"])

    # ---- one live widget of the notebook

    def watch_picture(self, number: int = 0) -> None:
        """Look at the live widget of this number: what follows is about it, its frames and its times are taken."""
        self._cell = self.page.locator(LIVE).nth(number)
        runs = [cell["execution_count"] for cell in self.code_cells() if "widget-view" in str(cell["outputs"])]
        self._player = f"Out[{runs[number]}]"
        self._cell.locator("img.widget-image").evaluate(WATCH)

    def slider(self, label: str) -> Any:
        """Return the handle of the slider whose description contains `label`."""
        return self._cell.locator(".widget-slider", has_text=label).locator(".noUi-handle").first

    def button(self, text: str) -> Any:
        """Return the button with this text."""
        return self._cell.locator("button", has_text=text).first

    def words(self) -> str:
        """Return all text of the widget: numbers under the picture, labels, messages."""
        return self._cell.locator(".widget-vbox").first.inner_text()

    def number(self, pattern: str) -> float:
        """Return the number that `pattern` finds in the text of the widget."""
        found = re.search(pattern, self.words())
        assert found, f"no {pattern!r} in {self.words()!r}"
        return float(found.group(1))

    def picture(self) -> str:
        """Return a fingerprint of the picture that is shown, '' while it changes."""
        return self.page.evaluate(PICTURE) or ""

    def frames(self) -> int:
        """Return how many frames the widget has drawn since it was made."""
        return self.ask(f"{self._player}.frames")

    def painted(self, frames: int) -> float:
        """Wait until so many more frames are painted, and return how many a second that were."""
        look = "() => [window.mpcrlSeen.frames, performance.now()]"
        before, begun = self.page.evaluate(look)
        self.page.wait_for_function("(frames) => window.mpcrlSeen.frames >= frames", arg=before + frames)
        after, now = self.page.evaluate(look)
        return 1e3 * (after - before) / (now - begun)

    def frames_in(self, seconds: float) -> tuple[int, float]:
        """Wait, and return (frames painted meanwhile, frames a second)."""
        look = "() => [window.mpcrlSeen.frames, performance.now()]"
        frames, begun = self.page.evaluate(look)
        self.page.wait_for_timeout(1e3 * seconds)
        frames_now, now = self.page.evaluate(look)
        return frames_now - frames, 1e3 * (frames_now - frames) / (now - begun)

    def settle(self) -> bool:
        """Wait until the widget does not play and its last picture is shown; return whether that came about."""
        state = f"({self._player}.playing, __import__('hashlib').sha256({self._player}.picture.value).hexdigest())"
        # asked twice: what the player draws a moment after a picture is on its way when the first answer comes
        return becomes(lambda: self.ask(state) == self.ask(state) == (False, self.picture()))

    def press(self, element: Any, key: str, timeout: float = LIMIT) -> float:
        """Press `key` on `element`, wait until the picture changes, and return the milliseconds that took."""
        element.focus()
        element.press(key)
        self.page.wait_for_function("() => window.mpcrlSeen.latency !== null", timeout=1e3 * timeout)
        return self.page.evaluate("() => window.mpcrlSeen.latency")


def becomes(condition: Callable[[], bool]) -> bool:
    """Return whether `condition()` becomes true; the texts of the widget follow a little later than its picture."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def check_slider(lab: Lab, label: str, presses: int = 8) -> None:
    """Every press of an arrow key on the slider changes the picture."""
    slider, times = lab.slider(label), []
    for _ in range(presses):
        assert lab.settle(), "the picture moves by itself"
        times.append(lab.press(slider, "ArrowRight"))
    print(f"slider to picture, {label}: median {statistics.median(times):.0f} ms, max {max(times):.0f} ms")


def check_play_and_pause(lab: Lab) -> None:
    """Play plays, in the picture and in the words under it, and Pause pauses, both by keyboard."""
    words = lab.words()
    lab.button("Play").press("Enter")
    print(f"Play: {lab.painted(20):.1f} frames/s")
    assert becomes(lambda: lab.words() != words), "the text under the picture does not follow"
    lab.button("Pause").press("Space")
    assert lab.settle(), "it does not pause"


def check_step(lab: Lab, count: str) -> None:
    """One press of Step is one frame and one step; `count` is a pattern that finds the number of steps."""
    assert lab.settle(), "it plays already"
    frames, before = lab.frames(), lab.number(count) if count else 0
    for press in (1, 2):
        lab.press(lab.button("Step"), "Space")
        assert lab.settle(), "it does not stop after one step"
        assert lab.frames() == frames + press, f"{lab.frames() - frames} frames after {press} presses"
        if count:
            assert becomes(lambda press=press: lab.number(count) == before + press), "the text does not count the step"


@contextlib.contextmanager
def open_notebook(notebook: str | Path, beside: Iterable[str | Path] = ()) -> Iterator[Lab]:
    """Open a copy of `notebook` (and of the files and folders `beside` it) in a JupyterLab of its own.

    Raises
    ------
    RuntimeError
        Playwright or Chromium is missing, or JupyterLab does not start.
    """
    with jupyterlab([notebook, *beside]) as opened, opened(Path(notebook).name) as lab:
        yield lab


@contextlib.contextmanager
def jupyterlab(files: Iterable[str | Path]) -> Iterator[Callable[[str], AbstractContextManager[Lab]]]:
    """Run one JupyterLab and one browser on copies of these files and folders.

    Yields
    ------
    notebook : callable (name) -> context manager of Lab
        Opens one of the notebooks, with a kernel of its own, and closes both.

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
        for path in map(Path, files):
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, books / path.name)
        log = Path(folder, "jupyterlab.log")
        with _jupyterlab(Path(folder), books, log) as (address, token), sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(1e3 * LIMIT)
            page.goto(f"{address}/lab?token={token}", wait_until="domcontentloaded")
            page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('docmanager:open')")
            page.evaluate("async () => { await window.jupyterapp.restored; }")

            @contextlib.contextmanager
            def notebook(name: str) -> Iterator[Lab]:
                page.evaluate(OPEN, name)
                page.wait_for_selector(f"{NOTEBOOK} .jp-Cell")
                lab = Lab(page)
                lab.wait_idle()
                try:
                    yield lab
                except BaseException:  # pytest shows what a failing test has printed
                    print("the last lines of JupyterLab's log:", *_tail(log), sep="\n  ")
                    raise
                finally:
                    page.evaluate(CLOSE)

            try:
                yield notebook
            finally:
                browser.close()


@contextlib.contextmanager
def _jupyterlab(folder: Path, books: Path, log: Path) -> Iterator[tuple[str, str]]:
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
    with log.open("wb") as stream:
        server = subprocess.Popen(command, cwd=books, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, f"{address}/api/status?token={token}", log)
        yield address, token
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(server: subprocess.Popen, address: str, log: Path) -> None:
    end = time.monotonic() + LIMIT
    # never by a proxy, which some machines set for everything
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            opener.open(address, timeout=LIMIT).close()
            return
        time.sleep(0.2)
    raise RuntimeError("JupyterLab does not answer; the last lines of its log:" + "\n  ".join(["", *_tail(log)]))


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace", encoding="utf-8").splitlines()[-25:]


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
