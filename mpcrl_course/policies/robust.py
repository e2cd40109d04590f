"""Uncertainty and safety in the small, on the pendulum: back-offs, scenarios, a barrier and a predictive filter.

A limit on the speed, |v| <= max_speed, is kept by an MPC that plans with max_speed - back_off. The noise of the torque
(standard deviation s) moves the next velocity by sigma = dt 3 s / (m l^2), and the back-off is

    0                                 nominal: hopes,
    quantile of that noise            chance-constrained: crossed with probability epsilon, if its shape is right,
    sqrt((1 - epsilon)/epsilon) sigma distributionally robust: whatever the distribution of this variance (Cantelli).

Both count the noise of one step, on the side of the limit that is near, in a step that is planned to end at the
backed-off limit. That is enough as long as the motor can undo each step's noise before the next comes. It cannot
everywhere: it changes the velocity by 0.3 rad/s a step, gravity by up to 0.75. While the pendulum falls, the noise of
several steps adds up, and the promise of epsilon ends; the limit is soft, so that a plan is found all the same.

Sources: Calafiore & El Ghaoui, JOTA 130(1), 2006 (the last line); Ames et al., IEEE TAC 62(8), 2017 (barriers);
Wabersich & Zeilinger, Automatica 129, 2021 (predictive filter).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from mpcrl_course.envs.pendulum import DT, PendulumParameters, dynamics
from mpcrl_course.mpc import MPC, Solution, SolverError, shift
from mpcrl_course.policies import pendulum_mpc
from mpcrl_course.policies.scenario_mpc import Scenarios

NOMINAL = PendulumParameters()


def speed_deviation(p: PendulumParameters) -> float:
    """Return the standard deviation of the velocity after one step that the noise of the torque makes, rad/s."""
    return DT * 3.0 * p.process_noise / (p.mass * p.length**2)


def chance_back_off(sigma: float, epsilon: float = 0.05, samples=None) -> float:
    """Return the back-off that a noise crosses with probability epsilon.

    Parameters
    ----------
    sigma : float
        Standard deviation of a normal noise.
    epsilon : float
        In (0, 0.5].
    samples : array_like, optional
        Measured noise, positive towards the limit; then its quantile is taken, and `sigma` is not used.
    """
    _check(sigma, epsilon)
    if samples is None:
        return float(norm.ppf(1.0 - epsilon) * sigma)
    samples = np.ravel(np.asarray(samples, dtype=float))
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"a quantile needs finite samples, not {samples}")
    return float(np.quantile(samples, 1.0 - epsilon))


def robust_back_off(sigma: float, epsilon: float = 0.05) -> float:
    """Return the back-off that no noise of mean 0 and deviation sigma crosses with more than probability epsilon."""
    _check(sigma, epsilon)
    return float(np.sqrt((1.0 - epsilon) / epsilon) * sigma)


def _check(sigma, epsilon):
    if not 0.0 < epsilon <= 0.5:
        raise ValueError(f"epsilon must lie in (0, 0.5], not {epsilon}")
    if not 0.0 <= sigma < np.inf:
        raise ValueError(f"a standard deviation is finite and not negative, not {sigma}")


class ScenarioController:
    """Scenario MPC of the pendulum for several masses, as a policy with a memory like `PendulumController`.

    It plans as if the mass became known after the next step. It never does, and one step of waiting costs next to
    nothing: so where the heavy pendulum needs another swing and the light one does not, the plan may be to hold and
    wait for the news, again and again. Solved to the end in every step, at many times the time, it waits more seldom.

    Parameters
    ----------
    masses : sequence of float
        One scenario each, kg; each with the terminal cost that belongs to it.
    horizon : int

    Raises
    ------
    SolverError
        If not even the first plan is found.
    """

    def __init__(self, masses=(0.7, 1.0, 1.3), horizon: int = 80):
        self.masses, self.base = tuple(masses), pendulum_mpc.pendulum_mpc(horizon=horizon)
        models = [replace(NOMINAL, mass=mass) for mass in self.masses]
        varied = {"mass": self.masses, "terminal": [pendulum_mpc.terminal_factor(model) for model in models]}
        self.scenarios = Scenarios(self.base.problem, varied, residual=pendulum_mpc.residual)
        self.mpc = MPC(self.scenarios.problem, "rti", residual=self.scenarios.residual)
        self.theta = self.mpc.parameters.initial()
        self.reset()

    def reset(self) -> None:
        """Forget all plans."""
        self.plans: list[Solution] = []

    def __call__(self, x) -> np.ndarray:
        """Return torques (n, 1) in N m for the measured states x (n, 2)."""
        x = pendulum_mpc.checked_states(x)
        if len(x) == len(self.plans):
            self.plans = [self._next(plan, s) for plan, s in zip(self.plans, x, strict=True)]
        else:
            self.plans = [self._first(s) for s in x]
        shares = np.array([self.scenarios.first_input(plan) for plan in self.plans])
        return self.mpc.parameters.unpack(self.theta).max_torque * shares

    def _next(self, plan: Solution, s) -> Solution:
        """Return the plan of the step before, shifted and improved once; where that fails, it goes on."""
        guess = pendulum_mpc.beside(shift(plan), s)
        try:
            return self.mpc.policy(self.theta, self.scenarios.stack(s), warm_start=guess)
        except SolverError:
            return guess

    def _first(self, s) -> Solution:
        """Return the optimum that ipopt finds from the best plan of each mass alone, side by side."""
        theta = self.base.parameters.initial()
        plans = [pendulum_mpc.first_plan(self.base, pendulum_mpc.told(self.base, theta, replace(NOMINAL, mass=mass)), s)
                 for mass in self.masses]  # fmt: skip
        x, u = np.hstack([plan.x for plan in plans]), np.hstack([plan.u for plan in plans])
        return self.mpc.reference.policy(self.theta, self.scenarios.stack(s), warm_start=(x, u))


def barrier_torques(x, max_speed: float, kappa: float = 0.3, p: PendulumParameters = NOMINAL):
    """Return the lowest and the highest torque (n,) that keep the barrier condition h(x+) >= (1 - kappa) h(x).

    h = max_speed - |v| >= 0 is the safe set; kappa = 1 asks only that the next state is in it (action restriction).
    From outside of it (h < 0) the next state is asked to be inside, at once. The two torques may lie beyond the motor's
    limit: then no admissible torque keeps the condition.
    """
    if not 0.0 < kappa <= 1.0 or not 0.0 < max_speed < np.inf:
        raise ValueError(f"need 0 < kappa <= 1 and a max_speed > 0, not kappa = {kappa} and max_speed = {max_speed}")
    x = pendulum_mpc.checked_states(x)
    drift = dynamics(x, np.zeros((len(x), 1)), p)[:, 1]
    gain = DT * 3.0 / (p.mass * p.length**2)
    fastest = max_speed - (1.0 - kappa) * np.maximum(max_speed - np.abs(x[:, 1]), 0.0)  # |v+| may be so much
    return (-fastest - drift) / gain, (fastest - drift) / gain


def barrier_filter(policy: Callable, max_speed: float, kappa: float = 0.3, p: PendulumParameters = NOMINAL) -> Callable:
    """Return the policy, its torque changed as little as the barrier condition asks (and as the motor allows)."""

    def filtered(x):
        low, high = barrier_torques(x, max_speed, kappa, p)
        u = np.asarray(policy(x), dtype=float).reshape(-1)
        return np.clip(np.clip(u, low, high), -p.max_torque, p.max_torque)

    return _with_memory(filtered, policy)


def braking(x, p: PendulumParameters = NOMINAL) -> np.ndarray:
    """Return the torques (...,) of the backup controller: against the velocity, as much as stops it in one step."""
    stop = -p.mass * p.length**2 / (3.0 * DT) * np.asarray(x, dtype=float)[..., 1]
    return np.clip(stop, -p.max_torque, p.max_torque)


def predictive_filter(
    policy: Callable, max_speed: float, p: PendulumParameters = NOMINAL, steps: int = 40, candidates: int = 41
) -> Callable:
    """Return the policy with the least change after which braking would still keep the limit.

    Candidates are the wanted torque, that of `braking`, and a grid over the motor's range. Each is followed, in the
    model, by `steps` steps of `braking`; it is safe if the speed stays within the limit throughout. If none is, the one
    with the lowest peak is taken.

    What is safe now stays so, in the model, if `steps` steps of braking show the highest speed that braking leads to.
    There is one place where it comes later: near the upright, where the brake holds the pendulum and lets it go slowly.
    Such a fall reaches 5.02 rad/s (the nominal pendulum), so limits above that are kept; a lower one needs another
    backup controller there, which balances.
    """
    if candidates < 2 or steps < 0 or not 0.0 < max_speed < np.inf:
        raise ValueError(f"need candidates >= 2, steps >= 0 and max_speed > 0, not {candidates}, {steps}, {max_speed}")
    grid = np.linspace(-p.max_torque, p.max_torque, candidates)

    def filtered(x):
        x = pendulum_mpc.checked_states(x)
        wanted = np.clip(np.asarray(policy(x), dtype=float).reshape(-1, 1), -p.max_torque, p.max_torque)
        tried = np.hstack([wanted, braking(x, p)[:, None], np.tile(grid, (len(x), 1))])
        ahead = dynamics(np.repeat(x[:, None], tried.shape[1], axis=1), tried[..., None], p)
        peak = np.abs(ahead[..., 1])
        for _ in range(steps):
            ahead = dynamics(ahead, braking(ahead, p)[..., None], p)
            peak = np.maximum(peak, np.abs(ahead[..., 1]))
        unsafe = peak > max_speed
        badness = np.where(unsafe, 2.0 * p.max_torque + peak, np.abs(tried - wanted))  # no change is above 2 max_torque
        return tried[np.arange(len(x)), badness.argmin(axis=1)]

    return _with_memory(filtered, policy)


def _with_memory(filtered: Callable, policy: Callable) -> Callable:
    """Return `filtered`, with the `reset` of the policy it filters, if that has one."""
    if hasattr(policy, "reset"):
        filtered.reset = policy.reset  # type: ignore[attr-defined]
    return filtered
