"""A small language for functions that come in a file: what belongs to it. It is run by `walker`, never by `eval`.

A function is one plain `def`: assignments, `if`, `return`, arithmetic, comparisons, lists, and a few functions of
numbers. Nothing else has a meaning here, so that nothing else can happen: no attribute, no import, no loop, no text.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from math import ceil, exp, floor, sqrt

#: A function may have so many characters, brackets within brackets, and steps within steps.
LONGEST, BRACKETS, DEPTH = 20_000, 40, 60
#: Numbers that arise may be so large.
LARGEST = 1e12


class Refused(ValueError):
    """A function that is refused, and the number of the `line` in it, from 1; `why` says what would do instead."""

    def __init__(self, line: int, why: str):
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


def _clip(x, low, high):
    return max(low, min(high, x))


FUNCTIONS: dict[str, tuple[Callable, tuple[int, ...]]] = {
    "abs": (abs, (1,)),
    "min": (min, (1, 2, 3, 4, 5)),
    "max": (max, (1, 2, 3, 4, 5)),
    "round": (round, (1, 2)),
    "int": (int, (1,)),
    "float": (float, (1,)),
    "exp": (exp, (1,)),
    "sqrt": (sqrt, (1,)),
    "floor": (floor, (1,)),
    "ceil": (ceil, (1,)),
    "clip": (_clip, (3,)),
}
MATH = ("exp", "sqrt", "floor", "ceil")
RANDOM = ("random", "choice", "randint")
BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
WHAT_THERE_IS = f"there are {', '.join(FUNCTIONS)}, and random.{', random.'.join(RANDOM)}"


def parsed(source: str, name: str, arguments: int) -> ast.FunctionDef:
    """Return the definition in a `source`, one `def` of this `name` with so many `arguments`, or raise `Refused`."""
    if len(source) > LONGEST:
        raise Refused(1, f"a function of {len(source)} characters: at most {LONGEST} are read")
    depth = 0
    for line, text in enumerate(source.split("\n"), 1):
        for character in text:
            depth += (character in "([{") - (character in ")]}")
            if depth > BRACKETS:
                raise Refused(line, f"more than {BRACKETS} brackets within brackets")
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise Refused(max(1, min(error.lineno or 1, source.count("\n") + 1)), f"no Python: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise Refused(1, f"no Python: {type(error).__name__}") from None
    if not tree.body or not isinstance(tree.body[0], ast.FunctionDef) or tree.body[0].name != name:
        raise Refused(tree.body[0].lineno if tree.body else 1, f"def {name}(…) is expected, and nothing before it")
    if len(tree.body) > 1:
        raise Refused(tree.body[1].lineno, f"nothing may follow after def {name}")
    definition = tree.body[0]
    taken = definition.args
    plain = not (taken.posonlyargs or taken.vararg or taken.kwonlyargs or taken.kwarg or taken.defaults)
    if not plain or len(taken.args) != arguments or definition.decorator_list:
        raise Refused(definition.lineno, f"{name} takes {arguments} plain arguments, and no decorator")
    for argument in taken.args:
        if argument.arg in FUNCTIONS:
            raise Refused(argument.lineno, f"{argument.arg} is a function: give the argument another name")
    for statement in definition.body:
        _check(statement, 1)
    return definition


# ---- what is of the language


def _check(node: ast.AST, depth: int) -> None:
    line = getattr(node, "lineno", 1)
    if depth > DEPTH:
        raise Refused(line, f"more than {DEPTH} steps within steps")
    if isinstance(node, (ast.Assign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            raise Refused(line, "assign to one name at a time")
        if targets[0].id in FUNCTIONS:
            raise Refused(line, f"{targets[0].id} is a function: use another name")
        if isinstance(node, ast.AugAssign) and type(node.op) not in BINARY:
            raise Refused(line, f"there is no {type(node.op).__name__} here")
        _check(node.value, depth + 1)
    elif isinstance(node, ast.If):
        _check(node.test, depth + 1)
        for statement in node.body:
            _check(statement, depth + 1)
        for statement in node.orelse:  # an elif stands as deep as its if
            _check(statement, depth + (not isinstance(statement, ast.If) or len(node.orelse) > 1))
    elif isinstance(node, ast.Return):
        if node.value is None:
            raise Refused(line, "a return needs a number")
        _check(node.value, depth + 1)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) or not {"random", "math"} >= set(names) or node.names[0].asname:
            raise Refused(line, f"nothing can be imported; {WHAT_THERE_IS}")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        pass  # a docstring
    elif isinstance(node, ast.Pass):
        pass
    elif isinstance(node, ast.stmt):
        raise Refused(line, f"there is no {type(node).__name__} here, but assignment, if and return")
    else:
        _check_expression(node, depth, line)


def _check_expression(node: ast.AST, depth: int, line: int) -> None:
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, (int, float)) or not abs(node.value) <= LARGEST:
            raise Refused(line, f"{short(node)} is no number up to {LARGEST:g}")
        return
    if isinstance(node, ast.Name):
        if node.id in FUNCTIONS:
            raise Refused(line, f"{node.id} is a function: call it")
        return
    parts: list[ast.AST]
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd, ast.Not)):
        parts = [node.operand]
    elif isinstance(node, ast.BoolOp):
        parts = list(node.values)
    elif isinstance(node, ast.Compare) and all(type(op) in COMPARE for op in node.ops):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.IfExp):
        parts = [node.test, node.body, node.orelse]
    elif isinstance(node, (ast.List, ast.Tuple)):
        parts = list(node.elts)
    elif isinstance(node, ast.Call):
        called_name(node)
        parts = list(node.args)
    else:
        raise Refused(line, f"there is no {type(node).__name__} here ({short(node)}); {WHAT_THERE_IS}")
    for part in parts:
        _check(part, depth + 1)


def called_name(node: ast.Call) -> str:
    """Return what a call `node` asks for, such as "random.choice"; raise `Refused` if there is no such thing."""
    asked, line = node.func, node.lineno
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise Refused(line, "a function is called with plain arguments, without names and stars")
    if isinstance(asked, ast.Name) and asked.id in FUNCTIONS:
        name, few = asked.id, FUNCTIONS[asked.id][1]
    elif isinstance(asked, ast.Attribute) and isinstance(asked.value, ast.Name):
        name = f"{asked.value.id}.{asked.attr}"
        if asked.value.id == "math" and asked.attr in MATH:
            name, few = asked.attr, FUNCTIONS[asked.attr][1]
        elif asked.value.id == "random" and asked.attr in RANDOM:
            few = {"random": (0,), "choice": (1,), "randint": (2,)}[asked.attr]
        elif asked.value.id == "random":
            raise Refused(line, f"{name} has no finite law, or none that is read here: use random.choice([…])")
        else:
            raise Refused(line, f"there is no function {name}; {WHAT_THERE_IS}")
    else:
        raise Refused(line, f"there is no function {short(asked)}; {WHAT_THERE_IS}")
    if len(node.args) not in few:
        raise Refused(line, f"{name} takes {' or '.join(map(str, few))} arguments, not {len(node.args)}")
    return name


def short(node: ast.AST) -> str:
    """Return a piece of the source, of the tree's `node`, for a message."""
    try:
        text = " ".join(ast.unparse(node).split())
    except (ValueError, RecursionError):  # a number of thousands of digits
        text = type(node).__name__
    return text if len(text) <= 60 else text[:57] + "..."
