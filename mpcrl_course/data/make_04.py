"""What lecture 04 compares, five seeds of everything: networks trained, and closed loops measured.

Run it with `python mpcrl_course/data/make_04.py` (about a quarter of an hour on two cores that do nothing else). With a
seed change the network, the starts and the noise; all controllers of a seed get the same starts and the same noise.
It writes agents_04.npz (weights, in half precision) and versus_04.npz (costs, violations, uprights).
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the seeds run in parallel

import sys
import time

import numpy as np
from joblib import Parallel, delayed

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.dp.pendulum import FIXED_STARTS
from mpcrl_course.envs.pendulum import NOMINAL, Pendulum, PendulumParameters, upright, violations
from mpcrl_course.envs.random_pendulum import RandomMass
from mpcrl_course.learners.constrained import PrimalDual
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, pendulum_policy
from mpcrl_course.learners.trained import trained_policies
from mpcrl_course.policies import back_off, filters
from mpcrl_course.policies.observer import AngleOnly
from mpcrl_course.policies.receding import Receding
from mpcrl_course.policies.scenario import mass_scenarios
from mpcrl_course.problems.pendulum import pendulum_mpc, with_model

SEEDS, STEPS, HORIZON, LIMIT = 5, 20_000, 80, 6.0
HEAVY = PendulumParameters(mass=1.4)
MASSES = np.array([0.4, 0.55, 0.7, 1.0, 1.3, 1.5, 1.75, 2.0])
LEARNED = {"nominal": {}, "randomised": {}, "identified": {}, "penalty 3": {"rate": 0.0, "multiplier": 3.0},
           "penalty 300": {"rate": 0.0, "multiplier": 300.0}, "primal-dual": {}}  # fmt: skip


def excess(s):
    """Return by how much the speed in the observation s exceeds the limit, rad/s."""
    return max(0.0, abs(s[2]) - LIMIT)


def curve(plant, agent, rng, every=1000):
    """Train `agent` on a plant and return the mean cost of forty starts after every 1000 steps, and the seconds.

    `rng` is that of the learner; another `every` measures more or less often.
    """
    costs, noise = [], NOMINAL.draw(0, 40, 200)

    def look(k, learner):
        if (k + 1) % every == 0:
            costs.append(run(pendulum_policy(agent), plant, FIXED_STARTS[:40], noise).cost.sum(0).mean())

    learner = DDPG(Pendulum(plant), rng, agent).run(STEPS, on_step=look, progress=False)
    return np.array(costs), learner.log.seconds


def train(kind, seed):
    """Return what a training of a kind, one of `LEARNED`, with a seed gives.

    By name: weights of actor (and critic), and what was measured meanwhile.
    """
    rng, options = np.random.default_rng(seed), LEARNED.get(kind, {})
    began = time.perf_counter()
    if kind == "nominal":
        learner = DDPG(Pendulum(), rng).run(STEPS, progress=False)
        agent, more = learner.agent, {"critic": learner.agent.critic.theta, "seconds": learner.log.seconds}
        old = agent.actor.theta.copy(), agent.critic.theta.copy()
        more["adapting"], more["adapting_seconds"] = curve(HEAVY, agent, rng)
        agent.actor.theta[:], agent.critic.theta[:] = old
        more["scratch"], _ = curve(HEAVY, ActorCritic(3, [-2], [2], rng), rng)
        return {"actor": agent.actor.theta, **more}
    if kind in ("randomised", "identified"):
        learner = DDPG(RandomMass(identify=kind == "identified"), rng).run(STEPS, progress=False)
        return {"actor": learner.agent.actor.theta, "seconds": learner.log.seconds}
    learner = PrimalDual(Pendulum(), rng, excess, budget=0.002, **options).run(STEPS, progress=False)
    history = learner.history()
    more = {"seconds": time.perf_counter() - began, "multipliers": history.multiplier, "training": history.violation}
    return {"actor": learner.agent.actor.theta, **more}


def starts_of(seed, n):
    """Return n starts of a seed: angle anywhere, velocity in [-1, 1] rad/s."""
    return np.random.default_rng([4, seed]).uniform([-np.pi, -1], [np.pi, 1], (n, 2))


def measured(controller, plant, starts, noise):
    """Return of each run: cost, whether it ended upright, share of steps beyond the speed limit, shape (3, n).

    The controller drives the plant (`PendulumParameters`) from `starts` (n, 2), with `noise` as drawn by `draw`.
    """
    found = run(controller, plant, starts, noise)
    return np.array([found.cost.sum(0), upright(found.x), violations(found.x, LIMIT)])


def compare(agents, seed):
    """Return all measurements of a seed, by name: shape (controllers, …).

    `agents` is what agents_04.npz holds, by name.
    """
    learned, results = trained_policies(agents, seed), {}
    mpc = Receding(pendulum_mpc(horizon=HORIZON))
    fast = Receding(pendulum_mpc(horizon=HORIZON, max_speed=LIMIT))
    told = Receding(mpc.mpc)
    pair = {"MPC": mpc, "DDPG": learned["nominal"]}

    # uncertainty: quiet, rough, and with rare kicks
    starts = starts_of(seed, 30)
    rough = PendulumParameters(process_noise=0.3, measurement_noise=0.01)
    rare = NOMINAL.draw(seed, 30, 200, kick_probability=0.004, kick=6.0)
    for name, plant, noise in (("quiet", PendulumParameters(), NOMINAL.draw(seed, 30, 200)),
                               ("rough", rough, NOMINAL.draw(seed, 30, 200)), ("rare", rough, rare)):  # fmt: skip
        results[name] = [measured(c, plant, starts, noise) for c in pair.values()]

    # stability: a grid of states; generalisation: faster starts than in training
    q, v = np.meshgrid(np.linspace(-np.pi, np.pi, 13), np.linspace(-8, 8, 9))
    grid = np.stack([q.ravel(), v.ravel()], axis=-1)
    both = pair if seed == 0 else {"DDPG": pair["DDPG"]}  # the MPC knows no seed
    results["grid"] = [measured(c, PendulumParameters(), grid, NOMINAL.draw(0, len(grid), 200)) for c in both.values()]
    fast_starts = np.random.default_rng([5, seed]).uniform([-np.pi, 4], [np.pi, 8], (20, 2))
    fast_starts[:, 1] *= np.random.default_rng([6, seed]).choice([-1, 1], 20)
    results["outside"] = [measured(c, NOMINAL, fast_starts, NOMINAL.draw(0, 20, 200)) for c in pair.values()]

    # only the angle is measured, with an error
    starts, noise = starts_of(seed, 8), NOMINAL.draw(seed, 8, 200)
    blurred = PendulumParameters(measurement_noise=0.02)
    results["seen"] = [measured(c, blurred, starts, noise) for ways in (
        pair.values(), [AngleOnly(c) for c in pair.values()], [AngleOnly(c, None) for c in pair.values()]
    ) for c in ways]  # fmt: skip

    # the heavy pendulum of `curve`, for the MPC, which knows no seed: as it was, and told
    if seed == 0:
        told.theta = with_model(told.mpc, told.theta, HEAVY)
        results["heavy"] = [measured(c, HEAVY, FIXED_STARTS[:40], NOMINAL.draw(0, 40, 200)) for c in (mpc, told)]

    # a wrong mass, from fewer starts: it is eight plants and six controllers
    scenario = mass_scenarios()
    table = []
    for mass in MASSES:
        plant = PendulumParameters(mass=mass)
        told.theta = with_model(told.mpc, told.theta, plant)
        row = (mpc, told, scenario, learned["nominal"], learned["randomised"], learned["identified"])
        table.append([measured(c, plant, starts[:5], NOMINAL.draw(0, 5, 200)) for c in row])
    results["mass"] = np.array(table)

    # a speed limit, with noise of two kinds of the same variance
    rough = PendulumParameters(process_noise=0.5)
    sigma = back_off.speed_deviation(rough)
    heavy = noise._replace(torque=np.random.default_rng([7, seed]).standard_t(3, (200, 8)) / np.sqrt(3))
    backs = (0.0, back_off.chance_back_off(sigma), back_off.robust_back_off(sigma))
    limited = [lambda b=b: Receding(fast.mpc, fast.mpc.parameters.pack(back_off=b)) for b in backs]
    base = learned["nominal"]
    limited += [lambda kind=kind: learned[kind] for kind in ("nominal", "penalty 3", "penalty 300", "primal-dual")]
    limited += [lambda k=k: filters.barrier_filter(base, LIMIT, k) for k in (1.0, 0.3, 0.1)]
    limited += [lambda: filters.predictive_filter(base, LIMIT),
                lambda: filters.predictive_filter(base, LIMIT - back_off.robust_back_off(sigma))]  # fmt: skip
    results["limit"] = [[measured(c(), plant, starts, n) for c in limited]
                        for plant, n in ((PendulumParameters(), noise), (rough, noise), (rough, heavy))]  # fmt: skip
    return {name: np.array(values) for name, values in results.items()}


def main(parts):
    """Train (unless only 'compare' is asked), compare, and write the files beside this one.

    `parts` are those that are asked for: 'train', 'compare' or both.
    """
    pool = Parallel(n_jobs=2)
    if "train" in parts:
        jobs = [(kind, seed) for kind in LEARNED for seed in range(SEEDS)]
        found = pool(delayed(train)(*job) for job in jobs)
        agents = {}
        for (kind, _), result in zip(jobs, found, strict=True):
            for name, value in result.items():
                agents.setdefault(f"{kind} {name}", []).append(value)
        np.savez_compressed(places.DATA / "agents_04.npz", **{
            name: np.array(rows, dtype=np.float16 if name.endswith(("actor", "critic")) else np.float32)
            for name, rows in agents.items()})  # fmt: skip
    if "compare" in parts:
        with np.load(places.DATA / "agents_04.npz") as file:
            agents = dict(file)
        found = pool(delayed(compare)(agents, seed) for seed in range(SEEDS))
        heavy = found[0].pop("heavy")
        tables = {name: [f[name] for f in found] for name in found[0]} | {"heavy": heavy}
        grid = tables.pop("grid")
        tables["grid MPC"], tables["grid DDPG"] = grid[0][0], [g[-1] for g in grid]
        np.savez_compressed(
            places.DATA / "versus_04.npz", masses=MASSES, **{n: np.array(t, np.float32) for n, t in tables.items()}
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ("train", "compare"))
