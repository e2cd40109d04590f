"""The optimal-control problem of each plant, a file named as its plant.

What several problems have under one name (`parameters`, `problem`, `with_model`, `guesses`) is in the plant's module.
"""

from mpcrl_course.problems import cartpole, home, home_program, linear, network, pendulum, power, quadratic, race
from mpcrl_course.problems.cartpole import cartpole_mpc
from mpcrl_course.problems.home import home_mpc
from mpcrl_course.problems.home_program import HomeProgram
from mpcrl_course.problems.linear import layer_mpc, linear_mpc, terminal_mpc
from mpcrl_course.problems.network import agent, network_mpc
from mpcrl_course.problems.pendulum import pendulum_mpc
from mpcrl_course.problems.power import joint_mpc, power_mpc
from mpcrl_course.problems.quadratic import QuadraticMPC
from mpcrl_course.problems.race import race_mpc, safety_mpc
from mpcrl_course.problems.team import LinearTeam

__all__ = [
    "HomeProgram",
    "LinearTeam",
    "QuadraticMPC",
    "agent",
    "cartpole",
    "cartpole_mpc",
    "home",
    "home_mpc",
    "home_program",
    "joint_mpc",
    "layer_mpc",
    "linear",
    "linear_mpc",
    "network",
    "network_mpc",
    "pendulum",
    "pendulum_mpc",
    "power",
    "power_mpc",
    "quadratic",
    "terminal_mpc",
    "race",
    "race_mpc",
    "safety_mpc",
]
