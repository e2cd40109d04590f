"""Exercise 11, on whether many controllers can learn without a centre.

Seven items: what a large rho does, one iteration of consensus ADMM, a mixing matrix and its rate, the TD error by
average consensus, an update with a fault, a network that meets a message budget, and which residual may be trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.envs.network import COUPLING, A, B
from mpcrl_course.network import ADMM, Central, average, line, mixing_matrix, neighbours_of, rate, ring, star
from mpcrl_course.problems.network import network_mpc

# ------------------------------------------------------------------------------------- 1: what a large rho does

RHO, LEFT = 9.0, 0.01


def iterations_until(left: float, factor: float) -> float:
    """Return after how many iterations (not rounded) an error that shrinks by `factor` in each has fallen to `left`."""
    return float(np.log(left) / np.log(factor))


predict = Predict(
    1,
    "what a large ρ does",
    reference=float(np.ceil(iterations_until(LEFT, RHO / (1 + RHO)))),
    rtol=0.0,
    atol=0.0,
    when_right="A large ρ ties the agents to the last z: they agree at once, and then move to the right number "
    "together, slowly.",
    hints=[
        "Sum the third line over the agents: what is the sum of all y after an iteration, and what does it do to the "
        "mean in the second line?",
        "With the mean of y at 0, z⁺ is the mean of the c_i: (r̄ + ρ z)/(1 + ρ). Subtract r̄: by what factor has the "
        "error shrunk?",
    ],
    mistakes=[
        Mistake("disagreement for error",
                "So soon the agents agree (their disagreement shrinks by the factor 1/(1 + ρ)), but z is still far "
                "from r̄. Follow the error of z.", (1.9, 4.0)),
        Mistake("ρ = 1", "That would be right for ρ = 1, where both factors are ½. Here ρ is 9.", (6.6, 7.0)),
        Mistake("linear",
                "The error does not lose a tenth of what it was at the *start* in every iteration, but a tenth of what "
                "is left.", (9.9, 10.0)),
        Mistake("another factor",
                "A little more than a tenth of the error is still left then. By which factor does it shrink each time?",
                (20.6, 21.5)),
        Mistake("10 % for 1 %", "Then 10 % are left. Which share was asked for?", (21.8, 22.0)),
        Mistake("factor 1 − 1/ρ",
                "The factor is near 1 − 1/ρ, but not equal to it: the local cost weighs 1, the penalty ρ, together 1 + "
                "ρ.", (39.0, 40.0)),
        Mistake("rounded down", "After 43 iterations a little more than 1 % is left, and there are only whole ones.",
                (43.0, 43.99)),
        Mistake("one too many",
                "It has fallen to 1 % an iteration earlier. (Have you counted the start, or rounded up twice?)",
                (44.01, 45.0)),
        Mistake("logarithm", "Nearly: by then a little less than 1 % is left. (ln(1 − x) is not quite −x.)",
                (46.0, 47.0)),
        Mistake("0.1 % for 1 %", "That is for 0.1 %. A hundredth is 0.01.", (65.0, 66.0)),
        Mistake("1 % in every iteration",
                "You have taken 1 % off in every iteration. How much is it with ρ = 9?", (98.9, 100.1)),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------------------ 2: an ADMM iteration


@dataclass(frozen=True)
class QuadraticAgent:
    """An agent whose cost is J_i(c) = 1/2 c'H c + h'c of all the numbers it holds: its own and its neighbours'.

    Attributes
    ----------
    H : ndarray, shape (m, m)
        Symmetric, positive definite.
    h : ndarray, shape (m,)
    """

    H: np.ndarray
    h: np.ndarray

    def minimise(self, tilt, rho: float) -> np.ndarray:
        """Return the c that minimises J_i(c) + tilt'c + rho/2 |c|^2, shape (m,)."""
        return np.linalg.solve(self.H + rho * np.eye(len(self.h)), -self.h - tilt)


def holders_of(neighbours) -> list[np.ndarray]:
    """Return whose numbers each agent holds: its own first, then its neighbours'."""
    return [np.array([i, *own]) for i, own in enumerate(neighbours)]


def quadratic_network(neighbours, rng: np.random.Generator) -> list[QuadraticAgent]:
    """Draw the costs of agents on a graph with rng; neighbours[i] are those of agent i, counted from 0."""
    agents = []
    for own in neighbours:
        m = len(own) + 1
        half = rng.normal(size=(m, m))
        agents.append(QuadraticAgent(half @ half.T / m + 0.4 * np.eye(m), rng.normal(size=m)))
    return agents


def joint_minimum(agents, hold) -> np.ndarray:
    """Return the z that minimises sum_i J_i(z[hold[i]]), from one central solve, shape (M,).

    J_i is the cost of agents[i], a `QuadraticAgent`.
    """
    M = len(agents)
    H, h = np.zeros((M, M)), np.zeros(M)
    for agent, own in zip(agents, hold):
        H[np.ix_(own, own)] += agent.H
        h[own] += agent.h
    return np.linalg.solve(H, -h)


def admm_iteration(agents, hold, y, z, rho):
    """Return c, y and z after one iteration of consensus ADMM.

    `agents` are M `QuadraticAgent`s, hold[i] says whose numbers agent i holds (as `holders_of`), y[i] are its
    multipliers, like c[i] of the shape of hold[i]; z (M,) is what was agreed on, `rho` the penalty.
    """
    return _admm()(agents, hold, y, z, rho)


def _admm(
    tilt: Callable = lambda y, z, rho: y - rho * z,
    told: Callable = lambda c, y, rho: c + y / rho,
    weight: Callable = lambda own: np.ones(len(own)),
    divide: Callable = lambda weights, M: weights,
    dual: Callable = lambda y, c, z, old, rho: y + rho * (c - z),
    place: Callable = lambda own: own,
) -> Callable:
    """Make the iteration from its parts; each may be replaced by a faulty one."""

    def iteration(agents, hold, y, z, rho):
        c = [agent.minimise(tilt(y_i, z[place(own)], rho), rho) for agent, own, y_i in zip(agents, hold, y)]
        total, weights = np.zeros(len(z)), np.zeros(len(z))
        for own, c_i, y_i in zip(hold, c, y):
            total[own] += weight(own) * told(c_i, y_i, rho)
            weights[own] += weight(own)
        new = total / divide(weights, len(z))
        y = [dual(y_i, c_i, new[place(own)], z[place(own)], rho) for own, c_i, y_i in zip(hold, c, y)]
        return c, y, new

    return iteration


