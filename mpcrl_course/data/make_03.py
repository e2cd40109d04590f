"""DDPG on the torque-limited pendulum: ten seeds with the course's settings, and with one of them changed at a time.

Run it with `python mpcrl_course/data/make_03.py` (about six minutes on two cores that do nothing else). Each run is
measured every 1000 steps on the hundred fixed starts, without exploration noise.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the seeds run in parallel


import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.dp.pendulum import FIXED_STARTS, pendulum_value_iteration, simulate
from mpcrl_course.envs.pendulum import Pendulum, observation, wrap
from mpcrl_course.learners.ddpg import DDPG, pendulum_policy

SEEDS, STEPS, EVERY, GAMMA = 10, 20_000, 1000, 0.98
SHORT = {"episode": 20}
SETTINGS = {
    "as taught": {},
    "no target networks": {"tau": 1.0},
    "τ = 0.001": {"tau": 0.001},
    "τ = 0.05": {"tau": 0.05},
    "both learning rates 1e-3": {"actor_rate": 1e-3, "critic_rate": 1e-3},
    "both learning rates 3e-4": {"actor_rate": 3e-4, "critic_rate": 3e-4},
    "both learning rates 1e-2": {"actor_rate": 1e-2, "critic_rate": 1e-2},
    "no exploration noise": {"noise": 0.0},
    "noise 0.6": {"noise": 0.6},
    "replay of the last 500": {"memory": 500},
    "current actor in the target": {"next_action": "current"},
    "episodes of 20 steps": SHORT,
    "episodes of 20 steps, truncation masked": SHORT | {"mask_truncation": True},
}


def measure(policy):
    """Return of 10 s from each fixed start: mean cost, mean discounted cost, share upright at the end.

    The policy is a controller: states (n, 2) to torques (n, 1).
    """
    run = simulate(policy)
    discounted = GAMMA ** np.arange(len(run.cost)) @ run.cost
    upright = np.abs(wrap(run.x[-1, :, 0])) < 0.2
    return run.cost.sum(0).mean(), discounted.mean(), upright.mean()


def train(seed: int, episode: int = 200, **options):
    """Learn from one seed; return the measurements, shape (STEPS / EVERY, 4).

    The columns are `measure`'s, and last what the critic believes: its mean Q(s, mu(s)) over the starts. An `episode`
    has so many steps; `options` are those of `DDPG`.
    """
    rows = []

    def look(k, learner):
        if (k + 1) % EVERY == 0:
            agent = learner.agent
            s = observation(FIXED_STARTS)
            rows.append([*measure(pendulum_policy(agent)), agent.value(s, agent.policy(s)).mean()])

    rng = np.random.default_rng(seed)
    DDPG(Pendulum(steps=episode), rng, gamma=GAMMA, **options).run(STEPS, on_step=look, progress=False)
    return np.array(rows)


def main():
    """Run everything and write ddpg_03.npz beside this file."""
    jobs = [(seed, options) for options in SETTINGS.values() for seed in range(SEEDS)]
    runs = Parallel(n_jobs=-1, return_as="generator")(delayed(train)(seed, **options) for seed, options in jobs)
    results = list(tqdm(runs, total=len(jobs), desc="runs"))
    table = np.array(results).reshape(len(SETTINGS), SEEDS, STEPS // EVERY, 4)
    np.savez_compressed(
        places.DATA / "ddpg_03.npz",
        settings=np.array(list(SETTINGS)),
        steps=EVERY * np.arange(1, STEPS // EVERY + 1),
        **{n: table[..., i].astype(np.float32) for i, n in enumerate(("cost", "discounted", "upright", "believed"))},
        yardstick=np.array(measure(pendulum_value_iteration(201, 201, 21).policy)),
    )


if __name__ == "__main__":
    main()
