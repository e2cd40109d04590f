"""A scene draws whatever loop it is given: its axes and labels, which cost more than most tests, are made once."""

import pytest

from mpcrl_course.live.canvas import Scene

MADE = {}


@pytest.fixture(autouse=True)
def scenes_are_made_once(monkeypatch):
    """Let a scene take over the canvas and the artists of the first of its kind, width and (public) options."""
    make = Scene.__init__

    def take_over(scene, width=800):
        options = {name: str(value) for name, value in vars(scene).items() if not name.startswith("_")}
        key, given = (type(scene), width, *options.items()), set(vars(scene))
        if key not in MADE:
            make(scene, width)
            MADE[key] = {name: value for name, value in vars(scene).items() if name not in given}
        vars(scene).update(MADE[key])

    monkeypatch.setattr(Scene, "__init__", take_over)
