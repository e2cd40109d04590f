"""Drawn diagrams can be read: nothing overlaps, nothing is cut off, what is lit is lit for everyone."""

import itertools
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mpcrl_course.figures import (
    Arrow,
    Box,
    actor_critic_boxes,
    closed_loop_boxes,
    course_boxes,
    diagram,
    message_boxes,
    style,
)
from mpcrl_course.figures.diagrams import ACTOR_CRITIC, FIELD, LOOP, MESSAGES, draw, route

SHARED = {"field": FIELD, "loop": LOOP, "actor and critic": ACTOR_CRITIC, "messages": MESSAGES}
each = pytest.mark.parametrize(
    ("boxes", "arrows", "lit"),
    [
        pytest.param(boxes, arrows, [key for key, box in boxes.items() if box.text and all_lit], id=f"{name}-{all_lit}")
        for name, (boxes, arrows) in SHARED.items()
        for all_lit in (False, True)
    ],
)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(style, "display", lambda data, raw: outputs.append(data))
    return outputs


def extents(fig):
    """Return the frames of boxes, and those of the texts in boxes and at arrows, in pixels."""
    fig.canvas.draw()
    (ax,) = fig.axes
    frames = [p.get_window_extent() for p in ax.patches if isinstance(p, FancyBboxPatch)]
    inside, beside = ([t.get_window_extent() for t in ax.texts if t.get_gid() == gid] for gid in ("box", "arrow"))
    return frames, inside, beside


@each
def test_texts_are_in_their_boxes_and_nothing_overlaps(boxes, arrows, lit):
    fig = draw(boxes, arrows, lit)
    frames, inside, beside = extents(fig)
    assert len(frames) == len(inside) >= 3 and fig.get_figwidth() * 100 == 640
    for frame, text in zip(frames, inside, strict=True):
        assert frame.x0 < text.x0 and text.x1 < frame.x1 and frame.y0 < text.y0 and text.y1 < frame.y1
    for one, other in itertools.combinations([*frames, *beside], 2):
        assert not one.overlaps(other)
    for extent in [*frames, *beside]:
        assert extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= 640 and extent.y1 <= fig.bbox.y1


@each
def test_no_arrow_runs_through_a_text_or_a_box(boxes, arrows, lit):
    fig = draw(boxes, arrows, lit)
    frames, _, beside = extents(fig)
    for path in (fig.axes[0].transData.transform(route(boxes, arrow)) for arrow in arrows):
        points = np.concatenate([np.linspace(a, b, 200) for a, b in itertools.pairwise(path)])
        for extent in [*beside, *(frame.padded(-3) for frame in frames)]:  # an arrow's end touches the border
            assert not any(extent.contains(*point) for point in points)


def test_what_is_lit_differs_in_width_and_weight_not_only_in_colour():
    fig = draw(*FIELD, "critic")
    fig.canvas.draw()
    widths = [p.get_linewidth() for p in fig.axes[0].patches if isinstance(p, FancyBboxPatch)]
    weights = [t.get_weight() for t in fig.axes[0].texts if t.get_gid() == "box"]
    at = list(FIELD[0]).index("critic")
    assert [k for k, w in enumerate(widths) if w > 2] == [at]
    assert [k for k, w in enumerate(weights) if w == "bold"] == [at]


def test_what_is_learned_from_is_dashed():
    _, arrows = FIELD
    patches = [p for p in draw(*FIELD).axes[0].patches if isinstance(p, FancyArrowPatch)]
    assert [p.get_linestyle() == "-" for p in patches] == [not arrow.learns for arrow in arrows]
    assert 0 < sum(arrow.learns for arrow in arrows) < len(arrows)


def test_the_caption_of_the_map_says_what_is_drawn_and_what_is_lit(shown):
    course_boxes(lit="critic")
    course_boxes(lit=["before", "after"])
    caption = shown[0]["text/plain"]
    for box in FIELD[0].values():
        words = re.findall(r"[a-z]{4,}|\d\d", box.text.replace("MPC acts", "").replace("teaches", ""))
        assert [word for word in words if word.removesuffix("s") not in caption] == []
    assert caption.endswith("Lit: critic.") and shown[1]["text/plain"].endswith("Lit: before and after.")
    assert shown[0]["text/html"] != shown[1]["text/html"] and not plt.get_fignums()


def test_the_shared_diagrams_are_shown_with_their_words(shown):
    closed_loop_boxes(lit="plant")
    actor_critic_boxes()
    message_boxes(lit="agent 2")
    assert "The closed loop" in shown[0]["text/plain"] and "Actor and critic" in shown[1]["text/plain"]


def test_an_arrow_ends_at_the_border():
    boxes = {"a": Box(1, 1, "a", 1.0, 0.5), "b": Box(4, 1.1, "b", 1.0, 0.5), "c": Box(4, 3, "c", 1.0, 0.5)}
    level, bent, slanted = (
        route(boxes, arrow) for arrow in (Arrow("a", "b"), Arrow("a", "c", via=((1, 3),)), Arrow("a", "c"))
    )
    np.testing.assert_allclose(level, [[1.5, 1.05], [3.5, 1.05]])
    np.testing.assert_allclose(bent, [[1, 1.25], [1, 3], [3.5, 3]])
    np.testing.assert_allclose(slanted, [[1.375, 1.25], [3.625, 2.75]])


def test_who_is_not_there_is_named(shown):
    with pytest.raises(ValueError, match="no box is called 'judge'"):
        course_boxes(lit="judge")
    with pytest.raises(ValueError, match="no box is called 'b'; there are a"):
        diagram({"a": Box(1, 1)}, [Arrow("a", "b")], "words")
    assert not shown
