"""An experiment of one's own on lecture 04's pendulum: what is changed, who competes, and with how many runs.

Both controllers get the same starts and the same noise, drawn beforehand, so that their costs are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import ipywidgets
import numpy as np

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, Noise, PendulumParameters, upright
from mpcrl_course.figures.tables import Table
from mpcrl_course.live.controls import choice, row, slider
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.pendulum import pendulum_mpc, with_model
from mpcrl_course.statistics import difference, interval

#: Steps of a run: 10 s.
STEPS = 200
MPCS = {"MPC": "with the nominal model", "MPC, told": "with the plant's mass, delay and torque limit"}


@dataclass
class Experiment:
    """Two controllers on a pendulum that may be changed; `measure` appends a row to `rows`.

    Parameters
    ----------
    policies : mapping of str to callable
        Controllers that need no model, states (n, 2) to torques (n, 1) or (n,), by the names to choose them by; beside
        them there are the two `MPCS`.
    plant : PendulumParameters
        What drives the runs.
    one, other : str
        Who competes.
    margin : float
        By so large a share of its torque limit the MPCs plan for a weaker motor.
    runs : int
        Starts, two at least.
    horizon : int
        Of the MPCs, in steps of 0.05 s.
    seed : int
        Of the starts, which lie anywhere with at most 1 rad/s, and of the noise.

    Attributes
    ----------
    rows : list of list
        One for each measurement: what was changed, cost of one and of the other (95 % intervals over the runs), their
        paired difference, and how many runs of either ended upright.
    """

    policies: Mapping[str, Callable]
    plant: PendulumParameters = NOMINAL
    one: str = "MPC"
    other: str = "MPC, told"
    margin: float = 0.0
    runs: int = 4
    horizon: int = 80
    seed: int = 0
    rows: list[list] = field(default_factory=list)

    HEADER = ("changed", "one", "cost of 10 s", "other", "its cost", "one − other, paired", "upright at the end")

    def names(self) -> list[str]:
        """Return who may compete."""
        return [*MPCS, *self.policies]

    def controller(self, name: str) -> Callable:
        """Return the controller of a `name`, for the plant as it is now; ValueError if there is none of this name."""
        if name in self.policies:
            return self.policies[name]
        if name not in MPCS:
            raise ValueError(f"no controller is called {name!r}; there are {', '.join(self.names())}")
        model = self.plant if name == "MPC, told" else NOMINAL
        model = replace(model, max_torque=(1.0 - self.margin) * model.max_torque)
        mpc = pendulum_mpc(horizon=self.horizon)
        return Receding(mpc, with_model(mpc, mpc.parameters.initial(), model), delay=model.delay)

    def changed(self) -> str:
        """Return in words how the plant differs from the nominal one, and the margin."""
        units = {"mass": "kg", "friction": "N m s", "delay": "steps", "max_torque": "N m", "process_noise": "N m",
                 "measurement_noise": ""}  # fmt: skip
        words = [f"{name.replace('_', ' ')} {getattr(self.plant, name):g} {unit}".strip()
                 for name, unit in units.items() if getattr(self.plant, name) != getattr(NOMINAL, name)]  # fmt: skip
        words += [f"torque margin {self.margin:.0%}"] if self.margin else []
        return ", ".join(words) or "nothing"

    def measure(self, progress: Callable[[int, int], object] = lambda done, of: None) -> Table:
        """Run both controllers, append a row, and return the table of all rows; `progress` is told of every run."""
        starts = np.random.default_rng([4, self.seed]).uniform([-np.pi, -1], [np.pi, 1], (self.runs, 2))
        noise = self.plant.draw(self.seed, self.runs, STEPS)
        costs, up = {}, {}
        for i, name in enumerate((self.one, self.other)):
            controller, found = self.controller(name), []
            for k in range(self.runs):  # one after the other, to tell of it
                found.append(run(controller, self.plant, starts[[k]], Noise(*(part[:, [k]] for part in noise))))
                progress(i * self.runs + k + 1, 2 * self.runs)
            costs[name] = np.array([f.cost.sum() for f in found])
            up[name] = sum(bool(upright(f.x)[0]) for f in found)
        one, other = costs[self.one], costs[self.other]
        self.rows.append([self.changed(), self.one, interval(one), self.other, interval(other), difference(one, other),
                          f"{up[self.one]} and {up[self.other]} of {self.runs}"])  # fmt: skip
        return self.table()

    def table(self) -> Table:
        """Return the table of what has been measured so far."""
        return Table("Your experiments (95 % over the runs)", list(self.HEADER), self.rows)


def experiment_panel(policies: Mapping[str, Callable], *, width: int = 800, **options) -> ipywidgets.VBox:
    """Return the controls of an `Experiment`, in its attribute `experiment`, and below them the table of its rows.

    Parameters
    ----------
    policies, **options
        See `Experiment`.
    width : int
        In pixels.
    """
    experiment = Experiment(policies, **options)
    p = experiment.plant
    others = {name: "" for name in experiment.names()}
    controls = {
        "mass": slider("plant: mass (kg)", p.mass, 0.4, 2.0, 0.05),
        "max_torque": slider("plant: torque limit (N m)", p.max_torque, 1.0, 4.0, 0.1),
        "delay": slider("plant: delay (steps of 50 ms)", p.delay, 0, 4),
        "process_noise": slider("plant: torque noise (N m)", p.process_noise, 0.0, 2.0, 0.1),
        "measurement_noise": slider("measurement noise (rad)", p.measurement_noise, 0.0, 0.1, 0.005, ".3f"),
        "margin": slider("MPCs: torque margin (–)", experiment.margin, 0.0, 0.4, 0.05),
        "runs": slider("budget (runs of each)", experiment.runs, 2, 20),
        "seed": slider("seed of starts and noise", experiment.seed, 0, 20),
        "one": choice("one", others | MPCS, experiment.one),
        "other": choice("other", others | MPCS, experiment.other),
    }
    start = ipywidgets.Button(description="Measure", icon="flask", tooltip="runs both on the same starts and noise")
    bar = ipywidgets.IntProgress(0, 0, 1, layout={"width": "260px"})
    said = ipywidgets.HTML(f"<i>Nothing measured yet. {len(controls)} controls, then Measure.</i>")

    def progress(done, of):
        bar.max, bar.value = of, done

    def measure(_=None):
        values = {name: control.value for name, control in controls.items()}
        for name in ("one", "other", "margin", "runs", "seed"):
            setattr(experiment, name, values.pop(name))
        try:
            experiment.plant = replace(experiment.plant, **values)
            start.disabled = True
            table = experiment.measure(progress)
        except Exception as error:  # a reader's own controller may raise anything
            said.value = f"<b>{type(error).__name__}</b>: {str(error) or 'without words'}"
            return
        finally:
            start.disabled = False
        said.value = table._repr_html_()

    start.on_click(measure)
    panel = ipywidgets.VBox([row(list(controls.values()), 190, width), ipywidgets.HBox([start, bar]), said])
    panel.experiment, panel.controls, panel.measure = experiment, controls, measure
    return panel
