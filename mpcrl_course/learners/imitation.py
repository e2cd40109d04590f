"""Imitation: a network learns what an expert does, from the expert's own states or from its own.

    cloning     min_theta  mean |pi_theta(x_i) - u_i|^2,     u_i = expert(x_i),  x_i from runs of the expert
    DAgger      round j: run  pi_j = expert with probability beta_j in each step, else the pupil;
                label what was visited, u_i = expert(x_i);  add it to all labels before;  fit the pupil to all of them

(Ross, Gordon & Bagnell 2011.) With beta = 1 for ever DAgger is cloning. A cloned pupil errs a little, comes to states
that no label is about, and errs more there; DAgger asks about the states that the pupil comes to. The labels must be a
function of the state: see `policies.expert`.

Of a plant that does not know right from left, the mirror images (-x, -u) are labels that cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpcrl_course.closed_loop import Controller, measured, run
from mpcrl_course.envs.pendulum import observation
from mpcrl_course.envs.plant import PlantParameters
from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.regression import fit
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.mlp import MLP, Adam, Trainable
from mpcrl_course.own import checked, inputs
from mpcrl_course.validation import flag, function, generator, instance, reals, whole


def expert_first(j: int) -> float:
    """Return beta of round j: the expert drives the first round, and the pupil all others."""
    return 1.0 if j == 0 else 0.0


def mirror_images(x, u) -> tuple[np.ndarray, np.ndarray]:
    """Return states x (M, n_states) and inputs u (M, n_inputs), followed by their mirror images, -x and -u."""
    x, u = reals(x, "x", (None, None)), reals(u, "u", (None, None))
    if len(x) != len(u):
        raise ValueError(f"x and u are pairs, but there are {len(x)} and {len(u)}")
    return np.concatenate([x, -x]), np.concatenate([u, -u])


def hanging(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw, with `rng`, n states (n, 2) of a pendulum that nearly hangs: q in pi +- 0.5, |v| <= 0.5 rad/s."""
    return generator(rng).uniform([np.pi - 0.5, -0.5], [np.pi + 0.5, 0.5], (whole(n, "n", 1), 2))


