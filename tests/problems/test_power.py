"""The power system's MPCs: the model against SciPy, every term of the cost by hand, ADMM against the centre."""

import casadi as ca
import numpy as np
import pytest
from scipy.linalg import expm

from mpcrl_course.envs import power as plant
from mpcrl_course.envs.power import PowerParameters, PowerSystem, area, held
from mpcrl_course.mpc import MPC
from mpcrl_course.network import ADMM, Central
from mpcrl_course.problems.power import W_U, W_X, WRONG, discrete, exponential, joint_mpc, power_mpc

TRUE = PowerParameters()
NET = power_mpc()
CENTRAL = Central(NET, rho=50.0)


def random_theta(rng):
    """Other bounds, offsets, slopes, weights (positive definite, not symmetric) and ties."""
    theta = NET.parameters.initial()
    for i in range(1, 5):
        skew = rng.standard_normal((4, 4))
        blocks = {
            "V0": rng.standard_normal(), "angle_lb": 0.02 * rng.standard_normal(),
            "angle_ub": 0.02 * rng.standard_normal(), "b": 0.02 * rng.standard_normal(4),
            "f_x": rng.standard_normal(4), "f_u": rng.standard_normal(),
            "W_x": np.diag(rng.uniform([300, 0.5, 0.5, 5], [700, 1, 1, 15])) + 0.3 * (skew - skew.T),
            "W_u": rng.uniform(5, 15), "P_tie": rng.uniform(0.5, 5, 1 + (1 < i < 4)),
        }  # fmt: skip
        theta = NET.parameters.pack(theta, **{f"{name}_{i}": value for name, value in blocks.items()})
    return theta


def random_question(rng):
    s = rng.uniform([-0.15, -0.01, -0.2, -0.2, -0.25], [0.15, 0.01, 0.2, 0.2, 0.25], (4, 5))
    return s.ravel(), rng.uniform(-0.8, 0.8, 4) * TRUE.limit


def true_ties(net, theta=None):
    P = TRUE.ties()
    return net.parameters.pack(theta, **{f"P_tie_{i + 1}": P[i][own] for i, own in enumerate(net.neighbours)})


# --- the declaration ----------------------------------------------------------------------------------------------


def test_parameters():
    own = NET.agents[1].parameters
    assert own.names[:13] == "V0 angle_lb angle_ub b1 b2 b3 b4 f_x1 f_x2 f_x3 f_x4 f_u W_x11".split()
    assert own.names[-3:] == ["W_u", "P_tie1", "P_tie2"] and own.size == 31 and NET.parameters.size == 122
    p = own.unpack(own.initial())
    np.testing.assert_array_equal(p.W_x, np.diag([500, 0.1, 0.1, 10]))
    np.testing.assert_array_equal(p.P_tie, [3.262, 2.746])  # area 2's ideas of 21 and 23
    assert p.W_u == 10.0 and not own.initial()[:12].any()
    P = {i: NET.parameters.unpack(NET.parameters.initial()).__dict__[f"P_tie_{i}"] for i in (1, 3, 4)}
    assert (P[1].tolist(), P[3].tolist(), P[4].tolist()) == ([4.768], [3.339, 0.073], [3.001])
    assert NET.neighbours == [[1], [0, 2], [1, 3], [2]] and NET.horizon == 5 and NET.discount == 0.9
    assert [agent.input_upper for agent in NET.agents] == [0.2, 0.1, 0.3, 0.1]
    with pytest.raises(ValueError, match=r"ties must be finite, of shape \(4, 4\), not of shape \(2, 2\)"):
        power_mpc(ties=np.eye(2))


def test_what_is_exchanged():
    """Only angles: a copy for each neighbour and stage."""
    for local, neighbours in zip(NET.locals(50.0), NET.neighbours):
        assert local.copied == [(j, 0) for j in range(len(neighbours))] and local.n_copies == 5 * len(neighbours)


