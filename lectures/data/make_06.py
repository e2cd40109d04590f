"""Fifty seeds of Q-learning on the linear plant, and a scan of step sizes, for lecture 06.

Run it with `python lectures/data/make_06.py` (about a minute on two cores).
"""

from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from mpcrl_course.envs import LinearPlant
from mpcrl_course.learners.behaviour import greedy, perturbed_cost
from mpcrl_course.learners.q_learning import q_learning
from mpcrl_course.policies.linear_mpc import linear_mpc

SEEDS, STEPS, WINDOW = 50, 5000, 50
METHODS = {
    "second": {"order": 2, "step_size": 0.05},
    "first": {"order": 1, "step_size": 3e-5},
    "explored": {"order": 1, "step_size": 3e-5, "explore": True},
}
SCAN = [3e-6, 1e-5, 3e-5, 1e-4, 2e-4]  # step sizes of the first-order method, ten seeds each


def train(seed: int, explore: bool = False, **options):
    """Learn from one seed; return mean |TD| and mean cost over windows of 50 steps, and the learned theta."""
    behaviour = perturbed_cost(0.3, 1.0) if explore else greedy
    rng = np.random.default_rng(seed)
    options = {**options, "behaviour": behaviour, "progress": False}
    log = q_learning(linear_mpc(), LinearPlant(), steps=STEPS, rng=rng, **options)
    td, cost = np.full(STEPS, np.nan), np.full(STEPS, np.nan)
    td[: log.steps], cost[: log.steps] = np.abs(log.td), log.cost
    windows = (-1, WINDOW)
    return td.reshape(windows).mean(1), cost.reshape(windows).mean(1), log.theta[-1]


def main():
    """Run all seeds and write seeds_06.npz beside this file."""
    jobs = [(seed, METHODS[name]) for name in METHODS for seed in range(SEEDS)]
    jobs += [(seed, {"order": 1, "step_size": step_size}) for step_size in SCAN for seed in range(10)]
    runs = Parallel(n_jobs=-1, return_as="generator")(delayed(train)(seed, **options) for seed, options in jobs)
    results = list(tqdm(runs, total=len(jobs), desc="seeds"))
    scan = np.array([cost[-10:].mean() for _, cost, _ in results[len(METHODS) * SEEDS :]]).reshape(len(SCAN), 10)
    arrays = {"scan_step_size": np.array(SCAN), "scan_cost": scan}
    for i, name in enumerate(METHODS):
        part = results[i * SEEDS : (i + 1) * SEEDS]
        for what, values in zip(("td", "cost", "theta"), zip(*part, strict=True), strict=True):
            arrays[f"{name}_{what}"] = np.array(values).astype(np.float32)
    np.savez_compressed(Path(__file__).with_name("seeds_06.npz"), **arrays)


if __name__ == "__main__":
    main()
