"""What takes longer than lecture 07: policy gradients, the MPC as a layer, and the learned house; five seeds each.

Run it with `python mpcrl_course/data/make_07.py`; with names of parts, such as `layer`, for these alone. It writes
learned_07.npz, and keeps in it what the other parts hold. All cost by the same 40 roll-outs, of noise that no learner
met. For a part's row by NAME it holds "NAME cost" (seeds, steps in "PART steps"), "NAME learned" (seeds, …) and "NAME
seconds" of processor time. The layer is slow to learn, 26 s a seed; of the gusts only what a search finds is shipped,
and nothing of `gusts` and `smoothed`, which do not learn reliably: they are here to be tried.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import sys
from time import process_time

import numpy as np

from mpcrl_course import places
from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs import Home, HomeParameters, LinearPlant, home, linear
from mpcrl_course.envs.home import DAY
from mpcrl_course.learners import CrossEntropy, Perturbation, PolicyGradient, QLearning, ThroughTime
from mpcrl_course.learners.layered import LayerLearning, blind
from mpcrl_course.policies import Receding
from mpcrl_course.problems.home import HomeSolution, home_mpc
from mpcrl_course.problems.linear import layer_mpc, linear_mpc

FILE = places.DATA / "learned_07.npz"
SEEDS = range(5)
JUDGED = 5  # the seed of the roll-outs by which all are judged
LIMIT = [0.3] * 3
GRADIENT_STEPS = [0, 500, 1000, 2000, 3000, 4000, 5000]
LAYER_STEPS = [0, 1000, 2000, 3000, 4000, 5000]


def cost(controller, plant, start) -> float:
    """Return the mean cost of 40 roll-outs of 100 steps of a `controller` in a `plant` from `start`."""
    noise = plant.draw(JUDGED, 40, 100)
    return float(run(controller, plant, np.tile(start, (40, 1)), noise).cost.sum(axis=0).mean())


def trained(name, make, steps, judge, learned) -> dict:
    """Return what a learner of each seed costs after so many `steps`, what it learned, and in which time.

    `make` makes the learner of a generator, `judge` says what it costs, and `learned` what it has learned; `name` is
    that of the row.
    """
    costs, found, seconds = [], [], []
    for seed in SEEDS:
        learner, row, spent = make(np.random.default_rng(seed)), [], 0.0
        for n in steps:
            began = process_time()
            learner.run(n, progress=False)
            spent += process_time() - began
            row.append(np.nan if learner.log.stopped else judge(learner))
        print(name, seed, np.round(row, 2).tolist(), f"{spent:.1f} s", learner.log.stopped, flush=True)
        costs.append(row), found.append(learned(learner)), seconds.append(spent)
    return {f"{name} cost": np.array(costs, np.float32), f"{name} learned": np.array(found, np.float32),
            f"{name} seconds": np.array(seconds, np.float32)}  # fmt: skip


def gradients() -> dict:
    """Return theta of the linear plant's MPC by policy gradient, and through time with and without a window."""
    mpc = linear_mpc()
    kinds = {
        "lstd": lambda rng: PolicyGradient(mpc, LinearPlant(steps=100), rng),
        "window 5": lambda rng: ThroughTime(mpc, LinearPlant(steps=100), rng, linear.slopes),
    }
    found = {"gradients steps": np.array(GRADIENT_STEPS)}
    for name, make in kinds.items():
        found |= trained(name, make, GRADIENT_STEPS, lambda learner: judged_theta(mpc, learner.theta),
                         lambda learner: learner.theta)  # fmt: skip
    return found


def judged_theta(mpc, theta) -> float:
    """Return the cost of the linear plant's `mpc` with theta."""
    return cost(Receding(mpc, theta), linear.NOMINAL, linear.START)


