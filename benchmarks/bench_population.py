"""Value iteration over populations: all k of Formation and Rendezvous, against plain loops over the same tables."""

import sys
import tracemalloc
from itertools import product

import numpy as np
from table import alternate, budget, cheaper, median, once, ratio, table

from mpcrl_course.population import (
    all_counts,
    deployed,
    formation,
    plan,
    plans,
    rank,
    rendezvous,
    sampled_policy,
    simulate,
)
from mpcrl_course.population.laws import ahead, listed

#: The plain loops are measured at this k, where they take seconds.
K, TARGET = 5, 500.0
#: What the published code needs for k = 2 … 14 on its configuration, in s, measured once on another machine.
PUBLISHED = 9000.0


def loop(model, k, sweeps):
    """Sweep as one would write it down, in dicts of tuples: for every state, table and global action, every successor.

    The laws of the next counts are built cell by cell and agent by agent, anew in every sweep, and exactly: nothing is
    left out, drawn or kept.
    """
    G, B, S, A = model.sizes
    P_g, P_l, r_g, r_l = model.P_g.tolist(), model.P_l.tolist(), model.r_g.tolist(), model.r_l.tolist()
    counts = [tuple(c) for c in all_counts(k, S).tolist()]
    V = {(g, c): 0.0 for g in range(G) for c in counts}
    for _ in range(sweeps):
        new = {}
        for g, c in V:
            best = -float("inf")
            for rows in product(*[all_counts(m, A).tolist() for m in c]):
                law = {(0,) * S: 1.0}
                paid = 0.0
                for s, row in enumerate(rows):
                    for a, many in enumerate(row):
                        paid += many * r_l[s][g][a] / k
                        for _ in range(many):
                            moved = {}
                            for seen, p in law.items():
                                for i, q in enumerate(P_l[s][g][a]):
                                    if q:
                                        after = (*seen[:i], seen[i] + 1, *seen[i + 1 :])
                                        moved[after] = moved.get(after, 0.0) + p * q
                            law = moved
                for b in range(B):
                    ahead = 0.0
                    for h, p in enumerate(P_g[g][b]):
                        if p:
                            ahead += p * sum(q * V[h, seen] for seen, q in law.items())
                    best = max(best, r_g[g][b] + paid + model.gamma * ahead)
            new[g, c] = best
        V = new
    return V


def main():
    """Print the tables; exit code 1 if the plain loops need less than `TARGET` times our CPU."""
    model, sweeps = formation(0.2), 1
    slow = loop(model, K, sweeps)
    fast = plan(model, K, evaluate=False, tolerance=0.0, sweeps=sweeps).V
    error = max(abs(value - fast[g, int(rank(c))]) for (g, c), value in slow.items())
    assert error < 1e-10, f"the two sweeps differ by {error:.1e}"
    # 200 sweeps bring the loops to 1e-9; ours evaluates its policy exactly after each of three
    ours, theirs = alternate(3, lambda: once(lambda: plan(model, K), 20), lambda: once(lambda: loop(model, K, sweeps)))
    times = ratio(theirs, ours) * 200 / sweeps
    table(
        f"Formation with noise, k = {K}, to 1e-9",
        [
            ["exact laws, tables that matter, three sweeps", 1e3 * median(ours).cpu, 1.0],
            ["plain loops, 200 sweeps (1 measured)", 1e3 * median(theirs).cpu * 200 / sweeps, times],
        ],
        ["how", "CPU ms", "ratio to the first"],
    )

    rows, costs = [], {}
    for name, model in (("Formation", formation()), ("with noise", formation(0.2)), ("Rendezvous", rendezvous())):
        found = []

        def everything(model=model, found=found):
            ahead.cache_clear()
            listed.cache_clear()
            found[:] = plans(model, range(1, 15))

        solved = once(everything)
        evaluated = once(lambda found=found: [deployed(sampled_policy(one), 14) for one in found])
        tracemalloc.start()
        everything()
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        costs[name] = solved.cpu
        rows.append([name, solved.cpu, evaluated.cpu, peak, sum(one.choices for one in found)])
    table("k = 1 … 14, n = 14", rows, ["model", "planned, CPU s", "evaluated, CPU s", "peak MB", "choices compared"])
    policy = sampled_policy(plan(rendezvous(), 10))
    crowd = once(lambda: simulate(policy, 100_000, 200, 1, np.random.default_rng(0)))
    print(f"\nA hundred thousand agents, 200 steps by counts: {crowd.cpu:.3f} CPU s")
    print(f"The published code needs {PUBLISHED:.0f} s for k = 2 … 14 of Formation (wall time, another machine):")
    times_less, noise = PUBLISHED / costs["Formation"], costs["with noise"] / costs["Formation"]
    print(f"{times_less:.0f} times ours; noise costs us {noise:.1f} times as much.")
    both = rows[2][1] + rows[2][2]
    print(f"Rendezvous, all k, planned and evaluated: {both:.2f} CPU s of 10, {budget(both, 10.0)}.")
    return cheaper(TARGET, "plain loops", times)


if __name__ == "__main__":
    sys.exit(not main())
