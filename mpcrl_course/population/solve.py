"""Value iteration over the counts of k agents: the optimal joint choice of k, for every k.

The state is (s_g, c), the action (a_g, T), a table T whose row sums are c: a *joint* distribution over states and
actions, not two marginals.

    Q(s_g, c, a_g, T) = r_g(s_g, a_g) + 1/k sum_{s,a} T[s, a] r_l(s, s_g, a)
                        + gamma sum_{s_g'} P_g(s_g' | s_g, a_g) E V(s_g', c'),     c' ~ next_law(T)

Every expectation is exact, so that V <- max Q is a gamma-contraction without noise. Each sweep is followed by an exact
evaluation of its greedy policy (which makes it policy iteration: three to six sweeps in place of two hundred). Of
equally good actions the first table is taken, then the first a_g: every agent that looks at the same counts chooses the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mpcrl_course.population.choices import EQUAL, Choices, Kinds, first_best, kinds_of, nobody, with_one_more
from mpcrl_course.population.counts import number, whole_numbers
from mpcrl_course.population.laws import expectations, multinomial, next_law, sampled_expectations
from mpcrl_course.population.model import Population
from mpcrl_course.validation import flag, generator, instance, real, reals, whole

#: Up to so many states (s_g, c) a policy is evaluated by a linear system.
DENSE = 3500


@dataclass(frozen=True, eq=False)
class Planned:
    """The optimal value and joint choice of k agents, as tables.

    Parameters
    ----------
    model : Population
    k : int
    V : ndarray, shape (S_g, number(k, S))
        Optimal value of k agents.
    a_g : ndarray of int, shape (S_g, number(k, S))
        The global action.
    T : ndarray of int, shape (S_g, number(k, S), S, A)
        The joint table; its row sums are the counts.
    residual : float
        max |max Q - V|; V is within residual / (1 - gamma) of the optimal one.
    sweeps : int
    choices : int
        Actions that were compared in a sweep, of all states together.
    """

    model: Population
    k: int
    V: np.ndarray
    a_g: np.ndarray
    T: np.ndarray
    residual: float = field(default=np.nan)
    sweeps: int = 0
    choices: int = 0

    def start_value(self) -> float:
        """Return the optimal value of k agents that start as the model says."""
        return start_value(self.model, self.V, self.k)


def start_value(model: Population, V, n: int) -> float:
    """Return the mean of a value V (S_g, number(n, S)) of n agents over the start of the `model`."""
    w, G, L = instance(model, Population, "model").start
    V = reals(V, "V", (model.sizes[0], number(n, model.sizes[2])))
    return float(np.einsum("j,jg,jc,gc->", w, G, multinomial(n, L), V))


class Stage:
    """What k agents choose from, for one `model` and one k, and the Bellman backup over it.

    Parameters
    ----------
    model : Population
    kinds : list of Kinds
        One for each global state.
    choices : list of Choices
    """

    def __init__(self, model: Population, kinds: list[Kinds], choices: list[Choices]):
        self.model, self.kinds, self.choices, self.k = model, kinds, choices, choices[0].k

    @classmethod
    def every(cls, model: Population, last: int) -> Iterator[Stage]:
        """Yield the stages of k = 1 … `last` of a `model`, each made from the one before."""
        kinds = [kinds_of(model, s_g) for s_g in range(model.sizes[0])]
        choices = [nobody(one) for one in kinds]
        for _ in range(last):
            choices = [with_one_more(some, one, model.sizes[2]) for some, one in zip(choices, kinds)]
            yield cls(model, kinds, choices)

    @classmethod
    def of(cls, model: Population, k: int) -> Stage:
        """Return the stage of k agents of a `model`."""
        (stage,) = (stage for stage in cls.every(model, k) if stage.k == k)
        return stage

    def backup(self, V: np.ndarray, expect=expectations) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Return max Q, the best a_g and the places of the best choices (one array for each s_g), for a value V.

        `expect` is what gives the expected values, by default exactly.
        """
        best, a_g, places = [], [], []
        for s_g, (kinds, choices) in enumerate(zip(self.kinds, self.choices)):
            P = self.model.P_g[s_g]
            used = np.flatnonzero(P.any(axis=0))
            future = expect(V[used].T, kinds.laws, self.k) @ P[:, used].T
            Q = self.model.r_g[s_g] + self.model.gamma * future  # (outcomes m, a_g)
            top = Q.max(axis=1)
            first = (Q >= (top - EQUAL * (1.0 + np.abs(top)))[:, None]).argmax(axis=1)
            value = choices.reward / self.k + top[choices.m]
            place = first_best(choices.c, value)
            best.append(value[place])
            a_g.append(first[choices.m[place]])
            places.append(place)
        return np.array(best), np.array(a_g), places

    def evaluate(self, a_g: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
        """Return the value of taking the global actions `a_g` and the choices at `places` for ever."""
        s_g = np.arange(len(a_g))[:, None]
        reward, laws = self.model.r_g[s_g, a_g], []
        for g, (kinds, choices, place) in enumerate(zip(self.kinds, self.choices, places)):
            reward[g] += choices.reward[place] / self.k
            table = choices.table[place]
            p = np.broadcast_to(kinds.laws[kinds.law], (len(place), len(kinds.law), self.model.sizes[2]))
            laws.append(next_law(table, p))
        return policy_value(reward, self.model.P_g[s_g, a_g], np.array(laws), self.model.gamma)

    def tables(self, places: list[np.ndarray]) -> np.ndarray:
        """Return the joint tables (S_g, counts, S, A) of the choices at `places`."""
        G, _, S, A = self.model.sizes
        T = np.zeros((G, number(self.k, S), S, A), dtype=np.int32)
        for g, (kinds, choices, place) in enumerate(zip(self.kinds, self.choices, places)):
            T[g][:, kinds.state, kinds.action] = choices.table[place]
        return T

    def solve(self, evaluate: bool = True, tolerance: float = 1e-9, sweeps: int = 2000) -> Planned:
        """Return the optimal policy; `evaluate`, `tolerance` and `sweeps` as `plan` takes them."""
        G, _, S, _ = self.model.sizes
        V = np.zeros((G, number(self.k, S)))
        evaluate, done = evaluate and V.size <= DENSE, 0
        while True:
            better, a_g, places = self.backup(V)
            residual = float(np.abs(better - V).max())
            if residual <= tolerance or done >= sweeps:
                break
            V, done = self.evaluate(a_g, places) if evaluate else better, done + 1
        compared = sum(len(choices.c) for choices in self.choices)
        return Planned(self.model, self.k, V, a_g, self.tables(places), residual, done, compared)


def policy_value(reward, P_g, law, gamma: float) -> np.ndarray:
    """Return V = reward + gamma sum P_g law V, by a linear system.

    Parameters
    ----------
    reward : ndarray, shape (S_g, N)
        Of the states (s_g, c).
    P_g : ndarray, shape (S_g, N, S_g)
        Law of the next global state.
    law : ndarray, shape (S_g, N, N)
        Law of the next counts.
    gamma : float
    """
    G, N = reward.shape
    system = -gamma * (P_g[:, :, :, None] * law[:, :, None, :]).reshape(G * N, G * N)
    system[np.diag_indices(G * N)] += 1.0
    return np.linalg.solve(system, reward.ravel()).reshape(G, N)


def plans(model: Population, ks, evaluate: bool = True, tolerance: float = 1e-9, sweeps: int = 2000) -> list[Planned]:
    """Return the optimal joint choices of k agents, for several k; the work for a k is part of that for larger ones.

    Parameters
    ----------
    model : Population
    ks : sequence of int
        At least 1 each.
    evaluate : bool
        Evaluate each sweep's greedy policy exactly; without it, this is plain value iteration.
    tolerance : float
        Of the residual.
    sweeps : int
        At most.
    """
    instance(model, Population, "model")
    wanted = whole_numbers(ks, "ks", 1).tolist()
    if not wanted or min(wanted) < 1:
        raise ValueError(f"ks must hold numbers of agents from 1 on, not {ks}")
    options = flag(evaluate, "evaluate"), real(tolerance, "tolerance", 0.0), whole(sweeps, "sweeps", 0)
    found = {s.k: s.solve(*options) for s in Stage.every(model, max(wanted)) if s.k in wanted}
    return [found[k] for k in wanted]


def plan(model: Population, k: int, evaluate: bool = True, tolerance: float = 1e-9, sweeps: int = 2000) -> Planned:
    """Return the optimal joint choice of k agents of a `model`.

    Parameters
    ----------
    model, k, evaluate, tolerance, sweeps
        See `plans`.
    """
    return plans(model, [whole(k, "k", 1)], evaluate, tolerance, sweeps)[0]


def optimal_value(model: Population, n: int) -> float:
    """Return V*, the value of the best joint control of all n agents of a `model`, from its start."""
    return plan(model, whole(n, "n", 1)).start_value()


def sampled_value_iteration(model: Population, k: int, samples: int, rng, sweeps: int = 100) -> np.ndarray:
    """Return V (S_g, number(k, S)) after value iteration whose expectations are means over drawn next counts.

    For comparison: the largest of noisy means is too large on average, so that this V is biased upwards, and it never
    settles.

    Parameters
    ----------
    model : Population
    k, samples, sweeps : int
        Of each (s_g, law counts m), so many samples are drawn in each sweep.
    rng : numpy.random.Generator or seed
    """
    k = whole(k, "k", 1)
    stage = Stage.of(instance(model, Population, "model"), k)
    V, rng = np.zeros((model.sizes[0], number(k, model.sizes[2]))), generator(rng, seeds=True)
    for _ in range(whole(sweeps, "sweeps", 0)):
        V = stage.backup(V, lambda f, p, k: sampled_expectations(f, p, k, samples, rng))[0]
    return V
