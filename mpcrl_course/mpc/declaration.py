"""What a declaration must be: each field, and what each of its functions returns when it is called with symbols.

A mistake is named where it is made, with the function, the stage and the shape, and not by the solver that meets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course.mpc.parameters import Parameters
from mpcrl_course.validation import floats, function, instance, reals, share, short, whole

ADVICE = "put CasADi expressions under each other with ca.vertcat(…)"


def check_fields(declared: Any) -> None:
    """Check sizes, parameters, box, discount and which fields are functions; of a problem, or of a network's agent.

    The fields of `declared`, a frozen dataclass, become ints, floats and arrays (n_inputs,). ValueError names the
    field.
    """
    for name in ("n_states", "n_inputs", "horizon"):
        object.__setattr__(declared, name, whole(getattr(declared, name), name, 1))
    instance(declared.parameters, Parameters, "parameters")
    for name in ("dynamics", "stage_cost", "terminal_cost"):
        function(getattr(declared, name), name)
    instance(declared.constraints, Mapping, "constraints")
    for name, constraint in declared.constraints.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of a constraint is a string, not {name!r}")
        function(constraint, f"constraint '{name}'")
    object.__setattr__(declared, "discount", share(declared.discount, "discount"))
    n, box = declared.n_inputs, []
    for name, wrong in (("input_lower", np.inf), ("input_upper", -np.inf)):
        side = reals(getattr(declared, name), name, finite=False)
        if side.shape not in ((), (n,)):
            raise ValueError(f"{name} has shape {side.shape}, but there are {n} inputs: give a number, or shape ({n},)")
        if (side == wrong).any():
            raise ValueError(f"{name} is {wrong}: no input is as large as that ({-wrong} where there is no bound)")
        box.append(np.broadcast_to(side, (n,)).copy())
        object.__setattr__(declared, name, box[-1])
    if (box[0] > box[1]).any():
        i = int((box[0] - box[1]).argmax())
        raise ValueError(
            f"input_lower {box[0]} exceeds input_upper {box[1]} by {box[0][i] - box[1][i]:.3g} in entry {i}"
        )


def names(value, n: int, what: str, default: str) -> list[str]:
    """Return `n` names: those given as `value`, or if there are none `default` and a number; `what` names the field."""
    try:
        found = [] if value is None else list(value)
    except TypeError:
        found = [None]
    if not found:
        return [f"{default}{i + 1}" for i in range(n)]
    if isinstance(value, str) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{what} is a list of {n} strings, not {short(value)}")
    if len(found) != n:
        raise ValueError(f"{what} has {len(found)} names, but there are {n}: {short(value)}")
    if len(set(found)) < n:
        raise ValueError(f"{what} names two the same: {short(value)}")
    return found


def indices(value, n: int, what: str) -> tuple[int, ...]:
    """Return `value` as indices of n states, each from 0 to n - 1 and once; `what` names the field in a message."""
    try:
        found = tuple(whole(i, f"an entry of {what}", 0) for i in value)
    except TypeError:
        raise ValueError(f"{what} is a list of state numbers, not {short(value)}") from None
    if any(i >= n for i in found) or len(set(found)) < len(found):
        raise ValueError(f"{what} are numbers of states, from 0 to {n - 1}, each once, not {short(value)}")
    return found


def check_functions(declared: Any, neighbours: Sequence[int] | None = None, whose: str = "") -> None:
    """Call every function of a declaration with CasADi symbols, at every stage, and check what it returns.

    Parameters
    ----------
    declared : OptimalControlProblem or Agent
    neighbours : sequence of int, optional
        Of an agent: how many states each of its neighbours has.
    whose : str
        Stands before the name of a function in messages: "agent 1's ".

    Raises
    ------
    ValueError
        A function raises (its own error is the cause), or returns what it should not: with its name and the stage.
    """
    nx, N, parameters = declared.n_states, declared.horizon, declared.parameters
    x, u, theta = ca.SX.sym("x", nx), ca.SX.sym("u", declared.n_inputs), ca.SX.sym("theta", parameters.size)
    p = parameters.unpack(theta)
    others = () if neighbours is None else ([ca.SX.sym(f"x{j}", n) for j, n in enumerate(neighbours)],)
    blocks = ", ".join(vars(p)) or "no blocks"
    symbols = f"x ({nx},), u ({declared.n_inputs},), {'' if neighbours is None else 'neighbours, '}p with {blocks}"

    symbolic = [x, u, *sum(others, [])]
    untouched = [entry.element_hash() for part in symbolic for entry in part.elements()]
    known = {symbol.element_hash() for part in (x, u, theta, *sum(others, [])) for symbol in ca.symvar(part)}

    def call(what, own, k, *arguments):
        try:
            answer = own(*arguments)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            said = lines[-1] if "casadi" in lines[0].lower() else " ".join(lines)
            if k == N and what.startswith(f"{whose}constraint"):
                hint = f"at the last stage, {N}, there is no input, and u is None: return None there, or rows without u"
            else:
                hint = f"it is called with CasADi symbols: {symbols}"
            place = "" if k is None else f" at stage {k}"
            raise ValueError(f"{what} raised {type(error).__name__}{place}: {said} ({hint})") from error
        if [entry.element_hash() for part in symbolic for entry in part.elements()] != untouched:
            raise ValueError(f"{what} overwrites what it is given: make a new column with ca.vertcat(…)")
        for part in answer if isinstance(answer, tuple) else (answer,):
            _check_symbols(part, known, what)
        return answer

    what = whose + _called("dynamics", declared.dynamics)
    ahead = _column(call(what, declared.dynamics, None, x, u, *others, p), what, "")
    if ahead.shape != (nx, 1):
        if nx in ahead.shape and ahead.numel() == nx:
            raise ValueError(f"{what} returns a row of {nx} states, but a column is needed: {ADVICE}")
        given = f"{ahead.shape[0]} states" if ahead.shape[1] == 1 else f"a matrix of shape {ahead.shape}"
        raise ValueError(f"{what} returns {given}, but the {'problem' if neighbours is None else 'agent'} has {nx}")
    what = whose + _called("stage_cost", declared.stage_cost)
    for k in range(N):
        _check_cost(call(what, declared.stage_cost, k, k, x, u, *others, p), what, f" at stage {k}")
    what = whose + _called("terminal_cost", declared.terminal_cost)
    _check_cost(call(what, declared.terminal_cost, None, x, p), what, "")
    for name, constraint in declared.constraints.items():
        what, sizes = f"{whose}constraint '{name}'", set()
        for k in range(N + 1):
            seen = (u, *others) if k < N else (None,) * (1 + len(others))
            rows = call(what, constraint, k, k, x, *seen, p)
            if rows is not None:
                sizes.add(_check_rows(rows, what, f" at stage {k}"))
        if not sizes:
            raise ValueError(f"{what} returns None at every stage: is its last line a return?")
        if len(sizes) > 1:
            raise ValueError(f"{what} has {sorted(sizes)} rows at different stages; give it one number")


def _called(field: str, own: Callable) -> str:
    """Return what to call a reader's function: the field, and its own name if it has another one."""
    name = getattr(own, "__name__", field)
    return field if name in (field, "<lambda>") else f"{field} (your function '{name}')"


