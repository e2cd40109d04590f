"""A policy-gradient step on the linear plant (V, its Jacobian, LSTD updates) against the library mpcrl 1.4.1."""

import sys
import time

import numpy as np
import peers
from table import Seconds, alternate, compare, table

from mpcrl_course.envs import LinearPlant
from mpcrl_course.learners import PolicyGradient
from mpcrl_course.problems.linear import linear_mpc

LENGTH, ROLLOUTS, ROUNDS = 100, 10, 3
TARGET = 6.0  # times less CPU


class Clocked(LinearPlant):
    """The plant, which notes the clocks whenever the learner enters and leaves it."""

    def step(self, action):
        self.entered.append((time.perf_counter(), time.process_time()))
        answer = super().step(action)
        self.left.append((time.perf_counter(), time.process_time()))
        return answer


def steps():
    """Time whole roll-outs after a first one, an update included; not the plant, but log and learner."""
    env = Clocked()
    env.entered, env.left = [], []
    learner = PolicyGradient(linear_mpc(), env, np.random.default_rng(69), length=LENGTH)
    learner.run(LENGTH * (ROLLOUTS + 1) + 1, progress=False)
    spent = np.array(env.entered[LENGTH + 1 :]) - np.array(env.left[LENGTH:-1])
    return Seconds(*spent.mean(axis=0).tolist())


def theirs():
    """Let the peer time its steps, in a process of its own, after it has shown that it answers our question."""
    answer = peers.run("mpcrl", "peer_policy_gradient.py")
    found.append(answer["max_difference"])
    return Seconds(answer["wall"], answer["cpu"])


found: list[dict] = []


def main():
    """Print the tables; exit code 1 if the target is missed."""
    title = "Policy-gradient step, linear plant, N = 10, roll-outs of 100 (peer: mpcrl 1.4.1)"
    ok = compare(title, *alternate(ROUNDS, steps, theirs), target=TARGET)
    rows = [[name, f"{found[0][name]:.1e}"] for name in ("pi", "jacobian")]
    table("The peer against the reference points, largest differences", rows, ["what", "difference"])
    return ok


if __name__ == "__main__":
    sys.exit(main())
