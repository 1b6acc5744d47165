import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pebench.leaderboard.submissions.folder import strict_json
from pebench.leaderboard.submissions.report import SubmissionError
from pebench.suite.results.record import Record, RecordError
from tests.spoiled import CODE, Spoiled, demand_found, found, one, problems


def symlink(f: Path) -> None:
    one(f).unlink()
    one_target = f / "records/SMOKE/copy/my_idea/0-0123456789abcdef.json"
    one_target.symlink_to("/etc/passwd")


def hard_link(f: Path) -> None:
    os.link(one(f), f / "records/SMOKE/copy/my_idea/0-0123456789abcdef.json")


def huge_file(f: Path) -> None:
    with one(f).open("r+b") as file:
        file.truncate(2**30)  # 1 GiB of zeros that take no room on the disk


def huge_source(f: Path) -> None:
    with (f / "my_idea.py").open("ab") as file:
        file.truncate(2**30)


def deep_folder(f: Path) -> None:
    path = f.joinpath("records", *"abcdefgh")
    path.mkdir(parents=True)
    (path / "x.json").write_text("{}")


def fifo(f: Path) -> None:
    one(f).unlink()
    os.mkfifo(f / "records/SMOKE/copy/my_idea/0-0123456789abcdef.json")


SPOILED: Spoiled = {
    "a huge source": (huge_source, "1024 MB in all"),
    "a huge record": (huge_file, "1024 MB in all"),
    "a large source": (lambda f: (f / "my_idea.py").write_text("#" * 300_000), "larger than 200 kB"),
    "a large record": (lambda f: one(f).write_text(" " * 5_000_000), "larger than 4096 kB"),
    "a link": (symlink, "is a link"),
    "a hard link": (hard_link, "is a hard link"),
    "a pipe": (fifo, "no regular file"),
    "a strange file": (lambda f: (f / "run.sh").write_text(CODE), "does not belong"),
    "a pickle": (lambda f: (f / "records/x.pkl").write_bytes(b"\x80"), "does not belong"),
    "a name with HTML": (lambda f: (f / "<img src=x>.json").write_text("{}"), "does not belong"),
    "deep folders": (deep_folder, "no regular file"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_with_its_files_is_found(what: str, folder: Path, board: list[Record]) -> None:
    demand_found(SPOILED[what], folder, board)


@pytest.mark.parametrize("what", ["nowhere", "file", "link"])
def test_what_is_no_folder_is_refused(what: str, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(whole)
    with pytest.raises(SubmissionError, match="pebench submit"):
        found(tmp_path / what, [])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}":,0123456789eE.-', max_size=60).map(str.encode))
def test_any_bytes_are_json_or_a_record_error(data: bytes) -> None:
    with contextlib.suppress(RecordError):
        strict_json(data)


def test_too_many_files_are_not_read(
    folder: Path, board: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pebench.leaderboard.submissions.folder.FILES", 3)
    report = found(folder, board)
    assert "more than 3 files" in problems(report)
    assert report.records == []
    monkeypatch.undo()
    monkeypatch.setattr("pebench.leaderboard.submissions.folder.FOLDER_BYTES", 1000)
    report = found(folder, board)
    assert "MB in all" in problems(report)
    assert report.records == []
