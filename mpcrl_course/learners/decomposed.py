"""One value, decomposed: agents learn its parts by TD, first or second order, and improve their policies as they go.

On the network without bounds (`mpcrl_course.problems.team`), z = (x, u), policy u = -K x. Agent i holds theta_i,

    Q(z) = sum_i theta_i' phi_i(z),    phi_i(z) = (u_i z,  x_i1 x_b and x_i2 x_b for the x_b not before them,  1),

so that Q's Hessian in theta is 0 and Kt_i = I/(T sigma). In an update all make a step of T plants at once, and with
delta = sum_i (L_i + gamma Q_i(z+) - Q_i(z)) of these T samples, G_i = [phi_i,1 … phi_i,T] and C = sum_i G_i' Kt_i G_i

    evaluate    first order:  theta_i <- theta_i + alpha G_i delta / T
                second order: theta_i <- theta_i + alpha Kt_i G_i (I + C)^-1 delta
    improve     K_i <- K_i + eta (argmin over u_i of Q, the others acting as they do, - K_i)

`sends` says what is agreed on by consensus: 'delta and C'; 'delta' alone, every agent taking its own term for C; or
'nothing', when agent i learns Q_i from its own delta_i. Learning begins at the exact Q of the first policy, so that
what is compared is how it keeps up with a policy that changes. Features are scaled by what is usual for x and u.

Sources: Sunehag et al., AAMAS 2018 (value decomposition); the step of `mpcrl_course.learners.distributed`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from mpcrl_course.learners.distributed import contribution, first_order_local, second_order_local
from mpcrl_course.learners.run import Learner
from mpcrl_course.network import average
from mpcrl_course.own import answering
from mpcrl_course.problems.team import LinearTeam
from mpcrl_course.validation import choice, function, instance, real, reals, whole

#: Episodes' length; usual sizes of a state and of an input, which features are scaled by; standard deviation of the
#: noise on inputs; a gain that would change by more than this in an update stays.
LENGTH, STATE, INPUT, LEAP = 20, 0.2, 0.5, 20.0
SENDS = ("delta and C", "delta", "nothing")


def own_features(z, i: int, m: int) -> np.ndarray:
    """Return phi_i of scaled z (n, 3 m), shape (n, n_i), for agent i of m, counted from 0."""
    m, i = whole(m, "m", 1), whole(i, "i", 0)
    z = reals(z, "z", (None, 3 * m))
    columns = [z[:, 2 * m + i] * z[:, a] for a in range(3 * m)]
    columns += [z[:, a] * z[:, b] for a in (2 * i, 2 * i + 1) for b in range(a, 2 * m)]
    return np.stack([*columns, np.ones(len(z))], axis=1)


class DecomposedTD(Learner):
    """TD learning of all agents at once; a step is an update from T samples, one of each of T plants.

    Parameters
    ----------
    team : LinearTeam
    rng : numpy.random.Generator
    sends : {'delta and C', 'delta', 'nothing'}
    order : {2, 1}
        First order needs no C.
    alpha, sigma, eta : float
        Step size, regularisation of a sample, and how far K moves in an update.
    T : int
        Batch.
    P : array_like, shape (M, M), optional
        Mixing matrix of average consensus; None: exact sums.
    rounds : int
        Of consensus.
    local_step : callable (G, Kt, C, td) -> ndarray, shape (n_i,)
        `second_order_local`, or a reader's own.

    Attributes
    ----------
    K : ndarray, shape (M, 2 M)
        The present policy.
    theta : list of ndarray, shape (n_i,)
        Of all agents.
    log : Log
        ratio: J over that of the team's optimum; numbers sent; td, the root mean square of delta. The run stops where
        the policy does not stabilise the network, or theta is not finite: the ratio is then infinite.
    """

    name = "decomposed TD learning"
    kept = ("K", "x", "age", "flat")

    def __init__(
        self,
        team: LinearTeam,
        rng: np.random.Generator,
        sends: str = "delta and C",
        *,
        order: int = 2,
        alpha: float = 0.1,
        sigma: float = 1.0,
        eta: float = 0.02,
        T: int = 15,
        P=None,
        rounds: int = 100,
        local_step: Callable = second_order_local,
    ):
        self.team, self.sends = instance(team, LinearTeam, "team"), choice(sends, SENDS, "sends")
        self.order = choice(order, (1, 2), "order")
        self.alpha, self.sigma = real(alpha, "alpha", 0.0), real(sigma, "sigma", 0.0, strict=True)
        self.eta, self.T, self.rounds = real(eta, "eta", 0.0), whole(T, "T", 1), whole(rounds, "rounds", 0)
        m = team.n_agents
        self.P = P if P is None else reals(P, "P", (m, m))
        self.local_step = answering("local step", function(local_step, "local_step"), lambda G, *_: (len(G),))
        self.K, self.least = team.start(), team.cost(team.team())
        self.scale = np.concatenate([np.full(2 * m, STATE), np.full(m, INPUT)])
        theta = [self.first_theta(i) for i in range(m)]
        self.ends = np.cumsum([len(own) for own in theta])
        self.flat = np.concatenate(theta)
        super().__init__(None, rng)
        self.x = STATE * rng.standard_normal((self.T, 2 * m))
        self.age = rng.integers(LENGTH, size=self.T)

    @property
    def theta(self) -> list[np.ndarray]:
        """Parameters of each agent."""
        return np.split(self.flat, self.ends[:-1])

    def first_theta(self, i: int) -> np.ndarray:
        """Return agent i's part of the exact Q of the first policy: of all costs, or of its own if nothing is sent."""
        team, K, m, gamma = self.team, self.K, self.team.n_agents, self.team.discount
        alone = self.sends == "nothing"
        Q, R = (team.Q[i], team.R[i]) if alone else (team.Q.sum(axis=0), team.R.sum(axis=0))
        P = solve_discrete_lyapunov(np.sqrt(gamma) * (team.A - team.B @ K).T, Q + K.T @ R @ K)
        AB, H = np.hstack([team.A, team.B]), np.zeros((3 * m, 3 * m))
        H[: 2 * m, : 2 * m], H[2 * m :, 2 * m :] = Q, R
        H = (H + gamma * AB.T @ P @ AB) * np.outer(self.scale, self.scale)
        constant = gamma / (1.0 - gamma) * np.trace(P) * team.deviation**2
        # u_i u_j stands in phi_i and in phi_j, half of it in each; if nothing is sent phi_j is not agent i's
        other = 2.0 if alone else 1.0
        with_u = [H[2 * m + i, a] * (2.0 if a < 2 * m else 1.0 if a == 2 * m + i else other) for a in range(3 * m)]
        with_x = [H[a, b] * (2.0 - (a == b)) for a in (2 * i, 2 * i + 1) for b in range(a, 2 * m)]
        return np.array([*with_u, *with_x, constant / (1 if alone else m)])

    def step(self) -> None:
        """Act in T plants, agree on delta and C, evaluate, improve, and count."""
        team, K, rng, m = self.team, self.K, self.rng, self.team.n_agents
        x = self.x
        u = -x @ K.T + INPUT * rng.standard_normal((self.T, m))
        x_next = x @ team.A.T + u @ team.B.T + team.deviation * rng.standard_normal(x.shape)
        z, z_next = (np.hstack(pair) / self.scale for pair in ((x, u), (x_next, -x_next @ K.T)))
        G = [own_features(z, i, m).T for i in range(m)]
        costs = np.array([((x @ Q) * x).sum(axis=1) + ((u @ R) * u).sum(axis=1) for Q, R in zip(team.Q, team.R)])
        own_td = np.array([
            cost + team.discount * own_features(z_next, i, m) @ theta - theta @ G[i]
            for i, (cost, theta) in enumerate(zip(costs, self.theta))
        ])  # fmt: skip
        numbers = np.zeros(1, int)
        td = own_td if self.sends == "nothing" else self.agree(own_td, numbers)
        self.flat = self.flat + self.alpha * np.concatenate(self.changes(G, td, numbers))
        self.K = K + self.eta * (self.greedy() - K)
        fine = np.isfinite(self.flat).all()
        ratio = team.cost(self.K) / self.least if fine and np.isfinite(self.K).all() else np.inf
        if ratio == np.inf:
            self.log.stopped = "the policy no longer stabilises the network"
        self.x, self.age = x_next, self.age + 1
        new = self.age >= LENGTH
        self.x[new], self.age[new] = STATE * rng.standard_normal((int(new.sum()), 2 * m)), 0
        self.log.add(ratio=ratio, numbers=int(numbers[0]), td=float(np.sqrt(np.mean(own_td.sum(axis=0) ** 2))))

    def agree(self, terms, numbers) -> np.ndarray:
        """Return every agent's estimate of the sum of all `terms`, one of each; `numbers` counts what is sent."""
        terms = np.array(terms)
        if self.P is None:
            return np.broadcast_to(terms.sum(axis=0), terms.shape)
        estimates, messages = average(self.P, terms, self.rounds)
        numbers += messages * terms[0].size
        return len(terms) * estimates

    def changes(self, G, td, numbers) -> list[np.ndarray]:
        """Return d_i of every agent, from G_i (n_i, T) and what it takes for the TD errors, td (M, T).

        `numbers` counts what is sent for it.
        """
        if self.order == 1:
            return [first_order_local(G_i, td_i) for G_i, td_i in zip(G, td)]
        Kt = [np.eye(len(G_i)) / (self.T * self.sigma) for G_i in G]
        terms = [contribution(*own) for own in zip(G, Kt)]
        C = self.agree(terms, numbers) if self.sends == "delta and C" else terms
        return [self.local_step(G_i, Kt_i, C_i, td_i) for G_i, Kt_i, C_i, td_i in zip(G, Kt, C, td)]

    def greedy(self) -> np.ndarray:
        """Return the gains that are best for each agent while the others keep theirs, by what they have learned."""
        m, theta, new = self.team.n_agents, self.theta, self.K.copy()
        for i in range(m):
            h = 0.5 * theta[i][: 3 * m]  # row u_i of the matrix of z'Hz
            own, others = 2 * m + i, [2 * m + j for j in range(m) if j != i]
            h[own] *= 2.0
            if self.sends != "nothing":  # the other half of u_i u_j, which its neighbour holds
                h[others] += [0.5 * theta[j - 2 * m][own] for j in others]
            h = h / (self.scale * self.scale[own])
            if h[own] > 1e-4:
                gains = (h[: 2 * m] - h[others] @ np.delete(self.K, i, axis=0)) / h[own]
                if np.abs(gains - self.K[i]).max() < LEAP:
                    new[i] = gains
        return new
