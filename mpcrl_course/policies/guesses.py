"""Algorithmic: the problem stays as it is, and a rule, a memory or a network says where its solver starts.

A guess is a function of the state, s -> (x, u): states (N + 1, n_states) and inputs (N, n_inputs), for `warm_start`.

held        x_k = s, u_k = 0
line        x_k on the straight line from s to rest at the nearest upright, u_k = 0
Nearest     the plan stored for the state nearest to s
Predicted   a network's, of the angle's (cos, sin) and the other states

Whatever the guess, what is found from it satisfies the problem's optimality conditions: it decides which local optimum
is found, and how soon. A network that is fitted to plans by least squares gives their mean; where two ways round are
equally good, the mean is neither of them. `compare_guesses` says what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import process_time
from typing import NamedTuple

import numpy as np

from mpcrl_course.mlp import MLP
from mpcrl_course.mpc import MPC, SolverError
from mpcrl_course.validation import floats, function, instance, reals, sequence, short, whole

TURN = 2.0 * np.pi


def held(s, N: int, n_inputs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the state s (n_states,) held over N stages, with n_inputs inputs of 0."""
    N, n_inputs = whole(N, "N", 1), whole(n_inputs, "n_inputs", 1)
    return np.tile(reals(s, "s", (None,)), (N + 1, 1)), np.zeros((N, n_inputs))


def line(s, N: int, angle: int) -> tuple[np.ndarray, np.ndarray]:
    """Return N stages straight from s (n_states,) to rest, the state `angle` at its nearest whole turn; inputs 0."""
    s, N, end = reals(s, "s", (None,)), whole(N, "N", 1), np.zeros(np.shape(s))
    angle = index_of(angle, len(s))
    end[angle] = TURN * np.round(s[angle] / TURN)
    return np.linspace(s, end, N + 1), np.zeros((N, 1))


