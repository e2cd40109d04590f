"""Ways to act: one file per box of the taxonomy."""

from mpcrl_course.policies import back_off
from mpcrl_course.policies.back_off import linear_back_off
from mpcrl_course.policies.energy import energy_rule
from mpcrl_course.policies.filters import barrier_torques
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.policies.scenario import Scenarios

__all__ = ["Receding", "Scenarios", "back_off", "barrier_torques", "energy_rule", "first_plan", "linear_back_off"]
