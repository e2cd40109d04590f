"""Many MPCs: agents on a graph, their V and Q by consensus ADMM or from a centre, and averages without a centre."""

from mpcrl_course.network.admm import ADMM
from mpcrl_course.network.agent import Agent, LocalProblem
from mpcrl_course.network.central import Central
from mpcrl_course.network.consensus import Average, average, laplacian, mixing_matrix, rate
from mpcrl_course.network.door import NetworkController
from mpcrl_course.network.graph import line, neighbours_of, ring, star
from mpcrl_course.network.problem import Network
from mpcrl_course.network.solution import AgentError, Duals, History, NetworkSolution, RelativeResidual

__all__ = [
    "ADMM",
    "Agent",
    "AgentError",
    "Average",
    "Central",
    "Duals",
    "History",
    "LocalProblem",
    "Network",
    "NetworkController",
    "NetworkSolution",
    "RelativeResidual",
    "average",
    "laplacian",
    "line",
    "mixing_matrix",
    "neighbours_of",
    "rate",
    "ring",
    "star",
]
