"""The published comparison of second-order and first-order distributed Q-learning, made again (arXiv 2511.16424).

Three linear plants in a line learn the 22 parameters of their MPCs in one episode of 2000 steps, four ways:
{distributed, centralised} x {second order, first order}, each from several seeds. The published figures stand in
`METHODS`; `second_order` makes ours, prints both, and draws two figures.

A run's randomness is ``numpy.random.default_rng(seed)``, seeds 1, 2, …, and nothing else: it gives the learner the seed
of its batches, then the plant three numbers a step. So it does not depend on who computes a run, or beside which
others; the four methods meet the same noise, and a run of 100 steps is the beginning of a run of 2000.

How runs are saved, taken up and done in parallel: `mpcrl_course.reproduce.runs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import bdtrc  # upper tail of the binomial distribution

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.figures import COLOURS, STYLE, band
from mpcrl_course.figures.tables import Table
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.learners.log import saved_log
from mpcrl_course.network import ADMM, Central, line, mixing_matrix
from mpcrl_course.problems.network import network_mpc
from mpcrl_course.reproduce.runs import Job, finish, median, ours, report, run_all, write
from mpcrl_course.statistics import difference

#: Steps over which |TD| and L are averaged.
WINDOWS = ((0, 100), (500, 600), (1000, 1100), (1900, 2000))
#: Steps of a published run, and from how many seeds of ours the published medians of `PUBLISHED_SEEDS` are judged.
STEPS, PUBLISHED_SEEDS, ENOUGH = 2000, 5, 20


@dataclass(frozen=True)
class Method:
    """One way to learn, and what is published of it: medians over five seeds of the means over `WINDOWS`.

    Attributes
    ----------
    distributed : bool
        100 iterations of ADMM and 100 rounds of consensus, or everything from the centre.
    order : {2, 1}
    step_size : float
    td, cost : tuple of float
        Published |TD| and L.
    total : float
        Published cumulative cost.
    spread : tuple of float
        Its least and largest value, where published.
    """

    distributed: bool
    order: int
    step_size: float
    td: tuple[float, ...]
    cost: tuple[float, ...]
    total: float
    spread: tuple[float, ...] = ()

    def __str__(self):
        return (
            f"{'distributed' if self.distributed else 'centralised'}, {'second' if self.order == 2 else 'first'} order"
        )


METHODS = (
    Method(True, 2, 1e-4, (10.6, 0.741, 0.213, 0.437), (11.2, 0.795, 0.258, 0.510), 3860, (2832, 4982)),
    Method(False, 2, 1e-4, (11.8, 0.756, 0.181, 0.039), (12.5, 0.818, 0.246, 0.085), 3694, (2564, 5027)),
    Method(True, 1, 1e-8, (12.5, 10.66, 9.47, 9.42), (13.6, 9.64, 6.94, 6.26), 16818),
    Method(False, 1, 1e-8, (12.7, 10.27, 8.80, 8.88), (13.2, 8.96, 7.24, 5.94), 16660),
)


# --- the runs -----------------------------------------------------------------------------------------------------


@cache
def _controller(distributed: bool):
    return ADMM(network_mpc()) if distributed else Central(network_mpc())


def state_path(method: Method, seed: int, folder) -> Path:
    """Return the path in `folder` of the run of a `method` and `seed`: ``path.json`` names its ``path-k.npz``."""
    where = "distributed" if method.distributed else "centralised"
    return Path(folder) / f"{where}_order{method.order}_seed{seed}"


def run(method: Method, seed: int, steps: int, folder, save_every: int = 500) -> str:
    """Do what is missing of a run and save it; returns why it failed, or nothing.

    The step is the published one: no exploration, batches of 15 (the latest 10) out of 100, no safeguard.

    Parameters
    ----------
    method : Method
    seed, steps : int
    folder, save_every
        See `second_order`.
    """

    def learner():
        P = mixing_matrix(3, line(3), 0.25) if method.distributed else None
        options: dict[str, Any] = {"P": P, "step_size": method.step_size, "order": method.order, "safeguard": False}
        rng = np.random.default_rng(seed)
        return DistributedQLearning(_controller(method.distributed), LinearNetwork(), rng, **options)

    return finish(learner, state_path(method, seed, folder), steps, save_every)


def runs(seeds: Sequence[int], steps: int, folder, save_every: int = 500) -> list[Job]:
    """Return all runs of these `seeds`, those of a seed beside each other.

    Parameters
    ----------
    seeds : sequence of int
    steps, folder, save_every
        See `run`.
    """
    return [
        Job(f"{method}, seed {seed}", state_path(method, seed, folder), run, (method, seed, steps, folder, save_every))
        for seed in seeds
        for method in METHODS
    ]


@dataclass
class Results:
    """All runs of one method that were done, stacked.

    Attributes
    ----------
    method : Method
    seeds : list of int
    td, cost : ndarray, shape (seeds, steps)
        TD error (nan in a step whose solve failed) and stage cost.
    x, u : ndarray, shapes (steps, 6), (steps, 3)
        States and inputs of the first of them.
    failed : int
        Steps in which a solve failed, of all runs.
    seconds : ndarray, shape (seeds,)
        Wall time of a step.
    """

    method: Method
    seeds: list[int]
    td: np.ndarray
    cost: np.ndarray
    x: np.ndarray
    u: np.ndarray
    failed: int
    seconds: np.ndarray


def load(method: Method, seeds: Sequence[int], steps: int, folder) -> Results:
    """Read the first `steps` steps of the runs of a `method` that were done in `folder`, with these `seeds`."""
    logs = [saved_log(state_path(method, seed, folder)) for seed in seeds]
    td, cost, failed = (
        np.array([getattr(log, name)[:steps] for log in logs]).reshape(len(logs), steps)
        for name in ("td", "cost", "failed")
    )
    x, u = (getattr(logs[0], name)[:steps] if logs else np.zeros((0, n)) for name, n in (("x", 6), ("u", 3)))
    seconds = np.array([log.seconds / log.steps for log in logs])
    return Results(method, list(seeds), td, cost, x, u, int(failed.sum()), seconds)


# --- the numbers --------------------------------------------------------------------------------------------------


def window_means(values) -> np.ndarray:
    """Return the mean of each of `WINDOWS`, shape (seeds, 4), of values (seeds, steps); nan where it is not reached."""
    values = np.asarray(values, dtype=float)
    means = np.full((len(values), len(WINDOWS)), np.nan)
    for j, (begin, end) in enumerate(WINDOWS):
        known = ~np.isnan(values[:, begin:end])
        reached = known.any(axis=1) & (end <= values.shape[1])
        means[reached, j] = np.nansum(values[:, begin:end], axis=1)[reached] / known.sum(axis=1)[reached]
    return means


def median_band(values, draws: int = PUBLISHED_SEEDS, level: float = 0.95) -> tuple[float, float]:
    """Return where the median of `draws` seeds lies with probability `level`, if these values are all there is to draw.

    Drawing with replacement from n values, the median of an odd number d of draws is at most the j-th smallest value
    with the probability that at least (d + 1)/2 draws are: an exact quantile of the bootstrap, no random numbers.

    Parameters
    ----------
    values : array_like, shape (n,)
    draws : int
        Odd.
    level : float
    """
    if draws % 2 != 1:
        raise ValueError(f"the median of an odd number of draws is one of them; {draws} is even")
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    at_most = bdtrc((draws - 1) // 2, draws, np.arange(1, n + 1) / n)
    low, high = np.searchsorted(at_most, [(1 - level) / 2, (1 + level) / 2])
    return float(ordered[low]), float(ordered[min(high, n - 1)])


def tables(results: Sequence[Results], steps: int) -> list[Table]:
    """Return the published figures beside our `results` of so many `steps`: |TD|, stage cost L and cumulative cost."""
    header = ["method", "whose", *(f"{begin}-{end}" for begin, end in WINDOWS)]
    found = []
    for name, caption in (("td", "mean |TD|"), ("cost", "mean stage cost L")):
        rows = []
        for one in results:
            rows.append([str(one.method), "published", *(f"{value:.3g}" for value in getattr(one.method, name))])
            means = window_means(np.abs(getattr(one, name)))
            rows.append(["", ours(len(one.seeds)), *(median(column) for column in means.T)])
            if len(one.seeds) >= ENOUGH:
                bands = (median_band(column) if np.isfinite(column).all() else None for column in means.T)
                rows.append(
                    ["", "95 % band", *("-" if pair is None else "{:.3g} … {:.3g}".format(*pair) for pair in bands)]
                )
        found.append(Table(f"{caption} over the steps of each window: median over the seeds", header, rows))
    rows = []
    for one in results:
        spread = " ({:.0f} … {:.0f})".format(*one.method.spread) if one.method.spread else ""
        published = f"{one.method.total:.0f}{spread}"
        row = [str(one.method), published, "none", "-", "-", "-"]
        if one.seeds:
            total = one.cost.sum(axis=1)
            middle = float(np.median(total))
            away = f"{100 * (middle / one.method.total - 1):+.1f} %" if steps == STEPS else "-"
            row[2:] = [f"{middle:.0f} ({total.min():.0f} … {total.max():.0f})", away, str(one.failed),
                       f"{1e3 * np.median(one.seconds):.1f}"]  # fmt: skip
        rows.append(row)
    caption = f"Cumulative cost: published, of {STEPS} steps; ours, of {steps}: median (range)"
    header = ["method", "published", "ours", "away", "failed steps", "ms a step"]
    return [*found, Table(caption, header, rows)]


def statement(results: Sequence[Results]) -> str:
    """Return in how many windows the published median is one that five seeds of our `results` could have given."""
    outside, judged, lines = [], 0, []
    for one in results:
        if len(one.seeds) < ENOUGH:
            lines.append(f"  {one.method}: not judged, that takes {ENOUGH} seeds, here are {len(one.seeds)}")
            continue
        for name, label in (("td", "|TD|"), ("cost", "L")):
            means = window_means(np.abs(getattr(one, name)))
            for published, column, (begin, end) in zip(getattr(one.method, name), means.T, WINDOWS):
                if np.isfinite(column).all():
                    judged += 1
                    low, high = median_band(column)
                    if not low <= published <= high:
                        where = f"{one.method}, {label}, {begin}-{end}"
                        outside.append(f"  {where}: {published:.3g} is not in [{low:.3g}, {high:.3g}]")
    text = (
        f"In {judged - len(outside)} of {judged} windows the published median lies inside the 95 % band of the medians "
        f"of {PUBLISHED_SEEDS} seeds drawn, with replacement, from ours"
    )
    if judged:
        lines.append(
            f"  By chance alone {0.05 * judged:.1f} of {judged} would lie outside, if the windows were independent "
            "(they are not: |TD| and L are of the same runs). The bands take our seeds for all there are: that other "
            "seeds of ours would give other bands is not in them."
        )
    if not judged:
        text = "Whether five seeds of ours could have given the published medians is not judged"
    return "\n".join([text + (":" if outside or lines else "."), *outside, *lines])


def sent_table(found: Mapping[str, np.ndarray], plant: str, ways: Sequence[str]) -> Table:
    """Tabulate what the published learners reach, by what is sent, on one of the plants of data/make_12_rows.py.

    Parameters
    ----------
    found : mapping of str to ndarray
        The content of rows_12.npz.
    plant : str
        One of its plants.
    ways : sequence of str
        Which of its ways to learn, those of which there are runs; the first one is what the others are compared with,
        seed by seed.
    """
    i, names, lines = list(found["plants"]).index(plant), list(found["ways"]), []
    base = found["cost"][i, names.index(ways[0])]
    for j in (names.index(way) for way in ways):
        done = found["done"][i, j]
        if not done.any():
            continue
        cost, violated, numbers = found["cost"][i, j], found["violated"][i, j][done], found["numbers"][i, j][done]
        kept = done & np.isfinite(cost)
        pairs = kept & np.isfinite(base)
        apart = difference(cost[pairs], base[pairs]) if names[j] != ways[0] and pairs.sum() > 2 else None
        learned = found["greedy"][i, j][kept] / found["best"][i]
        lines.append([
            names[j],
            float(np.median(cost[kept])) if kept.any() else None,
            apart,
            100.0 * float(violated.mean()) if np.isfinite(violated).all() else None,
            float(np.median(learned)) if kept.any() and np.isfinite(learned).all() else None,
            f"{(done & ~kept).sum()} of {done.sum()}",
            int(np.median(numbers)) if np.isfinite(numbers).all() and numbers.any() or "nothing" in names[j] else None,
        ])  # fmt: skip
    head = ["sent", "cost, median", f"minus '{ways[0]}', paired, 95 %", "steps beyond a bound (%)",
            "learned / knows the plant", "lost", "numbers a step"]  # fmt: skip
    caption = f"Plant '{plant}': cost of learning over {STEPS} steps, of runs that were not lost; then what was learned"
    return Table(caption, head, lines, dict(zip(head[1:5], (".0f", "+.0f", ".0f", ".2f"))))


# --- the figures --------------------------------------------------------------------------------------------------


def learning_figure(results: Sequence[Results], steps: int) -> tuple[Figure, str]:
    """Draw |TD| and L of all `results` over `steps`, and the published medians; returns figure and description."""
    width = min(steps, max(10, steps // 80))
    x = (np.arange(steps // width) + 0.5) * width
    said = []
    with plt.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 6.4))
        axes = figure.subplots(2, 2, sharex=True, sharey="row")
        for one in results:
            column = 2 - one.method.order
            colour, style = (COLOURS["blue"], "-") if one.method.distributed else (COLOURS["vermilion"], "--")
            marker, aside = ("o", -18) if one.method.distributed else ("s", 18)
            for row, name in enumerate(("td", "cost")):
                ax, values = axes[row, column], np.abs(getattr(one, name))
                if one.seeds:
                    binned = values[:, : len(x) * width].reshape(len(values), len(x), width)
                    known = ~np.isnan(binned)
                    with np.errstate(invalid="ignore"):
                        binned = np.nansum(binned, axis=2) / known.sum(axis=2)
                    coverage = 0.95 if len(one.seeds) >= ENOUGH else 1.0
                    band(ax, x, binned, f"ours, {_where(one)}", coverage, color=colour, linestyle=style, marker="")
                own = window_means(values)
                for j, ((begin, end), published) in enumerate(zip(WINDOWS, getattr(one.method, name))):
                    if end > steps:
                        continue
                    at, first = (begin + end) / 2 + aside, j == 0
                    # every point its marker: the style thins them out for curves
                    look = {"color": colour, "markeredgecolor": "black", "markersize": 7, "markevery": 1, "zorder": 4}
                    ax.plot(at, published, marker, label=f"published, {_where(one)}" if first else None, **look)
                    if len(one.seeds) >= ENOUGH and np.isfinite(own[:, j]).all():
                        look = {"color": "black", "marker": "_", "markersize": 8, "linewidth": 1.2, "markevery": 1}
                        label = f"95 % of {PUBLISHED_SEEDS} seeds' medians" if first and one is results[-1] else None
                        ax.plot([at, at], median_band(own[:, j]), "-", label=label, zorder=5, **look)
            means = [[median(c) for c in window_means(np.abs(v)).T] for v in (one.td, one.cost)]
            said.append(f"{one.method}: |TD| {', '.join(means[0])}; L {', '.join(means[1])}.")
        for column, order in enumerate(("second", "first")):
            axes[0, column].set_title(f"{order} order")
            axes[1, column].set(xlabel="step k")
            for ax in axes[:, column]:
                ax.set_yscale("log")
        axes[0, 0].set_ylabel(f"|TD|, mean of {width} steps")
        axes[1, 0].set_ylabel(f"stage cost L, mean of {width} steps")
        labelled = {text: handle for ax in axes[0] for handle, text in zip(*ax.get_legend_handles_labels())}
        figure.legend(list(labelled.values()), list(labelled), loc="outside upper center", ncols=3)
    enough = all(len(one.seeds) >= ENOUGH for one in results)
    spread = "the 95 % band" if enough else "the whole range"
    bars = f" Black bars hold 95 % of the medians of {PUBLISHED_SEEDS} of our seeds." if enough else ""
    windows = ", ".join(f"{begin}-{end}" for begin, end in WINDOWS)
    return figure, (
        f"Four panels over {steps} steps, on logarithmic axes: |TD| above, stage cost below, second order on the left, "
        f"first order on the right. Lines are medians over our seeds, shaded is {spread}, markers are the published "
        f"medians.{bars} Our medians over the steps {windows}. " + " ".join(said)
    )


def _where(one: Results) -> str:
    return "distributed" if one.method.distributed else "centralised"


def trajectory_figure(one: Results) -> tuple[Figure, str]:
    """Draw states and inputs of the first run of `one` method; returns the figure and its description."""
    steps, agents = len(one.x), range(one.u.shape[1])
    with plt.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 6.4))
        axes = figure.subplots(3, 1, sharex=True)
        signals = (one.x[:, 0::2], one.x[:, 1::2], one.u)
        for ax, values, label, bounds in zip(axes, signals, ("x1", "x2", "u"), ((0,), (), (-1, 1))):
            for i in agents:
                colour = list(COLOURS.values())[i]
                ax.plot(values[:, i], color=colour, linestyle="-", marker="", linewidth=0.8, label=f"agent {i + 1}")
            for bound in bounds:
                ax.axhline(bound, color="black", linestyle=":", linewidth=1)
            ax.set_ylabel(label)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        axes[2].set_xlabel("step k")
    part = max(1, steps // 10)
    end = one.x[-part:, 0::2]
    early, late = (100 * np.mean(piece < 0) for piece in (one.x[:part, 0::2], end))
    return figure, (
        f"States x1 and x2 and inputs u of the three agents over {steps} steps of one run ({one.method}, "
        f"seed {one.seeds[0]}); dotted: the lower bound of x1, and those of u. x1 is below its bound 0 in "
        f"{early:.0f} % of the first {part} steps and {late:.0f} % of the last {part}; there x1 lies within "
        f"[{end.min():.2f}, {end.max():.2f}], and |u| is at most {np.abs(one.u[-part:]).max():.2f}."
    )


# --- all of it ----------------------------------------------------------------------------------------------------


def second_order(
    folder, seeds: int = PUBLISHED_SEEDS, steps: int = STEPS, jobs: int = -1, save_every: int = 500
) -> bool:
    """Reproduce the comparison: run what is missing, print and write the tables, draw the figures.

    Parameters
    ----------
    folder : path
        Where everything is written, and taken up from: the runs; ``second_order.txt``, the report;
        ``second_order_learning.png`` and ``second_order_run.png``. Made if there is none. To begin anew, delete it.
    seeds : int
        Seeds 1, …, `seeds` of each method.
    steps : int
        Of each run.
    jobs : int
        Runs at a time, as in joblib; -1: one a core.
    save_every : int
        Steps from one saved state of a run to the next.

    Returns
    -------
    bool
        Whether all runs were done. One that fails is named, and left out of the tables.
    """
    folder, which = Path(folder), range(1, seeds + 1)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{seeds} seeds of {len(METHODS)} methods, {steps} steps each; everything is written to {folder}", flush=True)
    failed = run_all(runs(which, steps, folder, save_every), steps, jobs)
    results = [
        load(method, [seed for seed in which if f"{method}, seed {seed}" not in failed], steps, folder)
        for method in METHODS
    ]
    parts = [str(table) for table in tables(results, steps)] + [statement(results)]
    parts.append(
        "The published distributed runs of second order take another step than ours: in them the agents draw different "
        "transitions, and average the Hessians that the step sums. Ours is the centralised step."
    )
    parts.append(write(*learning_figure(results, steps), folder / "second_order_learning.png"))
    shown = next((one for one in results if one.seeds), None)
    if shown is not None:
        parts.append(write(*trajectory_figure(shown), folder / "second_order_run.png"))
    return report(parts, failed, folder / "second_order.txt")
