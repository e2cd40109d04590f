"""First plans and swing-ups of the nominal cart-pole, for lecture 05's live picture, which opens without ipopt.

Run it with `python mpcrl_course/data/make_05_plans.py` (ten seconds). It writes plans_05.npz: `plan_x` (n, 41, 4) and
`plan_u` (n, 40, 1), the nominal MPC's first plans from the first `hanging_starts`; `run_x` (121, n, 4) and `run_u`
(120, n, 1), its closed loops on its own model from other starts.
"""

import numpy as np

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import MODEL
from mpcrl_course.policies.comparison import CommonGuess, hanging_starts
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc

STARTS, OTHERS, STEPS = 8, 12, 120


def main():
    """Plan, run, and write plans_05.npz beside this file."""
    mpc = cartpole_mpc()
    guess = CommonGuess(mpc)
    x, u = (np.array(part) for part in zip(*(guess.plan(s) for s in hanging_starts(STARTS)), strict=True))
    runs = run(Receding(mpc, first=guess), MODEL, hanging_starts(OTHERS, 177), MODEL.draw(0, OTHERS, STEPS))
    arrays = {"run_x": runs.x.astype(np.float32), "run_u": runs.u.astype(np.float32)}
    np.savez_compressed(places.DATA / "plans_05.npz", plan_x=x, plan_u=u, **arrays)


if __name__ == "__main__":
    main()
