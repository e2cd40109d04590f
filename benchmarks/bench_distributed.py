"""Networks of MPCs: 100 iterations of ADMM against a plain loop of QP solves, a learning step, and how both grow."""

import sys
import time
from functools import cache

import numpy as np
from table import Seconds, alternate, budget, cheaper, measure, median, once, ratio, table, verdict

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.distributed import DistributedQLearning, central_step
from mpcrl_course.mpc import MPC
from mpcrl_course.network import ADMM, Central, line, mixing_matrix, ring
from mpcrl_course.problems.network import network_mpc

#: CPU ms, shown: V and Q by 100 iterations of ADMM; a central second-order step; a learning step.
ADMM_MS, CENTRAL_MS, STEP_MS = 10.0, 1.5, 2.0
#: Ratios, judged: a plain loop to our ADMM; a learning step to what it solves; 100 agents to 30, each agent.
PLAIN, OVERHEAD, GROWTH = 60.0, 2.0, 1.5
FEW, ROUNDS = 10, 9  # iterations of the plain loop; measurements in turn


@cache
def ask(n, horizon=10):
    """A network of n on a ring (three: on a line) and one question at random, coupled parameters."""
    net = network_mpc(n, line(n) if n == 3 else ring(n), horizon=horizon)
    rng = np.random.default_rng(0)
    theta = net.parameters.initial() + 0.02 * rng.standard_normal(net.parameters.size)
    s, a = rng.uniform([0, -0.3] * n, [0.8, 0.3] * n), rng.uniform(-1, 1, n)
    return net, (theta, s, s, a)


def derivatives(solution):
    """Gradients and Lagrangian Hessians of all agents."""
    agents = range(len(solution.problems))
    return [solution.gradient(i) for i in agents], [solution.hessian(i) for i in agents]


def plain_loop(net, question, iterations, solver):
    """The same iterations of ADMM, each local QP by the door's sparse back end; returns the values of V and Q."""
    theta, s_next, s, a = question
    admm, doors = ADMM(net), [MPC(local.problem, solver) for local in net.locals(1.0)]
    thetas, values = net.split(theta), []
    for i, (door, own) in enumerate(zip(doors, admm.c_of)):  # compiled at first questions: none of the loop's time
        at = np.concatenate([thetas[i], np.zeros(own.stop - own.start)]), s[net.state_of[i]]
        door.V(*at), door.Q(*at, a[net.input_of[i]])
    started = time.process_time()
    for state, action in ((s_next, None), (s, a)):
        y, z = admm.start()
        for _ in range(iterations):
            c = np.empty(len(y))
            for i, own in enumerate(admm.c_of):
                at = np.concatenate([thetas[i], y[own] - z[admm.owner[own]]]), state[net.state_of[i]]
                local = doors[i].V(*at) if action is None else doors[i].Q(*at, action[net.input_of[i]])
                c[own] = np.concatenate([local.x.ravel(), local.u[:, 1:].ravel()])
            z = np.bincount(admm.owner, c + y) / np.bincount(admm.owner)
            y = y + c - z[admm.owner]
        values.append(z)
    return values, time.process_time() - started


def step_time(controller, P, steps=120, skip=30):
    """CPU seconds of a whole learning step, second order with a batch of 15: median over the steps."""
    times = [time.process_time()]
    plant = LinearNetwork(controller.network.neighbours)
    learner = DistributedQLearning(controller, plant, np.random.default_rng(0), P=P)
    learner.run(steps, progress=False, on_step=lambda k, learner: times.append(time.process_time()))
    return float(np.median(np.diff(times)[skip:]))


