"""Five ways to put what was learned into an MPC, on a cart-pole whose payload and friction move (lecture 05).

Above the architecture that was chosen, below the plain MPC: same start, same random force, same kicks. What is learned
is learned from a thousand single steps of the plant, by regression, and again if the reader asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mpcrl_course import places
from mpcrl_course.envs.cartpole import DT, LADEN, TRACK, TRACK_END, CartPoleParameters, Noise, dynamics
from mpcrl_course.figures.cartpole import CartPoleDrawing, describe_cartpole
from mpcrl_course.figures.style import COLOURS
from mpcrl_course.learners.identification import identify
from mpcrl_course.learners.regression import cartpole_transitions, fit
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import checked_kick, slider
from mpcrl_course.live.controls import choice as choices
from mpcrl_course.live.player import Player
from mpcrl_course.mpc import Solution, shift
from mpcrl_course.own import checked
from mpcrl_course.policies.comparison import CommonGuess
from mpcrl_course.policies.guesses import Nearest, mirrored, windows
from mpcrl_course.policies.hierarchical import Hierarchical, gate
from mpcrl_course.policies.integrated import feature_mlp, features, integrated_mpc
from mpcrl_course.policies.parallel import Parallel, correction, missing_force
from mpcrl_course.policies.receding import Receding, beside, improve
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model
from mpcrl_course.validation import choice, function, instance, real

#: By name, what each is; 'yours' is there if the reader gives a correction.
ARCHITECTURES = {
    "plain": "plain MPC",
    "parameterised": "parameterised: identified model",
    "parallel": "parallel: u + β r(s, u), r a network",
    "hierarchical": "hierarchical: gate on the weight of p",
    "integrated": "integrated: a network in the model",
    "algorithmic": "algorithmic: nearest stored plan",
    "yours": "yours: u + β r(s, u), r your own",
}
CORRECTED = ("parallel", "yours")
#: Steps after which costs are compared, as in the lecture's table; steps that the picture shows of the past.
END, PAST = 120, 160
#: Upper ends of the axis of costs; colour and line of the chosen architecture and of the plain MPC.
COSTS, LOOKS = (200.0, 500.0, 1000.0, 2500.0), (("vermilion", "-"), ("blue", "--"))
#: Distances between states, of the nearest stored plan.
SCALE = (1.0, 0.5, 1.0, 2.0)


class Architectures:
    """The architectures by name, each made when it is first asked for; they share one MPC and its first plans.

    Parameters
    ----------
    r : callable (s, u) -> float, optional
        The reader's own correction (N) of the force u (N) in the state s (4,).
    stored : mapping, optional
        Plans and runs; by default the shipped ones, plans_05.npz.

    Attributes
    ----------
    mpc, guess : MPC, CommonGuess
        The plain one, and its first plans.
    starts : ndarray, shape (n, 4)
        For which these are stored.
    plant, model : CartPoleParameters
        What was learned from, and the identified model of it.
    """

    def __init__(self, r: Callable | None = None, stored: Mapping | None = None):
        self.r = function(r, "r", optional=True)
        if stored is None:
            with places.data("plans_05.npz") as file:
                stored = dict(file)
        self.mpc, self._runs = cartpole_mpc(), (stored["run_x"].astype(float), stored["run_u"].astype(float))
        self.guess, self.starts = CommonGuess(self.mpc), stored["plan_x"][:, 0]
        self.guess.plans = {x[0].tobytes(): (x, u) for x, u in zip(stored["plan_x"], stored["plan_u"], strict=True)}
        self._horizon = self.mpc.problem.horizon
        self.learn(LADEN)

    names = property(lambda self: [name for name in ARCHITECTURES if name != "yours" or self.r is not None])

    def learn(self, plant: CartPoleParameters) -> None:
        """Draw 1000 single steps of the plant, most of them around plans, and learn from these from now on."""
        x, u = (part[: self._horizon, :6] for part in self._runs)
        self.plant = instance(plant, CartPoleParameters, "plant")
        self._made: dict[str, Any] = {}
        self._steps = cartpole_transitions(plant, x, u, np.random.default_rng(0))
        self.model = identify(*self._steps)
        self._theta = with_model(self.mpc, self.mpc.parameters.initial(), self.model)

    def __getitem__(self, name: str):
        """Return the controller by name, from y (n, 4) to forces (n, 1); it is kept."""
        choice(name, self.names, "architecture")
        if name not in self._made:
            self._made[name] = getattr(self, f"_{name}")()
        return self._made[name]

    def receding(self, theta=None) -> Receding:
        """Return the MPC with theta (n_theta,), by default the plain one, from the common first plan."""
        return Receding(self.mpc, theta, first=_kept(self.guess))

    def _plain(self):
        return self.receding()

    def _parameterised(self):
        return self.receding(self._theta)

    def _parallel(self):
        (x, u, ahead), rng = self._steps, np.random.default_rng(1)
        network = fit(feature_mlp(rng, 1), features(x, u), missing_force(x, u, ahead), rng, steps=5000)
        return Parallel(self.receding(), correction(network))

    def _hierarchical(self):
        return Hierarchical(self.mpc, gate(), self._theta, first=_kept(self.guess))

    def _integrated(self):
        (x, u, ahead), rng = self._steps, np.random.default_rng(2)
        phi = fit(feature_mlp(rng), features(x, u), (ahead - dynamics(x, u))[:, 2:], rng)
        return _Integrated(phi, self.guess, self._theta)

    def _algorithmic(self):
        nearest = Nearest(*mirrored(*windows(*self._runs, self._horizon)), 1, SCALE)
        return Receding(self.mpc, first=lambda mpc, theta, s: mpc.policy(theta, s, warm_start=nearest(s)))

    def _yours(self):
        def row(y, u):
            value = self.r(y[0].copy(), float(u[0, 0]))
            return checked("r", None if value is None else np.ravel(value), (1,))[None]

        return Parallel(self.receding(), row)


class _Integrated(Receding):
    """The integrated architecture; where its iteration fails, it goes on from a plan for the identified model.

    That one ipopt knows already. To build it for a problem with a network inside takes five seconds, which is long in
    a live picture.
    """

    def __init__(self, phi, guess: CommonGuess, theta):
        super().__init__(integrated_mpc(phi, fallback=False), first=_kept(self._begin))
        self.guess, self._identified = guess, theta

    def _begin(self, mpc, theta, s):
        return self._help(s, self.guess.plan(s))

    def _answer(self, s, old):
        guess = beside(shift(old), s, self.mpc.problem.angles)
        plan = improve(self.mpc, self.theta, s, guess)
        return plan if plan.status != "failed" else self._help(s, (guess.x, guess.u))

    def _help(self, s, guess) -> Solution:
        """Return the plan found from one that the identified model's MPC finds from a guess (x, u)."""
        found = self.guess.nominal.policy(self._identified, s, warm_start=guess)
        moved = replace(found, transcription=self.mpc.transcription)
        return replace(improve(self.mpc, self.theta, s, moved), status="fallback")


