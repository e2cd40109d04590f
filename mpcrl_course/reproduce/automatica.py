"""The published academic example of first-order distributed Q-learning, made again (Automatica 167:111803, 2024).

Three linear plants in a line learn the models, offsets, bounds and linear costs of their MPCs in one episode of 10 000
steps, distributed (50 iterations of ADMM, 100 rounds of consensus) and centralised. Then learned and other controllers
meet the same noise for 100 steps:

    initial                 what learning starts from: a wrong model, no coupling, no thought of noise
    nominal                 the same undiscounted, with the plant's own bounds
    scenario, wrong model   the nominal one with one plan for 25 disturbances at once
    scenario, true model    the same with the true model
    learned                 after 1000 steps and at the end, controlled as they learned: distributed or centralised

Scenarios share their whole plan and are drawn once, as published. (The published scenario MPC without the true model
has a wrong model of its own, drawn around the true one.)

**Kinks.** Parameters change every second step, so every second time Q is asked for the very action that its own V has
chosen, and where that puts the next state on a bound, Q is not differentiable: whatever multiplier of that row lies in
[0, weight], it gives an element of the generalised gradient. An active-set solver answers 0, an interior-point solver
(the published one) the middle. It decides: of the seeds 1 … 5, with 0 three runs each, centralised and distributed,
lose the plant; with the middle, of `middle_gradient`, only seed 1 does. (There exploration has soon pushed one agent's
offset b far beyond the noise's mean -0.05. What it then expects keeps it off its bound, so that it does not find out;
it retreats ever further, up to the other bound.)

A run's randomness is ``numpy.random.default_rng(seed)``, seeds 1, 2, …, and nothing else; all evaluations have the
same noise. How runs are saved, taken up and done in parallel: `mpcrl_course.reproduce.runs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs.linear import START, A, B
from mpcrl_course.envs.network import COUPLING, LinearNetwork, NetworkParameters
from mpcrl_course.figures import COLOURS, STYLE, band
from mpcrl_course.figures.tables import Table
from mpcrl_course.learners.behaviour import exponential, perturbed_cost
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.learners.log import load_state, save_state, saved_log
from mpcrl_course.network import ADMM, Central, NetworkController, NetworkSolution, line, mixing_matrix
from mpcrl_course.policies.network_scenario import NetworkScenarios, additive
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.network import LOWER, UPPER, WEIGHT, network_mpc
from mpcrl_course.reproduce.runs import Job, finish, median, ours, report, run_all, write
from mpcrl_course.statistics import interval

#: Steps of a published run, and of the window over which |TD| and L are averaged at both of its ends.
STEPS, WINDOW = 10_000, 500
#: What the last window of a run is to reach: mean |TD|, mean L.
TARGETS = (0.08, 0.16)
RHO, ITERATIONS, ROUNDS = 0.5, 50, 100
EVERY = 2
#: Steps of an evaluation and its number of noises; scenarios; after how many steps what was learned is evaluated, too.
LENGTH, EVALUATIONS, SCENARIOS, EARLY = 100, 20, 25, 1000
NOISE_SEED, SCENARIO_SEED = 2024, 25
#: A next state this near to a bound lies on it.
TOUCHING = 1e-6


@dataclass(frozen=True)
class Method:
    """One way to learn, and what is published of it.

    Attributes
    ----------
    distributed : bool
        Else with a centre.
    td, cost : tuple of float
        Means of |TD| and L of one run over its first and last 500 steps.
    """

    distributed: bool
    td: tuple[float, float]
    cost: tuple[float, float]

    def __str__(self):
        return "distributed" if self.distributed else "centralised"


METHODS = (Method(True, (0.74, 0.063), (0.61, 0.13)), Method(False, (0.95, 0.054), (0.77, 0.096)))
#: Published sum of L over 100 steps, one run each, all agents with the same noise; the learned ones by their method's
#: name.
PUBLISHED = {
    "initial": "312", "nominal": "360", "scenario, wrong model": "24.0", "scenario, true model": "7.67",
}  # fmt: skip
PUBLISHED_LEARNED = {"distributed": ("22.2", "10.2"), "centralised": ("-", "-")}


# --- learning -----------------------------------------------------------------------------------------------------


def middle_gradient(q: NetworkSolution, i: int) -> np.ndarray:
    """Return dQ/dtheta_i, with multiplier weight / 2 in every row of the next state that only just holds.

    The Lagrangian is linear in the multipliers: replacing lam by weight / 2 adds (weight / 2 - lam) times the row's own
    derivative in theta_i, of  lb + x_lb - x_1  or  x_1 - ub - x_ub,  x_1 = A x + B u + b + sum A_cj x_j.

    Parameters
    ----------
    q : NetworkSolution
        Of the first-order network.
    i : int
        Agent, counted from 0.
    """
    g, own, solution = q.gradient(i), q.problems[i], q.local[i]
    parameters, m = own.agent.parameters, solution.multipliers
    p = parameters.unpack(solution.theta[: own.n_theta])
    copies = solution.u[0, 1:].reshape(-1, 2)
    sides = ("x_lb", -1.0, LOWER + p.x_lb, m.lam_lb), ("x_ub", 1.0, UPPER + p.x_ub, m.lam_ub)
    for x_bound, side, bound, lam in sides:
        for j in np.flatnonzero(np.abs(solution.x[1] - bound) < TOUCHING):
            e = side * np.eye(2)[j]
            row = {f"A_c{n + 1}": np.outer(e, c) for n, c in enumerate(copies)}
            row |= {x_bound: -e, "b": e, "A": np.outer(e, solution.x[0]), "B": e * solution.u[0, 0]}
            g = g + (0.5 * WEIGHT[1] / 2 - lam[j]) * parameters.pack(np.zeros(own.n_theta), **row)
    return g


@cache
def controller(distributed: bool) -> NetworkController:
    """Return what learns and controls: 50 iterations of ADMM if `distributed`, else one central solve."""
    network = network_mpc(order=1)
    return ADMM(network, RHO, ITERATIONS) if distributed else Central(network, RHO)


def schedules() -> tuple[Callable, Callable]:
    """Return the step size, of the update's number, and the probability of exploring, of the step's."""
    return exponential(6e-5, 0.9996), exponential(0.7, 0.99, every=EVERY)


def state_path(method: Method, seed: int, folder) -> Path:
    """Return the path in `folder` of the run of a `method` and `seed`: ``path.json`` names its ``path-k.npz``."""
    return Path(folder) / f"automatica_{method}_seed{seed}"


def learning_run(method: Method, seed: int, steps: int, folder, save_every: int = 500) -> str:
    """Do what is missing of a run and save it; returns why it failed, or nothing.

    Parameters
    ----------
    method : Method
    seed, steps : int
    folder, save_every
        See `automatica`.
    """
    step_size, epsilon = schedules()

    def learner():
        return DistributedQLearning(
            controller(method.distributed),
            LinearNetwork(weight=WEIGHT[1]),
            np.random.default_rng(seed),
            P=mixing_matrix(3, line(3), 0.25) if method.distributed else None,
            rounds=ROUNDS,
            step_size=step_size,
            order=1,
            behaviour=perturbed_cost(epsilon, 1.0),
            every=EVERY,
            gradient=middle_gradient,
        )

    return shorten(finish(learner, state_path(method, seed, folder), steps, save_every), 160, placeholder=" …")


@dataclass
class Results:
    """All runs of one method that were done, stacked.

    Attributes
    ----------
    method : Method
    seeds : list of int
    td, cost : ndarray, shape (seeds, steps)
        TD error (nan in a step whose solve failed) and stage cost.
    diverged : list of int
        Seeds whose run had to be given up.
    seconds : ndarray, shape (seeds,)
        Wall time of a step.
    """

    method: Method
    seeds: list[int]
    td: np.ndarray
    cost: np.ndarray
    diverged: list[int]
    seconds: np.ndarray


def load(method: Method, seeds: Sequence[int], diverged: Sequence[int], steps: int, folder) -> Results:
    """Read the first `steps` steps of runs that were done.

    Parameters
    ----------
    method, seeds, steps, folder
        Of these runs.
    diverged : sequence of int
        Seeds of those that were given up.
    """
    logs = [saved_log(state_path(method, seed, folder)) for seed in seeds]
    td, cost = (np.array([getattr(log, name)[:steps] for log in logs]).reshape(-1, steps) for name in ("td", "cost"))
    seconds = np.array([log.seconds / log.steps for log in logs])
    return Results(method, list(seeds), td, cost, list(diverged), seconds)


# --- evaluation ---------------------------------------------------------------------------------------------------


def true_model() -> dict[str, np.ndarray]:
    """Return the blocks of the network's parameters that say what the plants are."""
    blocks: dict[str, np.ndarray] = {}
    for i, neighbours in enumerate(network_mpc(order=1).neighbours, start=1):
        blocks |= {f"A_{i}": A, f"B_{i}": B}
        blocks |= {f"A_c{j + 1}_{i}": np.diag([0.0, COUPLING]) for j in range(len(neighbours))}
    return blocks


