"""Two controllers of the power system side by side, with the same noise; load steps in the reader's hand (lecture 11).

They are central solves of the areas' problems: of the joint one, which is what ADMM answers once it has converged, or
of areas that hear nothing of each other. Or a reader's own function. The tie lines can be made stronger.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mpcrl_course.envs.power import ANGLE_LIMIT, DT, NOISE, SCENARIO, PowerParameters, PowerSystem, continuous, held
from mpcrl_course.figures.power import LOOKS, PowerDrawing, describe_power
from mpcrl_course.figures.style import COLOURS
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import choice as choices
from mpcrl_course.live.controls import slider
from mpcrl_course.live.player import Player
from mpcrl_course.network import Central
from mpcrl_course.problems.power import power_mpc
from mpcrl_course.validation import choice, floats

#: Frames from one decision to the next, and seconds of the past that the picture shows.
PARTS, PAST = 4, 60
#: Line of each controller's cost, and where the axis of cost may end.
COST_LOOKS = [("black", "--"), ("blue", "-")]
TOPS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
LEGEND = (
    "hand: angle of an area, marks: its limits (! beyond)\n"
    "arc: frequency deviation (60° are 5 mrad/s)\n"
    "arrows: power through the tie lines\n"
    "left bar: load, line: its noise\n"
    "right bar: input $u$, lines: its limits"
)


#: How many times as strong the tie lines can be made.
FACTORS = (1, 2, 3, 4)
_solver = cache(lambda told: Central(power_mpc(told=told)).mpc)


def central_policy(theta=None, told: bool = True, factor: float = 1.0) -> Callable:
    """Return the controller ``x (20,) -> u (4,)`` of areas with parameters theta (122,).

    It is one central solve with the first inputs of all areas: where ADMM arrives, in a twentieth of the time.

    Parameters
    ----------
    theta : array_like, shape (122,), optional
        By default nothing is learned, and the strengths of the tie lines are the true ones.
    told : bool
        Whether the areas hear of each other; see `power_mpc`.
    factor : float
        How many times the published ones the true strengths are.
    """
    mpc, plant = _solver(told), PowerParameters().stronger(factor)
    if theta is None:
        ties = {f"P_tie_{i + 1}": row[row > 0] for i, row in enumerate(plant.ties())}
        theta = mpc.parameters.pack(**ties)
    theta = mpc.parameters.check(theta)
    return lambda x: mpc.V(theta, x).u0


class Areas(NamedTuple):
    """Areas with what they have learned.

    Attributes
    ----------
    theta : array_like, shape (122,) or (4, 122), optional
        Of all strengths of the tie lines, or of each of `FACTORS`; None: the true tie lines, and nothing learned.
    told : bool
        Whether they hear of each other.
    """

    theta: Any = None
    told: bool = True

    def policy(self, factor: float) -> Callable:
        """Return their controller where the tie lines are `factor` times the published ones."""
        theta = self.theta
        if theta is not None:
            theta = floats(theta, "theta")
            theta = theta[FACTORS.index(int(factor))] if theta.ndim == 2 else theta
        return central_policy(theta, self.told, factor)


class PowerLoop:
    """Two power systems with the same parameters, loads and noise, each with its controller.

    A decision is for a second; a frame shows a quarter of it, and the state there is exact, too.

    Parameters
    ----------
    policies : mapping of str to callable or Areas
        By name: two functions from an observation (20,) to inputs (4,), or what makes them.
    parameters : PowerParameters
    seed : int
        Of the noise.
    noise : float
        Half its width (per unit).

    Attributes
    ----------
    envs : list of PowerSystem
        Where the states are going: at the end of this second.
    x, u, cost : ndarray, shapes (2, 4, 5), (2, 4), (2,)
        States that are shown (with the loads the reader has set, even before they act), inputs, and costs since the
        start.
    violated : ndarray of int, shape (2,)
        Seconds, of those that have ended, at whose end some angle was beyond its limit.
    inputs : list of ndarray, shape (8,)
        What acts on each system in this second: u, and the loads with their noise.
    factor : float
        How many times as strong as at first the tie lines are.
    count, part : int
        Decisions since the start, and how many quarters of the last one's second have passed.
    seconds : ndarray, shape (2,)
        What the last decisions took.
    """

    def __init__(self, policies: Mapping[str, Callable], parameters: PowerParameters = PowerParameters(),  # noqa: B008
                 seed: int = 0, noise: float = NOISE):  # fmt: skip
        if len(policies) != 2:
            raise ValueError(f"two policies can be compared here, not {len(policies)}")
        self.names, self._given = list(policies), list(policies.values())
        self._weakest, self.seed, self.noise = parameters, seed, noise
        self.strengthen(1)

    def strengthen(self, factor: float) -> None:
        """Make the tie lines `factor` times as strong as at first, and start again from rest with the scenario."""
        parameters = self._weakest.stronger(factor)
        self.policies = [one.policy(factor) if isinstance(one, Areas) else one for one in self._given]
        self.parameters, self.factor = parameters, factor
        self._parts = [held(*continuous(parameters), DT * (k + 1) / PARTS) for k in range(PARTS)]
        self.restart()

    def choose(self, name: str, policy) -> None:
        """Give the second system another `policy`, called `name`, and start again from rest with the scenario."""
        self.names[1], self._given[1] = name, policy
        self.strengthen(self.factor)

    def restart(self, scenario=SCENARIO) -> None:
        """Start again from rest, with the same noise and a scenario of loads; see `PowerSystem`."""
        n = self.parameters.n_areas
        self.envs = [PowerSystem(self.parameters, self.noise, steps=None, scenario=scenario) for _ in range(2)]
        for env in self.envs:
            env.reset(seed=self.seed)
        self._shown_loads = np.zeros(n)
        self.x, self.u, self.cost = np.zeros((2, n, 5)), np.zeros((2, n)), np.zeros(2)
        self.violated, self.count, self.part = np.zeros(2, int), 0, PARTS
        self.seconds = np.full(2, np.nan)
        self.past: deque[tuple] = deque([(self.x[:, :, 0].copy(), self.cost)], maxlen=PAST * PARTS + 1)

    @property
    def loads(self) -> np.ndarray:
        """The nominal loads that act, shape (4,)."""
        return self.envs[0].x[:, 4].copy()

    def set_loads(self, loads) -> None:
        """Let other nominal loads act from the next decision on, instead of what the scenario still holds.

        As in the scenario, they are seen after that decision only.
        """
        loads = np.array(loads, dtype=float)
        if loads.shape != (self.parameters.n_areas,) or not np.isfinite(loads).all():
            raise ValueError(f"loads must be {self.parameters.n_areas} finite numbers, not {loads}")
        for env in self.envs:
            env.scenario = [(env.count + 1, loads)]
        self._shown_loads = self.x[:, :, 4] = loads

    def set_noise(self, noise: float) -> None:
        """Change the noise from the next decision on."""
        self.noise = float(noise)
        for env in self.envs:
            env.noise = self.noise

    def step(self) -> None:
        """Show the next quarter of a second; decide first, if the last decision's second is over."""
        if self.part == PARTS:
            self._decide()
        self.part += 1
        A, B = self._parts[self.part - 1]
        for i, (start, inputs) in enumerate(zip(self._starts, self.inputs)):
            self.x[i, :, :4] = (A @ start + B @ inputs).reshape(-1, 4)
        self.x[:, :, 4] = self._shown_loads
        if self.part == PARTS:
            self.violated = self.violated + (np.abs(self.x[:, :, 0]) > ANGLE_LIMIT).any(axis=1)
        self.past.append((self.x[:, :, 0].copy(), self.cost))

    def _decide(self):
        u, seconds = np.empty_like(self.u), np.empty(2)
        for i, policy in enumerate(self.policies):  # both, before anything moves
            began = time.perf_counter()
            u[i] = np.asarray(policy(self.envs[i].x.ravel().copy()), dtype=float).reshape(-1)
            seconds[i] = time.perf_counter() - began
            if not np.isfinite(u[i]).all():
                raise ValueError(f"the inputs of '{self.names[i]}' are not finite: {u[i]}")
        self.seconds, limit, costs = seconds, np.array(self.parameters.limit), []
        self.u = np.clip(u, -limit, limit)
        self._starts, self.inputs = [env.x[:, :4].ravel() for env in self.envs], []
        for env, u_i in zip(self.envs, self.u):
            *_, info = env.step(u_i)
            costs.append(info["cost"])
            self.inputs.append(np.concatenate([u_i, env.x[:, 4] + info["noise"]]))
        self.cost, self.count, self.part = self.cost + costs, self.count + 1, 0
        self._shown_loads = self.loads


