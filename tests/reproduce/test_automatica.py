"""The reproduction of the academic example: middle gradients, schedules, resuming, paired evaluation, verdicts."""

import numpy as np
import pytest
from PIL import Image

from mpcrl_course import places
from mpcrl_course.cli import EPISODE, main
from mpcrl_course.closed_loop import rowwise
from mpcrl_course.envs.network import LinearNetwork, NetworkParameters
from mpcrl_course.learners.log import saved_log
from mpcrl_course.mpc import MPC
from mpcrl_course.network import ADMM, Central
from mpcrl_course.problems.network import network_mpc
from mpcrl_course.reproduce import automatica as module
from mpcrl_course.reproduce import power
from mpcrl_course.reproduce.automatica import (
    METHODS,
    PUBLISHED,
    STEPS,
    Results,
    automatica,
    controller,
    ends,
    evaluate,
    evaluation_table,
    learning_run,
    learning_table,
    make_policy,
    middle_gradient,
    own_bounds,
    schedules,
    state_path,
    statement,
    true_model,
)
from mpcrl_course.reproduce.runs import steps_done

NETWORK = network_mpc(order=1)
PLAIN = Central(NETWORK)
CENTRALISED = METHODS[1]


def arrays(folder, method=CENTRALISED, seed=1):
    return saved_log(state_path(method, seed, folder)).arrays()


def middle(q):
    return np.concatenate([middle_gradient(q, i) for i in range(3)])


def touching_states(n):
    """theta, states and the actions that V chooses there, so that some next state lies on its bound."""
    rng, found = np.random.default_rng(0), []
    while len(found) < n:
        theta = NETWORK.parameters.initial() + 0.02 * rng.standard_normal(NETWORK.parameters.size)
        s = np.tile([0.02, 0.1], 3) + rng.uniform(-0.05, 0.05, 6)
        a, p = PLAIN.V(theta, s).u0, vars(NETWORK.parameters.unpack(theta))
        x_1 = PLAIN.Q(theta, s, a).local
        if min(abs(x_1[i].x[1, 0] - p[f"x_lb_{i + 1}"][0]) for i in range(3)) < 1e-9:
            found.append((theta, s, a))
    return found


# --- learning -------------------------------------------------------------------------------------------------


def test_the_middle_gradient_is_the_mean_of_both_one_sided_ones():
    """At a kink a central difference is the mean of the slopes on both sides; the plain gradient is none of the two."""
    for theta, s, a in touching_states(3):
        h = 1e-5
        difference = [
            (PLAIN.Q(theta + h * e, s, a).value - PLAIN.Q(theta - h * e, s, a).value) / (2 * h)
            for e in np.eye(theta.size)
        ]
        np.testing.assert_allclose(middle(PLAIN.Q(theta, s, a)), difference, atol=1e-6)
        assert np.abs(PLAIN.Q(theta, s, a).gradient() - difference).max() > 10.0


def test_away_from_kinks_the_gradient_is_the_plain_one():
    rng = np.random.default_rng(1)
    for _ in range(5):
        theta = NETWORK.parameters.initial() + 0.02 * rng.standard_normal(NETWORK.parameters.size)
        s, a = rng.uniform([-0.2, -0.5] * 3, [1.1, 0.5] * 3), rng.uniform(-1.0, 1.0, 3)
        q = PLAIN.Q(theta, s, a)
        np.testing.assert_allclose(middle(q), q.gradient(), rtol=1e-12, atol=1e-12)


def test_agents_find_the_middle_gradient_on_their_own():
    admm = ADMM(NETWORK, 0.5, 400)
    for theta, s, a in touching_states(2):
        np.testing.assert_allclose(middle(admm.Q(theta, s, a)), middle(PLAIN.Q(theta, s, a)), atol=1e-4)


