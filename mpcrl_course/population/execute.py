"""n agents that act on samples of k, evaluated exactly: hypergeometric mixtures, and a linear system.

Each agent in state s draws k - 1 of the others and acts (`policy`): on average over its sample h,

    mu(a | s) = sum_h P(h) local(a | s_g, h, s),     h ~ Hypergeometric(C - e_s, k - 1);

the global agent draws k. Given the counts C of all n, the agents act independently: the next counts have the law
`next_law(C, sum_a mu(a | s) P_l)`, so that (s_g, C) is a Markov chain, and its value a linear system.

If all agents are shown the *same* sample of k, they act independently given the sample; law and reward are the mixture
over samples, of the local and of the global agents together.
"""

from __future__ import annotations

import numpy as np

from mpcrl_course.population.counts import number
from mpcrl_course.population.laws import CHUNK, hypergeometric, listed, next_law
from mpcrl_course.population.policy import SampledPolicy
from mpcrl_course.population.solve import DENSE, start_value
from mpcrl_course.validation import choice, instance, whole

SAMPLES = ("private", "shared")


def deployed_value(policy: SampledPolicy, n: int, samples: str = "private") -> np.ndarray:
    """Return the exact value (S_g, number(n, S)) of n agents that act on samples of k.

    Parameters
    ----------
    policy : SampledPolicy
    n : int
        At least the policy's k.
    samples : str
        "private", each agent its own, or "shared", one for all.

    Raises
    ------
    ValueError
        There are too many states (s_g, C) for a linear system: simulate instead.
    """
    model = instance(policy, SampledPolicy, "policy").model
    G, _, S, _ = model.sizes
    n = whole(n, "n", policy.k)
    choice(samples, SAMPLES, "samples")
    if G * number(n, S) > DENSE:
        raise ValueError(f"n = {n} agents have {G * number(n, S)} states, more than {DENSE}: simulate them instead")
    C = listed(n, S)
    reward, P = _private(policy, C, n) if samples == "private" else _shared(policy, C, n)
    system = -model.gamma * P.reshape(reward.size, reward.size)
    system[np.diag_indices(reward.size)] += 1.0
    return np.linalg.solve(system, reward.ravel()).reshape(reward.shape)


def deployed(policy: SampledPolicy, n: int, samples: str = "private") -> float:
    """Return the exact value from the model's start; `policy`, `n` and `samples` as `deployed_value` takes them."""
    V = deployed_value(policy, n, samples)
    return start_value(policy.model, V, n)


def _private(policy: SampledPolicy, C: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    # Rewards (S_g, M), and laws (S_g, M, S_g, M) of the next state.
    model = policy.model
    mu, alpha = policy.private(C)
    reward = np.einsum("gmb,gb->gm", alpha, model.r_g) + np.einsum("ms,gmsa,sga->gm", C / n, mu, model.r_l)
    law = next_law(np.broadcast_to(C, (len(mu), *C.shape)), np.einsum("gmsa,sgat->gmst", mu, model.P_l))
    return reward, np.einsum("gmb,gbh->gmh", alpha, model.P_g)[..., None] * law[:, :, None, :]


def _shared(policy: SampledPolicy, C: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    model, local, weights = policy.model, policy.shared(), hypergeometric(C, policy.k)
    G = len(local)
    p = np.einsum("gcsa,sgat->gcst", local, model.P_l)
    paid = np.einsum("gcsa,sga->gcs", local, model.r_l)
    P_g = np.einsum("gcb,gbh->gch", policy.globally, model.P_g)
    reward = np.einsum("mc,gcb,gb->gm", weights, policy.globally, model.r_g)
    reward += np.einsum("mc,ms,gcs->gm", weights, C / n, paid)
    P = np.zeros((G, len(C), G, len(C)))
    step = max(1, CHUNK // (weights.shape[1] * len(C)))
    for g in range(G):
        for i in range(0, len(C), step):
            some = C[i : i + step]
            shape = (len(some), weights.shape[1], C.shape[1])
            law = next_law(np.broadcast_to(some[:, None], shape), np.broadcast_to(p[g], (*shape, C.shape[1])))
            P[g, i : i + step] = np.einsum("mc,ch,mcn->mhn", weights[i : i + step], P_g[g], law, optimize=True)
    return reward, P
