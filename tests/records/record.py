"""What nbval leaves of each notebook that it runs, for other tests to read: nothing is executed twice.

    MPCRL_COURSE_RECORD=FOLDER python -m pytest -p tests.records.record --nbval-lax --nbval-current-env lectures

As a plugin of pytest it writes FOLDER/lectures/01_decisions.ipynb, the notebook with the outputs of this run, and for
an exercise beside it 01_decisions.json, what its checks said (as in `mpcrl_course.checks.progress`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.notebooks import ROOT

LIMIT = 1800.0  # seconds after which a cell hangs; no verdict on its speed


class Record(NamedTuple):
    """One run of a notebook.

    Attributes
    ----------
    cells : list of dict
        The code cells in nbformat, with outputs; one that was not run has no execution count.
    verdicts : dict of str to dict
        By the number of the exercise's item, what `mpcrl_course.checks.progress` keeps of it; empty for a lecture.
    """

    cells: list[dict[str, Any]]
    verdicts: dict[str, dict[str, Any]]


def read(folder: Path, notebook: Path) -> Record:
    """Read the record of `notebook` (its place in the course) from `folder`.

    Raises
    ------
    FileNotFoundError
        Nothing was recorded.
    """
    place = folder / notebook.parent.name / notebook.name
    cells = json.loads(place.read_text(encoding="utf-8"))["cells"]
    said = place.with_suffix(".json")
    exercises = json.loads(said.read_text(encoding="utf-8"))["exercises"] if said.exists() else {}
    verdicts = exercises.get(notebook.name[:2], {"items": {}})["items"]
    return Record([cell for cell in cells if cell["cell_type"] == "code"], verdicts)


def make(folder: Path, notebook: Path) -> None:
    """Run one notebook by nbval and record it in `folder`; for tests that are run alone."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_timeout", "-p", "nbval.plugin"]
    command += ["-p", "tests.records.record", "--nbval-lax", "--nbval-current-env"]
    command += [f"--nbval-cell-timeout={LIMIT:g}", str(notebook)]
    environ = {**os.environ, "MPCRL_COURSE_RECORD": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=ROOT, env=environ, check=False)


# ---- the plugin; its items are nbval's cells, whose collector is the notebook


@pytest.hookimpl(tryfirst=True)  # before nbval starts the kernel, which takes our environment over
def pytest_runtest_setup(item):
    place = _place(item.path)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.environ["MPCRL_COURSE_PROGRESS"] = str(place.with_suffix(".json"))
    item.output_timeout = LIMIT


def pytest_runtest_teardown(item, nextitem):
    if item.test_outputs is not None:
        item.cell.outputs, item.cell.execution_count = item.test_outputs, item.cell_num + 1
    if nextitem is None or nextitem.parent is not item.parent:
        _place(item.path).write_text(json.dumps(item.parent.nb), encoding="utf-8")


def _place(notebook: Path) -> Path:
    return Path(os.environ["MPCRL_COURSE_RECORD"], notebook.parent.name, notebook.name)
