"""Lecture 12: what the published learners learn who send nothing, the TD error, C with it, or plans by ADMM, too.

Run it with `python mpcrl_course/data/make_12_rows.py` (about ten minutes of processor time; what is in the file already
is not done again). Learning is the published one: 2000 steps, batches of 15, no safeguard, 100 rounds of
consensus, 100 iterations of ADMM. Three plants:

    published         equal weights omega, coupling -0.1, from the published first guess
    unequal           omega = (0.05, 1, 0.05), else the same
    strong, unequal   also coupling -0.3; agents begin with the true model of their own plant

and of each way to learn an MPC with weights sqrt(omega_i) W_x, sqrt(omega_i) W_u and omega_i w. Agents who send no
plans have A_c = 0 and do not learn it. It writes rows_12.npz: ``best`` (plants,), the mean stage cost of an MPC that
knows the plant, noise as below; and, (plants, ways, seeds), ``numbers`` sent in the last step, ``cost`` of all
steps, ``violated`` (share of these steps beyond a bound), ``td`` (mean |TD| of the last 100), ``lost`` (the step in
which the plant was lost, or 2000), ``greedy`` and ``greedy_violated``, mean stage cost and share of steps of what was
learned at the end, on 4 runs of 200 steps with noise of their own; infinite, or nan, where the plant was lost; and
``done``, which runs there are. On the published plant 'centralised' and 'plans, δ and C' are those of
second_order_12.npz, of which less is kept.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import LOWER, START, UPPER
from mpcrl_course.envs.network import LinearNetwork, NetworkParameters
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.network import ADMM, Central, line, mixing_matrix
from mpcrl_course.policies.communication import true_theta
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.network import network_mpc, weighted

STEPS, SEEDS, ALPHA = 2000, range(1, 11), 1e-4
UNEQUAL = (0.05, 1.0, 0.05)
#: Weights, coupling, and whether agents begin with the true model of their own plant.
PLANTS = {
    "published": ((1.0, 1.0, 1.0), -0.1, False),
    "unequal": (UNEQUAL, -0.1, False),
    "strong, unequal": (UNEQUAL, -0.3, True),
}
P = mixing_matrix(3, line(3), 0.25)
#: Blocks of theta_i but A_c.
OWN = ("V0", "f", "x_lb", "x_ub", "b", "W_x", "W_u", "w", "A", "B")
SILENT = {"own_td": True, "alone": True, "learned": OWN}
WAYS = {
    "nothing": SILENT,
    "δ": {"P": P, "alone": True, "learned": OWN},
    "δ and C": {"P": P, "learned": OWN},
    "centralised": {},
    "nothing, α/3": SILENT | {"step_size": ALPHA / 3},
    "plans, δ and C": {"P": P},
}
#: Ways that are not tried on all plants, and the numbers of those on which they are.
ASKED = {"δ and C": (1, 0, 2), "centralised": (1,), "nothing, α/3": (2,), "plans, δ and C": (1,)}
#: Beyond it the inputs cannot bring a plant back.
REACH = 10.0
EVALUATIONS, LENGTH, NOISE = 4, 200, 777


def first_guess(omega, coupling: float, own_model: bool) -> np.ndarray:
    """Return where learning starts: weights of the MPCs by `omega`, the model of the own plant true if `own_model`.

    The `coupling` counts for an MPC that knows the plant; learners have 0.
    """
    network = network_mpc()
    return weighted(network, omega, true_theta(network, coupling) if own_model else None)


def beyond(x) -> float:
    """Return the share of states x (n, 6) with an agent beyond a bound."""
    agents = np.reshape(x, (-1, 3, 2))
    return float(((agents < LOWER - 1e-9) | (agents > UPPER)).any(axis=(1, 2)).mean())


def evaluate(theta, plant: NetworkParameters) -> tuple[float, float]:
    """Return the mean stage cost of MPCs with `theta` on the `plant`, and how often a bound is broken."""
    noise, start = plant.draw(NOISE, EVALUATIONS, LENGTH), np.tile(START, (EVALUATIONS, 3))
    found = run(Receding(Central(network_mpc()), theta), plant, start, noise)
    if (found.ended < LENGTH).any():
        return np.inf, np.nan
    return float(found.cost.mean()), beyond(found.x[:-1])


def learn(way: str, seed: int, omega, coupling: float, own_model: bool) -> dict[str, float]:
    """Return what is kept of a run: see the module's head.

    `way` is one of `WAYS`; `seed` that of plant and learner; `omega`, `coupling` and `own_model` are those of `PLANTS`.
    """
    plant = NetworkParameters(omega=omega, coupling=coupling, reach=REACH)
    controller = ADMM(network_mpc()) if way == "plans, δ and C" else Central(network_mpc())
    options = {"step_size": ALPHA, "safeguard": False} | WAYS[way]
    env = LinearNetwork(omega=omega, coupling=coupling)
    learner = DistributedQLearning(controller, env, np.random.default_rng(seed),
                                   first_guess(omega, 0.0, own_model), **options)  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore"):  # runs that are lost
        while learner.k < STEPS and not learner.log.stopped and not plant.lost(learner.s):
            learner.step()
    log, kept = learner.log, learner.k == STEPS and not learner.log.stopped
    found = {"lost": learner.k, "violated": beyond(log.x), "cost": log.cost.sum() if kept else np.inf}
    found |= {"td": np.nanmean(np.abs(log.td[-100:])) if kept else np.inf}
    found["greedy"], found["greedy_violated"] = evaluate(learner.theta, plant) if kept else (np.inf, np.nan)
    # a message of ADMM is a copy of a neighbour's x_2 at the stages k < N, of consensus a TD error or a C
    found["numbers"] = log.consensus_numbers[-1] + controller.network.horizon * log.solve_messages[-1]
    return found


def main():
    """Do what is missing, and write rows_12.npz beside this file after every run."""
    path = places.DATA / "rows_12.npz"
    shape = len(PLANTS), len(WAYS), len(SEEDS)
    names = ("cost", "violated", "td", "lost", "greedy", "greedy_violated", "numbers")
    arrays = {name: np.full(shape, np.nan) for name in names} | {"done": np.zeros(shape, bool)}
    if path.exists():
        with np.load(path) as file:
            arrays = {name: file[name] for name in arrays}
    best = []
    for omega, coupling, _ in PLANTS.values():
        plant = NetworkParameters(omega=omega, coupling=coupling, reach=REACH)
        best.append(evaluate(first_guess(omega, coupling, True), plant)[0])
    jobs = [
        (j, i, k) for j, way in enumerate(WAYS) for i in ASKED.get(way, range(len(PLANTS))) for k in range(len(SEEDS))
    ]
    with places.data("second_order_12.npz") as file:  # the same runs, of which only cost and TD error are kept
        for way, name in {"centralised": "centralised", "plans, δ and C": "distributed"}.items():
            curves, j = file[f"{name}, second order"][: len(SEEDS)].astype(float), list(WAYS).index(way)
            arrays["cost"][0, j], arrays["td"][0, j] = (
                STEPS / 80 * curves[:, 1].sum(axis=-1),
                curves[:, 0, -4:].mean(axis=-1),
            )
            arrays["lost"][0, j], arrays["done"][0, j] = STEPS, True
    for j, i, k in tqdm([(j, i, k) for j, i, k in jobs if not arrays["done"][i, j, k]], unit="run", disable=None):
        for name, value in learn(list(WAYS)[j], SEEDS[k], *list(PLANTS.values())[i]).items():
            arrays[name][i, j, k] = value
        arrays["done"][i, j, k] = True
        np.savez_compressed(path, best=best, plants=list(PLANTS), ways=list(WAYS), **arrays)


if __name__ == "__main__":
    main()