def layered(plants, kinds, start, prefix) -> dict:
    """Return what is learned of phi on a plant: `plants` makes environment and parameters, from `start`.

    `kinds` are options by name, and `prefix` stands before their names.
    """
    found, mpc = {}, layer_mpc()
    for name, options in kinds.items():

        def make(rng, options=options):
            return LayerLearning(mpc, plants()[0], rng, [-0.3] * 3, LIMIT, **options)

        found |= trained(prefix + name, make, LAYER_STEPS,
                         lambda learner: cost(learner.agent.policy, plants()[1], start),
                         lambda learner: learner.agent.target_actor.theta)  # fmt: skip
    return found


def layer() -> dict:
    """Return phi of s through the MPC, a constant one by the same gradient, and phi as the action."""
    kinds = {"layer": {}, "constant": {"sees": blind}, "phi as action": {"through": False, "noise": 0.2}}
    plants = lambda: (LinearPlant(steps=100), linear.NOMINAL)  # noqa: E731
    return {"layer steps": np.array(LAYER_STEPS)} | layered(plants, kinds, linear.START, "")


def gusts() -> dict:
    """Return the same, but in gusts that are seen: there is something to gain from phi(s)."""
    kinds = {"layer": {}, "constant": {"sees": blind}}
    plants = lambda: (linear.GustyPlant(steps=100), linear.GustyParameters())  # noqa: E731
    return {"gusts steps": np.array(LAYER_STEPS)} | layered(plants, kinds, [*linear.START, 0.0], "gusts ")


def searched() -> dict:
    """Return what there is to gain in gusts: the best constant phi, and the best one for each z, by search."""
    plant, mpc, found = linear.GustyParameters(), layer_mpc(), {}
    theta = mpc.parameters.initial()

    def costs(z, noise, start):
        each = noise.e.shape[1] // len(z)
        phi = np.repeat(z.reshape(len(z), -1, 3), each, axis=0)

        def controller(y):
            own = phi[np.arange(len(y)), (y[:, 2] >= 0.5) * (phi.shape[1] - 1)]
            return mpc.values(theta, np.hstack([y[:, :2], np.clip(own, -0.3, 0.3)]))[1]

        run_costs = run(controller, plant, start, noise).cost.sum(axis=0)
        return run_costs.reshape(len(z), each).mean(axis=1)

    def trial(z, rng):  # the same noise for all candidates
        noise, start = (
            plant.draw(rng, 8, 100),
            np.column_stack([np.tile(linear.START, (8, 1)), rng.integers(2, size=8)]),
        )
        tiled = noise._make(np.tile(part, (1, len(z))) for part in noise)
        return costs(z, tiled, np.tile(start, (len(z), 1)))

    judged, starts = plant.draw(JUDGED, 40, 100), np.tile([*linear.START, 0.0], (40, 1))
    for name, n in (("one", 3), ("per z", 6)):
        z = [CrossEntropy(trial, np.zeros(n), np.full(n, 0.12), np.random.default_rng(seed), population=20,
                          elite=5).run(20, progress=False).mu for seed in SEEDS]  # fmt: skip
        found[f"gusts {name} learned"] = np.array(z, np.float32)
        found[f"gusts {name} cost"] = np.array([costs(each[None], judged, starts)[0] for each in z], np.float32)
        print(name, found[f"gusts {name} cost"].round(2), flush=True)
    return found


#: Of the house's simple MPC: theta at first, how far it is searched, and bounds (C, R, back_off, v_T, gain).
FIRST, SPREAD = np.array([12.0, 6.0, 0.0, 0.0, 1.0]), np.array([5.0, 1.0, 0.2, 0.5, 0.4])
LOWER, UPPER = np.array([1.5, 2.0, -0.5, -1.0, 0.0]), np.array([30.0, 12.0, 1.0, 1.5, 3.0])
#: Days of the training: three by their number, for a search; a hundred, for what learns while it acts.
TRAINED, MET = [11, 12, 13], range(1000, 1100)


