"""What lecture 10 measures and what takes longer than a lecture: drivers, their filter, learners behind filters.

Run it with `python mpcrl_course/data/make_10.py` (about twenty minutes on one core); `… make_10.py safe filter` makes
only these parts anew, and keeps the rest of the file. Parts:

    safe       Q-learning on the linear plant, free and behind `Clip`
    gradient   the policy gradient in its place
    critic     the local critic in its place
    filter     the racing car's filter around a random driver, by episode
    stages     laps of the driving MPC behind filters of other horizons
    outer      the speed that a short-sighted MPC is asked for, learned by trial
    tracker    the numbers of a tracker, learned by trial on a car that the plans' model does not know
    driver …   DDPG drivers, free and behind the filter, each seen with it and without: a part for each of `DRIVERS`
"""

import sys
from functools import cache, partial

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs import Filtered, LinearParameters, LinearPlant, Race, RaceParameters, Scaled, linear, race
from mpcrl_course.envs.race import CAR, LENGTH, LOWER, MAX_SPEED, UPPER, WIDTH
from mpcrl_course.learners import DDPG, CrossEntropy, LocalCritic, PolicyGradient, QLearning
from mpcrl_course.learners.trained import race_policy
from mpcrl_course.policies import (
    Clip,
    Filter,
    Hierarchical,
    RaceSafety,
    Receding,
    ReferenceGenerator,
    speed_ahead,
    tracker,
)
from mpcrl_course.policies.race_filter import STATUSES, changed
from mpcrl_course.policies.reference_generator import BY_HAND
from mpcrl_course.problems.linear import linear_mpc
from mpcrl_course.problems.race import race_mpc, safety_mpc

FILE = "racing_10.npz"
#: Who learns behind the linear plant's filter: the learner, seeds, steps, and the steps of an episode.
LINEAR = {
    "safe": (QLearning, 10, 5000, None),
    "gradient": (PolicyGradient, 5, 5000, 100),
    "critic": (partial(LocalCritic, every=300, step_size=0.3, limit=0.1), 5, 3000, None),
}
#: What is learned behind the linear plant's filter: which action is stored, and the price of a change.
STORED = {"free": None, "applied": ("applied", 0.0), "raw": ("raw", 0.0), "priced": ("raw", 1.0)}
EPISODES, EPISODE = 60, 100
LESS_GRIP, LESS_GAIN = RaceParameters(grip=0.85 * CAR.grip), RaceParameters(gain=0.85)
#: Plant, and options of the filter (None: there is none).
FILTERS = {
    "none": (CAR, None),
    "nominal": (CAR, {}),
    "two iterations": (CAR, {"iterations": 2}),
    "fifty stages": (CAR, {"horizon": 50}),
    "live": (CAR, {"live": True}),
    "less grip": (LESS_GRIP, {}),
    "less grip, tightened": (LESS_GRIP, {"model": RaceParameters(grip=0.82 * CAR.grip), "track": WIDTH - 0.2}),
    "less gain": (LESS_GAIN, {}),
    "less gain, tightened": (LESS_GAIN, {"track": WIDTH - 0.5}),
}
STAGES = (0, 30, 40, 50, 60)
START = [[0.0, 0.0, 0.0, 5.0]]
OUTER_SEEDS, OUTER_STEPS, OUTER_START = 5, 430, (1.4, 2.0)
TRACKER_SEEDS, TRACKER_STEPS, EVERY = 3, 400, 10
DRIVER_SEEDS, DRIVER_STEPS = 5, 10_000
#: How drivers are trained: which action is stored, and the price of a change.
DRIVERS = {
    "free": None,
    "applied": ("applied", 0.0),
    "applied, priced": ("applied", 0.1),
    "raw": ("raw", 0.0),
    "raw, priced": ("raw", 0.1),
}


# ---- safe learning on the linear plant


def greedy(theta, clip=None):
    """Return the mean cost of 3 x 1000 greedy steps of the MPC with theta, and the share that the clip changed."""
    plant = LinearParameters()
    policy = Receding(linear_mpc(), theta)
    found = run(Filter(policy, clip) if clip else policy, plant, [linear.START] * 3, plant.draw(123, 3, 1000))
    return found.cost.mean(), (found.status == "clipped").mean()


def safe(part):
    """Return what the learner of a `part` in `LINEAR` violates, costs (with the price, if any) and learns, by seed."""
    (kind, seeds, steps, episode), clip, found = LINEAR[part], Clip(), {}
    for name, how in STORED.items():
        rows = []
        for seed in tqdm(range(seeds), f"{part}, {name}"):
            plant = LinearPlant(steps=episode)
            env = Filtered(plant, clip, *how) if how else plant
            learner = kind(linear_mpc(), env, np.random.default_rng(seed)).run(steps, progress=False)
            violated = (learner.log.x[:, 0] < -1e-9).sum()
            filtered, share = greedy(learner.theta, clip)
            alone, _ = greedy(learner.theta)
            rows.append((violated, learner.log.cost.mean(), filtered, share, alone, learner.theta))
        for what, values in zip(("violated", "cost", "filtered", "changed", "alone", "theta"), zip(*rows, strict=True)):
            found[f"{part} {name} {what}"] = np.array(values, np.float32)
    return found


