"""A reader's plant: what it becomes against closed forms, and each common error in its file, named with what to do."""

import numpy as np
import pytest

from mpcrl_course.bring import EXAMPLES, InUnits, OwnPlant, OwnPlantEnv, OwnPlantError, find, new_plant, own_mpc, read
from mpcrl_course.closed_loop import run
from mpcrl_course.mpc import lqr

TEMPLATE = (EXAMPLES / "template.py").read_text(encoding="utf-8")
every = pytest.mark.parametrize("name", ["template", "two_tanks", "drag"])


def written(folder, *changes):
    """Write the template with texts replaced by others, and return its path."""
    text = TEMPLATE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


LAST = "return position + DT * speed, speed + DT * acceleration"
COST = "return x[0] ** 2 + 0.1 * x[1] ** 2 + 0.01 * u[0] ** 2"
NUMPY = ("import casadi", "import numpy as np\nimport casadi")
#: A common error: what is written instead of what; words of the message, and of its advice.
ERRORS = {
    "a state too few": ([(LAST, "return speed + DT * acceleration")], "returns 1 numbers, but set_point has 2", "each"),
    "a state too many": ([(LAST, LAST + ", force")], "returns 3 numbers", "in their order"),
    "nothing returned": ([(LAST, "ahead = position")], "dynamics returned nothing", "return"),
    "text returned": ([(LAST, "return 'ahead'")], "dynamics returned a str", "list of expressions"),
    "no number at once": ([("ca.sin(", "math.sin("), ("import casadi", "import math\nimport casadi")],
                          "dynamics returns nan", "Take ca.sin"),
    "no number on the way": ([("- 0.2 * speed", "- 0.2 * ca.sqrt(1.2 + position)")], "dynamics is (", "smooth root"),
    "no number in the cost": ([("0.1 * x[1] ** 2", "0.001 * ca.log(1.5 + x[1])")], "cost is nan at", "smooth"),
    "NumPy": ([("ca.sin(position)", "np.polyval([1.0, 0.0], position)"), NUMPY],
              "line 19, 'acceleration = force + np.polyval", "ca.interpolant"),
    "float": ([("ca.sin(position)", "float(position)")], "dynamics returns nan", "float and their like"),
    "abs": ([("0.2 * speed", "0.2 * speed * abs(speed)")], "dynamics uses abs, which has a kink", "ca.sqrt(y**2"),
    "fmax": ([(COST, COST + " + ca.fmax(0, x[0])")], "cost uses max", "smooth max"),
    "sign": ([("0.2 * speed", "0.2 * ca.sign(speed)")], "dynamics uses sign", "ca.tanh"),
    "if": ([("    acceleration =", "    if speed > 0:\n        force = force - 0.1\n    acceleration =")],
           "line 18, 'if speed > 0:', decides by an if", "smooth"),
    "np.where": ([("ca.sin(position)", "np.where(speed > 0, 1, -1)"), NUMPY], "which has a kink or a jump", "ca.tanh"),
    "limits swapped": ([("-2.0, 2.0", "2.0, -2.0")], "limits are 2, -2", "swap"),
    "one limit": ([("-2.0, 2.0", "2.0")], "limits are 2", "lowest and the highest"),
    "starts swapped": ([("[-1.0, -0.5], [1.0, 0.5]", "[1.0, -0.5], [-1.0, 0.5]")], "from 1 to -1 in state 0", "swap"),
    "starts of one state": ([("[-1.0, -0.5], [1.0, 0.5]", "[-1.0], [1.0]")], "starts has shape (2, 1)", "2 numbers"),
    "cost of two": ([(COST, "return x**2")], "cost returns 2 numbers, but a cost is one", "add up"),
    "negative cost": ([(COST, COST + " - 1.0")], "cost is -1 at the set point", "Add 1 to it"),
    "cost without end": ([(COST, COST + " - 0.8 * x[0] ** 4")], "must be least at the set point", "squares"),
    "sloping cost": ([(COST, "return x[0] + 0.01 * u[0] ** 2")], "it slopes in x[0]", "(x[0] - 0) ** 2"),
    "cost elsewhere": ([("x[0] ** 2 + 0.1", "(x[0] - 0.5) ** 2 + 0.1")], "it slopes in x[0]", "(x[0] - 0) ** 2"),
    "input not counted": ([(" + 0.01 * u[0] ** 2", "")], "cost does not count the input", "0.01 * u[0] ** 2"),
    "not to be stabilised": ([("force + ca.sin(position) - 0.2 * speed", "force - 0.2 * speed"),
                              ("DT * speed, speed", "DT * position, speed")],
                             "no input can stabilise", "Let the input act on it"),
    "no input": ([("force + ca.sin", "ca.sin")], "does not depend on the input", "u[0]"),
    "input squared": ([("force + ca.sin", "force**2 + ca.sin")], "the input moves nothing", "squared"),
    "not counted": ([(COST, "return x[1] ** 2 + u[0] ** 2"), ("+ ca.sin(position)", ""),
                     ("DT = 0.1", "discount = 1.0\nDT = 0.1")],
                    "there is no LQR", "count every state"),
    "cannot rest": ([("[0.0, 0.0]", "[0.0, 0.3]")], "no input within the limits holds", "One that can be held is"),
    "misnamed": ([("def dynamics", "def dynamic")], "has no 'dynamics'", "'dynamic' is perhaps meant"),
    "misnamed setting": ([("noise =", "noises =")], "'noises', which nobody reads", "is noise meant"),
    "syntax": ([("def cost(x, u):", "def cost(x, u)")], "is not Python in line 22, 'def cost(x, u)'", "line before"),
    "a name that is none": ([("DT = 0.1", "dt = 0.1")], "line 19, 'return position + DT", "NameError"),
    "not at import": ([("DT = 0.1", "DT = 0.1 / 0")], "line 8 raised ZeroDivisionError", "division by zero"),
    "one argument": ([("def cost(x, u):", "def cost(x):")], "cost is called as cost(x, u)", "two arguments"),
    "third state": ([("x[1], u[0]\n", "x[2], u[0]\n")], "asks for an entry that is not there", "x has 2 entries"),
    "discount": ([("DT = 0.1", "discount = 1.5\nDT = 0.1")], "discount must lie in (0, 1]", "1.5"),
}  # fmt: skip


