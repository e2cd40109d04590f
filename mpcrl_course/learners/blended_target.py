"""DDPG whose critic is told what an MPC thinks of each action: a target that is part bootstrapped, part Q^MPC.

    y = (1 - beta) (L + gamma Q'(s+, mu'(s+))) + beta Q^MPC(s, a)

Q^MPC(s, a), the MPC's cost with u_0 = a, is solved once, when the transition is new, and stored with it: what it says
does not change while the network learns. All else is `mpcrl_course.learners.ddpg`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.ddpg import DDPG
from mpcrl_course.mpc import MPC
from mpcrl_course.own import answering
from mpcrl_course.validation import function, instance


class BlendedDDPG(DDPG):
    """DDPG with a blended target.

    Parameters
    ----------
    env, rng
        See `Learner`; rewards are minus the costs that the MPC counts.
    mpc : MPC
    theta : array_like, optional
        Of the MPC; by default the initial one.
    beta : float or schedule
        Share of Q^MPC, at step k.
    state : callable (observation) -> s, optional
        The MPC's state; by default the observation is it.
    **options
        Of `DDPG`.

    Attributes
    ----------
    replay : Replay
        With a column `q`, the stored Q^MPC, beside those of `DDPG`.
    """

    name = "DDPG, blended target"
    more = {"q": 1}

    def __init__(
        self,
        env,
        rng: np.random.Generator,
        mpc: MPC,
        theta=None,
        *,
        beta: float | Callable = 0.5,
        state: Callable | None = None,
        **options,
    ):
        self.mpc = instance(mpc, MPC, "mpc")
        self.theta = mpc.parameters.pack(theta)
        self.beta = as_schedule(beta, "beta", 1.0)
        n = mpc.problem.n_states
        self.state = (
            answering("state", function(state, "state", True), lambda s: (n,)) if state is not None else lambda s: s
        )
        super().__init__(env, rng, **options)

    def told(self, a) -> dict:
        """Return Q^MPC(s, a) of the present state and the action a (m,)."""
        return {"q": self.mpc.Q(self.theta, self.state(self.s), a).value}

    def update(self, batch) -> tuple[float, float]:
        """Let the agent learn from a batch whose targets are blended; return mean |TD error| and mean target."""
        beta = np.float32(at(self.beta, self.k, "beta", 1.0))
        return self.agent.update(batch[:-1], lambda y: (1 - beta) * y + beta * batch.q)
