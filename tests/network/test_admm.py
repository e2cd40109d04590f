"""Consensus ADMM: by hand, against the door iterate by iterate, against the centre at convergence, and in trouble."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, Parameters, Question, Rows, SolverError
from mpcrl_course.network import ADMM, Agent, AgentError, Central, Duals, Network, line, ring, star
from mpcrl_course.network.local_qp import LocalQP
from mpcrl_course.problems.network import network_mpc

GRAPHS = {"line": line, "ring": ring, "star": star}
LINE = network_mpc(3)


def random_theta(net, rng, coupling=0.2):
    """Return parameters with a coupling, wrong models, tightened bounds and random weights > 0."""
    theta = net.parameters.initial()
    for i in range(1, net.n_agents + 1):
        blocks = {
            "V0": rng.standard_normal(), "A_c": rng.uniform(0.05, 1.0) * coupling * rng.choice([-1, 1]),
            "A": [[1.0, 0.25], [0.0, 1.0]] + 0.05 * rng.standard_normal((2, 2)),
            "B": [0.03, 0.25] + 0.02 * rng.standard_normal(2), "b": 0.03 * rng.standard_normal(2),
            "f": 0.1 * rng.standard_normal(3), "x_lb": 0.05 * rng.standard_normal(2),
            "x_ub": 0.05 * rng.standard_normal(2), "W_x": rng.uniform(0.5, 1.5, 2), "W_u": rng.uniform(0.5, 1.5, 1),
            "w": rng.uniform(100, 600, 2),
        }  # fmt: skip
        theta = net.parameters.pack(theta, **{f"{name}_{i}": value for name, value in blocks.items()})
    return theta


def random_question(net, rng):
    n = net.n_agents
    return rng.uniform([-0.1, -0.3] * n, [0.8, 0.4] * n), rng.uniform(-0.8, 0.8, n)


def scalar_agent(**changes):
    """x+ = x / 2 + u + c * (sum of the neighbours), cost x^2 + u^2, one stage."""
    declared = {
        "n_states": 1, "n_inputs": 1, "horizon": 1, "parameters": Parameters(c=0.4, w=5.0),
        "dynamics": lambda x, u, neighbours, p: 0.5 * x + u + p.c * sum(neighbours, ca.SX(0)),
        "stage_cost": lambda k, x, u, neighbours, p: x**2 + u**2, "terminal_cost": lambda x, p: x**2,
    }  # fmt: skip
    return Agent(**{**declared, **changes})


def biggest(*parts):
    return max(float(np.abs(part).max()) for part in parts)


def assert_agree(one, other, tolerance):
    """The same value, u_0, local gradients and Lagrangian Hessians, relative to their largest entries (or 1)."""
    n = len(one.local)
    pairs = [([one.value], [other.value]), (one.u0, other.u0), (one.values, other.values)]
    for of in ("gradient", "hessian"):
        ours, theirs = ([getattr(s, of)(i).ravel() for i in range(n)] for s in (one, other))
        pairs.append((np.concatenate(ours), np.concatenate(theirs)))
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1.0, biggest(theirs)))


# --- the mathematics ------------------------------------------------------------------------------------------


def test_two_scalar_agents_by_hand():
    """Three iterations of the update equations, each local problem minimised in closed form."""
    net, rho, c = Network([scalar_agent()] * 2, line(2)), 0.8, np.array([0.4, -0.3])
    theta, s = net.parameters.pack(c_1=c[0], c_2=c[1]), np.array([1.0, -0.5])
    admm = ADMM(net, rho=rho, iterations=3, record=True)
    ours = admm.V(theta, s)
    y_own, y_copy = np.zeros((2, 2)), np.zeros(2)  # of (x_i0, x_i1), of agent i's copy of the other's x_0
    z = np.zeros((2, 2))
    for t in range(3):
        own, copy, u = np.zeros((2, 2)), np.zeros(2), np.zeros(2)
        for i in range(2):
            # min u^2 + x1^2 + y x1 + rho/2 (x1 - z1)^2 + y_c v + rho/2 (v - z)^2 with x1 = s/2 + u + c v
            H = np.array([[2 + (2 + rho), (2 + rho) * c[i]], [(2 + rho) * c[i], rho + (2 + rho) * c[i] ** 2]])
            slope = (2 + rho) * s[i] / 2 + y_own[i, 1] - rho * z[i, 1]
            f = np.array([slope, slope * c[i] + y_copy[i] - rho * z[1 - i, 0]])
            u[i], copy[i] = np.linalg.solve(H, -f)
            own[i] = [s[i], s[i] / 2 + u[i] + c[i] * copy[i]]
        for j in range(2):
            held = [own[j, 0] + y_own[j, 0] / rho, copy[1 - j] + y_copy[1 - j] / rho]
            z[j] = [np.mean(held), own[j, 1] + y_own[j, 1] / rho]
        y_own += rho * (own - z)
        y_copy += rho * (copy - z[::-1, 0])
        flat = np.concatenate([np.append(y_own[i], y_copy[i]) for i in range(2)])
        np.testing.assert_allclose(ours.history.y[t], flat, atol=1e-12)
    np.testing.assert_allclose(ours.duals.z, z.ravel(), atol=1e-12)
    np.testing.assert_allclose(ours.u0, u, atol=1e-12)
    assert ours.value == pytest.approx((own**2).sum() + u @ u, abs=1e-12)
    gap = biggest(own - z, copy - z[::-1, 0])
    assert ours.primal[-1] == pytest.approx(gap, abs=1e-12) and ours.iterations == 3
    # at convergence: the central optimum in closed form
    exact = ADMM(net, rho=rho, iterations=500, tolerance=1e-13).V(theta, s)
    x1 = s / 2 + c * s[::-1]
    assert exact.value == pytest.approx(s @ s + x1 @ x1 / 2, abs=1e-11)
    np.testing.assert_allclose(exact.u0, -x1 / 2, atol=1e-11)


@pytest.mark.parametrize("order", [1, 2])
def test_iterates_are_those_of_the_door(order):
    """The same loop with every local problem solved by `MPC` from scratch: 30 iterates, V and Q, fast against plain."""
    net, rng, rho = network_mpc(4, star(4), order=order, horizon=4), np.random.default_rng(1), 1.0
    theta = net.parameters.initial() + 0.05 * rng.standard_normal(net.parameters.size)
    s, a = random_question(net, rng)
    admm = ADMM(net, rho, iterations=30, record=True)
    doors = [MPC(local.problem) for local in net.locals(rho)]
    for action, fast in zip((None, a), admm.V_and_Q(theta, s, s, a)):
        y, z = admm.start()
        for t in range(30):
            c, local = np.empty(len(y)), []
            for i, own in enumerate(admm.c_of):
                tilt = y[own] - rho * z[admm.owner[own]]
                question = (np.concatenate([net.split(theta)[i], tilt]), s[net.state_of[i]])
                fixed = () if action is None else (action[net.input_of[i]],)
                local.append((doors[i].Q if fixed else doors[i].V)(*question, *fixed))
                c[own] = np.concatenate([local[i].x.ravel(), local[i].u[:, 1:].ravel()])
            z = np.array([np.mean((c + y / rho)[admm.owner == entry]) for entry in range(len(z))])
            y = y + rho * (c - z[admm.owner])
            np.testing.assert_allclose(fast.history.y[t], y, atol=1e-8 * max(1.0, biggest(y)))
        np.testing.assert_allclose(fast.duals.z, z, atol=1e-8)
        np.testing.assert_allclose(fast.u0, [own.u[0, 0] for own in local], atol=1e-8)
        for i in range(4):
            n = admm.problems[i].n_theta
            expected = local[i].gradient()[:n]
            np.testing.assert_allclose(fast.gradient(i), expected, atol=1e-7 * max(1.0, biggest(expected)))
            expected = local[i].hessian(exact=False)[:n, :n]
            np.testing.assert_allclose(fast.hessian(i), expected, atol=1e-7)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("n", [3, 5, 10])
def test_at_convergence_distributed_is_central(name, n):
    """Random parameters with coupling: value, u_0, local gradients, Hessians and y, wherever they are unique."""
    net = network_mpc(n, GRAPHS[name](n))
    rng = np.random.default_rng(n)
    admm, central = ADMM(net, iterations=20_000, tolerance=1e-9), Central(net)
    compared = 0
    for _ in range(4 if n < 10 else 2):
        theta = random_theta(net, rng, 0.2 if name != "star" else 0.5 / n)
        s, a = random_question(net, rng)
        for ours, centre in zip(admm.V_and_Q(theta, s, s, a), central.V_and_Q(theta, s, s, a)):
            assert max(ours.primal[-1], ours.dual[-1]) <= 1e-9
            assert ours.value == pytest.approx(centre.value, rel=1e-6)
            assert (ours.kind == "V") == (ours.u0 != a).any()
            if not centre.strict:
                continue
            compared += 1
            assert_agree(ours, centre, 1e-6)
            np.testing.assert_allclose(ours.duals.y, centre.duals.y, atol=1e-5 * max(1.0, biggest(centre.duals.y)))
            np.testing.assert_allclose(ours.duals.z, centre.duals.z, atol=1e-5)
            assert biggest(centre.duals.y) > 1e-3  # the agents do push each other
    assert compared >= 3


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("solver", ["daqp", "piqp", "ipopt"])
def test_the_central_solution_taken_apart_solves_every_local_problem(order, solver):
    """KKT conditions of the local problems at the recovered y; their values; both by the door, which knows no y."""
    net, rng = network_mpc(4, star(4), order=order, horizon=5), np.random.default_rng(3)
    central = Central(net, rho=0.7, solver=solver)
    theta = net.parameters.initial() + 0.05 * rng.standard_normal(net.parameters.size)
    s, a = random_question(net, rng)
    v, q = central.V_and_Q(theta, s, s, a, perturbation=0.3 * np.ones(4))
    for solution in (v, q):
        for i, own in enumerate(solution.local):
            assert own.residual <= 2e-6
            mpc = MPC(net.locals(0.7)[i].problem)
            again = (
                mpc.V(own.theta, own.state, perturbation=own.perturbation) if own.action is None
                else mpc.Q(own.theta, own.state, own.action)
            )  # fmt: skip
            assert own.value == pytest.approx(again.value, abs=1e-6)
            np.testing.assert_allclose(own.u, again.u, atol=1e-5)
    whole = central.mpc.V(theta, s, perturbation=0.3 * np.ones(4))
    assert v.value == pytest.approx(whole.value, abs=1e-7)
    np.testing.assert_allclose(v.u0, whole.u0, atol=1e-12)


def test_local_gradients_are_the_central_one():
    """Against the central Lagrangian and against central differences of V and Q in every parameter."""
    net, rng = network_mpc(3, ring(3), horizon=5), np.random.default_rng(4)
    central, admm = Central(net), ADMM(net, iterations=20_000, tolerance=1e-12)
    theta = random_theta(net, rng)
    s, a = random_question(net, rng)
    whole = central.mpc.Q(theta, s, a)
    assert whole.strict and whole.activity.margin > 1e-3 and whole.activity.violated.any()
    for solution in (central.Q(theta, s, a), admm.Q(theta, s, a)):
        ours = solution.gradient()
        np.testing.assert_array_equal(ours, np.concatenate([solution.gradient(i) for i in range(3)]))
        np.testing.assert_allclose(ours, whole.gradient(), atol=1e-6 * max(1.0, biggest(ours)))
        numeric = np.empty(66)
        for n in range(66):
            e = 1e-5 * np.eye(66)[n]
            numeric[n] = (central.mpc.Q(theta + e, s, a).value - central.mpc.Q(theta - e, s, a).value) / 2e-5
        np.testing.assert_allclose(ours, numeric, atol=1e-5 * max(1.0, biggest(ours)))
        H = whole.hessian(exact=False)
        for i, own in enumerate(net.theta_of):
            np.testing.assert_allclose(solution.hessian(i), H[own, own], atol=1e-6 * max(1.0, biggest(H)))
        np.testing.assert_allclose(solution.hessian(), H, atol=1e-6 * max(1.0, biggest(H)))
        for own in net.theta_of:
            H[own, own] = 0.0
        assert biggest(H) == 0.0  # block-diagonal over the agents


def test_too_few_iterations_show_and_the_dual_error_falls():
    net, rng = LINE, np.random.default_rng(5)
    theta = random_theta(net, rng)
    s, a = random_question(net, rng)
    centre, few = Central(net).Q(theta, s, a), ADMM(net, iterations=5).Q(theta, s, a)
    assert few.primal[-1] > 1e-4 and few.dual[-1] > 1e-4
    assert centre.residual < 1e-6 and few.residual == pytest.approx(max(few.primal[-1], few.dual[-1]))
    assert biggest(few.gradient() - centre.gradient()) > 1e-3
    long = ADMM(net, iterations=2000, record=True).Q(theta, s, a)
    assert long.history.y.shape == (2000, len(centre.duals.y)) and long.primal.shape == long.dual.shape == (2000,)
    error = np.abs(long.history.y - centre.duals.y).max(axis=1)
    assert error[5] > 1e-2 and error[99] < 0.3 * error[5] and error[-1] < 1e-6
    np.testing.assert_allclose(long.history.y[4], few.duals.y, atol=1e-12)
    np.testing.assert_allclose(long.primal[:5], few.primal, atol=1e-12)


# --- state, lockstep, messages ----------------------------------------------------------------------------------


def test_lockstep_is_one_after_the_other():
    net, rng = LINE, np.random.default_rng(6)
    theta, admm = random_theta(net, rng), ADMM(net, iterations=40, record=True)
    s, a = random_question(net, rng)
    s_next, _ = random_question(net, rng)
    starts = [Duals(rng.standard_normal(len(admm.owner)), rng.standard_normal(66)) for _ in range(2)]
    q_u0 = 0.2 * rng.standard_normal(3)
    together = admm.V_and_Q(theta, s_next, s, a, perturbation=q_u0, warm_start=starts)
    alone = admm.V(theta, s_next, perturbation=q_u0, warm_start=starts[0]), admm.Q(theta, s, a, warm_start=starts[1])
    for one, other in zip(together, alone):
        assert one.kind == other.kind and one.messages == other.messages == 40 * 2 * 4
        assert_agree(one, other, 1e-8)
        np.testing.assert_allclose(one.history.y, other.history.y, atol=1e-8 * max(1.0, biggest(other.history.y)))
        np.testing.assert_allclose(one.primal, other.primal, atol=1e-9)
        np.testing.assert_allclose(one.dual, other.dual, atol=1e-9)


def test_duals_are_explicit_state():
    """60 iterations are 25 and then 35 from where those ended; nothing else is remembered."""
    net, rng = LINE, np.random.default_rng(7)
    theta = random_theta(net, rng)
    s, a = random_question(net, rng)
    whole, first, second = (ADMM(net, iterations=n) for n in (60, 25, 35))
    one, half = whole.Q(theta, s, a), first.Q(theta, s, a)
    two = second.Q(theta, s, a, warm_start=half.duals)
    assert_agree(two, one, 1e-8)
    for start in (half, tuple(half.duals)):  # a solution, or its duals
        np.testing.assert_array_equal(second.Q(theta, s, a, warm_start=start).duals.y, two.duals.y)
    np.testing.assert_allclose(two.duals.y, one.duals.y, atol=1e-8 * max(1.0, biggest(one.duals.y)))
    cold = second.Q(theta, s, a)
    assert biggest(cold.duals.y - two.duals.y) > 1e-4
    # a question asked again, after others, is answered as before to the last digit
    whole.V(theta, s), whole.Q(random_theta(net, rng), s, -a)
    again = whole.Q(theta, s, a)
    assert again.value == one.value
    for n in range(2):
        np.testing.assert_array_equal(again.duals[n], one.duals[n])
    # and warm duals save iterations
    converge = ADMM(net, iterations=20_000, tolerance=1e-9)
    far = converge.V(theta, s)
    assert converge.V(theta, s + 1e-3, warm_start=far.duals).iterations < 0.9 * far.iterations


def test_residuals_stop_it():
    net, rng = LINE, np.random.default_rng(8)
    theta = random_theta(net, rng)
    s, _ = random_question(net, rng)
    v = ADMM(net, iterations=20_000, tolerance=1e-6).V(theta, s)
    residual = np.maximum(v.primal, v.dual)
    assert residual[-1] <= 1e-6 < residual[-2] and v.iterations < 20_000 and v.messages == 8 * v.iterations
    with pytest.raises(SolverError, match="after 4 iterations of ADMM the agents disagree by .* is 1e-06") as e:
        ADMM(net, iterations=4, tolerance=1e-6).V(theta, s)
    assert e.value.status == "not converged"
    np.testing.assert_array_equal(e.value.state, s)
    np.testing.assert_array_equal(e.value.theta, theta)


def test_perturbed_cost():
    """q'u_0: dV/dq = u_0, and distributed = central."""
    net, rng = LINE, np.random.default_rng(9)
    theta, q = random_theta(net, rng), np.array([0.3, -0.2, 0.1])
    s, _ = random_question(net, rng)
    admm, central = ADMM(net, iterations=20_000, tolerance=1e-10), Central(net)
    ours, centre = admm.V(theta, s, perturbation=q), central.V(theta, s, perturbation=q)
    assert_agree(ours, centre, 1e-6)
    numeric = [(central.V(theta, s, perturbation=q + e).value - central.V(theta, s, perturbation=q - e).value) / 2e-5
               for e in 1e-5 * np.eye(3)]  # fmt: skip
    np.testing.assert_allclose(ours.u0, numeric, atol=1e-6)
    assert biggest(ours.u0 - central.V(theta, s).u0) > 1e-3


