"""The learner's parts: replay memory, behaviours, schedules, log and saved states."""

import json
import os

import numpy as np
import pytest

from mpcrl_course.learners.behaviour import as_schedule, constant, epsilon_greedy, exponential, greedy, perturbed_cost
from mpcrl_course.learners.log import Log, load_state, save_state
from mpcrl_course.learners.replay import Replay
from mpcrl_course.problems.linear import linear_mpc


def filled(n, *sizes):
    replay = Replay(*sizes, i=(), g=3, terminated=1)
    for i in range(n):
        replay.add(i=i, g=np.full(3, float(i)), terminated=i % 2 == 0)
    return replay


def drawn(replay, seed=0):
    return replay.draw(np.random.default_rng(seed)).i.astype(int).tolist()


def test_replay_keeps_the_last_and_draws_latest_and_older():
    replay = filled(25, 10, 5, 2)
    assert replay.all().i.tolist() == list(range(15, 25)) and len(replay) == 10
    seen = set()
    for seed in range(200):
        batch = drawn(replay, seed)
        assert batch[:2] == [24, 23] and len(set(batch)) == 5 and set(batch[2:]) <= set(range(15, 23))
        seen |= set(batch[2:])
    assert seen == set(range(15, 23))  # every older one may come


def test_replay_draws_older_samples_uniformly():
    replay, counts = filled(10, 10, 4, 1), np.zeros(10)
    for seed in range(3000):
        counts[drawn(replay, seed)] += 1
    assert counts[9] == 3000
    np.testing.assert_allclose(counts[:9] / 3000, 3 / 9, atol=0.04)


def test_replay_without_latest_draws_from_all_with_replacement():
    replay = filled(8, 5, 6000)
    batch = replay.draw(np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(batch.i.astype(int), minlength=8) / 6000, [0, 0, 0, *[0.2] * 5], atol=0.02)
    np.testing.assert_array_equal(batch.g, np.repeat(batch.i[:, None], 3, axis=1))
    np.testing.assert_array_equal(batch.terminated[:, 0], batch.i % 2 == 0)
    assert batch.terminated.shape == (6000, 1)


def test_replay_that_fills_up_and_special_sizes():
    assert drawn(filled(1, 10, 5, 2)) == [0]
    assert drawn(filled(2, 10, 5, 2)) == [1, 0]
    assert sorted(drawn(filled(4, 10, 5, 2))) == [0, 1, 2, 3]
    assert sorted(drawn(filled(3, 10, 9, 5))) == [0, 1, 2]
    assert drawn(filled(4, 1, 1, 1)) == [3]
    assert drawn(filled(9, 5, 5, 5)) == [8, 7, 6, 5, 4]
    without_latest = filled(9, 5, 2, 0)
    assert {i for seed in range(50) for i in drawn(without_latest, seed)} == {4, 5, 6, 7, 8}
    for sizes in ((0, 0, 0), (3, 4, 1), (3, 2, 3), (3, 0, 0), (3, 2, -1)):
        with pytest.raises(ValueError, match="need 1 <= batch <= size"):
            Replay(*sizes, s=1)


def test_replay_arrays_round_trip():
    for n in (3, 7):
        replay, other = filled(n, 5, 3, 1), Replay(5, 3, 1, i=(), g=3, terminated=1)
        other.load(replay.arrays())
        assert drawn(other, 3) == drawn(replay, 3)
        for one, two in zip(replay.all(), other.all()):
            np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="saved memory's i has shape"):
        Replay(2, i=(), g=3, terminated=1).load(replay.arrays())


def test_schedules():
    assert [constant(0.3)(k) for k in (0, 10)] == [0.3, 0.3]
    np.testing.assert_allclose([exponential(2.0, 0.5)(k) for k in range(3)], [2, 1, 0.5])
    np.testing.assert_allclose([exponential(2.0, 0.5, every=10)(k) for k in (0, 9, 10, 25)], [2, 2, 1, 0.5])
    schedule = exponential(1.0, 0.9)
    assert as_schedule(schedule) is schedule and as_schedule(3)(7) == 3.0


MPC10 = linear_mpc()
THETA, S = MPC10.parameters.initial(), np.array([0.3, 0.1])
V = MPC10.policy(THETA, S)


def policy(q):
    return MPC10.policy(THETA, S, perturbation=q)


def test_greedy_and_epsilon_greedy():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(greedy(0, V, policy, rng), V.u0)
    never, always, decaying = (epsilon_greedy(e, -1, 1) for e in (0.0, 1.0, lambda k: 1.0 if k < 5 else 0.0))
    for k in range(10):
        np.testing.assert_array_equal(never(k, V, policy, rng), V.u0)
        assert (decaying(k, V, policy, rng) == V.u0).all() == (k >= 5)
    drawn = np.array([always(0, V, policy, rng) for _ in range(2000)])
    assert drawn.shape == (2000, 1) and drawn.min() >= -1 and drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0.0, abs=0.04) and drawn.std() == pytest.approx(2 / np.sqrt(12), abs=0.03)
    half = epsilon_greedy(0.5, -1, 1)
    assert np.mean([(half(0, V, policy, rng) == V.u0).all() for _ in range(1000)]) == pytest.approx(0.5, abs=0.05)


