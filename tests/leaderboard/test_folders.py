"""Records as columns, and what is kept of a folder between two readings."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pebench.leaderboard import folders, reading, table
from pebench.leaderboard.board import make_board
from pebench.leaderboard.columns import columns
from pebench.leaderboard.folders import columns_of
from pebench.leaderboard.printing import to_json
from pebench.suite.results.record import newest, read_all
from tests.made_records import write_sweep

SKILLS = {"rope": 1.0, "alibi": 4.0, "fox": 6.0}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of records that settled long ago, and a cache folder of its own."""
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "WORTH", 1)
    folder = write_sweep(tmp_path / "records", SKILLS)
    settle(monkeypatch)
    return folder


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour pass."""
    monkeypatch.setattr(time, "time_ns", lambda: int((time.time() + 3600) * 1e9))


def shown(folder: Path) -> dict[str, Any]:
    """Everything that `pebench board --json` prints, made anew."""
    for kept in (reading._told_of, reading._reading):
        kept.cache_clear()
    return to_json(make_board(folder))


def kept_files(folder: Path) -> list[Path]:
    return sorted((folder.parent / "cache" / folders.ROOM).glob("*"))


def a_record(folder: Path) -> Path:
    return sorted(folder.rglob("copy/fox/*.json"))[0]


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read from now on."""
    opened: list[Path] = []
    real = folders.read
    monkeypatch.setattr(folders, "read", lambda path, folder: (opened.append(path), real(path, folder))[1])
    return opened


def test_columns_say_what_the_records_say(place: Path) -> None:
    records, _ = read_all(place)
    told, unreadable = columns_of(place)
    assert unreadable == []
    assert told.texts("file") == [str(r.path) for r in records]
    for of in (table.score_table, table.run_table, table.check_table, table.answer_table):
        assert of(told).equals(of(records))
    assert told.newest().texts("file") == [str(r.path) for r in newest(records)]
    assert columns(records).runs.equals(told.runs)


def test_what_is_kept_shows_the_same_and_is_not_read_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shown(place)
    assert len(kept_files(place)) == 1
    opened = counting(monkeypatch)
    assert shown(place) == first
    assert opened == []


def test_an_edited_record_is_seen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the size and the time of modification that it had before."""
    before, path = shown(place), a_record(place)
    about, text = path.stat(), path.read_text()
    value = next(row["value"] for row in json.loads(text)["rows"] if row["metric"] == "exact")
    spelled = json.dumps(value)
    other = ("0.0" + spelled[3:])[: len(spelled)]
    path.write_text(text.replace(f'"value": {spelled}', f'"value": {other}'))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    opened = counting(monkeypatch)
    assert shown(place) != before
    assert opened == [path]


def test_a_deleted_record_is_gone_and_a_new_one_is_there(place: Path) -> None:
    path = a_record(place)
    before, text = shown(place), path.read_text()
    path.unlink()
    without = shown(place)
    assert without["profiles"]["QUICK"] == before["profiles"]["QUICK"] - 1
    path.write_text(text)
    assert shown(place) == before


def test_a_record_that_breaks_is_named(place: Path) -> None:
    shown(place)
    a_record(place).write_text("{")
    (broken,) = columns_of(place)[1]
    assert broken.path == a_record(place)
    assert broken.reason.startswith("not JSON")


def test_young_files_are_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))
    monkeypatch.setattr(folders, "SETTLED", 300 * 10**9)  # however slow this machine is
    os.utime(a_record(place))
    shown(place)
    opened = counting(monkeypatch)
    shown(place)
    assert a_record(place) in opened


@pytest.mark.parametrize("harm", ["cut", "other", "empty", "foreign", "folder"])
def test_a_broken_file_is_ignored(place: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    first = shown(place)
    (file,) = kept_files(place)
    data = file.read_bytes()
    if harm == "folder":
        file.unlink()
        file.mkdir()
    else:
        other = bytearray(data)
        other[len(data) // 2] ^= 1
        file.write_bytes({"cut": data[:-9], "other": bytes(other), "empty": b"", "foreign": b"x" * 99}[harm])
    opened = counting(monkeypatch)
    assert shown(place) == first
    assert len(opened) == first["profiles"]["QUICK"]


def test_what_another_version_kept_is_ignored(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shown(place)
    changed = place.parent / "changed.py"
    changed.write_text("# another version")
    monkeypatch.setattr(folders.columns_module, "__file__", str(changed))
    opened = counting(monkeypatch)
    assert shown(place) == first
    assert len(opened) == first["profiles"]["QUICK"]
    assert len(kept_files(place)) == 2


def test_without_a_cache_folder_nothing_is_kept_and_nothing_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = shown(place)
    (place.parent / "file").touch()
    monkeypatch.setenv("PEBENCH_CACHE", str(place.parent / "file" / "cache"))
    assert shown(place) == first
    assert capfd.readouterr() == ("", "")


SHOW = """
import json, sys, time
from pathlib import Path
from pebench.leaderboard import folders
from pebench.leaderboard.board import make_board
from pebench.leaderboard.printing import to_json

folders.WORTH, now = 1, time.time_ns
time.time_ns = lambda: now() + 3600 * 10**9
print(json.dumps(to_json(make_board(Path(sys.argv[1])))))
"""


def test_several_processes_at_once_show_the_same(place: Path) -> None:
    asked = [
        subprocess.Popen([sys.executable, "-P", "-c", SHOW, str(place)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    results = [json.loads(process.communicate(timeout=300)[0]) for process in asked]
    assert len(kept_files(place)) == 1
    assert results == [json.loads(json.dumps(shown(place)))] * 2


def test_few_folders_are_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST", 2)
    for name in ("a", "b", "c"):
        shown(write_sweep(place.parent / name, {"rope": 1.0}, tasks=("copy",)))
    assert len(kept_files(place)) == 2


def test_a_small_folder_is_not_worth_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "WORTH", 100)
    shown(place)
    assert kept_files(place) == []


def test_a_record_behind_two_names_counts_once(place: Path) -> None:
    (place / "link").symlink_to(place / "QUICK")
    assert columns_of(place)[0].texts("file") == [str(r.path) for r in read_all(place)[0]]
    assert columns_of(place)[0].texts("file") == [str(r.path) for r in read_all(place)[0]]
