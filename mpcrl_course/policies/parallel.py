"""Parallel: a network corrects what the MPC has decided.

    u = u_MPC(s) + beta r(s, u_MPC(s))

r is trained beforehand, on single steps (s, u, s+) of the plant. Where the model f misses s+ by E, an input that is
wrong by B'E / B'B, B = df/du, would have missed it as much: so r is taught to be  -B'E / B'B,  and the plant under
u + r moves about as the model does under u. Of E, what no input reaches is left.

The network is outside of the problem: no solver differentiates it, and with beta = 0 the MPC is as it was. But nobody
checks what is added. u_MPC keeps the force limit and its plan the track; their sum need not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs.cartpole import MODEL, CartPoleParameters, dynamics
from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import MPC
from mpcrl_course.own import checked, inputs
from mpcrl_course.policies.filters import Filter
from mpcrl_course.policies.integrated import features
from mpcrl_course.validation import function, instance, real, reals


class Parallel(Filter):
    """A controller and beside it a correction of its inputs.

    Parameters
    ----------
    controller : callable
        Such as `Receding`.
    r : callable (y, u) -> ndarray, shape (n, n_inputs)
        The correction, for what is measured, y (n, n_measured), and the controller's inputs u (n, n_inputs).
    beta : float
        Its share; may be changed while it runs.
    """

    def __init__(self, controller: Callable, r: Callable, beta: float = 1.0):
        super().__init__(controller, self._corrected)
        self.r, self.beta = function(r, "r"), real(beta, "beta")

    def _corrected(self, y, u) -> np.ndarray:
        return u + self.beta * inputs(self.r(y, u), len(u), u.shape[1], "r") if self.beta else u


def missing_force(x, u, ahead, model: CartPoleParameters = MODEL) -> np.ndarray:
    """Return -B'E / B'B, shape (n, 1): the force that would have made up for the model's error.

    Of E and B the velocities count: a force of one step hardly moves positions.

    Parameters
    ----------
    x : array_like, shape (n, 4)
        States.
    u : array_like, shape (n, 1)
        Forces.
    ahead : array_like, shape (n, 4)
        The plant's states after these.
    model : CartPoleParameters
    """
    x, u, ahead = reals(x, "x", (None, 4)), reals(u, "u", (None, 1)), reals(ahead, "ahead", (None, 4))
    if not len(x) == len(u) == len(ahead):
        raise ValueError(f"x, u and ahead are of the same steps, but there are {len(x)}, {len(u)} and {len(ahead)}")
    instance(model, CartPoleParameters, "model")
    E = (ahead - dynamics(x, u, model))[:, 2:]
    B = (dynamics(x, u + 1e-3, model) - dynamics(x, u - 1e-3, model))[:, 2:] / 2e-3
    return -(B * E).sum(axis=1, keepdims=True) / (B * B).sum(axis=1, keepdims=True)


def correction(network: MLP) -> Callable:
    """Return a network of the `features` of a cart-pole as a correction r(y, u)."""
    if instance(network, MLP, "network").sizes[0] != 5 or network.sizes[-1] != 1:
        raise ValueError(f"network must be one of 5 features and one output, not {network}")
    return lambda y, u: network(features(y, u))


class BlendedValue:
    """The other way to put a network beside an MPC: not inputs are mixed, but what is said of their cost.

        u = argmin over candidates u of  (1 - beta) Q_MPC(s, u) + beta Q(s, u)

    The candidates lie around the MPC's own input, within its limits. Its constraints still have a voice, as Q_MPC pays
    for them; a price is a solve for each candidate.

    Parameters
    ----------
    mpc : MPC
        Q_MPC is its Q. A quadratic problem, of which many are solved at once, or patience.
    Q : callable (s, a) -> ndarray, shape (M,)
        Such as the `value` of an `ActorCritic`, for s (M, n_states) and candidates a (M, n_inputs).
    offsets : array_like, shape (M, n_inputs)
        Candidates minus the MPC's input, which is one of them in any case.
    beta : float
        From 0, the MPC, to 1; may be changed while it runs.
    theta : array_like, optional
        By default the initial one.
    """

    def __init__(self, mpc: MPC, Q: Callable, offsets, beta: float = 0.5, theta=None):
        self.mpc: MPC = instance(mpc, MPC, "mpc")
        self.Q, self.beta = function(Q, "Q"), real(beta, "beta", 0.0, 1.0)
        self.theta = mpc.parameters.pack(theta)
        m = mpc.problem.n_inputs
        self.offsets = np.concatenate([np.zeros((1, m)), reals(offsets, "offsets", (None, m))])

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs) for what is measured, y (n, n_states)."""
        return np.array([self._decide(s) for s in measured(y, self.mpc.problem.n_states)])

    def _decide(self, s) -> np.ndarray:
        problem, u = self.mpc.problem, self.mpc.policy(self.theta, s).u0
        candidates = np.clip(u + self.offsets, problem.input_lower, problem.input_upper)
        states = np.tile(s, (len(candidates), 1))
        J = (1.0 - self.beta) * self.mpc.values(self.theta, states, candidates)[0]
        if self.beta:
            J = J + self.beta * checked("Q", self.Q(states, candidates), (len(candidates),))
        return candidates[np.argmin(J)]