class PowerScene(Scene):
    """Draws a `PowerLoop`: both systems, their angles over the last minute, and what both have cost.

    Parameters
    ----------
    loop : PowerLoop
        Whose names and parameters it shows.
    width : int
        In pixels.
    """

    SHAPE = 0.6

    def __init__(self, loop: PowerLoop, width: int = 800):
        self.names, self.parameters = list(loop.names), loop.parameters
        super().__init__(width)

    def _make(self, canvas, width, height):
        p = self.parameters
        self._drawings, self.angles, self.costs = [], [], []
        high = 0.345  # of a row
        for i, name in enumerate(self.names):
            bottom = 0.975 - high * (i + 1)
            ax = canvas.figure.add_axes((0.005, bottom + 0.005, 0.47, high - 0.01))
            self._drawings.append(PowerDrawing(ax, p.ties(), p.limit, animated=True))
            ax.set_title(name, loc="left", color=COLOURS[COST_LOOKS[i][0]], weight="bold", y=0.9)
            ax = canvas.figure.add_axes((0.56, bottom + 0.035, 0.43, high - 0.055))
            ax.set(xlim=(-PAST, 0), ylim=(-0.16, 0.16), yticks=[-ANGLE_LIMIT, 0, ANGLE_LIMIT])
            ax.set_ylabel("angles (rad)")
            ax.tick_params(labelbottom=False)
            for side in (-1, 1):
                ax.axhspan(side * ANGLE_LIMIT, side * 0.16, color="0.9", zorder=-2)
                ax.axhline(side * ANGLE_LIMIT, color="black", lw=1, ls="--", marker="", zorder=-1)
            areas = enumerate(LOOKS[: p.n_areas])
            self.angles.append([canvas.curve(ax, *look, linewidth=1.6, label=str(j + 1)) for j, look in areas])
            key: dict[str, Any] = {"loc": "upper left", "borderpad": 0.2, "fontsize": 7.5}
            if i == 0:
                ax.legend(ncols=p.n_areas, handlelength=1.8, columnspacing=1.0, **key)
        self.cost_axes = ax = canvas.figure.add_axes((0.56, 0.1, 0.43, 0.165))
        ax.set(xlim=(-PAST, 0), ylim=(0, TOPS[0]), xlabel="time from now (s)", ylabel="cost so far")
        for name, (colour, line) in zip(self.names, COST_LOOKS):
            self.costs.append(canvas.curve(ax, colour, line, linewidth=2, label=name))
        ax.legend(**key)
        size = 8.5 * width / 800
        canvas.figure.text(0.03, 0.155, LEGEND, fontsize=size, va="center", color="0.25", linespacing=1.5)

    def draw(self, loop: PowerLoop) -> bytes:
        """Return the picture as JPEG."""
        if self.names != loop.names or self.parameters != loop.parameters:  # another picture
            PowerScene.__init__(self, loop, self.canvas.width)
        angles, costs = (np.array(values)[::-2][::-1] for values in zip(*loop.past))  # every half second will do
        t = 2 * DT / PARTS * np.arange(1 - len(angles), 1)
        top = next((top for top in TOPS if costs.max() <= top), TOPS[-1])
        if top != self.cost_axes.get_ylim()[1]:  # seldom: all else stays as it is drawn
            self.cost_axes.set_ylim(0, top)
            self.canvas.layer(redraw_base=True)
        artists: list[Any] = []
        for i, drawing in enumerate(self._drawings):
            drawing.set(loop.x[i], loop.u[i], loop.noise)
            for j, curve in enumerate(self.angles[i]):
                curve.set_data(t, angles[:, i, j])
            self.costs[i].set_data(t, costs[:, i])
            artists += [*drawing.artists, *self.angles[i], self.costs[i]]
        return self.canvas.frame(artists)

    def describe(self, loop: PowerLoop) -> str:
        """Return the picture in words."""
        p = loop.parameters
        return " ".join(
            f"{name}: {describe_power(x, u, p.ties(), p.limit)} Cost so far {cost:.0f}; {violated} of {loop.count} "
            "seconds ended beyond a limit."
            for name, x, u, cost, violated in zip(loop.names, loop.x, loop.u, loop.cost, loop.violated)
        )