def _admm_averaging(heard: Callable) -> Callable:
    """Make an iteration in which owner j takes the mean of `heard(told, hold, j)`; told[i] are c_i + y_i/rho."""

    def iteration(agents, hold, y, z, rho):
        c = [agent.minimise(y_i - rho * z[own], rho) for agent, own, y_i in zip(agents, hold, y)]
        told = [c_i + y_i / rho for c_i, y_i in zip(c, y)]
        z = np.array([np.mean(heard(told, hold, j)) for j in range(len(z))])
        return c, [y_i + rho * (c_i - z[own]) for y_i, c_i, own in zip(y, c, hold)], z

    return iteration


def _admm_by_matrix(agents, hold, y, z, rho):
    owner, sizes = np.concatenate(hold), [len(own) for own in hold]
    pick = np.eye(len(z))[owner]  # c = pick z at consensus
    flat = np.concatenate(y)
    tilts = np.split(flat - rho * z[owner], np.cumsum(sizes)[:-1])
    c = [agent.minimise(t, rho) for agent, t in zip(agents, tilts)]
    z = np.linalg.lstsq(pick, np.concatenate(c) + flat / rho, rcond=None)[0]
    flat = flat + rho * (np.concatenate(c) - pick @ z)
    return c, np.split(flat, np.cumsum(sizes)[:-1]), z


def _admm_by_loops(agents, hold, y, z, rho):
    M, c = len(agents), []
    for i in range(M):
        tilt = [y[i][place] - rho * z[j] for place, j in enumerate(hold[i])]
        c.append(agents[i].minimise(np.array(tilt), rho))
    new = []
    for j in range(M):
        held = [c[i][list(hold[i]).index(j)] + y[i][list(hold[i]).index(j)] / rho for i in range(M) if j in hold[i]]
        new.append(sum(held) / len(held))
    y = [[y[i][p] + rho * (c[i][p] - new[j]) for p, j in enumerate(hold[i])] for i in range(M)]
    return c, y, new


def _admm_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for n, edges in ((3, line(3)), (4, star(4)), (5, ring(5)), (5, [(0, 3), (3, 1), (1, 4), (4, 2), (0, 1)])):
        names = rng.permutation(n)
        neighbours = neighbours_of(n, [(int(names[i]), int(names[j])) for i, j in edges])
        hold = holders_of(neighbours)
        y = [rng.normal(size=len(own)) for own in hold]
        probes.append((quadratic_network(neighbours, rng), hold, y, rng.normal(size=n), rng.uniform(1.7, 4.0)))
    return probes


admm = Fill(
    2,
    "an iteration of ADMM",
    reference=admm_iteration,
    probes=_admm_probes,
    compare=close(names=("c", "y", "z")),
    when_right="Nobody needed all costs or all numbers: an agent heard of what it holds, an owner of its copies.",
    hints=[
        "Three blocks, one for each line of the algorithm. First: every agent's tilt, then c_i = agent.minimise(tilt, "
        "rho).",
        "`z[own]` are the entries of z that agent i holds, in the order of its c_i and y_i. For the mean keep two "
        "arrays of length M: a sum and the number of holders, and add to both at the places `own`.",
        "The third line uses the *new* z: y_i + rho * (c_i - z[own]).",
    ],
    mistakes=[
        Mistake("dual ascent's sign",
                "y moves the wrong way. If a copy is larger than z, its price must rise, so that it comes down.",
                _admm(dual=lambda y, c, z, old, rho: y - rho * (c - z))),
        Mistake("ρ missing in the dual step", "The step of y is c − z; its step length ρ is missing.",
                _admm(dual=lambda y, c, z, old, rho: y + (c - z))),
        Mistake("divided by ρ in the dual step", "The step of y is multiplied by ρ, not divided by it.",
                _admm(dual=lambda y, c, z, old, rho: y + (c - z) / rho)),
        Mistake("dual step with the old z",
                "y has been compared with the z from before the averaging. The third line comes after the second.",
                _admm(dual=lambda y, c, z, old, rho: y + rho * (c - old))),
        Mistake("y as it was", "The y that comes back is the old one: has the third line's result been kept?",
                _admm(dual=lambda y, c, z, old, rho: y)),
        Mistake("y replaced", "y is the sum of all its steps so far: add to it.",
                _admm(dual=lambda y, c, z, old, rho: rho * (c - z))),
        Mistake("own copy counted twice",
                "In the mean the owner's copy counts twice: it is among the copies already (hold[i] begins with i).",
                _admm(weight=lambda own: np.where(np.arange(len(own)) == 0, 2.0, 1.0))),
        Mistake("own copy left out",
                "The owner's own copy is missing in the mean: x_j is held by j, too.",
                _admm(weight=lambda own: np.where(np.arange(len(own)) == 0, 0.0, 1.0))),
        Mistake("own copy only",
                "z_j is what agent j itself wants. Those who hold a copy of x_j have a say in it.",
                _admm(weight=lambda own: np.where(np.arange(len(own)) == 0, 1.0, 0.0))),
        Mistake("mean of the own row",
                "z_j is the mean of all numbers that agent j holds. It should be that of one number, x_j, over all who "
                "hold a copy of it.", _admm_averaging(lambda told, hold, j: told[j])),
        Mistake("mean of the neighbours' own numbers",
                "z_j is the mean of the first numbers of all who hold x_j. First comes everyone's own number; the "
                "copy of x_j stands elsewhere.", _admm_averaging(lambda told, hold, j: [told[i][0] for i in hold[j]])),
        Mistake("divided by M", "The mean is over those who hold a copy of x_j, not over all M agents.",
                _admm(divide=lambda weights, M: np.full(M, float(M)))),
        Mistake("sum for mean", "z_j is a sum: divide it by the number of holders.",
                _admm(divide=lambda weights, M: np.ones(M))),
        Mistake("divided by the number of neighbours",
                "The holders of x_j are its neighbours and j itself: one more than you have divided by.",
                _admm(divide=lambda weights, M: weights - 1)),
        Mistake("y missing in the mean",
                "z is the mean of the c alone. y/ρ belongs in it, too; it drops out only where the y of a number add "
                "up to 0.", _admm(told=lambda c, y, rho: c)),
        Mistake("y not divided by ρ in the mean", "In the mean y is divided by ρ.",
                _admm(told=lambda c, y, rho: c + y)),
        Mistake("y times ρ in the mean", "In the mean y is divided by ρ, not multiplied by it.",
                _admm(told=lambda c, y, rho: c + rho * y)),
        Mistake("sign of y in the mean", "In the mean y/ρ has the wrong sign.",
                _admm(told=lambda c, y, rho: c - y / rho)),
        Mistake("sign of ρz in the tilt",
                "The tilt has the wrong sign before ρz: agents are pushed away from z. Expand ρ/2 |c − z|².",
                _admm(tilt=lambda y, z, rho: y + rho * z)),
        Mistake("ρ missing in the tilt", "In the tilt z is multiplied by ρ.", _admm(tilt=lambda y, z, rho: y - z)),
        Mistake("y missing in the tilt", "The tilt lacks y: the agents never feel the price of disagreement.",
                _admm(tilt=lambda y, z, rho: -rho * z)),
        Mistake("z missing in the tilt", "The tilt lacks ρz: the penalty pulls c to 0 instead of to z.",
                _admm(tilt=lambda y, z, rho: y)),
        Mistake("entries of z by place",
                "An agent's numbers are those of the agents in hold[i], not the first ones of z: use z[own].",
                _admm(place=lambda own: np.arange(len(own)))),
    ],
    variants=[_admm_by_matrix, _admm_by_loops],
)  # fmt: skip

