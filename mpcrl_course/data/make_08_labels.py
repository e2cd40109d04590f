"""What lecture 08 shows of teachers with and without a memory: clones of four kinds of labels.

Run it with `python mpcrl_course/data/make_08_labels.py` (about two minutes of CPU). Twenty runs of 5 s start nearly
hanging; the states are those of runs of one teacher, the labels those of the other, or its own. labels_08.npz has

names      of the rows: whose states, whose labels, and whether mirror images were learned from
costs      (rows, seeds, 2): the clone's mean cost from nearly hanging starts and from FIXED_STARTS, 5 s
caught     (rows, seeds): share of the FIXED_STARTS from which it is within 0.3 rad of the upright in the last second
rms        (rows, seeds): the errors that are left on the labels
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.data.make_08 import STARTS
from mpcrl_course.dp.pendulum import simulate
from mpcrl_course.envs.pendulum import NOMINAL, wrap
from mpcrl_course.learners import clone, demonstrate, hanging
from mpcrl_course.policies import Receding, pendulum_expert
from mpcrl_course.problems import pendulum_mpc

SEEDS, RUNS, STEPS = 8, 20, 100
ROWS = [f"{states} states, {labels} labels{mirror}" for states in ("memoryless", "warm")
        for labels in ("memoryless", "warm") for mirror in ("", ", mirror")]  # fmt: skip


def labels_along(teacher, x) -> np.ndarray:
    """Return what a `teacher` says along the states x (STEPS RUNS, 2) of runs, which it follows with its memory."""
    if hasattr(teacher, "reset"):
        teacher.reset()
    u = np.concatenate([teacher(now) for now in x.reshape(STEPS, RUNS, 2)])
    return np.clip(u, NOMINAL.input_lower, NOMINAL.input_upper)


def measured(x, u, mirror: bool, seed: int) -> tuple:
    """Return costs (2,), the share of runs that are caught, and the root mean square error of a clone.

    It is fitted to labels u of states x, with their images if `mirror`; `seed` draws its weights and batches.
    """
    pupil = clone(x, u, np.random.default_rng([seed, 1]), mirror=mirror)
    runs = [simulate(pupil, starts=starts, steps=STEPS) for starts in STARTS.values()]
    caught = (np.abs(wrap(runs[1].x[-20:, :, 0])) < 0.3).all(axis=0).mean()
    return [run.cost.sum(axis=0).mean() for run in runs], caught, np.sqrt(np.mean((pupil(x) - u) ** 2))


def main():
    """Clone all, and write labels_08.npz beside this file."""
    found = []
    for seed in tqdm(range(SEEDS), "seeds"):
        teachers = {"memoryless": pendulum_expert(), "warm": Receding(pendulum_mpc())}
        rng = np.random.default_rng(seed)
        starts = hanging(rng, RUNS)
        for teacher in teachers.values():
            x, _ = demonstrate(teacher, NOMINAL, starts, STEPS, rng)
            labels = [labels_along(other, x) for other in teachers.values()]
            found += [measured(x, u, mirror, seed) for u in labels for mirror in (False, True)]
    costs, caught, rms = (np.array(part, np.float32) for part in zip(*found))
    shape = SEEDS, len(ROWS)
    costs = costs.reshape(*shape, 2).swapaxes(0, 1)
    arrays = {"costs": costs, "caught": caught.reshape(shape).T, "rms": rms.reshape(shape).T}
    np.savez_compressed(places.DATA / "labels_08.npz", names=np.array(ROWS), **arrays)


if __name__ == "__main__":
    main()