def _column(value, what: str, place: str, advice: str = ADVICE) -> ca.SX:
    """Return what a function returned as an SX; ValueError if it is no CasADi expression, and no number."""
    if isinstance(value, (ca.SX, ca.DM)):
        return ca.SX(value)
    if isinstance(value, Real) and not isinstance(value, bool):
        return ca.SX(float(value))
    if isinstance(value, np.ndarray) and not value.shape and value.dtype.kind in "fiu":
        return ca.SX(float(value))
    if value is None:
        raise ValueError(f"{what} returned None{place}: is its last line a return?")
    kind = {"ndarray": f"a NumPy array of shape {np.shape(value)}"} if isinstance(value, np.ndarray) else {}
    name = type(value).__name__
    raise ValueError(f"{what} returned {kind.get(name, f'a {name}')}{place}, not a CasADi expression: {advice}")


def _check_symbols(part, known: set, what: str) -> None:
    """Raise ValueError if part of an answer depends on symbols that nobody gave, or is a constant that is no number."""
    if not isinstance(part, ca.SX):
        return
    free = [str(symbol) for symbol in ca.symvar(part) if symbol.element_hash() not in known]
    if free:
        raise ValueError(f"{what} depends on a symbol of its own, {free[0]}: make it a parameter")
    if any(entry.is_constant() and np.isnan(float(entry)) for entry in part.nonzeros()):
        raise ValueError(f"{what} returns nan: {short(part)}")