@pytest.mark.parametrize("P", [-2.0, 0.073, 6.0, 15.0])
def test_the_discrete_model_is_exact(P):
    for i in range(4):
        A, B = area(*(getattr(TRUE, name)[i] for name in ("H", "R", "D", "T_t", "T_g")), P)
        for ours, expected in zip(discrete(i, ca.SX(P)), held(A, B)):
            np.testing.assert_allclose(ca.DM(ours).full(), expected, atol=1e-12)
    np.testing.assert_allclose(exponential(A, 0.3), expm(0.3 * A), atol=1e-12)


def test_prediction_errors_of_held_angles_and_of_wrong_ties():
    """Five seconds ahead, from visited states: 0.002 rad with the true ties, 0.04 with the wrong ones (as it says)."""
    rng, env, errors = np.random.default_rng(0), PowerSystem(), {"true": [], "wrong": []}
    thetas = {"true": true_ties(NET), "wrong": NET.parameters.initial()}
    u, x, limit = ca.SX.sym("u", 4), ca.SX.sym("x", 20), env.action_space.high
    steps = {name: ca.Function("f", [x, u], [NET.problem.dynamics(x, u, NET.parameters.unpack(ca.SX(theta)))])
             for name, theta in thetas.items()}  # fmt: skip
    env.reset(seed=0)
    for k in range(400):
        if k % 100 == 0:
            env.reset()
        env.step(np.clip(env.x[:, 4], *(0.5 * limit * [[-1], [1]])) + rng.uniform(-0.5, 0.5, 4) * limit)
        if k % 5:
            continue
        actions = rng.uniform(-1, 1, (5, 4)) * limit
        quiet = PowerSystem(noise=0.0, scenario=())
        quiet.reset(options={"x": env.x.ravel()})
        for a in actions:
            quiet.step(a)
        for name, f in steps.items():
            s = env.x.ravel()
            for a in actions:
                s = f(s, a)
            errors[name].append(np.array(s).reshape(4, 5)[:, 0] - quiet.x[:, 0])
    rms = {name: np.sqrt(np.mean(np.square(e), axis=0)).max() for name, e in errors.items()}
    assert rms["true"] == pytest.approx(0.002, abs=0.0007) and rms["wrong"] == pytest.approx(0.04, abs=0.007)


@pytest.mark.parametrize("kind", ["V", "Q"])
def test_value_is_the_cost_of_its_own_plan(kind):
    """Every term of the docstring, added up by hand along the central plan, at random parameters; dynamics by SciPy."""
    rng = np.random.default_rng(1)
    for _ in range(4):
        theta, (s, a) = random_theta(rng), random_question(rng)
        solution = CENTRAL.mpc.V(theta, s) if kind == "V" else CENTRAL.mpc.Q(theta, s, a)
        total, x = 0.0, solution.x.reshape(6, 4, 5)
        for i, (own, others) in enumerate(zip(NET.split(theta), NET.neighbours)):
            p = NET.agents[i].parameters.unpack(own)
            A, B = held(*area(*(getattr(TRUE, name)[i] for name in ("H", "R", "D", "T_t", "T_g")), p.P_tie.sum()))
            total += p.V0
            for k in range(5):
                z, load, u = x[k, i, :4], x[k, i, 4], solution.u[k, i]
                beside = z - [0, 0, load, load]
                slack = max(0.0, -0.1 + p.angle_lb - x[k + 1, i, 0], x[k + 1, i, 0] - 0.1 - p.angle_ub)
                total += p.f_x @ z + p.f_u * u
                total += 0.9**k * (beside @ p.W_x @ beside + p.W_u * (u - load) ** 2 + 500 * slack)
                arrives = p.P_tie @ x[k, others, 0] - load
                np.testing.assert_allclose(x[k + 1, i, :4], A @ z + B @ [u, arrives] + 0.1 * p.b, atol=1e-11)
                assert x[k + 1, i, 4] == pytest.approx(load, abs=1e-14) and abs(u) <= TRUE.limit[i] + 1e-12
        assert solution.value == pytest.approx(total, rel=1e-8, abs=1e-7)


