"""The peer's side of the policy-gradient benchmark: the library `mpcrl` on the linear plant, LSTD-DPG.

Run by the peer's Python (see `peers.py`), not by ours; imports nothing of this project but the peer's MPC beside it.
The agent is the library's own: V(s), its Jacobian by the KKT system, compatible features, an update after each
roll-out of 100 steps. It

1. checks that it answers our question: the policy and its Jacobian at the strict reference points;
2. times whole roll-outs after a first one (which compiles), the plant outside the clock, an update included;
3. prints one line of JSON. Exit code 1 if the check fails.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from mpcrl import LearnableParameter, LearnableParametersDict, LstdDpgAgent, UpdateStrategy  # noqa: E402
from mpcrl import exploration as explore  # noqa: E402
from mpcrl.optim import GradientDescent  # noqa: E402
from peer_q_learning import DISCOUNT, THETA, Plant, find, make_mpc  # noqa: E402

LENGTH, TOLERANCE = 100, 1e-4


def make_agent():
    return LstdDpgAgent(
        mpc=make_mpc(),
        learnable_parameters=LearnableParametersDict(
            LearnableParameter(name, value.shape, value) for name, value in THETA.items()
        ),
        discount_factor=DISCOUNT,
        update_strategy=UpdateStrategy(LENGTH, "on_timestep_end"),
        optimizer=GradientDescent(learning_rate=1e-6),  # of a sum: 1e-4 of a mean
        exploration=explore.GreedyExploration(strength=0.1),
        rollout_length=LENGTH,
    )


def check(folder):
    """Largest differences of policy and Jacobian from the strict reference values in `folder`."""
    points = json.loads(find(folder, "lti_mpc.json").read_text(encoding="utf-8"))
    agent, d_pi, d_jacobian = make_agent(), [], []
    theta = agent.optimizer.learnable_parameters
    for block in points["sets"].values():
        theta.update_values(np.array(block["theta"]))
        for row in block["rows"]:
            action, solution = agent.state_value(row["s"], deterministic=True)
            if not row["strict"]:
                continue
            values = np.asarray(solution.x_and_lam_and_p.elements())[None]
            jacobian = agent._sensitivity(values, 1).ravel()
            d_pi.append(abs(float(action) - row["pi"]))
            reference = np.array(row["dpi"]).ravel()
            d_jacobian.append(float(np.abs(jacobian - reference).max() / (1.0 + np.abs(reference).max())))
    return {"pi": max(d_pi), "jacobian": max(d_jacobian), "points": len(d_pi)}


def measure(rollouts, seed):
    """Seconds of wall and CPU time a step, a mean over whole roll-outs; the first one is not counted."""
    steps = LENGTH * (rollouts + 1)
    plant, agent = Plant(steps + 1), make_agent()
    agent.train(plant, episodes=1, seed=seed)
    # from leaving the plant to entering it again: what the agent spends on a step, its updates between
    spent = np.array(plant.entered[LENGTH : steps + 1])[1:] - np.array(plant.left[LENGTH:steps])
    return spent.mean(axis=0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rollouts", type=int, default=4)
    parser.add_argument("--seed", type=int, default=69)
    parser.add_argument("--reference", default=str(HERE.parent / "tests" / "data"))
    arguments = parser.parse_args()
    difference = check(arguments.reference)
    agrees = max(difference["pi"], difference["jacobian"]) <= TOLERANCE
    begun = time.perf_counter()
    wall, cpu = measure(arguments.rollouts, arguments.seed)
    print(json.dumps({"peer": "mpcrl", "wall": wall, "cpu": cpu, "seconds": time.perf_counter() - begun,
                      "max_difference": difference, "tolerance": TOLERANCE, "agrees": agrees}))  # fmt: skip
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
