"""MPC as part of the environment: what a learner acts on is the plant together with its MPC.

    outer action a,   theta = (base, phi(a)),   u = pi_theta(x),   x+ = f(x, u)

The learner sees an environment whose action is a: weights, a reference, margins. It needs no derivative of the MPC, so
there may be anything in it: jumps, other solvers, a horizon that is too short. Here the outer action is the speed that
the racing car's MPC is asked for, and the MPC too short-sighted (15 stages) to choose it itself: asked for 9 m/s it
takes 22.4 s a lap, asked for 12 it crashes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from mpcrl_course.envs import race
from mpcrl_course.envs.around import Around
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.policies.receding import first_plan
from mpcrl_course.validation import function, instance, real, reals, sequence


class WithMPC(Around):
    """A plant and its MPC as one environment, whose action is phi: so any learner of actions learns phi_theta(s).

    The observation is the plant's, ``info["status"]`` a word for the solve.

    Parameters
    ----------
    env : PlantEnv or Around
        Its true state is that of the problem.
    mpc : MPC
    phi : callable (a) -> dict
        Values of named parameters of the mpc, for an action a (n_actions,).
    lower, upper : array_like, shape (n_actions,)
        Limits of the action.
    theta : array_like, optional
        All other parameters; by default the initial ones.
    first : callable, optional
        As of `Receding`.
    """

    def __init__(self, env, mpc: MPC, phi: Callable, lower, upper, theta=None, *, first: Callable = first_plan):
        super().__init__(env)
        self.mpc: MPC = instance(mpc, MPC, "mpc")
        self.base = mpc.parameters.pack(theta)
        self.phi, self.first = function(phi, "phi"), function(first, "first")
        lower, upper = reals(lower, "lower", (None,)), reals(upper, "upper", (None,))
        if lower.shape != upper.shape or not lower.size or not (lower < upper).all():
            raise ValueError(f"lower must be below upper, of one shape (n_actions,), not {lower} and {upper}")
        self.action_space: Any = gym.spaces.Box(lower, upper, dtype=np.float64)
        self._plan: tuple[np.ndarray, np.ndarray] | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode; `seed` and `options` are those of the plant."""
        self._plan = None
        return super().reset(seed=seed, options=options)

    def step(self, action):
        """Solve the problem of phi(action), and apply its first input; ``info["status"]`` is a word for the solve.

        The action (n_actions,) is clipped to its limits.
        """
        space = self.action_space
        a = np.clip(reals(action, "action", space.shape), space.low, space.high)
        theta = self.mpc.parameters.pack(self.base, **instance(self.phi(a), dict, "what phi returns"))
        status = "failed"
        if self._plan is None:
            plan = self.first(self.mpc, theta, self.x)
            x, u, status = plan.x, plan.u, plan.status
        else:
            x, u = self._plan
            try:
                plan = self.mpc.policy(theta, self.x, warm_start=(x, u))
                x, u, status = plan.x, plan.u, plan.status
            except SolverError:  # the plan before goes on
                pass
        last = self.mpc.transcription.step(theta, x[-1], u[-1])[0]
        self._plan = np.concatenate([x[1:], last[None]]), np.concatenate([u[1:], u[-1:]])
        *answer, info = super().step(u[0])
        return (*answer, info | {"status": status})

    def state_dict(self) -> dict:
        """Return what a run must save to go on exactly here: the plant's, and the plan."""
        plan = None if self._plan is None else [part.tolist() for part in self._plan]
        return super().state_dict() | {"plan": plan}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state` of `state_dict`; ValueError if it is none of this plant and MPC."""
        super().load_state_dict(state)
        plan, problem = state.get("plan"), self.mpc.problem
        shapes = (problem.horizon + 1, problem.n_states), (problem.horizon, problem.n_inputs)
        if plan is not None:
            plan = [reals(part, "a plan", shape) for part, shape in zip(sequence(plan, "a plan"), shapes, strict=True)]
        self._plan = None if plan is None else (plan[0], plan[1])


def speed_ahead(w: float = 0.9, ahead: float = 10.0) -> Callable:
    """Return phi of the racing car: {"v_ref": w sqrt(8 / max |kappa|)}, what the grip holds in the next bend, times w.

    Two numbers to be set by hand or learned by trial. v_ref is within 3 and 12 m/s.

    Parameters
    ----------
    w : float
    ahead : float
        How far to look for the largest |kappa|, m.
    """
    w, ahead = real(w, "w"), real(ahead, "ahead", 0.0, race.LENGTH)
    distances = np.linspace(0.0, ahead, max(2, int(ahead / 0.2)))

    def phi(s):
        sharpest = max(float(np.abs(race.curvature(s[0] + distances)).max()), 0.02)
        return {"v_ref": float(np.clip(w * np.sqrt(8.0 / sharpest), 3.0, race.MAX_SPEED))}

    return phi


def asked_speed(a) -> dict:
    """Return phi of an action a (1,) in [-1, 1]: the MPC is asked for 8.5 + 3.5 a, from 5 to 12 m/s."""
    return {"v_ref": 8.5 + 3.5 * float(reals(a, "a", (1,))[0])}
