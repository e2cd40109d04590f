"""The walker of the small language of `grammar`: it runs a function along every path of its random choices.

Randomness is not drawn but *enumerated*: `random.random() < p`, `random.choice([…])` and `random.randint(a, b)` branch,
and a function has a law, the values of its paths and their probabilities. A number u = random.random() may be compared
several times: each comparison narrows the interval in which it lies.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from math import isfinite
from typing import Any

from mpcrl_course.population.grammar import BINARY, COMPARE, FUNCTIONS, LARGEST, Refused, called_name, parsed, short

#: A function may have so many paths.
PATHS = 10_000
REMEDY = "compare it with a number, as in random.random() < 0.2, or use random.choice([-1, 1])"


class Function:
    """A function of the language.

    Parameters
    ----------
    source : str
        One `def`.
    name : str
        What it must be called.
    arguments : int
        How many it takes.

    Raises
    ------
    Refused
        It is not of the language.
    """

    def __init__(self, source: str, name: str, arguments: int):
        self.name = name
        self.definition = parsed(source, name, arguments)
        self.arguments = [argument.arg for argument in self.definition.args.args]

    def law(self, *values: float) -> dict[float, float]:
        """Return what the function gives for the arguments' `values`: each result, and its probability.

        Raises
        ------
        Refused
            It cannot be computed for these arguments; the message names them.
        """
        found: dict[float, float] = {}
        waiting: list[list[int]] = [[]]
        paths = 0
        while waiting:
            paths += 1
            if paths > PATHS:
                raise Refused(self.definition.lineno, f"{self.name} has more than {PATHS} paths: choose among less")
            path = _Path(waiting.pop())
            result = self._run(path, values)
            found[result] = found.get(result, 0.0) + path.probability
            for i in range(len(path.given), len(path.taken)):
                before = [index for index, _ in path.taken[:i]]
                waiting += [[*before, other] for other in range(1, path.taken[i][1])]
        return found

    def _run(self, path: _Path, values: Sequence[float]) -> float:
        walk = _Walk(dict(zip(self.arguments, values)), path)
        called = f"{self.name}({', '.join(f'{value:g}' for value in values)})"
        try:
            result = walk.block(self.definition.body)
        except Refused as error:
            raise Refused(error.line, f"{error.why}, in {called}") from None
        if result is None:
            raise Refused(self.definition.lineno, f"{called} ends without a return")
        line, value = result
        if not isinstance(value, (int, float)):
            raise Refused(line, f"{called} returned {_kind(value)}, not a number")
        return value


class _Path:
    """One way through a function: which branch is taken at each random choice, and how probable that is."""

    def __init__(self, given: list[int]):
        self.given, self.taken, self.probability = given, [], 1.0  # type: ignore[var-annotated]

    def choose(self, probabilities: Sequence[float]) -> int:
        n = len(self.taken)
        index = self.given[n] if n < len(self.given) else 0
        self.taken.append((index, len(probabilities)))
        self.probability *= probabilities[index]
        return index


class _Uniform:
    """A number drawn from [0, 1), of which only the interval is known."""

    def __init__(self):
        self.low, self.high = 0.0, 1.0

    def below(self, p: float, path: _Path) -> bool:
        if p <= self.low or p >= self.high:
            return p >= self.high
        share = (p - self.low) / (self.high - self.low)
        yes = path.choose([share, 1.0 - share]) == 0
        self.low, self.high = (self.low, p) if yes else (p, self.high)
        return yes


class _Walk:
    """A run of a function along a path; its names and their values."""

    def __init__(self, names: dict[str, Any], path: _Path):
        self.names, self.path = names, path

    def block(self, statements: list[ast.stmt]) -> tuple[int, Any] | None:
        for statement in statements:
            if isinstance(statement, ast.Assign):
                self.names[statement.targets[0].id] = self.value(statement.value)  # type: ignore[attr-defined]
            elif isinstance(statement, ast.AugAssign):
                target = statement.target
                new = self.binary(statement, self.name(target), self.value(statement.value))  # type: ignore[arg-type]
                self.names[target.id] = new  # type: ignore[union-attr]
            elif isinstance(statement, ast.Return):
                return statement.lineno, self.value(statement.value)  # type: ignore[arg-type]
            elif isinstance(statement, ast.If):
                done = self.block(statement.body if self.true(statement.test) else statement.orelse)
                if done is not None:
                    return done
        return None

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.BinOp):
            return self.binary(node, self.value(node.left), self.value(node.right))
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                return not self.true(node.operand)
            x = self.number(node, self.value(node.operand))
            return -x if isinstance(node.op, ast.USub) else +x
        if isinstance(node, ast.BoolOp):
            wanted = isinstance(node.op, ast.Or)
            return next((wanted for part in node.values if self.true(part) == wanted), not wanted)
        if isinstance(node, ast.IfExp):
            return self.value(node.body if self.true(node.test) else node.orelse)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        return [self.number(node, self.value(part)) for part in node.elts]  # type: ignore[attr-defined]

    def true(self, node: ast.expr) -> bool:
        return bool(self.number(node, self.value(node)))

    def name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            raise Refused(node.lineno, f"{node.id} has no value here")
        return self.names[node.id]

    def number(self, node: ast.AST, x: Any) -> Any:
        if not isinstance(x, (int, float)):
            why = f": {REMEDY}" if isinstance(x, _Uniform) else ""
            raise Refused(node.lineno, f"{_kind(x)} stands where a number is needed{why}")  # type: ignore[attr-defined]
        return x

    def binary(self, node: ast.BinOp | ast.AugAssign, a: Any, b: Any) -> Any:
        a, b = self.number(node, a), self.number(node, b)
        if isinstance(node.op, ast.Pow) and abs(b) > 64:
            raise Refused(node.lineno, f"the exponent {b:g} is beyond 64")
        try:
            return self.finite(node, BINARY[type(node.op)](a, b))
        except (ArithmeticError, ValueError) as error:
            raise Refused(node.lineno, f"{short(node)} cannot be computed ({error})") from None

    def finite(self, node: ast.AST, x: Any) -> Any:
        if isinstance(x, complex) or not isfinite(x) or abs(x) > LARGEST:
            why = f"{short(node)} is no real number up to {LARGEST:g}"
            raise Refused(node.lineno, why)  # type: ignore[attr-defined]
        return x

    def comparison(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for op, right_node in zip(node.ops, node.comparators):
            right = self.value(right_node)
            if isinstance(left, _Uniform) or isinstance(right, _Uniform):
                fine = self.uniform(node, op, left, right)
            else:
                lists = isinstance(op, (ast.In, ast.NotIn))
                if lists != isinstance(right, list):
                    raise Refused(node.lineno, f"{short(node)} compares a list with a number")
                a = self.number(node, left)
                fine = COMPARE[type(op)](a, right if lists else self.number(node, right))
            if not fine:
                return False
            left = right
        return True

    def uniform(self, node: ast.Compare, op: ast.cmpop, left: Any, right: Any) -> bool:
        less, more = isinstance(op, (ast.Lt, ast.LtE)), isinstance(op, (ast.Gt, ast.GtE))
        if not (less or more) or isinstance(left, _Uniform) == isinstance(right, _Uniform):
            raise Refused(node.lineno, f"a random number can be below or above a number, not otherwise: {REMEDY}")
        if isinstance(left, _Uniform):
            return left.below(self.number(node, right), self.path) == less
        return right.below(self.number(node, left), self.path) == more

    def call(self, node: ast.Call) -> Any:
        name, given = called_name(node), [self.value(argument) for argument in node.args]
        if name == "random.random":
            return _Uniform()
        if name == "random.choice":
            if not isinstance(given[0], list) or not given[0]:
                raise Refused(node.lineno, "random.choice takes a list that is not empty")
            return given[0][self.path.choose([1.0 / len(given[0])] * len(given[0]))]
        if name == "random.randint":
            low, high = (self.number(node, x) for x in given)
            if not (low == int(low) and high == int(high) and 0 <= high - low < PATHS):
                raise Refused(node.lineno, f"random.randint({low:g}, {high:g}) is no choice among up to {PATHS}")
            return int(low) + self.path.choose([1.0 / (high - low + 1)] * int(high - low + 1))
        if name in ("min", "max") and len(given) == 1 and isinstance(given[0], list):
            given = given[0]
            if not given:
                raise Refused(node.lineno, f"{name} of an empty list")
        elif name in ("min", "max") and len(given) == 1:
            raise Refused(node.lineno, f"{name} takes a list, or several numbers")
        numbers = [self.number(node, x) for x in given]
        try:
            if name in ("min", "max"):
                return FUNCTIONS[name][0](numbers)
            return self.finite(node, FUNCTIONS[name][0](*numbers))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise Refused(node.lineno, f"{short(node)} cannot be computed ({error})") from None


def _kind(x: Any) -> str:
    if isinstance(x, _Uniform):
        return "the number random.random()"
    return "a list" if isinstance(x, list) else f"a {type(x).__name__}"
