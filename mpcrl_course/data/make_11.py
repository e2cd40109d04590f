"""What lecture 11 shows of both examples: learned parameters, costs of learning, and evaluations on the same noise.

Run it with `python mpcrl_course/data/make_11.py [FOLDER]` (about an hour on two cores). It reproduces the published
examples (`mpcrl-course reproduce automatica`) in FOLDER, or takes up what is there already. Learning amplifies
rounding: on another kind of processor a run is the same for about 100 steps, and then another one of its kind.
"""

import sys
from pathlib import Path

import numpy as np

from mpcrl_course import places
from mpcrl_course.learners.log import load_state, saved_log
from mpcrl_course.reproduce import automatica
from mpcrl_course.reproduce.power import EPISODES, LEARNED, LENGTH, PUBLISHED, learning_path, load_evaluation, power

SEEDS, BIN = 5, 100


def collect_network(folder) -> dict[str, np.ndarray]:
    """Return what is kept of the reproduction with three linear plants.

    ``<name>_td`` and ``<name>_cost`` (seeds, 100): means of |TD| and of L over each 100 steps, 'distributed' and
    'centralised', nan after a run was given up; ``<name>_theta`` (seeds, 2, parameters): what was learned after 1000
    and after all steps, nan likewise; ``<controller>_evaluated`` (seeds or 1, noises): sums of L, of a learned one at
    the end, and ``<controller>_early`` after 1000 steps, without the runs that were given up.

    `folder` is where the reproduction was written.
    """
    arrays = {}
    for method in automatica.METHODS:
        td, cost = np.full((2, SEEDS, automatica.STEPS), np.nan)
        theta, ends = [], (automatica.EARLY, automatica.STEPS)
        for seed in range(SEEDS):
            log = saved_log(automatica.state_path(method, seed + 1, folder))
            td[seed, : log.steps], cost[seed, : log.steps] = np.abs(log.td), log.cost
            theta.append([log.theta[k] if k <= log.steps else np.full_like(log.theta[0], np.nan) for k in ends])
        arrays[f"{method}_theta"] = np.array(theta)
        for what, values in (("td", td), ("cost", cost)):
            arrays[f"{method}_{what}"] = values.reshape(SEEDS, -1, BIN).mean(axis=2).astype(np.float32)
        done = [seed for seed in range(1, SEEDS + 1) if np.isfinite(theta[seed - 1][1]).all()]
        for after, label in zip(ends, ("early", "evaluated")):
            arrays[f"{method}_{label}"] = np.array([_sums(str(method), seed, after, folder) for seed in done])
    for name in automatica.PUBLISHED:
        arrays[f"{name.replace(', ', '_').replace(' ', '_')}_evaluated"] = _sums(name, 0, 0, folder)[None]
    return arrays


def _sums(name, seed, after, folder):
    return load_state(automatica.evaluation_path(name, seed, after, folder))[0]["cost"].astype(np.float32)


def collect(folder) -> dict[str, np.ndarray]:
    """Return what is kept of the reproduction of the power system.

    ``<name>_theta`` (seeds, 122): what each seed learned, 'distributed' and 'centralised'; ``<name>_path``
    (episodes + 1, 122): parameters of seed 1 before each episode and after the last; ``<name>_cost`` and ``<name>_td``
    (seeds, episodes): cost and mean |TD| of each episode of learning; ``<controller>_evaluated`` and
    ``<controller>_violated`` (seeds or 1, episodes of evaluation).

    `folder` is where the reproduction was written.
    """
    arrays = {}
    for name in LEARNED:
        logs = [saved_log(learning_path(name, seed, folder)) for seed in range(1, SEEDS + 1)]
        arrays[f"{name}_theta"] = np.array([log.theta[LENGTH * EPISODES] for log in logs])
        arrays[f"{name}_path"] = logs[0].theta[: LENGTH * EPISODES + 1 : LENGTH].astype(np.float32)
        for what, values in (("cost", lambda log: log.cost), ("td", lambda log: np.abs(log.td))):
            episodes = np.array([values(log)[: LENGTH * EPISODES].reshape(EPISODES, LENGTH) for log in logs])
            episodes = episodes.sum(axis=2) if what == "cost" else np.nanmean(episodes, axis=2)
            arrays[f"{name}_{what}"] = episodes.astype(np.float32)
    for name in PUBLISHED:
        one = load_evaluation(name, range(1, SEEDS + 1) if name in LEARNED else [0], EPISODES, folder)
        name = name.replace(" ", "_")
        arrays |= {f"{name}_evaluated": one.cost.astype(np.float32), f"{name}_violated": one.violated.astype(np.int16)}
    return arrays


def main():
    """Run what is missing, and write network_11.npz and power_11.npz beside this file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else places.course_folder() / "reproduction"
    automatica.automatica(folder, SEEDS)  # a run that was given up belongs to the result
    np.savez_compressed(places.DATA / "network_11.npz", **collect_network(folder))
    if not power(folder, SEEDS):
        sys.exit("Some runs failed: power_11.npz is left as it was.")
    np.savez_compressed(places.DATA / "power_11.npz", **collect(folder))


if __name__ == "__main__":
    main()