@pytest.mark.parametrize("changes, says, advice", ERRORS.values(), ids=ERRORS)
def test_an_error_is_named_with_what_to_do(changes, says, advice, tmp_path):
    with pytest.raises(OwnPlantError) as caught:
        read(written(tmp_path, *changes))
    message = str(caught.value)
    assert says in message and advice in message, message


def test_a_state_that_cannot_be_held_comes_with_one_that_can(tmp_path):
    """A tank at 1.2 m needs c root(1.2) of flow; the pump gives 4e-4 m3/s, which holds 1 m."""
    text = (EXAMPLES / "two_tanks.py").read_text(encoding="utf-8")
    path = tmp_path / "tanks.py"
    path.write_text(
        text.replace("limits = 0.0, 6e-4", "limits = 0.0, 4e-4").replace("[LEVEL, LEVEL]", "[1.2, 1.2]"), "utf-8"
    )
    with pytest.raises(OwnPlantError, match=r"One that can be held is \(1, 1\), by the input 0.0004"):
        read(path)
    path.write_text(text.replace("((u[0] - FLOW)", "((u[0] - 0.0)"), "utf-8")
    with pytest.raises(OwnPlantError, match=r"slopes in u\[0\].* as in \(u\[0\] - 0.000252943\)"):
        read(path)


def test_no_file_and_a_name_that_is_nearly_right(tmp_path):
    path = written(tmp_path)
    with pytest.raises(OwnPlantError, match="did you mean mine.py"):
        read(tmp_path / "mne.py")
    with pytest.raises(OwnPlantError, match="new-plant NAME"):
        read(tmp_path / "other" / "boat.py")
    changed = written(tmp_path, ("0.01 * u[0] ** 2", "0.02 * u[0] ** 2"))  # at once: no old copy is read
    assert path == changed and read(path).H[2, 2] * read(path).unit == pytest.approx(0.02 * 2.0**2)
    assert not list(tmp_path.rglob("*.pyc"))


def test_the_linear_quadratic_one_is_known_in_closed_form():
    """An own double integrator: the regulator, in units, is that of the plant's matrices; V of the MPC is z'P z."""
    A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
    plant = OwnPlant(
        "cart", lambda x, u: A @ x + B @ u, lambda x, u: 3 * x[0] ** 2 + x[0] * x[1] + x[1] ** 2 + 0.5 * u[0] ** 2,
        [0.0, 0.0], [-50.0, 50.0], [[-2.0, -1.0], [2.0, 1.0]], discount=0.9,
    )  # fmt: skip
    known = lqr(A, B, [[3.0, 0.5], [0.5, 1.0]], [[0.5]], 0.9)
    assert plant.linear and plant.quadratic and plant.rest == pytest.approx(0.0, abs=1e-9)
    x = plant.random_starts(5, 3)
    u = InUnits(lambda z: -z @ plant.regulator.K.T, plant)(x)
    np.testing.assert_allclose(u, -x @ known.K.T, rtol=1e-9)
    for linear in (True, False):
        mpc = own_mpc(plant, linear)
        assert mpc.solver == "daqp"
        for state, best in zip(x, u):
            found = mpc.V(mpc.parameters.initial(), state / plant.scale)
            assert found.value * plant.unit == pytest.approx(known.V(state), rel=1e-8)
            assert found.u0[0] * plant.half == pytest.approx(best[0], rel=1e-6)


