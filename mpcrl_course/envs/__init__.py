"""Plants: one a file, with the Gymnasium interface and the model as CasADi."""

from mpcrl_course.envs.linear import LinearPlant

__all__ = ["LinearPlant"]
