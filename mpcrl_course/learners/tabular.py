"""Tabular Q-learning: one number for each state and action, learned from transitions instead of from P.

    Q[s, a] <- Q[s, a] + alpha (L + gamma min_a' Q[s', a'] - Q[s, a])           (no min at a terminal state)

The step size of a pair is the power of its own visit count, alpha = 1 / n(s, a) ** power: with 1/2 < power <= 1 and
every pair visited for ever Q converges to Q* (Watkins & Dayan 1992; power 1 is slow, see Even-Dar & Mansour 2003).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.learners.run import Learner
from mpcrl_course.validation import function, generator, real, reals, share, short, whole


class TabularQLearning(Learner):
    """Tabular Q-learning with epsilon-greedy actions; a step of the learner is a whole episode.

    Parameters
    ----------
    transition : callable (s, a) -> (cost, next state, terminal)
        The plant. At a terminal state nothing more is paid, so its value is 0.
    states, actions : int
        S and A.
    gamma : float
        Discount.
    rng : numpy.random.Generator
    epsilon : float
        Probability of a random action.
    power : float
        Step size 1 / n(s, a) ** power.
    episode : int
        Transitions after which an episode is cut off and the next one starts: a *truncation*, which leaves the target
        as it is.
    start : callable () -> s, optional
        Start of an episode; by default any state with equal probability.
    Q : array_like, shape (S, A), optional
        Where to start; by default 0, which is optimistic for costs and so explores.
    ahead : int
        Transitions for which it is decided at a time where to explore, and what to do there.

    Attributes
    ----------
    log : Log
        cost, transitions: of each episode.
    """

    name = "tabular Q-learning"

    def __init__(
        self,
        transition: Callable[[int, int], tuple[float, int, bool]],
        states: int,
        actions: int,
        gamma: float,
        rng: np.random.Generator,
        *,
        epsilon: float = 0.2,
        power: float = 0.6,
        episode: int = 100,
        start: Callable[[], int] | None = None,
        Q=None,
        ahead: int = 10_000,
    ):
        epsilon, gamma, power = real(epsilon, "epsilon", 0.0, 1.0), share(gamma, "gamma"), real(power, "power", 0.0)
        states, actions, episode = (
            whole(states, "states", 1),
            whole(actions, "actions", 1),
            whole(episode, "episode", 1),
        )
        generator(rng)
        function(transition, "transition"), function(start, "start", optional=True)
        table = np.zeros((states, actions)) if Q is None else reals(Q, "Q")
        if table.shape != (states, actions):
            raise ValueError(f"Q has shape {table.shape}, but needs ({states}, {actions})")
        super().__init__(None, rng)
        self.transition, self.actions, self.gamma, self.epsilon, self.power = transition, actions, gamma, epsilon, power
        self.episode, self.ahead = episode, max(whole(ahead, "ahead", 1), episode)
        self.start = start or (lambda: int(rng.integers(states)))
        self._Q = table.tolist()  # lists: faster than arrays, entry by entry
        self._visits = [[0] * actions for _ in range(states)]
        self._coins: list[int] = []  # of the transitions to come, the next one last: a random action, or -1
        self.decide()
        self.s = self.begin()
        self.parts["tables"] = self

    @property
    def Q(self) -> np.ndarray:
        """The table so far, shape (S, A)."""
        return np.array(self._Q)

    @property
    def visits(self) -> np.ndarray:
        """Updates of each entry, shape (S, A)."""
        return np.array(self._visits)

    def decide(self) -> None:
        """Draw where to explore next, and with which action."""
        explore = self.rng.random(self.ahead) < self.epsilon
        coins = np.where(explore, self.rng.integers(self.actions, size=self.ahead), -1)
        self._coins = coins[::-1].tolist() + self._coins

    def begin(self) -> int:
        """Return where an episode starts."""
        s = whole(self.start(), "what start returns", 0)
        if s >= len(self._Q):
            raise ValueError(f"start must return a state from 0 to {len(self._Q) - 1}, not {s}")
        return s

    def step(self) -> None:
        """Learn from one episode: for each transition, Q[s, a] moves towards L + gamma min Q[s', .]."""
        table, visits, gamma, power, transition = self._Q, self._visits, self.gamma, self.power, self.transition
        if len(self._coins) < self.episode:
            self.decide()
        s, k, total, terminal, coins = self.s, 0, 0.0, False, self._coins
        while not terminal and k < self.episode:
            row, a = table[s], coins.pop()
            if a < 0:
                a = row.index(min(row))
            answer = transition(s, a)
            try:
                cost, s_next, terminal = answer
                target = cost if terminal else cost + gamma * min(table[s_next])
                if not -np.inf < target < np.inf or s_next < 0:
                    raise ValueError
            except (TypeError, ValueError, IndexError):
                wanted = f"a finite cost, a state from 0 to {len(table) - 1} and whether it is terminal"
                raise ValueError(f"transition must return {wanted}, not {short(answer)}, of ({s}, {a})") from None
            visits[s][a] += 1
            row[a] += (target - row[a]) / visits[s][a] ** power
            s, k, total = s_next, k + 1, total + cost
        self.s = self.begin()
        self.log.add(cost=total, transitions=k)

    def _resume(self, path, steps: int) -> None:
        super()._resume(path, steps)
        if not 0 <= self.s < len(self._Q):
            raise ValueError(f"the run saved at {path} is damaged: of {len(self._Q)} states it is in {self.s}")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that learning changes, by name."""
        block = np.array(getattr(self.transition, "block", []))
        return {"Q": self.Q, "visits": self.visits, "coins": np.array(self._coins, dtype=int), "block": block}

    def load(self, arrays) -> None:
        """Take what `arrays` gave; ValueError if these are no tables of as many states and actions."""
        Q, visits, coins = (arrays[name] for name in ("Q", "visits", "coins"))
        if (
            not Q.shape == visits.shape == self.Q.shape
            or visits.min() < 0
            or not -1 <= coins.min(initial=0) <= coins.max(initial=0) < self.actions
        ):
            raise ValueError(f"its tables of shape {Q.shape} are none of {self.Q.shape} states and actions")
        self._Q, self._visits, self._coins = Q.tolist(), visits.tolist(), coins.tolist()
        if hasattr(self.transition, "block"):
            self.transition.block[:] = arrays["block"].tolist()
