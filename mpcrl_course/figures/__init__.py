"""Pictures, diagrams, tables and predictions, each with its words; the map of the course; releases not tested."""

from mpcrl_course.figures.course_map import course_map
from mpcrl_course.figures.diagrams import (
    Arrow,
    Box,
    actor_critic_boxes,
    closed_loop_boxes,
    course_boxes,
    diagram,
    message_boxes,
)
from mpcrl_course.figures.predictions import predict, reveal, tally
from mpcrl_course.figures.releases import untested_releases
from mpcrl_course.figures.style import COLOURS, STYLE, band, show, use_style
from mpcrl_course.figures.tables import Pseudocode, Table

__all__ = [
    "COLOURS",
    "STYLE",
    "Arrow",
    "Box",
    "Pseudocode",
    "Table",
    "actor_critic_boxes",
    "band",
    "closed_loop_boxes",
    "course_boxes",
    "course_map",
    "diagram",
    "message_boxes",
    "predict",
    "reveal",
    "show",
    "tally",
    "untested_releases",
    "use_style",
]
