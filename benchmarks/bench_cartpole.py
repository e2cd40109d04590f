"""Cart-pole swing-up, N = 40: real-time iteration against ipopt (plain, expanded) and fatrop.

First the closed loop from 20 random starts (10 s each), then one decision of each solver at the same states with the
same shifted start. A 20 % heavier cart than the model's makes plain real-time iteration run away.

    python benchmarks/bench_cartpole.py [starts]
"""

import sys
import time
from dataclasses import replace

import casadi as ca
import numpy as np
from table import budget, cheaper, table, verdict

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import CartPole, CartPoleParameters, random_start, upright
from mpcrl_course.mpc import SolverError, shift
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model

STARTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
STEPS = 200
MEDIAN_MS, TAIL_MS = 0.8, 2.0  # a decision: shown, not judged
TARGET = 10.0  # times less CPU than ipopt as usually called
FORCES = (10.0, 15.0, 20.0)
CHANGES = {
    "nominal": {},
    "small noise": {"process_noise": 0.5, "measurement_noise": 0.005},
    "pole +20 %": {"mass": 0.24},
    "pole -20 %": {"mass": 0.16},
    "cart -20 %": {"cart_mass": 0.8},
    "cart +20 %": {"cart_mass": 1.2},
}


def loops(mpc, theta, plant):
    """20 closed loops: swing-ups, costs, seconds of all decisions but the first, share of each status."""
    rng, controller, runs, seconds = np.random.default_rng(1), Receding(mpc, theta), [], []
    for i in range(STARTS):  # one after the other: a cart that has crashed asks for no more decisions
        runs.append(run(controller, plant, [random_start(rng)], plant.draw(i, 1, STEPS)))
        seconds += controller.seconds[0][1:]
    later = np.concatenate([found.status[1:] for found in runs])
    return (
        sum(bool(upright(found.x)[0]) and found.ended[0] == STEPS for found in runs),
        np.array([found.cost.sum() for found in runs]), np.array(seconds),
        [int((later == word).sum()) for word in ("line search", "fallback", "failed")],
    )  # fmt: skip


def closed_loops() -> bool:
    """Print the table of closed loops; return whether the targets are met."""
    rows, fine, times = [], True, []
    for force in FORCES:
        model = CartPoleParameters(max_force=force)
        rti, ipopt = cartpole_mpc(model), cartpole_mpc(model, solver="ipopt")
        plain = cartpole_mpc(model, line_search=False, fallback=False)
        theta = rti.parameters.initial()
        for name, change in CHANGES.items():
            plant = replace(model, **change)
            reference = loops(ipopt, theta, plant)[1].mean() if name == "nominal" else None
            ways = [("RTI", rti, theta)]
            if name == "cart +20 %":
                ways += [("plain RTI", plain, theta), ("RTI, told", rti, with_model(rti, theta, plant))]
            for way, mpc, vector in ways:
                count, costs, seconds, words = loops(mpc, vector, plant)
                median, tail = 1e3 * np.median(seconds), 1e3 * np.quantile(seconds, 0.99)
                ratio = None if reference is None else f"{costs.mean() / reference:.4f}"
                rows.append([f"{force:.0f} N, {name}, {way}", f"{count} of {STARTS}", costs.mean(), ratio,
                             median, tail, *words])  # fmt: skip
                if way != "plain RTI":
                    fine &= count == STARTS
                    times.append((median, tail))
                if reference is not None:
                    fine &= costs.mean() <= 1.01 * reference
    columns = ("closed loop of 10 s", "swung up", "cost", "to ipopt's", "CPU ms", "99 %", "line searches",
               "fallbacks", "failures")  # fmt: skip
    table(f"Cart-pole swing-up from {STARTS} random starts, N = 40", rows, columns)
    for what, worst, most in zip(("median", "99 %"), np.max(times, axis=0), (MEDIAN_MS, TAIL_MS), strict=True):
        print(f"  {what} at most {most} ms: {budget(worst, most)}")
    return verdict("all but plain RTI swing up; cost within 1 % of ipopt's", fine)


