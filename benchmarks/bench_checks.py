"""How long the checks of exercises take: of every item the slowest check that its soundness asks for. No verdict."""

from importlib import import_module

from table import budget, table

from mpcrl_course.checks.engine import assert_item_sound
from mpcrl_course.lectures import LECTURES

BUDGET = 1.0  # seconds of processor time a check


def main():
    """Print the slowest item of every exercise."""
    rows = []
    for name in (f"ex{lecture.number:02d}" for lecture in LECTURES if lecture.notebook):
        items = import_module(f"mpcrl_course.checks.{name}").exercise.items.values()
        took, slowest = max((assert_item_sound(item), item.number) for item in items)
        rows.append((name, str(slowest), 1e3 * took, budget(took, BUDGET)))
    table("the slowest check of every exercise", rows, ["exercise", "item", "CPU ms", f"{BUDGET:g} s"])


if __name__ == "__main__":
    main()
