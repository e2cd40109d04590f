"""One sweep of value iteration on the pendulum's grid: one sparse product against plain Python loops."""

import sys

import numpy as np
from table import measure, table, verdict

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
    fast = measure(lambda: bellman(mdp, V), repeats=50, rounds=7)
    slow = measure(lambda: loop(P, L, mdp.gamma, V.tolist()), repeats=1, rounds=5)
    build = measure(lambda: pendulum_mdp(pendulum_grid(SIZE, SIZE), TORQUES, 0.98), repeats=1, rounds=5)
    ratio = slow.cpu / fast.cpu
    table(
        f"one sweep, {SIZE} x {SIZE} states, {A} torques",
        [
            ["sparse product and minimum", 1e3 * fast.cpu, 1.0],
            ["plain Python loops", 1e3 * slow.cpu, ratio],
            ["once: the grid's process", 1e3 * build.cpu, build.cpu / fast.cpu],
        ],
        ["how", "CPU ms", "ratio to the first"],
    )
    return verdict(f"{TARGET:.0f} times faster than the loops", ratio >= TARGET)


if __name__ == "__main__":
    sys.exit(not main())