# ----------------------------------------------------------------------------------- 3: a mixing matrix, its rate


def metropolis(neighbours):
    """Return the Metropolis weights of a graph, shape (M, M), and their rate.

    neighbours[i] are those of agent i, counted from 0; the rate is the second largest modulus of the eigenvalues.
    """
    return _metropolis()(neighbours)


def _metropolis(
    off: Callable = lambda d, e, most: 1.0 / (1.0 + max(d, e)),
    diagonal: Callable = lambda P, degree: 1.0 - P.sum(axis=1),
    modulus: Callable = lambda values: np.sort(np.abs(values))[-2],
    shift: int = 0,
    rows: int | None = None,
) -> Callable:
    """Make the mixing matrix and its rate from their parts; each may be replaced by a faulty one."""

    def weights(neighbours):
        M = len(neighbours)
        degree, P = np.array([len(own) for own in neighbours]), np.zeros((M, M))
        for i, own in enumerate(neighbours):
            for j in own:
                P[i, (j - shift) % M] = off(degree[i], degree[j], degree.max())
        P += np.diag(diagonal(P, degree))
        P[rows:] = 0.0 if rows else P[rows:]
        return P, float(np.real(modulus(np.linalg.eigvals(P))))

    return weights


def _metropolis_by_edges(neighbours):
    M = len(neighbours)
    P = np.eye(M)
    for i in range(M):
        for j in neighbours[i]:
            if i < j:
                e = np.zeros(M)
                e[i], e[j] = 1.0, -1.0
                P -= np.outer(e, e) / (1 + max(len(neighbours[i]), len(neighbours[j])))
    return P, np.linalg.norm(P - np.full((M, M), 1.0 / M), 2)


def _metropolis_by_package(neighbours):
    edges = [(i, j) for i, own in enumerate(neighbours) for j in own if i < j]
    P = mixing_matrix(len(neighbours), edges)
    return P, rate(P)


def _metropolis_probes(rng: np.random.Generator) -> list[tuple]:
    # where every other agent is a neighbour a negative eigenvalue decides; of two such graphs none has a rate whose
    # square is another eigenvalue
    both = [(i, j) for i in range(4) for j in range(4, 8)]
    graphs = [
        (8, both),
        (8, [*both, (0, 1)]),
        (4, line(4)),
        (5, star(5)),
        (5, [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4)]),
    ]
    probes = []
    for n, edges in graphs:
        names = rng.permutation(n)
        probes.append((neighbours_of(n, [(int(names[i]), int(names[j])) for i, j in edges]),))
    return probes


