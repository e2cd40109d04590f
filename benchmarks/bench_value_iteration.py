"""One sweep of value iteration on the pendulum's grid: one sparse product against plain Python loops."""

import sys

import numpy as np
from table import alternate, cheaper, measure, median, once, ratio, table

from mpcrl_course.dp import bellman
from mpcrl_course.dp.pendulum import pendulum_grid, pendulum_mdp

SIZE, TORQUES = 61, np.linspace(-2.0, 2.0, 9)
TARGET = 50.0


def loop(P, L, gamma, V):
    """Sweep as one would write it down: for every state, every action, every corner."""
    out = []
    for s in range(len(L)):
        best = float("inf")
        for a in range(len(L[s])):
            ahead = 0.0
            for weight, corner in P[s][a]:
                ahead += weight * V[corner]
            best = min(best, L[s][a] + gamma * ahead)
        out.append(best)
    return out


def main():
    """Print the table; exit code 1 if the sweep is less than 50 times faster than the loop."""
    mdp = pendulum_mdp(pendulum_grid(SIZE, SIZE), TORQUES, 0.98)
    rows, A = mdp.rows(), mdp.actions
    pairs = [
        list(zip(rows.data[i:j].tolist(), rows.indices[i:j].tolist())) for i, j in zip(rows.indptr, rows.indptr[1:])
    ]
    P = [pairs[s * A : (s + 1) * A] for s in range(mdp.states)]
    L, V = mdp.cost.tolist(), np.random.default_rng(0).uniform(0.0, 200.0, mdp.states)
    error = np.abs(np.array(loop(P, L, mdp.gamma, V.tolist())) - bellman(mdp, V)).max()
    assert error < 1e-10, f"the two sweeps differ by {error:.1e}"
    fast, slow = alternate(
        5, lambda: once(lambda: bellman(mdp, V), repeats=50), lambda: once(lambda: loop(P, L, mdp.gamma, V.tolist()))
    )
    build = measure(lambda: pendulum_mdp(pendulum_grid(SIZE, SIZE), TORQUES, 0.98), repeats=1, rounds=5)
    first, times = median(fast).cpu, ratio(slow, fast)
    table(
        f"one sweep, {SIZE} x {SIZE} states, {A} torques",
        [
            ["sparse product and minimum", 1e3 * first, 1.0],
            ["plain Python loops", 1e3 * median(slow).cpu, times],
            ["once: the grid's process", 1e3 * build.cpu, build.cpu / first],
        ],
        ["how", "CPU ms", "ratio to the first"],
    )
    return cheaper(TARGET, "plain Python loops", times)


if __name__ == "__main__":
    sys.exit(not main())
