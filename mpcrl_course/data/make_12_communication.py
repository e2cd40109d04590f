"""Lecture 12: what agents learn who are told the sum of all TD errors, and who are not, on the network without bounds.

Run it with `python mpcrl_course/data/make_12_communication.py` (a few minutes of processor time). For every pair of
weights omega and coupling it writes communication_12.npz: ``omega`` (n, 3), ``coupling`` (n,); the exact ratios
J/J_team (n,) of ``nash_all``, ``team_own``, ``nash_own`` (equilibria and optima of policies of all states, or of own
states only), and learned, from all states, ``own`` and ``summed`` (n, seeds, iterations + 1): the exact ratio of the
policy before each iteration and after the last, infinite after one that does not stabilise the network.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.learners.team import TeamIteration
from mpcrl_course.problems.team import LinearTeam

OMEGAS, COUPLINGS = ((1.0, 1.0, 1.0), (0.05, 1.0, 0.05)), (-0.1, -0.2, -0.3, -0.4, -0.5)
SEEDS, ITERATIONS = range(1, 11), 12


def learned(team: LinearTeam, seed: int, summed: bool) -> np.ndarray:
    """Return the ratios before each iteration and after the last, infinite after a run that stopped.

    `team` is learned with the generator of `seed` from `summed` TD errors, or from each agent's own.
    """
    log = TeamIteration(team, np.random.default_rng(seed), summed).run(ITERATIONS, progress=False).log
    ratio = np.full(ITERATIONS + 1, np.inf)
    ratio[: len(log.ratio)] = log.ratio
    return ratio


def main():
    """Solve and learn every problem, and write communication_12.npz beside this file."""
    arrays: dict[str, list] = {}
    for team in tqdm([LinearTeam(omega, coupling) for omega in OMEGAS for coupling in COUPLINGS], unit="problem"):
        least = team.cost(team.team())
        row = {"omega": team.omega, "coupling": team.coupling}
        exact = {"nash_all": team.nash("all"), "team_own": team.team("own"), "nash_own": team.nash("own")}
        row |= {name: team.cost(K) / least for name, K in exact.items()}
        for name, summed in (("own", False), ("summed", True)):
            row[name] = [learned(team, seed, summed) for seed in SEEDS]
        for name, value in row.items():
            arrays.setdefault(name, []).append(value)
    np.savez_compressed(places.DATA / "communication_12.npz", **{name: np.array(each) for name, each in arrays.items()})


if __name__ == "__main__":
    main()