def _kept(first: Callable) -> Callable:
    """Return a `first` of `Receding` that keeps its plans: to begin again costs nothing."""
    plans: dict[tuple, Solution] = {}

    def remembered(mpc, theta, s):
        key = theta.tobytes(), s.tobytes()
        if key not in plans:
            plans[key] = first(mpc, theta, s)
        return plans[key]

    return remembered


class ArchitecturesLoop:
    """Two cart-poles with the same parameters, start and noise: an architecture drives one, the plain MPC the other.

    Parameters
    ----------
    r : callable (s, u) -> float, optional
        The reader's own correction (N) of the MPC's force u (N) in the state s (4,); it is added β times.
    architecture : str, optional
        That drives the first: one of `ARCHITECTURES`; by default 'yours' if there is an r, else 'parallel'.
    beta : float
        Share of the correction.
    plant : CartPoleParameters
        Of both, without delay and measurement noise.
    seed : int
        Of the noise and of the kicks.

    Attributes
    ----------
    boxes : Architectures
    x : ndarray, shape (2, 4)
        States of the chosen one's cart-pole and of the plain MPC's.
    u, cost : ndarray, shape (2,)
        Latest force (N), and cost since the start.
    ended : ndarray of bool, shape (2,)
        Which one has run into the end of the track, where it stays.
    seconds : tuple of list of float
        Of the decisions of each, but for the first.
    fallbacks, outside, beyond : ndarray of int, shape (2,)
        Decisions that went to ipopt, steps that ended off the track, forces beyond the limit (the plant clips them).
    past : list of ndarray, shape (2, 2)
        Positions and costs of the latest steps.
    kicked : ndarray, shape (2,), or None
        The latest kick since the start, m/s and rad/s.
    results : dict
        Cost and |p| (m) after 120 steps, by what was tried without a change on the way; of this plant and start.
    """

    def __init__(
        self,
        r: Callable | None = None,
        *,
        architecture: str | None = None,
        beta: float = 1.0,
        plant: CartPoleParameters = replace(LADEN, process_noise=0.5),  # noqa: B008 (immutable)
        seed: int = 0,
    ):
        self.boxes, self.seed, self.beta = Architectures(r), seed, real(beta, "beta", 0.0, 1.0)
        if plant.delay or plant.measurement_noise:
            raise ValueError("plant is one without delay and without measurement noise here")
        self.parameters, self.start = instance(plant, CartPoleParameters, "plant"), 0
        self._plain = self.boxes.receding()
        self.results: dict[str, tuple[float, float]] = {}
        self.choose(architecture or ("yours" if r is not None else "parallel"))

    def choose(self, architecture: str) -> None:
        """Let another architecture drive the first cart-pole, and start again."""
        self.controller, self.architecture = self.boxes[architecture], architecture
        self.change(beta=self.beta)
        self.restart()

    def restart(self) -> None:
        """Put both at the start, with the same noise again; the plant stays as it is."""
        self.rng, self._kicks = (np.random.default_rng([self.seed, i]) for i in (0, 1))
        self.x = np.tile(self.boxes.starts[self.start], (2, 1))
        self.u, self.cost, self.ended = np.zeros(2), np.zeros(2), np.zeros(2, bool)
        self.fallbacks, self.outside, self.beyond = np.zeros((3, 2), int)
        self.count, self._undisturbed = 0, True
        self.kicked: np.ndarray | None = None
        self.seconds: tuple[list[float], list[float]] = ([], [])
        self.past = [np.stack([self.x[:, 0], self.cost])]
        for controller in self.controllers:
            controller.reset()

    def next_start(self) -> None:
        """Go on to the next of the starts."""
        self.start, self.results = (self.start + 1) % len(self.boxes.starts), {}
        self.restart()

    controllers = property(lambda self: (self.controller, self._plain))
    label = property(
        lambda self: self.architecture + f", β = {self.beta:.2f}" * (self.architecture in CORRECTED),
        doc="The chosen architecture, with β if it has one.",
    )

    @property
    def mpcs(self) -> list[Receding]:
        """What plans for each of the two."""
        return [getattr(each, "controller", each) for each in self.controllers]

    def change(self, beta: float | None = None, **changes) -> None:
        """Change β, or make `changes` of both plants, parameters by their names, of which no MPC is told."""
        if beta is not None:
            self.beta = real(beta, "beta", 0.0, 1.0)
            if isinstance(self.controller, Parallel):
                self.controller.beta = self.beta
        if changes:
            self.parameters, self.results = replace(self.parameters, **changes), {}
        self._undisturbed = False

    def learn(self) -> None:
        """Learn from single steps of the plant as it is now, and start again."""
        self.boxes.learn(replace(self.parameters, process_noise=0.0))
        self.results = {}
        self.choose(self.architecture)

    def prepare(self, architecture: str) -> None:
        """Make an architecture that may be chosen next, and its first plan, so that they are there in time."""
        if (controller := self.boxes[architecture]) is not self.controller:
            controller(self.boxes.starts[[self.start]])
            controller.reset()

    def kick(self, amount=None) -> None:
        """Push both: add `amount` (2,) in m/s and rad/s, or a random one, to the velocities.

        The algorithmic one looks for the nearest stored plan then.
        """
        if amount is None:
            amount = self._kicks.choice([-1.0, 1.0], 2) * self._kicks.uniform([0.3, 1.0], [2.0, 4.0])
        push = checked_kick(amount, "m/s", "rad/s")
        self.x = np.where(self.ended[:, None], self.x, self.x + np.append([0.0, 0.0], push))
        self.kicked = push
        self._undisturbed = False
        if self.architecture == "algorithmic":
            self.controller.reset()

    def step(self) -> None:
        """Drive both for one step of 0.05 s.

        RuntimeError: both are at the end of the track. What a controller raises leaves all as it was.
        """
        if self.ended.all():
            raise RuntimeError(f"both carts have run into the end of the track, {TRACK_END} m. Press Reset")
        before = [mpc.plans for mpc in self.mpcs]
        for mpc, plans in zip(self.mpcs, before, strict=True):
            mpc.plans = list(plans)
        try:
            u, seconds = zip(*(self._decide(i) for i in (0, 1)), strict=True)
        except Exception:
            for mpc, plans in zip(self.mpcs, before, strict=True):
                mpc.plans = plans
            raise
        self._move(np.array(u), seconds)

    def _decide(self, i: int) -> tuple[float, float]:
        """Return the force of controller i, and the seconds that it took."""
        if self.ended[i]:
            return 0.0, 0.0
        began = time.perf_counter()
        u = self.controllers[i](self.x[i : i + 1])
        return float(u[0, 0]), time.perf_counter() - began

    def _move(self, command, seconds) -> None:
        p, going = self.parameters, ~self.ended
        self.beyond += going & (np.abs(command) > p.max_force * (1.0 + 1e-9))
        self.u = np.clip(command, -p.max_force, p.max_force)
        noise = Noise(np.full(2, self.rng.standard_normal()), np.zeros((2, 4)))  # the same for both
        x, cost, ended = p.step(self.x, self.u[:, None], noise)
        self.x = np.where(going[:, None], x, self.x)
        self.cost, self.ended = self.cost + going * cost, self.ended | ended
        self.outside += going & (np.abs(self.x[:, 0]) > TRACK)
        for i in np.flatnonzero(going):
            self.fallbacks[i] += "fallback" in self.mpcs[i].status
            if self.count:  # the very first decision plans from nothing
                self.seconds[i].append(seconds[i])
        self.count += 1
        self.past = [*self.past[1 - PAST :], np.stack([self.x[:, 0], self.cost])]
        if self.count == END and self._undisturbed:
            found = zip(self.cost.tolist(), np.abs(self.x[:, 0]).tolist(), strict=True)
            self.results |= dict(zip((self.label, "plain"), found, strict=True))


