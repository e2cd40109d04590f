"""Parameterised: theta is constant, and is learned.

    u = u_0 of   min_z L(z; theta)   s.t.  g(z; s, theta) >= 0

What is learned is an MPC: each decision is the minimiser of one problem, constraints are kept as the problem keeps
them, and no network is solved for. Six numbers z of the cart-pole's MPC are:

    mass e^z_0 times the nominal one,  friction 2 z_1^+ N s/m,  weights on p^2, v^2, w^2, F^2 e^z_2 … e^z_5 times these

Five numbers z of the linear plant's MPC are (x_lb1, b_1, b_2, A_12, B_2) themselves: `linear_theta`.

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


#: The five numbers of `linear_theta` in the initial MPC, and the box in which they are searched for.
LINEAR_FIRST = np.array([0.0, 0.0, 0.0, 0.25, 0.25])
LINEAR_LOWER, LINEAR_UPPER = np.array([-0.1, -0.15, -0.15, 0.1, 0.1]), np.array([0.3, 0.15, 0.15, 0.5, 0.4])


def linear_theta(mpc: MPC, z) -> np.ndarray:
    """Return theta of the mpc, one of `linear_mpc`, for five numbers z (5,) = (x_lb1, b_1, b_2, A_12, B_2)."""
    z = reals(z, "z", (LINEAR_FIRST.size,))
    p = instance(mpc, MPC, "mpc").parameters.unpack(mpc.parameters.initial())
    A = np.array([[p.A[0, 0], z[3]], p.A[1]])
    return mpc.parameters.pack(x_lb=[z[0], p.x_lb[1]], b=z[1:3], A=A, B=[float(np.ravel(p.B)[0]), z[4]])
