"""A population live: agents that see samples of k others, and the policy on the simplex of counts (lecture 13)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ipywidgets
import numpy as np

from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.player import Player
from mpcrl_course.population import SampledPolicy, own_policy, plans, rendezvous, sampled_policy
from mpcrl_course.population.execute import SAMPLES
from mpcrl_course.population.laws import ahead, listed
from mpcrl_course.population.simulate import Counted, begin
from mpcrl_course.validation import choice

#: What can be chosen: agents in a sample, agents in all, and the share of moves that slip to any site.
KS, NS, NOISES = (1, 2, 3, 4, 6, 8, 10), (14, 50, 200, 1000, 10_000, 100_000), (0.0, 0.05, 0.2, 0.5)
#: Steps that the strip shows, over which the mean is taken; dots, and samples, that are drawn.
MEMORY, WINDOW, DOTS, SHOWN = 150, 50, 210, 24
#: Frames in which a step is shown while it plays.
FRAMES = 4
IDLE = 3  # the global state after the sites; then come the storms


@cache
def _planned(noise: float) -> dict[int, SampledPolicy]:
    return {one.k: sampled_policy(one) for one in plans(rendezvous(slip=noise), KS)}


class PopulationLoop:
    """Rendezvous with n agents that see samples of k: steps by counts, without any widget.

    Parameters
    ----------
    act : callable, optional
        ``act(s, s_g, h)`` of the reader: the action (0, 1, 2), or the probabilities (3,), of a local agent in s that
        sees the counts h (3,) of k - 1 others, while the global state is s_g (0 … 2 a site, 3 idle, 4 … 6 a storm). By
        default agents play their components of the plan; the global agent always does.
    n, k : int
        Agents in all, and in a sample.
    noise : float
        Share of moves that slip to any site; one of `NOISES`.
    samples : str
        "private" or "shared".
    seed : int

    Attributes
    ----------
    s_g : int
    C : ndarray of int, shape (3,)
    count : int
        Steps since the last `reset`.
    part : float
        How much of the way of the latest step the agents have gone, for the picture.
    rewards : list of float
        Of the latest steps.
    seen : ndarray of int, shape (m, 3)
        Counts of some of the samples that decided the latest step; of the only one, if it is shared.
    """

    def __init__(
        self,
        act: Callable | None = None,
        n: int = 200,
        k: int = 4,
        noise: float = 0.05,
        samples: str = "private",
        seed: int = 0,
    ):
        self.act, self.seed = act, seed
        self.n, self.k, self.noise, self.samples = n, k, noise, samples
        self._check(n, k, noise, samples)
        self._policy: SampledPolicy | None = None
        self.reset()

    @staticmethod
    def _check(n, k, noise, samples):
        choice(n, NS, "number of agents n")
        choice(k, KS, "size k of a sample")
        choice(float(noise), NOISES, "noise")
        choice(samples, SAMPLES, "kind of samples")

    @property
    def policy(self) -> SampledPolicy:
        """The policy; of the reader's function, if there is one (asked when it is needed, and after each change)."""
        if self._policy is None:
            planned = _planned(self.noise)[self.k]
            own = self.act and own_policy(planned.model, self.k, self.act)
            self._policy = SampledPolicy(planned.model, self.k, own.local, planned.globally) if own else planned
        return self._policy

    def reset(self) -> None:
        """Go back to the start: idle, after a storm."""
        self.rng = np.random.default_rng(self.seed)
        s_g, C = begin(_planned(self.noise)[self.k].model, self.n, 1, self.rng)
        self.s_g, self.C = int(s_g[0]), C[0]
        self.count, self.part = 0, 1.0
        self.rewards: list[float] = []
        self.seen = np.zeros((0, 3), dtype=int)

    def scatter(self) -> None:
        """Put every agent on a site drawn at random; the global agent idles."""
        self.s_g, self.C, self.part = IDLE, self.rng.multinomial(self.n, [1 / 3] * 3), 1.0

    def change(self, n: int | None = None, k: int | None = None, noise: float | None = None,
               samples: str | None = None) -> None:  # fmt: skip
        """Change the number of agents n, the size k of a sample, the `noise`, or the kind of `samples`."""
        after: dict[str, Any] = {"n": n, "k": k, "noise": noise, "samples": samples}
        after = {name: getattr(self, name) if value is None else value for name, value in after.items()}
        self._check(**after)
        if n is not None and n != self.n:
            self.C = self.rng.multinomial(n, self.C / self.C.sum())
        self.n, self.k, self.noise, self.samples = after["n"], after["k"], after["noise"], after["samples"]
        self._policy = None

    def step(self) -> None:
        """Draw samples, act, and move."""
        policy = self.policy
        many = 1 if self.samples == "shared" else SHOWN
        self.seen = self.rng.multivariate_hypergeometric(self.C, self.k, size=many)
        s_g, C, reward = Counted(policy, self.rng, self.samples)(np.array([self.s_g]), self.C[None])
        self.s_g, self.C = int(s_g[0]), C[0]
        self.count, self.part = self.count + 1, 1.0
        self.rewards = [*self.rewards[1 - MEMORY - WINDOW :], float(reward[0])]

    def glide(self) -> None:
        """Go on by a part of a step; when all have arrived, make the next one."""
        if self.part >= 1.0:
            self.step()
            self.part = 0.0
        self.part = min(1.0, self.part + 1.0 / FRAMES)

    @property
    def mean_reward(self) -> float:
        """Mean reward of the latest 50 steps (NaN before the first)."""
        return float(np.mean(self.rewards[-WINDOW:])) if self.rewards else float("nan")

    def decisions(self) -> np.ndarray:
        """Return for each counts of k agents the site to which most of them go, by the number of `all_counts`."""
        local, c = self.policy.local[self.s_g], listed(self.k, 3)
        goes = np.zeros((len(c), 3))
        for s in range(3):
            whole = ahead(self.k - 1, 3)[:, s]
            goes[whole] += c[whole, s, None] * local[:, s]
        return goes.argmax(axis=1)


CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
SITES = (("blue", "o", "A"), ("vermilion", "s", "B"), ("green", "^", "C"))


def where(s_g: int) -> str:
    """Return the global state number s_g in words."""
    if s_g < 3:
        return f"at site {'ABC'[s_g]}"
    return "idle" if s_g == IDLE else f"a storm on site {'ABC'[s_g - IDLE - 1]}"


class PopulationScene(Scene):
    """Draws a `PopulationLoop`: agents on their sites, the simplex of counts with policy and samples, the reward."""

    SHAPE = 0.56

    def _make(self, canvas, width, height):
        tall, wide = 0.6 * height, 0.5 * width - 40
        look: dict[str, Any] = {"xlim": (-0.3, 1.3), "ylim": (-0.3, 1.13), "xticks": [], "yticks": []}
        ax = canvas.axes(20, height - tall - 46, wide, tall, "agents on their sites", **look)
        self._dots = [canvas.curve(ax, colour, "", marker=m, markersize=3.5) for colour, m, _ in SITES]
        self._global = canvas.curve(
            ax, "black", "", marker="D", markersize=13, mfc="none", mew=2.5, label="global agent"
        )
        self._storm = canvas.curve(ax, "black", "", marker="X", markersize=17, mfc="#E69F00", label="storm")
        for (x, y), (_, _, name) in zip(CORNERS, SITES):
            ax.text(x, y + (0.2 if y else -0.27), f"site {name}", ha="center", fontsize=9)
        spread = np.random.default_rng(0).normal(size=(DOTS, 2))
        self._spread = 0.16 * spread / np.maximum(1.0, np.hypot(*spread.T) / 1.6)[:, None] / 1.6
        ax = canvas.axes(width / 2 + 20, height - tall - 46, wide, tall, "what a sample of k decides", **look)
        self._decided = [
            canvas.curve(ax, colour, "", marker=m, markersize=6, label=f"go to {name}") for colour, m, name in SITES
        ]
        ax.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color="#767676", linewidth=1, linestyle="-", marker="")
        for (x, y), (_, _, name) in zip(CORNERS, SITES):
            ax.text(x, y + (0.09 if y else -0.15), f"all in {name}", ha="center", fontsize=9)
        self._seen = canvas.curve(ax, "black", "", marker="o", markersize=11, mfc="none", mew=1.2, label="samples seen")
        self._here = canvas.curve(ax, "purple", "", marker="*", markersize=14, mec="black", label="all n agents")
        handles = [*self._decided, self._seen, self._here]
        look = {"columnspacing": 0.6, "handletextpad": 0.0, "markerscale": 0.7}
        canvas.legend(handles, width / 2 - 40, height, ncols=5, **look)
        canvas.legend([self._global, self._storm], 10, height, ncols=2, **look)
        strip = canvas.axes(60, 38, width - 80, height - tall - 112, right=f"thick: mean of {WINDOW} steps")
        strip.set(xlim=(-MEMORY, 0), ylim=(-0.35, 1.05), yticks=[0, 0.5, 1], xlabel="steps before now", ylabel="reward")
        self._reward = canvas.curve(strip, "sky", linewidth=1.0)
        self._mean = canvas.curve(strip, "vermilion", linewidth=2.2)
        self._from = self._to = np.arange(DOTS) % 3  # sites of the dots
        self._shown: Any = None
        self._counted: Any = None

    def draw(self, loop: PopulationLoop) -> bytes:
        """Draw the loop's state; returns a JPEG."""
        now = (id(loop.policy), loop.s_g)
        if now != self._shown:  # the policy changes seldom: the middle layer
            places, decided = listed(loop.k, 3) / loop.k @ CORNERS, loop.decisions()
            for a, artist in enumerate(self._decided):
                artist.set_data(*places[decided == a].T)
            self.canvas.layer(self._decided)
            self._shown = now
        self._send(loop)
        at = (1.0 - loop.part) * CORNERS[self._from] + loop.part * CORNERS[self._to] + self._spread
        for site, artist in enumerate(self._dots):
            artist.set_data(*at[self._to == site].T)
        middle = CORNERS.mean(axis=0)
        self._global.set_data(*(CORNERS[loop.s_g] if loop.s_g < IDLE else middle)[:, None])
        self._storm.set_data(*(CORNERS[loop.s_g - IDLE - 1][:, None] if loop.s_g > IDLE else np.zeros((2, 0))))
        self._seen.set_data(*(loop.seen / max(1, loop.seen[:1].sum()) @ CORNERS).T)
        self._here.set_data(*(loop.C / loop.n @ CORNERS)[:, None])
        rewards = np.array(loop.rewards)
        n, sums = min(len(rewards), MEMORY), np.cumsum([0.0, *rewards])
        last = np.arange(len(rewards) - n, len(rewards)) + 1
        first = np.maximum(last - WINDOW, 0)
        self._reward.set_data(np.arange(-n, 0), rewards[len(rewards) - n :])
        self._mean.set_data(np.arange(-n, 0), (sums[last] - sums[first]) / np.maximum(last - first, 1))
        moving = [*self._dots, self._global, self._storm, self._seen, self._here, self._reward, self._mean]
        return self.canvas.frame(moving)

    def _send(self, loop):
        # Tell dots where to go: as few as possible leave their site.
        now = (loop.count, loop.C.tolist())
        if now == self._counted:
            return
        self._counted, self._from = now, self._to.copy()
        wanted = np.diff(np.round(np.cumsum([0, *loop.C]) * DOTS / loop.n).astype(int))
        free = [dot for site in range(3) for dot in np.flatnonzero(self._to == site)[wanted[site] :]]
        for site in range(3):
            missing = wanted[site] - (self._to == site).sum()
            for dot in free[: max(0, missing)]:
                self._to[dot] = site
            free = free[max(0, missing) :]

    def describe(self, loop: PopulationLoop) -> str:
        """Return the state of a loop in words."""
        shares = ", ".join(f"{100 * m / loop.n:.0f} % on site {name}" for m, name in zip(loop.C, "ABC"))
        told = [f"{count} to {name}" for count, name in zip(np.bincount(loop.decisions(), minlength=3), "ABC") if count]
        past = f"Mean reward of the latest steps {loop.mean_reward:.3f}." if loop.rewards else "No step has been made."
        return (
            f"Rendezvous with {loop.n} agents that see {loop.samples} samples of {loop.k}: {shares}; the global agent: "
            f"{where(loop.s_g)}. Of the {len(listed(loop.k, 3))} counts a sample may have, {', '.join(told)}. {past}"
        )


