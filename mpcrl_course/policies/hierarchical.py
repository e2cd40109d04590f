"""Hierarchical: before each solve, phi = phi_theta(s) says which problem is to be solved.

    u = u_0 of   min_z L(z; phi)   s.t.  g(z; s, phi) >= 0,        phi = phi_theta(s)

phi may be of the cost (weights), of the reference (target) or of the constraints (track): here of the cart-pole's MPC.
It is a number before the solver begins, which therefore need not differentiate phi_theta; and each problem is solved
with constraints kept as ever. What is lost is that one problem is solved in all states: a plan assumes that phi stays
as it is now, and where phi jumps, the last plan is a poor guess for the next problem.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.envs.cartpole import LADEN, TRACK, WEIGHTS, CartPole, CartPoleParameters, hanging_start
from mpcrl_course.mpc import MPC
from mpcrl_course.policies.as_environment import WithMPC
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.validation import function, instance, real, reals


class Hierarchical(Receding):
    """An MPC some of whose parameters are functions of the state.

    Parameters
    ----------
    mpc : MPC
    phi : callable (s) -> dict
        Values of named parameters of the mpc, for a state s (n_states,); an empty dict leaves the MPC as it is.
    theta : array_like, optional
        All other parameters; by default the initial ones.
    first : callable, optional
        As of `Receding`.

    Attributes
    ----------
    base : ndarray, shape (n_theta,)
        These parameters; `theta` is that of the latest problem.
    """

    def __init__(self, mpc: MPC, phi: Callable, theta=None, *, first: Callable = first_plan):
        super().__init__(instance(mpc, MPC, "mpc"), theta, first=first)
        self.phi, self.base = function(phi, "phi"), self.theta

    def _plan(self, i: int, s, problem, scale):
        self.theta = self.mpc.parameters.pack(self.base, **instance(self.phi(s.copy()), dict, "what phi returns"))
        return super()._plan(i, s, problem, scale)


def standing(s) -> float:
    """Return how far the pole of a state s (4,) stands: sigmoid((cos q - 0.9) / 0.03), which is 1/2 at 26 degrees."""
    return float(1.0 / (1.0 + np.exp(-(np.cos(s[1]) - 0.9) / 0.03)))


def gate(factor: float = 10.0) -> Callable:
    """Return phi by hand: the weight on p is `factor` times as large once the pole stands, not while it swings up."""
    factor = real(factor, "factor", 0.0)
    return lambda s: {"weights": WEIGHTS * np.array([1.0 + (factor - 1.0) * standing(s), 1.0, 1.0, 1.0, 1.0])}


def constant_weight(factor: float = 10.0) -> Callable:
    """Return the twin of `gate` that does not look at the state: the weight on p is always `factor` times as large."""
    factor = real(factor, "factor", 0.0)
    return lambda s: {"weights": WEIGHTS * np.array([factor, 1.0, 1.0, 1.0, 1.0])}


#: Entries of z in `phi_of`.
N_PHI = 10


def phi_of(z) -> Callable:
    """Return phi_z, with z (10,) to be learned; z = 0 leaves the MPC as it is.

    target     tanh(z_0 p + z_1 v + z_2 sin q + z_3 w / 3),     a position in m, odd in the mirror image
    weights    exp(z_4 + z_5 cos q) on F^2 and exp(z_6 + z_7 cos q) on p^2, times the nominal ones
    track      2 m - 1.6 m clip(z_8 + z_9 cos q, 0, 1):  never beyond the true one

    Parameters
    ----------
    z : array_like, shape (10,)
    """
    z = reals(z, "z", (N_PHI,))

    def phi(s):
        p, q, v, w = s
        on_force, on_position = np.exp(np.clip([z[4] + z[5] * np.cos(q), z[6] + z[7] * np.cos(q)], -3.0, 3.0))
        tight = np.clip(z[8] + z[9] * np.cos(q), 0.0, 1.0)
        return {
            "target": np.tanh(z[0] * p + z[1] * v + z[2] * np.sin(q) + z[3] * w / 3.0),
            "weights": WEIGHTS * np.array([on_position, 1.0, 1.0, 1.0, on_force]),
            "track": TRACK - 1.6 * tight,
        }

    return phi


def jumping(low: dict, high: dict, rate: float = 1e5) -> Callable:
    """Return a phi that jumps: `low` or `high`, by the sign of sin(rate (p + q + v + w)), as good as at random.

    Parameters
    ----------
    low, high : dict
        Values of named parameters.
    rate : float
    """
    instance(low, dict, "low"), instance(high, dict, "high"), real(rate, "rate")
    return lambda s: low if np.sin(rate * s.sum()) < 0.0 else high


class TunedCartPole(WithMPC):
    """The cart-pole and its MPC as one environment, whose action is phi: so any learner of actions learns phi_theta(s).

    The observation is that of `CartPole`. Beside L an upright pole pays `price` for each metre between cart and
    target, every step: this is how J + 50 |p_T| is told to a learner of single steps.

    Parameters
    ----------
    mpc, phi, lower, upper, theta, first
        See `WithMPC`; the mpc is one of `cartpole_mpc`.
    starts : array_like, shape (n, 4), optional
        An episode starts at one of these, by default at one near hanging.
    price : float
    parameters : CartPoleParameters
        Of the plant.
    steps : int
        Length of an episode.
    """

    def __init__(self, mpc: MPC, phi: Callable, lower, upper, theta=None, *, starts=None, first: Callable = first_plan,
                 price: float = 3.0, parameters: CartPoleParameters = LADEN, steps: int = 120):  # fmt: skip
        plant = CartPole(parameters, steps)
        plant.random_start = hanging_start
        if starts is not None:
            starts = reals(starts, "starts", (None, 4))
            plant.random_start = lambda rng: starts[rng.integers(len(starts))]
        super().__init__(plant, mpc, phi, lower, upper, theta, first=first)
        self.price = real(price, "price", 0.0)

    def step(self, action):
        """Make a step with phi(action)."""
        seen, reward, terminated, truncated, info = super().step(action)
        extra = self.price * abs(self.x[0]) * standing(self.x)
        return seen, reward - extra, terminated, truncated, info | {"cost": info["cost"] + extra}


def weights_of(a) -> dict:
    """Return phi of an action a (2,): weights on p^2 and F^2 that are 10^a_0 and 10^a_1 times the nominal ones."""
    a = reals(a, "a", (2,))
    return {"weights": WEIGHTS * np.array([10.0 ** a[0], 1.0, 1.0, 1.0, 10.0 ** a[1]])}


def actor_of(agent, phi: Callable = weights_of) -> Callable:
    """Return a learned actor of `TunedCartPole` as phi of the state s (4,).

    Parameters
    ----------
    agent : object
        With ``policy(observation)``, such as an `ActorCritic`.
    phi : callable (a) -> dict
        As of the environment.
    """
    policy, phi = function(getattr(agent, "policy", None), "the agent's policy"), function(phi, "phi")
    return lambda s: phi(policy(np.array([s[0], np.cos(s[1]), np.sin(s[1]), s[2], s[3]])))
