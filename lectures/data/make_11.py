"""What lecture 11 shows of the power system: learned parameters, costs of learning, and evaluations on the same noise.

Run it with `python lectures/data/make_11.py [FOLDER]` (about half an hour on two cores). It reproduces the published
example (`mpcrl-course reproduce automatica --example power`) in FOLDER, or takes up what is there already.
"""

import sys
from pathlib import Path

import numpy as np

from mpcrl_course.learners.log import load_state
from mpcrl_course.reproduce.power import EPISODES, LEARNED, LENGTH, PUBLISHED, learning_path, load_evaluation, power

SEEDS = 5


def collect(folder) -> dict[str, np.ndarray]:
    """Return what is kept of a reproduction.

    ``<name>_theta`` (seeds, 122): what each seed learned, 'distributed' and 'centralised'; ``<name>_path``
    (episodes + 1, 122): parameters of seed 1 before each episode and after the last; ``<name>_cost`` and ``<name>_td``
    (seeds, episodes): cost and mean |TD| of each episode of learning; ``<controller>_evaluated`` and
    ``<controller>_violated`` (seeds or 1, episodes of evaluation).
    """
    arrays = {}
    for name in LEARNED:
        runs = [load_state(learning_path(name, seed, folder))[0] for seed in range(1, SEEDS + 1)]
        arrays[f"{name}_theta"] = np.array([run["theta"][LENGTH * EPISODES] for run in runs])
        arrays[f"{name}_path"] = runs[0]["theta"][: LENGTH * EPISODES + 1 : LENGTH].astype(np.float32)
        for what, values in (("cost", lambda run: run["cost"]), ("td", lambda run: np.abs(run["td"]))):
            episodes = np.array([values(run)[: LENGTH * EPISODES].reshape(EPISODES, LENGTH) for run in runs])
            episodes = episodes.sum(axis=2) if what == "cost" else np.nanmean(episodes, axis=2)
            arrays[f"{name}_{what}"] = episodes.astype(np.float32)
    for name in PUBLISHED:
        one = load_evaluation(name, range(1, SEEDS + 1) if name in LEARNED else [0], EPISODES, folder)
        name = name.replace(" ", "_")
        arrays |= {f"{name}_evaluated": one.cost.astype(np.float32), f"{name}_violated": one.violated.astype(np.int16)}
    return arrays


def main():
    """Run what is missing and write power_11.npz beside this file."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "reproduction")
    if not power(folder, SEEDS):
        sys.exit("Some runs failed: power_11.npz is left as it was.")
    np.savez_compressed(Path(__file__).with_name("power_11.npz"), **collect(folder))


if __name__ == "__main__":
    main()
