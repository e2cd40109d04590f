"""The populations of lecture 13: Formation, where the sample hardly matters, Rendezvous, where it does, and a tie."""

from __future__ import annotations

import numpy as np

from mpcrl_course.population.model import Population, from_functions
from mpcrl_course.validation import choice, real, whole


def formation(noise: float = 0.0, pull: bool = True) -> Population:
    """Return Formation, the published configuration: local agents stay together while the global one moves them.

    S_g = A_g = {-2 … 2}, S = A = {-1, 0, 1}, gamma = 0.9;

        s_g' = clip(s_g + a_g),     s' = clip(s + a - s_g + e),
        r_g = 1 + (0.2 if a_g = 0 else 0.1) + 0.1 |s_g|,
        r_l = max(0.1, (1 - |s|) + (0.5 - 0.1 |a|) + (0.3 - 0.1 |s - s_g|) + 0.2 [|s - s_g| <= 1])

    Parameters
    ----------
    noise : float
        The probability that e is not 0, but 1 or -1.
    pull : bool
        Without it, s_g is missing in s'.
    """
    noise = real(noise, "noise", 0.0, 1.0)
    choice(pull, (True, False), "pull")

    def law(s, s_g, a):
        found: dict[int, float] = {}
        for e, probability in ((0, 1.0 - noise), (-1, noise / 2), (1, noise / 2)):
            ahead = local_transition(s, s_g * pull, a + e)
            found[ahead] = found.get(ahead, 0.0) + probability
        return found

    reach, near = range(-2, 3), range(-1, 2)
    rules = (global_transition, global_reward, law, local_reward)
    return from_functions(reach, reach, near, near, *rules, name="Formation")


def global_transition(s_g, a_g):
    """Return clip(s_g + a_g), the next state of Formation's global agent in the state s_g that takes the action a_g."""
    return max(-2, min(2, s_g + a_g))


def global_reward(s_g, a_g):
    """Return r_g of Formation for the global state s_g and action a_g."""
    return 1.0 + (0.2 if a_g == 0 else 0.1) + 0.1 * abs(s_g)


def local_transition(s, s_g, a):
    """Return clip(s + a - s_g), the next state of Formation's local agent in `s` without noise, with s_g and `a`."""
    return max(-1, min(1, s + a - s_g))


def local_reward(s, s_g, a):
    """Return r_l of Formation for a local state s, the global state s_g and the local action `a`."""
    near = 0.2 if abs(s - s_g) <= 1 else 0.0
    return max(0.1, 1.0 - abs(s) + 0.5 - 0.1 * abs(a) + 0.3 - 0.1 * abs(s - s_g) + near)


def rendezvous(sites: int = 3, storm: float = 0.1, slip: float = 0.05, gather: float = 0.44) -> Population:
    """Return Rendezvous: all want to meet where the global agent is; a storm scatters them.

    S = A = A_g = {0 … m-1}, the sites; S_g = the sites, idle, and a storm on each site. From a site or idle a storm
    comes with probability `storm` (on any site), else s_g' = a_g; after a storm it is idle. Local agents: s' = a with
    probability 1 - slip, else any site; in a storm on j, s' = j with probability `gather`, else one of the others.

        r_g = 0,     r_l = [s = s_g, a site] - 0.3 [a != s], and 0 in a storm

    It starts idle, after a storm: one j for all, drawn uniformly, then the local states from the law of storm j.

    Parameters
    ----------
    sites : int
        m, at least 2.
    storm, slip, gather : float
        Probabilities.
    """
    m, storm, slip = whole(sites, "sites", 2), real(storm, "storm", 0.0, 1.0), real(slip, "slip", 0.0, 1.0)
    blown = np.full((m, m), (1.0 - real(gather, "gather", 0.0, 1.0)) / (m - 1))
    np.fill_diagonal(blown, gather)
    P_g, P_l = np.zeros((2 * m + 1, m, 2 * m + 1)), np.zeros((m, 2 * m + 1, m, m))
    r_l = np.zeros((m, 2 * m + 1, m))
    for a in range(m):
        P_g[: m + 1, a, a] = 1.0 - storm
        P_g[: m + 1, a, m + 1 :] = storm / m
        P_g[m + 1 :, a, m] = 1.0
        P_l[:, : m + 1, a] = slip / m
        P_l[:, : m + 1, a, a] += 1.0 - slip
        P_l[:, m + 1 :, a] = blown
        r_l[:, : m + 1, a] -= 0.3 * (np.arange(m) != a)[:, None]
        r_l[np.arange(m), np.arange(m), a] += 1.0
    idle = np.tile(np.eye(2 * m + 1)[m], (m, 1))
    return Population(P_g, P_l, np.zeros((2 * m + 1, m)), r_l, 0.9, (np.full(m, 1 / m), idle, blown), "Rendezvous")


def tie() -> Population:
    """Return two sites and no chance: S = A = S_g = A_g = {0, 1}, s' = a, s_g' = a_g, r_l = [s = s_g] - 0.3 [a != s].

    With half of the agents on each site both are equally good to meet at, and somebody must choose.
    """
    return from_functions(
        (0, 1),
        (0, 1),
        (0, 1),
        (0, 1),
        lambda s_g, a_g: a_g,
        lambda s_g, a_g: 0.0,
        lambda s, s_g, a: a,
        lambda s, s_g, a: float(s == s_g) - 0.3 * (a != s),
        name="a tie",
    )
