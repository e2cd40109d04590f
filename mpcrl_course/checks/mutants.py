"""Mutants decide whether an item's probes see enough: a change of one token in the right answer must be judged wrong.

The answer is the one that the solution notebook hands in, `check(n, answer)`. Of an item to fill the lines that a
student writes are changed, of one to debug the whole function. (What one designs is measured against targets, which
many answers meet: there a changed answer may well be right.) Every `Mutant` is handed in at the notebook's seed. One
that is not judged right is killed; the survivors stand in `tests/data/mutants/NN.json`, each with the reason, written
by hand, why it computes the same. One without a reason is a hole in the probes.

    mpcrl-course mutants 3      judge all mutants of exercise 03, and write the record
"""

from __future__ import annotations

import ast
import dis
import hashlib
import importlib
import json
import math
import re
import types
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from .items import Debug, Fill
from .progress import RIGHT

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult, ast.Pow)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
OPPOSITES: dict[type, Any] = {
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
#: Names of functions and attributes that are taken for each other.
PAIRS = """sin cos, exp log, sum mean, mean median, std var, min max, minimum maximum, argmin argmax, any all,
ceil floor, zeros ones, zeros_like ones_like, vstack hstack, ppf cdf, LOWER UPPER, low high, x_lb x_ub, lam_lb lam_ub"""
MODULES = ("np", "ca")  # `np.abs(x)` may become `x`, and `x.copy()` too, but neither becomes `np`
#: Of what these are given, the length, the shape or the size counts: a sign changes nothing.
UNSIGNED = ("len", "zeros", "zeros_like", "ones_like", "abs", "sumsqr")
#: Share of the mutants of an exercise that may be equivalent.
EQUIVALENT = 0.05
#: A mutant may go so many times as often through its loops as the answer does, and so many times more.
PATIENCE = 5, 1000


class Endless(Exception):
    """Raised within a mutant that goes through its loops again and again, so that no clock has to stop it."""


@dataclass(frozen=True)
class Mutant:
    """A right answer with one change.

    Parameters
    ----------
    line
        In the notebook's cell.
    change
        "before -> after" of that line, without comments.
    text
        The whole function.
    """

    line: int
    change: str
    text: str


@dataclass(frozen=True)
class Answer:
    """A right answer of a solution notebook.

    Parameters
    ----------
    item
        Which it answers.
    name
        Of the function.
    text
        Its source, as `text_of` writes it.
    mutants
        All of them.
    namespace
        What the notebook has defined by then, as far as the function uses it.
    seed
        Of the exercise.
    """

    item: Fill
    name: str
    text: str
    mutants: Sequence[Mutant]
    namespace: dict[str, Any] = field(repr=False)
    seed: int

    @property
    def hash(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def survivors(self, mutants: Iterable[Mutant]) -> list[Mutant]:
        """Give those of some of its `mutants` that are judged right, or that the check cannot judge.

        Raises
        ------
        ValueError
            If the answer itself is not.
        """
        # Whether it is right does not depend on the known mistakes; and loops are counted, so that no clock decides.
        item = replace(self.item, mistakes=(), time_limit=60.0)

        def judged(text: str, budget: float) -> tuple[bool, int]:
            loops = _Loops(budget)
            namespace = {**self.namespace, "_loop": loops}
            # This runs the course's own source in a developer's command, no data.
            exec(compile(_counted(text), f"<mutant of {self.name}>", "exec"), namespace)
            return item.judge(namespace[self.name], self.seed).verdict == RIGHT, loops.count

        right, loops = judged(self.text, math.inf)
        if not right:
            raise ValueError(f"item {item.number}: the answer of the solution is not judged right")
        budget = PATIENCE[0] * loops + PATIENCE[1]
        survivors = []
        for mutant in mutants:
            try:
                right = judged(mutant.text, budget)[0]
            except Exception as error:  # of the check itself, not of the answer
                warnings.warn(f"the check of item {item.number} stops: {error!r} at {mutant.change}", stacklevel=1)
                right = True  # it has found nothing wrong
            survivors += [mutant] if right else []
        return survivors


class _Loops:
    def __init__(self, budget: float) -> None:
        self.budget, self.count = budget, 0

    def __call__(self) -> None:
        self.count += 1
        if self.count > self.budget:
            raise Endless


def _counted(text: str) -> ast.Module:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.While):
            node.body.insert(0, ast.Expr(ast.Call(ast.Name("_loop", ast.Load()), [], [])))
    return ast.fix_missing_locations(tree)


# ------------------------------------------------------------------------------------------ answers of a notebook


def answers(notebook: Path) -> list[Answer]:
    """Give the right answers to all items to fill and to debug.

    Parameters
    ----------
    notebook
        `solutions/NN_name.ipynb`, whose checks are `mpcrl_course.checks.exNN`.
    """
    exercise = importlib.import_module(f"mpcrl_course.checks.ex{notebook.name[:2]}").exercise
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    before: list[ast.stmt] = []  # without those that hand in an answer: a name stays what it is, and no card is shown
    found = []
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        for statement in ast.parse(source).body:
            handed_in = _handed_in(statement)
            if handed_in is None:
                before.append(statement)
                continue
            item, name = exercise.item(handed_in[0]), handed_in[1]
            if isinstance(item, Fill):
                function = next(
                    one for one in reversed(before) if isinstance(one, ast.FunctionDef) and one.name == name
                )
                mutants = mutants_of(function, None if isinstance(item, Debug) else _written(source))
                namespace = _namespace(before[: before.index(function)], function)
                found.append(Answer(item, name, text_of(function), mutants, namespace, exercise.seed))
    return found


def _written(source: str) -> set[int]:
    """Return the numbers of the lines of a cell that a student writes."""
    within, lines = False, set()
    for number, line in enumerate(source.splitlines(), start=1):
        within = line.strip().startswith("### BEGIN SOLUTION") or within and "### END SOLUTION" not in line
        lines |= {number} if within else set()
    return lines


def _handed_in(statement: ast.stmt) -> tuple[int, str] | None:
    """Return n and name if the statement is `… = check(n, name)` or `check(n, …)`."""
    call = getattr(statement, "value", None)
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check":
        number, answer = call.args[:2]
        return ast.literal_eval(number), ast.unparse(answer)
    return None


def _namespace(before: Sequence[ast.stmt], function: ast.stmt) -> dict[str, Any]:
    """Run those of the statements before a function that define what it uses, and what those use in turn."""
    wanted, needed = _names(function)[1], []
    for statement in reversed(before):
        defined, used = _names(statement)
        if defined & wanted:
            needed.append(statement)
            wanted = wanted - defined | used
    namespace: dict[str, Any] = {}
    for statement in reversed(needed):
        exec(compile(ast.unparse(statement), "<solution>", "exec"), namespace)  # the course's own source, as above
    return namespace


def _names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the names that a statement of a notebook defines, and those that it uses."""
    codes, defined, used = [compile(ast.unparse(statement), "<cell>", "exec")], set(), set()
    for code in codes:  # which grows by the functions within
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
        for instruction in dis.get_instructions(code):
            if instruction.opname == "STORE_NAME":
                defined.add(instruction.argval)
            elif instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                used.add(instruction.argval)
    return defined, used


# ------------------------------------------------------------------------------------------------- all its mutants


def text_of(function: ast.stmt) -> str:
    """Write a `function` without comments, and the same for all versions of Python."""
    # Python 3.10 puts parentheses around several names that are assigned to.
    return re.sub(r"(^ *|\bfor )\(([^()]*)\)(?= = | in )", r"\1\2", ast.unparse(function), flags=re.M)


def mutants_of(function: ast.stmt, lines: Container[int] | None = None) -> list[Mutant]:
    """Give all mutants of a function that are Python and not the same text as it or as each other.

    Parameters
    ----------
    function
        As parsed from a cell. It is changed on the way, and changed back.
    lines
        Of the cell, in which something may be changed; all if None.
    """
    original = text_of(function)
    found: dict[str, Mutant] = {}
    for parent, name, index, node in list(_places(function)):
        if lines is not None and node.lineno not in lines:
            continue
        siblings = getattr(parent, name)
        for new in _changes(parent, name, node):
            if index is None:
                setattr(parent, name, new)
            else:
                siblings[index] = new
            text = text_of(function)
            if index is None:
                setattr(parent, name, node)
            else:
                siblings[index] = node
            if text != original and text not in found and _is_python(text):
                pairs = zip(original.splitlines(), text.splitlines(), strict=True)
                change = next(f"{one.strip()} -> {other.strip()}" for one, other in pairs if one != other)
                found[text] = Mutant(node.lineno, change, text)
    return list(found.values())


def _is_python(text: str) -> bool:
    try:
        compile(text, "<mutant>", "exec")
    except SyntaxError:
        return False
    return True


def _places(parent: ast.AST) -> Iterator[tuple[Any, str, int | None, Any]]:
    for name, value in ast.iter_fields(parent):
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.expr | ast.stmt):
                yield parent, name, index, node
            if isinstance(node, ast.AST):
                yield from _places(node)


def _changes(parent: Any, name: str, node: Any) -> Iterator[Any]:
    """Yield what may stand in the place of a node."""
    yield from _CHANGES.get(type(node), _none)(node)
    loaded = isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
    if (
        loaded
        and _called_by(node) != "zeros"
        and isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp | ast.Call)
    ):
        summed = isinstance(parent, ast.BinOp) and name == "left" and isinstance(parent.op, ast.Add | ast.Sub)
        whole = isinstance(parent, ast.Return | ast.Assign | ast.AugAssign | ast.Tuple | ast.List)
        passed = name == "args" and _called_by(parent) not in UNSIGNED
        if summed or whole or passed:  # elsewhere it is the sign of a factor, or a plus for a minus
            yield _minus(node)
    if isinstance(parent, ast.If | ast.While | ast.IfExp) and name == "test" and not isinstance(node, ast.Compare):
        yield ast.UnaryOp(ast.Not(), node)
    if isinstance(parent, ast.Subscript) and name == "slice":
        yield from _index(node)


def _called_by(node: Any) -> str:
    """Return the last part of the name of what a node calls: "abs" of `np.abs(x)`."""
    return ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""


def _none(node: Any) -> Iterator[Any]:
    yield from ()


def _minus(node: Any) -> ast.UnaryOp:
    return ast.UnaryOp(ast.USub(), node)


def _number(value: float) -> Any:
    return _minus(ast.Constant(-value)) if value < 0 else ast.Constant(value)


def _moved(node: Any) -> Iterator[Any]:
    yield ast.BinOp(node, ast.Add(), ast.Constant(1))
    yield ast.BinOp(node, ast.Sub(), ast.Constant(1))


def _is_number(node: Any) -> bool:
    return isinstance(node, ast.Constant) or isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)


def _index(node: Any) -> Iterator[Any]:
    if isinstance(node, ast.Tuple):
        for i, part in enumerate(node.elts):
            for new in _index(part):
                yield ast.Tuple([*node.elts[:i], new, *node.elts[i + 1 :]], node.ctx)
    elif isinstance(node, ast.Slice):
        lower, upper = node.lower, node.upper
        yield from (ast.Slice(new, upper, node.step) for new in _bounds(lower, 1))
        yield from (ast.Slice(lower, new, node.step) for new in _bounds(upper, -1))
    elif not _is_number(node):  # a number is changed as every other
        yield from _moved(node)


def _bounds(given: Any, first: int) -> Iterator[Any]:
    yield None if given else _number(first)
    if given and not _is_number(given):
        yield from _moved(given)


def _binary(node: ast.BinOp) -> Iterator[Any]:
    for operator in ARITHMETIC:
        if not isinstance(node.op, operator):
            yield ast.BinOp(node.left, operator(), node.right)
    yield node.left
    yield _minus(node.right) if isinstance(node.op, ast.Sub) else node.right
    if not isinstance(node.op, ast.Add | ast.Mult):
        yield ast.BinOp(node.right, node.op, node.left)


def _augmented(node: ast.AugAssign) -> Iterator[Any]:
    for operator in ARITHMETIC:
        if not isinstance(node.op, operator):
            yield ast.AugAssign(node.target, operator(), node.value)
    yield ast.copy_location(ast.Assign([node.target], node.value), node)
    yield ast.Pass()


def _unary(node: ast.UnaryOp) -> Iterator[Any]:
    yield node.operand


def _compared(node: ast.Compare) -> Iterator[Any]:
    for i, old in enumerate(node.ops):
        others = COMPARISONS if isinstance(old, COMPARISONS) else (OPPOSITES[type(old)],)
        for new in others:
            yield ast.Compare(node.left, [*node.ops[:i], new(), *node.ops[i + 1 :]], node.comparators)


def _logical(node: ast.BoolOp) -> Iterator[Any]:
    yield ast.BoolOp(OPPOSITES[type(node.op)](), node.values)
    for i in range(len(node.values)):
        rest = node.values[:i] + node.values[i + 1 :]
        yield ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]


def _conditional(node: ast.IfExp) -> Iterator[Any]:
    yield from (node.body, node.orelse, ast.IfExp(node.test, node.orelse, node.body))


def _constant(node: ast.Constant) -> Iterator[Any]:
    c = node.value
    if isinstance(c, bool):
        yield ast.Constant(not c)
    elif isinstance(c, int | float):
        values = {c + 1, 2 * c, 0} | ({c - 1} if isinstance(c, int) else set())
        yield from (_number(value) for value in sorted(values - {c}))
    elif c in ("C", "F"):  # the order of an array's entries
        yield ast.Constant("F" if c == "C" else "C")


def _sequence(node: Any) -> Iterator[Any]:
    if isinstance(node.ctx, ast.Load):
        for i in range(len(node.elts) - 1):
            parts = list(node.elts)
            parts[i], parts[i + 1] = parts[i + 1], parts[i]
            yield type(node)(parts, node.ctx)


def _called(node: ast.Call) -> Iterator[Any]:
    args, keywords, func = node.args, node.keywords, node.func
    for i, j in combinations(range(len(args)), 2):
        swapped = list(args)
        swapped[i], swapped[j] = args[j], args[i]
        yield ast.Call(func, swapped, keywords)
    for i in range(len(keywords)):
        yield ast.Call(func, args, keywords[:i] + keywords[i + 1 :])
    if isinstance(func, ast.Attribute) and ast.unparse(func).split(".")[0] not in MODULES:
        yield func.value  # x.copy() becomes x
    elif args:
        yield args[0]  # abs(x) becomes x
    if isinstance(func, ast.Name) and func.id == "range" and len(args) == 1:
        yield ast.Call(func, [ast.Constant(1), *args], [])
        yield from (ast.Call(func, [new], []) for new in _moved(args[0]) if not _is_number(args[0]))


def _twins(name: str) -> Iterator[str]:
    for pair in PAIRS.replace("\n", " ").split(", "):
        one, other = pair.split()
        if name in (one, other):
            yield other if name == one else one


def _named(node: ast.Name) -> Iterator[Any]:
    if isinstance(node.ctx, ast.Load):
        yield from (ast.Name(name, node.ctx) for name in _twins(node.id))


def _attribute(node: ast.Attribute) -> Iterator[Any]:
    if isinstance(node.ctx, ast.Load):
        yield from (ast.Attribute(node.value, name, node.ctx) for name in _twins(node.attr))
        if node.attr == "T":
            yield node.value


def _statement(node: ast.Expr) -> Iterator[Any]:
    if isinstance(node.value, ast.Call):
        yield ast.Pass()  # a constraint dropped, say


_CHANGES: dict[type, Any] = {
    ast.BinOp: _binary,
    ast.AugAssign: _augmented,
    ast.UnaryOp: _unary,
    ast.Compare: _compared,
    ast.BoolOp: _logical,
    ast.IfExp: _conditional,
    ast.Constant: _constant,
    ast.Tuple: _sequence,
    ast.List: _sequence,
    ast.Call: _called,
    ast.Name: _named,
    ast.Attribute: _attribute,
    ast.Expr: _statement,
    ast.Break: lambda node: iter([ast.Continue()]),
    ast.Continue: lambda node: iter([ast.Break()]),
}


# ------------------------------------------------------------------------------------------------------ the record


def record_of(notebook: Path) -> Path:
    """Give the path of the record of a `notebook` in solutions/."""
    return notebook.resolve().parents[1] / "tests" / "data" / "mutants" / f"{notebook.name[:2]}.json"


def examine(notebook: Path) -> dict[str, Any]:
    """Judge all mutants of the answers of a notebook, and write the record.

    Parameters
    ----------
    notebook
        In solutions/.

    Returns
    -------
    dict
        What was written: by the number of the item, its title, the answer's hash, how many mutants there are and how
        many were killed, and the survivors with their lines, changes and reasons. The reasons of the last record are
        kept.
    """
    file, record = record_of(notebook), {}
    last = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for answer in answers(notebook):
        number = str(answer.item.number)
        reasons = {survivor["change"]: survivor["reason"] for survivor in last.get(number, {}).get("survivors", [])}
        survivors = answer.survivors(answer.mutants)
        record[number] = {
            "title": answer.item.title,
            "hash": answer.hash,
            "mutants": len(answer.mutants),
            "killed": len(answer.mutants) - len(survivors),
            "survivors": [
                {"line": mutant.line, "change": mutant.change, "reason": reasons.get(mutant.change, "")}
                for mutant in survivors
            ],
        }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return record