def test_agents_of_different_sizes_and_one_alone():
    """Three states beside one, hard rows and no rows, coupling in the cost; a single agent needs no consensus."""
    big = Agent(
        n_states=3, n_inputs=2, horizon=4, parameters=Parameters(c=0.3, e=0.5),
        dynamics=lambda x, u, neighbours, p: 0.8 * x + ca.vertcat(u, u[0] - u[1]) + p.c * neighbours[0],
        stage_cost=lambda k, x, u, neighbours, p: ca.sumsqr(x) + 0.1 * ca.sumsqr(u) + p.e * (x[2] - neighbours[0]) ** 2,
        terminal_cost=lambda x, p: ca.sumsqr(x), input_lower=-1.0, input_upper=[1.0, 0.2],
        constraints={"hard": lambda k, x, u, neighbours, p: Rows(x[0], upper=0.6) if k else None},
    )  # fmt: skip
    small = scalar_agent(
        horizon=4, dynamics=lambda x, u, neighbours, p: 0.5 * x + u + p.c * neighbours[0][1], input_lower=-0.3
    )
    net, rng = Network([big, small], line(2)), np.random.default_rng(10)
    admm, central = ADMM(net, iterations=20_000, tolerance=1e-11), Central(net)
    for _ in range(3):
        s, a = rng.uniform(-1, 1, 4), rng.uniform(-0.2, 0.2, 3)
        theta = net.parameters.initial() + 0.1 * rng.standard_normal(net.parameters.size)
        for ours, centre in zip(admm.V_and_Q(theta, s, s, a), central.V_and_Q(theta, s, s, a)):
            assert_agree(ours, centre, 1e-6)
    alone = Network([scalar_agent(horizon=1)], [])
    q = ADMM(alone, iterations=1).Q(alone.parameters.initial(), [1.0], [0.3])
    assert q.value == pytest.approx(1.0 + 0.09 + 0.8**2, abs=1e-12) and q.messages == 0
    v = ADMM(alone, iterations=500, tolerance=1e-12).V(alone.parameters.initial(), [1.0])
    assert v.value == pytest.approx(1.125, abs=1e-10) and v.u0[0] == pytest.approx(-0.25, abs=1e-10)


