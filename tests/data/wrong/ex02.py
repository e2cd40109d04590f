"""Answers to exercise 02 by someone who saw only its notebook: (item, what is done, answer)."""

import casadi as ca
import numpy as np

from mpcrl_course.checks.ex02 import K, P, minimum, mpc, theta
from mpcrl_course.envs import LinearPlant, cartpole
from mpcrl_course.envs.linear import A, B


def item_2_right(s, x, u):
    """The reference of this file."""
    return np.vstack([x[0] - s, x[1:] - cartpole.dynamics(x[:-1], u)])


def item_2_loop(s, x, u):
    """One stage after the other, as a list of arrays."""
    rows = [x[0] - s]
    for k in range(len(u)):
        rows.append(x[k + 1] - cartpole.dynamics(x[k], u[k]))
    return rows


def item_2_filled(s, x, u):
    """An empty array that is filled."""
    out = np.empty((x.shape[0], 4))
    out[0] = np.subtract(x[0], s)
    for k, (x_k, u_k) in enumerate(zip(x, u)):
        out[k + 1] = x[k + 1] - np.asarray(cartpole.dynamics(x_k, u_k)).ravel()
    return out


def item_2_sign(s, x, u):
    """f minus x."""
    return -item_2_right(s, x, u)


def item_2_first_sign(s, x, u):
    """s - x_0 in the first row only."""
    return np.vstack([s - x[0], x[1:] - cartpole.dynamics(x[:-1], u)])


def item_2_first_zero(s, x, u):
    """x_0 is s anyway, so its gap is 0."""
    return np.vstack([np.zeros(4), x[1:] - cartpole.dynamics(x[:-1], u)])


def item_2_starts_from_s(s, x, u):
    """First row right, but the first step is taken from s instead of x_0."""
    z = x.copy()
    z[0] = s
    return np.vstack([x[0] - s, z[1:] - cartpole.dynamics(z[:-1], u)])


def item_2_simulated(s, x, u):
    """Single shooting: the distance from the simulation, not the gaps."""
    out, z = [x[0] - s], s
    for k in range(len(u)):
        z = cartpole.dynamics(z, u[k])
        out.append(x[k + 1] - z)
    return np.array(out)


def item_3_as_written(s, N, edge, w):
    """Line by line."""
    opti = ca.Opti("conic")
    x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(1, N)
    cost = x[:, N].T @ P @ x[:, N]
    opti.subject_to(x[:, 0] == s)
    for k in range(N):
        cost += ca.sumsqr(x[:, k]) / 2 + u[k] ** 2 / 4 + w * slack[k]
        opti.subject_to(x[:, k + 1] == ca.mtimes(A, x[:, k]) + B * u[k])
        opti.subject_to(opti.bounded(-1, u[k], 1))
        opti.subject_to(x[0, k + 1] >= edge - slack[k])
        opti.subject_to(slack[k] >= 0)
    return minimum(opti, cost)


def item_3_vectorised(s, N, edge, w):
    """Without a loop."""
    opti = ca.Opti("conic")
    x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(1, N)
    opti.subject_to(x[:, 0] == s)
    opti.subject_to(ca.vec(x[:, 1:] - ca.DM(A) @ x[:, :-1] - ca.DM(B) @ u) == 0)
    opti.subject_to(ca.vec(u) <= 1)
    opti.subject_to(ca.vec(u) >= -1)
    opti.subject_to(ca.vec(x[0, 1:] + slack) >= edge)
    opti.subject_to(ca.vec(slack) >= 0)
    cost = ca.bilin(P, x[:, -1], x[:, -1]) + 0.5 * ca.sumsqr(x[:, :-1]) + 0.25 * ca.sumsqr(u) + w * ca.sum2(slack)
    return minimum(opti, cost)


def item_3_single_shooting(s, N, edge, w):
    """The states eliminated; x of the skeleton is not used."""
    opti = ca.Opti("conic")
    u, slack = opti.variable(1, N), opti.variable(1, N)
    z, cost = ca.MX(ca.DM(s)), 0
    for k in range(N):
        cost += 0.5 * ca.sumsqr(z) + 0.25 * u[k] ** 2 + w * slack[k]
        z = ca.DM(A) @ z + ca.DM(B) * u[k]
        opti.subject_to(z[0] >= edge - slack[k])
    opti.subject_to(opti.bounded(-1, ca.vec(u), 1))
    opti.subject_to(ca.vec(slack) >= 0)
    return minimum(opti, cost + z.T @ ca.DM(P) @ z)


