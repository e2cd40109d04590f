"""Parameterised: theta is constant, and is learned.

    u = u_0 of   min_z L(z; theta)   s.t.  g(z; s, theta) >= 0

What is learned is an MPC: each decision is the minimiser of one problem, constraints are kept as the problem keeps
them, and no network is solved for. Six numbers z of the cart-pole's MPC are:

    mass e^z_0 times the nominal one,  friction 2 z_1^+ N s/m,  weights on p^2, v^2, w^2, F^2 e^z_2 … e^z_5 times these

Mass and friction can be identified (`learners.identify`), weights cannot: they are learned by trial (`CrossEntropy`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpcrl_course.envs.cartpole import MODEL, WEIGHTS, CartPoleParameters
from mpcrl_course.mpc import MPC
from mpcrl_course.problems.cartpole import with_model
from mpcrl_course.validation import flag, instance, reals

#: Entries of z in `tuned_theta`, and how far they reach.
N_THETA, REACH = 6, np.array([2.0, 5.0, 3.0, 3.0, 3.0, 3.0])


def tuned_theta(mpc: MPC, z, terminal: bool = False, model: CartPoleParameters = MODEL) -> np.ndarray:
    """Return theta of the cart-pole's MPC for the six numbers z; z = 0 is the plain one.

    Parameters
    ----------
    mpc : MPC
        Of `cartpole_mpc`.
    z : array_like, shape (6,)
        Clipped to ± (2, 5, 3, 3, 3, 3).
    terminal : bool
        Whether the terminal cost follows model and weights: see `with_model`.
    model : CartPoleParameters
        What z = 0 stands for.
    """
    z, parameters = np.clip(reals(z, "z", (N_THETA,)), -REACH, REACH), instance(mpc, MPC, "mpc").parameters
    weights = WEIGHTS * np.exp([z[2], 0.0, *z[3:]])
    found = replace(instance(model, CartPoleParameters, "model"), mass=model.mass * float(np.exp(z[0])),
                    friction=model.friction + 2.0 * max(0.0, float(z[1])))  # fmt: skip
    return with_model(mpc, parameters.pack(weights=weights), found, flag(terminal, "terminal"))


def coordinates(model: CartPoleParameters) -> np.ndarray:
    """Return z (6,) of an identified model, beside the nominal weights: where a search by trial may begin."""
    instance(model, CartPoleParameters, "model")
    return np.array([np.log(model.mass / MODEL.mass), model.friction / 2.0, 0.0, 0.0, 0.0, 0.0])
