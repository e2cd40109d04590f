"""What the solver makes of a first guess, for lecture 05: the pendulum, N = 50, five trainings from the same 24 starts.

Run it with `python mpcrl_course/data/make_05_guesses.py` (about half a minute of processor time). It writes
guesses_05.npz: `rows`, the guesses' names; `value` and `ms` (rows, trainings, starts), what was found from each guess,
and in which processor time; `hanging` (2, N + 1), angles of the plans that network and memory of training 0 give
from hanging at rest. A training has its own stored plans, from 40 runs of the MPC, and its own network.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.dp.pendulum import simulate
from mpcrl_course.learners import fit
from mpcrl_course.mlp import MLP
from mpcrl_course.policies import Nearest, Predicted, Receding, compare_guesses
from mpcrl_course.policies.guesses import held, lesson, line, mirrored, windows
from mpcrl_course.problems.pendulum import pendulum_mpc, swing

N, TRAININGS, ANYWHERE = 50, 5, ([-np.pi, -1.0], [np.pi, 1.0])
STARTS = np.random.default_rng(14).uniform(*ANYWHERE, (24, 2))


def guesses_of(mpc, k):
    """Return the guesses of training k for an mpc with N stages, by name."""
    rng, p = np.random.default_rng([15, k]), mpc.parameters.unpack(mpc.parameters.initial())
    found = simulate(Receding(mpc), starts=rng.uniform(*ANYWHERE, (40, 2)), steps=100)
    x, u = mirrored(*windows(found.x, found.u / 2.0, N))
    network = fit(MLP(3, (N + 1) * 2 + N, rng, dtype=np.float64), *lesson(x, u, 0), rng)
    each = {"state held": lambda s: held(s, N), "straight line": lambda s: line(s, N, 0),
            "network": Predicted(network, N, 0, -1.0, 1.0), "nearest stored plan": Nearest(x, u, 0, [1.0, 2.0]),
            "energy swing, by hand": lambda s: swing(s, p, N)}  # fmt: skip
    return each | {"best of the five": list(each.values())}


def main():
    """Compare the guesses of all trainings, and write the file beside this one."""
    mpc = pendulum_mpc(horizon=N)
    theta, found, hanging = mpc.parameters.initial(), [], []
    for k in tqdm(range(TRAININGS), "trainings"):
        guesses = guesses_of(mpc, k)
        found.append(compare_guesses(mpc, theta, guesses, STARTS))
        hanging.append([guesses[name](np.array([np.pi, 0.0]))[0][:, 0] for name in ("network", "nearest stored plan")])
    value, seconds = ([[getattr(each[name], part) for each in found] for name in found[0]]
                      for part in ("value", "seconds"))  # fmt: skip
    np.savez_compressed(places.DATA / "guesses_05.npz", rows=list(found[0]), value=np.array(value, np.float32),
                        ms=1e3 * np.array(seconds, np.float32), hanging=np.array(hanging[0], np.float32))  # fmt: skip


if __name__ == "__main__":
    main()
