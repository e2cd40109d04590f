"""Networks trained beforehand (`places.data("agents_04.npz")`), as agents and as controllers of pendulums.

The file holds, for each kind of training, one row of weights a seed: ``nominal actor``, ``nominal critic``,
``randomised actor`` … in half precision, which is exact enough to act with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mpcrl_course.envs import race
from mpcrl_course.learners.ddpg import ActorCritic, pendulum_policy
from mpcrl_course.policies.identifying import IdentifyingPolicy
from mpcrl_course.validation import instance, real, whole


def trained_agent(file: Mapping, kind: str = "nominal", seed: int = 0, max_torque: float = 2.0) -> ActorCritic:
    """Return the agent of a seed, with its critic if it was kept; it can go on learning.

    Parameters
    ----------
    file : mapping of name to ndarray
        What `places.data` gives.
    kind : str
        'nominal', 'randomised', 'identified' (which sees an estimate of the mass, too), 'penalty 3' ….
    seed : int
    max_torque : float
        Limit of the actor's output, N m.

    Raises
    ------
    KeyError
        There is no such kind; lists those that there are.
    """
    instance(file, Mapping, "file"), instance(kind, str, "kind")
    if kind not in _kinds(file):
        raise KeyError(f"no agent is called '{kind}'; there are: {', '.join(_kinds(file))}")
    seeds, max_torque = len(file[f"{kind} actor"]), real(max_torque, "max_torque", 0.0, strict=True)
    if whole(seed, "seed", 0) >= seeds:
        raise IndexError(f"seed {seed} was not trained; there are 0 … {seeds - 1}")
    agent = ActorCritic(4 if kind == "identified" else 3, [-max_torque], [max_torque], np.random.default_rng(seed))
    for network, slow, name in ((agent.actor, agent.target_actor, "actor"),
                                (agent.critic, agent.target_critic, "critic")):  # fmt: skip
        if f"{kind} {name}" in file:
            network.theta[:] = file[f"{kind} {name}"][seed]
            slow.theta[:] = network.theta
    return agent


def trained_policies(file: Mapping, seed: int = 0) -> dict[str, Callable]:
    """Return the policies of a `seed` in a `file` by kind, as controllers: states (n, 2) to torques (n, 1)."""
    policies: dict[str, Callable] = {}
    instance(file, Mapping, "file")
    for kind in _kinds(file):
        agent = trained_agent(file, kind, seed)
        policies[kind] = IdentifyingPolicy(agent.policy) if kind == "identified" else pendulum_policy(agent)
    return policies


def _kinds(file: Mapping) -> list[str]:
    return [name.removesuffix(" actor") for name in file if name.endswith(" actor")]


def trained_driver(file: Mapping, name: str = "free") -> Callable:
    """Return a driver of racing cars, from states (n, 4) to inputs (n, 2), as `racing_10.npz` keeps it.

    Parameters
    ----------
    file : mapping of name to ndarray
        What `places.data` gives.
    name : str
        How it was trained: 'free', 'applied', 'raw', 'applied, priced' or 'raw, priced'.

    Raises
    ------
    KeyError
        There is no such driver.
    """
    instance(file, Mapping, "file"), instance(name, str, "name")
    if f"driver {name} actor" not in file:
        raise KeyError(f"no driver is called '{name}' in the file")
    agent = ActorCritic(3 + len(race.AHEAD), -np.ones(2), np.ones(2), np.random.default_rng(0))
    agent.actor.theta[:] = file[f"driver {name} actor"]
    return race_policy(agent)


def race_policy(agent: ActorCritic) -> Callable:
    """Return the actor of an `agent` of `Scaled(Race())` as a controller, from states (n, 4) to inputs (n, 2)."""

    def drive(y):
        a = agent.policy(race.seen(y))
        return np.where(a > 0.0, a * race.UPPER, -a * race.LOWER)

    return drive
