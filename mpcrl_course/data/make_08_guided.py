"""What lecture 08 shows of DDPG with an expert at hand: demonstrations, guidance, and a teacher that is passed.

Run it with `python mpcrl_course/data/make_08_guided.py` (about five minutes of CPU). It writes guided_08.npz after each
run, and goes on where it was stopped. Of each stage, by row and seed, "STAGE", "STAGE names", "STAGE seconds" (of CPU):

anywhere    the course's own starts, 5000 steps: the actor's mean cost from FIXED_STARTS every 500
hanging     every episode starts hanging, 10 000 steps of the plant, those of the demonstrations included: the cost of
            each episode while learning (50), the share of the expert in it (50), the actor's cost every 1000 (10)
passed      as anywhere, with the demonstrations of a short-sighted teacher (N = 5), 8000 steps
clone       the cost of a clone of these demonstrations

and the mean costs of value iteration and of the teachers, by their names: from FIXED_STARTS and from hanging, 10 s
each, and from the hanging starts of make_08.py, 5 s.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

from collections.abc import Callable
from functools import cache, partial
from time import process_time

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.data.make_08 import STARTS
from mpcrl_course.dp.pendulum import FIXED_STARTS, evaluate, pendulum_value_iteration
from mpcrl_course.envs.pendulum import Pendulum
from mpcrl_course.learners import DDPG, Demonstrated, Guided, Pupil, clone, transitions
from mpcrl_course.learners.ddpg import pendulum_policy
from mpcrl_course.learners.guided import angle_and_velocity
from mpcrl_course.policies import Receding, pendulum_expert
from mpcrl_course.problems import pendulum_mpc

SEEDS = 5
HANGING = np.array([[np.pi, 0.0], [np.pi - 0.1, 0.0], [np.pi + 0.1, 0.0]])  # the actor alone is evaluated from these
EPISODE, STEPS, SHOWN = 200, 10_000, 2000
TEACHERS: dict[str, Callable] = {
    "memoryless": pendulum_expert,
    "warm": lambda: Receding(pendulum_mpc()),
    "short-sighted": lambda: pendulum_expert(pendulum_mpc(horizon=5)),
}


def falling(k: int) -> float:
    """Return the probability of the expert at step k: from 1 to 0 over 5000 steps."""
    return max(0.0, 1.0 - k / 5000)


def first(k: int) -> float:
    """Return the probability of the expert at step k: 1 in the first `SHOWN`, then 0."""
    return float(k < SHOWN)


@cache
def shown_anywhere(seed: int, who: str):
    """Return 6000 transitions of the teacher `who`: 60 runs of 5 s from the course's own starts; `seed` draws them."""
    return transitions(Pendulum(steps=100), TEACHERS[who](), 6000, np.random.default_rng([seed, 8]))


def demonstrated(seed: int, who: str = "warm", **options) -> Demonstrated:
    """Return the learner of a `seed` that has `shown_anywhere` by the teacher `who`; `options` are its own."""
    return Demonstrated(Pendulum(), np.random.default_rng(seed), shown_anywhere(seed, who), **options)


def shown_hanging(seed: int, **options) -> Demonstrated:
    """Return a learner, from hanging, that has `SHOWN` steps of the expert; `seed` and `options` are its own."""
    rng, plants = np.random.default_rng(seed), [Pendulum(start=HANGING[0]) for _ in range(2)]
    return Demonstrated(plants[0], rng, transitions(plants[1], pendulum_expert(), SHOWN, rng), **options)


def guided(seed: int, **options) -> Guided:
    """Return a guided learner whose episodes start hanging; `seed` and `options` are its own."""
    return Guided(Pendulum(start=HANGING[0]), np.random.default_rng(seed), pendulum_expert(), **options)


def plain(seed: int, start=None) -> DDPG:
    """Return DDPG as it is, of a `seed`, with episodes from `start`."""
    return DDPG(Pendulum(start=start), np.random.default_rng(seed))


def cloned(seed: int) -> Pupil:
    """Return a clone of what the short-sighted teacher shows to this `seed`."""
    s, a, *_ = shown_anywhere(seed, "short-sighted")
    return clone(np.array([angle_and_velocity(row) for row in s]), a, np.random.default_rng(seed))


