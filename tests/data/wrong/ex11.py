"""Answers to exercise 11 by someone who saw only its notebook: (item, what is done, answer)."""

import numpy as np

from mpcrl_course.network import average, line, mixing_matrix, ring

EDGES = line(3)

# ------------------------------------------------------------------------------------------------------- item 2


def _mean_of_copies(told, hold, j):
    return np.mean([told[i][list(own).index(j)] for i, own in enumerate(hold) if j in own])


def _admm(
    mean=_mean_of_copies, of_z=lambda z, own: z[own], climbs=lambda y, step: y + step, answer=lambda c, y, z: (c, y, z)
):
    def admm_iteration(agents, hold, y, z, rho):
        c = [agent.minimise(y_i - rho * z[own], rho) for agent, y_i, own in zip(agents, y, hold)]
        told = [c_i + y_i / rho for c_i, y_i in zip(c, y)]
        z = np.array([mean(told, hold, j) for j in range(len(z))])
        y = [climbs(y_i, rho * (c_i - z[own])) for y_i, c_i, own in zip(y, c, hold)]
        return answer(c, y, z)

    return admm_iteration


def one_agent_after_the_other(agents, hold, y, z, rho):
    c, z = [], z.copy()
    for i, own in enumerate(hold):
        c.append(agents[i].minimise(y[i] - rho * z[own], rho))
        z[i] = c[i][0]
    told = [c_i + y_i / rho for c_i, y_i in zip(c, y)]
    z = np.array([_mean_of_copies(told, hold, j) for j in range(len(z))])
    return c, [y_i + rho * (c_i - z[own]) for y_i, c_i, own in zip(y, c, hold)], z


def old_y(agents, hold, y, z, rho):
    c, new, z = _admm()(agents, hold, y, z, rho)
    for y_i, new_i in zip(y, new):
        y_i = new_i  # noqa: F841
    return c, y, z


def overwriting_y_and_z(agents, hold, y, z, rho):
    c, new, z[:] = _admm()(agents, hold, y, z, rho)
    for y_i, new_i in zip(y, new):
        y_i[:] = new_i
    return c, y, z


def by_selection_matrices(agents, hold, y, z, rho):
    E = [np.eye(len(z))[np.asarray(own)] for own in hold]
    c = [a.minimise(y_i - rho * E_i @ z, rho) for a, y_i, E_i in zip(agents, y, E)]
    D = sum(E_i.T @ E_i for E_i in E)
    z = np.linalg.solve(D, sum(E_i.T @ (c_i + y_i / rho) for E_i, c_i, y_i in zip(E, c, y)))
    return tuple(c), tuple(y_i + rho * (c_i - E_i @ z) for E_i, c_i, y_i in zip(E, c, y)), z


# ------------------------------------------------------------------------------------------------------- item 3


def _metropolis(
    off=lambda d, i, j: 1 / (1 + max(d[i], d[j])), own=lambda P: 1 - P.sum(axis=1), rate=lambda e: np.sort(abs(e))[-2]
):
    def metropolis(neighbours):
        d, P = [len(own) for own in neighbours], np.zeros((len(neighbours), len(neighbours)))
        for i, heard in enumerate(neighbours):
            for j in heard:
                P[i, j] = off(d, i, j)
        P = P + np.diag(own(P))
        return P, rate(np.linalg.eigvals(P).real)

    return metropolis


def by_norm(neighbours):
    M = len(neighbours)
    A = np.array([[float(j in own) for j in range(M)] for own in neighbours])
    P = A / (1 + np.maximum(A.sum(1)[:, None], A.sum(1)[None, :]))
    np.fill_diagonal(P, 1 - P.sum(1))
    return [P, np.linalg.norm(P - np.ones((M, M)) / M, 2)]


def by_singular_values(neighbours):
    P = _metropolis()(neighbours)[0]
    return np.asmatrix(P), np.linalg.svd(P)[1][1]


# ------------------------------------------------------------------------------------------------------- item 4


def tuple_times_m(cost, v_next, q, gamma, P, rounds):
    return len(P) * average(P, cost + gamma * v_next - q, rounds)


def in_place(cost, v_next, q, gamma, P, rounds):
    v = cost + gamma * v_next - q
    for _ in range(rounds):
        for i in range(len(v)):
            v[i] = P[i] @ v
    return len(P) * v


def m_only_with_rounds(cost, v_next, q, gamma, P, rounds):
    v = cost + gamma * v_next - q
    return len(v) * np.linalg.matrix_power(P, rounds) @ v if rounds else v


def own_q_kept(cost, v_next, q, gamma, P, rounds):
    return len(P) * average(P, cost + gamma * v_next, rounds).estimates - q


def return_in_the_loop(cost, v_next, q, gamma, P, rounds):
    v = cost + gamma * v_next - q
    for _ in range(rounds):
        v = P @ v
        return len(P) * v
    return len(P) * v