# ---- the filter around a random driver


class Random:
    """An untrained driver: uniform inputs held for half a second, with more gas than brake.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.reset()

    def reset(self):
        """Begin again."""
        self.rng, self.k = np.random.default_rng(self.seed), 0

    def __call__(self, y):
        """Return inputs (n, 2) for y (n, 4)."""
        if self.k % 10 == 0:
            self.u = self.rng.uniform([-2.0, LOWER[1]], UPPER, (len(y), 2))
        self.k += 1
        return self.u


def certifiable(safety, n, seed):
    """Return n random states, drawn with a seed, from which braking is certified by `safety`."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        x = rng.uniform([0.0, -2.3, -0.4, 0.0], [LENGTH, 2.3, 0.4, MAX_SPEED])
        if safety.certified(safety.stop(x)[0]):
            found.append(x)
    return np.array(found)


@cache
def problem(horizon):
    """Return the safety MPC of a horizon, made once."""
    return safety_mpc(horizon=horizon)


def filters():
    """Return, for each row of `FILTERS`, what happened in each of 60 episodes."""
    found = {}
    for name, (plant, options) in tqdm(FILTERS.items(), "filters"):
        safety = RaceSafety(**(options or {}), mpc=problem((options or {}).get("horizon", 40)))
        driver = Random(0)
        starts = certifiable(safety, EPISODES, 0)
        runs = run(Filter(driver, safety) if options is not None else driver, plant, starts,
                   plant.draw(0, EPISODES, EPISODE))  # fmt: skip
        found |= {
            f"filter {name} outside": (np.abs(runs.x[:, :, 1]) > WIDTH).sum(axis=0).astype(np.int16),
            f"filter {name} ended": runs.ended.astype(np.int16),
            f"filter {name} metres": (runs.x[-1, :, 0] - runs.x[0, :, 0]).astype(np.float32),
            f"filter {name} standing": runs.x[-1, :, 3] < 0.05,
            f"filter {name} said": np.array([(runs.status == word).sum() for word in STATUSES]),
        }
    return found


def stages():
    """Return two laps of the driving MPC behind filters of other horizons (0: none): times, statuses, most of |n|."""
    rows, said = [], []
    for N in tqdm(STAGES, "stages"):
        driver = Receding(race_mpc())
        controller = Filter(driver, RaceSafety(horizon=N, mpc=problem(N))) if N else driver
        found = run(controller, CAR, START, CAR.draw(0, 1, 800 if N != 30 else 1000))
        rows.append([*race.lap_times(found.x[:, 0, 0])[:2], np.abs(found.x[:, 0, 1]).max()])
        said.append([(found.status == word).sum() for word in STATUSES])
    return {"stages laps": np.array(rows, np.float32), "stages said": np.array(said)}


# ---- MPC as part of the environment, and a tracker


def lap(controller, plant, steps):
    """Return J of so many steps of a controller on a plant, and the run; an early end costs what it saves."""
    found = run(controller, plant, START, plant.draw(0, 1, steps))
    saved = (steps - 1 - found.ended[0]) * (found.ended[0] < steps)
    return found.cost.sum() + MAX_SPEED * race.DT * saved, found


def summary(found):
    """Return of a run, `found`, the first lap's time (nan without one), the steps outside, and the steps made."""
    n = min(found.ended[0] + 1, len(found.x) - 1)
    times = race.lap_times(found.x[: n + 1, 0, 0])
    return [times[0] if len(times) else np.nan, (np.abs(found.x[: n + 1, 0, 1]) > WIDTH).sum(), n]


def outer():
    """Return what the cross-entropy method finds for the two numbers of `speed_ahead`, from two that crash.

    It pays 5 for each step outside, beside the cost of the metres: none is to be left.
    """
    mpc, rows = race_mpc(horizon=15), []

    def drive(z):
        w, ahead = np.exp(z)
        J, found = lap(Hierarchical(mpc, speed_ahead(w, min(ahead, LENGTH))), CAR, OUTER_STEPS)
        return J + 5.0 * summary(found)[1], found

    for seed in tqdm(range(OUTER_SEEDS), "outer"):
        learner = CrossEntropy(lambda z, rng: [drive(each)[0] for each in z], np.log(OUTER_START), [0.3, 0.7],
                               np.random.default_rng(seed), population=8, elite=3).run(8, progress=False)  # fmt: skip
        best = learner.log.mu[learner.log.of_mean.argmin()]  # nothing is random: the best mean that was tried
        rows.append((np.exp(best), learner.log.of_mean, summary(drive(best)[1])))
    numbers, history, laps = (np.array(part) for part in zip(*rows, strict=True))
    first = np.array(summary(drive(np.log(OUTER_START))[1]), np.float32)
    return {"outer numbers": numbers, "outer of_mean": history.astype(np.float32), "outer lap": laps.astype(np.float32),
            "outer first": first}  # fmt: skip


