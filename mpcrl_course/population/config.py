"""Populations from a file, JSON or TOML, in the form of the published code: its configuration is read unchanged.

    environment.global_agent.{state_space, action_space}, environment.local_agent.{…}: lists of numbers
    environment.functions.{local,global}_agent_{reward,transition}: a function, as a list of its lines or as one text
    environment.start: a list of {probability, global, local}, laws over the states (ours; by default uniform)
    simulation.{horizon, num_local_agents, discount_factor, deployment_runs}
    simulation.{monte_carlo_samples, training_steps}: accepted, but not needed: expectations are exact
    visualization.{save_plot, plot_filename}

What is missing is taken from Formation, the published configuration. Functions are read by a small safe language
(`grammar`), and whatever is refused is refused with the number of its line in the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from mpcrl_course import places
from mpcrl_course.population import models
from mpcrl_course.population.config_text import At, check_keys, parsed_text
from mpcrl_course.population.grammar import Refused
from mpcrl_course.population.model import Population, from_functions
from mpcrl_course.population.walker import Function
from mpcrl_course.validation import choice, short

#: A file may have so many characters, a space so many entries, all of them together so many arguments of a function.
LONGEST, SPACE, ARGUMENTS = 1_000_000, 100, 100_000
FUNCTIONS = {
    "global_agent_transition": (2, models.global_transition),
    "global_agent_reward": (2, models.global_reward),
    "local_agent_transition": (3, models.local_transition),
    "local_agent_reward": (3, models.local_reward),
}
AGENT = {"state_space": None, "action_space": None}
#: What may stand in a file.
KEYS: dict[str, Any] = {
    "environment": {"global_agent": AGENT, "local_agent": AGENT, "functions": dict.fromkeys(FUNCTIONS), "start": None},
    "simulation": dict.fromkeys(
        "horizon num_local_agents discount_factor deployment_runs monte_carlo_samples training_steps".split()
    ),
    "visualization": {"save_plot": None, "plot_filename": None},
}


class ConfigError(ValueError):
    """A configuration that is refused; the message begins with the file's name and the line."""


@dataclass(frozen=True, eq=False)
class Config:
    """A population, and what is to be done with it.

    Parameters
    ----------
    model : Population
    n : int
        Agents.
    horizon, runs : int
        Steps and number of simulations.
    plot : str or None
        The picture's file name.
    unneeded : tuple of str
        What was asked for, but is not needed: numbers of samples and of training steps.
    text, kind : str
        The file's content, and "json" or "toml".
    """

    model: Population
    n: int
    horizon: int
    runs: int
    plot: str | None
    unneeded: tuple[str, ...]
    text: str
    kind: str


def read_config(path) -> Config:
    """Read a configuration from a `path` (``.toml``, else JSON), or by its name from those of `shipped`.

    Raises
    ------
    ConfigError
        It is refused; the message says where and why.
    """
    path = Path(path)
    if not path.is_file() and path.name in shipped():
        path = shipped()[path.name]
    try:
        data = path.read_bytes()
    except OSError as error:
        names = ", ".join(shipped())
        raise ConfigError(f"{path} cannot be read ({error.strerror}); shipped are: {names}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path.name}, line {line}: this is no UTF-8 text") from None
    return parse_config(text, "toml" if path.suffix.lower() == ".toml" else "json", path.name)


def shipped() -> dict[str, Path]:
    """Return the configurations that come with the course, by name: paths."""
    files = sorted(places.DATA.glob("population_*.*"))
    return {path.stem.removeprefix("population_"): path for path in files if path.suffix in (".json", ".toml")}


def parse_config(text: str, kind: str = "json", name: str = "configuration") -> Config:
    """Return the configuration that a `text` of a `kind`, "json" or "toml", holds; it is called `name` in messages."""
    if not isinstance(text, str):
        raise ValueError(f"text must be a string, not {short(text)}")
    choice(kind, ("json", "toml"), "kind")
    try:
        if len(text) > LONGEST:
            raise At((), f"{len(text)} characters, more than {LONGEST}")
        data = parsed_text(text, kind)
        check_keys(data, KEYS, ())
        return _config(data, text, kind, str(name))
    except At as error:
        raise ConfigError(f"{name}, line {error.line_in(text)}: {error.why}") from None


