"""The network of linear plants without bounds: what a team, and what agents who each mind their own cost, arrive at.

    x+ = A x + B u + w,  w ~ N(0, 0.05^2 I),  x_0 = 0,    A_ii, B_ii those of one plant, A_ij pushes x_i2 by c x_j2,
    L_i = omega_i (1/2 |x_i|^2 + 1/4 u_i^2),    u = -K x,    J_i(K) = E sum_k gamma^k L_i,    J = sum_i J_i.

Row i of K is agent i's, and the entries that `seen` lets it use: of all states, or of its own only. With P_i the cost
to go of agent i, or P that of all, and S = E sum_k gamma^k x x',

    P_i = Q_i + K'R_i K + gamma F'P_i F,    S = gamma/(1 - gamma) W + gamma F S F',    F = A - B K,
    J_i = tr((Q_i + K'R_i K) S),            dJ_i/dK = 2 (R_i K - gamma B'P_i F) S.

A team's optimum has dJ/dK = 0 in all entries seen, a Nash equilibrium has dJ_i/dK_i = 0 in those of row i, for every
i: nobody gains by a change of its own row alone. What the second costs more is the price of anarchy. Both are found by
one step: for fixed P and S the gradient is linear in K, and the gain at which it vanishes is a direction of descent
(Anderson & Moore, 1971). Where all states are seen S drops out, and the full step is Howard's policy iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from mpcrl_course.envs import linear, network
from mpcrl_course.mpc import riccati
from mpcrl_course.validation import choice, real, reals, share

#: Gains on its own state that every agent begins with; they stabilise the network at all couplings from -0.5 to 0.
START = np.array([0.3, 4.5])


@dataclass(frozen=True)
class LinearTeam:
    """The network without bounds.

    Attributes
    ----------
    omega : tuple of float
        What each agent's cost counts, > 0.
    coupling : float
    neighbours : sequence of sequence of int
        As those of `NetworkParameters`.
    discount : float
        Below 1.
    deviation : float
        Standard deviation of the noise on every state.
    """

    omega: tuple[float, ...] = (1.0, 1.0, 1.0)
    coupling: float = network.COUPLING
    neighbours: tuple[tuple[int, ...], ...] = network.LINE
    discount: float = network.DISCOUNT
    deviation: float = 0.05

    def __post_init__(self):
        plant = network.NetworkParameters(self.neighbours, coupling=self.coupling)
        omega = reals(self.omega, "omega", (plant.n_agents,))
        if not (omega > 0.0).all():
            raise ValueError(f"omega must be positive, but is {omega}")
        if share(self.discount, "discount") == 1.0:
            raise ValueError("discount must lie in (0, 1): with noise nothing else has a finite cost")
        real(self.deviation, "deviation", 0.0, strict=True)
        object.__setattr__(self, "omega", tuple(omega.tolist()))
        object.__setattr__(self, "neighbours", plant.neighbours)

    @property
    def n_agents(self) -> int:
        """M."""
        return len(self.omega)

    @cached_property
    def A(self) -> np.ndarray:
        """Matrix (2 M, 2 M) of the whole network."""
        adjacency = network.NetworkParameters(self.neighbours).adjacency
        return np.kron(np.eye(self.n_agents), linear.A) + self.coupling * np.kron(adjacency, np.diag([0.0, 1.0]))

    @cached_property
    def B(self) -> np.ndarray:
        """Matrix (2 M, M) of the whole network."""
        return np.kron(np.eye(self.n_agents), linear.B[:, None])

    @cached_property
    def Q(self) -> np.ndarray:
        """Weights (M, 2 M, 2 M): x'Q_i x is agent i's cost of the states."""
        own = np.einsum("i,ij,ik->ijk", self.omega, np.eye(self.n_agents), np.eye(self.n_agents))
        return np.array([np.kron(each, 0.5 * np.eye(2)) for each in own])

    @cached_property
    def R(self) -> np.ndarray:
        """Weights (M, M, M): u'R_i u is agent i's cost of the inputs."""
        return 0.25 * np.einsum("i,ij,ik->ijk", self.omega, np.eye(self.n_agents), np.eye(self.n_agents))

    def seen(self, states: str = "all") -> np.ndarray:
        """Return which entries of K agents may use, shape (M, 2 M): of 'all' states, or each of its 'own' only."""
        own = np.kron(np.eye(self.n_agents, dtype=bool), np.ones((1, 2), dtype=bool))
        return own if choice(states, ("all", "own"), "states") == "own" else np.ones_like(own)

    def start(self) -> np.ndarray:
        """Return a first K, shape (M, 2 M): the same gains of every agent on its own state."""
        return np.kron(np.eye(self.n_agents), START)

    def costs(self, K) -> np.ndarray:
        """Return every agent's J_i(K), shape (M,); infinite if sqrt(gamma) (A - B K) is not stable."""
        K = reals(K, "K", self.B.T.shape)
        if not self._stable(K):
            return np.full(self.n_agents, np.inf)
        S = self.visits(K)
        return np.array([np.sum((Q + K.T @ R @ K) * S) for Q, R in zip(self.Q, self.R)])

    def cost(self, K) -> float:
        """Return J(K), what the network costs under u = -K x, shape (M, 2 M)."""
        return float(self.costs(K).sum())

    def visits(self, K) -> np.ndarray:
        """Return S, the discounted sum of E x x' under u = -K x, of a stable one."""
        F, W = np.sqrt(self.discount) * (self.A - self.B @ K), self.deviation**2 * np.eye(len(self.A))
        return solve_discrete_lyapunov(F, self.discount / (1.0 - self.discount) * W)

    def gradient(self, K, i: int | None = None) -> np.ndarray:
        """Return dJ_i/dK, or dJ/dK if i is None, at K; both of shape (M, 2 M)."""
        H, G, S = self._quadratic(reals(K, "K", self.B.T.shape), i)
        return 2.0 * (H @ K - G) @ S

    def team(self, states: str = "all", tolerance: float = 1e-6, most: int = 5000) -> np.ndarray:
        """Return the gains K (M, 2 M) of least J, all agents as one; of own states: a local optimum, from `start`.

        Parameters
        ----------
        states : {'all', 'own'}
        tolerance : float
            On the largest entry of the gradient, relative to the cost, which is then 1e-12 above its least.
        most : int
            Iterations; RuntimeError if they do not suffice.
        """
        Q, R = self.Q.sum(axis=0), self.R.sum(axis=0)
        if choice(states, ("all", "own"), "states") == "all":
            return riccati(self.A, self.B, Q, R, self.discount)[1]
        K, seen = self.start(), self.seen(states)
        for _ in range(most):
            if np.abs(self.gradient(K)[seen]).max() <= tolerance * self.cost(K):
                return K
            K = self._descend(K, None, seen)
        raise RuntimeError(f"no team optimum was found in {most} iterations")

    def nash(self, states: str = "all", tolerance: float = 1e-6, most: int = 5000) -> np.ndarray:
        """Return gains K (M, 2 M) from which no agent gains by changing its own row.

        They are those at which agents arrive who improve their rows in turn, from `start`.

        Parameters
        ----------
        states : {'all', 'own'}
        tolerance : float
            On the gradient of each agent's own cost, as in `team`.
        most : int
            Rounds; RuntimeError if they do not suffice.
        """
        K, seen, rows = self.start(), self.seen(states), np.eye(self.n_agents, dtype=bool)[:, :, None]
        for _ in range(most):
            slopes = np.array([np.abs(self.gradient(K, i)[seen & row]).max() for i, row in enumerate(rows)])
            if (slopes <= tolerance * self.costs(K)).all():
                return K
            for i, row in enumerate(rows):
                K = self._descend(K, i, seen & row)
        raise RuntimeError(f"no equilibrium was found in {most} rounds")

    def _stable(self, K) -> bool:
        return bool(np.sqrt(self.discount) * np.abs(np.linalg.eigvals(self.A - self.B @ K)).max() < 1.0)

    def _quadratic(self, K, i):
        """Return H, G, S such that dJ/dK = 2 (H K - G) S."""
        which = slice(None) if i is None else slice(i, i + 1)
        Q, R, gamma = self.Q[which].sum(axis=0), self.R[which].sum(axis=0), self.discount
        F = self.A - self.B @ K
        P = solve_discrete_lyapunov(np.sqrt(gamma) * F.T, Q + K.T @ R @ K)
        return R + gamma * self.B.T @ P @ self.B, gamma * self.B.T @ P @ self.A, self.visits(K)

    def _descend(self, K, i, free) -> np.ndarray:
        """Return K after a step of J_i (J if i is None) in its `free` entries; shorter ones until the cost falls."""
        H, G, S = self._quadratic(K, i)
        r, s = np.nonzero(free)
        # (H K' S)_rs = (G S)_rs in the free entries of K' alone, the others stay
        rest = np.where(free, 0.0, K)
        target = ((G - H @ rest) @ S)[r, s]
        aim = rest.copy()
        aim[r, s] = np.linalg.solve(H[np.ix_(r, r)] * S[np.ix_(s, s)], target)

        def cost(K):
            each = self.costs(K)
            return each.sum() if i is None else each[i]

        now, length = cost(K), 1.0
        while length > 1e-6 and not cost(K + length * (aim - K)) < now:
            length /= 2.0
        return K + length * (aim - K) if length > 1e-6 else K
