"""Two tanks: a pump fills the upper one, which runs into the lower one, whose level shall be kept.

A h1+ = A h1 + DT (u - c root(h1)),      A h2+ = A h2 + DT (c root(h1) - c root(h2))          (Torricelli)
"""

DT, AREA, OUTLET = 5.0, 0.02, 4e-4  # s; m2; m2.5/s: the flow from a level of 1 m is 4e-4 m3/s
LEVEL = 0.4  # m
FLOW = OUTLET * LEVEL / (LEVEL**2 + 1e-4) ** 0.25  # m3/s, which holds this level in both
set_point = [LEVEL, LEVEL]
limits = 0.0, 6e-4  # m3/s
starts = [0.1, 0.1], [0.7, 0.7]
noise = 0.002


def root(level):
    """Return a smooth square root of a `level`, which has a slope at 0 and is odd."""
    return level / (level**2 + 1e-4) ** 0.25


def dynamics(x, u):
    """Return the next levels, after x, for the pump's flow u."""
    between = OUTLET * root(x[0])
    return x[0] + DT / AREA * (u[0] - between), x[1] + DT / AREA * (between - OUTLET * root(x[1]))


def cost(x, u):
    """Return what levels x and flow u cost: mostly the lower level's distance."""
    return 0.1 * (x[0] - LEVEL) ** 2 + (x[1] - LEVEL) ** 2 + 0.01 * ((u[0] - FLOW) / OUTLET) ** 2
