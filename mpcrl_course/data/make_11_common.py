"""Lecture 11: the published evaluation once more, with one noise for all agents, as it was published.

Run it with `python mpcrl_course/data/make_11_common.py` (some minutes of processor time). The controllers are those of
`mpcrl_course.reproduce.automatica`; what was learned is taken from network_11.npz, where it is kept after 1000 and
after 10 000 steps, without the runs that were given up. It writes common_11.npz: ``<controller>`` and
``<controller>_each`` (noises,), sums of L over 100 steps with one noise for all agents, and with a noise each; of a
learned one ``<name>_early`` and ``<name>_late`` (seeds, noises), with one noise for all agents.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np

from mpcrl_course import places
from mpcrl_course.reproduce.automatica import EVALUATIONS, METHODS, PUBLISHED, evaluate, make_policy

#: Noises of the controllers that are quickly asked, and of what was learned.
MANY, FEW = 100, 10


def main():
    """Evaluate, and write common_11.npz beside this file."""
    arrays = {}
    for name in PUBLISHED:
        noises, key = EVALUATIONS if "scenario" in name else MANY, name.replace(", ", "_").replace(" ", "_")
        arrays[key] = evaluate(make_policy(name), noises, common=True)[0]
        arrays[f"{key}_each"] = evaluate(make_policy(name), noises)[0]
    with places.data("network_11.npz") as file:
        for method in METHODS:
            theta = file[f"{method}_theta"]
            theta = theta[np.isfinite(theta).all(axis=(1, 2))]
            for when, label in enumerate(("early", "late")):
                runs = [evaluate(make_policy(str(method), own[when]), FEW, common=True)[0] for own in theta]
                arrays[f"{method}_{label}"] = np.array(runs)
    np.savez_compressed(places.DATA / "common_11.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
    for key, value in arrays.items():
        print(f"{key:30s} {value.mean():8.2f}, standard deviation {value.std():.2f}, {value.shape}")


if __name__ == "__main__":
    main()
