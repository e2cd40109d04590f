"""Fifty seeds of Q-learning on the linear plant, and a scan of step sizes, for lecture 06.

Run it with `python mpcrl_course/data/make_06.py` (about two minutes on two cores).
"""

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.envs import LinearPlant
from mpcrl_course.learners.behaviour import greedy, perturbed_cost
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.problems.linear import linear_mpc

SEEDS, STEPS, WINDOW = 50, 5000, 50
METHODS = {
    "second": {"order": 2, "step_size": 0.05},
    "first": {"order": 1, "step_size": 3e-5},
    "explored": {"order": 1, "step_size": 3e-5, "explore": True},
}
# step sizes of both methods, ten seeds each, others than those reported
SCAN = {1: [3e-6, 1e-5, 3e-5, 1e-4, 2e-4], 2: [0.005, 0.02, 0.05, 0.1, 0.2]}
SCAN_SEEDS = range(SEEDS, SEEDS + 10)


def train(seed: int, explore: bool = False, **options):
    """Learn from one seed; return mean |TD| and mean cost over windows of 50 steps, and the learned theta.

    With `explore` the behaviour perturbs the MPC's cost, else it is greedy; `options` are those of `QLearning`.
    """
    behaviour = perturbed_cost(0.3, 1.0) if explore else greedy
    rng = np.random.default_rng(seed)
    log = QLearning(linear_mpc(), LinearPlant(), rng, behaviour=behaviour, **options).run(STEPS, progress=False).log
    td, cost = np.full(STEPS, np.nan), np.full(STEPS, np.nan)
    td[: log.steps], cost[: log.steps] = np.abs(log.td), log.cost
    windows = (-1, WINDOW)
    return td.reshape(windows).mean(1), cost.reshape(windows).mean(1), log.theta[-1]


def main():
    """Run all seeds and write seeds_06.npz beside this file."""
    jobs = [(seed, METHODS[name]) for name in METHODS for seed in range(SEEDS)]
    scan = [(seed, {"order": order, "step_size": a}) for order in SCAN for a in SCAN[order] for seed in SCAN_SEEDS]
    runs = Parallel(n_jobs=-1, return_as="generator")(delayed(train)(seed, **options) for seed, options in jobs + scan)
    results = list(tqdm(runs, total=len(jobs) + len(scan), desc="seeds"))
    arrays = {}
    costs = np.array([cost[-10:].mean() for _, cost, _ in results[len(jobs) :]]).reshape(len(SCAN), -1, 10)
    for i, order in enumerate(SCAN):
        arrays |= {f"scan{order}_step_size": np.array(SCAN[order]), f"scan{order}_cost": costs[i]}
    for i, name in enumerate(METHODS):
        part = results[i * SEEDS : (i + 1) * SEEDS]
        for what, values in zip(("td", "cost", "theta"), zip(*part, strict=True), strict=True):
            arrays[f"{name}_{what}"] = np.array(values).astype(np.float32)
    np.savez_compressed(places.DATA / "seeds_06.npz", **arrays)


if __name__ == "__main__":
    main()
