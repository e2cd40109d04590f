"""What every exercise must satisfy: sound items, and notebooks that are in step and clean."""

import re

import pytest

from mpcrl_course.checks.build import out_of_step
from mpcrl_course.checks.engine import RAISED, assert_item_sound
from tests.notebooks import EXERCISES, FOLDERS, ROOT, cells, exercise, notebooks, texts

ITEMS = {f"{name[:2]}-{n}-{item.kind}": item for name in EXERCISES for n, item in exercise(name).items.items()}


#: The readers' seed and others; a choice is judged without one, and what is measured has tests of its own with more.
SEEDS = {"fill": (0, 1, 20_000), "debug": (0, 1, 20_000), "design": (0, 20_000), "predict": (0,), "explain": (0,)}


@pytest.mark.parametrize(
    "item, seed", [pytest.param(item, s, id=f"{name}-{s}") for name, item in ITEMS.items() for s in SEEDS[item.kind]]
)
def test_items_are_sound(item, seed):
    assert_item_sound(item, seed)


WRITTEN = {name: item for name, item in ITEMS.items() if item.kind in ("fill", "debug")}


@pytest.mark.parametrize("item", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("error", [TypeError, RuntimeError, ValueError])
def test_an_error_of_the_answer_is_no_known_mistake(item, error):
    def stops(*args, **kwargs):
        raise error("matmul: the shapes do not fit")

    result = item.judge(stops)
    assert (result.verdict, result.mistake) == (RAISED, None)


def test_every_module_of_checks_has_its_notebook():
    modules = sorted(path.stem for path in (ROOT / "mpcrl_course" / "checks").glob("ex[0-9][0-9].py"))
    assert modules == [f"ex{name[:2]}" for name in EXERCISES]


def test_exercises_are_in_step_with_their_solutions():
    assert out_of_step(ROOT) == [], "run `mpcrl-course build-exercises`"


@pytest.mark.parametrize("name", EXERCISES)
def test_the_claims_and_reasons_of_the_notebook_are_those_of_the_check(name):
    listed = [re.findall(r"^- \*\*([a-z]|\d+)\*\* ", text, re.MULTILINE) for text in texts(name).values()]
    items = [item for item in exercise(name).items.values() if item.kind == "explain"]
    assert [keys for keys in listed if keys] == [[*item.choices, *map(str, item.reasons)] for item in items]


@pytest.mark.parametrize("name", EXERCISES)
def test_a_number_is_asked_for_as_exactly_as_it_is_judged(name):
    predicted = [item for item in exercise(name).items.values() if item.kind == "predict" and not item.choices]
    for item in predicted:
        (text,) = [text for text in texts(name).values() if text.startswith(f"## {item.number} · Predict")]
        assert item.precision in text


def test_no_key_is_right_too_often():
    keys = [item.reference for name in EXERCISES for item in exercise(name).items.values() if item.kind == "explain"]
    assert max(map(keys.count, keys)) <= 4 and len(set(keys)) >= min(len(keys), 4)


@pytest.mark.parametrize("notebook", notebooks(*FOLDERS), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_notebooks_are_committed_without_outputs(notebook):
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    ids = [cell["id"] for cell in cells(notebook)]
    assert len(set(ids)) == len(ids) and all(re.fullmatch("[A-Za-z0-9-]+", i) for i in ids)
    assert notebook.parent.name == "solutions" or not any("SOLUTION" in str(cell) for cell in code)