def windows(x, u, N: int, every: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return all pieces of N steps of closed loops, one that starts in `every` second (third, …) step of each run.

    Parameters
    ----------
    x : array_like, shape (steps + 1, n, n_states)
    u : array_like, shape (steps, n, n_inputs)
        As the problem counts them: see `input_scale`.
    N, every : int

    Returns
    -------
    x, u : ndarray, shapes (M, N + 1, n_states) and (M, N, n_inputs)
    """
    x, u, N, every = reals(x, "x", (None,) * 3), reals(u, "u", (None,) * 3), whole(N, "N", 1), whole(every, "every", 1)
    if len(x) != len(u) + 1 or x.shape[1] != u.shape[1] or len(u) < N:
        raise ValueError(f"x and u are runs of at least N = {N} steps, not of shapes {x.shape} and {u.shape}")
    first = range(0, len(u) - N + 1, every)
    pieces = [np.concatenate([part[k : k + n].swapaxes(0, 1) for k in first]) for part, n in ((x, N + 1), (u, N))]
    return pieces[0], pieces[1]


def mirrored(x, u) -> tuple[np.ndarray, np.ndarray]:
    """Return plans x (M, N + 1, n_states), u (M, N, n_inputs) and their mirror images, -x and -u: twice as many.

    Of a plant that does not know right from left, such as the pendulum and the cart-pole.
    """
    x, u = reals(x, "x", (None,) * 3), reals(u, "u", (None,) * 3)
    return np.concatenate([x, -x]), np.concatenate([u, -u])


class Nearest:
    """The plan stored for the nearest state: a guess.

    Parameters
    ----------
    x, u : array_like, shapes (M, N + 1, n_states) and (M, N, n_inputs)
        The plans.
    angle : int
        Which state is an angle: whole turns away is not away.
    scale : array_like, shape (n_states,)
        The distance is |(s - x_0) / scale|.
    """

    def __init__(self, x, u, angle: int, scale):
        self.x, self.u = _plans(x, u)
        n = self.x.shape[2]
        self.angle, self.scale = index_of(angle, n), scales(scale, n)

    def __call__(self, s) -> tuple[np.ndarray, np.ndarray]:
        """Return states and inputs of the plan stored for the state nearest to s, its angle turned to that of s."""
        apart = reals(s, "s", (self.x.shape[2],)) - self.x[:, 0]
        turns = TURN * np.round(apart[:, self.angle] / TURN)
        apart[:, self.angle] -= turns
        i = int(((apart / self.scale) ** 2).sum(axis=1).argmin())
        x = self.x[i].copy()
        x[:, self.angle] += turns[i]
        return x, self.u[i].copy()


class Predicted:
    """The plan that a network predicts: a guess.

    Parameters
    ----------
    network : MLP
        Fitted to `lesson`: ``learners.fit(network, *lesson(x, u, angle), rng)``.
    N : int
    angle : int
        Which state is an angle.
    lower, upper : float
        Box on the inputs, to which what is predicted is clipped.
    """

    def __init__(self, network: MLP, N: int, angle: int, lower: float, upper: float):
        self.network, self.N = instance(network, MLP, "network"), whole(N, "N", 1)
        self.n_states = network.sizes[0] - 1
        rest = network.sizes[-1] - (self.N + 1) * self.n_states
        if rest <= 0 or rest % self.N:
            raise ValueError(f"network does not predict plans of N = {N} stages of {self.n_states} states: {network}")
        self.angle, self.lower, self.upper = (
            index_of(angle, self.n_states),
            floats(lower, "lower"),
            floats(upper, "upper"),
        )
        if not (self.lower <= self.upper).all():
            raise ValueError(f"lower and upper are the inputs' bounds, not {short(lower)} and {short(upper)}")

    def __call__(self, s) -> tuple[np.ndarray, np.ndarray]:
        """Return states and inputs predicted from the state s (n_states,), the first of the states s itself."""
        s = reals(s, "s", (self.n_states,))
        x, u = np.split(self.network(seen(s, self.angle)).astype(float), [(self.N + 1) * self.n_states])
        x = s + x.reshape(self.N + 1, -1)
        x[0] = s
        return x, np.clip(u.reshape(self.N, -1), self.lower, self.upper)


def lesson(x, u, angle: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a network is shown of plans, and what it has to predict, for `Predicted`.

    The states are predicted relative to the first one: what the network sees does not tell the number of turns.

    Parameters
    ----------
    x, u : array_like, shapes (M, N + 1, n_states) and (M, N, n_inputs)
    angle : int
        Which state is an angle.

    Returns
    -------
    seen : ndarray, shape (M, n_states + 1)
    predicted : ndarray, shape (M, (N + 1) n_states + N n_inputs)
    """
    x, u = _plans(x, u)
    angle, M = index_of(angle, x.shape[2]), len(x)
    return seen(x[:, 0], angle), np.concatenate([(x - x[:, :1]).reshape(M, -1), u.reshape(M, -1)], axis=1)


class Found(NamedTuple):
    """What came of a guess in several states.

    Attributes
    ----------
    share : float
        Of the states, from which a value within 1 % of the best one is found.
    excess : float
        By how much, relatively, the value lies above the best one elsewhere, the median; nan if there is no elsewhere.
    ratio : float
        CPU time relative to that of the quickest guess, of both the medians.
    value, seconds : ndarray, shape (n,)
        The value found from each state, infinite where none is, and its CPU time with that of the guess.
    """

    share: float
    excess: float
    ratio: float
    value: np.ndarray
    seconds: np.ndarray


def compare_guesses(mpc: MPC, theta, guesses: Mapping, starts) -> dict[str, Found]:
    """Return what the patient solver finds from each guess in each state; the best is the best of all of them.

    Parameters
    ----------
    mpc : MPC
    theta : array_like, shape (n_theta,)
    guesses : mapping of name to callable s -> (x, u), or to a sequence of these
        Of a sequence the problem is solved from each, and the cheapest counts.
    starts : array_like, shape (n, n_states)
    """
    problem = instance(mpc, MPC, "mpc").problem
    starts = reals(starts, "starts", (None, problem.n_states))
    if not len(starts) or not instance(guesses, Mapping, "guesses"):
        raise ValueError("guesses and starts: at least one of each is needed")
    values, seconds = {}, {}
    for name, several in guesses.items():
        each = [
            function(g, f"guesses['{name}']")
            for g in ([several] if callable(several) else sequence(several, "guesses"))
        ]
        found = np.array([_solved(mpc.reference, theta, s, each) for s in starts])
        values[name], seconds[name] = found.T
    best, quickest = np.min(list(values.values()), axis=0), min(map(np.median, seconds.values()))
    if not np.isfinite(best).all():
        raise ValueError(f"none of the guesses leads to an optimum from {starts[~np.isfinite(best)][0]}")
    rows = {}
    for name, value in values.items():
        near = value <= best + 0.01 * np.abs(best) + 1e-6
        excess = float(np.median((value / best - 1.0)[~near])) if not near.all() else np.nan
        ratio = float(np.median(seconds[name]) / quickest)
        rows[name] = Found(float(near.mean()), excess, ratio, value, seconds[name])
    return rows


def _solved(mpc: MPC, theta, s, guesses: list[Callable]) -> tuple[float, float]:
    """Return the cheapest value found from s, and the CPU time that it took."""
    began, value = process_time(), np.inf
    for guess in guesses:
        try:
            value = min(value, mpc.policy(theta, s, warm_start=guess(s.copy())).value)
        except SolverError:
            continue
    return value, process_time() - began


def seen(s: np.ndarray, angle: int) -> np.ndarray:
    """Return states as a network sees them: with (cos, sin) in the place of the angle, so that turns do not show.

    Parameters
    ----------
    s : array_like, shape (..., n_states)
    angle : int
        Which state is an angle.
    """
    s = np.asarray(s, float)
    q = s[..., angle]
    return np.concatenate([s[..., :angle], np.stack([np.cos(q), np.sin(q)], -1), s[..., angle + 1 :]], axis=-1)


def _plans(x, u) -> tuple[np.ndarray, np.ndarray]:
    """Return plans as arrays of three axes that fit."""
    x, u = reals(x, "x", (None,) * 3), reals(u, "u", (None,) * 3)
    if not len(x) == len(u) > 0 or x.shape[1] != u.shape[1] + 1:
        raise ValueError(f"x and u are plans (M, N + 1, …) and (M, N, …), not of shapes {x.shape} and {u.shape}")
    return x, u


def scales(scale, n: int | None = None) -> np.ndarray:
    """Return a `scale` (n,), of as many states as there are if n is None; ValueError if it is not positive."""
    scale = reals(scale, "scale", (n,))
    if not (scale > 0.0).all():
        raise ValueError(f"scale must be positive, not {scale}")
    return scale


def index_of(angle, n: int) -> int:
    """Return the index of a state, an `angle`, if it is one of n; ValueError if it is not."""
    found = whole(angle, "angle", 0)
    if found >= n:
        raise ValueError(f"angle is the index of one of {n} states, not {found}")
    return found
