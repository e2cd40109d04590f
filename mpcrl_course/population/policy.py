"""A policy of agents that look at samples: what one does that sees its own state, the global state and k - 1 others.

A joint choice T* of k agents (`solve`) becomes one: an agent in s that sees the counts h of k - 1 others plays its
component of the choice for h + e_s, an action a with probability T*[s, a] / (h_s + 1). The global agent sees k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcrl_course.own import checked
from mpcrl_course.population.choices import EQUAL
from mpcrl_course.population.counts import number
from mpcrl_course.population.laws import ahead, expectations, hypergeometric, listed
from mpcrl_course.population.model import Population
from mpcrl_course.population.solve import Planned, Stage
from mpcrl_course.validation import choice, function, instance, reals, whole

TIES = ("first", "random")


@dataclass(frozen=True, eq=False)
class SampledPolicy:
    """What agents do that see samples of k.

    Parameters
    ----------
    model : Population
    k : int
    local : array_like, shape (S_g, number(k - 1, S), S, A)
        Probabilities local[s_g, h, s, a] of a local agent in s that sees the counts number h of k - 1 others.
    globally : array_like, shape (S_g, number(k, S), A_g)
        Probabilities of the global agent, which sees k agents.
    """

    model: Population
    k: int
    local: Any
    globally: Any

    def __post_init__(self):
        G, B, S, A = instance(self.model, Population, "model").sizes
        k = whole(self.k, "k", 1)
        for name, shape in (("local", (G, number(k - 1, S), S, A)), ("globally", (G, number(k, S), B))):
            P = reals(getattr(self, name), name, shape)
            if P.min() < -1e-9 or not np.allclose(P.sum(axis=-1), 1.0, atol=1e-9):
                raise ValueError(f"{name} must hold probabilities that sum to 1 over the actions")
            object.__setattr__(self, name, P)

    def private(self, C) -> tuple[np.ndarray, np.ndarray]:
        """Return what agents do on average whose samples are their own, among all with the counts C.

        Parameters
        ----------
        C : ndarray of int, shape (M, S)
            Counts of n agents, at least k.

        Returns
        -------
        mu : ndarray, shape (S_g, M, S, A)
            Probabilities of an agent in each state.
        alpha : ndarray, shape (S_g, M, A_g)
            Those of the global agent.
        """
        G, _, S, A = self.model.sizes
        mu = np.full((G, len(C), S, A), 1.0 / A)  # where nobody is, it does not matter
        for s in range(S):
            there = np.flatnonzero(C[:, s])
            P = hypergeometric(C[there] - np.eye(S, dtype=int)[s], self.k - 1)
            mu[:, there, s] = P @ self.local[:, :, s]
        return mu, hypergeometric(C, self.k) @ self.globally

    def shared(self) -> np.ndarray:
        """Return what an agent in s does that is shown the same sample as all others, (S_g, number(k, S), S, A).

        If its state is in the sample of k, it takes itself for one of these; else it puts itself in the place of one
        of the sample, drawn at random.
        """
        S = self.model.sizes[2]
        seen, c = ahead(self.k - 1, S), listed(self.k, S)
        found = np.zeros((self.local.shape[0], len(c), *self.local.shape[2:]))
        missing = c == 0
        for q in range(S):  # one in q leaves the sample c, and h is what is left
            h, whole_sample = np.arange(len(seen)), seen[:, q]
            found[:, whole_sample, q] = self.local[:, h, q]
            for s in np.flatnonzero(np.arange(S) != q):
                gone = missing[whole_sample, s]
                weight = c[whole_sample[gone], q] / self.k
                found[:, whole_sample[gone], s] += weight[:, None] * self.local[:, h[gone], s]
        return found


def sampled_policy(planned: Planned, ties: str = "first") -> SampledPolicy:
    """Return the policy of agents that play their components of what was `planned` for k.

    Parameters
    ----------
    planned : Planned
    ties : str
        "first": all agents take the first of equally good choices; "random": each draws one of those that lead to
        different outcomes.
    """
    instance(planned, Planned, "planned")
    choice(ties, TIES, "ties")
    model, k = planned.model, planned.k
    G, B, S, A = model.sizes
    h, seen, s = listed(k - 1, S), ahead(k - 1, S), np.arange(S)
    if ties == "first":
        local = planned.T[:, seen, s] / (h + 1.0)[None, :, :, None]
        return SampledPolicy(model, k, local, np.eye(B)[planned.a_g])
    tables, globally = _mean_of_best(planned)
    return SampledPolicy(model, k, tables[:, seen, s] / (h + 1.0)[None, :, :, None], globally)


def _mean_of_best(planned: Planned) -> tuple[np.ndarray, np.ndarray]:
    model, k = planned.model, planned.k
    G, B, S, A = model.sizes
    stage = Stage.of(model, k)
    tables, globally = np.zeros((G, number(k, S), S, A)), np.zeros((G, number(k, S), B))
    for g, (kinds, choices) in enumerate(zip(stage.kinds, stage.choices)):
        future = expectations(planned.V.T, kinds.laws, k) @ model.P_g[g].T
        Q = (choices.reward / k)[:, None] + (model.r_g[g] + model.gamma * future)[choices.m]
        best = planned.V[g, choices.c][:, None]
        good = Q >= best - 10 * EQUAL * (1.0 + np.abs(best))
        np.add.at(globally[g], choices.c, good)
        rows = np.zeros((len(choices.c), S, A))
        rows[:, kinds.state, kinds.action] = choices.table
        np.add.at(tables[g], choices.c, good.sum(axis=1)[:, None, None] * rows)
    much = globally.sum(axis=-1, keepdims=True)
    return tables / much[..., None], globally / much


def own_policy(model: Population, k: int, act: Callable, lead: Callable | None = None) -> SampledPolicy:
    """Return the policy of agents that act by functions of your own.

    Parameters
    ----------
    model : Population
    k : int
    act : callable
        ``act(s, s_g, h)`` gives the probabilities (A,) of a local agent in state number s, or the number of its action,
        while the global state is number s_g and h (S,) counts the k - 1 others that it sees.
    lead : callable, optional
        ``lead(s_g, c)`` gives the same of the global agent, for counts c (S,) of k; by default its action 0.
    """
    G, B, S, A = instance(model, Population, "model").sizes
    k = whole(k, "k", 1)
    function(act, "act")
    function(lead, "lead", optional=True)
    local = [[[_law(act(s, g, h.copy()), "act", A) for s in range(S)] for h in listed(k - 1, S)] for g in range(G)]
    globally = [[_law(0 if lead is None else lead(g, c.copy()), "lead", B) for c in listed(k, S)] for g in range(G)]
    return SampledPolicy(model, k, local, globally)


def _law(said, name: str, A: int) -> np.ndarray:
    if isinstance(said, (int, np.integer)) or (isinstance(said, np.ndarray) and said.shape == ()):
        a = whole(said, f"what your {name} function returned", 0)
        if a >= A:
            raise ValueError(f"your {name} function returned action {a}, but there are {A}")
        return np.eye(A)[a]
    P = checked(name, said, (A,))
    if P.min() < -1e-9 or abs(P.sum() - 1.0) > 1e-6:
        raise ValueError(f"your {name} function returned {P}, which are no probabilities")
    return np.maximum(P, 0.0) / np.maximum(P, 0.0).sum()
