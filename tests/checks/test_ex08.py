"""Exercise 08: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.checks import ex08
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.envs.pendulum import NOMINAL
from mpcrl_course.learners import DAgger, Pupil, SkipPolicy, hanging
from mpcrl_course.policies import Receding
from mpcrl_course.problems import pendulum_mpc
from mpcrl_course.statistics import difference, interval
from tests.notebooks import texts

NAME = "08_expert"


# ------------------------------------------------------------------------------ the references, against the package


@pytest.mark.parametrize(("start", "back"), [(0.6, True), (2.03, True), (2.05, False), (-2.03, True), (-2.05, False)])
def test_the_clone_fails_where_it_is_said_to(start, back):
    x = start
    for _ in range(100):
        x = ex08.GROWTH * x + np.clip(-ex08.GAIN * np.clip(x, -ex08.LABELLED, ex08.LABELLED), -1.0, 1.0)
    assert (abs(x) < 1e-6) == back


def test_the_gradient_is_that_of_difference_quotients():
    for probe in ex08.cloning.calls(1):
        loss, gradient = ex08.cloning_loss(**probe)
        pupil = probe["limit"] * np.tanh(probe["phi"] @ probe["W"])
        assert loss == pytest.approx(np.mean(np.sum((pupil - probe["u"]) ** 2, axis=1)))
        for i in np.ndindex(*gradient.shape):
            h = np.zeros(gradient.shape)
            h[i] = 1e-6
            up, down = (ex08.cloning_loss(**probe | {"W": probe["W"] + s * h})[0] for s in (1, -1))
            assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-7)


def test_with_the_teacher_at_the_wheel_dagger_is_cloning():
    """beta = 1 for ever: the states are those of the teacher's runs, whatever pupil there is and whatever r."""
    lesson, rng = ex08.Lesson(), np.random.default_rng(0)
    starts, theta = rng.normal(size=(2, 3, 2)), rng.normal(size=(4, 1))
    X, U, fitted = ex08.dagger(lesson, theta, starts, np.ones(2), rng.random((2, 5, 3)), np.inf)
    expected = []
    for x in starts:
        for _ in range(5):
            expected.append(x)
            x = lesson.plant(x, lesson.teacher(x))
    np.testing.assert_allclose(X, np.concatenate(expected), rtol=1e-12)
    np.testing.assert_allclose(U, lesson.teacher(X), rtol=1e-12)
    np.testing.assert_allclose(fitted, lesson.fit(X, U), rtol=1e-9)


def test_a_round_has_the_labels_of_the_package_in_its_order():
    learner = DAgger(ex08.teacher, NOMINAL, hanging, np.random.default_rng(3), n=2, steps=4, fit_steps=1)
    learner.step()
    x, u = learner.labels.all()
    starts = x[:2][None].astype(float)
    X, U, _ = ex08.dagger(ex08.Swing(), np.zeros((81, 1)), starts, np.ones(1), np.full((1, 4, 2), 0.5), 0.0)
    np.testing.assert_allclose(ex08.see(X), ex08.see(x.astype(float)), atol=1e-6)
    np.testing.assert_allclose(U, u, atol=1e-5)


def test_where_nothing_is_asked_nothing_is_learned():
    lesson, theta = ex08.Lesson(), np.array([[0.1], [0.2], [-0.3], [0.1]])
    starts = np.array([[[0.5, 0.2]], [[0.5, 0.2]]])
    X, _, fitted = ex08.dagger(lesson, theta, starts, np.array([1.0, 0.0]), np.full((2, 1, 1), 0.5), 0.1)
    assert len(X) == 1  # the second round's only state is known
    np.testing.assert_allclose(fitted, lesson.fit(X, lesson.teacher(X)), rtol=1e-9)


def test_the_targets_are_those_of_the_package():
    rng = np.random.default_rng(2)
    options = [(False, 2), (True, 1), (True, 3), (True, 6)]
    policy = SkipPolicy(2, options, rng, price=0.7, gamma=0.9)
    s, s_next, cost = rng.normal(size=(5, 2)), rng.normal(size=(5, 2)), rng.uniform(0.5, 2.0, 5)
    for by_expert in (False, True):
        best, targets = ex08.skip(policy.q(s[0]), options, by_expert, cost, policy.slow(s_next), 0.7, 0.9)
        assert best == policy.best(s[0])
        filled = {(i, o) for i, o in np.argwhere(~np.isnan(targets)).tolist()}
        windows = policy.windows(by_expert, s, cost, s_next)
        assert len(windows) == len(filled)
        for state, o, total, discount, ahead in windows:
            i = int(np.flatnonzero((s == state).all(axis=1))[0])
            assert targets[i, o] == pytest.approx(total + discount * policy.slow(ahead).min(), rel=1e-5)


