"""The power system: the exact step against CVODES, costs by hand, loads and noise, bad declarations."""

import dataclasses

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.power import SCENARIO, PowerParameters, PowerSystem, continuous, held, stage_cost

TRUE = PowerParameters()
OTHER = PowerParameters(H=(5.0, 9.0), R=(0.1, 0.07), D=(0.5, 0.0), T_t=(0.5, 0.4), T_g=(0.2, 0.1), P_tie=(3.0,),
                        limit=(0.2, 0.4))  # fmt: skip


def cvodes(p):
    """An integrator of the equations written out, for one second: (x, u, load) -> x+."""
    n, P = p.n_areas, p.ties()
    x, u, load, rates = ca.SX.sym("x", 4 * n), ca.SX.sym("u", n), ca.SX.sym("load", n), []
    for i in range(n):
        angle, omega, P_m, P_v = ca.vertsplit(x[4 * i : 4 * i + 4])
        out = sum(P[i, j] * (angle - x[4 * j]) for j in range(n) if j != i)
        rates += [omega, (-out - p.D[i] * omega + P_m - load[i]) / (2 * p.H[i]), (P_v - P_m) / p.T_t[i],
                  (u[i] - omega / p.R[i] - P_v) / p.T_g[i]]  # fmt: skip
    ode = {"x": x, "p": ca.vertcat(u, load), "ode": ca.vertcat(*rates)}
    f = ca.integrator("f", "cvodes", ode, 0, 1, {"abstol": 1e-12, "reltol": 1e-12})
    return lambda x, u, load: f(x0=x, p=np.concatenate([u, load]))["xf"].full().ravel()


@pytest.mark.parametrize("p", [TRUE, OTHER])
def test_a_step_is_what_cvodes_finds(p):
    env, rng, integrate, n = PowerSystem(p, scenario=()), np.random.default_rng(0), cvodes(p), p.n_areas
    for _ in range(20):
        x, u = rng.uniform(-0.3, 0.3, (n, 5)), rng.uniform(-1, 1, n) * p.limit
        env.reset(options={"x": x.ravel()})
        *_, info = env.step(u)
        expected = integrate(x[:, :4].ravel(), u, x[:, 4] + info["noise"])
        np.testing.assert_allclose(env.x[:, :4].ravel(), expected, atol=1e-8)
        np.testing.assert_array_equal(env.x[:, 4], x[:, 4])


def test_two_half_seconds_are_one():
    A, B = continuous(TRUE)
    (half, b), (whole, both) = held(A, B, 0.5), held(A, B, 1.0)
    np.testing.assert_allclose(half @ half, whole, atol=1e-12)
    np.testing.assert_allclose(half @ b + b, both, atol=1e-12)


def test_rest_with_covered_loads_is_an_equilibrium_and_a_common_angle_changes_nothing():
    """At the set-point nothing moves, wherever the angles lie, as long as they are equal."""
    env, load = PowerSystem(noise=0.0, scenario=()), np.array([0.1, -0.08, 0.2, 0.05])
    x = np.column_stack([np.full(4, 0.07), np.zeros(4), load, load, load])
    env.reset(options={"x": x.ravel()})
    for _ in range(5):
        env.step(load)
    np.testing.assert_allclose(env.x, x, atol=1e-12)


def test_frequency_and_flows_at_rest():
    """A constant input that misses the loads by e in all: omega goes to -e / sum(D + 1/R), as the droops share it."""
    env, rng = PowerSystem(noise=0.0, scenario=(), steps=None), np.random.default_rng(1)
    load = rng.uniform(-0.1, 0.1, 4)
    env.reset(options={"x": np.column_stack([np.zeros((4, 4)), load]).ravel()})
    for _ in range(400):
        env.step([0.05, -0.02, 0.03, 0.01])
    omega = (0.07 - load.sum()) / (np.array(TRUE.D) + 1 / np.array(TRUE.R)).sum()
    np.testing.assert_allclose(env.x[:, 1], omega, atol=1e-9)
    flows = (TRUE.ties() * (env.x[:, :1] - env.x[:, 0])).sum(1)
    np.testing.assert_allclose(flows, env.x[:, 2] - load - np.array(TRUE.D) * omega, atol=1e-9)


