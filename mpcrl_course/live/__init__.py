"""Live pictures: a closed loop, a scene that draws it, and a player with the controls, apart from each other."""

from mpcrl_course.live.admm import admm_live, agreement
from mpcrl_course.live.architectures import architectures_live
from mpcrl_course.live.canvas import Canvas
from mpcrl_course.live.cartpole import cartpole_live
from mpcrl_course.live.clock import Clock
from mpcrl_course.live.critic import critic_live
from mpcrl_course.live.ddpg import ddpg_live
from mpcrl_course.live.experiment import Experiment, experiment_panel
from mpcrl_course.live.expert import expert_live
from mpcrl_course.live.home import home_live
from mpcrl_course.live.linear import LinearLoop, LinearScene, linear_live
from mpcrl_course.live.pendulum import pendulum_live
from mpcrl_course.live.player import Player
from mpcrl_course.live.population import population_live
from mpcrl_course.live.power import Areas, power_live
from mpcrl_course.live.race import race_live
from mpcrl_course.live.second_order import second_order_live
from mpcrl_course.live.tuner import tuner_live
from mpcrl_course.live.versus import versus_live

__all__ = [
    "Areas",
    "Canvas",
    "Clock",
    "Experiment",
    "LinearLoop",
    "LinearScene",
    "Player",
    "admm_live",
    "agreement",
    "architectures_live",
    "cartpole_live",
    "critic_live",
    "ddpg_live",
    "experiment_panel",
    "expert_live",
    "home_live",
    "linear_live",
    "pendulum_live",
    "population_live",
    "power_live",
    "race_live",
    "second_order_live",
    "tuner_live",
    "versus_live",
]
