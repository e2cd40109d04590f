"""The harness: every decision counted and timed, the common guess, rows of the table by hand."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.cartpole import LADEN, CartPoleParameters, hanging_start
from mpcrl_course.learners import cartpole_transitions, fit
from mpcrl_course.policies import comparison
from mpcrl_course.policies.comparison import CommonGuess, Measured, hanging_starts, measure, objective, row, stack
from mpcrl_course.policies.integrated import feature_mlp, features
from mpcrl_course.policies.parallel import Parallel, correction, missing_force
from mpcrl_course.policies.receding import Receding, first_plan
from mpcrl_course.problems.cartpole import cartpole_mpc, with_model

MPC = cartpole_mpc(horizon=15)
GUESS = CommonGuess(MPC)


def push(force):
    return lambda y: np.full((len(y), 1), force)


def test_starts_are_near_hanging_and_each_is_its_own():
    starts = hanging_starts(30, seed=3)
    assert (np.abs(starts - [0.0, np.pi, 0.0, 0.0]) <= [1.0, 0.5, 0.5, 1.0]).all()
    np.testing.assert_array_equal(starts[4], hanging_start(np.random.default_rng([3, 4])))
    np.testing.assert_array_equal(hanging_starts(5, seed=3), starts[:5])


def test_the_plain_controller_loses_nothing_by_the_common_guess():
    s = hanging_starts(1)[0]
    plan, mine = first_plan(MPC, GUESS.theta, s), GUESS(MPC, GUESS.theta, s)
    np.testing.assert_allclose(mine.u, plan.u, atol=1e-5)
    np.testing.assert_array_equal(GUESS.plan(s)[0], plan.x)


def test_a_model_of_its_own_goes_on_from_the_nominal_plan():
    """And not from the best of its own, which may swing the other way: what is compared is not the choice of valley."""
    s, theta = hanging_starts(1)[0], with_model(MPC, GUESS.theta, CartPoleParameters(mass=0.6))
    by_hand = MPC.policy(theta, s, warm_start=GUESS.plan(s))
    found = Receding(MPC, theta, first=GUESS)
    np.testing.assert_array_equal(found(s[None])[0], by_hand.u0)


def test_what_is_measured_is_that_of_the_closed_loop(monkeypatch):
    """Of two starts: costs, the distance at the end, steps off the track, decisions beyond the limit, their times."""
    clock = iter(0.002 * k * (k + 1) / 2 for k in range(10_000))
    monkeypatch.setattr(comparison, "process_time", lambda: next(clock))
    starts = np.array([[1.8, np.pi, 1.0, 0.0], [0.0, np.pi, 0.0, 0.0]])
    found = measure(push(20.0), starts=starts, steps=30)
    whole = run(push(20.0), LADEN, starts, LADEN.draw(0, 2, 30))
    np.testing.assert_allclose(found.cost, whole.cost.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.final, np.abs(whole.x[-1, :, 0]), rtol=1e-12)
    off = [(np.abs(whole.x[1 : end + 2, i, 0]) > 2.0).sum() for i, end in enumerate(whole.ended)]
    assert found.violations.tolist() == off and min(off) > 0 and whole.ended[0] < 30
    assert found.beyond.tolist() == np.minimum(whole.ended + 1, 30).tolist() and not found.fallbacks.any()
    assert np.isnan(found.ms[0, whole.ended[0] :]).all()
    np.testing.assert_allclose(found.ms[0, :2], [6.0, 10.0])  # the differences of the clock, without the first
    assert measure(push(14.0), starts=starts[1:], steps=9).beyond.tolist() == [0]


def test_words_of_decisions_are_counted():
    class Talking:
        k, status = 0, [""]

        def reset(self):
            self.k = 0

        def __call__(self, y):
            self.k += 1
            self.status = ["fallback" if self.k % 3 == 0 else "failed" if self.k == 4 else "rti"]
            return np.zeros((1, 1))

    found = measure(Talking(), starts=hanging_starts(2), steps=10)
    assert found.fallbacks.tolist() == [3, 3] and found.failed.tolist() == [1, 1]


def made(cost, ms):
    cost = np.array(cost, float)
    none = np.zeros(len(cost), int)
    return Measured(cost, cost / 100.0, none + 1, none + 2, none + 3, none, np.full((len(cost), 4), ms))


def test_a_row_by_hand():
    plain, trained = made([10.0, 20.0, 30.0], 2.0), [made([8.0, 18.0, 28.0], 5.0), made([6.0, 16.0, 26.0], 7.0)]
    found = row(stack(trained), plain)
    assert found.cost.mean == pytest.approx(17.0) and found.difference == pytest.approx((-3.0, -4.0, -2.0))
    assert found.final == pytest.approx(0.17) and found[3:7] == (1.0, 2.0, 3.0, 0.0)
    assert (found.median, found.relative) == (6.0, 3.0) and 5.0 < found.tail <= 7.0
    alone = row(trained[0], plain)
    assert alone.cost.mean == 18.0 and alone.difference == pytest.approx((-2.0, -2.0, -2.0))
    with pytest.raises(ValueError, match=r"the \(3,\) starts of plain"):
        row(made([1.0, 2.0], 1.0), plain)
    with pytest.raises(ValueError, match="the same starts"):
        stack([trained[0], made([1.0, 2.0], 1.0)])


def test_what_is_shipped_is_read_by_name():
    whole = stack([made([8.0, 18.0], 5.0), made([6.0, 16.0], 7.0)])
    file = {f"gate {name}": part for name, part in whole._asdict().items()} | {"gate learned": np.zeros(3)}
    for ours, theirs in zip(comparison.shipped(file, "gate"), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="there is no row 'gates'; there are: 'gate'"):
        comparison.shipped(file, "gates")


def test_the_objective_by_hand():
    """A crash counts as much as `most`; the end is where it came to stand."""
    starts = np.array([[0.0, np.pi, 0.0, 0.0], [2.3, np.pi, 5.0, 0.0]])
    found = run(push(1.0), LADEN, starts, LADEN.draw(0, 2, 20))
    assert found.cost[:, 1].sum() > 1000.0
    by_hand = np.mean([found.cost[:, 0].sum() + 50.0 * abs(found.x[-1, 0, 0]), 400.0 + 50.0 * abs(found.x[-1, 1, 0])])
    assert objective(push(1.0), starts, steps=20) == pytest.approx(by_hand, rel=1e-12)


def test_what_is_shipped_of_lecture_05_is_of_the_same_starts_and_says_what_was_learned():
    with places.data("boxes_05.npz") as file:
        shipped = dict(file)
    plain = comparison.shipped(shipped, "plain")
    assert plain.cost.shape == plain.final.shape == (20,) and plain.ms.shape == (20, 119)
    for name in ("regression", "by trial", "parallel 1", "gate", "phi by trial", "phi by DDPG"):
        found = comparison.shipped(shipped, name)
        assert found.cost.shape == found.final.shape == (5, 20) and len(shipped[f"{name} learned"]) == 5
        assert row(found, plain).cost.mean == pytest.approx(found.cost.mean())
    mass, friction = shipped["regression learned"].T
    assert (np.abs(mass - 0.55) < 0.05).all() and (np.abs(friction - 1.8) < 0.3).all() and np.ptp(mass) > 0.0
    whole = cartpole_mpc()
    model = CartPoleParameters(mass=float(mass[0]), friction=float(friction[0]))
    controller = Receding(whole, with_model(whole, None, model), first=CommonGuess(whole))
    again = measure(controller, starts=hanging_starts(1))  # a start of which no digit decides the swing
    assert again.cost[0] == pytest.approx(shipped["regression cost"][0, 0], rel=1e-2)


def test_a_seed_gives_one_row():
    def learned(seed):
        rng, mpc = np.random.default_rng(seed), cartpole_mpc()
        guess = CommonGuess(mpc)
        x, u = (np.array(part) for part in zip(*(guess.plan(s) for s in hanging_starts(2, 77)), strict=True))
        x, u, ahead = cartpole_transitions(LADEN, x[:, :-1], u, rng)
        network = fit(feature_mlp(rng, 1), features(x, u), missing_force(x, u, ahead), rng, steps=50)
        controller = Parallel(Receding(mpc, first=guess), correction(network))
        return measure(controller, starts=hanging_starts(2), steps=30)._replace(ms=np.zeros((2, 29)))

    one, again, other = learned(0), learned(0), learned(1)
    for ours, theirs in zip(one, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (one.cost != other.cost).all()
