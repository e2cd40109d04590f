"""The reproduction of the published comparison: noise, resuming, trouble, the statistics, what is written."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.cli import main
from mpcrl_course.envs.linear import A, B
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.learners.log import saved_log
from mpcrl_course.reproduce import second_order as module
from mpcrl_course.reproduce.runs import run_all, steps_done
from mpcrl_course.reproduce.second_order import (
    METHODS,
    WINDOWS,
    Results,
    load,
    median_band,
    run,
    runs,
    second_order,
    sent_table,
    state_path,
    statement,
    tables,
    window_means,
)

DATA = np.load(Path(__file__).parents[1] / "data" / "second_order_network.npz")


def arrays(folder, method=METHODS[0], seed=1):
    return saved_log(state_path(method, seed, folder)).arrays()


def without_times(text):
    """The report without its last column of the last table, which is measured."""
    return [line.rsplit(maxsplit=1)[0] if "order  " in line else line for line in text.splitlines()]


# --- the runs -------------------------------------------------------------------------------------------------


def test_the_published_figures_are_those_of_their_method():
    """|TD| and L of the first 100 steps, from three of the five published seeds: to a tenth."""
    assert DATA["methods"].tolist() == ["dist_so", "cent_so", "dist_fo", "cent_fo"]
    assert [(one.distributed, one.order) for one in METHODS] == [(True, 2), (False, 2), (True, 1), (False, 1)]
    for values, published in (("td", [one.td[0] for one in METHODS]), ("L", [one.cost[0] for one in METHODS])):
        first = np.median(np.abs(DATA[values][:, :, :100]).mean(axis=2), axis=1)
        np.testing.assert_allclose(first, published, rtol=0.1)


def test_the_noise_is_that_of_the_seed_whoever_runs(tmp_path):
    """Recovered from the states: three uniform numbers a step after the seed of the batches, for all methods."""
    for seed in (1, 7):
        rng = np.random.default_rng(seed)
        rng.integers(2**31)
        expected = rng.uniform(-0.1, 0.0, (8, 3))
        for method in METHODS:
            assert run(method, seed, 9, tmp_path) == ""
            x, u = arrays(tmp_path, method, seed)["x"].reshape(9, 3, 2), arrays(tmp_path, method, seed)["u"]
            moved = x[:-1] @ A.T + u[:-1, :, None] * B
            np.testing.assert_allclose(x[1:, :, 0] - moved[:, :, 0], expected, atol=1e-12)


def test_workers_make_no_difference(tmp_path):
    for jobs, name in ((1, "one"), (2, "two")):
        assert run_all(runs([2], 4, tmp_path / name), 4, jobs) == {}
    for method in METHODS:
        one, two = arrays(tmp_path / "one", method, 2), arrays(tmp_path / "two", method, 2)
        assert all(np.array_equal(one[name], two[name], equal_nan=True) for name in ("x", "u", "cost", "td", "theta"))


class Killed(BaseException):
    """As a kill: nothing in the course catches it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A reproduction of 12 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert second_order(folder, seeds=1, steps=12, jobs=1)
    return folder


@pytest.mark.parametrize("after", [2, 20, 42])
def test_a_killed_reproduction_goes_on_to_the_same_report(whole, tmp_path, monkeypatch, after):
    monkeypatch.setattr(module, "write", lambda figure, description, path: f"{path.name}: {description}")
    left, step = [after], LinearNetwork.step

    def dying(self, action):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return step(self, action)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(LinearNetwork, "step", dying)
        second_order(tmp_path, seeds=1, steps=12, jobs=1, save_every=5)
    saved = {2: [0, -1, -1, -1], 20: [12, 5, -1, -1], 42: [12, 12, 12, 5]}
    assert [steps_done(state_path(method, 1, tmp_path)) for method in METHODS] == saved[after]
    assert not (tmp_path / "second_order.txt").exists()
    assert second_order(tmp_path, seeds=1, steps=12, jobs=1, save_every=5)
    one, two = ((folder / "second_order.txt").read_text("utf-8") for folder in (whole, tmp_path))
    assert without_times(one) == without_times(two) and "ours, 1 seed " in one
    for method in METHODS:
        one, two = arrays(whole, method), arrays(tmp_path, method)
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[n], two[n], equal_nan=True) for n in one if n != "seconds")


