"""A wrong declaration is named when it is made: with the reader's function, the stage and the shape."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, Rows
from mpcrl_course.network import Agent, Network


def dynamics(x, u, p):
    return ca.vertcat(x[0] + u, p.a * x[1])


GOOD = {
    "n_states": 2,
    "n_inputs": 1,
    "horizon": 3,
    "parameters": Parameters(a=1.0),
    "dynamics": dynamics,
    "stage_cost": lambda k, x, u, p: ca.sumsqr(x) + u**2,
    "terminal_cost": lambda x, p: ca.sumsqr(x),
}


def declared(**fields):
    return OptimalControlProblem(**{**GOOD, **fields})


def my_cost(k, x, u, p):
    return p.W * x[0]


def my_late_mistake(k, x, u, p):
    return x if k == 2 else x[0]


def my_bound(k, x, u, p):
    return Rows(x[0] + u[0], 0.0, 1.0)


def rows(**fields):
    return {"wall": lambda k, x, u, p: Rows(x, **fields)}


#: (field, what it is, words of the message)
FUNCTIONS = [
    ("stage_cost", lambda k, x, u, p: x**2, [r"stage_cost returns shape \(2, 1\) at stage 0", "one number"]),
    ("stage_cost", lambda k, x, u, p: None, ["stage_cost returned None at stage 0", "return"]),
    ("stage_cost", lambda k, x, u, p: np.array([x[0]]), [r"stage_cost returned a NumPy array of shape \(1,\)"]),
    ("stage_cost", lambda k, x, u, p: [x[0]], ["stage_cost returned a list at stage 0"]),
    ("stage_cost", lambda k, x, u, p: np.nan, ["stage_cost is nan at stage 0"]),
    ("stage_cost", lambda k, x, u, p: x @ u @ x, ["stage_cost raised RuntimeError at stage 0.*incompatible"]),
    ("stage_cost", lambda x, u, p: 0.0, ["stage_cost raised TypeError at stage 0.*3 positional"]),
    ("stage_cost", my_cost, [r"stage_cost \(your function 'my_cost'\) raised AttributeError", "'W'", "p with a"]),
    ("stage_cost", my_late_mistake, [r"'my_late_mistake'\) returns shape \(2, 1\) at stage 2"]),
    ("stage_cost", 3.0, ["stage_cost must be a function, not 3.0"]),
    ("terminal_cost", lambda x, p: x, [r"terminal_cost returns shape \(2, 1\)"]),
    ("terminal_cost", lambda x, p: None, ["terminal_cost returned None"]),
    ("dynamics", lambda x, u, p: [x[0], x[1]], ["dynamics returned a list.*vertcat"]),
    ("dynamics", lambda x, u, p: np.array([x[0], x[1]]), [r"dynamics returned a NumPy array of shape \(2,\).*vertcat"]),
    ("dynamics", lambda x, u, p: x.T, ["dynamics returns a row of 2 states"]),
    ("dynamics", lambda x, u, p: x[0], ["dynamics returns 1 states, but the problem has 2"]),
    ("dynamics", lambda x, u, p: ca.horzcat(x, x), [r"dynamics returns a matrix of shape \(2, 2\)"]),
    ("dynamics", lambda x, u, p: None, ["dynamics returned None"]),
    ("constraints", {"wall": lambda k, x, u, p: x[0]}, ["'wall' returned a bare expression at stage 0.*Rows"]),
    ("constraints", {"wall": my_bound}, ["'wall' raised TypeError at stage 3.*u is None: return None there"]),
    ("constraints", {"wall": lambda k, x, u, p: [x, 0, 1]}, ["'wall' returned a list"]),
    ("constraints", {"wall": lambda k, x, u, p: Rows(x.T, 0.0)}, [r"expression of constraint 'wall'.*\(1, 2\)"]),
    (
        "constraints",
        {"wall": lambda k, x, u, p: Rows([x[0]], 0.0)},
        ["of constraint 'wall' returned a list"],
    ),
    ("constraints", {"wall": lambda k, x, u, p: None}, ["'wall' returns None at every stage"]),
    ("constraints", {"wall": lambda k, x, u, p: Rows(x[: 1 + k % 2], 0.0)}, ["'wall' has .1, 2. rows at different"]),
    ("constraints", {"wall": lambda k, x, u, p: Rows(x, [p.a, 0.0])}, ["lower of constraint 'wall'.*vertcat"]),
    ("constraints", rows(lower=[0.0, 1.0, 2.0]), [r"'wall' has 2 rows, but its lower has shape \(3,\)"]),
    ("constraints", rows(upper=ca.SX(3, 1)), [r"'wall' has 2 rows, but its upper has shape \(3, 1\)"]),
    ("constraints", rows(upper=1.0, weight=np.ones(3)), [r"'wall' has 2 rows, but its weight has shape \(3,\)"]),
    ("constraints", rows(lower=np.inf), ["lower of constraint 'wall' is inf in row 1 at stage 0"]),
    ("constraints", rows(lower=[0.0, np.inf]), ["lower of constraint 'wall' is inf in row 2"]),
    ("constraints", rows(upper=-np.inf), ["upper of constraint 'wall' is -inf in row 1"]),
    ("constraints", rows(upper=[np.nan, 1.0]), ["upper of constraint 'wall' is nan"]),
    ("constraints", rows(upper=1.0, weight=-1.0), ["weight of constraint 'wall' is -1"]),
    ("constraints", rows(upper=1.0, weight=np.inf), ["weight of constraint 'wall' is inf"]),
    ("constraints", rows(lower=0.3 + 1e-12, upper=0.3), ["lower of constraint 'wall' exceeds its upper by 1e-12"]),
    ("constraints", rows(lower=ca.SX([0.0, 2.0]), upper=1.0), ["lower of constraint 'wall' exceeds.* by 1 in row 2"]),
    ("constraints", rows(lower="0"), ["lower of constraint 'wall' holds strings"]),
    ("constraints", rows(lower=1j), ["lower of constraint 'wall' holds complex numbers"]),
    ("constraints", {3: my_bound}, ["name of a constraint is a string, not 3"]),
    ("constraints", {"wall": 3}, ["constraint 'wall' must be a function, not 3"]),
    ("constraints", [my_bound], ["constraints must be of the type Mapping"]),
    ("dynamics", lambda x, u, p: ca.vertcat(x[0], np.nan), ["dynamics returns nan"]),
    ("stage_cost", lambda k, x, u, p: x[0] + ca.SX.sym("w"), ["stage_cost depends on a symbol of its own, w"]),
    ("constraints", rows(upper=ca.SX.sym("top")), ["'wall' depends on a symbol of its own, top"]),
    ("guesses", 3, ["guesses must be a function or None"]),
    ("input_scale", 3, ["input_scale must be a function or None"]),
    ("input_scale", lambda p: "a", ["what input_scale returns holds strings"]),
    ("input_scale", lambda p: [1.0, 2.0, 3.0], [r"input_scale returns shape \(3,\), but there are 1 inputs"]),
    ("input_scale", lambda p: 0.0, [r"input_scale returns \[0.\], but inputs are multiplied by what is above 0"]),
    ("input_scale", lambda p: [-2.0], [r"input_scale returns \[-2.\], but inputs are multiplied by what is above 0"]),
    ("input_scale", lambda p: p.W, ["input_scale raised AttributeError"]),
]
FIELDS = [
    ("n_states", 0, "n_states must be at least 1"),
    ("n_states", 2.0, "n_states must be a whole number"),
    ("n_inputs", None, "n_inputs must be a whole number"),
    ("horizon", 2.5, "horizon must be a whole number, not 2.5"),
    ("horizon", True, "horizon must be a whole number, not True"),
    ("horizon", "3", "horizon must be a whole number"),
    ("discount", np.nan, "discount must lie in"),
    ("discount", 1j, "discount must lie in"),
    ("discount", "0.9", "discount must lie in"),
    ("discount", None, "discount must lie in"),
    ("input_lower", [0.0, 1.0], r"input_lower has shape \(2,\)"),
    ("input_lower", np.nan, "input_lower is not a num"),
    ("input_lower", np.inf, "input_lower is inf"),
    ("input_upper", -np.inf, "input_upper is -inf"),
    ("input_lower", 1.0 + 1e-12, "input_lower .* exceeds input_upper .* by 1e-12"),
    ("input_lower", "a", "input_lower holds strings"),
    ("input_upper", None, "input_upper is no array of numbers"),
    ("input_upper", 1j, "input_upper holds complex"),
    ("parameters", {"a": 1.0}, "parameters must be of the type Parameters"),
    ("constraints", None, "constraints must be of the type Mapping"),
]
ONLY_OF_PROBLEMS = [
    ("n_actions", 2, "n_actions must lie between 1 and n_inputs = 1"),
    ("n_actions", -1, "n_actions must lie between"),
    ("n_actions", 1.0, "n_actions must be a whole number"),
    ("angles", (2,), "angles are .*from 0 to 1"),
    ("angles", (-1,), "angles must be at least 0"),
    ("angles", (0.5,), "angles must be a whole number"),
    ("angles", (0, 0), "angles are numbers of states"),
    ("angles", 0, "angles is a list"),
    ("state_names", ["q"], "state_names has 1 names, but there are 2"),
    ("state_names", "qv", "state_names is a list"),
    ("state_names", ["q", "q"], "state_names names two the same"),
    ("state_names", 3, "state_names is a list"),
    ("input_names", [1], "input_names is a list of 1 strings"),
]


@pytest.mark.parametrize("case", range(len(FUNCTIONS)))
def test_a_wrong_function_is_named_with_its_stage_and_shape(case):
    field, wrong, words = FUNCTIONS[case]
    for word in words:
        with pytest.raises(ValueError, match=word) as error:
            declared(**{field: wrong})
        raised = " raised " in str(error.value)
        assert (error.value.__cause__ is not None) == raised, "the reader's own error is the cause"


@pytest.mark.parametrize(("field", "wrong", "words"), FIELDS + ONLY_OF_PROBLEMS)
def test_a_wrong_field_is_named(field, wrong, words):
    with pytest.raises(ValueError, match=words):
        declared(**{"input_upper": 1.0, field: wrong})


def test_what_is_right_is_taken_as_it_is():
    problem = declared(
        horizon=np.int64(3),
        input_lower=[-1.0],
        input_upper=1,
        discount=1,
        angles=[np.int64(1)],
        state_names=np.array(["q", "v"]),
        terminal_cost=lambda x, p: 0,
        constraints={"wall": lambda k, x, u, p: Rows(x, [-np.inf, -2], p.a * ca.SX.ones(2), 3) if k < 3 else None},
    )
    assert (problem.horizon, problem.angles, problem.n_actions) == (3, (1,), 1) and problem.state_names == ["q", "v"]
    # by hand: nothing acts on x_2, and u = 0 leaves x_1; three stages cost 0.25 + 0.25 each, and no row is violated
    assert MPC(problem).V([1.0], [0.0, 0.5]).value == pytest.approx(0.75, rel=1e-6)
    # equal bounds are no crossing, of the box and of rows
    one = declared(input_lower=0.5, input_upper=0.5, constraints=rows(lower=0.0, upper=9.0, weight=1.0))
    np.testing.assert_allclose(MPC(one).V([1.0], [0.0, 0.0]).u, 0.5, atol=1e-9)


def test_numbers_as_dynamics_and_costs_are_right():
    """A problem of one state may be driven by nothing but a number, or a DM; V is what is left: the stage costs."""
    for still in (0.5, ca.DM(0.5), np.float64(0.5)):
        problem = declared(
            n_states=1,
            dynamics=lambda x, u, p, still=still: still,
            stage_cost=lambda k, x, u, p: x**2 + u**2,
            terminal_cost=lambda x, p: np.float64(2.0),
        )
        assert MPC(problem).V([1.0], [1.0]).value == pytest.approx(1.0 + 0.25 + 0.25 + 2.0, rel=1e-9)


def agent(**fields):
    """Return one that wants its neighbours' first states, with all else as in GOOD."""
    own = {
        "dynamics": lambda x, u, neighbours, p: dynamics(x, u, p) + sum((x_j[0] for x_j in neighbours), ca.SX(0)),
        "stage_cost": lambda k, x, u, neighbours, p: ca.sumsqr(x) + u**2,
    }
    return Agent(**{**GOOD, **own, **fields})


