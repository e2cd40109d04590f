"""What 500 labels are worth to a small pupil of the pendulum's MPC, by the states that get them: exercise 08, item 6.

Run it with `python mpcrl_course/data/make_08_states.py` (about three minutes of CPU). It writes states_08.npz: "names"
of the ways to choose states, "costs" (ways, 20): mean over 1000 fresh starts of what each data set's pupil costs, and
"states" (ways, 500, 2): of each way the data set in the middle, by its cost.
"""

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, observation, wrap
from mpcrl_course.learners.imitation import hanging
from mpcrl_course.learners.regression import LastLayer
from mpcrl_course.policies import pendulum_expert

SETS, STARTS, STEPS = 20, 1000, 100
expert = pendulum_expert()


def teacher(x):
    """Return the labels (n, 1) of states x (n, 2)."""
    return np.clip(expert(x), NOMINAL.input_lower, NOMINAL.input_upper)


def pupil_of(x, u):
    """Return the pupil of labels u (M, 1) of states x (M, 2)."""
    return LastLayer(x, u, lambda x: observation(x) / [1.0, 1.0, 3.0])


def anywhere(rng, n):
    """Draw n starts (n, 2) with rng."""
    return rng.uniform([-np.pi, -1.0], [np.pi, 1.0], (n, 2))


def drive(controller, starts):
    """Return the run of a controller from starts (n, 2)."""
    return run(controller, NOMINAL, starts, NOMINAL.draw(0, len(starts), STEPS))


def grid(rng):
    """Return a grid of all angles, |v| up to 6 rad/s; rng is not needed."""
    q, v = np.meshgrid(np.linspace(-np.pi, np.pi, 25, endpoint=False), np.linspace(-6.0, 6.0, 20))
    return np.column_stack([q.ravel(), v.ravel()])


def random(rng):
    """Return states at random (by rng), all angles, |v| up to 6 rad/s."""
    return rng.uniform([-np.pi, -6.0], [np.pi, 6.0], (500, 2))


def own_hanging(rng):
    """Return the states of five runs of the teacher that start hanging; rng draws the starts."""
    return drive(teacher, hanging(rng, 5)).x[:-1].reshape(-1, 2)


def own(rng, count: int = 500, runs: int = 10):
    """Return `count` states of so many runs of the teacher from anywhere, chosen with rng."""
    return rng.permutation(drive(teacher, anywhere(rng, runs)).x[:-1].reshape(-1, 2))[:count]


def mirrored(x):
    """Return states x and their mirror images."""
    return np.concatenate([x, -x])


def beside(rng):
    """Return states beside the teacher's, drawn with rng, and their mirror images."""
    return mirrored(own(rng, 250) + [0.1, 0.3] * rng.normal(size=(250, 2)))


def asked(rng, mirror: bool = True):
    """Return DAgger's states: ten rounds, one run each with mirror images, or two without; rng draws the starts."""
    X, U, driver = np.empty((0, 2)), np.empty((0, 1)), teacher
    for _ in range(10):
        x = drive(driver, anywhere(rng, 1 if mirror else 2)).x[:-1:4].reshape(-1, 2)
        x = mirrored(x) if mirror else x
        X, U = np.concatenate([X, x]), np.concatenate([U, teacher(x)])
        driver = pupil_of(X, U)
    return X


WAYS = {
    "grid": grid,
    "at random": random,
    "teacher's own, hanging": own_hanging,
    "teacher's own": own,
    "teacher's own, mirrored": lambda rng: mirrored(own(rng, 250)),
    "beside the teacher's, mirrored": beside,
    "DAgger": lambda rng: asked(rng, mirror=False),
    "DAgger, mirrored": asked,
}


def main():
    """Run all and write states_08.npz beside this file."""
    costs, states = np.zeros((len(WAYS), SETS), np.float32), np.zeros((len(WAYS), SETS, 500, 2), np.float32)
    for way, make in enumerate(tqdm(WAYS.values(), "ways")):
        for seed in range(SETS):
            x = make(np.random.default_rng(seed))
            x[:, 0] = wrap(x[:, 0])
            states[way, seed] = x
            starts = anywhere(np.random.default_rng([seed, 8]), STARTS)
            costs[way, seed] = drive(pupil_of(x, teacher(x)), starts).cost.sum(axis=0).mean()
    middle = np.argsort(costs, axis=1)[:, SETS // 2]
    found = {"names": np.array(list(WAYS)), "costs": costs, "states": states[np.arange(len(WAYS)), middle]}
    np.savez_compressed(places.DATA / "states_08.npz", **found)


if __name__ == "__main__":
    main()
