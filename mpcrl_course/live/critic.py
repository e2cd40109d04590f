"""Critics side by side, live: learned, an MPC's, their blend and the truth, while the policy improves (lecture 09)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap

from mpcrl_course.learners.blended import blend, learned_omega
from mpcrl_course.live.canvas import Scene
from mpcrl_course.live.controls import checked_kick, slider, toggle
from mpcrl_course.live.player import Player
from mpcrl_course.own import answering
from mpcrl_course.problems import quadratic

#: Steps of an episode, transitions drawn with each policy, and improvements that the strip shows.
EPISODE, MOST, MEMORY = 20, 400, 12
#: The critics, as they are called in the picture.
CRITICS = LEARNED, MPC, BLEND, TRUE = ("learned Q_w", "Q of the MPC", "blend", "true Q of the policy")


class CriticLoop:
    """The linear plant without bounds under a policy that a blended critic improves: steps without any widget.

    Parameters
    ----------
    blend : callable (q_learned, q_mpc, beta) -> q, optional
        A reader's own, of the critics' ten weights; see `BlendedIteration`.
    bias : float
        Of the MPC's model: 0 is the true one, 1 that of lecture 06.
    beta : float
        Share of the MPC.
    M : int
        Transitions that the learned critic has: a multiple of 20, at most 400.
    seed : int
        Of all randomness.

    Attributes
    ----------
    x : ndarray, shape (2,)
        The plant's state.
    K, k : ndarray, shapes (1, 2), (1,)
        The policy -K s - k; at first that of the MPC.
    omega : dict of str to ndarray or None
        The ten weights of each of the `CRITICS`; None of a true Q that is infinite.
    ratios : list of float
        J/J* of the first policy and after each improvement.
    """

    def __init__(self, blend: Callable = blend, *, bias: float = 1.0, beta: float = 0.5, M: int = 60, seed: int = 1):
        self.blend = answering("blend", blend, lambda q, *_: q.shape)
        self.bias, self.beta, self.M, self.seed = float(bias), float(beta), int(M), seed
        self.reset()

    def reset(self) -> None:
        """Go back to the policy of the MPC and the first start."""
        self._rng, self.count, self.x = np.random.default_rng([self.seed, 0]), 0, np.array([0.4, -0.5])
        mpc, phi = quadratic.biased(self.bias)
        self._take(*mpc.policy(phi), [])

    def _take(self, K, k, before: list[float]) -> None:
        """Take a policy, drive with it, and judge it."""
        ratios = [*before, quadratic.expected_cost(K, k) / quadratic.least_cost()]
        data = quadratic.collect(K, k, MOST, np.random.default_rng([self.seed, len(ratios)]))
        omega = self._judged(
            {TRUE: quadratic.policy_omega(K, k)}, self.bias, self.beta, self._learned(K, k, data, self.M)
        )
        self.K, self.k, self.ratios, self.data, self.omega = K, k, ratios, data, omega

    def _learned(self, K, k, data, M: int) -> np.ndarray:
        """Return the weights of the learned critic of a policy from the first M / 20 episodes of the data."""
        part = [one.reshape(EPISODE, -1, *one.shape[1:])[:, : M // EPISODE] for one in data]  # which stand step by step
        return learned_omega(quadratic.Transitions(*(one.reshape(-1, *one.shape[2:]) for one in part)), K, k)

    def _judged(self, known: dict[str, Any], bias: float, beta: float, learned: np.ndarray) -> dict[str, Any]:
        """Return the weights of all critics: see `omega`; the true ones are `known`."""
        mpc, phi = quadratic.biased(bias)
        q_mpc = mpc.omega(phi)
        blended = self.blend(learned.copy(), q_mpc.copy(), beta)
        return {LEARNED: learned, MPC: q_mpc, BLEND: blended, TRUE: known[TRUE]}

    def change(self, bias: float | None = None, beta: float | None = None, M: int | None = None) -> None:
        """Change the model's `bias`, the share `beta` or the number of data `M`, and judge again; not the policy."""
        bias, beta = self.bias if bias is None else float(bias), self.beta if beta is None else float(beta)
        learned = self.omega[LEARNED] if M is None else self._learned(self.K, self.k, self.data, int(M))
        self.omega = self._judged(self.omega, bias, beta, learned)
        self.bias, self.beta, self.M = bias, beta, self.M if M is None else int(M)

    @property
    def action(self) -> float:
        """The policy's input at the present state."""
        return float((-self.K @ self.x - self.k)[0])

    def best(self, name: str) -> tuple[float, float] | None:
        """Return the best action at the present state by the critic of this name, and its Q; None if there is none."""
        omega = self.omega[name]
        if omega is None:
            return None
        try:
            K, k = quadratic.greedy_policy(omega)
        except quadratic.NoLeastAction:
            return None
        a = -K @ self.x - k
        return float(a[0]), float((quadratic.features(self.x[None], a[None]) @ omega)[0])

    def step(self, improve: bool = False) -> None:
        """Let the plant make a step under the policy; where an episode ends, improve the policy if `improve`."""
        self.count += 1
        a = np.array([self.action]) + 0.3 * self._rng.standard_normal(1)
        self.x = quadratic.A @ self.x + quadratic.B @ a + quadratic.DEVIATION * self._rng.standard_normal(2)
        if self.count % EPISODE == 0 or not np.abs(self.x).max() < 3.0:
            self.x = np.clip(quadratic.SPREAD * self._rng.standard_normal(2), -1.0, 1.0)
            if improve:
                self.improve()

    def improve(self) -> None:
        """Take the policy that the blend thinks best, drive with it, and judge it.

        RuntimeError: there is none, or it does not stabilise the plant; the policy stays.
        """
        try:
            K, k = quadratic.greedy_policy(self.omega[BLEND])
        except quadratic.NoLeastAction as error:
            raise RuntimeError(f"{error}. The policy stays; move β or the number of data, or press Reset") from None
        if not np.isfinite(quadratic.expected_cost(K, k)):
            raise RuntimeError(
                f"the blend's best policy, K = {np.round(K[0], 2)}, does not stabilise the plant. The policy stays; "
                "move β or the number of data, or press Reset"
            )
        self._take(K, k, self.ratios)

    def kick(self, amount=None) -> None:
        """Move the state by `amount` (2,), or to a random one."""
        if amount is None:
            self.x = self._rng.uniform(-1.0, 1.0, 2)
        else:
            self.x = self.x + checked_kick(amount, "x1", "x2")


