"""Lecture 05's boxes in which the problem stays as it is and a network guides its solver; five trainings each.

Run it with `python mpcrl_course/data/make_05_solver.py`, about ten minutes of processor time; with "flag", "horizon"
or "active set" for that part alone. It writes solver_05.npz.

flag       the cart-pole's MPC solves where it is asked to: by a rule, at random, by a network
horizon    its horizon is 10, 20 or 40: fixed, by a rule, by a network
active set of the linear plant's MPC, predicted from 100, 1000 and 10000 solved states

Of the first two the file holds, for each row, what `comparison.shipped` reads, from the same 20 starts, with an axis
for the trainings if there are any (times: of the first training only), "NAME share", share of decisions that were
solved for, and "NAME horizon", mean of N. Of the third "active set PREDICTION share" (places, sizes, trainings) of
predictions that were verified: at states of a box, and along closed loops; "… time" (sizes, trainings), processor time
of a decision relative to that of the plain solve in the box, when what belongs to each set has been computed; "… off",
the largest difference of an input from the solver's; "active set count", how many sets there are in the memory.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import sys
from functools import cache
from time import process_time

import numpy as np

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import LADEN, MODEL
from mpcrl_course.envs.linear import LinearParameters
from mpcrl_course.learners import fit
from mpcrl_course.mlp import MLP
from mpcrl_course.policies import horizon, on_demand
from mpcrl_course.policies.active_set import PredictedSet, active_sets, classified_set, nearest_set
from mpcrl_course.policies.comparison import CommonGuess, Measured, hanging_starts, measure, stack
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc
from mpcrl_course.problems.linear import linear_mpc

TRAININGS = 5
STARTS, TRAINED = hanging_starts(20, 7), hanging_starts(60, 177)
ANGLE, SCALE = 1, np.array([0.1, 0.15, 0.3, 0.6])  # of the errors of a prediction: m, rad, m/s, rad/s
RULES, FORESEEN, CHANCES = (0.4, 0.6, 0.8), (0.3, 1.0, 3.0), (0.8,)  # solved the less, the further on
HORIZONS, ALLOWED, UPRIGHT = (10, 20, 40), (0.1, 0.3, 1.0), 0.5
SIZES, LOW, HIGH = (100, 1000, 10000), [-0.2, -1.0], [1.2, 1.0]


@cache
def common():
    """Return the MPCs of all horizons, and the guess that all share: the longest one's first plan."""
    mpcs = [cartpole_mpc(horizon=N) for N in HORIZONS]
    return mpcs, CommonGuess(mpcs[-1])


def trained_from(k):
    """Return the 12 starts that training k learns from, its own."""
    return TRAINED[12 * k : 12 * (k + 1)]


def log(controller, k, plant=LADEN):
    """Drive the plant from the starts of training k, 100 steps each: what logs is within the controller."""
    starts = trained_from(k)
    run(controller, plant, starts, plant.draw(0, len(starts), 100))


def measured(controller, said, plant=LADEN):
    """Return what `measure` finds of a plant, and the mean of said(controller), start by start."""
    found, means = [], []
    for start in STARTS:
        found.append(measure(controller, plant, start[None]))
        means.append(said(controller))
    return Measured(*(np.concatenate(column) for column in zip(*found, strict=True))), np.array(means)


class Counted:
    """A flag that counts how often it asks for a solve, in one run after the other."""

    def __init__(self, flag):
        self.flag, self.asked = flag, []

    def __call__(self, s, plan):
        """Return what the flag says of the state s and the kept plan, and count it."""
        self.asked.append(bool(self.flag(s, plan)))
        return self.asked[-1]

    def share(self, controller):
        """Return the share of solves since last time; the first plan of the controller is one of them."""
        share, self.asked = (1 + sum(self.asked)) / (1 + len(self.asked)), []
        return share


def solved(flag):
    """Return what is measured where a flag decides whether to solve, and the shares."""
    (*_, mpc), guess = common()
    counted = Counted(flag)
    return measured(on_demand.OnDemand(mpc, counted, first=guess), counted.share)


