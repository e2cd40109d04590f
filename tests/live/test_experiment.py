"""The reader's own experiment: the row against the closed loop run by hand, every control, errors that are shown."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters
from mpcrl_course.live.experiment import MPCS, Experiment, experiment_panel
from mpcrl_course.policies.receding import Receding
from mpcrl_course.problems.pendulum import pendulum_mpc, with_model


def nothing(x):
    return np.zeros(len(x))


def brake(x):
    return -np.clip(x[:, 1], -2.0, 2.0)


def small(**options):
    return Experiment({"nothing": nothing, "brake": brake}, one="nothing", other="brake", runs=3, horizon=20, **options)


def test_a_row_is_what_the_closed_loop_gives_on_the_same_starts_and_noise():
    experiment = small(plant=PendulumParameters(mass=1.3, process_noise=0.4, measurement_noise=0.02), seed=3)
    experiment.measure()
    starts = np.random.default_rng([4, 3]).uniform([-np.pi, -1], [np.pi, 1], (3, 2))
    noise = experiment.plant.draw(3, 3, 200)
    costs = [run(f, experiment.plant, starts, noise).cost.sum(0) for f in (nothing, brake)]
    changed, one, cost, other, its, paired, up = experiment.rows[0]
    assert (one, other, up) == ("nothing", "brake", "0 and 0 of 3")
    assert changed == "mass 1.3 kg, process noise 0.4 N m, measurement noise 0.02"
    np.testing.assert_allclose([cost.mean, its.mean, paired.mean], [*map(np.mean, costs), np.mean(costs[0] - costs[1])])


def test_the_told_mpc_believes_the_plant_and_a_margin_weakens_its_motor():
    plant = PendulumParameters(mass=1.4, max_torque=1.5, delay=2)
    for name, mass, torque, delay in (("MPC", 1.0, 2.0, 0), ("MPC, told", 1.4, 1.5, 2)):
        controller = small(plant=plant, margin=0.2).controller(name)
        p = controller.mpc.parameters.unpack(controller.theta)
        assert (p.mass, controller.delay) == (mass, delay) and p.max_torque == pytest.approx(0.8 * torque)


def test_its_mpc_is_lecture_02s():
    experiment = small()
    experiment.one, experiment.runs = "MPC", 2
    experiment.measure()
    mpc = pendulum_mpc(horizon=20)
    controller = Receding(mpc, with_model(mpc, mpc.parameters.initial(), NOMINAL))
    starts = np.random.default_rng([4, 0]).uniform([-np.pi, -1], [np.pi, 1], (2, 2))
    found = run(controller, NOMINAL, starts, NOMINAL.draw(0, 2, 200))
    assert experiment.rows[0][2].mean == pytest.approx(found.cost.sum(0).mean(), rel=1e-9)


def test_a_name_that_nobody_has_is_refused():
    with pytest.raises(ValueError, match=r"no controller is called 'PID'; there are MPC, MPC, told, nothing, brake"):
        small().controller("PID")
    assert small().names() == [*MPCS, "nothing", "brake"]


def test_every_control_reaches_the_experiment():
    panel = experiment_panel({"nothing": nothing, "brake": brake}, one="nothing", other="brake", runs=2, horizon=20)
    values = {"mass": 1.2, "max_torque": 1.5, "delay": 1, "process_noise": 0.3, "measurement_noise": 0.01,
              "margin": 0.1, "runs": 3, "seed": 2, "one": "brake", "other": "nothing"}  # fmt: skip
    assert set(values) == set(panel.controls)
    for name, value in values.items():
        panel.controls[name].value = value
    start, bar = panel.children[1].children
    start.click()
    experiment = panel.experiment
    plant = PendulumParameters(mass=1.2, max_torque=1.5, delay=1, process_noise=0.3, measurement_noise=0.01)
    assert experiment.plant == plant and (experiment.margin, experiment.runs, experiment.seed) == (0.1, 3, 2)
    assert experiment.rows[0][1] == "brake" and "brake" in panel.children[2].value
    assert bar.value == bar.max == 6 and not start.disabled
    assert experiment.rows[0][0].endswith("torque margin 10%")


def test_an_error_of_the_readers_own_controller_is_shown_and_the_next_run_works():
    panel = experiment_panel({"nothing": nothing, "mine": lambda x: 1 / 0}, one="mine", other="nothing", runs=2)
    panel.measure()
    assert "ZeroDivisionError" in panel.children[2].value and panel.experiment.rows == []
    panel.experiment.policies["mine"] = brake
    panel.measure()
    assert len(panel.experiment.rows) == 1 and "<table>" in panel.children[2].value
