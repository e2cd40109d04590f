"""Tuning without gradients, for lecture 14: cost against evaluations, and what a short test is worth.

Run it with `python mpcrl_course/data/make_14_tuning.py`, about twenty minutes of processor time; it needs the extra
[tuning]. It writes tuning_14.npz, one part after the other, and goes on where it was stopped: what the file has is not
made again. In it, with a row a seed,

    linear NAME cost, test      of each evaluation, and of the best point so far on other noise (log of neither)
    linear NAME z               the best point of all
    learner NAME test           of theta after each `EVERY` transitions (the first: before any)
    short LENGTH NAME best, test   best cost on a test of so many transitions, and its cost on the long one
    cartpole NAME cost, test    as of the linear plant, the test after `CART_TESTS` evaluations
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from functools import cache

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs import LinearPlant
from mpcrl_course.envs.linear import NOMINAL, START
from mpcrl_course.learners import PolicyGradient, QLearning
from mpcrl_course.learners.tuning import TUNERS
from mpcrl_course.policies.comparison import CommonGuess, hanging_starts, objective
from mpcrl_course.policies.parameterised import (
    LINEAR_FIRST,
    LINEAR_LOWER,
    LINEAR_UPPER,
    linear_theta,
    tuned_theta,
)
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems import cartpole_mpc, linear_mpc

FILE = places.DATA / "tuning_14.npz"
SEEDS, EVALUATIONS = 12, 40
#: Of an evaluation on the linear plant, and of the long test, whose noise no tuner meets: runs and steps.
SHORT, LONG = (2, 200), (20, 200)
#: Transitions of a shorter test than that of "linear" (400), and its runs and steps.
LENGTHS = {25: (1, 25), 50: (1, 50), 100: (1, 100)}
LEARNER_SEEDS, TRANSITIONS, EVERY = 10, 6400, 400
CART_SEEDS, CART_TESTS = 10, (1, 40)
CART_LOWER, CART_UPPER = np.array([-1.0, 0.0, -2.0, -2.0, -2.0, -2.0]), np.array([1.0, 3.0, 2.0, 2.0, 2.0, 2.0])


@cache
def made():
    """Return the MPC of the linear plant, that of the cart-pole, and the common first guess of the latter."""
    cart = cartpole_mpc()
    return linear_mpc(), cart, CommonGuess(cart)


def closed_loop_cost(theta, size, seed):
    """Return the mean stage cost of the linear plant under its MPC with theta; size: runs and steps; seed: of noise."""
    mpc, starts = made()[0], np.tile(START, (size[0], 1))
    # many runs go quicker in a batch
    controller = Receding(mpc, theta) if size[0] < 5 else lambda y: mpc.values(theta, y)[1]
    return float(run(controller, NOMINAL, starts, NOMINAL.draw([14, seed], *size)).cost.mean())


def tests_of(points, test):
    """Return test(z) of each of the `points`, found once for those that repeat."""
    known = {}
    return np.array([known[key] if (key := z.tobytes()) in known else known.setdefault(key, test(z)) for z in points])


def linear_run(name, seed, size=SHORT, after=None):
    """Tune the linear plant's MPC by the tuner `name` with a seed, by tests of a size (runs, steps).

    Returns costs, and tests of the best so far (or only `after` some evaluations).
    """
    mpc = made()[0]

    def cost(z, rng):
        return np.log(closed_loop_cost(linear_theta(mpc, z), size, 1000 + seed))

    learner = TUNERS[name](cost, LINEAR_LOWER, LINEAR_UPPER, np.random.default_rng([1, seed]), first=LINEAR_FIRST)
    log = learner.run(EVALUATIONS, progress=False).log
    points = log.at if after is None else log.at[np.array(after) - 1]
    test = tests_of(points, lambda z: closed_loop_cost(linear_theta(mpc, z), LONG, 0))
    return {"cost": np.exp(log.cost), "test": test, "z": learner.z}


def learner_run(name, seed):
    """Learn all of theta by the learner `name`, with a seed; return the long test after each `EVERY` transitions."""
    rng, mpc = np.random.default_rng([2, seed]), made()[0]
    if name == "Q-learning":
        learner = QLearning(mpc, LinearPlant(), rng)
    else:
        learner = PolicyGradient(mpc, LinearPlant(steps=100), rng)
    theta = learner.run(TRANSITIONS, progress=False).log.theta
    theta = theta[np.minimum(np.arange(0, TRANSITIONS + 1, EVERY), len(theta) - 1)]  # of one that stopped, the last
    return {"test": tests_of(theta, lambda each: closed_loop_cost(each, LONG, 0))}


def short_run(name, seed, length):
    """Tune, by the tuner `name` with a seed, on a test of `length` transitions; return its best, and the long test."""
    found = linear_run(name, seed, LENGTHS[length], after=[EVALUATIONS])
    return {"best": found["cost"].min(), "test": found["test"][0]}


def cartpole_run(name, seed):
    """Tune six numbers of the cart-pole's MPC by the tuner `name` with a seed.

    Returns the costs from two starts, which differ by seed, and tests from ten others.
    """
    _, mpc, guess = made()

    def judged(z, starts):
        return objective(Receding(mpc, tuned_theta(mpc, z), first=guess), starts)

    taught, tested = hanging_starts(2, 1400 + seed), hanging_starts(10, 14)
    learner = TUNERS[name](
        lambda z, rng: judged(z, taught), CART_LOWER, CART_UPPER, np.random.default_rng([3, seed]), first=np.zeros(6)
    )
    log = learner.run(EVALUATIONS, progress=False).log
    test = tests_of(log.at[np.array(CART_TESTS) - 1], lambda z: judged(z, tested))
    return {"cost": log.cost, "test": test, "z": learner.z}


def main():
    """Make what the file does not have yet."""
    jobs = [(f"linear {name}", linear_run, (name,), SEEDS) for name in TUNERS]
    jobs += [
        (f"short {length} {name}", short_run, (name, length), SEEDS)
        for length in LENGTHS
        for name in ("cross-entropy",)
    ]
    jobs += [(f"learner {name}", learner_run, (name,), LEARNER_SEEDS) for name in ("Q-learning", "policy gradient")]
    jobs += [
        (f"cartpole {name}", cartpole_run, (name,), CART_SEEDS)
        for name in ("cross-entropy", "surrogate", "random search")
    ]
    found = dict(np.load(FILE)) if FILE.exists() else {}
    for key, function, arguments, seeds in tqdm(jobs):
        if not any(known.startswith(key + " ") for known in found):
            rows = [function(arguments[0], seed, *arguments[1:]) for seed in range(seeds)]
            found |= {f"{key} {what}": np.array([row[what] for row in rows], np.float32) for what in rows[0]}
            np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