class CriticScene(Scene):
    """Draws a `CriticLoop`: the critics over a at the present state, one of them over s, and J/J* so far."""

    SHAPE = 0.46
    #: What the pictures show: actions, states from, to, points in each direction, levels of the map.
    ACTIONS, VIEW, GRID = np.linspace(-3.0, 3.0, 121), (-1.2, 1.2), 25
    LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    LOOKS = (("blue", "--", "o"), ("vermilion", "-.", "s"), ("black", "-", "D"), ("green", ":", "^"))

    def _make(self, canvas, width, height):
        self.shown, self._drawn = BLEND, None
        axis = np.linspace(*self.VIEW, self.GRID)
        self._grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        low, tall = 42, height - 96
        wide = 0.335 * width
        ax = canvas.axes(56, low, wide, tall, "at the present state, over the action", pads=(4, 0, 6))
        ax.set(xlim=self.ACTIONS[[0, -1]], ylim=(-0.6, 2.4), xlabel="action $a$ (–)")
        ax.set_ylabel("$Q(s, a)$ less the true $V^\\pi(s)$ (cost)")
        self._policy = canvas.curve(ax, "grey", linewidth=1.2, label="action of the policy")
        self._curves, self._dots = [], []
        for name, (colour, line, marker) in zip(CRITICS, self.LOOKS):
            dot = {"marker": marker, "markersize": 7, "markeredgecolor": "black"}
            self._curves.append(canvas.curve(ax, colour, line, linewidth=2.4 if name == BLEND else 1.8))
            self._dots.append(canvas.curve(ax, colour, line, label=name, **dot))
        canvas.legend([*self._dots, self._policy], 56, height, ncols=5, columnspacing=1.3, handlelength=2.4)
        left = 56 + wide + 62
        ax = self._plane = canvas.axes(left, low, 0.25 * width, tall, "a critic of $(s, \\pi(s))$", pads=(4, 0, 6))
        ax.set(xlim=self.VIEW, ylim=self.VIEW, xlabel="state $s_1$ (–)", ylabel="state $s_2$ (–)")
        ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        levels, greys = np.log10(self.LEVELS), ListedColormap(np.linspace(1.0, 0.62, len(self.LEVELS) + 1).astype(str))
        look: dict[str, Any] = {"cmap": greys, "norm": BoundaryNorm(levels, greys.N, extend="both")}
        bar = left + 0.25 * width + 7, low, 9, tall
        self._value, bar_axes = canvas.image(ax, (*self.VIEW, *self.VIEW), bar, levels, **look)
        bar_axes.set_yticklabels([f"{level:g}" for level in self.LEVELS])
        bar_axes.set_title("cost", loc="left")
        self._now = canvas.curve(ax, "vermilion", marker="D", markersize=8, mec="black")
        left += 0.25 * width + 84
        ax = canvas.axes(left, low, width - left - 22, tall, "policy: $J/J^\\star$", pads=(4, 2, 6), bounds=(1.0,))
        ax.set(xlim=(-0.5, MEMORY + 0.5), ylim=(0.98, 1.6), xlabel="improvements")
        self._ratio = canvas.curve(ax, "black", marker="o", markersize=4, linewidth=1.2)

    def shade(self, loop: CriticLoop) -> None:
        """Shade the plane with what the critic `shown` says of the policy of a `loop`, if that has changed."""
        omega = loop.omega[self.shown]
        now = (self.shown, None if omega is None else omega.tobytes(), loop.K.tobytes())
        if now == self._drawn:
            return
        if omega is None:
            values = np.full(len(self._grid), 1e3)
        else:
            values = quadratic.features(self._grid, -self._grid @ loop.K.T - loop.k) @ omega
        self._value.set_data(np.log10(np.clip(values, 1e-3, 1e3)).reshape(self.GRID, self.GRID))
        self.canvas.layer([self._value, *self._plane.spines.values()])
        self._drawn = now

    def draw(self, loop: CriticLoop) -> bytes:
        """Draw the loop's state; returns a JPEG."""
        self.shade(loop)
        pairs = np.tile(loop.x, (len(self.ACTIONS), 1)), self.ACTIONS[:, None]
        z, at = quadratic.features(*pairs), np.array([[loop.action]])
        truth, own = loop.omega[TRUE], quadratic.features(loop.x[None], at)
        zero = float((own @ (loop.omega[BLEND] if truth is None else truth))[0])
        for name, curve, dot in zip(CRITICS, self._curves, self._dots):
            omega, best = loop.omega[name], loop.best(name)
            curve.set_data(*([[], []] if omega is None else [self.ACTIONS, z @ omega - zero]))
            dot.set_data(*([[], []] if best is None else [[best[0]], [best[1] - zero]]))
        self._policy.set_data([loop.action] * 2, [-9.0, 9.0])
        self._now.set_data(loop.x[:1], loop.x[1:])
        last = loop.ratios[-MEMORY - 1 :]
        self._ratio.set_data(np.arange(len(last)), np.minimum(last, 9.0))
        return self.canvas.frame([self._policy, *self._curves, *self._dots, self._now, self._ratio])

    def describe(self, loop: CriticLoop) -> str:
        """Return the state of a loop in words."""
        best = {name: loop.best(name) for name in CRITICS}
        said = ", ".join(f"{name} {'none' if b is None else f'{b[0]:.2f}'}" for name, b in best.items())
        return (
            f"Three pictures. Left, the critics over the action at the state s1 = {loop.x[0]:.2f}, s2 = "
            f"{loop.x[1]:.2f}; the action that each thinks best: {said}; the policy takes {loop.action:.2f}. Middle, "
            f"the critic '{self.shown}' of the present policy as a map over the state. Right, the cost of the policy "
            f"over the least one, J/J* = {loop.ratios[-1]:.3f} after {len(loop.ratios) - 1} improvements."
        )


