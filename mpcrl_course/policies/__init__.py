"""Ways to act: one file per box of the taxonomy."""

from mpcrl_course.policies import back_off
from mpcrl_course.policies.back_off import (
    cartpole_back_off,
    chance_back_off,
    linear_back_off,
    robust_back_off,
    speed_deviation,
)
from mpcrl_course.policies.energy import energy_rule
from mpcrl_course.policies.filters import Filter, barrier_filter, barrier_torques, predictive_filter
from mpcrl_course.policies.identifying import IdentifyingPolicy
from mpcrl_course.policies.network_scenario import NetworkScenarios
from mpcrl_course.policies.observer import AngleOnly, kalman_gain
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.policies.sampling import MPPI, mppi_weights
from mpcrl_course.policies.scenario import Scenarios, mass_scenarios

__all__ = [
    "MPPI",
    "AngleOnly",
    "Filter",
    "IdentifyingPolicy",
    "NetworkScenarios",
    "Receding",
    "Scenarios",
    "back_off",
    "barrier_filter",
    "barrier_torques",
    "cartpole_back_off",
    "chance_back_off",
    "energy_rule",
    "first_plan",
    "kalman_gain",
    "linear_back_off",
    "mass_scenarios",
    "mppi_weights",
    "predictive_filter",
    "robust_back_off",
    "speed_deviation",
]
