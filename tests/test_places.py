"""Where things are: the course from any working folder, the shipped numbers, the record of progress."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from mpcrl_course import places
from mpcrl_course.checks import progress
from mpcrl_course.figures import course_map
from mpcrl_course.lectures import LECTURES
from tests.notebooks import FOLDERS, ROOT, cells, notebooks

#: As a kernel of Jupyter would be told, and what would lead elsewhere.
TOLD = ("MPCRL_COURSE_PROGRESS", "JPY_SESSION_NAME", "PYTHONPATH")


@pytest.fixture(autouse=True)
def nobody_names_a_place(monkeypatch):
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)


def make_course(folder):
    """Make the few things by which a course is known."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    (folder / "course.py").touch()
    return folder


def record(folder):
    return folder / ".mpcrl_course" / "progress.json"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The package and nothing around it, as in an environment's site-packages."""
    site = tmp_path_factory.mktemp("plain")
    shutil.copytree(ROOT / "mpcrl_course", site / "mpcrl_course", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def said(code, here, package=ROOT, **environ):
    """Run Python code in the folder `here`, with the package of the folder `package`; return its lines."""
    environ = {**os.environ, "PYTHONPATH": str(package), **environ}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=environ, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "surrogateescape").splitlines()


# ---- the folder of the course


def test_the_course_is_the_nearest_marked_folder(tmp_path):
    inner = tmp_path / "course" / "exercises" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "course" / "pyproject.toml").write_text('[project]\nname = "mpcrl-course"\n', encoding="utf-8")
    assert places.course_folder(inner) == tmp_path / "course"
    (inner.parent / "course.py").touch()
    assert places.course_folder(inner) == tmp_path / "course"  # a stray file of that name
    (inner.parent / "lectures").mkdir()
    assert places.course_folder(inner) == inner.parent
    assert places.progress_file(inner) == record(inner.parent)


def test_outside_of_any_course_it_is_the_one_we_are_installed_from(tmp_path):
    assert places.course_folder(tmp_path) == places.course_folder(Path(tmp_path.anchor)) == ROOT
    assert places.progress_file(tmp_path) == record(ROOT)


ASK = "from mpcrl_course import places; print(places.course_folder(), places.progress_file(), sep='\\n')"


def test_an_environment_inside_the_course_knows_it(tmp_path, plain):
    """`pip install .` by hand, into .venv: a notebook on the desktop belongs to the course around it."""
    course = make_course(tmp_path / "a course, “mine”")
    site = course / ".venv" / "lib" / "site-packages"
    shutil.copytree(plain / "mpcrl_course", site / "mpcrl_course")
    desktop = tmp_path / "desktop"
    desktop.mkdir()
    assert said(ASK, desktop, site, PYTHONIOENCODING="utf-8") == [str(course), str(record(course))]


def test_without_any_course_the_record_is_where_we_began_or_nearest_above(tmp_path, plain):
    here = tmp_path / "my notebooks" / "more"
    here.mkdir(parents=True)
    assert said(ASK, here, plain) == [str(here), str(record(here))]
    record(here.parent).parent.mkdir()
    record(here.parent).write_text("{}", encoding="utf-8")
    assert said(ASK, here, plain) == [str(here), str(record(here.parent))]


def test_a_script_that_changes_the_folder_keeps_its_record(tmp_path):
    mine, other = make_course(tmp_path / "mine"), make_course(tmp_path / "other")
    code = f"from mpcrl_course import places; import os; os.chdir({str(other)!r}); {ASK}"
    assert said(code, mine / "exercises") == [str(mine), str(record(mine))]


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder that is used")
def test_a_working_folder_that_is_gone_stops_nothing(tmp_path):
    code = f"import os; os.rmdir(os.getcwd()); {ASK}; print(places.data('ddpg_03.npz').files[0])"
    (tmp_path / "gone").mkdir()
    assert said(code, tmp_path / "gone") == [str(ROOT), str(record(ROOT)), "settings"]


def test_where_there_is_no_ipython_the_place_is_that_of_the_beginning(monkeypatch):
    before = places.notebook_folder()
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert places.notebook_folder() == before


def test_the_record_may_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MPCRL_COURSE_PROGRESS", str(tmp_path / "mine.json"))
    assert places.progress_file() == tmp_path / "mine.json"
    monkeypatch.setenv("MPCRL_COURSE_PROGRESS", os.path.join("mine", "two.json"))  # from where we began
    before = places.progress_file()
    monkeypatch.chdir(tmp_path)
    assert places.progress_file() == before == places.notebook_folder() / "mine" / "two.json"
    monkeypatch.setenv("MPCRL_COURSE_PROGRESS", os.path.join("~", "mine.json"))
    assert places.progress_file() == Path.home() / "mine.json"


# ---- notebooks, in a kernel