def _ocp(s, N, edge, w, **o):
    """The problem with one slip, so that each wrong answer below is one line."""
    opti = ca.Opti("conic")
    x, u, slack = opti.variable(2, N + 1), opti.variable(1, N), opti.variable(1, N)
    opti.subject_to(x[:, 0] == o.get("start", s))
    end = x[:, o.get("end", N)]
    cost = o.get("terminal", 1.0) * end.T @ o.get("P", P) @ end
    for k in range(N):
        cost += o.get("wx", 0.5) * ca.sumsqr(x[:, k + o.get("shift", 0)])
        cost += o.get("wu", 0.25) * ca.sumsqr(u[k])
        cost += o.get("discount", 1.0) ** k * 0
        price = slack[k] ** 2 if o.get("squared") else slack[k]
        if not (o.get("one_slack") and k > 0) and not (o.get("last_slack_free") and k == N - 1):
            cost += o.get("ws", 1.0) * w * price
        opti.subject_to(x[:, k + 1] == o.get("A", A) @ x[:, k] + o.get("B", B) * u[k])
        if o.get("box", "both") == "both":
            opti.subject_to(opti.bounded(-o.get("limit", 1), u[k], o.get("limit", 1)))
        elif o["box"] == "upper":
            opti.subject_to(u[k] <= 1)
        elif o["box"] == "first" and k == 0:
            opti.subject_to(opti.bounded(-1, u[k], 1))
        stage = k + o.get("bound_stage", 1)
        if k < N - o.get("drop_last", 0):
            row = x[o.get("row", 0), stage]
            if o.get("upper_bound"):
                opti.subject_to(row <= edge + slack[k])
            else:
                opti.subject_to(row >= edge + o.get("slack_sign", -1) * slack[k])
        if o.get("nonnegative", True):
            opti.subject_to(slack[k] >= 0)
        if o.get("hard"):
            opti.subject_to(slack[k] == 0)
    return minimum(opti, cost)


def item_3_no_terminal_cost(s, N, edge, w):
    """Forgot x_N' P x_N."""
    return _ocp(s, N, edge, w, terminal=0.0)


def item_3_terminal_half(s, N, edge, w):
    """One half before P, too."""
    return _ocp(s, N, edge, w, terminal=0.5)


def item_3_terminal_at_n_minus_1(s, N, edge, w):
    """P at x[:, N - 1], since Python counts from 0."""
    return _ocp(s, N, edge, w, end=N - 1)


def item_3_terminal_in_the_sum(s, N, edge, w):
    """The terminal cost inside the loop's level, so N times."""
    return _ocp(s, N, edge, w, terminal=float(N))


def item_3_terminal_norm(s, N, edge, w):
    """|x_N|^2 for x_N' P x_N."""
    return _ocp(s, N, edge, w, P=np.eye(2))


def item_4_right(x, u):
    """The reference of this file."""
    last = np.clip(-K @ x[-1], -1, 1)
    return np.vstack([x[1:], A @ x[-1] + B * last]), np.vstack([u[1:], last])


def item_4_preallocated(x, u):
    """Copies, filled from behind; a list of two."""
    x_new, u_new = x.copy(), u.copy()
    x_new[:-1], u_new[:-1] = x[1:], u[1:]
    u_new[-1, 0] = min(max(float(-(K @ x[-1])[0]), -1.0), 1.0)
    x_new[-1] = A.dot(x[-1]) + B * u_new[-1, 0]
    return [x_new, u_new]


def item_4_casadi(x, u):
    """CasADi matrices at the end."""
    u_N = ca.fmax(-1, ca.fmin(1, -ca.DM(K) @ ca.DM(x[-1])))
    x_N = ca.DM(A) @ ca.DM(x[-1]) + ca.DM(B) * u_N
    return ca.vertcat(ca.DM(x[1:]), x_N.T), ca.vertcat(ca.DM(u[1:]), u_N)


def _shift(x, u, last, end=None, at=-1):
    last = np.atleast_1d(last)
    end = A @ x[at] + B * last if end is None else end
    return np.vstack([x[1:], end]), np.vstack([u[1:], last])


def item_4_no_clip(x, u):
    """The limit forgotten."""
    return _shift(x, u, -K @ x[-1])


def item_4_clip_after(x, u):
    """The state predicted with the input before it was clipped."""
    raw = -K @ x[-1]
    return _shift(x, u, np.clip(raw, -1, 1), A @ x[-1] + B * raw)


def item_4_clip_one_side(x, u):
    """min(u, 1)."""
    return _shift(x, u, np.minimum(-K @ x[-1], 1))


def item_4_sign(x, u):
    """+K x."""
    return _shift(x, u, np.clip(K @ x[-1], -1, 1))


def item_4_gain_at_n_minus_1(x, u):
    """-K x_{N-1}, the state of the last input of the old plan; the state from x_N."""
    return _shift(x, u, np.clip(-K @ x[-2], -1, 1))


def _drive(following, discount=1.0, sign=-1.0):
    def drive(s, seed, steps):
        env, costs = LinearPlant(), []
        env.reset(seed=seed, options={"x": s})
        plan = mpc.policy(theta, s)
        for k in range(steps):
            s, reward, _, _, _ = env.step(plan.u0)
            costs.append(sign * reward * discount**k)
            plan = following(s, plan)
        return np.array(costs)

    return drive


