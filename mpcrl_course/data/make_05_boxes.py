"""Lecture 05's table on the cart-pole: all five architectures, five trainings each, from 20 starts.

Run it with `python mpcrl_course/data/make_05_boxes.py`, about eight minutes of processor time; with names of rows, such
as "phi by DDPG", for these alone. With a training change the steps of the plant that are learned from, first weights
and all that is tried; the starts are the same for all. It writes boxes_05.npz: what `comparison.measure` found, as
`comparison.shipped` reads it (times: of the first training only), "NAME learned", what each training learned, and "NAME
seconds", processor time of learning.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the trainings run in parallel

import sys
from dataclasses import replace
from functools import cache
from time import process_time

import numpy as np
from joblib import Parallel as Pool
from joblib import delayed
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.envs.cartpole import LADEN, MODEL, WEIGHTS, dynamics
from mpcrl_course.learners import DDPG, CrossEntropy, cartpole_transitions, fit, identify
from mpcrl_course.policies.comparison import CommonGuess, hanging_starts, measure, objective, stack
from mpcrl_course.policies.guesses import Nearest, mirrored
from mpcrl_course.policies.hierarchical import (
    N_PHI,
    Hierarchical,
    TunedCartPole,
    actor_of,
    constant_weight,
    gate,
    jumping,
    phi_of,
    weights_of,
)
from mpcrl_course.policies.integrated import feature_mlp, features, integrated_mpc
from mpcrl_course.policies.parallel import Parallel, correction, missing_force
from mpcrl_course.policies.parameterised import N_THETA, tuned_theta
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model

TRAININGS = 5
STARTS, TAUGHT, TRAINED = hanging_starts(20, 7), hanging_starts(6, 77), hanging_starts(24, 177)


@cache
def common():
    """Return the MPC, its theta, and the guess that all share."""
    mpc = cartpole_mpc()
    return mpc, mpc.parameters.initial(), CommonGuess(mpc)


@cache
def steps_of(k):
    """Return 1000 single steps of the plant for training k: states, forces, next states."""
    guess = common()[2]
    x, u = (np.array(part) for part in zip(*(guess.plan(s) for s in TAUGHT), strict=True))
    return cartpole_transitions(LADEN, x[:, :-1], u, np.random.default_rng([9, k]))


def receding(theta):
    """Return the MPC with theta as a controller."""
    mpc, _, guess = common()
    return Receding(mpc, theta, first=guess)


def hierarchical(phi, theta):
    """Return the MPC with phi before each solve, and with theta else."""
    mpc, _, guess = common()
    return Hierarchical(mpc, phi, theta, first=guess)


def identified(k):
    """Return theta of the MPC with the model that is identified from the steps of training k."""
    mpc, theta, _ = common()
    return with_model(mpc, theta, identify(*steps_of(k)))


def known(terminal):
    """Return theta of the MPC that knows the payload, and no dry friction; `terminal`: see `with_model`."""
    mpc, theta, _ = common()
    return with_model(mpc, theta, replace(MODEL, mass=LADEN.mass), terminal)


def by_regression(k):
    """Return the controller of the model that is identified in training k, and its mass and friction."""
    model = identify(*steps_of(k))
    return receding(identified(k)), [model.mass, model.friction]


def search(make, n, sigma, k, generations):
    """Return what the cross-entropy method finds for z -> controller, `make`, in so many generations.

    z has n entries, and at first the deviations `sigma`; k is the training.
    """

    def cost(z, rng):
        starts = TRAINED[rng.choice(len(TRAINED), 2, replace=False)]
        return [objective(make(each), starts) for each in z]

    learner = CrossEntropy(cost, np.zeros(n), np.full(n, sigma), np.random.default_rng([3, k]), population=8, elite=3)
    return learner.run(generations, progress=False).mu


def by_trial(k):
    """Return the controller of six numbers that training k learns by trial, from the nominal ones; and the numbers."""
    mpc = common()[0]

    def make(z):
        return receding(tuned_theta(mpc, z))

    z = search(make, N_THETA, 0.7, k, 3)
    return make(z), z


def corrected(k, beta):
    """Return the plain MPC with the correction of training k beside it, its share beta, and the network's weights."""
    (x, u, ahead), rng = steps_of(k), np.random.default_rng([10, k])
    net = fit(feature_mlp(rng, 1), features(x, u), missing_force(x, u, ahead), rng, steps=5000)
    learned = net.theta.astype(np.float32)
    net.theta[:] = learned  # what is measured is what is shipped
    return Parallel(receding(common()[1]), correction(net), beta), learned


def phi_by_trial(k):
    """Return the identified MPC of training k with phi_z(s) that is learned by trial, and z."""
    theta = identified(k)
    z = search(lambda z: hierarchical(phi_of(z), theta), N_PHI, 0.5, k, 5)
    return hierarchical(phi_of(z), theta), z


