"""Exercise 10: its references, and what a student may write."""

import numpy as np
import pytest

from mpcrl_course.checks import ex10
from mpcrl_course.checks.engine import NOT_ATTEMPTED, RAISED, RIGHT, WRONG
from mpcrl_course.data import make_10_tightening as shipped
from mpcrl_course.envs import RaceParameters, linear, race
from mpcrl_course.envs.race import CAR
from mpcrl_course.policies import RaceSafety, Receding
from mpcrl_course.policies.race_filter import RollOut, drives_on
from mpcrl_course.policies.reference_generator import BY_HAND, reference_at, tracker
from mpcrl_course.policies.safe_set import Clip, Polytope
from mpcrl_course.problems.race import circle, race_mpc, safety_mpc, safety_residual
from tests.notebooks import texts

NAME = "10_around_the_policy"


# ------------------------------------------------------------------------------ the references, against the package


def straight(v):
    """Return a state on the straightest piece of the track, at speed v."""
    s = np.linspace(0.0, race.LENGTH, 4001)
    return np.array([s[np.abs(race.curvature(s)).argmin()], 0.0, 0.0, v])


def test_the_filter_passes_just_the_predicted_cars():
    gas = [race.UPPER[0], 0.0]
    safety = RaceSafety(mpc=safety_mpc())
    assert ex10.predict.reference == pytest.approx(11.5)
    for v, passes in ((11.49, True), (11.51, False)):
        assert (safety.decide(straight(v), gas).status == "passed") == passes
        assert bool(ex10.stopped(straight(v), gas)[1]) == passes


def test_the_tracker_is_that_of_the_package():
    mpc = race_mpc(horizon=20)
    plan = mpc.policy(mpc.parameters.initial(), [12.0, 0.5, 0.1, 6.0])
    for s in (11.0, 13.3, 14.0, 60.0):
        x = np.array([s, 0.2, 0.05, 6.5])
        own = ex10.track(x, plan.x, plan.u, BY_HAND, 1.0)
        np.testing.assert_allclose(own, tracker()(x, reference_at(plan, s)), rtol=1e-12)


def test_the_problem_is_that_of_the_package():
    probe = ex10._some_solutions(np.random.default_rng(1))[2]
    J, edges, rows, end = ex10.least_change(**probe)
    X, U, N = probe["X"], probe["U"], len(probe["U"])
    mpc = safety_mpc(horizon=N)
    p = mpc.parameters.unpack(mpc.parameters.pack(**{"target": probe["target"], "track": probe["half_width"],
                                                     "grip": probe["grip"], "gain": probe["gain"]}))  # fmt: skip
    residuals = [np.array(safety_residual(k, X[k], U[k], p)) for k in range(N)]
    assert pytest.approx(sum((r**2).sum() for r in residuals)) == J
    np.testing.assert_allclose(rows, [float(circle(X[k], U[k], p, 0.98)) - 1.0 for k in range(N)])
    np.testing.assert_allclose(edges, np.abs(X[1:, 1]) - p.track + 0.05)
    assert end == X[-1, 3]


def test_the_certificate_is_that_of_the_package():
    safety = RaceSafety(mpc=safety_mpc())
    for probe in ex10._some_cars(np.random.default_rng(2)):
        N, model, half_width = probe["N"], probe["p"], probe["half_width"]
        X, ok = ex10.certificate(**probe)
        U = np.zeros((N, 2))
        U[: len(probe["U"])] = probe["U"]
        rolled = RollOut(N)(probe["x"], U, len(probe["U"]), model)[0]
        np.testing.assert_allclose(X, rolled, atol=1e-9)
        safety.track = half_width
        if np.abs(np.abs(rolled[1:, 1]).max() - half_width) > 1e-9:
            assert ok == safety.certified(rolled)


def test_each_reason_to_be_refused_has_its_probe():
    """Cars that fail by the end alone, by one edge or the other in between, by the last state, by both."""
    why = set()
    for probe in ex10._some_cars(np.random.default_rng(3)):
        n = ex10.certificate(**probe)[0]
        out = np.abs(n[:, 1]) > probe["half_width"]
        why.add((bool(out[0]), bool(out[1:-1].any()), bool(out[-1]), bool(n[-1, 3] > 1e-3)))
    wanted = {(False,) * 4, (False,) * 3 + (True,), (False, False, True, False), (False, True, False, False)}
    assert wanted | {(True, False, False, False), (True, True, True, False), (True,) * 4} <= why