def _check_cost(value, what: str, place: str) -> None:
    advice = "a cost is one number, such as ca.sumsqr(x) of a vector x"
    cost = _column(value, what, place, advice)
    if cost.shape != (1, 1):
        raise ValueError(f"{what} returns shape {cost.shape}{place}, but {advice}")
    if cost.is_constant() and not np.isfinite(float(cost)):
        raise ValueError(f"{what} is {float(cost)}{place}, not a finite cost")


def _check_rows(rows, what: str, place: str) -> int:
    """Check what a constraint returned; return how many rows there are."""
    if not isinstance(rows, tuple) or not 1 <= len(rows) <= 4:
        given = "a bare expression" if isinstance(rows, (ca.SX, ca.DM)) else f"a {type(rows).__name__}"
        raise ValueError(f"{what} returned {given}{place}: return Rows(expression, lower, upper), or None for no rows")
    expression, *bounds = rows
    h = _column(expression, f"the expression of {what}", place)
    m = int(h.numel())
    if h.shape != (m, 1) or not m:
        raise ValueError(f"the expression of {what} has shape {h.shape}{place}; it is a column of one row or more")
    known: dict[str, np.ndarray] = {}
    for side, value in zip(("lower", "upper", "weight"), bounds):
        if value is None:
            continue
        known[side] = bound = _constants(value, m, what, side, place)
        wrong = {"lower": bound == np.inf, "upper": bound == -np.inf, "weight": np.isinf(bound) | (bound < 0.0)}[side]
        if wrong.any():
            i = int(wrong.argmax())
            why = "no weight of a slack: finite, and not below 0" if side == "weight" else "a bound that nothing keeps"
            raise ValueError(f"the {side} of {what} is {bound[i]:g} in row {i + 1}{place}: {why}")
    if {"lower", "upper"} <= set(known):
        apart = known["lower"] - known["upper"]  # nan, and so not positive, where either is no constant
        if (apart > 0.0).any():
            i = int(np.nanargmax(apart))
            raise ValueError(f"the lower of {what} exceeds its upper by {apart[i]:.3g} in row {i + 1}{place}")
    return m


def _constants(value, m: int, what: str, side: str, place: str) -> np.ndarray:
    """Return the bound of each of m rows as a number, nan where it depends on something; ValueError if it is wrong."""
    if isinstance(value, ca.SX):
        shape, flat = value.shape, ca.vertsplit(ca.vec(value)) if value.numel() else []
        constant = np.array([entry.is_constant() for entry in flat], dtype=bool)
        found = np.array([float(entry) if entry.is_constant() else np.nan for entry in flat])
    else:
        try:
            array = floats(value, f"the {side} of {what}")
        except ValueError as error:
            raise ValueError(f"{error}{place} (of expressions: {ADVICE})") from None
        shape, found = array.shape, array.ravel()
        constant = np.ones(len(found), dtype=bool)
    if len(found) not in (1, m):
        raise ValueError(f"{what} has {m} rows, but its {side} has shape {shape}{place}")
    if np.isnan(found[constant]).any():
        raise ValueError(f"the {side} of {what} is nan{place}")
    return np.broadcast_to(found, (m,))


def scale_of(problem: Any, theta) -> np.ndarray:
    """Return what the `input_scale` of a problem says at theta, after a check; ValueError names it."""
    what = _called("input_scale", problem.input_scale)
    try:
        scale = problem.input_scale(problem.parameters.unpack(theta))
    except Exception as error:
        raise ValueError(f"{what} raised {type(error).__name__}: {error}") from error
    scale = np.atleast_1d(reals(scale, f"what {what} returns"))
    if scale.ndim != 1 or not 1 <= len(scale) <= problem.n_inputs:
        raise ValueError(f"{what} returns shape {scale.shape}, but there are {problem.n_inputs} inputs")
    if not (scale > 0.0).all():
        raise ValueError(f"{what} returns {scale}, but inputs are multiplied by what is above 0")
    return scale
