"""The published load-frequency control of four areas, learned again (Automatica 167:111803, 2024, second example).

The areas learn the parameters of their MPCs by first-order Q-learning, distributed (ADMM and consensus) and
centralised, in 100 episodes of 100 steps. Then learned and other controllers meet the same noise:

    initial       what learning starts from: wrong strengths of the tie lines
    true ties     the same with the true strengths; it has no thought of noise
    nominal       the published one without thought of noise: the plant's exact model of all areas (`joint_mpc`)
    scenario      true ties, and one plan of inputs for 25 possible loads at once, drawn anew in each step
    centralised   learned with, and controlled by, one central solve
    distributed   learned with, and controlled by, 50 iterations of ADMM

`power` does all of it, and prints the published figures beside ours. (The published nominal and scenario controllers
met other noise than the learned ones, and had 50 to 100 scenarios.) The randomness of a learning run is
``numpy.random.default_rng(seed)`` and nothing else; the noise of all evaluations is the same.

How runs are saved, taken up and done in parallel: `mpcrl_course.reproduce.runs`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs.power import ANGLE_LIMIT, N_X, NOISE, Noise, PowerParameters, PowerSystem, continuous, held
from mpcrl_course.figures import COLOURS, STYLE, band
from mpcrl_course.figures.tables import Table
from mpcrl_course.learners.behaviour import exponential, perturbed_cost
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.learners.log import load_state, save_state, saved_log
from mpcrl_course.mpc import MPC
from mpcrl_course.network import ADMM, Central, line, mixing_matrix
from mpcrl_course.policies.network_scenario import NetworkScenarios, additive
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.power import joint_mpc, power_mpc
from mpcrl_course.reproduce.runs import Job, finish, report, run_all, write
from mpcrl_course.statistics import interval

#: Steps of an episode; episodes of learning, and of evaluation, as published; scenarios.
LENGTH, EPISODES, EVALUATIONS, SCENARIOS = 100, 100, 100, 25
RHO, ITERATIONS = 50.0, 50
STEP_SIZE, DECAY = 7e-7, 0.98
#: Of the noise of evaluation, and of what the scenarios are.
NOISE_SEED = 2024
#: Published mean cost of an episode, and its steps with an angle beyond its limit.
PUBLISHED = {
    "initial": ("-", "-"), "true ties": ("-", "-"), "nominal": ("349.3", "10.0"), "scenario": ("315-322", "2.9-4.2"),
    "centralised": ("264.9", "0"), "distributed": ("274.3", "0"),
}  # fmt: skip
LEARNED = ("centralised", "distributed")


# --- learning -----------------------------------------------------------------------------------------------------


@cache
def controller(name: str):
    """Return a controller by `name`: 'distributed', 50 iterations of ADMM, or 'centralised', one central solve."""
    return ADMM(power_mpc(), RHO, ITERATIONS) if name == "distributed" else Central(power_mpc(), RHO)


def learner(name: str, seed: int, step_size: float = STEP_SIZE) -> DistributedQLearning:
    """Return the learner with the published settings.

    An update ends each episode, from 150 transitions of which 100 are the latest; the step size and the probability of
    exploring shrink with each.

    Parameters
    ----------
    name : str
        One of `LEARNED`.
    seed : int
    step_size : float
        Of the first update.
    """
    return DistributedQLearning(
        controller(name),
        PowerSystem(steps=LENGTH),
        np.random.default_rng(seed),
        P=mixing_matrix(4, line(4)) if name == "distributed" else None,
        order=1,
        step_size=exponential(step_size, DECAY),
        every=LENGTH,
        replay=(3 * LENGTH, 3 * LENGTH // 2, LENGTH),
        behaviour=perturbed_cost(exponential(0.5, 0.8, every=LENGTH), 0.04),
    )


def learning_path(name: str, seed: int, folder) -> Path:
    """Return the path in `folder` of the run of a learner's `name` and `seed`: ``path.json`` names ``path-k.npz``."""
    return Path(folder) / f"power_{name}_seed{seed}"


def learning_run(name: str, seed: int, episodes: int, folder, save_every: int = 1000) -> str:
    """Do what is missing of a learning run and save it; returns why it failed, or nothing.

    Parameters
    ----------
    name, seed
        See `learner`.
    episodes : int
        In all.
    folder, save_every
        See `learning_path` and `finish`.
    """
    return finish(lambda: learner(name, seed), learning_path(name, seed, folder), LENGTH * episodes, save_every)


# --- evaluation ---------------------------------------------------------------------------------------------------


