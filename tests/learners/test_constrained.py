"""Primal-dual DDPG: gradient by finite differences, targets and multiplier by hand, DDPG where lambda is zero."""

from collections import namedtuple

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.envs.pendulum import Pendulum
from mpcrl_course.learners.constrained import ConstrainedActorCritic, PrimalDual, next_multiplier
from mpcrl_course.learners.ddpg import DDPG, critic_gradient
from mpcrl_course.mlp import MLP, Adam


def exact_agent(multiplier, seed=0):
    """Return an agent in double precision with smooth networks, for finite differences."""
    rng = np.random.default_rng(seed)
    agent = ConstrainedActorCritic(3, [-2], [2], rng, width=8)
    options = {"width": 8, "activation": "tanh", "dtype": np.float64}
    agent.actor = MLP(3, 1, rng, lower=-2, upper=2, **options)
    agent.critic, agent.risk = (MLP(4, 1, rng, **options) for _ in range(2))
    for net in (agent.actor, agent.critic, agent.risk):
        net.theta[:] = rng.normal(0, 0.5, net.theta.size)
    agent.multiplier = multiplier
    return agent


Batch = namedtuple("Batch", ["s", "a", "cost", "s_next", "terminated", "violation"])


def batch(n=16, seed=1):
    rng = np.random.default_rng(seed)
    s, a, cost, s_next = (
        rng.normal(size=(n, 3)),
        rng.uniform(-2, 2, (n, 1)),
        rng.uniform(0, 9, (n, 1)),
        rng.normal(size=(n, 3)),
    )
    numbers = Batch(s, a, cost, s_next, rng.random((n, 1)) < 0.4, rng.random((n, 1), np.float32))
    return Batch(*(part.astype(np.float32) for part in numbers))


def fast(s):
    return max(0.0, abs(s[2]) - 1.0)


def learn(steps=300, seed=0, env=None, violation=fast, **options):
    options = {"budget": 0.1, "warm_up": 50, "batch": 16, **options}
    return PrimalDual(env or Pendulum(steps=20), np.random.default_rng(seed), violation, **options).run(
        steps, progress=False
    )


# ---- the equations


@pytest.mark.parametrize("multiplier", [0.0, 0.7, 30.0])
def test_the_actor_descends_on_the_weighted_mean_of_both_critics(multiplier):
    agent = exact_agent(multiplier)
    s = np.random.default_rng(2).normal(size=(40, 3))
    gradient = agent.lagrangian_gradient(s)

    def mean(step):
        other = agent.actor.copy()
        other.theta[:] += step
        sa = np.hstack([s, other(s)])
        return float((agent.critic(sa) + multiplier * agent.risk(sa)).mean()) / (1.0 + multiplier)

    h = 1e-6
    for direction in np.random.default_rng(3).normal(size=(3, gradient.size)):
        # the multiplier is rounded to single precision on the way
        assert gradient @ direction == pytest.approx((mean(h * direction) - mean(-h * direction)) / (2 * h), rel=1e-5)
    assert mean(-1e-3 * gradient) < mean(0 * gradient) < mean(1e-3 * gradient)


@pytest.mark.parametrize("next_action", ["target", "current"])
def test_one_update_by_hand(next_action):
    agent = ConstrainedActorCritic(
        3, [-2], [2], np.random.default_rng(0), tau=0.1, gamma=0.9, width=8, next_action=next_action
    )
    rng, names = np.random.default_rng(5), ("actor", "critic", "risk")
    for name in names:
        getattr(agent, f"target_{name}").theta[:] += rng.normal(0, 0.3, getattr(agent, name).theta.size)
    agent.multiplier = 3.0
    old = {n: getattr(agent, n).copy() for name in names for n in (name, f"target_{name}")}
    b = batch()
    assert 0 < b.terminated.sum() < len(b.terminated)
    agent.update_both(b)
    chooser = old["target_actor" if next_action == "target" else "actor"]
    for name, number in (("critic", b.cost), ("risk", b.violation)):
        target = old[f"target_{name}"]
        q_next = target(np.hstack([b.s_next, chooser(b.s_next)]))
        y = np.where(b.terminated > 0, number, number + 0.9 * q_next)  # after the end nothing is violated either
        gradient, _ = critic_gradient(old[name], b.s, b.a, y)
        Adam(gradient.size, 2e-3).descend(old[name].theta, gradient)
        np.testing.assert_allclose(getattr(agent, name).theta, old[name].theta, atol=1e-6)
    new, agent.actor = agent.actor, old["actor"]
    gradient = agent.lagrangian_gradient(b.s)  # through the new critics
    Adam(gradient.size, 5e-4).descend(agent.actor.theta, gradient)
    np.testing.assert_array_equal(new.theta, agent.actor.theta)
    for name in names:
        mixed = 0.9 * old[f"target_{name}"].theta + 0.1 * getattr(agent, name).theta
        np.testing.assert_allclose(getattr(agent, f"target_{name}").theta, mixed, atol=1e-6)


def test_the_multiplier_rises_over_budget_falls_below_and_stays_positive():
    assert next_multiplier(1.0, 0.5, 0.2, 10.0) == pytest.approx(4.0)
    assert next_multiplier(1.0, 0.15, 0.2, 10.0) == pytest.approx(0.5)
    assert next_multiplier(1.0, 0.0, 0.2, 10.0) == 0.0


