"""The record of progress: whatever stands in its file, and whoever else writes it, no result is lost."""

import copy
import errno
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import tempfile
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcrl_course.checks import progress
from mpcrl_course.checks.progress import NOT_ATTEMPTED, RIGHT, WRONG

HOUR = 3600.0  # so long that nothing here reaches it, on any machine
ENTRY = {
    "kind": "fill",
    "title": "TD error",
    "last": WRONG,
    "best": RIGHT,
    "attempts": 3,
    "hints": 1,
    "sentence": "γ is missing.",
    "text": "",
    "time": "2026-01-31T12:00:00+00:00",
}
GOOD = {"version": 1, "exercises": {"06": {"title": "MPC as value", "items": {"1": {**ENTRY}, "2": {**ENTRY}}}}}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "record" / "progress.json"


def put(file, data):
    """Write `data` into the file, as bytes or as JSON."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())


def solve(data):
    """What a check does: item 2 of exercise 06 is right."""
    exercise = data["exercises"].setdefault("06", {"title": "", "items": {}})
    progress.note(exercise["items"].setdefault("2", progress.new_entry("fill", "TD error")), RIGHT, "Yes.")


def written(file):
    return json.loads(file.read_bytes())


def at(data, path):
    for key in path:
        data = data[key]
    return data


def asides(file):
    return [path for path in file.parent.iterdir() if path.name not in ("progress.json", "progress.json.lock")]


# ---- what can be read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_that_an_editor_has_saved_is_read(file, encoding):
    put(file, json.dumps(GOOD, ensure_ascii=False).encode(encoding))
    assert progress.load(file) == GOOD
    progress.change(file, solve)
    assert written(file)["exercises"]["06"]["items"]["1"] == ENTRY and not asides(file)


BAD = [None, True, -1, 1.5, "x", [], {}, [1], {"a": 1}, 10**30, "right ", float("nan")]
LEAVES = [("exercises", "06", "items", "1", name) for name in ENTRY]


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path[-1])
def test_a_bad_field_costs_that_field_only(file, path):
    for bad in BAD:
        data = copy.deepcopy(GOOD)
        at(data, path[:-1])[path[-1]] = bad
        put(file, data)
        seen, new = progress.load(file), progress.new_entry("", "")
        if type(bad) is not str or path[-1] in ("last", "best"):  # a text is a title
            kept = {name: value for name, value in at(seen, path[:-1]).items() if name != path[-1]}
            others = {name: value for name, value in ENTRY.items() if name != path[-1]}
            assert kept == others
            given = type(bad) is int and bad >= 0 and path[-1] in ("attempts", "hints")
            fallen = WRONG if path[-1] == "best" else new[path[-1]]  # the best is no worse than the last
            assert at(seen, path) == (bad if given else fallen)
        assert seen["exercises"]["06"]["items"]["2"] == ENTRY
        progress.change(file, solve)
        after = written(file)["exercises"]["06"]["items"]
        assert after["2"]["attempts"] == 4 and json.dumps(after["1"]) == json.dumps(at(data, path[:-1]), sort_keys=True)
        assert not asides(file)


def test_a_missing_field_is_as_if_nothing_had_happened(file):
    put(file, {"exercises": {"06": {"items": {"1": {"last": RIGHT}}}}})
    assert progress.load(file)["exercises"]["06"]["items"]["1"] == {
        **progress.new_entry("", ""),
        "last": RIGHT,
        "best": RIGHT,
    }


def test_what_a_newer_version_has_written_is_kept(file):
    data = copy.deepcopy(GOOD)
    data |= {"version": 2, "reader": {"name": "Ö", "when": 10**25}}
    data["exercises"]["06"]["minutes"] = [12, 13.5]
    data["exercises"]["06"]["items"]["2"] |= {"seen": None, "last": "half right", "best": "half right"}
    data["exercises"]["06"]["items"]["bonus"] = {"last": RIGHT}
    data["exercises"]["project"] = "begun"
    put(file, data)
    seen = progress.load(file)
    assert seen["exercises"]["06"]["items"]["1"] == ENTRY and set(seen["exercises"]["06"]["items"]) == {"1", "2"}
    assert seen["exercises"]["06"]["items"]["2"]["last"] == NOT_ATTEMPTED  # nobody knows that verdict
    progress.change(file, solve)
    now = written(file)
    solved = now["exercises"]["06"]["items"]["2"]
    assert (solved["last"], solved["best"], solved["attempts"]) == (RIGHT, RIGHT, 4)
    now["exercises"]["06"]["items"]["2"] = data["exercises"]["06"]["items"]["2"]
    assert solved["seen"] is None and now == data and not asides(file)


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 1, "exercises": ["06"]},
        {"version": 1, "exercises": {"06": "done"}},
        {"version": 1, "exercises": {"06": {"items": [1, 2]}}},
        {"version": 1, "exercises": {"06": {"items": {"2": [RIGHT]}}}},
        {"version": 2, "exercises": {"06": {"items": {"2": {"attempts": {"wrong": 3}}}}}},
    ],
    ids=["exercises", "exercise", "items", "item", "field"],
)
def test_what_is_of_another_make_is_kept_before_a_result_is_written_over_it(file, damage, capsys):
    put(file, damage)
    progress.load(file)
    assert written(file) == damage and not asides(file)  # who only looks changes nothing
    progress.change(file, solve)
    (kept,) = asides(file)
    assert json.loads(kept.read_bytes()) == damage and f"it is kept as {kept.name}" in capsys.readouterr().out
    assert progress.load(file)["exercises"]["06"]["items"]["2"]["last"] == RIGHT


@pytest.mark.parametrize("look", [progress.load, lambda file: progress.change(file, solve)], ids=["load", "change"])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        json.dumps(GOOD).encode()[:-9],
        b"[]",
        b"7",
        b"\x00",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a": "\xe9"}',
    ],
    ids=["empty", "begun", "cut", "list", "number", "zero", "bytes", "brackets", "deep", "latin"],
)
def test_what_is_no_object_is_set_aside_with_a_sentence(file, text, look, capsys):
    put(file, text)
    look(file)
    (kept,) = asides(file)
    said = f"The progress file could not be read; it is kept as {kept.name}, and a new one is begun."
    assert kept.read_bytes() == text and said in capsys.readouterr().out
    assert ("06" in progress.load(file)["exercises"]) == (look is not progress.load)


def test_a_huge_file_is_set_aside_unread(file, monkeypatch, capsys):
    put(file, {**GOOD, "more": "x" * 10_000})
    assert progress.load(file) == GOOD
    monkeypatch.setattr(progress, "LARGEST", 9_000)
    assert progress.load(file)["exercises"] == {}
    assert len(asides(file)) == 1 and "progress.unreadable-" in capsys.readouterr().out


def test_numbers_longer_than_python_reads_cost_themselves_only(file):
    digits = "7" * 5000
    put(file, json.dumps(GOOD).replace('"attempts": 3', f'"attempts": {digits}').encode())
    assert progress.load(file)["exercises"]["06"]["items"]["1"] == {**ENTRY, "attempts": 0}
    progress.change(file, solve)
    assert digits in file.read_text("utf-8") and not asides(file)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
SPOTS = [LEAVES[0][:depth] for depth in range(6)] + LEAVES


@given(spot=st.sampled_from(SPOTS), value=VALUES)
def test_any_value_anywhere_leaves_a_record_that_works(tmp_path_factory, spot, value):
    """Somewhere in a good file stands something else: it is read, a result is recorded, and what was good still is."""
    data = copy.deepcopy(GOOD)
    if spot:
        at(data, spot[:-1])[spot[-1]] = value
    else:
        data = value
    file = tmp_path_factory.mktemp("record") / "progress.json"
    put(file, data)
    new = progress.new_entry("", "")
    for exercise in progress.load(file)["exercises"].values():
        assert isinstance(exercise["title"], str)
        for number, entry in exercise["items"].items():
            assert int(number) >= 0 and {n: type(v) for n, v in entry.items()} == {n: type(v) for n, v in new.items()}
            assert entry["last"] in progress.VERDICTS and entry["best"] in progress.VERDICTS
    progress.change(file, solve)
    items = progress.load(file)["exercises"]["06"]["items"]
    assert items["2"]["last"] == RIGHT
    if len(spot) > 3 and spot[3] == "1":  # elsewhere: item 2 has gone on counting
        assert items["2"]["attempts"] == 4


def test_half_characters_and_endless_answers_can_be_recorded(file):
    """A lone surrogate, as in the name of a file; a reason of a megabyte; a reason that is no text."""
    for text, kept in (("\ud83d ü", "\ud83d ü"), ("x" * 10**6, "x" * progress.LONGEST), (3.5, ""), (None, "")):

        def explain(data, text=text):
            exercise = data["exercises"].setdefault(
                "06", {"title": "", "items": {"1": progress.new_entry("explain", "")}}
            )
            progress.note(exercise["items"]["1"], WRONG, f"\udcff {text}", text)

        progress.change(file, explain)
        assert progress.load(file)["exercises"]["06"]["items"]["1"]["text"] == kept
    file.read_text("utf-8")  # any other program reads it, too


# ---- where it cannot be written


def test_a_folder_that_may_not_be_written_leaves_all_as_it_was(file, monkeypatch):
    put(file, GOOD)

    def refused(*arguments, **named):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refused)
    with pytest.raises(PermissionError):
        progress.change(file, solve)
    assert written(file) == GOOD and not asides(file) and progress.load(file) == GOOD


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits")
def test_a_full_disk_leaves_all_as_it_was(file):
    import resource

    put(file, GOOD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # bytes; as on a full disk, writing ends in the middle
    try:
        with pytest.raises(OSError, match="too large"):
            progress.change(file, solve)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert written(file) == GOOD and not asides(file)


@pytest.mark.skipif(not hasattr(os, "mknod"), reason="there are no such devices")
@pytest.mark.parametrize("kind", ["folder", "device"])
def test_what_is_no_file_is_left_alone(file, kind):
    """Whoever wants no record may name /dev/null."""
    file.parent.mkdir()
    try:
        file.mkdir() if kind == "folder" else os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only the administrator makes devices")
    for use in (progress.load, lambda file: progress.change(file, solve)):
        with pytest.raises(OSError, match="no file|a directory"):
            use(file)
    assert not file.is_file() and not asides(file)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_stays_a_link(file, tmp_path):
    """To a synchronised folder, for instance: the file that it leads to is the record."""
    real = tmp_path / "synchronised" / "mine.json"
    put(real, GOOD)
    file.parent.mkdir()
    file.symlink_to(real)
    progress.change(file, solve)
    assert file.is_symlink() and written(real)["exercises"]["06"]["items"]["2"]["attempts"] == 4


# ---- others that write it


def _many_checks(file, number):
    progress.PATIENCE = HOUR  # also in a process of its own

    def add(data):
        entry = data["exercises"].setdefault(number, {"title": "", "items": {"1": progress.new_entry("fill", "")}})
        progress.note(entry["items"]["1"], WRONG, "")

    for _ in range(25):
        progress.change(file, add)


def test_two_notebooks_at_once_lose_nothing(file, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", HOUR)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_many_checks, args=(file, number)) for number in ("01", "02")]
    threads = [threading.Thread(target=_many_checks, args=(file, number)) for number in ("03", "04")]
    for worker in writers + threads:
        worker.start()
    for worker in writers + threads:
        worker.join()
    recorded = progress.load(file)["exercises"]
    assert {number: one["items"]["1"]["attempts"] for number, one in recorded.items()} == dict.fromkeys(
        ["01", "02", "03", "04"], 25
    )
    assert not asides(file)


HOLDER = """
import sys, time
from pathlib import Path
from mpcrl_course.checks import progress
def hold(data):
    data["exercises"]["01"] = {"title": "of the slow one", "items": {}}
    print("holding", flush=True)
    sys.stdin.read(1)
progress.change(Path(sys.argv[1]), hold)
"""


def test_who_is_slow_loses_nothing_and_who_dies_holds_up_nobody(file, monkeypatch):
    """A laptop was shut while a notebook wrote: the other one waits, and then says so; it never writes between."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"holding" + os.linesep.encode()
        monkeypatch.setattr(progress, "PATIENCE", 0.05)
        with pytest.raises(TimeoutError, match="another notebook or command has been writing"):
            progress.change(file, solve)
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close(), holder.stdout.close()
    monkeypatch.setattr(progress, "PATIENCE", HOUR)
    progress.change(file, solve)
    assert list(progress.load(file)["exercises"]) == ["06"]