def test_regions_of_the_explicit_solution_are_exact():
    """Wherever (c, e) = G r + g says e >= 0, c is what daqp answers; at random tilts and around them."""
    net, rng = LINE, np.random.default_rng(11)
    admm, inside, violated = ADMM(net), 0, 0
    for _ in range(15):
        theta = random_theta(net, rng)
        s, a = rng.uniform([-0.4, -1.2] * 3, [1.3, 1.2] * 3), rng.uniform(-1, 1, 3)
        for i in range(3):
            qp = admm.local_qp(i, Question(theta, s, a if rng.random() < 0.5 else None))
            r = 3 * rng.standard_normal(len(qp.c_0))
            c, (G, g) = qp.minimise(r), qp.region()
            np.testing.assert_allclose((G @ r + g)[: len(c)], c, atol=1e-9)
            assert (G @ r + g)[len(c) :].min() >= -1e-9
            violated += int((np.abs(qp.lam) >= qp.weight)[qp.qp.sense == 8].sum())
            for step in (1e-3, 1e-2, 0.3):
                near = r + step * rng.standard_normal(len(r))
                c, answer = qp.minimise(near), G @ near + g
                if answer[len(c) :].min() >= 0.0:
                    inside += 1
                    np.testing.assert_allclose(answer[: len(c)], c, atol=1e-9)
    assert inside > 40 and violated > 20


