"""What lecture 09 shows of a hundred seeds: blended critics on LQR, and DDPG with a blended target.

Run it with `python mpcrl_course/data/make_09.py` (about three minutes of CPU).
"""

from time import process_time

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs import LinearEpisodes, LinearParameters, linear
from mpcrl_course.learners.blended import BlendedIteration
from mpcrl_course.learners.blended_target import BlendedDDPG
from mpcrl_course.learners.ddpg import DDPG
from mpcrl_course.problems import linear_mpc, quadratic

BIASES, SEEDS, ITERATIONS = (0.0, 0.5, 1.0, 1.5, 2.0), 100, 6
#: Transitions of the six iterations, 360 in all, as beta = 0.7^j falls.
GROWING = tuple(20 * max(1, round(1.05 / 0.7**j)) for j in range(ITERATIONS))


def falling(j: int) -> float:
    """Return beta of iteration j, 0.7^j."""
    return 0.7**j


#: The rows of the sweep: what makes each a `BlendedIteration`. First the fixed shares, then the schedules.
SWEEP = {
    **{f"β = {beta}": {"beta": beta} for beta in (0.0, 0.25, 0.5, 0.75, 1.0)},
    "β = 0.7ʲ": {"beta": falling},
    "β = 0.7ʲ, M grows": {"beta": falling, "M": lambda j: GROWING[j]},
    **{f"λ = {lam}": {"beta": lam, "lengths": 10} for lam in (0.5, 0.8, 0.9, 1.0)},
    "λ = 0.9ʲ": {"beta": lambda j: 0.9**j, "lengths": 10},
    "β = 0, ridge 1e-4, M = 200": {"beta": 0.0, "ridge": 1e-4, "M": 200},
    "β = 0, M = 200": {"beta": 0.0, "M": 200},
}

STEPS, EVERY, NETWORKS = 5000, 100, 10


def half(k: int) -> float:
    """Return the share of Q^MPC at step k, which falls from 1 to 0 over half of the steps."""
    return max(0.0, 1.0 - k / 2500)


#: The rows of the networks: whose MPC, and the share of its Q.
TARGETS = {
    "β = 0": ("none", 0.0),
    "β = 0.5, wrong model": ("wrong", 0.5),
    "β = 1, wrong model": ("wrong", 1.0),
    "β falls, wrong model": ("wrong", half),
    "β = 0.5, true model": ("true", 0.5),
    "β = 1, true model": ("true", 1.0),
    "β falls, true model": ("true", half),
}


def thetas() -> dict[str, np.ndarray]:
    """Return theta of the MPC of lecture 06: its first model, and the true one with a back-off."""
    parameters = linear_mpc().parameters
    true = parameters.pack(A=linear.A, B=linear.B, b=[-0.05, 0.0], x_lb=[0.05, 0.0])
    return {"wrong": parameters.initial(), "true": true}


def roll_out(policy) -> float:
    """Return the mean cost of a policy, x (n, 2) to u (n, 1), over five runs of 100 steps, the same for all."""
    plant = LinearParameters()
    try:
        return float(run(policy, plant, [linear.START] * 5, plant.draw(10**6, 5, 100)).cost.sum(0).mean())
    except ValueError:  # it grows beyond all floats
        return np.inf


def network(seed: int, whose: str, beta):
    """Return the costs of the policy of every hundredth step, and the CPU time of learning in s.

    `seed` is that of the run, `whose` the model of the MPC ('none': plain DDPG), `beta` the share of its Q.
    """
    options = {"warm_up": 200, "gamma": linear.DISCOUNT, "huber": 1.0, "noise": 0.2}
    env, rng, costs, seconds = LinearEpisodes(), np.random.default_rng(seed), [], 0.0
    if whose == "none":
        learner = DDPG(env, rng, **options)
    else:
        state = {"state": lambda s: s / LinearEpisodes.SCALE}
        learner = BlendedDDPG(env, rng, linear_mpc(), thetas()[whose], beta=beta, **state, **options)
    slow = learner.agent.target_actor
    for steps in range(EVERY, STEPS + 1, EVERY):
        began = process_time()
        learner.run(steps, progress=False)
        seconds += process_time() - began
        costs.append(roll_out(lambda x: slow((LinearEpisodes.SCALE * x).astype(np.float32)).astype(float)))
    return costs, seconds


def main():
    """Run all and write critic_09.npz beside this file."""
    arrays = {"names": np.array(list(SWEEP)), "biases": np.array(BIASES), "targets": np.array(list(TARGETS))}
    ratio = np.full((len(SWEEP), len(BIASES), SEEDS), np.inf, np.float32)
    for i, options in enumerate(tqdm(SWEEP.values(), "blends")):
        for j, bias in enumerate(BIASES):
            mpc, phi = quadratic.biased(bias)
            for seed in range(SEEDS):
                learner = BlendedIteration(mpc, phi, np.random.default_rng(seed), **options)
                log = learner.run(ITERATIONS, progress=False).log
                ratio[i, j, seed] = log.ratio[-1]
    jobs = [(row, seed) for row in TARGETS.values() for seed in range(NETWORKS)]
    found = [network(seed, *row) for row, seed in tqdm(jobs, "networks")]
    costs = np.array([cost for cost, _ in found], np.float32).reshape(len(TARGETS), NETWORKS, -1)
    seconds = np.array([s for _, s in found], np.float32).reshape(len(TARGETS), NETWORKS)
    alone = {f"alone_{name}": np.array(_mpc_alone(theta)) for name, theta in thetas().items()}
    arrays |= {"ratio": ratio, "costs": costs, "seconds": seconds, **alone}
    np.savez_compressed(places.DATA / "critic_09.npz", **arrays)


def _mpc_alone(theta) -> float:
    mpc = linear_mpc()
    return roll_out(lambda x: mpc.values(theta, x)[1])


if __name__ == "__main__":
    main()
