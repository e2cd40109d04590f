"""Configurations: the published form is read, every shipped one has its value, and whatever is hostile is refused."""

import json
from math import prod
from random import Random

import numpy as np
import pytest

from mpcrl_course.population import (
    ConfigError,
    formation,
    optimal_value,
    parse_config,
    read_config,
    rendezvous,
    shipped,
)
from mpcrl_course.population.grammar import Refused
from mpcrl_course.population.walker import Function

#: V* of 14 agents that start uniformly, Rendezvous as it says.
VALUES = {
    "formation": 30.6888,
    "sparse": 100.752,
    "momentum": 31.1467,
    "multi_objective": 20.1081,
    "nonlinear": 27.7793,
    "noisy": 28.9733,
    "rendezvous": 6.8432,
}


def test_every_shipped_configuration_is_known_here():
    assert set(shipped()) == set(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_shipped_configurations_have_their_values(name):
    """Published: 30.6888, 28.9733 and 6.843; the others are ours, against the plain planner at k = 3."""
    from mpcrl_course.population import plan
    from mpcrl_course.population.faulty import plan_with

    config = read_config(name)
    assert (config.n, config.horizon, config.plot) == (14, 200, f"{name}.png")
    np.testing.assert_allclose(plan(config.model, 3).V, plan_with(config.model, 3).V, atol=1e-8)
    if name != "noisy":  # two seconds; its model is compared below
        assert optimal_value(config.model, 14) == pytest.approx(VALUES[name], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "model"), [("formation", formation()), ("noisy", formation(0.2, pull=False)), ("rendezvous", rendezvous())]
)
def test_models_from_files_are_those_from_python(name, model):
    read = read_config(name).model
    for part in ("P_g", "P_l", "r_g", "r_l"):
        np.testing.assert_allclose(getattr(read, part), getattr(model, part), rtol=0, atol=1e-12)
    for ours, theirs in zip(read.start, model.start):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_what_a_file_leaves_out_is_formation():
    config = parse_config("{}")
    assert (config.n, config.runs, config.horizon, config.plot) == (14, 20, 200, "cumulative_rewards.png")
    assert optimal_value(config.model, 4) == optimal_value(formation(), 4)
    one = parse_config('{"simulation": {"num_local_agents": 7, "training_steps": 100, "monte_carlo_samples": 10}}')
    assert one.n == 7 and one.unneeded == ("monte_carlo_samples", "training_steps")


def function(*body, name="local_agent_reward", arguments="s, s_g, a"):
    return [f"def {name}({arguments}):", *(f"    {line}" for line in body)]


def described(lines, name="local_agent_reward"):
    """Return the text of a configuration; the function's first line stands on line 5."""
    return json.dumps({"environment": {"functions": {name: lines}}}, indent=1)


# ---- the small language says what Python says


PROGRAMS = [
    ["x = s + a - s_g", "return max(-1, min(1, x))"],
    [
        "if s == 0 and s_g == 0:",
        "    y = 1.0",
        "elif not a:",
        "    y = 2 ** s",
        "else:",
        "    y = -s // 2",
        "return y % 3",
    ],
    ["y = 0.3", "y *= abs(s) + 1", "y -= a", "return round(y, 1) if -1 <= s < a or s in [2, s_g] else int(y)"],
    ['"""A text that says nothing."""', "import math", "return math.exp(-abs(s)) + sqrt(abs(a)) + floor(s_g / 2)"],
    ["return min([s, a, s_g]) + max(s, a) + float(s != a) + clip(s, 0, 1) + ceil(a / 3)"],
    ["pass", "return (s > a) - (s < a)"],
]


@pytest.mark.parametrize("body", PROGRAMS)
def test_programs_compute_what_python_computes(body):
    import math

    source = "\n".join(function(*body))
    names = {**vars(math), "clip": lambda x, low, high: max(low, min(high, x))}
    exec(compile(source, "program", "exec"), names)  # of this file's own programs
    ours = Function(source, "local_agent_reward", 3)
    for s in range(-2, 3):
        for s_g in range(-2, 3):
            for a in (-1, 0, 1):
                assert ours.law(s, s_g, a) == {names["local_agent_reward"](s, s_g, a): 1.0}