# --- trouble ----------------------------------------------------------------------------------------------------


def test_wrong_shapes_and_numbers_that_are_not_finite():
    net = LINE
    theta, s, a = net.parameters.initial(), np.zeros(6), np.zeros(3)
    for controller in (ADMM(net, iterations=1), Central(net)):
        for call, message in (
            (lambda c: c.V(theta[:5], s), r"theta has shape \(5,\)"),
            (lambda c: c.V(theta, s[:5]), r"state has shape \(5,\), but this network's has shape \(6,\)"),
            (lambda c: c.Q(theta, s, a[:2]), r"action has shape \(2,\)"),
            (lambda c: c.V(theta, s, perturbation=a[:1]), r"perturbation has shape \(1,\)"),
            (lambda c: c.V(theta, s, warm_start=(np.zeros(3), np.zeros(66))), r"y has shape \(3,\)"),
            (lambda c: c.V(theta, s, warm_start=np.zeros(3)), "warm_start is a NetworkSolution or its Duals"),
            (lambda c: c.V(theta * np.nan, s), "theta is not finite"),
            (lambda c: c.V(theta, s * np.nan), "state is not finite"),
            (lambda c: c.Q(theta, s, a + np.inf), "action is not finite"),
            (lambda c: c.V(theta, s, warm_start=(np.zeros(106), np.full(66, np.nan))), "z is not finite"),
        ):
            with pytest.raises(ValueError, match=message):
                call(controller)
    with pytest.raises(ValueError, match="iterations must be at least 1, not 0"):
        ADMM(net, iterations=0)


