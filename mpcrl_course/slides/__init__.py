"""Lectures as slides: `mpcrl-course slides LECTURE`."""

from mpcrl_course.slides.deck import Deck, deck, role_of

__all__ = ["Deck", "deck", "role_of"]