def learned_flag(k):
    """Return the network of training k: taught in loops that solve in .8, .6 and .4 of their steps."""
    (*_, mpc), guess = common()
    lessons = []
    for i, share in enumerate((0.8, 0.6, 0.4)):
        logged = on_demand.Logged(mpc, share, np.random.default_rng([12, k, i]))
        log(on_demand.OnDemand(mpc, logged, first=guess), k)
        lessons.append(logged.lesson(SCALE, ANGLE))
    x, y = (np.concatenate(part) for part in zip(*lessons, strict=True))
    rng = np.random.default_rng([13, k])
    return fit(MLP(9, 1, rng, width=32, activation="tanh"), x, y, rng)


def flags():
    """Return the rows of the flag."""
    rows = {"plain": [solved(lambda s, plan: True)]}
    rows |= {f"rule {epsilon}": [solved(on_demand.departed(epsilon, SCALE))] for epsilon in RULES}
    for share in CHANCES:
        draws = [np.random.default_rng([16, k]) for k in range(TRAININGS)]
        rows[f"chance {share}"] = [solved(lambda s, plan, rng=rng, share=share: rng.random() < share) for rng in draws]
    nets = [learned_flag(k) for k in range(TRAININGS)]
    for epsilon in FORESEEN:
        rows[f"foreseen {epsilon}"] = [solved(on_demand.Foreseen(net, epsilon, SCALE, ANGLE)) for net in nets]
    return written(rows, "share")


def learned_choice(k, plant):
    """Return the network of training k: taught in loops of the plant in which .8 of the steps look 40 steps ahead."""
    mpcs, guess = common()
    logged = horizon.Logged(mpcs, 0.8, np.random.default_rng([14, k]))
    log(horizon.VaryingHorizon(mpcs, logged, first=guess), k, plant)
    x, y = logged.lesson(ANGLE)
    rng = np.random.default_rng([15, k])
    return fit(MLP(5, len(HORIZONS) - 1, rng, width=32, activation="tanh"), x, y, rng)


def near_upright(s, plan):
    """Return the rule: the shortest horizon if s is within .5 rad of upright, whatever the plan, else the longest."""
    return 0 if np.cos(s[ANGLE]) > np.cos(UPRIGHT) else len(HORIZONS) - 1


def horizons():
    """Return the rows of the horizon, of the laden plant, and of that which the MPC knows exactly."""
    return horizons_of(LADEN, "N") | horizons_of(MODEL, "exact: N")


def horizons_of(plant, name):
    """Return the rows of the horizon of a plant, which start with `name`."""
    mpcs, guess = common()

    def chosen(choose):
        policy = horizon.VaryingHorizon(mpcs, choose, first=guess)
        return measured(policy, lambda policy: np.mean(policy.chosen[0]), plant)

    def fixed(mpc):
        N = mpc.problem.horizon
        return measured(Receding(mpc, first=guess if mpc is mpcs[-1] else own_first), lambda _: N, plant)

    rows = {f"{name} = {mpc.problem.horizon}": [fixed(mpc)] for mpc in mpcs} | {
        f"{name} by rule": [chosen(near_upright)]
    }
    nets = [learned_choice(k, plant) for k in range(TRAININGS)]
    for epsilon in ALLOWED:
        rows[f"{name} foreseen {epsilon}"] = [chosen(horizon.Foreseen(net, epsilon, ANGLE)) for net in nets]
    return written(rows, "horizon")


def own_first(mpc, theta, s):
    """Return the first plan of a shorter mpc with theta from s: found from the head of the guess that all share."""
    x, u = common()[1].plan(s)
    N = mpc.problem.horizon
    return mpc.policy(theta, s, warm_start=(x[: N + 1], u[:N]))


