"""The receding horizon: an MPC, or a network of them, as a controller; the warm start and what happens where it fails.

first decision      the cheapest of the plans found from the problem's own guesses (`first_plan`)
every later one     the plan of the step before, one stage further, improved from what is measured now (`improve`);
where that fails, it goes on as it is
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np

from mpcrl_course.closed_loop import measured
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Solution, SolverError, shift
from mpcrl_course.mpc.declaration import scale_of
from mpcrl_course.mpc.door import vector
from mpcrl_course.network import NetworkController
from mpcrl_course.validation import function, instance, sequence, short, whole


def first_plan(mpc: MPC, theta, s) -> Solution:
    """Return the cheapest of the plans that the patient solver finds from the guesses of the problem.

    A swing-up has many local optima (which way round, how many swings), and real-time iteration follows the one it is
    given: so the first plan is worth some solves by ipopt, before the clock runs. A problem without guesses of its own
    has one optimum, and is simply solved.

    Parameters
    ----------
    mpc : MPC
    theta : array_like, shape (n_theta,)
    s : array_like, shape (n_states,)

    Raises
    ------
    SolverError
        If no guess leads to an optimum.
    """
    problem = getattr(mpc, "problem", None)
    if not isinstance(problem, OptimalControlProblem):
        raise ValueError(f"mpc must be an MPC, not {short(mpc)}")
    s = vector(s, problem.n_states, "state")
    if problem.guesses is None:
        return mpc.policy(theta, s)
    plans, failure = [], None
    try:
        returned = problem.guesses(s.copy(), mpc.parameters.unpack(theta))
    except Exception as error:
        raise ValueError(f"guesses raised {type(error).__name__}: {error} (it is called with s and p)") from error
    guesses = sequence(returned, "what guesses returns")
    if not guesses:
        raise ValueError("guesses returns nothing to start from; [None] is the state held")
    for guess in guesses:
        try:
            plans.append(mpc.reference.policy(theta, s, warm_start=guess))
        except SolverError as error:
            failure = error
    if failure is not None and not plans:
        raise failure
    return min(plans, key=lambda plan: plan.value)


def beside(guess: Solution, s, angles) -> Solution:
    """Return the guess, each of its `angles` moved by whole turns to that of the state s."""
    if not angles:
        return guess
    x, angles = guess.x.copy(), list(angles)
    x[:, angles] += 2.0 * np.pi * np.round((s[angles] - x[0, angles]) / (2.0 * np.pi))
    return replace(guess, x=x)


def improve(mpc: MPC, theta, s, guess: Solution) -> Solution:
    """Return the plan from s that is found from a guess; where none is, the guess as it is, with the status 'failed'.

    Parameters
    ----------
    mpc : MPC
    theta : array_like, shape (n_theta,)
    s : array_like, shape (n_states,)
    guess : Solution
        Such as the plan of the step before, one stage further (`shift`).
    """
    try:
        return mpc.policy(theta, s, warm_start=guess)
    except SolverError:
        return replace(guess, status="failed")


class Receding:
    """An MPC as a controller of n plants, one plan kept for each; or a network of MPCs, each solve from the last one.

    Angles may be wrapped or not. Another number of plants than last time starts anew, as `reset` does.

    Parameters
    ----------
    mpc : MPC or NetworkController
    theta : array_like, optional
        By default the initial one; may be changed while it runs: ``controller.theta = with_model(mpc, theta, model)``.
    delay : int
        Steps of delay that the model knows of: it predicts the state in which the input will act, and plans from there.
        What is still on its way is what this controller sent (zeros at first). Of an MPC only.
    stack : callable (s) -> state of the problem, optional
        Where the problem's state is not what is measured: see `Scenarios.stack`.
    first : callable (mpc, theta, s) -> Solution, optional
        Of an MPC: makes the first plan; by default `first_plan`.

    Attributes
    ----------
    plans : list of Solution or NetworkSolution
        Latest plan of each; it starts `delay` steps after the decision.
    status : list of str
        A word for each of the latest decisions; 'failed' where the plan before goes on, '' where none was judged: a
        network's iterations end without a verdict.
    seconds : list of list of float
        CPU time of each one's decisions; the first is that of the first plan.

    Raises
    ------
    SolverError
        If not even the first plan is found, or a network's problem cannot be solved.
    ValueError
        What is measured has another shape, or is not finite.
    """

    def __init__(
        self,
        mpc: MPC | NetworkController,
        theta=None,
        *,
        delay: int = 0,
        stack: Callable | None = None,
        first: Callable = first_plan,
    ):
        if not isinstance(getattr(mpc, "parameters", None), Parameters):
            raise ValueError(f"mpc must be an MPC or a network's controller, not {short(mpc)}")
        delay = whole(delay, "delay", 0)
        if delay and not isinstance(mpc, MPC):
            raise ValueError(f"delay is a whole number of steps that an MPC predicts (a network: 0), not {delay}")
        function(stack, "stack", optional=True), function(first, "first")
        self.mpc: Any = mpc
        self.theta = mpc.parameters.pack(theta)
        self.delay, self.stack, self.first = delay, stack, first
        self.reset()

    def reset(self) -> None:
        """Forget all plans: the next call starts anew."""
        self.plans: list[Any] = []
        self.seconds: list[list[float]] = []
        self._sent: list[list[np.ndarray]] = []  # all of it: a delay that grows asks for older ones

    @property
    def status(self) -> list[str]:
        """A word for each of the latest decisions."""
        return [getattr(plan, "status", "") for plan in self.plans]

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs) for what is measured, y (n, n_measured)."""
        problem = getattr(self.mpc, "problem", None)  # None: a network
        y = measured(y, None if self.stack or problem is None else problem.n_states)
        if len(y) != len(self.plans):
            self.reset()
            self.plans, self.seconds = [None] * len(y), [[] for _ in y]
            self._sent = [[] for _ in y]
        scale = None
        if problem is not None and problem.input_scale is not None:
            scale = scale_of(problem, self.theta)
        inputs = []
        for i, s in enumerate(y):
            began = process_time()
            s = s if self.stack is None else self.stack(s)
            u0 = self._plan(i, s, problem, scale).u0
            inputs.append(u0 if scale is None else scale * u0[: len(scale)])
            self._sent[i].append(inputs[-1])
            self.seconds[i].append(process_time() - began)
        return np.array(inputs)

    def _plan(self, i: int, s, problem, scale):
        old = self.plans[i]
        if problem is None:
            self.plans[i] = self.mpc.V(self.theta, s, warm_start=old)
            return self.plans[i]
        for ago in range(self.delay, 0, -1):  # the oldest that is still on its way acts first
            u = self._sent[i][-ago] if ago <= len(self._sent[i]) else np.zeros(problem.n_inputs)
            s = self.mpc.transcription.step(self.theta, s, u if scale is None else u / scale)[0]
        if old is None:
            self.plans[i] = instance(self.first(self.mpc, self.theta, s), Solution, "what first returns")
        else:
            self.plans[i] = self._answer(s, old)
        return self.plans[i]

    def _answer(self, s, old: Solution) -> Solution:
        """Return the plan from s that follows the old one."""
        return improve(self.mpc, self.theta, s, beside(shift(old), s, self.mpc.problem.angles))
