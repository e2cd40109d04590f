"""What a controller of the pendulum does when only the angle is measured: an observer, or differences.

An observer predicts with a model and corrects with what was measured, the state x = (q, v) with a constant gain G,

    x-  = f(x, u),    x = x- + G (y - q-),    G = P C' (C P C' + Y)^-1,    C = [1 0],

P the covariance of the prediction from the Riccati equation of the *dual* problem (A', C', W, Y): estimation is
control run backwards in time. Whoever has no model divides the change of the angle by the time.

Source: Rawlings, Mayne & Diehl, Model Predictive Control, 2017, chapter 1.4.
"""

from __future__ import annotations

from collections.abc import Callable

import casadi as ca
import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.envs.pendulum import DT, PendulumParameters, dynamics, wrap
from mpcrl_course.mpc import riccati
from mpcrl_course.own import inputs
from mpcrl_course.policies.filters import Filter
from mpcrl_course.validation import instance, real

NOMINAL = PendulumParameters()


def kalman_gain(model: PendulumParameters, torque_noise: float = 0.3, angle_noise: float = 0.02) -> np.ndarray:
    """Return the constant gain G, shape (2,), for the pendulum linearised at the upright.

    Parameters
    ----------
    model : PendulumParameters
    torque_noise : float
        Standard deviation of a random torque, N m: how little the prediction is believed.
    angle_noise : float
        Standard deviation of the measured angle, rad: how little the measurement is believed.
    """
    instance(model, PendulumParameters, "model")
    torque_noise = real(torque_noise, "torque_noise", 0.0, strict=True)
    angle_noise = real(angle_noise, "angle_noise", 0.0, strict=True)
    if max(torque_noise, angle_noise) > 1e75:
        raise ValueError(f"torque_noise or angle_noise is too large: {torque_noise} N m and {angle_noise} rad")
    x = ca.SX.sym("x", 2)
    step = dynamics(x, ca.SX.zeros(1), model)
    A = ca.Function("slope", [x], [ca.densify(ca.jacobian(step, x))])(np.zeros(2)).full()
    push = DT * 3.0 * torque_noise / (model.mass * model.length**2) * np.array([DT, 1.0])  # of a torque on (q+, v+)
    C, Y = np.array([[1.0, 0.0]]), np.array([[angle_noise**2]])
    P = riccati(A.T, C.T, np.outer(push, push), Y)[0]
    return (P @ C.T / (C @ P @ C.T + Y))[:, 0]


class AngleOnly(Filter):
    """A controller that is shown the angle only, as a controller of n pendulums with a memory.

    Parameters
    ----------
    controller : callable
        From estimated states (n, 2) to torques (n, 1) or (n,).
    model : PendulumParameters or None
        Model of the observer; None for differences of the angle.

    Notes
    -----
    It takes measured states (n, 2) like every controller, and does not look at their velocities. At the first call the
    velocity is taken for zero.
    """

    def __init__(self, controller: Callable, model: PendulumParameters | None = NOMINAL):
        super().__init__(controller, lambda y, u: u)
        self.model = model
        self.gain = None if model is None else kalman_gain(model)
        self.reset()

    def reset(self) -> None:
        """Forget the estimate, and what the controller remembers."""
        self.x: np.ndarray | None = None
        self._u = np.zeros(0)
        super().reset()

    def __call__(self, x) -> np.ndarray:
        """Return torques (n, 1) for measured states x (n, 2)."""
        q = measured(x, 2)[:, 0]
        if self.x is None or len(self.x) != len(q):
            self.x = np.stack([q, np.zeros(len(q))], axis=1)
        elif self.model is None or self.gain is None:
            self.x = np.stack([q, wrap(q - self.x[:, 0]) / DT], axis=1)
        else:
            limit = self.model.max_torque
            predicted = dynamics(self.x, np.clip(self._u, -limit, limit)[:, None], self.model)
            self.x = predicted + wrap(q - predicted[:, 0])[:, None] * self.gain
        self._u = inputs(self.controller(self.x), len(q), 1)[:, 0].copy()
        return self._u[:, None]