mixing = Fill(
    3,
    "a mixing matrix and its rate",
    reference=metropolis,
    probes=_metropolis_probes,
    compare=close(rtol=1e-6, atol=1e-8, names=("P", "rate")),
    when_right="An agent needs to know nothing of the graph but its own and its neighbours' number of neighbours.",
    hints=[
        "`len(neighbours[i])` is the degree of i. Fill P_ij for the neighbours j of i first; the diagonal last, so "
        "that every row adds up to 1.",
        "P is symmetric: np.linalg.eigvalsh(P). The largest eigenvalue is 1, it belongs to the mean. Of the others "
        "take the largest *modulus*.",
    ],
    mistakes=[
        Mistake("degree without 1",
                "Off the diagonal it is 1/(1 + the larger degree): the agent itself counts, too.",
                _metropolis(off=lambda d, e, most: 1.0 / max(d, e))),
        Mistake("own degree",
                "P_ij uses the degree of i only, so that P is not symmetric: the mean is not kept.",
                _metropolis(off=lambda d, e, most: 1.0 / (1.0 + d))),
        Mistake("neighbour's degree",
                "P_ij uses the degree of j only, so that P is not symmetric: the mean is not kept.",
                _metropolis(off=lambda d, e, most: 1.0 / (1.0 + e))),
        Mistake("smaller degree",
                "It is the larger of both degrees: with the smaller one the diagonal may become negative.",
                _metropolis(off=lambda d, e, most: 1.0 / (1.0 + min(d, e)))),
        Mistake("sum of the degrees", "It is the larger of both degrees, not their sum.",
                _metropolis(off=lambda d, e, most: 1.0 / (1.0 + d + e))),
        Mistake("one weight for all",
                "All links have the same weight, that of the agent with most neighbours. It is the larger degree of "
                "the two agents of the link: then nobody needs to know the whole graph.",
                _metropolis(off=lambda d, e, most: 1.0 / (1.0 + most))),
        Mistake("nobody listens",
                "All weights off the diagonal are 0, P is the identity. (`//` divides whole numbers to whole numbers.)",
                _metropolis(off=lambda d, e, most: 0.0)),
        Mistake("one row only", "Only the first agent's row is filled: does the return stand in the loop?",
                _metropolis(rows=1)),
        Mistake("diagonal of half a row",
                "Off the diagonal P is right. An agent's own weight is 1 minus *all* of its row, not only minus the "
                "weights of later agents.", _metropolis(diagonal=lambda P, degree: 1.0 - np.triu(P).sum(axis=1))),
        Mistake("diagonal counted twice",
                "The diagonal is 1 too small: did the sum of the row contain the diagonal already?",
                _metropolis(diagonal=lambda P, degree: -P.sum(axis=1))),
        Mistake("diagonal missing", "The diagonal is empty: an agent keeps a share of its own value.",
                _metropolis(diagonal=lambda P, degree: np.zeros(len(P)))),
        Mistake("diagonal 1/(1 + degree)",
                "With 1/(1 + own degree) on the diagonal the rows do not add up to 1.",
                _metropolis(diagonal=lambda P, degree: 1.0 / (1.0 + degree))),
        Mistake("diagonal 1", "The rows add up to more than 1: what an agent gives to others it does not keep.",
                _metropolis(diagonal=lambda P, degree: np.ones(len(P)))),
        Mistake("agents counted from 1", "A neighbour's index is one too low: in code agents are counted from 0.",
                _metropolis(shift=1)),
        Mistake("largest eigenvalue", "P is right. The rate is not 1: that eigenvalue belongs to the mean; it stays.",
                _metropolis(modulus=lambda values: np.max(np.abs(values)))),
        Mistake("modulus forgotten",
                "P is right. A negative eigenvalue shrinks by its modulus, and here and there one of those is second.",
                _metropolis(modulus=lambda values: np.sort(np.real(values))[-2])),
        Mistake("smallest eigenvalue",
                "P is right. The slowest part decides: after 1 the *largest* modulus, not the smallest.",
                _metropolis(modulus=lambda values: np.min(np.abs(values)))),
        Mistake("third modulus", "P is right. This is the third-largest modulus; the rate is the second.",
                _metropolis(modulus=lambda values: np.sort(np.abs(values))[-3])),
        Mistake("spectral gap", "P is right. This is the gap, 1 minus the rate.",
                _metropolis(modulus=lambda values: 1.0 - np.sort(np.abs(values))[-2])),
    ],
    variants=[_metropolis_by_edges, _metropolis_by_package],
)  # fmt: skip

# ------------------------------------------------------------------------------- 4: the TD error by consensus


def td_estimates(cost, v_next, q, gamma, P, rounds):
    """Return what each agent takes the network's TD error to be, shape (M,).

    `cost`, `v_next` and `q` (M,) are the agents' own stage costs, V(s+) and Q(s, a), `gamma` is the discount; their TD
    errors are mixed by P (M, M) for so many `rounds`.
    """
    return _estimates()(cost, v_next, q, gamma, P, rounds)


def _estimates(
    term: Callable = lambda b: b.cost + b.gamma * b.v_next - b.q,
    mix: Callable = lambda b, v: np.linalg.matrix_power(b.P, b.rounds) @ v,
    scale: Callable = lambda b, v: len(b.q) * v,
) -> Callable:
    """Make the estimates from their parts; each may be replaced by a faulty one."""

    def estimates(cost, v_next, q, gamma, P, rounds):
        b = SimpleNamespace(cost=cost, v_next=v_next, q=q, gamma=gamma, P=P, rounds=rounds)
        return scale(b, mix(b, term(b)))

    return estimates


def _estimates_by_loop(cost, v_next, q, gamma, P, rounds):
    known = [float(c + gamma * v - one) for c, v, one in zip(cost, v_next, q)]
    for _ in range(rounds):
        known = [sum(P[i, j] * known[j] for j in range(len(known)) if P[i, j]) for i in range(len(known))]
    return [len(known) * value for value in known]


def _estimates_by_parts(cost, v_next, q, gamma, P, rounds):
    parts = average(P, np.column_stack([cost, v_next, q]), rounds).estimates  # each of the three on its own
    return len(q) * (parts @ [1.0, gamma, -1.0])


def _estimates_one_by_one(cost, v_next, q, gamma, P, rounds):
    v = cost + gamma * v_next - q
    for _ in range(rounds):
        for i in range(len(v)):
            v[i] = P[i] @ v
    return len(v) * v


def _estimates_probes(rng: np.random.Generator) -> list[dict]:
    probes = []
    for n, edges, rounds in ((3, line(3), 2), (4, star(4), 3), (5, ring(5), 4), (4, line(4), 12), (4, star(4), 0)):
        probes.append({
            "cost": rng.uniform(0.3, 3.0, n), "v_next": rng.uniform(1.0, 9.0, n), "q": rng.uniform(1.0, 9.0, n),
            "gamma": rng.uniform(0.75, 0.95), "P": mixing_matrix(n, edges), "rounds": rounds,
        })  # fmt: skip
    return probes


