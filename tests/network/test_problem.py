"""Declaring a network: graphs, who copies what, the problem of all as one."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, Parameters, Rows
from mpcrl_course.network import Agent, LocalProblem, Network, line, neighbours_of, ring, star


def agent(n_states=2, horizon=3, discount=0.9, feels=1, **changes):
    """An agent that feels entry `feels` of each neighbour's state."""
    declared = {
        "n_states": n_states, "n_inputs": 1, "horizon": horizon, "discount": discount,
        "parameters": Parameters(b=0.5, c=0.1, w=3.0),
        "dynamics": lambda x, u, neighbours, p: (
            0.9 * x + p.b * u + p.c * sum((x_j[feels] for x_j in neighbours), ca.SX(0))
        ),
        "stage_cost": lambda k, x, u, neighbours, p: ca.sumsqr(x) + 0.3 * ca.sumsqr(u),
        "terminal_cost": lambda x, p: 2 * ca.sumsqr(x), "input_lower": -1.0, "input_upper": 1.0,
        "constraints": {"low": lambda k, x, u, neighbours, p: Rows(x[0], lower=0.1, weight=p.w) if k else None},
    }  # fmt: skip
    return Agent(**{**declared, **changes})


def test_graphs():
    assert neighbours_of(4, line(4)) == [[1], [0, 2], [1, 3], [2]]
    assert neighbours_of(4, ring(4)) == [[1, 3], [0, 2], [1, 3], [0, 2]]
    assert neighbours_of(4, star(4)) == [[1, 2, 3], [0], [0], [0]]
    assert neighbours_of(1, []) == [[]]
    assert neighbours_of(3, [(2, 0), (2, 1)]) == [[2], [2], [0, 1]]


@pytest.mark.parametrize(
    "n, edges, message",
    [
        (4, [(0, 1), (2, 3)], r"disconnected: no path leads from agent 0 to \[2, 3\]"),
        (2, [], r"disconnected.*\[1\]"),
        (3, [(0, 1), (1, 3)], r"\(1, 3\) names an agent that is not there: there are 0 … 2"),
        (3, [(0, 1), (1, -1)], r"\(1, -1\) names an agent"),
        (2, [(0, 1), (1, 1)], r"\(1, 1\) joins an agent with itself"),
        (2, [(0, 1), (1, 0)], r"\(1, 0\) is given twice"),
    ],
)
def test_graphs_that_are_none(n, edges, message):
    with pytest.raises(ValueError, match=message):
        neighbours_of(n, edges)
    with pytest.raises(ValueError, match=message):
        Network([agent()] * n, edges)


def test_other_declarations_that_are_none():
    with pytest.raises(ValueError, match="at least 3 agents, not 2"):
        ring(2)
    with pytest.raises(ValueError, match="at least one agent"):
        Network([], [])
    with pytest.raises(ValueError, match=r"same horizon, but theirs are \[3, 4\]"):
        Network([agent(), agent(horizon=4)], line(2))
    with pytest.raises(ValueError, match=r"same discount, but theirs are \[0.9, 0.8\]"):
        Network([agent(), agent(discount=0.8)], line(2))
    with pytest.raises(ValueError, match="may be called 'tilt'"):
        LocalProblem(agent(parameters=Parameters(b=0.0, c=0.0, w=0.0, tilt=1.0)), [2], 1.0)
    for rho in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="rho must be a positive number"):
            LocalProblem(agent(), [2], rho)
    wrong = agent(dynamics=lambda x, u, neighbours, p: ca.vertcat(x, u))
    with pytest.raises(ValueError, match="agent 1's dynamics returns 3 states, but the agent has 2"):
        MPC(Network([wrong, wrong], line(2)).problem)
    with pytest.raises(ValueError, match="dynamics returns 3 states, but the agent has 2"):
        LocalProblem(wrong, [2], 1.0)


def test_only_what_is_felt_is_copied():
    assert LocalProblem(agent(feels=1), [2, 2], 1.0).copied == [(0, 1), (1, 1)]
    assert LocalProblem(agent(feels=0), [3], 1.0).copied == [(0, 0)]
    assert LocalProblem(agent(), [], 1.0).copied == []
    in_cost = agent(stage_cost=lambda k, x, u, neighbours, p: (x[0] - neighbours[0][0]) ** 2 + u**2 if k == 2 else u**2)
    assert LocalProblem(in_cost, [2], 1.0).copied == [(0, 0), (0, 1)]
    in_rows = agent(
        dynamics=lambda x, u, neighbours, p: 0.9 * x + p.b * u,
        constraints={"gap": lambda k, x, u, neighbours, p: Rows(x[0], upper=neighbours[1][0]) if k == 1 else None},
    )
    assert LocalProblem(in_rows, [2, 2], 1.0).copied == [(1, 0)]