def usual(t, plugin, expand):
    """The solver as it is usually called: CasADi's nlpsol with its defaults, on MX, stage by stage.

    By default ipopt and fatrop relax every bound by 1e-8, also those of 40 slacks that cost 300 each: hence their
    error of V.
    """
    problem = t.problem
    N, nx, nu = problem.horizon, problem.n_states, problem.n_inputs
    theta, s = ca.MX.sym("theta", t.theta.numel()), ca.MX.sym("s", nx)
    step = ca.Function("f", [t.X[:, 0], t.U[:, 0], t.theta], [t.next[0]])
    a, b, p = ca.SX.sym("a", nx), ca.SX.sym("b", nu), problem.parameters.unpack(t.theta)
    stage = ca.Function("stage", [a, b, t.theta], [problem.stage_cost(0, a, b, p)])
    end = ca.Function("end", [a, t.theta], [problem.terminal_cost(a, p)])
    track, weight = (theta[problem.parameters.index(name)] for name in ("track", "track_weight"))
    # in the order x_0, u_0, slack_0, x_1, …: fatrop finds the structure of stages in it
    w, lbw, ubw, g, lbg, ubg, equality, f = [], [], [], [], [], [], [], 0
    xs = [ca.MX.sym(f"x{k}", nx) for k in range(N + 1)]
    for k in range(N + 1):
        slack = ca.MX.sym(f"slack{k}", 1)
        w += [xs[k]]
        lbw += [-np.inf] * nx
        ubw += [np.inf] * nx
        if k < N:
            u = ca.MX.sym(f"u{k}", nu)
            w += [u]
            lbw += list(problem.input_lower)
            ubw += list(problem.input_upper)
            f += stage(xs[k], u, theta)
        else:
            f += end(xs[k], theta)
        if k > 0:
            w += [slack]
            lbw += [0.0]
            ubw += [np.inf]
            f += weight * slack
        if k < N:
            g.append(xs[k + 1] - step(xs[k], u, theta))
            lbg += [0.0] * nx
            ubg += [0.0] * nx
            equality += [True] * nx
        if k == 0:
            g.append(xs[0] - s)
            lbg += [0.0] * nx
            ubg += [0.0] * nx
            equality += [True] * nx
        else:
            g.append(ca.vertcat(xs[k][0] - slack - track, -xs[k][0] - slack - track))
            lbg += [-np.inf] * 2
            ubg += [0.0] * 2
            equality += [False] * 2
    options = {"print_time": False, "error_on_fail": False, "expand": expand}
    if plugin == "ipopt":
        options["ipopt"] = {"print_level": 0, "sb": "yes"}
    else:
        options |= {"structure_detection": "auto", "equality": equality, "fatrop": {"print_level": 0}}
    nlp = {"x": ca.vertcat(*w), "p": ca.vertcat(theta, s), "f": f, "g": ca.vertcat(*g)}
    solver = ca.nlpsol("usual", plugin, nlp, options)

    def solve(vector, state, guess):
        start = []
        for k in range(N + 1):
            start += list(guess.x[k]) + (list(guess.u[k]) if k < N else []) + ([0.0] if k else [])
        answer = solver(x0=start, p=np.concatenate([vector, state]), lbx=lbw, ubx=ubw, lbg=lbg, ubg=ubg)
        if not solver.stats()["success"]:
            raise SolverError("not converged", str(solver.stats()["return_status"]), state, None, vector)
        return float(answer["f"])

    return solve


def decisions() -> bool:
    """Print the table of single decisions; return whether ipopt as usually called costs 10 times as much."""
    mpc = cartpole_mpc()
    theta, env, rng = mpc.parameters.initial(), CartPole(), np.random.default_rng(2)
    asked = []  # states and shifted plans of four swing-ups
    for _ in range(4):
        _, info = env.reset(options={"x": random_start(rng)})
        plan = mpc.reference.policy(theta, info["x"])
        for _ in range(50):
            info = env.step(plan.u0)[4]
            plan = shift(plan)
            asked.append((info["x"], plan))
            plan = mpc.policy(theta, info["x"], warm_start=plan)
    exact = np.array([mpc.reference.policy(theta, s, warm_start=guess).value for s, guess in asked])
    solvers = {
        "real-time iteration": lambda th, s, guess: mpc.policy(th, s, warm_start=guess).value,
        "ipopt of the door (expanded, tolerance 1e-11)":
            lambda th, s, guess: mpc.reference.policy(th, s, warm_start=guess).value,
    }  # fmt: skip
    for name, plugin, expand in (
        ("ipopt plain", "ipopt", False), ("ipopt expanded", "ipopt", True), ("fatrop expanded", "fatrop", True)
    ):  # fmt: skip
        try:
            solvers[name] = usual(mpc.transcription, plugin, expand)
        except RuntimeError as error:  # this CasADi lacks the plugin
            print(f"  {name} cannot be built: {str(error).strip().splitlines()[-1]}")
    seconds, found = np.empty((len(solvers), len(asked))), np.full((len(solvers), len(asked)), np.nan)
    for block in np.split(np.arange(len(asked)), 8):  # the solvers in turn, each for half a swing-up, as in a loop
        for i, solve in enumerate(solvers.values()):
            for k in block:
                start = time.process_time()
                try:
                    found[i, k] = solve(theta, *asked[k])
                except SolverError:
                    pass
                seconds[i, k] = time.process_time() - start
    errors, times = np.abs(found - exact) / (1.0 + np.abs(exact)), np.median(seconds / seconds[0], axis=1)
    rows = [
        [name, 1e3 * np.median(took), 1e3 * np.quantile(took, 0.99), ratio, f"{np.nanmedian(error):.0e}",
         int((error > 1e-3).sum()), int(np.isnan(error).sum())]
        for name, took, ratio, error in zip(solvers, seconds, times, errors, strict=True)
    ]  # fmt: skip
    columns = ("one decision, 15 N", "CPU ms", "99 %", "ratio to RTI", "error of V", "off by > 1e-3", "failures")
    table(f"The same {len(asked)} states, each from the shifted plan before it", rows, columns)
    return cheaper(TARGET, "ipopt plain", dict(zip(solvers, times, strict=True))["ipopt plain"])


if __name__ == "__main__":
    fine = decisions()
    sys.exit(not (closed_loops() and fine))
