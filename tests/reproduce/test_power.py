"""The reproduction of the power system: the published settings, paired noise, taking up, trouble, what is written."""

import numpy as np
import pytest
from PIL import Image

from mpcrl_course import places
from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs.power import ANGLE_LIMIT, TRUE, PowerParameters, PowerSystem
from mpcrl_course.learners.log import load_state
from mpcrl_course.mpc import MPC
from mpcrl_course.network import Central
from mpcrl_course.problems.power import WRONG, joint_mpc, power_mpc
from mpcrl_course.reproduce import power as module
from mpcrl_course.reproduce.power import (
    Evaluation,
    below,
    controller,
    evaluate,
    evaluation_path,
    evaluation_run,
    learner,
    learning_path,
    load_evaluation,
    load_matrix,
    make_policy,
    power,
    table,
    true_ties,
)
from mpcrl_course.reproduce.runs import steps_done

SMALL = {"seeds": 1, "episodes": 3, "jobs": 1, "evaluations": 2, "scenarios": 2}


@pytest.fixture
def short(monkeypatch):
    """Episodes of eight steps."""
    monkeypatch.setattr(module, "LENGTH", 8)


# --- learning -------------------------------------------------------------------------------------------------


def learn(name, seed, episodes):
    return learner(name, seed).run(module.LENGTH * episodes, progress=False).log


def test_the_first_update_by_hand():
    """After the first episode: 7e-7 times the mean of delta dQ/dtheta over its 100 transitions; none before."""
    log, centre = learn("centralised", 1, 1), controller("centralised")
    theta = log.theta[0]
    np.testing.assert_array_equal(log.theta[:100], np.tile(theta, (100, 1)))
    np.testing.assert_array_equal(theta, centre.parameters.initial())
    d = np.zeros(122)
    for k in range(100):
        q = centre.Q(theta, log.x[k], log.u[k])
        d += log.td[k] * np.concatenate([q.gradient(i) for i in range(4)]) / 100
        if k < 99:
            td = log.cost[k] + 0.9 * centre.V(theta, log.x[k + 1]).value - q.value
            assert log.td[k] == pytest.approx(td, abs=1e-7)
    np.testing.assert_allclose(log.theta[100] - theta, 7e-7 * d, atol=1e-9 * np.abs(7e-7 * d).max() + 1e-15)
    explored = sum(np.abs(centre.V(theta, x).u0 - u).max() > 1e-7 for x, u in zip(log.x, log.u))
    assert 25 <= explored <= 60  # half of the steps, if the limits of the inputs let it
    assert log.cost.sum() > 700 and log.failed.sum() == 0


def test_an_update_ends_each_episode_and_updates_shrink(short, monkeypatch):
    """The second is 0.98 of what it would be at the first one's step size: runs with another decay differ in that."""
    log = learn("centralised", 3, 6)
    moved = np.flatnonzero(np.abs(np.diff(log.theta, axis=0)).max(axis=1) > 0)
    np.testing.assert_array_equal(moved, [7, 15, 23, 31, 39, 47])
    monkeypatch.setattr(module, "DECAY", 0.5)
    other = learn("centralised", 3, 2)
    np.testing.assert_array_equal(other.theta[8], log.theta[8])
    second, expected = other.theta[16] - other.theta[8], (log.theta[16] - log.theta[8]) * 0.5 / 0.98
    np.testing.assert_allclose(second, expected, atol=3e-13)  # rounding of weights of 500


def test_distributed_learning_follows_the_centralised(short):
    """50 iterations of ADMM are near its end: TD errors and steps of the first episodes to a few per cent."""
    one, other = learn("distributed", 2, 3), learn("centralised", 2, 3)
    assert one.failed.sum() == 0 and one.solve_messages.min() >= 50 * 12 and one.consensus_messages.min() == 600
    np.testing.assert_allclose(one.cost, other.cost, atol=0.03 * other.cost.max())
    step, expected = (log.theta[-1] - log.theta[0] for log in (one, other))
    np.testing.assert_allclose(step, expected, atol=0.1 * np.abs(expected).max())


