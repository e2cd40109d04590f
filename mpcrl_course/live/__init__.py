"""Live pictures: a closed loop, a scene that draws it, and a player with the controls, apart from each other."""

from mpcrl_course.live.canvas import Canvas
from mpcrl_course.live.clock import Clock
from mpcrl_course.live.linear import LinearLoop, LinearScene, linear_live
from mpcrl_course.live.player import Player

__all__ = ["Canvas", "Clock", "LinearLoop", "LinearScene", "Player", "linear_live"]
