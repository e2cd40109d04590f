"""Hierarchical: before each solve, phi = phi_theta(s) says which problem is to be solved.

    u = u_0 of   min_z L(z; phi)   s.t.  g(z; s, phi) >= 0,        phi = phi_theta(s)

phi may be of the cost (weights), of the reference (target) or of the constraints (track): here of the cart-pole's MPC.
It is a number before the solver begins, which therefore need not differentiate phi_theta; and each problem is solved
with constraints kept as ever. What is lost is that one problem is solved in all states: a plan assumes that phi stays
as it is now, and where phi jumps, the last plan is a poor guess for the next problem.
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from mpcrl_course.envs.cartpole import LADEN, TRACK, WEIGHTS, CartPole, CartPoleParameters, hanging_start
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.validation import function, instance, real, reals, sequence


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


class TunedCartPole(CartPole):
    """The cart-pole and its MPC as one environment, whose action is phi: so any learner of actions learns phi_theta(s).

    The observation is that of `CartPole`. Beside L an upright pole pays `price` for each metre between cart and
    target, every step: this is how J + 50 |p_T| is told to a learner of single steps.

    Parameters
    ----------
    mpc : MPC
        Of `cartpole_mpc`.
    phi : callable (a) -> dict
        Values of named parameters of the mpc, for an action a (n_actions,).
    lower, upper : array_like, shape (n_actions,)
        Limits of the action.
    theta : array_like, optional
        All other parameters; by default the initial ones.
    starts : array_like, shape (n, 4), optional
        An episode starts at one of these, by default at one near hanging.
    first : callable, optional
        As of `Receding`.
    price : float
    parameters : CartPoleParameters
        Of the plant.
    steps : int
        Length of an episode.
    """

    def __init__(self, mpc: MPC, phi: Callable, lower, upper, theta=None, *, starts=None, first: Callable = first_plan,
                 price: float = 3.0, parameters: CartPoleParameters = LADEN, steps: int = 120):  # fmt: skip
        super().__init__(parameters, steps)
        self.mpc: MPC = instance(mpc, MPC, "mpc")
        self.base = mpc.parameters.initial() if theta is None else mpc.parameters.check(theta).copy()
        self.phi, self.first, self.price = function(phi, "phi"), function(first, "first"), real(price, "price", 0.0)
        lower, upper = reals(lower, "lower", (None,)), reals(upper, "upper", (None,))
        if lower.shape != upper.shape or not lower.size or not (lower < upper).all():
            raise ValueError(f"lower must be below upper, of one shape (n_actions,), not {lower} and {upper}")
        self.lower, self.upper = lower, upper
        self.action_space = gym.spaces.Box(lower, upper, dtype=np.float64)
        self.random_start: Callable = hanging_start
        if starts is not None:
            starts = reals(starts, "starts", (None, 4))
            self.random_start = lambda rng: starts[rng.integers(len(starts))]
        self._plan: tuple[np.ndarray, np.ndarray] | None = None

    def change(self, **changes) -> None:
        """Make `changes` of the plant's parameters, by name, from now on; the action stays phi."""
        super().change(**changes)
        self.action_space = gym.spaces.Box(self.lower, self.upper, dtype=np.float64)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode; `seed` and `options` are those of `CartPole`."""
        self._plan = None
        return super().reset(seed=seed, options=options)

    def step(self, action):
        """Solve the problem of phi(action), and apply its first input; ``info["status"]`` is a word for the solve.

        The action (n_actions,) is clipped to its limits.
        """
        a = np.clip(reals(action, "action", self.lower.shape), self.lower, self.upper)
        theta = self.mpc.parameters.pack(self.base, **instance(self.phi(a), dict, "what phi returns"))
        status = "failed"
        if self._plan is None:
            plan = self.first(self.mpc, theta, self.x)
            x, u, status = plan.x, plan.u, plan.status
        else:
            x, u = self._plan
            try:
                plan = self.mpc.policy(theta, self.x, warm_start=(x, u))
                x, u, status = plan.x, plan.u, plan.status
            except SolverError:  # the plan before goes on
                pass
        last = self.mpc.transcription.step(theta, x[-1], u[-1])[0]
        self._plan = np.concatenate([x[1:], last[None]]), np.concatenate([u[1:], u[-1:]])
        seen, reward, terminated, truncated, info = super().step(u[0])
        extra = self.price * abs(self.x[0]) * standing(self.x)
        info |= {"cost": info["cost"] + extra, "status": status}
        return seen, reward - extra, terminated, truncated, info

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here: the plant's, and the plan."""
        plan = None if self._plan is None else [part.tolist() for part in self._plan]
        return super().state_dict() | {"plan": plan}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state` of `state_dict`; ValueError if it is none of this plant and MPC."""
        super().load_state_dict(state)
        plan, N = state.get("plan"), self.mpc.problem.horizon
        shapes = (N + 1, 4), (N, 1)
        if plan is not None:
            plan = [reals(part, "a plan", shape) for part, shape in zip(sequence(plan, "a plan"), shapes, strict=True)]
        self._plan = None if plan is None else (plan[0], plan[1])


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
