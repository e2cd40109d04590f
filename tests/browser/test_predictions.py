"""A prediction as its reader makes it: by keyboard, in JupyterLab, and after the answer not any more."""

import json

from tests.browser.lab import NOTEBOOK, becomes, jupyterlab, marks

CELLS = [
    "from mpcrl_course.figures import predict, reveal, tally",
    "predict('How many?', key='number', unit='starts', decimals=0)\n"
    "predict('Which?', ['plain', 'learned'], key='choice')",
    "reveal('number', 17)\nreveal('choice', 'learned')",
]
GUESSES = "tally.__globals__['ASKED'][{!r}].guess"

pytestmark = marks()


def test_a_guess_by_keyboard(tmp_path):
    code = {"cell_type": "code", "outputs": [], "execution_count": None}
    cells = [
        code | {"id": f"c{k}", "source": source, "metadata": {"tags": ["live"] if k == 1 else []}}
        for k, source in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "predictions.ipynb").write_text(json.dumps(book), encoding="utf-8")
    with jupyterlab([tmp_path / "predictions.ipynb"]) as notebook, notebook("predictions.ipynb") as lab:
        lab.run_live()
        field = lab.page.get_by_label("Your guess").first
        field.focus()
        lab.page.keyboard.type("15 starts")
        lab.page.keyboard.press("Tab")
        assert becomes(lambda: lab.ask(GUESSES.format("number")) == 15.0)
        lab.page.get_by_label("plain").focus()
        lab.page.keyboard.press("Tab")
        lab.page.keyboard.press("Space")
        assert becomes(lambda: lab.ask(GUESSES.format("choice")) == "learned")
        assert becomes(lambda: lab.page.locator(NOTEBOOK, has_text="Kept: learned.").count() == 1)
        lab.run_all()  # what was guessed is kept
        said = lab.page.locator(f"{NOTEBOOK} [role=status]")
        assert becomes(lambda: said.count() == 2)
        assert "Measured: 17 starts. You guessed 15 starts: too small by 2 starts." in said.first.inner_text()
        assert "You guessed learned: right." in said.last.inner_text()
        assert lab.errors() == [] and lab.page_errors == []
