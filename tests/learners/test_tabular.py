"""Tabular Q-learning: against exact answers, at ends of both kinds, and bad input."""

import numpy as np
import pytest

from mpcrl_course.dp import FiniteMDP, policy_iteration, sampler
from mpcrl_course.learners.tabular import TabularQLearning


def random_mdp(S, A, gamma=0.9, seed=0):
    rng = np.random.default_rng(seed)
    return FiniteMDP(rng.dirichlet(np.full(S, 0.3), (S, A)), rng.uniform(0, 1, (S, A)), gamma)


def test_it_goes_to_value_iteration():
    mdp = random_mdp(S=5, A=2, gamma=0.7, seed=4)
    best = mdp.action_values(policy_iteration(mdp).V)
    for seed in (0, 1, 2):
        rng = np.random.default_rng(seed)
        learner = TabularQLearning(sampler(mdp, rng), 5, 2, 0.7, rng, power=0.8, epsilon=0.5)
        early = learner.run(20, progress=False).Q
        assert learner.visits.sum() == learner.log.transitions.sum() == 2000
        late = learner.run(2000, progress=False).Q
        assert np.abs(late - best).max() < 0.02 < np.abs(early - best).max()
        assert learner.visits.sum() == 200_000


def test_terminal_is_not_bootstrapped_and_truncation_is():
    """A walk 0 -> 1 -> end at cost 1 a step: values 1 + gamma and 1. Cut off at every step it stays so."""

    def step(s, a):
        return 1.0, s + 1 if s == 0 else 0, s == 1  # the state after the end says nothing

    for episode in (1, 100):
        rng = np.random.default_rng(0)
        learner = TabularQLearning(step, 2, 1, 0.5, rng, episode=episode, power=0.51).run(4000, progress=False)
        np.testing.assert_allclose(learner.Q[:, 0], [1.5, 1.0], atol=1e-3)
        assert learner.log.transitions.max() == min(episode, 2) and learner.log.cost.max() == min(episode, 2)


def test_a_table_to_start_from_a_start_of_its_own_and_no_exploration():
    seen, rng = [], np.random.default_rng(0)
    step = lambda s, a: (seen.append((s, a)), (1.0, 0, True))[1]  # noqa: E731
    TabularQLearning(step, 3, 2, 0.9, rng, epsilon=0.0, start=lambda: 2, Q=[[0, 1], [0, 1], [9, 8]]).step()
    assert seen == [(2, 1)]


def test_bad_input_is_refused():
    step, rng = (lambda s, a: (0.0, 0, False)), np.random.default_rng(0)
    for options in ({"epsilon": 1.5}, {"Q": np.zeros(3)}):
        with pytest.raises(ValueError):
            TabularQLearning(step, 2, 1, 0.9, rng, **options)
    with pytest.raises(ValueError):
        TabularQLearning(step, 2, 1, 1.5, rng)