def main():
    """Print the tables; exit code 1 if a ratio is missed."""
    net, question = ask(3)
    admm, central = ADMM(net), Central(net)
    few, (z, _) = ADMM(net, iterations=FEW).V_and_Q(*question), plain_loop(net, question, FEW, "piqp")
    error = max(np.abs(one.duals.z - other).max() for one, other in zip(few, z))
    assert error < 1e-7, f"the plain loop differs by {error:.1e}"

    def loop():
        """Seconds of 100 iterations, from those of a few: each solves as many QPs."""
        wall, (_, cpu) = time.perf_counter(), plain_loop(net, question, FEW, "piqp")
        return Seconds(100 / FEW * (time.perf_counter() - wall), 100 / FEW * cpu)

    ours, loops, differentiated = alternate(
        ROUNDS,
        lambda: once(lambda: admm.V_and_Q(*question), repeats=10),
        loop,
        lambda: once(lambda: derivatives(admm.V_and_Q(*question)[1]), repeats=10),
    )
    reached, plain = median(ours).cpu, ratio(loops, ours)
    rows = [
        ["ADMM here", 1e3 * reached, 1.0],
        ["the same, each QP by piqp", 1e3 * median(loops).cpu, plain],
        ["ADMM here, and all derivatives", 1e3 * median(differentiated).cpu, ratio(differentiated, ours)],
    ]
    table("V and Q, 3 agents, N = 10, 100 iterations: 600 local QPs", rows, ["how", "CPU ms", "ratio"])

    rng, batch = np.random.default_rng(1), 15
    G = [rng.standard_normal((batch, 22)) for _ in range(3)]
    H = [h + h.transpose(0, 2, 1) for h in 1e-2 * rng.standard_normal((3, batch, 22, 22))]
    td = rng.standard_normal(batch)

    def second_order():
        return derivatives(central.V_and_Q(*question)[1]), central_step(G, H, td, 1e-3, safeguard=False)

    second = measure(second_order, repeats=10, rounds=25).cpu
    whole = step_time(central, None)
    rows = [
        ["V, Q, derivatives, step of 66 parameters", 1e3 * second, CENTRAL_MS],
        ["the whole step of learning, from the centre", 1e3 * whole, STEP_MS],
        [
            "the whole step of learning, ADMM and consensus",
            1e3 * step_time(admm, mixing_matrix(3, line(3), 0.25)),
            None,
        ],
    ]
    table("Second order, 3 agents, N = 10, T = 15", rows, ["what", "CPU ms", "budget"])

    rows = []
    for n in (3, 10, 30, 100):
        net, question = ask(n)
        one, centre = ADMM(net), Central(net, solver="piqp")
        distributed = measure(lambda: one.V_and_Q(*question), repeats=2, rounds=3).cpu  # noqa: B023
        sparse = measure(lambda: derivatives(centre.V_and_Q(*question)[1]), repeats=3, rounds=3).cpu  # noqa: B023
        condensed = None
        if n <= 10:
            dense = Central(net, solver="daqp")
            condensed = 1e3 * measure(lambda: derivatives(dense.V_and_Q(*question)[1]), repeats=3, rounds=3).cpu  # noqa: B023
        rows.append([str(n), 1e3 * distributed, 1e6 * distributed / n, 1e3 * sparse, 1e6 * sparse / n, condensed])
    table(
        "V and Q, N = 10, growing networks (line of 3, then rings)", rows,
        ["agents", "ADMM ms", "us an agent", "central, piqp ms", "us an agent", "central, daqp ms"],
    )  # fmt: skip
    growth = [rows[3][k] / rows[2][k] for k in (2, 4)]

    rows = []
    for horizon in (10, 20, 50):
        net, question = ask(3, horizon)
        one, centre = ADMM(net), Central(net)
        distributed = measure(lambda: one.V_and_Q(*question), repeats=2, rounds=3).cpu  # noqa: B023
        whole_centre = measure(lambda: derivatives(centre.V_and_Q(*question)[1]), repeats=3, rounds=3).cpu  # noqa: B023
        rows.append([str(horizon), 1e3 * distributed, 1e3 * whole_centre, centre.mpc.solver])
    table("V and Q, 3 agents, longer horizons", rows, ["N", "ADMM ms", "central ms", "its solver"])

    for what, took, most in (
        ("ADMM", reached, ADMM_MS), ("second order", second, CENTRAL_MS), ("learning step", whole, STEP_MS)
    ):  # fmt: skip
        print(f"  {what}, {most:g} ms: {budget(1e3 * took, most)}")
    return all([
        cheaper(PLAIN, "each QP by piqp", plain),
        verdict(f"a learning step at most {OVERHEAD:g} times what it solves", whole <= OVERHEAD * second),
        verdict(f"from 30 to 100 agents at most {GROWTH:g} times as much an agent", max(growth) <= GROWTH),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(not main())
