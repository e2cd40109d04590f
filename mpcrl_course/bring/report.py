"""What each of the course's ways makes of a reader's plant, in one fair table: the same starts and noise for all.

resting input   u = rest                                          the baseline that costs nothing
LQR             u = rest - K (x - set point)                      knows the model at the set point, and no limits
linear MPC      the same model, and the limits, N stages
MPC             the model as the reader wrote it                  where that is not linear
Q-learning      on the linear MPC's A, B, b and V0                where the cost is quadratic; learns from transitions
DDPG            two networks                                      knows no model; learns from transitions

    cost of a run = sum of the stage costs over `steps` steps

Difference and interval are paired: the same starts and noise. Nothing was tuned to the plant, and what learns is given
few transitions: a row says what these settings give here, and not what a method can do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import casadi as ca
import matplotlib.pyplot as plt
import numpy as np

from mpcrl_course.bring.plant import InUnits, OwnPlant, OwnPlantEnv, read
from mpcrl_course.closed_loop import Run, run
from mpcrl_course.figures import COLOURS, Table, show
from mpcrl_course.learners import DDPG, Learner, QLearning, perturbed_cost
from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters
from mpcrl_course.policies import Receding
from mpcrl_course.statistics import bootstrap, decision_seconds
from mpcrl_course.validation import flag, instance, whole


def own_mpc(plant: OwnPlant, linear: bool = False) -> MPC:
    """Return the MPC of a plant, in its own units: z, v and cost / unit, discounted.

    min  V0 + gamma^N z_N'P z_N + sum_k gamma^k l(z_k, v_k)    s.t.  z_0 = z,  z_{k+1} = the model,  the limits

    Parameters
    ----------
    plant : OwnPlant
    linear : bool
        Whether its model is A z + B v + b, with A, B, b and V0 as parameters; else as the reader wrote it, without any.
        V0 is initially what the noise costs from now on under the LQR, gamma tr(P W) / (1 - gamma).
    """
    x, u, ahead, cost = instance(plant, OwnPlant, "plant").symbols
    linear = flag(linear, "linear")
    point, gamma, N = np.array(plant.set_point), plant.discount, plant.horizon
    z, v = ca.SX.sym("z", plant.n_states), ca.SX.sym("v", 1)
    within = [point + plant.scale * z, plant.rest + plant.half * v]
    inside = ca.Function("inside", [x, u], [ahead, cost])(*within)
    model = ca.Function("model", [z, v], [(inside[0] - point) / plant.scale, inside[1] / plant.unit])
    n = plant.n_states
    noise = (
        0.0 if gamma == 1.0 else gamma / (1.0 - gamma) * np.diag(plant.regulator.P) @ (plant.noise / plant.scale) ** 2
    )
    blocks = {"V0": noise, "A": plant.A, "B": plant.B[:, 0], "b": np.zeros(n)}

    def stage_cost(k, z, v, p):
        one = gamma**k * model(z, v)[1]
        return one + p.V0 if linear and k == 0 else one

    low, high = ((bound - plant.rest) / plant.half for bound in plant.limits)
    problem = OptimalControlProblem(
        n_states=n, n_inputs=1, horizon=N, discount=gamma, parameters=Parameters(**(blocks if linear else {})),
        dynamics=(lambda z, v, p: p.A @ z + p.B @ v + p.b) if linear else (lambda z, v, p: model(z, v)[0]),
        stage_cost=stage_cost, terminal_cost=lambda z, p: gamma**N * z.T @ plant.regulator.P @ z,
        input_lower=low, input_upper=high,
    )  # fmt: skip
    quadratic = plant.quadratic and (linear or plant.linear)
    return MPC(problem, None if quadratic else "rti")


@dataclass(frozen=True, eq=False)
class Report:
    """What was measured.

    Attributes
    ----------
    plant : OwnPlant
    table : Table
        A row a controller.
    notes : list of str
        What was left out, or failed, and why.
    controllers : dict of name to callable
        As they were compared, for more runs: from x (n, n_states) to u (n, 1).
    runs : dict of name to Run
    learners : dict of name to Learner
        With their logs.
    """

    plant: OwnPlant
    table: Table
    notes: list[str]
    controllers: dict[str, Callable]
    runs: dict[str, Run]
    learners: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join([str(self.table), *(f"- {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return self.table._repr_html_() + "".join(f"<p>{escape(note)}</p>" for note in self.notes)

    def draw(self, i: int = 0) -> None:
        """Show states and input of all controllers, from start number `i`."""
        names, n, fall = list(self.runs), self.plant.n_states, self.plant.set_point
        fig, axes = plt.subplots(n + 1, 1, figsize=(8, 1.7 * (n + 1)), sharex=True, layout="constrained")
        styles, colours = ("-", "--", "-.", ":"), list(COLOURS.values())
        for j, (name, found) in enumerate(self.runs.items()):
            line = {"color": colours[j % len(colours)], "linestyle": styles[j % 4], "label": name}
            until = min(int(found.ended[i]) + 1, len(found.u))
            for state in range(n):
                axes[state].plot(found.x[: until + 1, i, state], **line)
            axes[n].step(np.arange(until), found.u[:until, i, 0], where="post", **line)
        for state in range(n):
            axes[state].axhline(fall[state], color="0.6", linewidth=0.8)
            axes[state].set_ylabel(f"x[{state}]")
        axes[n].set(ylabel="u[0]", xlabel="step")
        fig.legend(*axes[n].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        cost = ", ".join(f"{name} {found.cost[:, i].sum():.3g}" for name, found in self.runs.items())
        show(fig, f"{self.plant.name}, one run of each of {len(names)} controllers from the same start. Cost: {cost}.")


def report(
    plant: OwnPlant | str | os.PathLike,
    *,
    truth: OwnPlant | None = None,
    starts: int = 20,
    steps: int = 5000,
    trainings: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> Report:
    """Measure LQR, MPC, Q-learning and DDPG on a plant of one's own.

    Parameters
    ----------
    plant : OwnPlant or path
        Of a reader's file: see `read`.
    truth : OwnPlant, optional
        What is really there, where the plant is only a model of it: what is controlled, what pays and what learners
        meet. Of as many states, with the same limits.
    starts : int
        How many runs, from random starts.
    steps : int
        Of each training; 0: nothing learns.
    trainings : int
        With seeds of their own: from two on, intervals hold for other trainings, too.
    seed : int
    progress : bool
        Whether to show progress bars.

    Raises
    ------
    OwnPlantError
        Something is wrong with the plant.
    """
    plant = plant if isinstance(plant, OwnPlant) else read(plant)
    starts, steps, trainings = whole(starts, "starts", 2), whole(steps, "steps", 0), whole(trainings, "trainings", 1)
    seed, progress = whole(seed, "seed", 0), flag(progress, "progress")
    real = plant if truth is None else instance(truth, OwnPlant, "truth")
    if (real.n_states, real.limits) != (plant.n_states, plant.limits):
        raise ValueError(f"truth has {real.n_states} states and limits {real.limits}, the model others")
    notes: list[str] = []
    learners: dict[str, Learner] = {}
    rows: dict[str, tuple[str, int, list[Callable]]] = {
        "resting input": ("where it rests", 0, [lambda x: np.full((len(x), 1), plant.rest)]),
        "LQR": ("A, B", 0, [InUnits(lambda z: -z @ plant.regulator.K.T, plant)]),
    }
    linear = own_mpc(plant, linear=True)
    if plant.linear and plant.quadratic:
        rows["MPC"] = "the model", 0, [InUnits(Receding(linear), plant)]
        notes.append("The model is linear: the linear MPC is the MPC, and Q-learning begins with it.")
    else:
        rows["linear MPC"] = "A, B, limits", 0, [InUnits(Receding(linear), plant)]
        rows["MPC"] = "the model", 0, [InUnits(Receding(own_mpc(plant)), plant)]
    if steps and plant.quadratic:
        found = [_q_learning(plant, real, linear, steps, seed + i, progress) for i in range(trainings)]
        learners["Q-learning"] = found[0]
        rows["Q-learning on the linear MPC"] = (
            "A, B, limits", steps, [InUnits(Receding(linear, one.theta), plant) for one in found],
        )  # fmt: skip
        notes += [f"Q-learning stopped: {one.log.stopped}." for one in found if one.log.stopped]
    elif steps:
        notes.append("The cost is not quadratic, so that the linear MPC is no quadratic problem: no Q-learning on it.")
    if steps:
        agents = [_ddpg(plant, real, steps, seed + i, progress) for i in range(trainings)]
        learners["DDPG"] = agents[0]
        rows["DDPG"] = "nothing", steps, [InUnits(one.agent.policy, plant) for one in agents]
        notes += [f"DDPG stopped: {one.log.stopped}." for one in agents if one.log.stopped]
        few = "one training" if trainings == 1 else f"{trainings} trainings"
        notes.append(
            f"What learns had {steps} transitions and {few} with settings that were not tuned: no promise. "
            + ("With trainings=3 the intervals hold for other trainings, too." if trainings == 1 else "")
        )
    return _compared(plant, real, rows, starts, seed, notes, learners)


def _q_learning(plant: OwnPlant, real: OwnPlant, mpc: MPC, steps: int, seed: int, progress: bool) -> QLearning:
    env, theta = OwnPlantEnv(real, units=plant), mpc.parameters.initial()
    spread = np.full(theta.size, 0.3)  # theta stays where the model is still one of this plant
    spread[mpc.parameters.index("V0")] = np.inf
    rng, explore = np.random.default_rng(seed), perturbed_cost(0.3, 0.5)
    bounds = {"lower": theta - spread, "upper": theta + spread}
    learner = QLearning(mpc, env, rng, step_size=lambda k: 0.05 / (1.0 + k / 500.0), behaviour=explore, **bounds)
    return learner.run(steps, progress=progress)


def _ddpg(plant: OwnPlant, real: OwnPlant, steps: int, seed: int, progress: bool) -> DDPG:
    env, rng = OwnPlantEnv(real, units=plant), np.random.default_rng(seed)
    learner = DDPG(env, rng, gamma=plant.discount, huber=10.0)
    return learner.run(steps, progress=progress)


def _compared(plant, real, rows, starts, seed, notes, learners) -> Report:
    """Drive every controller from the same starts with the same noise, and make the table."""
    begin, noise = real.random_starts(starts, seed + 100), real.draw(seed + 200, starts, real.steps)
    found = {name: [run(one, real, begin, noise) for one in ways] for name, (_, _, ways) in rows.items()}
    costs = {name: np.array([one.cost.sum(axis=0) for one in runs]) for name, runs in found.items()}
    table = []
    for name, (knows, transitions, ways) in rows.items():
        runs = found[name]
        left = np.mean([one.ended < real.steps for one in runs])
        failed = int(sum((one.status == "failed").sum() for one in runs))
        if failed:
            notes.append(f"{name}: {failed} of {sum(one.status.size for one in runs)} decisions found no plan.")
        apart = None if name == "MPC" else bootstrap(costs[name] - costs["MPC"])
        ms = 1e3 * float(np.median(decision_seconds(ways[0], runs[0].x[:-1, 0])))
        table.append([name, knows, transitions, bootstrap(costs[name]), apart, 100.0 * left, ms])
    header = ["controller", "knows", "transitions", "cost", "minus the MPC's", "left (%)", "a decision (ms)"]
    name = plant.name if real is plant else f"{real.name}, of which {plant.name} is the model"
    caption = f"{name}: sum of costs over {real.steps} steps, mean and 95 % interval over {starts} paired starts"
    some = Table(caption, header, table, formats={"left (%)": ".0f"})
    controllers = {name: ways[0] for name, (_, _, ways) in rows.items()}
    return Report(plant, some, notes, controllers, {name: runs[0] for name, runs in found.items()}, learners)
