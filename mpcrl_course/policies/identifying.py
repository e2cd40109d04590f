"""A policy that identifies while it acts: it sees an estimate of the mass, made of its own last transitions."""

from __future__ import annotations

import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs.random_pendulum import MassEstimate
from mpcrl_course.own import inputs
from mpcrl_course.validation import function


class IdentifyingPolicy:
    """A policy of (cos q, sin q, v, estimated mass) as a controller of n pendulums, with its estimates as memory.

    Another number of pendulums than last time starts anew, as `reset` does.

    Parameters
    ----------
    actor : callable
        Observations (n, 4) to torques (n, 1).
    """

    def __init__(self, actor):
        self.actor = function(actor, "actor")
        self.reset()

    def reset(self) -> None:
        """Forget what was identified."""
        self.estimate: MassEstimate | None = None
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, x) -> np.ndarray:
        """Return torques (n, 1), clipped to the nominal limit, for measured states x (n, 2)."""
        x = measured(x, 2)
        if self.estimate is None or self.estimate.n != len(x):
            self.estimate, self._last = MassEstimate(len(x)), None
        if self._last is not None:
            self.estimate.see(*self._last, x[:, 1])
        s = np.stack([np.cos(x[:, 0]), np.sin(x[:, 0]), x[:, 1], self.estimate()], axis=-1)
        limit = self.estimate.p.max_torque
        u = np.clip(inputs(self.actor(s), len(x), 1, "the actor"), -limit, limit)
        self._last = x.copy(), u[:, 0].copy()
        return u
