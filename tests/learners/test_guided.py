"""Demonstrations in replay, and the skip policy: its windows and values by hand, who acts when, and what it costs."""

from types import SimpleNamespace

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.data.make_08_guided import EPISODE, ROWS
from mpcrl_course.envs.pendulum import Pendulum
from mpcrl_course.learners.ddpg import DDPG
from mpcrl_course.learners.guided import Demonstrated, Guided, SkipPolicy, angle_and_velocity, transitions
from mpcrl_course.policies import energy_rule

SMALL = {"batch": 8, "width": 8}


def demonstrations(steps=30, seed=5):
    return transitions(Pendulum(steps=20), energy_rule, steps, np.random.default_rng(seed))


def guided(seed=0, **options):
    return Guided(Pendulum(steps=20), np.random.default_rng(seed), energy_rule, **SMALL | options)


def test_transitions_are_those_of_the_expert():
    s, a, cost, s_next, terminated = demonstrations()
    x = np.array([angle_and_velocity(row) for row in s])
    np.testing.assert_allclose(a[:, 0], np.clip(energy_rule(x), -2.0, 2.0), atol=1e-12)
    near_top = transitions(Pendulum(start=[0.4, 0.0]), energy_rule, 1, np.random.default_rng(0))
    assert near_top[1][0, 0] == -2.0 and energy_rule([[0.4, 0.0]])[0] < -3.9  # what is stored is what acted
    np.testing.assert_array_equal(s_next[:19], s[1:20])
    assert not np.array_equal(s_next[19], s[20]) and not terminated.any() and (cost >= 0).all()


def test_an_expert_s_memory_is_reset_before_each_episode():
    class Counts:
        def __init__(self):
            self.made, self.resets = [], 0

        def reset(self):
            self.made, self.resets = [], self.resets + 1

        def __call__(self, x):
            self.made.append(x)
            return np.full((len(x), 1), 0.01 * len(self.made))

    expert = Counts()
    a = transitions(Pendulum(steps=20), expert, 50, np.random.default_rng(0))[1]
    np.testing.assert_allclose(a[:, 0], 0.01 * np.concatenate([np.arange(1, 21), np.arange(1, 21), np.arange(1, 11)]))
    assert expert.resets == 3


def test_without_demonstrations_in_the_batch_it_is_ddpg_number_for_number():
    one = Demonstrated(Pendulum(steps=20), np.random.default_rng(0), demonstrations(), part=0.0, warm_up=10, **SMALL)
    other = DDPG(Pendulum(steps=20), np.random.default_rng(0), warm_up=10, **SMALL)
    for learner in (one, other):
        learner.run(60, progress=False)
    np.testing.assert_array_equal(one.agent.actor.theta, other.agent.actor.theta)


def test_a_part_of_each_batch_are_demonstrations_and_offline_all_of_it(monkeypatch):
    shown, batches = demonstrations(), []
    learner = Demonstrated(Pendulum(steps=20), np.random.default_rng(0), shown, offline=3, warm_up=0, **SMALL)
    update = learner.agent.update
    monkeypatch.setattr(learner.agent, "update", lambda batch: (batches.append(batch), update(batch))[1])
    learner.run(30, progress=False)
    theirs = {tuple(row) for row in shown[0].astype(np.float32).tolist()}
    counts = [sum(tuple(row) in theirs for row in batch[0].tolist()) for batch in batches]
    assert len(batches) == 33 and counts[:3] == [8, 8, 8] and set(counts[3:]) == {2}
    assert all(len(part) == 8 for batch in batches for part in batch)


def test_windows_by_hand():
    skip = SkipPolicy(1, [(False, 2), (True, 1), (True, 3)], np.random.default_rng(0), price=0.5, gamma=0.5)
    s, ahead, cost = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [2.0], [3.0]]), [1.0, 2.0, 4.0]
    found = skip.windows(False, s, cost, ahead)
    assert [(w[0][0], *w[1:4], w[4][0]) for w in found] == [(0.0, 0, 2.0, 0.25, 2.0), (1.0, 0, 4.0, 0.25, 3.0)]
    found = [(w[0][0], *w[1:4], w[4][0]) for w in skip.windows(True, s, cost, ahead)]
    assert found == [
        (0.0, 1, 1.5, 0.5, 1.0),
        (1.0, 1, 2.5, 0.5, 2.0),
        (2.0, 1, 4.5, 0.5, 3.0),
        (0.0, 2, 1.5 + 0.5 * 2.5 + 0.25 * 4.5, 0.125, 3.0),
    ]


