"""Exercise 05's table: what the cart-pole's MPC costs with each model of a grid, from twenty starts.

Run it with `python mpcrl_course/data/make_05_models.py`, about a quarter of an hour of processor time. Each entry is a
closed loop of the plant with payload and dry friction (`LADEN`) under the MPC whose model has this mass and this
viscous friction, and all else of which is nominal; all start from the same plan (`comparison.CommonGuess`). The starts
are those of no lecture. It writes models_05.npz: `mass` (12,), `friction` (13,), `cost` and `final` (12, 13, 20), J and
|p_T| of each start.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

from dataclasses import replace

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.envs.cartpole import MODEL
from mpcrl_course.policies.comparison import CommonGuess, hanging_starts, measure
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model

MASS, FRICTION, SEED = np.arange(1, 13) / 10, np.arange(13) / 2, 505


def main():
    """Measure all, and write the file beside this one."""
    mpc, starts = cartpole_mpc(), hanging_starts(20, SEED)
    guess, theta = CommonGuess(mpc), mpc.parameters.initial()
    found = []
    for mass in tqdm(MASS, "masses"):
        for friction in FRICTION:
            model = replace(MODEL, mass=float(mass), friction=float(friction))
            found.append(measure(Receding(mpc, with_model(mpc, theta, model), first=guess), starts=starts))
    cost, final = (np.array([getattr(one, name) for one in found], np.float32) for name in ("cost", "final"))
    shape = len(MASS), len(FRICTION), len(starts)
    np.savez_compressed(places.DATA / "models_05.npz", mass=MASS, friction=FRICTION,
                        cost=cost.reshape(shape), final=final.reshape(shape))  # fmt: skip


if __name__ == "__main__":
    main()
