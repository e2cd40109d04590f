"""A mass in a fluid, limited by its drag: it shall stop at a place, from up to 5 m away.

p+ = p + DT v,      v+ = v + DT (u - DRAG v |v|) / MASS          (a smooth |v|)
"""

import casadi as ca

DT, MASS, DRAG = 0.1, 1.0, 0.8  # s, kg, kg/m
set_point = [0.0, 0.0]  # m, m/s
limits = -1.0, 1.0  # N: the mass gets no faster than about 1.1 m/s
starts = [-5.0, -0.5], [5.0, 0.5]
noise = [0.0, 0.02]


def dynamics(x, u):
    """Return the next position and velocity, after x, for the force u."""
    drag = DRAG * x[1] * ca.sqrt(x[1] ** 2 + 1e-4)
    return x[0] + DT * x[1], x[1] + DT * (u[0] - drag) / MASS


def cost(x, u):
    """Return what the state x and the force u cost."""
    return x[0] ** 2 + 0.1 * x[1] ** 2 + 0.05 * u[0] ** 2