def house_cost(mpc, plant, numbers, steps):
    """Return the function (z, rng) -> J a day of each z (n, 5), in the weather of `numbers`, of so many `steps`.

    `mpc` and `plant` are the house's.
    """
    starts, noise = plant.starts(numbers), plant.draw(0, len(numbers), steps)

    def of_one(z):
        theta = np.append(np.clip(z, LOWER, UPPER), 0.0)
        return plant.bill(run(rowwise(lambda s: mpc.policy(theta, s).u0), plant, starts, noise)).J.mean()

    return lambda z, rng=None: np.array([of_one(each) for each in z])


def house() -> dict:
    """Return theta of the simple MPC: by the cross-entropy method, perturbed parameters and Q-learning; J held out."""
    day, days = HomeParameters(days=1), HomeParameters()
    mpc, held = home_mpc(True, plant=day), house_cost(home_mpc(True), days, range(101, 111), 2 * DAY)
    train, discounted = house_cost(mpc, day, TRAINED, DAY), home_mpc(True, plant=day, discount=0.99)
    scale = np.append(SPREAD, 2.0)

    def normalised(theta, td, g):
        step = td * scale**2 * g / ((scale * g) @ (scale * g) + 1e-2)
        return np.clip(theta + 0.2 * step, np.append(LOWER, -50.0), np.append(UPPER, 50.0))

    kinds = {
        "cross-entropy": (
            lambda rng: CrossEntropy(train, FIRST, SPREAD, rng, population=9, elite=3),
            [0, 5],
            lambda learner: np.clip(learner.mu, LOWER, UPPER),
        ),
        "perturbed": (
            lambda rng: Perturbation(train, FIRST, 0.3 * SPREAD, rng, pairs=3, lower=LOWER, upper=UPPER),
            [0, 7],
            lambda learner: learner.theta,
        ),
        "Q-learning": (
            lambda rng: QLearning(discounted, Home(day, DAY, numbers=MET), rng, gradient=HomeSolution.gradient,
                                  update=normalised, hessian="none"),
            [0, 3000],
            lambda learner: learner.theta[:5],
        ),
    }  # fmt: skip
    found = {"house initial": np.array(held(FIRST[None])[0], np.float32)}
    for name, (make, steps, learned) in kinds.items():
        found |= trained(f"house {name}", make, steps, lambda learner, of=learned: held(of(learner)[None])[0], learned)
    return found


def smoothed() -> dict:
    """Return theta by the policy gradient through the simple MPC, smoothed by curvature: an LP has no slope."""
    day, days = HomeParameters(days=1), HomeParameters()
    held, mpc = house_cost(home_mpc(True), days, range(101, 111), 2 * DAY), home_mpc(True, plant=day, discount=0.99,
                                                                                     curvature=0.03)  # fmt: skip

    def make(rng):
        return PolicyGradient(
            mpc, Home(day, DAY, numbers=MET), rng, length=DAY, step_size=0.1, noise=0.05, regularisation=1e-3,
            largest=1.0, scale=np.append(SPREAD, 1.0), features=home.value_features,
            lower=np.append(LOWER, -50.0), upper=np.append(UPPER, 50.0),
        )  # fmt: skip

    return trained("smoothed policy gradient", make, [0, 15 * DAY], lambda learner: held(learner.theta[None, :5])[0],
                   lambda learner: learner.theta[:5])  # fmt: skip


PARTS = {
    "gradients": gradients,
    "layer": layer,
    "gusts": gusts,
    "searched": searched,
    "house": house,
    "smoothed": smoothed,
}


#: The parts that are made unless others are named.
SHIPPED = ["gradients", "layer", "searched", "house"]


def main(names):
    """Make the parts by their `names`, and write the file."""
    for name in names:
        made = PARTS[name]()
        held = {}
        if FILE.exists():
            with np.load(FILE) as file:
                held = dict(file)
        np.savez_compressed(FILE, **(held | made))


if __name__ == "__main__":
    main(sys.argv[1:] or SHIPPED)