def true_ties(network=None) -> np.ndarray:
    """Return the initial parameters of a `network`, by default `power_mpc`, with the true strengths of tie lines."""
    network = network or power_mpc()
    P = PowerParameters().ties()
    return network.parameters.pack(**{f"P_tie_{i + 1}": P[i, own] for i, own in enumerate(network.neighbours)})


def load_matrix() -> np.ndarray:
    """Return what a load noise (4,) adds to the next state (20,), shape (20, 4)."""
    B = held(*continuous(PowerParameters()))[1]
    E = np.zeros((4, N_X, 4))
    E[:, :4] = B[:, 4:].reshape(4, 4, 4)
    return E.reshape(-1, 4)


@cache
def _scenarios(n: int) -> NetworkScenarios:
    return NetworkScenarios(power_mpc(), additive(load_matrix()), np.zeros((n, 4)), shared="all")


def make_policy(name: str, theta=None, scenarios: int = SCENARIOS) -> Callable[[int], Callable]:
    """Return a function ``make(episode) -> controller``.

    Parameters
    ----------
    name : str
        One of `PUBLISHED`.
    theta : array_like, shape (122,), optional
        Of the learned ones.
    scenarios : int
        How many the scenario MPC has.
    """
    if name == "scenario":
        plan, true = _scenarios(scenarios), true_ties()

        def make_scenario(episode):
            rng = np.random.default_rng([NOISE_SEED, 1, episode])
            return rowwise(lambda s: plan.policy(true, s, rng.uniform(-NOISE, NOISE, (scenarios, 4))))

        return make_scenario
    if name == "distributed":
        return lambda episode: Receding(controller("distributed"), theta)
    mpc = MPC(joint_mpc()) if name == "nominal" else controller("centralised").mpc
    fixed = {"initial": mpc.parameters.initial, "nominal": mpc.parameters.initial, "true ties": true_ties}
    known = fixed[name]() if name in fixed else theta
    return lambda episode: rowwise(lambda s: mpc.V(known, s).u0)


def evaluate(make: Callable[[int], Callable], episodes: int = EVALUATIONS) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost of each episode, and its steps with an angle beyond its limit; the noise is always the same.

    Parameters
    ----------
    make : callable
        See `make_policy`.
    episodes : int
        How many; the first ones of more.
    """
    noise = np.random.default_rng(NOISE_SEED).uniform(-NOISE, NOISE, (episodes, LENGTH, 4))
    plant, cost, violated = PowerParameters(), np.zeros(episodes), np.zeros(episodes, int)
    load = plant.draw(0, 1, LENGTH).load
    for i, e in enumerate(noise):
        found = run(make(i), plant, np.zeros((1, plant.n_states)), Noise(e[:, None], load))
        cost[i] = found.cost.sum()
        violated[i] = (np.abs(found.x[1:, 0, ::N_X]) > ANGLE_LIMIT).any(axis=1).sum()
    return cost, violated


def evaluation_path(name: str, seed: int, episodes: int, folder) -> Path:
    """Return the path in `folder` of the evaluation of `name`; `seed` and `episodes` are those of learning, if any."""
    learned = f"_seed{seed}_after{episodes}" if name in LEARNED else ""
    return Path(folder) / f"power_evaluation_{name.replace(' ', '_')}{learned}"


def evaluation_run(name: str, seed: int, episodes: int, evaluations: int, scenarios: int, folder) -> str:
    """Evaluate a controller, unless that was done; returns why it failed, or nothing.

    Parameters
    ----------
    name, seed, episodes, folder
        See `evaluation_path`.
    evaluations, scenarios : int
        Episodes of evaluation; scenarios of the scenario MPC.
    """
    path = evaluation_path(name, seed, episodes, folder)
    try:
        index = path.with_name(f"{path.name}.json")
        wanted = {"k": evaluations, "scenarios": scenarios if name == "scenario" else 0}
        if index.exists() and {key: load_state(path)[1][key] for key in wanted} == wanted:
            return ""
        theta = None
        if name in LEARNED:
            theta = saved_log(learning_path(name, seed, folder)).theta[LENGTH * episodes]
        began = time.perf_counter()
        cost, violated = evaluate(make_policy(name, theta, scenarios), evaluations)
        seconds = (time.perf_counter() - began) / (LENGTH * evaluations)
        save_state(path, {"cost": cost, "violated": violated}, wanted | {"seconds": seconds})
        return ""
    except Exception as error:  # the others go on, and it is reported with the controller's name
        return f"{type(error).__name__}: {error}"


@dataclass
class Evaluation:
    """A controller's episodes, all with the same noise.

    Attributes
    ----------
    name : str
    seeds : list of int
        Of learning; [0] if nothing is learned.
    cost, violated : ndarray, shape (seeds, evaluations)
    seconds : float
        Median wall time of a step.
    """

    name: str
    seeds: list[int]
    cost: np.ndarray
    violated: np.ndarray
    seconds: float


def load_evaluation(name: str, seeds: Sequence[int], episodes: int, folder) -> Evaluation:
    """Read the evaluations of a controller from all `seeds` of learning; [0] is the one of a controller that has none.

    Parameters
    ----------
    name, seeds, episodes, folder
        See `evaluation_path`.
    """
    saved = [load_state(evaluation_path(name, seed, episodes, folder)) for seed in seeds]
    cost, violated = (np.array([arrays[what] for arrays, _ in saved]) for what in ("cost", "violated"))
    return Evaluation(name, list(seeds), cost, violated, float(np.median([scalars["seconds"] for _, scalars in saved])))


# --- the numbers --------------------------------------------------------------------------------------------------


def below(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return by which part of its mean `one` is below `other`, and the limits of the paired 95 % interval.

    Parameters
    ----------
    one, other : ndarray, shape (seeds, episodes) or (1, episodes)
        Costs of episodes with the same noise; seeds are averaged first.
    """
    difference = np.atleast_2d(other).mean(axis=0) - np.atleast_2d(one).mean(axis=0)
    middle, half = interval(difference) if len(difference) > 1 else (difference.mean(), np.nan)
    base = np.mean(other)
    return float(middle / base), float((middle - half) / base), float((middle + half) / base)


