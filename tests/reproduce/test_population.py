"""The command on populations: what it prints, writes, loads again and refuses."""

import csv

import numpy as np
import pytest
from PIL import Image

from mpcrl_course.cli import main
from mpcrl_course.population import deployed, load_plans, plan, rendezvous, sampled_policy


def test_a_sweep_writes_all_that_it_says(tmp_path, capsys):
    few = ["--k", "2:4", "--runs", "30", "--horizon", "60"]
    assert main(["population", "rendezvous", *few, "--agents", "6", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    lines = [line.split() for line in out if line.split()[:1] in (["2"], ["3"], ["4"])]
    assert [line[:4] for line in lines[:3]] == [
        ["2", "42", "945", "162"],
        ["3", "70", "3465", "430"],
        ["4", "105", "10395", "945"],
    ]
    rows = list(csv.DictReader((tmp_path / "deployments.csv").open(encoding="utf-8")))
    assert [row["k"] for row in rows] == ["2", "3", "4"]
    exact = deployed(sampled_policy(plan(rendezvous(), 3)), 6)
    assert float(rows[1]["exact"]) == pytest.approx(exact, abs=1e-9)
    curves = np.genfromtxt(tmp_path / "curves.csv", delimiter=",", names=True)
    assert len(curves) == 60 and abs(curves["k3_mean"][-1] - exact) < 2 * curves["k3_half_width"][-1]
    with Image.open(tmp_path / "rendezvous.png") as picture:
        assert picture.size[0] > 1000 and "n = 6" in picture.info["Description"]
    plans, config = load_plans(tmp_path / "plans.npz")
    assert [one.k for one in plans] == [2, 3, 4] and config.n == 14

    saved, shown = str(tmp_path / "plans.npz"), tmp_path / "more"
    assert main(["population", saved, "--agents", "1000", "--runs", "3", "--horizon", "9", "--samples", "shared",
                 "--out", str(shown)]) == 0  # fmt: skip
    assert "n = 1000, shared samples" in capsys.readouterr().out
    assert list(csv.DictReader((shown / "deployments.csv").open(encoding="utf-8")))[0]["exact"] == ""


def test_what_is_not_needed_is_said(tmp_path, capsys):
    arguments = ["--k", "2", "--runs", "1", "--horizon", "3", "--out", str(tmp_path)]
    assert main(["population", "formation", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("monte_carlo_samples and training_steps: not needed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], "shipped are: formation"),
        (["absent.npz"], "absent.npz"),
        (["bad.json"], "bad.json, line 2: horizon must be"),
        (["formation", "--k", "2:15"], "a sample of 15 of 14 agents"),
        (["formation", "--k", "5:2"], "no range"),
        (["formation", "--agents", "0"], "not a positive whole number"),
        (["formation", "--samples", "own"], "invalid choice"),
        (["formation", "--k", "2", "--out", "bad.json"], "cannot write into"),
    ],
)
def test_bad_requests_say_what_is_wrong(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"simulation": {\n"horizon": 0}}', encoding="utf-8")
    assert main(["population", *arguments]) == 2
    assert words in capsys.readouterr().err