@pytest.mark.parametrize(("field", "wrong", "words"), FIELDS)
def test_an_agent_is_declared_alike(field, wrong, words):
    with pytest.raises(ValueError, match=words):
        agent(**{"input_upper": 1.0, field: wrong})


@pytest.mark.parametrize("case", range(len(FUNCTIONS) - 7))  # an agent has no guesses and no scale
def test_an_agents_functions_are_called_when_its_network_is_made(case):
    field, wrong, words = FUNCTIONS[case]

    def of_agent(function):
        """Return a problem's function as an agent's: with the neighbours before p."""
        if not callable(function) or field == "terminal_cost":
            return function
        takes = function.__code__.co_argcount + 1
        changed = {5: lambda k, x, u, neighbours, p: function(k, x, u, p), 4: lambda x, u, _, p: function(x, u, p)}[
            takes
        ]
        changed.__name__ = function.__name__
        return changed

    if isinstance(wrong, dict):
        wrong = {name: of_agent(function) for name, function in wrong.items()}
    else:
        wrong = of_agent(wrong)
    for word in words:
        for mine, agents in (
            ("problem has", "agent has"),
            ("3 pos", "4 pos"),
            ("of constraint", "of agent 2's constraint"),
        ):
            word = word.replace(mine, agents)
        with pytest.raises(ValueError, match=word) as error:
            Network([agent(), agent(**{field: wrong})], [(0, 1)])
        of_a_field = any(said in str(error.value) for said in ("be a function", "is a string", "type Mapping"))
        assert of_a_field or "agent 2's " in str(error.value)


