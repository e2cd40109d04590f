"""The command `mpcrl-course`: the course, its notebooks and exercises, progress, and a published result made again."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import places
from .checks import progress
from .checks.console import any_encoding
from .lectures import START

START_PAGE = f"lectures/{START}.ipynb"
#: Steps of an episode of the power system (`mpcrl_course.reproduce.power.LENGTH`, which is slow to import).
EPISODE = 100


class UsageError(Exception):
    """What was asked for cannot be done; the message says why, and what can."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; the process's own if None.

    Returns
    -------
    int
        0 all is well, 1 something checked or run is not, 2 the request makes no sense.
    """
    any_encoding()  # a Windows console may lack ✓
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else 2
    try:
        return arguments.command(arguments)
    except UsageError as error:
        print(f"mpcrl-course: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mpcrl-course: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpcrl-course", description="A course on MPC and reinforcement learning.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    lab = commands.add_parser("lab", help="open the course in JupyterLab")
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.set_defaults(command=_lab)

    check = commands.add_parser("check", help="run a notebook and show the verdicts of its checks")
    check.add_argument("notebook", help="a path, or an exercise's number or name")
    check.add_argument("--timeout", type=_seconds, default=120.0, metavar="SECONDS", help="per cell (default 120)")
    check.set_defaults(command=_check)

    shown = commands.add_parser("progress", help="show everything recorded so far")
    shown.set_defaults(command=_progress)

    build = commands.add_parser("build-exercises", help="make exercises/ from solutions/")
    build.add_argument("--check", action="store_true", help="change nothing, list what is out of step")
    build.add_argument("--force", action="store_true", help="overwrite exercises somebody has worked in")
    build.set_defaults(command=_build)

    changed = commands.add_parser("mutants", help="for developers: judge right answers with one token changed")
    changed.add_argument("exercise", help="its number or name, or the path of its solution")
    changed.set_defaults(command=_mutants)

    run = commands.add_parser("run", help="run a lecture and write it, with its outputs, as HTML")
    run.add_argument("lecture", help="a path, or a lecture's number or name")
    run.add_argument("--html", type=Path, required=True, metavar="OUT", help="the file to write")
    run.add_argument("--timeout", type=_seconds, default=600.0, metavar="SECONDS", help="per cell (default 600)")
    run.set_defaults(command=_run)

    talk = commands.add_parser("slides", help="run a lecture and write it as slides, one file that needs no network")
    talk.add_argument("lecture", help="a path, or a lecture's number or name")
    talk.add_argument("--html", type=Path, metavar="OUT", help="the file (default: slides/NAME.html in the course)")
    talk.add_argument("--no-run", action="store_true", help="only what the notebook holds already")
    talk.add_argument("--timeout", type=_seconds, default=600.0, metavar="SECONDS", help="per cell (default 600)")
    talk.set_defaults(command=_slides)

    again = commands.add_parser("reproduce", help="make a published result again, and print it beside ours")
    again.add_argument(
        "result",
        choices=["second-order", "automatica"],
        help="second-order: distributed Q-learning of second order, arXiv 2511.16424; "
        "automatica: of first order, Automatica 167:111803",
    )
    again.add_argument(
        "--example",
        choices=["academic", "power", "all"],
        help="of automatica: three linear plants (10000 steps), the load-frequency control of a power system "
        "(100 episodes of 100 steps), or both (default)",
    )
    again.add_argument("--seeds", type=_count, default=5, metavar="N", help="runs of each method (default 5)")
    again.add_argument("--steps", type=_count, metavar="N", help="of each run (default: as published)")
    again.add_argument("--jobs", type=_count, metavar="N", help="runs at a time (default: one a core)")
    again.add_argument("--out", type=Path, metavar="FOLDER", help="default: reproduction/ in the course's folder")
    again.set_defaults(command=_reproduce)

    many = commands.add_parser("population", help="plan for a population of agents that see samples, and deploy it")
    many.add_argument("config", help="a configuration (.json, .toml), the name of a shipped one, or saved plans (.npz)")
    many.add_argument("--k", type=_range, metavar="FROM:TO", help="agents in a sample (default 2:14)")
    many.add_argument("--agents", type=_count, metavar="N", help="in the deployment (default: as configured)")
    many.add_argument("--runs", type=_count, metavar="N", help="of each deployment (default: as configured)")
    many.add_argument("--horizon", type=_count, metavar="STEPS", help="of each run (default: as configured)")
    many.add_argument("--samples", choices=["private", "shared"], default="private", help="each its own; one for all")
    many.add_argument("--seed", type=int, default=0, metavar="SEED", help="of the deployments (default 0)")
    many.add_argument("--out", type=Path, metavar="FOLDER", help="default: reproduction/NAME in the course's folder")
    many.set_defaults(command=_population)

    new = commands.add_parser("new-plant", help="write a plant of your own, twenty lines that work, to be changed")
    new.add_argument("name", help="a word, such as boat: the file is my_plants/boat.py in the course's folder")
    new.add_argument("--overwrite", action="store_true", help="also if there is such a file")
    new.set_defaults(command=_new_plant)

    own = commands.add_parser("try-plant", help="compare LQR, MPC, Q-learning and DDPG on a plant of your own")
    own.add_argument("plant", help="its file, or its name in my_plants/")
    own.add_argument("--starts", type=_count, default=20, metavar="N", help="runs of each controller (default 20)")
    own.add_argument("--steps", type=int, default=5000, metavar="N", help="of each training (default 5000; 0: none)")
    own.add_argument("--trainings", type=_count, default=1, metavar="N", help="with seeds of their own (default 1)")
    own.add_argument("--seed", type=int, default=0, metavar="SEED", help="the first one (default 0)")
    own.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    own.set_defaults(command=_try_plant)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _range(text: str) -> range:
    ends = text.split(":")
    if not 1 <= len(ends) <= 2 or not all(end.isdecimal() for end in ends) or not 1 <= int(ends[0]) <= int(ends[-1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no range such as 2:14, or a number such as 8")
    return range(int(ends[0]), int(ends[-1]) + 1)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


# ---- the commands


def _lab(arguments: argparse.Namespace) -> int:
    root = _course()
    if not (root / START_PAGE).is_file():
        raise UsageError(f"there is no {START_PAGE} in {root}: call me in the course's folder")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{START_PAGE}",
    ]
    command += ["--no-browser"] if arguments.no_browser else []
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # as in a container
    return subprocess.call(command, cwd=root)


def _check(arguments: argparse.Namespace) -> int:
    from .figures.tables import Table

    path = _find(arguments.notebook, "exercises")
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "progress.json"
        _, troubles = _execute(path, arguments.timeout, {"MPCRL_COURSE_PROGRESS": str(record)})
        exercises = progress.load(record)["exercises"]
    for trouble in troubles:
        print(trouble)
    if not exercises:
        print(f"{path.name}: no check ran.")
        return 1
    entries = [entry for _, exercise in sorted(exercises.items()) for entry in _items(exercise)]
    for number, exercise in sorted(exercises.items()):
        rows = [[n, e["kind"], _verdict(e["last"]), e["sentence"]] for n, e in _items(exercise)]
        print(Table(f"Exercise {number}, {exercise['title']}", ["item", "kind", "verdict", ""], rows))
    right = sum(entry["last"] == progress.RIGHT for _, entry in entries)
    print(f"{right} of {len(entries)} right.")
    return 0 if right == len(entries) else 1


def _progress(arguments: argparse.Namespace) -> int:
    from .figures.tables import Table

    file = places.progress_file(places.working_folder())
    try:
        exercises = progress.load(file)["exercises"]
    except OSError as error:
        raise UsageError(f"the progress file cannot be read ({error})") from None
    if not exercises:
        print(f"Nothing recorded yet in {file}.")
        return 0
    header = ["item", "kind", "title", "last", "best", "checks", "hints", "when (UTC)"]
    for number, exercise in sorted(exercises.items()):
        rows = [
            [
                n,
                e["kind"],
                e["title"],
                _verdict(e["last"]),
                _verdict(e["best"]),
                str(e["attempts"]),
                str(e["hints"]),
            ]
            + [e["time"][:16].replace("T", " ")]
            for n, e in _items(exercise)
        ]
        right = sum(entry["last"] == progress.RIGHT for _, entry in _items(exercise))
        print(
            Table(f"Exercise {number}, {exercise['title']}: {right} of {len(rows)} right", header, rows),
            end="\n\n",
        )
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from .checks.build import SolutionError, build_exercises, out_of_step

    root = _course()
    if not (root / "solutions").is_dir():
        raise UsageError(f"there is no solutions/ in {root}: call me in the course's folder")
    try:
        changed = [] if arguments.check else build_exercises(root, arguments.force)
        differing = out_of_step(root)
    except (SolutionError, FileExistsError) as error:
        raise UsageError(str(error)) from None
    for path in changed:
        print(f"wrote {path.relative_to(root).as_posix()}")
    for path in differing:
        has_solution = (root / "solutions" / path.name).is_file()
        why = "differs from its solution" if has_solution else "has no solution: delete it"
        print(f"{path.relative_to(root).as_posix()} {why}")
    if not differing and not changed:
        print("All exercises are in step with their solutions.")
    return 1 if differing else 0


def _mutants(arguments: argparse.Namespace) -> int:
    from .checks.mutants import EQUIVALENT, examine, record_of
    from .figures.tables import Table

    path = _find(arguments.exercise, "solutions")
    rows, unexplained, record = [], [], examine(path)
    for n, item in record.items():
        open_ones = [survivor for survivor in item["survivors"] if not survivor["reason"]]
        equivalent = len(item["survivors"]) - len(open_ones)
        rows.append([n, item["title"], *map(str, (item["mutants"], item["killed"], equivalent, len(open_ones)))])
        unexplained += [f"item {n}, line {survivor['line']}: {survivor['change']}" for survivor in open_ones]
    print(Table(f"Mutants of {path.stem}", ["item", "title", "mutants", "killed", "equivalent", "no reason"], rows))
    for survivor in unexplained:
        print(survivor)
    share = sum(len(item["survivors"]) for item in record.values()) / sum(item["mutants"] for item in record.values())
    print(f"{share:.1%} survive, of which at most {EQUIVALENT:.0%} may; wrote {record_of(path)}")
    return 1 if unexplained or share > EQUIVALENT else 0


def _run(arguments: argparse.Namespace) -> int:
    path = _find(arguments.lecture, "lectures")
    out = arguments.html.resolve()
    if not out.parent.is_dir() or out.is_dir():
        raise UsageError(f"cannot write {arguments.html}: name a file in a folder that exists")
    from nbconvert import HTMLExporter

    notebook, troubles = _execute(path, arguments.timeout, {})
    html, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    out.write_text(html, encoding="utf-8")
    for trouble in troubles:
        print(trouble)
    print(f"wrote {out}")
    return 1 if troubles else 0


def _slides(arguments: argparse.Namespace) -> int:
    from .slides import deck

    path = _find(arguments.lecture, "lectures")
    out = arguments.html or _folder(_course() / "slides") / f"{path.stem}.html"
    if not out.resolve().parent.is_dir() or out.is_dir():
        raise UsageError(f"cannot write {out}: name a file in a folder that exists")
    if arguments.no_run:
        notebook, troubles = _notebook(path), list[str]()
    else:
        notebook, troubles = _execute(path, arguments.timeout, {})
    made = deck(notebook, path.stem)
    out.write_text(made.html, encoding="utf-8")
    for trouble in troubles:
        print(trouble)
    if made.without_role:
        print(
            f"{path.stem} says of {made.without_role} of its {len(notebook.cells)} cells nothing about slides: there a"
            " slide begins at each heading, after four cells, and where it would be too full; nothing is left out."
        )
    print(f"wrote {out.resolve()}: {made.slides} slides. Open it in a browser; S shows the notes for the speaker.")
    return 1 if troubles else 0


def _reproduce(arguments: argparse.Namespace) -> int:
    if arguments.result != "automatica" and arguments.example:
        raise UsageError(f"only automatica has examples to choose from, not {arguments.result}")
    example = arguments.example or "all"
    if arguments.result == "automatica" and example != "academic" and arguments.steps:
        if arguments.steps % EPISODE:
            raise UsageError(
                f"the power system learns in episodes of {EPISODE} steps: {arguments.steps} are no multiple"
            )
    folder = _folder(arguments.out or _course() / "reproduction")
    seeds, steps, jobs, done = arguments.seeds, arguments.steps, arguments.jobs or -1, []
    if arguments.result == "second-order":
        from .reproduce.second_order import STEPS, second_order

        done.append(second_order(folder, seeds, steps or STEPS, jobs))
    elif example != "power":
        from .reproduce.automatica import STEPS, automatica

        done.append(automatica(folder, seeds, steps or STEPS, jobs))
    if arguments.result == "automatica" and example != "academic":
        from .reproduce.power import EPISODES, power

        done.append(power(folder, seeds, steps // EPISODE if steps else EPISODES, jobs))
    return 0 if all(done) else 1


def _population(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from .population import load_plans, read_config

    saved = Path(arguments.config).suffix == ".npz"
    try:
        config = load_plans(arguments.config)[1] if saved else read_config(arguments.config)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None
    if config is None:
        raise UsageError(f"{arguments.config} was saved without its configuration")
    changed = {"n": arguments.agents, "runs": arguments.runs, "horizon": arguments.horizon}
    config = replace(config, **{name: value for name, value in changed.items() if value})
    ks = arguments.k or range(min(2, config.n), min(config.n, 14) + 1)
    if max(ks) > config.n or (saved and arguments.k):
        why = "plans that are saved keep their k" if saved else f"a sample of {max(ks)} of {config.n} agents cannot be"
        raise UsageError(why)
    folder = _folder(arguments.out or _course() / "reproduction" / Path(arguments.config).stem)
    from .reproduce.population import deployments, population

    try:
        if saved:
            deployments(arguments.config, config, folder, arguments.samples, arguments.seed)
        else:
            population(config, ks, folder, arguments.samples, arguments.seed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return 0


def _new_plant(arguments: argparse.Namespace) -> int:
    from .bring import OwnPlantError, new_plant

    try:
        path = new_plant(arguments.name, places.working_folder(), arguments.overwrite)
    except (OwnPlantError, OSError) as error:
        raise UsageError(str(error)) from None
    print(f"wrote {path}")
    print(f"Change it, and try it:  mpcrl-course try-plant {arguments.name}")
    return 0


def _try_plant(arguments: argparse.Namespace) -> int:
    from .bring import OwnPlantError, find, report

    path = find(arguments.plant, places.working_folder())
    try:
        found = report(
            path, starts=arguments.starts, steps=arguments.steps, trainings=arguments.trainings, seed=arguments.seed
        )
        if arguments.csv:
            found.table.to_csv(arguments.csv)
    except OwnPlantError as error:
        print(f"{path.name}: {error}.", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from None
    print(found)
    return 0


# ---- helpers


def _folder(path: Path) -> Path:
    """Make the folder that results are written into."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write into {path} ({error.strerror})") from None
    return path.resolve()


