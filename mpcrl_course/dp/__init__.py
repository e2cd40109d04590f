"""Dynamic programming: exact answers where the state is small enough to be put on a grid; the pendulum solved so."""

from mpcrl_course.dp.finite import FiniteMDP, bellman, policy_iteration, policy_value, sampler, value_iteration
from mpcrl_course.dp.grid import Grid
from mpcrl_course.dp.pendulum import (
    FIXED_STARTS,
    evaluate,
    greedy_policy,
    pendulum_grid,
    pendulum_mdp,
    pendulum_value_iteration,
    simulate,
    table_policy,
)

__all__ = [
    "FIXED_STARTS",
    "FiniteMDP",
    "Grid",
    "bellman",
    "evaluate",
    "greedy_policy",
    "pendulum_grid",
    "pendulum_mdp",
    "pendulum_value_iteration",
    "policy_iteration",
    "policy_value",
    "sampler",
    "simulate",
    "table_policy",
    "value_iteration",
]
