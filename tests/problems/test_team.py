"""Optima and equilibria of the network without bounds: by definition, by simulation, and the price of anarchy."""

import numpy as np
import pytest

from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.mpc import lqr
from mpcrl_course.problems.team import LinearTeam

EQUAL, UNEQUAL = (1.0, 1.0, 1.0), (0.05, 1.0, 0.05)
#: J/J_team of: all states, Nash; own state, team; own state, Nash.
TABLE = {
    (EQUAL, -0.1): (1.004, 1.035, 1.037),
    (EQUAL, -0.3): (1.046, 1.248, 1.300),
    (EQUAL, -0.5): (1.116, 1.652, 1.815),
    (UNEQUAL, -0.1): (1.079, 1.105, 1.129),
    (UNEQUAL, -0.3): (1.544, 1.527, 2.084),
    (UNEQUAL, -0.5): (2.601, 2.413, 4.347),
}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("problem", "ratios"), TABLE.items())
def test_the_price_of_anarchy_and_of_seeing_the_own_state_only(problem, ratios):
    team = LinearTeam(*problem)
    least = team.cost(team.team())
    found = [team.cost(K) / least for K in (team.nash("all"), team.team("own"), team.nash("own"))]
    np.testing.assert_allclose(found, ratios, atol=6e-4)  # three decimals: half of the last one, and a tie


def test_the_matrices_are_the_plants():
    team, plant = (
        LinearTeam(coupling=-0.3),
        LinearNetwork(coupling=-0.3, noise=0.0, start=[0.2, 0.1, 0.3, -0.2, 0.1, 0.4]),
    )
    x, _ = plant.reset()
    u = np.array([0.5, -0.3, 0.1])
    after, reward, *_ = plant.step(u)
    np.testing.assert_allclose(team.A @ x + team.B @ u, after, atol=1e-14)
    assert x @ team.Q.sum(0) @ x + u @ team.R.sum(0) @ u == pytest.approx(-reward)  # inside the bounds


def test_the_cost_is_what_roll_outs_pay():
    team = LinearTeam(UNEQUAL, -0.3)
    K, n, gamma = team.start(), 20_000, team.discount
    x, paid = np.zeros((n, 6)), np.zeros((3, n))
    for k in range(150):
        u = -x @ K.T
        paid += [gamma**k * (((x @ Q) * x).sum(1) + ((u @ R) * u).sum(1)) for Q, R in zip(team.Q, team.R)]
        x = x @ team.A.T + u @ team.B.T + 0.05 * RNG.standard_normal(x.shape)
    error = 4.0 * paid.std(axis=1) / np.sqrt(n)
    assert (np.abs(paid.mean(axis=1) - team.costs(K)) < error).all() and (error < 0.03 * team.costs(K)).all()


def test_the_gradient_is_that_of_the_cost():
    team, h = LinearTeam(UNEQUAL, -0.4), 1e-6
    K = team.start() + 0.1 * RNG.standard_normal((3, 6))
    for i in (None, 0, 1):

        def cost(K, i=i):
            return team.cost(K) if i is None else team.costs(K)[i]

        numeric = np.zeros((3, 6))
        for entry in np.ndindex(3, 6):
            D = np.zeros((3, 6))
            D[entry] = h
            numeric[entry] = (cost(K + D) - cost(K - D)) / (2 * h)
        np.testing.assert_allclose(team.gradient(K, i), numeric, atol=1e-7)


@pytest.mark.parametrize("omega", [EQUAL, UNEQUAL])
@pytest.mark.parametrize("states", ["all", "own"])
def test_nobody_gains_by_a_change(omega, states):
    """Of a team's optimum no entry seen can be changed with profit, of an equilibrium none in the own row by itself."""
    team = LinearTeam(omega, -0.3)
    optimum, equilibrium, seen = team.team(states), team.nash(states), team.seen(states)
    assert not optimum[~seen].any() and not equilibrium[~seen].any()
    for size in (1e-3, 0.05):
        for _ in range(10):
            change = size * RNG.standard_normal((3, 6)) * seen
            assert team.cost(optimum + change) > team.cost(optimum)
            for i in range(3):
                row = change * np.eye(3)[i][:, None]
                assert team.costs(equilibrium + row)[i] > team.costs(equilibrium)[i]
    # but together they could do better
    assert team.cost(optimum) < 0.97 * team.cost(equilibrium)


def test_without_coupling_everybody_is_alone():
    """All four are the LQR of one plant, whatever the weights, and J is the sum of its costs."""
    team, one = LinearTeam((0.5, 1.0, 2.0), 0.0), LinearTeam((1.0,), 0.0, neighbours=((),))
    single = lqr(one.A, one.B, one.Q[0], one.R[0], 0.9, cov=0.05**2 * np.eye(2))
    for K in (team.team("all"), team.team("own"), team.nash("all"), team.nash("own")):
        np.testing.assert_allclose(K, np.kron(np.eye(3), single.K), atol=1e-5)
        np.testing.assert_allclose(team.costs(K), np.array([0.5, 1.0, 2.0]) * single.V([0.0, 0.0]), rtol=1e-9)


def test_a_ring_and_what_is_refused():
    ring = LinearTeam((1.0, 1.0, 1.0, 1.0), -0.2, neighbours=((1, 3), (0, 2), (1, 3), (0, 2)))
    K = ring.nash()
    np.testing.assert_allclose(np.roll(K, (1, 2), axis=(0, 1)), K, atol=1e-4)  # all agents are alike
    assert np.isinf(ring.costs(np.zeros((4, 8)))).all()
    wrong = {"omega": (1.0, 0.0, 1.0), "discount": 1.0, "deviation": 0.0, "coupling": np.inf}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name):
            LinearTeam(**{name: value})
    with pytest.raises(ValueError, match="omega has shape"):
        LinearTeam((1.0,))
    with pytest.raises(RuntimeError, match="in 3 iterations"):
        LinearTeam().team("own", most=3)
    with pytest.raises(RuntimeError, match="in 2 rounds"):
        LinearTeam().nash(most=2)
