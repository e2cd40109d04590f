"""Dynamic programming: exact answers where the state is small enough to be put on a grid."""

from mpcrl_course.dp.finite import FiniteMDP, bellman, policy_iteration, policy_value, sampler, value_iteration
from mpcrl_course.dp.grid import Grid

__all__ = ["FiniteMDP", "Grid", "bellman", "policy_iteration", "policy_value", "sampler", "value_iteration"]