def phi_by_ddpg(k):
    """Return the identified MPC of training k with weights that an actor sets, and the actor's own."""
    (mpc, _, guess), theta = common(), identified(k)
    env = TunedCartPole(mpc, weights_of, [-1.0, -1.0], [1.0, 1.0], theta, starts=TRAINED, first=guess)
    agent = DDPG(env, np.random.default_rng([11, k]), width=32).run(8000, progress=False).agent
    return hierarchical(actor_of(agent), theta), agent.actor.theta


def integrated(k):
    """Return the MPC with what the nominal model misses, learned in training k, inside; and the network's weights."""
    (x, u, ahead), rng = steps_of(k), np.random.default_rng([12, k])
    phi = fit(feature_mlp(rng), features(x, u), (ahead - dynamics(x, u))[:, 2:], rng)
    learned = phi.theta.astype(np.float32)
    phi.theta[:] = learned
    return Receding(integrated_mpc(phi), first=common()[2]), learned


def nearest(k):
    """Return the plain MPC of training k that starts from the nearest of 12 plans and their images; and their starts.

    It is the first guess that is learned here: all other rows have the common one.
    """
    mpc = common()[0]
    guess, starts = CommonGuess(mpc), TRAINED[np.random.default_rng([13, k]).permutation(len(TRAINED))[:12]]
    x, u = (np.array(part) for part in zip(*(guess.plan(s) for s in starts), strict=True))  # solved anew: it is timed
    stored = Nearest(*mirrored(x, u), 1, [1.0, 0.5, 1.0, 2.0])
    return Receding(mpc, first=lambda mpc, theta, s: mpc.policy(theta, s, warm_start=stored(s))), starts


def jumps(name, low, high):
    """Return the row of a phi that jumps between the values low and high of a parameter, by `name`."""
    return {f"jumping {name}": lambda k: (hierarchical(jumping({name: low}, {name: high}), identified(0)), [])}


#: Of a training k each returns a controller, and what was learned. These learn nothing:
ONCE = {
    "plain": lambda k: (receding(common()[1]), []),
    "payload known": lambda k: (receding(known(False)), []),
    "payload known, terminal": lambda k: (receding(known(True)), []),
    "nominal, gate": lambda k: (hierarchical(gate(), common()[1]), []),
    **jumps("weights", WEIGHTS * [0.1, 1, 0.1, 0.1, 0.1], WEIGHTS * [10, 1, 10, 10, 10]),
    **jumps("target", -1.0, 1.0),
    **jumps("track", 0.3, 2.0),
    **jumps("mass", 0.2, 1.0),
}
LEARNED = {
    "regression": by_regression,
    "by trial": by_trial,
    "parallel 1": lambda k: corrected(k, 1.0),
    "parallel 0.5": lambda k: corrected(k, 0.5),
    "gate": lambda k: (hierarchical(gate(), identified(k)), []),
    "constant weight": lambda k: (hierarchical(constant_weight(), identified(k)), []),
    "phi by trial": phi_by_trial,
    "phi by DDPG": phi_by_ddpg,
    "integrated": integrated,
    "nearest plan": nearest,
    "constant weights": lambda k: (hierarchical(lambda s: weights_of([1.0, -1.0]), identified(k)), []),
}


def train(name, k, plans):
    """Return what was measured of training k of a row by `name`, what it learned and in which processor time.

    `plans` are those of the common guess.
    """
    common()[2].plans.update(plans)
    if name in LEARNED:
        steps_of(k)
    began = process_time()
    controller, learned = (ONCE | LEARNED)[name](k)
    seconds = process_time() - began
    return measure(controller, LADEN, STARTS), np.asarray(learned), seconds


def main(rows):
    """Train, measure, and write the file beside this one; of other `rows` than these it keeps what it holds."""
    guess, arrays = common()[2], {}
    if set(rows) < set(ONCE | LEARNED):
        with places.data("boxes_05.npz") as file:
            arrays = dict(file)
    for s in tqdm([*STARTS, *TAUGHT, *TRAINED], "plans"):
        guess.plan(s)
    jobs = [(name, k) for name in rows for k in range(TRAININGS if name in LEARNED else 1)]
    calls = (delayed(train)(*job, guess.plans) for job in jobs)
    done = Pool(n_jobs=2, return_as="generator")(calls)
    found = dict(zip(jobs, tqdm(done, "trainings", len(jobs)), strict=True))
    for name in rows:
        measured, learned, seconds = zip(*(found[name, k] for n, k in jobs if n == name), strict=True)
        whole = stack(measured) if name in LEARNED else measured[0]
        for field, part in whole._replace(ms=measured[0].ms)._asdict().items():
            kind = {"ms": np.float16, "cost": np.float32, "final": np.float32}.get(field, np.uint8)
            arrays[f"{name} {field}"] = part.astype(kind)
        # not rounded: where two swings cost nearly the same, the eighth digit of a mass decides between them
        arrays |= {f"{name} learned": np.array(learned), f"{name} seconds": np.array(seconds, np.float32)}
    np.savez_compressed(places.DATA / "boxes_05.npz", **arrays)


if __name__ == "__main__":
    from mpcrl_course.data import make_05_boxes  # by its name the workers find it, and keep what is cached

    make_05_boxes.main(sys.argv[1:] or [*ONCE, *LEARNED])
