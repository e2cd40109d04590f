"""Exercise 06, on whether an MPC can be the function approximator.

Seven items: the TD error of a greedy step, V and Q from one optimal-control problem, the gradient from the
multipliers, the second-order step, a loop with a fault, a theta that needs no learning, and what learning is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import LOWER, START, UPPER, WEIGHT, LinearParameters, LinearPlant, Noise
from mpcrl_course.envs.linear import A as PLANT_A
from mpcrl_course.envs.linear import B as PLANT_B
from mpcrl_course.learners import q_learning as learner
from mpcrl_course.problems.linear import S, linear_mpc

mpc = linear_mpc()
parameters, gamma, N = mpc.parameters, mpc.discount, mpc.problem.horizon

# ----------------------------------------------------------------------------- 1: the TD error of a greedy step

# measured at the initial theta: s = (-0.02, 0.8), a = pi(s) = -1, s+ = (0.101, 0.68); the last one is Q(s+, 0)
COST, V_HERE, V_NEXT, Q_ZERO = 1.57, 1.41, 1.21, 1.77
RAISE = 1.0  # of V0


def _delta(cost: float, v_next: float, q: float, discount: float = gamma) -> float:
    return cost + discount * v_next - q


predict = Predict(
    1,
    "TD error after a change of V0",
    reference=_delta(COST, V_NEXT + RAISE, V_HERE + RAISE),
    rtol=0.0,
    atol=0.005,
    when_right="V0 moves Q by 1, but the target only by γ: so V0 can take a constant error out of all TD errors.",
    hints=[
        "The action was greedy. Which of the four numbers is then also Q(s, a)?",
        "V0 is a constant in the MPC's objective: which terms of δ does it enter, and with what factor each?",
    ],
    mistakes=[
        Mistake("V0 ignored",
                "This is δ before the change, or with V0 counted alike in the target and in Q. It enters both, but "
                "not with the same factor.", _delta(COST, V_NEXT, V_HERE)),
        Mistake("V0 in the target only",
                "With this number δ has risen by γ, as if V0 moved the target alone. It is in the objective of Q, too: "
                "what does it do to Q(s, a)?", _delta(COST, V_NEXT + RAISE, V_HERE)),
        Mistake("V0 in Q only",
                "With this number δ has fallen by 1, as if V0 moved Q alone. It is in the objective of V, too: what "
                "does it do to the target?", _delta(COST, V_NEXT, V_HERE + RAISE)),
        Mistake("discount missing",
                "A cost one step later counts less than the same cost now: what multiplies V(s⁺)?",
                _delta(COST, V_NEXT + RAISE, V_HERE + RAISE, 1.0)),
        Mistake("cost discounted",
                "γ multiplies the value of the next state only; the stage cost is paid now.",
                _delta(gamma * COST, V_NEXT + RAISE, V_HERE + RAISE)),
        Mistake("sign",
                "The sign is turned. δ is the target minus Q: positive if the step was dearer than expected.",
                -_delta(COST, V_NEXT + RAISE, V_HERE + RAISE)),
        Mistake("reward",
                "You have counted L as a reward. In this course it is a cost, and costs add up.",
                _delta(-COST, V_NEXT + RAISE, V_HERE + RAISE)),
        Mistake("states swapped",
                "V(s) and V(s⁺) have changed places: the target looks ahead, Q belongs to where you were.",
                _delta(COST, V_HERE + RAISE, V_NEXT + RAISE)),
        Mistake("another action in the target",
                "Q(s⁺, 0) values an action that the MPC would not choose in s⁺. Q-learning's target takes the best "
                "one.",
                _delta(COST, Q_ZERO + RAISE, V_HERE + RAISE)),
        Mistake("Q of another transition",
                "Q(s⁺, 0) is the value of another state and action. δ compares the target with Q(s, a), of the state "
                "that was left and the action that was taken.",
                _delta(COST, V_NEXT + RAISE, Q_ZERO + RAISE)),
        Mistake("no error at all",
                "δ is 0 only where Q(s, a) agrees with what the step has shown, L + γ V(s⁺). Do they agree here?",
                0.0),
        Mistake("Q missing",
                "This is the target alone. Subtract what the MPC had expected of the action.",
                _delta(COST, V_NEXT + RAISE, 0.0)),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------- 2: V and Q from one problem


class NoSolution(RuntimeError):
    """No plan satisfies all constraints, or none is the best."""


def minimum(opti: ca.Opti, cost: ca.MX) -> float:
    """Minimise `cost` subject to the constraints of `opti`, a quadratic problem, and return the least cost.

    Parameters
    ----------
    opti : casadi.Opti
        Made by ``casadi.Opti("conic")``.
    cost : casadi.MX

    Raises
    ------
    NoSolution
        If there is none; it says why.
    RuntimeError
        If the problem is not a quadratic one, say.
    """
    opti.minimize(cost)
    opti.solver("piqp", {"error_on_fail": False})
    try:
        return float(opti.solve().value(cost))
    except RuntimeError as error:
        status = str(error).partition("return_status is '")[2].partition("'")[0]
        if status:
            error = NoSolution(f"no solution found ({status}): do the constraints contradict each other?")
        raise error from None


def ocp_value(theta, s, a=None) -> float:
    """Return V_theta(s), or Q_theta(s, a) if an action is given.

    For theta (16,), a state s (2,) and a number a, which may lie outside [-1, 1].
    """
    return mpc.V(theta, s).value if a is None else mpc.Q(theta, s, a).value


def _written(**slips: Any) -> Callable:
    """Write V and Q once more as a sparse QP, with slips; without any it is right."""
    way: dict[str, Any] = dict(
        # the objective
        V0={"V": 1, "Q": 1}, first=0, half=0.5, shift=0, discounted=True, input_weight=0.5, f=1.0, f_discount=1.0,
        slack_weight=1.0, slack_shift=0, slack_discounted=True, slacks=lambda slack, k: slack[:, k],
        terminal=1.0, terminal_at=N,
        # the constraints
        initial=True, tied=[0], clip=False, steps=N, A=lambda A: A, b=1.0, box={"V": range(N), "Q": range(1, N)},
        sides=slice(0, 2), lower=1, upper=1, bounds_at=1, bounds=N, x_lb=1, x_ub=1, loosens_lower=1, loosens_upper=1,
        slack_sign=True,
    )  # fmt: skip
    c = SimpleNamespace(**(way | slips))

    @cache
    def problem(kind: str) -> tuple[ca.Function, int]:
        theta, s, a = ca.SX.sym("theta", parameters.size), ca.SX.sym("s", 2), ca.SX.sym("a")
        x, u, slack = ca.SX.sym("x", 2, N + 1), ca.SX.sym("u", 1, N), ca.SX.sym("slack", 2, N)
        p = parameters.unpack(theta)
        cost = c.V0[kind] * p.V0 + c.terminal * x[:, c.terminal_at].T @ S @ x[:, c.terminal_at]
        zero = [x[:, 0] - s] if c.initial else []
        if kind == "Q":
            zero += [u[k] - (ca.fmin(ca.fmax(a, -1), 1) if c.clip else a) for k in c.tied]
        rows = []  # >= 0
        for k in range(N):
            weight = gamma ** (k + c.shift) if c.discounted else 1.0
            slack_weight = gamma ** (k + c.shift + c.slack_shift) if c.discounted and c.slack_discounted else 1.0
            if k >= c.first:
                cost += c.f * c.f_discount**k * ca.dot(p.f, ca.vertcat(x[:, k], u[k]))
                cost += c.half * weight * (ca.sumsqr(x[:, k]) + c.input_weight * u[k] ** 2)
            cost += c.half * c.slack_weight * slack_weight * WEIGHT * ca.sum1(c.slacks(slack, k))
            if k < c.steps:
                zero.append(x[:, k + 1] - c.A(p.A) @ x[:, k] - p.B * u[k] - c.b * p.b)
            if k < c.bounds:
                bounded = x[:, k + c.bounds_at]
                rows.append(c.lower * (bounded - LOWER - c.x_lb * p.x_lb + c.loosens_lower * slack[:, k]))
                rows.append(c.upper * (UPPER + c.x_ub * p.x_ub - bounded + c.loosens_upper * slack[:, k]))
            rows += [slack[:, k]] if c.slack_sign else []
            rows += [side for side in (1 - u[k], u[k] + 1)[c.sides] if k in c.box[kind]]
        equal = ca.vertcat(*zero)
        qp = {
            "x": ca.vertcat(ca.vec(x), ca.vec(u), ca.vec(slack)),
            "p": ca.vertcat(theta, s, a),
            "f": cost,
            "g": ca.vertcat(equal, *rows),
        }
        return ca.qpsol("qp", "piqp", qp, {"error_on_fail": False}), int(equal.numel())

    def value(theta, s, a=None):
        solver, equal = problem("V" if a is None else "Q")
        upper = np.concatenate([np.zeros(equal), np.full(solver.size_out("g")[0] - equal, np.inf)])
        solution = solver(p=np.concatenate([theta, s, np.ravel(0.0 if a is None else a)]), lbg=0.0, ubg=upper)
        if not solver.stats()["success"]:
            raise NoSolution
        return float(solution["f"])

    return value


def _zero_taken_for_none(theta, s, a=None):
    return ocp_value(theta, s, a or None)


def _opti_value(theta, s, a=None):
    p = parameters.unpack(theta)
    opti = ca.Opti("conic")
    x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(2, N)
    opti.subject_to(x[:, 0] == s)
    if a is not None:
        opti.subject_to(u[0] == a)
    cost = p.V0 + x[:, N].T @ S @ x[:, N]
    for k in range(N):
        cost += ca.dot(p.f, ca.vertcat(x[:, k], u[k]))
        cost += 0.5 * gamma**k * (ca.sumsqr(x[:, k]) + 0.5 * u[k] ** 2 + WEIGHT * ca.sum1(slack[:, k]))
        opti.subject_to(x[:, k + 1] == p.A @ x[:, k] + p.B * u[k] + p.b)
        opti.subject_to(x[:, k + 1] >= LOWER + p.x_lb - slack[:, k])
        opti.subject_to(x[:, k + 1] <= UPPER + p.x_ub + slack[:, k])
        opti.subject_to(slack[:, k] >= 0)
        if k > 0 or a is None:
            opti.subject_to(opti.bounded(-1, u[k], 1))
    return minimum(opti, cost)


def _some_theta(rng: np.random.Generator, width: float = 0.05) -> np.ndarray:
    change = rng.uniform(0.4, 1.0, parameters.size) * rng.choice([-width, width], parameters.size)
    return np.round(parameters.initial() + change, 3)


def _ocp_probes(rng: np.random.Generator) -> list[tuple]:
    def call(s, a=None, f_u=0.0):
        theta = _some_theta(rng) + parameters.pack(np.zeros(parameters.size), f=[0.0, 0.0, f_u])
        near = np.round(np.add(s, rng.uniform(-0.08, 0.08, 2)), 2)
        return (theta, near, a) if a in (None, 0.0) else (theta, near, round(a + rng.uniform(-0.08, 0.08), 2))

    return [
        call((0.7, 0.85)),  # the first input is at its lower bound
        call((0.25, 0.2), -0.45),
        call((0.25, 0.2), 0.0),  # an action like any other
        call((0.25, 0.2), -1.2),  # outside the box, and less than the MPC would choose
        call((-0.5, -1.4)),  # both lower bounds are violated at once; the inputs are at their upper bound
        call((-0.4, -1.2), 0.4),
        call((1.9, 1.3), 0.5),  # both upper bounds are violated at once; the inputs are at their lower bound
        call((0.3, 0.2), f_u=-2.5),  # the last inputs are at their upper bound
    ]


problem = Fill(
    2,
    "V and Q from one problem",
    reference=ocp_value,
    probes=_ocp_probes,
    compare=close(rtol=1e-4, atol=1e-5),
    when_right="One problem, two values: fixing the first input and dropping its box is all that makes Q out of V.",
    hints=[
        "Write V first (a is None) and run the check: its message is then about Q alone. What does Q know that V "
        "decides?",
        "A loop over k = 0 … N−1 holds one stage: its cost, the step from x[:, k] to x[:, k+1], the two soft bounds "
        "on x[:, k+1] with slack[:, k], the sign of that slack, and the box on u[k].",
        "For Q: one more equality, on u[0]; and the box only where the MPC still has a choice.",
    ],
    mistakes=[
        Mistake("first input free",
                "Q equals V: nothing ties the first input to the given action.",
                _written(tied=[], box={"V": range(N), "Q": range(N)})),
        Mistake("first input and its box free",
                "In Q nothing ties the first input to the given action; and without its box it goes where it likes.",
                _written(tied=[])),
        Mistake("a = 0 taken for none",
                "For a = 0 you return V: your test takes this action for none. In Python 0 counts as false.",
                _zero_taken_for_none),
        Mistake("box kept on the given input",
                "For an action outside the box no plan is left: an input that must equal a has its box as well. In Q "
                "the action is given, not chosen. What still bounds it?",
                _written(box={"V": range(N), "Q": range(N)}), raises=True),
        Mistake("action at the wrong stage",
                "In Q the action has been given to u_1. It is what is applied now: which input is that?",
                _written(tied=[1]), raises=True),
        Mistake("all inputs tied",
                "In Q every input equals the given action. Only the first is given; the MPC still plans the others.",
                _written(tied=range(N), box={"V": range(N), "Q": []})),
        Mistake("action clipped",
                "You have clipped the action to the box. Q values the action it is asked about, also one the MPC "
                "would never choose.", _written(clip=True)),
        Mistake("no box on the first input of V",
                "In V the first input lacks its box: there it is a decision like the others.",
                _written(box={"V": range(1, N), "Q": range(1, N)})),
        Mistake("no box on the last input",
                "The last input has no box. Its index is N − 1.",
                _written(box={"V": range(N - 1), "Q": range(1, N - 1)})),
        Mistake("no box at all",
                "Nothing bounds the inputs: |u_k| ≤ 1 is missing, or is not written as linear bounds.",
                _written(box={"V": [], "Q": []})),
        Mistake("inputs bounded above only", "Nothing bounds the inputs from below: |u_k| ≤ 1 has two sides.",
                _written(sides=slice(0, 1))),
        Mistake("inputs bounded below only", "Nothing bounds the inputs from above: |u_k| ≤ 1 has two sides.",
                _written(sides=slice(1, 2))),
        Mistake("box only in V",
                "In Q no input has a box; but only the first is given.", _written(box={"V": range(N), "Q": []})),
        Mistake("initial state free",
                "The plan does not start in s: the solver has chosen its own x_0.", _written(initial=False)),
        Mistake("last step of the dynamics missing",
                "The dynamics stop one step early, so x_N is free. There are N steps, for k = 0 … N−1.",
                _written(steps=N - 1)),
        Mistake("no b", "The model lacks its constant term b.", _written(b=0.0)),
        Mistake("A transposed", "The model's A is transposed: unpack has already undone how θ stores it.",
                _written(A=lambda A: A.T)),
        Mistake("first stage cost missing",
                "The cost of stage 0 is missing: the sum starts at k = 0.", _written(first=1)),
        Mistake("discount one too many",
                "Every stage is discounted once too often: stage 0 is now, its factor is 1.", _written(shift=1)),
        Mistake("nothing discounted", "The stage costs are not discounted: γᵏ is missing.",
                _written(discounted=False)),
        Mistake("½ missing", "The ½ before γᵏ is missing.", _written(half=1.0)),
        Mistake("terminal cost discounted",
                "The terminal cost has been discounted. Look again at the formula: this MPC does not.",
                _written(terminal=gamma**N)),
        Mistake("terminal cost halved",
                "The terminal cost has no factor ½ here.", _written(terminal=0.5)),
        Mistake("terminal cost missing", "The terminal cost is missing.", _written(terminal=0.0)),
        Mistake("terminal cost one stage early",
                "The terminal cost is that of x_{N−1}. The plan has N + 1 states; which is the last?",
                _written(terminal_at=N - 1)),
        Mistake("f discounted", "The term of f has been discounted. Look again at the formula: here it is not.",
                _written(f_discount=gamma)),
        Mistake("f missing", "The linear term of f is missing.", _written(f=0.0)),
        Mistake("V0 missing", "The constant V0 is missing.", _written(V0={"V": 0, "Q": 0})),
        Mistake("V0 missing in Q", "Q lacks V0: it has the same objective as V.",
                _written(V0={"V": 1, "Q": 0})),
        Mistake("V0 in every stage", "V0 is counted once for every stage; it stands outside the sum.",
                _written(V0={"V": N, "Q": N})),
        Mistake("input weight", "The inputs weigh too much: there is a ½ in the bracket before u², besides the one "
                "outside.", _written(input_weight=1.0)),
        Mistake("slack weight", "The slacks cost twice too much: the ½ γᵏ is for them, too.",
                _written(slack_weight=2.0)),
        Mistake("slack not discounted", "The slacks are not discounted: they stand in the bracket after γᵏ.",
                _written(slack_discounted=False)),
        Mistake("slack discounted once more",
                "The slacks are discounted once too often. σ_{k+1} stands in the bracket of stage k, after γᵏ.",
                _written(slack_shift=1)),
        Mistake("all slacks at every stage",
                "Every stage pays for the slacks of all stages. In the bracket of stage k only σ_{k+1} stands.",
                _written(slacks=lambda slack, k: ca.vec(slack))),
        Mistake("slack free of charge", "The slacks cost nothing, so the bounds on the state bind nothing.",
                _written(slack_weight=0.0)),
        Mistake("slack without a sign",
                "A slack may be negative here, and staying well inside the bounds earns money.",
                _written(slack_sign=False)),
        Mistake("slack loosens no bound",
                "From some states no plan keeps the bounds on the state, and your slacks do not loosen them. What are "
                "they for?", _written(loosens_lower=-1, loosens_upper=-1), raises=True),
        Mistake("slack tightens the upper bound",
                "The upper bound on the state is not loosened by its slack: far above it there is no plan.",
                _written(loosens_upper=-1), raises=True),
        Mistake("slack tightens the lower bound",
                "The lower bound on the state is not loosened by its slack: far below it there is no plan.",
                _written(loosens_lower=-1), raises=True),
        Mistake("constraints contradict each other",
                "There is no plan in any call: some constraints contradict each other. Look at each inequality: which "
                "way does it point?", _written(lower=-1, upper=-1), raises=True),
        Mistake("bounds one stage early", "The bounds hold for x_0 … x_{N−1}. The slack of index k belongs to x_{k+1}.",
                _written(bounds_at=0)),
        Mistake("no bounds on the last state", "x_N has no bounds. They hold for x_1 … x_N.", _written(bounds=N - 1)),
        Mistake("no upper bound on the state", "The upper bound on the state is missing.", _written(upper=0)),
        Mistake("no lower bound on the state", "The lower bound on the state is missing.", _written(lower=0)),
        Mistake("bounds not moved", "The bounds on the state are the plant's own: θ's back-off x_lb, x_ub is missing.",
                _written(x_lb=0, x_ub=0)),
        Mistake("upper bound moved the other way",
                "The upper bound moves the wrong way: x_ub is added to it, as x_lb is to the lower one.",
                _written(x_ub=-1)),
        Mistake("lower bound moved the other way",
                "The lower bound moves the wrong way: x_lb is added to it, as x_ub is to the upper one.",
                _written(x_lb=-1)),
    ],
    variants=[_written(), _opti_value],
)  # fmt: skip

# ---------------------------------------------------------------------------- 3: gradient from the multipliers


BLOCKS = ("V0", "x_lb", "x_ub", "b", "f", "A", "B")


def theta_gradient(x, u, nu, lam_lb, lam_ub) -> np.ndarray:
    """Return dV/dtheta or dQ/dtheta from a plan and its multipliers, shape (16,).

    The plan is x (N + 1, 2), u (N, 1). nu (N + 1, 2) belongs to the initial state and the N steps of the dynamics,
    lam_lb and lam_ub (N, 2) to the bounds on the states.
    """
    return _flat(_blocks(x, u, nu, lam_lb, lam_ub))


def _blocks(x, u, nu, lam_lb, lam_ub, first: int = 1) -> dict[str, Any]:
    nu = nu[first : N + first]
    f = np.concatenate([x[:N].sum(0), u.sum(0)])
    return {"V0": 1.0, "x_lb": lam_lb.sum(0), "x_ub": -lam_ub.sum(0), "b": -nu.sum(0), "f": f,
            "A": -nu.T @ x[:N], "B": -nu.T @ u}  # fmt: skip


def _flat(blocks: dict[str, Any], *last: str) -> np.ndarray:
    order = [name for name in blocks if name not in last] + list(last)
    return np.concatenate([np.ravel(blocks[name], order="F") for name in order])


def _changed(**changes: Callable) -> Callable:
    """Make the gradient with some blocks changed, each by a function of the plan and the right blocks."""

    def wrong(x, u, nu, lam_lb, lam_ub):
        plan = SimpleNamespace(x=x, u=u, nu=nu, lb=lam_lb, ub=lam_ub)
        blocks = _blocks(x, u, nu, lam_lb, lam_ub)
        return _flat(blocks | {name: change(plan, blocks[name]) for name, change in changes.items()})

    return wrong


def _minus(plan, block):
    return -block


def _discounted(plan, block):
    weights = gamma ** np.arange(N)
    return np.concatenate([weights @ plan.x[:N], weights @ plan.u])


def _by_loop(x, u, nu, lam_lb, lam_ub):
    g = np.zeros(16)
    g[0] = 1.0
    for k in range(N):
        g[1:3] += lam_lb[k]
        g[3:5] -= lam_ub[k]
        g[5:7] -= nu[k + 1]
        g[7:9] += x[k]
        g[9] += u[k, 0]
        for j in range(2):
            g[10 + 2 * j : 12 + 2 * j] -= nu[k + 1] * x[k, j]
        g[14:16] -= nu[k + 1] * u[k, 0]
    return g


@cache
def _lagrangian_gradient() -> ca.Function:
    theta = ca.SX.sym("theta", parameters.size)
    x, u, nu = ca.SX.sym("x", N + 1, 2), ca.SX.sym("u", N, 1), ca.SX.sym("nu", N + 1, 2)
    lb, ub = ca.SX.sym("lb", N, 2), ca.SX.sym("ub", N, 2)
    p, lagrangian = parameters.unpack(theta), theta[0]
    for k in range(N):
        lagrangian += ca.dot(p.f, ca.vertcat(x[k, :].T, u[k]))
        lagrangian -= ca.dot(nu[k + 1, :].T, p.A @ x[k, :].T + p.B * u[k] + p.b)
        lagrangian += ca.dot(lb[k, :].T, p.x_lb) - ca.dot(ub[k, :].T, p.x_ub)
    return ca.Function("gradient", [x, u, nu, lb, ub], [ca.gradient(lagrangian, theta)])


def _by_casadi(x, u, nu, lam_lb, lam_ub):
    return np.asarray(_lagrangian_gradient()(x, u, nu, lam_lb, lam_ub)).ravel()


def _gradient_probes(rng: np.random.Generator) -> list[dict]:
    probes = []
    for x1, x2, action in ((-0.3, 0.2, 0.3), (1.9, 1.35, None), (0.05, 0.1, -0.2)):
        theta, s = _some_theta(rng), np.array([x1, x2]) + rng.uniform(-0.05, 0.05, 2)
        plan = mpc.V(theta, s) if action is None else mpc.Q(theta, s, action + rng.uniform(-0.1, 0.1))
        probes.append({"x": plan.x, "u": plan.u, "nu": plan.nu, "lam_lb": plan.lam_lb["state"],
                       "lam_ub": plan.lam_ub["state"]})  # fmt: skip
    # A plan touches few bounds; numbers that are none have a multiplier for each.
    shapes = {"x": (N + 1, 2), "u": (N, 1), "nu": (N + 1, 2), "lam_lb": (N, 2), "lam_ub": (N, 2)}
    least = {"lam_lb": 0.1, "lam_ub": 0.1}
    return [*probes, {name: np.round(rng.uniform(least.get(name, -1.0), 1.0, shapes[name]), 2) for name in shapes}]


gradient = Fill(
    3,
    "gradient from the multipliers",
    reference=theta_gradient,
    probes=_gradient_probes,
    compare=close(rtol=1e-5, atol=1e-6, blocks={name: parameters.index(name) for name in BLOCKS}),
    when_right="No solver was called: the multipliers of one solve hold all sixteen derivatives.",
    hints=[
        "Write the Lagrangian's terms with θ on paper and differentiate them one block at a time. Only V0, x_lb, "
        "x_ub, b, f, A and B count: x, u and the multipliers are given numbers.",
        "nu has N + 1 rows. Row 0 belongs to x_0 = s, in which θ does not occur; the step from k to k + 1 has row k + "
        "1.",
        "Σ_k ν_{k+1} x_kᵀ is a product of two matrices with one row for each k, the first one transposed. np.ravel(M, "
        "order=\"F\") lists a matrix by columns.",
    ],
    mistakes=[
        Mistake("sign of ν",
                "b, A and B have the wrong sign. The Lagrangian has ν'(x⁺ − Ax − Bu − b): which sign has the model in "
                "it?",
                _changed(b=_minus, A=_minus, B=_minus)),
        Mistake("sign of ν for b",
                "A and B are right, but b has the wrong sign; all three stand side by side in the dynamics.",
                _changed(b=_minus)),
        Mistake("ν one stage early",
                "b, A and B use the multipliers of ν_0 … ν_{N−1}. Which row of nu belongs to the step from x_0 to x_1?",
                lambda x, u, nu, lam_lb, lam_ub: _flat(_blocks(x, u, nu, lam_lb, lam_ub, first=0))),
        Mistake("ν of the initial state included",
                "b counts ν_0, too. It belongs to x_0 = s, in which b does not occur.",
                _changed(b=lambda plan, _: -plan.nu.sum(0))),
        Mistake("both bounds' signs",
                "x_lb and x_ub have the wrong signs. Does a tighter lower bound make the value larger or smaller?",
                _changed(x_lb=_minus, x_ub=_minus)),
        Mistake("sign of the upper bound",
                "x_ub has the wrong sign. Does a higher upper bound make the value larger or smaller?",
                _changed(x_ub=_minus)),
        Mistake("sign of the lower bound",
                "x_lb has the wrong sign. Does a higher lower bound make the value larger or smaller?",
                _changed(x_lb=_minus)),
        Mistake("bounds swapped", "The blocks of x_lb and x_ub have got each other's multipliers.",
                _changed(x_lb=lambda plan, _: plan.ub.sum(0), x_ub=lambda plan, _: -plan.lb.sum(0))),
        Mistake("A by rows",
                "A12 and A21 have changed places: either the product is transposed, or it is laid out by rows. θ "
                "stores A by columns.", _changed(A=lambda plan, block: block.T)),
        Mistake("A with the next state",
                "In A's block ν_{k+1} meets x_{k+1}; but A multiplies the state from which the step starts.",
                _changed(A=lambda plan, _: -plan.nu[1:].T @ plan.x[1:])),
        Mistake("V0 forgotten", "The derivative in V0 is not 0: V0 stands in the objective with the factor 1.",
                _changed(V0=lambda plan, _: 0.0)),
        Mistake("V0 in every stage", "V0 occurs once in the objective, not once for every stage.",
                _changed(V0=lambda plan, _: float(N))),
        Mistake("last state in f", "f's block counts x_N, too. The linear term ends with stage N − 1.",
                _changed(f=lambda plan, _: np.concatenate([plan.x.sum(0), plan.u.sum(0)]))),
        Mistake("f discounted", "f's block is discounted; in the objective of this MPC the term of f is not.",
                _changed(f=_discounted)),
        Mistake("mean for sum", "These are means over the stages; the Lagrangian has sums.",
                _changed(**dict.fromkeys(BLOCKS[1:], lambda plan, block: block / N))),
        Mistake("sums multiplied",
                "In A and B you have multiplied the sums over the stages. Each stage has its own product of ν_{k+1} "
                "with x_k and u_k; these are summed.",
                _changed(A=lambda plan, _: -np.outer(plan.nu[1:].sum(0), plan.x[:N].sum(0)),
                         B=lambda plan, _: -plan.nu[1:].sum(0) * plan.u.sum())),
        Mistake("B before A", "B stands before A here. In θ, A comes first.",
                lambda x, u, nu, lam_lb, lam_ub: _flat(_blocks(x, u, nu, lam_lb, lam_ub), "B", "A")),
        Mistake("bounds of the last state forgotten",
                "x_lb and x_ub lack the multipliers of the last row. Row k belongs to x_{k+1}, so the last one to x_N.",
                _changed(x_lb=lambda plan, _: plan.lb[:-1].sum(0), x_ub=lambda plan, _: -plan.ub[:-1].sum(0))),
        Mistake("first step only",
                "b, A and B count the first step only; the same model is used at every stage.",
                _changed(b=lambda plan, _: -plan.nu[1], A=lambda plan, _: -np.outer(plan.nu[1], plan.x[0]),
                         B=lambda plan, _: -plan.nu[1] * plan.u[0])),
    ],
    variants=[_by_loop, _by_casadi],
)  # fmt: skip

# -------------------------------------------------------------------------------------- 4: second-order step


def learn_step(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma) -> np.ndarray:
    """Return theta after one second-order Q-learning step on a batch, shape (n,).

    `cost`, `v_next` = V(s+) and `q` = Q(s, a) have shape (T,), `gradients` and `hessians` of Q in theta (T, n) and
    (T, n, n); `gamma` is the discount, `alpha` the step size, `sigma` the regularisation, added once.
    """
    return _step(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma)


def _step(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma, td=None, matrix=None, rhs=None):
    td = cost + gamma * v_next - q if td is None else td
    if matrix is None:
        matrix = gradients.T @ gradients - np.tensordot(td, hessians, 1) + sigma * np.eye(len(theta))
    return theta + alpha * np.linalg.solve(matrix, gradients.T @ td if rhs is None else rhs)


def _slipped(change: Callable) -> Callable:
    """Make the step with its TD errors, matrix or right-hand side changed by `change(batch)`."""

    def wrong(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
        td = cost + gamma * v_next - q
        eye = np.eye(len(theta))
        batch = SimpleNamespace(
            cost=cost, v_next=v_next, q=q, td=td, T=len(td), G=gradients.T, GG=gradients.T @ gradients, H=hessians,
            K=np.tensordot(td, hessians, 1), I=eye, gamma=gamma, alpha=alpha, sigma=sigma,
        )  # fmt: skip
        return _step(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma, **change(batch))

    return wrong


def _samples(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Take a batch apart into batches of one sample each."""
    by_sample = ("cost", "v_next", "q", "gradients", "hessians")
    return [batch | {name: batch[name][[t]] for name in by_sample} for t in range(len(batch["q"]))]