def test_perturbed_cost_explores_within_the_constraints():
    rng, behave = np.random.default_rng(1), perturbed_cost(1.0, 2.0)
    drawn = np.array([behave(0, V, policy, rng)[0] for _ in range(300)])
    assert (np.abs(drawn) <= 1 + 1e-9).all() and drawn.std() > 0.1
    q = 2.0 * np.random.default_rng(1).standard_normal()  # the first draw is the coin
    rng = np.random.default_rng(1)
    rng.random()
    q = 2.0 * rng.standard_normal(1)
    assert drawn[0] == pytest.approx(policy(q).u0[0], abs=1e-12)
    np.testing.assert_array_equal(perturbed_cost(0.0, 2.0)(0, V, policy, rng), V.u0)
    np.testing.assert_allclose(perturbed_cost(1.0, 0.0)(0, V, policy, rng), V.u0, atol=1e-9)


def test_log():
    log = Log(theta=np.zeros(3))
    assert log.theta.shape == (1, 3) and "0 steps" in str(log)
    for k, (td, cost) in enumerate(((1.0, 0.5), (-2.0, 1.5), (np.nan, 1.0))):
        log.add(x=[k, k], td=td, cost=cost, theta=np.full(3, k + 1.0), failed=np.isnan(td), ended=k == 1)
    assert log.steps == 3 and log.x.shape == (3, 2) and log.failed.dtype == bool
    np.testing.assert_array_equal(log.theta[:, 0], [0, 1, 2, 3])  # before each step, and after the last
    assert "3 steps" in str(log) and "mean |TD| 1.5" in str(log) and "1 failed" in str(log)
    np.testing.assert_array_equal(log.episodes(), ([1], [2.0]))
    other = Log(theta=np.zeros(3))
    other.load(log.arrays())
    for one in (log, other):
        one.add(x=[9, 9], td=0.1, cost=0.2, theta=np.ones(3), failed=False, ended=True)
    for name, series in log.arrays().items():
        np.testing.assert_array_equal(series, other.arrays()[name])
    with pytest.raises(AttributeError, match="no series is called 'u'; there are: theta, x, td"):
        _ = log.u
    for _ in range(1000):  # it grows
        log.add(x=[1, 2], td=0.0, cost=1.0, theta=np.ones(3), failed=False, ended=False)
    assert log.steps == 1004 and log.x.shape == (1004, 2) and log.x[-1].tolist() == [1, 2]


def test_saved_states_replace_each_other_and_do_not_mix(tmp_path):
    for k in (1, 2):
        for run in ("rate_0.1", "rate_0.2"):  # names with a dot are names, not suffixes
            save_state(tmp_path / "deep" / run, {"a": np.arange(k)}, {"k": k, "run": run})
    assert len(os.listdir(tmp_path / "deep")) == 4  # two pairs; nothing old or temporary is left
    for run in ("rate_0.1", "rate_0.2"):
        arrays, scalars = load_state(tmp_path / "deep" / run)
        assert scalars["run"] == run and scalars["k"] == 2
        np.testing.assert_array_equal(arrays["a"], [0, 1])
    with pytest.raises(FileNotFoundError, match="rate_0.3"):
        load_state(tmp_path / "rate_0.3")


@pytest.mark.parametrize("k", [1, 2])
def test_a_run_killed_while_saving_keeps_the_old_state(tmp_path, monkeypatch, k):
    """Killed while the arrays are half written, at the same step or a later one."""
    path = tmp_path / "run"
    save_state(path, {"a": np.arange(3)}, {"k": 1})

    def dies(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", dies)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, {"a": np.arange(4)}, {"k": k})
    arrays, scalars = load_state(path)
    np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
    assert scalars["k"] == 1
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["k"] == 1


@pytest.mark.parametrize("size", [1, 3])
def test_the_newest_alone_is_the_last_of_all_and_a_copy(size):
    memory = Replay(size, 1, 1, s=2, cost=())
    assert len(memory.draw(np.random.default_rng(0)).cost) == 0  # nothing is there yet
    for k in range(7):
        memory.add(s=[k, -k], cost=0.5 * k)
        newest = memory.draw(np.random.default_rng(0))
        np.testing.assert_array_equal(newest.s, memory.all().s[-1:])
        np.testing.assert_array_equal(newest.cost, [0.5 * k])
        newest.s[:] = np.nan
        assert np.isfinite(memory.all().s).all()
