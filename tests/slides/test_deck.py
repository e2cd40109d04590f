"""Slides of a lecture: what is on which, what is left out, what the speaker is told; nothing comes from afar."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mpcrl_course import cli
from mpcrl_course.slides import deck, role_of
from mpcrl_course.slides.static import STATES, VIEW
from tests.notebooks import notebooks


def text(source, role=None):
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": role}} if role else {})


def code(source, role=None, outputs=(), **metadata):
    roles = {"slideshow": {"slide_type": role}} if role else {}
    return new_code_cell(source, outputs=list(outputs), metadata=roles | metadata)


def html(text):
    return new_output("display_data", {"text/html": text, "text/plain": "…"})


def slides(made):
    """Return the slides of a deck, each as its HTML without notes."""
    body = made.html.split('<div class="slides">')[1].split("</main>")[0]
    parts = body.split('<section><div class="fit">')[1:]
    return [re.sub(r'<aside class="notes">.*?</aside>', "", part, flags=re.S) for part in parts]


def notes(made):
    return "".join(re.findall(r'<aside class="notes">(.*?)</aside>', made.html.split("<body>")[1], re.S))


def test_roles_are_those_of_the_notebook():
    made = deck(
        new_notebook(
            cells=[
                text("# What is it?", "slide"), code("import nothing_of_note", "skip"), text("Left out.", "skip"),
                text("## One", "slide"), code("shown = 1", "fragment"), text("### Below", "subslide"),
                text("Aside.", "notes"),
            ]
        ),
        "99_what",
    )  # fmt: skip
    one, two, three = slides(made)
    assert made.slides == 3 and made.without_role == 0 and "<title>What is it?</title>" in made.html
    assert "What is it" in one and "One" in two and 'class="fragment"' in two and "shown" in two and "Below" in three
    assert "nothing_of_note" not in made.html
    assert "Left out." in notes(made) and "Aside." in notes(made) and "Left out." not in one


def test_without_roles_a_slide_begins_at_a_heading_after_four_cells_and_before_it_is_full():
    start = [text("# Title"), code("import numpy as np\n\nuse_style()"), text("## First")]
    cells = [*start, *[text(f"Line {k}.") for k in range(6)], text("### Under")]
    made = deck(new_notebook(cells=[*cells, text("long\n\n" * 24), text("more\n\n" * 10)]), "99")
    assert made.without_role == len(cells) + 2
    found = slides(made)
    assert "use_style" not in made.html
    assert ["Title" in found[0], "First" in found[1], "Line 2." in found[1], "Line 3." in found[2]] == [True] * 4
    assert "Under" in found[3] and "long" in found[3] and "more" in found[4] and len(found) == 5
    assert made.html.count("\n<section>\n<section>") == 2  # the title, and First with all that is below it


def test_what_only_plots_or_only_shows_is_left_out_and_its_picture_stays():
    cells = [
        text("# T", "slide"),
        code("plt.plot(folded)", "fragment", [html('<img src="data:," alt="p">')], jupyter={"source_hidden": True}),
        code("from a import b\npredict('How much?', key='k')", "fragment", [html("guess here")]),
        code("taught = predict('x')", "fragment", [html("shown too")]),
    ]
    made = deck(new_notebook(cells=cells), "99")
    assert "folded" not in made.html and 'alt="p"' in made.html and "How much" not in made.html
    assert "guess here" in made.html and "taught" in made.html
    assert notes(made).count("commit to a guess") == 1  # of the one that is a call of its own


def test_printed_output_is_short_and_complaints_are_none():
    many = new_output("stream", name="stdout", text="\n".join(f"row {k}" for k in range(40)))
    wrong = new_output("stream", name="stderr", text="a warning")
    made = deck(new_notebook(cells=[code("print(1)", "slide", [many, wrong])]), "99")
    assert "row 24" in made.html and "row 25" not in made.html and "…" in made.html and "a warning" not in made.html


def test_a_widget_stands_as_it_stood():
    def widget(kind, **state):
        return {"model_name": f"{kind}Model", "state": state}

    picture = widget("Image", format="jpeg") | {"buffers": [{"path": ["value"], "data": "QUJD", "encoding": "base64"}]}
    states = {
        "box": widget("VBox", children=["IPY_MODEL_image", "IPY_MODEL_words", "IPY_MODEL_choice", "IPY_MODEL_button"]),
        "image": picture,
        "words": widget("HTML", value='step 3<style onload="x" data-alt="a cart at 2 m">/**/</style>'),
        "choice": widget("RadioButtons", description="Your guess", _options_labels=["less", "more < 2"]),
        "button": widget("Button", description="Play"),
        "bar": widget("HBox", children=["IPY_MODEL_progress"]),
        "progress": widget("FloatProgress", value=3),
    }
    cells = [
        code("thing_live()", "slide", [new_output("display_data", {VIEW: {"model_id": "box"}})], tags=["live"]),
        code("go()", "fragment", [new_output("display_data", {VIEW: {"model_id": "bar"}})]),
    ]
    book = new_notebook(cells=cells, metadata={"widgets": {STATES: {"state": states}}})
    made = deck(book, "99")
    assert re.search('<img alt="a cart at 2 m" src="data:image/jpeg;base64,QUJD"', made.html)
    for word in ("step 3", "Your guess", "<li>less</li>", "more &lt; 2"):
        assert word in made.html
    assert made.html.count("static-widget") == 1 + made.html.count(".static-widget") and "Play" not in slides(made)[0]
    assert VIEW not in made.html and "lives in the notebook" in notes(made)
    assert book.cells[0].outputs[0].data == {VIEW: {"model_id": "box"}}  # the notebook is as it was


@pytest.mark.parametrize("path", notebooks("lectures"), ids=lambda path: path.stem)
def test_every_lecture_is_a_talk_of_slides_with_four_cells_at_most(path):
    book = nbformat.read(path, as_version=4)
    made = deck(book, path.stem)
    found = slides(made)
    assert len(found) == made.slides >= 3
    assert max(len(re.findall(r"jp-Notebook-cell", slide)) for slide in found) <= 4
    assert made.without_role == sum(not role_of(cell) for cell in book.cells)
    # and nothing is asked of another machine, as far as the file shows; a browser test asks the browser
    page, script = made.html.split("</main>", 1)
    assert script.count("</script>") == 1 and "<script" not in page
    assert not re.findall(r"<(?:link|img|iframe|source)[^>]*(?:src|href)\s*=\s*[\"'](?!data:)[^>]*>", page)
    assert not re.findall(r"@import|url\((?!data:|#)[^)]*\)", page.split("</style>")[0])


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "lectures").mkdir()
    (tmp_path / "course.py").touch()
    book = new_notebook(cells=[text("# One"), code("6 * 7")])
    nbformat.write(book, tmp_path / "lectures" / "98_small.ipynb")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["slides", "98", "--no-run"]) == 0
    said, file = capsys.readouterr().out, tmp_path / "slides" / "98_small.html"
    assert "2 of its 2 cells nothing about slides" in said and f"wrote {file}" in said
    assert ">42<" not in file.read_text(encoding="utf-8")
    assert cli.main(["slides", "98", "--html", "talk.html"]) == 0
    assert "42" in (tmp_path / "talk.html").read_text(encoding="utf-8").split("<body>")[1].split("</main>")[0]
    assert cli.main(["slides", "98", "--html", "no/talk.html"]) == 2
    assert cli.main(["slides", "97"]) == 2
