"""Whether an answer of ADMM has converged: residuals by definition, and what they say of value and gradient."""

from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.network import ADMM, Central, RelativeResidual, line, ring, star
from mpcrl_course.problems.network import network_mpc

LINE = network_mpc(3)
COUPLED = LINE.parameters.pack(**{f"A_c_{i}": -0.1 for i in (1, 2, 3)})


def questions(net, n, seed=0):
    rng = np.random.default_rng(seed)
    low, high = [-0.1, -0.3] * net.n_agents, [0.8, 0.4] * net.n_agents
    return [(rng.uniform(low, high), rng.uniform(-0.8, 0.8, net.n_agents)) for _ in range(n)]


def errors(answer, exact):
    """Relative errors of value and gradient, the latter by its largest entry."""
    g, wanted = answer.gradient(), exact.gradient()
    return abs(answer.value / exact.value - 1.0), np.abs(g - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("lost", [None, lambda t, i, j: t % 3 == 1 and i == 0])
def test_the_residuals_are_those_of_the_recorded_iterates(lost):
    admm = ADMM(LINE, rho=3.0, iterations=12, record=True, lost=lost)
    q = admm.Q(COUPLED, *questions(LINE, 1)[0])
    y, c, z = (part[-1] for part in q.history)
    E = np.eye(len(z))[admm.owner]
    norm = np.linalg.norm
    nu = np.concatenate([own.nu.ravel() for own in q.local])
    tilt = np.concatenate([own.theta[-len(c[part]) :] for own, part in zip(q.local, admm.c_of)])
    feasible = y - E @ np.linalg.lstsq(E, y, rcond=None)[0]  # nearest multiplier with E'y = 0
    assert q.relative.primal == pytest.approx(norm(c - E @ z) / max(norm(c), norm(E @ z)), rel=1e-9)
    assert q.relative.dual == pytest.approx(norm(tilt + 3.0 * c - feasible) / max(norm(feasible), norm(nu)), rel=1e-9)
    if lost is None:  # the textbook's dual residual
        moved = 3.0 * E @ (z - q.history.z[-2])
        assert q.relative.dual == pytest.approx(norm(moved) / max(norm(y), norm(nu)), rel=1e-9)


def test_converged_means_right_and_the_wrong_ones_are_flagged():
    """Penalties from far too small to far too large, and graphs: value within 1e-3, gradient within 1e-2."""
    seen = []
    for graph, rhos in ((line, (0.01, 1.0, 1000.0)), (ring, (0.3, 1.0)), (star, (1.0, 10.0))):
        net = network_mpc(3 if graph is line else 4, graph(3 if graph is line else 4))
        theta = net.parameters.pack(**{f"A_c_{i + 1}": -0.1 for i in range(net.n_agents)})
        central, doors = Central(net), [ADMM(net, rho=rho) for rho in rhos]
        for s, a in questions(net, 12):
            exact = central.Q(theta, s, a)
            assert exact.converged and exact.relative == (0.0, 0.0)
            seen += [
                (one.converged, one.strict, *errors(one, exact)) for one in (door.Q(theta, s, a) for door in doors)
            ]
    converged, strict, value, gradient = np.array(seen).T
    wrong = (value > 1e-3) | (gradient > 1e-2)
    assert wrong.sum() >= 15 and not (wrong * converged).any() and not (wrong * strict).any()
    assert converged.sum() >= 40


def test_a_penalty_far_too_large_is_flagged():
    admm, central, worst = ADMM(LINE, rho=1000.0), Central(LINE), 0.0
    for s, a in questions(LINE, 12):
        answer = admm.Q(COUPLED, s, a)
        worst = max(worst, errors(answer, central.Q(COUPLED, s, a))[0])
        assert not answer.converged and not answer.strict
    assert worst > 0.05


def test_along_a_run_warm_starts_stay_converged():
    admm, central, s, q = ADMM(LINE), Central(LINE), np.array([0.3, 0.1] * 3), None
    v = admm.V(COUPLED, s)
    for _ in range(15):
        q = admm.Q(COUPLED, s, v.u0, warm_start=q)
        assert v.converged and q.converged and max(errors(q, central.Q(COUPLED, s, v.u0))) < 1e-7
        s = np.concatenate([own.x[1] for own in v.local])
        v = admm.V(COUPLED, s, warm_start=v)


def test_the_units_of_the_cost_do_not_matter():
    """All weights and rho times 1000: the same iterates, the same relative residuals."""
    s, a = questions(LINE, 1, seed=3)[0]
    found = []
    for scale in (1.0, 1000.0):
        costs = {"W_x": np.full(2, scale**0.5), "W_u": [scale**0.5], "w": np.full(2, 500.0 * scale)}
        theta = LINE.parameters.pack(COUPLED, **{f"{k}_{i}": v for k, v in costs.items() for i in (1, 2, 3)})
        found.append(ADMM(LINE, rho=scale, iterations=15).Q(theta, s, a).relative)
    np.testing.assert_allclose(*found, rtol=1e-3)
    assert min(found[0]) > 1e-6


def test_nothing_that_is_not_finite_passes_as_converged():
    q = Central(LINE).Q(COUPLED, *questions(LINE, 1)[0])
    for bad in (np.nan, np.inf):
        for relative in (RelativeResidual(bad, 0.0), RelativeResidual(0.0, bad)):
            assert not replace(q, relative=relative).converged
        assert not replace(q, values=q.values + [bad, 0.0, 0.0]).converged


def test_an_agent_that_never_heard_of_the_end_is_not_converged():
    """The first agent is out from the second iteration on: its copies are old ones, and that shows."""
    q = ADMM(LINE, outage=lambda t, i: i == 0 and t >= 1).Q(COUPLED, *questions(LINE, 1)[0])
    assert not q.converged
