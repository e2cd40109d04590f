"""V for 1024 states at one theta: in one batch, one by one, and by the two lifted back ends."""

import sys

import numpy as np
from table import Seconds, alternate, budget, cheaper, median, once, ratio, table

from mpcrl_course.problems.linear import linear_mpc

STATES = np.random.default_rng(0).uniform([-0.2, -1.0], [1.0, 1.0], (1024, 2))
FEW, ROUNDS = 100, 9  # states for the slow back ends
BUDGET = 20e-6  # CPU seconds a state, shown
ONE_BY_ONE, SPARSE = 5.0, 30.0  # how many times less CPU, judged


def share(solve, n, repeats=1):
    """Return a function that measures `solve`, which answers for n states: seconds a state."""
    return lambda: Seconds(*np.array(once(solve, repeats)) / n)


def main():
    """Print the table; exit code 1 if a ratio is missed."""
    mpc, sparse, general = linear_mpc(), linear_mpc(solver="piqp"), linear_mpc(solver="ipopt")
    theta, few = mpc.parameters.initial(), STATES[:FEW]
    reference = mpc.values(theta, STATES)[0]
    for other in (sparse, general):
        error = np.abs(other.values(theta, few)[0] - reference[:FEW]).max() / np.abs(reference).max()
        assert error < 1e-8, f"{other.solver} differs by {error:.1e}"
    ways = {
        "daqp, batch": share(lambda: mpc.values(theta, STATES), len(STATES), repeats=3),
        "daqp, one by one": share(lambda: [mpc.V(theta, s).value for s in STATES], len(STATES)),
        "piqp, batch": share(lambda: sparse.values(theta, few), FEW),
        "ipopt, batch": share(lambda: general.values(theta, few), FEW),
    }
    batch, *others = alternate(ROUNDS, *ways.values())
    ratios = [1.0, *(ratio(other, batch) for other in others)]
    rows = [
        [name, 1e6 * median(found).cpu, times]
        for name, found, times in zip(ways, (batch, *others), ratios, strict=True)
    ]
    table("V at fixed theta, linear plant, N = 10", rows, ["how", "CPU us a state", "ratio to daqp batch"])
    print(f"  {1e6 * BUDGET:.0f} us a state: {budget(median(batch).cpu, BUDGET)}")
    return all([cheaper(ONE_BY_ONE, "one by one", ratios[1]), cheaper(SPARSE, "the sparse solver, piqp", ratios[2])])


if __name__ == "__main__":
    sys.exit(not main())
