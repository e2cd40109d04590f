"""Every notebook as nbval has run it: no error, described pictures; full marks for solutions, none for blanks."""

import os
import re
from pathlib import Path

import pytest

from course import is_ci
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RIGHT
from tests.notebooks import EXERCISES, FOLDERS, ROOT, exercise, notebooks
from tests.records.record import make, read


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return `read` for the record of this test run, or of a run of the one notebook if there is no test run."""
    told = os.environ.get("MPCRL_COURSE_RECORD")
    folder = Path(told) if told else tmp_path_factory.mktemp("record")

    def recorded(notebook):
        if not told and not (folder / notebook.parent.name / notebook.name).exists():
            assert not is_ci(os.environ), "on CI the notebooks are run before: MPCRL_COURSE_RECORD names the record"
            make(folder, notebook)
        return read(folder, notebook)

    return recorded


@pytest.mark.parametrize("notebook", notebooks(*FOLDERS), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_cell_ran_and_every_picture_is_described(recorded, notebook):
    for cell in recorded(notebook).cells:
        source = "".join(cell["source"])
        assert cell["execution_count"], f"has not run:\n{source}"
        assert [output for output in cell["outputs"] if output["output_type"] == "error"] == []
        assert "Traceback (most recent call last)" not in words(cell)
        pictures = re.findall("<img[^>]*>", "".join(kinds(cell, "text/html")))
        assert all(re.search(r'\balt="[^"]*\w', picture) for picture in pictures), f"no description:\n{source}"
        assert not any(kind.startswith("image/") for output in cell["outputs"] for kind in output.get("data", ()))
        waits = notebook.parent.name == "exercises" and "check.stands_in(" in source  # for the reader's own answer
        assert pictures or waits or not re.search(r"^\s*show\(", source, re.MULTILINE), f"no picture:\n{source}"


def test_the_start_page_says_that_everything_works(recorded):
    page = recorded(ROOT / "lectures" / "00_start.ipynb")
    assert "Everything works." in "\n".join(map(words, page.cells))


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_scores_full_marks(recorded, name):
    items = exercise(name).items
    assert last_verdicts(recorded(ROOT / "solutions" / f"{name}.ipynb"), items) == [RIGHT] * len(items)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_blank_exercise_hands_out_references_and_shows_none(recorded, name):
    items, record = exercise(name).items, recorded(ROOT / "exercises" / f"{name}.ipynb")
    assert last_verdicts(record, items) == [NOT_ATTEMPTED] * len(items)
    for number, item in items.items():
        (cell,) = (cell for cell in record.cells if f"check({number}, " in "".join(cell["source"]))
        assert (f"use the course's reference for item {number}" in words(cell)) == item.hands_out_reference
        if item.kind == "predict" and not item.choices:  # a number
            said = {str(item.reference), f"{item.reference:.4g}"}
            assert said.isdisjoint(re.findall(r"\d[\d.e+]*\d", " ".join(map(words, record.cells))))


@pytest.mark.parametrize("name", EXERCISES)
def test_the_blank_exercise_shows_nothing_that_the_reference_computes(recorded, name):
    """No number, and no picture, comes from a cell that uses what `check` handed out."""
    handed_out: set[str] = set()
    for cell in recorded(ROOT / "exercises" / f"{name}.ipynb").cells:
        source = "".join(cell["source"])
        used = handed_out & set(re.findall(r"\w+", source))
        checks = re.findall(r"^(\w+) = check\((\d+),", source, re.MULTILINE)
        if used and not checks and "check.stands_in(" in source:  # the code as given, say, may be shown
            assert not re.search("repaired|with your", words(cell)), source
        elif used and not checks:
            assert not re.search(r"\d", words(cell)) and not kinds(cell, "text/html"), f"uses {used}:\n{source}"
        handed_out |= {answer for answer, _ in checks}
    assert handed_out


def last_verdicts(record, items):
    return [record.verdicts[str(number)]["last"] for number in items]


def kinds(cell, kind):
    """Return the outputs of one kind, as texts."""
    return ["".join(output["data"][kind]) for output in cell["outputs"] if kind in output.get("data", ())]


def words(cell):
    """Return what the outputs of a cell say."""
    printed = ["".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream"]
    return "\n".join(printed + kinds(cell, "text/plain"))