def trackers():
    """Return what the cross-entropy method finds for `tracker` on a car of less steering gain, from the one by hand."""
    mpc, rows = race_mpc(), []
    theta = mpc.parameters.pack(mpc.parameters.initial(), track=2.2)

    def drive(z, plant=LESS_GAIN):
        return lap(ReferenceGenerator(mpc, theta, every=EVERY, tracker=tracker(z)), plant, TRACKER_STEPS)

    for seed in tqdm(range(TRACKER_SEEDS), "trackers"):
        learner = CrossEntropy(lambda z, rng: [drive(each)[0] for each in z], BY_HAND, 0.3 * BY_HAND,
                               np.random.default_rng(seed), population=8, elite=3).run(6, progress=False)  # fmt: skip
        rows.append((learner.mu, learner.log.of_mean))
    z, history = (np.array(part) for part in zip(*rows, strict=True))
    found = {"tracker z": z, "tracker of_mean": history.astype(np.float32)}
    for name, plant in (("less gain", LESS_GAIN), ("right", CAR)):  # the first row of each is the tracker by hand
        runs = [drive(each, plant) for each in (BY_HAND, *z)]
        found[f"tracker {name}"] = np.array([[*summary(made), J] for J, made in runs], np.float32)
    return found


# ---- drivers


def driven(agent, safety):
    """Return what the agent does in 10 runs of 300 steps, with the filter `safety` or (None) without.

    Outside (runs), crashed (runs), metres a second, the share of changed inputs, standing at the end (runs).
    """
    rng, wanted, drive = np.random.default_rng(7), [], race_policy(agent)
    starts = np.array([race.random_start(rng) for _ in range(10)])

    def watched(y):
        wanted.append(drive(y))
        return wanted[-1]

    found = run(Filter(watched, safety) if safety else watched, CAR, starts, CAR.draw(0, 10, 300))
    steps = np.minimum(found.ended + 1, 300)
    on = np.arange(len(wanted))[:, None] < steps
    share = changed(found.u[: len(wanted)][on], np.array(wanted)[on]).mean()
    metres = (found.x[-1, :, 0] - found.x[0, :, 0]).sum() / (race.DT * steps.sum())
    outside = (np.abs(found.x[:, :, 1]) > WIDTH).any(axis=0)
    return [outside.sum(), (found.ended < 300).sum(), metres, share, (found.x[-1, :, 3] < 0.05).sum()]


def drivers(name):
    """Return what DDPG learns, by seed, in the way of a `name` in `DRIVERS`; the actor of the first seed."""
    how, safety, rows = DRIVERS[name], RaceSafety(mpc=problem(40)), []
    starts = lambda x: safety.certified(safety.stop(x)[0])  # noqa: E731
    noise = lambda k: 0.3 * max(0.2, 1.0 - k / (0.8 * DRIVER_STEPS))  # noqa: E731
    for seed in tqdm(range(DRIVER_SEEDS), f"drivers, {name}"):
        words = []
        env = Scaled(Filtered(Race(), safety, *how, start=starts) if how else Race())
        learner = DDPG(env, np.random.default_rng(seed), warm_up=1000, gamma=0.98, noise=noise)
        learner.run(DRIVER_STEPS, progress=False, on_step=lambda k, _, words=words: words.append(safety.status))
        log, agent = learner.log, learner.agent
        refused = np.array([how is not None and word not in ([], ["passed"]) for word in words])  # [] after a restart
        crashes = (np.diff(np.flatnonzero(np.append(1, log.ended))) < 200).sum()
        outside = (np.abs(log.s[:, 0]) > 1.0).sum() + crashes  # n / 2.5 is seen first; where it crashed, it is not
        history = [series.reshape(-1, 500).mean(axis=1) for series in (log.cost, refused)]
        rows.append((outside, crashes, *history, driven(agent, None), driven(agent, safety), agent.actor.theta))
    columns = list(zip(*rows, strict=True))
    names = ("outside", "crashes", "cost", "refused", "alone", "filtered")
    found = {
        f"driver {name} {what}": np.array(values, np.float32) for what, values in zip(names, columns, strict=False)
    }
    return found | {f"driver {name} actor": columns[-1][0].astype(np.float32)}


PARTS = {part: partial(safe, part) for part in LINEAR}
PARTS |= {"filter": filters, "stages": stages, "outer": outer, "tracker": trackers}
PARTS |= {f"driver {name}": partial(drivers, name) for name in DRIVERS}


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
        arrays = {name: array for name, array in arrays.items() if not name.startswith(f"{part} ")} | PARTS[part]()
        np.savez_compressed(places.DATA / FILE, **arrays)


if __name__ == "__main__":
    main(sys.argv[1:] or [*PARTS])