@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_negative_weight_names_its_agent(which):
    net = LINE
    theta = net.parameters.pack(**{f"w_{which}": [500.0, -3.0]})
    for ask in (lambda c: c.V(theta, np.zeros(6)), lambda c: c.Q(theta, np.zeros(6), np.zeros(3))):
        with pytest.raises(AgentError, match=f"agent {which}: negative slack weight -.* of constraint 'state'") as e:
            ask(ADMM(net))
        assert e.value.agent == which - 1 and e.value.status == "unbounded"
        np.testing.assert_array_equal(e.value.theta, net.split(theta)[which - 1])
        with pytest.raises(SolverError, match=f"unbounded: negative slack weight .*constraint 'state_{which}'"):
            ask(Central(net))


def test_a_cost_that_is_not_convex_names_its_agent():
    agent = scalar_agent(
        parameters=Parameters(c=0.4, w=1.0), stage_cost=lambda k, x, u, neighbours, p: x**2 + p.w * u**2
    )
    net = Network([agent] * 2, line(2))
    with pytest.raises(AgentError, match="unbounded: agent 2: the cost is not convex"):
        ADMM(net).V(net.parameters.pack(w_2=-40.0), [0.1, 0.2])


def test_hard_rows_that_nothing_satisfies_name_their_agent():
    wall = {"wall": lambda k, x, u, neighbours, p: Rows(x, upper=0.1) if k else None}
    net = Network([scalar_agent(), scalar_agent(constraints=wall, input_lower=-0.2)], line(2))
    theta = net.parameters.pack(c_2=0.0)
    assert np.isfinite(ADMM(net).V(theta, [0.0, 0.1]).value)
    with pytest.raises(AgentError, match="infeasible: agent 2: constraint 'wall', row 1, stage 1") as e:
        ADMM(net).V(theta, [0.0, 3.0])
    assert e.value.agent == 1
    with pytest.raises(SolverError, match="infeasible: .*constraint 'wall_2', row 1, stage 1"):
        Central(net).V(theta, [0.0, 3.0])