def _config(data: dict, text: str, kind: str, name: str) -> Config:
    simulation, plotting = data.get("simulation", {}), data.get("visualization", {})

    def count(key: str, default: int, highest: int) -> int:
        value = simulation.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
            raise At(("simulation", key), f"{key} must be a whole number from 1 to {highest}, not {short(value)}")
        return value

    n = count("num_local_agents", 14, 10**9)
    horizon, runs = count("horizon", 200, 10**6), count("deployment_runs", 20, 10**6)
    unneeded = tuple(key for key in ("monte_carlo_samples", "training_steps") if key in simulation)
    for key in unneeded:
        count(key, 1, 10**9)
    gamma = simulation.get("discount_factor", 0.9)
    if not _number(gamma) or not 0.0 <= gamma < 1.0:
        why = f"discount_factor must be a number from 0 to below 1, not {short(gamma)}"
        raise At(("simulation", "discount_factor"), why)
    wanted, plot = plotting.get("save_plot", True), plotting.get("plot_filename", "cumulative_rewards.png")
    if not isinstance(wanted, bool):
        raise At(("visualization", "save_plot"), f"save_plot must be true or false, not {short(wanted)}")
    if not isinstance(plot, str) or not re.fullmatch(r"[\w-][\w. -]*\.(png|svg|pdf)", plot):
        why = f"plot_filename must be the name of a .png, .svg or .pdf file, without a folder, not {short(plot)}"
        raise At(("visualization", "plot_filename"), why)
    model = _model(data.get("environment", {}), float(gamma), Path(name).stem.removeprefix("population_"))
    return Config(model, n, horizon, runs, plot if wanted else None, unneeded, text, kind)


def _number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and isfinite(x) and abs(x) <= 1e12


def _model(environment: dict, gamma: float, name: str) -> Population:
    spaces = {}
    for agent, reach in (("global_agent", 2), ("local_agent", 1)):
        for space in AGENT:
            values = environment.get(agent, {}).get(space, list(range(-reach, reach + 1)))
            fine = isinstance(values, list) and 1 <= len(values) <= SPACE and all(map(_number, values))
            if not fine or len(set(values)) < len(values):
                why = f"{space} must be a list of 1 to {SPACE} different numbers, not {short(values)}"
                raise At(("environment", agent, space), why)
            spaces[agent[0] + space[0]] = values
    G, B, S, A = spaces["gs"], spaces["ga"], spaces["ls"], spaces["la"]
    if max(len(G) * len(B), len(G) * len(S) * len(A)) > ARGUMENTS:
        raise At(("environment",), f"the spaces have more than {ARGUMENTS} combinations")
    functions = {
        key: _function(environment.get("functions", {}), key, arguments, default, G if "global" in key else S)
        for key, (arguments, default) in FUNCTIONS.items()
    }
    start = _start(environment.get("start"), len(G), len(S))
    move_g, pay_g, move_l, pay_l = functions.values()
    return from_functions(G, B, S, A, move_g, pay_g, move_l, pay_l, gamma, start, name)


def _function(functions: dict, key: str, arguments: int, default, states: list):
    # What from_functions asks: a law over the states, or a mean reward.
    path, transition = ("environment", "functions", key), key.endswith("transition")
    source = functions.get(key)
    whose = "Formation's " if source is None else ""
    lines = [source] if isinstance(source, str) else source
    if source is None:
        ask = default
    elif not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise At(path, f"{key} must be a function's text, or a list of its lines, not {short(source)}")
    else:
        try:
            ask = Function("\n".join(lines), key, arguments).law
        except Refused as error:
            raise _place(path, source, error) from None

    def law(*given):
        try:
            said = ask(*given)
        except Refused as error:
            raise _place(path, source, error) from None
        found = said if isinstance(said, dict) else {said: 1.0}
        if not transition:
            return sum(value * probability for value, probability in found.items())
        strangers = [value for value in found if value not in states]
        if strangers:
            called = f"{whose}{key}({', '.join(map(str, given))})"
            raise At(path, f"{called} gave {strangers[0]}, which is none of the states {short(states)}")
        return found

    return law


def _place(path: tuple, source, error: Refused) -> At:
    if not isinstance(source, list):  # one text: its lines follow the key, in a multi-line string of TOML
        return At(path, error.why, offset=error.line - 1, first=source.split("\n")[0])
    ends, line = 0, error.line
    for i, text in enumerate(source):
        ends += text.count("\n") + 1
        if line <= ends:
            return At((*path, i), error.why)
    return At(path, error.why)


def _start(parts: Any, G: int, S: int) -> tuple | None:
    if parts is None:
        return None
    where = ("environment", "start")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise At(where, "start must be a list of {probability, global, local}")
    for part in parts:
        if set(part) != {"probability", "global", "local"}:
            raise At(where, f"a part of start has probability, global and local, not {', '.join(map(str, part))}")
        for key, size in (("global", G), ("local", S)):
            law = part[key]
            fine = isinstance(law, list) and len(law) == size and all(_number(x) and x >= 0.0 for x in law)
            if not fine or abs(sum(law) - 1.0) > 1e-9:
                raise At(where, f"{key} must be {size} probabilities with the sum 1, not {short(law)}")
        if not _number(part["probability"]) or part["probability"] < 0.0:
            raise At(where, f"a probability must not be negative, as {short(part['probability'])}")
    if abs(sum(part["probability"] for part in parts) - 1.0) > 1e-9:
        raise At(where, "the probabilities must have the sum 1")
    return tuple([part[key] for part in parts] for key in ("probability", "global", "local"))