def _status(loop: PowerLoop) -> str:
    parts = []
    for name, cost, violated, seconds in zip(loop.names, loop.cost, loop.violated, loop.seconds):
        ms = f"{1e3 * seconds:.1f} ms" if np.isfinite(seconds) else "–"
        parts.append(f"<b>{name}</b> cost {cost:.0f}, {violated} s beyond a limit, decision {ms}")
    return f"tie lines × {loop.factor:g} · second {loop.count} · " + "<br>".join(parts)


def power_live(learned, nominal=None, *, names=("nominal", "learned"), width: int = 800, **options) -> Player:
    """Return the live picture of a `PowerLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    learned, nominal : array_like (122,), Areas or callable
        Parameters of `power_mpc` for a central solve, or a function from an observation (20,) to inputs (4,). By
        default the nominal controller knows the true tie lines, and nothing of the noise. `learned` may be a mapping
        from names to several of them, to choose from.
    names : pair of str
        Of nominal and learned, as shown.
    width : int
        Of the picture in pixels.
    **options
        `parameters`, `seed`, `noise`: see `PowerLoop`.

    Notes
    -----
    Step is a quarter of a second; Restart goes back to rest with the loads as they are, Scenario with the published.
    """
    several = dict(learned) if isinstance(learned, Mapping) else {names[1]: learned}
    several = {name: _driver(each) for name, each in several.items()}
    first = next(iter(several))
    loop = PowerLoop({names[0]: _driver(nominal), first: several[first]}, **options)
    scene, n = PowerScene(loop, width), loop.parameters.n_areas
    sliders = [slider(f"load {i + 1} (per unit)", 0.0, -0.3, 0.3, 0.01) for i in range(n)]
    controls = {f"load{i + 1}": sliders[i] for i in range(n)}
    controls["noise"] = slider("noise ± (per unit)", loop.noise, 0.0, 0.2, 0.01)
    controls["factor"] = slider("tie lines × (–)", FACTORS[0], FACTORS[0], FACTORS[-1])
    if len(several) > 1:
        controls["second"] = choices("below", dict.fromkeys(several, ""), first)

    def follow():  # the scenario moves the sliders
        for control, load in zip(sliders, loop.loads):
            if control.value != load:
                player.set(control, load)

    def step():
        loop.step()
        if loop.part == 1:  # decided just now: what the reader has set acts, too
            follow()

    def set_loads(_=None):
        loop.set_loads([control.value for control in sliders])

    def restart():
        loop.restart(())
        set_loads()

    def scenario():
        loop.restart()
        follow()

    def again(change):
        def changed(value):
            change(value)
            follow()

        return changed

    actions = {"Restart": restart, "Scenario": scenario}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=130, width=width)
    for control in sliders:
        player.watch(control, set_loads)
    player.watch(controls["noise"], loop.set_noise)
    player.watch(controls["factor"], again(loop.strengthen))
    if len(several) > 1:
        player.watch(
            controls["second"], again(lambda name: loop.choose(choice(name, tuple(several), "name"), several[name]))
        )
    return player


def _driver(given):
    """Return what drives: the areas with parameters theta, or what is given, if it is a function or areas already."""
    return given if callable(given) or isinstance(given, Areas) else Areas(given)