@pytest.mark.parametrize("price", [0.5, 3.0])
def test_the_values_of_options_in_a_single_state(price):
    """The actor pays 3 a step, the expert 1 and its price: then V = min(3, 1 + price) / (1 - gamma)."""
    skip = SkipPolicy(1, [(False, 2), (True, 1)], np.random.default_rng(0), price=price, gamma=0.5, tau=0.1, rate=5e-3)
    s = np.ones((1, 1), np.float32)
    rows = [w for who, cost in ((False, [3.0, 3.0]), (True, [1.0])) for w in skip.windows(who, s[[0] * len(cost)],
            cost, s[[0] * len(cost)])]  # fmt: skip
    columns = zip(*rows)
    s, option, total, discount, ahead = (np.array(c, np.float32).reshape(2, 1) for c in columns)
    batch = SimpleNamespace(s=s, option=option, total=total, discount=discount, s_next=ahead)
    for _ in range(1500):
        skip.update(batch)
    V = min(3.0, 1.0 + price) / 0.5
    np.testing.assert_allclose(skip.q(np.ones(1)), [4.5 + 0.25 * V, 1.0 + price + 0.5 * V], rtol=0.01)
    assert skip.best(np.ones(1)) == (price < 2.0)


def test_a_schedule_says_who_acts():
    always, never = guided(use=1.0).run(50, progress=False), guided(use=0.0).run(50, progress=False)
    assert always.decisions.expert.all() and not never.decisions.expert.any()
    x = np.array([angle_and_velocity(s) for s in always.log.s])
    np.testing.assert_allclose(always.log.a[:, 0], np.clip(energy_rule(x), -2.0, 2.0), atol=1e-9)


def test_the_actor_drives_every_second_episode_alone_and_options_last_their_steps():
    learner = guided(epsilon=1.0).run(200, progress=False)
    expert, option = learner.decisions.expert.reshape(10, 20), learner.decisions.option.reshape(10, 20)
    assert not expert[1::2].any() and expert[::2].any(axis=1).all()
    lengths = [4, 1, 4, 16]
    for episode in option:
        k = 0
        while k < 20:
            n = lengths[episode[k]]
            assert (episode[k : k + n] == episode[k]).all()
            k += n


def test_a_dear_expert_is_used_less():
    cheap, dear = (guided(price=p, epsilon=0.1, alone=0, recent=400).run(600, progress=False) for p in (0.0, 1000.0))
    assert dear.decisions.expert[300:].mean() < 0.2 < cheap.decisions.expert.mean()


def test_what_options_cannot_be_is_named():
    with pytest.raises(ValueError, match="an option of the actor and one of the expert"):
        guided(choices=[(True, 2)])
    with pytest.raises(ValueError, match="options are pairs"):
        SkipPolicy(3, [(True, 2, 1)], np.random.default_rng(0))
    with pytest.raises(ValueError, match="use is 'learned' or a schedule"):
        guided(use="expert")
    with pytest.raises(ValueError, match="demonstrations are s, a, cost"):
        Demonstrated(Pendulum(), np.random.default_rng(0), demonstrations()[:4])


@pytest.mark.parametrize("row", ["plain", "offline first", "fixed schedule", "skip policy"])
def test_the_shipped_runs_begin_as_they_are_made(row):
    """The first two episodes of seed 0: later ones grow apart with the rounding of another machine."""
    with places.data("guided_08.npz") as file:
        runs = file["hanging"][list(file["hanging names"]).index(row), 0]
    learner = ROWS["hanging"][row](0)
    if row == "offline first":
        cost, share = learner.demonstrations.columns["cost"].reshape(-1, EPISODE)[:2].sum(axis=1), 1.0
    else:
        learner.run(2 * EPISODE, progress=False)
        cost, who = learner.log.episodes()[1], getattr(learner, "decisions", None)
        share = 0.0 if who is None else who.expert.reshape(2, EPISODE).mean(axis=1)
    np.testing.assert_allclose(cost, runs[:2], rtol=0.02)
    np.testing.assert_allclose(runs[50:52], share, atol=0.05)


def test_the_shipped_share_falls_and_is_not_nan():
    with places.data("guided_08.npz") as file:
        share = file["hanging"][list(file["hanging names"]).index("skip policy"), :, 50:100]
        assert all(np.isfinite(file[stage]).all() for stage in ("anywhere", "passed", "clone", "hanging seconds"))
    assert share.shape[0] >= 5 and (share[:, 1::2] == 0).all()  # every second episode the actor drives alone
    assert (share[:, -10:].mean(axis=1) < 0.6 * share[:, :20].mean(axis=1)).all()
