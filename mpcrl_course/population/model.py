"""A population: a global agent and n exchangeable local ones, as arrays.

    s_g' ~ P_g(. | s_g, a_g),     s_i' ~ P_l(. | s_i, s_g, a_i),     r = r_g(s_g, a_g) + 1/n sum_i r_l(s_i, s_g, a_i)

A reward, as where the problem was published; the course's cost is -r. The discount is gamma < 1. It starts from a
mixture: with probability w_j the global state has the law G_j, and the local states are drawn independently from L_j.
Source: Anand, Karmarkar & Qu, Mean-Field Sampling for Cooperative Multi-Agent Reinforcement Learning, arXiv 2412.00661.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcrl_course.validation import function, real, reals, sequence, short


@dataclass(frozen=True, eq=False)
class Population:
    """A global agent with S_g states and A_g actions, and local agents with S states and A actions each.

    Parameters
    ----------
    P_g : array_like, shape (S_g, A_g, S_g)
        Transition probabilities of the global agent.
    P_l : array_like, shape (S, S_g, A, S)
        Those of a local agent: P_l[s, s_g, a, s'].
    r_g : array_like, shape (S_g, A_g)
    r_l : array_like, shape (S, S_g, A)
        Rewards.
    gamma : float
        Discount in (0, 1).
    start : tuple of array_like, optional
        Weights w (J,), global laws (J, S_g), local laws (J, S); by default everything is uniform.
    name : str

    Raises
    ------
    ValueError
        Shapes that do not match, a probability that is negative, or a law that does not sum to one.
    """

    P_g: Any
    P_l: Any
    r_g: Any
    r_l: Any
    gamma: float = 0.9
    start: Any = None
    name: str = "population"

    def __post_init__(self):
        r_g = reals(self.r_g, "r_g", (None, None))
        r_l = reals(self.r_l, "r_l", (None, len(r_g), None))
        (G, B), (S, _, A) = r_g.shape, r_l.shape
        if not r_g.size or not r_l.size:
            raise ValueError("r_g and r_l need at least one state and one action each")
        found: dict[str, Any] = {"r_g": r_g, "r_l": r_l}
        found["P_g"] = _laws(self.P_g, "P_g", (G, B, G))
        found["P_l"] = _laws(self.P_l, "P_l", (S, G, A, S))
        found["gamma"] = real(self.gamma, "gamma", 0.0)
        if found["gamma"] >= 1.0:
            raise ValueError(f"gamma must be a number from 0 to below 1, not {self.gamma}")
        parts = (np.ones(1), np.full((1, G), 1 / G), np.full((1, S), 1 / S)) if self.start is None else self.start
        parts = sequence(parts, "start")
        if len(parts) != 3:
            raise ValueError(f"start must be (weights, global laws, local laws), not {short(self.start)}")
        w, *laws = parts
        w = _laws(w, "start's weights", (None,))
        J = len(w)
        found["start"] = (
            w,
            _laws(laws[0], "start's global laws", (J, G)),
            _laws(laws[1], "start's local laws", (J, S)),
        )
        for key, value in found.items():
            object.__setattr__(self, key, value)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """S_g, A_g, S and A."""
        return (*self.r_g.shape, self.r_l.shape[0], self.r_l.shape[2])


def _laws(value, name: str, shape: tuple) -> np.ndarray:
    P = reals(value, name, shape)
    if not P.size or P.min() < 0.0:
        raise ValueError(f"{name} has a negative probability, or none at all")
    sums = P.sum(axis=-1)
    if not np.allclose(sums, 1.0, atol=1e-9):
        place = np.unravel_index(np.abs(sums - 1.0).argmax(), sums.shape)
        where = f"[{', '.join(map(str, place))}]" if place else ""
        raise ValueError(f"{name}{where} sums to {sums[place]:.6g}, not to 1")
    return P / sums[..., None]


def from_functions(
    global_states,
    global_actions,
    local_states,
    local_actions,
    global_transition: Callable,
    global_reward: Callable,
    local_transition: Callable,
    local_reward: Callable,
    gamma: float = 0.9,
    start: tuple | None = None,
    name: str = "population",
) -> Population:
    """Return a population that is given by plain functions.

    Parameters
    ----------
    global_states, global_actions, local_states, local_actions : sequence
        The states and actions: different numbers.
    global_transition : callable
        ``global_transition(s_g, a_g)`` returns the next state, or a dict of next states and their probabilities.
    global_reward : callable
        ``global_reward(s_g, a_g)``.
    local_transition, local_reward : callable
        Of ``(s, s_g, a)``, in the same way.
    gamma, start, name
        See `Population`.

    Raises
    ------
    ValueError
        A function returns what is no state; the message says for which arguments.
    """
    lists = {"global_states": global_states, "global_actions": global_actions}
    lists |= {"local_states": local_states, "local_actions": local_actions}
    G, B, S, A = (_distinct(values, what) for what, values in lists.items())

    def law(f, states, *arguments):
        said = f(*arguments)
        found = np.zeros(len(states))
        for state, probability in (said if isinstance(said, Mapping) else {said: 1.0}).items():
            if state not in states:
                given = ", ".join(map(str, arguments))
                raise ValueError(f"{f.__name__}({given}) gave {short(state)}, which is none of the states {states}")
            found[states.index(state)] += real(probability, f"a probability of {f.__name__}")
        return found

    for what, f in zip(
        ("global_transition", "global_reward", "local_transition", "local_reward"),
        (global_transition, global_reward, local_transition, local_reward),
    ):
        function(f, what)
    return Population(
        [[law(global_transition, G, g, b) for b in B] for g in G],
        [[[law(local_transition, S, s, g, a) for a in A] for g in G] for s in S],
        [[real(global_reward(g, b), "what global_reward returned") for b in B] for g in G],
        [[[real(local_reward(s, g, a), "what local_reward returned") for a in A] for g in G] for s in S],
        gamma,
        start,
        name,
    )


def _distinct(values, name: str) -> list:
    found = sequence(values, name)
    known = reals(found, name, (None,))
    if not found or len(set(known)) < len(found):
        raise ValueError(f"{name} must be a list of different numbers, at least one, not {short(values)}")
    return found
