"""Policy iteration of agents who learn from data, each from its own TD error or from the sum of all.

On the network without bounds (`mpcrl_course.problems.team`); in each iteration every agent i

    evaluates   Q_i of the present K, by LSTD on the products of all entries of z = (x, u), from M transitions;
                delta_i = L_i + gamma Q_i(z+) - Q_i(z), or, if summed, with sum_j L_j in the place of L_i
    improves    its own row:  K_i <- 1/2 (K_i + argmin over u_i of Q_i, the others acting as they do)

Nothing but the summed delta is sent. With its own each agent learns for itself (independent Q-learning), and where they
all stay is a Nash equilibrium; with the sum they decompose one value and tend to the team's optimum.

Sources: Tan, ICML 1993 (independent learners); Sunehag et al., AAMAS 2018 (value decomposition).
"""

from __future__ import annotations

import numpy as np

from mpcrl_course.learners.blended import lstd_q
from mpcrl_course.learners.run import Learner
from mpcrl_course.problems.team import LinearTeam
from mpcrl_course.validation import flag, instance, real, reals, whole

#: Length of an episode, and the standard deviation of every state at its start.
LENGTH, SPREAD = 20, 0.2


def products(x, u) -> np.ndarray:
    """Return all products of two entries of z = (x, u), and 1, of pairs x (n, 2 M), u (n, M)."""
    x, u = reals(x, "x", (None, None)), reals(u, "u", (len(x), None))
    z = np.concatenate([x, u], axis=1)
    i, j = np.triu_indices(z.shape[1])
    return np.concatenate([z[:, i] * z[:, j], np.ones((len(z), 1))], axis=1)


def symmetric(weights, n: int) -> np.ndarray:
    """Return the symmetric matrix (n, n) of z'H z from the weights of the `products` of z, shape (n,)."""
    n = whole(n, "n", 1)
    weights, H = reals(weights, "weights", (n * (n + 1) // 2 + 1,)), np.zeros((n, n))
    H[np.triu_indices(n)] = weights[:-1]
    return 0.5 * (H + H.T)


class TeamIteration(Learner):
    """Policy iteration of all agents at once; a step is an evaluation and an improvement.

    Parameters
    ----------
    team : LinearTeam
    rng : numpy.random.Generator
    summed : bool
        Whether the agents learn from the sum of their TD errors, or each from its own.
    heard : array_like, shape (M, M), optional
        What each agent (row) learns from instead, as weights of all TD errors: after R rounds of average consensus
        with the mixing matrix P it is M P^R.
    M : int
        Transitions of an iteration, in episodes of 20.
    exploration, ridge : float
        Standard deviation of the noise on every input; see `lstd_q`.
    K : array_like, shape (M, 2 M), optional
        Where learning starts; by default `team.start()`.

    Attributes
    ----------
    K : ndarray, shape (M, 2 M)
        The present policy u = -K x; row i is agent i's.
    log : Log
        ratio: J over that of the team's optimum, with a row before the first step; K. The run stops where the policy
        does not stabilise the network: the ratio is then infinite.
    """

    name = "team policy iteration"
    kept = ("K",)

    def __init__(
        self,
        team: LinearTeam,
        rng: np.random.Generator,
        summed: bool = True,
        *,
        M: int = 8000,
        exploration: float = 0.5,
        ridge: float = 1e-9,
        K=None,
        heard=None,
    ):
        self.team, m = instance(team, LinearTeam, "team"), team.n_agents
        self.heard = np.ones((m, m)) if flag(summed, "summed") else np.eye(m)
        if heard is not None:
            self.heard = reals(heard, "heard", (m, m))
        self.episodes = -(-whole(M, "M", 1) // LENGTH)
        self.exploration, self.ridge = real(exploration, "exploration", 0.0), real(ridge, "ridge", 0.0)
        self.K = team.start() if K is None else reals(K, "K", team.B.T.shape)
        self.least = team.cost(team.team())
        super().__init__(None, rng, ratio=self.ratio(), K=self.K)

    def ratio(self) -> float:
        """Return J/J_team of the present policy, exactly."""
        return self.team.cost(self.K) / self.least

    def step(self) -> None:
        """Collect transitions under the present policy, evaluate it for every agent, and improve every row."""
        team, K = self.team, self.K
        x, u, x_next = self.collect()
        z, z_next = products(x, u), products(x_next, -x_next @ K.T)
        costs = np.array([((x @ Q) * x).sum(axis=1) + ((u @ R) * u).sum(axis=1) for Q, R in zip(team.Q, team.R)])
        learned_from = self.heard @ costs
        self.K = np.array([0.5 * (K[i] + self.greedy(i, z, z_next, cost)) for i, cost in enumerate(learned_from)])
        ratio = self.ratio()
        if ratio == np.inf:
            self.log.stopped = "the policy no longer stabilises the network"
        self.log.add(ratio=ratio, K=self.K)

    def greedy(self, i: int, z, z_next, cost) -> np.ndarray:
        """Return the row of K that is best for agent i while the others stay, by what it learns from these costs.

        Parameters
        ----------
        i : int
        z, z_next : ndarray, shape (n, products)
            Features of the transitions.
        cost : ndarray, shape (n,)
            Its stage costs, or those of all.
        """
        n, m = len(self.team.A), self.team.n_agents
        H = symmetric(lstd_q(z, z_next, cost, self.team.discount, self.ridge), n + m)
        others, own = [n + j for j in range(m) if j != i], n + i
        if not H[own, own] > 0.0:  # no least action: too few data; the row stays
            return self.K[i]
        return (H[own, :n] - H[own, others] @ np.delete(self.K, i, axis=0)) / H[own, own]

    def collect(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, u and x+ of the transitions of an iteration, row by row."""
        team, rng, n = self.team, self.rng, self.episodes
        x, rows = SPREAD * rng.standard_normal((n, len(team.A))), []
        for _ in range(LENGTH):
            u = -x @ self.K.T + self.exploration * rng.standard_normal((n, team.n_agents))
            x_next = x @ team.A.T + u @ team.B.T + team.deviation * rng.standard_normal(x.shape)
            rows.append((x, u, x_next))
            x = x_next
        x, u, x_next = (np.concatenate(part) for part in zip(*rows))
        return x, u, x_next