class Pupil(Trainable):
    """A network as a controller of n plants.

    Parameters
    ----------
    n_states, n_inputs : int
    rng : numpy.random.Generator
        Draws the first weights.
    see : callable (x) -> array
        What the network sees of states (n, n_states): (n, …).
    width : int
        Units of each hidden layer.

    Attributes
    ----------
    network : MLP
    adam : Adam
        With it `improve` goes on; `learn` has one of its own.
    """

    NETWORKS = ("network",)
    OPTIMISERS = ("adam",)

    def __init__(self, n_states: int, n_inputs: int, rng: np.random.Generator, see: Callable = observation,
                 width: int = 64):  # fmt: skip
        self.n_states, self.n_inputs = whole(n_states, "n_states", 1), whole(n_inputs, "n_inputs", 1)
        self.see, self.width = function(see, "see"), whole(width, "width", 1)
        seen = reals(self.see(np.zeros((1, self.n_states))), "what see returns", (1, None))
        self.network = MLP(seen.shape[1], self.n_inputs, generator(rng), width=self.width)
        self.adam = Adam(self.network.theta.size, 2e-3)

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs), not clipped, for states y (n, n_states)."""
        return self.network(self.see(measured(y, self.n_states))).astype(float)

    def learn(self, x, u, rng: np.random.Generator, mirror: bool = False, steps: int = 3000) -> float:
        """Forget all, and fit the labels; return the root mean square of the errors that are left.

        Parameters
        ----------
        x, u : array_like, shapes (M, n_states) and (M, n_inputs)
        rng : numpy.random.Generator
            Draws the first weights and the batches.
        mirror : bool
            Learn from the mirror images, too.
        steps : int
            Of Adam: see `fit`.
        """
        x, u = reals(x, "x", (None, self.n_states)), reals(u, "u", (None, self.n_inputs))
        if flag(mirror, "mirror"):
            x, u = mirror_images(x, u)
        seen = self.see(x)
        fresh = MLP(self.network.sizes[0], self.n_inputs, generator(rng), width=self.width)
        self.network.theta[:] = fit(fresh, seen, u, rng, steps=steps).theta
        self.adam = Adam(self.network.theta.size, self.adam.rate)
        return float(np.sqrt(np.mean((self.network(seen) - u) ** 2)))

    def improve(self, x, u, rng: np.random.Generator, mirror: bool = False, steps: int = 20, batch: int = 64) -> None:
        """Go on from the present weights, on labels to which some were perhaps added: a few steps of Adam.

        x, u, rng, mirror and steps are those of `learn`; each step takes a `batch` of the labels.
        """
        x, u = reals(x, "x", (None, self.n_states)), reals(u, "u", (None, self.n_inputs))
        if not len(x) == len(u) > 0:
            raise ValueError(f"x and u are pairs, but there are {len(x)} and {len(u)}")
        mirror, batch = flag(mirror, "mirror"), whole(batch, "batch", 1)
        for _ in range(whole(steps, "steps", 0)):
            i = generator(rng).integers(len(x), size=batch)
            sign = np.where(rng.random((batch, 1)) < 0.5, -1.0, 1.0) if mirror else 1.0
            found, tape = self.network.forward(self.see(sign * x[i]).astype(np.float32))
            gradient, _ = self.network.backward(tape, (found - sign * u[i]) / batch, inputs=False)
            self.adam.descend(self.network.theta, gradient)


def demonstrate(expert: Controller, plant: Any, starts, steps: int, rng: np.random.Generator):
    """Run an expert on a plant; return the states (M, n_states) and inputs (M, n_inputs) of all steps.

    Parameters
    ----------
    expert : Controller
    plant : PlantParameters
    starts : array_like, shape (n, n_states)
    steps : int
        M = steps n.
    rng : numpy.random.Generator
        Draws the noise.
    """
    function(expert, "expert")
    starts = reals(starts, "starts", (None, instance(plant, PlantParameters, "plant").n_states))
    found = run(expert, plant, starts, plant.draw(generator(rng), len(starts), whole(steps, "steps", 1)))
    return found.x[:-1].reshape(-1, plant.n_states), found.u.reshape(-1, plant.n_inputs)


def clone(x, u, rng: np.random.Generator, *, mirror: bool = False, see: Callable = observation, width: int = 64,
          steps: int = 3000) -> Pupil:  # fmt: skip
    """Return a pupil that was fitted to labels u (M, n_inputs) of the states x (M, n_states).

    rng draws all that is random; mirror and steps are those of `Pupil.learn`, see and width those of `Pupil`.
    """
    x, u = reals(x, "x", (None, None)), reals(u, "u", (None, None))
    pupil = Pupil(x.shape[1], u.shape[1], rng, see, width)
    pupil.learn(x, u, rng, mirror, steps)
    return pupil


class DAgger(Learner):
    """Dataset aggregation; a step is a round.

    Parameters
    ----------
    expert : Controller
        From states (n, n_states) to inputs (n, n_inputs). Its memory, if it has one, is reset before each round.
    plant : PlantParameters
        Its measurements are what is labelled.
    starts : callable (rng, n) -> (n, n_states)
        Draws where the runs of a round start.
    rng : numpy.random.Generator
    n, steps : int
        Runs of a round, and steps of each.
    beta : float or schedule
        Probability, in round j, that the expert drives a step of a run.
    when : callable (x, u) -> bools (n,), optional
        When to ask: for states x (n, n_states) and what the pupil would do there, u (n, n_inputs). Asked is the expert
        then, and where it drives; nothing else gets a label. By default always.
    mirror : bool
        Learn from the mirror images of the labels, too.
    fit_steps, width, see
        See `Pupil`.
    memory : int
        Labels that are kept; the newest overwrite the oldest of more than so many.

    Attributes
    ----------
    pupil : Pupil
    labels : Replay
        All states x and labels u.
    log : Log
        Of each round: asked: new labels; labels: of all rounds; error: root mean square on what was fitted; cost: mean
        cost of a run, with the policy before the fit; apart: root mean square of pupil minus label, before the fit.
    """

    name = "DAgger"
    kept = ()

    def __init__(
        self,
        expert: Controller,
        plant: Any,
        starts: Callable,
        rng: np.random.Generator,
        *,
        n: int = 5,
        steps: int = 100,
        beta: float | Callable = expert_first,
        when: Callable | None = None,
        mirror: bool = False,
        fit_steps: int = 3000,
        width: int = 64,
        see: Callable = observation,
        memory: int = 100_000,
    ):
        super().__init__(None, rng)
        self.expert, self.plant = function(expert, "expert"), instance(plant, PlantParameters, "plant")
        self.starts, self.when = function(starts, "starts"), function(when, "when", optional=True)
        self.n, self.steps, self.fit_steps = (
            whole(n, "n", 1),
            whole(steps, "steps", 1),
            whole(fit_steps, "fit_steps", 0),
        )
        self.beta, self.mirror = as_schedule(beta, "beta", 1.0), flag(mirror, "mirror")
        self.pupil = Pupil(plant.n_states, plant.n_inputs, rng, see, width)
        self.labels = Replay(memory, x=plant.n_states, u=plant.n_inputs)
        self.parts |= {"pupil": self.pupil, "labels": self.labels}

    def step(self) -> None:
        """Run, label, aggregate, fit, and write a row of the log."""
        starts = checked("starts", self.starts(self.rng, self.n), (self.n, self.plant.n_states))
        lesson = _Lesson(self, at(self.beta, self.k, "beta", 1.0))
        found = run(lesson, self.plant, starts, self.plant.draw(self.rng, self.n, self.steps))
        for x, u in zip(lesson.x, lesson.u):
            self.labels.add(x=x, u=u)
        error = np.nan
        if len(self.labels):
            x, u = self.labels.all()
            error = self.pupil.learn(x, u, self.rng, self.mirror, self.fit_steps)
        apart = np.sqrt(np.mean(np.square(lesson.apart))) if lesson.apart else np.nan
        cost = found.cost.sum(axis=0).mean()
        self.log.add(asked=len(lesson.x), labels=len(self.labels), error=error, cost=cost, apart=float(apart))


class _Lesson:
    """The controller of a round: the expert with probability beta, else the pupil; it keeps the labels x, u."""

    def __init__(self, learner: DAgger, beta: float):
        self.learner, self.beta = learner, beta
        self.x: list[Any] = []
        self.u: list[Any] = []
        self.apart: list[float] = []

    def reset(self) -> None:
        """Let the expert forget."""
        if hasattr(self.learner.expert, "reset"):
            self.learner.expert.reset()

    def __call__(self, y) -> np.ndarray:
        """Return inputs (n, n_inputs) for what is measured, y (n, n_states)."""
        learner = self.learner
        n, m = len(y), learner.plant.n_inputs
        u = learner.pupil(y)
        if 0.0 < self.beta < 1.0:
            drives = learner.rng.random(n) < self.beta
        else:
            drives = np.full(n, self.beta == 1.0)
        asked = np.ones(n, bool)
        if learner.when is not None:
            asked = drives | (checked("when", learner.when(y.copy(), u.copy()), (n,)) != 0)
        if asked.any():
            label = inputs(learner.expert(y[asked]), int(asked.sum()), m, "the expert")
            label = np.clip(label, learner.plant.input_lower, learner.plant.input_upper)
            self.x.extend(y[asked])
            self.u.extend(label)
            limited = np.clip(u[asked], learner.plant.input_lower, learner.plant.input_upper)
            self.apart.extend((limited - label).ravel().tolist())
            u[drives] = label[drives[asked]]
        return u
