"""Exercises made from solutions: a round trip on a small notebook.

`nbformat` is imported where it is used: it takes a second, which each worker would spend on collecting tests.
"""

import json

import pytest

from mpcrl_course.checks.build import (
    SolutionError,
    blanked,
    build_exercises,
    exercise_text,
    is_worked_in,
    out_of_step,
)

FUNCTION = """\
def td_error(cost, discount, v_next, q):
    \"\"\"δ.\"\"\"
    ### BEGIN SOLUTION
    target = cost + discount * v_next
    return target - q
    ### END SOLUTION

td_error = check(3, td_error)"""

GRADER = {
    "grade": False,
    "solution": True,
    "locked": False,
    "grade_id": "td",
    "schema_version": 3,
    "task": False,
}


def solution_notebook():
    import nbformat

    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell(
            "# Solution 06: MPC as value\n\nThe blank [exercise](../exercises/06_toy.ipynb). Solution: x."
        ),
        v4.new_code_cell(FUNCTION, metadata={"nbgrader": GRADER, "execution": {"t": "now"}}, execution_count=4),
        v4.new_code_cell("### BEGIN SOLUTION stub: guess = None\nguess = 3\n### END SOLUTION\ncheck(1, guess)"),
        v4.new_markdown_cell("Because.", metadata={"tags": ["solution"]}),
        v4.new_markdown_cell("My reason.", metadata={"tags": ["your-answer"]}),
        v4.new_code_cell("1 + 1", metadata={"tags": ["keep"]}, outputs=[v4.new_output("stream", text="2")]),
    ]
    notebook = v4.new_notebook(
        cells=cells,
        metadata={"widgets": {"state": {}}, "language_info": {"name": "python", "version": "3.9"}},
    )
    for i, cell in enumerate(notebook.cells):
        cell.id = f"c{i}"
    return notebook


@pytest.fixture
def course(tmp_path):
    import nbformat

    (tmp_path / "solutions").mkdir()
    nbformat.write(solution_notebook(), tmp_path / "solutions" / "06_toy.ipynb")
    return tmp_path


def test_round_trip(course):
    import nbformat

    (path,) = build_exercises(course)
    exercise = nbformat.read(path, as_version=4)
    nbformat.validate(exercise)
    title, function, guess, reason, rest = exercise.cells
    assert title.source == (
        "# Exercise 06: MPC as value\n\nThe blank [solution](../solutions/06_toy.ipynb). Solution: x."
    )
    assert function.source == FUNCTION.replace(
        """\
    ### BEGIN SOLUTION
    target = cost + discount * v_next
    return target - q
    ### END SOLUTION
""",
        "    ...  # your code here\n",
    )
    assert function.metadata == {"nbgrader": GRADER} and function.execution_count is None
    assert guess.source == "guess = None\ncheck(1, guess)"
    assert reason.source == "*Your answer here.*"
    assert rest.outputs == [] and rest.metadata == {"tags": ["keep"]}
    assert [cell.id for cell in exercise.cells] == ["c0", "c1", "c2", "c4", "c5"]
    assert exercise.metadata == {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
        "mpcrl_course": {"generated_from": "solutions/06_toy.ipynb"},
    }


def test_the_same_text_every_time_even_without_ids(course):
    path = course / "solutions" / "06_toy.ipynb"
    raw = json.loads(path.read_text("utf-8"))
    raw["nbformat_minor"] = 4
    for cell in raw["cells"]:
        del cell["id"]
    path.write_text(json.dumps(raw), "utf-8")
    text = exercise_text(path)
    assert text == exercise_text(path) and text.endswith("}\n") and "SOLUTION" not in text
    assert [cell["id"] for cell in json.loads(text)["cells"]][-1] == "cell-005"


def test_out_of_step(course):
    exercise = course / "exercises" / "06_toy.ipynb"
    assert out_of_step(course) == [exercise]  # missing
    build_exercises(course)
    assert out_of_step(course) == [] and build_exercises(course) == []
    exercise.write_text(exercise.read_text("utf-8").replace("1 + 1", "1 + 2"), "utf-8")
    assert out_of_step(course) == [exercise]  # edited
    build_exercises(course)
    mine = course / "exercises" / "06_mine.ipynb"
    mine.write_text(exercise.read_text("utf-8"), "utf-8")
    assert out_of_step(course) == []  # a copy to work in is nobody's business
    (course / "solutions" / "06_toy.ipynb").unlink()
    assert exercise in out_of_step(course)  # its solution is gone


def test_work_is_not_overwritten(course):
    import nbformat

    (path,) = build_exercises(course)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = "my work"
    notebook.cells[1].execution_count = 1
    nbformat.write(notebook, path)
    assert is_worked_in(path)
    with pytest.raises(FileExistsError, match="somebody has worked in 06_toy.ipynb"):
        build_exercises(course)
    assert "my work" in path.read_text("utf-8")
    assert build_exercises(course, force=True) == [path]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("### BEGIN SOLUTION\nx = 1", "does not end"),
        ("x = 1\n### END SOLUTION", "did not begin"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "inside another"),
        ("## BEGIN SOLUTION\nx = 1\n## END SOLUTION", "misspelt marker '## BEGIN SOLUTION'"),
        ("### begin solution\nx = 1\n### END SOLUTION", "misspelt"),
        ("### BEGIN SOLUTION\nx = 1\n### END SOLUTION here", "misspelt"),
        ("x = 1\n### stub: y = 2", "misspelt"),
        ("def f():\n### BEGIN SOLUTION\n    return 1\n### END SOLUTION", "no Python: line 2"),
    ],
)
def test_malformed_markers_name_file_and_cell(course, source, complaint):
    import nbformat

    path = course / "solutions" / "06_toy.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].source = source
    nbformat.write(notebook, path)
    with pytest.raises(SolutionError, match="06_toy.ipynb, cell 3: ") as error:
        build_exercises(course)
    assert complaint in str(error.value)
    assert not (course / "exercises").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 3}', '{"cells": [{}], "nbformat": 4}'])
def test_a_solution_that_is_no_notebook_is_named(course, text):
    (course / "solutions" / "07_bad.ipynb").write_text(text, encoding="utf-8")
    with pytest.raises(SolutionError, match="07_bad.ipynb is not a notebook"):
        out_of_step(course)


def test_marker_in_a_text_cell_is_refused(course):
    import nbformat

    path = course / "solutions" / "06_toy.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "### BEGIN SOLUTION\ntext\n### END SOLUTION"
    nbformat.write(notebook, path)
    with pytest.raises(SolutionError, match="cell 1: markers belong in code cells"):
        out_of_step(course)


def test_stub_of_several_lines_and_two_regions():
    source = """\
def f(x):
    ### BEGIN SOLUTION
    ### stub: if x < 0:
    ### stub:     x = -x
    return x
    ### END SOLUTION
    y = x
    ### BEGIN SOLUTION
    return y
    ### END SOLUTION"""
    assert blanked(source) == "def f(x):\n    if x < 0:\n        x = -x\n    y = x\n    ...  # your code here"
    assert blanked("%matplotlib inline\n### BEGIN SOLUTION\n1\n### END SOLUTION").endswith("# your code here")