def test_in_the_first_round_nothing_shows():
    probe = ex08.debug.calls(0)[0]
    first = probe | {"starts": probe["starts"][:1]}
    for one, other in zip(ex08.teach_as_given(**first), ex08.teach(**first)):
        np.testing.assert_array_equal(one, other)
    assert not np.allclose(ex08.teach_as_given(**probe)[0], ex08.teach(**probe)[0])


def test_the_given_function_agrees_with_its_own_labels():
    """The error on the labels, which the notebook shows, is 0 from the second round on: a ridge is all that is left."""
    lesson, starts = ex08.Lesson(), ex08.debug.calls(0)[2]["starts"]
    theta, X, U = ex08.teach_as_given(lesson, starts, 8)
    assert np.abs(lesson.act(theta, X) - U).max() < 0.02
    assert np.abs(lesson.teacher(X) - U).max() > 0.1


# -------------------------------------------------------------------------------------------- the states of the design


def test_the_recipes_are_worth_what_is_shipped():
    shipped = places.data("states_08.npz")
    costs = dict(zip(shipped["names"].tolist(), shipped["costs"].astype(float)))
    best, own = costs["DAgger, mirrored"], costs["teacher's own"]
    found = interval(best)
    assert found.mean + found.half < ex08.BAR and np.mean(best <= ex08.BAR) >= 0.85
    gain = difference(best, own)
    assert gain.mean + gain.half < -100
    for naive in ("grid", "at random", "teacher's own, hanging", "teacher's own", "teacher's own, mirrored"):
        found = interval(costs[naive])
        assert found.mean - found.half > ex08.BAR + 50 and np.mean(costs[naive] <= ex08.BAR) <= 0.1
    middle = int(np.argsort(best)[10])  # whose states are shipped, from starts as the script draws them
    again = ex08.drive(
        ex08.pupil_of(x := ex08._shipped()["DAgger, mirrored"], ex08.teacher(x)),
        ex08.anywhere(np.random.default_rng([middle, 8]), 1000),
    )
    assert again.cost.sum(axis=0).mean() == pytest.approx(best[middle], rel=0.02)


def test_right_states_are_right_and_wrong_ones_wrong_beyond_doubt():
    """Each by two standard errors of its mean over 400 starts, on another seed than the check's."""
    for x in ex08.design.right_answers():
        J = ex08.cost_of(x, seed=11)
        assert (ex08.BAR - J.mean()) / (J.std() / np.sqrt(len(J))) > 2
    for mistake in ex08.design.mistakes:
        J = ex08.cost_of(mistake.example, seed=11)
        assert (J.mean() - ex08.BAR) / (J.std() / np.sqrt(len(J))) > 2, mistake.name


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.zeros((500, 3)), "an array of shape"),
        (np.zeros(500), "an array of shape"),
        ("a grid", "an array of shape"),
        ([[1.0, 2.0], [3.0]], "an array of shape"),
        (np.zeros((0, 2)), "an array of shape"),
        (np.zeros((501, 2)), "501 states, and 500 labels are allowed"),
        ([[np.nan, 0.0]], "not finite"),
        ([[0.0, 1e9]], "faster than"),
    ],
    ids=str,
)
def test_states_of_the_wrong_form_say_so(answer, said):
    result = ex08.design.judge(answer)
    assert result.verdict == RAISED and said in str(result.details)


def test_angles_may_have_made_turns():
    turned = ex08._shipped()["DAgger, mirrored"][:60] + [4 * np.pi, 0.0]
    np.testing.assert_allclose(ex08.cost_of(turned, runs=5), ex08.cost_of(turned - [4 * np.pi, 0.0], runs=5), rtol=1e-3)


# ---------------------------------------------------------------------------------- what the explanation says is so