def test_a_short_run_is_the_beginning_of_a_long_one(tmp_path):
    for steps in (12, 25):
        run(METHODS[1], 3, steps, tmp_path / "grown")
    run(METHODS[1], 3, 12, tmp_path / "short")
    run(METHODS[1], 3, 25, tmp_path / "long")
    assert run(METHODS[1], 3, 12, tmp_path / "long") == ""
    assert steps_done(state_path(METHODS[1], 3, tmp_path / "long")) == 25
    for steps, other in ((12, "short"), (25, "long")):
        one, two = load(METHODS[1], [3], steps, tmp_path / "grown"), load(METHODS[1], [3], steps, tmp_path / other)
        assert np.array_equal(one.td, two.td) and np.array_equal(one.cost, two.cost) and one.td.shape == (1, steps)


def test_a_failed_run_is_named_and_the_others_are_done(tmp_path, monkeypatch, capsys):
    work = module.DistributedQLearning.run

    def fragile(learner, steps, **options):
        if options["save"].name == "distributed_order1_seed2":
            raise MemoryError("no room")
        work(learner, steps, **options)
        if options["save"].name == "centralised_order2_seed1":
            learner.log.stopped = "200 steps failed in a row"
        return learner

    monkeypatch.setattr(module.DistributedQLearning, "run", fragile)
    broken = state_path(METHODS[0], 1, tmp_path)
    run(METHODS[0], 1, 5, tmp_path)
    broken.with_name(f"{broken.name}-5.npz").write_bytes(b"cut off")
    assert main(["reproduce", "second-order", "--seeds=2", "--steps=5", "--jobs=1", f"--out={tmp_path}"]) == 1
    out = capsys.readouterr().out
    assert "FAILED: distributed, first order, seed 2: MemoryError: no room" in out
    assert "FAILED: centralised, second order, seed 1: 200 steps failed in a row" in out
    assert "FAILED: distributed, second order, seed 1: " in out and out.count("FAILED") == 3
    assert out.count("ours, 1 seed ") == 6 and out.count("ours, 2 seeds") == 2


def test_when_nothing_is_done_the_report_says_so(tmp_path, monkeypatch, capsys):
    def fails(*arguments, **options):
        raise OSError("full")

    monkeypatch.setattr(module.DistributedQLearning, "run", fails)
    assert not second_order(tmp_path, seeds=1, steps=5, jobs=1)
    out = capsys.readouterr().out
    assert out.count("OSError: full") == 4 and out.count("ours, 0 seeds") == 8 and "none" in out


# --- the numbers ----------------------------------------------------------------------------------------------


def test_window_means():
    values = np.arange(2 * 1100.0).reshape(2, 1100)
    values[1, 503] = np.nan
    means = window_means(values)
    assert means[0, :3].tolist() == [49.5, 549.5, 1049.5] and np.isnan(means[:, 3]).all()
    assert means[1, 1] == pytest.approx((1649.5 * 100 - 1603) / 99, rel=1e-14)
    assert np.isnan(window_means(values[:, :99])).all() and window_means(np.zeros((0, 2000))).shape == (0, 4)


