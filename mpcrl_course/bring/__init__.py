"""Bring your own: a plant of the reader's, from twenty lines, on which the course's ways are compared."""

from mpcrl_course.bring.files import EXAMPLES, find, new_plant
from mpcrl_course.bring.learner import interact
from mpcrl_course.bring.plant import InUnits, OwnPlant, OwnPlantEnv, OwnPlantError, read
from mpcrl_course.bring.report import Report, own_mpc, report

__all__ = [
    "EXAMPLES",
    "InUnits",
    "OwnPlant",
    "OwnPlantEnv",
    "OwnPlantError",
    "Report",
    "find",
    "interact",
    "new_plant",
    "own_mpc",
    "read",
    "report",
]
