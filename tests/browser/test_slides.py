"""The slides of every lecture in a real browser: no request off the machine, formulas whole, nothing cut off."""

import nbformat
import pytest

from course import find_chromium
from mpcrl_course.slides import deck
from tests.browser.lab import LIMIT, becomes, marks
from tests.notebooks import notebooks

pytestmark = marks()
#: Of these styles the fonts are left out (mpcrl_course/slides/vendor/README.md).
LEFT_OUT = ".mathfrak, .mathbffrak, .mathscr, .mathsf, .textsf, .mathtt, .texttt, .mathbfcal, .mathboldfrak"
#: Go to the next slide, and say whether there was one.
NEXT = """() => {
  const all = Reveal.getSlides(), k = all.indexOf(Reveal.getCurrentSlide()) + 1;
  if (k < all.length) { const at = Reveal.getIndices(all[k]); Reveal.slide(at.h, at.v); }
  return k < all.length;
}"""
#: By how many pixels the present slide is too tall, as it is shown.
TOO_TALL = """() => Reveal.getCurrentSlide().querySelector('.fit').getBoundingClientRect().bottom - innerHeight"""
#: By how many pixels something on it is too wide.
TOO_WIDE = """() => {
  const parts = [...Reveal.getCurrentSlide().querySelectorAll('.fit, .katex-display .katex-html, table, pre, img')];
  return Math.max(0, ...parts.map(part => {
    const { left, width } = part.getBoundingClientRect();
    return left + width * Math.max(1, part.scrollWidth / (part.clientWidth || part.scrollWidth || 1)) - innerWidth;
  }));
}"""
#: A figure, a long listing and a long text, which need to be made smaller.
TALL = (
    '<img alt=\'tall\' src=\'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" width="600" height="900"/>\'>'
)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # sandboxes need rights that containers often do not give
        one = playwright.chromium.launch(executable_path=str(find_chromium()), args=["--no-sandbox", "--disable-gpu"])
        yield one
        one.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that opens a notebook as slides; afterwards nothing may have been asked, or gone wrong."""
    page, away, errors = browser.new_page(viewport={"width": 1280, "height": 800}), [], []
    page.on(
        "request", lambda request: away.append(request.url) if not request.url.startswith(("file:", "data:")) else 0
    )
    page.on("pageerror", lambda error: errors.append(str(error)))

    def show(book, name):
        file = tmp_path / f"{name}.html"
        file.write_text(deck(book, name).html, encoding="utf-8")
        page.goto(file.as_uri(), timeout=1000 * LIMIT)
        assert becomes(
            lambda: page.evaluate("Reveal.isReady() && !!document.querySelector('.present .fit[data-fitted]')")
        )
        return page

    yield show
    assert away == [] and errors == []
    page.close()


@pytest.mark.parametrize("path", notebooks("lectures"), ids=lambda path: path.stem)
def test_a_lecture(opened, path):
    book = nbformat.read(path, as_version=4)
    page = opened(book, path.stem)
    formulas = any(cell.source.count("$") > 1 for cell in book.cells if cell.cell_type == "markdown")
    assert page.evaluate("document.querySelectorAll('.katex').length > 0") == formulas
    assert page.evaluate("[...document.querySelectorAll('.katex-error')].map(e => e.title)") == []
    assert page.evaluate(f"document.querySelectorAll('.katex :is({LEFT_OUT})').length") == 0, "a font is missing"
    seen = 1
    while page.evaluate(NEXT):
        seen += 1
        assert page.evaluate(TOO_TALL) <= 0, f"slide {seen} is cut off below"
        assert page.evaluate(TOO_WIDE) == 0, f"slide {seen} is cut off at the right"
    assert seen == page.evaluate("Reveal.getTotalSlides()")


def test_what_is_tall_is_made_smaller_and_notes_are_there(opened):
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    def role(name):
        return {"slideshow": {"slide_type": name}}

    figure = new_output("display_data", {"text/html": TALL})
    page = opened(
        new_notebook(
            cells=[
                new_markdown_cell("# One $x^2$", metadata=role("slide")),
                new_markdown_cell("said aloud", metadata=role("notes")),
                new_code_cell("draw()", outputs=[figure], metadata=role("slide")),
                new_markdown_cell("tall\n\n" * 100, metadata=role("slide")),
            ]
        ),
        "tall",
    )
    assert page.evaluate("Reveal.getSlideNotes()").strip().startswith("<p>said aloud")
    zooms = [page.evaluate("Reveal.getCurrentSlide().querySelector('.fit').dataset.fitted")]
    while page.evaluate(NEXT):
        zooms.append(page.evaluate("Reveal.getCurrentSlide().querySelector('.fit').dataset.fitted"))
        if len(zooms) == 2:
            assert page.evaluate(TOO_TALL) <= 0
    assert [float(zoom) for zoom in zooms][::2] == [1.0, 0.5] and 0.5 < float(zooms[1]) < 0.9
    assert page.evaluate("getComputedStyle(Reveal.getCurrentSlide()).overflowY") == "auto"  # and the rest scrolls
