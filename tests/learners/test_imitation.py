"""Cloning and DAgger: what is labelled, by whom, what is kept, and what is learned from it."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import NOMINAL, observation
from mpcrl_course.learners.imitation import DAgger, clone, demonstrate, hanging, mirror_images
from mpcrl_course.policies import Receding, energy_rule, pendulum_expert
from mpcrl_course.problems import pendulum_mpc

SMALL = {"n": 3, "steps": 12, "fit_steps": 40, "width": 8}


def limited(x):
    return np.clip(energy_rule(x), -2.0, 2.0)[:, None]


def dagger(seed=0, expert=energy_rule, **options):
    return DAgger(expert, NOMINAL, hanging, np.random.default_rng(seed), **SMALL | options)


def test_with_the_expert_at_the_wheel_it_is_cloning():
    """The same generator draws starts, noise, first weights and batches: number for number the same network."""
    learner = dagger(beta=1.0).run(1, progress=False)
    rng = np.random.default_rng(0)
    DAgger(energy_rule, NOMINAL, hanging, rng, **SMALL)  # draws the first weights, which are forgotten
    x, u = demonstrate(energy_rule, NOMINAL, hanging(rng, 3), 12, rng)
    seen = learner.labels.all()
    np.testing.assert_array_equal(seen.x, x)
    np.testing.assert_array_equal(seen.u, u)
    other = DAgger(energy_rule, NOMINAL, hanging, np.random.default_rng(1), **SMALL).pupil
    other.learn(x, u, rng, steps=40)
    np.testing.assert_array_equal(other.network.theta, learner.pupil.network.theta)


def test_for_ever_only_the_expert_s_own_states_are_labelled():
    learner = dagger(beta=1.0).run(4, progress=False)
    x, u = learner.labels.all()
    starts = x.reshape(4, 12, 3, 2)[:, 0].reshape(-1, 2)
    own, torque = demonstrate(energy_rule, NOMINAL, starts, 12, np.random.default_rng(9))
    np.testing.assert_allclose(x.reshape(4, 12, 3, 2).swapaxes(0, 1).reshape(-1, 2), own, atol=1e-12)
    np.testing.assert_allclose(u.reshape(4, 12, 3, 1).swapaxes(0, 1).reshape(-1, 1), torque, atol=1e-12)


def test_later_rounds_label_the_states_of_the_pupil_and_keep_all_labels():
    learner = dagger().run(1, progress=False)
    before, pupil = learner.labels.all(), learner.pupil.network.theta.copy()
    learner.step()
    x, u = learner.labels.all()
    np.testing.assert_array_equal(x[:36], before.x)
    assert len(x) == 72 and learner.log.asked.tolist() == [36, 36] and learner.log.labels.tolist() == [36, 72]
    np.testing.assert_allclose(u, limited(x), atol=1e-12)  # the expert's labels, none of the pupil's
    after = learner.pupil.network.theta.copy()
    learner.pupil.network.theta[:] = pupil
    own = run(learner.pupil, NOMINAL, x[36:39], NOMINAL.draw(0, 3, 12)).x[:-1]
    np.testing.assert_allclose(x[36:].reshape(12, 3, 2), own, atol=1e-5)
    assert not np.array_equal(after, pupil)


def test_between_the_two_each_drives_its_share():
    learner = dagger(beta=0.25, n=60, steps=30, fit_steps=0).run(1, progress=False)
    x, u = learner.labels.all()
    x, u = x.reshape(30, 60, 2), u.reshape(30, 60, 1)
    # what acted, from the equation of motion
    acted = ((x[1:, :, 1] - x[:-1, :, 1]) / 0.05 - 15.0 * np.sin(x[:-1, :, 0])) / 3.0 + 0.05 * x[:-1, :, 1]
    drove = np.isclose(acted, u[:-1, :, 0], atol=1e-9)
    assert abs(drove.mean() - 0.25) < 3.0 * np.sqrt(0.25 * 0.75 / drove.size)


def test_the_reader_s_rule_says_when_to_ask():
    asked = dagger(when=lambda x, u: np.abs(x[:, 1]) > 0.3).run(3, progress=False)
    x = asked.labels.all().x
    assert asked.log.asked[0] == 36 and (np.abs(x[36:, 1]) > 0.3).all() and len(x) < 108
    never = dagger(beta=0.0, when=lambda x, u: np.zeros(len(x), bool)).run(2, progress=False)
    assert never.log.labels.tolist() == [0, 0] and np.isnan(never.log.error).all()
    with pytest.raises(ValueError, match=r"your when function returned shape \(1,\)"):
        dagger(beta=0.0, when=lambda x, u: [True]).step()


def test_mirror_images_make_the_pupil_nearly_odd():
    rng = np.random.default_rng(3)
    x = hanging(rng, 400)
    x, u = x - [np.pi, 0.0], np.sin(3.0 * x[:, :1]) + x[:, 1:] + 0.7  # not odd itself
    both = mirror_images(x, u)
    assert both[0].shape == (800, 2) and np.array_equal(both[0][400:], -x) and np.array_equal(both[1][400:], -u)
    grid = rng.uniform(-0.5, 0.5, (200, 2))
    odd, plain = (clone(x, u, np.random.default_rng(0), mirror=m, width=16) for m in (True, False))
    even = [np.abs(p(grid) + p(-grid)).mean() / 2 for p in (odd, plain)]
    assert even[0] < 0.1 and even[1] > 0.5


def test_the_pupil_is_the_network_of_what_it_sees():
    pupil = dagger().pupil
    x = hanging(np.random.default_rng(0), 4)
    np.testing.assert_allclose(pupil(x), pupil.network(observation(x)), atol=1e-7)
    np.testing.assert_allclose(pupil(x + [2 * np.pi, 0.0]), pupil(x), atol=1e-5)


def test_a_pupil_goes_on_from_its_weights_and_saves_how():
    x = hanging(np.random.default_rng(1), 60)
    u = limited(x)
    one, other = (dagger(fit_steps=0).pupil for _ in range(2))
    before = np.mean((one(x) - u) ** 2)
    rng = np.random.default_rng(2)
    one.improve(x, u, rng, steps=300)
    assert np.mean((one(x) - u) ** 2) < 0.5 * before and one.adam.count == 300
    rng = np.random.default_rng(2)
    other.improve(x, u, rng, steps=150)
    again = dagger(seed=5, fit_steps=0).pupil
    again.load(other.arrays())
    again.improve(x, u, rng, steps=150)
    np.testing.assert_array_equal(again.network.theta, one.network.theta)
    again.learn(x, u, rng, steps=1)
    assert again.adam.count == 0
    with pytest.raises(ValueError, match="x and u are pairs, but there are 2 and 3"):
        one.improve(x[:2], u[:3], rng)


def test_a_step_of_improvement_is_adam_on_half_the_mean_square():
    """Against finite differences: Adam's first step has the size of its rate and the sign of the gradient."""
    x = hanging(np.random.default_rng(1), 1)
    pupil = dagger(fit_steps=0).pupil
    network, before = pupil.network, pupil.network.theta.copy()
    pupil.improve(x, [[1.5]], np.random.default_rng(0), steps=1, batch=4)
    step = network.theta - before

    def loss(theta):
        network.theta[:] = theta
        return 0.5 * float(pupil(x)[0, 0] - 1.5) ** 2

    units = np.eye(before.size)[:: before.size // 12] * 1e-2
    slopes = np.array([(loss(before + e) - loss(before - e)) / 2e-2 for e in units])
    moved = step[:: before.size // 12]
    clear = np.abs(slopes) > 1e-3
    assert clear.sum() > 3
    np.testing.assert_allclose(moved[clear], -2e-3 * np.sign(slopes[clear]), rtol=1e-3)


def test_an_expert_with_a_memory_is_reset_before_each_round_and_both_kinds_can_teach():
    warm = Receding(pendulum_mpc(horizon=10))
    for expert in (warm, pendulum_expert(pendulum_mpc(horizon=10))):
        learner = dagger(expert=expert, n=2, steps=3).run(2, progress=False)
        assert learner.log.labels.tolist() == [6, 12] and np.abs(learner.labels.all().u).max() <= 2.0 + 1e-6
    assert [len(seconds) for seconds in warm.seconds] == [3, 3]


def test_pairs_that_are_none_are_named():
    with pytest.raises(ValueError, match="x and u are pairs, but there are 3 and 2"):
        mirror_images(np.zeros((3, 2)), np.zeros((2, 1)))
