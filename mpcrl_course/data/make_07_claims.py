"""What lecture 07's table of claims takes of the house: controllers where nothing of them was learned, or declared.

Run it with `python mpcrl_course/data/make_07_claims.py`, about three minutes of processor time; it needs
learned_07.npz, and writes claims_07.npz. Of the held-out weathers 101 to 110, two days each, it holds J (€ a day):

"PLACE: NAME"     shape (10,), of what was learned with several seeds (5, 10)
"relearned"       theta of the simple MPC by the cross-entropy method with another tariff, shape (5, 5)

Places: nominal; colder, by 6 K; cold start, 18 °C and an empty battery; tariff, whose swing is twice as large. All MPCs
look up the tariff and the forecasts as they are.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

from dataclasses import replace
from time import process_time

import numpy as np

from mpcrl_course import places
from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.data.make_07 import FIRST, LOWER, SEEDS, SPREAD, TRAINED, UPPER, house_cost
from mpcrl_course.envs import HomeParameters
from mpcrl_course.envs.home import DAY
from mpcrl_course.learners import CrossEntropy
from mpcrl_course.policies import Thermostat, proportional
from mpcrl_course.problems.home import home_mpc

HELD_OUT = range(101, 111)
COLD = [18.0, 18.0, 0.0]
SWING = 2.0
PLACES = {"nominal": {}, "colder": {"colder": 6.0}, "cold start": {}, "tariff": {"swing": SWING}}


def bills(controller, plant, start=None) -> np.ndarray:
    """Return J a day of a `controller` in a `plant` in each held-out weather; `start` is (T_i, T_m, E)."""
    starts = plant.starts(HELD_OUT)
    if start is not None:
        starts[:, :3] = start
    return plant.bill(run(controller, plant, starts, plant.draw(0, len(starts), 2 * DAY))).J


def asking(mpc, theta=None):
    """Return the controller that asks an `mpc` with theta (5,), by default its first one."""
    full = mpc.parameters.initial() if theta is None else np.append(np.asarray(theta, float), 0.0)
    return rowwise(lambda s: mpc.policy(full, s).u0)


def relearned() -> np.ndarray:
    """Return theta (5, 5) of five seeds of the search, as in make_07.py, but with the other tariff."""
    day = HomeParameters(days=1, swing=SWING)
    cost = house_cost(home_mpc(True, plant=day), day, TRAINED, DAY)
    found = [
        CrossEntropy(cost, FIRST, SPREAD, np.random.default_rng(seed), population=9, elite=3).run(5, progress=False).mu
        for seed in SEEDS
    ]
    return np.clip(found, LOWER, UPPER)


def main():
    """Measure all, and write the file."""
    with places.data("learned_07.npz") as file:
        learned = {"cross-entropy": file["house cross-entropy learned"], "perturbed": file["house perturbed learned"]}
    began = process_time()
    learned["relearned"] = relearned()
    print("relearned", learned["relearned"].round(2).tolist(), f"{process_time() - began:.0f} s", flush=True)
    found = {"relearned": learned["relearned"].astype(np.float32)}
    for place, changes in PLACES.items():
        plant = replace(HomeParameters(), **changes)
        simple, start = home_mpc(True, plant=plant), COLD if place == "cold start" else None
        rows = {"thermostat": Thermostat(plant), "proportional": proportional(plant=plant),
                "whole": asking(home_mpc(plant=plant)), "initial": asking(simple)}  # fmt: skip
        if place == "nominal":
            rows |= {"perfect": asking(home_mpc(perfect=True)), "hourly": asking(home_mpc(stride=4, horizon=24))}
        measured = {name: bills(controller, plant, start) for name, controller in rows.items()}
        for name, thetas in learned.items():
            if name != "relearned" or place in ("tariff", "nominal"):
                measured[name] = np.array([bills(asking(simple, theta), plant, start) for theta in thetas])
        for name, J in measured.items():
            found[f"{place}: {name}"] = J.astype(np.float32)
            print(place, name, J.mean(axis=-1).round(2), f"{process_time() - began:.0f} s", flush=True)
    np.savez_compressed(places.DATA / "claims_07.npz", **found)


if __name__ == "__main__":
    main()