def run(notebook, *sources, kernel_in=None, **environ):
    """Run a notebook of these cells in a kernel that starts in its folder, or in another; return what it printed."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(book, notebook)
    where = {"metadata": {"path": str(kernel_in or notebook.parent)}}
    NotebookClient(book, kernel_name="python3", resources=where).execute(env={**os.environ, **environ})
    printed = [one.text for cell in book.cells for one in cell.outputs if one.output_type == "stream"]
    return "".join(printed).splitlines()


CHECK = """
from mpcrl_course.checks import ex01
ex01.exercise(1, ex01.exercise.item(1).reference)
"""


def test_a_renamed_notebook_that_changes_its_folder_has_one_record_and_all_data(tmp_path):
    """Before the package is imported, and between its checks; its own course wins over the package's."""
    mine, other = make_course(tmp_path / "the “course” of Jürgen's"), make_course(tmp_path / "other")
    cells = [f"%cd -q {other}", CHECK + ASK, f"import os; os.chdir({str(tmp_path)!r})", CHECK + ASK]
    data = "print(places.data('ddpg_03.npz')['settings'][0] is not None)"
    printed = run(mine / "exercises" / "my copy (2) of Ü.ipynb", *cells, data)
    assert printed == [str(mine), str(record(mine))] * 2 + ["True"]
    assert progress.load(record(mine))["exercises"]["01"]["items"]["1"]["attempts"] == 2
    assert [path for path in tmp_path.rglob(".mpcrl_course")] == [record(mine).parent]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_to_a_notebook_belongs_to_the_course_that_it_leads_to(tmp_path):
    mine, desktop = make_course(tmp_path / "mine"), tmp_path / "desktop"
    desktop.mkdir()
    (desktop / "link.ipynb").symlink_to(mine / "exercises" / "01.ipynb")
    (mine / "exercises" / "01.ipynb").touch()
    (desktop / "mine").symlink_to(mine)
    name = {"JPY_SESSION_NAME": str(desktop / "link.ipynb")}
    assert run(desktop / "link.ipynb", f"%cd -q /\n{ASK}", **name) == [str(mine), str(record(mine))]
    assert places.progress_file(desktop / "mine" / "exercises") == record(mine)
    # A variable that was inherited from another notebook says nothing about a kernel that began elsewhere.
    assert run(desktop / "other.ipynb", ASK, kernel_in=tmp_path, **name) == [str(ROOT), str(record(ROOT))]


def test_an_editor_that_starts_kernels_in_a_parent_folder_tells_the_notebook(tmp_path):
    mine = make_course(tmp_path / "mine")
    notebook = mine / "lectures" / "01.ipynb"
    begin = f"__vsc_ipynb_file__ = {str(notebook)!r}"  # as VS Code runs it first
    assert run(notebook, begin, ASK, kernel_in=tmp_path) == [str(mine), str(record(mine))]


# ---- shipped numbers


def test_data_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with places.data("agents_04.npz") as agents:
        assert agents["nominal actor"].dtype == np.float16
    with pytest.raises(FileNotFoundError, match=r"ships no 'nosuch.npz'.*agents_04.npz, .*ddpg_03.npz"):
        places.data("nosuch.npz")


@pytest.mark.parametrize("damage", [b"", b"version https://git-lfs.example/spec/v1", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(places, "DATA", tmp_path)
    (tmp_path / "agents_04.npz").write_bytes(damage)
    with pytest.raises(ValueError, match=r"agents_04.npz is damaged: get the course's files again"):
        places.data("agents_04.npz")


@pytest.mark.parametrize("path", notebooks(*FOLDERS), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_notebook_depends_on_its_folder(path):
    """No file is opened by its path, and no module but those that are installed is imported."""
    code = "\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code")
    assert not re.search(r"\bopen\(|np\.load|read_text|read_bytes|\bPath\(|getcwd|chdir|%cd|%run|sys\.path|\.\./", code)
    asked = re.findall(r"places\.data\(\"([^\"]*)\"\)", code)
    assert len(re.findall(r"\.npz", code)) == len(asked) and all((places.DATA / name).is_file() for name in asked)


# ---- the map


def test_the_map_links_the_notebooks_that_are_there_from_where_it_is_shown(tmp_path):
    course = make_course(tmp_path / "my course")
    (course / "lectures" / "01_decisions.ipynb").touch()
    links = {"lectures": "(01_decisions.ipynb)", "exercises": "(../lectures/01_decisions.ipynb)"}
    for folder, link in links.items():
        shown = course_map(course / folder).data
        assert link in shown and shown.count(".ipynb") == 1 and "Nothing is linked" not in shown
    assert shown.count("in preparation") == sum(not lecture.notebook for lecture in LECTURES)


def test_without_a_course_the_map_is_whole_and_links_nothing(tmp_path, plain):
    code = "from mpcrl_course.figures import course_map; print(course_map().data)"
    lines = said(code, tmp_path, plain, PYTHONIOENCODING="utf-8")
    assert len(lines) == 2 + len(LECTURES) + 2 and lines[-1].startswith("Nothing is linked: ")
    assert not any(".ipynb" in line for line in lines)
    assert sum("in preparation" in line for line in lines) == sum(not lecture.notebook for lecture in LECTURES)
