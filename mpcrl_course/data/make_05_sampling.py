"""What sampling gains from networks, for lecture 05: five trainings of everything, each on the first 20 fixed starts.

Run it with `python mpcrl_course/data/make_05_sampling.py` (about seven minutes on one core). It writes
sampling_05.npz: costs (rows, seeds, starts) as `planned` (the exact model alone), `agents` (with an agent that is half
trained, or trained) and `latent` (in a latent space, and DDPG from the same log), their rows' names as `planned_rows`
and so on; and `spread` (rows, seeds, tens of updates), the standard deviation of z under the consistency loss alone.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

from collections import namedtuple

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.dp.pendulum import FIXED_STARTS, evaluate
from mpcrl_course.envs.pendulum import NOMINAL, Pendulum, dynamics, observation, stage_cost
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, pendulum_policy, pendulum_value
from mpcrl_course.learners.latent import LatentLearning, LatentModel
from mpcrl_course.policies.sampling import MPPI

SEEDS, STARTS = range(5), FIXED_STARTS[:20]
STEPS, TRAINED = (3000, 4000, 5000), 15_000  # of DDPG: half-trained, and trained
UPDATES = 3000
ABLATIONS = {"no stopped gradient": {"stop_gradient": False}, "no slow encoder": {"tau": (1.0, 0.01)},
             "no slow critic": {"tau": (0.01, 1.0)}, "no slow copies": {"tau": 1.0},
             "no consistency loss": {"weights": (0.0, 0.5, 0.1)}}  # fmt: skip
ALONE = {"stopped gradient, slow encoder": {}, "stopped gradient": {"tau": 1.0},
         "no stopped gradient": {"stop_gradient": False}}  # fmt: skip


def costs(controller) -> np.ndarray:
    """Return the cost of 10 s from each start under a controller."""
    return evaluate(controller, starts=STARTS)


def sampled(horizon: int, seed: int, **options):
    """Return MPPI with the exact model; horizon, seed and options are those of `MPPI`."""
    return MPPI(dynamics, stage_cost, -2.0, 2.0, horizon=horizon, seed=seed, **options)


def guided(agent: ActorCritic, seed: int) -> dict[str, np.ndarray]:
    """Return the costs of an `agent`'s actor, and of sampling with its help, with the random numbers of a seed."""
    mu, V, gamma = pendulum_policy(agent), pendulum_value(agent), agent.gamma
    return {"actor alone": costs(mu),
            "H = 5, prior and Q": costs(sampled(5, seed, prior=mu, terminal=V, gamma=gamma)),
            "H = 10, prior and Q": costs(sampled(10, seed, prior=mu, terminal=V, gamma=gamma)),
            "H = 10, Q": costs(sampled(10, seed, terminal=V, gamma=gamma)),
            "H = 10, prior": costs(sampled(10, seed, prior=mu, gamma=gamma))}  # fmt: skip


def random_log(seed: int = 0, runs: int = 1000, steps: int = 20):
    """Return what is seen, torques and costs of `runs` of so many `steps` under random torques, drawn with the seed.

    They start from any angle and |v| <= 7 rad/s: runs from rest would hardly pass the upright.
    """
    rng = np.random.default_rng(seed)
    starts = rng.uniform([-np.pi, -7.0], [np.pi, 7.0], (runs, 2))
    found = run(lambda x: rng.uniform(-2, 2, (len(x), 1)), NOMINAL, starts, NOMINAL.draw(rng, runs, steps))
    return observation(found.x), found.u, found.cost


def own_log(learner: DDPG, episode: int = 200):
    """Return what a `learner` lived through, each `episode` of so many steps, in the form of `random_log`."""
    rows = learner.replay.all()
    s, a, cost, s_next = (
        part.reshape(-1, episode, part.shape[1]).swapaxes(0, 1).astype(float)
        for part in (rows.s, rows.a, rows.cost, rows.s_next)
    )
    return np.concatenate([s, s_next[-1:]]), a, cost[..., 0]


def learned(log, seed: int, updates: int = UPDATES, **options) -> LatentLearning:
    """Return a learner of a latent model after so many `updates` from a log; the seed draws weights and windows.

    The options are those of the model.
    """
    rng = np.random.default_rng(seed)
    model = LatentModel(3, [-2.0], [2.0], rng, scale=[1.0, 1.0, 0.25], cost_scale=0.1, **options)
    return LatentLearning(model, *log, rng).run(updates, progress=False)


def latent(m: LatentModel, seed: int) -> dict[str, np.ndarray]:
    """Return the costs of the actor of a latent model m, and of sampling in its latent space with a seed."""

    def planned(**options):
        return costs(MPPI(m.dynamics, m.cost, -2.0, 2.0, horizon=5, gamma=m.gamma, seed=seed,
                          encode=lambda x: m.encode(observation(x)), **options))  # fmt: skip

    return {"prior and Q": planned(prior=m.policy, terminal=m.value), "Q": planned(terminal=m.value),
            "prior": planned(prior=m.policy), "neither": planned(),
            "actor alone": costs(lambda x: m.policy(m.encode(observation(x))))}  # fmt: skip


def without_a_model(log, seed: int) -> np.ndarray:
    """Return the costs of an actor that DDPG learned from the same log, by as many updates; drawn with a seed."""
    rng = np.random.default_rng(seed)
    agent, (s, a, cost) = ActorCritic(3, [-2.0], [2.0], rng), log
    Batch = namedtuple("Batch", ["s", "a", "cost", "s_next", "terminated"])
    rows = [part.reshape(-1, part.shape[-1]).astype(np.float32) for part in (s[:-1], a, cost[..., None], s[1:])]
    for _ in range(UPDATES):
        i = rng.integers(len(rows[0]), size=64)
        agent.update(Batch(*(part[i] for part in rows), np.zeros((64, 1), np.float32)))
    return costs(pendulum_policy(agent))


def main():
    """Run all seeds and write sampling_05.npz beside this file."""
    log, tables = random_log(), {"planned": {}, "agents": {}, "latent": {}, "spread": {}}

    def keep(table, row, value):
        tables[table].setdefault(row, []).append(value)

    for seed in tqdm(SEEDS, "seeds"):
        for H in (10, 30):
            keep("planned", f"H = {H}", costs(sampled(H, seed)))
        learner = DDPG(Pendulum(), np.random.default_rng(seed))
        for steps in STEPS:
            for row, cost in guided(learner.run(steps, progress=False).agent, seed).items():
                keep("agents", f"{steps} steps: {row}", cost)
        for name, source in (("random log", log), ("DDPG's own log", own_log(learner))):
            for row, cost in latent(learned(source, seed).model, seed).items():
                keep("latent", f"{name}: {row}", cost)
            keep("latent", f"{name}: DDPG from it", without_a_model(source, seed))
        for row, cost in guided(learner.run(TRAINED, progress=False).agent, seed).items():
            keep("agents", f"{TRAINED} steps: {row}", cost)
        for name, options in ABLATIONS.items():
            for row, cost in latent(learned(log, seed, **options).model, seed).items():
                keep("latent", f"{name}: {row}", cost)
        for name, options in ALONE.items():
            found = learned(log, seed, 1500, weights=(2.0, 0.0, 0.0), **options).log.spread
            keep("spread", name, found.reshape(-1, 10).mean(axis=1))
    arrays = {}
    for name, rows in tables.items():
        arrays |= {name: np.array(list(rows.values()), np.float32), f"{name}_rows": np.array(list(rows))}
    np.savez_compressed(places.DATA / "sampling_05.npz", **arrays)


if __name__ == "__main__":
    main()
