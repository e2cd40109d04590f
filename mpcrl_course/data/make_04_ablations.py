"""Why a little noise turns lecture 04's order around: networks trained with less and more noise, MPCs with a margin.

Run it with `python mpcrl_course/data/make_04_ablations.py` (some ten minutes on two cores); it writes ablations_04.npz:
the networks' weights, and cost and uprights of every controller in three worlds, shape (seeds, worlds, controllers,
(cost, upright, violations), runs). Starts and noise of a seed are the same for all.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the seeds run in parallel

import numpy as np
from joblib import Parallel, delayed
from make_04 import HEAVY, HORIZON, SEEDS, STEPS, measured, starts_of

from mpcrl_course import places
from mpcrl_course.envs.pendulum import NOMINAL, Pendulum, PendulumParameters
from mpcrl_course.learners.ddpg import DDPG
from mpcrl_course.learners.trained import trained_policies
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.pendulum import pendulum_mpc

#: Exploration noise while training, a share of the torque limit; 0.2 (0.4 N m) is as taught, and was trained before.
NOISE = {"explored 0": 0.0, "nominal": 0.2, "explored 0.8": 0.4}
#: By so much less torque than the motor has, the MPC plans and acts.
MARGINS = (0.0, 0.1, 0.2, 0.3)
WORLDS = {"quiet": PendulumParameters(), "rough": PendulumParameters(process_noise=0.3, measurement_noise=0.01),
          "1.4 kg": HEAVY}  # fmt: skip
RUNS = 8


def train(kind: str, seed: int) -> np.ndarray:
    """Return the actor's weights after lecture 03's training with the exploration noise of a `kind` and a `seed`."""
    return DDPG(Pendulum(), np.random.default_rng(seed), noise=NOISE[kind]).run(STEPS, progress=False).agent.actor.theta


def compare(agents, seed: int) -> np.ndarray:
    """Return what is measured in each world with a `seed`; `agents` are the weights by name."""
    policies = trained_policies(agents, seed)
    margins = [
        pendulum_mpc(PendulumParameters(max_torque=(1 - share) * NOMINAL.max_torque), HORIZON) for share in MARGINS
    ]
    controllers = [*(Receding(mpc) for mpc in margins), *(policies[kind] for kind in NOISE)]
    starts, noise = starts_of(seed, RUNS), NOMINAL.draw(seed, RUNS, 200)
    return np.array([[measured(c, plant, starts, noise) for c in controllers] for plant in WORLDS.values()])


def main() -> None:
    """Train, compare, and write the file beside this one."""
    pool = Parallel(n_jobs=int(os.environ.get("JOBS", "2")))
    new = [kind for kind in NOISE if kind != "nominal"]
    jobs = [(kind, seed) for kind in new for seed in range(SEEDS)]
    weights = pool(delayed(train)(*job) for job in jobs)
    agents = {f"{kind} actor": np.array([w for (k, _), w in zip(jobs, weights, strict=True) if k == kind], np.float16)
              for kind in new}  # fmt: skip
    with places.data("agents_04.npz") as file:
        both = agents | {"nominal actor": file["nominal actor"]}
    found = np.array(pool(delayed(compare)(both, seed) for seed in range(SEEDS)), np.float32)
    names = [f"MPC, margin {share:.0%}" if share else "MPC" for share in MARGINS]
    names += ["DDPG, no exploration noise", "DDPG, 0.4 N m (as taught)", "DDPG, 0.8 N m"]
    np.savez_compressed(places.DATA / "ablations_04.npz", names=names, worlds=list(WORLDS), found=found, **agents)


if __name__ == "__main__":
    main()