def test_hard_rows_that_only_wishful_copies_satisfy_are_seen_in_the_residuals():
    """Agent 2 could hold its wall if its neighbour were elsewhere: local problems feasible, consensus impossible."""
    wall = {"wall": lambda k, x, u, neighbours, p: Rows(x, upper=0.1) if k else None}
    net = Network([scalar_agent(), scalar_agent(constraints=wall, input_lower=-0.2)], line(2))
    theta, s = net.parameters.initial(), [1.0, 1.0]
    with pytest.raises(SolverError, match="infeasible"):
        Central(net).V(theta, s)
    with pytest.raises(SolverError, match="not converged: after 500 iterations of ADMM the agents disagree by"):
        ADMM(net, iterations=500, tolerance=1e-6).V(theta, s)
    assert ADMM(net, iterations=500).V(theta, s).primal[-1] > 0.05


def test_dynamics_that_overflow_name_their_agent():
    net = LINE
    with pytest.raises(AgentError, match="not converged: agent 1: the condensed problem is not finite"):
        ADMM(net).V(net.parameters.pack(A_1=np.full((2, 2), 1e60)), np.ones(6))


def test_an_agent_that_does_not_answer_for_some_iterations_only_delays_consensus():
    net, rng = LINE, np.random.default_rng(12)
    theta = random_theta(net, rng)
    s, a = random_question(net, rng)
    whole = ADMM(net, iterations=20_000, tolerance=1e-10).Q(theta, s, a)
    some = ADMM(net, iterations=20_000, tolerance=1e-10, outage=lambda t, i: i == 1 and (t < 3 or 20 <= t < 45)).Q(
        theta, s, a
    )
    np.testing.assert_array_equal(some.missed, [0, 28, 0])
    np.testing.assert_array_equal(whole.missed, [0, 0, 0])
    assert some.iterations > whole.iterations
    assert_agree(some, whole, 1e-6)
    # one that is away at the end hands in the solution of the last time it answered
    few = ADMM(net, iterations=30, outage=lambda t, i: i == 2 and t >= 10).Q(theta, s, a)
    until = ADMM(net, iterations=10).Q(theta, s, a)
    np.testing.assert_allclose(few.local[2].u, until.local[2].u, atol=1e-9)
    assert few.missed[2] == 20 and few.primal[-1] > 1e-6
    with pytest.raises(AgentError, match="agent 3: it never answered"):
        ADMM(net, iterations=5, outage=lambda t, i: i == 2).Q(theta, s, a)


