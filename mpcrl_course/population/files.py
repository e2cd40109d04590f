"""Plans saved and loaded: `.npz` with the tables, the model, and the configuration that it came from."""

from __future__ import annotations

from dataclasses import replace
from zipfile import BadZipFile

import numpy as np

from mpcrl_course.population.config import Config, parse_config
from mpcrl_course.population.counts import number
from mpcrl_course.population.model import Population
from mpcrl_course.population.solve import Planned
from mpcrl_course.validation import instance, sequence

TABLES = ("V", "a_g", "T")
NUMBERS = ("residual", "sweeps", "choices")
MODEL = ("P_g", "P_l", "r_g", "r_l")


def save_plans(path, plans, config: Config | None = None) -> None:
    """Save plans of one model, and the configuration that it came from, at a `path`.

    Parameters
    ----------
    path : path
        Ends with ``.npz``.
    plans : sequence of Planned
    config : Config, optional
    """
    plans = [instance(one, Planned, "an entry of plans") for one in sequence(plans, "plans")]
    if not plans or any(one.model is not plans[0].model for one in plans):
        raise ValueError("plans must hold plans of one model, at least one")
    model = plans[0].model
    arrays = {name: getattr(model, name) for name in MODEL}
    arrays |= {f"start_{i}": part for i, part in enumerate(model.start)}
    arrays |= {"gamma": model.gamma, "name": model.name, "ks": [one.k for one in plans]}
    for one in plans:
        arrays |= {f"{name}_{one.k}": getattr(one, name) for name in (*TABLES, *NUMBERS)}
    if config is not None:
        arrays |= {"config": instance(config, Config, "config").text, "kind": config.kind}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load_plans(path) -> tuple[list[Planned], Config | None]:
    """Return the plans at a `path`, and the configuration that was saved with them, or None.

    Raises
    ------
    ValueError
        The file is damaged, or none of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        parts = (arrays["start_0"], arrays["start_1"], arrays["start_2"])
        given = {name: arrays[name] for name in MODEL}
        model = Population(**given, gamma=float(arrays["gamma"]), start=parts, name=str(arrays["name"]))
        plans = [_plan(model, int(k), arrays) for k in arrays["ks"]]
        config = parse_config(str(arrays["config"]), str(arrays["kind"])) if "config" in arrays else None
    except (BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} holds no plans of a population, or is damaged ({error})") from None
    return plans, config if config is None else replace(config, model=model)


def _plan(model: Population, k: int, arrays: dict) -> Planned:
    G, B, S, A = model.sizes
    N = number(k, S)
    V, a_g, T = (arrays[f"{name}_{k}"] for name in TABLES)
    if V.shape != (G, N) or a_g.shape != (G, N) or T.shape != (G, N, S, A) or not 0 <= a_g.min() <= a_g.max() < B:
        raise ValueError(f"the tables of k = {k} do not fit the model")
    residual, sweeps, choices = (arrays[f"{name}_{k}"].item() for name in NUMBERS)
    return Planned(model, k, V, a_g, T, residual, sweeps, choices)