def written(rows, what):
    """Return the arrays of rows by name, each a list of trainings: (measured, means); `what` the means are."""
    arrays = {}
    for name, trainings in rows.items():
        found, means = zip(*trainings, strict=True)
        whole = found[0] if len(found) == 1 else stack(found)
        for field, part in whole._replace(ms=found[0].ms)._asdict().items():
            kind = {"ms": np.float16, "cost": np.float32, "final": np.float32}.get(field, np.uint8)
            arrays[f"{name} {field}"] = part.astype(kind)
        arrays[f"{name} {what}"] = (means[0] if len(found) == 1 else np.array(means)).astype(np.float32)
        print(name, what, f"{np.mean(means):.3g}", "cost", f"{whole.cost.mean():.4g}", flush=True)
    return arrays


def seconds(decide, states):
    """Return the processor time of a controller, `decide`, at the states (n, 2), one at a time."""
    began = process_time()
    for s in states:
        decide(s[None])
    return process_time() - began


def classifier(k, states, sets):
    """Return the prediction of the network that training k fits to the sets (n, rows) of the states (n, 2)."""
    each, of = np.unique(sets, axis=0, return_inverse=True)
    rng = np.random.default_rng([18, k])
    net = fit(MLP(2, len(each), rng, width=64), states, np.eye(len(each))[of.ravel()], rng, steps=12000)
    return classified_set(net, each)


def sets_predicted():
    """Return what comes of predicted active sets."""
    mpc, rng = linear_mpc(), np.random.default_rng(19)  # (17 would draw as (17, 0) does)
    theta, plant = mpc.parameters.initial(), LinearParameters()
    box = rng.uniform(LOW, HIGH, (2000, 2))
    loops = run(Receding(mpc), plant, rng.uniform([0, -0.5], [1, 0.5], (50, 2)), plant.draw(17, 50, 40))
    tested = box, loops.x[:-1].reshape(-1, 2)
    plain = [np.array([mpc.policy(theta, s).u0 for s in states]) for states in tested]
    shape = len(SIZES), TRAININGS
    kinds = {"nearest": lambda k, *known: nearest_set(*known), "network": classifier}
    share = {kind: np.zeros((2, *shape)) for kind in kinds}
    time, off, count = (
        {kind: np.zeros(shape) for kind in kinds},
        {kind: np.zeros(shape) for kind in kinds},
        np.zeros(shape),
    )
    for k in range(TRAININGS):
        states = np.random.default_rng([17, k]).uniform(LOW, HIGH, (SIZES[-1], 2))
        sets = active_sets(mpc, states)
        for i, n in enumerate(SIZES):
            count[i, k] = len(np.unique(sets[:n], axis=0))
            for kind, make in kinds.items():
                policy = PredictedSet(mpc, make(k, states[:n], sets[:n]))
                for j, (at, u) in enumerate(zip(tested, plain, strict=True)):
                    off[kind][i, k] = max(off[kind][i, k], np.abs(policy(at) - u).max())
                    share[kind][j, i, k] = np.mean([said == "verified" for said in policy.status])
                taken = seconds(policy, box) / seconds(lambda y: mpc.policy(theta, y[0]).u0, box)
                time[kind][i, k] = taken
        print("active set", k, {kind: share[kind][:, :, k].round(3).tolist() for kind in kinds}, flush=True)
    arrays = {f"active set {kind} {name}": part[kind].astype(np.float32)
              for kind in kinds for name, part in (("share", share), ("time", time), ("off", off))}  # fmt: skip
    return arrays | {"active set count": count.astype(np.int16)}


PARTS = {"flag": flags, "horizon": horizons, "active set": sets_predicted}


def main(parts):
    """Train, measure, and write the file beside this one; of other `parts` than these it keeps what it holds."""
    arrays = {}
    if set(parts) < set(PARTS) and (places.DATA / "solver_05.npz").exists():
        with places.data("solver_05.npz") as file:
            arrays = dict(file)
    for part in parts:
        arrays |= PARTS[part]()
        np.savez_compressed(places.DATA / "solver_05.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PARTS))