def test_behind_the_filter_is_the_filter_of_the_package():
    for probe in ex10._some_steps(np.random.default_rng(4)):
        acted, stored, _ = ex10.behind_filter(**probe)
        clip = Clip(Polytope(*probe["safe"]), ex10.DISTURBANCE)
        np.testing.assert_allclose(acted, clip(probe["s"], probe["asked"][:, None])[:, 0], atol=1e-12)
        assert (stored == probe["asked"]).all() == (probe["store"] == "raw")
        ahead = probe["s"] @ linear.A.T + np.outer(acted, linear.B)
        for e in (-ex10.DISTURBANCE, 0.0):
            assert (ahead @ probe["safe"][0].T + e * probe["safe"][0][:, 0] <= probe["safe"][1] + 1e-9).all()


def test_v_is_the_least_q():
    critic, grid = ex10.Critic([1.5, 0.3, 0.6, 0.4, 0.8]), np.linspace(-1.0, 1.0, 20_001)
    for s in np.array([[0.3, 0.5], [0.9, -0.7], [0.1, 3.5]]):
        assert critic.V(s) == pytest.approx(min(critic.Q(s, a) for a in grid), abs=1e-8)


def test_each_fault_alone_is_seen_and_told_from_the_others():
    parts = {"act": ex10._least, "rows": lambda q: q.box, "judged": ex10._raw}
    names = {"act": "change still wrong", "rows": "set still wrong", "judged": "action still wrong"}
    for part, fault in parts.items():
        assert ex10.debug.judge(ex10._filtered(**{part: fault})).mistake == names[part]
    assert ex10.debug.judge(ex10._filtered(**parts)).verdict == NOT_ATTEMPTED


# -------------------------------------------------------------------------------------------- the table of the design


def test_the_table_holds_what_the_closed_loop_does():
    """Two of its entries made again: one that survives, and one that does not, on the first episodes."""
    table, mpc = ex10._table(), safety_mpc()
    np.testing.assert_array_equal(table.grip, shipped.GRIP)
    np.testing.assert_array_equal(table.track, shipped.TRACK)
    x = shipped.starts(mpc)
    for i, j in ((6, 1), (6, 3)):
        safety = shipped.told(table.grip[i], table.track[j], mpc)
        again = shipped.outside(safety, shipped.WET[0], x)
        np.testing.assert_array_equal(again > 0, table.outside[i, j, 0] > 0)
    time, beyond = shipped.lap(shipped.told(table.grip[6], table.track[1], mpc), Receding(race_mpc()))
    assert time == pytest.approx(table.lap[6, 1], abs=1e-4) and beyond == table.lap_outside[6, 1] == 0


def test_grip_costs_time_and_track_none():
    lap = ex10._table().lap
    assert (lap > 0).all() and (np.diff(lap.mean(axis=1)) < -0.1).all() and np.ptp(lap, axis=1).max() < 0.15


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (6.8, "a dict with the keys grip and track"),
        ({"grip": 6.8}, "a dict with the keys grip and track"),
        ({"grip": 4.0, "track": 2.0}, "the grip must lie between 5.4 and 8.2"),
        ({"grip": np.nan, "track": 2.0}, "the grip must lie between"),
        ({"grip": 7.0, "track": 3.0}, "the half width must lie between 1.1 and 2.7"),
        ({"grip": "much", "track": 2.0}, "could not convert"),
    ],
    ids=str,
)
def test_a_design_of_the_wrong_form_says_so(answer, said):
    result = ex10.design.judge(answer)
    assert result.verdict == RAISED and said in str(result.details)


def test_every_entry_that_fails_has_a_sentence():
    for grip in shipped.GRIP:
        for track in shipped.TRACK:
            result = ex10.design.judge({"grip": grip, "track": track})
            assert result.verdict == RIGHT or result.mistake, (grip, track)


