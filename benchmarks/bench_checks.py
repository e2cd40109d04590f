"""How long the checks of exercises take: of every item the slowest check that its soundness asks for. No verdict."""

import pkgutil
from importlib import import_module

from table import budget, table

from mpcrl_course import checks
from mpcrl_course.checks.engine import assert_item_sound

BUDGET = 1.0  # seconds of processor time a check


def main():
    """Print the slowest item of every exercise."""
    rows = []
    for name in sorted(module.name for module in pkgutil.iter_modules(checks.__path__) if module.name[2:].isdecimal()):
        items = import_module(f"{checks.__name__}.{name}").exercise.items.values()
        took, slowest = max((assert_item_sound(item), item.number) for item in items)
        rows.append((name, str(slowest), 1e3 * took, budget(took, BUDGET)))
    table("the slowest check of every exercise", rows, ["exercise", "item", "CPU ms", f"{BUDGET:g} s"])


if __name__ == "__main__":
    main()
