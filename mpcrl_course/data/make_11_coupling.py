"""Lecture 11: cost against the plant's coupling, by what the agents tell each other while they act.

Run it with `python mpcrl_course/data/make_11_coupling.py` (some minutes of processor time). The controllers are
those of `mpcrl_course.policies.communication`, none of them learned: all know their own plant. At every coupling all
meet the same noise. It writes coupling_11.npz: ``coupling`` (n,); ``push`` (n, agents), the mean push; ``iterations``
(n, 2), of ADMM in a step, mean and most; and of 'central', 'plans', 'number', 'more' (the push of one number a link
times `MORE`), 'push' and 'nothing' each

``<name>_cost`` (n, draws)    mean stage cost of a run of 400 steps, nan if the plant was lost
``<name>_ended`` (n, draws)   the step in which it was lost, 400 if it was not
``<name>_numbers`` (n,)       numbers sent in a step
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np
from tqdm import tqdm

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import START
from mpcrl_course.envs.network import NetworkParameters
from mpcrl_course.network import ADMM, Central
from mpcrl_course.policies.communication import Alone, mean_push, true_theta
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.network import network_mpc

COUPLINGS = (-0.1, -0.2, -0.3, -0.35, -0.4, -0.5)
DRAWS, STEPS, SEED = 20, 400, 11
#: Beyond it the inputs cannot bring a plant back: x_2 > 2 grows under the full input, even without neighbours.
REACH = 10.0
#: Of ADMM: the penalty (at 1 it takes as long, and leaves ten times the error in u), and when it has arrived.
RHO, TOLERANCE, MOST = 10.0, 1e-4, 20_000
#: Factor on the push that agents take one number a link for: as it is, they plan as if nobody did anything against it.
MORE = 1.25


def counted(controller: Receding, taken: list):
    """Return the `controller`, made to note in `taken` how many iterations each of its network's answers took."""

    def act(y):
        u = controller(y)
        taken.extend(plan.iterations for plan in controller.plans)
        return u

    return act


def compare(coupling: float) -> tuple[dict, np.ndarray, list[int]]:
    """Return runs and numbers sent in a step, by controller; the mean push; the iterations of every step's ADMM.

    `coupling` is that of the plant.
    """
    plant, network = NetworkParameters(coupling=coupling, reach=REACH), network_mpc()
    theta, push = true_theta(network, coupling), mean_push(plant)
    admm, told = ADMM(network, RHO, iterations=MOST, tolerance=TOLERANCE), Alone(plant, told=True)
    taken: list[int] = []
    noise, starts = plant.draw(SEED, DRAWS, STEPS), np.tile(START, (DRAWS, plant.n_agents))
    controllers = {
        "central": Receding(Central(network), theta),
        "plans": counted(Receding(admm, theta), taken),
        "number": told,
        "more": Alone(plant, told=True, push=lambda coupling, x2: MORE * coupling * x2.sum()),
        "push": Alone(plant, push=push),
        "nothing": Alone(plant),
    }
    runs = {name: run(controller, plant, starts, noise) for name, controller in controllers.items()}
    sent = dict.fromkeys(controllers, 0.0) | dict.fromkeys(("number", "more"), float(told.messages))
    # a message of ADMM is a copy of a neighbour's x_2 at the stages k < N, there and back
    sent["plans"] = float(np.mean(taken) * admm.messages_per_iteration * network.horizon)
    sent["central"] = float(network.n_states + network.n_inputs)  # states to the centre, inputs back
    return {name: (runs[name], sent[name]) for name in controllers}, push, taken


def main():
    """Compare at every coupling, and write coupling_11.npz beside this file."""
    arrays: dict[str, list] = {"coupling": list(COUPLINGS), "push": [], "iterations": []}
    for coupling in tqdm(COUPLINGS, unit="coupling"):
        found, push, taken = compare(coupling)
        arrays["push"].append(push)
        arrays["iterations"].append([np.mean(taken), np.max(taken)])
        for name, (one, sent) in found.items():
            kept = one.ended == STEPS
            arrays.setdefault(f"{name}_cost", []).append(np.where(kept, one.cost.mean(axis=0), np.nan))
            arrays.setdefault(f"{name}_ended", []).append(one.ended)
            arrays.setdefault(f"{name}_numbers", []).append(sent)
    np.savez_compressed(places.DATA / "coupling_11.npz", **{name: np.array(each) for name, each in arrays.items()})


if __name__ == "__main__":
    main()
