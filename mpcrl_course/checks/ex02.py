"""Exercise 02, on how optimisation can decide.

Seven items: the cost of a shifted plan, the gaps of multiple shooting, an optimal-control problem with soft bounds,
the shift, a loop with a fault, a back-off for a state that is only estimated, and why real-time iteration fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.checks.ex06 import NoSolution, minimum
from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs import cartpole, linear
from mpcrl_course.envs.linear import A, B, LinearParameters, LinearPlant
from mpcrl_course.mpc import riccati
from mpcrl_course.problems.linear import linear_mpc

W_X, W_U = 0.5 * np.eye(2), np.array([[0.25]])
#: Riccati solution and gain of the linear plant: terminal cost x'P x, and u = -K x at the end of a shifted plan.
P, K = riccati(A, B[:, None], W_X, W_U)
P, K = np.round(P, 4), np.round(K, 4)

mpc = linear_mpc()
#: A theta of the linear plant's MPC: the plant's model, the noise's mean, a back-off.
exact = mpc.parameters.pack(A=A, B=B, b=[-0.05, 0.0], x_lb=[0.05, 0.0])
#: The same with one entry of the model a little wrong: 1.07 for 1.1.
theta = mpc.parameters.pack(exact, A=[[0.9, 0.35], [0.0, 1.07]])

# --------------------------------------------------------------------------------- 1: the cost of a shifted plan

V_NOW, L_NOW, L_LAST, END, L_END, NEW_END = 6.40, 1.75, 0.55, 0.90, 0.31, 0.52

predict = Predict(
    1,
    "cost of the shifted plan",
    reference=V_NOW - L_NOW - END + L_END + NEW_END,
    rtol=0.0,
    atol=0.005,
    when_right="The next optimum costs no more than this: with an exact terminal cost the last three terms cancel, and "
    "V falls by L(s, u₀) at least.",
    hints=[
        "Write both sums under each other: stage costs 0 … N−1 and the terminal cost of the old plan, and those of the "
        "shifted one. Which terms stand in both?",
        "The old plan pays V_f at x_N. The shifted plan drives on from there: it pays a stage cost at x_N instead, and "
        "V_f one step later.",
    ],
    mistakes=[
        Mistake("no shift", "This is the cost of the old plan. Its first stage lies in the past now.", V_NOW),
        Mistake("ends cancelled",
                "V(s) − L(s, u₀) needs the three terms at the end to cancel. They do so for the exact terminal cost; "
                "here they do not.", V_NOW - L_NOW),
        Mistake("old terminal cost kept",
                "The old plan's V_f(x_N) is still in your sum, besides the new one: it stood for what comes after x_N.",
                V_NOW - L_NOW + L_END + NEW_END),
        Mistake("terminal costs exchanged",
                "The signs of the two terminal costs are exchanged: the old plan's goes, the shifted one's comes.",
                V_NOW - L_NOW + END + L_END - NEW_END),
        Mistake("stage N−1 paid again",
                "You have added the stage N−1. It is in V(s) already: both plans pay it, once.",
                V_NOW - L_NOW - END + L_LAST + L_END + NEW_END),
        Mistake("new terminal cost missing",
                "The shifted plan has an end, too: V_f at x_{N+1}.", V_NOW - L_NOW - END + L_END),
        Mistake("new stage missing",
                "The shifted plan has N stages like the old one: the stage at x_N, with the input −K x_N, is missing.",
                V_NOW - L_NOW - END + NEW_END),
        Mistake("stage 0 still in it",
                "The first stage cost L(s, u₀) is still in your sum. It has been paid.", V_NOW - END + L_END + NEW_END),
        Mistake("last stage dropped",
                "You have dropped the stage N−1 for the stage 0. The shifted plan keeps u₁ … u_{N−1}.",
                V_NOW - L_LAST - END + L_END + NEW_END),
        Mistake("stage N−1 counted as the end",
                "The stage N−1 is in both plans. Only what stands at x_N changes.",
                V_NOW - L_NOW - L_LAST - END + L_END + NEW_END),
        Mistake("added", "You have added L(s, u₀). The shifted plan starts one step later: it does not pay it.",
                V_NOW + L_NOW - END + L_END + NEW_END),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------ 2: the gaps of multiple shooting


def gaps(s, x, u) -> np.ndarray:
    """Return x_0 - s and x_{k+1} - f(x_k, u_k), row by row, shape (N + 1, 4).

    f is a step of the cart-pole, s (4,) its initial state, x (N + 1, 4) are the states of a plan and u (N, 1) its
    forces.
    """
    return np.vstack([x[0] - s, x[1:] - cartpole.dynamics(x[:-1], u)])


def _gaps_by_loop(s, x, u):
    rows = [x[0] - s]
    for k in range(len(u)):
        rows.append(x[k + 1] - cartpole.dynamics(x[k], u[k]))
    return np.array(rows)


def _gaps_by_casadi(s, x, u):
    state, force = ca.SX.sym("x", 4), ca.SX.sym("u")
    f = ca.Function("f", [state, force], [cartpole.dynamics(state, force)])
    return x - np.vstack([s, f.map(len(u))(x[:-1].T, u.T).full().T])


def _simulated(s, x, u):
    states = [np.asarray(s, dtype=float)]
    for force in u:
        states.append(cartpole.dynamics(states[-1], force))
    return x - np.array(states)


def _with_row(row: int, change: Callable) -> Callable:
    def wrong(s, x, u):
        found = gaps(s, x, u)
        found[row] = change(s, x, u)
        return found

    return wrong


def _gap_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for N in (3, 5, 4):
        x = rng.uniform([-1.5, 0.4, -1.0, -2.0], [1.5, 2.8, 1.0, 2.0], (N + 1, 4))
        x[2, 1] += 4.5  # a gap of more than half a turn
        s = x[0] + rng.uniform(0.02, 0.1, 4)
        probes.append((s, x, rng.uniform(2.0, 14.0, (N, 1)) * rng.choice([-1.0, 1.0], (N, 1))))
    return probes


def _wrapped(s, x, u):
    found = gaps(s, x, u)
    found[:, 1] = (found[:, 1] + np.pi) % (2 * np.pi) - np.pi
    return found


def _stacked(of_stages: Callable) -> Callable:
    return lambda s, x, u: np.vstack([x[0] - s, of_stages(x, u)])


shooting = Fill(
    2,
    "the gaps of multiple shooting",
    reference=gaps,
    probes=_gap_probes,
    compare=close(rtol=1e-6, atol=1e-8),
    when_right="All of them zero: then, and only then, is the plan one that the model can drive.",
    hints=[
        "Row 0 ties the plan to the state: what should x[0] be? Row k+1 ties two neighbours together.",
        "cartpole.dynamics(x[:-1], u) steps all rows at once: from x_0 … x_{N−1}, with u_0 … u_{N−1}. Where should "
        "these steps have ended?",
    ],
    mistakes=[
        Mistake("dynamics off by one stage",
                "You compare the step from x_k with x_k itself. Where does a step from x_k end?",
                _stacked(lambda x, u: x[:-1] - cartpole.dynamics(x[:-1], u))),
        Mistake("step from its end",
                "The step must start in x_k, where u_k acts; yours starts in x_{k+1}.",
                _stacked(lambda x, u: x[1:] - cartpole.dynamics(x[1:], u))),
        Mistake("input of the next stage",
                "The step from x_k uses u_{k+1}. Which input acts between x_k and x_{k+1}?",
                _stacked(lambda x, u: x[1:] - cartpole.dynamics(x[:-1], np.vstack([u[1:], u[-1:]])))),
        Mistake("input of the stage before",
                "The step from x_k uses u_{k−1}. Which input acts between x_k and x_{k+1}?",
                _stacked(lambda x, u: x[1:] - cartpole.dynamics(x[:-1], np.vstack([u[:1], u[:-1]])))),
        Mistake("sign", "The sign is turned: the plan's state minus what the model says.",
                lambda s, x, u: -gaps(s, x, u)),
        Mistake("sign of the steps", "The sign of the steps' gaps is turned: x_{k+1} minus what the model says.",
                _stacked(lambda x, u: cartpole.dynamics(x[:-1], u) - x[1:])),
        Mistake("sign of the first row", "The sign of row 0 is turned: x_0 minus s, as in the other rows.",
                _with_row(0, lambda s, x, u: s - x[0])),
        Mistake("first step from the state",
                "The first step starts in s. It belongs to the plan's own x_0, which row 0 ties to s.",
                _with_row(1, lambda s, x, u: x[1] - cartpole.dynamics(s, u[0]))),
        Mistake("absolute values", "You have taken absolute values. The solver needs the signs: it is an equation.",
                lambda s, x, u: np.abs(gaps(s, x, u))),
        Mistake("initial state free", "Row 0 is empty: nothing ties the plan to the state s.",
                _with_row(0, lambda s, x, u: 0.0)),
        Mistake("initial state at stage 1", "Row 0 compares s with x_1. The plan starts in x_0.",
                _with_row(0, lambda s, x, u: x[1] - s)),
        Mistake("last gap missing", "The last row is empty: N inputs make N steps, and N + 1 rows with the first one.",
                _with_row(-1, lambda s, x, u: 0.0)),
        Mistake("single shooting",
                "You have simulated from s and compared with that. A gap concerns one step only: it starts in the "
                "plan's own x_k.", _simulated),
        Mistake("angle wrapped",
                "You have wrapped the angle's gap to ±π. It is an equation between numbers: wrapped, a plan may jump "
                "by a turn.", _wrapped),
        Mistake("one stage repeated",
                "All steps use the first input. Between x_k and x_{k+1} acts u_k.",
                _stacked(lambda x, u: x[1:] - cartpole.dynamics(x[:-1], 0 * u + u[:1]))),
        Mistake("model left out",
                "You compare neighbours with each other. Between them acts the model: x_{k+1} − f(x_k, u_k).",
                _stacked(lambda x, u: x[1:] - x[:-1])),
        Mistake("step for a derivative",
                "`cartpole.dynamics` returns the next state already, not a derivative that is multiplied by 0.05 and "
                "added.",
                _stacked(lambda x, u: x[1:] - x[:-1] - cartpole.DT * cartpole.dynamics(x[:-1], u))),
        Mistake("derivative for a step",
                "You have used the time derivative dx/dt as if it were the next state.",
                _stacked(lambda x, u: x[1:] - cartpole.derivative(x[:-1], u))),
        Mistake("Euler step",
                "Your step is Euler's, x + 0.05 dx/dt. The plant's model is cartpole.dynamics, a Runge–Kutta step.",
                _stacked(lambda x, u: x[1:] - x[:-1] - cartpole.DT * cartpole.derivative(x[:-1], u))),
    ],
    variants=[_gaps_by_loop, _gaps_by_casadi],
)  # fmt: skip

# --------------------------------------------------------------------- 3: an optimal-control problem, soft bound


def _written(**slips: Any) -> Callable:
    """Write the problem of item 3 as a sparse QP, with slips; without any it is right."""
    way: dict[str, Any] = dict(
        initial=True, stages=0, steps=0, first_cost=0, terminal=1.0, terminal_at=0, input_cost=1.0, halved=1.0,
        lower=True, upper=True, box_to=None, bounds_at=1, bounds_from=0, bounds_to=0, slack=True, slack_sign=True,
        price=1.0, squared=False, state=0, side=1.0, shared=False, paid_once=False, end_stage=0.0, terminal_times=0,
        cost_at=0, weight=P, model=A,
    )  # fmt: skip
    c = SimpleNamespace(**(way | slips))

    @cache
    def problem(N: int) -> tuple[ca.Function, int]:
        M = N + c.stages
        s, edge, w = ca.SX.sym("s", 2), ca.SX.sym("edge"), ca.SX.sym("w")
        x, u, slack = ca.SX.sym("x", 2, M + 1), ca.SX.sym("u", 1, M), ca.SX.sym("slack", 1, M)
        end = x[:, M + c.terminal_at]
        cost = (c.terminal + c.terminal_times * (M - 1)) * end.T @ c.weight @ end + c.end_stage * end.T @ W_X @ end
        zero, rows = [x[:, 0] - s] if c.initial else [], []  # rows >= 0
        for k in range(M):
            if k >= c.first_cost:
                of = x[:, k + c.cost_at]
                cost += c.halved * of.T @ W_X @ of + c.input_cost * W_U * u[k] ** 2
            sigma = slack[0] if c.shared else slack[k]
            price = c.price * w * (sigma**2 if c.squared else sigma)
            cost += price if k == 0 or not (c.shared or c.paid_once) else 0.0
            if k < M + c.steps:
                zero.append(x[:, k + 1] - c.model @ x[:, k] - B * u[k])
            if c.bounds_from <= k < M + c.bounds_to:
                rows.append(c.side * (x[c.state, k + c.bounds_at] - edge) + sigma)
            rows += [sigma] if c.slack_sign else []
            zero += [] if c.slack else [sigma]
            boxed = c.box_to is None or k < c.box_to
            rows += [1 - u[k]] * (c.upper and boxed) + [u[k] + 1] * (c.lower and boxed)
        equal = ca.vertcat(*zero)
        qp = {"x": ca.vertcat(ca.vec(x), ca.vec(u), ca.vec(slack)), "p": ca.vertcat(s, edge, w), "f": cost,
              "g": ca.vertcat(equal, *rows)}  # fmt: skip
        return ca.qpsol("qp", "piqp", qp, {"error_on_fail": False}), int(equal.numel())

    def cost(s, N, edge, w):
        solver, equal = problem(int(N))
        upper = np.concatenate([np.zeros(equal), np.full(solver.size_out("g")[0] - equal, np.inf)])
        solution = solver(p=np.concatenate([s, [edge, w]]), lbg=0.0, ubg=upper)
        if not solver.stats()["success"]:
            raise NoSolution("no solution")
        return float(solution["f"])

    return cost


ocp_cost = _written()


def _opti_cost(s, N, edge, w):
    opti = ca.Opti("conic")
    x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(1, N)
    opti.subject_to(x[:, 0] == s)
    cost = x[:, N].T @ P @ x[:, N]
    for k in range(N):
        cost += 0.5 * ca.sumsqr(x[:, k]) + 0.25 * u[k] ** 2 + w * slack[k]
        opti.subject_to(x[:, k + 1] == A @ x[:, k] + B * u[k])
        opti.subject_to(opti.bounded(-1, u[k], 1))
        opti.subject_to(x[0, k + 1] >= edge - slack[k])
        opti.subject_to(slack[k] >= 0)
    return minimum(opti, cost)


def _condensed_cost(s, N, edge, w):
    """Single shooting: the inputs and slacks are the only unknowns."""
    opti = ca.Opti("conic")
    u, slack = opti.variable(N), opti.variable(N)
    x, cost = ca.DM(s), w * ca.sum1(slack)
    opti.subject_to(opti.bounded(-1, u, 1))
    opti.subject_to(slack >= 0)
    for k in range(N):
        cost += 0.5 * ca.dot(x, x) + 0.25 * u[k] ** 2
        x = A @ x + B * u[k]
        opti.subject_to(x[0] + slack[k] >= edge)
    return minimum(opti, cost + x.T @ P @ x)


def _ocp_probes(rng: np.random.Generator) -> list[tuple]:
    def state(x1, x2):
        return np.array([rng.uniform(*x1), rng.uniform(*x2)])

    return [
        (state((1.3, 1.6), (0.3, 0.5)), 4, rng.uniform(-0.9, -0.7), rng.uniform(3.0, 6.0)),  # the bound is far
        (state((0.2, 0.4), (0.93, 0.98)), 3, rng.uniform(-0.9, -0.7), rng.uniform(3.0, 6.0)),  # the input's limit binds
        (state((0.5, 0.6), (-0.5, -0.4)), 5, rng.uniform(0.15, 0.2), rng.uniform(30.0, 60.0)),  # it can be kept
        (state((0.3, 0.4), (-0.6, -0.5)), 6, rng.uniform(0.1, 0.15), rng.uniform(0.2, 0.4)),  # violating is cheap
        (state((-0.3, -0.2), (-0.35, -0.2)), 4, rng.uniform(0.05, 0.1), rng.uniform(5.0, 9.0)),  # violated at first
    ]


ocp = Fill(
    3,
    "an optimal-control problem with a soft bound",
    reference=ocp_cost,
    probes=_ocp_probes,
    compare=close(rtol=1e-5, atol=1e-6),
    when_right="States and inputs as unknowns, dynamics as equations, one slack for each bounded state.",
    hints=[
        "One pass of a loop over k = 0 … N−1 holds one stage: its cost, the step from x[:, k] to x[:, k+1], the box on "
        "u[k], and the soft bound on the state in which the step ends.",
        "A slack needs three things: it loosens the bound, it is not negative, and it costs w.",
        "Outside of the loop: the initial state before it, x_Nᵀ P x_N once.",
    ],
    mistakes=[
        Mistake("first stage instead of last constrained",
                "The bound holds for x_0 … x_{N−1}. Nobody can change x_0 any more, and x_N goes free: bound "
                "x_1 … x_N.",
                _written(bounds_at=0)),
        Mistake("last stage not constrained",
                "The bound on x_N is missing: the last step may end anywhere.", _written(bounds_to=-1)),
        Mistake("first step not constrained",
                "The bound on x_1 is missing: it starts where the first input has its say.", _written(bounds_from=1)),
        Mistake("slack unsigned",
                "A slack may be negative here, and staying well inside the bound earns money.",
                _written(slack_sign=False)),
        Mistake("slack unpenalised", "The slacks cost nothing, so the bound binds nothing.", _written(price=0.0)),
        Mistake("slack halved", "The slacks cost half of what they should: the price is w, without a factor.",
                _written(price=0.5)),
        Mistake("slack squared",
                "You have squared the slacks. A quadratic price is not exact: it always violates a little.",
                _written(squared=True)),
        Mistake("one slack for all",
                "One slack serves all stages and is paid once. Each stage has its own.", _written(shared=True)),
        Mistake("no slack", "The bound is hard: from some states no plan keeps it. What are the slacks for?",
                _written(slack=False), raises=True),
        Mistake("upper bound", "The bound is on the wrong side: x_1 must stay above the edge.", _written(side=-1.0)),
        Mistake("bound on the other state", "You have bounded the second state; the bound is one on the first.",
                _written(state=1)),
        Mistake("horizon one too short", "Your plan has N − 1 stages. N inputs, N steps, N stage costs.",
                _written(stages=-1)),
        Mistake("horizon one too long", "Your plan has N + 1 stages. N inputs, N steps, N stage costs.",
                _written(stages=1)),
        Mistake("dynamics off by one stage",
                "The dynamics stop one step early, so that x_N is free. There are N steps, for k = 0 … N−1.",
                _written(steps=-1)),
        Mistake("initial state free", "The plan does not start in s: the solver has chosen its own x_0.",
                _written(initial=False)),
        Mistake("terminal cost missing", "The terminal cost is missing: after the horizon all is free.",
                _written(terminal=0.0)),
        Mistake("terminal cost one stage early", "The terminal cost belongs to x_N; yours is on x_{N−1}.",
                _written(terminal_at=-1)),
        Mistake("running cost at the end, too",
                "x_N pays a stage cost besides its terminal cost: the sum of the stages ends at N − 1.",
                _written(end_stage=1.0)),
        Mistake("stage costs one late",
                "The states of the stage costs are x_1 … x_N. They are x_0 … x_{N−1}; x_N has the terminal cost.",
                _written(cost_at=1)),
        Mistake("terminal cost without P",
                "Your terminal cost is ‖x_N‖², without P: the weight that stands for all that comes after N.",
                _written(weight=np.eye(2))),
        Mistake("transposed A", "A is transposed in the dynamics.", _written(model=A.T)),
        Mistake("terminal cost halved", "The terminal cost has no factor ½ here: x_Nᵀ P x_N.", _written(terminal=0.5)),
        Mistake("first stage cost missing", "The cost of stage 0 is missing: the sum starts at k = 0.",
                _written(first_cost=1)),
        Mistake("state cost doubled", "The states weigh too much: ½ ‖x‖².", _written(halved=2.0)),
        Mistake("input free of charge", "The inputs cost nothing: ¼ u² is missing.", _written(input_cost=0.0)),
        Mistake("input cost doubled", "The inputs weigh too much: ¼ u².", _written(input_cost=2.0)),
        Mistake("no box", "Nothing bounds the inputs: |u_k| ≤ 1 is missing.",
                _written(lower=False, upper=False)),
        Mistake("box from above only", "Nothing bounds the inputs from below: |u_k| ≤ 1 has two sides.",
                _written(lower=False)),
        Mistake("box on the first input only", "Only u_0 is bounded. Every input of the plan must be one that the "
                "plant can do.", _written(box_to=1)),
        Mistake("terminal cost in each stage", "The terminal cost is paid N times. It stands outside of the sum.",
                _written(terminal_times=1)),
        Mistake("one slack paid", "Only the first slack is paid for. The others are free, and so the bound is.",
                _written(paid_once=True)),
    ],
    variants=[_opti_cost, _condensed_cost],
)  # fmt: skip

# ----------------------------------------------------------------------------------------- 4: the shifted plan


def shift_plan(x, u) -> tuple[np.ndarray, np.ndarray]:
    """Return the plan x (N + 1, 2), u (N, 1) one stage further, with the clipped LQR at its end, in the same shapes."""
    return _shift()(x, u)


def _shift(
    last: Callable = lambda x, u: np.clip(-K @ x[-1], -1.0, 1.0),
    step: Callable = lambda x, u: A @ x + B * u,
    first_x: int = 1,
    first_u: int = 1,
) -> Callable:
    def shifted(x, u):
        x, u = np.asarray(x, dtype=float), np.asarray(u, dtype=float)
        u_last = last(x, u)
        new_u = np.vstack([u[first_u:], u_last])[-len(u) :] if first_u else u
        new_x = np.vstack([x[first_x:], step(x[-1], u_last[0])])[-len(x) :] if first_x else x
        return new_x, new_u

    return shifted


def _gain_at_the_new_end(x, u):
    new_x = shift_plan(x, u)[0]
    return new_x, np.vstack([u[1:], np.clip(-K @ new_x[-1], -1.0, 1.0)])


def _shift_by_roll(x, u):
    x, u = np.roll(x, -1, axis=0), np.roll(u, -1, axis=0)
    u[-1] = min(max(-K[0] @ x[-2], -1.0), 1.0)
    x[-1] = A @ x[-2] + B * u[-1]
    return x, u


def _shift_by_lists(x, u):
    states, inputs = [list(row) for row in x][1:], [float(v) for v in np.ravel(u)][1:]
    inputs.append(float(np.clip(-(K[0, 0] * states[-1][0] + K[0, 1] * states[-1][1]), -1, 1)))
    states.append([A[i, 0] * states[-1][0] + A[i, 1] * states[-1][1] + B[i] * inputs[-1] for i in range(2)])
    return np.array(states), np.array(inputs)[:, None]


def _shift_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for N, size in ((5, 0.25), (4, 1.4), (6, 0.2), (5, -1.4)):
        x = rng.uniform(-0.6, 0.6, (N + 1, 2))
        x[-1] = abs(size) * rng.uniform(0.6, 1.0, 2) * (np.sign(size) if size else 1.0)
        probes.append((x, rng.uniform(-0.9, 0.9, (N, 1))))
    return probes


shifting = Fill(
    4,
    "warm start by shifting",
    reference=shift_plan,
    probes=_shift_probes,
    compare=close(rtol=1e-7, atol=1e-9, names=("x", "u")),
    when_right="The solver's guess is the stability proof's candidate: feasible if x_N lies in the terminal set.",
    hints=[
        "What was planned for the next step is the first entry of the new plan. Both arrays keep their shape: what "
        "must be put at the end of each?",
        "The new last input acts in the old x_N; the new last state is where the model then goes.",
    ],
    mistakes=[
        Mistake("warm start not shifted", "This is the old plan: its first stage lies in the past.",
                lambda x, u: (np.array(x), np.array(u))),
        Mistake("inputs not shifted", "The states are shifted, the inputs are still the old ones.", _shift(first_u=0)),
        Mistake("states not shifted", "The inputs are shifted, the states are still the old ones.", _shift(first_x=0)),
        Mistake("only the end replaced",
                "Only the last entries are new. The plan must move up: its first stage lies in the past.",
                lambda x, u: (np.vstack([x[:-1], shift_plan(x, u)[0][-1:]]),
                              np.vstack([u[:-1], shift_plan(x, u)[1][-1:]]))),
        Mistake("shifted by two", "You have dropped two stages at the front; one step has passed.",
                lambda x, u: (np.vstack([x[2:], *2 * [A @ x[-1] + B * np.clip(-K @ x[-1], -1, 1)]]),
                              np.vstack([u[2:], *2 * [np.clip(-K @ x[-1], -1, 1)]]))),
        Mistake("shifted backwards", "The plan has been moved into the past: drop its first entry, not its last.",
                lambda x, u: (np.vstack([x[:1], x[:-1]]), np.vstack([u[:1], u[:-1]]))),
        Mistake("plan rolled round", "The first entries have come back at the end, as np.roll does.",
                lambda x, u: (np.roll(x, -1, axis=0), np.roll(u, -1, axis=0))),
        Mistake("last state held",
                "The last state stands twice at the end. With the new last input the model leads somewhere else.",
                _shift(step=lambda x, u: x)),
        Mistake("last input held",
                "The last input is held. It would do as a guess; asked for is the LQR's, with which the proof works.",
                _shift(last=lambda x, u: u[-1])),
        Mistake("last input zero", "The new last input is zero: the plant is unstable, and would drift.",
                _shift(last=lambda x, u: np.zeros(1))),
        Mistake("sign of the gain", "The sign of the last input is turned: u = −K x.",
                _shift(last=lambda x, u: np.clip(K @ x[-1], -1.0, 1.0))),
        Mistake("not clipped", "The last input leaves the box |u| ≤ 1: the guess should be a plan that can be driven.",
                _shift(last=lambda x, u: -K @ x[-1])),
        Mistake("last state clipped",
                "You have clipped the new state. The box is one of the inputs; the state is what the model says.",
                lambda x, u: (np.vstack([shift_plan(x, u)[0][:-1], np.clip(shift_plan(x, u)[0][-1], -1, 1)]),
                              shift_plan(x, u)[1])),
        Mistake("new state with the old input",
                "The last step uses the old plan's last input. In the old x_N acts the new one, −K x_N.",
                lambda x, u: (np.vstack([x[1:], A @ x[-1] + B * u[-1]]), shift_plan(x, u)[1])),
        Mistake("gain at the new end",
                "The last input belongs to the new last state, where nothing acts any more. It acts in the old x_N.",
                _gain_at_the_new_end),
        Mistake("gain at the wrong state", "The last input belongs to x_{N−1}. It acts in the old x_N.",
                _shift(last=lambda x, u: np.clip(-K @ x[-2], -1.0, 1.0))),
        Mistake("last state without its input", "The last step is A x_N only; the new last input acts, too.",
                _shift(step=lambda x, u: A @ x)),
    ],
    variants=[_shift_by_roll, _shift_by_lists],
)  # fmt: skip

# --------------------------------------------------------------------------------------- 5: a loop with a fault


def drive(s, seed: int, steps: int) -> np.ndarray:
    """Return the stage costs of some steps of the linear plant under its MPC, shape (steps,).

    It starts at s (2,), with the noise of `seed`.
    """
    return _drive()(s, seed, steps)


def loop_as_given(s, seed: int, steps: int) -> np.ndarray:
    """Return what the faulty loop of item 5 returns: it plans from where the last plan thought it would be.

    s, `seed` and `steps` are those of `drive`.
    """
    return _drive(state=lambda s, before, plan: plan.x[1])(s, seed, steps)


def _drive(
    state: Callable = lambda s, before, plan: s,
    action: Callable = lambda plan, k, first: plan.u0,
    again: Callable = lambda k: True,
    cost: Callable = lambda reward: -reward,
) -> Callable:
    """Make the loop from its parts; each may be replaced by a faulty one."""

    def loop(s, seed, steps):
        env, costs = LinearPlant(), []
        env.reset(seed=seed, options={"x": s})
        plan = first = mpc.policy(theta, s)
        for k in range(steps):
            before = s
            s, reward, *_ = env.step(action(plan, k, first))
            costs.append(cost(reward))
            if again(k):
                plan = mpc.policy(theta, state(s, before, plan))
        return np.array(costs)

    return loop


def _drive_by_run(s, seed, steps):
    plant = LinearParameters()
    return run(rowwise(lambda x: mpc.policy(theta, x).u0), plant, [s], plant.draw(seed, 1, steps)).cost[:, 0]


def _drive_by_hand(s, seed, steps):
    noise, x, costs = np.random.default_rng(seed).uniform(-0.1, 0.0, steps), np.array(s), []
    for e in noise:
        u = mpc.values(theta, x[None])[1][0]
        costs.append(linear.stage_cost(x, u))
        x = A @ x + B * u[0] + [e, 0.0]
    return np.array(costs)


def _drive_probes(rng: np.random.Generator) -> list[tuple]:
    inside, outside = ([0.2, -0.25], [0.5, 0.3]), ([-0.25, -0.1], [-0.1, 0.1])
    return [
        (rng.uniform(*where), int(rng.integers(1, 10**6)), steps)
        for where, steps in ((inside, 14), (inside, 9), (outside, 11))
    ]


debug = Debug(
    5,
    "a loop that works in simulation only",
    reference=drive,
    given=loop_as_given,
    probes=_drive_probes,
    compare=close(rtol=1e-5, atol=1e-7),
    when_right="On a plant that is the model, prediction and measurement agree, and the fault cannot be seen. Test "
    "loops on another plant than the model.",
    hints=[
        "Where the plant does what the model says, this loop is right to the last digit. What differs once it does "
        "not?",
        "Where does the loop look at the plant? Follow s: who uses it?",
    ],
    mistakes=[
        Mistake("one step late",
                "The plan now starts from a measured state, but from that of the step before.",
                _drive(state=lambda s, before, plan: before)),
        Mistake("predicted once more",
                "You step the measured state forward by the model before you plan. It *is* already the next state.",
                _drive(state=lambda s, before, plan: A @ s + B * plan.u0 + [-0.05, 0.0])),
        Mistake("averaged with the prediction",
                "You average measurement and prediction. Here the state is measured exactly: believe it.",
                _drive(state=lambda s, before, plan: 0.5 * (s + plan.x[1]))),
        Mistake("state pushed into the bounds",
                "You clip the state before planning. The plant is where it is, also outside of its bounds.",
                _drive(state=lambda s, before, plan: np.clip(s, linear.LOWER, linear.UPPER))),
        Mistake("second input",
                "The plan is right, but its second input is applied. The plan starts at the present state: its first.",
                _drive(action=lambda plan, k, first: plan.u[1])),
        Mistake("end of the plan", "It plans from the last state of the plan, which lies the whole horizon ahead.",
                _drive(state=lambda s, before, plan: plan.x[-1])),
        Mistake("model's own state",
                "It plans from what the model says of the measured state, one step on: x_1 of A x + B u without noise.",
                _drive(state=lambda s, before, plan: A @ before + B * plan.u0)),
        Mistake("second input of the given loop",
                "Still without feedback, and now the second input of each plan is applied. Repair where the plan "
                "starts.",
                _drive(state=lambda s, before, plan: plan.x[1], action=lambda plan, k, first: plan.u[1])),
        Mistake("first plan to its end",
                "The inputs are those of the first plan, one after the other: that is open loop. Plan again at every "
                "step.", _drive(action=lambda plan, k, first: first.u[min(k, len(first.u) - 1)])),
        Mistake("never planned again",
                "The first input of the first plan is applied again and again. The plant moves; the start of the plan "
                "does not.",
                _drive(again=lambda k: False)),
        Mistake("every other step",
                "The loop plans at every other step only, and applies the same first input twice.",
                _drive(again=lambda k: k % 2 == 1)),
        Mistake("rewards for costs", "The signs are turned: a reward is minus a cost.",
                _drive(cost=lambda reward: reward)),
    ],
    variants=[_drive_by_run, _drive_by_hand],
)  # fmt: skip

# -------------------------------------------------------------------------- 6: a back-off for an estimated state

#: Standard deviation of the measurement of x_1, and the covariance of the plant's noise.
MEASURED, W_NOISE = 0.1, np.diag([0.1**2 / 12, 0.0])
C = np.array([[1.0, 0.0]])


def estimated_loop(back_off: float, variance: float, seed: int, runs: int = 12, steps: int = 200):
    """Run the MPC on Kalman-filtered measurements of x_1, several runs at once.

    Parameters
    ----------
    back_off : float
        Entry x_lb1 of theta.
    variance : float
        Of the measurement, as the filter believes it to be.
    seed, runs, steps : int
        Of the noise; the number of runs and their length.

    Returns
    -------
    x : ndarray, shape (steps, runs, 2)
        True states.
    estimates : ndarray, shape (steps, runs, 2)
    cost : ndarray, shape (steps, runs)
        Stage costs.
    """
    t = mpc.parameters.pack(exact, x_lb=[back_off, 0.0])
    rng, b = np.random.default_rng(seed), np.array([-0.05, 0.0])
    e, v = rng.uniform(-0.1, 0.0, (steps, runs)), MEASURED * rng.standard_normal((steps, runs))
    x, estimate, cov = np.tile(linear.START, (runs, 1)), np.zeros((runs, 2)), np.diag([0.1**2, 0.3**2])
    states, estimates, costs = [], [], []
    for k in range(steps):
        _, u = mpc.values(t, estimate)
        states.append(x)
        estimates.append(estimate)
        costs.append(linear.stage_cost(x, u))
        x = x @ A.T + u * B + np.stack([e[k], np.zeros(runs)], axis=1)
        y = x[:, 0] + v[k]
        estimate, cov = estimate @ A.T + u * B + b, A @ cov @ A.T + W_NOISE
        G = cov @ C.T / (C @ cov @ C.T + variance)
        estimate = estimate + (y - estimate[:, 0])[:, None] * G[:, 0]
        cov = (np.eye(2) - G @ C) @ cov
    return np.array(states), np.array(estimates), np.array(costs)


def estimate_error(variance: float, seed: int, runs: int = 12, steps: int = 200) -> float:
    """Return the root mean square error of the estimate of x_1; the inputs, which are known, do not change it.

    `variance`, `seed`, `runs` and `steps` are those of `estimated_loop`.
    """
    rng, b = np.random.default_rng(seed), np.array([-0.05, 0.0])
    e, v = rng.uniform(-0.1, 0.0, (steps, runs)), MEASURED * rng.standard_normal((steps, runs))
    error, cov, errors = np.tile(linear.START, (runs, 1)), np.diag([0.1**2, 0.3**2]), []
    for k in range(steps):
        errors.append(error[:, 0])
        cov = A @ cov @ A.T + W_NOISE
        G = cov @ C.T / (C @ cov @ C.T + variance)
        error = error @ A.T + np.stack([e[k], np.zeros(runs)], axis=1) - b
        error = error - (error[:, 0] + v[k])[:, None] * G[:, 0]
        cov = (np.eye(2) - G @ C) @ cov
    return float(np.sqrt(np.mean(np.square(errors[20:]))))


def _numbers(answer) -> tuple[float, float]:
    if not isinstance(answer, Mapping) or set(answer) != {"back_off", "variance"}:
        raise TypeError('give a dict with the entries "back_off" and "variance"')
    back_off, variance = (float(answer[name]) for name in ("back_off", "variance"))
    if not (np.isfinite([back_off, variance]).all() and -1.0 <= back_off <= 1.0 and variance >= 0.0):
        raise ValueError(
            f"back_off must lie in [-1, 1], variance must not be negative, but they are {back_off}, {variance}"
        )
    return back_off, max(variance, 1e-12)


def measure(answer, seed: int) -> dict[str, float]:
    """Measure the loop: mean stage cost, share of steps with x_1 < 0 in per cent, and the estimate's error.

    The error of the estimate of x_1 is given in parts of that with the true variance, on the same noise.

    Parameters
    ----------
    answer : mapping with 'back_off' and 'variance'
    seed : int
    """
    back_off, variance = _numbers(answer)
    x, _, cost = estimated_loop(back_off, variance, seed)
    return {"mean stage cost": float(cost.mean()), "steps with x1 < 0 (%)": float(100.0 * (x[..., 0] < 0.0).mean()),
            "error of the estimate (of the least)": estimate_error(variance, seed) / estimate_error(MEASURED**2, seed),
            }  # fmt: skip


def _if(test: Callable[[float, float, Mapping], bool]) -> Callable:
    return lambda answer, measured: bool(test(*_numbers(answer), measured))


def _answer(back_off: float, variance: float) -> dict[str, float]:
    return {"back_off": back_off, "variance": variance}


design = Design(
    6,
    "a back-off for an estimated state",
    reference=_answer(0.175, 0.01),
    measure=measure,
    targets={"mean stage cost": ("<=", 0.105), "steps with x1 < 0 (%)": ("<=", 1.0),
             "error of the estimate (of the least)": ("<=", 1.05)},
    when_right="What the filter does not know belongs into the tightening, besides the noise to come.",
    hints=[
        "The variance has the unit of y². The *standard deviation* of the measurement is given.",
        "With a known state 0.05 is enough: half the width of the noise. Here the estimate of x₁ is wrong by some "
        "0.06, too, and by twice that now and then. Which distance does that ask for?",
        "Fix the variance first; then try back-offs from 0.05 to 0.3, and watch both numbers.",
    ],
    mistakes=[
        Mistake("standard deviation for variance",
                "Your variance is the standard deviation. The filter divides by a variance: with ten times too much of "
                "it, it hardly listens.",
                _if(lambda back_off, variance, m: abs(variance - MEASURED) < 0.02), _answer(0.2, 0.1)),
        Mistake("measurement believed",
                "The variance is nearly zero: the filter takes every measurement for the truth, noise and all, and x₂ "
                "with it.",
                _if(lambda back_off, variance, m: variance < 0.002), _answer(0.15, 0.0)),
        Mistake("measurement ignored",
                "The variance is so large that the filter hardly listens. The plant is unstable: what is not corrected "
                "grows.",
                _if(lambda back_off, variance, m: variance > 0.5), _answer(0.15, 10.0)),
        Mistake("listens too much",
                "The filter's estimate is worse than it could be: it believes the measurement to be better than it is.",
                _if(lambda back_off, variance, m: variance < 0.005), _answer(0.175, 0.003)),
        Mistake("listens too little",
                "The filter's estimate is worse than it could be: it believes the measurement to be worse than it is.",
                _if(lambda back_off, variance, m: variance > 0.032), _answer(0.2, 0.06)),
        Mistake("back-off outwards", "The back-off is negative: that allows the MPC to plan beyond the bound.",
                _if(lambda back_off, variance, m: back_off < -1e-9), _answer(-0.05, 0.01)),
        Mistake("no back-off", "There is no back-off: on the bound half of all errors lead across it.",
                _if(lambda back_off, variance, m: back_off < 0.01), _answer(0.0, 0.01)),
        Mistake("back-off of a known state",
                "This back-off covers the noise to come, as if the state were known. The estimate is wrong, too.",
                _if(lambda back_off, variance, m: back_off < 0.08), _answer(0.05, 0.01)),
        Mistake("back-off too small",
                "Nearly: the bound is still crossed too often. How wrong is the estimate of x₁, and how large is the "
                "noise to come?",
                _if(lambda back_off, variance, m: m["steps with x1 < 0 (%)"] > 1.0), _answer(0.12, 0.01)),
        Mistake("back-off too large",
                "Safe, but dear: the MPC keeps further from the bound than its errors reach.",
                _if(lambda back_off, variance, m: back_off > 0.2), _answer(0.3, 0.01)),
    ],
    variants=[_answer(0.18, 0.015), _answer(0.17, 0.012), _answer(0.19, 0.02)],
)  # fmt: skip

# ------------------------------------------------------------------------------ 7: why real-time iteration fails

explain = Explain(
    7,
    "why plain real-time iteration fails",
    reference="e",
    choices={
        "a": "The model: an MPC that believes in a wrong mass plans swing-ups that the real cart cannot do, and so it "
        "has to crash.",
        "b": "The solver: the quadratic problems of these steps are too hard for it, and it stops before it has solved "
        "them well enough.",
        "c": "The time: one iteration takes about a millisecond, and within that time nothing can be computed "
        "well enough to swing up.",
        "d": "The horizon: two seconds are too short for a motor of 10 N, so that the plan ends before the pole is up "
        "and leads nowhere.",
        "e": "The full step: each quadratic problem holds near the guess only, and with the wrong model the plant "
        "lands too far from the guess for it.",
    },
    reasons={
        1: "ipopt believes in the same wrong mass, and swings up from seven of the eight starts.",
        2: "With 1.2 kg the cart is easier to swing up: the last line costs no more than that of ipopt.",
        3: "Told the mass, the same single iteration swings up from all starts, without a failed solve.",
        4: "With line search it costs the same from every start, so that no step was ever too long.",
        5: "From one start even ipopt runs into the end of the track.",
    },
    carrying=(1, 3),
    when_right="Two pairs of lines that differ in one thing each: what is left is what the two do to each other.",
    hints=[
        "Compare two lines that have the same model, the same horizon and the same starts, and differ in how each "
        "problem is solved.",
        "Then compare two lines that solve in the same way and differ in what they believe.",
    ],
    mistakes=[
        Mistake("the model alone",
                "ipopt believes in the same wrong mass, at every step, and crashes only where the plan has no room. A "
                "wrong model costs something; it need not crash.", "a"),
        Mistake("the quadratic solver",
                "Told the mass, the same solver solves as many problems of the same kind without one failure.", "b"),
        Mistake("too little time",
                "Told the mass, the same single iteration swings up from all starts, at the lowest cost of all.", "c"),
        Mistake("the horizon",
                "All lines have the same horizon and the same motor, and two of them swing up from nearly all starts.",
                "d"),
        Mistake("an easier plant",
                "Not reason 2: the plant's cart weighs 1.2 kg in every line. Only what the model believes differs.", 2),
        Mistake("line search never at work",
                "Not reason 4: 267 of its solves failed. It refused the steps; no shorter one helped, and the old plan "
                "went on.", 4),
        Mistake("one start for all",
                "Reason 5 is true, and tells of that one start, where the plan leans on the end of the track. The "
                "first line fails from three more.", 5),
    ],
)  # fmt: skip

exercise = Exercise(
    2,
    "How can optimisation decide?",
    [predict, shooting, ocp, shifting, debug, design, explain],
)