def item_5_right(s, seed, steps):
    """Plans from what was measured."""
    env, costs = LinearPlant(), []
    env.reset(seed=seed, options={"x": s})
    plan = mpc.policy(theta, s)
    for _ in range(steps):
        s, reward, _, _, _ = env.step(plan.u0)
        costs.append(-reward)
        plan = mpc.policy(theta, s)
    return np.array(costs)


def item_5_warm(s, seed, steps):
    """The same, with the old plan as a guess."""
    return _drive(lambda s, plan: mpc.policy(theta, s, warm_start=plan))(s, seed, steps)


def item_5_x0(s, seed, steps):
    """plan.x[0]: the state that was planned from, for ever the same."""
    return _drive(lambda s, plan: mpc.policy(theta, plan.x[0]))(s, seed, steps)


def item_5_x2(s, seed, steps):
    """plan.x[2]: one stage further on."""
    return _drive(lambda s, plan: mpc.policy(theta, plan.x[2]))(s, seed, steps)


def item_5_last(s, seed, steps):
    """The plan's last state."""
    return _drive(lambda s, plan: mpc.policy(theta, plan.x[-1]))(s, seed, steps)


def item_5_average(s, seed, steps):
    """Half measured, half predicted, as a filter."""
    return _drive(lambda s, plan: mpc.policy(theta, 0.5 * (s + plan.x[1])))(s, seed, steps)


def item_5_true_model(s, seed, steps):
    """Predicts with the true A and B: the noise's mean and the noise are missing."""
    return _drive(lambda s, plan: mpc.policy(theta, A @ plan.x[0] + B * plan.u0))(s, seed, steps)


def item_4_wrong_way(x, u):
    """Shifted to the right."""
    last = np.clip(-K @ x[0], -1, 1)
    return np.vstack([x[0], x[:-1]]), np.vstack([last, u[:-1]])


def item_4_not_shifted(x, u):
    """Only the last entries replaced."""
    last = np.clip(-K @ x[-1], -1, 1)
    return np.vstack([x[:-1], A @ x[-1] + B * last]), np.vstack([u[:-1], last])


def item_5_start_lost(s, seed, steps):
    """Repaired, but the environment starts at its own start."""
    env, costs = LinearPlant(), []
    s, _ = env.reset(seed=seed)
    plan = mpc.policy(theta, s)
    for _ in range(steps):
        s, reward, _, _, _ = env.step(plan.u0)
        costs.append(-reward)
        plan = mpc.policy(theta, s)
    return np.array(costs)


WRONG = [
    (1, "the end is said to cancel (it does only for the exact V_f)", 4.65),
    (1, "V_f(x_N) not taken out", 5.48),
    (1, "new V_f forgotten", 4.06),
    (2, "f - x", item_2_sign),
    (2, "s - x_0", item_2_first_sign),
    (2, "first gap 0", item_2_first_zero),
    (2, "first step from s", item_2_starts_from_s),
    (2, "single shooting from s", item_2_simulated),
    (3, "no terminal cost", item_3_no_terminal_cost),
    (3, "half the terminal cost", item_3_terminal_half),
    (3, "terminal cost at N - 1", item_3_terminal_at_n_minus_1),
    (3, "terminal cost N times", item_3_terminal_in_the_sum),
    (3, "terminal |x|^2", item_3_terminal_norm),
    (4, "not clipped", item_4_no_clip),
    (4, "clipped after the prediction", item_4_clip_after),
    (4, "clipped on one side", item_4_clip_one_side),
    (4, "+K x", item_4_sign),
    (4, "-K x_{N-1}", item_4_gain_at_n_minus_1),
    (5, "plan.x[0]", item_5_x0),
    (5, "plan.x[2]", item_5_x2),
    (5, "plan.x[-1]", item_5_last),
    (5, "half plan, half plant", item_5_average),
    (5, "true model for a measurement", item_5_true_model),
    (6, "no back-off", {"back_off": 0.0, "variance": 0.01}),
    (6, "the lecture's numbers", {"back_off": 0.1, "variance": 0.0025}),
    (6, "standard deviation for variance", {"back_off": 0.15, "variance": 0.1}),
    (4, "shifted the wrong way", item_4_wrong_way),
    (4, "not shifted", item_4_not_shifted),
    (5, "repaired, start lost", item_5_start_lost),
]

RIGHT = [
    (1, "number", 4.58),
    (1, "text", "4.58"),
    (1, "sum", 6.40 - 1.75 - 0.90 + 0.31 + 0.52),
    (2, "vstack", item_2_right),
    (2, "loop, list of arrays", item_2_loop),
    (2, "filled", item_2_filled),
    (3, "as written", item_3_as_written),
    (3, "vectorised", item_3_vectorised),
    (3, "single shooting", item_3_single_shooting),
    (4, "vstack", item_4_right),
    (4, "copies, list", item_4_preallocated),
    (4, "CasADi DM", item_4_casadi),
    (5, "s", item_5_right),
    (5, "s, warm start", item_5_warm),
    (6, "twice the lecture's", {"back_off": 0.17, "variance": 0.01}),
    (6, "a little more", {"back_off": 0.18, "variance": 0.01}),
]
