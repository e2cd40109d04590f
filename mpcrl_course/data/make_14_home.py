"""The house of lecture 14 under rules, a linear, a mixed-integer and a two-stage stochastic program, two days each.

Run it with `python mpcrl_course/data/make_14_home.py`, about four minutes of processor time. It writes home_14.npz, one
row after the other, and goes on where it was stopped: "NAME money, discomfort, J", a number a weather (€ and K h a
day), "NAME starts", how often a day the heat pump starts, and of programs "NAME gap", the mean and the largest
distance in € between a plan's cost and what is proved of the least one.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.home import DAY, NOMINAL
from mpcrl_course.policies.house import Programmed, Switched, Thermostat, by_tariff
from mpcrl_course.problems.home_program import HomeProgram

FILE = places.DATA / "home_14.npz"
#: Weathers that nothing was chosen on.
NUMBERS = range(101, 107)
RUN_TIME = 4


def modulating(forecasts=1, decided=0, every=1, **options):
    """Return a linear program as a controller that plans `every` so many steps.

    With several `forecasts` the first `decided` steps are stage one; `options` are those of `HomeProgram`.
    """
    return Programmed(HomeProgram(decided=decided, on_off=False, forecasts=forecasts, **options), every)


ROWS = {
    "thermostat": Thermostat,
    "by tariff": by_tariff,
    "LP": modulating,
    "LP hourly": lambda: modulating(every=4),
    "LP hourly, perfect": lambda: modulating(every=4, perfect=True),
    "two-stage hourly": lambda: modulating(forecasts=8, decided=4, every=4),
    "LP switched": lambda: Switched(modulating(), run_time=RUN_TIME),
    "MILP": lambda: Programmed(HomeProgram(decided=8, run_time=RUN_TIME), 1),
}


def main():
    """Make what the file does not have yet."""
    starts, noise = NOMINAL.starts(NUMBERS), NOMINAL.draw(0, len(NUMBERS), 2 * DAY)
    found = dict(np.load(FILE)) if FILE.exists() else {}
    for name, make in tqdm(ROWS.items()):
        if f"{name} J" in found:
            continue
        controller = make()
        runs = run(controller, NOMINAL, starts, noise)
        on = runs.u[:, :, 0] > 0.5 * NOMINAL.limit[0]
        found |= {f"{name} {what}": values for what, values in NOMINAL.bill(runs)._asdict().items()}
        found[f"{name} starts"] = (on[1:] & ~on[:-1]).sum(axis=0) / (len(on) / DAY)
        program = getattr(controller, "controller", controller)
        if isinstance(program, Programmed):
            found[f"{name} gap"] = np.array([np.mean(program.gaps), np.max(program.gaps)])
        np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