OFFLINE = {"offline": 2000, "warm_up": 0}
#: Of each stage the rows, seed -> learner.
ROWS: dict[str, dict[str, Callable]] = {
    "anywhere": {
        "plain": plain,
        "in replay only": demonstrated,
        "offline first": partial(demonstrated, **OFFLINE),
        "offline first, memoryless teacher": partial(demonstrated, who="memoryless", **OFFLINE),
    },
    "hanging": {
        "plain": partial(plain, start=HANGING[0]),
        "in replay only": shown_hanging,
        "offline first": partial(shown_hanging, **OFFLINE),
        "expert first": partial(guided, use=first),
        "fixed schedule": partial(guided, use=falling),
        "skip policy": guided,
        "skip policy, never alone": partial(guided, alone=0),
    },
    "passed": {
        "plain": plain,
        "in replay only": partial(demonstrated, who="short-sighted"),
        "offline first": partial(demonstrated, who="short-sighted", **OFFLINE),
    },
    "clone": {"clone": cloned},
}


def anywhere(learner, steps: int = 5000) -> np.ndarray:
    """Return the actor's mean cost from FIXED_STARTS after the first and every 500 of the `steps` of a `learner`."""
    costs = []
    for k in range(0, steps + 1, 500):
        learner.run(max(k, 1), progress=False)
        costs.append(evaluate(pendulum_policy(learner.agent)).mean())
    return np.array(costs)


def from_hanging(learner) -> np.ndarray:
    """Return, of a `learner`: costs of its episodes, shares of the expert in them, its costs every 1000 steps."""
    before = SHOWN if isinstance(learner, Demonstrated) else 0
    costs, alone = [], []
    if before:
        shown = learner.demonstrations.columns
        costs = list(shown["cost"][:, 0].astype(float).reshape(-1, EPISODE).sum(axis=1))
        alone = [np.nan] * (before // 1000)
    for k in range(1000, STEPS - before + 1, 1000):
        learner.run(k, progress=False)
        alone.append(evaluate(pendulum_policy(learner.agent), starts=HANGING).mean())
    by_expert = learner.decisions.expert if isinstance(learner, Guided) else np.zeros(learner.k)
    shares = np.append(np.ones(len(costs)), by_expert.reshape(-1, EPISODE).mean(axis=1))
    costs = np.append(costs, learner.log.episodes()[1])
    return np.concatenate([costs, shares, alone])


#: Of each stage, what is measured, and how many numbers that are.
MEASURED: dict[str, tuple[Callable, int]] = {
    "anywhere": (anywhere, 11),
    "hanging": (from_hanging, 2 * STEPS // EPISODE + STEPS // 1000),
    "passed": (partial(anywhere, steps=8000), 17),
    "clone": (lambda pupil: evaluate(pupil).mean(), 1),
}


def references() -> dict[str, np.ndarray]:
    """Return mean costs (3,) of value iteration and of the teachers: see the head of this file."""
    controllers = {"value iteration": pendulum_value_iteration(tolerance=0.01).policy}
    controllers |= {who: make() for who, make in TEACHERS.items()}
    where = ((FIXED_STARTS, EPISODE), (HANGING, EPISODE), (STARTS["nominal"], 100))
    return {who: np.array([evaluate(u, starts=starts, steps=steps).mean() for starts, steps in where])
            for who, u in controllers.items()}  # fmt: skip


def main():
    """Run what is missing in guided_08.npz."""
    path = places.DATA / "guided_08.npz"
    found = {}
    if path.exists():
        with np.load(path) as file:
            found = dict(file)
    for stage, rows in ROWS.items():
        if f"{stage} names" not in found or list(found[f"{stage} names"]) != list(rows):
            found[f"{stage} names"] = np.array(list(rows))
            found[stage] = np.full((len(rows), SEEDS, MEASURED[stage][1]), np.nan, np.float32)
            found[f"{stage} seconds"] = np.full((len(rows), SEEDS), np.nan, np.float32)
    jobs = [(seed, stage, i) for seed in range(SEEDS) for stage, rows in ROWS.items() for i in range(len(rows))]
    for seed, stage, i in tqdm(jobs, "runs"):
        if np.isfinite(found[f"{stage} seconds"][i, seed]):
            continue
        began = process_time()
        found[stage][i, seed] = MEASURED[stage][0](list(ROWS[stage].values())[i](seed))
        found[f"{stage} seconds"][i, seed] = process_time() - began
        np.savez_compressed(path, **found)
    np.savez_compressed(path, **found | references())


if __name__ == "__main__":
    main()
