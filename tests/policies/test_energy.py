"""The energy rule: it pumps, it catches, and it holds."""

import numpy as np

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, dynamics, energy, upright, wrap
from mpcrl_course.policies.energy import TOP, energy_rule


def test_energy_goes_in_until_there_is_enough_and_out_if_there_is_too_much():
    assert energy([0.0, 0.0]) == TOP
    x = np.random.default_rng(0).uniform([-np.pi, -8.0], [np.pi, 8.0], (1000, 2))
    x = x[np.abs(wrap(x[:, 0])) >= 0.5]
    power, missing = energy_rule(x) * x[:, 1], TOP - energy(x)
    assert (power * missing > 0).all() and (missing > 0).any() and (missing < 0).any()
    assert energy_rule(np.array([[np.pi, 0.0]])) == 2.0  # at rest it has to begin


def test_upright_is_stable_under_it():
    """By central differences of one step; both eigenvalues of the closed loop lie within the unit circle."""
    eps = 1e-6
    ahead = [dynamics(s, energy_rule(s[None])) for s in (*(eps * np.eye(2)), *(-eps * np.eye(2)))]
    jacobian = (np.array(ahead[:2]) - np.array(ahead[2:])).T / (2 * eps)
    assert np.abs(np.linalg.eigvals(jacobian)).max() < 0.95


def test_it_swings_up_from_hanging_and_from_anywhere():
    starts = np.vstack([[np.pi, 0.0], np.random.default_rng(1).uniform([-np.pi, -1.0], [np.pi, 1.0], (29, 2))])
    found = run(energy_rule, NOMINAL, starts, NOMINAL.draw(0, 30, 200))
    assert upright(found.x).all()