def test_schedules_and_updates_every_second_step(tmp_path):
    """u counts updates: the first four steps by hand, from what was saved."""
    step_size, epsilon = schedules()
    assert step_size(0) == 6e-5 and step_size(7) == pytest.approx(6e-5 * 0.9996**7, rel=1e-14)
    assert [epsilon(k) for k in (0, 1)] == [0.7, 0.7] and epsilon(9) == pytest.approx(0.7 * 0.99**4, rel=1e-14)
    assert learning_run(CENTRALISED, 4, 5, tmp_path) == ""
    saved = arrays(tmp_path, seed=4)
    theta, gradients = saved["theta"], []
    for k in range(4):
        gradients.append(middle(controller(False).Q(theta[k], saved["x"][k], saved["u"][k])) * saved["td"][k])
        expected = theta[k] + (step_size(k // 2) * np.mean(gradients, axis=0) if k % 2 else 0.0)
        np.testing.assert_allclose(theta[k + 1], expected, rtol=0.0, atol=1e-13)
    assert np.abs(theta[4] - theta[0]).max() > 1e-5


def test_the_td_error_and_the_cost_are_those_of_the_example(tmp_path):
    """w = 120, gamma = 0.9; both values at the theta of their step."""
    learning_run(CENTRALISED, 2, 12, tmp_path)
    saved = arrays(tmp_path, seed=2)
    for k in range(11):
        x, u = saved["x"][k].reshape(3, 2), saved["u"][k]
        beyond = np.maximum(0.0, [0.0, -1.0] - x) + np.maximum(0.0, x - 1.0)
        L = 0.5 * ((x**2).sum() + 0.5 * u @ u + 120.0 * beyond.sum())
        assert saved["cost"][k] == pytest.approx(L, abs=1e-12)
        theta = saved["theta"][k]
        td = L + 0.9 * PLAIN.V(theta, saved["x"][k + 1]).value - PLAIN.Q(theta, saved["x"][k], u).value
        assert saved["td"][k] == pytest.approx(td, abs=1e-9)


# --- all of it ------------------------------------------------------------------------------------------------


def reproduce_shortly(folder, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LENGTH", 20)
        return automatica(folder, seeds=1, steps=8, jobs=1, evaluations=1, scenarios=2, **options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A short reproduction that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert reproduce_shortly(folder)
    return folder


class Killed(BaseException):
    """As a kill: nothing in the course catches it."""


@pytest.mark.parametrize("after", [6, 25])
def test_a_killed_reproduction_goes_on_to_the_same_report(uninterrupted, tmp_path, monkeypatch, after):
    """Killed in the distributed run, and in the evaluation of the first controller."""
    left, step = [after], NetworkParameters.move

    def dying(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(NetworkParameters, "move", dying)
        reproduce_shortly(tmp_path, save_every=4)
    assert [steps_done(state_path(method, 1, tmp_path)) for method in METHODS] == ([4, -1] if after == 6 else [8, 8])
    assert not (tmp_path / "automatica.txt").exists() and reproduce_shortly(tmp_path, save_every=4)
    one, two = ((folder / "automatica.txt").read_text("utf-8").splitlines() for folder in (uninterrupted, tmp_path))
    timed = [i for i, line in enumerate(one) if line.lstrip().startswith("ours, 1 seed, median")]
    assert len(timed) == 2 and len(one) == len(two)  # the last column of these is a measured time
    for i, (a, b) in enumerate(zip(one, two)):
        assert a.rsplit(maxsplit=1)[0] == b.rsplit(maxsplit=1)[0] if i in timed else a == b
    for method in METHODS:
        one, two = arrays(uninterrupted, method), arrays(tmp_path, method)
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[n], two[n], equal_nan=True) for n in one if n != "seconds")


def test_everything_is_written_into_the_folder_and_nothing_is_pickled(uninterrupted):
    text = (uninterrupted / "automatica.txt").read_text("utf-8")
    assert "not judged: that takes 10000 steps, here are 8" in text and "learned, distributed, 8 steps" in text
    files = [path.suffix for path in uninterrupted.iterdir()]
    assert {suffix: files.count(suffix) for suffix in files} == {".json": 8, ".npz": 8, ".png": 1, ".txt": 1}
    for path in uninterrupted.glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].dtype != object for name in file.files)
    with Image.open(uninterrupted / "automatica.png") as picture:
        picture.load()
        assert "over 8 steps" in picture.info["Description"] and picture.info["Description"] in text


def test_a_run_that_is_given_up_is_named_and_left_out(tmp_path, monkeypatch, capsys):
    work = module.DistributedQLearning.run

    def fragile(learner, steps, **options):
        work(learner, steps, **options)
        if options["save"].name == "automatica_distributed_seed1":
            learner.log.stopped = "200 steps failed in a row"
        return learner

    monkeypatch.setattr(module.DistributedQLearning, "run", fragile)
    monkeypatch.setattr(module, "PUBLISHED", {"initial": "312"})
    assert not reproduce_shortly(tmp_path)
    out = capsys.readouterr().out
    assert "FAILED: distributed, seed 1: 200 steps failed in a row" in out and out.count("FAILED") == 1
    assert "ours, 0 seeds" in out and "1 of 1" in out and "learned, distributed, 8 steps" not in out


# --- evaluation -----------------------------------------------------------------------------------------------


def test_the_evaluation_is_paired():
    """The noise of every step, recovered from the states, is the same whoever controls, and however many there are."""
    found = []
    for gain in (1.5, 2.0):
        seen = []

        def make(gain=gain, seen=seen):
            def act(s):
                u = np.clip(-gain * s[1::2], -1.0, 1.0)
                seen.append((s, u))
                return u

            return rowwise(act)

        cost, violated = evaluate(make, 2)
        assert np.array_equal(cost[:1], evaluate(make, 1)[0]) and (0 < violated).all() and (violated <= 100).all()
        x, u = (np.array(part)[:200] for part in zip(*seen))
        moved = 0.9 * x[:, 0::2] + 0.35 * x[:, 1::2] + 0.0813 * u
        found.append([(x[k + 1, 0::2] - moved[k]) for k in range(199) if k != 99])
        assert np.array_equal(x[0], x[100]) and not np.array_equal(x[1], x[101])
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    assert np.min(found) > -0.1 - 1e-9 and np.max(found) < 1e-9 and np.ptp(found) > 0.09


def test_controllers():
    """Initial and nominal are the published problems; equal scenarios of the true model are its central plan."""
    s = np.tile([0.1, 0.15], 3)
    theta = NETWORK.parameters.initial()
    np.testing.assert_allclose(make_policy("initial")()(s[None])[0], PLAIN.V(theta, s).u0, atol=1e-9)
    undiscounted = MPC(network_mpc(order=1, discount=1.0).problem)
    bounds = {f"x_ub_{i}": [0.0, 0.0] for i in (1, 2, 3)}
    np.testing.assert_array_equal(own_bounds(NETWORK), NETWORK.parameters.pack(**bounds))
    expected = undiscounted.V(own_bounds(NETWORK), s).u0
    np.testing.assert_allclose(make_policy("nominal")()(s[None])[0], expected, atol=1e-9)
    learned = NETWORK.parameters.pack(V0_1=1.0, f_2=[0.0, 0.0, 0.1])
    acts = [make_policy(name, learned)()(s[None])[0] for name in ("centralised", "distributed")]
    np.testing.assert_allclose(acts[0], PLAIN.V(learned, s).u0, atol=1e-9)
    np.testing.assert_allclose(acts[1], acts[0], atol=1e-4)
    noise = np.random.default_rng(module.SCENARIO_SEED).uniform(-0.1, 0.0, (1, 3))[0]
    shifted = {f"b_{i + 1}": [noise[i], 0.0] for i in range(3)}
    for name, model in (("scenario, true model", true_model()), ("scenario, wrong model", {})):
        expected = undiscounted.V(own_bounds(NETWORK, **shifted, **model), s).u0
        np.testing.assert_allclose(make_policy(name, scenarios=1)()(s[None])[0], expected, atol=1e-6)


def test_the_true_model_is_the_plant():
    theta, rng = NETWORK.parameters.pack(**true_model()), np.random.default_rng(0)
    x, u = rng.uniform(-0.5, 0.5, 6), rng.uniform(-1.0, 1.0, 3)
    env = LinearNetwork(noise=0.0, start=x)
    env.reset(seed=0)
    np.testing.assert_allclose(PLAIN.mpc.Q(theta, x, u).x[1], env.step(u)[0], atol=1e-12)


# --- the numbers ----------------------------------------------------------------------------------------------


def made_up(method, td, cost, diverged=()):
    """Runs whose last windows have the given means; what is before is larger."""
    last = np.arange(STEPS) >= STEPS - 500
    values = [np.where(last, np.array(part)[:, None], 1.0) for part in (td, cost)]
    return Results(method, list(range(1, len(td) + 1)), -values[0], values[1], list(diverged), np.full(len(td), 0.01))


def test_the_statement_judges():
    good = made_up(CENTRALISED, [0.05, 0.07, 0.09], [0.1, 0.15, 0.2])
    text = statement([good, made_up(METHODS[0], [0.05, 0.06], [0.2, 0.1], diverged=[3])], STEPS)
    assert "centralised: |TD| 0.07 reached, L 0.15 reached; 2 of 3 runs reach both" in text
    assert "distributed: |TD| 0.06 reached, L 0.2 MISSED (0.16); 1 of 3 runs reach both; given up: seed 3" in text
    lost = statement([made_up(METHODS[0], [0.05], [0.1], diverged=[2, 3])], STEPS)
    assert "|TD| inf MISSED (0.08), L inf MISSED (0.16); 1 of 3 runs" in lost
    assert "not judged" in statement([good], 9000)
    nothing = Results(CENTRALISED, [], np.zeros((0, STEPS)), np.zeros((0, STEPS)), [], np.zeros(0))
    assert "centralised: no run" in statement([nothing], STEPS)


def test_the_ends_of_a_run():
    values = np.arange(2 * 1200.0).reshape(2, 1200)
    values[0, 3] = np.nan
    means = ends(values, 1200)
    assert means[1].tolist() == [1449.5, 2149.5] and means[0, 0] == pytest.approx((249.5 * 500 - 3) / 499, rel=1e-14)
    assert ends(np.arange(8.0)[None], 8).tolist() == [[1.5, 5.5]]


def test_the_learning_table_holds_the_published_figures_and_ours():
    rows = learning_table([made_up(CENTRALISED, [0.05, 0.07], [0.1, 0.2], [3])], STEPS).rows
    assert rows[0] == ["centralised", "published, 1 run", "0.95", "0.054", "0.77", "0.096", "-", "-"]
    assert rows[1] == ["", "ours, 2 seeds, median", "1", "0.06", "1", "0.15", "1 of 3", "10.0"]
    assert rows[2][2:6] == ["1 … 1", "0.05 … 0.07", "1 … 1", "0.1 … 0.2"]


def test_one_noise_for_all_agents_is_agent_1s():
    """By hand, step by step, for a simple rule."""

    def rule(y):
        return np.clip(-0.3 * y[:, ::2] - 4.5 * y[:, 1::2], -1.0, 1.0)

    cost, _ = evaluate(lambda: rule, 2, common=True)
    plant = NetworkParameters(weight=120.0)
    for n in range(2):
        noise, x, total = plant.draw([module.NOISE_SEED, n], 1, module.LENGTH).e[:, 0, 0], np.tile([0.0, 0.15], 3), 0.0
        for e in noise:
            x_next, L, _ = plant.step(x[None], rule(x[None]), plant.draw(0, 1, 1)._replace(e=np.full((1, 3), e)))
            x, total = x_next[0], total + L[0]
        assert cost[n] == pytest.approx(total, rel=1e-9)


def test_the_evaluation_table_pairs():
    """What is the same for every noise cancels: a constant difference has no width, whatever the noises do."""
    noise = np.random.default_rng(0).uniform(0.0, 100.0, (1, 10))
    evaluations = {
        ("initial", 0): np.array([noise + 5.0, 0 * noise + 25, noise + 8.0]),
        ("distributed", 1000): np.array([np.concatenate([noise + 1, noise + 3]), np.zeros((2, 10)), np.ones((2, 10))]),
        ("distributed", STEPS): np.array([noise, 0 * noise, noise]),
    }
    rows = evaluation_table(evaluations, STEPS).rows
    assert rows[0][:2] == ["initial", "312"] and rows[0][5:] == ["+5 [+5, +5]", "25.0 %"]
    assert rows[1][:2] == ["learned, distributed, 1000 steps", "22.2"] and rows[1][5] == "+2 [+2, +2]"
    assert rows[0][2] == f"{noise.mean() + 8:.4g} ± {noise.std(ddof=1):.2g}" and rows[1][2] == "1 ± 0"
    low, high = noise.mean() + 1, noise.mean() + 3
    assert rows[1][4] == f"{low:.4g} … {high:.4g}"
    assert rows[2][1] == "10.2" and rows[2][5] == "-"
    middle, low, high = (float(part.strip("[],")) for part in rows[2][3].split())
    assert middle == pytest.approx(noise.mean(), abs=0.05) and high - low > 20.0
    assert list(PUBLISHED) == ["initial", "nominal", "scenario, wrong model", "scenario, true model"]


# --- the command ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--example=academic"], [("academic", 5, 10_000)]),
        (["--example=power", "--steps=300"], [("power", 5, 3)]),
        (["--seeds=2"], [("academic", 2, 10_000), ("power", 2, 100)]),
        (["--example=all", "--steps=200", "--seeds=1"], [("academic", 1, 200), ("power", 1, 2)]),
    ],
)
def test_the_command_runs_the_examples_asked_for(tmp_path, monkeypatch, arguments, expected):
    assert EPISODE == power.LENGTH
    asked = []
    for name, where in (("academic", (module, "automatica")), ("power", (power, "power"))):

        def work(folder, seeds, length, jobs, name=name):
            assert folder == tmp_path and jobs == 1
            asked.append((name, seeds, length))
            return name == "academic"

        monkeypatch.setattr(*where, work)
    status = main(["reproduce", "automatica", "--jobs=1", f"--out={tmp_path}", *arguments])
    assert asked == expected and status == int(any(name == "power" for name, *_ in expected))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["automatica", "--seeds=0"], "'0' is not a positive whole number"),
        (["automatica", "--example=chemistry"], "'chemistry'"),
        (["automatica", "--steps=150"], "150 are no multiple"),
        (["automatica", "--example=academic", "--out=file"], "cannot write"),
        (["second-order", "--example=power"], "only automatica has examples"),
        (["chemistry"], "'chemistry'"),
    ],
)
def test_bad_requests(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["reproduce", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- what lecture 11 shows ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    with places.data("network_11.npz") as file:
        return dict(file)


def test_the_stored_runs_are_what_learning_gives(tmp_path, data):
    """The first 200 steps of seed 2, both ways, and two noises of two evaluations (data/make_11.py).

    Learning amplifies rounding. Between two of OpenBLAS's kernels |TD| differs by 1e-14 in the first steps, by at most
    2e-7 up to step 100, and by 0.1 before step 200: the mean of these by 2e-3. The nominal controller's first run, too,
    parts: by 4e-4 of its cost.
    """
    for method in METHODS:
        assert learning_run(method, 2, 200, tmp_path) == ""
        run = arrays(tmp_path, method, 2)
        for what, values in (("td", np.abs(run["td"])), ("cost", run["cost"])):
            (first, second), stored = values.reshape(2, 100).mean(axis=1), data[f"{method}_{what}"][1]
            np.testing.assert_allclose(stored[0], first, rtol=1e-6)
            np.testing.assert_allclose(stored[1], second, rtol=1e-2)
    cost, _ = evaluate(make_policy("centralised", data["centralised_theta"][1, 1]), 2)
    np.testing.assert_allclose(data["centralised_evaluated"][0, :2], cost, rtol=1e-5)  # seed 2: the first that is kept
    (first, second), stored = evaluate(make_policy("nominal"), 2)[0], data["nominal_evaluated"][0]
    np.testing.assert_allclose(stored[0], first, rtol=1e-3)
    np.testing.assert_allclose(stored[1], second, rtol=1e-5)


def test_the_stored_runs_reach_the_targets_but_for_the_seed_that_is_lost(data):
    for method in METHODS:
        done = np.isfinite(data[f"{method}_theta"]).all(axis=(1, 2))
        np.testing.assert_array_equal(done, [False, True, True, True, True])
        last = np.array([data[f"{method}_{what}"][done, -5:].mean(axis=1) for what in ("td", "cost")])
        assert (np.median(last, axis=1) < module.TARGETS).all()
        late, early = data[f"{method}_evaluated"], data[f"{method}_early"]
        assert late.shape == early.shape == (4, 20)
        assert late.mean() < early.mean() < 0.1 * data["nominal_evaluated"].mean()
        assert data["scenario_true_model_evaluated"].mean() < late.mean()


def test_the_shipped_evaluations_with_one_noise_for_all_agents():
    """Two noises of two controllers, and that the published single run of the initial one is not out of the way."""
    with places.data("common_11.npz") as file:
        for name in ("initial", "nominal"):
            np.testing.assert_allclose(file[name][:2], evaluate(make_policy(name), 2, common=True)[0], rtol=1e-5)
        assert 0.02 < np.mean(file["initial"] <= float(PUBLISHED["initial"])) < 0.3
        assert file["initial"].std() > 1.3 * file["initial_each"].std()  # a common noise does not average out