def test_functions_that_see_a_neighbour_who_is_not_there():
    """Who is whose neighbour is known to the network only: the same agent is right in one, and wrong in another."""
    needs_two = agent(dynamics=lambda x, u, neighbours, p: dynamics(x, u, p) + neighbours[1][0])
    Network([agent(), needs_two, agent()], [(0, 1), (1, 2)])
    with pytest.raises(ValueError, match="agent 2's dynamics raised IndexError.*neighbours") as error:
        Network([agent(), needs_two], [(0, 1)])
    assert isinstance(error.value.__cause__, IndexError)


def test_a_function_that_overwrites_what_it_is_given_is_named():
    def dynamics(x, u, p):
        x[0] = x[0] + u
        return x

    def neighbourly(x, u, neighbours, p):
        neighbours[0][1] = 0.0
        return x

    with pytest.raises(ValueError, match="^dynamics overwrites what it is given: make a new column"):
        declared(dynamics=dynamics)
    agent = Agent(**{**GOOD, "dynamics": neighbourly, "stage_cost": lambda k, x, u, n, p: u**2})
    with pytest.raises(ValueError, match=r"dynamics \(your function 'neighbourly'\) overwrites what it is given"):
        Network([agent, agent], [(0, 1)])


@pytest.mark.parametrize("residual", [3, lambda k, x, u, p: None, lambda k, x, u, p: x[5], lambda k, x, u, p: 2 * u])
def test_a_residual_that_is_none_is_named(residual):
    with pytest.raises(ValueError, match="residual"):
        MPC(declared(), "rti", residual=residual)


def test_masked_numbers_are_missing_numbers():
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(ValueError, match="parameter 'b' holds masked entries"):
        Parameters(b=masked)
    with pytest.raises(ValueError, match="input_lower holds masked entries"):
        declared(input_lower=masked[1:])
    np.testing.assert_array_equal(Parameters(b=np.ma.array([1.0, 2.0])).initial(), [1.0, 2.0])
