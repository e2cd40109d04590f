"""CONTRIBUTING.md is true: its examples, added to a copy of the course as it says, pass the tests that it names."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.test_docstrings import offenders

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(
    r"^```(python|diff)\n(?:#|\+\+\+) (\S+)\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S
)
#: The tests of the examples, among all those of the files that they are added to.
CHOSEN = "double or integral or search or rooms or ex98"


def patched(text, lines):
    """Return the text with the lines marked + below those marked with a blank, which it must have."""
    place = 0
    for line in lines:
        if line.startswith("+"):
            text = f"{text[:place]}{line[1:]}\n{text[place:]}"
            place += len(line)
        else:
            place = text.index(f"\n{line[1:]}\n") + len(line) + 1
    return text


def test_the_examples_are_added_as_the_pages_say_and_pass_the_tests(tmp_path):
    shutil.copytree(
        ROOT / "mpcrl_course", tmp_path / "mpcrl_course", ignore=shutil.ignore_patterns("__pycache__", "*.npz")
    )
    for name in ("pyproject.toml", "tests/conftest.py", "tests/test_rooms.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    written, tests = [], ["tests/test_rooms.py"]
    for kind, name, text in BLOCKS:
        path, known = tmp_path / name, (ROOT / name).exists() or name in written
        assert known == (kind == "diff"), f"{name}: an example is new, and added to what is there"
        path.parent.mkdir(exist_ok=True, parents=True)
        before = path if path.exists() else ROOT / name
        path.write_text(text if kind == "python" else patched(before.read_text("utf-8"), text.splitlines()), "utf-8")
        written += [name] * (kind == "python")
        tests += [name] * (name.startswith("tests/") and name not in tests)
    assert not [line for name in written if name.startswith("mpcrl_course/") for line in offenders(tmp_path / name)]
    assert len(written) == 8 and len(tests) == 8

    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # as in `course.py`: it names those that it needs

    def ran(*command):
        command = [sys.executable, "-m", *command]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, encoding="utf-8")

    for style in (["check"], ["format", "--check"]):
        found = ran("ruff", *style, *written)
        assert found.returncode == 0, found.stdout + found.stderr
    found = ran("pytest", "-v", "-p", "pytest_timeout", "-p", "no:cacheprovider", "-k", CHOSEN, *tests)
    assert found.returncode == 0, found.stdout + found.stderr
    assert {line.split("::")[0] for line in found.stdout.splitlines() if "PASSED" in line} == set(tests)
