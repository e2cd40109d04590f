"""Lecture 11: what messages are worth to areas of the power system that learn, by the strength of their tie lines.

Run it with `python mpcrl_course/data/make_11_ties.py [FOLDER]` (some ten minutes of processor time); FOLDER keeps
each run, so that it may be stopped and taken up again. The tie lines of the plant, and the wrong ideas that areas have
of them at first, are 1 to 4 times the published ones. By first-order Q-learning with the published settings
(`mpcrl_course.reproduce.power`) the areas learn

    plans    with plans that they have agreed on, and the sum of their TD errors
    nothing  with nothing that is sent: neighbours' angles are taken to be 0, and each has its own TD error

and then all meet the same 50 episodes of noise, greedily. Plans are agreed on as by ADMM that has arrived: from one
central solve, for speed (power_11.npz has the published 50 iterations). They are compared with the least cost that we
know how to reach at the same tie lines, `centre`: one MPC of all areas, with the plant's exact model and the back-offs
that cost least on other noise. It writes ties_11.npz: ``factor`` (n,); ``back_off`` (n, 2, areas) of the centre's lower
and upper limits; and of 'centre', 'true' (nothing learned, the true tie lines, with plans), 'initial' (nothing learned,
the wrong ones, with plans), 'silent' (the same with nothing that is sent), 'hand' (that with one back-off of the lower
limits of areas 3 and 4, ``by_hand`` (n,), set by hand on the other noise), and of the learners

``<name>_cost`` (n, seeds or 1, episodes)      cost of an episode; nan if learning was given up
``<name>_violated`` (n, seeds or 1, episodes)  its steps that end with an angle beyond its limit
``<name>_theta`` (n, 122)                      of the learners only: what the first seed has learned
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs.power import ANGLE_LIMIT, N_X, TRUE, PowerSystem
from mpcrl_course.learners.behaviour import exponential, perturbed_cost
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.mpc import MPC
from mpcrl_course.network import Central, line, mixing_matrix
from mpcrl_course.problems.power import WRONG, joint_mpc, power_mpc
from mpcrl_course.reproduce.power import DECAY, EPISODES, LENGTH, RHO, STEP_SIZE

FACTORS, SEEDS = (1, 2, 3, 4), 5
LEARNERS = ("plans", "nothing")
#: Noise of the evaluation, and of the choice of back-offs: seed and episodes.
EVALUATION, CHOICE = (2024, 50), (7, 12)
#: Back-offs that are tried (rad).
GRID, BY_HAND = np.arange(0.0, 0.09, 0.02), np.arange(0.0, 0.17, 0.04)


class Own(DistributedQLearning):
    """Q-learning of areas that send nothing: each takes its own TD error for all of it."""

    def agree(self, terms):
        """Return every area's own of the terms."""
        return np.array(terms)