def table(evaluations: Sequence[Evaluation]) -> Table:
    """Return the published figures beside our `evaluations`: mean cost of an episode and steps beyond a limit."""
    rows, reference = [], next((one for one in evaluations if one.name == "nominal"), None)
    for one in evaluations:
        means, violated = one.cost.mean(axis=1), one.violated.mean(axis=1)
        spread = f" ({means.min():.1f} … {means.max():.1f})" if len(means) > 1 else ""
        away = "-"
        if reference is not None and one is not reference:
            middle, low, high = below(one.cost, reference.cost)
            away = f"{-100 * middle:+.1f} % [{-100 * high:+.1f}, {-100 * low:+.1f}]"
        rows.append([one.name, *PUBLISHED[one.name], f"{means.mean():.1f}{spread}", f"{violated.mean():.2f}", away,
                     f"{1e3 * one.seconds:.1f}"])  # fmt: skip
    header = [
        "controller",
        "published cost",
        "violated",
        "ours",
        "violated",
        "against nominal [95 %, paired]",
        "ms a step",
    ]
    episodes = evaluations[0].cost.shape[1]
    caption = (
        f"Mean cost of an episode and its steps beyond a limit, over {episodes} episodes with the same noise; "
        "learned ones: mean over their seeds (range)"
    )
    return Table(caption, header, rows)


def learned_table(thetas: Mapping[str, np.ndarray]) -> Table:
    """Return what was learned most, by median over seeds, of the parameters `thetas` (seeds, 122) of each learner."""
    network, rows = power_mpc(), []
    names, initial = network.parameters.names, network.parameters.initial()
    change = {name: np.median(theta, axis=0) - initial for name, theta in thetas.items()}
    largest = sorted(range(len(names)), key=lambda j: -max(abs(one[j]) for one in change.values()))[:8]
    for j in largest:
        rows.append([names[j], f"{initial[j]:.3f}", *(f"{change[name][j]:+.4f}" for name in thetas)])
    return Table(
        "The eight parameters that changed most (median over the seeds)", ["parameter", "initial", *thetas], rows
    )


# --- the figure ---------------------------------------------------------------------------------------------------