DRAWN = [
    (["return a + random.choice([-1, 0, 1, 1])"], {0: 0.25, 1: 0.25, 2: 0.5}),
    (["if random.random() < 0.2:", "    return 1", "return 0"], {1: 0.2, 0: 0.8}),
    (["u = random.random()", "return 1 if u < 0.2 else 2 if 0.5 >= u else 3"], {1: 0.2, 2: 0.3, 3: 0.5}),
    (["u = random.random()", "return 7 if 0.25 < u < 0.75 and u < 0.5 else 8"], {7: 0.25, 8: 0.75}),
    (["return random.randint(1, 3) * random.randint(0, 1)"], {0: 0.5, 1: 1 / 6, 2: 1 / 6, 3: 1 / 6}),
    (["import random", "return 1 if random.random() < 1.5 else 2"], {1: 1.0}),
]


@pytest.mark.parametrize(("body", "law"), DRAWN)
def test_chance_is_listed_and_not_drawn(body, law):
    found = Function("\n".join(function(*body)), "local_agent_reward", 3).law(0, 0, 1)
    assert found == pytest.approx(law) and sum(found.values()) == pytest.approx(1.0)


def test_many_independent_choices_have_their_product():
    source = "\n".join(function("x = 0", *["x += random.choice([0, 1])"] * 6, "return x"))
    law = Function(source, "local_agent_reward", 3).law(0, 0, 0)
    assert law == pytest.approx({k: prod(range(7 - k, 7)) / prod(range(1, k + 1)) / 64 for k in range(7)})


# ---- hostile ones: each is refused, and its line is named


HOSTILE_FUNCTIONS = {
    "import os": (["import os", "return 0"], 1, "nothing can be imported"),
    "from": (["from math import exp", "return 0"], 1, "nothing can be imported"),
    "import as": (["import random as r", "return 0"], 1, "nothing can be imported"),
    "__import__": (["return __import__('os').system('true')"], 1, "there is no"),
    "open": (["return open('/etc/passwd')"], 1, "there is no function open"),
    "eval": (["return eval('1')"], 1, "there is no function eval"),
    "exec": (["exec('x = 1')", "return 1"], 1, "there is no Expr"),
    "attribute": (["x = s", "return x.real"], 2, "there is no Attribute"),
    "dunder": (["return ().__class__.__bases__[0].__subclasses__()"], 1, "there is no"),
    "subscript": (["return [1, 2][s]"], 1, "there is no Subscript"),
    "lambda": (["return (lambda: 1)()"], 1, "there is no function"),
    "comprehension": (["return sum([x for x in [1]])"], 1, "there is no function sum"),
    "walrus": (["return (x := 3)"], 1, "there is no NamedExpr"),
    "f-string": (["return f'{s}'"], 1, "there is no JoinedStr"),
    "string": (["return 'text'"], 1, "is no number"),
    "None": (["return None"], 1, "is no number"),
    "while": (["while True:", "    pass"], 1, "there is no While"),
    "for": (["for i in [1]:", "    pass", "return 1"], 1, "there is no For"),
    "try": (["try:", "    return 1", "except:", "    return 2"], 1, "there is no Try"),
    "with": (["with s:", "    return 1"], 1, "there is no With"),
    "global": (["global s", "return 1"], 1, "there is no Global"),
    "nested def": (["def f():", "    return 1", "return f()"], 1, "there is no FunctionDef"),
    "delete": (["del s", "return 1"], 1, "there is no Delete"),
    "two targets": (["x = y = 1", "return x"], 1, "one name at a time"),
    "unpacking": (["x, y = 1, 2", "return x"], 1, "one name at a time"),
    "shadowing": (["max = 3", "return max"], 1, "max is a function"),
    "recursion": (["return local_agent_reward(s, s_g, a)"], 1, "there is no function local_agent_reward"),
    "tower": (["return 9 ** 9 ** 9"], 1, "beyond 64"),
    "growing": (["x = 10.0 ** 12", "return x * x"], 2, "no real number"),
    "complex": (["return (-1) ** 0.5"], 1, "no real number"),
    "division": (["return 1 / (s - s)"], 1, "cannot be computed"),
    "root": (["x = 1", "return sqrt(-x)"], 2, "cannot be computed"),
    "huge number": (["return 1e300"], 1, "no number up to"),
    "imaginary": (["return 1j"], 1, "no number up to"),
    "unknown name": (["return s + b"], 1, "b has no value"),
    "no return": (["x = 1"], 0, "ends without a return"),
    "empty return": (["return"], 1, "needs a number"),
    "gauss": (["return random.gauss(0, 1)"], 1, "use random.choice"),
    "uniform": (["return random.uniform(0, 1)"], 1, "use random.choice"),
    "arithmetic on chance": (["return 2 * random.random()"], 1, "compare it with a number"),
    "chance returned": (["return random.random()"], 1, "not a number"),
    "chance equals": (["return random.random() == 0.5"], 1, "not otherwise"),
    "too many paths": (["x = 0", *["x += random.choice([0, 1, 2, 3])"] * 9, "return x"], 0, "more than 10000 paths"),
    "a million choices": (["return random.randint(0, 1000000)"], 1, "no choice among"),
    "empty choice": (["return random.choice([])"], 1, "not empty"),
    "list": (["return [1, 2]"], 1, "a list, not a number"),
    "list arithmetic": (["return [0] * 1000"], 1, "a list stands"),
    "keywords": (["return max(1, 2, key=abs)"], 1, "plain arguments"),
    "stars": (["return max(*[1, 2])"], 1, "plain arguments"),
    "too few": (["return clip(s)"], 1, "takes 3 arguments"),
    "function as number": (["return abs + 1"], 1, "abs is a function"),
    "no Python": (["return 1 +"], 1, "no Python"),
    "deep brackets": (["return " + "(" * 60 + "1" + ")" * 60], 1, "brackets"),
    "deep minus": (["return " + "-" * 3000 + "1"], None, "no Python|steps within steps"),
    "deep sum": (["return " + "1+" * 3000 + "1"], None, "no Python|steps within steps"),
    "null byte": (["return 1\0"], None, "no Python"),
    "long": (["return " + "1 + " * 6000 + "1"], 0, "characters"),
}


