"""Scenario MPC of the pendulum for several masses: against its definition, its first plan, and what it waits for."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters, dynamics, upright
from mpcrl_course.mpc import SolverError
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.policies.scenario import mass_scenarios
from mpcrl_course.problems.pendulum import pendulum_mpc, terminal_factor


def test_one_scenario_is_the_plain_mpc():
    starts, noise = np.array([[2.5, 0.3], [0.4, -1.0]]), NOMINAL.draw(0, 2, 40)
    one = run(mass_scenarios(masses=(1.0,), horizon=40), NOMINAL, starts, noise)
    plain = run(Receding(pendulum_mpc(horizon=40)), NOMINAL, starts, noise)
    np.testing.assert_allclose(one.u, plain.u, atol=1e-5)


def test_the_first_torque_minimises_the_mean_cost_to_go():
    """The definition: min over u of L(s, u) + the mean of V_i(f_i(s, u)), one MPC a mass, by a scalar search."""
    s, masses = np.array([0.1, -0.2]), (0.7, 1.3)
    torque = mass_scenarios(masses, horizon=41)(s)[0, 0]
    plants = [PendulumParameters(mass=mass) for mass in masses]
    mpcs = [pendulum_mpc(plant, horizon=40, solver="ipopt") for plant in plants]

    def mean(u):
        ahead = [dynamics(s, np.array([u]), plant) for plant in plants]
        return 0.001 * u**2 + np.mean([m.V(m.parameters.initial(), x).value for m, x in zip(mpcs, ahead)])

    found = minimize_scalar(mean, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 1e-5})
    assert abs(torque) < 1.95 and torque == pytest.approx(found.x, abs=1e-3)


def test_scenarios_share_their_first_torque_and_each_has_its_terminal_cost(monkeypatch):
    controller = mass_scenarios(horizon=40)
    x = np.array([[0.2, 0.0], [0.3 - 2.0 * np.pi, 0.5]])
    before = x.copy()
    torques = controller(x)
    np.testing.assert_array_equal(x, before)  # what it is given stays as it is
    assert torques.shape == (2, 1) and np.abs(torques).max() <= 2.0
    assert all(np.ptp(plan.u[0]) < 1e-6 < np.ptp(plan.u[1]) for plan in controller.plans)
    p = controller.mpc.parameters.unpack(controller.theta)
    assert [p.mass_1, p.mass_2, p.mass_3] == [0.7, 1.0, 1.3]
    for name, mass in (("terminal_1", 0.7), ("terminal_3", 1.3)):
        np.testing.assert_array_equal(getattr(p, name), terminal_factor(PendulumParameters(mass=mass)))
    for mass in (0.7, 1.3):  # here no scenario needs a swing
        found = run(controller, PendulumParameters(mass=mass), [[0.2, 0.0]], NOMINAL.draw(0, 1, 80))
        assert upright(found.x, within=0.05).all()
    # where a solve fails, the plan goes on; angles may be wrapped
    plan = controller.plans[0]

    def fails(*args, **options):
        raise SolverError("not converged", "on purpose", np.zeros(6), None, None)

    monkeypatch.setattr(controller.mpc, "policy", fails)
    for k in (1, 2):
        assert controller(found.x[-1] + [[2.0 * np.pi, 0.0]])[0, 0] == pytest.approx(2.0 * plan.u[k, 0])
    with pytest.raises(ValueError, match="not finite"):
        controller([[np.nan, 0.0]])


def test_to_wait_for_news_costs_scenarios_next_to_nothing():
    """Half way up, where 0.7 kg can be held and 1.3 kg cannot: to hold once, and then know the mass, or to go on."""
    s, mean = np.array([0.5, 0.0]), {}
    for name, torque in (("hold", -3.5 * np.sin(0.5)), ("go on", -2.0)):
        costs = []
        for mass in (0.7, 1.0, 1.3):
            plant = PendulumParameters(mass=mass)
            mpc, ahead = pendulum_mpc(plant, horizon=80), dynamics(s, np.array([torque]), plant)
            costs.append(first_plan(mpc, mpc.parameters.initial(), ahead).value)
        mean[name] = 0.001 * torque**2 + np.mean(costs)
    assert mean["go on"] < mean["hold"] < 1.005 * mean["go on"]
