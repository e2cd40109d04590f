"""A population from a configuration: planned for each k, saved, loaded again, deployed, drawn.

The configuration is that of the published code (arXiv 2412.00661), or one of the same form. Plans are exact, so that
there is nothing to train; deployments are simulated by the counts of the agents, and beside them stands the exact value
where it can be computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from mpcrl_course.figures import STYLE
from mpcrl_course.figures.tables import Table
from mpcrl_course.population import (
    Config,
    Planned,
    deployed,
    load_plans,
    number,
    sampled_policy,
    save_plans,
    simulate,
)
from mpcrl_course.population.solve import DENSE, Stage
from mpcrl_course.reproduce.runs import write
from mpcrl_course.statistics import Interval, interval

HEADER = ["k", "states", "actions", "compared", "CPU s", "residual"]
WIDTHS = [4, 8, 12, 10, 8, 9]


class Row(NamedTuple):
    """The deployment of a k: discounted and plain `totals` of the runs, and the exact `value`, or None.

    Attributes
    ----------
    k : int
    totals : ndarray, shape (runs,)
    curve : ndarray, shape (runs, horizon)
        Discounted rewards, added up.
    value : float or None
    """

    k: int
    totals: np.ndarray
    curve: np.ndarray
    value: float | None


def sizes(planned: Planned) -> tuple[int, int]:
    """Return the numbers of states (s_g, c) and of actions (a_g, T), of all states together, of what was `planned`."""
    G, B, S, A = planned.model.sizes
    return G * number(planned.k, S), G * B * number(planned.k, S * A)


def train(config: Config, ks: Sequence[int]) -> Iterator[Planned]:
    """Plan for each of the `ks` from a `config`, a line each, and yield the plans."""
    print("  ".join(f"{head:>{width}}" for head, width in zip(HEADER, WIDTHS)), flush=True)
    began = process_time()
    for stage in Stage.every(config.model, max(ks)):
        if stage.k in ks:
            planned = stage.solve()
            states, actions = sizes(planned)
            said = stage.k, states, actions, planned.choices, f"{process_time() - began:.2f}", f"{planned.residual:.0e}"
            print("  ".join(f"{cell:>{width}}" for cell, width in zip(said, WIDTHS)), flush=True)
            began = process_time()
            yield planned


def deploy(planned: Planned, config: Config, samples: str, rng: np.random.Generator) -> Row:
    """Deploy what was `planned` on the n agents of a `config`, on "private" or "shared" `samples`, drawn by `rng`."""
    policy, n, model = sampled_policy(planned), config.n, planned.model
    rewards = simulate(policy, n, config.horizon, config.runs, rng, samples).reward
    curve = np.cumsum(model.gamma ** np.arange(len(rewards)) * rewards.T, axis=1)
    small = model.sizes[0] * number(n, model.sizes[2]) <= DENSE
    return Row(planned.k, curve[:, -1], curve, deployed(policy, n, samples) if small else None)


def population(config: Config, ks: Sequence[int], folder: Path, samples: str = "private", seed: int = 0) -> list[Row]:
    """Plan, save, load again, deploy and draw; prints as it goes and returns the deployments.

    Parameters
    ----------
    config : Config
    ks : sequence of int
        Sizes of samples, at most the number of agents.
    folder : Path
        Gets plans.npz, deployments.csv, curves.csv and the picture.
    samples : str
        "private" or "shared".
    seed : int
    """
    if config.unneeded:
        print(f"{' and '.join(config.unneeded)}: not needed, since every expectation is exact.")
    save_plans(folder / "plans.npz", list(train(config, ks)), config)
    return deployments(folder / "plans.npz", config, folder, samples, seed)


def deployments(plans, config: Config, folder: Path, samples: str = "private", seed: int = 0) -> list[Row]:
    """Deploy saved `plans`, a path; `config`, `folder`, `samples` and `seed` as `population` takes them."""
    # a seed for all k: the same starts
    found = [planned for planned in load_plans(plans)[0] if planned.k <= config.n]
    rows = [deploy(planned, config, samples, np.random.default_rng(seed)) for planned in found]
    if not rows:
        raise ValueError(f"no plan is for at most n = {config.n} agents")
    how = f"{config.runs} runs of {config.horizon} steps, n = {config.n}, {samples} samples"
    table = Table(
        f"Discounted reward of {config.model.name}, {how}; 95 % intervals",
        ["k", "simulated", "exact"],
        [[row.k, _interval(row.totals), row.value] for row in rows],
        formats={"exact": ".4f"},
    )
    print(f"\n{table}")
    table.to_csv(folder / "deployments.csv")
    names = [f"k{row.k} {what}" for row in rows for what in ("mean", "half width")]
    columns = [column for row in rows for column in _band(row.curve)]
    with (folder / "curves.csv").open("w", encoding="utf-8", newline="") as file:
        np.savetxt(file, np.column_stack([np.arange(1, config.horizon + 1), *columns]), delimiter=",", fmt="%.8g",
                   header=",".join(["step", *names]), comments="")  # fmt: skip
    if config.plot:
        print(picture(rows, how, config, folder))
    print(f"wrote {folder}")
    return rows


def picture(rows: Sequence[Row], how: str, config: Config, folder: Path) -> str:
    """Draw the `rows`, and write the picture of the `config` into the `folder`; `how` they came about is said in it."""
    with plt.rc_context(STYLE):
        fig, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.6))
        for row in [rows[i] for i in sorted({0, len(rows) // 2, len(rows) - 1})]:
            mean, half = _band(row.curve)
            steps = np.arange(1, len(mean) + 1)
            (line,) = left.plot(steps, mean, label=f"k = {row.k}")
            left.fill_between(steps, mean - half, mean + half, color=line.get_color(), alpha=0.2, linewidth=0)
        left.set(xlabel="step", ylabel="discounted reward so far", title="cumulative reward")
        left.legend()
        means, halves = np.transpose([_interval(row.totals) for row in rows])
        ks = [row.k for row in rows]
        right.errorbar(ks, means, halves, fmt="o", capsize=3, label="simulated")
        if rows[0].value is not None:
            right.plot(ks, [row.value for row in rows], "s--", markevery=1, label="exact")
        right.set(xlabel="agents in a sample, k", title="what a sample is worth")
        right.legend()
        ends = f"from {means[0]:.3f} at k = {ks[0]} to {means[-1]:.3f} at k = {ks[-1]}"
        said = write(fig, f"Discounted reward of {config.model.name}, {how}: {ends}", folder / str(config.plot))
        plt.close(fig)
    return said


def _interval(values: np.ndarray) -> Interval:
    return interval(values) if len(values) > 1 else Interval(float(values[0]), float("nan"))


def _band(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array([_interval(column) for column in curve.T])
    return pairs[:, 0], pairs[:, 1]
