"""Consensus ADMM live: agents that plan together, iteration by iteration, until their plans agree.

The picture holds still in time: one state of a network of linear plants (`mpcrl_course.envs.network`), for which the
agents look for their common plan. Every change solves it anew, with all iterations; Play only turns the pages. Beside
it stands what agents would plan who are told nothing of the others, or only their present state, or what a reader's
own function makes of that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import ipywidgets
import numpy as np

from mpcrl_course.envs import linear
from mpcrl_course.envs.network import COUPLING
from mpcrl_course.figures.style import COLOURS
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import choice as choices
from mpcrl_course.live.controls import slider
from mpcrl_course.live.player import Player
from mpcrl_course.network import ADMM, Central, Duals, Network, NetworkSolution, line, ring, star
from mpcrl_course.own import checked
from mpcrl_course.problems.network import network_mpc
from mpcrl_course.validation import choice, function, real

#: The graphs: number of agents and edges.
GRAPHS = {"line of 3": (3, line(3)), "ring of 4": (4, ring(4)), "star of 4": (4, star(4)), "line of 5": (5, line(5))}
#: Penalties among which one can choose, iterations that are done, and the iteration from which a cut link is dead.
RHOS, ITERATIONS, CUT_AT = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), 100, 4
#: What agents who do not plan together are told, and take for the push of their neighbours over the whole plan.
TOLD: dict[str, Callable] = {"nothing sent": lambda c, x2: 0.0, "one number a link": lambda c, x2: c * x2.sum()}
YOURS = "yours"
#: What each takes for the push, in words.
PUSHES = {"nothing sent": "no push", "one number a link": "the push as it is now", YOURS: "what your function says"}
#: Frames for which the last iteration stays before the pages turn from the beginning.
HOLD = 12


class Agreement(NamedTuple):
    """One graph's controllers: its network, theta of the plants' true model, the central solve, and ADMM `by` rho.

    `theta` is that of the published coupling; `theta_at(coupling, push)` of another one, where agents believe in a
    constant push (M,) on their second state besides.
    """

    network: Network
    theta: np.ndarray
    central: Central
    by: Callable[[float], ADMM]
    theta_at: Callable[..., np.ndarray]


def agreement(graph: str) -> Agreement:
    """Return the controllers of a graph, one of `GRAPHS`; ValueError for another name."""
    if graph not in GRAPHS:
        raise ValueError(f"graph must be one of {', '.join(GRAPHS)}, not {graph!r}")
    network, central = _network(graph)

    def theta_at(coupling, push=None):
        theta = []
        push = np.zeros(network.n_agents) if push is None else push
        for agent, neighbours, f in zip(network.agents, network.neighbours, push):
            felt = {f"A_c{j + 1}": np.diag([0.0, coupling]) for j in range(len(neighbours))}
            theta.append(agent.parameters.pack(A=linear.A, B=linear.B, b=[0.0, f], **felt))
        return np.concatenate(theta)

    by = cache(lambda rho: ADMM(network, rho, ITERATIONS, record=True))
    return Agreement(network, theta_at(COUPLING), central, by, theta_at)


@cache
def _network(graph: str) -> tuple[Network, Central]:
    network = network_mpc(*GRAPHS[graph], order=1)
    return network, Central(network)


class ADMMLoop:
    """All iterations of ADMM for one state, and the one that is looked at.

    Parameters
    ----------
    graph : str
        One of `GRAPHS`.
    rho : float
        Penalty on disagreement.
    seed : int
        Of the states and of which messages are lost.
    push : callable (coupling, x2) -> float, optional
        A reader's own: what an agent that is told its neighbours' present second states x2 (one each) takes for their
        push on it, at all stages of its plan.

    Attributes
    ----------
    t : int
        The iteration shown; 0 is before the first.
    s : ndarray, shape (2 M,)
    solution, optimum : NetworkSolution
        By ADMM, and from the centre.
    coupling : float
        Of the plants, and of the model of agents that plan together.
    told, alone : str, NetworkSolution
        What agents who plan by themselves are told (one of `TOLD`, or 'yours'), and their plans.
    pushes : dict of str to callable
        What there is for `told`.
    cut : tuple (i, j) or None
        A link that is dead from iteration `CUT_AT` on.
    loss : float
        Share of the other messages that is lost, at random.
    """

    def __init__(self, graph: str = "line of 3", rho: float = 1.0, seed: int = 0, push: Callable | None = None):
        self._agreement, self.coupling = cache(agreement), COUPLING
        own = {} if push is None else {YOURS: function(push, "push")}
        self.pushes: dict[str, Callable] = {**TOLD, **own}
        self._start: Duals | None = None
        self.told = YOURS if own else "nothing sent"
        self.rng = np.random.default_rng(seed)
        self.rho, self.loss, self.seed, self.t, self._held = float(rho), 0.0, seed, 0, 0
        self.cut: tuple[int, int] | None = None
        self.change(graph=graph)

    @property
    def admm(self) -> ADMM:
        """ADMM as it is set."""
        return self.problem.by(self.rho)

    @property
    def warm(self) -> bool:
        """Whether ADMM begins where it stood a step of the plants ago."""
        return self._start is not None

    def change(
        self,
        graph: str | None = None,
        rho: float | None = None,
        cut="as it is",
        loss: float | None = None,
        coupling: float | None = None,
        told: str | None = None,
    ):
        """Change what is given and solve anew; the iteration shown stays, except for another graph."""
        if graph is not None:
            self.problem = self._agreement(graph)
            self.graph, self.cut, self.t, self._start = graph, None, 0, None
            self.s = self._states()
        if coupling is not None:
            self.coupling = real(coupling, "coupling")
        if told is not None:
            self.told = choice(told, tuple(self.pushes), "told")
        if rho is not None and not rho > 0.0:
            raise ValueError(f"rho must be positive, not {rho}")
        if loss is not None and not 0.0 <= loss < 1.0:
            raise ValueError(f"the share of lost messages must lie in [0, 1), not be {loss}")
        if cut != "as it is":
            if cut is not None and cut not in self.admm.links:
                raise ValueError(f"there is no link {cut}; the links are {self.admm.links}")
            self.cut = cut
        self.rho, self.loss = self.rho if rho is None else float(rho), self.loss if loss is None else float(loss)
        self.solve()

    def renew(self) -> None:
        """Draw new states of all agents, and begin again."""
        self.s, self.t, self._start = self._states(), 0, None
        self.solve()

    def advance(self) -> None:
        """Let the plants make a step with the inputs found; ADMM begins from where it stands now: a warm start."""
        n, x = self.problem.network.n_agents, self.s.reshape(-1, 2)
        after = x @ linear.A.T + self.solution.u0.reshape(n, -1) @ linear.B.T.reshape(1, -1)
        after[:, 1] += self.coupling * np.array([x[own, 1].sum() for own in self.problem.network.neighbours])
        self.s, self.t, self._start = after.ravel(), 0, self.solution.duals
        self.solve()

    def _states(self):
        n = self.problem.network.n_agents
        return self.rng.uniform([0.2, -0.5] * n, [0.8, 0.5] * n)

    def solve(self) -> None:
        """Do all iterations, solve the same problem from the centre, and let every agent plan by itself."""
        admm, problem = self.admm, self.problem
        theta, x2 = problem.theta_at(self.coupling), self.s.reshape(-1, 2)[:, 1]
        push = [
            float(checked("push", self.pushes[self.told](self.coupling, x2[own].copy()), ()))
            for own in problem.network.neighbours
        ]
        # the same numbers for every share: with a larger one, the same messages are lost and others besides
        draws = np.random.default_rng(self.seed + 1).uniform(size=(ITERATIONS, len(admm.links)))
        number = {link: k for k, link in enumerate(admm.links)}

        def lost(t, i, j):
            return ((i, j) == self.cut and t >= CUT_AT) or draws[t, number[i, j]] < self.loss

        admm.lost = lost if self.loss or self.cut else None
        self.solution: NetworkSolution = admm.V(theta, self.s, warm_start=self._start)
        self.optimum: NetworkSolution = problem.central.V(theta, self.s)
        self.alone: NetworkSolution = problem.central.V(problem.theta_at(0.0, push), self.s)
        self.distance = np.abs(self.solution.history.z - self.optimum.duals.z).max(axis=1)

    def step(self) -> None:
        """Turn to the next iteration; at the end, stay for a moment and begin again."""
        if self.t < ITERATIONS:
            self.t, self._held = self.t + 1, 0
        elif self._held < HOLD:
            self._held += 1
        else:
            self.t = 0

    def show(self, t: int) -> None:
        """Turn to iteration t."""
        self.t = int(t)

    def copies(self) -> tuple[np.ndarray, np.ndarray]:
        """Return c and z of the iteration shown; before the first, all are zero, or what they were a step ago."""
        if self.t == 0:
            start = self._start or self.admm.start()
            return start.z[self.admm.owner], start.z
        return self.solution.history.c[self.t - 1], self.solution.history.z[self.t - 1]

    def plans(self) -> list[tuple[np.ndarray, dict[int, np.ndarray]]]:
        """Return for every agent j its plan of x_j2, shape (N + 1,), and its neighbours' copies of it, shape (N,)."""
        c, found = self.copies()[0], []
        for j, z_j in enumerate(self.admm.z_of):
            held = {}
            for i in self.problem.network.neighbours[j]:
                own, owner = c[self.admm.c_of[i]], self.admm.owner[self.admm.c_of[i]]
                held[i] = own[(owner >= z_j.start) & (owner < z_j.stop)].reshape(-1, 2)[:, 1]
            n_own = z_j.stop - z_j.start
            found.append((c[self.admm.c_of[j]][:n_own].reshape(-1, 2)[:, 1], held))
        return found

    def gaps(self) -> np.ndarray:
        """Return by how much the two ends of every link disagree, shape (number of links,)."""
        c, z = self.copies()
        gap, edge = np.abs(c - z[self.admm.owner]), self.admm.edge_of
        return np.array([gap[edge == k].max() for k in range(len(self.admm.links))])