def _by_woodbury(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
    td = cost + gamma * v_next - q
    inverse = np.linalg.inv(sigma * np.eye(theta.size) - np.einsum("t,tij->ij", td, hessians))
    C = gradients @ inverse @ gradients.T
    return theta + alpha * inverse @ gradients.T @ np.linalg.solve(np.eye(len(td)) + C, td)


def _by_samples(theta, cost, v_next, q, gradients, hessians, gamma, alpha, sigma):
    matrix, slope = np.diag(np.full(len(theta), sigma)), np.zeros(len(theta))
    for sample in range(len(q)):
        delta = cost[sample] + gamma * v_next[sample] - q[sample]
        matrix += np.outer(gradients[sample], gradients[sample]) - delta * hessians[sample]
        slope += delta * gradients[sample]
    return theta + alpha * np.linalg.lstsq(matrix, slope, rcond=None)[0]


def _step_probes(rng: np.random.Generator) -> list[dict]:
    def numbers(low, high, *shape):
        return np.round(rng.uniform(low, high, shape), 2)

    probes = []
    for n, T in ((3, 2), (4, 3), (4, 6), (5, 4)):
        half = numbers(-0.06, 0.06, T, n, n)
        probe: dict[str, Any] = {
            "theta": numbers(-1.5, 1.5, n), "cost": numbers(0.2, 2.0, T), "v_next": numbers(0.5, 3.0, T),
            "q": numbers(0.5, 3.0, T), "gradients": numbers(-1.7, 1.7, T, n),
            "hessians": half + half.transpose(0, 2, 1), "gamma": float(numbers(0.78, 0.88)),
            "alpha": float(numbers(0.05, 0.3)), "sigma": float(numbers(1.2, 1.8)),
        }  # fmt: skip
        probes.append(probe)
    return probes


step = Fill(
    4,
    "second-order step",
    reference=learn_step,
    probes=_step_probes,
    compare=close(rtol=1e-5, atol=1e-6),
    when_right="With one sample and no Hessian this is δ g/(‖g‖² + ς): a gradient step of normalised length.",
    hints=[
        "Three lines: the vector of TD errors, the matrix, the step. Solve a linear system rather than invert.",
        "The rows of `gradients` are the columns of G: what is then G Gᵀ, and what G δ?",
        "K is a sum over the batch in which every Hessian is multiplied by its own δ: a loop, or np.tensordot(td, "
        "hessians, 1).",
    ],
    mistakes=[
        Mistake("ascent for descent",
                "The step goes the wrong way: if an action turned out dearer than expected (δ > 0), Q there must rise.",
                _slipped(lambda b: {"rhs": -b.G @ b.td})),
        Mistake("sign of δ",
                "δ has the wrong sign: it is the target minus Q.", _slipped(lambda b: {"td": -b.td})),
        Mistake("discount missing", "γ is missing before V(s⁺).", _slipped(lambda b: {"td": b.cost + b.v_next - b.q})),
        Mistake("cost discounted", "γ multiplies V(s⁺) only, not the stage cost.",
                _slipped(lambda b: {"td": b.gamma * (b.cost + b.v_next) - b.q})),
        Mistake("sign of the Hessian", "The Hessian term has the wrong sign in the matrix.",
                _slipped(lambda b: {"matrix": b.GG + b.K + b.sigma * b.I})),
        Mistake("Hessian left out", "The matrix lacks K, the Hessians.",
                _slipped(lambda b: {"matrix": b.GG + b.sigma * b.I})),
        Mistake("Hessian without δ", "In K each sample's Hessian is multiplied by that sample's δ.",
                _slipped(lambda b: {"matrix": b.GG - b.H.sum(0) + b.sigma * b.I})),
        Mistake("mean of the Hessians",
                "K is a mean over the batch, but G Gᵀ is a sum: they no longer match. K is a sum, too.",
                _slipped(lambda b: {"matrix": b.GG - b.K / b.T + b.sigma * b.I})),
        Mistake("mean for sum in the matrix",
                "G Gᵀ and K are means over the batch, but Gδ is a sum: the step gets longer with the batch.",
                _slipped(lambda b: {"matrix": (b.GG - b.K) / b.T + b.sigma * b.I})),
        Mistake("mean for sum in the gradient",
                "Gδ is a mean over the batch, but the matrix holds sums: the step gets shorter with the batch.",
                _slipped(lambda b: {"rhs": b.G @ b.td / b.T})),
        Mistake("means everywhere",
                "ς I weighs T times too much: either it is added for every sample, or everything else is a mean. Use "
                "sums over the batch, and add ς I once.",
                _slipped(lambda b: {"matrix": (b.GG - b.K) / b.T + b.sigma * b.I, "rhs": b.G @ b.td / b.T})),
        Mistake("ς left out", "ς I is missing: with fewer samples than parameters, what inverts G Gᵀ?",
                _slipped(lambda b: {"matrix": b.GG - b.K})),
        Mistake("ς in every entry", "ς has been added to every entry of the matrix; it belongs on the diagonal.",
                _slipped(lambda b: {"matrix": b.GG - b.K + b.sigma})),
        Mistake("matrix not inverted", "The matrix multiplies Gδ; its inverse should.",
                _slipped(lambda b: {"rhs": (m := b.GG - b.K + b.sigma * b.I) @ m @ b.G @ b.td})),
        Mistake("first-order step", "This is a plain gradient step: the matrix is missing.",
                _slipped(lambda b: {"matrix": b.I})),
        Mistake("step size left out", "α is missing: this is the full step.",
                _slipped(lambda b: {"rhs": b.G @ b.td / b.alpha})),
        Mistake("the change instead of θ", "You return the change of θ; return the new θ.",
                lambda theta, **batch: learn_step(theta, **batch) - theta),
        Mistake("product of two sums",
                "K is not the sum of the δ times the sum of the Hessians: each Hessian is multiplied by its own δ "
                "before they are added.",
                _slipped(lambda b: {"matrix": b.GG - b.td.sum() * b.H.sum(0) + b.sigma * b.I})),
        Mistake("reshaped, not transposed",
                "The gradients have been put into the shape (n, T), but not transposed: a reshape leaves the numbers "
                "in their order, so that samples are torn apart.",
                _slipped(lambda b: {"matrix": (R := b.G.T.reshape(b.G.shape)) @ R.T - b.K + b.sigma * b.I,
                                    "rhs": R @ b.td})),
        Mistake("a step for each sample",
                "You make a step for each sample and add them up. The inverse of a sum is not the sum of the inverses: "
                "one matrix for the whole batch.",
                lambda theta, **batch: theta + sum(learn_step(theta, **one) - theta for one in _samples(batch))),
        Mistake("one sample only",
                "Only the first sample counts: does your loop return too early?",
                lambda theta, **batch: learn_step(theta, **_samples(batch)[0])),
        Mistake("last sample only",
                "Only the last sample counts: does your loop add up, or overwrite?",
                lambda theta, **batch: learn_step(theta, **_samples(batch)[-1])),
        Mistake("inverted entry by entry",
                "1 / M divides 1 by every entry of the matrix. Its inverse is another matrix: solve a linear system.",
                _slipped(lambda b: {"matrix": b.I, "rhs": (1 / (b.GG - b.K + b.sigma * b.I)) @ b.G @ b.td})),
        Mistake("another discount",
                "Your discount is always 0.9. Use the one that is given.",
                lambda theta, **batch: learn_step(theta, **(batch | {"gamma": gamma}))),
    ],
    variants=[_by_woodbury, _by_samples],
)  # fmt: skip

# ------------------------------------------------------------------------------ 5: a loop that does not learn

STEP_SIZE, SIGMA = 0.05, 1e-3


def learn(theta, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the TD errors (steps,) of some steps of Q-learning on the plant, and theta (16,) after them.

    It begins with the given theta; `seed` is that of the plant's noise.
    """
    return _learn()(theta, seed, steps)


def loop_as_given(theta, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what the faulty loop of item 5 returns: it takes the last V solution for Q.

    theta, `seed` and `steps` are those of `learn`.
    """
    return _learn(q=_kept)(theta, seed, steps)


def _learn(
    q: Callable = lambda theta, s, a, v, s_next: mpc.Q(theta, s, a),
    q_gradient: Callable | None = None,
    target: Callable = lambda cost, v_next: cost + gamma * v_next,
    act: Callable = lambda theta, s, v: v.u0,
    slope: Callable = lambda q, v: q.gradient(),
    sign: float = 1.0,
) -> Callable:
    """Make the loop from its parts; each may be replaced by a faulty one."""

    def loop(theta, seed, steps):
        env = LinearPlant()
        s, _ = env.reset(seed=seed)
        v = mpc.V(theta, s)
        a, td = v.u0, []
        for _ in range(steps):
            s_next, reward, _, _, _ = env.step(a)
            q_solution = q(theta, s, a, v, s_next)
            asked = q_solution if q_gradient is None else q_gradient(theta, s, a, v, s_next)
            v = mpc.V(theta, s_next)
            g = slope(asked, v)
            td.append(target(-reward, v.value) - q_solution.value)
            theta = theta + sign * STEP_SIZE * td[-1] * g / (g @ g + SIGMA)
            s, a = s_next, act(theta, s_next, v)
        return np.array(td), theta

    return loop


def _by_course(theta, seed, steps):
    rng = np.random.default_rng(seed)
    run = learner.QLearning(mpc, LinearPlant(), rng, theta, step_size=STEP_SIZE, sigma=SIGMA).run(steps, progress=False)
    return run.log.td, run.theta


def _by_recursion(theta, seed, steps):
    env = LinearPlant()
    start, _ = env.reset(seed=seed)

    def after(theta, s, a, left):
        if not left:
            return [], theta
        s_next, reward, *_ = env.step(a)
        delta, q = learner.td_error(mpc, theta, s, a, -reward, s_next)
        change = learner.second_order_step(q.gradient()[None], np.array([delta]), SIGMA)
        td, last = after(theta + STEP_SIZE * change, s_next, mpc.policy(theta, s_next).u0, left - 1)
        return [delta, *td], last

    return after(theta, start, mpc.policy(theta, start).u0, steps)


def _loop_probes(rng: np.random.Generator) -> list[tuple]:
    return [(_some_theta(rng, 0.02), int(rng.integers(1, 10**6)), steps) for steps in (9, 11, 8)]


def _kept(theta, s, a, v, s_next):
    return v


def _fresh_v(theta, s, a, v, s_next):
    return mpc.V(theta, s)


def _after_update(theta, s, v):
    return mpc.policy(theta, s).u0


debug = Debug(
    5,
    "a loop that does not learn",
    reference=learn,
    given=loop_as_given,
    probes=_loop_probes,
    compare=close(rtol=1e-5, atol=1e-7, names=("td", "theta")),
    when_right="Q(s, π(s)) = V(s) holds at one θ only, and between the two solves θ has moved: above all the gradient "
    "was one of another θ.",
    hints=[
        "The TD error of the first step is right, that of the second is not. What has changed between the two?",
        "δ compares V(s⁺) and Q(s, a), and the gradient is one of Q. At which θ has each of the three been computed?",
        "Only one line of the loop is wrong. The action is the one that should be taken: leave it alone.",
    ],
    mistakes=[
        Mistake("V where Q belongs",
                "Now θ is the right one, but V(s) is the value of the best action at the new θ. The action that was "
                "taken comes from the old θ: value that one.",
                _learn(q=_fresh_v)),
        Mistake("acting after the update",
                "Now the action comes from the updated θ, and Q is right. It was the other way round: keep the "
                "action, repair what is compared with it. A greedy action at the same θ lies on the kink of Q.",
                _learn(act=_after_update)),
        Mistake("acting after the update, with the old V",
                "Now the action comes from the updated θ, and q is still from before the update: they belong together "
                "even less. Keep the action as it was.",
                _learn(q=_kept, act=_after_update)),
        Mistake("the greedy action of the new θ",
                "Q is computed at the right θ, but for the action that this θ would choose. The one that was taken "
                "comes from the θ before.",
                _learn(q=lambda theta, s, a, v, s_next: mpc.Q(theta, s, mpc.policy(theta, s).u0))),
        Mistake("the action of the next state",
                "Q is asked in s about the action of s⁺: v has been solved anew before. The one that was taken in s "
                "is still in a.",
                _learn(q=lambda theta, s, a, v, s_next: mpc.Q(theta, s, mpc.policy(theta, s_next).u0))),
        Mistake("Q at the first θ",
                "Q is computed at the θ with which the loop began. It has moved at every step since.",
                lambda theta, seed, steps: _learn(q=lambda _, s, a, v, s_next: mpc.Q(theta, s, a))(theta, seed, steps)),
        Mistake("acting after the update, with V",
                "At the new θ, V(s) and Q(s, π(s)) agree again, but there V's gradient is only one of many: the "
                "action lies on the kink of Q. Keep the action as it was.",
                _learn(q=_fresh_v, act=_after_update)),
        Mistake("gradient at the wrong θ",
                "The TD errors are computed well, but the gradient still comes from the last step's solution: it is "
                "one of V, at a θ that is gone.",
                _learn(q_gradient=_kept)),
        Mistake("only the gradient repaired",
                "The gradient is Q's at the right θ, but the TD error still subtracts a value from before the update.",
                _learn(q=_kept, q_gradient=lambda theta, s, a, v, s_next: mpc.Q(theta, s, a))),
        Mistake("Q before the update",
                "You now solve for Q, but before the update of θ: Q(s, a) must be computed at the θ of the target's "
                "V(s⁺).",
                _learn(q=lambda theta, s, a, v, s_next: mpc.Q(v.theta, s, a))),
        Mistake("gradient of the target",
                "The gradient is that of V(s⁺). The step moves Q(s, a) towards the target, so it needs the gradient "
                "of Q.",
                _learn(q_gradient=lambda theta, s, a, v, s_next: mpc.V(theta, s_next))),
        Mistake("gradient of the whole error",
                "The gradient of V(s⁺) is subtracted, too. Q-learning takes the target as a given number and moves Q "
                "only. And the fault is elsewhere: q is still what it was.",
                _learn(q=_kept, slope=lambda q, v: q.gradient() - gamma * v.gradient())),
        Mistake("gradient of the whole error, with Q",
                "Q is right now, but the gradient of V(s⁺) is subtracted, too. Q-learning takes the target as a given "
                "number and moves Q only.",
                _learn(slope=lambda q, v: q.gradient() - gamma * v.gradient())),
        Mistake("gradient of V",
                "The TD error is right, the gradient is one of V(s): it is about the best action at this θ, not about "
                "the one that was taken.",
                _learn(q_gradient=_fresh_v)),
        Mistake("Q of the next state", "Q is asked about s⁺, but the action was taken in s.",
                _learn(q=lambda theta, s, a, v, s_next: mpc.Q(theta, s_next, a))),
        Mistake("discount missing", "γ has got lost: it multiplies V(s⁺).",
                _learn(target=lambda cost, v_next: cost + v_next)),
        Mistake("ascent for descent", "The step goes away from the target: its sign was right before.",
                _learn(sign=-1.0)),
        Mistake("ascent for descent, with the old V",
                "The step goes away from the target: its sign was right before. The fault is elsewhere.",
                _learn(q=_kept, sign=-1.0)),
        Mistake("sign of the reward",
                "The plant gives a reward, the MPC counts costs: −reward was right. The fault is elsewhere.",
                _learn(q=_kept, target=lambda cost, v_next: -cost + gamma * v_next)),
        Mistake("a step of a tenth",
                "The steps are ten times shorter: that only slows down what goes wrong. The fault is elsewhere.",
                _learn(q=_kept, sign=0.1)),
    ],
    variants=[_by_course, _by_recursion],
)  # fmt: skip

# ------------------------------------------------------------------------------- 6: a theta without learning

MODEL = {"A": PLANT_A, "B": PLANT_B}


def closed_loop(theta, seeds: Sequence[int], steps: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Run the greedy MPC on the plant, once for every noise seed.

    Parameters
    ----------
    theta : array_like, shape (16,)
    seeds : sequence of int
    steps : int

    Returns
    -------
    x : ndarray, shape (seeds, steps, 2)
    cost : ndarray, shape (seeds, steps)
        Stage costs.
    """
    noise = Noise(np.array([np.random.default_rng(seed).uniform(-0.1, 0.0, steps) for seed in seeds]).T)
    found = run(lambda s: mpc.values(theta, s)[1], LinearParameters(), np.tile(START, (len(seeds), 1)), noise)
    return found.x[:-1].swapaxes(0, 1), found.cost.T


def measure(theta, seeds: Sequence[int]) -> dict[str, float]:
    """Measure the greedy closed loop: the mean stage cost, and in how many steps x_1 < 0.

    Parameters
    ----------
    theta : array_like, shape (16,)
    seeds : sequence of int
        Of the noise.
    """
    x, cost = closed_loop(theta, seeds)
    return {"mean stage cost": float(cost.mean()), "steps with x1 < 0": int((x[..., 0] < -1e-9).sum())}


def _hidden(theta, seed: int) -> dict[str, float]:
    if isinstance(theta, dict):
        raise TypeError("give θ as the vector that parameters.pack(...) returns, not a dict")
    return measure(theta, [seed, seed + 1, seed + 2])


def _recognise(test: Callable[[SimpleNamespace, bool], bool]) -> Callable:
    """Make a predicate from `test(blocks of theta, is the model the plant's?)`."""

    def wrong(theta, measured):
        p = parameters.unpack(np.asarray(theta, dtype=float))
        return bool(test(p, np.allclose(p.A, PLANT_A, atol=5e-3) and np.allclose(p.B, PLANT_B, atol=5e-3)))

    return wrong


def _room(theta) -> float:
    """Return how far from its bound the worst noise leaves x_1 if the plan ends on the bound with back-off."""
    p = parameters.unpack(np.asarray(theta, dtype=float))
    return float(p.x_lb[0] - p.b[0] - 0.1)


def _theta(b=(-0.05, 0.0), x_lb=(0.05, 0.0), **blocks) -> np.ndarray:
    return parameters.pack(**(MODEL | {"b": b, "x_lb": x_lb} | blocks))


design = Design(
    6,
    "a θ without learning",
    reference=_theta(),
    measure=_hidden,
    targets={"mean stage cost": ("<=", 0.032), "steps with x1 < 0": ("<=", 0)},
    when_right="No learning: a model, the noise's mean and one number for its spread.",
    hints=[
        "Three things are wrong in the initial θ. Two are in the model: compare it with the plant's equation, noise "
        "and all. The third is what a plan without noise cannot see.",
        "The noise is uniform on (−0.1, 0). Its mean is known and belongs in the prediction; only what is left of it "
        "is uncertain. How far can x₁ fall below its prediction in one step?",
        "Use parameters.pack(A=…, B=…, b=[…, …], x_lb=[…, …]); try x_lb1 from 0 to 0.1 and watch both numbers.",
    ],
    mistakes=[
        Mistake("A by rows",
                "A12 and A21 have changed places. θ stores A by columns; parameters.pack(A=…) does it for you.",
                _recognise(lambda p, _: np.allclose(p.A, PLANT_A.T, atol=5e-3)), _theta(A=PLANT_A.T)),
        Mistake("wrong model kept",
                "The MPC's A, B are not the plant's. A back-off can make a wrong model safe, but hardly at this "
                "price: start from the plant's equation.",
                _recognise(lambda p, true: not true), parameters.pack(b=[-0.05, 0.0], x_lb=[0.05, 0.0])),
        Mistake("sign of the noise's mean",
                "b pushes the prediction the wrong way: in which direction does the noise push x₁ on average?",
                _recognise(lambda p, _: p.b[0] > 1e-3), _theta(b=[0.05, 0.0])),
        Mistake("noise in the wrong state",
                "b is in the second entry. Which state does the noise act on?",
                _recognise(lambda p, _: abs(p.b[1]) > 1e-3 and abs(p.b[0]) <= 1e-3), _theta(b=[0.0, -0.05])),
        Mistake("noise's mean forgotten",
                "The model has no b: the MPC expects x₁ too high, every time and by the same amount. A back-off can "
                "hide that, but at a price.",
                _recognise(lambda p, _: abs(p.b[0]) <= 1e-3), _theta(b=[0.0, 0.0], x_lb=[0.1, 0.0])),
        Mistake("worst case for the mean",
                "b predicts nearly the worst noise at every step. It is safe and dear, since the plan expects a drift "
                "that does not come: what is the noise on average?",
                _recognise(lambda p, _: p.b[0] < -0.08), _theta(b=[-0.1, 0.0], x_lb=[0.0, 0.0])),
        Mistake("back-off outwards",
                "x_lb1 is negative: that allows the MPC to plan beyond the bound.",
                _recognise(lambda p, _: p.x_lb[0] < -1e-3), _theta(x_lb=[-0.05, 0.0])),
        Mistake("back-off at the upper bound",
                "You have moved the upper bound, but the noise pushes x₁ to the lower one.",
                _recognise(lambda p, _: abs(p.x_lb[0]) <= 1e-3 and not np.allclose(p.x_ub, [1, 0], atol=1e-3)),
                _theta(x_lb=[0.0, 0.0], x_ub=[0.95, 0.0])),
        Mistake("back-off of the wrong state",
                "The back-off is on x₂; the violations are those of x₁.",
                _recognise(lambda p, _: abs(p.x_lb[0]) <= 1e-3 and abs(p.x_lb[1]) > 1e-3), _theta(x_lb=[0.0, 0.05])),
        Mistake("no back-off",
                "The prediction is right on average, so that half of the noise carries x₁ below it. On the bound "
                "there is no room for that half.",
                _recognise(lambda p, _: abs(p.x_lb[0]) <= 1e-3 and abs(p.b[0] + 0.05) < 5e-3),
                _theta(x_lb=[0.0, 0.0])),
        Mistake("another cost",
                "f is not 0: so the MPC minimises another cost than the plant's. Model and bound are enough.",
                _recognise(lambda p, _: not np.allclose(p.f, 0.0, atol=1e-3)), _theta(f=[0.3, 0.0, 0.0])),
        Mistake("back-off too small",
                "The worst noise still carries x₁ across the bound. How far below its prediction can it fall?",
                lambda theta, measured: measured["steps with x1 < 0"] > 0 and _room(theta) < 0,
                _theta(x_lb=[0.03, 0.0])),
        Mistake("back-off too large",
                "Safe, but dear: the MPC keeps x₁ further from the bound than the noise can carry it.",
                lambda theta, measured: measured["steps with x1 < 0"] == 0 and _room(theta) > 1e-6,
                _theta(x_lb=[0.1, 0.0])),
    ],
    variants=[_theta(b=[-0.06, 0.0], x_lb=[0.04, 0.0]), _theta(V0=2.7, x_lb=[0.053, -0.1]), _theta(x_ub=[0.6, -0.2])],
)  # fmt: skip

# ---------------------------------------------------------------------------------- 7: what learning is for

explain = Explain(
    7,
    "what learning is for",
    reference="b",
    choices={
        "a": "It had too few steps: its TD error still falls with 20 000 of them, and with more the cost "
        "would come down, too.",
        "b": "The steps follow the TD error along the learner's own closed loop. V and Q can agree there for "
        "several θ, of different cost; start and steps decide which of them is reached.",
        "c": "It ends with a wrong model, and an MPC that predicts with a wrong model cannot be optimal, "
        "however its bounds and its cost are adapted.",
        "d": "The Hessians are zero here, so the second-order step points elsewhere than the gradient, to a "
        "worse θ, in which it then stays.",
        "e": "A smaller mean |δ| means a lower cost, as the first-order lines show: with a still smaller one "
        "the learner would match item 6.",
    },
    reasons={
        1: "Continued by the other method, each learner keeps its cost (lines 3 and 5).",
        2: "The noise is random, so |δ| does not fall to 0, however good θ is.",
        3: "With a large back-off x₁ never comes near its bound, so no sample shows what a smaller one would cost.",
        4: "The smaller the mean |δ|, the nearer V is to the value of the best controller.",
        5: "The steps of the second-order learner are too long: they throw θ about, so that it cannot settle.",
    },
    carrying=(1, 3),
    when_right="A learner's data come from its own closed loop. What would you give it to begin with?",
    hints=[
        "Read the table by pairs: which two lines differ in the method only, which in the number of steps only, which "
        "in the start only?",
        "Which number does Q-learning make small, and on which states? Is it the cost of the closed loop?",
        "A reason carries the claim if the claim would fall without it. What holds for both learners alike cannot "
        "tell them apart.",
    ],
    mistakes=[
        Mistake("too few steps",
                "Four times as many steps are in the table: |δ| halves, the cost stays.", "a"),
        Mistake("wrong model",
                "The lecture's theorem says the opposite: with the right cost an MPC with a wrong model can be "
                "optimal. And the first-order learner's model is wrong, too.", "c"),
        Mistake("direction of the step",
                "With one sample and K = 0 the step of item 4 is δ g/(‖g‖² + ς): it points where the gradient points. "
                "In the table each method stays where the other one has left it.", "d"),
        Mistake("small TD error means low cost",
                "Compare the first two lines: |δ| halves, and the cost hardly moves. δ tells whether V and Q agree "
                "with what happens, not whether something better could happen.", "e"),
        Mistake("noise",
                "Reason 2 is true, but of both learners: it does not say why the one stays at another cost than the "
                "other.", 2),
        Mistake("small error, best controller",
                "Reason 4 is false: in line 2 |δ| is half of that in line 1, at the same cost. V and Q can agree with "
                "what happens under a poor controller.", 4),
        Mistake("too long a step",
                "Reason 5 is false: it has settled, with four times the steps |δ| halves (line 2). And it stays there "
                "with the other method's steps, too (line 3).", 5),
    ],
)  # fmt: skip

exercise = Exercise(
    6,
    "Can an MPC be the function approximator?",
    [predict, problem, gradient, step, debug, design, explain],
)
