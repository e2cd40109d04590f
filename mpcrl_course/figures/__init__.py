"""Pictures: one style for all, each with a description in words; the map of the course; releases not tested."""

from mpcrl_course.figures.course_map import course_map
from mpcrl_course.figures.releases import untested_releases
from mpcrl_course.figures.style import COLOURS, STYLE, band, show, use_style

__all__ = ["COLOURS", "STYLE", "band", "course_map", "show", "untested_releases", "use_style"]
