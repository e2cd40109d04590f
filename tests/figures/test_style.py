import base64
import re
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mpcrl_course.figures import COLOURS, STYLE, band, show, style, use_style


@pytest.fixture
def ax():
    with plt.rc_context():
        use_style()
        figure, ax = plt.subplots()
        yield ax
        plt.close(figure)


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(style, "display", lambda data, raw: outputs.append(data))
    return outputs


def test_curves_differ_in_colour_line_style_and_marker(ax):
    lines = [ax.plot([0, 1, 2], [k, k, k])[0] for k in range(len(COLOURS))]
    assert len({line.get_color() for line in lines}) == len(lines)
    assert len({(str(line.get_linestyle()), line.get_marker()) for line in lines}) == len(lines)


def test_neighbouring_colours_differ_in_grey_or_in_line_style():
    entries = list(STYLE["axes.prop_cycle"])
    for first, second in zip(entries, entries[1:], strict=False):
        assert first["linestyle"] != second["linestyle"] and first["marker"] != second["marker"]


def test_show_gives_an_image_with_the_description_and_closes_the_figure(ax, shown):
    ax.plot([1, 2], [3, 4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        show(ax.figure, 'A line from 3 to 4,\n "rising" & straight')
    alt = re.search(r'alt="([^"]*)"', shown[0]["text/html"]).group(1)
    assert alt == "A line from 3 to 4, &quot;rising&quot; &amp; straight"
    assert shown[0]["text/plain"] == 'A line from 3 to 4, "rising" & straight'
    assert base64.b64decode(re.search('base64,([^"]*)', shown[0]["text/html"]).group(1))[:4] == b"\x89PNG"
    below = re.search(r'<figcaption aria-hidden="true"[^>]*>([^<]*)</figcaption>', shown[0]["text/html"]).group(1)
    assert below == alt  # for the eye; a screen reader has read it
    assert 'width="700"' in shown[0]["text/html"]
    assert not plt.fignum_exists(ax.figure.number)


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_show_refuses_an_empty_description(ax, shown, empty):
    with pytest.raises(ValueError, match="describe the figure"):
        show(ax.figure, empty)
    assert not shown


def test_band_is_the_median_within_the_quantiles(ax):
    runs = np.arange(101.0)[:, None] * np.array([1.0, 2.0, 3.0])
    median = band(ax, [0, 1, 2], runs, "runs", color="C1")
    np.testing.assert_allclose(median.get_ydata(), [50, 100, 150])
    edge = ax.collections[0].get_paths()[0].vertices
    assert edge[edge[:, 0] == 2, 1].min() == pytest.approx(7.5)
    assert edge[edge[:, 0] == 2, 1].max() == pytest.approx(292.5)
    band(ax, [0, 1, 2], runs, coverage=1.0)
    assert ax.collections[1].get_paths()[0].vertices[:, 1].max() == 300.0


def test_band_refuses_what_does_not_fit(ax):
    with pytest.raises(ValueError, match="one column for each x"):
        band(ax, [0, 1], np.zeros((5, 3)))
    with pytest.raises(ValueError, match="coverage"):
        band(ax, [0, 1], np.zeros((5, 2)), coverage=95)
