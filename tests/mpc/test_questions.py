"""What is asked is checked where it is asked: size, shape and kind, of an MPC, a network, a policy."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from mpcrl_course.mpc import MPC, SolverError, shift
from mpcrl_course.network import ADMM, Central, Duals
from mpcrl_course.policies import Receding, first_plan
from mpcrl_course.problems import linear_mpc, network_mpc, pendulum_mpc

SOLVERS = ["daqp", "piqp", "ipopt"]
NET = network_mpc(2, horizon=2)


@pytest.fixture(scope="module", params=SOLVERS)
def mpc(request):
    return linear_mpc(3, solver=request.param)


def test_a_state_too_large_to_reckon_with_is_named_and_contradicts_nothing(mpc):
    theta, large = mpc.parameters.initial(), [1e200, 0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ask, name in (
            (lambda: mpc.V(theta, large), "state"),
            (lambda: mpc.policy(theta, [0.0, -1e200]), "state"),
            (lambda: mpc.Q(theta, large, [0.0]), "state"),
            (lambda: mpc.Q(theta, [0.0, 0.0], [1e200]), "action"),
            (lambda: mpc.V(theta, [0.0, 0.0], perturbation=[-1e200]), "perturbation"),
            (lambda: mpc.values(theta, [[0.0, 0.0], large], [[1e200], [0.0]]), "action"),
            (lambda: mpc.values(theta, [[0.0, 0.0], large]), "state"),
        ):
            with pytest.raises(SolverError, match=rf"the {name} is too large \(1e\+200\)") as error:
                ask()
            assert error.value.status == "not converged" and "contradict" not in str(error.value)
    np.testing.assert_array_equal(error.value.state, large)
    assert np.isfinite(mpc.V(theta, [0.1, 0.2]).value)


def test_a_networks_state_too_large_is_named():
    theta = NET.parameters.initial()
    for controller in (ADMM(NET, iterations=2), Central(NET)):
        with pytest.raises(SolverError, match="the state is too large"):
            controller.V(theta, [0.0, 0.0, 1e200, 0.0])
        with pytest.raises(SolverError, match="the action is too large"):
            controller.Q(theta, np.zeros(4), [0.0, 1e200])


def test_a_warm_start_from_another_horizon_is_no_failed_solve(mpc):
    theta, s = mpc.parameters.initial(), [0.1, 0.2]
    longer = linear_mpc(4, solver=mpc.solver).V(theta, s)
    for start in (longer, shift(longer), (longer.x, longer.u), (longer.x[:4], longer.u)):
        for ask in (lambda **start: mpc.V(theta, s, **start), lambda **start: mpc.Q(theta, s, [0.1], **start)):
            with pytest.raises(
                ValueError, match=r"warm_start does not fit this problem.* u of shape \(4, 1\), not \(3"
            ):
                ask(warm_start=start)
    with pytest.raises(ValueError, match="the u of warm_start is not finite"):
        mpc.V(theta, s, warm_start=(np.zeros((4, 2)), np.full((3, 1), np.nan)))
    assert mpc.V(theta, s, warm_start=shift(mpc.V(theta, s))).value == pytest.approx(mpc.V(theta, s).value, rel=1e-7)


def test_real_time_iteration_and_its_policy_say_so_too():
    short, long = pendulum_mpc(horizon=5), pendulum_mpc(horizon=6)
    theta, s = short.parameters.initial(), [0.1, 0.2]
    with pytest.raises(ValueError, match=r"warm_start does not fit this problem: x of shape \(7, 2\), not \(6, 2\)"):
        short.V(theta, s, warm_start=shift(long.V(theta, s)))
    controller = Receding(long)
    controller([s])
    controller.mpc = short  # its plans are now those of another problem
    with pytest.raises(ValueError, match="warm_start does not fit this problem"):
        controller([s])
    controller.reset()
    assert np.isfinite(controller([s])).all()


def test_a_networks_warm_start_from_another_horizon_is_named():
    theta, s = NET.parameters.initial(), np.full(4, 0.1)
    controller, longer = ADMM(NET, iterations=3), ADMM(network_mpc(2, horizon=3), iterations=3)
    other = longer.V(theta, s)
    for start in (other, other.duals, Duals(np.zeros(3), controller.start().z)):
        with pytest.raises(ValueError, match=r"warm_start's y has shape \(\d+,\), but this network's has shape"):
            controller.V(theta, s, warm_start=start)
        with pytest.raises(ValueError, match="warm_start's y has shape"):
            controller.V_and_Q(theta, s, s, [0.1, 0.1], warm_start=(None, start))
    with pytest.raises(ValueError, match="warm_start is a pair"):
        controller.V_and_Q(theta, s, s, [0.1, 0.1], warm_start=other.duals.y)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([0.1 + 1j, 0.2]), "holds complex numbers"),
        ([0.1, 0.2j], "holds complex numbers"),
        (["0.1", "0.2"], "holds strings"),
        ([None, 0.2], "is no array of numbers: it holds None"),
        ([[0.1], [0.1, 0.2]], "is no array of numbers"),
        ([object(), 0.2], "is no array of numbers"),
        ([np.nan, 0.2], "is not finite"),
        ([0.1, 0.2, 0.3], r"has shape \(3,\)"),
    ],
)
def test_no_imaginary_part_is_dropped_and_no_string_is_read(mpc, bad, message):
    theta, s = mpc.parameters.initial(), [0.1, 0.2]
    with pytest.raises(ValueError, match=f"state {message}"):
        mpc.V(theta, bad)
    with pytest.raises(ValueError, match=f"states {message.replace('(3', '(2, 3').replace('3,', '3')}"):
        mpc.values(theta, [bad, bad])
    with pytest.raises(ValueError, match=f"action {message}"):
        mpc.Q(theta, s, bad)
    with pytest.raises(ValueError, match=f"perturbation {message}"):
        mpc.V(theta, s, perturbation=bad)
    with pytest.raises(ValueError, match="theta (is|holds|has)"):
        mpc.V([*theta[:-2], *bad], s)


def test_guesses_that_are_none_are_named():
    problem = pendulum_mpc(horizon=5).problem
    for guesses, message in (
        (lambda s, p: 3, "what guesses returns must be a list, not 3"),
        (lambda s, p: [], "guesses returns nothing to start from"),
        (lambda s, p: [(np.zeros((2, 2)), np.zeros((5, 1)))], r"warm_start does not fit .* x of shape \(2, 2\)"),
    ):
        mpc = MPC(replace(problem, guesses=guesses), "rti")
        with pytest.raises(ValueError, match=message):
            first_plan(mpc, mpc.parameters.initial(), [0.1, 0.2])


def test_what_is_a_number_in_another_dress_is_taken():
    mpc = linear_mpc(3)
    theta, value = mpc.parameters.initial(), None
    for s in (np.array([1, 0]), [1, 0], (True, 0.0), np.array([1.0, 0.0], np.float32), np.array([1, 0.0], object)):
        value = mpc.V(theta, s).value if value is None else value
        assert mpc.V(theta, s).value == value
    assert mpc.Q(theta, [1, 0], 0).value == mpc.Q(theta, [1, 0], [0.0]).value
    assert isinstance(MPC(mpc.problem), MPC)
    for wrong in (None, mpc, {"horizon": 3}):
        with pytest.raises(ValueError, match="problem must be of the type OptimalControlProblem"):
            MPC(wrong)


@pytest.mark.parametrize("wrong", [None, 3, (np.zeros((2, 1)), np.zeros(1)), "plan"])
def test_only_a_solution_is_shifted(wrong):
    with pytest.raises(ValueError, match="solution must be of the type Solution"):
        shift(wrong)


def test_flags_and_numbers_of_agents_are_named():
    mpc, both = linear_mpc(2), np.array([True, False])
    with pytest.raises(ValueError, match="exact must be True or False"):
        mpc.V(mpc.parameters.initial(), [0.1, 0.2]).hessian(exact=both)
    with pytest.raises(ValueError, match="record must be True or False"):
        ADMM(NET, record=both)
    answer = Central(NET).V(NET.parameters.initial(), np.full(4, 0.1))
    for part in (answer.gradient, answer.hessian):
        for wrong in (2, -1, 0.5, "0", True, both):
            with pytest.raises(ValueError, match="^i must be"):
                part(wrong)
        assert len(part(1)) == len(part()) // 2


@pytest.mark.parametrize("guesses", [lambda s, p: 1 / 0, lambda s: [None], lambda s, p: p.nothing])
def test_guesses_that_fail_are_named(guesses):
    mpc = linear_mpc(2)
    mpc.problem = replace(mpc.problem, guesses=guesses)
    with pytest.raises(ValueError, match="guesses raised (ZeroDivision|Type|Attribute)Error"):
        first_plan(mpc, mpc.parameters.initial(), [0.1, 0.2])


@pytest.mark.parametrize("plan", [None, "plan", np.zeros(2)])
def test_a_first_plan_is_a_solution(plan):
    with pytest.raises(ValueError, match="what first returns must be of the type Solution"):
        Receding(linear_mpc(2), first=lambda mpc, theta, s: plan)([[0.1, 0.2]])