@pytest.mark.parametrize("what", HOSTILE_FUNCTIONS)
def test_hostile_functions_are_refused_with_their_line(what):
    body, at, words = HOSTILE_FUNCTIONS[what]
    with pytest.raises(ConfigError, match=words) as caught:
        parse_config(described(function(*body)), name="hostile.json")
    said = str(caught.value)
    assert said.startswith("hostile.json, line ")
    if at is not None:
        assert said.startswith(f"hostile.json, line {5 + at}: "), said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["x = 1"], "def local_agent_reward"),
        (["def other(s, s_g, a):", "    return 1"], "def local_agent_reward"),
        (["def local_agent_reward(s, s_g):", "    return 1"], "takes 3 plain arguments"),
        (["def local_agent_reward(s, s_g, a=1):", "    return 1"], "takes 3 plain arguments"),
        (["def local_agent_reward(*s):", "    return 1"], "takes 3 plain arguments"),
        (["@f", *function("return 1")], "no decorator"),
        (["async " + function()[0], "    return 1"], "def local_agent_reward"),
        (["def local_agent_reward(s, s_g, max):", "    return 1"], "max is a function"),
        ([*function("return 1"), "print(1)"], "nothing may follow"),
        ([], "list of its lines"),
        ([1, 2], "list of its lines"),
        (3, "list of its lines"),
        ({"def": 1}, "list of its lines"),
    ],
)
def test_what_is_no_function_is_refused(lines, words):
    with pytest.raises(ConfigError, match=rf"line [4-8]: .*{words}"):
        parse_config(described(lines))


def test_a_transition_must_stay_among_the_states():
    lines = function("return s + a", name="local_agent_transition")
    with pytest.raises(ConfigError, match=r"line 4: local_agent_transition\(-1, -2, -1\) gave -2, which is none"):
        parse_config(described(lines, "local_agent_transition"))
    with pytest.raises(ConfigError, match="Formation's local_agent_transition"):
        parse_config('{"environment": {"local_agent": {"state_space": [5, 6]}}}')