def test_dual_ascent_finds_the_multiplier_of_a_small_problem():
    """min u^2 s.t. (1 - u) <= 0.4: u = 0.6, lambda = 1.2; the primal minimum is u = lambda / 2 in closed form."""
    multiplier = 0.0
    for _ in range(200):
        multiplier = next_multiplier(multiplier, 1.0 - multiplier / 2, 0.4, 0.5)
    assert multiplier == pytest.approx(1.2)


# ---- runs


def test_without_a_multiplier_it_is_ddpg_bit_for_bit():
    ours = learn(200, rate=0.0).agent
    rng = np.random.default_rng(0)
    agent = ConstrainedActorCritic(3, [-2.0], [2.0], rng)  # its weights come from the same generator
    DDPG(Pendulum(steps=20), rng, agent, warm_up=50, batch=16).run(200, progress=False)
    for name in ("actor", "critic", "target_actor", "target_critic"):
        np.testing.assert_array_equal(getattr(ours, name).theta, getattr(agent, name).theta)
    assert np.abs(learn(200, rate=0.0, multiplier=2.0).agent.actor.theta - ours.actor.theta).max() > 1e-3


def test_history_is_what_happened_and_the_multiplier_follows_from_it():
    seen = []

    class Watched(Pendulum):
        def step(self, action):
            found = super().step(action)
            seen.append((-found[1], fast(found[0])))
            return found

    learner = learn(310, env=Watched(steps=20), rate=5.0, multiplier=0.3)
    agent, history = learner.agent, learner.history()
    costs, violations = (column.reshape(15, 20) for column in np.array(seen[:300]).T)
    np.testing.assert_allclose(history.cost, costs.sum(1))
    np.testing.assert_allclose(history.violation, violations.mean(1), rtol=1e-6)
    expected, path = 0.3, []
    for i, measured in enumerate(history.violation):
        if 20 * (i + 1) > 50:  # an episode that ends in the warm-up changes nothing
            expected = max(0.0, expected + 5.0 * (measured - 0.1))
        path.append(expected)
    np.testing.assert_allclose(history.multiplier, path)
    assert agent.multiplier == history.multiplier[-1] and np.ptp(history.multiplier) > 0.1
    np.testing.assert_array_equal(learn(310, rate=0.0, multiplier=0.3).history().multiplier, np.full(15, 0.3))


class Ends(Pendulum):
    """Ends every fifth step, by termination or truncation."""

    def __init__(self, terminate):
        super().__init__(steps=None)
        self.terminate = terminate

    def step(self, action):
        s, reward, _, _, info = super().step(action)
        end = self.count % 5 == 0
        return s, reward, end and self.terminate, end and not self.terminate, info


@pytest.mark.parametrize("terminate", [True, False])
def test_termination_masks_the_future_and_truncation_does_not(terminate, monkeypatch):
    stored, beside = {}, {}

    def spy(self, b):
        for s, s_next, end, d in zip(b.s, b.s_next, b.terminated, b.violation):
            stored[s.tobytes()] = (bool(end[0]), s_next)
            beside[s_next.tobytes()] = d[0]

    monkeypatch.setattr(ConstrainedActorCritic, "update_both", spy)
    history = learn(400, env=Ends(terminate)).history()
    ends = np.array([end for end, _ in stored.values()])
    assert len(ends) > 300 and ends.mean() == pytest.approx(0.2 if terminate else 0.0, abs=0.02)
    assert len(history.cost) == 80
    for s_next in [s_next for _, s_next in stored.values()][:100]:  # each violation is of the state that was reached
        assert beside[s_next.tobytes()] == pytest.approx(fast(s_next), abs=1e-6)


def test_a_run_shorter_than_an_episode_has_an_empty_history():
    assert [part.shape for part in learn(19).history()] == [(0,)] * 3


@pytest.mark.parametrize("violation", [None, -0.1, np.nan, np.inf])
def test_violations_that_are_none_are_named_with_their_step(violation):
    values = iter([0.0] * 7 + [violation])
    with pytest.raises(ValueError, match=r"the violation in step 7 must be a number that is not negative"):
        learn(violation=lambda s: next(values))


@pytest.mark.parametrize("options", [{"budget": -1.0}, {"rate": np.nan}, {"multiplier": np.inf}])
def test_bad_numbers_are_named(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a number that is not negative"):
        learn(**options)


def test_a_run_that_diverges_says_where():
    with np.errstate(all="ignore"):
        log = learn(400, critic_rate=1e30, actor_rate=1e30).log
    assert "not finite after the update of step" in log.stopped and log.steps < 400


def test_the_shipped_runs_hold_what_the_method_promises():
    """The mean violation of the last ten episodes, five seeds: at the budget of 0.002 rad/s, and not at a penalty's."""
    with places.data("agents_04.npz") as file:
        last = {kind: file[f"{kind} training"][:, -10:].mean() for kind in ("primal-dual", "penalty 3", "penalty 300")}
        training, multipliers = file["primal-dual training"], file["primal-dual multipliers"]
    assert last["primal-dual"] == pytest.approx(0.002, abs=0.001)
    assert min(last["penalty 3"], last["penalty 300"]) > 0.005
    expected = np.zeros(5)
    for k in range(5, 100):  # after the 1000 steps of warm-up
        expected = np.maximum(0.0, expected + 20.0 * (training[:, k] - 0.002))
        np.testing.assert_allclose(multipliers[:, k], expected, atol=1e-4)