def _course() -> Path:
    return places.course_folder(places.working_folder())  # of the folder in which we are called


def _find(name: str, folder: str) -> Path:
    """Find a notebook by its path, or in a folder of the course by its number or name."""
    path = Path(name)
    if os.path.isfile(path):
        return path.resolve()
    available = sorted((_course() / folder).glob("*.ipynb"))
    stem = f"{int(name):02d}" if name.isdecimal() else path.name.removesuffix(".ipynb")
    found = [one for one in available if one.stem == stem or one.stem.split("_")[0] == stem]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(one.stem for one in available) or "none yet"
    raise UsageError(f"no notebook {name!r}. In {folder}/ there are: {listed}.")


def _notebook(path: Path) -> Any:
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # no JSON, no notebook, or not to be read: nbformat has a dozen ways to say so
        raise UsageError(f"{path} is not a notebook ({' '.join(str(error).split())[:120]})") from None
    return notebook


def _execute(path: Path, timeout: float, environment: dict[str, str]) -> tuple[Any, list[str]]:
    """Run all cells of a notebook in its folder; a cell that fails or hangs does not stop the others.

    Returns
    -------
    notebook
        With outputs.
    troubles
        One short line per failed cell.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError
    from tqdm import tqdm

    notebook = _notebook(path)
    total = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)
    with tqdm(total=total, desc=path.stem, unit="cell", disable=None) as bar:
        client = NotebookClient(
            notebook,
            timeout=math.ceil(timeout),  # nbclient wants whole seconds
            startup_timeout=600,
            interrupt_on_timeout=True,
            allow_errors=True,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],  # not the kernel's warnings about itself
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=lambda **_: bar.update(),
        )
        troubles = []
        try:
            client.execute(env={**os.environ, "JPY_SESSION_NAME": str(path), **environment})  # as Jupyter does
        except DeadKernelError:
            troubles.append("The kernel died; the cells after that did not run.")
    for index, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                troubles.append(f"cell {index}: {output.ename}: {' '.join(output.evalue.split())[:160]}")
    return notebook, troubles


def _items(exercise: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(exercise["items"].items(), key=lambda item: int(item[0]))


def _verdict(verdict: str) -> str:
    return f"{progress.SYMBOLS[verdict]} {verdict}"
