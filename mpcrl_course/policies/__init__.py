"""Ways to act: one file per box of the taxonomy."""

from mpcrl_course.policies import active_set, back_off, comparison, guesses, hierarchical, horizon, on_demand, safe_set
from mpcrl_course.policies.active_set import PredictedSet
from mpcrl_course.policies.as_environment import WithMPC, asked_speed, speed_ahead
from mpcrl_course.policies.back_off import (
    cartpole_back_off,
    chance_back_off,
    linear_back_off,
    robust_back_off,
    speed_deviation,
)
from mpcrl_course.policies.communication import Alone, mean_push, true_theta
from mpcrl_course.policies.comparison import CommonGuess
from mpcrl_course.policies.energy import energy_rule
from mpcrl_course.policies.expert import Memoryless, pendulum_expert
from mpcrl_course.policies.filters import Filter, barrier_filter, barrier_torques, predictive_filter
from mpcrl_course.policies.guesses import Nearest, Predicted, compare_guesses
from mpcrl_course.policies.hierarchical import Hierarchical, TunedCartPole
from mpcrl_course.policies.horizon import VaryingHorizon
from mpcrl_course.policies.house import Programmed, Switched, Thermostat, by_tariff, proportional
from mpcrl_course.policies.identifying import IdentifyingPolicy
from mpcrl_course.policies.integrated import ResidualModel, integrated_mpc
from mpcrl_course.policies.network_scenario import NetworkScenarios
from mpcrl_course.policies.observer import AngleOnly, kalman_gain
from mpcrl_course.policies.on_demand import OnDemand, departed
from mpcrl_course.policies.parallel import BlendedValue, Parallel, missing_force
from mpcrl_course.policies.parameterised import linear_theta, tuned_theta
from mpcrl_course.policies.race_filter import RaceSafety, race_barrier
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.policies.reference_generator import ReferenceGenerator, reference_at, tracker
from mpcrl_course.policies.safe_set import Clip, robust_invariant_set
from mpcrl_course.policies.sampling import MPPI, mppi_weights
from mpcrl_course.policies.scenario import Scenarios, mass_scenarios, push_scenarios

__all__ = [
    "MPPI",
    "Alone",
    "Memoryless",
    "pendulum_expert",
    "AngleOnly",
    "BlendedValue",
    "Clip",
    "CommonGuess",
    "Filter",
    "Hierarchical",
    "IdentifyingPolicy",
    "Nearest",
    "NetworkScenarios",
    "OnDemand",
    "Parallel",
    "Predicted",
    "PredictedSet",
    "RaceSafety",
    "Receding",
    "Programmed",
    "ReferenceGenerator",
    "ResidualModel",
    "Scenarios",
    "Switched",
    "Thermostat",
    "TunedCartPole",
    "VaryingHorizon",
    "active_set",
    "WithMPC",
    "asked_speed",
    "back_off",
    "barrier_filter",
    "barrier_torques",
    "by_tariff",
    "cartpole_back_off",
    "chance_back_off",
    "compare_guesses",
    "comparison",
    "departed",
    "energy_rule",
    "first_plan",
    "guesses",
    "hierarchical",
    "horizon",
    "integrated_mpc",
    "kalman_gain",
    "linear_back_off",
    "linear_theta",
    "mass_scenarios",
    "mean_push",
    "missing_force",
    "mppi_weights",
    "on_demand",
    "predictive_filter",
    "proportional",
    "push_scenarios",
    "race_barrier",
    "reference_at",
    "robust_back_off",
    "robust_invariant_set",
    "safe_set",
    "speed_ahead",
    "speed_deviation",
    "tracker",
    "true_theta",
    "tuned_theta",
]
