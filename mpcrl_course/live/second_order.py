"""First and second order side by side on the network of linear plants, learning while you watch (lecture 12)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.cm import ScalarMappable
from matplotlib.colors import SymLogNorm

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.distributed import LocalLearner, update
from mpcrl_course.learners.replay import Replay
from mpcrl_course.live.canvas import Canvas
from mpcrl_course.live.controls import slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.mpc.admm import Central
from mpcrl_course.mpc.consensus import average, mixing_matrix
from mpcrl_course.mpc.network import line
from mpcrl_course.mpc.solution import SolverError
from mpcrl_course.policies.network_mpc import network_mpc

#: Steps of a run, as published; samples that are kept; the published step sizes, by order.
STEPS, MEMORY, STEP_SIZE = 2000, 100, {1: 1e-8, 2: 1e-4}
#: A run ends early after so many failed steps in a row, or with a state so large.
PATIENCE, RUNAWAY = 200, 1e6


class FaultyLearner(LocalLearner):
    """An agent that can make a mistake found in published code, off at first.

    Attributes
    ----------
    mean : bool
        Whether K_i is the mean of the h_i,tau, and sigma I is added to -K_i, beside the *sum* of the g g'. Then Kt_i is
        T times what it should be.
    """

    mean = False

    def term(self, sigma: float, safeguard: bool) -> np.ndarray:
        """Return this agent's term of C, shape (T, T)."""
        if self.mean:
            T = len(self.td)
            self.K, sigma = np.asarray(self.K) / T, sigma / T
        return super().term(sigma, safeguard)