# --- evaluation -----------------------------------------------------------------------------------------------


def test_evaluation_by_hand_and_paired(short):
    noise = np.random.default_rng(2024).uniform(-0.1, 0.1, (3, 8, 4))
    make, expected, violated = make_policy("true ties"), np.zeros(3), np.zeros(3)
    theta, mpc = true_ties(), controller("centralised").mpc
    for i in range(3):
        env = PowerSystem(recorded=noise[i])
        s, _ = env.reset()
        for _ in range(8):
            s, reward, *_ = env.step(mpc.V(theta, s).u0)
            expected[i] -= reward
            violated[i] += (np.abs(s[::5]) > ANGLE_LIMIT).any()
    cost, steps = evaluate(make, 3)
    np.testing.assert_allclose(cost, expected, rtol=1e-12)
    np.testing.assert_array_equal(steps, violated)
    blind = evaluate(lambda episode: lambda y: np.zeros((len(y), 4)), 3)
    assert (blind[0] != cost).all()
    np.testing.assert_array_equal(evaluate(lambda episode: lambda y: np.zeros((len(y), 4)), 2)[0], blind[0][:2])


def test_every_controller_does_what_its_name_says():
    s, theta = np.random.default_rng(1).uniform(-0.08, 0.08, 20), true_ties() + 0.01
    u = {name: make_policy(name, theta, scenarios=3)(0)(s[None])[0] for name in module.PUBLISHED}
    assert all(np.abs(one).max() < 0.31 for one in u.values())
    np.testing.assert_allclose(
        u["initial"], controller("centralised").V(controller("centralised").parameters.initial(), s).u0
    )
    np.testing.assert_allclose(u["centralised"], controller("centralised").V(theta, s).u0)
    np.testing.assert_allclose(u["distributed"], u["centralised"], atol=5e-3)
    assert np.abs(u["distributed"] - u["centralised"]).max() > 1e-9  # 50 iterations, not all
    assert np.abs(u["nominal"] - u["true ties"]).max() > 1e-4 and np.abs(u["scenario"] - u["true ties"]).max() > 1e-4
    E = load_matrix().reshape(4, 5, 4)
    assert not E[:, 4].any() and (E[range(4), 1, range(4)] < -0.03).all()  # a load slows its own area down
    # the duals of an episode stay in it
    make = make_policy("distributed", theta)
    first, again = make(0), make(1)
    first(-s[None])
    np.testing.assert_array_equal(again(s[None])[0], u["distributed"])


def test_below_by_hand():
    one, other = np.array([[8.0, 6.0, 7.0], [10.0, 8.0, 9.0]]), np.array([[12.0, 9.0, 9.0]])
    middle, low, high = below(one, other)
    difference = np.array([3.0, 2.0, 1.0])
    assert middle == pytest.approx(2.0 / 10.0)
    half = 4.302653 * 1.0 / np.sqrt(3) / 10.0
    assert (low, high) == (pytest.approx(0.2 - half, abs=1e-6), pytest.approx(0.2 + half, abs=1e-6))
    assert below(other, other)[0] == 0.0 and difference.std(ddof=1) == 1.0


def test_the_table_says_what_was_measured():
    evaluations = [
        Evaluation("nominal", [0], np.array([[300.0, 320.0]]), np.array([[9, 11]]), 0.001),
        Evaluation("distributed", [1, 2], np.array([[200.0, 220.0], [220.0, 240.0]]), np.array([[0, 0], [1, 2]]), 0.01),
    ]
    made = table(evaluations)
    assert made.rows[0] == ["nominal", "349.3", "10.0", "310.0", "10.00", "-", "1.0"]
    assert made.rows[1][:5] == ["distributed", "274.3", "0", "220.0 (210.0 … 230.0)", "0.75"]
    assert made.rows[1][5].startswith("-29.0 % [") and "over 2 episodes" in made.caption


# --- all of it ------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As a kill: nothing in the course catches it."""


