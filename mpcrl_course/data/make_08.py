"""What lecture 08 shows of many seeds: cloning and DAgger of the pendulum's MPC, by kind of label and of data.

Run it with `python mpcrl_course/data/make_08.py` (about three minutes of CPU).
"""

from time import process_time

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.dp.pendulum import FIXED_STARTS, evaluate
from mpcrl_course.envs.pendulum import NOMINAL
from mpcrl_course.learners.imitation import DAgger, hanging
from mpcrl_course.policies import Receding, pendulum_expert
from mpcrl_course.problems import pendulum_mpc

#: Nominal starts: as the pupils were trained from, but none of theirs. Shifted: the fixed starts of the course.
STARTS = {"nominal": hanging(np.random.default_rng(99), 40), "shifted": FIXED_STARTS}
SEEDS, ROUNDS, RUNS, STEPS = 8, 6, 5, 100
#: By name: whether the labels are memoryless, beta (1: cloning; None: DAgger), whether mirror images are learned from.
ROWS = {
    f"{algorithm}, {labels}{', mirror' if mirror else ''}": (labels == "memoryless", beta, mirror)
    for labels, mirror in (("memoryless", False), ("memoryless", True), ("warm", False))
    for algorithm, beta in (("cloning", 1.0), ("DAgger", None))
}


def teach(seed: int, memoryless: bool, beta: float | None, mirror: bool):
    """Return mean costs, errors and distances (each (rounds, 2)) of what a seed learns, and the CPU time in s.

    `memoryless`, `beta` (None: DAgger's own) and `mirror` are those of a row of ROWS.
    """
    began = process_time()
    expert = pendulum_expert() if memoryless else Receding(pendulum_mpc())
    options = {} if beta is None else {"beta": beta}
    learner = DAgger(expert, NOMINAL, hanging, np.random.default_rng(seed), n=RUNS, steps=STEPS, mirror=mirror,
                     **options)  # fmt: skip
    costs = []
    for _ in range(ROUNDS):
        learner.step()
        costs.append([evaluate(learner.pupil, starts=starts, steps=STEPS).mean() for starts in STARTS.values()])
    return np.array(costs), np.stack([learner.log.error, learner.log.apart], axis=1), process_time() - began


def main():
    """Run all and write expert_08.npz beside this file."""
    jobs = [(row, seed) for row in ROWS.values() for seed in range(SEEDS)]
    found = [teach(seed, *row) for row, seed in tqdm(jobs, "pupils")]
    shape = len(ROWS), SEEDS, ROUNDS, 2
    arrays = {
        "names": np.array(list(ROWS)),
        "starts": np.array(list(STARTS)),
        "costs": np.array([costs for costs, _, _ in found], np.float32).reshape(shape),
        "errors": np.array([errors for _, errors, _ in found], np.float32).reshape(shape),
        "seconds": np.array([s for _, _, s in found], np.float32).reshape(len(ROWS), SEEDS),
        "expert": np.array([evaluate(pendulum_expert(), starts=s, steps=STEPS).mean() for s in STARTS.values()]),
        "warm": np.array([evaluate(Receding(pendulum_mpc()), starts=s, steps=STEPS).mean() for s in STARTS.values()]),
    }
    np.savez_compressed(places.DATA / "expert_08.npz", **arrays)


if __name__ == "__main__":
    main()