def test_costs_are_those_of_the_plant():
    """But for two weights, which start too large, and the cost of the flows."""
    assert (W_U, np.diag(W_X).tolist()) == (plant.W_U, [500.0, 0.1, 0.1, 10.0]) and plant.W_X[[0, 3]].tolist() == [
        500,
        10,
    ]
    p = NET.agents[0].parameters
    x, u = np.array([[0.04, 0.2, 0.3, 0.2, 0.1], *np.zeros((3, 5))]), np.array([0.15, 0, 0, 0])
    theta = p.unpack(ca.SX(p.pack(W_x=np.diag(plant.W_X))))
    ours = NET.agents[0].stage_cost(0, ca.SX(x[0]), ca.SX(u[0]), [], theta)
    assert float(ours) == pytest.approx(plant.stage_cost(x, u, np.zeros((4, 4)))[0], abs=1e-12)


# --- distributed and central -----------------------------------------------------------------------------------------


def test_at_convergence_distributed_is_central():
    """u_0, V and Q, the areas' values and gradients, at random parameters, wherever they are unique."""
    rng, admm, compared = np.random.default_rng(2), ADMM(NET, rho=50.0, iterations=50_000, tolerance=1e-9), 0
    for _ in range(4):
        theta, (s, a) = random_theta(rng), random_question(rng)
        for ours, centre in zip(admm.V_and_Q(theta, s, s, a), CENTRAL.V_and_Q(theta, s, s, a)):
            assert ours.value == pytest.approx(centre.value, rel=1e-6)
            np.testing.assert_allclose(ours.u0, centre.u0, atol=1e-6)
            if centre.strict:
                compared += 1
                np.testing.assert_allclose(ours.values, centre.values, atol=1e-6 * np.abs(centre.values).max())
                one, other = (np.concatenate([q.gradient(i) for i in range(4)]) for q in (ours, centre))
                np.testing.assert_allclose(one, other, atol=1e-6 * max(1.0, np.abs(other).max()))
    assert compared >= 4


def test_gradients_are_those_of_the_value():
    """Central differences of V and Q in all 122 parameters: also through the matrix exponential."""
    rng = np.random.default_rng(3)
    theta, (s, a) = random_theta(rng), random_question(rng)
    for ask in (lambda theta: CENTRAL.V(theta, s), lambda theta: CENTRAL.Q(theta, s, a)):
        solution = ask(theta)
        assert solution.strict and any(own.activity.violated.any() for own in solution.local)
        ours = np.concatenate([solution.gradient(i) for i in range(4)])
        steps = 1e-5 * np.eye(122)
        numeric = [(ask(theta + e).value - ask(theta - e).value) / 2e-5 for e in steps]
        np.testing.assert_allclose(ours, numeric, atol=2e-6 * np.abs(ours).max())
        assert np.abs(ours[[NET.parameters.index("P_tie_2").start]]).min() > 1e-3


def test_two_areas_of_other_parameters():
    p = PowerParameters(H=(5.0, 9.0), R=(0.1, 0.07), D=(0.5, 0.2), T_t=(0.5, 0.4), T_g=(0.2, 0.1), P_tie=(3.0,),
                        limit=(0.2, 0.4))  # fmt: skip
    net = power_mpc(p, p.ties(), horizon=3)
    s, theta = np.random.default_rng(4).uniform(-0.1, 0.1, 10), net.parameters.initial()
    whole = MPC(net.problem).V(theta, s)
    ours = ADMM(net, rho=50.0, iterations=20_000, tolerance=1e-9).V(theta, s)
    assert ours.value == pytest.approx(whole.value, rel=1e-6)
    np.testing.assert_allclose(ours.u0, whole.u0, atol=1e-6)


def test_the_published_nominal_controller():
    """Its plan is what the quiet plant does, its value the discounted cost of that, but for flows and last slack."""
    mpc, rng = MPC(joint_mpc()), np.random.default_rng(6)
    env, no_ties = PowerSystem(noise=0.0, scenario=()), np.zeros((4, 4))
    for _ in range(4):
        s, _ = random_question(rng)
        solution, total, x = mpc.V(mpc.parameters.initial(), s), 0.0, [s.reshape(4, 5)]
        env.reset(options={"x": s})
        for k in range(5):
            total += 0.9**k * plant.stage_cost(x[k], solution.u[k], no_ties, 500.0 * (k > 0)).sum()
            env.step(solution.u[k])
            x.append(env.x.copy())
        total += 0.9**5 * plant.stage_cost(x[5], x[5][:, 4], no_ties, 0.0).sum()
        np.testing.assert_allclose(solution.x.reshape(6, 4, 5), x, atol=1e-9)
        assert solution.value == pytest.approx(total, rel=1e-6)
    assert np.abs(mpc.V(mpc.parameters.pack(offset=0.1), s).u0 - solution.u0).max() > 1e-3  # other loads: another plan


