"""Pendulums whose mass is drawn anew in every episode: what a policy must be trained on to stand a wrong model.

Domain randomisation (Tobin et al. 2017): the policy sees (cos q, sin q, v) and must do for all masses. A meta-learned
one may adapt while it acts: here it also sees an estimate of the mass from the last transitions, as it will when it is
deployed (in the manner of Yu et al. 2017). The weights stay as they are; what adapts is the estimate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import gymnasium as gym
import numpy as np

from mpcrl_course.envs.pendulum import DT, Pendulum, PendulumParameters
from mpcrl_course.validation import instance, real, reals, sequence, whole

#: Masses in kg during training.
MASSES = (0.7, 1.3)
#: Transitions that an estimate uses.
WINDOW = 20


class MassEstimate:
    """1/m by least squares from the last transitions of n pendulums; length, gravity and friction are known.

        (v+ - v) / dt - 3 g / (2 l) sin q = (1 / m) a,    a = 3 (u - friction v) / l^2
        1 / m = 1 + sum a (left side - a) / (prior + sum a^2)

    It starts from a mass of 1 kg, which counts as much as a sum of a^2 equal to `prior`. The torque must be the one
    that acted: a delay that it does not know of spoils it.

    Parameters
    ----------
    n : int
    parameters : PendulumParameters
        All but the mass is used.
    prior : float
        Above 0, (N/(kg m))^2.
    """

    def __init__(self, n: int, parameters: PendulumParameters = PendulumParameters(), prior: float = 5.0):  # noqa: B008
        self.p, self.n = instance(parameters, PendulumParameters, "parameters"), whole(n, "n", 1)
        self.prior = real(prior, "prior", 0.0, strict=True)
        self.pairs: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=WINDOW)

    def see(self, x, u, v_next) -> None:
        """Take in a transition: states x (n, 2), torques u (n,), next velocities v_next (n,)."""
        p, x = self.p, reals(x, "x", (self.n, 2))
        u, v_next = reals(u, "u", (self.n,)), reals(v_next, "v_next", (self.n,))
        a = 3.0 * (u - p.friction * x[:, 1]) / p.length**2
        self.pairs.append((a, (v_next - x[:, 1]) / DT - 1.5 * p.gravity / p.length * np.sin(x[:, 0]) - a))

    def __call__(self) -> np.ndarray:
        """Return the estimated masses in kg, shape (n,), within [0.3, 3]."""
        above, below = np.zeros(self.n), np.full(self.n, self.prior)
        for a, rest in self.pairs:
            above, below = above + a * rest, below + a * a
        return 1.0 / np.clip(1.0 + above / below, 1 / 3, 1 / 0.3)


class RandomMass(Pendulum):
    """A pendulum whose mass is uniform in `masses`, drawn at each reset.

    The estimate is made of what a controller knows, too: the true states and the commands, clipped to the limit.

    Parameters
    ----------
    masses : tuple of float
        Lowest and highest mass, kg.
    identify : bool
        Whether the observation ends with the estimated mass.
    **options
        Of `Pendulum`.
    """

    def __init__(self, masses: tuple[float, float] = MASSES, identify: bool = False, **options):
        super().__init__(**options)
        low, high = reals(masses, "masses", (2,)).tolist()
        if not 0.0 < low <= high:
            raise ValueError(f"masses are a lowest and a highest one in kg, above 0, not {masses}")
        self.masses, self.identify = (low, high), identify
        self.estimate = MassEstimate(1, self.parameters)
        if identify:
            most = np.array([1.0, 1.0, np.inf, np.inf])
            self.observation_space = gym.spaces.Box(-most, most, dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        """Draw a mass and start an episode; `seed` and `options` as in `Pendulum.reset`."""
        if seed is not None:
            gym.Env.reset(self, seed=whole(seed, "seed", 0))
        self.parameters = replace(self.parameters, mass=float(self.np_random.uniform(*self.masses)))
        self.estimate = MassEstimate(1, self.parameters)
        return super().reset(options=options)

    def observe(self) -> np.ndarray:
        """Return (cos q, sin q, v), and the estimated mass if it is identified."""
        seen = super().observe()
        return np.append(seen, self.estimate()) if self.identify else seen

    def step(self, action):
        """Take a step with an `action` as `Pendulum.step`; the transition is taken into the estimate first."""
        before, limit = self.x.copy(), self.parameters.max_torque
        _, *rest, info = super().step(action)
        u = np.clip(np.ravel(action), -limit, limit)
        self.estimate.see(before[None], u, info["x"][1:])
        return self.observe(), *rest, info

    def state_dict(self) -> dict:
        """As `Pendulum.state_dict`, with the mass and what its estimate has seen."""
        seen = [[a.tolist(), rest.tolist()] for a, rest in self.estimate.pairs]
        return super().state_dict() | {"mass": self.parameters.mass, "seen": seen}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state` that `state_dict` gave."""
        super().load_state_dict(state)
        seen = [reals(pair, "of a plant's seen one", (2, 1)) for pair in sequence(state.get("seen"), "a plant's seen")]
        self.parameters = replace(self.parameters, mass=real(state.get("mass"), "a plant's mass", 0.0, strict=True))
        self.estimate = MassEstimate(1, self.parameters)
        self.estimate.pairs.extend((a, rest) for a, rest in seen)
