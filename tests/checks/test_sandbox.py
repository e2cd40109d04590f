"""What an answer changes in the process is undone, and does not change the verdict."""

import builtins
import os
import random
import sys
import warnings

import numpy as np
import pytest

from mpcrl_course.checks.engine import RIGHT, WRONG, Fill
from mpcrl_course.checks.sandbox import mending
from mpcrl_course.envs.linear import LinearPlant
from mpcrl_course.mpc import MPC
from tests.checks.test_engine import DESIGN

DOUBLE = Fill(
    1,
    "double",
    reference=lambda x: 2 * x,
    probes=lambda rng: [(rng.normal(size=3),) for _ in range(3)],
    properties=[("odd", lambda f, x: bool(np.isclose(f(-x), np.negative(f(x))).all()))],
)


def yes(*_, **__):
    return np.True_


def patch(owner, name, value):
    return lambda: setattr(owner, name, value)


CHANGES = {
    "folder": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(PATH="nowhere", OF_MINE="1"),
    "import path": lambda: sys.path.insert(0, "/nowhere"),
    "NumPy's random state": lambda: np.random.seed(3),  # noqa: NPY002
    "Python's random state": lambda: random.seed(3),
    "error handling": lambda: np.seterr(all="raise"),
    "print options": lambda: np.set_printoptions(precision=2),
    "recursion limit": lambda: sys.setrecursionlimit(500),
    "warnings": lambda: warnings.simplefilter("error"),
    "np.isclose": patch(np, "isclose", yes),
    "np.abs and np.asarray": lambda: (patch(np, "abs", yes)(), patch(np, "asarray", yes)()),
    "np.allclose deleted": lambda: delattr(np, "allclose"),
    "np.linalg.norm": patch(np.linalg, "norm", yes),
    "a builtin": patch(builtins, "all", yes),
    "a method of the course": patch(LinearPlant, "step", yes),
    "a question to an MPC": patch(MPC, "V", yes),
}


def state():
    drawn = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    functions = np.isclose, np.abs, np.asarray, np.allclose, np.linalg.norm, builtins.all, LinearPlant.step, MPC.V
    options = np.geterr(), np.get_printoptions(), sys.getrecursionlimit(), list(warnings.filters)
    return os.getcwd(), dict(os.environ), list(sys.path), drawn, functions, options


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_outlives_no_check_and_changes_no_verdict(name):
    def right(x):
        CHANGES[name]()
        return 2 * x

    def wrong(x):
        CHANGES[name]()
        return 0 * x

    before = state()
    assert DOUBLE.judge(right).verdict == RIGHT
    assert DOUBLE.judge(wrong).verdict == WRONG
    assert state() == before


def test_a_design_is_measured_with_functions_as_they_are():
    def spoils(x):
        patch(np, "isclose", yes)()
        return x

    assert mending(spoils)(3.0) == 3.0 and np.isclose is not yes
    assert DESIGN.judge({"gain": 0.9}).verdict == RIGHT


def test_a_folder_that_is_gone_is_no_error(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert DOUBLE.judge(lambda x: 2 * x).verdict == RIGHT