class Learning:
    """One network that controls its plant and learns: `distributed_q_learning`, one step at a time, and adjustable.

    V and Q come from one central solve, which is where ADMM converges to; what the agents agree on comes from average
    consensus over the line of three, or exactly.

    Parameters
    ----------
    order : {2, 1}
    seed : int
        Of the noise and of the batches.
    rounds : int, optional
        Rounds of average consensus; None: exact sums.
    alpha : float, optional
        Step size; by default the published one.
    batch : int
        T; two thirds of it are the latest samples.
    sigma : float
        Regularisation of one sample.
    safeguard : bool
        See `mpcrl_course.learners.distributed.regularised_inverse`; the published runs have none.
    misaligned, mean : bool
        Two mistakes: every agent draws its own batch; and that of `FaultyLearner`.
    alone : bool
        Whether every agent takes its own term for C, so that no matrix is sent at all.
    local_step : callable (G, Kt, C, td) -> ndarray, optional
        A reader's own `second_order_local`.
    controller : Central, optional

    Attributes
    ----------
    theta, s, a : ndarray
        Parameters of all agents; state; the action that comes next.
    td, cost : ndarray, shape (count,)
        TD error (nan where a solve failed) and stage cost of every step so far.
    C : list of ndarray
        What each agent took for C in the latest update (None in first order).
    failed : int
        Steps in which a solve or an update failed: skipped by all, as in the learner.
    stopped : str
        Why the run ended before its last step; empty if it did not.
    """

    def __init__(self, order: int = 2, *, seed: int = 1, rounds: int | None = None, alpha: float | None = None,
                 batch: int = 15, sigma: float = 1e-3, safeguard: bool = False, misaligned: bool = False,
                 mean: bool = False, alone: bool = False, local_step: Callable | None = None,
                 controller: Central | None = None):  # fmt: skip
        self.controller, self.local_step = controller or _controller(), local_step
        self.order, self.seed, self.rounds = order, seed, rounds
        self.alpha = STEP_SIZE[order] if alpha is None else alpha
        self.batch, self.sigma, self.safeguard = batch, sigma, safeguard
        self.misaligned, self.mean, self.alone = misaligned, mean, alone
        self.P = mixing_matrix(3, line(3), 0.25)
        self.reset()

    def reset(self) -> None:
        """Go back to the start; what was adjusted stays."""
        network, rng = self.controller.network, np.random.default_rng(self.seed)
        theta, shared = network.parameters.initial(), int(rng.integers(2**31))
        free = np.full(theta.size, np.inf)
        self.agents = [
            FaultyLearner(theta[own], Replay(MEMORY), shared, np.ones(theta[own].size, bool), -free[own], free[own])
            for own in network.theta_of
        ]
        if self.local_step is not None:
            for agent in self.agents:
                agent.second_order = _checked(self.local_step)
        self._own = [np.random.default_rng([shared, i]) for i in range(len(self.agents))]
        self.plant = LinearNetwork(network.neighbours)
        self.plant.np_random = rng
        self.s, _ = self.plant.reset()
        self.a = self.controller.V(theta, self.s).u0
        self._td, self._cost = np.full(STEPS, np.nan), np.zeros(STEPS)
        self.count, self.failed, self._in_a_row, self.stopped = 0, 0, 0, ""
        self.C: list = [None] * len(self.agents)

    @property
    def theta(self) -> np.ndarray:
        """The parameters of all agents, one after the other."""
        return np.concatenate([agent.theta for agent in self.agents])

    @property
    def td(self) -> np.ndarray:
        """TD errors so far."""
        return self._td[: self.count]

    @property
    def cost(self) -> np.ndarray:
        """Stage costs so far."""
        return self._cost[: self.count]

    @property
    def done(self) -> bool:
        """Whether all `STEPS` are made, or the run has stopped."""
        return self.count >= STEPS or bool(self.stopped)

    def step(self) -> None:
        """Act, learn from what happened, and choose the next action (with theta before its update)."""
        if self.done:
            raise RuntimeError(f"this run is over ({self.stopped or f'{STEPS} steps'}): reset it")
        theta, s = self.theta, self.s
        self.s, reward, *_, info = self.plant.step(self.a)
        self._cost[self.count] = -reward
        self.count += 1
        try:
            v, q = self.controller.V_and_Q(theta, self.s, s, self.a)
            self.a = v.u0
            td = self._agree(info["costs"] + self.controller.discount * v.values - q.values)
            for i, agent in enumerate(self.agents):
                agent.remember(td[i], q.gradient(i), q.hessian(i) if self.order == 2 else None)
            self._td[self.count - 1] = td.mean()
            self._set_up_agents()
            agree = (lambda terms: terms) if self.alone else self._agree
            self.C = update(self.agents, self.alpha, agree, self.order, self.sigma, self.safeguard)
            self._in_a_row = 0
        except (SolverError, np.linalg.LinAlgError, FloatingPointError) as error:
            self._td[self.count - 1] = np.nan
            self.failed, self._in_a_row = self.failed + 1, self._in_a_row + 1
            if self._in_a_row >= PATIENCE:
                self.stopped = f"{PATIENCE} steps failed in a row, the last with: {error}"
        if not np.abs(self.s).max() < RUNAWAY:
            self.stopped = f"the plant has run away in step {self.count}"

    def look(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return C of a batch that is drawn now: as agent 1 would have it, and as it should be; changes nothing.

        As it should be: all agents draw agent 1's batch, sums are sums, and consensus is exact. None in first order,
        and before there are samples.
        """
        if self.order == 1 or not self.agents[0].replay.samples:
            return None
        self._set_up_agents()

        def terms(states, mean):
            twins = [FaultyLearner(agent.theta, agent.replay, 0, agent.learned, None, None) for agent in self.agents]
            for twin, state in zip(twins, states):
                twin.rng.bit_generator.state, twin.mean = state, mean
                twin.draw()
            return [twin.term(self.sigma, self.safeguard) for twin in twins]

        states = [agent.rng.bit_generator.state for agent in self.agents]
        used = terms(states, self.mean)
        right = terms(states[:1] * len(states), False)
        return (used if self.alone else self._agree(used))[0], np.sum(right, axis=0)

    def _agree(self, terms):
        """Return every agent's estimate of the sum of all terms."""
        terms = np.array(terms)
        if self.rounds is None:
            return np.broadcast_to(terms.sum(axis=0), terms.shape)
        return len(terms) * average(self.P, terms, self.rounds).estimates

    def _set_up_agents(self):
        """Hand the agents what is adjusted, and let them draw together or each on its own."""
        first = self.agents[0].rng.bit_generator.state
        for agent, own in zip(self.agents, self._own):
            agent.mean = self.mean
            agent.replay.batch, agent.replay.latest = self.batch, round(2 * self.batch / 3)
            if self.misaligned:
                agent.rng = own
            elif agent.rng is own:  # no longer: draw as agent 1 does
                agent.rng = np.random.default_rng()
                agent.rng.bit_generator.state = first


@cache
def _controller() -> Central:
    return Central(network_mpc())


def _checked(local_step):
    """Return the reader's function, with its answer checked."""

    def step(G, Kt, C, td):
        d = local_step(G.copy(), Kt.copy(), C.copy(), td.copy())
        if d is None:
            raise ValueError("your step returned None: is its last line a return?")
        if np.shape(d) != (len(G),):
            raise ValueError(f"your step returned shape {np.shape(d)}, but theta_i has shape ({len(G)},)")
        return np.asarray(d, dtype=float)

    return step


NAMES = ("first order", "second order, centralised", "second order, distributed")
LOOKS = {NAMES[0]: ("green", "-."), NAMES[1]: ("vermilion", "--"), NAMES[2]: ("blue", "-")}
#: Steps over which curves are averaged, seconds of a frame that are left for learning, steps of a frame at most, and
#: steps with which the live picture begins: as many as make the largest batch, so that every control shows in C.
WINDOW, BUDGET, AT_MOST, BEGIN = 25, 0.012, 6, 30


class SecondOrderLoop:
    """The same network three times, with the same noise: first order, second order, and second order by consensus.

    Parameters
    ----------
    seed : int
    local_step : callable, optional
        See `Learning`: of the third network.

    Attributes
    ----------
    runs : dict of str to Learning
        By the names in `NAMES`.
    seed : int
    """

    def __init__(self, seed: int = 1, local_step: Callable | None = None):
        self.seed = seed
        options: tuple[dict[str, Any], ...] = ({"order": 1}, {}, {"rounds": 100, "local_step": local_step})
        self.runs = {name: Learning(seed=seed, **own) for name, own in zip(NAMES, options)}

    @property
    def distributed(self) -> Learning:
        """The third network."""
        return self.runs[NAMES[2]]

    @property
    def count(self) -> int:
        """Steps since the start."""
        return max(run.count for run in self.runs.values())

    @property
    def done(self) -> bool:
        """Whether all runs are over."""
        return all(run.done for run in self.runs.values())

    def step(self) -> None:
        """Make a step of every run that is not over."""
        for run in self.runs.values():
            if not run.done:
                run.step()

    def reset(self, seed: int | None = None) -> None:
        """Go back to the start, with another seed or the same; what was adjusted stays."""
        self.seed = self.seed if seed is None else seed
        for run in self.runs.values():
            run.seed = self.seed
            run.reset()

    def change(self, **changes) -> None:
        """Adjust the runs that it concerns, by the names of the controls.

        `batch`: all; `sigma`, `safeguard`, `alpha`: second order; `alpha_first`: first order; `rounds`, `misaligned`,
        `mean`: the distributed run.
        """
        first, central, third = (self.runs[name] for name in NAMES)
        whose = {"batch": (first, central, third), "alpha_first": (first,)}
        whose |= dict.fromkeys(("sigma", "safeguard", "alpha"), (central, third))
        whose |= dict.fromkeys(("rounds", "misaligned", "mean"), (third,))
        for name, value in changes.items():
            for run in whose[name]:
                setattr(run, "alpha" if name == "alpha_first" else name, value)

    def apart(self) -> float:
        """Return by how much the two networks of second order have come to differ: largest |difference| in theta."""
        return float(np.abs(self.runs[NAMES[1]].theta - self.distributed.theta).max())

    def wrong(self) -> float:
        """Return by how much agent 1's C is off, relative to what it should be (nan before the first step)."""
        seen = self.distributed.look()
        return float("nan") if seen is None else float(np.abs(seen[0] - seen[1]).max() / np.abs(seen[1]).max())


def binned(values) -> np.ndarray:
    """Return the means of 25 values each, without nan; the last of those that there are. Empty for none."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        return np.zeros(0)
    starts = np.arange(0, len(values), WINDOW)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.add.reduceat(np.where(known, values, 0.0), starts) / np.add.reduceat(known, starts)


class Pixels(Artist):
    """A picture that is put on the figure as it is: what Matplotlib's own images do beside takes 3 ms.

    Parameters
    ----------
    x, y : int
        Its lower left corner, in pixels of the figure.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (height, width, 4)
        Red, green, blue and opacity, the upper row first.
    """

    def __init__(self, x: int, y: int):
        super().__init__()
        self.x, self.y, self.pixels = x, y, np.zeros((1, 1, 4), np.uint8)
        self.set_animated(True)

    def draw(self, renderer):
        """Put the pixels there."""
        graphics = renderer.new_gc()
        renderer.draw_image(graphics, self.x, self.y, np.ascontiguousarray(self.pixels[::-1]))
        graphics.restore()


class SecondOrderScene:
    """Draws a `SecondOrderLoop`: |TD| and stage cost over the run, and C, as agent 1 has it and as it should be.

    All quantities are dimensionless.

    Parameters
    ----------
    width, height : int
        In pixels.
    """

    #: Colours tell entries of C between -LARGEST and LARGEST apart, on a logarithmic scale beyond SMALLEST.
    SMALLEST, LARGEST = 1e2, 1e8

    def __init__(self, width: int = 800, height: int = 400):
        self.canvas = Canvas(width, height)
        side = (height - 112) // 2
        with self.canvas.style():
            self._make_strips(width, height, width - side - 224)
            self._make_matrices(width, height, side)

    def _make_strips(self, width, height, wide):
        each = (height - 104) // 2
        self._curves: dict[str, list] = {name: [] for name in NAMES}
        for row, (label, limits) in enumerate((("|TD error|", (3e-3, 3e2)), ("stage cost L", (1e-2, 3e2)))):
            ax = self.canvas.axes(62, 44 + (1 - row) * (each + 16), wide, each, xlim=(0, STEPS), yscale="log")
            ax.set(ylim=limits, ylabel=f"{label}, mean of {WINDOW}")
            ax.minorticks_off()
            if row == 0:
                ax.tick_params(labelbottom=False)
            else:
                ax.set_xlabel("step k")
            for name in NAMES:
                wide_line = 2.6 if name == NAMES[2] else 1.7  # a dashed line on top of it stays visible
                self._curves[name].append(self.canvas.curve(ax, *LOOKS[name], linewidth=wide_line, label=name))
        self.canvas.legend([self._curves[name][0] for name in NAMES], 8, height, ncols=3, columnspacing=1.2)

    def _make_matrices(self, width, height, side):
        self.images: list[Pixels] = []
        self._borders = []
        self._palette = (255 * colormaps["RdBu_r"](np.linspace(0.0, 1.0, 513))).astype(np.uint8)
        self._side = side
        left = width - side - 84
        for row, title in enumerate(("C, as agent 1 has it", "C, as it should be")):
            ax = self.canvas.axes(left, 18 + (1 - row) * (side + 36), side, side)
            ax.set_title(title, fontsize=9.5, pad=4)
            ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[])
            ax.grid(False)
            self.images.append(Pixels(left, 18 + (1 - row) * (side + 36)))
            self.canvas.figure.add_artist(self.images[-1])
            self._borders.append(self.canvas.curve(ax, "black", linewidth=0.9))
            if row == 1:
                ax.set_xlabel("sample τ, newest first", fontsize=8.5, labelpad=3)
        bar_axes = self.canvas.axes(left + side + 10, 18, 10, 2 * side + 36)
        decades = [-1e8, -1e6, -1e4, 0, 1e4, 1e6, 1e8]
        norm = SymLogNorm(self.SMALLEST, vmin=-self.LARGEST, vmax=self.LARGEST)
        bar = self.canvas.figure.colorbar(ScalarMappable(norm, "RdBu_r"), cax=bar_axes, ticks=decades)
        bar.ax.set_yticklabels(["−10⁸", "−10⁶", "−10⁴", "0", "10⁴", "10⁶", "10⁸"])
        bar.ax.minorticks_off()

    def coloured(self, C) -> np.ndarray:
        """Return C as a picture of the size at which it is shown, in the colours of the scale."""
        size = np.abs(C) / self.SMALLEST
        linear = 1 / 0.9  # decades that `SymLogNorm` gives to the entries below SMALLEST, on either side of 0
        share = np.where(size < 1.0, linear * size, linear + np.log10(np.maximum(size, 1.0)))
        share = np.sign(C) * share / (linear + np.log10(self.LARGEST / self.SMALLEST))
        pixel = np.arange(self._side) * len(C) // self._side
        colours = self._palette[np.rint(256 + 256 * np.clip(share, -1.0, 1.0)).astype(int)]
        return colours[pixel][:, pixel]

    def draw(self, loop: SecondOrderLoop) -> bytes:
        """Return the picture as JPEG."""
        for name, run in loop.runs.items():
            for curve, values in zip(self._curves[name], (np.abs(run.td), run.cost)):
                means = binned(values)
                curve.set_data(np.minimum((np.arange(len(means)) + 0.5) * WINDOW, len(values)), np.maximum(means, 1e-9))
        curves = [
            curve for row in (0, 1) for name in (NAMES[0], NAMES[2], NAMES[1]) for curve in [self._curves[name][row]]
        ]
        run = loop.distributed
        seen = run.look()
        if seen is None:
            return self.canvas.frame(curves)
        for image, border, C in zip(self.images, self._borders, seen):
            image.pixels = self.coloured(C)
            share = min(run.agents[0].replay.latest, len(C)) / len(C)  # of the latest samples, which all agents have
            border.set_data([share, share, np.nan, 0, 1], [0, 1, np.nan, share, share])
        return self.canvas.frame([*curves, *self.images, *self._borders])

    def describe(self, loop: SecondOrderLoop) -> str:
        """Return the picture in words."""
        parts = [f"Three networks with the same noise (seed {loop.seed}) after {loop.count} of {STEPS} steps."]
        for name, run in loop.runs.items():
            if run.count:
                td, cost = binned(np.abs(run.td))[-1], binned(run.cost)[-1]
                parts.append(f"{name}: latest mean |TD| {td:.3g}, stage cost {cost:.3g}.")
        seen = loop.distributed.look()
        if seen is not None:
            T, (used, right) = len(seen[0]), (f"from {C.min():.2g} to {C.max():.2g}" for C in seen)
            parts.append(
                f"C of agent 1 has {T} by {T} entries, {used}; as it should be, {right}. Lines part the latest samples "
                "from older ones."
            )
        return " ".join(parts)


def second_order_live(*, local_step: Callable | None = None, seed: int = 1, width: int = 800) -> Player:
    """Return the live picture of three networks that learn; name it in a cell's last line to see it.

    Parameters
    ----------
    local_step, seed
        See `SecondOrderLoop`; `local_step(G, Kt, C, td)` may be the reader's own `second_order_local`.
    width : int
        Of the picture in pixels; its height is half of it.

    Returns
    -------
    Player
        Its `loop` is a SecondOrderLoop, its `controls` are 'batch', 'sigma', 'alpha', 'alpha_first', 'rounds',
        'misaligned', 'mean' and 'safeguard'; its buttons Play, Pause, Step, Restart and Next seed.
    """
    loop, scene = SecondOrderLoop(seed, local_step), SecondOrderScene(width, width // 2)
    controls = {
        "batch": slider("batch T (samples)", 15, 1, 30),
        "sigma": slider("regularisation ς (–)", 1e-3, -6, 1, 0.5, ".1e", log=True),
        "alpha": slider("step α, 2nd order (–)", 1e-4, -6, -2, 0.25, ".1e", log=True),
        "alpha_first": slider("step α, 1st order (–)", 1e-8, -10, -5, 0.25, ".1e", log=True),
        "rounds": slider("consensus (rounds)", 100, 0, 100),
        "misaligned": toggle("Misalign the batches", "random"),
        "mean": toggle("Mean for sum", "percent"),
        "safeguard": toggle("Safeguard", "shield"),
    }

    def step():
        for _ in player.within(BUDGET, AT_MOST if player.playing else 1):
            loop.step()
        if loop.done:
            player.pause()

    def begin(seed=None):
        loop.reset(seed)
        for _ in range(BEGIN):
            loop.step()

    actions = {"Restart": begin, "Next seed": lambda: begin(loop.seed + 1)}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=170, width=width)
    player.connect(loop.change, *controls)
    player.guard(begin)
    player.refresh()
    return player


def _status(loop: SecondOrderLoop) -> str:
    parts = []
    for name, run in loop.runs.items():
        words = f"<b>{name.split(', ')[-1]}</b> {run.cost.sum():.4g}"
        words += f", {run.failed} failed steps" if run.failed else ""
        parts.append(words + (f", stopped: {run.stopped}" if run.stopped else ""))
    end = " (over: Restart, or Next seed)" if loop.done else ""
    last = (
        f"seed {loop.seed}, step {loop.count} of {STEPS}{end} · θ of the two second orders differ by {loop.apart():.1e}"
    )
    wrong = loop.wrong()
    last += f" · agent 1's C is off by {wrong:.1e} (relative)" if np.isfinite(wrong) else ""
    return "cost so far: " + " · ".join(parts) + "<br>" + last