def test_cost_by_hand():
    """Every term of the problem's L, and the areas' shares that add up to it."""
    rng, P = np.random.default_rng(2), TRUE.ties()
    for _ in range(20):
        x, u = rng.uniform(-0.3, 0.3, (4, 5)), rng.uniform(-0.3, 0.3, 4)
        total = 0.0
        for i, (angle, omega, P_m, P_v, load) in enumerate(x):
            total += 500 * angle**2 + 0.01 * omega**2 + 0.01 * (P_m - load) ** 2 + 10 * (P_v - load) ** 2
            total += 10 * (u[i] - load) ** 2 + 500 * (max(0, angle - 0.1) + max(0, -0.1 - angle))
        ordered = ((0, 1, 4), (1, 0, 4), (1, 2, 2), (2, 1, 2), (2, 3, 2), (3, 2, 2))
        total += 0.5 * sum(abs(tie * (x[i, 0] - x[j, 0])) for i, j, tie in ordered)
        assert stage_cost(x, u, P).sum() == pytest.approx(total, rel=1e-12)
    alone = np.zeros((4, 5))
    alone[0, 0] = 0.05
    np.testing.assert_allclose(stage_cost(alone, np.zeros(4), P), [1.25 + 0.1, 0.1, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(
        stage_cost([x, alone], [u, 0 * u], P), [stage_cost(x, u, P), stage_cost(alone, 0 * u, P)]
    )


def test_what_a_step_returns():
    env = PowerSystem(weight=70.0)
    env.reset(seed=0, options={"x": np.tile([0.2, 0.0, 0.0, 0.0, 0.0], 4)})
    _, reward, terminated, truncated, info = env.step(np.zeros(4))
    np.testing.assert_allclose(info["costs"], 4 * [20.0 + 7.0], atol=1e-12)  # of the state and load before
    assert -reward == info["cost"] == pytest.approx(108.0) and not terminated and not truncated
    ends = [env.step(np.zeros(4))[3] for _ in range(99)]
    assert ends == [False] * 98 + [True]


def test_loads_act_before_they_are_seen():
    env = PowerSystem(noise=0.0)
    s, _ = env.reset()
    np.testing.assert_array_equal(s, 0.0)
    moved = []
    for k in range(1, 61):
        seen, at_rest = env.x[:, 4].copy(), not env.x.any()
        s, *_ = env.step(np.zeros(4))
        if (env.x[:, 4] != seen).any():
            moved.append((k, tuple(env.x[:, 4])))
            assert k > 5 or (at_rest and s[1] < -1e-3)  # the first load has pulled area 1 down within its first second
    assert tuple(moved) == SCENARIO
    env.reset()
    assert not env.x.any() and env.count == 0


def test_noise():
    """U(-0.1, 0.1), independent for every area, and each acts on its area as a load does."""
    env = PowerSystem(scenario=(), steps=None)
    env.reset(seed=0)
    e, x = np.empty((4000, 4)), np.empty((4000, 16))
    for k in range(len(e)):
        env.reset(options={"x": np.zeros(20)})
        *_, info = env.step(np.zeros(4))
        e[k], x[k] = info["noise"], env.x[:, :4].ravel()
    assert -0.1 <= e.min() < -0.0998 and 0.0998 < e.max() <= 0.1
    np.testing.assert_allclose(e.mean(0), 0.0, atol=0.003)  # three standard errors
    np.testing.assert_allclose(e.std(0), 0.2 / np.sqrt(12), rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(e.T), np.eye(4), atol=0.05)
    for k in range(3):
        env.reset(options={"x": np.column_stack([np.zeros((4, 4)), e[k]]).ravel()})
        env.noise = 0.0
        env.step(np.zeros(4))
        np.testing.assert_allclose(env.x[:, :4].ravel(), x[k], atol=1e-14)


def test_recorded_noise_comes_first():
    e = np.array([[0.01, 0.02, -0.03, 0.04], [-0.05, 0.06, 0.07, -0.08]])
    env = PowerSystem(recorded=e)
    for _ in range(2):
        env.reset(seed=0)
        noise = [env.step(np.zeros(4))[4]["noise"] for _ in range(3)]
        np.testing.assert_array_equal(noise[:2], e)
        np.testing.assert_array_equal(noise[2], np.random.default_rng(0).uniform(-0.1, 0.1, 4))


def test_the_loads_of_drawn_noise_are_the_scenario_s():
    plant, env = TRUE, PowerSystem()
    noise = plant.draw(3, 1, 60)
    found = run(lambda y: 0.05 * np.sin(y[:, :4]), plant, np.zeros((1, 20)), noise)
    x, _ = env.reset()
    env.np_random = np.random.default_rng(3)
    for k in range(60):
        np.testing.assert_allclose(found.x[k, 0], x, atol=1e-12)
        x, reward, *_, info = env.step(0.05 * np.sin(x[:4]))
        assert found.cost[k, 0] == pytest.approx(-reward, rel=1e-9)
        np.testing.assert_array_equal(noise.e[k, 0], info["noise"])
    late = plant.draw(0, 2, 5, [(2, np.ones(4)), (4, np.zeros(4))]).load
    np.testing.assert_array_equal(late[:, 1, 0], [0.0, 1.0, 1.0, 0.0, 0.0])
    assert not OTHER.draw(0, 1, 50).load.any()


def test_changed_parameters_are_those_of_a_new_plant():
    changed = dataclasses.replace(TRUE, H=(6.0, 10.0, 8.0, 8.0), P_tie=(4.0, 1.0, 2.0), limit=(0.1,) * 4)
    env, fresh = PowerSystem(noise=0.0), PowerSystem(changed, noise=0.0)
    start = np.random.default_rng(3).uniform(-0.1, 0.1, 20)
    env.reset(), env.step(np.zeros(4))
    env.change(H=changed.H, P_tie=changed.P_tie, limit=changed.limit)
    env.reset(options={"x": start}), fresh.reset(options={"x": start})
    one, other = env.step(np.full(4, 0.3)), fresh.step(np.full(4, 0.3))
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1] and env.action_space == fresh.action_space
    with pytest.raises(ValueError, match="the plant has 20 states, not 10"):
        env.change(**dataclasses.asdict(OTHER))


def test_bad_declarations():
    for changes, message in (
        ({"H": (1.0, 2.0, 3.0)}, "R has 4 entries, but there are 3 areas: give 3"),
        ({"P_tie": (1.0,)}, "P_tie has 1 entries, but there are 4 areas: give 3"),
        ({"T_g": (0.1, 0.1, 0.0, 0.1)}, "T_g must be positive"),
        ({"D": (0.1, 0.1, -0.1, 0.1)}, "D must not be negative"),
        ({"R": (0.1, np.nan, 0.1, 0.1)}, "R must be positive"),
        ({"limit": (np.inf, 0.1, 0.1, 0.1)}, "limit must not be negative"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(TRUE, **changes)
    for noise in (-0.1, np.nan):
        with pytest.raises(ValueError, match="noise"):
            PowerSystem(noise=noise)
    for loads in ((0.1, 0.2), (0.1, 0.1, np.nan, 0.1)):
        with pytest.raises(ValueError, match="loads from step 7 on must be 4 finite numbers"):
            PowerSystem(scenario=[(7, loads)])
    for recorded in (np.zeros((3, 2)), np.zeros(4), np.full((2, 4), np.nan)):
        with pytest.raises(ValueError, match="recorded must be finite"):
            PowerSystem(recorded=recorded)