consensus = Fill(
    4,
    "the TD error by consensus",
    reference=td_estimates,
    probes=_estimates_probes,
    when_right="A number for each neighbour in every round, and no centre. (Private it is not: in the first round a "
    "neighbour is told your own term. Lecture 12 comes back to that.)",
    hints=[
        "Which sum over agents is the network's δ? Write down the term that agent i knows by itself.",
        "A round replaces every agent's number by P's mixture of it and its neighbours': v = P @ v.",
        "Consensus gives the mean. How do M agents make the sum out of it?",
    ],
    mistakes=[
        Mistake("mean for sum", "Consensus gives the mean of the local terms; δ is their sum, M times as much.",
                _estimates(scale=lambda b, v: v)),
        Mistake("local for global",
                "Nothing has been mixed: every agent takes its own term, times M, for that of the network.",
                _estimates(mix=lambda b, v: v)),
        Mistake("local term only", "This is every agent's own term. δ is that of the network: a sum over the agents.",
                _estimates(mix=lambda b, v: v, scale=lambda b, v: v)),
        Mistake("exact sum",
                "All agents know the exact sum: whoever computed it has seen everything, and that would be a centre. "
                "They can only mix with their neighbours, `rounds` times.",
                _estimates(mix=lambda b, v: np.full(len(v), v.mean()))),
        Mistake("discount missing", "γ is missing before the value of the next state.",
                _estimates(term=lambda b: b.cost + b.v_next - b.q)),
        Mistake("cost discounted", "γ multiplies the value of the next state only, not the stage cost.",
                _estimates(term=lambda b: b.gamma * (b.cost + b.v_next) - b.q)),
        Mistake("sign", "The sign is turned: δ is the target minus Q.",
                _estimates(term=lambda b: b.q - b.cost - b.gamma * b.v_next)),
        Mistake("Q left out", "This is the target; Q must be subtracted from it.",
                _estimates(term=lambda b: b.cost + b.gamma * b.v_next)),
        Mistake("costs mixed only",
                "The costs have been mixed, the values have not: V and Q are sums over the agents, too.",
                _estimates(term=lambda b: np.linalg.matrix_power(b.P, b.rounds) @ b.cost + b.gamma * b.v_next - b.q,
                           mix=lambda b, v: v)),
        Mistake("own Q kept",
                "The targets have been mixed; then every agent took off its own Q. Q is a sum over the agents, too.",
                _estimates(term=lambda b: b.cost + b.gamma * b.v_next, scale=lambda b, v: len(v) * v - b.q)),
        Mistake("V and Q exchanged", "V(s⁺) and Q have changed places: γ belongs to V(s⁺), the minus to Q.",
                _estimates(term=lambda b: b.cost + b.gamma * b.q - b.v_next)),
        Mistake("one agent after the other",
                "In a round an agent already hears what others have computed in the same round. All use the values of "
                "the round before.", _estimates_one_by_one),
        Mistake("one round only", "This is one round, whatever `rounds` says.",
                _estimates(mix=lambda b, v: b.P @ v if b.rounds else v)),
        Mistake("a round too many", "This is one round more than asked for.",
                _estimates(mix=lambda b, v: np.linalg.matrix_power(b.P, b.rounds + 1) @ v)),
        Mistake("a round too few", "This is one round less than asked for.",
                _estimates(mix=lambda b, v: np.linalg.matrix_power(b.P, max(b.rounds - 1, 0)) @ v)),
        Mistake("power entry by entry",
                "P ** rounds raises every entry of P to that power; rounds are products of matrices.",
                _estimates(mix=lambda b, v: b.P**b.rounds @ v)),
        Mistake("sum in every round",
                "You have multiplied by M in every round. The mean becomes the sum once, at the end.",
                _estimates(scale=lambda b, v: float(len(b.q)) ** b.rounds * v)),
        Mistake("times the neighbourhood",
                "The mean is one over all M agents, not over an agent and its neighbours only: that is what rounds are "
                "for.", _estimates(scale=lambda b, v: (b.P > 0).sum(axis=1) * v)),
    ],
    variants=[_estimates_by_loop, _estimates_by_parts],
)  # fmt: skip

# ------------------------------------------------------------------------- 5: a network that learns the wrong value

#: Network of item 5: x_i+ = PULL_i x_i + e_i with e_i ~ N(0, 1), and agent i pays x_i^2 + SHARE * (sum of neighbours').
PULL, SHARE, CHAIN_GAMMA = np.array([0.3, 0.6, 0.2, 0.5]), 2.0, 0.9


