"""What every reproduction shares: runs in parallel, each taken up where it was left; those that fail; what is printed.

A run lives in the output folder as what its learner saves (`mpcrl_course.learners.log.save_state`: .npz and JSON), on
the way and at its end, and is taken up from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from tqdm import tqdm

from mpcrl_course.learners.log import load_state
from mpcrl_course.learners.run import Learner


class Job(NamedTuple):
    """What is to be done for one run among many.

    Attributes
    ----------
    name : str
        For messages.
    path : Path
        Under which it is saved: ``path.json`` names its ``path-k.npz``.
    work : callable
        ``work(*arguments)`` does what is missing of it, and returns why it failed, or "". See `finish`.
    arguments : tuple
    """

    name: str
    path: Path
    work: Callable[..., str]
    arguments: tuple


def steps_done(path: Path) -> int:
    """Return how many steps of the run at `path` are saved; -1 if it has not begun."""
    index = path.with_name(f"{path.name}.json")
    return int(json.loads(index.read_text(encoding="utf-8"))["k"]) if index.exists() else -1


def finish(learner: Callable[[], Learner], path: Path, steps: int, save_every: int) -> str:
    """Do what is missing of a run; returns why it failed, or nothing.

    Parameters
    ----------
    learner : callable () -> Learner
        Makes it, as it is at the beginning.
    path : Path
        Under which it is saved, and taken up from.
    steps : int
        In all.
    save_every : int
    """
    try:
        done = steps_done(path)
        if done >= steps:
            load_state(path)  # can it be read?
            return ""
        run = learner().run(steps, save=path, save_every=save_every, resume=done >= 0, progress=False)
        return run.log.stopped
    except Exception as error:  # whatever it is, the other runs go on, and it is reported with the run's name
        return f"{type(error).__name__}: {error}"


def run_all(runs: Sequence[Job], steps: int, jobs: int = -1) -> dict[str, str]:
    """Do what is missing of all runs, of `steps` steps each, `jobs` at a time; returns the failed ones: names, and why.

    The work goes through joblib: inside ``joblib.parallel_config(backend="dask")`` it is done by a cluster, whose
    workers must see the same folder and have one thread each (a compiled controller serves one run at a time).
    """
    failed = {}
    with tqdm(total=len(runs), desc="reproducing", unit="run", disable=None) as bar:
        try:
            parallel = Parallel(n_jobs=jobs, return_as="generator")
            for run, trouble in zip(runs, parallel(delayed(run.work)(*run.arguments) for run in runs)):
                bar.update()
                if trouble:
                    failed[run.name] = trouble
        except BrokenProcessPool as error:  # by the system, for instance for want of memory: nobody knows which run
            for run in runs:
                if steps_done(run.path) < steps:
                    failed.setdefault(run.name, f"not done when a worker died ({type(error).__name__})")
    return failed


def report(parts: Sequence[str], failed: Mapping[str, str], path: Path) -> bool:
    """Print `parts` and a line for every `failed` run, and write them to `path`; returns whether none failed."""
    text = "\n\n".join([*parts, *(f"FAILED: {name}: {why}" for name, why in failed.items())])
    path.write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")
    return not failed


def ours(seeds: int) -> str:
    """Return 'ours, 5 seeds'."""
    return f"ours, {seeds} seed{'s' * (seeds != 1)}"


def median(values) -> str:
    """Return the median of the values that are numbers; '-' if there are none."""
    known = np.asarray(values)[~np.isnan(values)]
    return f"{np.median(known):.3g}" if len(known) else "-"


def write(figure: Figure, description: str, path: Path) -> str:
    """Write a figure to `path`, its description inside; returns the description after the file's name."""
    figure.savefig(path, dpi=150, metadata={"Description": description})
    return f"{path.name}: {description}"
