"""Where things are: the course from any working folder, the shipped numbers, the record of progress."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpcrl_course import places

ROOT = Path(__file__).resolve().parents[1]


def test_the_course_is_the_nearest_marked_folder(tmp_path, monkeypatch):
    inner = tmp_path / "course" / "exercises" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "course" / "pyproject.toml").write_text('[project]\nname = "mpcrl-course"\n')
    assert places.course_folder(inner) == tmp_path / "course"
    (inner.parent / "course.py").touch()
    assert places.course_folder(inner) == tmp_path / "course"  # a stray file of that name
    (inner.parent / "lectures").mkdir()
    assert places.course_folder(inner) == inner.parent
    monkeypatch.delenv("MPCRL_COURSE_PROGRESS", raising=False)
    monkeypatch.chdir(inner)
    assert places.progress_file() == inner.parent / ".mpcrl_course" / "progress.json"
    monkeypatch.setenv("MPCRL_COURSE_PROGRESS", str(tmp_path / "mine.json"))
    assert places.progress_file() == tmp_path / "mine.json"


def test_outside_of_any_course_it_is_the_one_we_are_installed_from(tmp_path):
    assert places.course_folder(tmp_path) == places.course_folder(Path(tmp_path.anchor)) == ROOT


def test_data_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with places.data("agents_04.npz") as agents:
        assert agents["nominal actor"].dtype == np.float16
    with pytest.raises(FileNotFoundError, match=r"ships no 'nosuch.npz'.*agents_04.npz, ddpg_03.npz"):
        places.data("nosuch.npz")


PLACES = """
from mpcrl_course import places
from mpcrl_course.checks.ex04 import network
from mpcrl_course.figures import course_map
print(places.__file__, places.course_folder(), network([[0.1, 0.2]]).shape, "01_" in course_map().data, sep="\\n")
"""


def test_a_plain_installation_knows_its_data_and_the_map_but_no_course(tmp_path):
    """The package alone, as `pip install .` puts it into an environment, and we are somewhere else."""
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    shutil.copytree(ROOT / "mpcrl_course", site / "mpcrl_course", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", PLACES], cwd=here, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True
    )
    said = done.stdout.decode().splitlines()
    assert said[:4] == [str(site / "mpcrl_course" / "places.py"), str(here), "(1,)", "True"], done.stderr.decode()