def figure(costs: Mapping[str, np.ndarray], evaluations: Sequence[Evaluation]) -> tuple[Figure, str]:
    """Draw the costs of the learning episodes and of the evaluations; returns the figure and its description.

    Parameters
    ----------
    costs : mapping of str to ndarray, shape (seeds, episodes)
        Cost of each episode of learning.
    evaluations : sequence of Evaluation
    """
    said = []
    with plt.rc_context(STYLE):
        drawn = Figure(figsize=(10.0, 4.2))
        left, right = drawn.subplots(1, 2)
        for (name, cost), colour, style in zip(costs.items(), ("blue", "vermilion"), ("-", "--")):
            x = np.arange(1, cost.shape[1] + 1)
            band(left, x, cost, name, 1.0, color=COLOURS[colour], linestyle=style, marker="")
            medians = ", ".join(f"{np.median(cost[:, e - 1]):.0f}" for e in (1, 10, 30, 100) if e <= cost.shape[1])
            said.append(f"{name}: {medians}")
        left.set(xlabel="episode of learning", ylabel="cost of the episode")
        left.set_ylim(bottom=0.0)
        left.legend()
        diamond = {"marker": "D", "markerfacecolor": COLOURS["orange"], "markeredgecolor": "black", "markevery": 1}
        right.boxplot([one.cost.ravel() for one in evaluations], showmeans=True, whis=(0, 100), meanprops=diamond,
                      medianprops={"color": "black"})  # fmt: skip
        right.set_xticks(range(1, len(evaluations) + 1), [one.name for one in evaluations], rotation=20)
        for i, one in enumerate(evaluations, start=1):
            published = PUBLISHED[one.name][0]
            if published != "-":
                middle = np.mean([float(part) for part in published.split("-")])
                label = "published mean" if one.name == "nominal" else None
                right.plot(i + 0.35, middle, "<", color=COLOURS["blue"], label=label, markersize=7, markevery=1)
        right.set_ylabel("cost of an episode of evaluation")
        if right.get_legend_handles_labels()[0]:
            right.legend()
    means = ", ".join(f"{one.name} {one.cost.mean():.0f}" for one in evaluations)
    return drawn, (
        "Left: cost of the episodes of learning, as median over the seeds with the whole range; "
        f"after 1, 10, 30 and 100 episodes {'; '.join(said)}. Right: a box plot of the costs of the episodes of "
        f"evaluation for each controller (whiskers to the extremes, diamond: mean, triangle: published mean). Means: "
        f"{means}."
    )


# --- all of it ----------------------------------------------------------------------------------------------------


def power(
    folder, seeds: int = 5, episodes: int = EPISODES, jobs: int = -1, evaluations: int = EVALUATIONS,
    scenarios: int = SCENARIOS,
) -> bool:  # fmt: skip
    """Reproduce the example: do what is missing of learning and evaluation, print and write the tables, draw a figure.

    Parameters
    ----------
    folder : path
        Where everything is written, and taken up from: the runs; ``power.txt``, the report; ``power.png``. Made if
        there is none. To begin anew, delete it.
    seeds : int
        Seeds 1, …, `seeds` of learning, centralised and distributed.
    episodes : int
        Of learning.
    jobs : int
        Runs at a time, as in joblib; -1: one a core.
    evaluations : int
        Episodes of evaluation, of every controller.
    scenarios : int
        Of the scenario MPC.

    Returns
    -------
    bool
        Whether all runs were done. One that fails is named, and left out of the tables.
    """
    folder, which = Path(folder), range(1, seeds + 1)
    folder.mkdir(parents=True, exist_ok=True)
    each = f"{seeds} seed{'s' * (seeds != 1)} of 2 ways to learn, {episodes} episodes each"
    print(f"{each}; everything is written to {folder}", flush=True)
    failed = run_all(
        [
            Job(f"{name}, seed {seed}", learning_path(name, seed, folder), learning_run, (name, seed, episodes, folder))
            for seed in which for name in LEARNED
        ],
        LENGTH * episodes, jobs,
    )  # fmt: skip
    wanted = [(name, 0) for name in PUBLISHED if name not in LEARNED]
    wanted += [(name, seed) for name in LEARNED for seed in which if f"{name}, seed {seed}" not in failed]
    failed |= run_all(
        [
            Job(f"evaluation of {name}" + f", seed {seed}" * (seed > 0), evaluation_path(name, seed, episodes, folder),
                evaluation_run, (name, seed, episodes, evaluations, scenarios, folder))
            for name, seed in wanted
        ],
        evaluations, jobs,
    )  # fmt: skip
    done: dict[str, list[int]] = {name: [] for name in PUBLISHED}
    for name, seed in wanted:
        if f"evaluation of {name}" + f", seed {seed}" * (seed > 0) not in failed:
            done[name].append(seed)
    results = [load_evaluation(name, found, episodes, folder) for name, found in done.items() if found]
    learned = {
        name: [saved_log(learning_path(name, seed, folder)) for seed in done[name]] for name in LEARNED if done[name]
    }
    parts = []
    if results:
        parts.append(str(table(results)))
    if learned:
        parts.append(str(learned_table({
            name: np.array([log.theta[LENGTH * episodes] for log in logs]) for name, logs in learned.items()
        })))  # fmt: skip
        costs = {
            name: np.array([log.cost[: LENGTH * episodes].reshape(episodes, LENGTH).sum(axis=1) for log in logs])
            for name, logs in learned.items()
        }
        parts.append(write(*figure(costs, results), folder / "power.png"))
    return report(parts, failed, folder / "power.txt")
