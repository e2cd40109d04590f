"""Exercise 10's tables: what a filter that is told less grip or a narrower track lets through, and where cars stand.

Run it with `python mpcrl_course/data/make_10_tightening.py`, about five minutes of processor time; with the name of a
part it makes only that one anew. It writes tightening_10.npz. Parts:

    tightening   on wet days the car has one of the grips `WET`, and nobody tells the filter: the random driver of
                 lecture 10 makes 30 episodes of 5 s on each, from starts which the strictest filter of the grid can
                 certify; on dry days the driving MPC makes a lap behind the same filter. `grip` (7,), `track` (4,),
                 what the filter is told; `outside` (7, 4, 2, 30), steps beyond 2.5 m in each episode; `lap` (7, 4), s
                 (0: no lap within 24 s), and `lap_outside` (7, 4), steps
    stood        where cars stand after 60 episodes of the random driver behind a filter of `STANDING`, and how far the
                 driving MPC behind the same filter moves each of them in 5 s: `NAME x` (k, 4), `NAME metres` (k,),
                 `NAME outside`, steps
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import sys

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.data.make_10 import START, Random, certifiable
from mpcrl_course.envs import RaceParameters, race
from mpcrl_course.envs.race import CAR, WIDTH
from mpcrl_course.policies import Filter, RaceSafety, Receding
from mpcrl_course.problems.race import race_mpc, safety_mpc

GRIP = np.round(np.arange(5.6, 8.01, 0.4), 1)
TRACK = np.round(np.arange(1.3, 2.51, 0.4), 1)
WET = (6.4, 7.2)
#: Filters behind which cars may be left standing.
STANDING = {
    "nominal": {},
    "five iterations": {"iterations": 5},
    "fifty stages": {"horizon": 50},
    "live": {"live": True},
}
FILE = "tightening_10.npz"
SEED, EPISODES, EPISODE, LAP = 1010, 30, 100, 480


def told(grip, track, mpc):
    """Return a filter that is told this `grip` and this half width of the `track`; `mpc` is its safety MPC."""
    return RaceSafety(model=RaceParameters(grip=float(grip)), track=float(track), mpc=mpc)


def starts(mpc, n=EPISODES, seed=SEED):
    """Return n starts, drawn with a `seed`, from which the strictest filter of the grid, with its `mpc`, can stop."""
    return certifiable(told(GRIP[0], TRACK[0], mpc), n, seed)


def outside(safety, grip, x, seed=SEED):
    """Return the steps beyond the edge of each episode behind `safety`, with this `grip`, from starts x (n, 4).

    The random driver is drawn with `seed`.
    """
    plant = RaceParameters(grip=float(grip))
    found = run(Filter(Random(seed), safety), plant, x, plant.draw(seed, len(x), EPISODE))
    return (np.abs(found.x[:, :, 1]) > WIDTH).sum(axis=0)


def lap(safety, driver):
    """Return the time of a lap of the driver behind the filter `safety` on a dry day, and its steps beyond the edge."""
    found = run(Filter(driver, safety), CAR, START, CAR.draw(0, 1, LAP))
    times = race.lap_times(found.x[:, 0, 0])
    return (times[0] if len(times) else 0.0), (np.abs(found.x[:, 0, 1]) > WIDTH).sum()


def tightening():
    """Return the table of what a filter is told."""
    mpc, driver = safety_mpc(), Receding(race_mpc())
    x, shape = starts(mpc), (len(GRIP), len(TRACK))
    beyond, laps = np.zeros((*shape, len(WET), EPISODES), np.int16), np.zeros((*shape, 2), np.float32)
    for i, grip in enumerate(tqdm(GRIP, "grips told")):
        for j, track in enumerate(TRACK):
            safety = told(grip, track, mpc)
            beyond[i, j] = [outside(safety, wet, x) for wet in WET]
            laps[i, j] = lap(safety, driver)
    return {"grip": GRIP, "track": TRACK, "outside": beyond, "lap": laps[..., 0],
            "lap_outside": laps[..., 1].astype(np.int16)}  # fmt: skip


def standing(safety, driver, n=60, seed=0):
    """Return where cars stand after 5 s of the random driver, (k, 4), and how far (m) the driver moves them in 5 s.

    Both are behind the filter `safety`, on a dry day; with `seed` 0 the n starts and inputs are lecture 10's.
    """
    found = run(Filter(Random(seed), safety), CAR, certifiable(safety, n, seed), CAR.draw(seed, n, EPISODE))
    x = found.x[-1][found.x[-1, :, 3] < 0.05]
    on = run(Filter(driver, safety), CAR, x, CAR.draw(seed, len(x), EPISODE))
    return x, on.x[-1, :, 0] - x[:, 0], (np.abs(np.append(found.x, on.x, axis=1)[:, :, 1]) > WIDTH).sum()


def stood():
    """Return, for each row of `STANDING`, where cars stand, how far the driving MPC gets, and steps outside."""
    rows, driver = {}, Receding(race_mpc())
    for name, options in tqdm(STANDING.items(), "standing"):
        x, metres, beyond = standing(RaceSafety(**options), driver)
        rows |= {f"{name} x": x, f"{name} metres": metres.astype(np.float32), f"{name} outside": beyond}
    return rows


PARTS = {"tightening": tightening, "stood": stood}


def main(parts):
    """Make `parts`, and write the file beside this one; what it holds of other parts stays."""
    arrays = {}
    if set(parts) < set(PARTS):
        try:
            with places.data(FILE) as file:
                arrays = dict(file)
        except (OSError, ValueError):  # the first part of all
            pass
    for part in parts:
        arrays |= PARTS[part]()
    np.savez_compressed(places.DATA / FILE, **arrays)


if __name__ == "__main__":
    main(sys.argv[1:] or [*PARTS])
