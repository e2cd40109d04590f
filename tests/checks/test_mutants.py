"""The probes see a change of one token: the records of the mutants are of today's answers, and hold where tried."""

import ast
import functools
import json
import sys
import types
from dataclasses import fields, replace

import nbformat
import pytest

from mpcrl_course.checks.engine import RIGHT, Exercise, Fill
from mpcrl_course.checks.mutants import EQUIVALENT, answers, mutants_of, record_of, text_of
from mpcrl_course.cli import main
from tests.notebooks import EXERCISES, ROOT

TRIED = 5  # mutants of each item; `mpcrl-course mutants NN` tries all


@functools.cache
def of(name):
    """Return the answers of an exercise, and the record of their mutants."""
    notebook = ROOT / "solutions" / f"{name}.ipynb"
    return answers(notebook), json.loads(record_of(notebook).read_text("utf-8"))


@pytest.mark.parametrize("name", EXERCISES)
def test_the_record_is_of_these_answers(name):
    found, record = of(name)
    current = {str(answer.item.number): (answer.hash, len(answer.mutants)) for answer in found}
    recorded = {number: (item["hash"], item["mutants"]) for number, item in record.items()}
    assert recorded == current, f"run `mpcrl-course mutants {name[:2]}`"
    assert all(item["killed"] + len(item["survivors"]) == item["mutants"] for item in record.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_few_survive_and_each_has_a_reason(name):
    survivors = [(n, survivor) for n, item in of(name)[1].items() for survivor in item["survivors"]]
    assert [(n, one["line"], one["change"]) for n, one in survivors if not one["reason"].strip()] == []
    assert len(survivors) <= EQUIVALENT * sum(item["mutants"] for item in of(name)[1].values())


@pytest.mark.parametrize("name", EXERCISES)
def test_those_that_are_tried_die_or_are_listed(name):
    found, record = of(name)
    for answer in found:
        tried = [answer.mutants[i * len(answer.mutants) // TRIED] for i in range(TRIED)]
        listed = {survivor["change"] for survivor in record[str(answer.item.number)]["survivors"]}
        assert {mutant.change for mutant in answer.survivors(tried)} <= listed, f"item {answer.item.number}"


# ------------------------------------------------------------------------------------------------- the tool itself

CELLS = """\
scale = 2.0
boom = 1 / 0
---
def first(x):
    ### BEGIN SOLUTION
    return scale * x
    ### END SOLUTION
first = check(1, first)
---
def second(x, n):
    x = first(x)                       # the answer to item 1
    ### BEGIN SOLUTION
    while n > 0:
        x, n = x + 3, n - 1
    return x
    ### END SOLUTION
second = check(2, second)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A course whose second item is probed at n = 1 only."""

    def second(x, n):
        return 2 * x + 3 * n

    exercise = Exercise(
        9,
        "a toy",
        [
            Fill(1, "double", reference=lambda x: 2 * x, probes=lambda rng: [(rng.normal(),)]),
            Fill(2, "double and add", reference=second, probes=lambda rng: [(rng.normal(), 1)]),
        ],
    )
    monkeypatch.setitem(sys.modules, "mpcrl_course.checks.ex09", types.SimpleNamespace(exercise=exercise))
    for folder in ("lectures", "solutions"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mpcrl-course"\n', encoding="utf-8")
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS.split("---\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "solutions" / "09_toy.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "solutions" / "09_toy.ipynb"


def test_the_command_names_what_a_weak_probe_lets_pass_and_keeps_the_reasons(toy, capsys):
    assert main(["mutants", "9"]) == 1
    record = json.loads(record_of(toy).read_text("utf-8"))
    assert record["1"]["killed"] == record["1"]["mutants"] == 8
    changes = [survivor["change"] for survivor in record["2"]["survivors"]]
    assert (
        "x, n = (x + 3, n - 1) -> x, n = (x + 3, n - 2)" in changes and "while n > 0: -> while n == 1:" not in changes
    )
    assert "while n > 0: -> while n != 0:" in changes and "while n > 0: -> while n < 0:" not in changes
    out = capsys.readouterr().out
    assert "item 2, line 4: while n > 0: -> while n != 0:" in out and "item 1" not in out

    record["2"]["survivors"][0]["reason"] = "n is a whole number"
    record_of(toy).write_text(json.dumps(record), encoding="utf-8")
    main(["mutants", "9"])
    assert json.loads(record_of(toy).read_text("utf-8")) == record
    assert f"line 4: {changes[0]}" not in capsys.readouterr().out


def test_a_mutant_that_never_ends_is_stopped_without_a_clock(toy):
    second = answers(toy)[1]
    endless = [mutant for mutant in second.mutants if mutant.change.endswith("(x + 3, n)")]
    assert len(endless) == 1 and second.survivors(endless) == []


def test_a_check_that_breaks_has_caught_nothing(toy):
    class Breaking(Fill):
        def judge(self, answer, seed=0):
            result = super().judge(answer, seed)
            return result if result.verdict == RIGHT else 1 / 0

    first = answers(toy)[0]
    item = Breaking(**{field.name: getattr(first.item, field.name) for field in fields(first.item)})
    with pytest.warns(UserWarning, match="the check of item 1 stops: ZeroDivisionError"):
        assert replace(first, item=item).survivors(first.mutants) == first.mutants != []


def test_an_answer_that_is_not_right_is_no_start(toy):
    toy.write_text(toy.read_text("utf-8").replace("scale * x", "scale + x"), encoding="utf-8")
    with pytest.raises(ValueError, match="item 1: the answer of the solution is not judged right"):
        answers(toy)[0].survivors([])


@pytest.mark.parametrize(
    "line, expected",
    [
        ("return a - 2 * b", ["a + 2 * b", "a", "-(2 * b)", "2 * b - a", "-a - 2 * b", "a - 2 / b", "a - 0 * b"]),
        ("return a if a > b else b", ["b", "a if a >= b else b", "b if a > b else a"]),
        ("return a is None or b", ["a is not None or b", "a is None and b", "b"]),
        ("return a[1:, b]", ["a[2:, b]", "a[1:-1, b]", "a[:, b]", "a[1:, b + 1]", "a[1:, b - 1]", "a[b, 1:]"]),
        ("return np.sum(abs(a), axis=1)", ["np.sum(a, axis=1)", "np.mean(abs(a), axis=1)", "np.sum(abs(a), axis=0)"]),
        ("return f(a, b).T.copy()", ["f(b, a).T.copy()", "f(a, b).copy()", "f(a, b).T", "f(-a, b).T.copy()"]),
        ("return [a for a in range(b)]", ["[a for a in range(b - 1)]", "[a for a in range(1, b)]"]),
    ],
)
def test_all_kinds_of_changes_are_made(line, expected):
    function = ast.parse(f"def f(a, b):\n    {line}").body[0]
    before = ast.dump(function)
    made = [mutant.text.split("return ")[1] for mutant in mutants_of(function)]
    assert ast.dump(function) == before and len(set(made)) == len(made)
    assert set(expected) <= set(made) and line.removeprefix("return ") not in made


def test_the_text_is_the_same_for_all_versions_of_python():
    lines = ["def f(c):", "    x, y = (1, 2)", "    for a, b in c:", "        x = (a + b) * y", "    return (x, y)"]
    assert text_of(ast.parse("\n".join(lines)).body[0]).splitlines() == lines


def test_a_call_that_is_a_statement_is_dropped_and_a_sum_is_built_otherwise():
    function = ast.parse("def f(a):\n    a.append(1)\n    a += 2\n    for b in a:\n        break\n    return np").body[
        0
    ]
    changes = {mutant.change for mutant in mutants_of(function)}
    assert {"a.append(1) -> pass", "a += 2 -> a -= 2", "a += 2 -> a = 2", "break -> continue"} <= changes
    assert {mutant.line for mutant in mutants_of(function, {3})} == {3}