@cache
def _scenarios(name: str, n: int) -> tuple[NetworkScenarios, np.ndarray]:
    """Return a scenario MPC and the parameters to ask it with."""
    network = network_mpc(order=1, discount=1.0)
    noise = np.random.default_rng(SCENARIO_SEED).uniform(-0.1, 0.0, (n, network.n_agents))
    plan = NetworkScenarios(network, additive(np.kron(np.eye(3), [[1.0], [0.0]])), noise, shared="all")
    return plan, own_bounds(network, **(true_model() if name == "scenario, true model" else {}))


def own_bounds(network, **blocks) -> np.ndarray:
    """Return the initial parameters of a `network` with the plant's own bounds, and the named `blocks` replaced."""
    return network.parameters.pack(**{f"x_ub_{i + 1}": np.zeros(2) for i in range(network.n_agents)}, **blocks)


def make_policy(name: str, theta=None, scenarios: int = SCENARIOS) -> Callable[[], Callable]:
    """Return a function that makes a controller, one without a past for each run.

    Parameters
    ----------
    name : str
        One of `PUBLISHED`, 'distributed' or 'centralised'.
    theta : array_like, shape (n_theta,), optional
        Of the last two.
    scenarios : int
    """
    if name.startswith("scenario"):
        plan, known = _scenarios(name, scenarios)
        return lambda: rowwise(lambda s: plan.policy(known, s))
    if name == "distributed":
        return lambda: Receding(controller(True), theta)
    network = network_mpc(order=1, discount=1.0) if name == "nominal" else network_mpc(order=1)
    mpc = Central(network).mpc
    known = {"nominal": own_bounds(network), "initial": network.parameters.initial()}.get(name, theta)
    return lambda: rowwise(lambda s: mpc.V(known, s).u0)


