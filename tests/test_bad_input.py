"""Whatever is handed to what the rooms export: an answer is right, or an error of ours names the argument.

Each argument of each of the `CALLS` in turn is replaced by what is no right one: another shape, nan, infinite, empty,
complex, a string, an object. Then there is a finite answer, or an error that this package itself raises and that names
the argument; nothing else.
"""

import ast
from functools import cache
from pathlib import Path
from types import ModuleType

import casadi as ca
import numpy as np
import pytest

import mpcrl_course
from mpcrl_course import closed_loop, dp, envs, learners, mpc, network, policies, population, problems, statistics
from tests.calls import CALLS

PACKAGE = Path(mpcrl_course.__file__).parent

#: They carry what a function of ours put into them, and check nothing; or they are only a base of others.
CONTAINERS = set(
    "Rows Question Solution SolverError AgentError Average Bounds Duals History NetworkSolution Run Interval"
    " NetworkController Learner Log greedy RelativeResidual"
    " Logged CMAES BayesianSearch TUNERS Config ConfigError Flock Planned load_plans read_config shipped".split()
)
#: Checked by the solver core: its own tests.
SOLVERS = {"shift"}
#: Any object is true or false, and any string may be a name.
FLAGS = set("identify resume progress learn_weights".split())
NAMES = {"state_names", "input_names", "save"}
#: What messages call an argument, if not by its name.
SAYS = """
    A: Riccati; B: Riccati; H: areas; K: Q; N: Riccati; P: matrix P; Q: Riccati; R: Riccati; a: action;
    agents: agent; angle_noise: Riccati; blocks: parameter; cov: disturbance; edges: edge graph; enter: dynamics;
    error: errors; file: agent; gamma: discount; horizon: rows; kind: agent; learned: parameter;
    lower: range directions bounds; masses: mass; max_torque: bounds; mean: disturbance; memory: size; n: agent;
    noise: noise; options: option start; parameters: noise; periodic: directions; policy: controller;
    row: memory; s: state start; s_next: state; seed: rng; sizes: directions; start: observation;
    steps: noise steps; text: configuration; tolerance: changes; torque_noise: Riccati;
    upper: range directions bounds lower; varied: parameter scenario; warm_up: warm-up;
    x: measured state points start; y: measured
"""


class Thing:
    """An object that nobody knows."""


RAGGED = [[1.0, 2.0], [3.0]]
#: Of these no answer is right, unless truth is asked for.
HOPELESS = [
    np.nan,
    1j,
    "bad",
    b"bad",
    Thing(),
    RAGGED,
    [np.nan],
    [1j],
    ["bad"],
    [None],
    np.array([2.0, 1.0 + 1j]),
    np.datetime64("2020-01-01"),
    [Thing(), Thing()],
    ca.SX.sym("unknown", 2),
    10**400,
]
DOUBTFUL = [
    np.inf,
    -np.inf,
    -1,
    -1.0,
    0,
    2.5,
    True,
    None,
    [],
    {},
    np.full((3, 7, 2), 0.5),
    np.array([0.1, np.inf]),
    np.zeros(0),
    1e200,
    lambda: 0.5,
]


def exports():
    """Return the names of everything that the rooms export but modules."""
    rooms = (mpc, network, population, envs, problems, policies, learners, dp)
    found = {name for room in rooms for name in room.__all__ if not isinstance(getattr(room, name), ModuleType)}
    for file in (closed_loop, statistics):
        own = [name for name, thing in vars(file).items() if getattr(thing, "__module__", "") == file.__name__]
        found |= {name for name in own if not name.startswith("_")}
    return found


def test_every_export_is_tried():
    assert exports() <= {name.split(".")[0] for name in CALLS} | CONTAINERS | SOLVERS


@cache
def said_of(argument: str) -> list[str]:
    """Return what messages may call an argument beside its name."""
    pairs = (pair.split(":") for pair in SAYS.split(";"))
    return next((words.split() for name, words in pairs if name.strip() == argument), [])


@cache
def raises_of(path: str) -> list[tuple[int, int]]:
    """Return first and last lines of the raise statements of a file."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return [(node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise)]


def is_ours(error: Exception) -> bool:
    """Return whether the error was raised by a raise statement of the package."""
    traceback = error.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    path = traceback.tb_frame.f_code.co_filename
    inside = Path(path).is_relative_to(PACKAGE)
    return inside and any(first <= traceback.tb_lineno <= last for first, last in raises_of(path))


def numbers(answer, depth: int = 3):
    """Yield the arrays of numbers in an answer, in tuples and lists, too."""
    if isinstance(answer, (float, int, np.ndarray, np.number)) and np.asarray(answer).dtype.kind in "fiub":
        yield np.asarray(answer)
    elif isinstance(answer, (tuple, list)) and depth:
        for part in answer:
            yield from numbers(part, depth - 1)


def verdict(name: str, function, arguments: dict, which: str, bad, hopeless: bool) -> str | None:
    """Return what is wrong with the answer to a bad argument, or None."""
    try:
        with np.errstate(all="ignore"):
            answer = function(**{**arguments, which: bad})
    except Exception as error:
        said = str(error)
        if type(bad) is type(DOUBTFUL[-1]) and "<lambda>() takes" in said:
            return None  # called, as a function is: the error is the reader's own
        if isinstance(error, FileNotFoundError) and repr(bad)[1:-1] in said:
            return None
        if not is_ours(error):
            return f"is not named: {type(error).__name__}: {said}"
        words = [which, *said_of(which), name.split(".")[0]]
        return None if any(word in said for word in words) else f"is not named in: {said}"
    right = (which in NAMES and repr(bad) in ("'bad'", "['bad']")) or (
        which in ("rng", "seed") and isinstance(bad, int)
    )
    if hopeless and not right and name != "wrap":  # of nan, it is nan
        return f"was taken: {answer!r}"
    infinite = any(np.isinf(part).any() for part in numbers(bad))
    fine = all((~np.isnan(part) if infinite else np.isfinite(part)).all() for part in numbers(answer))
    return None if fine or name == "wrap" else f"gave {answer!r}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments_are_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, arguments = CALLS[name]()
    if name != "saved_log":
        function(**arguments)  # right ones are taken
    wrong = []
    for which in arguments.keys() - FLAGS:
        for bad, hopeless in [(bad, True) for bad in HOPELESS] + [(bad, False) for bad in DOUBTFUL]:
            function, fresh = CALLS[name]()
            found = verdict(name, function, fresh, which, bad, hopeless)
            if found:
                wrong.append(f"{which} = {bad!r:.60} {found:.200}")
    assert not wrong, "\n" + "\n".join(wrong)