def test_a_solve_that_fails_in_the_loop_names_its_agent(monkeypatch):
    net, calls = LINE, []
    plain = LocalQP.minimise

    def minimise(qp, tilt):
        calls.append(qp)
        if len(calls) == 8:
            qp.model.settings = {"iter_limit": 0}
        return plain(qp, tilt)

    monkeypatch.setattr(LocalQP, "minimise", minimise)
    rng = np.random.default_rng(13)
    theta = random_theta(net, rng)
    with pytest.raises(AgentError, match="not converged: agent .: iteration limit reached") as e:
        ADMM(net).V(theta, random_question(net, rng)[0])
    assert e.value.agent in range(3)


def test_problems_that_are_not_quadratic():
    """Only the centre solves them; it still knows every agent's share."""
    agent = scalar_agent(dynamics=lambda x, u, neighbours, p: ca.sin(x) + u + p.c * neighbours[0])
    net = Network([agent] * 2, line(2))
    with pytest.raises(ValueError, match="ADMM solves quadratic problems, and that of agent 1 is none"):
        ADMM(net)
    centre = Central(net)
    v = centre.V(net.parameters.initial(), [0.4, -0.2])
    assert v.value == pytest.approx(centre.mpc.V(net.parameters.initial(), [0.4, -0.2]).value, abs=1e-9)
    for own in v.local:
        assert own.residual <= 1e-8