def evaluate(
    make: Callable[[], Callable], evaluations: int = EVALUATIONS, common: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each noise, the sum of L and how many steps had a state beyond a bound; the noise is always the same.

    Parameters
    ----------
    make : callable
        See `make_policy`.
    evaluations : int
        Number of noises; the first ones of more.
    common : bool
        Whether all agents have one noise, agent 1's, as in the published evaluations; else each has its own, as in
        learning.
    """
    plant, start = NetworkParameters(weight=WEIGHT[1]), np.tile(START, (1, 3))
    cost, violated = np.zeros(evaluations), np.zeros(evaluations, int)
    for n in range(evaluations):
        noise = plant.draw([NOISE_SEED, n], 1, LENGTH)
        if common:
            noise = noise._replace(e=np.repeat(noise.e[..., :1], noise.e.shape[-1], axis=-1))
        found = run(make(), plant, start, noise)
        x = found.x[:-1].reshape(LENGTH, 3, 2)
        cost[n], violated[n] = found.cost.sum(), ((x < LOWER) | (x > UPPER)).any(axis=(1, 2)).sum()
    return cost, violated


def evaluation_path(name: str, seed: int, after: int, folder) -> Path:
    """Return the path in `folder` of the evaluation of a controller.

    Parameters
    ----------
    name : str
        See `make_policy`.
    seed, after : int
        Of learning, and the number of its steps; seed 0: the controller has learned nothing.
    folder : path
    """
    learned = f"_seed{seed}_after{after}" if seed else ""
    return Path(folder) / f"automatica_evaluation_{name.replace(', ', '_').replace(' ', '_')}{learned}"


def evaluation_run(name: str, seed: int, after: int, evaluations: int, scenarios: int, folder) -> str:
    """Evaluate a controller, unless that was done; returns why it failed, or nothing.

    Parameters
    ----------
    name, seed, after, folder
        See `evaluation_path`.
    evaluations, scenarios : int
        Number of noises; of scenarios of a scenario MPC.
    """
    path = evaluation_path(name, seed, after, folder)
    try:
        index, wanted = path.with_name(f"{path.name}.json"), {"k": evaluations, "scenarios": scenarios}
        wanted |= {"common": True}
        if index.exists() and {key: load_state(path)[1].get(key) for key in wanted} == wanted:
            return ""
        theta = None
        if seed:
            method = next(one for one in METHODS if str(one) == name)
            theta = saved_log(state_path(method, seed, folder)).theta[after]
        make = make_policy(name, theta, scenarios)
        cost, violated = evaluate(make, evaluations)
        common, _ = evaluate(make, evaluations, common=True)
        save_state(path, {"cost": cost, "violated": violated, "common": common}, wanted)
        return ""
    except Exception as error:  # the others go on, and it is reported with the controller's name
        return f"{type(error).__name__}: {error}"


# --- the numbers --------------------------------------------------------------------------------------------------


def ends(values, steps: int) -> np.ndarray:
    """Return the means over the first and the last window, shape (seeds, 2), of values (seeds, steps) without nan."""
    width = window(steps)
    values = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore"):
        parts = (values[:, :width], values[:, -width:])
        return np.array([np.nansum(part, axis=1) / (~np.isnan(part)).sum(axis=1) for part in parts]).T


def window(steps: int) -> int:
    """Return the number of steps of a window: 500, or half of a shorter run."""
    return max(1, min(WINDOW, steps // 2))


def learning_table(results: Sequence[Results], steps: int) -> Table:
    """Return the published means over both windows of `steps` beside our `results`."""
    width, rows = window(steps), []
    for one in results:
        published = [f"{value:.3g}" for value in (*one.method.td, *one.method.cost)]
        rows.append([str(one.method), "published, 1 run", *published, "-", "-"])
        columns = np.concatenate([ends(np.abs(one.td), steps), ends(one.cost, steps)], axis=1).T
        rows.append(["", f"{ours(len(one.seeds))}, median", *(median(column) for column in columns),
                     f"{len(one.diverged)} of {len(one.seeds) + len(one.diverged)}",
                     f"{1e3 * np.median(one.seconds):.1f}" if one.seeds else "-"])  # fmt: skip
        if len(one.seeds) > 1:
            rows.append(["", "range", *(f"{c.min():.3g} … {c.max():.3g}" for c in columns), "", ""])
    header = ["method", "whose", f"|TD| first {width}", f"|TD| last {width}", f"L first {width}", f"L last {width}",
              "given up", "ms a step"]  # fmt: skip
    return Table(f"Mean |TD| and stage cost L at both ends of {steps} steps (published: of {STEPS})", header, rows)


def statement(results: Sequence[Results], steps: int) -> str:
    """Return whether the median of all `results` of `steps` reaches the targets; a run given up reaches none."""
    goal = f"mean |TD| of at most {TARGETS[0]:g} and mean L of at most {TARGETS[1]:g} over the last {WINDOW} steps"
    if steps != STEPS:
        return f"Targets ({goal}) are not judged: that takes {STEPS} steps, here are {steps}."
    lines = [f"Targets: {goal}, by the median of all runs; one that was given up counts as worse than all others."]
    for one in results:
        lost = np.full(len(one.diverged), np.inf)
        columns = [np.concatenate([ends(np.abs(v), steps)[:, 1], lost]) for v in (one.td, one.cost)]
        if not len(columns[0]):
            lines.append(f"  {one.method}: no run")
            continue
        both = int(np.logical_and(*(column <= target for column, target in zip(columns, TARGETS))).sum())
        verdicts = []
        for column, target, label in zip(columns, TARGETS, ("|TD|", "L")):
            middle = float(np.median(column))
            verdicts.append(f"{label} {middle:.3g} {'reached' if middle <= target else f'MISSED ({target:g})'}")
        text = f"  {one.method}: {', '.join(verdicts)}; {both} of {len(columns[0])} runs reach both"
        if one.diverged:
            text += f"; given up: seed {', '.join(map(str, one.diverged))}"
        lines.append(text)
    return "\n".join(lines)


def evaluation_table(evaluations: Mapping[tuple[str, int], np.ndarray], steps: int) -> Table:
    """Return the sums of L, published beside ours, and what each differs by from learning distributed.

    Parameters
    ----------
    evaluations : mapping of (name, after) to ndarray, shape (3, seeds, noises)
        Sums of L, violated steps, and sums of L with one noise for all agents; `after` is the number of steps learned,
        0 of those that learned nothing.
    steps : int
        Of learning.
    """
    rows, reference = [], evaluations.get(("distributed", steps))
    for (name, after), (cost, violated, common) in evaluations.items():
        label, published = name, PUBLISHED.get(name, "-")
        if name in PUBLISHED_LEARNED:
            label = f"learned, {name}, {after} steps"
            published = dict(zip((EARLY, STEPS), PUBLISHED_LEARNED[name])).get(after, "-")
        means, own, away = cost.mean(axis=1), cost.mean(axis=0), "-"
        spread = f"{means.min():.4g} … {means.max():.4g}" if len(means) > 1 else "-"
        if reference is not None and (name, after) != ("distributed", steps) and len(own) > 1:
            away = _interval(own - reference[0].mean(axis=0), "+")
        middle = _interval(own) if len(own) > 1 else f"{own[0]:.4g}"
        alike = f"{common.mean():.4g}"
        if len(own) > 1:
            alike += f" ± {common.std(axis=1, ddof=1).mean():.2g}"
        rows.append([label, published, alike, middle, spread, away, f"{100 * violated.mean() / LENGTH:.1f} %"])
    n = next(iter(evaluations.values())).shape[2]
    header = ["controller", "published", "ours, one noise for all agents: mean ± of a run",
              "ours, a noise each [95 %]", "range over seeds", "minus learned, distributed [95 %, paired]",
              "steps beyond a bound"]  # fmt: skip
    caption = (
        f"Sum of L over {LENGTH} steps; ours: mean over {n} noises, the same for all, and over the runs that were done"
    )
    return Table(caption, header, rows)


def _interval(values, sign: str = "") -> str:
    middle, half = interval(values)
    return f"{middle:{sign}.4g} [{middle - half:{sign}.4g}, {middle + half:{sign}.4g}]"


# --- the figure ---------------------------------------------------------------------------------------------------


def figure(results: Sequence[Results], steps: int) -> tuple[Figure, str]:
    """Draw |TD| and L of all `results` over `steps`; returns the figure and its description."""
    width, said = min(steps, max(10, steps // 100)), []
    x = (np.arange(steps // width) + 0.5) * width
    with plt.rc_context(STYLE):
        drawn = Figure(figsize=(10.0, 4.4))
        axes = drawn.subplots(1, 2, sharex=True)
        for one in results:
            colour, style, marker = ("blue", "-", "o") if one.method.distributed else ("vermilion", "--", "s")
            for ax, values, published in zip(axes, (np.abs(one.td), one.cost), (one.method.td, one.method.cost)):
                look = {"color": COLOURS[colour], "linestyle": style}
                if one.seeds:
                    binned = values[:, : len(x) * width].reshape(len(values), len(x), width)
                    with np.errstate(invalid="ignore"):
                        binned = np.nansum(binned, axis=2) / (~np.isnan(binned)).sum(axis=2)
                    band(ax, x, binned, f"ours, {one.method}", 1.0, marker="", **look)
                if steps == STEPS:
                    ax.plot([WINDOW / 2, steps - WINDOW / 2], published, marker, color=COLOURS[colour], markersize=7,
                            markeredgecolor="black", markevery=1, label=f"published, {one.method}")  # fmt: skip
            medians = [", ".join(median(c) for c in ends(v, steps).T) for v in (np.abs(one.td), one.cost)]
            said.append(f"{one.method} ({ours(len(one.seeds))}): |TD| {medians[0]}; L {medians[1]}.")
        for ax, label in zip(axes, ("|TD|", "stage cost L")):
            ax.set(xlabel="step k", ylabel=f"{label}, mean of {width} steps", yscale="log")
        drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn, (
        f"|TD| on the left and stage cost L on the right over {steps} steps, on logarithmic axes: medians over our "
        f"runs that were done, shaded their whole range{', markers: published' if steps == STEPS else ''}. Our medians "
        f"over the first and the last {window(steps)} steps: {' '.join(said)}"
    )


# --- all of it ----------------------------------------------------------------------------------------------------


def automatica(
    folder, seeds: int = 5, steps: int = STEPS, jobs: int = -1, evaluations: int = EVALUATIONS,
    scenarios: int = SCENARIOS, save_every: int = 500,
) -> bool:  # fmt: skip
    """Reproduce the example: do what is missing of learning and evaluation, print and write the tables, draw a figure.

    Parameters
    ----------
    folder : path
        Where everything is written, and taken up from: the runs; ``automatica.txt``, the report; ``automatica.png``.
        Made if there is none. To begin anew, delete it.
    seeds : int
        Seeds 1, …, `seeds` of both ways to learn.
    steps : int
        Of each run.
    jobs : int
        Runs at a time, as in joblib; -1: one a core.
    evaluations : int
        Noises that every controller meets.
    scenarios : int
        Of the scenario MPCs.
    save_every : int
        Steps from one saved state of a run to the next.

    Returns
    -------
    bool
        Whether all runs were done. One that fails is named, and left out of the tables.
    """
    folder, which = Path(folder), range(1, seeds + 1)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{seeds} seeds of two ways to learn, {steps} steps each; everything is written to {folder}", flush=True)
    runs = {
        (method, seed): Job(f"{method}, seed {seed}", state_path(method, seed, folder), learning_run,
                            (method, seed, steps, folder, save_every))
        for seed in which for method in METHODS
    }  # fmt: skip
    failed = run_all(list(runs.values()), steps, jobs)
    results = []
    for method in METHODS:
        done = [seed for seed in which if runs[method, seed].name not in failed]
        results.append(load(method, done, [seed for seed in which if seed not in done], steps, folder))
    wanted = [(name, 0, 0) for name in PUBLISHED]
    for after in sorted({min(EARLY, steps), steps}):
        wanted += [(str(one.method), seed, after) for one in results for seed in one.seeds]
    asked = {
        one: Job(f"evaluation of {one[0]}" + f", seed {one[1]}, {one[2]} steps" * (one[1] > 0),
                 evaluation_path(*one, folder), evaluation_run, (*one, evaluations, scenarios, folder))
        for one in wanted
    }  # fmt: skip
    failed |= run_all(list(asked.values()), evaluations, jobs)
    found: dict[tuple[str, int], list] = {}
    for (name, seed, after), one in asked.items():
        if one.name not in failed:
            arrays = load_state(evaluation_path(name, seed, after, folder))[0]
            found.setdefault((name, after), []).append([arrays["cost"], arrays["violated"], arrays["common"]])
    parts = [str(learning_table(results, steps)), statement(results, steps)]
    if found:
        evaluated = {key: np.array(values).transpose(1, 0, 2) for key, values in found.items()}
        parts.append(str(evaluation_table(evaluated, steps)))
        parts.append(
            "Published sums are of one run each, in which all agents had the same noise (in learning each its own): "
            "compare the column beside them, whose ± is the standard deviation of one run. The published scenario "
            "MPC of 24.0 has another wrong model than ours (drawn around the true one; ours is what learning starts "
            "from)."
        )
    parts.append(write(*figure(results, steps), folder / "automatica.png"))
    return report(parts, failed, folder / "automatica.txt")
