"""The start page: its cells are short, and a broken installation is named; that it runs is in tests/records."""

from tests.notebooks import ROOT, cells

CODE = ["".join(cell["source"]) for cell in cells(ROOT / "lectures" / "00_start.ipynb") if cell["cell_type"] == "code"]


def test_its_cells_are_short():
    assert all(len(source.splitlines()) <= 15 for source in CODE)


def test_a_broken_installation_is_named(capsys):
    space = {}
    for source in CODE:
        source = source.replace('"piqp"', '"nosuch"').replace('"daqp", "numpy"', '"nosuch-package", "numpy"')
        exec(source, space)
    out = capsys.readouterr().out
    assert "nosuch-package IS MISSING" in out and "nosuch fails" in out
    assert "Not everything works" in out and "python3 course.py" in out and "Everything works" not in out
