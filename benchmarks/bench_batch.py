"""V for 1024 states at one theta: in one batch, one by one, and by the two lifted back ends."""

import sys
import time

import numpy as np
from table import budget, measure, table, verdict

from mpcrl_course.problems.linear import linear_mpc

STATES = np.random.default_rng(0).uniform([-0.2, -1.0], [1.0, 1.0], (1024, 2))
BUDGET, TARGET = 20e-6, 3.0  # CPU seconds a state, shown; how many times less than one by one, judged


def main():
    """Print the table; exit code 1 if a state of the batch costs more than a third of a single solve."""
    mpc = linear_mpc()
    theta = mpc.parameters.initial()
    batch = measure(lambda: mpc.values(theta, STATES), repeats=3, rounds=7).cpu / len(STATES)
    single = measure(lambda: [mpc.V(theta, s).value for s in STATES], repeats=1, rounds=7).cpu / len(STATES)
    rows = [["daqp, batch", 1e6 * batch, 1.0], ["daqp, one by one", 1e6 * single, single / batch]]
    reference = mpc.values(theta, STATES)[0]
    for solver, count in (("piqp", 200), ("ipopt", 60)):
        other = linear_mpc(solver=solver)
        start = time.process_time()
        values = other.values(theta, STATES[:count])[0]
        seconds = (time.process_time() - start) / count
        error = np.abs(values - reference[:count]).max() / np.abs(reference).max()
        assert error < 1e-8, f"{solver} differs by {error:.1e}"
        rows.append([f"{solver}, batch", 1e6 * seconds, seconds / batch])
    table("V at fixed theta, linear plant, N = 10", rows, ["how", "CPU us a state", "ratio to daqp batch"])
    print(f"  {1e6 * BUDGET:.0f} us a state: {budget(batch, BUDGET)}")
    return verdict(f"{TARGET:g} times less than one by one", single >= TARGET * batch)


if __name__ == "__main__":
    sys.exit(not main())