def _status(loop):
    shares = " · ".join(f"{name} {m}" for m, name in zip(loop.C, "ABC"))
    mean = f"mean reward {loop.mean_reward:.3f}" if loop.rewards else "no step yet"
    whose = "your policy" if loop.act else "the plan's components"
    return f"step {loop.count} · {shares} · {where(loop.s_g)} · {mean} · {whose}"


def population_live(
    act: Callable | None = None, *, n: int = 200, k: int = 4, seed: int = 0, width: int = 800
) -> Player:
    """Return the live picture of a `PopulationLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    act, n, k, seed
        See `PopulationLoop`; `act` may be the reader's own function, n one of `NS` and k one of `KS`.
    width : int
        Of the picture in pixels.
    """
    loop = PopulationLoop(act, n, k, seed=seed)
    controls: dict[str, Any] = {
        "k": ipywidgets.SelectionSlider(options=KS, value=k, description="agents in a sample k"),
        "n": ipywidgets.SelectionSlider(options=[(f"{m:,}", m) for m in NS], value=n, description="agents n"),
        "noise": ipywidgets.SelectionSlider(options=NOISES, value=loop.noise, description="noise (share of moves)"),
        "samples": ipywidgets.Dropdown(options=SAMPLES, value=loop.samples, description="samples"),
    }
    actions = {"Scatter": loop.scatter, "Reset": loop.reset}
    player: Player | None = None

    def step():
        loop.glide() if player is not None and player.playing else loop.step()

    player = Player(loop, PopulationScene(width), _status, controls, step=step, actions=actions, width=width)
    player.connect(loop.change, *controls)
    return player