def by_eigenvectors(cost, v_next, q, gamma, P, rounds):
    e, E = np.linalg.eigh(P)
    return (len(e) * E @ np.diag(e**rounds) @ E.T @ (cost + gamma * v_next - q)[:, None]).ravel()


def single_precision(cost, v_next, q, gamma, P, rounds):
    cost += gamma * v_next - q
    return (len(P) * average(P, cost, rounds).estimates).astype(np.float32)


# ------------------------------------------------------------------------------------------------------- item 5


def _learn(delta, last=None):
    def learn(theta, x, cost, gamma, alpha):
        for k in range(len(cost))[:last]:
            phi, phi_next = (np.column_stack([np.ones(len(theta)), s**2]) for s in (x[k], x[k + 1]))
            v, v_next = (theta * phi).sum(axis=1), (theta * phi_next).sum(axis=1)
            theta = theta + alpha * delta(cost[k] + gamma * v_next - v) * phi
        return theta

    return learn


def total_value(theta, x, cost, gamma, alpha):
    for k in range(len(cost)):
        phi, phi_next = (np.column_stack([np.ones(len(theta)), s**2]) for s in (x[k], x[k + 1]))
        local = cost[k] + gamma * (theta * phi_next).sum() - (theta * phi).sum()
        theta = theta + alpha * local[:, None] * phi
    return theta


def _mixed(local, rounds):
    M = len(local)
    return M * average(mixing_matrix(M, line(M)), local[:, None], rounds).estimates


# ------------------------------------------------------------------------------------------------------- item 6


def _design(rho=3, iterations=34, P=None, rounds=7):
    return dict(rho=rho, iterations=iterations, P=mixing_matrix(3, EDGES, 0.5) if P is None else P, rounds=rounds)


ROUNDED = [[0.6667, 0.3333, 0], [0.3333, 0.3333, 0.3333], [0, 0.3333, 0.6667]]

WRONG = [
    (1, "rounded down", 43),
    (1, "the start counted as an iteration", 45),
    (1, "factor (rho - 1) / (rho + 1)", 21),
    (2, "mean of the agent's own row", _admm(mean=lambda told, hold, j: np.mean(told[j]))),
    (2, "neighbours' own numbers in z", _admm(mean=lambda told, hold, j: np.mean([told[i][0] for i in hold[j]]))),
    (2, "Gauss-Seidel", one_agent_after_the_other),
    (2, "only the own y climbs", _admm(climbs=lambda y, step: y + step * (np.arange(len(y)) == 0))),
    (2, "order of the answers", _admm(answer=lambda c, y, z: (y, c, z))),
    (2, "old y returned", old_y),
    (3, "one weight for all links", _metropolis(off=lambda d, i, j: 1 / (1 + max(d)))),
    (3, "second-largest eigenvalue, with its sign", _metropolis(rate=lambda e: np.sort(e)[-2])),
    (3, "rate squared", _metropolis(rate=lambda e: np.sort(e**2)[-2])),
    (3, "diagonal of half a row", _metropolis(own=lambda P: 1 - np.triu(P).sum(axis=1))),
    (4, "M times a tuple", tuple_times_m),
    (4, "Gauss-Seidel", in_place),
    (4, "M only if there are rounds", m_only_with_rounds),
    (4, "own Q kept", own_q_kept),
    (4, "return in the loop", return_in_the_loop),
    (5, "neighbours' terms only", _learn(lambda local: np.convolve(local, [1, 1, 1], "same")[:, None])),
    (5, "total V, own cost", total_value),
    (5, "one round of consensus", _learn(lambda local: _mixed(local, 1))),
    (5, "return in the loop", _learn(lambda local: local.sum(), last=1)),
    (6, "P of a ring", _design(P=mixing_matrix(3, ring(3), 1 / 3), rounds=1)),
    (6, "small rho", _design(rho=0.5)),
    (7, "what counts is that they agree", ("a", [3])),
    (7, "what the network cannot see", ("d", [2, 3, 4])),
]

RIGHT = [
    (1, "text", "44"),
    (1, "array", np.array(44)),
    (2, "selection matrices, tuples", by_selection_matrices),
    (2, "a dict", _admm(answer=lambda c, y, z: {"c": c, "y": y, "z": z})),
    (2, "overwriting y and z", overwriting_y_and_z),
    (3, "norm, list", by_norm),
    (3, "singular value, np.matrix", by_singular_values),
    (4, "eigenvectors", by_eigenvectors),
    (4, "float32, cost overwritten", single_precision),
    (5, "matrix of ones", _learn(lambda local: np.ones((len(local), len(local))) @ local[:, None])),
    (5, "300 rounds of consensus", _learn(lambda local: _mixed(local, 300))),
    (6, "rho 2, step 1/2, lists", _design(rho=2.0, P=mixing_matrix(3, EDGES, 0.5).tolist())),
    (6, "Metropolis, rounded", _design(iterations=28, P=ROUNDED, rounds=12)),
    (7, "in words", ("D)", "2 and 4")),
]
