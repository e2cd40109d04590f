"""The memoryless expert: a function of the state; beside it the warm-started one, which is none."""

import numpy as np
import pytest

from mpcrl_course.dp.pendulum import FIXED_STARTS, simulate
from mpcrl_course.mpc import SolverError
from mpcrl_course.policies import Memoryless, Receding, energy_rule, pendulum_expert
from mpcrl_course.problems.pendulum import pendulum_mpc, swing

STATES = np.array([[3.0, 0.2], [-3.0, 0.2], [1.5, -2.0], [0.1, 0.3], [np.pi, -4.0]])


def test_the_answer_is_one_of_the_state_whatever_was_asked_before():
    expert = pendulum_expert()
    found = expert(STATES)
    np.testing.assert_array_equal(expert(STATES[::-1]), found[::-1])
    np.testing.assert_array_equal([expert([s])[0] for s in STATES], found)
    np.testing.assert_array_equal(pendulum_expert()(STATES[2:3]), found[2:3])
    assert expert.calls == 15 and len(expert.status) == 1


def test_whole_turns_and_the_mirror_image_do_not_matter():
    expert = pendulum_expert()
    found = expert(STATES)
    np.testing.assert_allclose(expert(STATES + [2.0 * np.pi, 0.0]), found, atol=1e-6)
    np.testing.assert_allclose(expert(-STATES), -found, atol=1e-6)


def test_the_warm_started_expert_gives_one_state_two_answers():
    """Led to the same state on two ways, it keeps the plan of each."""
    mpc, answers = pendulum_mpc(), []
    for before in ([3.0, 2.0], [3.3, -2.0]):
        controller = Receding(mpc)
        controller([before])
        answers.append(controller([[3.1, 0.1]])[0, 0])
    assert abs(answers[0] - answers[1]) > 1.0


def test_it_swings_up_and_improves_the_rule_it_starts_from():
    starts = FIXED_STARTS[:20]
    cost, rule = (simulate(policy, starts=starts, steps=100).cost.sum(0) for policy in (pendulum_expert(), energy_rule))
    end = simulate(pendulum_expert(), starts=starts[:3], steps=100).x[-1]
    assert cost.mean() < rule.mean() and np.abs(np.sin(end[:, 0])).max() < 0.05 and np.cos(end[:, 0]).min() > 0.9


def test_where_no_step_is_found_the_guess_is_followed(monkeypatch):
    mpc = pendulum_mpc(horizon=5)
    expert = Memoryless(mpc, swing)

    question = mpc.policy(mpc.parameters.initial(), STATES[0]).question

    def fail(*args, **kwargs):
        question.fail("not converged", "a test")

    monkeypatch.setattr(mpc, "policy", fail)
    with pytest.raises(SolverError):
        mpc.policy()
    u = expert(STATES[:1])
    p = mpc.parameters.unpack(mpc.parameters.initial())
    assert expert.status == ["failed"] and u[0, 0] == 2.0 * swing(STATES[0], p, 5)[1][0, 0]


def test_a_guess_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"your guess function returned shape \(4, 2\), but \(6, 2\) is needed"):
        Memoryless(pendulum_mpc(horizon=5), lambda s, p, N: swing(s, p, N - 2))(STATES)
