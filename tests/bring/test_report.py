"""The report on a reader's plant: its rows, its fairness, and the commands around it."""

import numpy as np
import pytest

from mpcrl_course import cli
from mpcrl_course.bring import EXAMPLES, OwnPlant, read, report
from mpcrl_course.closed_loop import run

ROWS = ["resting input", "LQR", "linear MPC", "MPC", "Q-learning on the linear MPC", "DDPG"]


@pytest.fixture(scope="module")
def found():
    return {
        name: report(EXAMPLES / f"{name}.py", starts=4, steps=1200, progress=False) for name in ("two_tanks", "drag")
    }


@pytest.mark.parametrize("name", ["two_tanks", "drag"])
def test_every_way_is_measured_from_the_same_starts(found, name):
    one = found[name]
    assert [row[0] for row in one.table.rows] == ROWS == list(one.runs)
    assert [row[2] for row in one.table.rows] == [0, 0, 0, 0, 1200, 1200]
    for row in one.table.rows:
        runs = one.runs[row[0]]
        np.testing.assert_array_equal(runs.x[0], one.runs["MPC"].x[0])
        assert row[3].mean == pytest.approx(runs.cost.sum(axis=0).mean()) and row[3].low <= row[3].mean <= row[3].high
        assert row[4] is None or row[4].mean == pytest.approx(row[3].mean - one.runs["MPC"].cost.sum(axis=0).mean())
    costs = {row[0]: row[3].mean for row in one.table.rows}
    assert all(costs[way] < 0.6 * costs["resting input"] for way in ROWS[1:5])
    assert not any("failed" in note or "no plan" in note for note in one.notes)
    assert "no promise" in str(one) and "<table>" in one._repr_html_()


def test_the_controllers_can_be_run_again(found):
    one = found["drag"]
    plant, again = one.plant, one.runs["MPC"]
    noise = plant.draw(200, 4, plant.steps)
    np.testing.assert_array_equal(run(one.controllers["MPC"], plant, again.x[0], noise).cost, again.cost)
    assert (np.abs(again.u) <= 1.0).all()
    log = one.learners["Q-learning"].log
    assert log.steps == 1200 and np.abs(log.theta[-1] - log.theta[0]).max() > 1e-4  # it learned something


def test_a_linear_plant_has_one_mpc_and_other_costs_no_q_learning():
    def cart(x, u):
        return [x[0] + 0.1 * x[1], x[1] + 0.1 * u[0]]

    box = [0.0, 0.0], [-1.0, 1.0], [[-1.0, -0.5], [1.0, 0.5]]
    one = report(OwnPlant("cart", cart, lambda x, u: x[0] ** 2 + 0.1 * u[0] ** 2, *box), starts=2, steps=0)
    assert [row[0] for row in one.table.rows] == ["resting input", "LQR", "MPC"]
    assert "the linear MPC is the MPC" in one.notes[0]
    other = OwnPlant("cart", cart, lambda x, u: x[0] ** 2 + x[0] ** 4 + 0.1 * u[0] ** 2, *box, steps=30)
    one = report(other, starts=2, steps=2, progress=False)
    assert [row[0] for row in one.table.rows] == ["resting input", "LQR", "linear MPC", "MPC", "DDPG"]
    assert any("no Q-learning" in note for note in one.notes)


def test_two_trainings_are_averaged(found):
    plant = read(EXAMPLES / "template.py")
    one = report(plant, starts=3, steps=40, trainings=2, progress=False)
    assert "2 trainings" in one.notes[-1]
    assert one.table.rows[-1][3].mean != one.runs["DDPG"].cost.sum(axis=0).mean()  # that of the first training


def test_a_model_that_is_wrong_controls_what_is_really_there():
    """Narrower outlets: the model's resting input is too much water, and the levels it keeps are too high."""
    model = read(EXAMPLES / "two_tanks.py")
    scale = 0.75

    def dynamics(x, u):
        ahead = model.dynamics(x, u / scale)
        return [now + scale * (after - now) for now, after in zip((x[0], x[1]), ahead)]

    def cost(x, u):
        return model.cost(x, u / scale)

    settings = model.set_point, model.limits, model.starts, model.noise
    truth = OwnPlant("narrow", dynamics, cost, *settings)
    assert truth.rest == pytest.approx(scale * model.rest)
    one = report(model, truth=truth, starts=3, steps=30, progress=False)
    right = report(truth, starts=3, steps=0)
    assert "narrow, of which two_tanks is the model" in one.table.caption
    cost_of = {name: found.cost.sum() for name, found in one.runs.items()}
    assert cost_of["MPC"] > 1.1 * right.runs["MPC"].cost.sum()
    assert one.runs["MPC"].x[-50:, :, 1].mean() > 0.405 > right.runs["MPC"].x[-50:, :, 1].mean() > 0.395
    with pytest.raises(ValueError, match="truth has 2 states"):
        report(model, truth=read(EXAMPLES / "drag.py"))


def test_the_picture_says_what_it_shows(found, capsys):
    found["two_tanks"].draw(1)
    assert "from the same start" in capsys.readouterr().out


def test_the_commands(tmp_path, monkeypatch, capsys):
    (tmp_path / "lectures").mkdir()
    (tmp_path / "course.py").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new-plant", "boat"]) == 0
    path = tmp_path / "my_plants" / "boat.py"
    assert path.is_file() and "try-plant boat" in capsys.readouterr().out
    assert cli.main(["try-plant", "boat", "--starts", "2", "--steps", "0", "--csv", "boat.csv"]) == 0
    said = capsys.readouterr().out
    assert "boat: sum of costs" in said and "LQR" in said
    assert (tmp_path / "boat.csv").read_text(encoding="utf-8").startswith("controller,knows,transitions,cost")
    assert cli.main(["new-plant", "boat"]) == 2 and "there already" in capsys.readouterr().err
    path.write_text(path.read_text(encoding="utf-8").replace("-2.0, 2.0", "2.0, -2.0"), encoding="utf-8")
    assert cli.main(["try-plant", str(path)]) == 1
    assert capsys.readouterr().err.startswith("boat.py: limits are 2, -2: the lowest input comes first")
    assert cli.main(["try-plant", "ship"]) == 1 and "there is no file" in capsys.readouterr().err
    assert cli.main(["try-plant", "boat", "--steps", "-1"]) == 1
