"""Exercise 08, on whether an MPC can teach.

Seven items: from where a clone fails, the loss of cloning, DAgger with a rule when to ask, what the skip policy learns,
a DAgger that teaches nothing, five hundred states that are worth a label, and what no pupil can learn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mpcrl_course import places
from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.closed_loop import Run, run
from mpcrl_course.envs.pendulum import NOMINAL, dynamics, observation, wrap
from mpcrl_course.learners.regression import LastLayer
from mpcrl_course.policies import pendulum_expert

# ------------------------------------------------------------------------------------- 1: from where a clone fails

GROWTH, GAIN, LABELLED, LIMIT = 1.25, 0.85, 0.6, 1.0  # x+ = GROWTH x + u, u = -GAIN x, |x| <= LABELLED, |u| <= LIMIT
_torque, _surplus = GAIN * LABELLED, GROWTH - 1.0

predict = Predict(
    1,
    "from where the clone fails",
    reference=_torque / _surplus,
    rtol=0.0,
    atol=0.01,
    when_right="Where the labels end, the clone repeats the last of them; the plant grows on.",
    hints=[
        "What does the clone do at x = 1, and at x = 3? Only one of the two has a label as large as it needs.",
        "The clone comes nearer to 0 from x as long as x⁺ < x. With which u does it act there?",
    ],
    mistakes=[
        Mistake("edge of the labels",
                "Here the labels end. A little further out the last label still brings the plant back: how far?",
                LABELLED),
        Mistake("the teacher's own limit",
                "From here the *teacher* fails, whose input is limited to 1. The clone never applies as much as that: "
                "what is the largest input that it was shown?", LIMIT / _surplus),
        Mistake("the torque", "This is the largest input that the clone applies. From where is it too small?", _torque),
        Mistake("back in one step",
                "From here the clone is back among its labels after *one* step. It may take more.",
                (LABELLED + _torque) / GROWTH),
        Mistake("back in two steps",
                "From here the clone is back among its labels after two steps. It may take more.",
                (LABELLED + (1 + GROWTH) * _torque) / GROWTH**2),
        Mistake("all of the growth", "1.25 x is where the plant goes without an input. What matters is by how much it "
                "moves away from x: 0.25 x.", _torque / GROWTH),
        Mistake("gain forgotten", "The last label is not 0.6 but what the teacher does there: 0.85 · 0.6.",
                LABELLED / _surplus),
        Mistake("label of x = 1", "The clone has no label at x = 1: the last one is that of x = 0.6.",
                GAIN / _surplus),
        Mistake("closed loop inverted",
                "With the teacher x shrinks by 0.4 a step, so that from here it reaches 0.6 in one. It is the clone "
                "that drives, with a constant input.", LABELLED / (GROWTH - GAIN)),
        Mistake("beyond the edge", "This is how far beyond its labels the clone still succeeds; x itself is asked for.",
                _torque / _surplus - LABELLED),
        Mistake("never",
                "The clone is no linear rule: beyond its labels its input does not grow, and the plant's push does.",
                (10.0, np.inf)),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------------------- 2: the loss of cloning


def cloning_loss(W, phi, u, limit):
    """Return the loss of a pupil pi(x) = limit * tanh(phi(x) W), and its gradient (p, m) in W.

    W (p, m), features phi (M, p) of M labelled states, labels u (M, m), limit (m,).
    """
    return _cloned()(W, phi, u, limit)


def _cloned(
    act: Callable = lambda z, limit: limit * np.tanh(z),
    slope: Callable = lambda z, limit: limit * (1.0 - np.tanh(z) ** 2),
    target: Callable = lambda u, limit: u,
    loss: Callable = lambda e: (e**2).sum() / len(e),
    back: Callable = lambda phi, e, d: 2.0 / len(e) * phi.T @ (e * d),
) -> Callable:
    """Make the loss and its gradient from their parts; each may be replaced by a faulty one."""

    def cloned(W, phi, u, limit):
        z = phi @ W
        e = act(z, limit) - target(u, limit)
        return loss(e), back(phi, e, slope(z, limit))

    return cloned


def _by_samples(W, phi, u, limit):
    loss, gradient = 0.0, np.zeros(np.shape(W))
    for one, label in zip(phi, u):
        for j in range(len(limit)):
            p = limit[j] * np.tanh(one @ W[:, j])
            loss += (p - label[j]) ** 2 / len(u)
            gradient[:, j] += 2.0 / len(u) * (p - label[j]) * (limit[j] - p**2 / limit[j]) * one
    return loss, gradient


def _by_einsum(W, phi, u, limit):
    p = np.tanh(phi @ W) * limit
    return (
        np.mean(np.linalg.norm(p - u, axis=1) ** 2),
        2 * np.einsum("ip,ij,ij->pj", phi, p - u, (limit**2 - p**2) / limit) / len(phi),
    )


def _some_labels(rng: np.random.Generator) -> list[dict]:
    probes = []
    for M, p, m in ((3, 2, 1), (4, 3, 2), (2, 4, 3), (5, 3, 2)):
        limit = np.round(rng.uniform(1.3, 2.6, m), 2)
        W, phi = (rng.uniform(0.2, 0.9, size) * rng.choice([-1, 1], size) for size in ((p, m), (M, p)))
        phi = phi.round(2)
        W = (W * 1.4 * limit / abs(phi @ W).max(axis=0)).round(2)  # some inputs would be beyond the limit
        probes.append(dict(W=W, phi=phi, u=np.round(limit * rng.uniform(-0.9, 0.9, (M, m)), 2), limit=limit))
    return probes


cloning = Fill(
    2,
    "the loss of cloning",
    reference=cloning_loss,
    probes=_some_labels,
    compare=close(rtol=1e-6, atol=1e-9, names=("loss", "gradient")),
    when_right="An error counts by its square, wherever the state lies: the loss does not know which error costs.",
    hints=[
        "The loss is a mean over the M states. Of each state, which errors are added up?",
        "d tanh(z)/dz = 1 − tanh²(z). With π = limit · tanh(z), what is dπ/dz?",
        "gradient = (2/M) phiᵀ [(π − u) · limit · (1 − tanh²)], the products in brackets entry by entry.",
    ],
    mistakes=[
        Mistake("mean over the inputs, too",
                "You have divided by M m. The mean is over the states; the errors of a state's inputs are added up.",
                _cloned(loss=lambda e: (e**2).mean(), back=lambda phi, e, d: 2.0 / e.size * phi.T @ (e * d))),
        Mistake("mean over the inputs in the loss",
                "The gradient is right, and the loss is divided by M m: the errors of a state's inputs are added up.",
                _cloned(loss=lambda e: (e**2).mean())),
        Mistake("sums for means", "Both are sums over the states; a mean is asked for.",
                _cloned(loss=lambda e: (e**2).sum(), back=lambda phi, e, d: 2.0 * phi.T @ (e * d))),
        Mistake("sum in the gradient", "The loss is a mean over the states, but the gradient a sum.",
                _cloned(back=lambda phi, e, d: 2.0 * phi.T @ (e * d))),
        Mistake("sum in the loss", "The gradient is that of a mean over the states, but the loss a sum.",
                _cloned(loss=lambda e: (e**2).sum())),
        Mistake("half the loss", "You have taken half of the squares, as is also common; here there is no ½.",
                _cloned(loss=lambda e: 0.5 * (e**2).sum() / len(e), back=lambda phi, e, d: phi.T @ (e * d) / len(e))),
        Mistake("2 missing", "The gradient is that of half the loss: the 2 of the square is missing.",
                _cloned(back=lambda phi, e, d: phi.T @ (e * d) / len(e))),
        Mistake("tanh not differentiated",
                "The gradient passes the tanh as if it were not there: dπ/dz is missing.",
                _cloned(slope=lambda z, limit: 1.0 + 0.0 * z)),
        Mistake("only the limit differentiated", "Of dπ/dz there is the limit, but not 1 − tanh².",
                _cloned(slope=lambda z, limit: limit + 0.0 * z)),
        Mistake("limit missing in the gradient",
                "1 − tanh² is the slope of tanh; π is limit times as steep.",
                _cloned(slope=lambda z, limit: 1.0 - np.tanh(z) ** 2)),
        Mistake("1 − π²", "1 − π² is no slope: it is tanh that is squared, without the limit.",
                _cloned(slope=lambda z, limit: limit * (1.0 - (limit * np.tanh(z)) ** 2))),
        Mistake("1 − π² without the limit",
                "1 − π² is no slope: it is tanh that is squared, and the limit stands before it.",
                _cloned(slope=lambda z, limit: 1.0 - (limit * np.tanh(z)) ** 2)),
        Mistake("1 − tanh", "The slope of tanh is 1 − tanh²: the square is missing.",
                _cloned(slope=lambda z, limit: limit * (1.0 - np.tanh(z)))),
        Mistake("1 + tanh²", "The slope of tanh is 1 − tanh²: it is flat where it is large.",
                _cloned(slope=lambda z, limit: limit * (1.0 + np.tanh(z) ** 2))),
        Mistake("sign of the gradient", "The gradient points downhill: the loss rises with π − u, not with u − π.",
                _cloned(back=lambda phi, e, d: -2.0 / len(e) * phi.T @ (e * d))),
        Mistake("no limit", "This pupil acts with tanh alone, up to 1: where is its limit?",
                _cloned(act=lambda z, limit: np.tanh(z), slope=lambda z, limit: 1.0 - np.tanh(z) ** 2)),
        Mistake("no tanh", "This pupil acts with phi W, without a bound: limit · tanh is missing.",
                _cloned(act=lambda z, limit: z, slope=lambda z, limit: 1.0 + 0.0 * z)),
        Mistake("limit without tanh", "This pupil acts with limit · phi W: the tanh is missing.",
                _cloned(act=lambda z, limit: limit * z, slope=lambda z, limit: limit + 0.0 * z)),
        Mistake("clipped", "This pupil is clipped, not bounded by a tanh.",
                _cloned(act=lambda z, limit: np.clip(z, -limit, limit), slope=lambda z, limit: 1.0 * (abs(z) < limit))),
        Mistake("tanh of what is scaled", "The limit stands within the tanh: limit · tanh(z/limit) is another pupil.",
                _cloned(act=lambda z, limit: limit * np.tanh(z / limit),
                        slope=lambda z, limit: 1.0 - np.tanh(z / limit) ** 2)),
        Mistake("labels divided by the limit",
                "You compare tanh with u / limit. Then an error of an input with a small limit counts for more.",
                _cloned(act=lambda z, limit: np.tanh(z), slope=lambda z, limit: 1.0 - np.tanh(z) ** 2,
                        target=lambda u, limit: u / limit)),
        Mistake("fitted before the tanh",
                "You fit phi W to artanh(u / limit): an error near the limit then counts for far too much.",
                _cloned(act=lambda z, limit: z, slope=lambda z, limit: 1.0 + 0.0 * z,
                        target=lambda u, limit: np.arctanh(u / limit))),
        Mistake("absolute errors", "These are absolute errors; squares are asked for.",
                _cloned(loss=lambda e: abs(e).sum() / len(e),
                        back=lambda phi, e, d: phi.T @ (np.sign(e) * d) / len(e))),
        Mistake("absolute errors in the loss", "The gradient is that of squares, but the loss has absolute errors.",
                _cloned(loss=lambda e: abs(e).sum() / len(e))),
        Mistake("root of the mean", "The loss is the mean of squares itself, without a root.",
                _cloned(loss=lambda e: np.sqrt((e**2).sum() / len(e)))),
        Mistake("square of the mean error", "You have taken means before squaring: errors of opposite sign cancel.",
                _cloned(loss=lambda e: (e.mean(axis=0) ** 2).sum())),
        Mistake("divided by the number of features", "You have divided by p, the number of features, not by M.",
                lambda W, phi, u, limit: _cloned(loss=lambda e: (e**2).sum() / len(W), back=lambda phi, e, d: (
                    2.0 / len(W) * phi.T @ (e * d)))(W, phi, u, limit)),
        Mistake("gradient transposed", "The gradient is transposed: it has the shape of W, (p, m).",
                _cloned(back=lambda phi, e, d: (2.0 / len(e) * phi.T @ (e * d)).T)),
        Mistake("gradient for each state",
                "You return a gradient for each state (or their mean over the features): the mean over the states is "
                "asked for.", _cloned(back=lambda phi, e, d: 2.0 * phi[:, :, None] * (e * d)[:, None, :])),
        Mistake("features left out of the gradient",
                "This is the gradient in z = phi W. With the chain rule phi comes in front.",
                _cloned(back=lambda phi, e, d: 2.0 / len(e) * e * d)),
        Mistake("error left out of the gradient", "This is the mean of dπ/dW: the error π − u is missing.",
                _cloned(back=lambda phi, e, d: 2.0 / len(e) * phi.T @ d)),
    ],
    variants=[_by_samples, _by_einsum],
)  # fmt: skip

# ------------------------------------------------------------------------------------ 3: DAgger, and when to ask


class Lesson:
    """A plant with two states and one input, its teacher, and pupils that are linear in features: all small.

    Parameters
    ----------
    a, b, k : float
        Of the plant and of its teacher.
    """

    def __init__(self, a: float = 0.9, b: float = 0.5, k: float = 0.8):
        self.a, self.b, self.k = a, b, k

    def teacher(self, x) -> np.ndarray:
        """Return what the teacher does, (n, 1), in states x (n, 2)."""
        x = np.asarray(x, dtype=float)
        return -self.k * np.sin(2.0 * x[:, :1] + 0.4) - 0.3 * x[:, 1:] + 0.2 * np.cos(3.0 * x[:, 1:])

    def plant(self, x, u) -> np.ndarray:
        """Return the next states (n, 2), for states x (n, 2) and inputs u (n, 1)."""
        x, u = np.asarray(x, dtype=float), np.asarray(u, dtype=float)
        return np.column_stack([x[:, 0] + self.b * x[:, 1], self.a * x[:, 1] + self.b * (np.sin(x[:, 0]) + u[:, 0])])

    def act(self, theta, x) -> np.ndarray:
        """Return what the pupil with weights theta (4, 1) does, (n, 1), in states x (n, 2)."""
        return self._features(x) @ np.asarray(theta)

    def fit(self, X, U) -> np.ndarray:
        """Return the weights (4, 1) of a pupil that was fitted to labels U (M, 1) of states X (M, 2)."""
        F = self._features(X)
        return np.linalg.solve(F.T @ F + 0.01 * np.eye(4), F.T @ np.asarray(U, dtype=float))

    def apart(self, x, X) -> np.ndarray:
        """Return how far each of the states x (n, 2) is from the nearest in X (M, 2): infinitely if there is none."""
        x, X = np.asarray(x, dtype=float), np.asarray(X, dtype=float).reshape(-1, 2)
        return np.sqrt(((x[:, None] - X) ** 2).sum(axis=2)).min(axis=1, initial=np.inf)

    def _features(self, x):
        x = np.asarray(x, dtype=float)
        return np.column_stack([np.ones(len(x)), x, x[:, 0] * x[:, 1]])

    def __repr__(self):
        return "lesson"


def dagger(lesson, theta, starts, beta, draws, r):
    """Return the labelled states X (M, 2), their labels U (M, 1) and the weights of the pupil after all rounds.

    ``lesson.teacher``, ``plant``, ``act``, ``fit`` and ``apart`` as of `Lesson`; theta: the first pupil's weights.
    starts (rounds, n, 2), beta (rounds,), draws (rounds, T, n): the teacher drives where a draw is below beta. Asked
    is where it drives, and where no label of the rounds before is within r.
    """
    return _aggregated()(lesson, theta, starts, beta, draws, r)


def _aggregated(
    start: Callable = lambda starts, j, last: starts[j],
    drives: Callable = lambda draws, beta, j, t: draws[j, t] < beta[j],
    asked: Callable = lambda drives, d, r: drives | (d > r),
    near: Callable = lambda X, new: X,
    label: Callable = lambda teacher, pupil, acts: teacher,
    acts: Callable = lambda teacher, pupil, drives: np.where(drives[:, None], teacher, pupil),
    state: Callable = lambda x, ahead: x,
    keep: Callable = lambda X, new: np.concatenate([X, new]),
    fits: Callable = lambda lesson, theta, X, U, x, u, last: lesson.fit(X, U),
    give: Callable = lambda X, U, theta, before: (X, U, theta),
    refit: bool = False,
    extra: int = 0,
) -> Callable:
    """Make DAgger from its parts; each may be replaced by a faulty one."""

    def aggregated(lesson, theta, starts, beta, draws, r):
        X, U, x, before = np.empty((0, 2)), np.empty((0, 1)), starts[0], theta
        rounds, T, _ = np.shape(draws)
        for j in range(rounds):
            x = start(starts, j, x)
            new_x, new_u = np.empty((0, 2)), np.empty((0, 1))
            for t in range(T + extra):
                teacher, pupil = lesson.teacher(x), lesson.act(theta, x)
                by_teacher = drives(draws, beta, j, min(t, T - 1))
                ask = asked(by_teacher, lesson.apart(x, near(X, new_x)), r)
                u = acts(teacher, pupil, by_teacher)
                ahead = lesson.plant(x, u)
                new_x = np.concatenate([new_x, state(x, ahead)[ask]])
                new_u = np.concatenate([new_u, label(teacher, pupil, u)[ask]])
                x = ahead
                if refit and len(X) + len(new_x):
                    theta = lesson.fit(np.concatenate([X, new_x]), np.concatenate([U, new_u]))
            X, U, before = keep(X, new_x), keep(U, new_u), theta
            if len(X):
                theta = fits(lesson, theta, X, U, new_x, new_u, j == rounds - 1)
        return give(X, U, theta, before)

    return aggregated


def _asking_the_chosen(lesson, theta, starts, beta, draws, r):
    """Ask the teacher only where it is asked, with lists and a loop over the runs."""
    X: list[Any] = []
    U: list[Any] = []
    for x, share, thrown in zip(starts, beta, draws):
        known = np.array(X).reshape(-1, 2)
        for throw in thrown:
            u = np.array(lesson.act(theta, x))
            for i in range(len(x)):
                drives = throw[i] < share
                if drives or lesson.apart(x[i : i + 1], known)[0] > r:
                    label = lesson.teacher(x[i : i + 1])[0]
                    X.append(x[i])
                    U.append(label)
                    if drives:
                        u[i] = label
            x = lesson.plant(x, u)
        if X:
            theta = lesson.fit(X, U)
    return np.reshape(X, (-1, 2)), np.reshape(U, (-1, 1)), theta


def _by_rounds(lesson, theta, starts, beta, draws, r, X=None, U=None):
    """Recurse over the rounds."""
    X, U = (np.zeros((0, 2)), np.zeros((0, 1))) if X is None else (X, U)
    if not len(starts):
        return X, U, theta
    x, visited, labels = starts[0], [X], [U]
    for throw in draws[0]:
        mine, drives = lesson.teacher(x), throw < beta[0]
        ask = np.logical_or(drives, lesson.apart(x, X) > r)
        visited, labels = [*visited, x[ask]], [*labels, mine[ask]]
        x = lesson.plant(x, drives[:, None] * mine + ~drives[:, None] * lesson.act(theta, x))
    X, U = np.vstack(visited), np.vstack(labels)
    return _by_rounds(lesson, lesson.fit(X, U), starts[1:], beta[1:], draws[1:], r, X, U)


def _some_rounds(rng: np.random.Generator) -> list[dict]:
    """Some small runs; r is such that in later rounds both near and far states are met."""
    probes = []
    for rounds, T, n in ((2, 2, 2), (3, 3, 2), (3, 4, 3), (2, 3, 3)):
        lesson = Lesson(*np.round(rng.uniform([0.7, 0.4, 0.6], [0.95, 0.6, 1.0]), 2))
        theta = np.round(rng.uniform(-0.6, 0.6, (4, 1)), 2)
        starts = np.round(rng.uniform(0.3, 1.2, (rounds, n, 2)) * rng.choice([-1, 1], (rounds, n, 2)), 2)
        draws = rng.permuted(np.linspace(0.05, 0.95, rounds * T * n)).reshape(rounds, T, n).round(2)
        beta = np.round(np.array([0.8, 0.35, 0.2])[:rounds] + rng.uniform(-0.02, 0.02, rounds), 3)
        draws[1, 0, 1] = beta[1]  # the edge: here the pupil drives
        probes.append(dict(lesson=lesson, theta=theta, starts=starts, beta=beta, draws=draws, r=0.35))
    edge = probes[-1] | {"r": 0.0}  # and here a label is just so near that nothing is asked
    edge["starts"], edge["draws"] = edge["starts"].copy(), edge["draws"].copy()
    edge["starts"][1, 0], edge["draws"][1, 0, 0] = edge["starts"][0, 0], 0.97
    edge["draws"][0, 0, 0] = 0.03
    return [*probes, edge]


def _driving_if_asked(lesson, theta, starts, beta, draws, r):
    X, U = np.empty((0, 2)), np.empty((0, 1))
    for j, x in enumerate(starts):
        new_x, new_u = [X], [U]
        for t in range(len(draws[j])):
            mine, ask = lesson.teacher(x), (draws[j, t] < beta[j]) | (lesson.apart(x, X) > r)
            new_x, new_u = [*new_x, x[ask]], [*new_u, mine[ask]]
            x = lesson.plant(x, np.where(ask[:, None], mine, lesson.act(theta, x)))
        X, U = np.concatenate(new_x), np.concatenate(new_u)
        theta = lesson.fit(X, U)
    return X, U, theta


def _by_the_last(lesson, X, U, theta):
    return X, lesson.act(theta, X), theta


def _pairs(lesson, theta, starts, beta, draws, r):
    """Aggregate run after run, not step after step."""
    X, U, done = np.empty((0, 2)), np.empty((0, 1)), theta
    for j, x in enumerate(starts):
        rows = [[] for _ in x]  # type: list[list]
        for t in range(len(draws[j])):
            drives, mine = draws[j, t] < beta[j], lesson.teacher(x)
            ask = drives | (lesson.apart(x, X) > r)
            for i in np.flatnonzero(ask):
                rows[i].append((x[i], mine[i]))
            x = lesson.plant(x, np.where(drives[:, None], mine, lesson.act(done, x)))
        flat = [pair for run in rows for pair in run]
        X = np.vstack([X, *(a for a, _ in flat)])
        U = np.vstack([U, *(b for _, b in flat)])
        done = lesson.fit(X, U)
    return X, U, done


def _mixed(lesson, theta, starts, beta, draws, r):
    X, U = np.empty((0, 2)), np.empty((0, 1))
    for j, x in enumerate(starts):
        new_x, new_u = [X], [U]
        for t in range(len(draws[j])):
            mine, ask = lesson.teacher(x), (draws[j, t] < beta[j]) | (lesson.apart(x, X) > r)
            new_x, new_u = [*new_x, x[ask]], [*new_u, mine[ask]]
            x = lesson.plant(x, beta[j] * mine + (1 - beta[j]) * lesson.act(theta, x))
        X, U = np.concatenate(new_x), np.concatenate(new_u)
        theta = lesson.fit(X, U)
    return X, U, theta


aggregation = Fill(
    3,
    "DAgger, and when to ask",
    reference=dagger,
    probes=_some_rounds,
    compare=close(rtol=1e-6, atol=1e-9, names=("X", "U", "theta")),
    when_right="The pupil chooses the states, the teacher the labels, and nothing that was learned is forgotten.",
    hints=[
        "Three things happen in each step, in this order: who drives, who is asked, what is applied. Which of them "
        "needs `drives`, which `lesson.apart`?",
        "A label is always the teacher's, also where the pupil drives; the state is the one in which the question was "
        "asked, before the plant moves.",
        "`asked = drives | (lesson.apart(x, X) > r)`; u is the teacher's where it drives, the pupil's elsewhere. After "
        "a round: X and U grow by all that was asked, and theta = lesson.fit(X, U).",
    ],
    mistakes=[
        Mistake("labels from the learner",
                "The labels are what the pupil does itself: it learns to be as it is. The teacher says what is right.",
                _aggregated(label=lambda teacher, pupil, acts: pupil)),
        Mistake("labels are what acts",
                "The label is what was applied. Where the pupil drives, that is its own input: it has to be the "
                "teacher's everywhere.", _aggregated(label=lambda teacher, pupil, acts: acts)),
        Mistake("aggregate overwritten",
                "Only the last round's labels are left: X and U must keep those of all rounds before.",
                _aggregated(keep=lambda X, new: new)),
        Mistake("fitted to the newest",
                "You return all labels, but the pupil is fitted to those of the newest round: it forgets the others.",
                _aggregated(fits=lambda lesson, theta, X, U, x, u, last: lesson.fit(x, u) if len(x) else theta)),
        Mistake("expert queried on expert states only",
                "The teacher drives all the time, so that it is asked about its own states only. Where the pupil "
                "drives, the pupil's input goes to the plant.", _aggregated(acts=lambda teacher, pupil, drives: teacher)
                ),
        Mistake("asked only where the teacher drives",
                "The teacher is asked only where it drives: of the states that the pupil comes to, none gets a label.",
                _aggregated(asked=lambda drives, d, r: drives)),
        Mistake("pupil drives always",
                "The pupil drives all the time: where a draw lies below β, it is the teacher's turn.",
                _aggregated(acts=lambda teacher, pupil, drives: pupil)),
        Mistake("β and 1 − β",
                "The teacher drives where a draw lies *above* β: that is with probability 1 − β.",
                _aggregated(drives=lambda draws, beta, j, t: draws[j, t] > beta[j])),
        Mistake("β and 1 − β, edge included",
                "The teacher drives where a draw is *not* below β: that is with probability 1 − β.",
                _aggregated(drives=lambda draws, beta, j, t: draws[j, t] >= beta[j])),
        Mistake("edge of β", "Where a draw is exactly β, the pupil drives: *below* β the teacher does.",
                _aggregated(drives=lambda draws, beta, j, t: draws[j, t] <= beta[j])),
        Mistake("edge of r", "A label at a distance of exactly r is near enough: asked is where all are farther.",
                _aggregated(asked=lambda drives, d, r: drives | (d >= r))),
        Mistake("driver inverted",
                "Asked is rightly, but who drives is the wrong way round: the teacher where a draw lies below β.",
                _aggregated(acts=lambda teacher, pupil, drives: np.where(drives[:, None], pupil, teacher))),
        Mistake("inputs mixed",
                "You have applied β times the teacher's input and 1 − β times the pupil's. One of the two drives, by "
                "lot.", _mixed),
        Mistake("β of the first round", "β is that of round 0 in all rounds: it falls.",
                _aggregated(drives=lambda draws, beta, j, t: draws[j, t] < beta[0])),
        Mistake("one lot for a round",
                "The lot is drawn once a round. It is drawn in each step: draws[j, t].",
                _aggregated(drives=lambda draws, beta, j, t: draws[j, 0] < beta[j])),
        Mistake("one lot for all runs",
                "All runs of a step have the first run's lot: draws[j, t] has one for each.",
                _aggregated(drives=lambda draws, beta, j, t: np.full(draws.shape[2], draws[j, t, 0] < beta[j]))),
        Mistake("always asked",
                "Everything gets a label, also where one is near already: r does not enter.",
                _aggregated(asked=lambda drives, d, r: np.ones(len(d), bool))),
        Mistake("asked where it is near",
                "You ask where a label is near, and not where none is: the wrong way round.",
                _aggregated(asked=lambda drives, d, r: drives | (d < r))),
        Mistake("not asked where the teacher drives",
                "Where the teacher drives it has said what it does; that is a label, too, near others or not.",
                _aggregated(asked=lambda drives, d, r: d > r)),
        Mistake("asked only if both",
                "You ask where the teacher drives *and* no label is near; one of the two is enough.",
                _aggregated(asked=lambda drives, d, r: drives & (d > r))),
        Mistake("asked only where the pupil is lost",
                "You ask only where the pupil drives and no label is near. Where the teacher drives, it has said what "
                "it does: a label, too.", _aggregated(asked=lambda drives, d, r: ~drives & (d > r))),
        Mistake("all runs asked", "If one run of a step is asked, you ask all. Each run is asked for itself.",
                _aggregated(asked=lambda drives, d, r: np.full(len(d), (drives | (d > r)).any()))),
        Mistake("teacher drives where it is asked",
                "Where the teacher is asked, you let it drive as well. It is asked for a label; who drives, the lot "
                "decides.", _driving_if_asked),
        Mistake("near to the present round",
                "You measure the distance also to this round's labels. Those of the rounds *before* count, as the "
                "pupil that drives has not learned the new ones.",
                _aggregated(near=lambda X, new: np.concatenate([X, new]))),
        Mistake("near to the present round only",
                "You measure the distance to this round's labels only. Those of all rounds *before* count.",
                _aggregated(near=lambda X, new: new)),
        Mistake("state after the step",
                "The label belongs to the state in which the teacher was asked; you have stored the next one.",
                _aggregated(state=lambda x, ahead: ahead)),
        Mistake("start not renewed",
                "A round begins where the last one ended; it has starts of its own, starts[j].",
                _aggregated(start=lambda starts, j, last: last)),
        Mistake("same start", "All rounds begin at starts[0]; round j has starts[j].",
                _aggregated(start=lambda starts, j, last: starts[0])),
        Mistake("fitted at the end only",
                "The pupil is fitted once, after the last round: until then the first one drives, and the rounds teach "
                "nothing to each other.",
                _aggregated(fits=lambda lesson, theta, X, U, x, u, last: lesson.fit(X, U) if last else theta)),
        Mistake("last fit missing", "What you return has not learned the last round: it is fitted after each.",
                _aggregated(give=lambda X, U, theta, before: (X, U, before))),
        Mistake("fitted in every step",
                "The pupil is fitted in every step; it drives a whole round as it is, and is fitted after it.",
                _aggregated(refit=True)),
        Mistake("fitted and known in every step",
                "Labels are added and the pupil is fitted in every step; both wait for the end of the round.",
                _aggregated(refit=True, near=lambda X, new: np.concatenate([X, new]))),
        Mistake("last round missing", "The last round is missing: there are as many as rows of `starts`.",
                lambda lesson, theta, starts, beta, draws, r: dagger(
                    lesson, theta, starts[:-1], beta[:-1], draws[:-1], r)),
        Mistake("first run only", "Only the first run of each round is driven: all n of them are, side by side.",
                lambda lesson, theta, starts, beta, draws, r: dagger(
                    lesson, theta, starts[:, :1], beta, draws[:, :, :1], r)),
        Mistake("labels written anew",
                "X and theta are right, but the labels that you return are what the last pupil says.",
                lambda lesson, theta, starts, beta, draws, r: _by_the_last(
                    lesson, *dagger(lesson, theta, starts, beta, draws, r))),
        Mistake("one step too many",
                "A round has T steps, and T states that may be labelled: the last one, after T steps, is not.",
                _aggregated(extra=1)),
        Mistake("newest first", "The labels are the right ones, but the newest stand first: they go to the end.",
                _aggregated(keep=lambda X, new: np.concatenate([new, X]))),
        Mistake("run after run",
                "The labels are the right ones in another order: within a round, step after step, and the runs of a "
                "step side by side.", _pairs),
    ],
    variants=[_asking_the_chosen, _by_rounds],
)  # fmt: skip


# ---------------------------------------------------------------------------------- 4: what the skip policy learns


def skip(q, options, by_expert, cost, q_next, price, gamma):
    """Return the option that is followed, and the targets of all windows, (k, n_options), nan where there is none.

    q (n_options,): Q_J of the options in the present state; options: pairs (whether the expert acts, steps). In the k
    steps just made one actor acted, by_expert says whether the expert; cost (k,) are their stage costs, q_next (k,
    n_options) the slow Q_J in the states after them. price: of a step of the expert; gamma: discount of a step.
    """
    return _skipping()(q, options, by_expert, cost, q_next, price, gamma)


def _skipping(
    best: Callable = lambda q, options, price: int(np.argmin(q)),
    fits: Callable = lambda who, by_expert: who == by_expert,
    starts: Callable = lambda k, n: range(k - n + 1),
    paid: Callable = lambda cost, price, by_expert, who: cost + price * by_expert,
    total: Callable = lambda window, gamma: gamma ** np.arange(len(window)) @ window,
    ahead: Callable = lambda gamma, n: gamma**n,
    value: Callable = lambda q, o: q.min(),
    at: Callable = lambda i, n, k: i + n - 1,
    place: Callable = lambda i, n: i,
) -> Callable:
    """Make the decision and the targets from their parts; each may be replaced by a faulty one."""

    def skipping(q, options, by_expert, cost, q_next, price, gamma):
        k = len(cost)
        targets = np.full((k, len(options)), np.nan)
        for o, (who, n) in enumerate(options):
            if fits(who, by_expert):
                for i in starts(k, n):
                    window = paid(cost, price, by_expert, who)[i : i + n]
                    later = value(q_next[at(i, n, k)], o)
                    targets[place(i, len(window)), o] = total(window, gamma) + ahead(gamma, n) * later
        return best(q, options, price), targets

    return skipping


def _skipping_backwards(q, options, by_expert, cost, q_next, price, gamma):
    """Back up from the end of each window."""
    targets = np.nan * np.ones((len(cost), len(options)))
    for (i, o), _ in np.ndenumerate(targets):
        who, n = options[o]
        if bool(who) == bool(by_expert) and i + n <= len(cost):
            y = min(q_next[i + n - 1])
            for L in cost[i : i + n][::-1]:
                y = L + (price if who else 0.0) + gamma * y
            targets[i, o] = y
    return sorted(range(len(q)), key=lambda o: q[o])[0], targets


def _skipping_by_sums(q, options, by_expert, cost, q_next, price, gamma):
    """Use the discounted sums from the start on."""
    k = len(cost)
    weight = gamma ** np.arange(k + 1)
    sums = np.concatenate([[0.0], np.cumsum(weight[:k] * (np.asarray(cost) + (price if by_expert else 0)))])
    columns = []
    for who, n in options:
        column = np.full(k, np.nan)
        if who == by_expert and n <= k:
            i = np.arange(k - n + 1)
            column[i] = (sums[i + n] - sums[i]) / weight[i] + weight[n] * np.min(q_next, axis=1)[i + n - 1]
        columns.append(column)
    return list(q).index(min(q)), np.transpose(columns)


def _decided_by_targets(q, options, by_expert, cost, q_next, price, gamma):
    _, targets = skip(q, options, by_expert, cost, q_next, price, gamma)
    return int(np.argmin(np.where(np.isnan(targets[0]), np.inf, targets[0]))), targets


def _decided_for_one(q, options, by_expert, cost, q_next, price, gamma):
    of_this = [o for o, (who, _) in enumerate(options) if who == by_expert]
    return min(of_this, key=lambda o: q[o]), skip(q, options, by_expert, cost, q_next, price, gamma)[1]


def _same_actor_ahead(q, options, by_expert, cost, q_next, price, gamma):
    of_this = [o for o, (who, _) in enumerate(options) if who == by_expert]
    again = _skipping(value=lambda q, o: q[of_this].min())
    return again(q, options, by_expert, cost, q_next, price, gamma)


def _with_zeros(answer):
    best, targets = answer
    return best, np.nan_to_num(targets)


def _from_the_first(q, options, by_expert, cost, q_next, price, gamma):
    weight = gamma ** np.arange(len(cost))
    best, _ = skip(q, options, by_expert, cost, q_next, price, gamma)
    _, ahead = skip(q, options, by_expert, 0.0 * cost, q_next, 0.0, gamma)
    _, costs = skip(q, options, by_expert, weight * cost, 0.0 * q_next, 0.0, 1.0)
    _, prices = skip(q, options, by_expert, weight * price * by_expert, 0.0 * q_next, 0.0, 1.0)
    return best, costs + prices + ahead


def _cut_off(q, options, by_expert, cost, q_next, price, gamma):
    best, targets = skip(q, options, by_expert, cost, q_next, price, gamma)
    for o, (who, n) in enumerate(options):
        if who == by_expert:
            for i in range(max(len(cost) - n + 1, 0), len(cost)):
                paid = cost[i:] + price * by_expert
                targets[i, o] = gamma ** np.arange(len(paid)) @ paid + gamma ** len(paid) * q_next[-1].min()
    return best, targets


def _some_steps(rng: np.random.Generator) -> list[dict]:
    probes = []
    for k, by_expert, best, options in (
        (3, True, 1, [(False, 2), (True, 1), (True, 3)]),
        (4, False, 2, [(False, 3), (True, 1), (True, 4), (False, 1)]),
        (5, True, 0, [(True, 2), (False, 4), (True, 4), (True, 1)]),
        (2, False, 2, [(True, 2), (False, 2), (False, 4)]),
    ):
        n = len(options)
        q, q_next = rng.uniform(5.1, 5.6, n), rng.uniform(2.0, 9.0, (k, n))
        q[best] = 5.0  # but not for long: with the price once more, or per step, another one would be best
        probes.append(dict(q=q.round(2), options=options, by_expert=by_expert, cost=rng.uniform(0.5, 3.0, k).round(2),
                           q_next=q_next.round(2), price=round(float(rng.uniform(0.6, 1.6)), 2),
                           gamma=round(float(rng.uniform(0.75, 0.9)), 2)))  # fmt: skip
    return probes


skipping = Fill(
    4,
    "what the skip policy learns",
    reference=skip,
    probes=_some_steps,
    compare=close(rtol=1e-6, atol=1e-9, names=("best", "targets")),
    when_right="A decision for n steps costs n stage costs, n prices and what follows n steps later.",
    hints=[
        "k steps of one actor: in which of them could an option of n steps have begun, and still be over by the end?",
        "The window from step i on has the costs i … i + n − 1. In which row of `q_next` is the state after its last "
        "step?",
        "targets[i, o] = Σ_t γᵗ (cost[i + t] + price · by_expert) + γⁿ min(q_next[i + n − 1]), for options of the "
        "actor who acted; best is the argmin of q.",
    ],
    mistakes=[
        Mistake("dearest option", "You follow the dearest option: Q_J is a cost.",
                _skipping(best=lambda q, options, price: int(np.argmax(q)))),
        Mistake("price paid again",
                "You have added the price to Q_J before choosing; it is in Q_J already.",
                _skipping(best=lambda q, options, price: int(np.argmin(
                    q + [price * n * bool(who) for who, n in options])))),
        Mistake("cost a step", "You have divided Q_J by the steps of the option: it is what follows in all, whichever "
                "option one begins with.",
                _skipping(best=lambda q, options, price: int(np.argmin(q / [n for _, n in options])))),
        Mistake("least value, not the option", "You return the least Q_J; the number of its option is asked for.",
                _skipping(best=lambda q, options, price: q.min())),
        Mistake("counted from 1", "You count options from 1; the first is number 0.",
                _skipping(best=lambda q, options, price: int(np.argmin(q)) + 1)),
        Mistake("decided by the new targets",
                "You decide by the targets. They are of the steps just made; the decision is about the present state, "
                "by q.", _decided_by_targets),
        Mistake("decided among one actor's options",
                "You choose among the options of the actor who has just acted: the next decision is free.",
                _decided_for_one),
        Mistake("largest value ahead", "After the window the *cheapest* option is followed: min, not max.",
                _skipping(value=lambda q, o: q.max())),
        Mistake("mean value ahead", "After the window the cheapest option is followed, not all of them in the mean.",
                _skipping(value=lambda q, o: q.mean())),
        Mistake("same option ahead",
                "You go on with the same option for ever. After the window a new decision is made: the least of Q_J.",
                _skipping(value=lambda q, o: q[o])),
        Mistake("same actor ahead",
                "You go on with the cheapest option of the *same* actor. After the window any option may be chosen.",
                _same_actor_ahead),
        Mistake("nothing ahead", "What follows after the window is missing.", _skipping(value=lambda q, o: 0.0)),
        Mistake("price missing", "The price of the expert's steps is missing: the expert would be asked for ever.",
                _skipping(paid=lambda cost, price, by_expert, who: cost)),
        Mistake("price subtracted", "The price is subtracted: the expert would be paid for helping.",
                _skipping(paid=lambda cost, price, by_expert, who: cost - price * by_expert)),
        Mistake("price for both", "The price is paid for the expert's steps only; the learned policy acts for nothing.",
                _skipping(paid=lambda cost, price, by_expert, who: cost + price)),
        Mistake("price for the learner", "It is the expert who is paid, not the learned policy.",
                _skipping(paid=lambda cost, price, by_expert, who: cost + price * (not by_expert))),
        Mistake("price once", "The price is paid once a window here; it is paid in each of its steps.",
                lambda q, options, by_expert, cost, q_next, price, gamma: _skipping(
                    total=lambda window, g: g ** np.arange(len(window)) @ window + price * by_expert,
                    paid=lambda cost, p, b, who: cost)(q, options, by_expert, cost, q_next, price, gamma)),
        Mistake("price not discounted", "The price is discounted like the costs: it is paid when the step is made.",
                lambda q, options, by_expert, cost, q_next, price, gamma: _skipping(
                    total=lambda window, g: g ** np.arange(len(window)) @ window + len(window) * price * by_expert,
                    paid=lambda cost, p, b, who: cost)(q, options, by_expert, cost, q_next, price, gamma)),
        Mistake("costs not discounted", "Within the window the costs are not discounted: the t-th counts γᵗ.",
                _skipping(total=lambda window, gamma: window.sum())),
        Mistake("first cost discounted", "The first cost of a window is paid at once: γ⁰ stands before it.",
                _skipping(total=lambda window, gamma: gamma ** np.arange(1, len(window) + 1) @ window)),
        Mistake("discounts from the first step on",
                "Each window has its own time: its first cost counts in full, wherever the window begins.",
                _from_the_first),
        Mistake("one γ ahead", "What follows lies n steps ahead: γⁿ, not γ.", _skipping(ahead=lambda gamma, n: gamma)),
        Mistake("no γ ahead", "What follows lies n steps ahead: γⁿ is missing.",
                _skipping(ahead=lambda gamma, n: 1.0)),
        Mistake("γ to the n − 1 ahead", "What follows lies n steps ahead, not n − 1: γⁿ.",
                _skipping(ahead=lambda gamma, n: gamma ** (n - 1))),
        Mistake("value after the first step", "q_next is taken after the window's first step; it is over after n.",
                _skipping(at=lambda i, n, k: i)),
        Mistake("value one step late", "q_next[j] is the state *after* step j: a window ends with step i + n − 1.",
                _skipping(at=lambda i, n, k: min(i + n, k - 1))),
        Mistake("window and value one step late",
                "Your windows end one step too early, or their values are one step late: a window from i on ends with "
                "step i + n − 1, and row i + n − 1 of q_next is the state after that.",
                _skipping(starts=lambda k, n: range(k - n), at=lambda i, n, k: i + n)),
        Mistake("value at the end", "q_next is taken after the last of all k steps, not after the window's own last.",
                _skipping(at=lambda i, n, k: k - 1)),
        Mistake("options of both", "The options of the other actor get targets, too: they say nothing of these steps.",
                _skipping(fits=lambda who, by_expert: True)),
        Mistake("options of the other", "You fill the options of the actor who did *not* act.",
                _skipping(fits=lambda who, by_expert: who != by_expert)),
        Mistake("first window only",
                "Only the window from step 0 on is used: each later step may begin one, too.",
                _skipping(starts=lambda k, n: range(min(1, max(k - n + 1, 0))))),
        Mistake("last window missing", "The last window that fits is missing: there are k − n + 1.",
                _skipping(starts=lambda k, n: range(k - n))),
        Mistake("windows side by side", "Your windows do not overlap. From each step a window may begin.",
                _skipping(starts=lambda k, n: range(0, k - n + 1, n))),
        Mistake("windows cut off", "Windows that do not fit are cut off at the end; they have no target.",
                _skipping(starts=lambda k, n: range(k), at=lambda i, n, k: min(i + n, k) - 1)),
        Mistake("windows cut off, discounted by their steps",
                "Windows that do not fit are cut off at the end; fewer steps are another option, or none.",
                _cut_off),
        Mistake("0 for nan", "Where there is no target you have 0, which a learner would take for one: nan.",
                lambda *steps, **named: _with_zeros(skip(*steps, **named))),
        Mistake("price with the last step",
                "The price is paid in the last step of a window only; each step of the expert has it.",
                lambda q, options, by_expert, cost, q_next, price, gamma: _skipping(
                    total=lambda L, g: g ** np.arange(len(L)) @ L + g ** (len(L) - 1) * price * by_expert,
                    paid=lambda cost, p, b, who: cost)(q, options, by_expert, cost, q_next, price, gamma)),
        Mistake("γ once too often ahead", "What follows lies n steps ahead: γⁿ, not γⁿ⁺¹.",
                _skipping(ahead=lambda gamma, n: gamma ** (n + 1))),
        Mistake("at the window's end", "The targets stand in the row of the window's last step; they belong to the "
                "state in which it began.", _skipping(place=lambda i, n: i + n - 1)),
    ],
    variants=[_skipping_backwards, _skipping_by_sums],
)  # fmt: skip

# ------------------------------------------------------------------------------------ 5: a DAgger that teaches nothing


def teach(lesson, starts, steps):
    """Return the weights of the pupil after all rounds, and all labelled states X and labels U.

    `lesson` is a `Lesson`; starts (rounds, n, 2); a round has so many `steps`. The teacher drives the first round.
    """
    return _taught()(lesson, starts, steps)


def teach_as_given(lesson, starts, steps):
    """Return what the faulty function of item 5 returns; lesson, starts and steps as for `teach`."""
    return _taught(**_GIVEN)(lesson, starts, steps)


def _taught(
    drives: Callable = lambda teacher, pupil, j: pupil,
    labels: Callable = lambda teacher, pupil: teacher,
    keep: Callable = lambda old, new: np.concatenate([old, new]),
    fitted: Callable = lambda lesson, X, U, x, u: lesson.fit(X, U),
    late: bool = False,
    first: Callable = lambda lesson: lesson.teacher,
) -> Callable:
    """Make the DAgger of item 5 from its parts; each may be replaced by a faulty one."""

    def taught(lesson, starts, steps):
        X, U, pupil, theta = np.empty((0, 2)), np.empty((0, 1)), first(lesson), None
        for j, x in enumerate(starts):
            visited = []
            for _ in range(steps):
                x, before = lesson.plant(x, drives(lesson.teacher, pupil, j)(x)), x
                visited.append(x if late else before)
            new = np.concatenate(visited)
            label = labels(lesson.teacher, pupil)(new)
            X, U = keep(X, new), keep(U, label)
            theta = fitted(lesson, X, U, new, label)

            def pupil(y, theta=theta):
                return lesson.act(theta, y)

        return theta, X, U

    return taught


_FAULTS: dict[str, dict[str, Any]] = {
    "states": {"drives": lambda teacher, pupil, j: teacher},
    "labels": {"labels": lambda teacher, pupil: pupil},
    "aggregate": {"keep": lambda old, new: new},
}
_GIVEN = {name: part for fault in _FAULTS.values() for name, part in fault.items()}


def _with(*faults: str, **parts) -> Callable:
    return _taught(**{name: part for fault in faults for name, part in _FAULTS[fault].items()}, **parts)


def _taught_with_lists(lesson, starts, steps):
    X, U, theta = [], [], None
    for round_, x in enumerate(starts):
        for _ in range(steps):
            label = lesson.teacher(x)
            X.extend(x)
            U.extend(label)
            x = lesson.plant(x, label if round_ == 0 else lesson.act(theta, x))
        theta = lesson.fit(np.array(X), np.array(U))
    return {"theta": theta, "X": np.array(X), "U": np.array(U)}


def _taught_by_recursion(lesson, starts, steps, X=None, theta=None):
    if not len(starts):
        return theta, X, lesson.teacher(X)
    visited, x = [], starts[0]
    for _ in range(steps):
        visited.append(x)
        x = lesson.plant(x, lesson.teacher(x) if theta is None else lesson.act(theta, x))
    X = np.vstack(visited if X is None else [X, *visited])
    return _taught_by_recursion(lesson, starts[1:], steps, X, lesson.fit(X, lesson.teacher(X)))


def _labelled_anew(lesson, starts, steps):
    theta, X, _ = teach(lesson, starts, steps)
    return theta, X, lesson.act(theta, X)


def _earlier_anew(lesson, starts, steps):
    X, pupil, theta = np.empty((0, 2)), lesson.teacher, None
    for x in starts:
        visited = []
        for _ in range(steps):
            visited.append(x)
            x = lesson.plant(x, pupil(x))
        old, X = X, np.concatenate([X, *visited])
        U = np.concatenate([pupil(old), lesson.teacher(np.concatenate(visited))])
        theta = lesson.fit(X, U)

        def pupil(y, theta=theta):
            return lesson.act(theta, y)

    return theta, X, U


def _first_drives_on(lesson, starts, steps):
    X, first, theta = np.empty((0, 2)), None, None
    for x in starts:
        visited = []
        for _ in range(steps):
            visited.append(x)
            x = lesson.plant(x, lesson.teacher(x) if first is None else lesson.act(first, x))
        X = np.concatenate([X, *visited])
        theta = lesson.fit(X, lesson.teacher(X))
        first = theta if first is None else first
    return theta, X, lesson.teacher(X)


def _some_lessons(rng: np.random.Generator) -> list[dict]:
    probes = []
    for rounds, steps, n in ((3, 2, 2), (2, 4, 2), (4, 3, 3)):
        lesson = Lesson(*np.round(rng.uniform([0.7, 0.4, 0.6], [0.95, 0.6, 1.0]), 2))
        starts = np.round(rng.uniform(0.3, 1.2, (rounds, n, 2)) * rng.choice([-1, 1], (rounds, n, 2)), 2)
        probes.append(dict(lesson=lesson, starts=starts, steps=steps))
    return probes


debug = Debug(
    5,
    "a DAgger that teaches nothing",
    reference=teach,
    given=teach_as_given,
    probes=_some_lessons,
    compare=close(rtol=1e-6, atol=1e-9, names=("theta", "X", "U")),
    when_right="The pupil's states, the teacher's labels, and all of them: three lines, and each alone is DAgger's "
    "point.",
    hints=[
        "The error on its labels falls to next to nothing. Who has written these labels?",
        "Follow x through the second round: who drives? Then count the rows of X after three rounds.",
        "`lesson.plant(x, pupil(x))`, `lesson.teacher(states)`, and X, U that grow by `np.concatenate`.",
    ],
    mistakes=[
        Mistake("labels from the learner",
                "X grows, and it is the pupil that drives. But the labels are still its own: it agrees with itself, "
                "and learns nothing after the first round.", _with("labels")),
        Mistake("aggregate overwritten",
                "The pupil drives and the teacher labels. But only the last round is left: what was learned about "
                "earlier states is forgotten.", _with("aggregate")),
        Mistake("expert queried on expert states only",
                "The labels are the teacher's, and all are kept. But the teacher still drives: it is asked about its "
                "own states only, and this is cloning.", _with("states")),
        Mistake("only the states repaired",
                "Now the pupil drives. Two things are left: who writes the labels, and what becomes of those of "
                "earlier rounds?", _with("labels", "aggregate")),
        Mistake("only the aggregate repaired",
                "Now nothing is forgotten. Two things are left: who drives in the second round, and who writes the "
                "labels?", _with("states", "labels")),
        Mistake("only the labels repaired",
                "Now the labels are the teacher's. Two things are left: who drives in the second round, and what "
                "becomes of the labels of earlier rounds?", _with("states", "aggregate")),
        Mistake("fitted to the newest",
                "All labels are kept and returned, but the pupil is fitted to those of the newest round.",
                _taught(fitted=lambda lesson, X, U, x, u: lesson.fit(x, u))),
        Mistake("labels written anew",
                "X and theta are right, but the labels that you return are what the last pupil says.",
                _labelled_anew),
        Mistake("earlier labels written anew",
                "The labels of earlier rounds are written anew by the present pupil: they were the teacher's.",
                _earlier_anew),
        Mistake("states after the step",
                "The states that are labelled are those *after* each step: the start is missing, and the last is one "
                "too many.", _taught(late=True)),
        Mistake("the first pupil knows nothing",
                "In the first round nobody has learned anything: there the teacher drives.",
                _taught(first=lambda lesson: lambda x: np.zeros((len(x), 1)))),
        Mistake("teacher and pupil mixed",
                "You apply the mean of both inputs. From the second round on the pupil drives, alone.",
                _taught(drives=lambda teacher, pupil, j: lambda x: (teacher(x) + pupil(x)) / 2)),
        Mistake("first pupil drives on",
                "The pupil of the first round drives in all later ones: it is fitted anew after each, and the newest "
                "drives.", _first_drives_on),
        Mistake("newest first", "The labels are the right ones, but the newest stand first: they go to the end.",
                _taught(keep=lambda old, new: np.concatenate([new, old]))),
        Mistake("labels averaged",
                "The labels are the mean of teacher and pupil: half of the correction is missing.",
                _taught(labels=lambda teacher, pupil: lambda x: (teacher(x) + pupil(x)) / 2)),
    ],
    variants=[_taught_with_lists, _taught_by_recursion],
)  # fmt: skip

# ------------------------------------------------------------------------------- 6: five hundred states worth a label

LABELS, RUNS, STEPS = 500, 400, 100  # at most so many labels; hidden starts, and steps from each
SPEED = 3.0  # rad/s: such a velocity counts like a turn by a radian
COST = "mean cost from hidden starts"
BAR = 230.0
NEAR = 0.4  # of a state to a label, in what the pupil sees


@cache
def _teacher():
    return pendulum_expert()


def teacher(x) -> np.ndarray:
    """Return what the teacher does, (n, 1), in states x (n, 2): the lecture's MPC, a function of the state."""
    return np.clip(_teacher()(x), NOMINAL.input_lower, NOMINAL.input_upper)


