"""The price of a network inside the problem: a decision of the cart-pole's MPC with phi(x, u) of 2 x 32 tanh, to plain.

Closed loops of 6 s on a cart-pole with three times the payload and dry friction, hanging at first, N = 40, real-time
iteration. The network learned what the model misses from 1000 single steps. All ways start from the same plans, which
the first decision adapts before the clock runs, and are measured in turn, start after start. Where an iteration fails
ipopt takes over, which costs a hundred of them: so the mean is shown with and without these decisions.

    python benchmarks/bench_integrated.py [starts]
"""

import sys
from dataclasses import replace

import casadi as ca
import numpy as np
from table import measure, table, verdict

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import MODEL, dynamics
from mpcrl_course.learners import cartpole_transitions, fit
from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.policies import Receding, ResidualModel, first_plan, integrated_mpc
from mpcrl_course.policies.integrated import feature_mlp, features
from mpcrl_course.problems import cartpole_mpc

STARTS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
STEPS = 120
MOST, AIM = 4.0, 3.0  # times the CPU of a decision of plain real-time iteration
PLANT = replace(MODEL, mass=0.6, coulomb=3.0)


def hanging(i: int, tag: int) -> np.ndarray:
    """Return the start i of those called by a tag: the pole hangs, or nearly so."""
    return np.random.default_rng([tag, i]).uniform([-1, np.pi - 0.5, -0.5, -1], [1, np.pi + 0.5, 0.5, 1])


def learned(plain):
    """Return the network that learned what the model of the `plain` MPC misses."""
    rng, theta = np.random.default_rng([9, 0]), plain.parameters.initial()
    plans = [first_plan(plain, theta, hanging(i, 77)) for i in range(6)]
    x, u, after = cartpole_transitions(PLANT, [plan.x[:-1] for plan in plans], [plan.u for plan in plans], rng)
    return fit(feature_mlp(np.random.default_rng(0)), features(x, u), (after - dynamics(x, u))[:, 2:], rng)


def loops(mpcs: dict) -> tuple[dict, dict, dict]:
    """Return costs, CPU seconds of all decisions and what was said of them, for each MPC by name."""
    theta, noise = mpcs["plain"].parameters.initial(), PLANT.draw(0, 1, STEPS)
    costs, seconds, status = ({name: [] for name in mpcs} for _ in range(3))
    for i in range(STARTS):
        start = hanging(i, 7)
        common = first_plan(mpcs["plain"], theta, start)
        for name, mpc in mpcs.items():
            begin = Receding(mpc, first=lambda m, th, s, plan=common: m.policy(th, s, warm_start=(plan.x, plan.u)))
            found = run(begin, PLANT, [start], noise)
            costs[name].append(found.cost.sum())
            seconds[name] += begin.seconds[0][1:]
            status[name] += found.status[1 : len(begin.seconds[0]), 0].tolist()
    return costs, {n: np.array(each) for n, each in seconds.items()}, {n: np.array(each) for n, each in status.items()}


def main() -> bool:
    """Print the tables; return whether the ratios are met."""
    plain = cartpole_mpc()
    phi = learned(plain)
    mpcs = {"plain": plain, "integrated": integrated_mpc(phi), "as scalars": integrated_mpc(phi, split=False)}
    costs, seconds, status = loops(mpcs)
    rows, times = [], {}
    for name in mpcs:
        quick = status[name] != "fallback"
        times[name] = np.array([f(part) for part in (seconds[name], seconds[name][quick]) for f in
                                (np.median, np.mean, lambda s: np.quantile(s, 0.99))])  # fmt: skip
        rows.append([name, np.mean(costs[name]), f"{(~quick).sum() / STARTS:.1f}", *(1e3 * times[name]).tolist()])
        rows.append(["  ratio", None, None, *(f"{r:.1f}" for r in times[name] / times["plain"])])
    columns = (
        "one decision, CPU ms",
        "cost",
        "fallbacks a run",
        "median",
        "mean",
        "99 %",
        "median, none",
        "mean, none",
        "99 %, none",
    )
    table(f"{STARTS} closed loops of {STEPS} steps; 'none': of the decisions without a fallback", rows, columns)
    price(ResidualModel(phi))
    found = (times["integrated"] / times["plain"])[[0, 1, 3, 4]]
    said = ", ".join(f"{r:.1f}" for r in found)
    print(f"  aim: {AIM:g} times: {'reached' if (found <= AIM).all() else 'not reached'}")
    return verdict(
        f"median and mean, with and without fallbacks, at most {MOST:g} times plain: {said}",
        bool((found <= MOST).all()),
    )


def price(model: ResidualModel) -> None:
    """Print what phi and its gradient in z cost along a horizon, as matrix products and as CasADi's scalars."""
    rng = np.random.default_rng(0)
    x, u = rng.uniform(-3.0, 3.0, (40, 4)), rng.uniform(-15.0, 15.0, (40, 1))
    X, U = ca.SX.sym("x", 4, 40), ca.SX.sym("u", 1, 40)
    values = [model(X[:, k], U[:, k]) for k in range(40)]
    slopes = [ca.jacobian(v, ca.vertcat(X[:, k], U[:, k])) for k, v in enumerate(values)]
    scalars = [BufferedFunction("phi", [X, U], values), BufferedFunction("slopes", [X, U], [*values, *slopes])]
    flat = x.ravel(), u.ravel()
    times = [
        [1e6 * measure(call, 100).cpu for call in calls]
        for calls in ((lambda: model.along(x, u, False), lambda: model.along(x, u, True)),
                      (lambda: scalars[0](*flat), lambda: scalars[1](*flat)))
    ]  # fmt: skip
    table(
        "phi at 40 stages, CPU us",
        [["matrix products", *times[0]], ["scalars", *times[1]]],
        ("how", "phi", "phi and its gradient in z"),
    )


if __name__ == "__main__":
    sys.exit(not main())
