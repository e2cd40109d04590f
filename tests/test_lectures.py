"""The table of the lectures, and all that must agree with it: notebooks, checks, the map, three READMEs, benchmarks."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from mpcrl_course.figures import course_map
from mpcrl_course.lectures import LECTURES, START
from tests.notebooks import FOLDERS, cells, notebooks

ROOT = Path(__file__).resolve().parents[1]
THERE = [lecture for lecture in LECTURES if lecture.notebook]
WIDGETS = [name for lecture in THERE for name in lecture.live]

each_there = pytest.mark.parametrize("lecture", THERE, ids=lambda lecture: lecture.notebook)


def text(*names):
    return ROOT.joinpath(*names).read_text(encoding="utf-8")


def sources(folder, lecture):
    return ["".join(cell["source"]) for cell in json.loads(text(folder, f"{lecture.notebook}.ipynb"))["cells"]]


def test_lectures_are_numbered_and_build_on_earlier_ones():
    assert [lecture.number for lecture in LECTURES] == list(range(1, 15))
    assert all(before < lecture.number for lecture in LECTURES for before in lecture.needs)
    assert all(lecture.notebook.startswith(f"{lecture.number:02d}_") for lecture in THERE)


@pytest.mark.parametrize("folder", ["lectures", "exercises", "solutions"])
def test_the_notebooks_are_those_of_the_table(folder):
    wanted = [START] * (folder == "lectures") + [lecture.notebook for lecture in THERE]
    assert sorted(path.stem for path in (ROOT / folder).glob("[0-9][0-9]_*.ipynb")) == wanted


@each_there
def test_titles_and_checks_are_those_of_the_table(lecture):
    assert sources("lectures", lecture)[0].startswith(f"# {lecture.number:02d} · {lecture.question}\n")
    assert sources("solutions", lecture)[0].startswith(f"# Solution {lecture.number:02d}: {lecture.question}\n")
    checks = importlib.import_module(f"mpcrl_course.checks.ex{lecture.number:02d}")
    assert checks.exercise.number == lecture.number


@pytest.mark.parametrize("path", notebooks(*FOLDERS), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_import_cell_is_short_and_asks_the_rooms(path):
    """At most eight lines, in lectures with blank ones; names come from rooms, or modules that a room offers."""
    source = "".join(next(cell for cell in cells(path) if cell["cell_type"] == "code")["source"])
    lines = [line for line in source.splitlines() if line.strip() or path.parent.name == "lectures"]
    assert len(lines) <= 8 and max(map(len, lines)) <= 120 and not re.search(r";|\\$", source, re.MULTILINE)
    for node in ast.walk(ast.parse(source)):
        package, *rest = (node.module if isinstance(node, ast.ImportFrom) else "").split(".")
        if package == "mpcrl_course" and rest[1:] and rest[0] != "checks":
            assert len(rest) == 2 and rest[1] in importlib.import_module(f"mpcrl_course.{rest[0]}").__all__


@each_there
def test_the_widgets_are_those_of_the_table(lecture):
    shown = re.findall(r"(\w+)_live\(", "\n".join(sources("lectures", lecture)))
    assert tuple(dict.fromkeys(shown)) == lecture.live


def test_the_map_links_what_is_there_and_nothing_else():
    rows = course_map(ROOT / "lectures").data.splitlines()[2:]
    assert len(rows) == len(LECTURES)
    for lecture, row in zip(LECTURES, rows, strict=True):
        assert row.startswith(f"| {lecture.number:02d} |") and lecture.question in row and lecture.about in row
        assert ("in preparation" in row) == (not lecture.notebook)
        links = [f"({lecture.notebook}.ipynb)", f"(../exercises/{lecture.notebook}.ipynb)"]
        assert re.findall(r"\([^() ]*\.ipynb\)", row) == links * bool(lecture.notebook)


# ---- texts that cannot compute themselves


def test_the_readme_lists_the_lectures():
    wanted = [
        f"- {lecture.number:02d} [{lecture.question}](lectures/{lecture.notebook}.ipynb): {lecture.about}"
        for lecture in THERE
    ]
    listed = [line for line in text("README.md").splitlines() if re.match(r"- \d\d \[", line)]
    assert listed == wanted, "the list in README.md must read:\n" + "\n".join(wanted)


CONCEPTS = [line.split("|") for line in text("lectures", "README.md").splitlines() if line.count("|") == 5]


def test_the_concepts_are_of_lectures_and_files_that_are_there():
    numbers = {int(n) for _, _, lecture, exercise, _, _ in CONCEPTS for n in re.findall(r"(?<!§)\b(\d\d)\b", lecture)}
    assert numbers == {lecture.number for lecture in THERE}
    files = {name for row in CONCEPTS for name in re.findall(r"`([\w/]+\.py)`", row[4])}
    missing = sorted(name for name in files if not (ROOT / "mpcrl_course" / name).is_file())
    assert missing == [], "lectures/README.md names files that are not there"


def test_the_names_beside_the_files_are_theirs():
    """A class, a function, or something with a type or a value of its own, such as an argument."""
    for row in CONCEPTS:
        for file, names in re.findall(r"`([\w/]+\.py)` \(([^)]*)\)", row[4]):
            for name in re.findall(r"`(\w+)`", names):
                found = re.search(rf"^ *((def|class) {name}\b|{name} ?[:=])", text("mpcrl_course", file), re.M)
                assert found, f"lectures/README.md looks for {name} in {file}"


def test_every_item_of_an_exercise_asks_for_a_concept():
    for lecture in THERE:
        items = importlib.import_module(f"mpcrl_course.checks.ex{lecture.number:02d}").exercise.items
        asked = {int(item) for row in CONCEPTS for item in re.findall(rf"\b{lecture.number:02d}\.(\d+)", row[3])}
        assert asked == set(items), f"exercise {lecture.number:02d} in lectures/README.md"


def test_every_widget_is_benchmarked(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    assert [widget.name for widget in importlib.import_module("bench_live").WIDGETS] == WIDGETS
