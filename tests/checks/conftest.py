"""No right answer is judged wrong because a machine is slow."""

import pytest


@pytest.fixture(autouse=True)
def all_the_time_in_the_world(monkeypatch):
    """Items' time limits are a thousand times as long, also in notebooks that a test runs."""
    monkeypatch.setenv("MPCRL_COURSE_TIME_FACTOR", "1000")
