"""The start page: its cells run and end in a clear verdict; the file is clean."""

import json
from pathlib import Path

PAGE = Path(__file__).parents[2] / "lectures" / "00_start.ipynb"


def cells():
    return json.loads(PAGE.read_text(encoding="utf-8"))["cells"]


def test_page_is_clean_and_its_cells_are_short():
    for cell in cells():
        assert cell["id"].replace("-", "").isalnum()
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert len("".join(cell["source"]).splitlines()) <= 15
    assert len({cell["id"] for cell in cells()}) == len(cells())


def run(change=None):
    space = {}
    for cell in cells():
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            exec(change(source) if change else source, space)
    return space


def test_everything_works(capsys):
    space = run()
    assert "Everything works." in capsys.readouterr().out
    assert space["live"].error == ""


def test_a_broken_installation_is_named(capsys):
    run(lambda source: source.replace('"piqp"', '"nosuch"').replace('"daqp", "numpy"', '"nosuch-package", "numpy"'))
    out = capsys.readouterr().out
    assert "nosuch-package IS MISSING" in out and "nosuch fails" in out
    assert "Not everything works" in out and "python3 course.py" in out and "Everything works" not in out
