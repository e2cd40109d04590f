"""The populations with names: every agent has a label, and nothing is said about counts. Slow, and independent."""

from itertools import combinations, product

import numpy as np

from mpcrl_course.dp import FiniteMDP, policy_iteration
from mpcrl_course.population import Population, rank


def random_model(rng, G=2, B=2, S=2, A=2, gamma=0.8, sparse=False):
    """Return a stochastic model; if sparse, with laws that are equal, or put no weight on a state."""

    def laws(*shape):
        P = rng.random(shape)
        if sparse:
            P = np.where(rng.random(shape) < 0.5, 0.0, P)
            P[..., 0] += 1e-3
            P = (P > 0.5) + 1e-3 * (P > 0)
        return P / P.sum(axis=-1, keepdims=True)

    r_g, r_l = rng.normal(size=(G, B)), rng.normal(size=(S, G, A))
    start = (np.array([0.3, 0.7]), laws(2, G), laws(2, S))
    return Population(laws(G, B, G), laws(S, G, A, S), r_g, r_l, gamma, start)


def joint_value(model, k):
    """Return V* of k labelled agents, shape (S_g, S, …, S): one of the joint states, over all joint actions."""
    G, B, S, A = model.sizes
    states, actions = list(product(range(G), *[range(S)] * k)), list(product(range(B), *[range(A)] * k))
    P, cost = np.zeros((len(states), len(actions), len(states))), np.zeros((len(states), len(actions)))
    for i, (s_g, *s) in enumerate(states):
        for j, (a_g, *a) in enumerate(actions):
            law = model.P_g[s_g, a_g]
            for one, act in zip(s, a):
                law = np.multiply.outer(law, model.P_l[one, s_g, act])
            P[i, j] = law.ravel()
            cost[i, j] = -model.r_g[s_g, a_g] - np.mean([model.r_l[one, s_g, act] for one, act in zip(s, a)])
    return -policy_iteration(FiniteMDP(P, cost, model.gamma)).V.reshape(G, *[S] * k)


def deployed_labelled(policy, n, shared=False):
    """Return the value of n labelled agents (S_g, S, …, S), of which each draws its sample: all of them are listed."""
    model, k = policy.model, policy.k
    G, B, S, A = model.sizes
    states = list(product(range(G), *[range(S)] * n))
    P, reward = np.zeros((len(states), len(states))), np.zeros(len(states))

    def number_of(seen):
        return int(rank(np.bincount(seen, minlength=S)))

    for i, (s_g, *s) in enumerate(states):
        samples = list(combinations(range(n), k))
        for sample in samples if shared else [None]:
            acts = []  # of each agent, the probabilities of its actions
            for j in range(n):
                if shared:
                    same = [x for x in sample if s[x] == s[j]]
                    drawn = [tuple(x for x in sample if x != gone) for gone in (same[:1] or sample)]
                else:
                    drawn = list(combinations([x for x in range(n) if x != j], k - 1))
                acts.append(np.mean([policy.local[s_g, number_of([s[x] for x in d]), s[j]] for d in drawn], axis=0))
            led = [sample] if shared else samples
            lead = np.mean([policy.globally[s_g, number_of([s[x] for x in d])] for d in led], axis=0)
            law = lead @ model.P_g[s_g]
            for j in range(n):
                law = np.multiply.outer(law, acts[j] @ model.P_l[s[j], s_g])
            share = 1 / len(samples) if shared else 1.0
            P[i] += share * law.ravel()
            paid = np.mean([acts[j] @ model.r_l[s[j], s_g] for j in range(n)])
            reward[i] += share * (lead @ model.r_g[s_g] + paid)
    return np.linalg.solve(np.eye(len(states)) - model.gamma * P, reward).reshape(G, *[S] * n)


def by_counts(V, k, S):
    """Return a value V (S_g, S, …, S) of k labelled agents for their counts, (S_g, number(k, S)); all labels agree."""
    found = {}
    for s in product(range(S), repeat=k):
        found.setdefault(int(rank(np.bincount(s, minlength=S))), []).append(V[(slice(None), *s)])
    for same in found.values():
        np.testing.assert_allclose(same, np.broadcast_to(same[0], np.shape(same)), rtol=0, atol=1e-9)
    return np.transpose([found[i][0] for i in range(len(found))])
