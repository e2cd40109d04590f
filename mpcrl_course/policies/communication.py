"""What is communication worth when agents act? Controllers of the network that tell each other more, or less.

All know their own plant, x_i+ = A x_i + B u_i + (e_i, f_i) with the push f_i = coupling * sum_j x_j2 of the neighbours,
the mean -0.05 of e_i, and keep off the bound on x_i1 by 0.05. They differ in what they know of the push:

    plans       the neighbours' plans, agreed on by ADMM: a vector over every edge both ways, hundreds of times a step
    one number  the neighbours' x_j2 now: one number over every edge both ways, once a step; f_i is held for all stages
                (or a reader's own function makes f_i of them)
    mean push   one number an agent, once and for all: what f_i is on average under the best controller
    nothing     f_i = 0

Plans are `Receding` around an `ADMM` (or a `Central`, the same once ADMM has arrived) at the parameters
`true_theta(network, coupling)`; the others are `Alone`, an MPC for each agent by itself.
"""

from __future__ import annotations

import numpy as np

from mpcrl_course.closed_loop import measured, run
from mpcrl_course.envs.linear import START, A, B
from mpcrl_course.envs.network import NetworkParameters
from mpcrl_course.mpc import Solution, shift
from mpcrl_course.network import Central, Network
from mpcrl_course.own import checked
from mpcrl_course.policies.receding import Receding, improve
from mpcrl_course.problems.network import network_mpc
from mpcrl_course.validation import flag, instance, real, reals, whole

#: Mean of the noise e_i, and how far x_i1 is kept off its lower bound.
MEAN_NOISE, BACK_OFF = -0.05, 0.05


def true_theta(network: Network, coupling: float, back_off: float = BACK_OFF) -> np.ndarray:
    """Return theta of `network_mpc` of second order, every agent's model that of the plant at this coupling.

    Parameters
    ----------
    network : Network
    coupling : float
        Of the plant; 0 for agents who do not know of it.
    back_off : float
        How far x_i1 is kept off its lower bound.
    """
    parameters = instance(network, Network, "network").parameters
    own = {"A": A, "B": B, "A_c": real(coupling, "coupling"), "b": [MEAN_NOISE, 0.0]}
    own["x_lb"] = [real(back_off, "back_off"), 0.0]
    blocks = {f"{name}_{i + 1}": value for i in range(network.n_agents) for name, value in own.items()}
    return parameters.pack(**blocks)


def mean_push(plant: NetworkParameters, rng=0, steps: int = 300, settled: int = 50) -> np.ndarray:
    """Return what pushes each agent on average, shape (M,), under the central controller that knows the plant.

    Parameters
    ----------
    plant : NetworkParameters
    rng : numpy.random.Generator or seed
        Of the noise of a run, which no comparison should use again.
    steps, settled : int
        Length of the run, and how many of its steps are not counted.
    """
    settled, steps = whole(settled, "settled", 0), whole(steps, "steps", 1)
    if settled >= steps:
        raise ValueError(f"steps ({steps}) must be more than settled ({settled})")
    neighbours = instance(plant, NetworkParameters, "plant").neighbours
    network = network_mpc(len(neighbours), [(i, j) for i, own in enumerate(neighbours) for j in own if i < j])
    best = Receding(Central(network), true_theta(network, plant.coupling))
    x = run(best, plant, np.tile(START, (1, plant.n_agents)), plant.draw(rng, 1, steps)).x[settled:, 0, 1::2]
    return plant.coupling * plant.adjacency @ x.mean(axis=0)


class Alone:
    """An MPC for each agent by itself, from its own state and a constant push: one number a link, or none.

    Parameters
    ----------
    plant : NetworkParameters
        Its neighbours and coupling; its noise and weight are not looked at.
    told : bool
        Whether every agent is told its neighbours' second states before it plans, and holds their push for all stages.
    push : array_like, shape (M,), or callable (coupling, x2) -> float, optional
        What agents who are told nothing take for the push on each; by default 0. Of agents who are told: what one takes
        for it when x2 are its neighbours' second states; by default ``coupling * x2.sum()``.
    back_off : float
        How far x_i1 is kept off its lower bound.

    Attributes
    ----------
    messages : int
        Numbers that are sent in a step.
    plans : list of list of Solution
        Of every plant: the latest plan of each agent.
    status : list of str
        For every plant 'failed' if an agent's plan of the step before goes on, else the word of the first agent's.
    """

    def __init__(self, plant: NetworkParameters, told: bool = False, push=None, back_off: float = BACK_OFF):
        self.plant, self.told = instance(plant, NetworkParameters, "plant"), flag(told, "told")
        if told and push is not None and not callable(push):
            raise ValueError("agents who are told need a function for push: give told or numbers, not both")
        if not told and callable(push):
            raise ValueError("push is a function of what agents are told: give told=True with it")
        self.rule = push if told else None
        self.push = np.zeros(plant.n_agents) if told or push is None else reals(push, "push", (plant.n_agents,))
        self.messages = int(plant.adjacency.sum()) if told else 0
        alone = network_mpc(1)
        self.mpc, self.theta = Central(alone).mpc, true_theta(alone, 0.0, back_off)
        self._b2 = alone.parameters.index("b_1").stop - 1  # the last entry of b_1
        self.reset()

    def reset(self) -> None:
        """Forget all plans."""
        self.plans: list[list[Solution]] = []

    @property
    def status(self) -> list[str]:
        """A word for each plant."""
        words = [[plan.status for plan in plans] for plans in self.plans]
        return ["failed" if "failed" in own else own[0] for own in words]

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, M) for what is measured, y (n, 2 M)."""
        y = measured(y, self.plant.n_states)
        x = y.reshape(len(y), -1, 2)
        # of all that is measured, an agent uses its own state, and its neighbours' second ones if it is told them
        push = np.array([self._pushes(states) for states in x[..., 1]]).reshape(len(y), -1)
        old: list = self.plans if len(self.plans) == len(y) else [[None] * self.plant.n_agents for _ in y]
        self.plans = [
            [self._plan(x[i, j], push[i, j], old[i][j]) for j in range(self.plant.n_agents)] for i in range(len(y))
        ]
        return np.array([[plan.u0[0] for plan in plans] for plans in self.plans])

    def _pushes(self, x2):
        """Return what each agent of a plant takes for the push on it; x2 (M,) are the second states."""
        if not self.told:
            return self.push
        if self.rule is None:
            return self.plant.coupling * self.plant.adjacency @ x2
        told = [x2[own == 1] for own in self.plant.adjacency]
        return [float(checked("push", self.rule(self.plant.coupling, each), ())) for each in told]

    def _plan(self, s, push: float, old: Solution | None) -> Solution:
        theta = self.theta.copy()
        theta[self._b2] = push
        return self.mpc.policy(theta, s) if old is None else improve(self.mpc, theta, s, shift(old))
