"""NAME: a cart on top of a hill, from which it rolls down if nobody pushes.

Try it with `mpcrl-course try-plant FILE`; in a notebook, `from mpcrl_course.bring import report; report("FILE")`.
"""

import casadi as ca  # write ca.sin, ca.exp, ca.sqrt, ca.tanh: functions of symbols, not those of math or NumPy

DT = 0.1  # s, a step
set_point = [0.0, 0.0]  # position in m and speed in m/s; some input must be able to hold it
limits = -2.0, 2.0  # lowest and highest input, a force in N
starts = [-1.0, -0.5], [1.0, 0.5]  # lowest and highest states at the start of a run
noise = [0.0, 0.02]  # standard deviation of what is added to the state in every step


def dynamics(x, u):
    """Return the next state, a step after the state x with the input u."""
    position, speed, force = x[0], x[1], u[0]
    acceleration = force + ca.sin(position) - 0.2 * speed
    return position + DT * speed, speed + DT * acceleration


def cost(x, u):
    """Return what a step costs in the state x with the input u: one number, least at the set point."""
    return x[0] ** 2 + 0.1 * x[1] ** 2 + 0.01 * u[0] ** 2
