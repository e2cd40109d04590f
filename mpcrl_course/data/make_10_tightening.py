"""Exercise 10's table: what a filter that is told less grip or a narrower track lets through, and what it costs.

Run it with `python mpcrl_course/data/make_10_tightening.py`, about four minutes of processor time. On wet days the car
has one of the grips `WET`, and nobody tells the filter: the random driver of lecture 10 makes 30 episodes of 5 s on
each, from starts which the strictest filter of the grid can certify. On dry days the driving MPC makes a lap behind
the same filter. It writes tightening_10.npz: `grip` (7,), `track` (4,), what the filter is told; `outside` (7, 4, 2,
30), steps beyond 2.5 m in each episode; `lap` (7, 4), s (nan: no lap within 24 s), and `lap_outside` (7, 4), steps.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

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
SEED, EPISODES, EPISODE, LAP = 1010, 30, 100, 480


def told(grip, track, mpc):
    """Return a filter that is told this grip and this half width of the track."""
    return RaceSafety(model=RaceParameters(grip=float(grip)), track=float(track), mpc=mpc)


def starts(mpc, n=EPISODES, seed=SEED):
    """Return n starts from which the strictest filter of the grid can stop."""
    return certifiable(told(GRIP[0], TRACK[0], mpc), n, seed)


def outside(safety, grip, x, seed=SEED):
    """Return the steps beyond the edge of each episode of the random driver, from starts x (n, 4), with this grip."""
    plant = RaceParameters(grip=float(grip))
    found = run(Filter(Random(seed), safety), plant, x, plant.draw(seed, len(x), EPISODE))
    return (np.abs(found.x[:, :, 1]) > WIDTH).sum(axis=0)


def lap(safety, driver):
    """Return the time of a lap of the driver behind the filter on a dry day, and its steps beyond the edge."""
    found = run(Filter(driver, safety), CAR, START, CAR.draw(0, 1, LAP))
    times = race.lap_times(found.x[:, 0, 0])
    return (times[0] if len(times) else np.nan), (np.abs(found.x[:, 0, 1]) > WIDTH).sum()


def main():
    """Measure all, and write the file beside this one."""
    mpc, driver = safety_mpc(), Receding(race_mpc())
    x, shape = starts(mpc), (len(GRIP), len(TRACK))
    beyond, laps = np.zeros((*shape, len(WET), EPISODES), np.int16), np.zeros((*shape, 2), np.float32)
    for i, grip in enumerate(tqdm(GRIP, "grips told")):
        for j, track in enumerate(TRACK):
            safety = told(grip, track, mpc)
            beyond[i, j] = [outside(safety, wet, x) for wet in WET]
            laps[i, j] = lap(safety, driver)
        np.savez_compressed(places.DATA / "tightening_10.npz", grip=GRIP, track=TRACK, outside=beyond,
                            lap=laps[..., 0], lap_outside=laps[..., 1].astype(np.int16))  # fmt: skip


if __name__ == "__main__":
    main()
