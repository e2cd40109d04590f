"""What every exercise must satisfy: sound items, and notebooks that are in step and clean."""

import re

import pytest

from mpcrl_course.checks.build import out_of_step
from mpcrl_course.checks.engine import assert_item_sound
from tests.notebooks import EXERCISES, FOLDERS, ROOT, cells, exercise, notebooks, texts

ITEMS = {f"{name[:2]}-{n}-{item.kind}": item for name in EXERCISES for n, item in exercise(name).items.items()}


#: The readers' seed and others; a choice is judged without one, and what is measured has tests of its own with more.
SEEDS = {"fill": (0, 1, 20_000), "debug": (0, 1, 20_000), "design": (0, 20_000), "predict": (0,), "explain": (0,)}


@pytest.mark.parametrize(
    "item, seed", [pytest.param(item, s, id=f"{name}-{s}") for name, item in ITEMS.items() for s in SEEDS[item.kind]]
)
def test_items_are_sound(item, seed):
    assert_item_sound(item, seed)


def test_every_module_of_checks_has_its_notebook():
    modules = sorted(path.stem for path in (ROOT / "mpcrl_course" / "checks").glob("ex[0-9][0-9].py"))
    assert modules == [f"ex{name[:2]}" for name in EXERCISES]


def test_exercises_are_in_step_with_their_solutions():
    assert out_of_step(ROOT) == [], "run `mpcrl-course build-exercises`"


@pytest.mark.parametrize("name", EXERCISES)
def test_the_choices_of_the_notebook_are_those_of_the_check(name):
    listed = [re.findall(r"^- \*\*([a-z])\*\* ", text, re.MULTILINE) for text in texts(name).values()]
    choices = [list(item.choices) for item in exercise(name).items.values() if item.kind == "explain"]
    assert [keys for keys in listed if keys] == choices


@pytest.mark.parametrize("notebook", notebooks(*FOLDERS), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_notebooks_are_committed_without_outputs(notebook):
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    ids = [cell["id"] for cell in cells(notebook)]
    assert len(set(ids)) == len(ids) and all(re.fullmatch("[A-Za-z0-9-]+", i) for i in ids)
    assert notebook.parent.name == "solutions" or not any("SOLUTION" in str(cell) for cell in code)
