"""Fitted Q iteration from a log, for lecture 14: what more transitions are worth, and what a narrow log is not.

Run it with `python mpcrl_course/data/make_14_batch.py`, about two minutes of processor time. It writes batch_14.npz:

    explorations, sizes         deviations of the behaviour's input, and transitions
    ratio                       J / J* of the quadratic Q's policy, (explorations, sizes, seeds); inf where it is lost
    behaviour                   J / J* of the behaviour without exploration
    mpc NAME M test, td         of lecture 06's MPC: cost of the greedy policy on fresh noise, and root mean square of
                                y - Q, (seeds, tests); the tests come after `TESTS` steps
    mpc NAME cost               of the behaviour itself, without exploration
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import NOMINAL, START
from mpcrl_course.learners.fitted_q import FittedQ, logged, quadratic_iteration
from mpcrl_course.policies.parameterised import LINEAR_LOWER, LINEAR_UPPER, linear_theta
from mpcrl_course.problems import quadratic
from mpcrl_course.problems.linear import linear_mpc

K, NO_OFFSET = np.array([[0.5, 1.5]]), np.zeros(1)
EXPLORATIONS, SIZES, SEEDS = (0.5, 0.3, 0.1, 0.03, 0.01), (100, 1000, 10000, 100000), 20
#: Of lecture 06's MPC: seeds, steps of learning after which its greedy policy is tested, steps of a run in the log.
MPC_SEEDS, TESTS, LENGTH = 5, (0, 5, 10, 20, 30, 40), 50
#: theta of the behaviour: the initial one, or one that keeps off the bound by 0.3; both with the same exploration.
BEHAVIOURS = {"initial": 0.0, "cautious": 0.3}


def ratio(M, exploration, seed):
    """Return J / J* of what is learned from M transitions of a behaviour with that exploration, drawn with a seed."""
    data = quadratic.collect(K, NO_OFFSET, M, np.random.default_rng([seed, M]), exploration=exploration)
    try:
        return quadratic.expected_cost(*quadratic.greedy_policy(quadratic_iteration(data))) / quadratic.least_cost()
    except quadratic.NoLeastAction:
        return np.inf


def test(mpc, theta):
    """Return the mean stage cost of the mpc with theta, greedy, on noise of its own."""
    noise, starts = NOMINAL.draw([14, 0], 20, 200), np.tile(START, (20, 1))
    return run(lambda y: mpc.values(theta, y)[1], NOMINAL, starts, noise).cost.mean()


def learned(back_off, M, seed):
    """Return tests and TD errors of fitted Q from M transitions of an MPC with a back_off, drawn with a seed."""
    mpc, rng = linear_mpc(), np.random.default_rng([5, seed])
    acting = mpc.parameters.pack(x_lb=[back_off, 0.0])

    def explored(y):
        return mpc.values(acting, y)[1] + 0.3 * rng.standard_normal((len(y), 1))

    n = M // LENGTH
    data = logged(run(explored, NOMINAL, np.tile(START, (n, 1)), NOMINAL.draw(rng, n, LENGTH)))
    low, high = (
        mpc.parameters.pack(linear_theta(mpc, z), V0=V0) for z, V0 in ((LINEAR_LOWER, -20), (LINEAR_UPPER, 20))
    )
    learner = FittedQ(mpc, data, rng, step_size=lambda k: 0.5 / (1.0 + k / 10.0), lower=low, upper=high)
    log = learner.run(TESTS[-1], progress=False).log
    return [test(mpc, log.theta[min(k, log.steps)]) for k in TESTS], log.td[[min(k, log.steps - 1) for k in TESTS]]


def main():
    """Write batch_14.npz beside this file."""
    found = {"explorations": np.array(EXPLORATIONS), "sizes": np.array(SIZES)}
    found["behaviour"] = np.array(quadratic.expected_cost(K, NO_OFFSET) / quadratic.least_cost())
    found["ratio"] = np.array(
        [[[ratio(M, e, seed) for seed in range(SEEDS)] for M in SIZES] for e in tqdm(EXPLORATIONS)]
    )
    mpc = linear_mpc()
    for name, back_off in BEHAVIOURS.items():
        found[f"mpc {name} cost"] = np.array(test(mpc, mpc.parameters.pack(x_lb=[back_off, 0.0])))
        for M in (1000, 10000):
            rows = [learned(back_off, M, seed) for seed in tqdm(range(MPC_SEEDS), f"{name} {M}")]
            found[f"mpc {name} {M} test"], found[f"mpc {name} {M} td"] = (np.array(part) for part in zip(*rows))
    np.savez_compressed(places.DATA / "batch_14.npz", **found)


if __name__ == "__main__":
    main()
