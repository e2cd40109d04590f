"""Identification: the numbers of a model by regression, from single steps of the plant.

    min over m and friction of  sum_i |v_i+ - v(x_i, u_i)|^2 + |w_i+ - w(x_i, u_i)|^2,    (v, w) the model's next ones

One fit of two numbers. They are the best of a model that has no dry friction: what it has of viscous friction stands
in for it, as far as it can.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from mpcrl_course.envs.cartpole import MODEL, CartPoleParameters, dynamics
from mpcrl_course.validation import instance, reals


def identify(x, u, ahead, model: CartPoleParameters = MODEL) -> CartPoleParameters:
    """Return the model with the mass (0.05 to 2 kg) and the viscous friction (0 to 20 N s/m) of least squares.

    Parameters
    ----------
    x : array_like, shape (n, 4)
        States.
    u : array_like, shape (n, 1)
        Forces.
    ahead : array_like, shape (n, 4)
        The plant's states after these.
    model : CartPoleParameters
        Its other numbers stay; the search begins at its mass and friction.
    """
    x, u, ahead = reals(x, "x", (None, 4)), reals(u, "u", (None, 1)), reals(ahead, "ahead", (None, 4))
    if not len(x) == len(u) == len(ahead) > 0:
        raise ValueError(f"x, u and ahead are of the same steps, but there are {len(x)}, {len(u)} and {len(ahead)}")
    instance(model, CartPoleParameters, "model")
    low, high = np.array([0.05, 0.0]), np.array([2.0, 20.0])

    def errors(phi):
        mass, friction = phi
        return (dynamics(x, u, replace(model, mass=mass, friction=friction)) - ahead)[:, 2:].ravel()

    begin = np.clip([model.mass, model.friction], low, high)
    mass, friction = least_squares(errors, begin, bounds=(low, high)).x.tolist()
    return replace(model, mass=mass, friction=friction)