HOSTILE_TEXTS = {
    "": (1, "no JSON"),
    "[1, 2]": (1, "keys and values"),
    '{"simulation": \n{"horizon": 0}}': (2, "horizon must be"),
    '{"simulation": \n{"horizon": 2.5}}': (2, "horizon must be"),
    '{"simulation": {\n"horizon": true}}': (2, "horizon must be"),
    '{"simulation": {\n\n"num_local_agents": 1e9}}': (3, "num_local_agents must be"),
    '{"simulation": {\n"num_local_agents": "14"}}': (2, "num_local_agents must be"),
    '{"simulation": {\n"monte_carlo_samples": -1}}': (2, "monte_carlo_samples must be"),
    '{"simulation": {\n"discount_factor": 1.0}}': (2, "discount_factor must be"),
    '{"simulation": {\n"discount_factor": NaN}}': (2, "NaN"),
    '{"simulation": {\n"discount_factor": null}}': (2, "discount_factor must be"),
    '{"simulation": {\n"horizont": 3}}': (2, "there is no 'horizont'"),
    '{\n"simulations": {}}': (2, "there is no 'simulations'"),
    '{"simulation": {"horizon": 2,\n"horizon": 3}}': (2, "twice"),
    '{"simulation":\n [200]}': (1, "keys and values"),
    '{"environment": {"local_agent": {\n"state_space": []}}}': (2, "state_space must be"),
    '{"environment": {"local_agent": {\n"state_space": [1, 1]}}}': (2, "different numbers"),
    '{"environment": {"local_agent": {\n"state_space": ["a"]}}}': (2, "state_space must be"),
    '{"environment": {"global_agent": {\n"action_space": 5}}}': (2, "action_space must be"),
    '{"environment": {\n"start": []}}': (2, "start must be"),
    '{"environment": {\n"start": [{"probability": 1}]}}': (2, "has probability, global and local"),
    '{"visualization": {\n"plot_filename": "../../x.png"}}': (2, "without a folder"),
    '{"visualization": {\n"plot_filename": "/tmp/x.png"}}': (2, "without a folder"),
    '{"visualization": {\n"plot_filename": "x.exe"}}': (2, "plot_filename must be"),
    '{"visualization": {\n"save_plot": 1}}': (2, "save_plot must be"),
    "{\n\n'single': 1}": (3, "no JSON"),
    "[" * 100_000: (1, "not to be read|no JSON"),
    '{"simulation": {"horizon": ' + "9" * 10_000 + "}}": (1, "not to be read|horizon must be"),
    " " * 1_000_001: (1, "characters"),
}


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:60]))
def test_hostile_texts_are_refused_with_their_line(text):
    line, words = HOSTILE_TEXTS[text]
    with pytest.raises(ConfigError, match=words) as caught:
        parse_config(text)
    assert str(caught.value).startswith(f"configuration, line {line}: ")


def test_too_large_spaces_are_refused():
    many = json.dumps({"environment": {"local_agent": {"state_space": list(range(101))}}})
    with pytest.raises(ConfigError, match="state_space must be"):
        parse_config(many)
    wide = {agent: {space: list(range(100)) for space in ("state_space", "action_space")} for agent in
            ("local_agent", "global_agent")}  # fmt: skip
    with pytest.raises(ConfigError, match="combinations"):
        parse_config(json.dumps({"environment": wide}))


def test_toml_is_read_and_refused_with_its_line():
    text = '[environment.functions]\nlocal_agent_reward = """\ndef local_agent_reward(s, s_g, a):\n    return b\n"""\n'
    with pytest.raises(ConfigError, match="line 4: b has no value"):
        parse_config(text, "toml")
    assert parse_config(text.replace("return b", "return s"), "toml").model.r_l[2, 0, 0] == 1.0
    with pytest.raises(ConfigError, match="line 2: no TOML"):
        parse_config("a = 1\nb = = 2", "toml")
    with pytest.raises(ConfigError, match="line 2: horizon"):
        parse_config("[simulation]\nhorizon = 0", "toml")


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(ConfigError, match="shipped are: formation"):
        read_config(tmp_path / "absent.json")
    bad = tmp_path / "bad.json"
    bad.write_bytes(b'{\n"a\xff": 1}')
    with pytest.raises(ConfigError, match="bad.json, line 2: this is no UTF-8"):
        read_config(bad)


def test_whatever_stands_in_a_function_is_answered_or_refused():
    """Nothing else comes of pieces of Python thrown together: no other error, and no end of time."""
    pieces = "s s_g a x = + - * ** ( ) [ ] , : if else return 1 2.5 not and < random.random() max( .x lambda \n".split(
        " "
    )
    random, laws = Random(0), 0
    for _ in range(1500):
        body = " ".join(random.choices(pieces, k=random.randint(1, 8)))
        try:
            Function("\n".join(function("x = 1", f"return {body}")), "local_agent_reward", 3).law(1, 0, -1)
            laws += 1
        except Refused:
            pass
    assert laws > 20