def positions(graph: str) -> np.ndarray:
    """Return where the agents of a graph are drawn, shape (M, 2), within [-1, 1]."""
    n, kind = GRAPHS[graph][0], graph.split()[0]
    if kind == "line":
        return np.stack([np.linspace(-0.85, 0.85, n), np.where(np.arange(n) % 2, 0.35, -0.35)], axis=1)
    around = n - 1 if kind == "star" else n
    angle = np.pi / 2 + 2 * np.pi * np.arange(around) / around
    circle = 0.85 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.vstack([np.zeros((1, 2)), circle]) if kind == "star" else circle


class ADMMScene(Scene):
    """Draws an `ADMMLoop`: one panel a plan with its copies, residuals over iterations, and the graph.

    Parameters
    ----------
    loop : ADMMLoop
        Its graph is the one drawn first.
    width : int
        In pixels.
    """

    SHAPE = 0.525
    #: Marker of the first, second, … neighbour's copies.
    MARKERS = ("x", "+", "^", "v")

    def __init__(self, loop: ADMMLoop, width: int = 800):
        self._loop, self.graph = loop, loop.graph
        self._solution: NetworkSolution | None = None  # of which the lower layer is drawn
        super().__init__(width)

    def _make(self, canvas, width, height):
        self._make_plans(canvas, self._loop, width, height)
        self._make_residuals(canvas, width, height)
        self._make_graph(canvas, self._loop, width, height)

    def _make_plans(self, canvas, loop, width, height):
        n, columns = loop.problem.network.n_agents, 2
        rows = -(-(n + 1) // columns)  # the last place is the legend's
        left, right, bottom, top = 46, 0.52 * width, 42, height - 24
        w, h = (right - left) / columns, (top - bottom) / rows
        self._plans = []
        for j in range(n):
            row, column = divmod(j, columns)
            place = left + column * w, top - (row + 1) * h + 12, w - 14, h - 26
            ax = canvas.axes(*place, left=f"agent {j + 1}", pads=(0, 4, 2))
            ax.set(xlim=(-0.4, 10.4), ylim=(-1.1, 1.1), xticks=[0, 5, 10], yticks=[-1, 0, 1])
            lowest = j + columns >= n
            ax.tick_params(labelleft=column == 0, labelbottom=lowest)
            ax.set_xlabel("stage k (steps)" if lowest else "")
            best = canvas.curve(ax, "0.72", linewidth=6, label="optimum (centre)")
            alone = canvas.curve(ax, "green", "--", linewidth=1.6, label="planned alone")
            own = canvas.curve(ax, "blue", linewidth=1.6, marker=".", label="own plan")
            copies = zip(loop.problem.network.neighbours[j], self.MARKERS)
            held = {i: canvas.curve(ax, "vermilion", "", marker=mark, markersize=6) for i, mark in copies}
            self._plans.append((best, alone, own, held))
        canvas.text(14, (bottom + top) / 2, "planned $x_2$ of each agent (–)", rotation=90, va="center", ha="center")
        row, column = divmod(n, columns)
        (copy,) = ax.plot([], [], "x", color=COLOURS["vermilion"], label="neighbours' copies of it")
        canvas.legend([own, copy, best, alone], left + column * w, top - row * h - 22, borderaxespad=0.5)

    def _make_residuals(self, canvas, width, height):
        ax = canvas.axes(0.52 * width + 62, 0.58 * height, 0.48 * width - 76, 0.42 * height - 26, pads=(0, 0, 6))
        ax.set(xlabel="iteration of ADMM", ylabel="distance (–)", yscale="log", ylim=(1e-8, 20), xlim=(0, ITERATIONS))
        ax.set_yticks([1e-6, 1e-3, 1])
        ax.minorticks_off()
        looks = ("blue", "-", "primal residual"), ("vermilion", "--", "dual residual"), ("black", ":", "to the optimum")
        self._distances = [canvas.curve(ax, *look, linewidth=1.5, label=label) for *look, label in looks]
        self._cursor = canvas.curve(ax, "0.4", linewidth=1)
        look = {"ncols": 3, "columnspacing": 0.8, "handlelength": 1.6, "frameon": False, "borderaxespad": 0.0}
        ax.legend(handles=self._distances, bbox_to_anchor=(1.0, 1.13), loc="upper right", **look)

    def _make_graph(self, canvas, loop, width, height):
        title, place = "the network: thick links disagree", (0.52 * width + 30, 4, 0.48 * width - 44, 0.4 * height - 4)
        ax = canvas.axes(*place, title, pads=(4, 4, -4))
        ax.set(xlim=(-1.9, 1.9), ylim=(-1.15, 1.25))
        ax.axis("off")
        at = positions(loop.graph) * [1.8, 1.0]
        self._edges, self._labels = [], []
        for i, j in loop.admm.links:
            ends = [[0.87, 0.13], [0.13, 0.87]] @ at[[i, j]] if len(at) < 5 else [[0.8, 0.2], [0.2, 0.8]] @ at[[i, j]]
            self._edges.append(canvas.curve(ax, "vermilion", solid_capstyle="butt", zorder=1))
            self._edges[-1].set_data(*ends.T)
            along = at[j] - at[i]
            beside = np.array([-along[1], along[0]]) / np.hypot(*along)
            beside *= np.copysign(0.3, beside[0] if abs(beside[0]) > 0.5 else beside[1])  # to the right, or above
            x, y = at[[i, j]].mean(axis=0) + beside
            self._labels.append(ax.text(x, y, "", ha="center", va="center", animated=True, fontsize=8.5))
        for i, (x, y) in enumerate(at):
            ax.plot(x, y, "o", color="white", markeredgecolor="black", markersize=19, markevery=1)
            ax.text(x, y, str(i + 1), ha="center", va="center")

    def draw(self, loop: ADMMLoop) -> bytes:
        """Draw the loop's state; returns a JPEG."""
        if self.graph != loop.graph:  # another picture: it has as many panels as there are agents
            ADMMScene.__init__(self, loop, self.canvas.width)
        stages, moving = np.arange(11), []
        if self._solution is not loop.solution:  # what changes only with another solution lies below the rest
            for (best, alone, *_), z_j in zip(self._plans, loop.admm.z_of):
                best.set_data(stages, loop.optimum.duals.z[z_j].reshape(-1, 2)[:, 1])
                alone.set_data(stages, loop.alone.duals.z[z_j].reshape(-1, 2)[:, 1])
            for artist, values in zip(self._distances, (loop.solution.primal, loop.solution.dual, loop.distance)):
                artist.set_data(np.arange(1, ITERATIONS + 1), np.maximum(values, 1e-12))
            self.canvas.layer(
                [*(curve for best, alone, *_ in self._plans for curve in (best, alone)), *self._distances]
            )
            self._solution = loop.solution
        for (*_, own, held), (plan, copies) in zip(self._plans, loop.plans()):
            own.set_data(stages, plan)
            for i, artist in held.items():
                artist.set_data(stages[:-1], copies[i])
            moving += [own, *held.values()]
        self._cursor.set_data([loop.t, loop.t], [1e-12, 20])
        for artist, label, link, gap in zip(self._edges, self._labels, loop.admm.links, loop.gaps()):
            dead = link == loop.cut and loop.t > CUT_AT
            artist.set_linewidth(1.0 if dead else 1.0 + 2.2 * max(0.0, np.log10(max(gap, 1e-12)) + 4))
            artist.set_linestyle((0, (2, 2)) if dead else "-")
            label.set_text("cut" if dead else f"{gap:.0e}")
        return self.canvas.frame([*moving, self._cursor, *self._edges, *self._labels])

    def describe(self, loop: ADMMLoop) -> str:
        """Return the state of a loop in words."""
        last, n = loop.solution, loop.problem.network.n_agents
        if loop.t == 0:
            now = "Before the first iteration all plans are " + ("those of the step before." if loop.warm else "zero.")
        else:
            worst = int(np.argmax(loop.gaps()))
            i, j = loop.admm.links[worst]
            now = (
                f"At iteration {loop.t} of {ITERATIONS} plans and copies differ by {last.primal[loop.t - 1]:.1e} at "
                f"most, on the link of agents {i + 1} and {j + 1} by {loop.gaps()[worst]:.1e}; they are "
                f"{loop.distance[loop.t - 1]:.1e} from the optimum."
            )
        trouble = "" if loop.cut is None else f" Link {_name(loop.cut)} is cut from iteration {CUT_AT} on."
        if loop.loss:
            trouble += f" Of the messages {100 * loop.loss:.0f} % are lost."
        return (
            f"{n} agents ({loop.graph}), coupled by {loop.coupling:g}, plan together by ADMM with rho = {loop.rho:g}. "
            f"{now}{trouble} After {ITERATIONS} iterations the primal residual is {last.primal[-1]:.1e}, the dual "
            f"{last.dual[-1]:.1e}. Planned alone ({loop.told}), an input is off by {off(loop, loop.alone):.1e}."
        )


def _name(link):
    return f"{link[0] + 1} – {link[1] + 1}"


def off(loop: ADMMLoop, found: NetworkSolution) -> float:
    """Return by how much the first inputs of what was `found` are off those of the optimum of a `loop`."""
    return float(np.abs(found.u0 - loop.optimum.u0).max())


def _status(loop):
    last, best = loop.solution, loop.optimum
    messages = loop.admm.messages_per_iteration
    done = f"ρ = {loop.rho:g} · iteration {loop.t} of {ITERATIONS} · {messages} messages each"
    if loop.t:
        done += f" · disagreement {last.primal[loop.t - 1]:.1e} · to the optimum {loop.distance[loop.t - 1]:.1e}"
    sure = "converged" if last.converged else "<b>not converged</b>"
    return (
        f"{done}<br>after {ITERATIONS} from a {'warm' if loop.warm else 'cold'} start: {sure} · u₀ is off by "
        f"{off(loop, last):.1e}, V = {last.value:.4f} by {abs(last.value - best.value):.1e} · solved in "
        f"{1e3 * last.time:.1f} ms<br>planned alone, {loop.told}: u₀ is off by {off(loop, loop.alone):.1e}"
    )


def admm_live(
    push: Callable | None = None, *, graph: str = "line of 3", rho: float = 1.0, seed: int = 0, width: int = 800
) -> Player:
    """Return the live picture of an `ADMMLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    push, graph, rho, seed
        See `ADMMLoop`; rho one of `RHOS`.
    width : int
        Of the picture in pixels.
    """
    loop = ADMMLoop(graph, rho, seed, push)
    for value in RHOS:  # what is compiled now does not delay the slider
        loop.problem.by(value).V(loop.problem.theta, loop.s)
    scene = ADMMScene(loop, width)
    rhos = [(f"{value:g}", value) for value in RHOS]
    controls: dict[str, Any] = {
        "rho": ipywidgets.SelectionSlider(options=rhos, value=loop.rho, description="penalty ρ (–)"),
        "t": slider("iteration shown (–)", 0, 0, ITERATIONS),
        "coupling": slider("coupling c (–)", loop.coupling, -0.5, 0.0, 0.05),
        "told": choices("planned alone", {told: PUSHES[told] for told in loop.pushes}, loop.told),
        "graph": ipywidgets.Dropdown(options=list(GRAPHS), value=graph, description="graph"),
        "cut": ipywidgets.Dropdown(options=_links(loop), description="cut a link"),
        "loss": slider("messages lost (share)", 0.0, 0.0, 0.9, 0.05),
    }
    player: Player | None = None

    def status(loop):  # several times a second, and when it pauses: often enough for the slider to follow
        if player is not None:
            player.set(controls["t"], loop.t)
        return _status(loop)

    def change_graph(value):
        loop.change(graph=value)
        controls["cut"].options = _links(loop)

    actions = {"New states": loop.renew, "A step later": loop.advance}
    player = Player(loop, scene, status, controls, actions=actions, width=width)
    player.connect(loop.change, "rho", "cut", "loss", "coupling", "told")
    player.watch(controls["t"], loop.show)
    player.watch(controls["graph"], change_graph)
    return player


def _links(loop):
    return [("none", None), *((f"{_name(link)}", link) for link in loop.admm.links)]
