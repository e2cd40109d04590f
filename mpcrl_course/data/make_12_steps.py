"""Lecture 12: updates, and numbers sent, until the network without bounds costs at most 1.05 of the team's optimum.

Run it with `python mpcrl_course/data/make_12_steps.py` (a few minutes of processor time). On the unequal network, with
omega = (0.05, 1, 0.05) and coupling -0.3, `DecomposedTD` learns by first order, by second order with summed delta
and every agent's own term of C, with delta and C, and with nothing sent. Step size and regularisation of each are those
whose median over three scan seeds is first at 1.05 (of those that never are: whose least cost is lowest); then ten
other seeds are run. It writes steps_12.npz: ``ways``; ``sigma``, ``alpha``; of the scan, (ways, sigmas, alphas, seeds),
``scan_updates`` (infinite: never) and ``scan_lost``; ``chosen`` (ways, 2), sigma and alpha; and of the ten seeds
``updates`` (ways, seeds), ``ratio`` (ways, seeds, 151), every tenth, infinite once lost, and ``numbers`` (ways,) that
an update sends with 100 rounds of consensus.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.learners.decomposed import DecomposedTD
from mpcrl_course.network import line, mixing_matrix
from mpcrl_course.problems.team import LinearTeam

WAYS = {
    "first order, δ": {"sends": "delta", "order": 1},
    "second order, δ": {"sends": "delta"},
    "second order, δ and C": {"sends": "delta and C"},
    "second order, nothing": {"sends": "nothing"},
}
TEAM = LinearTeam((0.05, 1.0, 0.05), -0.3)
SIGMAS, ALPHAS, STEPS, GOAL = (0.01, 0.1, 1.0), (0.003, 0.01, 0.03, 0.1, 0.3), 1500, 1.05
SCAN_SEEDS, SEEDS = range(101, 104), range(1, 11)


def learn(way: str, seed: int, sigma: float, alpha: float) -> np.ndarray:
    """Return J/J_team before the first update and after each, infinite once it is lost.

    `way` is one of `WAYS`; `seed`, `sigma` and `alpha` are those of `DecomposedTD`.
    """
    learner = DecomposedTD(TEAM, np.random.default_rng(seed), sigma=sigma, alpha=alpha, **WAYS[way])
    ratio = np.full(STEPS + 1, np.inf)
    ratio[0] = TEAM.cost(TEAM.start()) / learner.least
    with np.errstate(over="ignore", invalid="ignore"):  # runs that are lost
        done = learner.run(STEPS, progress=False).log.ratio
    ratio[1 : len(done) + 1] = done
    return ratio


def first_at_goal(ratio) -> float:
    """Return the first update after which `ratio` is at most the goal; infinite if there is none."""
    there = np.asarray(ratio) <= GOAL
    return float(np.argmax(there)) if there.any() else np.inf


def main():
    """Scan, choose, run, and write steps_12.npz beside this file."""
    shape = len(WAYS), len(SIGMAS), len(ALPHAS), len(SCAN_SEEDS)
    updates, least, lost = np.full(shape, np.inf), np.full(shape, np.inf), np.zeros(shape, bool)
    for i, j, a, s in tqdm(list(np.ndindex(shape)), unit="run", disable=None):
        way = list(WAYS)[i]
        if "first" in way and j:  # it has no sigma
            continue
        ratio = learn(way, SCAN_SEEDS[s], SIGMAS[j], ALPHAS[a])
        updates[i, j, a, s], least[i, j, a, s], lost[i, j, a, s] = (
            first_at_goal(ratio), ratio.min(), not np.isfinite(ratio[-1]))  # fmt: skip
    chosen, found, kept = [], [], []
    for i, way in enumerate(WAYS):
        score = list(zip(np.median(updates[i], axis=-1).ravel(), np.median(least[i], axis=-1).ravel()))
        j, a = np.unravel_index(min(range(len(score)), key=score.__getitem__), shape[1:3])
        chosen.append((SIGMAS[j], ALPHAS[a]))
        runs = np.array([learn(way, seed, *chosen[-1]) for seed in SEEDS])
        found.append([first_at_goal(each) for each in runs])
        kept.append(runs[:, ::10].astype(np.float32))
    P, numbers = mixing_matrix(3, line(3), 0.25), []
    for options in WAYS.values():
        learner = DecomposedTD(TEAM, np.random.default_rng(0), P=P, **options)
        numbers.append(int(learner.run(1, progress=False).log.numbers[0]))
    np.savez_compressed(
        places.DATA / "steps_12.npz", ways=list(WAYS), sigma=SIGMAS, alpha=ALPHAS, scan_updates=updates,
        scan_lost=lost, chosen=chosen, updates=found, ratio=kept, numbers=numbers)  # fmt: skip


if __name__ == "__main__":
    main()
