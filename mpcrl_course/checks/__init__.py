"""Exercises that check themselves: the engine, and one module per exercise (`ex06.py` holds exercise 06).

Authors start at `mpcrl_course.checks.engine`, whose docstring shows a whole exercise. The files behind it, in
reading order: `items` (the five kinds of item), `values` (any answer made plain), `compare` (when two agree),
`diagnose` and `suppose` (where and how they do not), `watch` (calling an answer), `sandbox` (undoing what it did),
`limits` (stopping code that hangs), `progress` (the one file results are kept in), `report` (what a student sees),
`sound` (the test every item must pass), `mutants` (does every changed reference die?), `build` (an exercise is made
from its solution).
"""