def critic_live(blend: Callable = blend, *, width: int = 800, **options) -> Player:
    """Return the live picture of a `CriticLoop`; name it in a cell's last line to see it.

    Parameters
    ----------
    blend, **options
        `bias`, `beta`, `M`, `seed`: see `CriticLoop`; `blend(q_learned, q_mpc, beta)` may be the reader's own.
    width : int
        Of the picture in pixels.
    """
    loop, scene = CriticLoop(blend, **options), CriticScene(width)
    controls = {
        "bias": slider("bias of the model (–)", loop.bias, 0.0, 2.5, 0.1),
        "beta": slider("share β of the MPC (–)", loop.beta, 0.0, 1.0, 0.05),
        "M": slider("number of data M (–)", loop.M, EPISODE, MOST, EPISODE),
        "shown": ipywidgets.Dropdown(options=CRITICS, value=scene.shown, description="critic on the map"),
        "improve": toggle("Improve while you watch", "graduation-cap"),
    }

    def step():
        loop.step(controls["improve"].value)

    actions = {"Improve": loop.improve, "Kick": loop.kick, "Reset": loop.reset}
    player = Player(loop, scene, _status, controls, step=step, actions=actions, label=150, width=width)
    player.connect(loop.change, "bias", "beta", "M")
    player.watch(controls["shown"], lambda name: setattr(scene, "shown", name))
    return player


def _status(loop):
    errors = [
        f"{name}: {np.abs(omega - loop.omega[TRUE]).max():.2g}" if loop.omega[TRUE] is not None else name
        for name, omega in zip(CRITICS[:3], loop.omega.values())
    ]
    first = [
        f"step {loop.count}",
        f"J/J* = {loop.ratios[-1]:.3f} after {len(loop.ratios) - 1} improvements",
        f"policy K = ({loop.K[0, 0]:.2f}, {loop.K[0, 1]:.2f}), k = {loop.k[0]:.2f}",
    ]
    return " · ".join(first) + "<br>largest error of the ten weights: " + ", ".join(errors)