def chain_record(seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Run four agents on a line, whose costs depend on their neighbours' states.

    Parameters
    ----------
    seed, steps : int

    Returns
    -------
    x : ndarray, shape (steps + 1, 4)
    cost : ndarray, shape (steps, 4)
        L_i = x_i^2 + 2 (sum of x_j^2 over the neighbours j).
    """
    rng, M = np.random.default_rng(seed), len(PULL)
    x = np.empty((steps + 1, M))
    x[0] = rng.normal(size=M) / np.sqrt(1 - PULL**2)
    for k in range(steps):
        x[k + 1] = PULL * x[k] + rng.normal(size=M)
    squares = x[:-1] ** 2
    felt = np.column_stack([squares[:, own].sum(axis=1) for own in neighbours_of(M, line(M))])
    return x, squares + SHARE * felt


def chain_value() -> np.ndarray:
    """Return the exact factors of x_i^2 in the network's value, shape (4,)."""
    degree = np.array([len(own) for own in neighbours_of(len(PULL), line(len(PULL)))])
    return (1 + SHARE * degree) / (1 - CHAIN_GAMMA * PULL**2)


def learn(theta, x, cost, gamma, alpha):
    """Return theta, shape (M, 2), after first-order learning of V = sum_i (theta_i1 + theta_i2 x_i^2).

    It begins with the given theta, and goes once through a record of states x (steps + 1, M) and stage costs `cost`
    (steps, M), with the discount `gamma` and the step size `alpha`.
    """
    return _learn()(theta, x, cost, gamma, alpha)


def learn_as_given(theta, x, cost, gamma, alpha):
    """Return what the faulty function of item 5 returns: every agent follows its own TD error.

    theta, x, `cost`, `gamma` and `alpha` are those of `learn`.
    """
    return _learn(delta=lambda local: local[:, None])(theta, x, cost, gamma, alpha)


def _learn(
    delta: Callable = lambda local: local.sum(),
    term: Callable = lambda cost, gamma, v_next, v: cost + gamma * v_next - v,
    slope: Callable = lambda phi, phi_next, gamma: phi,
    sign: float = 1.0,
) -> Callable:
    """Make the loop from its parts; each may be replaced by a faulty one."""

    def loop(theta, x, cost, gamma, alpha):
        for k in range(len(cost)):
            phi, phi_next = (np.column_stack([np.ones(len(theta)), s**2]) for s in (x[k], x[k + 1]))
            v, v_next = (theta * phi).sum(axis=1), (theta * phi_next).sum(axis=1)
            local = term(cost[k], gamma, v_next, v)
            theta = theta + sign * alpha * delta(local) * slope(phi, phi_next, gamma)
        return theta

    return loop


def _learn_one_by_one(theta, x, cost, gamma, alpha):
    agents = [np.array(own, dtype=float) for own in theta]
    for k, costs in enumerate(cost):
        seen = [np.array([1.0, s * s]) for s in x[k]]
        ahead = [np.array([1.0, s * s]) for s in x[k + 1]]
        delta = sum(costs) + sum(own @ (gamma * b - a) for own, a, b in zip(agents, seen, ahead))
        agents = [own + alpha * delta * a for own, a in zip(agents, seen)]
    return np.array(agents)


def _learn_as_one(theta, x, cost, gamma, alpha):
    w, M = np.ravel(theta, order="F").copy(), len(theta)
    for k in range(len(cost)):
        phi, phi_next = (np.concatenate([np.ones(M), s**2]) for s in (x[k], x[k + 1]))
        w += alpha * (cost[k].sum() + w @ (gamma * phi_next - phi)) * phi
    return w.reshape(2, M).T


def _one_after_the_other(theta, x, cost, gamma, alpha):
    theta = theta.copy()
    for k in range(len(cost)):
        phi, phi_next = (np.column_stack([np.ones(len(theta)), s**2]) for s in (x[k], x[k + 1]))
        for i in range(len(theta)):
            delta = (cost[k] + gamma * (theta * phi_next).sum(axis=1) - (theta * phi).sum(axis=1)).sum()
            theta[i] += alpha * delta * phi[i]
    return theta


def _with_neighbours(local):
    return np.convolve(local, [1, 1, 1], "same")[:, None]


def _one_round(local):
    M = len(local)
    return M * (mixing_matrix(M, line(M)) @ local)[:, None]


def _first_step_only(theta, x, cost, gamma, alpha):
    return learn(theta, x[:2], cost[:1], gamma, alpha)


def _values_added_up(theta, x, cost, gamma, alpha):
    for k in range(len(cost)):
        phi, phi_next = (np.column_stack([np.ones(len(theta)), s**2]) for s in (x[k], x[k + 1]))
        local = cost[k] + gamma * (theta * phi_next).sum() - (theta * phi).sum()
        theta = theta + alpha * local[:, None] * phi
    return theta


def _learn_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for M, steps in ((4, 6), (5, 4), (4, 9)):
        x, cost = rng.normal(size=(steps + 1, M)), rng.uniform(0.5, 4.0, (steps, M))
        probes.append((rng.normal(size=(M, 2)), x, cost, rng.uniform(0.7, 0.95), rng.uniform(0.01, 0.03)))
    return probes


debug = Debug(
    5,
    "a network that learns the wrong value",
    reference=learn,
    given=learn_as_given,
    probes=_learn_probes,
    when_right="Agent i's value has to tell what x_i costs *everyone*; only the network's δ knows of that.",
    hints=[
        "Each agent alone does everything right: its own cost, its own value. But what is it that all the V_i together "
        "shall approximate?",
        "The network's V is the sum of the V_i, its cost the sum of the L_i. What is then its TD error, and how many "
        "numbers is it?",
        "One line is wrong: the one that says which TD error each agent follows. The line above it, with the local "
        "terms, is needed.",
    ],
    mistakes=[
        Mistake("mean for sum", "All agents follow the same number now, but it is the mean of the local terms: δ is "
                "their sum.", _learn(delta=lambda local: local.mean())),
        Mistake("own term times M", "Every agent still follows its own term, only M times as far.",
                _learn(delta=lambda local: len(local) * local[:, None])),
        Mistake("neighbour's term", "Every agent follows one other agent's term; what is needed is the sum over all.",
                _learn(delta=lambda local: np.roll(local, 1)[:, None])),
        Mistake("own and neighbours' terms",
                "Every agent adds up its own and its neighbours' terms. All agents' V_i together are the network's V, "
                "so that all their terms are needed: δ is the sum over all.", _learn(delta=_with_neighbours)),
        Mistake("one round of consensus",
                "After a single round of consensus every agent knows a mixture of its own and its neighbours' terms, "
                "not yet the sum over all.",
                _learn(delta=_one_round)),
        Mistake("sum of the others", "Every agent adds up the terms of all others: its own belongs to the sum, too.",
                _learn(delta=lambda local: (local.sum() - local)[:, None])),
        Mistake("sum along the line",
                "The sum grows from agent to agent, and only the last one has it all: the others must hear of it, too.",
                _learn(delta=lambda local: np.cumsum(local)[:, None])),
        Mistake("sum over four",
                "Right for four agents; with more of them some are left out. The sum is over all, however many.",
                _learn(delta=lambda local: local[:4].sum())),
        Mistake("one agent's term", "All follow the term of agent 1 alone.", _learn(delta=lambda local: local[0])),
        Mistake("largest term", "All follow the largest term; δ is the sum of all terms.",
                _learn(delta=lambda local: local.max())),
        Mistake("sum of the moduli", "The terms have lost their signs. They may cancel: that is right so.",
                _learn(delta=lambda local: np.abs(local).sum())),
        Mistake("costs added up only",
                "The costs are summed over the agents, the values are not: this compares the cost of all with the "
                "value of one.", _learn(delta=lambda local: local[:, None],
                                  term=lambda cost, gamma, v_next, v: cost.sum() + gamma * v_next - v)),
        Mistake("mean of the costs",
                "Each agent compares the mean of the costs with its own value. The network's δ is the sum of all costs "
                "against the sum of all values.",
                _learn(delta=lambda local: local[:, None],
                       term=lambda cost, gamma, v_next, v: cost.mean() + gamma * v_next - v)),
        Mistake("values added up only",
                "The values are summed over the agents, the costs are not: each agent compares the value of all with "
                "what it pays itself.", _values_added_up),
        Mistake("first step only", "Only the first step has been learned from: does the return stand in the loop?",
                _first_step_only),
        Mistake("ascent for descent", "All is right but the sign: where the sum is positive, V must rise.",
                _learn(sign=-1.0)),
        Mistake("discount missing", "δ is the sum now, but γ has got lost.",
                _learn(term=lambda cost, gamma, v_next, v: cost + v_next - v)),
        Mistake("gradient of the target, too",
                "δ is right, but the step follows φ − γφ⁺ now. In Q-learning the target is held fixed: leave φ.",
                _learn(slope=lambda phi, phi_next, gamma: phi - gamma * phi_next)),
        Mistake("one agent after the other",
                "Agent 2 already uses what agent 1 has learned in this step. All use the θ of the same moment: δ is "
                "one number for a step.", _one_after_the_other),
    ],
    variants=[_learn_one_by_one, _learn_as_one],
)  # fmt: skip

# --------------------------------------------------------------------------- 6: a network within a message budget

EDGES = line(3)
ACTION, DISAGREEMENT, BUDGET = 0.005, 0.01, 300
ROUNDED, TINY = 1e-3, 1e-9  # P may be written with a few decimals, or have been computed
GOOD_RHO, NEEDED_ROUNDS = 4.0, 12  # a penalty that does here, and what the Metropolis weights take
MOST = 300  # iterations or rounds that are measured at all: a check has to be instant
#: A state of the three plants in which agent 2 cannot keep its lower bound on x_1.
HARD = np.array([0.34, -0.11, 0.07, -0.29, 0.42, 0.34])


network = network_mpc(3)  # agents 1 - 2 - 3
central = Central(network)
theta = network.parameters.pack(**{
    f"{name}_{i}": value
    for i in (1, 2, 3)
    for name, value in {"A": A, "B": B, "A_c": COUPLING, "b": [-0.05, 0.0]}.items()
})  # fmt: skip


def some_states(seed: int, n: int = 6) -> np.ndarray:
    """Draw n states of the three plants, shape (n, 6), by a seed.

    In the first, agent 2 cannot keep its lower bound on x_1.
    """
    rng = np.random.default_rng(seed)
    s = rng.uniform([0.2, 0.0] * 3, [0.5, 0.35] * 3, (n, 6))
    s[0] = HARD + rng.uniform(-0.01, 0.01, 6)
    return s


def action_error(rho: float, iterations: int, states) -> float:
    """Return the largest error of a first input after ADMM from z = 0, y = 0, against the central solution.

    It is the largest over `states` (n, 6); `rho` is ADMM's penalty, `iterations` how many are done in each of them.
    """
    agents = ADMM(network, float(rho), int(iterations))
    return max(float(np.abs(agents.V(theta, s).u0 - central.V(theta, s).u0).max()) for s in states)


def as_mixing_matrix(P) -> np.ndarray:
    """Return a mixing matrix from one with rounded entries, P: symmetric, and rows that add up to 1 on the diagonal."""
    P = np.asarray(P, dtype=float)
    links = (P + P.T) / 2 * (1.0 - np.eye(len(P)))
    links[links < TINY] = 0.0
    links /= max(1.0, links.sum(axis=1).max())
    return links + np.diag(1.0 - links.sum(axis=1))


def measure(rho: float, iterations: int, P, rounds: int, seed: int) -> dict[str, float]:
    """Measure a design: the error of the action, what is left of the agents' disagreement, and messages per step.

    Parameters
    ----------
    rho, iterations
        Of ADMM, for V and Q of a step in lockstep: 4 messages an edge and iteration serve both.
    P : array_like, shape (3, 3)
        Rounded entries are put right, see `as_mixing_matrix`.
    rounds : int
        Of average consensus on the TD error, 2 messages an edge and round.
    seed : int
        Of the states, and of the values to be averaged.
    """
    v = np.random.default_rng(seed).normal(size=(3, 40))
    apart = v - v.mean(axis=0)
    left = np.linalg.norm(average(as_mixing_matrix(P), apart, rounds).estimates, axis=0)
    return {
        "error of the action": action_error(rho, iterations, some_states(seed)),
        "disagreement left": float((left / np.linalg.norm(apart, axis=0)).max()),
        "messages per step": float(len(EDGES) * (4 * iterations + 2 * rounds)),
    }


def _hidden(answer, seed: int) -> dict[str, float]:
    names = ("rho", "iterations", "P", "rounds")
    if not isinstance(answer, dict) or set(answer) != set(names):
        raise TypeError("give a dict with the keys rho, iterations, P and rounds")
    rho, iterations, rounds = (float(answer[name]) for name in ("rho", "iterations", "rounds"))
    P = np.asarray(answer["P"], dtype=float)
    if not (np.isfinite(rho) and rho > 0):
        raise ValueError("rho must be a positive number")
    if not (iterations >= 1 and rounds >= 0 and iterations == int(iterations) and rounds == int(rounds)):
        raise ValueError("iterations and rounds are whole numbers, the first at least 1")
    if max(iterations, rounds) > MOST:
        raise ValueError(f"more than {MOST} iterations or rounds are far beyond any budget here")
    if P.shape != (3, 3):
        raise ValueError(f"P has shape {P.shape}; there are three agents")
    mixes = not (_strangers(P) or _rows_wrong(P) or _lopsided(P))  # else it is no average, or not one by neighbours
    measured = measure(rho, int(iterations), P if mixes else mixing_matrix(3, EDGES), int(rounds), seed)
    if not mixes:
        measured["disagreement left"] = float("nan")
    if _inaccurate(measured):
        measured["error with ρ = 4"] = action_error(GOOD_RHO, int(iterations), some_states(seed))
    return measured


def _strangers(P: np.ndarray) -> bool:
    return bool(abs(P[0, 2]) > TINY or abs(P[2, 0]) > TINY)


def _rows_wrong(P: np.ndarray) -> bool:
    return not (P.min() >= -TINY and np.abs(P.sum(axis=1) - 1.0).max() <= ROUNDED)


def _lopsided(P: np.ndarray) -> bool:
    return not np.abs(P - P.T).max() <= ROUNDED


def _answer(rho=4.0, iterations=28, P=None, rounds=12) -> dict[str, Any]:
    return {"rho": rho, "iterations": iterations, "P": mixing_matrix(3, EDGES) if P is None else P, "rounds": rounds}


EQUAL_SHARES = np.full((3, 3), 1 / 3)
OWN_DEGREE = np.array([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]])
SLOW = mixing_matrix(3, EDGES, 0.1)