def test_lost_messages_delay_consensus_and_a_cut_link_prevents_it():
    """A third of all messages lost at random: the same answer, later. A link that is dead for good: another answer."""
    net, rng = network_mpc(4, ring(4)), np.random.default_rng(5)
    theta, (s, _) = random_theta(net, rng), random_question(net, rng)
    centre = Central(net).V(theta, s)
    dead = {(t, min(link), max(link)) for t in range(20_000) for link in net.edges if rng.uniform() < 1 / 3}
    some = ADMM(net, iterations=20_000, tolerance=1e-10, lost=lambda *message: message in dead)
    v, whole = some.V(theta, s), ADMM(net, iterations=20_000, tolerance=1e-10).V(theta, s)
    assert_agree(v, centre, 1e-6)
    lost = sum(t < v.iterations for t, _, _ in dead)
    assert v.iterations > whole.iterations and v.messages == 4 * (4 * v.iterations - lost)
    cut = ADMM(net, iterations=3000, lost=lambda t, i, j: (i, j) == (0, 1)).V(theta, s)
    assert cut.primal[-1] > 1e-2 and np.abs(cut.dual[-1]) < 1e-6  # they still disagree, and nothing moves any more
    assert np.abs(cut.u0 - centre.u0).max() > 1e-3 and cut.messages == 4 * 3 * 3000
    none = ADMM(net, iterations=50, lost=lambda t, i, j: False, record=True).V(theta, s)
    usual = ADMM(net, iterations=50, record=True).V(theta, s)
    for one, other in zip((none.primal, none.dual, *none.history), (usual.primal, usual.dual, *usual.history)):
        np.testing.assert_array_equal(one, other)


def test_what_is_recorded_belongs_together():
    """z is the mean of c + y / rho of the iteration before, and y climbs by rho (c - z)."""
    theta, (s, _) = random_theta(LINE, np.random.default_rng(6)), random_question(LINE, np.random.default_rng(7))
    admm = ADMM(LINE, rho=0.7, iterations=20, record=True)
    v, y = admm.V(theta, s), admm.start().y
    for t in range(20):
        wanted = v.history.c[t] + y / 0.7
        z = np.array([wanted[admm.owner == k].mean() for k in range(len(v.history.z[t]))])
        np.testing.assert_allclose(v.history.z[t], z, atol=1e-12)
        y = y + 0.7 * (v.history.c[t] - z[admm.owner])
        np.testing.assert_allclose(v.history.y[t], y, atol=1e-12)
        assert v.primal[t] == pytest.approx(np.abs(v.history.c[t] - z[admm.owner]).max())


@pytest.mark.parametrize("wrong", [[True, False], [], np.array([True]), None, "no", np.nan, 2])
def test_whether_an_agent_or_a_message_is_missing_is_yes_or_no(wrong):
    net = network_mpc(3, horizon=2)
    theta, s = net.parameters.initial(), np.zeros(6)
    with pytest.raises(ValueError, match=r"outage\(4, 1\) must be True or False"):
        ADMM(net, iterations=9, outage=lambda t, i: wrong if (t, i) == (4, 1) else False).V(theta, s)
    with pytest.raises(ValueError, match=r"lost\(4, 1, 2\) must be True or False"):
        ADMM(net, iterations=9, lost=lambda *message: wrong if message == (4, 1, 2) else np.False_).V(theta, s)
