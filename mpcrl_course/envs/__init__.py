"""Plants: one a file, with the Gymnasium interface and the model as CasADi.

What several plants have under one name (`dynamics`, `stage_cost`, `Noise`, `DT`, …) is in the plant's module:
`from mpcrl_course.envs import pendulum`, then `pendulum.dynamics`.
"""

from mpcrl_course.envs import around, cartpole, home, linear, network, pendulum, power, race, random_pendulum
from mpcrl_course.envs.around import Filtered, Scaled
from mpcrl_course.envs.cartpole import CartPole, CartPoleParameters
from mpcrl_course.envs.home import Home, HomeParameters
from mpcrl_course.envs.linear import GustyParameters, GustyPlant, LinearEpisodes, LinearParameters, LinearPlant
from mpcrl_course.envs.network import LinearNetwork, NetworkParameters
from mpcrl_course.envs.pendulum import Pendulum, PendulumParameters, wrap
from mpcrl_course.envs.power import PowerParameters, PowerSystem
from mpcrl_course.envs.race import Race, RaceParameters
from mpcrl_course.envs.random_pendulum import MassEstimate, RandomMass

__all__ = [
    "CartPole",
    "CartPoleParameters",
    "LinearEpisodes",
    "GustyParameters",
    "GustyPlant",
    "Home",
    "HomeParameters",
    "Filtered",
    "LinearNetwork",
    "LinearParameters",
    "LinearPlant",
    "MassEstimate",
    "NetworkParameters",
    "Pendulum",
    "PendulumParameters",
    "PowerParameters",
    "PowerSystem",
    "Race",
    "RaceParameters",
    "RandomMass",
    "Scaled",
    "around",
    "cartpole",
    "home",
    "linear",
    "network",
    "pendulum",
    "power",
    "race",
    "random_pendulum",
    "wrap",
]