@every
def test_examples_can_rest_and_are_linearised(name):
    plant = read(EXAMPLES / f"{name}.py")
    point, noise = np.array(plant.set_point), plant.draw(0, 2, 3)
    quiet = noise._replace(w=0.0 * noise.w)
    found = run(lambda y: np.full((len(y), 1), plant.rest), plant, [point, point], quiet)
    np.testing.assert_allclose(found.x, np.broadcast_to(point, found.x.shape), atol=1e-9)
    assert found.cost.sum() == pytest.approx(0.0, abs=1e-12)
    h = 1e-6  # differences of a step, against A and B
    for j, unit in enumerate(np.eye(plant.n_states)):
        both = point + np.array([[h], [-h]]) * plant.scale * unit
        ahead, *_ = plant.step(both, np.full((2, 1), plant.rest), quiet._make(part[0] for part in quiet))
        np.testing.assert_allclose((ahead[0] - ahead[1]) / (2 * h) / plant.scale, plant.A[:, j], atol=1e-6)


def test_leaving_is_dearer_than_staying():
    plant = read(EXAMPLES / "template.py")
    x = np.array([[9.99, 3.0], [0.1, 0.0]])
    after, cost, ended = plant.step(x, np.array([[1.0], [0.0]]), plant.draw(0, 2, 1)._make([np.zeros((2, 2))]))
    assert ended.tolist() == [True, False] and np.array_equal(after[0], x[0])
    once = 9.99**2 + 0.1 * 3.0**2 + 0.01
    assert cost[0] == pytest.approx((1 + plant.steps) * once) and cost[1] == pytest.approx(0.01)


def test_in_units_it_is_the_same_plant():
    plant = read(EXAMPLES / "two_tanks.py")
    one, other = OwnPlantEnv(plant, start=[0.3, 0.5]), OwnPlantEnv(plant, start=[0.3, 0.5], units=True)
    one.reset(seed=4), other.reset(seed=4)
    for v in (0.5, -2.0, 0.1):
        seen, reward, *_, info = other.step([v])
        y, own, *_ = one.step([plant.rest + plant.half * v])
        np.testing.assert_allclose(seen, (y - plant.set_point) / plant.scale, rtol=1e-12)
        assert reward == pytest.approx(own / plant.unit) and info["cost"] == pytest.approx(-own)


def test_a_new_plant_works_as_it_stands_and_is_never_lost(tmp_path):
    (tmp_path / "lectures").mkdir()
    (tmp_path / "course.py").touch()
    path = new_plant("boat", tmp_path)
    assert path == tmp_path / "my_plants" / "boat.py" and find("boat", tmp_path) == path
    text = path.read_text(encoding="utf-8")
    assert "try-plant boat" in text and "NAME" not in text and "FILE" not in text
    assert len([line for line in text.splitlines() if line and '"""' not in line]) <= 20
    assert read(path).name == "boat"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(OwnPlantError, match="there already"):
        new_plant("boat", tmp_path)
    assert path.read_text(encoding="utf-8") == "mine"
    new_plant("boat", tmp_path, overwrite=True)
    assert path.read_text(encoding="utf-8") == text
    for name in ("two words", "2nd", "../up", "class", ""):
        with pytest.raises(OwnPlantError, match="no name"):
            new_plant(name, tmp_path)


def test_what_is_written_in_a_cell_is_a_plant_too():
    root = lambda y: y / (y**2 + 1e-4) ** 0.25  # noqa: E731
    box = 1.0, [0.0, 1.0], [[0.5], [1.5]]
    cost = lambda x, u: (x - 1) ** 2 + (u - 0.5) ** 2  # noqa: E731
    plant = OwnPlant("level", lambda x, u: x + 0.1 * (u - 0.5 * root(x)), cost, *box)
    assert plant.n_states == 1 and plant.rest == pytest.approx(0.5, abs=1e-4)
    with pytest.raises(OwnPlantError, match="rates of change"):
        OwnPlant("rates", lambda x, u: u - 0.5 * root(x), cost, *box)