def without_times(text):
    """The report without the measured milliseconds."""
    lines = text.splitlines()
    return [line.rsplit(maxsplit=1)[0] if line.startswith(tuple(module.PUBLISHED)) else line for line in lines]


def test_a_killed_reproduction_goes_on_to_the_same_report(tmp_path, monkeypatch, capsys, short):
    whole, cut, step, left = tmp_path / "whole", tmp_path / "cut", PowerParameters.move, [0]
    assert power(whole, **SMALL)
    out = capsys.readouterr().out
    assert (
        "1 seed of 2 ways to learn" in out and "The eight parameters that changed most" in out and "FAILED" not in out
    )
    assert Image.open(whole / "power.png").size == (1500, 630)
    assert sorted(path.name for path in whole.glob("*.json")) == [
        "power_centralised_seed1.json", "power_distributed_seed1.json",
        "power_evaluation_centralised_seed1_after3.json", "power_evaluation_distributed_seed1_after3.json",
        "power_evaluation_initial.json", "power_evaluation_nominal.json", "power_evaluation_scenario.json",
        "power_evaluation_true_ties.json",
    ]  # fmt: skip

    def dying(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return step(*arguments)

    for after in (30, 20, 60):  # on the way of learning, and of evaluation
        left[0] = after
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(PowerParameters, "move", dying)
            power(cut, **SMALL)
    assert [steps_done(learning_path(name, 1, cut)) for name in module.LEARNED] == [24, 24]
    assert evaluation_path("initial", 0, 3, cut).with_suffix(".json").exists() and not (cut / "power.txt").exists()
    assert power(cut, **SMALL)
    one, two = ((folder / "power.txt").read_text("utf-8") for folder in (whole, cut))
    assert without_times(one) == without_times(two)


def test_what_fails_is_named_and_the_rest_is_done(tmp_path, monkeypatch, capsys, short):
    work = module.DistributedQLearning.run

    def fragile(learner, steps, **options):
        if options["save"].name == "power_distributed_seed1":
            raise MemoryError("no room")
        return work(learner, steps, **options)

    def no_scenarios(n):
        raise ValueError("no scenarios today")

    monkeypatch.setattr(module.DistributedQLearning, "run", fragile)
    monkeypatch.setattr(module, "_scenarios", no_scenarios)
    assert not power(tmp_path, **SMALL)
    out = capsys.readouterr().out
    assert "FAILED: distributed, seed 1: MemoryError: no room" in out
    assert "FAILED: evaluation of scenario: ValueError: no scenarios today" in out and out.count("FAILED") == 2
    lines = [line.split()[0] for line in (tmp_path / "power.txt").read_text("utf-8").splitlines() if line]
    assert {"initial", "true", "nominal", "centralised"} < set(lines) and not {"distributed", "scenario"} & set(lines)


def test_evaluations_are_done_anew_only_if_they_must(tmp_path, short):
    assert evaluation_run("initial", 0, 3, 2, 5, tmp_path) == ""
    first = load_state(evaluation_path("initial", 0, 3, tmp_path))[1]["seconds"]
    assert evaluation_run("initial", 0, 7, 2, 9, tmp_path) == ""  # neither learning nor scenarios matter to it
    assert load_state(evaluation_path("initial", 0, 3, tmp_path))[1]["seconds"] == first
    assert evaluation_run("initial", 0, 3, 3, 5, tmp_path) == ""
    assert load_evaluation("initial", [0], 3, tmp_path).cost.shape == (1, 3)
    assert evaluation_run("centralised", 1, 3, 2, 5, tmp_path).startswith("FileNotFoundError")


# --- what lecture 11 shows ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    with places.data("power_11.npz") as file:
        return dict(file)


def test_the_stored_runs_are_what_learning_gives(data):
    """Two episodes centralised, one distributed, from seed 1; two episodes of evaluation (data/make_11.py)."""
    for name, episodes in (("centralised", 2), ("distributed", 1)):
        log = learn(name, 1, episodes)
        np.testing.assert_allclose(data[f"{name}_path"][: episodes + 1], log.theta[::100], rtol=1e-6, atol=1e-9)
        cost, td = (values.reshape(-1, 100) for values in (log.cost, np.abs(log.td)))
        np.testing.assert_allclose(data[f"{name}_cost"][0, :episodes], cost.sum(1), rtol=1e-5)
        np.testing.assert_allclose(data[f"{name}_td"][0, :episodes], td.mean(1), rtol=1e-5)
        np.testing.assert_allclose(data[f"{name}_theta"][0], data[f"{name}_path"][-1], rtol=1e-6, atol=1e-9)
    for name, theta in (("centralised", data["centralised_theta"][0]), ("true ties", None), ("nominal", None)):
        cost, violated = evaluate(make_policy(name, theta), 2)
        stored = name.replace(" ", "_")
        np.testing.assert_allclose(data[f"{stored}_evaluated"][0, :2], cost, rtol=1e-5)
        np.testing.assert_array_equal(data[f"{stored}_violated"][0, :2], violated)


def test_the_published_result_is_reproduced(data):
    """Learned costs within 5 % of the published ones, without violations; nominal and scenario where they should be."""
    mean = {name: data[f"{name.replace(' ', '_')}_evaluated"].mean() for name in module.PUBLISHED}
    for name in module.LEARNED:
        assert mean[name] == pytest.approx(float(module.PUBLISHED[name][0]), rel=0.05)
        assert data[f"{name}_violated"].mean() < 0.01 and len(data[f"{name}_theta"]) == 5
        for other in ("nominal", "true_ties"):
            assert below(data[f"{name}_evaluated"], data[f"{other}_evaluated"])[1] > 0.15  # the interval's lower end
    assert mean["nominal"] == pytest.approx(349.3, rel=0.05)
    assert mean["distributed"] < mean["scenario"] < mean["nominal"] < mean["true ties"] < mean["initial"]
    assert 315 * 0.95 < mean["scenario"] < 322 * 1.05


@pytest.fixture(scope="module")
def ties():
    with places.data("ties_11.npz") as file:
        return dict(file)


def test_the_stored_costs_against_tie_lines_are_those_of_their_controllers(ties):
    """The first of the fifty episodes, of what was learned and of what was not (data/make_11_ties.py)."""
    for i, factor in enumerate(ties["factor"]):
        system = TRUE.stronger(factor)
        noise = system.draw(2024, 50, 100)
        first = type(noise)(*(part[:, :1] if part.ndim == 3 else part for part in noise))
        told, silent = (power_mpc(ties=factor * WRONG, told=told) for told in (True, False))
        joint, hand = MPC(joint_mpc(system)), ties["by_hand"][i]
        back_off = {"angle_lb": ties["back_off"][i, 0], "angle_ub": -ties["back_off"][i, 1]}
        for name, mpc, theta in (
            ("plans", Central(told).mpc, ties["plans_theta"][i]),
            ("nothing", Central(silent).mpc, ties["nothing_theta"][i]),
            ("hand", Central(silent).mpc, silent.parameters.pack(angle_lb_3=hand, angle_lb_4=hand)),
            ("centre", joint, joint.parameters.pack(**back_off)),
        ):
            found = run(rowwise(lambda s, mpc=mpc, theta=theta: mpc.V(theta, s).u0), system, np.zeros((1, 20)), first)
            assert found.cost.sum() == pytest.approx(ties[f"{name}_cost"][i, 0, 0], rel=1e-4)


def test_what_messages_are_worth_to_areas_that_learn(ties):
    """Four to one as published; little where tie lines are stronger; and by hand silence does nearly as well."""
    least = ties["centre_cost"].mean(axis=2)
    ratio = {name: ties[f"{name}_cost"].mean(axis=2) / least for name in ("plans", "nothing", "hand", "initial")}
    assert ratio["plans"].shape[1] >= 5
    assert ratio["plans"][0].max() < 1.05 and ratio["nothing"][0].min() > 3.5 and ratio["hand"][0, 0] < 1.35
    assert (ratio["nothing"][2:] < 1.1 * ratio["plans"][2:]).all() and (ratio["hand"][1:] < ratio["plans"][1:]).all()
