"""What lecture 12 compares: the published comparison, 20 seeds, and second order with a part changed, 10 seeds.

Run it with `python mpcrl_course/data/make_12.py` (about half an hour on two cores that do nothing else), or
one part of it with `published` or `changes` after it. It does what is missing of `mpcrl-course reproduce second-order
--seeds 20` (in `reproduction/`, or as `--out=folder` says) and writes second_order_12.npz beside itself: |TD| and stage
cost of every run, means of 25 steps. The published methods are those of the reproduction; all others have exact MPCs
(one central solve).
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the seeds run in parallel

import sys
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.learners.faulty import FaultyLearner, misalign, take_mean
from mpcrl_course.network import Central, line, mixing_matrix
from mpcrl_course.problems.network import network_mpc
from mpcrl_course.reproduce.second_order import METHODS, STEPS, load, second_order

SEEDS, WINDOW = range(1, 21), 25
#: What is changed in the centralised run of second order, for the first ten of these seeds.
CHANGES = {
    "safeguard": {"safeguard": True},
    "misaligned": {"misaligned": True},
    "mean": {"mean": True},
    "misaligned and mean": {"misaligned": True, "mean": True},
    "3 rounds": {"P": mixing_matrix(3, line(3), 0.25), "rounds": 3},
    "alone": {"alone": True},
    "alone, third of the step": {"alone": True, "step_size": 1e-4 / 3},
    "triple step": {"step_size": 3e-4},
    "alone, triple step": {"alone": True, "step_size": 3e-4},
    "safeguard, triple step": {"safeguard": True, "step_size": 3e-4},
}
#: Step sizes of a scan: three seeds each, others than those reported.
SCAN = {
    "first order": ({"order": 1}, [1e-8, 3e-8, 1e-7, 3e-7]),
    "second order": ({}, [3e-5, 1e-4, 3e-4, 1e-3]),
    "alone": ({"alone": True}, [3e-5, 1e-4, 3e-4]),
}
SCAN_SEEDS = range(101, 104)
#: A run ends with a state so large.
RUNAWAY = 1e6


def means(td, cost):
    """Return means of 25 steps of |TD| and cost, shape (2, 80): nan where no step has one (or none was made).

    `td` and `cost` have an entry for every step that was made, at most 2000.
    """
    both = np.full((2, STEPS), np.nan)
    both[0, : len(td)], both[1, : len(cost)] = np.abs(td), cost
    parts = both.reshape(2, -1, WINDOW)
    known = np.isfinite(parts)
    with np.errstate(invalid="ignore"):
        return np.where(known, parts, 0.0).sum(axis=-1) / known.sum(axis=-1)


def learn(seed, options):
    """Return the means of a run, and the number of its steps that failed or were never made.

    `seed` is that of the plant and the learner; `options` are those of `DistributedQLearning`, and the two mistakes
    `misaligned` and `mean`.
    """
    options, controller = {"safeguard": False, "agent": FaultyLearner} | options, Central(network_mpc())
    misaligned, mean = (options.pop(name, False) for name in ("misaligned", "mean"))
    learner = DistributedQLearning(controller, LinearNetwork(), np.random.default_rng(seed), **options)
    take_mean(learner, mean)
    if misaligned:
        misalign(learner)
    with np.errstate(over="ignore", invalid="ignore"):  # runs that diverge
        while learner.k < STEPS and not learner.log.stopped and np.abs(learner.s).max() < RUNAWAY:
            learner.step()
        log = learner.log
        return means(log.td, log.cost), int(log.failed.sum()) + STEPS - learner.k


def published(folder):
    """Return the runs of the reproduction, by method; those that its folder lacks are made first."""
    second_order(folder, seeds=len(SEEDS))
    arrays = {}
    for method in METHODS:
        done = load(method, SEEDS, STEPS, folder)
        arrays[str(method)] = np.array([means(*run) for run in zip(done.td, done.cost, strict=True)])
        arrays[f"{method} failed"] = np.array(done.failed)
    return arrays


def changes():
    """Return the runs in which a part was changed, and of the scan: the mean of |TD| and cost over the whole run."""
    arrays = {}
    jobs = [(name, seed, options) for name, options in CHANGES.items() for seed in SEEDS[:10]]
    jobs += [(f"scan of {name}", seed, options | {"step_size": alpha})
             for name, (options, sizes) in SCAN.items() for alpha in sizes for seed in SCAN_SEEDS]  # fmt: skip
    runs = Parallel(n_jobs=-1, return_as="generator")(delayed(learn)(seed, options) for _, seed, options in jobs)
    for (name, *_), (curves, failed) in zip(jobs, tqdm(runs, total=len(jobs), desc="runs", unit="run"), strict=True):
        arrays.setdefault(name, []).append(curves)
        arrays.setdefault(f"{name} failed", []).append(failed)
    for name, (_, sizes) in SCAN.items():
        arrays[f"scan of {name} step sizes"] = sizes
        shape = (len(sizes), len(SCAN_SEEDS))
        arrays[f"scan of {name}"] = np.array(arrays[f"scan of {name}"]).mean(axis=-1).reshape(*shape, 2)
        arrays[f"scan of {name} failed"] = np.array(arrays[f"scan of {name} failed"]).reshape(shape)
    return arrays


def main(parts, folder):
    """Do the parts, and write them into the file beside this one, beside what it holds already.

    `parts` are 'published', 'changes' or both; `folder` is that of the reproduction.
    """
    path, arrays = places.DATA / "second_order_12.npz", {}
    new = (changes() if "changes" in parts else {}) | (published(folder) if "published" in parts else {})
    if path.exists():
        with np.load(path) as file:
            arrays = dict(file)
    with np.errstate(over="ignore"):  # a run that diverges: inf
        arrays |= {name: np.array(a, np.int32 if name.endswith("failed") else np.float32) for name, a in new.items()}
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    out = [arg.removeprefix("--out=") for arg in sys.argv[1:] if arg.startswith("--out=")]
    wanted = [arg for arg in sys.argv[1:] if not arg.startswith("--out=")]
    main(wanted or ("published", "changes"), Path((out or [places.course_folder() / "reproduction"])[0]))
