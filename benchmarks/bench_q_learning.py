"""A Q-learning step on the linear plant (V, Q, gradient, update) against the library mpcrl 1.4.1."""

import sys
import time

import numpy as np
import peers
from table import Seconds, alternate, compare, table

from mpcrl_course.envs import LinearPlant
from mpcrl_course.learners.q_learning import QLearning, second_order_step
from mpcrl_course.problems.linear import linear_mpc

WARM_UP, STEPS, ROUNDS = 100, 2000, 3
TARGET = 30.0  # times less CPU


def steps():
    """Time every learning step of a run: V(s+), Q(s, a), TD error, gradient, update; not the plant."""
    mpc, env = linear_mpc(), LinearPlant()
    theta = mpc.parameters.initial()
    s, _ = env.reset(seed=69)
    a = mpc.policy(theta, s).u0
    wall, cpu = [], []
    for _ in range(WARM_UP + STEPS):
        s_next, reward, *_ = env.step(a)
        t, c = time.perf_counter(), time.process_time()
        v = mpc.V(theta, s_next)
        q = mpc.Q(theta, s, a)
        td = -reward + mpc.discount * v.value - q.value
        theta = theta + 0.05 * second_order_step(q.gradient()[None], np.array([td]), 1e-3)
        wall.append(time.perf_counter() - t)
        cpu.append(time.process_time() - c)
        s, a = s_next, v.u0
    return Seconds(float(np.median(wall[WARM_UP:])), float(np.median(cpu[WARM_UP:])))


def theirs():
    """Let the peer time its steps, in a process of its own, after it has shown that it answers our question."""
    answer = peers.run("mpcrl", "peer_q_learning.py")
    return Seconds(answer["wall_median"], answer["cpu_median"])


def main():
    """Print the tables; exit code 1 if the target is missed."""
    title = "Q-learning step, linear plant, N = 10 (peer: mpcrl 1.4.1)"
    ok = compare(title, *alternate(ROUNDS, steps, theirs), target=TARGET)
    c = time.process_time()
    log = QLearning(linear_mpc(), LinearPlant(), np.random.default_rng(0)).run(5000, progress=False).log
    whole = time.process_time() - c
    rows = [["whole run, 5000 steps", whole, 1e6 * whole / 5000, str(log.failed.sum())]]
    table("The same with plant, log and learner", rows, ["what", "CPU s", "CPU us a step", "failed solves"])
    return ok


if __name__ == "__main__":
    sys.exit(not main())