def _inaccurate(measured) -> bool:
    return measured["error of the action"] > ACTION


def _dear(measured) -> bool:
    return measured["messages per step"] > BUDGET


def _rho_at_fault(measured) -> bool:
    return _inaccurate(measured) and measured["error with ρ = 4"] <= ACTION


def _mixes_slowly(P) -> bool:
    return rate(as_mixing_matrix(P)) > 0.8


design = Design(
    6,
    "a message budget",
    reference=_answer(),
    measure=_hidden,
    targets={
        "error of the action": ("<=", ACTION),
        "disagreement left": ("<=", DISAGREEMENT),
        "messages per step": ("<=", BUDGET),
    },
    when_right="A quarter of the 1200 messages that ρ = 1 with 100 iterations and 100 rounds would take.",
    hints=[
        "Spend on one thing at a time. First find a ρ for which 20 to 35 iterations are enough; the picture helps. An "
        "iteration costs twice as much as a round.",
        "In item 3 you computed rates: rate ** rounds is what is left of the disagreement in the worst case. With "
        "`mixing_matrix(3, EDGES, step)` you can change P: step between 0.1 and 0.5.",
        "ρ between 3 and 5 and about 28 iterations leave room for 12 to 19 rounds.",
    ],
    mistakes=[
        Mistake("talking to strangers",
                "P lets agents 1 and 3 talk to each other. They are not neighbours on this line: P is 0 there.",
                lambda answer, m: _strangers(np.asarray(answer["P"])), _answer(P=EQUAL_SHARES)),
        Mistake("rows of P",
                "P is no mixing matrix: entries must not be negative, and every row adds up to 1.",
                lambda answer, m: _rows_wrong(np.asarray(answer["P"])), _answer(P=np.diag([0.5, 0.4, 0.5]))),
        Mistake("P not symmetric",
                "P is not symmetric, so that the agents agree on something, but not on the mean.",
                lambda answer, m: _lopsided(np.asarray(answer["P"])), _answer(P=OWN_DEGREE)),
        Mistake("ρ too large",
                "ρ is too large: the agents agree quickly and then move together, but slowly (item 1). The action is "
                "not yet the right one.",
                lambda answer, m: _rho_at_fault(m) and answer["rho"] > GOOD_RHO, _answer(rho=50.0)),
        Mistake("ρ too small",
                "ρ is too small: the multipliers y climb by ρ times the disagreement in an iteration, and where a "
                "bound on the state is violated they have far to go.",
                lambda answer, m: _rho_at_fault(m) and answer["rho"] < GOOD_RHO, _answer(rho=0.3)),
        Mistake("too few iterations",
                "The action is not yet the right one, and ρ alone is not to blame: it takes more iterations.",
                lambda answer, m: _inaccurate(m), _answer(iterations=12)),
        Mistake("P too slow",
                "P mixes slowly: most of what an agent knows stays where it is. Another P needs fewer rounds.",
                lambda answer, m: m["disagreement left"] > DISAGREEMENT and _mixes_slowly(answer["P"]),
                _answer(P=SLOW, rounds=15)),
        Mistake("too few rounds",
                "The rounds are too few for this P: its rate says how many it takes.",
                lambda answer, m: m["disagreement left"] > DISAGREEMENT, _answer(rounds=6)),
        Mistake("too many rounds",
                "Accurate, but too many messages go into rounds. Would fewer do, with this P or with another one?",
                lambda answer, m: _dear(m) and 8 * answer["iterations"] + 4 * NEEDED_ROUNDS <= BUDGET,
                _answer(rounds=40)),
        Mistake("too many iterations",
                "Accurate, but too many messages go into iterations, 8 in each. Would fewer do, with this ρ or with "
                "another one?", lambda answer, m: _dear(m), _answer(iterations=60)),
    ],
    variants=[
        _answer(rho=5.0, iterations=30, P=mixing_matrix(3, EDGES, 0.5), rounds=8),
        _answer(rho=3.5, iterations=30, rounds=13),
        _answer(rho=4.0, iterations=28, P=np.array([[0.6, 0.4, 0.0], [0.4, 0.2, 0.4], [0.0, 0.4, 0.6]]), rounds=14),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------- 7: which residual to trust

explain = Explain(
    7,
    "which residual to trust",
    reference="d",
    choices={
        "a": "Runs 2 and 3: what counts is that the agents agree, and in both they do, to five digits or better.",
        "b": "Runs 1 and 2: what counts is that nothing moves any more, and in both nothing does.",
        "c": "All three for acting and for learning: 100 iterations are enough, and no input is far off.",
        "d": "Run 2 only: each residual can be tiny while the other says that ADMM has not arrived.",
        "e": "None of them: without the central solution nobody can know how far off they are.",
    },
    reasons={
        1: "ADMM converges for every ρ, so that after 100 iterations a small residual of either kind is enough.",
        2: "A large ρ forces the copies to agree, and a small one keeps z from moving, wherever z is: ρ alone can make "
        "either residual small.",
        3: "Only run 2 finds the V = 8.147 of the central solve, and its ∇V is right to seven digits.",
        4: "If the copies agree and z no longer moves, then the agents' conditions of optimality are, together, those "
        "of the whole problem.",
        5: "The error of V is at most as large as the larger one of the two residuals.",
    },
    carrying=(2, 4),
    when_right="Acting and learning ask for different things of a run that has not arrived: see the discussion.",
    hints=[
        "Look at the last three columns first: which of the runs are right? Then: which of the first two columns would "
        "have told you?",
        "The dual residual is ρ times the movement of z, the primal one what the copies differ by. Which of them is "
        "small when ρ is very small, and which when it is very large?",
        "One of the reasons must say why run 1 and run 3 are out, another why run 2 is in, and both with nothing but "
        "what the network sees.",
    ],
    mistakes=[
        Mistake("agreement is not optimality",
                "In run 3 they agree on a plan that is still on its way: an input is off by 0.07, and an agent's "
                "gradient by a sixth.", "a"),
        Mistake("standstill is not agreement",
                "In run 1 nothing moves, since ρ is so small that y hardly climbs; copies are still 0.18 away from "
                "z, and V is less than half of what it should be.", "b"),
        Mistake("acting is not learning",
                "An input that is off by 0.03 may do for acting. Learning uses δ and the gradient: how far off are V "
                "and ∇V in runs 1 and 3?", "c"),
        Mistake("residuals tell",
                "Both residuals together do tell, and the agents can compute them: if both vanish, all conditions of "
                "optimality hold.", "e"),
        Mistake("converges, but when?",
                "Not reason 1: it converges for every ρ, but how fast depends on ρ, and runs 1 and 3 have not arrived "
                "after 100 iterations although one of their residuals is tiny.", 1),
        Mistake("what the network cannot see",
                "Reason 3 is true, but the network has no central solution to compare with: it sees its residuals "
                "only.", 3),
        Mistake("a residual is no bound",
                "Not reason 5: in run 1 the larger residual is 0.18, and V is off by more than 5. That a residual is "
                "not small tells that ADMM has not arrived, not how far V is from right.", 5),
    ],
)  # fmt: skip

exercise = Exercise(
    11,
    "Can many controllers learn without a centre?",
    [predict, admm, mixing, consensus, debug, design, explain],
)
