"""Declaration of an optimal-control problem: plain functions of (x, u, p) written as in the lecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mpcrl_course.mpc.declaration import check_fields, check_functions, indices, names, scale_of
from mpcrl_course.mpc.parameters import Parameters
from mpcrl_course.validation import function, whole


class Rows(NamedTuple):
    """Constraint rows ``lower <= expression <= upper`` of one stage, hard or soft.

    With a `weight` w the rows are soft: each has one slack sigma >= 0, shared by its two sides,
    ``lower - sigma <= expression <= upper + sigma``, that costs w sigma in the objective (an exact l1 penalty).

    Attributes
    ----------
    expression : casadi.SX
        Column of m expressions in x, u and the parameters.
    lower, upper : array_like or casadi.SX or None
        Bounds, m rows or a scalar; None if there is no bound on that side. A constant lower bound above its upper
        bound, by however little, is an error of the declaration, also where slacks would make it feasible. Bounds that
        depend on parameters are looked at when a question is asked: apart by rounding (1e-9, relative to 1 or to their
        size) they count as equal, and by more as an error.
    weight : array_like or casadi.SX or None
        Cost of a unit of slack, m rows or a scalar; None for hard rows.
    """

    expression: Any
    lower: Any = None
    upper: Any = None
    weight: Any = None


@dataclass(frozen=True, eq=False)
class OptimalControlProblem:
    """A finite-horizon optimal-control problem with named parameters; a ValueError names what is wrong in it.

    minimise  sum_{k<N} stage_cost(k, x_k, u_k, p) + terminal_cost(x_N, p) + sum of weight * slack
    subject to  x_0 = s,  x_{k+1} = dynamics(x_k, u_k, p),  input_lower <= u_k <= input_upper,
    and the rows of every function in `constraints`.

    The functions are called with CasADi symbols, first when the problem is declared: x (n_states,), u (n_inputs,), p
    a namespace of the parameter blocks, k the stage (a plain int, so that a function may treat stages differently).
    Discounting is written out in the stage cost, where the reader sees it; `discount` is the learner's gamma.

    Attributes
    ----------
    n_states, n_inputs, horizon : int
        Dimensions of x and u, and the number N of stages.
    parameters : Parameters
        Named parameters and their initial values.
    dynamics : callable (x, u, p) -> x_next
    stage_cost : callable (k, x, u, p) -> scalar
    terminal_cost : callable (x, p) -> scalar
    input_lower, input_upper : array_like, shape (n_inputs,)
        Box on every input; +-inf where there is no bound.
    constraints : mapping of name to callable (k, x, u, p) -> Rows or None
        Called for k = 0 … N (with u = None at k = N); None where a stage has no such rows.
    discount : float
        Discount factor gamma in (0, 1].
    n_actions : int
        How many inputs are the action, the first ones: Q(s, a) fixes these in u_0. By default (0) all of them; the
        others are unknowns of the plan that nobody applies, such as one's copy of a neighbour's plan.
    state_names, input_names : sequence of str
        For messages and figures.
    angles : sequence of int
        States that are angles: whole turns more or less, and it is the same state.
    guesses : callable (s, p) -> iterable of (x, u) or None, optional
        From where a first plan is looked for, where there are several optima; None is the state held. See
        `mpcrl_course.policies.receding.first_plan`.
    input_scale : callable (p) -> array_like, optional
        What the first of the plan's inputs are multiplied by to be the plant's inputs; by default all of them, by 1.
    """

    n_states: int
    n_inputs: int
    horizon: int
    parameters: Parameters
    dynamics: Callable
    stage_cost: Callable
    terminal_cost: Callable
    input_lower: Any = -np.inf
    input_upper: Any = np.inf
    constraints: Mapping[str, Callable] = field(default_factory=dict)
    discount: float = 1.0
    n_actions: int = 0
    state_names: Sequence[str] = ()
    input_names: Sequence[str] = ()
    angles: Sequence[int] = ()
    guesses: Callable | None = None
    input_scale: Callable | None = None

    def __post_init__(self):
        check_fields(self)
        n_actions = whole(self.n_actions, "n_actions") or self.n_inputs
        if not 1 <= n_actions <= self.n_inputs:
            raise ValueError(f"n_actions must lie between 1 and n_inputs = {self.n_inputs}, not {n_actions}")
        for name, value in (
            ("n_actions", n_actions),
            ("state_names", names(self.state_names, self.n_states, "state_names", "x")),
            ("input_names", names(self.input_names, self.n_inputs, "input_names", "u")),
            ("angles", indices(self.angles, self.n_states, "angles")),
        ):
            object.__setattr__(self, name, value)
        for name in ("guesses", "input_scale"):
            function(getattr(self, name), name, optional=True)
        check_functions(self)
        if self.input_scale is not None:
            scale_of(self, self.parameters.initial())