def anywhere(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw, with `rng`, n starts (n, 2): any angle, at most 1 rad/s. The hidden ones are drawn likewise."""
    return rng.uniform([-np.pi, -1.0], [np.pi, 1.0], (n, 2))


def drive(controller: Callable, starts, steps: int = STEPS) -> Run:
    """Drive the pendulum with a controller from starts (n, 2), for so many steps; see `closed_loop.run`."""
    starts = np.asarray(starts, dtype=float)
    return run(controller, NOMINAL, starts, NOMINAL.draw(0, len(starts), steps))


def see(x) -> np.ndarray:
    """Return what the pupil sees of states x (n, 2): (cos q, sin q, v / 3), shape (n, 3)."""
    return observation(x) / [1.0, 1.0, SPEED]


def pupil_of(x, u) -> LastLayer:
    """Return a pupil with 80 fixed features, fitted to labels u (M, 1) of states x (M, 2)."""
    return LastLayer(x, u, see)


class Swing(Lesson):
    """The lesson of the pendulum: the lecture's teacher, and pupils with 80 fixed features, weights theta (81, 1)."""

    def __init__(self):
        self._pupil = pupil_of(np.zeros((1, 2)), np.zeros((1, 1)))

    def teacher(self, x) -> np.ndarray:
        """Return what the teacher does, (n, 1), in states x (n, 2)."""
        return teacher(x) if len(x) else np.zeros((0, 1))

    def plant(self, x, u) -> np.ndarray:
        """Return the next states (n, 2), for states x (n, 2) and torques u (n, 1), which are clipped."""
        ahead = dynamics(np.asarray(x, dtype=float), np.clip(u, NOMINAL.input_lower, NOMINAL.input_upper))
        return np.column_stack([wrap(ahead[:, 0]), ahead[:, 1]])

    def act(self, theta, x) -> np.ndarray:
        """Return what the pupil with weights theta does, (n, 1), in states x (n, 2)."""
        return self.features(x) @ theta

    def features(self, x) -> np.ndarray:
        """Return the pupil's features, (n, 81), of states x (n, 2)."""
        return self._pupil.features(x)

    def fit(self, X, U) -> np.ndarray:
        """Return the weights (81, 1) of a pupil that was fitted to labels U (M, 1) of states X (M, 2)."""
        return pupil_of(X, U).W

    def apart(self, x, X) -> np.ndarray:
        """Return how far each of the states x (n, 2) is from the nearest in X (M, 2), in what the pupil sees."""
        return _gaps(see(x), see(np.reshape(X, (-1, 2)))).min(axis=1, initial=np.inf)

    def __repr__(self):
        return "lesson"


def _as_states(answer) -> np.ndarray:
    """Read states (M, 2), and say what is wrong with them."""
    try:
        x = np.array(answer, dtype=float)
    except (TypeError, ValueError):
        x = np.zeros(0)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise TypeError("give the states as an array of shape (M, 2), an angle and a velocity in each row")
    if len(x) > LABELS:
        raise ValueError(f"these are {len(x)} states, and {LABELS} labels are allowed")
    if not np.isfinite(x).all():
        raise ValueError("an angle or a velocity is not finite")
    if np.abs(x[:, 1]).max() > 100.0:
        raise ValueError("no pendulum of this course turns faster than 100 rad/s")
    return np.column_stack([wrap(x[:, 0]), x[:, 1]])


def cost_of(x, seed: int = 0, runs: int = RUNS) -> np.ndarray:
    """Return the costs (runs,) of the pupil that has labels of the states x (M, 2), from so many starts of a seed."""
    x = _as_states(x)
    return _driven(x, seed, runs).cost.sum(axis=0)


def _driven(x, seed: int, runs: int) -> Run:
    return drive(pupil_of(x, teacher(x)), anywhere(np.random.default_rng(seed), runs))


def _taught_by(answer, seed: int) -> dict[str, float]:
    """Measure a set of states; of `unlabelled` and `unvisited` the known mistakes are made, not the verdict."""
    x = _as_states(answer)
    found = _driven(x, seed, RUNS)
    visited = found.x[::4, ::4].reshape(-1, 2)
    gap = _gaps(see(visited), see(x))
    return {COST: float(found.cost.sum(axis=0).mean()), "unlabelled": float((gap.min(axis=1) > NEAR).mean()),
            "unvisited": float((gap.min(axis=0) > NEAR).mean())}  # fmt: skip


def _gaps(a, b) -> np.ndarray:
    """Return the distances of all a (n, d) from all b (M, d)."""
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.sqrt(np.maximum(square, 0.0))


@cache
def _shipped() -> dict[str, np.ndarray]:
    data = places.data("states_08.npz")
    return dict(zip(data["names"].tolist(), data["states"].astype(float)))


def _shape(test: Callable) -> Callable:
    """Make a predicate from `test(q, v, measured)`, of the angles and velocities of the labelled states."""

    def recognises(answer, measured):
        x = _as_states(answer)
        return bool(test(x[:, 0], x[:, 1], measured))

    return recognises


def _distinct(q, v) -> int:
    return len(np.unique(np.column_stack([q, v]).round(2), axis=0))


design = Design(
    6,
    "five hundred states worth a label",
    reference=_shipped()["DAgger, mirrored"],
    measure=_taught_by,
    targets={COST: ("<=", BAR)},
    when_right="Labels where the pupil will be, also when it errs; and none where nobody drives.",
    hints=[
        "Look at the picture: are there grey points far from every label, or labels far from every grey point? Either "
        "is a loss.",
        "The teacher's own states are where the pupil should be, not where it is. Two ways lead beside them: let a "
        "pupil drive and ask about its states, or disturb the teacher's.",
        "Ten rounds: a run of the pupil from `ex08.anywhere(rng, 1)` (the first one of the teacher), every fourth "
        "state of it and its mirror image −x; then a new pupil with all labels so far.",
    ],
    mistakes=[
        Mistake("few labels", "You have given far fewer states than you may: each label is worth something.",
                _shape(lambda q, v, measured: len(q) < 0.7 * LABELS), [[1.0, 0.5], [-1.0, 0.3], [3.0, 0.1]]),
        Mistake("the same states again",
                "Many of your states are the same, or nearly: a second label of one state says nothing new.",
                _shape(lambda q, v, measured: _distinct(q, v) < 0.3 * len(q)),
                np.repeat(_shipped()["DAgger, mirrored"][:50], 10, axis=0)),
        Mistake("all at rest", "All your states are at rest, or nearly; where the pendulum passes, it is fast.",
                _shape(lambda q, v, measured: np.quantile(abs(v), 0.9) < 0.5),
                np.column_stack([np.linspace(-3.1, 3.1, 500), np.zeros(500)])),
        Mistake("the starts only",
                "These are states in which runs start. What comes after the start is faster, and has no label.",
                _shape(lambda q, v, measured: np.abs(v).max() <= 1.0), anywhere(np.random.default_rng(1), 500)),
        Mistake("the top only",
                "Your labels are about balancing. Most hidden starts are far from the top, and have to swing first.",
                _shape(lambda q, v, measured: np.quantile(abs(q), 0.9) < 1.0),
                np.random.default_rng(2).normal(size=(500, 2)) * [0.3, 0.6]),
        Mistake("the bottom only",
                "Your labels are about the swing. No label says how to catch the pendulum at the top.",
                _shape(lambda q, v, measured: np.mean(abs(q) < 0.8) < 0.02),
                np.random.default_rng(3).normal(size=(500, 2)) * [0.4, 1.5] + [np.pi, 0.0]),
        Mistake("one side only",
                "Your states lie on one side. The plant has no sides: what is so on the right is so on the left, with "
                "the other sign, and the pupil does not know it.",
                _shape(lambda q, v, measured: min(np.mean(q > 0), np.mean(q < 0)) < 0.1 or min(
                    np.mean(v > 0), np.mean(v < 0)) < 0.1),
                np.abs(_shipped()["at random"])),
        Mistake("everywhere",
                "Many of your labels lie where nobody drives. This pupil cannot be right everywhere: what it spends "
                "there is missing on the way up.",
                _shape(lambda q, v, measured: measured["unvisited"] > 0.08 and measured["unlabelled"] < 0.2),
                _shipped()["grid"]),
        Mistake("only a band", "The pupil is faster than your labels: beyond their band it has none, and must guess.",
                _shape(lambda q, v, measured: measured["unlabelled"] > 0.2 and np.ptp(np.histogram(
                    v, 4, (v.min(), v.max()))[0]) < 0.5 * len(v) / 4),
                np.random.default_rng(4).uniform([-np.pi, -3.5], [np.pi, 3.5], (500, 2))),
        Mistake("the teacher's states only",
                "The pupil comes to states that have no label: near the labelled ones it errs a little, and beside "
                "them nobody has told it how to come back.",
                _shape(lambda q, v, measured: measured["unlabelled"] > 0.08 and measured["unvisited"] < 0.08),
                _shipped()["teacher's own"]),
        Mistake("labels beside the pupil's way",
                "The pupil comes to states without a label, and many labels lie where it never comes.",
                _shape(lambda q, v, measured: measured["unlabelled"] > 0.08),
                np.random.default_rng(5).normal(size=(500, 2)) * [0.8, 4.0]),
    ],
    variants=[_shipped()["beside the teacher's, mirrored"], _shipped()["DAgger, mirrored"][::-1]],
)  # fmt: skip

# -------------------------------------------------------------------------------- 7: what the pupil can never learn

explain = Explain(
    7,
    "what the pupil can never learn",
    reference="b",
    choices={
        "a": "What the teacher seldom does: 3000 labels hold too little of it, and with more it would come.",
        "b": "What the teacher owes to its last plan: in one state it has several answers, and the pupil sees only the "
        "state.",
        "c": "What to do where the teacher never is: no state beside the teacher's own runs has a label.",
        "d": "Where the teacher jumps: its torque is steeper in the state than a network of this width can be.",
        "e": "To drive better than its teacher: whoever imitates ends at the teacher's cost.",
    },
    reasons={
        1: "Asked in one and the same state after two different runs, this teacher gives two different torques.",
        2: "A network twice as wide leaves half of the error on the same labels.",
        3: "With the memoryless teacher the error on the labels stays at a quarter of a newton metre, round after "
        "round.",
        4: "The warm-started teacher drives better than the memoryless one.",
        5: "Of labels that contradict each other least squares learn the mean, which the teacher gave in neither run.",
        6: "In cloning this teacher's labels contradict each other just as much as in DAgger.",
    },
    carrying=(1, 3, 5),
    when_right="A pupil is a function of what it sees; a teacher that is not one has nothing there to be learned.",
    hints=[
        "The error is that on the labels themselves, which the pupil was fitted to. What would have to be so for it to "
        "grow with the data?",
        "Which reason shows that two labels may differ in one state, which what the fit makes of them, and which that "
        "nothing else is to blame?",
        "Two reasons are false, and one is true and speaks for the teacher, not about the pupil.",
    ],
    mistakes=[
        Mistake("more data do not help",
                "With more data it gets worse: the error on the labels grows from round to round. What is merely rare "
                "would be learned in time.", "a"),
        Mistake("DAgger asks there",
                "In cloning that would be so. DAgger asks in the pupil's own states, beside the teacher's runs: these "
                "are the labels that it fails to fit.", "c"),
        Mistake("no matter of width",
                "The memoryless teacher jumps as well, and the same network errs by a quarter of a newton metre on its "
                "labels. A wider one errs as much on the others.", "d"),
        Mistake("far from the ceiling",
                "That is true of imitation, but this pupil costs more than twice what its teacher does. The ceiling is "
                "not what it has come to.", "e"),
        Mistake("width",
                "Reason 2 is false: the wider network errs nearly as much, as there is no function that fits.", 2),
        Mistake("speaks for the teacher",
                "Reason 4 is true, and a better teacher is no reason for a worse pupil: it carries nothing here.", 4),
        Mistake("less in cloning",
                "Reason 6 is false: in cloning it stays on its own runs and keeps its plan, and as many labels leave "
                "less than half of the error.", 6),
    ],
)  # fmt: skip

exercise = Exercise(
    8,
    "Can MPC teach?",
    [predict, cloning, aggregation, skipping, debug, design, explain],
)
