"""Optimisation: parameters, optimal-control problems, V/Q/policy, solvers, sensitivities."""

from mpcrl_course.mpc.door import MPC
from mpcrl_course.mpc.parameters import Parameters
from mpcrl_course.mpc.problem import OptimalControlProblem, Rows
from mpcrl_course.mpc.real_time import shift
from mpcrl_course.mpc.solution import Solution, SolverError

__all__ = ["MPC", "OptimalControlProblem", "Parameters", "Rows", "Solution", "SolverError", "shift"]