def test_back_offs_of_the_nominal_controller_move_its_limits():
    """The same plan as with the limits of another plant: all weights are those of angles beside 0."""
    mpc, s = MPC(joint_mpc()), np.zeros(20)
    s[4::5] = plant.SCENARIO[-1][1]
    plain = mpc.V(mpc.parameters.initial(), s).x.reshape(6, 4, 5)[1:5, :, 0]
    low = plain.min(axis=0) + 0.01  # a hundredth more than its plan reaches by itself
    moved = mpc.V(mpc.parameters.pack(angle_lb=low + plant.ANGLE_LIMIT), s).x.reshape(6, 4, 5)[1:5, :, 0]
    assert (moved.min(axis=0) > plain.min(axis=0) + 0.002).any() and np.abs(moved - plain).max() > 0.005
    upper = mpc.V(mpc.parameters.pack(angle_ub=-0.1 * np.ones(4)), -s).x.reshape(6, 4, 5)[1:5, :, 0]
    lower = mpc.V(mpc.parameters.pack(angle_lb=0.1 * np.ones(4)), s).x.reshape(6, 4, 5)[1:5, :, 0]
    np.testing.assert_allclose(upper, -lower, atol=1e-7)  # the problem is symmetric


def test_areas_that_are_told_nothing_plan_as_if_their_neighbours_were_at_rest():
    """Each alone: the joint problem falls apart, an area's plan is that of the told one whose neighbours stay at 0."""
    alone, told = Central(power_mpc(told=False)), Central(power_mpc())
    theta, rng = alone.parameters.initial(), np.random.default_rng(8)
    s, _ = random_question(rng)
    one = alone.V(theta, s)
    for i in range(4):
        other = s.copy().reshape(4, 5)
        other[np.arange(4) != i] = rng.uniform(-0.05, 0.05, (3, 5))
        two = alone.V(theta, other.ravel())
        assert two.u0[i] == pytest.approx(one.u0[i], abs=1e-8) and two.values[i] == pytest.approx(
            one.values[i], rel=1e-8
        )
    assert np.abs(told.V(theta, s).u0 - one.u0).max() > 1e-3
    for name, one_of in (("P_tie_1", 0), ("P_tie_3", 2)):  # its own idea of the lines' strength still holds its angle
        stiff = alone.parameters.pack(theta, **{name: 0.0 * theta[alone.parameters.index(name)]})
        changed = np.abs(alone.V(stiff, s).values - one.values) > 1e-6
        assert changed[one_of] and changed.sum() == 1


def test_wrong_ties_cost_and_a_back_off_helps():
    """Closed loop, the same noise for all: what lecture 11 starts from."""
    noise, cost, violated = np.random.default_rng(5).uniform(-0.1, 0.1, (2, 100, 4)), {}, {}
    back_off = NET.parameters.pack(angle_lb_4=0.06)
    for name, theta in {"wrong": NET.parameters.initial(), "true": true_ties(NET), "back-off": back_off}.items():
        cost[name], violated[name] = 0.0, 0
        for e in noise:
            env = PowerSystem(recorded=e)
            s, _ = env.reset()
            for _ in range(100):
                s, reward, *_ = env.step(CENTRAL.V(theta, s).u0)
                cost[name] -= reward / 2
                violated[name] += (np.abs(env.x[:, 0]) > 0.1).any()
    assert (
        cost["back-off"] < 0.85 * cost["true"] < 0.6 * cost["wrong"] and violated["back-off"] < 0.1 * violated["true"]
    )
    np.testing.assert_array_equal(WRONG != 0, TRUE.ties() != 0)
