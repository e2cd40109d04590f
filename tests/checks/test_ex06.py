"""Exercise 06: every item sound, notebooks in step, the blank one runs, the solved one scores 100 %."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from mpcrl_course.checks import ex06
from mpcrl_course.checks.engine import RIGHT, WRONG, assert_item_sound
from mpcrl_course.exercises import exercise_text

ROOT = Path(__file__).resolve().parents[2]
NAME = "06_mpc_as_value.ipynb"
ITEMS = ex06.exercise.items.values()


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item.number}-{item.kind}")
@pytest.mark.parametrize("seed", [0, 1, 20_000])
def test_items_are_sound(item, seed):
    assert_item_sound(item, seed)