def test_what_the_lecture_has_measured_is_what_the_explanation_says():
    data = places.data("expert_08.npz")
    rows = {name: i for i, name in enumerate(data["names"])}
    cost, error = data["costs"].mean(axis=1), data["errors"].mean(axis=1)
    warm, memoryless, cloned = rows["DAgger, warm"], rows["DAgger, memoryless"], rows["cloning, warm"]
    assert (round(data["warm"][1]), round(data["expert"][1])) == (154, 162)  # reason 4
    assert (round(float(cost[warm, 5, 1])), round(float(cost[memoryless, 5, 1]))) == (368, 168)
    np.testing.assert_allclose(error[warm, [0, 5], 0], [0.35, 0.97], atol=0.005)
    assert (np.abs(error[memoryless, 1:, 0] - 0.24) < 0.03).all()  # reason 3
    assert error[cloned, 5, 0] < 0.5 * error[warm, 5, 0]  # reason 6 is false


def test_the_warm_started_teacher_has_two_answers_and_width_does_not_help():
    teacher = Receding(pendulum_mpc())
    learner = DAgger(teacher, NOMINAL, hanging, np.random.default_rng(0), n=3, fit_steps=700).run(3, progress=False)
    x, u = learner.labels.all()
    again = []
    for state in x[300::20]:
        teacher.reset()
        again.append(teacher(state[None])[0])
    differ = np.abs(np.clip(again, -2.0, 2.0) - u[300::20]) > 1.0
    assert differ.mean() > 0.04  # reason 1
    narrow, wide = (
        Pupil(2, 1, np.random.default_rng(0), width=width).learn(x, u, np.random.default_rng(0), steps=1500)
        for width in (64, 128)
    )
    assert wide > 0.7 * narrow  # reason 2 is false


def test_each_reason_of_its_own_is_judged():
    judged = {n: ex08.explain.judge(("b", [n])) for n in ex08.explain.reasons}
    assert {n for n, result in judged.items() if result.mistake is None} == set(ex08.explain.carrying)


# ------------------------------------------------------------------------------------------------- what is judged


@pytest.mark.parametrize(
    ("number", "verdict"), [(2.04, RIGHT), ("51/25", RIGHT), (2.045, RIGHT), (2.0, WRONG), (0.6, WRONG)]
)
def test_the_predicted_number(number, verdict):
    assert ex08.predict.judge(number).verdict == verdict


def test_the_given_code_is_not_attempted():
    assert ex08.debug.judge(ex08.teach_as_given).verdict == NOT_ATTEMPTED


@pytest.mark.parametrize("kept", ["states", "labels", "aggregate"])
def test_one_fault_is_named_and_one_repair_too(kept):
    names = {
        "states": ("expert queried on expert states only", "only the states repaired"),
        "labels": ("labels from the learner", "only the labels repaired"),
        "aggregate": ("aggregate overwritten", "only the aggregate repaired"),
    }[kept]
    others = [fault for fault in ex08._FAULTS if fault != kept]
    judged = [ex08.debug.judge(ex08._with(*faults)).mistake for faults in ([kept], others)]
    assert judged == list(names)


def test_a_part_that_is_wrong_is_said():
    def shifted(*call, **named):
        X, U, theta = ex08.dagger(*call, **named)
        return X, U[::-1], theta

    result = ex08.aggregation.judge(shifted)
    assert result.verdict == WRONG and result.sentence.startswith("U is wrong, X and theta are right.")


def test_starts_that_are_overwritten_are_no_harm():
    def in_place(lesson, theta, starts, beta, draws, r):
        result = ex08.dagger(lesson, theta, starts.copy(), beta, draws, r)
        starts[:], draws[:] = 0.0, 0.0
        return result

    assert ex08.aggregation.judge(in_place).verdict == RIGHT


# --------------------------------------------------------------------------------------------------- the notebooks


def test_what_the_notebook_says_is_what_the_check_does():
    text = texts(NAME)
    for key, sentence in (ex08.explain.choices | ex08.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    said = text["predict-text"]
    assert ex08.predict.precision in said and f"{ex08.GROWTH}\\, x + u" in said and f"-{ex08.GAIN}\\, x" in said
    assert f"$|x| \\le {ex08.LABELLED}$" in said and f"$|u| \\le {ex08.LIMIT:g}$" in said
    said = text["design-text"]
    for number in (ex08.LABELS, ex08.RUNS, ex08.STEPS, f"{ex08.BAR:g}"):
        assert f"**{number}**" in said