def learner(name: str, factor: float, seed: int) -> DistributedQLearning:
    """Return one of the `LEARNERS` by `name`, with the published settings; tie lines by a `factor`, and a `seed`."""
    network = power_mpc(ties=factor * WRONG, told=name == "plans")
    return (Own if name == "nothing" else DistributedQLearning)(
        Central(network, RHO),
        PowerSystem(TRUE.stronger(factor), steps=LENGTH),
        np.random.default_rng(seed),
        P=None if name == "nothing" else mixing_matrix(4, line(4)),
        order=1,
        step_size=exponential(STEP_SIZE, DECAY),
        every=LENGTH,
        replay=(3 * LENGTH, 3 * LENGTH // 2, LENGTH),
        behaviour=perturbed_cost(exponential(0.5, 0.8, every=LENGTH), 0.04),
    )


def evaluate(mpc: MPC, theta, factor: float, seed: int, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost of each episode under an MPC, and its steps beyond a limit, shape (episodes,).

    `mpc` has the parameters theta, tie lines are `factor` times the published ones, `seed` is that of the noise.
    """
    system = TRUE.stronger(factor)
    noise = system.draw(seed, episodes, LENGTH)
    found = run(rowwise(lambda s: mpc.V(theta, s).u0), system, np.zeros((episodes, system.n_states)), noise)
    return found.cost.sum(axis=0), (np.abs(found.x[1:, :, ::N_X]) > ANGLE_LIMIT).any(axis=2).sum(axis=0)


def centre(factor: float) -> tuple[MPC, np.ndarray, np.ndarray]:
    """Return the MPC of all areas that knows the plant, its parameters, and its back-offs (2, areas).

    The back-offs are chosen one after the other, twice around, by their cost on noise of their own; `factor` is that
    of the tie lines.
    """
    mpc, back_off = MPC(joint_mpc(TRUE.stronger(factor))), np.zeros(8)

    def theta(back_off):
        return mpc.parameters.pack(angle_lb=back_off[:4], angle_ub=-back_off[4:])

    def cost(back_off):
        return evaluate(mpc, theta(back_off), factor, *CHOICE)[0].mean()

    for _ in range(2):
        for j in range(8):
            tried = [np.where(np.arange(8) == j, d, back_off) for d in GRID]
            back_off = min(tried, key=cost)
    return mpc, theta(back_off), back_off.reshape(2, 4)


def known(folder: Path, name: str, make) -> dict[str, np.ndarray]:
    """Return what is kept of `name` in the folder; what `make` returns, and keep it, if it is not there yet."""
    path = folder / f"{name}.npz"
    if not path.exists():
        np.savez_compressed(folder / "unfinished.npz", **make())
        (folder / "unfinished.npz").rename(path)
    with np.load(path) as file:
        return dict(file)


def learned(name: str, factor: float, seed: int) -> dict[str, np.ndarray]:
    """Let areas learn, and evaluate what they have learned; name, factor and seed as in `learner`."""
    one = learner(name, factor, seed).run(LENGTH * EPISODES, progress=False)
    mpc, theta = one.controller.network, one.theta
    cost, violated = np.full(EVALUATION[1], np.nan), np.full(EVALUATION[1], LENGTH)
    if one.log.steps == LENGTH * EPISODES:
        cost, violated = evaluate(Central(mpc).mpc, theta, factor, *EVALUATION)
    return {"cost": cost, "violated": violated, "theta": theta}


def not_learned(name: str, factor: float) -> dict[str, np.ndarray]:
    """Evaluate the centre, or areas that have not learned, by `name`; `factor` is that of the tie lines."""
    if name == "centre":
        mpc, theta, back_off = centre(factor)
    else:
        ties = TRUE.stronger(factor).ties() if name == "true" else factor * WRONG
        network = power_mpc(ties=ties, told=name not in ("silent", "hand"))
        mpc, theta, back_off = Central(network).mpc, network.parameters.initial(), np.zeros((2, 4))
        if name == "hand":
            tried = [network.parameters.pack(angle_lb_3=d, angle_lb_4=d) for d in BY_HAND]
            theta = min(tried, key=lambda theta: evaluate(mpc, theta, factor, *CHOICE)[0].mean())
            back_off[0, 2:] = network.parameters.unpack(theta).angle_lb_4
    cost, violated = evaluate(mpc, theta, factor, *EVALUATION)
    return {"cost": cost, "violated": violated, "back_off": back_off}


def main():
    """Do what is missing, and write ties_11.npz beside this file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else places.course_folder() / "reproduction" / "ties"
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, list] = {"factor": list(FACTORS), "back_off": []}
    rest = ("centre", "true", "initial", "silent", "hand")
    tasks = [(name, factor, 0) for factor in FACTORS for name in rest]
    tasks += [(name, factor, seed) for seed in range(1, SEEDS + 1) for factor in FACTORS for name in LEARNERS]
    found = {}
    for name, factor, seed in tqdm(tasks, unit="run"):
        found[name, factor, seed] = known(
            folder,
            f"{name}_{factor}_{seed}",
            lambda n=name, f=factor, s=seed: learned(n, f, s) if s else not_learned(n, f),
        )
    arrays["back_off"] = [found["centre", factor, 0]["back_off"] for factor in FACTORS]
    arrays["by_hand"] = [found["hand", factor, 0]["back_off"][0, 3] for factor in FACTORS]
    for name in (*rest, *LEARNERS):
        seeds = range(1, SEEDS + 1) if name in LEARNERS else [0]
        if name in LEARNERS:
            arrays[f"{name}_theta"] = [found[name, factor, 1]["theta"] for factor in FACTORS]
        for what, kind in (("cost", np.float32), ("violated", np.int16)):
            arrays[f"{name}_{what}"] = np.array(
                [[found[name, factor, seed][what] for seed in seeds] for factor in FACTORS], kind
            )
    np.savez_compressed(places.DATA / "ties_11.npz", **{name: np.array(each) for name, each in arrays.items()})


if __name__ == "__main__":
    main()
