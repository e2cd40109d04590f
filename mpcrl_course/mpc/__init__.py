"""Optimisation: parameters, optimal-control problems, V/Q/policy, solvers, sensitivities."""

from mpcrl_course.mpc.door import MPC
from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.lqr import LQR, lqr, riccati, riccati_iteration
from mpcrl_course.mpc.parameters import Parameters
from mpcrl_course.mpc.problem import OptimalControlProblem, Rows
from mpcrl_course.mpc.real_time import shift
from mpcrl_course.mpc.solution import Question, Solution

__all__ = [
    "LQR",
    "MPC",
    "OptimalControlProblem",
    "Parameters",
    "Question",
    "Rows",
    "Solution",
    "SolverError",
    "lqr",
    "riccati",
    "riccati_iteration",
    "shift",
]