@pytest.mark.parametrize(("n", "draws", "level"), [(6, 3, 0.95), (7, 5, 0.9), (5, 5, 0.5), (9, 1, 0.8)])
def test_the_band_of_medians_is_that_of_all_possible_draws(n, draws, level):
    values = np.random.default_rng(n).standard_normal(n)
    medians = np.median(list(itertools.product(values, repeat=draws)), axis=1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    expected = np.quantile(medians, tails, method="inverted_cdf")
    assert median_band(values, draws, level) == pytest.approx(tuple(expected), abs=0)


def test_the_band_wants_an_odd_number_of_draws():
    with pytest.raises(ValueError, match="4 is even"):
        median_band([1.0, 2.0], draws=4)


def made_up(method, seeds=20, outside=()):
    """Runs whose window means lie about the published medians, but in the windows `outside`, 3 % of them above."""
    td, cost = np.ones((2, seeds, 2000))
    for values, published in ((td, method.td), (cost, method.cost)):
        for j, ((begin, end), value) in enumerate(zip(WINDOWS, published)):
            shift = 1.1 if (method, j) in outside else 1.0
            values[:, begin:end] = value * shift * np.linspace(0.95, 1.05, seeds)[:, None]
    x, u = np.zeros((2000, 6)), np.zeros((2000, 3))
    return Results(method, list(range(1, seeds + 1)), -td, cost, x, u, 2, np.full(seeds, 0.013))


def test_the_statement_counts_and_names_the_windows():
    results = [made_up(method) for method in METHODS]
    assert statement(results).startswith("In 32 of 32 windows") and "Outside" not in statement(results)
    results = [made_up(method, outside={(METHODS[2], 1)}) for method in METHODS]
    assert "By chance alone 1.6 of 32" in statement(results) and "other seeds of ours" in statement(results)
    text = statement(results)
    assert text.startswith("In 30 of 32 windows") and "distributed, first order, |TD|, 500-600: 10.7 is not in" in text
    few = statement([made_up(METHODS[0], 19), *results[1:]])
    assert few.startswith("In 22 of 24 windows") and "distributed, second order: not judged" in few
    assert "takes 20 seeds, here are 19" in few
    none = statement([made_up(METHODS[0], 5)] + [made_up(method, 0) for method in METHODS[1:]])
    assert none.startswith("Whether five seeds") and none.count("not judged, that takes") == 4


def test_the_tables_hold_the_published_figures_and_ours():
    td, cost, total = tables([made_up(method) for method in METHODS], 2000)
    assert td.rows[0] == ["distributed, second order", "published", "10.6", "0.741", "0.213", "0.437"]
    assert td.rows[1] == ["", "ours, 20 seeds", "10.6", "0.741", "0.213", "0.437"] and len(td.rows) == 12
    assert cost.rows[9][2:] == ["13.2", "8.96", "7.24", "5.94"]
    expected = 1600 + 100 * sum(METHODS[3].cost)
    assert total.rows[3][:2] == ["centralised, first order", "16660"]
    assert total.rows[3][2].startswith(f"{expected:.0f} (") and total.rows[3][4:] == ["2", "13.0"]
    assert total.rows[3][3] == f"{100 * (expected / 16660 - 1):+.1f} %"


# --- what is written ------------------------------------------------------------------------------------------


def test_everything_is_written_into_the_folder_and_nothing_is_pickled(tmp_path, monkeypatch, capsys):
    (tmp_path / "lectures").mkdir()
    (tmp_path / "course.py").touch()  # these two mark a course
    monkeypatch.chdir(tmp_path / "lectures")
    assert main(["reproduce", "second-order", "--seeds=1", "--steps=30", "--jobs=1"]) == 0
    out, folder = capsys.readouterr().out, tmp_path / "reproduction"
    assert f"everything is written to {folder}" in out
    assert {path.name for path in tmp_path.iterdir()} == {"course.py", "lectures", "reproduction"}
    assert (folder / "second_order.txt").read_text("utf-8") in out
    files = sorted(path.suffix for path in folder.iterdir())
    assert files == [".json"] * 4 + [".npz"] * 4 + [".png"] * 2 + [".txt"]
    for path in folder.glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].dtype != object for name in file.files)
    for name, words in (("learning", "Four panels over 30 steps"), ("run", "seed 1")):
        with Image.open(folder / f"second_order_{name}.png") as picture:
            picture.load()
            assert words in picture.info["Description"] and picture.info["Description"] in out


def test_figures_of_many_seeds_draw_the_bands_of_medians():
    few, many = (module.learning_figure([made_up(method, seeds) for method in METHODS], 2000)[0] for seeds in (5, 20))
    for figure, n in ((few, 0), (many, 32)):
        lines = [line for ax in figure.axes for line in ax.lines]
        bars = [line for line in lines if line.get_marker() == "_"]
        published = [line for line in lines if line.get_marker() in ("o", "s")]
        assert len(bars) == n and len(published) == 32
        assert all(line.get_markevery() == 1 for line in bars + published)  # else the style hides them
    low, high = bars[0].get_ydata()
    assert low < METHODS[0].td[0] < high


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds=0"], "'0' is not a positive whole number"),
        (["--steps=many"], "'many'"),
        (["--out=file"], "cannot write"),
    ],
)
def test_bad_requests(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["reproduce", "second-order", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_what_is_sent_is_compared_seed_by_seed_and_lost_runs_are_counted():
    found = {
        "plants": np.array(["one", "other"]), "ways": np.array(["nothing", "all", "never run"]),
        "best": np.array([1.0, 2.0]), "done": np.array([[[True] * 4, [True] * 4, [False] * 4]] * 2),
        "cost": np.array([[[1, 2, 3, np.inf], [3, 4, 5, 9], [np.nan] * 4]] * 2),
        "violated": np.full((2, 3, 4), 0.25), "greedy": np.full((2, 3, 4), 3.0), "numbers": np.full((2, 3, 4), 7.0),
    }  # fmt: skip
    nothing, everything = sent_table(found, "other", ["nothing", "all", "never run"]).rows
    assert list(nothing[:3]) == ["nothing", 2.0, None] and list(nothing[3:]) == [25.0, 1.5, "1 of 4", 7]
    assert everything[1] == 4.5 and everything[2].mean == pytest.approx(2.0) and everything[5] == "0 of 4"