def test_what_is_driven_in_the_notebook_is_behind_what_is_told():
    rainy, dry = ex10.drive(5.6, 1.3, n=2)
    assert np.abs(rainy.x[:, :, 1]).max() < 1.6 and rainy.x.shape == (101, 2, 4)
    assert race.lap_times(dry.x[:, 0, 0])[0] == pytest.approx(ex10.tightened(5.6, 1.3)[1], abs=0.01)


# ---------------------------------------------------------------------------------- what the explanation says is so


def test_the_measurements_of_the_explanation():
    table = vars(ex10._table())
    cars = {name: len(table[f"{name} metres"]) for name in shipped.STANDING}
    assert cars["nominal"] == 13 and cars["five iterations"] >= 13 > cars["fifty stages"] > 0
    assert all(table[f"{name} outside"] == 0 for name in cars)
    for name in ("nominal", "five iterations", "fifty stages"):
        assert table[f"{name} metres"].max() < 1.0
    assert cars["live"] > 0 and table["live metres"].min() > 30.0
    assert drives_on(table["live x"]).all() and not drives_on(table["nominal x"]).any()


def test_fewer_episodes_end_in_the_same_way():
    x, metres, beyond = shipped.standing(RaceSafety(mpc=safety_mpc()), Receding(race_mpc()), n=8)
    assert len(x) and beyond == 0 and (metres < 1.0).all() and not drives_on(x).any()


def test_from_where_cars_stand_even_the_tightest_turn_leads_over_the_edge():
    """Reason 2, by a car that creeps; and reason 1: to stand is certified."""
    tightest = []
    for x in vars(ex10._table())["nominal x"]:
        x = np.array([*x[:3], 0.0])
        assert ex10.stopped(x, [0.0, 0.0])[1]
        x[3] = 0.4
        n = []
        for _ in range(400):
            x = race.driven(x, np.array([0.0, -0.35 * np.sign(x[1])]))
            n.append(abs(x[1]))
        tightest.append(max(n))
    assert min(tightest) > race.WIDTH


def test_each_reason_of_its_own_is_judged():
    judged = {n: ex10.explain.judge(("f", [n])) for n in ex10.explain.reasons}
    assert {n for n, result in judged.items() if result.mistake is None} == set(ex10.explain.carrying)


# ------------------------------------------------------------------------------------------------- what is judged


@pytest.mark.parametrize(
    ("number", "verdict"), [(11.5, RIGHT), ("11,5", RIGHT), (11.46, RIGHT), (11.6, WRONG), (12.0, WRONG)]
)
def test_the_predicted_number(number, verdict):
    assert ex10.predict.judge(number).verdict == verdict


def test_the_given_code_is_not_attempted():
    assert ex10.debug.judge(ex10.behind_filter_as_given).verdict == NOT_ATTEMPTED


def test_a_part_that_is_wrong_is_said():
    def shifted(*call, **named):
        J, edges, rows, end = ex10.least_change(*call, **named)
        return J, edges, rows[::-1], end

    result = ex10.problem.judge(shifted)
    assert result.verdict == WRONG and "circle is wrong" in result.sentence


def test_a_plan_that_is_overwritten_is_no_harm():
    def in_place(x, U, N, p, half_width):
        result = ex10.certificate(x.copy(), U.copy(), N, p, half_width)
        x[:], U[:] = 0.0, 0.0
        return result

    assert ex10.certify.judge(in_place).verdict == RIGHT


# --------------------------------------------------------------------------------------------------- the notebooks


def test_what_the_notebook_says_is_what_the_check_does():
    text = texts(NAME)
    for key, sentence in (ex10.explain.choices | ex10.explain.reasons).items():
        assert f"- **{key}** {sentence}" in text["explain-text"]
    said = text["predict-text"]
    assert ex10.predict.precision in said and f"**{ex10.STAGES}** stages" in said
    assert f"**{ex10.GAS:g}** m/s²" in said and f"**{ex10.BRAKE:g}** m/s²" in said
    said = text["design-text"]
    assert f"of **{2 * shipped.EPISODES}** episodes" in said and len(shipped.WET) == 2
    assert f"at most **{ex10.MOST_OUTSIDE}** leave" in said and f"at most **{ex10.MOST_LAP}** s" in said
    assert f"at least {min(shipped.WET)}" in said and 6.8 not in shipped.WET
    assert RaceParameters() == CAR and f"{CAR.grip:g} m/s²" in said
