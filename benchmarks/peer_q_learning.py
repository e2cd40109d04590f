"""The peer's side of the Q-learning benchmark: the library `mpcrl` on the linear plant.

Run by the peer's Python (see `peers.py`), not by ours; imports nothing of this project. It sets up the library's
linear example (Gros & Zanon 2020) as published: second-order LSTD Q-learning, an update every step, horizon 10,
`fatrop` as the solver, warm-started from the last solution. Then

1. checks that it answers our question: V and Q at the reference points, TD error and θ⁺ of the reference
   transitions;
2. times the steps of one training episode, read off between two calls of the plant: V(s'), TD error, gradient,
   update, Q(s', a'). The plant itself is outside the clock; the library's logging and recording wrappers are
   left off;
3. prints one line of JSON. Exit code 1 if the check fails: a race against something else says nothing.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import casadi as cs
import gymnasium as gym
import numpy as np
from csnlp import Nlp
from csnlp.wrappers import Mpc
from mpcrl import LearnableParameter, LearnableParametersDict, LstdQLearningAgent
from mpcrl.optim import NewtonMethod
from mpcrl.util.control import dlqr

HORIZON, DISCOUNT, STEP_SIZE, PENALTY = 10, 0.9, 5e-2, 100.0
LOWER, UPPER = np.array([[0.0], [-1.0]]), np.array([[1.0], [1.0]])
# θ in the order, and with the initial values, of the published example; matrices are stacked by columns.
THETA = {
    "V0": np.array(0.0),
    "x_lb": np.zeros(2),
    "x_ub": np.array([1.0, 0.0]),
    "b": np.zeros(2),
    "f": np.zeros(3),
    "A": np.array([[1.0, 0.25], [0.0, 1.0]]),
    "B": np.array([[0.0312], [0.25]]),
}
TOLERANCE = 1e-5  # on V and Q at the reference points, on TD and θ⁺ of every reference transition


class Plant(gym.Env):
    """The true system; notes the clocks whenever the learner enters and leaves it."""

    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)
    A, B = np.array([[0.9, 0.35], [0.0, 1.1]]), np.array([[0.0813], [0.2]])

    def __init__(self, steps):
        self.steps = steps
        self.entered, self.left = [], []  # (wall, CPU) in seconds

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.x = np.array([[0.0], [0.15]])
        return self.x, {}

    def step(self, action):
        self.entered.append((time.perf_counter(), time.process_time()))
        u, x = float(action), self.x
        violation = np.maximum(0.0, LOWER - x) + np.maximum(0.0, x - UPPER)
        cost = 0.5 * float(np.sum(x**2) + 0.5 * u**2 + PENALTY * np.sum(violation))
        self.x = self.A @ x + self.B * u
        self.x[0] += self.np_random.uniform(-0.1, 0.0)
        truncated = len(self.entered) >= self.steps
        self.left.append((time.perf_counter(), time.process_time()))
        return self.x, cost, False, truncated, {}


def make_mpc():
    """The MPC of the example, every entry of θ a parameter."""
    mpc = Mpc(Nlp("SX"), HORIZON)
    theta = {name: mpc.parameter(name, value.shape or (1, 1)) for name, value in THETA.items()}
    x, _ = mpc.state("x", 2, bound_initial=False)
    u, _ = mpc.action("u", 1, lb=-1.0, ub=1.0)
    slack, _, _ = mpc.variable("s", (2, HORIZON), lb=0.0)
    mpc.set_affine_dynamics(theta["A"], theta["B"], c=theta["b"])
    mpc.constraint("x_lb", LOWER + theta["x_lb"] - slack, "<=", x[:, 1:])
    mpc.constraint("x_ub", x[:, 1:], "<=", UPPER + theta["x_ub"] + slack)

    _, riccati = dlqr(THETA["A"], THETA["B"], 0.5 * np.eye(2), 0.25 * np.eye(1))
    stage = cs.sum1(x[:, :-1] ** 2) + 0.5 * u**2 + PENALTY * cs.sum1(slack)
    weights = cs.DM(DISCOUNT ** np.arange(HORIZON))
    mpc.minimize(
        theta["V0"]
        + cs.bilin(cs.DM(riccati), x[:, -1])
        + cs.sum2(theta["f"].T @ cs.vertcat(x[:, :-1], u))
        + 0.5 * stage @ weights
    )
    options = {"expand": True, "print_time": False, "bound_consistency": True, "calc_lam_x": True, "calc_lam_p": False}
    mpc.init_solver({**options, "fatrop": {"max_iter": 500, "print_level": 0}}, solver="fatrop", type="nlp")
    return mpc


def make_agent():
    mpc = make_mpc()
    return LstdQLearningAgent(
        mpc=mpc,
        learnable_parameters=LearnableParametersDict(
            LearnableParameter(name, value.shape, value) for name, value in THETA.items()
        ),
        discount_factor=DISCOUNT,
        update_strategy=1,
        optimizer=NewtonMethod(learning_rate=STEP_SIZE),
        hessian_type="approx",  # zero here: the Lagrangian is affine in θ
        record_td_errors=True,
        remove_bounds_on_initial_action=True,
    )


def check(folder):
    """Largest differences from the reference values in `folder`."""
    points = json.loads(find(folder, "lti_mpc.json").read_text(encoding="utf-8"))
    steps = json.loads(find(folder, "q_learning_steps.json").read_text(encoding="utf-8"))
    agent = make_agent()
    theta = agent.optimizer.learnable_parameters

    dV, dQ = [], []
    for block in points["sets"].values():
        theta.update_values(np.array(block["theta"]))
        for row in block["rows"]:
            v, q = agent.state_value(row["s"], deterministic=True)[1], agent.action_value(row["s"], row["a"])
            if not (v.success and q.success):
                raise SystemExit(f"the peer's solver failed at s = {row['s']}: {v.status}, {q.status}")
            dV.append(abs(float(v.f) - row["V"]))
            dQ.append(abs(float(q.f) - row["Q"]))

    d_td, d_theta = [], []
    X, U, R = steps["X"], steps["U"], steps["R"]
    for k in range(len(U)):  # each transition from its own θ_k, as free-running traces drift apart
        theta.update_values(np.array(steps["theta"][k]))
        agent.train_offpolicy([[(X[k], U[k], R[k], X[k + 1])]], seed=0)
        d_td.append(abs(float(agent.td_errors[-1]) - steps["TD"][k]))
        d_theta.append(float(np.max(np.abs(theta.value - steps["theta"][k + 1]))))
    return {
        "V": max(dV),
        "Q": max(dQ),
        "points": len(dV),
        "first_TD": d_td[0],
        "first_theta": d_theta[0],
        "TD": max(d_td),
        "theta": max(d_theta),
        "theta_median": statistics.median(d_theta),
        "transitions": len(d_td),
    }


def find(folder, name):
    found = sorted(Path(folder).rglob(name))
    if not found:
        raise SystemExit(f"no reference values: {name} is not below {folder} (--reference FOLDER)")
    return found[0]


def measure(steps, warm_up, seed):
    """Seconds of wall and CPU time of every step after the warm-up, and the mean |TD| over them."""
    plant, agent = Plant(warm_up + steps + 1), make_agent()
    agent.train(plant, episodes=1, seed=seed)
    spent = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(plant.left, plant.entered[1:], strict=False)][warm_up:]
    wall, cpu = zip(*spent, strict=True)
    return wall, cpu, float(np.mean(np.abs(np.array(agent.td_errors, float)[warm_up:])))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--warm-up", type=int, default=30)
    parser.add_argument("--seed", type=int, default=69)
    parser.add_argument("--reference", default=str(Path(__file__).resolve().parents[1] / "tests" / "data"))
    arguments = parser.parse_args()

    difference = check(arguments.reference)
    agrees = max(difference[name] for name in ("V", "Q", "TD", "theta")) <= TOLERANCE
    wall, cpu, td = measure(arguments.steps, arguments.warm_up, arguments.seed)
    packages = ("mpcrl", "csnlp", "casadi", "numpy", "scipy", "numba", "gymnasium")
    print(
        json.dumps(
            {
                "peer": "mpcrl",
                "solver": "fatrop",
                "steps": len(wall),
                "warm_up": arguments.warm_up,
                "wall_median": statistics.median(wall),
                "wall_mean": statistics.fmean(wall),
                "cpu_median": statistics.median(cpu),
                "cpu_mean": statistics.fmean(cpu),
                "mean_abs_td": td,
                "max_difference": difference,
                "tolerance": TOLERANCE,
                "agrees": agrees,
                "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
            }
        )
    )
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