class ArchitecturesScene(Scene):
    """Draws an `ArchitecturesLoop`: the two cart-poles with their plans; positions and costs of the last 8 s."""

    def _make(self, canvas, width, height):
        track, high = round(0.64 * width), round(0.156 * width)
        self._drawings, self._titles = [], []
        for bottom, (colour, _) in zip((height // 2 + 14, 42), LOOKS, strict=True):
            ax = canvas.axes(8, bottom, track, high)
            self._drawings.append(CartPoleDrawing(ax, animated=True, colour=colour))
            ax.tick_params(pad=1)
            ax.set_xlabel("position $p$ (m)" if bottom == 42 else "")
            look: dict[str, Any] = {"fontsize": 9.5, "color": COLOURS[colour], "animated": True}
            self._titles.append(canvas.text(14, bottom + high + 7, "", **look))
        left, axes, self._lines = track + 62, [], []
        for i, title in enumerate(("position (m)", "cost so far")):
            size = left, 42 + (1 - i) * (height // 2 - 28), width - left - 12, height / 2 - 84
            axes.append(canvas.axes(*size, left=title, xlim=(-PAST * DT, 0.0), bounds=() if i else (-TRACK, TRACK)))
            self._lines.append([canvas.curve(axes[i], *look, linewidth=1.8) for look in LOOKS])
        axes[0].set(ylim=(-2.6, 2.6), yticks=(-2, 0, 2))
        axes[1].set(ylim=(0.0, COSTS[0]), xlabel="time from now (s)")
        self._costs = axes[1]
        self._plant = canvas.text(14, height - 20, "", fontsize=9, animated=True)

    def draw(self, loop: ArchitecturesLoop) -> bytes:
        """Return the picture of a loop as JPEG."""
        self._write(loop)
        past = np.array(loop.past)
        t = DT * np.arange(1 - len(past), 1)
        for i, (drawing, mpc) in enumerate(zip(self._drawings, loop.mpcs, strict=True)):
            drawing.set_masses(mass=loop.parameters.mass)
            drawing.set(loop.x[i], loop.u[i])
            drawing.set_plan(mpc.plans[0].x if mpc.plans else loop.x[i : i + 1])
            for k, pair in enumerate(self._lines):
                pair[i].set_data(t, past[:, k, i])
        lines = [line for pair in self._lines for line in reversed(pair)]
        return self.canvas.frame([*lines, *(artist for drawing in self._drawings for artist in drawing.artists)])

    def _write(self, loop) -> None:
        """Renew what is slow to draw, if it has changed: texts and the range of the costs."""
        chosen = ARCHITECTURES[loop.architecture] + f", β = {loop.beta:.2f}" * (loop.architecture in CORRECTED)
        words = [_plant_words(loop), f"{chosen} (solid)", f"{ARCHITECTURES['plain']} (dashed)"]
        texts, costs = [self._plant, *self._titles], self._costs
        top = next((top for top in COSTS if loop.cost.max() < top), COSTS[-1])
        if words == [text.get_text() for text in texts] and top == costs.get_ylim()[1]:
            return
        for text, word in zip(texts, words, strict=True):
            text.set_text(word)
        redraw = top != costs.get_ylim()[1]
        costs.set_ylim(0.0, top)
        self.canvas.layer(texts, redraw_base=redraw)

    def describe(self, loop: ArchitecturesLoop) -> str:
        """Return the picture of a loop in words."""
        who = (f"The chosen architecture, {loop.label}", "The plain MPC")
        parts = [
            f"{name}: {describe_cartpole(x, u)} Cost so far {cost:.1f}{'; it has left the track' * bool(ended)}."
            for name, x, u, cost, ended in zip(who, loop.x, loop.u, loop.cost, loop.ended, strict=True)
        ]
        return f"Two cart-poles after {loop.count} steps, {_plant_words(loop)}. " + " ".join(parts)


def _plant_words(loop: ArchitecturesLoop) -> str:
    p, taught = loop.parameters, loop.boxes.plant
    words = f"plant: payload {p.mass:.2f} kg, dry friction {p.coulomb:.2f} N, random force {p.process_noise:.2f} N"
    return words + f"; learned at {taught.mass:.2f} kg, {taught.coulomb:.2f} N"


def _status(loop: ArchitecturesLoop) -> str:
    rows = [f"step {loop.count} ({DT * loop.count:.1f} s)" + _results(loop)]
    if loop.kicked is not None:
        rows[0] += " · kicked by {:+.1f} m/s and {:+.1f} rad/s".format(*loop.kicked)
    for i, name in enumerate((loop.label, "plain MPC")):
        ms = 1e3 * np.array(loop.seconds[i])
        time = f"median {np.median(ms):.2f} ms, mean {ms.mean():.2f} ms" if len(ms) else "–"
        words = [f"<b>{name}</b> cost {loop.cost[i]:.1f}", f"|p| {abs(loop.x[i, 0]):.2f} m", f"decision {time}"]
        counts = {"solved by ipopt": loop.fallbacks, "steps off the track": loop.outside, "beyond ±15 N": loop.beyond}
        words += [f"{number[i]} {what}" for what, number in counts.items() if number[i]]
        rows.append(" · ".join(words) + " · <b>at the end of the track</b>" * bool(loop.ended[i]))
    return "<br>".join(rows)


def _results(loop: ArchitecturesLoop) -> str:
    found = sorted(loop.results.items(), key=lambda item: item[1])
    told = ", ".join(f"{name} {cost:.0f} ({p:.2f} m)" for name, (cost, p) in found)
    return f" · after {END * DT:.0f} s, cost and |p|: {told}" if told else ""


def architectures_live(r: Callable | None = None, *, width: int = 800, **options) -> Player:
    """Return the live picture of an `ArchitecturesLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    r, **options
        `architecture`, `beta`, `plant`, `seed`: see `ArchitecturesLoop`; ``r(s, u)`` may be the reader's own function.
    width : int
        Of the picture in pixels.
    """
    loop, scene = ArchitecturesLoop(r, **options), ArchitecturesScene(width)
    p = loop.parameters
    controls = {
        "architecture": choices("architecture", {n: ARCHITECTURES[n] for n in loop.boxes.names}, loop.architecture),
        "mass": slider("payload m (kg)", p.mass, 0.2, 1.0, 0.05),
        "coulomb": slider("dry friction (N)", p.coulomb, 0.0, 5.0, 0.25),
        "beta": slider("share β of r", loop.beta, 0.0, 1.0, 0.05),
        "process_noise": slider("random force (N)", p.process_noise, 0.0, 3.0, 0.25),
    }

    def choose(name):
        loop.choose(name)
        controls["beta"].disabled = name not in CORRECTED

    actions = {"Kick": loop.kick, "Reset": loop.restart, "Next start": loop.next_start, "Learn this plant": loop.learn}
    player = Player(loop, scene, _status, controls, actions=actions, label=120, width=width, rate=36.0)
    player.connect(loop.change, "beta", "mass", "coulomb", "process_noise")
    player.watch(controls["architecture"], choose)
    controls["beta"].disabled = loop.architecture not in CORRECTED
    player.when_idle([partial(loop.prepare, name) for name in loop.boxes.names if name != "yours"])
    return player
