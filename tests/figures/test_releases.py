"""The tested releases: what differs is shown, what agrees makes no noise."""

from importlib.metadata import version

import pytest

from mpcrl_course.figures.releases import differences, untested_releases

NUMPY, TQDM = version("numpy"), version("tqdm")
AGREE = f"# by a tool\nnumpy=={NUMPY}\ntqdm=={TQDM} ; python_full_version >= '3.10'\nno-such-package==1.0\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (AGREE, []),
        (AGREE.replace(NUMPY, "1.0"), [("numpy", "1.0", NUMPY)]),
        ("numpy==1.0 ; python_full_version < '3.10'", []),  # not for this Python
        (f"numpy==1.0 ; python_full_version < '3.10'\nnumpy=={NUMPY} ; python_full_version >= '3.10'", []),
        (f"Tqdm==0.1 ; python_full_version >= '3.10'  # old\n\nnumpy=={NUMPY}", [("Tqdm", "0.1", TQDM)]),
    ],
)
def test_only_what_differs_on_this_python_is_listed(text, rows):
    assert differences(text) == rows


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a course's folder, in which the kernel seems to have started."""
    (tmp_path / "course.py").write_text("", encoding="utf-8")
    (tmp_path / "lectures").mkdir()
    monkeypatch.setattr("mpcrl_course.places.course_folder", lambda: tmp_path)
    return tmp_path


def test_the_table_shows_itself_only_if_something_differs(folder):
    assert untested_releases() is None  # there is no file
    (folder / "constraints.txt").write_text(AGREE, encoding="utf-8")
    assert untested_releases() is None
    (folder / "constraints.txt").write_text(AGREE.replace(NUMPY, "1.0"), encoding="utf-8")
    table = untested_releases()
    assert table.header == ["package", "tested", "here"] and table.rows == [("numpy", "1.0", NUMPY)]


def test_a_constraints_file_of_another_project_is_none_of_ours(folder):
    (folder / "constraints.txt").write_text("numpy==1.0\n", encoding="utf-8")
    (folder / "course.py").unlink()
    (folder / "pyproject.toml").write_text('name = "mpcrl-course"\n', encoding="utf-8")
    assert untested_releases() is None
