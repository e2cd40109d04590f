"""The package without its course: a wheel, as `pip install .` makes it, used from another folder.

The wheel is built and unpacked here; what it needs comes from this environment. Its lectures and exercises are run as a
reader would: copies of notebooks in a folder of one's own.
"""

import os
import shutil
import subprocess
import sys
from zipfile import ZipFile

import nbformat
import pytest

from mpcrl_course import lectures
from tests.notebooks import ROOT

#: One kernel runs them all: finite problems; MPC and real-time iteration; plants and a trained network, whose numbers
#: are shipped; many MPCs on a graph.
SOLUTIONS = ("01_decisions", "02_mpc", "04_mpc_vs_rl", "11_distributed")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
WHERE = "import mpcrl_course; print('from', mpcrl_course.__path__)"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the wheel from a copy of what it is made of, and unpack it."""
    folder = tmp_path_factory.mktemp("wheel")
    made = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "mpcrl_course", folder / "source" / "mpcrl_course", ignore=made)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def course_command(site, tmp_path):
    """Run `python -m mpcrl_course` of the wheel in an empty folder; return its exit code and what it printed."""
    environ = {**os.environ, "PYTHONPATH": str(site), "PYTHONIOENCODING": "utf-8"}
    environ.pop("MPCRL_COURSE_PROGRESS", None)

    def run(*arguments):
        command = [sys.executable, "-m", "mpcrl_course", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode("utf-8")

    return run


def test_the_wheel_has_every_file_of_the_package(site):
    def files(folder):
        return {path.relative_to(folder) for path in folder.rglob("*.*") if path.parent.name != "__pycache__"}

    assert files(site / "mpcrl_course") == files(ROOT / "mpcrl_course")


@pytest.mark.slow
def test_exercises_are_judged_by_the_wheel_alone(course_command, site, tmp_path):
    cells = [nbformat.v4.new_code_cell(f"{WHERE}\nassert mpcrl_course.__path__ == [{str(site / 'mpcrl_course')!r}]")]
    for name in SOLUTIONS:
        book = nbformat.read(ROOT / "solutions" / f"{name}.ipynb", as_version=4)
        cells += [nbformat.v4.new_code_cell(cell.source) for cell in book.cells if cell.cell_type == "code"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "all of mine.ipynb")
    code, said = course_command("check", "all of mine.ipynb")
    assert code == 0 and "28 of 28 right." in said and "Error" not in said, said
    code, said = course_command("progress")  # the check keeps its own; a reader's would be where the notebook is
    assert code == 0 and str(tmp_path / ".mpcrl_course" / "progress.json") in said
    assert [path.name for path in tmp_path.iterdir()] == ["all of mine.ipynb"]


def test_the_start_page_runs_by_the_wheel_alone(course_command, tmp_path):
    shutil.copy(ROOT / "lectures" / f"{lectures.START}.ipynb", tmp_path / "begin.ipynb")
    code, said = course_command("run", "begin.ipynb", "--html", "out.html")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert code == 0 and said.splitlines()[-1] == f"wrote {tmp_path / 'out.html'}", said
    assert "Everything works." in page and "Nothing is linked" in page
    assert all(lecture.question in page for lecture in lectures.LECTURES)


def test_what_needs_the_course_says_so(course_command, tmp_path):
    for arguments in (["lab"], ["build-exercises"]):
        code, said = course_command(*arguments)
        assert code == 2 and f"in {tmp_path}: call me in the course's folder" in said, said