def test_local_problem_is_the_agents_own_plus_the_augmented_terms():
    """Value at given inputs and copies, added up by hand."""
    rng, rho = np.random.default_rng(0), 0.7
    local = LocalProblem(agent(), [2, 2], rho)
    assert local.problem.n_inputs == 3 and local.problem.n_actions == 1
    assert (local.n_theta, local.n_own, local.n_copies) == (3, 8, 6)
    mpc = MPC(local.problem)
    b, c, w = 0.4, -0.2, 2.0
    tilt = rng.standard_normal(14)
    theta = mpc.parameters.pack(b=b, c=c, w=w, tilt=tilt)
    q = mpc.Q(theta, [0.3, -0.1], [0.2])
    total = 0.0
    for k in range(4):
        x = q.x[k]
        total += tilt[2 * k : 2 * k + 2] @ x + rho / 2 * x @ x
        total += w * max(0.0, 0.1 - x[0]) if k else 0.0
        if k == 3:
            total += 2 * x @ x
            break
        u, copies = q.u[k, 0], q.u[k, 1:]
        total += x @ x + 0.3 * u**2 + tilt[8 + 2 * k : 10 + 2 * k] @ copies + rho / 2 * copies @ copies
        np.testing.assert_allclose(q.x[k + 1], 0.9 * x + b * u + c * copies.sum(), atol=1e-12)
    assert q.value == pytest.approx(total, abs=1e-8)
    assert q.u[0, 0] == pytest.approx(0.2, abs=1e-12)


def test_the_problem_of_all_is_the_sum_of_what_each_declares():
    """Agents of different sizes, parameters and rows on a star; every term by hand along the central plan."""
    middle = agent(
        n_states=3, parameters=Parameters(b=[0.1, 0.2, 0.3], c=0.2),
        dynamics=lambda x, u, neighbours, p: 0.8 * x + p.b * u + p.c * (neighbours[0][0] - neighbours[1][1]),
        constraints={"high": lambda k, x, u, neighbours, p: Rows(x[1] + neighbours[0][0], upper=0.2, weight=4.0)
                     if k < 3 else None},
    )  # fmt: skip
    leaf = agent(feels=2)
    net = Network([middle, leaf, leaf], star(3))
    assert net.neighbours == [[1, 2], [0], [0]]
    assert net.parameters.names == "b_11 b_12 b_13 c_1 b_2 c_2 w_2 b_3 c_3 w_3".split()
    assert (net.n_states, net.n_inputs) == (7, 3)
    mpc, rng = MPC(net.problem), np.random.default_rng(1)
    theta = net.parameters.initial() + 0.1 * rng.standard_normal(10)
    parts = net.split(theta)
    np.testing.assert_array_equal(np.concatenate(parts), theta)
    s, a = rng.standard_normal(7), rng.uniform(-1, 1, 3)
    q, total = mpc.Q(theta, s, a), 0.0
    for k in range(4):
        x0, x1, x2 = q.x[k, :3], q.x[k, 3:5], q.x[k, 5:]
        for (_, _, w), x in zip(parts[1:], (x1, x2)):
            total += w * max(0.0, 0.1 - x[0]) if k else 0.0
        if k == 3:
            total += 2 * q.x[k] @ q.x[k]
            break
        total += 4 * max(0.0, x0[1] + x1[0] - 0.2) + q.x[k] @ q.x[k] + 0.3 * q.u[k] @ q.u[k]
        expected = [0.8 * x0 + parts[0][:3] * q.u[k, 0] + parts[0][3] * (x1[0] - x2[1])]
        expected += [0.9 * x + p[0] * u + p[1] * x0[2] for p, x, u in zip(parts[1:], (x1, x2), q.u[k, 1:])]
        np.testing.assert_allclose(q.x[k + 1], np.concatenate(expected), atol=1e-12)
    assert q.value == pytest.approx(total, abs=1e-7)


def test_alike_agents_share_their_local_problem():
    one, other = agent(), agent()
    made = Network([one, one, one, other], line(4)).locals(1.0)
    assert made[1] is made[2] and made[0] is not made[1] and made[3] is not made[0]


def test_split_checks_theta():
    net = Network([agent(), agent()], line(2))
    with pytest.raises(ValueError, match=r"theta has shape \(5,\)"):
        net.split(np.zeros(5))
    with pytest.raises(ValueError, match="theta is not finite in c_2"):
        net.split([0, 0, 0, 0, np.nan, 0])
